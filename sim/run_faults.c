/* Lines of a plan become events: faults begin and end here, operations are
 * handed to the clients. */
#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "sim/run_internal.h"

/* Deeds of these bits are done; a plan with others cannot be run. */
#define BIT(deed) (UINT64_C(1) << SIM_DEED_##deed)
static const uint64_t doable =
    BIT(PUT) | BIT(UNIQUE) | BIT(DEL) | BIT(REVOKE) | BIT(UNREVOKE) | BIT(ADD) |
    BIT(REMOVE) | BIT(SET_REVOKE) | BIT(TXN) | BIT(CAS) | BIT(SNAPSHOT) |
    BIT(PARTITION) | BIT(ISOLATE) | BIT(FLAP) | BIT(POWER_CUT) | BIT(JOIN);

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

/* True if it lasts. */
static bool fault_begin(struct sim_run_deed *d)
{
    switch (d->line->deed) {
    case SIM_DEED_POWER_CUT:
        each_host(d, power_cut);
        return true;
    case SIM_DEED_JOIN:
        each_host(d, join);
        return false;
    default:
        CHECK(sim_deed_family(d->line->deed) == SIM_FAMILY_NETWORK);
        return true;
    }
}

static void fault_end(struct sim_run_deed *d)
{
    switch (d->line->deed) {
    case SIM_DEED_POWER_CUT:
        each_host(d, release);
        return;
    default:
        return;
    }
}

static bool is_network(const struct sim_run_deed *d)
{
    return sim_deed_family(d->line->deed) == SIM_FAMILY_NETWORK;
}

static void end(struct sim_run_deed *d)
{
    struct sim_run *r = d->run;

    CHECK(d->active);
    d->active = false;
    sim_sched_cancel(&r->world->sched, &d->event);
    sim_sched_cancel(&r->world->sched, &d->tick);
    sim_sched_note(&r->world->sched, "fault-end",
                   sim_hosts_first(&d->line->hosts), d->line->id,
                   slice_of_string(sim_deed_name(d->line->deed)));
    fault_end(d);
    if (is_network(d))
        sim_run_network_update(r);
}

static void on_tick(void *context)
{
    struct sim_run_deed *d = context;
    uint64_t ms = (uint64_t)d->line->params[SIM_PARAM_MS];

    CHECK(d->active && d->line->deed == SIM_DEED_FLAP);
    d->on = !d->on;
    sim_run_network_update(d->run);
    sim_sched_after(&d->run->world->sched, &d->tick,
                    (ms > 0 ? ms : 1) * SIM_MS);
}

static void begin(struct sim_run_deed *d)
{
    struct sim_run *r = d->run;
    struct sim_sched *s = &r->world->sched;

    sim_sched_note(s, "fault", sim_hosts_first(&d->line->hosts), d->line->id,
                   slice_of_string(sim_deed_name(d->line->deed)));
    r->result->faults++;
    r->result->fault_kinds |= UINT64_C(1) << d->line->deed;
    d->on = true;
    d->until_us = s->now_us + (uint64_t)d->line->params[SIM_PARAM_FOR] * SIM_MS;
    d->active = fault_begin(d);
    if (!d->active)
        return;
    sim_sched_at(s, &d->event, d->until_us);
    if (d->line->deed == SIM_DEED_FLAP)
        sim_sched_after(s, &d->tick, 0);
    if (is_network(d))
        sim_run_network_update(r);
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
        sim_event_init(&d->tick, "tick", sim_hosts_first(&l->hosts), on_tick,
                       d);
    }
    /* In order of lines, so that ties in time do not depend on what the heap
     * makes of them. */
    for (size_t i = 0; i < r->plan->count; i++)
        sim_sched_at(s, &r->deeds[i].event,
                     r->result->start_us + r->plan->lines[i].at_ms * SIM_MS);
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
    r->calm = true;
    for (size_t i = 0; i < r->plan->count; i++) {
        struct sim_run_deed *d = &r->deeds[i];
        if (d->active &&
            (touches(&d->line->hosts, &r->plan->core) ||
             touches(&d->line->to, &r->plan->core) || is_network(d)))
            end(d);
    }
    sim_run_network_update(r);
}

void sim_run_heal_all(struct sim_run *r)
{
    r->healed = true;
    for (size_t i = 0; i < r->plan->count; i++)
        if (r->deeds[i].active)
            end(&r->deeds[i]);
    sim_run_network_update(r);
    for (unsigned h = 0; h < r->plan->nodes; h++)
        CHECK(r->hosts[h].holds == 0);
}
