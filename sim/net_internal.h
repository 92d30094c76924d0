/* The inside of the network, shared by net.c (nodes, links, partitions),
 * net_datagram.c and net_stream.c. */
#ifndef SIM_NET_INTERNAL_H
#define SIM_NET_INTERNAL_H

#include "sim/connection.h"
#include "sim/net.h"

#define NET_QUEUE_US 100000 /* by default */

/* One direction between two nodes. */
struct net_link {
    uint64_t packets; /* so far */
    uint64_t streams; /* so far */
    uint64_t busy_us; /* its last datagram is through then */
    uint64_t clog_until_us;
    uint64_t bias_us;
    bool cut;
};

struct net_partition {
    enum sim_deed kind;
    uint64_t since_us;
    uint64_t period_us; /* 0: in force throughout */
};

struct packet;

/* An old datagram, kept to be replayed. */
struct net_memory {
    unsigned from;
    size_t size;
    uint8_t *bytes; /* owned */
};

struct net_node {
    bool up;
    bool isolated;
    unsigned group;
    uint64_t sides;   /* bit p: on side 1 of partition p */
    uint64_t bridges; /* bit p: belongs to both */
    uint32_t ppm[SIM_NET_RATES];
    uint64_t tail_us;
    uint32_t bytes_per_ms;
    uint64_t hold_until_us;
    size_t waiting;            /* bytes of datagrams that are held */
    struct sim_end *ends;      /* of its streams */
    uint64_t accepted;         /* streams so far */
    struct net_memory *memory; /* owned, SIM_NET_REPLAY_SLOTS; NULL: none yet */
    uint64_t remembered;       /* datagrams so far */
};

struct sim_net {
    struct sim_net_options options;
    struct sim_sched *sched;
    const struct sim_fate *fate;
    struct sim_faults *faults;
    const struct sim_net_handler *handler;
    void *ctx;
    struct net_node *nodes;
    unsigned count;
    struct net_link *links; /* by from * count + to */
    struct packet *packets; /* under way */
    struct packet *spare;   /* blocks to be used again */
    size_t streams;         /* now */
    uint64_t partitioned;   /* bit p: partition p is in force */
    struct net_partition partitions[SIM_NET_PARTITIONS_MAX];
    uint32_t ppm[SIM_NET_RATES]; /* everywhere */
    struct sim_net_counters counters;
};

struct net_link *sim_net_link_state(const struct sim_net *n, unsigned from,
                                    unsigned to);
/* Names a link in fates. */
uint64_t sim_net_place(unsigned from, unsigned to);
/* The node that lives there; false if there is none. */
bool sim_net_find(const struct sim_net *n, const struct address *a,
                  unsigned *ret_node);
/* Whether anything passes at this moment; if not, *ret_why is the fault. */
bool sim_net_passes(const struct sim_net *n, unsigned from, unsigned to,
                    enum sim_deed *ret_why);
/* When something that would arrive now may: later than now while the link is
 * clogged or the node held. *ret_clogged: counts as that fault. */
uint64_t sim_net_ready_us(const struct sim_net *n, unsigned from, unsigned to,
                          bool *ret_clogged);
uint32_t sim_net_rate(const struct sim_net *n, unsigned from, unsigned to,
                      enum sim_net_rate rate);
/* Bytes that the link carries in a ms; 0: no limit. */
uint32_t sim_net_capacity(const struct sim_net *n, unsigned from, unsigned to);
/* Latency, jitter, bias and tail of the item with this place and number. */
uint64_t sim_net_delay_us(struct sim_net *n, unsigned from, unsigned to,
                          uint64_t place, uint64_t number);

void sim_net_datagrams_release(struct sim_net *n);
void sim_net_streams_release(struct sim_net *n);

#endif
