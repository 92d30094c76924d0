/* Streams: TCP as its user sees it, over the same links as datagrams. */
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/error.h"
#include "node/port.h"
#include "sim/memory.h"
#include "sim/net_internal.h"

#define RETRANSMIT_US 200000   /* a stream tries again after this */
#define KEEP_ALIVE_US 30000000 /* a silent, vanished peer is noticed */
#define DRAIN_US 20
#define PORT_EPHEMERAL 32768

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
        sim_free(c);
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
    sim_free(c);
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

/* What the node is to be told waits while the node is held. */
static bool end_waits(struct sim_net *n, const struct sim_end *e,
                      struct sim_event *event)
{
    uint64_t until = n->nodes[e->node].hold_until_us;

    if (until <= n->sched->now_us)
        return false;
    sim_sched_at(n->sched, event, until);
    return true;
}

static void end_fail(void *context)
{
    struct sim_end *e = context;
    struct sim_connection *c = e->connection;
    struct sim_net *n = c->net;

    CHECK(e->open && e->error != 0);
    if (end_waits(n, e, &e->fail))
        return;
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

    if (!e->open || !e->owed || end_waits(n, e, &e->drain))
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
    unsigned to = sim_end_other(e)->node;
    uint32_t bytes_per_ms = sim_net_capacity(n, e->node, to);
    uint32_t loss_ppm = sim_net_rate(n, e->node, to, SIM_NET_LOSS);
    uint64_t place = e->place;
    uint64_t number = e->sent++;

    struct chunk *c = sim_alloc(sizeof *c + bytes.size);
    CHECK(c != NULL);
    *c = (struct chunk){.kind = kind, .size = bytes.size};
    if (bytes.size > 0)
        memcpy(c->bytes, bytes.data, bytes.size);
    uint64_t delay = sim_net_delay_us(n, e->node, to, place, number);
    if (sim_fate_chance(n->fate, SIM_FATE_LOSS, place, number, loss_ppm)) {
        sim_fault_happened(n->faults, SIM_DEED_LOSS);
        delay += RETRANSMIT_US;
    }
    uint64_t at = n->sched->now_us + delay;
    if (at < e->last_arrival_us)
        at = e->last_arrival_us;
    if (bytes_per_ms > 0)
        at += (uint64_t)bytes.size * 1000 / bytes_per_ms;
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
    sim_free(c);
    if (e->first != NULL)
        sim_sched_at(n->sched, &e->deliver, e->first->arrives_us);
    owe_drained(n, e);
}

/* False if it cannot pass now; then it will be tried again, or given up. */
static bool chunk_may_pass(struct sim_net *n, struct sim_end *e)
{
    unsigned to = sim_end_other(e)->node;
    uint64_t now = n->sched->now_us;
    enum sim_deed why;
    bool clogged = false;

    bool passes = sim_net_passes(n, e->node, to, &why);
    if (passes && n->nodes[to].up) {
        e->stuck_since_us = 0;
        uint64_t at = sim_net_ready_us(n, e->node, to, &clogged);
        if (at <= now)
            return true;
        if (clogged)
            sim_fault_happened(n->faults, SIM_DEED_CLOG);
        sim_sched_at(n->sched, &e->deliver, at);
        return false;
    }
    if (!passes)
        sim_fault_happened(n->faults, why);
    if (e->stuck_since_us == 0)
        e->stuck_since_us = now;
    if (now - e->stuck_since_us >= n->options.give_up_us)
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
    uint32_t flip_ppm = sim_net_rate(n, from->node, to->node, SIM_NET_CORRUPT);
    struct chunk *c = from->first;
    uint64_t place = from->place;
    size_t portion = c->size;

    if (to->paused)
        return; /* sim_net_pause sets it going again */
    uint64_t number = from->portions++;
    if (c->size > 1 && sim_fate_chance(n->fate, SIM_FATE_SLICE, place, number,
                                       n->options.slice_ppm))
        portion = (size_t)sim_fate_range(n->fate, SIM_FATE_SLICE, place,
                                         ~number, 1, c->size - 1);
    n->counters.stream_bytes += portion;
    /* Take it out first: the node may close the stream, or pause it. */
    struct chunk *rest = NULL;
    if (portion < c->size) {
        size_t left = c->size - portion;
        rest = sim_alloc(sizeof *rest + left);
        CHECK(rest != NULL);
        *rest = (struct chunk){.kind = CHUNK_BYTES,
                               .arrives_us = n->sched->now_us + 1,
                               .size = left,
                               .next = c->next};
        memcpy(rest->bytes, c->bytes + portion, left);
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
    if (sim_fate_chance(n->fate, SIM_FATE_STREAM_CORRUPT, place, number,
                        flip_ppm)) {
        uint64_t bit = sim_fate_range(n->fate, SIM_FATE_STREAM_CORRUPT, place,
                                      ~number, 0, portion * 8 - 1);
        c->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        sim_fault_happened(n->faults, SIM_DEED_CORRUPT);
    }
    struct slice bytes = slice_of(c->bytes, portion);
    sim_sched_note(n->sched, "bytes", from->node, to->id, bytes);
    n->handler->bytes(n->ctx, to->node, to->id, bytes);
    sim_free(c);
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
    bool found = sim_net_find(n, to, &target);
    struct sim_connection *c = sim_calloc(1, sizeof *c);
    CHECK(c != NULL);
    c->net = n;
    uint64_t number = sim_net_link_state(n, node, target)->streams++;
    uint64_t place = sim_fate_draw(n->fate, SIM_FATE_STREAM,
                                   sim_net_place(node, target), number);
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

/* silent: nobody tells the other end. */
static void end_vanish(struct sim_net *n, struct sim_end *e, bool silent)
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
        other->error = silent ? CM_ERR_TIMEOUT : CM_ERR_CLOSED;
        sim_sched_after(n->sched, &other->fail,
                        silent ? KEEP_ALIVE_US : n->options.latency_us);
    }
    connection_reap(n, c);
}

static void go_down(struct sim_net *n, unsigned node, bool silent)
{
    CHECK(node < n->count);
    n->nodes[node].up = false;
    struct sim_end *e = n->nodes[node].ends;
    while (e != NULL) {
        bool open = e->open;
        if (open) /* may free any end of the connection */
            end_vanish(n, e, silent);
        e = open ? n->nodes[node].ends : e->next;
    }
}

void sim_net_set_up(struct sim_net *n, unsigned node, bool up)
{
    CHECK(node < n->count);
    if (!up)
        go_down(n, node, true);
    n->nodes[node].up = up;
}

void sim_net_kill(struct sim_net *n, unsigned node)
{
    go_down(n, node, false);
}

void sim_net_streams_release(struct sim_net *n)
{
    for (unsigned i = 0; n->nodes != NULL && i < n->count; i++)
        while (n->nodes[i].ends != NULL)
            connection_free(n, n->nodes[i].ends->connection);
    CHECK(n->streams == 0);
}
