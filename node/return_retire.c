/* "A node orders the retirement of every earlier incarnation of its own,
 * whether or not an order names it or its add is known": also of those that
 * were given up before they had written anything, or that a copy of this
 * directory goes on using. A retirement is heard by this node's own writer,
 * which puts it into the fence that it has to write then; that fence reaches
 * all others. */
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/eviction.h"
#include "node/node_internal.h"

#define RETIRED_AT_ONCE_MAX 1024

static void heard(void *context, struct intent *i)
{
    struct node *n = context;

    if (i->result != 0 && i->result != CM_ERR_DUPLICATE)
        node_log(n, 'W', "an earlier incarnation was not retired: %s; %s",
                 cm_strerror(i->result), i->detail.text);
    intent_free(i);
}

static int retire(struct node *n, const struct incarnation *which)
{
    struct retirement r = {
        .mesh = n->mesh,
        .generation = n->generation,
        .incarnation = *which,
        .certificate = buffer_slice(&n->certificate),
    };
    struct intent *i = intent_new(INTENT_ORDER);
    struct buffer bytes;
    int error = i == NULL ? CM_ERR_NOMEM : 0;

    buffer_init(&bytes, RETIREMENT_SIZE_MAX);
    if (error == 0)
        error = retirement_encode(&bytes, &r, n->sign_secret_key);
    if (error == 0)
        error = intent_set_event(i, buffer_slice(&bytes));
    if (error == 0) {
        i->done = heard;
        i->context = n;
        error = n->ports.writer->submit(n->ports.ctx, i);
    }
    if (error != 0)
        intent_free(i);
    buffer_release(&bytes);
    return error;
}

void returning_retire(struct node *n)
{
    struct incarnation list[RETIRED_AT_ONCE_MAX];
    struct slice bytes;
    size_t count = 0;
    int error = 0;

    CHECK(n->has_identity);
    /* Without floors nothing waits for what is never written again. */
    if (!n->ready || n->floor.interval_ms == 0 ||
        store_reader_renew(n->reader) != 0)
        return;
    if (store_meta(n->reader, META_GIVEN_UP, &bytes) == 0) {
        count = bytes.size / INCARNATION_SIZE;
        if (count > RETIRED_AT_ONCE_MAX) { /* the newest are the last */
            bytes.data += (count - RETIRED_AT_ONCE_MAX) * INCARNATION_SIZE;
            count = RETIRED_AT_ONCE_MAX;
        }
        if (count > 0)
            memcpy(list, bytes.data, count * INCARNATION_SIZE);
    }
    store_reader_reset(n->reader);
    for (size_t i = 0; i < count && error == 0; i++)
        if (!incarnation_equal(&list[i], &n->incarnation))
            error = retire(n, &list[i]);
    n->tell_orders = n->tell_orders || count > 0;
    if (error != 0)
        node_log(n, 'W', "earlier incarnations are retired later: %s",
                 cm_strerror(error));
}
