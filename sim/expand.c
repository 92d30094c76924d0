/* From a seed to a plan: see expand.h.
 *
 * Draws come from one stream of the seed: what they decide is written into the
 * plan, so nothing depends on their order once the plan exists. */
#include "sim/expand.h"

#include <string.h>

#include "crdt/base/check.h"
#include "sim/entropy.h"
#include "sim/expand_disk.h"
#include "sim/run.h"

#define MINUTE UINT64_C(60000) /* ms */
#define SECOND UINT64_C(1000)  /* ms */
#define KEYS 24
#define SETS 4
#define ELEMENTS 8
#define FAMILIES 6 /* of transactions' keys */
#define SMALL_VALUE_MAX 200
#define LARGE_VALUE_MAX 60000
#define BURST 4    /* operations just before a power cut */
#define BURST_MS 3 /* how just */
#define CALM_LOSS_PPM_MAX 90000
#define INTERRUPTED_CALLS 10 /* of a small snapshot to its object store */
#define INTERRUPTED_MS_MAX 500
#define YEARS_MARGIN_MS 1000
#define YEARS_FLOOR_MS 3000
#define YEARS_JUDGES 3            /* that node and two more */
#define QUIET_END_MS (5 * SECOND) /* no fault begins so late */

struct expansion {
    struct random_stream random;
    struct sim_plan *plan;
    enum sim_profile profile;
    uint64_t id; /* of the next line */
    int error;
};

static uint64_t draw(struct expansion *e, uint64_t low, uint64_t high)
{
    uint8_t bytes[8];

    CHECK(low <= high && high - low < UINT64_MAX);
    random_bytes_draw(&e->random, bytes, sizeof bytes);
    return low + get_be64(bytes) % (high - low + 1);
}

static bool chance(struct expansion *e, unsigned percent)
{
    return draw(e, 0, 99) < percent;
}

static unsigned draw_host(struct expansion *e)
{
    return (unsigned)draw(e, 0, e->plan->nodes - 1);
}

static void add(struct expansion *e, struct sim_plan_line *l)
{
    l->id = e->id++;
    if (e->error == 0)
        e->error = sim_plan_add(e->plan, l);
}

/* ---- profiles ---- */

static const char *const profile_names[SIM_PROFILES] = {
#define PROFILE_NAME(name, text) text,
    SIM_PROFILE_MAP(PROFILE_NAME)
#undef PROFILE_NAME
};

const char *sim_profile_name(enum sim_profile p)
{
    CHECK(p < SIM_PROFILES);
    return profile_names[p];
}

int sim_profile_find(const char *name, enum sim_profile *ret_profile)
{
    for (unsigned p = 0; p < SIM_PROFILES; p++)
        if (strcmp(profile_names[p], name) == 0) {
            *ret_profile = (enum sim_profile)p;
            return 0;
        }
    return CM_ERR_NOT_FOUND;
}

/* How often a kind of fault begins in ten minutes of a mesh, for how long, and
 * within what bounds its parameters are drawn. */
static const struct kind {
    unsigned times; /* by default; 0: expand never makes it */
    uint32_t for_ms_min, for_ms_max;
    int64_t low, high; /* of ppm, or of rate, ms or count where it has none */
    int64_t ms_low, ms_high; /* of ms where it has ppm too */
} kinds[SIM_DEEDS] = {
    [SIM_DEED_LOSS] = {4, 5000, 120000, 10000, 400000, 0, 0},
    [SIM_DEED_DUPLICATE] = {4, 5000, 120000, 10000, 400000, 0, 0},
    [SIM_DEED_REORDER] = {4, 5000, 120000, 10000, 500000, 0, 0},
    [SIM_DEED_TAIL] = {4, 5000, 120000, 1000, 200000, 50, 3000},
    [SIM_DEED_BIAS] = {3, 10000, 240000, 5, 400, 0, 0},
    [SIM_DEED_CLOG] = {6, 500, 30000, 0, 0, 0, 0},
    [SIM_DEED_CAPACITY] = {3, 5000, 90000, 4, 200, 0, 0},
    [SIM_DEED_PARTITION] = {3, 2000, 90000, 0, 0, 0, 0},
    [SIM_DEED_ISOLATE] = {4, 1000, 90000, 0, 0, 0, 0},
    [SIM_DEED_ONEWAY] = {4, 1000, 60000, 0, 0, 0, 0},
    [SIM_DEED_BRIDGE] = {2, 2000, 60000, 0, 0, 0, 0},
    [SIM_DEED_FLAP] = {2, 5000, 60000, 100, 8000, 0, 0},
    [SIM_DEED_CORRUPT] = {4, 5000, 60000, 1000, 200000, 0, 0},
    [SIM_DEED_TRUNCATE] = {4, 5000, 60000, 1000, 200000, 0, 0},
    [SIM_DEED_FORGE] = {4, 5000, 60000, 1000, 200000, 0, 0},
    [SIM_DEED_REPLAY] = {4, 5000, 60000, 1000, 200000, 0, 0},
    [SIM_DEED_CRASH] = {6, 0, 60000, 0, 0, 0, 0},
    [SIM_DEED_POWER_CUT] = {5, 0, 240000, 0, 0, 0, 0},
    [SIM_DEED_PAUSE] = {5, 100, 60000, 0, 0, 0, 0},
    [SIM_DEED_SLOW] = {3, 5000, 60000, 1, 300, 0, 0},
    [SIM_DEED_MALLOC] = {6, 0, 0, 1, 3000, 0, 0},
    [SIM_DEED_DISK_FULL] = {4, 1000, 60000, 0, 0, 0, 0},
    [SIM_DEED_MAP_FULL] = {2, 1000, 60000, 0, 0, 0, 0},
    [SIM_DEED_SYNC_FAIL] = {4, 100, 20000, 0, 0, 0, 0},
    [SIM_DEED_DISK_ERROR] = {4, 100, 20000, 0, 0, 0, 0},
    [SIM_DEED_DISK_SLOW] = {3, 5000, 60000, 5, 2000, 0, 0},
    [SIM_DEED_WIPE] = {1, 1000, 60000, 0, 0, 0, 0},
    [SIM_DEED_CLOCK_STEP] = {4, 1000, 120000, -60000, 60000, 0, 0},
    [SIM_DEED_CLOCK_DRIFT] = {3, 10000, 240000, -50000, 50000, 0, 0},
    [SIM_DEED_CLOCK_YEARS] = {1, 1000, 120000, 1, 10, 0, 0},
    [SIM_DEED_CLOCK_FREEZE] = {2, 1000, 60000, 0, 0, 0, 0},
    [SIM_DEED_OBJECTS_ERROR] = {2, 10000, 240000, 10000, 500000, 0, 0},
    [SIM_DEED_OBJECTS_SLOW] = {2, 10000, 240000, 10, 5000, 0, 0},
    [SIM_DEED_OBJECTS_STALE] = {2, 10000, 240000, 10000, 500000, 0, 0},
    [SIM_DEED_OBJECTS_OLD] = {2, 10000, 240000, 10000, 500000, 0, 0},
    [SIM_DEED_OBJECTS_LOSE] = {1, 10000, 120000, 10000, 300000, 0, 0},
    [SIM_DEED_OBJECTS_FLIP] = {1, 10000, 120000, 10000, 300000, 0, 0},
    [SIM_DEED_JOIN] = {1, 0, 0, 0, 0, 0, 0},
    [SIM_DEED_LEAVE] = {2, 1000, 200000, 0, 0, 0, 0},
    [SIM_DEED_LOSE_ALL] = {1, 0, 60000, 0, 0, 0, 0},
    [SIM_DEED_HOSTILE] = {1, 0, 0, 1, 200, 5, 1000},
};

static bool family_fits(enum sim_profile p, enum sim_deed d)
{
    enum sim_family f = sim_deed_family(d);

    switch (p) {
    case SIM_PROFILE_QUIET:
        return false;
    case SIM_PROFILE_CALM:
        return d == SIM_DEED_POWER_CUT || d == SIM_DEED_LEAVE;
    case SIM_PROFILE_STORAGE:
        return f == SIM_FAMILY_STORAGE || f == SIM_FAMILY_OBJECTS ||
               d == SIM_DEED_POWER_CUT || d == SIM_DEED_CRASH;
    case SIM_PROFILE_NETWORK:
        return f == SIM_FAMILY_NETWORK;
    case SIM_PROFILE_CHURN:
        return f == SIM_FAMILY_CHURN || d == SIM_DEED_WIPE ||
               d == SIM_DEED_POWER_CUT || d == SIM_DEED_CRASH ||
               d == SIM_DEED_PARTITION || d == SIM_DEED_LOSS;
    case SIM_PROFILE_MEMBERSHIP:
        return f == SIM_FAMILY_PROCESS || d == SIM_DEED_LEAVE ||
               d == SIM_DEED_LOSS || d == SIM_DEED_ISOLATE ||
               d == SIM_DEED_ONEWAY || d == SIM_DEED_TAIL ||
               d == SIM_DEED_BRIDGE || d == SIM_DEED_FLAP;
    case SIM_PROFILE_WAITS:
        return f == SIM_FAMILY_NETWORK || f == SIM_FAMILY_PROCESS ||
               d == SIM_DEED_DISK_SLOW || d == SIM_DEED_DISK_FULL ||
               d == SIM_DEED_WIPE || d == SIM_DEED_LEAVE || d == SIM_DEED_JOIN;
    default:
        return true;
    }
}

/* Which kinds this run has, as bits of deeds. */
static uint64_t draw_kinds(struct expansion *e)
{
    bool all = e->profile == SIM_PROFILE_FULL;
    unsigned percent = (unsigned)draw(e, 15, 85);
    uint64_t possible = 0;
    uint64_t drawn = 0;
    unsigned count = 0;

    for (unsigned d = 0; d < SIM_DEEDS; d++)
        if (kinds[d].times > 0 && sim_run_can((enum sim_deed)d) &&
            family_fits(e->profile, (enum sim_deed)d)) {
            possible |= UINT64_C(1) << d;
            if (all || chance(e, percent)) {
                drawn |= UINT64_C(1) << d;
                count++;
            }
        }
    while (count < SIM_EXPAND_KINDS_MIN && drawn != possible) {
        uint64_t bit = UINT64_C(1) << draw(e, 0, SIM_DEED_HOSTILE);
        if ((possible & ~drawn & bit) == 0)
            continue;
        drawn |= bit;
        count++;
    }
    return drawn;
}

/* ---- faults ---- */

static struct sim_hosts draw_hosts(struct expansion *e, unsigned count)
{
    struct sim_hosts s = {{0}};

    CHECK(count <= e->plan->nodes);
    while (sim_hosts_count(&s) < count)
        sim_hosts_add(&s, draw_host(e));
    return s;
}

static void draw_targets(struct expansion *e, struct sim_plan_line *l)
{
    unsigned nodes = e->plan->nodes;

    if (sim_deed_targets(l->deed) == SIM_TARGET_ONE) {
        l->hosts = draw_hosts(e, 1);
        if ((l->deed == SIM_DEED_WIPE || l->deed == SIM_DEED_CLOCK_YEARS) &&
            sim_hosts_has(&l->hosts, 0)) {
            sim_hosts_remove(&l->hosts, 0); /* nobody could let it in again */
            sim_hosts_add(&l->hosts, 1);
        }
        return;
    }
    /* One host, all of them, or something between: each is its own case. */
    unsigned some = (unsigned)draw(e, 1, nodes > 2 ? nodes - 1 : 1);
    unsigned count = chance(e, 30) ? 1 : chance(e, 30) ? nodes : some;
    bool splits = l->deed == SIM_DEED_PARTITION || l->deed == SIM_DEED_FLAP ||
                  l->deed == SIM_DEED_BRIDGE;
    if (l->deed == SIM_DEED_POWER_CUT) /* mostly one, now and then the mesh */
        count = chance(e, 80) ? 1 : count;
    if (splits && count == nodes)
        count = (nodes + 1) / 2;
    l->hosts = draw_hosts(e, count);
    if (sim_deed_targets(l->deed) != SIM_TARGET_PAIR)
        return;
    l->to = draw_hosts(e, chance(e, 50) ? 1 : some);
    if (l->deed == SIM_DEED_HOSTILE) {
        /* Always the same one of a run, and a core of two is left. */
        unsigned joined = e->plan->joined;
        l->hosts = (struct sim_hosts){{0}};
        sim_hosts_add(&l->hosts, joined > 2 ? joined - 1 : nodes - 1);
        sim_hosts_remove(&l->to, sim_hosts_first(&l->hosts));
        if (sim_hosts_count(&l->to) == 0)
            sim_hosts_add(&l->to, (sim_hosts_first(&l->hosts) + 1) % nodes);
    }
}

/* Small numbers as often as large ones: a logarithmic scale. */
static int64_t draw_value(struct expansion *e, int64_t low, int64_t high)
{
    if (low < 0) {
        int64_t v = draw_value(e, 1, high);
        return chance(e, 50) ? v : -v;
    }
    uint64_t v = (uint64_t)low + 1;
    while (v <= (uint64_t)high && chance(e, 80))
        v *= 2;
    uint64_t top = v <= (uint64_t)high ? v : (uint64_t)high;
    return (int64_t)draw(e, (uint64_t)low, top);
}

static void draw_params(struct expansion *e, struct sim_plan_line *l)
{
    const struct kind *k = &kinds[l->deed];
    bool ppm = sim_deed_takes(l->deed, SIM_PARAM_PPM);
    bool count = sim_deed_takes(l->deed, SIM_PARAM_COUNT);

    if (sim_deed_takes(l->deed, SIM_PARAM_FOR))
        l->params[SIM_PARAM_FOR] = draw_value(e, k->for_ms_min, k->for_ms_max);
    if (ppm)
        l->params[SIM_PARAM_PPM] = draw_value(e, k->low, k->high);
    if (count)
        l->params[SIM_PARAM_COUNT] = draw_value(e, k->low, k->high);
    if (sim_deed_takes(l->deed, SIM_PARAM_RATE))
        l->params[SIM_PARAM_RATE] = draw_value(e, k->low, k->high);
    if (sim_deed_takes(l->deed, SIM_PARAM_MS) &&
        !sim_deed_spares(l->deed, SIM_PARAM_MS))
        l->params[SIM_PARAM_MS] = ppm || count
                                      ? draw_value(e, k->ms_low, k->ms_high)
                                      : draw_value(e, k->low, k->high);
}

static void add_operation(struct expansion *e, unsigned host, uint64_t at_ms);

/* So is a snapshot; a slow object store makes it last. */
static void add_interrupted(struct expansion *e,
                            const struct sim_plan_line *cut)
{
    int64_t ms = draw_value(e, 1, INTERRUPTED_MS_MAX);
    uint64_t lead = draw(e, 0, INTERRUPTED_CALLS * (uint64_t)ms);
    struct sim_plan_line slow = {.deed = SIM_DEED_OBJECTS_SLOW};
    struct sim_plan_line l = {.deed = SIM_DEED_SNAPSHOT};

    if (cut->at_ms <= lead || !family_fits(e->profile, SIM_DEED_OBJECTS_SLOW))
        return;
    sim_hosts_add(&slow.hosts, sim_hosts_first(&cut->hosts));
    slow.at_ms = cut->at_ms - lead - 1;
    slow.params[SIM_PARAM_FOR] = (int64_t)lead + 1;
    slow.params[SIM_PARAM_MS] = ms;
    add(e, &slow);
    l.hosts = slow.hosts;
    l.at_ms = cut->at_ms - lead;
    add(e, &l);
}

/* Writes under way when the power goes are what a power cut is about. */
static void add_burst(struct expansion *e, const struct sim_plan_line *cut)
{
    unsigned host = sim_hosts_first(&cut->hosts);

    for (unsigned i = 0; i < BURST && cut->at_ms >= BURST_MS; i++)
        add_operation(e, host, cut->at_ms - draw(e, 0, BURST_MS));
    if (chance(e, 50))
        add_interrupted(e, cut);
}

static void add_faults_of(struct expansion *e, enum sim_deed d)
{
    struct sim_plan *p = e->plan;
    uint64_t times = kinds[d].times * p->duration_ms / (10 * MINUTE);
    uint64_t last = p->duration_ms - QUIET_END_MS;

    if (e->profile != SIM_PROFILE_FULL) { /* a rate of this run's own */
        uint64_t percent = 25 * (UINT64_C(1) << draw(e, 0, 4));
        times = times * percent / 100;
    }
    for (uint64_t i = 0; i < (times > 0 ? times : 1); i++) {
        struct sim_plan_line l = {.deed = d, .at_ms = draw(e, 0, last)};
        draw_targets(e, &l);
        draw_params(e, &l);
        add(e, &l);
        if ((d == SIM_DEED_POWER_CUT || d == SIM_DEED_CRASH) && chance(e, 70))
            add_burst(e, &l);
    }
}

/* Hosts that come later. */
static void add_joins(struct expansion *e)
{
    for (unsigned h = e->plan->joined; h < e->plan->nodes; h++) {
        struct sim_plan_line l = {.deed = SIM_DEED_JOIN,
                                  .at_ms =
                                      draw(e, 0, e->plan->duration_ms / 2)};
        sim_hosts_add(&l.hosts, h);
        sim_hosts_add(&l.to, 0); /* the founder issues the tokens */
        add(e, &l);
    }
}

/* ---- the workload ---- */

static enum sim_deed draw_deed(struct expansion *e)
{
    static const struct {
        enum sim_deed deed;
        unsigned weight;
    } mix[] = {
        {SIM_DEED_PUT, 26},   {SIM_DEED_UNIQUE, 12},    {SIM_DEED_DEL, 8},
        {SIM_DEED_REVOKE, 2}, {SIM_DEED_UNREVOKE, 2},   {SIM_DEED_ADD, 12},
        {SIM_DEED_REMOVE, 7}, {SIM_DEED_SET_REVOKE, 2}, {SIM_DEED_TXN, 14},
        {SIM_DEED_CAS, 12},   {SIM_DEED_WATCH, 2},      {SIM_DEED_SNAPSHOT, 1},
    };
    uint64_t pick = draw(e, 0, 99);
    size_t i = 0;

    while (pick >= mix[i].weight) {
        pick -= mix[i++].weight;
        CHECK(i < sizeof mix / sizeof mix[0]); /* they sum up to 100 */
    }
    return mix[i].deed;
}

static void add_operation(struct expansion *e, unsigned host, uint64_t at_ms)
{
    struct sim_plan_line l = {.deed = draw_deed(e), .at_ms = at_ms};
    int64_t *p = l.params;

    if (!sim_run_can(l.deed))
        l.deed = SIM_DEED_PUT;
    bool set = sim_deed_takes(l.deed, SIM_PARAM_ELEMENT);
    sim_hosts_add(&l.hosts, host);
    if (sim_deed_takes(l.deed, SIM_PARAM_KEY))
        p[SIM_PARAM_KEY] =
            (int64_t)draw(e, 0,
                          set                         ? SETS - 1
                          : l.deed == SIM_DEED_TXN    ? FAMILIES - 1
                          : l.deed == SIM_DEED_REVOKE ? KEYS / 4 - 1
                                                      : KEYS - 1);
    if (set)
        p[SIM_PARAM_ELEMENT] = (int64_t)draw(e, 0, ELEMENTS - 1);
    if (sim_deed_takes(l.deed, SIM_PARAM_SIZE))
        p[SIM_PARAM_SIZE] = (int64_t)draw(
            e, 0, chance(e, 2) ? LARGE_VALUE_MAX : SMALL_VALUE_MAX);
    if (l.deed == SIM_DEED_TXN)
        p[SIM_PARAM_COUNT] = (int64_t)draw(e, 2, 6);
    if (l.deed == SIM_DEED_WATCH) {
        p[SIM_PARAM_MS] = (int64_t)draw(e, 20, 5000);
        p[SIM_PARAM_FOR] = (int64_t)draw(e, MINUTE, 10 * MINUTE);
    }
    add(e, &l);
}

static void add_workload(struct expansion *e)
{
    uint64_t count =
        draw(e, SIM_EXPAND_OPERATIONS_MIN, SIM_EXPAND_OPERATIONS_MIN * 8 / 5);
    /* Some runs write everywhere, some at a few places. */
    unsigned writers =
        chance(e, 70) ? e->plan->nodes : (unsigned)draw(e, 1, e->plan->nodes);
    uint64_t at = 0;

    for (uint64_t i = 0; i < count; i++) {
        if (i % 8 == 0 || chance(e, 60)) /* the rest comes in bursts */
            at = draw(e, 0, e->plan->duration_ms);
        add_operation(e, (unsigned)draw(e, 0, writers - 1), at);
        at = at + 2 < e->plan->duration_ms ? at + draw(e, 0, 2) : at;
    }
}

static bool has_years(const struct sim_plan *p)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->lines[i].deed == SIM_DEED_CLOCK_YEARS)
            return true;
    return false;
}

/* Before such a node has heard what the others' clocks say, it dates writes
 * years ahead; nobody takes them, and it comes back as a new incarnation, which
 * writes them again once the former one is sealed. That takes floors, and two
 * other clocks: between two nodes alone nobody can say whose is wrong, and
 * clients stay away. */
static void prepare_years(struct sim_plan *p)
{
    if (!has_years(p))
        return;
    if (p->floor_ms == 0)
        p->floor_ms = YEARS_FLOOR_MS;
    if (p->joined >= YEARS_JUDGES)
        return;
    for (size_t i = 0; i < p->count; i++) {
        const struct sim_plan_line years = p->lines[i];
        uint64_t end = years.at_ms + (uint64_t)years.params[SIM_PARAM_FOR];

        for (size_t j = p->count; j > 0 && years.deed == SIM_DEED_CLOCK_YEARS;
             j--) {
            struct sim_plan_line *l = &p->lines[j - 1];
            if (sim_deed_family(l->deed) == SIM_FAMILY_WORK &&
                sim_hosts_first(&l->hosts) == sim_hosts_first(&years.hosts) &&
                l->at_ms + YEARS_MARGIN_MS >= years.at_ms &&
                l->at_ms <= end + YEARS_MARGIN_MS) {
                sim_hosts_remove(&l->hosts, sim_hosts_first(&l->hosts));
                sim_hosts_add(&l->hosts, 0);
            }
        }
    }
}

/* ---- the whole ---- */

static unsigned draw_nodes(struct expansion *e)
{
    static const struct {
        unsigned percent, low, high;
    } sizes[] = {
        {55, 3, 5}, {27, 6, 9}, {12, 10, 16}, {4, 17, 32}, {2, 33, 64}};
    uint64_t pick = draw(e, 0, 99);
    size_t i = 0;

    while (pick >= sizes[i].percent)
        pick -= sizes[i++].percent;
    return (unsigned)draw(e, sizes[i].low, sizes[i].high);
}

static void draw_network(struct expansion *e)
{
    struct sim_net_options *n = &e->plan->net;

    n->latency_us = (uint32_t)draw_value(e, 50, 20000);
    n->jitter_us = (uint32_t)draw(e, 0, n->latency_us);
    if (e->profile == SIM_PROFILE_QUIET) {
        n->loss_ppm = n->duplicate_ppm = n->reorder_ppm = 0;
        return;
    }
    if (e->profile == SIM_PROFILE_CALM) { /* what the check calls no trouble */
        n->loss_ppm = (uint32_t)draw(e, 10000, CALM_LOSS_PPM_MAX);
        return;
    }
    n->loss_ppm = chance(e, 50) ? 0 : (uint32_t)draw(e, 0, 20000);
    n->duplicate_ppm = chance(e, 50) ? 0 : (uint32_t)draw(e, 0, 20000);
    n->reorder_ppm = chance(e, 50) ? 0 : (uint32_t)draw(e, 0, 50000);
}

/* At least two, so that there is something to converge; none that is told to
 * be hostile, for then it would be no core. If hosts may have to join anew, the
 * issuer belongs to it. */
static void draw_core(struct expansion *e)
{
    struct sim_plan *p = e->plan;
    struct sim_hosts hostile = {{0}};
    unsigned honest = p->joined;

    p->core = (struct sim_hosts){{0}};
    for (size_t i = 0; i < p->count; i++) {
        if (p->lines[i].deed == SIM_DEED_HOSTILE)
            sim_hosts_add(&hostile, sim_hosts_first(&p->lines[i].hosts));
        if (p->lines[i].deed == SIM_DEED_WIPE ||
            p->lines[i].deed == SIM_DEED_LOSE_ALL ||
            p->lines[i].deed == SIM_DEED_CLONE)
            sim_hosts_add(&p->core, 0);
    }
    for (unsigned h = 0; h < p->joined; h++)
        honest -= sim_hosts_has(&hostile, h);
    unsigned wanted =
        honest < 2 ? honest
                   : (unsigned)draw(e, honest / 2 > 2 ? honest / 2 : 2, honest);
    if (has_years(p) && wanted < YEARS_JUDGES)
        wanted = honest < YEARS_JUDGES ? honest : YEARS_JUDGES;
    while (sim_hosts_count(&p->core) < wanted) {
        unsigned h = (unsigned)draw(e, 0, p->joined - 1);
        if (!sim_hosts_has(&hostile, h))
            sim_hosts_add(&p->core, h);
    }
}

int sim_expand(struct sim_plan *ret, uint64_t seed, enum sim_profile profile,
               unsigned nodes)
{
    struct expansion e = {.plan = ret, .profile = profile, .id = 1};

    CHECK(profile < SIM_PROFILES && nodes <= SIM_PLAN_HOSTS_MAX);
    sim_entropy_stream(&e.random, seed, "sim expand", (uint64_t)profile);
    sim_plan_init(ret);
    ret->seed = seed;
    unsigned drawn = draw_nodes(&e); /* in any case: the rest stays the same */
    ret->nodes = nodes != 0 ? nodes : drawn;
    ret->duration_ms = draw(&e, SIM_EXPAND_MS_MIN, SIM_EXPAND_MS_MIN * 5 / 4);
    draw_network(&e);
    uint64_t having = draw_kinds(&e);
    ret->joined = ret->nodes;
    if ((having >> SIM_DEED_JOIN & 1) != 0 && ret->nodes > 2)
        ret->joined = (unsigned)draw(&e, 2, ret->nodes - 1);
    add_workload(&e);
    for (unsigned d = 0; d < SIM_DEEDS; d++)
        if ((having >> d & 1) != 0 && d != SIM_DEED_JOIN)
            add_faults_of(&e, (enum sim_deed)d);
    add_joins(&e);
    if (e.error == 0)
        e.error = sim_expand_disks(ret, seed, profile, e.id);
    if (e.error != 0) {
        sim_plan_release(ret);
        return e.error;
    }
    prepare_years(ret);
    draw_core(&e);
    e.error = sim_expand_floors(ret, profile);
    if (e.error == 0)
        e.error = sim_expand_levels(ret, profile);
    if (e.error == 0)
        e.error = sim_expand_late(ret, profile);
    if (e.error != 0) {
        sim_plan_release(ret);
        return e.error;
    }
    sim_plan_sort(ret);
    CHECK(sim_plan_check(ret, NULL) == 0);
    return 0;
}
