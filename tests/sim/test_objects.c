/* Goal: an object store that cannot be relied upon does each of its wrongs to
 * real snapshots of a real node, is counted, and never makes the node report a
 * snapshot that does not verify.
 * Method: a mesh of one writes and takes snapshots under each fault; each one
 * that was reported as taken is verified at once, unless the store is then
 * damaged on purpose. Once the faults are over the next snapshot is good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "node/snapshot_listing.h"
#include "sim/world_fault.h"

struct scene {
    struct sim_world *world;
    char target[SIM_HOST_PATH_MAX];
    unsigned keys;
    bool under_way;
    unsigned good;
    unsigned bad;
    bool damaging; /* the store itself is being harmed */
};

static void start(struct scene *s, uint64_t seed)
{
    struct sim_world_options o = sim_world_default_options(seed, 1);
    struct cm_detail detail = {""};

    o.log = getenv("SIM_LOG") != NULL ? stderr : NULL;
    *s = (struct scene){.keys = 0};
    assert_int_equal(sim_world_create(&s->world, &o, &detail), 0);
    assert_int_equal(sim_world_boot(s->world, 0, &detail), 0);
    sim_world_target(s->world, s->target);
    sim_world_run_for(s->world, SIM_SECOND);
}

static void on_snapshot(void *ctx, const struct snapshot_report *report)
{
    struct scene *s = ctx;
    struct cm_detail detail = {""};

    s->under_way = false;
    s->good += report->error == 0;
    s->bad += report->error != 0;
    if (report->error != 0 || s->damaging)
        return;
    sim_objects_enter(NULL); /* a look from outside, at what is really there */
    int error = snapshot_verify(s->target, report->name, NULL, NULL, NULL, NULL,
                                &detail);
    if (error != 0)
        print_error("%s: %s\n", report->name, detail.text);
    assert_int_equal(error, 0);
}

static void on_written(void *ctx, const struct intent *i, bool answered)
{
    (void)ctx;
    (void)i;
    (void)answered;
}

static void step(struct scene *s)
{
    struct sim_host *h = s->world->hosts[0];
    char key[32];

    (void)snprintf(key, sizeof key, "key/%u", s->keys++);
    struct local_op op = {.kind = OP_PUT,
                          .key = slice_of_string(key),
                          .value = slice_of_string("some value")};
    struct intent *i = intent_new(INTENT_LOCAL);
    assert_non_null(i);
    assert_int_equal(intent_add_op(i, &op), 0);
    assert_int_equal(sim_host_write(h, i, on_written, NULL), 0);
    if (!s->under_way) {
        s->under_way = true;
        sim_host_enter(h);
        node_snapshot_now(sim_host_node(h), s->target, on_snapshot, s);
        sim_host_settle(h);
    }
    sim_world_run_for(s->world, SIM_SECOND / 4);
}

struct trial {
    enum sim_deed deed;
    int64_t ppm;
    int64_t ms;
    bool damaging;
    bool fails; /* some snapshots do */
};

static void try_one(struct scene *s, const struct trial *t, uint64_t id)
{
    struct sim_plan_line line = {.id = id, .deed = t->deed, .hosts = {{1}}};
    const uint64_t *count = &s->world->faults.counts[t->deed];
    struct cm_detail detail = {""};

    line.params[SIM_PARAM_FOR] = 60000;
    line.params[SIM_PARAM_PPM] = t->ppm;
    line.params[SIM_PARAM_MS] = t->ms;
    unsigned bad = s->bad;
    s->damaging = t->damaging;
    assert_int_equal(sim_world_fault(s->world, &line, &detail), 0);
    while (sim_world_faults(s->world) > 0)
        step(s);
    assert_true(*count > 0);
    assert_true(!t->fails || s->bad > bad);
    while (s->under_way)
        sim_world_run_for(s->world, SIM_SECOND);
    s->damaging = false;
    uint64_t after = *count;
    for (unsigned i = 0; i < 8; i++)
        step(s);
    assert_int_equal(*count, after);
}

static void test_unreliable_answers(void **state)
{
    static const struct trial trials[] = {
        {SIM_DEED_OBJECTS_ERROR, .ppm = 50000, .fails = true},
        {SIM_DEED_OBJECTS_SLOW, .ms = 2000},
        {SIM_DEED_OBJECTS_STALE, .ppm = 500000},
        {SIM_DEED_OBJECTS_OLD, .ppm = 50000, .fails = true},
    };
    struct scene s;

    (void)state;
    start(&s, 31);
    for (size_t i = 0; i < sizeof trials / sizeof *trials; i++) {
        unsigned good = s.good;
        try_one(&s, &trials[i], 100 + i);
        assert_true(s.good > good);
    }
    sim_world_free(s.world);
}

/* What is lost or rots after a snapshot was taken cannot be helped by who took
 * it; whoever verifies it sees it. */
static void test_damage_is_found(void **state)
{
    static const struct trial trials[] = {
        {SIM_DEED_OBJECTS_LOSE, .ppm = 20000, .damaging = true},
        {SIM_DEED_OBJECTS_FLIP, .ppm = 20000, .damaging = true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof trials / sizeof *trials; i++) {
        struct snapshot_listing l;
        struct cm_detail detail = {""};
        struct scene s;
        size_t damaged = 0;
        start(&s, 32 + i);
        for (unsigned j = 0; j < 8; j++)
            step(&s);
        try_one(&s, &trials[i], 200);
        assert_int_equal(snapshot_list(&l, s.target, NULL, &detail), 0);
        for (size_t j = 0; j < l.count; j++)
            damaged += snapshot_verify(s.target, l.items[j].name, NULL, NULL,
                                       NULL, NULL, &detail) != 0;
        /* A lost manifest is a snapshot less; a chunk is one that is bad. */
        assert_true(damaged > 0 || l.count < s.good);
        snapshot_listing_release(&l);
        sim_world_free(s.world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unreliable_answers),
        cmocka_unit_test(test_damage_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
