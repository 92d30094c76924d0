/* Ports: everything that a node needs from the world, each with exactly two
 * users, libuv (uv_*.c) and the simulator.
 *
 * Calls go out through a port and never call back into the node; what comes of
 * them arrives later as one of the node_on_… inputs of node.h. All of them
 * are called on the thread that owns the node. */
#ifndef NODE_PORT_H
#define NODE_PORT_H

#include "gossip/address.h"
#include "node/intent.h"
#include "node/upload_status.h"

struct clock_ops {
    uint64_t (*mono_ms)(void *ctx); /* never goes back */
    uint64_t (*wall_ms)(void *ctx); /* since 1970, may jump */
};

struct random_ops {
    void (*fill)(void *ctx, void *ret_bytes, size_t size);
};

struct timer_ops {
    /* One timer: node_on_timer is due at this monotonic time; replaces the
     * one before. */
    void (*arm)(void *ctx, uint64_t deadline_ms);
};

struct datagram_ops {
    void (*send)(void *ctx, const struct address *to, struct slice packet);
};

/* Byte streams. ids are the caller's for connect (greater than 0, counted up
 * from 1) and the port's for accepted ones (with STREAM_ACCEPTED set). */
#define STREAM_ACCEPTED (UINT64_C(1) << 63)
struct stream_ops {
    void (*connect)(void *ctx, uint64_t stream, const struct address *to);
    /* Takes a copy; node_on_stream_drained follows when it has been handed to
     * the kernel. At most one write per stream is under way. */
    void (*write)(void *ctx, uint64_t stream, struct slice bytes);
    /* No node_on_stream_… of this id follows. */
    void (*close)(void *ctx, uint64_t stream);
    /* Reading pauses while the node cannot take more. */
    void (*pause)(void *ctx, uint64_t stream, bool paused);
};

struct writer_ops {
    /* Queues the intent for the writer; CM_ERR_BUSY when the queue is full (the
     * intent stays the caller's). node_on_commit follows. */
    int (*submit)(void *ctx, struct intent *intent);
};

/* Work that takes a while: signature checks, scans, snapshots. */
struct work {
    struct work *next; /* the port's */
    /* On any thread; touches nothing of the node. Resumable: called again
     * while it returns true. */
    bool (*step)(struct work *w);
    /* On the node's thread, once, through node_on_work. */
    void (*done)(struct work *w);
    /* NULL, or: on another thread than a step that runs, when the lane stops:
     * the step, and every later one, should end soon. */
    void (*stop)(struct work *w);
    /* Works of one lane run in order, one at a time. */
    unsigned lane;
};
#define WORK_LANE_VERIFY 0   /* signatures, in order per origin */
#define WORK_LANE_SNAPSHOT 1 /* scans of the store; uploads on demand */
#define WORK_LANE_CUT 2      /* cuts: scanned, verified, compared */
/* From here on two of each target: what hangs or fails at one never keeps
 * another waiting, nor a long upload the small ones. */
#define WORK_LANE_UPLOAD 3
#define WORK_LANES (WORK_LANE_UPLOAD + 2 * UPLOAD_TARGETS_MAX)
struct work_ops {
    void (*submit)(void *ctx, struct work *w);
};

/* A line for the operator; no secrets. level: 'E', 'W', 'I', 'D'. */
struct log_ops {
    void (*line)(void *ctx, char level, const char *text);
};

struct node_ports {
    void *ctx;
    const struct clock_ops *clock;
    const struct random_ops *random;
    const struct timer_ops *timer;
    const struct datagram_ops *datagram;
    const struct stream_ops *stream;
    const struct writer_ops *writer;
    const struct work_ops *work;
    const struct log_ops *log;
};

#endif
