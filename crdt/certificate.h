/* Certificate: binds a node's Ed25519 and X25519 keys to its name and rights.
 *
 * Signed by the mesh authority, or by an issuer whose own certificate (signed
 * by the authority) is embedded: a chain of at most two. Whether an event is
 * void depends on the certificate's prefixes alone, never on dates.
 *
 * Encoding: [body bin, signature bin64]; body = [format 1, mesh id bin16,
 * Ed25519 key bin32, X25519 key bin32, name str, roles, prefixes [str…],
 * not_before_ms, not_after_ms, issuer certificate bin (empty: authority)]. */
#ifndef CRDT_CERTIFICATE_H
#define CRDT_CERTIFICATE_H

#include "crdt/base/error.h"
#include "crdt/generation.h"
#include "crdt/op.h"

#define CERTIFICATE_FORMAT 1
#define CERTIFICATE_PREFIXES_MAX 16
#define CERTIFICATE_SIZE_MAX 4096
#define KEY_ID_SIZE 16

enum role {
    ROLE_WRITER = 1, /* of the prefixes */
    ROLE_READER = 2,
    ROLE_ISSUER = 4,
    ROLE_ADMIN = 8,
};

/* How peers are named on the wire: BLAKE2b-128 of the Ed25519 public key. */
struct key_id {
    uint8_t bytes[KEY_ID_SIZE];
};

struct certificate {
    struct mesh_id mesh;
    uint8_t sign_key[32]; /* Ed25519 */
    uint8_t box_key[32];  /* X25519 */
    char name[NAME_SIZE_MAX + 1];
    unsigned roles;                                  /* enum role, or-ed */
    struct slice prefixes[CERTIFICATE_PREFIXES_MAX]; /* borrowed */
    size_t prefixes_count; /* an empty prefix = every key */
    uint64_t not_before_ms;
    uint64_t not_after_ms;
    struct slice issuer; /* encoded issuer certificate, or empty; borrowed */
    struct key_id key_id;
};

/* Names: 1..64 bytes of letters, digits, '-', '_', '.'. */
int certificate_check_name(const char *name, struct cm_detail *detail);
int certificate_encode(struct buffer *out, const struct certificate *c,
                       const uint8_t signer_secret_key[64]);
/* Decodes and checks the whole chain's signatures up to the authority's key,
 * mesh id, roles (an issuer certificate must be signed by the authority and
 * hold ROLE_ISSUER; what an issuer signs has no ROLE_ISSUER and no prefix
 * beyond its own, and ROLE_ADMIN only if it is an admin itself). bytes stay
 * borrowed. Dates are not looked at here. CM_ERR_WRONG_MESH, _SIGNATURE,
 * _AUTHORITY, _FORMAT_VERSION, _MALFORMED, _NONCANONICAL, _TOO_LARGE. */
int certificate_decode(struct certificate *ret_certificate, struct slice bytes,
                       const uint8_t authority_public_key[32]);
/* CM_ERR_EXPIRED outside of the validity (a day of grace for clocks). */
int certificate_check_dates(const struct certificate *c, uint64_t wall_ms);
/* A writer's prefixes decide; the mesh's own spaces are open to every writer,
 * because what they name brings its own proof. */
bool certificate_may_write(const struct certificate *c,
                           const struct entry_id *id);
struct key_id key_id_of(const uint8_t sign_key[32]);
static inline bool key_id_equal(const struct key_id *a, const struct key_id *b)
{
    return memcmp(a->bytes, b->bytes, KEY_ID_SIZE) == 0;
}
int key_id_compare(const struct key_id *a, const struct key_id *b);

#endif
