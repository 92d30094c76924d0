/* Who else may upload to a target: announcements (backup/delta.h) there.
 *
 * A node that is configured with a target announces itself at it; whoever can
 * be chosen therefore has proved that it reaches the target and may write, and
 * two directories of one name on two hosts are two targets. The roster says who
 * may be meant, the signature that it was that node who put it there. */
#ifndef NODE_SNAPSHOT_ROLL_H
#define NODE_SNAPSHOT_ROLL_H

#include "backup/delta.h"
#include "node/object_store.h"

#define ROLL_CANDIDATES_MAX 8 /* of a target that are remembered */

/* One that the roster knows, in the order of the choice. */
struct roll_member {
    struct key_id key;
    uint8_t sign_key[32];
    char name[NAME_SIZE_MAX + 1];
};

/* One that has announced itself. */
struct roll_candidate {
    struct key_id key;
    char name[NAME_SIZE_MAX + 1];
    uint64_t created_ms; /* by its clock */
    uint64_t beat_ms;
    struct hash evidence; /* of announcement and heartbeat: it changes while it
                             uploads */
};

struct roll_config {
    const char *target; /* of the configuration; not kept */
    struct mesh_id mesh;
    uint8_t sign_secret_key[64];
    uint64_t wall_ms;
    uint64_t beat_ms;
    bool announce;               /* put one's own */
    struct roll_member *members; /* taken, this node among them */
    size_t members_count;
};

struct roll_job;

int roll_job_create(struct roll_job **ret_job, const struct roll_config *config,
                    struct cm_detail *detail);
/* true: again. Then _error. */
bool roll_job_step(struct roll_job *j);
/* From any thread: the step fails soon. */
void roll_job_stop(struct roll_job *j);
int roll_job_error(const struct roll_job *j, struct cm_detail *detail);
/* In the order of the members; borrowed. */
const struct roll_candidate *roll_job_candidates(const struct roll_job *j,
                                                 size_t *ret_count);
void roll_job_free(struct roll_job *j);

#endif
