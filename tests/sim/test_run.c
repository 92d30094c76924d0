/* Goal: a run is a function of its plan alone, and what a run says about
 * itself is true.
 * Method: seeds are run twice in children whose heap, environment and locale
 * differ, and in fresh processes (other addresses) with other environments;
 * plans by hand bring about each outcome that a healthy program can have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/expand.h"
#include "sim/run_child.h"
#include "tests/sim/run_fixture.h"

#define SEEDS 4
#define HASH_TEXT_SIZE (2 * HASH_SIZE + 1)

static void run_child(const struct sim_plan *plan, bool elsewhere,
                      bool unjudged, struct sim_run_result *ret)
{
    const struct sim_child_options options = {.elsewhere = elsewhere,
                                              .unjudged = unjudged};
    struct cm_detail detail = {""};
    struct buffer output;

    buffer_init(&output, SIM_CHILD_OUTPUT_MAX + 4096);
    int error = sim_child_run(plan, &options, ret, &output, &detail);
    if (error != 0 || ret->outcome == SIM_CRASH)
        print_error("%s %.*s\n", detail.text, (int)output.size,
                    (const char *)output.data);
    assert_int_equal(error, 0);
    buffer_release(&output);
}

static void parse(struct sim_plan *ret, const char *text)
{
    struct cm_detail detail = {""};

    int error = sim_plan_parse(ret, slice_of_string(text), &detail);
    if (error != 0)
        print_error("%s\n", detail.text);
    assert_int_equal(error, 0);
}

static void test_twice_alike(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sim_plan plan;
        struct sim_run_result a;
        struct sim_run_result b;
        struct sim_run_result unjudged;
        assert_int_equal(sim_expand(&plan, seed, SIM_PROFILE_DEFAULT, 3), 0);
        run_child(&plan, false, false, &a);
        run_child(&plan, true, false, &b);
        run_child(&plan, true, true, &unjudged);
        if (a.outcome != SIM_PASS)
            print_error("seed %u: %s: %s\n", (unsigned)seed, a.fingerprint,
                        a.words);
        assert_int_equal(a.outcome, SIM_PASS);
        assert_true(hash_equal(&a.chain, &b.chain));
        assert_memory_equal(&a, &b, sizeof a);
        /* Nor does it matter whether somebody looks on. */
        assert_true(hash_equal(&a.chain, &unjudged.chain));
        /* It was worth running. */
        assert_true(a.operations >= SIM_EXPAND_OPERATIONS_MIN);
        assert_true(a.acknowledged > a.operations / 3);
        assert_true(a.faults > 0 && a.node_us > 0);
        assert_int_equal(a.operations,
                         a.acknowledged + a.refused + a.unanswered);
        sim_plan_release(&plan);
    }
}

/* ---- fresh processes ---- */

static void run_elsewhere(char *const environment[],
                          char ret_text[HASH_TEXT_SIZE])
{
    char *const arguments[] = {(char *)"test_run", (char *)"--hash", NULL};

    output_of_self(arguments, environment, ret_text, HASH_TEXT_SIZE);
}

static void test_environment_does_not_matter(void **state)
{
    static char padding[20000];
    char *const bare[] = {NULL};
    char *const other[] = {
        (char *)"MALLOC_PERTURB_=165",         (char *)"MALLOC_ARENA_MAX=1",
        (char *)"LC_ALL=tr_TR.UTF-8",          (char *)"LANG=de_DE.UTF-8",
        (char *)"TZ=Pacific/Kiritimati",       padding,
        (char *)"ASAN_OPTIONS=detect_leaks=0", NULL,
    };
    char first[HASH_TEXT_SIZE];
    char second[HASH_TEXT_SIZE];

    (void)state;
    (void)snprintf(padding, sizeof padding, "PADDING=%019900d", 0);
    run_elsewhere(bare, first);
    run_elsewhere(other, second);
    assert_string_equal(first, second);
}

static int print_hash(void)
{
    struct sim_plan plan;
    struct sim_run_result result;
    char text[HASH_TEXT_SIZE];

    if (sim_expand(&plan, 1, SIM_PROFILE_FULL, 4) != 0 ||
        sim_run_plan(&plan, NULL, &result, NULL) != 0)
        return 1;
    sim_plan_release(&plan);
    hex_encode(text, slice_of(result.chain.bytes, HASH_SIZE));
    return fputs(text, stdout) < 0 || fflush(stdout) != 0;
}

/* ---- outcomes ---- */

/* A line that is removed takes nothing from the others: what a client wrote
 * before its time is the same event at the same instant. */
static void test_lines_stand_alone(void **state)
{
    static const char whole[] =
        "confmesh-plan 1 seed=5 nodes=3 joined=3 duration=30000 core=n0-n2\n"
        "1 1000 unique n0 size=50\n"
        "2 2000 unique n1 size=50\n"
        "3 20000 power-cut n2 for=1000\n"
        "4 25000 put n0 key=1 size=10\n";
    static const char part[] =
        "confmesh-plan 1 seed=5 nodes=3 joined=3 duration=30000 core=n0-n2\n"
        "1 1000 unique n0 size=50\n"
        "2 2000 unique n1 size=50\n"
        "4 25000 put n0 key=1 size=10\n";
    struct sim_plan plan;
    struct sim_run_result a;
    struct sim_run_result b;

    (void)state;
    parse(&plan, whole);
    run_child(&plan, false, false, &a);
    sim_plan_release(&plan);
    parse(&plan, part);
    run_child(&plan, false, false, &b);
    sim_plan_release(&plan);
    assert_int_equal(a.outcome, SIM_PASS);
    assert_int_equal(b.outcome, SIM_PASS);
    assert_int_equal(a.start_us, b.start_us);
    assert_int_equal(a.acknowledged, 3);
    assert_int_equal(b.acknowledged, 3);
    assert_int_equal(a.faults, 1);
    assert_int_equal(b.faults, 0);
}

/* Bounds that nobody can keep: the run says so, and where. */
static void test_liveness_is_noticed(void **state)
{
    static const char text[] =
        "confmesh-plan 1 seed=5 nodes=3 joined=3 duration=10000 "
        "core-within=0 core=n0-n2\n"
        "1 9000 isolate n1 for=100000\n"
        "2 9500 unique n0 size=50\n";
    struct sim_plan plan;
    struct sim_run_result r;

    (void)state;
    parse(&plan, text);
    run_child(&plan, false, false, &r);
    sim_plan_release(&plan);
    assert_int_equal(r.outcome, SIM_LIVENESS);
    assert_string_equal(r.fingerprint, "core");
    assert_true(strlen(r.words) > 0);
}

/* More processor time than it may take: neither passed nor failed. */
static void test_time_is_bounded(void **state)
{
    const struct sim_child_options options = {.cpu_s = 1};
    struct sim_plan plan;
    struct sim_run_result r;

    (void)state;
    assert_int_equal(sim_expand(&plan, 1, SIM_PROFILE_QUIET, 3), 0);
    plan.duration_ms = UINT64_C(1000) * 3600 * 24 * 300;
    assert_int_equal(sim_child_run(&plan, &options, &r, NULL, NULL), 0);
    sim_plan_release(&plan);
    assert_int_equal(r.outcome, SIM_INCONCLUSIVE);
}

/* Bits of LMDB's own pages rot at one host, once in a while, until LMDB has
 * died of it: the run goes on, passes, and is the same elsewhere. */
#define ROT_SEEDS 12
#define ROT_BITS 32
#define ROT_EVERY_MS 45000

static void add_rot(struct sim_plan *plan, unsigned host)
{
    uint64_t id = UINT64_C(1) << 20;

    for (size_t i = 0; i < plan->count; i++) /* its clients stay away */
        if (sim_hosts_first(&plan->lines[i].hosts) == host) {
            sim_hosts_remove(&plan->lines[i].hosts, host);
            sim_hosts_add(&plan->lines[i].hosts, 0);
        }
    for (uint64_t at = ROT_EVERY_MS; at + ROT_EVERY_MS < plan->duration_ms;
         at += ROT_EVERY_MS) {
        struct sim_plan_line l = {.deed = SIM_DEED_BIT_ROT, .id = id++};

        l.at_ms = at;
        l.params[SIM_PARAM_COUNT] = ROT_BITS;
        l.params[SIM_PARAM_PPM] = 1000000;
        sim_hosts_add(&l.hosts, host);
        assert_int_equal(sim_plan_add(plan, &l), 0);
    }
}

static void test_lmdb_dies(void **state)
{
    uint64_t deaths = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= ROT_SEEDS && deaths < 3; seed++) {
        struct sim_plan plan;
        struct sim_run_result a, b;

        assert_int_equal(sim_expand(&plan, seed, SIM_PROFILE_QUIET, 3), 0);
        assert_false(sim_run_may_kill(&plan));
        add_rot(&plan, 1);
        assert_true(sim_run_may_kill(&plan));
        run_child(&plan, false, false, &a);
        if (a.outcome != SIM_PASS)
            fail_msg("seed %" PRIu64 ": %s", seed, a.words);
        if (a.deaths > 0) {
            run_child(&plan, true, true, &b);
            assert_true(hash_equal(&a.chain, &b.chain));
            assert_int_equal(a.deaths, b.deaths);
        }
        deaths += a.deaths;
        sim_plan_release(&plan);
    }
    print_message("LMDB died %" PRIu64 " times\n", deaths);
    assert_true(deaths >= 3);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twice_alike),
        cmocka_unit_test(test_environment_does_not_matter),
        cmocka_unit_test(test_lines_stand_alone),
        cmocka_unit_test(test_liveness_is_noticed),
        cmocka_unit_test(test_time_is_bounded),
        cmocka_unit_test(test_lmdb_dies),
    };

    if (argc == 2 && strcmp(argv[1], "--hash") == 0)
        return print_hash();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
