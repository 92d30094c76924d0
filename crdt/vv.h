/* Version vector with head hashes: incarnation -> (highest seq applied, hash
 * of that event). Contiguous, because events apply in causal order. Kept
 * sorted by incarnation, so that equal vectors have equal encodings. */
#ifndef CRDT_VV_H
#define CRDT_VV_H

#include "crdt/base/hash.h"
#include "crdt/dot.h"

#define VV_ENTRIES_MAX 65536 /* incarnations, living and retired */

struct vv_entry {
    struct incarnation incarnation;
    uint64_t seq;
    struct hash head; /* event_hash of (incarnation, seq) */
};

struct vv {
    struct vv_entry *entries; /* owned, sorted by incarnation, seq >= 1 */
    size_t count;
    size_t capacity;
};

void vv_init(struct vv *v);
void vv_release(struct vv *v);
int vv_copy(struct vv *ret_copy, const struct vv *v); /* ret is initialised */
/* NULL when absent. Valid until the next change of v. */
const struct vv_entry *vv_find(const struct vv *v,
                               const struct incarnation *incarnation);
uint64_t vv_seq(const struct vv *v, const struct incarnation *incarnation);
bool vv_covers(const struct vv *v, const struct dot *d);
/* Sets or replaces an entry; seq never goes back (CHECK). CM_ERR_NOMEM or
 * CM_ERR_LIMIT. */
int vv_set(struct vv *v, const struct incarnation *incarnation, uint64_t seq,
           const struct hash *head);
bool vv_equal(const struct vv *a, const struct vv *b); /* heads included */
/* Every entry of b is covered by a (hashes not compared). */
bool vv_dominates(const struct vv *a, const struct vv *b);
struct hash vv_hash(const struct vv *v); /* of the canonical encoding */
void vv_pack(struct buffer *out, const struct vv *v);
/* Strict: sorted, no duplicates, at most VV_ENTRIES_MAX; ret is initialised
 * and to be released also after an error (which is in u). */
void vv_unpack(struct unpacker *u, struct vv *ret_vv);

#endif
