/* Chunks never move, so that a reader's lookup by number needs no lock; the
 * hash table for the other direction does move, and has one. */
#include "node/actors.h"

#include <pthread.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/error.h"

#define INDEX_SIZE_MIN 64

int actors_init(struct actors *a)
{
    pthread_mutex_t *lock = cm_alloc(sizeof *lock);

    memset(a, 0, sizeof *a);
    if (lock == NULL)
        return CM_ERR_NOMEM;
    if (pthread_mutex_init(lock, NULL) != 0) {
        cm_free(lock);
        return CM_ERR_NOMEM;
    }
    a->lock = lock;
    return 0;
}

void actors_release(struct actors *a)
{
    for (size_t i = 0; i < ACTORS_CHUNKS; i++)
        cm_free(atomic_load(&a->chunks[i]));
    cm_free(a->index);
    if (a->lock != NULL) {
        (void)pthread_mutex_destroy(a->lock);
        cm_free(a->lock);
    }
    memset(a, 0, sizeof *a);
}

uint32_t actors_count(const struct actors *a)
{
    return atomic_load_explicit(&a->count, memory_order_acquire);
}

bool actors_get(const struct actors *a, uint32_t actor,
                struct incarnation *ret_incarnation)
{
    const struct incarnation *chunk;

    if (actor >= actors_count(a))
        return false;
    chunk = atomic_load_explicit(&a->chunks[actor / ACTORS_CHUNK],
                                 memory_order_acquire);
    CHECK(chunk != NULL);
    *ret_incarnation = chunk[actor % ACTORS_CHUNK];
    return true;
}

/* Incarnations are random: their first bytes are a hash. A peer that chooses
 * colliding ones needs a certificate for each. */
static uint32_t slot_of(const struct incarnation *i, uint32_t size)
{
    return (get_be32(i->bytes) ^ get_be32(i->bytes + 8)) & (size - 1);
}

static bool find_locked(const struct actors *a, const struct incarnation *i,
                        uint32_t *ret_actor)
{
    if (a->index_size == 0)
        return false;
    for (uint32_t slot = slot_of(i, a->index_size); a->index[slot] != 0;
         slot = (slot + 1) & (a->index_size - 1)) {
        struct incarnation other;

        if (actors_get(a, a->index[slot] - 1, &other) &&
            incarnation_equal(&other, i)) {
            *ret_actor = a->index[slot] - 1;
            return true;
        }
    }
    return false;
}

bool actors_find(const struct actors *a, const struct incarnation *incarnation,
                 uint32_t *ret_actor)
{
    bool found;

    CHECK(a->lock != NULL);
    (void)pthread_mutex_lock(a->lock);
    found = find_locked(a, incarnation, ret_actor);
    (void)pthread_mutex_unlock(a->lock);
    return found;
}

static void index_insert(uint32_t *index, uint32_t size,
                         const struct incarnation *i, uint32_t actor)
{
    uint32_t slot = slot_of(i, size);

    while (index[slot] != 0)
        slot = (slot + 1) & (size - 1);
    index[slot] = actor + 1;
}

static void index_rebuild(struct actors *a, uint32_t *index, uint32_t size)
{
    memset(index, 0, size * sizeof *index);
    for (uint32_t i = 0; i < actors_count(a); i++) {
        struct incarnation incarnation;

        CHECK(actors_get(a, i, &incarnation));
        index_insert(index, size, &incarnation, i);
    }
}

static int index_reserve(struct actors *a)
{
    uint32_t size = a->index_size > 0 ? a->index_size * 2 : INDEX_SIZE_MIN;
    uint32_t *index;

    if (4 * ((uint64_t)actors_count(a) + 1) <= 3 * (uint64_t)a->index_size)
        return 0;
    index = cm_calloc(size, sizeof *index);
    if (index == NULL)
        return CM_ERR_NOMEM;
    index_rebuild(a, index, size);
    (void)pthread_mutex_lock(a->lock);
    cm_free(a->index);
    a->index = index;
    a->index_size = size;
    (void)pthread_mutex_unlock(a->lock);
    return 0;
}

int actors_intern(struct actors *a, const struct incarnation *incarnation,
                  uint32_t *ret_actor)
{
    uint32_t actor = actors_count(a);
    struct incarnation *chunk;

    if (actors_find(a, incarnation, ret_actor))
        return 0;
    if (actor >= ACTORS_MAX)
        return CM_ERR_LIMIT;
    if (index_reserve(a) != 0)
        return CM_ERR_NOMEM;
    chunk = atomic_load(&a->chunks[actor / ACTORS_CHUNK]);
    if (chunk == NULL) {
        chunk = cm_calloc(ACTORS_CHUNK, sizeof *chunk);
        if (chunk == NULL)
            return CM_ERR_NOMEM;
        atomic_store_explicit(&a->chunks[actor / ACTORS_CHUNK], chunk,
                              memory_order_release);
    }
    chunk[actor % ACTORS_CHUNK] = *incarnation;
    (void)pthread_mutex_lock(a->lock);
    atomic_store_explicit(&a->count, actor + 1, memory_order_release);
    index_insert(a->index, a->index_size, incarnation, actor);
    (void)pthread_mutex_unlock(a->lock);
    *ret_actor = actor;
    return 0;
}

void actors_truncate(struct actors *a, uint32_t count)
{
    CHECK(count <= actors_count(a));
    if (count == actors_count(a))
        return;
    (void)pthread_mutex_lock(a->lock);
    atomic_store_explicit(&a->count, count, memory_order_release);
    index_rebuild(a, a->index, a->index_size);
    (void)pthread_mutex_unlock(a->lock);
}
