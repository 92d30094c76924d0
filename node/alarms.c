/* Alarms that are told once, and the certificate that a return may renew. */
#include "crdt/base/check.h"
#include "node/node_internal.h"

void node_renew_certificate(struct node *n, struct slice certificate)
{
    buffer_clear(&n->certificate);
    buffer_append_slice(&n->certificate, certificate);
    CHECK(n->certificate.error == 0); /* its limit is that of all of them */
    /* It was decoded when it came. */
    CHECK(certificate_decode(&n->own, buffer_slice(&n->certificate),
                             n->authority_public_key) == 0);
    /* Whoever was shown the former one on a link goes on judging by that. */
    for (struct link *l = n->links, *next; l != NULL; l = next) {
        next = l->next;
        if (!l->joins)
            link_close_after_output(n, l);
    }
}

void node_alarm_fork(struct node *n)
{
    if (n->status.alarm_fork)
        return;
    n->status.alarm_fork = true;
    node_log(n, 'E',
             "fork: two events bear one name: a node's directory was "
             "cloned or rolled back; see confmesh status");
}

void node_alarm_hazard(struct node *n)
{
    if (n->status.alarm_hazard)
        return;
    n->status.alarm_hazard = true;
    node_log(n, 'E',
             "identity: a peer knows events of this node that its own "
             "disk does not hold: the data directory was rolled back "
             "or cloned");
}
