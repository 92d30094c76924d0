/* Goal: the datagram codec is exact, strict and authentic. Method: every
 * message type round-trips; every truncation, flip and non-canonical form is
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/support_net.h"

#include "gossip/packet.h"
#include "gossip/probe.h"
#include "gossip/spread.h"

static struct message sample(unsigned type)
{
    static const uint8_t event[] = "event bytes";
    struct message m = {.type = (enum message_type)type};

    switch (m.type) {
    case MESSAGE_PING:
        m.state = MEMBER_SUSPECT;
        m.counter = 7;
        /* fall through */
    case MESSAGE_ACK:
        m.seq = UINT64_MAX;
        memset(m.digest.bytes, 0xd1, sizeof m.digest.bytes);
        m.members = 1234567890123;
        break;
    case MESSAGE_PING_REQ:
    case MESSAGE_INDIRECT_ACK:
        m.seq = 300;
        memset(m.subject.bytes, 0x5b, KEY_ID_SIZE);
        break;
    case MESSAGE_ALIVE:
        m.address =
            (struct address){.family = 6, .ip = {0xfe, 0x80}, .port = 7};
        /* fall through */
    case MESSAGE_LEAVE:
        memset(m.subject.bytes, 0x5c, KEY_ID_SIZE);
        m.counter = PACKET_COUNTER_MAX;
        memset(m.signature, 0x51, sizeof m.signature);
        break;
    case MESSAGE_SUSPECT:
    case MESSAGE_DEAD:
        memset(m.subject.bytes, 0x5d, KEY_ID_SIZE);
        m.counter = 1;
        memset(m.from.bytes, 0xf0, KEY_ID_SIZE);
        break;
    case MESSAGE_EVENT:
        m.bytes = slice_of(event, sizeof event);
        break;
    case MESSAGE_STATE_REQ:
        break;
    }
    return m;
}

/* Plain bytes of a packet of these messages: head, then the builder's body. */
static size_t plain_of(uint8_t *ret, const struct packet_builder *b)
{
    ret[0] = (uint8_t)(0x90 | b->count);
    if (b->body.size > 0)
        memcpy(ret + 1, b->body.data, b->body.size);
    return b->body.size + 1;
}

static void check_equal(const struct message *a, const struct message *b)
{
    assert_int_equal(a->type, b->type);
    assert_true(a->seq == b->seq && a->members == b->members);
    assert_true(a->counter == b->counter && a->state == b->state);
    assert_memory_equal(a->digest.bytes, b->digest.bytes, 32);
    assert_true(key_id_equal(&a->subject, &b->subject));
    assert_true(key_id_equal(&a->from, &b->from));
    assert_true(address_equal(&a->address, &b->address));
    assert_memory_equal(a->signature, b->signature, 64);
    assert_true(slice_equal(a->bytes, b->bytes));
}

static void every_message_round_trips(void **state)
{
    unsigned type;

    (void)state;
    for (type = MESSAGE_PING; type <= MESSAGE_STATE_REQ; type++) {
        struct message m = sample(type);
        uint8_t plain[PACKET_PLAIN_MAX];
        struct packet_builder b;
        struct packet p;
        size_t size;
        size_t cut;

        packet_builder_init(&b);
        assert_true(packet_builder_add(&b, &m));
        size = plain_of(plain, &b);
        assert_int_equal(packet_decode(&p, slice_of(plain, size)), 0);
        assert_int_equal(p.count, 1);
        check_equal(&m, &p.messages[0]);
        for (cut = 0; cut < size; cut++)
            assert_true(packet_decode(&p, slice_of(plain, cut)) < 0);
        plain[size] = 0xc0; /* one value more than announced */
        assert_true(packet_decode(&p, slice_of(plain, size + 1)) < 0);
        packet_builder_release(&b);
    }
}

/* Whatever the decoder takes, the encoder writes back to the same bytes. */
static void what_is_accepted_is_canonical(void **state)
{
    unsigned type;

    (void)state;
    for (type = MESSAGE_PING; type <= MESSAGE_STATE_REQ; type++) {
        struct message m = sample(type);
        uint8_t plain[PACKET_PLAIN_MAX];
        uint8_t again[PACKET_PLAIN_MAX];
        struct packet_builder b;
        struct packet p;
        size_t size;
        size_t i;
        unsigned value;

        packet_builder_init(&b);
        assert_true(packet_builder_add(&b, &m));
        size = plain_of(plain, &b);
        for (i = 0; i < size; i++) {
            uint8_t kept = plain[i];

            for (value = 0; value < 256; value++) {
                plain[i] = (uint8_t)value;
                if (packet_decode(&p, slice_of(plain, size)) != 0)
                    continue;
                packet_builder_clear(&b);
                if (p.count > 0)
                    assert_true(packet_builder_add(&b, &p.messages[0]));
                assert_int_equal(plain_of(again, &b), size);
                assert_memory_equal(again, plain, size);
            }
            plain[i] = kept;
        }
        packet_builder_release(&b);
    }
}

static void builders_know_their_bounds(void **state)
{
    struct packet_builder b;
    struct message m = sample(MESSAGE_ALIVE);
    uint8_t event[GOSSIP_PUSH_DATAGRAM_MAX + 64] = {0};
    uint8_t plain[PACKET_PLAIN_MAX];
    struct packet p;
    size_t count = 0;

    (void)state;
    packet_builder_init(&b);
    while (packet_builder_add(&b, &m))
        count++;
    assert_in_range(count, 8, PACKET_MESSAGES_MAX);
    assert_int_equal(b.count, count);
    assert_int_equal(packet_decode(&p, slice_of(plain, plain_of(plain, &b))),
                     0);
    assert_int_equal(p.count, count);
    packet_builder_clear(&b);
    m = sample(MESSAGE_STATE_REQ);
    for (count = 0; packet_builder_add(&b, &m); count++)
        ;
    assert_int_equal(count, PACKET_MESSAGES_MAX);
    packet_builder_clear(&b);
    m = sample(MESSAGE_EVENT);
    m.bytes = slice_of(event, GOSSIP_PUSH_DATAGRAM_MAX);
    assert_true(packet_builder_add(&b, &m));
    assert_int_equal(packet_decode(&p, slice_of(plain, plain_of(plain, &b))),
                     0);
    packet_builder_clear(&b);
    m.bytes = slice_of(event, sizeof event);
    assert_true(packet_builder_add(&b, &m)); /* fits, but is refused */
    assert_int_equal(packet_decode(&p, slice_of(plain, plain_of(plain, &b))),
                     CM_ERR_TOO_LARGE);
    packet_builder_release(&b);
}

static void bounds_of_fields_hold(void **state)
{
    struct packet p;
    struct message m = sample(MESSAGE_SUSPECT);
    struct packet_builder b;
    uint8_t plain[PACKET_PLAIN_MAX];

    (void)state;
    packet_builder_init(&b);
    m.counter = 0; /* nobody ever had it */
    assert_true(packet_builder_add(&b, &m));
    assert_true(packet_decode(&p, slice_of(plain, plain_of(plain, &b))) < 0);
    packet_builder_clear(&b);
    m.counter = PACKET_COUNTER_MAX + 1;
    assert_true(packet_builder_add(&b, &m));
    assert_true(packet_decode(&p, slice_of(plain, plain_of(plain, &b))) < 0);
    packet_builder_clear(&b);
    m = sample(MESSAGE_PING);
    m.state = MEMBER_LEFT + 1;
    assert_true(packet_builder_add(&b, &m));
    assert_true(packet_decode(&p, slice_of(plain, plain_of(plain, &b))) < 0);
    packet_builder_clear(&b);
    m = sample(MESSAGE_ALIVE);
    m.address.family = 0;
    assert_true(packet_builder_add(&b, &m));
    assert_true(packet_decode(&p, slice_of(plain, plain_of(plain, &b))) < 0);
    packet_builder_release(&b);
}

static void sealed_packets_are_authentic(void **state)
{
    struct mesh_keys mesh;
    struct identity a;
    struct identity b;
    uint8_t ab[32];
    uint8_t ba[32];
    uint8_t nonce[PACKET_NONCE_SIZE] = {1, 2, 3};
    uint8_t plain[PACKET_PLAIN_MAX];
    struct packet_builder builder;
    struct message m = sample(MESSAGE_PING);
    struct key_id sender;
    struct buffer out;
    size_t size;
    size_t i;

    (void)state;
    mesh_keys_make(&mesh, 1);
    identity_make(&a, &mesh, 1);
    identity_make(&b, &mesh, 2);
    assert_int_equal(
        packet_key(ab, a.box_secret, b.box_public, &a.key_id, &b.key_id), 0);
    assert_int_equal(
        packet_key(ba, b.box_secret, a.box_public, &b.key_id, &a.key_id), 0);
    assert_memory_equal(ab, ba, 32);
    packet_builder_init(&builder);
    assert_true(packet_builder_add(&builder, &m));
    buffer_init(&out, GOSSIP_PACKET_MAX);
    packet_seal(&out, ab, &a.key_id, nonce, &builder);
    assert_int_equal(packet_sender(&sender, buffer_slice(&out)), 0);
    assert_true(key_id_equal(&sender, &a.key_id));
    assert_int_equal(packet_open(plain, &size, ba, buffer_slice(&out)), 0);
    for (i = 0; i < out.size * 8; i++) {
        out.data[i / 8] ^= (uint8_t)(1u << (i % 8));
        assert_int_equal(packet_open(plain, &size, ba, buffer_slice(&out)),
                         CM_ERR_SIGNATURE);
        out.data[i / 8] ^= (uint8_t)(1u << (i % 8));
    }
    out.data[0] = 2;
    assert_int_equal(packet_sender(&sender, buffer_slice(&out)),
                     CM_ERR_FORMAT_VERSION);
    assert_int_equal(packet_sender(&sender, slice_of(out.data, 20)),
                     CM_ERR_MALFORMED);
    /* A key of low order gives everybody the same secret: refused. */
    memset(b.box_public, 0, 32);
    assert_int_equal(
        packet_key(ab, a.box_secret, b.box_public, &a.key_id, &b.key_id),
        CM_ERR_AUTHORITY);
    buffer_release(&out);
    packet_builder_release(&builder);
}

static bool replay_at(struct replay_guard *g, uint8_t prefix, uint64_t counter)
{
    uint8_t nonce[PACKET_NONCE_SIZE] = {prefix};

    put_be64(nonce + PACKET_NONCE_PREFIX_SIZE, counter);
    return replay_accept(g, nonce);
}

static void replays_are_told_apart(void **state)
{
    struct replay_guard g = {0};

    (void)state;
    assert_true(replay_at(&g, 1, 10));
    assert_false(replay_at(&g, 1, 10));
    assert_true(replay_at(&g, 1, 12));
    assert_true(replay_at(&g, 1, 11)); /* overtaken */
    assert_false(replay_at(&g, 1, 11));
    assert_true(replay_at(&g, 1, 75));
    assert_false(replay_at(&g, 1, 12));
    assert_false(replay_at(&g, 1, 11)); /* too old to tell */
    assert_true(replay_at(&g, 1, 13));
    assert_true(replay_at(&g, 1, 10000));
    assert_false(replay_at(&g, 1, 10000 - 64));
    assert_true(replay_at(&g, 1, 10000 - 63));
    /* Another process of the peer has a window of its own. */
    assert_true(replay_at(&g, 2, 10));
    assert_false(replay_at(&g, 2, 10));
    assert_false(replay_at(&g, 1, 10000));
    assert_true(replay_at(&g, 2, UINT64_MAX));
    assert_false(replay_at(&g, 2, UINT64_MAX));
}

static void signatures_bind_every_field(void **state)
{
    struct mesh_keys mesh;
    struct mesh_keys other;
    struct identity id;
    struct message m = sample(MESSAGE_ALIVE);
    struct message n;

    (void)state;
    mesh_keys_make(&mesh, 1);
    mesh_keys_make(&other, 2);
    identity_make(&id, &mesh, 1);
    packet_alive_sign(m.signature, &mesh.mesh, &m, id.sign_secret);
    assert_true(packet_alive_verify(&mesh.mesh, &m, id.sign_public));
    assert_false(packet_alive_verify(&other.mesh, &m, id.sign_public));
    n = m;
    n.counter--;
    assert_false(packet_alive_verify(&mesh.mesh, &n, id.sign_public));
    n = m;
    n.address.port++;
    assert_false(packet_alive_verify(&mesh.mesh, &n, id.sign_public));
    n = m;
    n.subject.bytes[3] ^= 1;
    assert_false(packet_alive_verify(&mesh.mesh, &n, id.sign_public));
    /* An alive is no leave, whatever it says. */
    n = m;
    n.type = MESSAGE_LEAVE;
    assert_false(packet_leave_verify(&mesh.mesh, &n, id.sign_public));
}

static void tellings_grow_with_the_logarithm(void **state)
{
    (void)state;
    assert_int_equal(spread_tellings(1), 4);
    assert_int_equal(spread_tellings(9), 4);
    assert_int_equal(spread_tellings(10), 8);
    assert_int_equal(spread_tellings(99), 8);
    assert_int_equal(spread_tellings(100), 12);
    assert_int_equal(spread_tellings(10000), 20);
    assert_int_equal(probe_suspicion_ms(1000, 1), 4000);
    assert_int_equal(probe_suspicion_ms(1000, 10), 4000);
    assert_int_equal(probe_suspicion_ms(1000, 100), 8000);
    assert_int_equal(probe_suspicion_ms(1000, 10000), 16000);
}

static struct key_id id_of(unsigned n)
{
    struct key_id ret = {{(uint8_t)n, (uint8_t)(n >> 8)}};

    return ret;
}

static void news_is_told_so_often_and_no_more(void **state)
{
    static struct spread s;
    struct spread_entry *e;
    unsigned told = 0;
    unsigned i;

    (void)state;
    for (i = 0; i < 3 * SPREAD_MAX; i++) {
        struct key_id id = id_of(i);

        spread_add(&s, &id, 4);
        assert_in_range(s.count, 1, SPREAD_MAX);
    }
    while (s.count > 0) {
        spread_begin(&s);
        for (i = 0; i < 5 && (e = spread_next(&s)) != NULL; i++) {
            spread_told(&s, e);
            told++;
        }
    }
    assert_int_equal(told, 4 * SPREAD_MAX);
    /* Entered again: told anew, not twice in one packet. */
    spread_add(&s, &(struct key_id){{1}}, 2);
    spread_add(&s, &(struct key_id){{1}}, 2);
    assert_int_equal(s.count, 1);
    spread_begin(&s);
    e = spread_next(&s);
    assert_non_null(e);
    spread_told(&s, e);
    assert_null(spread_next(&s));
    spread_remove(&s, &(struct key_id){{1}});
    assert_int_equal(s.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_round_trips),
        cmocka_unit_test(what_is_accepted_is_canonical),
        cmocka_unit_test(builders_know_their_bounds),
        cmocka_unit_test(bounds_of_fields_hold),
        cmocka_unit_test(sealed_packets_are_authentic),
        cmocka_unit_test(replays_are_told_apart),
        cmocka_unit_test(signatures_bind_every_field),
        cmocka_unit_test(tellings_grow_with_the_logarithm),
        cmocka_unit_test(news_is_told_so_often_and_no_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
