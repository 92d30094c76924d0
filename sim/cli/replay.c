/* confmesh-sim replay: one seed or plan, looked at closely. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "sim/cli/cli.h"

static void tell_result(const struct sim_run_result *r)
{
    char chain[2 * HASH_SIZE + 1];

    hex_encode(chain, slice_of(r->chain.bytes, HASH_SIZE));
    (void)printf("%u nodes, %.1f s, %" PRIu64 " events, chain %s\n", r->nodes,
                 (double)(r->virtual_us - r->start_us) / 1e6, r->events, chain);
    (void)printf("%" PRIu64 " operations: %" PRIu64 " acknowledged, %" PRIu64
                 " refused, %" PRIu64 " unanswered; %" PRIu64
                 " changes watched, %" PRIu64 " snapshots good\n",
                 r->operations, r->acknowledged, r->refused, r->unanswered,
                 r->watched, r->snapshots);
    (void)printf("%" PRIu64 " faults of %d kinds:", r->faults,
                 __builtin_popcountll(r->fault_kinds));
    for (unsigned d = 0; d < SIM_DEEDS; d++)
        if ((r->fault_kinds >> d & 1) != 0)
            (void)printf(" %s", sim_deed_name((enum sim_deed)d));
    if (r->deaths > 0)
        (void)printf("\nLMDB died %" PRIu64 " times of a damaged file",
                     r->deaths);
    (void)printf("\ncore alike after %.1f s, all after %.1f s\n",
                 (double)r->core_us / 1e6, (double)r->heal_us / 1e6);
}

/* Where the second one differs, that is what came of it. */
static void run_twice(const struct sim_plan *plan, struct sim_run_result *first,
                      FILE *to)
{
    struct sim_child_options elsewhere = {.elsewhere = true, .unjudged = true};
    struct sim_run_result second;
    struct buffer text;

    if (sim_child_run(plan, &elsewhere, &second, NULL, NULL) != 0)
        second.outcome = SIM_INCONCLUSIVE;
    else if (hash_equal(&first->chain, &second.chain) &&
             first->outcome == second.outcome)
        return;
    buffer_init(&text, SIM_CHILD_OUTPUT_MAX);
    sim_cli_difference(plan, &text);
    first->outcome = SIM_NONDETERMINISM;
    (void)snprintf(first->fingerprint, sizeof first->fingerprint,
                   "nondeterminism");
    (void)snprintf(first->words, sizeof first->words,
                   "two runs of this plan differ");
    (void)fprintf(to, "nondeterminism: %s\n%.*s", first->words, (int)text.size,
                  (const char *)text.data);
    buffer_release(&text);
}

static int replay(const struct sim_plan *plan, const char *name,
                  const struct sim_cli_source *source,
                  const struct args_flag *flags, size_t count, FILE *trace)
{
    bool json = args_given(flags, count, "json");
    struct sim_run_result result;
    struct cm_detail detail = {""};
    struct buffer output;
    int error = 0;

    buffer_init(&output, SIM_CHILD_OUTPUT_MAX + 4096);
    FILE *log = args_given(flags, count, "log") ? stderr : NULL;
    if (args_given(flags, count, "here")) {
        const struct sim_run_options o = {.log = log, .trace = trace};
        error = sim_run_plan(plan, &o, &result, &detail);
    } else {
        const struct sim_child_options o = {.log = log, .trace = trace};
        error = sim_child_run(plan, &o, &result, &output, &detail);
    }
    if (error != 0) {
        buffer_release(&output);
        (void)fprintf(stderr, "confmesh-sim replay: %s\n", detail.text);
        return SIM_INCONCLUSIVE;
    }
    sim_cli_tell_output(stderr, &output);
    buffer_release(&output);
    if (!json) {
        tell_result(&result);
        sim_cli_tell(stdout, &result);
    }
    if (result.outcome == SIM_PASS && args_given(flags, count, "twice"))
        run_twice(plan, &result, json ? stderr : stdout);
    if (json)
        sim_cli_json_result(name, source, &result);
    else if (result.outcome == SIM_PASS)
        (void)printf("pass\n");
    return (int)result.outcome;
}

int sim_command_replay(int argc, char **argv)
{
    struct args_flag flags[] = {
        {.name = "profile", .kind = ARGS_VALUE},
        {.name = "nodes", .kind = ARGS_VALUE},
        {.name = "trace", .kind = ARGS_VALUE},
        {.name = "log", .kind = ARGS_SWITCH},
        {.name = "twice", .kind = ARGS_SWITCH},
        {.name = "here", .kind = ARGS_SWITCH},
        {.name = "json", .kind = ARGS_SWITCH},
    };
    const size_t count = sizeof flags / sizeof flags[0];
    struct sim_cli_source source;
    struct cm_detail detail = {""};
    struct sim_plan plan;
    struct args args;
    FILE *trace = NULL;

    int error = args_parse(&args, flags, count, argc, argv, &detail);
    if (error == 0)
        error = sim_cli_source_read(&source, flags, count, &detail);
    if (error != 0)
        return sim_cli_usage("replay", detail.text);
    if (args.words_count != 1)
        return sim_cli_usage("replay", "give one seed or one plan's file");
    if (sim_cli_plan(&plan, args.words[0], &source, &detail) != 0)
        return sim_cli_usage("replay", detail.text);
    const char *path = args_value(flags, count, "trace", NULL);
    if (path != NULL && (trace = fopen(path, "we")) == NULL) {
        sim_plan_release(&plan);
        (void)cm_fail(&detail, CM_ERR_IO, "cannot write %s: %s", path,
                      strerror(errno));
        return sim_cli_usage("replay", detail.text);
    }
    int outcome = replay(&plan, args.words[0], &source, flags, count, trace);
    if (trace != NULL)
        (void)fclose(trace);
    sim_plan_release(&plan);
    return outcome;
}
