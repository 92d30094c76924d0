/* Clocks: the loop tells the writer how the clocks of the mesh stand to its
 * own, because the writer decides which events are dated too far ahead and
 * whether this node may date any. It is told when that has changed, and now and
 * then while events are held, since time alone lets them pass. */
#include "node/node_internal.h"

static bool is_news(const struct node *n, int64_t offset_ms, size_t clocks)
{
    int64_t moved = offset_ms - n->clocks.offset_ms;

    if (clocks != n->clocks.count &&
        (clocks < CLOCKS_JUDGE_MIN || n->clocks.count < CLOCKS_JUDGE_MIN))
        return true;
    return moved >= CLOCKS_TELL_MS || moved <= -CLOCKS_TELL_MS;
}

static void tell(struct node *n, int64_t offset_ms, size_t clocks)
{
    struct intent *i = intent_new(INTENT_CLOCKS);

    if (i == NULL)
        return; /* the next tick tries again */
    i->clock_offset_ms = offset_ms;
    i->clocks = clocks;
    if (n->ports.writer->submit(n->ports.ctx, i) != 0) {
        intent_free(i);
        return;
    }
    n->clocks.offset_ms = offset_ms;
    n->clocks.count = clocks;
}

void clocks_input(struct node *n)
{
    if (n->gossip != NULL)
        gossip_set_clock(n->gossip,
                         (int64_t)node_wall(n) - (int64_t)node_now(n));
}

void clocks_tick(struct node *n, uint64_t now)
{
    int64_t offset_ms;
    size_t clocks;

    if (n->gossip == NULL || !n->ready || now < n->clocks.due_ms)
        return;
    n->clocks.due_ms = now + CLOCKS_EVERY_MS;
    clocks = gossip_clock_median(n->gossip, &offset_ms);
    if (n->held.events > 0 || is_news(n, offset_ms, clocks))
        tell(n, offset_ms, clocks);
}

uint64_t clocks_deadline(const struct node *n)
{
    return n->gossip != NULL && n->ready ? n->clocks.due_ms : UINT64_MAX;
}
