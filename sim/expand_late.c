/* What plans got later than the rest: values that end, hosts that put snapshots
 * and deltas by themselves, disks that move to other machines, and nodes that
 * die while they return. See expand.h.
 *
 * Each comes from a stream of its own and changes no line's id, so that a seed
 * means what it meant without it. */
#include "crdt/base/check.h"
#include "sim/entropy.h"
#include "sim/expand.h"

#define MINUTE UINT64_C(60000) /* ms */
/* Plans in which values end, and of their writes those that do, in percent. */
#define ENDING_PLANS 60
#define ENDING_WRITES 15
#define TTL_MS_MIN 200
#define WAITING_WRITES 60 /* percent, in profile waits */
#define TTL_MS_MAX (12 * MINUTE)
/* Plans in which hosts put deltas, in percent: of those that lose all machines,
 * and of the others. */
#define DELTAS_LOST 75
#define DELTAS_OTHERS 12
#define UPLOADERS_MAX 3
#define DELTA_MS_MIN 5000
#define DELTA_MS_MAX 60000
/* Plans in which a disk moves, and disks that went back or moved whose node
 * dies a little after it was back, in percent. */
#define MOVES 12
#define MOVE_NODES_MIN 3
#define MOVE_MS_MAX 30000
#define DEATHS 35
#define DEATH_MS_MAX 2000
#define QUIET_END_MS 5000
#define PRUNE_KEEP_MAX 3             /* of each signer */
#define PRUNE_GRACE_MS (10 * MINUTE) /* longer than any upload takes */

static uint64_t draw(struct random_stream *s, uint64_t low, uint64_t high)
{
    uint8_t bytes[8];

    CHECK(low <= high && high - low < UINT64_MAX);
    random_bytes_draw(s, bytes, sizeof bytes);
    return low + get_be64(bytes) % (high - low + 1);
}

/* Short ones as often as long ones. */
static int64_t draw_ttl(struct random_stream *s)
{
    uint64_t high = TTL_MS_MIN;

    while (2 * high <= TTL_MS_MAX && draw(s, 0, 99) < 80)
        high *= 2;
    return (int64_t)draw(s, TTL_MS_MIN, high);
}

static void add_ends(struct sim_plan *p, enum sim_profile profile)
{
    struct random_stream s;

    sim_entropy_stream(&s, p->seed, "sim expand ends", (uint64_t)profile);
    if (draw(&s, 0, 99) >= ENDING_PLANS)
        return;
    for (size_t i = 0; i < p->count; i++) {
        struct sim_plan_line *l = &p->lines[i];

        if (sim_deed_takes(l->deed, SIM_PARAM_TTL) &&
            draw(&s, 0, 99) < ENDING_WRITES)
            l->params[SIM_PARAM_TTL] = draw_ttl(&s);
    }
}

/* Most writes wait: for one more, for some, for all. */
static void add_waits(struct sim_plan *p, enum sim_profile profile)
{
    struct random_stream s;

    sim_entropy_stream(&s, p->seed, "sim expand waits", (uint64_t)profile);
    for (size_t i = 0; i < p->count; i++) {
        struct sim_plan_line *l = &p->lines[i];

        if (!sim_deed_takes(l->deed, SIM_PARAM_WAIT) ||
            draw(&s, 0, 99) >= WAITING_WRITES)
            continue;
        l->params[SIM_PARAM_WAIT] =
            draw(&s, 0, 2) == 0
                ? SIM_DEED_WAIT_ALL
                : (int64_t)draw(&s, 2, p->joined < 2 ? 2 : p->joined);
    }
}

static bool has(const struct sim_plan *p, enum sim_deed d)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->lines[i].deed == d)
            return true;
    return false;
}

static void add_uploaders(struct sim_plan *p, enum sim_profile profile)
{
    struct random_stream s;
    uint64_t percent = has(p, SIM_DEED_LOSE_ALL) ? DELTAS_LOST : DELTAS_OTHERS;

    sim_entropy_stream(&s, p->seed, "sim expand uploaders", (uint64_t)profile);
    if (profile != SIM_PROFILE_FULL && draw(&s, 0, 99) >= percent)
        return;
    p->uploaders = (unsigned)draw(
        &s, 1, p->joined < UPLOADERS_MAX ? p->joined : UPLOADERS_MAX);
    p->delta_ms = draw(&s, DELTA_MS_MIN, DELTA_MS_MAX);
}

/* ---- disks that move, and nodes that die on their return ---- */

static uint64_t next_id(const struct sim_plan *p)
{
    uint64_t ret = 1;

    for (size_t i = 0; i < p->count; i++)
        ret = p->lines[i].id >= ret ? p->lines[i].id + 1 : ret;
    return ret;
}

/* Not host 0, which alone lets others in. */
static int add_move(struct sim_plan *p, enum sim_profile profile)
{
    struct sim_plan_line l = {.deed = SIM_DEED_MOVE, .id = next_id(p)};
    struct random_stream s;

    sim_entropy_stream(&s, p->seed, "sim expand moves", (uint64_t)profile);
    if (p->nodes < MOVE_NODES_MIN ||
        (profile != SIM_PROFILE_FULL && draw(&s, 0, 99) >= MOVES))
        return 0;
    l.at_ms = draw(&s, MINUTE, p->duration_ms - QUIET_END_MS);
    l.params[SIM_PARAM_FOR] = (int64_t)draw(&s, 0, MOVE_MS_MAX);
    sim_hosts_add(&l.hosts, (unsigned)draw(&s, 1, p->nodes - 1));
    return sim_plan_add(p, &l);
}

static int add_deaths(struct sim_plan *p, enum sim_profile profile)
{
    size_t count = p->count;
    uint64_t id = next_id(p);
    struct random_stream s;
    int error = 0;

    sim_entropy_stream(&s, p->seed, "sim expand deaths", (uint64_t)profile);
    for (size_t i = 0; i < count && error == 0; i++) {
        const struct sim_plan_line *l = &p->lines[i];
        struct sim_plan_line death = {.deed = SIM_DEED_CRASH};

        if (l->deed != SIM_DEED_OLD_DISK && l->deed != SIM_DEED_MOVE)
            continue;
        death.at_ms = l->at_ms + (uint64_t)l->params[SIM_PARAM_FOR] +
                      draw(&s, 10, DEATH_MS_MAX);
        if (draw(&s, 0, 99) >= DEATHS || death.at_ms > p->duration_ms)
            continue;
        death.id = id++;
        death.hosts = l->hosts;
        death.params[SIM_PARAM_FOR] = (int64_t)draw(&s, 0, DEATH_MS_MAX);
        error = sim_plan_add(p, &death);
    }
    return error;
}

/* Everything there is. Entries that go without a word, and merges, are where
 * regression plans have them. */
static int add_rest(struct sim_plan *p)
{
    static const enum sim_deed deeds[] = {SIM_DEED_LAPSE, SIM_DEED_MERGE,
                                          SIM_DEED_PRUNE};
    struct random_stream s;
    int error = 0;

    sim_entropy_stream(&s, p->seed, "sim expand rest", 0);
    for (size_t i = 0; i < sizeof deeds / sizeof *deeds && error == 0; i++) {
        struct sim_plan_line l = {.deed = deeds[i], .id = next_id(p)};

        l.at_ms = draw(&s, MINUTE, p->duration_ms - QUIET_END_MS);
        sim_hosts_add(&l.hosts, (unsigned)draw(&s, 0, p->nodes - 1));
        if (l.deed == SIM_DEED_PRUNE) {
            l.params[SIM_PARAM_COUNT] = (int64_t)draw(&s, 1, PRUNE_KEEP_MAX);
            l.params[SIM_PARAM_MS] = PRUNE_GRACE_MS;
        }
        error = sim_plan_add(p, &l);
    }
    return error;
}

int sim_expand_late(struct sim_plan *plan, enum sim_profile profile)
{
    bool disks = profile == SIM_PROFILE_DEFAULT ||
                 profile == SIM_PROFILE_FULL || profile == SIM_PROFILE_STORAGE;
    int error = 0;

    CHECK(profile < SIM_PROFILES);
    if (disks)
        error = add_move(plan, profile);
    if (disks && error == 0)
        error = add_deaths(plan, profile);
    if (profile == SIM_PROFILE_FULL && error == 0)
        error = add_rest(plan);
    add_ends(plan, profile);
    if (profile == SIM_PROFILE_WAITS)
        add_waits(plan, profile);
    if (profile == SIM_PROFILE_DEFAULT || profile == SIM_PROFILE_FULL ||
        profile == SIM_PROFILE_CHURN || profile == SIM_PROFILE_STORAGE)
        add_uploaders(plan, profile);
    return error;
}
