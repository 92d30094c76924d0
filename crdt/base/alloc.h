/* The allocator of every layer: never returns memory for a product that
 * overflows, and can be told to fail at the n-th call so that tests and the
 * simulator reach every out-of-memory branch. */
#ifndef CRDT_BASE_ALLOC_H
#define CRDT_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

/* Each returns NULL when memory is short; the caller frees with cm_free. */
void *cm_alloc(size_t size);                  /* not initialised */
void *cm_calloc(size_t count, size_t size);   /* zeroed, overflow-checked */
void *cm_realloc(void *pointer, size_t size); /* old block kept on failure */
void cm_free(void *pointer);                  /* NULL is fine */

/* Makes the n-th allocation of this thread from now on fail (1 = the next);
 * 0 switches that off. For tests. */
void cm_alloc_fail_after(uint64_t n);
uint64_t cm_alloc_fail_left(void); /* what is left of n; 0: switched off */

#endif
