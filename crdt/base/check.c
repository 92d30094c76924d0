#include "crdt/base/check.h"

#include <stdio.h>
#include <stdlib.h>

void cm_check_failed(const char *expression, const char *file, int line)
{
    fprintf(stderr, "confmesh: invariant violated: %s at %s:%d\n", expression,
            file, line);
    abort();
}
