/* Repair (anti-entropy): digests on probes differ, so one side sends its
 * version vector and the other answers with the original bytes of every event
 * that it covers and the asker lacks; then the other way round.
 *
 * Events are merged by HLC over all origins: an event's stamp is greater than
 * those of all its dependencies, so this is a causal order and the receiver's
 * pending buffer stays empty. Bytes that are not held (any more) are told
 * of at the end: the asker tries other members, then asks for a whole cut
 * (cut_pull.c). */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "crdt/event_peek.h"
#include "node/node_internal.h"
#include "node/standing_view.h"

#define BATCH_BYTES (256u << 10)

/* What waits here for other events, or for its time, need not come again. */
static const struct vv *have(const struct node *n)
{
    return n->received.count > 0 ? &n->received : &n->vv;
}

void repair_ask(struct node *n, const struct key_id *peer,
                const struct address *address)
{
    struct buffer frame;
    struct link *l;
    size_t asked = 0;

    /* What is on its way may be all that differs: the next probe tells. */
    if (!n->ready || n->inflight_count > 0)
        return;
    for (l = n->links; l != NULL; l = l->next)
        asked += l->asked;
    if (asked >= REPAIRS_MAX)
        return;
    l = link_to(n, peer, address);
    if (l == NULL || l->asked)
        return;
    orders_tell(n, l);
    buffer_init(&frame, CHANNEL_FRAME_MAX);
    frame_sync(&frame, have(n), true);
    if (link_send(n, l, &frame) == 0) {
        l->asked = true;
        l->asked_ms = node_now(n);
        n->status.repairs++;
    }
    buffer_release(&frame);
}

static bool stays(const struct node *n, const struct key_id *node)
{
    for (size_t i = 0; n->roster != NULL && i < n->roster->count; i++) {
        const struct roster_member *m = &n->roster->members[i];
        const struct standing_view_member *v =
            standing_view_find(n->standing, &m->incarnation);

        if (key_id_equal(&m->certificate.key_id, node) && v != NULL && v->stays)
            return true;
    }
    return false;
}

/* Two branches of one length, of a name that is not sealed yet: both nodes
 * write fences that say which one they hold, and from these everybody sees the
 * same (standing_holds_lost_branch). By vectors alone two nodes that each hold
 * the higher branch of another name would go to each other for ever. */
static bool fences_decide(const struct node *n, const struct link *l)
{
    return n->standing != NULL && n->standing->self_member &&
           !n->standing->self_evictee && stays(n, &l->peer);
}

/* "Of two branches of a fork the one with the lower hash stands; whoever
 * applied the other is a returner": once the name is on its way out, so that
 * neither branch grows. level: they end at the same place. */
static void judge_branch(struct node *n, const struct link *l,
                         const struct vv_entry *mine,
                         const struct vv_entry *theirs, bool level)
{
    const struct incarnation *i = &mine->incarnation;
    const struct standing_view_member *m;
    struct member_view view;

    if (incarnation_equal(i, &n->incarnation)) {
        returning_claimed(n, RETURN_OWN_EVENTS, &l->peer);
        return;
    }
    m = n->standing != NULL ? standing_view_find(n->standing, i) : NULL;
    if ((m != NULL && m->stays) ||
        memcmp(mine->head.bytes, theirs->head.bytes, HASH_SIZE) < 0 ||
        n->gossip == NULL || !gossip_member_find(n->gossip, &l->peer, &view))
        return;
    if (level && m != NULL && fences_decide(n, l))
        returning_note_branch(n, &l->peer, &view.address);
    else
        returning_begin_with(n, RETURN_FORK, &l->peer, &view.address);
}

/* The event itself, to the node whose name it bears: a claim alone, of one
 * member alone, would not make it return. */
static void prove_fork(struct node *n, struct link *l, const struct dot *dot)
{
    const struct roster_member *m =
        n->roster != NULL ? roster_find(n->roster, &dot->incarnation) : NULL;
    struct buffer events, frame;
    struct slice bytes;

    if (m == NULL || !key_id_equal(&m->certificate.key_id, &l->peer) ||
        store_reader_renew(n->reader) != 0)
        return;
    buffer_init(&events, FRAME_EVENTS_BYTES_MAX);
    buffer_init(&frame, CHANNEL_FRAME_MAX);
    if (store_event(n->reader, dot, &bytes) == 0) {
        CM_MARK("repair: a fork was proved to its node");
        pack_bin(&events, bytes);
        frame_events(&frame, buffer_slice(&events), 1);
        (void)link_send(n, l, &frame); /* else the next time */
    }
    store_reader_reset(n->reader);
    buffer_release(&events);
    buffer_release(&frame);
}

/* The event of this name that is here, if what follows upon it is held. */
static bool hash_here(struct node *n, const struct incarnation *i, uint64_t seq,
                      struct hash *ret_hash)
{
    struct dot next = {.incarnation = *i, .seq = seq + 1};
    struct slice bytes;
    struct event e;
    bool ret = false;

    if (seq == 0 || store_reader_renew(n->reader) != 0)
        return false;
    if (store_event(n->reader, &next, &bytes) == 0 &&
        event_decode(&e, bytes) == 0) {
        *ret_hash = e.previous;
        event_release(&e);
        ret = true;
    }
    store_reader_reset(n->reader);
    return ret;
}

/* Two branches of unequal length: whoever has the shorter one is told up to
 * there what is here, as if this vector ended there. */
static void tell_branch(struct node *n, struct link *l,
                        const struct vv_entry *branch)
{
    struct buffer frame;
    struct vv vv;

    if (l->asked || vv_copy(&vv, &n->vv) != 0)
        return;
    CM_MARK("repair: a branch of a fork was told");
    for (size_t i = 0; i < vv.count; i++)
        if (incarnation_equal(&vv.entries[i].incarnation, &branch->incarnation))
            vv.entries[i] = *branch;
    buffer_init(&frame, CHANNEL_FRAME_MAX);
    frame_sync(&frame, &vv, false);
    if (link_send(n, l, &frame) == 0) {
        l->asked = true;
        l->asked_ms = node_now(n);
    }
    buffer_release(&frame);
    vv_release(&vv);
}

/* The peer is behind, or has gone another way. */
static void compare_branch(struct node *n, struct link *l,
                           const struct vv_entry *theirs)
{
    struct dot dot = {theirs->incarnation, theirs->seq};
    struct vv_entry here = *theirs;

    if (!hash_here(n, &theirs->incarnation, theirs->seq, &here.head) ||
        hash_equal(&here.head, &theirs->head))
        return;
    node_note_fork(n, &theirs->incarnation);
    judge_branch(n, l, &here, theirs, false);
    prove_fork(n, l, &dot);
    tell_branch(n, l, &here);
}

/* Two events under one name, or a name of ours that we never gave. A claim
 * alone raises the alarm; the event itself, which repair is about to fetch,
 * makes the writer refuse local writes. */
static void look_for_hazards(struct node *n, struct link *l,
                             const struct vv *theirs)
{
    size_t i;

    for (i = 0; i < theirs->count; i++) {
        const struct vv_entry *t = &theirs->entries[i];
        const struct vv_entry *mine = vv_find(&n->vv, &t->incarnation);
        struct dot dot = {t->incarnation, t->seq};

        if (mine != NULL && mine->seq == t->seq &&
            !hash_equal(&mine->head, &t->head)) {
            node_note_fork(n, &t->incarnation);
            judge_branch(n, l, mine, t, true);
            prove_fork(n, l, &dot);
        } else if (mine != NULL && mine->seq > t->seq) {
            compare_branch(n, l, t);
        }
        if (incarnation_equal(&t->incarnation, &n->incarnation) &&
            t->seq > vv_seq(&n->vv, &n->incarnation)) {
            node_alarm_hazard(n);
            returning_claimed(n, RETURN_OWN_EVENTS, &l->peer);
        }
    }
}

static bool has_news(const struct node *n, const struct vv *theirs)
{
    return !vv_dominates(have(n), theirs);
}

void repair_on_sync(struct node *n, struct link *l, struct frame *f)
{
    struct buffer frame;

    if (!n->ready) {
        link_close_after_output(n, l);
        return;
    }
    look_for_hazards(n, l, &f->vv);
    orders_refuse_beyond(n, l, &f->vv);
    orders_tell(n, l);
    if (vv_equal(&f->vv, &n->vv))
        heal_on_same_vector(n, l);
    if (f->answer && !l->asked && has_news(n, &f->vv)) {
        CM_MARK("repair: each side lacked something");
        buffer_init(&frame, CHANNEL_FRAME_MAX);
        frame_sync(&frame, have(n), false);
        if (link_send(n, l, &frame) == 0) {
            l->asked = true;
            l->asked_ms = node_now(n);
        }
        buffer_release(&frame);
    }
    vv_release(&l->theirs);
    l->theirs = f->vv;
    vv_init(&f->vv);
    l->serving = true;
    l->missing = false;
    repair_serve(n, l);
}

/* The next event of one origin that the asker lacks. */
struct lane {
    const struct vv_entry *mine;
    uint64_t seq; /* next to send; beyond mine->seq: done */
    struct slice bytes;
    hlc_t hlc;
};

static int lane_load(struct node *n, struct lane *lane)
{
    struct dot dot = {.incarnation = lane->mine->incarnation, .seq = lane->seq};
    struct event_peek peek;
    int error;

    error = store_event(n->reader, &dot, &lane->bytes);
    if (error == 0)
        error = event_peek(&peek, lane->bytes);
    if (error == 0)
        lane->hlc = peek.hlc;
    return error;
}

/* Lanes of all origins with something to send; *ret_missing when bytes are
 * gone. Returns the number, or an error. */
static int lanes_open(struct node *n, struct link *l, struct lane *lanes,
                      bool *ret_missing)
{
    size_t count = 0;
    size_t i;

    for (i = 0; i < n->vv.count; i++) {
        struct lane *lane = &lanes[count];
        int error;

        lane->mine = &n->vv.entries[i];
        lane->seq = vv_seq(&l->theirs, &lane->mine->incarnation);
        if (lane->seq >=
            lane->mine->seq) /* what they claim may be any number */
            continue;
        lane->seq++;
        error = lane_load(n, lane);
        if (error == CM_ERR_NOT_FOUND)
            *ret_missing = true;
        else if (error != 0)
            return error;
        else
            count++;
    }
    return (int)count;
}

static struct lane *lane_oldest(struct lane *lanes, size_t count)
{
    struct lane *oldest = NULL;
    size_t i;

    for (i = 0; i < count; i++)
        if (lanes[i].seq <= lanes[i].mine->seq &&
            (oldest == NULL || lanes[i].hlc < oldest->hlc))
            oldest = &lanes[i];
    return oldest;
}

/* One frame of events; 1 when more may follow, 0 at the end, or an error. */
static int serve_batch(struct node *n, struct link *l, struct lane *lanes,
                       size_t count)
{
    struct buffer events;
    struct buffer frame;
    struct lane *lane;
    size_t in_batch = 0;
    int error = 0;

    buffer_init(&events, FRAME_EVENTS_BYTES_MAX);
    buffer_init(&frame, CHANNEL_FRAME_MAX);
    while (error == 0 && events.size < BATCH_BYTES &&
           in_batch < FRAME_EVENTS_MAX &&
           (lane = lane_oldest(lanes, count)) != NULL) {
        pack_bin(&events, lane->bytes);
        in_batch++;
        error = vv_set(&l->theirs, &lane->mine->incarnation, lane->seq,
                       &lane->mine->head);
        lane->seq++;
        if (error == 0 && lane->seq <= lane->mine->seq)
            error = lane_load(n, lane);
        if (error == CM_ERR_NOT_FOUND) {
            /* A cut brought what follows: no bytes of it are here. */
            CM_MARK("repair: a gap in the log");
            lane->seq = lane->mine->seq + 1;
            l->missing = true;
            error = 0;
        }
    }
    if (error == 0 && in_batch > 0) {
        CM_MARK("repair: served from the log");
        frame_events(&frame, buffer_slice(&events), in_batch);
        error = link_send(n, l, &frame);
    }
    buffer_release(&events);
    buffer_release(&frame);
    if (error != 0)
        return error;
    return lane_oldest(lanes, count) != NULL;
}

void repair_serve(struct node *n, struct link *l)
{
    uint64_t stream = l->stream;
    struct buffer frame;
    struct lane *lanes;
    bool missing = false;
    int more;

    if (!l->serving || !l->established)
        return;
    lanes = cm_calloc(n->vv.count, sizeof *lanes);
    more = lanes == NULL ? CM_ERR_NOMEM : store_reader_renew(n->reader);
    if (more == 0)
        more = lanes_open(n, l, lanes, &missing);
    if (more >= 0) {
        size_t count = (size_t)more;

        more = count > 0;
        while (more > 0 && link_output_size(l) < LINK_SERVE_LOW)
            more = serve_batch(n, l, lanes, count);
    }
    store_reader_reset(n->reader);
    cm_free(lanes);
    if (more > 0)
        return; /* goes on when the output has drained */
    l->serving = false;
    if (more == CM_ERR_DAMAGED)
        heal_note_damage(n);
    if (more < 0) {
        node_log(n, 'W', "repair of a peer failed: %s", cm_strerror(more));
        link_close(n, l);
        return;
    }
    buffer_init(&frame, 64);
    frame_sync_end(&frame, missing || l->missing);
    if (link_send(n, l, &frame) != 0 && link_by_stream(n, stream) != NULL)
        link_close(n, l);
    buffer_release(&frame);
}

void repair_on_events(struct node *n, struct link *l, struct frame *f)
{
    size_t i;

    if (l->asked)
        l->asked_ms = node_now(n); /* it makes progress */
    for (i = 0; i < f->events_count; i++)
        intake_event(n, unpack_bin(&f->events, EVENT_SIZE_MAX), &l->peer,
                     false);
}

void repair_on_end(struct node *n, struct link *l, const struct frame *f)
{
    l->asked = false;
    if (f->needs_cut && n->ready && !l->other_generation)
        cut_pull_missing(n, l);
}
