/* Lines of a plan become events: operations are handed to the clients, faults
 * to the world. */
#include "crdt/base/check.h"
#include "sim/run_internal.h"
#include "sim/world_fault.h"

/* Deeds of these bits are done; a plan with others cannot be run. */
#define BIT(deed) (UINT64_C(1) << SIM_DEED_##deed)
static const uint64_t doable =
    BIT(PUT) | BIT(UNIQUE) | BIT(DEL) | BIT(REVOKE) | BIT(UNREVOKE) | BIT(ADD) |
    BIT(REMOVE) | BIT(SET_REVOKE) | BIT(TXN) | BIT(CAS) | BIT(SNAPSHOT) |
    BIT(LOSS) | BIT(DUPLICATE) | BIT(REORDER) | BIT(TAIL) | BIT(BIAS) |
    BIT(CLOG) | BIT(CAPACITY) | BIT(PARTITION) | BIT(ISOLATE) | BIT(ONEWAY) |
    BIT(BRIDGE) | BIT(FLAP) | BIT(CORRUPT) | BIT(TRUNCATE) | BIT(FORGE) |
    BIT(REPLAY) | BIT(CRASH) | BIT(POWER_CUT) | BIT(PAUSE) | BIT(SLOW) |
    BIT(MALLOC) | BIT(DISK_FULL) | BIT(MAP_FULL) | BIT(SYNC_FAIL) |
    BIT(DISK_ERROR) | BIT(DISK_SLOW) | BIT(WIPE) | BIT(CLOCK_STEP) |
    BIT(CLOCK_DRIFT) | BIT(CLOCK_FREEZE) | BIT(OBJECTS_ERROR) |
    BIT(OBJECTS_SLOW) | BIT(OBJECTS_STALE) | BIT(OBJECTS_OLD) |
    BIT(OBJECTS_LOSE) | BIT(OBJECTS_FLIP) | BIT(JOIN) | BIT(LEAVE);

bool sim_run_can(enum sim_deed d)
{
    CHECK(d < SIM_DEEDS);
    return (doable >> d & 1) != 0;
}

static void begin(struct sim_run_deed *d)
{
    struct sim_run *r = d->run;

    /* Too many at once: then this one does not happen. */
    if (sim_world_fault(r->world, d->line, NULL) != 0)
        return;
    r->result->faults++;
    r->result->fault_kinds |= UINT64_C(1) << d->line->deed;
}

static void on_event(void *context)
{
    struct sim_run_deed *d = context;

    if (sim_deed_family(d->line->deed) == SIM_FAMILY_WORK)
        sim_workload_begin(d);
    else
        begin(d);
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

void sim_run_heal_core(struct sim_run *r)
{
    /* A partition that ends with the wait, not before. */
    struct sim_plan_line alone = {
        .id = UINT64_MAX, .deed = SIM_DEED_PARTITION, .hosts = r->plan->core};

    sim_world_heal(r->world, &r->plan->core);
    alone.params[SIM_PARAM_FOR] = (int64_t)(r->plan->core_ms + 1);
    if (sim_hosts_count(&r->plan->core) < r->plan->nodes)
        (void)sim_world_fault(r->world, &alone, NULL);
}

void sim_run_heal_all(struct sim_run *r)
{
    sim_world_heal(r->world, NULL);
    CHECK(sim_world_faults(r->world) == 0);
}
