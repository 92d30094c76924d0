/* The libuv side of a node's ports: one loop, one UDP and one TCP socket, the
 * writer's thread and the work lanes' threads.
 *
 * Threads: the loop's thread owns the node and everything here but the queues.
 * The writer's thread runs writer_commit on what has gathered while the last
 * commit synced; a lane's thread runs the steps of its works. Results come
 * back through one uv_async. */
#ifndef NODE_UV_PORTS_H
#define NODE_UV_PORTS_H

#include <uv.h>

#include "node/node.h"

struct uv_ports;

typedef void (*uv_log_sink)(void *ctx, char level, const char *text);

/* Binds UDP and TCP to bind ("HOST:PORT"; port 0: any, the same for both).
 * log lines go to sink, on the loop's thread. On failure *ret_ports, if it was
 * set, still has to be stopped and freed. */
int uv_ports_create(struct uv_ports **ret_ports, uv_loop_t *loop,
                    const char *bind, uv_log_sink sink, void *sink_ctx,
                    struct cm_detail *detail);
/* The address that was bound. */
struct address uv_ports_address(const struct uv_ports *p);
/* For node_create. */
const struct node_ports *uv_ports_ports(struct uv_ports *p);
/* From here on inputs go to the node. */
void uv_ports_attach(struct uv_ports *p, struct node *n, struct store *s,
                     const uint8_t sign_secret_key[64], uint32_t format_level);
/* Gives the writer's thread its writer (a joiner has none at first); taken. */
int uv_ports_start_writer(struct uv_ports *p, struct writer *w);
/* Finishes what was submitted, stops the threads, closes sockets and handles.
 * The loop has to run once more before _free. Nothing reaches the node after.
 */
void uv_ports_stop(struct uv_ports *p);
void uv_ports_free(struct uv_ports *p);

#endif
