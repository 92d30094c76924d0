#include "node/hazard.h"

#include "crdt/base/check.h"

static const char *const names[] = {
    "",     "clock",   "host",    "generation", "order",
    "fork", "overrun", "evicted", "own-events", "issuer",
};
static const char *const texts[] = {
    "",
    "its stamps are far ahead of the clocks since its own was wrong, so that "
    "the others hold its events",
    "its data directory was copied or moved: another copy may be living",
    "the mesh was restored to a newer generation",
    "it acted on an eviction order that was dropped for another one",
    "it holds the branch of a fork that lost",
    "it holds events beyond the seal of an evicted incarnation",
    "its incarnation was evicted or retired",
    "peers know events of it that its own disk does not hold: its data "
    "directory was rolled back or cloned",
    "whoever signed its certificate was evicted: it needs a token of another "
    "issuer",
};
_Static_assert(sizeof names / sizeof names[0] == RETURN_REASON_LAST + 1,
               "one name for each reason");
_Static_assert(sizeof texts / sizeof texts[0] == RETURN_REASON_LAST + 1,
               "one text for each reason");

const char *return_reason_name(enum return_reason reason)
{
    CHECK((int)reason >= 0 && reason <= RETURN_REASON_LAST);
    return names[reason];
}

bool return_reason_is_of_state(enum return_reason reason)
{
    /* Not a fork: where vectors alone show it, each node may hold the shorter
     * branch of one. Who has lost by the fences gives no cut all the same
     * (cut_serve.c): of all that stay one has not. */
    return reason == RETURN_GENERATION || reason == RETURN_ORDER ||
           reason == RETURN_OVERRUN || reason == RETURN_EVICTED ||
           reason == RETURN_ISSUER;
}

const char *return_reason_text(enum return_reason reason)
{
    CHECK((int)reason >= 0 && reason <= RETURN_REASON_LAST);
    return texts[reason];
}
