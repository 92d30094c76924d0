/* Goal: version vectors are sorted, bounded, and equal vectors are equal
 * bytes. Method: insertion in every order of a few, comparison, round trips,
 * damaged encodings, allocations that fail one after the other. */
#include "support.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/vv.h"

static struct hash head_of(uint8_t n)
{
    struct hash ret;

    memset(ret.bytes, n, sizeof ret.bytes);
    return ret;
}

static void set(struct vv *v, uint8_t n, uint64_t seq)
{
    struct incarnation i = support_incarnation(n);
    struct hash head = head_of((uint8_t)(n + seq));

    assert_int_equal(vv_set(v, &i, seq, &head), 0);
}

static void test_order_of_insertion(void **state)
{
    static const uint8_t orders[6][3] = {{1, 2, 3}, {1, 3, 2}, {2, 1, 3},
                                         {2, 3, 1}, {3, 1, 2}, {3, 2, 1}};
    struct vv first;
    struct vv other;
    struct hash a;
    struct hash b;
    size_t i;
    size_t k;

    (void)state;
    vv_init(&first);
    for (k = 0; k < 3; k++)
        set(&first, orders[0][k], 5);
    a = vv_hash(&first);
    for (i = 1; i < 6; i++) {
        vv_init(&other);
        for (k = 0; k < 3; k++)
            set(&other, orders[i][k], 5);
        b = vv_hash(&other);
        assert_true(vv_equal(&first, &other));
        assert_true(hash_equal(&a, &b));
        vv_release(&other);
    }
    vv_release(&first);
}

static void test_lookup(void **state)
{
    struct incarnation i = support_incarnation(3);
    struct dot d = support_dot(3, 4);
    struct vv v;
    uint8_t n;

    (void)state;
    vv_init(&v);
    assert_null(vv_find(&v, &i));
    assert_int_equal(vv_seq(&v, &i), 0);
    for (n = 1; n < 200; n += 2)
        set(&v, n, n);
    for (n = 1; n < 200; n++) {
        i = support_incarnation(n);
        assert_int_equal(vv_seq(&v, &i), n % 2 == 1 ? n : 0);
    }
    assert_false(vv_covers(&v, &d));
    d.seq = 3;
    assert_true(vv_covers(&v, &d));
    set(&v, 3, 4);
    i = support_incarnation(3);
    assert_int_equal(vv_find(&v, &i)->head.bytes[0], 7);
    vv_release(&v);
}

static void test_dominance(void **state)
{
    struct vv a;
    struct vv b;

    (void)state;
    vv_init(&a);
    vv_init(&b);
    assert_true(vv_dominates(&a, &b));
    set(&a, 1, 5);
    assert_true(vv_dominates(&a, &b));
    assert_false(vv_dominates(&b, &a));
    set(&b, 2, 1);
    assert_false(vv_dominates(&a, &b));
    assert_false(vv_dominates(&b, &a));
    set(&a, 2, 1);
    assert_true(vv_dominates(&a, &b));
    set(&b, 1, 6);
    assert_false(vv_dominates(&a, &b));
    assert_true(vv_dominates(&b, &a));
    vv_release(&a);
    vv_release(&b);
}

static void test_heads_count_for_equality(void **state)
{
    struct incarnation i = support_incarnation(1);
    struct hash x = head_of(1);
    struct hash y = head_of(2);
    struct hash a;
    struct hash b;
    struct vv v;
    struct vv copy;

    (void)state;
    vv_init(&v);
    assert_int_equal(vv_set(&v, &i, 1, &x), 0);
    assert_int_equal(vv_copy(&copy, &v), 0);
    assert_true(vv_equal(&v, &copy));
    assert_int_equal(vv_set(&copy, &i, 1, &y), 0);
    assert_false(vv_equal(&v, &copy));
    a = vv_hash(&v);
    b = vv_hash(&copy);
    assert_false(hash_equal(&a, &b));
    assert_true(vv_dominates(&v, &copy));
    vv_release(&v);
    vv_release(&copy);
}

static struct buffer packed(size_t count)
{
    struct buffer ret;
    struct vv v;
    uint8_t n;
    struct hash a;
    struct hash b;

    vv_init(&v);
    for (n = 0; n < count; n++)
        set(&v, n, (uint64_t)1 << n);
    buffer_init(&ret, 1 << 20);
    vv_pack(&ret, &v);
    assert_int_equal(ret.error, 0);
    a = vv_hash(&v);
    b = hash_of("confmesh version vector v1", buffer_slice(&ret));
    assert_true(hash_equal(&a, &b));
    vv_release(&v);
    return ret;
}

static int unpack(struct slice bytes, struct vv *ret)
{
    struct unpacker u;

    unpack_init(&u, bytes);
    vv_unpack(&u, ret);
    return unpack_finish(&u);
}

static void test_round_trip(void **state)
{
    size_t count;

    (void)state;
    for (count = 0; count < 40; count++) {
        struct buffer bytes = packed(count);
        struct buffer again;
        struct vv v;

        assert_int_equal(unpack(buffer_slice(&bytes), &v), 0);
        assert_int_equal(v.count, count);
        buffer_init(&again, 1 << 20);
        vv_pack(&again, &v);
        support_assert_slices(buffer_slice(&bytes), buffer_slice(&again));
        buffer_release(&again);
        buffer_release(&bytes);
        vv_release(&v);
    }
}

/* Whatever byte is changed: refused, or another vector in canonical form. */
static void test_mutations(void **state)
{
    struct buffer bytes = packed(4);
    size_t i;
    unsigned value;

    (void)state;
    for (i = 0; i < bytes.size; i++) {
        uint8_t kept = bytes.data[i];

        for (value = 0; value < 256; value++) {
            struct buffer again;
            struct vv v;

            bytes.data[i] = (uint8_t)value;
            if (unpack(buffer_slice(&bytes), &v) == 0) {
                buffer_init(&again, 1 << 20);
                vv_pack(&again, &v);
                support_assert_slices(buffer_slice(&bytes),
                                      buffer_slice(&again));
                buffer_release(&again);
            }
            vv_release(&v);
        }
        bytes.data[i] = kept;
    }
    for (i = 0; i < bytes.size; i++) {
        struct vv v;

        assert_true(unpack(slice_of(bytes.data, i), &v) < 0);
        vv_release(&v);
    }
    buffer_release(&bytes);
}

static void test_refuses_order_and_size(void **state)
{
    /* Five bytes that announce 65,536 entries allocate nothing. */
    static const uint8_t huge[] = {0xdd, 0x00, 0x01, 0x00, 0x00};
    static const uint8_t beyond[] = {0xdd, 0x00, 0x01, 0x00, 0x01};
    struct buffer bytes = packed(2);
    size_t entry = (bytes.size - 1) / 2;
    uint8_t first[100];
    struct vv v;

    (void)state;
    cm_alloc_fail_after(1);
    assert_int_equal(unpack(slice_of(huge, sizeof huge), &v), CM_ERR_MALFORMED);
    assert_int_equal(unpack(slice_of(beyond, sizeof beyond), &v),
                     CM_ERR_TOO_LARGE);
    cm_alloc_fail_after(0);
    memcpy(first, bytes.data + 1, entry);
    memcpy(bytes.data + 1, bytes.data + 1 + entry, entry);
    memcpy(bytes.data + 1 + entry, first, entry);
    assert_int_equal(unpack(buffer_slice(&bytes), &v), CM_ERR_NONCANONICAL);
    vv_release(&v);
    memcpy(bytes.data + 1, first, entry);
    assert_int_equal(unpack(buffer_slice(&bytes), &v), CM_ERR_NONCANONICAL);
    vv_release(&v);
    buffer_release(&bytes);
}

static void test_no_memory(void **state)
{
    struct incarnation i = support_incarnation(9);
    struct buffer bytes = packed(5);
    struct hash head = head_of(1);
    struct vv v;
    struct vv copy;

    (void)state;
    cm_alloc_fail_after(1);
    assert_int_equal(unpack(buffer_slice(&bytes), &v), CM_ERR_NOMEM);
    vv_release(&v);
    cm_alloc_fail_after(1);
    assert_int_equal(vv_set(&v, &i, 1, &head), CM_ERR_NOMEM);
    assert_int_equal(v.count, 0);
    assert_int_equal(vv_set(&v, &i, 1, &head), 0);
    cm_alloc_fail_after(1);
    assert_int_equal(vv_copy(&copy, &v), CM_ERR_NOMEM);
    cm_alloc_fail_after(0);
    vv_release(&v);
    buffer_release(&bytes);
}

static void test_limit(void **state)
{
    struct incarnation i = {{0}};
    struct hash head = head_of(1);
    struct vv v;
    uint32_t n;

    (void)state;
    vv_init(&v);
    for (n = 0; n < VV_ENTRIES_MAX; n++) {
        put_be32(i.bytes, n);
        assert_int_equal(vv_set(&v, &i, 1, &head), 0);
    }
    put_be32(i.bytes, n);
    assert_int_equal(vv_set(&v, &i, 1, &head), CM_ERR_LIMIT);
    assert_int_equal(v.count, VV_ENTRIES_MAX);
    put_be32(i.bytes, 77);
    assert_int_equal(vv_set(&v, &i, 2, &head), 0);
    vv_release(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_of_insertion),
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_dominance),
        cmocka_unit_test(test_heads_count_for_equality),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_refuses_order_and_size),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_limit),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
