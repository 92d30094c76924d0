/* What prunes mean to delete (snapshot_prune.h): the names in the lists under
 * "v1/<mesh id>/t/" of a target.
 *
 * An upload relies on nothing that is marked: it looks before it begins and
 * once more right before its manifest. What is not marked then can only be
 * marked later, and is deleted a grace period after that at the earliest, by a
 * prune that looks at all manifests again: by then the upload's is there. So
 * nothing that a manifest names is ever deleted, however long its upload took,
 * if only the grace period is longer than the putting of one manifest. */
#ifndef NODE_SNAPSHOT_MARKS_H
#define NODE_SNAPSHOT_MARKS_H

#include "crdt/certificate.h"
#include "node/object_store.h"

#define SNAPSHOT_MARKS_MAX (32u << 20) /* bytes of one list */

struct snapshot_marks {
    struct object_list names; /* sorted */
};

/* Release in any case. CM_ERR_IO and the like, CM_ERR_NOMEM. */
int snapshot_marks_load(struct snapshot_marks *ret_marks,
                        struct object_store *store, const struct mesh_id *mesh,
                        struct cm_detail *detail);
bool snapshot_marks_have(const struct snapshot_marks *m, const char *name);
/* The names of one list; slices of text are copied. CM_ERR_NOMEM. */
int snapshot_marks_read(struct object_list *to, struct slice text);
void snapshot_marks_release(struct snapshot_marks *m);

#endif
