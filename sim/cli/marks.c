/* confmesh-sim marks: seeds, and which named places of the code they came by.
 */
#include "sim/marks.h"

#include "sim/cli/cli.h"

/* What `run` answers; and a failure if it passed and a mark was never hit. */
int sim_command_marks(int argc, char **argv)
{
    if (!sim_marks_built())
        return sim_cli_usage("marks", "this build counts none: make marks");
    if (sim_marks_start() != 0)
        return SIM_INCONCLUSIVE;
    int outcome = sim_command_run(argc, argv);
    if (outcome == SIM_EXIT_USAGE)
        return outcome;
    unsigned missed = sim_marks_report(stdout);
    (void)printf("%u of %u marks hit\n", sim_marks_count() - missed,
                 sim_marks_count());
    return outcome == SIM_PASS && missed > 0 ? SIM_INCONCLUSIVE : outcome;
}
