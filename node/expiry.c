/* When the next value expires, the writer is asked for a batch, so that watches
 * hear of it: one timer for the whole store, which knows the first expiry of
 * the index. The wall clock may jump, so a long wait looks at it now and then.
 */
#include "crdt/base/check.h"
#include "node/node_internal.h"

#define EXPIRY_LOOK_MS 60000 /* at most this long without looking */
#define EXPIRY_RETRY_MS 1000 /* after a refusal: disk full, queue full */

uint64_t expiry_deadline(const struct node *n)
{
    uint64_t now, wall, wait;

    if (!n->ready || n->expiry_asked || n->expiry_wall_ms == UINT64_MAX)
        return UINT64_MAX;
    now = node_now(n);
    wall = node_wall(n);
    wait = n->expiry_wall_ms > wall ? n->expiry_wall_ms - wall : 0;
    if (wait > EXPIRY_LOOK_MS)
        wait = EXPIRY_LOOK_MS;
    return now + wait > n->expiry_retry_ms ? now + wait : n->expiry_retry_ms;
}

static void on_told(void *context, struct intent *i)
{
    struct node *n = context;

    n->expiry_asked = false;
    if (i->result != 0)
        n->expiry_retry_ms = node_now(n) + EXPIRY_RETRY_MS;
    intent_free(i);
}

void expiry_tick(struct node *n, uint64_t now)
{
    struct intent *i;

    if (!n->ready || n->expiry_asked || n->expiry_wall_ms > node_wall(n) ||
        now < n->expiry_retry_ms)
        return;
    i = intent_new(INTENT_EXPIRE);
    if (i != NULL) {
        i->done = on_told;
        i->context = n;
    }
    if (i == NULL || n->ports.writer->submit(n->ports.ctx, i) != 0) {
        intent_free(i);
        n->expiry_retry_ms = now + EXPIRY_RETRY_MS;
        return;
    }
    CHECK(n->expiry_wall_ms != UINT64_MAX);
    n->expiry_asked = true;
}
