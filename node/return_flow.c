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
 * incarnation is retired (return_retire.c).
 *
 * Here are the reasons, what of it is on disk, and time; who is asked and how
 * is in return_sponsor.c and return_ask.c, the passage into the next life in
 * return_adopt.c. */
#include "node/return_flow.h"

#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"

#define RETRY_MS 500
#define RETRY_MS_MAX 10000
#define LONELY_MS 5000 /* without any living member, until one is asked */
#define LONELY_MS_MAX 60000
#define LONELY_ASKED 4 /* at a time */
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

bool returning_comes_over(const struct node *n)
{
    return n->returning.phase == RETURNING_APPLY &&
           n->returning.reason == RETURN_GENERATION;
}

void returning_wait_for(struct node *n, const char *text)
{
    struct returning *r = &n->returning;

    if (strncmp(r->waits, text, sizeof r->waits - 1) != 0 && text[0] != '\0')
        node_log(n, 'W', "returning: %s", text);
    (void)snprintf(r->waits, sizeof r->waits, "%s", text);
}

void returning_try_later(struct node *n, const char *text)
{
    struct returning *r = &n->returning;

    CM_MARK("return: tried again");
    returning_wait_for(n, text);
    r->phase = RETURNING_IDLE;
    r->backoff_ms = r->backoff_ms == 0 ? RETRY_MS : r->backoff_ms * 2;
    if (r->backoff_ms > RETRY_MS_MAX)
        r->backoff_ms = RETRY_MS_MAX;
    r->retry_ms = node_now(n) + r->backoff_ms;
}

void returning_drop_cut(struct returning *r)
{
    cut_receiver_free(r->receiver);
    r->receiver = NULL;
    snapshot_sink_free(r->sink);
    r->sink = NULL;
    r->messages_before = 0;
}

/* ---- what is on disk ---- */

void returning_pack_fact(struct buffer *out, const struct returning *r)
{
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
int returning_given_up_with(struct node *n, const struct incarnation *more,
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
        if (r->asked) { /* or goes on: the one before has to be given up */
            r->next = r->before;
            r->sponsor_known = false;
            returning_try_later(n, i->detail.text);
        }
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
int returning_store_next(struct node *n)
{
    struct returning *r = &n->returning;
    struct intent *i = intent_new(INTENT_META);
    struct buffer fact, list;
    int error = i == NULL ? CM_ERR_NOMEM : 0;

    r->before = r->next;
    n->ports.random->fill(n->ports.ctx, r->next.bytes, INCARNATION_SIZE);
    buffer_init(&fact, RETURNING_BYTES_MAX);
    returning_pack_fact(&fact, r);
    buffer_init(&list, INTENT_MEMORY_MAX / 2);
    if (error == 0)
        error = fact.error;
    if (error == 0)
        error = intent_add_fact(i, META_RETURNING, buffer_slice(&fact));
    if (error == 0 && r->asked) {
        CM_MARK("return: another sponsor, under a further incarnation");
        error = returning_given_up_with(n, &r->before, &list);
        if (error == 0)
            error = intent_add_fact(i, META_GIVEN_UP, buffer_slice(&list));
    }
    if (error == 0) {
        i->done = stored;
        i->context = n;
        error = n->ports.writer->submit(n->ports.ctx, i);
    }
    if (error != 0) {
        r->next = r->before; /* nobody may hear of one that is not on disk */
        intent_free(i);
    } else {
        r->phase = RETURNING_STORE;
    }
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
    r->elsewhere = false;
    if (r->phase == RETURNING_IDLE) {
        returning_drop_cut(r);
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
    r->hasty = 0;
    CM_MARK("return: begun");
    node_log(n, 'E',
             "identity: %s. It returns: it asks a member for a whole cut and "
             "goes on under a new incarnation; what nobody has of its writes "
             "is kept (confmesh unsent)",
             return_reason_text(reason));
    if (returning_store_next(n) != 0)
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
    r->asked = true; /* for all that is known, and of a copy's original */
    r->sponsor_known = false; /* whom it was told to nobody knows any more */
    r->phase = RETURNING_IDLE;
    r->retry_ms = node_now(n);
}

void returning_release(struct node *n)
{
    returning_drop_cut(&n->returning);
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

static void begin_renewal(struct node *n);

/* An evicted node is not heard by gossip: to it everybody is dead. Over a
 * stream it is told why. */
static void ask_when_lonely(struct node *n, uint64_t now)
{
    struct returning *r = &n->returning;

    if (!orders_outnumbered(n) || returning_is_alone(n)) {
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
        /* In a newer generation there are others: those who restored it. */
        if (returning_is_alone(n) && r->reason != RETURN_GENERATION)
            returning_succeed(n);
        else
            returning_offer(n);
        break;
    case RETURNING_OFFER:
        returning_look_at_offer(n, now);
        break;
    case RETURNING_HELD:
        returning_adopt_again(n);
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
    returning_try_later(n, why);
    r->retry_ms = node_now(n) + RETURNING_TOKEN_RETRY_MS;
}
