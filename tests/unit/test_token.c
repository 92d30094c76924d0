/* Goal: a join token opens what it was made for, as often and as long as it
 * says, and nothing else. Method: texts with every character changed; a table
 * that is asked, redeemed, stored and read back. */
#include "tests/unit/support.h"

#include <stdio.h>
#include <string.h>

#include "crdt/base/error.h"
#include "node/token.h"

#define NOW UINT64_C(1700000000000)

static struct token token_of(uint8_t n)
{
    struct token t;

    memset(&t, 0, sizeof t);
    memset(t.authority_hash, 0xaa, sizeof t.authority_hash);
    memset(t.id, n, sizeof t.id);
    memset(t.secret, n ^ 0x5a, sizeof t.secret);
    t.expires_ms = NOW + 1000;
    t.addresses_count = 2;
    assert_int_equal(address_parse(&t.addresses[0], "127.0.0.1:7946"), 0);
    assert_int_equal(address_parse(&t.addresses[1], "[2001:db8::1]:1"), 0);
    return t;
}

/* ---- text ---- */

static void text_comes_back(void **state)
{
    struct token t = token_of(1);
    char text[TOKEN_TEXT_MAX];
    char padded[TOKEN_TEXT_MAX + 8];
    struct cm_detail detail;
    struct token got;

    (void)state;
    assert_int_equal(token_format(text, &t), 0);
    (void)snprintf(padded, sizeof padded, " \t%s\r\n", text);
    assert_int_equal(token_parse(&got, padded, &detail), 0);
    assert_memory_equal(got.authority_hash, t.authority_hash, 32);
    assert_memory_equal(got.id, t.id, sizeof t.id);
    assert_memory_equal(got.secret, t.secret, sizeof t.secret);
    assert_true(got.expires_ms == t.expires_ms);
    assert_int_equal(got.addresses_count, 2);
    assert_true(address_equal(&got.addresses[1], &t.addresses[1]));
}

/* What a changed character leaves is refused, or says exactly what it is: one
 * text for one token. */
static void changed_text_is_no_token(void **state)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnop"
                                 "qrstuvwxyz0123456789-_ =!\xc3";
    struct token t = token_of(2);
    char text[TOKEN_TEXT_MAX];
    char again[TOKEN_TEXT_MAX];
    struct cm_detail detail;
    struct token got;
    size_t size;
    size_t i;
    size_t k;

    (void)state;
    assert_int_equal(token_format(text, &t), 0);
    size = strlen(text);
    for (i = 0; i < size; i++)
        for (k = 0; k < sizeof digits - 1; k++) {
            char was = text[i];

            text[i] = digits[k];
            detail.text[0] = '\0';
            if (text[i] != was && token_parse(&got, text, &detail) == 0) {
                assert_int_equal(token_format(again, &got), 0);
                assert_string_equal(again, text);
                assert_true(i >= strlen("cm1-"));
            } else if (text[i] != was) {
                assert_non_null(strstr(detail.text, "token"));
            }
            text[i] = was;
        }
    for (i = 0; i < size; i++) { /* cut short */
        char was = text[i];

        text[i] = '\0';
        assert_int_equal(token_parse(&got, text, &detail), CM_ERR_MALFORMED);
        text[i] = was;
    }
}

/* ---- the table ---- */

struct asked {
    int error;
    struct token_record *record;
    const struct redemption *known;
};

static struct asked ask(struct token_table *table, const struct token *t,
                        uint8_t key, uint64_t now)
{
    struct key_pair pair = support_key_pair(key);
    struct asked ret = {0, NULL, NULL};

    ret.error = token_table_find(table, t->id, t->secret, pair.public_key, now,
                                 &ret.record, &ret.known);
    return ret;
}

static void redeem(struct token_table *table, const struct token *t,
                   uint8_t key)
{
    struct key_pair pair = support_key_pair(key);
    struct asked found = ask(table, t, key, NOW);

    assert_int_equal(found.error, 0);
    assert_null(found.known);
    assert_int_equal(token_record_redeem(found.record, pair.public_key,
                                         slice_of(pair.public_key, 16)),
                     0);
}

static void uses_are_counted(void **state)
{
    struct token_table table;
    struct token t = token_of(3);
    struct asked found;

    (void)state;
    token_table_init(&table);
    assert_int_equal(token_table_add(&table, &t, 2, NULL, NOW), 0);
    redeem(&table, &t, 1);
    redeem(&table, &t, 2);
    assert_int_equal(ask(&table, &t, 3, NOW).error, CM_ERR_USED_UP);
    found = ask(&table, &t, 1, NOW); /* whoever had one has it still */
    assert_int_equal(found.error, 0);
    assert_non_null(found.known);
    support_assert_slices(found.known->certificate,
                          slice_of(support_key_pair(1).public_key, 16));
    token_table_release(&table);
}

static void rights_are_remembered(void **state)
{
    struct token_rights some = {
        .prefixes = {slice_of_string("a/"), slice_of_string("b/c")},
        .prefixes_count = 2};
    struct token_rights reader = {.reader = true};
    const struct token_rights *given[] = {&some, &reader, NULL};
    struct token_table table, again;
    struct token t[3] = {token_of(21), token_of(22), token_of(23)};
    struct buffer bytes;

    (void)state;
    token_table_init(&table);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(token_table_add(&table, &t[i], 1, given[i], NOW), 0);
    buffer_init(&bytes, TOKEN_TABLE_BYTES_MAX);
    token_table_encode(&bytes, &table);
    assert_true(token_table_size(&table) >= bytes.size);
    token_table_release(&table);
    assert_int_equal(token_table_decode(&again, buffer_slice(&bytes)), 0);
    assert_int_equal(again.count, 3);
    assert_int_equal(again.records[0].rights.prefixes_count, 2);
    support_assert_slices(again.records[0].rights.prefixes[0],
                          slice_of_string("a/"));
    support_assert_slices(again.records[0].rights.prefixes[1],
                          slice_of_string("b/c"));
    assert_false(again.records[0].rights.reader);
    assert_true(again.records[1].rights.reader);
    assert_int_equal(again.records[2].rights.prefixes_count, 0);
    assert_false(again.records[2].rights.reader);
    token_table_release(&again);
    /* Cut short anywhere it is refused, and nothing is left behind. */
    for (size_t size = 0; size < bytes.size; size++)
        assert_int_not_equal(
            token_table_decode(&again, slice_of(bytes.data, size)), 0);
    buffer_release(&bytes);
}

static void rights_have_bounds(void **state)
{
    char text[TOKEN_PREFIXES_BYTES_MAX];
    struct token_rights r = {.reader = true, .prefixes_count = 1};
    struct cm_detail detail = {""};

    (void)state;
    memset(text, 'x', sizeof text);
    assert_int_equal(token_rights_check(&r, &detail), CM_ERR_INVALID);
    r = (struct token_rights){.prefixes_count = 4};
    for (size_t i = 0; i < 4; i++)
        r.prefixes[i] = slice_of((uint8_t *)text, 256);
    assert_int_equal(token_rights_check(&r, &detail), 0);
    r.prefixes[3].size++;
    assert_int_equal(token_rights_check(&r, &detail), CM_ERR_INVALID);
    r = (struct token_rights){.prefixes_count = 1};
    r.prefixes[0] = slice_of((uint8_t *)text, KEY_SIZE_MAX + 1);
    assert_int_equal(token_rights_check(&r, &detail), CM_ERR_INVALID);
    r.prefixes[0] = slice_of("\xff", 1);
    assert_int_equal(token_rights_check(&r, &detail), CM_ERR_INVALID);
}

static void time_runs_out(void **state)
{
    struct token_table table;
    struct token t = token_of(4);

    (void)state;
    token_table_init(&table);
    assert_int_equal(token_table_add(&table, &t, 1, NULL, NOW), 0);
    assert_int_equal(ask(&table, &t, 1, NOW + 1000).error, 0);
    assert_int_equal(ask(&table, &t, 1, NOW + 1001).error, CM_ERR_EXPIRED);
    assert_true(token_table_has_living(&table, NOW + 1000));
    assert_false(token_table_has_living(&table, NOW + 1001));
    redeem(&table, &t, 1);
    assert_int_equal(ask(&table, &t, 1, NOW + 1001).error, CM_ERR_EXPIRED);
    token_table_release(&table);
}

static void foreign_tokens_open_nothing(void **state)
{
    struct token_table table;
    struct token t = token_of(5);
    struct token foreign = token_of(6);
    size_t i;

    (void)state;
    token_table_init(&table);
    assert_int_equal(ask(&table, &t, 1, NOW).error, CM_ERR_NOT_FOUND);
    assert_int_equal(token_table_add(&table, &t, 1, NULL, NOW), 0);
    assert_int_equal(ask(&table, &foreign, 1, NOW).error, CM_ERR_NOT_FOUND);
    for (i = 0; i < 8 * sizeof t.secret; i++) {
        t.secret[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_int_equal(ask(&table, &t, 1, NOW).error, CM_ERR_NOT_FOUND);
        t.secret[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    assert_int_equal(ask(&table, &t, 1, NOW).error, 0);
    token_table_release(&table);
}

static void expired_ones_make_room(void **state)
{
    struct token_table table;
    unsigned i;

    (void)state;
    token_table_init(&table);
    for (i = 0; i < TOKENS_MAX; i++) {
        struct token t = token_of((uint8_t)i);

        t.expires_ms = NOW + (i % 2) * 1000;
        assert_int_equal(token_table_add(&table, &t, 1, NULL, NOW), 0);
    }
    struct token one_more = token_of(7);

    memset(one_more.id, 0, sizeof one_more.id - 1); /* unlike any */
    assert_int_equal(token_table_add(&table, &one_more, 1, NULL, NOW),
                     CM_ERR_LIMIT);
    assert_int_equal(token_table_add(&table, &one_more, 1, NULL, NOW + 1), 0);
    assert_int_equal(table.count, TOKENS_MAX / 2 + 1);
    for (i = 0; i < TOKENS_MAX; i++) {
        struct token t = token_of((uint8_t)i);

        assert_int_equal(ask(&table, &t, 1, NOW + 1).error,
                         i % 2 == 1 ? 0 : CM_ERR_NOT_FOUND);
    }
    token_table_release(&table);
}

/* ---- on disk ---- */

static void make_table(struct token_table *table)
{
    struct token one = token_of(8);
    struct token two = token_of(9);

    token_table_init(table);
    assert_int_equal(token_table_add(table, &one, 3, NULL, NOW), 0);
    assert_int_equal(token_table_add(table, &two, 1, NULL, NOW), 0);
    redeem(table, &one, 1);
    redeem(table, &one, 2);
    redeem(table, &two, 1);
}

static void the_table_comes_back(void **state)
{
    struct token_table table;
    struct token_table got;
    struct buffer again;
    struct buffer bytes;
    struct token t = token_of(8);

    (void)state;
    make_table(&table);
    buffer_init(&bytes, 1u << 16);
    buffer_init(&again, 1u << 16);
    token_table_encode(&bytes, &table);
    assert_int_equal(token_table_decode(&got, buffer_slice(&bytes)), 0);
    token_table_encode(&again, &got);
    support_assert_slices(buffer_slice(&again), buffer_slice(&bytes));
    assert_non_null(ask(&got, &t, 2, NOW).known);
    redeem(&got, &t, 3);
    assert_int_equal(ask(&got, &t, 4, NOW).error, CM_ERR_USED_UP);
    /* The secret is not in it. */
    assert_null(memmem(bytes.data, bytes.size, t.secret, sizeof t.secret));
    token_table_release(&got);
    token_table_release(&table);
    buffer_release(&bytes);
    buffer_release(&again);
}

/* Every bit changed, every prefix: refused, or the same bytes again. */
static void damaged_tables_are_survived(void **state)
{
    struct token_table table;
    struct buffer again;
    struct buffer bytes;
    size_t i;

    (void)state;
    make_table(&table);
    buffer_init(&bytes, 1u << 16);
    buffer_init(&again, 1u << 16);
    token_table_encode(&bytes, &table);
    token_table_release(&table);
    for (i = 0; i < bytes.size; i++)
        assert_true(token_table_decode(&table, slice_of(bytes.data, i)) < 0);
    for (i = 0; i < 8 * bytes.size; i++) {
        bytes.data[i / 8] ^= (uint8_t)(1u << i % 8);
        if (token_table_decode(&table, buffer_slice(&bytes)) == 0) {
            buffer_clear(&again);
            token_table_encode(&again, &table);
            support_assert_slices(buffer_slice(&again), buffer_slice(&bytes));
            token_table_release(&table);
        }
        bytes.data[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    buffer_release(&bytes);
    buffer_release(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_comes_back),
        cmocka_unit_test(changed_text_is_no_token),
        cmocka_unit_test(uses_are_counted),
        cmocka_unit_test(rights_are_remembered),
        cmocka_unit_test(rights_have_bounds),
        cmocka_unit_test(time_runs_out),
        cmocka_unit_test(foreign_tokens_open_nothing),
        cmocka_unit_test(expired_ones_make_room),
        cmocka_unit_test(the_table_comes_back),
        cmocka_unit_test(damaged_tables_are_survived),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
