/* Clocks of peers: offsets from acks, and their median. */
#include "support.h"

#include "gossip/clock.h"
#include "gossip/packet.h"

/* Goal: a sample is dated at the middle of its round trip. */
static void test_offset(void **state)
{
    struct own_clock own = {.known = true, .lead_ms = 1000000};
    struct peer_clock p = {0};

    (void)state;
    assert_int_equal(clock_now(&own, 5000), 1005000);
    /* Asked at 5000, answered at 5010 with a clock that is 300 ahead. */
    clock_hear(&p, &own, 1005310, 5000, 5020);
    assert_int_equal(clock_offset(&p, &own), 300);
    /* A step of the own clock shows at once. */
    own.lead_ms -= 4000;
    assert_int_equal(clock_offset(&p, &own), 4300);
}

/* Goal: a slow answer does not spoil what a quick one told, a real step is
 * seen at once, and an old sample gives way. */
static void test_best_sample(void **state)
{
    struct own_clock own = {.known = true};
    struct peer_clock p = {0};

    (void)state;
    clock_hear(&p, &own, 1001, 1000, 1002);
    assert_int_equal(clock_offset(&p, &own), 0);
    clock_hear(&p, &own, 2180, 2000, 2200); /* 80 off, within its error */
    assert_int_equal(clock_offset(&p, &own), 0);
    clock_hear(&p, &own, 9100, 3000, 3200);
    assert_int_equal(clock_offset(&p, &own), 6000);
    clock_hear(&p, &own, 100180 + 6000, 100000, 100200);
    assert_int_equal(clock_offset(&p, &own), 6080);
}

/* Goal: who has no clock tells none and is told none. */
static void test_unknown(void **state)
{
    struct own_clock own = {0};
    struct peer_clock p = {0};

    (void)state;
    assert_int_equal(clock_now(&own, 1000), 0);
    own = (struct own_clock){.known = true, .lead_ms = -5000};
    assert_int_equal(clock_now(&own, 1000), 0); /* before 1970 */
    own.lead_ms = INT64_MAX / 4;
    assert_int_equal(clock_now(&own, 1000), PACKET_CLOCK_MS_MAX);
    clock_hear(&p, &own, 0, 0, 10);
    assert_false(p.known);
}

/* Goal: of two clocks the earlier is the median, so that a fast one convinces
 * nobody; of many neither end counts. */
static void test_median(void **state)
{
    int64_t two[] = {0, 315360000000};
    int64_t slow[] = {0, -600000};
    int64_t many[] = {0, 315360000000, -7, 3, -315360000000};

    (void)state;
    assert_int_equal(clock_median(two, 2), 0);
    assert_int_equal(clock_median(slow, 2), -600000);
    assert_int_equal(clock_median(many, 5), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_offset),
        cmocka_unit_test(test_best_sample),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_median),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
