/* The inside of an embedded node, shared by confmesh.c (life),
 * confmesh_read.c, confmesh_write.c and confmesh_watch.c. */
#ifndef NODE_CONFMESH_PRIVATE_H
#define NODE_CONFMESH_PRIVATE_H

#include "node/confmesh.h"
#include "node/datadir.h"
#include "node/node.h"
#include "node/uv_ports.h"

struct confmesh {
    uv_loop_t loop;
    uv_async_t async;
    uv_prepare_t prepare;
    uv_thread_t thread;
    bool has_loop;
    bool has_async;
    bool has_prepare;
    struct datadir *datadir;
    uint8_t host[DATADIR_HOST_SIZE];
    struct store *store;
    struct uv_ports *ports;
    struct node *node; /* the loop's */
    bool was_ready;    /* when opened */
    char *data; /* owned: the directory, once its store may have been opened */
    bool suspect; /* pages may be damaged: the next start has to look */
    void (*closing)(void *ctx);
    void *closing_ctx;
    void (*failed)(void *ctx, const char *reason);
    void *failed_ctx;

    uv_mutex_t mutex; /* guards what follows */
    uv_cond_t changed;
    struct call *calls;
    size_t users;   /* threads inside: close waits for them */
    size_t reads;   /* views that are open */
    size_t watches; /* with the owner, they keep this memory */
    bool closed;    /* by the owner: only watches may be left */
    bool running;
    bool ready;
    bool has_failed;
    uint64_t revision;
    char reason[256];
};

/* Around everything that touches c in a thread that is not the loop's, so that
 * close does not take it away from below. CM_ERR_CLOSED, with its sentence,
 * when the node is closing or has closed; then there is nothing to leave. */
int confmesh_enter(struct confmesh *c);
void confmesh_leave(struct confmesh *c);
/* A watch less; frees what close has left of c when it was the last. */
void confmesh_unwatch(struct confmesh *c);
/* On uv_hrtime's clock; far timeouts do not overflow. */
uint64_t confmesh_deadline(uint64_t timeout_ms);
/* Remembers the sentence for confmesh_error and returns error. */
int confmesh_fail(int error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
