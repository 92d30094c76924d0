/* How the last life of a data directory ended.
 *
 * A file that is there while a process has the store open, and stays behind
 * when it dies: by a signal of LMDB's own, for the pages of data.mdb are
 * damaged, or by a power cut, after which a disk that lied about its syncs may
 * hold anything. Whoever starts then looks at the pages first, so that no
 * store kills its process twice. After an orderly end nobody has to look. */
#ifndef NODE_HEAL_START_H
#define NODE_HEAL_START_H

#include <stdint.h>

#include "crdt/base/error.h"

#define HEAL_RUNNING_NAME "running"

/* Before the store of dir is opened. map_size as in store_open.
 * CM_ERR_DAMAGED, with detail: the last process died, and the pages are not
 * sound: LMDB must not be let near them; heal_recover is what can be done.
 * CM_ERR_NOMEM. */
int heal_start(const char *dir, uint64_t map_size, struct cm_detail *detail);
/* After it was closed, sound as far as anybody knows. */
void heal_end(const char *dir);

#endif
