/* A scan turns the store's state, seen by one read transaction, into spooled
 * objects and a manifest's fields. In steps, so that the simulator interleaves
 * it; production runs all steps on a worker. */
#ifndef NODE_SNAPSHOT_SCAN_H
#define NODE_SNAPSHOT_SCAN_H

#include <stdatomic.h>

#include "node/snapshot_spool.h"
#include "node/store.h"

/* Results of every …_step: an error, or one of these. */
#define SNAPSHOT_MORE 1
#define SNAPSHOT_DONE 0

#define SNAPSHOT_SCAN_STEP_ENTRIES 256

/* META_SNAPSHOT: what a node remembers of its last manifest. Canonical msgpack
 * [sequence, manifest hash bin32]. */
struct snapshot_memory {
    uint64_t sequence; /* 0: none yet */
    struct hash hash;
};
void snapshot_memory_pack(struct buffer *out, const struct snapshot_memory *m);
int snapshot_memory_unpack(struct snapshot_memory *ret_memory,
                           struct slice bytes);

/* Where the manifest's digest comes from. Adding it up again is a third of a
 * scan, and tells whether the store's own is right. */
enum snapshot_sum {
    SNAPSHOT_SUM_ADDED = 0, /* from the entries; the store's is not known */
    SNAPSHOT_SUM_AGREES,    /* from the entries, and it is the store's */
    SNAPSHOT_SUM_DIFFERS,   /* from the entries, but the store's is another */
    SNAPSHOT_SUM_KEPT,      /* the store's, not added up */
};

struct snapshot_scan {
    struct store *store; /* borrowed */
    struct store_reader *reader;
    struct store_cursor *cursor;
    enum space space; /* being walked */
    struct snapshot_writer *writer;
    struct snapshot_spool spool;
    struct buffer identity;        /* owns order and certificate */
    struct buffer standing;        /* owns the manifest's */
    struct buffer evicted;         /* likewise */
    struct manifest manifest;      /* vv owned here */
    struct snapshot_memory memory; /* from META_SNAPSHOT, zeroes if none */
    struct digest kept;            /* by the store, with each commit */
    enum snapshot_sum sum;
    bool done;
    atomic_uint users; /* of the spool, who began the scan included */
};

/* Begins the read transaction; identity facts come from the store's META_….
 * data_key: 32 bytes that objects are encrypted under, or NULL.
 * CM_ERR_NOT_READY when the store has no identity or is not ready. */
int snapshot_scan_begin(struct snapshot_scan *ret_scan, struct store *store,
                        const char *spool_dir, uint64_t wall_ms,
                        const uint8_t *data_key, struct cm_detail *detail);
/* Before the first step: the digest is the store's, if that can be read. Who
 * reads the snapshot adds it up. */
void snapshot_scan_trust(struct snapshot_scan *s);
/* SNAPSHOT_MORE, SNAPSHOT_DONE (the read transaction is over) or an error. */
int snapshot_scan_step(struct snapshot_scan *s, struct cm_detail *detail);
/* After DONE: signs with the sequence and previous hash in s->manifest. */
int snapshot_scan_manifest(struct snapshot_scan *s,
                           const uint8_t sign_secret_key[64],
                           struct buffer *out, struct cm_detail *detail);
/* Whoever leaves last gives the spool's memory back, which takes a while and
 * would hold up the node's thread in _release. On any thread. Who does not
 * leave before _release does no harm. */
void snapshot_scan_use(struct snapshot_scan *s);
void snapshot_scan_leave(struct snapshot_scan *s);
void snapshot_scan_release(struct snapshot_scan *s);

#endif
