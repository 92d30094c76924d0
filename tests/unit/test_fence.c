/* The fence's codec: strict, canonical, bounded. */
#include "support.h"

#include "crdt/base/alloc.h"
#include "crdt/fence.h"

static struct buffer packed(void)
{
    static const uint8_t order[] = {1, 2, 3};
    static const uint8_t retirement[] = {4};
    struct slice orders[] = {{order, 3}, {order, 2}};
    struct slice retirements[] = {{retirement, 1}};
    struct fence_cover covered[] = {
        {support_incarnation(1), 0, {{0}}},
        {support_incarnation(2), 70000, {{0, 7, 0}}},
        {support_incarnation(3), 4, {{0}}}, /* not told */
    };
    struct fence f = {orders, 2, retirements, 1, covered, 3};
    struct buffer ret;

    buffer_init(&ret, 4096);
    fence_pack(&ret, &f);
    assert_int_equal(ret.error, 0);
    return ret;
}

static void test_round_trip(void **state)
{
    struct incarnation two = support_incarnation(2);
    struct incarnation three = support_incarnation(3);
    struct incarnation four = support_incarnation(4);
    struct buffer bytes = packed();
    struct fence f;

    (void)state;
    assert_int_equal(fence_decode(&f, buffer_slice(&bytes)), 0);
    assert_int_equal(f.orders_count, 2);
    assert_int_equal(f.retirements_count, 1);
    assert_int_equal(fence_find(&f, &two)->seq, 70000);
    assert_int_equal(fence_find(&f, &two)->head.bytes[1], 7);
    assert_int_equal(fence_find(&f, &three)->head.bytes[1], 0);
    assert_null(fence_find(&f, &four));
    assert_false(
        fence_cover_agrees(70000, &f.covered[0].head, 70000,
                           &f.covered[1].head) !=
        fence_cover_agrees(1, &f.covered[1].head, 2, &f.covered[1].head));
    fence_release(&f);
    buffer_release(&bytes);
}

static void test_mutations(void **state)
{
    struct buffer bytes = packed();
    struct buffer again;
    struct fence f;

    (void)state;
    buffer_init(&again, 4096);
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t old = bytes.data[i];

        assert_int_not_equal(fence_decode(&f, slice_of(bytes.data, i)), 0);
        for (unsigned v = 0; v < 256; v++) {
            bytes.data[i] = (uint8_t)v;
            if (fence_decode(&f, buffer_slice(&bytes)) != 0)
                continue;
            buffer_clear(&again);
            fence_pack(&again, &f);
            support_assert_slices(buffer_slice(&again), buffer_slice(&bytes));
            fence_release(&f);
        }
        bytes.data[i] = old;
    }
    buffer_release(&again);
    buffer_release(&bytes);
}

static void test_no_memory(void **state)
{
    struct buffer bytes = packed();
    struct fence f;

    (void)state;
    for (uint64_t n = 1; n <= 3; n++) {
        cm_alloc_fail_after(n);
        assert_int_equal(fence_decode(&f, buffer_slice(&bytes)), CM_ERR_NOMEM);
    }
    cm_alloc_fail_after(0);
    buffer_release(&bytes);
}

/* A count without the bytes for it allocates nothing. */
static void test_announced_count(void **state)
{
    struct buffer bytes;
    struct fence f;

    (void)state;
    buffer_init(&bytes, 100);
    pack_array(&bytes, 3);
    pack_array(&bytes, 0);
    pack_array(&bytes, 0);
    pack_array(&bytes, FENCE_COVERED_MAX);
    assert_int_equal(fence_decode(&f, buffer_slice(&bytes)), CM_ERR_MALFORMED);
    buffer_release(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_announced_count),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
