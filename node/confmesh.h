/* libconfmesh: a node of a config mesh inside your program.
 *
 * confmesh_open starts the node on threads of its own (one for the network,
 * one that writes, two for long work); close stops them. Every function may be
 * called from any thread, except that a read, a transaction and a watch belong
 * to one thread at a time. Reads come from the local file and never wait for
 * the network; a write returns when it is on this node's disk, and reaches the
 * other nodes after that by itself.
 *
 * Functions return 0 or a negative CONFMESH_ERR_… number; confmesh_strerror
 * gives the text, confmesh_error the sentence for a person. Keys are UTF-8, 1
 * to 480 bytes, values up to 1,000,000 bytes. Compare-and-set is atomic on this
 * node; a concurrent write elsewhere becomes a visible conflict, not an error.
 */
#ifndef CONFMESH_H
#define CONFMESH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The numbers that a caller usually acts on; others have a text too. */
#define CONFMESH_ERR_NOT_FOUND (-12)
#define CONFMESH_ERR_EXISTS (-13)
#define CONFMESH_ERR_CONDITION (-14)
#define CONFMESH_ERR_REVOKED (-15)
#define CONFMESH_ERR_FULL (-21)
#define CONFMESH_ERR_LOCKED (-22)
#define CONFMESH_ERR_BUSY (-23)
#define CONFMESH_ERR_CLOSED (-24)
#define CONFMESH_ERR_TIMEOUT (-25)
#define CONFMESH_ERR_NOT_READY (-26)
/* A watch's place is not kept any more: read everything again. */
#define CONFMESH_ERR_RESET (-31)

struct confmesh;

struct confmesh_options {
    const char *data;               /* directory made by init or by joining */
    const char *bind;               /* HOST:PORT for peers, numeric; NULL:
                                       127.0.0.1:0 */
    const char *name;               /* NULL: the certified one, for a
                                       joiner the host's */
    const char *join;               /* text of a join token; NULL: none */
    const char *const *snapshot_to; /* targets, at most 4; copied */
    size_t snapshot_to_count;
    uint64_t snapshot_interval_ms; /* 0: only on demand */
    /* Snapshots are encrypted to these recovery keys: 64 hex digits each, or
     * "authority"; at most 16. */
    const char *const *snapshot_recipients;
    size_t snapshot_recipients_count;
    uint64_t snapshot_delta_ms;  /* new events are put so often; 0: never */
    uint64_t snapshot_drill_ms;  /* the newest snapshot is restored for practice
                                    so often; 0: never */
    uint64_t snapshot_bandwidth; /* bytes per second of all uploads, at least
                                    16384; 0: no bound */
    const char *snapshot_hook;   /* command or URL called after a good upload,
                                    or NULL */
    uint64_t floor_interval_ms;  /* quiet time before what everyone has seen
                                    deleted is collected; 0: 10 s;
                                    UINT64_MAX: this node never asks for it */
    uint64_t floor_keep_ms;      /* history that watches may resume from is
                                    kept at least so long; 0: a minute */
    uint64_t map_size;           /* bytes of the store's map; 0: 16 GiB */
    uint64_t scrub_interval_ms;  /* walks over the store that look for
                                    damage; 0: every day */
    uint32_t format_level;       /* goes on as a program of that format level
                                    would, and announces no greater one, so
                                    that such a program can still be started
                                    on data; 0: this program's own */
    /* Plain deletes of keys and set elements under these prefixes become
     * revokes when they are written here; at most 64. */
    const char *const *revoke_deletes;
    size_t revoke_deletes_count;
    /* Lines for an operator; called on the network's thread; may be NULL. */
    void (*log)(void *ctx, char level, const char *text);
    void *log_ctx;
};

/* Returns when the node runs (a joiner: not yet ready). On failure
 * errmsg (if not NULL, of errmsg_size bytes) tells what to do. */
int confmesh_open(struct confmesh **ret, const struct confmesh_options *options,
                  char *errmsg, size_t errmsg_size);
/* Tells the peers, finishes what was submitted, stops. Calls that other threads
 * are in end first, with their result or CONFMESH_ERR_CLOSED; reads and
 * transactions have to be ended before. A watch may be closed later, its next
 * then says CONFMESH_ERR_CLOSED. NULL is fine. */
void confmesh_close(struct confmesh *c);
const char *confmesh_strerror(int error);
/* The sentence of the last failed call on this thread; never NULL. */
const char *confmesh_error(void);

/* Waits until the replica is complete. 0, CONFMESH_ERR_TIMEOUT, or why it
 * never will be. */
int confmesh_wait_ready(struct confmesh *c, uint64_t timeout_ms);

struct confmesh_status {
    char name[65];
    char mesh[33];    /* hex */
    char address[64]; /* where peers reach it */
    bool ready;
    uint64_t revision;
    uint64_t members_alive; /* this node included */
    uint64_t members_in_sync;
    uint64_t pending_events;
    uint64_t awaits; /* waits for events under way */
    char digest[65]; /* hex: equal on two nodes = the same state */
};
int confmesh_status(struct confmesh *c, struct confmesh_status *ret_status);

/* ---- reading: one consistent view ---- */

struct confmesh_read;
int confmesh_read_begin(struct confmesh *c, struct confmesh_read **ret_read);
void confmesh_read_end(struct confmesh_read *r); /* NULL is fine */
/* The value lives until the next call on r. flags may be NULL. */
int confmesh_get(struct confmesh_read *r, const char *key,
                 const void **ret_value, size_t *ret_size, uint64_t *ret_flags);
/* visit's non-zero result ends the walk and is returned. Keys and elements
 * are not terminated. */
typedef int (*confmesh_visit)(void *ctx, const char *key, size_t key_size,
                              const void *value, size_t value_size);
int confmesh_list(struct confmesh_read *r, const char *prefix,
                  confmesh_visit visit, void *ctx);
int confmesh_set_members(struct confmesh_read *r, const char *key,
                         confmesh_visit visit, void *ctx);
int confmesh_set_contains(struct confmesh_read *r, const char *key,
                          const char *element, bool *ret_contains);
uint64_t confmesh_read_revision(struct confmesh_read *r);

/* ---- writing ---- */

/* "incarnation:seq", the causal token of a write; "" when nothing had to be
 * written. */
struct confmesh_token {
    char text[56];
};

/* ret_token may be NULL everywhere. */
int confmesh_put(struct confmesh *c, const char *key, const void *value,
                 size_t size, struct confmesh_token *ret_token);
int confmesh_del(struct confmesh *c, const char *key,
                 struct confmesh_token *ret_token);
/* Deletes so that no write that does not know of it brings the key back. */
int confmesh_revoke(struct confmesh *c, const char *key,
                    struct confmesh_token *ret_token);
int confmesh_set_add(struct confmesh *c, const char *key, const char *element,
                     struct confmesh_token *ret_token);
int confmesh_set_remove(struct confmesh *c, const char *key,
                        const char *element, struct confmesh_token *ret_token);
int confmesh_set_revoke(struct confmesh *c, const char *key,
                        const char *element, struct confmesh_token *ret_token);

/* A transaction: applies whole or not at all, here and everywhere. At most one
 * operation per key or element. Adding never fails; commit tells. */
struct confmesh_txn;
int confmesh_txn_begin(struct confmesh *c, struct confmesh_txn **ret_txn);
void confmesh_txn_put(struct confmesh_txn *t, const char *key,
                      const void *value, size_t size, uint64_t flags);
void confmesh_txn_del(struct confmesh_txn *t, const char *key);
void confmesh_txn_revoke(struct confmesh_txn *t, const char *key);
void confmesh_txn_set_add(struct confmesh_txn *t, const char *key,
                          const char *element);
void confmesh_txn_set_remove(struct confmesh_txn *t, const char *key,
                             const char *element);
void confmesh_txn_set_revoke(struct confmesh_txn *t, const char *key,
                             const char *element);
/* Deletes every key under prefix, at most 4,096. */
void confmesh_txn_del_tree(struct confmesh_txn *t, const char *prefix);
/* Conditions of their own: the key is absent; its visible version is this. They
 * look at the state before the transaction. */
void confmesh_txn_check_absent(struct confmesh_txn *t, const char *key);
void confmesh_txn_check_version(struct confmesh_txn *t, const char *key,
                                const char *token);
/* For the operation added last: only if the key is absent; only if the
 * visible version (a token of get's write) is this one. */
void confmesh_txn_if_absent(struct confmesh_txn *t);
void confmesh_txn_if_version(struct confmesh_txn *t, const char *token);
/* A put or set-add ends at this time (milliseconds since 1970): it is absent
 * from then on, everywhere, and watches hear of it. */
void confmesh_txn_expires_at(struct confmesh_txn *t, uint64_t unix_ms);
void confmesh_txn_author(struct confmesh_txn *t, const char *author);
/* Frees t in either case. */
int confmesh_txn_commit(struct confmesh_txn *t,
                        struct confmesh_token *ret_token);
void confmesh_txn_abort(struct confmesh_txn *t);

/* Waits until the event that the token names is here; a read begun after that
 * sees it. CONFMESH_ERR_TIMEOUT; confmesh_error tells what is missing. */
int confmesh_wait_here(struct confmesh *c, const char *token,
                       uint64_t timeout_ms);
/* Waits until members ("2", "majority", "all"; this node counts) have committed
 * it to their disks. CONFMESH_ERR_TIMEOUT: confmesh_error names who has not;
 * the write stands and spreads all the same. At most ten minutes. */
int confmesh_wait_members(struct confmesh *c, const char *token,
                          const char *members, uint64_t timeout_ms);

/* ---- watching ---- */

enum confmesh_change_kind {
    CONFMESH_PUT = 1,
    CONFMESH_DELETE = 2,
    CONFMESH_ADD = 3,
    CONFMESH_REMOVE = 4,
};
struct confmesh_change {
    uint64_t revision; /* changes of one commit have the same */
    bool last;         /* the commit's last change: resume from here */
    enum confmesh_change_kind kind;
    bool revoked;
    bool expired;    /* DELETE or REMOVE because its time had come */
    const char *key; /* terminated, like element */
    const char *element;
    const void *value;
    size_t value_size;
    uint64_t flags;
};
struct confmesh_watch;
/* Changes after revision; UINT64_MAX: from now on. prefix "" = everything. */
int confmesh_watch_open(struct confmesh *c, const char *prefix,
                        uint64_t revision, struct confmesh_watch **ret_watch);
/* The next change, waiting at most timeout_ms. Lives until the next call.
 * CONFMESH_ERR_TIMEOUT, CONFMESH_ERR_CLOSED, CONFMESH_ERR_RESET. */
int confmesh_watch_next(struct confmesh_watch *w, uint64_t timeout_ms,
                        struct confmesh_change *ret_change);
void confmesh_watch_close(struct confmesh_watch *w);

/* ---- the rest ---- */

/* A join token for uses further nodes, into text (at least 2048 bytes). */
int confmesh_token_create(struct confmesh *c, unsigned uses, uint64_t ttl_ms,
                          char *ret_text, size_t size);
/* Takes a snapshot and reads it back; to NULL = all configured targets. */
int confmesh_snapshot(struct confmesh *c, const char *to);

#ifdef __cplusplus
}
#endif

#endif
