/* What an earlier incarnation wrote and the mesh never got: written again,
 * parked or dropped. Each test makes a replica whose generation has sealed the
 * earlier incarnation, puts its unsent events there by hand (dots, stamps and
 * superseded dots as the trace needs them), and lets one batch run. */
#include "node/unsent.h"

#include "node/writer_internal.h"
#include "tests/unit/writer_fixture.h"

#define SEALED_AT 2 /* the earlier incarnation's last seq that counts */
#define EARLY_MS (FIXTURE_WALL_MS - 100000)
#define LATE_MS (FIXTURE_WALL_MS + 50)

struct life {
    struct fixture_mesh mesh;
    struct fixture_node *node;
    struct incarnation former;
    uint8_t former_key[64];
    struct hash previous;
    uint64_t seq;
};

static void life_begin(struct life *l)
{
    uint8_t seed[32] = {77};
    struct generation_order order = {0};
    struct hash none = {{0}};
    struct fixture_mesh *m = &l->mesh;
    struct fixture_node *n = &m->nodes[0];

    assert_true(sodium_init() >= 0);
    memset(l, 0, sizeof *l);
    authority_make(&m->authority, seed);
    m->mesh = mesh_id_of(m->authority.public_key);
    fixture_keys(n, 1);
    fixture_certify(m, n, "node-1", ROLE_WRITER | ROLE_ISSUER | ROLE_ADMIN, "");
    memcpy(l->former_key, n->secret_key, sizeof l->former_key);
    memset(l->former.bytes, 0x11, INCARNATION_SIZE);
    l->seq = SEALED_AT;
    order.mesh = m->mesh;
    order.number = 2;
    order.founder = n->incarnation;
    order.founder_certificate = buffer_slice(&n->certificate);
    order.created_ms = FIXTURE_WALL_MS;
    order.founder_level = LEVEL_LAST;
    vv_init(&order.sealed);
    assert_int_equal(vv_set(&order.sealed, &l->former, SEALED_AT, &none), 0);
    buffer_init(&m->order, GENERATION_ORDER_SIZE_MAX);
    assert_int_equal(
        generation_order_encode(&m->order, &order, m->authority.secret_key), 0);
    vv_release(&order.sealed);
    fixture_identity(m, n, true);
    m->count = 1;
    l->node = n;
}

static void life_end(struct life *l)
{
    fixture_mesh_release(&l->mesh);
}

/* The next event of the earlier incarnation, as it was signed then. */
static void encode(struct life *l, uint64_t wall_ms, const struct op *ops,
                   size_t count, struct buffer *out)
{
    struct buffer body;
    struct event_draft draft = {
        .mesh = l->mesh.mesh,
        .generation = writer_generation(l->node->writer),
        .dot = {.incarnation = l->former, .seq = ++l->seq},
        .hlc = hlc_make(wall_ms, (uint16_t)l->seq),
        .previous = l->previous,
        .ops_count = count,
    };

    buffer_init(&body, EVENT_SIZE_MAX);
    buffer_init(out, EVENT_SIZE_MAX);
    for (size_t i = 0; i < count; i++)
        event_body_add(&body, &ops[i]);
    draft.body = buffer_slice(&body);
    if (l->seq == 1)
        memset(&draft.previous, 0, sizeof draft.previous);
    else
        memset(&draft.previous, 5, sizeof draft.previous);
    assert_int_equal(event_encode(out, &draft, l->former_key, &l->previous), 0);
    buffer_release(&body);
}

/* Into the store, as a return would have left it. */
static struct dot keep(struct life *l, uint64_t wall_ms, const struct op *ops,
                       size_t count)
{
    struct store_txn t;
    struct buffer record, event;
    struct unsent u = {.dot = {.incarnation = l->former}};

    encode(l, wall_ms, ops, count, &event);
    u.dot.seq = l->seq;
    u.hlc = hlc_make(wall_ms, (uint16_t)l->seq);
    u.bytes = buffer_slice(&event);
    buffer_init(&record, SCHEMA_RECORD_MAX);
    assert_int_equal(store_txn_begin(&t, l->node->store, true, NULL), 0);
    assert_int_equal(unsent_put(&t, &record, &u), 0);
    assert_int_equal(store_txn_commit(&t, NULL), 0);
    buffer_release(&record);
    buffer_release(&event);
    return u.dot;
}

static struct op op_of(enum op_kind kind, const char *key, const char *element,
                       const char *value, const struct dot *names, size_t count)
{
    return (struct op){
        .kind = kind,
        .key = slice_of_string(key),
        .element = slice_of_string(element),
        .value = slice_of_string(value),
        .supersedes = names,
        .supersedes_count = count,
    };
}

static struct dot keep_one(struct life *l, uint64_t wall_ms, enum op_kind kind,
                           const char *key, const char *element,
                           const char *value, const struct dot *names,
                           size_t count)
{
    struct op op = op_of(kind, key, element, value, names, count);

    return keep(l, wall_ms, &op, 1);
}

/* The node starts again and runs one batch. */
static void run(struct life *l)
{
    struct commit_result *r;

    fixture_close(l->node);
    fixture_open(l->node);
    r = fixture_commit(l->node, NULL);
    assert_non_null(r);
    commit_result_free(r);
}

static struct unsent_counts counts(struct life *l)
{
    struct unsent_counts c;
    struct store_txn t;

    assert_int_equal(store_txn_begin(&t, l->node->store, false, NULL), 0);
    assert_int_equal(unsent_count(&t, &c), 0);
    store_txn_abort(&t);
    return c;
}

static void expect_state(struct life *l, uint64_t id, enum unsent_state state)
{
    struct unsent u;
    struct store_txn t;

    assert_int_equal(store_txn_begin(&t, l->node->store, false, NULL), 0);
    assert_int_equal(unsent_get(&t, id, &u), 0);
    assert_int_equal(u.state, state);
    store_txn_abort(&t);
}

static struct dot write_now(struct life *l, enum op_kind kind, const char *key,
                            const char *element, const char *value)
{
    struct local_op op = fixture_op(kind, key, element, value);
    struct intent *i = fixture_do(l->node, &op);
    struct dot dot = i->dot;

    assert_int_equal(i->result, 0);
    intent_free(i);
    return dot;
}

static void expect_done(struct life *l, size_t parked)
{
    struct unsent_counts c = counts(l);

    assert_int_equal(c.waiting, 0);
    assert_int_equal(c.parked, parked);
}

/* ---- tests ---- */

static void winner_is_written_again(void **state)
{
    struct life l;

    (void)state;
    life_begin(&l);
    (void)keep_one(&l, LATE_MS, OP_PUT, "k", "", "late", NULL, 0);
    assert_int_equal(counts(&l).waiting, 1);
    run(&l);
    fixture_expect(l.node, "k", "late");
    expect_done(&l, 0);
    assert_int_equal(l.node->events_count, 1); /* one ordinary event */
    run(&l);                                   /* and never again */
    assert_int_equal(l.node->events_count, 1);
    life_end(&l);
}

/* H9: an unsent put must not bring back what was revoked meanwhile. */
static void h9_revoked_stays_revoked(void **state)
{
    struct life l;

    (void)state;
    life_begin(&l);
    write_now(&l, OP_PUT, "user", NULL, "old");
    write_now(&l, OP_REVOKE, "user", NULL, NULL);
    write_now(&l, OP_SET_REVOKE, "set", "user", NULL);
    (void)keep_one(&l, LATE_MS + 5000, OP_PUT, "user", "", "back", NULL, 0);
    (void)keep_one(&l, LATE_MS + 5000, OP_SET_ADD, "set", "user", "", NULL, 0);
    run(&l);
    fixture_expect(l.node, "user", "");
    fixture_expect_member(l.node, "set", "user", false);
    expect_done(&l, 2);
    expect_state(&l, 1, UNSENT_REVOKED);
    expect_state(&l, 2, UNSENT_REVOKED);
    life_end(&l);
}

/* H9: a concurrent newer put wins; the older one is listed, not lost. */
static void h9_loser_is_parked(void **state)
{
    struct life l;

    (void)state;
    life_begin(&l);
    write_now(&l, OP_PUT, "k", NULL, "newer");
    (void)keep_one(&l, EARLY_MS, OP_PUT, "k", "", "older", NULL, 0);
    (void)keep_one(&l, EARLY_MS, OP_DEL, "k", "", "", NULL, 0);
    run(&l);
    fixture_expect(l.node, "k", "newer");
    expect_done(&l, 2);
    expect_state(&l, 1, UNSENT_LOST);
    expect_state(&l, 2, UNSENT_LOST);
    life_end(&l);
}

/* M8: a put and the del of it, both unsent, end deleted. */
static void m8_own_chain_keeps_its_order(void **state)
{
    struct life l;
    struct dot put;

    (void)state;
    life_begin(&l);
    put = keep_one(&l, EARLY_MS, OP_PUT, "k", "", "v", NULL, 0);
    (void)keep_one(&l, EARLY_MS + 1, OP_DEL, "k", "", "", &put, 1);
    put = keep_one(&l, EARLY_MS + 2, OP_PUT, "j", "", "one", NULL, 0);
    (void)keep_one(&l, EARLY_MS + 3, OP_PUT, "j", "", "two", &put, 1);
    run(&l);
    fixture_expect(l.node, "k", "");
    fixture_expect(l.node, "j", "two");
    expect_done(&l, 0);
    life_end(&l);
}

/* M7: without the seal nothing is written again, whatever it is. */
static void m7_not_before_the_seal(void **state)
{
    struct life l;

    (void)state;
    life_begin(&l);
    memset(l.former.bytes, 0x22, INCARNATION_SIZE); /* sealed by nobody */
    (void)keep_one(&l, LATE_MS, OP_PUT, "k", "", "v", NULL, 0);
    run(&l);
    fixture_expect(l.node, "k", "");
    assert_int_equal(counts(&l).waiting, 1);
    assert_int_equal(l.node->events_count, 0);
    life_end(&l);
}

/* What fences covered is in the state already, or was removed there since. */
static void at_or_below_the_seal_is_dropped(void **state)
{
    struct life l;

    (void)state;
    life_begin(&l);
    l.seq = SEALED_AT - 1;
    (void)keep_one(&l, LATE_MS, OP_PUT, "covered", "", "v", NULL, 0);
    (void)keep_one(&l, LATE_MS, OP_PUT, "beyond", "", "v", NULL, 0);
    run(&l);
    fixture_expect(l.node, "covered", "");
    fixture_expect(l.node, "beyond", "v");
    expect_done(&l, 0);
    life_end(&l);
}

/* M10: a remove, written again, takes only the adds that it named. */
static void m10_remove_takes_only_what_it_saw(void **state)
{
    struct life l;
    struct dot seen, own;

    (void)state;
    life_begin(&l);
    seen = write_now(&l, OP_SET_ADD, "seen", "e", NULL);
    write_now(&l, OP_SET_ADD, "unseen", "e", NULL);
    (void)keep_one(&l, LATE_MS, OP_SET_REMOVE, "seen", "e", "", &seen, 1);
    own = keep_one(&l, LATE_MS, OP_SET_ADD, "own", "e", "", NULL, 0);
    (void)keep_one(&l, LATE_MS, OP_SET_REMOVE, "own", "e", "", &own, 1);
    own = (struct dot){.incarnation = {.bytes = {0x44}}, .seq = 1};
    (void)keep_one(&l, LATE_MS, OP_SET_REMOVE, "unseen", "e", "", &own, 1);
    run(&l);
    fixture_expect_member(l.node, "seen", "e", false);
    fixture_expect_member(l.node, "own", "e", false);
    fixture_expect_member(l.node, "unseen", "e", true);
    expect_done(&l, 0);
    life_end(&l);
}

/* M10: the add that is left may stand for those that collapse merged into it:
 * the remove of one at or below the floor is for a person to decide. */
static void m10_remove_of_what_was_collapsed(void **state)
{
    struct life l;
    struct dot sealed;

    (void)state;
    life_begin(&l);
    write_now(&l, OP_SET_ADD, "set", "e", NULL);
    sealed = (struct dot){.incarnation = l.former, .seq = 1};
    (void)keep_one(&l, LATE_MS, OP_SET_REMOVE, "set", "e", "", &sealed, 1);
    (void)keep_one(&l, LATE_MS, OP_SET_REMOVE, "set", "gone", "", &sealed, 1);
    run(&l);
    fixture_expect_member(l.node, "set", "e", true);
    expect_done(&l, 1);
    expect_state(&l, 1, UNSENT_COLLAPSED);
    life_end(&l);
}

/* "A transaction of which any operation is parked, whole." */
/* DEPS_FIRST of reissue.pml: the remove names what another member added and
 * the adopted state has not seen yet. Written at once it would name nothing,
 * and the element would come back with its add. */
static void m10_remove_waits_for_what_it_saw(void **state)
{
    struct life l;
    struct fixture_node *other;
    struct dot seen;

    (void)state;
    life_begin(&l);
    other = fixture_add_node(&l.mesh, ROLE_WRITER, "", true);
    assert_int_equal(fixture_write(other, OP_SET_ADD, "set", "e", NULL), 0);
    seen = (struct dot){other->incarnation, 1};
    (void)keep_one(&l, LATE_MS, OP_SET_REMOVE, "set", "e", "", &seen, 1);
    run(&l);
    expect_state(&l, 1, UNSENT_WAITS);
    fixture_sync(l.node, other);
    fixture_expect_member(l.node, "set", "e", false);
    expect_done(&l, 0);
    fixture_sync(other, l.node);
    fixture_expect_member(other, "set", "e", false);
    life_end(&l);
}

/* OWN_CHAIN: the add that the remove names is parked with its transaction; what
 * that add had superseded goes all the same, for the remove had seen it. */
static void m10_remove_follows_its_own_chain(void **state)
{
    struct life l;
    struct op ops[2];
    struct dot seen, own;

    (void)state;
    life_begin(&l);
    seen = write_now(&l, OP_SET_ADD, "set", "e", NULL);
    (void)write_now(&l, OP_REVOKE, "dead", NULL, NULL);
    ops[0] = op_of(OP_SET_ADD, "set", "e", "", &seen, 1);
    ops[1] = op_of(OP_PUT, "dead", "", "v", NULL, 0);
    own = keep(&l, LATE_MS, ops, 2);
    (void)keep_one(&l, LATE_MS, OP_SET_REMOVE, "set", "e", "", &own, 1);
    run(&l);
    fixture_expect_member(l.node, "set", "e", false);
    expect_done(&l, 1);
    expect_state(&l, 1, UNSENT_REVOKED);
    life_end(&l);
}

/* REMOVE_BELOW_ACK: this incarnation has acknowledged a cut that holds the add;
 * elsewhere it may be collapsed before the remove arrives. */
static void m10_remove_below_an_acknowledged_cut(void **state)
{
    struct life l;
    struct intent *i;
    struct dot seen;

    (void)state;
    life_begin(&l);
    (void)fixture_add_node(&l.mesh, ROLE_WRITER, "", true);
    seen = write_now(&l, OP_SET_ADD, "set", "e", NULL);
    i = intent_new(INTENT_PROPOSE);
    assert_non_null(i);
    commit_result_free(fixture_commit(l.node, i));
    assert_true(i->wrote);
    intent_free(i);
    (void)keep_one(&l, LATE_MS, OP_SET_REMOVE, "set", "e", "", &seen, 1);
    run(&l);
    fixture_expect_member(l.node, "set", "e", true);
    expect_done(&l, 1);
    expect_state(&l, 1, UNSENT_COLLAPSED);
    life_end(&l);
}

static void transaction_is_parked_whole(void **state)
{
    struct life l;
    struct op ops[2];
    struct dot dot;

    (void)state;
    life_begin(&l);
    write_now(&l, OP_PUT, "lost", NULL, "newer");
    ops[0] = op_of(OP_PUT, "free", "", "x", NULL, 0);
    ops[1] = op_of(OP_PUT, "lost", "", "x", NULL, 0);
    dot = keep(&l, EARLY_MS, ops, 2);
    /* What follows it is judged as if it had never been. */
    (void)keep_one(&l, LATE_MS, OP_PUT, "free", "", "later", &dot, 1);
    run(&l);
    fixture_expect(l.node, "lost", "newer");
    fixture_expect(l.node, "free", "later");
    expect_done(&l, 1);
    expect_state(&l, 1, UNSENT_LOST);
    life_end(&l);
}

/* What it wrote is dated anew, and stands over everything that was there. */
static void reissue_supersedes_what_it_won_over(void **state)
{
    struct life l;
    struct store_reader *r;
    struct entry e;
    struct entry_id id = {.space = SPACE_REGISTER, .key = slice_of_string("k")};

    (void)state;
    life_begin(&l);
    write_now(&l, OP_PUT, "k", NULL, "old");
    l.node->wall_ms += 1000;
    (void)keep_one(&l, LATE_MS + 900, OP_PUT, "k", "", "unsent", NULL, 0);
    run(&l);
    entry_init(&e);
    assert_int_equal(store_reader_begin(l.node->store, &r), 0);
    assert_int_equal(store_get(r, &id, &e, NULL), 0);
    assert_int_equal(e.count, 1);
    assert_true(incarnation_equal(&e.siblings[0].dot.incarnation,
                                  &l.node->incarnation));
    assert_true(hlc_wall_ms(e.siblings[0].hlc) >= FIXTURE_WALL_MS + 1000);
    entry_release(&e);
    store_reader_release(r);
    life_end(&l);
}

static struct intent *decide(struct life *l, uint64_t id, bool apply,
                             bool unrevoke)
{
    struct intent *i = intent_new(INTENT_UNSENT);

    assert_non_null(i);
    i->unsent_id = id;
    i->unsent_apply = apply;
    i->unsent_unrevoke = unrevoke;
    commit_result_free(fixture_commit(l->node, i));
    return i;
}

static void person_decides(void **state)
{
    struct life l;
    struct intent *i;

    (void)state;
    life_begin(&l);
    write_now(&l, OP_REVOKE, "user", NULL, NULL);
    write_now(&l, OP_PUT, "k", NULL, "newer");
    (void)keep_one(&l, EARLY_MS, OP_PUT, "user", "", "back", NULL, 0);
    (void)keep_one(&l, EARLY_MS, OP_PUT, "k", "", "older", NULL, 0);
    (void)keep_one(&l, EARLY_MS, OP_PUT, "k", "", "oldest", NULL, 0);
    run(&l);
    expect_done(&l, 3);
    i = decide(&l, 9, true, false);
    assert_int_equal(i->result, CM_ERR_NOT_FOUND);
    intent_free(i);
    i = decide(&l, 1, true, false);
    assert_int_equal(i->result, CM_ERR_REVOKED);
    intent_free(i);
    expect_done(&l, 3);
    i = decide(&l, 1, true, true);
    assert_int_equal(i->result, 0);
    intent_free(i);
    fixture_expect(l.node, "user", "back");
    i = decide(&l, 2, true, false);
    assert_int_equal(i->result, 0);
    assert_int_equal(i->unsent_count, 1);
    intent_free(i);
    fixture_expect(l.node, "k", "older");
    i = decide(&l, 0, false, false);
    assert_int_equal(i->result, 0);
    assert_int_equal(i->unsent_count, 1);
    intent_free(i);
    expect_done(&l, 0);
    life_end(&l);
}

/* Another generation: siblings instead of events, and no seal to wait for. */
static void siblings_of_another_generation(void **state)
{
    struct life l;
    struct entry one;
    struct buffer record, bytes;
    struct store_txn t;
    struct sibling s = {
        .kind = SIBLING_PUT,
        .dot = {.seq = 7},
        .hlc = hlc_make(LATE_MS, 0),
        .value = slice_of_string("v"),
    };
    struct entry_id id = {.space = SPACE_REGISTER, .key = slice_of_string("k")};
    struct unsent u = {.dot = s.dot,
                       .hlc = s.hlc,
                       .sibling = true,
                       .foreign_generation = true};

    (void)state;
    life_begin(&l);
    memset(s.dot.incarnation.bytes, 0x33, INCARNATION_SIZE);
    u.dot = s.dot;
    entry_init(&one);
    buffer_init(&bytes, 1u << 20);
    buffer_init(&record, SCHEMA_RECORD_MAX);
    assert_int_equal(entry_add_sibling(&one, &s), 0);
    entry_pack(&bytes, &id, &one);
    u.bytes = buffer_slice(&bytes);
    assert_int_equal(store_txn_begin(&t, l.node->store, true, NULL), 0);
    assert_int_equal(unsent_put(&t, &record, &u), 0);
    assert_int_equal(store_txn_commit(&t, NULL), 0);
    run(&l);
    fixture_expect(l.node, "k", "v");
    expect_done(&l, 0);
    entry_release(&one);
    buffer_release(&bytes);
    buffer_release(&record);
    life_end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(winner_is_written_again),
        cmocka_unit_test(h9_revoked_stays_revoked),
        cmocka_unit_test(h9_loser_is_parked),
        cmocka_unit_test(m8_own_chain_keeps_its_order),
        cmocka_unit_test(m7_not_before_the_seal),
        cmocka_unit_test(at_or_below_the_seal_is_dropped),
        cmocka_unit_test(m10_remove_takes_only_what_it_saw),
        cmocka_unit_test(m10_remove_of_what_was_collapsed),
        cmocka_unit_test(m10_remove_waits_for_what_it_saw),
        cmocka_unit_test(m10_remove_follows_its_own_chain),
        cmocka_unit_test(m10_remove_below_an_acknowledged_cut),
        cmocka_unit_test(transaction_is_parked_whole),
        cmocka_unit_test(reissue_supersedes_what_it_won_over),
        cmocka_unit_test(person_decides),
        cmocka_unit_test(siblings_of_another_generation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
