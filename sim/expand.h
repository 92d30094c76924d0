/* Expand: a seed becomes a plan.
 *
 * Swarm style (Groce et al., "Swarm Testing", ISSTA 2012): each run draws its
 * own subset of fault kinds and its own rates, so that faults which hide each
 * other are also seen apart. The profile says what may be drawn. */
#ifndef SIM_EXPAND_H
#define SIM_EXPAND_H

#include "sim/plan.h"

#define SIM_EXPAND_OPERATIONS_MIN 500
#define SIM_EXPAND_KINDS_MIN 5 /* of faults; not in the profile quiet */
#define SIM_EXPAND_MS_MIN (UINT64_C(10) * 60 * 1000)

#define SIM_PROFILE_MAP(X)                                                     \
    X(SIM_PROFILE_DEFAULT, "default") /* a subset, at drawn rates */           \
    X(SIM_PROFILE_FULL, "full")       /* every kind at its default rate */     \
    X(SIM_PROFILE_QUIET, "quiet")     /* none: what the workload alone does */ \
    X(SIM_PROFILE_CALM, "calm")       /* datagrams are lost, hosts are away */ \
    X(SIM_PROFILE_STORAGE, "storage")                                          \
    X(SIM_PROFILE_NETWORK, "network")                                          \
    X(SIM_PROFILE_CHURN, "churn")                                              \
    X(SIM_PROFILE_MEMBERSHIP, "membership") /* who is alive: pauses, cuts */   \
    X(SIM_PROFILE_WAITS, "waits")           /* clients wait for members */

enum sim_profile {
#define SIM_PROFILE_ENUM(name, text) name,
    SIM_PROFILE_MAP(SIM_PROFILE_ENUM)
#undef SIM_PROFILE_ENUM
        SIM_PROFILES
};
const char *sim_profile_name(enum sim_profile p);
/* CM_ERR_NOT_FOUND. */
int sim_profile_find(const char *name, enum sim_profile *ret_profile);

/* ret is initialised by this. nodes 0: drawn from 3 to 64, small meshes more
 * often, which find more in a second. */
int sim_expand(struct sim_plan *ret, uint64_t seed, enum sim_profile profile,
               unsigned nodes);

/* expand_floor.c: adds floors and evictions to what a seed has expanded to. */
int sim_expand_floors(struct sim_plan *plan, enum sim_profile profile);
/* expand_level.c: programs of an earlier format, and updates. */
int sim_expand_levels(struct sim_plan *plan, enum sim_profile profile);

/* expand_late.c: values that end, hosts that put deltas, disks that move. */
int sim_expand_late(struct sim_plan *plan, enum sim_profile profile);

#endif
