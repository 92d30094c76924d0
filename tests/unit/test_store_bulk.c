/* Goal: entries that come in order fill their pages, nothing of what stands
 * around them is lost, and an entry that is there already is refused. Method: a
 * store with its ordinary records, thousands of entries in one transaction. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "crdt/base/alloc.h"
#include "node/scratch.h"
#include "node/store.h"
#include "node/store_bulk.h"

#define COUNT 20000
#define PAYLOAD 220
#define FACTS 8

static char dir[SCRATCH_PATH_SIZE];

static struct store *open_new(void)
{
    struct cm_detail detail = {""};
    struct store *s = NULL;

    assert_int_equal(scratch_make(dir, "/tmp/confmesh-bulk", "tmp", &detail),
                     0);
    assert_int_equal(store_open(&s, dir, 0, &detail), 0);
    return s;
}

static void close_and_remove(struct store *s)
{
    store_close(s);
    scratch_remove(dir);
}

static void make_fact(struct schema_key *key, struct buffer *record, unsigned i,
                      size_t size)
{
    char name[16];

    (void)snprintf(name, sizeof name, "fact-%u", i);
    schema_key_meta(key, name);
    schema_record_begin(record);
    while (record->error == 0 && record->size < size)
        buffer_append_byte(record, (uint8_t)i);
}

static void put_facts(struct store *s, size_t size)
{
    struct buffer record;
    struct store_txn t;

    buffer_init(&record, 1 << 20);
    assert_int_equal(store_txn_begin(&t, s, true, NULL), 0);
    for (unsigned i = 0; i < FACTS; i++) {
        struct schema_key key;

        make_fact(&key, &record, i, size);
        assert_int_equal(store_txn_put(&t, &key, &record), 0);
    }
    assert_int_equal(store_txn_commit(&t, NULL), 0);
    buffer_release(&record);
}

static void check_facts(struct store *s, size_t size)
{
    struct store_txn t;

    assert_int_equal(store_txn_begin(&t, s, false, NULL), 0);
    for (unsigned i = 0; i < FACTS; i++) {
        struct slice payload;
        char name[16];

        (void)snprintf(name, sizeof name, "fact-%u", i);
        assert_int_equal(store_txn_meta(&t, name, &payload), 0);
        assert_int_equal(payload.size, size - SCHEMA_CHECKSUM_SIZE);
        assert_int_equal(payload.data[0], i);
    }
    store_txn_abort(&t);
}

static int add(struct store_bulk *b, struct buffer *record, unsigned i)
{
    struct entry_id id = {.space = SPACE_REGISTER};
    struct schema_key key;
    char text[32];

    (void)snprintf(text, sizeof text, "bulk/%07u", i);
    id.key = slice_of_string(text);
    schema_key_entry(&key, &id);
    schema_record_begin(record);
    while (record->error == 0 && record->size < PAYLOAD)
        buffer_append_byte(record, (uint8_t)i);
    return store_bulk_add(b, &key, record);
}

static void fill(struct store *s)
{
    struct store_bulk b;
    struct buffer record;
    struct store_txn t;

    buffer_init(&record, 4096);
    assert_int_equal(store_txn_begin(&t, s, true, NULL), 0);
    assert_int_equal(store_bulk_begin(&b, &t), 0);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(add(&b, &record, i), 0);
    assert_int_equal(add(&b, &record, 77), CM_ERR_EXISTS);
    assert_int_equal(store_bulk_end(&b, true), 0);
    assert_int_equal(store_txn_commit(&t, NULL), 0);
    buffer_release(&record);
}

static void check_entries(struct store *s)
{
    struct store_txn t;

    assert_int_equal(store_txn_begin(&t, s, false, NULL), 0);
    for (unsigned i = 0; i < COUNT; i += 7) {
        struct entry_id id = {.space = SPACE_REGISTER};
        struct schema_key key;
        struct slice payload;
        char text[32];

        (void)snprintf(text, sizeof text, "bulk/%07u", i);
        id.key = slice_of_string(text);
        schema_key_entry(&key, &id);
        assert_int_equal(store_txn_get(&t, &key, &payload), 0);
        assert_int_equal(payload.data[0], (uint8_t)i);
    }
    store_txn_abort(&t);
}

static void pages_are_full(void **state)
{
    struct store *s = open_new();
    struct store_usage usage;

    (void)state;
    put_facts(s, 400);
    fill(s);
    check_facts(s, 400);
    check_entries(s);
    store_usage(s, &usage);
    assert_int_equal(usage.entries, COUNT + FACTS);
    /* Key, record and LMDB's own head and pointer: 244 bytes. */
    assert_true(usage.used_bytes < COUNT * UINT64_C(244) * 115 / 100);
    close_and_remove(s);
}

/* What is much stays where it is: the entries stand before it all the same. */
static void a_long_tail_stays(void **state)
{
    struct store *s = open_new();

    (void)state;
    put_facts(s, STORE_BULK_TAIL_BYTES / 2);
    fill(s);
    check_facts(s, STORE_BULK_TAIL_BYTES / 2);
    check_entries(s);
    close_and_remove(s);
}

/* Whatever fails, what was there before the transaction is there after it. */
static void what_is_aborted_is_undone(void **state)
{
    struct store *s = open_new();

    (void)state;
    put_facts(s, 400);
    for (uint64_t n = 1; n < 20; n++) {
        struct buffer record;
        struct store_bulk b;
        struct store_txn t;
        int error;

        buffer_init(&record, 4096);
        assert_int_equal(store_txn_begin(&t, s, true, NULL), 0);
        cm_alloc_fail_after(n);
        error = store_bulk_begin(&b, &t);
        if (error == 0)
            error = add(&b, &record, 1);
        cm_alloc_fail_after(0);
        if (error == 0)
            assert_int_equal(store_bulk_end(&b, false), 0);
        else
            assert_int_equal(error, CM_ERR_NOMEM);
        if (error != 0 && b.cursor != NULL)
            assert_int_equal(store_bulk_end(&b, false), 0);
        store_txn_abort(&t);
        check_facts(s, 400);
        buffer_release(&record);
    }
    close_and_remove(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_full),
        cmocka_unit_test(a_long_tail_stays),
        cmocka_unit_test(what_is_aborted_is_undone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
