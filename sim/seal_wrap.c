/* Sealed bytes are opened by who has seen them sealed: in a simulated mesh both
 * ends of every packet and channel live in one process. What is to be opened
 * is compared whole (key, nonce, all bytes) with what was sealed a moment ago,
 * which is much quicker than to compute it; only if it is not the same
 * (damaged, forged, long ago), libsodium is asked. Answers are libsodium's
 * either way. Linked with the options of wrap.flags, as crypto_wrap.c. */
#include <sodium.h>
#include <stdbool.h>
#include <string.h>

#include "crdt/base/check.h"
#include "sim/memory.h"

#define KEY_SIZE 32
#define NONCE_SIZE_MAX 24
#define TAG_SIZE 16
#define EXTRA_SIZE_MAX 64 /* of what is authenticated beside the message */
#define SMALL_SIZE 2048   /* packets: many at once */
#define SMALL_SLOTS 2048
#define MIDDLE_SIZE (20u << 10) /* pieces of cuts */
#define MIDDLE_SLOTS 128
#define LARGE_SIZE (320u << 10) /* the largest frames of channels: few */
#define LARGE_SLOTS 16

struct sealed {
    uint8_t key[KEY_SIZE];
    uint8_t nonce[NONCE_SIZE_MAX];
    uint8_t extra[EXTRA_SIZE_MAX];
    size_t extra_size;
    size_t size;    /* of the message; the tag comes on top */
    uint8_t *plain; /* owned; what it became follows in the same block */
    size_t room;    /* of that block */
    bool extended;  /* XChaCha20 */
};

/* One call of either kind. */
struct seal_call {
    bool extended;
    const uint8_t *key;
    const uint8_t *nonce;
    size_t nonce_size;
    const uint8_t *extra;
    size_t extra_size;
};

static struct sealed small[SMALL_SLOTS];
static struct sealed middle[MIDDLE_SLOTS];
static struct sealed large[LARGE_SLOTS];

typedef int seal_function(unsigned char *c, unsigned long long *clen_p,
                          const unsigned char *m, unsigned long long mlen,
                          const unsigned char *ad, unsigned long long adlen,
                          const unsigned char *nsec, const unsigned char *npub,
                          const unsigned char *k);
typedef int open_function(unsigned char *m, unsigned long long *mlen_p,
                          unsigned char *nsec, const unsigned char *c,
                          unsigned long long clen, const unsigned char *ad,
                          unsigned long long adlen, const unsigned char *npub,
                          const unsigned char *k);
seal_function __real_crypto_aead_xchacha20poly1305_ietf_encrypt;
open_function __real_crypto_aead_xchacha20poly1305_ietf_decrypt;
seal_function __real_crypto_aead_chacha20poly1305_ietf_encrypt;
open_function __real_crypto_aead_chacha20poly1305_ietf_decrypt;
seal_function __wrap_crypto_aead_xchacha20poly1305_ietf_encrypt;
open_function __wrap_crypto_aead_xchacha20poly1305_ietf_decrypt;
seal_function __wrap_crypto_aead_chacha20poly1305_ietf_encrypt;
open_function __wrap_crypto_aead_chacha20poly1305_ietf_decrypt;

/* The slot of what ends with this tag; NULL if such sizes are not kept. */
static struct sealed *slot_of(const uint8_t *tag, size_t size,
                              size_t extra_size)
{
    uint32_t hash;

    memcpy(&hash, tag, sizeof hash);
    if (extra_size > EXTRA_SIZE_MAX || size > LARGE_SIZE)
        return NULL;
    if (size <= SMALL_SIZE)
        return &small[hash % SMALL_SLOTS];
    return size <= MIDDLE_SIZE ? &middle[hash % MIDDLE_SLOTS]
                               : &large[hash % LARGE_SLOTS];
}

static void keep(const struct seal_call *call, const uint8_t *plain,
                 size_t size, const uint8_t *sealed)
{
    struct sealed *s = slot_of(sealed + size, size, call->extra_size);
    size_t wanted = 2 * size + TAG_SIZE;

    CHECK(call->nonce_size <= NONCE_SIZE_MAX);
    if (s == NULL)
        return;
    if (s->room < wanted) {
        sim_free(s->plain);
        s->plain = sim_alloc(wanted);
        s->room = wanted;
    }
    s->extended = call->extended;
    s->size = size;
    s->extra_size = call->extra_size;
    memcpy(s->key, call->key, KEY_SIZE);
    memcpy(s->nonce, call->nonce, call->nonce_size);
    if (call->extra_size > 0)
        memcpy(s->extra, call->extra, call->extra_size);
    if (size > 0)
        memcpy(s->plain, plain, size);
    memcpy(s->plain + size, sealed, size + TAG_SIZE);
}

static const struct sealed *find(const struct seal_call *call,
                                 const uint8_t *sealed, size_t sealed_size)
{
    if (sealed_size < TAG_SIZE)
        return NULL;
    size_t size = sealed_size - TAG_SIZE;
    const struct sealed *s = slot_of(sealed + size, size, call->extra_size);
    if (s == NULL || s->plain == NULL || s->extended != call->extended ||
        s->size != size || s->extra_size != call->extra_size ||
        memcmp(s->nonce, call->nonce, call->nonce_size) != 0 ||
        memcmp(s->key, call->key, KEY_SIZE) != 0)
        return NULL;
    if ((call->extra_size > 0 &&
         memcmp(s->extra, call->extra, call->extra_size) != 0) ||
        memcmp(s->plain + size, sealed, sealed_size) != 0)
        return NULL;
    return s;
}

static int seal(seal_function *real, const struct seal_call *call,
                unsigned char *c, unsigned long long *clen_p,
                const unsigned char *m, unsigned long long mlen,
                const unsigned char *nsec)
{
    int result = real(c, clen_p, m, mlen, call->extra, call->extra_size, nsec,
                      call->nonce, call->key);

    /* Sealed in its place: the message is gone. */
    if (result == 0 && c != m)
        keep(call, m, (size_t)mlen, c);
    return result;
}

static int open_again(open_function *real, const struct seal_call *call,
                      unsigned char *m, unsigned long long *mlen_p,
                      unsigned char *nsec, const unsigned char *c,
                      unsigned long long clen)
{
    const struct sealed *s = find(call, c, (size_t)clen);

    if (s == NULL || m == NULL)
        return real(m, mlen_p, nsec, c, clen, call->extra, call->extra_size,
                    call->nonce, call->key);
    if (s->size > 0)
        memcpy(m, s->plain, s->size);
    if (mlen_p != NULL)
        *mlen_p = s->size;
    return 0;
}

int __wrap_crypto_aead_xchacha20poly1305_ietf_encrypt(
    unsigned char *c, unsigned long long *clen_p, const unsigned char *m,
    unsigned long long mlen, const unsigned char *ad, unsigned long long adlen,
    const unsigned char *nsec, const unsigned char *npub,
    const unsigned char *k)
{
    const struct seal_call call = {true, k, npub, 24, ad, (size_t)adlen};

    return seal(__real_crypto_aead_xchacha20poly1305_ietf_encrypt, &call, c,
                clen_p, m, mlen, nsec);
}

int __wrap_crypto_aead_xchacha20poly1305_ietf_decrypt(
    unsigned char *m, unsigned long long *mlen_p, unsigned char *nsec,
    const unsigned char *c, unsigned long long clen, const unsigned char *ad,
    unsigned long long adlen, const unsigned char *npub, const unsigned char *k)
{
    const struct seal_call call = {true, k, npub, 24, ad, (size_t)adlen};

    return open_again(__real_crypto_aead_xchacha20poly1305_ietf_decrypt, &call,
                      m, mlen_p, nsec, c, clen);
}

int __wrap_crypto_aead_chacha20poly1305_ietf_encrypt(
    unsigned char *c, unsigned long long *clen_p, const unsigned char *m,
    unsigned long long mlen, const unsigned char *ad, unsigned long long adlen,
    const unsigned char *nsec, const unsigned char *npub,
    const unsigned char *k)
{
    const struct seal_call call = {false, k, npub, 12, ad, (size_t)adlen};

    return seal(__real_crypto_aead_chacha20poly1305_ietf_encrypt, &call, c,
                clen_p, m, mlen, nsec);
}

int __wrap_crypto_aead_chacha20poly1305_ietf_decrypt(
    unsigned char *m, unsigned long long *mlen_p, unsigned char *nsec,
    const unsigned char *c, unsigned long long clen, const unsigned char *ad,
    unsigned long long adlen, const unsigned char *npub, const unsigned char *k)
{
    const struct seal_call call = {false, k, npub, 12, ad, (size_t)adlen};

    return open_again(__real_crypto_aead_chacha20poly1305_ietf_decrypt, &call,
                      m, mlen_p, nsec, c, clen);
}
