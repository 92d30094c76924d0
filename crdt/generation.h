/* Mesh id and generation.
 *
 * A mesh is all nodes that trust one authority key; its id is the BLAKE2b-128
 * of that key. A generation = (number, hash of its order): the order is signed
 * by the authority, names the incarnation that founds the generation (which is
 * rostered from the start), the order before, and seals every incarnation of
 * the state it was restored from at that state's version vector. Generation 1
 * is made by init and seals nothing. */
#ifndef CRDT_GENERATION_H
#define CRDT_GENERATION_H

#include "crdt/base/hash.h"
#include "crdt/vv.h"

#define MESH_ID_SIZE 16
#define MESH_ID_TEXT_SIZE (2 * MESH_ID_SIZE + 1)
#define GENERATION_ORDER_SIZE_MAX (8u << 20)

struct mesh_id {
    uint8_t bytes[MESH_ID_SIZE];
};

struct generation_id {
    uint64_t number;  /* 1 for a new mesh */
    uint8_t hash[16]; /* of the order's bytes, truncated */
};

/* A decoded, verified order. */
struct generation_order {
    struct mesh_id mesh;
    uint64_t number;
    uint8_t previous[16]; /* hash of the order before; zero for number 1 */
    struct incarnation founder;
    struct slice founder_certificate; /* borrowed from the decoded bytes */
    uint64_t created_ms;
    uint32_t founder_level; /* that the founder knows (op.h); 0: the first */
    struct vv sealed; /* owned: retired incarnations and their last seqs */
};

struct mesh_id mesh_id_of(const uint8_t authority_public_key[32]);
bool mesh_id_equal(const struct mesh_id *a, const struct mesh_id *b);
void mesh_id_format(char ret_text[MESH_ID_TEXT_SIZE], const struct mesh_id *m);
bool generation_id_equal(const struct generation_id *a,
                         const struct generation_id *b);
/* The greater number wins; equal numbers with unequal hashes never mix. */
int generation_id_compare(const struct generation_id *a,
                          const struct generation_id *b);

/* Appends the signed order. order->founder_certificate is an encoded
 * certificate (certificate.h). */
int generation_order_encode(struct buffer *out,
                            const struct generation_order *order,
                            const uint8_t authority_secret_key[64]);
/* Verifies the authority's signature first, then decodes strictly. bytes stay
 * borrowed. Release after success only. */
int generation_order_decode(struct generation_order *ret_order,
                            struct slice bytes,
                            const uint8_t authority_public_key[32]);
void generation_order_release(struct generation_order *order);
struct generation_id generation_id_of(uint64_t number, struct slice bytes);

#endif
