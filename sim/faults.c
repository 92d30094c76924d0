/* Counters of what faults did: see faults.h. */
#include "sim/faults.h"

#include <stddef.h>

#include "crdt/base/check.h"

void sim_fault_happened(struct sim_faults *faults, enum sim_deed kind)
{
    CHECK(kind < SIM_DEEDS);
    if (faults != NULL)
        faults->counts[kind]++;
}

uint64_t sim_fault_kinds(const struct sim_faults *faults)
{
    uint64_t bits = 0;

    for (unsigned i = 0; i < SIM_DEEDS; i++)
        bits |= (uint64_t)(faults->counts[i] > 0) << i;
    return bits;
}
