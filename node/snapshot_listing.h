/* What a target holds: every manifest with its verdict, and the reading of one
 * whole snapshot. */
#ifndef NODE_SNAPSHOT_LISTING_H
#define NODE_SNAPSHOT_LISTING_H

#include "backup/snapshot.h"
#include "node/object_store.h"

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
    uint64_t bytes; /* uncompressed */
    bool encrypted;
    size_t target; /* the caller's: at which of several targets */
    bool looked;   /* the caller's: it was read */
    /* Who says at the same target that the signer's key was evicted; empty:
     * nobody. A claim: keys of evicted ones can claim it of others. */
    char accuser[NAME_SIZE_MAX + 1];
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
/* The same of a target that is open. */
int snapshot_list_in(struct snapshot_listing *ret_listing,
                     struct object_store *store,
                     const uint8_t expected_authority[32],
                     struct cm_detail *detail);
void snapshot_listing_release(struct snapshot_listing *l);
/* Newest first, damaged last: for who puts several listings together. */
void snapshot_listing_sort(struct snapshot_listing *l);
/* Whether one before item at, of the same signer and target, was looked at: a
 * later snapshot of that signer, since the newest come first. */
bool snapshot_listing_is_settled(const struct snapshot_listing *l, size_t at);

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
/* One manifest: read, checked, its name compared with what it says. ret_bytes
 * (initialised, limit SNAPSHOT_MANIFEST_MAX) backs ret_manifest. Release the
 * manifest after success only. */
int snapshot_manifest_load(struct object_store *d, const char *name,
                           const uint8_t expected_authority[32],
                           struct buffer *ret_bytes,
                           struct manifest *ret_manifest,
                           struct cm_detail *detail);
/* As snapshot_objects_verify; also counts the keys and elements of clients,
 * which the entries of a manifest are together with the mesh's own. UINT64_MAX:
 * it is encrypted and could not be looked into. */
int snapshot_objects_read(struct object_store *d, const struct manifest *m,
                          const struct snapshot_keys *keys,
                          snapshot_progress progress, void *ctx,
                          uint64_t *ret_keys, struct cm_detail *detail);
/* Every pack of m is listed by the target, and percent of them, drawn by lot,
 * are read and compared with their names. */
struct snapshot_sample {
    size_t packs;
    size_t read;
    uint64_t bytes; /* of all packs */
};
int snapshot_packs_sample(struct object_store *d, const struct manifest *m,
                          unsigned percent, struct snapshot_sample *ret_sample,
                          struct cm_detail *detail);
/* As snapshot_objects_verify, with the keys of an encrypted one; also tells the
 * sum over all its entries, which struct replacement takes. */
int snapshot_objects_sum(struct object_store *d, const struct manifest *m,
                         const struct snapshot_keys *keys,
                         snapshot_progress progress, void *ctx,
                         struct digest *ret_sum, struct cm_detail *detail);
/* Reads every object that m names. What is missing is CM_ERR_DAMAGED. Of an
 * encrypted snapshot without its keys: every pack, compared with its name. */
int snapshot_objects_verify(struct object_store *d, const struct manifest *m,
                            const struct snapshot_keys *keys,
                            snapshot_progress progress, void *ctx,
                            struct cm_detail *detail);

#endif
