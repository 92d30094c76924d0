/* confmesh adopt --yes: the operator agrees to a cut that would delete much, or
 * that no second member has confirmed. */
#include "crdt/base/check.h"
#include "node/cli/cli.h"

int cli_verb_adopt(struct cli *c)
{
    if (!cli_has(c, "yes"))
        return cli_usage_error(
            c, "see \"cuts\" in \"confmesh status\" first, then repeat this "
               "with --yes");
    const char *from = cli_value(c, "from");
    json_t *body = json_pack("{s:b, s:s*}", "yes", 1, "from", from);
    json_t *answer = NULL;
    CHECK(body != NULL);
    int code = cli_get_json(c, "/v1/mesh/adopt", body, 0, &answer);
    json_decref(body);
    if (code == 0 && c->json)
        cli_print_json(answer);
    else if (code == 0)
        cli_note("agreed; see \"confmesh status\"");
    json_decref(answer);
    return code;
}
