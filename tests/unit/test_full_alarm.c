/* When a full disk is told, and when it is over. */
#include "support.h"

#include "node/full_alarm.h"

/* Goal: on a full disk small batches find room, and say nothing about it. */
static void test_small_ones_find_room(void **state)
{
    struct full_alarm a = {0};

    (void)state;
    full_alarm_wrote(&a, 10, 500);
    assert_false(a.raised);
    full_alarm_refused(&a, 300000, 1000);
    assert_true(a.raised);
    full_alarm_wrote(&a, 10, 1001);
    full_alarm_wrote(&a, 299999, 1000 + FULL_ALARM_QUIET_MS - 1);
    assert_true(a.raised);
    full_alarm_wrote(&a, 300000, 1000 + FULL_ALARM_QUIET_MS - 1);
    assert_false(a.raised);
}

/* Goal: the largest refused batch is the measure, since the alarm began. */
static void test_largest_refused(void **state)
{
    struct full_alarm a = {0};

    (void)state;
    full_alarm_refused(&a, 5000, 1000);
    full_alarm_refused(&a, 300000, 1001);
    full_alarm_refused(&a, 0, 1002); /* a batch can do without any bytes */
    full_alarm_wrote(&a, 299999, 1003);
    assert_true(a.raised);
    full_alarm_wrote(&a, 300000, 1004);
    assert_false(a.raised);
    full_alarm_refused(&a, 5000, 1005);
    full_alarm_wrote(&a, 5000, 1006);
    assert_false(a.raised);
}

/* Goal: nobody has to write the large one again for the alarm to end. */
static void test_given_up(void **state)
{
    struct full_alarm a = {0};

    (void)state;
    full_alarm_refused(&a, 300000, 1000);
    full_alarm_refused(&a, 300000, 9000);
    full_alarm_wrote(&a, 10, 9000 + FULL_ALARM_QUIET_MS - 1);
    assert_true(a.raised);
    full_alarm_wrote(&a, 10, 9000 + FULL_ALARM_QUIET_MS);
    assert_false(a.raised);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_ones_find_room),
        cmocka_unit_test(test_largest_refused),
        cmocka_unit_test(test_given_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
