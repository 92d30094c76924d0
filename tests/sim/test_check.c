/* Goal: a clean history raises no alarm; each invariant, shown a violation of
 * itself, fires with its own name.
 * Method: a whole mesh under power cuts and partitions, with watchers and
 * snapshots, must stay silent, while the counters prove that everything was
 * looked at. Then real writers without a network make results, and the check
 * is told of them with one thing made wrong. */
#include "tests/unit/writer_fixture.h"

#include <inttypes.h>
#include <string.h>

#include "sim/check.h"
#include "sim/world.h"
#include "tests/sim/run_fixture.h"

#define HOSTS 5
#define WRITES 240
#define KEYS 10
#define ELEMENTS 4
#define TEXT_SIZE 48
#define JOIN_LIMIT_US (60 * SIM_SECOND)
#define CONVERGE_LIMIT_US (180 * SIM_SECOND)

/* ---- a whole mesh ---- */

struct mesh {
    struct sim_world *world;
    struct sim_check_watch *watches[3];
    unsigned acknowledged;
};

static uint64_t draw(const struct mesh *m, uint64_t place, uint64_t number,
                     uint64_t below)
{
    return sim_fate_draw(&m->world->fate, SIM_FATE_WORKLOAD, place, number) %
           below;
}

static void on_done(void *ctx, const struct intent *i, bool answered)
{
    struct mesh *m = ctx;
    m->acknowledged += answered && i->result == 0;
}

static void add_op(struct intent *i, enum op_kind kind, uint64_t key,
                   uint64_t element, uint64_t number)
{
    char key_text[TEXT_SIZE];
    char element_text[TEXT_SIZE];
    char value[TEXT_SIZE];
    bool set =
        kind == OP_SET_ADD || kind == OP_SET_REMOVE || kind == OP_SET_REVOKE;

    (void)snprintf(key_text, sizeof key_text, "%s/%" PRIu64,
                   set ? "set" : "key", key);
    (void)snprintf(element_text, sizeof element_text, "e%" PRIu64, element);
    (void)snprintf(value, sizeof value, "value %" PRIu64, number);
    struct local_op op = {
        .kind = kind,
        .key = slice_of_string(key_text),
        .element = slice_of_string(set ? element_text : ""),
        .value = slice_of_string(kind == OP_PUT ? value : ""),
        .condition = number % 7 == 0 ? CONDITION_ABSENT : CONDITION_NONE,
        .unrevoke = number % 11 == 0,
    };
    assert_int_equal(intent_add_op(i, &op), 0);
}

static void write_something(struct mesh *m, uint64_t number)
{
    static const enum op_kind kinds[] = {
        OP_PUT,     OP_PUT,     OP_PUT,        OP_DEL,       OP_REVOKE,
        OP_SET_ADD, OP_SET_ADD, OP_SET_REMOVE, OP_SET_REVOKE};
    struct intent *i = intent_new(INTENT_LOCAL);
    uint64_t host = draw(m, 1, number, HOSTS);

    assert_non_null(i);
    if (draw(m, 2, number, 5) == 0) {
        for (uint64_t k = 0; k < 3; k++)
            add_op(i, OP_PUT, k, 0, number);
    } else {
        add_op(i, kinds[draw(m, 3, number, sizeof kinds / sizeof kinds[0])],
               draw(m, 4, number, KEYS), draw(m, 5, number, ELEMENTS), number);
    }
    (void)sim_host_write(m->world->hosts[host], i, on_done, m);
}

static void expect_silence(const struct sim_check *c, uint64_t seed)
{
    const struct sim_check_violation *v = sim_check_violation(c);

    if (v != NULL)
        fail_msg("seed %" PRIu64 ", %" PRIu64 " us: %s", seed, v->at_us,
                 v->text);
}

static void make_mesh(struct mesh *m, uint64_t seed)
{
    struct sim_world_options options = sim_world_default_options(seed, HOSTS);
    struct cm_detail detail = {""};

    options.log = getenv("SIM_LOG") != NULL ? stderr : NULL;
    *m = (struct mesh){.acknowledged = 0};
    assert_int_equal(sim_world_create(&m->world, &options, &detail), 0);
    assert_int_equal(sim_world_boot(m->world, 0, &detail), 0);
    for (unsigned i = 1; i < HOSTS; i++)
        sim_world_join(m->world, i, 0);
    assert_true(sim_world_run_until(m->world, sim_world_all_ready, NULL,
                                    JOIN_LIMIT_US));
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(sim_check_watch_create(&m->watches[i], m->world->check,
                                                i, i == 1 ? "key/" : ""),
                         0);
}

static bool core_converged(struct sim_world *w, void *ctx)
{
    (void)ctx;
    return sim_check_converged(w->check, NULL);
}

static void on_snapshot(void *ctx, const struct snapshot_report *report)
{
    *(int *)ctx = report->error;
}

/* One is taken, and all that are listed are checked. */
static void take_snapshot(struct mesh *m)
{
    char target[SIM_HOST_PATH_MAX + 16];
    char command[SIM_HOST_PATH_MAX + 32];
    int error = 1;

    (void)snprintf(target, sizeof target, "%s/target", m->world->directory);
    sim_host_enter(m->world->hosts[1]);
    node_snapshot_now(sim_host_node(m->world->hosts[1]), target, on_snapshot,
                      &error);
    sim_host_settle(m->world->hosts[1]);
    sim_world_run_for(m->world, 2 * SIM_SECOND);
    assert_int_equal(error, 0);
    assert_int_equal(sim_check_snapshot(m->world->check, target, false), 1);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", target);
    assert_int_equal(system(command), 0);
}

static void live(struct mesh *m, uint64_t seed)
{
    struct sim_world *w = m->world;
    struct cm_detail detail = {""};
    unsigned victim = (unsigned)draw(m, 6, 0, HOSTS);

    for (uint64_t number = 0; number < WRITES; number++) {
        unsigned burst = number % 20 < 8 ? 1 : 60;

        if (sim_host_is_up(w->hosts[victim]) && number % 60 == 30) {
            sim_world_power_cut(w, victim);
        } else if (!sim_host_is_up(w->hosts[victim]) && number % 60 == 45) {
            assert_int_equal(sim_world_boot(w, victim, &detail), 0);
            victim = (unsigned)draw(m, 6, number, HOSTS);
        }
        if (number == WRITES / 4) {
            sim_check_set_trouble(w->check, SIM_CHECK_ALL_HOSTS, true);
            for (unsigned i = 0; i < HOSTS; i++)
                sim_net_set_group(w->net, i, i % 2);
        } else if (number == WRITES / 2) {
            sim_net_heal(w->net);
            sim_check_set_trouble(w->check, SIM_CHECK_ALL_HOSTS, false);
        }
        write_something(m, number);
        if (number % 16 == 0)
            sim_check_watch_poll(m->watches[2], 3);
        sim_world_run_for(w, draw(m, 7, number, burst) * SIM_MS);
        expect_silence(w->check, seed);
    }
}

static void clean_run(uint64_t seed)
{
    struct mesh m;
    struct sim_check_counters counters;

    make_mesh(&m, seed);
    live(&m, seed);
    if (!sim_world_run_until(m.world, core_converged, NULL,
                             CONVERGE_LIMIT_US)) {
        sim_check_quiescent(m.world->check, NULL);
        expect_silence(m.world->check, seed);
        fail_msg("seed %" PRIu64 ": did not converge", seed);
    }
    sim_world_run_for(m.world, 150 * SIM_SECOND);
    take_snapshot(&m);
    sim_check_quiescent(m.world->check, NULL);
    expect_silence(m.world->check, seed);
    sim_check_read_counters(m.world->check, &counters);
    assert_true(counters.events > 50);
    assert_true(counters.applications >= counters.events);
    assert_true(counters.vectors > 50);
    assert_true(counters.digests_compared > counters.vectors);
    assert_true(counters.looks > HOSTS);
    assert_int_equal(counters.dumps, HOSTS);
    assert_true(counters.watched > 50);
    assert_true(counters.acknowledged > 50);
    assert_int_equal(counters.snapshots, 1);
    sim_world_free(m.world);
}

static void test_clean_runs_are_silent(void **state)
{
    uint64_t first = setting("SIM_SEED", 1);
    uint64_t count = setting("SIM_SEEDS", 8);

    (void)state;
    for (uint64_t seed = first; seed < first + count; seed++)
        clean_run(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clean_runs_are_silent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
