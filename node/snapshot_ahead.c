/* A ring of contents: the thread fills at the head, the caller takes at the
 * tail. Both exchange buffers with it, so that nothing is copied and memory is
 * kept from chunk to chunk. */
#include "node/snapshot_ahead.h"

#include <pthread.h>
#include <sodium.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

/* So many chunks that wait are enough for the caller: there is time for more
 * than fetching. */
#define ENOUGH (SNAPSHOT_AHEAD_CHUNKS / 4)

struct snapshot_ahead {
    struct snapshot_ahead_config c;
    struct snapshot_coder coder; /* the thread's… */
    struct buffer bytes;
    struct buffer content;
    struct digest sum;
    pthread_t thread;

    pthread_mutex_t lock; /* …and what both use */
    pthread_cond_t change;
    struct buffer ring[SNAPSHOT_AHEAD_CHUNKS];
    bool summed[SNAPSHOT_AHEAD_CHUNKS];
    size_t filled; /* ever; at most count */
    size_t taken;  /* ever */
    size_t bytes_filled;
    int error; /* of the chunk behind those that are filled */
    struct cm_detail detail;
    bool stopping;
};

static int fetch(struct snapshot_ahead *a, const struct hash *hash,
                 struct cm_detail *detail)
{
    char name[SNAPSHOT_NAME_SIZE];
    struct cm_detail inner = {""};
    int error;

    snapshot_object_name(name, &a->c.mesh, hash);
    error = a->c.get(a->c.ctx, name, &a->bytes, &inner);
    if (error != 0)
        return cm_fail(detail, error, "%s",
                       inner.text[0] != '\0' ? inner.text : name);
    error = snapshot_object_decode_by(&a->coder, &a->content, &a->c.keys,
                                      SNAPSHOT_CHUNK, hash,
                                      buffer_slice(&a->bytes), &inner);
    return error == 0 ? 0 : snapshot_pull_fail(detail, error, name, &inner);
}

static int sum(struct snapshot_ahead *a, const struct hash *hash,
               struct cm_detail *detail)
{
    static const struct cm_detail nothing = {""};
    char name[SNAPSHOT_NAME_SIZE];
    int error = snapshot_chunk_sum(&a->sum, buffer_slice(&a->content));

    if (error == 0)
        return 0;
    snapshot_object_name(name, &a->c.mesh, hash);
    return snapshot_pull_fail(detail, error, name, &nothing);
}

/* With the lock held. One chunk is let in whatever its size. */
static bool is_full(const struct snapshot_ahead *a)
{
    size_t waiting = a->filled - a->taken;

    return waiting == SNAPSHOT_AHEAD_CHUNKS ||
           (waiting > 0 && a->bytes_filled >= SNAPSHOT_AHEAD_BYTES);
}

/* With the lock held: what was fetched goes into the ring, or its error. */
static void fill(struct snapshot_ahead *a, bool summed, int error,
                 const struct cm_detail *detail)
{
    struct buffer *slot = &a->ring[a->filled % SNAPSHOT_AHEAD_CHUNKS];
    struct buffer before = *slot;

    if (error != 0) {
        a->error = error;
        a->detail = *detail;
        return;
    }
    *slot = a->content;
    a->content = before;
    a->summed[a->filled % SNAPSHOT_AHEAD_CHUNKS] = summed;
    a->bytes_filled += slot->size;
    a->filled++;
}

static void *run(void *arg)
{
    struct snapshot_ahead *a = arg;

    (void)pthread_mutex_lock(&a->lock);
    while (!a->stopping && a->error == 0 && a->filled < a->c.count) {
        const struct hash *hash = &a->c.chunks[a->filled];
        struct cm_detail detail = {""};
        bool sums = a->c.sums && a->filled - a->taken >= ENOUGH;
        int error;

        if (is_full(a)) {
            (void)pthread_cond_wait(&a->change, &a->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&a->lock);
        error = fetch(a, hash, &detail);
        if (error == 0 && sums)
            error = sum(a, hash, &detail);
        (void)pthread_mutex_lock(&a->lock);
        fill(a, sums, error, &detail);
        (void)pthread_cond_signal(&a->change);
    }
    (void)pthread_mutex_unlock(&a->lock);
    return NULL;
}

static void release(struct snapshot_ahead *a)
{
    for (size_t i = 0; i < SNAPSHOT_AHEAD_CHUNKS; i++)
        buffer_release(&a->ring[i]);
    buffer_release(&a->bytes);
    buffer_release(&a->content);
    snapshot_coder_release(&a->coder);
    (void)pthread_cond_destroy(&a->change);
    (void)pthread_mutex_destroy(&a->lock);
    sodium_memzero(&a->c.keys, sizeof a->c.keys);
    cm_free(a);
}

struct snapshot_ahead *
snapshot_ahead_begin(const struct snapshot_ahead_config *c)
{
    struct snapshot_ahead *a = cm_calloc(1, sizeof *a);

    CHECK(c->get != NULL && (c->chunks != NULL || c->count == 0));
    if (a == NULL)
        return NULL;
    a->c = *c;
    buffer_init(&a->bytes, SNAPSHOT_OBJECT_MAX);
    buffer_init(&a->content, SNAPSHOT_CHUNK_MAX);
    for (size_t i = 0; i < SNAPSHOT_AHEAD_CHUNKS; i++)
        buffer_init(&a->ring[i], SNAPSHOT_CHUNK_MAX);
    (void)pthread_mutex_init(&a->lock, NULL);
    (void)pthread_cond_init(&a->change, NULL);
    if (pthread_create(&a->thread, NULL, run, a) != 0) {
        release(a);
        return NULL;
    }
    return a;
}

void snapshot_ahead_end(struct snapshot_ahead *a)
{
    if (a == NULL)
        return;
    (void)pthread_mutex_lock(&a->lock);
    a->stopping = true;
    (void)pthread_cond_signal(&a->change);
    (void)pthread_mutex_unlock(&a->lock);
    CHECK(pthread_join(a->thread, NULL) == 0);
    release(a);
}

int snapshot_ahead_next(struct snapshot_ahead *a, struct buffer *content,
                        bool *ret_summed, struct cm_detail *detail)
{
    struct buffer *slot = &a->ring[a->taken % SNAPSHOT_AHEAD_CHUNKS];
    struct buffer before = *content;
    int error = 0;

    CHECK(a->taken < a->c.count);
    (void)pthread_mutex_lock(&a->lock);
    while (a->taken == a->filled && a->error == 0)
        (void)pthread_cond_wait(&a->change, &a->lock);
    if (a->taken == a->filled) {
        error = a->error;
        if (detail != NULL)
            *detail = a->detail;
    } else {
        *content = *slot;
        *slot = before;
        *ret_summed = a->summed[a->taken % SNAPSHOT_AHEAD_CHUNKS];
        a->bytes_filled -= content->size;
        a->taken++;
        /* It is woken for many at once. */
        if (a->filled - a->taken <= SNAPSHOT_AHEAD_CHUNKS / 2)
            (void)pthread_cond_signal(&a->change);
    }
    (void)pthread_mutex_unlock(&a->lock);
    return error;
}

/* Nobody adds any more: the last chunk came through the lock. */
const struct digest *snapshot_ahead_sum(const struct snapshot_ahead *a)
{
    return a->taken == a->c.count ? &a->sum : NULL;
}
