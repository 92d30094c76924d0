/* Segments are read before anything that they lead to is verified, so every
 * number in them is bounded here; a false place leads to bytes whose hash is
 * not the wanted one. */
#include "backup/snapshot_map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/pack.h"

#define PLACE_SIZE (HASH_SIZE + 4) /* of one object in a segment */
#define PLACES_MAX (64u << 20)
#define PACKS_MAX (1u << 20)

_Static_assert((size_t)SNAPSHOT_SEGMENT_OBJECTS_MAX *PLACE_SIZE +
                       (size_t)SNAPSHOT_SEGMENT_PACKS_MAX * (HASH_SIZE + 16) <=
                   SNAPSHOT_CHUNK_MAX,
               "a full segment is an object");

void snapshot_map_release(struct snapshot_map *m)
{
    CHECK(m != NULL);
    cm_free(m->packs);
    cm_free(m->places);
    *m = (struct snapshot_map){0};
}

/* Room for one more element of this size. */
static int grow(void **array, size_t *capacity, size_t count, size_t size,
                size_t max)
{
    size_t wanted = *capacity > 0 ? 2 * *capacity : 64;
    void *grown;

    if (count < *capacity)
        return 0;
    if (count >= max)
        return CM_ERR_LIMIT;
    grown = cm_realloc(*array, wanted * size);
    if (grown == NULL)
        return CM_ERR_NOMEM;
    *array = grown;
    *capacity = wanted;
    return 0;
}

int snapshot_map_add_pack(struct snapshot_map *m, const struct hash *pack)
{
    void *array = m->packs;
    int error = grow(&array, &m->packs_capacity, m->packs_count,
                     sizeof *m->packs, PACKS_MAX);

    m->packs = array;
    if (error != 0)
        return error;
    m->packs[m->packs_count++] = (struct snapshot_pack){
        .hash = *pack, .size = SNAPSHOT_PACK_HEADER_SIZE, .usable = true};
    return 0;
}

int snapshot_map_add(struct snapshot_map *m, const struct hash *object,
                     size_t size)
{
    struct snapshot_pack *pack;
    void *array = m->places;
    int error =
        grow(&array, &m->capacity, m->count, sizeof *m->places, PLACES_MAX);

    m->places = array;
    CHECK(m->packs_count > 0);
    if (error != 0)
        return error;
    pack = &m->packs[m->packs_count - 1];
    CHECK(size <= SNAPSHOT_OBJECT_MAX && pack->size <= SNAPSHOT_PACK_MAX);
    m->places[m->count++] = (struct snapshot_place){
        .object = *object,
        .pack = (uint32_t)(m->packs_count - 1),
        .offset = (uint32_t)pack->size,
        .size = (uint32_t)size,
    };
    pack->size += size;
    return 0;
}

static int compare_places(const void *pa, const void *pb)
{
    const struct snapshot_place *a = pa;
    const struct snapshot_place *b = pb;
    int order = hash_compare(&a->object, &b->object);

    if (order == 0)
        order = (a->pack > b->pack) - (a->pack < b->pack);
    return order != 0 ? order
                      : (a->offset > b->offset) - (a->offset < b->offset);
}

void snapshot_map_sort(struct snapshot_map *m)
{
    CHECK(m != NULL);
    if (m->count > 1)
        qsort(m->places, m->count, sizeof *m->places, compare_places);
}

const struct snapshot_place *snapshot_map_find(const struct snapshot_map *m,
                                               const struct hash *object)
{
    size_t low = 0;
    size_t high = m->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (hash_compare(&m->places[middle].object, object) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < m->count && hash_equal(&m->places[low].object, object); low++)
        if (m->packs[m->places[low].pack].usable)
            return &m->places[low];
    return NULL;
}

/* ---- segments ---- */

int snapshot_map_encode(struct buffer *out, const struct snapshot_map *m)
{
    size_t at = 0;
    size_t i;

    if (m->count > SNAPSHOT_SEGMENT_OBJECTS_MAX ||
        m->packs_count > SNAPSHOT_SEGMENT_PACKS_MAX)
        return CM_ERR_TOO_LARGE;
    pack_array(out, m->packs_count);
    for (i = 0; i < m->packs_count; i++) {
        size_t first = at;
        struct buffer list;
        size_t k;

        while (at < m->count && m->places[at].pack == i)
            at++;
        buffer_init(&list, SNAPSHOT_CHUNK_MAX);
        for (k = first; k < at; k++) {
            uint8_t size[4];

            put_be32(size, m->places[k].size);
            buffer_append(&list, m->places[k].object.bytes, HASH_SIZE);
            buffer_append(&list, size, sizeof size);
        }
        pack_array(out, 2);
        pack_bytes(out, m->packs[i].hash.bytes, HASH_SIZE);
        pack_bin(out, buffer_slice(&list));
        if (list.error != 0 && out->error == 0)
            out->error = list.error;
        buffer_release(&list);
    }
    CHECK(at == m->count); /* in the order in which they were added */
    return out->error;
}

static int decode_pack(struct snapshot_map *m, struct unpacker *u)
{
    struct hash hash = {{0}};
    struct slice list;
    size_t at;
    int error;

    unpack_array_of(u, 2);
    unpack_bytes(u, hash.bytes, HASH_SIZE);
    list = unpack_bin(u, SNAPSHOT_CHUNK_MAX);
    if (u->error != 0)
        return u->error;
    if (list.size == 0 || list.size % PLACE_SIZE != 0)
        return CM_ERR_MALFORMED;
    error = snapshot_map_add_pack(m, &hash);
    for (at = 0; at < list.size && error == 0; at += PLACE_SIZE) {
        uint32_t size = get_be32(list.data + at + HASH_SIZE);
        struct hash object;

        memcpy(object.bytes, list.data + at, HASH_SIZE);
        if (size == 0 ||
            m->packs[m->packs_count - 1].size + size > SNAPSHOT_PACK_MAX)
            return CM_ERR_MALFORMED;
        error = snapshot_map_add(m, &object, size);
    }
    return error;
}

int snapshot_map_decode(struct snapshot_map *m, struct slice content,
                        struct cm_detail *detail)
{
    struct unpacker u;
    size_t count;
    size_t i;
    int error;

    CHECK(m != NULL);
    unpack_init(&u, content);
    count = unpack_array(&u, SNAPSHOT_SEGMENT_PACKS_MAX);
    for (i = 0; i < count && u.error == 0; i++) {
        error = decode_pack(m, &u);
        if (u.error == 0 && error != 0)
            unpack_fail(&u, error);
    }
    error = unpack_finish(&u);
    if (error != 0)
        return cm_fail(detail, error, "the segment is malformed: %s",
                       cm_strerror(error));
    return 0;
}

/* ---- packs ---- */

void snapshot_pack_begin(struct buffer *out)
{
    CHECK(out != NULL);
    buffer_clear(out);
    buffer_append(out, SNAPSHOT_PACK_MAGIC, SNAPSHOT_PACK_HEADER_SIZE);
}

bool snapshot_pack_has_room(const struct buffer *pack, size_t size)
{
    CHECK(size > 0 && size <= SNAPSHOT_OBJECT_MAX);
    return pack->size <= SNAPSHOT_PACK_HEADER_SIZE ||
           pack->size + size <= SNAPSHOT_PACK_SIZE;
}

struct hash snapshot_pack_hash(const struct snapshot_keys *keys,
                               struct slice pack)
{
    return hash_keyed(keys->places, "confmesh pack v1", pack);
}

int snapshot_pack_check(const struct snapshot_keys *keys,
                        const struct hash *expected, struct slice pack,
                        struct cm_detail *detail)
{
    struct hash found;

    if (pack.size <= SNAPSHOT_PACK_HEADER_SIZE ||
        memcmp(pack.data, SNAPSHOT_PACK_MAGIC, SNAPSHOT_PACK_HEADER_SIZE) != 0)
        return cm_fail(detail, CM_ERR_DAMAGED, "it is no pack of objects");
    found = snapshot_pack_hash(keys, pack);
    if (!hash_equal(&found, expected))
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "the pack's bytes are not what its name promises");
    return 0;
}

static void format_name(char ret_name[SNAPSHOT_NAME_SIZE], char folder,
                        const struct mesh_id *mesh, const struct hash *hash)
{
    char mesh_text[MESH_ID_TEXT_SIZE];
    char hash_text[2 * HASH_SIZE + 1];

    mesh_id_format(mesh_text, mesh);
    hex_encode(hash_text, slice_of(hash->bytes, HASH_SIZE));
    (void)snprintf(ret_name, SNAPSHOT_NAME_SIZE, "v1/%s/%c/%s", mesh_text,
                   folder, hash_text);
}

void snapshot_pack_name(char ret_name[SNAPSHOT_NAME_SIZE],
                        const struct mesh_id *mesh, const struct hash *pack)
{
    format_name(ret_name, 'p', mesh, pack);
}

void snapshot_segment_name(char ret_name[SNAPSHOT_NAME_SIZE],
                           const struct mesh_id *mesh,
                           const struct hash *segment)
{
    format_name(ret_name, 'i', mesh, segment);
}
