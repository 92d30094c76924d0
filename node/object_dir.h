/* A directory as the place where snapshots live: immutable objects by name.
 *
 * put writes a temporary file beside the final name, syncs it, renames it and
 * syncs the directory, so that a name never shows half an object. */
#ifndef NODE_OBJECT_DIR_H
#define NODE_OBJECT_DIR_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "crdt/base/buffer.h"
#include "crdt/base/error.h"
#include "node/object_name.h"
#include "node/object_rate.h"

struct object_dir {
    char path[PATH_MAX];
    int fd;                      /* the directory, -1 when closed */
    struct object_rate *rate;    /* of what is written, or NULL; borrowed */
    _Atomic uint64_t *sent;      /* of the put under way, or NULL; borrowed */
    struct object_list later;    /* names that were put and not flushed */
    const atomic_bool *stopping; /* ends waiting for it, or NULL; borrowed */
};

/* target: a path, or file:PATH. Other schemes are refused (CM_ERR_INVALID).
 * create makes the directory and its parents; else CM_ERR_NOT_FOUND. */
int object_dir_open(struct object_dir *ret_dir, const char *target, bool create,
                    struct cm_detail *detail);
void object_dir_close(struct object_dir *d);
/* The directory that target names, within it; NULL: it names none. */
const char *object_dir_target_path(const char *target);
/* 0, or CM_ERR_INVALID with detail: what is neither a path nor file:PATH. */
int object_dir_target_check(const char *target, struct cm_detail *detail);

/* Names: see object_name.h. An object of that name is replaced (equal bytes:
 * nothing is written). Durable on success. CM_ERR_INVALID, CM_ERR_FULL,
 * CM_ERR_IO. */
int object_dir_put(struct object_dir *d, const char *name, struct slice bytes,
                   struct cm_detail *detail);
/* The same for many objects: not durable (and after a crash perhaps not whole)
 * until _flush, which waits for all that was put this way since the last one,
 * also where it was there already. Put what refers to them only then. */
int object_dir_put_later(struct object_dir *d, const char *name,
                         struct slice bytes, struct cm_detail *detail);
int object_dir_flush(struct object_dir *d, struct cm_detail *detail);
/* Into ret_bytes (cleared first), whose limit bounds the size.
 * CM_ERR_NOT_FOUND, CM_ERR_TOO_LARGE, CM_ERR_IO, CM_ERR_NOMEM. */
int object_dir_get(struct object_dir *d, const char *name,
                   struct buffer *ret_bytes, struct cm_detail *detail);

/* The names directly below prefix ("" or "a/b/"), without it. A prefix that
 * does not exist gives an empty list. Temporary files are left out. Release
 * after success only. */
int object_dir_list(struct object_dir *d, const char *prefix,
                    struct object_list *ret_list, struct cm_detail *detail);
/* Durable; a name that is not there is none the less deleted. */
int object_dir_delete(struct object_dir *d, const char *name,
                      struct cm_detail *detail);

#endif
