/* Connection: one stream between two simulated nodes, seen from outside. It
 * belongs to net_stream.c, which finds it by (node, id). */
#ifndef SIM_CONNECTION_H
#define SIM_CONNECTION_H

#include "sim/net.h"

enum chunk_kind { CHUNK_OPEN = 1, CHUNK_ACCEPT, CHUNK_BYTES, CHUNK_END };

/* Something on its way from one end to the other, in order. */
struct chunk {
    struct chunk *next;
    enum chunk_kind kind;
    uint64_t arrives_us; /* not before */
    size_t size;         /* CHUNK_BYTES */
    uint8_t bytes[];
};

struct sim_connection;

/* One end of a connection, and what travels from it to the other. */
struct sim_end {
    struct sim_connection *connection;
    struct sim_end *next; /* in its node's list */
    struct sim_end *previous;
    unsigned node;
    uint64_t id;
    bool known;  /* the node has this id: it made it or was told it */
    bool open;   /* neither closed by the node nor reported closed to it */
    bool paused; /* by the node: takes no bytes */
    bool owed;   /* a drained is due for the last write */
    int error;   /* to be reported by fail */

    struct chunk *first; /* outgoing */
    struct chunk **last;
    size_t outgoing;          /* bytes in it */
    uint64_t last_arrival_us; /* of what was sent, so that order is kept */
    uint64_t stuck_since_us;  /* the first chunk cannot pass; 0: it can */
    uint64_t place;           /* for fates: of its own */
    uint64_t sent;            /* chunks, for fates */
    uint64_t portions;        /* delivered, for fates */
    struct sim_event deliver; /* of the first chunk, at the other end */
    struct sim_event drain;
    struct sim_event fail; /* this end learns of an error */
};

struct sim_connection {
    struct sim_net *net;
    struct sim_end ends[2]; /* 0 connected, 1 accepted */
    bool broken;   /* nothing passes; ends that are open are being told */
    unsigned busy; /* an event of it is running: do not free */
};

struct sim_end *sim_end_other(struct sim_end *e);

#endif
