/* The command line confmesh-sim: what its verbs share. Each verb is a file. */
#ifndef SIM_CLI_CLI_H
#define SIM_CLI_CLI_H

#include <jansson.h>

#include "node/args.h"
#include "sim/expand.h"
#include "sim/run_child.h"

#define SIM_EXIT_USAGE 64
#define SIM_CLI_NODES_MIN 2 /* one alone has nobody to lose touch with */

struct sim_command {
    const char *name;
    const char *arguments; /* for the help */
    const char *summary;
    /* argv[0] is the verb. Returns an exit code (enum sim_outcome, or
     * SIM_EXIT_USAGE after a line that says why). */
    int (*run)(int argc, char **argv);
    bool simulates; /* it makes worlds */
};

/* run was told to stop; it and its children have. */
bool sim_cli_interrupted(void);

int sim_command_run(int argc, char **argv);
int sim_command_replay(int argc, char **argv);
int sim_command_expand(int argc, char **argv);
int sim_command_bench(int argc, char **argv);
int sim_command_shrink(int argc, char **argv);
int sim_command_trace(int argc, char **argv);
int sim_command_marks(int argc, char **argv);

/* Sees to it that nothing is left of this program's worlds when it has ended,
 * whatever ended it; before the first of them. */
void sim_cli_guard(void);
/* They are gone. */
void sim_cli_guard_end(void);

/* Says on standard error what is wrong; SIM_EXIT_USAGE. */
int sim_cli_usage(const char *verb, const char *text);

/* Where a plan comes from; flags --profile and --nodes. */
struct sim_cli_source {
    enum sim_profile profile;
    unsigned nodes; /* 0: drawn */
};
/* From the flags' table, in which both may be missing. */
int sim_cli_source_read(struct sim_cli_source *ret,
                        const struct args_flag *flags, size_t flags_count,
                        struct cm_detail *detail);
/* name's number from low to high; text NULL: it keeps *ret. CM_ERR_INVALID with
 * detail. */
int sim_cli_number(uint64_t *ret, const char *text, uint64_t low, uint64_t high,
                   const char *name, struct cm_detail *detail);
/* Decimal, or hexadecimal after 0x. */
bool sim_cli_seed(const char *text, uint64_t *ret_seed);
/* word is a seed or a file. */
int sim_cli_plan(struct sim_plan *ret, const char *word,
                 const struct sim_cli_source *source, struct cm_detail *detail);

/* One line on standard output; takes o. */
void sim_cli_json(json_t *o);
/* Likewise: what a run of the seed or plan called name came to. */
void sim_cli_json_result(const char *name, const struct sim_cli_source *source,
                         const struct sim_run_result *r);
/* How often each invariant was looked at; names of these deeds. */
json_t *sim_cli_evaluated(const uint64_t evaluated[SIM_CHECK_INVARIANTS]);
json_t *sim_cli_kinds(uint64_t kinds);
/* One line: what was violated, in words, where and when; nothing if it
 * passed. */
void sim_cli_tell(FILE *to, const struct sim_run_result *r);
/* A child's standard error, its stack with names of functions and lines. */
void sim_cli_tell_output(FILE *to, struct buffer *output);
/* Runs plan here and elsewhere (run_child.h) and finds the first event in
 * which they differ; appended to out as text. Nothing if they do not. */
void sim_cli_difference(const struct sim_plan *plan, struct buffer *out);

#endif
