/* Restore: what the operator does when every machine is gone.
 *
 * The same choice as confmesh-restore's (node/restore/): newest first, the
 * first snapshot that is whole. Host 0 becomes the founder of the next
 * generation, with a new key and a new incarnation, its store filled by
 * production code (node/snapshot_pull.h, writer_replace); the others join it
 * as anybody does. */
#ifndef SIM_RESTORE_H
#define SIM_RESTORE_H

#include "backup/snapshot.h"
#include "sim/world.h"

/* The newest whole snapshot of the mesh's target. CM_ERR_NOT_FOUND: there is
 * none. bytes (initialised) back ret_manifest; release it after success. */
int sim_restore_choose(const struct sim_world *w, struct buffer *bytes,
                       struct manifest *ret_manifest);
/* Makes host 0, which is down and wiped, that founder, and tells the check. */
int sim_restore_found(struct sim_world *w, const struct manifest *m,
                      struct cm_detail *detail);
/* The object store has lost or altered something: a snapshot may be damaged.
 * Its other faults are no excuse. */
bool sim_restore_is_damaged(const struct sim_world *w);

#endif
