/* What the fuzz targets and the generator of their seeds share: keys that are
 * the same in every run, so that a seed made once still verifies. */
#ifndef TESTS_FUZZ_SUPPORT_H
#define TESTS_FUZZ_SUPPORT_H

#include <stdint.h>

#include "crdt/certificate.h"
#include "crdt/event.h"

struct fuzz_keys {
    uint8_t public_key[32];
    uint8_t secret_key[64]; /* libsodium's form */
};

enum fuzz_owner {
    FUZZ_AUTHORITY = 9,
    FUZZ_ISSUER = 1,
    FUZZ_NODE = 2,
};

/* Initialises libsodium at the first call. */
const struct fuzz_keys *fuzz_keys_of(enum fuzz_owner owner);
struct mesh_id fuzz_mesh(void);
struct incarnation fuzz_incarnation(uint8_t n); /* ordered as n */
/* Appends the issuer's certificate: of every key, signed by the authority. */
void fuzz_issuer_certificate(struct buffer *out);
/* A certificate of the node's that the fuzzer may change; borrows nothing. */
struct certificate fuzz_node_certificate(void);

#endif
