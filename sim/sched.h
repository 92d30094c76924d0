/* Scheduler: virtual time. One heap of events, ordered by (time, sequence
 * number), so that events of one instant run in the order in which they were
 * asked for. Time stands still while an event runs and jumps to the next one
 * after it; nothing ever waits. Every event that runs is folded into the
 * trace. */
#ifndef SIM_SCHED_H
#define SIM_SCHED_H

#include "sim/trace.h"

#define SIM_EVENTS_MAX (1u << 22) /* in the heap at once */

/* May schedule, cancel and free any event, itself included. */
typedef void (*sim_event_run)(void *context);

/* Embedded in what it is about; the scheduler borrows it while queued. */
struct sim_event {
    uint64_t at_us;
    uint64_t sequence;
    size_t place; /* in the heap, from 1; 0: not queued */
    const char *kind;
    unsigned node;
    sim_event_run run;
    void *context;
};

/* What the heap is ordered by stands in it: to compare two events takes no
 * look at either. */
struct sim_sched_slot {
    uint64_t at_us;
    uint64_t sequence;
    struct sim_event *event; /* borrowed */
};

struct sim_sched {
    struct sim_sched_slot *heap; /* owned */
    size_t count;
    size_t capacity;
    uint64_t now_us;
    uint64_t sequence;
    struct sim_trace trace;
};

void sim_sched_init(struct sim_sched *s);
void sim_sched_release(struct sim_sched *s); /* events left are forgotten */

/* Fills in what stays the same from one use of the event to the next. kind is
 * a static string of at most 16 bytes. */
void sim_event_init(struct sim_event *e, const char *kind, unsigned node,
                    sim_event_run run, void *context);
/* Runs e at that time, or now if it has passed. Moves it if it is queued. */
void sim_sched_at(struct sim_sched *s, struct sim_event *e, uint64_t at_us);
void sim_sched_after(struct sim_sched *s, struct sim_event *e,
                     uint64_t delay_us);
void sim_sched_cancel(struct sim_sched *s, struct sim_event *e);
/* Runs the next event; false if there is none, or none until limit_us (then
 * now is limit_us). */
bool sim_sched_step(struct sim_sched *s, uint64_t limit_us);
/* Folds something into the trace that happened within the running event. */
void sim_sched_note(struct sim_sched *s, const char *kind, unsigned node,
                    uint64_t number, struct slice payload);

#endif
