/* Trace: a hash chain over everything that happens in a run.
 *
 * Two runs are the same run if and only if their chains end alike. The links
 * of the chain are kept, so that the first event in which two runs differ can
 * be named, and can be written out as text to be looked at. Only values that
 * mean something in the simulated world are folded in: never a pointer, a
 * process id or a real time. */
#ifndef SIM_TRACE_H
#define SIM_TRACE_H

#include <stdio.h>

#include "crdt/base/hash.h"

/* Links kept for finding the first difference; later ones only fold. */
#define SIM_TRACE_LINKS_MAX (1u << 22)
#define SIM_TRACE_SAME UINT64_MAX

struct sim_trace {
    struct hash chain; /* the first 16 bytes are used */
    uint64_t count;    /* events folded */
    uint64_t *links;   /* owned; first 64 bits of the chain after each event */
    size_t capacity;   /* links allocated */
    FILE *text;        /* borrowed; NULL: nothing is written */
};

void sim_trace_init(struct sim_trace *t);
void sim_trace_release(struct sim_trace *t);
/* kind is a short name; payload may be empty. */
void sim_trace_fold(struct sim_trace *t, uint64_t at_us, const char *kind,
                    unsigned node, uint64_t number, struct slice payload);
/* Number of the first event that differs, counted from 0, or SIM_TRACE_SAME. */
uint64_t sim_trace_difference(const struct sim_trace *a,
                              const struct sim_trace *b);

#endif
