/* Goal: what is asked of the simulated network happens, and happens alike
 * for a seed: faults at the rates set, streams in order and whole whatever the
 * portions, partitions and vanished hosts as TCP shows them.
 * Method: three bare endpoints that record what they hear. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "crdt/base/error.h"
#include "node/port.h"
#include "sim/net.h"

#define NODES 3
#define SECOND_US UINT64_C(1000000)

struct fixture {
    struct sim_sched sched;
    struct sim_fate fate;
    struct sim_faults faults;
    struct sim_net *net;
    unsigned datagrams[NODES];
    unsigned connected[NODES];
    unsigned accepted[NODES];
    unsigned drained[NODES];
    unsigned closed[NODES];
    int error[NODES];
    uint64_t stream[NODES]; /* the last accepted or connected one */
    struct buffer heard[NODES];
    bool close_on_bytes;
};

static void on_datagram(void *ctx, unsigned node, const struct address *from,
                        struct slice packet)
{
    struct fixture *f = ctx;

    assert_int_equal(from->family, 4);
    assert_true(packet.size > 0);
    f->datagrams[node]++;
}

static void on_accepted(void *ctx, unsigned node, uint64_t stream,
                        const struct address *from)
{
    struct fixture *f = ctx;

    assert_int_equal(from->family, 4);
    assert_true((stream & STREAM_ACCEPTED) != 0);
    f->accepted[node]++;
    f->stream[node] = stream;
}

static void on_connected(void *ctx, unsigned node, uint64_t stream)
{
    struct fixture *f = ctx;

    f->connected[node]++;
    f->stream[node] = stream;
}

static void on_bytes(void *ctx, unsigned node, uint64_t stream,
                     struct slice bytes)
{
    struct fixture *f = ctx;

    buffer_append_slice(&f->heard[node], bytes);
    if (f->close_on_bytes)
        sim_net_close(f->net, node, stream);
}

static void on_drained(void *ctx, unsigned node, uint64_t stream)
{
    struct fixture *f = ctx;

    assert_int_equal(f->stream[node], stream);
    f->drained[node]++;
}

static void on_closed(void *ctx, unsigned node, uint64_t stream, int error)
{
    struct fixture *f = ctx;

    assert_true(stream != 0);
    f->closed[node]++;
    f->error[node] = error;
}

static const struct sim_net_handler handler = {
    .datagram = on_datagram,
    .accepted = on_accepted,
    .connected = on_connected,
    .bytes = on_bytes,
    .drained = on_drained,
    .closed = on_closed,
};

static void start(struct fixture *f, uint64_t seed,
                  const struct sim_net_options *options)
{
    memset(f, 0, sizeof *f);
    sim_sched_init(&f->sched);
    sim_fate_init(&f->fate, seed);
    assert_int_equal(sim_net_create(&f->net, NODES, options, &f->sched,
                                    &f->fate, &f->faults, &handler, f),
                     0);
    for (unsigned i = 0; i < NODES; i++) {
        buffer_init(&f->heard[i], 64u << 20);
        sim_net_set_up(f->net, i, true);
    }
}

static void stop(struct fixture *f)
{
    sim_net_free(f->net);
    for (unsigned i = 0; i < NODES; i++)
        buffer_release(&f->heard[i]);
    sim_sched_release(&f->sched);
}

static void run_for(struct fixture *f, uint64_t us)
{
    uint64_t limit = f->sched.now_us + us;

    while (sim_sched_step(&f->sched, limit)) {
    }
}

static void connect_pair(struct fixture *f, unsigned from, unsigned to)
{
    struct address a = sim_net_address(to);

    sim_net_connect(f->net, from, 1, &a);
    run_for(f, SECOND_US);
    assert_int_equal(f->accepted[to], 1);
    assert_int_equal(f->connected[from], 1);
}

static void test_datagram_faults(void **state)
{
    struct fixture f;
    struct sim_net_options o = sim_net_default_options();
    struct sim_net_counters counters;
    struct address to = sim_net_address(1);

    (void)state;
    o.loss_ppm = 100000;
    o.duplicate_ppm = 50000;
    start(&f, 7, &o);
    for (unsigned i = 0; i < 5000; i++) {
        uint8_t byte = (uint8_t)i;
        sim_net_send(f.net, 0, &to, slice_of(&byte, 1));
        run_for(&f, 100);
    }
    run_for(&f, SECOND_US);
    sim_net_read_counters(f.net, &counters);
    assert_int_equal(counters.datagrams, 5000);
    assert_in_range(counters.lost, 400, 600);
    assert_in_range(counters.duplicated, 150, 300);
    assert_int_equal(f.datagrams[1],
                     5000 - counters.lost + counters.duplicated);
    stop(&f);
}

/* 3 MB through a stream with loss and slicing arrive whole and in order. */
static void test_stream_is_whole(void **state)
{
    struct fixture f;
    struct sim_net_options o = sim_net_default_options();
    static uint8_t piece[30000];

    (void)state;
    o.loss_ppm = 20000;
    start(&f, 8, &o);
    connect_pair(&f, 0, 1);
    for (unsigned i = 0; i < 100; i++) {
        for (size_t j = 0; j < sizeof piece; j++)
            piece[j] = (uint8_t)(i * 31 + j * 7);
        sim_net_write(f.net, 0, 1, slice_of(piece, sizeof piece));
        while (f.drained[0] <= i)
            assert_true(sim_sched_step(&f.sched, UINT64_MAX));
    }
    sim_net_close(f.net, 0, 1);
    run_for(&f, 60 * SECOND_US);
    assert_int_equal(f.heard[1].size, 100 * sizeof piece);
    for (size_t i = 0; i < 100; i++)
        for (size_t j = 0; j < sizeof piece; j++)
            assert_int_equal(f.heard[1].data[i * sizeof piece + j],
                             (uint8_t)(i * 31 + j * 7));
    assert_int_equal(f.closed[1], 1);
    assert_int_equal(f.error[1], 0);
    assert_int_equal(f.closed[0], 0);
    stop(&f);
}

/* A paused reader takes nothing, the writer's window fills, nothing is lost. */
static void test_pause_holds_writer(void **state)
{
    struct fixture f;
    struct sim_net_options o = sim_net_default_options();
    static uint8_t big[SIM_NET_WINDOW + 1];

    (void)state;
    start(&f, 9, &o);
    connect_pair(&f, 0, 1);
    sim_net_pause(f.net, 1, f.stream[1], true);
    sim_net_write(f.net, 0, 1, slice_of(big, sizeof big));
    run_for(&f, 10 * SECOND_US);
    assert_int_equal(f.drained[0], 0);
    assert_int_equal(f.heard[1].size, 0);
    sim_net_pause(f.net, 1, f.stream[1], false);
    run_for(&f, 10 * SECOND_US);
    assert_int_equal(f.drained[0], 1);
    assert_int_equal(f.heard[1].size, sizeof big);
    stop(&f);
}

/* A short partition delays a stream, a long one ends it on both sides;
 * datagrams do not pass. */
static void test_partition(void **state)
{
    struct fixture f;
    struct sim_net_options o = sim_net_default_options();
    struct address to = sim_net_address(1);
    uint8_t byte = 'x';

    (void)state;
    o.loss_ppm = 0;
    o.duplicate_ppm = 0;
    start(&f, 10, &o);
    connect_pair(&f, 0, 1);
    sim_net_set_group(f.net, 1, 1);
    sim_net_write(f.net, 0, 1, slice_of(&byte, 1));
    sim_net_send(f.net, 0, &to, slice_of(&byte, 1));
    run_for(&f, 5 * SECOND_US);
    assert_int_equal(f.heard[1].size, 0);
    sim_net_heal(f.net);
    run_for(&f, SECOND_US);
    assert_int_equal(f.heard[1].size, 1);
    assert_int_equal(f.datagrams[1], 0);
    sim_net_set_group(f.net, 1, 1);
    sim_net_write(f.net, 0, 1, slice_of(&byte, 1));
    run_for(&f, 20 * SECOND_US);
    assert_int_equal(f.closed[0], 1);
    assert_int_equal(f.closed[1], 1);
    assert_int_equal(f.error[0], CM_ERR_TIMEOUT);
    stop(&f);
}

/* A host that lost its power says nothing; back again, it refuses what it
 * does not know. A silent peer is noticed by keep-alive. */
static void test_power_cut(void **state)
{
    struct fixture f;
    struct sim_net_options o = sim_net_default_options();
    uint8_t byte = 'x';

    (void)state;
    start(&f, 11, &o);
    connect_pair(&f, 0, 1);
    sim_net_set_up(f.net, 1, false);
    run_for(&f, SECOND_US);
    assert_int_equal(f.closed[0], 0);
    assert_int_equal(f.closed[1], 0);
    sim_net_set_up(f.net, 1, true);
    sim_net_write(f.net, 0, 1, slice_of(&byte, 1));
    run_for(&f, SECOND_US);
    assert_int_equal(f.closed[0], 1);
    assert_int_equal(f.error[0], CM_ERR_CLOSED);
    sim_net_write(f.net, 0, 1, slice_of(&byte, 1)); /* dead id: ignored */
    struct address to = sim_net_address(2);
    sim_net_connect(f.net, 0, 2, &to);
    run_for(&f, SECOND_US);
    sim_net_set_up(f.net, 2, false);
    run_for(&f, 60 * SECOND_US);
    assert_int_equal(f.closed[0], 2);
    assert_int_equal(f.error[0], CM_ERR_TIMEOUT);
    stop(&f);
}

static void test_connect_to_nobody(void **state)
{
    struct fixture f;
    struct sim_net_options o = sim_net_default_options();
    struct address nobody = {.family = 4, .ip = {192, 168, 0, 1}, .port = 1};
    struct address down = sim_net_address(2);

    (void)state;
    start(&f, 12, &o);
    sim_net_set_up(f.net, 2, false);
    sim_net_connect(f.net, 0, 1, &nobody);
    sim_net_connect(f.net, 1, 1, &down);
    sim_net_connect(f.net, 1, 2, &down);
    sim_net_close(f.net, 1, 2);
    run_for(&f, 30 * SECOND_US);
    assert_int_equal(f.closed[0], 1);
    assert_int_equal(f.closed[1], 1);
    assert_int_equal(f.connected[1], 0);
    stop(&f);
}

/* Closing within a callback, and writing into a stream that was closed. */
static void test_close_while_bytes_arrive(void **state)
{
    struct fixture f;
    struct sim_net_options o = sim_net_default_options();
    static uint8_t bytes[5000];

    (void)state;
    start(&f, 13, &o);
    connect_pair(&f, 0, 1);
    f.close_on_bytes = true;
    for (unsigned i = 0; i < 5 && f.closed[0] == 0; i++) {
        sim_net_write(f.net, 0, 1, slice_of(bytes, sizeof bytes));
        run_for(&f, SECOND_US);
    }
    assert_int_equal(f.closed[0], 1);
    assert_int_equal(f.closed[1], 0);
    stop(&f);
}

static struct hash chatter(uint64_t seed)
{
    struct fixture f;
    struct sim_net_options o = sim_net_default_options();

    start(&f, seed, &o);
    struct address to = sim_net_address(1);
    sim_net_connect(f.net, 0, 1, &to);
    for (unsigned i = 0; i < 500; i++) {
        to = sim_net_address(i % NODES);
        sim_net_send(f.net, (i + 1) % NODES, &to, slice_of(&i, sizeof i));
        run_for(&f, 777);
    }
    run_for(&f, SECOND_US);
    struct hash h = f.sched.trace.chain;
    stop(&f);
    return h;
}

static void test_same_seed_same_run(void **state)
{
    struct hash a = chatter(1);
    struct hash b = chatter(1);
    struct hash c = chatter(2);

    (void)state;
    assert_true(hash_equal(&a, &b));
    assert_false(hash_equal(&a, &c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_datagram_faults),
        cmocka_unit_test(test_stream_is_whole),
        cmocka_unit_test(test_pause_holds_writer),
        cmocka_unit_test(test_partition),
        cmocka_unit_test(test_power_cut),
        cmocka_unit_test(test_connect_to_nobody),
        cmocka_unit_test(test_close_while_bytes_arrive),
        cmocka_unit_test(test_same_seed_same_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
