/* Clock: what one simulated node reads.
 *
 * Its monotonic clock starts anew with every boot, as a machine's does, and
 * runs with the machine's drift. Its wall clock is the world's, plus an offset
 * of the node's own, plus what drift has added so far; it can be stepped, and
 * stand still. */
#ifndef SIM_CLOCK_H
#define SIM_CLOCK_H

#include "sim/sched.h"

/* Wall time at the beginning of a run: 2026-01-01 00:00 UTC. */
#define SIM_CLOCK_EPOCH_MS UINT64_C(1767225600000)
#define SIM_CLOCK_BOOT_MS 1000 /* what a freshly booted node reads */
#define SIM_CLOCK_DRIFT_PPM_MAX 500000

struct sim_clock {
    const struct sim_sched *sched; /* borrowed */
    int64_t offset_ms;             /* of the wall clock, always */
    int64_t step_ms;               /* likewise, while a fault says so */
    int32_t drift_ppm;
    uint64_t since_us; /* virtual time of the last boot or change of drift */
    uint64_t mono_us;  /* what the clocks read then */
    uint64_t wall_us;
    bool frozen; /* the wall clock stands at frozen_ms */
    uint64_t frozen_ms;
};

void sim_clock_init(struct sim_clock *c, const struct sim_sched *sched,
                    int64_t offset_ms);
void sim_clock_boot(struct sim_clock *c);
uint64_t sim_clock_mono_ms(const struct sim_clock *c);
uint64_t sim_clock_wall_ms(const struct sim_clock *c);
/* When this clock's monotonic side reaches deadline_ms, in virtual time, if
 * its drift stays; UINT64_MAX for never. */
uint64_t sim_clock_when_us(const struct sim_clock *c, uint64_t deadline_ms);

/* The offset that a fault adds now, in place of the one before. */
void sim_clock_set_step(struct sim_clock *c, int64_t step_ms);
/* From now on, forwards and backwards; what it has added stays. */
void sim_clock_set_drift(struct sim_clock *c, int32_t ppm);
/* Somebody sets it right: what drift has added is gone. */
void sim_clock_set_right(struct sim_clock *c);
/* When it goes on it shows what it would have shown. */
void sim_clock_set_frozen(struct sim_clock *c, bool frozen);

#endif
