/* State digest: an additive multiset hash over the canonical siblings.
 *
 * LtHash with 1,024 lanes of 16 bits (Bellare and Micciancio 1997; Lewi et al.
 * 2019, "Securing Update Propagation with Homomorphic Hashing"): adding or
 * removing one sibling costs the same whatever the size of the state. An
 * element is the BLAKE2b-256 of [space, key, element, sibling], expanded by
 * the ChaCha20 keystream. */
#ifndef CRDT_DIGEST_H
#define CRDT_DIGEST_H

#include "crdt/base/hash.h"
#include "crdt/entry.h"
#include "crdt/vv.h"

#define DIGEST_LANES 1024
#define DIGEST_BYTES (2 * DIGEST_LANES)

struct digest {
    uint16_t lanes[DIGEST_LANES];
};

void digest_init(struct digest *d);
void digest_add(struct digest *d, const struct entry_id *id,
                const struct sibling *s);
void digest_remove(struct digest *d, const struct entry_id *id,
                   const struct sibling *s);
/* All that other is the sum of comes to d. */
void digest_join(struct digest *d, const struct digest *other);
void digest_encode(uint8_t ret_bytes[DIGEST_BYTES], const struct digest *d);
void digest_decode(struct digest *ret_digest,
                   const uint8_t bytes[DIGEST_BYTES]);
bool digest_equal(const struct digest *a, const struct digest *b);
/* 32 bytes for probes: BLAKE2b-256 of the lanes and the version vector. */
struct hash digest_finish(const struct digest *d, const struct vv *v);

#endif
