/* The inside of the writer, shared by writer_*.c.
 *
 * During a batch the writer's members run ahead of the disk. If the batch is
 * aborted they are loaded again (writer_reload); nobody else sees them. */
#ifndef NODE_WRITER_INTERNAL_H
#define NODE_WRITER_INTERNAL_H

#include "crdt/standing.h"
#include "node/change_log.h"
#include "node/stage.h"
#include "node/store_txn.h"
#include "node/touched.h"
#include "node/unsent.h"
#include "node/writer.h"

/* Year 6429: stamps beyond it never enter the clock, so that the clock can
 * always go on. */
#define WRITER_WALL_MS_MAX (HLC_WALL_MS_MAX / 2)
#define RESULT_MEMORY_MAX (UINT64_C(1) << 30)

/* The event that gathers the local writes of a batch. */
struct own_event {
    bool open;
    struct dot dot;
    hlc_t hlc;
    struct buffer body; /* operations, one after the other */
    size_t ops_count;
    struct dot *deps; /* owned */
    size_t deps_count;
    size_t implied_count; /* behind them: what the named ones depend on */
    size_t deps_capacity;
};

/* The floor below which event bytes are being dropped. */
struct prune {
    struct floor floor;  /* a copy: what goes next; empty: nothing */
    uint64_t revision;   /* everything below it was applied by then */
    size_t at;           /* the row that is next */
    struct hash planned; /* the standing that it was taken from */
};

#define WRITER_SCRATCH_KEPT (128 << 10) /* bytes, of each part of it */

struct writer {
    struct store *store; /* borrowed */
    uint8_t secret_key[64];
    uint8_t authority[32];
    struct mesh_id mesh;
    struct incarnation self;
    uint32_t level;                 /* format level of this program */
    struct buffer generation_bytes; /* what order borrows from */
    struct generation_order order;
    struct generation_id generation;
    bool has_order;

    struct schema_head head; /* as stored; head.hlc runs ahead in a batch */
    struct vv vv;
    struct vv known; /* seqs that the deps of own events cover; no hashes */
    struct digest digest;
    struct roster *roster;     /* owned reference */
    struct standing *standing; /* owned; runs ahead in a batch */
    struct hash standing_hash; /* of it as of the last commit */
    struct prune prune;
    struct pending pending;
    int64_t clock_offset_ms; /* the median of the clocks less the own one */
    size_t clocks;           /* that it is of, the own one included */
    bool ready;
    bool reader;        /* its certificate lets it into no roster */
    bool fork;          /* alarm: two signed events under one dot */
    bool hazard;        /* alarm: a peer knows own events that are not here */
    bool stale;         /* memory could not be reloaded after an abort */
    struct vv adopting; /* of a cut that is being compared; empty: none. What
                           it covers is not applied meanwhile… */
    struct touched touched; /* …and the entries that were written since */
    bool shadow;            /* the other bank is not empty */
    bool conflict;          /* alarm: two orders of one epoch */
    bool overrun;        /* alarm: something beyond a seal was applied here */
    bool lost_branch;    /* by the fences known as of the last result */
    hlc_t next_due;      /* first expiry of the index, 0: none */
    bool collectable;    /* there is a candidate for collapse… */
    hlc_t collect_after; /* …that waits for a floor of that time */
    struct unsent_counts unsent; /* as of the last commit */
    bool unsent_looked;          /* nothing more of it can be settled… */
    struct hash unsent_mark;     /* …while the standing is this one */
    uint64_t others_looked_ms;   /* by the wall clock */

    /* Scratch of the batch, kept from one to the next. */
    struct own_event own;
    struct change_log log;
    struct buffer record;
    struct buffer scratch;
    struct entry entry;
    struct sibling *before; /* owned copy of an entry's siblings */
    size_t before_capacity;
    struct dot *dots; /* owned; what a local operation supersedes */
    size_t dots_capacity;
    uint8_t dirty[ACTORS_MAX / 8]; /* actors whose 's' record has to go out */
};

struct batch {
    struct writer *w;
    struct store_txn txn;
    uint64_t wall_ms;
    hlc_t now;         /* of the wall clock, for expiry */
    uint64_t revision; /* that the batch becomes, if it changes anything */
    bool changed;      /* an event was applied: memory runs ahead */
    bool digest_changed;
    bool due_changed; /* the index of expiries may begin elsewhere now */
    bool meta_changed;
    bool roster_changed;
    bool log_inlined;      /* the own event tells what the commit changed */
    bool roster_owned;     /* w->roster is a private copy */
    bool drain;            /* vector or roster grew: pending ones may apply */
    bool standing_changed; /* by an event */
    bool ahead;            /* or by something heard: memory runs ahead */
    bool heard_changed;
    bool floor_moved;
    bool overrun;
    bool collect_changed; /* the index of candidates may begin elsewhere */
    bool ready;           /* META_READY as of this batch */
    bool hazard_found;
    bool renamed;                    /* META_INCARNATION is another one */
    struct generation_id returns_to; /* RETURN: of the cut */
    size_t unsent_kept;              /* records that this batch made… */
    size_t unsent_settled;           /* …took away or parked… */
    size_t unsent_written;           /* …and wrote again */
    bool unsent_looked;              /* every record has been judged… */
    struct hash unsent_mark;         /* …with this standing */
    uint32_t actors_before;
    bool own_actor_too; /* its record is damaged, though the head says it all */
    struct commit_result *result;
    size_t events_capacity;
};

/* All of these return 0 or a code; one that is not the refusal of a single
 * intent (batch_is_fatal) ends the batch. */

/* writer_load.c */
int writer_reload(struct writer *w, struct cm_detail *detail);
int writer_take_generation(struct writer *w, struct slice order,
                           struct cm_detail *detail);
bool writer_is_sealed(const struct writer *w, const struct incarnation *i);

/* writer_standing.c: roster-adds, fences and acknowledgements */
int standing_reload(struct writer *w, struct store_reader *r,
                    struct cm_detail *detail);
int standing_save(struct batch *b);
bool control_is_fence(const struct event *e);
/* A verified fence that came: what it covers is known from now on.
 * CM_ERR_EVICTION_CONFLICT. */
int control_announce(struct batch *b, const struct event *e);
/* Whether everything is applied that the operations name besides deps. */
bool control_ready(const struct writer *w, const struct event *e);
/* ret_reason: NULL if the operation counts, else why it is void. CM_ERR_PENDING
 * and CM_ERR_EVICTION_CONFLICT: its event has to wait. */
int control_counts(struct batch *b, const struct certificate *writer,
                   const struct op *op, const struct dot *dot, bool alone,
                   const char **ret_reason);
int control_apply(struct batch *b, const struct op *op, const struct dot *dot,
                  hlc_t hlc);
/* What standing_apply or standing_settle reported. */
int control_act(struct batch *b, const struct standing_changes *changes);
/* After a join: standing_settle over the batch. */
int control_settle(struct batch *b, struct standing_changes *ret_changes);
/* INTENT_ORDER. */
int control_hear(struct batch *b, struct intent *i);
/* Stores what changed. */
int control_finish(struct batch *b);

/* writer_level.c: what everybody knows */
/* Whether the level may be written here and now. */
bool level_is_known(const struct writer *w, uint32_t level);
/* CM_ERR_LEVEL, with who does not know the operation yet. */
int level_check_local(const struct writer *w, const struct op *op,
                      struct cm_detail *detail);
/* CM_ERR_LEVEL: nobody enters who knows less than its sponsor has announced. */
int level_check_add(const struct writer *w, uint32_t level,
                    struct cm_detail *detail);
/* CM_ERR_FORMAT_VERSION for a state that this program cannot read. */
int level_check_cut(const struct writer *w, const struct replacement *r,
                    uint32_t founder_level, struct cm_detail *detail);
/* Whether the event may be applied as far as that is concerned. */
bool level_judge(const struct writer *w, const struct event *e);
/* An operation of that level counts. */
void level_note(struct batch *b, uint32_t level);
/* The duty: tells what this program knows, once. */
int level_announce(struct batch *b, bool *ret_wrote);

/* writer_duty.c: what this incarnation has to write by itself */
int duty_run(struct batch *b);
/* INTENT_PROPOSE. */
int duty_propose(struct batch *b, struct intent *i);

/* writer_collapse.c */
/* The floor moved: takes from every candidate what it allows to take. */
int collapse_candidates(struct batch *b);
/* Reads the first candidate into w. */
int collapse_look(struct writer *w, struct store_txn *t);
/* When a proposal would find something to collapse; UINT64_MAX: never. */
uint64_t collapse_wall_ms(const struct writer *w);

/* writer_prune.c */
/* Plans to prune what the floor covers now, unless something is planned. */
void prune_plan(struct writer *w);
/* INTENT_PRUNE: drops event bytes that the floor has passed. */
int prune_intent(struct batch *b, struct intent *i);

/* writer_state.c: what an applied event changes */
int state_event_begin(struct batch *b, const struct dot *dot);
/* entry and local are what the transaction holds (entry->count 0: nothing). */
int state_apply(struct batch *b, const struct op *op, const struct dot *dot,
                hlc_t hlc, struct entry *entry, struct entry_local *local);
int state_event_end(struct batch *b, const struct dot *dot, hlc_t hlc,
                    const struct hash *hash, struct slice bytes, bool own,
                    const uint8_t from[16]);
/* Replaces an entry of the mesh's own: digest and store, nothing visible. */
int state_put_siblings(struct batch *b, const struct entry_id *id,
                       const struct entry *before, const struct entry *after);
/* What the floor leaves of the entry. */
int state_collapse(struct batch *b, const struct entry_id *id);
int state_actor_dirty(struct batch *b, const struct incarnation *i);
/* Writes head, lanes, vector and change log. */
int state_flush(struct batch *b);
int state_put_meta(struct batch *b, const char *name, struct slice value);
int state_put_head(struct batch *b);

/* What the siblings of an entry were, and are, both sorted by dot. */
void state_digest_change(struct digest *d, const struct entry_id *id,
                         const struct sibling *before, size_t before_count,
                         const struct entry *after);
/* Names of the vector that have no record of their number yet. */
int state_flush_actors(struct batch *b);

/* Takes a whole entry over: digest, record, indexes, change log. before is
 * what the transaction holds (count 0: nothing), after what it will. Slices of
 * both may lie in the map. */
int state_exchange(struct batch *b, const struct entry_id *id,
                   const struct entry *before, const struct entry *after,
                   struct entry_local *local);

/* writer_replace.c, writer_join.c, writer_return.c: adopting a cut. */
int adopt_check_entry(const struct entry_id *id, const struct entry *entry,
                      const struct vv *vv, struct cm_detail *detail);
int adopt_join(struct batch *b, const struct replacement *r,
               struct cm_detail *detail);
int adopt_return(struct batch *b, const struct replacement *r,
                 struct cm_detail *detail);
/* Each entry of r as it is, into a store without any; the digest is added up
 * from nothing and compared. */
int adopt_entries(struct batch *b, const struct replacement *r,
                  struct cm_detail *detail);
/* writer_cut.c: "a cut beyond a seal, beyond what the fences let its receiver
 * apply, or of another order is refused". */
int adopt_check_standing(struct batch *b, const struct replacement *r,
                         struct cm_detail *detail);
/* After a returner's state, vector and entries, has been replaced. CM_ERR_FORK
 * if the cut holds a lost branch by what was known before. */
int adopt_check_branches(struct batch *b, const struct replacement *r,
                         const struct incarnation *former,
                         struct cm_detail *detail);
/* After entries and vector have been joined. */
int adopt_join_standing(struct batch *b, const struct replacement *r,
                        struct cm_detail *detail);
/* Names the vector's incarnations, marks their records as changed. */
int adopt_name_actors(struct batch *b, const struct vv *vv);

/* writer_foreign.c */
/* Sets intent->result; returns only what is fatal. */
int foreign_intent(struct batch *b, struct intent *intent);
int foreign_drain(struct batch *b);

/* writer_explain.c */
int explain_intent(struct batch *b, struct intent *intent);

/* writer_reissue.c */
/* Writes again, parks or drops what earlier incarnations left, as far as these
 * are sealed. Returns only what is fatal. */
int reissue_due(struct batch *b);
/* INTENT_UNSENT. */
int unsent_intent(struct batch *b, struct intent *i);

/* writer_succeed.c: INTENT_SUCCEED */
int succeed_intent(struct batch *b, struct intent *i);

/* writer_expire.c */
/* Tells what is due by now, at most WRITER_EXPIRIES_MAX in one batch. */
int expire_due(struct batch *b);
/* Reads the first expiry into w->next_due. */
int expire_look(struct writer *w, struct store_txn *t);
/* When the wall clock reaches it; UINT64_MAX: never. */
uint64_t expire_wall_ms(const struct writer *w);

/* writer_txn.c: what a transaction has beyond single writes */
bool txn_is_write(const struct local_op *op);
/* Turns each tree to be deleted into a del of every key. A refusal is put into
 * the intent. */
int txn_expand(struct batch *b, struct intent *intent);
/* The writes of an intent, to find them by entry. */
struct txn_writes {
    const struct local_op **sorted; /* owned */
    size_t count;
};
int txn_writes_of(struct txn_writes *ret, const struct intent *intent);
void txn_writes_release(struct txn_writes *w);
/* Refuses two writes of one entry. */
int txn_check_distinct(const struct txn_writes *w, struct intent *intent);
/* A check or a read, before anything is done; *size grows by what it will
 * give. writes may be empty when there is only one operation. */
int txn_check_read(struct batch *b, const struct txn_writes *writes,
                   const struct local_op *op, size_t *size,
                   struct cm_detail *detail);
/* Gives a read's results. */
int txn_read(struct batch *b, struct intent *intent, const struct local_op *op);
/* The sibling that a LOCAL_RESOLVE keeps; sets the operation's kind. */
int txn_check_resolve(struct local_op *op, const struct entry *entry,
                      struct cm_detail *detail);
const struct sibling *txn_kept(const struct local_op *op,
                               const struct entry *entry);
/* What a condition says of an entry. */
int local_check_condition(const struct local_op *op, const struct resolution *r,
                          const struct entry_local *local,
                          struct cm_detail *detail);
struct entry_id local_id_of(const struct local_op *op);

/* heal_writer.c: INTENT_HEAL, a transaction of its own. CM_ERR_CONDITION: the
 * vector is not the one that the change was made for. */
struct heal_change;
int writer_heal(struct writer *w, struct heal_change *c, uint64_t wall_ms,
                struct cm_detail *detail);

/* writer_stage.c: INTENT_STAGE, a transaction of its own */
int writer_stage(struct writer *w, struct stage *s, uint64_t wall_ms,
                 bool *ret_more, struct cm_detail *detail);
/* What was staged becomes the state of the batch. CM_ERR_BUSY: settle first;
 * CM_ERR_LIMIT. */
int stage_flip(struct batch *b, struct staged *staged,
               struct cm_detail *detail);

/* writer_local.c */
int local_intent(struct batch *b, struct intent *intent);
int local_close_event(struct batch *b);
/* Writes one operation as an event of its own; the key of a proposal is that
 * event's dot (key empty). CM_ERR_TOO_LARGE: nothing was done. */
int local_control(struct batch *b, enum op_kind kind, struct slice key,
                  struct slice value);
/* writer_deps.c */
/* Sets what the next own event has to name, and leaves nothing out. */
int deps_gather(struct writer *w);
/* After deps_gather, for an acknowledgement of the proposal behind key, which
 * has been applied: leaves out what that one, or events of its writer before
 * it, name. */
int deps_imply(struct batch *b, const uint8_t key[PROPOSAL_KEY_SIZE]);
/* What the event's deps cover is remembered with it, or a crash would lose
 * dependencies of the next. */
int deps_remember(struct batch *b);

/* writer_local.c */
/* Hazards, clocks, readiness: whether this node dates events now. */
bool local_may_write(const struct batch *b);

/* writer.c */
/* This node's clock is too far ahead of the others': it must not date events.
 */
bool writer_clock_ahead(const struct writer *w);
/* Sets the scratch of the writer back and begins a write transaction. */
int batch_begin(struct batch *b, struct writer *w, uint64_t wall_ms,
                struct cm_detail *detail);
/* Ends it without a trace on disk or in memory. */
void batch_abort(struct batch *b);

/* ADOPT_RETAIN. */
int writer_retain(struct writer *w, const struct replacement *r,
                  uint64_t wall_ms, struct cm_detail *detail);

#endif
