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
    INTENT_LOCAL = 1,   /* a transaction of local operations */
    INTENT_FOREIGN = 2, /* one event from a peer */
    INTENT_META = 3,    /* set named facts (store.h META_…) */
    INTENT_REPLACE = 4, /* an empty replica adopts a verified snapshot */
    INTENT_EXPIRE = 5,  /* nothing of its own: a batch, so that what has
                           expired is told */
};

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

struct local_op {
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
    struct slice author;

    struct slice event; /* INTENT_FOREIGN: original bytes */
    bool verified;      /* signature checked against the roster's key */
    uint8_t from[16];   /* key id of the peer that sent it */

    struct meta_fact *facts; /* INTENT_META; owned array */
    size_t facts_count;

    void *replacement; /* INTENT_REPLACE: see writer.h */

    intent_done done; /* may be NULL */
    void *context;

    /* Results, filled by writer_commit. */
    int result;        /* 0; CM_ERR_CONDITION, _REVOKED, _FULL, … */
    bool wrote;        /* false: held already, nothing was written */
    struct dot dot;    /* LOCAL: the causal token */
    uint64_t revision; /* commit in which it became visible */
    size_t failed_op;  /* index of the operation that was refused */
    struct cm_detail detail;
};

#define INTENT_MEMORY_MAX (4u << 20)
#define INTENT_QUEUE_MAX 4096 /* intents waiting for the writer */
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
size_t intent_size(const struct intent *i); /* bytes, for the queue's bound */

#endif
