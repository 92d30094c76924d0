/* A node's clocks, made from virtual time: see clock.h. */
#include "sim/clock.h"

#include "crdt/base/check.h"

#define US_PER_MS 1000

void sim_clock_init(struct sim_clock *c, const struct sim_sched *sched,
                    int64_t wall_offset_ms)
{
    CHECK(sched != NULL);
    *c = (struct sim_clock){.sched = sched, .wall_offset_ms = wall_offset_ms};
    sim_clock_boot(c);
}

void sim_clock_boot(struct sim_clock *c)
{
    c->boot_us = c->sched->now_us;
}

uint64_t sim_clock_mono_ms(const struct sim_clock *c)
{
    CHECK(c->sched->now_us >= c->boot_us);
    return SIM_CLOCK_BOOT_MS + (c->sched->now_us - c->boot_us) / US_PER_MS;
}

uint64_t sim_clock_wall_ms(const struct sim_clock *c)
{
    uint64_t wall = SIM_CLOCK_EPOCH_MS + c->sched->now_us / US_PER_MS;
    return (uint64_t)((int64_t)wall + c->wall_offset_ms);
}

uint64_t sim_clock_when_us(const struct sim_clock *c, uint64_t deadline_ms)
{
    if (deadline_ms <= SIM_CLOCK_BOOT_MS)
        return c->boot_us;
    uint64_t wait_ms = deadline_ms - SIM_CLOCK_BOOT_MS;
    if (wait_ms > (UINT64_MAX - c->boot_us) / US_PER_MS)
        return UINT64_MAX;
    return c->boot_us + wait_ms * US_PER_MS;
}
