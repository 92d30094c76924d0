/* Goal: whatever a whole state is refused for is counted under its reason, with
 * the time of the last, which doctor and metrics tell.
 * Method: a node of which nothing works but its clock and its log. */
#include "tests/unit/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/node_internal.h"

#define WALL_MS UINT64_C(1700000000000)

static char logged[512];

static uint64_t mono_ms(void *ctx)
{
    (void)ctx;
    return 1;
}

static uint64_t wall_ms(void *ctx)
{
    (void)ctx;
    return WALL_MS;
}

static void line(void *ctx, char level, const char *text)
{
    (void)ctx;
    (void)level;
    (void)snprintf(logged, sizeof logged, "%s", text);
}

static const struct clock_ops clock_port = {mono_ms, wall_ms};
static const struct log_ops log_port = {line};

static struct node *node_make(void)
{
    struct node *n = calloc(1, sizeof *n);

    assert_non_null(n);
    n->ports.clock = &clock_port;
    n->ports.log = &log_port;
    return n;
}

static void test_each_under_its_reason(void **state)
{
    struct node *n = node_make();
    const struct cut_counters *c = &n->cuts.counters;
    const struct {
        int error;
        const uint64_t *counter;
    } reasons[] = {
        {CM_ERR_DAMAGED, &c->refused_damaged},
        {CM_ERR_MALFORMED, &c->refused_damaged},
        {CM_ERR_SIGNATURE, &c->refused_damaged},
        {CM_ERR_TOO_LARGE, &c->refused_damaged},
        {CM_ERR_WRONG_GENERATION, &c->refused_generation},
        {CM_ERR_WRONG_MESH, &c->refused_generation},
        {CM_ERR_SEALED, &c->refused_sealed},
        {CM_ERR_FORK, &c->refused_fork},
        {CM_ERR_EVICTION_CONFLICT, &c->refused_order},
        {CM_ERR_PENDING, &c->refused_fence},
        {CM_ERR_IO, &c->failed},
    };

    (void)state;
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        uint64_t before = *reasons[i].counter;

        cut_refused(n, reasons[i].error, "why");
        assert_int_equal(*reasons[i].counter, before + 1);
        assert_non_null(strstr(n->cuts.last_refusal, "why"));
        assert_non_null(
            strstr(n->cuts.last_refusal, cm_strerror(reasons[i].error)));
        assert_non_null(strstr(logged, "why"));
    }
    assert_int_equal(n->cuts.last_refused_ms, WALL_MS);
    assert_int_equal(c->refused_damaged, 4);
    assert_int_equal(c->failed, 1);
    free(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_under_its_reason),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
