/* The authority's key file: the one secret that makes a mesh.
 *
 * Text of one line so that it can be printed and typed:
 * "confmesh-authority-1:" then base64 of [public key, mode, salt, nonce,
 * sealed secret seed]. With a passphrase the seed is sealed by
 * XSalsa20-Poly1305 under Argon2id (RFC 9106; INTERACTIVE limits); without one
 * it is stored in clear. Randomness comes in as an argument. */
#ifndef CRDT_AUTHORITY_H
#define CRDT_AUTHORITY_H

#include "crdt/base/buffer.h"
#include "crdt/base/error.h"

#define AUTHORITY_RANDOM_SIZE 40      /* salt 16, nonce 24 */
#define AUTHORITY_FINGERPRINT_SIZE 65 /* text, NUL included */
#define AUTHORITY_FILE_SIZE_MAX 1024

struct authority {
    uint8_t public_key[32];
    uint8_t secret_key[64]; /* libsodium's form; wiped by authority_clear */
};

/* From 32 random bytes. */
void authority_make(struct authority *ret_authority, const uint8_t seed[32]);
void authority_clear(struct authority *a);
/* passphrase of size 0 = none. Appends the file's text. */
int authority_encode(struct buffer *out, const struct authority *a,
                     struct slice passphrase,
                     const uint8_t random[AUTHORITY_RANDOM_SIZE]);
/* ret_encrypted (may be NULL) is set as soon as it is known. CM_ERR_PASSPHRASE,
 * CM_ERR_MALFORMED, CM_ERR_FORMAT_VERSION. */
int authority_decode(struct authority *ret_authority, struct slice text,
                     struct slice passphrase, bool *ret_encrypted);
/* Hex of BLAKE2b-256 of the public key: what --trust compares. */
void authority_fingerprint(char ret_text[AUTHORITY_FINGERPRINT_SIZE],
                           const uint8_t public_key[32]);

#endif
