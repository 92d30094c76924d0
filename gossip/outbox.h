/* What a machine has to say to its caller: packets and events, queued.
 *
 * Packets wait in two lanes with budgets of their own, so that a storm of
 * payload cannot delay the membership traffic that keeps nodes alive, nor the
 * other way round; they leave in turn. Together the lanes hold at most
 * GOSSIP_QUEUE_BYTES_MAX. */
#ifndef GOSSIP_OUTBOX_H
#define GOSSIP_OUTBOX_H

#include "gossip/gossip.h"

#define OUTBOX_MEMBERSHIP_MAX (GOSSIP_QUEUE_BYTES_MAX / 4)
#define OUTBOX_PAYLOAD_MAX (GOSSIP_QUEUE_BYTES_MAX - OUTBOX_MEMBERSHIP_MAX)
#define OUTBOX_EVENTS_MAX (2 * GOSSIP_MEMBERS_MAX) /* events waiting */
#define OUTBOX_EVENT_BYTES_MAX GOSSIP_QUEUE_BYTES_MAX

enum lane {
    LANE_MEMBERSHIP = 0,
    LANE_PAYLOAD = 1,
};

/* Bytes that several events share. */
struct shared_bytes {
    size_t references;
    size_t queued; /* events in the queue that refer to it */
    size_t size;
    uint8_t data[];
};

struct outbox_packet {
    struct outbox_packet *next;
    struct address to;
    size_t size;
    uint8_t data[];
};

struct outbox_lane {
    struct outbox_packet *first;
    struct outbox_packet *last;
    size_t bytes; /* heads included */
    size_t max;
};

struct outbox_event {
    struct outbox_event *next;
    struct gossip_event event;
    struct shared_bytes *bytes; /* NULL: none */
};

struct outbox {
    struct outbox_lane lanes[2];
    unsigned turn;                 /* the lane that sends next, if it can */
    struct outbox_packet *sending; /* the caller's until the next one */
    struct outbox_event *first;
    struct outbox_event *last;
    size_t events_count;
    size_t events_bytes;          /* shared ones counted once */
    struct outbox_event *telling; /* the caller's until the next one */
};

void outbox_init(struct outbox *o);
void outbox_release(struct outbox *o);
/* False: dropped, the lane's budget is used up (or memory is short). */
bool outbox_send(struct outbox *o, enum lane lane, const struct address *to,
                 struct slice packet);
bool outbox_next_send(struct outbox *o, struct gossip_send *ret_send);

struct shared_bytes *shared_bytes_new(struct slice bytes); /* one reference */
void shared_bytes_drop(struct shared_bytes *b);            /* NULL is fine */
/* Takes a reference of its own to bytes (may be NULL). False: dropped. */
bool outbox_tell(struct outbox *o, const struct gossip_event *event,
                 struct shared_bytes *bytes);
bool outbox_next_event(struct outbox *o, struct gossip_event *ret_event);

#endif
