/* Goal: both programs read their command lines alike and refuse what they do
 * not know. Method: tables of argument vectors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "node/args.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static struct args_flag table[] = {
    {.name = "data", .kind = ARGS_VALUE},
    {.name = "json", .kind = ARGS_SWITCH},
    {.name = "api", .kind = ARGS_LIST},
    {.name = "help", .kind = ARGS_SWITCH},
};

static void flags_stand_anywhere(void **state)
{
    char *argv[] = {"x",         "put", "--data", "dir", "key", "--json",
                    "--api=a=1", "-",   "--api",  "b",   "--",  "--v"};
    struct args args;
    struct cm_detail detail;

    (void)state;
    assert_int_equal(
        args_parse(&args, table, COUNT(table), COUNT(argv), argv, &detail), 0);
    assert_int_equal(args.words_count, 4);
    assert_string_equal(args.words[0], "put");
    assert_string_equal(args.words[1], "key");
    assert_string_equal(args.words[2], "-");
    assert_string_equal(args.words[3], "--v");
    assert_string_equal(args_value(table, COUNT(table), "data", NULL), "dir");
    assert_true(args_given(table, COUNT(table), "json"));
    assert_false(args_given(table, COUNT(table), "help"));
    assert_int_equal(args_flag_find(table, COUNT(table), "api")->count, 2);
    assert_string_equal(table[2].values[0], "a=1");
    assert_string_equal(table[2].values[1], "b");
}

static void bad_flags_are_refused_with_a_remedy(void **state)
{
    static const struct {
        const char *words[2];
        int count;
        const char *says;
    } cases[] = {
        {{"--dta", "x"}, 2, "did you mean --data?"},
        {{"--jso", NULL}, 1, "did you mean --json?"},
        {{"--zzzzzzzzzz", NULL}, 1, "unknown flag --zzzzzzzzzz"},
        {{"--data", NULL}, 1, "--data needs a value"},
        {{"--json=1", NULL}, 1, "--json takes no value"},
        {{"--data=1", "--data=2"}, 2, "--data is given twice"},
        {{"-d", NULL}, 1, "flags are long"},
        {{"--=1", NULL}, 1, "unknown flag --"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        char *argv[3] = {"x", (char *)(uintptr_t)cases[i].words[0],
                         (char *)(uintptr_t)cases[i].words[1]};
        struct cm_detail detail = {""};
        struct args args;

        assert_int_equal(args_parse(&args, table, COUNT(table),
                                    cases[i].count + 1, argv, &detail),
                         CM_ERR_INVALID);
        assert_non_null(strstr(detail.text, cases[i].says));
    }
}

static void short_help_is_help(void **state)
{
    char *argv[] = {"x", "-h"};
    struct args args;

    (void)state;
    assert_int_equal(args_parse(&args, table, COUNT(table), 2, argv, NULL), 0);
    assert_true(args_given(table, COUNT(table), "help"));
    assert_int_equal(args.words_count, 0);
}

static void a_list_is_bounded(void **state)
{
    char *argv[ARGS_VALUES_MAX + 2];
    struct args args;
    size_t i;

    (void)state;
    argv[0] = "x";
    for (i = 1; i < COUNT(argv); i++)
        argv[i] = "--api=a";
    assert_int_equal(
        args_parse(&args, table, COUNT(table), ARGS_VALUES_MAX + 1, argv, NULL),
        0);
    assert_int_equal(
        args_parse(&args, table, COUNT(table), ARGS_VALUES_MAX + 2, argv, NULL),
        CM_ERR_INVALID);
}

static void numbers_and_durations(void **state)
{
    struct cm_detail detail;
    uint64_t v = 0;

    (void)state;
    assert_int_equal(args_number(&v, "255", 255, "n", &detail), 0);
    assert_int_equal(v, 255);
    assert_int_equal(args_number(&v, "0", 0, "n", &detail), 0);
    assert_int_equal(
        args_number(&v, "18446744073709551615", UINT64_MAX, "n", NULL), 0);
    assert_true(v == UINT64_MAX);
    assert_int_equal(
        args_number(&v, "18446744073709551616", UINT64_MAX, "n", NULL),
        CM_ERR_INVALID);
    assert_int_equal(args_number(&v, "256", 255, "n", NULL), CM_ERR_INVALID);
    assert_int_equal(args_number(&v, "5", 3, "n", NULL), CM_ERR_INVALID);
    assert_int_equal(args_number(&v, "", 9, "n", NULL), CM_ERR_INVALID);
    assert_int_equal(args_number(&v, "-1", 9, "n", NULL), CM_ERR_INVALID);
    assert_int_equal(args_number(&v, "1 ", 9, "n", NULL), CM_ERR_INVALID);
    assert_int_equal(args_duration_ms(&v, "500ms", "d", NULL), 0);
    assert_int_equal(v, 500);
    assert_int_equal(args_duration_ms(&v, "2", "d", NULL), 0);
    assert_int_equal(v, 2000);
    assert_int_equal(args_duration_ms(&v, "5m", "d", NULL), 0);
    assert_int_equal(v, 300000);
    assert_int_equal(args_duration_ms(&v, "1x", "d", &detail), CM_ERR_INVALID);
    assert_non_null(strstr(detail.text, "500ms"));
    assert_int_equal(args_duration_ms(&v, "4000d", "d", NULL), CM_ERR_INVALID);
    assert_int_equal(args_duration_ms(&v, "s", "d", NULL), CM_ERR_INVALID);
}

static void the_nearest_word_is_found(void **state)
{
    static const char *const verbs[] = {"put", "get", "snapshot", "members"};

    (void)state;
    assert_string_equal(args_nearest("snapshto", verbs, 4), "snapshot");
    assert_string_equal(args_nearest("memb", verbs, 4), "members");
    assert_string_equal(args_nearest("pt", verbs, 4), "put");
    assert_null(args_nearest("frobnicate", verbs, 4));
    assert_null(args_nearest("x", NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_stand_anywhere),
        cmocka_unit_test(bad_flags_are_refused_with_a_remedy),
        cmocka_unit_test(short_help_is_help),
        cmocka_unit_test(a_list_is_bounded),
        cmocka_unit_test(numbers_and_durations),
        cmocka_unit_test(the_nearest_word_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
