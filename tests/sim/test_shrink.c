/* Goal: shrinking finds the few lines that matter, keeps the failure that it
 * was given and no other, and stops when told.
 * Method: no world; the run is a predicate over the plan (a put on a key, a
 * power cut of its host after it, …), so that the least plan is known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "sim/expand.h"
#include "sim/shrink.h"

#define KEY_BAD 3
#define RUN_MS 100 /* that a run takes on the fake clock */

struct fake {
    uint64_t now_ms;
    uint64_t runs;
    uint64_t progress;
    size_t together_max;
    bool needs_partition; /* else the put and the power cut are enough */
    bool also_other;      /* smaller plans fail in another way */
    bool broken;          /* no run can be made */
};

static void fake_judge(const struct fake *f, const struct sim_plan *p,
                       struct sim_run_result *r)
{
    bool put[SIM_PLAN_HOSTS_MAX] = {false};
    bool cut = false, partition = false;
    uint64_t at_ms = 0;

    for (size_t i = 0; i < p->count; i++) {
        const struct sim_plan_line *l = &p->lines[i];
        unsigned host = sim_hosts_first(&l->hosts);

        assert_true(host < p->nodes);
        if (l->deed == SIM_DEED_PUT && l->params[SIM_PARAM_KEY] == KEY_BAD)
            put[host] = true;
        if (l->deed == SIM_DEED_PARTITION)
            partition = true;
        if (l->deed == SIM_DEED_POWER_CUT && put[host] && !cut) {
            cut = true;
            at_ms = l->at_ms;
        }
    }
    r->start_us = 5000000;
    r->at_us = r->start_us + at_ms * 1000;
    if (cut && (partition || !f->needs_partition)) {
        r->outcome = SIM_SAFETY;
        (void)snprintf(r->fingerprint, sizeof r->fingerprint, "acknowledged");
    } else if (f->also_other) {
        r->outcome = SIM_LIVENESS;
        (void)snprintf(r->fingerprint, sizeof r->fingerprint, "convergence");
    }
}

static void fake_run(void *ctx, struct sim_shrink_trial *trials, size_t count)
{
    struct fake *f = ctx;

    f->runs += count;
    f->now_ms += RUN_MS;
    if (count > f->together_max)
        f->together_max = count;
    for (size_t i = 0; i < count; i++) {
        struct cm_detail detail = {""};

        if (sim_plan_check(&trials[i].plan, &detail) != 0)
            fail_msg("%s", detail.text);
        trials[i].error = f->broken ? CM_ERR_IO : 0;
        fake_judge(f, &trials[i].plan, &trials[i].result);
    }
}

static uint64_t fake_now(void *ctx)
{
    return ((struct fake *)ctx)->now_ms;
}

static void fake_progress(void *ctx, const struct sim_shrink_progress *p)
{
    struct fake *f = ctx;

    f->progress++;
    assert_int_equal(p->runs, f->runs);
    assert_true(p->lines <= p->lines_before);
    assert_true(p->nodes <= p->nodes_before);
}

static struct sim_shrink_options options_of(struct fake *f, unsigned trials)
{
    return (struct sim_shrink_options){
        .trials = trials,
        .ctx = f,
        .run = fake_run,
        .now_ms = fake_now,
        .progress = fake_progress,
    };
}

static void add(struct sim_plan *p, uint64_t at_ms, enum sim_deed deed,
                unsigned host, int64_t key)
{
    struct sim_plan_line l = {
        .id = 1000000 + p->count,
        .at_ms = at_ms,
        .deed = deed,
    };

    sim_hosts_add(&l.hosts, host);
    if (sim_deed_takes(deed, SIM_PARAM_KEY))
        l.params[SIM_PARAM_KEY] = key;
    if (sim_deed_takes(deed, SIM_PARAM_SIZE))
        l.params[SIM_PARAM_SIZE] = 500;
    if (sim_deed_takes(deed, SIM_PARAM_FOR))
        l.params[SIM_PARAM_FOR] = 20000;
    assert_int_equal(sim_plan_add(p, &l), 0);
}

static bool may_be_the_bug(const struct sim_plan_line *l)
{
    return l->deed == SIM_DEED_POWER_CUT || l->deed == SIM_DEED_PARTITION ||
           (l->deed == SIM_DEED_PUT && l->params[SIM_PARAM_KEY] == KEY_BAD);
}

/* A plan of a real size in which one put and one power cut matter. */
static void plan_of(struct sim_plan *p, uint64_t seed, unsigned host)
{
    assert_int_equal(sim_expand(p, seed, SIM_PROFILE_DEFAULT, 12), 0);
    for (size_t i = p->count; i-- > 0;) {
        if (may_be_the_bug(&p->lines[i]))
            sim_plan_remove(p, i);
    }
    assert_true(p->count > 300);
    add(p, 200000, SIM_DEED_PUT, host, KEY_BAD);
    add(p, 240000, SIM_DEED_PARTITION, host, 0);
    add(p, 300000, SIM_DEED_POWER_CUT, host, 0);
    sim_plan_sort(p);
    assert_int_equal(sim_plan_check(p, NULL), 0);
}

static void print(const struct sim_plan *p, struct buffer *text)
{
    buffer_init(text, SIM_PLAN_TEXT_MAX);
    sim_plan_print(p, text);
    assert_int_equal(text->error, 0);
}

static void test_least(void **state)
{
    struct fake f = {.needs_partition = true, .also_other = true};
    struct sim_shrink_options o = options_of(&f, 1);
    struct sim_shrink_report r;
    struct sim_plan p;

    (void)state;
    plan_of(&p, 1, 5);
    assert_int_equal(sim_shrink(&p, "acknowledged", &o, &r), 0);
    assert_false(r.exhausted);
    assert_int_equal(p.count, 3);
    assert_int_equal(p.lines[0].deed, SIM_DEED_PUT);
    assert_int_equal(p.lines[1].deed, SIM_DEED_PARTITION);
    assert_int_equal(p.lines[2].deed, SIM_DEED_POWER_CUT);
    assert_in_range(p.nodes, 1, 2); /* host 0 stays, and may stand for all */
    assert_in_range(p.duration_ms, 1, 5000);
    assert_int_equal(p.lines[0].params[SIM_PARAM_SIZE], 1);
    assert_int_equal(p.net.loss_ppm, 0);
    assert_int_equal(r.result.outcome, SIM_SAFETY);
    assert_string_equal(r.result.fingerprint, "acknowledged");
    assert_int_equal(r.last.lines, 3);
    assert_int_equal(r.last.nodes_before, 12);
    assert_true(f.progress > 0 && f.runs == r.last.runs && f.runs < 600);
    sim_plan_release(&p);
}

/* Beside each other or one by one: the same plan comes out. */
static void test_together(void **state)
{
    struct buffer texts[2];

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct fake f = {.needs_partition = true};
        struct sim_shrink_options o = options_of(&f, i == 0 ? 1 : 4);
        struct sim_shrink_report r;
        struct sim_plan p;

        plan_of(&p, 2, 7);
        assert_int_equal(sim_shrink(&p, NULL, &o, &r), 0);
        assert_int_equal(f.together_max, i == 0 ? 1 : 4);
        print(&p, &texts[i]);
        sim_plan_release(&p);
    }
    assert_true(slice_equal(buffer_slice(&texts[0]), buffer_slice(&texts[1])));
    buffer_release(&texts[0]);
    buffer_release(&texts[1]);
}

static void test_budget(void **state)
{
    struct fake f = {0};
    struct sim_shrink_options o = options_of(&f, 2);
    struct sim_shrink_report r;
    struct sim_plan p;

    (void)state;
    plan_of(&p, 3, 2);
    o.budget_ms = 5 * RUN_MS;
    assert_int_equal(sim_shrink(&p, NULL, &o, &r), 0);
    assert_true(r.exhausted);
    assert_true(f.now_ms <= 6 * RUN_MS);
    /* What there is by then fails alike, and is smaller. */
    assert_int_equal(r.result.outcome, SIM_SAFETY);
    assert_true(p.count < r.last.lines_before);
    sim_plan_release(&p);

    f = (struct fake){0};
    plan_of(&p, 3, 2);
    o.budget_ms = 0;
    o.runs_max = 10;
    assert_int_equal(sim_shrink(&p, NULL, &o, &r), 0);
    assert_true(r.exhausted && f.runs <= 11);
    sim_plan_release(&p);
}

static void test_refused(void **state)
{
    struct fake f = {0};
    struct sim_shrink_options o = options_of(&f, 1);
    struct sim_shrink_report r;
    struct sim_plan p;
    size_t count;

    (void)state;
    /* It fails, but otherwise than was said. */
    plan_of(&p, 4, 1);
    count = p.count;
    assert_int_equal(sim_shrink(&p, "fold", &o, &r), CM_ERR_CONDITION);
    assert_string_equal(r.result.fingerprint, "acknowledged");
    assert_int_equal(p.count, count);
    /* It passes. */
    f = (struct fake){0};
    for (size_t i = p.count; i-- > 0;) {
        if (p.lines[i].deed == SIM_DEED_POWER_CUT)
            sim_plan_remove(&p, i);
    }
    assert_int_equal(sim_shrink(&p, NULL, &o, &r), CM_ERR_CONDITION);
    assert_int_equal(r.result.outcome, SIM_PASS);
    /* It cannot be run at all. */
    f = (struct fake){.broken = true};
    assert_int_equal(sim_shrink(&p, NULL, &o, &r), CM_ERR_IO);
    sim_plan_release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_least),
        cmocka_unit_test(test_together),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests_name("shrink", tests, NULL, NULL);
}
