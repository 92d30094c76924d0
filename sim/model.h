/* Model: what a mesh's state must be, said as simply as possible.
 *
 * It keeps every event that was ever committed anywhere, and answers one
 * question: which operations stand in a given set of events? By definition: an
 * operation that leaves a sibling stands if its event is in the set and no
 * operation of an event in the set names it. No order of arrival, no stored
 * state, no merge: nothing that crdt/entry.c or node/writer.c do is used here,
 * so that a mistake there is not repeated. Of crdt/ only the formats are taken:
 * decoding an event, and the hash of a sibling.
 *
 * What floors take away from a replica (model_state.h) is a part of the view.
 * Without it the answer is that of a mesh which never forgets anything: there
 * an operation also names what it would have named, had its origin not
 * forgotten it (sim_model_hide). What readers see has to be the same.
 *
 * Memory that is short ends the process. */
#ifndef SIM_MODEL_H
#define SIM_MODEL_H

#include "crdt/certificate.h"
#include "crdt/digest.h"
#include "crdt/event.h"

#define SIM_MODEL_ACTORS_MAX 65536
#define SIM_MODEL_NO_ACTOR UINT32_MAX

struct sim_model;
struct sim_model_entry;
struct sim_model_event;

/* One operation of an event; it is the sibling that it leaves, too. */
struct sim_model_op {
    const struct op *op; /* the decoded one */
    struct sim_model_event *event;
    unsigned number;               /* in its event, from 0 */
    struct sim_model_entry *entry; /* borrowed */
    struct sim_model_op *older;    /* of the same entry, in order of adding */
    struct sim_model_op **names; /* owned; what it supersedes; NULL: unknown */
    struct sim_model_op **named; /* owned; what supersedes it */
    size_t named_count;
    size_t named_capacity;
    struct sim_model_op **hidden; /* owned; what would, without floors */
    size_t hidden_count;
    size_t hidden_capacity;
    size_t id; /* of its own, from 0 */
};

struct sim_model_event {
    struct event decoded; /* slices into bytes */
    uint8_t *bytes;       /* owned */
    size_t size;
    uint64_t order; /* of the first commit anywhere */
    uint32_t actor;
    struct hash hash;
    bool is_void;
    bool tentative;    /* its origin lost its power in this very commit */
    bool acknowledged; /* a client was told of it */
    bool lost;         /* with all machines; nobody may hold it again */
    bool bare;         /* its bytes rotted where it was written… */
    bool rotted;       /* …and there was nothing else of it there */
    uint32_t *deps;    /* owned; actors of decoded.deps */
    struct sim_model_op *ops; /* owned; decoded.ops_count */
};

/* A set of events: of each actor the first seqs[actor]; and of the event after
 * those of one actor only the first operations, where one is named. */
struct sim_model_view {
    const uint64_t *seqs;
    size_t count;         /* of seqs; later actors have none */
    uint32_t actor;       /* SIM_MODEL_NO_ACTOR: none */
    uint64_t seq;         /* that event */
    unsigned ops_count;   /* the first of its operations */
    const uint8_t *taken; /* a bit for each operation that a floor took away;
                             NULL: floors never did */
    size_t taken_size;
};

/* A mesh that was founded, or founded anew from a snapshot. */
struct sim_model_generation {
    struct generation_id id;
    bool named; /* id is known */
    uint32_t founder;
    uint64_t *sealed; /* owned, by actor; 0: not known then */
    size_t count;
};

/* What a reader must see. */
struct sim_model_answer {
    bool present;
    bool revoked;
    const struct sim_model_op *winner; /* NULL: nothing stands */
    size_t standing;
};

struct sim_model *sim_model_create(const uint8_t authority_public_key[32]);
void sim_model_free(struct sim_model *m);

/* The actor's number, made at first sight. */
uint32_t sim_model_actor(struct sim_model *m, const struct incarnation *i);
size_t sim_model_actors(const struct sim_model *m);
const struct incarnation *sim_model_incarnation(const struct sim_model *m,
                                                uint32_t actor);
/* Events of the actor that are known, gaps not counted. */
uint64_t sim_model_seq(const struct sim_model *m, uint32_t actor);
/* The founder's certificate, which no event brings; others come with
 * roster-adds. The first one counts. */
void sim_model_certify(struct sim_model *m, const struct incarnation *i,
                       struct slice certificate);
/* NULL: none is known. */
const struct certificate *sim_model_certificate(const struct sim_model *m,
                                                uint32_t actor);

/* NULL: unknown. */
struct sim_model_event *sim_model_find(const struct sim_model *m,
                                       uint32_t actor, uint64_t seq);
/* bytes are copied. CM_ERR_EXISTS: the dot is known (whatever the bytes are);
 * CM_ERR_INVALID: not the next one of its actor; or why it does not decode. */
int sim_model_add(struct sim_model *m, struct slice bytes,
                  struct sim_model_event **ret_event);
/* The next generation; sealed (NULL: nothing) is where those before end. */
void sim_model_found(struct sim_model *m, uint32_t founder,
                     const struct vv *sealed);
uint64_t sim_model_generations(const struct sim_model *m);
/* Its number here, which is not the one of the id: after two total losses two
 * may have that. The newest is named by the first id that is asked for. 0:
 * none. */
uint64_t sim_model_generation_of(struct sim_model *m,
                                 const struct generation_id *id);
/* NULL: there is none of that number, from 1. */
const struct sim_model_generation *
sim_model_generation(const struct sim_model *m, uint64_t number);
/* Its origin, which shows v, has just made e: what it cannot name because a
 * floor took it away there, it would have named. */
void sim_model_hide(struct sim_model *m, const struct sim_model_view *v,
                    struct sim_model_event *e);
/* Whether a fence of another incarnation than that covers the dot, wherever it
 * is by now. */
bool sim_model_fence_covers(const struct sim_model *m, uint32_t other,
                            const struct dot *dot);
size_t sim_model_ops(const struct sim_model *m); /* ids are below */
const uint8_t *sim_model_authority(const struct sim_model *m);
void sim_model_each_entry(const struct sim_model *m,
                          void (*visit)(void *ctx,
                                        const struct sim_model_entry *e),
                          void *ctx);
/* Forgets the newest event of its actor: it never was. */
void sim_model_remove(struct sim_model *m, struct sim_model_event *e);

bool sim_model_covers(const struct sim_model_view *v,
                      const struct sim_model_op *op);
bool sim_model_stands(const struct sim_model_view *v,
                      const struct sim_model_op *op);

/* NULL: no event ever touched it. */
const struct sim_model_entry *sim_model_entry(const struct sim_model *m,
                                              const struct entry_id *id);
struct entry_id sim_model_entry_id(const struct sim_model_entry *e);
/* The operation upon it that was first seen last; NULL: none. e may be NULL. */
const struct sim_model_op *sim_model_newest(const struct sim_model_entry *e);
/* Whether a value or element of it ever had a time to end. */
bool sim_model_entry_expires(const struct sim_model_entry *e);
/* Those that stand, by dot; borrowed until the next call on m. e may be
 * NULL. */
size_t sim_model_standing(struct sim_model *m, const struct sim_model_view *v,
                          const struct sim_model_entry *e,
                          const struct sim_model_op *const **ret_ops);
struct sim_model_answer sim_model_resolve(struct sim_model *m,
                                          const struct sim_model_view *v,
                                          const struct sim_model_entry *e,
                                          hlc_t now);
/* The sibling that op leaves; borrows from it. */
struct sibling sim_model_sibling(const struct sim_model_op *op);

/* What applying e changes in the digest of the set v, which lacks it; like the
 * fold, of what clients wrote. */
void sim_model_apply(const struct sim_model_view *v,
                     const struct sim_model_event *e, struct digest *d);
/* The digest of all that stands in v; entries (may be NULL): how many. */
void sim_model_fold(struct sim_model *m, const struct sim_model_view *v,
                    struct digest *ret_digest, size_t *ret_entries);

#endif
