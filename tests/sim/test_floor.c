/* Goal: whoever compacts what and when, replicas with equal vectors are equal,
 * nothing that was deleted comes back and nothing that stands is lost; the
 * floor never goes back; an eviction leaves what members had of the evictee,
 * and nothing later.
 * Method: each host writes keys of its own, so that what must stand in the end
 * is what it was told last; meanwhile power cuts and partitions, and floors at
 * every chance. Nobody looks on (unchecked): the check knows no floors.
 *
 * SIM_SEED=N starts from that seed, SIM_SEEDS=N tries so many; SIM_LOG=1 shows
 * the nodes' own lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "crdt/eviction.h"
#include "node/standing_read.h"
#include "sim/world.h"
#include "tests/sim/run_fixture.h"

#define SEEDS 20
#define HOSTS 4
#define KEYS 6
#define STEPS 120
#define INTERVAL_MS 300
#define LIMIT_US (180 * SIM_SECOND)

struct run {
    struct sim_world *w;
    uint64_t seed;
    unsigned number;           /* of draws */
    int expected[HOSTS][KEYS]; /* 0: deleted, else the value */
    hlc_t floor_time[HOSTS];
    bool answered;
    int result;
};

static uint64_t draw(struct run *r, uint64_t bound)
{
    return sim_fate_draw(&r->w->fate, SIM_FATE_WORKLOAD, 7, r->number++) %
           bound;
}

static void boot(struct run *r, unsigned host)
{
    struct cm_detail detail = {""};

    if (sim_world_boot(r->w, host, &detail) != 0)
        fail_msg("seed %" PRIu64 ": host %u does not boot: %s", r->seed, host,
                 detail.text);
}

static void begin(struct run *r, uint64_t seed)
{
    struct sim_world_options options = sim_world_default_options(seed, HOSTS);
    struct cm_detail detail = {""};

    memset(r, 0, sizeof *r);
    r->seed = seed;
    options.log = getenv("SIM_LOG") != NULL ? stderr : NULL;
    options.unchecked = true;
    options.floor_interval_ms = INTERVAL_MS;
    assert_int_equal(sim_world_create(&r->w, &options, &detail), 0);
    boot(r, 0);
    for (unsigned i = 1; i < HOSTS; i++)
        sim_world_join(r->w, i, 0);
    assert_true(sim_world_run_until(r->w, sim_world_converged, NULL, LIMIT_US));
}

/* ---- writing ---- */

static void done(void *ctx, const struct intent *i, bool answered)
{
    struct run *r = ctx;

    r->answered = true;
    r->result = answered ? i->result : CM_ERR_CLOSED;
}

static bool is_answered(struct sim_world *w, void *ctx)
{
    (void)w;
    return ((struct run *)ctx)->answered;
}

static int submit(struct run *r, unsigned host, struct intent *i)
{
    int error;

    r->answered = false;
    error = sim_host_write(r->w->hosts[host], i, done, r);
    if (error != 0)
        return error;
    assert_true(sim_world_run_until(r->w, is_answered, r, LIMIT_US));
    return r->result;
}

static void key_of(char ret[16], unsigned host, unsigned key)
{
    (void)snprintf(ret, 16, "h%u/k%u", host, key);
}

static void write_some(struct run *r, unsigned host)
{
    unsigned key = (unsigned)draw(r, KEYS);
    int value = draw(r, 3) == 0 ? 0 : (int)draw(r, 1000) + 1;
    char name[16], text[16];
    struct local_op op = {.kind = value == 0 ? OP_DEL : OP_PUT};
    struct intent *i = intent_new(INTENT_LOCAL);

    key_of(name, host, key);
    (void)snprintf(text, sizeof text, "%d", value);
    op.key = slice_of_string(name);
    if (value != 0)
        op.value = slice_of_string(text);
    assert_int_equal(intent_add_op(i, &op), 0);
    if (submit(r, host, i) == 0)
        r->expected[host][key] = value;
}

/* ---- looking ---- */

static struct standing *standing_of(struct run *r, unsigned host)
{
    struct store_reader *reader;
    struct standing *ret = NULL;

    assert_int_equal(
        store_reader_begin(sim_host_store(r->w->hosts[host]), &reader), 0);
    assert_int_equal(standing_read(&ret, reader, NULL, NULL), 0);
    store_reader_release(reader);
    return ret;
}

static void floor_never_goes_back(struct run *r)
{
    for (unsigned i = 0; i < HOSTS; i++) {
        struct standing *s;

        if (!sim_world_is_ready(r->w, i))
            continue;
        s = standing_of(r, i);
        assert_true(standing_floor_time(s) >= r->floor_time[i]);
        r->floor_time[i] = standing_floor_time(s);
        standing_free(s);
    }
}

/* Entries that show nothing to anybody. */
static size_t dead_entries(struct run *r, unsigned host)
{
    struct store_reader *reader;
    struct store_cursor *c;
    const struct store_item *item;
    size_t ret = 0;

    assert_int_equal(
        store_reader_begin(sim_host_store(r->w->hosts[host]), &reader), 0);
    assert_int_equal(store_cursor_open(reader, SPACE_REGISTER,
                                       slice_of(NULL, 0), false, NULL, &c),
                     0);
    while (store_cursor_next(c, &item) == 0)
        ret += !entry_resolve(&item->entry, 0).present;
    store_cursor_close(c);
    store_reader_release(reader);
    return ret;
}

static int value_of(struct run *r, unsigned host, const char *name)
{
    struct entry_id id = {.space = SPACE_REGISTER,
                          .key = slice_of_string(name)};
    struct store_reader *reader;
    struct resolution found;
    struct entry e;
    int ret = 0;

    entry_init(&e);
    assert_int_equal(
        store_reader_begin(sim_host_store(r->w->hosts[host]), &reader), 0);
    (void)store_get(reader, &id, &e, NULL);
    found = entry_resolve(&e, 0);
    if (found.present) {
        char text[16] = "";

        assert_true(found.winner->value.size < sizeof text);
        memcpy(text, found.winner->value.data, found.winner->value.size);
        ret = (int)strtol(text, NULL, 10);
    }
    entry_release(&e);
    store_reader_release(reader);
    return ret;
}

/* Equal, and nothing dead is left, on the first hosts. */
static bool is_clean(struct sim_world *w, void *ctx)
{
    struct run *r = ctx;
    unsigned hosts = r->number == UINT32_MAX ? HOSTS - 1 : HOSTS;
    struct hash first, other;

    for (unsigned i = 0; i < hosts; i++) {
        if (!sim_world_is_ready(w, i) || dead_entries(r, i) > 0 ||
            sim_world_digest(w, i, i == 0 ? &first : &other) != 0 ||
            (i > 0 && !hash_equal(&first, &other)))
            return false;
    }
    return true;
}

static void expect_values(struct run *r, unsigned hosts)
{
    for (unsigned i = 0; i < hosts; i++) {
        for (unsigned h = 0; h < HOSTS; h++) {
            for (unsigned k = 0; k < KEYS; k++) {
                char name[16];

                key_of(name, h, k);
                if (value_of(r, i, name) != r->expected[h][k])
                    fail_msg("seed %" PRIu64 ": %s is %d on host %u, not %d",
                             r->seed, name, value_of(r, i, name), i,
                             r->expected[h][k]);
            }
        }
        assert_int_equal(sim_world_audit(r->w, i), 0);
    }
}

/* ---- the runs ---- */

static void disturb(struct run *r)
{
    unsigned host = (unsigned)draw(r, HOSTS);

    switch (draw(r, 6)) {
    case 0:
        sim_world_power_cut(r->w, host);
        sim_world_run_for(r->w, draw(r, 2000) * SIM_MS);
        boot(r, host);
        break;
    case 1:
        sim_net_isolate(r->w->net, host, true);
        break;
    case 2:
        sim_net_set_group(r->w->net, host, (unsigned)draw(r, 2));
        break;
    default:
        sim_net_heal(r->w->net);
        break;
    }
}

static void one_run(uint64_t seed)
{
    struct run r;

    begin(&r, seed);
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned host = (unsigned)draw(&r, HOSTS);

        if (sim_world_is_ready(r.w, host))
            write_some(&r, host);
        if (draw(&r, 8) == 0)
            disturb(&r);
        sim_world_run_for(r.w, draw(&r, 200) * SIM_MS);
        floor_never_goes_back(&r);
    }
    sim_net_heal(r.w->net);
    if (!sim_world_run_until(r.w, is_clean, &r, LIMIT_US))
        fail_msg("seed %" PRIu64 ": not equal and collected in time", seed);
    expect_values(&r, HOSTS);
    floor_never_goes_back(&r);
    for (unsigned i = 0; i < HOSTS; i++)
        assert_true(r.floor_time[i] > 0);
    sim_world_free(r.w);
}

static void test_floors_under_faults(void **state)
{
    uint64_t first = setting("SIM_SEED", 1);
    uint64_t count = setting("SIM_SEEDS", SEEDS);

    (void)state;
    for (uint64_t seed = first; seed < first + count; seed++)
        one_run(seed);
}

/* ---- eviction ---- */

static void give_order(struct run *r, const struct incarnation *who)
{
    struct standing *s = standing_of(r, 0);
    struct incarnation name = *who;
    /* Newer than the thief's certificate, so that nobody lets it in again. */
    uint64_t now_ms = sim_host_wall_ms(r->w->hosts[0]);
    struct eviction_order o = {.epoch = standing_epoch(s) + 1,
                               .previous = standing_order(s),
                               .incarnations = &name,
                               .count = 1,
                               .created_ms = now_ms};
    struct intent *i = intent_new(INTENT_ORDER);
    struct buffer bytes;

    standing_free(s);
    o.mesh = mesh_id_of(r->w->authority.public_key);
    o.generation = writer_generation(sim_host_writer(r->w->hosts[0]));
    buffer_init(&bytes, EVICTION_SIZE_MAX);
    assert_int_equal(eviction_encode(&bytes, &o, r->w->authority.secret_key),
                     0);
    assert_int_equal(intent_set_event(i, buffer_slice(&bytes)), 0);
    buffer_release(&bytes);
    assert_int_equal(submit(r, 0, i), 0);
}

static void evict_run(uint64_t seed)
{
    const unsigned thief = HOSTS - 1;
    struct run r;
    struct incarnation who;

    begin(&r, seed);
    for (unsigned step = 0; step < 40; step++) {
        write_some(&r, (unsigned)draw(&r, HOSTS));
        sim_world_run_for(r.w, draw(&r, 50) * SIM_MS);
    }
    assert_true(sim_world_run_until(r.w, sim_world_converged, NULL, LIMIT_US));
    who = writer_incarnation(sim_host_writer(r.w->hosts[thief]));
    if (draw(&r, 2) == 0)
        sim_net_isolate(r.w->net, thief, true);
    give_order(&r, &who);
    sim_world_run_for(r.w, draw(&r, 100) * SIM_MS);
    if (draw(&r, 2) == 0) {
        unsigned host = (unsigned)draw(&r, thief);

        sim_world_power_cut(r.w, host);
        boot(&r, host);
    }
    sim_world_run_for(r.w, 20 * SIM_SECOND);
    for (unsigned i = 0; i < thief; i++) {
        struct standing *s = standing_of(&r, i);

        assert_true(standing_is_sealed(s, &who, NULL));
        assert_int_equal(standing_members(s), HOSTS - 1);
        standing_free(s);
    }
    /* It works on, for itself alone; the others' floor goes on. */
    struct run theirs = r;
    for (unsigned step = 0; step < 10; step++)
        write_some(&theirs, thief);
    r.number = theirs.number;
    for (unsigned step = 0; step < 20; step++)
        write_some(&r, (unsigned)draw(&r, thief));
    sim_net_heal(r.w->net);
    r.number = UINT32_MAX; /* without the thief */
    if (!sim_world_run_until(r.w, is_clean, &r, LIMIT_US))
        fail_msg("seed %" PRIu64 ": not equal and collected in time", seed);
    expect_values(&r, thief);
    sim_world_free(r.w);
}

static void test_evictions(void **state)
{
    uint64_t first = setting("SIM_SEED", 1);
    uint64_t count = setting("SIM_SEEDS", SEEDS);

    (void)state;
    for (uint64_t seed = first; seed < first + count; seed++)
        evict_run(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_floors_under_faults),
        cmocka_unit_test(test_evictions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
