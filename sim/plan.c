/* A plan and its lines: see plan.h. Their text is plan_text.c. */
#include "sim/plan.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

#define WORD_BITS 64

/* ---- sets of hosts ---- */

bool sim_hosts_has(const struct sim_hosts *s, unsigned host)
{
    CHECK(host < SIM_PLAN_HOSTS_MAX);
    return (s->bits[host / WORD_BITS] >> (host % WORD_BITS) & 1) != 0;
}

void sim_hosts_add(struct sim_hosts *s, unsigned host)
{
    CHECK(host < SIM_PLAN_HOSTS_MAX);
    s->bits[host / WORD_BITS] |= UINT64_C(1) << (host % WORD_BITS);
}

void sim_hosts_remove(struct sim_hosts *s, unsigned host)
{
    CHECK(host < SIM_PLAN_HOSTS_MAX);
    s->bits[host / WORD_BITS] &= ~(UINT64_C(1) << (host % WORD_BITS));
}

unsigned sim_hosts_count(const struct sim_hosts *s)
{
    unsigned count = 0;

    for (unsigned i = 0; i < SIM_PLAN_HOSTS_MAX; i++)
        count += sim_hosts_has(s, i);
    return count;
}

unsigned sim_hosts_first(const struct sim_hosts *s)
{
    unsigned i = 0;

    while (i < SIM_PLAN_HOSTS_MAX && !sim_hosts_has(s, i))
        i++;
    return i;
}

/* ---- deeds ---- */

static const struct {
    const char *name;
    enum sim_family family;
    enum sim_targets targets;
    uint32_t params;
} deeds[SIM_DEEDS] = {
#define DEED_ROW(name, text, family, targets, params)                          \
    [SIM_DEED_##                                                               \
        name] = {text, SIM_FAMILY_##family, SIM_TARGET_##targets, params},
    SIM_DEED_MAP(DEED_ROW)
#undef DEED_ROW
};

const char *sim_deed_name(enum sim_deed d)
{
    CHECK(d < SIM_DEEDS);
    return deeds[d].name;
}

enum sim_family sim_deed_family(enum sim_deed d)
{
    CHECK(d < SIM_DEEDS);
    return deeds[d].family;
}

enum sim_targets sim_deed_targets(enum sim_deed d)
{
    CHECK(d < SIM_DEEDS);
    return deeds[d].targets;
}

bool sim_deed_takes(enum sim_deed d, enum sim_param p)
{
    CHECK(d < SIM_DEEDS && p < SIM_PARAMS);
    return (deeds[d].params >> p & 1) != 0;
}

bool sim_deed_spares(enum sim_deed d, enum sim_param p)
{
    return sim_deed_takes(d, p) &&
           (p == SIM_PARAM_TTL || p == SIM_PARAM_WAIT ||
            (p == SIM_PARAM_MS &&
             (d == SIM_DEED_LOSE_ALL || d == SIM_DEED_EVICT)) ||
            (p == SIM_PARAM_COUNT &&
             (d == SIM_DEED_EVICT || d == SIM_DEED_LAPSE)));
}

/* ---- the plan ---- */

void sim_plan_init(struct sim_plan *p)
{
    CHECK(p != NULL);
    *p = (struct sim_plan){
        .nodes = 3,
        .joined = 3,
        .duration_ms = 60 * 1000,
        .core_ms = 120 * 1000,
        .heal_ms = 300 * 1000,
        .targets = 1,
        .sync_us_min = 200,
        .sync_us_max = 3000,
        .net = sim_net_default_options(),
    };
}

void sim_plan_release(struct sim_plan *p)
{
    cm_free(p->lines);
    p->lines = NULL;
    p->count = p->capacity = 0;
}

int sim_plan_add(struct sim_plan *p, const struct sim_plan_line *line)
{
    CHECK(line->deed < SIM_DEEDS);
    if (p->count >= SIM_PLAN_LINES_MAX)
        return CM_ERR_LIMIT;
    if (p->count == p->capacity) {
        size_t wanted = p->capacity == 0 ? 64 : 2 * p->capacity;
        struct sim_plan_line *lines =
            cm_realloc(p->lines, wanted * sizeof *lines);
        if (lines == NULL)
            return CM_ERR_NOMEM;
        p->lines = lines;
        p->capacity = wanted;
    }
    p->lines[p->count++] = *line;
    return 0;
}

int sim_plan_copy(struct sim_plan *ret, const struct sim_plan *p)
{
    CHECK(ret != p);
    *ret = *p;
    ret->lines = NULL;
    ret->capacity = p->count;
    if (p->count == 0)
        return 0;
    ret->lines = cm_alloc(p->count * sizeof *ret->lines);
    if (ret->lines == NULL) {
        ret->count = ret->capacity = 0;
        return CM_ERR_NOMEM;
    }
    memcpy(ret->lines, p->lines, p->count * sizeof *ret->lines);
    return 0;
}

void sim_plan_remove(struct sim_plan *p, size_t index)
{
    CHECK(index < p->count);
    p->count--;
    memmove(&p->lines[index], &p->lines[index + 1],
            (p->count - index) * sizeof *p->lines);
}

static int compare_lines(const void *a, const void *b)
{
    const struct sim_plan_line *x = a;
    const struct sim_plan_line *y = b;

    if (x->at_ms != y->at_ms)
        return x->at_ms < y->at_ms ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

void sim_plan_sort(struct sim_plan *p)
{
    if (p->count > 0)
        qsort(p->lines, p->count, sizeof *p->lines, compare_lines);
}

uint64_t sim_plan_fault_kinds(const struct sim_plan *p)
{
    uint64_t kinds = 0;

    for (size_t i = 0; i < p->count; i++)
        if (sim_deed_family(p->lines[i].deed) != SIM_FAMILY_WORK)
            kinds |= UINT64_C(1) << p->lines[i].deed;
    return kinds;
}

size_t sim_plan_faults(const struct sim_plan *p)
{
    size_t count = 0;

    for (size_t i = 0; i < p->count; i++)
        count += sim_deed_family(p->lines[i].deed) != SIM_FAMILY_WORK;
    return count;
}

/* ---- what no single line can say ---- */

static bool hosts_below(const struct sim_hosts *s, unsigned limit)
{
    for (unsigned i = limit; i < SIM_PLAN_HOSTS_MAX; i++)
        if (sim_hosts_has(s, i))
            return false;
    return true;
}

/* Where it stands, for people who edit plans; else which one it is. */
__attribute__((format(printf, 3, 4))) static int
bad_line(struct cm_detail *detail, const struct sim_plan_line *l,
         const char *format, ...)
{
    struct cm_detail what = {""};
    va_list args;

    va_start(args, format);
    (void)vsnprintf(what.text, sizeof what.text, format, args);
    va_end(args);
    if (l->text_line != 0)
        return cm_fail(detail, CM_ERR_MALFORMED, "line %u: %.200s",
                       l->text_line, what.text);
    return cm_fail(detail, CM_ERR_MALFORMED, "line with id %" PRIu64 ": %.200s",
                   l->id, what.text);
}

static int check_line(const struct sim_plan *p, const struct sim_plan_line *l,
                      struct cm_detail *detail)
{
    enum sim_targets targets = sim_deed_targets(l->deed);
    const char *deed = sim_deed_name(l->deed);
    unsigned hosts = sim_hosts_count(&l->hosts);
    unsigned to = sim_hosts_count(&l->to);

    if (hosts == 0 || (targets == SIM_TARGET_ONE && hosts != 1))
        return bad_line(detail, l, "%s names %u hosts, not %s", deed, hosts,
                        targets == SIM_TARGET_ONE ? "one" : "one or more");
    if ((targets == SIM_TARGET_PAIR) != (to > 0))
        return bad_line(detail, l, "%s takes %s to=", deed,
                        to > 0 ? "no" : "a");
    if (!hosts_below(&l->hosts, p->nodes) || !hosts_below(&l->to, p->nodes))
        return bad_line(detail, l, "a host is not below nodes=%u", p->nodes);
    if (l->deed == SIM_DEED_WIPE && sim_hosts_has(&l->hosts, 0))
        return bad_line(detail, l,
                        "n0 alone can let others in: it cannot be wiped");
    if (l->deed == SIM_DEED_CLONE &&
        (to != 1 || sim_hosts_has(&l->to, 0) ||
         sim_hosts_has(&l->to, sim_hosts_first(&l->hosts))))
        return bad_line(detail, l,
                        "a copy runs on one other host than its original, and "
                        "not on n0, which alone can let it in again");
    if (l->at_ms > p->duration_ms)
        return bad_line(detail, l,
                        "its time, %" PRIu64 ", is after duration=%" PRIu64,
                        l->at_ms, p->duration_ms);
    return 0;
}

static int compare_ids(const void *a, const void *b)
{
    const struct sim_plan_line *const *x = a;
    const struct sim_plan_line *const *y = b;

    if ((*x)->id != (*y)->id)
        return (*x)->id > (*y)->id ? 1 : -1;
    return ((*x)->text_line > (*y)->text_line) -
           ((*x)->text_line < (*y)->text_line);
}

static int check_ids(const struct sim_plan *p, struct cm_detail *detail)
{
    if (p->count == 0)
        return 0;
    const struct sim_plan_line **lines = cm_alloc(p->count * sizeof(void *));
    if (lines == NULL)
        return CM_ERR_NOMEM;
    for (size_t i = 0; i < p->count; i++)
        lines[i] = &p->lines[i];
    qsort(lines, p->count, sizeof(void *), compare_ids);
    int error = 0;
    for (size_t i = 1; i < p->count && error == 0; i++)
        if (lines[i]->id == lines[i - 1]->id)
            error = bad_line(detail, lines[i],
                             "two lines have the id %" PRIu64
                             ", the other one is line %u",
                             lines[i]->id, lines[i - 1]->text_line);
    cm_free(lines);
    return error;
}

/* name=value of the header, and what it has to be. */
static int bad_header(const struct sim_plan *p, struct cm_detail *detail,
                      const char *name, unsigned value, const char *limits,
                      unsigned limit)
{
    return cm_fail(detail, CM_ERR_MALFORMED, "line %u: %s=%u: %s%u",
                   p->text_line, name, value, limits, limit);
}

int sim_plan_check(const struct sim_plan *p, struct cm_detail *detail)
{
    if (p->nodes < 1 || p->nodes > SIM_PLAN_HOSTS_MAX)
        return bad_header(p, detail, "nodes", p->nodes, "1 to ",
                          SIM_PLAN_HOSTS_MAX);
    if (p->joined < 1 || p->joined > p->nodes)
        return bad_header(p, detail, "joined", p->joined,
                          "1 to nodes=", p->nodes);
    if (sim_hosts_count(&p->core) == 0 || !hosts_below(&p->core, p->nodes))
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "line %u: core: one or more hosts below nodes=%u",
                       p->text_line, p->nodes);
    if (p->targets < 1 || p->targets > SIM_PLAN_TARGETS_MAX)
        return bad_header(p, detail, "targets", p->targets, "1 to ",
                          SIM_PLAN_TARGETS_MAX);
    if (p->sync_us_min < 100 || p->sync_us_min > p->sync_us_max)
        return bad_header(p, detail, "sync-min", p->sync_us_min,
                          "100 to sync-max=", p->sync_us_max);
    for (size_t i = 0; i < p->count; i++) {
        int error = check_line(p, &p->lines[i], detail);
        if (error != 0)
            return error;
    }
    return check_ids(p, detail);
}
