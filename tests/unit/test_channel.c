/* Goal: a channel is established only between the right two, and yields only
 * what the other side sent. Method: two machines joined by memory, cut into
 * every slicing, every byte flipped in turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "crdt/base/alloc.h"
#include "gossip/channel.h"
#include "tests/unit/support_net.h"

struct pair {
    struct mesh_keys mesh;
    struct identity a;
    struct identity b;
    struct channel_config i; /* initiator: a */
    struct channel_config r; /* responder: b */
};

static void config_fill(struct channel_config *c, const struct mesh_keys *mesh,
                        const struct identity *id, uint8_t seed)
{
    *c = (struct channel_config){0};
    channel_authority_hash(c->authority_hash, mesh->authority_public);
    memcpy(c->authority_public_key, mesh->authority_public, 32);
    c->certificate = identity_certificate(id);
    memcpy(c->sign_secret_key, id->sign_secret, 64);
    memcpy(c->sign_public_key, id->sign_public, 32);
    memcpy(c->box_public_key, id->box_public, 32);
    c->ephemeral_seed[0] = seed;
    c->wall_ms = 1000;
}

static void pair_init(struct pair *p)
{
    mesh_keys_make(&p->mesh, 1);
    identity_make(&p->a, &p->mesh, 1);
    identity_make(&p->b, &p->mesh, 2);
    config_fill(&p->i, &p->mesh, &p->a, 1);
    config_fill(&p->r, &p->mesh, &p->b, 2);
    p->i.initiator = true;
}

static struct channel *channel_of(const struct channel_config *c)
{
    struct channel *ret = NULL;

    assert_int_equal(channel_create(&ret, c), 0);
    return ret;
}

/* Moves what waits at one side to the other, slice bytes at a time. */
static void carry(struct channel *from, struct channel *to, size_t slice)
{
    for (;;) {
        struct slice out = channel_output(from);
        size_t size = out.size < slice ? out.size : slice;

        if (size == 0)
            return;
        (void)channel_recv(to, slice_of(out.data, size));
        channel_output_consume(from, size);
    }
}

static void shake(struct channel *i, struct channel *r, size_t slice)
{
    carry(i, r, slice);
    carry(r, i, slice);
    carry(i, r, slice);
}

static void happy_in_any_slicing(void **state)
{
    static uint8_t big[CHANNEL_FRAME_MAX];
    struct pair p;
    size_t slice;

    (void)state;
    pair_init(&p);
    for (slice = 1; slice < 600; slice = slice * 2 + 1) {
        struct channel *i = channel_of(&p.i);
        struct channel *r = channel_of(&p.r);
        struct slice frame;
        unsigned k;

        assert_int_equal(channel_send(i, slice_of("x", 1)), CM_ERR_NOT_READY);
        shake(i, r, slice);
        assert_int_equal(channel_state(i), CHANNEL_ESTABLISHED);
        assert_int_equal(channel_state(r), CHANNEL_ESTABLISHED);
        assert_true(channel_peer(i)->certified);
        assert_memory_equal(channel_peer(i)->sign_key, p.b.sign_public, 32);
        assert_memory_equal(channel_peer(r)->box_key, p.a.box_public, 32);
        assert_string_equal(channel_peer(r)->decoded.name, "n01");
        assert_true(slice_equal(channel_peer(r)->certificate,
                                identity_certificate(&p.a)));
        assert_false(channel_next_frame(r, &frame));
        for (k = 0; k < 20; k++)
            assert_int_equal(
                channel_send(k % 2 ? i : r, slice_of("hello world", k / 2)), 0);
        carry(i, r, slice);
        carry(r, i, slice);
        for (k = 0; k < 20; k++) {
            assert_true(channel_next_frame(k % 2 ? r : i, &frame));
            assert_true(slice_equal(frame, slice_of("hello world", k / 2)));
        }
        assert_false(channel_next_frame(r, &frame));
        memset(big, (int)slice, sizeof big);
        assert_int_equal(channel_send(r, slice_of(big, sizeof big)), 0);
        carry(r, i, slice < 60 ? 1u << 16 : slice * 1000);
        assert_true(channel_next_frame(i, &frame));
        assert_true(slice_equal(frame, slice_of(big, sizeof big)));
        channel_free(i);
        channel_free(r);
    }
}

/* One byte of the n-th transfer is altered; nothing is ever believed. */
static void flip_in(const struct pair *p, unsigned message, size_t at,
                    size_t *ret_size)
{
    struct channel *i = channel_of(&p->i);
    struct channel *r = channel_of(&p->r);
    struct channel *from = message % 2 == 1 ? r : i;
    struct channel *to = message % 2 == 1 ? i : r;
    uint8_t bytes[4096];
    struct slice out;
    struct slice frame;

    if (message >= 1)
        carry(i, r, SIZE_MAX);
    if (message >= 2)
        carry(r, i, SIZE_MAX);
    if (message >= 3) {
        carry(i, r, SIZE_MAX);
        assert_int_equal(channel_send(from, slice_of("frame", 5)), 0);
    }
    out = channel_output(from);
    *ret_size = out.size;
    assert_in_range(out.size, 1, sizeof bytes);
    if (at < out.size) {
        memcpy(bytes, out.data, out.size);
        bytes[at] ^= (uint8_t)(1u << (at % 8));
        (void)channel_recv(to, slice_of(bytes, out.size));
        channel_output_consume(from, out.size);
        carry(to, from, SIZE_MAX);
        carry(from, to, SIZE_MAX);
        /* A longer length just waits for more; everything else has failed. */
        assert_false(channel_next_frame(to, &frame));
        if (message < 3)
            assert_int_not_equal(channel_state(to), CHANNEL_ESTABLISHED);
        if (message < 2)
            assert_true(channel_state(i) != CHANNEL_ESTABLISHED ||
                        channel_state(r) != CHANNEL_ESTABLISHED);
        if (channel_state(to) == CHANNEL_FAILED) {
            assert_true(channel_error(to) < 0);
            assert_int_equal(channel_recv(to, slice_of("x", 1)),
                             channel_error(to));
            assert_int_equal(channel_send(to, slice_of("x", 1)),
                             channel_error(to));
        }
    }
    channel_free(i);
    channel_free(r);
}

static void every_flipped_byte_is_noticed(void **state)
{
    struct pair p;
    unsigned message;

    (void)state;
    pair_init(&p);
    for (message = 1; message <= 4; message++) {
        size_t size = 1;
        size_t at;

        for (at = 0; at < size; at++)
            flip_in(&p, message, at, &size);
    }
}

/* Message 1 is in clear: a flip in it shows at the initiator at the latest. */
static void a_flipped_hello_is_noticed(void **state)
{
    struct pair p;
    size_t at;

    (void)state;
    pair_init(&p);
    for (at = 0; at < 37; at++) {
        struct channel *i = channel_of(&p.i);
        struct channel *r = channel_of(&p.r);
        uint8_t hello[37];

        assert_int_equal(channel_output(i).size, sizeof hello);
        memcpy(hello, channel_output(i).data, sizeof hello);
        hello[at] ^= (uint8_t)(1u << (at % 7));
        channel_output_consume(i, sizeof hello);
        (void)channel_recv(r, slice_of(hello, sizeof hello));
        carry(r, i, SIZE_MAX);
        carry(i, r, SIZE_MAX);
        assert_int_not_equal(channel_state(i), CHANNEL_ESTABLISHED);
        assert_int_not_equal(channel_state(r), CHANNEL_ESTABLISHED);
        channel_free(i);
        channel_free(r);
    }
}

static void truncation_only_waits(void **state)
{
    struct pair p;
    struct channel *i;
    struct channel *r;
    struct slice out;
    struct slice frame;
    size_t cut;

    (void)state;
    pair_init(&p);
    i = channel_of(&p.i);
    r = channel_of(&p.r);
    shake(i, r, SIZE_MAX);
    assert_int_equal(channel_send(i, slice_of("whole", 5)), 0);
    out = channel_output(i);
    for (cut = 0; cut < out.size; cut++) {
        assert_false(channel_next_frame(r, &frame));
        assert_int_equal(channel_recv(r, slice_of(out.data + cut, 1)), 0);
    }
    assert_true(channel_next_frame(r, &frame));
    assert_true(slice_equal(frame, slice_of("whole", 5)));
    channel_free(i);
    channel_free(r);
}

static void another_authority_is_refused(void **state)
{
    struct pair p;
    struct mesh_keys other;
    struct identity foreign;
    struct channel_config c;
    struct channel *i;
    struct channel *r;

    (void)state;
    pair_init(&p);
    mesh_keys_make(&other, 2);
    identity_make(&foreign, &other, 3);
    /* The responder is of another mesh. */
    config_fill(&c, &other, &foreign, 3);
    i = channel_of(&p.i);
    r = channel_of(&c);
    shake(i, r, SIZE_MAX);
    assert_int_equal(channel_error(i), CM_ERR_WRONG_MESH);
    channel_free(i);
    channel_free(r);
    /* The initiator claims this mesh with a certificate of another one. */
    config_fill(&c, &p.mesh, &foreign, 3);
    c.initiator = true;
    i = channel_of(&c);
    r = channel_of(&p.r);
    shake(i, r, SIZE_MAX);
    assert_int_equal(channel_state(r), CHANNEL_FAILED);
    assert_true(channel_error(r) < 0);
    channel_free(i);
    channel_free(r);
    /* Somebody else's certificate without its key. */
    c = p.i;
    memcpy(c.sign_secret_key, foreign.sign_secret, 64);
    memcpy(c.sign_public_key, foreign.sign_public, 32);
    i = channel_of(&c);
    r = channel_of(&p.r);
    shake(i, r, SIZE_MAX);
    assert_int_equal(channel_error(r), CM_ERR_SIGNATURE);
    channel_free(i);
    channel_free(r);
    /* Out of date. */
    c = p.r;
    c.wall_ms = UINT64_C(5000000000000);
    i = channel_of(&p.i);
    r = channel_of(&c);
    shake(i, r, SIZE_MAX);
    assert_int_equal(channel_error(r), CM_ERR_EXPIRED);
    channel_free(i);
    channel_free(r);
}

static void joiners_only_where_they_are_accepted(void **state)
{
    struct pair p;
    struct channel_config joiner;
    struct channel_config accepting;
    struct channel *i;
    struct channel *r;

    (void)state;
    pair_init(&p);
    joiner = p.i;
    joiner.certificate = (struct slice){0};
    memset(joiner.authority_public_key, 0, 32); /* only its hash is known */
    i = channel_of(&joiner);
    r = channel_of(&p.r);
    shake(i, r, SIZE_MAX);
    assert_int_equal(channel_error(r), CM_ERR_AUTHORITY);
    channel_free(i);
    channel_free(r);
    accepting = p.r;
    accepting.accept_joiners = true;
    i = channel_of(&joiner);
    r = channel_of(&accepting);
    shake(i, r, 1);
    assert_int_equal(channel_state(r), CHANNEL_ESTABLISHED);
    assert_false(channel_peer(r)->certified);
    assert_memory_equal(channel_peer(r)->sign_key, p.a.sign_public, 32);
    assert_memory_equal(channel_peer(r)->box_key, p.a.box_public, 32);
    assert_memory_equal(channel_peer(i)->authority_public_key,
                        p.mesh.authority_public, 32);
    channel_free(i);
    channel_free(r);
    /* A responder must be certified, always. */
    accepting.certificate = (struct slice){0};
    assert_int_equal(channel_create(&r, &accepting), CM_ERR_INVALID);
    /* A joiner with the wrong hash does not go on. */
    joiner.authority_hash[0] ^= 1;
    accepting = p.r;
    accepting.accept_joiners = true;
    i = channel_of(&joiner);
    r = channel_of(&accepting);
    shake(i, r, SIZE_MAX);
    assert_int_equal(channel_error(i), CM_ERR_WRONG_MESH);
    channel_free(i);
    channel_free(r);
}

static void reflections_are_refused(void **state)
{
    struct pair p;
    struct channel_config self;
    struct channel *i;
    struct channel *r;
    struct slice frame;
    uint8_t bytes[256];
    size_t size;

    (void)state;
    pair_init(&p);
    /* The own hello comes back as an answer. */
    i = channel_of(&p.i);
    size = channel_output(i).size;
    memcpy(bytes, channel_output(i).data, size);
    memset(bytes + size, 0, sizeof bytes - size);
    (void)channel_recv(i, slice_of(bytes, sizeof bytes));
    assert_int_equal(channel_state(i), CHANNEL_FAILED);
    channel_free(i);
    /* The own ephemeral key comes back. */
    i = channel_of(&p.i);
    memcpy(bytes, channel_output(i).data + 5, 32);
    put_be32(bytes + 32, 100);
    (void)channel_recv(i, slice_of(bytes, 32 + 4 + 100));
    assert_int_equal(channel_error(i), CM_ERR_MALFORMED);
    channel_free(i);
    /* One's own responder, reached by a detour. */
    config_fill(&self, &p.mesh, &p.a, 9);
    i = channel_of(&p.i);
    r = channel_of(&self);
    shake(i, r, SIZE_MAX);
    assert_int_equal(channel_error(i), CM_ERR_AUTHORITY);
    channel_free(i);
    channel_free(r);
    /* A frame is sent back to its sender; a frame is repeated. */
    i = channel_of(&p.i);
    r = channel_of(&p.r);
    shake(i, r, SIZE_MAX);
    assert_int_equal(channel_send(i, slice_of("once", 4)), 0);
    size = channel_output(i).size;
    memcpy(bytes, channel_output(i).data, size);
    assert_int_equal(channel_recv(i, slice_of(bytes, size)), CM_ERR_SIGNATURE);
    assert_int_equal(channel_recv(r, slice_of(bytes, size)), 0);
    assert_true(channel_next_frame(r, &frame));
    assert_int_equal(channel_recv(r, slice_of(bytes, size)), CM_ERR_SIGNATURE);
    channel_free(i);
    channel_free(r);
}

static void a_recorded_session_cannot_be_played_again(void **state)
{
    struct pair p;
    struct channel_config fresh;
    struct channel *i;
    struct channel *r;
    uint8_t hello[37];
    uint8_t identity[2048];
    size_t size;

    (void)state;
    pair_init(&p);
    i = channel_of(&p.i);
    r = channel_of(&p.r);
    memcpy(hello, channel_output(i).data, sizeof hello);
    carry(i, r, SIZE_MAX);
    carry(r, i, SIZE_MAX);
    size = channel_output(i).size;
    assert_in_range(size, 1, sizeof identity);
    memcpy(identity, channel_output(i).data, size);
    channel_free(i);
    channel_free(r);
    fresh = p.r;
    fresh.ephemeral_seed[7] = 1;
    r = channel_of(&fresh);
    assert_int_equal(channel_recv(r, slice_of(hello, sizeof hello)), 0);
    assert_int_equal(channel_recv(r, slice_of(identity, size)),
                     CM_ERR_SIGNATURE);
    channel_free(r);
}

static void garbage_fails_at_once(void **state)
{
    struct pair p;
    struct channel *r;
    uint8_t bytes[64] = {0};

    (void)state;
    pair_init(&p);
    r = channel_of(&p.r);
    assert_int_equal(channel_recv(r, slice_of("GET / HTTP/1.1\r\n", 16)),
                     CM_ERR_MALFORMED);
    channel_free(r);
    r = channel_of(&p.r);
    assert_int_equal(channel_recv(r, slice_of("CMCH\2", 5)),
                     CM_ERR_FORMAT_VERSION);
    channel_free(r);
    /* A hello whose ephemeral key is of low order. */
    memcpy(bytes, "CMCH\1", 5);
    r = channel_of(&p.r);
    assert_int_equal(channel_recv(r, slice_of(bytes, 37)), CM_ERR_MALFORMED);
    channel_free(r);
}

static void bounds_hold(void **state)
{
    static uint8_t big[CHANNEL_FRAME_MAX + 1];
    struct pair p;
    struct channel *i;
    struct channel *r;
    struct slice frame;
    uint8_t length[4];
    unsigned sent = 0;
    unsigned got = 0;

    (void)state;
    pair_init(&p);
    i = channel_of(&p.i);
    r = channel_of(&p.r);
    /* An oversize handshake message is refused by its length. */
    put_be32(length, CHANNEL_HANDSHAKE_MAX + 1);
    carry(i, r, SIZE_MAX);
    assert_int_equal(channel_recv(r, slice_of(length, 4)), CM_ERR_TOO_LARGE);
    channel_free(i);
    channel_free(r);
    i = channel_of(&p.i);
    r = channel_of(&p.r);
    shake(i, r, SIZE_MAX);
    assert_int_equal(channel_send(i, slice_of(big, sizeof big)),
                     CM_ERR_TOO_LARGE);
    while (channel_send(i, slice_of(big, CHANNEL_FRAME_MAX)) == 0)
        sent++;
    assert_int_equal(sent, 3);
    assert_int_equal(channel_send(i, slice_of(big, CHANNEL_FRAME_MAX)),
                     CM_ERR_BUSY);
    assert_in_range(channel_output(i).size, 1, CHANNEL_OUTPUT_MAX);
    assert_int_equal(channel_state(i), CHANNEL_ESTABLISHED);
    /* All of it may arrive before anybody takes a frame out. */
    carry(i, r, SIZE_MAX);
    while (channel_next_frame(r, &frame))
        got++;
    assert_int_equal(got, 3);
    assert_int_equal(channel_send(i, slice_of(big, CHANNEL_FRAME_MAX)), 0);
    put_be32(length, CHANNEL_FRAME_MAX + 17);
    assert_int_equal(channel_recv(r, slice_of(length, 4)), CM_ERR_TOO_LARGE);
    channel_free(i);
    channel_free(r);
    channel_free(NULL);
}

static void output_can_be_taken_in_pieces_while_sending(void **state)
{
    static uint8_t bytes[40000];
    struct pair p;
    struct channel *i;
    struct channel *r;
    struct slice frame;
    unsigned sent = 0;
    unsigned got = 0;
    unsigned k;

    (void)state;
    pair_init(&p);
    i = channel_of(&p.i);
    r = channel_of(&p.r);
    shake(i, r, SIZE_MAX);
    for (k = 0; k < 2000; k++) {
        struct slice out;

        memset(bytes, (int)(sent & 0xff), sizeof bytes);
        if (channel_send(i, slice_of(bytes, 20000 + k * 10)) == 0)
            sent++;
        out = channel_output(i);
        out.size = out.size < 33333 ? out.size : 33333;
        assert_int_equal(channel_recv(r, out), 0);
        channel_output_consume(i, out.size);
        while (channel_next_frame(r, &frame)) {
            assert_int_equal(frame.data[frame.size - 1], got & 0xff);
            got++;
        }
    }
    carry(i, r, 5000);
    while (channel_next_frame(r, &frame))
        got++;
    assert_int_equal(got, sent);
    channel_free(i);
    channel_free(r);
}

static void short_memory_fails_cleanly(void **state)
{
    struct pair p;
    uint64_t n;

    (void)state;
    pair_init(&p);
    for (n = 1; n < 40; n++) {
        struct channel *i = NULL;
        struct channel *r = NULL;

        cm_alloc_fail_after(n);
        if (channel_create(&i, &p.i) == 0 && channel_create(&r, &p.r) == 0) {
            shake(i, r, SIZE_MAX);
            if (channel_state(i) == CHANNEL_ESTABLISHED &&
                channel_send(i, slice_of("x", 1)) == 0)
                carry(i, r, SIZE_MAX);
        }
        cm_alloc_fail_after(0);
        channel_free(i);
        channel_free(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(happy_in_any_slicing),
        cmocka_unit_test(every_flipped_byte_is_noticed),
        cmocka_unit_test(a_flipped_hello_is_noticed),
        cmocka_unit_test(truncation_only_waits),
        cmocka_unit_test(another_authority_is_refused),
        cmocka_unit_test(joiners_only_where_they_are_accepted),
        cmocka_unit_test(reflections_are_refused),
        cmocka_unit_test(a_recorded_session_cannot_be_played_again),
        cmocka_unit_test(garbage_fails_at_once),
        cmocka_unit_test(bounds_hold),
        cmocka_unit_test(output_can_be_taken_in_pieces_while_sending),
        cmocka_unit_test(short_memory_fails_cleanly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
