/* Faults upon a world, as the lines of a plan ask for them.
 *
 * A line is one fault: deed, hosts, parameters. It begins with the call, and
 * ends by itself when its `for` is over. Any number may be in force at once,
 * of one kind too: what holds for a host or a link is made anew from all that
 * are in force whenever one begins or ends (the greatest rate, the sum of
 * delays, the latest end), so that no fault ends or changes another. */
#ifndef SIM_WORLD_FAULT_H
#define SIM_WORLD_FAULT_H

#include "sim/plan.h"
#include "sim/world.h"

#define SIM_WORLD_FAULTS_MAX 65536 /* in force at once */

/* line is copied. Any deed of any family but work. CM_ERR_LIMIT: too many at
 * once; then nothing was done. */
int sim_world_fault(struct sim_world *w, const struct sim_plan_line *line,
                    struct cm_detail *detail);
/* Takes these hosts (NULL: all) out of every fault that is in force: their
 * rates and clocks are as without it, they stand on one side of every
 * partition, and those that were away come back. */
void sim_world_heal(struct sim_world *w, const struct sim_hosts *hosts);
/* How many are in force. */
size_t sim_world_faults(const struct sim_world *w);

/* For world.c. */
void sim_world_faults_release(struct sim_world *w);

#endif
