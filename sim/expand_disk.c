/* See expand_disk.h. */
#include "sim/expand_disk.h"

#include "crdt/base/check.h"
#include "sim/entropy.h"

#define MINUTE UINT64_C(60000) /* ms */
#define SECOND UINT64_C(1000)  /* ms */
#define AGE_MS_MIN (2 * SECOND)
#define AGE_MS_MAX (3 * MINUTE)
#define TIMES_MAX 2
#define PERCENT 35 /* of the seeds of a profile that may have it */
#define QUIET_END_MS (5 * SECOND)
/* Seeds of a profile that have a kind of harm, in percent. */
#define HARM_PERCENT_DEFAULT 12
#define HARM_PERCENT_STORAGE 40
#define FLOOR_MS_MIN 1000
#define FLOOR_MS_MAX 6000
#define ROT_TIMES_MAX 3
#define ROT_BITS_MAX 4
#define LIE_MS_MIN (5 * SECOND)
#define LIE_MS_MAX (60 * SECOND)
#define LIE_AWAY_MS_MAX (30 * SECOND)
#define CLONE_MS_MIN (5 * SECOND)
#define CLONE_MS_MAX (90 * SECOND)
/* Seeds that LMDB may die of, in percent: they run more than once. */
#define LETHAL_PERCENT_DEFAULT 3
#define LETHAL_PERCENT_STORAGE 25
#define LETHAL_PPM 1000000
#define LETHAL_TIMES_MAX 2
#define LETHAL_BITS_MAX 24
#define CLONE_BURST 6        /* writes at copy and original, soon after */
#define CLONE_BURST_MS 20000 /* how soon */

struct drawing {
    struct random_stream random;
    struct sim_plan *plan;
    uint64_t id;
};

static uint64_t draw(struct drawing *d, uint64_t low, uint64_t high)
{
    uint8_t bytes[8];

    CHECK(low <= high && high - low < UINT64_MAX);
    random_bytes_draw(&d->random, bytes, sizeof bytes);
    return low + get_be64(bytes) % (high - low + 1);
}

static bool may_have(enum sim_profile profile)
{
    return profile == SIM_PROFILE_DEFAULT || profile == SIM_PROFILE_FULL ||
           profile == SIM_PROFILE_STORAGE;
}

/* A machine whose disk went back has to hear of others before it knows: what it
 * writes until then bears names that were given before. That heals by fences
 * alone, which plans without floors have not: its clients stay away. */
static void spare(struct sim_plan *p, unsigned host, uint64_t from_ms)
{
    for (size_t i = 0; i < p->count; i++) {
        struct sim_plan_line *l = &p->lines[i];

        if (sim_deed_family(l->deed) == SIM_FAMILY_WORK &&
            sim_hosts_first(&l->hosts) == host && l->at_ms >= from_ms) {
            sim_hosts_remove(&l->hosts, host);
            sim_hosts_add(&l->hosts, 0);
        }
    }
}

static int add(struct drawing *d)
{
    struct sim_plan *p = d->plan;
    struct sim_plan_line l = {.deed = SIM_DEED_OLD_DISK, .id = d->id++};
    unsigned host = (unsigned)draw(d, 1, p->nodes - 1);
    uint64_t age = draw(d, AGE_MS_MIN, AGE_MS_MAX);

    l.at_ms = draw(d, 0, p->duration_ms - QUIET_END_MS - age);
    l.params[SIM_PARAM_FOR] = (int64_t)age;
    sim_hosts_add(&l.hosts, host);
    spare(p, host, l.at_ms + age);
    return sim_plan_add(p, &l);
}

static bool is_hostile(const struct sim_plan *p, unsigned host)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->lines[i].deed == SIM_DEED_HOSTILE &&
            sim_hosts_has(&p->lines[i].hosts, host))
            return true;
    return false;
}

/* Not host 0, which alone lets others in, and none that lies about itself. */
static unsigned draw_victim(struct drawing *d)
{
    unsigned host = (unsigned)draw(d, 1, d->plan->nodes - 1);

    while (is_hostile(d->plan, host))
        host = host % (d->plan->nodes - 1) + 1;
    return host;
}

static int add_rot(struct drawing *d)
{
    struct sim_plan_line l = {.deed = SIM_DEED_BIT_ROT, .id = d->id++};

    l.at_ms = draw(d, MINUTE, d->plan->duration_ms - QUIET_END_MS);
    l.params[SIM_PARAM_COUNT] = (int64_t)draw(d, 1, ROT_BITS_MAX);
    sim_hosts_add(&l.hosts, draw_victim(d));
    return sim_plan_add(d->plan, &l);
}

static int add_rots(struct drawing *d)
{
    int error = 0;

    for (uint64_t n = draw(d, 1, ROT_TIMES_MAX); n > 0 && error == 0; n--)
        error = add_rot(d);
    return error;
}

/* The power goes while the disk lies: there is no harm otherwise. */
static int add_lie(struct drawing *d)
{
    struct sim_plan *p = d->plan;
    struct sim_plan_line l = {.deed = SIM_DEED_SYNC_LIE, .id = d->id++};
    struct sim_plan_line cut = {.deed = SIM_DEED_POWER_CUT, .id = d->id++};
    unsigned host = draw_victim(d);
    uint64_t length = draw(d, LIE_MS_MIN, LIE_MS_MAX);

    l.at_ms = draw(d, MINUTE, p->duration_ms - QUIET_END_MS - length);
    l.params[SIM_PARAM_FOR] = (int64_t)length;
    cut.at_ms = l.at_ms + draw(d, length / 2, length - 1);
    cut.params[SIM_PARAM_FOR] = (int64_t)draw(d, 0, LIE_AWAY_MS_MAX);
    sim_hosts_add(&l.hosts, host);
    sim_hosts_add(&cut.hosts, host);
    if (p->floor_ms == 0)
        spare(p, host, cut.at_ms);
    int error = sim_plan_add(p, &l);
    return error != 0 ? error : sim_plan_add(p, &cut);
}

/* Copy and original write under one name. */
static int add_clone_writes(struct drawing *d,
                            const struct sim_plan_line *clone)
{
    unsigned hosts[2] = {sim_hosts_first(&clone->hosts),
                         sim_hosts_first(&clone->to)};
    int error = 0;

    for (unsigned n = 0; n < CLONE_BURST && error == 0; n++) {
        struct sim_plan_line l = {.deed = SIM_DEED_UNIQUE, .id = d->id++};

        l.at_ms = clone->at_ms + draw(d, 1, CLONE_BURST_MS);
        l.params[SIM_PARAM_SIZE] = 40;
        sim_hosts_add(&l.hosts, hosts[n % 2]);
        if (l.at_ms < d->plan->duration_ms)
            error = sim_plan_add(d->plan, &l);
    }
    return error;
}

static int add_clone(struct drawing *d)
{
    struct sim_plan *p = d->plan;
    struct sim_plan_line l = {.deed = SIM_DEED_CLONE, .id = d->id++};
    unsigned from = draw_victim(d);
    unsigned to = draw_victim(d);
    uint64_t length = draw(d, CLONE_MS_MIN, CLONE_MS_MAX);

    l.at_ms = draw(d, MINUTE, p->duration_ms - QUIET_END_MS - length);
    l.params[SIM_PARAM_FOR] = (int64_t)length;
    l.params[SIM_PARAM_COUNT] = (int64_t)draw(d, 1, 2);
    for (unsigned n = 0; n < p->nodes && (to == from || is_hostile(p, to)); n++)
        to = to % (p->nodes - 1) + 1;
    if (to == from || is_hostile(p, to))
        return 0; /* there is no other */
    sim_hosts_add(&l.hosts, from);
    sim_hosts_add(&l.to, to);
    /* "Of two branches of a fork that fences cover": none without floors. */
    if (p->floor_ms == 0)
        p->floor_ms = draw(d, FLOOR_MS_MIN, FLOOR_MS_MAX);
    int error = sim_plan_add(p, &l);
    return error != 0 ? error : add_clone_writes(d, &l);
}

static int add_harm(struct sim_plan *plan, uint64_t seed,
                    enum sim_profile profile, uint64_t *id)
{
    static int (*const kinds[])(struct drawing *) = {add_clone, add_rots,
                                                     add_lie};
    struct drawing d = {.plan = plan, .id = *id};
    uint64_t percent = profile == SIM_PROFILE_FULL      ? 100
                       : profile == SIM_PROFILE_STORAGE ? HARM_PERCENT_STORAGE
                                                        : HARM_PERCENT_DEFAULT;
    int error = 0;

    sim_entropy_stream(&d.random, seed, "sim expand harm", (uint64_t)profile);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && error == 0; i++)
        if (draw(&d, 0, 99) < percent)
            error = kinds[i](&d);
    *id = d.id;
    return error;
}

/* Bits of LMDB's own pages, or a lie that tears. What such a store shows until
 * somebody notices may be anything: clients stay away from it. */
static int add_lethal_one(struct drawing *d)
{
    struct sim_plan *p = d->plan;
    struct sim_plan_line *l;
    size_t first = p->count;
    bool lies = draw(d, 0, 1) == 1;
    int error = lies ? add_lie(d) : add_rot(d);

    if (error != 0)
        return error;
    CHECK(p->count > first);
    l = &p->lines[first];
    l->params[SIM_PARAM_PPM] = LETHAL_PPM;
    if (!lies)
        l->params[SIM_PARAM_COUNT] = (int64_t)draw(d, 1, LETHAL_BITS_MAX);
    spare(p, sim_hosts_first(&l->hosts), l->at_ms);
    return 0;
}

static int add_lethal(struct sim_plan *plan, uint64_t seed,
                      enum sim_profile profile, uint64_t id)
{
    struct drawing d = {.plan = plan, .id = id};
    uint64_t percent = profile == SIM_PROFILE_STORAGE ? LETHAL_PERCENT_STORAGE
                                                      : LETHAL_PERCENT_DEFAULT;
    int error = 0;

    sim_entropy_stream(&d.random, seed, "sim expand lethal", (uint64_t)profile);
    if (profile == SIM_PROFILE_FULL || draw(&d, 0, 99) >= percent)
        return 0;
    for (uint64_t n = draw(&d, 1, LETHAL_TIMES_MAX); n > 0 && error == 0; n--)
        error = add_lethal_one(&d);
    return error;
}

static int add_old_disks(struct sim_plan *plan, uint64_t seed,
                         enum sim_profile profile, uint64_t *id)
{
    struct drawing d = {.plan = plan, .id = *id};
    uint64_t times;
    int error = 0;

    sim_entropy_stream(&d.random, seed, "sim expand disks", (uint64_t)profile);
    if (profile != SIM_PROFILE_FULL && draw(&d, 0, 99) >= PERCENT)
        return 0;
    times = draw(&d, 1, TIMES_MAX);
    for (uint64_t i = 0; i < times && error == 0; i++)
        error = add(&d);
    *id = d.id;
    return error;
}

int sim_expand_disks(struct sim_plan *plan, uint64_t seed,
                     enum sim_profile profile, uint64_t id)
{
    int error;

    if (!may_have(profile) || plan->nodes < 3)
        return 0;
    error = add_old_disks(plan, seed, profile, &id);
    if (error == 0)
        error = add_harm(plan, seed, profile, &id);
    return error != 0 ? error : add_lethal(plan, seed, profile, id);
}
