/* Marks: which of the named places (crdt/base/mark.h) the runs came by.
 *
 * Counted in memory that child processes share, so that a run in a child
 * counts, and a crash takes nothing back. In a build without marks there is
 * nothing to count, and nothing is missed. */
#ifndef SIM_MARKS_H
#define SIM_MARKS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define SIM_MARKS_MAX 1024

/* Whether this build has marks. */
bool sim_marks_built(void);
/* Before the first child is made. CM_ERR_NOMEM. */
int sim_marks_start(void);
unsigned sim_marks_count(void); /* different names */
uint64_t sim_marks_hits(const char *name);
/* One line for each mark, with its hits; those never hit last. Returns how many
 * those are, but for the ones that no plan can lead to yet. out may be NULL. */
unsigned sim_marks_report(FILE *out);

#endif
