/* confmesh-sim: the production code in simulated meshes, from one seed. */
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "sim/cli/cli.h"

static const struct sim_command commands[] = {
    {"run",
     "--seeds N [--first-seed S] [--jobs J] [--profile P] [--nodes N] "
     "[--twice] [--seconds S] [--json]",
     "seeds, each in a process of its own", sim_command_run, true},
    {"replay",
     "SEED|PLAN [--profile P] [--nodes N] [--twice] [--log] "
     "[--trace FILE] [--here] [--json]",
     "one seed or plan", sim_command_replay, true},
    {"expand", "SEED [--profile P] [--nodes N]", "a seed's plan, as text",
     sim_command_expand, false},
    {"shrink",
     "PLAN|SEED [--profile P] [--nodes N] [--output FILE] [--seconds S] "
     "[--jobs J] [--fingerprint F] [--twice]",
     "the least plan that fails alike", sim_command_shrink, true},
    {"trace", "SEED|PLAN --html FILE [--profile P] [--nodes N]",
     "a run as one page to be looked at", sim_command_trace, true},
    {"marks", "as run, [PLAN...]",
     "which named places of the code seeds and plans come by",
     sim_command_marks, true},
    {"bench", "[--chaos|--idle] [--nodes N] [--json]",
     "simulated node-hours per CPU-second", sim_command_bench, true},
};

#define KEPT_FREE                                                              \
    (32 << 20) /* bytes; as much as malloc lets itself be told                 \
                */
#define COMMANDS (sizeof commands / sizeof commands[0])

/* verb NULL: all of them. */
static void help(FILE *to, const char *verb)
{
    (void)fprintf(to, "confmesh-sim: simulated meshes of production nodes\n\n");
    for (size_t i = 0; i < COMMANDS; i++) {
        if (verb == NULL || strcmp(verb, commands[i].name) == 0)
            (void)fprintf(to, "  confmesh-sim %s %s\n      %s\n",
                          commands[i].name, commands[i].arguments,
                          commands[i].summary);
    }
    (void)fprintf(to, "\nprofiles:");
    for (unsigned p = 0; p < SIM_PROFILES; p++)
        (void)fprintf(to, " %s", sim_profile_name((enum sim_profile)p));
    (void)fprintf(to,
                  "\nexit status: 0 pass, 1 safety, 2 liveness, 3 "
                  "nondeterminism, 4 crash, 5 inconclusive, %d usage\n",
                  SIM_EXIT_USAGE);
}

static bool asks_for_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static int execute(const struct sim_command *c, int argc, char **argv)
{
    int ret;

    if (c->simulates)
        sim_cli_guard();
    ret = c->run(argc, argv);
    if (c->simulates)
        sim_cli_guard_end();
    return ret;
}

int main(int argc, char **argv)
{
    const char *names[COMMANDS];

    /* What is freed is wanted again at once: it need not go back in between. */
    (void)mallopt(M_TRIM_THRESHOLD, KEPT_FREE);
    (void)mallopt(M_MMAP_THRESHOLD, KEPT_FREE);
    if (argc < 2) {
        help(stderr, NULL);
        return SIM_EXIT_USAGE;
    }
    if (asks_for_help(argv[1]) || strcmp(argv[1], "help") == 0) {
        help(stdout, NULL);
        return 0;
    }
    for (size_t i = 0; i < COMMANDS; i++) {
        names[i] = commands[i].name;
        if (strcmp(argv[1], names[i]) != 0)
            continue;
        if (argc < 3 || !asks_for_help(argv[2]))
            return execute(&commands[i], argc - 1, argv + 1);
        help(stdout, names[i]);
        return 0;
    }
    const char *near = args_nearest(argv[1], names, COMMANDS);
    (void)fprintf(stderr, "confmesh-sim: no such verb: %s%s%s\n", argv[1],
                  near != NULL ? "; did you mean " : "",
                  near != NULL ? near : "");
    return SIM_EXIT_USAGE;
}
