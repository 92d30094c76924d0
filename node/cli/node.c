/* confmesh node: reads what the daemon needs and runs it. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crdt/base/check.h"
#include "node/cli/cli.h"
#include "node/daemon.h"
#include "node/object_store.h"
#include "node/paths.h"
#include "node/sealed_keys.h"
#include "node/upload_status.h"

#define BANDWIDTH_MAX UINT64_C(1000000000000) /* before its unit */
#define TOKEN_TEXT_MAX 65536                  /* bytes of a token's file */
#define USER_SOCKET_SIZE (PATHS_SIZE_MAX + 8)

/* --join: "-" is standard input, a path that exists a file, anything else the
 * token itself. token keeps the text, with a NUL. */
static int read_token(const struct cli *c, const char *join,
                      struct buffer *token)
{
    struct stat s;
    int code = 0;
    bool file = strcmp(join, "-") == 0 || stat(join, &s) == 0;
    if (file)
        code = cli_read_input(c, join, "the token", TOKEN_TEXT_MAX, token);
    else
        buffer_append_string(token, join);
    if (code != 0)
        return code;
    if (!file && strchr(join, '/') != NULL)
        return cli_usage_error(c, "--join: there is no file %s", join);
    while (token->size > 0 && isspace(token->data[token->size - 1]))
        token->size--;
    /* 'token create > FILE' may have said more above: the token is the last
     * line. */
    size_t start = token->size;
    while (start > 0 && token->data[start - 1] != '\n')
        start--;
    if (start > 0)
        buffer_consume(token, start);
    if (token->size == 0 || memchr(token->data, 0, token->size) != NULL)
        return cli_usage_error(c, "--join: the token is empty or no text; "
                                  "'confmesh token create' on a member of "
                                  "the mesh prints one");
    buffer_append_byte(token, 0);
    return token->error == 0 ? 0 : cli_failed(c, "out of memory");
}

/* A throwaway node serves the socket of the running user, so that the next
 * command finds it without any flag. */
static int dev_socket(const struct cli *c, char text[USER_SOCKET_SIZE])
{
    char path[PATHS_SIZE_MAX];
    struct cm_detail detail = {""};
    int error = paths_user_socket(path, &detail);
    if (error == 0)
        error = paths_make_parent(path, &detail);
    if (error != 0)
        return cli_failed(c, "%s", detail.text);
    memcpy(text, "unix:", 5);
    memcpy(text + 5, path, strlen(path) + 1);
    return 0;
}

static int floor_durations(const struct cli *c, struct daemon_options *o)
{
    struct cm_detail detail = {""};
    const char *after = cli_value(c, "floor-interval");
    const char *keep = cli_value(c, "floor-keep");
    if (after != NULL && strcmp(after, "never") == 0)
        o->floor_interval_ms = UINT64_MAX;
    else if (after != NULL &&
             args_duration_ms(&o->floor_interval_ms, after, "--floor-interval",
                              &detail) != 0)
        return cli_usage_error(c, "%s", detail.text);
    if (keep != NULL &&
        args_duration_ms(&o->floor_keep_ms, keep, "--floor-keep", &detail) != 0)
        return cli_usage_error(c, "%s", detail.text);
    if ((after != NULL && o->floor_interval_ms == 0) ||
        (keep != NULL && o->floor_keep_ms == 0))
        return cli_usage_error(c, "--floor-interval and --floor-keep are at "
                                  "least 1ms");
    return 0;
}

/* 65536, 64K, 2M: bytes per second. */
static int bandwidth(const struct cli *c, struct daemon_options *o)
{
    const char *text = cli_value(c, "snapshot-bandwidth");
    struct cm_detail detail = {""};
    char digits[24];
    uint64_t unit = 1;
    size_t size = text != NULL ? strlen(text) : 0;
    if (text == NULL)
        return 0;
    if (size > 0 && (text[size - 1] == 'K' || text[size - 1] == 'M')) {
        unit = text[size - 1] == 'K' ? 1024 : 1048576;
        size--;
    }
    (void)snprintf(digits, sizeof(digits), "%.*s", (int)(size < 23 ? size : 23),
                   text);
    if (args_number(&o->snapshot_bandwidth, digits, BANDWIDTH_MAX,
                    "--snapshot-bandwidth", &detail) != 0)
        return cli_usage_error(c, "%s of bytes per second, or one with K or M",
                               detail.text);
    o->snapshot_bandwidth *= unit;
    if (o->snapshot_to_count == 0)
        return cli_usage_error(c,
                               "--snapshot-bandwidth needs --snapshot-to URL");
    if (o->snapshot_bandwidth < OBJECT_RATE_MIN)
        return cli_usage_error(c,
                               "--snapshot-bandwidth is at least %u bytes per "
                               "second",
                               OBJECT_RATE_MIN);
    return 0;
}

static int take_drill(const struct cli *c, struct daemon_options *o)
{
    const char *text = cli_value(c, "snapshot-drill");
    struct cm_detail detail = {""};

    o->snapshot_drill_ms = o->snapshot_to_count > 0 ? 86400000 : 0;
    if (text == NULL)
        return 0;
    if (o->snapshot_to_count == 0)
        return cli_usage_error(c, "--snapshot-drill needs --snapshot-to URL");
    o->snapshot_drill_ms = 0;
    if (strcmp(text, "never") == 0)
        return 0;
    if (args_duration_ms(&o->snapshot_drill_ms, text, "--snapshot-drill",
                         &detail) != 0)
        return cli_usage_error(c, "%s", detail.text);
    if (o->snapshot_drill_ms < 1000)
        return cli_usage_error(c, "--snapshot-drill is at least 1s");
    return 0;
}

static int durations(const struct cli *c, struct daemon_options *o)
{
    struct cm_detail detail = {""};
    int code = floor_durations(c, o);
    if (code == 0)
        code = cli_format_level(c, &o->format_level);
    if (code != 0)
        return code;
    const char *interval = cli_value(c, "snapshot-interval");
    const char *scrub = cli_value(c, "scrub-interval");
    if (scrub != NULL && args_duration_ms(&o->scrub_interval_ms, scrub,
                                          "--scrub-interval", &detail) != 0)
        return cli_usage_error(c, "%s", detail.text);
    if (scrub != NULL && o->scrub_interval_ms < 1000)
        return cli_usage_error(c, "--scrub-interval is at least 1s");
    o->snapshot_interval_ms = o->snapshot_to_count > 0 ? 600000 : 0;
    o->snapshot_delta_ms = o->snapshot_to_count > 0 ? 10000 : 0;
    code = take_drill(c, o);
    if (code != 0)
        return code;
    const char *delta = cli_value(c, "snapshot-delta");
    if (delta != NULL && o->snapshot_to_count == 0)
        return cli_usage_error(c, "--snapshot-delta needs --snapshot-to URL");
    if (delta != NULL && strcmp(delta, "never") == 0)
        o->snapshot_delta_ms = 0;
    else if (delta != NULL &&
             args_duration_ms(&o->snapshot_delta_ms, delta, "--snapshot-delta",
                              &detail) != 0)
        return cli_usage_error(c, "%s", detail.text);
    else if (delta != NULL && o->snapshot_delta_ms < 100)
        return cli_usage_error(c, "--snapshot-delta is at least 100ms");
    if (interval == NULL)
        return 0;
    if (o->snapshot_to_count == 0)
        return cli_usage_error(c,
                               "--snapshot-interval needs --snapshot-to URL");
    if (args_duration_ms(&o->snapshot_interval_ms, interval,
                         "--snapshot-interval", &detail) != 0)
        return cli_usage_error(c, "%s", detail.text);
    if (o->snapshot_interval_ms < 1000)
        return cli_usage_error(c, "--snapshot-interval is at least 1s");
    return 0;
}

static int check_targets(const struct cli *c, const struct daemon_options *o)
{
    struct cm_detail detail = {""};

    if (o->snapshot_to_count > UPLOAD_TARGETS_MAX)
        return cli_usage_error(c, "--snapshot-to is given more than %d times",
                               UPLOAD_TARGETS_MAX);
    for (size_t i = 0; i < o->snapshot_to_count; i++) {
        if (object_store_check(o->snapshot_to[i], true, &detail) != 0)
            return cli_usage_error(c, "--snapshot-to: %s", detail.text);
        for (size_t k = 0; k < i; k++)
            if (strcmp(o->snapshot_to[i], o->snapshot_to[k]) == 0)
                return cli_usage_error(c, "--snapshot-to is given twice: %s",
                                       o->snapshot_to[i]);
    }
    if (o->snapshot_hook != NULL && o->snapshot_to_count == 0)
        return cli_usage_error(c, "--snapshot-hook needs --snapshot-to URL");
    if (o->snapshot_hook != NULL && o->snapshot_hook[0] == 0)
        return cli_usage_error(c, "--snapshot-hook is empty");
    return 0;
}

static int check(const struct cli *c, const struct daemon_options *o)
{
    struct cm_detail detail = {""};

    int bad = check_targets(c, o);
    if (bad != 0)
        return bad;
    if (o->data == NULL && !o->dev)
        return cli_usage_error(c, "--data DIR is needed (or --dev for a "
                                  "throwaway node)");
    /* It is what peers are told, in tokens and by gossip. */
    if (o->bind != NULL && (strncmp(o->bind, "0.0.0.0:", 8) == 0 ||
                            strncmp(o->bind, "[::]:", 5) == 0))
        return cli_usage_error(c,
                               "--bind %.64s: peers are told this address and "
                               "could not reach it; give the one of this "
                               "machine that they reach",
                               o->bind);
    if (o->dev && o->data != NULL)
        return cli_usage_error(c, "--dev makes a directory of its own; drop "
                                  "--data or --dev");
    for (size_t i = 0; i < o->revoke_deletes_count; i++) {
        int code = cli_check_prefix(c, o->revoke_deletes[i]);
        if (code != 0)
            return code;
    }
    if (o->snapshot_recipients_count > SEALED_RECIPIENTS_MAX)
        return cli_usage_error(c,
                               "--snapshot-recipient is given more than %d "
                               "times",
                               SEALED_RECIPIENTS_MAX);
    for (size_t i = 0; i < o->snapshot_recipients_count; i++) {
        static const uint8_t any[32];
        uint8_t key[32];
        if (recovery_key_parse(key, o->snapshot_recipients[i], any, &detail) !=
            0)
            return cli_usage_error(c, "--snapshot-recipient: %s", detail.text);
    }
    if (o->dev && cli_has(c, "join"))
        return cli_usage_error(c, "--dev is a node alone: it takes no --join");
    for (size_t i = 0; i < o->apis_count; i++) {
        struct client_endpoint endpoint;
        if (client_endpoint_parse(&endpoint, o->apis[i], &detail) != 0)
            return cli_usage_error(c, "%s", detail.text);
    }
    if (o->apis_count > DAEMON_APIS_MAX)
        return cli_usage_error(c, "--api is given more than %d times",
                               DAEMON_APIS_MAX);
    return 0;
}

int cli_verb_node(struct cli *c)
{
    const struct args_flag *api =
        args_flag_find(c->flags, c->flags_count, "api");
    static char user_socket[USER_SOCKET_SIZE];
    const char *user_apis[1] = {user_socket};
    const char *join = cli_value(c, "join");
    const struct args_flag *revoke =
        args_flag_find(c->flags, c->flags_count, "revoke-deletes");
    const struct args_flag *targets =
        args_flag_find(c->flags, c->flags_count, "snapshot-to");
    const struct args_flag *recipients =
        args_flag_find(c->flags, c->flags_count, "snapshot-recipient");
    struct buffer token;
    struct daemon_options o = {
        .data = cli_value(c, "data"),
        .name = cli_value(c, "name"),
        .bind = cli_value(c, "bind"),
        .apis = api->values,
        .apis_count = api->count,
        .snapshot_to = targets->values,
        .snapshot_to_count = targets->count,
        .snapshot_hook = cli_value(c, "snapshot-hook"),
        .snapshot_recipients = recipients->values,
        .snapshot_recipients_count = recipients->count,
        .revoke_deletes = revoke->values,
        .revoke_deletes_count = revoke->count,
        .dev = cli_has(c, "dev"),
        .json = c->json,
    };
    int code = check(c, &o);
    if (code == 0)
        code = durations(c, &o);
    if (code == 0)
        code = bandwidth(c, &o);
    if (code != 0)
        return code;
    if (o.dev && o.apis_count == 0) {
        code = dev_socket(c, user_socket);
        o.apis = user_apis;
        o.apis_count = 1;
    }
    buffer_init(&token, TOKEN_TEXT_MAX + 65536 + 1);
    if (code == 0 && join != NULL) {
        code = read_token(c, join, &token);
        o.join = (const char *)token.data;
    }
    if (code == 0)
        code = daemon_run(&o);
    buffer_release(&token);
    return code;
}
