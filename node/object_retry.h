/* How long to wait before trying again, and when to stop: the same for every
 * target that can fail for a while.
 *
 * Full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog): a wait
 * drawn evenly from nothing to a bound that doubles, so that a fleet which
 * failed together does not come back together. */
#ifndef NODE_OBJECT_RETRY_H
#define NODE_OBJECT_RETRY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define OBJECT_RETRY_ATTEMPTS_MAX 6u
#define OBJECT_RETRY_WAIT_MS_MAX 10000u
#define OBJECT_RETRY_AFTER_MS_MAX 30000u /* what a server may ask for */
#define OBJECT_RETRY_FIRST_MS 200u

struct object_retry {
    const atomic_bool *stopping; /* borrowed; ends a wait at once */
    unsigned attempts;           /* made so far */
    uint64_t until_ms;           /* no attempt begins after it */
};

/* budget_ms: from now on. */
void object_retry_begin(struct object_retry *r, const atomic_bool *stopping,
                        uint64_t budget_ms);
/* Waits and answers true; false if it was the last attempt, time is over, or
 * stopping. after_ms: what the server asked for, 0 if nothing. */
bool object_retry_wait(struct object_retry *r, uint64_t after_ms);

#endif
