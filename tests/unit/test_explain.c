/* Goal: what waits here for something is told with its reason, for the entry
 * that was asked for and no other; the index of conflicts follows the entries.
 * Method: writers over real stores, events carried by hand in wrong order. */
#include "tests/unit/writer_fixture.h"

#include "node/store_index.h"

#define RW (ROLE_WRITER | ROLE_ISSUER)

/* "seq:why" of everything that waits for the key. */
static const char *waiting(struct fixture_node *n, const char *key)
{
    static char text[1024];
    struct intent *i = intent_new(INTENT_EXPLAIN);
    struct local_op op = fixture_op(OP_PUT, key, NULL, NULL);
    struct intent_waiting w;
    size_t at = 0;
    size_t size = 0;
    struct commit_result *r;

    assert_int_equal(intent_add_op(i, &op), 0);
    r = fixture_commit(n, i);
    assert_int_equal(i->result, 0);
    text[0] = '\0';
    while (intent_next_waiting(i, &at, &w))
        size += (size_t)snprintf(text + size, sizeof text - size, "%llu%s:%s;",
                                 (unsigned long long)w.dot.seq,
                                 w.held ? " held" : "", w.why);
    commit_result_free(r);
    intent_free(i);
    return text;
}

static void deliver(struct fixture_node *to, struct fixture_node *from,
                    size_t event, int expected)
{
    struct fixture_event *e = &from->events[event];

    assert_int_equal(fixture_deliver(to, slice_of(e->bytes, e->size)),
                     expected);
}

static void test_pending_reasons(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a = &m.nodes[0];
    struct fixture_node *b;
    struct fixture_node *c;
    char missing[DOT_TEXT_SIZE];
    size_t first;

    (void)state;
    fixture_mesh_make(&m);
    b = fixture_add_node(&m, RW, "", true);
    c = fixture_add_node(&m, RW, "", true);
    first = a->events_count;
    assert_int_equal(fixture_write(a, OP_PUT, "k", NULL, "1"), 0);
    assert_int_equal(fixture_write(a, OP_PUT, "k", NULL, "2"), 0);
    /* b does not know of c's add: its events are strangers'. */
    assert_int_equal(fixture_write(c, OP_PUT, "k", NULL, "of c"), 0);
    assert_string_equal(waiting(b, "k"), "");
    deliver(b, c, 0, CM_ERR_PENDING);
    assert_non_null(strstr(waiting(b, "k"), "not in the roster"));
    assert_string_equal(waiting(b, "other"), "");
    deliver(b, a, first + 1, CM_ERR_PENDING);
    /* The add of c comes between: it is what is missing first. */
    dot_format(missing, &a->events[first - 1].dot);
    assert_non_null(strstr(waiting(b, "k"), missing));
    assert_non_null(strstr(waiting(b, "k"), "of node-1"));
    deliver(b, a, first - 1, 0);
    dot_format(missing, &a->events[first].dot);
    assert_non_null(strstr(waiting(b, "k"), missing));
    assert_null(strstr(waiting(b, "k"), "roster"));
    deliver(b, a, first, 0);
    assert_string_equal(waiting(b, "k"), "");
    fixture_mesh_release(&m);
}

/* An event of the future is held, and says for how long. */
static void test_held(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a = &m.nodes[0];
    struct fixture_node *b;

    (void)state;
    fixture_mesh_make(&m);
    b = fixture_add_node(&m, RW, "", true);
    b->wall_ms = FIXTURE_WALL_MS + 3600000;
    assert_int_equal(fixture_write(b, OP_PUT, "k", NULL, "late"), 0);
    assert_true(fixture_deliver(
                    a, slice_of(b->events[0].bytes, b->events[0].size)) != 0);
    assert_non_null(strstr(waiting(a, "k"), "1 held:it is dated"));
    assert_non_null(strstr(waiting(a, "k"), "ms ahead"));
    a->wall_ms = b->wall_ms;
    assert_string_equal(waiting(a, "k"), ""); /* applied in this batch */
    fixture_expect(a, "k", "late");
    fixture_mesh_release(&m);
}

static int count_conflict(void *context, const struct entry_id *id)
{
    size_t *count = context;

    (void)id;
    (*count)++;
    return 0;
}

static size_t conflicts(struct fixture_node *n, enum space space)
{
    struct store_reader *r;
    size_t count = 0;

    assert_int_equal(store_reader_begin(n->store, &r), 0);
    assert_int_equal(index_conflicts(r, space, slice_of(NULL, 0), NULL,
                                     count_conflict, &count),
                     0);
    store_reader_release(r);
    return count;
}

/* Both write without knowing of the other, then hear of it. */
static void concurrently(struct fixture_node *a, enum op_kind of_a,
                         struct fixture_node *b, enum op_kind of_b,
                         const char *key, const char *element)
{
    assert_int_equal(
        fixture_write(a, of_a, key, element, of_a == OP_PUT ? "a" : NULL), 0);
    assert_int_equal(
        fixture_write(b, of_b, key, element, of_b == OP_PUT ? "b" : NULL), 0);
    fixture_sync(a, b);
    fixture_sync(b, a);
    fixture_sync(a, b);
}

static void test_conflicts_follow(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a = &m.nodes[0];
    struct fixture_node *b;

    (void)state;
    fixture_mesh_make(&m);
    b = fixture_add_node(&m, RW, "", true);
    assert_int_equal(fixture_write(a, OP_PUT, "deleted", NULL, "1"), 0);
    fixture_sync(b, a);
    concurrently(a, OP_PUT, b, OP_PUT, "k", NULL);
    assert_int_equal(conflicts(a, SPACE_REGISTER), 1);
    assert_int_equal(conflicts(b, SPACE_REGISTER), 1);
    concurrently(a, OP_DEL, b, OP_DEL, "deleted", NULL); /* they agree */
    assert_int_equal(conflicts(a, SPACE_REGISTER), 1);
    concurrently(a, OP_SET_ADD, b, OP_SET_ADD, "s", "e"); /* so do these */
    assert_int_equal(conflicts(a, SPACE_SET), 0);
    concurrently(a, OP_SET_ADD, b, OP_SET_REVOKE, "s", "f");
    assert_int_equal(conflicts(a, SPACE_SET), 1);
    assert_int_equal(conflicts(b, SPACE_SET), 1);
    fixture_close(b);
    fixture_open(b);
    assert_int_equal(conflicts(b, SPACE_REGISTER), 1);
    assert_int_equal(fixture_write(b, OP_PUT, "k", NULL, "decided"), 0);
    assert_int_equal(conflicts(b, SPACE_REGISTER), 0);
    fixture_sync(a, b);
    assert_int_equal(conflicts(a, SPACE_REGISTER), 0);
    assert_int_equal(fixture_write(a, OP_SET_REVOKE, "s", "f", NULL), 0);
    assert_int_equal(conflicts(a, SPACE_SET), 0);
    fixture_mesh_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pending_reasons),
        cmocka_unit_test(test_held),
        cmocka_unit_test(test_conflicts_follow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
