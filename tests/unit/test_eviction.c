/* Orders and retirements: what was signed comes back, nothing else does. */
#include "support.h"

#include <string.h>

#include "crdt/eviction.h"

struct fixture {
    struct key_pair authority;
    struct key_pair node;
    struct incarnation names[3];
    struct eviction_order order;
    struct buffer certificate;
};

static struct fixture fixture(void)
{
    struct fixture f = {.authority = support_key_pair(100),
                        .node = support_key_pair(1)};
    struct certificate c = {
        .roles = ROLE_WRITER, .prefixes_count = 1, .not_after_ms = 1000};

    for (uint8_t i = 0; i < 3; i++)
        f.names[i] = support_incarnation((uint8_t)(i + 1));
    f.order = (struct eviction_order){
        .mesh = mesh_id_of(f.authority.public_key),
        .generation = {.number = 1},
        .epoch = 2,
        .count = 3,
        .created_ms = 77,
    };
    f.order.previous.bytes[0] = 1;
    c.mesh = f.order.mesh;
    memcpy(c.sign_key, f.node.public_key, 32);
    memcpy(c.name, "node", 5);
    buffer_init(&f.certificate, CERTIFICATE_SIZE_MAX);
    assert_int_equal(
        certificate_encode(&f.certificate, &c, f.authority.secret_key), 0);
    return f;
}

static struct buffer encoded(struct fixture *f)
{
    struct buffer ret;

    f->order.incarnations = f->names;
    buffer_init(&ret, EVICTION_SIZE_MAX);
    assert_int_equal(eviction_encode(&ret, &f->order, f->authority.secret_key),
                     0);
    return ret;
}

static void test_order(void **state)
{
    struct fixture f = fixture();
    struct buffer bytes = encoded(&f);
    struct buffer again;
    struct eviction_order o;
    struct hash a, b;

    (void)state;
    assert_int_equal(
        eviction_decode(&o, buffer_slice(&bytes), f.authority.public_key), 0);
    assert_int_equal(o.epoch, 2);
    assert_int_equal(o.count, 3);
    assert_int_equal(o.created_ms, 77);
    assert_true(incarnation_equal(&o.incarnations[2], &f.names[2]));
    buffer_init(&again, EVICTION_SIZE_MAX);
    assert_int_equal(eviction_encode(&again, &o, f.authority.secret_key), 0);
    support_assert_slices(buffer_slice(&again), buffer_slice(&bytes));
    a = eviction_hash(buffer_slice(&bytes));
    b = eviction_hash(buffer_slice(&again));
    assert_true(hash_equal(&a, &b));
    eviction_release(&o);
    assert_int_equal(
        eviction_decode(&o, buffer_slice(&bytes), f.node.public_key),
        CM_ERR_SIGNATURE);
    for (size_t i = 0; i < bytes.size; i++) {
        bytes.data[i] ^= 1;
        assert_int_not_equal(
            eviction_decode(&o, buffer_slice(&bytes), f.authority.public_key),
            0);
        bytes.data[i] ^= 1;
        assert_int_not_equal(eviction_decode(&o, slice_of(bytes.data, i),
                                             f.authority.public_key),
                             0);
    }
    buffer_release(&again);
    buffer_release(&bytes);
    buffer_release(&f.certificate);
}

static void test_order_refuses(void **state)
{
    struct fixture f = fixture();
    struct buffer out;

    (void)state;
    f.order.incarnations = f.names;
    buffer_init(&out, EVICTION_SIZE_MAX);
    f.order.epoch = 0;
    assert_int_equal(eviction_encode(&out, &f.order, f.authority.secret_key),
                     CM_ERR_INVALID);
    f.order.epoch = 1; /* with an order before it */
    assert_int_equal(eviction_encode(&out, &f.order, f.authority.secret_key),
                     CM_ERR_INVALID);
    f.order.epoch = 2;
    f.names[1] = f.names[0];
    assert_int_equal(eviction_encode(&out, &f.order, f.authority.secret_key),
                     CM_ERR_INVALID);
    f.order.count = EVICTION_INCARNATIONS_MAX + 1;
    assert_int_equal(eviction_encode(&out, &f.order, f.authority.secret_key),
                     CM_ERR_TOO_LARGE);
    buffer_release(&out);
    buffer_release(&f.certificate);
}

/* An empty set: names nothing but the order that stands. */
static void test_empty_order(void **state)
{
    struct fixture f = fixture();
    struct eviction_order o;
    struct buffer bytes;

    (void)state;
    f.order.count = 0;
    bytes = encoded(&f);
    assert_int_equal(
        eviction_decode(&o, buffer_slice(&bytes), f.authority.public_key), 0);
    assert_int_equal(o.count, 0);
    assert_int_equal(o.previous.bytes[0], 1);
    eviction_release(&o);
    buffer_release(&bytes);
    buffer_release(&f.certificate);
}

static void test_retirement(void **state)
{
    struct fixture f = fixture();
    struct key_pair thief = support_key_pair(2);
    struct key_id node = key_id_of(f.node.public_key);
    struct retirement r = {.mesh = f.order.mesh,
                           .generation = {.number = 1},
                           .incarnation = f.names[1],
                           .certificate = buffer_slice(&f.certificate)};
    struct retirement got;
    struct buffer bytes;

    (void)state;
    buffer_init(&bytes, RETIREMENT_SIZE_MAX);
    assert_int_equal(retirement_encode(&bytes, &r, f.node.secret_key), 0);
    assert_int_equal(
        retirement_decode(&got, buffer_slice(&bytes), f.authority.public_key),
        0);
    assert_true(incarnation_equal(&got.incarnation, &f.names[1]));
    assert_true(key_id_equal(&got.node, &node));
    for (size_t i = 0; i < bytes.size; i++) {
        bytes.data[i] ^= 1;
        assert_int_not_equal(retirement_decode(&got, buffer_slice(&bytes),
                                               f.authority.public_key),
                             0);
        bytes.data[i] ^= 1;
        assert_int_not_equal(retirement_decode(&got, slice_of(bytes.data, i),
                                               f.authority.public_key),
                             0);
    }
    /* Signed by somebody else than the certificate says. */
    buffer_clear(&bytes);
    assert_int_equal(retirement_encode(&bytes, &r, thief.secret_key), 0);
    assert_int_equal(
        retirement_decode(&got, buffer_slice(&bytes), f.authority.public_key),
        CM_ERR_SIGNATURE);
    buffer_release(&bytes);
    buffer_release(&f.certificate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_order_refuses),
        cmocka_unit_test(test_empty_order),
        cmocka_unit_test(test_retirement),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
