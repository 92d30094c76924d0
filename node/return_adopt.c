/* Returning: the passage from one incarnation to the next. Either a sponsor's
 * cut replaces everything (adopt), or, where the roster has nobody else, the
 * state stays as it is under another name (succeed). What has to be true in the
 * next life is set in the transaction that begins it. */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"

#define HELD_RETRY_MS 1000

/* ---- what the next life starts from ---- */

struct passage {
    struct replacement replacement; /* first: what the intent points to */
    struct snapshot_sink *sink;
    struct incarnation next;
    struct key_id source;
    struct buffer certificate;
    struct buffer given_up;
    struct meta_fact facts[8];
    size_t facts_count;
    struct incarnation forked[NODE_FORKED_MAX];
};

static void passage_free(struct passage *p)
{
    if (p == NULL)
        return;
    snapshot_sink_free(p->sink);
    buffer_release(&p->certificate);
    buffer_release(&p->given_up);
    cm_free(p);
}

static void add_fact(struct passage *p, const char *name, struct slice value)
{
    CHECK(p->facts_count < sizeof p->facts / sizeof p->facts[0]);
    p->facts[p->facts_count++] = (struct meta_fact){name, value};
}

/* What is set in the transaction that makes next this node's incarnation. */
static int passage_new(struct node *n, struct passage **ret_passage)
{
    struct returning *r = &n->returning;
    struct passage *p = cm_calloc(1, sizeof *p);
    int error;

    if (p == NULL)
        return CM_ERR_NOMEM;
    p->next = r->next;
    memcpy(p->forked, n->forked, sizeof p->forked);
    p->source = r->sponsor;
    buffer_init(&p->certificate, CERTIFICATE_SIZE_MAX);
    buffer_init(&p->given_up, INTENT_MEMORY_MAX / 2);
    buffer_append_slice(&p->certificate, buffer_slice(r->certificate.size > 0
                                                          ? &r->certificate
                                                          : &n->certificate));
    error = p->certificate.error;
    if (error == 0)
        error = returning_given_up_with(n, &n->incarnation, &p->given_up);
    if (error != 0) {
        passage_free(p);
        return error;
    }
    add_fact(p, META_INCARNATION, slice_of(p->next.bytes, INCARNATION_SIZE));
    add_fact(p, META_CERTIFICATE, buffer_slice(&p->certificate));
    add_fact(p, META_GIVEN_UP, buffer_slice(&p->given_up));
    add_fact(p, META_HOST, slice_of(n->host, sizeof n->host));
    add_fact(p, META_RETURNING, slice_of(NULL, 0));
    *ret_passage = p;
    return 0;
}

/* The next life has begun. */
static void arrive(struct node *n)
{
    struct returning *r = &n->returning;
    struct cm_detail detail = {""};
    bool renewed = r->certificate.size > 0;

    CM_MARK("return: a new incarnation");
    returning_drop_cut(r);
    returning_drop_link(n);
    if (node_load_identity(n, &detail) != 0)
        node_log(n, 'E', "returning: %s", detail.text);
    r->phase = RETURNING_NONE;
    r->reason = RETURN_NONE;
    r->waits[0] = '\0';
    r->claimed = RETURN_NONE;
    r->times++;
    buffer_clear(&r->certificate);
    n->status.alarm_fork = false;
    n->status.alarm_hazard = false;
    n->status.alarm_generation = false;
    n->generation_clash = false;
    n->told_evicted = false;
    if (n->standing != NULL)
        orders_view_changed(n);
    if (renewed)
        node_restart_gossip(n);
    node_log(n, 'W', "identity: returned, under a new incarnation");
    returning_retire(n);
}

/* ---- nobody else is there ---- */

bool returning_is_alone(const struct node *n)
{
    for (size_t i = 0; n->roster != NULL && i < n->roster->count; i++) {
        const struct key_id *k = &n->roster->members[i].certificate.key_id;

        if (!key_id_equal(k, &n->key_id))
            return false;
    }
    return n->roster != NULL && n->roster->count > 0;
}

static void succeeded(void *context, struct intent *i)
{
    struct node *n = context;

    if (i->result == 0)
        arrive(n);
    else
        returning_try_later(n, i->detail.text);
    intent_free(i);
}

static int submit_succession(struct node *n)
{
    struct intent *i = intent_new(INTENT_SUCCEED);
    struct passage *p = NULL;
    int error = i == NULL ? CM_ERR_NOMEM : passage_new(n, &p);

    for (size_t k = 0; error == 0 && k < p->facts_count; k++)
        error = intent_add_fact(i, p->facts[k].name, p->facts[k].value);
    passage_free(p);
    if (error == 0) {
        i->done = succeeded;
        i->context = n;
        error = n->ports.writer->submit(n->ports.ctx, i);
    }
    if (error != 0)
        intent_free(i);
    return error;
}

void returning_succeed(struct node *n)
{
    n->returning.phase = RETURNING_SUCCEED;
    n->returning.asked = true;
    if (submit_succession(n) != 0)
        returning_try_later(n, "the writer has too much to do");
}

/* ---- adopting ---- */

static void adopted(void *context, struct intent *i)
{
    struct node *n = context;
    struct returning *r = &n->returning;
    struct passage *p = i->replacement;

    if (i->result == 0) {
        n->cuts.counters.adopted++;
        cut_note_adopted(n, &p->source);
        arrive(n);
    } else if (i->result == CM_ERR_HELD) {
        n->cuts.counters.held_clock += r->waits[0] == '\0';
        returning_wait_for(n, i->detail.text);
        r->sink = p->sink;
        p->sink = NULL;
        r->phase = RETURNING_HELD;
        r->retry_ms = node_now(n) + HELD_RETRY_MS;
    } else {
        cut_refused(n, i->result, i->detail.text);
        returning_try_later(n, i->detail.text);
        (void)returning_another(n);
    }
    passage_free(p);
    intent_free(i);
}

/* "Two generations with one number never mix"; an older one is gone. */
static int check_generation(struct node *n, const struct passage *p,
                            struct cm_detail *detail)
{
    struct slice bytes = p->replacement.generation_order;
    struct generation_order order;
    struct generation_id id;
    int error = generation_order_decode(&order, bytes, n->authority_public_key);

    if (error != 0)
        return cm_fail(detail, error, "the cut's generation: %s",
                       cm_strerror(error));
    id = generation_id_of(order.number, bytes);
    generation_order_release(&order);
    if (id.number > n->generation.number ||
        generation_id_equal(&id, &n->generation))
        return 0;
    return cm_fail(detail, CM_ERR_WRONG_GENERATION,
                   "the sponsor is of generation %llu, this node of %llu",
                   (unsigned long long)id.number,
                   (unsigned long long)n->generation.number);
}

static int adopt(struct node *n, struct cm_detail *detail)
{
    struct returning *r = &n->returning;
    struct intent *i = intent_new(INTENT_REPLACE);
    struct passage *p = NULL;
    int error = i == NULL ? CM_ERR_NOMEM : passage_new(n, &p);

    if (error != 0) {
        intent_free(i);
        return cm_fail(detail, error, "%s", cm_strerror(error));
    }
    p->sink = r->sink;
    r->sink = NULL;
    error = snapshot_sink_replacement(p->sink, &p->replacement, detail);
    if (error == 0)
        error = check_generation(n, p, detail);
    p->facts_count +=
        cut_unconfirmed_fact(n, &p->source, &p->facts[p->facts_count]);
    p->replacement.mode = ADOPT_RETURN;
    p->replacement.forked = p->forked;
    p->replacement.forked_count =
        n->forked_count < NODE_FORKED_MAX ? n->forked_count : NODE_FORKED_MAX;
    p->replacement.contains = roster_may_enter(&n->own) ? &p->next : NULL;
    p->replacement.facts = p->facts;
    p->replacement.facts_count = p->facts_count;
    p->replacement.unsent = unsent_keep_event;
    i->replacement = p;
    i->done = adopted;
    i->context = n;
    r->phase = RETURNING_APPLY;
    if (error == 0)
        error = n->ports.writer->submit(n->ports.ctx, i);
    if (error != 0) {
        passage_free(p);
        intent_free(i);
    }
    return error;
}

void returning_received(struct node *n, int error,
                        const struct cm_detail *detail)
{
    struct returning *r = &n->returning;
    struct cm_detail why = *detail;

    if (error == 0)
        r->sink = cut_receiver_sink(r->receiver);
    cut_receiver_free(r->receiver);
    r->receiver = NULL;
    r->messages_before = 0;
    r->phase = RETURNING_APPLY;
    returning_drop_link(n);
    if (error == 0)
        error = adopt(n, &why);
    if (error != 0) {
        cut_refused(n, error, why.text);
        returning_drop_cut(r);
        returning_try_later(n, why.text);
    }
}

void returning_adopt_again(struct node *n)
{
    struct cm_detail detail = {""};
    int error = adopt(n, &detail);

    if (error != 0) {
        cut_refused(n, error, detail.text);
        returning_drop_cut(&n->returning);
        returning_try_later(n, detail.text);
    }
}
