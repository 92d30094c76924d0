/* Goal: stamps rise whatever the wall clock does, and dots have one text.
 * Method: the edges of both parts, a clock that jumps, texts that are nearly
 * right. */
#include "support.h"

#include "crdt/hlc.h"

static void test_parts(void **state)
{
    hlc_t h = hlc_make(1700000000123, 7);

    (void)state;
    assert_true(hlc_wall_ms(h) == 1700000000123);
    assert_int_equal(hlc_counter(h), 7);
    assert_true(hlc_make(2, 0) > hlc_make(1, UINT16_MAX));
    assert_true(hlc_make(HLC_WALL_MS_MAX, UINT16_MAX) == UINT64_MAX);
    assert_true(hlc_make(UINT64_MAX, 3) == hlc_make(HLC_WALL_MS_MAX, 3));
}

static void test_next(void **state)
{
    hlc_t last = 0;
    uint64_t i;

    (void)state;
    assert_true(hlc_next(0, 0) == 1); /* never 0 */
    for (i = 0; i < 1000; i++) {
        /* A clock that goes back, forth, and stands still. */
        uint64_t wall = 1000000 + (i * 7919) % 100;
        hlc_t next = hlc_next(last, wall);

        assert_true(next > last);
        assert_true(hlc_wall_ms(next) >= wall);
        last = next;
    }
    /* A full counter carries into the milliseconds. */
    assert_true(hlc_next(hlc_make(5, UINT16_MAX), 5) == hlc_make(6, 0));
    assert_true(hlc_next(hlc_make(5, 3), 9) == hlc_make(9, 0));
    assert_true(hlc_next(hlc_make(9, 3), 5) == hlc_make(9, 4));
}

static void test_merge(void **state)
{
    (void)state;
    assert_true(hlc_merge(3, 5) == 5);
    assert_true(hlc_merge(5, 3) == 5);
    assert_true(hlc_merge(5, 5) == 5);
}

static void test_dot_text(void **state)
{
    static const char *const wrong[] = {
        "",
        ":",
        "0101010101010101010101010101010",
        "01010101010101010101010101010101",
        "01010101010101010101010101010101:",
        "01010101010101010101010101010101:0",
        "01010101010101010101010101010101:01",
        "01010101010101010101010101010101:-1",
        "01010101010101010101010101010101:1 ",
        "01010101010101010101010101010101:+1",
        "01010101010101010101010101010101:18446744073709551616",
        "01010101010101010101010101010101:99999999999999999999",
        "01010101010101010101010101010101-1",
        "0101010101010101010101010101010g:1",
        "0101010101010101010101010101010A:1",
    };
    static const uint64_t seqs[] = {1, 9, 10, 4096, UINT64_MAX};
    char text[DOT_TEXT_SIZE];
    struct dot d = support_dot(1, 1);
    struct dot parsed;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof seqs / sizeof *seqs; i++) {
        d.seq = seqs[i];
        dot_format(text, &d);
        assert_int_equal(dot_parse(&parsed, text), 0);
        assert_true(dot_equal(&parsed, &d));
    }
    assert_string_equal(
        text, "01010101010101010101010101010101:18446744073709551615");
    for (i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(dot_parse(&parsed, wrong[i]), CM_ERR_MALFORMED);
}

static void test_dot_order(void **state)
{
    struct dot a = support_dot(1, 9);
    struct dot b = support_dot(2, 1);
    struct dot c = support_dot(2, 2);

    (void)state;
    assert_true(dot_compare(&a, &b) < 0 && dot_compare(&b, &a) > 0);
    assert_true(dot_compare(&b, &c) < 0 && dot_compare(&c, &b) > 0);
    assert_int_equal(dot_compare(&c, &c), 0);
    assert_false(dot_equal(&b, &c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),     cmocka_unit_test(test_next),
        cmocka_unit_test(test_merge),     cmocka_unit_test(test_dot_text),
        cmocka_unit_test(test_dot_order),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
