/* See cli.h. */
#include "node/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crdt/base/check.h"
#include "crdt/base/pack.h"
#include "crdt/dot.h"
#include "crdt/op.h"
#include "node/paths.h"

#define WAIT_DEFAULT_MS 10000 /* the node's own */
#define ERROR_TEXT_MAX 2048   /* bytes of a node's message that are shown */

bool cli_has(const struct cli *c, const char *flag)
{
    return args_given(c->flags, c->flags_count, flag);
}

const char *cli_value(const struct cli *c, const char *flag)
{
    return args_value(c->flags, c->flags_count, flag, NULL);
}

static char said[ERROR_TEXT_MAX]; /* last; one command per process */

static void say(const struct cli *c, const char *format, va_list list)
{
    (void)fflush(stdout);
    (void)fprintf(stderr, "confmesh%s%s: ", c->verb != NULL ? " " : "",
                  c->verb != NULL ? c->verb->name : "");
    (void)vsnprintf(said, sizeof said, format, list);
    (void)fputs(said, stderr);
    (void)fputc('\n', stderr);
}

void cli_print_failure(int code)
{
    json_t *o = json_pack("{s:s#, s:i}", "error", said, (int)strlen(said),
                          "exit", code);

    if (o == NULL) /* cut within a character */
        o = json_pack("{s:s, s:i}", "error", "see standard error", "exit",
                      code);
    if (o != NULL && !cli_has_printed_json())
        cli_print_json(o);
    json_decref(o);
}

int cli_exit_of(int error)
{
    switch (error) {
    case CM_ERR_INVALID:
        return CLI_USAGE;
    case CM_ERR_AUTHORITY:
    case CM_ERR_WRONG_MESH:
    case CM_ERR_WRONG_GENERATION:
    case CM_ERR_PASSPHRASE:
        return CLI_TRUST;
    case CM_ERR_MALFORMED:
    case CM_ERR_NONCANONICAL:
    case CM_ERR_TOO_LARGE:
    case CM_ERR_SIGNATURE:
    case CM_ERR_FORMAT_VERSION:
    case CM_ERR_FORK:
    case CM_ERR_DAMAGED:
        return CLI_INTEGRITY;
    default:
        return CLI_TRANSPORT;
    }
}

int cli_usage_error(const struct cli *c, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    say(c, format, list);
    va_end(list);
    if (c->verb != NULL)
        cli_print_usage(stderr, c->verb);
    return CLI_USAGE;
}

int cli_failed(const struct cli *c, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    say(c, format, list);
    va_end(list);
    return CLI_FAILED;
}

int cli_failed_as(const struct cli *c, int code, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    say(c, format, list);
    va_end(list);
    return code;
}

void cli_note(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    (void)vfprintf(stderr, format, list);
    (void)fputc('\n', stderr);
    va_end(list);
}

int cli_check_key(const struct cli *c, const char *field, const char *text)
{
    CHECK(text != NULL);
    size_t size = strlen(text);
    if (size == 0)
        return cli_usage_error(c, "%s is empty; it needs 1 to %d bytes", field,
                               KEY_SIZE_MAX);
    if (size > KEY_SIZE_MAX)
        return cli_usage_error(c,
                               "%s has %zu bytes, the limit is %d; use a "
                               "shorter one",
                               field, size, KEY_SIZE_MAX);
    if (!utf8_is_valid(slice_of_string(text)))
        return cli_usage_error(c, "%s is not valid UTF-8; write it in UTF-8",
                               field);
    return 0;
}

int cli_format_level(const struct cli *c, uint32_t *ret_level)
{
    const char *text = cli_value(c, "format-level");
    struct cm_detail detail = {""};
    uint64_t level = 0;
    if (text == NULL)
        return CLI_DONE;
    if (args_number(&level, text, LEVEL_LAST, "--format-level", &detail) != 0)
        return cli_usage_error(c, "%s", detail.text);
    if (level < LEVEL_FIRST)
        return cli_usage_error(c, "--format-level is %d to %d", LEVEL_FIRST,
                               LEVEL_LAST);
    *ret_level = (uint32_t)level;
    return CLI_DONE;
}

int cli_check_reason(const struct cli *c)
{
    const char *reason = cli_value(c, "reason");
    struct cm_detail detail = {""};
    if (reason == NULL ||
        op_check_reason(slice_of_string(reason), &detail) == 0)
        return 0;
    return cli_usage_error(c, "--reason: %s", detail.text);
}

void cli_op_reason(const struct cli *c, json_t *op)
{
    const char *reason = cli_value(c, "reason");
    if (reason != NULL && reason[0] != '\0')
        CHECK(json_object_set_new(op, "reason", json_string(reason)) == 0);
}

void cli_query_add(struct buffer *target, const char *name, const char *value)
{
    bool first = memchr(target->data, '?', target->size) == NULL;

    buffer_append_byte(target, first ? '?' : '&');
    buffer_append_string(target, name);
    if (value != NULL) {
        buffer_append_byte(target, '=');
        client_percent_encode(target, slice_of_string(value), true);
    }
}

static bool is_quorum(const char *text)
{
    uint64_t number = 0;

    return strcmp(text, "majority") == 0 || strcmp(text, "all") == 0 ||
           (args_number(&number, text, UINT32_MAX, "--wait", NULL) == 0 &&
            number > 0);
}

int cli_query_wait(const struct cli *c, struct buffer *target,
                   uint64_t *ret_timeout_ms)
{
    struct cm_detail detail = {""};
    const char *after = cli_value(c, "after");
    const char *members = cli_value(c, "wait");
    const char *timeout = cli_value(c, "timeout");
    uint64_t ms = WAIT_DEFAULT_MS;
    struct dot dot;

    *ret_timeout_ms = 0;
    if (after != NULL && dot_parse(&dot, after) != 0)
        return cli_usage_error(c,
                               "--after is '%.80s', but must be the token that "
                               "a write printed with --json (INCARNATION:SEQ)",
                               after);
    if (members != NULL && !is_quorum(members))
        return cli_usage_error(c,
                               "--wait is '%.40s', but must be a number of "
                               "members from 1 on, majority or all",
                               members);
    if (timeout != NULL && after == NULL && members == NULL)
        return cli_usage_error(c, "--timeout needs --wait or --after");
    if (timeout != NULL &&
        args_duration_ms(&ms, timeout, "--timeout", &detail) != 0)
        return cli_usage_error(c, "%s", detail.text);
    if (after != NULL)
        cli_query_add(target, "after", after);
    if (members != NULL)
        cli_query_add(target, "wait-for", members);
    if (timeout != NULL)
        cli_query_add(target, "timeout", timeout);
    if (after != NULL || members != NULL)
        *ret_timeout_ms = 2 * ms + CLIENT_CALL_TIMEOUT_MS;
    return 0;
}

int cli_check_expiry(const struct cli *c)
{
    struct cm_detail detail = {""};
    const char *ttl = cli_value(c, "ttl");
    const char *at = cli_value(c, "expires-at");
    uint64_t ms = 0;

    if (ttl != NULL && at != NULL)
        return cli_usage_error(c, "--ttl and --expires-at exclude each other");
    if ((ttl != NULL && args_duration_ms(&ms, ttl, "--ttl", &detail) != 0) ||
        (at != NULL && args_time_ms(&ms, at, "--expires-at", &detail) != 0))
        return cli_usage_error(c, "%s", detail.text);
    return 0;
}

int cli_check_prefix(const struct cli *c, const char *text)
{
    return text[0] == 0 ? 0 : cli_check_key(c, "PREFIX", text);
}

int cli_read_input(const struct cli *c, const char *path, const char *what,
                   size_t max, struct buffer *out)
{
    CHECK(out->limit > max);
    bool standard = strcmp(path, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cli_failed(c, "cannot open %s: %s", path, strerror(errno));
    int code = 0;
    size_t start = out->size;
    while (code == 0) {
        size_t room = max + 1 - (out->size - start);
        if (room == 0) {
            code = cli_usage_error(
                c, "%s has more than %zu bytes, the limit; split it", what,
                max);
            break;
        }
        if (room > 65536)
            room = 65536;
        uint8_t *to = buffer_extend(out, room);
        if (to == NULL) {
            code = cli_failed(c, "reading %s: out of memory", what);
            break;
        }
        ssize_t n = read(fd, to, room);
        out->size -= n < 0 ? room : room - (size_t)n;
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR)
            code = cli_failed(c, "reading %s: %s", what, strerror(errno));
    }
    if (!standard)
        (void)close(fd);
    return code;
}

int cli_endpoint(const struct cli *c, struct client_endpoint *ret_endpoint)
{
    struct cm_detail detail = {""};
    char path[PATHS_SIZE_MAX];
    const struct args_flag *api =
        args_flag_find(c->flags, c->flags_count, "api");
    const char *environment = getenv("CONFMESH_API");
    const char *data = cli_value(c, "data");
    int error;

    if (api->count > 1)
        return cli_usage_error(c, "--api is given %zu times; give it once",
                               api->count);
    if (api->count == 1) {
        error = client_endpoint_parse(ret_endpoint, api->values[0], &detail);
    } else if (data == NULL && environment != NULL && environment[0] != 0) {
        /* What somebody typed goes before what somebody exported once. */
        error = client_endpoint_parse(ret_endpoint, environment, &detail);
    } else {
        error = data != NULL ? paths_data_socket(path, data, &detail)
                             : paths_user_socket(path, &detail);
        if (error == 0)
            error = client_endpoint_parse(ret_endpoint, path, &detail);
    }
    return error == 0 ? 0 : cli_usage_error(c, "%s", detail.text);
}

int cli_call(const struct cli *c, struct client_request *request,
             const struct buffer *target, struct client_response *ret_response)
{
    struct client_endpoint endpoint;
    struct cm_detail detail = {""};
    int code = cli_endpoint(c, &endpoint);
    if (code != 0)
        return code;
    struct buffer text;
    buffer_init(&text, CLIENT_TARGET_MAX + 1);
    buffer_append_slice(&text, buffer_slice(target));
    buffer_append_byte(&text, 0);
    if (target->error != 0 || text.error != 0) {
        code = cli_failed(c, "the request's path is too long");
    } else {
        request->target = (const char *)text.data;
        if (client_call(&endpoint, request, ret_response, &detail) != 0)
            code = cli_failed(c, "%s", detail.text);
    }
    buffer_release(&text);
    return code;
}

/* The node's message: "detail" of a JSON object, else the text itself. */
static void refusal_text(const struct client_response *r, struct buffer *out)
{
    json_t *object =
        json_loadb((const char *)r->body.data, r->body.size, 0, NULL);
    const char *text = json_string_value(json_object_get(object, "detail"));
    if (text == NULL || text[0] == 0)
        text = json_string_value(json_object_get(object, "error"));
    if (text != NULL) {
        buffer_append(out, text, strnlen(text, ERROR_TEXT_MAX));
    } else {
        size_t size = r->body.size;
        while (size > 0 && r->body.data[size - 1] == '\n')
            size--;
        buffer_append(out, r->body.data,
                      size < ERROR_TEXT_MAX ? size : ERROR_TEXT_MAX);
    }
    json_decref(object);
}

int cli_refused(const struct cli *c, const struct client_response *r)
{
    struct buffer text;
    buffer_init(&text, ERROR_TEXT_MAX);
    refusal_text(r, &text);
    (void)fflush(stdout);
    (void)fprintf(stderr, "confmesh %s: the node refused (%d): ", c->verb->name,
                  r->status);
    cli_print_escaped(stderr, buffer_slice(&text));
    if (text.size == 0)
        (void)fputs("no reason given; look at its log", stderr);
    (void)fputc('\n', stderr);
    (void)snprintf(said, sizeof said, "the node refused (%d): %.*s", r->status,
                   (int)text.size, (const char *)text.data);
    buffer_release(&text);
    return CLI_FAILED;
}

json_t *cli_json_body(const struct cli *c, const struct client_response *r)
{
    json_error_t where;
    json_t *value = json_loadb((const char *)r->body.data, r->body.size,
                               JSON_ALLOW_NUL | JSON_DECODE_ANY, &where);
    if (value == NULL)
        (void)cli_failed(c, "the node's answer is no JSON: %s", where.text);
    return value;
}

int cli_json_answer(const struct cli *c, struct client_response *r,
                    json_t **ret_json)
{
    int code;

    if (r->status != 200) {
        code = cli_refused(c, r);
    } else {
        *ret_json = cli_json_body(c, r);
        code = *ret_json == NULL ? CLI_FAILED : 0;
    }
    client_response_release(r);
    return code;
}

int cli_call_json(const struct cli *c, const char *path, const json_t *body,
                  uint64_t timeout_ms, struct client_response *ret_response)
{
    struct buffer target;
    buffer_init(&target, CLIENT_TARGET_MAX);
    buffer_append_string(&target, path);
    struct client_request request = {
        .method = "GET",
        .timeout_ms = timeout_ms,
    };
    char *text = NULL;
    int code = 0;
    if (body != NULL) {
        text = json_dumps(body, JSON_COMPACT);
        if (text == NULL)
            code = cli_failed(c, "the request is too large for memory");
        else
            request.body = slice_of_string(text);
        request.method = "POST";
        request.has_body = true;
        request.headers[0] =
            (struct client_header){"Content-Type", "application/json"};
        request.headers_count = 1;
    }
    if (code == 0)
        code = cli_call(c, &request, &target, ret_response);
    free(text);
    buffer_release(&target);
    return code;
}

int cli_get_json(const struct cli *c, const char *path, const json_t *body,
                 uint64_t timeout_ms, json_t **ret_json)
{
    struct client_response response;
    int code = cli_call_json(c, path, body, timeout_ms, &response);
    if (code != 0)
        return code;
    return cli_json_answer(c, &response, ret_json);
}

/* What a transaction read: KEY, a tab, VALUE. */
static void print_results(const json_t *results)
{
    for (size_t i = 0; i < json_array_size(results); i++) {
        const json_t *result = json_array_get(results, i);
        const json_t *key = json_object_get(result, "key");
        const char *text =
            json_string_value(json_object_get(result, "value64"));
        struct buffer value;
        buffer_init(&value, CLIENT_BODY_MAX);
        if (text != NULL && json_is_string(key) &&
            cli_base64_decode(text, &value) == 0) {
            cli_print_escaped(stdout, slice_of(json_string_value(key),
                                               json_string_length(key)));
            (void)fputc('\t', stdout);
            cli_print_escaped(stdout, buffer_slice(&value));
            (void)fputc('\n', stdout);
        }
        buffer_release(&value);
    }
}

/* Every operation that failed, where several did. */
static void print_failures(const struct cli *c, const struct client_response *r)
{
    json_t *answer =
        json_loadb((const char *)r->body.data, r->body.size, 0, NULL);
    const json_t *errors = json_object_get(answer, "errors");
    if (c->json && answer != NULL)
        cli_print_json(answer);
    for (size_t i = 0; i < json_array_size(errors); i++) {
        const json_t *e = json_array_get(errors, i);
        const char *detail = json_string_value(json_object_get(e, "detail"));
        (void)fprintf(stderr, "  operation %d: ",
                      (int)json_integer_value(json_object_get(e, "op")));
        cli_print_escaped(stderr,
                          slice_of_string(detail != NULL ? detail : ""));
        (void)fputc('\n', stderr);
    }
    json_decref(answer);
}

static void print_body(const struct client_response *r)
{
    json_t *answer =
        json_loadb((const char *)r->body.data, r->body.size, 0, NULL);
    if (answer != NULL)
        cli_print_json(answer);
    json_decref(answer);
}

static int transact_answer(const struct cli *c, const struct client_response *r,
                           bool quiet)
{
    if (r->status == 409) {
        struct buffer text;
        buffer_init(&text, ERROR_TEXT_MAX);
        refusal_text(r, &text);
        (void)fputs("condition false, nothing was written: ", stderr);
        cli_print_escaped(stderr, buffer_slice(&text));
        (void)fputc('\n', stderr);
        buffer_release(&text);
        if (!quiet)
            print_failures(c, r);
        return CLI_FALSE;
    }
    /* Written, but not everybody wanted has it: both are told. */
    if (r->status == 504 && c->json && !quiet)
        print_body(r);
    if (r->status != 200)
        return cli_refused(c, r);
    json_t *answer = cli_json_body(c, r);
    if (answer == NULL)
        return CLI_FAILED;
    if (c->json && !quiet)
        cli_print_json(answer);
    else if (!quiet)
        print_results(json_object_get(answer, "results"));
    json_decref(answer);
    return CLI_DONE;
}

int cli_transact(const struct cli *c, json_t *ops, bool quiet)
{
    CHECK(json_is_array(ops));
    struct client_response response;
    json_t *body = json_object();
    const char *author = cli_value(c, "author");
    CHECK(body != NULL);
    CHECK(json_object_set_new(body, "ops", ops) == 0);
    int code = 0;
    if (author != NULL &&
        json_object_set_new(body, "author", json_string(author)) != 0)
        code = cli_usage_error(c, "--author is not valid UTF-8");
    struct buffer target;
    uint64_t timeout_ms = 0;
    buffer_init(&target, CLIENT_TARGET_MAX);
    buffer_append_string(&target, "/v1/txn");
    if (code == 0)
        code = cli_query_wait(c, &target, &timeout_ms);
    buffer_append_byte(&target, 0);
    if (code == 0 && target.error != 0)
        code = cli_failed(c, "out of memory");
    if (code == 0)
        code = cli_call_json(c, (const char *)target.data, body, timeout_ms,
                             &response);
    buffer_release(&target);
    json_decref(body);
    if (code != 0)
        return code;
    code = transact_answer(c, &response, quiet);
    client_response_release(&response);
    return code;
}
