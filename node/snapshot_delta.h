/* Puts what happened since the last snapshot or delta at a target: the events
 * that the store still holds, as their origins signed them (backup/delta.h), or
 * a heartbeat if nothing happened. */
#ifndef NODE_SNAPSHOT_DELTA_H
#define NODE_SNAPSHOT_DELTA_H

#include "backup/delta.h"
#include "node/object_store.h"
#include "node/snapshot_scan.h"

/* Where the chain that hangs on one manifest has come to. */
struct snapshot_chain {
    uint64_t base_sequence; /* 0: there is none */
    struct hash base;
    uint64_t number; /* of the last delta */
    struct hash last;
    struct vv vv; /* owned: what manifest and deltas cover */
};
void snapshot_chain_release(struct snapshot_chain *c);

struct delta_job_config {
    struct store *store;         /* borrowed */
    uint8_t sign_secret_key[64]; /* of node.key */
    struct mesh_id mesh;
    const char *target;       /* of the configuration; not kept */
    struct object_rate *rate; /* of what is sent, or NULL; borrowed */
    uint64_t wall_ms;
    const uint8_t *data_key;            /* as in snapshot_job.h */
    const struct snapshot_chain *chain; /* copied; there is one */
    bool heartbeat; /* behind the deltas, too; without any there is one */
};

struct delta_outcome {
    uint64_t deltas; /* put now; 0: a heartbeat */
    uint64_t events;
    uint64_t bytes;
    bool heartbeat; /* was put */
};

struct delta_job;

int delta_job_create(struct delta_job **ret_job,
                     const struct delta_job_config *config,
                     struct cm_detail *detail);
/* SNAPSHOT_MORE, SNAPSHOT_DONE or an error. CM_ERR_NEEDS_CUT: some event's
 * bytes are gone already, or the state has gone behind the chain (it was
 * replaced): only a snapshot helps. What was put before an error
 * is in the chain. */
int delta_job_step(struct delta_job *j, struct cm_detail *detail);
/* From any thread: the step fails soon. */
void delta_job_stop(struct delta_job *j);
/* After the last step. Borrowed. */
const struct snapshot_chain *delta_job_chain(const struct delta_job *j);
const struct delta_outcome *delta_job_outcome(const struct delta_job *j);
void delta_job_free(struct delta_job *j);

#endif
