/* Alarms that are told once, and the certificate that a return may renew. */
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
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

void node_note_fork(struct node *n, const struct incarnation *name)
{
    node_alarm_fork(n);
    for (size_t i = 0; i < n->forked_count && i < NODE_FORKED_MAX; i++)
        if (incarnation_equal(&n->forked[i], name))
            return;
    n->forked[n->forked_count++ % NODE_FORKED_MAX] = *name;
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

void node_store_failed(struct node *n)
{
    if (n->store_failed)
        return;
    CM_MARK("node: its state cannot be read any more");
    n->store_failed = true;
    node_set_not_ready(n, "pages of data.mdb are damaged: restart the node, it "
                          "sets the file aside and joins anew");
    node_log(n, 'E', "damage: %s", n->status.not_ready);
}

/* Not of what it was asked to write: much of that may have been known. */
static size_t written_bytes(const struct commit_result *r)
{
    size_t bytes = 0;

    CHECK(r->wrote || r->events_count == 0);
    for (size_t i = 0; i < r->events_count; i++)
        bytes += r->events[i].bytes.size;
    return bytes;
}

void node_note_disk(struct node *n, const struct commit_result *r)
{
    struct node_status *s = &n->status;
    bool alarm = s->alarm_full || s->alarm_disk;

    CHECK(!r->disk_full || !r->disk_failed);
    s->disk_full += r->disk_full;
    if (r->disk_full)
        full_alarm_refused(&n->full, r->intents_bytes, node_now(n));
    else if (r->wrote && !r->disk_failed)
        full_alarm_wrote(&n->full, written_bytes(r), node_now(n));
    if (r->disk_full && !s->alarm_full)
        node_log(n, 'E',
                 "full: no room on the disk or in the store's map: writes, and "
                 "what peers write, are not taken until space is freed; reads "
                 "go on");
    else if (r->disk_failed && !s->alarm_disk)
        node_log(n, 'E',
                 "disk: it refuses commits: writes, and what peers write, are "
                 "not taken; reads go on");
    s->alarm_full = n->full.raised;
    if (r->disk_full || r->disk_failed || r->wrote)
        s->alarm_disk = r->disk_failed;
    if (alarm && !s->alarm_full && !s->alarm_disk)
        node_log(n, 'I', "disk: commits go through again");
}
