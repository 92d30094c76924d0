/* Programs of different formats in one simulated mesh: updates one after the
 * other, newcomers that are behind, and what the check says of a writer or a
 * reader that goes too far. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "node/writer_internal.h"
#include "sim/check_internal.h"
#include "sim/world.h"

#define HOSTS 4
#define LIMIT_US (120 * SIM_SECOND)

static bool are_ready(struct sim_world *w, void *ctx)
{
    for (unsigned h = 0; h < *(unsigned *)ctx; h++) {
        if (!sim_world_is_ready(w, h))
            return false;
    }
    return true;
}

static struct sim_world *make_world(uint32_t level, unsigned joined)
{
    struct sim_world_options o = sim_world_default_options(7, HOSTS);
    struct cm_detail detail = {""};
    struct sim_world *w;

    o.format_level = level;
    o.floor_interval_ms = 1000;
    assert_int_equal(sim_world_create(&w, &o, &detail), 0);
    assert_int_equal(sim_world_boot(w, 0, &detail), 0);
    for (unsigned h = 1; h < joined; h++)
        sim_world_join(w, h, 0);
    assert_true(sim_world_run_until(w, are_ready, &joined, LIMIT_US));
    sim_world_run_for(w, 10 * SIM_SECOND);
    return w;
}

static void expect_silence(const struct sim_world *w)
{
    const struct sim_check_violation *v = sim_check_violation(w->check);

    if (v != NULL)
        fail_msg("%s: %s", v->fingerprint, v->text);
}

static void keep_result(void *ctx, const struct intent *i, bool answered)
{
    assert_true(answered);
    *(int *)ctx = i->result;
}

static int revoke_at(struct sim_world *w, unsigned host, const char *key)
{
    struct local_op op = {.kind = OP_REVOKE,
                          .key = slice_of_string(key),
                          .value = slice_of_string("why")};
    struct intent *i = intent_new(INTENT_LOCAL);
    int result = 1;

    assert_int_equal(intent_add_op(i, &op), 0);
    assert_int_equal(sim_host_write(w->hosts[host], i, keep_result, &result),
                     0);
    sim_world_run_for(w, 2 * SIM_SECOND);
    assert_true(result <= 0);
    return result;
}

static uint32_t level_at(const struct sim_world *w, unsigned host)
{
    const struct writer *wr = sim_host_writer(w->hosts[host]);

    assert_non_null(wr);
    return standing_level(wr->standing, NULL);
}

static bool is_level(struct sim_world *w, void *ctx)
{
    for (unsigned h = 0; h < HOSTS; h++) {
        if (w->presences[h].member &&
            (!sim_world_is_ready(w, h) || level_at(w, h) != *(uint32_t *)ctx))
            return false;
    }
    return true;
}

/* Goal: nobody writes it before the last one is updated, everybody may soon
 * after, each announces once, and all hosts end alike. */
static void test_one_after_the_other(void **state)
{
    struct sim_world *w = make_world(LEVEL_FIRST, HOSTS);
    uint32_t level = LEVEL_LAST;
    uint64_t events = 0;

    (void)state;
    for (unsigned h = 0; h < HOSTS; h++) {
        for (unsigned k = 0; k < HOSTS; k++)
            assert_int_equal(revoke_at(w, k, "k"), CM_ERR_LEVEL);
        sim_presence_update(&w->presences[h]);
        sim_world_run_for(w, 10 * SIM_SECOND);
        assert_true(sim_world_is_ready(w, h));
    }
    assert_true(sim_world_run_until(w, is_level, &level, LIMIT_US));
    for (unsigned h = 0; h < HOSTS; h++) {
        struct node_status s;
        char key[2] = {(char)('a' + h), '\0'};

        node_status_read(sim_host_node(w->hosts[h]), &s);
        events += s.own_events;
        assert_int_equal(revoke_at(w, h, key), 0);
    }
    assert_true(events >= HOSTS);
    assert_true(sim_world_run_until(w, sim_world_converged, NULL, LIMIT_US));
    expect_silence(w);
    sim_check_quiescent(w->check, NULL);
    expect_silence(w);
    sim_world_free(w);
}

/* Goal: where everybody has announced a level, nobody enters who knows less;
 * he does as soon as he is updated. */
static void test_newcomer_behind(void **state)
{
    struct sim_world *w = make_world(LEVEL_FIRST, HOSTS - 1);
    const unsigned last = HOSTS - 1;
    uint32_t level = LEVEL_LAST;

    (void)state;
    for (unsigned h = 0; h < last; h++)
        sim_presence_update(&w->presences[h]);
    assert_true(sim_world_run_until(w, is_level, &level, LIMIT_US));
    assert_int_equal(revoke_at(w, 1, "k"), 0);
    sim_world_join(w, last, 0);
    sim_world_run_for(w, 60 * SIM_SECOND);
    assert_false(sim_world_is_ready(w, last));
    assert_int_equal(level_at(w, 0), LEVEL_LAST);
    expect_silence(w);
    sim_presence_update(&w->presences[last]);
    assert_true(sim_world_run_until(w, sim_world_converged, NULL, LIMIT_US));
    assert_int_equal(level_at(w, last), LEVEL_LAST);
    expect_silence(w);
    sim_world_free(w);
}

/* Goal: the check sees who writes what somebody does not know, who applies it,
 * and whose update was told to nobody. Method: the programs of hosts
 * are said to be older than they are. */
static void test_alarms(void **state)
{
    struct sim_world *w = make_world(0, HOSTS);
    const struct sim_check_violation *v;

    (void)state;
    sim_host_set_level(w->hosts[1], LEVEL_FIRST);
    assert_int_equal(revoke_at(w, 0, "k"), 0);
    v = sim_check_violation(w->check);
    assert_non_null(v);
    assert_int_equal(v->invariant, SIM_CHECK_LEVEL);
    assert_non_null(strstr(v->text, "n1 does not know"));
    sim_world_free(w);
    w = make_world(0, HOSTS);
    w->check->hosts[1].hostile = true; /* has no say, but a program */
    sim_host_set_level(w->hosts[1], LEVEL_FIRST);
    assert_int_equal(revoke_at(w, 0, "k"), 0);
    v = sim_check_violation(w->check);
    assert_non_null(v);
    assert_int_equal(v->invariant, SIM_CHECK_LEVEL);
    assert_non_null(strstr(v->text, "its program knows 1"));
    sim_world_free(w);
    w = make_world(LEVEL_FIRST, HOSTS);
    sim_host_set_level(w->hosts[2], LEVEL_LAST);
    sim_check_rest(w->check);
    sim_world_run_for(w, 60 * SIM_SECOND);
    expect_silence(w);
    sim_check_quiescent(w->check, NULL);
    v = sim_check_violation(w->check);
    assert_non_null(v);
    assert_int_equal(v->invariant, SIM_CHECK_WAITING);
    sim_world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_after_the_other),
        cmocka_unit_test(test_newcomer_behind),
        cmocka_unit_test(test_alarms),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
