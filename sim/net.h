/* Network: datagrams and byte streams between simulated nodes.
 *
 * Node i lives at 10.0.x.y, port 7946. A datagram may be lost, doubled, late,
 * overtaken, damaged, forged and replayed; its fate is a keyed hash of (seed,
 * link, number on that link, purpose). A stream loses nothing while it lives:
 * like TCP it sends again, so that loss and partition only cost time, until it
 * gives up and both ends learn of an error. Its bytes arrive in other portions
 * than they were written, and, where datagrams are damaged, with a flipped bit.
 *
 * A rate that holds between two nodes is the greatest of the net's own and
 * those of both nodes, compared with one and the same draw: what one fault
 * hits is hit whether or not another is in force too.
 *
 * Calls never call back: whatever comes of them arrives later, through the
 * handler, as an event of the scheduler. */
#ifndef SIM_NET_H
#define SIM_NET_H

#include "gossip/address.h"
#include "sim/fate.h"
#include "sim/faults.h"
#include "sim/sched.h"

#define SIM_NET_NODES_MAX 1024
#define SIM_NET_PORT 7946
#define SIM_NET_WINDOW (256u << 10) /* bytes under way before writers wait */
#define SIM_NET_DATAGRAM_MAX 65507
#define SIM_NET_STREAMS_MAX 65536 /* at once */
#define SIM_NET_SOCKET_MAX                                                     \
    (208u << 10)                /* bytes that wait for one node; what          \
                                   comes then is dropped */
#define SIM_NET_REPLAY_SLOTS 16 /* old datagrams kept for each node */

#define SIM_NET_PARTITIONS_MAX 64 /* in force at once */

struct sim_net_options {
    uint32_t latency_us;    /* one way, least */
    uint32_t jitter_us;     /* added: uniform from 0 to this */
    uint32_t loss_ppm;      /* of datagrams; stream segments are late */
    uint32_t duplicate_ppm; /* datagrams that arrive twice */
    uint32_t reorder_ppm;   /* datagrams held back for reorder_us */
    uint32_t reorder_us;    /* at most */
    uint32_t bytes_per_ms;  /* of a link, for datagrams, and for each stream;
                               0: no limit */
    uint32_t slice_ppm;     /* stream writes that arrive in two portions */
    uint64_t give_up_us;    /* streams cut off for so long end in an error */
};

/* Sensible values of a local network with a little of every fault. */
struct sim_net_options sim_net_default_options(void);

/* Rates that a node can have, in ppm of the datagrams (and, where it means
 * something, of stream segments) that it sends or is sent. Named as deeds. */
enum sim_net_rate {
    SIM_NET_LOSS = 0,
    SIM_NET_DUPLICATE,
    SIM_NET_REORDER,
    SIM_NET_TAIL,     /* later, by the node's tail_us at most */
    SIM_NET_CORRUPT,  /* 1 to 8 bits flipped */
    SIM_NET_TRUNCATE, /* cut short */
    SIM_NET_FORGE,    /* followed by one that its sender never sent */
    SIM_NET_REPLAY,   /* followed by an old one to the same node */
    SIM_NET_RATES,
};

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
    uint64_t overflows; /* dropped at a node that took too long */
    uint64_t streams, stream_bytes, streams_broken;
};

struct sim_net;

/* sched, fate, faults (may be NULL) and handler are borrowed. Nodes are down at
 * first. */
int sim_net_create(struct sim_net **ret_net, unsigned nodes,
                   const struct sim_net_options *options,
                   struct sim_sched *sched, const struct sim_fate *fate,
                   struct sim_faults *faults,
                   const struct sim_net_handler *handler, void *ctx);
void sim_net_free(struct sim_net *n);

struct address sim_net_address(unsigned node);
/* A node that is up hears. Going down is silent, as a power cut is: its
 * streams are gone, and their other ends learn of it when they next send, or
 * by keep-alive. */
void sim_net_set_up(struct sim_net *n, unsigned node, bool up);
/* The process died, but not its machine: the other ends of its streams hear of
 * it at once. */
void sim_net_kill(struct sim_net *n, unsigned node);
/* Nothing is delivered to the node before this time; datagrams wait in a
 * bounded socket. 0: as usual. */
void sim_net_hold(struct sim_net *n, unsigned node, uint64_t until_us);

/* ---- faults, in force until set otherwise ---- */

void sim_net_set_rate(struct sim_net *n, unsigned node, enum sim_net_rate rate,
                      uint32_t ppm);
void sim_net_set_tail(struct sim_net *n, unsigned node, uint64_t tail_us);
/* The most that each of its links carries; 0: the net's own. */
void sim_net_set_capacity(struct sim_net *n, unsigned node,
                          uint32_t bytes_per_ms);
/* Added to the latency of one direction. */
void sim_net_set_bias(struct sim_net *n, unsigned from, unsigned to,
                      uint64_t us);
/* One direction carries nothing before this time; what was sent until then
 * arrives after it. */
void sim_net_clog(struct sim_net *n, unsigned from, unsigned to,
                  uint64_t until_us);
/* One direction carries nothing, and what is sent is gone. */
void sim_net_cut(struct sim_net *n, unsigned from, unsigned to, bool cut);
/* Nobody hears it and it hears nobody. */
void sim_net_isolate(struct sim_net *n, unsigned node, bool isolated);
/* Groups of nodes, one number each; equal numbers hear each other. */
void sim_net_set_group(struct sim_net *n, unsigned node, unsigned group);

/* Two sides that do not hear each other; several may be in force. number is
 * below SIM_NET_PARTITIONS_MAX. kind is what is counted: SIM_DEED_PARTITION,
 * _BRIDGE or _FLAP. period_us: cut for so long, whole for so long, and so on;
 * 0: cut throughout. All nodes are on side 0 at first. */
void sim_net_partition(struct sim_net *n, unsigned number, enum sim_deed kind,
                       uint64_t period_us);
/* side 0 or 1; a bridge hears and is heard by both. */
void sim_net_set_side(struct sim_net *n, unsigned number, unsigned node,
                      unsigned side, bool bridge);
void sim_net_rejoin(struct sim_net *n, unsigned number);

/* Ends groups, partitions, cuts, isolation, clogs and biases. */
void sim_net_heal(struct sim_net *n);
void sim_net_read_counters(const struct sim_net *n,
                           struct sim_net_counters *ret_counters);

/* ---- the ports of a node ---- */

void sim_net_send(struct sim_net *n, unsigned node, const struct address *to,
                  struct slice packet);
/* A datagram that claims to come from source; the link it takes is node's. */
void sim_net_send_as(struct sim_net *n, unsigned node,
                     const struct address *source, const struct address *to,
                     struct slice packet);
void sim_net_connect(struct sim_net *n, unsigned node, uint64_t stream,
                     const struct address *to);
void sim_net_write(struct sim_net *n, unsigned node, uint64_t stream,
                   struct slice bytes);
void sim_net_close(struct sim_net *n, unsigned node, uint64_t stream);
void sim_net_pause(struct sim_net *n, unsigned node, uint64_t stream,
                   bool paused);

#endif
