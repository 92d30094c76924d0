/* Goal: snapshots of one mesh, taken anywhere at any time, join in any order
 * and any number to the one state that belongs to their joined vector, floors
 * and seals included; joined with a living state, one that is older changes
 * nothing, and what was deleted stays deleted, also where a floor has taken its
 * tombstone away.
 * Method: histories of four hosts under partitions and power cuts, with floors
 * and an eviction, leave some dozens of snapshots each. Random lists of them
 * are joined by the rules of crdt/join.h, standing.h and collapse.h alone;
 * what comes out is compared with the reference model's account of that vector,
 * and where the vector is that of the living mesh, with what its hosts show.
 * JOINS in all.
 *
 * SIM_SEED=N starts from that seed; SIM_LOG=1 shows the nodes' own lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/collapse.h"
#include "crdt/join.h"
#include "node/standing_read.h"
#include "sim/check_internal.h"
#include "sim/world.h"
#include "sim/world_order.h"
#include "tests/sim/run_fixture.h"

#define HISTORIES 10
#define JOINS 10000
#define JOINED_MAX 8 /* snapshots in one join */
#define SNAPSHOTS 40
#define HOSTS 4
#define KEYS 12
#define STEPS 160
#define CELLS_MAX 512
#define VECTORS_MAX 4096
#define FLOOR_MS 400
#define LIMIT_US (240 * SIM_SECOND)

struct cell {
    struct entry_id id; /* borrowed from a snapshot's bytes */
    struct entry entry; /* owned; its slices likewise */
};

/* A state: of a host, or joined. */
struct state {
    struct vv vv;
    struct buffer standing; /* the record of it */
    struct cell cells[CELLS_MAX];
    size_t count;
    struct buffer bytes; /* of a snapshot's entries */
};

/* What the model says of a vector, kept because many joins end alike. */
struct expected {
    struct hash vv;
    struct hash digest;
};

struct history {
    struct sim_world *w;
    uint64_t seed;
    uint64_t number;                        /* of draws */
    struct state *snapshots[SNAPSHOTS + 1]; /* the last one: the living state */
    size_t count;
    struct hash live; /* its hosts' digest */
    struct expected known[VECTORS_MAX];
    size_t known_count;
    struct store_reader *reader; /* of host 0, for what every state shares */
    uint64_t joins, refused, whole;
};

static uint64_t draw(struct history *h, uint64_t below)
{
    return sim_fate_draw(&h->w->fate, SIM_FATE_WORKLOAD, 77, h->number++) %
           below;
}

/* ---- states ---- */

static struct state *state_new(void)
{
    struct state *s = calloc(1, sizeof *s);

    assert_non_null(s);
    vv_init(&s->vv);
    buffer_init(&s->standing, 1u << 20);
    buffer_init(&s->bytes, 16u << 20);
    return s;
}

static void state_free(struct state *s)
{
    for (size_t i = 0; i < s->count; i++)
        entry_release(&s->cells[i].entry);
    vv_release(&s->vv);
    buffer_release(&s->standing);
    buffer_release(&s->bytes);
    free(s);
}

static void read_space(struct state *s, struct store_reader *r,
                       enum space space)
{
    struct store_cursor *c;
    const struct store_item *item;

    assert_int_equal(
        store_cursor_open(r, space, slice_of(NULL, 0), false, NULL, &c), 0);
    while (store_cursor_next(c, &item) == 0) {
        entry_pack(&s->bytes, &item->id, &item->entry);
        s->count++;
    }
    store_cursor_close(c);
}

/* All that a snapshot has; the reader is one transaction's. */
static struct state *take(struct store_reader *r)
{
    struct state *s = state_new();
    struct unpacker u;
    struct slice record;

    assert_int_equal(store_vv(r, &s->vv), 0);
    if (store_meta(r, META_STANDING, &record) == 0)
        buffer_append_slice(&s->standing, record);
    for (int space = SPACE_REGISTER; space <= SPACE_LAST; space++)
        read_space(s, r, (enum space)space);
    assert_int_equal(s->bytes.error, 0);
    assert_true(s->count <= CELLS_MAX);
    unpack_init(&u, buffer_slice(&s->bytes));
    for (size_t i = 0; i < s->count; i++)
        entry_unpack(&u, &s->cells[i].id, &s->cells[i].entry);
    assert_int_equal(u.error, 0);
    return s;
}

static void digest_of(const struct state *s, struct digest *ret)
{
    digest_init(ret);
    for (size_t i = 0; i < s->count; i++) {
        for (size_t k = 0; k < s->cells[i].entry.count; k++)
            digest_add(ret, &s->cells[i].id, &s->cells[i].entry.siblings[k]);
    }
}

static struct entry *find(struct state *s, const struct entry_id *id)
{
    size_t low = 0;
    size_t high = s->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = entry_id_compare(&s->cells[middle].id, id);

        if (order == 0)
            return &s->cells[middle].entry;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* ---- joining ---- */

static int get_entry(void *ctx, const struct entry_id *id, struct entry *ret)
{
    const struct entry *e = find(ctx, id);

    ret->count = 0;
    if (e == NULL || e->count == 0)
        return CM_ERR_NOT_FOUND;
    for (size_t i = 0; i < e->count; i++)
        assert_int_equal(entry_add_sibling(ret, &e->siblings[i]), 0);
    return 0;
}

/* Settling a join only takes siblings away. */
static int put_entry(void *ctx, const struct entry_id *id,
                     const struct entry *before, const struct entry *after)
{
    struct entry *e = find(ctx, id);

    assert_non_null(e);
    assert_true(after->count < before->count && before->count == e->count);
    e->count = 0;
    for (size_t i = 0; i < after->count; i++)
        assert_int_equal(entry_add_sibling(e, &after->siblings[i]), 0);
    return 0;
}

static struct standing *standing_of(const struct history *h,
                                    const struct state *s)
{
    struct standing *ret = NULL;

    assert_int_equal(standing_fresh(&ret, h->reader), 0);
    assert_int_equal(standing_read_record(ret, buffer_slice(&s->standing)), 0);
    return ret;
}

static void join_cells(struct state *to, const struct state *a,
                       const struct state *b)
{
    static const struct entry nothing = {.count = 0};
    size_t i = 0;
    size_t k = 0;

    while (i < a->count || k < b->count) {
        int order = i == a->count ? 1
                    : k == b->count
                        ? -1
                        : entry_id_compare(&a->cells[i].id, &b->cells[k].id);
        struct cell *c = &to->cells[to->count];

        c->id = order <= 0 ? a->cells[i].id : b->cells[k].id;
        assert_int_equal(
            entry_join(&c->entry, order <= 0 ? &a->cells[i].entry : &nothing,
                       &a->vv, order >= 0 ? &b->cells[k].entry : &nothing,
                       &b->vv),
            0);
        to->count++;
        assert_true(to->count < CELLS_MAX);
        i += order <= 0;
        k += order >= 0;
    }
}

static void drop_empty(struct state *s)
{
    size_t kept = 0;

    for (size_t i = 0; i < s->count; i++) {
        if (s->cells[i].entry.count == 0)
            entry_release(&s->cells[i].entry);
        else
            s->cells[kept++] = s->cells[i];
    }
    s->count = kept;
}

/* What writer_cut.c does: what only grows of both, the joined entries, then
 * whatever is due, and the floor of both over all of it. */
static void settle(struct state *s, struct standing *joined)
{
    struct standing_store store = {
        .ctx = s, .get = get_entry, .put = put_entry};
    struct standing_changes changes;

    for (size_t i = 0; i < s->count; i++) {
        const struct cell *c = &s->cells[i];

        if (c->id.space > SPACE_CLIENT_LAST && c->entry.count > 0)
            assert_int_equal(standing_load(joined, &c->id, &c->entry), 0);
    }
    assert_int_equal(standing_settle(joined, &store, &s->vv, &changes), 0);
    for (size_t i = 0; i < s->count; i++)
        entry_collapse(&s->cells[i].entry, standing_floor(joined),
                       standing_floor_time(joined), NULL);
    drop_empty(s);
    standing_pack(&s->standing, joined);
    assert_int_equal(s->standing.error, 0);
}

/* NULL: one lies beyond a seal of the other, or is of another order. */
static struct state *join(const struct history *h, const struct state *a,
                          const struct state *b)
{
    struct standing *joined = standing_of(h, a);
    struct standing *other = standing_of(h, b);
    struct state *s = NULL;

    if (standing_admits(joined, NULL, &a->vv, other, &b->vv) == 0) {
        s = state_new();
        assert_int_equal(vv_join(&s->vv, &a->vv, &b->vv), 0);
        join_cells(s, a, b);
        assert_int_equal(standing_join(joined, other), 0);
        settle(s, joined);
    }
    standing_free(joined);
    standing_free(other);
    return s;
}

/* ---- what has to come out ---- */

static const struct hash *expect(struct history *h, const struct vv *vv)
{
    struct sim_model *m = h->w->check->model;
    struct hash name = vv_hash(vv);
    struct sim_model_state *state;
    struct digest digest;
    uint64_t *seqs;

    for (size_t i = 0; i < h->known_count; i++) {
        if (hash_equal(&h->known[i].vv, &name))
            return &h->known[i].digest;
    }
    assert_true(h->known_count < VECTORS_MAX);
    seqs = calloc(sim_model_actors(m), sizeof *seqs);
    assert_non_null(seqs);
    for (size_t i = 0; i < vv->count; i++)
        seqs[sim_model_actor(m, &vv->entries[i].incarnation)] =
            vv->entries[i].seq;
    state = sim_model_state_create(m);
    sim_model_state_replay(state, seqs, sim_model_actors(m), 0);
    digest = sim_model_state_digest(state);
    h->known[h->known_count] =
        (struct expected){.vv = name, .digest = digest_finish(&digest, vv)};
    sim_model_state_free(state);
    free(seqs);
    return &h->known[h->known_count++].digest;
}

static void look_at(struct history *h, const struct state *s)
{
    const struct state *live = h->snapshots[h->count - 1];
    struct digest lanes;
    struct hash found;

    digest_of(s, &lanes);
    found = digest_finish(&lanes, &s->vv);
    if (!hash_equal(&found, expect(h, &s->vv)))
        fail_msg("seed %" PRIu64 ", join %" PRIu64
                 ": the joined state is not that of its vector",
                 h->seed, h->joins);
    if (!vv_equal(&s->vv, &live->vv))
        return;
    h->whole++;
    assert_true(hash_equal(&found, &h->live));
    assert_true(
        slice_equal(buffer_slice(&s->standing), buffer_slice(&live->standing)));
}

/* A random list of snapshots, from left to right. */
static void join_some(struct history *h)
{
    size_t wanted = 2 + (size_t)draw(h, JOINED_MAX - 1);
    struct state *joined = NULL;

    for (size_t i = 0; i < wanted; i++) {
        const struct state *next = h->snapshots[draw(h, h->count)];
        struct state *both;

        if (joined == NULL)
            joined = join(h, next, next); /* with itself: a copy */
        both = joined != NULL ? join(h, joined, next) : NULL;
        if (both == NULL) {
            h->refused++;
            continue;
        }
        state_free(joined);
        joined = both;
    }
    h->joins++;
    assert_non_null(joined);
    look_at(h, joined);
    state_free(joined);
}

/* ---- a history ---- */

static void ignore(void *ctx, const struct intent *i, bool answered)
{
    (void)ctx;
    (void)i;
    (void)answered;
}

static void add_op(struct history *h, struct intent *i, unsigned key,
                   char ret_text[2][32])
{
    static const enum op_kind kinds[] = {OP_PUT,     OP_PUT,        OP_PUT,
                                         OP_DEL,     OP_DEL,        OP_SET_ADD,
                                         OP_SET_ADD, OP_SET_REMOVE, OP_REVOKE};
    struct local_op op = {.kind =
                              kinds[draw(h, sizeof kinds / sizeof kinds[0])]};

    (void)snprintf(ret_text[0], 32, "key/%u", key);
    (void)snprintf(ret_text[1], 32, "%" PRIu64, draw(h, 1000));
    op.key = slice_of_string(ret_text[0]);
    if (op.kind == OP_REVOKE && draw(h, 4) != 0)
        op.kind = OP_DEL; /* it ends a key's life here: rarely */
    if (op.kind == OP_SET_ADD || op.kind == OP_SET_REMOVE)
        op.element = slice_of(ret_text[1], 1);
    else if (op.kind == OP_PUT)
        op.value = slice_of_string(ret_text[1]);
    assert_int_equal(intent_add_op(i, &op), 0);
}

static void write_some(struct history *h, unsigned host)
{
    struct intent *i = intent_new(INTENT_LOCAL);
    char text[2][32];
    unsigned key = (unsigned)draw(h, KEYS);
    unsigned count = draw(h, 4) == 0 ? 3 : 1; /* a transaction now and then */

    assert_non_null(i);
    for (unsigned k = 0; k < count; k++)
        add_op(h, i, (key + k) % KEYS, text);
    (void)sim_host_write(h->w->hosts[host], i, ignore, NULL);
}

static void snapshot(struct history *h, unsigned host)
{
    struct store_reader *r = NULL;

    assert_true(h->count <= SNAPSHOTS);
    if (!sim_world_is_ready(h->w, host) ||
        store_reader_begin(sim_host_store(h->w->hosts[host]), &r) != 0)
        return;
    h->snapshots[h->count++] = take(r);
    store_reader_release(r);
}

static void disturb(struct history *h)
{
    unsigned host = (unsigned)draw(h, HOSTS);

    switch (draw(h, 5)) {
    case 0:
        sim_world_power_cut(h->w, host);
        sim_world_run_for(h->w, draw(h, 1000) * SIM_MS);
        boot_or_fail(h->w, host, h->seed);
        break;
    case 1:
        sim_net_isolate(h->w->net, host, true);
        break;
    case 2:
        sim_net_set_group(h->w->net, host, (unsigned)draw(h, 2));
        break;
    default:
        sim_net_heal(h->w->net);
        break;
    }
}

static void begin(struct history *h, uint64_t seed)
{
    struct sim_world_options options = sim_world_default_options(seed, HOSTS);
    struct cm_detail detail = {""};

    memset(h, 0, sizeof *h);
    h->seed = seed;
    options.log = getenv("SIM_LOG") != NULL ? stderr : NULL;
    options.floor_interval_ms = FLOOR_MS;
    assert_int_equal(sim_world_create(&h->w, &options, &detail), 0);
    boot_or_fail(h->w, 0, seed);
    for (unsigned i = 1; i < HOSTS; i++)
        sim_world_join(h->w, i, 0);
    assert_true(sim_world_run_until(h->w, sim_world_converged, NULL, LIMIT_US));
}

static void live(struct history *h)
{
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned host = (unsigned)draw(h, HOSTS);

        if (sim_world_is_ready(h->w, host))
            write_some(h, host);
        if (draw(h, 8) == 0)
            disturb(h);
        if (step == STEPS / 2 && h->seed % 2 == 0) {
            struct sim_hosts victims = {{0}};

            sim_net_heal(h->w->net);
            sim_hosts_add(&victims, HOSTS - 1);
            sim_world_evict(h->w, 0, &victims, 0);
        }
        sim_world_run_for(h->w, draw(h, 200) * SIM_MS);
        if (step % (STEPS / SNAPSHOTS) == 0 && h->count < SNAPSHOTS)
            snapshot(h, (unsigned)draw(h, HOSTS));
    }
    sim_net_heal(h->w->net);
    sim_world_run_for(h->w, 20 * SIM_SECOND); /* a last floor */
    assert_true(sim_world_run_until(h->w, sim_world_converged, NULL, LIMIT_US));
}

static void finish(struct history *h)
{
    const struct sim_check_violation *v = sim_check_violation(h->w->check);

    if (v != NULL)
        fail_msg("seed %" PRIu64 ": %s", h->seed, v->text);
    store_reader_release(h->reader);
    for (size_t i = 0; i < h->count; i++)
        state_free(h->snapshots[i]);
    sim_world_free(h->w);
}

/* With one history's snapshots and its living state. */
static struct history *make_history(uint64_t seed)
{
    struct history *h = calloc(1, sizeof *h);

    assert_non_null(h);
    begin(h, seed);
    live(h);
    snapshot(h, 0);
    assert_int_equal(sim_world_digest(h->w, 0, &h->live), 0);
    assert_int_equal(
        store_reader_begin(sim_host_store(h->w->hosts[0]), &h->reader), 0);
    assert_true(h->count > SNAPSHOTS / 2);
    return h;
}

/* ---- tests ---- */

static void test_random_joins(void **state)
{
    uint64_t first = setting("SIM_SEED", 1);
    uint64_t joins = 0, refused = 0, whole = 0, vectors = 0;

    (void)state;
    for (uint64_t seed = first; seed < first + HISTORIES; seed++) {
        struct history *h = make_history(seed);

        while (h->joins < JOINS / HISTORIES)
            join_some(h);
        joins += h->joins;
        refused += h->refused;
        whole += h->whole;
        vectors += h->known_count;
        finish(h);
        free(h);
    }
    print_message("%" PRIu64 " joins, %" PRIu64 " different vectors, %" PRIu64
                  " times the living state; %" PRIu64
                  " snapshots were refused\n",
                  joins, vectors, whole, refused);
    assert_int_equal(joins, JOINS);
    assert_true(whole > 0 && vectors > HISTORIES);
}

/* Whether it is shown to a reader who knows no floor. */
static bool shows(const struct state *s, const struct entry_id *id)
{
    for (size_t i = 0; i < s->count; i++) {
        if (entry_id_compare(&s->cells[i].id, id) == 0)
            return entry_resolve(&s->cells[i].entry, 0).present;
    }
    return false;
}

/* Of every key that s shows and that is gone from the living state without a
 * trace; returns how many. */
static size_t look_at_deleted(struct history *h, const struct state *s)
{
    struct state *now = h->snapshots[h->count - 1];
    struct standing *standing = standing_of(h, now);
    struct state *both[] = {join(h, s, now), join(h, now, s)};
    size_t gone = 0;

    /* What an evicted host wrote on is refused. */
    for (size_t i = 0; i < s->count && both[0] != NULL; i++) {
        const struct cell *c = &s->cells[i];

        if (c->id.space > SPACE_CLIENT_LAST || !shows(s, &c->id) ||
            find(now, &c->id) != NULL)
            continue;
        gone++;
        /* (Removing from a set leaves nothing, floor or not.) */
        for (size_t k = 0; k < c->entry.count; k++)
            assert_true(c->id.space == SPACE_SET ||
                        standing_covers(standing, &c->entry.siblings[k].dot));
        for (unsigned k = 0; k < 2 && both[k] != NULL; k++)
            assert_null(find(both[k], &c->id));
    }
    for (unsigned k = 0; k < 2; k++) {
        if (both[k] != NULL) {
            look_at(h, both[k]);
            assert_true(vv_equal(&both[k]->vv, &now->vv));
            state_free(both[k]);
        }
    }
    standing_free(standing);
    return gone;
}

static void test_nothing_deleted_comes_back(void **state)
{
    uint64_t first = setting("SIM_SEED", 101);
    size_t gone = 0;

    (void)state;
    for (uint64_t seed = first; seed < first + 4; seed++) {
        struct history *h = make_history(seed);

        for (size_t i = 0; i + 1 < h->count; i++)
            gone += look_at_deleted(h, h->snapshots[i]);
        finish(h);
        free(h);
    }
    print_message("%zu keys of old snapshots stayed deleted\n", gone);
    assert_true(gone > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_joins),
        cmocka_unit_test(test_nothing_deleted_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
