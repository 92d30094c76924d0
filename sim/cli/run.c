/* confmesh-sim run: many seeds, each run in a process of its own, so that a
 * crash of production code is one finding and not the end. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
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

static void on_signal(int signal)
{
    (void)signal;
    interrupted = 1;
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

static void tell_json(const struct campaign *c, const struct job *j,
                      const struct sim_run_result *r)
{
    char chain[2 * HASH_SIZE + 1];
    char seed[32];

    hex_encode(chain, slice_of(r->chain.bytes, HASH_SIZE));
    (void)snprintf(seed, sizeof seed, "0x%" PRIx64, j->seed);
    json_t *o = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
        "s:i, s:s, s:I, s:I}",
        "seed", seed, "profile", sim_profile_name(c->source.profile), "outcome",
        sim_outcome_name(r->outcome), "fingerprint", r->fingerprint, "words",
        r->words, "nodes", (int)r->nodes, "events", (json_int_t)r->events,
        "virtual_us", (json_int_t)r->virtual_us, "node_us",
        (json_int_t)r->node_us, "operations", (json_int_t)r->operations,
        "acknowledged", (json_int_t)r->acknowledged, "refused",
        (json_int_t)r->refused, "faults", (json_int_t)r->faults, "fault_kinds",
        __builtin_popcountll(r->fault_kinds), "chain", chain, "core_us",
        (json_int_t)r->core_us, "heal_us", (json_int_t)r->heal_us);
    if (o == NULL) /* a message that is no UTF-8 */
        return;
    (void)json_dumpf(o, stdout, JSON_COMPACT);
    (void)putchar('\n');
    (void)fflush(stdout);
    json_decref(o);
}

static void tell_failure(const struct campaign *c, const struct job *j,
                         const struct sim_run_result *r, struct buffer *output,
                         struct buffer *difference)
{
    clear_progress(c);
    (void)printf("REPRO %s replay 0x%" PRIx64, program_invocation_name,
                 j->seed);
    if (c->source.profile != SIM_PROFILE_DEFAULT)
        (void)printf(" --profile %s", sim_profile_name(c->source.profile));
    if (c->source.nodes != 0)
        (void)printf(" --nodes %u", c->source.nodes);
    (void)printf("%s # ", r->outcome == SIM_NONDETERMINISM ? " --twice" : "");
    sim_cli_tell(stdout, r);
    (void)fflush(stdout);
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
        if (c->json)
            tell_json(c, j, &result);
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
    uint64_t jobs = 0;
    uint64_t seconds = 0;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const char *first = args_value(flags, n, "first-seed", "1");
    const char *seeds = args_value(flags, n, "seeds", NULL);

    int error = sim_cli_source_read(&c->source, flags, n, detail);
    if (error == 0)
        error = args_number(&jobs, args_value(flags, n, "jobs", "0"), JOBS_MAX,
                            "--jobs", detail);
    if (error == 0)
        error = args_number(&seconds, args_value(flags, n, "seconds", "0"),
                            SECONDS_MAX, "--seconds", detail);
    if (error == 0 && seeds == NULL && seconds == 0)
        error = cm_fail(detail, CM_ERR_INVALID, "give --seeds or --seconds");
    c->seeds = SEEDS_MAX;
    if (error == 0 && seeds != NULL)
        error = args_number(&c->seeds, seeds, SEEDS_MAX, "--seeds", detail);
    if (error == 0 && !sim_cli_seed(first, &c->first_seed))
        error = cm_fail(detail, CM_ERR_INVALID, "--first-seed %s: not a number",
                        first);
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
    const struct sigaction action = {.sa_handler = on_signal};
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
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)fprintf(stderr, "seeds from 0x%" PRIx64 ", profile %s, %u jobs\n",
                  c.first_seed, sim_profile_name(c.source.profile),
                  c.jobs_count);
    run_all(&c);
    for (unsigned i = 0; i < c.jobs_count; i++)
        sim_child_kill(&c.jobs[i].child);
    clear_progress(&c);
    if (interrupted != 0 && c.worst == SIM_PASS)
        c.worst = SIM_INCONCLUSIVE;
    tell_evaluated(&c);
    (void)printf("%" PRIu64 " seeds, %.1f node-hours, %" PRIu64
                 " faults of %d kinds, %" PRIu64 " violations\n",
                 c.done, (double)c.node_us / 3.6e9, c.faults,
                 __builtin_popcountll(c.kinds), c.violations);
    return fflush(stdout) == 0 ? c.worst : SIM_INCONCLUSIVE;
}
