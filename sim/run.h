/* Run: one plan executed in one world, and judged.
 *
 * The mesh is founded and joined without faults; then the plan's lines happen
 * at their times, the invariants (check.h) looking on. When the duration is
 * over:
 *   1. the core is healed, what is outside of it stays or gets broken; within
 *      core_ms all of the core must show equal digests;
 *   2. everything is healed; within heal_ms all hosts must show them;
 *   3. at rest, the expensive invariants are checked.
 * A run that does not get there in the bound is a liveness failure; a broken
 * invariant ends it at once as a safety failure.
 *
 * One world at a time in a process, since libsodium's random bytes are one.
 * Production code may crash: callers that must not die run plans in a child
 * process (cli/). */
#ifndef SIM_RUN_H
#define SIM_RUN_H

#include "sim/plan.h"
#include "sim/trace.h"
#include "sim/world.h"

/* Exit codes of confmesh-sim too; the order is that of severity in reports. */
enum sim_outcome {
    SIM_PASS = 0,
    SIM_SAFETY = 1,
    SIM_LIVENESS = 2,
    SIM_NONDETERMINISM = 3,
    SIM_CRASH = 4,
    SIM_INCONCLUSIVE = 5, /* the run could not be made, or took too long */
};
const char *sim_outcome_name(enum sim_outcome o);

#define SIM_FINGERPRINT_SIZE 96
#define SIM_WORDS_SIZE 768

struct sim_run_result {
    enum sim_outcome outcome;
    /* What was violated, without times, hosts and values: two runs with equal
     * ones fail alike. Empty when it passed. */
    char fingerprint[SIM_FINGERPRINT_SIZE];
    char words[SIM_WORDS_SIZE]; /* for a person */
    uint64_t at_us;             /* of the violation; virtual, from creation */
    unsigned host;              /* SIM_PLAN_HOSTS_MAX: no one in particular */

    struct hash chain; /* of the trace */
    uint64_t events;
    uint64_t start_us; /* when the plan's time 0 was */
    uint64_t virtual_us;
    uint64_t node_us; /* summed over hosts that were up */
    unsigned nodes;
    uint64_t operations;
    uint64_t acknowledged;
    uint64_t refused;    /* condition false, revoked, full: as it should be */
    uint64_t unanswered; /* host down, or died before it answered */
    uint64_t watched;    /* changes that watches delivered */
    uint64_t snapshots;  /* taken, verified and restored */
    uint64_t faults;
    uint64_t deaths;                          /* of hosts, by LMDB: doom.h */
    uint64_t fault_kinds;                     /* bits of enum sim_deed */
    uint64_t core_us, heal_us;                /* what convergence took */
    uint64_t evaluated[SIM_CHECK_INVARIANTS]; /* how often each was looked at */
};

struct sim_run;
/* Looks on after every event; for timelines. */
typedef void (*sim_run_observer)(void *ctx, struct sim_run *run);

struct sim_run_options {
    /* Of the plan's time: what has not failed by then is not looked at any
     * longer, and inconclusive. 0: it runs to its end. */
    uint64_t stop_us;
    /* Nobody looks on, where the run does not depend on who does: everything
     * happens as it does else, and is in the trace, but what hosts hold and
     * answer is not judged. For the second of two runs that are compared. */
    bool unchecked;
    FILE *log;   /* lines of the nodes; borrowed, NULL: none */
    FILE *trace; /* every event as text, likewise */
    /* Chain links, for finding the first difference: 8 bytes each. */
    FILE *links;
    sim_run_observer observer;
    void *observer_ctx;
    /* The folder that the run works in is written here as soon as it exists
     * (SIM_HOST_PATH_MAX bytes, perhaps in memory shared with who cleans up
     * after a crash); NULL: nobody wants to know. */
    char *ret_directory;
};

/* Whether plans may have lines of this deed. */
bool sim_run_can(enum sim_deed d);

/* Executes plan (borrowed). 0 and a result, whatever the outcome; an error
 * only if there could be no run, with detail. options may be NULL. */
/* Whether LMDB may die of something in it: run it in a child then, which
 * sim_doom_watch watches (run_child.h does). */
bool sim_run_may_kill(const struct sim_plan *plan);
int sim_run_plan(const struct sim_plan *plan,
                 const struct sim_run_options *options,
                 struct sim_run_result *ret_result, struct cm_detail *detail);

/* For the parts of a run, and for observers. */
struct sim_world *sim_run_world(struct sim_run *r);
uint64_t sim_run_start_us(const struct sim_run *r);

#endif
