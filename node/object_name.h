/* Names of objects, and lists of them: the same for every kind of target.
 *
 * A name is checked before anybody builds a path, a URL or a line of a
 * protocol from it, so that no manifest or caller reaches outside. */
#ifndef NODE_OBJECT_NAME_H
#define NODE_OBJECT_NAME_H

#include <stdbool.h>

#include "crdt/base/buffer.h"
#include "crdt/base/error.h"

#define OBJECT_NAME_MAX 191      /* bytes */
#define OBJECT_LIST_MAX 1000000u /* names of one listing */

/* Names are components of [a-z0-9._-] joined by '/', none beginning with a dot.
 * prefix: may be empty and ends in a slash otherwise. 0, or CM_ERR_INVALID. */
int object_name_check(const char *name, bool prefix, struct cm_detail *detail);

struct object_list {
    char **names; /* owned, sorted; a directory's name ends in '/' */
    size_t count;
    size_t capacity;
};
/* Copies name, unless it begins with a dot (such are never ours) or has a NUL
 * in it. CM_ERR_LIMIT, CM_ERR_NOMEM. */
int object_list_add(struct object_list *l, struct slice name, bool directory);
void object_list_sort(struct object_list *l);
void object_list_release(struct object_list *l);

#endif
