/* Goal: a cut that is staged beside the state and flipped to leaves exactly
 * what the same cut leaves that is joined in one transaction: entries, indexes,
 * digest; whatever was written meanwhile; and one that is given up leaves
 * nothing.
 * Method: twins, one of which takes a cut in one transaction and the other one
 * by steps; by hand, what a crash or a second cut finds. */
#include "tests/unit/cut_fixture.h"

#include "crdt/base/random.h"
#include "node/touched.h"

#define RW (ROLE_WRITER)

/* ---- the set of what was touched ---- */

#define IDS 300

static struct schema_key key_of(uint32_t number, uint8_t prefix)
{
    struct schema_key ret;
    char text[24];
    struct entry_id id = {.space = SPACE_REGISTER};

    (void)snprintf(text, sizeof text, "key%u", number);
    id.key = slice_of_string(text);
    if (prefix == SCHEMA_PREFIX_DUE)
        schema_key_due(&ret, 7 + number, &id);
    else if (prefix == SCHEMA_PREFIX_COLLAPSE)
        schema_key_collapse(&ret, number, &id);
    else if (prefix == SCHEMA_PREFIX_CONFLICT)
        schema_key_conflict(&ret, &id);
    else
        schema_key_entry(&ret, &id);
    return ret;
}

/* Notes and looks at random, against a plain array. */
static void test_touched(void **state)
{
    static const uint8_t prefixes[] = {SCHEMA_PREFIX_ENTRY, SCHEMA_PREFIX_DUE,
                                       SCHEMA_PREFIX_COLLAPSE,
                                       SCHEMA_PREFIX_CONFLICT};
    uint8_t seed[32] = {9};
    bool waits[IDS] = {false};
    size_t waiting = 0;
    struct random_stream random;
    struct touched t;

    (void)state;
    random_init(&random, seed);
    touched_init(&t, seed);
    for (int round = 0; round < 20000; round++) {
        uint32_t number = (uint32_t)random_below(&random, IDS);

        if (random_below(&random, 3) > 0) {
            struct schema_key key =
                key_of(number, prefixes[random_below(&random, 4)]);

            touched_note(&t, schema_key_slice(&key));
            waiting += !waits[number];
            waits[number] = true;
        } else {
            size_t at = t.at;
            size_t count = 0;
            struct schema_key key;

            while (count < number / 50 && touched_next(&t, &at, &key)) {
                unsigned found;

                key.bytes[key.size] = 0;
                assert_int_equal(
                    sscanf((const char *)key.bytes + 2, "key%u", &found), 1);
                key = key_of(found, SCHEMA_PREFIX_ENTRY);
                assert_true(waits[found]);
                waits[found] = false;
                count++;
            }
            touched_done(&t, at, count);
            waiting -= count;
        }
        assert_int_equal(t.count, waiting);
        assert_false(t.overrun);
    }
    touched_clear(&t);
}

/* ---- twins ---- */

struct twins {
    struct fixture_mesh m;
    struct fixture_node *a; /* whose cut it is */
    struct fixture_node *x; /* takes it in one transaction */
    struct fixture_node *y; /* by steps */
    struct fixture_cut c;
};

static void put_expiring(struct fixture_node *n, const char *key, uint64_t ms)
{
    struct local_op op = fixture_op(OP_PUT, key, NULL, "ends");

    op.expires = hlc_make(n->wall_ms + ms, 0);
    intent_free(fixture_do(n, &op));
}

/* Keys that both have, that one side deleted, that conflict, that end. */
static void twins_make(struct twins *t)
{
    char key[16];

    fixture_mesh_make(&t->m);
    t->a = &t->m.nodes[0];
    t->x = fixture_add_node(&t->m, RW, "", true);
    t->y = fixture_add_node(&t->m, RW, "", true);
    for (unsigned i = 0; i < 40; i++) {
        (void)snprintf(key, sizeof key, "k%02u", i);
        fixture_write(t->a, OP_PUT, key, NULL, "old");
    }
    fixture_write(t->a, OP_SET_ADD, "s", "both", NULL);
    put_expiring(t->a, "k39", 40000);
    fixture_sync(t->x, t->a);
    fixture_sync(t->y, t->a);
    t->x->wall_ms = t->a->wall_ms;
    /* The twins have the same, and a does not know of it. */
    fixture_write(t->x, OP_PUT, "k00", NULL, "mine");
    fixture_write(t->x, OP_SET_ADD, "s", "mine", NULL);
    fixture_write(t->x, OP_DEL, "k01", NULL, NULL);
    put_expiring(t->x, "k02", 50000);
    t->y->wall_ms = t->x->wall_ms;
    fixture_sync(t->y, t->x);
    fixture_expect_equal(t->x, t->y);
    for (unsigned i = 0; i < 20; i++) {
        (void)snprintf(key, sizeof key, "k%02u", 2 * i);
        fixture_write(t->a, i % 3 == 0 ? OP_DEL : OP_PUT, key, NULL,
                      i % 3 == 0 ? NULL : "new");
    }
    fixture_write(t->a, OP_REVOKE, "k01", NULL, NULL);
    fixture_write(t->a, OP_SET_REMOVE, "s", "both", NULL);
    put_expiring(t->a, "k38", 60000);
    fixture_cut_take(&t->c, &t->m, t->a);
    t->x->wall_ms = t->y->wall_ms = t->a->wall_ms + 10;
}

static void twins_release(struct twins *t)
{
    fixture_cut_release(&t->c);
    fixture_mesh_release(&t->m);
}

/* Keys of the indexes, in the order of the store, whatever their bank. */
static void index_keys(struct fixture_node *n, struct buffer *out)
{
    static const uint8_t prefixes[] = {
        SCHEMA_PREFIX_CONFLICT, SCHEMA_PREFIX_COLLAPSE, SCHEMA_PREFIX_DUE};
    struct store_reader *r;

    buffer_init(out, 1u << 20);
    assert_int_equal(store_reader_begin(n->store, &r), 0);
    for (size_t i = 0; i < 3; i++) {
        struct schema_key start = {.bytes = {prefixes[i]}, .size = 1};
        MDB_cursor *cursor;
        MDB_val k, v;
        int rc;

        assert_int_equal(store_txn_place(&r->txn, &start), 0);
        assert_int_equal(
            mdb_cursor_open(r->txn.mdb, store_dbi(n->store), &cursor), 0);
        k = (MDB_val){.mv_size = 1, .mv_data = start.bytes};
        for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
             rc == 0 && *(const uint8_t *)k.mv_data == start.bytes[0];
             rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
            buffer_append_byte(out, prefixes[i]);
            buffer_append(out, (const uint8_t *)k.mv_data + 1, k.mv_size - 1);
        }
        mdb_cursor_close(cursor);
    }
    store_reader_release(r);
    assert_int_equal(out->error, 0);
}

static void expect_twins(struct twins *t)
{
    struct buffer x, y;

    fixture_expect_equal(t->x, t->y);
    fixture_audit(t->y);
    index_keys(t->x, &x);
    index_keys(t->y, &y);
    assert_true(x.size > 0);
    assert_true(slice_equal(buffer_slice(&x), buffer_slice(&y)));
    buffer_release(&x);
    buffer_release(&y);
}

static void test_same_as_at_once(void **state)
{
    struct twins t;

    (void)state;
    twins_make(&t);
    assert_int_equal(fixture_join_cut(t.x, &t.c, NULL), 0);
    assert_int_equal(fixture_join_staged(t.y, &t.c, NULL, NULL, NULL), 0);
    expect_twins(&t);
    fixture_close(t.y);
    fixture_open(t.y);
    expect_twins(&t);
    /* Again, and back in the first bank; nothing of it is news. */
    assert_int_equal(fixture_join_staged(t.y, &t.c, NULL, NULL, NULL), 0);
    expect_twins(&t);
    twins_release(&t);
}

/* ---- while it writes ---- */

static void write_more(void *context, struct fixture_node *n)
{
    unsigned *round = context;
    char key[16];

    for (unsigned i = 0; i < 8; i++) {
        (void)snprintf(key, sizeof key, "k%02u", (*round * 3 + i * 5) % 44);
        fixture_write(n, i % 4 == 3 ? OP_DEL : OP_PUT, key, NULL,
                      i % 4 == 3 ? NULL : "meanwhile");
    }
    fixture_write(n, OP_SET_ADD, "s", *round % 2 == 0 ? "both" : "more", NULL);
    ++*round;
}

/* What x did in one transaction, and then heard from y, is what y has. */
static void test_writes_go_on(void **state)
{
    struct twins t;
    unsigned round = 0;

    (void)state;
    twins_make(&t);
    assert_int_equal(fixture_join_staged(t.y, &t.c, write_more, &round, NULL),
                     0);
    assert_true(round >= 2);
    assert_int_equal(fixture_join_cut(t.x, &t.c, NULL), 0);
    t.x->wall_ms = t.y->wall_ms;
    fixture_sync(t.x, t.y);
    expect_twins(&t);
    twins_release(&t);
}

struct flood {
    bool done;
};

static void write_much(void *context, struct fixture_node *n)
{
    struct flood *f = context;
    struct intent *batch;

    if (f->done)
        return;
    f->done = true;
    /* Two transactions of 4,000: more than a flip settles by itself. */
    for (int i = 0; i < 2; i++) {
        batch = intent_new(INTENT_LOCAL);
        for (int j = 0; j < 4000; j++) {
            char key[16];
            struct local_op op;

            (void)snprintf(key, sizeof key, "f%d", 4000 * i + j);
            op = fixture_op(OP_PUT, key, NULL, "x");
            assert_int_equal(intent_add_op(batch, &op), 0);
        }
        commit_result_free(fixture_commit(n, batch));
        assert_int_equal(batch->result, 0);
        intent_free(batch);
    }
}

/* Written after what was settled: the flip does not do it all. */
static void test_flip_waits(void **state)
{
    struct twins t;
    struct flood f = {.done = false};
    struct stage *s = stage_new(STAGE_BEGIN);
    struct cm_detail text = {""};
    struct replacement r;
    struct cut_diff *d;
    bool more;

    (void)state;
    twins_make(&t);
    fixture_adopting(t.y, &t.c);
    s->vv = &snapshot_sink_manifest(t.c.sink)->vv;
    assert_int_equal(fixture_stage(t.y, s, &more, &text), 0);
    assert_int_equal(cut_diff_create(&d, t.y->store, t.c.sink, t.y->dir,
                                     t.y->wall_ms, &text),
                     0);
    cut_diff_stage(d, snapshot_sink_digest(t.c.sink));
    s = stage_new(STAGE_BLOCK);
    assert_int_equal(cut_diff_fill(d, &s->block, &text), SNAPSHOT_DONE);
    s->bank = cut_diff_bank(d);
    assert_int_equal(fixture_stage(t.y, s, &more, &text), 0);
    write_much(&f, t.y);
    cut_diff_replacement(d, &r);
    assert_int_equal(fixture_replace(t.y, &r, &text), CM_ERR_BUSY);
    assert_int_equal(fixture_stage_until(t.y, STAGE_SETTLE, cut_diff_staged(d)),
                     0);
    assert_int_equal(fixture_replace(t.y, &r, &text), 0);
    cut_diff_free(d);
    assert_int_equal(fixture_join_cut(t.x, &t.c, NULL), 0);
    t.x->wall_ms = t.y->wall_ms;
    fixture_sync(t.x, t.y);
    expect_twins(&t);
    twins_release(&t);
}

/* ---- given up ---- */

static bool has_shadow(struct fixture_node *n)
{
    struct commit_result *r = fixture_commit(n, NULL);
    bool ret = r->shadow;

    commit_result_free(r);
    return ret;
}

static void test_given_up(void **state)
{
    struct twins t;
    struct stage *s = stage_new(STAGE_BEGIN);
    struct cm_detail text = {""};
    struct cut_diff *d;
    bool more;

    (void)state;
    twins_make(&t);
    fixture_adopting(t.y, &t.c);
    s->vv = &snapshot_sink_manifest(t.c.sink)->vv;
    assert_int_equal(fixture_stage(t.y, s, &more, &text), 0);
    assert_false(has_shadow(t.y));
    assert_int_equal(cut_diff_create(&d, t.y->store, t.c.sink, t.y->dir,
                                     t.y->wall_ms, &text),
                     0);
    cut_diff_stage(d, snapshot_sink_digest(t.c.sink));
    s = stage_new(STAGE_BLOCK);
    assert_int_equal(cut_diff_fill(d, &s->block, &text), SNAPSHOT_DONE);
    s->bank = cut_diff_bank(d);
    assert_int_equal(fixture_stage(t.y, s, &more, &text), 0);
    /* Made for the bank that counts: refused. */
    s = stage_new(STAGE_BLOCK);
    s->bank = 1 - cut_diff_bank(d);
    assert_int_equal(fixture_stage(t.y, s, &more, &text), CM_ERR_CONDITION);
    cut_diff_free(d);
    /* The process ends. Nobody sees what was staged. */
    fixture_close(t.y);
    fixture_open(t.y);
    fixture_expect_equal(t.x, t.y);
    fixture_audit(t.y);
    assert_true(has_shadow(t.y));
    /* Not announced any more; and another one needs an empty bank. */
    s = stage_new(STAGE_BEGIN);
    s->vv = &snapshot_sink_manifest(t.c.sink)->vv;
    assert_int_equal(fixture_stage(t.y, s, &more, &text), CM_ERR_INVALID);
    fixture_adopting(t.y, &t.c);
    s = stage_new(STAGE_BEGIN);
    s->vv = &snapshot_sink_manifest(t.c.sink)->vv;
    assert_int_equal(fixture_stage(t.y, s, &more, &text), CM_ERR_BUSY);
    fixture_adopting(t.y, NULL);
    assert_int_equal(fixture_stage_until(t.y, STAGE_SWEEP, NULL), 0);
    assert_false(has_shadow(t.y));
    fixture_expect_equal(t.x, t.y);
    assert_int_equal(fixture_join_staged(t.y, &t.c, NULL, NULL, NULL), 0);
    assert_true(has_shadow(t.y)); /* the former state */
    assert_int_equal(fixture_stage_until(t.y, STAGE_SWEEP, NULL), 0);
    assert_false(has_shadow(t.y));
    fixture_audit(t.y);
    twins_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_touched),
        cmocka_unit_test(test_same_as_at_once),
        cmocka_unit_test(test_writes_go_on),
        cmocka_unit_test(test_flip_waits),
        cmocka_unit_test(test_given_up),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
