/* A node's clocks, made from virtual time: see clock.h. */
#include "sim/clock.h"

#include "crdt/base/check.h"

#define US_PER_MS 1000
#define MILLION 1000000

/* What its oscillator counted since since_us. */
static uint64_t counted_us(const struct sim_clock *c)
{
    uint64_t us = c->sched->now_us - c->since_us;

    CHECK(c->sched->now_us >= c->since_us);
    return us + (uint64_t)((int64_t)us * c->drift_ppm / MILLION);
}

static void count_anew(struct sim_clock *c)
{
    uint64_t counted = counted_us(c);

    c->mono_us += counted;
    c->wall_us += counted;
    c->since_us = c->sched->now_us;
}

void sim_clock_init(struct sim_clock *c, const struct sim_sched *sched,
                    int64_t offset_ms)
{
    CHECK(sched != NULL);
    *c = (struct sim_clock){.sched = sched,
                            .offset_ms = offset_ms,
                            .since_us = sched->now_us,
                            .wall_us = sched->now_us};
    sim_clock_boot(c);
}

void sim_clock_boot(struct sim_clock *c)
{
    count_anew(c);
    c->mono_us = (uint64_t)SIM_CLOCK_BOOT_MS * US_PER_MS;
}

uint64_t sim_clock_mono_ms(const struct sim_clock *c)
{
    return (c->mono_us + counted_us(c)) / US_PER_MS;
}

uint64_t sim_clock_wall_ms(const struct sim_clock *c)
{
    uint64_t wall =
        SIM_CLOCK_EPOCH_MS + (c->wall_us + counted_us(c)) / US_PER_MS;
    int64_t now = (int64_t)wall + c->offset_ms + c->step_ms;

    if (c->frozen)
        return c->frozen_ms;
    return now > 0 ? (uint64_t)now : 0;
}

uint64_t sim_clock_when_us(const struct sim_clock *c, uint64_t deadline_ms)
{
    if (deadline_ms <= c->mono_us / US_PER_MS)
        return c->since_us;
    if (deadline_ms > UINT64_MAX / US_PER_MS / MILLION)
        return UINT64_MAX;
    uint64_t wait_us = deadline_ms * US_PER_MS - c->mono_us;
    if (c->drift_ppm == 0)
        return c->since_us + wait_us;
    if (wait_us > UINT64_MAX / MILLION)
        return UINT64_MAX;
    uint64_t rate = (uint64_t)(MILLION + c->drift_ppm);
    /* Rounded up: the deadline has passed when the timer fires. */
    return c->since_us + (wait_us * MILLION + rate - 1) / rate + 1;
}

void sim_clock_set_step(struct sim_clock *c, int64_t step_ms)
{
    c->step_ms = step_ms;
}

void sim_clock_set_drift(struct sim_clock *c, int32_t ppm)
{
    CHECK(ppm >= -SIM_CLOCK_DRIFT_PPM_MAX && ppm <= SIM_CLOCK_DRIFT_PPM_MAX);
    count_anew(c);
    c->drift_ppm = ppm;
}

void sim_clock_set_frozen(struct sim_clock *c, bool frozen)
{
    uint64_t now_ms = sim_clock_wall_ms(c);

    if (frozen && !c->frozen)
        c->frozen_ms = now_ms;
    c->frozen = frozen;
}

void sim_clock_set_right(struct sim_clock *c)
{
    count_anew(c);
    c->wall_us = c->sched->now_us;
}
