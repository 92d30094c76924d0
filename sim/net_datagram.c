/* Datagrams: lost, doubled, late, damaged, forged, replayed. */
#include <string.h>

#include "crdt/base/check.h"
#include "sim/memory.h"
#include "sim/net_internal.h"

#define FORGED_SIZE_MAX 1500
#define FLIPS_MAX 8
#define REPLAY_DELAY_US 5000000 /* at most, after the datagram it follows */
#define PACKET_ROOM 1280        /* of blocks that are kept for use again */

struct packet {
    struct packet *next;
    struct packet *previous;
    struct sim_net *net;
    struct sim_event event;
    struct address source; /* what its receiver is told */
    unsigned from;
    unsigned to;
    uint64_t number;
    bool waits; /* counted in the receiver's socket */
    size_t room;
    size_t size;
    uint8_t bytes[];
};

static struct packet *packet_new(struct sim_net *n, size_t size)
{
    struct packet *p = n->spare;

    if (size <= PACKET_ROOM && p != NULL) {
        n->spare = p->next;
        return p;
    }
    size_t room = size <= PACKET_ROOM ? PACKET_ROOM : size;
    p = sim_alloc(sizeof *p + room);
    CHECK(p != NULL);
    p->room = room;
    return p;
}

static void packet_free(struct packet *p)
{
    struct sim_net *n = p->net;

    sim_sched_cancel(n->sched, &p->event);
    if (p->waits)
        n->nodes[p->to].waiting -= p->size;
    if (p->previous != NULL)
        p->previous->next = p->next;
    else
        n->packets = p->next;
    if (p->next != NULL)
        p->next->previous = p->previous;
    if (p->room != PACKET_ROOM) {
        sim_free(p);
        return;
    }
    p->next = n->spare;
    n->spare = p;
}

/* True if it has to wait, or was dropped for waiting in vain. */
static bool packet_waits(struct packet *p)
{
    struct sim_net *n = p->net;
    struct net_node *to = &n->nodes[p->to];
    bool clogged;

    uint64_t at = sim_net_ready_us(n, p->from, p->to, &clogged);
    if (p->waits)
        to->waiting -= p->size;
    p->waits = false;
    if (at <= n->sched->now_us)
        return false;
    if (to->waiting + p->size > SIM_NET_SOCKET_MAX) {
        n->counters.overflows++;
        packet_free(p);
        return true;
    }
    if (clogged)
        sim_fault_happened(n->faults, SIM_DEED_CLOG);
    p->waits = true;
    to->waiting += p->size;
    sim_sched_at(n->sched, &p->event, at);
    return true;
}

static void packet_arrive(void *context)
{
    struct packet *p = context;
    struct sim_net *n = p->net;
    struct slice bytes = slice_of(p->bytes, p->size);
    enum sim_deed why;

    bool passes = sim_net_passes(n, p->from, p->to, &why);
    if (!passes)
        sim_fault_happened(n->faults, why);
    if (!passes || !n->nodes[p->to].up) {
        n->counters.cut++;
        packet_free(p);
        return;
    }
    if (packet_waits(p))
        return;
    sim_sched_note(n->sched, "packet", p->from, p->number, bytes);
    n->handler->datagram(n->ctx, p->to, &p->source, bytes);
    packet_free(p);
}

static struct packet *packet_launch(struct sim_net *n, unsigned from,
                                    unsigned to, const struct address *source,
                                    struct slice bytes, uint64_t number,
                                    uint64_t delay_us)
{
    struct packet *p = packet_new(n, bytes.size);
    size_t room = p->room;

    *p = (struct packet){.net = n,
                         .source = *source,
                         .from = from,
                         .to = to,
                         .number = number,
                         .room = room,
                         .size = bytes.size,
                         .next = n->packets};
    if (bytes.size > 0)
        memcpy(p->bytes, bytes.data, bytes.size);
    if (p->next != NULL)
        p->next->previous = p;
    n->packets = p;
    sim_event_init(&p->event, "datagram", to, packet_arrive, p);
    sim_sched_after(n->sched, &p->event, delay_us);
    return p;
}

static uint64_t fate(const struct sim_net *n, enum sim_purpose purpose,
                     const struct packet *p, uint64_t part)
{
    return sim_fate_draw(n->fate, purpose, sim_net_place(p->from, p->to),
                         p->number << 12 | part);
}

/* ---- damage ---- */

static bool hits(const struct sim_net *n, const struct packet *p,
                 enum sim_purpose purpose, enum sim_net_rate rate)
{
    return sim_fate_chance(n->fate, purpose, sim_net_place(p->from, p->to),
                           p->number, sim_net_rate(n, p->from, p->to, rate));
}

static void damage(struct sim_net *n, struct packet *p)
{
    if (p->size > 0 && hits(n, p, SIM_FATE_CORRUPT, SIM_NET_CORRUPT)) {
        uint64_t flips = 1 + fate(n, SIM_FATE_CORRUPT, p, 1) % FLIPS_MAX;
        for (uint64_t i = 0; i < flips; i++) {
            uint64_t bit = fate(n, SIM_FATE_CORRUPT, p, 2 + i) % (p->size * 8);
            p->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        sim_fault_happened(n->faults, SIM_DEED_CORRUPT);
    }
    if (p->size > 0 && hits(n, p, SIM_FATE_TRUNCATE, SIM_NET_TRUNCATE)) {
        p->size = (size_t)(fate(n, SIM_FATE_TRUNCATE, p, 1) % p->size);
        sim_fault_happened(n->faults, SIM_DEED_TRUNCATE);
    }
}

/* Some node's address, or one of nobody. */
static struct address foreign_address(const struct sim_net *n, uint64_t pick)
{
    struct address a = sim_net_address((unsigned)(pick % n->count));

    if (pick >> 32 & 1) {
        a.ip[0] = 203;
        a.ip[2] = 113;
        a.port = (uint16_t)(pick >> 40 | 1);
    }
    return a;
}

/* Nobody sent this: the datagram p from a wrong address, or garbage, or its
 * head with garbage behind. */
static void forge(struct sim_net *n, const struct packet *p, uint64_t delay_us)
{
    static const uint8_t nothing[FORGED_SIZE_MAX];
    uint64_t pick = fate(n, SIM_FATE_FORGE, p, 1);
    struct address source = foreign_address(n, fate(n, SIM_FATE_FORGE, p, 2));
    size_t keep = p->size;
    size_t size = p->size;

    if (pick % 3 != 0) {
        size = 1 + (size_t)(pick >> 8) % FORGED_SIZE_MAX;
        keep = pick % 3 == 1 ? 0 : (size_t)(pick >> 32) % (size + 1);
    }
    if (keep > p->size)
        keep = p->size;
    struct packet *f =
        packet_launch(n, p->from, p->to, &source,
                      size <= FORGED_SIZE_MAX ? slice_of(nothing, size)
                                              : slice_of(p->bytes, size),
                      p->number, delay_us);
    if (keep > 0)
        memcpy(f->bytes, p->bytes, keep);
    for (size_t i = keep; i < size; i++)
        f->bytes[i] = (uint8_t)fate(n, SIM_FATE_FORGE, p, 3 + i);
    sim_fault_happened(n->faults, SIM_DEED_FORGE);
}

/* ---- replays ---- */

/* Each takes the place of another, by fate, so that some stay for long. */
static void remember(struct sim_net *n, const struct packet *p)
{
    struct net_node *to = &n->nodes[p->to];
    uint64_t count = to->remembered++;

    if (to->memory == NULL)
        to->memory = sim_calloc(SIM_NET_REPLAY_SLOTS, sizeof *to->memory);
    uint64_t slot = count < SIM_NET_REPLAY_SLOTS
                        ? count
                        : fate(n, SIM_FATE_REPLAY, p, 1) % SIM_NET_REPLAY_SLOTS;
    struct net_memory *m = &to->memory[slot];
    m->from = p->from;
    m->bytes = sim_realloc(m->bytes, p->size);
    m->size = p->size;
    memcpy(m->bytes, p->bytes, p->size);
}

static void replay(struct sim_net *n, const struct packet *p, uint64_t delay_us)
{
    const struct net_node *to = &n->nodes[p->to];
    uint64_t known = to->remembered < SIM_NET_REPLAY_SLOTS
                         ? to->remembered
                         : SIM_NET_REPLAY_SLOTS;

    if (known == 0)
        return;
    const struct net_memory *m =
        &to->memory[fate(n, SIM_FATE_REPLAY, p, 2) % known];
    struct address source = sim_net_address(m->from);
    uint64_t more = fate(n, SIM_FATE_REPLAY, p, 3) % REPLAY_DELAY_US;
    (void)packet_launch(n, p->from, p->to, &source, slice_of(m->bytes, m->size),
                        p->number, delay_us + more);
    sim_fault_happened(n->faults, SIM_DEED_REPLAY);
}

/* ---- sending ---- */

/* When it is through its link; false if too much waits before it. */
static bool pass_link(struct sim_net *n, unsigned from, unsigned to,
                      size_t size, uint64_t *ret_wait_us)
{
    struct net_link *l = sim_net_link_state(n, from, to);
    uint32_t bytes_per_ms = sim_net_capacity(n, from, to);
    uint64_t now = n->sched->now_us;
    uint64_t start = l->busy_us > now ? l->busy_us : now;

    *ret_wait_us = 0;
    if (bytes_per_ms == 0)
        return true;
    if (start - now > NET_QUEUE_US) {
        sim_fault_happened(n->faults, SIM_DEED_CAPACITY);
        return false;
    }
    l->busy_us = start + (uint64_t)size * 1000 / bytes_per_ms;
    *ret_wait_us = l->busy_us - now;
    return true;
}

/* Everything beside the datagram itself that may happen because of it. */
static void follow(struct sim_net *n, struct packet *p, uint64_t delay_us)
{
    unsigned from = p->from;
    unsigned to = p->to;
    uint64_t number = p->number;

    if (hits(n, p, SIM_FATE_DUPLICATE, SIM_NET_DUPLICATE)) {
        n->counters.duplicated++;
        sim_fault_happened(n->faults, SIM_DEED_DUPLICATE);
        uint64_t more =
            sim_net_delay_us(n, from, to, sim_net_place(from, to), ~number);
        (void)packet_launch(n, from, to, &p->source,
                            slice_of(p->bytes, p->size), number,
                            delay_us + more);
    }
    if (hits(n, p, SIM_FATE_REPLAY, SIM_NET_REPLAY))
        replay(n, p, delay_us);
    if (hits(n, p, SIM_FATE_FORGE, SIM_NET_FORGE))
        forge(n, p, delay_us);
    if (sim_net_rate(n, from, to, SIM_NET_REPLAY) > 0)
        remember(n, p);
    damage(n, p);
}

static bool link_hits(const struct sim_net *n, unsigned from, unsigned to,
                      enum sim_purpose purpose, enum sim_net_rate rate,
                      uint64_t number)
{
    return sim_fate_chance(n->fate, purpose, sim_net_place(from, to), number,
                           sim_net_rate(n, from, to, rate));
}

void sim_net_send_as(struct sim_net *n, unsigned node,
                     const struct address *source, const struct address *to,
                     struct slice packet)
{
    enum sim_deed why;
    unsigned target;
    uint64_t wait;

    CHECK(node < n->count && packet.size <= SIM_NET_DATAGRAM_MAX);
    if (!sim_net_find(n, to, &target))
        return;
    uint64_t number = sim_net_link_state(n, node, target)->packets++;
    n->counters.datagrams++;
    n->counters.datagram_bytes += packet.size;
    if (!sim_net_passes(n, node, target, &why)) {
        sim_fault_happened(n->faults, why);
        n->counters.cut++;
        return;
    }
    if (link_hits(n, node, target, SIM_FATE_LOSS, SIM_NET_LOSS, number)) {
        sim_fault_happened(n->faults, SIM_DEED_LOSS);
        n->counters.lost++;
        return;
    }
    if (!pass_link(n, node, target, packet.size, &wait))
        return;
    uint64_t place = sim_net_place(node, target);
    uint64_t delay = wait + sim_net_delay_us(n, node, target, place, number);
    if (link_hits(n, node, target, SIM_FATE_REORDER, SIM_NET_REORDER, number)) {
        n->counters.held_back++;
        sim_fault_happened(n->faults, SIM_DEED_REORDER);
        delay += sim_fate_range(n->fate, SIM_FATE_REORDER, place, ~number, 0,
                                n->options.reorder_us);
    }
    struct packet *p =
        packet_launch(n, node, target, source, packet, number, delay);
    follow(n, p, delay);
}

void sim_net_send(struct sim_net *n, unsigned node, const struct address *to,
                  struct slice packet)
{
    struct address source = sim_net_address(node);

    sim_net_send_as(n, node, &source, to, packet);
}

void sim_net_datagrams_release(struct sim_net *n)
{
    while (n->packets != NULL)
        packet_free(n->packets);
    while (n->spare != NULL) {
        struct packet *p = n->spare;
        n->spare = p->next;
        sim_free(p);
    }
    for (unsigned i = 0; n->nodes != NULL && i < n->count; i++) {
        struct net_node *node = &n->nodes[i];
        for (size_t j = 0; node->memory != NULL && j < SIM_NET_REPLAY_SLOTS;
             j++)
            sim_free(node->memory[j].bytes);
        sim_free(node->memory);
        node->memory = NULL;
    }
}
