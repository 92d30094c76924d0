/* Mixed format versions of a plan: see expand.h.
 *
 * All programs are of the level before at first, and some are brought up to
 * date by and by, each by a restart; the rest is when all is healed. Like
 * floors they come from a stream of their own, behind all other lines. */
#include "crdt/base/check.h"
#include "crdt/op.h"
#include "sim/entropy.h"
#include "sim/expand.h"

#define LINES_MAX 6 /* in a large mesh several are updated at once */
#define WRITES 8    /* of what is new, over the whole time */

/* Of the plans, in percent. */
static const unsigned rates[SIM_PROFILES] = {
    [SIM_PROFILE_DEFAULT] = 25,
    [SIM_PROFILE_FULL] = 100,
    [SIM_PROFILE_CHURN] = 40,
};

struct levels {
    struct random_stream random;
    struct sim_plan *plan;
    uint64_t id;
    int error;
};

static uint64_t draw(struct levels *l, uint64_t low, uint64_t high)
{
    uint8_t bytes[8];

    CHECK(low <= high && high - low < UINT64_MAX);
    random_bytes_draw(&l->random, bytes, sizeof bytes);
    return low + get_be64(bytes) % (high - low + 1);
}

static void add(struct levels *x, struct sim_plan_line *l)
{
    l->id = x->id++;
    if (x->error == 0)
        x->error = sim_plan_add(x->plan, l);
}

/* Each host is in one line, or in none. */
static void add_updates(struct levels *x)
{
    struct sim_plan_line lines[LINES_MAX] = {{0}};
    uint64_t end = x->plan->duration_ms * draw(x, 4, 9) / 10;
    bool all = draw(x, 0, 1) == 1;

    for (unsigned h = 0; h < x->plan->nodes; h++) {
        if (all || draw(x, 0, 99) < 70)
            sim_hosts_add(&lines[draw(x, 0, LINES_MAX - 1)].hosts, h);
    }
    for (size_t i = 0; i < LINES_MAX; i++) {
        lines[i].deed = SIM_DEED_UPDATE;
        lines[i].at_ms = draw(x, x->plan->duration_ms / 20, end);
        if (sim_hosts_count(&lines[i].hosts) > 0)
            add(x, &lines[i]);
    }
}

/* Keys that nobody else uses: each is revoked once, and says why. */
static void add_writes(struct levels *x)
{
    for (unsigned i = 0; i < WRITES; i++) {
        struct sim_plan_line l = {.deed = SIM_DEED_REVOKE};

        l.at_ms = draw(x, 0, x->plan->duration_ms);
        l.params[SIM_PARAM_KEY] = (int64_t)draw(x, 900, 999);
        sim_hosts_add(&l.hosts, (unsigned)draw(x, 0, x->plan->nodes - 1));
        add(x, &l);
    }
}

int sim_expand_levels(struct sim_plan *plan, enum sim_profile profile)
{
    struct levels x = {.plan = plan, .id = 1};

    CHECK(profile < SIM_PROFILES);
    sim_entropy_stream(&x.random, plan->seed, "sim expand levels",
                       (uint64_t)profile);
    if (rates[profile] == 0 || draw(&x, 0, 99) >= rates[profile])
        return 0;
    for (size_t i = 0; i < plan->count; i++)
        x.id = plan->lines[i].id >= x.id ? plan->lines[i].id + 1 : x.id;
    plan->format_level = LEVEL_FIRST;
    add_updates(&x);
    add_writes(&x);
    return x.error;
}
