/* Collapse: what an entry becomes once everyone has it.
 *
 * A key or element is collapsed only when all its siblings are at or below the
 * floor: a register to its winner (a tombstone: to nothing), an element of a
 * set to one add. A winner whose expiry is at or below the floor time counts as
 * a tombstone; it goes only with its whole key. Revokes stay for ever, what
 * they hide goes. A pure function of entry, floor and floor time, done by every
 * replica in the transaction in which its floor moves, so that equal version
 * vectors still mean equal entries. */
#ifndef CRDT_COLLAPSE_H
#define CRDT_COLLAPSE_H

#include "crdt/entry.h"
#include "crdt/floor.h"

/* Whether a later floor may take something from it: what the index of
 * candidates holds. */
bool entry_may_collapse(const struct entry *e);

/* Collapses e in place; its count may be 0 afterwards. ret_changed may be
 * NULL. Entries of the mesh's own spaces never change. */
void entry_collapse(struct entry *e, const struct floor *floor,
                    hlc_t floor_time, bool *ret_changed);

#endif
