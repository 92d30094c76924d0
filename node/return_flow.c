/* Returning: how a node whose incarnation has to end gets another one.
 *
 * "Offer the stored events of others, replace the state by a cut (never join),
 * reset watches, enter with a new incarnation."
 *
 *   STORE    reason and next incarnation are on disk before anybody hears of
 *            them, so that a crash anywhere goes on here
 *   OFFER    a living member is connected; it fetches what it lacks of what is
 *            here, by an ordinary exchange of version vectors
 *   RECEIVE  it puts the next incarnation into the roster and sends a cut that
 *            contains this very add; a broken link goes on where it was
 *   APPLY    the cut replaces everything in one transaction, in which own
 *            events that it does not cover are kept (unsent.h)
 *
 * Until then the node works on under its old name; only where that name was
 * proved to be used twice it writes nothing. "If the sponsor is gone, it asks
 * another under a further incarnation and retires the one given up", because
 * the former one may have been rostered meanwhile. Afterwards every earlier
 * incarnation is retired (return_retire.c). */
#include "node/return_flow.h"

#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"

#define RETRY_MS 500
#define RETRY_MS_MAX 10000
#define OFFER_MS_MAX 5000   /* for a member that fetches nothing */
#define OFFER_SETTLE_MS 300 /* between the last event and the cut */
#define OFFER_LOOK_MS 50
#define HELD_RETRY_MS 1000
#define FAILURES_MAX 3
#define LONELY_MS 5000 /* without any living member, until one is asked */
#define LONELY_MS_MAX 60000
#define LONELY_ASKED 4 /* at a time */
#define TOKEN_RETRY_MS 10000
#define RETURNING_BYTES_MAX 64

static const char *const phase_names[] = {
    "",     "storing",  "waiting",    "offering", "receiving",
    "held", "adopting", "succeeding", "renewing",
};

const char *returning_phase_name(const struct returning *r)
{
    CHECK(r->phase <= RETURNING_RENEW);
    return phase_names[r->phase];
}

static void wait_for(struct node *n, const char *text)
{
    struct returning *r = &n->returning;

    if (strncmp(r->waits, text, sizeof r->waits - 1) != 0 && text[0] != '\0')
        node_log(n, 'W', "returning: %s", text);
    (void)snprintf(r->waits, sizeof r->waits, "%s", text);
}

static void try_later(struct node *n, const char *text)
{
    struct returning *r = &n->returning;

    CM_MARK("return: tried again");
    wait_for(n, text);
    r->phase = RETURNING_IDLE;
    r->backoff_ms = r->backoff_ms == 0 ? RETRY_MS : r->backoff_ms * 2;
    if (r->backoff_ms > RETRY_MS_MAX)
        r->backoff_ms = RETRY_MS_MAX;
    r->retry_ms = node_now(n) + r->backoff_ms;
}

static struct link *link_of(struct node *n)
{
    struct link *l;

    for (l = n->links; l != NULL; l = l->next)
        if (l->returns)
            return l;
    return NULL;
}

static void drop_link(struct node *n)
{
    struct link *l = link_of(n);

    if (l != NULL) {
        l->returns = false;
        l->closing = true;
        link_pump(n, l);
    }
}

static void drop_cut(struct returning *r)
{
    cut_receiver_free(r->receiver);
    r->receiver = NULL;
    snapshot_sink_free(r->sink);
    r->sink = NULL;
    r->messages_before = 0;
}

/* ---- what is on disk ---- */

static void pack_fact(struct buffer *out, const struct returning *r)
{
    buffer_init(out, RETURNING_BYTES_MAX);
    pack_array(out, 2);
    pack_uint(out, r->reason);
    pack_bytes(out, r->next.bytes, INCARNATION_SIZE);
}

static int read_fact(struct node *n, const char *name, struct buffer *out)
{
    struct slice bytes;
    int error = store_reader_renew(n->reader);

    if (error == 0) {
        error = store_meta(n->reader, name, &bytes);
        if (error == 0)
            buffer_append_slice(out, bytes);
        store_reader_reset(n->reader);
    }
    return error != 0 ? error : out->error;
}

/* Those that are to be retired, with one more. */
static int given_up_with(struct node *n, const struct incarnation *more,
                         struct buffer *out)
{
    int error = read_fact(n, META_GIVEN_UP, out);

    if (error == CM_ERR_NOT_FOUND)
        error = 0;
    for (size_t i = 0; i + INCARNATION_SIZE <= out->size; i += INCARNATION_SIZE)
        if (memcmp(out->data + i, more->bytes, INCARNATION_SIZE) == 0)
            return error;
    buffer_append(out, more->bytes, INCARNATION_SIZE);
    return error != 0 ? error : out->error;
}

static void stored(void *context, struct intent *i)
{
    struct node *n = context;
    struct returning *r = &n->returning;

    if (i->result != 0) {
        r->phase = RETURNING_NONE; /* begins again with the next result */
        node_log(n, 'E', "returning: cannot be begun: %s; %s",
                 cm_strerror(i->result), i->detail.text);
    } else {
        uint64_t now = node_now(n);

        r->phase = RETURNING_IDLE;
        r->retry_ms = r->retry_ms > now ? r->retry_ms : now;
        r->asked = false;
    }
    intent_free(i);
}

/* The reason, a fresh incarnation, and the one that it stands for, if that one
 * may have been rostered. */
static int store_next(struct node *n)
{
    struct returning *r = &n->returning;
    struct intent *i = intent_new(INTENT_META);
    struct incarnation before = r->next;
    struct buffer fact, list;
    int error = i == NULL ? CM_ERR_NOMEM : 0;

    n->ports.random->fill(n->ports.ctx, r->next.bytes, INCARNATION_SIZE);
    pack_fact(&fact, r);
    buffer_init(&list, INTENT_MEMORY_MAX / 2);
    if (error == 0)
        error = fact.error;
    if (error == 0)
        error = intent_add_fact(i, META_RETURNING, buffer_slice(&fact));
    if (error == 0 && r->asked) {
        CM_MARK("return: another sponsor, under a further incarnation");
        error = given_up_with(n, &before, &list);
        if (error == 0)
            error = intent_add_fact(i, META_GIVEN_UP, buffer_slice(&list));
    }
    if (error == 0) {
        i->done = stored;
        i->context = n;
        error = n->ports.writer->submit(n->ports.ctx, i);
    }
    if (error != 0)
        intent_free(i);
    else
        r->phase = RETURNING_STORE;
    buffer_release(&fact);
    buffer_release(&list);
    return error;
}

/* A further reason while it returns already. That the mesh has a newer
 * generation comes before all others: of the members that the roster knows none
 * may live any more, and who lives is of that generation. */
static void turn_to(struct node *n, enum return_reason reason)
{
    struct returning *r = &n->returning;

    if (r->reason == RETURN_GENERATION ||
        (reason <= r->reason && reason != RETURN_GENERATION))
        return;
    r->reason = reason;
    if (reason != RETURN_GENERATION)
        return;
    r->sponsor_known = false;
    if (r->phase == RETURNING_IDLE) {
        drop_cut(r);
        r->retry_ms = node_now(n);
    }
}

void returning_begin(struct node *n, enum return_reason reason)
{
    struct returning *r = &n->returning;

    if (reason == RETURN_NONE || !n->has_identity || !n->ready)
        return;
    if (r->phase != RETURNING_NONE) {
        turn_to(n, reason);
        return;
    }
    r->reason = reason;
    r->since_ms = node_now(n);
    r->retry_ms = node_now(n);
    r->asked = false;
    r->sponsor_known = false; /* the last return's would do for that alone */
    r->elsewhere = false;
    r->signer_too = false;
    r->backoff_ms = 0;
    r->failures = 0;
    CM_MARK("return: begun");
    node_log(n, 'E',
             "identity: %s. It returns: it asks a member for a whole cut and "
             "goes on under a new incarnation; what nobody has of its writes "
             "is kept (confmesh unsent)",
             return_reason_text(reason));
    if (store_next(n) != 0)
        r->phase = RETURNING_NONE;
}

/* Nobody else in the roster lives who could say so, too. */
static bool has_other(const struct node *n, const struct key_id *by)
{
    for (size_t i = 0; n->roster != NULL && i < n->roster->count; i++) {
        const struct key_id *k = &n->roster->members[i].certificate.key_id;
        struct member_view view;

        if (!key_id_equal(k, &n->key_id) && !key_id_equal(k, by) &&
            n->gossip != NULL && gossip_member_find(n->gossip, k, &view) &&
            view.state == MEMBER_ALIVE)
            return true;
    }
    return false;
}

void returning_claimed(struct node *n, enum return_reason reason,
                       const struct key_id *by)
{
    struct returning *r = &n->returning;
    bool second = r->claimed == reason && !key_id_equal(&r->claimed_by, by);

    if (key_id_equal(by, &n->key_id))
        return;
    if (!second && has_other(n, by)) {
        r->claimed = reason;
        r->claimed_by = *by;
        return;
    }
    CM_MARK("return: told by members, without proof");
    returning_begin(n, reason);
}

void returning_begin_with(struct node *n, enum return_reason reason,
                          const struct key_id *peer,
                          const struct address *address)
{
    struct returning *r = &n->returning;

    if (key_id_equal(peer, &n->key_id) || address->family == 0)
        return;
    r->newer.known = true;
    r->newer.peer = *peer;
    r->newer.address = *address;
    returning_begin(n, reason);
}

void returning_note_branch(struct node *n, const struct key_id *peer,
                           const struct address *address)
{
    struct returning *r = &n->returning;

    if (r->phase != RETURNING_NONE || address->family == 0)
        return; /* that one may go by another */
    r->newer.known = true;
    r->newer.peer = *peer;
    r->newer.address = *address;
}

static bool load_fact(struct node *n)
{
    struct returning *r = &n->returning;
    struct buffer bytes;
    struct unpacker u;
    bool ret;

    buffer_init(&bytes, RETURNING_BYTES_MAX);
    ret = read_fact(n, META_RETURNING, &bytes) == 0;
    unpack_init(&u, buffer_slice(&bytes));
    unpack_array_of(&u, 2);
    r->reason = (enum return_reason)unpack_uint(&u, RETURN_REASON_LAST);
    unpack_bytes(&u, r->next.bytes, INCARNATION_SIZE);
    ret = ret && unpack_finish(&u) == 0 && r->reason != RETURN_NONE;
    buffer_release(&bytes);
    return ret;
}

static bool is_other_host(struct node *n)
{
    static const uint8_t unknown[sizeof n->host];
    struct buffer bytes;
    bool ret;

    if (memcmp(n->host, unknown, sizeof unknown) == 0)
        return false; /* nobody looked */

    buffer_init(&bytes, sizeof n->host);
    ret = read_fact(n, META_HOST, &bytes) == 0 &&
          !slice_equal(buffer_slice(&bytes), slice_of(n->host, sizeof n->host));
    buffer_release(&bytes);
    return ret;
}

void returning_load(struct node *n)
{
    struct returning *r = &n->returning;
    /* Who only reads reuses no name, wherever it lives. */
    bool other_host = roster_may_enter(&n->own) && is_other_host(n);

    CHECK(n->has_identity);
    buffer_release(&r->certificate);
    buffer_init(&r->certificate, CERTIFICATE_SIZE_MAX);
    if (!n->ready)
        return;
    r->lonely_ms = node_now(n) + LONELY_MS;
    if (!load_fact(n)) {
        r->reason = RETURN_NONE;
        returning_begin(n, n->found_reason != RETURN_NONE
                               ? n->found_reason
                               : (other_host ? RETURN_HOST : RETURN_NONE));
        if (r->phase == RETURNING_NONE)
            returning_retire(n);
        return;
    }
    CM_MARK("return: goes on after a restart");
    node_log(n, 'E', "identity: still returning: %s",
             return_reason_text(r->reason));
    r->since_ms = node_now(n);
    r->asked = true; /* for all that is known */
    /* A copy of a directory that was returning must not ask under the name
     * that its original asks under. */
    if (other_host && store_next(n) == 0)
        return;
    r->phase = RETURNING_IDLE;
    r->retry_ms = node_now(n);
}

void returning_release(struct node *n)
{
    drop_cut(&n->returning);
    buffer_release(&n->returning.certificate);
    cm_free(n->returning.token);
    n->returning.token = NULL;
}

uint64_t returning_deadline(const struct node *n)
{
    switch (n->returning.phase) {
    case RETURNING_IDLE:
    case RETURNING_OFFER:
    case RETURNING_HELD:
    case RETURNING_RENEW:
        return n->returning.retry_ms;
    case RETURNING_NONE:
        return n->gossip != NULL && n->peers_count > 0 ? n->returning.lonely_ms
                                                       : UINT64_MAX;
    case RETURNING_STORE:
    case RETURNING_RECEIVE:
    case RETURNING_APPLY:
    case RETURNING_SUCCEED:
        break;
    }
    return UINT64_MAX;
}

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
        error = given_up_with(n, &n->incarnation, &p->given_up);
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
    drop_cut(r);
    drop_link(n);
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

static bool is_alone(const struct node *n)
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
        try_later(n, i->detail.text);
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

static void succeed(struct node *n)
{
    n->returning.phase = RETURNING_SUCCEED;
    n->returning.asked = true;
    if (submit_succession(n) != 0)
        try_later(n, "the writer has too much to do");
}

/* ---- whom to ask ---- */

static void another(struct node *n)
{
    struct returning *r = &n->returning;
    struct key_id before = r->sponsor;

    r->failures = 0;
    r->sponsor_known = false;
    r->turn++;
    r->elsewhere = !r->elsewhere;
    drop_cut(r);
    if (returning_choose(n) && key_id_equal(&before, &r->sponsor)) {
        r->turn++; /* living and known: it stands there twice */
        r->sponsor_known = false;
        (void)returning_choose(n);
    }
    if (!r->sponsor_known || key_id_equal(&before, &r->sponsor))
        return; /* nobody else: the same again, to which the add is known */
    if (r->asked && store_next(n) != 0)
        try_later(n, "the writer has too much to do");
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
    another(n);
}

/* ---- offering, asking ---- */

static void offer(struct node *n)
{
    struct returning *r = &n->returning;
    struct buffer frame;
    struct link *l;

    if (!r->sponsor_known && !returning_choose(n)) {
        try_later(n,
                  "no other member of the roster is known here; if none lives, "
                  "restore a new mesh from the best local state (see "
                  "confmesh doctor)");
        return;
    }
    l = link_connect(n, &r->address);
    if (l == NULL) {
        try_later(n, "too many connections are open");
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

static void received(struct node *n, int error, const struct cm_detail *detail);

static void ask(struct node *n, struct link *l)
{
    struct returning *r = &n->returning;
    struct cm_detail detail = {""};
    uint64_t cut, messages;
    struct buffer frame;
    int error = 0;

    if (r->receiver == NULL)
        error = cut_receiver_create(&r->receiver, n, received, &detail);
    if (error != 0) {
        drop_link(n);
        try_later(n, detail.text);
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
        drop_link(n);
        try_later(n, "the connection takes nothing");
        count_failure(n);
    }
}

/* Until the sponsor has fetched what it wants: its own SYNC came and was
 * answered, ours was answered. */
static void look_at_offer(struct node *n, uint64_t now)
{
    struct returning *r = &n->returning;
    struct link *l = link_of(n);
    bool late = now >= r->since_ms + OFFER_MS_MAX;

    if (l == NULL) {
        try_later(n, "the connection was closed");
        return;
    }
    r->retry_ms = now + OFFER_LOOK_MS;
    if (!l->established || l->serving || (l->asked && !late) ||
        now < r->since_ms + OFFER_SETTLE_MS)
        return;
    if (l->asked) { /* it does not answer; it may sponsor nonetheless */
        l->asked = false;
        l->deadline_ms = now + LINK_IDLE_MS;
    }
    ask(n, l);
}

static int adopt(struct node *n, struct cm_detail *detail);

static void adopt_again(struct node *n)
{
    struct cm_detail detail = {""};
    int error = adopt(n, &detail);

    if (error != 0) {
        cut_refused(n, error, detail.text);
        drop_cut(&n->returning);
        try_later(n, detail.text);
    }
}

static void begin_renewal(struct node *n);

/* An evicted node is not heard by gossip: to it everybody is dead. Over a
 * stream it is told why. */
static void ask_when_lonely(struct node *n, uint64_t now)
{
    struct returning *r = &n->returning;

    if (!orders_outnumbered(n) || is_alone(n)) {
        r->lonely_backoff_ms = 0;
        r->lonely_ms = now + LONELY_MS;
        return;
    }
    joiner_introduce(n);
    for (size_t i = 0, asked = 0; i < n->peers_count && asked < LONELY_ASKED;
         i++) {
        const struct peer_address *p =
            &n->peers[r->lonely_turn++ % n->peers_count];

        if (key_id_equal(&p->peer, &n->key_id) ||
            !returning_is_rostered(n, &p->peer))
            continue;
        (void)link_to(n, &p->peer, &p->address);
        asked++;
    }
    r->lonely_backoff_ms =
        r->lonely_backoff_ms == 0 ? LONELY_MS : 2 * r->lonely_backoff_ms;
    if (r->lonely_backoff_ms > LONELY_MS_MAX)
        r->lonely_backoff_ms = LONELY_MS_MAX;
    r->lonely_ms = now + r->lonely_backoff_ms;
}

void returning_tick(struct node *n, uint64_t now)
{
    struct returning *r = &n->returning;

    if (now < returning_deadline(n))
        return;
    switch (r->phase) {
    case RETURNING_IDLE:
        if (is_alone(n))
            succeed(n);
        else
            offer(n);
        break;
    case RETURNING_OFFER:
        look_at_offer(n, now);
        break;
    case RETURNING_HELD:
        adopt_again(n);
        break;
    case RETURNING_RENEW:
        begin_renewal(n);
        break;
    case RETURNING_NONE:
        ask_when_lonely(n, now);
        break;
    case RETURNING_STORE:
    case RETURNING_RECEIVE:
    case RETURNING_APPLY:
    case RETURNING_SUCCEED:
        break;
    }
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
    try_later(n, text);
    count_failure(n);
}

/* ---- a token ---- */

static void begin_renewal(struct node *n)
{
    struct returning *r = &n->returning;
    struct cm_detail detail = {""};
    int error;

    r->phase = RETURNING_RENEW;
    r->retry_ms = UINT64_MAX;
    CHECK(r->token != NULL);
    error = joiner_renew(n, r->token, &detail);
    cm_free(r->token);
    r->token = NULL;
    if (error != 0)
        returning_renewed(n, slice_of(NULL, 0), detail.text);
}

void returning_renewed(struct node *n, struct slice certificate,
                       const char *why)
{
    struct returning *r = &n->returning;

    if (r->phase != RETURNING_RENEW)
        return;
    if (certificate.size > 0) {
        buffer_clear(&r->certificate);
        buffer_append_slice(&r->certificate, certificate);
        node_log(n, 'I', "returning: the token gave a new certificate");
        node_renew_certificate(n, certificate);
        r->phase = RETURNING_IDLE;
        r->retry_ms = node_now(n);
        r->backoff_ms = 0;
        return;
    }
    try_later(n, why);
    r->retry_ms = node_now(n) + TOKEN_RETRY_MS;
}

static void on_refused(struct node *n, const struct frame *f)
{
    struct returning *r = &n->returning;
    enum returning_phase before = r->phase;
    char text[RETURNING_TEXT_MAX + 16];

    drop_link(n);
    (void)snprintf(text, sizeof text, "refused: %s", f->text);
    try_later(n, text);
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
    r->retry_ms = node_now(n) + TOKEN_RETRY_MS;
    another(n);
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
        wait_for(n, i->detail.text);
        r->sink = p->sink;
        p->sink = NULL;
        r->phase = RETURNING_HELD;
        r->retry_ms = node_now(n) + HELD_RETRY_MS;
    } else {
        cut_refused(n, i->result, i->detail.text);
        try_later(n, i->detail.text);
        another(n);
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

static void received(struct node *n, int error, const struct cm_detail *detail)
{
    struct returning *r = &n->returning;
    struct cm_detail why = *detail;

    if (error == 0)
        r->sink = cut_receiver_sink(r->receiver);
    cut_receiver_free(r->receiver);
    r->receiver = NULL;
    r->messages_before = 0;
    r->phase = RETURNING_APPLY;
    drop_link(n);
    if (error == 0)
        error = adopt(n, &why);
    if (error != 0) {
        cut_refused(n, error, why.text);
        drop_cut(r);
        try_later(n, why.text);
    }
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
            drop_cut(r);
        }
        l->closing = true;
    }
    return true;
}
