/* The HTTP server of a node: docs/API.md over loopback TCP and Unix sockets.
 *
 * It runs on the loop that owns the node; nothing here waits for a disk. Each
 * listener is a libmicrohttpd daemon without a thread of its own, whose epoll
 * descriptor the loop polls. */
#ifndef NODE_HTTP_SERVER_H
#define NODE_HTTP_SERVER_H

#include <uv.h>

#include "crdt/base/error.h"
#include "node/node.h"

#define HTTP_LISTENERS_MAX 8
#define HTTP_CONNECTIONS_MAX 17000    /* per listener */
#define HTTP_CONNECTION_MEMORY 8192   /* header bytes; beyond: 431 */
#define HTTP_HEADER_DEADLINE_MS 10000 /* from its first line to its end */
#define HTTP_BODY_DEADLINE_MS 60000   /* from the header's end */
#define HTTP_IDLE_DEADLINE_MS 75000   /* between two requests */

struct http_server;

/* loop and node are borrowed and outlive the server. Takes the node's commit
 * listener. CM_ERR_NOMEM, CM_ERR_IO. */
int http_server_create(struct http_server **ret, uv_loop_t *loop,
                       struct node *node, struct cm_detail *detail);
/* where: "HOST:PORT" (numeric or localhost, loopback only, port 0 = any free
 * one) or "unix:PATH" (mode 0600; a dead socket file is replaced).
 * CM_ERR_INVALID, CM_ERR_AUTHORITY (not loopback), CM_ERR_LOCKED (socket or
 * port in use), CM_ERR_LIMIT, CM_ERR_IO. */
int http_server_listen(struct http_server *s, const char *where,
                       struct cm_detail *detail);
/* The TCP port of the index-th listen call (0, 1, …); 0 for Unix sockets. */
uint16_t http_server_port(const struct http_server *s, unsigned index);
/* Shorter deadlines, for tests; 0 leaves one as it is. Before listening. */
void http_server_set_deadlines(struct http_server *s, uint64_t header_ms,
                               uint64_t body_ms, uint64_t idle_ms);
/* Closes all connections and sockets at once and removes the socket files.
 * Answers of the node that come later are dropped safely. The memory goes when
 * the loop has closed the handles: run it until then. NULL is fine. */
void http_server_free(struct http_server *s);

#endif
