/* Whether a data.mdb is what LMDB takes for granted: the shape of its pages.
 *
 * LMDB follows what its pages say. Where a bit of one has rotted, or a disk
 * that lied about a sync lost half of a commit, it answers wrongly, writes over
 * what is in use, or kills its process; each next start would die again. So the
 * file is looked through without LMDB, by code that believes nothing: after an
 * end that was not orderly, before it is opened, and at the end of each scrub.
 *
 * What is looked at: the newer meta page; of both trees (the records, and the
 * pages that are free) every page: that it is the one that was meant, of the
 * right kind and depth, its nodes within it, side by side, in order and
 * within what its parent says; pages that two things claim; the tree's own
 * counts. What the records say is no matter of this: each has a checksum. */
#ifndef NODE_STORE_CHECK_H
#define NODE_STORE_CHECK_H

#include <stdint.h>

#include "crdt/base/error.h"

/* Of the newest commit. */
#define STORE_CHECK_NEWEST UINT64_MAX

/* fd: of data.mdb, readable; nothing is written, and its position stays. txn is
 * LMDB's number of the commit to be looked at, whose pages nobody may write
 * over meanwhile (a reader holds it, or nobody has it open). map_size in bytes
 * is the store's. CM_ERR_DAMAGED with detail (where, what), CM_ERR_IO,
 * CM_ERR_NOMEM. An empty file is sound. */
int store_check_file(int fd, uint64_t map_size, uint64_t txn,
                     struct cm_detail *detail);
struct store;
/* The same of an open one, of whichever commit is the newest. Any thread. */
int store_check_open(struct store *s, struct cm_detail *detail);
/* The newest commit of dir's data.mdb, which nobody has open; 0 when there is
 * none. map_size 0: the default (store.h). */
int store_check_dir(const char *dir, uint64_t map_size,
                    struct cm_detail *detail);

#endif
