/* HTML data: a run's trace, boiled down to what a timeline shows.
 *
 * Takes the text lines of a trace (trace.h) one by one, as they are written by
 * a run in another process, so that a run that crashes has a timeline too. What
 * is kept is bounded, however long the run: states and messages are gathered in
 * slices of time; single messages are thinned out evenly, apart from the last
 * ones, which are those before the violation. */
#ifndef SIM_HTML_DATA_H
#define SIM_HTML_DATA_H

#include "sim/plan.h"

#define SIM_HTML_SLICES 2400 /* of time; a state change counts once in each */
#define SIM_HTML_ARROWS_MAX 24000
#define SIM_HTML_LAST_MAX 6000         /* messages kept whole, before the end */
#define SIM_HTML_STATES_MAX 65536      /* different digests with a colour */
#define SIM_HTML_DOWN UINT32_MAX       /* state of a host that is not running */
#define SIM_HTML_NONE (UINT32_MAX - 1) /* running, nothing committed yet */

/* From at_ms on the host shows this state. */
struct sim_html_change {
    int64_t at_ms; /* since the plan's time 0; before it: negative */
    uint32_t state;
};

struct sim_html_lane {
    struct sim_html_change *changes; /* owned; by time */
    size_t count;
    size_t capacity;
    uint64_t messages[SIM_HTML_SLICES]; /* received */
    uint64_t commits;
    unsigned power_cuts;
    uint32_t state; /* now */
    uint32_t kept;  /* before it went down */
};

/* A datagram that arrived. */
struct sim_html_arrow {
    int64_t at_ms;
    uint16_t from, to;
};

struct sim_html_data {
    unsigned nodes;
    int64_t begin_ms, end_ms; /* of the run, as time 0 is the plan's */
    uint64_t start_us;        /* of the plan's time 0, in the trace's time */
    uint64_t slice_ms;
    struct sim_html_lane *lanes; /* owned */
    uint64_t *states;            /* owned; names of digests, a hash table */
    uint32_t *state_numbers;     /* owned; in the order of appearance */
    uint32_t states_count;
    struct sim_html_arrow *arrows; /* owned; one of every arrows_stride */
    size_t arrows_count;
    uint64_t arrows_stride;
    struct sim_html_arrow *last; /* owned; a ring of the last messages */
    uint64_t messages;           /* all */
    uint64_t lines, lines_strange;
    unsigned receiver; /* of the event that is running */
};

/* For a run of plan: its time 0 is start_us of the trace's time, its end at
 * most end_us. CM_ERR_NOMEM; then there is nothing to release. */
int sim_html_data_init(struct sim_html_data *d, const struct sim_plan *plan,
                       uint64_t start_us, uint64_t end_us);
void sim_html_data_release(struct sim_html_data *d);
/* One line, with or without its newline. Lines that are no trace's are counted
 * and left out. CM_ERR_NOMEM. */
int sim_html_data_line(struct sim_html_data *d, const char *line);

/* The state of a host at a time. */
uint32_t sim_html_data_state(const struct sim_html_lane *lane, int64_t at_ms);
/* Slice of a time; the first and the last take what lies beyond. */
size_t sim_html_data_slice(const struct sim_html_data *d, int64_t at_ms);

#endif
