/* Orders and retirements: heard from an operator or a peer, handed to the
 * writer, passed on; and who is not listened to any more because of them.
 *
 * Fences carry them through the event log, so most nodes hear of an order by
 * the first fence. What is sent here beside it is for those that cannot apply
 * that fence, or write none: whoever repairs with a peer tells it the orders
 * that are open here, once on each link for each set of them. Hearing one twice
 * costs nothing and is no news.
 *
 * A node of which no incarnation stays gets nothing: neither gossip nor repair.
 * It is told why, asks for a sponsor (that is returning), or is a thief. */
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "crdt/eviction.h"
#include "node/node_internal.h"
#include "node/standing_read.h"

#define ORDERS_INFLIGHT_MAX 64 /* on their way to the writer */
#define ORDERS_TOLD_MAX 16     /* peers that an operator's order goes to */

/* ---- who stays ---- */

bool orders_key_stays(const struct node *n, const struct key_id *peer)
{
    for (size_t i = 0; n->roster != NULL && i < n->roster->count; i++) {
        const struct roster_member *m = &n->roster->members[i];
        const struct standing_view_member *v;

        if (n->standing == NULL || !key_id_equal(&m->certificate.key_id, peer))
            continue;
        v = standing_view_find(n->standing, &m->incarnation);
        if (v != NULL && v->stays)
            return true;
    }
    return false;
}

/* Of most members their own incarnation stays, so nothing of their key's others
 * has to be looked for. Rosters and standing have one order: they are walked
 * side by side, since in a large mesh that gathers one by one a search for
 * everybody at every add would be the greatest cost of all. */
struct walk {
    size_t roster;
    size_t standing;
};

static bool stays_itself(const struct node *n, struct walk *w,
                         const struct incarnation *i)
{
    const struct roster *r = n->roster;
    const struct standing_view *v = n->standing;

    while (w->roster < r->count &&
           incarnation_compare(&r->members[w->roster].incarnation, i) < 0)
        w->roster++;
    while (w->standing < v->members_count &&
           incarnation_compare(&v->members[w->standing].incarnation, i) < 0)
        w->standing++;
    return w->roster < r->count && w->standing < v->members_count &&
           incarnation_equal(&r->members[w->roster].incarnation, i) &&
           incarnation_equal(&v->members[w->standing].incarnation, i) &&
           v->members[w->standing].stays;
}

static bool is_barred(const struct node *n, const struct key_id *peer)
{
    for (size_t i = 0; i < n->barred_count; i++) {
        if (key_id_equal(&n->barred[i], peer))
            return true;
    }
    return false;
}

bool orders_refuse(const struct node *n, const struct key_id *peer)
{
    return n->barred_count > 0 && is_barred(n, peer);
}

bool orders_distrust(const struct node *n, struct link *l)
{
    uint64_t epoch = n->standing != NULL ? n->standing->epoch : 0;

    CHECK(l->established && channel_peer(l->channel)->certified);
    if (l->trusted_epoch == epoch + 1)
        return false;
    if (!sponsor_trusts(n, &channel_peer(l->channel)->decoded))
        return true;
    l->trusted_epoch = epoch + 1;
    return false;
}

/* ---- who was barred, over a restart: the roster has forgotten the keys ----
 */

/* A snapshot has to know it, a delta cannot tell it: who restores from them
 * would let the thief in again. */
static void stored(void *context, struct intent *i)
{
    if (i->result == 0) /* else the one who is barred next brings all to disk */
        snapshots_owe_one(context);
    intent_free(i);
}

static void save_barred(struct node *n)
{
    struct intent *i = intent_new(INTENT_META);

    if (i == NULL)
        return;
    i->done = stored;
    i->context = n;
    if (intent_add_fact(
            i, META_BARRED,
            slice_of(n->barred, n->barred_count * sizeof n->barred[0])) != 0 ||
        n->ports.writer->submit(n->ports.ctx, i) != 0)
        intent_free(i);
}

void orders_load_barred(struct node *n)
{
    struct slice bytes;

    if (store_reader_renew(n->reader) != 0)
        return;
    if (store_meta(n->reader, META_BARRED, &bytes) == 0 &&
        bytes.size % sizeof n->barred[0] == 0 &&
        bytes.size <= sizeof n->barred) {
        memcpy(n->barred, bytes.data, bytes.size);
        n->barred_count = bytes.size / sizeof n->barred[0];
    }
    store_reader_reset(n->reader);
}

static void send_refusal(struct node *n, struct link *l, int code,
                         const char *why)
{
    struct buffer frame;

    buffer_init(&frame, FRAME_TEXT_MAX + 64);
    frame_refused(&frame, code, why);
    (void)link_send(n, l, &frame);
    buffer_release(&frame);
}

/* Else it would find out by everybody's silence. */
static void tell_distrusted(struct node *n, const struct member_view *m)
{
    struct link *l =
        m->state == MEMBER_ALIVE ? link_to(n, &m->key_id, &m->address) : NULL;

    if (l != NULL)
        send_refusal(n, l, CM_ERR_AUTHORITY, SPONSOR_ISSUER_TEXT);
}

/* Whom gossip knows by a certificate that counts no more. */
void orders_forget_distrusted(struct node *n)
{
    size_t total = n->gossip != NULL && n->roster != NULL
                       ? gossip_member_total(n->gossip)
                       : 0;
    size_t told = 0;

    /* From the end: whoever is forgotten is in the list no more. */
    for (size_t i = total; i > 0; i--) {
        struct certificate c;
        struct member_view m;

        if (i > gossip_member_total(n->gossip))
            continue;
        gossip_member_at(n->gossip, i - 1, &m);
        if (m.has_certificate && !orders_key_stays(n, &m.key_id) &&
            certificate_decode(&c, gossip_certificate(n->gossip, &m.key_id),
                               n->authority_public_key) == 0 &&
            !sponsor_trusts(n, &c)) {
            CM_MARK("eviction: who was certified by an evicted one is barred");
            if (told++ < ORDERS_TOLD_MAX)
                tell_distrusted(n, &m);
            gossip_forget(n->gossip, &m.key_id);
        }
    }
}

static void bar(struct node *n, const struct key_id *peer)
{
    struct link *l;

    if (key_id_equal(peer, &n->key_id) || is_barred(n, peer))
        return;
    CM_MARK("eviction: a peer is not heard any more");
    /* The oldest gives way: it has been silent for long. */
    if (n->barred_count == BARRED_MAX)
        memmove(&n->barred[0], &n->barred[1],
                --n->barred_count * sizeof n->barred[0]);
    n->barred[n->barred_count++] = *peer;
    n->barred_changed = true;
    if (n->gossip != NULL)
        gossip_forget(n->gossip, peer);
    for (l = n->links; l != NULL; l = l->next) {
        if (l->peer_known && key_id_equal(&l->peer, peer))
            l->serving = false;
    }
}

static void readmit(struct node *n)
{
    size_t kept = 0;

    for (size_t i = 0; i < n->barred_count; i++) {
        if (!orders_key_stays(n, &n->barred[i])) {
            n->barred[kept++] = n->barred[i];
            continue;
        }
        n->barred_changed = true;
        if (n->gossip != NULL)
            gossip_readmit(n->gossip, &n->barred[i]);
    }
    n->barred_count = kept;
}

static void bar_evicted(struct node *n, const struct roster *members)
{
    struct walk w = {0};

    for (size_t i = 0; i < members->count; i++) {
        const struct roster_member *m = &members->members[i];

        if (!stays_itself(n, &w, &m->incarnation) &&
            !orders_key_stays(n, &m->certificate.key_id))
            bar(n, &m->certificate.key_id);
    }
}

void orders_members_changed(struct node *n, const struct roster *before)
{
    if (n->roster == NULL || n->standing == NULL)
        return;
    readmit(n);
    if (before != NULL)
        bar_evicted(n, before);
    bar_evicted(n, n->roster);
    if (n->barred_changed)
        save_barred(n);
    n->barred_changed = false;
}

void orders_take_barred(struct node *n, struct slice keys)
{
    CHECK(keys.size % KEY_ID_SIZE == 0);
    for (size_t at = 0; at < keys.size; at += KEY_ID_SIZE) {
        struct key_id peer;

        memcpy(peer.bytes, keys.data + at, KEY_ID_SIZE);
        if (!orders_key_stays(n, &peer))
            bar(n, &peer);
    }
}

/* ---- telling ---- */

void orders_tell(struct node *n, struct link *l)
{
    struct unpacker u;
    struct buffer orders;
    struct buffer frame;
    struct hash hash;
    size_t count = 0;

    if (n->standing == NULL || n->standing->heard_count == 0)
        return;
    hash = hash_of("confmesh orders v1",
                   slice_of(n->standing->heard, n->standing->heard_size));
    if (hash_equal(&hash, &l->orders_told))
        return;
    l->orders_told = hash;
    buffer_init(&orders, FRAME_ORDERS_BYTES_MAX);
    unpack_init(&u, slice_of(n->standing->heard, n->standing->heard_size));
    for (size_t left = unpack_array(&u, SIZE_MAX);
         left > 0 && count < FRAME_ORDERS_MAX; left--) {
        struct slice one = unpack_bin(&u, EVICTION_SIZE_MAX);

        if (u.error != 0 || orders.size + one.size + 8 > FRAME_ORDERS_BYTES_MAX)
            break;
        pack_bin(&orders, one);
        count++;
    }
    buffer_init(&frame, CHANNEL_FRAME_MAX);
    if (count > 0 && orders.error == 0) {
        frame_orders(&frame, buffer_slice(&orders), count);
        (void)link_send(n, l, &frame);
    }
    buffer_release(&frame);
    buffer_release(&orders);
}

static void tell_some(struct node *n)
{
    size_t total = n->gossip != NULL ? gossip_member_total(n->gossip) : 0;
    size_t told = 0;

    for (size_t i = 0; i < total && told < ORDERS_TOLD_MAX; i++) {
        struct member_view m;
        struct link *l;

        gossip_member_at(n->gossip, i, &m);
        if (m.state != MEMBER_ALIVE)
            continue;
        l = link_to(n, &m.key_id, &m.address);
        if (l == NULL)
            continue;
        orders_tell(n, l);
        told++;
    }
}

void orders_view_changed(struct node *n)
{
    const struct standing_view *v = n->standing;

    if (v->self_evictee && !n->status.alarm_evicted)
        node_log(n, 'E',
                 "eviction: this incarnation was %s; what it writes from now "
                 "on is kept here alone",
                 v->self_sealed ? "evicted" : "named by an eviction order");
    n->status.alarm_evicted = v->self_evictee || n->told_evicted;
    n->status.alarm_dropped = v->dropped;
    if (n->tell_orders && v->heard_count > 0) {
        n->tell_orders = false;
        tell_some(n);
    }
}

static void told(struct node *n, const char *text)
{
    if (!n->told_evicted)
        node_log(n, 'E', "eviction: a member refuses this node: %s", text);
    n->told_evicted = true;
    n->status.alarm_evicted = true;
}

void orders_told_distrusted(struct node *n, const struct key_id *by,
                            const char *text)
{
    told(n, text);
    returning_claimed(n, RETURN_ISSUER, by);
}

void orders_told_evicted(struct node *n, const struct key_id *by,
                         const char *text)
{
    told(n, text);
    returning_claimed(n, RETURN_EVICTED, by);
}

void orders_send_refusal(struct node *n, struct link *l)
{
    if (orders_refuse(n, &l->peer)) {
        send_refusal(n, l, CM_ERR_SEALED,
                     "every incarnation of this node known here was evicted");
        return;
    }
    refusals_count(&n->status.refused, REFUSAL_ENTRY_ISSUER, l->peer.bytes,
                   node_wall(n));
    send_refusal(n, l, CM_ERR_AUTHORITY, SPONSOR_ISSUER_TEXT);
}

static bool is_outnumbered(const struct node *n)
{
    size_t count = n->roster != NULL ? n->roster->count : 0;
    size_t others = 0, living = 0;

    if (gossip_member_count(n->gossip, MEMBER_ALIVE) == 0)
        return true;
    for (size_t i = 0; i < count; i++) {
        const struct key_id *k = &n->roster->members[i].certificate.key_id;

        others += !key_id_equal(k, &n->key_id);
        living += gossip_member_state(n->gossip, k) == MEMBER_ALIVE;
        if (2 * living >= count)
            return false; /* whoever the rest are */
    }
    return 2 * living < others;
}

/* Asked every few seconds of a mesh of any size, in which mostly nothing has
 * happened meanwhile. */
bool orders_outnumbered(struct node *n)
{
    uint64_t changes = gossip_member_changes(n->gossip);

    if (!n->outnumbered.known || n->outnumbered.changes != changes) {
        n->outnumbered.known = true;
        n->outnumbered.changes = changes;
        n->outnumbered.is = is_outnumbered(n);
    }
    return n->outnumbered.is;
}

/* Whether they hold more of somebody who is no member here. Who was sealed
 * before it wrote anything has no entry in this node's vector. */
static bool has_gone(const struct node *n, const struct vv *theirs)
{
    for (size_t i = 0; i < theirs->count; i++) {
        const struct vv_entry *t = &theirs->entries[i];
        const struct vv_entry *mine = vv_find(&n->vv, &t->incarnation);

        if (t->seq > (mine != NULL ? mine->seq : 0) && n->roster != NULL &&
            roster_find(n->roster, &t->incarnation) == NULL)
            return true;
    }
    return false;
}

/* "Or holding anything beyond a seal": whoever was let in by one that was
 * evicted already has sealed him later than the others, and would wait for
 * ever. */
void orders_refuse_beyond(struct node *n, struct link *l,
                          const struct vv *theirs)
{
    struct standing *s = NULL;
    bool beyond = false;

    if (l->other_generation || !has_gone(n, theirs) ||
        store_reader_renew(n->reader) != 0)
        return;
    if (standing_read(&s, n->reader, NULL, NULL) == 0) {
        for (size_t i = 0; i < theirs->count; i++) {
            uint64_t last;

            beyond = beyond ||
                     (standing_is_sealed(s, &theirs->entries[i].incarnation,
                                         &last) &&
                      theirs->entries[i].seq > last);
        }
        standing_free(s);
    }
    store_reader_reset(n->reader);
    if (!beyond)
        return;
    CM_MARK("eviction: who holds something beyond a seal is told");
    send_refusal(n, l, CM_ERR_SEALED,
                 "it holds events beyond the seal of an evicted one");
}

/* ---- hearing ---- */

static void heard(void *context, struct intent *i)
{
    struct node *n = context;

    CHECK(n->orders_inflight > 0);
    n->orders_inflight--;
    if (i->result == 0)
        n->status.orders_heard++;
    else if (i->result == CM_ERR_EVICTION_CONFLICT)
        n->status.orders_conflicting++;
    else if (i->result != CM_ERR_DUPLICATE)
        n->status.orders_refused++;
    if (i->result != 0 && i->result != CM_ERR_DUPLICATE)
        node_log(n, 'W', "order from a peer: %s",
                 i->detail.text[0] != '\0' ? i->detail.text
                                           : cm_strerror(i->result));
    intent_free(i);
}

static bool is_known(const struct node *n, struct slice bytes)
{
    struct unpacker u;

    if (n->standing == NULL || n->standing->heard_count == 0)
        return false;
    unpack_init(&u, slice_of(n->standing->heard, n->standing->heard_size));
    for (size_t left = unpack_array(&u, SIZE_MAX); left > 0; left--) {
        struct slice one = unpack_bin(&u, EVICTION_SIZE_MAX);

        if (u.error != 0)
            break;
        if (slice_equal(one, bytes))
            return true;
    }
    return false;
}

/* from: NULL, this node itself. */
static void hear(struct node *n, struct slice bytes, const struct key_id *from)
{
    struct intent *i;

    if (is_known(n, bytes) || n->orders_inflight >= ORDERS_INFLIGHT_MAX)
        return; /* it will be told again */
    i = intent_new(INTENT_ORDER);
    if (i == NULL)
        return;
    i->done = heard;
    i->context = n;
    if (from != NULL)
        memcpy(i->from, from->bytes, sizeof i->from);
    n->orders_inflight++;
    if (intent_set_event(i, bytes) == 0 &&
        n->ports.writer->submit(n->ports.ctx, i) == 0)
        return;
    n->orders_inflight--;
    intent_free(i);
}

void orders_on_frame(struct node *n, const struct link *l, struct frame *f)
{
    if (!n->ready)
        return;
    for (size_t i = 0; i < f->events_count; i++)
        hear(n, unpack_bin(&f->events, EVICTION_SIZE_MAX), &l->peer);
}

void node_order_expected(struct node *n)
{
    n->tell_orders = true;
}

/* ---- retirements ---- */

static int retire(struct node *n, const struct incarnation *i)
{
    struct retirement r = {
        .mesh = n->mesh,
        .generation = n->generation,
        .incarnation = *i,
        .certificate = buffer_slice(&n->certificate),
    };
    struct buffer bytes;
    int error;

    buffer_init(&bytes, RETIREMENT_SIZE_MAX);
    error = retirement_encode(&bytes, &r, n->sign_secret_key);
    if (error == 0)
        hear(n, buffer_slice(&bytes), NULL);
    buffer_release(&bytes);
    return error;
}

/* Incarnations given up before they were known to be rostered. */
static size_t retire_given_up(struct node *n)
{
    struct slice bytes;
    size_t count = 0;

    if (store_reader_renew(n->reader) != 0)
        return 0;
    if (store_meta(n->reader, META_GIVEN_UP, &bytes) == 0) {
        for (size_t at = 0; at + INCARNATION_SIZE <= bytes.size;
             at += INCARNATION_SIZE) {
            struct incarnation i;

            memcpy(i.bytes, bytes.data + at, INCARNATION_SIZE);
            count += retire(n, &i) == 0;
        }
    }
    store_reader_reset(n->reader);
    return count;
}

size_t node_retire_earlier(struct node *n)
{
    size_t count = 0;

    if (!n->ready || n->roster == NULL || n->floor.interval_ms == 0)
        return 0;
    for (size_t i = 0; i < n->roster->count; i++) {
        const struct roster_member *m = &n->roster->members[i];

        if (key_id_equal(&m->certificate.key_id, &n->key_id) &&
            !incarnation_equal(&m->incarnation, &n->incarnation))
            count += retire(n, &m->incarnation) == 0;
    }
    count += retire_given_up(n);
    n->tell_orders = n->tell_orders || count > 0;
    return count;
}
