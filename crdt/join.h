/* Join: one entry out of two replicas' cuts.
 *
 * Sibling s is kept if the other side also has s, or if the dot of s is beyond
 * the other side's version vector: what the other has seen and lacks, it has
 * seen removed. Associative, commutative and idempotent on reachable states
 * (Almeida, Shoker and Baquero 2018, "Delta State Replicated Data Types",
 * optimised causal contexts). */
#ifndef CRDT_JOIN_H
#define CRDT_JOIN_H

#include "crdt/entry.h"
#include "crdt/vv.h"

/* ret is initialised by this and borrows the slices of a and b; it is to be
 * released after success only. CM_ERR_NOMEM; CM_ERR_FORK if both have a dot
 * with other contents. */
int entry_join(struct entry *ret, const struct entry *a, const struct vv *a_vv,
               const struct entry *b, const struct vv *b_vv);

/* Pointwise; CM_ERR_FORK if one dot has two hashes, as far as it shows (equal
 * seqs). ret is initialised by this, on success only. */
int vv_join(struct vv *ret, const struct vv *a, const struct vv *b);

#endif
