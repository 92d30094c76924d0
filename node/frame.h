/* What nodes say to each other over a channel, frame by frame.
 *
 * A frame is a canonical msgpack array that starts with its kind. Decoders are
 * strict and bounded; a frame that does not decode closes the stream. */
#ifndef NODE_FRAME_H
#define NODE_FRAME_H

#include "crdt/event.h"
#include "gossip/address.h"
#include "gossip/channel.h"

enum frame_kind {
    FRAME_HELLO = 1,    /* the sender's gossip address */
    FRAME_SYNC = 2,     /* the sender's version vector: send what it lacks */
    FRAME_EVENTS = 3,   /* original bytes of events, in causal order */
    FRAME_SYNC_END = 4, /* nothing more follows for that SYNC */
    FRAME_JOIN = 5,     /* a token is redeemed by a node without certificate */
    FRAME_GRANT = 6,    /* what the token's redeemer gets */
    FRAME_REFUSED = 7,  /* why not, in words */
    FRAME_SPONSOR = 8,  /* an incarnation asks to be rostered and brought up */
    FRAME_SNAPSHOT = 9, /* a piece of a message of a cut; an empty one that is
                           not the last says that the scan goes on */
    FRAME_PUSH = 10,    /* one event too large for a datagram */
    FRAME_ASK = 11,     /* tell me how far you have committed these, until
                           you have committed all of them */
    FRAME_COMMITTED = 12, /* what the sender has committed of them: a part of
                             its version vector as it is on its disk */
    FRAME_CUT_ASK = 13,   /* a member asks for a whole cut */
    FRAME_CUT = 14,       /* what follows: which cut, from which message on */
    FRAME_ORDERS = 15,    /* eviction orders and retirements that are open */
    FRAME_COMPARE = 16,   /* states are compared: see compare_message.h */
};
#define FRAME_KIND_LAST FRAME_COMPARE

/* What a cut is wanted for. */
enum cut_purpose {
    CUT_JOIN = 1,     /* into an empty replica, with a roster-add */
    CUT_CATCH_UP = 2, /* to be joined with what is there */
    CUT_RETURN = 3,   /* in place of what is there, with a roster-add */
};

#define FRAME_EVENTS_BYTES_MAX (1536u << 10)
#define FRAME_EVENTS_MAX 4096
#define FRAME_ORDERS_MAX                                                       \
    64 /* of one frame; more come when these are closed                        \
        */
#define FRAME_ORDERS_BYTES_MAX (512u << 10)
#define FRAME_ADDRESSES_MAX 64
#define FRAME_TEXT_MAX 256
#define FRAME_PIECE_MAX (1u << 20)
#define FRAME_DOTS_MAX 16 /* incarnations of one ASK or COMMITTED */
#define FRAME_ASK_MS_MAX (10u * 60 * 1000)

struct frame {
    enum frame_kind kind;
    struct address address;          /* HELLO, JOIN */
    struct generation_id generation; /* HELLO */
    struct vv vv;                    /* SYNC; owned */
    bool answer;                     /* SYNC: send yours too */
    size_t events_count; /* EVENTS, ORDERS: read one by one from events */
    struct unpacker events;
    bool needs_cut;                /* SYNC_END: bytes were missing */
    uint8_t token_id[8];           /* JOIN */
    uint8_t token_secret[16];      /* JOIN */
    char name[NAME_SIZE_MAX + 1];  /* JOIN */
    struct slice certificate;      /* GRANT */
    struct slice generation_order; /* GRANT */
    struct address addresses[FRAME_ADDRESSES_MAX]; /* GRANT */
    size_t addresses_count;
    int code;                        /* REFUSED: a cm_error */
    char text[FRAME_TEXT_MAX];       /* REFUSED */
    struct incarnation incarnation;  /* SPONSOR */
    uint32_t level;                  /* SPONSOR: that its program knows */
    enum cut_purpose purpose;        /* SPONSOR, CUT_ASK */
    uint64_t cut;                    /* SPONSOR, CUT_ASK: 0, or the one that
                                        was begun; CUT */
    uint64_t messages;               /* SPONSOR, CUT_ASK: that are there; CUT:
                                        before those that come */
    uint64_t total;                  /* CUT: messages of it */
    uint64_t cut_bytes;              /* CUT: of all messages, as they travel */
    struct slice bytes;              /* SNAPSHOT, PUSH, COMPARE */
    bool last;                       /* SNAPSHOT: the message is whole now */
    struct dot dots[FRAME_DOTS_MAX]; /* ASK, COMMITTED: ascending, one of an
                                        incarnation */
    size_t dots_count;               /* at least 1 */
    uint64_t wait_ms;                /* ASK: forget it after that */
};

/* Slices borrow from bytes. Release after success only. */
int frame_decode(struct frame *ret_frame, struct slice bytes);
void frame_release(struct frame *f);

void frame_hello(struct buffer *out, const struct address *self,
                 const struct generation_id *generation);
void frame_sync(struct buffer *out, const struct vv *vv, bool answer);
/* events: encoded bins, one after the other, as pack_bin writes them. */
void frame_events(struct buffer *out, struct slice events, size_t count);
/* orders: as frame_events. */
void frame_orders(struct buffer *out, struct slice orders, size_t count);
void frame_sync_end(struct buffer *out, bool needs_cut);
void frame_join(struct buffer *out, const uint8_t token_id[8],
                const uint8_t token_secret[16], const char *name,
                const struct address *self);
void frame_grant(struct buffer *out, struct slice certificate,
                 struct slice generation_order, const struct address *addresses,
                 size_t addresses_count);
void frame_refused(struct buffer *out, int code, const char *text);
/* cut: the one that was begun and of which so many messages are there; 0.
 * level: op.h, what the incarnation's program knows. */
void frame_sponsor(struct buffer *out, const struct incarnation *incarnation,
                   uint32_t level, enum cut_purpose purpose, uint64_t cut,
                   uint64_t messages);
void frame_cut_ask(struct buffer *out, enum cut_purpose purpose, uint64_t cut,
                   uint64_t messages);
void frame_cut(struct buffer *out, uint64_t cut, uint64_t first, uint64_t total,
               uint64_t bytes);
/* Messages of any size travel in pieces of at most FRAME_PIECE_MAX. */
void frame_snapshot(struct buffer *out, struct slice piece, bool last);
void frame_push(struct buffer *out, struct slice event);
void frame_compare(struct buffer *out, struct slice message);
void frame_ask(struct buffer *out, const struct dot *dots, size_t count,
               uint64_t wait_ms);
void frame_committed(struct buffer *out, const struct dot *dots, size_t count);

#endif
