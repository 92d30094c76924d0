/* Stamps order concurrent writes the way people expect, by time, and still
 * never run behind what they causally follow, whatever the clocks say. */
#include "crdt/hlc.h"

#include "crdt/base/check.h"

hlc_t hlc_make(uint64_t wall_ms, uint16_t counter)
{
    if (wall_ms > HLC_WALL_MS_MAX)
        wall_ms = HLC_WALL_MS_MAX;
    return wall_ms << 16 | counter;
}

uint64_t hlc_wall_ms(hlc_t clock)
{
    return clock >> 16;
}

uint16_t hlc_counter(hlc_t clock)
{
    return (uint16_t)(clock & 0xffff);
}

hlc_t hlc_next(hlc_t last, uint64_t wall_ms)
{
    hlc_t wall = hlc_make(wall_ms, 0);
    hlc_t ret;

    /* A counter that runs over carries into the milliseconds, as it should.
     * The very last stamp is 8,900 years away and events dated that far ahead
     * never enter a clock. */
    CHECK(last < UINT64_MAX);
    ret = last + 1 > wall ? last + 1 : wall;
    CHECK(ret > last);
    return ret;
}

hlc_t hlc_merge(hlc_t last, hlc_t remote)
{
    return last > remote ? last : remote;
}
