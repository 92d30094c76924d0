/* Objects out of packs: a snapshot_get (snapshot_pull.h) over a target.
 *
 * The segments that a manifest names are read first; packs are fetched when an
 * object of theirs is wanted, compared with their names, and the last few are
 * kept: chunks are asked for in key order, and that is mostly the order in
 * which they lie. */
#ifndef NODE_SNAPSHOT_PACKS_H
#define NODE_SNAPSHOT_PACKS_H

#include "backup/snapshot.h"
#include "node/object_store.h"

#define SNAPSHOT_PACKS_KEPT 80                /* packs */
#define SNAPSHOT_PACKS_KEPT_BYTES (40u << 20) /* and bytes of them */

struct kept_pack {
    struct buffer bytes;
    uint32_t pack; /* index in the map */
    uint64_t used; /* when, in calls */
};

struct snapshot_packs {
    struct object_store *store; /* borrowed */
    struct mesh_id mesh;
    struct snapshot_keys keys; /* of places */
    struct snapshot_map map;
    struct kept_pack kept[SNAPSHOT_PACKS_KEPT];
    size_t kept_count;
    size_t kept_bytes;
    struct buffer spare; /* of the one that went last: its memory */
    bool verified; /* all packs have been read: their objects are compared with
                      their names in any case, they themselves no more */
    uint64_t calls;
    uint64_t bytes_fetched; /* progress */
};

/* Reads the segments. CM_ERR_DAMAGED for a missing or wrong one, which detail
 * names, CM_ERR_IO, CM_ERR_NOMEM. Close after success only. */
int snapshot_packs_open(struct snapshot_packs *ret_packs,
                        struct object_store *store, const struct manifest *m,
                        struct cm_detail *detail);
void snapshot_packs_close(struct snapshot_packs *p);
/* context is a struct snapshot_packs. */
int snapshot_packs_get(void *context, const char *name,
                       struct buffer *ret_bytes, struct cm_detail *detail);
/* One pack by its index in the map: fetched and checked, nothing kept. */
int snapshot_packs_check(struct snapshot_packs *p, size_t pack,
                         struct buffer *bytes, struct cm_detail *detail);

/* One segment: read, checked, added to map. */
int snapshot_segment_load(struct object_store *store,
                          const struct mesh_id *mesh,
                          const struct hash *segment, struct snapshot_map *map,
                          struct cm_detail *detail);

#endif
