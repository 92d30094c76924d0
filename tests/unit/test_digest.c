/* Goal: the digest depends on the multiset of siblings and the vector, and on
 * nothing else. Method: other orders, removal, one field changed at a time. */
#include "support.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/digest.h"

static struct entry_id id_of(const char *key, const char *element)
{
    return (struct entry_id){.space = element[0] != '\0' ? SPACE_SET
                                                         : SPACE_REGISTER,
                             .key = support_text(key),
                             .element = support_text(element)};
}

static struct sibling sibling_of(uint8_t n)
{
    return (struct sibling){.kind = SIBLING_PUT,
                            .dot = support_dot(n, n),
                            .hlc = 100u + n,
                            .value = support_text("value")};
}

static void test_order_does_not_matter(void **state)
{
    struct entry_id id = id_of("k", "");
    struct digest a;
    struct digest b;
    struct sibling s;
    uint8_t n;

    (void)state;
    digest_init(&a);
    digest_init(&b);
    for (n = 1; n <= 50; n++) {
        s = sibling_of(n);
        digest_add(&a, &id, &s);
    }
    for (n = 60; n >= 1; n--) {
        s = sibling_of(n);
        digest_add(&b, &id, &s);
    }
    assert_false(digest_equal(&a, &b));
    for (n = 51; n <= 60; n++) {
        s = sibling_of(n);
        digest_remove(&b, &id, &s);
    }
    assert_true(digest_equal(&a, &b));
    for (n = 1; n <= 50; n++) {
        s = sibling_of(n);
        digest_remove(&b, &id, &s);
    }
    digest_init(&a);
    assert_true(digest_equal(&a, &b));
}

static void assert_differs(const struct entry_id *id, const struct sibling *s)
{
    struct entry_id other_id = id_of("k", "e");
    struct sibling other = sibling_of(1);
    struct digest a;
    struct digest b;

    digest_init(&a);
    digest_init(&b);
    digest_add(&a, id, s);
    digest_add(&b, &other_id, &other);
    assert_false(digest_equal(&a, &b));
}

static void test_every_field_counts(void **state)
{
    struct entry_id id = id_of("k", "e");
    struct entry_id moved = id_of("ke", "");
    struct sibling s = sibling_of(1);

    (void)state;
    moved.space = SPACE_SET;
    assert_differs(&moved, &s);
    moved = id;
    moved.space = SPACE_REGISTER;
    assert_differs(&moved, &s);
    s.kind = SIBLING_TOMBSTONE;
    assert_differs(&id, &s);
    s = sibling_of(1);
    s.dot.seq++;
    assert_differs(&id, &s);
    s = sibling_of(1);
    s.dot.incarnation.bytes[15] ^= 1;
    assert_differs(&id, &s);
    s = sibling_of(1);
    s.hlc++;
    assert_differs(&id, &s);
    s = sibling_of(1);
    s.flags++;
    assert_differs(&id, &s);
    s = sibling_of(1);
    s.expires++;
    assert_differs(&id, &s);
    s = sibling_of(1);
    s.author = support_text("a");
    assert_differs(&id, &s);
    s = sibling_of(1);
    s.value = support_text("valuf");
    assert_differs(&id, &s);
}

/* The sum is of what entry_pack would write, as documented: domain, then the
 * canonical bytes of [space, key, element, sibling]. */
static void test_worst_case_fits(void **state)
{
    static char key[KEY_SIZE_MAX];
    static uint8_t value[VALUE_SIZE_MAX];
    struct entry_id id = {.space = SPACE_SET,
                          .key = slice_of(key, sizeof key),
                          .element = slice_of(key, sizeof key)};
    struct sibling s = {.kind = SIBLING_PUT,
                        .dot = support_dot(255, UINT64_MAX),
                        .hlc = UINT64_MAX,
                        .flags = UINT64_MAX,
                        .expires = UINT64_MAX,
                        .author = slice_of(key, AUTHOR_SIZE_MAX),
                        .value = slice_of(value, sizeof value)};
    struct digest d;
    struct digest empty;

    (void)state;
    digest_init(&d);
    digest_init(&empty);
    cm_alloc_fail_after(1); /* it allocates nothing */
    digest_add(&d, &id, &s);
    assert_false(digest_equal(&d, &empty));
    digest_remove(&d, &id, &s);
    cm_alloc_fail_after(0);
    assert_true(digest_equal(&d, &empty));
}

static void test_codec(void **state)
{
    struct entry_id id = id_of("k", "");
    struct sibling s = sibling_of(1);
    uint8_t bytes[DIGEST_BYTES];
    struct digest a;
    struct digest b;

    (void)state;
    digest_init(&a);
    digest_add(&a, &id, &s);
    digest_encode(bytes, &a);
    assert_int_equal(bytes[1], a.lanes[0] >> 8); /* little-endian */
    digest_decode(&b, bytes);
    assert_true(digest_equal(&a, &b));
}

static void test_finish(void **state)
{
    struct entry_id id = id_of("k", "");
    struct sibling s = sibling_of(1);
    struct incarnation i = support_incarnation(1);
    struct hash head = {{1}};
    struct hash fork = {{2}};
    struct hash a;
    struct hash b;
    struct digest d;
    struct vv v;

    (void)state;
    digest_init(&d);
    vv_init(&v);
    a = digest_finish(&d, &v);
    assert_int_equal(vv_set(&v, &i, 1, &head), 0);
    b = digest_finish(&d, &v);
    assert_false(hash_equal(&a, &b));
    digest_add(&d, &id, &s);
    a = digest_finish(&d, &v);
    assert_false(hash_equal(&a, &b));
    assert_int_equal(vv_set(&v, &i, 1, &fork), 0);
    b = digest_finish(&d, &v);
    assert_false(hash_equal(&a, &b)); /* same seq, other hash = fork */
    vv_release(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_does_not_matter),
        cmocka_unit_test(test_every_field_counts),
        cmocka_unit_test(test_worst_case_fits),
        cmocka_unit_test(test_codec),
        cmocka_unit_test(test_finish),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
