/* Goal: what a wait says is so: who is told to have confirmed an event has it
 * on disk, whatever happens to it afterwards; who is cut off is named, and
 * counts as soon as it is back; a wait that fails undoes nothing. And the end
 * of a value is told once by every host, by its own clock. Method: whole hosts
 * on a virtual time line; partitions and power cuts while waits are under way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/check.h"
#include "sim/world.h"

#define HOSTS 4
#define LIMIT_US (120 * SIM_SECOND)

struct told {
    bool done;
    int error;
    size_t wanted;
    size_t confirmed;
    size_t members;
    bool has[HOSTS];
};

struct written {
    bool done;
    struct dot dot;
};

static struct sim_world *begin(uint64_t seed)
{
    struct sim_world_options options = sim_world_default_options(seed, HOSTS);
    struct cm_detail detail = {""};
    struct sim_world *w;

    assert_int_equal(sim_world_create(&w, &options, &detail), 0);
    assert_int_equal(sim_world_boot(w, 0, &detail), 0);
    for (unsigned i = 1; i < HOSTS; i++)
        sim_world_join(w, i, 0);
    assert_true(sim_world_run_until(w, sim_world_all_ready, NULL, LIMIT_US));
    assert_true(sim_world_run_until(w, sim_world_converged, NULL, LIMIT_US));
    return w;
}

static void on_written(void *ctx, const struct intent *i, bool answered)
{
    struct written *written = ctx;

    written->done = answered && i->result == 0;
    written->dot = i->dot;
}

static bool is_written(struct sim_world *w, void *ctx)
{
    (void)w;
    return ((struct written *)ctx)->done;
}

static struct dot put(struct sim_world *w, unsigned host, const char *key,
                      hlc_t expires)
{
    struct local_op op = {
        .kind = OP_PUT,
        .key = slice_of_string(key),
        .value = slice_of("v", 1),
        .expires = expires,
    };
    struct intent *i = intent_new(INTENT_LOCAL);
    struct written written = {.done = false};

    assert_non_null(i);
    assert_int_equal(intent_add_op(i, &op), 0);
    assert_int_equal(sim_host_write(w->hosts[host], i, on_written, &written),
                     0);
    assert_true(sim_world_run_until(w, is_written, &written, LIMIT_US));
    return written.dot;
}

static struct sim_world *told_world; /* names of on_told's members */

static void on_told(void *ctx, const struct node_await_report *report)
{
    struct told *told = ctx;

    CHECK(!told->done); /* once */
    told->done = true;
    told->error = report->error;
    told->wanted = report->wanted;
    told->confirmed = report->confirmed;
    told->members = report->members_count;
    for (size_t i = 0; i < report->members_count; i++) {
        for (unsigned h = 0; h < HOSTS; h++) {
            if (strcmp(report->members[i].name,
                       sim_host_name(told_world->hosts[h])) == 0)
                told->has[h] = report->members[i].confirmed;
        }
    }
}

static bool is_told(struct sim_world *w, void *ctx)
{
    (void)w;
    return ((struct told *)ctx)->done;
}

static void await(struct sim_world *w, unsigned host, const struct dot *dot,
                  const struct node_quorum *q, uint64_t timeout_ms,
                  struct told *told)
{
    *told = (struct told){.done = false};
    told_world = w;
    sim_host_enter(w->hosts[host]);
    int error = node_await(sim_host_node(w->hosts[host]), dot, q, timeout_ms,
                           on_told, told);
    sim_host_settle(w->hosts[host]);
    assert_int_equal(error, 0);
}

static bool holds(struct sim_world *w, unsigned host, const struct dot *dot)
{
    struct store_reader *r;
    struct vv vv;
    bool ret;

    vv_init(&vv);
    assert_int_equal(store_reader_begin(sim_host_store(w->hosts[host]), &r), 0);
    assert_int_equal(store_vv(r, &vv), 0);
    ret = vv_covers(&vv, dot);
    vv_release(&vv);
    store_reader_release(r);
    return ret;
}

/* The lights go out everywhere; what was confirmed is still there. */
static void check_durable(struct sim_world *w, const struct dot *dot,
                          const struct told *told)
{
    struct cm_detail detail = {""};

    for (unsigned h = 0; h < HOSTS; h++)
        sim_world_power_cut(w, h);
    for (unsigned h = 0; h < HOSTS; h++) {
        assert_int_equal(sim_world_boot(w, h, &detail), 0);
        if (told->has[h])
            assert_true(holds(w, h, dot));
    }
}

static void test_all_confirm(void **state)
{
    struct node_quorum all = {.kind = QUORUM_ALL};
    struct node_quorum majority = {.kind = QUORUM_MAJORITY};
    struct told told;

    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct sim_world *w = begin(seed);
        struct dot dot = put(w, 1, "k", 0);

        await(w, 1, &dot, &majority, 10000, &told);
        assert_true(sim_world_run_until(w, is_told, &told, LIMIT_US));
        assert_int_equal(told.error, 0);
        assert_int_equal(told.wanted, HOSTS / 2 + 1);
        assert_true(told.confirmed >= told.wanted);
        await(w, 1, &dot, &all, 10000, &told);
        assert_true(sim_world_run_until(w, is_told, &told, LIMIT_US));
        assert_int_equal(told.error, 0);
        assert_int_equal(told.confirmed, HOSTS);
        check_durable(w, &dot, &told);
        sim_world_free(w);
    }
}

/* One is cut off: it alone is named, and the write stands. */
static void test_cut_off_is_named(void **state)
{
    struct node_quorum all = {.kind = QUORUM_ALL};
    struct sim_world *w = begin(11);
    struct told told;
    struct told second;
    struct dot dot;

    (void)state;
    sim_net_set_group(w->net, 3, 1);
    dot = put(w, 0, "k", 0);
    await(w, 0, &dot, &all, 5000, &told);
    assert_true(sim_world_run_until(w, is_told, &told, LIMIT_US));
    assert_int_equal(told.error, CM_ERR_TIMEOUT);
    assert_int_equal(told.confirmed, HOSTS - 1);
    assert_true(told.has[0] && told.has[1] && told.has[2] && !told.has[3]);
    /* It comes back while another wait is under way. */
    await(w, 0, &dot, &all, 300000, &second);
    sim_world_run_for(w, 40 * SIM_SECOND);
    assert_false(second.done);
    sim_net_heal(w->net);
    assert_true(sim_world_run_until(w, is_told, &second, 4 * LIMIT_US));
    assert_int_equal(second.error, 0);
    assert_true(second.has[3] && holds(w, 3, &dot));
    check_durable(w, &dot, &second);
    assert_true(sim_world_run_until(w, sim_world_converged, NULL, LIMIT_US));
    sim_world_free(w);
}

/* One loses its power with the question in hand. */
static void test_asked_again_after_a_power_cut(void **state)
{
    struct node_quorum all = {.kind = QUORUM_ALL};
    struct cm_detail detail = {""};
    struct told told;

    (void)state;
    for (uint64_t seed = 21; seed <= 23; seed++) {
        struct sim_world *w = begin(seed);
        struct dot dot = put(w, 0, "k", 0);

        await(w, 0, &dot, &all, 300000, &told);
        sim_world_run_for(w, seed % 3 * SIM_MS);
        sim_world_power_cut(w, 2);
        sim_world_run_for(w, 3 * SIM_SECOND);
        assert_int_equal(sim_world_boot(w, 2, &detail), 0);
        assert_true(sim_world_run_until(w, is_told, &told, 4 * LIMIT_US));
        assert_int_equal(told.error, 0);
        assert_int_equal(told.confirmed, HOSTS);
        check_durable(w, &dot, &told);
        sim_world_free(w);
    }
}

/* A causal token, at a host that has to wait for what it names. */
static void test_token_elsewhere(void **state)
{
    struct sim_world *w = begin(31);
    struct told told;
    struct dot dot;

    (void)state;
    sim_net_set_group(w->net, 2, 1);
    dot = put(w, 0, "k", 0);
    await(w, 2, &dot, NULL, 1000, &told);
    assert_true(sim_world_run_until(w, is_told, &told, LIMIT_US));
    assert_int_equal(told.error, CM_ERR_TIMEOUT);
    assert_false(holds(w, 2, &dot));
    await(w, 2, &dot, NULL, 300000, &told);
    sim_net_heal(w->net);
    assert_true(sim_world_run_until(w, is_told, &told, 4 * LIMIT_US));
    assert_int_equal(told.error, 0);
    assert_true(holds(w, 2, &dot));
    sim_world_free(w);
}

/* ---- expiry ---- */

static int count_end(void *ctx, const struct change *change)
{
    unsigned *ends = ctx;

    *ends += change->expired;
    return 0;
}

static unsigned ends_of(struct sim_world *w, unsigned host)
{
    struct store_reader *r;
    unsigned ends = 0;
    uint64_t at;

    assert_int_equal(store_reader_begin(sim_host_store(w->hosts[host]), &r), 0);
    at = store_oldest_revision(r);
    while (store_changes(r, at, &at, count_end, &ends) == 0)
        ;
    store_reader_release(r);
    return ends;
}

static void test_ends_are_told_once(void **state)
{
    struct sim_world *w = begin(41);
    struct cm_detail detail = {""};

    (void)state;
    put(w, 0, "short", hlc_make(sim_host_wall_ms(w->hosts[0]) + 20000, 0));
    put(w, 1, "cut", hlc_make(sim_host_wall_ms(w->hosts[1]) + 20000, 0));
    put(w, 2, "ever", 0);
    assert_true(sim_world_run_until(w, sim_world_converged, NULL, LIMIT_US));
    for (unsigned h = 0; h < HOSTS; h++)
        assert_int_equal(ends_of(w, h), 0);
    sim_world_power_cut(w, 3); /* it sleeps through the ends */
    sim_world_run_for(w, 40 * SIM_SECOND);
    assert_int_equal(sim_world_boot(w, 3, &detail), 0);
    assert_true(sim_world_run_until(w, sim_world_converged, NULL, LIMIT_US));
    sim_world_run_for(w, 10 * SIM_SECOND);
    for (unsigned h = 0; h < HOSTS; h++)
        assert_int_equal(ends_of(w, h), 2);
    sim_world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_confirm),
        cmocka_unit_test(test_cut_off_is_named),
        cmocka_unit_test(test_asked_again_after_a_power_cut),
        cmocka_unit_test(test_token_elsewhere),
        cmocka_unit_test(test_ends_are_told_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
