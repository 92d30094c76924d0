/* Pending: events that wait for what they depend on.
 *
 * Bounded three ways; what does not fit is forgotten, because anti-entropy
 * brings it again. Events of one origin are kept in the order of their seq, and
 * when an origin's share is full the one farthest ahead gives way to an
 * earlier one. Events of incarnations that are in no roster yet have not been
 * verified, and have a smaller share. */
#ifndef NODE_PENDING_H
#define NODE_PENDING_H

#include "crdt/event.h"

#define PENDING_EVENTS_MAX 4096
#define PENDING_BYTES_MAX (32u << 20)
#define PENDING_PER_ORIGIN_MAX 1024
#define PENDING_UNVERIFIED_EVENTS_MAX 1024
#define PENDING_UNVERIFIED_BYTES_MAX (8u << 20)

struct pending_event {
    struct dot dot;
    struct hash hash;
    hlc_t held;     /* its stamp, if it waits for the clocks; else 0 */
    bool verified;  /* signature checked against the roster's key */
    bool done;      /* applied or refused by the open transaction */
    bool applied;   /* done, and applied */
    bool fence;     /* nothing but a fence is in it */
    bool announced; /* what it covers has been made known */
    uint8_t why;    /* enum refusal: what it waits for */
    uint8_t from[16];
    size_t size;
    uint8_t bytes[];
};

struct pending {
    struct pending_event **events; /* owned; sorted by (dot, hash) */
    size_t count;
    size_t capacity;
    size_t bytes;
    size_t unverified_count;
    size_t unverified_bytes;
    size_t fences; /* events of which fence is set */
    bool any_done; /* perhaps, in the open transaction */
};

void pending_init(struct pending *p);
void pending_release(struct pending *p);
/* Copies bytes. held: 0, or the stamp that is too far ahead.
 * CM_ERR_DUPLICATE, CM_ERR_LIMIT, CM_ERR_NOMEM. */
int pending_add(struct pending *p, const struct dot *dot,
                const struct hash *hash, struct slice bytes, bool verified,
                hlc_t held, const uint8_t from[16]);
/* NULL if it is not there. */
struct pending_event *pending_find(const struct pending *p,
                                   const struct dot *dot,
                                   const struct hash *hash);
/* Refuses all of i beyond seq, within the open transaction. */
void pending_refuse(struct pending *p, const struct incarnation *i,
                    uint64_t seq);
/* Raises vv by the verified events that follow on it without a gap, however
 * long they wait. CM_ERR_NOMEM, CM_ERR_LIMIT. */
int pending_raise(const struct pending *p, struct vv *vv);
/* Index of the first event whose dot is not below d; count if none. */
size_t pending_lower_bound(const struct pending *p, const struct dot *d);
/* The first one behind at that is of another origin. Every batch looks at
 * what waits, and that may be a flood that waits for one event. */
size_t pending_next_origin(const struct pending *p, size_t at);
/* Nothing but a fence is in it. */
void pending_mark_fence(struct pending *p, struct pending_event *e);
/* Applied or refused by the open transaction. */
void pending_mark_done(struct pending *p, struct pending_event *e);
/* Its signature turned out good. */
void pending_mark_verified(struct pending *p, struct pending_event *e);
/* After the transaction: drops the done ones, or takes done back. */
void pending_settle(struct pending *p, bool committed);

#endif
