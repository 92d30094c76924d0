/* Indexes over the entries: which one expires next, which ones hold a sibling
 * that lost, and which ones a later floor makes smaller. All follow from the
 * entries alone; they exist so that neither a timer nor `confmesh conflicts`
 * nor a floor that moves ever scans the store.
 *
 * The index of expiries holds an entry from the commit that made it visible to
 * the commit that told watchers of its end, so that each end is told once,
 * whoever was away meanwhile. */
#ifndef NODE_STORE_INDEX_H
#define NODE_STORE_INDEX_H

#include "node/store_txn.h"

/* What an entry contributes. */
struct index_mark {
    hlc_t due;            /* the visible winner's expiry; 0: it has none */
    bool conflict;        /* somebody's write lost and was not superseded */
    bool collapses;       /* a later floor may take something from it */
    hlc_t collapse_after; /* but none whose time is earlier; 0: any */
};

struct index_mark index_mark_of(const struct entry *e);

/* Brings the indexes from one state of an entry to the next. An expiry that
 * has passed already is not entered: nobody saw it. record is scratch. */
int index_update(struct store_txn *t, struct buffer *record,
                 const struct entry_id *id, const struct index_mark *before,
                 const struct index_mark *after, hlc_t now);

/* Whether watchers still wait for the end of what expires at due. */
bool index_has_due(struct store_txn *t, const struct entry_id *id, hlc_t due);

/* The expiry that is due first: its entry's id borrows from *ret_key, a copy.
 * CM_ERR_NOT_FOUND when nothing expires. */
int index_first_due(struct store_txn *t, struct schema_key *ret_key,
                    struct entry_id *ret_id, hlc_t *ret_due);
/* Takes it out; key as index_first_due gave it. */
int index_drop_due(struct store_txn *t, const struct entry_id *id, hlc_t due);

/* The first candidate for collapse behind *at (at->size 0: the first of all)
 * that a floor of that time could touch: its key goes to *at, from which ret_id
 * borrows. CM_ERR_NOT_FOUND when there is none. */
int index_next_collapse(struct store_txn *t, hlc_t floor_time,
                        struct schema_key *at, struct entry_id *ret_id,
                        hlc_t *ret_after);

/* Visits the entries in conflict whose key starts with prefix, after
 * (excluding) a given one if not NULL, in canonical order of the spaces. A
 * non-zero result of visit stops and is returned. */
typedef int (*index_visit)(void *context, const struct entry_id *id);
int index_conflicts(struct store_reader *r, enum space space,
                    struct slice prefix, const struct entry_id *after,
                    index_visit visit, void *context);

#endif
