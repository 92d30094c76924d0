/* One plan in one world, from founding to judgement: see run.h. */
#include "sim/run.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "crdt/base/check.h"
#include "sim/deed_disk.h"
#include "sim/doom.h"
#include "sim/memory.h"
#include "sim/restore.h"
#include "sim/run_internal.h"
#include "sim/world_order.h"

#define LOOK_US (250 * SIM_MS)     /* between looks at convergence */
#define REST_US (100 * SIM_SECOND) /* longer than the check excuses */
/* Of it, before traffic counts: what was sent to bring them together is still
 * under way when they are. */
#define REST_SETTLE_US (10 * SIM_SECOND)
#define JOIN_ALONE_MAX 64 /* hosts: larger meshes gather in groups */
#define JOIN_TOGETHER 16
#define FLOOR_SETTLE_US (10 * SIM_SECOND)
#define SCRUB_MS 30000
#define JOIN_LIMIT_US (60 * SIM_SECOND)

const char *sim_outcome_name(enum sim_outcome o)
{
    static const char *const names[] = {
        [SIM_PASS] = "pass",         [SIM_SAFETY] = "safety",
        [SIM_LIVENESS] = "liveness", [SIM_NONDETERMINISM] = "nondeterminism",
        [SIM_CRASH] = "crash",       [SIM_INCONCLUSIVE] = "inconclusive",
    };

    CHECK(o <= SIM_INCONCLUSIVE);
    return names[o];
}

struct sim_world *sim_run_world(struct sim_run *r)
{
    return r->world;
}

uint64_t sim_run_start_us(const struct sim_run *r)
{
    return r->result->start_us;
}

void sim_run_fail(struct sim_run *r, enum sim_outcome outcome,
                  const char *fingerprint, unsigned host, const char *format,
                  ...)
{
    struct sim_run_result *result = r->result;
    va_list args;

    CHECK(outcome != SIM_PASS);
    if (r->over)
        return;
    r->over = true;
    result->outcome = outcome;
    result->at_us = r->world->sched.now_us;
    result->host = host;
    (void)snprintf(result->fingerprint, sizeof result->fingerprint, "%s",
                   fingerprint);
    va_start(args, format);
    (void)vsnprintf(result->words, sizeof result->words, format, args);
    va_end(args);
}

/* What the check has found ends the run. */
static void look_at_check(struct sim_run *r)
{
    const struct sim_check_violation *v = sim_check_violation(r->world->check);

    if (v == NULL || r->over)
        return;
    sim_run_fail(r, v->kind == SIM_CHECK_SAFETY ? SIM_SAFETY : SIM_LIVENESS,
                 v->fingerprint,
                 v->host < r->plan->nodes ? v->host : SIM_PLAN_HOSTS_MAX, "%s",
                 v->text);
    r->result->at_us = v->at_us;
}

/* When nobody wants to know any more what comes; UINT64_MAX: never. */
static uint64_t stop_us(const struct sim_run *r)
{
    return r->options.stop_us > 0 && r->result->start_us > 0
               ? r->result->start_us + r->options.stop_us
               : UINT64_MAX;
}

/* Runs until limit_us; false once the run has failed, or is stopped. */
static bool advance(struct sim_run *r, uint64_t limit_us)
{
    struct sim_sched *s = &r->world->sched;
    bool stops = stop_us(r) < limit_us;

    while (!r->over && sim_sched_step(s, stops ? stop_us(r) : limit_us)) {
        r->result->virtual_us = s->now_us; /* should it crash */
        sim_check_step(r->world->check);
        unsigned deaths = sim_doom_take();
        if (deaths > 0)
            sim_deed_bury(r->world);
        r->result->deaths += deaths;
        if (r->options.observer != NULL)
            r->options.observer(r->options.observer_ctx, r);
        look_at_check(r);
    }
    if (stops)
        sim_run_fail(r, SIM_INCONCLUSIVE, "stopped", SIM_PLAN_HOSTS_MAX,
                     "it was to be stopped then");
    return !r->over;
}

/* How long hosts have been up, all together. */
static uint64_t up_us(const struct sim_run *r)
{
    uint64_t us = 0;

    for (unsigned h = 0; h < r->plan->nodes; h++)
        us += sim_host_up_us(r->world->hosts[h]);
    return us;
}

/* ---- convergence ---- */

static bool in_core(const struct sim_run *r, unsigned host, bool all)
{
    return all ? r->world->presences[host].member
               : sim_hosts_has(&r->plan->core, host);
}

/* What keeps the hosts from being alike, for a person; false if nothing. */
static bool find_difference(struct sim_run *r, bool all, struct buffer *out,
                            unsigned *ret_host)
{
    struct hash first = {{0}};
    unsigned first_host = SIM_PLAN_HOSTS_MAX;

    for (unsigned h = 0; h < r->plan->nodes; h++) {
        struct node *n = sim_host_node(r->world->hosts[h]);
        struct hash digest;
        if (!in_core(r, h, all))
            continue;
        *ret_host = h;
        if (n == NULL || !node_is_ready(n)) {
            buffer_printf(
                out, "n%u is %s: %s", h, n == NULL ? "down" : "not ready",
                n == NULL ? "it does not boot" : node_not_ready_reason(n));
            return true;
        }
        int error = sim_world_digest(r->world, h, &digest);
        if (error != 0) {
            buffer_printf(out, "n%u cannot be read: %s", h, cm_strerror(error));
            return true;
        }
        if (first_host == SIM_PLAN_HOSTS_MAX) {
            first_host = h;
            first = digest;
        } else if (!hash_equal(&first, &digest)) {
            buffer_printf(out, "n%u and n%u differ", first_host, h);
            return true;
        }
    }
    return false;
}

/* Runs until the hosts show equal digests, or the bound. */
static void await_convergence(struct sim_run *r, bool all, uint64_t within_ms,
                              uint64_t *ret_us)
{
    struct sim_sched *s = &r->world->sched;
    uint64_t start = s->now_us;
    uint64_t limit = start + within_ms * SIM_MS;
    struct buffer why;
    unsigned host = SIM_PLAN_HOSTS_MAX;

    buffer_init(&why, SIM_WORDS_SIZE);
    while (!r->over) {
        buffer_clear(&why);
        if (!find_difference(r, all, &why, &host))
            break;
        if (s->now_us >= limit) {
            sim_run_fail(r, SIM_LIVENESS, all ? "convergence" : "core", host,
                         "%s not alike %" PRIu64 " s after healing: %.*s",
                         all ? "the hosts are" : "the core is",
                         within_ms / 1000, (int)why.size, why.data);
            break;
        }
        (void)advance(r, s->now_us + LOOK_US);
    }
    *ret_us = s->now_us - start;
    buffer_release(&why);
}

/* ---- at rest ---- */

static void judge(struct sim_run *r)
{
    struct sim_check *c = r->world->check;
    struct sim_check_counters counters;
    bool members[SIM_PLAN_HOSTS_MAX] = {false};
    uint64_t unused = 0;

    /* A last floor, once it is quiet: then there is nothing to collect. */
    if (r->plan->floor_ms > 0) {
        /* What held floors and seals back and is there no more, as the copy of
         * a disk that was switched off, only the authority can put out. */
        if (sim_world_evict_gone(r->world) > 0 &&
            !advance(r, r->world->sched.now_us + FLOOR_SETTLE_US))
            return;
        if (!advance(r, r->world->sched.now_us + FLOOR_SETTLE_US +
                            12 * r->plan->floor_ms * SIM_MS))
            return;
        await_convergence(r, true, r->plan->heal_ms, &unused);
    }
    /* Until nobody has an excuse any more. Nothing is written meanwhile: they
     * may not drift apart again. */
    if (!advance(r, r->world->sched.now_us + REST_SETTLE_US))
        return;
    sim_check_rest(c);
    if (!advance(r, r->world->sched.now_us + REST_US - REST_SETTLE_US))
        return;
    await_convergence(r, true, 0, &unused);
    if (r->over || r->options.unchecked)
        return;
    for (unsigned h = 0; h < r->plan->nodes; h++)
        members[h] = in_core(r, h, true);
    sim_check_quiescent(c, members);
    r->result->snapshots =
        sim_check_snapshot(c, r->objects, sim_restore_is_damaged(r->world));
    look_at_check(r);
    sim_check_read_counters(c, &counters);
    r->result->watched = counters.watched;
}

/* ---- the whole ---- */

static bool is_ready(struct sim_world *w, void *ctx)
{
    return sim_world_is_ready(w, *(const unsigned *)ctx);
}

/* Host h, in a large mesh some after it as well: one by one it would take each
 * of n hosts n commits to gather. */
static void join_some(struct sim_run *r, unsigned h)
{
    unsigned joined = r->plan->joined;
    unsigned together = joined > JOIN_ALONE_MAX ? JOIN_TOGETHER : 1;

    for (unsigned i = h; i < h + together && i < joined; i++) {
        if (h % together == 0 && i > 0)
            sim_world_join(r->world, i, 0);
    }
}

/* Founds the mesh and lets the plan's first members join, without faults. */
static void gather(struct sim_run *r)
{
    struct sim_world *w = r->world;
    struct cm_detail detail = {""};

    if (sim_world_boot(w, 0, &detail) != 0) {
        sim_run_fail(r, SIM_LIVENESS, "founding", 0, "n0 does not boot: %s",
                     detail.text);
        return;
    }
    for (unsigned h = 0; h < r->plan->joined; h++) {
        join_some(r, h);
        if (sim_world_run_until(w, is_ready, &h, JOIN_LIMIT_US))
            continue;
        const struct node *n = sim_host_node(w->hosts[h]);
        sim_run_fail(r, SIM_LIVENESS, "joining", h,
                     "n%u did not get ready within %u s, without any fault: %s",
                     h, (unsigned)(JOIN_LIMIT_US / SIM_SECOND),
                     n == NULL ? "it is not up" : node_not_ready_reason(n));
        return;
    }
}

static void execute(struct sim_run *r)
{
    struct sim_run_result *result = r->result;

    gather(r);
    if (r->over)
        return;
    result->start_us = r->world->sched.now_us;
    r->founding_us = up_us(r);
    sim_run_deeds_schedule(r);
    if (!advance(r, result->start_us + r->plan->duration_ms * SIM_MS))
        return;
    sim_run_heal_core(r);
    await_convergence(r, false, r->plan->core_ms, &result->core_us);
    if (r->over)
        return;
    sim_run_heal_all(r);
    await_convergence(r, true, r->plan->heal_ms, &result->heal_us);
    if (!r->over)
        judge(r);
}

static void finish(struct sim_run *r)
{
    struct sim_run_result *result = r->result;
    const struct sim_trace *t = &r->world->sched.trace;

    struct sim_check_counters counters;

    sim_check_read_counters(r->world->check, &counters);
    memcpy(result->evaluated, counters.evaluated, sizeof result->evaluated);
    result->node_us = up_us(r) - r->founding_us;
    result->fault_kinds = sim_fault_kinds(&r->world->faults);
    result->virtual_us = r->world->sched.now_us;
    result->chain = t->chain;
    result->events = t->count;
    if (r->options.links != NULL) {
        size_t kept = t->count < SIM_TRACE_LINKS_MAX ? (size_t)t->count
                                                     : SIM_TRACE_LINKS_MAX;
        (void)fwrite(t->links, sizeof *t->links, kept, r->options.links);
    }
    r->world->sched.trace.text = NULL;
    sim_world_free(r->world);
    sim_free(r->deeds);
}

static int check_doable(const struct sim_plan *plan, struct cm_detail *detail)
{
    for (size_t i = 0; i < plan->count; i++)
        if (!sim_run_can(plan->lines[i].deed))
            return cm_fail(detail, CM_ERR_INVALID,
                           "this program cannot do \"%s\"",
                           sim_deed_name(plan->lines[i].deed));
    return sim_plan_check(plan, detail);
}

/* Records are looked over and facts are kept only where something of a disk
 * rots or is torn: other runs have no use for it. */
static bool has_damage(const struct sim_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++)
        if (plan->lines[i].deed == SIM_DEED_BIT_ROT ||
            plan->lines[i].deed == SIM_DEED_SYNC_LIE ||
            plan->lines[i].deed == SIM_DEED_LAPSE)
            return true;
    return false;
}

bool sim_run_may_kill(const struct sim_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++)
        if ((plan->lines[i].deed == SIM_DEED_BIT_ROT ||
             plan->lines[i].deed == SIM_DEED_SYNC_LIE) &&
            plan->lines[i].params[SIM_PARAM_PPM] > 0)
            return true;
    return false;
}

static int make_world(struct sim_run *r, struct cm_detail *detail)
{
    const struct sim_plan *plan = r->plan;
    struct sim_world_options options =
        sim_world_default_options(plan->seed, plan->nodes);

    options.sync_us_min = plan->sync_us_min;
    options.sync_us_max = plan->sync_us_max;
    options.floor_interval_ms = plan->floor_ms;
    options.format_level = plan->format_level;
    options.uploaders = plan->delta_ms > 0 ? plan->uploaders : 0;
    options.delta_ms = plan->delta_ms;
    options.targets = plan->targets;
    options.drill_ms = plan->drill_ms;
    if (has_damage(plan))
        options.scrub_interval_ms = SCRUB_MS;
    options.blind = r->options.unchecked;
    options.net = plan->net;
    options.log = r->options.log;
    options.trace = r->options.trace;
    int error = sim_world_create(&r->world, &options, detail);
    if (error != 0)
        return error;
    if (r->options.ret_directory != NULL)
        (void)snprintf(r->options.ret_directory, SIM_HOST_PATH_MAX, "%s",
                       r->world->directory);
    sim_world_target(r->world, r->objects);
    return 0;
}

int sim_run_plan(const struct sim_plan *plan,
                 const struct sim_run_options *options,
                 struct sim_run_result *ret_result, struct cm_detail *detail)
{
    int error = check_doable(plan, detail);

    if (error != 0)
        return error;
    *ret_result = (struct sim_run_result){.nodes = plan->nodes,
                                          .host = SIM_PLAN_HOSTS_MAX};
    struct sim_run *r = sim_calloc(1, sizeof *r);
    r->plan = plan;
    r->result = ret_result;
    if (options != NULL)
        r->options = *options;
    r->deeds = sim_calloc(plan->count + 1, sizeof *r->deeds);
    error = make_world(r, detail);
    if (error != 0) {
        sim_free(r->deeds);
        sim_free(r);
        return error;
    }
    execute(r);
    finish(r);
    sim_free(r);
    return 0;
}
