/* The argument: a boundary depends only on the entries since the boundary
 * before, and on each of those only through its key and (weakly) its size. A
 * changed, added or removed entry can therefore move boundaries up to the next
 * entry whose hash is small whatever the size before it, and no further. */
#include "backup/chunker.h"

#include <sodium.h>
#include <string.h>

#include "backup/snapshot_object.h"
#include "crdt/base/check.h"

_Static_assert(CHUNKER_MIN < CHUNKER_NORMAL, "thresholds in order");
_Static_assert(CHUNKER_NORMAL < CHUNKER_MAX, "thresholds in order");
_Static_assert(CHUNKER_MAX < SNAPSHOT_CHUNK_MAX, "thresholds in order");

void chunker_init(struct chunker *c, const uint8_t key[32])
{
    CHECK(c != NULL && key != NULL);
    memcpy(c->key, key, sizeof c->key);
    c->filled = 0;
}

bool chunker_ends_before(const struct chunker *c, size_t entry_size)
{
    CHECK(entry_size > 0 && entry_size <= SNAPSHOT_CHUNK_MAX);
    return c->filled > 0 && c->filled + entry_size > CHUNKER_MAX;
}

/* Uniform in 32 bits. Keyed, so that nobody outside of the mesh can choose
 * keys that make all chunks tiny. */
static uint64_t key_hash(const struct chunker *c, const struct entry_id *id)
{
    crypto_generichash_state state;
    uint8_t head[9];
    uint8_t hash[16];

    head[0] = (uint8_t)id->space;
    put_be64(head + 1, id->key.size);
    (void)crypto_generichash_init(&state, c->key, sizeof c->key, sizeof hash);
    (void)crypto_generichash_update(&state, head, sizeof head);
    if (id->key.size > 0)
        (void)crypto_generichash_update(&state, id->key.data, id->key.size);
    if (id->element.size > 0)
        (void)crypto_generichash_update(&state, id->element.data,
                                        id->element.size);
    (void)crypto_generichash_final(&state, hash, sizeof hash);
    return get_be32(hash);
}

bool chunker_add(struct chunker *c, const struct entry_id *id,
                 size_t entry_size)
{
    size_t per;

    CHECK(!chunker_ends_before(c, entry_size));
    c->filled += entry_size;
    if (c->filled >= CHUNKER_MAX)
        return true;
    if (c->filled < CHUNKER_MIN)
        return false;
    /* P(end) = size / per. */
    per = c->filled < CHUNKER_NORMAL ? CHUNKER_PER_EARLY : CHUNKER_PER_LATE;
    return entry_size >= per ||
           key_hash(c, id) < entry_size * ((UINT64_C(1) << 32) / per);
}

void chunker_reset(struct chunker *c)
{
    CHECK(c->filled > 0);
    c->filled = 0;
}
