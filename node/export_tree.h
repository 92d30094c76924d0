/* Writes keys and values as files below a directory, and nothing outside of
 * it: a key is data of whoever may write it, so it never chooses a path that
 * leads out (".." or through a symlink), and a file that is there already
 * stays unless force says otherwise. Each file appears whole or not at all. */
#ifndef NODE_EXPORT_TREE_H
#define NODE_EXPORT_TREE_H

#include <stdbool.h>

#include "crdt/base/buffer.h"
#include "crdt/base/error.h"

/* Whether the path can be a file: no empty, "." or ".." part, no slash at
 * either end, no part over 255 bytes. CM_ERR_INVALID with detail. */
int export_tree_check(struct slice path, struct cm_detail *detail);
/* Whether the file is absent; CM_ERR_EXISTS with detail if not. */
int export_tree_check_absent(int directory_fd, struct slice path,
                             struct cm_detail *detail);
/* Writes one file, making the directories in between. path was checked. What
 * replaces a file (force) is on disk when it returns; new files are after
 * export_tree_sync, which is a hundred times cheaper than one by one.
 * CM_ERR_EXISTS (without force), CM_ERR_IO, CM_ERR_FULL with detail. */
int export_tree_write(int directory_fd, struct slice path, struct slice content,
                      bool force, struct cm_detail *detail);

/* CM_ERR_IO, CM_ERR_FULL with detail. */
int export_tree_sync(int directory_fd, struct cm_detail *detail);

#endif
