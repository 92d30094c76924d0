/* Costly pure functions, computed once. In a simulated mesh all nodes live in
 * one process: every signature is checked by each of them, and both ends of
 * every connection compute the same shared secret. Linked with the options of
 * wrap.flags: what production code asks of libsodium comes here first.
 *
 * Answers are those of libsodium, so a run does not depend on what a table
 * still remembers. Two answers are known before they are asked for: a
 * signature that was made here is good, and the secret that a shares with B is
 * the one that b shares with A (RFC 7748). */
#include <sodium.h>
#include <stdbool.h>
#include <string.h>

#include "crdt/base/check.h"
#include "sim/memory.h"

#define SLOTS (1u << 14) /* of each table; the newest answer stays */
/* Every pair of a mesh has its secret, asked for once by each of the two. */
#define SHARE_SLOTS (1u << 17)
#define NAME_SIZE crypto_generichash_BYTES_MIN
#define POINT_SIZE crypto_scalarmult_BYTES

struct answer {
    uint8_t name[NAME_SIZE]; /* of all that was asked */
    uint8_t point[POINT_SIZE];
    int result;
    bool known;
};

static struct answer publics[SLOTS]; /* of secrets */
static struct answer shares[SHARE_SLOTS];

int __real_crypto_sign_verify_detached(const unsigned char *signature,
                                       const unsigned char *message,
                                       unsigned long long size,
                                       const unsigned char *public_key);
int __real_crypto_sign_detached(unsigned char *signature,
                                unsigned long long *signature_size,
                                const unsigned char *message,
                                unsigned long long size,
                                const unsigned char *secret_key);
int __real_crypto_scalarmult_base(unsigned char *q, const unsigned char *n);
int __real_crypto_scalarmult(unsigned char *q, const unsigned char *n,
                             const unsigned char *p);
int __wrap_crypto_sign_verify_detached(const unsigned char *signature,
                                       const unsigned char *message,
                                       unsigned long long size,
                                       const unsigned char *public_key);
int __wrap_crypto_sign_detached(unsigned char *signature,
                                unsigned long long *signature_size,
                                const unsigned char *message,
                                unsigned long long size,
                                const unsigned char *secret_key);
int __wrap_crypto_scalarmult_base(unsigned char *q, const unsigned char *n);
int __wrap_crypto_scalarmult(unsigned char *q, const unsigned char *n,
                             const unsigned char *p);

/* The slot of what is named by three parts. Whether it is what was asked for
 * is known by its name. */
static struct answer *slot_of(struct answer *table, uint32_t slots,
                              uint8_t ret_name[NAME_SIZE], const uint8_t *a,
                              size_t a_size, const uint8_t *b, size_t b_size,
                              const uint8_t *c, size_t c_size)
{
    crypto_generichash_state state;
    uint32_t slot = 0;

    CHECK(crypto_generichash_init(&state, NULL, 0, NAME_SIZE) == 0);
    (void)crypto_generichash_update(&state, a, a_size);
    (void)crypto_generichash_update(&state, b, b_size);
    (void)crypto_generichash_update(&state, c, c_size);
    (void)crypto_generichash_final(&state, ret_name, NAME_SIZE);
    memcpy(&slot, ret_name, sizeof slot);
    return &table[slot % slots];
}

static bool holds(const struct answer *a, const uint8_t name[NAME_SIZE])
{
    return a->known && memcmp(a->name, name, NAME_SIZE) == 0;
}

static void keep(struct answer *a, const uint8_t name[NAME_SIZE], int result,
                 const uint8_t *point)
{
    memcpy(a->name, name, NAME_SIZE);
    a->known = true;
    a->result = result;
    if (point != NULL)
        memcpy(a->point, point, POINT_SIZE);
}

/* ---- signatures ----
 *
 * What was checked is kept whole and compared whole: that is much quicker than
 * to hash it. */

#define SIGNED_SIZE_MAX 16384 /* kept; whatever is larger is seldom checked */
#define DOMAIN_AT 9 /* after "confmesh ": what kind of thing is signed */

struct verdict {
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES];
    uint8_t signature[crypto_sign_BYTES];
    int result;
    uint8_t *message; /* owned; NULL: the slot is free */
    size_t size;
    size_t room;
};

static struct verdict verdicts[SLOTS];

/* The kind is in it, because bytes whose kind nobody has told are tried as one
 * and then as another, each time under the same signature. */
static struct verdict *verdict_of(const uint8_t *signature,
                                  const uint8_t *message, size_t size)
{
    uint32_t slot;
    uint32_t kind = 0;

    memcpy(&slot, signature, sizeof slot);
    if (size >= DOMAIN_AT + sizeof kind)
        memcpy(&kind, message + DOMAIN_AT, sizeof kind);
    return &verdicts[(slot ^ (kind ^ kind >> 14)) % SLOTS];
}

static bool is_verdict(const struct verdict *v, const uint8_t *signature,
                       const uint8_t *message, size_t size,
                       const uint8_t *public_key)
{
    return v->message != NULL && v->size == size &&
           memcmp(v->signature, signature, sizeof v->signature) == 0 &&
           memcmp(v->public_key, public_key, sizeof v->public_key) == 0 &&
           (size == 0 || memcmp(v->message, message, size) == 0);
}

static void keep_verdict(struct verdict *v, const uint8_t *signature,
                         const uint8_t *message, size_t size,
                         const uint8_t *public_key, int result)
{
    if (size > SIGNED_SIZE_MAX)
        return;
    if (v->message == NULL || v->room < size) {
        v->message = sim_realloc(v->message, size + 1);
        v->room = size;
    }
    memcpy(v->signature, signature, sizeof v->signature);
    memcpy(v->public_key, public_key, sizeof v->public_key);
    if (size > 0)
        memcpy(v->message, message, size);
    v->size = size;
    v->result = result;
}

int __wrap_crypto_sign_verify_detached(const unsigned char *signature,
                                       const unsigned char *message,
                                       unsigned long long size,
                                       const unsigned char *public_key)
{
    struct verdict *v = verdict_of(signature, message, (size_t)size);

    if (is_verdict(v, signature, message, (size_t)size, public_key))
        return v->result;
    int result = __real_crypto_sign_verify_detached(signature, message, size,
                                                    public_key);
    keep_verdict(v, signature, message, (size_t)size, public_key, result);
    return result;
}

int __wrap_crypto_sign_detached(unsigned char *signature,
                                unsigned long long *signature_size,
                                const unsigned char *message,
                                unsigned long long size,
                                const unsigned char *secret_key)
{
    /* libsodium's secret keys end with the public one. */
    const uint8_t *public_key =
        secret_key + crypto_sign_SECRETKEYBYTES - crypto_sign_PUBLICKEYBYTES;

    int result = __real_crypto_sign_detached(signature, signature_size, message,
                                             size, secret_key);
    if (result == 0)
        keep_verdict(verdict_of(signature, message, (size_t)size), signature,
                     message, (size_t)size, public_key, 0);
    return result;
}

/* ---- shared secrets ---- */

int __wrap_crypto_scalarmult_base(unsigned char *q, const unsigned char *n)
{
    uint8_t name[NAME_SIZE];
    uint8_t secret[crypto_scalarmult_SCALARBYTES];

    memcpy(secret, n, sizeof secret); /* q may be n */
    int result = __real_crypto_scalarmult_base(q, n);
    struct answer *a =
        slot_of(publics, SLOTS, name, secret, sizeof secret, NULL, 0, NULL, 0);
    keep(a, name, result, q);
    sodium_memzero(secret, sizeof secret);
    return result;
}

int __wrap_crypto_scalarmult(unsigned char *q, const unsigned char *n,
                             const unsigned char *p)
{
    uint8_t name[NAME_SIZE];
    const struct answer *own =
        slot_of(publics, SLOTS, name, n, crypto_scalarmult_SCALARBYTES, NULL, 0,
                NULL, 0);

    if (!holds(own, name) || own->result != 0)
        return __real_crypto_scalarmult(q, n, p);
    /* The pair, in either order. */
    bool first = memcmp(own->point, p, POINT_SIZE) < 0;
    struct answer *a =
        slot_of(shares, SHARE_SLOTS, name, first ? own->point : p, POINT_SIZE,
                first ? p : own->point, POINT_SIZE, NULL, 0);
    if (!holds(a, name)) {
        int result = __real_crypto_scalarmult(q, n, p);
        if (result != 0)
            return result;
        keep(a, name, 0, q);
    }
    memcpy(q, a->point, POINT_SIZE);
    return 0;
}
