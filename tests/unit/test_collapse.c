/* What an entry becomes at the floor: the traces S1b, S2a, S3a, S4a, S8a and
 * M12, each on one entry and with the mistake that it was found with. */
#include "support.h"

#include "crdt/collapse.h"

static struct floor floor_of(uint64_t a, uint64_t b, uint64_t c)
{
    const uint64_t seqs[] = {a, b, c};
    struct floor ret;

    floor_init(&ret);
    for (uint8_t i = 0; i < 3; i++) {
        struct incarnation who = support_incarnation((uint8_t)(i + 1));

        if (seqs[i] > 0)
            assert_int_equal(floor_raise(&ret, &who, seqs[i]), 0);
    }
    return ret;
}

static void put(struct entry *e, enum sibling_kind kind, struct dot dot,
                hlc_t hlc, hlc_t expires)
{
    struct sibling s = {
        .kind = kind, .dot = dot, .hlc = hlc, .expires = expires};

    assert_int_equal(entry_add_sibling(e, &s), 0);
}

static bool collapse(struct entry *e, uint64_t a, uint64_t b, uint64_t c,
                     hlc_t time)
{
    struct floor floor = floor_of(a, b, c);
    bool ret;

    entry_collapse(e, &floor, time, &ret);
    floor_release(&floor);
    return ret;
}

static void test_winner_stays(void **state)
{
    struct entry e;

    (void)state;
    entry_init(&e);
    put(&e, SIBLING_PUT, support_dot(1, 1), 5, 0);
    assert_false(entry_may_collapse(&e));
    put(&e, SIBLING_PUT, support_dot(2, 1), 6, 0);
    assert_true(entry_may_collapse(&e));
    assert_true(collapse(&e, 1, 1, 0, 0));
    assert_int_equal(e.count, 1);
    assert_int_equal(e.siblings[0].hlc, 6);
    assert_false(collapse(&e, 1, 1, 0, 0));
    entry_release(&e);
}

/* A tombstone with the losers that it shadows: one of them above the floor. */
static void S1b_S3a_loser_above_the_floor(void **state)
{
    struct entry e;

    (void)state;
    entry_init(&e);
    put(&e, SIBLING_PUT, support_dot(1, 2), 3, 0);
    put(&e, SIBLING_TOMBSTONE, support_dot(2, 1), 9, 0);
    assert_false(collapse(&e, 1, 1, 0, 0));
    assert_int_equal(e.count, 2);
    assert_true(collapse(&e, 2, 1, 0, 0));
    assert_int_equal(e.count, 0);
    entry_release(&e);
}

/* A revoke is never collected, only what it hides. */
static void S2a_revoke_stays(void **state)
{
    struct entry e;

    (void)state;
    entry_init(&e);
    put(&e, SIBLING_REVOKE, support_dot(2, 1), 2, 0);
    assert_false(entry_may_collapse(&e));
    assert_false(collapse(&e, 9, 9, 9, 99));
    put(&e, SIBLING_PUT, support_dot(1, 1), 3, 0);
    put(&e, SIBLING_REVOKE, support_dot(3, 1), 1, 0);
    assert_true(collapse(&e, 1, 1, 1, 0));
    assert_int_equal(e.count, 2);
    assert_int_equal(e.siblings[0].kind, SIBLING_REVOKE);
    assert_int_equal(e.siblings[1].kind, SIBLING_REVOKE);
    assert_false(entry_may_collapse(&e));
    entry_release(&e);
}

/* Of the adds of one element the one that lasts stays. */
static void S4a_one_add_stays(void **state)
{
    struct entry e;

    (void)state;
    entry_init(&e);
    put(&e, SIBLING_ADD, support_dot(1, 1), 1, 0);
    put(&e, SIBLING_ADD, support_dot(2, 1), 2, 90);
    put(&e, SIBLING_ADD, support_dot(3, 1), 3, 10);
    assert_false(collapse(&e, 1, 1, 0, 0));
    assert_true(collapse(&e, 1, 1, 1, 0));
    assert_int_equal(e.count, 1);
    assert_int_equal(e.siblings[0].expires, 0);
    entry_release(&e);
}

/* Expiry by the floor time, not by anybody's clock. */
static void S8a_expiry_by_floor_time(void **state)
{
    struct entry e;

    (void)state;
    entry_init(&e);
    put(&e, SIBLING_PUT, support_dot(1, 1), 1, 50);
    assert_true(entry_may_collapse(&e));
    assert_false(collapse(&e, 1, 0, 0, 49));
    assert_int_equal(e.count, 1);
    assert_true(collapse(&e, 1, 0, 0, 50));
    assert_int_equal(e.count, 0);
    entry_release(&e);
}

/* An expired winner does not go alone: its loser would be seen. */
static void M12_expired_goes_with_its_key(void **state)
{
    struct entry e;

    (void)state;
    entry_init(&e);
    put(&e, SIBLING_PUT, support_dot(1, 1), 9, 20);
    put(&e, SIBLING_PUT, support_dot(2, 4), 1, 0);
    assert_false(collapse(&e, 1, 3, 0, 30));
    assert_int_equal(e.count, 2);
    assert_true(collapse(&e, 1, 4, 0, 30));
    assert_int_equal(e.count, 0);
    entry_release(&e);
}

static void test_own_spaces_stay(void **state)
{
    struct entry e;

    (void)state;
    entry_init(&e);
    put(&e, SIBLING_MEMBER, support_dot(1, 1), 1, 0);
    put(&e, SIBLING_MEMBER, support_dot(2, 1), 2, 0);
    assert_false(entry_may_collapse(&e));
    assert_false(collapse(&e, 9, 9, 9, 99));
    entry_release(&e);
}

/* ---- the floor's own table ---- */

static void test_floor_only_grows(void **state)
{
    struct floor a = floor_of(3, 0, 2);
    struct floor b = floor_of(1, 4, 2);
    struct incarnation one = support_incarnation(1);
    struct incarnation nobody = support_incarnation(9);
    struct dot d = support_dot(1, 3);
    struct floor copy;
    uint64_t last = 99;

    (void)state;
    assert_false(floor_is_sealed(&a, &one, &last));
    assert_int_equal(floor_seal(&b, &one, 5), 0);
    assert_int_equal(floor_seal(&b, &nobody, 0), 0);
    assert_int_equal(floor_join(&a, &b), 0);
    assert_true(floor_covers(&a, &d));
    d = support_dot(2, 4);
    assert_true(floor_covers(&a, &d));
    d.seq = 5;
    assert_false(floor_covers(&a, &d));
    assert_true(floor_is_sealed(&a, &one, &last));
    assert_int_equal(last, 5);
    assert_true(floor_is_sealed(&a, &nobody, &last));
    assert_int_equal(last, 0);
    assert_int_equal(floor_seal(&a, &one, 6), CM_ERR_FORK);
    assert_int_equal(floor_copy(&copy, &a), 0);
    assert_int_equal(copy.count, 4);
    floor_release(&copy);
    floor_release(&a);
    floor_release(&b);
}

static void test_floor_codec(void **state)
{
    struct floor a = floor_of(3, 70000, 0);
    struct incarnation three = support_incarnation(3);
    struct buffer out;
    struct buffer again;
    struct unpacker u;
    struct floor b;

    (void)state;
    assert_int_equal(floor_seal(&a, &three, 0), 0);
    buffer_init(&out, 1000);
    buffer_init(&again, 1000);
    floor_pack(&out, &a);
    /* Every prefix and every changed byte: refused or canonical. */
    for (size_t i = 0; i <= out.size; i++) {
        for (unsigned change = 0; change < 256; change += 5) {
            if (i < out.size)
                out.data[i] ^= (uint8_t)change;
            unpack_init(&u, buffer_slice(&out));
            floor_unpack(&u, &b);
            if (unpack_finish(&u) == 0) {
                buffer_clear(&again);
                floor_pack(&again, &b);
                support_assert_slices(buffer_slice(&again), buffer_slice(&out));
            }
            floor_release(&b);
            if (i < out.size)
                out.data[i] ^= (uint8_t)change;
        }
        unpack_init(&u, slice_of(out.data, i));
        floor_unpack(&u, &b);
        assert_int_equal(unpack_finish(&u) == 0, i == out.size);
        floor_release(&b);
    }
    buffer_release(&again);
    buffer_release(&out);
    floor_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_winner_stays),
        cmocka_unit_test(S1b_S3a_loser_above_the_floor),
        cmocka_unit_test(S2a_revoke_stays),
        cmocka_unit_test(S4a_one_add_stays),
        cmocka_unit_test(S8a_expiry_by_floor_time),
        cmocka_unit_test(M12_expired_goes_with_its_key),
        cmocka_unit_test(test_own_spaces_stay),
        cmocka_unit_test(test_floor_only_grows),
        cmocka_unit_test(test_floor_codec),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
