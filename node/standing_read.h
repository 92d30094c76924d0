/* The standing as the store has it: what the writer starts from, and what an
 * answer about roster and floor is made from. */
#ifndef NODE_STANDING_READ_H
#define NODE_STANDING_READ_H

#include "crdt/standing.h"
#include "node/store.h"

#define HEARD_SIZE_MAX (8u << 20) /* orders and retirements kept, encoded */

/* Everything from the reader's snapshot, the orders and retirements that were
 * heard included. ret_conflict (may be NULL): two of those orders have one
 * epoch. CM_ERR_NOT_READY without an identity, CM_ERR_DAMAGED, CM_ERR_NOMEM. */
int standing_read(struct standing **ret_standing, struct store_reader *r,
                  bool *ret_conflict, struct cm_detail *detail);

/* Its parts. A fresh one of the store's mesh and generation. */
int standing_fresh(struct standing **ret_standing, struct store_reader *r);
/* A record as META_STANDING has it (empty: none), into a fresh one. */
int standing_read_record(struct standing *s, struct slice bytes);
/* The entries of the reader's snapshot. Those that a generation before left
 * are none of this one's. */
int standing_read_entries(struct standing *s, struct store_reader *r);
/* What was heard. ret_conflict as above. */
int standing_read_heard(struct standing *s, struct store_reader *r,
                        bool *ret_conflict);

/* What a probe carries: of digest_finish and standing_hash. Equal vectors mean
 * equal state, floor and seals, so equal proofs. */
struct hash standing_proof(const struct hash *digest,
                           const struct hash *standing);
/* The proof of a cut of the reader's mesh and generation. */
int standing_proof_of_cut(struct hash *ret_proof, struct store_reader *r,
                          const struct hash *digest, struct slice record);

/* The value of META_HEARD: what is open of all that s has heard; empty when
 * that is nothing. */
int standing_pack_heard(struct buffer *out, const struct standing *s);

/* What came as an order or as a retirement; which of the two, its signature
 * tells. As standing_hear_order and standing_hear_retirement. */
int standing_hear(struct standing *s, struct slice bytes);

#endif
