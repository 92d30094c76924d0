/* Takes a snapshot to a target: scan to a local spool, close the read
 * transaction, put the objects that are missing, read each back, put the
 * manifest last, read it back. Also lists and verifies what a target holds. */
#ifndef NODE_SNAPSHOT_JOB_H
#define NODE_SNAPSHOT_JOB_H

#include "node/object_dir.h"
#include "node/snapshot_scan.h"

#define SNAPSHOT_JOB_STEP_OBJECTS 16

struct snapshot_outcome {
    uint64_t sequence;
    struct hash manifest_hash;
    char name[SNAPSHOT_NAME_SIZE]; /* of the manifest */
    uint64_t created_ms;
    uint64_t chunks;     /* objects, index included */
    uint64_t chunks_new; /* of those, written now */
    uint64_t entries;
    uint64_t bytes;     /* stored bytes, manifest included */
    uint64_t bytes_new; /* of those, written now */
    uint64_t took_ms;   /* the caller's clock: filled in by the caller */
};

struct snapshot_job;

struct snapshot_job_config {
    struct store *store;         /* borrowed; identity is read from it */
    uint8_t sign_secret_key[64]; /* of node.key */
    const char *target;          /* copied */
    const char *spool_dir;       /* copied; the data directory */
    uint64_t wall_ms;            /* becomes created_ms */
    /* Of this node's manifest before, if newer than META_SNAPSHOT's. */
    struct snapshot_memory previous;
};

int snapshot_job_create(struct snapshot_job **ret_job,
                        const struct snapshot_job_config *config,
                        struct cm_detail *detail);
/* SNAPSHOT_MORE, SNAPSHOT_DONE (everything was read back) or an error with
 * detail; after an error only _free. On any thread, one at a time. */
int snapshot_job_step(struct snapshot_job *j, struct cm_detail *detail);
/* After SNAPSHOT_DONE. The caller then remembers {sequence, manifest_hash} as
 * META_SNAPSHOT. */
const struct snapshot_outcome *
snapshot_job_outcome(const struct snapshot_job *j);
void snapshot_job_free(struct snapshot_job *j);

/* ---- what a target holds ---- */

struct snapshot_listed {
    char name[SNAPSHOT_NAME_SIZE]; /* of the manifest */
    char signer[NAME_SIZE_MAX + 1];
    struct mesh_id mesh;
    uint8_t authority_public_key[32];
    struct generation_id generation;
    uint64_t sequence;
    uint64_t created_ms;
    hlc_t hlc_max;
    uint64_t entries;
    uint64_t chunks;
    uint64_t bytes;    /* uncompressed */
    int error;         /* 0: signed and well-formed (objects not read) */
    char verdict[256]; /* "good", or what is wrong */
};
struct snapshot_listing {
    struct snapshot_listed *items; /* owned; newest first, damaged last */
    size_t count;
};
#define SNAPSHOT_LISTING_MAX 100000

/* Every manifest below target; expected_authority NULL = any. A damaged one is
 * listed with its verdict. CM_ERR_NOT_FOUND only if the target itself is
 * absent. Release after success only. */
int snapshot_list(struct snapshot_listing *ret_listing, const char *target,
                  const uint8_t expected_authority[32],
                  struct cm_detail *detail);
void snapshot_listing_release(struct snapshot_listing *l);

/* Called now and then during long work; total may be 0 at first. */
typedef void (*snapshot_progress)(void *ctx, uint64_t chunks_done,
                                  uint64_t chunks_total);
/* Reads every object of one snapshot. name NULL = the newest of the listing.
 * ret_listed (may be NULL) is filled in as far as known. */
int snapshot_verify(const char *target, const char *name,
                    const uint8_t expected_authority[32],
                    snapshot_progress progress, void *ctx,
                    struct snapshot_listed *ret_listed,
                    struct cm_detail *detail);

#endif
