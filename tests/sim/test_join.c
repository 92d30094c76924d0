/* Goal: joining survives power cuts of the joiner and of its sponsor at any
 * moment, and ends with equal replicas; a token redeemed before the cut still
 * serves the key that it is bound to.
 * Method: for many seeds, cut the power of one of the two at random instants
 * of the first milliseconds, boot again, and wait.
 *
 * SIM_SEED=N starts from that seed, SIM_SEEDS=N tries so many; SIM_LOG=1 shows
 * the nodes' own lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdlib.h>

#include "crdt/eviction.h"
#include "node/node_internal.h"
#include "sim/world.h"
#include "tests/sim/run_fixture.h"

#define SEEDS 60
#define CUTS_MAX 3
#define JOIN_US 15000 /* a join without faults takes about that long */
#define OFF_US (50 * SIM_MS)
#define READY_LIMIT_US (120 * SIM_SECOND)

static bool joiner_is_up(struct sim_world *w, void *ctx)
{
    (void)ctx;
    return sim_host_is_up(w->hosts[1]);
}

static void cut_and_boot(struct sim_world *w, uint64_t seed, unsigned number)
{
    unsigned victim =
        (unsigned)(sim_fate_draw(&w->fate, SIM_FATE_WORKLOAD, 1, number) % 4 ==
                           0
                       ? 0
                       : 1);

    sim_world_run_for(
        w, sim_fate_range(&w->fate, SIM_FATE_WORKLOAD, 2, number, 0, JOIN_US));
    sim_world_power_cut(w, victim);
    sim_world_run_for(w, OFF_US);
    boot_or_fail(w, victim, seed);
}

static void join_under_cuts(uint64_t seed)
{
    struct sim_world_options options = sim_world_default_options(seed, 2);
    struct sim_world *w = NULL;
    struct cm_detail detail = {""};

    options.log = getenv("SIM_LOG") != NULL ? stderr : NULL;
    assert_int_equal(sim_world_create(&w, &options, &detail), 0);
    boot_or_fail(w, 0, seed);
    sim_world_join(w, 1, 0);
    assert_true(sim_world_run_until(w, joiner_is_up, NULL, READY_LIMIT_US));
    for (unsigned i = 0; i < 1 + seed % CUTS_MAX; i++)
        cut_and_boot(w, seed, i);
    if (!sim_world_run_until(w, sim_world_converged, NULL, READY_LIMIT_US)) {
        for (unsigned i = 0; i < 2; i++)
            print_error("seed %" PRIu64 ": host %u: %s\n", seed, i,
                        node_not_ready_reason(sim_host_node(w->hosts[i])));
        fail();
    }
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(sim_world_audit(w, i), 0);
    sim_world_free(w);
}

static void test_join_survives_power_cuts(void **state)
{
    uint64_t first = setting("SIM_SEED", 1);
    uint64_t count = setting("SIM_SEEDS", SEEDS);

    (void)state;
    for (uint64_t seed = first; seed < first + count; seed++)
        join_under_cuts(seed);
}

/* ---- a name that is sealed before it enters ---- */

static bool is_certified(struct sim_world *w, void *ctx)
{
    (void)ctx;
    return sim_host_is_up(w->hosts[1]) &&
           sim_host_node(w->hosts[1])->has_identity;
}

static bool is_ready(struct sim_world *w, void *ctx)
{
    (void)ctx;
    return sim_world_is_ready(w, 1);
}

static void on_heard(void *ctx, const struct intent *i, bool answered)
{
    *(int *)ctx = answered ? i->result : CM_ERR_CLOSED;
}

/* What the joiner itself says when it gives a name up: here while it asks. */
static void retire_the_joiner(struct sim_world *w, struct incarnation *ret)
{
    const struct node *n = sim_host_node(w->hosts[1]);
    struct retirement r = {.mesh = n->mesh,
                           .generation = n->generation,
                           .incarnation = n->incarnation,
                           .certificate = buffer_slice(&n->certificate)};
    struct intent *i = intent_new(INTENT_ORDER);
    struct buffer bytes;
    int heard = CM_ERR_PENDING;

    *ret = n->incarnation;
    assert_non_null(i);
    buffer_init(&bytes, RETIREMENT_SIZE_MAX);
    assert_int_equal(retirement_encode(&bytes, &r, n->sign_secret_key), 0);
    assert_int_equal(intent_set_event(i, buffer_slice(&bytes)), 0);
    (void)sim_host_write(w->hosts[0], i, on_heard, &heard);
    buffer_release(&bytes);
    sim_world_power_cut(w, 1);
    sim_world_run_for(w, SIM_SECOND);
    assert_int_equal(heard, 0);
}

/* Goal: a joiner whose name was sealed before it entered is told so, takes a
 * further one and gets in, and does not knock for ever. */
static void test_sealed_before_it_entered(void **state)
{
    struct sim_world_options options = sim_world_default_options(91, 2);
    struct sim_world *w = NULL;
    struct cm_detail detail = {""};
    struct incarnation before;

    (void)state;
    options.log = getenv("SIM_LOG") != NULL ? stderr : NULL;
    assert_int_equal(sim_world_create(&w, &options, &detail), 0);
    boot_or_fail(w, 0, 91);
    sim_world_join(w, 1, 0);
    assert_true(sim_world_run_until(w, is_certified, NULL, READY_LIMIT_US));
    retire_the_joiner(w, &before);
    assert_null(roster_find(sim_host_node(w->hosts[0])->roster, &before));
    boot_or_fail(w, 1, 91);
    assert_true(
        incarnation_equal(&sim_host_node(w->hosts[1])->incarnation, &before));
    assert_true(sim_world_run_until(w, is_ready, NULL, READY_LIMIT_US));
    assert_false(
        incarnation_equal(&sim_host_node(w->hosts[1])->incarnation, &before));
    assert_true(
        sim_world_run_until(w, sim_world_converged, NULL, READY_LIMIT_US));
    sim_world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_join_survives_power_cuts),
        cmocka_unit_test(test_sealed_before_it_entered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
