/* See the header; kept apart so that writer and reader agree by sharing. */
#include "backup/snapshot_index.h"

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/error.h"
#include "crdt/base/pack.h"

void hash_list_release(struct hash_list *l)
{
    cm_free(l->hashes);
    *l = (struct hash_list){0};
}

static int reserve(struct hash_list *l, size_t count)
{
    size_t capacity = l->capacity > 0 ? l->capacity : 16;
    struct hash *grown;

    CHECK(l->count <= l->capacity);
    while (capacity < count)
        capacity *= 2;
    if (capacity == l->capacity)
        return 0;
    grown = cm_realloc(l->hashes, capacity * sizeof *grown);
    if (grown == NULL)
        return CM_ERR_NOMEM;
    l->hashes = grown;
    l->capacity = capacity;
    return 0;
}

int hash_list_add(struct hash_list *l, const struct hash *h)
{
    int error = reserve(l, l->count + 1);

    CHECK(h != NULL);
    if (error == 0)
        l->hashes[l->count++] = *h;
    return error;
}

void hash_list_pack(struct buffer *out, const struct hash_list *l)
{
    size_t i;

    pack_array(out, l->count);
    for (i = 0; i < l->count; i++)
        pack_bytes(out, l->hashes[i].bytes, HASH_SIZE);
}

int hash_list_unpack(struct hash_list *l, struct slice content, size_t max,
                     bool may_be_empty)
{
    size_t before = l->count;
    struct unpacker u;
    size_t count;
    size_t i;
    int error;

    unpack_init(&u, content);
    count = unpack_array(&u, max);
    /* What is there bounds what is allocated. */
    if (u.error == 0 &&
        (count > content.size / HASH_SIZE || (count == 0 && !may_be_empty)))
        unpack_fail(&u, CM_ERR_MALFORMED);
    if (u.error != 0)
        return u.error;
    error = reserve(l, before + count);
    if (error != 0)
        return error;
    for (i = 0; i < count; i++)
        unpack_bytes(&u, l->hashes[before + i].bytes, HASH_SIZE);
    error = unpack_finish(&u);
    if (error == 0)
        l->count = before + count;
    return error;
}

bool snapshot_leaf_ends(const struct hash *chunk, size_t count)
{
    CHECK(count >= 1 && count <= SNAPSHOT_LEAF_MAX);
    return (chunk->bytes[HASH_SIZE - 1] & 63) == 0 ||
           count == SNAPSHOT_LEAF_MAX;
}
