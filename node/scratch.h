/* Directories that live as long as one piece of work, beside what it makes. */
#ifndef NODE_SCRATCH_H
#define NODE_SCRATCH_H

#include <limits.h>

#include "crdt/base/error.h"

#define SCRATCH_PATH_SIZE (PATH_MAX + 32)
#define SCRATCH_STAGE "stage" /* the usual what */

/* BASE.WHAT-xxxxxxxx, a name that nobody uses. */
void scratch_path(char ret_path[SCRATCH_PATH_SIZE], const char *base,
                  const char *what);
/* The same, made, with mode 0700. CM_ERR_IO with detail. */
int scratch_make(char ret_path[SCRATCH_PATH_SIZE], const char *base,
                 const char *what, struct cm_detail *detail);
/* The directory and the files in it; nothing nests. */
void scratch_remove(const char *path);
/* Those in dir that a crash has left, of SCRATCH_STAGE. Only while nobody else
 * works there. */
void scratch_sweep(const char *dir);

#endif
