/* The steps of shrinking: ways to make a plan a little smaller.
 *
 * A step numbers its proposals from 0. unit is the size of what is taken away
 * at once, where a step has sizes. Every proposal is strictly smaller, in what
 * the step is about, than the plan it was made from, so that taking proposals
 * over and over comes to an end. */
#ifndef SIM_SHRINK_STEP_H
#define SIM_SHRINK_STEP_H

#include "sim/run.h"

enum sim_step_answer {
    SIM_STEP_PROPOSED, /* *ret is a plan, to be released */
    SIM_STEP_NOTHING,  /* this number has none, a later one may */
    SIM_STEP_END,      /* nor has any later one */
    SIM_STEP_NOMEM,
};

/* from fails as result tells. */
typedef enum sim_step_answer (*sim_step)(const struct sim_plan *from,
                                         const struct sim_run_result *result,
                                         size_t unit, size_t index,
                                         struct sim_plan *ret);

/* Only one proposal: nothing happens after the violation. */
enum sim_step_answer sim_step_tail(const struct sim_plan *from,
                                   const struct sim_run_result *result,
                                   size_t unit, size_t index,
                                   struct sim_plan *ret);
/* Only one proposal: no faults at all. */
enum sim_step_answer sim_step_faults(const struct sim_plan *from,
                                     const struct sim_run_result *result,
                                     size_t unit, size_t index,
                                     struct sim_plan *ret);
/* Each deed, as a whole. */
enum sim_step_answer sim_step_deeds(const struct sim_plan *from,
                                    const struct sim_run_result *result,
                                    size_t unit, size_t index,
                                    struct sim_plan *ret);
/* unit lines that stand together. */
enum sim_step_answer sim_step_lines(const struct sim_plan *from,
                                    const struct sim_run_result *result,
                                    size_t unit, size_t index,
                                    struct sim_plan *ret);
/* unit hosts that stand together, never host 0; the others close up. */
enum sim_step_answer sim_step_hosts(const struct sim_plan *from,
                                    const struct sim_run_result *result,
                                    size_t unit, size_t index,
                                    struct sim_plan *ret);
/* Each fault of the network as it is without faults of the plan, and the
 * floors. */
enum sim_step_answer sim_step_packets(const struct sim_plan *from,
                                      const struct sim_run_result *result,
                                      size_t unit, size_t index,
                                      struct sim_plan *ret);
/* All pauses between lines, as far as they are longer than some bound. */
enum sim_step_answer sim_step_pace(const struct sim_plan *from,
                                   const struct sim_run_result *result,
                                   size_t unit, size_t index,
                                   struct sim_plan *ret);
/* The end, the beginning, and every pause between two lines. */
enum sim_step_answer sim_step_time(const struct sim_plan *from,
                                   const struct sim_run_result *result,
                                   size_t unit, size_t index,
                                   struct sim_plan *ret);
/* Hosts of one line, and its numbers. */
enum sim_step_answer sim_step_numbers(const struct sim_plan *from,
                                      const struct sim_run_result *result,
                                      size_t unit, size_t index,
                                      struct sim_plan *ret);

#endif
