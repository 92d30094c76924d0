/* Goal: a mesh of simulated nodes finds and mends what must not be: a replica
 * that differs at an equal version vector, and a record that rots, with the
 * production code, whatever the seed.
 * Method: three nodes write; one of them is given another state behind the
 * mesh's back (its own mending turned against it, so that even its digest
 * fits), or a bit of a record flips; then everything must become equal, and the
 * node must have told of it.
 *
 * SIM_SEED=N starts from that seed, SIM_SEEDS=N tries so many; SIM_LOG=1 shows
 * the nodes' own lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "node/heal_change.h"
#include "node/store_txn.h"
#include "sim/world.h"
#include "tests/sim/run_fixture.h"

#define SEEDS 5
#define HOSTS 3
#define VICTIM 1
#define KEYS 30
#define LIMIT_US (120 * SIM_SECOND)

static bool all_up(struct sim_world *w, void *ctx)
{
    (void)ctx;
    for (unsigned i = 0; i < HOSTS; i++)
        if (!sim_host_is_up(w->hosts[i]) ||
            !node_is_ready(sim_host_node(w->hosts[i])))
            return false;
    return true;
}

static struct schema_key key_of(unsigned number)
{
    char text[16];
    struct entry_id id = {.space = SPACE_REGISTER};
    struct schema_key ret;

    (void)snprintf(text, sizeof text, "key/%u", number);
    id.key = slice_of_string(text);
    schema_key_entry(&ret, &id);
    return ret;
}

static void written(void *ctx, const struct intent *i, bool answered)
{
    (void)ctx;
    (void)i;
    (void)answered;
}

static void put(struct sim_world *w, unsigned host, unsigned number)
{
    struct intent *i = intent_new(INTENT_LOCAL);
    struct local_op op = {.kind = OP_PUT, .value = slice_of_string("value")};
    char text[16];

    (void)snprintf(text, sizeof text, "key/%u", number);
    op.key = slice_of_string(text);
    assert_non_null(i);
    assert_int_equal(intent_add_op(i, &op), 0);
    assert_int_equal(sim_host_write(w->hosts[host], i, written, NULL), 0);
}

static struct sim_world *begin(uint64_t seed)
{
    struct sim_world_options options = sim_world_default_options(seed, HOSTS);
    struct cm_detail detail = {""};
    struct sim_world *w = NULL;

    options.log = getenv("SIM_LOG") != NULL ? stderr : NULL;
    assert_int_equal(sim_world_create(&w, &options, &detail), 0);
    assert_int_equal(sim_world_boot(w, 0, &detail), 0);
    for (unsigned i = 1; i < HOSTS; i++)
        sim_world_join(w, i, 0);
    assert_true(sim_world_run_until(w, all_up, NULL, LIMIT_US));
    for (unsigned i = 0; i < KEYS; i++)
        put(w, i % HOSTS, i);
    sim_world_run_for(w, SIM_SECOND);
    assert_true(sim_world_run_until(w, sim_world_converged, NULL, LIMIT_US));
    return w;
}

static struct heal_status status_of(struct sim_world *w, unsigned host)
{
    struct node_status s;

    node_status_read(sim_host_node(w->hosts[host]), &s);
    return s.heal;
}

static bool is_healed(struct sim_world *w, void *ctx)
{
    (void)ctx;
    struct heal_status s = status_of(w, VICTIM);

    return s.counters.scrubs > 1 && s.damaged == 0 &&
           s.counters.healed + s.counters.rebuilds > 0 &&
           sim_world_converged(w, NULL);
}

/* Equal vectors, and yet an entry is missing; the digest says so. */
static void law(uint64_t seed)
{
    struct sim_world *w = begin(seed);
    struct heal_change *c = heal_change_new();
    struct intent *i = intent_new(INTENT_HEAL);
    struct schema_key key = key_of(7);
    struct store_reader *r;
    struct vv vv;

    assert_true(c != NULL && i != NULL);
    vv_init(&vv);
    assert_int_equal(store_reader_begin(sim_host_store(w->hosts[VICTIM]), &r),
                     0);
    assert_int_equal(store_vv(r, &vv), 0);
    store_reader_release(r);
    c->vv = vv_hash(&vv);
    vv_release(&vv);
    assert_int_equal(heal_change_add(c, &key, slice_of(NULL, 0)), 0);
    i->replacement = c;
    assert_int_equal(sim_host_write(w->hosts[VICTIM], i, written, NULL), 0);
    sim_world_run_for(w, 100 * SIM_MS);
    assert_int_equal(c->healed, 1);
    assert_true(sim_world_run_until(w, sim_world_converged, NULL, LIMIT_US));
    assert_true(status_of(w, VICTIM).counters.divergences > 0);
    assert_int_equal(status_of(w, VICTIM).counters.healed, 1);
    sim_world_run_for(w, 30 * SIM_SECOND);
    for (unsigned k = 0; k < HOSTS; k++)
        assert_false(status_of(w, k).alarm_law);
    heal_change_free(c);
    sim_world_free(w);
}

/* One bit of an entry's record; found when an event is to change it. */
static void rot(uint64_t seed)
{
    struct sim_world *w = begin(seed);
    struct store *s = sim_host_store(w->hosts[VICTIM]);
    struct schema_key key = key_of(9);
    MDB_val k = {.mv_size = key.size, .mv_data = key.bytes};
    uint8_t bytes[512];
    struct store_txn t;
    MDB_val v;

    assert_int_equal(store_txn_begin(&t, s, true, NULL), 0);
    assert_int_equal(mdb_get(t.mdb, store_dbi(s), &k, &v), 0);
    assert_true(v.mv_size <= sizeof bytes);
    memcpy(bytes, v.mv_data, v.mv_size);
    bytes[seed % v.mv_size] ^= 4;
    v.mv_data = bytes;
    assert_int_equal(mdb_put(t.mdb, store_dbi(s), &k, &v, 0), 0);
    assert_int_equal(store_txn_commit(&t, NULL), 0);
    put(w, 0, 9); /* waits there */
    put(w, 2, 10);
    assert_true(sim_world_run_until(w, is_healed, NULL, LIMIT_US));
    sim_world_free(w);
}

static void each(void (*run)(uint64_t seed))
{
    uint64_t first = setting("SIM_SEED", 1);

    for (uint64_t i = 0; i < setting("SIM_SEEDS", SEEDS); i++)
        run(first + i);
}

static void test_law(void **state)
{
    (void)state;
    each(law);
}

static void test_rot(void **state)
{
    (void)state;
    each(rot);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_law),
        cmocka_unit_test(test_rot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
