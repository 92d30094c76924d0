/* confmesh del: deletes a key. */
#include "crdt/base/check.h"
#include "node/cli/cli.h"

int cli_verb_del(struct cli *c)
{
    CHECK(c->words_count == 1);
    int code = cli_check_key(c, "KEY", c->words[0]);
    if (code != 0)
        return code;
    json_t *ops = json_array();
    CHECK(ops != NULL);
    json_t *op = cli_op("del", slice_of_string(c->words[0]), NULL);
    const char *version = cli_value(c, "if-version");
    if (version != NULL &&
        json_object_set_new(op, "if_version", json_string(version)) != 0)
        code = cli_usage_error(c, "--if-version is not valid UTF-8");
    CHECK(json_array_append_new(ops, op) == 0);
    if (code == 0)
        return cli_transact(c, ops, false);
    json_decref(ops);
    return code;
}
