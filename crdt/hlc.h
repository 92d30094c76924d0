/* Hybrid logical clock: 48 bits of milliseconds since 1970, 16 bits counter.
 *
 * Source: Kulkarni et al., "Logical Physical Clocks and Consistent Snapshots
 * in Globally Distributed Databases" (2014). The number is compared as a
 * whole; it is never 0 for a real event. */
#ifndef CRDT_HLC_H
#define CRDT_HLC_H

#include <stdint.h>

typedef uint64_t hlc_t;

#define HLC_WALL_MS_MAX ((UINT64_C(1) << 48) - 1)

/* A wall_ms beyond HLC_WALL_MS_MAX saturates. */
hlc_t hlc_make(uint64_t wall_ms, uint16_t counter);
uint64_t hlc_wall_ms(hlc_t clock);
uint16_t hlc_counter(hlc_t clock);

/* The time stamp of a new local event: greater than last, and not behind
 * wall_ms. last is the greatest stamp issued or merged so far. */
hlc_t hlc_next(hlc_t last, uint64_t wall_ms);

/* The clock after having seen a remote stamp: the greater of the two. */
hlc_t hlc_merge(hlc_t last, hlc_t remote);

#endif
