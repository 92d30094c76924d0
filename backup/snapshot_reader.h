/* Objects in, entries out, each byte checked against the manifest. */
#ifndef BACKUP_SNAPSHOT_READER_H
#define BACKUP_SNAPSHOT_READER_H

#include "backup/manifest.h"
#include "backup/snapshot_object.h"
#include "crdt/digest.h"
#include "crdt/entry.h"

struct snapshot_reader;

/* m is copied as far as it is needed. keys: of an encrypted snapshot; NULL:
 * those of the mesh alone. Copied. */
int snapshot_reader_create(struct snapshot_reader **ret_reader,
                           const struct manifest *m,
                           const struct snapshot_keys *keys);
void snapshot_reader_free(struct snapshot_reader *r);
/* The name of the object that it wants next; false when it has all. The root,
 * then the leaves, then the chunks in key order. */
bool snapshot_reader_wants(const struct snapshot_reader *r,
                           char ret_name[SNAPSHOT_NAME_SIZE]);
/* That object's bytes, after the entries before were drained (CHECKed). Checks
 * size, name against content, canonical order. bytes need not outlive the
 * call. CM_ERR_DAMAGED, CM_ERR_MALFORMED, CM_ERR_NONCANONICAL,
 * CM_ERR_TOO_LARGE, CM_ERR_NOMEM. After CM_ERR_NOMEM the same object may be fed
 * again; any other error is final. */
int snapshot_reader_feed(struct snapshot_reader *r, struct slice bytes,
                         struct cm_detail *detail);
/* Drain after every feed; id and entry borrow until the next call. */
bool snapshot_reader_next_entry(struct snapshot_reader *r,
                                struct entry_id *ret_id,
                                const struct entry **ret_entry);
/* For who decodes ahead of it: the hashes of all chunks, in the order in which
 * they are wanted. NULL until the last leaf was fed. Borrowed for the reader's
 * life; the array does not change any more. */
const struct hash *snapshot_reader_chunks(const struct snapshot_reader *r,
                                          size_t *ret_count);
/* As _feed, with the content of the chunk that is wanted, as
 * snapshot_object_decode gave it for its very hash. The buffer is exchanged for
 * the one before. summed: snapshot_reader_sum_in will tell what it adds. */
int snapshot_reader_feed_decoded(struct snapshot_reader *r,
                                 struct buffer *content, bool summed,
                                 struct cm_detail *detail);
/* Adds a chunk's entries to sum. CM_ERR_NOMEM, or what is wrong with it: then
 * the sum is worth nothing. */
int snapshot_chunk_sum(struct digest *sum, struct slice content);
/* Of all that was fed as summed; before _finish. */
void snapshot_reader_sum_in(struct snapshot_reader *r,
                            const struct digest *sum);
/* Whether entries are added up: not by one that trusts. */
bool snapshot_reader_sums(const struct snapshot_reader *r);
/* 0 only if everything was fed and drained and counts, root and state digest
 * are the manifest's. */
int snapshot_reader_finish(struct snapshot_reader *r, struct cm_detail *detail);
/* For a first pass that only verifies: the entries of the object that was fed
 * are not handed out. */
void snapshot_reader_skip(struct snapshot_reader *r);
/* For a second pass over the very objects that another reader has verified to
 * their end: contents are still compared with their names and entries counted
 * as they are handed out (none may be skipped), but neither order nor digest is
 * checked again. Before the first feed. */
void snapshot_reader_trust(struct snapshot_reader *r);
/* Of the entries read so far, as added up: of all, once finish was happy.
 * Borrowed. Not of a trusted one. */
const struct digest *snapshot_reader_digest(const struct snapshot_reader *r);
/* Keys and elements of clients read so far; not of a trusted one. */
uint64_t snapshot_reader_keys(const struct snapshot_reader *r);
/* Progress: chunks read so far. */
uint64_t snapshot_reader_chunks_read(const struct snapshot_reader *r);

#endif
