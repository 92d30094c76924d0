/* Waiting for an event: until it is committed here (a causal token), or by so
 * many members (--wait).
 *
 * Who waits for others asks each of them once, over a channel: "tell me when
 * you have committed incarnation:seq". The asked one keeps one entry per
 * incarnation and link, the greatest seq asked for, and answers from its
 * version vector as of its last commit result, which is on its disk: at once,
 * and after each commit that brings it nearer, until it covers what was asked.
 * So an idle mesh is silent, a busy origin's waits share their answers, and
 * nothing is polled. What was asked goes with the link; it is asked again when
 * the link breaks or the member comes back.
 *
 * A wait never changes what it waits for: one that times out says who is
 * missing, and the event spreads all the same. */
#include <stdlib.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/node_internal.h"

#define ASK_AGAIN_MS 500 /* after a link that broke */

struct await_member {
    struct key_id key;
    bool confirmed;
    bool asked; /* over a link that lives */
};

struct await {
    struct await *next;
    struct dot dot;
    bool here; /* waits for this node alone */
    struct node_quorum quorum;
    struct await_member *members; /* owned; sorted by key; this node first in
                                     nothing: it is one of them */
    size_t members_count;
    uint64_t deadline_ms;
    node_await_done done;
    void *ctx;
};

/* ---- who counts ---- */

static int compare_members(const void *a, const void *b)
{
    const struct await_member *x = a;
    const struct await_member *y = b;

    return memcmp(x->key.bytes, y->key.bytes, sizeof x->key.bytes);
}

static bool counts(const struct roster_member *m)
{
    return (m->certificate.roles & ROLE_WRITER) != 0;
}

/* The nodes of the roster, each once. NULL when memory is short. */
static struct await_member *members_of(const struct node *n, size_t *ret_count)
{
    size_t room = n->roster != NULL ? n->roster->count : 0;
    struct await_member *ret = cm_calloc(room > 0 ? room : 1, sizeof *ret);
    size_t all = 0;
    size_t count = 0;

    if (ret == NULL)
        return NULL;
    for (size_t i = 0; i < room; i++) {
        if (counts(&n->roster->members[i]))
            ret[all++].key = n->roster->members[i].certificate.key_id;
    }
    if (all > 1)
        qsort(ret, all, sizeof *ret, compare_members);
    for (size_t i = 0; i < all; i++) {
        if (count == 0 || !key_id_equal(&ret[count - 1].key, &ret[i].key))
            ret[count++].key = ret[i].key;
    }
    *ret_count = count;
    return ret;
}

static size_t wanted_of(const struct node_quorum *q, size_t members)
{
    switch (q->kind) {
    case QUORUM_MAJORITY:
        return members / 2 + 1;
    case QUORUM_ALL:
        return members;
    case QUORUM_COUNT:
        break;
    }
    return q->count;
}

size_t node_quorum_members(const struct node *n)
{
    size_t count = 0;
    struct await_member *members = members_of(n, &count);

    cm_free(members);
    return count;
}

size_t node_quorum_wanted(const struct node *n, const struct node_quorum *q)
{
    return wanted_of(q, node_quorum_members(n));
}

uint64_t node_committed_seq(const struct node *n, const struct incarnation *i)
{
    return vv_seq(&n->vv, i);
}

bool node_has_room_to_await(const struct node *n)
{
    return n->awaits_count < NODE_AWAITS_MAX;
}

/* ---- the end of a wait ---- */

static size_t confirmed_of(const struct await *a)
{
    size_t ret = 0;

    for (size_t i = 0; i < a->members_count; i++)
        ret += a->members[i].confirmed;
    return ret;
}

static const char *state_of(const struct node *n, const struct key_id *key)
{
    static const char *const states[] = {"unknown", "alive", "suspect", "dead",
                                         "left"};
    struct member_view view;

    if (key_id_equal(key, &n->key_id))
        return "alive";
    if (n->gossip == NULL || !gossip_member_find(n->gossip, key, &view))
        return "unknown";
    CHECK(view.state >= MEMBER_ALIVE && view.state <= MEMBER_LEFT);
    return states[view.state];
}

static const char *name_of(const struct node *n, const struct key_id *key)
{
    for (size_t i = 0; n->roster != NULL && i < n->roster->count; i++) {
        const struct roster_member *m = &n->roster->members[i];

        if (key_id_equal(&m->certificate.key_id, key))
            return m->certificate.name;
    }
    return "";
}

static void await_free(struct await *a)
{
    cm_free(a->members);
    cm_free(a);
}

static void report(struct node *n, struct await *a, int error)
{
    struct node_await_report r = {
        .error = error,
        .wanted = a->here ? 1 : wanted_of(&a->quorum, a->members_count),
        .confirmed = a->here ? error == 0 : confirmed_of(a),
    };
    struct node_await_member *members =
        cm_calloc(a->members_count > 0 ? a->members_count : 1, sizeof *members);

    for (size_t i = 0; members != NULL && i < a->members_count; i++) {
        members[i].name = name_of(n, &a->members[i].key);
        members[i].confirmed = a->members[i].confirmed;
        members[i].state = state_of(n, &a->members[i].key);
    }
    r.members = members;
    r.members_count = members != NULL ? a->members_count : 0;
    a->done(a->ctx, &r);
    cm_free(members);
}

static bool is_over(const struct node *n, const struct await *a)
{
    if (a->here)
        return vv_covers(&n->vv, &a->dot);
    return confirmed_of(a) >= wanted_of(&a->quorum, a->members_count);
}

/* Takes out those for which end says so, then tells them: what they do may
 * begin another wait. */
static void finish_some(struct node *n, uint64_t now, bool all, int error)
{
    struct await *over = NULL;
    struct await **last = &over;
    struct await **at = &n->awaits;

    n->awaits_due_ms = UINT64_MAX;
    while (*at != NULL) {
        struct await *a = *at;

        if (all || is_over(n, a) || a->deadline_ms <= now) {
            *at = a->next;
            a->next = NULL;
            *last = a;
            last = &a->next;
            CHECK(n->awaits_count > 0);
            n->awaits_count--;
            continue;
        }
        if (a->deadline_ms < n->awaits_due_ms)
            n->awaits_due_ms = a->deadline_ms;
        at = &a->next;
    }
    if (n->awaits == NULL)
        n->awaits_retry_ms = UINT64_MAX;
    while (over != NULL) {
        struct await *a = over;

        over = a->next;
        report(n, a, is_over(n, a) ? 0 : error);
        await_free(a);
    }
}

/* ---- asking ---- */

static void ask(struct node *n, struct await *a, struct await_member *m)
{
    struct member_view view;
    struct buffer frame;
    struct link *l;
    uint64_t now = node_now(n);

    if (n->gossip == NULL || !gossip_member_find(n->gossip, &m->key, &view) ||
        (view.state != MEMBER_ALIVE && view.state != MEMBER_SUSPECT))
        return; /* asked when it comes back */
    l = link_to(n, &m->key, &view.address);
    if (l == NULL || a->deadline_ms <= now)
        return;
    buffer_init(&frame, 256);
    frame_ask(&frame, &a->dot, 1, a->deadline_ms - now);
    m->asked = link_send(n, l, &frame) == 0;
    if (m->asked && l->asks_until_ms < a->deadline_ms)
        l->asks_until_ms = a->deadline_ms;
    buffer_release(&frame);
}

static void ask_members(struct node *n, struct await *a)
{
    for (size_t i = 0; i < a->members_count; i++) {
        if (!a->members[i].confirmed && !a->members[i].asked)
            ask(n, a, &a->members[i]);
    }
}

static struct await_member *member_find(struct await *a,
                                        const struct key_id *key)
{
    struct await_member wanted = {.key = *key};

    return a->members_count == 0
               ? NULL
               : bsearch(&wanted, a->members, a->members_count,
                         sizeof *a->members, compare_members);
}

static int await_members(struct node *n, struct await *a)
{
    struct await_member *self;

    a->members = members_of(n, &a->members_count);
    if (a->members == NULL)
        return CM_ERR_NOMEM;
    self = member_find(a, &n->key_id);
    if (self != NULL)
        self->confirmed = vv_covers(&n->vv, &a->dot);
    return 0;
}

int node_await(struct node *n, const struct dot *dot,
               const struct node_quorum *q, uint64_t timeout_ms,
               node_await_done done, void *ctx)
{
    struct await *a;
    int error = 0;

    CHECK(done != NULL && dot->seq > 0);
    if (n->awaits_count >= NODE_AWAITS_MAX)
        return CM_ERR_BUSY;
    a = cm_calloc(1, sizeof *a);
    if (a == NULL)
        return CM_ERR_NOMEM;
    a->dot = *dot;
    a->here = q == NULL;
    a->done = done;
    a->ctx = ctx;
    a->deadline_ms =
        node_now(n) +
        (timeout_ms < NODE_AWAIT_MS_MAX ? timeout_ms : NODE_AWAIT_MS_MAX);
    if (q != NULL) {
        a->quorum = *q;
        error = await_members(n, a);
    }
    if (error != 0) {
        await_free(a);
        return error;
    }
    a->next = n->awaits;
    n->awaits = a;
    n->awaits_count++;
    if (!is_over(n, a))
        ask_members(n, a);
    finish_some(n, node_now(n), false, CM_ERR_TIMEOUT);
    node_drain(n);
    return 0;
}

void awaits_close(struct node *n)
{
    if (n->awaits != NULL)
        finish_some(n, UINT64_MAX, true, CM_ERR_CLOSED);
}

/* ---- what wakes ---- */

static void answer_link(struct node *n, struct link *l);

void awaits_committed(struct node *n)
{
    for (struct link *l = n->links; l != NULL;) {
        struct link *next = l->next; /* sending may end it */

        if (l->asks_count > 0)
            answer_link(n, l);
        l = next;
    }
    for (struct await *a = n->awaits; a != NULL; a = a->next) {
        struct await_member *self = member_find(a, &n->key_id);

        if (self != NULL)
            self->confirmed = vv_covers(&n->vv, &a->dot);
    }
    if (n->awaits != NULL)
        finish_some(n, node_now(n), false, CM_ERR_TIMEOUT);
}

/* Members that left the roster count no more; later ones were not asked. */
void awaits_roster_changed(struct node *n)
{
    size_t count = 0;
    struct await_member *now = n->awaits != NULL ? members_of(n, &count) : NULL;

    for (struct await *a = n->awaits; a != NULL && now != NULL; a = a->next) {
        size_t kept = 0;

        for (size_t i = 0; i < a->members_count; i++) {
            if (count > 0 && bsearch(&a->members[i], now, count, sizeof *now,
                                     compare_members) != NULL)
                a->members[kept++] = a->members[i];
        }
        a->members_count = kept;
    }
    cm_free(now);
}

void awaits_on_committed(struct node *n, const struct link *l,
                         const struct frame *f)
{
    for (struct await *a = n->awaits; a != NULL; a = a->next) {
        struct await_member *m = member_find(a, &l->peer);

        for (size_t i = 0; i < f->dots_count && m != NULL; i++) {
            if (incarnation_equal(&f->dots[i].incarnation,
                                  &a->dot.incarnation) &&
                f->dots[i].seq >= a->dot.seq)
                m->confirmed = true;
        }
    }
    if (n->awaits != NULL)
        finish_some(n, node_now(n), false, CM_ERR_TIMEOUT);
}

void awaits_link_gone(struct node *n, const struct link *l)
{
    if (!l->peer_known)
        return;
    for (struct await *a = n->awaits; a != NULL; a = a->next) {
        struct await_member *m = member_find(a, &l->peer);

        if (m != NULL && m->asked && !m->confirmed) {
            m->asked = false;
            n->awaits_retry_ms = node_now(n) + ASK_AGAIN_MS;
        }
    }
}

void awaits_member_alive(struct node *n, const struct key_id *peer)
{
    for (struct await *a = n->awaits; a != NULL; a = a->next) {
        struct await_member *m = member_find(a, peer);

        if (m != NULL && !m->asked && !m->confirmed)
            ask(n, a, m);
    }
}

void awaits_tick(struct node *n, uint64_t now)
{
    if (n->awaits == NULL)
        return;
    if (now >= n->awaits_retry_ms) {
        n->awaits_retry_ms = UINT64_MAX;
        for (struct await *a = n->awaits; a != NULL; a = a->next)
            ask_members(n, a);
    }
    if (now >= n->awaits_due_ms)
        finish_some(n, now, false, CM_ERR_TIMEOUT);
}

uint64_t awaits_deadline(const struct node *n)
{
    if (n->awaits == NULL)
        return UINT64_MAX;
    return n->awaits_due_ms < n->awaits_retry_ms ? n->awaits_due_ms
                                                 : n->awaits_retry_ms;
}

/* ---- answering ---- */

/* Tells what has come nearer since the last answer; forgets what is reached. */
static void answer_link(struct node *n, struct link *l)
{
    struct dot dots[FRAME_DOTS_MAX];
    struct buffer frame;
    size_t count = 0;
    size_t kept = 0;

    for (size_t i = 0; i < l->asks_count; i++) {
        struct confirm_ask *a = &l->asks[i];
        uint64_t have = vv_seq(&n->vv, &a->wanted.incarnation);

        if (have > a->told) {
            dots[count] = a->wanted;
            dots[count++].seq = have;
            a->told = have;
        }
        if (have < a->wanted.seq)
            l->asks[kept++] = *a;
    }
    l->asks_count = kept;
    if (count == 0)
        return;
    CHECK(count <= FRAME_DOTS_MAX);
    buffer_init(&frame, 1024);
    frame_committed(&frame, dots, count);
    (void)link_send(n, l, &frame); /* a link that fails is asked over anew */
    buffer_release(&frame);
}

/* Of one incarnation the greatest seq counts. Beyond the table's end the last
 * one gives way: its asker hears nothing and says so. */
static void remember(struct link *l, const struct dot *dot)
{
    size_t at = 0;

    while (at < l->asks_count &&
           incarnation_compare(&l->asks[at].wanted.incarnation,
                               &dot->incarnation) < 0)
        at++;
    if (at < l->asks_count &&
        incarnation_equal(&l->asks[at].wanted.incarnation, &dot->incarnation)) {
        if (dot->seq > l->asks[at].wanted.seq)
            l->asks[at].wanted.seq = dot->seq;
        l->asks[at].told = 0; /* it asks again: tell it again */
        return;
    }
    if (at == FRAME_DOTS_MAX)
        return;
    if (l->asks_count == FRAME_DOTS_MAX)
        l->asks_count--;
    memmove(&l->asks[at + 1], &l->asks[at],
            (l->asks_count - at) * sizeof l->asks[0]);
    l->asks[at] = (struct confirm_ask){.wanted = *dot};
    l->asks_count++;
}

void awaits_on_ask(struct node *n, struct link *l, const struct frame *f)
{
    uint64_t until = node_now(n) + f->wait_ms;

    CHECK(f->dots_count <= FRAME_DOTS_MAX);
    for (size_t i = 0; i < f->dots_count; i++)
        remember(l, &f->dots[i]);
    if (until > l->asks_until_ms)
        l->asks_until_ms = until;
    answer_link(n, l);
}
