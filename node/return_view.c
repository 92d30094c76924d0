#include "node/return_view.h"

#include <string.h>

#include "crdt/base/check.h"

/* Smaller leads are over before a return would be. */
#define CLOCK_LEAD_MIN_MS 60000

bool return_is_sealed(const struct writer *w, const struct incarnation *i,
                      uint64_t *ret_last)
{
    return standing_is_sealed(w->standing, i, ret_last);
}

bool return_floor_covers(const struct writer *w, const struct dot *d)
{
    CHECK(d->seq >= 1);
    return standing_covers(w->standing, d);
}

bool return_has_acknowledged(const struct writer *w, const struct dot *d)
{
    return standing_has_acknowledged(w->standing, &w->self, d);
}

bool return_may_come(const struct writer *w, const struct dot *d)
{
    return !vv_covers(&w->vv, d) &&
           standing_is_member(w->standing, &d->incarnation) &&
           !incarnation_equal(&d->incarnation, &w->self);
}

hlc_t return_floor_time(const struct writer *w)
{
    return standing_floor_time(w->standing);
}

struct hash return_standing_mark(const struct batch *b)
{
    const struct writer *w = b->w;

    return b->standing_changed ? standing_hash(w->standing) : w->standing_hash;
}

/* "A node told that its events are held re-mints with a clock in bounds": its
 * next stamp would be ahead of its own clock and of the median, which is what
 * makes the others hold it. */
static bool is_ahead_of_clocks(const struct writer *w, uint64_t wall_ms)
{
    uint64_t bound = wall_ms + CLOCK_LEAD_MIN_MS;

    if (wall_ms == 0 || w->clocks < 2 ||
        w->clock_offset_ms < -CLOCK_DRIFT_MAX_MS)
        return false; /* unknown, or not repaired yet */
    if (w->clock_offset_ms > 0)
        bound += (uint64_t)w->clock_offset_ms;
    return hlc_wall_ms(w->head.hlc) > bound;
}

bool return_look_for_fork(struct writer *w, struct standing_lost *ret_lost)
{
    w->lost_branch = w->ready && standing_holds_lost_branch(
                                     w->standing, &w->self, &w->vv, ret_lost);
    return w->lost_branch;
}

enum return_reason return_reason_of(const struct writer *w, uint64_t wall_ms)
{
    if (!w->ready)
        return RETURN_NONE; /* it has no life to end yet */
    if (w->hazard)
        return RETURN_OWN_EVENTS;
    if (standing_is_evictee(w->standing, &w->self) ||
        standing_is_sealed(w->standing, &w->self, NULL))
        return RETURN_EVICTED;
    if (w->overrun)
        return RETURN_OVERRUN;
    if (w->lost_branch)
        return RETURN_FORK;
    if (standing_is_dropped(w->standing))
        return RETURN_ORDER;
    return is_ahead_of_clocks(w, wall_ms) ? RETURN_CLOCK : RETURN_NONE;
}
