/* From a spool of objects to packs at a target that holds most of them already.
 *
 * What the segments of an earlier manifest place is used where it lies; the
 * rest goes into packs of at most 8 MiB, each read back after it was put, and
 * one new segment places them. Once SNAPSHOT_SEGMENTS_MAX segments have
 * gathered, the next upload puts the objects of all small packs anew and names
 * one segment instead, so that a restore never needs more than a bounded number
 * of small requests.
 *
 * What a prune means to delete is not relied upon (snapshot_marks.h); where
 * something new would bear the name of such an object, it is given another. At
 * the end it is looked again, and what a prune took meanwhile is put anew.
 *
 * Steps, so that whoever runs it can interleave. */
#ifndef NODE_SNAPSHOT_UPLOAD_H
#define NODE_SNAPSHOT_UPLOAD_H

#include "node/object_store.h"
#include "node/snapshot_scan.h"

/* Packs below this size are put together when segments are. */
#define SNAPSHOT_SMALL_PACK (2u << 20)

struct snapshot_upload;

struct snapshot_upload_counts {
    uint64_t objects_new; /* put now, of those in the spool */
    uint64_t packs_new;
    uint64_t packs;       /* used, new ones included */
    uint64_t bytes_new;   /* packs and segments */
    uint64_t bytes_done;  /* progress: of bytes_total, spooled bytes */
    uint64_t bytes_there; /* of bytes_done: were there already */
    uint64_t bytes_total;
};

/* All borrowed, until _free. */
struct snapshot_upload_config {
    struct object_store *store;
    const struct mesh_id *mesh; /* copied */
    const struct snapshot_spool *spool;
    struct slice segments; /* hashes of an earlier manifest's; copied */
    /* Earlier packs are read back; else, of a target over a network, they only
     * have to be listed. */
    bool thorough;
    const char *log_path; /* of the upload's log (upload_log.h), or NULL */
};

int snapshot_upload_create(struct snapshot_upload **ret_upload,
                           const struct snapshot_upload_config *config,
                           struct cm_detail *detail);
void snapshot_upload_free(struct snapshot_upload *u);
/* SNAPSHOT_MORE, SNAPSHOT_DONE (everything that the segments place was read
 * back, now or when it was put) or an error. */
int snapshot_upload_step(struct snapshot_upload *u, struct cm_detail *detail);
/* After DONE: for the manifest. Borrowed. */
struct slice snapshot_upload_segments(const struct snapshot_upload *u);
/* A manifest leads to all of it now: its log has done its work. */
void snapshot_upload_settled(struct snapshot_upload *u);
const struct snapshot_upload_counts *
snapshot_upload_counts(const struct snapshot_upload *u);

#endif
