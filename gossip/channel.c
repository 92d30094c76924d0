/* SIGMA-I over any byte stream; see channel.h.
 *
 * Wire: message 1 = magic, version, ephemeral (37 bytes); message 2 =
 * ephemeral, length (be32), sealed identity; message 3 = length, sealed
 * identity; then frames = length, ciphertext and tag. Each direction has its
 * own key in the handshake and another one afterwards, so nothing that one
 * side said can be sent back to it. The traffic keys come from the hash of the
 * whole handshake: two sides that saw different bytes share none. */
#include "gossip/channel.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/pack.h"

#define MAGIC "CMCH"
#define MAGIC_SIZE 4
#define VERSION 1
#define HELLO_SIZE (MAGIC_SIZE + 1 + 32)
#define LENGTH_SIZE 4
#define TAG_SIZE 16
/* What a peer may have under way before its frames are taken out. */
#define INPUT_MAX                                                              \
    (CHANNEL_OUTPUT_MAX + CHANNEL_FRAME_MAX + CHANNEL_HANDSHAKE_MAX)
/* Buffers above this are given back as soon as they are empty. */
#define KEEP_MAX (64u << 10)

#define IDENTITY_CERTIFIED 1
#define IDENTITY_JOINER 2

#define EPHEMERAL_DOMAIN "confmesh channel ephemeral v1"
#define TRANSCRIPT_DOMAIN "confmesh channel transcript v1"
#define AUTHORITY_DOMAIN "confmesh authority v1"

_Static_assert(TAG_SIZE == crypto_aead_chacha20poly1305_IETF_ABYTES, "tag");

enum step {
    STEP_WAIT_HELLO = 1,    /* responder */
    STEP_WAIT_ANSWER = 2,   /* initiator */
    STEP_WAIT_IDENTITY = 3, /* responder */
    STEP_FRAMES = 4,
};

struct direction {
    uint8_t key[32];
    uint64_t counter;
};

struct channel {
    struct channel_config config;
    struct buffer own_certificate; /* copied, so that the caller may move it */
    enum channel_state state;
    enum step step;
    int error;
    uint8_t ephemeral_secret[32];
    uint8_t ephemeral_public[32];
    uint8_t shared[32];
    struct hash transcript;
    struct direction send;
    struct direction recv;
    struct buffer input;
    size_t input_read;   /* bytes handed out as frames */
    size_t input_opened; /* bytes decrypted in place; >= input_read */
    struct buffer output;
    size_t output_read;
    struct buffer peer_certificate;
    struct channel_peer peer;
};

void channel_authority_hash(uint8_t ret_hash[32], const uint8_t public_key[32])
{
    struct hash h = hash_of(AUTHORITY_DOMAIN, slice_of(public_key, 32));

    memcpy(ret_hash, h.bytes, sizeof h.bytes);
}

static int channel_fail(struct channel *c, int error)
{
    CHECK(error < 0);
    c->state = CHANNEL_FAILED;
    c->error = error;
    return error;
}

/* transcript = hash(transcript, bytes): each message in its order. */
static void transcript_add(struct channel *c, struct slice bytes)
{
    c->transcript = hash_keyed(c->transcript.bytes, TRANSCRIPT_DOMAIN, bytes);
}

static void direction_init(struct channel *c, struct direction *d,
                           const char *domain)
{
    struct hash key =
        hash_keyed(c->shared, domain,
                   slice_of(c->transcript.bytes, sizeof c->transcript.bytes));

    memcpy(d->key, key.bytes, sizeof d->key);
    d->counter = 0;
    sodium_memzero(&key, sizeof key);
}

static void keys_init(struct channel *c, const char *initiator_domain,
                      const char *responder_domain)
{
    bool i = c->config.initiator;

    direction_init(c, &c->send, i ? initiator_domain : responder_domain);
    direction_init(c, &c->recv, i ? responder_domain : initiator_domain);
}

static void direction_nonce(struct direction *d, uint8_t ret_nonce[12])
{
    CHECK(d->counter < UINT64_MAX);
    memset(ret_nonce, 0, 4);
    put_be64(ret_nonce + 4, d->counter++);
}

/* Appends length, ciphertext and tag; the length is authenticated as well. */
static void output_seal(struct channel *c, struct slice plain)
{
    size_t sealed = plain.size + TAG_SIZE;
    uint8_t *to = buffer_extend(&c->output, LENGTH_SIZE + sealed);
    uint8_t nonce[12];

    if (to == NULL)
        return;
    put_be32(to, (uint32_t)sealed);
    direction_nonce(&c->send, nonce);
    (void)crypto_aead_chacha20poly1305_ietf_encrypt(
        to + LENGTH_SIZE, NULL, plain.data, plain.size, to, LENGTH_SIZE, NULL,
        nonce, c->send.key);
}

/* Decrypts in place one sealed record that starts at its length; the plain
 * bytes begin right after the length. */
static int record_open(struct channel *c, uint8_t *record, size_t sealed)
{
    uint8_t nonce[12];

    CHECK(sealed >= TAG_SIZE);
    direction_nonce(&c->recv, nonce);
    if (crypto_aead_chacha20poly1305_ietf_decrypt(
            record + LENGTH_SIZE, NULL, NULL, record + LENGTH_SIZE, sealed,
            record, LENGTH_SIZE, nonce, c->recv.key) != 0)
        return CM_ERR_SIGNATURE;
    return 0;
}

/* The bytes that an identity's signature covers: role and everything said so
 * far, both ephemerals included, and the identity itself. */
static struct hash identity_hash(const struct channel *c, bool initiator,
                                 struct slice identity)
{
    return hash_keyed(c->transcript.bytes,
                      initiator ? "confmesh channel initiator v1"
                                : "confmesh channel responder v1",
                      identity);
}

static int send_hello(struct channel *c)
{
    uint8_t hello[HELLO_SIZE];

    memcpy(hello, MAGIC, MAGIC_SIZE);
    hello[MAGIC_SIZE] = VERSION;
    memcpy(hello + MAGIC_SIZE + 1, c->ephemeral_public, 32);
    buffer_append(&c->output, hello, sizeof hello);
    transcript_add(c, slice_of(hello, sizeof hello));
    return c->output.error;
}

/* Packs [kind, …] with what this side proves, without the signature. */
static void identity_pack(const struct channel *c, struct buffer *out)
{
    bool certified = c->own_certificate.size > 0;

    pack_uint(out, certified ? IDENTITY_CERTIFIED : IDENTITY_JOINER);
    if (!c->config.initiator)
        pack_bytes(out, c->config.authority_public_key, 32);
    if (certified) {
        pack_bin(out, buffer_slice(&c->own_certificate));
    } else {
        pack_bytes(out, c->config.sign_public_key, 32);
        pack_bytes(out, c->config.box_public_key, 32);
    }
}

static int send_identity(struct channel *c)
{
    struct buffer out;
    struct hash signee;
    uint8_t signature[64];
    int ret;

    buffer_init(&out, CHANNEL_HANDSHAKE_MAX - TAG_SIZE);
    identity_pack(c, &out);
    ret = out.error;
    if (ret == 0) {
        signee = identity_hash(c, c->config.initiator, buffer_slice(&out));
        (void)crypto_sign_detached(signature, NULL, signee.bytes,
                                   sizeof signee.bytes,
                                   c->config.sign_secret_key);
        pack_bytes(&out, signature, sizeof signature);
        output_seal(c, buffer_slice(&out));
        transcript_add(c, buffer_slice(&out));
        ret = out.error != 0 ? out.error : c->output.error;
    }
    buffer_release(&out);
    return ret;
}

static int agree(struct channel *c, const uint8_t peer_ephemeral[32])
{
    /* One's own key coming back is a reflection. */
    if (sodium_memcmp(peer_ephemeral, c->ephemeral_public, 32) == 0)
        return CM_ERR_MALFORMED;
    if (crypto_scalarmult(c->shared, c->ephemeral_secret, peer_ephemeral) != 0)
        return CM_ERR_MALFORMED;
    return 0;
}

static void handshake_keys(struct channel *c)
{
    keys_init(c, "confmesh channel handshake initiator v1",
              "confmesh channel handshake responder v1");
}

static void establish(struct channel *c)
{
    keys_init(c, "confmesh channel traffic initiator v1",
              "confmesh channel traffic responder v1");
    /* Forward secrecy: what could decrypt this session again is gone. */
    sodium_memzero(c->shared, sizeof c->shared);
    sodium_memzero(c->ephemeral_secret, sizeof c->ephemeral_secret);
    sodium_memzero(c->config.sign_secret_key, sizeof c->config.sign_secret_key);
    sodium_memzero(c->config.ephemeral_seed, sizeof c->config.ephemeral_seed);
    c->state = CHANNEL_ESTABLISHED;
    c->step = STEP_FRAMES;
}

static int peer_certified(struct channel *c, struct slice certificate)
{
    struct channel_peer *p = &c->peer;
    int ret;

    buffer_append_slice(&c->peer_certificate, certificate);
    if (c->peer_certificate.error != 0)
        return c->peer_certificate.error;
    p->certificate = buffer_slice(&c->peer_certificate);
    ret = certificate_decode(&p->decoded, p->certificate,
                             p->authority_public_key);
    if (ret == 0 && c->config.wall_ms != 0)
        ret = certificate_check_dates(&p->decoded, c->config.wall_ms);
    if (ret != 0)
        return ret;
    memcpy(p->sign_key, p->decoded.sign_key, 32);
    memcpy(p->box_key, p->decoded.box_key, 32);
    p->certified = true;
    return 0;
}

/* Takes the peer's [kind, (authority), identity, signature] apart. */
static int identity_take(struct channel *c, struct slice plain)
{
    struct channel_peer *p = &c->peer;
    struct unpacker u;
    uint8_t signature[64];
    uint8_t hash[32];
    struct slice certificate = {0};
    struct hash signee;
    size_t covered;
    uint64_t kind;
    int ret;

    unpack_init(&u, plain);
    kind = unpack_uint(&u, IDENTITY_JOINER);
    if (c->config.initiator)
        unpack_bytes(&u, p->authority_public_key, 32);
    else
        memcpy(p->authority_public_key, c->config.authority_public_key, 32);
    if (kind == IDENTITY_CERTIFIED) {
        certificate = unpack_bin(&u, CERTIFICATE_SIZE_MAX);
    } else {
        unpack_bytes(&u, p->sign_key, 32);
        unpack_bytes(&u, p->box_key, 32);
    }
    covered = u.position;
    unpack_bytes(&u, signature, sizeof signature);
    ret = unpack_finish(&u);
    if (ret != 0)
        return ret;
    channel_authority_hash(hash, p->authority_public_key);
    if (sodium_memcmp(hash, c->config.authority_hash, 32) != 0)
        return CM_ERR_WRONG_MESH;
    if (kind == IDENTITY_CERTIFIED)
        ret = peer_certified(c, certificate);
    else if (kind != IDENTITY_JOINER || c->config.initiator ||
             !c->config.accept_joiners)
        ret = CM_ERR_AUTHORITY;
    if (ret != 0)
        return ret;
    signee =
        identity_hash(c, !c->config.initiator, slice_of(plain.data, covered));
    if (crypto_sign_verify_detached(signature, signee.bytes,
                                    sizeof signee.bytes, p->sign_key) != 0)
        return CM_ERR_SIGNATURE;
    /* A stream to oneself proves nothing and would only go in circles. */
    if (memcmp(p->sign_key, c->config.sign_public_key, 32) == 0)
        return CM_ERR_AUTHORITY;
    transcript_add(c, plain);
    return 0;
}

static size_t input_left(const struct channel *c)
{
    CHECK(c->input_opened <= c->input.size);
    return c->input.size - c->input_opened;
}

static uint8_t *input_at(struct channel *c)
{
    return c->input.data + c->input_opened;
}

/* How long the sealed record at offset is; 0: not all of it is here yet, or
 * *ret_error tells that it can never be. */
static size_t record_size(struct channel *c, size_t offset, size_t plain_max,
                          int *ret_error)
{
    size_t sealed;

    *ret_error = 0;
    if (input_left(c) < offset + LENGTH_SIZE)
        return 0;
    sealed = get_be32(input_at(c) + offset);
    if (sealed < TAG_SIZE)
        *ret_error = CM_ERR_MALFORMED;
    else if (sealed - TAG_SIZE > plain_max)
        *ret_error = CM_ERR_TOO_LARGE;
    if (*ret_error != 0 || input_left(c) < offset + LENGTH_SIZE + sealed)
        return 0;
    return sealed;
}

static void input_take(struct channel *c, size_t size)
{
    CHECK(size <= input_left(c));
    c->input_opened += size;
}

/* Message 1 at the responder. True: there may be more to do. */
static bool step_hello(struct channel *c, int *ret_error)
{
    const uint8_t *hello = input_at(c);
    size_t known = input_left(c);

    /* A stranger that speaks another protocol is told apart at its first
     * bytes. */
    if (memcmp(hello, MAGIC, known < MAGIC_SIZE ? known : MAGIC_SIZE) != 0) {
        *ret_error = CM_ERR_MALFORMED;
        return false;
    }
    if (known > MAGIC_SIZE && hello[MAGIC_SIZE] != VERSION) {
        *ret_error = CM_ERR_FORMAT_VERSION;
        return false;
    }
    if (known < HELLO_SIZE)
        return false;
    transcript_add(c, slice_of(hello, HELLO_SIZE));
    *ret_error = agree(c, hello + MAGIC_SIZE + 1);
    if (*ret_error != 0)
        return false;
    buffer_append(&c->output, c->ephemeral_public, 32);
    transcript_add(c, slice_of(c->ephemeral_public, 32));
    handshake_keys(c);
    *ret_error = send_identity(c);
    input_take(c, HELLO_SIZE);
    c->step = STEP_WAIT_IDENTITY;
    return *ret_error == 0;
}

/* Message 2 at the initiator, which answers with message 3. */
static bool step_answer(struct channel *c, int *ret_error)
{
    size_t sealed =
        record_size(c, 32, CHANNEL_HANDSHAKE_MAX - TAG_SIZE, ret_error);
    uint8_t *answer = input_at(c);

    if (sealed == 0)
        return false;
    *ret_error = agree(c, answer);
    if (*ret_error != 0)
        return false;
    transcript_add(c, slice_of(answer, 32));
    handshake_keys(c);
    *ret_error = record_open(c, answer + 32, sealed);
    if (*ret_error == 0)
        *ret_error = identity_take(
            c, slice_of(answer + 32 + LENGTH_SIZE, sealed - TAG_SIZE));
    if (*ret_error == 0)
        *ret_error = send_identity(c);
    if (*ret_error != 0)
        return false;
    input_take(c, 32 + LENGTH_SIZE + sealed);
    establish(c);
    return true;
}

/* Message 3 at the responder. */
static bool step_identity(struct channel *c, int *ret_error)
{
    size_t sealed =
        record_size(c, 0, CHANNEL_HANDSHAKE_MAX - TAG_SIZE, ret_error);
    uint8_t *record = input_at(c);

    if (sealed == 0)
        return false;
    *ret_error = record_open(c, record, sealed);
    if (*ret_error == 0)
        *ret_error =
            identity_take(c, slice_of(record + LENGTH_SIZE, sealed - TAG_SIZE));
    if (*ret_error != 0)
        return false;
    input_take(c, LENGTH_SIZE + sealed);
    establish(c);
    return true;
}

static bool step_frame(struct channel *c, int *ret_error)
{
    size_t sealed = record_size(c, 0, CHANNEL_FRAME_MAX, ret_error);

    if (sealed == 0)
        return false;
    *ret_error = record_open(c, input_at(c), sealed);
    if (*ret_error != 0)
        return false;
    input_take(c, LENGTH_SIZE + sealed);
    return true;
}

static bool step_once(struct channel *c, int *ret_error)
{
    enum step before = c->step;
    bool ret;

    if (input_left(c) == 0)
        return false;
    switch (c->step) {
    case STEP_WAIT_HELLO:
        return step_hello(c, ret_error);
    case STEP_WAIT_ANSWER:
        ret = step_answer(c, ret_error);
        break;
    case STEP_WAIT_IDENTITY:
        ret = step_identity(c, ret_error);
        break;
    case STEP_FRAMES:
        return step_frame(c, ret_error);
    default:
        CHECK(false);
        return false;
    }
    /* Handshake bytes are no frames: nobody is to read them. */
    if (ret && before != STEP_FRAMES)
        c->input_read = c->input_opened;
    return ret;
}

/* Frames already handed out make room. */
static void input_compact(struct channel *c)
{
    buffer_consume(&c->input, c->input_read);
    c->input_opened -= c->input_read;
    c->input_read = 0;
    if (c->input.size == 0 && c->input.capacity > KEEP_MAX)
        buffer_release(&c->input);
}

int channel_recv(struct channel *c, struct slice bytes)
{
    int error = 0;

    if (c->state == CHANNEL_FAILED)
        return c->error;
    if (c->step == STEP_WAIT_IDENTITY || c->step == STEP_WAIT_HELLO)
        c->input_read = c->input_opened;
    input_compact(c);
    buffer_append_slice(&c->input, bytes);
    if (c->input.error != 0)
        return channel_fail(c, c->input.error);
    while (step_once(c, &error))
        ;
    return error != 0 ? channel_fail(c, error) : 0;
}

bool channel_next_frame(struct channel *c, struct slice *ret_frame)
{
    size_t sealed;
    uint8_t *record;

    if (c->state != CHANNEL_ESTABLISHED || c->input_read == c->input_opened)
        return false;
    CHECK(c->input_opened - c->input_read >= LENGTH_SIZE + TAG_SIZE);
    record = c->input.data + c->input_read;
    sealed = get_be32(record);
    CHECK(c->input_opened - c->input_read >= LENGTH_SIZE + sealed);
    c->input_read += LENGTH_SIZE + sealed;
    *ret_frame = slice_of(record + LENGTH_SIZE, sealed - TAG_SIZE);
    return true;
}

int channel_send(struct channel *c, struct slice frame)
{
    if (c->state == CHANNEL_FAILED)
        return c->error;
    if (c->state != CHANNEL_ESTABLISHED)
        return CM_ERR_NOT_READY;
    if (frame.size > CHANNEL_FRAME_MAX)
        return CM_ERR_TOO_LARGE;
    if (c->output.size - c->output_read + LENGTH_SIZE + frame.size + TAG_SIZE >
        CHANNEL_OUTPUT_MAX)
        return CM_ERR_BUSY;
    /* Only when at least half is room: each byte moves at most once. */
    if (c->output_read > 0 && c->output_read >= c->output.size / 2) {
        buffer_consume(&c->output, c->output_read);
        c->output_read = 0;
    }
    output_seal(c, frame);
    if (c->output.error != 0)
        return channel_fail(c, c->output.error);
    return 0;
}

struct slice channel_output(const struct channel *c)
{
    CHECK(c->output_read <= c->output.size);
    if (c->output.size == c->output_read)
        return (struct slice){0};
    return slice_of(c->output.data + c->output_read,
                    c->output.size - c->output_read);
}

void channel_output_consume(struct channel *c, size_t size)
{
    CHECK(size <= c->output.size - c->output_read);
    c->output_read += size;
    if (c->output_read < c->output.size)
        return;
    c->output_read = 0;
    c->output.size = 0;
    if (c->output.capacity > KEEP_MAX)
        buffer_release(&c->output);
}

enum channel_state channel_state(const struct channel *c)
{
    return c->state;
}

int channel_error(const struct channel *c)
{
    return c->error;
}

const struct channel_peer *channel_peer(const struct channel *c)
{
    CHECK(c->state == CHANNEL_ESTABLISHED);
    return &c->peer;
}

int channel_create(struct channel **ret_channel, const struct channel_config *c)
{
    struct channel *n;
    struct hash secret;

    if (!c->initiator && c->certificate.size == 0)
        return CM_ERR_INVALID; /* a joiner has nothing to accept with */
    n = cm_calloc(1, sizeof *n);
    if (n == NULL)
        return CM_ERR_NOMEM;
    n->config = *c;
    n->state = CHANNEL_HANDSHAKE;
    n->step = c->initiator ? STEP_WAIT_ANSWER : STEP_WAIT_HELLO;
    buffer_init(&n->input, INPUT_MAX);
    buffer_init(&n->output, 2 * CHANNEL_OUTPUT_MAX); /* see channel_send */
    buffer_init(&n->own_certificate, CERTIFICATE_SIZE_MAX);
    buffer_init(&n->peer_certificate, CERTIFICATE_SIZE_MAX);
    buffer_append_slice(&n->own_certificate, c->certificate);
    secret = hash_of(EPHEMERAL_DOMAIN, slice_of(c->ephemeral_seed, 32));
    memcpy(n->ephemeral_secret, secret.bytes, 32);
    sodium_memzero(&secret, sizeof secret);
    (void)crypto_scalarmult_base(n->ephemeral_public, n->ephemeral_secret);
    if (n->own_certificate.error != 0 || (c->initiator && send_hello(n) != 0)) {
        channel_free(n);
        return c->certificate.size > CERTIFICATE_SIZE_MAX ? CM_ERR_TOO_LARGE
                                                          : CM_ERR_NOMEM;
    }
    *ret_channel = n;
    return 0;
}

void channel_free(struct channel *c)
{
    if (c == NULL)
        return;
    buffer_release(&c->input);
    buffer_release(&c->output);
    buffer_release(&c->own_certificate);
    buffer_release(&c->peer_certificate);
    sodium_memzero(c, sizeof *c);
    cm_free(c);
}
