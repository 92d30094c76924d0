/* confmesh token create: what a new node needs to join. */
#include <string.h>

#include "crdt/base/check.h"
#include "node/cli/cli.h"

#define TOKEN_USES_MAX 100000
#define TOKEN_TTL_S_DEFAULT 3600

/* The token says where this node is. On the loopback nobody finds it. */
static void advise(const struct cli *c)
{
    json_t *status = NULL;
    const char *address;

    cli_note("on the new machine: confmesh node --data DIR --bind ADDRESS:7946 "
             "--join TOKEN");
    if (cli_get_json(c, "/v1/mesh/status", NULL, 0, &status) != 0)
        return;
    address = json_string_value(json_object_get(status, "address"));
    if (address != NULL &&
        (strncmp(address, "127.", 4) == 0 || strncmp(address, "[::1]", 5) == 0))
        cli_note("this node listens at %s, where only this machine reaches it; "
                 "for others start it with --bind ADDRESS:7946 before you make "
                 "their token",
                 address);
    json_decref(status);
}

int cli_verb_token_create(struct cli *c)
{
    struct cm_detail detail = {""};
    const char *uses_text = cli_value(c, "uses");
    const char *ttl_text = cli_value(c, "ttl");
    uint64_t uses = 1;
    uint64_t ttl_ms = TOKEN_TTL_S_DEFAULT * 1000;
    if (uses_text != NULL &&
        args_number(&uses, uses_text, TOKEN_USES_MAX, "--uses", &detail) != 0)
        return cli_usage_error(c, "%s", detail.text);
    if (ttl_text != NULL &&
        args_duration_ms(&ttl_ms, ttl_text, "--ttl", &detail) != 0)
        return cli_usage_error(c, "%s", detail.text);
    if (uses == 0)
        return cli_usage_error(c, "--uses must be at least 1");
    if (ttl_ms < 1000)
        return cli_usage_error(c, "--ttl must be at least 1s");
    json_t *body = json_pack("{s:I, s:I, s:b}", "uses", (json_int_t)uses,
                             "ttl_s", (json_int_t)(ttl_ms / 1000), "reader",
                             (int)cli_has(c, "reader"));
    const struct args_flag *writes =
        args_flag_find(c->flags, c->flags_count, "writes");
    json_t *prefixes = json_array();
    json_t *answer = NULL;
    CHECK(body != NULL && prefixes != NULL);
    for (size_t i = 0; i < writes->count; i++)
        if (json_array_append_new(prefixes, json_string(writes->values[i])) !=
            0) {
            json_decref(prefixes);
            json_decref(body);
            return cli_usage_error(c, "--writes: a prefix is UTF-8 text");
        }
    if (writes->count > 0)
        CHECK(json_object_set(body, "writes", prefixes) == 0);
    json_decref(prefixes);
    int code = cli_get_json(c, "/v1/mesh/token", body, 0, &answer);
    json_decref(body);
    if (code != 0)
        return code;
    const char *token = json_string_value(json_object_get(answer, "token"));
    if (token == NULL) {
        code = cli_failed(c, "the node's answer holds no token");
    } else if (c->json) {
        cli_print_json(answer);
    } else {
        advise(c);
        (void)printf("%s\n", token);
    }
    json_decref(answer);
    return code;
}
