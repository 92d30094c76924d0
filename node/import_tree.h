/* Reads a directory tree as keys and values: every regular file becomes the
 * key of its path below the directory. Follows no symlink, so that a tree
 * cannot make the importer read what lies outside of it. */
#ifndef NODE_IMPORT_TREE_H
#define NODE_IMPORT_TREE_H

#include "crdt/base/buffer.h"
#include "crdt/base/error.h"

#define IMPORT_TREE_DEPTH_MAX 64

struct import_tree_visitor {
    void *ctx;
    /* A file, in byte order of names within each directory. path and content
     * live until it returns. Not 0 stops the walk and is returned. */
    int (*file)(void *ctx, struct slice path, struct slice content);
    /* What was left out, and why in words. path may be no UTF-8. */
    void (*skipped)(void *ctx, struct slice path, const char *reason);
};

/* Paths longer than path_size_max are skipped, and files larger than
 * VALUE_SIZE_MAX. CM_ERR_NOT_FOUND or CM_ERR_IO with detail if the directory
 * itself cannot be read; CM_ERR_NOMEM. */
int import_tree_walk(const char *directory, size_t path_size_max,
                     const struct import_tree_visitor *visitor,
                     struct cm_detail *detail);

#endif
