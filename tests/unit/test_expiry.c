/* Goal: what expires is absent from then on by a pure function of the time, and
 * watchers hear of it exactly once, also those that were away, also after a
 * restart; nothing scans the store for it.
 * Method: the writer over a real store with a clock of the test's own. */
#include "tests/unit/writer_fixture.h"

#include "node/store_txn.h"

#define RW (ROLE_WRITER | ROLE_ISSUER)

struct seen {
    char text[4096];
    uint64_t revision;
};

static int on_change(void *context, const struct change *c)
{
    static const char *const kinds[] = {"", "put", "delete", "add", "remove"};
    struct seen *s = context;
    size_t at = strlen(s->text);

    (void)snprintf(s->text + at, sizeof s->text - at, "%s %.*s%s%.*s%s;",
                   kinds[c->kind], (int)c->id.key.size,
                   (const char *)c->id.key.data,
                   c->id.space == SPACE_SET ? "/" : "", (int)c->id.element.size,
                   (const char *)(c->id.element.size > 0 ? c->id.element.data
                                                         : (const void *)""),
                   c->expired ? " expired" : "");
    return 0;
}

/* All changes after from. */
static const char *changes_after(struct fixture_node *n, uint64_t from)
{
    static struct seen seen;
    struct store_reader *r;
    int error;

    memset(&seen, 0, sizeof seen);
    assert_int_equal(store_reader_begin(n->store, &r), 0);
    while ((error = store_changes(r, from, &from, on_change, &seen)) == 0)
        seen.revision = from;
    assert_int_equal(error, CM_ERR_NOT_FOUND);
    store_reader_release(r);
    return seen.text;
}

static struct dot put_until(struct fixture_node *n, enum op_kind kind,
                            const char *key, const char *element,
                            uint64_t expires_ms)
{
    struct local_op op =
        fixture_op(kind, key, element, kind == OP_PUT ? "v" : NULL);
    struct intent *i;
    struct dot dot;

    op.expires = expires_ms != 0 ? hlc_make(expires_ms, 0) : 0;
    i = fixture_do(n, &op);
    assert_int_equal(i->result, 0);
    dot = i->dot;
    intent_free(i);
    return dot;
}

/* An empty batch at the node's time, as the timer sends it; when the next one
 * is due. */
static uint64_t tick(struct fixture_node *n, bool wrote)
{
    struct intent *i = intent_new(INTENT_EXPIRE);
    struct commit_result *r = fixture_commit(n, i);
    uint64_t ret = r->expiry_wall_ms;

    assert_int_equal(i->result, 0);
    assert_true(r->wrote == wrote);
    assert_int_equal(r->events_count, 0);
    commit_result_free(r);
    intent_free(i);
    return ret;
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

static void test_told_once(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];
    struct hash digest;

    (void)state;
    fixture_mesh_make(&m);
    put_until(n, OP_PUT, "short", NULL, FIXTURE_WALL_MS + 1000);
    put_until(n, OP_SET_ADD, "set", "e", FIXTURE_WALL_MS + 2000);
    put_until(n, OP_PUT, "long", NULL, FIXTURE_WALL_MS + 90000);
    put_until(n, OP_PUT, "ever", NULL, 0);
    assert_int_equal(tick(n, false), FIXTURE_WALL_MS + 1000);
    fixture_expect(n, "short", "v");
    digest = n->digest;

    n->wall_ms = FIXTURE_WALL_MS + 1000;
    fixture_expect(n, "short", ""); /* at once, before anything was told */
    assert_string_equal(changes_after(n, 4), "");
    assert_int_equal(tick(n, true), FIXTURE_WALL_MS + 2000);
    assert_string_equal(changes_after(n, 4), "delete short expired;");
    assert_true(hash_equal(&digest, &n->digest)); /* nothing replicated */

    n->wall_ms = FIXTURE_WALL_MS + 3000;
    fixture_close(
        n); /* a restart in between tells it neither twice nor never */
    fixture_open(n);
    assert_int_equal(tick(n, true), FIXTURE_WALL_MS + 90000);
    assert_int_equal(tick(n, false), FIXTURE_WALL_MS + 90000);
    fixture_expect_member(n, "set", "e", false);
    assert_string_equal(changes_after(n, 4),
                        "delete short expired;remove set/e expired;");
    assert_string_equal(changes_after(n, 5), "remove set/e expired;");
    assert_string_equal(
        changes_after(n, 0),
        "put short;add set/e;put long;put ever;delete short expired;"
        "remove set/e expired;");
    fixture_mesh_release(&m);
}

/* Goal: a write in the same batch or after the end, before it was told, leaves
 * watchers with what is there. */
static void test_overtaken(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];

    (void)state;
    fixture_mesh_make(&m);
    put_until(n, OP_PUT, "again", NULL, FIXTURE_WALL_MS + 1000);
    put_until(n, OP_PUT, "deleted", NULL, FIXTURE_WALL_MS + 1000);
    put_until(n, OP_PUT, "other", NULL, FIXTURE_WALL_MS + 1000);
    n->wall_ms = FIXTURE_WALL_MS + 5000;
    put_until(n, OP_PUT, "again", NULL, FIXTURE_WALL_MS + 9000);
    /* The same commit told of the others. */
    assert_string_equal(changes_after(n, 3), "put again;delete deleted expired;"
                                             "delete other expired;");
    fixture_expect(n, "again", "v");
    assert_int_equal(fixture_write(n, OP_DEL, "deleted", NULL, NULL), 0);
    assert_string_equal(changes_after(n, 4), "");
    assert_int_equal(tick(n, false), FIXTURE_WALL_MS + 9000);
    /* Extended before it came due: the old end is not told. */
    put_until(n, OP_PUT, "again", NULL, 0);
    n->wall_ms = FIXTURE_WALL_MS + 20000;
    assert_int_equal(tick(n, false), UINT64_MAX);
    fixture_expect(n, "again", "v");
    fixture_mesh_release(&m);
}

/* Goal: an end is the same at every replica, whatever came by which way; one
 * that arrives after its end was never seen. */
static void test_replicated(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a = &m.nodes[0];
    struct fixture_node *b;
    struct fixture_node *late;
    uint64_t before;

    (void)state;
    fixture_mesh_make(&m);
    b = fixture_add_node(&m, RW, "", true);
    late = fixture_add_node(&m, RW, "", true);
    fixture_sync(b, a);
    a->wall_ms = FIXTURE_WALL_MS + 100;
    b->wall_ms = FIXTURE_WALL_MS + 200;
    put_until(a, OP_PUT, "k", NULL, FIXTURE_WALL_MS + 1000);
    put_until(b, OP_PUT, "k", NULL, FIXTURE_WALL_MS + 3000); /* concurrent */
    put_until(a, OP_SET_ADD, "s", "e", FIXTURE_WALL_MS + 1000);
    put_until(b, OP_SET_ADD, "s", "e", FIXTURE_WALL_MS + 3000);
    fixture_sync(a, b);
    fixture_sync(b, a);
    fixture_expect_equal(a, b);
    a->wall_ms = b->wall_ms = FIXTURE_WALL_MS + 2000;
    /* The winner is b's: resolve first, then expire. */
    fixture_expect(a, "k", "v");
    fixture_expect(b, "k", "v");
    fixture_expect_member(a, "s", "e", true);
    assert_int_equal(tick(a, false), FIXTURE_WALL_MS + 3000);
    assert_int_equal(tick(b, false), FIXTURE_WALL_MS + 3000);
    a->wall_ms = b->wall_ms = FIXTURE_WALL_MS + 3000;
    fixture_expect(a, "k", "");
    fixture_expect(b, "k", "");
    before = revision_of(a);
    assert_int_equal(tick(a, true), UINT64_MAX);
    assert_string_equal(changes_after(a, before),
                        "delete k expired;remove s/e expired;");
    assert_int_equal(tick(b, true), UINT64_MAX);
    fixture_expect_equal(a, b);

    late->wall_ms = FIXTURE_WALL_MS + 60000;
    before = revision_of(late);
    fixture_sync(late, a);
    fixture_sync(late, b);
    fixture_sync(late, a);
    assert_string_equal(changes_after(late, before), "");
    assert_int_equal(tick(late, false), UINT64_MAX);
    fixture_expect_equal(a, late);
    fixture_mesh_release(&m);
}

/* Goal: more ends at once than one commit tells are told by several. */
static void test_many(void **state)
{
    enum { keys = WRITER_EXPIRIES_MAX + 100 };
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];
    struct intent *i = intent_new(INTENT_LOCAL);
    struct commit_result *r;

    (void)state;
    fixture_mesh_make(&m);
    for (int k = 0; k < keys; k++) {
        char key[32];
        struct local_op op;

        (void)snprintf(key, sizeof key, "k/%d", k);
        op = fixture_op(OP_PUT, key, NULL, "v");
        op.expires = hlc_make(FIXTURE_WALL_MS + 50, 3);
        assert_int_equal(intent_add_op(i, &op), 0);
    }
    r = fixture_commit(n, i);
    assert_int_equal(i->result, 0);
    assert_int_equal(r->expiry_wall_ms, FIXTURE_WALL_MS + 51);
    commit_result_free(r);
    intent_free(i);
    n->wall_ms = FIXTURE_WALL_MS + 51;
    assert_int_equal(tick(n, true), FIXTURE_WALL_MS + 51);
    assert_int_equal(tick(n, true), UINT64_MAX);
    assert_int_equal(tick(n, false), UINT64_MAX);
    assert_int_equal(revision_of(n), 3);
    fixture_mesh_release(&m);
}

static void test_refused(void **state)
{
    struct fixture_mesh m;
    struct local_op op = fixture_op(OP_PUT, "k", NULL, "v");
    struct intent *i;

    (void)state;
    fixture_mesh_make(&m);
    op.expires = hlc_make(HLC_WALL_MS_MAX, 0);
    i = fixture_do(&m.nodes[0], &op);
    assert_int_equal(i->result, CM_ERR_INVALID);
    assert_non_null(strstr(i->detail.text, "6400"));
    intent_free(i);
    fixture_mesh_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_told_once),  cmocka_unit_test(test_overtaken),
        cmocka_unit_test(test_replicated), cmocka_unit_test(test_many),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
