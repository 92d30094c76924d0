/* Ed25519 signatures with a domain (RFC 8032).
 *
 * Every signature in the project covers domain, NUL, bytes, so that none can
 * be replayed as one over something else. */
#ifndef CRDT_SIGN_H
#define CRDT_SIGN_H

#include "crdt/base/buffer.h"

#define SIGN_SIZE 64

/* secret_key is libsodium's 64-byte form. 0 or CM_ERR_NOMEM (only for bytes
 * too many for the stack). */
int sign_make(uint8_t ret_signature[SIGN_SIZE], const char *domain,
              struct slice bytes, const uint8_t secret_key[64]);
/* Appends [body, signature], the form of all that is signed but events; an
 * error of body's or out's is returned. */
int sign_pack(struct buffer *out, const char *domain, const struct buffer *body,
              const uint8_t secret_key[64]);
/* 0, CM_ERR_SIGNATURE, or CM_ERR_NOMEM as above. */
int sign_verify(const uint8_t signature[SIGN_SIZE], const char *domain,
                struct slice bytes, const uint8_t public_key[32]);

#endif
