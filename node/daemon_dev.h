/* A throwaway node: a temporary directory with a mesh of its own, whose
 * authority's key is forgotten at once.
 *
 * Whoever uses one holds a lock on it. What a killed one left is deleted by the
 * next throwaway node of the same user. */
#ifndef NODE_DAEMON_DEV_H
#define NODE_DAEMON_DEV_H

#include "crdt/base/error.h"
#include "node/daemon.h"

struct daemon_dev;

/* Deletes what killed ones left, founds the mesh and fills in options->data
 * (and bind, when not given). */
int daemon_dev_begin(struct daemon_dev **ret_dev,
                     struct daemon_options *options, struct cm_detail *detail);
/* Deletes what _begin made. NULL is fine. */
void daemon_dev_end(struct daemon_dev *dev);

#endif
