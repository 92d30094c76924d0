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

static int64_t own_lead_ms(const struct node *n)
{
    return (int64_t)node_wall(n) - (int64_t)node_now(n);
}

bool clocks_input(struct node *n)
{
    int64_t lead;
    int64_t moved;

    if (n->gossip == NULL)
        return false;
    lead = own_lead_ms(n);
    gossip_set_clock(n->gossip, lead);
    moved = lead - n->clocks.lead_ms;
    if (moved < CLOCKS_TELL_MS && moved > -CLOCKS_TELL_MS)
        return false;
    n->clocks.every_ms = 0; /* all offsets are others */
    return true;
}

/* One clock in a mesh of many is heard once in as many probes: looking at all
 * of them more often than some have changed costs much and tells nothing. */
static uint64_t every_ms(const struct node *n)
{
    return CLOCKS_EVERY_MS *
           (1 + gossip_member_total(n->gossip) / CLOCKS_MEMBERS);
}

void clocks_tick(struct node *n, uint64_t now)
{
    int64_t offset_ms;
    size_t clocks;

    if (now < clocks_deadline(n))
        return;
    n->clocks.looked_ms = now;
    n->clocks.lead_ms = own_lead_ms(n);
    n->clocks.every_ms = every_ms(n);
    clocks = gossip_clock_median(n->gossip, &offset_ms);
    if (n->held.events > 0 || is_news(n, offset_ms, clocks))
        tell(n, offset_ms, clocks);
}

uint64_t clocks_deadline(const struct node *n)
{
    uint64_t every = n->clocks.every_ms;

    if (n->gossip == NULL || !n->ready)
        return UINT64_MAX;
    /* Time alone lets pass what is held. */
    if (n->held.events > 0 && every > CLOCKS_EVERY_MS)
        every = CLOCKS_EVERY_MS;
    return n->clocks.looked_ms + every;
}
