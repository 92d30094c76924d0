/* The standing in the writer: floors, collapse, pruning, fences, seals and
 * orders, between nodes with real stores and events carried by hand. */
#include "tests/unit/writer_fixture.h"

#include "crdt/eviction.h"
#include "node/standing_read.h"

#define RW (ROLE_WRITER | ROLE_ISSUER)

/* ---- helpers ---- */

static struct commit_result *ask(struct fixture_node *n, enum intent_kind kind)
{
    struct intent *i = intent_new(kind);
    struct commit_result *r;

    assert_non_null(i);
    r = fixture_commit(n, i);
    assert_non_null(r);
    assert_int_equal(i->result, 0);
    intent_free(i);
    r->intents = NULL;
    return r;
}

static void tell(struct fixture_node *to, const struct fixture_node *from)
{
    for (size_t i = 0; i < from->events_count; i++) {
        int error = fixture_deliver(
            to, slice_of(from->events[i].bytes, from->events[i].size));

        assert_true(error == 0 || error == CM_ERR_DUPLICATE ||
                    error == CM_ERR_PENDING || error == CM_ERR_SEALED ||
                    error == CM_ERR_EVICTION_CONFLICT);
    }
}

/* Everybody of the first count hears everything, and what that brings. */
static void spread(struct fixture_mesh *m, size_t count)
{
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < count; i++) {
            for (size_t k = 0; k < count; k++) {
                if (i != k)
                    tell(&m->nodes[i], &m->nodes[k]);
            }
        }
    }
}

static void mesh_of(struct fixture_mesh *m, size_t count)
{
    fixture_mesh_make(m);
    while (m->count < count)
        (void)fixture_add_node(m, RW, "", true);
    spread(m, count);
}

static void expect_all_equal(struct fixture_mesh *m, size_t count)
{
    for (size_t i = 1; i < count; i++)
        fixture_expect_equal(&m->nodes[0], &m->nodes[i]);
}

static size_t siblings_of(struct fixture_node *n, enum space space,
                          const char *key, const char *element)
{
    struct entry_id id = {.space = space,
                          .key = slice_of_string(key),
                          .element = slice_of_string(element)};
    struct store_reader *r;
    struct entry e;
    size_t ret;

    entry_init(&e);
    assert_int_equal(store_reader_begin(n->store, &r), 0);
    (void)store_get(r, &id, &e, NULL);
    ret = e.count;
    entry_release(&e);
    store_reader_release(r);
    return ret;
}

static struct standing *standing_of(struct fixture_node *n)
{
    struct store_reader *r;
    struct standing *ret = NULL;

    assert_int_equal(store_reader_begin(n->store, &r), 0);
    assert_int_equal(standing_read(&ret, r, NULL, NULL), 0);
    store_reader_release(r);
    return ret;
}

static bool is_sealed(struct fixture_node *n, const struct fixture_node *who)
{
    struct standing *s = standing_of(n);
    bool ret = standing_is_sealed(s, &who->incarnation, NULL);

    standing_free(s);
    return ret;
}

struct order {
    struct buffer bytes;
    struct hash hash;
};

static struct order make_order(struct fixture_mesh *m, uint64_t epoch,
                               const struct order *previous,
                               const struct fixture_node *who)
{
    struct incarnation names[1];
    struct eviction_order o = {.mesh = m->mesh,
                               .epoch = epoch,
                               .incarnations = names,
                               .created_ms = FIXTURE_WALL_MS};
    struct order ret;

    if (who != NULL) {
        names[0] = who->incarnation;
        o.count = 1;
    }
    if (previous != NULL)
        o.previous = previous->hash;
    o.generation = generation_id_of(1, buffer_slice(&m->order));
    buffer_init(&ret.bytes, EVICTION_SIZE_MAX);
    assert_int_equal(eviction_encode(&ret.bytes, &o, m->authority.secret_key),
                     0);
    ret.hash = eviction_hash(buffer_slice(&ret.bytes));
    return ret;
}

static int hear(struct fixture_node *n, const struct order *o)
{
    struct intent *i = intent_new(INTENT_ORDER);
    int ret;

    assert_int_equal(intent_set_event(i, buffer_slice(&o->bytes)), 0);
    commit_result_free(fixture_commit(n, i));
    ret = i->result;
    intent_free(i);
    return ret;
}

static void propose(struct fixture_node *n)
{
    commit_result_free(ask(n, INTENT_PROPOSE));
}

/* ---- the floor ---- */

/* Goal: once everyone has acknowledged, tombstones are gone everywhere, equal
 * vectors mean equal stores, and all of it is there again after a restart. */
static void test_floor_collapses(void **state)
{
    struct fixture_mesh m;

    (void)state;
    mesh_of(&m, 3);
    assert_int_equal(fixture_write(&m.nodes[0], OP_PUT, "k", NULL, "1"), 0);
    assert_int_equal(fixture_write(&m.nodes[1], OP_PUT, "stays", NULL, "x"), 0);
    spread(&m, 3);
    assert_int_equal(fixture_write(&m.nodes[1], OP_DEL, "k", NULL, NULL), 0);
    assert_int_equal(fixture_write(&m.nodes[2], OP_REVOKE, "gone", NULL, NULL),
                     0);
    spread(&m, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(siblings_of(&m.nodes[i], SPACE_REGISTER, "k", ""), 1);
    propose(&m.nodes[1]);
    spread(&m, 3);
    for (size_t i = 0; i < 3; i++) {
        struct fixture_node *n = &m.nodes[i];
        struct hash proof = n->proof;
        struct commit_result *r;

        assert_int_equal(siblings_of(n, SPACE_REGISTER, "k", ""), 0);
        assert_int_equal(siblings_of(n, SPACE_REGISTER, "gone", ""), 1);
        fixture_expect(n, "stays", "x");
        fixture_close(n);
        fixture_open(n);
        assert_int_equal(writer_snapshot(n->writer, &r), 0);
        assert_true(hash_equal(&r->proof, &proof));
        assert_true(r->standing->floor_time > 0);
        assert_false(r->standing->proposal_open);
        assert_true(r->collect_wall_ms == UINT64_MAX);
        commit_result_free(r);
    }
    expect_all_equal(&m, 3);
    fixture_mesh_release(&m);
}

/* Goal: without the acknowledgement of one nothing goes, and the one is named;
 * nobody acknowledges what nobody proposed. */
static void test_floor_held_back(void **state)
{
    struct fixture_mesh m;
    struct commit_result *r;
    size_t events;

    (void)state;
    mesh_of(&m, 3);
    assert_int_equal(fixture_write(&m.nodes[0], OP_PUT, "k", NULL, "1"), 0);
    assert_int_equal(fixture_write(&m.nodes[0], OP_DEL, "k", NULL, NULL), 0);
    events = m.nodes[1].events_count;
    spread(&m, 2);
    assert_int_equal(m.nodes[1].events_count, events); /* idle: no ack */
    propose(&m.nodes[0]);
    spread(&m, 2);
    assert_int_equal(siblings_of(&m.nodes[0], SPACE_REGISTER, "k", ""), 1);
    assert_int_equal(siblings_of(&m.nodes[1], SPACE_REGISTER, "k", ""), 1);
    r = ask(&m.nodes[0], INTENT_EXPIRE);
    commit_result_free(r);
    assert_int_equal(writer_snapshot(m.nodes[0].writer, &r), 0);
    assert_true(r->standing->proposal_open);
    assert_int_equal(r->standing->holders_count, 1);
    assert_true(incarnation_equal(&r->standing->holders[0].incarnation,
                                  &m.nodes[2].incarnation));
    commit_result_free(r);
    propose(&m.nodes[0]); /* it has one open: nothing is written */
    spread(&m, 3);
    assert_int_equal(siblings_of(&m.nodes[2], SPACE_REGISTER, "k", ""), 0);
    expect_all_equal(&m, 3);
    fixture_mesh_release(&m);
}

static struct event newest_of(const struct fixture_node *n)
{
    const struct fixture_event *e = &n->events[n->events_count - 1];
    struct event ret;

    assert_int_equal(event_decode(&ret, slice_of(e->bytes, e->size)), 0);
    return ret;
}

static bool names(const struct event *e, const struct dot *d)
{
    bool ret = false;

    for (size_t i = 0; i < e->deps_count; i++)
        ret = ret || dot_equal(&e->deps[i], d);
    return ret;
}

/* Goal: an acknowledgement names its proposal and nothing that this one names;
 * what it left out is depended on all the same, also by what comes after a
 * restart. Method: the second floor, whose proposal names the first one's
 * acknowledgements of all. */
static void test_ack_names_little(void **state)
{
    struct fixture_mesh m;
    struct event proposal, ack, next;

    (void)state;
    mesh_of(&m, 6);
    for (int floors = 0; floors < 2; floors++) {
        assert_int_equal(fixture_write(&m.nodes[0], OP_PUT, "k", NULL, "1"), 0);
        assert_int_equal(fixture_write(&m.nodes[0], OP_DEL, "k", NULL, NULL),
                         0);
        if (floors == 0) {
            spread(&m, 6);
            propose(&m.nodes[0]);
            spread(&m, 6);
        }
    }
    propose(&m.nodes[0]);
    proposal = newest_of(&m.nodes[0]);
    assert_int_equal(proposal.ops[0].kind, OP_ACK);
    tell(&m.nodes[5], &m.nodes[0]);
    ack = newest_of(&m.nodes[5]);
    assert_int_equal(ack.ops[0].kind, OP_ACK);
    assert_true(names(&ack, &proposal.dot));
    assert_int_equal(ack.deps_count, 1);
    fixture_close(&m.nodes[5]);
    fixture_open(&m.nodes[5]);
    assert_int_equal(fixture_write(&m.nodes[5], OP_PUT, "n", NULL, "1"), 0);
    next = newest_of(&m.nodes[5]);
    assert_int_equal(next.deps_count, 0);
    spread(&m, 6);
    assert_int_equal(siblings_of(&m.nodes[5], SPACE_REGISTER, "k", ""), 0);
    expect_all_equal(&m, 6);
    event_release(&proposal);
    event_release(&ack);
    event_release(&next);
    fixture_mesh_release(&m);
}

/* Goal: a value whose time is up goes with the floor, not before its time;
 * watchers were told once. */
static void test_floor_expiry(void **state)
{
    struct fixture_mesh m;
    struct local_op op = fixture_op(OP_PUT, "ttl", NULL, "v");
    struct commit_result *r;

    (void)state;
    mesh_of(&m, 2);
    op.expires = hlc_make(m.nodes[0].wall_ms + 5000, 0);
    intent_free(fixture_do(&m.nodes[0], &op));
    assert_int_equal(writer_snapshot(m.nodes[0].writer, &r), 0);
    assert_int_equal(r->collect_wall_ms, hlc_wall_ms(op.expires));
    commit_result_free(r);
    spread(&m, 2);
    propose(&m.nodes[0]);
    spread(&m, 2);
    assert_int_equal(siblings_of(&m.nodes[0], SPACE_REGISTER, "ttl", ""), 1);
    m.nodes[0].wall_ms += 6000;
    m.nodes[1].wall_ms += 6000;
    propose(&m.nodes[1]);
    spread(&m, 2);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(siblings_of(&m.nodes[i], SPACE_REGISTER, "ttl", ""),
                         0);
    expect_all_equal(&m, 2);
    fixture_mesh_release(&m);
}

/* Goal: a replica that gets the floor and what was written after it in one
 * batch collapses in between: the remove names only what its origin had left.
 */
static void test_floor_within_batch(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b, *c;
    struct intent *first = NULL;
    struct intent **next = &first;
    struct intent *i;

    (void)state;
    mesh_of(&m, 3);
    a = &m.nodes[0];
    b = &m.nodes[1];
    c = &m.nodes[2];
    assert_int_equal(fixture_write(a, OP_SET_ADD, "s", "e", NULL), 0);
    assert_int_equal(fixture_write(b, OP_SET_ADD, "s", "e", NULL), 0);
    spread(&m, 3);
    assert_int_equal(siblings_of(c, SPACE_SET, "s", "e"), 2);
    propose(a);
    tell(b, a);
    tell(c, a); /* c acknowledges, and hears nothing of b's */
    tell(a, b);
    tell(a, c);
    assert_int_equal(siblings_of(a, SPACE_SET, "s", "e"), 1);
    assert_int_equal(siblings_of(c, SPACE_SET, "s", "e"), 2);
    assert_int_equal(fixture_write(a, OP_SET_REMOVE, "s", "e", NULL), 0);
    for (size_t k = 0; k < 2; k++) {
        for (size_t j = 0; j < m.nodes[k].events_count; j++) {
            *next = intent_new(INTENT_FOREIGN);
            assert_int_equal(
                intent_set_event(*next, slice_of(m.nodes[k].events[j].bytes,
                                                 m.nodes[k].events[j].size)),
                0);
            next = &(*next)->next;
        }
    }
    commit_result_free(fixture_commit(c, first));
    while ((i = first) != NULL) {
        first = i->next;
        intent_free(i);
    }
    fixture_expect_member(c, "s", "e", false);
    spread(&m, 3);
    expect_all_equal(&m, 3);
    fixture_mesh_release(&m);
}

/* Goal: event bytes below the floor go, this node's newest own stays; a watch
 * from before is told to start over, one from after goes on. */
static int ignore(void *context, const struct change *c)
{
    (void)context;
    (void)c;
    return 0;
}

static bool holds(struct fixture_node *n, const struct dot *dot)
{
    struct store_reader *r;
    struct slice bytes;
    int error;

    assert_int_equal(store_reader_begin(n->store, &r), 0);
    error = store_event(r, dot, &bytes);
    store_reader_release(r);
    assert_true(error == 0 || error == CM_ERR_NOT_FOUND);
    return error == 0;
}

static void test_prune(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b;
    struct store_reader *r;
    struct commit_result *result;
    uint64_t revision;

    (void)state;
    mesh_of(&m, 2);
    a = &m.nodes[0];
    b = &m.nodes[1];
    for (int i = 0; i < 20; i++) {
        assert_int_equal(fixture_write(a, OP_PUT, "k", NULL, i % 2 ? "1" : "2"),
                         0);
        assert_int_equal(fixture_write(b, OP_PUT, "l", NULL, i % 2 ? "1" : "2"),
                         0);
    }
    spread(&m, 2);
    assert_true(holds(a, &b->events[0].dot) && holds(a, &a->events[0].dot));
    propose(a);
    spread(&m, 2);
    assert_true(holds(a, &b->events[0].dot)); /* lazily */
    result = ask(a, INTENT_PRUNE);
    assert_true(result->wrote);
    commit_result_free(result);
    result = ask(a, INTENT_PRUNE);
    assert_false(result->wrote); /* nothing left: nothing is written */
    assert_false(result->prune_due);
    commit_result_free(result);
    assert_false(holds(a, &b->events[0].dot));
    assert_false(holds(a, &a->events[0].dot));
    assert_true(holds(a, &a->events[a->events_count - 1].dot));
    assert_true(holds(b, &a->events[0].dot));
    assert_int_equal(store_reader_begin(a->store, &r), 0);
    assert_int_equal(store_changes(r, 1, &revision, ignore, NULL),
                     CM_ERR_NEEDS_CUT);
    assert_int_equal(
        store_changes(r, store_oldest_revision(r), &revision, ignore, NULL),
        CM_ERR_NOT_FOUND);
    store_reader_release(r);
    assert_int_equal(fixture_write(a, OP_PUT, "k", NULL, "after"), 0);
    spread(&m, 2);
    expect_all_equal(&m, 2);
    fixture_close(a);
    fixture_open(a);
    result = ask(a, INTENT_PRUNE);
    assert_false(result->wrote);
    commit_result_free(result);
    fixture_mesh_release(&m);
}

/* ---- cuts ---- */

/* One store's entries as a difference: first those that it lacks and the other
 * one has, then all of its own. */
struct difference {
    struct fixture_node *source;
    struct store_reader *mine, *theirs; /* of source, of the other */
    struct store_cursor *cursor;
    int space;
    bool second;
    struct entry none;
};

static int difference_next(void *context, struct entry_id *ret_id,
                           const struct entry **ret_entry)
{
    struct difference *d = context;
    const struct store_item *item;
    struct entry found;
    int error;

    for (;;) {
        if (d->cursor == NULL) {
            if (d->space > SPACE_LAST && d->second)
                return CM_ERR_NOT_FOUND;
            if (d->space > SPACE_LAST) {
                d->second = true;
                d->space = SPACE_REGISTER;
            }
            assert_int_equal(store_cursor_open(d->second ? d->mine : d->theirs,
                                               (enum space)d->space,
                                               slice_of(NULL, 0), false, NULL,
                                               &d->cursor),
                             0);
        }
        error = store_cursor_next(d->cursor, &item);
        if (error != 0) {
            store_cursor_close(d->cursor);
            d->cursor = NULL;
            d->space++;
            continue;
        }
        *ret_id = item->id;
        *ret_entry = &item->entry;
        if (d->second)
            return 0;
        entry_init(&found);
        error = store_get(d->mine, &item->id, &found, NULL);
        entry_release(&found);
        *ret_entry = &d->none;
        if (error == CM_ERR_NOT_FOUND)
            return 0;
    }
}

static int join_cut(struct fixture_mesh *m, struct fixture_node *to,
                    struct fixture_node *from, struct cm_detail *detail)
{
    struct difference d = {.source = from, .space = SPACE_REGISTER};
    struct intent *announce = intent_new(INTENT_ADOPTING);
    struct slice standing = {0};
    struct replacement r = {.mode = ADOPT_JOIN,
                            .vv = &from->vv,
                            .hlc_max = hlc_make(from->wall_ms, 0),
                            .any_clock = true,
                            .generation_order = buffer_slice(&m->order),
                            .next = difference_next,
                            .context = &d,
                            .state_digest = &from->digest};
    int error;

    announce->adopting = &from->vv;
    commit_result_free(fixture_commit(to, announce));
    announce->adopting = NULL;
    intent_free(announce);
    entry_init(&d.none);
    assert_int_equal(store_reader_begin(from->store, &d.mine), 0);
    assert_int_equal(store_reader_begin(to->store, &d.theirs), 0);
    (void)store_meta(d.mine, META_STANDING, &standing);
    r.standing = standing;
    error = writer_replace(to->writer, &r, to->wall_ms, detail);
    store_reader_release(d.mine);
    store_reader_release(d.theirs);
    return error;
}

/* Goal: a cut brings the floor: who joins it collapses what it still has, and
 * is equal to its source; the proposal that passed there is gone here too. */
static void test_cut_brings_floor(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b, *c;
    struct cm_detail detail = {{0}};

    (void)state;
    mesh_of(&m, 3);
    a = &m.nodes[0];
    b = &m.nodes[1];
    c = &m.nodes[2];
    assert_int_equal(fixture_write(a, OP_PUT, "k", NULL, "1"), 0);
    assert_int_equal(fixture_write(a, OP_DEL, "k", NULL, NULL), 0);
    assert_int_equal(fixture_write(a, OP_SET_ADD, "s", "e", NULL), 0);
    spread(&m, 3);
    propose(a);
    tell(c, a); /* c acknowledges and hears no more */
    tell(a, c);
    tell(b, a);
    tell(b, c);
    tell(a, b);
    assert_int_equal(siblings_of(a, SPACE_REGISTER, "k", ""), 0);
    assert_int_equal(siblings_of(c, SPACE_REGISTER, "k", ""), 1);
    assert_int_equal(fixture_write(a, OP_PUT, "after", NULL, "x"), 0);
    if (join_cut(&m, c, a, &detail) != 0)
        fail_msg("%s", detail.text);
    commit_result_free(ask(c, INTENT_EXPIRE));
    assert_int_equal(siblings_of(c, SPACE_REGISTER, "k", ""), 0);
    fixture_expect_equal(a, c);
    assert_int_equal(fixture_write(c, OP_SET_REMOVE, "s", "e", NULL), 0);
    spread(&m, 3);
    expect_all_equal(&m, 3);
    fixture_mesh_release(&m);
}

/* Goal: a cut beyond a seal is refused by those that hold the seal. */
static void test_cut_beyond_seal(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b, *c;
    struct cm_detail detail = {{0}};
    struct order order;

    (void)state;
    mesh_of(&m, 3);
    a = &m.nodes[0];
    b = &m.nodes[1];
    c = &m.nodes[2];
    order = make_order(&m, 1, NULL, c);
    assert_int_equal(hear(a, &order), 0);
    spread(&m, 2);
    assert_true(is_sealed(a, c) && is_sealed(b, c));
    assert_int_equal(fixture_write(c, OP_PUT, "late", NULL, "thief"), 0);
    assert_int_equal(join_cut(&m, a, c, &detail), CM_ERR_SEALED);
    fixture_expect(a, "late", "");
    buffer_release(&order.bytes);
    fixture_mesh_release(&m);
}

/* ---- evictions ---- */

/* Goal: what the evicted node wrote before stays everywhere, what it writes
 * after is refused everywhere, the floor goes on without it, and it goes on
 * writing for itself. */
static void test_evict(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b, *c;
    struct order order;

    (void)state;
    mesh_of(&m, 3);
    a = &m.nodes[0];
    b = &m.nodes[1];
    c = &m.nodes[2];
    assert_int_equal(fixture_write(c, OP_PUT, "before", NULL, "c"), 0);
    spread(&m, 3);
    order = make_order(&m, 1, NULL, c);
    assert_int_equal(hear(a, &order), 0);
    assert_int_equal(hear(a, &order), CM_ERR_DUPLICATE);
    tell(b, a); /* b hears of it by a's fence alone, and fences too */
    assert_true(is_sealed(b, c));
    tell(a, b);
    assert_true(is_sealed(a, c));
    assert_int_equal(fixture_write(c, OP_PUT, "after", NULL, "thief"), 0);
    assert_int_equal(
        fixture_deliver(a, slice_of(c->events[c->events_count - 1].bytes,
                                    c->events[c->events_count - 1].size)),
        CM_ERR_SEALED);
    tell(b, c);
    for (size_t i = 0; i < 2; i++) {
        fixture_expect(&m.nodes[i], "before", "c");
        fixture_expect(&m.nodes[i], "after", "");
    }
    assert_int_equal(fixture_write(a, OP_DEL, "before", NULL, NULL), 0);
    tell(b, a);
    propose(b);
    spread(&m, 2);
    assert_int_equal(siblings_of(a, SPACE_REGISTER, "before", ""), 0);
    expect_all_equal(&m, 2);
    tell(c, a);
    tell(c, b);
    fixture_expect(c, "after", "thief");
    assert_int_equal(fixture_write(c, OP_PUT, "after", NULL, "more"), 0);
    fixture_close(c);
    fixture_open(c);
    assert_int_equal(fixture_write(c, OP_PUT, "after", NULL, "still"), 0);
    buffer_release(&order.bytes);
    fixture_mesh_release(&m);
}

/* Goal: from its own fence on a node takes an evictee's event only if another
 * fence covers it, and that fence is known while it waits for that event. */
static void test_evictee_waits(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b, *c;
    struct order order;

    (void)state;
    mesh_of(&m, 3);
    a = &m.nodes[0];
    b = &m.nodes[1];
    c = &m.nodes[2];
    assert_int_equal(fixture_write(c, OP_PUT, "late", NULL, "c"), 0);
    tell(b, c); /* b has it, a does not */
    order = make_order(&m, 1, NULL, c);
    assert_int_equal(hear(a, &order), 0);
    assert_int_equal(
        fixture_deliver(a, slice_of(c->events[0].bytes, c->events[0].size)),
        CM_ERR_PENDING);
    fixture_expect(a, "late", "");
    assert_int_equal(hear(b, &order), 0);
    tell(a, b); /* the fence names it, waits for it, and lets it in */
    fixture_expect(a, "late", "c");
    spread(&m, 2);
    assert_true(is_sealed(a, c) && is_sealed(b, c));
    expect_all_equal(&m, 2);
    buffer_release(&order.bytes);
    fixture_mesh_release(&m);
}

/* Goal: of two orders of one epoch the first one heard is kept to, with an
 * alarm; fences of the other wait; the authority's next one settles it. Forged
 * ones are refused. */
static void test_orders_conflict(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b, *c;
    struct order one, other, next, forged;
    struct commit_result *r;

    (void)state;
    mesh_of(&m, 4);
    a = &m.nodes[0];
    b = &m.nodes[1];
    c = &m.nodes[2];
    one = make_order(&m, 1, NULL, &m.nodes[3]);
    other = make_order(&m, 1, NULL, c);
    next = make_order(&m, 2, &one, NULL);
    forged = make_order(&m, 1, NULL, a);
    forged.bytes.data[forged.bytes.size - 1] ^= 1;
    assert_int_equal(hear(a, &forged), CM_ERR_SIGNATURE);
    assert_int_equal(hear(a, &one), 0);
    assert_int_equal(hear(b, &other), 0);
    assert_int_equal(hear(b, &one), CM_ERR_EVICTION_CONFLICT);
    assert_int_equal(writer_snapshot(b->writer, &r), 0);
    assert_true(r->alarm_conflict);
    commit_result_free(r);
    spread(&m, 2);
    assert_false(is_sealed(a, c) || is_sealed(b, &m.nodes[3]));
    assert_int_equal(hear(a, &next), 0);
    assert_int_equal(hear(c, &one), 0);
    tell(a, c);
    tell(c, a);
    fixture_close(a); /* what was heard is heard again */
    fixture_open(a);
    fixture_close(b);
    fixture_open(b);
    assert_int_equal(writer_snapshot(b->writer, &r), 0);
    assert_true(r->standing->heard_count > 0);
    commit_result_free(r);
    buffer_release(&one.bytes);
    buffer_release(&other.bytes);
    buffer_release(&next.bytes);
    buffer_release(&forged.bytes);
    fixture_mesh_release(&m);
}

/* ---- what is refused ---- */

/* Goal: clients write no control operation, an evictee sponsors nobody, an
 * evicted incarnation never enters again, a reader never enters. */
static void test_refusals(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *reader, *gone;
    struct local_op op = {.kind = OP_FENCE, .value = slice_of("x", 1)};
    struct order order;
    struct intent *i;

    (void)state;
    mesh_of(&m, 2);
    a = &m.nodes[0];
    op.key = slice_of(a->incarnation.bytes, INCARNATION_SIZE);
    i = fixture_do(a, &op);
    assert_int_equal(i->result, CM_ERR_INVALID);
    intent_free(i);
    reader = fixture_add_node(&m, ROLE_READER, "", false);
    op.kind = OP_ROSTER_ADD;
    op.key = slice_of(reader->incarnation.bytes, INCARNATION_SIZE);
    op.value = buffer_slice(&reader->certificate);
    i = fixture_do(a, &op);
    assert_int_equal(i->result, CM_ERR_AUTHORITY);
    intent_free(i);
    gone = fixture_add_node(&m, RW, "", false);
    order = make_order(&m, 1, NULL, gone);
    assert_int_equal(hear(a, &order), 0);
    op.key = slice_of(gone->incarnation.bytes, INCARNATION_SIZE);
    op.value = buffer_slice(&gone->certificate);
    i = fixture_do(a, &op);
    assert_int_equal(i->result, CM_ERR_SEALED);
    intent_free(i);
    buffer_release(&order.bytes);
    fixture_mesh_release(&m);
}

/* Goal: a batch that fails leaves the standing as it was. */
static void test_abort(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a;
    struct order order;
    struct commit_result *r;
    struct hash proof;
    bool through = false;

    (void)state;
    mesh_of(&m, 2);
    a = &m.nodes[0];
    order = make_order(&m, 1, NULL, &m.nodes[1]);
    proof = a->proof;
    for (uint64_t at = 1; at < 1000 && !through; at++) {
        struct intent *i = intent_new(INTENT_ORDER);

        assert_int_equal(intent_set_event(i, buffer_slice(&order.bytes)), 0);
        cm_alloc_fail_after(at);
        r = writer_commit(a->writer, i, a->wall_ms);
        cm_alloc_fail_after(0);
        if (r != NULL && i->result == 0) {
            through = true;
            fixture_keep_own(a, &r->events[0]);
            assert_false(hash_equal(&r->proof, &proof));
        } else {
            struct commit_result *now;

            assert_int_equal(writer_snapshot(a->writer, &now), 0);
            assert_true(hash_equal(&now->proof, &proof));
            assert_int_equal(now->standing->heard_count, 0);
            commit_result_free(now);
        }
        commit_result_free(r);
        intent_free(i);
    }
    assert_true(through);
    assert_true(is_sealed(a, &m.nodes[1]));
    buffer_release(&order.bytes);
    fixture_mesh_release(&m);
}

/* ---- forks ---- */

/* The newest event of n once more, with another value and its name. */
static void forge_newest(const struct fixture_mesh *m,
                         const struct fixture_node *n, struct buffer *out)
{
    const struct fixture_event *newest = &n->events[n->events_count - 1];
    struct op op = {.kind = OP_PUT,
                    .key = slice_of_string("x"),
                    .value = slice_of_string("other")};
    struct event_draft draft = {
        .mesh = m->mesh,
        .generation = generation_id_of(1, buffer_slice(&m->order)),
        .dot = newest->dot,
        .ops_count = 1,
    };
    struct buffer body;
    struct event e;
    struct hash hash;

    assert_int_equal(event_decode(&e, slice_of(newest->bytes, newest->size)),
                     0);
    draft.hlc = e.hlc;
    draft.previous = e.previous;
    draft.deps = e.deps;
    draft.deps_count = e.deps_count;
    buffer_init(&body, EVENT_SIZE_MAX);
    event_body_add(&body, &op);
    draft.body = buffer_slice(&body);
    buffer_init(out, EVENT_SIZE_MAX);
    assert_int_equal(event_encode(out, &draft, n->secret_key, &hash), 0);
    buffer_release(&body);
    event_release(&e);
}

static const struct hash *head_of(const struct fixture_node *n,
                                  const struct fixture_node *of)
{
    const struct vv_entry *e = vv_find(&n->vv, &of->incarnation);

    assert_non_null(e);
    return &e->head;
}

static bool has_lost(struct fixture_node *n, const struct fixture_node *fork)
{
    struct commit_result *r;
    bool ret;

    assert_int_equal(writer_snapshot(n->writer, &r), 0);
    ret = r->lost_branch;
    assert_int_equal(r->reason, ret ? RETURN_FORK : RETURN_NONE);
    if (ret)
        assert_true(incarnation_equal(&r->lost.fork, &fork->incarnation));
    commit_result_free(r);
    return ret;
}

/* Goal: of two nodes that hold different events under one name the one with the
 * higher hash finds by fences alone that it has to return, once the name is on
 * its way out, and finds it again after a restart; nobody seals before. */
static void test_lost_branch(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b, *c, *loser, *winner;
    struct order order;
    struct buffer other;

    (void)state;
    mesh_of(&m, 3);
    a = &m.nodes[0];
    b = &m.nodes[1];
    c = &m.nodes[2];
    assert_int_equal(fixture_write(c, OP_PUT, "x", NULL, "one"), 0);
    forge_newest(&m, c, &other);
    tell(a, c);
    assert_int_equal(fixture_deliver(b, buffer_slice(&other)), 0);
    fixture_expect(a, "x", "one");
    fixture_expect(b, "x", "other");
    assert_false(has_lost(a, c) || has_lost(b, c));
    order = make_order(&m, 1, NULL, c);
    assert_int_equal(hear(a, &order), 0);
    assert_int_equal(hear(b, &order), 0);
    assert_false(has_lost(a, c) || has_lost(b, c));
    spread(&m, 2);
    loser = memcmp(head_of(a, c), head_of(b, c), HASH_SIZE) > 0 ? a : b;
    winner = loser == a ? b : a;
    assert_true(has_lost(loser, c));
    assert_false(has_lost(winner, c));
    assert_false(is_sealed(a, c) || is_sealed(b, c));
    fixture_close(loser);
    fixture_open(loser);
    tell(loser, winner);
    assert_true(has_lost(loser, c));
    buffer_release(&other);
    buffer_release(&order.bytes);
    fixture_mesh_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_floor_collapses),
        cmocka_unit_test(test_floor_held_back),
        cmocka_unit_test(test_ack_names_little),
        cmocka_unit_test(test_floor_expiry),
        cmocka_unit_test(test_floor_within_batch),
        cmocka_unit_test(test_prune),
        cmocka_unit_test(test_cut_brings_floor),
        cmocka_unit_test(test_cut_beyond_seal),
        cmocka_unit_test(test_evict),
        cmocka_unit_test(test_evictee_waits),
        cmocka_unit_test(test_orders_conflict),
        cmocka_unit_test(test_lost_branch),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_abort),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
