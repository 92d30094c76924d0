/* Intents own what they name, also after their memory has moved, and stay
 * whole when memory is short. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "crdt/base/alloc.h"
#include "node/intent.h"

/* Goal: operations keep their bytes while the intent grows. */
static void test_grows(void **state)
{
    struct intent *i = intent_new(INTENT_LOCAL);
    char key[16];

    (void)state;
    assert_int_equal(intent_set_author(i, slice_of("me", 2)), 0);
    for (int j = 0; j < 1000; j++) {
        struct local_op op = {.kind = OP_PUT};

        (void)snprintf(key, sizeof key, "key-%d", j);
        op.key = slice_of_string(key);
        op.value = slice_of(key, 3);
        assert_int_equal(intent_add_op(i, &op), 0);
    }
    assert_int_equal(i->ops_count, 1000);
    for (int j = 0; j < 1000; j++) {
        (void)snprintf(key, sizeof key, "key-%d", j);
        assert_true(slice_equal(i->ops[j].key, slice_of_string(key)));
        assert_true(slice_equal(i->ops[j].value, slice_of("key", 3)));
        assert_int_equal(i->ops[j].element.size, 0);
    }
    assert_true(slice_equal(i->author, slice_of("me", 2)));
    assert_true(intent_size(i) > 1000 * sizeof(struct local_op));
    intent_free(i);
    intent_free(NULL);
}

/* Goal: every bound is an error, and what was there stays. */
static void test_bounds(void **state)
{
    struct intent *i = intent_new(INTENT_LOCAL);
    struct intent *facts = intent_new(INTENT_META);
    struct intent *event = intent_new(INTENT_FOREIGN);
    static uint8_t big[INTENT_MEMORY_MAX + 1];
    struct local_op op = {.kind = OP_PUT, .key = slice_of("k", 1)};

    (void)state;
    op.value = slice_of(big, sizeof big);
    assert_int_equal(intent_add_op(i, &op), CM_ERR_TOO_LARGE);
    op.value = slice_of(NULL, 0);
    for (int j = 0; j < EVENT_OPS_MAX; j++)
        assert_int_equal(intent_add_op(i, &op), 0);
    assert_int_equal(intent_add_op(i, &op), CM_ERR_LIMIT);
    assert_int_equal(intent_set_author(i, slice_of(big, AUTHOR_SIZE_MAX + 1)),
                     CM_ERR_TOO_LARGE);
    assert_int_equal(intent_set_event(event, slice_of(big, EVENT_SIZE_MAX + 1)),
                     CM_ERR_TOO_LARGE);
    for (int j = 0; j < 16; j++)
        assert_int_equal(intent_add_fact(facts, "peers", slice_of("x", 1)), 0);
    assert_int_equal(intent_add_fact(facts, "peers", slice_of("x", 1)),
                     CM_ERR_LIMIT);
    intent_free(i);
    intent_free(facts);
    intent_free(event);
}

/* Goal: a failed allocation adds nothing and loses nothing. */
static void test_allocation_failures(void **state)
{
    struct local_op op = {
        .kind = OP_PUT, .key = slice_of("key", 3), .value = slice_of("v", 1)};

    (void)state;
    for (uint64_t n = 1; n < 40; n++) {
        struct intent *i;
        size_t added = 0;

        cm_alloc_fail_after(n);
        i = intent_new(INTENT_LOCAL);
        for (int j = 0; i != NULL && j < 300; j++)
            added += intent_add_op(i, &op) == 0;
        cm_alloc_fail_after(0);
        if (i == NULL)
            continue;
        assert_true(added >= 299);
        assert_int_equal(i->ops_count, added);
        for (size_t j = 0; j < added; j++)
            assert_true(slice_equal(i->ops[j].key, op.key));
        intent_free(i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grows),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_allocation_failures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
