/* What returning wants to know of the writer's state, in one place. */
#ifndef NODE_RETURN_VIEW_H
#define NODE_RETURN_VIEW_H

#include "node/writer_internal.h"

/* By an eviction or a retirement; a generation's seals are not in it. */
bool return_is_sealed(const struct writer *w, const struct incarnation *i,
                      uint64_t *ret_last);
bool return_floor_covers(const struct writer *w, const struct dot *d);
/* At or below a cut that this incarnation has acknowledged (its sponsor, for
 * it) and that is no floor yet. */
bool return_has_acknowledged(const struct writer *w, const struct dot *d);
/* Not here yet, and its writer is a member, so that it may still come. */
bool return_may_come(const struct writer *w, const struct dot *d);
hlc_t return_floor_time(const struct writer *w);
/* Equal as long as no seal and no floor came. */
struct hash return_standing_mark(const struct batch *b);
/* Whether the state holds the branch of a fork that lost by the fences known
 * here; ret_lost is set only then. Kept for return_reason_of. */
bool return_look_for_fork(struct writer *w, struct standing_lost *ret_lost);
/* wall_ms 0: the clock is not known. */
enum return_reason return_reason_of(const struct writer *w, uint64_t wall_ms);

#endif
