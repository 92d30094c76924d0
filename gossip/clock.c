/* Clocks; see clock.h. A lead over the own monotonic clock is kept instead of
 * an offset, so that a step of the own wall clock shows in every offset at
 * once. */
#include "gossip/clock.h"

#include "crdt/base/check.h"
#include "gossip/packet.h"

uint64_t clock_now(const struct own_clock *c, uint64_t now_ms)
{
    int64_t wall = (int64_t)now_ms + c->lead_ms;

    CHECK(now_ms <= INT64_MAX / 2);
    if (!c->known || wall < 0)
        return 0;
    return (uint64_t)wall > PACKET_CLOCK_MS_MAX ? PACKET_CLOCK_MS_MAX
                                                : (uint64_t)wall;
}

void clock_hear(struct peer_clock *p, const struct own_clock *own,
                uint64_t wall_ms, uint64_t sent_ms, uint64_t now_ms)
{
    uint64_t round_trip = now_ms - sent_ms;
    int64_t lead = (int64_t)wall_ms - (int64_t)(sent_ms + round_trip / 2);
    int64_t moved = lead - p->lead_ms;

    CHECK(sent_ms <= now_ms);
    CHECK(wall_ms <= PACKET_CLOCK_MS_MAX);
    if (wall_ms == 0 || !own->known)
        return;
    if (moved < 0)
        moved = -moved;
    /* A worse sample is taken only if the better one is old, or if the clock
     * has moved by more than both could err. */
    if (p->known && round_trip > p->round_trip_ms &&
        now_ms - p->heard_ms < CLOCK_SAMPLE_MS_MAX &&
        (uint64_t)moved <= (round_trip + p->round_trip_ms) / 2 + 1)
        return;
    *p = (struct peer_clock){.known = true,
                             .lead_ms = lead,
                             .round_trip_ms = round_trip,
                             .heard_ms = now_ms};
}

int64_t clock_offset(const struct peer_clock *p, const struct own_clock *own)
{
    return p->known && own->known ? p->lead_ms - own->lead_ms : 0;
}

/* Hoare's selection: the rest need not be sorted. */
int64_t clock_median(int64_t *offsets, size_t count)
{
    size_t wanted = (count - 1) / 2;
    size_t low = 0;
    size_t high = count - 1;

    CHECK(count > 0);
    while (low < high) {
        int64_t pivot = offsets[low + (high - low) / 2];
        size_t i = low;
        size_t j = high;

        for (;;) {
            while (offsets[i] < pivot)
                i++;
            while (offsets[j] > pivot)
                j--;
            if (i >= j)
                break;
            int64_t swap = offsets[i];
            offsets[i++] = offsets[j];
            offsets[j--] = swap;
        }
        /* Up to j none is greater than the pivot, from j + 1 on none less. */
        if (wanted <= j)
            high = j;
        else
            low = j + 1;
    }
    return offsets[wanted];
}
