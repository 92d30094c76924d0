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
#include "node/intent.h"
#include "node/pending.h"
#include "node/roster.h"
#include "node/store.h"

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

/* The state to adopt (INTENT_REPLACE, restore): entries are pulled one by one
 * within the transaction, which is aborted on any error. */
struct replacement {
    const struct vv *vv;
    hlc_t hlc_max;
    struct slice generation_order;
    /* 0 and an entry; CM_ERR_NOT_FOUND at the (verified!) end; else an error
     * that aborts. */
    int (*next)(void *context, struct entry_id *ret_id,
                const struct entry **ret_entry);
    void *context;
    const struct hash *state_digest; /* what digest_finish must give */
};
/* Refused (CM_ERR_EXISTS) unless the replica is empty. Sets META_READY. */
int writer_replace(struct writer *w, const struct replacement *r,
                   struct cm_detail *detail);

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
    struct vv vv;          /* as committed */
    struct hash digest;    /* digest_finish of state and VV */
    struct roster *roster; /* NULL when unchanged; the result's reference, to
                              be kept with roster_retain */
    size_t pending_events; /* waiting for what they depend on */
    size_t pending_bytes;
    struct held_events held;
    /* vv, raised by the verified pending events that follow on it without a
     * gap: what need not be sent again. Empty if nothing is pending. */
    struct vv received;
    bool clock_ahead; /* local writes are refused: the clock is too far ahead */
    bool alarm_fork;  /* a peer proved another event under a known dot */
    bool alarm_hazard; /* a peer proved later events of this node's own:
                          local writes are refused from then on */
    bool disk_full;
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
