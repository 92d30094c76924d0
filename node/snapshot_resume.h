/* Where this node's own uploads to a target had come to: its newest manifest
 * there, and the deltas that hang on it. A process that starts goes on from
 * there instead of sending a snapshot. */
#ifndef NODE_SNAPSHOT_RESUME_H
#define NODE_SNAPSHOT_RESUME_H

#include "node/snapshot_delta.h"

#define RESUME_DELTAS_MAX 4096       /* read at most; beyond: none */
#define RESUME_BYTES_MAX (64u << 20) /* of them */

struct resume_config {
    const char *target; /* of the configuration; not kept */
    struct mesh_id mesh;
    struct generation_id generation; /* that this node is of */
    /* Of the newest manifest that this node knows to be at the target, 0: of
     * none. A listing may not have it yet. */
    uint64_t known_sequence;
    uint8_t authority_public_key[32];
    uint8_t sign_public_key[32];
    const uint8_t *data_key; /* as in snapshot_job.h; copied */
    struct slice sealed;     /* copied */
};

struct resume_job;

int resume_job_create(struct resume_job **ret_job,
                      const struct resume_config *config,
                      struct cm_detail *detail);
/* SNAPSHOT_MORE, SNAPSHOT_DONE or an error (the target cannot be read). */
int resume_job_step(struct resume_job *j, struct cm_detail *detail);
/* From any thread: the step fails soon. */
void resume_job_stop(struct resume_job *j);
/* After DONE; borrowed. base_sequence 0: there is no chain that can be gone on
 * with (none, damaged, another key or generation). */
const struct snapshot_chain *resume_job_chain(const struct resume_job *j);
/* When its manifest was made, ms since 1970. */
uint64_t resume_job_created_ms(const struct resume_job *j);
void resume_job_free(struct resume_job *j);

#endif
