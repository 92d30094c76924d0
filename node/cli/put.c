/* confmesh put: one durable write. */
#include <inttypes.h>
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/dot.h"
#include "node/cli/cli.h"

static int conditions(const struct cli *c, struct buffer *target)
{
    struct cm_detail detail = {""};
    const char *version = cli_value(c, "if-version");
    const char *flags = cli_value(c, "flags");
    struct dot dot;
    uint64_t number;
    int code = cli_check_expiry(c);

    if (code != 0)
        return code;

    if (cli_has(c, "if-absent") && version != NULL)
        return cli_usage_error(
            c, "--if-absent and --if-version exclude each other");
    if (cli_has(c, "if-absent"))
        cli_query_add(target, "if-absent", NULL);
    if (version != NULL && dot_parse(&dot, version) != 0)
        return cli_usage_error(c,
                               "--if-version is '%.80s', but must be a "
                               "version as 'get --json' prints it "
                               "(INCARNATION:SEQ)",
                               version);
    if (version != NULL)
        cli_query_add(target, "if-version", version);
    if (cli_value(c, "ttl") != NULL)
        cli_query_add(target, "ttl", cli_value(c, "ttl"));
    if (cli_value(c, "expires-at") != NULL)
        cli_query_add(target, "expires", cli_value(c, "expires-at"));
    if (cli_has(c, "unrevoke"))
        cli_query_add(target, "unrevoke", NULL);
    if (flags != NULL) {
        if (args_number(&number, flags, UINT64_MAX, "--flags", &detail) != 0)
            return cli_usage_error(c, "%s", detail.text);
        cli_query_add(target, "flags", flags);
    }
    return 0;
}

/* "a,b" as an array; without the header an empty one. */
static void set_names(json_t *object, const char *name,
                      const struct client_response *r, const char *header)
{
    struct slice v = {0};
    json_t *list = json_array();

    (void)client_response_header(r, header, &v);
    CHECK(list != NULL);
    while (v.size > 0) {
        const uint8_t *comma = memchr(v.data, ',', v.size);
        size_t size = comma != NULL ? (size_t)(comma - v.data) : v.size;
        (void)json_array_append_new(list,
                                    json_stringn((const char *)v.data, size));
        size += comma != NULL;
        v = slice_of(v.data + size, v.size - size);
    }
    (void)json_object_set_new(object, name, list);
}

static void print_written(const struct client_response *r, bool waited)
{
    json_t *object = json_object();
    struct slice token;
    CHECK(object != NULL);
    (void)json_object_set_new(object, "wrote", json_true());
    if (client_response_header(r, "X-Confmesh-Token", &token))
        (void)json_object_set_new(
            object, "token",
            json_stringn((const char *)token.data, token.size));
    if (waited) {
        set_names(object, "confirmed", r, "X-Confmesh-Confirmed");
        set_names(object, "missing", r, "X-Confmesh-Missing");
    }
    cli_print_json(object);
    json_decref(object);
}

static int answer(const struct cli *c, const struct client_response *r)
{
    struct slice body = buffer_slice(&r->body);
    struct slice token;
    /* Written, but not everybody wanted has it: both are told. */
    if (r->status != 200 && c->json &&
        client_response_header(r, "X-Confmesh-Token", &token))
        print_written(r, cli_value(c, "wait") != NULL);
    if (r->status != 200)
        return cli_refused(c, r);
    if (slice_starts_with(body, slice_of_string("false"))) {
        cli_note("condition false, nothing was written");
        return CLI_FALSE;
    }
    if (!slice_starts_with(body, slice_of_string("true")))
        return cli_failed(c, "the node's answer is neither true nor false");
    if (c->json)
        print_written(r, cli_value(c, "wait") != NULL);
    return CLI_DONE;
}

static int send_put(const struct cli *c, struct slice value,
                    const struct buffer *target, uint64_t timeout_ms)
{
    const char *author = cli_value(c, "author");
    struct client_response response;
    struct client_request request = {
        .method = "PUT",
        .has_body = true,
        .body = value,
        .timeout_ms = timeout_ms,
    };
    if (author != NULL) {
        if (author[0] == 0 || strlen(author) > AUTHOR_SIZE_MAX)
            return cli_usage_error(c, "--author needs 1 to %d bytes",
                                   AUTHOR_SIZE_MAX);
        request.headers[request.headers_count++] =
            (struct client_header){"X-Confmesh-Author", author};
    }
    int code = cli_call(c, &request, target, &response);
    if (code != 0)
        return code;
    code = answer(c, &response);
    client_response_release(&response);
    return code;
}

int cli_verb_put(struct cli *c)
{
    CHECK(c->words_count == 2);
    struct buffer target, value;
    uint64_t timeout_ms = 0;
    buffer_init(&target, CLIENT_TARGET_MAX);
    buffer_init(&value, VALUE_SIZE_MAX + 65536);
    int code = cli_check_key(c, "KEY", c->words[0]);
    if (code == 0) {
        buffer_append_string(&target, "/v1/kv/");
        client_percent_encode(&target, slice_of_string(c->words[0]), false);
        code = conditions(c, &target);
    }
    if (code == 0)
        code = cli_query_wait(c, &target, &timeout_ms);
    if (code == 0 && strcmp(c->words[1], "-") == 0)
        code = cli_read_input(c, "-", "VALUE", VALUE_SIZE_MAX, &value);
    else
        buffer_append_string(&value, c->words[1]);
    if (code == 0 && (value.error != 0 || value.size > VALUE_SIZE_MAX))
        code = cli_usage_error(c,
                               "VALUE has more than %d bytes, the limit; "
                               "split it over several keys",
                               VALUE_SIZE_MAX);
    if (code == 0)
        code = send_put(c, buffer_slice(&value), &target, timeout_ms);
    buffer_release(&value);
    buffer_release(&target);
    return code;
}
