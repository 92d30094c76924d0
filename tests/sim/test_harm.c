/* Goal: what is done to disks, names and clocks comes out as it has to, and the
 * invariants about it can be violated: machines that are copied, bits that
 * rot, syncs that lie, a clock ten years ahead.
 * Method: small meshes; one line of a plan each, with clients writing where it
 * hurts, then rest and judgement. Where an invariant has to fire, the healing
 * is turned off, or the check is not told of the fault.
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

#include "crdt/base/alloc.h"
#include "node/writer_internal.h"
#include "sim/check_internal.h"
#include "sim/disk_internal.h"
#include "sim/world.h"
#include "sim/world_fault.h"
#include "sim/world_order.h"
#include "tests/sim/run_fixture.h"

#define SEEDS 3
#define HOSTS 4
#define FLOOR_MS 500
#define SCRUB_MS 20000
#define LIMIT_US (180 * SIM_SECOND)
#define REST_US (100 * SIM_SECOND)

struct mesh {
    struct sim_world *w;
    unsigned keys;
    unsigned acknowledged;
    int result; /* of the last write */
};

static bool all_alike(struct sim_world *w, void *ctx)
{
    return sim_world_converged(w, ctx);
}

static void await(struct mesh *m, sim_world_holds holds, const char *what)
{
    if (!sim_world_run_until(m->w, holds, m, LIMIT_US))
        fail_msg("not in time: %s", what);
}

static void start(struct mesh *m, uint64_t seed, uint64_t scrub_ms)
{
    struct sim_world_options o = sim_world_default_options(seed, HOSTS);
    struct cm_detail detail = {""};

    o.net.loss_ppm = o.net.duplicate_ppm = o.net.reorder_ppm = 0;
    o.floor_interval_ms = FLOOR_MS;
    o.scrub_interval_ms = scrub_ms;
    o.log = getenv("SIM_LOG") != NULL ? stderr : NULL;
    *m = (struct mesh){.keys = 0};
    assert_int_equal(sim_world_create(&m->w, &o, &detail), 0);
    assert_int_equal(sim_world_boot(m->w, 0, &detail), 0);
    for (unsigned i = 1; i < HOSTS; i++)
        sim_world_join(m->w, i, 0);
    await(m, all_alike, "the first joins");
    sim_world_run_for(m->w, 5 * SIM_SECOND);
}

static void expect_silence(const struct mesh *m)
{
    if (sim_check_violation(m->w->check) != NULL)
        fail_msg("%s", sim_check_violation(m->w->check)->text);
}

static void finish(struct mesh *m)
{
    sim_world_free(m->w);
    m->w = NULL;
}

/* At rest, and nothing is wrong. */
static void judge(struct mesh *m)
{
    await(m, all_alike, "alike in the end");
    (void)sim_world_evict_gone(m->w); /* what a copy has left */
    sim_world_run_for(m->w, 20 * SIM_SECOND);
    await(m, all_alike, "alike without what is gone");
    sim_check_rest(m->w->check);
    sim_world_run_for(m->w, REST_US);
    await(m, all_alike, "alike at rest");
    sim_check_quiescent(m->w->check, NULL);
    expect_silence(m);
    finish(m);
}

static void end_with(struct mesh *m, enum sim_check_invariant i)
{
    const struct sim_check_violation *v = sim_check_violation(m->w->check);

    assert_non_null(v);
    if (v->invariant != i)
        fail_msg("%s, not %s: %s", v->fingerprint, sim_check_name(i), v->text);
    finish(m);
}

static void written(void *ctx, const struct intent *i, bool answered)
{
    struct mesh *m = ctx;

    m->result = answered ? i->result : CM_ERR_CLOSED;
    m->acknowledged += m->result == 0;
}

/* A key of its own, which the check follows. */
static void put(struct mesh *m, unsigned host)
{
    struct intent *i = intent_new(INTENT_LOCAL);
    struct local_op op = {.kind = OP_PUT, .value = slice_of_string("value")};
    char key[32];

    (void)snprintf(key, sizeof key, "unique/%u", m->keys++);
    op.key = slice_of_string(key);
    assert_non_null(i);
    assert_int_equal(intent_add_op(i, &op), 0);
    m->result = CM_ERR_CLOSED;
    (void)sim_host_write(m->w->hosts[host], i, written, m);
}

static void put_for(struct mesh *m, const char *hosts, uint64_t us)
{
    for (uint64_t done = 0; done < us; done += SIM_SECOND / 4) {
        for (const char *h = hosts; *h != 0; h++)
            put(m, (unsigned)(*h - '0'));
        sim_world_run_for(m->w, SIM_SECOND / 4);
    }
}

static struct sim_plan_line line_of(enum sim_deed deed, unsigned host,
                                    uint64_t for_ms)
{
    struct sim_plan_line l = {.id = 7, .deed = deed};

    sim_hosts_add(&l.hosts, host);
    l.params[SIM_PARAM_FOR] = (int64_t)for_ms;
    return l;
}

static void begin(struct mesh *m, const struct sim_plan_line *l)
{
    struct cm_detail detail = {""};

    assert_int_equal(sim_world_fault(m->w, l, &detail), 0);
}

static void each_seed(void (*run)(struct mesh *m, uint64_t seed))
{
    uint64_t first = setting("SIM_SEED", 1);

    for (uint64_t i = 0; i < setting("SIM_SEEDS", SEEDS); i++) {
        struct mesh m;

        run(&m, first + i);
    }
}

/* ---- machines that are copied ---- */

static bool may_write(struct mesh *m, unsigned host)
{
    struct node_status s;

    if (!sim_world_is_ready(m->w, host))
        return false;
    node_status_read(sim_host_node(m->w->hosts[host]), &s);
    return s.return_reason[0] == 0 && !s.clock_ahead && !s.alarm_hazard;
}

static bool all_may_write(struct sim_world *w, void *ctx)
{
    struct mesh *m = ctx;
    bool ret = sim_world_converged(w, NULL);

    for (unsigned h = 0; h < HOSTS; h++)
        ret = ret && may_write(m, h);
    return ret;
}

static bool have_one_name(struct mesh *m, unsigned a, unsigned b)
{
    struct incarnation x = writer_incarnation(sim_host_writer(m->w->hosts[a]));
    struct incarnation y = writer_incarnation(sim_host_writer(m->w->hosts[b]));

    return incarnation_equal(&x, &y);
}

/* Copy and original write apart from each other, each heard by one host: one
 * name bears two events when they meet. */
static void clone(struct mesh *m, uint64_t seed, int64_t looks)
{
    struct sim_plan_line l = line_of(SIM_DEED_CLONE, 1, 60000);

    start(m, seed, 0);
    put_for(m, "0123", 2 * SIM_SECOND);
    await(m, all_alike, "alike before");
    sim_hosts_add(&l.to, 2);
    l.params[SIM_PARAM_COUNT] = looks;
    sim_net_set_group(m->w->net, 2, 1);
    sim_net_set_group(m->w->net, 3, 1);
    begin(m, &l);
    sim_world_run_for(m->w, 3 * SIM_SECOND);
    /* One that finds itself on another machine gives the name up. */
    assert_int_equal(have_one_name(m, 1, 2) && may_write(m, 2), looks == 1);
    put_for(m, "12", 2 * SIM_SECOND);
    assert_true(m->w->faults.counts[SIM_DEED_CLONE] == 1);
    if (looks == 1)
        assert_true(m->w->check->forked);
    sim_net_heal(m->w->net);
    sim_world_run_for(m->w, 60 * SIM_SECOND);
    assert_int_equal(sim_world_faults(m->w), 0);
    await(m, all_may_write, "everybody may write");
    put_for(m, "0123", SIM_SECOND);
    judge(m);
}

static void clone_alike(struct mesh *m, uint64_t seed)
{
    clone(m, seed, 1);
}

static void clone_other(struct mesh *m, uint64_t seed)
{
    clone(m, seed, 2);
}

static void test_clone_alike(void **state)
{
    (void)state;
    each_seed(clone_alike);
}

static void test_clone_other(void **state)
{
    (void)state;
    each_seed(clone_other);
}

/* Where nobody ever finds it: two hosts go on with what they hold. */
static void test_fork_unfound(void **state)
{
    struct mesh m;

    (void)state;
    start(&m, 1, 0);
    put_for(&m, "0123", SIM_SECOND);
    await(&m, all_alike, "alike");
    struct sim_check *c = m.w->check;
    sim_world_run_for(m.w, 10 * SIM_SECOND); /* nothing is written any more */
    c->branches = cm_calloc(2, sizeof *c->branches);
    assert_non_null(c->branches);
    c->branches_count = 2;
    for (unsigned b = 0; b < 2; b++) {
        c->branches[b].dot = (struct dot){
            .incarnation = c->hosts[0].vv.entries[1].incarnation, .seq = 1};
        c->branches[b].hash.bytes[0] = (uint8_t)b;
        c->branches[b].holders[0] = UINT64_C(1) << b;
    }
    for (unsigned s = 0; s < 80; s++) {
        c->forked = true;
        check_forks_tick(c);
        c->forked = false; /* the check knows better */
        sim_world_run_for(m.w, SIM_SECOND);
        if (s == 40)
            expect_silence(&m);
    }
    assert_true(c->counters.evaluated[SIM_CHECK_FORK] > 0);
    end_with(&m, SIM_CHECK_FORK);
}

/* A name that no copy excuses. */
static void test_name_twice(void **state)
{
    struct mesh m;

    (void)state;
    start(&m, 2, 0);
    put_for(&m, "1", SIM_SECOND);
    await(&m, all_alike, "alike");
    m.w->check->forked = true;
    struct commit_result r = {.events_count = 1};
    struct commit_event e = {.own = false};
    const struct sim_model_event *known =
        sim_model_find(m.w->check->model, m.w->check->hosts[1].actor, 1);
    assert_non_null(known);
    uint8_t *bytes = malloc(known->size);
    assert_non_null(bytes);
    memcpy(bytes, known->bytes, known->size);
    bytes[known->size - 1] ^= 1;
    e.bytes = slice_of(bytes, known->size);
    e.dot = known->decoded.dot;
    r.events = &e;
    check_names(m.w->check, &m.w->check->hosts[0], &r);
    free(bytes);
    end_with(&m, SIM_CHECK_ONE_EVENT);
}

/* An acknowledged write that is nowhere. */
static void test_write_gone(void **state)
{
    struct local_op op = {.kind = OP_PUT,
                          .key = slice_of_string("unique/gone"),
                          .value = slice_of_string("value")};
    struct intent *i = intent_new(INTENT_LOCAL);
    struct mesh m;

    (void)state;
    start(&m, 3, 0);
    assert_non_null(i);
    assert_int_equal(intent_add_op(i, &op), 0);
    check_unique_write(m.w->check, 1, i);
    intent_free(i);
    sim_check_quiescent(m.w->check, NULL);
    end_with(&m, SIM_CHECK_ACKNOWLEDGED);
}

/* ---- bits that rot ---- */

static void rot(struct mesh *m, uint64_t seed)
{
    struct sim_plan_line l = line_of(SIM_DEED_BIT_ROT, 1, 0);

    start(m, seed, SCRUB_MS);
    put_for(m, "0123", 5 * SIM_SECOND);
    await(m, all_alike, "alike before");
    for (unsigned n = 0; n < 6; n++) {
        l.id = 100 * seed + n;
        l.params[SIM_PARAM_COUNT] = 1 + n;
        begin(m, &l);
        put_for(m, "0123", SIM_SECOND);
        sim_world_run_for(m->w, 20 * SIM_SECOND);
        if (n == 3)
            sim_host_crash(m->w->hosts[1]);
        sim_world_run_for(m->w, 40 * SIM_SECOND);
        await(m, all_may_write, "whole again");
    }
    assert_true(m->w->faults.counts[SIM_DEED_BIT_ROT] > 10);
    put_for(m, "0123", SIM_SECOND);
    judge(m);
}

static void test_rot(void **state)
{
    (void)state;
    each_seed(rot);
}

/* Seeds that hit the record of the host's own name, which the head stands in
 * for in ordinary commits. */
static void test_rot_of_the_own_name(void **state)
{
    struct mesh m;

    (void)state;
    rot(&m, 12);
    rot(&m, 14);
}

/* One bit of every copy that a page has of the record: of which one LMDB reads
 * nobody says. */
static void rot_record(struct sim_disk *d, const MDB_val *k, const MDB_val *v)
{
    const uint8_t *value = v->mv_data;
    const uint8_t *key = k->mv_data;
    uint8_t node[4096];
    size_t size = k->mv_size + v->mv_size;
    uint8_t *at = d->map;
    const uint8_t *end = d->map + d->size;
    bool any = false;

    if (size > sizeof node)
        return; /* on pages of its own */
    memcpy(node, key, k->mv_size);
    memcpy(node + k->mv_size, value, v->mv_size);
    while ((at = memmem(at, (size_t)(end - at), node, size)) != NULL) {
        at[size - 1] ^= 1;
        at += size;
        any = true;
    }
    assert_true(any);
}

/* Every record whose key begins with prefix and, of a named fact, is of that
 * name (NULL: any). */
static unsigned rot_records(struct mesh *m, unsigned host, uint8_t prefix,
                            const char *name)
{
    struct store *s = sim_host_store(m->w->hosts[host]);
    struct store_reader *r;
    MDB_cursor *cursor;
    MDB_val k, v;
    unsigned count = 0;

    assert_int_equal(store_reader_begin(s, &r), 0);
    assert_int_equal(mdb_cursor_open(r->txn.mdb, store_dbi(s), &cursor), 0);
    while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0) {
        struct slice key = slice_of(k.mv_data, k.mv_size);

        if (key.data[0] != prefix ||
            (name != NULL && !slice_equal(slice_of(key.data + 1, key.size - 1),
                                          slice_of_string(name))))
            continue;
        rot_record(sim_host_disk(m->w->hosts[host]), &k, &v);
        count++;
    }
    mdb_cursor_close(cursor);
    store_reader_release(r);
    sim_check_on_rot(m->w->check, host, false);
    return count;
}

static bool is_sound(struct sim_world *w, void *ctx)
{
    struct mesh *m = ctx;
    struct node_status s;

    if (!all_may_write(w, m))
        return false;
    node_status_read(sim_host_node(w->hosts[1]), &s);
    return s.heal.damaged == 0 && !s.heal.inconsistent &&
           s.heal.counters.scrubs > 0;
}

/* Damaged records of the host's own, before the next walk over all of them; it
 * goes on, or is started again, and is whole afterwards, with no help. */
static void rot_of_own(uint64_t seed, uint8_t prefix, const char *name,
                       bool crash)
{
    struct mesh m;

    start(&m, seed, SCRUB_MS);
    put_for(&m, "0123", 5 * SIM_SECOND);
    await(&m, all_alike, "alike before");
    if (rot_records(&m, 1, prefix, name) == 0)
        fail_msg("there is no %c %s", prefix, name != NULL ? name : "");
    if (crash)
        sim_host_crash(m.w->hosts[1]);
    put_for(&m, "0123", SIM_SECOND);
    await(&m, is_sound, name != NULL ? name : "all of them");
    put_for(&m, "0123", SIM_SECOND);
    judge(&m);
}

/* What it is, whom it trusts and knows: one by one, then all at once. */
static void test_rot_of_facts(void **state)
{
    static const char *const names[] = {
        META_INCARNATION, META_CERTIFICATE, META_AUTHORITY, META_GENERATION,
        META_HOST,        META_PEERS,       META_BIND,      META_READY,
        META_STANDING,    META_SPONSORS,    NULL,
    };

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        rot_of_own(1, SCHEMA_PREFIX_META, names[i], false);
        rot_of_own(2, SCHEMA_PREFIX_META, names[i], true);
    }
}

static void test_rot_of_the_vector(void **state)
{
    (void)state;
    rot_of_own(3, SCHEMA_PREFIX_STATE, NULL, false);
    rot_of_own(3, SCHEMA_PREFIX_STATE, NULL, true);
    rot_of_own(4, SCHEMA_PREFIX_ACTOR, NULL, false);
    rot_of_own(4, SCHEMA_PREFIX_ACTOR, NULL, true);
    rot_of_own(5, SCHEMA_PREFIX_OWN, NULL, false);
    rot_of_own(5, SCHEMA_PREFIX_OWN, NULL, true);
    rot_of_own(6, SCHEMA_PREFIX_ENTRY, NULL, false);
    rot_of_own(6, SCHEMA_PREFIX_ENTRY, NULL, true);
}

/* So much at once that hardly a record is whole. */
static void rot_of_nearly_all(struct mesh *m, uint64_t seed)
{
    struct sim_plan_line l = line_of(SIM_DEED_BIT_ROT, 1, 0);

    start(m, seed, SCRUB_MS);
    put_for(m, "0123", 5 * SIM_SECOND);
    await(m, all_alike, "alike before");
    l.id = 1000 + seed;
    l.params[SIM_PARAM_COUNT] = 300;
    begin(m, &l);
    put_for(m, "0123", SIM_SECOND);
    await(m, is_sound, "whole again");
    put_for(m, "0123", SIM_SECOND);
    judge(m);
}

static void test_rot_of_nearly_all(void **state)
{
    (void)state;
    each_seed(rot_of_nearly_all);
}

/* Nobody looks, and nothing mends it. */
static void test_rot_unmended(void **state)
{
    struct sim_plan_line l = line_of(SIM_DEED_BIT_ROT, 1, 0);
    struct mesh m;

    (void)state;
    start(&m, 1, 0);
    put_for(&m, "0123", 5 * SIM_SECOND);
    await(&m, all_alike, "alike before");
    l.params[SIM_PARAM_COUNT] = 40;
    begin(&m, &l);
    sim_world_run_for(m.w, SIM_SECOND);
    expect_silence(&m);
    sim_check_quiescent(m.w->check, NULL);
    end_with(&m, SIM_CHECK_STORE);
}

/* ---- syncs that lie ---- */

static void lie_for(struct mesh *m)
{
    struct sim_plan_line l = line_of(SIM_DEED_SYNC_LIE, 1, 10000);

    begin(m, &l);
    put_for(m, "013", 2 * SIM_SECOND);
    sim_net_isolate(m->w->net, 1, true);
    put_for(m, "013", 2 * SIM_SECOND);
    sim_presence_note(&m->w->presences[1]);
    sim_host_power_cut(m->w->hosts[1]);
    assert_true(m->w->faults.counts[SIM_DEED_SYNC_LIE] > 0);
    sim_net_isolate(m->w->net, 1, false);
}

/* What had left is kept, what had not is lost with the lie alone. */
static void lie(struct mesh *m, uint64_t seed)
{
    start(m, seed, SCRUB_MS);
    put_for(m, "0123", 2 * SIM_SECOND);
    lie_for(m);
    sim_presence_kick(&m->w->presences[1]);
    put_for(m, "0123", 5 * SIM_SECOND);
    sim_world_run_for(m->w, 20 * SIM_SECOND);
    await(m, all_may_write, "everybody may write");
    judge(m);
}

static void test_lie(void **state)
{
    (void)state;
    each_seed(lie);
}

/* The same, and nobody has an excuse. */
static void test_lie_untold(void **state)
{
    struct mesh m;

    (void)state;
    start(&m, 1, SCRUB_MS);
    put_for(&m, "0123", 2 * SIM_SECOND);
    lie_for(&m);
    m.w->check->hosts[1].fresh = m.w->check->hosts[1].put_back = false;
    sim_presence_kick(&m.w->presences[1]);
    sim_world_run_for(m.w, SIM_SECOND);
    end_with(&m, SIM_CHECK_VECTOR_BACK);
}

/* ---- values that end ---- */

/* A watcher believes in a value whose end the host's last commit has passed
 * (late), or was told of an end before any clock had come to it. */
static void watch_end(bool late)
{
    struct sim_check_watch *watch = NULL;
    struct local_op op = {.kind = OP_PUT,
                          .key = slice_of_string("ends"),
                          .value = slice_of_string("value")};
    struct intent *i = intent_new(INTENT_LOCAL);
    struct mesh m;

    start(&m, 1, 0);
    struct check_host *h = &m.w->check->hosts[1];
    uint64_t now_ms = sim_host_wall_ms(m.w->hosts[1]);
    op.expires = hlc_make(now_ms + (late ? 500000 : 5000), 0);
    assert_non_null(i);
    assert_int_equal(intent_add_op(i, &op), 0);
    assert_int_equal(sim_check_watch_create(&watch, m.w->check, 1, ""), 0);
    assert_int_equal(sim_host_write(m.w->hosts[1], i, written, &m), 0);
    sim_world_run_for(m.w, 10 * SIM_SECOND);
    sim_check_watch_poll(watch, 0);
    expect_silence(&m);
    put_for(&m, "0", SIM_SECOND / 4);
    sim_world_run_for(m.w, SIM_SECOND);
    h->wall_max_ms = h->told_wall_ms = late ? now_ms + 600000 : now_ms;
    h->floor_time = 0;          /* no floor has passed it either */
    m.w->check->judging = true; /* looks at once */
    h->revision++;              /* something came since */
    sim_check_watch_poll(watch, 0);
    end_with(&m, SIM_CHECK_WATCH);
}

static void test_watch_end(void **state)
{
    (void)state;
    watch_end(true);
    watch_end(false);
}

/* What an uploader said its target covered is not restored. */
static void test_cover(void **state)
{
    struct check_cover *k;
    struct mesh m;
    struct vv empty;

    (void)state;
    start(&m, 1, 0);
    put_for(&m, "0", SIM_SECOND);
    m.w->check->options.uploaders = 1;
    check_cover_look(m.w->check, &m.w->check->hosts[0]);
    k = m.w->check->hosts[0].cover;
    assert_non_null(k);
    vv_init(&empty);
    check_cover_restored(m.w->check, &empty, false);
    expect_silence(&m); /* it has not said so yet */
    check_cover_look(m.w->check, &m.w->check->hosts[0]);
    check_cover_say(m.w->check, &m.w->check->hosts[0]);
    check_cover_restored(m.w->check, &empty, false);
    end_with(&m, SIM_CHECK_RESTORE);
}

/* ---- a clock ten years ahead ---- */

/* It boots with such a clock, alone, and writes: nobody can take that. */
static void years(struct mesh *m, uint64_t seed)
{
    struct sim_plan_line l = line_of(SIM_DEED_CLOCK_YEARS, 2, 30000);

    start(m, seed, 0);
    put_for(m, "0123", 2 * SIM_SECOND);
    await(m, all_alike, "alike before");
    l.params[SIM_PARAM_COUNT] = 10;
    sim_net_isolate(m->w->net, 2, true);
    sim_host_crash(m->w->hosts[2]);
    begin(m, &l);
    sim_presence_kick(&m->w->presences[2]);
    sim_world_run_for(m->w, SIM_SECOND);
    unsigned before = m->acknowledged;
    put(m, 2);
    sim_world_run_for(m->w, SIM_SECOND);
    assert_int_equal(m->result, 0);
    assert_int_equal(m->acknowledged, before + 1);
    sim_net_isolate(m->w->net, 2, false);
    put_for(m, "013", 5 * SIM_SECOND); /* the others never stop */
    assert_int_equal(m->result, 0);
    put(m, 2);
    sim_world_run_for(m->w, SIM_SECOND);
    assert_int_equal(m->result, CM_ERR_CLOCK);
    sim_world_run_for(m->w, 60 * SIM_SECOND);
    await(m, all_may_write, "its clock is right, and it may write");
    put(m, 2);
    sim_world_run_for(m->w, SIM_SECOND);
    assert_int_equal(m->result, 0);
    judge(m);
}

static void test_years(void **state)
{
    (void)state;
    each_seed(years);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clone_alike),
        cmocka_unit_test(test_clone_other),
        cmocka_unit_test(test_fork_unfound),
        cmocka_unit_test(test_name_twice),
        cmocka_unit_test(test_write_gone),
        cmocka_unit_test(test_rot),
        cmocka_unit_test(test_rot_of_the_own_name),
        cmocka_unit_test(test_rot_of_nearly_all),
        cmocka_unit_test(test_rot_of_facts),
        cmocka_unit_test(test_rot_of_the_vector),
        cmocka_unit_test(test_rot_unmended),
        cmocka_unit_test(test_lie),
        cmocka_unit_test(test_lie_untold),
        cmocka_unit_test(test_watch_end),
        cmocka_unit_test(test_cover),
        cmocka_unit_test(test_years),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
