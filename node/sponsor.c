/* The sponsor's side of joining, and the issuer's.
 *
 * JOIN: a node without certificate redeems a token that this node made. The
 * redemption is on disk before the certificate leaves, so that no token is used
 * more often than it says, and a redeemer that lost the answer gets the same.
 * SPONSOR: a certified node asks for its incarnation to be rostered. The add
 * is one operation of this node; then a cut that contains it is sent
 * (cut_serve.c). */
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"

_Static_assert(TOKEN_TABLE_BYTES_MAX <= INTENT_MEMORY_MAX - 4096,
               "all tokens fit into one intent");

#define CERTIFICATE_VALID_MS (UINT64_C(10) * 365 * 86400 * 1000)

int sponsor_load_tokens(struct node *n)
{
    struct slice bytes;
    int error = issuer_load(n);

    if (error == 0)
        error = store_reader_renew(n->reader);
    if (error != 0)
        return error;
    error = store_meta(n->reader, META_TOKENS, &bytes);
    if (error == 0)
        error = token_table_decode(&n->tokens, bytes);
    store_reader_reset(n->reader);
    if (error == CM_ERR_NOT_FOUND)
        error = 0;
    if (error == CM_ERR_DAMAGED) { /* nothing else hangs on them */
        node_log(n, 'E',
                 "damage: the join tokens that were made here cannot be read "
                 "any more: make new ones (confmesh token create)");
        error = 0;
    }
    return error;
}

static int submit_tokens(struct node *n, intent_done done, void *context)
{
    struct intent *i = intent_new(INTENT_META);
    struct buffer out;
    int error;

    if (i == NULL)
        return CM_ERR_NOMEM;
    buffer_init(&out, INTENT_MEMORY_MAX);
    token_table_encode(&out, &n->tokens);
    i->done = done;
    i->context = context;
    error = out.error;
    if (error == 0)
        error = intent_add_fact(i, META_TOKENS, buffer_slice(&out));
    if (error == 0)
        error = n->ports.writer->submit(n->ports.ctx, i);
    if (error != 0)
        intent_free(i);
    buffer_release(&out);
    return error;
}

static void stored_again(void *context, struct intent *i)
{
    (void)context; /* else with the next token */
    intent_free(i);
}

void sponsor_store_tokens(struct node *n)
{
    (void)submit_tokens(n, stored_again, n);
}

/* ---- making a token ---- */

struct token_creation {
    struct node *node;
    node_token_done done;
    void *ctx;
    char text[TOKEN_TEXT_MAX];
};

static void token_stored(void *context, struct intent *i)
{
    struct token_creation *c = context;

    if (i->result == 0)
        c->done(c->ctx, 0, c->text, NULL);
    else
        c->done(c->ctx, i->result, NULL, i->detail.text);
    cm_free(c);
    intent_free(i);
}

static const char *token_refusal(const struct node *n, unsigned uses,
                                 uint64_t ttl_ms, int *ret_error)
{
    *ret_error = CM_ERR_NOT_READY;
    if (!n->ready)
        return "the node is not ready: wait until readyz answers 200";
    *ret_error = CM_ERR_AUTHORITY;
    if (!node_is_issuer(n))
        return "this node is no issuer: ask the node that init or restore "
               "made, or make this one (confmesh issuer --authority FILE)";
    if (n->standing != NULL && n->standing->self_evictee)
        return "this node was evicted, so nobody would let in whom it "
               "certifies: ask another issuer";
    *ret_error = CM_ERR_INVALID;
    if (uses < 1 || uses > TOKEN_USES_MAX)
        return "uses must be 1 to 10000";
    if (ttl_ms < 1000 || ttl_ms > TOKEN_TTL_MS_MAX)
        return "ttl must be 1 s to 365 days";
    *ret_error = 0;
    return NULL;
}

void node_token_create(struct node *n, unsigned uses, uint64_t ttl_ms,
                       const struct token_rights *rights, node_token_done done,
                       void *ctx)
{
    struct token_creation *c;
    struct token t;
    const char *refusal;
    int error;

    refusal = token_refusal(n, uses, ttl_ms, &error);
    if (refusal != NULL) {
        done(ctx, error, NULL, refusal);
        return;
    }
    memset(&t, 0, sizeof t);
    memcpy(t.authority_hash, n->authority_hash, sizeof t.authority_hash);
    n->ports.random->fill(n->ports.ctx, t.id, sizeof t.id);
    n->ports.random->fill(n->ports.ctx, t.secret, sizeof t.secret);
    t.expires_ms = node_wall(n) + ttl_ms;
    t.addresses[0] = n->address;
    t.addresses_count = 1;
    c = cm_calloc(1, sizeof *c);
    error = c == NULL ? CM_ERR_NOMEM : token_format(c->text, &t);
    if (error == 0)
        error = token_table_add(&n->tokens, &t, uses, rights, node_wall(n));
    if (error == 0) {
        c->node = n;
        c->done = done;
        c->ctx = ctx;
        error = submit_tokens(n, token_stored, c);
    }
    if (error != 0) {
        cm_free(c);
        done(ctx, error, NULL,
             error == CM_ERR_LIMIT
                 ? "256 unexpired tokens exist, or more redemptions than are "
                   "remembered: let some expire first"
                 : cm_strerror(error));
    }
    node_drain(n);
}

/* ---- redeeming one ---- */

static void refuse(struct node *n, struct link *l, int code, const char *text)
{
    struct buffer frame;

    node_log(n, 'W', "a joiner was refused: %s", text);
    buffer_init(&frame, 1024);
    frame_refused(&frame, code, text);
    (void)link_send(n, l, &frame);
    buffer_release(&frame);
    l->closing = true;
}

static int issue(struct node *n, const struct link *l, const char *name,
                 const struct token_rights *rights, struct buffer *out)
{
    const struct channel_peer *peer = channel_peer(l->channel);
    struct certificate c;
    uint64_t now = node_wall(n);

    memset(&c, 0, sizeof c);
    c.mesh = n->mesh;
    memcpy(c.sign_key, peer->sign_key, sizeof c.sign_key);
    memcpy(c.box_key, peer->box_key, sizeof c.box_key);
    (void)snprintf(c.name, sizeof c.name, "%s", name);
    c.roles = rights->reader ? ROLE_READER : ROLE_WRITER;
    memcpy(c.prefixes, rights->prefixes, sizeof c.prefixes);
    c.prefixes_count = rights->prefixes_count;
    if (!rights->reader && rights->prefixes_count == 0)
        c.prefixes[c.prefixes_count++] = slice_of("", 0); /* everything */
    c.not_before_ms = now;
    c.not_after_ms = now + CERTIFICATE_VALID_MS;
    c.issuer = issuer_certificate(n);
    return certificate_encode(out, &c, n->sign_secret_key);
}

static void send_grant(struct node *n, struct link *l, struct slice certificate)
{
    struct address addresses[FRAME_ADDRESSES_MAX];
    struct buffer frame;
    size_t count = 0;
    size_t i;

    addresses[count++] = n->address;
    for (i = 0; i < n->peers_count && count < FRAME_ADDRESSES_MAX; i++)
        addresses[count++] = n->peers[i].address;
    buffer_init(&frame, CHANNEL_FRAME_MAX);
    frame_grant(&frame, certificate, buffer_slice(&n->generation_order),
                addresses, count);
    if (link_send(n, l, &frame) != 0)
        l->closing = true;
    buffer_release(&frame);
}

/* The redemption is durable; the link may be gone by now. */
struct redemption_reply {
    struct node *node;
    uint64_t stream;
    struct buffer certificate;
};

static void redemption_stored(void *context, struct intent *i)
{
    struct redemption_reply *r = context;
    struct link *l = link_by_stream(r->node, r->stream);

    if (l != NULL) {
        if (i->result == 0)
            send_grant(r->node, l, buffer_slice(&r->certificate));
        else
            refuse(r->node, l, CM_ERR_IO, "the issuer's disk failed");
        link_pump(r->node, l);
    }
    buffer_release(&r->certificate);
    cm_free(r);
    intent_free(i);
}

static bool name_is_taken(const struct node *n, const char *name,
                          const uint8_t sign_key[32])
{
    size_t i;

    for (i = 0; n->roster != NULL && i < n->roster->count; i++) {
        const struct certificate *c = &n->roster->members[i].certificate;

        if (strcmp(c->name, name) == 0 &&
            memcmp(c->sign_key, sign_key, 32) != 0)
            return true;
    }
    /* Readers are in no roster. */
    for (i = 0; n->gossip != NULL && i < gossip_member_total(n->gossip); i++) {
        struct key_id key = key_id_of(sign_key);
        struct member_view m;

        gossip_member_at(n->gossip, i, &m);
        if (strcmp(m.name, name) == 0 && !key_id_equal(&m.key_id, &key))
            return true;
    }
    return false;
}

/* Stores all redemptions, then sends the certificate. A known one is stored
 * again: whether it is on disk yet, or its commit failed, is not known here. */
static int grant_when_stored(struct node *n, struct link *l,
                             struct slice certificate)
{
    struct redemption_reply *r = cm_calloc(1, sizeof *r);
    int error;

    if (r == NULL)
        return CM_ERR_NOMEM;
    r->node = n;
    r->stream = l->stream;
    buffer_init(&r->certificate, CERTIFICATE_SIZE_MAX);
    buffer_append_slice(&r->certificate, certificate);
    error = r->certificate.error;
    if (error == 0)
        error = submit_tokens(n, redemption_stored, r);
    if (error != 0) {
        buffer_release(&r->certificate);
        cm_free(r);
        return error;
    }
    l->redeems = true;
    return 0;
}

static void redeem(struct node *n, struct link *l, const struct frame *f,
                   struct token_record *record)
{
    struct buffer certificate;
    int error;

    buffer_init(&certificate, CERTIFICATE_SIZE_MAX);
    error = issue(n, l, f->name, &record->rights, &certificate);
    if (error == 0 && token_table_size(&n->tokens) + certificate.size +
                              TOKEN_REDEMPTION_BYTES >
                          TOKEN_TABLE_BYTES_MAX)
        error = CM_ERR_LIMIT;
    if (error == 0)
        error = token_record_redeem(record, channel_peer(l->channel)->sign_key,
                                    buffer_slice(&certificate));
    if (error == 0)
        error = grant_when_stored(n, l, buffer_slice(&certificate));
    if (error == CM_ERR_LIMIT)
        refuse(n, l, error,
               "the issuer remembers as many redemptions as it can: wait until "
               "older tokens have expired, or join through another issuer");
    else if (error != 0)
        refuse(n, l, CM_ERR_BUSY, cm_strerror(error));
    buffer_release(&certificate);
}

static void grant_again(struct node *n, struct link *l,
                        const struct redemption *known)
{
    int error = grant_when_stored(n, l, known->certificate);

    if (error != 0)
        refuse(n, l, CM_ERR_BUSY, cm_strerror(error));
}

void sponsor_on_join(struct node *n, struct link *l, const struct frame *f)
{
    const uint8_t *sign_key = channel_peer(l->channel)->sign_key;
    const struct redemption *known = NULL;
    struct token_record *record = NULL;
    struct cm_detail detail = {""};
    int error;

    if (!n->ready) {
        refuse(n, l, CM_ERR_NOT_READY, "the issuer is not ready yet");
        return;
    }
    if (l->redeems) {
        refuse(n, l, CM_ERR_DUPLICATE, "this connection has asked already");
        return;
    }
    if (token_table_size(&n->tokens) > TOKEN_TABLE_BYTES_MAX / 2)
        token_table_forget_expired(&n->tokens, node_wall(n));
    error = token_table_find(&n->tokens, f->token_id, f->token_secret, sign_key,
                             node_wall(n), &record, &known);
    if (error == CM_ERR_NOT_FOUND)
        refuse(n, l, error,
               "this node did not make that token: use the issuer's address, "
               "or make a new one with \"confmesh token create\"");
    else if (error == CM_ERR_EXPIRED)
        refuse(n, l, error,
               "the token has expired: make a new one with "
               "\"confmesh token create\"");
    else if (error == CM_ERR_USED_UP)
        refuse(n, l, error,
               "the token is used up: make a new one with "
               "\"confmesh token create\" (--uses N for several)");
    else if (certificate_check_name(f->name, &detail) != 0)
        refuse(n, l, CM_ERR_INVALID, detail.text);
    else if (known != NULL)
        grant_again(n, l, known);
    else if (name_is_taken(n, f->name, sign_key) ||
             strcmp(f->name, n->name) == 0)
        refuse(n, l, CM_ERR_EXISTS,
               "that name is taken by another node of "
               "the mesh: choose one with --name");
    else
        redeem(n, l, f, record);
}

/* ---- bringing up ---- */

static void rostered(void *context, struct intent *i)
{
    struct cut_serving *s = context;

    s->busy = false;
    if (s->link == NULL) {
        buffer_release(&s->message);
        cm_free(s);
    } else if (i->result != 0 && i->result != CM_ERR_EXISTS) {
        struct node *n = s->node;
        struct link *l = s->link;

        /* Other sponsors may do what this one may not; none brings a name
         * back. (SEALED in a refusal means the whole node.) */
        CM_MARK_IF(i->result == CM_ERR_SEALED,
                   "sponsor: an incarnation that was sealed is refused");
        cut_refuse(n, l,
                   i->result == CM_ERR_SEALED ? CM_ERR_EXISTS : CM_ERR_BUSY,
                   i->detail.text); /* frees s */
        link_pump(n, l);
    } else {
        cut_serve_source(s->node, s->link);
    }
    intent_free(i);
}

static int submit_roster_add(struct cut_serving *s)
{
    struct node *n = s->node;
    struct local_op op = {
        .kind = OP_ROSTER_ADD,
        .key = slice_of(s->incarnation.bytes, INCARNATION_SIZE),
        .value = channel_peer(s->link->channel)->certificate,
        .level = s->level,
    };
    struct intent *i = intent_new(INTENT_LOCAL);
    int error = i == NULL ? CM_ERR_NOMEM : intent_add_op(i, &op);

    if (error == 0) {
        i->done = rostered;
        i->context = s;
        s->busy = true;
        error = n->ports.writer->submit(n->ports.ctx, i);
    }
    if (error != 0) {
        s->busy = false;
        intent_free(i);
    }
    return error;
}

void sponsor_on_request(struct node *n, struct link *l, const struct frame *f)
{
    const struct roster_member *member;
    enum refusal why = REFUSAL_NONE;
    struct cut_serving *s;

    if (!cut_may_serve(n, l))
        return;
    member = n->roster != NULL ? roster_find(n->roster, &f->incarnation) : NULL;
    if (member != NULL &&
        !key_id_equal(&member->certificate.key_id, &l->peer)) {
        refuse(n, l, CM_ERR_AUTHORITY,
               "that incarnation belongs to another node");
        return;
    }
    if (member == NULL &&
        sponsor_refuses(n, &channel_peer(l->channel)->decoded, &why)) {
        CM_MARK("sponsor: an evicted node is refused");
        refusals_count(&n->status.refused, why, l->peer.bytes, node_wall(n));
        refuse(n, l, CM_ERR_AUTHORITY,
               why == REFUSAL_ENTRY_ISSUER
                   ? SPONSOR_ISSUER_TEXT
                   : "an eviction order is newer than its certificate: redeem "
                     "a fresh token (confmesh node --data DIR --join TOKEN)");
        return;
    }
    s = cut_serve_begin(n, l, f);
    /* One that asked before: the add stands. One that only reads: there is
     * none. */
    if (s == NULL)
        refuse(n, l, CM_ERR_BUSY, "out of memory");
    else if (member != NULL ||
             !roster_may_enter(&channel_peer(l->channel)->decoded))
        cut_serve_source(n, l);
    else if (submit_roster_add(s) != 0)
        cut_refuse(n, l, CM_ERR_BUSY, "the writer has too much to do");
}
