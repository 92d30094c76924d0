/* What the loop knows of roster, floor and evictions: an immutable excerpt of
 * the writer's standing as of a commit, shared by count. */
#ifndef NODE_STANDING_VIEW_H
#define NODE_STANDING_VIEW_H

#include "crdt/standing.h"

#define STANDING_VIEW_HOLDERS_MAX 64 /* told of; the count says how many */

struct standing_view_member {
    struct incarnation incarnation;
    bool stays;     /* named by no open order or retirement */
    uint32_t level; /* that it has announced, see standing_level_of */
};

struct standing_view {
    struct standing_view_member *members; /* owned, sorted by incarnation */
    size_t members_count;
    size_t evictees;                 /* members that do not stay */
    struct standing_holder *holders; /* owned */
    size_t holders_count;            /* in the array */
    size_t holders_total;
    bool proposal_open; /* somebody's acknowledgement is missing */
    bool fence_open;    /* somebody's fence is missing */
    uint8_t *heard;     /* owned: open orders and retirements, META_HEARD */
    size_t heard_size;
    size_t heard_count;
    hlc_t floor_time;
    uint64_t epoch;
    struct hash order;
    struct hash hash; /* standing_hash */
    bool self_member;
    bool self_evictee; /* named by what is open, or sealed */
    bool self_sealed;
    uint64_t self_last; /* sealed: the last seq that counts */
    bool dropped;       /* a returner: its order was dropped */
    uint32_t level;     /* that every member that stays knows */
    uint32_t self_level;
    uint32_t level_max; /* that some member knows */
    size_t behind;      /* members that stay and know less than that */
};

/* NULL when memory is short. */
struct standing_view *standing_view_new(const struct standing *s,
                                        const struct incarnation *self);
void standing_view_release(struct standing_view *v); /* NULL is fine */
/* NULL if it is no member. */
const struct standing_view_member *
standing_view_find(const struct standing_view *v, const struct incarnation *i);

#endif
