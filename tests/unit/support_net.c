/* The virtual network of the gossip tests; see support_net.h. */
#include "tests/unit/support_net.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

void mesh_keys_make(struct mesh_keys *ret, unsigned number)
{
    uint8_t seed[32] = {0xa0, (uint8_t)number};

    CHECK(sodium_init() >= 0);
    (void)crypto_sign_seed_keypair(ret->authority_public, ret->authority_secret,
                                   seed);
    ret->mesh = mesh_id_of(ret->authority_public);
}

void identity_make(struct identity *ret, const struct mesh_keys *mesh,
                   unsigned number)
{
    uint8_t seed[32] = {0x10, (uint8_t)number, (uint8_t)(number >> 8)};
    struct certificate c = {.mesh = mesh->mesh, .roles = ROLE_WRITER};
    struct buffer out;

    *ret = (struct identity){0};
    (void)crypto_sign_seed_keypair(ret->sign_public, ret->sign_secret, seed);
    seed[0] = 0x20;
    memcpy(ret->box_secret, seed, 32);
    (void)crypto_scalarmult_base(ret->box_public, ret->box_secret);
    memcpy(c.sign_key, ret->sign_public, 32);
    memcpy(c.box_key, ret->box_public, 32);
    c.name[0] = 'n';
    c.name[1] = (char)('0' + number / 10 % 10);
    c.name[2] = (char)('0' + number % 10);
    c.prefixes[0] = (struct slice){0};
    c.prefixes_count = 1;
    c.not_before_ms = 1;
    c.not_after_ms = UINT64_C(4000000000000);
    buffer_init(&out, sizeof ret->certificate);
    CHECK(certificate_encode(&out, &c, mesh->authority_secret) == 0);
    CHECK(out.error == 0);
    memcpy(ret->certificate, out.data, out.size);
    ret->certificate_size = out.size;
    ret->key_id = key_id_of(ret->sign_public);
    buffer_release(&out);
}

struct slice identity_certificate(const struct identity *id)
{
    return slice_of(id->certificate, id->certificate_size);
}

void net_init(struct net *net, size_t count, unsigned seed)
{
    uint8_t bytes[32] = {0x30, (uint8_t)seed, (uint8_t)(seed >> 8)};
    size_t i;

    CHECK(count <= NET_NODES_MAX);
    *net = (struct net){.count = count, .now_ms = NET_START_MS, .delay_ms = 1};
    net->certificates = true;
    net->streams = true;
    random_init(&net->random, bytes);
    mesh_keys_make(&net->mesh, 1);
    net->flights = cm_calloc(NET_FLIGHTS_MAX, sizeof *net->flights);
    CHECK(net->flights != NULL);
    for (i = 0; i < count; i++) {
        struct net_node *n = &net->nodes[i];

        identity_make(&n->identity, &net->mesh, (unsigned)i);
        n->address = (struct address){
            .family = 4, .ip = {127, 0, 0, 1}, .port = (uint16_t)(7000 + i)};
    }
}

void net_release(struct net *net)
{
    size_t i;

    for (i = 0; i < net->count; i++)
        gossip_free(net->nodes[i].gossip);
    cm_free(net->flights);
}

void net_start(struct net *net, size_t node)
{
    struct net_node *n = &net->nodes[node];
    struct gossip_config c = {
        .mesh = net->mesh.mesh,
        .certificate = identity_certificate(&n->identity),
        .address = n->address,
        .alive_counter = net->now_ms,
    };
    size_t i;

    CHECK(n->gossip == NULL);
    memcpy(c.authority_public_key, net->mesh.authority_public, 32);
    memcpy(c.sign_secret_key, n->identity.sign_secret, 64);
    memcpy(c.box_secret_key, n->identity.box_secret, 32);
    random_bytes_draw(&net->random, c.seed, sizeof c.seed);
    CHECK(gossip_create(&n->gossip, &c, net->now_ms) == 0);
    n->lives++;
    for (i = 0; i < net->count && net->certificates; i++)
        CHECK(gossip_add_certificate(
                  n->gossip, identity_certificate(&net->nodes[i].identity)) ==
              0);
}

void net_stop(struct net *net, size_t node)
{
    gossip_free(net->nodes[node].gossip);
    net->nodes[node].gossip = NULL;
}

void net_contact(struct net *net, size_t from, size_t to)
{
    CHECK(gossip_add_contact(net->nodes[from].gossip, net->now_ms,
                             &net->nodes[to].identity.key_id,
                             &net->nodes[to].address) == 0);
    net_drain(net, from);
}

size_t net_node_at(const struct net *net, const struct address *a)
{
    size_t i;

    for (i = 0; i < net->count; i++)
        if (address_equal(&net->nodes[i].address, a))
            return i;
    return NET_NODES_MAX;
}

static void fly(struct net *net, size_t from, const struct gossip_send *send)
{
    uint64_t copies =
        random_below(&net->random, 100) < net->double_percent ? 2 : 1;

    net->flights_sent++;
    net->bytes_sent += send->packet.size;
    while (copies-- > 0) {
        struct flight *f;

        if (random_below(&net->random, 100) < net->loss_percent)
            continue;
        CHECK(net->flights_count < NET_FLIGHTS_MAX);
        f = &net->flights[net->flights_count++];
        f->at_ms = net->now_ms + net->delay_ms +
                   random_below(&net->random, 2 * net->delay_ms + 1);
        f->order = net->flights_sent;
        f->from = net->nodes[from].address;
        f->to = send->to;
        CHECK(send->packet.size <= sizeof f->bytes);
        memcpy(f->bytes, send->packet.data, send->packet.size);
        f->size = send->packet.size;
    }
}

/* What a node's core does with GOSSIP_CONTACT: a stream, where both show their
 * certificates. */
static void handshake(struct net *net, size_t node, const struct address *to)
{
    size_t other = net_node_at(net, to);
    struct net_node *a = &net->nodes[node];
    struct net_node *b;

    if (!net->streams || other >= net->count || other == node)
        return;
    b = &net->nodes[other];
    if (b->gossip == NULL || a->side != b->side)
        return;
    (void)gossip_add_certificate(b->gossip, identity_certificate(&a->identity));
    (void)gossip_add_certificate(a->gossip, identity_certificate(&b->identity));
    (void)gossip_add_contact(a->gossip, net->now_ms, &b->identity.key_id,
                             &b->address);
}

static void on_event(struct net *net, size_t node, const struct gossip_event *e)
{
    struct net_node *n = &net->nodes[node];

    switch (e->kind) {
    case GOSSIP_MEMBER:
        n->deaths += e->state == MEMBER_DEAD;
        n->suspicions += e->state == MEMBER_SUSPECT;
        return;
    case GOSSIP_EVENT:
        n->events++;
        if (n->events == 1)
            n->event_at_ms = net->now_ms;
        if (n->events == 1 && n->relay)
            CHECK(gossip_push(n->gossip, net->now_ms, e->bytes, &e->peer) == 0);
        return;
    case GOSSIP_DIFFERS:
        n->differs++;
        return;
    case GOSSIP_CONTACT:
        n->contacts++;
        handshake(net, node, &e->address);
        return;
    case GOSSIP_PUSH_STREAM:
        n->streams++;
        return;
    }
    CHECK(false);
}

void net_drain(struct net *net, size_t node)
{
    struct net_node *n = &net->nodes[node];
    struct gossip_send send;
    struct gossip_event event;

    while (gossip_next_event(n->gossip, &event))
        on_event(net, node, &event);
    while (gossip_next_send(n->gossip, &send))
        fly(net, node, &send);
}

static size_t first_flight(const struct net *net)
{
    size_t ret = 0;
    size_t i;

    for (i = 1; i < net->flights_count; i++) {
        const struct flight *f = &net->flights[i];
        const struct flight *r = &net->flights[ret];

        if (f->at_ms < r->at_ms ||
            (f->at_ms == r->at_ms && f->order < r->order))
            ret = i;
    }
    return ret;
}

static void deliver(struct net *net, size_t index)
{
    struct flight f = net->flights[index];
    size_t from = net_node_at(net, &f.from);
    size_t to = net_node_at(net, &f.to);

    net->flights[index] = net->flights[--net->flights_count];
    if (to >= net->count || net->nodes[to].gossip == NULL ||
        net->nodes[from].side != net->nodes[to].side)
        return;
    if (net->watch != NULL)
        net->watch(net, &f, net->watch_context);
    net->trace_hash = net->trace_hash * 31 +
                      record_checksum(slice_of(&f.at_ms, sizeof f.at_ms),
                                      slice_of(f.bytes, f.size));
    (void)gossip_recv(net->nodes[to].gossip, net->now_ms, &f.from,
                      slice_of(f.bytes, f.size));
    net_drain(net, to);
}

/* One step to the next thing due, not beyond end_ms. */
static bool net_step(struct net *net, uint64_t end_ms)
{
    uint64_t next = UINT64_MAX;
    size_t flight = first_flight(net);
    size_t node = NET_NODES_MAX;
    size_t i;

    if (net->flights_count > 0)
        next = net->flights[flight].at_ms;
    for (i = 0; i < net->count; i++) {
        uint64_t at;

        if (net->nodes[i].gossip == NULL)
            continue;
        net_drain(net, i);
        at = gossip_deadline_ms(net->nodes[i].gossip);
        if (at < next) {
            next = at;
            node = i;
        }
    }
    if (next > end_ms)
        return false;
    if (next > net->now_ms)
        net->now_ms = next;
    if (node == NET_NODES_MAX) {
        /* Draining may have moved the flights. */
        deliver(net, first_flight(net));
        return true;
    }
    CHECK(gossip_tick(net->nodes[node].gossip, net->now_ms) == 0);
    net_drain(net, node);
    return true;
}

void net_run(struct net *net, uint64_t for_ms)
{
    uint64_t end_ms = net->now_ms + for_ms;

    while (net_step(net, end_ms))
        ;
    net->now_ms = end_ms;
}

struct member_view net_view(const struct net *net, size_t at, size_t of)
{
    struct member_view ret = {0};

    (void)gossip_member_find(net->nodes[at].gossip,
                             &net->nodes[of].identity.key_id, &ret);
    return ret;
}

bool net_converged(const struct net *net)
{
    size_t i;
    size_t j;

    for (i = 0; i < net->count; i++)
        for (j = 0; j < net->count; j++)
            if (i != j && net->nodes[i].gossip != NULL &&
                (net_view(net, i, j).state == MEMBER_ALIVE) !=
                    (net->nodes[j].gossip != NULL))
                return false;
    return true;
}

bool net_run_until_converged(struct net *net, uint64_t max_ms)
{
    uint64_t end_ms = net->now_ms + max_ms;

    while (!net_converged(net)) {
        if (net->now_ms >= end_ms)
            return false;
        net_run(net, 10);
    }
    return true;
}
