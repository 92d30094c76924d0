/* The network of a run: what its links do follows from the plan's base and
 * from the lines that are active, whenever one of these begins or ends. So
 * faults may overlap in any way, and ending one ends nothing else. */
#include "crdt/base/check.h"
#include "sim/run_internal.h"

/* Bit i: which side of the i-th active partition a host is on. Groups are
 * numbers; hosts hear each other if all their bits agree. */
#define SIDES_MAX 31

void sim_run_network_update(struct sim_run *r)
{
    unsigned groups[SIM_PLAN_HOSTS_MAX] = {0};
    unsigned sides = 0;

    for (size_t i = 0; i < r->plan->count && sides < SIDES_MAX; i++) {
        const struct sim_run_deed *d = &r->deeds[i];
        if (!d->active || !d->on ||
            sim_deed_family(d->line->deed) != SIM_FAMILY_NETWORK)
            continue;
        for (unsigned h = 0; h < r->plan->nodes; h++)
            if (sim_hosts_has(&d->line->hosts, h))
                groups[h] |= 1u << sides;
        sides++;
    }
    if (r->calm && !r->healed) { /* the core is alone */
        CHECK(sides == 0);
        for (unsigned h = 0; h < r->plan->nodes; h++)
            groups[h] = sim_hosts_has(&r->plan->core, h) ? 1 : 0;
    }
    for (unsigned h = 0; h < r->plan->nodes; h++)
        sim_net_set_group(r->world->net, h, groups[h]);
}
