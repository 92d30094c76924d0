/* confmesh-sim run: many seeds, each run in a process of its own, so that a
 * crash of production code is one finding and not the end. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "crdt/base/check.h"
#include "sim/cli/cli.h"

#define JOBS_MAX 64
#define SEEDS_MAX UINT64_C(1000000000)
#define SECONDS_MAX (UINT64_C(7) * 24 * 3600)
#define PROGRESS_TTY_MS 200
#define PROGRESS_MS 10000

/* One seed under way. */
struct job {
    uint64_t seed;
    struct sim_plan plan;
    struct sim_child child; /* pid 0: the job is free */
    bool second;            /* the other run of two */
    struct sim_run_result first;
};

struct campaign {
    struct sim_cli_source source;
    uint64_t first_seed;
    uint64_t seeds;
    unsigned jobs_count;
    bool twice;
    bool json;
    bool tty;
    uint64_t until_ms; /* of the monotonic clock; no seed begins later */
    struct job jobs[JOBS_MAX];
    uint64_t next_seed; /* to begin */
    uint64_t done;
    uint64_t node_us;
    uint64_t faults;
    uint64_t kinds;
    uint64_t violations;
    uint64_t evaluated[SIM_CHECK_INVARIANTS];
    int worst; /* exit code */
    uint64_t told_ms;
};

static volatile sig_atomic_t interrupted;

bool sim_cli_interrupted(void)
{
    return interrupted != 0;
}

static void on_signal(int signal)
{
    (void)signal;
    interrupted = 1;
}

/* Not one that whoever started the program has told it to ignore: nohup. */
static void stop_at(int number)
{
    const struct sigaction action = {.sa_handler = on_signal};
    struct sigaction before;

    if (sigaction(number, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        (void)sigaction(number, &action, NULL);
}

static uint64_t real_ms(void)
{
    struct timespec t;

    CHECK(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void tell_progress(struct campaign *c)
{
    uint64_t now = real_ms();

    if (now - c->told_ms < (c->tty ? PROGRESS_TTY_MS : PROGRESS_MS))
        return;
    c->told_ms = now;
    (void)fprintf(stderr,
                  "%s%" PRIu64 " of %" PRIu64
                  " seeds, %.1f node-hours, %" PRIu64 " violations%s",
                  c->tty ? "\r" : "", c->done, c->seeds,
                  (double)c->node_us / 3.6e9, c->violations,
                  c->tty ? "\033[K" : "\n");
}

static void clear_progress(const struct campaign *c)
{
    if (c->tty)
        (void)fputs("\r\033[K", stderr);
}

/* ---- results ---- */

static void tell_failure(const struct campaign *c, const struct job *j,
                         const struct sim_run_result *r, struct buffer *output,
                         struct buffer *difference)
{
    FILE *to = c->json ? stderr : stdout; /* there is JSON for programs */

    clear_progress(c);
    (void)fprintf(to, "REPRO %s replay 0x%" PRIx64, program_invocation_name,
                  j->seed);
    if (c->source.profile != SIM_PROFILE_DEFAULT)
        (void)fprintf(to, " --profile %s", sim_profile_name(c->source.profile));
    if (c->source.nodes != 0)
        (void)fprintf(to, " --nodes %u", c->source.nodes);
    (void)fprintf(to, "%s # ",
                  r->outcome == SIM_NONDETERMINISM ? " --twice" : "");
    sim_cli_tell(to, r);
    (void)fflush(to);
    sim_cli_tell_output(stderr, output);
    if (difference->size > 0)
        (void)fprintf(stderr, "%.*s", (int)difference->size,
                      (const char *)difference->data);
}

/* Invariants that were never looked at prove nothing. */
static void tell_evaluated(const struct campaign *c)
{
    (void)printf("looked at:");
    for (unsigned i = 0; i < SIM_CHECK_INVARIANTS; i++)
        (void)printf(" %s %" PRIu64 "%s",
                     sim_check_name((enum sim_check_invariant)i),
                     c->evaluated[i], i + 1 < SIM_CHECK_INVARIANTS ? "," : "");
    (void)putchar('\n');
}

/* The last line is what became of all. */
static void tell_end(const struct campaign *c)
{
    if (c->json) {
        sim_cli_json(json_pack(
            "{s:I, s:f, s:I, s:o, s:I, s:b, s:o}", "seeds", (json_int_t)c->done,
            "node_hours", (double)c->node_us / 3.6e9, "faults",
            (json_int_t)c->faults, "kinds", sim_cli_kinds(c->kinds),
            "violations", (json_int_t)c->violations, "interrupted",
            interrupted != 0, "looked_at", sim_cli_evaluated(c->evaluated)));
        return;
    }
    tell_evaluated(c);
    (void)printf("%" PRIu64 " seeds, %.1f node-hours, %" PRIu64
                 " faults of %d kinds, %" PRIu64 " violations\n",
                 c->done, (double)c->node_us / 3.6e9, c->faults,
                 __builtin_popcountll(c->kinds), c->violations);
}

/* Severity is the order of the codes, the least being the worst. */
static void count(struct campaign *c, const struct sim_run_result *r)
{
    c->done++;
    c->node_us += r->node_us;
    c->faults += r->faults;
    c->kinds |= r->fault_kinds;
    for (unsigned i = 0; i < SIM_CHECK_INVARIANTS; i++)
        c->evaluated[i] += r->evaluated[i];
    if (r->outcome == SIM_PASS)
        return;
    if (r->outcome != SIM_INCONCLUSIVE)
        c->violations++;
    if (c->worst == SIM_PASS || (int)r->outcome < c->worst)
        c->worst = (int)r->outcome;
}

/* The second run is judged by the first one's trace alone (run_child.h); what
 * was looked at in the first is told. */
static void compare_runs(struct job *j, struct sim_run_result *second,
                         struct buffer *difference)
{
    memcpy(second->evaluated, j->first.evaluated, sizeof second->evaluated);
    if (hash_equal(&j->first.chain, &second->chain) &&
        j->first.outcome == second->outcome)
        return;
    second->outcome = SIM_NONDETERMINISM;
    (void)snprintf(second->fingerprint, sizeof second->fingerprint,
                   "nondeterminism");
    (void)snprintf(second->words, sizeof second->words,
                   "two runs of one seed differ (%s and then %s)",
                   sim_outcome_name(j->first.outcome),
                   sim_outcome_name(second->outcome));
    sim_cli_difference(&j->plan, difference);
}

/* ---- jobs ---- */

static int start(struct campaign *c, struct job *j)
{
    const struct sim_child_options options = {.elsewhere = j->second,
                                              .unjudged = j->second};
    struct cm_detail detail = {""};

    int error = sim_child_start(&j->child, &j->plan, &options, &detail);
    if (error != 0) {
        clear_progress(c);
        (void)fprintf(stderr, "confmesh-sim run: %s\n", detail.text);
        c->worst = SIM_INCONCLUSIVE;
    }
    return error;
}

static int begin_seed(struct campaign *c, struct job *j)
{
    j->seed = c->next_seed++;
    j->second = false;
    int error =
        sim_expand(&j->plan, j->seed, c->source.profile, c->source.nodes);
    if (error != 0)
        return error;
    error = start(c, j);
    if (error != 0)
        sim_plan_release(&j->plan);
    return error;
}

static void end_run(struct campaign *c, struct job *j, int status)
{
    struct sim_run_result result;
    struct buffer output;
    struct buffer difference;

    buffer_init(&output, SIM_CHILD_OUTPUT_MAX + 4096);
    buffer_init(&difference, SIM_CHILD_OUTPUT_MAX);
    sim_child_finish(&j->child, status, &result, &output);
    if (c->twice && !j->second && result.outcome == SIM_PASS) {
        j->first = result;
        j->second = true;
        if (start(c, j) != 0)
            sim_plan_release(&j->plan);
    } else {
        if (j->second)
            compare_runs(j, &result, &difference);
        count(c, &result);
        if (c->json) {
            char name[32];
            (void)snprintf(name, sizeof name, "0x%" PRIx64, j->seed);
            sim_cli_json_result(name, &c->source, &result);
        }
        if (result.outcome != SIM_PASS)
            tell_failure(c, j, &result, &output, &difference);
        sim_plan_release(&j->plan);
    }
    buffer_release(&difference);
    buffer_release(&output);
}

static bool may_begin(const struct campaign *c)
{
    return interrupted == 0 && c->next_seed - c->first_seed < c->seeds &&
           (c->until_ms == 0 || real_ms() < c->until_ms);
}

static void run_all(struct campaign *c)
{
    for (;;) {
        unsigned busy = 0;
        int status = 0;
        for (unsigned i = 0; i < c->jobs_count; i++) {
            struct job *j = &c->jobs[i];
            if (j->child.pid == 0 && may_begin(c) && begin_seed(c, j) != 0)
                return;
            busy += j->child.pid != 0;
        }
        if (busy == 0)
            return;
        pid_t pid = waitpid(-1, &status, 0);
        if (pid < 0 && errno == EINTR && interrupted != 0)
            return;
        if (pid < 0)
            continue;
        for (unsigned i = 0; i < c->jobs_count && pid > 0; i++)
            if (c->jobs[i].child.pid == pid) {
                end_run(c, &c->jobs[i], status);
                break;
            }
        tell_progress(c);
    }
}

static int read_flags(struct campaign *c, const struct args_flag *flags,
                      size_t n, struct cm_detail *detail)
{
    uint64_t jobs = 0; /* 0: not given */
    uint64_t seconds = 0;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const char *first = args_value(flags, n, "first-seed", "1");
    const char *seeds = args_value(flags, n, "seeds", NULL);

    int error = sim_cli_source_read(&c->source, flags, n, detail);
    if (error == 0)
        error = sim_cli_number(&jobs, args_value(flags, n, "jobs", NULL), 1,
                               JOBS_MAX, "--jobs", detail);
    if (error == 0)
        error = sim_cli_number(&seconds, args_value(flags, n, "seconds", NULL),
                               1, SECONDS_MAX, "--seconds", detail);
    if (error == 0 && seeds == NULL && seconds == 0)
        error = cm_fail(detail, CM_ERR_INVALID, "give --seeds or --seconds");
    c->seeds = SEEDS_MAX;
    if (error == 0)
        error =
            sim_cli_number(&c->seeds, seeds, 1, SEEDS_MAX, "--seeds", detail);
    if (error == 0 && !sim_cli_seed(first, &c->first_seed))
        error = cm_fail(detail, CM_ERR_INVALID,
                        "--first-seed is '%.40s', but must be a number from 0 "
                        "to %" PRIu64,
                        first, UINT64_MAX);
    if (error == 0 && seeds != NULL &&
        c->first_seed > UINT64_MAX - (c->seeds - 1))
        error = cm_fail(detail, CM_ERR_INVALID,
                        "--first-seed %s: there are no %" PRIu64
                        " seeds from there on, the last one is %" PRIu64,
                        first, c->seeds, UINT64_MAX);
    if (error != 0)
        return error;
    c->jobs_count = jobs != 0   ? (unsigned)jobs
                    : cores > 0 ? (unsigned)cores
                                : 1;
    if (c->jobs_count > JOBS_MAX)
        c->jobs_count = JOBS_MAX;
    c->until_ms = seconds == 0 ? 0 : real_ms() + seconds * 1000;
    c->twice = args_given(flags, n, "twice");
    c->json = args_given(flags, n, "json");
    return 0;
}

int sim_command_run(int argc, char **argv)
{
    static struct campaign c;
    struct args_flag flags[] = {
        {.name = "seeds", .kind = ARGS_VALUE},
        {.name = "first-seed", .kind = ARGS_VALUE},
        {.name = "jobs", .kind = ARGS_VALUE},
        {.name = "profile", .kind = ARGS_VALUE},
        {.name = "nodes", .kind = ARGS_VALUE},
        {.name = "seconds", .kind = ARGS_VALUE},
        {.name = "twice", .kind = ARGS_SWITCH},
        {.name = "json", .kind = ARGS_SWITCH},
    };
    const size_t n = sizeof flags / sizeof flags[0];
    struct cm_detail detail = {""};
    struct args args;

    int error = args_parse(&args, flags, n, argc, argv, &detail);
    if (error == 0 && args.words_count > 0)
        error = cm_fail(&detail, CM_ERR_INVALID, "no such argument: %s",
                        args.words[0]);
    if (error == 0)
        error = read_flags(&c, flags, n, &detail);
    if (error != 0)
        return sim_cli_usage("run", detail.text);
    c.tty = isatty(STDERR_FILENO) == 1;
    c.next_seed = c.first_seed;
    c.told_ms = real_ms();
    stop_at(SIGINT);
    stop_at(SIGTERM);
    stop_at(SIGHUP);
    (void)fprintf(stderr, "seeds from 0x%" PRIx64 ", profile %s, %u jobs\n",
                  c.first_seed, sim_profile_name(c.source.profile),
                  c.jobs_count);
    run_all(&c);
    for (unsigned i = 0; i < c.jobs_count; i++)
        sim_child_kill(&c.jobs[i].child);
    clear_progress(&c);
    if (interrupted != 0 && c.worst == SIM_PASS)
        c.worst = SIM_INCONCLUSIVE;
    tell_end(&c);
    return fflush(stdout) == 0 ? c.worst : SIM_INCONCLUSIVE;
}
