/* What a burst of writes took, an idle node gives back: some seconds after the
 * last large transaction the store opens LMDB again. A node that goes on so
 * keeps it, since it would only have to ask for it again. */
#include "crdt/base/check.h"
#include "node/node_internal.h"

#define REST_AFTER_MS 5000 /* since the last large transaction */
#define REST_RETRY_MS 1000 /* where somebody reads just then */

void rest_note(struct node *n)
{
    uint64_t large = store_large(n->store);

    CHECK(large >= n->rest_seen);
    if (large == n->rest_seen)
        return;
    n->rest_seen = large;
    n->rest_due_ms = node_now(n) + REST_AFTER_MS;
}

void rest_tick(struct node *n, uint64_t now)
{
    if (now < n->rest_due_ms)
        return;
    CHECK(n->rest_due_ms > 0);
    n->rest_due_ms = store_rest(n->store) ? UINT64_MAX : now + REST_RETRY_MS;
}
