/* confmesh txn: several operations that happen together or not at all, from a
 * file or standard input, as lines of text or as JSON. */
#include <string.h>

#include "crdt/base/check.h"
#include "node/cli/cli.h"
#include "node/cli/txn_text.h"

#define TXN_INPUT_MAX (4u << 20) /* bytes of input; escapes need room */

/* {"ops": […]} or a bare […]. */
static int parse_json(const struct cli *c, struct slice text, json_t **ret_ops)
{
    json_error_t where;
    json_t *root = json_loadb((const char *)text.data, text.size,
                              JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &where);
    if (root == NULL)
        return cli_usage_error(c, "malformed JSON at line %d, column %d: %s",
                               where.line, where.column, where.text);
    json_t *ops = json_is_array(root) ? root : json_object_get(root, "ops");
    int code = 0;
    if (!json_is_array(ops))
        code = cli_usage_error(
            c, "the JSON must be a list of operations or {\"ops\": [...]}");
    else
        *ret_ops = json_incref(ops);
    json_decref(root);
    return code;
}

static int parse(const struct cli *c, struct slice text, json_t **ret_ops)
{
    struct cm_detail detail = {""};
    size_t at = 0;
    while (at < text.size && strchr(" \t\r\n", text.data[at]) != NULL &&
           text.data[at] != 0)
        at++;
    if (at < text.size && (text.data[at] == '{' || text.data[at] == '['))
        return parse_json(c, text, ret_ops);
    if (txn_text_parse(ret_ops, text, &detail) != 0)
        return cli_usage_error(c, "%s", detail.text);
    return 0;
}

int cli_verb_txn(struct cli *c)
{
    CHECK(c->words_count <= 1);
    const char *path = c->words_count == 0 ? "-" : c->words[0];
    struct buffer text;
    json_t *ops = NULL;
    buffer_init(&text, TXN_INPUT_MAX + 65536);
    int code = cli_read_input(c, path, "the transaction", TXN_INPUT_MAX, &text);
    if (code == 0)
        code = parse(c, buffer_slice(&text), &ops);
    if (code == 0 && json_array_size(ops) == 0)
        code = cli_usage_error(c, "the transaction has no operation");
    if (code == 0)
        code = cli_transact(c, ops, false);
    else
        json_decref(ops);
    buffer_release(&text);
    return code;
}
