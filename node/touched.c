#include "node/touched.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/schema.h"

#define SLOTS_MIN 1024

_Static_assert(crypto_shorthash_KEYBYTES == 16, "the key of the hash");

void touched_init(struct touched *t, const uint8_t key[16])
{
    *t = (struct touched){.at = 0};
    memcpy(t->key, key, sizeof t->key);
    buffer_init(&t->ids, TOUCHED_BYTES_MAX);
}

void touched_clear(struct touched *t)
{
    cm_free(t->slots);
    t->slots = NULL;
    t->slots_size = 0;
    t->slots_used = 0;
    buffer_release(&t->ids);
    buffer_init(&t->ids, TOUCHED_BYTES_MAX);
    t->at = 0;
    t->count = 0;
    t->overrun = false;
}

static struct slice id_at(const struct touched *t, size_t at)
{
    CHECK(at + 2 <= t->ids.size);
    return slice_of(t->ids.data + at + 2, get_be16(t->ids.data + at));
}

/* Where id stands, or would. */
static size_t find_slot(const struct touched *t, struct slice id)
{
    uint8_t hash[crypto_shorthash_BYTES];
    size_t mask = t->slots_size - 1;
    size_t slot;

    (void)crypto_shorthash(hash, id.data, id.size, t->key);
    for (slot = get_be64(hash) & mask;
         t->slots[slot] != 0 && !slice_equal(id_at(t, t->slots[slot] - 1), id);
         slot = (slot + 1) & mask)
        ;
    return slot;
}

/* Half of the slots stay free. */
static bool reserve(struct touched *t)
{
    size_t size = SLOTS_MIN;
    uint64_t *grown;

    if (2 * (t->slots_used + 1) <= t->slots_size)
        return true;
    while (size < 4 * (t->count + 1))
        size *= 2;
    grown = cm_calloc(size, sizeof *grown);
    if (grown == NULL)
        return false;
    cm_free(t->slots);
    t->slots = grown;
    t->slots_size = size;
    t->slots_used = t->count;
    for (size_t at = t->at; at < t->ids.size; at += 2 + id_at(t, at).size)
        t->slots[find_slot(t, id_at(t, at))] = at + 1;
    return true;
}

/* Behind the prefix, and behind the time of an index that has one. */
static struct slice id_of(struct slice key)
{
    uint8_t prefix = schema_prefix_of(key.data[0]);
    size_t skip =
        prefix == SCHEMA_PREFIX_DUE || prefix == SCHEMA_PREFIX_COLLAPSE ? 9 : 1;

    CHECK(key.size > skip);
    return slice_of(key.data + skip, key.size - skip);
}

void touched_note(struct touched *t, struct slice key)
{
    struct slice id = id_of(key);
    uint8_t size[2];
    size_t slot;
    size_t at;

    if (t->overrun)
        return;
    if (!reserve(t)) {
        t->overrun = true;
        return;
    }
    slot = find_slot(t, id);
    if (t->slots[slot] > t->at)
        return; /* it waits already */
    at = t->ids.size;
    put_be16(size, (uint16_t)id.size);
    buffer_append(&t->ids, size, sizeof size);
    buffer_append_slice(&t->ids, id);
    if (t->ids.error != 0) {
        t->overrun = true;
        return;
    }
    t->slots_used += t->slots[slot] == 0;
    t->slots[slot] = at + 1;
    t->count++;
}

bool touched_next(const struct touched *t, size_t *at,
                  struct schema_key *ret_key)
{
    struct slice id;

    if (*at >= t->ids.size)
        return false;
    id = id_at(t, *at);
    CHECK(id.size < SCHEMA_KEY_MAX);
    ret_key->bytes[0] = SCHEMA_PREFIX_ENTRY;
    memcpy(ret_key->bytes + 1, id.data, id.size);
    ret_key->size = 1 + id.size;
    *at += 2 + id.size;
    return true;
}

void touched_done(struct touched *t, size_t at, size_t count)
{
    CHECK(at <= t->ids.size && count <= t->count && at >= t->at);
    t->at = at;
    t->count -= count;
    if (t->count == 0) {
        CHECK(at == t->ids.size);
        touched_clear(t);
    }
}
