/* Memory of the simulator: see memory.h. */
#include "sim/memory.h"

#include <stdlib.h>

#include "crdt/base/check.h"

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
