/* Goal: what the simulator once found stays mended.
 * Method: every plan of sim/regress/ is run, each in a process of its own, and
 * has to pass. REGRESS=NAME runs the one of that name alone. timeout: 600 s */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/run_child.h"

#define PLANS "sim/regress/*.plan" /* tests run from the root */

static bool is_wanted(const char *path)
{
    const char *only = getenv("REGRESS");

    return only == NULL || strstr(path, only) != NULL;
}

/* True if it passed. */
static bool replay(const char *path)
{
    const struct sim_child_options options = {0};
    struct sim_run_result result;
    struct cm_detail detail = {""};
    struct buffer output;
    struct sim_plan plan;
    bool passed = false;

    if (sim_plan_read(&plan, path, &detail) != 0) {
        print_error("%s: %s\n", path, detail.text);
        return false;
    }
    buffer_init(&output, SIM_CHILD_OUTPUT_MAX + 4096);
    if (sim_child_run(&plan, &options, &result, &output, &detail) != 0) {
        print_error("%s: %s\n", path, detail.text);
    } else {
        passed = result.outcome == SIM_PASS;
        if (!passed)
            print_error("%s: %s: %s\n%.*s\n", path,
                        sim_outcome_name(result.outcome), result.words,
                        (int)output.size, (const char *)output.data);
    }
    buffer_release(&output);
    sim_plan_release(&plan);
    return passed;
}

static void test_plans(void **state)
{
    unsigned failed = 0;
    glob_t found;

    (void)state;
    assert_int_equal(glob(PLANS, 0, NULL, &found), 0); /* there are some */
    for (size_t i = 0; i < found.gl_pathc; i++) {
        if (is_wanted(found.gl_pathv[i]) && !replay(found.gl_pathv[i]))
            failed++;
    }
    print_message("%zu plans replayed, %u failed\n", found.gl_pathc, failed);
    globfree(&found);
    assert_int_equal(failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plans)};

    return cmocka_run_group_tests_name("regress", tests, NULL, NULL);
}
