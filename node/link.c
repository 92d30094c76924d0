/* Links: streams to other nodes, each under a channel. A link is made when
 * there is something to say, and closed when it has been idle for a while.
 *
 * Nothing of a peer is believed before its channel is established; only
 * certified peers get beyond a JOIN. Everything that waits is bounded: the
 * outbox before the handshake, the channel's output after it. */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"

/* Streams are numbered one after the other, at either end. */
static struct link **bucket_of(struct node *n, uint64_t stream)
{
    return &n->link_buckets[stream % LINK_BUCKETS];
}

struct link *link_by_stream(struct node *n, uint64_t stream)
{
    struct link *l;

    for (l = *bucket_of(n, stream); l != NULL; l = l->bucket_next)
        if (l->stream == stream)
            return l;
    return NULL;
}

size_t link_output_size(const struct link *l)
{
    return l->channel != NULL ? channel_output(l->channel).size : 0;
}

void link_changed(struct node *n)
{
    n->links_changed = true;
}

/* As link_changed, when it is this one alone. */
static void touch(struct node *n, struct link *l)
{
    if (n->link_touched != NULL && n->link_touched != l)
        n->links_changed = true;
    n->link_touched = l;
}

static struct link *link_new(struct node *n, uint64_t stream,
                             const struct address *address)
{
    struct link *l;

    if (n->links_count >= NODE_STREAMS_MAX)
        return NULL;
    l = cm_calloc(1, sizeof *l);
    if (l == NULL)
        return NULL;
    l->stream = stream;
    l->address = *address;
    l->deadline_ms = node_now(n) + LINK_HANDSHAKE_MS;
    buffer_init(&l->outbox, LINK_OUTBOX_BYTES_MAX);
    vv_init(&l->theirs);
    l->next = n->links;
    n->links = l;
    l->bucket_next = *bucket_of(n, stream);
    *bucket_of(n, stream) = l;
    n->links_count++;
    touch(n, l);
    return l;
}

static void link_unlink(struct node *n, struct link *l)
{
    struct link **at = &n->links;

    while (*at != l) {
        CHECK(*at != NULL);
        at = &(*at)->next;
    }
    *at = l->next;
    for (at = bucket_of(n, l->stream); *at != l; at = &(*at)->bucket_next)
        CHECK(*at != NULL);
    *at = l->bucket_next;
    n->links_count--;
    if (n->link_touched == l)
        n->link_touched = NULL;
}

/* Gossip prefers peers to whom there is a link. */
static void tell_linked(struct node *n, const struct key_id *peer)
{
    const struct link *l;
    bool linked = false;

    if (n->gossip == NULL)
        return;
    for (l = n->links; l != NULL && !linked; l = l->next)
        linked = l->established && !l->closing && l->peer_known &&
                 key_id_equal(&l->peer, peer);
    gossip_set_linked(n->gossip, peer, linked);
}

void link_gone(struct node *n, struct link *l, const char *reason)
{
    link_unlink(n, l);
    if (l->established && l->peer_known)
        tell_linked(n, &l->peer);
    cut_serve_link_gone(l);
    cut_pull_link_gone(n, l);
    heal_link_gone(n, l);
    joiner_on_link_gone(n, l, reason);
    returning_link_gone(n, l, reason);
    awaits_link_gone(n, l);
    channel_free(l->channel);
    buffer_release(&l->outbox);
    vv_release(&l->theirs);
    cm_free(l);
}

void link_close(struct node *n, struct link *l)
{
    n->ports.stream->close(n->ports.ctx, l->stream);
    link_gone(n, l, "the connection was closed");
}

void link_close_after_output(struct node *n, struct link *l)
{
    l->closing = true;
    link_pump(n, l);
}

static int channel_open(struct node *n, struct link *l, bool initiator)
{
    struct channel_config c = {.initiator = initiator};

    c.wall_ms = node_wall(n);
    c.certificate = buffer_slice(&n->certificate);
    memcpy(c.authority_hash, n->authority_hash, sizeof c.authority_hash);
    memcpy(c.authority_public_key, n->authority_public_key,
           sizeof c.authority_public_key);
    memcpy(c.sign_secret_key, n->sign_secret_key, sizeof c.sign_secret_key);
    memcpy(c.sign_public_key, n->sign_public_key, sizeof c.sign_public_key);
    memcpy(c.box_public_key, n->box_public_key, sizeof c.box_public_key);
    n->ports.random->fill(n->ports.ctx, c.ephemeral_seed,
                          sizeof c.ephemeral_seed);
    /* Always: a used-up or expired token is to be refused in words, by the
     * issuer; nobody else answers a JOIN. */
    c.accept_joiners = !initiator && n->has_identity;
    return channel_create(&l->channel, &c);
}

struct link *link_connect(struct node *n, const struct address *address)
{
    struct link *l = link_new(n, n->next_stream, address);

    if (l == NULL)
        return NULL;
    n->next_stream++;
    l->initiator = true;
    l->connecting = true;
    n->ports.stream->connect(n->ports.ctx, l->stream, address);
    return l;
}

struct link *link_to(struct node *n, const struct key_id *peer,
                     const struct address *address)
{
    struct link *l;

    for (l = n->links; l != NULL; l = l->next)
        if (l->peer_known && !l->closing && !l->joins && !l->returns &&
            key_id_equal(&l->peer, peer))
            return l;
    if (address == NULL || address->family == 0)
        return NULL;
    l = link_connect(n, address);
    if (l != NULL) {
        l->peer_known = true;
        l->peer = *peer;
    }
    return l;
}

void link_accept(struct node *n, uint64_t stream, const struct address *from)
{
    struct link *l = n->has_identity ? link_new(n, stream, from) : NULL;

    if (l == NULL || channel_open(n, l, false) != 0) {
        if (l != NULL)
            link_close(n, l);
        else
            n->ports.stream->close(n->ports.ctx, stream);
    }
}

void link_on_connected(struct node *n, struct link *l)
{
    touch(n, l);
    l->connecting = false;
    if (channel_open(n, l, true) != 0) {
        link_close(n, l);
        return;
    }
    link_pump(n, l);
}

void link_pump(struct node *n, struct link *l)
{
    struct slice out;

    touch(n, l);
    if (l->channel == NULL || l->writing)
        return;
    out = channel_output(l->channel);
    if (out.size == 0) {
        if (l->closing)
            link_close(n, l);
        return;
    }
    if (out.size > LINK_WRITE_BYTES)
        out.size = LINK_WRITE_BYTES;
    l->writing = true;
    l->written_ms = node_now(n);
    n->ports.stream->write(n->ports.ctx, l->stream, out);
    channel_output_consume(l->channel, out.size);
}

int link_send(struct node *n, struct link *l, const struct buffer *frame)
{
    uint8_t *to;
    int error;

    touch(n, l);
    if (frame->error != 0)
        return frame->error;
    if (l->channel != NULL && l->established) {
        error = channel_send(l->channel, buffer_slice(frame));
        if (error == 0) {
            l->deadline_ms = node_now(n) + LINK_IDLE_MS;
            link_pump(n, l);
        }
        return error;
    }
    if (l->outbox.size + 4 + frame->size > l->outbox.limit)
        return CM_ERR_BUSY;
    /* At once: a length without its frame would send what lies behind. */
    to = buffer_extend(&l->outbox, 4 + frame->size);
    if (to == NULL)
        return l->outbox.error;
    put_be32(to, (uint32_t)frame->size);
    if (frame->size > 0)
        memcpy(to + 4, frame->data, frame->size);
    return 0;
}

static int flush_outbox(struct link *l)
{
    size_t at = 0;
    int error = 0;

    while (at < l->outbox.size && error == 0) {
        uint32_t size = get_be32(l->outbox.data + at);

        CHECK(size <= l->outbox.size - at - 4);
        error =
            channel_send(l->channel, slice_of(l->outbox.data + at + 4, size));
        at += 4 + size;
    }
    buffer_release(&l->outbox);
    return error;
}

/* The peer has proved who it is. */
static int on_established(struct node *n, struct link *l)
{
    const struct channel_peer *peer = channel_peer(l->channel);
    struct buffer hello;
    int error;

    CHECK(peer != NULL);
    l->established = true;
    l->deadline_ms = node_now(n) + LINK_IDLE_MS;
    if (l->peer_known && peer->certified &&
        !key_id_equal(&l->peer, &peer->decoded.key_id))
        return CM_ERR_UNKNOWN_PEER; /* somebody else lives there now */
    if (peer->certified) {
        l->peer_known = true;
        l->peer = peer->decoded.key_id;
        if (n->gossip != NULL && !orders_refuse(n, &l->peer) &&
            !orders_distrust(n, l)) {
            gossip_readmit(n->gossip, &l->peer);
            (void)gossip_add_certificate(n->gossip, peer->certificate);
        }
        tell_linked(n, &l->peer);
    }
    if (l->joins) {
        joiner_on_established(n, l);
        return 0;
    }
    if (!peer->certified)
        return 0;
    buffer_init(&hello, 256);
    frame_hello(&hello, &n->address, &n->generation);
    error = link_send(n, l, &hello);
    buffer_release(&hello);
    if (error == 0)
        error = flush_outbox(l);
    if (error == 0 && l->initiator && n->gossip != NULL)
        error =
            gossip_add_contact(n->gossip, node_now(n), &l->peer, &l->address);
    return error;
}

/* What a peer of which every incarnation was evicted, or that an evicted one
 * certified, may still do: return. Whatever else it asks for it is told why
 * not. */
static bool refuse_evicted(struct node *n, struct link *l,
                           const struct frame *f)
{
    if (!orders_refuse(n, &l->peer) && !orders_distrust(n, l))
        return false;
    switch (f->kind) {
    case FRAME_SPONSOR:
    case FRAME_JOIN: /* a fresh token lets it in again */
    case FRAME_EVENTS:
    case FRAME_SYNC_END:
    case FRAME_REFUSED:
        return false;
    case FRAME_SYNC:
    case FRAME_ASK:
    case FRAME_HELLO:
    case FRAME_CUT_ASK:
        CM_MARK("eviction: an evicted peer is refused");
        orders_send_refusal(n, l);
        return true;
    default:
        return true;
    }
}

/* "Two generations with one number never mix (alarm)"; the greater one wins. */
static void look_at_generation(struct node *n, struct link *l,
                               const struct frame *f)
{
    l->other_generation =
        n->ready && !generation_id_equal(&f->generation, &n->generation);
    l->newer_generation =
        n->ready && f->generation.number > n->generation.number;
    if (!l->other_generation)
        return;
    if (l->newer_generation) {
        returning_begin_with(n, RETURN_GENERATION, &l->peer, &f->address);
    } else if (f->generation.number == n->generation.number &&
               !n->generation_clash) {
        n->generation_clash = true;
        n->status.alarm_generation = true;
        node_log(n, 'E',
                 "generation: a peer is of another generation with this one's "
                 "number %llu; they never mix: the authority's next order "
                 "has to name the one that stands",
                 (unsigned long long)f->generation.number);
    }
}

static void on_certified_frame(struct node *n, struct link *l, struct frame *f)
{
    if (refuse_evicted(n, l, f))
        return;
    switch (f->kind) {
    case FRAME_HELLO:
        look_at_generation(n, l, f);
        if (n->gossip != NULL && !l->initiator)
            (void)gossip_add_contact(n->gossip, node_now(n), &l->peer,
                                     &f->address);
        break;
    case FRAME_SYNC:
        repair_on_sync(n, l, f);
        break;
    case FRAME_EVENTS:
        repair_on_events(n, l, f);
        break;
    case FRAME_SYNC_END:
        repair_on_end(n, l, f);
        break;
    case FRAME_PUSH:
        intake_event(n, f->bytes, &l->peer, true);
        break;
    case FRAME_SPONSOR:
        sponsor_on_request(n, l, f);
        break;
    case FRAME_ASK:
        awaits_on_ask(n, l, f);
        break;
    case FRAME_COMMITTED:
        awaits_on_committed(n, l, f);
        break;
    case FRAME_CUT_ASK:
        cut_on_ask(n, l, f);
        break;
    case FRAME_ORDERS:
        orders_on_frame(n, l, f);
        break;
    case FRAME_COMPARE:
        heal_on_frame(n, l, f);
        break;
    case FRAME_REFUSED:
        if (l->initiator) /* whom to return by */
            peers_remember(n, &l->peer, &l->address);
        if (f->code == CM_ERR_SEALED)
            orders_told_evicted(n, &l->peer, f->text);
        else if (f->code == CM_ERR_AUTHORITY)
            orders_told_distrusted(n, &l->peer, f->text);
        (void)cut_pull_on_frame(n, l, f);
        break;
    case FRAME_SNAPSHOT:
    case FRAME_CUT:
        (void)cut_pull_on_frame(n, l, f);
        break;
    case FRAME_JOIN: /* a member renews its certificate */
        sponsor_on_join(n, l, f);
        break;
    case FRAME_GRANT:
        break; /* only in a joiner's conversation, which is handled before */
    }
}

/* False when the link is gone or has to go. */
static bool on_frame(struct node *n, struct link *l, struct slice bytes)
{
    uint64_t stream = l->stream;
    struct frame f;

    if (frame_decode(&f, bytes) != 0) {
        refusals_count(&n->status.refused, REFUSAL_FRAME_MALFORMED,
                       l->peer_known ? l->peer.bytes : NULL, node_wall(n));
        return false;
    }
    l->deadline_ms = node_now(n) + LINK_IDLE_MS;
    if (!joiner_on_frame(n, l, &f) && !returning_on_frame(n, l, &f)) {
        if (!channel_peer(l->channel)->certified) {
            if (f.kind == FRAME_JOIN)
                sponsor_on_join(n, l, &f);
            else
                l->closing = true;
        } else {
            on_certified_frame(n, l, &f);
        }
    }
    frame_release(&f);
    return link_by_stream(n, stream) != NULL;
}

void link_on_bytes(struct node *n, struct link *l, struct slice bytes)
{
    uint64_t stream = l->stream;
    struct slice frame;

    if (l->channel == NULL || l->closing)
        return;
    if (channel_recv(l->channel, bytes) != 0) {
        /* The other side may learn why only by silence: it is not trusted. */
        node_log(n, 'D', "channel failed: %s",
                 cm_strerror(channel_error(l->channel)));
        n->ports.stream->close(n->ports.ctx, l->stream);
        link_gone(n, l, cm_strerror(channel_error(l->channel)));
        return;
    }
    if (!l->established && channel_state(l->channel) == CHANNEL_ESTABLISHED &&
        on_established(n, l) != 0) {
        link_close(n, l);
        return;
    }
    /* A link that is to be closed is not listened to any more. */
    while (!l->closing && channel_next_frame(l->channel, &frame)) {
        if (!on_frame(n, l, frame)) {
            l = link_by_stream(n, stream);
            if (l != NULL)
                link_close(n, l);
            return;
        }
    }
    if (intake_is_full(n) && !l->paused) {
        l->paused = true;
        n->links_paused = true;
        n->ports.stream->pause(n->ports.ctx, l->stream, true);
    }
    link_pump(n, l);
}

void link_resume_reading(struct node *n)
{
    struct link *l;

    if (!n->links_paused)
        return;
    n->links_paused = false;
    for (l = n->links; l != NULL; l = l->next) {
        if (!l->paused)
            continue;
        link_changed(n);
        l->paused = false;
        n->ports.stream->pause(n->ports.ctx, l->stream, false);
    }
}

/* When the link has to go if nothing happens before. Whoever does not read what
 * is written to it, or does not answer what it was asked, is not waited for. */
static uint64_t link_due(const struct link *l)
{
    if (l->writing)
        return l->written_ms + LINK_STALL_MS;
    if (l->asked && !l->paused)
        return l->asked_ms + REPAIR_TIMEOUT_MS;
    if (l->established && (l->sponsors || l->paused))
        return UINT64_MAX; /* it waits for us */
    if (l->established && l->asks_until_ms > l->deadline_ms)
        return l->asks_until_ms; /* somebody waits for a confirmation */
    return l->deadline_ms;
}

void link_check_deadlines(struct node *n, uint64_t now)
{
    struct link *l = n->links;

    if (now < link_next_deadline(n))
        return;
    link_changed(n); /* the first deadline may have been put off meanwhile */
    while (l != NULL) {
        struct link *next = l->next;

        if (now >= link_due(l))
            link_close(n, l);
        l = next;
    }
}

/* Most inputs touch one link, or none: only that one is looked at. So this is
 * no later than the first deadline; it may be earlier, where a link that was
 * due first has been used since. Then all are looked at when that time comes.
 */
uint64_t link_next_deadline(struct node *n)
{
    const struct link *l = n->link_touched;

    n->link_touched = NULL;
    if (!n->links_changed) {
        if (l != NULL && link_due(l) < n->links_due_ms)
            n->links_due_ms = link_due(l);
        return n->links_due_ms;
    }
    n->links_changed = false;
    n->links_due_ms = UINT64_MAX;
    for (l = n->links; l != NULL; l = l->next)
        if (link_due(l) < n->links_due_ms)
            n->links_due_ms = link_due(l);
    return n->links_due_ms;
}
