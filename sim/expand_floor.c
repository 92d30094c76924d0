/* Floors and evictions of a plan: see expand.h.
 *
 * They come from a stream of their own and behind all other lines, so that a
 * seed means what it meant without them. */
#include "crdt/base/check.h"
#include "sim/entropy.h"
#include "sim/expand.h"

#define FLOOR_MS_MIN 300
#define FLOOR_MS_MAX 6000
#define EVICTION_NODES_MIN 4
#define EVICTIONS_MAX 3
#define SIDES_MS_MIN 20000
#define SIDES_MS_MAX 90000

/* In percent: of plans that have floors, of those that evict as well, of these
 * the ones in which both sides of a partition do, or somebody retires. */
static const struct rates {
    unsigned floors, evictions, sides, retires;
} rates[SIM_PROFILES] = {
    [SIM_PROFILE_DEFAULT] = {50, 50, 30, 40},
    [SIM_PROFILE_FULL] = {100, 100, 30, 100},
    [SIM_PROFILE_CHURN] = {75, 40, 30, 30},
};

struct floors {
    struct random_stream random;
    struct sim_plan *plan;
    uint64_t id;
    int error;
};

static uint64_t draw(struct floors *f, uint64_t low, uint64_t high)
{
    uint8_t bytes[8];

    CHECK(low <= high && high - low < UINT64_MAX);
    random_bytes_draw(&f->random, bytes, sizeof bytes);
    return low + get_be64(bytes) % (high - low + 1);
}

static void add(struct floors *f, struct sim_plan_line *l)
{
    l->id = f->id++;
    if (f->error == 0)
        f->error = sim_plan_add(f->plan, l);
}

/* Somewhere in the middle: there has to be something, and time to come back. */
static uint64_t draw_time(struct floors *f)
{
    uint64_t d = f->plan->duration_ms;

    return draw(f, d / 20, d * 8 / 10);
}

/* Up to a third of those, never host 0, which alone lets others in. */
static void add_victims(struct floors *f, struct sim_plan_line *l,
                        unsigned from, unsigned below)
{
    uint64_t count = draw(f, 1, 1 + (below - from) / 3);

    while (count-- > 0) {
        unsigned h = (unsigned)draw(f, from > 0 ? from : 1, below - 1);

        if (!sim_hosts_has(&l->hosts, h))
            sim_hosts_add(&l->to, h);
    }
}

static void add_eviction(struct floors *f)
{
    struct sim_plan_line l = {.deed = SIM_DEED_EVICT, .at_ms = draw_time(f)};
    unsigned nodes = f->plan->nodes;

    sim_hosts_add(&l.hosts, (unsigned)draw(f, 0, nodes - 1));
    add_victims(f, &l, 0, nodes);
    if (sim_hosts_count(&l.to) == 0)
        sim_hosts_add(&l.to, sim_hosts_has(&l.hosts, 1) ? 2 : 1);
    add(f, &l);
}

/* A partition, and each side evicts some of the other. */
static void add_both_sides(struct floors *f)
{
    unsigned nodes = f->plan->nodes;
    unsigned middle = (unsigned)draw(f, 2, nodes - 2);
    struct sim_plan_line split = {.deed = SIM_DEED_PARTITION,
                                  .at_ms = draw_time(f)};
    struct sim_plan_line first = {.deed = SIM_DEED_EVICT};
    struct sim_plan_line second = {.deed = SIM_DEED_EVICT};
    uint64_t length = draw(f, SIDES_MS_MIN, SIDES_MS_MAX);

    for (unsigned h = 0; h < middle; h++)
        sim_hosts_add(&split.hosts, h);
    split.params[SIM_PARAM_FOR] = (int64_t)length;
    first.at_ms = split.at_ms + draw(f, 0, length / 2);
    second.at_ms = first.at_ms + draw(f, 0, length / 2);
    sim_hosts_add(&first.hosts, (unsigned)draw(f, 0, middle - 1));
    sim_hosts_add(&second.hosts, (unsigned)draw(f, middle, nodes - 1));
    add_victims(f, &first, middle, nodes);
    add_victims(f, &second, 0, middle);
    add(f, &split);
    add(f, &first);
    if (sim_hosts_count(&second.to) > 0)
        add(f, &second);
}

/* What is certain is not drawn. */
static bool chance(struct floors *f, unsigned percent)
{
    return percent >= 100 || (percent > 0 && draw(f, 0, 99) < percent);
}

int sim_expand_floors(struct sim_plan *plan, enum sim_profile profile)
{
    const struct rates *r = &rates[profile];
    struct floors f = {.plan = plan, .id = 1};

    CHECK(profile < SIM_PROFILES);
    sim_entropy_stream(&f.random, plan->seed, "sim expand floors",
                       (uint64_t)profile);
    for (size_t i = 0; i < plan->count; i++)
        f.id = plan->lines[i].id >= f.id ? plan->lines[i].id + 1 : f.id;
    if (!chance(&f, r->floors))
        return 0;
    plan->floor_ms = draw(&f, FLOOR_MS_MIN, FLOOR_MS_MAX);
    if (plan->nodes < EVICTION_NODES_MIN || !chance(&f, r->evictions))
        return f.error;
    for (uint64_t n = draw(&f, 1, EVICTIONS_MAX); n > 0; n--)
        add_eviction(&f);
    if (chance(&f, r->sides))
        add_both_sides(&f);
    if (chance(&f, r->retires)) {
        struct sim_plan_line l = {.deed = SIM_DEED_RETIRE,
                                  .at_ms = draw_time(&f)};
        sim_hosts_add(&l.hosts, (unsigned)draw(&f, 0, plan->nodes - 1));
        add(&f, &l);
    }
    return f.error;
}
