/* The writer owns the truth: incarnation, seq, HLC, version vector, roster,
 * pending events. writer_commit is the one function that changes the store:
 * one call, one LMDB write transaction, one fsync. In production it runs on the
 * writer's thread; the simulator calls it at one virtual instant and delivers
 * the result at a later one.
 *
 * Independent local writes of a batch are gathered into as few events as the
 * limits and one-operation-per-key allow, so that one signature serves many; a
 * transaction is never split over two. An event of one's own leaves only
 * in the result, that is after its commit is on disk. */
#ifndef NODE_WRITER_H
#define NODE_WRITER_H

#include "crdt/certificate.h"
#include "node/hazard.h"
#include "node/intent.h"
#include "node/pending.h"
#include "node/refusal.h"
#include "node/roster.h"
#include "node/standing_view.h"
#include "node/store.h"
#include "node/unsent.h"

#define WRITER_BATCH_MAX 512     /* intents in one commit */
#define WRITER_EXPIRIES_MAX 1024 /* ends that one commit tells */

/* "Held = dated more than max_clock_drift ahead of local time and of the median
 * of the peers' clocks." */
#define CLOCK_DRIFT_MAX_MS 500
/* Of two clocks nobody can tell which one is wrong: a node stops dating events
 * only when it is ahead of the median of at least so many, its own included. */
#define CLOCKS_JUDGE_MIN 3

/* Events that wait for time to pass, among the pending ones. */
struct held_events {
    size_t events;
    struct incarnation incarnation; /* of the one dated farthest ahead */
    hlc_t hlc;                      /* its stamp */
};

struct writer;

/* Loads incarnation, VV, roster and HLC from the store (which has META_… of an
 * initialised directory). sign_secret_key is the node's. */
int writer_open(struct writer **ret_writer, struct store *s,
                const uint8_t sign_secret_key[64], struct cm_detail *detail);
void writer_close(struct writer *w);
/* Before the first batch: as a program of that format level would go on (op.h
 * LEVEL_…), which is how upgrades are tested. CM_ERR_FORMAT_VERSION when a
 * newer one has been at work here. */
int writer_limit_level(struct writer *w, uint32_t level,
                       struct cm_detail *detail);

/* First life of a store: writes identity facts; founder or joiner. The founder
 * of a generation is rostered by its order; a joiner is rostered by its
 * sponsor and stays not ready until it has adopted a snapshot. */
struct store_identity {
    struct incarnation incarnation;
    struct slice certificate;
    uint8_t authority_public_key[32];
    struct slice generation_order;
    struct slice host;
    bool ready;
};
int writer_initialise(struct store *s, const struct store_identity *identity,
                      struct cm_detail *detail);

/* What becomes of the state that is there when a cut is adopted. */
enum adopt_mode {
    /* There must be none: a joiner, a restore. */
    ADOPT_EMPTY = 0,
    /* It is joined with the cut (crdt/join.h): catch-up. Entries come as a
     * difference (cut_diff.h), each as the cut has it, count 0 where the cut
     * has none. INTENT_ADOPTING has announced the cut's vector before the
     * difference was begun, so that nothing which the cut covers was applied
     * since. */
    ADOPT_JOIN = 1,
    /* It goes, whatever the vector says: returning. The cut comes whole; own
     * events that it does not cover are handed to unsent. */
    ADOPT_RETURN = 2,
    /* It stays, and so does its vector: what another generation's state holds
     * beyond it becomes unsent operations, which the batches that follow write
     * anew or park (writer_retain.c). Entries come as a difference: those
     * siblings alone. */
    ADOPT_RETAIN = 3,
};

struct batch;
struct meta_fact;

/* The state to adopt (INTENT_REPLACE, restore): entries are pulled one by one
 * within the transaction, which is aborted on any error. */
struct replacement {
    enum adopt_mode mode;
    const struct vv *vv;
    hlc_t hlc_max;
    bool any_clock; /* restore: however far ahead hlc_max is */
    struct slice generation_order;
    /* META_STANDING of the cut; empty: nothing, as in a new generation. */
    struct slice standing;
    /* 0 and an entry; CM_ERR_NOT_FOUND at the (verified!) end; else an error
     * that aborts. Ids ascend. */
    int (*next)(void *context, struct entry_id *ret_id,
                const struct entry **ret_entry);
    void *context;
    /* JOIN: the joined state stands in the other bank (stage.h), and next is
     * not called. CM_ERR_BUSY: too much is left to be settled. */
    struct staged *staged;
    /* What digest_finish must give; of a join only where nothing is left that
     * the cut does not cover. NULL: unknown. */
    const struct hash *state_digest;
    /* EMPTY, RETURN: the sum over all that next will give, from who has just
     * read the same bytes and answers for next giving all of it. NULL: it is
     * added up here. */
    const struct digest *digest;
    /* An incarnation that the cut must have in its roster, or NULL. */
    const struct incarnation *contains;
    /* Set in the same transaction. RETURN: META_INCARNATION and
     * META_CERTIFICATE of the next life are among them. */
    const struct meta_fact *facts;
    size_t facts_count;
    /* RETURN: called in the same transaction for each event of this node's
     * former incarnation that the cut does not cover, in order; bytes live
     * until it returns or writes. An error aborts. NULL: they go. */
    int (*unsent)(void *unsent_context, struct batch *b, const struct dot *dot,
                  struct slice event, bool doubtful);
    void *unsent_context;
    /* RETURN: names that a member has shown to bear two events. A branch that
     * is shorter here than the cut's cannot be told from one by the vectors. */
    const struct incarnation *forked;
    size_t forked_count;
    uint64_t *kept; /* RETAIN: how many siblings were kept; or NULL */
    /* RETAIN: of another mesh, which this one was begun from: its generations
     * have nothing to do with those here. */
    bool other_mesh;
};
/* EMPTY: CM_ERR_EXISTS unless the replica is empty; sets META_READY. All modes:
 * CM_ERR_WRONG_GENERATION (but RETURN), CM_ERR_SEALED beyond a seal,
 * CM_ERR_FORK when the cut knows other or later events of a name that is
 * known here, CM_ERR_HELD while its greatest stamp is ahead of the clocks,
 * CM_ERR_INVALID to RETAIN a state of this generation,
 * CM_ERR_NOT_FOUND without the incarnation that it should contain,
 * CM_ERR_DAMAGED when its digest is not the promised one. wall_ms is the local
 * clock. */
int writer_replace(struct writer *w, const struct replacement *r,
                   uint64_t wall_ms, struct cm_detail *detail);

/* The immutable result of a batch; freed by the loop. */
struct commit_event {
    struct slice bytes; /* into the result's memory */
    struct dot dot;
    bool own;
    uint8_t from[16]; /* foreign: peer that sent it */
};
struct commit_result {
    struct intent *intents; /* those of the batch, linked, with results */
    uint64_t revision;      /* after the commit */
    bool wrote;
    struct commit_event *events; /* committed by this batch, in order: to be
                                    pushed (own) and counted */
    size_t events_count;
    struct buffer memory;
    bool stale;            /* nothing was committed, and the store cannot be
                              read just now: revision, vv and digest say
                              nothing, what was known before still holds */
    bool damaged;          /* and will not be: what the state begins with is
                              damaged; only another start mends that */
    struct vv vv;          /* as committed */
    struct hash digest;    /* digest_finish of state and VV */
    struct hash proof;     /* of digest and standing_hash: equal vectors have
                              equal ones; goes on probes */
    struct roster *roster; /* NULL when unchanged; the result's reference, to
                              be kept with roster_retain */
    struct standing_view *standing; /* NULL when unchanged; likewise */
    bool floor_moved;
    uint64_t above_floor; /* events that the vector covers and the floor not */
    uint64_t collect_wall_ms; /* when a floor would find something to collapse;
                                 0: now, UINT64_MAX: never */
    bool prune_due;           /* event bytes lie below a floor */
    bool shadow;         /* records stand in the bank that does not count */
    bool alarm_conflict; /* two orders of one epoch were heard */
    bool alarm_overrun;  /* something beyond a seal has been applied here */
    bool lost_branch;    /* of a fork, by what fences cover… */
    struct standing_lost lost; /* …and which */
    size_t pending_events;     /* waiting for what they depend on */
    size_t pending_bytes;
    struct held_events held;
    uint32_t waits[REFUSAL_KINDS]; /* pending events by what they wait for */
    struct refusals refused;       /* counted by this batch */
    /* vv, raised by the verified pending events that follow on it without a
     * gap: what need not be sent again. Empty if nothing is pending. */
    struct vv received;
    bool clock_ahead; /* local writes are refused: the clock is too far ahead */
    bool alarm_fork;  /* a peer proved another event under a known dot */
    bool alarm_hazard;         /* a peer proved later events of this node's own:
                                  local writes are refused from then on */
    enum return_reason reason; /* why this incarnation has to end, if so */
    struct unsent_counts unsent;
    uint64_t wall_ms;        /* of the batch; 0: before any */
    bool disk_full;          /* no room: nothing of the batch was committed */
    bool disk_failed;        /* the disk refused it: likewise */
    size_t intents_bytes;    /* what the batch's intents held */
    size_t local_intents;    /* batch size that group commit reached */
    uint64_t expiry_wall_ms; /* when the next value expires: an INTENT_EXPIRE
                                is wanted then; UINT64_MAX: never */
};

/* Runs one batch. Never fails as a whole: each intent has its result; on a
 * full disk or an I/O error nothing of the batch is visible and every local
 * intent says so. batch is a linked list, at most WRITER_BATCH_MAX. wall_ms is
 * the local clock. NULL only when memory is short for the result itself (then
 * nothing was done and the batch is the caller's still). */
struct commit_result *writer_commit(struct writer *w, struct intent *batch,
                                    uint64_t wall_ms);
void commit_result_free(struct commit_result *r); /* not its intents */

/* The state that the loop starts from, before any batch. */
int writer_snapshot(struct writer *w, struct commit_result **ret_result);

struct incarnation writer_incarnation(const struct writer *w);
struct generation_id writer_generation(const struct writer *w);

#endif
