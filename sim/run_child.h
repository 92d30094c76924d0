/* Run in a child: a plan executed in a process of its own.
 *
 * Production code may crash, hang or run out of memory on a plan; then that is
 * what was found, with its stack, and the parent goes on. A child's standard
 * error is kept (sanitizers and failed CHECKs write there). */
#ifndef SIM_RUN_CHILD_H
#define SIM_RUN_CHILD_H

#include <sys/types.h>

#include "sim/run.h"

#define SIM_CHILD_CPU_S 300 /* by default; more is inconclusive */
#define SIM_CHILD_OUTPUT_MAX (256u << 10)

struct sim_child_options {
    unsigned cpu_s; /* processor time that it may take; 0: the default */
    /* Heap filled and laid out differently, other environment and locale: what
     * a run must not depend on. */
    bool elsewhere;
    /* Nobody looks on (run.h), unless LMDB may die of a look: its trace is all
     * that is asked for. */
    bool unjudged;
    uint64_t stop_us; /* see run.h */
    FILE *log;        /* of the nodes; stderr is not kept then */
    FILE *trace;      /* every event as text */
    FILE *links;      /* see run.h */
    sim_run_observer observer;
    void *observer_ctx; /* what it writes must be shared, or a file */
};

struct sim_child {
    pid_t pid;  /* 0: none */
    int output; /* its standard error, in memory; -1: not kept */
    struct sim_child_shared *shared;
    unsigned nodes;
};

/* Starts one; plan is only needed until this returns. CM_ERR_IO with detail. */
int sim_child_start(struct sim_child *ret_child, const struct sim_plan *plan,
                    const struct sim_child_options *options,
                    struct cm_detail *detail);
/* After waitpid gave status: what came of it; removes what a crash left. The
 * text of its standard error is appended to ret_output (may be NULL). */
void sim_child_finish(struct sim_child *c, int status,
                      struct sim_run_result *ret_result,
                      struct buffer *ret_output);
/* Ends it and forgets it. */
void sim_child_kill(struct sim_child *c);

/* Starts one and waits for it. */
int sim_child_run(const struct sim_plan *plan,
                  const struct sim_child_options *options,
                  struct sim_run_result *ret_result, struct buffer *ret_output,
                  struct cm_detail *detail);

#endif
