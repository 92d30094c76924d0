/* Disks that go back, for plans: drawn from a stream of their own, so that the
 * rest of a seed's plan is the same with them and without. */
#ifndef SIM_EXPAND_DISK_H
#define SIM_EXPAND_DISK_H

#include "sim/expand.h"

/* Adds lines to plan, whose ids are below id. What sim_plan_add says. */
int sim_expand_disks(struct sim_plan *plan, uint64_t seed,
                     enum sim_profile profile, uint64_t id);

#endif
