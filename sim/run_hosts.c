/* The first hour of a run: the mesh is founded, and the plan's first members
 * join it. From then on the world itself keeps hosts up (presence.h). */
#include "crdt/base/check.h"
#include "sim/run_internal.h"

#define ISSUER 0 /* the founder alone may issue tokens */
#define JOIN_LIMIT_US (60 * SIM_SECOND)
#define LOOK_US (20 * SIM_MS)

uint64_t sim_run_hosts_up_us(const struct sim_run *r)
{
    uint64_t us = 0;

    for (unsigned i = 0; i < r->plan->nodes; i++)
        us += sim_host_up_us(r->world->hosts[i]);
    return us;
}

/* Runs until host is ready, or the limit. Faults do not exist yet. */
static bool await_ready(struct sim_run *r, unsigned host)
{
    struct sim_sched *s = &r->world->sched;
    uint64_t limit = s->now_us + JOIN_LIMIT_US;

    while (s->now_us < limit && !sim_world_is_ready(r->world, host))
        sim_world_run_for(r->world, LOOK_US);
    return sim_world_is_ready(r->world, host);
}

static void begin(struct sim_run *r, unsigned host)
{
    struct cm_detail detail = {""};

    if (host != ISSUER) {
        sim_world_join(r->world, host, ISSUER);
        return;
    }
    if (sim_world_boot(r->world, host, &detail) != 0)
        sim_run_fail(r, SIM_LIVENESS, "joining", host, "n0 does not boot: %s",
                     detail.text);
}

void sim_run_hosts_begin(struct sim_run *r)
{
    CHECK(r->plan->joined <= r->plan->nodes);
    for (unsigned i = 0; i < r->plan->joined && !r->over; i++) {
        begin(r, i);
        if (r->over || await_ready(r, i))
            continue;
        struct node *n = sim_host_node(r->world->hosts[i]);
        sim_run_fail(r, SIM_LIVENESS, "joining", i,
                     "n%u did not get ready within %u s, without any fault: %s",
                     i, (unsigned)(JOIN_LIMIT_US / SIM_SECOND),
                     n == NULL ? "it is not up" : node_not_ready_reason(n));
    }
}
