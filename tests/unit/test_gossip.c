/* Goal: membership converges, finds failures, forgives, survives loss and
 * partitions, and believes nothing that is not authentic. Method: whole
 * machines over a virtual network and clock, seeded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "crdt/base/alloc.h"
#include "gossip/packet.h"
#include "tests/unit/support_net.h"

static void start_all(struct net *net, size_t count, unsigned seed)
{
    size_t i;

    net_init(net, count, seed);
    for (i = 0; i < count; i++)
        net_start(net, i);
    for (i = 1; i < count; i++)
        net_contact(net, i, 0);
}

static void joined(struct net *net, size_t count, unsigned seed)
{
    start_all(net, count, seed);
    assert_true(net_run_until_converged(net, 10000));
    net_run(net, 3000);
}

static void twenty_nodes_join_through_one(void **state)
{
    struct net net;

    (void)state;
    start_all(&net, 20, 1);
    assert_true(net_run_until_converged(&net, 3000));
    net_run(&net, 60000);
    assert_true(net_converged(&net));
    net_release(&net);
}

static void contact_answers_within_a_second(void **state)
{
    struct net net;

    (void)state;
    net_init(&net, 2, 2);
    net_start(&net, 0);
    net_start(&net, 1);
    net_contact(&net, 1, 0);
    net_run(&net, 50);
    assert_int_equal(net_view(&net, 1, 0).state, MEMBER_ALIVE);
    assert_int_equal(net_view(&net, 0, 1).state, MEMBER_ALIVE);
    assert_string_equal(net_view(&net, 0, 1).name, "n01");
    net_release(&net);
}

static void idle_traffic_is_tiny(void **state)
{
    struct net net;
    uint64_t before;
    size_t count;

    (void)state;
    for (count = 3; count <= 20; count += 17) {
        joined(&net, count, 3);
        net_run(&net, 10000);
        before = net.bytes_sent + 28 * net.flights_sent;
        net_run(&net, 100000);
        before = net.bytes_sent + 28 * net.flights_sent - before;
        /* Bytes a node and second, UDP and IP headers included. */
        assert_in_range(before / count / 100, 100, 400);
        net_release(&net);
    }
}

static void a_dead_node_is_found_in_bounded_time(void **state)
{
    struct net net;
    unsigned seed;
    size_t i;

    (void)state;
    for (seed = 0; seed < 5; seed++) {
        joined(&net, 20, seed);
        net_stop(&net, 7);
        net_run(&net, 12000);
        for (i = 0; i < net.count; i++)
            if (i != 7)
                assert_int_equal(net_view(&net, i, 7).state, MEMBER_DEAD);
        net_release(&net);
    }
}

static void a_restarted_node_is_back_in_a_second(void **state)
{
    struct net net;
    uint64_t counter;

    (void)state;
    joined(&net, 5, 4);
    counter = net_view(&net, 0, 3).alive_counter;
    net_stop(&net, 3);
    net_run(&net, 20000);
    assert_int_equal(net_view(&net, 0, 3).state, MEMBER_DEAD);
    net_start(&net, 3);
    net_contact(&net, 3, 1);
    assert_true(net_run_until_converged(&net, 1000));
    assert_true(net_view(&net, 0, 3).alive_counter > counter);
    net_release(&net);
}

/* Its clock was set back: the counter starts below the one it had. */
static void a_restart_with_a_lower_counter_recovers(void **state)
{
    struct net net;
    uint64_t now;
    uint64_t counter;

    (void)state;
    joined(&net, 4, 5);
    counter = net_view(&net, 0, 3).alive_counter;
    net_stop(&net, 3);
    net_run(&net, 20000);
    now = net.now_ms;
    net.now_ms = 1000;
    net_start(&net, 3);
    net.now_ms = now;
    net_contact(&net, 3, 1);
    assert_true(net_run_until_converged(&net, 3000));
    assert_true(net_view(&net, 0, 3).alive_counter > counter);
    net_release(&net);
}

static void a_false_suspicion_is_refuted(void **state)
{
    struct net net;
    struct gossip_counters counters;
    uint64_t counter;
    unsigned i;

    (void)state;
    joined(&net, 5, 6);
    counter = net_view(&net, 0, 2).alive_counter;
    /* Unheard for a probe, and back before the suspicion runs out. */
    net.nodes[2].side = 1;
    for (i = 0; i < 400 && net_view(&net, 0, 2).state == MEMBER_ALIVE; i++)
        net_run(&net, 10);
    assert_int_equal(net_view(&net, 0, 2).state, MEMBER_SUSPECT);
    net.nodes[2].side = 0;
    assert_true(net_run_until_converged(&net, 3000));
    net_run(&net, 10000);
    assert_true(net_converged(&net));
    for (i = 0; i < 5; i++)
        assert_int_equal(net_view(&net, i, 2).state == MEMBER_DEAD, 0);
    assert_int_equal(net.nodes[0].deaths, 0);
    assert_true(net_view(&net, 0, 2).alive_counter > counter);
    gossip_counters(net.nodes[2].gossip, &counters);
    assert_true(counters.refutations >= 1);
    net_release(&net);
}

static void leaving_is_known_at_once_and_is_no_death(void **state)
{
    struct net net;
    size_t i;

    (void)state;
    joined(&net, 12, 7);
    gossip_leave(net.nodes[4].gossip, net.now_ms);
    net_drain(&net, 4);
    assert_true(gossip_deadline_ms(net.nodes[4].gossip) == UINT64_MAX);
    net_run(&net, 20);
    net_stop(&net, 4);
    net_run(&net, 500);
    for (i = 0; i < 12; i++)
        if (i != 4)
            assert_int_equal(net_view(&net, i, 4).state, MEMBER_LEFT);
    net_run(&net, 30000);
    for (i = 0; i < 12; i++) {
        assert_int_equal(net.nodes[i].deaths, 0);
        assert_int_equal(net.nodes[i].suspicions, 0);
    }
    net_start(&net, 4);
    net_contact(&net, 4, 2);
    assert_true(net_run_until_converged(&net, 2000));
    net_release(&net);
}

static void a_healed_partition_merges_by_itself(void **state)
{
    struct net net;
    unsigned seed;
    size_t i;

    (void)state;
    for (seed = 0; seed < 4; seed++) {
        joined(&net, 12, 20 + seed);
        for (i = 0; i < 5; i++)
            net.nodes[i].side = 1;
        net_run(&net, 600000);
        assert_int_equal(gossip_member_count(net.nodes[0].gossip, MEMBER_ALIVE),
                         4);
        assert_int_equal(gossip_member_count(net.nodes[9].gossip, MEMBER_DEAD),
                         5);
        for (i = 0; i < 5; i++)
            net.nodes[i].side = 0;
        assert_true(net_run_until_converged(&net, 15000));
        net_run(&net, 30000);
        assert_true(net_converged(&net));
        net_release(&net);
    }
}

static void three_nodes_cut_into_one_and_two_merge(void **state)
{
    struct net net;

    (void)state;
    joined(&net, 3, 8);
    net.nodes[1].side = 1;
    net_run(&net, 100000);
    net.nodes[1].side = 0;
    assert_true(net_run_until_converged(&net, 6000));
    net_release(&net);
}

static void ten_percent_loss_kills_nobody(void **state)
{
    struct net net;
    size_t i;

    (void)state;
    joined(&net, 10, 9);
    net.loss_percent = 10;
    net.double_percent = 5;
    net_run(&net, 30 * 60 * 1000);
    for (i = 0; i < 10; i++)
        assert_int_equal(net.nodes[i].deaths, 0);
    net_release(&net);
}

static void joining_works_under_heavy_loss(void **state)
{
    struct net net;

    (void)state;
    net_init(&net, 15, 10);
    net_release(&net);
    start_all(&net, 15, 10);
    net.loss_percent = 30;
    assert_true(net_run_until_converged(&net, 60000));
    net_release(&net);
}

static void a_stopped_process_blames_nobody(void **state)
{
    struct net net;
    struct gossip *stopped;
    unsigned i;

    (void)state;
    joined(&net, 5, 11);
    stopped = net.nodes[1].gossip;
    for (i = 0; i < 20; i++) {
        net.nodes[1].gossip = NULL;
        net_run(&net, 2700);
        net.nodes[1].gossip = stopped;
        net_run(&net, 3000);
    }
    net_run(&net, 5000);
    assert_int_equal(net.nodes[1].deaths, 0);
    assert_true(net_converged(&net));
    net_release(&net);
}

static void an_event_reaches_everybody(void **state)
{
    struct net net;
    uint8_t event[GOSSIP_PUSH_DATAGRAM_MAX];
    unsigned missed = 0;
    size_t run;
    size_t i;

    (void)state;
    memset(event, 7, sizeof event);
    joined(&net, 20, 12);
    for (run = 0; run < 400; run++) {
        size_t from = run % 20;

        for (i = 0; i < 20; i++) {
            net.nodes[i].events = i == from ? 1 : 0;
            net.nodes[i].relay = true;
        }
        assert_int_equal(gossip_push(net.nodes[from].gossip, net.now_ms,
                                     slice_of(event, sizeof event), NULL),
                         0);
        net_drain(&net, from);
        net_run(&net, 60);
        for (i = 0; i < 20; i++)
            missed += net.nodes[i].events == 0;
    }
    /* Six at random would leave out five of these 7,600 or so. */
    assert_int_equal(missed, 0);
    net_release(&net);
}

static void a_small_mesh_is_pushed_to_whole(void **state)
{
    struct net net;
    uint8_t event[100] = {1};
    size_t i;

    (void)state;
    joined(&net, 9, 13);
    assert_int_equal(gossip_push(net.nodes[0].gossip, net.now_ms,
                                 slice_of(event, sizeof event),
                                 &net.nodes[3].identity.key_id),
                     0);
    net_drain(&net, 0);
    net_run(&net, 10);
    for (i = 1; i < 9; i++)
        assert_int_equal(net.nodes[i].events, i == 3 ? 0 : 1);
    net_release(&net);
}

static void large_events_go_by_stream(void **state)
{
    static uint8_t event[1 << 20];
    struct net net;

    (void)state;
    joined(&net, 6, 14);
    assert_int_equal(gossip_push(net.nodes[0].gossip, net.now_ms,
                                 slice_of(event, sizeof event), NULL),
                     0);
    assert_int_equal(gossip_push(net.nodes[0].gossip, net.now_ms,
                                 slice_of(event, 1025), NULL),
                     0);
    net_drain(&net, 0);
    assert_int_equal(net.nodes[0].streams, 10);
    net_release(&net);
}

static void queues_are_bounded_and_count_what_they_drop(void **state)
{
    static uint8_t event[1 << 20];
    struct net net;
    struct gossip_counters counters;
    struct gossip_send send;
    struct gossip_event out;
    size_t bytes = 0;
    unsigned i;

    (void)state;
    joined(&net, 3, 15);
    for (i = 0; i < 10; i++)
        assert_int_equal(gossip_push(net.nodes[0].gossip, net.now_ms,
                                     slice_of(event, sizeof event), NULL),
                         0);
    while (gossip_next_event(net.nodes[0].gossip, &out))
        bytes += out.bytes.size;
    assert_int_equal(bytes, 8u << 20); /* four events, two peers each */
    gossip_counters(net.nodes[0].gossip, &counters);
    assert_int_equal(counters.packets_dropped, 12);
    for (i = 0; i < 5000; i++)
        assert_int_equal(gossip_push(net.nodes[0].gossip, net.now_ms,
                                     slice_of(event, 1000), NULL),
                         0);
    bytes = 0;
    while (gossip_next_send(net.nodes[0].gossip, &send))
        bytes += send.packet.size;
    assert_in_range(bytes, 2u << 20, GOSSIP_QUEUE_BYTES_MAX);
    gossip_counters(net.nodes[0].gossip, &counters);
    assert_true(counters.packets_dropped > 1000);
    net_release(&net);
}

static struct hash digest_of(const char *text)
{
    return hash_of("test", slice_of_string(text));
}

static void a_lost_push_is_noticed_soon(void **state)
{
    struct net net;
    struct hash a = digest_of("a");
    struct hash b = digest_of("b");
    unsigned i;

    (void)state;
    joined(&net, 3, 16);
    for (i = 0; i < 3; i++) {
        gossip_set_digest(net.nodes[i].gossip, &a);
        net.nodes[i].differs = 0;
    }
    net_run(&net, 5000);
    for (i = 0; i < 3; i++)
        assert_int_equal(net.nodes[i].differs, 0);
    assert_true(net_view(&net, 0, 1).digest_equal);
    /* Only node 0 has the write. */
    gossip_set_digest(net.nodes[0].gossip, &b);
    net_run(&net, 1200);
    assert_true(net.nodes[0].differs + net.nodes[1].differs +
                    net.nodes[2].differs >=
                2);
    assert_false(net_view(&net, 0, 1).digest_equal);
    /* At most one each 100 ms and peer. */
    for (i = 0; i < 3; i++)
        assert_in_range(net.nodes[i].differs, 0, 24);
    net_release(&net);
}

static void a_push_under_way_causes_no_alarm(void **state)
{
    struct net net;
    char text[2] = "a";
    struct hash digest;
    unsigned i;
    unsigned round;

    (void)state;
    joined(&net, 3, 17);
    for (i = 0; i < 3; i++)
        net.nodes[i].differs = 0;
    /* Every write is everywhere 5 ms later. */
    for (round = 0; round < 100; round++) {
        text[0] = (char)('a' + round % 26);
        digest = digest_of(text);
        for (i = 0; i < 3; i++) {
            gossip_set_digest(net.nodes[i].gossip, &digest);
            (void)gossip_tick(net.nodes[i].gossip, net.now_ms);
            net_run(&net, 5);
        }
        net_run(&net, 300);
    }
    for (i = 0; i < 3; i++)
        assert_in_range(net.nodes[i].differs, 0, 3);
    net_release(&net);
}

static void unknown_certificates_ask_for_contact(void **state)
{
    struct net net;
    size_t i;
    struct slice certificate;

    (void)state;
    net_init(&net, 8, 18);
    net.certificates = false;
    for (i = 0; i < 8; i++)
        net_start(&net, i);
    for (i = 1; i < 8; i++)
        net_contact(&net, i, 0);
    assert_true(net.nodes[1].contacts == 1);
    assert_true(net_run_until_converged(&net, 10000));
    certificate =
        gossip_certificate(net.nodes[3].gossip, &net.nodes[5].identity.key_id);
    assert_true(
        slice_equal(certificate, identity_certificate(&net.nodes[5].identity)));
    net_release(&net);
}

static void nothing_of_a_stranger_is_believed(void **state)
{
    struct net net;
    struct gossip_counters counters;

    (void)state;
    net_init(&net, 2, 19);
    net.certificates = false;
    net.streams = false;
    net_start(&net, 0);
    net_start(&net, 1);
    /* Only one side knows the other. */
    assert_int_equal(
        gossip_add_certificate(net.nodes[1].gossip,
                               identity_certificate(&net.nodes[0].identity)),
        0);
    net_contact(&net, 1, 0);
    net_run(&net, 60000);
    assert_int_equal(gossip_member_total(net.nodes[0].gossip), 0);
    assert_int_equal(gossip_member_total(net.nodes[1].gossip), 0);
    gossip_counters(net.nodes[0].gossip, &counters);
    assert_true(counters.packets_unknown > 3);
    assert_in_range(net.nodes[0].contacts, 2, 31);
    net_release(&net);
}

static void forgotten_peers_are_not_heard_again(void **state)
{
    struct net net;
    struct gossip *g;

    (void)state;
    joined(&net, 4, 21);
    g = net.nodes[0].gossip;
    gossip_forget(g, &net.nodes[2].identity.key_id);
    net_run(&net, 30000);
    assert_int_equal(gossip_member_total(g), 2);
    assert_int_equal(
        gossip_add_certificate(g, identity_certificate(&net.nodes[2].identity)),
        CM_ERR_REVOKED);
    assert_int_equal(gossip_add_contact(g, net.now_ms,
                                        &net.nodes[2].identity.key_id,
                                        &net.nodes[2].address),
                     CM_ERR_REVOKED);
    net_release(&net);
}

/* Whoever is not heard any more finds out over streams, which it asks for now
 * and then, of each of the others in turn. */
static void who_is_not_heard_asks_for_streams(void **state)
{
    struct net net;
    unsigned before;

    (void)state;
    joined(&net, 4, 23);
    for (size_t i = 0; i < 3; i++)
        gossip_forget(net.nodes[i].gossip, &net.nodes[3].identity.key_id);
    net_run(&net, 20000);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(net_view(&net, 3, i).state, MEMBER_DEAD);
    before = net.nodes[3].contacts;
    net_run(&net, 60000);
    assert_in_range(net.nodes[3].contacts - before, 2, 4);
    assert_int_equal(net.nodes[0].contacts, 0); /* they had nobody dead */
    net_release(&net);
}

static void dead_members_are_forgotten_in_the_end(void **state)
{
    struct net net;

    (void)state;
    joined(&net, 3, 22);
    net_stop(&net, 2);
    net_run(&net, 30000);
    assert_int_equal(net_view(&net, 0, 2).state, MEMBER_DEAD);
    net_run(&net, UINT64_C(24) * 3600 * 1000);
    assert_int_equal(gossip_member_total(net.nodes[0].gossip), 1);
    net_start(&net, 2);
    net_contact(&net, 2, 0);
    assert_true(net_run_until_converged(&net, 1000));
    net_release(&net);
}

/* Captures the packets that one node receives. */
struct capture {
    size_t to;
    struct flight flights[64];
    size_t count;
};

static void capture_flight(struct net *net, const struct flight *f,
                           void *context)
{
    struct capture *c = context;

    if (net_node_at(net, &f->to) == c->to && c->count < 64)
        c->flights[c->count++] = *f;
}

/* What must not change: every member as node 0 sees it. */
static struct hash picture(struct net *net, size_t node)
{
    struct gossip *g = net->nodes[node].gossip;
    struct member_view v[NET_NODES_MAX];
    size_t count = gossip_member_total(g);
    size_t i;

    memset(v, 0, sizeof v);
    for (i = 0; i < count; i++) {
        gossip_member_at(g, i, &v[i]);
        v[i].round_trip_ms = 0;
    }
    return hash_of("picture", slice_of(v, sizeof v));
}

static unsigned sends(struct gossip *g)
{
    struct gossip_send send;
    struct gossip_event event;
    unsigned ret = 0;

    while (gossip_next_event(g, &event))
        ret++;
    while (gossip_next_send(g, &send))
        ret++;
    return ret;
}

static void damaged_and_replayed_packets_change_nothing(void **state)
{
    static struct capture c = {.to = 0};
    struct net net;
    struct gossip *g;
    struct hash before;
    size_t i;
    size_t k;

    (void)state;
    joined(&net, 4, 23);
    net.watch = capture_flight;
    net.watch_context = &c;
    net_run(&net, 9000);
    assert_true(c.count > 8);
    net.watch = NULL;
    g = net.nodes[0].gossip;
    (void)sends(g);
    before = picture(&net, 0);
    for (i = 0; i < c.count; i++) {
        struct flight *f = &c.flights[i];

        assert_true(gossip_recv(g, net.now_ms, &f->from,
                                slice_of(f->bytes, f->size)) < 0);
        for (k = 0; k < f->size; k++) {
            f->bytes[k] ^= (uint8_t)(1u << (k % 8));
            assert_true(gossip_recv(g, net.now_ms, &f->from,
                                    slice_of(f->bytes, f->size)) < 0);
            f->bytes[k] ^= (uint8_t)(1u << (k % 8));
            assert_true(gossip_recv(g, net.now_ms, &f->from,
                                    slice_of(f->bytes, k)) < 0);
        }
    }
    assert_true(memcmp(before.bytes, picture(&net, 0).bytes, 32) == 0);
    /* Only contacts asked for, because some claimed another sender. */
    assert_in_range(sends(g), 0, 64);
    net_release(&net);
}

/* Seals messages as node `as` would, to node `to`. */
static void inject(struct net *net, size_t as, size_t to,
                   const struct message *messages, size_t count)
{
    static uint64_t counter;
    const struct identity *a = &net->nodes[as].identity;
    const struct identity *b = &net->nodes[to].identity;
    struct packet_builder builder;
    uint8_t key[32];
    uint8_t nonce[PACKET_NONCE_SIZE] = {0xee};
    struct buffer out;
    size_t i;

    packet_builder_init(&builder);
    for (i = 0; i < count; i++)
        assert_true(packet_builder_add(&builder, &messages[i]));
    assert_int_equal(
        packet_key(key, a->box_secret, b->box_public, &a->key_id, &b->key_id),
        0);
    put_be64(nonce + PACKET_NONCE_PREFIX_SIZE, ++counter);
    buffer_init(&out, GOSSIP_PACKET_MAX);
    packet_seal(&out, key, &a->key_id, nonce, &builder);
    assert_int_equal(gossip_recv(net->nodes[to].gossip, net->now_ms,
                                 &net->nodes[as].address, buffer_slice(&out)),
                     0);
    buffer_release(&out);
    packet_builder_release(&builder);
}

static void forged_records_are_refused(void **state)
{
    struct net net;
    struct message m = {.type = MESSAGE_ALIVE};
    struct member_view before;
    struct member_view after;

    (void)state;
    joined(&net, 4, 24);
    before = net_view(&net, 0, 2);
    m.subject = net.nodes[2].identity.key_id;
    m.counter = before.alive_counter + 5;
    m.address = net.nodes[1].address;
    /* Signed by node 1, a member, for node 2. */
    packet_alive_sign(m.signature, &net.mesh.mesh, &m,
                      net.nodes[1].identity.sign_secret);
    inject(&net, 1, 0, &m, 1);
    m.type = MESSAGE_LEAVE;
    packet_leave_sign(m.signature, &net.mesh.mesh, &m,
                      net.nodes[1].identity.sign_secret);
    inject(&net, 1, 0, &m, 1);
    /* A signature over another mesh's id. */
    {
        struct mesh_keys other;

        mesh_keys_make(&other, 2);
        packet_leave_sign(m.signature, &other.mesh, &m,
                          net.nodes[2].identity.sign_secret);
    }
    inject(&net, 1, 0, &m, 1);
    after = net_view(&net, 0, 2);
    assert_memory_equal(&before, &after, sizeof before);
    /* The subject's own signature counts, whoever brings it. */
    packet_leave_sign(m.signature, &net.mesh.mesh, &m,
                      net.nodes[2].identity.sign_secret);
    inject(&net, 1, 0, &m, 1);
    assert_int_equal(net_view(&net, 0, 2).state, MEMBER_LEFT);
    net_release(&net);
}

static void old_records_never_lower_a_counter(void **state)
{
    struct net net;
    struct message m = {.type = MESSAGE_ALIVE};
    uint64_t counter;
    uint64_t c;

    (void)state;
    joined(&net, 3, 25);
    counter = net_view(&net, 0, 2).alive_counter;
    m.subject = net.nodes[2].identity.key_id;
    m.address = net.nodes[1].address;
    for (c = counter > 5 ? counter - 5 : 1; c <= counter; c++) {
        m.counter = c;
        packet_alive_sign(m.signature, &net.mesh.mesh, &m,
                          net.nodes[2].identity.sign_secret);
        inject(&net, 1, 0, &m, 1);
        assert_true(net_view(&net, 0, 2).alive_counter == counter);
        assert_true(address_equal(
            &net.nodes[2].address,
            &(struct address){.family = 4,
                              .ip = {127, 0, 0, 1},
                              .port = net.nodes[2].address.port}));
    }
    /* A higher one moves the address: the only way it ever does. */
    m.counter = counter + 1;
    m.address.port = 9999;
    packet_alive_sign(m.signature, &net.mesh.mesh, &m,
                      net.nodes[2].identity.sign_secret);
    inject(&net, 1, 0, &m, 1);
    assert_true(net_view(&net, 0, 2).alive_counter == counter + 1);
    assert_int_equal(net_view(&net, 0, 2).address.port, 9999);
    net_release(&net);
}

static void stale_opinions_are_answered_not_believed(void **state)
{
    struct net net;
    struct message m = {.type = MESSAGE_DEAD};

    (void)state;
    joined(&net, 3, 26);
    m.subject = net.nodes[2].identity.key_id;
    m.from = net.nodes[1].identity.key_id;
    m.counter = net_view(&net, 0, 2).alive_counter - 1;
    (void)sends(net.nodes[0].gossip);
    inject(&net, 1, 0, &m, 1);
    assert_int_equal(net_view(&net, 0, 2).state, MEMBER_ALIVE);
    assert_true(sends(net.nodes[0].gossip) >= 1);
    /* Of oneself: refuted at once, with a higher counter. */
    m.subject = net.nodes[0].identity.key_id;
    m.counter = net_view(&net, 1, 0).alive_counter;
    inject(&net, 1, 0, &m, 1);
    net_run(&net, 1000);
    assert_true(net_view(&net, 1, 0).alive_counter == m.counter + 1);
    assert_true(net_view(&net, 2, 0).alive_counter == m.counter + 1);
    net_release(&net);
}

/* Decrypts what passes by and writes one line a packet. */
struct transcript {
    char text[8192];
    size_t size;
};

static void transcribe(struct net *net, const struct flight *f, void *context)
{
    static const char *const names[] = {"?",     "ping",  "ack",     "ping-req",
                                        "i-ack", "alive", "suspect", "dead",
                                        "leave", "event", "state?"};
    struct transcript *t = context;
    size_t a = net_node_at(net, &f->from);
    size_t b = net_node_at(net, &f->to);
    const struct identity *to = &net->nodes[b].identity;
    const struct identity *from = &net->nodes[a].identity;
    uint8_t key[32];
    uint8_t plain[PACKET_PLAIN_MAX];
    struct packet packet;
    struct buffer line;
    size_t size;
    size_t i;

    assert_int_equal(packet_key(key, to->box_secret, from->box_public,
                                &to->key_id, &from->key_id),
                     0);
    assert_int_equal(
        packet_open(plain, &size, key, slice_of(f->bytes, f->size)), 0);
    assert_int_equal(packet_decode(&packet, slice_of(plain, size)), 0);
    buffer_init(&line, sizeof t->text - t->size);
    buffer_printf(&line, "%u>%u", (unsigned)a, (unsigned)b);
    for (i = 0; i < packet.count; i++) {
        const struct message *m = &packet.messages[i];

        buffer_printf(&line, " %s", names[m->type]);
        if (m->type == MESSAGE_PING)
            buffer_printf(&line, "/%u", m->state);
        if (m->type == MESSAGE_ALIVE || m->type == MESSAGE_SUSPECT ||
            m->type == MESSAGE_PING_REQ || m->type == MESSAGE_INDIRECT_ACK) {
            size_t k;

            for (k = 0; k < net->count; k++)
                if (key_id_equal(&net->nodes[k].identity.key_id, &m->subject))
                    buffer_printf(&line, "(%u)", (unsigned)k);
        }
    }
    buffer_append_string(&line, "\n");
    assert_int_equal(line.error, 0);
    memcpy(t->text + t->size, line.data, line.size);
    t->size += line.size;
    t->text[t->size] = '\0';
    buffer_release(&line);
}

/* Golden trace: two nodes meet, then probe each other. */
static void the_first_contact_reads_like_this(void **state)
{
    static struct transcript t;
    struct net net;

    (void)state;
    net_init(&net, 2, 27);
    net.delay_ms = 0; /* in order */
    net_start(&net, 0);
    net_start(&net, 1);
    net.watch = transcribe;
    net.watch_context = &t;
    net_contact(&net, 1, 0);
    net_run(&net, 9);
    assert_string_equal(t.text, "1>0 ping/0 alive(1)\n"
                                "0>1 alive(0) state?\n"
                                "0>1 ack alive(0)\n"
                                "1>0 alive(1) state?\n"
                                "1>0 alive(1)\n"
                                "0>1 alive(0)\n");
    net_run(&net, 5000);
    t.size = 0;
    net_run(&net, 1000);
    assert_string_equal(t.text, "1>0 ping/1\n"
                                "0>1 ack\n"
                                "0>1 ping/1\n"
                                "1>0 ack\n");
    net_release(&net);
}

static void same_seed_same_run(void **state)
{
    uint64_t hashes[3];
    size_t i;

    (void)state;
    for (i = 0; i < 3; i++) {
        struct net net;

        start_all(&net, 10, i == 2 ? 99 : 28);
        net.loss_percent = 5;
        net.double_percent = 5;
        net_run(&net, 20000);
        net_stop(&net, 3);
        net_run(&net, 20000);
        hashes[i] = net.trace_hash;
        net_release(&net);
    }
    assert_true(hashes[0] == hashes[1]);
    assert_true(hashes[0] != hashes[2]);
}

static void wrong_configurations_are_refused(void **state)
{
    struct mesh_keys mesh;
    struct mesh_keys other;
    struct identity id;
    struct gossip *g = NULL;
    struct gossip_config good = {.address = {.family = 4, .port = 1}};
    struct gossip_config c;

    (void)state;
    mesh_keys_make(&mesh, 1);
    mesh_keys_make(&other, 2);
    identity_make(&id, &mesh, 1);
    good.mesh = mesh.mesh;
    good.certificate = identity_certificate(&id);
    memcpy(good.authority_public_key, mesh.authority_public, 32);
    memcpy(good.sign_secret_key, id.sign_secret, 64);
    memcpy(good.box_secret_key, id.box_secret, 32);
    c = good;
    c.mesh = other.mesh;
    assert_int_equal(gossip_create(&g, &c, 1), CM_ERR_WRONG_MESH);
    c = good;
    c.box_secret_key[5] ^= 1;
    assert_int_equal(gossip_create(&g, &c, 1), CM_ERR_INVALID);
    c = good;
    memcpy(c.authority_public_key, other.authority_public, 32);
    assert_true(gossip_create(&g, &c, 1) < 0);
    c = good;
    c.address.family = 0;
    assert_int_equal(gossip_create(&g, &c, 1), CM_ERR_INVALID);
    assert_int_equal(gossip_create(&g, &good, 1), 0);
    assert_true(gossip_deadline_ms(g) == UINT64_MAX);
    /* A certificate of another authority. */
    identity_make(&id, &other, 2);
    assert_true(gossip_add_certificate(g, identity_certificate(&id)) < 0);
    gossip_free(g);
    gossip_free(NULL);
}

/* Every allocation fails once, in turn: nothing breaks, nothing leaks. */
static void short_memory_is_survived(void **state)
{
    uint64_t n;
    uint8_t event[2000] = {1};

    (void)state;
    for (n = 1; n < 120; n += 3) {
        struct net net;

        joined(&net, 3, 29);
        cm_alloc_fail_after(n);
        (void)gossip_push(net.nodes[0].gossip, net.now_ms,
                          slice_of(event, 2000), NULL);
        (void)gossip_push(net.nodes[0].gossip, net.now_ms, slice_of(event, 200),
                          NULL);
        net_drain(&net, 0);
        net_run(&net, 3000);
        cm_alloc_fail_after(0);
        net_run(&net, 10000);
        assert_true(net_converged(&net));
        net_release(&net);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(twenty_nodes_join_through_one),
        cmocka_unit_test(contact_answers_within_a_second),
        cmocka_unit_test(idle_traffic_is_tiny),
        cmocka_unit_test(a_dead_node_is_found_in_bounded_time),
        cmocka_unit_test(a_restarted_node_is_back_in_a_second),
        cmocka_unit_test(a_restart_with_a_lower_counter_recovers),
        cmocka_unit_test(a_false_suspicion_is_refuted),
        cmocka_unit_test(leaving_is_known_at_once_and_is_no_death),
        cmocka_unit_test(a_healed_partition_merges_by_itself),
        cmocka_unit_test(three_nodes_cut_into_one_and_two_merge),
        cmocka_unit_test(ten_percent_loss_kills_nobody),
        cmocka_unit_test(joining_works_under_heavy_loss),
        cmocka_unit_test(a_stopped_process_blames_nobody),
        cmocka_unit_test(an_event_reaches_everybody),
        cmocka_unit_test(a_small_mesh_is_pushed_to_whole),
        cmocka_unit_test(large_events_go_by_stream),
        cmocka_unit_test(queues_are_bounded_and_count_what_they_drop),
        cmocka_unit_test(a_lost_push_is_noticed_soon),
        cmocka_unit_test(a_push_under_way_causes_no_alarm),
        cmocka_unit_test(unknown_certificates_ask_for_contact),
        cmocka_unit_test(nothing_of_a_stranger_is_believed),
        cmocka_unit_test(forgotten_peers_are_not_heard_again),
        cmocka_unit_test(who_is_not_heard_asks_for_streams),
        cmocka_unit_test(dead_members_are_forgotten_in_the_end),
        cmocka_unit_test(damaged_and_replayed_packets_change_nothing),
        cmocka_unit_test(forged_records_are_refused),
        cmocka_unit_test(old_records_never_lower_a_counter),
        cmocka_unit_test(stale_opinions_are_answered_not_believed),
        cmocka_unit_test(the_first_contact_reads_like_this),
        cmocka_unit_test(same_seed_same_run),
        cmocka_unit_test(wrong_configurations_are_refused),
        cmocka_unit_test(short_memory_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
