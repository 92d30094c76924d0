#include "crdt/base/alloc.h"

#include <stdbool.h>
#include <stdlib.h>

static _Thread_local uint64_t fail_countdown;

void cm_alloc_fail_after(uint64_t n)
{
    fail_countdown = n;
}

uint64_t cm_alloc_fail_left(void)
{
    return fail_countdown;
}

static bool fails_now(void)
{
    if (fail_countdown == 0)
        return false;
    return --fail_countdown == 0;
}

void *cm_alloc(size_t size)
{
    return fails_now() ? NULL : malloc(size > 0 ? size : 1);
}

void *cm_calloc(size_t count, size_t size)
{
    return fails_now() ? NULL : calloc(count > 0 ? count : 1, size);
}

void *cm_realloc(void *pointer, size_t size)
{
    return fails_now() ? NULL : realloc(pointer, size > 0 ? size : 1);
}

void cm_free(void *pointer)
{
    free(pointer);
}
