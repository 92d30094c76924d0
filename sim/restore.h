/* Restore: what the operator does when every machine is gone.
 *
 * Choice and joining are confmesh-restore's own code (node/restore/): the
 * newest snapshot that is whole, with the deltas behind it, and whatever other
 * snapshots and deltas of its generation bring beside it. Host 0 becomes the
 * founder of the next generation, with a new key and a new incarnation, its
 * store filled by production code (writer_replace); the others join it as
 * anybody does. */
#ifndef SIM_RESTORE_H
#define SIM_RESTORE_H

#include "sim/world.h"

/* What the target holds, as one state. */
struct sim_restore;

/* What is younger than age_ms by host 0's clock is left out (0: nothing is).
 * CM_ERR_NOT_FOUND: there is no whole snapshot. Other errors, with the words of
 * confmesh-restore: it asks the operator to put something away first. */
int sim_restore_gather(struct sim_restore **ret_restore, struct sim_world *w,
                       uint64_t age_ms, struct cm_detail *detail);
void sim_restore_free(struct sim_restore *r); /* NULL is fine */
/* Makes host 0, which is down and wiped, that founder, and tells the check. */
int sim_restore_found(struct sim_world *w, struct sim_restore *r,
                      struct cm_detail *detail);
/* The object store has lost or altered something: a snapshot may be damaged.
 * Its other faults are no excuse. */
bool sim_restore_is_damaged(const struct sim_world *w);

#endif
