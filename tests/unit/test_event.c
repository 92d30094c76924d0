/* Goal: an event has one encoding, and nothing but it decodes. Method: round
 * trips of every operation; every byte of an encoded event changed; every byte
 * of body and header changed *and signed again*, as a certified but hostile
 * node would: what still decodes must encode to the very same bytes. */
#include "support.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/event.h"
#include "crdt/sign.h"

#define OPS_MAX 10

static const char certificate[] = "certificate";

struct fixture {
    struct key_pair keys;
    struct dot deps[3];
    struct dot *dots;
    struct op ops[OPS_MAX];
    size_t ops_count;
};

static struct fixture fixture(void)
{
    static const uint8_t joiner[INCARNATION_SIZE] = {9};
    static const uint8_t proposal[PROPOSAL_KEY_SIZE] = {9, [23] = 1};
    static struct dot dots[3];
    struct fixture f = {
        .keys = support_key_pair(1),
        .deps = {support_dot(1, 7), support_dot(2, 300), support_dot(9, 1)},
        .dots = dots};

    dots[0] = support_dot(1, 2);
    dots[1] = support_dot(1, 3);
    dots[2] = support_dot(5, 4);

    f.ops[0] = support_put("a/key", "value");
    f.ops[0].flags = 70000;
    f.ops[0].expires = hlc_make(1800000000000, 0);
    f.ops[0].author = support_text("alice");
    f.ops[1] = support_op(OP_DEL, "a/other", NULL);
    f.ops[1].supersedes = f.dots;
    f.ops[2] = support_op(OP_REVOKE, "users/bob", NULL);
    f.ops[3] = support_op(OP_SET_ADD, "a/key", "element");
    f.ops[3].expires = 5;
    f.ops[4] = support_op(OP_SET_REMOVE, "a/key", "another");
    f.ops[4].supersedes = f.dots;
    f.ops[5] = support_op(OP_SET_REVOKE, "a/key", "third");
    f.ops[6] = (struct op){.kind = OP_ROSTER_ADD,
                           .key = slice_of(joiner, sizeof joiner),
                           .value = slice_of_string(certificate)};
    f.ops[1].supersedes_count = 3;
    f.ops[4].supersedes_count = 2;
    f.ops[7] = (struct op){.kind = OP_FENCE,
                           .key = slice_of(joiner, sizeof joiner),
                           .value = slice_of_string(certificate)};
    f.ops[8] =
        (struct op){.kind = OP_ACK, .key = slice_of(proposal, sizeof proposal)};
    f.ops_count = 9;
    return f;
}

static struct event_draft draft_of(const struct fixture *f, struct buffer *body)
{
    struct event_draft d = {.generation = {.number = 3, .hash = {1, 2}},
                            .dot = support_dot(5, 12),
                            .hlc = hlc_make(1700000000000, 3),
                            .deps = f->deps,
                            .deps_count = 3,
                            .ops_count = f->ops_count};
    size_t i;

    memset(d.mesh.bytes, 0xaa, sizeof d.mesh.bytes);
    memset(d.previous.bytes, 0xbb, sizeof d.previous.bytes);
    buffer_init(body, EVENT_SIZE_MAX);
    for (i = 0; i < f->ops_count; i++)
        event_body_add(body, &f->ops[i]);
    d.body = buffer_slice(body);
    return d;
}

static struct buffer encoded(const struct fixture *f)
{
    struct buffer body;
    struct buffer ret;
    struct hash hash;
    struct event_draft d = draft_of(f, &body);

    buffer_init(&ret, EVENT_SIZE_MAX);
    assert_int_equal(event_encode(&ret, &d, f->keys.secret_key, &hash), 0);
    assert_true(ret.size <= body.size + event_overhead(d.deps_count));
    buffer_release(&body);
    return ret;
}

/* What e would have been encoded as. */
static struct buffer encoded_again(const struct event *e,
                                   const struct key_pair *keys)
{
    struct event_draft d = {.mesh = e->mesh,
                            .generation = e->generation,
                            .dot = e->dot,
                            .hlc = e->hlc,
                            .deps = e->deps,
                            .deps_count = e->deps_count,
                            .previous = e->previous,
                            .ops_count = e->ops_count};
    struct buffer body;
    struct buffer ret;
    struct hash hash;
    struct hash same = event_hash(e);
    size_t i;

    buffer_init(&body, EVENT_SIZE_MAX);
    buffer_init(&ret, EVENT_SIZE_MAX);
    for (i = 0; i < e->ops_count; i++)
        event_body_add(&body, &e->ops[i]);
    d.body = buffer_slice(&body);
    assert_int_equal(event_encode(&ret, &d, keys->secret_key, &hash), 0);
    assert_true(hash_equal(&hash, &same));
    buffer_release(&body);
    return ret;
}

static void test_round_trip(void **state)
{
    struct fixture f = fixture();
    struct buffer bytes = encoded(&f);
    struct buffer again;
    struct event e;
    size_t i;

    (void)state;
    assert_int_equal(event_decode(&e, buffer_slice(&bytes)), 0);
    assert_int_equal(event_verify(&e, f.keys.public_key), 0);
    assert_int_equal(e.ops_count, f.ops_count);
    assert_false(e.has_unknown_op);
    for (i = 0; i < f.ops_count; i++) {
        assert_int_equal(e.ops[i].kind, f.ops[i].kind);
        support_assert_slices(e.ops[i].key, f.ops[i].key);
        support_assert_slices(e.ops[i].element, f.ops[i].element);
        support_assert_slices(e.ops[i].value, f.ops[i].value);
        support_assert_slices(e.ops[i].author, f.ops[i].author);
        assert_true(e.ops[i].flags == f.ops[i].flags);
        assert_true(e.ops[i].expires == f.ops[i].expires);
        assert_int_equal(e.ops[i].supersedes_count, f.ops[i].supersedes_count);
    }
    assert_true(dot_equal(&e.ops[1].supersedes[2], &f.dots[2]));
    assert_true(dot_equal(&e.ops[4].supersedes[1], &f.dots[1]));
    assert_true(dot_equal(&e.deps[1], &f.deps[1]));
    again = encoded_again(&e, &f.keys);
    support_assert_slices(buffer_slice(&bytes), buffer_slice(&again));
    buffer_release(&again);
    event_release(&e);
    buffer_release(&bytes);
}

static void test_wrong_key(void **state)
{
    struct fixture f = fixture();
    struct key_pair other = support_key_pair(2);
    struct buffer bytes = encoded(&f);
    struct event e;

    (void)state;
    assert_int_equal(event_decode(&e, buffer_slice(&bytes)), 0);
    assert_int_equal(event_verify(&e, other.public_key), CM_ERR_SIGNATURE);
    event_release(&e);
    buffer_release(&bytes);
}

static void test_every_byte(void **state)
{
    static const uint8_t flips[] = {1, 2, 4, 8, 16, 32, 64, 128, 255};
    struct fixture f = fixture();
    struct buffer bytes = encoded(&f);
    struct event e;
    size_t i;
    size_t k;

    (void)state;
    for (i = 0; i < bytes.size; i++) {
        for (k = 0; k < sizeof flips; k++) {
            bytes.data[i] ^= flips[k];
            if (event_decode(&e, buffer_slice(&bytes)) == 0) {
                assert_int_equal(event_verify(&e, f.keys.public_key),
                                 CM_ERR_SIGNATURE);
                event_release(&e);
            }
            bytes.data[i] ^= flips[k];
        }
        assert_true(event_decode(&e, slice_of(bytes.data, i)) < 0);
    }
    buffer_append_byte(&bytes, 0);
    assert_true(event_decode(&e, buffer_slice(&bytes)) < 0);
    buffer_release(&bytes);
}

/* The event that a hostile holder of the key makes of header and body. */
static struct buffer framed(struct slice header, struct slice body,
                            const struct key_pair *keys)
{
    uint8_t signature[SIGN_SIZE];
    struct buffer ret;

    assert_int_equal(
        sign_make(signature, "confmesh event v1", header, keys->secret_key), 0);
    buffer_init(&ret, 2 * EVENT_SIZE_MAX);
    pack_array(&ret, 3);
    pack_bin(&ret, header);
    pack_bin(&ret, body);
    pack_bytes(&ret, signature, sizeof signature);
    return ret;
}

/* Header and body of bytes, the body's hash put right. */
static struct buffer forged(struct slice header, struct slice body,
                            const struct key_pair *keys)
{
    struct hash hash = hash_of("confmesh event body v1", body);
    struct buffer changed;
    struct buffer ret;

    buffer_init(&changed, EVENT_SIZE_MAX);
    buffer_append(&changed, header.data, header.size - HASH_SIZE);
    buffer_append(&changed, hash.bytes, HASH_SIZE);
    ret = framed(buffer_slice(&changed), body, keys);
    buffer_release(&changed);
    return ret;
}

static void split(struct slice bytes, struct slice *ret_header,
                  struct slice *ret_body)
{
    struct unpacker u;

    unpack_init(&u, bytes);
    unpack_array_of(&u, 3);
    *ret_header = unpack_bin(&u, EVENT_SIZE_MAX);
    *ret_body = unpack_bin(&u, EVENT_SIZE_MAX);
    assert_int_equal(u.error, 0);
}

static void assert_canonical(struct buffer *bytes, const struct key_pair *keys)
{
    struct buffer again;
    struct event e;

    if (event_decode(&e, buffer_slice(bytes)) < 0)
        return;
    if (!e.has_unknown_op) {
        assert_int_equal(event_verify(&e, keys->public_key), 0);
        again = encoded_again(&e, keys);
        support_assert_slices(buffer_slice(bytes), buffer_slice(&again));
        buffer_release(&again);
    }
    event_release(&e);
}

static void test_forged_bodies(void **state)
{
    struct fixture f = fixture();
    struct buffer bytes = encoded(&f);
    struct slice header;
    struct slice body;
    uint8_t *changed;
    size_t i;
    unsigned flip;

    (void)state;
    split(buffer_slice(&bytes), &header, &body);
    changed = test_malloc(body.size);
    memcpy(changed, body.data, body.size);
    for (i = 0; i < body.size; i++) {
        for (flip = 1; flip < 256; flip += i % 3 == 0 ? 3 : 13) {
            struct buffer b;

            changed[i] ^= (uint8_t)flip;
            b = forged(header, slice_of(changed, body.size), &f.keys);
            assert_canonical(&b, &f.keys);
            buffer_release(&b);
            changed[i] ^= (uint8_t)flip;
        }
    }
    test_free(changed);
    buffer_release(&bytes);
}

static void test_forged_headers(void **state)
{
    struct fixture f = fixture();
    struct buffer bytes = encoded(&f);
    struct slice header;
    struct slice body;
    uint8_t *changed;
    size_t i;
    unsigned flip;

    (void)state;
    split(buffer_slice(&bytes), &header, &body);
    changed = test_malloc(header.size);
    memcpy(changed, header.data, header.size);
    for (i = 0; i < header.size; i++) {
        for (flip = 1; flip < 256; flip += 7) {
            struct buffer b;

            changed[i] ^= (uint8_t)flip;
            b = framed(slice_of(changed, header.size), body, &f.keys);
            assert_canonical(&b, &f.keys);
            buffer_release(&b);
            changed[i] ^= (uint8_t)flip;
        }
    }
    test_free(changed);
    buffer_release(&bytes);
}

/* One field of the header or body said wrongly, everything else in order. */
struct wrong {
    uint64_t format;
    uint64_t generation;
    struct dot dot;
    uint64_t hlc;
    struct dot deps[2];
    uint8_t previous;
    size_t fields;
};

static struct wrong right(void)
{
    return (struct wrong){.format = 1,
                          .generation = 1,
                          .dot = support_dot(5, 12),
                          .hlc = 1,
                          .deps = {support_dot(1, 1), support_dot(2, 1)},
                          .previous = 1,
                          .fields = 10};
}

static int decode_wrong(const struct wrong *w, struct slice body)
{
    struct key_pair keys = support_key_pair(1);
    uint8_t zeroes[16] = {0};
    struct hash previous;
    struct buffer header;
    struct buffer bytes;
    struct event e;
    size_t i;
    int error;

    memset(previous.bytes, w->previous, HASH_SIZE);
    buffer_init(&header, 4096);
    pack_array(&header, w->fields);
    pack_uint(&header, w->format);
    pack_bytes(&header, zeroes, 16);
    pack_uint(&header, w->generation);
    pack_bytes(&header, zeroes, 16);
    pack_bytes(&header, w->dot.incarnation.bytes, 16);
    pack_uint(&header, w->dot.seq);
    pack_uint(&header, w->hlc);
    pack_array(&header, 2);
    for (i = 0; i < 2; i++) {
        pack_array(&header, 2);
        pack_bytes(&header, w->deps[i].incarnation.bytes, 16);
        pack_uint(&header, w->deps[i].seq);
    }
    pack_bytes(&header, previous.bytes, HASH_SIZE);
    pack_bytes(&header, previous.bytes, HASH_SIZE); /* put right below */
    bytes = forged(buffer_slice(&header), body, &keys);
    error = event_decode(&e, buffer_slice(&bytes));
    if (error == 0)
        event_release(&e);
    buffer_release(&bytes);
    buffer_release(&header);
    return error;
}

static void test_refused_headers(void **state)
{
    struct op op = support_put("k", "v");
    struct buffer b;
    struct slice body;
    struct wrong w = right();

    (void)state;
    buffer_init(&b, 100);
    pack_array(&b, 1);
    event_body_add(&b, &op);
    body = buffer_slice(&b);
    assert_int_equal(decode_wrong(&w, body), 0);
    w.format = 2;
    assert_int_equal(decode_wrong(&w, body), CM_ERR_FORMAT_VERSION);
    w.fields = 11; /* a later format may have more */
    assert_int_equal(decode_wrong(&w, body), CM_ERR_FORMAT_VERSION);
    w.format = 1;
    assert_int_equal(decode_wrong(&w, body), CM_ERR_MALFORMED);
    w = right();
    w.generation = 0;
    assert_int_equal(decode_wrong(&w, body), CM_ERR_MALFORMED);
    w = right();
    w.dot.seq = 0;
    assert_int_equal(decode_wrong(&w, body), CM_ERR_MALFORMED);
    w.dot.seq = 1; /* with a previous event */
    assert_int_equal(decode_wrong(&w, body), CM_ERR_MALFORMED);
    w.previous = 0;
    assert_int_equal(decode_wrong(&w, body), 0);
    w = right();
    w.hlc = 0;
    assert_int_equal(decode_wrong(&w, body), CM_ERR_MALFORMED);
    w = right();
    w.deps[1] = support_dot(1, 2); /* one incarnation twice */
    assert_int_equal(decode_wrong(&w, body), CM_ERR_NONCANONICAL);
    w.deps[0] = support_dot(2, 1); /* descending */
    assert_int_equal(decode_wrong(&w, body), CM_ERR_NONCANONICAL);
    w = right();
    w.deps[1] = support_dot(5, 11); /* the own incarnation */
    assert_int_equal(decode_wrong(&w, body), CM_ERR_MALFORMED);
    w.deps[1] = support_dot(6, 0);
    assert_int_equal(decode_wrong(&w, body), CM_ERR_MALFORMED);
    buffer_release(&b);
}

/* A put with everything by hand, so that it can be wrong. */
static void raw_put(struct buffer *b, const char *key, const struct dot *dots,
                    size_t dots_count)
{
    size_t i;

    pack_array(b, 7);
    pack_uint(b, OP_PUT);
    pack_bin(b, support_text(key));
    pack_bin(b, support_text(""));
    pack_array(b, dots_count);
    for (i = 0; i < dots_count; i++) {
        pack_array(b, 2);
        dot_pack(b, &dots[i]);
    }
    pack_bin(b, support_text("v"));
    pack_uint(b, 0);
    pack_uint(b, 0);
}

static int decode_puts(size_t count, const char *const *keys,
                       const struct dot *dots, size_t dots_count)
{
    struct wrong w = right();
    struct buffer b;
    size_t i;
    int error;

    buffer_init(&b, EVENT_SIZE_MAX);
    pack_array(&b, count);
    for (i = 0; i < count; i++)
        raw_put(&b, keys[i], dots, dots_count);
    error = decode_wrong(&w, buffer_slice(&b));
    buffer_release(&b);
    return error;
}

static void test_refused_bodies(void **state)
{
    static char long_key[KEY_SIZE_MAX + 2];
    const char *const distinct[] = {"b", "a", "c"};
    const char *const twice[] = {"b", "a", "b"};
    const char *const empty[] = {""};
    const char *const broken[] = {"\xff"};
    const char *long_one[] = {long_key};
    struct dot dots[2] = {support_dot(1, 1), support_dot(1, 2)};

    (void)state;
    memset(long_key, 'k', KEY_SIZE_MAX + 1);
    assert_int_equal(decode_puts(3, distinct, dots, 2), 0);
    assert_int_equal(decode_puts(0, NULL, NULL, 0), CM_ERR_MALFORMED);
    assert_int_equal(decode_puts(3, twice, NULL, 0), CM_ERR_MALFORMED);
    assert_int_equal(decode_puts(1, empty, NULL, 0), CM_ERR_MALFORMED);
    assert_int_equal(decode_puts(1, broken, NULL, 0), CM_ERR_MALFORMED);
    assert_int_equal(decode_puts(1, long_one, NULL, 0), CM_ERR_TOO_LARGE);
    long_key[KEY_SIZE_MAX] = '\0';
    assert_int_equal(decode_puts(1, long_one, NULL, 0), 0);
    dots[1] = dots[0];
    assert_int_equal(decode_puts(1, distinct, dots, 2), CM_ERR_NONCANONICAL);
    dots[0] = support_dot(2, 1);
    assert_int_equal(decode_puts(1, distinct, dots, 2), CM_ERR_NONCANONICAL);
    dots[0] = support_dot(5, 12); /* the event itself */
    assert_int_equal(decode_puts(1, distinct, dots, 1), CM_ERR_MALFORMED);
    dots[0] = support_dot(5, 11);
    assert_int_equal(decode_puts(1, distinct, dots, 1), 0);
}

static void test_unknown_operation(void **state)
{
    struct fixture f = fixture();
    struct buffer bytes = encoded(&f);
    struct slice header;
    struct slice ignored;
    struct buffer body;
    struct buffer later;
    struct event e;

    (void)state;
    split(buffer_slice(&bytes), &header, &ignored);
    buffer_init(&body, 1000);
    pack_array(&body, 2);
    pack_array(&body, 3);
    pack_uint(&body, 200);
    pack_string(&body, support_text("anything"));
    pack_array(&body, 1);
    pack_nil(&body);
    raw_put(&body, "k", NULL, 0);
    later = forged(header, buffer_slice(&body), &f.keys);
    assert_int_equal(event_decode(&e, buffer_slice(&later)), 0);
    assert_true(e.has_unknown_op);
    assert_int_equal(e.ops_count, 1);
    assert_int_equal(event_verify(&e, f.keys.public_key), 0);
    event_release(&e);
    buffer_release(&later);
    buffer_release(&body);
    buffer_release(&bytes);
}

/* Announced counts are refused before anything is allocated for them. */
static void test_counts_are_bounded_by_bytes(void **state)
{
    static const uint8_t ops[] = {0xcd, 0x10, 0x00};
    static const uint8_t dots[] = {0x91, 0x94, 0x02, 0xc4, 0x01, 'k', 0xc4,
                                   0x00, 0xdd, 0x00, 0x01, 0x00, 0x00};
    struct wrong w = right();
    uint8_t body[sizeof ops];

    (void)state;
    memcpy(body, ops, sizeof ops);
    body[0] = 0xdc; /* an array of 4,096 operations, and no byte of them */
    assert_int_equal(decode_wrong(&w, slice_of(body, sizeof body)),
                     CM_ERR_MALFORMED);
    body[2] = 1;
    assert_int_equal(decode_wrong(&w, slice_of(body, sizeof body)),
                     CM_ERR_TOO_LARGE);
    assert_int_equal(decode_wrong(&w, slice_of(dots, sizeof dots)),
                     CM_ERR_MALFORMED);
}

static void test_no_memory(void **state)
{
    struct fixture f = fixture();
    struct buffer bytes = encoded(&f);
    struct buffer body;
    struct buffer out;
    struct event_draft d = draft_of(&f, &body);
    struct event e;
    struct hash hash;
    uint64_t n;
    int error = CM_ERR_NOMEM;

    (void)state;
    for (n = 1; error != 0; n++) {
        cm_alloc_fail_after(n);
        error = event_decode(&e, buffer_slice(&bytes));
        assert_true(error == 0 || error == CM_ERR_NOMEM);
        assert_true(n < 100);
    }
    cm_alloc_fail_after(0);
    assert_true(n > 4); /* deps, operations, dots, order */
    event_release(&e);
    error = CM_ERR_NOMEM;
    for (n = 1; error != 0; n++) {
        buffer_init(&out, EVENT_SIZE_MAX);
        cm_alloc_fail_after(n);
        error = event_encode(&out, &d, f.keys.secret_key, &hash);
        assert_true(error == out.error);
        assert_true(error == 0 || error == CM_ERR_NOMEM);
        buffer_release(&out);
    }
    cm_alloc_fail_after(0);
    buffer_release(&body);
    buffer_release(&bytes);
}

static void test_largest(void **state)
{
    static uint8_t value[VALUE_SIZE_MAX];
    struct fixture f = fixture();
    struct buffer bytes;
    struct buffer body;
    struct buffer out;
    struct event_draft d;
    struct event e;
    struct hash hash;

    (void)state;
    f.ops_count = 1;
    f.ops[0].value = slice_of(value, sizeof value);
    bytes = encoded(&f);
    assert_int_equal(event_decode(&e, buffer_slice(&bytes)), 0);
    event_release(&e);
    buffer_release(&bytes);
    /* Two such values are an operation too many for one event. */
    f.ops_count = 2;
    f.ops[1] = f.ops[0];
    f.ops[1].key = support_text("z");
    f.ops[1].value.size = 100000;
    d = draft_of(&f, &body);
    assert_int_equal(body.error, CM_ERR_TOO_LARGE);
    buffer_release(&body);
    f.ops[1].value.size = EVENT_SIZE_MAX - VALUE_SIZE_MAX - 100;
    d = draft_of(&f, &body);
    assert_int_equal(body.error, 0);
    buffer_init(&out, 2 * EVENT_SIZE_MAX);
    assert_int_equal(event_encode(&out, &d, f.keys.secret_key, &hash),
                     CM_ERR_TOO_LARGE);
    buffer_release(&out);
    buffer_release(&body);
}

static void test_op_check_messages(void **state)
{
    static char text[2 * KEY_SIZE_MAX];
    static uint8_t big[VALUE_SIZE_MAX + 1];
    struct cm_detail detail;
    struct op op = support_put("k", "v");

    (void)state;
    memset(text, 'x', sizeof text);
    assert_int_equal(op_check_key(slice_of(text, 481), &detail),
                     CM_ERR_TOO_LARGE);
    assert_string_equal(detail.text,
                        "key has 481 bytes, the limit is 480; shorten it");
    assert_int_equal(op_check_key(slice_of(text, 480), NULL), 0);
    assert_int_equal(op_check_key(slice_of("a\0b", 3), NULL), CM_ERR_INVALID);
    assert_int_equal(
        op_check_element(slice_of(text, 400), slice_of(text, 81), &detail),
        CM_ERR_TOO_LARGE);
    assert_non_null(strstr(detail.text, "the limit of both together is 480"));
    assert_int_equal(
        op_check_element(slice_of(text, 400), slice_of(text, 80), NULL), 0);
    op.value = slice_of(big, sizeof big);
    assert_int_equal(op_check(&op, &detail), CM_ERR_TOO_LARGE);
    assert_non_null(strstr(detail.text, "value has 1000001 bytes"));
    op = support_put("k", "v");
    op.element = support_text("e");
    assert_int_equal(op_check(&op, NULL), CM_ERR_INVALID);
    op = support_op(OP_DEL, "k", NULL);
    op.flags = 1;
    assert_int_equal(op_check(&op, NULL), CM_ERR_INVALID);
    op = support_op(OP_SET_ADD, "k", "");
    assert_int_equal(op_check(&op, NULL), CM_ERR_INVALID);
    op = support_op(OP_ROSTER_ADD, "short", NULL);
    assert_int_equal(op_check(&op, NULL), CM_ERR_INVALID);
    op = support_put("k", "v");
    op.author = slice_of(text, AUTHOR_SIZE_MAX + 1);
    assert_int_equal(op_check(&op, NULL), CM_ERR_TOO_LARGE);
    op.kind = (enum op_kind)99;
    assert_int_equal(op_check(&op, NULL), CM_ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_wrong_key),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_forged_bodies),
        cmocka_unit_test(test_forged_headers),
        cmocka_unit_test(test_refused_headers),
        cmocka_unit_test(test_refused_bodies),
        cmocka_unit_test(test_unknown_operation),
        cmocka_unit_test(test_counts_are_bounded_by_bytes),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_largest),
        cmocka_unit_test(test_op_check_messages),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
