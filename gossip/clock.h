/* Clocks: how far the peers' wall clocks are from this node's.
 *
 * An ack carries its sender's wall clock. The offset is taken at the middle of
 * the round trip, as NTP does (Mills, RFC 5905); half the round trip is its
 * error, and of recent samples the one with the shortest round trip counts. */
#ifndef GOSSIP_CLOCK_H
#define GOSSIP_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLOCK_SAMPLE_MS_MAX 60000 /* an older one gives way to any */

struct own_clock {
    bool known;
    int64_t lead_ms; /* wall less monotonic */
};

struct peer_clock {
    bool known;
    int64_t lead_ms; /* its wall clock less our monotonic one */
    uint64_t round_trip_ms;
    uint64_t heard_ms; /* monotonic */
};

/* 0 while it is unknown or before 1970. */
uint64_t clock_now(const struct own_clock *c, uint64_t now_ms);
/* wall_ms: from an ack to a ping that was sent at sent_ms; 0: it had none. */
void clock_hear(struct peer_clock *p, const struct own_clock *own,
                uint64_t wall_ms, uint64_t sent_ms, uint64_t now_ms);
/* The peer's wall clock less ours, both as of now. */
int64_t clock_offset(const struct peer_clock *p, const struct own_clock *own);
/* The lower median; sorts offsets. count > 0. */
int64_t clock_median(int64_t *offsets, size_t count);

#endif
