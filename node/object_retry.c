/* The wait sleeps in slices, so that a node that stops is not kept. */
#include "node/object_retry.h"

#include <sodium.h>
#include <time.h>

#include "crdt/base/check.h"

#define SLICE_MS 20u

static uint64_t mono_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void object_retry_begin(struct object_retry *r, const atomic_bool *stopping,
                        uint64_t budget_ms)
{
    CHECK(r != NULL && stopping != NULL);
    *r = (struct object_retry){.stopping = stopping,
                               .until_ms = mono_ms() + budget_ms};
}

bool object_retry_wait(struct object_retry *r, uint64_t after_ms)
{
    uint64_t bound = OBJECT_RETRY_FIRST_MS;
    uint64_t wait;
    uint64_t now = mono_ms();
    uint64_t end;
    unsigned i;

    CHECK(r->stopping != NULL);
    if (++r->attempts >= OBJECT_RETRY_ATTEMPTS_MAX)
        return false;
    for (i = 1; i < r->attempts && bound < OBJECT_RETRY_WAIT_MS_MAX; i++)
        bound *= 2;
    if (bound > OBJECT_RETRY_WAIT_MS_MAX)
        bound = OBJECT_RETRY_WAIT_MS_MAX;
    wait = randombytes_uniform((uint32_t)bound + 1);
    if (after_ms > OBJECT_RETRY_AFTER_MS_MAX)
        after_ms = OBJECT_RETRY_AFTER_MS_MAX;
    end = now + after_ms + wait;
    if (end > r->until_ms)
        return false;
    while (now < end && !atomic_load(r->stopping)) {
        uint64_t ms = end - now < SLICE_MS ? end - now : SLICE_MS;

        (void)nanosleep(&(struct timespec){.tv_nsec = (long)ms * 1000000},
                        NULL);
        now = mono_ms();
    }
    return !atomic_load(r->stopping);
}
