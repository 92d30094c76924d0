/* The writer over a real store: local writes, conditions, replication between
 * nodes by hand, and what must not be written. */
#include "tests/unit/writer_fixture.h"

#define RW (ROLE_WRITER | ROLE_ISSUER)

/* Goal: a write is visible, durable and answered with its token. */
static void test_put_get_del(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];
    struct local_op op = fixture_op(OP_PUT, "a/b", NULL, "one");
    struct intent *i;

    (void)state;
    fixture_mesh_make(&m);
    i = fixture_do(n, &op);
    assert_int_equal(i->result, 0);
    assert_true(i->wrote);
    assert_int_equal(i->dot.seq, 1);
    assert_int_equal(i->revision, 1);
    intent_free(i);
    fixture_expect(n, "a/b", "one");
    fixture_close(n);
    fixture_open(n);
    fixture_expect(n, "a/b", "one");
    assert_int_equal(fixture_write(n, OP_DEL, "a/b", NULL, NULL), 0);
    fixture_expect(n, "a/b", "");
    fixture_mesh_release(&m);
}

/* Goal: what changes nothing leaves no trace: no event, no revision. */
static void test_nothing_written(void **state)
{
    static const struct {
        enum op_kind kind;
        const char *key;
        const char *element;
    } idle[] = {
        {OP_DEL, "absent", NULL},     {OP_SET_REMOVE, "s", "absent"},
        {OP_SET_ADD, "s", "e"},       {OP_DEL, "gone", NULL},
        {OP_REVOKE, "gone", NULL},    {OP_SET_REMOVE, "s", "gone"},
        {OP_SET_REVOKE, "s", "gone"},
    };
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];
    struct hash digest;

    (void)state;
    fixture_mesh_make(&m);
    assert_int_equal(fixture_write(n, OP_SET_ADD, "s", "e", NULL), 0);
    assert_int_equal(fixture_write(n, OP_REVOKE, "gone", NULL, NULL), 0);
    assert_int_equal(fixture_write(n, OP_SET_REVOKE, "s", "gone", NULL), 0);
    digest = n->digest;
    for (size_t i = 0; i < sizeof idle / sizeof idle[0]; i++) {
        struct local_op op =
            fixture_op(idle[i].kind, idle[i].key, idle[i].element, NULL);
        struct intent *intent = intent_new(INTENT_LOCAL);
        struct commit_result *r;

        assert_int_equal(intent_add_op(intent, &op), 0);
        r = fixture_commit(n, intent);
        assert_int_equal(intent->result, 0);
        assert_false(intent->wrote);
        assert_false(r->wrote);
        assert_int_equal(r->revision, 3);
        assert_int_equal(r->events_count, 0);
        assert_true(hash_equal(&r->digest, &digest));
        commit_result_free(r);
        intent_free(intent);
    }
    fixture_mesh_release(&m);
}

static int cas(struct fixture_node *n, const char *value,
               enum condition_kind condition, const struct dot *version,
               uint64_t revision, struct dot *ret_dot)
{
    struct local_op op = fixture_op(OP_PUT, "cas", NULL, value);
    struct intent *i;
    int ret;

    op.condition = condition;
    op.revision = revision;
    if (version != NULL)
        op.version = *version;
    i = fixture_do(n, &op);
    ret = i->result;
    if (ret == 0)
        *ret_dot = i->dot;
    intent_free(i);
    return ret;
}

/* Goal: each condition holds exactly when it says so. */
static void test_conditions(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];
    struct dot first, dot;

    (void)state;
    fixture_mesh_make(&m);
    assert_int_equal(cas(n, "x", CONDITION_REVISION, NULL, 7, &dot),
                     CM_ERR_CONDITION);
    assert_int_equal(cas(n, "1", CONDITION_ABSENT, NULL, 0, &first), 0);
    assert_int_equal(cas(n, "x", CONDITION_ABSENT, NULL, 0, &dot),
                     CM_ERR_CONDITION);
    assert_int_equal(cas(n, "x", CONDITION_REVISION, NULL, 0, &dot),
                     CM_ERR_CONDITION);
    assert_int_equal(cas(n, "2", CONDITION_REVISION, NULL, 1, &dot), 0);
    assert_int_equal(cas(n, "x", CONDITION_REVISION, NULL, 1, &dot),
                     CM_ERR_CONDITION);
    assert_int_equal(cas(n, "x", CONDITION_VERSION, &first, 0, &dot),
                     CM_ERR_CONDITION);
    assert_int_equal(cas(n, "3", CONDITION_VERSION, &dot, 0, &dot), 0);
    fixture_expect(n, "cas", "3");
    fixture_mesh_release(&m);
}

/* Goal: a transaction applies whole or not at all. */
static void test_transaction(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];
    struct intent *i = intent_new(INTENT_LOCAL);
    struct local_op op = fixture_op(OP_PUT, "a", NULL, "1");

    (void)state;
    fixture_mesh_make(&m);
    assert_int_equal(intent_add_op(i, &op), 0);
    op = fixture_op(OP_PUT, "b", NULL, "1");
    op.condition = CONDITION_REVISION;
    op.revision = 99;
    assert_int_equal(intent_add_op(i, &op), 0);
    commit_result_free(fixture_commit(n, i));
    assert_int_equal(i->result, CM_ERR_CONDITION);
    assert_int_equal(i->failed_op, 1);
    fixture_expect(n, "a", "");
    i->ops[1].condition = CONDITION_NONE;
    commit_result_free(fixture_commit(n, i));
    assert_int_equal(i->result, 0);
    fixture_expect(n, "a", "1");
    fixture_expect(n, "b", "1");
    op = fixture_op(OP_DEL, "a", NULL, NULL);
    assert_int_equal(intent_add_op(i, &op), 0);
    commit_result_free(fixture_commit(n, i));
    assert_int_equal(i->result, CM_ERR_INVALID);
    assert_non_null(strstr(i->detail.text, "twice"));
    intent_free(i);
    fixture_mesh_release(&m);
}

/* Goal: independent writes of a batch share one event; a key written twice
 * needs a second one, which supersedes the first. */
static void test_group_commit(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];
    struct intent *all[40];
    struct commit_result *r;

    (void)state;
    fixture_mesh_make(&m);
    for (size_t i = 0; i < 40; i++) {
        char key[16];
        struct local_op op;

        (void)snprintf(key, sizeof key, "k%zu", i < 39 ? i : 0);
        op = fixture_op(OP_PUT, key, NULL, i < 39 ? "first" : "second");
        all[i] = intent_new(INTENT_LOCAL);
        assert_int_equal(intent_add_op(all[i], &op), 0);
        if (i > 0)
            all[i - 1]->next = all[i];
    }
    r = fixture_commit(n, all[0]);
    assert_int_equal(r->events_count, 2);
    assert_int_equal(r->revision, 1);
    assert_int_equal(r->local_intents, 40);
    assert_int_equal(all[38]->dot.seq, 1);
    assert_int_equal(all[39]->dot.seq, 2);
    fixture_expect(n, "k0", "second");
    fixture_expect(n, "k38", "first");
    commit_result_free(r);
    for (size_t i = 0; i < 40; i++)
        intent_free(all[i]);
    fixture_mesh_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_get_del),
        cmocka_unit_test(test_nothing_written),
        cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_transaction),
        cmocka_unit_test(test_group_commit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
