/* Goal: every kind of fault has its effect, the effect is counted under its own
 * name, it is over when its time is over, and the mesh survives it.
 * Method: one mesh of whole nodes for each group of kinds, on a network that
 * does nothing wrong by itself; one fault line after the other, each followed
 * by the demand that its counter rose, that it rests afterwards, and that all
 * converge. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "sim/world_fault.h"

#define HOSTS 4
#define JOIN_LIMIT_US (120 * SIM_SECOND)
#define CONVERGE_LIMIT_US (180 * SIM_SECOND)

struct mesh {
    struct sim_world *world;
    unsigned keys;
    bool snapshots; /* host 1 takes one twice a second */
    unsigned good;
    unsigned bad;
};

static bool host_is_ready(struct sim_world *w, void *ctx)
{
    const unsigned *host = ctx;
    struct node *n = sim_host_node(w->hosts[*host]);

    return n != NULL && node_is_ready(n);
}

static void start_some(struct mesh *m, uint64_t seed, unsigned joined)
{
    struct sim_world_options o = sim_world_default_options(seed, HOSTS);
    struct cm_detail detail = {""};

    o.net.loss_ppm = o.net.duplicate_ppm = o.net.reorder_ppm = 0;
    o.net.bytes_per_ms = 0;
    o.log = getenv("SIM_LOG") != NULL ? stderr : NULL;
    *m = (struct mesh){.keys = 0};
    assert_int_equal(sim_world_create(&m->world, &o, &detail), 0);
    assert_int_equal(sim_world_boot(m->world, 0, &detail), 0);
    for (unsigned i = 1; i < joined; i++) {
        sim_world_join(m->world, i, 0);
        assert_true(
            sim_world_run_until(m->world, host_is_ready, &i, JOIN_LIMIT_US));
    }
}

static void start(struct mesh *m, uint64_t seed)
{
    start_some(m, seed, HOSTS);
}

static void on_written(void *ctx, const struct intent *i, bool answered)
{
    (void)ctx;
    (void)i;
    (void)answered;
}

/* A put at every host that is up. */
static void write_everywhere(struct mesh *m)
{
    for (unsigned h = 0; h < HOSTS; h++) {
        char key[32];
        if (!sim_host_is_up(m->world->hosts[h]))
            continue;
        (void)snprintf(key, sizeof key, "k%u", m->keys++ % 50);
        struct local_op op = {.kind = OP_PUT,
                              .key = slice_of_string(key),
                              .value = slice_of_string("value")};
        struct intent *i = intent_new(INTENT_LOCAL);
        assert_non_null(i);
        assert_int_equal(intent_add_op(i, &op), 0);
        (void)sim_host_write(m->world->hosts[h], i, on_written, NULL);
    }
}

static void on_snapshot(void *ctx, const struct snapshot_report *report)
{
    struct mesh *m = ctx;

    m->good += report->error == 0;
    m->bad += report->error != 0;
}

static void snapshot(struct mesh *m, unsigned host)
{
    struct sim_host *h = m->world->hosts[host];
    char target[SIM_HOST_PATH_MAX];

    if (!sim_host_is_up(h) || !node_is_ready(sim_host_node(h)))
        return;
    sim_world_target(m->world, target);
    sim_host_enter(h);
    node_snapshot_now(sim_host_node(h), target, on_snapshot, m);
    sim_host_settle(h);
}

static void run_writing(struct mesh *m, uint64_t us)
{
    for (uint64_t done = 0; done < us; done += SIM_SECOND / 2) {
        write_everywhere(m);
        if (m->snapshots)
            snapshot(m, 1);
        sim_world_run_for(m->world, SIM_SECOND / 2);
    }
}

static void add_hosts(struct sim_hosts *ret, const char *hosts)
{
    for (; *hosts != 0; hosts++)
        ret->bits[0] |= UINT64_C(1) << (*hosts - '0');
}

/* One fault, and what it must bring about. */
struct trial {
    enum sim_deed deed;
    const char *hosts;
    const char *to;
    int64_t for_ms;
    int64_t ppm;
    int64_t ms;
    int64_t rate;
    int64_t count;
    uint64_t least; /* effects */
};

static uint64_t begin(struct mesh *m, const struct trial *t, uint64_t id)
{
    struct sim_plan_line line = {.id = id, .deed = t->deed};
    struct cm_detail detail = {""};

    add_hosts(&line.hosts, t->hosts);
    add_hosts(&line.to, t->to);
    line.params[SIM_PARAM_FOR] = t->for_ms;
    line.params[SIM_PARAM_PPM] = t->ppm;
    line.params[SIM_PARAM_MS] = t->ms;
    line.params[SIM_PARAM_RATE] = t->rate;
    line.params[SIM_PARAM_COUNT] = t->count;
    uint64_t before = m->world->faults.counts[t->deed];
    assert_int_equal(sim_world_fault(m->world, &line, &detail), 0);
    return before;
}

static void try_one(struct mesh *m, const struct trial *t, uint64_t id)
{
    const uint64_t *count = &m->world->faults.counts[t->deed];

    uint64_t before = begin(m, t, id);
    run_writing(m, (uint64_t)t->for_ms * SIM_MS);
    sim_world_run_for(m->world, SIM_SECOND);
    if (*count - before < t->least)
        print_error("deed %d: %d effects, not %d\n", (int)t->deed,
                    (int)(*count - before), (int)t->least);
    assert_true(*count - before >= t->least);
    uint64_t after = *count;
    assert_int_equal(sim_world_faults(m->world), 0);
    assert_true(sim_world_run_until(m->world, sim_world_converged, NULL,
                                    CONVERGE_LIMIT_US));
    run_writing(m, 5 * SIM_SECOND);
    if (t->deed != SIM_DEED_MALLOC)
        assert_int_equal(*count, after);
    assert_true(sim_world_run_until(m->world, sim_world_converged, NULL,
                                    CONVERGE_LIMIT_US));
}

static void try_all(const struct trial *trials, size_t count, uint64_t seed,
                    bool snapshots)
{
    struct mesh m;

    start(&m, seed);
    m.snapshots = snapshots;
    for (size_t i = 0; i < count; i++)
        try_one(&m, &trials[i], 100 + i);
    for (unsigned h = 0; h < HOSTS; h++)
        assert_int_equal(sim_world_audit(m.world, h), 0);
    sim_world_free(m.world);
}

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void test_network(void **state)
{
    static const struct trial trials[] = {
        {SIM_DEED_LOSS, "1", "", 20000, .ppm = 300000, .least = 50},
        {SIM_DEED_DUPLICATE, "12", "", 10000, .ppm = 300000, .least = 50},
        {SIM_DEED_REORDER, "1", "", 10000, .ppm = 300000, .least = 50},
        {SIM_DEED_TAIL, "1", "", 10000, .ppm = 100000, .ms = 900, .least = 10},
        {SIM_DEED_BIAS, "1", "02", 10000, .ms = 150, .least = 20},
        {SIM_DEED_CLOG, "1", "023", 8000, .least = 10},
        {SIM_DEED_CAPACITY, "2", "", 20000, .rate = 1, .least = 5},
        {SIM_DEED_PARTITION, "01", "", 20000, .least = 50},
        {SIM_DEED_ISOLATE, "3", "", 20000, .least = 20},
        {SIM_DEED_ONEWAY, "1", "2", 20000, .least = 10},
        {SIM_DEED_BRIDGE, "01", "2", 20000, .least = 10},
        {SIM_DEED_FLAP, "03", "", 20000, .ms = 1500, .least = 10},
        {SIM_DEED_CORRUPT, "1", "", 10000, .ppm = 200000, .least = 30},
        {SIM_DEED_TRUNCATE, "1", "", 10000, .ppm = 200000, .least = 30},
        {SIM_DEED_FORGE, "1", "", 10000, .ppm = 200000, .least = 30},
        {SIM_DEED_REPLAY, "1", "", 10000, .ppm = 200000, .least = 30},
    };

    (void)state;
    try_all(trials, COUNT(trials), 21, false);
}

static void test_processes(void **state)
{
    static const struct trial trials[] = {
        {SIM_DEED_CRASH, "1", "", 5000, .least = 1},
        {SIM_DEED_CRASH, "0", "", 0, .least = 1},
        {SIM_DEED_POWER_CUT, "12", "", 5000, .least = 2},
        {SIM_DEED_POWER_CUT, "0123", "", 5000, .least = 4},
        {SIM_DEED_PAUSE, "2", "", 8000, .least = 1},
        {SIM_DEED_SLOW, "3", "", 10000, .ms = 40, .least = 20},
        {SIM_DEED_LEAVE, "2", "", 5000, .least = 1},
        {SIM_DEED_WIPE, "3", "", 5000, .least = 1},
        {SIM_DEED_OLD_DISK, "1", "", 5000, .least = 1},
        {SIM_DEED_OLD_DISK, "0", "", 5000, .least = 1},
    };

    (void)state;
    try_all(trials, COUNT(trials), 24, false);
}

static void test_memory(void **state)
{
    struct trial t = {SIM_DEED_MALLOC, "1", "", 1000, .least = 1};
    struct mesh m;

    (void)state;
    start(&m, 25);
    for (int64_t n = 1; n < 400; n += n / 4 + 1) {
        t.count = n;
        t.for_ms = 1000 + 25 * n;
        try_one(&m, &t, 100 + (uint64_t)n);
    }
    sim_world_free(m.world);
}

static void test_storage(void **state)
{
    static const struct trial trials[] = {
        {SIM_DEED_DISK_FULL, "1", "", 5000, .least = 5},
        {SIM_DEED_MAP_FULL, "1", "", 5000, .least = 5},
        {SIM_DEED_SYNC_FAIL, "1", "", 5000, .least = 5},
        {SIM_DEED_DISK_ERROR, "1", "", 5000, .least = 5},
        {SIM_DEED_DISK_SLOW, "1", "", 5000, .ms = 100, .least = 5},
        {SIM_DEED_SYNC_FAIL, "0", "", 5000, .least = 5},
        {SIM_DEED_DISK_ERROR, "0", "", 5000, .least = 5},
        {SIM_DEED_POWER_CUT, "0123", "", 1000, .least = 4},
    };

    (void)state;
    try_all(trials, COUNT(trials), 26, false);
}

static void test_clocks(void **state)
{
    static const struct trial trials[] = {
        {SIM_DEED_CLOCK_STEP, "1", "", 10000, .ms = 5000, .least = 1},
        {SIM_DEED_CLOCK_STEP, "1", "", 10000, .ms = -5000, .least = 1},
        {SIM_DEED_CLOCK_DRIFT, "2", "", 20000, .ppm = 100000, .least = 1},
        {SIM_DEED_CLOCK_DRIFT, "2", "", 20000, .ppm = -100000, .least = 1},
        {SIM_DEED_CLOCK_FREEZE, "3", "", 10000, .least = 1},
    };
    struct mesh m;

    (void)state;
    try_all(trials, COUNT(trials), 27, false);
    start(&m, 28);
    struct sim_host *h = m.world->hosts[1];
    uint64_t wall = sim_host_wall_ms(h);
    uint64_t mono = sim_clock_mono_ms(sim_host_clock(h));
    (void)begin(&m, &trials[2], 1); /* another host's: nothing happens here */
    (void)begin(&m, &trials[0], 2);
    assert_int_equal(sim_host_wall_ms(h), wall + 5000);
    sim_world_run_for(m.world, 20 * SIM_SECOND);
    assert_int_equal(sim_host_wall_ms(h), wall + 20000);
    assert_int_equal(sim_clock_mono_ms(sim_host_clock(h)), mono + 20000);
    h = m.world->hosts[3];
    wall = sim_host_wall_ms(h);
    (void)begin(&m, &trials[4], 3);
    sim_world_run_for(m.world, 9 * SIM_SECOND);
    assert_int_equal(sim_host_wall_ms(h), wall);
    sim_world_run_for(m.world, 2 * SIM_SECOND);
    assert_int_equal(sim_host_wall_ms(h), wall + 11000);
    h = m.world->hosts[2];
    wall = sim_host_wall_ms(h);
    mono = sim_clock_mono_ms(sim_host_clock(h));
    (void)begin(&m, &trials[2], 4);
    sim_world_run_for(m.world, 30 * SIM_SECOND);
    assert_int_equal(sim_host_wall_ms(h), wall + 32000);
    assert_int_equal(sim_clock_mono_ms(sim_host_clock(h)), mono + 32000);
    sim_world_free(m.world);
}

static void on_refused(void *ctx, const struct intent *i, bool answered)
{
    int *error = ctx;

    *error = answered ? i->result : CM_ERR_CLOSED;
}

/* Ten years ahead of the others, a host writes nothing, holds nobody up, and
 * goes on when its clock is set right. */
static void test_years(void **state)
{
    static const struct trial years = {.deed = SIM_DEED_CLOCK_YEARS,
                                       .hosts = "2",
                                       .to = "",
                                       .for_ms = 30000,
                                       .count = 10};
    struct local_op op = {.kind = OP_PUT,
                          .key = slice_of_string("years"),
                          .value = slice_of_string("ahead")};
    struct mesh m;
    int error = 0;

    (void)state;
    start(&m, 29);
    run_writing(&m, SIM_SECOND);
    (void)begin(&m, &years, 1);
    sim_world_run_for(m.world, 5 * SIM_SECOND);
    struct intent *i = intent_new(INTENT_LOCAL);
    assert_int_equal(intent_add_op(i, &op), 0);
    assert_int_equal(sim_host_write(m.world->hosts[2], i, on_refused, &error),
                     0);
    sim_world_run_for(m.world, SIM_SECOND);
    assert_int_equal(error, CM_ERR_CLOCK);
    sim_world_run_for(m.world, 30 * SIM_SECOND);
    run_writing(&m, 2 * SIM_SECOND);
    assert_true(sim_world_run_until(m.world, sim_world_converged, NULL,
                                    CONVERGE_LIMIT_US));
    assert_null(sim_check_violation(m.world->check));
    sim_world_free(m.world);
}

/* Without a snapshot there is nothing to begin again from, and nothing
 * happens; with one the mesh goes on as its next generation, and writes. */
static void test_loss(void **state)
{
    static const struct trial loss = {
        .deed = SIM_DEED_LOSE_ALL, .hosts = "0", .to = "", .for_ms = 1000};
    struct sim_check_counters counters;
    struct node_status status;
    struct mesh m;

    (void)state;
    start(&m, 31);
    run_writing(&m, 2 * SIM_SECOND);
    (void)begin(&m, &loss, 1);
    sim_world_run_for(m.world, 2 * SIM_SECOND);
    assert_int_equal(m.world->faults.counts[SIM_DEED_LOSE_ALL], 0);
    m.snapshots = true;
    run_writing(&m, 2 * SIM_SECOND);
    m.snapshots = false;
    sim_world_run_for(m.world, SIM_SECOND);
    run_writing(&m, SIM_SECOND); /* what no snapshot has */
    for (uint64_t id = 2; id < 4; id++) {
        (void)begin(&m, &loss, id);
        assert_int_equal(m.world->faults.counts[SIM_DEED_LOSE_ALL], id - 1);
        sim_world_run_for(m.world, 2 * SIM_SECOND);
        assert_true(sim_world_run_until(m.world, sim_world_converged, NULL,
                                        JOIN_LIMIT_US));
        run_writing(&m, 2 * SIM_SECOND);
    }
    assert_true(sim_world_run_until(m.world, sim_world_converged, NULL,
                                    CONVERGE_LIMIT_US));
    node_status_read(sim_host_node(m.world->hosts[3]), &status);
    assert_int_equal(status.generation.number, 2);
    sim_check_read_counters(m.world->check, &counters);
    assert_int_equal(counters.restores, 2);
    assert_true(counters.lost > 0);
    if (sim_check_violation(m.world->check) != NULL)
        fail_msg("%s", sim_check_violation(m.world->check)->text);
    sim_world_free(m.world);
}

/* A host beyond the first ones joins by a line. */
static void test_join(void **state)
{
    static const struct trial join = {
        .deed = SIM_DEED_JOIN, .hosts = "3", .to = "1"};
    struct mesh m;
    unsigned third = 3;

    (void)state;
    start_some(&m, 29, HOSTS - 1);
    (void)begin(&m, &join, 1);
    assert_true(
        sim_world_run_until(m.world, host_is_ready, &third, JOIN_LIMIT_US));
    sim_world_run_for(m.world, 2 * SIM_SECOND);
    assert_int_equal(m.world->faults.counts[SIM_DEED_JOIN], 1);
    assert_true(sim_world_run_until(m.world, sim_world_converged, NULL,
                                    CONVERGE_LIMIT_US));
    sim_world_free(m.world);
}

/* Two of a kind at once: the end of one leaves the other in force. */
static void test_overlap(void **state)
{
    static const struct trial shorter = {
        .deed = SIM_DEED_ISOLATE, .hosts = "1", .to = "", .for_ms = 3000};
    static const struct trial longer = {
        .deed = SIM_DEED_ISOLATE, .hosts = "1", .to = "", .for_ms = 9000};
    struct mesh m;

    (void)state;
    start(&m, 22);
    (void)begin(&m, &longer, 1);
    (void)begin(&m, &shorter, 2);
    run_writing(&m, 4 * SIM_SECOND);
    assert_int_equal(sim_world_faults(m.world), 1);
    uint64_t before = m.world->faults.counts[SIM_DEED_ISOLATE];
    run_writing(&m, 4 * SIM_SECOND);
    assert_true(m.world->faults.counts[SIM_DEED_ISOLATE] > before);
    sim_world_run_for(m.world, 2 * SIM_SECOND);
    assert_int_equal(sim_world_faults(m.world), 0);
    sim_world_free(m.world);
}

/* Healing a core takes it out of every fault, and leaves the rest broken. */
static void test_heal_core(void **state)
{
    static const struct trial split = {
        .deed = SIM_DEED_PARTITION, .hosts = "12", .to = "", .for_ms = 100000};
    static const struct trial alone = {
        .deed = SIM_DEED_ISOLATE, .hosts = "3", .to = "", .for_ms = 100000};
    struct sim_hosts core = {{3}}; /* 0 and 1 */
    struct mesh m;
    struct hash digests[HOSTS];

    (void)state;
    start(&m, 23);
    (void)begin(&m, &split, 1);
    (void)begin(&m, &alone, 2);
    run_writing(&m, 4 * SIM_SECOND);
    sim_world_heal(m.world, &core);
    sim_world_run_for(m.world, 60 * SIM_SECOND);
    for (unsigned h = 0; h < HOSTS; h++)
        assert_int_equal(sim_world_digest(m.world, h, &digests[h]), 0);
    assert_true(hash_equal(&digests[0], &digests[1]));
    assert_false(hash_equal(&digests[0], &digests[2]));
    assert_false(hash_equal(&digests[0], &digests[3]));
    sim_world_heal(m.world, NULL);
    assert_int_equal(sim_world_faults(m.world), 0);
    assert_true(sim_world_run_until(m.world, sim_world_converged, NULL,
                                    CONVERGE_LIMIT_US));
    sim_world_free(m.world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_network), cmocka_unit_test(test_processes),
        cmocka_unit_test(test_memory),  cmocka_unit_test(test_storage),
        cmocka_unit_test(test_clocks),  cmocka_unit_test(test_join),
        cmocka_unit_test(test_overlap), cmocka_unit_test(test_heal_core),
        cmocka_unit_test(test_years),   cmocka_unit_test(test_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
