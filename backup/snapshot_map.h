/* Where the objects of a snapshot lie.
 *
 * Objects travel in packs: magic "cmp1" and objects one after the other, at
 * most SNAPSHOT_PACK_SIZE bytes unless a single object is larger. A pack is
 * named by a hash of its stored bytes. A segment says which objects lie in
 * which packs; a manifest names the segments that together place its objects.
 * An increment therefore adds a pack, a segment and a manifest, whatever the
 * size of the state, and the index stays a function of the state alone.
 *
 * Segment = an object of kind SNAPSHOT_SEGMENT whose content is canonical
 * msgpack [[pack hash bin32, bin of (object hash 32, size 4 big-endian)...]...]
 * in the order in which the objects stand in the pack. */
#ifndef BACKUP_SNAPSHOT_MAP_H
#define BACKUP_SNAPSHOT_MAP_H

#include "backup/snapshot_object.h"

#define SNAPSHOT_PACK_SIZE (8u << 20)
#define SNAPSHOT_PACK_MAGIC "cmp1"
#define SNAPSHOT_PACK_HEADER_SIZE 4
/* A single object larger than SNAPSHOT_PACK_SIZE. */
#define SNAPSHOT_PACK_MAX (SNAPSHOT_OBJECT_MAX + SNAPSHOT_PACK_HEADER_SIZE)
/* Objects that one segment can place, and packs in them. */
#define SNAPSHOT_SEGMENT_OBJECTS_MAX 400000
#define SNAPSHOT_SEGMENT_PACKS_MAX 40000

struct snapshot_place {
    struct hash object;
    uint32_t pack; /* index in packs */
    uint32_t offset;
    uint32_t size;
};
struct snapshot_pack {
    struct hash hash;
    uint64_t size; /* of all its objects, and its magic */
    bool usable;   /* the user's: true at first */
};
struct snapshot_map {
    struct snapshot_pack *packs; /* owned */
    size_t packs_count;
    size_t packs_capacity;
    struct snapshot_place *places; /* owned; sorted by _sort */
    size_t count;
    size_t capacity;
};

void snapshot_map_release(struct snapshot_map *m);
/* The pack that following objects are added to. CM_ERR_NOMEM. */
int snapshot_map_add_pack(struct snapshot_map *m, const struct hash *pack);
/* The next object of the pack added last. CM_ERR_NOMEM. */
int snapshot_map_add(struct snapshot_map *m, const struct hash *object,
                     size_t size);
void snapshot_map_sort(struct snapshot_map *m);
/* After _sort: where an object lies in a usable pack, or NULL. */
const struct snapshot_place *snapshot_map_find(const struct snapshot_map *m,
                                               const struct hash *object);
/* Content of a segment that places everything in m (not yet sorted).
 * CM_ERR_TOO_LARGE, CM_ERR_NOMEM. */
int snapshot_map_encode(struct buffer *out, const struct snapshot_map *m);
/* Adds what a segment's content places. On error m may hold a part of it.
 * CM_ERR_MALFORMED, ..., CM_ERR_LIMIT, CM_ERR_NOMEM. */
int snapshot_map_decode(struct snapshot_map *m, struct slice content,
                        struct cm_detail *detail);

/* Empties out and begins a pack. */
void snapshot_pack_begin(struct buffer *out);
/* Whether an object of this size still belongs into it. */
bool snapshot_pack_has_room(const struct buffer *pack, size_t size);
struct hash snapshot_pack_hash(const struct snapshot_keys *keys,
                               struct slice pack);
/* CM_ERR_DAMAGED unless it is the pack of that name. */
int snapshot_pack_check(const struct snapshot_keys *keys,
                        const struct hash *expected, struct slice pack,
                        struct cm_detail *detail);

/* "v1/<mesh id hex>/p/<64 hex>" and ".../i/<64 hex>". */
void snapshot_pack_name(char ret_name[SNAPSHOT_NAME_SIZE],
                        const struct mesh_id *mesh, const struct hash *pack);
void snapshot_segment_name(char ret_name[SNAPSHOT_NAME_SIZE],
                           const struct mesh_id *mesh,
                           const struct hash *segment);

#endif
