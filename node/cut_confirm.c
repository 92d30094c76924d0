/* "An adopter stays unconfirmed, and serves no cuts, until its digest equals a
 * second member's (where there is one)": what one node alone says about
 * everything must not spread as if many had said it. */
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"

#define LOOK_EVERY_MS 250

/* Whether the roster has a node besides this one and the source. */
static bool has_second(const struct node *n, const struct key_id *source)
{
    for (size_t i = 0; n->roster != NULL && i < n->roster->count; i++) {
        const struct key_id *k = &n->roster->members[i].certificate.key_id;

        if (!key_id_equal(k, &n->key_id) && !key_id_equal(k, source))
            return true;
    }
    return false;
}

size_t cut_unconfirmed_fact(const struct node *n, const struct key_id *source,
                            struct meta_fact *ret_fact)
{
    /* A joiner knows no roster yet: it looks once it has one. */
    if (n->ready && !has_second(n, source))
        return 0;
    *ret_fact = (struct meta_fact){META_UNCONFIRMED,
                                   slice_of(source->bytes, KEY_ID_SIZE)};
    return 1;
}

void cut_note_adopted(struct node *n, const struct key_id *source)
{
    n->cuts.unconfirmed = has_second(n, source);
    n->cuts.unconfirmed_source = *source;
    n->cuts.confirm_ms = node_now(n);
    n->cuts.last_refusal[0] = '\0'; /* the last one was not */
    if (n->cuts.unconfirmed)
        node_log(n, 'I',
                 "cut: adopted; unconfirmed until a second member has the same "
                 "state");
}

void cut_confirm_load(struct node *n)
{
    struct slice bytes;

    if (store_reader_renew(n->reader) != 0)
        return;
    if (store_meta(n->reader, META_UNCONFIRMED, &bytes) == 0 &&
        bytes.size == KEY_ID_SIZE) {
        memcpy(n->cuts.unconfirmed_source.bytes, bytes.data, KEY_ID_SIZE);
        n->cuts.unconfirmed = true;
    }
    store_reader_reset(n->reader);
}

static void stored(void *context, struct intent *i)
{
    struct node *n = context;

    n->cuts.confirming = false;
    if (i->result == 0 && n->cuts.unconfirmed) {
        n->cuts.unconfirmed = false;
        CM_MARK("cut: confirmed by a second member");
        node_log(n, 'I', "cut: confirmed, this node gives cuts again");
    }
    intent_free(i);
}

static void confirm(struct node *n)
{
    struct intent *i = intent_new(INTENT_META);
    int error = i == NULL ? CM_ERR_NOMEM : 0;

    if (error == 0) {
        i->done = stored;
        i->context = n;
        error = intent_add_fact(i, META_UNCONFIRMED, slice_of(NULL, 0));
    }
    if (error == 0)
        error = n->ports.writer->submit(n->ports.ctx, i);
    if (error != 0)
        intent_free(i); /* tried again */
    n->cuts.confirming = error == 0;
}

void cut_confirm_tick(struct node *n, uint64_t now)
{
    if (now < cut_confirm_deadline(n))
        return;
    n->cuts.confirm_ms = now + LOOK_EVERY_MS;
    if (!has_second(n, &n->cuts.unconfirmed_source) ||
        gossip_digest_heard(n->gossip, &n->digest,
                            &n->cuts.unconfirmed_source) > 0)
        confirm(n);
}

uint64_t cut_confirm_deadline(const struct node *n)
{
    return n->cuts.unconfirmed && !n->cuts.confirming && n->gossip != NULL
               ? n->cuts.confirm_ms
               : UINT64_MAX;
}

bool node_adopt_confirm(struct node *n)
{
    bool ret = n->cuts.unconfirmed;

    if (n->cuts.pull.phase == PULL_WAIT) {
        n->cuts.pull.operator_agrees = true;
        n->cuts.pull.retry_ms = node_now(n);
        ret = true;
    }
    if (n->cuts.unconfirmed && !n->cuts.confirming)
        confirm(n);
    if (ret)
        node_log(n, 'W', "cut: the operator agreed to it");
    node_drain(n);
    return ret;
}

/* ---- status ---- */

void cut_status_read(const struct node *n, struct cut_status *ret)
{
    const struct cut_pull *p = &n->cuts.pull;
    const struct cut_receiver *r =
        n->joiner.receiver != NULL ? n->joiner.receiver : p->receiver;
    struct cut_status s = {
        .phase =
            n->joiner.receiver != NULL ? "joining" : cut_pull_phase_name(p),
        .from = p->peer,
        .waits = p->waits,
        .unconfirmed = n->cuts.unconfirmed,
        .serving = n->cuts.serving,
        .spools = n->cuts.sources_count,
        .last_refusal = n->cuts.last_refusal,
        .last_refused_ms = n->cuts.last_refused_ms,
        .counters = n->cuts.counters,
    };

    if (p->phase == PULL_WAIT && p->checked) {
        s.present = p->counts.present;
        s.removed = p->counts.removed;
    }
    if (r != NULL) {
        struct cut_progress progress = cut_receiver_progress(r);

        s.messages = progress.messages;
        s.messages_total = progress.messages_total;
        s.bytes = progress.bytes;
        s.bytes_total = progress.bytes_total;
    }
    for (const struct cut_source *c = n->cuts.sources; c != NULL; c = c->next)
        s.spool_bytes += c->busy ? 0 : snapshot_source_bytes(c->source);
    for (const struct link *l = n->links; l != NULL; l = l->next) {
        if (l->cut == NULL)
            continue;
        s.sent_bytes += l->cut->bytes;
        if (l->cut->source != NULL && !l->cut->source->busy)
            s.sent_of_bytes += snapshot_source_bytes(l->cut->source->source);
    }
    *ret = s;
}
