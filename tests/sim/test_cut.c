/* Goal: a member that lacks what nobody who lives holds the bytes of catches up
 * by a cut, whatever is cut short meanwhile, keeps what it wrote itself, and
 * ends with the same state; a joiner whose sponsor is gone is brought up by
 * another node.
 * Method: host 2 is isolated while host 0 writes and brings up host 1, which
 * has those writes as state alone. Host 0 goes for ever, the isolation ends,
 * and for many seeds the power of hosts 1 and 2 is cut, or the network, at
 * random instants of what follows.
 *
 * SIM_SEED=N starts from that seed, SIM_SEEDS=N tries so many; SIM_LOG=1 shows
 * the nodes' own lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim/world.h"
#include "tests/sim/run_fixture.h"

#define SEEDS 25
#define KEYS 400
#define OWN_KEYS 12
#define VALUE_SIZE 3000 /* so that the cut takes many messages */
#define MEET_US (1500 * SIM_MS)
#define AFTER_US (3 * SIM_SECOND)
#define OFF_US (60 * SIM_MS)
#define SLOW_BYTES_PER_MS 300
#define SILENCE_US (45 * SIM_SECOND) /* until both sides give the link up */
#define LIMIT_US (240 * SIM_SECOND)

static bool is_ready(struct sim_world *w, void *ctx)
{
    const unsigned *host = ctx;
    struct node *n = sim_host_node(w->hosts[*host]);
    return n != NULL && node_is_ready(n);
}

static void bring_up(struct sim_world *w, unsigned host, uint64_t seed)
{
    if (host == 0)
        boot_or_fail(w, 0, seed);
    else
        sim_world_join(w, host, 0);
    assert_true(sim_world_run_until(w, is_ready, &host, LIMIT_US));
}

static void ignore(void *ctx, const struct intent *i, bool answered)
{
    (void)ctx;
    (void)i;
    (void)answered;
}

static void put(struct sim_world *w, unsigned host, const char *prefix,
                unsigned number)
{
    char value[VALUE_SIZE];
    char key[32];
    struct local_op op = {.kind = OP_PUT};
    struct intent *i = intent_new(INTENT_LOCAL);

    assert_non_null(i);
    for (size_t j = 0; j < sizeof value; j++) /* does not compress */
        value[j] =
            (char)(sim_fate_draw(&w->fate, SIM_FATE_WORKLOAD, number, j) &
                   0x7f);
    (void)snprintf(key, sizeof key, "%s/%u", prefix, number);
    op.key = slice_of_string(key);
    op.value = slice_of(value, sizeof value);
    assert_int_equal(intent_add_op(i, &op), 0);
    if (sim_host_write(w->hosts[host], i, ignore, NULL) != 0)
        sim_world_run_for(w, SIM_MS);
}

static bool alike(struct sim_world *w, void *ctx)
{
    struct hash a, b;

    (void)ctx;
    return sim_host_is_up(w->hosts[1]) && sim_host_is_up(w->hosts[2]) &&
           sim_world_digest(w, 1, &a) == 0 && sim_world_digest(w, 2, &b) == 0 &&
           hash_equal(&a, &b);
}

static uint64_t draw(struct sim_world *w, unsigned what, unsigned number,
                     uint64_t below)
{
    return sim_fate_range(&w->fate, SIM_FATE_WORKLOAD, 1000 + what, number, 0,
                          below);
}

/* Until host 2 has a part of a cut, or for long enough. */
static void until_it_comes(struct sim_world *w)
{
    for (unsigned i = 0; i < 150000; i++) {
        struct node *n = sim_host_node(w->hosts[2]);
        struct node_status s;

        sim_world_run_for(w, 100);
        if (n == NULL)
            continue;
        node_status_read(n, &s);
        if (s.cuts.bytes > s.cuts.bytes_total / 4)
            return;
    }
}

/* The link breaks in the middle of it, and nothing else. */
static void break_link(struct sim_world *w)
{
    sim_net_set_capacity(w->net, 1, SLOW_BYTES_PER_MS);
    until_it_comes(w);
    sim_net_set_group(w->net, 2, 1);
    sim_world_run_for(w, SILENCE_US);
    sim_net_heal(w->net);
    sim_net_set_capacity(w->net, 1, 0);
}

static void trouble(struct sim_world *w, uint64_t seed, unsigned number)
{
    unsigned victim = 1 + (unsigned)(draw(w, 1, number, 1));

    if (number == 0) {
        break_link(w);
        return;
    }
    sim_world_run_for(w, draw(w, 2, number, AFTER_US));
    sim_world_power_cut(w, victim);
    sim_world_run_for(w, OFF_US);
    boot_or_fail(w, victim, seed);
}

/* What only state has: host 1 has it, host 2 lacks it. */
static struct sim_world *bytes_gone(uint64_t seed)
{
    struct sim_world_options options = sim_world_default_options(seed, 3);
    struct sim_world *w = NULL;
    struct cm_detail detail = {""};

    options.log = getenv("SIM_LOG") != NULL ? stderr : NULL;
    assert_int_equal(sim_world_create(&w, &options, &detail), 0);
    bring_up(w, 0, seed);
    bring_up(w, 2, seed);
    sim_world_run_for(w, MEET_US);
    sim_net_set_group(w->net, 2, 1);
    for (unsigned i = 0; i < KEYS; i++)
        put(w, 0, "state", i);
    bring_up(w, 1, seed);
    sim_world_run_for(w, MEET_US);
    sim_world_power_cut(w, 0);
    for (unsigned i = 0; i < OWN_KEYS; i++)
        put(w, 2, "own", i);
    sim_world_run_for(w, 6 * MEET_US); /* its death is known */
    sim_net_heal(w->net);
    return w;
}

static unsigned adopted_and_resumed(struct sim_world *w, unsigned *ret_resumed)
{
    struct node_status s;

    node_status_read(sim_host_node(w->hosts[1]), &s);
    *ret_resumed = (unsigned)s.cuts.counters.resumed;
    node_status_read(sim_host_node(w->hosts[2]), &s);
    return (unsigned)s.cuts.counters.adopted;
}

static void catch_up(uint64_t seed, unsigned *adopted, unsigned *resumed)
{
    struct sim_world *w = bytes_gone(seed);
    struct buffer a, b;
    unsigned r = 0;

    for (unsigned i = 0; i < seed % 4; i++)
        trouble(w, seed, i);
    if (!sim_world_run_until(w, alike, NULL, LIMIT_US)) {
        print_error("seed %" PRIu64 ": not alike\n", seed);
        fail();
    }
    for (unsigned i = 1; i < 3; i++)
        assert_int_equal(sim_world_audit(w, i), 0);
    buffer_init(&a, 64u << 20);
    buffer_init(&b, 64u << 20);
    assert_int_equal(sim_world_canonical(w, 1, &a), 0);
    assert_int_equal(sim_world_canonical(w, 2, &b), 0);
    assert_true(slice_equal(buffer_slice(&a), buffer_slice(&b)));
    assert_true(a.size > (KEYS + OWN_KEYS) * VALUE_SIZE);
    buffer_release(&a);
    buffer_release(&b);
    *adopted += adopted_and_resumed(w, &r);
    *resumed += r;
    sim_world_free(w);
}

static void test_catching_up_survives_what_is_cut(void **state)
{
    uint64_t first = setting("SIM_SEED", 1);
    uint64_t count = setting("SIM_SEEDS", SEEDS);
    unsigned adopted = 0;
    unsigned resumed = 0;

    (void)state;
    for (uint64_t seed = first; seed < first + count; seed++)
        catch_up(seed, &adopted, &resumed);
    print_message("%u cuts adopted, %u resumed\n", adopted, resumed);
    if (count >= SEEDS)
        assert_true(adopted > 0 && resumed > 0);
}

/* The issuer goes for ever once it has granted the token. */
static void another_sponsor(uint64_t seed)
{
    struct sim_world_options options = sim_world_default_options(seed, 3);
    struct sim_world *w = NULL;
    struct cm_detail detail = {""};
    unsigned joiner = 2;

    options.log = getenv("SIM_LOG") != NULL ? stderr : NULL;
    options.unchecked = true; /* its incarnation changes under way */
    assert_int_equal(sim_world_create(&w, &options, &detail), 0);
    bring_up(w, 0, seed);
    bring_up(w, 1, seed);
    for (unsigned i = 0; i < KEYS; i++)
        put(w, 0, "state", i);
    sim_world_run_for(w, 5 * SIM_SECOND);
    sim_world_join(w, joiner, 0);
    /* In steps, until it has its certificate and not yet its state. */
    for (unsigned i = 0; i < 100000; i++) {
        struct node *n = sim_host_node(w->hosts[joiner]);
        struct node_status s;

        if (n != NULL) {
            node_status_read(n, &s);
            if (s.incarnation.bytes[0] + s.incarnation.bytes[1] != 0)
                break;
        }
        sim_world_run_for(w, 100);
    }
    sim_world_run_for(w, draw(w, 9, 0, 6 * SIM_MS));
    sim_world_power_cut(w, 0);
    if (!sim_world_run_until(w, is_ready, &joiner, LIMIT_US)) {
        print_error("seed %" PRIu64 ": %s\n", seed,
                    node_not_ready_reason(sim_host_node(w->hosts[joiner])));
        fail();
    }
    if (!sim_world_run_until(w, alike, NULL, LIMIT_US)) {
        print_error("seed %" PRIu64 ": not alike\n", seed);
        fail();
    }
    sim_world_free(w);
}

static void test_another_sponsor(void **state)
{
    uint64_t first = setting("SIM_SEED", 1);
    uint64_t count = setting("SIM_SEEDS", SEEDS);

    (void)state;
    for (uint64_t seed = first; seed < first + count; seed++)
        another_sponsor(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_catching_up_survives_what_is_cut),
        cmocka_unit_test(test_another_sponsor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
