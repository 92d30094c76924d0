/* Identity hazards: why an incarnation has to end, and its node to return.
 *
 * Each is found by itself, logged loudly, shown in status, metrics and doctor,
 * and ends by the same way: return_flow.c. */
#ifndef NODE_HAZARD_H
#define NODE_HAZARD_H

#include <stdbool.h>

/* On disk (META_RETURNING); numbers never change their meaning. The greater
 * one is told when several hold. */
enum return_reason {
    RETURN_NONE = 0,
    RETURN_CLOCK = 1,      /* own events would be held for their stamps */
    RETURN_HOST = 2,       /* the directory was copied or moved */
    RETURN_GENERATION = 3, /* the mesh has a newer generation */
    RETURN_ORDER = 4,      /* acted on an order that was dropped */
    RETURN_FORK = 5,       /* holds the branch of a fork that lost */
    RETURN_OVERRUN = 6,    /* holds something beyond a seal */
    RETURN_EVICTED = 7,    /* named by an order or retirement, or sealed */
    RETURN_OWN_EVENTS = 8, /* a peer knows own events that are not here */
    RETURN_ISSUER = 9,     /* an evicted one signed its certificate */
};
#define RETURN_REASON_LAST RETURN_ISSUER

/* Whether what it holds is wrong, and not its name alone: nobody else is to
 * take it. */
bool return_reason_is_of_state(enum return_reason reason);
/* One word, for status and metrics; "" for RETURN_NONE. */
const char *return_reason_name(enum return_reason reason);
/* What has happened, what the node does about it. */
const char *return_reason_text(enum return_reason reason);

#endif
