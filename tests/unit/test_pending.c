/* The pending buffer: its order, its bounds, and what an aborted transaction
 * leaves in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "crdt/base/alloc.h"
#include "node/pending.h"

static const uint8_t from[16] = {1};

static int add(struct pending *p, uint8_t origin, uint64_t seq, uint8_t variant,
               size_t size, bool verified)
{
    static uint8_t bytes[EVENT_SIZE_MAX];
    struct dot d = {.incarnation = {{origin}}, .seq = seq};
    struct hash h = {{variant}};

    return pending_add(p, &d, &h, slice_of(bytes, size), verified, 0, from);
}

static void expect_sorted(const struct pending *p)
{
    size_t bytes = 0;
    size_t unverified = 0;

    for (size_t i = 0; i < p->count; i++) {
        bytes += p->events[i]->size;
        unverified += !p->events[i]->verified;
        if (i > 0)
            assert_true(
                dot_compare(&p->events[i - 1]->dot, &p->events[i]->dot) <= 0);
    }
    assert_int_equal(bytes, p->bytes);
    assert_int_equal(unverified, p->unverified_count);
}

/* Goal: sorted by dot; equal bytes once, two variants of one dot both. */
static void test_order(void **state)
{
    struct pending p;

    (void)state;
    pending_init(&p);
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(
            add(&p, (uint8_t)(i % 3), 1 + i * 37 % 101, 0, 10, true), 0);
    assert_int_equal(add(&p, 0, 1, 0, 10, true), CM_ERR_DUPLICATE);
    assert_int_equal(add(&p, 0, 1, 1, 10, true), 0);
    assert_int_equal(p.count, 101);
    expect_sorted(&p);
    pending_release(&p);
}

/* Goal: an origin's share is bounded, and earlier events displace later. */
static void test_origin_share(void **state)
{
    struct pending p;

    (void)state;
    pending_init(&p);
    for (uint64_t i = 0; i < PENDING_PER_ORIGIN_MAX; i++)
        assert_int_equal(add(&p, 1, 10 + i, 0, 10, true), 0);
    assert_int_equal(add(&p, 1, 99999, 0, 10, true), CM_ERR_LIMIT);
    assert_int_equal(add(&p, 1, 5, 0, 10, true), 0);
    assert_int_equal(p.count, PENDING_PER_ORIGIN_MAX);
    assert_int_equal(p.events[0]->dot.seq, 5);
    assert_int_equal(p.events[p.count - 1]->dot.seq,
                     10 + PENDING_PER_ORIGIN_MAX - 2);
    assert_int_equal(add(&p, 2, 1, 0, 10, true), 0);
    expect_sorted(&p);
    pending_release(&p);
}

/* Goal: neither bytes nor unverified events exceed their bounds. */
static void test_bounds(void **state)
{
    struct pending p;
    uint64_t i = 1;

    (void)state;
    pending_init(&p);
    while (add(&p, 1, i, 0, EVENT_SIZE_MAX, true) == 0)
        i++;
    assert_int_equal(p.bytes, PENDING_BYTES_MAX);
    assert_int_equal(add(&p, 2, 1, 0, 10, true), CM_ERR_LIMIT);
    pending_release(&p);
    pending_init(&p);
    for (i = 1; i <= PENDING_UNVERIFIED_EVENTS_MAX; i++)
        assert_int_equal(add(&p, (uint8_t)(i % 8), i, 0, 10, false), 0);
    assert_int_equal(add(&p, 9, 1, 0, 10, false), CM_ERR_LIMIT);
    assert_int_equal(add(&p, 9, 1, 0, 10, true), 0);
    pending_mark_verified(&p, p.events[0]);
    assert_int_equal(add(&p, 9, 2, 0, 10, false), 0);
    expect_sorted(&p);
    pending_release(&p);
}

/* Goal: applied ones go with a commit and stay after an abort; refused ones go
 * either way. */
static void test_settle(void **state)
{
    (void)state;
    for (int committed = 0; committed < 2; committed++) {
        struct pending p;

        pending_init(&p);
        for (uint64_t i = 1; i <= 4; i++)
            assert_int_equal(add(&p, 1, i, 0, 10, i % 2 == 0), 0);
        p.events[1]->applied = true;
        pending_mark_done(&p, p.events[1]);
        pending_mark_done(&p, p.events[2]);
        pending_settle(&p, committed == 1);
        assert_int_equal(p.count, committed == 1 ? 2 : 3);
        for (size_t i = 0; i < p.count; i++)
            assert_false(p.events[i]->done);
        expect_sorted(&p);
        pending_release(&p);
    }
}

/* Goal: a walk by origins misses none and stops at none twice; what is a fence
 * is counted as long as it waits. */
static void test_origins(void **state)
{
    struct pending p;
    size_t stops = 0;

    (void)state;
    pending_init(&p);
    for (uint8_t origin = 1; origin <= 5; origin++)
        for (uint64_t seq = 1; seq <= origin; seq++)
            assert_int_equal(add(&p, origin, seq, 0, 10, true), 0);
    assert_int_equal(add(&p, 3, UINT64_MAX, 0, 10, true), 0);
    assert_int_equal(add(&p, 3, UINT64_MAX, 1, 10, true), 0);
    for (size_t i = 0; i < p.count; i = pending_next_origin(&p, i)) {
        assert_int_equal(p.events[i]->dot.seq, 1);
        stops++;
    }
    assert_int_equal(stops, 5);
    assert_int_equal(p.fences, 0);
    pending_mark_fence(&p, p.events[0]);
    pending_mark_fence(&p, p.events[4]);
    assert_int_equal(p.fences, 2);
    pending_mark_done(&p, p.events[4]);
    pending_settle(&p, true);
    assert_int_equal(p.fences, 1);
    pending_release(&p);
}

static void test_allocation_failures(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 60; n++) {
        struct pending p;
        size_t added = 0;

        pending_init(&p);
        cm_alloc_fail_after(n);
        for (uint64_t i = 1; i <= 50; i++)
            added += add(&p, 1, i, 0, 10, true) == 0;
        cm_alloc_fail_after(0);
        assert_int_equal(p.count, added);
        assert_true(added >= 49);
        expect_sorted(&p);
        pending_release(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_origin_share),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_settle),
        cmocka_unit_test(test_origins),
        cmocka_unit_test(test_allocation_failures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
