/* The member table: who is known, in which state, since when.
 *
 * Sorted by key id. An entry in state MEMBER_NONE is only a certificate or an
 * address to try; it is not listed and nobody calls it a member. States change
 * by member_move alone, along a table of allowed moves, and an alive counter
 * never goes back: both are checked there. */
#ifndef GOSSIP_MEMBER_H
#define GOSSIP_MEMBER_H

#include "crdt/base/random.h"
#include "gossip/clock.h"
#include "gossip/gossip.h"
#include "gossip/packet.h"

#define MEMBER_NONE 0u /* beside enum member_state */
#define MEMBER_STATES 5
#define MEMBER_NEVER UINT64_MAX /* a time that does not come */

/* What exists only for peers that were spoken with. */
struct session {
    uint8_t key[32]; /* pairwise; computed once: X25519 costs 35 us */
    struct replay_guard replay;
    struct hash digest; /* the last one heard */
    bool digest_heard;
    uint64_t differs_since_ms; /* first hearing of the standing mismatch */
    uint64_t differs_told_ms;  /* last GOSSIP_DIFFERS; MEMBER_NEVER: none */
};

struct member {
    struct key_id key_id;
    char name[NAME_SIZE_MAX + 1];
    unsigned state; /* MEMBER_NONE or enum member_state */
    bool barred;    /* forgotten for good: not heard, not spoken to */
    bool linked;    /* the caller has a stream to it */
    uint64_t counter;
    uint64_t state_since_ms;
    uint64_t round_trip_ms;
    struct peer_clock clock;
    struct address address; /* from the signed alive */
    uint8_t signature[64];  /* of the alive record, or of the leave if LEFT */

    uint8_t *certificate; /* owned; NULL: unknown */
    size_t certificate_size;
    uint64_t certificate_from_ms; /* its not_before */
    uint8_t sign_key[32];
    uint8_t box_key[32];
    struct session *session; /* owned; NULL: not spoken with yet */

    struct address contact;   /* where to try; family 0: nowhere */
    uint64_t contact_next_ms; /* MEMBER_NEVER: no try is due */
    unsigned contact_tries;

    uint64_t suspect_until_ms;
    uint64_t suspect_ping_ms; /* when it is asked again to refute */
    struct key_id suspected_by;
    uint64_t hinted_ms;      /* last extra ping that told it its status */
    uint64_t state_given_ms; /* when it was last given the member list */
};

struct member_table {
    struct member **all; /* sorted by key id */
    size_t count;
    struct member **index;  /* all again, hashed; see member.c */
    size_t index_slots;     /* a power of two, at least twice count; or 0 */
    struct member **listed; /* those in a state other than MEMBER_NONE */
    size_t listed_count;
    struct member **ring; /* the order of this round of probes */
    size_t ring_count;
    size_t ring_next;
    size_t capacity; /* of each of the three */
    size_t state_count[MEMBER_STATES];
    uint64_t sum;     /* of member_sum over the living and the suspected */
    uint64_t changes; /* counts every move */
};

void member_table_init(struct member_table *t);
void member_table_release(struct member_table *t);
struct member *member_table_find(const struct member_table *t,
                                 const struct key_id *id);
/* Finds or makes the entry. CM_ERR_LIMIT when GOSSIP_MEMBERS_MAX are living
 * (of the others the least useful one gives way), CM_ERR_NOMEM. */
int member_table_ensure(struct member_table *t, const struct key_id *id,
                        struct member **ret_member);
/* The index of the first listed member whose key id is >= id. */
size_t member_table_listed_from(const struct member_table *t,
                                const struct key_id *id);

/* One term of member_table.sum. */
uint64_t member_sum(const struct key_id *id, uint64_t counter);
bool member_is_living(const struct member *m); /* alive or suspected */
bool member_may_move(unsigned from, unsigned to);
/* To a state and counter; CHECKs that the move is allowed and the counter not
 * lower. The caller decided that before. */
void member_move(struct member_table *t, struct member *m, unsigned state,
                 uint64_t counter, uint64_t now_ms);

/* Takes a copy of an encoded certificate that was decoded into c. A newer one
 * replaces an older one; 0 also if nothing changed. */
int member_set_certificate(struct member *m, struct slice bytes,
                           const struct certificate *c);
struct slice member_certificate(const struct member *m);

/* The next living member to probe: each once in a shuffled round. NULL: there
 * is none. */
struct member *member_table_next_probe(struct member_table *t,
                                       struct random_stream *r);
/* Up to count different living members other than except (may be NULL), at
 * random; returns how many. */
size_t member_table_pick(const struct member_table *t, struct random_stream *r,
                         const struct key_id *except, size_t count,
                         struct member **ret_members);
/* The same, but those to whom there is a stream come first. */
size_t member_table_pick_linked(const struct member_table *t,
                                struct random_stream *r,
                                const struct key_id *except, size_t count,
                                struct member **ret_members);
/* A new or revived member gets a random place in what is left of the round. */
void member_table_enter_ring(struct member_table *t, struct random_stream *r,
                             struct member *m);

#endif
