/* The joiner: from a token to a ready replica.
 *
 * 1. It redeems the token with the issuer that made it: its keys are bound to
 *    the token, it gets a certificate and the generation's order.
 * 2. The composer initialises the store with a fresh incarnation.
 * 3. It asks the same node to sponsor it: to put the incarnation into the
 *    roster and to send a snapshot that contains this very add.
 * 4. The verified snapshot replaces the (empty) state in one transaction; only
 *    then is it ready. It writes nothing before and enters never twice.
 *
 * Every step can be cut short and is tried again, from where it stands on
 * disk; what cannot get better by waiting (a used-up token, a foreign
 * authority) is final, and said. */
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"

/* A token is thrown away unasked only if no clock can be as wrong as that. */
#define CLOCKS_DIFFER_MS UINT64_C(86400000)

static void try_later(struct node *n)
{
    struct joiner *j = &n->joiner;

    CM_MARK("join: tried again");
    j->backoff_ms = j->backoff_ms == 0 ? JOIN_RETRY_MS : j->backoff_ms * 2;
    if (j->backoff_ms > JOIN_RETRY_MS_MAX)
        j->backoff_ms = JOIN_RETRY_MS_MAX;
    j->retry_ms = node_now(n) + j->backoff_ms;
}

static void give_up(struct node *n, const char *reason)
{
    n->joiner.failed = true;
    n->joiner.retry_ms = UINT64_MAX;
    node_set_not_ready(n, "joining failed: %s", reason);
    node_log(n, 'E', "joining failed: %s", reason);
}

int joiner_begin(struct node *n, const char *token, struct cm_detail *detail)
{
    struct joiner *j = &n->joiner;
    int error = token_parse(&j->token, token, detail);

    if (error != 0)
        return error;
    if (j->token.expires_ms < node_wall(n) &&
        node_wall(n) - j->token.expires_ms > CLOCKS_DIFFER_MS)
        return cm_fail(detail, CM_ERR_EXPIRED,
                       "the join token has expired: make a new one with "
                       "\"confmesh token create\"");
    memcpy(n->authority_hash, j->token.authority_hash,
           sizeof n->authority_hash);
    buffer_init(&j->certificate, CERTIFICATE_SIZE_MAX);
    buffer_init(&j->generation_order, CHANNEL_FRAME_MAX);
    buffer_init(&j->message, SNAPSHOT_MANIFEST_MAX);
    j->phase = JOIN_REDEEM;
    j->retry_ms = node_now(n);
    node_set_not_ready(n, "joining: no issuer has answered yet");
    return 0;
}

void joiner_resume(struct node *n)
{
    struct joiner *j = &n->joiner;

    CHECK(n->has_identity && !n->ready);
    if (j->phase == JOIN_NONE) { /* restarted: the addresses are stored */
        buffer_init(&j->certificate, CERTIFICATE_SIZE_MAX);
        buffer_init(&j->generation_order, CHANNEL_FRAME_MAX);
        buffer_init(&j->message, SNAPSHOT_MANIFEST_MAX);
    }
    if (j->sponsor.family == 0 && n->peers_count > 0)
        j->sponsor = n->peers[0].address;
    if (j->sponsor.family == 0 && j->token.addresses_count > 0)
        j->sponsor = j->token.addresses[0];
    j->phase = JOIN_SPONSOR;
    j->retry_ms = node_now(n);
    j->backoff_ms = 0;
    if (j->sponsor.family == 0) {
        give_up(n, "this directory was never brought up and knows no address "
                   "of the mesh: start it once more with --join and a token");
        return;
    }
    node_set_not_ready(n, "joining: waiting for the sponsor's snapshot");
}

void joiner_release(struct node *n)
{
    buffer_release(&n->joiner.certificate);
    buffer_release(&n->joiner.generation_order);
    buffer_release(&n->joiner.message);
    snapshot_sink_free(n->joiner.sink);
}

uint64_t joiner_deadline(const struct node *n)
{
    const struct joiner *j = &n->joiner;

    if ((j->phase != JOIN_REDEEM && j->phase != JOIN_SPONSOR) || j->failed)
        return UINT64_MAX;
    return j->retry_ms;
}

static bool has_link(const struct node *n)
{
    const struct link *l;

    for (l = n->links; l != NULL; l = l->next)
        if (l->joins)
            return true;
    return false;
}

void joiner_tick(struct node *n, uint64_t now)
{
    struct joiner *j = &n->joiner;
    struct address to;
    struct link *l;

    if (now < joiner_deadline(n))
        return;
    j->retry_ms = UINT64_MAX;
    if (has_link(n))
        return;
    to = j->sponsor;
    if (j->phase == JOIN_REDEEM) {
        to = j->token.addresses[j->address_index % j->token.addresses_count];
        j->address_index++;
    }
    l = link_connect(n, &to);
    if (l == NULL)
        try_later(n);
    else
        l->joins = true;
}

void joiner_on_link_gone(struct node *n, const struct link *l,
                         const char *reason)
{
    struct joiner *j = &n->joiner;
    char where[ADDRESS_TEXT_SIZE];

    if (!l->joins || j->failed ||
        (j->phase != JOIN_REDEEM && j->phase != JOIN_SPONSOR))
        return;
    address_format(where, &l->address);
    node_set_not_ready(n, "joining: %s at %s, trying again", reason, where);
    node_log(n, 'W', "joining: %s at %s, trying again", reason, where);
    try_later(n);
}

void joiner_on_established(struct node *n, struct link *l)
{
    const struct channel_peer *peer = channel_peer(l->channel);
    struct joiner *j = &n->joiner;
    struct buffer frame;

    CHECK(l->joins);
    buffer_init(&frame, 1024);
    if (!peer->certified) {
        l->closing = true;
    } else if (j->phase == JOIN_REDEEM) {
        memcpy(j->authority_public_key, peer->authority_public_key, 32);
        frame_join(&frame, j->token.id, j->token.secret, n->name, &n->address);
        (void)link_send(n, l, &frame);
    } else if (j->phase == JOIN_SPONSOR) {
        frame_hello(&frame, &n->address);
        (void)link_send(n, l, &frame);
        buffer_clear(&frame);
        frame_sponsor(&frame, &n->incarnation);
        (void)link_send(n, l, &frame);
        buffer_clear(&j->message);
        snapshot_sink_free(j->sink);
        j->sink = NULL;
        if (snapshot_sink_create(&j->sink, n->authority_public_key,
                                 n->spool_dir, NULL) != 0)
            l->closing = true;
        peers_remember(n, &l->peer, &l->address);
    }
    buffer_release(&frame);
}

static int take_grant(struct node *n, const struct frame *f)
{
    struct joiner *j = &n->joiner;
    struct generation_order order;
    struct certificate c;
    int error;

    error = certificate_decode(&c, f->certificate, j->authority_public_key);
    if (error == 0 && (memcmp(c.sign_key, n->sign_public_key, 32) != 0 ||
                       memcmp(c.box_key, n->box_public_key, 32) != 0 ||
                       strcmp(c.name, n->name) != 0))
        error = CM_ERR_AUTHORITY;
    if (error == 0)
        error = generation_order_decode(&order, f->generation_order,
                                        j->authority_public_key);
    if (error != 0)
        return error;
    generation_order_release(&order);
    buffer_clear(&j->certificate);
    buffer_append_slice(&j->certificate, f->certificate);
    buffer_clear(&j->generation_order);
    buffer_append_slice(&j->generation_order, f->generation_order);
    n->ports.random->fill(n->ports.ctx, j->incarnation.bytes, INCARNATION_SIZE);
    return j->certificate.error != 0 ? j->certificate.error
                                     : j->generation_order.error;
}

/* The verified snapshot on its way through the writer. */
struct adoption {
    struct replacement replacement; /* first: what the intent points to */
    struct snapshot_sink *sink;
};

static void adoption_free(struct adoption *a)
{
    snapshot_sink_free(a->sink);
    cm_free(a);
}

static void adoption_done(void *context, struct intent *i)
{
    struct node *n = context;

    if (i->result == 0) {
        CM_MARK("join: a sponsor's snapshot was adopted");
        n->joiner.phase = JOIN_NONE;
        node_become_ready(n);
    } else {
        node_log(n, 'W', "the sponsor's snapshot was refused: %s; %s",
                 cm_strerror(i->result), i->detail.text);
        n->joiner.phase = JOIN_SPONSOR;
        try_later(n);
    }
    adoption_free(i->replacement);
    intent_free(i);
}

static int adopt(struct node *n, struct cm_detail *detail)
{
    struct joiner *j = &n->joiner;
    struct adoption *a = cm_calloc(1, sizeof *a);
    struct intent *i = intent_new(INTENT_REPLACE);
    int error = a == NULL || i == NULL ? CM_ERR_NOMEM : 0;

    if (error != 0) {
        cm_free(a);
        intent_free(i);
        return error;
    }
    a->sink = j->sink;
    j->sink = NULL;
    error = snapshot_sink_replacement(a->sink, &a->replacement, detail);
    if (error == 0 && !slice_equal(a->replacement.generation_order,
                                   buffer_slice(&n->generation_order)))
        error = cm_fail(detail, CM_ERR_WRONG_GENERATION,
                        "the sponsor's snapshot is of another generation");
    i->replacement = a;
    i->done = adoption_done;
    i->context = n;
    if (error == 0)
        error = n->ports.writer->submit(n->ports.ctx, i);
    if (error != 0) {
        adoption_free(a);
        intent_free(i);
    }
    return error;
}

static void on_refused(struct node *n, struct link *l, const struct frame *f)
{
    if (f->code == CM_ERR_BUSY || f->code == CM_ERR_NOT_READY ||
        f->code == CM_ERR_FULL || f->code == CM_ERR_IO) {
        joiner_on_link_gone(n, l, f->text);
        l->joins = false; /* told already */
    } else {
        give_up(n, f->text);
    }
}

/* Spooling writes to the page cache from the loop: nothing is served yet. */
static void on_piece(struct node *n, struct link *l, const struct frame *f)
{
    struct joiner *j = &n->joiner;
    struct cm_detail detail = {""};
    int error;

    if (j->sink == NULL)
        return; /* given up, or whole already */
    buffer_append_slice(&j->message, f->bytes);
    error = j->message.error;
    if (error == 0 && !f->last)
        return;
    if (error == 0)
        error = snapshot_sink_feed(j->sink, buffer_slice(&j->message), &detail);
    buffer_clear(&j->message);
    if (error == SNAPSHOT_MORE)
        return;
    if (error == SNAPSHOT_DONE) {
        j->phase = JOIN_APPLY;
        error = adopt(n, &detail);
    }
    l->closing = true;
    if (error != 0) {
        node_log(n, 'W', "the sponsor's snapshot was refused: %s; %s",
                 cm_strerror(error), detail.text);
        j->phase = JOIN_SPONSOR; /* the closing link makes it try again */
    }
}

bool joiner_on_frame(struct node *n, struct link *l, const struct frame *f)
{
    struct joiner *j = &n->joiner;

    if (!l->joins)
        return false;
    if (f->kind == FRAME_REFUSED) {
        on_refused(n, l, f);
        l->closing = true;
    } else if (j->phase == JOIN_REDEEM && f->kind == FRAME_GRANT) {
        if (take_grant(n, f) == 0) {
            j->phase = JOIN_IDENTITY;
            j->sponsor = l->address;
            n->peers_count = 0;
            peers_remember(n, &l->peer, &l->address);
        } else {
            give_up(n, "the issuer's certificate does not verify");
        }
        l->joins = false;
        l->closing = true;
    } else if (j->phase == JOIN_SPONSOR) {
        if (f->kind == FRAME_SNAPSHOT)
            on_piece(n, l, f);
    }
    return true;
}
