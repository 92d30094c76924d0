/* confmesh version. */
#include "node/version.h"
#include "node/cli/cli.h"

int cli_verb_version(struct cli *c)
{
    if (c->json)
        (void)printf("{\"version\":\"%s\"}\n", CONFMESH_VERSION);
    else
        (void)printf("confmesh %s\n", CONFMESH_VERSION);
    return CLI_DONE;
}
