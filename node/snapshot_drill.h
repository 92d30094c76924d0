/* The drill: a snapshot restored as it would be on the day, into a scratch
 * replica by the writer that a node has; the replica's own index is built anew
 * and its root compared with the manifest's; then the deltas, each with the
 * digest that it promises. Nothing of it stays. */
#ifndef NODE_SNAPSHOT_DRILL_H
#define NODE_SNAPSHOT_DRILL_H

#include "node/snapshot_state.h"

struct snapshot_drill {
    char name[SNAPSHOT_NAME_SIZE]; /* of the manifest */
    char signer[NAME_SIZE_MAX + 1];
    uint64_t sequence;
    uint64_t created_ms;
    uint64_t covered_ms; /* the greatest stamp of what was restored */
    uint64_t entries;
    uint64_t keys; /* of clients, of these */
    uint64_t bytes;
    struct hash root;
    uint64_t deltas;
    uint64_t events;
    size_t lost; /* deltas that could not be used */
    char lost_text[256];
};

struct snapshot_drill_config {
    struct object_store *store;  /* borrowed */
    const char *name;            /* NULL: the newest */
    const uint8_t *authority;    /* expected; NULL: any */
    const struct key_id *signer; /* of the newest; NULL: any */
    const char *scratch;         /* see scratch.h */
    int (*unlock)(void *context, const struct manifest *m,
                  struct snapshot_keys *ret_keys, struct cm_detail *detail);
    void *context;
};

/* Blocks. 0 with the result; CM_ERR_NOT_FOUND: there is none; CM_ERR_DAMAGED,
 * ...: it could not be restored, detail says why. A damaged manifest that may
 * be the newest is not passed over. */
int snapshot_drill(struct snapshot_drill *ret_drill,
                   const struct snapshot_drill_config *c,
                   struct cm_detail *detail);

#endif
