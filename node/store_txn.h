/* The inside of the store, for the writer and for the store's own files: one
 * LMDB transaction, records checked on the way in and sealed on the way out. */
#ifndef NODE_STORE_TXN_H
#define NODE_STORE_TXN_H

#include <lmdb.h>

#include "node/schema.h"

struct store_txn {
    struct store *store;
    MDB_txn *mdb; /* NULL when there is none */
    bool write;
    unsigned writes; /* records put or deleted, by cursors too */
    /* Keys of entries and indexes are meant for this bank: the head's, as soon
     * as it is asked for; in a write transaction, whichever is set. */
    unsigned bank;
    bool bank_known;
    struct touched *touched; /* notes what is written in it, or NULL */
    bool idle; /* reset: slot without snapshot; then in the store's list, which
                  takes the slot away (mdb NULL) when it opens LMDB again */
    struct store_txn *idle_next;
    struct store_txn **idle_link; /* what points to this one */
};

/* LMDB's and the system's codes as ours. */
int store_error(int mdb_error, struct cm_detail *detail);
/* Of a commit to the store in dir. */
int store_commit_error(int mdb_error, const char *dir,
                       struct cm_detail *detail);

/* CM_ERR_IO while a failed environment waits for its last reader. A failed one
 * without readers is reopened first. */
int store_txn_begin(struct store_txn *t, struct store *s, bool write,
                    struct cm_detail *detail);
void store_txn_abort(struct store_txn *t); /* none is fine */
/* Ends the transaction whatever is returned. */
int store_txn_commit(struct store_txn *t, struct cm_detail *detail);

/* The bank that the head names, unless another one was set. CM_ERR_DAMAGED. */
int store_txn_bank(struct store_txn *t, unsigned *ret_bank);
void store_txn_set_bank(struct store_txn *t, unsigned bank);
/* Moves a key to the transaction's bank: for cursors. */
int store_txn_place(struct store_txn *t, struct schema_key *key);

/* Payload in the map, until the next write of the transaction.
 * CM_ERR_NOT_FOUND, CM_ERR_DAMAGED. */
int store_txn_get(struct store_txn *t, const struct schema_key *key,
                  struct slice *ret_payload);
/* record was begun with schema_record_begin; it is sealed here. */
int store_txn_put(struct store_txn *t, const struct schema_key *key,
                  struct buffer *record);
int store_txn_delete(struct store_txn *t, const struct schema_key *key);
/* A key and a sealed record as they are to be stored. */
int store_txn_put_sealed(struct store_txn *t, struct slice key,
                         struct slice record);

int store_txn_entry(struct store_txn *t, const struct entry_id *id,
                    struct entry *ret_entry, struct entry_local *ret_local);
int store_txn_head(struct store_txn *t, struct schema_head *ret_head);
int store_txn_digest(struct store_txn *t, struct digest *ret_digest);
int store_txn_meta(struct store_txn *t, const char *name, struct slice *ret);
/* Visits every version vector record in the order of their numbers. */
typedef int (*store_actor_visit)(void *context, uint32_t actor,
                                 const struct schema_actor *record);
int store_txn_actors(struct store_txn *t, store_actor_visit visit,
                     void *context);
int store_txn_event(struct store_txn *t, const struct dot *dot,
                    struct slice *ret_bytes);
/* The own event of that seq. CM_ERR_NOT_FOUND. */
int store_txn_own(struct store_txn *t, uint32_t actor, uint64_t seq,
                  struct schema_own *ret_own);
int store_txn_vv(struct store_txn *t, struct vv *ret_vv);

struct actors *store_actors(struct store *s);
/* As it was opened; lives as long as s. */
const char *store_dir(const struct store *s);
MDB_dbi store_dbi(const struct store *s);

struct store_reader {
    struct store_txn txn;
    struct schema_head head;
};

#endif
