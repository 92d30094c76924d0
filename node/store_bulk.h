/* Entries into a bank that has none, in ascending order: what adopting a whole
 * state does a million times.
 *
 * LMDB fills a page to its end only if what comes is the last of it. The few
 * records whose keys come after all entries (those of meta facts and actors)
 * would stay in the page that is written to for ever, and each split would
 * leave a page half empty; so they are taken out first and put back at the
 * end. And one cursor is kept, which stands where the next entry belongs. */
#ifndef NODE_STORE_BULK_H
#define NODE_STORE_BULK_H

#include "node/store_txn.h"

/* Where more than this comes after the entries, it stays there. */
#define STORE_BULK_TAIL_BYTES (256u << 10)

struct store_bulk {
    struct store_txn *txn; /* borrowed */
    MDB_cursor *cursor;
    struct buffer tail; /* size of key (2), of record (4), both; … */
};

/* Until _end nobody may read or write what comes after the entries, but index
 * records may be put. 0 or an error; then there is nothing to end. */
int store_bulk_begin(struct store_bulk *ret_bulk, struct store_txn *t);
/* The record as for store_txn_put. CM_ERR_EXISTS: the key is there. */
int store_bulk_add(struct store_bulk *b, const struct schema_key *key,
                   struct buffer *record);
/* ok: puts everything back; not: the transaction is going to be aborted. */
int store_bulk_end(struct store_bulk *b, bool ok);

#endif
