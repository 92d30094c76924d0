/* Workload: the clients of a simulated mesh.
 *
 * Each line of a plan that is no fault is one request to one host, made as the
 * daemon makes it: an intent through node_submit, a snapshot through
 * node_snapshot_now, a watch through the store's change log. What a line leaves
 * open (a value's bytes) follows from its id; what it has read before it
 * writes (a version, a revoke) from that host's replica at that instant. */
#ifndef SIM_WORKLOAD_H
#define SIM_WORKLOAD_H

#include "crdt/base/buffer.h"
#include "sim/plan.h"

#define SIM_WORKLOAD_KEY_MAX 48

/* The key that a line writes to; of a transaction its number-th. */
void sim_workload_key(const struct sim_plan_line *l, unsigned number,
                      char ret_key[SIM_WORKLOAD_KEY_MAX]);
/* The element of a line about a set; "" of others. */
void sim_workload_element(const struct sim_plan_line *l,
                          char ret_element[SIM_WORKLOAD_KEY_MAX]);
/* The value that a line writes: it names the line, and has the line's size if
 * the name leaves room. */
void sim_workload_value(const struct sim_plan_line *l, struct buffer *out);

#endif
