/* Clock: what one simulated node reads. Its monotonic clock starts anew with
 * every boot, as a machine's does; its wall clock is the world's plus an
 * offset of the node's own. */
#ifndef SIM_CLOCK_H
#define SIM_CLOCK_H

#include "sim/sched.h"

/* Wall time at the beginning of a run: 2026-01-01 00:00 UTC. */
#define SIM_CLOCK_EPOCH_MS UINT64_C(1767225600000)
#define SIM_CLOCK_BOOT_MS 1000 /* what a freshly booted node reads */

struct sim_clock {
    const struct sim_sched *sched; /* borrowed */
    uint64_t boot_us;              /* virtual time of the last boot */
    int64_t wall_offset_ms;
};

void sim_clock_init(struct sim_clock *c, const struct sim_sched *sched,
                    int64_t wall_offset_ms);
void sim_clock_boot(struct sim_clock *c);
uint64_t sim_clock_mono_ms(const struct sim_clock *c);
uint64_t sim_clock_wall_ms(const struct sim_clock *c);
/* When this clock's monotonic side reaches deadline_ms, in virtual time;
 * UINT64_MAX for never. */
uint64_t sim_clock_when_us(const struct sim_clock *c, uint64_t deadline_ms);

#endif
