/* The inside of the standing, shared by standing_*.c. */
#ifndef CRDT_STANDING_INTERNAL_H
#define CRDT_STANDING_INTERNAL_H

#include "crdt/standing.h"

/* Rules that a test can switch off one by one, to see that its walks find what
 * each of them is for. Never in the product: it has no such variable. */
#ifdef CM_PLANTED_STANDING
enum standing_rule {
    RULE_INHERIT_ACKS = 1,
    RULE_INHERIT_FENCE,
    RULE_OWN_FENCE,
    RULE_ALL_AT_ONCE,
    RULE_EVICTEES_ACKS,
    RULE_ALL_MEMBERS_ACK,
    RULE_COVER_ALL,
    RULE_FENCE_ANEW,
    RULE_COVER_SEALED,
    RULE_ADMIT_BY_FENCES,
    RULE_LAST_IS_GREATEST,
    RULE_DROP_REMAINS,
    RULE_COVER_HASH, /* from here on no walk finds it: see test */
    RULE_FENCE_GROWN,
    RULE_FORGET_NOTHING,
    RULES
};
extern enum standing_rule standing_planted;
#define STANDING_OFF(rule) (standing_planted == (rule))
#else
#define STANDING_OFF(rule) false
#endif

struct standing_member {
    struct incarnation incarnation;
    struct key_id node; /* of the oldest add's certificate */
    hlc_t hlc;          /* of that add; 0 for the founder */
    struct dot dot;
};

/* One incarnation that a fence names, and by what right; by none, it is merely
 * covered. */
struct standing_name {
    struct incarnation incarnation;
    uint64_t seq;     /* covered */
    struct hash head; /* of that event; zeroes: not told */
    bool ordered;
    bool retired;
    struct key_id node; /* who retired it */
};

/* A sibling of a fence entry, or what has been announced by a writer. */
struct standing_fence {
    struct incarnation writer;
    struct dot dot;
    hlc_t hlc;
    struct standing_name *names; /* owned, sorted */
    size_t count;
};

struct standing_ack {
    struct incarnation acker;
    struct dot dot;
    hlc_t hlc;
};

struct standing_proposal {
    uint8_t key[PROPOSAL_KEY_SIZE];
    struct fence_cover *cut; /* owned, sorted; seqs are at least 1 */
    size_t cut_count;
    struct standing_ack *acks; /* owned, in no order */
    size_t acks_count;
};

/* Of the record. As long as nobody has announced a level beyond the first it is
 * what it was before there were any. */
#define STANDING_FIELDS 4
#define STANDING_FIELDS_MAX 6

struct standing_level_row {
    struct incarnation incarnation;
    uint32_t level; /* beyond the first, and a founder's beyond its order's */
};

struct standing_order {
    uint8_t *bytes; /* owned */
    size_t size;
    struct hash hash;
    struct eviction_order order; /* owned */
};

struct standing_retirement {
    uint8_t *bytes; /* owned */
    size_t size;
    struct incarnation incarnation;
    struct key_id node;
};

/* A growing array: items, how many, and room for how many. */
#define STANDING_LIST(type)                                                    \
    struct {                                                                   \
        type *items;                                                           \
        size_t count;                                                          \
        size_t capacity;                                                       \
    }

struct standing {
    struct mesh_id mesh;
    struct generation_id generation;
    uint8_t authority[32];
    struct incarnation founder;
    uint32_t founder_level;

    /* What only grows. */
    struct floor floor;
    hlc_t floor_time;
    uint64_t epoch;                        /* of the last order that counted */
    struct hash chain[STANDING_CHAIN_MAX]; /* of epoch e: at (e - 1) % MAX */
    uint32_t needs; /* the greatest level among applied operations */
    STANDING_LIST(struct standing_level_row) levels; /* sorted */

    /* What the entries say. */
    STANDING_LIST(struct standing_member) members; /* sorted */
    STANDING_LIST(struct standing_fence) fences;   /* by writer, then dot */
    STANDING_LIST(struct standing_proposal) proposals;

    /* What is known, but is no state. */
    STANDING_LIST(struct standing_fence) announced; /* one for each writer */
    STANDING_LIST(struct standing_order) orders;    /* as they were heard */
    STANDING_LIST(struct standing_retirement) retirements;

    STANDING_LIST(struct incarnation) sealed; /* by the last change */
};

/* A fence's value, decoded and with all signatures checked. */
struct fence_reading {
    struct fence fence;
    struct standing_name *names; /* owned; as many as fence.covered */
    struct fence_link {
        uint64_t epoch;
        struct hash previous;
        struct hash hash;
        bool open; /* names somebody who is not sealed */
    } links[FENCE_ORDERS_MAX];
};

/* Makes room for one more item of size bytes. CM_ERR_NOMEM. */
int standing_grow(void **items, size_t count, size_t *capacity, size_t size);
#define STANDING_GROW(list)                                                    \
    standing_grow((void **)&(list)->items, (list)->count, &(list)->capacity,   \
                  sizeof *(list)->items)

/* standing.c */
size_t standing_member_at(const struct standing *s,
                          const struct incarnation *i);
const struct standing_member *standing_member_find(const struct standing *s,
                                                   const struct incarnation *i);
int standing_member_add(struct standing *s, const struct standing_member *m);
void standing_member_remove(struct standing *s, const struct incarnation *i);
void standing_fence_release(struct standing_fence *f);
void standing_proposal_release(struct standing_proposal *p);
void standing_order_release(struct standing_order *o);
void standing_forget_fence(struct standing *s, size_t at);
/* NULL when the order of that epoch is not remembered. */
const struct hash *standing_chain_at(const struct standing *s, uint64_t epoch);
void standing_chain_extend(struct standing *s, const struct hash *hash);

/* standing_fence.c */
/* Where the writer's fences begin, or would. */
size_t standing_fences_of(const struct standing *s,
                          const struct incarnation *writer);
/* CM_ERR_NOMEM, or any other code for a fence that is void. */
int standing_read_fence(const struct standing *s, struct slice value,
                        struct fence_reading *ret_reading);
void standing_reading_release(struct fence_reading *r);
/* CM_ERR_EVICTION_CONFLICT, CM_ERR_PENDING, or 0. */
int standing_check_links(const struct standing *s,
                         const struct fence_reading *r);
const struct standing_name *standing_fence_name(const struct standing_fence *f,
                                                const struct incarnation *i);
/* Whether it is named, and by a right that holds. */
bool standing_name_counts(const struct standing *s,
                          const struct standing_name *n);
/* Whether applied fences of writer name i; the greatest seq covered. */
bool standing_fenced(const struct standing *s, const struct incarnation *writer,
                     const struct incarnation *i, uint64_t *ret_seq);
/* Takes the names of the reading. Drops what it makes superfluous, and says
 * which of the writer's siblings stay: see standing_apply.c. */
int standing_add_fence(struct standing *s, const struct incarnation *writer,
                       const struct dot *dot, hlc_t hlc,
                       struct standing_name **names, size_t count);

/* standing_heard.c */
/* The heard order that stands for the epoch after previous; NULL if none. */
const struct standing_order *standing_chain_next(const struct standing *s,
                                                 uint64_t epoch,
                                                 const struct hash *previous);
bool standing_order_stands(const struct standing *s,
                           const struct standing_order *o);
bool standing_retirement_counts(const struct standing *s,
                                const struct standing_retirement *r);
int standing_hear_fence(struct standing *s, const struct fence *f);
void standing_prune(struct standing *s);

/* standing_proposal.c */
struct standing_proposal *standing_proposal_find(const struct standing *s,
                                                 struct slice key);
const struct standing_ack *standing_ack_find(const struct standing_proposal *p,
                                             const struct incarnation *acker);
int standing_ack_add(struct standing_proposal *p,
                     const struct standing_ack *ack);
void standing_cut_pack(struct buffer *out, const struct fence_cover *cut,
                       size_t count);
/* CM_ERR_NOMEM or why it is malformed; an empty cut gives NULL. */
int standing_cut_unpack(struct unpacker *u, struct fence_cover **ret_cut,
                        size_t *ret_count);
/* The key is a dot. */
struct dot standing_proposal_dot(const uint8_t key[PROPOSAL_KEY_SIZE]);

/* standing_apply.c */
int standing_entry_remove(const struct standing_store *store, enum space space,
                          struct slice key);
int standing_entry_fences(const struct standing *s,
                          const struct standing_store *store,
                          const struct incarnation *writer,
                          const struct sibling *added);

/* standing_level.c */
/* CM_ERR_NOMEM. */
int standing_level_raise(struct standing *s, const struct incarnation *i,
                         uint32_t level);
void standing_level_remove(struct standing *s, const struct incarnation *i);
/* Those of nobody rostered go. */
void standing_level_settle(struct standing *s);
int standing_level_join(struct standing *s, const struct standing *other);
bool standing_level_any(const struct standing *s);
void standing_level_pack(struct buffer *out, const struct standing *s);
void standing_level_unpack(struct standing *s, struct unpacker *u);

/* standing_settle.c */
/* Seals and passes whatever is due. */
int standing_due(struct standing *s, const struct standing_store *store,
                 const struct vv *vv, struct standing_changes *ret_changes);
/* As standing_due, where only acknowledgements have come. */
int standing_due_pass(struct standing *s, const struct standing_store *store,
                      struct standing_changes *ret_changes);

#endif
