/* Faults: how often each kind really happened in a run.
 *
 * Kinds are deeds (deed.h). What is counted is an effect (a datagram that was
 * lost, a write that failed, a process that died), never an attempt: a fault
 * that nothing ran into counts for nothing. */
#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

#include "sim/deed.h"

struct sim_faults {
    uint64_t counts[SIM_DEEDS];
};

/* faults may be NULL: nobody counts. */
void sim_fault_happened(struct sim_faults *faults, enum sim_deed kind);
/* Bits of enum sim_deed. */
uint64_t sim_fault_kinds(const struct sim_faults *faults);

#endif
