/* Proposals are made from copies; a plan that says what cannot be (a partition
 * of nobody, a host that is not there) is left to sim_plan_check. */
#include "sim/shrink_step.h"

#include <string.h>

#include "crdt/base/check.h"

#define MARGIN_MS 1 /* the line that violated has to happen */
#define FIRST_MS 1000
#define PAUSE_MS 250 /* shorter ones are not halved any more */

static bool is_fault(const struct sim_plan_line *l)
{
    return sim_deed_family(l->deed) != SIM_FAMILY_WORK;
}

static uint64_t line_end_ms(const struct sim_plan_line *l)
{
    return l->at_ms + (uint64_t)(l->params[SIM_PARAM_FOR] > 0
                                     ? l->params[SIM_PARAM_FOR]
                                     : 0);
}

static enum sim_step_answer copy(struct sim_plan *ret,
                                 const struct sim_plan *from)
{
    return sim_plan_copy(ret, from) == 0 ? SIM_STEP_PROPOSED : SIM_STEP_NOMEM;
}

/* Keeps what the answer is true for. */
static void filter(struct sim_plan *p,
                   bool (*keep)(const struct sim_plan_line *l,
                                const void *argument),
                   const void *argument)
{
    size_t kept = 0;

    for (size_t i = 0; i < p->count; i++) {
        if (keep(&p->lines[i], argument))
            p->lines[kept++] = p->lines[i];
    }
    p->count = kept;
}

/* ---- the end ---- */

static bool begins_before(const struct sim_plan_line *l, const void *limit_ms)
{
    return l->at_ms < *(const uint64_t *)limit_ms;
}

enum sim_step_answer sim_step_tail(const struct sim_plan *from,
                                   const struct sim_run_result *result,
                                   size_t unit, size_t index,
                                   struct sim_plan *ret)
{
    uint64_t end_ms;

    (void)unit;
    if (index > 0 || result->at_us < result->start_us)
        return SIM_STEP_END;
    end_ms = (result->at_us - result->start_us) / 1000 + MARGIN_MS;
    if (end_ms >= from->duration_ms)
        return SIM_STEP_END;
    if (copy(ret, from) != SIM_STEP_PROPOSED)
        return SIM_STEP_NOMEM;
    ret->duration_ms = end_ms;
    filter(ret, begins_before, &end_ms);
    for (size_t i = 0; i < ret->count; i++) {
        struct sim_plan_line *l = &ret->lines[i];

        if (line_end_ms(l) > end_ms)
            l->params[SIM_PARAM_FOR] = (int64_t)(end_ms - l->at_ms);
    }
    return SIM_STEP_PROPOSED;
}

/* ---- kinds and lines ---- */

static bool is_work(const struct sim_plan_line *l, const void *unused)
{
    (void)unused;
    return !is_fault(l);
}

static bool is_other(const struct sim_plan_line *l, const void *deed)
{
    return l->deed != *(const enum sim_deed *)deed;
}

/* What keep leaves, if that is less. */
static enum sim_step_answer propose_filtered(
    struct sim_plan *ret, const struct sim_plan *from,
    bool (*keep)(const struct sim_plan_line *l, const void *argument),
    const void *argument)
{
    if (copy(ret, from) != SIM_STEP_PROPOSED)
        return SIM_STEP_NOMEM;
    filter(ret, keep, argument);
    if (ret->count < from->count)
        return SIM_STEP_PROPOSED;
    sim_plan_release(ret);
    return SIM_STEP_NOTHING;
}

enum sim_step_answer sim_step_faults(const struct sim_plan *from,
                                     const struct sim_run_result *result,
                                     size_t unit, size_t index,
                                     struct sim_plan *ret)
{
    (void)result, (void)unit;
    if (index > 0)
        return SIM_STEP_END;
    return propose_filtered(ret, from, is_work, NULL);
}

enum sim_step_answer sim_step_deeds(const struct sim_plan *from,
                                    const struct sim_run_result *result,
                                    size_t unit, size_t index,
                                    struct sim_plan *ret)
{
    enum sim_deed deed = (enum sim_deed)index;

    (void)result, (void)unit;
    if (index >= SIM_DEEDS)
        return SIM_STEP_END;
    return propose_filtered(ret, from, is_other, &deed);
}

enum sim_step_answer sim_step_lines(const struct sim_plan *from,
                                    const struct sim_run_result *result,
                                    size_t unit, size_t index,
                                    struct sim_plan *ret)
{
    size_t first = unit * index;
    size_t end;

    (void)result;
    CHECK(unit > 0);
    if (first >= from->count)
        return SIM_STEP_END;
    end = from->count - first < unit ? from->count : first + unit;
    if (copy(ret, from) != SIM_STEP_PROPOSED)
        return SIM_STEP_NOMEM;
    memmove(&ret->lines[first], &ret->lines[end],
            (ret->count - end) * sizeof ret->lines[0]);
    ret->count -= end - first;
    return SIM_STEP_PROPOSED;
}

/* ---- hosts ---- */

/* The hosts of s without first … end - 1, those behind closing up. */
static struct sim_hosts close_up(const struct sim_hosts *s, unsigned nodes,
                                 unsigned first, unsigned end)
{
    struct sim_hosts ret = {{0}};

    for (unsigned h = 0; h < nodes; h++) {
        if (sim_hosts_has(s, h) && (h < first || h >= end))
            sim_hosts_add(&ret, h < first ? h : h - (end - first));
    }
    return ret;
}

static bool names_hosts(const struct sim_plan_line *l, const void *unused)
{
    (void)unused;
    return sim_hosts_count(&l->hosts) > 0 &&
           (sim_deed_targets(l->deed) != SIM_TARGET_PAIR ||
            sim_hosts_count(&l->to) > 0);
}

enum sim_step_answer sim_step_hosts(const struct sim_plan *from,
                                    const struct sim_run_result *result,
                                    size_t unit, size_t index,
                                    struct sim_plan *ret)
{
    /* From the last ones down: joiners go before those that let them in. */
    size_t skipped = unit * index;
    unsigned first, end, joined_gone;

    (void)result;
    CHECK(unit > 0 && from->nodes > 0);
    if (skipped + 1 >= from->nodes)
        return SIM_STEP_END;
    end = from->nodes - (unsigned)skipped;
    first = end - 1 > unit ? end - (unsigned)unit : 1;
    CHECK(first >= 1 && first < end);
    if (copy(ret, from) != SIM_STEP_PROPOSED)
        return SIM_STEP_NOMEM;
    joined_gone = from->joined <= first ? 0
                  : from->joined < end  ? from->joined - first
                                        : end - first;
    ret->nodes -= end - first;
    ret->joined -= joined_gone;
    ret->core = close_up(&from->core, from->nodes, first, end);
    if (sim_hosts_count(&ret->core) == 0)
        sim_hosts_add(&ret->core, 0);
    for (size_t i = 0; i < ret->count; i++) {
        struct sim_plan_line *l = &ret->lines[i];

        l->hosts = close_up(&l->hosts, from->nodes, first, end);
        l->to = close_up(&l->to, from->nodes, first, end);
    }
    filter(ret, names_hosts, NULL);
    return SIM_STEP_PROPOSED;
}

/* ---- packets ---- */

enum sim_step_answer sim_step_packets(const struct sim_plan *from,
                                      const struct sim_run_result *result,
                                      size_t unit, size_t index,
                                      struct sim_plan *ret)
{
    uint32_t *fields[] = {
        &ret->net.loss_ppm,     &ret->net.duplicate_ppm, &ret->net.reorder_ppm,
        &ret->net.bytes_per_ms, &ret->net.slice_ppm,     &ret->net.jitter_us,
    };

    size_t count = sizeof fields / sizeof fields[0];

    (void)result, (void)unit;
    if (index > count + 1)
        return SIM_STEP_END;
    if (copy(ret, from) != SIM_STEP_PROPOSED)
        return SIM_STEP_NOMEM;
    if (index == count + 1 && ret->format_level > 0) {
        ret->format_level = 0;
        return SIM_STEP_PROPOSED;
    }
    if (index == count && ret->floor_ms > 0) {
        ret->floor_ms = 0;
        return SIM_STEP_PROPOSED;
    }
    if (index == count + 1 && ret->delta_ms > 0) {
        ret->delta_ms = ret->uploaders = 0;
        return SIM_STEP_PROPOSED;
    }
    if (index<count && * fields[index]> 0) {
        *fields[index] = 0;
        return SIM_STEP_PROPOSED;
    }
    sim_plan_release(ret);
    return SIM_STEP_NOTHING;
}

/* ---- time ---- */

/* Everything from line first on happens by_ms earlier, the end too. Lines are
 * in the order of time. */
static void pull(struct sim_plan *p, size_t first, uint64_t by_ms)
{
    for (size_t i = first; i < p->count; i++) {
        CHECK(p->lines[i].at_ms >= by_ms);
        p->lines[i].at_ms -= by_ms;
    }
    p->duration_ms -= by_ms < p->duration_ms ? by_ms : p->duration_ms - 1;
}

/* What is left after the last line has ended. */
static uint64_t last_end_ms(const struct sim_plan *p)
{
    uint64_t ret = 0;

    for (size_t i = 0; i < p->count; i++) {
        uint64_t end = line_end_ms(&p->lines[i]);

        ret = end > ret ? end : ret;
    }
    return ret;
}

static bool shorten(struct sim_plan *p, size_t index)
{
    uint64_t before = index >= 2 ? p->lines[index - 2].at_ms : 0;
    uint64_t pause;

    if (index == 0) {
        uint64_t end = last_end_ms(p) + MARGIN_MS;

        if (end >= p->duration_ms)
            return false;
        p->duration_ms = end;
        return true;
    }
    pause = p->lines[index - 1].at_ms - before;
    if (index == 1) {
        if (pause <= FIRST_MS)
            return false;
        pull(p, 0, pause - FIRST_MS);
        return true;
    }
    if (pause <= PAUSE_MS)
        return false;
    pull(p, index - 1, pause - pause / 2);
    return true;
}

enum sim_step_answer sim_step_time(const struct sim_plan *from,
                                   const struct sim_run_result *result,
                                   size_t unit, size_t index,
                                   struct sim_plan *ret)
{
    (void)result, (void)unit;
    if (index > from->count)
        return SIM_STEP_END;
    if (copy(ret, from) != SIM_STEP_PROPOSED)
        return SIM_STEP_NOMEM;
    sim_plan_sort(ret);
    if (shorten(ret, index))
        return SIM_STEP_PROPOSED;
    sim_plan_release(ret);
    return SIM_STEP_NOTHING;
}

/* Pauses no longer than this, so that what is left runs faster. */
static const uint64_t paces_ms[] = {50, 400, 3000, 20000};

enum sim_step_answer sim_step_pace(const struct sim_plan *from,
                                   const struct sim_run_result *result,
                                   size_t unit, size_t index,
                                   struct sim_plan *ret)
{
    uint64_t before_ms = 0; /* where the line before stood, and stands */
    uint64_t saved_ms = 0;

    (void)result, (void)unit;
    if (index >= sizeof paces_ms / sizeof paces_ms[0])
        return SIM_STEP_END;
    if (copy(ret, from) != SIM_STEP_PROPOSED)
        return SIM_STEP_NOMEM;
    sim_plan_sort(ret);
    for (size_t i = 0; i < ret->count; i++) {
        uint64_t pause_ms = ret->lines[i].at_ms - before_ms;

        before_ms = ret->lines[i].at_ms;
        if (pause_ms > paces_ms[index])
            saved_ms += pause_ms - paces_ms[index];
        ret->lines[i].at_ms -= saved_ms;
    }
    if (saved_ms > 0 && saved_ms < ret->duration_ms) {
        ret->duration_ms -= saved_ms;
        return SIM_STEP_PROPOSED;
    }
    sim_plan_release(ret);
    return SIM_STEP_NOTHING;
}

/* ---- one line ---- */

/* Numbers that mean less when they are less. ms may be negative, and ppm of a
 * clock's drift too: half is nearer to nothing for them as well. */
static bool halve(struct sim_plan_line *l, enum sim_param p)
{
    int64_t least = p == SIM_PARAM_COUNT || p == SIM_PARAM_SIZE ? 1 : 0;

    if (!sim_deed_takes(l->deed, p) || p == SIM_PARAM_RATE ||
        p == SIM_PARAM_KEY || p == SIM_PARAM_ELEMENT)
        return false;
    if (l->params[p] / 2 == l->params[p] || l->params[p] / 2 < least)
        return false;
    if (p == SIM_PARAM_SIZE && l->params[p] > 64)
        l->params[p] = 128; /* a value's bytes hardly ever matter */
    if (p == SIM_PARAM_FOR && l->params[p] <= PAUSE_MS)
        return false;
    if (p == SIM_PARAM_TTL || p == SIM_PARAM_WAIT) {
        l->params[p] = 0; /* for ever; for nobody */
        return true;
    }
    l->params[p] /= 2;
    return true;
}

/* Without its last host. */
static bool shorten_hosts(struct sim_hosts *s)
{
    unsigned last = SIM_PLAN_HOSTS_MAX;

    if (sim_hosts_count(s) < 2)
        return false;
    for (unsigned h = 0; h < SIM_PLAN_HOSTS_MAX; h++) {
        if (sim_hosts_has(s, h))
            last = h;
    }
    CHECK(last < SIM_PLAN_HOSTS_MAX);
    sim_hosts_remove(s, last);
    return true;
}

enum sim_step_answer sim_step_numbers(const struct sim_plan *from,
                                      const struct sim_run_result *result,
                                      size_t unit, size_t index,
                                      struct sim_plan *ret)
{
    size_t ways = SIM_PARAMS + 2;
    size_t way = index % ways;
    struct sim_plan_line *l;
    bool smaller;

    (void)result, (void)unit;
    if (index / ways >= from->count)
        return SIM_STEP_END;
    if (copy(ret, from) != SIM_STEP_PROPOSED)
        return SIM_STEP_NOMEM;
    l = &ret->lines[index / ways];
    if (way == SIM_PARAMS)
        smaller = shorten_hosts(&l->hosts);
    else if (way == SIM_PARAMS + 1)
        smaller = shorten_hosts(&l->to);
    else
        smaller = halve(l, (enum sim_param)way);
    if (smaller)
        return SIM_STEP_PROPOSED;
    sim_plan_release(ret);
    return SIM_STEP_NOTHING;
}
