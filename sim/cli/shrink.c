/* confmesh-sim shrink: the least plan that fails alike. */
#include "sim/shrink.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "crdt/base/check.h"
#include "sim/cli/cli.h"

#define SECONDS_DEFAULT "60"
#define SECONDS_MAX UINT64_C(86400)
#define PROGRESS_TTY_MS 200
#define PROGRESS_MS 5000
#define CPU_S_MIN 10 /* of one run; and so many times what the first took: */
#define CPU_FACTOR 4

struct shrinking {
    bool twice;     /* what differs elsewhere is what fails */
    unsigned cpu_s; /* that a run may take; 0: not known yet */
    bool tty;
    uint64_t told_ms;
};

static uint64_t real_ms(void)
{
    struct timespec t;

    CHECK(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t ms_of(const struct timeval *t)
{
    return (uint64_t)t->tv_sec * 1000 + (uint64_t)t->tv_usec / 1000;
}

/* What the runs have taken of processors: the budget, since how busy a machine
 * is says nothing about a plan. */
static uint64_t children_cpu_ms(void *ctx)
{
    struct rusage usage;

    (void)ctx;
    CHECK(getrusage(RUSAGE_CHILDREN, &usage) == 0);
    return ms_of(&usage.ru_utime) + ms_of(&usage.ru_stime);
}

static void finish(struct sim_child *c, struct sim_run_result *ret_result)
{
    int status = 0;

    while (waitpid(c->pid, &status, 0) < 0)
        CHECK(errno == EINTR);
    sim_child_finish(c, status, ret_result, NULL);
}

/* Beside each other, each in a process of its own. */
static void run_all(const struct shrinking *s, struct sim_shrink_trial *trials,
                    size_t count, bool elsewhere)
{
    struct sim_child children[SIM_SHRINK_TRIALS_MAX];

    CHECK(count <= SIM_SHRINK_TRIALS_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct sim_child_options options = {.cpu_s = s->cpu_s,
                                                  .elsewhere = elsewhere,
                                                  .unjudged = elsewhere,
                                                  .stop_us = trials[i].stop_us};

        trials[i].error =
            sim_child_start(&children[i], &trials[i].plan, &options, NULL);
    }
    for (size_t i = 0; i < count; i++) {
        if (trials[i].error == 0)
            finish(&children[i], &trials[i].result);
    }
}

/* What differs between two runs is one failure, whatever they end in. */
static void compare(struct sim_run_result *first,
                    const struct sim_run_result *second)
{
    if (hash_equal(&first->chain, &second->chain) &&
        first->outcome == second->outcome)
        return;
    first->outcome = SIM_NONDETERMINISM;
    first->at_us = first->virtual_us;
    (void)snprintf(first->fingerprint, sizeof first->fingerprint,
                   "nondeterminism");
    (void)snprintf(first->words, sizeof first->words,
                   "two runs of this plan differ");
}

static void run(void *ctx, struct sim_shrink_trial *trials, size_t count)
{
    struct sim_run_result first[SIM_SHRINK_TRIALS_MAX];
    struct shrinking *s = ctx;
    uint64_t before_ms = children_cpu_ms(NULL);

    run_all(s, trials, count, false);
    for (size_t i = 0; i < count; i++)
        first[i] = trials[i].result;
    if (s->twice)
        run_all(s, trials, count, true);
    for (size_t i = 0; i < count && s->twice; i++) {
        compare(&first[i], &trials[i].result);
        trials[i].result = first[i];
    }
    if (s->cpu_s == 0)
        s->cpu_s =
            CPU_S_MIN +
            CPU_FACTOR * (unsigned)((children_cpu_ms(NULL) - before_ms) / 1000);
}

static void progress(void *ctx, const struct sim_shrink_progress *p)
{
    struct shrinking *s = ctx;
    uint64_t now = real_ms();

    if (now - s->told_ms < (s->tty ? PROGRESS_TTY_MS : PROGRESS_MS))
        return;
    s->told_ms = now;
    (void)fprintf(stderr,
                  "%s%zu lines of %zu, %u nodes of %u, %.1f s of plan; %" PRIu64
                  " runs in %.1f s of processor time; trying: %s%s",
                  s->tty ? "\r" : "", p->lines, p->lines_before, p->nodes,
                  p->nodes_before, (double)p->duration_ms / 1000, p->runs,
                  (double)p->elapsed_ms / 1000, p->pass,
                  s->tty ? "\033[K" : "\n");
}

/* The plan with what it shows above it. path NULL: standard output. */
static int write_plan(const struct sim_plan *plan,
                      const struct sim_run_result *r, const char *path)
{
    FILE *file = path != NULL ? fopen(path, "we") : stdout;
    struct buffer text;
    int error;

    if (file == NULL)
        return CM_ERR_IO;
    buffer_init(&text, SIM_PLAN_TEXT_MAX);
    buffer_printf(&text, "# %s: %s\n# ", sim_outcome_name(r->outcome),
                  r->fingerprint);
    for (const char *at = r->words; *at != '\0'; at++)
        buffer_append_byte(&text, *at == '\n' ? ' ' : (uint8_t)*at);
    buffer_append_byte(&text, '\n');
    sim_plan_print(plan, &text);
    error = text.error;
    if (fwrite(text.data, 1, text.size, file) != text.size || fflush(file) != 0)
        error = CM_ERR_IO;
    buffer_release(&text);
    if (path != NULL && fclose(file) != 0)
        error = CM_ERR_IO;
    return error;
}

static int tell(const struct sim_plan *plan, const struct sim_shrink_report *r,
                const char *path)
{
    const struct sim_shrink_progress *p = &r->last;

    if (write_plan(plan, &r->result, path) != 0) {
        (void)fprintf(stderr, "confmesh-sim shrink: cannot write the plan\n");
        return SIM_INCONCLUSIVE;
    }
    (void)fprintf(
        stderr,
        "%zu lines of %zu, %u nodes of %u, %.1f s of %.1f s, %" PRIu64
        " runs in %.1f s of processor time%s: %s\n",
        p->lines, p->lines_before, p->nodes, p->nodes_before,
        (double)p->duration_ms / 1000, (double)p->duration_before_ms / 1000,
        p->runs, (double)p->elapsed_ms / 1000,
        r->exhausted ? " (the budget was over)" : "", r->result.fingerprint);
    return SIM_PASS;
}

static int shrink(struct sim_plan *plan, bool twice, const char *fingerprint,
                  const char *path, const struct sim_shrink_options *options)
{
    struct shrinking s = {.twice = twice, .tty = isatty(STDERR_FILENO) == 1};
    struct sim_shrink_options o = *options;
    struct sim_shrink_report report;
    int error;

    o.ctx = &s;
    o.run = run;
    o.now_ms = children_cpu_ms;
    o.progress = progress;
    error = sim_shrink(plan, fingerprint, &o, &report);
    if (s.tty)
        (void)fputs("\r\033[K", stderr);
    if (error == 0)
        return tell(plan, &report, path);
    if (error == CM_ERR_CONDITION)
        (void)fprintf(stderr,
                      "confmesh-sim shrink: the plan as given does not fail "
                      "%s%s: %s %s\n",
                      fingerprint != NULL ? "as " : "at all",
                      fingerprint != NULL ? fingerprint : "",
                      sim_outcome_name(report.result.outcome),
                      report.result.words);
    else
        (void)fprintf(stderr, "confmesh-sim shrink: %s\n", cm_strerror(error));
    return SIM_INCONCLUSIVE;
}

static int read_options(struct sim_shrink_options *ret,
                        const struct args_flag *flags, size_t count,
                        struct cm_detail *detail)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t jobs = 0;
    uint64_t seconds = 0;
    int error;

    *ret = (struct sim_shrink_options){.trials = 1};
    error = sim_cli_number(&jobs, args_value(flags, count, "jobs", NULL), 1,
                           SIM_SHRINK_TRIALS_MAX, "--jobs", detail);
    if (error == 0)
        error = sim_cli_number(
            &seconds, args_value(flags, count, "seconds", SECONDS_DEFAULT), 1,
            SECONDS_MAX, "--seconds", detail);
    if (jobs == 0 && cores > 0)
        jobs = (uint64_t)cores;
    if (jobs > 0)
        ret->trials = jobs < SIM_SHRINK_TRIALS_MAX ? (unsigned)jobs
                                                   : SIM_SHRINK_TRIALS_MAX;
    ret->budget_ms = seconds * 1000;
    return error;
}

/* Said before a minute is spent. path NULL: standard output. */
static int may_write(const char *path, struct cm_detail *detail)
{
    bool was = path != NULL && access(path, F_OK) == 0;
    FILE *file = path != NULL ? fopen(path, "ae") : NULL;

    if (path != NULL && file == NULL)
        return cm_fail(detail, CM_ERR_IO, "cannot write %s: %s", path,
                       strerror(errno));
    if (file != NULL)
        (void)fclose(file);
    if (path != NULL && !was)
        (void)unlink(path); /* until there is something in it */
    return 0;
}

int sim_command_shrink(int argc, char **argv)
{
    struct args_flag flags[] = {
        {.name = "profile", .kind = ARGS_VALUE},
        {.name = "nodes", .kind = ARGS_VALUE},
        {.name = "output", .kind = ARGS_VALUE},
        {.name = "seconds", .kind = ARGS_VALUE},
        {.name = "jobs", .kind = ARGS_VALUE},
        {.name = "fingerprint", .kind = ARGS_VALUE},
        {.name = "twice", .kind = ARGS_SWITCH},
    };
    const size_t count = sizeof flags / sizeof flags[0];
    struct sim_cli_source source;
    struct sim_shrink_options options;
    struct cm_detail detail = {""};
    struct sim_plan plan;
    struct args args;

    int error = args_parse(&args, flags, count, argc, argv, &detail);
    if (error == 0)
        error = sim_cli_source_read(&source, flags, count, &detail);
    if (error == 0)
        error = read_options(&options, flags, count, &detail);
    if (error != 0)
        return sim_cli_usage("shrink", detail.text);
    if (args.words_count != 1)
        return sim_cli_usage("shrink", "give one plan's file or one seed");
    const char *path = args_value(flags, count, "output", NULL);
    if (may_write(path, &detail) != 0 ||
        sim_cli_plan(&plan, args.words[0], &source, &detail) != 0)
        return sim_cli_usage("shrink", detail.text);
    int outcome =
        shrink(&plan, args_given(flags, count, "twice"),
               args_value(flags, count, "fingerprint", NULL), path, &options);
    sim_plan_release(&plan);
    return outcome;
}
