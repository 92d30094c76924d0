/* Comparing two replicas: walks, prints, messages. Goal: what differs is found
 * and nothing else, whatever the sizes; whatever bytes a peer sends, they are
 * decoded or refused. */
#include "tests/unit/support.h"

#include "tests/unit/writer_fixture.h"

#include "crdt/base/alloc.h"
#include "node/compare_message.h"

static struct compare_scan *scan(struct fixture_node *n, enum compare_mode mode,
                                 const struct schema_key *bounds, size_t count)
{
    struct compare_scan *s;
    int error;

    assert_int_equal(compare_scan_create(&s, n->store, mode, bounds, count), 0);
    do
        error = compare_scan_step(s);
    while (error > 0);
    assert_int_equal(error, 0);
    return s;
}

static void put_many(struct fixture_node *n, const char *prefix, int count)
{
    for (int i = 0; i < count; i++) {
        char key[64];

        (void)snprintf(key, sizeof key, "%s/%05d", prefix, i);
        (void)fixture_write(n, OP_PUT, key, NULL, "value");
    }
}

static const struct schema_key everything[2];

static void test_split_covers_all(void **state)
{
    struct fixture_mesh m;
    const struct compare_result *r;
    struct compare_scan *s;
    uint64_t sum = 0;

    (void)state;
    fixture_mesh_make(&m);
    put_many(&m.nodes[0], "app", 1200); /* more than parts of the first size */
    s = scan(&m.nodes[0], COMPARE_SPLIT, everything, 2);
    r = compare_scan_result(s);
    assert_true(r->parts_count > 8 && r->parts_count <= COMPARE_PARTS_MAX);
    for (size_t i = 0; i < r->parts_count; i++) {
        sum += r->parts[i].count;
        if (i > 0)
            assert_true(slice_compare(schema_key_slice(&r->parts[i - 1].from),
                                      schema_key_slice(&r->parts[i].from)) < 0);
    }
    assert_int_equal(sum, r->records);
    assert_true(sum >= 1200);
    compare_scan_free(s);
    fixture_mesh_release(&m);
}

/* Equal states have equal prints, one key more differs in one part alone. */
static void test_prints_tell_the_part(void **state)
{
    struct fixture_mesh m;
    struct schema_key bounds[COMPARE_PARTS_MAX + 1] = {{.size = 0}};
    struct fixture_node *a, *b;
    struct compare_scan *s, *x, *y;
    size_t count, differ = 0;

    (void)state;
    fixture_mesh_make(&m);
    a = &m.nodes[0];
    b = fixture_add_node(&m, ROLE_WRITER, "", true);
    put_many(a, "app", 300);
    fixture_sync(b, a);
    (void)fixture_write(b, OP_PUT, "app/00150x", NULL, "more");
    s = scan(a, COMPARE_SPLIT, everything, 2);
    count = compare_scan_result(s)->parts_count;
    for (size_t i = 1; i < count; i++)
        bounds[i] = compare_scan_result(s)->parts[i].from;
    x = scan(a, COMPARE_BOUNDS, bounds, count + 1);
    y = scan(b, COMPARE_BOUNDS, bounds, count + 1);
    assert_int_equal(compare_scan_result(x)->parts_count, count);
    assert_int_equal(compare_scan_result(y)->parts_count, count);
    for (size_t i = 0; i < count; i++) {
        const struct compare_part *p = &compare_scan_result(x)->parts[i];
        const struct compare_part *q = &compare_scan_result(y)->parts[i];

        if (memcmp(p->print, q->print, COMPARE_PRINT_SIZE) == 0)
            continue;
        differ++;
        assert_int_equal(q->count, p->count + 1);
    }
    assert_int_equal(differ, 1);
    compare_scan_free(s);
    compare_scan_free(x);
    compare_scan_free(y);
    fixture_mesh_release(&m);
}

/* Bounds where nothing lies give empty parts, at the ends too. */
static void test_empty_parts(void **state)
{
    struct fixture_mesh m;
    struct schema_key bounds[4] = {{.size = 0}};
    const struct compare_result *r;
    struct compare_scan *s;
    struct entry_id id = {.space = SPACE_REGISTER, .key = slice_of_string("a")};

    (void)state;
    fixture_mesh_make(&m);
    schema_key_entry(&bounds[1], &id);
    id.key = slice_of_string("b");
    schema_key_entry(&bounds[2], &id);
    s = scan(&m.nodes[0], COMPARE_BOUNDS, bounds, 4);
    r = compare_scan_result(s);
    assert_int_equal(r->parts_count, 3);
    assert_int_equal(r->parts[0].count, 0);
    assert_int_equal(r->parts[1].count, 0);
    compare_scan_free(s);
    fixture_mesh_release(&m);
}

static void test_lists_in_pages(void **state)
{
    struct fixture_mesh m;
    const struct compare_result *r;
    struct compare_scan *s;
    struct schema_key range[2] = {{.size = 0}};
    uint64_t seen = 0;
    bool more = true;

    (void)state;
    fixture_mesh_make(&m);
    put_many(&m.nodes[0], "app", 300);
    while (more) {
        s = scan(&m.nodes[0], COMPARE_LIST, range, 2);
        r = compare_scan_result(s);
        more = r->more;
        seen += r->items_count;
        if (more) {
            range[0] = r->items[r->items_count - 1].key;
            range[0].bytes[range[0].size++] = 0;
        }
        compare_scan_free(s);
    }
    assert_true(seen >= 300 && seen < 320);
    fixture_mesh_release(&m);
}

/* The digest that is kept is the sum of what is there. */
static void test_scrub_adds_up(void **state)
{
    struct fixture_mesh m;
    struct compare_scan *s;

    (void)state;
    fixture_mesh_make(&m);
    put_many(&m.nodes[0], "app", 100);
    (void)fixture_write(&m.nodes[0], OP_SET_ADD, "set", "e", NULL);
    (void)fixture_write(&m.nodes[0], OP_DEL, "app/00001", NULL, NULL);
    s = scan(&m.nodes[0], COMPARE_SCRUB, NULL, 0);
    assert_int_equal(compare_scan_result(s)->damaged, 0);
    assert_true(digest_equal(&compare_scan_result(s)->found,
                             &compare_scan_result(s)->lanes));
    compare_scan_free(s);
    fixture_mesh_release(&m);
}

static void refuse_cuts(struct slice bytes)
{
    struct compare_message *m = cm_calloc(1, sizeof *m);

    assert_non_null(m);
    for (size_t i = 0; i < bytes.size; i++)
        assert_true(compare_message_decode(m, slice_of(bytes.data, i)) < 0);
    assert_int_equal(compare_message_decode(m, bytes), 0);
    cm_free(m);
}

static void test_messages(void **state)
{
    struct compare_message *m = cm_calloc(1, sizeof *m);
    struct schema_key keys[2] = {{.size = 0}};
    struct hash vv = {{7}};
    struct buffer out, entries;
    struct digest lanes;

    (void)state;
    assert_non_null(m);
    buffer_init(&out, COMPARE_MESSAGE_MAX);
    buffer_init(&entries, COMPARE_MESSAGE_MAX);
    digest_init(&lanes);
    lanes.lanes[3] = 9;
    compare_message_ask(&out, COMPARE_ASK_PARTS, 5, &vv, false, keys, 2);
    assert_int_equal(out.error, 0);
    refuse_cuts(buffer_slice(&out));
    buffer_clear(&out);
    compare_message_state(&out, 6, &vv, &vv, &lanes);
    refuse_cuts(buffer_slice(&out));
    assert_int_equal(compare_message_decode(m, buffer_slice(&out)), 0);
    assert_true(digest_equal(&m->lanes, &lanes));
    buffer_clear(&out);
    compare_message_put_entry(&entries, COMPARE_ENTRY_THERE,
                              slice_of_string("x"));
    compare_message_put_entry(&entries, COMPARE_ENTRY_DAMAGED,
                              slice_of(NULL, 0));
    compare_message_entries(&out, 7, &vv, buffer_slice(&entries), 2);
    refuse_cuts(buffer_slice(&out));
    buffer_clear(&out);
    compare_message_refused(&out, 8, &vv, CM_ERR_BUSY);
    refuse_cuts(buffer_slice(&out));
    buffer_release(&out);
    buffer_release(&entries);
    cm_free(m);
}

/* Bounds that do not ascend, a key of another kind of record, nothing. */
static void test_messages_are_strict(void **state)
{
    struct compare_message *m = cm_calloc(1, sizeof *m);
    struct schema_key keys[3] = {{.size = 0}};
    struct hash vv = {{0}};
    struct buffer out;

    (void)state;
    assert_non_null(m);
    buffer_init(&out, COMPARE_MESSAGE_MAX);
    keys[0] = (struct schema_key){.bytes = "e\001b", .size = 3};
    keys[1] = (struct schema_key){.bytes = "e\001a", .size = 3};
    compare_message_ask(&out, COMPARE_ASK_KEYS, 1, &vv, false, keys, 2);
    assert_int_equal(compare_message_decode(m, buffer_slice(&out)),
                     CM_ERR_MALFORMED);
    buffer_clear(&out);
    keys[0] = (struct schema_key){.bytes = "mpeers", .size = 6};
    compare_message_ask(&out, COMPARE_ASK_ENTRIES, 1, &vv, false, keys, 1);
    assert_int_equal(compare_message_decode(m, buffer_slice(&out)),
                     CM_ERR_MALFORMED);
    buffer_clear(&out);
    compare_message_ask(&out, COMPARE_ASK_ENTRIES, 1, &vv, false, keys, 0);
    assert_int_equal(compare_message_decode(m, buffer_slice(&out)),
                     CM_ERR_MALFORMED);
    buffer_release(&out);
    cm_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split_covers_all),
        cmocka_unit_test(test_prints_tell_the_part),
        cmocka_unit_test(test_empty_parts),
        cmocka_unit_test(test_lists_in_pages),
        cmocka_unit_test(test_scrub_adds_up),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_messages_are_strict),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
