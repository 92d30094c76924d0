/* Failure detection: the probe of this round, pings under way, suspicions.
 *
 * A round: ping one member; if it does not answer within the timeout, ask
 * PROBE_HELPERS others to ping it; if none of them heard from it by the end of
 * the interval, suspect it. A suspect that does not refute in time is dead. */
#ifndef GOSSIP_PROBE_H
#define GOSSIP_PROBE_H

#include "crdt/certificate.h"

#define PROBE_HELPERS 3
#define PINGS_MAX 128        /* under way; the oldest one gives way */
#define PINGS_RELAYED_MAX 64 /* of them on behalf of others */
#define RETRY_INTERVALS 10   /* between retries of one dead member */
/* Between streams to dead members, and once more for so many living ones. */
#define STREAM_INTERVALS 20
#define STREAM_MEMBERS 4
#define SUSPICION_INTERVALS 4
#define SUSPECT_PINGERS 8 /* so many nodes ask a suspect in each interval */

struct gossip;
struct member;

struct probe {
    bool active;
    bool indirect; /* helpers were asked */
    struct key_id target;
    uint64_t seq;
    uint64_t started_ms;
    struct key_id helpers[PROBE_HELPERS];
    size_t helpers_count;
};

struct ping {
    uint64_t seq;
    uint64_t sent_ms;
    struct key_id target;
    bool relayed; /* for requester, who calls it requester_seq */
    struct key_id requester;
    uint64_t requester_seq;
};

struct pings {
    struct ping entries[PINGS_MAX];
    size_t count;
    size_t relayed;
};

/* Remembers a ping, so that its ack is known. False: too many are relayed. */
bool pings_add(struct pings *p, const struct ping *ping);
/* Takes out the ping with this seq to this target. */
bool pings_take(struct pings *p, uint64_t seq, const struct key_id *target,
                struct ping *ret_ping);
void pings_expire(struct pings *p, uint64_t before_ms);

/* log10(members), at least 1, times SUSPICION_INTERVALS intervals. */
uint64_t probe_suspicion_ms(uint64_t interval_ms, size_t members);

/* Each does what is due at g->now_ms and moves its own deadline on. */
void probe_run(struct gossip *g);      /* rounds and their timeouts */
void probe_suspects(struct gossip *g); /* refutation asked for, or time is up */
void probe_contacts(struct gossip *g);
void probe_retry_dead(struct gossip *g);
/* When probe_run has something to do. */
uint64_t probe_deadline_ms(const struct gossip *g);
/* The machine was stopped for a while: what did not answer in that time is not
 * to blame. */
void probe_stalled(struct gossip *g, uint64_t stall_ms);
/* A suspect gets a due time and, now and then, another ping. */
void probe_suspect_enter(struct gossip *g, struct member *m);

#endif
