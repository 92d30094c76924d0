/* Network: datagrams and byte streams between simulated nodes.
 *
 * Node i lives at 10.0.x.y, port 7946. A datagram may be lost, doubled, late
 * and overtaken; its fate is a keyed hash of (seed, link, number on that link,
 * purpose). A stream loses nothing while it lives: like TCP it sends again,
 * so that loss and partition only cost time, until it gives up and both ends
 * learn of an error. Its bytes arrive in other portions than they were written.
 * Nodes in different groups of a partition hear nothing of each other.
 *
 * Calls never call back: whatever comes of them arrives later, through the
 * handler, as an event of the scheduler. */
#ifndef SIM_NET_H
#define SIM_NET_H

#include "gossip/address.h"
#include "sim/fate.h"
#include "sim/sched.h"

#define SIM_NET_NODES_MAX 1024
#define SIM_NET_PORT 7946
#define SIM_NET_WINDOW (256u << 10) /* bytes under way before writers wait */
#define SIM_NET_DATAGRAM_MAX 65507
#define SIM_NET_STREAMS_MAX 65536 /* at once */

struct sim_net_options {
    uint32_t latency_us;    /* one way, least */
    uint32_t jitter_us;     /* added: uniform from 0 to this */
    uint32_t loss_ppm;      /* of datagrams; stream segments are late */
    uint32_t duplicate_ppm; /* datagrams that arrive twice */
    uint32_t reorder_ppm;   /* datagrams held back for reorder_us */
    uint32_t reorder_us;    /* at most */
    uint32_t bytes_per_ms;  /* of a stream; 0: no limit */
    uint32_t slice_ppm;     /* stream writes that arrive in two portions */
    uint64_t give_up_us;    /* streams cut off for so long end in an error */
};

/* Sensible values of a local network with a little of every fault. */
struct sim_net_options sim_net_default_options(void);

struct sim_net_handler {
    void (*datagram)(void *ctx, unsigned node, const struct address *from,
                     struct slice packet);
    void (*accepted)(void *ctx, unsigned node, uint64_t stream,
                     const struct address *from);
    void (*connected)(void *ctx, unsigned node, uint64_t stream);
    void (*bytes)(void *ctx, unsigned node, uint64_t stream,
                  struct slice bytes);
    void (*drained)(void *ctx, unsigned node, uint64_t stream);
    void (*closed)(void *ctx, unsigned node, uint64_t stream, int error);
};

struct sim_net_counters {
    uint64_t datagrams, datagram_bytes;
    uint64_t lost, cut, duplicated, held_back;
    uint64_t streams, stream_bytes, streams_broken;
};

struct sim_net;

/* sched, fate and handler are borrowed. Nodes are down at first. */
int sim_net_create(struct sim_net **ret_net, unsigned nodes,
                   const struct sim_net_options *options,
                   struct sim_sched *sched, const struct sim_fate *fate,
                   const struct sim_net_handler *handler, void *ctx);
void sim_net_free(struct sim_net *n);

struct address sim_net_address(unsigned node);
/* A node that is up hears. Going down is silent, as a power cut is: its
 * streams are gone, and their other ends learn of it when they next send, or
 * by keep-alive. */
void sim_net_set_up(struct sim_net *n, unsigned node, bool up);
/* Groups of nodes, one number each; equal numbers hear each other. */
void sim_net_set_group(struct sim_net *n, unsigned node, unsigned group);
void sim_net_heal(struct sim_net *n);
void sim_net_read_counters(const struct sim_net *n,
                           struct sim_net_counters *ret_counters);

/* The ports of a node. */
void sim_net_send(struct sim_net *n, unsigned node, const struct address *to,
                  struct slice packet);
void sim_net_connect(struct sim_net *n, unsigned node, uint64_t stream,
                     const struct address *to);
void sim_net_write(struct sim_net *n, unsigned node, uint64_t stream,
                   struct slice bytes);
void sim_net_close(struct sim_net *n, unsigned node, uint64_t stream);
void sim_net_pause(struct sim_net *n, unsigned node, uint64_t stream,
                   bool paused);

#endif
