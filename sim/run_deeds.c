/* Lines of a plan become events: operations are handed to the clients, faults
 * to the world, which also ends them. */
#include "crdt/base/check.h"
#include "sim/run_internal.h"
#include "sim/world_fault.h"
#include "sim/world_order.h"

#define CORE_MARGIN_MS                                                         \
    1000 /* the core stays alone for longer than it may take */

bool sim_run_can(enum sim_deed d)
{
    CHECK(d < SIM_DEEDS);
    return true;
}

static void on_event(void *context)
{
    struct sim_run_deed *d = context;
    struct sim_run *r = d->run;

    if (sim_deed_family(d->line->deed) == SIM_FAMILY_WORK) {
        sim_workload_begin(d);
        return;
    }
    /* Too many at once: then this one does not happen. */
    if (sim_world_fault(r->world, d->line, NULL) == 0)
        r->result->faults++;
}

void sim_run_deeds_schedule(struct sim_run *r)
{
    struct sim_sched *s = &r->world->sched;

    for (size_t i = 0; i < r->plan->count; i++) {
        struct sim_run_deed *d = &r->deeds[i];
        const struct sim_plan_line *l = &r->plan->lines[i];
        *d = (struct sim_run_deed){.run = r, .line = l};
        sim_event_init(&d->event, sim_deed_name(l->deed),
                       sim_hosts_first(&l->hosts), on_event, d);
        sim_sched_at(s, &d->event, r->result->start_us + l->at_ms * SIM_MS);
    }
}

/* Programs are brought up to date; NULL: all. */
static void update(struct sim_run *r, const struct sim_hosts *hosts)
{
    for (unsigned h = 0; h < r->plan->nodes; h++)
        if (hosts == NULL || sim_hosts_has(hosts, h))
            sim_presence_update(&r->world->presences[h]);
}

void sim_run_heal_core(struct sim_run *r)
{
    struct sim_plan_line alone = {
        .id = UINT64_MAX, .deed = SIM_DEED_PARTITION, .hosts = r->plan->core};

    sim_world_heal(r->world, &r->plan->core);
    update(r, &r->plan->core);
    sim_world_decide_orders(r->world, sim_hosts_first(&r->plan->core));
    alone.params[SIM_PARAM_FOR] = (int64_t)(r->plan->core_ms + CORE_MARGIN_MS);
    if (sim_hosts_count(&r->plan->core) < r->plan->nodes)
        (void)sim_world_fault(r->world, &alone, NULL);
}

void sim_run_heal_all(struct sim_run *r)
{
    sim_world_heal(r->world, NULL);
    update(r, NULL);
    CHECK(sim_world_faults(r->world) == 0);
    sim_world_orders_again(r->world);
}
