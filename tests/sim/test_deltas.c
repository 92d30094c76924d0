/* Goal: when all machines are gone at once, the target holds whatever an
 * uploader says it has covered; no more than the recovery-point window is
 * missing of what was acknowledged by nodes that had an uploader and a store
 * that worked; and each snapshot with its deltas is just the state of its
 * vector.
 * Method: histories of four hosts, two of which put snapshots and deltas by
 * themselves, under partitions, power cuts and an object store that fails, is
 * slow or lists stale. At a random moment all is over: what the target holds is
 * read by production code (node/snapshot_state.h), joined, and compared with
 * what uploaders had and clients were told, and with the reference model. In
 * half of the histories nothing is wrong for one window before the end.
 *
 * SIM_SEED=N starts from that seed, SIM_SEEDS=N tries so many; SIM_LOG=1 shows
 * the nodes' own lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crdt/join.h"
#include "node/snapshot_state.h"
#include "sim/check_internal.h"
#include "sim/world.h"
#include "sim/world_fault.h"
#include "tests/sim/run_fixture.h"

#define SEEDS 16
#define HOSTS 4
#define UPLOADERS 2
#define KEYS 20
#define STEPS 150
#define DELTA_MS 2000
/* An interval until it is due, one more behind a snapshot or a delta that is
 * under way, and what these take. */
#define WINDOW_US (3 * DELTA_MS * SIM_MS)
#define ACKS_MAX (2 * STEPS)
#define LOOKS_MAX (4 * STEPS)
#define SETTLE_US (60 * SIM_SECOND)
#define LIMIT_US (240 * SIM_SECOND)

struct ack {
    struct dot dot;
    uint64_t at_us;
};

/* What an uploader had, when. */
struct look {
    uint64_t wall_ms;
    struct vv vv;
};

struct history {
    struct sim_world *w;
    uint64_t seed;
    uint64_t number; /* of draws */
    struct ack acks[ACKS_MAX];
    size_t acks_count;
    struct look looks[UPLOADERS][LOOKS_MAX];
    size_t looks_count[UPLOADERS];
    uint64_t covered_ms[UPLOADERS]; /* the last that it said */
    struct vv restored;
    size_t sources;
    uint64_t deltas;
};

static uint64_t draw(struct history *h, uint64_t below)
{
    return sim_fate_draw(&h->w->fate, SIM_FATE_WORKLOAD, 78, h->number++) %
           below;
}

/* ---- a history ---- */

static void begin(struct history *h, uint64_t seed)
{
    struct sim_world_options o = sim_world_default_options(seed, HOSTS);
    struct cm_detail detail = {""};

    memset(h, 0, sizeof *h);
    h->seed = seed;
    o.log = getenv("SIM_LOG") != NULL ? stderr : NULL;
    o.uploaders = UPLOADERS;
    o.delta_ms = DELTA_MS;
    o.floor_interval_ms = seed % 3 == 0 ? 500 : 0;
    assert_int_equal(sim_world_create(&h->w, &o, &detail), 0);
    boot_or_fail(h->w, 0, seed);
    for (unsigned i = 1; i < HOSTS; i++)
        sim_world_join(h->w, i, 0);
    assert_true(sim_world_run_until(h->w, sim_world_converged, NULL, LIMIT_US));
    vv_init(&h->restored);
}

static void on_written(void *ctx, const struct intent *i, bool answered)
{
    struct history *h = ctx;

    if (!answered || i->result != 0 || !i->wrote || h->acks_count == ACKS_MAX)
        return;
    h->acks[h->acks_count++] =
        (struct ack){.dot = i->dot, .at_us = h->w->sched.now_us};
}

static void write_some(struct history *h, unsigned host)
{
    struct intent *i = intent_new(INTENT_LOCAL);
    char key[32], value[32];
    struct local_op op = {.kind = draw(h, 4) == 0 ? OP_DEL : OP_PUT};

    assert_non_null(i);
    (void)snprintf(key, sizeof key, "key/%" PRIu64, draw(h, KEYS));
    (void)snprintf(value, sizeof value, "%" PRIu64, draw(h, 100000));
    op.key = slice_of_string(key);
    if (op.kind == OP_PUT)
        op.value = slice_of_string(value);
    assert_int_equal(intent_add_op(i, &op), 0);
    (void)sim_host_write(h->w->hosts[host], i, on_written, h);
}

static void look(struct history *h, unsigned host)
{
    struct node *n = sim_host_node(h->w->hosts[host]);
    struct store_reader *r = NULL;
    struct node_status s;
    struct look *l = &h->looks[host][h->looks_count[host]];

    if (n == NULL || !node_is_ready(n) ||
        store_reader_begin(node_store(n), &r) != 0)
        return;
    assert_true(h->looks_count[host] < LOOKS_MAX);
    l->wall_ms = sim_host_wall_ms(h->w->hosts[host]);
    assert_int_equal(store_vv(r, &l->vv), 0);
    store_reader_release(r);
    h->looks_count[host]++;
    node_status_read(n, &s);
    if (s.snapshot_covered_wall_ms > h->covered_ms[host])
        h->covered_ms[host] = s.snapshot_covered_wall_ms;
}

static void pass_time(struct history *h, uint64_t us)
{
    sim_world_run_for(h->w, us);
    for (unsigned i = 0; i < UPLOADERS; i++)
        look(h, i);
}

static void fault(struct history *h, enum sim_deed deed, int64_t ppm,
                  int64_t ms)
{
    struct sim_plan_line line = {.id = 1000 + h->number, .deed = deed};
    struct cm_detail detail = {""};

    sim_hosts_add(&line.hosts, (unsigned)draw(h, UPLOADERS));
    line.params[SIM_PARAM_FOR] = (int64_t)(1000 + draw(h, 5000));
    line.params[SIM_PARAM_PPM] = ppm;
    line.params[SIM_PARAM_MS] = ms;
    assert_int_equal(sim_world_fault(h->w, &line, &detail), 0);
}

static void disturb(struct history *h)
{
    unsigned host = (unsigned)draw(h, HOSTS);

    switch (draw(h, 8)) {
    case 0:
        sim_world_power_cut(h->w, host);
        pass_time(h, draw(h, 1000) * SIM_MS);
        boot_or_fail(h->w, host, h->seed);
        break;
    case 1:
        sim_net_isolate(h->w->net, host, true);
        break;
    case 2:
        sim_net_set_group(h->w->net, host, (unsigned)draw(h, 2));
        break;
    case 3:
        fault(h, SIM_DEED_OBJECTS_ERROR, 200000, 0);
        break;
    case 4:
        fault(h, SIM_DEED_OBJECTS_SLOW, 0, 700);
        break;
    case 5:
        fault(h, SIM_DEED_OBJECTS_STALE, 500000, 0);
        break;
    default:
        sim_net_heal(h->w->net);
        break;
    }
}

static bool is_calm(struct sim_world *w, void *ctx)
{
    return sim_world_faults(w) == 0 && sim_world_converged(w, ctx);
}

/* Writes go on to the very end. */
static void live(struct history *h, bool calm)
{
    uint64_t steps = STEPS / 2 + draw(h, STEPS / 2);
    uint64_t end_us;

    for (uint64_t i = 0; i < steps; i++) {
        unsigned host = (unsigned)draw(h, HOSTS);

        if (sim_world_is_ready(h->w, host))
            write_some(h, host);
        if (draw(h, 6) == 0)
            disturb(h);
        pass_time(h, draw(h, 300) * SIM_MS);
    }
    if (!calm)
        return;
    sim_net_heal(h->w->net);
    assert_true(sim_world_run_until(h->w, is_calm, NULL, LIMIT_US));
    sim_world_run_for(h->w, SETTLE_US); /* until a failed one was retried */
    end_us = h->w->sched.now_us + WINDOW_US + draw(h, 4000) * SIM_MS;
    while (h->w->sched.now_us < end_us && h->acks_count < ACKS_MAX) {
        write_some(h, (unsigned)draw(h, HOSTS));
        pass_time(h, (100 + draw(h, 200)) * SIM_MS);
    }
}

/* ---- what is left ---- */

/* The state of its vector, as the model has it. */
static void compare(struct history *h, const struct snapshot_state *s)
{
    struct sim_model *m = h->w->check->model;
    const struct vv *vv = snapshot_state_vv(s);
    uint64_t *seqs = calloc(sim_model_actors(m) + vv->count + 1, sizeof *seqs);
    struct sim_model_state *state = sim_model_state_create(m);
    struct digest lanes;
    struct hash expected;

    assert_non_null(seqs);
    for (size_t i = 0; i < vv->count; i++)
        seqs[sim_model_actor(m, &vv->entries[i].incarnation)] =
            vv->entries[i].seq;
    sim_model_state_replay(state, seqs, sim_model_actors(m), 0);
    lanes = sim_model_state_digest(state);
    expected = digest_finish(&lanes, vv);
    if (!hash_equal(&expected, snapshot_state_digest(s)))
        fail_msg("seed %" PRIu64 ": %" PRIu64 " deltas after snapshot %" PRIu64
                 " do not make the state of their vector",
                 h->seed, s->deltas, s->manifest.sequence);
    sim_model_state_free(state);
    free(seqs);
}

static void take(struct history *h, struct object_store *store,
                 const char *name, const char *scratch)
{
    struct snapshot_state_config c = {
        .store = store,
        .name = name,
        .authority = h->w->authority.public_key,
        .scratch = scratch,
        .hlc_limit = UINT64_MAX,
    };
    struct snapshot_state *s = NULL;
    struct cm_detail detail = {""};
    struct vv joined;

    if (snapshot_state_open(&s, &c, &detail) != 0)
        fail_msg("seed %" PRIu64 ": %s: %s", h->seed, name, detail.text);
    compare(h, s);
    assert_int_equal(vv_join(&joined, &h->restored, snapshot_state_vv(s)), 0);
    vv_release(&h->restored);
    h->restored = joined;
    h->sources++;
    h->deltas += s->deltas;
    snapshot_state_close(s);
}

static void restore(struct history *h)
{
    char scratch[SIM_HOST_PATH_MAX + 16];
    struct snapshot_listing listing;
    struct cm_detail detail = {""};
    struct object_store store;
    char target[SIM_HOST_PATH_MAX];

    sim_objects_enter(NULL); /* nothing is wrong with the store any more */
    sim_world_target(h->w, target);
    (void)snprintf(scratch, sizeof scratch, "%s/restore", h->w->directory);
    assert_int_equal(object_store_open(&store, target, 0, &detail), 0);
    assert_int_equal(
        snapshot_list(&listing, target, h->w->authority.public_key, &detail),
        0);
    for (size_t i = 0; i < listing.count; i++) {
        assert_int_equal(listing.items[i].error, 0);
        take(h, &store, listing.items[i].name, scratch);
    }
    snapshot_listing_release(&listing);
    object_store_close(&store);
}

/* "All from before is at the target." */
static void expect_covered(struct history *h)
{
    for (unsigned u = 0; u < UPLOADERS; u++) {
        for (size_t i = 0; i < h->looks_count[u]; i++) {
            const struct look *l = &h->looks[u][i];

            if (l->wall_ms < h->covered_ms[u] &&
                !vv_dominates(&h->restored, &l->vv))
                fail_msg("seed %" PRIu64 ": host %u says that %" PRIu64
                         " ms are covered; what it had %" PRIu64
                         " ms before is lost",
                         h->seed, u, h->covered_ms[u],
                         h->covered_ms[u] - l->wall_ms);
        }
    }
}

static size_t expect_window(struct history *h, uint64_t lost_us)
{
    size_t ret = 0;

    for (size_t i = 0; i < h->acks_count; i++) {
        const struct ack *a = &h->acks[i];

        if (a->at_us + WINDOW_US > lost_us) {
            ret += !vv_covers(&h->restored, &a->dot);
            continue;
        }
        if (!vv_covers(&h->restored, &a->dot))
            fail_msg("seed %" PRIu64 ": a write acknowledged %" PRIu64
                     " ms before the loss is gone",
                     h->seed, (lost_us - a->at_us) / SIM_MS);
    }
    return ret;
}

static void finish(struct history *h)
{
    const struct sim_check_violation *v = sim_check_violation(h->w->check);

    if (v != NULL)
        fail_msg("seed %" PRIu64 ": %s", h->seed, v->text);
    for (unsigned u = 0; u < UPLOADERS; u++)
        for (size_t i = 0; i < h->looks_count[u]; i++)
            vv_release(&h->looks[u][i].vv);
    vv_release(&h->restored);
    sim_world_free(h->w);
}

static void test_total_loss(void **state)
{
    uint64_t first = setting("SIM_SEED", 1);
    uint64_t count = setting("SIM_SEEDS", SEEDS);
    uint64_t deltas = 0;
    size_t sources = 0, lost = 0, kept = 0;

    (void)state;
    for (uint64_t seed = first; seed < first + count; seed++) {
        struct history *h = calloc(1, sizeof *h);
        bool calm = seed % 2 == 0;
        uint64_t lost_us;

        assert_non_null(h);
        begin(h, seed);
        live(h, calm);
        lost_us = h->w->sched.now_us;
        for (unsigned i = 0; i < HOSTS; i++)
            sim_world_power_cut(h->w, i);
        restore(h);
        expect_covered(h);
        if (calm) {
            size_t gone = expect_window(h, lost_us);

            lost += gone;
            kept += h->acks_count - gone;
        }
        deltas += h->deltas;
        sources += h->sources;
        finish(h);
        free(h);
    }
    print_message("%zu snapshots with %" PRIu64 " deltas; of the calm losses "
                  "%zu writes were kept, %zu younger than the window gone\n",
                  sources, deltas, kept, lost);
    assert_true(deltas > 0 && kept > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_total_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
