/* Giving a cut to whoever asked on a link: CUT tells which one and from which
 * message on, then its messages follow in pieces, in the order in which the
 * other side reads them (manifest, index, chunks).
 *
 * While the scan goes on, an empty piece every few seconds tells the other
 * side that it is not waiting in vain. */
#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"

#define KEEPALIVE_MS 5000

void cut_serve_link_gone(struct link *l)
{
    struct cut_serving *s = l->cut;

    l->cut = NULL;
    l->sponsors = false;
    if (s == NULL)
        return;
    s->node->cuts.serving--;
    link_changed(s->node);
    s->link = NULL;
    if (s->source != NULL)
        cut_source_release(s->source);
    s->source = NULL;
    if (s->busy)
        return; /* its intent frees it */
    buffer_release(&s->message);
    cm_free(s);
}

struct cut_serving *cut_serve_begin(struct node *n, struct link *l,
                                    const struct frame *f)
{
    struct cut_serving *s;

    CHECK(l->cut == NULL);
    s = cm_calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->node = n;
    s->link = l;
    s->purpose = f->purpose;
    s->incarnation = f->incarnation;
    s->level = f->level;
    s->asked_cut = f->cut;
    s->asked_messages = f->messages;
    s->keepalive_ms = node_now(n) + KEEPALIVE_MS;
    buffer_init(&s->message, SNAPSHOT_MANIFEST_MAX);
    n->cuts.serving++;
    l->cut = s;
    l->sponsors = true;
    return s;
}

void cut_refuse(struct node *n, struct link *l, int code, const char *text)
{
    struct buffer frame;

    node_log(n, 'W', "a cut was refused to a peer: %s", text);
    cut_serve_link_gone(l);
    buffer_init(&frame, 1024);
    frame_refused(&frame, code, text);
    (void)link_send(n, l, &frame);
    buffer_release(&frame);
    l->closing = true;
}

/* ---- sending ---- */

static int send_head(struct node *n, struct link *l, struct cut_serving *s)
{
    const struct snapshot_source *source = s->source->source;
    uint64_t total = snapshot_source_messages(source);
    struct buffer frame;
    int error;

    /* One that is too far has another spool in mind. */
    s->next = s->source->id == s->asked_cut && s->asked_messages <= total
                  ? s->asked_messages
                  : 0;
    if (s->next > 0) {
        CM_MARK("cut: resumed where the link broke");
        n->cuts.counters.resumed++;
    }
    buffer_init(&frame, 256);
    frame_cut(&frame, s->source->id, s->next, total,
              snapshot_source_bytes(source));
    error = link_send(n, l, &frame);
    buffer_release(&frame);
    s->head_sent = true;
    return error;
}

/* The next piece; CM_ERR_NOT_FOUND when all has been sent. */
static int send_piece(struct node *n, struct link *l, struct cut_serving *s,
                      struct cm_detail *detail)
{
    struct buffer frame;
    struct slice piece;
    int error = 0;

    if (s->sent >= s->message.size) {
        error = snapshot_source_read(s->source->source, s->next, &s->message,
                                     detail);
        /* Whoever asks again gets a new scan: this one would be the same as
         * long as nothing is written, and nobody could be brought up by it. */
        if (error < 0 && error != CM_ERR_NOT_FOUND)
            s->source->error = error;
        s->next += error == 0;
        s->sent = 0;
    }
    if (error != 0)
        return error;
    piece = slice_of(s->message.data + s->sent, s->message.size - s->sent);
    if (piece.size > FRAME_PIECE_MAX)
        piece.size = FRAME_PIECE_MAX;
    buffer_init(&frame, CHANNEL_FRAME_MAX);
    frame_snapshot(&frame, piece, s->sent + piece.size == s->message.size);
    error = link_send(n, l, &frame);
    buffer_release(&frame);
    s->sent += piece.size;
    s->bytes += piece.size;
    return error;
}

void cut_serve(struct node *n, struct link *l)
{
    struct cut_serving *s = l->cut;
    struct cm_detail detail = {""};
    int error = 0;

    if (s == NULL || s->source == NULL || s->source->busy || !l->established)
        return;
    if (!s->head_sent)
        error = send_head(n, l, s);
    while (error == 0 && link_output_size(l) < LINK_SERVE_LOW)
        error = send_piece(n, l, s, &detail);
    if (error == CM_ERR_NOT_FOUND) {
        node_log(n, 'I', "cut: sent whole, %llu bytes",
                 (unsigned long long)s->bytes);
        n->cuts.counters.served++;
        cut_serve_link_gone(l);
    } else if (error != 0) {
        node_log(n, 'W', "cut: sending it failed: %s",
                 detail.text[0] != '\0' ? detail.text : cm_strerror(error));
        cut_serve_link_gone(l); /* not a byte more of it */
        l->closing = true;
    }
    link_pump(n, l);
}

void cut_serve_scanned(struct node *n, struct cut_source *source)
{
    struct link *l = n->links;

    /* Refusing and pumping may close links: begin again after each. */
    while (l != NULL) {
        struct cut_serving *s = l->cut;

        if (s == NULL || s->source != source || s->head_sent) {
            l = l->next;
            continue;
        }
        if (source->error < 0) {
            cut_refuse(n, l, CM_ERR_BUSY, source->detail.text);
            link_pump(n, l);
        } else {
            cut_serve(n, l);
        }
        l = n->links;
    }
}

void cut_serve_source(struct node *n, struct link *l)
{
    struct cut_serving *s = l->cut;
    struct cm_detail detail = {""};
    int error = 0;

    CHECK(s != NULL && s->source == NULL);
    s->source = cut_source_find(n, s->asked_cut);
    if (s->source == NULL)
        error = cut_source_take(n, &s->source, &detail);
    if (error != 0) {
        cut_refuse(n, l, error == CM_ERR_NOT_READY ? error : CM_ERR_BUSY,
                   detail.text);
        link_pump(n, l);
        return;
    }
    cut_serve(n, l);
}

/* ---- asking ---- */

/* Once the source of an unconfirmed cut is gone, its adopter may be the last
 * that has the state: whoever lacks it could never confirm it. */
static bool source_lives(const struct node *n)
{
    struct member_view view;

    return gossip_member_find(n->gossip, &n->cuts.unconfirmed_source, &view) &&
           (view.state == MEMBER_ALIVE || view.state == MEMBER_SUSPECT);
}

/* Why no cut is given now; NULL: one is. */
static const char *unable(const struct node *n, const struct link *l,
                          int *ret_code)
{
    *ret_code = CM_ERR_BUSY;
    if (!n->ready || l->cut != NULL || n->cuts.serving >= SPONSORED_MAX)
        return "the node is not ready, or gives as many cuts as it can";
    *ret_code = CM_ERR_NOT_READY;
    if (n->returning.phase != RETURNING_NONE &&
        return_reason_is_of_state(n->returning.reason))
        return "the node's own state is not the mesh's any more, it returns; "
               "ask another one";
    if (n->lost_branch)
        return "the node holds the branch of a fork that lost; ask another one";
    if (n->cuts.unconfirmed && source_lives(n))
        return "the node has adopted a cut that no second member has "
               "confirmed yet; ask another one";
    return NULL;
}

bool cut_may_serve(struct node *n, struct link *l)
{
    int code;
    const char *why = unable(n, l, &code);
    struct buffer frame;

    if (why == NULL)
        return true;
    node_log(n, 'W', "a cut was refused to a peer: %s", why);
    buffer_init(&frame, 1024);
    frame_refused(&frame, code, why);
    (void)link_send(n, l, &frame);
    buffer_release(&frame);
    l->closing = l->cut == NULL;
    return false;
}

void cut_on_ask(struct node *n, struct link *l, const struct frame *f)
{
    if (f->purpose != CUT_CATCH_UP) {
        cut_refuse(n, l, CM_ERR_INVALID,
                   "a cut with a new incarnation is asked of a sponsor");
        return;
    }
    if (!cut_may_serve(n, l))
        return;
    if (cut_serve_begin(n, l, f) == NULL) {
        cut_refuse(n, l, CM_ERR_BUSY, "out of memory");
        return;
    }
    cut_serve_source(n, l);
}

/* ---- time ---- */

void cut_serve_tick(struct node *n, uint64_t now)
{
    struct link *l;
    struct link *next;

    if (n->cuts.serving == 0)
        return;
    for (l = n->links; l != NULL; l = next) {
        struct cut_serving *s = l->cut;
        struct buffer frame;

        next = l->next;
        if (s == NULL || s->head_sent || now < s->keepalive_ms)
            continue;
        s->keepalive_ms = now + KEEPALIVE_MS;
        buffer_init(&frame, 64);
        frame_snapshot(&frame, slice_of(NULL, 0), false);
        (void)link_send(n, l, &frame);
        buffer_release(&frame);
    }
}

uint64_t cut_serve_deadline(const struct node *n)
{
    uint64_t ret = UINT64_MAX;

    if (n->cuts.serving == 0)
        return ret;
    for (const struct link *l = n->links; l != NULL; l = l->next)
        if (l->cut != NULL && !l->cut->head_sent && l->cut->keepalive_ms < ret)
            ret = l->cut->keepalive_ms;
    return ret;
}
