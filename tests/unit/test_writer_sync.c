/* Replication between writers, events carried by hand: revocation in every
 * order, convergence, pending events, authority, forks and adoption. */
#include "tests/unit/writer_fixture.h"

#define RW (ROLE_WRITER | ROLE_ISSUER)

/* ---- the stale writer ---- */

/* Reads users/bob on a, as a client that will write it back. */
static void stale_setup(struct fixture_mesh *m, struct fixture_node **a,
                        struct fixture_node **b)
{
    fixture_mesh_make(m);
    *a = &m->nodes[0];
    *b = fixture_add_node(m, RW, "", true);
    assert_int_equal(fixture_write(*a, OP_PUT, "users/bob", NULL, "ok"), 0);
    fixture_sync(*b, *a);
}

static void expect_revoked(struct fixture_mesh *m, struct fixture_node *a,
                           struct fixture_node *b)
{
    for (int i = 0; i < 2; i++) {
        fixture_sync(a, b);
        fixture_sync(b, a);
    }
    fixture_expect(a, "users/bob", "");
    fixture_expect(b, "users/bob", "");
    fixture_expect_equal(a, b);
    fixture_mesh_release(m);
}

/* Goal: a put concurrent with the revoke loses, also from a clock ahead. */
static void test_stale_concurrent(void **state)
{
    (void)state;
    for (uint64_t ahead = 0; ahead <= 400; ahead += 400) {
        struct fixture_mesh m;
        struct fixture_node *a, *b;

        stale_setup(&m, &a, &b);
        a->wall_ms += ahead;
        assert_int_equal(fixture_write(b, OP_REVOKE, "users/bob", NULL, NULL),
                         0);
        assert_int_equal(fixture_write(a, OP_PUT, "users/bob", NULL, "stale"),
                         0);
        expect_revoked(&m, a, b);
    }
}

/* Goal: once the revoke has arrived, the stale put is refused and says who
 * revoked it and what to name; naming it lifts it. */
static void test_stale_after_revoke(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b;
    struct local_op op = fixture_op(OP_PUT, "users/bob", NULL, "stale");
    struct dot revoke;
    struct intent *i;

    (void)state;
    stale_setup(&m, &a, &b);
    assert_int_equal(fixture_write(b, OP_REVOKE, "users/bob", NULL, NULL), 0);
    revoke = b->events[b->events_count - 1].dot;
    fixture_sync(a, b);
    i = fixture_do(a, &op);
    assert_int_equal(i->result, CM_ERR_REVOKED);
    assert_non_null(strstr(i->detail.text, "revoked by node-2 at 2023-11-14"));
    intent_free(i);
    op.condition = CONDITION_VERSION;
    op.version = a->events[1].dot; /* the put that the client had read */
    i = fixture_do(a, &op);
    assert_int_equal(i->result, CM_ERR_REVOKED);
    intent_free(i);
    op.version = revoke;
    op.value = slice_of_string("back");
    i = fixture_do(a, &op);
    assert_int_equal(i->result, 0);
    intent_free(i);
    fixture_expect(a, "users/bob", "back");
    assert_int_equal(fixture_write(a, OP_REVOKE, "users/bob", NULL, NULL), 0);
    expect_revoked(&m, a, b);
}

/* Goal: a del of the revoked key does not open the way for a put. */
static void test_stale_after_delete(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b;

    (void)state;
    stale_setup(&m, &a, &b);
    assert_int_equal(fixture_write(b, OP_REVOKE, "users/bob", NULL, NULL), 0);
    fixture_sync(a, b);
    assert_int_equal(fixture_write(a, OP_DEL, "users/bob", NULL, NULL), 0);
    assert_int_equal(fixture_write(a, OP_PUT, "users/bob", NULL, "stale"),
                     CM_ERR_REVOKED);
    expect_revoked(&m, a, b);
}

/* Goal: the same for elements of sets; --unrevoke lifts knowingly. */
static void test_stale_element(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b;
    struct local_op op = fixture_op(OP_SET_ADD, "admins", "bob", NULL);
    struct intent *i;

    (void)state;
    stale_setup(&m, &a, &b);
    assert_int_equal(fixture_write(a, OP_SET_ADD, "admins", "bob", NULL), 0);
    fixture_sync(b, a);
    assert_int_equal(fixture_write(b, OP_SET_REVOKE, "admins", "bob", NULL), 0);
    fixture_sync(a, b);
    assert_int_equal(fixture_write(a, OP_SET_REMOVE, "admins", "bob", NULL), 0);
    assert_int_equal(fixture_write(a, OP_SET_ADD, "admins", "bob", NULL),
                     CM_ERR_REVOKED);
    fixture_expect_member(a, "admins", "bob", false);
    op.unrevoke = true;
    i = fixture_do(a, &op);
    assert_int_equal(i->result, 0);
    intent_free(i);
    fixture_sync(b, a);
    fixture_expect_member(b, "admins", "bob", true);
    fixture_expect_equal(a, b);
    fixture_mesh_release(&m);
}

/* ---- convergence ---- */

static uint64_t draw(uint64_t *seed, uint64_t bound)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963);
    return (*seed >> 33) % bound;
}

static void random_write(struct fixture_node *n, uint64_t *seed)
{
    static const enum op_kind kinds[] = {
        OP_PUT,     OP_PUT,        OP_PUT,       OP_DEL,
        OP_REVOKE,  OP_SET_ADD,    OP_SET_ADD,   OP_SET_REMOVE,
        OP_SET_ADD, OP_SET_REMOVE, OP_SET_REVOKE};
    struct intent *i = intent_new(INTENT_LOCAL);
    uint64_t count = 1 + draw(seed, 3);
    uint64_t first = draw(seed, 6);

    n->wall_ms += draw(seed, 40);
    for (uint64_t j = 0; j < count; j++) {
        enum op_kind kind = kinds[draw(seed, 11)];
        bool set = op_space(kind) == SPACE_SET;
        char key[8], value[16];
        struct local_op op;

        (void)snprintf(key, sizeof key, "k%u", (unsigned)((first + j) % 6));
        (void)snprintf(value, sizeof value, "%u", (unsigned)draw(seed, 999));
        op = fixture_op(kind, set ? "set" : key, set ? key : NULL,
                        kind == OP_PUT ? value : NULL);
        op.unrevoke = draw(seed, 2) == 0;
        assert_int_equal(intent_add_op(i, &op), 0);
    }
    commit_result_free(fixture_commit(n, i));
    assert_true(i->result == 0 || i->result == CM_ERR_REVOKED);
    intent_free(i);
}

/* One event of any other node, in any order: most have to wait. */
static void random_delivery(struct fixture_mesh *m, uint64_t *seed)
{
    struct fixture_node *to = &m->nodes[draw(seed, m->count)];
    struct fixture_node *from = &m->nodes[draw(seed, m->count)];

    if (to == from || from->events_count == 0)
        return;
    struct fixture_event *e = &from->events[draw(seed, from->events_count)];
    int error = fixture_deliver(to, slice_of(e->bytes, e->size));

    assert_true(error == 0 || error == CM_ERR_DUPLICATE ||
                error == CM_ERR_PENDING);
}

/* Goal: whatever the order of delivery, equal vectors mean equal bytes, equal
 * digests, and what a reopened store reads back. */
static void test_convergence(void **state)
{
    (void)state;
    for (uint64_t run = 1; run <= 6; run++) {
        struct fixture_mesh m;
        uint64_t seed = run * 7919;

        fixture_mesh_make(&m);
        (void)fixture_add_node(&m, RW, "", true);
        (void)fixture_add_node(&m, RW, "", true);
        for (int i = 0; i < 120; i++) {
            if (draw(&seed, 3) == 0)
                random_write(&m.nodes[draw(&seed, m.count)], &seed);
            else
                random_delivery(&m, &seed);
        }
        for (size_t round = 0; round < 3; round++) {
            for (size_t i = 0; i < m.count; i++) {
                for (size_t j = 0; j < m.count; j++) {
                    if (i != j)
                        fixture_sync(&m.nodes[i], &m.nodes[j]);
                }
            }
        }
        fixture_expect_equal(&m.nodes[0], &m.nodes[1]);
        fixture_expect_equal(&m.nodes[0], &m.nodes[2]);
        struct commit_result *r;

        fixture_close(&m.nodes[1]);
        fixture_open(&m.nodes[1]);
        assert_int_equal(writer_snapshot(m.nodes[1].writer, &r), 0);
        assert_true(hash_equal(&r->digest, &m.nodes[0].digest));
        assert_true(vv_equal(&r->vv, &m.nodes[0].vv));
        assert_int_equal(r->roster->count, 3);
        assert_int_equal(r->pending_events, 0);
        commit_result_free(r);
        fixture_mesh_release(&m);
    }
}

/* Goal: the last event of a chain, then the others backwards: all wait, and
 * the first lets all of them through in one commit. */
static void test_pending_drains(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b;
    struct commit_result *r;
    struct intent *i = intent_new(INTENT_FOREIGN);
    size_t first;

    (void)state;
    fixture_mesh_make(&m);
    a = &m.nodes[0];
    b = fixture_add_node(&m, RW, "", true);
    first = a->events_count;
    for (int j = 0; j < 20; j++)
        assert_int_equal(fixture_write(a, OP_PUT, "k", NULL, "v"), 0);
    for (size_t j = a->events_count - 1; j > first; j--) {
        struct slice bytes = slice_of(a->events[j].bytes, a->events[j].size);

        assert_int_equal(fixture_deliver(b, bytes), CM_ERR_PENDING);
        assert_int_equal(fixture_deliver(b, bytes), CM_ERR_PENDING);
    }
    assert_int_equal(intent_set_event(i, slice_of(a->events[first].bytes,
                                                  a->events[first].size)),
                     0);
    r = fixture_commit(b, i);
    assert_int_equal(i->result, 0);
    assert_int_equal(r->events_count, 20);
    assert_int_equal(r->pending_events, 0);
    assert_false(r->events[0].own);
    assert_memory_equal(r->events[19].bytes.data, a->events[first + 19].bytes,
                        a->events[first + 19].size);
    commit_result_free(r);
    intent_free(i);
    fixture_expect_equal(a, b);
    fixture_mesh_release(&m);
}

/* Goal: events of an incarnation that nobody added wait for its add. */
static void test_unknown_incarnation(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b, *c;

    (void)state;
    fixture_mesh_make(&m);
    a = &m.nodes[0];
    b = fixture_add_node(&m, RW, "", true);
    c = fixture_add_node(&m, RW, "", true);
    assert_int_equal(fixture_write(c, OP_PUT, "from-c", NULL, "1"), 0);
    /* b knows nothing of c yet. */
    fixture_sync(b, c);
    fixture_expect(b, "from-c", "");
    fixture_sync(b, a);
    fixture_expect(b, "from-c", "1");
    fixture_sync(a, c);
    fixture_expect_equal(a, b);
    fixture_mesh_release(&m);
}

/* Goal: who is not in the roster cannot write, and says so. */
static void test_unrostered_refused(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *b;

    (void)state;
    fixture_mesh_make(&m);
    b = fixture_add_node(&m, RW, "", false);
    assert_int_equal(fixture_write(b, OP_PUT, "k", NULL, "v"),
                     CM_ERR_NOT_READY);
    fixture_mesh_release(&m);
}

/* ---- hostile and foreign events ---- */

struct forgery {
    uint64_t seq;
    struct hash previous;
    hlc_t hlc;
    struct op op;
    const struct dot *deps;
    size_t deps_count;
};

static void forge(const struct fixture_mesh *m, const struct fixture_node *n,
                  const struct forgery *f, struct buffer *out)
{
    struct hash hash;
    struct buffer body;
    struct event_draft draft = {
        .mesh = m->mesh,
        .generation = generation_id_of(1, buffer_slice(&m->order)),
        .dot = {n->incarnation, f->seq},
        .hlc = f->hlc,
        .previous = f->previous,
        .deps = f->deps,
        .deps_count = f->deps_count,
        .ops_count = 1,
    };

    buffer_init(&body, EVENT_SIZE_MAX);
    event_body_add(&body, &f->op);
    draft.body = buffer_slice(&body);
    buffer_init(out, EVENT_SIZE_MAX);
    assert_int_equal(event_encode(out, &draft, n->secret_key, &hash), 0);
    buffer_release(&body);
}

static struct op forged_put(const char *key, const char *value)
{
    return (struct op){.kind = OP_PUT,
                       .key = slice_of_string(key),
                       .value = slice_of_string(value)};
}

/* Goal: a second event under a known name is an alarm, applied by nobody; the
 * same bytes again are nothing. */
static void test_fork_and_duplicate(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b;
    struct forgery f = {.seq = 1,
                        .hlc = hlc_make(FIXTURE_WALL_MS, 9),
                        .op = forged_put("k", "other")};
    struct buffer bytes;
    struct commit_result *r;

    (void)state;
    fixture_mesh_make(&m);
    a = &m.nodes[0];
    b = fixture_add_node(&m, RW, "", true);
    assert_int_equal(fixture_write(b, OP_PUT, "k", NULL, "1"), 0);
    assert_int_equal(fixture_write(b, OP_PUT, "k", NULL, "2"), 0);
    fixture_sync(a, b);
    assert_int_equal(
        fixture_deliver(a, slice_of(b->events[0].bytes, b->events[0].size)),
        CM_ERR_DUPLICATE);
    forge(&m, b, &f, &bytes);
    assert_int_equal(fixture_deliver(a, buffer_slice(&bytes)), CM_ERR_FORK);
    buffer_release(&bytes);
    assert_int_equal(writer_snapshot(a->writer, &r), 0);
    assert_true(r->alarm_fork);
    assert_false(r->alarm_hazard);
    commit_result_free(r);
    fixture_expect(a, "k", "2");
    f.seq = 3; /* grows out of another history than the one held */
    f.previous.bytes[0] = 1;
    forge(&m, b, &f, &bytes);
    assert_int_equal(fixture_deliver(a, buffer_slice(&bytes)), CM_ERR_FORK);
    buffer_release(&bytes);
    fixture_mesh_release(&m);
}

/* Goal: every bit flipped and every truncation of an event is refused, and
 * nothing changes. */
static void test_garbage(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b;
    struct fixture_event *e;

    (void)state;
    fixture_mesh_make(&m);
    a = &m.nodes[0];
    b = fixture_add_node(&m, RW, "", true);
    assert_int_equal(fixture_write(b, OP_PUT, "k", NULL, "1"), 0);
    e = &b->events[0];
    for (size_t i = 0; i < e->size; i++) {
        int error;

        e->bytes[i] ^= 0x10;
        error = fixture_deliver(a, slice_of(e->bytes, e->size));
        assert_true(error != 0 && error != CM_ERR_FORK);
        e->bytes[i] ^= 0x10;
        error = fixture_deliver(a, slice_of(e->bytes, i));
        assert_true(error != 0);
    }
    fixture_expect(a, "k", "");
    fixture_sync(a, b);
    fixture_expect(a, "k", "1");
    fixture_mesh_release(&m);
}

/* Goal: what the certificate does not permit advances the vector and nothing
 * else; the origin itself refuses it. */
static void test_void(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b;
    struct forgery f = {.seq = 1,
                        .hlc = hlc_make(FIXTURE_WALL_MS, 9),
                        .op = forged_put("other/x", "bad")};
    struct buffer bytes;

    (void)state;
    fixture_mesh_make(&m);
    a = &m.nodes[0];
    b = fixture_add_node(&m, ROLE_WRITER, "mine/", true);
    assert_int_equal(fixture_write(b, OP_PUT, "other/x", NULL, "bad"),
                     CM_ERR_AUTHORITY);
    forge(&m, b, &f, &bytes);
    assert_int_equal(fixture_deliver(a, buffer_slice(&bytes)), 0);
    buffer_release(&bytes);
    fixture_expect(a, "other/x", "");
    assert_int_equal(vv_seq(&a->vv, &b->incarnation), 1);
    /* A writer of some prefixes sponsors nobody. */
    struct event e;
    struct dot dep = a->events[0].dot;

    f.op = (struct op){
        .kind = OP_ROSTER_ADD,
        .key = slice_of("0123456789abcdef", 16),
        .value = buffer_slice(&b->certificate),
    };
    f.seq = 2;
    f.previous = vv_find(&a->vv, &b->incarnation)->head;
    f.deps = &dep;
    f.deps_count = 1;
    forge(&m, b, &f, &bytes);
    assert_int_equal(event_decode(&e, buffer_slice(&bytes)), 0);
    event_release(&e);
    assert_int_equal(fixture_deliver(a, buffer_slice(&bytes)), 0);
    buffer_release(&bytes);
    struct commit_result *r;

    assert_int_equal(writer_snapshot(a->writer, &r), 0);
    assert_int_equal(r->roster->count, 2);
    commit_result_free(r);
    fixture_mesh_release(&m);
}

/* Goal: a stamp that no clock can mean waits; it neither enters the clock nor
 * stops the node. */
static void test_absurd_clock(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b;
    struct forgery f = {
        .seq = 1, .hlc = UINT64_MAX, .op = forged_put("k", "late")};
    struct buffer bytes;

    (void)state;
    fixture_mesh_make(&m);
    a = &m.nodes[0];
    b = fixture_add_node(&m, RW, "", true);
    forge(&m, b, &f, &bytes);
    assert_int_equal(fixture_deliver(a, buffer_slice(&bytes)), CM_ERR_HELD);
    buffer_release(&bytes);
    assert_int_equal(fixture_write(a, OP_PUT, "k", NULL, "now"), 0);
    fixture_expect(a, "k", "now");
    fixture_mesh_release(&m);
}

/* Tells a writer of the clocks; the result is the caller's. */
static struct commit_result *tell_clocks(struct fixture_node *n,
                                         int64_t offset_ms, size_t clocks)
{
    struct intent *i = intent_new(INTENT_CLOCKS);
    struct commit_result *r;

    assert_non_null(i);
    i->clock_offset_ms = offset_ms;
    i->clocks = clocks;
    r = fixture_commit(n, i);
    assert_non_null(r);
    intent_free(i);
    return r;
}

/* Goal: an event dated more than the drift ahead is held: it is not dropped, it
 * does not enter the clock, peers need not send it again, and it applies as
 * soon as time has come; the ones behind it follow. */
static hlc_t last_stamp(const struct fixture_node *n)
{
    const struct fixture_event *last = &n->events[n->events_count - 1];
    struct event e;
    hlc_t ret;

    assert_int_equal(event_decode(&e, slice_of(last->bytes, last->size)), 0);
    ret = e.hlc;
    event_release(&e);
    return ret;
}

/* cr-sqlite#76: the clock has to advance with what was applied, whether it won
 * or not; else a write that has seen it is dated before it and loses. */
static void test_clock_follows_what_was_applied(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b;

    (void)state;
    fixture_mesh_make(&m);
    a = &m.nodes[0];
    b = fixture_add_node(&m, RW, "", true);
    fixture_sync(a, b);
    b->wall_ms = a->wall_ms + 300; /* within the drift */
    assert_int_equal(fixture_write(b, OP_PUT, "k", NULL, "b"), 0);
    fixture_sync(a, b);
    assert_int_equal(fixture_write(a, OP_PUT, "k", NULL, "a"), 0);
    assert_true(last_stamp(a) > last_stamp(b));
    fixture_expect(a, "k", "a");
    fixture_sync(b, a);
    fixture_expect(b, "k", "a");
    /* What loses counts, too: an older one, concurrent with a's. */
    assert_int_equal(fixture_write(b, OP_DEL, "other", NULL, NULL), 0);
    assert_int_equal(fixture_write(b, OP_PUT, "other", NULL, "b"), 0);
    fixture_sync(a, b);
    assert_int_equal(fixture_write(a, OP_PUT, "other", NULL, "a"), 0);
    assert_true(last_stamp(a) > last_stamp(b));
    fixture_close(a); /* nor does a restart set it back */
    fixture_open(a);
    assert_int_equal(fixture_write(a, OP_PUT, "other", NULL, "a2"), 0);
    assert_true(last_stamp(a) > last_stamp(b));
    fixture_mesh_release(&m);
}

static void test_held(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b;
    struct commit_result *r;
    size_t first;

    (void)state;
    fixture_mesh_make(&m);
    a = &m.nodes[0];
    b = fixture_add_node(&m, RW, "", true);
    fixture_sync(a, b);
    b->wall_ms = a->wall_ms + 60000;
    first = b->events_count;
    assert_int_equal(fixture_write(b, OP_PUT, "k", NULL, "future"), 0);
    assert_int_equal(fixture_write(b, OP_PUT, "l", NULL, "later"), 0);
    for (size_t i = first; i < b->events_count; i++) {
        struct slice bytes = slice_of(b->events[i].bytes, b->events[i].size);

        assert_int_equal(fixture_deliver(a, bytes),
                         i == first ? CM_ERR_HELD : CM_ERR_PENDING);
    }
    assert_int_equal(fixture_write(a, OP_PUT, "n", NULL, "now"), 0);
    fixture_expect(a, "k", "");
    r = tell_clocks(a, 0, 2);
    assert_false(r->wrote);
    assert_int_equal(r->held.events, 1);
    assert_true(incarnation_equal(&r->held.incarnation, &b->incarnation));
    assert_int_equal(r->pending_events, 2);
    assert_int_equal(vv_seq(&r->received, &b->incarnation),
                     vv_seq(&b->vv, &b->incarnation));
    commit_result_free(r);
    /* The clock did not follow: what a wrote is dated by its own. */
    struct event e;
    assert_int_equal(
        event_decode(&e, slice_of(a->events[a->events_count - 1].bytes,
                                  a->events[a->events_count - 1].size)),
        0);
    assert_true(hlc_wall_ms(e.hlc) < b->wall_ms - 1000);
    event_release(&e);
    a->wall_ms += 60000;
    r = tell_clocks(a, 0, 2);
    assert_true(r->wrote);
    assert_int_equal(r->held.events, 0);
    assert_int_equal(r->pending_events, 0);
    commit_result_free(r);
    fixture_expect(a, "k", "future");
    fixture_expect(a, "l", "later");
    fixture_sync(b, a);
    fixture_expect_equal(a, b);
    fixture_mesh_release(&m);
}

/* Goal: a node whose own clock is behind takes what the median of all says is
 * no future. */
static void test_held_by_slow_clock(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b;

    (void)state;
    fixture_mesh_make(&m);
    a = &m.nodes[0];
    b = fixture_add_node(&m, RW, "", true);
    fixture_sync(a, b);
    b->wall_ms = a->wall_ms + 600000;
    commit_result_free(tell_clocks(a, 600000, 3));
    assert_int_equal(fixture_write(b, OP_PUT, "k", NULL, "right"), 0);
    assert_int_equal(
        fixture_deliver(a, slice_of(b->events[b->events_count - 1].bytes,
                                    b->events[b->events_count - 1].size)),
        0);
    fixture_expect(a, "k", "right");
    fixture_mesh_release(&m);
}

/* Goal: a node ahead of the median of three or more refuses to date events and
 * says why; of two clocks nobody can tell. */
static void test_clock_ahead(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a;
    struct commit_result *r;

    (void)state;
    fixture_mesh_make(&m);
    a = &m.nodes[0];
    r = tell_clocks(a, -CLOCK_DRIFT_MAX_MS - 1, 2);
    assert_false(r->clock_ahead);
    commit_result_free(r);
    assert_int_equal(fixture_write(a, OP_PUT, "k", NULL, "1"), 0);
    r = tell_clocks(a, -CLOCK_DRIFT_MAX_MS, 3);
    assert_false(r->clock_ahead);
    commit_result_free(r);
    assert_int_equal(fixture_write(a, OP_PUT, "k", NULL, "2"), 0);
    r = tell_clocks(a, -CLOCK_DRIFT_MAX_MS - 1, 3);
    assert_true(r->clock_ahead);
    commit_result_free(r);
    assert_int_equal(fixture_write(a, OP_PUT, "k", NULL, "3"), CM_ERR_CLOCK);
    fixture_expect(a, "k", "2");
    commit_result_free(tell_clocks(a, 0, 3));
    assert_int_equal(fixture_write(a, OP_PUT, "k", NULL, "4"), 0);
    fixture_mesh_release(&m);
}

/* Goal: dots that an operation supersedes are dependencies: without them the
 * event waits. */
static void test_supersedes_unseen(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b;
    struct dot unseen;
    struct forgery f = {.seq = 1,
                        .hlc = hlc_make(FIXTURE_WALL_MS + 500, 0),
                        .op = forged_put("k", "b")};
    struct buffer bytes;

    (void)state;
    fixture_mesh_make(&m);
    a = &m.nodes[0];
    b = fixture_add_node(&m, RW, "", true);
    unseen = (struct dot){a->incarnation, a->events_count + 1};
    f.op.supersedes = &unseen;
    f.op.supersedes_count = 1;
    forge(&m, b, &f, &bytes);
    assert_int_equal(fixture_deliver(a, buffer_slice(&bytes)), CM_ERR_PENDING);
    buffer_release(&bytes);
    assert_int_equal(fixture_write(a, OP_PUT, "k", NULL, "a"), 0);
    assert_int_equal(fixture_write(a, OP_PUT, "z", NULL, "a"), 0);
    fixture_expect(a, "k", "b");
    fixture_mesh_release(&m);
}

/* Goal: a peer that holds later events of mine stops my writes for good. */
static void test_identity_hazard(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a;
    struct forgery f = {.seq = 5,
                        .hlc = hlc_make(FIXTURE_WALL_MS, 1),
                        .op = forged_put("k", "lost")};
    struct buffer bytes;
    struct commit_result *r;

    (void)state;
    fixture_mesh_make(&m);
    a = &m.nodes[0];
    assert_int_equal(fixture_write(a, OP_PUT, "k", NULL, "1"), 0);
    forge(&m, a, &f, &bytes);
    bytes.data[bytes.size - 1] ^= 1; /* unsigned: no alarm */
    assert_int_equal(fixture_deliver(a, buffer_slice(&bytes)),
                     CM_ERR_SIGNATURE);
    assert_int_equal(fixture_write(a, OP_PUT, "k", NULL, "2"), 0);
    bytes.data[bytes.size - 1] ^= 1;
    assert_int_equal(fixture_deliver(a, buffer_slice(&bytes)), CM_ERR_FORK);
    buffer_release(&bytes);
    assert_int_equal(fixture_write(a, OP_PUT, "k", NULL, "3"), CM_ERR_FORK);
    fixture_close(a);
    fixture_open(a);
    assert_int_equal(fixture_write(a, OP_PUT, "k", NULL, "3"), CM_ERR_FORK);
    assert_int_equal(writer_snapshot(a->writer, &r), 0);
    assert_true(r->alarm_hazard);
    commit_result_free(r);
    fixture_expect(a, "k", "2");
    fixture_mesh_release(&m);
}

/* ---- adoption ---- */

struct pull {
    struct store_cursor *cursor;
    struct store_reader *reader;
    int space;
};

static int pull_next(void *context, struct entry_id *ret_id,
                     const struct entry **ret_entry)
{
    struct pull *p = context;
    const struct store_item *item;

    for (;;) {
        int error;

        if (p->cursor == NULL) {
            if (++p->space > SPACE_LAST)
                return CM_ERR_NOT_FOUND;
            error =
                store_cursor_open(p->reader, (enum space)p->space,
                                  slice_of(NULL, 0), false, NULL, &p->cursor);
            if (error != 0)
                return error;
        }
        error = store_cursor_next(p->cursor, &item);
        if (error == 0) {
            *ret_id = item->id;
            *ret_entry = &item->entry;
            return 0;
        }
        store_cursor_close(p->cursor);
        p->cursor = NULL;
        if (error != CM_ERR_NOT_FOUND)
            return error;
    }
}

static int adopt(struct fixture_mesh *m, struct fixture_node *from,
                 struct fixture_node *to, const struct hash *digest,
                 struct cm_detail *detail)
{
    struct pull p = {0};
    struct replacement r = {
        .vv = &from->vv,
        .generation_order = buffer_slice(&m->order),
        .next = pull_next,
        .context = &p,
        .state_digest = digest,
    };
    struct intent *i = intent_new(INTENT_REPLACE);
    int ret;

    assert_int_equal(store_reader_begin(from->store, &p.reader), 0);
    r.hlc_max = store_hlc(p.reader);
    assert_int_equal(store_meta(p.reader, META_STANDING, &r.standing), 0);
    i->replacement = &r;
    commit_result_free(fixture_commit(to, i));
    *detail = i->detail;
    ret = i->result;
    intent_free(i);
    store_cursor_close(p.cursor);
    store_reader_release(p.reader);
    return ret;
}

/* Goal: an empty replica adopts a state whole, or not at all if it is not what
 * its digest promised; events that came before it wait for it. */
static void test_replace(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b;
    struct local_op op;
    struct cm_detail detail;
    struct hash wrong;
    struct intent *i;

    (void)state;
    fixture_mesh_make(&m);
    a = &m.nodes[0];
    b = &m.nodes[1];
    fixture_keys(b, 2);
    fixture_certify(&m, b, "node-2", RW, "");
    fixture_identity(&m, b, false);
    m.count = 2;
    for (int j = 0; j < 50; j++) {
        char key[8];

        (void)snprintf(key, sizeof key, "k%d", j);
        assert_int_equal(fixture_write(a, OP_PUT, key, NULL, "v"), 0);
        assert_int_equal(fixture_write(a, OP_SET_ADD, "s", key, NULL), 0);
    }
    op = (struct local_op){
        .kind = OP_ROSTER_ADD,
        .key = slice_of(b->incarnation.bytes, INCARNATION_SIZE),
        .value = buffer_slice(&b->certificate),
    };
    i = fixture_do(a, &op);
    assert_int_equal(i->result, 0);
    intent_free(i);
    i = fixture_do(a, &op);
    assert_int_equal(i->result, CM_ERR_EXISTS);
    intent_free(i);
    assert_int_equal(fixture_write(b, OP_PUT, "k", NULL, "v"),
                     CM_ERR_NOT_READY);
    assert_int_equal(
        fixture_deliver(b, slice_of(a->events[0].bytes, a->events[0].size)),
        CM_ERR_PENDING);
    wrong = a->digest;
    wrong.bytes[3] ^= 1;
    assert_int_equal(adopt(&m, a, b, &wrong, &detail), CM_ERR_DAMAGED);
    fixture_expect(b, "k1", "");
    assert_int_equal(adopt(&m, a, b, &a->digest, &detail), 0);
    fixture_expect_equal(a, b);
    assert_int_equal(fixture_write(b, OP_PUT, "k1", NULL, "new"), 0);
    fixture_sync(a, b);
    fixture_expect(a, "k1", "new");
    fixture_expect_equal(a, b);
    assert_int_equal(adopt(&m, a, b, &a->digest, &detail), CM_ERR_EXISTS);
    fixture_close(b);
    fixture_open(b);
    assert_int_equal(fixture_write(b, OP_PUT, "k2", NULL, "new"), 0);
    fixture_mesh_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stale_concurrent),
        cmocka_unit_test(test_stale_after_revoke),
        cmocka_unit_test(test_stale_after_delete),
        cmocka_unit_test(test_stale_element),
        cmocka_unit_test(test_convergence),
        cmocka_unit_test(test_pending_drains),
        cmocka_unit_test(test_unknown_incarnation),
        cmocka_unit_test(test_unrostered_refused),
        cmocka_unit_test(test_fork_and_duplicate),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_void),
        cmocka_unit_test(test_absurd_clock),
        cmocka_unit_test(test_clock_follows_what_was_applied),
        cmocka_unit_test(test_held),
        cmocka_unit_test(test_held_by_slow_clock),
        cmocka_unit_test(test_clock_ahead),
        cmocka_unit_test(test_supersedes_unseen),
        cmocka_unit_test(test_identity_hazard),
        cmocka_unit_test(test_replace),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
