/* Chunks read, checked and decompressed by a thread of their own while those
 * before them are being used. For tools whose target and disk are theirs alone;
 * a node has lanes for such things, and other work for its second core. */
#ifndef NODE_SNAPSHOT_AHEAD_H
#define NODE_SNAPSHOT_AHEAD_H

#include "backup/snapshot.h"
#include "node/snapshot_pull.h"

#define SNAPSHOT_AHEAD_CHUNKS 64        /* that wait at most… */
#define SNAPSHOT_AHEAD_BYTES (4u << 20) /* …or one that is larger */

struct snapshot_ahead;

struct snapshot_ahead_config {
    struct mesh_id mesh;
    struct snapshot_keys keys;
    const struct hash *chunks; /* borrowed: in the order in which they are to
                                  come */
    size_t count;
    bool sums;        /* what the caller does not come to is added up as well */
    snapshot_get get; /* called by the thread alone from now on */
    void *ctx;
};

/* NULL: no memory or no thread; it goes without. */
struct snapshot_ahead *
snapshot_ahead_begin(const struct snapshot_ahead_config *c);
/* Waits for a call of get that is under way. NULL is fine. */
void snapshot_ahead_end(struct snapshot_ahead *a);
/* The next chunk's content, exchanged for what the buffer (initialised) holds.
 * Waits for it. ret_summed: snapshot_ahead_sum has its entries. As
 * snapshot_object_decode, and what get returns; detail names the object where
 * that says nothing of it. No call follows an error or the last chunk. */
int snapshot_ahead_next(struct snapshot_ahead *a, struct buffer *content,
                        bool *ret_summed, struct cm_detail *detail);
/* Over the chunks that were told to be summed; NULL before the last was taken.
 * Borrowed. */
const struct digest *snapshot_ahead_sum(const struct snapshot_ahead *a);

#endif
