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
 *   SPACE_FENCE     incarnation of the writer    FENCE: the fence (fence.h); of
 *                                                several, each says something
 *                                                that no other one says
 *   SPACE_PROPOSAL  dot of the proposal (24)     ACK: [acker bin16, cut]; the
 *                                                cut, [[incarnation, seq]…],
 *                                                is empty in all but the
 *                                                proposer's own
 *
 * and a small record (standing_pack) of what only ever grows: floor and seals
 * (floor.h), floor time, the chain of the orders that counted, and levels: what
 * each incarnation has announced that it knows (standing_level.c). A proposal
 * that passed, a fence of which every name is sealed, and all that a sealed
 * incarnation had are removed, in the same transaction, at every replica alike.
 *
 * Rules (each was model checked; the names are those of the tests):
 * - Roster-add, ack, fence and knows stand alone in their event, else it is
 *   void.
 * - What a fence covers, what a proposal holds and which proposal an ack names
 *   are dependencies of their event (standing_ready).
 * - "The add counts as acknowledgement and fence of everything that its sponsor
 *   had acknowledged and fenced before": applying an add gives the newcomer an
 *   ACK sibling in every open proposal in which the sponsor has one, and a copy
 *   of the sponsor's latest FENCE, both under the dot of the add and its stamp,
 *   but never an older stamp than the sponsor's own acknowledgement has: the
 *   floor time must not depend on whether a proposal passed before the add.
 * - All fences of a writer count together: a later one that says less takes
 *   nothing back, one that says no less replaces the earlier. A fence that
 *   names its own writer is void: an evictee does not stay.
 * - A set of evictees is sealed all at once when every rostered incarnation
 *   outside of it, and there is one, has fenced all of it; of all such sets the
 *   greatest. Last seqs are the greatest that these fences cover. Only orders
 *   and retirements inside of applied fences count, and a retirement only if
 *   the incarnation is rostered under the same key, or not at all.
 * - A proposal passes when every rostered incarnation has acknowledged it; only
 *   the first acknowledgement of each counts. The floor is the join of all that
 *   passed; floor time the greatest, over them, of the least stamp among all
 *   acknowledgements of one, evictees' included.
 * - A fence that covers another event under a name than the one that is here is
 *   not applicable here (M15): nobody seals together with the other branch. Of
 *   two that fences cover the lower hash stands (standing_holds_lost_branch).
 * - An add of an incarnation that is sealed, or that its sponsor has fenced, is
 *   void. (The second half makes the first the same at every replica: a seal
 *   needs the sponsor's fence.)
 * - From its first fence on, a replica applies an evictee's event only if a
 *   fence of another incarnation that stays covers it. That fence depends on
 *   this very event and so cannot have been applied: it is *announced*, that
 *   is received and verified, but pending. What counts is what it covers, named
 *   in it or not (fence.h).
 * - Orders form one chain. One that is not the next after those that counted,
 *   or of which its epoch has another here, is refused: the fence or cut that
 *   carries it waits, and the authority's next order tells which one stands.
 *
 * Memory: a few hundred bytes for each living incarnation and open proposal,
 * 32 for each one that is gone. After an error other than those named at a
 * function, a standing that was being changed is to be thrown away. */
#ifndef CRDT_STANDING_H
#define CRDT_STANDING_H

#include "crdt/entry.h"
#include "crdt/fence.h"
#include "crdt/floor.h"

/* Open ones beyond which an origin proposes nothing. (Those that come all the
 * same count: what counts must not depend on the order in which they came.) */
#define STANDING_PROPOSALS_MAX 1024
#define STANDING_ORDERS_MAX 128 /* heard of and still open */
#define STANDING_CHAIN_MAX 64   /* epochs of which the order is remembered */

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
    uint8_t founder_sign_key[32];
    uint32_t founder_level; /* by the generation's order; 0: the first */
    /* By the generation's order, and so below its floor from the start; copied.
     * NULL: none. */
    const struct vv *sealed;
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
/* Each stored entry of the three spaces, in any order, after unpacking. Values
 * are copied. CM_ERR_DAMAGED for what standing_apply would not have written. */
int standing_load(struct standing *s, const struct entry_id *id,
                  const struct entry *e);

/* ---- applying ---- */

enum standing_verdict {
    STANDING_APPLY = 0, /* nothing here against it */
    STANDING_WAIT,      /* own fence; no announced fence covers it yet */
    STANDING_BEYOND,    /* beyond its incarnation's seal: refused for ever */
    STANDING_UNKNOWN,   /* not rostered (yet) */
};
/* Whether an event with that dot and hash (event_hash) may be applied by self
 * now. */
enum standing_verdict standing_judge(const struct standing *s,
                                     const struct incarnation *self,
                                     const struct dot *dot,
                                     const struct hash *hash);
struct standing_lost {
    struct incarnation fork; /* whose branch is lost */
    struct incarnation to;   /* who covers the one that stands */
};
/* "Of two branches of a fork that fences cover, the one with the lower hash
 * stands; whoever applied the other is a returner": whether vv holds one that
 * lost, by what fences of incarnations that stay cover, applied or announced.
 * Only branches of one length can be told apart by fences; of others the nodes
 * compare what they hold. Of several forked incarnations they are looked at in
 * order, and who lost one has no say about those that follow: else each of all
 * could lose some. ret_lost (may be NULL) is the first that is lost. */
bool standing_holds_lost_branch(const struct standing *s,
                                const struct incarnation *self,
                                const struct vv *vv,
                                struct standing_lost *ret_lost);

/* "It forgets no announced fence: a cut that loses by what the returner itself
 * knows is none to come back to": whether self, which returns, has to refuse
 * the cut with that standing (entries included) and vector. What both know
 * counts, but for what self has said, and for fences of those that do not stay
 * by both: what an evictee told in his own part of the mesh is no proof. */
bool standing_cut_has_lost(const struct standing *s,
                           const struct incarnation *self,
                           const struct standing *cut, const struct vv *cut_vv,
                           struct standing_lost *ret_lost);

/* Whether everything is applied that op names beside its event's own deps; if
 * not, the event is not applicable yet. CM_ERR_NOMEM. */
int standing_ready(const struct op *op, const struct dot *dot,
                   const struct vv *vv, bool *ret_ready);

/* Whether a roster-add, fence, ack or knows counts or is void; to be asked
 * after everything that the event depends on has been applied, and after a
 * fence was announced. alone: no other operation is in the event. Whether its
 * writer may sponsor is not looked at here. ret_reason (may be NULL) is text
 * for a person when it is void. CM_ERR_NOMEM; and for a fence, which is then
 * not to be applied now: CM_ERR_EVICTION_CONFLICT when it carries another order
 * than this replica keeps to, CM_ERR_PENDING when an order before its own is
 * missing. */
int standing_allows(const struct standing *s, const struct op *op,
                    const struct dot *dot, bool alone, bool *ret_counts,
                    const char **ret_reason);

/* What has happened to it, for the caller to act upon; owned by the standing
 * until its next change. */
struct standing_changes {
    bool roster;  /* members were added or sealed */
    bool floor;   /* floor or floor time moved */
    bool overrun; /* something beyond a seal has been applied here */
    const struct incarnation *sealed;
    size_t sealed_count;
};

/* Applies roster-add, ack, fence or knows that counts: changes the entries
 * through store, then seals and passes whatever is due. */
int standing_apply(struct standing *s, const struct standing_store *store,
                   const struct vv *vv, const struct op *op,
                   const struct dot *dot, hlc_t hlc,
                   struct standing_changes *ret_changes);
/* After a join of cuts: s has unpacked one record, joined the other and loaded
 * the joined entries; vv is the joined one. */
int standing_settle(struct standing *s, const struct standing_store *store,
                    const struct vv *vv, struct standing_changes *ret_changes);
/* Takes over what only grows from another replica's record: floors, floor
 * times and seals join. CM_ERR_EVICTION_CONFLICT if its orders are others,
 * CM_ERR_FORK if its seals are. */
int standing_join(struct standing *s, const struct standing *other);
/* Whether a cut with that standing and vector may be joined by self, whose
 * vector is vv. CM_ERR_SEALED: one of the two lies beyond a seal of the other;
 * CM_ERR_PENDING: it holds events of an evictee that self has fenced and no
 * other fence covers yet; CM_ERR_EVICTION_CONFLICT. self NULL: a reader. */
int standing_admits(const struct standing *s, const struct incarnation *self,
                    const struct vv *vv, const struct standing *other,
                    const struct vv *other_vv);

/* ---- what is known, but is no state ---- */

/* A verified fence that is still pending: what it covers is known from now on
 * (beside what other fences of that writer cover: a later one names only whom
 * its writer does not know to be sealed), its orders and retirements are heard.
 * Never persistent. 0 also for one that will be void; CM_ERR_EVICTION_CONFLICT
 * as in standing_allows (it then announces nothing); CM_ERR_NOMEM. */
int standing_announce(struct standing *s, const struct incarnation *writer,
                      struct slice value);
/* An order or a retirement heard outside of fences. It is forgotten with the
 * memory: a node keeps the retirements of its own earlier incarnations until
 * they are sealed, and hears them again. Bytes are copied. 0 when
 * it was news; CM_ERR_DUPLICATE; CM_ERR_LIMIT; what decoding answers;
 * CM_ERR_EVICTION_CONFLICT for an order of an epoch that has another one, or
 * that follows another one than the one that counted here: the alarm (it is
 * remembered, because the next order may name it); CM_ERR_AUTHORITY for a
 * retirement by another node than the one that the incarnation belongs to. */
int standing_hear_order(struct standing *s, struct slice bytes);
int standing_hear_retirement(struct standing *s, struct slice bytes);
/* Those that are still open, for gossip to pass on; borrowed until the next
 * change. Returns how many there are, which may be more than room. */
size_t standing_heard(const struct standing *s, struct slice *ret_bytes,
                      size_t room);
/* The authority's next order names another one than the last that counted here:
 * this replica is a returner. */
bool standing_is_dropped(const struct standing *s);

/* ---- duties of the incarnation that runs here ---- */

/* Whether i is rostered and named by nothing open. */
bool standing_stays(const struct standing *s, const struct incarnation *i);
/* Self stays and an open evictee is known that its fences do not name, or of
 * which vv has more than they cover: appends the fence that it has to write.
 * False: nothing to write. */
int standing_due_fence(const struct standing *s, const struct incarnation *self,
                       const struct vv *vv, struct buffer *out, bool *ret_due);
/* The next open proposal that self is to acknowledge: its key. */
bool standing_due_ack(const struct standing *s, const struct incarnation *self,
                      uint8_t ret_key[PROPOSAL_KEY_SIZE]);
/* Whether self has acknowledged an open proposal whose cut covers d: others may
 * pass it, and collapse, before they see anything that self writes now. */
bool standing_has_acknowledged(const struct standing *s,
                               const struct incarnation *self,
                               const struct dot *d);
/* A proposal of vv by self: appends the value of the ack whose key is its own
 * dot. False if there is nothing above the floor, self has one open or is no
 * member, or too many are open. */
int standing_propose(const struct standing *s, const struct incarnation *self,
                     const struct vv *vv, struct buffer *out, bool *ret_due);

/* ---- levels ---- */

/* What i has announced that it knows, itself or by its add; LEVEL_FIRST if
 * nothing. */
uint32_t standing_level_of(const struct standing *s,
                           const struct incarnation *i);
/* The least level of all incarnations that stay, but for one (who wrote
 * something knows it; NULL: all): an operation above it may not be written yet,
 * and one that comes all the same waits. */
uint32_t standing_level(const struct standing *s,
                        const struct incarnation *except);
/* The greatest level among the operations of all applied events: who knows less
 * cannot read this state. */
uint32_t standing_needs(const struct standing *s);
/* The same of a record that is not opened yet (empty: LEVEL_FIRST), but without
 * what the generation's founder knows. CM_ERR_MALFORMED. */
int standing_peek_needs(struct slice record, uint32_t *ret_level);
/* An event with an operation of that level was applied. Whether it is news. */
bool standing_note_level(struct standing *s, uint32_t level);
/* Whether self, whose program knows level, has to announce it. */
bool standing_due_level(const struct standing *s,
                        const struct incarnation *self, uint32_t level);

/* ---- looking ---- */

bool standing_is_member(const struct standing *s, const struct incarnation *i);
/* Every member is an incarnation of that node, which may then sponsor its own
 * next one with the key of the last (M14). */
bool standing_is_only_node(const struct standing *s, const struct key_id *node);
size_t standing_members(const struct standing *s);
const struct incarnation *standing_member(const struct standing *s, size_t i);
bool standing_is_sealed(const struct standing *s, const struct incarnation *i,
                        uint64_t *ret_last_seq);
/* Named by an order or retirement that is open here. */
bool standing_is_evictee(const struct standing *s, const struct incarnation *i);
/* Valid until the next change; for entry_collapse. */
const struct floor *standing_floor(const struct standing *s);
hlc_t standing_floor_time(const struct standing *s);
bool standing_covers(const struct standing *s, const struct dot *d); /* floor */
uint64_t standing_epoch(const struct standing *s);
/* The last order that counted; zero for epoch 0. */
struct hash standing_order(const struct standing *s);
/* What holds the floor back: for each open proposal the members without an
 * acknowledgement, the stamp of its proposal; for fences likewise. */
struct standing_holder {
    struct incarnation incarnation;
    hlc_t since;    /* stamp of the oldest thing that waits for it */
    bool for_fence; /* else for an acknowledgement */
};
/* At most one of each kind for one incarnation, those for acknowledgements
 * first; ret_count is how many there are, at most twice standing_members, which
 * may be more than room. CM_ERR_NOMEM. */
int standing_holders(const struct standing *s,
                     struct standing_holder *ret_holders, size_t room,
                     size_t *ret_count);
/* Of the record that only grows and nothing else: goes into probe digests. */
struct hash standing_hash(const struct standing *s);

#endif
