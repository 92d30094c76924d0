/* Memory of the simulator: see memory.h. */
#include "sim/memory.h"

#include <limits.h>
#include <malloc.h>
#include <stdlib.h>

#include "crdt/base/check.h"

#define GROWTH (4 << 20) /* of the heap at a time, in bytes */

void *sim_alloc(size_t size)
{
    void *p = malloc(size > 0 ? size : 1);

    CHECK(p != NULL);
    return p;
}

void *sim_calloc(size_t count, size_t size)
{
    void *p = calloc(count > 0 ? count : 1, size > 0 ? size : 1);

    CHECK(p != NULL);
    return p;
}

void *sim_realloc(void *pointer, size_t size)
{
    void *p = realloc(pointer, size > 0 ? size : 1);

    CHECK(p != NULL);
    return p;
}

void sim_free(void *pointer)
{
    free(pointer);
}

void sim_memory_hold(void)
{
    /* Sanitizers have heaps of their own and take no notice. */
    (void)mallopt(M_MMAP_MAX, 0);
    (void)mallopt(M_TRIM_THRESHOLD, INT_MAX);
    (void)mallopt(M_TOP_PAD, GROWTH);
}
