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

/* But for the full profile, not both in one plan: see "What is not judged yet"
 * in sim/README.md. */
static bool has_hostile(const struct sim_plan *p)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->lines[i].deed == SIM_DEED_HOSTILE)
            return true;
    return false;
}

int sim_expand_disks(struct sim_plan *plan, uint64_t seed,
                     enum sim_profile profile, uint64_t id)
{
    struct drawing d = {.plan = plan, .id = id};
    uint64_t times;
    int error = 0;

    sim_entropy_stream(&d.random, seed, "sim expand disks", (uint64_t)profile);
    if (!may_have(profile) || plan->nodes < 3 ||
        (profile != SIM_PROFILE_FULL &&
         (has_hostile(plan) || draw(&d, 0, 99) >= PERCENT)))
        return 0;
    times = draw(&d, 1, TIMES_MAX);
    for (uint64_t i = 0; i < times && error == 0; i++)
        error = add(&d);
    return error;
}
