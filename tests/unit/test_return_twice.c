/* Goal: what a node wrote is in the mesh or among its unsent writes also where
 * the member that let it in again was evicted and did not know: then it returns
 * a second time, to a state that never had what that sponsor had. And what
 * others wrote that the mesh never got is listed by who had it and returned.
 * Method: whole writers; B returns by A, then by X, which has evicted A. */
#include "tests/unit/cut_fixture.h"

#include "crdt/eviction.h"
#include "node/unsent.h"

#define RW (ROLE_WRITER | ROLE_ISSUER)
#define LIVES_MAX 4

struct twice {
    struct fixture_mesh mesh;
    struct fixture_node *a, *b, *x;
    struct incarnation lives[LIVES_MAX]; /* of b, the present one last */
    size_t lives_count;
};

/* ---- helpers ---- */

static void tell(struct fixture_node *to, const struct fixture_node *from)
{
    for (size_t i = 0; i < from->events_count; i++)
        (void)fixture_deliver(
            to, slice_of(from->events[i].bytes, from->events[i].size));
}

/* B has no bytes of its former lives' events any more. */
static void tell_present(struct twice *t, struct fixture_node *to)
{
    for (size_t i = 0; i < t->b->events_count; i++) {
        const struct fixture_event *e = &t->b->events[i];

        if (incarnation_equal(&e->dot.incarnation,
                              &t->lives[t->lives_count - 1]))
            (void)fixture_deliver(to, slice_of(e->bytes, e->size));
    }
}

static void make(struct twice *t)
{
    memset(t, 0, sizeof *t);
    fixture_mesh_make(&t->mesh);
    t->a = fixture_add_node(&t->mesh, RW, "", true);
    t->b = fixture_add_node(&t->mesh, RW, "", true);
    t->x = &t->mesh.nodes[0];
    tell(t->a, t->x);
    tell(t->b, t->x);
    t->lives[t->lives_count++] = t->b->incarnation;
}

static void release(struct twice *t)
{
    fixture_mesh_release(&t->mesh);
}

/* B, under a further name that sponsor gives a place, in place of what it has;
 * then the process ends, and begins again. */
static void return_by(struct twice *t, struct fixture_node *sponsor)
{
    struct incarnation next = {{(uint8_t)(0xb0 + t->lives_count)}};
    struct local_op op = {.kind = OP_ROSTER_ADD,
                          .key = slice_of(next.bytes, INCARNATION_SIZE),
                          .value = buffer_slice(&t->b->certificate)};
    struct meta_fact facts[] = {
        {META_INCARNATION, op.key},
        {META_CERTIFICATE, op.value},
        {META_GIVEN_UP,
         slice_of(t->lives[0].bytes, t->lives_count * INCARNATION_SIZE)},
    };
    struct intent *i = fixture_do(sponsor, &op);
    struct cm_detail detail = {""};
    struct fixture_cut cut;
    struct replacement r;

    assert_int_equal(i->result, 0);
    intent_free(i);
    fixture_cut_take(&cut, &t->mesh, sponsor);
    t->b->wall_ms += 100;
    assert_int_equal(snapshot_sink_replacement(cut.sink, &r, NULL), 0);
    r.mode = ADOPT_RETURN;
    r.facts = facts;
    r.facts_count = 3;
    r.contains = &next;
    r.unsent = unsent_keep_event;
    if (fixture_replace(t->b, &r, &detail) != 0)
        fail_msg("%s", detail.text);
    fixture_cut_release(&cut);
    fixture_close(t->b);
    fixture_open(t->b);
    assert_true(t->lives_count < LIVES_MAX);
    t->lives[t->lives_count++] = next;
}

static void hear(struct fixture_node *n, const struct buffer *bytes)
{
    struct intent *i = intent_new(INTENT_ORDER);

    assert_int_equal(intent_set_event(i, buffer_slice(bytes)), 0);
    commit_result_free(fixture_commit(n, i));
    assert_int_equal(i->result, 0);
    intent_free(i);
}

/* B orders the retirement of its lives before the present one. */
static void retire_former(struct twice *t)
{
    for (size_t k = 0; k + 1 < t->lives_count; k++) {
        struct retirement r = {
            .mesh = t->mesh.mesh,
            .generation = generation_id_of(1, buffer_slice(&t->mesh.order)),
            .incarnation = t->lives[k],
            .certificate = buffer_slice(&t->b->certificate),
        };
        struct buffer bytes;

        buffer_init(&bytes, RETIREMENT_SIZE_MAX);
        assert_int_equal(retirement_encode(&bytes, &r, t->b->secret_key), 0);
        hear(t->b, &bytes);
        buffer_release(&bytes);
    }
}

static void evict_a_at_x(struct twice *t)
{
    struct incarnation name = t->a->incarnation;
    struct eviction_order o = {
        .mesh = t->mesh.mesh,
        .generation = generation_id_of(1, buffer_slice(&t->mesh.order)),
        .epoch = 1,
        .incarnations = &name,
        .count = 1,
        .created_ms = FIXTURE_WALL_MS,
    };
    struct buffer bytes;

    buffer_init(&bytes, EVICTION_SIZE_MAX);
    assert_int_equal(eviction_encode(&bytes, &o, t->mesh.authority.secret_key),
                     0);
    hear(t->x, &bytes);
    buffer_release(&bytes);
}

static struct unsent_counts counts(struct twice *t)
{
    struct unsent_counts c;
    struct store_txn txn;

    assert_int_equal(store_txn_begin(&txn, t->b->store, false, NULL), 0);
    assert_int_equal(unsent_count(&txn, &c), 0);
    store_txn_abort(&txn);
    return c;
}

static void expect_counts(struct twice *t, size_t waiting, size_t parked,
                          size_t shared)
{
    struct unsent_counts c = counts(t);

    assert_int_equal(c.waiting, waiting);
    assert_int_equal(c.parked, parked);
    assert_int_equal(c.shared, shared);
}

/* A has it from B, X never will. */
static void write_to_a(struct twice *t, enum op_kind kind, const char *key,
                       const char *element, const char *value)
{
    assert_int_equal(fixture_write(t->b, kind, key, element, value), 0);
    tell(t->a, t->b);
}

/* The second return, and all that follows from it. */
static void return_by_x(struct twice *t)
{
    evict_a_at_x(t);
    return_by(t, t->x);
    tell(t->b, t->x);
    retire_former(t);
    for (int i = 0; i < 3; i++) {
        tell_present(t, t->x);
        tell(t->b, t->x);
    }
    fixture_audit(t->b);
    fixture_expect_equal(t->x, t->b);
}

/* ---- tests ---- */

/* Written before the first return: one write that A alone has got, which its
 * cut covers, and one that nobody has. */
static void covered_by_an_evicted_sponsor(void **state)
{
    struct twice t;

    (void)state;
    make(&t);
    write_to_a(&t, OP_PUT, "at-a", NULL, "1");
    assert_int_equal(fixture_write(t.b, OP_PUT, "alone", NULL, "2"), 0);
    return_by(&t, t.a);
    fixture_expect(t.b, "at-a", "1");
    fixture_expect(t.b, "alone", "");
    expect_counts(&t, 1, 0, 1);
    return_by_x(&t);
    fixture_expect(t.x, "at-a", "1");
    fixture_expect(t.x, "alone", "2");
    expect_counts(&t, 0, 0, 0);
    release(&t);
}

/* A remove leaves nothing in a state: its bytes are all there is. */
static void a_remove_is_not_undone(void **state)
{
    struct twice t;

    (void)state;
    make(&t);
    assert_int_equal(fixture_write(t.x, OP_SET_ADD, "set", "e", NULL), 0);
    tell(t.a, t.x);
    tell(t.b, t.x);
    write_to_a(&t, OP_SET_REMOVE, "set", "e", NULL);
    return_by(&t, t.a);
    fixture_expect_member(t.b, "set", "e", false);
    return_by_x(&t);
    fixture_expect_member(t.x, "set", "e", false);
    expect_counts(&t, 0, 0, 0);
    release(&t);
}

/* What the phantom incarnation wrote itself, and what it wrote again. */
static void events_of_the_phantom(void **state)
{
    struct twice t;

    (void)state;
    make(&t);
    write_to_a(&t, OP_PUT, "at-a", NULL, "1");
    return_by(&t, t.a);
    write_to_a(&t, OP_PUT, "phantom", NULL, "2");
    assert_int_equal(fixture_write(t.b, OP_PUT, "alone", NULL, "3"), 0);
    return_by_x(&t);
    fixture_expect(t.x, "at-a", "1");
    fixture_expect(t.x, "phantom", "2");
    fixture_expect(t.x, "alone", "3");
    expect_counts(&t, 0, 0, 0);
    release(&t);
}

/* By the same sponsor twice: what the first one's cut had is there, what the
 * phantom wrote is covered by the second one's, and neither is lost by the
 * third. */
static void three_returns(void **state)
{
    struct twice t;

    (void)state;
    make(&t);
    write_to_a(&t, OP_PUT, "first", NULL, "1");
    return_by(&t, t.a);
    write_to_a(&t, OP_PUT, "second", NULL, "2");
    return_by(&t, t.a);
    expect_counts(&t, 0, 0, 2);
    fixture_expect(t.b, "second", "2");
    return_by_x(&t);
    fixture_expect(t.x, "first", "1");
    fixture_expect(t.x, "second", "2");
    expect_counts(&t, 0, 0, 0);
    release(&t);
}

/* A disk that went back has nothing but the state that it got again. */
static void only_in_the_state(void **state)
{
    struct twice t;
    struct store_txn txn;
    struct unsent u;

    (void)state;
    make(&t);
    write_to_a(&t, OP_PUT, "at-a", NULL, "1");
    return_by(&t, t.a);
    assert_int_equal(store_txn_begin(&txn, t.b->store, true, NULL), 0);
    assert_int_equal(unsent_next(&txn, 0, &u), 0);
    assert_int_equal(unsent_delete(&txn, u.id), 0);
    assert_int_equal(store_txn_commit(&txn, NULL), 0);
    return_by_x(&t);
    fixture_expect(t.x, "at-a", "1");
    expect_counts(&t, 0, 0, 0);
    release(&t);
}

/* Nobody was evicted: it stays out of sight, nothing is written again, and it
 * goes with the first floor that covers it. */
static void shared_goes_with_the_floor(void **state)
{
    struct twice t;
    struct intent *i;
    size_t events;

    (void)state;
    make(&t);
    write_to_a(&t, OP_PUT, "at-a", NULL, "1");
    tell(t.x, t.b);
    return_by(&t, t.a);
    tell(t.x, t.a);
    retire_former(&t);
    for (int k = 0; k < 3; k++) {
        tell(t.a, t.b);
        tell(t.x, t.b);
        tell(t.b, t.a);
        tell(t.b, t.x);
        tell(t.a, t.x);
        tell(t.x, t.a);
    }
    expect_counts(&t, 0, 0, 1);
    events = t.b->events_count;
    i = intent_new(INTENT_PROPOSE);
    commit_result_free(fixture_commit(t.x, i));
    assert_int_equal(i->result, 0);
    intent_free(i);
    for (int k = 0; k < 3; k++) {
        tell(t.a, t.x);
        tell(t.b, t.x);
        tell(t.x, t.a);
        tell(t.x, t.b);
        tell(t.b, t.a);
        tell(t.a, t.b);
    }
    commit_result_free(fixture_commit(t.b, NULL));
    expect_counts(&t, 0, 0, 0);
    assert_int_equal(t.b->events_count, events + 1); /* its acknowledgement */
    fixture_expect(t.b, "at-a", "1");
    release(&t);
}

/* ---- what others wrote ---- */

static void expect_others(struct twice *t, size_t others)
{
    assert_int_equal(counts(t).others, others);
    expect_counts(t, 0, others, 0);
}

/* Looked at now and then only. */
static void let_look(struct twice *t)
{
    t->b->wall_ms += 60000;
    commit_result_free(fixture_commit(t->b, NULL));
}

/* A wrote it, B alone got it, and A is gone. */
static void write_of_a(struct twice *t, const char *key, const char *value)
{
    assert_int_equal(fixture_write(t->a, OP_PUT, key, NULL, value), 0);
    tell(t->b, t->a);
    fixture_expect(t->b, key, value);
}

static void others_are_listed(void **state)
{
    struct twice t;

    (void)state;
    make(&t);
    write_of_a(&t, "of-a", "1");
    return_by_x(&t);
    let_look(&t);
    fixture_expect(t.x, "of-a", "");
    expect_others(&t, 1);
    release(&t);
}

/* As A does in its next life, or anybody. */
static void others_go_when_they_show(void **state)
{
    struct twice t;

    (void)state;
    make(&t);
    write_of_a(&t, "again", "1");
    write_of_a(&t, "otherwise", "1");
    write_of_a(&t, "revoked", "1");
    return_by_x(&t);
    t.x->wall_ms += 1000;
    assert_int_equal(fixture_write(t.x, OP_PUT, "again", NULL, "1"), 0);
    assert_int_equal(fixture_write(t.x, OP_PUT, "otherwise", NULL, "2"), 0);
    assert_int_equal(fixture_write(t.x, OP_REVOKE, "revoked", NULL, NULL), 0);
    tell(t.b, t.x);
    let_look(&t);
    expect_others(&t, 1);
    release(&t);
}

/* Whoever had A's write in a state only, without its bytes. */
static void others_without_bytes(void **state)
{
    struct twice t;

    (void)state;
    make(&t);
    assert_int_equal(fixture_write(t.a, OP_PUT, "of-a", NULL, "1"), 0);
    return_by(&t, t.a);
    fixture_expect(t.b, "of-a", "1");
    return_by_x(&t);
    let_look(&t);
    expect_others(&t, 1);
    release(&t);
}

/* The cut came too early, and nobody was evicted: they come as all events. */
static void others_come_later(void **state)
{
    struct twice t;

    (void)state;
    make(&t);
    write_of_a(&t, "of-a", "1");
    return_by(&t, t.x);
    expect_others(&t, 1);
    tell(t.b, t.a);
    fixture_expect(t.b, "of-a", "1");
    let_look(&t);
    expect_others(&t, 0);
    release(&t);
}

static void others_are_kept_once(void **state)
{
    struct twice t;

    (void)state;
    make(&t);
    write_of_a(&t, "of-a", "1");
    return_by(&t, t.x);
    tell(t.b, t.a);
    return_by_x(&t);
    let_look(&t);
    expect_others(&t, 1);
    release(&t);
}

static void decide(struct twice *t, bool apply)
{
    struct intent *i = intent_new(INTENT_UNSENT);

    i->unsent_id = apply ? 1 : 0;
    i->unsent_apply = apply;
    commit_result_free(fixture_commit(t->b, i));
    assert_int_equal(i->result, 0);
    assert_int_equal(i->unsent_count, 1);
    intent_free(i);
    expect_others(t, 0);
}

static void a_person_decides_about_others(void **state)
{
    for (int apply = 0; apply < 2; apply++) {
        struct twice t;

        (void)state;
        make(&t);
        write_of_a(&t, "of-a", "1");
        return_by_x(&t);
        decide(&t, apply);
        tell_present(&t, t.x);
        fixture_expect(t.x, "of-a", apply ? "1" : "");
        release(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(covered_by_an_evicted_sponsor),
        cmocka_unit_test(a_remove_is_not_undone),
        cmocka_unit_test(events_of_the_phantom),
        cmocka_unit_test(three_returns),
        cmocka_unit_test(only_in_the_state),
        cmocka_unit_test(shared_goes_with_the_floor),
        cmocka_unit_test(others_are_listed),
        cmocka_unit_test(others_go_when_they_show),
        cmocka_unit_test(others_without_bytes),
        cmocka_unit_test(others_come_later),
        cmocka_unit_test(others_are_kept_once),
        cmocka_unit_test(a_person_decides_about_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
