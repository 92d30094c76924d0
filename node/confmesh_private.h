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
    struct datadir *datadir;
    uint8_t host[DATADIR_HOST_SIZE];
    struct store *store;
    struct uv_ports *ports;
    struct node *node; /* the loop's */
    bool was_ready;    /* when opened */
    void (*closing)(void *ctx);
    void *closing_ctx;
    void (*failed)(void *ctx, const char *reason);
    void *failed_ctx;

    uv_mutex_t mutex; /* guards what follows */
    uv_cond_t changed;
    struct call *calls;
    bool running;
    bool ready;
    bool has_failed;
    uint64_t revision;
    char reason[256];
};

/* Remembers the sentence for confmesh_error and returns error. */
int confmesh_fail(int error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
