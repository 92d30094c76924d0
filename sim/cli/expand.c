/* confmesh-sim expand: what a seed means. */
#include "sim/cli/cli.h"

int sim_command_expand(int argc, char **argv)
{
    struct args_flag flags[] = {{.name = "profile", .kind = ARGS_VALUE},
                                {.name = "nodes", .kind = ARGS_VALUE}};
    const size_t count = sizeof flags / sizeof flags[0];
    struct sim_cli_source source;
    struct cm_detail detail = {""};
    struct sim_plan plan;
    struct buffer text;
    struct args args;
    uint64_t seed = 0;

    int error = args_parse(&args, flags, count, argc, argv, &detail);
    if (error == 0)
        error = sim_cli_source_read(&source, flags, count, &detail);
    if (error != 0)
        return sim_cli_usage("expand", detail.text);
    if (args.words_count != 1 || !sim_cli_seed(args.words[0], &seed))
        return sim_cli_usage("expand", "give one seed");
    if (sim_expand(&plan, seed, source.profile, source.nodes) != 0)
        return SIM_INCONCLUSIVE;
    buffer_init(&text, SIM_PLAN_TEXT_MAX);
    sim_plan_print(&plan, &text);
    size_t written = fwrite(text.data, 1, text.size, stdout);
    bool whole = written == text.size && text.error == 0 && fflush(stdout) == 0;
    buffer_release(&text);
    sim_plan_release(&plan);
    return whole ? SIM_PASS : SIM_INCONCLUSIVE;
}
