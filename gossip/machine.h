/* The inside of struct gossip, shared by the files that make it up; nobody else
 * includes this.
 *
 * gossip.c composes: inputs, deadlines, views. transmit.c builds packets,
 * member.c, spread.c, stranger.c and outbox.c are its tables, probe.c detects
 * failures, push.c sends events and member lists, receive.c takes packets. */
#ifndef GOSSIP_MACHINE_H
#define GOSSIP_MACHINE_H

#include "gossip/member.h"
#include "gossip/outbox.h"
#include "gossip/probe.h"
#include "gossip/push.h"
#include "gossip/spread.h"
#include "gossip/stranger.h"

#define SPREAD_INTERVAL_MS 200 /* between rounds while there is news */
#define SPREAD_DELAY_MS 10     /* news of one moment share packets */
#define SPREAD_FANOUT 3
#define DIGEST_PING_MS 100   /* after the own digest changed */
#define DIGEST_SETTLE_MS 50  /* what was pushed is under way so long */
#define DIFFERS_EVERY_MS 100 /* GOSSIP_DIFFERS per peer */
#define HINT_EVERY_MS 200    /* pings that tell a peer its status */
#define CONTACT_TRY_MS 300   /* first retry, then doubled ... */
#define CONTACT_TRY_MS_MAX 30000
#define CONTACTS_PER_TICK 64
#define CLOCKS_ASKED_MAX 256 /* for a median; of more members some */
#define STATE_SYNC_MEMBERS                                                     \
    32 /* mesh size up to which the list may be asked                          \
          for once an interval */
#define STATE_SYNC_BACKOFF_MAX 64

/* What this node says of itself. */
struct own_record {
    struct key_id key_id;
    struct address address;
    uint64_t counter;
    uint8_t signature[64];
    bool left;
};

struct gossip {
    struct mesh_id mesh;
    uint8_t authority_public_key[32];
    struct buffer certificate;
    uint8_t sign_secret_key[64];
    uint8_t box_secret_key[32];
    uint64_t interval_ms;
    uint64_t timeout_ms;
    uint64_t suspicion_ms; /* 0: by the number of members */
    uint64_t forget_ms;

    struct random_stream random;
    uint8_t nonce_prefix[PACKET_NONCE_PREFIX_SIZE];
    uint64_t nonce_counter;
    uint64_t seq; /* of pings; starts at random */
    uint64_t now_ms;

    struct own_record own;
    struct own_clock clock;
    struct hash digest;
    uint64_t digest_changed_ms;
    bool digest_unstamped; /* set between two inputs: dated by the next one */
    uint64_t digest_ping_ms;

    struct member_table table;
    struct strangers strangers;
    struct spread spread;
    uint64_t spread_ms;
    struct probe probe;
    struct pings pings;
    uint64_t probe_ms;   /* the next round */
    uint64_t retry_ms;   /* the next dead member's turn */
    size_t retry_cursor; /* into the listed */
    uint64_t stream_ms;  /* not before: the next stream to a dead one */
    size_t stream_cursor;
    uint64_t contact_ms; /* not later than the first contact_next_ms */
    uint64_t suspect_ms; /* not later than the first suspicion's due time */
    uint64_t forget_at_ms;

    struct state_jobs jobs;
    uint64_t state_asked_ms; /* when a list was last asked for, of anybody */
    bool state_asked;
    uint64_t state_asked_changes; /* table.changes then */
    uint64_t state_backoff;       /* in sync intervals */

    struct packet_builder builder; /* of packets that begin here */
    struct packet_builder reply;   /* of the answer to the received packet */
    struct buffer datagram;
    uint8_t plain[PACKET_PLAIN_MAX];
    struct packet packet; /* the received one, decoded */
    struct outbox outbox;
    struct gossip_counters counters;
};

/* --- transmit.c: packets go out --- */

/* The pairwise session, made at the first use. NULL: no certificate, a bad
 * key, or memory is short. */
struct session *transmit_session(struct gossip *g, struct member *m);
/* Seals what the builder holds (nothing: no packet) and empties it; the rest
 * of a membership packet is filled with news. */
void transmit_finish(struct gossip *g, struct packet_builder *b,
                     struct member *m, const struct address *to,
                     enum lane lane);
/* Own alive record, or the leave after gossip_leave. */
void transmit_own(const struct gossip *g, struct message *ret_message);
/* The record that describes m's present state: alive, suspect, dead or leave;
 * false if there is none (MEMBER_NONE). */
bool transmit_record(const struct member *m, struct message *ret_message);
/* The signed one: alive, or leave of a member that left. */
void transmit_signed(const struct member *m, struct message *ret_message);
/* A ping that tells m how it is seen here; with the own record if that may be
 * news to m. ping (may be NULL) tells on whose behalf; its seq is set. */
void transmit_ping(struct gossip *g, struct member *m, const struct address *to,
                   struct ping *ping, bool with_own);
uint64_t transmit_members_sum(const struct gossip *g);
void transmit_sign_own(struct gossip *g); /* after own changed */
/* Raises the own counter above counter and spreads it. */
void transmit_refute(struct gossip *g, uint64_t counter);

/* --- gossip.c: what several files change --- */

size_t machine_size(const struct gossip *g); /* living members and itself */
/* A subject's record is news to all. */
void machine_spread(struct gossip *g, const struct key_id *subject);
/* Moves and tells the caller if the state changed. */
void machine_move(struct gossip *g, struct member *m, unsigned state,
                  uint64_t counter);
void machine_tell(struct gossip *g, const struct gossip_event *event,
                  struct shared_bytes *bytes);
void machine_suspect(struct gossip *g, struct member *m,
                     const struct key_id *by);
void machine_dead(struct gossip *g, struct member *m);
void machine_stranger(struct gossip *g, const struct key_id *id,
                      const struct address *address,
                      const struct message *alive, bool unproven);
/* Pings m now and again until it answers with its alive record. */
void machine_contact(struct gossip *g, struct member *m,
                     const struct address *address);
/* Verifies and applies an alive or leave record of m, if it is news. direct: m
 * itself sent it. */
void machine_apply_alive(struct gossip *g, struct member *m,
                         const struct message *message, bool direct);
void machine_apply_leave(struct gossip *g, struct member *m,
                         const struct message *message);

#endif
