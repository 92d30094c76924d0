/* Fence: what one incarnation that stays says about those that do not.
 *
 * The value of a fence operation. It carries every open order and retirement
 * that its writer knows, names every incarnation that they evict, and says how
 * much of each lies in its writer's causal past (0: it has never seen any).
 *
 * It also says how much its writer has of those that are sealed already and not
 * below the floor yet: they may be open elsewhere, fenced by a replica that
 * knows by nobody else who stays that it may let their last events in. Such an
 * incarnation is covered, not named: no order or retirement in the fence is
 * about it.
 *
 * Of two events that bear one name (a fork) it says which one its writer has:
 * the hash of the last that it covers. A fence of the other branch is not
 * applicable to whoever holds this one, so that nobody seals an incarnation
 * together with a member that has something else of it.
 *
 * Encoding (canonical msgpack): [[order bin…] by epoch, [retirement bin…] by
 * incarnation, [[incarnation bin16, seq, hash bin32]…] sorted]; without the
 * hash where there is none to tell (seq 0). */
#ifndef CRDT_FENCE_H
#define CRDT_FENCE_H

#include "crdt/eviction.h"

#define FENCE_ORDERS_MAX 64        /* open at one time */
#define FENCE_RETIREMENTS_MAX 4096 /* likewise */
#define FENCE_COVERED_MAX 8192

struct fence_cover {
    struct incarnation incarnation;
    uint64_t seq;
    struct hash head; /* event_hash of (incarnation, seq); zeroes: not told */
};

struct fence {
    struct slice *orders; /* owned arrays of borrowed slices */
    size_t orders_count;
    struct slice *retirements;
    size_t retirements_count;
    struct fence_cover *covered; /* owned, sorted by incarnation */
    size_t covered_count;
};

void fence_pack(struct buffer *out, const struct fence *f);
/* Decodes the shape strictly; the orders' and retirements' own signatures are
 * checked by standing.h. Release after success only. */
int fence_decode(struct fence *ret_fence, struct slice bytes);
void fence_release(struct fence *f);
/* False if it is known that a and b cover different branches. */
bool fence_cover_agrees(uint64_t seq, const struct hash *head,
                        uint64_t other_seq, const struct hash *other_head);
/* NULL if i is not named. */
const struct fence_cover *fence_find(const struct fence *f,
                                     const struct incarnation *i);

#endif
