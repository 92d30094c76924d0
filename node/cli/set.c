/* confmesh set add|remove|revoke|members: OR-sets. Several elements are one
 * transaction. */
#include <string.h>

#include "crdt/base/check.h"
#include "node/cli/cli.h"

static int check_elements(const struct cli *c)
{
    const char *key = c->words[0];
    int code = cli_check_key(c, "KEY", key);
    for (size_t i = 1; code == 0 && i < c->words_count; i++) {
        code = cli_check_key(c, "ELEMENT", c->words[i]);
        size_t size = strlen(key) + strlen(c->words[i]);
        if (code == 0 && size > KEY_SIZE_MAX)
            code = cli_usage_error(c,
                                   "KEY and ELEMENT have %zu bytes together, "
                                   "the limit is %d; use shorter ones",
                                   size, KEY_SIZE_MAX);
    }
    if (code == 0 && c->words_count - 1 > EVENT_OPS_MAX)
        code = cli_usage_error(c, "%zu elements, the limit of one call is %d",
                               c->words_count - 1, EVENT_OPS_MAX);
    return code;
}

static int set_write(struct cli *c, const char *op_name)
{
    CHECK(c->words_count >= 2);
    int code = check_elements(c);
    if (code == 0)
        code = cli_check_expiry(c);
    if (code == 0)
        code = cli_check_reason(c);
    if (code != 0)
        return code;
    json_t *ops = json_array();
    CHECK(ops != NULL);
    for (size_t i = 1; i < c->words_count; i++) {
        json_t *op = cli_op(op_name, slice_of_string(c->words[0]), c->words[i]);
        if (cli_value(c, "ttl") != NULL)
            (void)json_object_set_new(op, "ttl",
                                      json_string(cli_value(c, "ttl")));
        if (cli_value(c, "expires-at") != NULL)
            (void)json_object_set_new(op, "expires",
                                      json_string(cli_value(c, "expires-at")));
        if (cli_has(c, "unrevoke"))
            (void)json_object_set_new(op, "unrevoke", json_true());
        cli_op_reason(c, op);
        CHECK(json_array_append_new(ops, op) == 0);
    }
    return cli_transact(c, ops, false);
}

int cli_verb_set_add(struct cli *c)
{
    return set_write(c, "set-add");
}

int cli_verb_set_remove(struct cli *c)
{
    return set_write(c, "set-remove");
}

int cli_verb_set_revoke(struct cli *c)
{
    return set_write(c, "set-revoke");
}

static int print_members(const struct cli *c, const struct client_response *r)
{
    json_t *answer = cli_json_body(c, r);
    const json_t *members = json_object_get(answer, "members");
    if (answer == NULL)
        return CLI_FAILED;
    if (c->json) {
        cli_print_json(answer);
    } else {
        for (size_t i = 0; i < json_array_size(members); i++) {
            const json_t *m = json_array_get(members, i);
            if (!json_is_string(m))
                continue;
            cli_print_escaped(
                stdout, slice_of(json_string_value(m), json_string_length(m)));
            (void)fputc('\n', stdout);
        }
    }
    json_decref(answer);
    return CLI_DONE;
}

int cli_verb_set_members(struct cli *c)
{
    CHECK(c->words_count == 1);
    struct client_response response;
    struct client_request request = {.method = "GET"};
    struct buffer target;
    int code = cli_check_key(c, "KEY", c->words[0]);
    if (code != 0)
        return code;
    buffer_init(&target, CLIENT_TARGET_MAX);
    buffer_append_string(&target, "/v1/set/");
    client_percent_encode(&target, slice_of_string(c->words[0]), true);
    code = cli_query_wait(c, &target, &request.timeout_ms);
    if (code == 0)
        code = cli_call(c, &request, &target, &response);
    buffer_release(&target);
    if (code != 0)
        return code;
    if (response.status == 404)
        code = CLI_FALSE;
    else if (response.status != 200)
        code = cli_refused(c, &response);
    else
        code = print_members(c, &response);
    client_response_release(&response);
    return code;
}
