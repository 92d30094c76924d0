/* Gossip: SWIM membership and event push, as a sans-I/O state machine.
 *
 * Bytes, ticks and now come in; packets, events and a deadline come out. No
 * callback: outputs queue up and the caller drains them after every input.
 * Membership: Das, Gupta, Motivala, "SWIM: Scalable Weakly-consistent
 * Infection-style Process Group Membership Protocol" (2002): ping, indirect
 * ping through others, suspicion, refutation by the suspect alone, dead, leave.
 * Only a node's own signature raises its alive counter.
 *
 * Every datagram is sealed with XChaCha20-Poly1305 under the pairwise key of
 * two certified X25519 keys; the header (version, sender's key id, nonce) is
 * authenticated too. A packet of an unknown sender asks for contact over a
 * stream (GOSSIP_CONTACT), where certificates are exchanged; nothing in it is
 * believed. Membership and payload have separate packet budgets. */
#ifndef GOSSIP_GOSSIP_H
#define GOSSIP_GOSSIP_H

#include "crdt/base/hash.h"
#include "crdt/base/random.h"
#include "crdt/certificate.h"
#include "gossip/address.h"

#define GOSSIP_PACKET_MAX 1200            /* bytes of one datagram's payload */
#define GOSSIP_MEMBERS_MAX 10240          /* living, suspected and remembered */
#define GOSSIP_PUSH_DATAGRAM_MAX 1024     /* larger events go over a stream */
#define GOSSIP_QUEUE_BYTES_MAX (4u << 20) /* packets waiting to be sent */
#define GOSSIP_FULL_FANOUT_MAX 8 /* up to here every peer is pushed to */
#define GOSSIP_FANOUT 6          /* beyond */

enum member_state {
    MEMBER_ALIVE = 1,
    MEMBER_SUSPECT = 2,
    MEMBER_DEAD = 3,
    MEMBER_LEFT = 4,
};

struct member_view {
    struct key_id key_id;
    char name[NAME_SIZE_MAX + 1]; /* "" until the certificate is known */
    struct address address;
    enum member_state state;
    uint64_t alive_counter;
    uint64_t state_since_ms; /* monotonic */
    uint64_t round_trip_ms;  /* of the last acknowledged ping; 0 unknown */
    bool clock_known;
    int64_t clock_offset_ms; /* its wall clock less ours, when last heard */
    bool digest_equal;       /* the last digest heard equals ours */
    bool has_certificate;
};

struct gossip_config {
    struct mesh_id mesh;
    uint8_t authority_public_key[32];
    struct slice certificate;    /* own, encoded; copied */
    uint8_t sign_secret_key[64]; /* Ed25519 */
    uint8_t box_secret_key[32];  /* X25519 */
    struct address address;      /* what peers reach this node at */
    uint64_t alive_counter;      /* to start from: greater than ever used;
                                    wall clock milliseconds will do */
    uint8_t seed[32];            /* of nonces and shuffles */
    uint64_t probe_interval_ms;  /* 0: 1000 */
    uint64_t probe_timeout_ms;   /* 0: 300; then indirect, then suspect at
                                    the interval's end */
    uint64_t suspicion_ms;       /* 0: 4 * max(1, log10 N) * interval */
    uint64_t forget_dead_ms;     /* 0: 24 h; dead ones are retried now and
                                    then until forgotten */
};

struct gossip;

int gossip_create(struct gossip **ret_gossip, const struct gossip_config *c,
                  uint64_t now_ms);
void gossip_free(struct gossip *g);

/* Inputs. now_ms is monotonic. */
/* A datagram; 0 if it was understood, else why it was dropped (counted). */
int gossip_recv(struct gossip *g, uint64_t now_ms, const struct address *from,
                struct slice packet);
int gossip_tick(struct gossip *g, uint64_t now_ms);
/* A verified, encoded certificate of a peer (from the roster, from a stream
 * handshake). Known ones cost nothing. */
int gossip_add_certificate(struct gossip *g, struct slice certificate);
/* A certified peer is reachable at this address (stream handshake, stored
 * peers): it is pinged at once and a member as soon as it answers. */
int gossip_add_contact(struct gossip *g, uint64_t now_ms,
                       const struct key_id *peer,
                       const struct address *address);
/* The state digest that probes carry from now on. */
void gossip_set_digest(struct gossip *g, const struct hash *digest);
/* The wall clock, as its lead over the monotonic one; told again before each
 * input, because it may jump. Acks carry it; it decides nothing in here. */
void gossip_set_clock(struct gossip *g, int64_t wall_less_mono_ms);
/* How far the median of the living members' clocks, this node's own included,
 * is ahead of the own one; of two in the middle the earlier, so that of two
 * clocks the slow one is believed. Returns how many clocks were asked, the own
 * one included; 1: no peer's is known. */
size_t gossip_clock_median(const struct gossip *g, int64_t *ret_offset_ms);
/* An event to be spread: own, or received for the first time. except (may be
 * NULL) is not sent to. Small ones leave as datagrams; for each peer that
 * needs a stream there will be a GOSSIP_PUSH_STREAM. event is copied. */
int gossip_push(struct gossip *g, uint64_t now_ms, struct slice event,
                const struct key_id *except);
/* Whether the caller has a stream to that peer: events too large for a datagram
 * go there rather than over new ones. Unknown peers are passed over. */
void gossip_set_linked(struct gossip *g, const struct key_id *peer,
                       bool linked);
/* Signs and spreads that this node leaves; drain sends afterwards. */
void gossip_leave(struct gossip *g, uint64_t now_ms);
/* Peers of evicted or foreign keys are forgotten and not heard again. */
void gossip_forget(struct gossip *g, const struct key_id *peer);
/* One that was forgotten has come back under another incarnation. */
void gossip_readmit(struct gossip *g, const struct key_id *peer);

/* Outputs. Slices live until the next call of any function on g. */
struct gossip_send {
    struct address to;
    struct slice packet;
};
bool gossip_next_send(struct gossip *g, struct gossip_send *ret_send);

enum gossip_event_kind {
    GOSSIP_MEMBER = 1,      /* a member's state changed: peer, state */
    GOSSIP_EVENT = 2,       /* an event arrived: peer sent bytes; unverified */
    GOSSIP_DIFFERS = 3,     /* peer's digest is not ours: peer, address */
    GOSSIP_CONTACT = 4,     /* open a stream to address: unknown peer there,
                               or a dead one (rate-limited) */
    GOSSIP_PUSH_STREAM = 5, /* send bytes to peer over a stream */
};
struct gossip_event {
    enum gossip_event_kind kind;
    struct key_id peer;
    struct address address;
    enum member_state state;
    struct slice bytes;
};
bool gossip_next_event(struct gossip *g, struct gossip_event *ret_event);

/* When gossip_tick wants to be called next; UINT64_MAX if never. */
uint64_t gossip_deadline_ms(const struct gossip *g);

/* Views. */
size_t gossip_member_count(const struct gossip *g, enum member_state state);
/* index 0 .. total - 1 in a stable order (by key id); self is not in it. */
size_t gossip_member_total(const struct gossip *g);
void gossip_member_at(const struct gossip *g, size_t index,
                      struct member_view *ret_view);
/* Another number than before: some member may have another state. */
uint64_t gossip_member_changes(const struct gossip *g);
/* MEMBER_NONE: unknown. */
enum member_state gossip_member_state(const struct gossip *g,
                                      const struct key_id *peer);
bool gossip_member_find(const struct gossip *g, const struct key_id *peer,
                        struct member_view *ret_view);
/* How many living members, but for except (may be NULL), had this digest when
 * they were heard last. */
size_t gossip_digest_heard(const struct gossip *g, const struct hash *digest,
                           const struct key_id *except);
/* The peer's encoded certificate, empty if unknown; borrowed. */
struct slice gossip_certificate(const struct gossip *g,
                                const struct key_id *peer);

struct gossip_counters {
    uint64_t packets_sent, packets_received, bytes_sent, bytes_received;
    uint64_t packets_refused; /* did not authenticate or decode */
    uint64_t packets_unknown; /* sender without a known certificate */
    uint64_t packets_dropped; /* own queue full */
    uint64_t events_pushed, events_received;
    uint64_t suspicions, refutations, deaths;
};
void gossip_counters(const struct gossip *g, struct gossip_counters *ret);

#endif
