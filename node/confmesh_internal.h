/* What the daemon needs of the library beyond its public header: the loop,
 * to serve HTTP on it. Functions that say "on the loop" run there. */
#ifndef NODE_CONFMESH_INTERNAL_H
#define NODE_CONFMESH_INTERNAL_H

#include <uv.h>

#include "node/confmesh.h"
#include "node/node.h"

/* Runs on the loop's thread; the caller waits for its return. Fails with
 * CM_ERR_CLOSED when the loop has ended. */
typedef int (*confmesh_task)(void *ctx);
int confmesh_on_loop(struct confmesh *c, confmesh_task task, void *ctx);
uv_loop_t *confmesh_loop(struct confmesh *c); /* on the loop */
struct node *confmesh_node(struct confmesh *c);
/* Called on the loop before the node stops, so that what uses it goes first.
 * To be set on the loop. */
void confmesh_set_closing(struct confmesh *c, void (*closing)(void *ctx),
                          void *ctx);
/* Called on the loop, once, if joining fails, or has failed, for good; it must
 * not call back into the library. To be set on the loop. */
void confmesh_set_failed(struct confmesh *c,
                         void (*failed)(void *ctx, const char *reason),
                         void *ctx);
struct address confmesh_address(const struct confmesh *c);

#endif
