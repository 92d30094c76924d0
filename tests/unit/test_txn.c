/* Goal: a transaction of any verbs happens whole or not at all, checks hold
 * before it, reads see what it wrote before them, and every operation at fault
 * is named. Method: the writer over a real store, one intent at a time. */
#include "tests/unit/writer_fixture.h"

#define RW (ROLE_WRITER | ROLE_ISSUER)

static struct intent *begin(void)
{
    struct intent *i = intent_new(INTENT_LOCAL);

    assert_non_null(i);
    i->detailed = true;
    return i;
}

static struct local_op *add(struct intent *i, enum local_verb verb,
                            enum op_kind kind, const char *key,
                            const char *value)
{
    struct local_op op = fixture_op(kind, key, NULL, value);

    op.verb = verb;
    assert_int_equal(intent_add_op(i, &op), 0);
    return &i->ops[i->ops_count - 1];
}

static void check_absent(struct intent *i, const char *key)
{
    add(i, LOCAL_CHECK, OP_PUT, key, NULL)->condition = CONDITION_ABSENT;
}

static void check_revision(struct intent *i, const char *key, uint64_t revision)
{
    struct local_op *op = add(i, LOCAL_CHECK, OP_PUT, key, NULL);

    op->condition = CONDITION_REVISION;
    op->revision = revision;
}

static int run(struct fixture_node *n, struct intent *i)
{
    commit_result_free(fixture_commit(n, i));
    return i->result;
}

/* "op:key=value;" of every result. */
static const char *results(const struct intent *i)
{
    static char text[1024];
    struct intent_result r;
    size_t at = 0;
    size_t size = 0;

    text[0] = '\0';
    while (intent_next_result(i, &at, &r)) {
        size += (size_t)snprintf(
            text + size, sizeof text - size, "%zu:%.*s%s%.*s;", r.op,
            (int)r.key.size, (const char *)r.key.data, r.has_value ? "=" : "",
            (int)r.value.size,
            r.value.size > 0 ? (const char *)r.value.data : "");
        assert_true(size < sizeof text);
    }
    return text;
}

static void test_reads_see_what_came_before(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];
    struct intent *i = begin();

    (void)state;
    fixture_mesh_make(&m);
    assert_int_equal(fixture_write(n, OP_PUT, "t/a", NULL, "1"), 0);
    assert_int_equal(fixture_write(n, OP_PUT, "t/b", NULL, "2"), 0);
    check_revision(i, "t/a", 1);
    check_absent(i, "t/c");
    add(i, LOCAL_GET, OP_PUT, "t/a", NULL);
    add(i, LOCAL_WRITE, OP_PUT, "t/a", "9");
    add(i, LOCAL_GET, OP_PUT, "t/a", NULL);
    add(i, LOCAL_WRITE, OP_PUT, "t/c", "3");
    add(i, LOCAL_WRITE, OP_DEL, "t/b", NULL);
    add(i, LOCAL_GET_TREE, OP_PUT, "t/", NULL);
    assert_int_equal(run(n, i), 0);
    assert_string_equal(results(i), "0:t/a;2:t/a=1;3:t/a;4:t/a=9;5:t/c;"
                                    "7:t/a=9;7:t/c=3;");
    assert_true(i->wrote);
    assert_int_equal(i->revision, 3);
    intent_free(i);

    i = begin(); /* only reads: nothing is written */
    add(i, LOCAL_GET_TREE, OP_PUT, "", NULL);
    add(i, LOCAL_GET_TREE, OP_PUT, "none", NULL);
    assert_int_equal(run(n, i), 0);
    assert_string_equal(results(i), "0:t/a=9;0:t/c=3;");
    assert_false(i->wrote);
    assert_int_equal(i->revision, 3);
    intent_free(i);
    fixture_mesh_release(&m);
}

/* Every failure is told, and nothing was done. */
static void test_failures(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];
    struct intent *i = begin();

    (void)state;
    fixture_mesh_make(&m);
    assert_int_equal(fixture_write(n, OP_PUT, "a", NULL, "1"), 0);
    assert_int_equal(fixture_write(n, OP_REVOKE, "r", NULL, NULL), 0);
    add(i, LOCAL_WRITE, OP_PUT, "new", "1");
    check_absent(i, "a");
    add(i, LOCAL_GET, OP_PUT, "b", NULL);
    check_revision(i, "a", 1);
    check_revision(i, "a", 7);
    add(i, LOCAL_WRITE, OP_PUT, "r", "1");
    check_absent(i, "new"); /* behind its write */
    assert_int_equal(run(n, i), CM_ERR_CONDITION);
    assert_int_equal(i->failed_op, 1);
    assert_int_equal(i->failures_count, 5);
    assert_int_equal(i->failures[0].op, 1);
    assert_int_equal(i->failures[1].op, 2);
    assert_string_equal(i->failures[1].text, "key \"b\" doesn't exist");
    assert_int_equal(i->failures[2].op, 4);
    assert_int_equal(i->failures[3].op, 5);
    assert_int_equal(i->failures[3].code, CM_ERR_REVOKED);
    assert_int_equal(i->failures[4].op, 6);
    assert_non_null(strstr(i->failures[4].text, "put the check first"));
    assert_string_equal(results(i), "");
    fixture_expect(n, "new", "");
    intent_free(i);

    i = begin();
    add(i, LOCAL_WRITE, OP_DEL, "a", NULL);
    add(i, LOCAL_GET, OP_PUT, "a", NULL); /* gone by then */
    assert_int_equal(run(n, i), CM_ERR_CONDITION);
    intent_free(i);
    i = begin();
    add(i, LOCAL_WRITE, OP_PUT, "x", "1");
    add(i, LOCAL_WRITE, OP_DEL, "x", NULL);
    assert_int_equal(run(n, i), CM_ERR_INVALID);
    assert_int_equal(i->failures_count, 1);
    assert_int_equal(i->failures[0].op, 1);
    intent_free(i);
    fixture_expect(n, "a", "1");
    fixture_mesh_release(&m);
}

static void test_delete_tree(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];
    struct intent *i = begin();
    char key[32];

    (void)state;
    fixture_mesh_make(&m);
    for (int k = 0; k < 300; k++) {
        (void)snprintf(key, sizeof key, "tree/%03d", k);
        assert_int_equal(fixture_write(n, OP_PUT, key, NULL, "v"), 0);
    }
    assert_int_equal(fixture_write(n, OP_PUT, "wood", NULL, "v"), 0);
    add(i, LOCAL_DELETE_TREE, OP_DEL, "tree/", NULL);
    add(i, LOCAL_WRITE, OP_PUT, "tree/007", "kept");
    add(i, LOCAL_GET_TREE, OP_PUT, "tree/", NULL);
    assert_int_equal(run(n, i), 0);
    assert_string_equal(results(i), "1:tree/007;2:tree/007=kept;");
    assert_int_equal(i->revision, 302); /* one commit, one event */
    assert_int_equal(i->dot.seq, 302);
    intent_free(i);
    fixture_expect(n, "tree/299", "");
    fixture_expect(n, "tree/007", "kept");
    fixture_expect(n, "wood", "v");

    i = begin(); /* a write before the tree that covers it says two things */
    add(i, LOCAL_WRITE, OP_PUT, "tree/007", "x");
    add(i, LOCAL_DELETE_TREE, OP_DEL, "tree/", NULL);
    assert_int_equal(run(n, i), CM_ERR_INVALID);
    assert_int_equal(i->failures[0].op, 1);
    intent_free(i);
    fixture_expect(n, "tree/007", "kept");
    fixture_mesh_release(&m);
}

/* Goal: limits are met at the origin, whole. */
static void test_limits(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];
    struct intent *i = begin();
    char key[32];
    static char big[900001];

    (void)state;
    fixture_mesh_make(&m);
    for (int k = 0; k < EVENT_OPS_MAX; k++) {
        (void)snprintf(key, sizeof key, "k/%04d", k);
        add(i, LOCAL_WRITE, OP_PUT, key, "v");
    }
    assert_int_equal(run(n, i), 0);
    assert_int_equal(i->dot.seq, 1);
    intent_free(i);

    i = begin(); /* 4,096 dels and one put are one too many */
    add(i, LOCAL_DELETE_TREE, OP_DEL, "k/", NULL);
    add(i, LOCAL_WRITE, OP_PUT, "other", "v");
    assert_int_equal(run(n, i), CM_ERR_LIMIT);
    assert_non_null(strstr(i->detail.text, "recurse"));
    intent_free(i);
    fixture_expect(n, "k/4095", "v");
    fixture_expect(n, "other", "");

    memset(big, 'x', sizeof big - 1);
    i = begin();
    add(i, LOCAL_WRITE, OP_PUT, "big/1", big);
    add(i, LOCAL_WRITE, OP_PUT, "big/2", big);
    assert_int_equal(run(n, i), CM_ERR_TOO_LARGE);
    assert_non_null(strstr(i->detail.text, "split"));
    intent_free(i);
    fixture_expect(n, "big/1", "");

    for (int k = 0; k < 20; k++) {
        (void)snprintf(key, sizeof key, "large/%d", k);
        assert_int_equal(fixture_write(n, OP_PUT, key, NULL, big), 0);
    }
    i = begin(); /* 18 MB: more than one answer may hold */
    add(i, LOCAL_WRITE, OP_PUT, "not", "written");
    add(i, LOCAL_GET_TREE, OP_PUT, "large/", NULL);
    assert_int_equal(run(n, i), CM_ERR_TOO_LARGE);
    intent_free(i);
    fixture_expect(n, "not", "");
    fixture_mesh_release(&m);
}

static void add_resolve(struct intent *i, const char *key,
                        const struct dot *keep, const struct dot *seen,
                        size_t seen_count)
{
    struct local_op op = fixture_op(OP_PUT, key, NULL, NULL);
    struct buffer dots;

    buffer_init(&dots, 4096);
    intent_pack_dots(&dots, seen, seen_count);
    op.verb = LOCAL_RESOLVE;
    op.version = *keep;
    op.seen = buffer_slice(&dots);
    assert_int_equal(intent_add_op(i, &op), 0);
    buffer_release(&dots);
}

/* Goal: keeping a sibling is an ordinary write that supersedes all, and only
 * what was looked at is decided on. */
static void test_resolve(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a = &m.nodes[0];
    struct fixture_node *b;
    struct intent *i;
    struct dot dots[3];

    (void)state;
    fixture_mesh_make(&m);
    b = fixture_add_node(&m, RW, "", true);
    a->wall_ms = b->wall_ms = FIXTURE_WALL_MS + 1000;
    assert_int_equal(fixture_write(a, OP_PUT, "k", NULL, "of a"), 0);
    b->wall_ms += 10;
    assert_int_equal(fixture_write(b, OP_PUT, "k", NULL, "of b"), 0);
    dots[0] = a->events[a->events_count - 1].dot;
    dots[1] = b->events[b->events_count - 1].dot;
    fixture_sync(a, b);
    fixture_expect(a, "k", "of b");

    i = begin();
    add_resolve(i, "k", &dots[0], dots, 1); /* one was not seen */
    assert_int_equal(run(a, i), CM_ERR_CONDITION);
    intent_free(i);
    i = begin();
    dots[2] = (struct dot){.incarnation = dots[0].incarnation, .seq = 77};
    add_resolve(i, "k", &dots[2], dots, 2);
    assert_int_equal(run(a, i), CM_ERR_CONDITION);
    assert_non_null(strstr(i->detail.text, "no sibling"));
    intent_free(i);
    i = begin();
    add_resolve(i, "k", &dots[0], dots, 2);
    assert_int_equal(run(a, i), 0);
    assert_true(i->wrote);
    intent_free(i);
    fixture_expect(a, "k", "of a");
    fixture_sync(b, a);
    fixture_sync(a, b);
    fixture_expect(b, "k", "of a");
    fixture_expect_equal(a, b);
    i = begin(); /* what stands alone is resolved */
    add_resolve(i, "k", &a->events[a->events_count - 1].dot, NULL, 0);
    assert_int_equal(run(a, i), 0);
    assert_false(i->wrote);
    intent_free(i);

    /* A delete can be kept too; a put beside a revoke only knowingly. */
    assert_int_equal(fixture_write(a, OP_PUT, "r", NULL, "1"), 0);
    assert_int_equal(fixture_write(b, OP_REVOKE, "r", NULL, NULL), 0);
    dots[0] = a->events[a->events_count - 1].dot;
    fixture_sync(a, b);
    i = begin();
    add_resolve(i, "r", &dots[0], NULL, 0);
    assert_int_equal(run(a, i), CM_ERR_REVOKED);
    i->ops[0].unrevoke = true;
    assert_int_equal(run(a, i), 0);
    intent_free(i);
    fixture_expect(a, "r", "1");
    fixture_mesh_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_see_what_came_before),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_delete_tree),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_resolve),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
