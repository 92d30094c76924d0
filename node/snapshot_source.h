/* The sender's half of bringing up a joiner: scans the store into a spool, then
 * yields the manifest followed by every object in the order in which a
 * snapshot_sink (or a snapshot_reader) wants them: root, leaves, chunks. */
#ifndef NODE_SNAPSHOT_SOURCE_H
#define NODE_SNAPSHOT_SOURCE_H

#include "node/snapshot_scan.h"

struct snapshot_source;

/* sign_secret_key is the node's. Strings are copied. */
int snapshot_source_create(struct snapshot_source **ret_source,
                           struct store *store,
                           const uint8_t sign_secret_key[64],
                           const char *spool_dir, uint64_t wall_ms,
                           struct cm_detail *detail);
void snapshot_source_free(struct snapshot_source *s);
/* SNAPSHOT_MORE, SNAPSHOT_DONE (the read transaction is over, everything can
 * be yielded) or an error. On a worker. */
int snapshot_source_step(struct snapshot_source *s, struct cm_detail *detail);
/* After DONE. 0 and a message, borrowed until the next call (at most
 * SNAPSHOT_MANIFEST_MAX bytes, the first being the manifest);
 * CM_ERR_NOT_FOUND after the last. Resumable: _seek continues after the first
 * n messages. */
int snapshot_source_next(struct snapshot_source *s, struct slice *ret_bytes,
                         struct cm_detail *detail);
void snapshot_source_seek(struct snapshot_source *s, uint64_t n);
uint64_t snapshot_source_messages(const struct snapshot_source *s);
/* Message number n, the manifest being 0, into ret_bytes (cleared first).
 * CM_ERR_NOT_FOUND beyond the last. */
int snapshot_source_read(struct snapshot_source *s, uint64_t n,
                         struct buffer *ret_bytes, struct cm_detail *detail);
uint64_t snapshot_source_bytes(const struct snapshot_source *s); /* of all */
/* Of the state that is scanned; from the beginning on. Borrowed. */
const struct vv *snapshot_source_vv(const struct snapshot_source *s);
const struct manifest *
snapshot_source_manifest(const struct snapshot_source *s);

#endif
