/* confmesh-sim marks: seeds and plans, and which named places of the code they
 * came by. */
#include "sim/marks.h"

#include <errno.h>
#include <string.h>

#include "crdt/base/check.h"
#include "sim/cli/cli.h"

#define PLAN_SUFFIX ".plan"
#define WORDS_MAX 1024 /* of the command line */

static bool is_plan(const char *word)
{
    size_t size = strlen(word);
    size_t suffix = strlen(PLAN_SUFFIX);

    return size > suffix && strcmp(word + size - suffix, PLAN_SUFFIX) == 0;
}

/* In a process of its own, as any seed. */
static int run_plan(const char *path)
{
    const struct sim_child_options options = {0};
    struct sim_run_result result = {.outcome = SIM_INCONCLUSIVE};
    struct cm_detail detail = {""};
    struct buffer output;
    struct sim_plan plan;

    if (sim_plan_read(&plan, path, &detail) != 0) {
        (void)fprintf(stderr, "confmesh-sim marks: %s: %s\n", path,
                      detail.text);
        return SIM_INCONCLUSIVE;
    }
    buffer_init(&output, SIM_CHILD_OUTPUT_MAX + 4096);
    if (sim_child_run(&plan, &options, &result, &output, &detail) != 0)
        (void)fprintf(stderr, "confmesh-sim marks: %s: %s\n", path,
                      detail.text);
    if (result.outcome != SIM_PASS) {
        (void)printf("REPRO %s replay %s # ", program_invocation_name, path);
        sim_cli_tell(stdout, &result);
        sim_cli_tell_output(stderr, &output);
    }
    buffer_release(&output);
    sim_plan_release(&plan);
    return (int)result.outcome;
}

static int worse(int a, int b)
{
    return a == SIM_PASS || (b != SIM_PASS && b < a) ? b : a;
}

/* What `run` answers, the plans counted in; and a failure if all passed and a
 * mark was never hit. */
int sim_command_marks(int argc, char **argv)
{
    char *seeds[WORDS_MAX];
    unsigned plans = 0;
    int words = 0;

    if (!sim_marks_built())
        return sim_cli_usage("marks", "this build counts none: make marks");
    if (argc >= WORDS_MAX)
        return sim_cli_usage("marks", "too many plans are named");
    if (sim_marks_start() != 0)
        return SIM_INCONCLUSIVE;
    for (int i = 0; i < argc; i++)
        if (i == 0 || !is_plan(argv[i]))
            seeds[words++] = argv[i];
    seeds[words] = NULL;
    int outcome = words > 1 || argc < 2 ? sim_command_run(words, seeds) : 0;
    if (outcome == SIM_EXIT_USAGE)
        return outcome;
    for (int i = 1; i < argc; i++) {
        if (!is_plan(argv[i]) || sim_cli_interrupted())
            continue;
        outcome = worse(outcome, run_plan(argv[i]));
        plans++;
    }
    unsigned missed = sim_marks_report(stdout);
    CHECK(missed <= sim_marks_count());
    (void)printf("%u of %u marks hit, with %u plans beside the seeds\n",
                 sim_marks_count() - missed, sim_marks_count(), plans);
    return outcome == SIM_PASS && missed > 0 ? SIM_INCONCLUSIVE : outcome;
}
