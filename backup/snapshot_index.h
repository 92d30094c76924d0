/* The two-level hash tree over the chunks: a leaf is an array of chunk hashes,
 * the root an array of leaf hashes. A leaf ends after a chunk whose hash has
 * its low six bits zero, so that leaves too keep their names when something
 * far away changes; at most SNAPSHOT_LEAF_MAX. Shared by writer and reader. */
#ifndef BACKUP_SNAPSHOT_INDEX_H
#define BACKUP_SNAPSHOT_INDEX_H

#include "crdt/base/hash.h"

#define SNAPSHOT_LEAF_MAX 512   /* chunks of one leaf */
#define SNAPSHOT_ROOT_MAX 65536 /* leaves of the root */

/* A growing array of hashes. */
struct hash_list {
    struct hash *hashes; /* owned */
    size_t count;
    size_t capacity;
};

void hash_list_release(struct hash_list *l);
int hash_list_add(struct hash_list *l, const struct hash *h);
/* Canonical msgpack [hash bin32…]. */
void hash_list_pack(struct buffer *out, const struct hash_list *l);
/* Appends what content holds, 1..max hashes (0 allowed with may_be_empty).
 * On error l is as before. CM_ERR_MALFORMED, …, CM_ERR_NOMEM. */
int hash_list_unpack(struct hash_list *l, struct slice content, size_t max,
                     bool may_be_empty);
/* Whether the chunk of this hash is the last of its leaf. */
bool snapshot_leaf_ends(const struct hash *chunk, size_t count);

#endif
