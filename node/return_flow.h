/* Returning, on the loop: from a reason (hazard.h) to a new incarnation. */
#ifndef NODE_RETURN_FLOW_H
#define NODE_RETURN_FLOW_H

#include "crdt/certificate.h"
#include "gossip/address.h"
#include "node/cut_receiver.h"
#include "node/hazard.h"

enum returning_phase {
    RETURNING_NONE = 0,
    RETURNING_STORE = 1,   /* reason and next incarnation go to disk */
    RETURNING_IDLE = 2,    /* a sponsor is asked when it is time */
    RETURNING_OFFER = 3,   /* it takes what it lacks of the events here */
    RETURNING_RECEIVE = 4, /* it was asked: its cut comes */
    RETURNING_HELD = 5,    /* the cut waits for the clocks */
    RETURNING_APPLY = 6,   /* the writer adopts it */
    RETURNING_SUCCEED = 7, /* nobody else is there: by itself */
    RETURNING_RENEW = 8,   /* a token is being redeemed first */
};

#define RETURNING_TEXT_MAX 256
#define RETURNING_TOKEN_RETRY_MS 10000

struct returning {
    enum returning_phase phase;
    enum return_reason reason;
    struct incarnation next;
    struct incarnation before; /* what next was, while the new one is stored */
    bool asked;                /* somebody may have rostered next */
    bool was_asked;            /* before the sponsor that is asked now */
    struct peer_of_generation {
        struct key_id peer;
        struct address address;
        bool known;
    } newer; /* a peer of a newer generation, or with the branch that stands */
    bool elsewhere;  /* that one was of no use: another is asked, by turns */
    bool signer_too; /* others wait, perhaps for this node, or are gone */
    struct address address; /* of the sponsor that is asked */
    struct key_id sponsor;
    bool sponsor_known;
    uint64_t retry_ms;
    uint64_t backoff_ms;
    uint64_t since_ms;
    unsigned failures; /* of this sponsor, without a message between them */
    unsigned hasty;    /* sponsors left in a row without a wait */
    uint64_t messages_before;
    size_t turn; /* among those that can be asked */
    struct cut_receiver *receiver;
    struct snapshot_sink *sink;
    char *token;               /* owned; NULL: none, or used */
    struct buffer certificate; /* renewed; empty: as it is */
    char waits[RETURNING_TEXT_MAX];
    struct key_id claimed_by;   /* who said so first… */
    enum return_reason claimed; /* …of what */
    uint64_t lonely_ms;         /* when to ask somebody over a stream… */
    uint64_t lonely_backoff_ms;
    size_t lonely_turn;
    uint64_t times;       /* since the start */
    uint64_t turned_away; /* likewise: sponsors that were of no use */
};

struct node;
struct link;
struct frame;

/* Begins, unless it is under way already. */
void returning_begin(struct node *n, enum return_reason reason);
/* A member says so without proof. One alone could make every node of the mesh
 * begin again and again: it counts once a second one says so, or where there is
 * no other to ask. */
void returning_claimed(struct node *n, enum return_reason reason,
                       const struct key_id *by);
/* Likewise, and no other sponsor than that peer will do. */
void returning_begin_with(struct node *n, enum return_reason reason,
                          const struct key_id *peer,
                          const struct address *address);
/* That peer holds the lower branch of a fork: if the fences tell this node that
 * it has lost, it is the first to be asked. */
void returning_note_branch(struct node *n, const struct key_id *peer,
                           const struct address *address);
/* The fences say so, and who has the one that stands. */
void returning_note_lost(struct node *n, const struct standing_lost *lost);
/* At the start, once the identity is there: what was under way goes on, and
 * what is told by the disk alone is found. */
void returning_load(struct node *n);
void returning_tick(struct node *n, uint64_t now);
uint64_t returning_deadline(const struct node *n);
/* True if the frame was of the cut that is returned to; l may be gone. */
bool returning_on_frame(struct node *n, struct link *l, const struct frame *f);
void returning_link_gone(struct node *n, struct link *l, const char *reason);
/* The token was redeemed, or never will be (certificate empty). */
void returning_renewed(struct node *n, struct slice certificate,
                       const char *why);
void returning_release(struct node *n);
const char *returning_phase_name(const struct returning *r);
/* What is being committed is the state of a newer generation. */
bool returning_comes_over(const struct node *n);

/* return_flow.c, for the others */
void returning_wait_for(struct node *n, const char *text);
/* Goes on later, and each time later still. */
void returning_try_later(struct node *n, const char *text);
void returning_drop_cut(struct returning *r);
/* What META_RETURNING says while it returns. */
void returning_pack_fact(struct buffer *out, const struct returning *r);
/* The incarnations that are to be retired, with one more. */
int returning_given_up_with(struct node *n, const struct incarnation *more,
                            struct buffer *out);
/* A fresh next incarnation goes to disk; if the one before may have been
 * rostered it is given up there. */
int returning_store_next(struct node *n);

/* return_ask.c: the member that is asked, and its cut */
void returning_offer(struct node *n);
void returning_look_at_offer(struct node *n, uint64_t now);
/* Turns to another one; false: there is none, and the same is asked again. */
bool returning_another(struct node *n);
void returning_drop_link(struct node *n);

/* return_adopt.c: the passage into the next life */
bool returning_is_alone(const struct node *n);
void returning_succeed(struct node *n);
/* The cut is here whole, or never will be (error). */
void returning_received(struct node *n, int error,
                        const struct cm_detail *detail);
/* One that was held. */
void returning_adopt_again(struct node *n);

/* return_sponsor.c: the next one to ask, from returning.turn on; false when
 * nobody is known. */
bool returning_choose(struct node *n);
bool returning_is_rostered(const struct node *n, const struct key_id *peer);
/* return_retire.c: orders the retirement of every earlier incarnation of this
 * node that is not sealed yet. */
void returning_retire(struct node *n);

#endif
