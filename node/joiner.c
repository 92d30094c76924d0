/* The joiner: from a token to a ready replica.
 *
 * 1. It redeems the token with the issuer that made it: its keys are bound to
 *    the token, it gets a certificate and the generation's order.
 * 2. The composer initialises the store with a fresh incarnation.
 * 3. It asks the same node to sponsor it: to put the incarnation into the
 *    roster and to send a cut that contains this very add. A broken link goes
 * on where it was. "If the sponsor is gone, it asks another under a further
 *    incarnation and retires the one given up", which may have been rostered.
 * 4. The verified cut replaces the (empty) state in one transaction; only then
 *    is it ready. It writes nothing before and enters never twice.
 *
 * A certificate can be refused in 3: it is older than an eviction order, or
 * whoever signed it was evicted. The token that this start was given is then
 * redeemed for another one, which is on disk before it is used.
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

/* Without a message of the cut between them, of one sponsor. */
#define SPONSOR_FAILURES_MAX 3
#define HELD_RETRY_MS 1000
#define INTRODUCED_MAX 4 /* contacted at a time */

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
    if (n->joiner.renews) {
        n->joiner.renews = false;
        n->joiner.phase = JOIN_NONE;
        returning_renewed(n, slice_of(NULL, 0), reason);
        return;
    }
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
    j->phase = JOIN_REDEEM;
    j->has_token = true;
    j->retry_ms = node_now(n);
    node_set_not_ready(n, "joining: no issuer has answered yet");
    return 0;
}

int joiner_renew(struct node *n, const char *token, struct cm_detail *detail)
{
    struct joiner *j = &n->joiner;
    int error = token_parse(&j->token, token, detail);

    CHECK(n->has_identity && j->phase == JOIN_NONE);
    if (error != 0)
        return error;
    buffer_release(&j->certificate);
    buffer_release(&j->generation_order);
    buffer_init(&j->certificate, CERTIFICATE_SIZE_MAX);
    buffer_init(&j->generation_order, CHANNEL_FRAME_MAX);
    j->renews = true;
    j->failed = false;
    j->phase = JOIN_REDEEM;
    j->backoff_ms = 0;
    j->retry_ms = node_now(n);
    return 0;
}

/* ---- who else may sponsor ---- */

static void stored(void *context, struct intent *i)
{
    (void)context; /* without it a restart knows the issuer alone */
    intent_free(i);
}

static void store_others(struct node *n)
{
    struct joiner *j = &n->joiner;
    struct intent *i = intent_new(INTENT_META);
    struct buffer out;

    if (i == NULL)
        return;
    buffer_init(&out, CHANNEL_FRAME_MAX);
    pack_array(&out, j->others_count);
    for (size_t k = 0; k < j->others_count; k++)
        address_pack(&out, &j->others[k]);
    i->done = stored;
    if (out.error != 0 ||
        intent_add_fact(i, META_SPONSORS, buffer_slice(&out)) != 0 ||
        n->ports.writer->submit(n->ports.ctx, i) != 0)
        intent_free(i);
    buffer_release(&out);
}

static void load_others(struct node *n)
{
    struct joiner *j = &n->joiner;
    struct unpacker u;
    struct slice bytes;

    if (store_reader_renew(n->reader) != 0)
        return;
    if (store_meta(n->reader, META_SPONSORS, &bytes) == 0) {
        unpack_init(&u, bytes);
        j->others_count = unpack_array(&u, FRAME_ADDRESSES_MAX);
        for (size_t i = 0; i < j->others_count && u.error == 0; i++)
            address_unpack(&u, &j->others[i]);
        if (unpack_finish(&u) != 0)
            j->others_count = 0;
    }
    store_reader_reset(n->reader);
}

void joiner_introduce(struct node *n)
{
    struct joiner *j = &n->joiner;

    if (j->others_count == 0)
        load_others(n);
    for (size_t i = 0; i < j->others_count && i < INTRODUCED_MAX; i++) {
        const struct address *a = &j->others[j->others_next % j->others_count];

        j->others_next++;
        if (!address_equal(a, &n->address))
            (void)link_connect(n, a);
    }
}

static bool is_other(const struct joiner *j, const struct address *a)
{
    for (size_t i = 0; i < j->others_count; i++)
        if (address_equal(&j->others[i], a))
            return true;
    return false;
}

/* The addresses are stored; a token may know of others that came since. */
static void restart(struct node *n)
{
    struct joiner *j = &n->joiner;

    if (!j->has_token) {
        buffer_init(&j->certificate, CERTIFICATE_SIZE_MAX);
        buffer_init(&j->generation_order, CHANNEL_FRAME_MAX);
    }
    load_others(n);
    for (size_t i = 0; j->has_token && i < j->token.addresses_count &&
                       j->others_count < FRAME_ADDRESSES_MAX;
         i++) {
        if (!is_other(j, &j->token.addresses[i]))
            j->others[j->others_count++] = j->token.addresses[i];
    }
    j->asked = true; /* for all that is known */
}

void joiner_resume(struct node *n)
{
    struct joiner *j = &n->joiner;

    CHECK(n->has_identity && !n->ready);
    if (j->phase != JOIN_IDENTITY)
        restart(n);
    else if (j->others_count > 0)
        store_others(n);
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
    node_set_not_ready(n, "joining: waiting for the sponsor's cut");
}

void joiner_release(struct node *n)
{
    buffer_release(&n->joiner.certificate);
    buffer_release(&n->joiner.generation_order);
    cut_receiver_free(n->joiner.receiver);
    snapshot_sink_free(n->joiner.sink);
}

uint64_t joiner_deadline(const struct node *n)
{
    const struct joiner *j = &n->joiner;

    if ((j->phase != JOIN_REDEEM && j->phase != JOIN_SPONSOR &&
         j->phase != JOIN_HELD) ||
        j->failed)
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

/* ---- another sponsor ---- */

static void renamed(void *context, struct intent *i)
{
    struct node *n = context;
    struct joiner *j = &n->joiner;

    if (i->result == 0) {
        n->incarnation = j->incarnation;
        j->asked = false;
        CM_MARK("join: another sponsor, under a further incarnation");
    } else {
        node_log(n, 'W', "joining: no further incarnation: %s; %s",
                 cm_strerror(i->result), i->detail.text);
    }
    j->phase = JOIN_SPONSOR;
    j->retry_ms = node_now(n) + JOIN_RETRY_MS;
    intent_free(i);
}

/* A further incarnation; the former one joins the list of those that never
 * write. */
static int add_names(struct node *n, struct intent *i)
{
    struct joiner *j = &n->joiner;
    struct slice before = {0};
    struct buffer list;
    int error = store_reader_renew(n->reader);

    if (error != 0)
        return error;
    buffer_init(&list, INTENT_MEMORY_MAX / 2);
    if (store_meta(n->reader, META_GIVEN_UP, &before) == 0)
        buffer_append_slice(&list, before);
    store_reader_reset(n->reader);
    buffer_append(&list, n->incarnation.bytes, INCARNATION_SIZE);
    n->ports.random->fill(n->ports.ctx, j->incarnation.bytes, INCARNATION_SIZE);
    error = list.error;
    if (error == 0)
        error = intent_add_fact(i, META_GIVEN_UP, buffer_slice(&list));
    if (error == 0)
        error =
            intent_add_fact(i, META_INCARNATION,
                            slice_of(j->incarnation.bytes, INCARNATION_SIZE));
    buffer_release(&list);
    return error;
}

static int submit_rename(struct node *n)
{
    struct intent *i = intent_new(INTENT_META);
    int error = i == NULL ? CM_ERR_NOMEM : add_names(n, i);

    if (error == 0) {
        i->done = renamed;
        i->context = n;
        error = n->ports.writer->submit(n->ports.ctx, i);
    }
    if (error != 0)
        intent_free(i);
    return error;
}

/* Another address than that of the sponsor that is given up. */
static bool next_other(struct joiner *j)
{
    for (size_t i = 0; i < j->others_count; i++) {
        const struct address *a =
            &j->others[(j->others_next + i) % j->others_count];

        if (address_equal(a, &j->sponsor))
            continue;
        j->others_next = (j->others_next + i + 1) % j->others_count;
        j->sponsor = *a;
        return true;
    }
    return false;
}

static void another_sponsor(struct node *n)
{
    struct joiner *j = &n->joiner;
    char where[ADDRESS_TEXT_SIZE];

    j->failures = 0;
    if (!next_other(j))
        return;
    address_format(where, &j->sponsor);
    node_log(n, 'W', "joining: the sponsor is gone, asking %s", where);
    cut_receiver_free(j->receiver);
    j->receiver = NULL;
    j->messages_before = 0;
    if (!j->asked)
        return;
    j->phase = JOIN_RENAME;
    if (submit_rename(n) != 0)
        j->phase = JOIN_SPONSOR; /* the same name again, for now */
}

static void count_failure(struct node *n)
{
    struct joiner *j = &n->joiner;
    uint64_t cut, messages = 0;

    if (j->phase != JOIN_SPONSOR)
        return;
    if (j->receiver != NULL) {
        cut_receiver_link_gone(j->receiver);
        cut_receiver_wants(j->receiver, &cut, &messages);
    }
    j->failures = messages > j->messages_before ? 1 : j->failures + 1;
    j->messages_before = messages;
    if (j->failures >= SPONSOR_FAILURES_MAX)
        another_sponsor(n);
}

static int adopt(struct node *n, struct cm_detail *detail);

static void adopt_again(struct node *n)
{
    struct joiner *j = &n->joiner;
    struct cm_detail detail = {""};
    int error;

    j->phase = JOIN_APPLY;
    error = adopt(n, &detail);
    if (error == 0)
        return;
    cut_refused(n, error, detail.text);
    j->phase = JOIN_SPONSOR;
    try_later(n);
}

void joiner_tick(struct node *n, uint64_t now)
{
    struct joiner *j = &n->joiner;
    struct address to;
    struct link *l;

    if (now < joiner_deadline(n))
        return;
    j->retry_ms = UINT64_MAX;
    if (j->phase == JOIN_HELD) {
        adopt_again(n);
        return;
    }
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
    if (!j->renews)
        node_set_not_ready(n, "joining: %s at %s, trying again", reason, where);
    node_log(n, 'W', "joining: %s at %s, trying again", reason, where);
    try_later(n);
    count_failure(n);
}

static void received(struct node *n, int error, const struct cm_detail *detail);

static void ask_sponsor(struct node *n, struct link *l)
{
    struct joiner *j = &n->joiner;
    struct cm_detail detail = {""};
    uint64_t cut, messages;
    struct buffer frame;

    if (j->receiver == NULL &&
        cut_receiver_create(&j->receiver, n, received, &detail) != 0) {
        node_log(n, 'W', "joining: %s", detail.text);
        l->closing = true;
        return;
    }
    cut_receiver_wants(j->receiver, &cut, &messages);
    buffer_init(&frame, 256);
    frame_sponsor(&frame, &n->incarnation, n->level, CUT_JOIN, cut, messages);
    (void)link_send(n, l, &frame);
    buffer_release(&frame);
    j->was_asked = j->asked;
    j->asked = true;
    j->sponsor_key = l->peer;
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
        frame_hello(&frame, &n->address, &n->generation);
        (void)link_send(n, l, &frame);
        ask_sponsor(n, l);
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
    j->others_count = f->addresses_count;
    memcpy(j->others, f->addresses, f->addresses_count * sizeof *j->others);
    n->ports.random->fill(n->ports.ctx, j->incarnation.bytes, INCARNATION_SIZE);
    return j->certificate.error != 0 ? j->certificate.error
                                     : j->generation_order.error;
}

/* The verified snapshot on its way through the writer. */
struct adoption {
    struct replacement replacement; /* first: what the intent points to */
    struct snapshot_sink *sink;
    struct meta_fact facts[1];
    struct incarnation incarnation;
    struct key_id source;
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
        CM_MARK("join: a sponsor's cut was adopted");
        n->joiner.phase = JOIN_NONE;
        n->cuts.counters.adopted++;
        n->cuts.last_refusal[0] = '\0';
        node_become_ready(n);
        /* The sponsor may be gone by now, and nobody else knows this node. */
        joiner_introduce(n);
    } else if (i->result == CM_ERR_HELD) {
        struct adoption *a = i->replacement;

        n->cuts.counters.held_clock += n->joiner.phase != JOIN_HELD;
        node_set_not_ready(n, "joining: %s", i->detail.text);
        n->joiner.sink = a->sink;
        a->sink = NULL;
        n->joiner.phase = JOIN_HELD;
        n->joiner.retry_ms = node_now(n) + HELD_RETRY_MS;
    } else {
        cut_refused(n, i->result, i->detail.text);
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
                        "the sponsor's cut is of another generation");
    a->incarnation = n->incarnation;
    a->source = j->sponsor_key;
    /* Who only reads is added by nobody. */
    a->replacement.contains =
        roster_may_enter(&n->own) ? &a->incarnation : NULL;
    a->replacement.facts = a->facts;
    a->replacement.facts_count =
        cut_unconfirmed_fact(n, &a->source, &a->facts[0]);
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

/* The name that it asks under was sealed before it entered: it takes another
 * one, under which it may. */
static void take_further_name(struct node *n, const char *why)
{
    struct joiner *j = &n->joiner;

    node_set_not_ready(n, "joining: refused: %s", why);
    node_log(n, 'W', "joining: %s", why);
    cut_receiver_free(j->receiver);
    j->receiver = NULL;
    j->messages_before = 0;
    j->phase = JOIN_RENAME;
    if (submit_rename(n) == 0)
        return;
    j->phase = JOIN_SPONSOR;
    try_later(n);
}

/* ---- another certificate ---- */

static void redeem_again(struct node *n, const char *why)
{
    struct joiner *j = &n->joiner;

    node_set_not_ready(n, "joining: refused: %s", why);
    node_log(n, 'W',
             "joining: refused: %s; the token is redeemed for another "
             "certificate",
             why);
    (void)snprintf(j->refusal, sizeof j->refusal, "%s", why);
    cut_receiver_free(j->receiver);
    j->receiver = NULL;
    j->messages_before = 0;
    j->asked = j->was_asked; /* this one has rostered nobody */
    j->has_token = false;
    j->recertifies = true;
    j->address_index = 0;
    j->failures = 0;
    j->backoff_ms = 0;
    j->phase = JOIN_REDEEM;
    j->retry_ms = node_now(n);
}

static void recertified(void *context, struct intent *i)
{
    struct node *n = context;
    struct joiner *j = &n->joiner;

    if (i->result == 0) {
        CM_MARK("join: a refused certificate was replaced");
        node_renew_certificate(n, buffer_slice(&j->certificate));
        if (j->asked)
            n->incarnation = j->incarnation;
        j->asked = false;
        j->recertifies = false;
        store_others(n);
        peers_hurry(n);
        j->phase = JOIN_SPONSOR;
        j->retry_ms = node_now(n);
        node_set_not_ready(n, "joining: waiting for the sponsor's cut");
    } else {
        give_up(n, i->detail.text);
    }
    intent_free(i);
}

static int submit_certificate(struct node *n)
{
    struct joiner *j = &n->joiner;
    struct intent *i = intent_new(INTENT_META);
    int error = i == NULL ? CM_ERR_NOMEM
                          : intent_add_fact(i, META_CERTIFICATE,
                                            buffer_slice(&j->certificate));

    /* "Changed rights come with a new incarnation": another sponsor may have
     * rostered this one with the certificate that is refused. */
    if (error == 0 && j->asked)
        error = add_names(n, i);
    if (error == 0) {
        i->done = recertified;
        i->context = n;
        error = n->ports.writer->submit(n->ports.ctx, i);
    }
    if (error != 0)
        intent_free(i);
    return error;
}

static void on_another_certificate(struct node *n)
{
    struct joiner *j = &n->joiner;
    int error;

    if (slice_equal(buffer_slice(&j->certificate),
                    buffer_slice(&n->certificate))) {
        give_up(n, j->refusal); /* the very token that it came from */
        return;
    }
    if (!slice_equal(buffer_slice(&j->generation_order),
                     buffer_slice(&n->generation_order))) {
        give_up(n, "the mesh was restored since this directory began to join: "
                   "join with an empty one");
        return;
    }
    j->phase = JOIN_RENAME;
    error = submit_certificate(n);
    if (error != 0)
        give_up(n, cm_strerror(error));
}

/* SEALED answers the greeting of a node that was evicted: what it asks for is
 * answered next. */
static void on_refused(struct node *n, struct link *l, const struct frame *f)
{
    struct joiner *j = &n->joiner;

    if (f->code == CM_ERR_SEALED && j->phase == JOIN_SPONSOR)
        return;
    l->closing = true;
    if (f->code == CM_ERR_EXISTS && j->phase == JOIN_SPONSOR) {
        l->joins = false;
        take_further_name(n, f->text);
    } else if (f->code == CM_ERR_AUTHORITY && j->phase == JOIN_SPONSOR &&
               j->has_token) {
        l->joins = false;
        redeem_again(n, f->text);
    } else if (f->code == CM_ERR_BUSY || f->code == CM_ERR_NOT_READY ||
               f->code == CM_ERR_FULL || f->code == CM_ERR_IO) {
        joiner_on_link_gone(n, l, f->text);
        l->joins = false; /* told already */
    } else {
        give_up(n, f->text);
    }
}

static struct link *link_of(struct node *n)
{
    struct link *l;

    for (l = n->links; l != NULL; l = l->next)
        if (l->joins)
            return l;
    return NULL;
}

/* Whole and verified, or never. */
static void received(struct node *n, int error, const struct cm_detail *detail)
{
    struct joiner *j = &n->joiner;
    struct cm_detail why = *detail;
    struct link *l = link_of(n);

    if (error == 0)
        j->sink = cut_receiver_sink(j->receiver);
    cut_receiver_free(j->receiver);
    j->receiver = NULL;
    j->messages_before = 0;
    if (error == 0) {
        j->phase = JOIN_APPLY;
        error = adopt(n, &why);
    }
    if (error != 0) {
        cut_refused(n, error, why.text);
        j->phase = JOIN_SPONSOR; /* the closing link makes it try again */
        if (l == NULL)
            try_later(n);
    }
    if (l != NULL) {
        l->closing = true;
        link_pump(n, l);
    }
}

static void on_piece(struct node *n, struct link *l, const struct frame *f)
{
    struct joiner *j = &n->joiner;
    struct cut_progress p;
    int error;

    if (j->receiver == NULL)
        return; /* given up, or whole already */
    error = cut_receiver_take(j->receiver, l, f);
    if (error != 0) {
        if (error != CM_ERR_BUSY) {
            cut_refused(n, error, "its messages do not follow on one another");
            cut_receiver_free(j->receiver);
            j->receiver = NULL;
        }
        l->closing = true;
        return;
    }
    p = cut_receiver_progress(j->receiver);
    node_set_not_ready(n, "joining: %llu of %llu bytes of the cut are here",
                       (unsigned long long)p.bytes,
                       (unsigned long long)p.bytes_total);
}

static void on_grant(struct node *n, const struct link *l,
                     const struct frame *f)
{
    struct joiner *j = &n->joiner;

    if (take_grant(n, f) != 0) {
        give_up(n, "the issuer's certificate does not verify");
        return;
    }
    j->has_token = false;
    if (j->renews) {
        j->renews = false;
        j->phase = JOIN_NONE;
        returning_renewed(n, buffer_slice(&j->certificate), "");
        return;
    }
    j->sponsor = l->address;
    n->peers_count = 0;
    peers_remember(n, &l->peer, &l->address);
    if (j->recertifies)
        on_another_certificate(n);
    else
        j->phase = JOIN_IDENTITY;
}

bool joiner_on_frame(struct node *n, struct link *l, const struct frame *f)
{
    struct joiner *j = &n->joiner;

    if (!l->joins)
        return false;
    if (f->kind == FRAME_REFUSED) {
        on_refused(n, l, f);
    } else if (j->phase == JOIN_REDEEM && f->kind == FRAME_GRANT) {
        on_grant(n, l, f);
        l->joins = false;
        l->closing = true;
    } else if (j->phase == JOIN_SPONSOR) {
        if (f->kind == FRAME_SNAPSHOT || f->kind == FRAME_CUT)
            on_piece(n, l, f);
    }
    return true;
}
