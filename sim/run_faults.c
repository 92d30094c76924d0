/* Lines of a plan become events: operations are handed to the clients, faults
 * to the world; what ends hosts goes through their operator (run_hosts.c). */
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
    BIT(REPLAY) | BIT(POWER_CUT) | BIT(JOIN);

bool sim_run_can(enum sim_deed d)
{
    CHECK(d < SIM_DEEDS);
    return (doable >> d & 1) != 0;
}

static void each_host(const struct sim_run_deed *d,
                      void (*visit)(const struct sim_run_deed *d, unsigned h))
{
    for (unsigned h = 0; h < d->run->plan->nodes; h++)
        if (sim_hosts_has(&d->line->hosts, h))
            visit(d, h);
}

static void power_cut(const struct sim_run_deed *d, unsigned host)
{
    sim_run_host_hold(d->run, host, SIM_RUN_POWER_CUT);
}

static void release(const struct sim_run_deed *d, unsigned host)
{
    sim_run_host_release(d->run, host);
}

static void join(const struct sim_run_deed *d, unsigned host)
{
    sim_run_host_want(d->run, host);
}

static void end(struct sim_run_deed *d)
{
    CHECK(d->active && d->line->deed == SIM_DEED_POWER_CUT);
    d->active = false;
    sim_sched_cancel(&d->run->world->sched, &d->event);
    each_host(d, release);
}

static void begin(struct sim_run_deed *d)
{
    struct sim_run *r = d->run;
    struct sim_sched *s = &r->world->sched;
    uint64_t lasts_ms = (uint64_t)d->line->params[SIM_PARAM_FOR];

    r->result->faults++;
    r->result->fault_kinds |= UINT64_C(1) << d->line->deed;
    switch (d->line->deed) {
    case SIM_DEED_POWER_CUT:
        d->active = true;
        each_host(d, power_cut);
        sim_sched_after(s, &d->event, lasts_ms * SIM_MS);
        return;
    case SIM_DEED_JOIN:
        each_host(d, join);
        return;
    default: /* too many at once: then this one does not happen */
        if (sim_world_fault(r->world, d->line, NULL) != 0)
            r->result->faults--;
        return;
    }
}

static void on_event(void *context)
{
    struct sim_run_deed *d = context;

    if (sim_deed_family(d->line->deed) == SIM_FAMILY_WORK)
        sim_workload_begin(d);
    else if (d->active)
        end(d);
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

static bool touches(const struct sim_hosts *s, const struct sim_hosts *core)
{
    for (size_t i = 0; i < sizeof s->bits / sizeof s->bits[0]; i++)
        if ((s->bits[i] & core->bits[i]) != 0)
            return true;
    return false;
}

void sim_run_heal_core(struct sim_run *r)
{
    /* A partition that ends with the wait, not before. */
    struct sim_plan_line alone = {
        .id = UINT64_MAX, .deed = SIM_DEED_PARTITION, .hosts = r->plan->core};

    for (size_t i = 0; i < r->plan->count; i++) {
        struct sim_run_deed *d = &r->deeds[i];
        if (d->active && touches(&d->line->hosts, &r->plan->core))
            end(d);
    }
    sim_world_heal(r->world, &r->plan->core);
    alone.params[SIM_PARAM_FOR] = (int64_t)(r->plan->core_ms + 1);
    if (sim_hosts_count(&r->plan->core) < r->plan->nodes)
        (void)sim_world_fault(r->world, &alone, NULL);
}

void sim_run_heal_all(struct sim_run *r)
{
    for (size_t i = 0; i < r->plan->count; i++)
        if (r->deeds[i].active)
            end(&r->deeds[i]);
    sim_world_heal(r->world, NULL);
    for (unsigned h = 0; h < r->plan->nodes; h++)
        CHECK(r->hosts[h].holds == 0);
}
