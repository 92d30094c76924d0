/* Goal: pack and unpack are each other's inverse, and the reader refuses all
 * that the writer would not have written. Method: round trips over the edges
 * of every width, then the same values by hand in longer forms. */
#include "support.h"

#include "crdt/base/pack.h"

static struct unpacker reader(struct slice in)
{
    struct unpacker ret;

    unpack_init(&ret, in);
    return ret;
}

static void test_uint_round_trip(void **state)
{
    static const uint64_t edges[] = {0,
                                     1,
                                     127,
                                     128,
                                     255,
                                     256,
                                     65535,
                                     65536,
                                     UINT32_MAX,
                                     UINT64_C(1) << 32,
                                     UINT64_MAX - 1,
                                     UINT64_MAX};
    struct buffer b;
    struct unpacker u;
    size_t i;

    (void)state;
    buffer_init(&b, 1000);
    for (i = 0; i < sizeof edges / sizeof *edges; i++)
        pack_uint(&b, edges[i]);
    u = reader(buffer_slice(&b));
    for (i = 0; i < sizeof edges / sizeof *edges; i++)
        assert_true(unpack_uint(&u, UINT64_MAX) == edges[i]);
    assert_int_equal(unpack_finish(&u), 0);
    buffer_release(&b);
}

static void test_sizes_round_trip(void **state)
{
    static const size_t sizes[] = {0, 1, 31, 32, 255, 256, 65535, 65536};
    static uint8_t data[65536];
    struct buffer b;
    struct unpacker u;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)('a' + i % 26);
    for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct slice s = slice_of(data, sizes[i]);

        buffer_init(&b, 1 << 20);
        pack_bin(&b, s);
        pack_string(&b, s);
        pack_array(&b, sizes[i]);
        pack_bool(&b, true);
        pack_bool(&b, false);
        pack_nil(&b);
        u = reader(buffer_slice(&b));
        support_assert_slices(unpack_bin(&u, sizes[i]), s);
        support_assert_slices(unpack_string(&u, sizes[i]), s);
        assert_int_equal(unpack_array(&u, sizes[i]), sizes[i]);
        assert_true(unpack_bool(&u));
        assert_false(unpack_bool(&u));
        assert_true(unpack_try_nil(&u));
        assert_int_equal(unpack_finish(&u), 0);
        buffer_release(&b);
    }
}

static void test_bin_head(void **state)
{
    struct buffer whole;
    struct buffer parts;

    (void)state;
    buffer_init(&whole, 100);
    buffer_init(&parts, 100);
    pack_bin(&whole, support_text("abc"));
    pack_bin_head(&parts, 3);
    buffer_append_string(&parts, "abc");
    support_assert_slices(buffer_slice(&whole), buffer_slice(&parts));
    buffer_release(&whole);
    buffer_release(&parts);
}

enum reads {
    READ_UINT,
    READ_BIN,
    READ_STRING,
    READ_ARRAY,
    READ_BOOL,
    READ_SKIP,
};

struct refused {
    enum reads as;
    int error;
    size_t size;
    uint8_t bytes[12];
};

static int read_as(struct unpacker *u, enum reads as)
{
    switch (as) {
    case READ_UINT:
        (void)unpack_uint(u, UINT64_MAX);
        break;
    case READ_BIN:
        (void)unpack_bin(u, 1000);
        break;
    case READ_STRING:
        (void)unpack_string(u, 1000);
        break;
    case READ_ARRAY:
        (void)unpack_array(u, 1000);
        break;
    case READ_BOOL:
        (void)unpack_bool(u);
        break;
    case READ_SKIP:
        unpack_skip(u);
        break;
    }
    return unpack_finish(u);
}

static void test_refuses(void **state)
{
    static const struct refused cases[] = {
        {READ_UINT, CM_ERR_NONCANONICAL, 2, {0xcc, 0x7f}},
        {READ_UINT, CM_ERR_NONCANONICAL, 3, {0xcd, 0x00, 0xff}},
        {READ_UINT, CM_ERR_NONCANONICAL, 5, {0xce, 0, 0, 0xff, 0xff}},
        {READ_UINT,
         CM_ERR_NONCANONICAL,
         9,
         {0xcf, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}},
        {READ_UINT, CM_ERR_MALFORMED, 1, {0xff}},       /* -1 */
        {READ_UINT, CM_ERR_MALFORMED, 2, {0xd0, 0x01}}, /* signed form */
        {READ_UINT, CM_ERR_MALFORMED, 0, {0}},
        {READ_UINT, CM_ERR_MALFORMED, 2, {0x01, 0x01}}, /* bytes left */
        {READ_UINT, CM_ERR_MALFORMED, 4, {0xce, 1, 1, 1}},
        {READ_BIN, CM_ERR_NONCANONICAL, 4, {0xc5, 0, 1, 'a'}},
        {READ_BIN, CM_ERR_NONCANONICAL, 6, {0xc6, 0, 0, 0, 1, 'a'}},
        {READ_BIN, CM_ERR_MALFORMED, 3, {0xc4, 2, 'a'}},
        {READ_BIN, CM_ERR_MALFORMED, 2, {0xa1, 'a'}}, /* a string */
        {READ_BIN, CM_ERR_TOO_LARGE, 5, {0xc6, 0xff, 0xff, 0xff, 0xff}},
        {READ_STRING, CM_ERR_NONCANONICAL, 3, {0xd9, 1, 'a'}},
        {READ_STRING, CM_ERR_NONCANONICAL, 4, {0xda, 0, 1, 'a'}},
        {READ_STRING, CM_ERR_MALFORMED, 2, {0xa1, 0xff}},
        {READ_STRING, CM_ERR_MALFORMED, 2, {0xa1, 0x00}},
        {READ_STRING, CM_ERR_MALFORMED, 3, {0xa2, 0xc0, 0xaf}},
        {READ_STRING, CM_ERR_MALFORMED, 4, {0xa3, 0xed, 0xa0, 0x80}},
        {READ_ARRAY, CM_ERR_NONCANONICAL, 3, {0xdc, 0, 1}},
        {READ_ARRAY, CM_ERR_TOO_LARGE, 5, {0xdd, 0xff, 0xff, 0xff, 0xff}},
        {READ_ARRAY, CM_ERR_MALFORMED, 1, {0x81}}, /* a map */
        {READ_BOOL, CM_ERR_MALFORMED, 1, {0xc0}},
        {READ_SKIP,
         CM_ERR_TOO_LARGE,
         12,
         {0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 1}},
        {READ_SKIP, CM_ERR_MALFORMED, 1, {0x80}},
        {READ_SKIP, CM_ERR_MALFORMED, 1, {0xca}}, /* a float */
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct unpacker u = reader(slice_of(cases[i].bytes, cases[i].size));
        int error = read_as(&u, cases[i].as);

        if (error != cases[i].error)
            fail_msg("case %zu gave %s", i, cm_error_name(error));
    }
}

static void test_error_is_sticky(void **state)
{
    static const uint8_t bytes[] = {0xff, 0x01, 0xc4, 0x00};
    uint8_t filled[4] = {1, 1, 1, 1};
    static const uint8_t zeroes[4];
    struct unpacker u = reader(slice_of(bytes, sizeof bytes));

    (void)state;
    assert_int_equal(unpack_uint(&u, 10), 0);
    assert_int_equal(unpack_uint(&u, 10), 0);
    assert_int_equal(unpack_bin(&u, 10).size, 0);
    unpack_bytes(&u, filled, sizeof filled);
    assert_memory_equal(filled, zeroes, sizeof filled);
    unpack_fail(&u, CM_ERR_TOO_LARGE);
    assert_int_equal(unpack_finish(&u), CM_ERR_MALFORMED);
}

static void test_buffer_limit(void **state)
{
    struct buffer b;

    (void)state;
    buffer_init(&b, 10);
    pack_bin(&b, support_text("12345678"));
    assert_int_equal(b.error, 0);
    pack_uint(&b, 1);
    assert_int_equal(b.error, CM_ERR_TOO_LARGE);
    assert_int_equal(b.size, 10);
    buffer_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uint_round_trip),
        cmocka_unit_test(test_sizes_round_trip),
        cmocka_unit_test(test_bin_head),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_error_is_sticky),
        cmocka_unit_test(test_buffer_limit),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
