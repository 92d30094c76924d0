/* Actors: incarnations interned as small numbers, so that a sibling's dot
 * costs a few bytes on disk.
 *
 * A number is given at the first event of an incarnation and never changes; it
 * is the number of its version vector record. Only the writer adds; readers on
 * any thread look up without waiting for it, because a record that names a
 * number can be read only after the number was published. */
#ifndef NODE_ACTORS_H
#define NODE_ACTORS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "crdt/dot.h"
#include "crdt/vv.h"

#define ACTORS_MAX VV_ENTRIES_MAX
#define ACTORS_CHUNK 256 /* incarnations per allocation */
#define ACTORS_CHUNKS (ACTORS_MAX / ACTORS_CHUNK)

struct actors {
    struct incarnation *_Atomic chunks[ACTORS_CHUNKS]; /* owned */
    _Atomic uint32_t count;
    void *lock;          /* guards index; owned */
    uint32_t *index;     /* owned hash table of number + 1, 0 = free */
    uint32_t index_size; /* a power of two, 0 before the first */
};

int actors_init(struct actors *a);
void actors_release(struct actors *a);
uint32_t actors_count(const struct actors *a);
/* False when there is no such number. */
bool actors_get(const struct actors *a, uint32_t actor,
                struct incarnation *ret_incarnation);
bool actors_find(const struct actors *a, const struct incarnation *incarnation,
                 uint32_t *ret_actor);
/* The number of incarnation, a new one if it has none. The writer only.
 * CM_ERR_NOMEM, CM_ERR_LIMIT at ACTORS_MAX. */
int actors_intern(struct actors *a, const struct incarnation *incarnation,
                  uint32_t *ret_actor);
/* Forgets every number from count on, given by a transaction that was
 * aborted. */
void actors_truncate(struct actors *a, uint32_t count);

#endif
