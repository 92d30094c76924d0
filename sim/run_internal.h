/* What the parts of a run share. run.c leads, run_hosts.c powers hosts on and
 * lets them join, run_faults.c does what lines of the plan say, workload.c is
 * the clients. */
#ifndef SIM_RUN_INTERNAL_H
#define SIM_RUN_INTERNAL_H

#include "sim/run.h"

/* One line of the plan, while it runs. */
struct sim_run_deed {
    struct sim_run *run;
    const struct sim_plan_line *line; /* borrowed from the plan */
    struct sim_event event;           /* its beginning, then its end */
    bool active;                      /* it keeps hosts down */
    bool closed; /* the client of an operation has got its answer */
};

/* A host as its operator sees it. */
struct sim_run_host {
    unsigned holds;       /* deeds that keep it down */
    bool wanted;          /* it is to be a member */
    bool asked;           /* a token is being made for it */
    bool ready;           /* it was, since its disk was last empty */
    uint64_t up_since_us; /* while it is up */
    unsigned boots_failed;
};

struct sim_run {
    const struct sim_plan *plan; /* borrowed */
    struct sim_run_options options;
    struct sim_world *world;
    struct sim_run_result *result; /* borrowed */
    struct sim_run_deed *deeds;    /* owned, one for each line */
    struct sim_run_host hosts[SIM_PLAN_HOSTS_MAX];
    struct sim_event keeper;
    char objects[SIM_HOST_PATH_MAX]; /* where snapshots go */
    bool over;                       /* it has failed: nothing follows */
};

/* ---- run.c ---- */

/* The run ends here; only the first call counts. */
void sim_run_fail(struct sim_run *r, enum sim_outcome outcome,
                  const char *fingerprint, unsigned host, const char *format,
                  ...) __attribute__((format(printf, 5, 6)));

/* ---- run_hosts.c ---- */

enum sim_run_stop {
    SIM_RUN_POWER_CUT,
};

/* Founds the mesh and lets the plan's first members join. */
void sim_run_hosts_begin(struct sim_run *r);
/* The host is to be a member from now on. */
void sim_run_host_want(struct sim_run *r, unsigned host);
/* Ends it, if it is up, and keeps it down until it is released as often as it
 * was held. */
void sim_run_host_hold(struct sim_run *r, unsigned host, enum sim_run_stop how);
void sim_run_host_release(struct sim_run *r, unsigned host);
/* Node time of the hosts that are still up. */
void sim_run_hosts_account(struct sim_run *r);

/* ---- run_faults.c ---- */

void sim_run_deeds_schedule(struct sim_run *r);
/* Ends what troubles the core, and cuts it off from the others, which stay as
 * they are; then everything. */
void sim_run_heal_core(struct sim_run *r);
void sim_run_heal_all(struct sim_run *r);

/* ---- workload.c ---- */

void sim_workload_begin(struct sim_run_deed *d);

#endif
