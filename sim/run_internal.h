/* What the parts of a run share: run.c leads, run_deeds.c makes events of the
 * plan's lines, workload.c is the clients. */
#ifndef SIM_RUN_INTERNAL_H
#define SIM_RUN_INTERNAL_H

#include "sim/run.h"

/* One line of the plan, while it runs. */
struct sim_run_deed {
    struct sim_run *run;
    const struct sim_plan_line *line; /* borrowed from the plan */
    struct sim_event event;
    bool closed; /* the client of an operation has got its answer */
    struct sim_check_watch *watch; /* the check's; polled at event */
    uint64_t until_us;             /* that the client watches */
    bool waits;                    /* it has written, and waits for members */
    struct dot dot;                /* what it waits for */
    struct sim_check_wait *wait;   /* the check's, while it does */
};

struct sim_run {
    const struct sim_plan *plan; /* borrowed */
    struct sim_run_options options;
    struct sim_world *world;
    struct sim_run_result *result; /* borrowed */
    struct sim_run_deed *deeds;    /* owned, one for each line */
    uint64_t founding_us; /* that hosts were up before the plan's time 0 */
    char objects[SIM_HOST_PATH_MAX]; /* where snapshots go */
    bool over;                       /* it has failed: nothing follows */
};

/* ---- run.c ---- */

/* The run ends here; only the first call counts. */
void sim_run_fail(struct sim_run *r, enum sim_outcome outcome,
                  const char *fingerprint, unsigned host, const char *format,
                  ...) __attribute__((format(printf, 5, 6)));

/* ---- run_deeds.c ---- */

void sim_run_deeds_schedule(struct sim_run *r);
/* Ends what troubles the core, and cuts it off from the others, which stay as
 * they are; then everything. */
void sim_run_heal_core(struct sim_run *r);
void sim_run_heal_all(struct sim_run *r);

/* ---- workload.c ---- */

void sim_workload_begin(struct sim_run_deed *d);

#endif
