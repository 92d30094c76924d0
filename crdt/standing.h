/* Standing: who may write, who is on the way out, and what everyone has.
 *
 * Roster, proposals of a floor with their acknowledgements, fences, seals,
 * floor and floor time: all a function of the version vector, because they
 * change by applied events alone. This is the state machine; it touches
 * neither disk nor clock. Persistently it is entries like all others, so that
 * digest, snapshots and cuts carry it without knowing it:
 *
 *   space           key                          siblings
 *   SPACE_ROSTER    incarnation                  MEMBER: its certificate
 *   SPACE_FENCE     incarnation of the writer    FENCE: the fence (fence.h)
 *   SPACE_PROPOSAL  dot of the proposal (24)     ACK: [acker bin16, cut]; the
 *                                                cut, [[incarnation, seq]…],
 *                                                is empty in all but the
 *                                                proposer's own
 *
 * and a small record (standing_pack) of what only ever grows: floor, floor
 * time, seals, and the last order that counted. A proposal that passed, a
 * fence of which every name is sealed, and the roster entry of a sealed
 * incarnation are removed, in the same transaction, at every replica alike.
 *
 * Rules (each was model checked; the names are those of the tests):
 * - Roster-add, ack and fence stand alone in their event, else it is void.
 * - "The add counts as acknowledgement and fence of everything that its sponsor
 *   had acknowledged and fenced before": applying an add gives the newcomer an
 *   ACK sibling in every open proposal in which the sponsor has one, and a copy
 *   of the sponsor's FENCE, both under the dot and stamp of the add.
 * - A set of evictees is sealed all at once when every rostered incarnation
 *   outside of it has a fence that names all of it; of all such sets the
 *   greatest (it is unique: unions of such sets are such sets). Last seqs are
 *   the greatest that these fences cover. Only orders and retirements inside of
 *   applied fences count.
 * - A proposal passes when every rostered incarnation has acknowledged it. The
 *   floor is the join of all that passed; floor time the greatest, over them,
 *   of the least stamp among all acknowledgements of one, evictees' included.
 * - An add of a sealed incarnation is void.
 * - From its first fence on, a replica applies an evictee's event only if a
 *   fence of another incarnation that stays covers it. That fence depends on
 *   this very event and so cannot have been applied: it is *announced*, that
 *   is received and verified, but pending.
 *
 * Memory: a few hundred bytes for each living incarnation and open proposal,
 * about 24 for each sealed one. */
#ifndef CRDT_STANDING_H
#define CRDT_STANDING_H

#include "crdt/entry.h"
#include "crdt/fence.h"

#define STANDING_PROPOSALS_MAX 1024 /* open; a further one is void */

struct standing;

/* Entries that the machine reads and writes, in the transaction of whoever
 * calls. Values are borrowed until the next call. */
struct standing_store {
    void *ctx;
    /* The entry under id; CM_ERR_NOT_FOUND gives an empty one. */
    int (*get)(void *ctx, const struct entry_id *id, struct entry *ret_entry);
    /* Replaces the entry (count 0: removes it). before is what get gave. */
    int (*put)(void *ctx, const struct entry_id *id, const struct entry *before,
               const struct entry *after);
};

struct standing_options {
    struct mesh_id mesh;
    struct generation_id generation;
    uint8_t authority_public_key[32];
    struct incarnation founder; /* rostered from the start */
    const struct vv *sealed;    /* by the generation's order; copied */
};

/* CM_ERR_NOMEM. */
int standing_create(struct standing **ret_standing,
                    const struct standing_options *options);
void standing_free(struct standing *s); /* NULL is fine */
/* For a transaction that may be aborted, and for scratch replicas. */
int standing_copy(struct standing **ret_copy, const struct standing *s);

/* ---- loading ---- */

/* The record of what only grows; canonical, and part of every cut. */
void standing_pack(struct buffer *out, const struct standing *s);
/* Into a fresh one. An error is in u or returned. */
int standing_unpack(struct standing *s, struct unpacker *u);
/* Each stored entry of the three spaces, in any order, after unpacking. */
int standing_load(struct standing *s, const struct entry_id *id,
                  const struct entry *e);

/* ---- applying ---- */

enum standing_verdict {
    STANDING_APPLY = 0, /* nothing here against it */
    STANDING_WAIT,      /* own fence; no announced fence covers it yet */
    STANDING_BEYOND,    /* beyond its incarnation's seal: refused for ever */
    STANDING_UNKNOWN,   /* not rostered (yet) */
};
/* Whether an event with that dot may be applied by self now. */
enum standing_verdict standing_judge(const struct standing *s,
                                     const struct incarnation *self,
                                     const struct dot *dot);

/* Whether the only operation of an event counts or is void; to be asked after
 * everything that the event depends on has been applied. alone: no other
 * operation is in the event. Errors: CM_ERR_NOMEM only. ret_reason (may be
 * NULL) is text for a person when it is void. */
int standing_allows(const struct standing *s, const struct op *op,
                    const struct dot *dot, bool alone, bool *ret_counts,
                    const char **ret_reason);

/* What has happened to it, for the caller to act upon; owned by the standing
 * until its next change. */
struct standing_changes {
    bool roster;   /* members were added or sealed */
    bool floor;    /* floor or floor time moved */
    bool conflict; /* an order of an epoch that has another one already */
    bool overrun;  /* something beyond a seal has been applied here */
    const struct incarnation *sealed;
    size_t sealed_count;
};

/* Applies roster-add, ack or fence that counts: changes the entries through
 * store, then seals and passes whatever is due. */
int standing_apply(struct standing *s, const struct standing_store *store,
                   const struct vv *vv, const struct op *op,
                   const struct dot *dot, hlc_t hlc,
                   struct standing_changes *ret_changes);
/* After entries were changed by other means (a join of cuts). */
int standing_settle(struct standing *s, const struct standing_store *store,
                    const struct vv *vv, struct standing_changes *ret_changes);
/* Takes over what only grows from another replica's record: floors, floor
 * times and seals join. CM_ERR_EVICTION_CONFLICT if its orders are others. */
int standing_join(struct standing *s, const struct standing *other);

/* ---- what is known, but is no state ---- */

/* A verified fence that is still pending; the last one of each writer is kept.
 * Never persistent. */
int standing_announce(struct standing *s, const struct incarnation *writer,
                      const struct fence *f);
/* An order or a retirement heard outside of fences, or inside of an announced
 * one. Bytes are copied. CM_ERR_SIGNATURE and the like; CM_ERR_DUPLICATE;
 * CM_ERR_EVICTION_CONFLICT for an order of an epoch that has another one;
 * CM_ERR_LIMIT. ret_news: it names somebody open who was not named. */
int standing_hear_order(struct standing *s, struct slice bytes);
int standing_hear_retirement(struct standing *s, struct slice bytes);
/* Those that are still open, for gossip to pass on; borrowed. */
size_t standing_heard(const struct standing *s, struct slice *ret_bytes,
                      size_t room);

/* ---- duties of the incarnation that runs here ---- */

/* Whether self is rostered and named by nothing open. */
bool standing_stays(const struct standing *s, const struct incarnation *i);
/* Self stays and an open evictee is known that its last fence does not name:
 * appends the fence that it has to write. False: nothing to write. */
int standing_due_fence(const struct standing *s, const struct incarnation *self,
                       const struct vv *vv, struct buffer *out, bool *ret_due);
/* The next open proposal that self is to acknowledge: its key (24 bytes). */
bool standing_due_ack(const struct standing *s, const struct incarnation *self,
                      uint8_t ret_key[24]);
/* A proposal of vv by self: appends the value. False if there is nothing above
 * the floor or self has one open. */
int standing_propose(const struct standing *s, const struct incarnation *self,
                     const struct vv *vv, struct buffer *out, bool *ret_due);

/* ---- looking ---- */

bool standing_is_member(const struct standing *s, const struct incarnation *i);
size_t standing_members(const struct standing *s);
const struct incarnation *standing_member(const struct standing *s, size_t i);
bool standing_is_sealed(const struct standing *s, const struct incarnation *i,
                        uint64_t *ret_last_seq);
/* Named by an order or retirement that is open here. */
bool standing_is_evictee(const struct standing *s, const struct incarnation *i);
const struct vv *standing_floor(const struct standing *s); /* heads are zero */
hlc_t standing_floor_time(const struct standing *s);
bool standing_covers(const struct standing *s, const struct dot *d); /* floor */
uint64_t standing_epoch(const struct standing *s);
struct hash standing_order(const struct standing *s); /* last that counted */
/* What holds the floor back: for each open proposal the members without an
 * acknowledgement, the stamp of its proposal; for fences likewise. */
struct standing_holder {
    struct incarnation incarnation;
    hlc_t since;    /* stamp of the oldest thing that waits for it */
    bool for_fence; /* else for an acknowledgement */
};
size_t standing_holders(const struct standing *s,
                        struct standing_holder *ret_holders, size_t room);
/* Of the record that only grows and nothing else: goes into probe digests. */
struct hash standing_hash(const struct standing *s);

#endif
