/* Intent: what the writer is asked to do. Local operations come without dots;
 * foreign events come with their signature checked.
 *
 * Life: the loop fills one in and submits it, the writer thread alone touches
 * it until its batch is committed, then it returns to the loop with its result.
 * Everything it needs is copied into it, nothing is borrowed across threads. */
#ifndef NODE_INTENT_H
#define NODE_INTENT_H

#include "crdt/base/error.h"
#include "crdt/event.h"

enum intent_kind {
    INTENT_LOCAL = 1,    /* a transaction of local operations */
    INTENT_FOREIGN = 2,  /* one event from a peer */
    INTENT_META = 3,     /* set named facts (store.h META_…) */
    INTENT_REPLACE = 4,  /* the replica adopts a verified cut */
    INTENT_EXPIRE = 5,   /* nothing of its own: a batch, so that what has
                            expired is told */
    INTENT_CLOCKS = 6,   /* how the clocks of the mesh stand to this node's */
    INTENT_EXPLAIN = 7,  /* what waits here and would change the entry of its
                            one operation */
    INTENT_ADOPTING = 8, /* a cut is being compared with the state: what it
                            covers waits from this batch on, until it was
                            adopted or another one of these ends it */
    INTENT_ORDER = 9,    /* event: an eviction order or a retirement, heard */
    INTENT_PROPOSE = 10, /* a floor is proposed, if there is anything above */
    INTENT_PRUNE = 11,   /* event bytes below the floor go, some at a time */
    INTENT_HEAL = 12,    /* mends damaged or differing records */
    INTENT_UNSENT = 13,  /* an unsent write is dropped, or applied */
    INTENT_SUCCEED = 14, /* this node's next incarnation is rostered by this
                            one, and takes over; facts: META_INCARNATION,
                            META_CERTIFICATE and others */
    INTENT_STAGE = 15,   /* a step of staging a large cut */
};
#define INTENT_LAST INTENT_STAGE

/* What must hold in the write transaction, or nothing of the intent happens.
 * Conditions are atomic against this node's replica; a concurrent write
 * elsewhere becomes a visible conflict. */
enum condition_kind {
    CONDITION_NONE = 0,
    CONDITION_ABSENT = 1,   /* --if-absent, cas=0 */
    CONDITION_VERSION = 2,  /* --if-version: the winner's dot, or a revoke's,
                               which is thereby lifted */
    CONDITION_REVISION = 3, /* cas=INDEX: entry_local.modify_revision */
};

/* What an operation of a transaction does. Checks look at the state before the
 * transaction; reads see what the operations before them wrote. */
enum local_verb {
    LOCAL_WRITE = 0,       /* kind, if its condition holds */
    LOCAL_CHECK = 1,       /* the condition alone */
    LOCAL_GET = 2,         /* the register's value; it must be present */
    LOCAL_GET_TREE = 3,    /* every register whose key starts with key */
    LOCAL_DELETE_TREE = 4, /* becomes a del of every such register */
    LOCAL_RESOLVE = 5,     /* writes the sibling named by version again, which
                              supersedes all; kind follows from it */
};

struct local_op {
    enum local_verb verb;
    enum op_kind kind;
    struct slice key; /* into the intent's memory */
    struct slice element;
    struct slice value;
    uint64_t flags;
    hlc_t expires;
    enum condition_kind condition;
    struct dot version;
    uint64_t revision;
    bool unrevoke; /* lifts a revoke knowingly */
    /* RESOLVE: the siblings that were seen, as intent_pack_dots writes them;
     * empty: whatever there is. */
    struct slice seen;
    bool was_delete; /* a revoke that a plain delete became */
    /* SET_REMOVE: removes the adds named by seen alone, and not all. */
    bool narrow;
    struct slice author; /* instead of the intent's, if not empty */
    uint32_t level; /* ROSTER_ADD: that the newcomer knows; 0: what this program
                       does */
    size_t index;   /* as the client counts: where a tree's del comes from */
};

/* Why one operation was refused. */
struct intent_failure {
    size_t op; /* as the client counts */
    int code;
    char text[160];
};

/* What an operation of a transaction read or wrote. */
struct intent_result {
    size_t op; /* as the client counts */
    bool has_value;
    struct slice key; /* into the intent's results */
    struct slice value;
    uint64_t flags;
    uint64_t create_revision;
    uint64_t modify_revision;
    hlc_t expires;
    struct dot version;
};

/* An event that is not applied yet. */
struct intent_waiting {
    struct dot dot;
    hlc_t hlc;
    enum op_kind kind;
    struct slice author; /* into the intent's results */
    bool held;           /* by its clock; else by what it depends on */
    char why[192];
};

struct meta_fact {
    const char *name;   /* static */
    struct slice value; /* size 0 deletes */
};

struct intent;
/* On the loop's thread (on the caller's, in the simulator). The intent is the
 * callee's again, to be freed with intent_free. */
typedef void (*intent_done)(void *context, struct intent *intent);

struct intent {
    enum intent_kind kind;
    struct intent *next;  /* queue link */
    struct buffer memory; /* owns what the slices below point to */

    struct local_op *ops; /* INTENT_LOCAL; owned array */
    size_t ops_count;
    size_t ops_given; /* without those that trees became; the writer's */
    struct slice author;
    bool detailed; /* wants results, and every failure */
    /* Plain deletes under these become revokes; node_submit's, borrowed from
     * the node, which outlives the writer. */
    const char *const *revoke_deletes;
    size_t revoke_deletes_count;

    struct slice event; /* INTENT_FOREIGN, INTENT_ORDER: original bytes */
    bool verified;      /* signature checked against the roster's key */
    uint8_t from[16];   /* key id of the peer that sent it */

    struct meta_fact *facts; /* INTENT_META; owned array */
    size_t facts_count;

    uint64_t unsent_id; /* INTENT_UNSENT; 0: all that are parked */
    bool unsent_apply;  /* as a new write, now; else it is dropped */
    bool unsent_unrevoke;
    size_t unsent_count; /* how many it was */

    void *replacement;         /* REPLACE: see writer.h; HEAL: heal_change.h;
                                  STAGE: stage.h; borrowed */
    const struct vv *adopting; /* INTENT_ADOPTING: of the cut, NULL: no more;
                                  borrowed until done */

    int64_t clock_offset_ms; /* INTENT_CLOCKS: their median less ours */
    size_t clocks;           /* how many it is of, ours included */

    intent_done done; /* may be NULL */
    void *context;

    /* Results, filled by writer_commit. */
    int result;        /* 0; CM_ERR_CONDITION, _REVOKED, _FULL, … */
    bool wrote;        /* false: held already, nothing was written */
    struct dot dot;    /* LOCAL: the causal token */
    uint64_t revision; /* commit in which it became visible */
    bool more;         /* PRUNE, STAGE: there is more to do */
    size_t failed_op;  /* index of the operation that was refused */
    struct cm_detail detail;
    struct buffer results; /* detailed: packed, see intent_next_result */
    struct intent_failure *failures; /* detailed: owned */
    size_t failures_count;
};

#define INTENT_MEMORY_MAX (4u << 20)
#define INTENT_RESULTS_MAX (16u << 20) /* bytes that a transaction reads */
#define INTENT_FAILURES_MAX 256        /* told of one transaction */
#define INTENT_QUEUE_MAX 4096          /* intents waiting for the writer */
#define INTENT_QUEUE_BYTES_MAX (64u << 20)

/* NULL when memory is short. */
struct intent *intent_new(enum intent_kind kind);
void intent_free(struct intent *i); /* NULL is fine */
/* Copies key, element and value of op into the intent. 0, CM_ERR_LIMIT beyond
 * EVENT_OPS_MAX, CM_ERR_TOO_LARGE, CM_ERR_NOMEM. Limits of single fields and
 * duplicate keys are checked by the writer, as any client's. */
int intent_add_op(struct intent *i, const struct local_op *op);
int intent_set_author(struct intent *i, struct slice author);
int intent_set_event(struct intent *i, struct slice event);
int intent_add_fact(struct intent *i, const char *name, struct slice value);
/* Remembers a failure; beyond INTENT_FAILURES_MAX it is passed over. */
void intent_add_failure(struct intent *i, size_t op, int code,
                        const char *text);
void intent_add_result(struct intent *i, const struct intent_result *result);
/* Reads results one by one from *at on, which starts as 0. */
bool intent_next_result(const struct intent *i, size_t *at,
                        struct intent_result *ret_result);
/* The same for INTENT_EXPLAIN. */
void intent_add_waiting(struct intent *i, const struct intent_waiting *waiting);
bool intent_next_waiting(const struct intent *i, size_t *at,
                         struct intent_waiting *ret_waiting);
/* Dots for local_op.seen. */
void intent_pack_dots(struct buffer *out, const struct dot *dots, size_t count);
bool intent_dots_have(struct slice packed, const struct dot *dot);
size_t intent_dots_count(struct slice packed);
size_t intent_size(const struct intent *i); /* bytes, for the queue's bound */

#endif
