/* What the network delivers to a host: see host.h. */
#include "sim/host_internal.h"

void sim_host_on_datagram(struct sim_host *h, const struct address *from,
                          struct slice packet)
{
    sim_host_enter(h);
    node_on_datagram(h->node, from, packet);
    sim_host_settle(h);
}

void sim_host_on_accepted(struct sim_host *h, uint64_t stream,
                          const struct address *from)
{
    sim_host_enter(h);
    node_on_accepted(h->node, stream, from);
    sim_host_settle(h);
}

void sim_host_on_connected(struct sim_host *h, uint64_t stream)
{
    sim_host_enter(h);
    node_on_connected(h->node, stream);
    sim_host_settle(h);
}

void sim_host_on_bytes(struct sim_host *h, uint64_t stream, struct slice bytes)
{
    sim_host_enter(h);
    node_on_stream_bytes(h->node, stream, bytes);
    sim_host_settle(h);
}

void sim_host_on_drained(struct sim_host *h, uint64_t stream)
{
    sim_host_enter(h);
    node_on_stream_drained(h->node, stream);
    sim_host_settle(h);
}

void sim_host_on_closed(struct sim_host *h, uint64_t stream, int error)
{
    sim_host_enter(h);
    node_on_stream_closed(h->node, stream, error);
    sim_host_settle(h);
}
