/* Feeds the gossip machine packets of a member gone bad: well encrypted, with
 * any content, after an honest introduction and with the clock running on. The
 * whole input is handed in as a raw datagram, too.
 *
 * Input: any number of [milliseconds that pass (1 byte), size (1 byte, in
 * eights), plaintext]. */
#include <sodium.h>
#include <stdint.h>
#include <string.h>

#include "crdt/base/check.h"
#include "gossip/gossip.h"
#include "gossip/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct peer {
    uint8_t sign_public[32];
    uint8_t sign_secret[64];
    uint8_t box_public[32];
    uint8_t box_secret[32];
    uint8_t bytes[1024];
    struct slice certificate;
    struct key_id id;
};

static struct peer peers[3]; /* the machine, a member, a stranger */
static uint8_t authority_public[32];
static uint8_t authority_secret[64];
static const struct address home = {
    .family = 4, .ip = {127, 0, 0, 1}, .port = 7946};

static void peer_make(struct peer *p, uint8_t number)
{
    uint8_t seed[32] = {number};
    struct certificate c = {
        .mesh = mesh_id_of(authority_public),
        .name = "node",
        .roles = ROLE_WRITER,
        .prefixes_count = 1,
        .not_after_ms = UINT64_MAX,
    };
    struct buffer out;

    (void)crypto_sign_seed_keypair(p->sign_public, p->sign_secret, seed);
    memcpy(p->box_secret, seed, 32);
    (void)crypto_scalarmult_base(p->box_public, p->box_secret);
    memcpy(c.sign_key, p->sign_public, 32);
    memcpy(c.box_key, p->box_public, 32);
    buffer_init(&out, sizeof p->bytes);
    CHECK(certificate_encode(&out, &c, authority_secret) == 0);
    memcpy(p->bytes, out.data, out.size);
    p->certificate = slice_of(p->bytes, out.size);
    p->id = key_id_of(p->sign_public);
    buffer_release(&out);
}

static struct gossip *machine_make(void)
{
    struct gossip_config c = {.mesh = mesh_id_of(authority_public),
                              .certificate = peers[0].certificate,
                              .address = home,
                              .alive_counter = 5};
    struct gossip *ret = NULL;

    memcpy(c.authority_public_key, authority_public, 32);
    memcpy(c.sign_secret_key, peers[0].sign_secret, 64);
    memcpy(c.box_secret_key, peers[0].box_secret, 32);
    CHECK(gossip_create(&ret, &c, 1000) == 0);
    CHECK(gossip_add_certificate(ret, peers[1].certificate) == 0);
    return ret;
}

static void drain(struct gossip *g)
{
    struct gossip_send send;
    struct gossip_event event;

    while (gossip_next_send(g, &send))
        CHECK(send.packet.size <= GOSSIP_PACKET_MAX);
    while (gossip_next_event(g, &event))
        CHECK(event.kind >= GOSSIP_MEMBER && event.kind <= GOSSIP_PUSH_STREAM);
}

/* Makes the plain bytes a packet of the member's; the builder is only a
 * carrier here: the fuzzer decides even the array's head. */
static void deliver(struct gossip *g, uint64_t now_ms, struct slice plain)
{
    static uint64_t counter;
    uint8_t key[32];
    uint8_t packet[GOSSIP_PACKET_MAX];
    size_t sealed = PACKET_HEADER_SIZE + plain.size + PACKET_TAG_SIZE;

    CHECK(sealed <= sizeof packet);
    CHECK(packet_key(key, peers[1].box_secret, peers[0].box_public,
                     &peers[1].id, &peers[0].id) == 0);
    memset(packet, 0, PACKET_HEADER_SIZE);
    packet[0] = PACKET_VERSION;
    memcpy(packet + 1, peers[1].id.bytes, KEY_ID_SIZE);
    put_be64(packet + 1 + KEY_ID_SIZE + PACKET_NONCE_PREFIX_SIZE, ++counter);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(
        packet + PACKET_HEADER_SIZE, NULL, plain.data, plain.size, packet,
        PACKET_HEADER_SIZE, NULL, packet + 1 + KEY_ID_SIZE, key);
    (void)gossip_recv(g, now_ms, &home, slice_of(packet, sealed));
}

/* The member introduces itself honestly, so that what follows meets a machine
 * that knows it. */
static void introduce(struct gossip *g, uint64_t now_ms)
{
    struct mesh_id mesh = mesh_id_of(authority_public);
    struct message m = {.type = MESSAGE_ALIVE,
                        .subject = peers[1].id,
                        .address = home,
                        .counter = 7};
    struct packet_builder b;
    uint8_t plain[PACKET_PLAIN_MAX];

    packet_alive_sign(m.signature, &mesh, &m, peers[1].sign_secret);
    packet_builder_init(&b);
    CHECK(packet_builder_add(&b, &m));
    plain[0] = 0x91;
    memcpy(plain + 1, b.body.data, b.body.size);
    deliver(g, now_ms, slice_of(plain, b.body.size + 1));
    packet_builder_release(&b);
}

/* What the decoder accepts the encoder writes back to the same bytes. */
static void check_canonical(struct slice plain)
{
    struct packet p;
    struct packet_builder b;
    size_t i;

    if (packet_decode(&p, plain) != 0)
        return;
    packet_builder_init(&b);
    for (i = 0; i < p.count; i++)
        CHECK(packet_builder_add(&b, &p.messages[i]));
    CHECK(plain.size == b.body.size + 1);
    CHECK(b.body.size == 0 ||
          memcmp(plain.data + 1, b.body.data, b.body.size) == 0);
    packet_builder_release(&b);
}

static void setup(void)
{
    uint8_t seed[32] = {9};
    uint8_t i;

    CHECK(sodium_init() >= 0);
    (void)crypto_sign_seed_keypair(authority_public, authority_secret, seed);
    for (i = 0; i < 3; i++)
        peer_make(&peers[i], (uint8_t)(i + 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    struct gossip *g;
    uint64_t now_ms = 1000;

    if (!ready)
        setup();
    ready = true;
    g = machine_make();
    introduce(g, now_ms);
    (void)gossip_recv(g, now_ms, &home, slice_of(data, size));
    while (size > 2) {
        size_t plain = (size_t)data[1] * 8;

        now_ms += data[0];
        data += 2;
        size -= 2;
        plain = plain < size ? plain : size;
        plain = plain < PACKET_PLAIN_MAX ? plain : PACKET_PLAIN_MAX;
        check_canonical(slice_of(data, plain));
        deliver(g, now_ms, slice_of(data, plain));
        (void)gossip_tick(g, now_ms);
        drain(g);
        data += plain;
        size -= plain;
    }
    gossip_free(g);
    return 0;
}
