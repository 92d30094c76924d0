/* Where chunks end: content-defined, so that a small change moves no boundary
 * but its own.
 *
 * A chunk ends after an entry whose keyed hash of its key is small; the bound
 * grows with the entry's size, so that chunks are about SNAPSHOT_CHUNK_TARGET
 * bytes whatever the sizes of values. No boundary before CHUNKER_MIN bytes, and
 * always one before an entry that would exceed CHUNKER_MAX (an entry that is
 * larger by itself has a chunk of its own). Because the hash is of the key
 * and not of the value, an overwritten value of similar size changes one chunk.
 *
 * Source: the two thresholds are those of rsync-style chunking; Xia et al.,
 * "FastCDC" (2016). */
#ifndef BACKUP_CHUNKER_H
#define BACKUP_CHUNKER_H

#include "crdt/op.h"

#define CHUNKER_MIN (2u << 10)   /* bytes */
#define CHUNKER_MAX (128u << 10) /* bytes */

struct chunker {
    uint8_t key[32];
    size_t filled; /* bytes of the open chunk */
};

void chunker_init(struct chunker *c, const uint8_t key[32]);
/* Whether the open chunk has to end before an entry of this encoded size. */
bool chunker_ends_before(const struct chunker *c, size_t entry_size);
/* The entry is in the open chunk now; whether the chunk ends after it. */
bool chunker_add(struct chunker *c, const struct entry_id *id,
                 size_t entry_size);
/* A chunk was closed. */
void chunker_reset(struct chunker *c);

#endif
