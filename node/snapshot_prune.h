/* Retention: which snapshots a target keeps, and how the rest goes.
 *
 * Per signer and by sequence: what one signer puts, whatever times it claims,
 * never makes another's history go. Claimed times only space the snapshots of
 * their own signer, and never run against its sequence or ahead of our clock.
 * The newest snapshot that verifies whole is always kept; if none does, nothing
 * goes.
 *
 * In two phases: what is not needed is written down at the target ("v1/<mesh
 * id>/t/<milliseconds since 1970, 20 digits>"); a later prune, at least the
 * grace period after that, deletes what is still not needed. Manifests go
 * first, then deltas, segments, packs. */
#ifndef NODE_SNAPSHOT_PRUNE_H
#define NODE_SNAPSHOT_PRUNE_H

#include "node/snapshot_listing.h"

struct prune_policy {
    uint64_t keep_last; /* newest of each signer, at least 1 */
    uint64_t keep_hourly;
    uint64_t keep_daily;
    uint64_t keep_weekly;
    uint64_t grace_ms;
    bool dry_run;
};

enum prune_verdict { PRUNE_KEPT = 1, PRUNE_MARKED, PRUNE_DELETED };

struct prune_counts {
    uint64_t kept; /* manifests */
    uint64_t marked;
    uint64_t deleted;
    uint64_t failed; /* could not be deleted; the next prune tries again */
};
/* For each manifest that is kept and each object that is marked or deleted (or
 * would be). */
typedef void (*prune_tell)(void *ctx, enum prune_verdict verdict,
                           const char *name);

/* expected_authority NULL = any. CM_ERR_NOT_FOUND: no snapshot;
 * CM_ERR_DAMAGED: none is whole, or a kept one lost a segment; CM_ERR_IO,
 * CM_ERR_NOMEM. */
int snapshot_prune(const char *target, const struct prune_policy *policy,
                   const uint8_t expected_authority[32], uint64_t wall_ms,
                   prune_tell tell, void *ctx, struct prune_counts *ret_counts,
                   struct cm_detail *detail);

/* Of the manifests of one signer, in descending order of sequence with their
 * claimed times: which are kept. */
void prune_choose(bool *ret_keep, const uint64_t *created_ms, size_t count,
                  const struct prune_policy *policy, uint64_t wall_ms);

#endif
