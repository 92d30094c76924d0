/* Eviction: who is no longer to write, said by someone who may say it.
 *
 * An eviction order is signed by the authority. It names a set of incarnations,
 * the epoch of the roster that it makes and the hash of the order before, so
 * that all orders of a generation form one chain. Its set may be empty: such an
 * order does nothing but name which of two orders of one epoch stands.
 *
 * A retirement is signed by the node itself, about an incarnation of its own
 * that it has given up. Its certificate is in it, because the retired
 * incarnation may never have been rostered.
 *
 * Both travel inside of fences (fence.h); what is heard outside of one counts
 * for nothing but the duty to write a fence.
 *
 * Encoding (canonical msgpack): [body bin, signature bin64].
 *   order body      = [format 1, mesh id bin16, generation number, generation
 *                      hash bin16, epoch, previous hash bin32, [incarnation
 *                      bin16…] sorted, created ms]
 *   retirement body = [format 1, mesh id bin16, generation number, generation
 *                      hash bin16, incarnation bin16, certificate bin]
 * Signatures: Ed25519 (RFC 8032) over "confmesh eviction v1" NUL body, and over
 * "confmesh retirement v1" NUL body. */
#ifndef CRDT_EVICTION_H
#define CRDT_EVICTION_H

#include "crdt/certificate.h"
#include "crdt/generation.h"

#define EVICTION_FORMAT 1
#define EVICTION_INCARNATIONS_MAX 4096 /* named by one order */
#define EVICTION_SIZE_MAX (EVICTION_INCARNATIONS_MAX * 18 + 256)
#define RETIREMENT_SIZE_MAX (CERTIFICATE_SIZE_MAX + 256)

struct eviction_order {
    struct mesh_id mesh;
    struct generation_id generation;
    uint64_t epoch;       /* 1 for the first order of a generation */
    struct hash previous; /* eviction_hash of the order before; zero for 1 */
    struct incarnation *incarnations; /* owned after decoding; sorted */
    size_t count;                     /* may be 0 */
    uint64_t created_ms;
};

int eviction_encode(struct buffer *out, const struct eviction_order *order,
                    const uint8_t authority_secret_key[64]);
/* Signature first. CM_ERR_SIGNATURE, CM_ERR_WRONG_MESH, _MALFORMED,
 * _NONCANONICAL, _TOO_LARGE, _FORMAT_VERSION. Release after success only. */
int eviction_decode(struct eviction_order *ret_order, struct slice bytes,
                    const uint8_t authority_public_key[32]);
void eviction_release(struct eviction_order *order);
struct hash eviction_hash(struct slice bytes); /* of the whole encoding */

struct retirement {
    struct mesh_id mesh;
    struct generation_id generation;
    struct incarnation incarnation;
    struct slice certificate; /* encoded; borrowed from the bytes */
    struct key_id node;       /* filled in by decoding */
};

int retirement_encode(struct buffer *out, const struct retirement *r,
                      const uint8_t sign_secret_key[64]);
/* The certificate's chain, then the node's signature. bytes stay borrowed.
 * Nothing is to be released. */
int retirement_decode(struct retirement *ret_retirement, struct slice bytes,
                      const uint8_t authority_public_key[32]);

#endif
