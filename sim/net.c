/* Datagrams, partitions, and the streams' part of the network: see net.h. */
#include "sim/net.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/error.h"
#include "node/port.h"
#include "sim/connection.h"

#define RETRANSMIT_US 200000   /* a stream tries again after this */
#define KEEP_ALIVE_US 30000000 /* a silent, vanished peer is noticed */
#define DRAIN_US 20
#define PORT_EPHEMERAL 32768

struct packet {
    struct packet *next;
    struct packet *previous;
    struct sim_net *net;
    struct sim_event event;
    unsigned from;
    unsigned to;
    uint64_t number;
    size_t size;
    uint8_t bytes[];
};

struct net_node {
    bool up;
    unsigned group;
    struct sim_end *ends; /* of its streams */
    uint64_t accepted;    /* streams so far */
};

struct sim_net {
    struct sim_net_options options;
    struct sim_sched *sched;
    const struct sim_fate *fate;
    const struct sim_net_handler *handler;
    void *ctx;
    struct net_node *nodes;
    unsigned count;
    uint64_t *link_numbers; /* packets so far, by from * count + to */
    uint64_t *link_streams; /* streams so far, likewise */
    struct packet *packets; /* under way */
    size_t streams;         /* now */
    struct sim_net_counters counters;
};

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
                   const struct sim_net_handler *handler, void *ctx)
{
    CHECK(nodes > 0 && nodes <= SIM_NET_NODES_MAX);
    CHECK(handler != NULL && options != NULL);
    struct sim_net *n = cm_calloc(1, sizeof *n);
    if (n == NULL)
        return CM_ERR_NOMEM;
    n->options = *options;
    n->sched = sched;
    n->fate = fate;
    n->handler = handler;
    n->ctx = ctx;
    n->count = nodes;
    n->nodes = cm_calloc(nodes, sizeof *n->nodes);
    n->link_numbers = cm_calloc((size_t)nodes * nodes, sizeof *n->link_numbers);
    n->link_streams = cm_calloc((size_t)nodes * nodes, sizeof *n->link_streams);
    if (n->nodes == NULL || n->link_numbers == NULL ||
        n->link_streams == NULL) {
        sim_net_free(n);
        return CM_ERR_NOMEM;
    }
    *ret_net = n;
    return 0;
}

static uint64_t link_of(const struct sim_net *n, unsigned from, unsigned to)
{
    CHECK(from < n->count && to < n->count);
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

/* The node that lives there; false if there is none. */
static bool find_node(const struct sim_net *n, const struct address *a,
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

static bool can_hear(const struct sim_net *n, unsigned from, unsigned to)
{
    return n->nodes[to].up && n->nodes[from].group == n->nodes[to].group;
}

void sim_net_set_group(struct sim_net *n, unsigned node, unsigned group)
{
    CHECK(node < n->count);
    n->nodes[node].group = group;
}

void sim_net_heal(struct sim_net *n)
{
    CHECK(n != NULL);
    for (unsigned i = 0; i < n->count; i++)
        n->nodes[i].group = 0;
}

void sim_net_read_counters(const struct sim_net *n,
                           struct sim_net_counters *ret_counters)
{
    CHECK(ret_counters != NULL);
    *ret_counters = n->counters;
}

static uint64_t draw_latency(struct sim_net *n, unsigned from, unsigned to,
                             uint64_t number)
{
    return n->options.latency_us + sim_fate_range(n->fate, SIM_FATE_LATENCY,
                                                  link_of(n, from, to), number,
                                                  0, n->options.jitter_us);
}

/* ---- datagrams ---- */

static void packet_free(struct packet *p)
{
    sim_sched_cancel(p->net->sched, &p->event);
    if (p->previous != NULL)
        p->previous->next = p->next;
    else
        p->net->packets = p->next;
    if (p->next != NULL)
        p->next->previous = p->previous;
    cm_free(p);
}

static void packet_arrive(void *context)
{
    struct packet *p = context;
    struct sim_net *n = p->net;
    struct slice bytes = slice_of(p->bytes, p->size);

    if (!can_hear(n, p->from, p->to)) {
        n->counters.cut++;
        packet_free(p);
        return;
    }
    sim_sched_note(n->sched, "packet", p->from, p->number, bytes);
    struct address from = sim_net_address(p->from);
    n->handler->datagram(n->ctx, p->to, &from, bytes);
    packet_free(p);
}

static void packet_launch(struct sim_net *n, unsigned from, unsigned to,
                          struct slice bytes, uint64_t number,
                          uint64_t delay_us)
{
    struct packet *p = cm_alloc(sizeof *p + bytes.size);
    CHECK(p != NULL);
    *p = (struct packet){.net = n,
                         .from = from,
                         .to = to,
                         .number = number,
                         .size = bytes.size,
                         .next = n->packets};
    if (bytes.size > 0)
        memcpy(p->bytes, bytes.data, bytes.size);
    if (p->next != NULL)
        p->next->previous = p;
    n->packets = p;
    sim_event_init(&p->event, "datagram", to, packet_arrive, p);
    sim_sched_after(n->sched, &p->event, delay_us);
}

void sim_net_send(struct sim_net *n, unsigned node, const struct address *to,
                  struct slice packet)
{
    const struct sim_net_options *o = &n->options;
    unsigned target;

    CHECK(node < n->count && packet.size <= SIM_NET_DATAGRAM_MAX);
    if (!find_node(n, to, &target))
        return;
    uint64_t link = link_of(n, node, target);
    uint64_t number = n->link_numbers[(size_t)node * n->count + target]++;
    n->counters.datagrams++;
    n->counters.datagram_bytes += packet.size;
    if (n->nodes[node].group != n->nodes[target].group) {
        n->counters.cut++;
        return;
    }
    if (sim_fate_chance(n->fate, SIM_FATE_LOSS, link, number, o->loss_ppm)) {
        n->counters.lost++;
        return;
    }
    uint64_t delay = draw_latency(n, node, target, number);
    if (sim_fate_chance(n->fate, SIM_FATE_REORDER, link, number,
                        o->reorder_ppm)) {
        n->counters.held_back++;
        delay += sim_fate_range(n->fate, SIM_FATE_REORDER, link, ~number, 0,
                                o->reorder_us);
    }
    packet_launch(n, node, target, packet, number, delay);
    if (sim_fate_chance(n->fate, SIM_FATE_DUPLICATE, link, number,
                        o->duplicate_ppm)) {
        n->counters.duplicated++;
        packet_launch(n, node, target, packet, number,
                      delay + draw_latency(n, node, target, ~number));
    }
}

/* ---- connections ---- */

struct sim_end *sim_end_other(struct sim_end *e)
{
    struct sim_connection *c = e->connection;
    return e == &c->ends[0] ? &c->ends[1] : &c->ends[0];
}

static struct sim_end *find_end(struct sim_net *n, unsigned node, uint64_t id)
{
    CHECK(node < n->count);
    for (struct sim_end *e = n->nodes[node].ends; e != NULL; e = e->next)
        if (e->id == id && e->known && e->open)
            return e;
    return NULL;
}

static void drop_chunks(struct sim_net *n, struct sim_end *e)
{
    while (e->first != NULL) {
        struct chunk *c = e->first;
        e->first = c->next;
        cm_free(c);
    }
    e->last = &e->first;
    e->outgoing = 0;
    sim_sched_cancel(n->sched, &e->deliver);
}

static void end_unlink(struct sim_net *n, struct sim_end *e)
{
    if (e->previous != NULL)
        e->previous->next = e->next;
    else if (n->nodes[e->node].ends == e)
        n->nodes[e->node].ends = e->next;
    if (e->next != NULL)
        e->next->previous = e->previous;
    e->next = e->previous = NULL;
}

static void connection_free(struct sim_net *n, struct sim_connection *c)
{
    for (size_t i = 0; i < 2; i++) {
        drop_chunks(n, &c->ends[i]);
        sim_sched_cancel(n->sched, &c->ends[i].drain);
        sim_sched_cancel(n->sched, &c->ends[i].fail);
        end_unlink(n, &c->ends[i]);
    }
    CHECK(n->streams > 0);
    n->streams--;
    cm_free(c);
}

/* Frees it once no node can hear of it any more. */
static void connection_reap(struct sim_net *n, struct sim_connection *c)
{
    if (c->busy > 0 || c->ends[0].open || c->ends[1].open)
        return;
    connection_free(n, c);
}

/* Nothing passes any more; each end that is open learns of it by itself. */
static void connection_break(struct sim_net *n, struct sim_connection *c,
                             int error)
{
    if (c->broken)
        return;
    c->broken = true;
    n->counters.streams_broken++;
    for (size_t i = 0; i < 2; i++) {
        struct sim_end *e = &c->ends[i];
        drop_chunks(n, e);
        if (!e->known)
            e->open = false;
        if (!e->open)
            continue;
        e->error = error;
        sim_sched_after(n->sched, &e->fail, n->options.latency_us);
    }
}

static void end_fail(void *context)
{
    struct sim_end *e = context;
    struct sim_connection *c = e->connection;
    struct sim_net *n = c->net;

    CHECK(e->open && e->error != 0);
    e->open = false;
    c->busy++;
    n->handler->closed(n->ctx, e->node, e->id, e->error);
    c->busy--;
    connection_reap(n, c);
}

static void end_drained(void *context)
{
    struct sim_end *e = context;
    struct sim_connection *c = e->connection;
    struct sim_net *n = c->net;

    if (!e->open || !e->owed)
        return;
    e->owed = false;
    c->busy++;
    n->handler->drained(n->ctx, e->node, e->id);
    c->busy--;
    connection_reap(n, c);
}

static void owe_drained(struct sim_net *n, struct sim_end *e)
{
    if (e->open && e->owed && e->outgoing <= SIM_NET_WINDOW)
        sim_sched_after(n->sched, &e->drain, DRAIN_US);
}

static void push_chunk(struct sim_net *n, struct sim_end *e,
                       enum chunk_kind kind, struct slice bytes)
{
    const struct sim_net_options *o = &n->options;
    uint64_t place = e->place;
    uint64_t number = e->sent++;

    struct chunk *c = cm_alloc(sizeof *c + bytes.size);
    CHECK(c != NULL);
    *c = (struct chunk){.kind = kind, .size = bytes.size};
    if (bytes.size > 0)
        memcpy(c->bytes, bytes.data, bytes.size);
    uint64_t delay =
        o->latency_us + sim_fate_range(n->fate, SIM_FATE_LATENCY, place, number,
                                       0, o->jitter_us);
    if (sim_fate_chance(n->fate, SIM_FATE_LOSS, place, number, o->loss_ppm))
        delay += RETRANSMIT_US;
    uint64_t at = n->sched->now_us + delay;
    if (at < e->last_arrival_us)
        at = e->last_arrival_us;
    if (o->bytes_per_ms > 0)
        at += (uint64_t)bytes.size * 1000 / o->bytes_per_ms;
    e->last_arrival_us = at;
    c->arrives_us = at;
    *e->last = c;
    e->last = &c->next;
    e->outgoing += bytes.size;
    if (e->first == c)
        sim_sched_at(n->sched, &e->deliver, at);
}

static void pop_chunk(struct sim_net *n, struct sim_end *e)
{
    struct chunk *c = e->first;

    CHECK(c != NULL && e->outgoing >= c->size);
    e->first = c->next;
    if (e->first == NULL)
        e->last = &e->first;
    e->outgoing -= c->size;
    e->stuck_since_us = 0;
    cm_free(c);
    if (e->first != NULL)
        sim_sched_at(n->sched, &e->deliver, e->first->arrives_us);
    owe_drained(n, e);
}

/* False if it cannot pass now; then it will be tried again, or given up. */
static bool chunk_may_pass(struct sim_net *n, struct sim_end *e)
{
    if (can_hear(n, e->node, sim_end_other(e)->node)) {
        e->stuck_since_us = 0;
        return true;
    }
    if (e->stuck_since_us == 0)
        e->stuck_since_us = n->sched->now_us;
    if (n->sched->now_us - e->stuck_since_us >= n->options.give_up_us)
        connection_break(n, e->connection, CM_ERR_TIMEOUT);
    else
        sim_sched_after(n->sched, &e->deliver, RETRANSMIT_US);
    return false;
}

/* The peer's end is gone (it closed, or has booted since): it answers so. */
static void refuse(struct sim_net *n, struct sim_end *e)
{
    connection_break(n, e->connection, CM_ERR_CLOSED);
}

static void deliver_open(struct sim_net *n, struct sim_end *from)
{
    struct sim_end *to = sim_end_other(from);
    struct address address = sim_net_address(from->node);

    address.port =
        (uint16_t)(PORT_EPHEMERAL + n->nodes[to->node].accepted % 16384);
    to->id = STREAM_ACCEPTED | ++n->nodes[to->node].accepted;
    to->known = true;
    to->next = n->nodes[to->node].ends;
    if (to->next != NULL)
        to->next->previous = to;
    n->nodes[to->node].ends = to;
    pop_chunk(n, from);
    push_chunk(n, to, CHUNK_ACCEPT, slice_of(NULL, 0));
    n->handler->accepted(n->ctx, to->node, to->id, &address);
}

static void deliver_bytes(struct sim_net *n, struct sim_end *from)
{
    struct sim_end *to = sim_end_other(from);
    struct chunk *c = from->first;
    uint64_t place = from->place;
    size_t portion = c->size;

    if (to->paused)
        return; /* sim_net_pause sets it going again */
    if (c->size > 1 && sim_fate_chance(n->fate, SIM_FATE_SLICE, place,
                                       from->sent, n->options.slice_ppm))
        portion = (size_t)sim_fate_range(n->fate, SIM_FATE_SLICE, place,
                                         ~from->sent, 1, c->size - 1);
    n->counters.stream_bytes += portion;
    /* Take it out first: the node may close the stream, or pause it. */
    struct chunk *rest = NULL;
    if (portion < c->size) {
        size_t left = c->size - portion;
        rest = cm_alloc(sizeof *rest + left);
        CHECK(rest != NULL);
        *rest = (struct chunk){.kind = CHUNK_BYTES,
                               .arrives_us = n->sched->now_us + 1,
                               .size = left,
                               .next = c->next};
        memcpy(rest->bytes, c->bytes + portion, left);
        from->sent++; /* another fate for the rest */
    }
    from->first = rest != NULL ? rest : c->next;
    if (from->first == NULL)
        from->last = &from->first;
    else if (rest != NULL && rest->next == NULL)
        from->last = &rest->next;
    from->outgoing -= portion;
    if (from->first != NULL)
        sim_sched_at(n->sched, &from->deliver, from->first->arrives_us);
    owe_drained(n, from);
    struct slice bytes = slice_of(c->bytes, portion);
    sim_sched_note(n->sched, "bytes", from->node, to->id, bytes);
    n->handler->bytes(n->ctx, to->node, to->id, bytes);
    cm_free(c);
}

static void deliver_chunk(struct sim_net *n, struct sim_end *from)
{
    struct sim_end *to = sim_end_other(from);
    enum chunk_kind kind = from->first->kind;

    if (kind == CHUNK_OPEN) {
        if (n->nodes[to->node].up)
            deliver_open(n, from);
        return;
    }
    if (!to->open) {
        if (kind == CHUNK_END)
            drop_chunks(n, from);
        else
            refuse(n, from);
        return;
    }
    if (kind == CHUNK_BYTES) {
        deliver_bytes(n, from);
        return;
    }
    if (kind == CHUNK_ACCEPT) {
        pop_chunk(n, from);
        n->handler->connected(n->ctx, to->node, to->id);
        return;
    }
    CHECK(kind == CHUNK_END);
    pop_chunk(n, from);
    drop_chunks(n, to);
    to->open = false;
    n->handler->closed(n->ctx, to->node, to->id, 0);
}

static void end_deliver(void *context)
{
    struct sim_end *from = context;
    struct sim_connection *c = from->connection;
    struct sim_net *n = c->net;

    CHECK(from->first != NULL);
    c->busy++;
    if (chunk_may_pass(n, from))
        deliver_chunk(n, from);
    c->busy--;
    connection_reap(n, c);
}

static void end_init(struct sim_connection *c, unsigned which, unsigned node,
                     uint64_t place)
{
    struct sim_end *e = &c->ends[which];

    *e = (struct sim_end){
        .connection = c, .node = node, .open = true, .place = place};
    e->last = &e->first;
    sim_event_init(&e->deliver, "stream", node, end_deliver, e);
    sim_event_init(&e->drain, "drained", node, end_drained, e);
    sim_event_init(&e->fail, "broken", node, end_fail, e);
}

/* ---- the stream ports ---- */

void sim_net_connect(struct sim_net *n, unsigned node, uint64_t stream,
                     const struct address *to)
{
    unsigned target = node;

    CHECK(node < n->count && stream > 0 && (stream & STREAM_ACCEPTED) == 0);
    CHECK(find_end(n, node, stream) == NULL);
    CHECK(n->streams < SIM_NET_STREAMS_MAX);
    bool found = find_node(n, to, &target);
    struct sim_connection *c = cm_calloc(1, sizeof *c);
    CHECK(c != NULL);
    c->net = n;
    uint64_t number = n->link_streams[(size_t)node * n->count + target]++;
    uint64_t place = sim_fate_draw(n->fate, SIM_FATE_STREAM,
                                   link_of(n, node, target), number);
    n->streams++;
    n->counters.streams++;
    end_init(c, 0, node, place);
    end_init(c, 1, target, ~place);
    struct sim_end *e = &c->ends[0];
    e->id = stream;
    e->known = true;
    e->next = n->nodes[node].ends;
    if (e->next != NULL)
        e->next->previous = e;
    n->nodes[node].ends = e;
    if (found)
        push_chunk(n, e, CHUNK_OPEN, slice_of(NULL, 0));
    else
        connection_break(n, c, CM_ERR_CLOSED);
}

void sim_net_write(struct sim_net *n, unsigned node, uint64_t stream,
                   struct slice bytes)
{
    struct sim_end *e = find_end(n, node, stream);

    if (e == NULL)
        return;
    CHECK(!e->owed); /* one write at a time */
    e->owed = true;
    if (e->connection->broken)
        return; /* end_fail is on its way */
    if (bytes.size > 0)
        push_chunk(n, e, CHUNK_BYTES, bytes);
    owe_drained(n, e);
}

void sim_net_close(struct sim_net *n, unsigned node, uint64_t stream)
{
    struct sim_end *e = find_end(n, node, stream);

    if (e == NULL)
        return;
    struct sim_connection *c = e->connection;
    e->open = false;
    sim_sched_cancel(n->sched, &e->drain);
    sim_sched_cancel(n->sched, &e->fail);
    if (!c->ends[1].known) { /* never got there */
        c->ends[1].open = false;
        drop_chunks(n, e);
    } else if (sim_end_other(e)->open && !c->broken) {
        push_chunk(n, e, CHUNK_END, slice_of(NULL, 0));
    }
    connection_reap(n, c);
}

void sim_net_pause(struct sim_net *n, unsigned node, uint64_t stream,
                   bool paused)
{
    struct sim_end *e = find_end(n, node, stream);

    if (e == NULL || e->paused == paused)
        return;
    e->paused = paused;
    struct sim_end *other = sim_end_other(e);
    if (!paused && other->first != NULL && other->deliver.place == 0)
        sim_sched_at(n->sched, &other->deliver, other->first->arrives_us);
}

static void end_vanish(struct sim_net *n, struct sim_end *e)
{
    struct sim_connection *c = e->connection;
    struct sim_end *other = sim_end_other(e);

    e->open = false;
    drop_chunks(n, e);
    sim_sched_cancel(n->sched, &e->drain);
    sim_sched_cancel(n->sched, &e->fail);
    if (!other->known)
        other->open = false;
    if (other->open && !c->broken) {
        other->error = CM_ERR_TIMEOUT;
        sim_sched_after(n->sched, &other->fail, KEEP_ALIVE_US);
    }
    connection_reap(n, c);
}

void sim_net_set_up(struct sim_net *n, unsigned node, bool up)
{
    CHECK(node < n->count);
    n->nodes[node].up = up;
    if (up)
        return;
    struct sim_end *e = n->nodes[node].ends;
    while (e != NULL) {
        bool open = e->open;
        if (open)
            end_vanish(n, e); /* may free any end of the connection */
        e = open ? n->nodes[node].ends : e->next;
    }
}

void sim_net_free(struct sim_net *n)
{
    if (n == NULL)
        return;
    while (n->packets != NULL)
        packet_free(n->packets);
    for (unsigned i = 0; n->nodes != NULL && i < n->count; i++)
        while (n->nodes[i].ends != NULL)
            connection_free(n, n->nodes[i].ends->connection);
    CHECK(n->streams == 0);
    cm_free(n->nodes);
    cm_free(n->link_numbers);
    cm_free(n->link_streams);
    cm_free(n);
}
