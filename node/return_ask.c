/* Returning: the member that is asked, from the offer to its cut (return_flow.c
 * tells the whole way).
 *
 * A sponsor that cannot be reached is left for another one at once, as long as
 * nothing of its cut is here: waiting helps nobody but it. Only where no other
 * one is there, or several in a row could not be reached, it is waited, longer
 * and longer: then it is the network, or this node's end of it. Of a cut that
 * has begun the rest is waited for, since whoever begins anew sends all of it
 * again and puts one more incarnation into the roster. */
#include <stdio.h>
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"

#define OFFER_MS_MAX 5000   /* for a member that fetches nothing */
#define OFFER_SETTLE_MS 300 /* between the last event and the cut */
#define OFFER_LOOK_MS 50
#define FAILURES_MAX 3
#define HASTY_MAX 4 /* sponsors left without a wait between them */

static struct link *link_of(struct node *n)
{
    struct link *l;

    for (l = n->links; l != NULL; l = l->next)
        if (l->returns)
            return l;
    return NULL;
}

void returning_drop_link(struct node *n)
{
    struct link *l = link_of(n);

    if (l != NULL) {
        l->returns = false;
        l->closing = true;
        link_pump(n, l);
    }
}

/* ---- whom to ask ---- */

bool returning_another(struct node *n)
{
    struct returning *r = &n->returning;
    struct key_id before = r->sponsor;
    struct address address = r->address;

    r->failures = 0;
    r->sponsor_known = false;
    r->turn++;
    r->elsewhere = !r->elsewhere;
    returning_drop_cut(r);
    if (returning_choose(n) && key_id_equal(&before, &r->sponsor)) {
        r->turn++; /* living and known: it stands there twice */
        r->sponsor_known = false;
        (void)returning_choose(n);
    }
    if (!r->sponsor_known || key_id_equal(&before, &r->sponsor))
        return false; /* the same again, to which the add is known */
    if (r->asked && returning_store_next(n) != 0) {
        r->sponsor = before; /* the name that it knows is told to no other */
        r->address = address;
        return false;
    }
    return true;
}

/* Whether the sponsor that is being asked has to be given up. */
static void count_failure(struct node *n)
{
    struct returning *r = &n->returning;
    uint64_t cut, messages = 0;

    if (r->receiver != NULL) {
        cut_receiver_link_gone(r->receiver);
        cut_receiver_wants(r->receiver, &cut, &messages);
    }
    r->failures = messages > r->messages_before ? 1 : r->failures + 1;
    r->messages_before = messages;
    if (r->failures < FAILURES_MAX)
        return;
    r->signer_too = true; /* the others may be gone for ever */
    (void)returning_another(n);
}

static bool has_part(const struct returning *r)
{
    uint64_t cut, messages = 0;

    if (r->receiver != NULL)
        cut_receiver_wants(r->receiver, &cut, &messages);
    return messages > 0;
}

/* The one that was asked is of no use, or out of reach. */
static void turn_away(struct node *n, const char *text)
{
    struct returning *r = &n->returning;
    unsigned failures = r->failures;

    r->turned_away++;
    if (r->hasty < HASTY_MAX && !has_part(r)) {
        returning_wait_for(n, text);
        r->phase = RETURNING_IDLE;
        r->retry_ms = node_now(n);
        r->hasty++;
        if (returning_another(n)) {
            CM_MARK("return: another sponsor at once");
            return;
        }
        r->failures = failures; /* it is the same one */
    }
    r->signer_too = r->signer_too || r->hasty == HASTY_MAX;
    r->hasty = 0;
    returning_try_later(n, text);
    count_failure(n);
}

/* ---- offering, asking ---- */

void returning_offer(struct node *n)
{
    struct returning *r = &n->returning;
    struct buffer frame;
    struct link *l;

    /* Whoever was told of next may have rostered it: with that one out of mind,
     * another would do so a second time. */
    if (r->asked && !r->sponsor_known) {
        if (returning_store_next(n) != 0)
            returning_try_later(n, "the writer has too much to do");
        return;
    }
    if (!r->sponsor_known && !returning_choose(n)) {
        returning_try_later(
            n, "no other member of the roster is known here; if none lives, "
               "restore a new mesh from the best local state (see "
               "confmesh doctor)");
        return;
    }
    l = link_connect(n, &r->address);
    if (l == NULL) {
        returning_try_later(n, "too many connections are open");
        return;
    }
    l->returns = true;
    l->peer_known = true;
    l->peer = r->sponsor;
    buffer_init(&frame, CHANNEL_FRAME_MAX);
    frame_sync(&frame, &n->vv, true);
    l->asked = link_send(n, l, &frame) == 0;
    l->asked_ms = node_now(n);
    buffer_release(&frame);
    r->phase = RETURNING_OFFER;
    r->since_ms = node_now(n);
    r->retry_ms = node_now(n) + OFFER_LOOK_MS;
}

static void ask(struct node *n, struct link *l)
{
    struct returning *r = &n->returning;
    struct cm_detail detail = {""};
    uint64_t cut, messages;
    struct buffer frame;
    int error = 0;

    if (r->receiver == NULL)
        error =
            cut_receiver_create(&r->receiver, n, returning_received, &detail);
    if (error != 0) {
        returning_drop_link(n);
        returning_try_later(n, detail.text);
        return;
    }
    cut_receiver_wants(r->receiver, &cut, &messages);
    buffer_init(&frame, 256);
    frame_sponsor(&frame, &r->next, n->level, CUT_RETURN, cut, messages);
    error = link_send(n, l, &frame);
    buffer_release(&frame);
    r->was_asked = r->asked;
    r->asked = true;
    r->phase = RETURNING_RECEIVE;
    if (error != 0) {
        returning_drop_link(n);
        returning_try_later(n, "the connection takes nothing");
        count_failure(n);
    }
}

/* Until the sponsor has fetched what it wants: its own SYNC came and was
 * answered, ours was answered. */
void returning_look_at_offer(struct node *n, uint64_t now)
{
    struct returning *r = &n->returning;
    struct link *l = link_of(n);
    bool late = now >= r->since_ms + OFFER_MS_MAX;

    if (l == NULL) {
        returning_try_later(n, "the connection was closed");
        return;
    }
    r->retry_ms = now + OFFER_LOOK_MS;
    if (!l->established || l->serving || (l->asked && !late) ||
        now < r->since_ms + OFFER_SETTLE_MS)
        return;
    /* The old roster does not tell who has come over. */
    if (r->reason == RETURN_GENERATION && !l->newer_generation) {
        returning_drop_link(n);
        turn_away(n, "a member that was asked is of no newer generation");
        return;
    }
    if (l->asked) { /* it does not answer; it may sponsor nonetheless */
        l->asked = false;
        l->deadline_ms = now + LINK_IDLE_MS;
    }
    ask(n, l);
}

void returning_link_gone(struct node *n, struct link *l, const char *reason)
{
    struct returning *r = &n->returning;
    char text[RETURNING_TEXT_MAX];
    char where[ADDRESS_TEXT_SIZE];

    if (!l->returns)
        return;
    l->returns = false;
    if (r->phase != RETURNING_OFFER && r->phase != RETURNING_RECEIVE)
        return;
    address_format(where, &l->address);
    (void)snprintf(text, sizeof text, "%s at %s, trying again", reason, where);
    turn_away(n, text);
}

/* ---- what it says ---- */

static void on_refused(struct node *n, const struct frame *f)
{
    struct returning *r = &n->returning;
    enum returning_phase before = r->phase;
    char text[RETURNING_TEXT_MAX + 16];

    returning_drop_link(n);
    (void)snprintf(text, sizeof text, "refused: %s", f->text);
    returning_try_later(n, text);
    if (f->code != CM_ERR_AUTHORITY) {
        r->signer_too = r->signer_too || f->code == CM_ERR_NOT_READY;
        /* Who has lost a branch itself gives nothing before it returned. */
        if (f->code == CM_ERR_NOT_READY && r->reason == RETURN_FORK)
            r->failures = FAILURES_MAX - 1;
        count_failure(n);
        return;
    }
    if (before == RETURNING_RECEIVE)
        r->asked = r->was_asked; /* that one has rostered nobody */
    if (r->token != NULL) {
        r->phase = RETURNING_RENEW;
        r->retry_ms = node_now(n);
        return;
    }
    r->retry_ms = node_now(n) + RETURNING_TOKEN_RETRY_MS;
    (void)returning_another(n);
}

bool returning_on_frame(struct node *n, struct link *l, const struct frame *f)
{
    struct returning *r = &n->returning;
    int error;

    if (!l->returns)
        return false;
    if (f->kind == FRAME_REFUSED && f->code == CM_ERR_SEALED) {
        l->asked = false; /* it takes nothing; it may sponsor nonetheless */
        return true;
    }
    if (f->kind == FRAME_REFUSED) {
        on_refused(n, f);
        return true;
    }
    if (f->kind != FRAME_CUT && f->kind != FRAME_SNAPSHOT)
        return false;
    if (r->phase != RETURNING_RECEIVE || r->receiver == NULL)
        return true; /* of one given up */
    error = cut_receiver_take(r->receiver, l, f);
    if (error != 0) {
        if (error != CM_ERR_BUSY) {
            cut_refused(n, error, "its messages do not follow on one another");
            returning_drop_cut(r);
        }
        l->closing = true;
    }
    return true;
}
