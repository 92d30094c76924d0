/* Goal: merge and resolution say what the documents promise. Method: small
 * histories by hand, one rule each; then the codec. */
#include "support.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/entry.h"

#define NOW hlc_make(1000, 0)

static void apply(struct entry *e, const struct op *op, struct dot dot,
                  hlc_t hlc)
{
    assert_int_equal(entry_apply(e, op, &dot, hlc, NULL), 0);
}

/* op, naming everything that e holds, as an origin would. */
static void write_over(struct entry *e, struct op op, struct dot dot, hlc_t hlc)
{
    struct dot dots[16];
    size_t i;

    assert_true(e->count <= 16);
    for (i = 0; i < e->count; i++)
        dots[i] = e->siblings[i].dot;
    op.supersedes = dots;
    op.supersedes_count = e->count;
    apply(e, &op, dot, hlc);
}

static void assert_value(const struct entry *e, const char *value)
{
    struct resolution r = entry_resolve(e, NOW);

    assert_true(r.present);
    assert_null(r.revoke);
    support_assert_slices(r.winner->value, support_text(value));
}

static void test_empty(void **state)
{
    struct entry e;
    struct resolution r;

    (void)state;
    entry_init(&e);
    r = entry_resolve(&e, NOW);
    assert_false(r.present);
    assert_false(r.expired);
    assert_null(r.winner);
    assert_null(r.revoke);
    entry_release(&e);
}

static void test_supersede(void **state)
{
    struct entry e;

    (void)state;
    entry_init(&e);
    write_over(&e, support_put("k", "old"), support_dot(1, 1), 900);
    assert_value(&e, "old");
    /* Causally later wins, though its clock is behind. */
    write_over(&e, support_put("k", "new"), support_dot(2, 1), 5);
    assert_int_equal(e.count, 1);
    assert_value(&e, "new");
    entry_release(&e);
}

static void test_concurrent(void **state)
{
    struct op a = support_put("k", "zzz");
    struct op b = support_put("k", "aaa");
    struct op c = support_put("k", "mmm");
    struct entry e;

    (void)state;
    entry_init(&e);
    apply(&e, &a, support_dot(1, 8), 10);
    apply(&e, &b, support_dot(2, 4), 10);
    assert_value(&e, "aaa"); /* same clock: incarnation, never the value */
    apply(&e, &c, support_dot(0, 1), 11);
    assert_value(&e, "mmm"); /* the clock before the incarnation */
    assert_int_equal(e.count, 3);
    write_over(&e, support_put("k", "all"), support_dot(3, 1), 12);
    assert_int_equal(e.count, 1);
    entry_release(&e);
}

static void test_idempotent(void **state)
{
    struct op a = support_put("k", "v");
    struct dot dot = support_dot(1, 1);
    struct entry e;
    bool changed;

    (void)state;
    entry_init(&e);
    assert_int_equal(entry_apply(&e, &a, &dot, 10, &changed), 0);
    assert_true(changed);
    assert_int_equal(entry_apply(&e, &a, &dot, 10, &changed), 0);
    assert_false(changed);
    assert_int_equal(e.count, 1);
    entry_release(&e);
}

static void test_tombstone(void **state)
{
    struct op late = support_put("k", "concurrent");
    struct entry e;
    struct resolution r;

    (void)state;
    entry_init(&e);
    write_over(&e, support_put("k", "v"), support_dot(1, 1), 10);
    write_over(&e, support_op(OP_DEL, "k", NULL), support_dot(1, 2), 20);
    r = entry_resolve(&e, NOW);
    assert_false(r.present);
    assert_false(r.expired);
    assert_int_equal(r.winner->kind, SIBLING_TOMBSTONE);
    apply(&e, &late, support_dot(2, 1), 19);
    assert_false(entry_resolve(&e, NOW).present); /* older than the del */
    apply(&e, &late, support_dot(2, 2), 21);
    assert_value(&e, "concurrent"); /* newer */
    assert_int_equal(e.count, 3);   /* and nothing lost */
    entry_release(&e);
}

static void test_revoke(void **state)
{
    struct op late = support_put("users/bob", "stale copy");
    struct op revoke = support_op(OP_REVOKE, "users/bob", NULL);
    struct entry e;
    struct resolution r;

    (void)state;
    entry_init(&e);
    write_over(&e, support_put("users/bob", "v"), support_dot(1, 1), 10);
    write_over(&e, revoke, support_dot(2, 1), 20);
    /* A stale writer with a clock far ahead. */
    apply(&e, &late, support_dot(1, 2), 1u << 30);
    r = entry_resolve(&e, NOW);
    assert_false(r.present);
    assert_int_equal(r.winner->kind, SIBLING_REVOKE);
    assert_ptr_equal(r.winner, r.revoke);
    /* A second, concurrent revoke: the greater is shown. */
    apply(&e, &revoke, support_dot(3, 1), 30);
    assert_true(entry_resolve(&e, NOW).revoke->hlc == 30);
    /* Naming only one of the two lifts neither. */
    late.supersedes_count = 1;
    {
        struct dot named = support_dot(2, 1);

        late.supersedes = &named;
        apply(&e, &late, support_dot(1, 3), 40);
    }
    assert_non_null(entry_resolve(&e, NOW).revoke);
    write_over(&e, support_put("users/bob", "back"), support_dot(4, 1), 50);
    assert_value(&e, "back");
    entry_release(&e);
}

static void test_resolve_then_expire(void **state)
{
    struct op keeps = support_put("k", "loser that never expires");
    struct op ends = support_put("k", "winner that expires");
    struct entry e;
    struct resolution r;

    (void)state;
    ends.expires = hlc_make(500, 0);
    entry_init(&e);
    apply(&e, &keeps, support_dot(1, 1), 10);
    apply(&e, &ends, support_dot(2, 1), 20);
    r = entry_resolve(&e, hlc_make(499, 65535));
    assert_true(r.present && !r.expired);
    r = entry_resolve(&e, hlc_make(500, 0));
    assert_false(r.present); /* the loser does not come back */
    assert_true(r.expired);
    assert_true(r.winner->hlc == 20);
    entry_release(&e);
}

static void test_set_element(void **state)
{
    struct op add = support_op(OP_SET_ADD, "s", "e");
    struct op revoke = support_op(OP_SET_REVOKE, "s", "e");
    struct entry e;

    (void)state;
    entry_init(&e);
    write_over(&e, add, support_dot(1, 1), 10);
    assert_true(entry_resolve(&e, NOW).present);
    write_over(&e, support_op(OP_SET_REMOVE, "s", "e"), support_dot(1, 2), 20);
    assert_int_equal(e.count, 0); /* a remove leaves nothing */
    /* Add wins over a concurrent remove, whatever the clocks say. */
    write_over(&e, add, support_dot(1, 3), 30);
    apply(&e, &add, support_dot(2, 1), 5);
    {
        struct dot seen = support_dot(1, 3);
        struct op remove = support_op(OP_SET_REMOVE, "s", "e");

        remove.supersedes = &seen;
        remove.supersedes_count = 1;
        apply(&e, &remove, support_dot(3, 1), 90);
    }
    assert_int_equal(e.count, 1);
    assert_true(entry_resolve(&e, NOW).present);
    write_over(&e, revoke, support_dot(3, 2), 91);
    apply(&e, &add, support_dot(4, 1), 500);
    assert_false(entry_resolve(&e, NOW).present);
    assert_non_null(entry_resolve(&e, NOW).revoke);
    write_over(&e, add, support_dot(4, 2), 501);
    assert_true(entry_resolve(&e, NOW).present);
    entry_release(&e);
}

static void test_set_expiry(void **state)
{
    struct op soon = support_op(OP_SET_ADD, "s", "e");
    struct op later = support_op(OP_SET_ADD, "s", "e");
    struct op never = support_op(OP_SET_ADD, "s", "e");
    struct entry e;

    (void)state;
    soon.expires = hlc_make(100, 0);
    later.expires = hlc_make(2000, 0);
    entry_init(&e);
    apply(&e, &later, support_dot(1, 1), 10);
    apply(&e, &soon, support_dot(2, 1), 20); /* newer, but ends sooner */
    assert_true(entry_resolve(&e, NOW).present);
    assert_true(entry_resolve(&e, hlc_make(2000, 0)).expired);
    apply(&e, &never, support_dot(0, 1), 5);
    assert_true(entry_resolve(&e, UINT64_MAX).present);
    entry_release(&e);
}

static void test_roster(void **state)
{
    static const uint8_t key[INCARNATION_SIZE] = {1};
    struct op op = {.kind = OP_ROSTER_ADD,
                    .key = slice_of(key, sizeof key),
                    .value = slice_of_string("certificate")};
    struct entry e;

    (void)state;
    entry_init(&e);
    apply(&e, &op, support_dot(1, 1), 10);
    assert_true(entry_resolve(&e, UINT64_MAX).present);
    assert_int_equal(e.siblings[0].kind, SIBLING_MEMBER);
    entry_release(&e);
}

static void test_no_memory_changes_nothing(void **state)
{
    struct op op = support_put("k", "b");
    struct dot old = support_dot(1, 1);
    struct dot dot = support_dot(2, 1);
    struct entry e;
    bool changed;

    (void)state;
    entry_init(&e);
    cm_alloc_fail_after(1);
    assert_int_equal(entry_apply(&e, &op, &old, 1, &changed), CM_ERR_NOMEM);
    assert_int_equal(e.count, 0);
    apply(&e, &op, old, 1);
    cm_alloc_fail_after(1);
    assert_int_equal(entry_apply(&e, &op, &dot, 2, &changed), CM_ERR_NOMEM);
    assert_int_equal(e.count, 1);
    /* What replaces one by one needs no memory. */
    op.supersedes = &old;
    op.supersedes_count = 1;
    cm_alloc_fail_after(1);
    assert_int_equal(entry_apply(&e, &op, &dot, 2, &changed), 0);
    cm_alloc_fail_after(0);
    assert_int_equal(e.count, 1);
    assert_true(dot_equal(&e.siblings[0].dot, &dot));
    entry_release(&e);
}

static struct buffer packed_register(void)
{
    struct op put = support_put("a/key", "value");
    struct op del = support_op(OP_DEL, "a/key", NULL);
    struct op revoke = support_op(OP_REVOKE, "a/key", NULL);
    struct entry_id id = op_entry_id(&put);
    struct buffer ret;
    struct entry e;

    put.flags = 9;
    put.expires = hlc_make(77, 0);
    put.author = support_text("alice");
    entry_init(&e);
    apply(&e, &revoke, support_dot(9, 300), 12);
    apply(&e, &put, support_dot(1, 1), 10);
    apply(&e, &del, support_dot(3, 70000), 11);
    buffer_init(&ret, 10000);
    entry_pack(&ret, &id, &e);
    assert_int_equal(ret.error, 0);
    entry_release(&e);
    return ret;
}

static int unpack(struct slice bytes, struct entry_id *ret_id,
                  struct entry *ret_entry)
{
    struct unpacker u;

    unpack_init(&u, bytes);
    entry_unpack(&u, ret_id, ret_entry);
    return unpack_finish(&u);
}

static void test_mutations(void **state)
{
    struct buffer bytes = packed_register();
    struct entry_id id;
    struct entry e;
    size_t accepted = 0;
    size_t i;
    unsigned flip;

    (void)state;
    for (i = 0; i < bytes.size; i++) {
        for (flip = 0; flip < 256; flip++) {
            struct buffer again;

            bytes.data[i] ^= (uint8_t)flip;
            if (unpack(buffer_slice(&bytes), &id, &e) == 0) {
                buffer_init(&again, 10000);
                entry_pack(&again, &id, &e);
                support_assert_slices(buffer_slice(&bytes),
                                      buffer_slice(&again));
                buffer_release(&again);
                accepted++;
            }
            entry_release(&e);
            bytes.data[i] ^= (uint8_t)flip;
        }
        assert_true(unpack(slice_of(bytes.data, i), &id, &e) < 0);
        entry_release(&e);
    }
    assert_true(accepted >= bytes.size); /* flip 0 at least */
    buffer_release(&bytes);
}

static void test_unpack_no_memory(void **state)
{
    struct buffer bytes = packed_register();
    struct entry_id id;
    struct entry e;
    uint64_t n;
    int error = CM_ERR_NOMEM;

    (void)state;
    for (n = 1; error != 0; n++) {
        cm_alloc_fail_after(n);
        error = unpack(buffer_slice(&bytes), &id, &e);
        assert_true(error == 0 || error == CM_ERR_NOMEM);
        entry_release(&e);
    }
    cm_alloc_fail_after(0);
    assert_true(n > 2);
    buffer_release(&bytes);
}

/* One sibling by hand in one entry by hand. */
static int unpack_one(enum space space, const char *key, const char *element,
                      size_t count, enum sibling_kind kind, uint64_t flags,
                      uint64_t expires, const char *value)
{
    struct dot dot = support_dot(1, 1);
    struct entry_id id;
    struct entry e;
    struct buffer b;
    size_t i;
    int error;

    buffer_init(&b, 10000);
    pack_array(&b, 4);
    pack_uint(&b, space);
    pack_bin(&b, support_text(key));
    pack_bin(&b, support_text(element));
    pack_array(&b, count);
    for (i = 0; i < count; i++) {
        pack_array(&b, 8);
        pack_uint(&b, kind);
        dot_pack(&b, &dot);
        pack_uint(&b, 1);
        pack_uint(&b, flags);
        pack_uint(&b, expires);
        pack_bin(&b, support_text("author"));
        pack_bin(&b, support_text(value));
    }
    error = unpack(buffer_slice(&b), &id, &e);
    entry_release(&e);
    buffer_release(&b);
    return error;
}

static void test_refuses(void **state)
{
    enum space r = SPACE_REGISTER;
    enum space s = SPACE_SET;
    const char *member = "0123456789abcdef";
    int bad = CM_ERR_MALFORMED;

    (void)state;
    assert_int_equal(unpack_one(r, "k", "", 1, SIBLING_PUT, 1, 1, "v"), 0);
    assert_int_equal(unpack_one(r, "k", "", 0, SIBLING_PUT, 0, 0, ""),
                     CM_ERR_NONCANONICAL);
    assert_int_equal(unpack_one(r, "k", "", 2, SIBLING_PUT, 0, 0, ""),
                     CM_ERR_NONCANONICAL);
    assert_int_equal(unpack_one(r, "", "", 1, SIBLING_PUT, 0, 0, ""), bad);
    assert_int_equal(unpack_one(r, "\xff", "", 1, SIBLING_PUT, 0, 0, ""), bad);
    assert_int_equal(unpack_one(r, "k", "e", 1, SIBLING_PUT, 0, 0, ""), bad);
    assert_int_equal(unpack_one(r, "k", "", 1, SIBLING_ADD, 0, 0, ""), bad);
    assert_int_equal(unpack_one(r, "k", "", 1, SIBLING_TOMBSTONE, 1, 0, ""),
                     bad);
    assert_int_equal(unpack_one(r, "k", "", 1, SIBLING_REVOKE, 0, 1, ""), bad);
    assert_int_equal(unpack_one(r, "k", "", 1, SIBLING_TOMBSTONE, 0, 0, "v"),
                     bad);
    assert_int_equal(unpack_one(r, "k", "", 1, SIBLING_REVOKE, 0, 0, "why"), 0);
    assert_int_equal(unpack_one(r, "k", "", 1, SIBLING_REVOKE, 0, 0, "\xff"),
                     bad);
    assert_int_equal(unpack_one(s, "k", "e", 1, SIBLING_ADD, 0, 9, ""), 0);
    assert_int_equal(unpack_one(s, "k", "e", 1, SIBLING_REVOKE, 0, 0, ""), 0);
    assert_int_equal(unpack_one(s, "k", "", 1, SIBLING_ADD, 0, 0, ""), bad);
    assert_int_equal(unpack_one(s, "k", "e", 1, SIBLING_ADD, 0, 0, "v"), bad);
    assert_int_equal(unpack_one(s, "k", "e", 1, SIBLING_PUT, 0, 0, "v"), bad);
    assert_int_equal(
        unpack_one(SPACE_ROSTER, member, "", 1, SIBLING_MEMBER, 0, 0, "c"), 0);
    assert_int_equal(
        unpack_one(SPACE_ROSTER, member, "", 1, SIBLING_MEMBER, 0, 0, ""), bad);
    assert_int_equal(
        unpack_one(SPACE_ROSTER, "short", "", 1, SIBLING_MEMBER, 0, 0, "c"),
        bad);
    assert_int_equal(
        unpack_one(SPACE_FENCE, member, "", 1, SIBLING_FENCE, 0, 0, "f"), 0);
    assert_int_equal(
        unpack_one(SPACE_FENCE, member, "", 1, SIBLING_FENCE, 0, 0, ""), bad);
    assert_int_equal(
        unpack_one(SPACE_FENCE, member, "", 1, SIBLING_MEMBER, 0, 0, "f"), bad);
    assert_int_equal(unpack_one(SPACE_PROPOSAL, "0123456789abcdef01234567", "",
                                1, SIBLING_ACK, 0, 0, "a"),
                     0);
    assert_int_equal(
        unpack_one(SPACE_PROPOSAL, member, "", 1, SIBLING_ACK, 0, 0, "a"), bad);
    assert_int_equal(
        unpack_one(SPACE_LAST + 1, member, "", 1, SIBLING_ACK, 0, 0, "a"),
        CM_ERR_TOO_LARGE);
    assert_int_equal(unpack_one(0, "k", "", 1, SIBLING_PUT, 0, 0, ""), bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_supersede),
        cmocka_unit_test(test_concurrent),
        cmocka_unit_test(test_idempotent),
        cmocka_unit_test(test_tombstone),
        cmocka_unit_test(test_revoke),
        cmocka_unit_test(test_resolve_then_expire),
        cmocka_unit_test(test_set_element),
        cmocka_unit_test(test_set_expiry),
        cmocka_unit_test(test_roster),
        cmocka_unit_test(test_no_memory_changes_nothing),
        cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_unpack_no_memory),
        cmocka_unit_test(test_refuses),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
