/* Datagram frames and their messages; see packet.h for the format. */
#include "gossip/packet.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/check.h"

#define KEY_DOMAIN "confmesh datagram v1"
#define ALIVE_DOMAIN "confmesh alive v1"
#define LEAVE_DOMAIN "confmesh leave v1"

_Static_assert(PACKET_NONCE_SIZE ==
                   crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
               "nonce");
_Static_assert(PACKET_TAG_SIZE == crypto_aead_xchacha20poly1305_ietf_ABYTES,
               "tag");
_Static_assert(GOSSIP_PUSH_DATAGRAM_MAX + 16 <= PACKET_PLAIN_MAX,
               "the largest pushed event fits into one datagram");

void packet_builder_init(struct packet_builder *b)
{
    *b = (struct packet_builder){0};
    buffer_init(&b->body, PACKET_PLAIN_MAX - 1);
}

void packet_builder_release(struct packet_builder *b)
{
    buffer_release(&b->body);
    b->count = 0;
}

void packet_builder_clear(struct packet_builder *b)
{
    buffer_clear(&b->body);
    b->count = 0;
}

static void pack_subject(struct buffer *out, const struct key_id *id)
{
    pack_bytes(out, id->bytes, sizeof id->bytes);
}

static void pack_probe(struct buffer *out, const struct message *m)
{
    pack_array(out, m->type == MESSAGE_PING ? 6 : 5);
    pack_uint(out, m->type);
    pack_uint(out, m->seq);
    pack_bytes(out, m->digest.bytes, sizeof m->digest.bytes);
    pack_uint(out, m->members);
    if (m->type == MESSAGE_PING) {
        pack_uint(out, m->state);
        pack_uint(out, m->counter);
    } else {
        pack_uint(out, m->clock_ms);
    }
}

static void pack_relay(struct buffer *out, const struct message *m)
{
    pack_array(out, 3);
    pack_uint(out, m->type);
    pack_uint(out, m->seq);
    pack_subject(out, &m->subject);
}

static void pack_signed(struct buffer *out, const struct message *m)
{
    pack_array(out, m->type == MESSAGE_ALIVE ? 5 : 4);
    pack_uint(out, m->type);
    pack_subject(out, &m->subject);
    if (m->type == MESSAGE_ALIVE)
        address_pack(out, &m->address);
    pack_uint(out, m->counter);
    pack_bytes(out, m->signature, sizeof m->signature);
}

static void pack_opinion(struct buffer *out, const struct message *m)
{
    pack_array(out, 4);
    pack_uint(out, m->type);
    pack_subject(out, &m->subject);
    pack_uint(out, m->counter);
    pack_subject(out, &m->from);
}

static void pack_message(struct buffer *out, const struct message *m)
{
    switch (m->type) {
    case MESSAGE_PING:
    case MESSAGE_ACK:
        pack_probe(out, m);
        return;
    case MESSAGE_PING_REQ:
    case MESSAGE_INDIRECT_ACK:
        pack_relay(out, m);
        return;
    case MESSAGE_ALIVE:
    case MESSAGE_LEAVE:
        pack_signed(out, m);
        return;
    case MESSAGE_SUSPECT:
    case MESSAGE_DEAD:
        pack_opinion(out, m);
        return;
    case MESSAGE_EVENT:
        pack_array(out, 2);
        pack_uint(out, m->type);
        pack_bin(out, m->bytes);
        return;
    case MESSAGE_STATE_REQ:
        pack_array(out, 1);
        pack_uint(out, m->type);
        return;
    }
    CHECK(false);
}

bool packet_builder_add(struct packet_builder *b, const struct message *m)
{
    size_t size = b->body.size;

    CHECK(b->body.error == 0);
    CHECK(b->count <= PACKET_MESSAGES_MAX);
    if (b->count == PACKET_MESSAGES_MAX)
        return false;
    pack_message(&b->body, m);
    if (b->body.error != 0) {
        /* Take back what the encoder had written before it met the limit. */
        b->body.size = size;
        b->body.error = 0;
        return false;
    }
    b->count++;
    return true;
}

static uint64_t unpack_counter(struct unpacker *u)
{
    uint64_t ret = unpack_uint(u, PACKET_COUNTER_MAX);

    if (u->error == 0 && ret == 0)
        unpack_fail(u, CM_ERR_MALFORMED);
    return ret;
}

static void unpack_probe(struct unpacker *u, struct message *m)
{
    m->seq = unpack_uint(u, UINT64_MAX);
    unpack_bytes(u, m->digest.bytes, sizeof m->digest.bytes);
    m->members = unpack_uint(u, UINT64_MAX);
    if (m->type == MESSAGE_PING) {
        m->state = (unsigned)unpack_uint(u, MEMBER_LEFT);
        m->counter = unpack_uint(u, PACKET_COUNTER_MAX);
    } else {
        m->clock_ms = unpack_uint(u, PACKET_CLOCK_MS_MAX);
    }
}

static void unpack_signed(struct unpacker *u, struct message *m)
{
    unpack_bytes(u, m->subject.bytes, sizeof m->subject.bytes);
    if (m->type == MESSAGE_ALIVE)
        address_unpack(u, &m->address);
    m->counter = unpack_counter(u);
    unpack_bytes(u, m->signature, sizeof m->signature);
}

static void unpack_opinion(struct unpacker *u, struct message *m)
{
    unpack_bytes(u, m->subject.bytes, sizeof m->subject.bytes);
    m->counter = unpack_counter(u);
    unpack_bytes(u, m->from.bytes, sizeof m->from.bytes);
}

/* The elements after the type; returns how many there must be, type included.
 */
static size_t unpack_fields(struct unpacker *u, struct message *m)
{
    switch (m->type) {
    case MESSAGE_PING:
        unpack_probe(u, m);
        return 6;
    case MESSAGE_ACK:
        unpack_probe(u, m);
        return 5;
    case MESSAGE_PING_REQ:
    case MESSAGE_INDIRECT_ACK:
        m->seq = unpack_uint(u, UINT64_MAX);
        unpack_bytes(u, m->subject.bytes, sizeof m->subject.bytes);
        return 3;
    case MESSAGE_ALIVE:
        unpack_signed(u, m);
        return 5;
    case MESSAGE_LEAVE:
        unpack_signed(u, m);
        return 4;
    case MESSAGE_SUSPECT:
    case MESSAGE_DEAD:
        unpack_opinion(u, m);
        return 4;
    case MESSAGE_EVENT:
        m->bytes = unpack_bin(u, GOSSIP_PUSH_DATAGRAM_MAX);
        return 2;
    case MESSAGE_STATE_REQ:
        return 1;
    }
    unpack_fail(u, CM_ERR_MALFORMED);
    return 0;
}

static void unpack_message(struct unpacker *u, struct message *m)
{
    size_t count = unpack_array(u, 6);
    uint64_t type = unpack_uint(u, MESSAGE_STATE_REQ);
    size_t wanted;

    *m = (struct message){0};
    if (u->error == 0 && type == 0)
        unpack_fail(u, CM_ERR_MALFORMED);
    if (u->error != 0)
        return;
    m->type = (enum message_type)type;
    wanted = unpack_fields(u, m);
    if (u->error == 0 && count != wanted)
        unpack_fail(u, CM_ERR_MALFORMED);
    if (u->error == 0 && m->type == MESSAGE_ALIVE && m->address.family == 0)
        unpack_fail(u, CM_ERR_MALFORMED);
}

int packet_decode(struct packet *ret_packet, struct slice plain)
{
    struct unpacker u;
    size_t count;
    size_t i;

    unpack_init(&u, plain);
    count = unpack_array(&u, PACKET_MESSAGES_MAX);
    for (i = 0; i < count && u.error == 0; i++)
        unpack_message(&u, &ret_packet->messages[i]);
    ret_packet->count = u.error == 0 ? count : 0;
    return unpack_finish(&u);
}

int packet_key(uint8_t ret_key[32], const uint8_t own_box_secret[32],
               const uint8_t peer_box_key[32], const struct key_id *own,
               const struct key_id *peer)
{
    uint8_t secret[32 + 2 * KEY_ID_SIZE];
    bool first = key_id_compare(own, peer) < 0;
    struct hash key;

    if (crypto_scalarmult(secret, own_box_secret, peer_box_key) != 0)
        return CM_ERR_AUTHORITY;
    memcpy(secret + 32, (first ? own : peer)->bytes, KEY_ID_SIZE);
    memcpy(secret + 32 + KEY_ID_SIZE, (first ? peer : own)->bytes, KEY_ID_SIZE);
    key = hash_of(KEY_DOMAIN, slice_of(secret, sizeof secret));
    memcpy(ret_key, key.bytes, 32);
    sodium_memzero(secret, sizeof secret);
    sodium_memzero(&key, sizeof key);
    return 0;
}

int packet_sender(struct key_id *ret_sender, struct slice packet)
{
    if (packet.size < PACKET_OVERHEAD + 1)
        return CM_ERR_MALFORMED;
    if (packet.size > GOSSIP_PACKET_MAX)
        return CM_ERR_TOO_LARGE;
    if (packet.data[0] != PACKET_VERSION)
        return CM_ERR_FORMAT_VERSION;
    memcpy(ret_sender->bytes, packet.data + 1, KEY_ID_SIZE);
    return 0;
}

struct slice packet_nonce(struct slice packet)
{
    CHECK(packet.size >= PACKET_OVERHEAD);
    return slice_of(packet.data + 1 + KEY_ID_SIZE, PACKET_NONCE_SIZE);
}

void packet_seal(struct buffer *out, const uint8_t key[32],
                 const struct key_id *sender,
                 const uint8_t nonce[PACKET_NONCE_SIZE],
                 const struct packet_builder *b)
{
    uint8_t plain[PACKET_PLAIN_MAX];
    uint8_t *to = buffer_extend(out, PACKET_OVERHEAD + 1 + b->body.size);

    CHECK(b->count <= PACKET_MESSAGES_MAX);
    CHECK(b->body.size + 1 <= sizeof plain);
    if (to == NULL)
        return;
    plain[0] = (uint8_t)(0x90 | b->count); /* msgpack: array of count */
    if (b->body.size > 0)
        memcpy(plain + 1, b->body.data, b->body.size);
    to[0] = PACKET_VERSION;
    memcpy(to + 1, sender->bytes, KEY_ID_SIZE);
    memcpy(to + 1 + KEY_ID_SIZE, nonce, PACKET_NONCE_SIZE);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(
        to + PACKET_HEADER_SIZE, NULL, plain, b->body.size + 1, to,
        PACKET_HEADER_SIZE, NULL, nonce, key);
}

int packet_open(uint8_t *ret_plain, size_t *ret_size, const uint8_t key[32],
                struct slice packet)
{
    CHECK(packet.size > PACKET_OVERHEAD && packet.size <= GOSSIP_PACKET_MAX);
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(
            ret_plain, NULL, NULL, packet.data + PACKET_HEADER_SIZE,
            packet.size - PACKET_HEADER_SIZE, packet.data, PACKET_HEADER_SIZE,
            packet_nonce(packet).data, key) != 0)
        return CM_ERR_SIGNATURE;
    *ret_size = packet.size - PACKET_OVERHEAD;
    return 0;
}

static bool window_accept(struct replay_window *w, uint64_t counter)
{
    uint64_t behind;

    if (counter > w->highest) {
        behind = counter - w->highest;
        w->seen = behind < 64 ? w->seen << behind | 1 : 1;
        w->highest = counter;
        return true;
    }
    behind = w->highest - counter;
    if (behind >= 64 || (w->seen >> behind & 1) != 0)
        return false;
    w->seen |= UINT64_C(1) << behind;
    return true;
}

bool replay_accept(struct replay_guard *g, const uint8_t *nonce)
{
    uint64_t counter = get_be64(nonce + PACKET_NONCE_PREFIX_SIZE);
    struct replay_window *w;
    size_t i;

    CHECK(g->next < REPLAY_WINDOWS);
    for (i = 0; i < REPLAY_WINDOWS; i++) {
        w = &g->windows[i];
        if (w->seen != 0 &&
            memcmp(w->prefix, nonce, PACKET_NONCE_PREFIX_SIZE) == 0)
            return window_accept(w, counter);
    }
    /* Another process of this peer: it was restarted. */
    w = &g->windows[g->next];
    g->next = (g->next + 1) % REPLAY_WINDOWS;
    memcpy(w->prefix, nonce, PACKET_NONCE_PREFIX_SIZE);
    w->highest = counter;
    w->seen = 1;
    return true;
}

/* domain NUL mesh subject [address] counter, all of it signed. */
static void signed_bytes(struct buffer *out, const struct mesh_id *mesh,
                         const struct message *m)
{
    const char *domain = m->type == MESSAGE_ALIVE ? ALIVE_DOMAIN : LEAVE_DOMAIN;
    uint8_t counter[8];

    CHECK(m->type == MESSAGE_ALIVE || m->type == MESSAGE_LEAVE);
    buffer_append(out, domain, strlen(domain) + 1);
    buffer_append(out, mesh->bytes, sizeof mesh->bytes);
    buffer_append(out, m->subject.bytes, KEY_ID_SIZE);
    if (m->type == MESSAGE_ALIVE)
        address_pack(out, &m->address);
    put_be64(counter, m->counter);
    buffer_append(out, counter, sizeof counter);
}

#define SIGNED_BYTES_MAX 256

/* Into the caller's bytes: a node that could not sign its own new record for
 * want of memory would be dead to everybody for good. */
static struct slice signed_slice(uint8_t room[SIGNED_BYTES_MAX],
                                 const struct mesh_id *mesh,
                                 const struct message *m)
{
    struct buffer out = {
        .data = room, .capacity = SIGNED_BYTES_MAX, .limit = SIGNED_BYTES_MAX};

    signed_bytes(&out, mesh, m);
    CHECK(out.error == 0 && out.data == room);
    return buffer_slice(&out);
}

static void message_sign(uint8_t ret_signature[64], const struct mesh_id *mesh,
                         const struct message *m, const uint8_t secret[64])
{
    uint8_t room[SIGNED_BYTES_MAX];
    struct slice s = signed_slice(room, mesh, m);

    CHECK(crypto_sign_detached(ret_signature, NULL, s.data, s.size, secret) ==
          0);
}

static bool message_verify(const struct mesh_id *mesh, const struct message *m,
                           const uint8_t key[32])
{
    uint8_t room[SIGNED_BYTES_MAX];
    struct slice s = signed_slice(room, mesh, m);

    return crypto_sign_verify_detached(m->signature, s.data, s.size, key) == 0;
}

void packet_alive_sign(uint8_t ret_signature[64], const struct mesh_id *mesh,
                       const struct message *alive, const uint8_t secret[64])
{
    CHECK(alive->type == MESSAGE_ALIVE);
    message_sign(ret_signature, mesh, alive, secret);
}

bool packet_alive_verify(const struct mesh_id *mesh,
                         const struct message *alive, const uint8_t key[32])
{
    CHECK(alive->type == MESSAGE_ALIVE);
    return message_verify(mesh, alive, key);
}

void packet_leave_sign(uint8_t ret_signature[64], const struct mesh_id *mesh,
                       const struct message *leave, const uint8_t secret[64])
{
    CHECK(leave->type == MESSAGE_LEAVE);
    message_sign(ret_signature, mesh, leave, secret);
}

bool packet_leave_verify(const struct mesh_id *mesh,
                         const struct message *leave, const uint8_t key[32])
{
    CHECK(leave->type == MESSAGE_LEAVE);
    return message_verify(mesh, leave, key);
}
