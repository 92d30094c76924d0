/* Goal: a certified member that lies, floods, forges and reuses names hurts
 * nobody but itself: every wrong is taken in and refused, the honest hosts go
 * on to agree, nobody stays declared dead, and nothing piles up.
 * Method: a mesh of four, host 3 hostile, each kind of wrong many times over
 * to everyone, with honest writes in between; then a look at the honest ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "sim/hostile.h"
#include "sim/world_fault.h"

#define HOSTS 4
#define HOSTILE 3
#define ROUNDS 20
#define LIMIT_US (120 * SIM_SECOND)

static bool host_is_ready(struct sim_world *w, void *ctx)
{
    return sim_world_is_ready(w, *(const unsigned *)ctx);
}

static struct sim_world *start(uint64_t seed)
{
    struct sim_world_options o = sim_world_default_options(seed, HOSTS);
    struct sim_world *w = NULL;
    struct cm_detail detail = {""};

    o.log = getenv("SIM_LOG") != NULL ? stderr : NULL;
    assert_int_equal(sim_world_create(&w, &o, &detail), 0);
    assert_int_equal(sim_world_boot(w, 0, &detail), 0);
    for (unsigned i = 1; i < HOSTS; i++) {
        sim_world_join(w, i, 0);
        assert_true(sim_world_run_until(w, host_is_ready, &i, LIMIT_US));
    }
    return w;
}

static void on_written(void *ctx, const struct intent *i, bool answered)
{
    unsigned *acknowledged = ctx;

    *acknowledged += answered && i->result == 0;
}

static void write_one(struct sim_world *w, unsigned host, unsigned number,
                      unsigned *acknowledged)
{
    char key[32];

    (void)snprintf(key, sizeof key, "honest/%u/%u", host, number);
    struct local_op op = {.kind = OP_PUT,
                          .key = slice_of_string(key),
                          .value = slice_of_string("value")};
    struct intent *i = intent_new(INTENT_LOCAL);
    assert_non_null(i);
    assert_int_equal(intent_add_op(i, &op), 0);
    (void)sim_host_write(w->hosts[host], i, on_written, acknowledged);
}

static bool honest_agree(struct sim_world *w, void *ctx)
{
    struct hash digests[HOSTS];

    (void)ctx;
    for (unsigned h = 0; h < HOSTILE; h++)
        if (sim_world_digest(w, h, &digests[h]) != 0 ||
            !hash_equal(&digests[0], &digests[h]))
            return false;
    return true;
}

static bool all_alive(struct sim_world *w, void *ctx)
{
    (void)ctx;
    for (unsigned h = 0; h < HOSTS; h++) {
        struct node_status s;
        node_status_read(sim_host_node(w->hosts[h]), &s);
        if (s.members_alive != HOSTS)
            return false;
    }
    return true;
}

/* What was sent is counted at each honest host under its own reason. */
static void expect_counted(struct sim_world *w, enum sim_hostile_kind kind)
{
    static const enum refusal reasons[SIM_HOSTILE_KINDS][2] = {
        [SIM_HOSTILE_COUNTERS] = {REFUSAL_EVENT_GAP, REFUSAL_NONE},
        [SIM_HOSTILE_FUTURE] = {REFUSAL_EVENT_CLOCK, REFUSAL_EVENT_GAP},
        [SIM_HOSTILE_FLOOD] = {REFUSAL_NONE, REFUSAL_NONE},
        [SIM_HOSTILE_PENDING] = {REFUSAL_EVENT_GAP, REFUSAL_EVENT_DEPENDENCY},
        [SIM_HOSTILE_LIES] = {REFUSAL_NONE, REFUSAL_NONE},
        [SIM_HOSTILE_SIGNATURES] = {REFUSAL_EVENT_SIGNATURE, REFUSAL_NONE},
        [SIM_HOSTILE_REUSE] = {REFUSAL_EVENT_FORK, REFUSAL_NONE},
        [SIM_HOSTILE_GARBAGE] = {REFUSAL_NONE, REFUSAL_NONE},
    };
    uint64_t counted = 0;

    if (reasons[kind][0] == REFUSAL_NONE)
        return;
    for (unsigned h = 0; h < HOSTILE; h++) {
        struct node_status s;

        node_status_read(sim_host_node(w->hosts[h]), &s);
        for (size_t i = 0; i < 2; i++)
            if (reasons[kind][i] != REFUSAL_NONE)
                counted += s.refused.of[reasons[kind][i]].count;
        for (size_t i = 0; i < REFUSAL_KINDS; i++)
            if (s.refused.of[i].count > 0)
                print_message("host %u: %s %llu\n", h,
                              refusal_text((enum refusal)i)->name,
                              (unsigned long long)s.refused.of[i].count);
    }
    assert_true(counted > 0);
}

static void hostile_kind(enum sim_hostile_kind kind)
{
    struct sim_world *w = start(40 + (uint64_t)kind);
    unsigned acknowledged = 0;
    uint64_t before = w->faults.counts[SIM_DEED_HOSTILE];

    write_one(w, HOSTILE, 0, &acknowledged);
    sim_world_run_for(w, 2 * SIM_SECOND);
    assert_int_equal(acknowledged, 1);
    assert_true(sim_world_run_until(w, sim_world_converged, NULL, LIMIT_US));
    acknowledged = 0;
    sim_check_set_hostile(w->check, HOSTILE);
    sim_check_set_trouble(w->check, SIM_CHECK_ALL_HOSTS, true);
    for (unsigned i = 0; i < ROUNDS; i++) {
        for (unsigned to = 0; to < HOSTILE; to++) {
            sim_hostile_send_kind(w, HOSTILE, to, 7, i * HOSTS + to, kind);
            write_one(w, to, i, &acknowledged);
        }
        sim_world_run_for(w, SIM_SECOND / 4);
    }
    assert_true(w->faults.counts[SIM_DEED_HOSTILE] >= before + 3 * ROUNDS);
    assert_int_equal(acknowledged, 3 * ROUNDS);
    assert_true(sim_world_run_until(w, honest_agree, NULL, LIMIT_US));
    assert_true(sim_world_run_until(w, all_alive, NULL, LIMIT_US));
    for (unsigned h = 0; h < HOSTILE; h++) {
        assert_int_equal(sim_world_audit(w, h), 0);
    }
    if (sim_check_violation(w->check) != NULL)
        print_error("%s\n", sim_check_violation(w->check)->text);
    assert_null(sim_check_violation(w->check));
    expect_counted(w, kind);
    sim_world_free(w);
}

static void test_every_wrong(void **state)
{
    (void)state;
    for (unsigned k = 0; k < SIM_HOSTILE_KINDS; k++) {
        print_message("kind %u\n", k);
        hostile_kind((enum sim_hostile_kind)k);
    }
}

/* As a line of a plan, to the end that healing puts to it. */
static void test_line(void **state)
{
    struct sim_plan_line line = {.id = 9,
                                 .deed = SIM_DEED_HOSTILE,
                                 .hosts = {{1u << HOSTILE}},
                                 .to = {{7}}};
    struct cm_detail detail = {""};
    struct sim_world *w = start(60);

    (void)state;
    line.params[SIM_PARAM_COUNT] = 100;
    line.params[SIM_PARAM_MS] = 50;
    assert_int_equal(sim_world_fault(w, &line, &detail), 0);
    sim_world_run_for(w, 2 * SIM_SECOND);
    assert_int_equal(sim_world_faults(w), 1);
    assert_true(w->faults.counts[SIM_DEED_HOSTILE] > 30);
    sim_world_run_for(w, 4 * SIM_SECOND);
    assert_int_equal(sim_world_faults(w), 0);
    assert_true(sim_world_run_until(w, honest_agree, NULL, LIMIT_US));
    assert_true(sim_world_run_until(w, all_alive, NULL, LIMIT_US));
    sim_world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_wrong),
        cmocka_unit_test(test_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
