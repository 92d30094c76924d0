/* Goal: whatever comes by a cut is what would have come by events; joins are
 * associative, commutative and idempotent; a cut that must not be adopted is
 * refused with its reason and leaves no trace.
 * Method: random histories of four writers with real stores, whose states
 * travel as events and as cuts; each refusal by hand. */
#include "tests/unit/cut_fixture.h"

#include "crdt/base/random.h"

#define RW (ROLE_WRITER)
#define WRITERS 4

/* ---- random histories ---- */

struct history {
    struct fixture_mesh mesh;
    struct random_stream random;
};

static uint32_t draw(struct history *h, uint32_t below)
{
    return (uint32_t)random_below(&h->random, below);
}

static void history_make(struct history *h, uint8_t seed)
{
    uint8_t bytes[32] = {seed, 5};

    random_init(&h->random, bytes);
    fixture_mesh_make(&h->mesh);
    for (size_t i = 1; i < WRITERS; i++)
        (void)fixture_add_node(&h->mesh, RW, "", true);
    for (size_t i = 1; i < WRITERS; i++)
        fixture_sync(&h->mesh.nodes[i], &h->mesh.nodes[0]);
}

/* No clock may run ahead of the others by being used more. */
static void history_clocks(struct history *h)
{
    uint64_t greatest = 0;

    for (size_t i = 0; i < h->mesh.count; i++)
        if (h->mesh.nodes[i].wall_ms > greatest)
            greatest = h->mesh.nodes[i].wall_ms;
    for (size_t i = 0; i < h->mesh.count; i++)
        h->mesh.nodes[i].wall_ms = greatest;
}

static void write_something(struct history *h, struct fixture_node *n)
{
    static const enum op_kind kinds[] = {
        OP_PUT,    OP_PUT,     OP_PUT,        OP_PUT,       OP_DEL,
        OP_REVOKE, OP_SET_ADD, OP_SET_REMOVE, OP_SET_REVOKE};
    char key[16], element[16], value[16];
    enum op_kind kind = kinds[draw(h, 9)];
    bool set = kind >= OP_SET_ADD;
    struct local_op op;

    (void)snprintf(key, sizeof key, "k%u", draw(h, 12));
    (void)snprintf(element, sizeof element, "e%u", draw(h, 6));
    (void)snprintf(value, sizeof value, "v%u", draw(h, 1000));
    op = fixture_op(kind, key, set ? element : NULL,
                    kind == OP_PUT ? value : NULL);
    op.unrevoke = draw(h, 3) == 0;
    if (kind == OP_PUT && draw(h, 8) == 0)
        op.expires = hlc_make(n->wall_ms + 20, 0);
    intent_free(fixture_do(n, &op));
}

static void write_meanwhile(void *context, struct fixture_node *to)
{
    struct history *h = context;

    write_something(h, to);
    history_clocks(h);
}

/* A takes the cut of b, at once or staged while it goes on writing. */
static void take_cut(struct history *h, struct fixture_node *a,
                     struct fixture_node *b)
{
    struct fixture_cut c;

    if (draw(h, 2) == 0) {
        assert_int_equal(fixture_join(&h->mesh, a, b, NULL), 0);
        return;
    }
    fixture_cut_take(&c, &h->mesh, b);
    assert_int_equal(fixture_join_staged(a, &c, write_meanwhile, h, NULL), 0);
    fixture_cut_release(&c);
    fixture_audit(a);
}

static void step(struct history *h)
{
    struct fixture_node *a = &h->mesh.nodes[draw(h, WRITERS)];
    struct fixture_node *b = &h->mesh.nodes[draw(h, WRITERS)];

    history_clocks(h);
    switch (draw(h, 12)) {
    case 0:
        if (a != b)
            fixture_sync(a, b);
        break;
    case 1:
        if (a != b)
            take_cut(h, a, b);
        break;
    default:
        write_something(h, a);
    }
    if (vv_equal(&a->vv, &b->vv))
        fixture_expect_equal(a, b);
}

static void everyone_gets_everything(struct history *h)
{
    for (size_t round = 0; round < 2; round++)
        for (size_t i = 0; i < h->mesh.count; i++)
            for (size_t j = 0; j < WRITERS; j++) {
                history_clocks(h);
                if (i != j)
                    fixture_sync(&h->mesh.nodes[i], &h->mesh.nodes[j]);
            }
}

static void test_paths_agree(void **state)
{
    (void)state;
    for (uint8_t seed = 1; seed <= 4; seed++) {
        struct history h;
        struct fixture_node *witness;

        history_make(&h, seed);
        /* One that never sees a cut. */
        witness = fixture_add_node(&h.mesh, RW, "", false);
        for (int i = 0; i < 120; i++)
            step(&h);
        everyone_gets_everything(&h);
        for (size_t i = 0; i < WRITERS; i++) {
            fixture_expect_equal(&h.mesh.nodes[i], witness);
            fixture_audit(&h.mesh.nodes[i]);
        }
        fixture_mesh_release(&h.mesh);
    }
}

/* Readers join the cuts of three writers in different orders and groupings. */
static void test_joins_form_a_lattice(void **state)
{
    static const size_t orders[4][3] = {
        {0, 1, 2}, {2, 0, 1}, {1, 2, 0}, {0, 1, 2}};

    (void)state;
    for (uint8_t seed = 20; seed < 22; seed++) {
        struct history h;
        struct fixture_cut cuts[3];
        struct fixture_node *x[4];

        history_make(&h, seed);
        for (size_t i = 0; i < 4; i++) {
            x[i] = fixture_add_node(&h.mesh, RW, "", false);
            fixture_sync(x[i], &h.mesh.nodes[0]);
        }
        for (int i = 0; i < 60; i++)
            step(&h);
        history_clocks(&h);
        for (size_t i = 0; i < 3; i++)
            fixture_cut_take(&cuts[i], &h.mesh, &h.mesh.nodes[i]);
        for (size_t i = 0; i < 3; i++)
            for (size_t j = 0; j < 3; j++)
                assert_int_equal(
                    fixture_join_cut(x[i], &cuts[orders[i][j]], NULL), 0);
        /* (1 join 2), then 0. */
        assert_int_equal(
            fixture_join(&h.mesh, &h.mesh.nodes[1], &h.mesh.nodes[2], NULL), 0);
        assert_int_equal(fixture_join(&h.mesh, x[3], &h.mesh.nodes[1], NULL),
                         0);
        assert_int_equal(fixture_join_cut(x[3], &cuts[0], NULL), 0);
        for (size_t i = 0; i < 4; i++) {
            fixture_expect_equal(x[i], x[0]);
            fixture_audit(x[i]);
        }
        /* Once more changes nothing. */
        assert_int_equal(fixture_join_cut(x[1], &cuts[1], NULL), 0);
        assert_int_equal(fixture_join(&h.mesh, x[1], x[2], NULL), 0);
        fixture_expect_equal(x[1], x[0]);
        for (size_t i = 0; i < 3; i++)
            fixture_cut_release(&cuts[i]);
        fixture_mesh_release(&h.mesh);
    }
}

/* ---- while others write ---- */

/* Goal: between the comparison and the join local writes go on, also to the
 * keys that differ, and events that the cut covers wait for it. */
static void test_writes_go_on(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b, *witness;
    struct fixture_cut c;
    struct replacement r;
    struct cut_diff *d;

    (void)state;
    fixture_mesh_make(&m);
    a = &m.nodes[0];
    b = fixture_add_node(&m, RW, "", true);
    witness = fixture_add_node(&m, RW, "", false);
    fixture_write(a, OP_PUT, "both", NULL, "old");
    fixture_write(a, OP_PUT, "gone", NULL, "old");
    fixture_sync(b, a);
    fixture_write(a, OP_PUT, "both", NULL, "a");
    fixture_write(a, OP_DEL, "gone", NULL, NULL);
    fixture_write(a, OP_PUT, "new", NULL, "a");
    fixture_cut_take(&c, &m, a);
    b->wall_ms += 50;
    fixture_adopting(b, &c);
    d = fixture_diff(b, &c);
    assert_int_equal(cut_diff_counts(d).entries, 3);
    assert_int_equal(cut_diff_counts(d).removed, 1);
    fixture_write(b, OP_PUT, "both", NULL, "b");
    fixture_write(b, OP_PUT, "gone", NULL, "b");
    fixture_write(b, OP_PUT, "own", NULL, "b");
    assert_int_equal(
        fixture_deliver(b, slice_of(a->events[a->events_count - 3].bytes,
                                    a->events[a->events_count - 3].size)),
        CM_ERR_PENDING);
    /* One beyond the cut waits too: it follows on what the cut brings. */
    fixture_write(a, OP_PUT, "later", NULL, "a");
    assert_int_equal(
        fixture_deliver(b, slice_of(a->events[a->events_count - 1].bytes,
                                    a->events[a->events_count - 1].size)),
        CM_ERR_PENDING);
    cut_diff_replacement(d, &r);
    assert_int_equal(fixture_replace(b, &r, NULL), 0);
    fixture_expect(b, "later", "a"); /* drained at once */
    fixture_expect(b, "both", "b");
    fixture_expect(b, "new", "a");
    fixture_sync(a, b);
    fixture_sync(witness, a);
    fixture_sync(witness, b);
    fixture_expect_equal(a, witness);
    fixture_expect_equal(b, witness);
    fixture_audit(b);
    cut_diff_free(d);
    fixture_cut_release(&c);
    fixture_mesh_release(&m);
}

/* ---- watches ---- */

struct seen {
    size_t puts, deletes, adds, removes;
    char last[64];
};

static int see(void *context, const struct change *change)
{
    struct seen *s = context;

    s->puts += change->kind == CHANGE_PUT;
    s->deletes += change->kind == CHANGE_DELETE;
    s->adds += change->kind == CHANGE_ADD;
    s->removes += change->kind == CHANGE_REMOVE;
    (void)snprintf(s->last, sizeof s->last, "%.*s", (int)change->value.size,
                   (const char *)change->value.data);
    return 0;
}

static int changes_after(struct fixture_node *n, uint64_t from,
                         struct seen *ret)
{
    struct store_reader *r;
    uint64_t revision = from;
    int error = 0;

    memset(ret, 0, sizeof *ret);
    assert_int_equal(store_reader_begin(n->store, &r), 0);
    while (error == 0)
        error = store_changes(r, revision, &revision, see, ret);
    store_reader_release(r);
    return error;
}

static uint64_t revision_of(struct fixture_node *n)
{
    struct store_reader *r;
    uint64_t ret;

    assert_int_equal(store_reader_begin(n->store, &r), 0);
    ret = store_revision(r);
    store_reader_release(r);
    return ret;
}

static void test_watches_resume(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b;
    struct seen seen;
    uint64_t before;

    (void)state;
    fixture_mesh_make(&m);
    a = &m.nodes[0];
    b = fixture_add_node(&m, RW, "", true);
    fixture_write(a, OP_PUT, "stays", NULL, "s");
    fixture_write(a, OP_PUT, "goes", NULL, "g");
    fixture_write(a, OP_SET_ADD, "s", "e", NULL);
    fixture_sync(b, a);
    fixture_write(a, OP_PUT, "new", NULL, "n");
    fixture_write(a, OP_DEL, "goes", NULL, NULL);
    fixture_write(a, OP_SET_REVOKE, "s", "e", NULL);
    fixture_write(a, OP_SET_ADD, "s", "f", NULL);
    before = revision_of(b);
    b->wall_ms += 100;
    assert_int_equal(fixture_join(&m, b, a, NULL), 0);
    assert_int_equal(changes_after(b, before, &seen), CM_ERR_NOT_FOUND);
    assert_int_equal(seen.puts, 1);
    assert_int_equal(seen.deletes, 1);
    assert_int_equal(seen.adds, 1);
    assert_int_equal(seen.removes, 1);
    /* More than is told: whoever watched from before starts over. */
    for (int i = 0; i < 8000; i += 4000) {
        struct intent *batch = intent_new(INTENT_LOCAL);

        for (int j = 0; j < 4000; j++) {
            char key[16];
            struct local_op op;

            (void)snprintf(key, sizeof key, "m%d", i + j);
            op = fixture_op(OP_PUT, key, NULL, "x");
            assert_int_equal(intent_add_op(batch, &op), 0);
        }
        commit_result_free(fixture_commit(a, batch));
        assert_int_equal(batch->result, 0);
        intent_free(batch);
    }
    before = revision_of(b);
    assert_int_equal(fixture_join(&m, b, a, NULL), 0);
    assert_int_equal(changes_after(b, before, &seen), CM_ERR_NEEDS_CUT);
    assert_int_equal(changes_after(b, revision_of(b), &seen), CM_ERR_NOT_FOUND);
    fixture_expect_equal(a, b);
    fixture_mesh_release(&m);
}

/* ---- refusals ---- */

static void test_not_announced(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b;
    struct fixture_cut c;
    struct replacement r;
    struct cut_diff *d;
    struct cm_detail detail;

    (void)state;
    fixture_mesh_make(&m);
    a = &m.nodes[0];
    b = fixture_add_node(&m, RW, "", true);
    fixture_write(a, OP_PUT, "k", NULL, "v");
    fixture_cut_take(&c, &m, a);
    b->wall_ms += 10;
    d = fixture_diff(b, &c);
    cut_diff_replacement(d, &r);
    assert_int_equal(fixture_replace(b, &r, &detail), CM_ERR_INVALID);
    fixture_expect(b, "k", "");
    cut_diff_free(d);
    fixture_cut_release(&c);
    fixture_mesh_release(&m);
}

static void test_held_until_the_clocks_agree(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b;
    struct fixture_cut c;
    struct cm_detail detail;

    (void)state;
    fixture_mesh_make(&m);
    a = &m.nodes[0];
    b = fixture_add_node(&m, RW, "", true);
    a->wall_ms += 5000;
    fixture_write(a, OP_PUT, "k", NULL, "v");
    fixture_cut_take(&c, &m, a);
    assert_int_equal(fixture_join_cut(b, &c, &detail), CM_ERR_HELD);
    assert_non_null(strstr(detail.text, "ahead"));
    fixture_expect(b, "k", "");
    b->wall_ms = a->wall_ms;
    assert_int_equal(fixture_join_cut(b, &c, &detail), 0);
    fixture_expect(b, "k", "v");
    fixture_cut_release(&c);
    fixture_mesh_release(&m);
}

/* Of another generation; and beyond a seal of one to return to. */
static void refuse_other_generations(struct fixture_mesh *m,
                                     struct fixture_node *b, struct cut_diff *d)
{
    struct fixture_node *a = &m->nodes[0];
    struct generation_order order = {
        .mesh = m->mesh,
        .number = 2,
        .founder = a->incarnation,
        .founder_certificate = buffer_slice(&a->certificate),
    };
    struct replacement r;
    struct cm_detail detail;
    struct buffer bytes;

    memset(order.previous, 1, sizeof order.previous);
    buffer_init(&bytes, GENERATION_ORDER_SIZE_MAX);
    assert_int_equal(
        generation_order_encode(&bytes, &order, m->authority.secret_key), 0);
    cut_diff_replacement(d, &r);
    r.generation_order = buffer_slice(&bytes);
    assert_int_equal(fixture_replace(b, &r, &detail), CM_ERR_WRONG_GENERATION);
    vv_init(&order.sealed);
    assert_int_equal(
        vv_set(&order.sealed, &a->incarnation, 1, &(struct hash){{0}}), 0);
    buffer_clear(&bytes);
    assert_int_equal(
        generation_order_encode(&bytes, &order, m->authority.secret_key), 0);
    r.mode = ADOPT_RETURN;
    r.generation_order = buffer_slice(&bytes);
    assert_int_equal(fixture_replace(b, &r, &detail), CM_ERR_SEALED);
    vv_release(&order.sealed);
    buffer_release(&bytes);
}

/* What is promised and what is there are two things: a vector or a digest that
 * does not belong to the entries. */
static void test_wrong_promises(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b;
    struct fixture_cut c;
    struct replacement r;
    struct cut_diff *d;
    struct cm_detail detail;
    struct hash wrong = {{1}};
    struct vv vv;

    (void)state;
    fixture_mesh_make(&m);
    a = &m.nodes[0];
    b = fixture_add_node(&m, RW, "", true);
    fixture_write(a, OP_PUT, "k", NULL, "v");
    fixture_cut_take(&c, &m, a);
    b->wall_ms += 10;
    fixture_adopting(b, &c);
    d = fixture_diff(b, &c);
    cut_diff_replacement(d, &r);
    r.state_digest = &wrong;
    assert_int_equal(fixture_replace(b, &r, &detail), CM_ERR_DAMAGED);
    fixture_audit(b);
    fixture_expect(b, "k", "");
    /* Beyond its own vector. */
    cut_diff_replacement(d, &r);
    assert_int_equal(vv_copy(&vv, &b->vv), 0);
    {
        struct intent *i = intent_new(INTENT_ADOPTING);

        i->adopting = &vv;
        commit_result_free(fixture_commit(b, i));
        intent_free(i);
    }
    r.vv = &vv;
    assert_int_equal(fixture_replace(b, &r, &detail), CM_ERR_MALFORMED);
    fixture_adopting(b, &c);
    refuse_other_generations(&m, b, d);
    /* Nothing of all this was left behind. */
    cut_diff_replacement(d, &r);
    assert_int_equal(fixture_replace(b, &r, &detail), 0);
    fixture_expect_equal(a, b);
    vv_release(&vv);
    cut_diff_free(d);
    fixture_cut_release(&c);
    fixture_mesh_release(&m);
}

/* One name, two events: the cut's head is not the one that is held here. */
static void test_fork(void **state)
{
    struct fixture_mesh m, other;
    struct fixture_node *a, *b, *clone;
    struct fixture_cut c;
    struct cm_detail detail;

    (void)state;
    fixture_mesh_make(&m);
    fixture_mesh_make(&other); /* the same keys: a clone of the founder */
    a = &m.nodes[0];
    clone = &other.nodes[0];
    b = fixture_add_node(&m, RW, "", true);
    (void)fixture_add_node(&other, RW, "", true);
    fixture_write(a, OP_PUT, "k", NULL, "one");
    fixture_write(clone, OP_PUT, "k", NULL, "two");
    fixture_sync(b, a);
    fixture_cut_take(&c, &other, clone);
    b->wall_ms += 10;
    assert_int_equal(fixture_join_cut(b, &c, &detail), CM_ERR_FORK);
    fixture_expect(b, "k", "one");
    fixture_audit(b);
    fixture_cut_release(&c);
    fixture_mesh_release(&m);
    fixture_mesh_release(&other);
}

/* A cut that knows later events of this very node than its own disk. */
static void test_rolled_back(void **state)
{
    struct fixture_mesh m, other;
    struct fixture_cut c;
    struct cm_detail detail;

    (void)state;
    fixture_mesh_make(&m);
    fixture_mesh_make(&other); /* the same keys and the same history */
    fixture_write(&m.nodes[0], OP_PUT, "k", NULL, "one");
    fixture_write(&other.nodes[0], OP_PUT, "k", NULL, "one");
    fixture_write(&other.nodes[0], OP_PUT, "l", NULL, "two");
    fixture_cut_take(&c, &other, &other.nodes[0]);
    m.nodes[0].wall_ms += 10;
    assert_int_equal(fixture_join_cut(&m.nodes[0], &c, &detail), CM_ERR_FORK);
    assert_non_null(strstr(detail.text, "rolled back"));
    fixture_expect(&m.nodes[0], "l", "");
    fixture_cut_release(&c);
    fixture_mesh_release(&m);
    fixture_mesh_release(&other);
}

/* ---- truncated, altered ---- */

struct messages {
    struct buffer bytes[16];
    size_t count;
};

static void messages_of(struct messages *ret, struct snapshot_source *s)
{
    ret->count = (size_t)snapshot_source_messages(s);
    assert_true(ret->count <= 16);
    for (size_t i = 0; i < ret->count; i++) {
        buffer_init(&ret->bytes[i], SNAPSHOT_MANIFEST_MAX);
        assert_int_equal(snapshot_source_read(s, i, &ret->bytes[i], NULL), 0);
    }
}

/* 0 when it was received whole; MORE when something is missing. */
static int feed_all(const struct fixture_mesh *m, const char *dir,
                    const struct messages *messages, size_t count)
{
    struct snapshot_sink *sink;
    int error = SNAPSHOT_MORE;

    assert_int_equal(
        snapshot_sink_create(&sink, m->authority.public_key, dir, NULL), 0);
    for (size_t i = 0; i < count && error == SNAPSHOT_MORE; i++)
        error =
            snapshot_sink_feed(sink, buffer_slice(&messages->bytes[i]), NULL);
    snapshot_sink_free(sink);
    return error;
}

/* Each byte of each message flipped in turn, each message cut short, left out
 * or sent twice: never received whole. */
static void test_altered_cuts_are_refused(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a;
    struct snapshot_source *source;
    struct messages good;

    (void)state;
    fixture_mesh_make(&m);
    a = &m.nodes[0];
    fixture_write(a, OP_PUT, "k", NULL, "v");
    fixture_write(a, OP_SET_ADD, "s", "e", NULL);
    source = fixture_source(a);
    messages_of(&good, source);
    assert_int_equal(feed_all(&m, a->dir, &good, good.count), SNAPSHOT_DONE);
    for (size_t i = 0; i < good.count; i++) {
        struct messages altered = good;
        struct buffer *b = &good.bytes[i];

        for (size_t at = 0; at < b->size; at++) {
            b->data[at] ^= 0x10;
            assert_true(feed_all(&m, a->dir, &good, good.count) < 0);
            b->data[at] ^= 0x10;
        }
        b->size--;
        assert_true(feed_all(&m, a->dir, &good, good.count) < 0);
        b->size++;
        assert_int_equal(feed_all(&m, a->dir, &good, i), SNAPSHOT_MORE);
        if (i + 1 < good.count)
            altered.bytes[i + 1] = good.bytes[i]; /* twice, or one missing */
        else
            altered.bytes[i] = good.bytes[0];
        assert_true(feed_all(&m, a->dir, &altered, good.count) < 0);
    }
    for (size_t i = 0; i < good.count; i++)
        buffer_release(&good.bytes[i]);
    snapshot_source_free(source);
    fixture_mesh_release(&m);
}

static void test_mass_deletion_is_seen(void **state)
{
    struct cut_diff_counts c = {.present = 1000, .removed = 100};

    (void)state;
    assert_false(cut_diff_is_mass_deletion(&c)); /* not more than 100 */
    c.removed = 101;
    assert_true(cut_diff_is_mass_deletion(&c));
    c.present = 1010;
    assert_false(cut_diff_is_mass_deletion(&c)); /* not more than 10 % */
    c.present = 101;
    assert_true(cut_diff_is_mass_deletion(&c));
    c.present = c.removed = 5; /* H20: a small mesh never trips */
    assert_false(cut_diff_is_mass_deletion(&c));
}

/* ---- returning ---- */

struct kept {
    size_t count;
    uint64_t seqs[8];
    struct cm_detail detail;
    int error;
};

static int keep(void *context, struct batch *b, const struct dot *dot,
                struct slice event, bool doubtful)
{
    struct kept *k = context;

    assert_false(doubtful);

    assert_non_null(b);
    assert_true(event.size > 0);
    if (k->count < 8)
        k->seqs[k->count++] = dot->seq;
    return k->error;
}

/* What the two tests of returning begin with: b has written what a lacks. */
struct returning {
    struct fixture_mesh mesh;
    struct fixture_node *a, *b;
    struct incarnation next;
    struct meta_fact facts[2];
    struct kept kept;
    struct fixture_cut cut;
    struct replacement r;
};

static void returning_make(struct returning *t)
{
    memset(t, 0, sizeof *t);
    fixture_mesh_make(&t->mesh);
    t->a = &t->mesh.nodes[0];
    t->b = fixture_add_node(&t->mesh, RW, "", true);
    fixture_write(t->b, OP_PUT, "known", NULL, "b");
    fixture_sync(t->a, t->b);
    fixture_write(t->b, OP_PUT, "unsent", NULL, "b"); /* seqs 2 and 3 */
    fixture_write(t->b, OP_SET_ADD, "set", "e", NULL);
    fixture_write(t->a, OP_PUT, "news", NULL, "a");
    memset(t->next.bytes, 42, sizeof t->next.bytes);
    t->facts[0] = (struct meta_fact){META_INCARNATION,
                                     slice_of(t->next.bytes, INCARNATION_SIZE)};
    t->facts[1] =
        (struct meta_fact){META_CERTIFICATE, buffer_slice(&t->b->certificate)};
}

static void returning_cut(struct returning *t)
{
    fixture_cut_take(&t->cut, &t->mesh, t->a);
    t->b->wall_ms += 10;
}

static void returning_replacement(struct returning *t)
{
    assert_int_equal(snapshot_sink_replacement(t->cut.sink, &t->r, NULL), 0);
    t->r.mode = ADOPT_RETURN;
    t->r.facts = t->facts;
    t->r.facts_count = 2;
    t->r.contains = &t->next;
    t->r.unsent = keep;
    t->r.unsent_context = &t->kept;
    t->kept.count = 0;
}

static void returning_roster(struct returning *t)
{
    struct local_op op = {
        .kind = OP_ROSTER_ADD,
        .key = slice_of(t->next.bytes, INCARNATION_SIZE),
        .value = buffer_slice(&t->b->certificate),
    };
    struct intent *i = fixture_do(t->a, &op);

    assert_int_equal(i->result, 0);
    intent_free(i);
}

static void returning_release(struct returning *t)
{
    fixture_cut_release(&t->cut);
    fixture_mesh_release(&t->mesh);
}

static void test_return_needs_a_name(void **state)
{
    struct returning t;

    (void)state;
    returning_make(&t);
    returning_cut(&t);
    /* The same name must not be used again. */
    returning_replacement(&t);
    t.r.facts_count = 0;
    t.r.contains = NULL;
    assert_int_equal(fixture_replace(t.b, &t.r, &t.kept.detail),
                     CM_ERR_INVALID);
    /* A cut without the add of the new one is not enough. */
    returning_replacement(&t);
    assert_int_equal(fixture_replace(t.b, &t.r, &t.kept.detail),
                     CM_ERR_NOT_FOUND);
    fixture_expect(t.b, "unsent", "b");
    fixture_audit(t.b);
    returning_release(&t);
}

static void test_return_replaces(void **state)
{
    struct returning t;
    struct seen seen;
    uint64_t revision;

    (void)state;
    returning_make(&t);
    returning_roster(&t);
    returning_cut(&t);
    revision = revision_of(t.b);
    /* What should be kept cannot be: nothing happens. */
    returning_replacement(&t);
    t.kept.error = CM_ERR_FULL;
    assert_int_equal(fixture_replace(t.b, &t.r, &t.kept.detail), CM_ERR_FULL);
    assert_int_equal(t.kept.count, 1);
    fixture_expect(t.b, "unsent", "b");
    returning_replacement(&t);
    t.kept.error = 0;
    assert_int_equal(fixture_replace(t.b, &t.r, NULL), 0);
    assert_int_equal(t.kept.count, 2);
    assert_int_equal(t.kept.seqs[0], 2);
    assert_int_equal(t.kept.seqs[1], 3);
    fixture_expect(t.b, "unsent", "");
    fixture_expect(t.b, "known", "b");
    fixture_expect(t.b, "news", "a");
    fixture_expect_equal(t.a, t.b);
    fixture_audit(t.b);
    assert_int_equal(changes_after(t.b, revision, &seen), CM_ERR_NEEDS_CUT);
    returning_release(&t);
}

/* It goes on under the new name, also after a restart. */
static void test_return_goes_on(void **state)
{
    struct returning t;
    struct incarnation now;
    const struct fixture_event *own;

    (void)state;
    returning_make(&t);
    returning_roster(&t);
    returning_cut(&t);
    returning_replacement(&t);
    assert_int_equal(fixture_replace(t.b, &t.r, NULL), 0);
    fixture_close(t.b);
    fixture_open(t.b);
    now = writer_incarnation(t.b->writer);
    assert_true(incarnation_equal(&now, &t.next));
    assert_int_equal(fixture_write(t.b, OP_PUT, "again", NULL, "b"), 0);
    own = &t.b->events[t.b->events_count - 1];
    assert_true(incarnation_equal(&own->dot.incarnation, &t.next));
    assert_int_equal(own->dot.seq, 1);
    t.a->wall_ms += 20;
    assert_int_equal(fixture_deliver(t.a, slice_of(own->bytes, own->size)), 0);
    fixture_expect(t.a, "again", "b");
    fixture_expect_equal(t.a, t.b);
    returning_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths_agree),
        cmocka_unit_test(test_joins_form_a_lattice),
        cmocka_unit_test(test_writes_go_on),
        cmocka_unit_test(test_watches_resume),
        cmocka_unit_test(test_not_announced),
        cmocka_unit_test(test_held_until_the_clocks_agree),
        cmocka_unit_test(test_wrong_promises),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_rolled_back),
        cmocka_unit_test(test_altered_cuts_are_refused),
        cmocka_unit_test(test_mass_deletion_is_seen),
        cmocka_unit_test(test_return_needs_a_name),
        cmocka_unit_test(test_return_replaces),
        cmocka_unit_test(test_return_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
