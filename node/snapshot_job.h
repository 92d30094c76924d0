/* Takes a snapshot to a target: scan to a local spool, close the read
 * transaction, put what is missing in packs, read each back, put the manifest
 * last, read it back. What a
 * target holds is listed and verified by snapshot_listing.h. */
#ifndef NODE_SNAPSHOT_JOB_H
#define NODE_SNAPSHOT_JOB_H

#include <stdatomic.h>

#include "node/object_store.h"
#include "node/snapshot_listing.h"
#include "node/snapshot_scan.h"

struct snapshot_outcome {
    uint64_t sequence;
    struct hash manifest_hash;
    char name[SNAPSHOT_NAME_SIZE]; /* of the manifest */
    uint64_t created_ms;
    uint64_t chunks;     /* objects, index included */
    uint64_t chunks_new; /* of those, written now */
    uint64_t packs;      /* that they lie in */
    uint64_t packs_new;
    uint64_t entries;
    uint64_t bytes;     /* stored bytes, manifest included */
    uint64_t bytes_new; /* of those, written now */
    enum snapshot_sum sum;
    uint64_t took_ms; /* the caller's clock: filled in by the caller */
};

struct snapshot_job;

struct snapshot_job_config {
    struct store *store; /* borrowed; identity is read from it */
    /* NULL: the job scans the store itself. Else a scan that is done, which any
     * number of jobs read at a time; borrowed until _free. */
    struct snapshot_scan *scan;
    /* Of this node's manifests, wherever they were put: the greatest number
     * that one was given. NULL: nobody else gives any. Borrowed. */
    _Atomic uint64_t *numbers;
    uint8_t sign_secret_key[64]; /* of node.key */
    const char *target;          /* not kept */
    struct object_rate *rate;    /* of what is sent, or NULL; borrowed */
    bool target_may_exec;        /* named by the operator, not by a client */
    const char *spool_dir;       /* copied; the data directory */
    const char *log_path;        /* of the upload's log, or NULL; copied */
    uint64_t wall_ms;            /* becomes created_ms */
    /* NULL: not encrypted. Else the data key and, for the manifest, the same
     * key sealed (sealed_keys.h); copied. */
    const uint8_t *data_key;
    struct slice sealed;
    bool trusts_sum; /* of its own scan: see snapshot_scan_trust */
    bool thorough;   /* earlier packs are read back even over a network */
    /* Of this node's manifest before at this target, if it is known. */
    struct snapshot_memory previous;
};

int snapshot_job_create(struct snapshot_job **ret_job,
                        const struct snapshot_job_config *config,
                        struct cm_detail *detail);
/* SNAPSHOT_MORE, SNAPSHOT_DONE (everything was read back) or an error with
 * detail; after an error only _free. On any thread, one at a time. */
int snapshot_job_step(struct snapshot_job *j, struct cm_detail *detail);
/* From any thread, while another steps: the step fails soon. */
void snapshot_job_stop(struct snapshot_job *j);
/* After SNAPSHOT_DONE. The caller then remembers {sequence, manifest_hash}. */
const struct snapshot_outcome *
snapshot_job_outcome(const struct snapshot_job *j);
/* From any thread, while it lives. */
struct snapshot_job_progress {
    bool uploading; /* else scanning, looking or ending */
    uint64_t done;  /* of total, spooled bytes */
    uint64_t there; /* of done: were at the target before */
    uint64_t total;
};
struct snapshot_job_progress
snapshot_job_progress(const struct snapshot_job *j);
/* After SNAPSHOT_DONE: what the manifest covers. Borrowed. */
const struct vv *snapshot_job_vv(const struct snapshot_job *j);
void snapshot_job_free(struct snapshot_job *j);

#endif
