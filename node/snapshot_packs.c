/* What is missing is told under the name that the target would have it by: that
 * is what an operator can look for. */
#include "node/snapshot_packs.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

/* Names the object at the target before whatever is wrong with it. */
static int fail_named(struct cm_detail *detail, int error, const char *name,
                      const struct cm_detail *inner)
{
    return cm_fail(detail, error == CM_ERR_NOT_FOUND ? CM_ERR_DAMAGED : error,
                   "%.120s: %.120s", name,
                   error == CM_ERR_NOT_FOUND ? "it is missing"
                   : inner->text[0] != '\0'  ? inner->text
                                             : cm_strerror(error));
}

int snapshot_segment_load(struct object_store *store,
                          const struct mesh_id *mesh,
                          const struct hash *segment, struct snapshot_map *map,
                          struct cm_detail *detail)
{
    struct cm_detail inner = {""};
    char name[SNAPSHOT_NAME_SIZE];
    struct snapshot_keys keys;
    struct buffer content;
    struct buffer bytes;
    int error;

    snapshot_keys_derive(&keys, mesh);
    snapshot_segment_name(name, mesh, segment);
    buffer_init(&bytes, SNAPSHOT_OBJECT_MAX);
    buffer_init(&content, SNAPSHOT_CHUNK_MAX);
    error = object_store_get(store, name, &bytes, &inner);
    if (error == 0)
        error = snapshot_object_decode(&content, &keys, SNAPSHOT_SEGMENT,
                                       segment, buffer_slice(&bytes), &inner);
    if (error == 0)
        error = snapshot_map_decode(map, buffer_slice(&content), &inner);
    buffer_release(&bytes);
    buffer_release(&content);
    return error == 0 ? 0 : fail_named(detail, error, name, &inner);
}

int snapshot_packs_open(struct snapshot_packs *ret_packs,
                        struct object_store *store, const struct manifest *m,
                        struct cm_detail *detail)
{
    struct snapshot_packs *p = ret_packs;
    size_t at;
    int error = 0;

    CHECK(store != NULL && m != NULL);
    *p = (struct snapshot_packs){.store = store, .mesh = m->mesh};
    buffer_init(&p->spare, SNAPSHOT_PACK_MAX);
    snapshot_keys_derive(&p->keys, &m->mesh);
    for (at = 0; at < m->segments.size && error == 0; at += HASH_SIZE) {
        struct hash segment;

        memcpy(segment.bytes, m->segments.data + at, HASH_SIZE);
        error =
            snapshot_segment_load(store, &m->mesh, &segment, &p->map, detail);
    }
    if (error != 0) {
        snapshot_packs_close(p);
        return error;
    }
    snapshot_map_sort(&p->map);
    return 0;
}

void snapshot_packs_close(struct snapshot_packs *p)
{
    size_t i;

    for (i = 0; i < p->kept_count; i++)
        buffer_release(&p->kept[i].bytes);
    buffer_release(&p->spare);
    p->kept_count = 0;
    snapshot_map_release(&p->map);
}

int snapshot_packs_check(struct snapshot_packs *p, size_t pack,
                         struct buffer *bytes, struct cm_detail *detail)
{
    const struct hash *hash = &p->map.packs[pack].hash;
    struct cm_detail inner = {""};
    char name[SNAPSHOT_NAME_SIZE];
    int error;

    CHECK(pack < p->map.packs_count);
    snapshot_pack_name(name, &p->mesh, hash);
    error = object_store_get(p->store, name, bytes, &inner);
    if (error == 0 && !p->verified)
        error =
            snapshot_pack_check(&p->keys, hash, buffer_slice(bytes), &inner);
    if (error != 0)
        return fail_named(detail, error, name, &inner);
    p->bytes_fetched += bytes->size;
    return 0;
}

/* The one that was not used for longest goes. */
static void drop_oldest(struct snapshot_packs *p)
{
    size_t oldest = 0;
    size_t i;

    CHECK(p->kept_count > 0);
    for (i = 1; i < p->kept_count; i++)
        if (p->kept[i].used < p->kept[oldest].used)
            oldest = i;
    p->kept_bytes -= p->kept[oldest].bytes.size;
    buffer_release(&p->spare);
    p->spare = p->kept[oldest].bytes;
    p->kept[oldest] = p->kept[--p->kept_count];
}

static int fetch(struct snapshot_packs *p, uint32_t pack,
                 struct kept_pack **ret_kept, struct cm_detail *detail)
{
    struct kept_pack k = {.pack = pack};
    int error;

    while (p->kept_count == SNAPSHOT_PACKS_KEPT ||
           (p->kept_count > 0 && p->kept_bytes + p->map.packs[pack].size >
                                     SNAPSHOT_PACKS_KEPT_BYTES))
        drop_oldest(p);
    k.bytes = p->spare;
    buffer_init(&p->spare, SNAPSHOT_PACK_MAX);
    error = snapshot_packs_check(p, pack, &k.bytes, detail);
    if (error != 0) {
        buffer_release(&k.bytes);
        return error;
    }
    p->kept_bytes += k.bytes.size;
    p->kept[p->kept_count] = k;
    *ret_kept = &p->kept[p->kept_count++];
    return 0;
}

static int take_from(struct snapshot_packs *p,
                     const struct snapshot_place *place,
                     struct buffer *ret_bytes, struct cm_detail *detail)
{
    struct kept_pack *kept = NULL;
    int error = 0;
    size_t i;

    for (i = 0; i < p->kept_count && kept == NULL; i++)
        if (p->kept[i].pack == place->pack)
            kept = &p->kept[i];
    if (kept == NULL)
        error = fetch(p, place->pack, &kept, detail);
    if (error != 0)
        return error;
    kept->used = ++p->calls;
    if ((size_t)place->offset + place->size > kept->bytes.size)
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "its segment places it beyond the end of its pack");
    buffer_append(ret_bytes, kept->bytes.data + place->offset, place->size);
    return ret_bytes->error;
}

int snapshot_packs_get(void *context, const char *name,
                       struct buffer *ret_bytes, struct cm_detail *detail)
{
    struct snapshot_packs *p = context;
    const struct snapshot_place *place;
    const char *text = strrchr(name, '/');
    struct hash hash;

    CHECK(text != NULL);
    if (hex_decode(hash.bytes, HASH_SIZE, text + 1) != 0)
        return cm_fail(detail, CM_ERR_INVALID, "%.100s is no object's name",
                       name);
    buffer_clear(ret_bytes);
    place = snapshot_map_find(&p->map, &hash);
    if (place == NULL)
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "no segment of the manifest places it");
    return take_from(p, place, ret_bytes, detail);
}
