/* The store: one LMDB environment that holds state, log and identity.
 *
 * One B-tree, prefixes instead of named databases, so that a one-operation
 * commit writes at most 10 pages. Every record carries its own checksum over
 * key and value, because LMDB does not notice bit rot: a record that fails it
 * is CM_ERR_DAMAGED, never data. Incarnations are interned as small numbers.
 *
 * Reading: any thread, through its own reader (MDB_NOTLS). Writing: only the
 * writer (writer.h), which owns the one write transaction at a time. Slices
 * that a reader hands out point into the map and live until its release. */
#ifndef NODE_STORE_H
#define NODE_STORE_H

#include "crdt/base/error.h"
#include "crdt/digest.h"
#include "crdt/entry.h"
#include "crdt/event.h"

#define STORE_FORMAT 3
#define STORE_MAP_SIZE_64 (UINT64_C(16) << 30) /* sparse */
#define STORE_MAP_SIZE_32 (UINT64_C(512) << 20)
#define STORE_MAP_SIZE_DEFAULT                                                 \
    (sizeof(void *) >= 8 ? STORE_MAP_SIZE_64 : STORE_MAP_SIZE_32)
#define STORE_READERS_MAX 126

struct store;

/* dir must exist. CM_ERR_FORMAT_VERSION, CM_ERR_DAMAGED, CM_ERR_IO, with
 * detail. map_size 0 = the default. A new environment is empty: no meta. The
 * caller holds the data directory's lock (datadir.h). */
int store_open(struct store **ret_store, const char *dir, uint64_t map_size,
               struct cm_detail *detail);
void store_close(struct store *s);
/* After a commit that failed half-way LMDB takes no new transaction until the
 * environment is opened again, which the store does by itself once the readers
 * that live have ended. Until then all new ones get CM_ERR_IO: whoever reads
 * for long asks now and then, and starts over. */
bool store_is_poisoned(struct store *s);
/* LMDB keeps the memory of every page that a transaction changed for the next
 * one, as much as the largest since it was opened needed, and gives it back
 * when it is closed. A count of the transactions that needed much: when it has
 * moved, and no further one came for a while, it is time for store_rest. */
#define STORE_LARGE_WRITES 128 /* records; each may be a page of its own */
uint64_t store_large(struct store *s);
/* Gives that memory back by opening LMDB again. False, and nothing is done,
 * while a transaction lives: ask again. True also where there was none. */
bool store_rest(struct store *s);
/* Bytes of data.mdb in use and pages of the last commit, for metrics. */
struct store_usage {
    uint64_t map_size;
    uint64_t used_bytes;
    uint64_t entries; /* records in the tree */
};
void store_usage(struct store *s, struct store_usage *ret_usage);

/* ---- reading ---- */

struct store_reader;

int store_reader_begin(struct store *s, struct store_reader **ret_reader);
void store_reader_release(struct store_reader *r);
/* A released-but-kept reader is renewed cheaply: drop the snapshot, keep the
 * slot; then look again at the newest state. */
int store_reader_renew(struct store_reader *r);
/* Drops the snapshot, keeps the slot: for a reader that is about to wait, so
 * that it does not hold old pages back. Renew it before the next use. */
void store_reader_reset(struct store_reader *r);

uint64_t store_revision(struct store_reader *r); /* 0 in a new store */

/* Local facts about an entry that are not part of the replicated state. */
struct entry_local {
    uint64_t create_revision; /* commit in which it became present */
    uint64_t modify_revision; /* newest commit that changed it */
};
/* ret_entry is initialised by the caller and reused from call to call (its
 * siblings' slices point into the map). CM_ERR_NOT_FOUND when there is no
 * sibling at all. ret_local may be NULL. */
int store_get(struct store_reader *r, const struct entry_id *id,
              struct entry *ret_entry, struct entry_local *ret_local);

/* Walks entries of a space in canonical order. */
struct store_cursor;
struct store_item {
    struct entry_id id; /* into the map */
    struct entry entry; /* owned by the cursor */
    struct entry_local local;
};
/* Entries of space whose key starts with key_prefix (for sets: all elements of
 * all such keys; with exact_key: of that key only), after (excluding) the
 * given id if not NULL. Release the cursor before its reader. */
int store_cursor_open(struct store_reader *r, enum space space,
                      struct slice key_prefix, bool exact_key,
                      const struct entry_id *after,
                      struct store_cursor **ret_cursor);
/* 0, CM_ERR_NOT_FOUND at the end, CM_ERR_DAMAGED, … The item lives until the
 * next call. */
int store_cursor_next(struct store_cursor *c, const struct store_item **ret);
void store_cursor_close(struct store_cursor *c);

/* The version vector of the reader's snapshot; ret_vv is initialised. */
int store_vv(struct store_reader *r, struct vv *ret_vv);
int store_digest(struct store_reader *r, struct digest *ret_digest);
hlc_t store_hlc(struct store_reader *r); /* greatest stamp issued or merged */

/* Original bytes of an event. CM_ERR_NOT_FOUND if it is not held (covered by
 * the VV or not: CM_ERR_NEEDS_CUT is the caller's to conclude). */
int store_event(struct store_reader *r, const struct dot *dot,
                struct slice *ret_bytes);

/* Changes of commits after revision from, in order: what a watch delivers.
 * Each commit's changes are delivered together or not at all. */
enum change_kind {
    CHANGE_PUT = 1,    /* a register shows this value now */
    CHANGE_DELETE = 2, /* a register shows nothing now */
    CHANGE_ADD = 3,    /* an element is in the set now */
    CHANGE_REMOVE = 4, /* an element is not in the set any more */
};
struct change {
    uint64_t revision;
    enum change_kind kind;
    bool revoked; /* DELETE or REMOVE by a revoke */
    bool expired; /* DELETE or REMOVE because its time had come: dot is of
                     what ended, hlc when it did */
    struct entry_id id;
    struct slice value;
    uint64_t flags;
    struct slice author;
    struct dot dot; /* of the event */
    hlc_t hlc;
};
typedef int (*change_visit)(void *context, const struct change *change);
/* Visits the changes of the one commit with the smallest revision > from that
 * changed anything visible; ret_revision is that commit. CM_ERR_NOT_FOUND when
 * there is none; CM_ERR_NEEDS_CUT when from lies before the oldest revision
 * kept (the watcher has to start over). visit's non-zero result stops and is
 * returned. */
int store_changes(struct store_reader *r, uint64_t from, uint64_t *ret_revision,
                  change_visit visit, void *context);
uint64_t store_oldest_revision(struct store_reader *r);

/* Small named facts: identity and what belongs to it. Checksummed. */
#define META_INCARNATION "incarnation"
#define META_CERTIFICATE "certificate"
#define META_AUTHORITY "authority"   /* public key, 32 bytes */
#define META_GENERATION "generation" /* encoded order */
#define META_HOST "host"             /* fingerprint */
#define META_PEERS "peers"           /* addresses known */
#define META_READY "ready"           /* "1" once the state is complete */
#define META_SNAPSHOT "snapshot"     /* last manifest's sequence, hash */
#define META_TOKENS "tokens"         /* join tokens that it made */
#define META_HAZARD "hazard"         /* a peer knows later events of its own */
#define META_UNCONFIRMED                                                       \
    "unconfirmed"                /* who gave the cut that no second member     \
                                    has confirmed: key id */
#define META_SPONSORS "sponsors" /* addresses that the issuer named */
#define META_RETURNING                                                         \
    "returning"              /* reason, next incarnation: return_flow.c        \
                              */
#define META_ISSUER "issuer" /* certificate to issue with: issuer.c */
#define META_BARRED "barred" /* key ids that were evicted: orders.c */
#define META_ORDER_SEEN "order-seen" /* epoch, time: sponsor_order.c */
#define META_GIVEN_UP                                                          \
    "given-up" /* own incarnations that may be rostered and                    \
                  never write: 16 bytes each */
/* standing_pack as of the newest commit: floor, floor time, seals and the chain
 * of orders. A function of the version vector, and part of every cut: who
 * adopts one stores the cut's (a joined one after standing_join and
 * standing_settle over the joined entries) in the transaction that takes over
 * the entries; writer_reload then reads it back. Absent: nothing of all that
 * has happened yet. */
#define META_STANDING "standing"
/* Orders and retirements heard and still open: [bin…]. Local. */
#define META_HEARD "heard"
/* CM_ERR_NOT_FOUND. */
int store_meta(struct store_reader *r, const char *name, struct slice *ret);
/* Also if it cannot be read any more: of some, that there is one says all. */
static inline bool store_has_meta(struct store_reader *r, const char *name)
{
    struct slice value;
    int error = store_meta(r, name, &value);

    return error == 0 || error == CM_ERR_DAMAGED;
}

#endif
