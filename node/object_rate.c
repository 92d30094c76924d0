/* Whoever comes takes the time after all who came before: nobody starves, and
 * the sum is exact whatever each one's pace. */
#include "node/object_rate.h"

#include <stdbool.h>
#include <time.h>

#include "crdt/base/check.h"

#define SECOND_NS UINT64_C(1000000000)
#define NAP_NS UINT64_C(50000000) /* so that a node that stops is not kept */
#define SHARERS_MAX 8             /* lanes that may wait for their turns */

static uint64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

void object_rate_init(struct object_rate *r, uint64_t bytes_per_s)
{
    CHECK(bytes_per_s == 0 || bytes_per_s >= OBJECT_RATE_MIN);
    *r = (struct object_rate){.bytes_per_s = bytes_per_s};
    CHECK(pthread_mutex_init(&r->mutex, NULL) == 0);
}

void object_rate_release(struct object_rate *r)
{
    CHECK(pthread_mutex_destroy(&r->mutex) == 0);
}

size_t object_rate_slice(const struct object_rate *r, size_t size)
{
    if (r == NULL || r->bytes_per_s == 0 || size < OBJECT_RATE_SLICE)
        return size;
    return OBJECT_RATE_SLICE;
}

void object_rate_wait(struct object_rate *r, size_t size,
                      const atomic_bool *stopping)
{
    uint64_t turn;
    uint64_t now;

    if (r == NULL || r->bytes_per_s == 0 || size == 0)
        return;
    CHECK(pthread_mutex_lock(&r->mutex) == 0);
    now = now_ns();
    if (r->free_ns < now)
        r->free_ns = now;
    r->free_ns += size * SECOND_NS / r->bytes_per_s;
    turn = r->free_ns;
    CHECK(pthread_mutex_unlock(&r->mutex) == 0);
    while (now < turn && (stopping == NULL || !atomic_load(stopping))) {
        uint64_t nap = turn - now < NAP_NS ? turn - now : NAP_NS;

        (void)nanosleep(&(struct timespec){.tv_nsec = (long)nap}, NULL);
        now = now_ns();
    }
}

uint64_t object_rate_ms(const struct object_rate *r, size_t size)
{
    if (r == NULL || r->bytes_per_s == 0)
        return 0;
    return SHARERS_MAX * 1000 * ((uint64_t)size / r->bytes_per_s + 1);
}
