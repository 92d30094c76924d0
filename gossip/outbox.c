/* Queues of packets and events; see outbox.h. */
#include "gossip/outbox.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

void outbox_init(struct outbox *o)
{
    *o = (struct outbox){0};
    o->lanes[LANE_MEMBERSHIP].max = OUTBOX_MEMBERSHIP_MAX;
    o->lanes[LANE_PAYLOAD].max = OUTBOX_PAYLOAD_MAX;
}

static void event_free(struct outbox_event *e)
{
    if (e != NULL)
        shared_bytes_drop(e->bytes);
    cm_free(e);
}

void outbox_release(struct outbox *o)
{
    struct gossip_send send;
    struct gossip_event event;

    while (outbox_next_send(o, &send))
        ;
    while (outbox_next_event(o, &event))
        ;
    CHECK(o->events_count == 0 && o->events_bytes == 0);
    CHECK(o->lanes[0].bytes == 0 && o->lanes[1].bytes == 0);
}

bool outbox_send(struct outbox *o, enum lane lane, const struct address *to,
                 struct slice packet)
{
    struct outbox_lane *l = &o->lanes[lane];
    size_t cost = sizeof(struct outbox_packet) + packet.size;
    struct outbox_packet *p;

    CHECK(packet.size > 0 && packet.size <= GOSSIP_PACKET_MAX);
    CHECK(l->bytes <= l->max);
    if (cost > l->max - l->bytes)
        return false;
    p = cm_alloc(cost);
    if (p == NULL)
        return false;
    p->next = NULL;
    p->to = *to;
    p->size = packet.size;
    memcpy(p->data, packet.data, packet.size);
    if (l->last != NULL)
        l->last->next = p;
    else
        l->first = p;
    l->last = p;
    l->bytes += cost;
    return true;
}

bool outbox_next_send(struct outbox *o, struct gossip_send *ret_send)
{
    struct outbox_lane *l = &o->lanes[o->turn];
    struct outbox_packet *p;

    cm_free(o->sending);
    o->sending = NULL;
    if (l->first == NULL)
        l = &o->lanes[1 - o->turn];
    p = l->first;
    if (p == NULL)
        return false;
    o->turn = 1 - o->turn;
    l->first = p->next;
    if (l->first == NULL)
        l->last = NULL;
    l->bytes -= sizeof *p + p->size;
    o->sending = p;
    ret_send->to = p->to;
    ret_send->packet = slice_of(p->data, p->size);
    return true;
}

struct shared_bytes *shared_bytes_new(struct slice bytes)
{
    struct shared_bytes *ret;

    CHECK(bytes.size <= SIZE_MAX - sizeof *ret);
    ret = cm_alloc(sizeof *ret + bytes.size);
    if (ret == NULL)
        return NULL;
    ret->references = 1;
    ret->queued = 0;
    ret->size = bytes.size;
    if (bytes.size > 0)
        memcpy(ret->data, bytes.data, bytes.size);
    return ret;
}

void shared_bytes_drop(struct shared_bytes *b)
{
    if (b == NULL)
        return;
    CHECK(b->references > 0);
    b->references--;
    if (b->references == 0)
        cm_free(b);
}

bool outbox_tell(struct outbox *o, const struct gossip_event *event,
                 struct shared_bytes *bytes)
{
    size_t size = bytes != NULL && bytes->queued == 0 ? bytes->size : 0;
    struct outbox_event *e;

    CHECK(o->events_bytes <= OUTBOX_EVENT_BYTES_MAX);
    if (o->events_count >= OUTBOX_EVENTS_MAX ||
        size > OUTBOX_EVENT_BYTES_MAX - o->events_bytes)
        return false;
    e = cm_alloc(sizeof *e);
    if (e == NULL)
        return false;
    *e = (struct outbox_event){.event = *event, .bytes = bytes};
    if (bytes != NULL) {
        bytes->references++;
        bytes->queued++;
        e->event.bytes = slice_of(bytes->data, bytes->size);
    }
    if (o->last != NULL)
        o->last->next = e;
    else
        o->first = e;
    o->last = e;
    o->events_count++;
    o->events_bytes += size;
    return true;
}

bool outbox_next_event(struct outbox *o, struct gossip_event *ret_event)
{
    struct outbox_event *e = o->first;

    event_free(o->telling);
    o->telling = NULL;
    if (e == NULL)
        return false;
    o->first = e->next;
    if (o->first == NULL)
        o->last = NULL;
    o->events_count--;
    if (e->bytes != NULL && --e->bytes->queued == 0)
        o->events_bytes -= e->bytes->size;
    o->telling = e;
    *ret_event = e->event;
    return true;
}
