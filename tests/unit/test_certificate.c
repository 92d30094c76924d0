/* Goal: only what the authority signed, or an issuer that it signed, within
 * the issuer's own rights, is a certificate; the same for orders. Method: one
 * chain, and every way of stretching it; every byte changed. */
#include "support.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/certificate.h"

#define DAY_MS UINT64_C(86400000)

struct chain {
    struct key_pair authority;
    struct key_pair issuer;
    struct key_pair node;
    struct certificate issuer_body;
    struct certificate node_body;
};

static struct chain chain(void)
{
    struct chain c = {.authority = support_key_pair(1),
                      .issuer = support_key_pair(2),
                      .node = support_key_pair(3)};
    struct certificate *i = &c.issuer_body;

    i->mesh = mesh_id_of(c.authority.public_key);
    memcpy(i->sign_key, c.issuer.public_key, 32);
    memset(i->box_key, 7, 32);
    memcpy(i->name, "issuer-1", 9);
    i->roles = ROLE_ISSUER | ROLE_WRITER;
    i->prefixes[0] = support_text("apps/");
    i->prefixes[1] = support_text("users/");
    i->prefixes_count = 2;
    i->not_before_ms = 10 * DAY_MS;
    i->not_after_ms = 20 * DAY_MS;
    c.node_body = *i;
    memcpy(c.node_body.sign_key, c.node.public_key, 32);
    memcpy(c.node_body.name, "node_2.x", 9);
    c.node_body.roles = ROLE_WRITER | ROLE_READER;
    c.node_body.prefixes[0] = support_text("apps/web/");
    c.node_body.prefixes_count = 1;
    return c;
}

static struct buffer signed_by(const struct certificate *c,
                               const struct key_pair *keys)
{
    struct buffer ret;

    buffer_init(&ret, 10000);
    assert_int_equal(certificate_encode(&ret, c, keys->secret_key), 0);
    return ret;
}

/* The node's certificate under the issuer's, both as they are in c. */
static int decode_chain(struct chain *c, const struct key_pair *issuer_signer,
                        struct certificate *ret)
{
    struct buffer issuer = signed_by(&c->issuer_body, issuer_signer);
    struct certificate ignored;
    struct buffer node;
    int error;

    c->node_body.issuer = buffer_slice(&issuer);
    node = signed_by(&c->node_body, &c->issuer);
    error = certificate_decode(ret != NULL ? ret : &ignored,
                               buffer_slice(&node), c->authority.public_key);
    buffer_release(&node);
    buffer_release(&issuer);
    return error;
}

static void test_direct(void **state)
{
    struct chain c = chain();
    struct buffer bytes = signed_by(&c.issuer_body, &c.authority);
    struct certificate got;
    struct key_id id = key_id_of(c.issuer.public_key);

    (void)state;
    assert_int_equal(
        certificate_decode(&got, buffer_slice(&bytes), c.authority.public_key),
        0);
    assert_string_equal(got.name, "issuer-1");
    assert_int_equal(got.roles, ROLE_ISSUER | ROLE_WRITER);
    assert_int_equal(got.prefixes_count, 2);
    support_assert_slices(got.prefixes[1], support_text("users/"));
    assert_true(got.not_before_ms == 10 * DAY_MS);
    assert_true(got.not_after_ms == 20 * DAY_MS);
    assert_memory_equal(got.box_key, c.issuer_body.box_key, 32);
    assert_int_equal(got.issuer.size, 0);
    assert_true(key_id_equal(&got.key_id, &id));
    buffer_release(&bytes);
}

static void test_chain(void **state)
{
    struct chain c = chain();
    struct certificate got;

    (void)state;
    assert_int_equal(decode_chain(&c, &c.authority, &got), 0);
    assert_string_equal(got.name, "node_2.x");
    /* Who signed the issuer's certificate is nobody, or the issuer itself. */
    assert_int_equal(decode_chain(&c, &c.node, NULL), CM_ERR_SIGNATURE);
    assert_int_equal(decode_chain(&c, &c.issuer, NULL), CM_ERR_SIGNATURE);
}

static void test_issuer_stays_within_its_rights(void **state)
{
    struct chain c = chain();

    (void)state;
    c.issuer_body.roles = ROLE_WRITER;
    assert_int_equal(decode_chain(&c, &c.authority, NULL), CM_ERR_AUTHORITY);
    c = chain();
    c.node_body.roles |= ROLE_ISSUER;
    assert_int_equal(decode_chain(&c, &c.authority, NULL), CM_ERR_AUTHORITY);
    c = chain();
    c.node_body.roles |= ROLE_ADMIN;
    assert_int_equal(decode_chain(&c, &c.authority, NULL), CM_ERR_AUTHORITY);
    c.issuer_body.roles |= ROLE_ADMIN;
    assert_int_equal(decode_chain(&c, &c.authority, NULL), 0);
    c = chain();
    c.node_body.prefixes[0] = support_text("apps"); /* shorter = more */
    assert_int_equal(decode_chain(&c, &c.authority, NULL), CM_ERR_AUTHORITY);
    c.node_body.prefixes[0] = support_text("");
    assert_int_equal(decode_chain(&c, &c.authority, NULL), CM_ERR_AUTHORITY);
    c.issuer_body.prefixes[1] = support_text("");
    assert_int_equal(decode_chain(&c, &c.authority, NULL), 0);
    c = chain();
    c.issuer_body.prefixes_count = 0;
    assert_int_equal(decode_chain(&c, &c.authority, NULL), CM_ERR_AUTHORITY);
}

static void test_chain_of_three(void **state)
{
    struct chain c = chain();
    struct buffer top = signed_by(&c.issuer_body, &c.authority);

    (void)state;
    c.issuer_body.issuer = buffer_slice(&top);
    assert_int_equal(decode_chain(&c, &c.authority, NULL), CM_ERR_AUTHORITY);
    buffer_release(&top);
}

static void test_other_mesh(void **state)
{
    struct chain c = chain();
    struct buffer bytes;
    struct certificate got;

    (void)state;
    bytes = signed_by(&c.issuer_body, &c.authority);
    assert_int_equal(
        certificate_decode(&got, buffer_slice(&bytes), c.node.public_key),
        CM_ERR_WRONG_MESH);
    buffer_release(&bytes);
    c.node_body.mesh.bytes[0] ^= 1;
    assert_int_equal(decode_chain(&c, &c.authority, NULL), CM_ERR_WRONG_MESH);
}

static void test_every_byte(void **state)
{
    struct chain c = chain();
    struct buffer issuer = signed_by(&c.issuer_body, &c.authority);
    struct certificate got;
    struct buffer bytes;
    size_t i;
    unsigned bit;

    (void)state;
    c.node_body.issuer = buffer_slice(&issuer);
    bytes = signed_by(&c.node_body, &c.issuer);
    for (i = 0; i < bytes.size; i++) {
        for (bit = 1; bit < 256; bit *= 2) {
            bytes.data[i] ^= (uint8_t)bit;
            assert_true(certificate_decode(&got, buffer_slice(&bytes),
                                           c.authority.public_key) < 0);
            bytes.data[i] ^= (uint8_t)bit;
        }
        assert_true(certificate_decode(&got, slice_of(bytes.data, i),
                                       c.authority.public_key) < 0);
    }
    buffer_append_byte(&bytes, 0);
    assert_true(certificate_decode(&got, buffer_slice(&bytes),
                                   c.authority.public_key) < 0);
    buffer_release(&bytes);
    buffer_release(&issuer);
}

static void test_encode_refuses(void **state)
{
    static char text[KEY_SIZE_MAX + 1];
    struct chain c = chain();
    struct certificate bad = c.node_body;
    struct buffer out;
    size_t i;

    (void)state;
    memset(text, 'p', sizeof text);
    buffer_init(&out, 10000);
    bad.name[0] = '\0';
    assert_int_equal(certificate_encode(&out, &bad, c.authority.secret_key),
                     CM_ERR_INVALID);
    bad = c.node_body;
    memset(bad.name, 'n', sizeof bad.name); /* not terminated */
    assert_int_equal(certificate_encode(&out, &bad, c.authority.secret_key),
                     CM_ERR_INVALID);
    bad = c.node_body;
    bad.roles = 16;
    assert_int_equal(certificate_encode(&out, &bad, c.authority.secret_key),
                     CM_ERR_INVALID);
    bad = c.node_body;
    bad.not_after_ms = bad.not_before_ms - 1;
    assert_int_equal(certificate_encode(&out, &bad, c.authority.secret_key),
                     CM_ERR_INVALID);
    bad = c.node_body;
    bad.prefixes[0] = slice_of(text, KEY_SIZE_MAX + 1);
    assert_int_equal(certificate_encode(&out, &bad, c.authority.secret_key),
                     CM_ERR_INVALID);
    for (i = 0; i < CERTIFICATE_PREFIXES_MAX; i++)
        bad.prefixes[i] = slice_of(text, KEY_SIZE_MAX);
    bad.prefixes_count = CERTIFICATE_PREFIXES_MAX;
    assert_int_equal(certificate_encode(&out, &bad, c.authority.secret_key),
                     CM_ERR_TOO_LARGE);
    buffer_release(&out);
}

static void test_dates(void **state)
{
    struct chain c = chain();
    const struct certificate *n = &c.node_body; /* day 10 to 20 */

    (void)state;
    assert_int_equal(certificate_check_dates(n, 15 * DAY_MS), 0);
    assert_int_equal(certificate_check_dates(n, 9 * DAY_MS), 0);
    assert_int_equal(certificate_check_dates(n, 9 * DAY_MS - 1),
                     CM_ERR_EXPIRED);
    assert_int_equal(certificate_check_dates(n, 21 * DAY_MS), 0);
    assert_int_equal(certificate_check_dates(n, 21 * DAY_MS + 1),
                     CM_ERR_EXPIRED);
    assert_int_equal(certificate_check_dates(n, 0), CM_ERR_EXPIRED);
    assert_int_equal(certificate_check_dates(n, UINT64_MAX), CM_ERR_EXPIRED);
}

static void test_may_write(void **state)
{
    struct chain c = chain();
    struct entry_id id = {.space = SPACE_REGISTER,
                          .key = support_text("apps/web/port")};

    (void)state;
    assert_true(certificate_may_write(&c.node_body, &id));
    id.space = SPACE_SET;
    assert_true(certificate_may_write(&c.node_body, &id));
    id.key = support_text("apps/db/port");
    assert_false(certificate_may_write(&c.node_body, &id));
    id.key = support_text("apps/web");
    assert_false(certificate_may_write(&c.node_body, &id));
    id.space = SPACE_ROSTER;
    assert_true(certificate_may_write(&c.node_body, &id));
    c.node_body.roles = ROLE_READER | ROLE_ADMIN;
    assert_false(certificate_may_write(&c.node_body, &id));
}

static void test_names(void **state)
{
    char name[NAME_SIZE_MAX + 2];
    struct cm_detail detail;

    (void)state;
    memset(name, 'n', sizeof name);
    name[NAME_SIZE_MAX + 1] = '\0';
    assert_int_equal(certificate_check_name(name, &detail), CM_ERR_TOO_LARGE);
    assert_string_equal(detail.text,
                        "name has 65 bytes, the limit is 64; shorten it");
    name[NAME_SIZE_MAX] = '\0';
    assert_int_equal(certificate_check_name(name, NULL), 0);
    assert_int_equal(certificate_check_name("a-B_3.c", NULL), 0);
    assert_int_equal(certificate_check_name("", &detail), CM_ERR_INVALID);
    assert_int_equal(certificate_check_name("a b", &detail), CM_ERR_INVALID);
    assert_non_null(strstr(detail.text, "0x20 at position 2"));
    assert_int_equal(certificate_check_name("a/b", NULL), CM_ERR_INVALID);
    assert_int_equal(certificate_check_name("\xc3\xa9", NULL), CM_ERR_INVALID);
}

static struct generation_order order_of(const struct key_pair *authority,
                                        uint64_t number)
{
    struct generation_order ret = {.mesh = mesh_id_of(authority->public_key),
                                   .number = number,
                                   .founder = support_incarnation(4),
                                   .founder_certificate =
                                       slice_of_string("a certificate"),
                                   .created_ms = 1700000000000};
    struct incarnation i = support_incarnation(1);
    struct hash head = {{3}};

    if (number > 1) {
        memset(ret.previous, 8, sizeof ret.previous);
        assert_int_equal(vv_set(&ret.sealed, &i, 77, &head), 0);
    }
    return ret;
}

static void test_generation_order(void **state)
{
    struct key_pair keys = support_key_pair(1);
    struct key_pair other = support_key_pair(2);
    struct generation_order got;
    uint64_t number;

    (void)state;
    for (number = 1; number < 4; number++) {
        struct generation_order order = order_of(&keys, number);
        struct buffer b;
        struct generation_id id;
        size_t i;

        buffer_init(&b, GENERATION_ORDER_SIZE_MAX);
        assert_int_equal(generation_order_encode(&b, &order, keys.secret_key),
                         0);
        id = generation_id_of(number, buffer_slice(&b));
        assert_true(id.number == number);
        assert_int_equal(
            generation_order_decode(&got, buffer_slice(&b), keys.public_key),
            0);
        assert_true(vv_equal(&got.sealed, &order.sealed));
        assert_true(incarnation_equal(&got.founder, &order.founder));
        support_assert_slices(got.founder_certificate,
                              order.founder_certificate);
        generation_order_release(&got);
        assert_int_equal(
            generation_order_decode(&got, buffer_slice(&b), other.public_key),
            CM_ERR_SIGNATURE);
        for (i = 0; i < b.size; i++) {
            b.data[i] ^= 1;
            assert_true(generation_order_decode(&got, buffer_slice(&b),
                                                keys.public_key) < 0);
            b.data[i] ^= 1;
        }
        buffer_release(&b);
        generation_order_release(&order);
    }
}

static void test_generation_order_refused(void **state)
{
    struct key_pair keys = support_key_pair(1);
    struct generation_order order = order_of(&keys, 2);
    struct generation_order got;
    struct buffer b;
    uint64_t n;
    int error = CM_ERR_NOMEM;

    (void)state;
    buffer_init(&b, GENERATION_ORDER_SIZE_MAX);
    order.number = 1; /* which seals nothing */
    assert_int_equal(generation_order_encode(&b, &order, keys.secret_key),
                     CM_ERR_INVALID);
    order.number = 0;
    assert_int_equal(generation_order_encode(&b, &order, keys.secret_key),
                     CM_ERR_INVALID);
    order.number = 2;
    order.mesh.bytes[0] ^= 1;
    assert_int_equal(generation_order_encode(&b, &order, keys.secret_key), 0);
    assert_int_equal(
        generation_order_decode(&got, buffer_slice(&b), keys.public_key),
        CM_ERR_WRONG_MESH);
    order.mesh.bytes[0] ^= 1;
    for (n = 1; error != 0; n++) {
        buffer_release(&b);
        cm_alloc_fail_after(n);
        error = generation_order_encode(&b, &order, keys.secret_key);
        assert_true(error == 0 || error == CM_ERR_NOMEM);
    }
    error = CM_ERR_NOMEM;
    for (n = 1; error != 0; n++) {
        cm_alloc_fail_after(n);
        error =
            generation_order_decode(&got, buffer_slice(&b), keys.public_key);
        assert_true(error == 0 || error == CM_ERR_NOMEM);
    }
    cm_alloc_fail_after(0);
    generation_order_release(&got);
    generation_order_release(&order);
    buffer_release(&b);
}

static void test_generation_compare(void **state)
{
    struct generation_id a = {.number = 1, .hash = {9}};
    struct generation_id b = {.number = 2, .hash = {1}};
    struct generation_id c = {.number = 2, .hash = {2}};

    (void)state;
    assert_true(generation_id_compare(&a, &b) < 0);
    assert_true(generation_id_compare(&c, &a) > 0);
    assert_true(generation_id_compare(&b, &c) != 0);
    assert_false(generation_id_equal(&b, &c));
    assert_true(generation_id_equal(&b, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_direct),
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_issuer_stays_within_its_rights),
        cmocka_unit_test(test_chain_of_three),
        cmocka_unit_test(test_other_mesh),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_encode_refuses),
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_may_write),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_generation_order),
        cmocka_unit_test(test_generation_order_refused),
        cmocka_unit_test(test_generation_compare),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
