/* Staging: how a cut that changes much is adopted while the node goes on
 * writing.
 *
 * Entries and indexes stand in one of two banks (schema.h). The state as the
 * join will leave it is written to the bank that does not count, a block in
 * each transaction, with the node's own commits in between; then one short
 * transaction names that bank in the head, and it is the state. What is left in
 * the other one goes some at a time, and so does what was staged in vain.
 *
 *   SWEEP   records of the other bank go, until it is empty
 *   BEGIN   the incarnations of the cut's vector get their numbers
 *   BLOCK   records are put as they are: entries joined with the state as of
 *           some revision (cut_diff.h), and what the indexes say of them
 *   SETTLE  entries that were written since the cut was announced
 *           (INTENT_ADOPTING) are joined with what was staged of them
 *   flip    INTENT_REPLACE: the rest is settled, vectors and standings join
 *
 * Why that is the join: a block's entry is join(A_R, C), for the state A_R at
 * the revision R that was read. Nothing that C covers was applied since it was
 * announced, before R, so an entry that nobody has written since is the same in
 * A. For one that was, join(A, join(A_R, C)) = join(A, C), because A contains
 * A_R. */
#ifndef NODE_STAGE_H
#define NODE_STAGE_H

#include "crdt/digest.h"
#include "node/store_index.h"

#define STAGE_BLOCK_BYTES (2u << 20) /* put in one transaction, about */
#define STAGE_SWEEP_RECORDS 4096     /* that one transaction drops */
#define STAGE_SETTLE_ENTRIES 4096    /* that one transaction settles */

/* What stands in the other bank when every block has been put. */
struct staged {
    struct vv vv;         /* of it: of the state that was read, and the cut */
    struct digest digest; /* of it; SETTLE moves it on */
};

enum stage_step {
    STAGE_SWEEP = 1,
    STAGE_BEGIN = 2,
    STAGE_BLOCK = 3,
    STAGE_SETTLE = 4,
};

/* What an INTENT_STAGE carries; the intent's more: the step goes on. */
struct stage {
    enum stage_step step;
    const struct vv *vv;   /* BEGIN: of the cut; borrowed */
    unsigned bank;         /* BLOCK: that the records were made for */
    struct buffer block;   /* BLOCK: owned */
    struct staged *staged; /* SETTLE: borrowed */
    uint64_t serial;       /* of the attempt: the loop's */
};

struct stage *stage_new(enum stage_step step); /* NULL: short of memory */
void stage_free(struct stage *s);              /* NULL is fine */

/* Appends the records of one entry and its indexes, as they stand in that
 * bank: [key size be16, record size be32, key, record]…. Errors stay in
 * out->error, and in record->error, which is scratch. */
void stage_pack(struct buffer *out, struct buffer *record, unsigned bank,
                const struct entry_id *id, const struct entry *entry,
                const struct entry_local *local, const struct actors *actors,
                hlc_t now);

/* Whether anything stands in the bank that does not count. */
int stage_look(struct store_txn *t, unsigned bank, bool *ret_any);

#endif
