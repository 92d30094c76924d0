/* Packets come in: authentication, then one handler a message type. */
#ifndef GOSSIP_RECEIVE_H
#define GOSSIP_RECEIVE_H

#include "gossip/gossip.h"

/* As gossip_recv, after the time was noted. */
int receive_packet(struct gossip *g, const struct address *from,
                   struct slice packet);
/* What was opened and decoded of m into g->packet; the entry for fuzzing. */
struct member;
void receive_messages(struct gossip *g, struct member *m,
                      const struct address *from);

#endif
