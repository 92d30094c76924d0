/* confmesh revoke: deletes a key so that no stale writer brings it back. */
#include "crdt/base/check.h"
#include "node/cli/cli.h"

int cli_verb_revoke(struct cli *c)
{
    CHECK(c->words_count >= 1);
    for (size_t i = 0; i < c->words_count; i++) {
        int code = cli_check_key(c, "KEY", c->words[i]);
        if (code != 0)
            return code;
    }
    int code = cli_check_reason(c);
    if (code != 0)
        return code;
    /* Several keys are one transaction: revoked together or not at all. */
    json_t *ops = json_array();
    CHECK(ops != NULL);
    for (size_t i = 0; i < c->words_count; i++) {
        json_t *op = cli_op("revoke", slice_of_string(c->words[i]), NULL);
        cli_op_reason(c, op);
        CHECK(json_array_append_new(ops, op) == 0);
    }
    return cli_transact(c, ops, false);
}
