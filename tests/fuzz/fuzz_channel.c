/* Feeds both sides of a channel whatever bytes a peer may send, in any slicing,
 * and, after an honest handshake, frames of a peer gone bad.
 *
 * Input: first byte: bit 0 initiator or responder, bit 1 after an honest
 * handshake; then [size (1 byte), bytes]... */
#include <sodium.h>
#include <stdint.h>
#include <string.h>

#include "crdt/base/check.h"
#include "gossip/channel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct channel_config configs[2]; /* initiator, responder */
static uint8_t certificates[2][1024];

static void config_make(struct channel_config *c, uint8_t number,
                        const uint8_t *authority_public,
                        const uint8_t *authority_secret)
{
    uint8_t seed[32] = {number};
    struct certificate cert = {
        .mesh = mesh_id_of(authority_public),
        .name = "node",
        .roles = ROLE_WRITER,
        .prefixes_count = 1,
        .not_after_ms = UINT64_MAX,
    };
    struct buffer out;

    (void)crypto_sign_seed_keypair(c->sign_public_key, c->sign_secret_key,
                                   seed);
    (void)crypto_scalarmult_base(c->box_public_key, seed);
    memcpy(cert.sign_key, c->sign_public_key, 32);
    memcpy(cert.box_key, c->box_public_key, 32);
    buffer_init(&out, sizeof certificates[0]);
    CHECK(certificate_encode(&out, &cert, authority_secret) == 0);
    memcpy(certificates[number], out.data, out.size);
    c->certificate = slice_of(certificates[number], out.size);
    buffer_release(&out);
    memcpy(c->authority_public_key, authority_public, 32);
    channel_authority_hash(c->authority_hash, authority_public);
    c->ephemeral_seed[0] = number;
    c->initiator = number == 0;
    c->accept_joiners = true;
}

static void setup(void)
{
    uint8_t seed[32] = {9};
    uint8_t public_key[32];
    uint8_t secret_key[64];

    CHECK(sodium_init() >= 0);
    (void)crypto_sign_seed_keypair(public_key, secret_key, seed);
    config_make(&configs[0], 0, public_key, secret_key);
    config_make(&configs[1], 1, public_key, secret_key);
}

static void carry(struct channel *from, struct channel *to)
{
    struct slice out = channel_output(from);

    CHECK(channel_recv(to, out) == 0);
    channel_output_consume(from, out.size);
}

static void feed(struct channel *c, const uint8_t *data, size_t size)
{
    struct slice frame;

    while (size > 1) {
        size_t part = data[0] < size - 1 ? data[0] : size - 1;
        int ret = channel_recv(c, slice_of(data + 1, part));

        CHECK((ret != 0) == (channel_state(c) == CHANNEL_FAILED));
        while (channel_next_frame(c, &frame))
            CHECK(frame.size <= CHANNEL_FRAME_MAX);
        channel_output_consume(c, channel_output(c).size);
        data += 1 + part;
        size -= 1 + part;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    struct channel *sides[2] = {NULL, NULL};

    if (size < 1)
        return 0;
    if (!ready)
        setup();
    ready = true;
    CHECK(channel_create(&sides[0], &configs[0]) == 0);
    CHECK(channel_create(&sides[1], &configs[1]) == 0);
    if ((data[0] & 2) != 0) {
        carry(sides[0], sides[1]);
        carry(sides[1], sides[0]);
        carry(sides[0], sides[1]);
        CHECK(channel_state(sides[1]) == CHANNEL_ESTABLISHED);
    }
    feed(sides[data[0] & 1], data + 1, size - 1);
    channel_free(sides[0]);
    channel_free(sides[1]);
    return 0;
}
