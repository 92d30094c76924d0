/* Goal: one text for one address, and a strict wire form. Method: tables of
 * good and bad texts and bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "crdt/base/error.h"
#include "gossip/address.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void texts_round_trip(void **state)
{
    static const char *const texts[] = {
        "127.0.0.1:7946", "0.0.0.0:0",          "255.255.255.255:65535",
        "[::1]:7946",     "[2001:db8::7]:1",    "[::]:0",
        "10.0.0.1:80",    "[fe80::1:2:3:4]:65",
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(texts); i++) {
        struct address a;
        struct address b;
        char text[ADDRESS_TEXT_SIZE];
        struct buffer out;
        struct unpacker u;

        assert_int_equal(address_parse(&a, texts[i]), 0);
        address_format(text, &a);
        assert_string_equal(text, texts[i]);
        buffer_init(&out, 64);
        address_pack(&out, &a);
        unpack_init(&u, buffer_slice(&out));
        address_unpack(&u, &b);
        assert_int_equal(unpack_finish(&u), 0);
        assert_true(address_equal(&a, &b));
        b.port ^= 1;
        assert_false(address_equal(&a, &b));
        buffer_release(&out);
    }
}

static void bad_texts_are_refused(void **state)
{
    static const char *const texts[] = {
        "",
        ":",
        ":7946",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:99999999999",
        "127.0.0.1:07946",
        "127.0.0.1:+1",
        "127.0.0.1: 1",
        "127.0.0.1:1 ",
        "127.0.0:1",
        "256.0.0.1:1",
        "localhost:1",
        "::1:7946",
        "[::1]7946",
        "[::1:7946",
        "[]:1",
        "[127.0.0.1]:1",
        "[::1%lo]:1",
        "[::1]]:1",
        "[1:2:3:4:5:6:7:8:9:10:11:12:13:14:15:16:17:18:19:20:21:22]:1",
    };
    struct address a = {.family = 9};
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(texts); i++)
        assert_int_equal(address_parse(&a, texts[i]), CM_ERR_MALFORMED);
    assert_int_equal(a.family, 9); /* untouched */
}

static void bad_bytes_are_refused(void **state)
{
    static const uint8_t cases[][22] = {
        /* size, then a bin's bytes */
        {2, 0xc4, 0},                          /* nothing */
        {4, 0xc4, 2, 0, 0},                    /* none, and more */
        {3, 0xc4, 1, 4},                       /* no ip */
        {8, 0xc4, 6, 4, 1, 2, 3, 4, 5},        /* half a port */
        {10, 0xc4, 8, 4, 1, 2, 3, 4, 5, 6, 7}, /* too long */
        {9, 0xc4, 7, 6, 1, 2, 3, 4, 5, 6},     /* IPv6 of four bytes */
        {9, 0xc4, 7, 5, 1, 2, 3, 4, 5, 6},     /* no such family */
        {1, 0x01},                             /* not a bin */
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        struct address a;
        struct unpacker u;

        unpack_init(&u, slice_of(cases[i] + 1, cases[i][0]));
        address_unpack(&u, &a);
        assert_true(unpack_finish(&u) < 0);
        assert_int_equal(a.family, 0);
    }
}

static void none_is_an_address_too(void **state)
{
    struct address none = {0};
    struct address back = {.family = 4};
    char text[ADDRESS_TEXT_SIZE];
    struct buffer out;
    struct unpacker u;

    (void)state;
    address_format(text, &none);
    assert_string_equal(text, "none");
    buffer_init(&out, 64);
    address_pack(&out, &none);
    unpack_init(&u, buffer_slice(&out));
    address_unpack(&u, &back);
    assert_int_equal(unpack_finish(&u), 0);
    assert_true(address_equal(&none, &back));
    buffer_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_round_trip),
        cmocka_unit_test(bad_texts_are_refused),
        cmocka_unit_test(bad_bytes_are_refused),
        cmocka_unit_test(none_is_an_address_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
