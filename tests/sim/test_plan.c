/* Goal: a plan is text and text is a plan; a seed always means the same one.
 * Method: seeds of every profile are expanded, printed, read back and printed
 * again; lines that are wrong in one word each are refused, with that word; a
 * line that is removed changes nothing about the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "sim/expand.h"
#include "sim/run.h"

#define SEEDS 40
#define HEADER "confmesh-plan 1 seed=7 nodes=5 joined=4 core=n0-n2\n"

static struct slice text_of(const struct sim_plan *p, struct buffer *out)
{
    buffer_init(out, SIM_PLAN_TEXT_MAX);
    sim_plan_print(p, out);
    assert_int_equal(out->error, 0);
    return buffer_slice(out);
}

static void test_text_round_trip(void **state)
{
    (void)state;
    for (unsigned p = 0; p < SIM_PROFILES; p++)
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            struct sim_plan made;
            struct sim_plan read;
            struct buffer first;
            struct buffer second;
            struct cm_detail detail = {""};
            assert_int_equal(sim_expand(&made, seed, (enum sim_profile)p, 0),
                             0);
            struct slice text = text_of(&made, &first);
            int error = sim_plan_parse(&read, text, &detail);
            if (error != 0)
                print_error("seed %u: %s\n", (unsigned)seed, detail.text);
            assert_int_equal(error, 0);
            assert_true(slice_equal(text, text_of(&read, &second)));
            buffer_release(&first);
            buffer_release(&second);
            sim_plan_release(&made);
            sim_plan_release(&read);
        }
}

static void test_same_seed_same_plan(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sim_plan a;
        struct sim_plan b;
        struct buffer a_text;
        struct buffer b_text;
        assert_int_equal(sim_expand(&a, seed, SIM_PROFILE_DEFAULT, 0), 0);
        assert_int_equal(sim_expand(&b, seed, SIM_PROFILE_DEFAULT, 0), 0);
        assert_true(slice_equal(text_of(&a, &a_text), text_of(&b, &b_text)));
        sim_plan_release(&b);
        buffer_release(&b_text);
        assert_int_equal(sim_expand(&b, seed + 1, SIM_PROFILE_DEFAULT, 0), 0);
        assert_false(slice_equal(buffer_slice(&a_text), text_of(&b, &b_text)));
        sim_plan_release(&a);
        sim_plan_release(&b);
        buffer_release(&a_text);
        buffer_release(&b_text);
    }
}

/* What every seed promises. */
static void test_plans_are_worth_running(void **state)
{
    unsigned small = 0;
    unsigned large = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 10 * SEEDS; seed++) {
        struct sim_plan p;
        assert_int_equal(sim_expand(&p, seed, SIM_PROFILE_DEFAULT, 0), 0);
        size_t faults = sim_plan_faults(&p);
        assert_true(p.nodes >= 3 && p.nodes <= 64);
        assert_true(p.duration_ms >= SIM_EXPAND_MS_MIN);
        assert_true(p.count - faults >= SIM_EXPAND_OPERATIONS_MIN);
        assert_true(__builtin_popcountll(sim_plan_fault_kinds(&p)) >=
                    SIM_EXPAND_KINDS_MIN);
        assert_true(sim_hosts_count(&p.core) >= 2);
        for (size_t i = 0; i < p.count; i++)
            assert_true(sim_run_can(p.lines[i].deed));
        small += p.nodes <= 9;
        large += p.nodes > 32;
        sim_plan_release(&p);
    }
    assert_true(small > 6 * SEEDS && large > 0);
}

static void test_full_has_every_kind(void **state)
{
    struct sim_plan p;

    (void)state;
    assert_int_equal(sim_expand(&p, 1, SIM_PROFILE_FULL, 8), 0);
    uint64_t kinds = sim_plan_fault_kinds(&p);
    for (unsigned d = 0; d < SIM_DEEDS; d++)
        if (sim_deed_family((enum sim_deed)d) != SIM_FAMILY_WORK &&
            sim_run_can((enum sim_deed)d))
            assert_true((kinds >> d & 1) != 0);
    assert_int_equal(p.nodes, 8);
    sim_plan_release(&p);
    assert_int_equal(sim_expand(&p, 1, SIM_PROFILE_QUIET, 0), 0);
    assert_int_equal(sim_plan_faults(&p), 0);
    sim_plan_release(&p);
}

static void test_read_by_hand(void **state)
{
    static const char text[] =
        "# made by hand\n\n" HEADER "17 250 put n3 key=4 size=120\n"
        "  18 300 partition n0,n2-n4 for=30000\n"
        "19 300 oneway n1 to=n2 for=8000\r\n"
        "20 400 clock-step n4 ms=-5000 for=0x10";
    struct sim_plan p;
    struct cm_detail detail = {""};

    (void)state;
    assert_int_equal(sim_plan_parse(&p, slice_of_string(text), &detail), 0);
    assert_int_equal(p.count, 4);
    assert_int_equal(p.seed, 7);
    assert_int_equal(sim_hosts_count(&p.core), 3);
    assert_int_equal(p.lines[0].params[SIM_PARAM_SIZE], 120);
    assert_int_equal(sim_hosts_count(&p.lines[1].hosts), 4);
    assert_false(sim_hosts_has(&p.lines[1].hosts, 1));
    assert_int_equal(sim_hosts_first(&p.lines[2].to), 2);
    assert_int_equal(p.lines[3].params[SIM_PARAM_MS], -5000);
    assert_int_equal(p.lines[3].params[SIM_PARAM_FOR], 16);
    sim_plan_release(&p);
}

static void test_refusals(void **state)
{
    static const struct {
        const char *text;
        int error;
        const char *word; /* in the detail */
    } cases[] = {
        {"", CM_ERR_MALFORMED, "confmesh-plan"},
        {"1 2 put n0 key=1 size=1\n", CM_ERR_MALFORMED, "confmesh-plan"},
        {"confmesh-plan 2 seed=1 nodes=3\n", CM_ERR_FORMAT_VERSION, "2"},
        {"confmesh-plan 1 seed=1\n", CM_ERR_MALFORMED, "nodes="},
        {"confmesh-plan 1 seed=1 nodes=999 core=n0\n", CM_ERR_MALFORMED, "999"},
        {"confmesh-plan 1 seed=1 nodes=3 colour=1\n", CM_ERR_MALFORMED,
         "colour"},
        {"confmesh-plan 1 seed=1 nodes=3 joined=3\n", CM_ERR_MALFORMED, "core"},
        {HEADER "1 2 dance n0\n", CM_ERR_MALFORMED, "dance"},
        {HEADER "x 2 crash n0 for=1\n", CM_ERR_MALFORMED, "x"},
        {HEADER "1 -2 crash n0 for=1\n", CM_ERR_MALFORMED, "-2"},
        {HEADER "1 2 crash\n", CM_ERR_MALFORMED, "1"},
        {HEADER "1 2 crash n0\n", CM_ERR_MALFORMED, "for"},
        {HEADER "1 2 crash n0 for=\n", CM_ERR_MALFORMED, "not a number"},
        {HEADER "1 2 crash n0 for=1 size=2\n", CM_ERR_MALFORMED, "size"},
        {HEADER "1 2 crash n0,n1 for=1\n", CM_ERR_MALFORMED, "one"},
        {HEADER "1 2 crash n5 for=1\n", CM_ERR_MALFORMED, "nodes=5"},
        {HEADER "1 2 loss n4-n1 ppm=1 for=1\n", CM_ERR_MALFORMED, "n4-n1"},
        {HEADER "1 2 loss n0 ppm=1000001 for=1\n", CM_ERR_LIMIT, "1000001"},
        {HEADER "1 2 oneway n0 for=1\n", CM_ERR_MALFORMED, "to="},
        {HEADER "1 99999999 crash n0 for=1\n", CM_ERR_MALFORMED, "duration"},
        {HEADER "1 2 crash n0 for=1\n1 3 crash n0 for=1\n", CM_ERR_MALFORMED,
         "two lines"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sim_plan p;
        struct cm_detail detail = {""};
        int error = sim_plan_parse(&p, slice_of_string(cases[i].text), &detail);
        if (error != cases[i].error ||
            strstr(detail.text, cases[i].word) == NULL)
            print_error("case %zu: %d, %s\n", i, error, detail.text);
        assert_int_equal(error, cases[i].error);
        assert_non_null(strstr(detail.text, cases[i].word));
    }
}

static void test_editing(void **state)
{
    struct sim_plan p;
    struct sim_plan copy;

    (void)state;
    assert_int_equal(sim_expand(&p, 3, SIM_PROFILE_DEFAULT, 5), 0);
    assert_int_equal(sim_plan_copy(&copy, &p), 0);
    for (size_t i = 1; i < p.count; i++)
        assert_true(p.lines[i - 1].at_ms <= p.lines[i].at_ms);
    uint64_t third = copy.lines[3].id;
    sim_plan_remove(&copy, 2);
    assert_int_equal(copy.count, p.count - 1);
    assert_int_equal(copy.lines[2].id, third);
    assert_int_equal(sim_plan_check(&copy, NULL), 0);
    sim_plan_release(&copy);
    sim_plan_release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_round_trip),
        cmocka_unit_test(test_same_seed_same_plan),
        cmocka_unit_test(test_plans_are_worth_running),
        cmocka_unit_test(test_full_has_every_kind),
        cmocka_unit_test(test_read_by_hand),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_editing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
