/* How a client says how many members it waits for. */
#include <string.h>

#include "node/args.h"
#include "node/node.h"

int node_quorum_parse(struct node_quorum *ret, const char *text,
                      struct cm_detail *detail)
{
    uint64_t count = 0;

    *ret = (struct node_quorum){.kind = QUORUM_COUNT};
    if (strcmp(text, "all") == 0)
        ret->kind = QUORUM_ALL;
    else if (strcmp(text, "majority") == 0)
        ret->kind = QUORUM_MAJORITY;
    else if (args_number(&count, text, GOSSIP_MEMBERS_MAX, "wait", NULL) != 0 ||
             count == 0)
        return cm_fail(detail, CM_ERR_INVALID,
                       "wait is '%.40s', but must be a number of members from "
                       "1 on, majority or all",
                       text);
    ret->count = (size_t)count;
    return 0;
}
