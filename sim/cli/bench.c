/* confmesh-sim bench: how fast the simulator is.
 *
 * Node-hours per CPU-second, user and system time of this process. Two figures:
 * 64 nodes under every fault at its default rate, which is what `expand 1
 * --profile full --nodes 64` prints: the seed's own workload, faults, healing,
 * convergence and judgement, all counted; and 256 nodes with nothing to do.
 * Founding and joining come before the clock is started. In the idle mesh so
 * does the time in which everybody speaks with everybody for the first time:
 * one X25519 for each of 32,640 pairs is no idle node's work. */
#include <inttypes.h>
#include <time.h>

#include "crdt/base/check.h"
#include "sim/cli/cli.h"

#define CHAOS_NODES 64
#define IDLE_NODES 256
#define IDLE_MS (UINT64_C(10) * 60 * 1000)
#define MEETING_MS (UINT64_C(5) * 60 * 1000) /* before, in the idle mesh */
#define SEED 1
#define US_PER_HOUR 3.6e9

struct meter {
    uint64_t meeting_us; /* of the plan's time, before it starts */
    bool seen;
    uint64_t founding_us; /* that hosts were up before the plan's time 0 */
    bool started;
    clock_t from;
    uint64_t met_us; /* that hosts were up between that and the start */
};

static uint64_t up_us(struct sim_run *run)
{
    const struct sim_world *w = sim_run_world(run);
    uint64_t us = 0;

    for (unsigned h = 0; h < w->options.hosts; h++)
        us += sim_host_up_us(w->hosts[h]);
    return us;
}

static void on_event(void *ctx, struct sim_run *run)
{
    struct meter *m = ctx;

    if (m->started)
        return;
    if (!m->seen)
        m->founding_us = up_us(run);
    m->seen = true;
    if (sim_run_world(run)->sched.now_us <
        sim_run_start_us(run) + m->meeting_us)
        return;
    m->started = true;
    m->met_us = up_us(run) - m->founding_us;
    m->from = clock();
}

static int measure(const char *name, const struct sim_plan *plan,
                   uint64_t meeting_ms, double goal, bool json)
{
    struct meter m = {.meeting_us = meeting_ms * SIM_MS};
    const struct sim_run_options options = {.observer = on_event,
                                            .observer_ctx = &m};
    struct sim_run_result result;
    struct cm_detail detail = {""};
    clock_t begin = clock();

    if (sim_run_plan(plan, &options, &result, &detail) != 0) {
        (void)fprintf(stderr, "confmesh-sim bench: %s\n", detail.text);
        return SIM_INCONCLUSIVE;
    }
    clock_t end = clock();
    double seconds = (double)(end - m.from) / CLOCKS_PER_SEC;
    if (!m.started) { /* it failed before */
        sim_cli_tell(json ? stderr : stdout, &result);
        return (int)result.outcome;
    }
    double hours = (double)(result.node_us - m.met_us) / US_PER_HOUR;
    if (json) {
        sim_cli_json(json_pack(
            "{s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:s, s:s}", "what",
            name, "nodes", (int)plan->nodes, "node_hours", hours, "cpu_seconds",
            seconds, "node_hours_per_cpu_second", hours / seconds, "goal", goal,
            "founding_cpu_seconds", (double)(m.from - begin) / CLOCKS_PER_SEC,
            "events", (json_int_t)result.events, "faults",
            (json_int_t)result.faults, "outcome",
            sim_outcome_name(result.outcome), "fingerprint",
            result.fingerprint));
        return (int)result.outcome;
    }
    (void)printf("%s: %u nodes, %.2f node-hours in %.2f CPU-seconds: %.1f "
                 "node-hours per CPU-second (goal %.0f); founding took %.2f "
                 "CPU-seconds; %" PRIu64 " events, %" PRIu64 " faults\n",
                 name, plan->nodes, hours, seconds, hours / seconds, goal,
                 (double)(m.from - begin) / CLOCKS_PER_SEC, result.events,
                 result.faults);
    sim_cli_tell(stdout, &result);
    (void)fflush(stdout);
    return (int)result.outcome;
}

static int measure_chaos(unsigned nodes, bool json)
{
    struct sim_plan plan;

    if (sim_expand(&plan, SEED, SIM_PROFILE_FULL, nodes) != 0)
        return SIM_INCONCLUSIVE;
    int outcome = measure("full chaos", &plan, 0, 10, json);
    sim_plan_release(&plan);
    return outcome;
}

static int measure_idle(unsigned nodes, bool json)
{
    struct sim_plan plan;

    sim_plan_init(&plan);
    plan.seed = SEED;
    plan.nodes = plan.joined = nodes;
    plan.duration_ms = MEETING_MS + IDLE_MS;
    for (unsigned h = 0; h < nodes; h++)
        sim_hosts_add(&plan.core, h);
    int outcome = measure("idle", &plan, MEETING_MS, 20, json);
    sim_plan_release(&plan);
    return outcome;
}

int sim_command_bench(int argc, char **argv)
{
    struct args_flag flags[] = {{.name = "nodes", .kind = ARGS_VALUE},
                                {.name = "idle", .kind = ARGS_SWITCH},
                                {.name = "chaos", .kind = ARGS_SWITCH},
                                {.name = "json", .kind = ARGS_SWITCH}};
    const size_t count = sizeof flags / sizeof flags[0];
    struct cm_detail detail = {""};
    struct args args;
    uint64_t nodes = 0;
    int chaos = SIM_PASS;
    int idle = SIM_PASS;

    int error = args_parse(&args, flags, count, argc, argv, &detail);
    if (error == 0)
        error = sim_cli_number(&nodes, args_value(flags, count, "nodes", NULL),
                               SIM_CLI_NODES_MIN, SIM_PLAN_HOSTS_MAX, "--nodes",
                               &detail);
    if (error != 0 || args.words_count > 0)
        return sim_cli_usage("bench", error != 0 ? detail.text
                                                 : "it takes no arguments");
    bool json = args_given(flags, count, "json");
    bool only_idle = args_given(flags, count, "idle");
    bool only_chaos = args_given(flags, count, "chaos");
    if (!only_idle)
        chaos = measure_chaos(nodes != 0 ? (unsigned)nodes : CHAOS_NODES, json);
    if (!only_chaos)
        idle = measure_idle(nodes != 0 ? (unsigned)nodes : IDLE_NODES, json);
    return chaos != SIM_PASS ? chaos : idle;
}
