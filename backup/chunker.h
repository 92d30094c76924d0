/* Where chunks end: content-defined, so that a small change moves no boundary
 * but its own.
 *
 * A chunk ends after an entry whose keyed hash of its key is below a bound. The
 * bound grows with the entry's size, so that chunks are of like sizes whatever
 * the sizes of values, and is four times as high once CHUNKER_NORMAL bytes are
 * there: a chunk that holds a given key is then hardly larger than the mean
 * one, and it is such chunks that an increment sends. No boundary before
 * CHUNKER_MIN bytes, and always one before an entry that would exceed
 * CHUNKER_MAX (an entry that is larger by itself has a chunk of its own).
 * Because the hash is of the key and not of the value, an overwritten value of
 * similar size changes one chunk.
 *
 * Source: minimum, maximum and normalised bounds as in Xia et al., "FastCDC"
 * (2016). */
#ifndef BACKUP_CHUNKER_H
#define BACKUP_CHUNKER_H

#include "crdt/op.h"

#define CHUNKER_MIN (4u << 10)     /* bytes */
#define CHUNKER_NORMAL (12u << 10) /* bytes */
#define CHUNKER_MAX (128u << 10)   /* bytes */
/* One boundary per so many bytes on average, below and from NORMAL on. */
#define CHUNKER_PER_EARLY (16u << 10)
#define CHUNKER_PER_LATE (2u << 10)

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
