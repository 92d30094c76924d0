/* Nodes, links and partitions of the simulated network: see net.h. */
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/error.h"
#include "sim/memory.h"
#include "sim/net_internal.h"

#define ALL_PPM 1000000

struct sim_net_options sim_net_default_options(void)
{
    return (struct sim_net_options){
        .latency_us = 200,
        .jitter_us = 300,
        .loss_ppm = 10000,
        .duplicate_ppm = 5000,
        .reorder_ppm = 5000,
        .reorder_us = 20000,
        .bytes_per_ms = 100000,
        .slice_ppm = 250000,
        .give_up_us = 15000000,
    };
}

int sim_net_create(struct sim_net **ret_net, unsigned nodes,
                   const struct sim_net_options *options,
                   struct sim_sched *sched, const struct sim_fate *fate,
                   struct sim_faults *faults,
                   const struct sim_net_handler *handler, void *ctx)
{
    CHECK(nodes > 0 && nodes <= SIM_NET_NODES_MAX);
    CHECK(handler != NULL && options != NULL);
    struct sim_net *n = sim_calloc(1, sizeof *n);
    if (n == NULL)
        return CM_ERR_NOMEM;
    n->options = *options;
    n->ppm[SIM_NET_LOSS] = options->loss_ppm;
    n->ppm[SIM_NET_DUPLICATE] = options->duplicate_ppm;
    n->ppm[SIM_NET_REORDER] = options->reorder_ppm;
    n->sched = sched;
    n->fate = fate;
    n->faults = faults;
    n->handler = handler;
    n->ctx = ctx;
    n->count = nodes;
    n->nodes = sim_calloc(nodes, sizeof *n->nodes);
    n->links = sim_calloc((size_t)nodes * nodes, sizeof *n->links);
    if (n->nodes == NULL || n->links == NULL) {
        sim_net_free(n);
        return CM_ERR_NOMEM;
    }
    *ret_net = n;
    return 0;
}

void sim_net_free(struct sim_net *n)
{
    if (n == NULL)
        return;
    sim_net_datagrams_release(n);
    sim_net_streams_release(n);
    sim_free(n->nodes);
    sim_free(n->links);
    sim_free(n);
}

/* ---- where things are ---- */

struct net_link *sim_net_link_state(const struct sim_net *n, unsigned from,
                                    unsigned to)
{
    CHECK(from < n->count && to < n->count);
    return &n->links[(size_t)from * n->count + to];
}

uint64_t sim_net_place(unsigned from, unsigned to)
{
    return (uint64_t)from << 32 | to;
}

struct address sim_net_address(unsigned node)
{
    struct address a = {.family = 4, .port = SIM_NET_PORT};

    CHECK(node < SIM_NET_NODES_MAX);
    a.ip[0] = 10;
    a.ip[2] = (uint8_t)((node + 1) >> 8);
    a.ip[3] = (uint8_t)((node + 1) & 255);
    return a;
}

bool sim_net_find(const struct sim_net *n, const struct address *a,
                  unsigned *ret_node)
{
    unsigned number = (unsigned)a->ip[2] << 8 | a->ip[3];

    if (a->family != 4 || number == 0 || number > n->count)
        return false;
    struct address expected = sim_net_address(number - 1);
    if (!address_equal(a, &expected))
        return false;
    *ret_node = number - 1;
    return true;
}

/* ---- rates ---- */

uint32_t sim_net_rate(const struct sim_net *n, unsigned from, unsigned to,
                      enum sim_net_rate rate)
{
    uint32_t most = n->ppm[rate];

    if (most < n->nodes[from].ppm[rate])
        most = n->nodes[from].ppm[rate];
    if (most < n->nodes[to].ppm[rate])
        most = n->nodes[to].ppm[rate];
    return most;
}

void sim_net_set_rate(struct sim_net *n, unsigned node, enum sim_net_rate rate,
                      uint32_t ppm)
{
    CHECK(node < n->count && rate < SIM_NET_RATES);
    CHECK(ppm <= ALL_PPM);
    n->nodes[node].ppm[rate] = ppm;
}

void sim_net_set_tail(struct sim_net *n, unsigned node, uint64_t tail_us)
{
    CHECK(node < n->count);
    n->nodes[node].tail_us = tail_us;
}

void sim_net_set_capacity(struct sim_net *n, unsigned node,
                          uint32_t bytes_per_ms)
{
    CHECK(node < n->count);
    n->nodes[node].bytes_per_ms = bytes_per_ms;
}

uint32_t sim_net_capacity(const struct sim_net *n, unsigned from, unsigned to)
{
    uint32_t least = n->options.bytes_per_ms;
    uint32_t a = n->nodes[from].bytes_per_ms;
    uint32_t b = n->nodes[to].bytes_per_ms;

    if (a > 0 && (least == 0 || a < least))
        least = a;
    if (b > 0 && (least == 0 || b < least))
        least = b;
    return least;
}

void sim_net_set_bias(struct sim_net *n, unsigned from, unsigned to,
                      uint64_t us)
{
    sim_net_link_state(n, from, to)->bias_us = us;
}

static uint64_t tail_us(struct sim_net *n, unsigned from, unsigned to,
                        uint64_t place, uint64_t number)
{
    uint32_t ppm = sim_net_rate(n, from, to, SIM_NET_TAIL);
    uint64_t most = n->nodes[from].tail_us;

    if (!sim_fate_chance(n->fate, SIM_FATE_TAIL, place, number, ppm))
        return 0;
    if (most < n->nodes[to].tail_us)
        most = n->nodes[to].tail_us;
    sim_fault_happened(n->faults, SIM_DEED_TAIL);
    return sim_fate_range(n->fate, SIM_FATE_TAIL, ~place, number, most / 10,
                          most);
}

uint64_t sim_net_delay_us(struct sim_net *n, unsigned from, unsigned to,
                          uint64_t place, uint64_t number)
{
    uint64_t delay = n->options.latency_us;
    uint64_t bias = sim_net_link_state(n, from, to)->bias_us;

    delay += sim_fate_range(n->fate, SIM_FATE_LATENCY, place, number, 0,
                            n->options.jitter_us);
    if (bias > 0)
        sim_fault_happened(n->faults, SIM_DEED_BIAS);
    return delay + bias + tail_us(n, from, to, place, number);
}

/* ---- partitions ---- */

void sim_net_set_group(struct sim_net *n, unsigned node, unsigned group)
{
    CHECK(node < n->count);
    n->nodes[node].group = group;
}

void sim_net_isolate(struct sim_net *n, unsigned node, bool isolated)
{
    CHECK(node < n->count);
    n->nodes[node].isolated = isolated;
}

void sim_net_cut(struct sim_net *n, unsigned from, unsigned to, bool cut)
{
    sim_net_link_state(n, from, to)->cut = cut;
}

void sim_net_partition(struct sim_net *n, unsigned number, enum sim_deed kind,
                       uint64_t period_us)
{
    CHECK(number < SIM_NET_PARTITIONS_MAX);
    CHECK(kind == SIM_DEED_PARTITION || kind == SIM_DEED_BRIDGE ||
          kind == SIM_DEED_FLAP);
    sim_net_rejoin(n, number);
    n->partitions[number] = (struct net_partition){
        .kind = kind, .since_us = n->sched->now_us, .period_us = period_us};
    n->partitioned |= UINT64_C(1) << number;
}

void sim_net_set_side(struct sim_net *n, unsigned number, unsigned node,
                      unsigned side, bool bridge)
{
    CHECK(number < SIM_NET_PARTITIONS_MAX);
    CHECK(node < n->count && side <= 1);
    uint64_t bit = UINT64_C(1) << number;
    struct net_node *at = &n->nodes[node];
    at->sides = side == 1 ? at->sides | bit : at->sides & ~bit;
    at->bridges = bridge ? at->bridges | bit : at->bridges & ~bit;
}

void sim_net_rejoin(struct sim_net *n, unsigned number)
{
    CHECK(number < SIM_NET_PARTITIONS_MAX);
    n->partitioned &= ~(UINT64_C(1) << number);
    for (unsigned i = 0; i < n->count; i++)
        sim_net_set_side(n, number, i, 0, false);
}

static bool is_open_now(const struct sim_net *n, const struct net_partition *p)
{
    uint64_t since = n->sched->now_us - p->since_us;

    return p->period_us > 0 && since / p->period_us % 2 == 1;
}

/* Whether a partition parts these two; if so, of which kind it is. A bridge
 * that carries something across counts. */
static bool sides_part(const struct sim_net *n, unsigned from, unsigned to,
                       enum sim_deed *ret_why)
{
    const struct net_node *a = &n->nodes[from];
    const struct net_node *b = &n->nodes[to];
    uint64_t apart = (a->sides ^ b->sides) & n->partitioned;
    uint64_t bridged = apart & (a->bridges | b->bridges);

    if (apart == 0)
        return false;
    apart &= ~bridged;
    for (unsigned p = 0; apart != 0; p++, apart >>= 1) {
        if ((apart & 1) == 0 || is_open_now(n, &n->partitions[p]))
            continue;
        *ret_why = n->partitions[p].kind;
        return true;
    }
    return false;
}

bool sim_net_passes(const struct sim_net *n, unsigned from, unsigned to,
                    enum sim_deed *ret_why)
{
    const struct net_node *a = &n->nodes[from];
    const struct net_node *b = &n->nodes[to];

    *ret_why = SIM_DEED_ISOLATE;
    if (from == to)
        return true;
    if (a->isolated || b->isolated)
        return false;
    *ret_why = SIM_DEED_PARTITION;
    if (a->group != b->group || sides_part(n, from, to, ret_why))
        return false;
    *ret_why = SIM_DEED_ONEWAY;
    return !sim_net_link_state(n, from, to)->cut;
}

/* ---- clogs and holds ---- */

void sim_net_clog(struct sim_net *n, unsigned from, unsigned to,
                  uint64_t until_us)
{
    sim_net_link_state(n, from, to)->clog_until_us = until_us;
}

void sim_net_hold(struct sim_net *n, unsigned node, uint64_t until_us)
{
    CHECK(node < n->count);
    n->nodes[node].hold_until_us = until_us;
}

uint64_t sim_net_ready_us(const struct sim_net *n, unsigned from, unsigned to,
                          bool *ret_clogged)
{
    const struct net_link *l = sim_net_link_state(n, from, to);
    uint64_t hold = n->nodes[to].hold_until_us;
    uint64_t now = n->sched->now_us;
    uint64_t at = now;

    *ret_clogged = l->clog_until_us > now;
    if (at < l->clog_until_us)
        at = l->clog_until_us;
    return at < hold ? hold : at;
}

void sim_net_heal(struct sim_net *n)
{
    CHECK(n != NULL);
    for (unsigned i = 0; i < n->count; i++) {
        n->nodes[i].group = 0;
        n->nodes[i].isolated = false;
        n->nodes[i].sides = n->nodes[i].bridges = 0;
    }
    for (size_t i = 0; i < (size_t)n->count * n->count; i++) {
        n->links[i].cut = false;
        n->links[i].clog_until_us = 0;
        n->links[i].bias_us = 0;
    }
    n->partitioned = 0;
}

void sim_net_read_counters(const struct sim_net *n,
                           struct sim_net_counters *ret_counters)
{
    CHECK(ret_counters != NULL);
    *ret_counters = n->counters;
}
