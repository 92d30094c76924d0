/* Shrink: a plan that fails becomes the least plan that fails alike.
 *
 * Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating
 * Failure-Inducing Input", TSE 2002), reduced to taking pieces away: whole
 * kinds of faults, hosts, runs of lines from long to short, packet faults,
 * time, and the numbers within a line. It works because a plan's lines are
 * independent: taking one away changes nothing that the others ask for.
 *
 * A smaller plan is kept if it fails with the same outcome and fingerprint, so
 * that one bug is never exchanged for another, and not much later than the best
 * one so far: what is not needed is found out by the time of the violation, and
 * neither healing nor rest is waited for. Running is the caller's: it is
 * given a few plans at a time and may run them beside each other. What comes
 * out is the same however many it is given, if no budget ends it. */
#ifndef SIM_SHRINK_H
#define SIM_SHRINK_H

#include "sim/run.h"

#define SIM_SHRINK_TRIALS_MAX 16 /* given to run at once */
#define SIM_SHRINK_RUNS_MAX 65536

/* One plan to be run. error: there was no run, the plan does not count. */
struct sim_shrink_trial {
    struct sim_plan plan;
    uint64_t stop_us; /* see run.h: what fails later does not count */
    struct sim_run_result result; /* by run */
    int error;                    /* by run */
};

struct sim_shrink_progress {
    const char *pass; /* what is being tried; static */
    uint64_t runs;
    uint64_t elapsed_ms;
    size_t lines, lines_before;
    unsigned nodes, nodes_before;
    uint64_t duration_ms, duration_before_ms;
};

struct sim_shrink_options {
    unsigned trials;    /* run at once, 1 to SIM_SHRINK_TRIALS_MAX */
    uint64_t budget_ms; /* of now_ms; 0: until nothing more goes */
    uint64_t runs_max;  /* 0: SIM_SHRINK_RUNS_MAX */

    void *ctx; /* of all that follow; borrowed */
    /* Runs count plans and fills in result and error of each. */
    void (*run)(void *ctx, struct sim_shrink_trial *trials, size_t count);
    /* What the budget is about, for instance the processor time that runs have
     * taken: never goes back. NULL: there is no budget of time. */
    uint64_t (*now_ms)(void *ctx);
    /* After every call of run; NULL: nobody listens. */
    void (*progress)(void *ctx, const struct sim_shrink_progress *p);
};

struct sim_shrink_report {
    struct sim_shrink_progress last;
    struct sim_run_result result; /* of the plan as it is now */
    bool exhausted;               /* the budget ended it */
};

/* Makes *plan smaller in place; it stays owned by the caller and is valid
 * whatever is returned. CM_ERR_CONDITION: the plan as given does not fail, or
 * fails differently from fingerprint (NULL: any failure is the one to keep);
 * result then says what it does. CM_ERR_NOMEM; and what run's error says of
 * the plan as given. */
int sim_shrink(struct sim_plan *plan, const char *fingerprint,
               const struct sim_shrink_options *options,
               struct sim_shrink_report *ret_report);

#endif
