/* Memory of the simulator itself: never short, and untouched by the failing
 * allocations that a fault gives to the production code (crdt/base/alloc.h). */
#ifndef SIM_MEMORY_H
#define SIM_MEMORY_H

#include <stddef.h>

/* None returns NULL: without memory there is no run, and the process ends. */
void *sim_alloc(size_t size);
void *sim_calloc(size_t count, size_t size);
void *sim_realloc(void *pointer, size_t size);
void sim_free(void *pointer);

/* From now on what this process frees stays in its heap. A run frees and
 * allocates the same large blocks again and again, and each page that malloc
 * gives back is a fault and a page to be cleared the next time. */
void sim_memory_hold(void);

#endif
