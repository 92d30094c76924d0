/* The order of the steps is that of what they save: a plan that ends at the
 * violation, on few hosts, without most kinds of faults runs many times faster,
 * and only then are its lines worth trying one by one. */
#include "sim/shrink.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "sim/shrink_step.h"

/* Steps that propose per line wait until there are few. */
#define LINES_FEW 48
#define COARSE 8 /* of a first look: eighths */
/* How much later than the best plan a smaller one may fail: looks go by turns,
 * and what is awaited takes a little longer or shorter. */
#define GRACE_US UINT64_C(10000000)
#define GRACE_PART 4 /* of what came after the plan's own time */
#define SEEN_SLOTS (4u * SIM_SHRINK_RUNS_MAX)

_Static_assert((SEEN_SLOTS & (SEEN_SLOTS - 1)) == 0, "a power of two");

struct shrinker {
    const struct sim_shrink_options *options;
    struct sim_plan *best;
    struct sim_shrink_report *report;
    enum sim_outcome outcome; /* to be kept, as is fingerprint */
    char fingerprint[SIM_FINGERPRINT_SIZE];
    uint64_t started_ms;
    uint64_t *seen; /* owned; what has been tried, 0: free */
    struct sim_shrink_trial trials[SIM_SHRINK_TRIALS_MAX];
    size_t indexes[SIM_SHRINK_TRIALS_MAX]; /* of the trials' proposals */
    size_t count;
    int error;
};

static uint64_t elapsed_ms(const struct shrinker *s)
{
    return s->options->now_ms != NULL
               ? s->options->now_ms(s->options->ctx) - s->started_ms
               : 0;
}

static bool is_over(struct shrinker *s)
{
    const struct sim_shrink_options *o = s->options;
    uint64_t runs_max = o->runs_max > 0 && o->runs_max < SIM_SHRINK_RUNS_MAX
                            ? o->runs_max
                            : SIM_SHRINK_RUNS_MAX;

    if (s->error != 0)
        return true;
    if (s->report->last.runs < runs_max &&
        (o->budget_ms == 0 || elapsed_ms(s) < o->budget_ms))
        return false;
    s->report->exhausted = true;
    return true;
}

/* ---- what has been tried ---- */

static int plan_name(const struct sim_plan *plan, uint64_t *ret_name)
{
    static const char domain[] = "plan";
    struct buffer text;
    int error;

    buffer_init(&text, SIM_PLAN_TEXT_MAX);
    sim_plan_print(plan, &text);
    *ret_name =
        record_checksum(slice_of(domain, sizeof domain), buffer_slice(&text));
    *ret_name += *ret_name == 0;
    error = text.error;
    buffer_release(&text);
    return error;
}

/* True the first time. */
static bool is_new(struct shrinker *s, const struct sim_plan *plan)
{
    uint64_t name;
    size_t i;

    s->error = plan_name(plan, &name);
    if (s->error != 0)
        return false;
    i = (size_t)name & (SEEN_SLOTS - 1);
    while (s->seen[i] != 0 && s->seen[i] != name)
        i = (i + 1) & (SEEN_SLOTS - 1);
    if (s->seen[i] == name)
        return false;
    s->seen[i] = name; /* runs are bounded, so there is room */
    return true;
}

/* ---- running ---- */

static void tell(struct shrinker *s, const char *pass)
{
    struct sim_shrink_progress *p = &s->report->last;

    p->pass = pass;
    p->elapsed_ms = elapsed_ms(s);
    p->lines = s->best->count;
    p->nodes = s->best->nodes;
    p->duration_ms = s->best->duration_ms;
    if (s->options->progress != NULL)
        s->options->progress(s->options->ctx, p);
}

static bool fails_alike(const struct shrinker *s,
                        const struct sim_run_result *r)
{
    return r->outcome == s->outcome &&
           strcmp(r->fingerprint, s->fingerprint) == 0;
}

/* When a plan made from the best one has to have failed. */
static uint64_t stop_us(const struct shrinker *s, const struct sim_plan *plan)
{
    const struct sim_run_result *r = &s->report->result;
    uint64_t at_us = r->at_us > r->start_us ? r->at_us - r->start_us : 0;
    uint64_t end_us = s->best->duration_ms * 1000;
    uint64_t after_us = at_us > end_us ? at_us - end_us : 0;

    return plan->duration_ms * 1000 + after_us + after_us / GRACE_PART +
           GRACE_US;
}

static void drop_trials(struct shrinker *s)
{
    for (size_t i = 0; i < s->count; i++)
        sim_plan_release(&s->trials[i].plan);
    s->count = 0;
}

/* Runs what was gathered. The first that fails alike becomes the best plan,
 * and its index is answered; SIZE_MAX: none did. */
static size_t run_trials(struct shrinker *s, const char *pass)
{
    size_t ret = SIZE_MAX;

    CHECK(s->count > 0 && s->count <= s->options->trials);
    s->options->run(s->options->ctx, s->trials, s->count);
    s->report->last.runs += s->count;
    for (size_t i = 0; i < s->count && ret == SIZE_MAX; i++) {
        struct sim_shrink_trial *t = &s->trials[i];

        if (t->error != 0 || !fails_alike(s, &t->result))
            continue;
        sim_plan_release(s->best);
        *s->best = t->plan;
        sim_plan_init(&t->plan);
        s->report->result = t->result;
        ret = s->indexes[i];
    }
    drop_trials(s);
    tell(s, pass);
    return ret;
}

/* Gathers proposals from number *at on; false at the end of them. */
static bool gather(struct shrinker *s, sim_step step, size_t unit, size_t *at)
{
    while (s->count < s->options->trials && s->error == 0) {
        struct sim_shrink_trial *t = &s->trials[s->count];
        enum sim_step_answer answer =
            step(s->best, &s->report->result, unit, *at, &t->plan);

        if (answer == SIM_STEP_END)
            return false;
        if (answer == SIM_STEP_NOMEM)
            s->error = CM_ERR_NOMEM;
        if (answer == SIM_STEP_PROPOSED) {
            if (sim_plan_check(&t->plan, NULL) == 0 && is_new(s, &t->plan)) {
                memset(&t->result, 0, sizeof t->result);
                t->error = 0;
                t->stop_us = stop_us(s, &t->plan);
                s->indexes[s->count++] = *at;
            } else {
                sim_plan_release(&t->plan);
            }
        }
        (*at)++;
    }
    return true;
}

/* Every proposal of step once; what fails alike is kept. True if any did. */
static bool sweep(struct shrinker *s, const char *pass, sim_step step,
                  size_t unit)
{
    bool any = false;
    bool more = true;
    size_t at = 0;

    while (more && !is_over(s)) {
        size_t kept;

        more = gather(s, step, unit, &at);
        if (s->count == 0)
            continue;
        if (s->error != 0) {
            drop_trials(s);
            continue;
        }
        kept = run_trials(s, pass);
        if (kept == SIZE_MAX)
            continue;
        any = true;
        more = true;
        at = kept; /* the next piece stands where that one stood */
    }
    return any;
}

/* Pieces from size to least, each size until it takes nothing more away. */
static bool sweep_sizes(struct shrinker *s, const char *pass, sim_step step,
                        size_t size, size_t least)
{
    bool any = false;

    CHECK(least > 0);
    for (size_t unit = size; unit >= least && !is_over(s); unit /= 2)
        any = sweep(s, pass, step, unit) || any;
    return any;
}

/* ---- the order ---- */

/* part: pieces of at least that part of all. */
static bool shrink_hosts(struct shrinker *s, size_t part)
{
    size_t nodes = s->best->nodes;

    return sweep_sizes(s, "hosts", sim_step_hosts, nodes - 1, nodes / part + 1);
}

static bool shrink_lines(struct shrinker *s, size_t part)
{
    size_t count = s->best->count;
    bool any = sweep_sizes(s, "lines", sim_step_lines, count, count / part + 1);

    return sweep(s, "tail", sim_step_tail, 0) || any;
}

/* Once over everything; true if anything became smaller. What makes runs
 * cheaper goes first, in great pieces. */
static bool shrink_round(struct shrinker *s)
{
    bool any = sweep(s, "tail", sim_step_tail, 0);

    any = sweep(s, "faults", sim_step_faults, 0) || any;
    any = shrink_hosts(s, COARSE) || any;
    any = shrink_lines(s, COARSE) || any;
    any = sweep(s, "pace", sim_step_pace, 0) || any;
    any = sweep(s, "kinds", sim_step_deeds, 0) || any;
    any = shrink_hosts(s, SIZE_MAX) || any;
    any = shrink_lines(s, SIZE_MAX) || any;
    any = shrink_hosts(s, SIZE_MAX) || any;
    any = sweep(s, "packets", sim_step_packets, 0) || any;
    if (s->best->count > LINES_FEW)
        return any;
    any = sweep(s, "time", sim_step_time, 0) || any;
    any = sweep(s, "numbers", sim_step_numbers, 0) || any;
    return any;
}

/* The plan as it was given has to fail, in the way that is to be kept. */
static int run_first(struct shrinker *s, const char *fingerprint)
{
    struct sim_shrink_trial *t = &s->trials[0];
    int error = sim_plan_copy(&t->plan, s->best);

    if (error != 0)
        return error;
    memset(&t->result, 0, sizeof t->result);
    t->error = 0;
    t->stop_us = 0;
    (void)is_new(s, &t->plan);
    s->options->run(s->options->ctx, t, 1);
    s->report->last.runs++;
    s->report->result = t->result;
    sim_plan_release(&t->plan);
    tell(s, "as given");
    if (t->error != 0)
        return t->error;
    s->outcome = t->result.outcome;
    memcpy(s->fingerprint, t->result.fingerprint, sizeof s->fingerprint);
    s->fingerprint[sizeof s->fingerprint - 1] = '\0';
    if (s->outcome == SIM_PASS || s->outcome == SIM_INCONCLUSIVE ||
        (fingerprint != NULL && strcmp(fingerprint, s->fingerprint) != 0))
        return CM_ERR_CONDITION;
    return s->error;
}

int sim_shrink(struct sim_plan *plan, const char *fingerprint,
               const struct sim_shrink_options *options,
               struct sim_shrink_report *ret_report)
{
    struct shrinker *s = cm_calloc(1, sizeof *s);
    int error;

    CHECK(options->run != NULL && options->trials > 0);
    CHECK(options->trials <= SIM_SHRINK_TRIALS_MAX);
    memset(ret_report, 0, sizeof *ret_report);
    ret_report->last.lines_before = plan->count;
    ret_report->last.nodes_before = plan->nodes;
    ret_report->last.duration_before_ms = plan->duration_ms;
    if (s == NULL)
        return CM_ERR_NOMEM;
    s->options = options;
    s->best = plan;
    s->report = ret_report;
    s->seen = cm_calloc(SEEN_SLOTS, sizeof *s->seen);
    s->started_ms = options->now_ms != NULL ? options->now_ms(options->ctx) : 0;
    error = s->seen == NULL ? CM_ERR_NOMEM : run_first(s, fingerprint);
    if (error == 0) {
        while (!is_over(s) && shrink_round(s))
            continue;
        error = s->error;
        tell(s, "done");
    }
    cm_free(s->seen);
    cm_free(s);
    return error;
}
