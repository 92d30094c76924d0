/* Unsent operations: what this node wrote in an earlier life and the mesh never
 * got.
 *
 * Whoever returns replaces its state by a cut. Its own events that the cut does
 * not cover are kept, in the transaction that replaces: one record for each,
 * with its original bytes. Returning to another generation, every sibling that
 * the cut does not cover is kept likewise, whoever wrote it. A record waits for
 * the seal of its incarnation; then it is written again, or parked with the
 * reason (writer_reissue.c). Parked ones stay until somebody drops or applies
 * them.
 *
 * "The cut covers it" is no proof that the mesh has it. A sponsor that does not
 * know of its own eviction may be the only one that ever got it, and whoever
 * returns by him has to return again, to a state that never had it; by then its
 * bytes would be gone with the log. So own events that the cut covers are kept
 * as well, as SHARED, until the floor covers them, which no evictee can pass
 * alone. Nobody is shown these: they become unsent, or go.
 *
 * Nor is "its writer has it" any proof: that one's disk may have gone back, or
 * be gone. So what others wrote and the cut does not cover is kept as well, as
 * OTHERS. It is never written again by itself, because its writer may have been
 * evicted as a thief, or write it again as well; it goes when the state shows
 * it, or when a person decides (unsent_others.c).
 *
 * An event is one unit: the boundaries of the transactions that share one are
 * not in it, and a transaction is never split. */
#ifndef NODE_UNSENT_H
#define NODE_UNSENT_H

#include "crdt/entry.h"
#include "crdt/event.h"
#include "node/store.h"

#define UNSENT_TEXT_MAX 160

struct store_txn;

enum unsent_state {
    UNSENT_WAITS = 0,     /* for the seal of its incarnation */
    UNSENT_LOST = 1,      /* a concurrent write is newer */
    UNSENT_REVOKED = 2,   /* its key or element is revoked */
    UNSENT_ABSENT = 3,    /* its key is absent, and whatever removed it may be
                             forgotten already */
    UNSENT_COLLAPSED = 4, /* the adds that it removes may stand for others */
    UNSENT_REFUSED = 5,   /* by the checks of ordinary writes; see text */
    UNSENT_TWICE = 6,     /* another event bears its name, and stands */
    UNSENT_SHARED = 7,    /* none yet: the state that was returned to had it */
    UNSENT_OTHERS = 8,    /* another node wrote it; that one writes it again,
                             unless its disk is gone */
};
#define UNSENT_STATE_LAST UNSENT_OTHERS

struct unsent {
    uint64_t id; /* of this node, counted from 1 */
    enum unsent_state state;
    uint64_t op; /* parked: the operation that is the reason */
    struct dot dot;
    hlc_t hlc;
    bool
        sibling; /* bytes are a canonical entry of one sibling; else an event */
    bool foreign_generation; /* no seal will come, none is waited for */
    /* The cut had an event of this name, perhaps another one: the disk went
     * back, or was copied, and the name was given again. */
    bool doubtful;
    struct slice bytes; /* borrowed */
    struct slice text;  /* borrowed: why it was refused; UTF-8 */
};

/* What a person is told of a state. */
const char *unsent_state_name(enum unsent_state state); /* one word */
const char *unsent_state_text(enum unsent_state state);

/* ---- records ---- */

/* CM_ERR_NOT_FOUND, CM_ERR_DAMAGED. Slices lie in the map until the next write
 * of the transaction. */
int unsent_get(struct store_txn *t, uint64_t id, struct unsent *ret_unsent);
/* The first with an id greater than after that can be read; the scrub finds the
 * others. CM_ERR_NOT_FOUND at the end. */
int unsent_next(struct store_txn *t, uint64_t after, struct unsent *ret_unsent);
/* id 0: behind all others. record is scratch; bytes must not lie in the map. */
int unsent_put(struct store_txn *t, struct buffer *record,
               const struct unsent *u);
int unsent_delete(struct store_txn *t, uint64_t id);

/* The same for readers on any thread. */
int unsent_read(struct store_reader *r, uint64_t after,
                struct unsent *ret_unsent);
/* How many wait, how many are parked, how many are kept in case. */
struct unsent_counts {
    size_t waiting;
    size_t parked; /* those of others included */
    size_t shared;
    size_t others;
};
int unsent_count(struct store_txn *t, struct unsent_counts *ret_counts);

/* ---- what is in one ---- */

struct unsent_ops {
    struct event event; /* if it is one */
    bool has_event;
    struct op one; /* if it is a sibling */
    struct entry entry;
    const struct op *ops;
    size_t count;
    struct dot dot;
    hlc_t hlc;
};
/* Operations of the mesh's own (roster-add and the like) are in it, too; all
 * slices borrow from u->bytes. Release after success only. CM_ERR_DAMAGED,
 * CM_ERR_NOMEM. */
int unsent_open(struct unsent_ops *ret_ops, const struct unsent *u);
void unsent_close(struct unsent_ops *ops);
/* Whether it is the client's, and not the mesh's own. */
bool unsent_is_client_op(const struct op *op);

/* ---- keeping ---- */

struct batch;
struct replacement;

/* For replacement.unsent: the event, unless nothing of a client is in it. */
int unsent_keep_event(void *context, struct batch *b, const struct dot *dot,
                      struct slice event, bool doubtful);
/* Likewise, but the cut covers it. 0 also for one that cannot be read. */
int unsent_keep_shared(struct batch *b, const struct dot *dot,
                       struct slice event);
/* Of what is kept as SHARED the cut covers no more, or by another event, what
 * becomes unsent. same says whether the cut has this branch of a name. */
typedef bool (*unsent_same_branch)(struct batch *b, const struct replacement *r,
                                   const struct incarnation *i);
int unsent_look_again(struct batch *b, const struct replacement *r,
                      unsent_same_branch same);
/* What u says of its record; its slices may lie in the map. */
int unsent_set_state(struct batch *b, const struct unsent *u);
enum unsent_keep {
    KEEP_FOREIGN, /* of another generation */
    KEEP_BRANCH,  /* of a branch that lost */
    KEEP_OWN,     /* of an earlier incarnation of this node */
    KEEP_OTHERS,  /* of any other one */
};
/* s must not lie in the map. */
int unsent_keep_sibling(struct batch *b, const struct entry_id *id,
                        const struct sibling *s, enum unsent_keep why);
/* Every sibling beyond the cut's vector of which no event is kept. To be called
 * before anything is dropped; former is the incarnation that is given up. */
int unsent_keep_siblings(struct batch *b, const struct replacement *r,
                         const struct incarnation *former);
/* Every sibling beyond the cut's vector of an incarnation of own (16 bytes
 * each), of which no event is kept: one that a disk which went back had lost,
 * and got again from somebody who did not know of his own eviction; and, if
 * former is among own, what those of its events left whose bytes have rotted
 * (missing: there are some). */
int unsent_keep_own(struct batch *b, const struct replacement *r,
                    const struct incarnation *former, struct slice own,
                    bool missing);
/* Likewise, of incarnations that are neither former nor in own. */
int unsent_keep_others(struct batch *b, const struct replacement *r,
                       const struct incarnation *former, struct slice own);

/* unsent_others.c: whether nothing is left to be decided about a record of
 * OTHERS, because the state covers it, or shows the same as new or newer. */
int unsent_others_are_shown(struct batch *b, const struct unsent *u,
                            bool *ret_are);
/* Every sibling above the floor that events of branch left, of which no event
 * is kept: it was forked, and the cut has the other branch of it. Likewise
 * before anything is dropped. */
int unsent_keep_branch(struct batch *b, const struct incarnation *branch);

#endif
