/* /v1/mesh: what the node knows of itself and of the others, and the two things
 * that it does for an operator: tokens and snapshots. */
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/http_handlers.h"
#include "node/http_json.h"
#include "node/http_pending.h"
#include "node/token.h"

#define TOKEN_TTL_S_MAX (TOKEN_TTL_MS_MAX / 1000)
#define STATUS_TEXT_MAX 512
#define STATUS_SIZE_MAX (64u << 10)
#define MEMBERS_SIZE_MAX (16u << 20) /* GOSSIP_MEMBERS_MAX of a kilobyte */

static void name(struct buffer *out, const char *text)
{
    uint8_t last = out->size > 0 ? out->data[out->size - 1] : ',';

    if (last != '{' && last != ',' && last != '[')
        buffer_append_byte(out, ',');
    http_json_text(out, text);
    buffer_append_byte(out, ':');
}

static void number(struct buffer *out, const char *key, uint64_t v)
{
    name(out, key);
    http_json_u64(out, v);
}

static void signed_number(struct buffer *out, const char *key, int64_t v)
{
    name(out, key);
    if (v < 0)
        buffer_append_byte(out, '-');
    http_json_u64(out, v < 0 ? UINT64_C(0) - (uint64_t)v : (uint64_t)v);
}

static void text(struct buffer *out, const char *key, const char *v)
{
    name(out, key);
    http_json_text(out, v);
}

static void hex(struct buffer *out, const char *key, const void *bytes,
                size_t size)
{
    char digits[2 * HASH_SIZE + 1];

    CHECK(size <= HASH_SIZE);
    hex_encode(digits, slice_of(bytes, size));
    text(out, key, digits);
}

static void boolean(struct buffer *out, const char *key, bool v)
{
    name(out, key);
    http_json_bool(out, v);
}

static bool only_get(struct http_request *r)
{
    if (r->method == HTTP_GET)
        return true;
    http_refuse(r, 405, CM_ERR_INVALID, "this can only be read; use GET");
    return false;
}

static bool only_post(struct http_request *r)
{
    if (r->method == HTTP_POST)
        return true;
    http_refuse(r, 405, CM_ERR_INVALID, "this is an order; use POST");
    return false;
}

static void finish(struct http_request *r, unsigned status, struct buffer *out)
{
    buffer_append_string(out, "}\n");
    if (out->error != 0)
        http_refuse_code(r, out->error, NULL);
    else
        http_answer(r, status, HTTP_TYPE_JSON, buffer_slice(out));
    buffer_release(out);
}

/* ---- status ---- */

static void put_clocks(struct buffer *out, const struct node *n,
                       const struct node_status *s)
{
    name(out, "clocks");
    buffer_append_byte(out, '{');
    number(out, "wall_ms", s->wall_ms);
    number(out, "count", s->clocks);
    signed_number(out, "median_offset_ms", s->clock_offset_ms);
    boolean(out, "ahead", s->clock_ahead);
    name(out, "held");
    buffer_append_byte(out, '{');
    number(out, "events", s->held.events);
    if (s->held.events > 0) {
        text(out, "name", node_name_of(n, &s->held.incarnation));
        signed_number(out, "ahead_ms",
                      (int64_t)hlc_wall_ms(s->held.hlc) - (int64_t)s->wall_ms);
    }
    buffer_append_string(out, "}}");
}

static void put_identity(struct buffer *out, const struct node_status *s)
{
    char address[ADDRESS_TEXT_SIZE] = "";

    if (s->address.family != 0)
        address_format(address, &s->address);
    text(out, "name", s->name != NULL ? s->name : "");
    hex(out, "mesh", s->mesh.bytes, sizeof(s->mesh.bytes));
    name(out, "generation");
    buffer_append_byte(out, '{');
    number(out, "number", s->generation.number);
    hex(out, "hash", s->generation.hash, sizeof(s->generation.hash));
    buffer_append_byte(out, '}');
    hex(out, "incarnation", s->incarnation.bytes, INCARNATION_SIZE);
    hex(out, "key_id", s->key_id.bytes, sizeof(s->key_id.bytes));
    text(out, "address", address);
    text(out, "role", s->reader ? "reader" : "writer");
    boolean(out, "ready", s->ready);
    if (!s->ready)
        text(out, "not_ready", s->not_ready);
}

static void put_return(struct buffer *out, const struct node_status *s)
{
    name(out, "returning");
    buffer_append_byte(out, '{');
    text(out, "reason", s->return_reason);
    text(out, "phase", s->return_phase);
    text(out, "waits", s->return_waits);
    number(out, "times", s->returns);
    buffer_append_byte(out, '}');
    name(out, "unsent");
    buffer_append_byte(out, '{');
    number(out, "waiting", s->unsent.waiting);
    number(out, "parked", s->unsent.parked);
    buffer_append_byte(out, '}');
}

static void put_counters(struct buffer *out, const struct node_status *s)
{
    name(out, "counters");
    buffer_append_byte(out, '{');
    number(out, "commits", s->commits);
    number(out, "local_intents", s->local_intents);
    number(out, "own_events", s->own_events);
    number(out, "foreign_events", s->foreign_events);
    number(out, "bad_input", s->refused.total);
    number(out, "repairs", s->repairs);
    number(out, "disk_full", s->disk_full);
    number(out, "packets_sent", s->gossip.packets_sent);
    number(out, "packets_received", s->gossip.packets_received);
    number(out, "packets_refused", s->gossip.packets_refused);
    number(out, "bytes_sent", s->gossip.bytes_sent);
    number(out, "bytes_received", s->gossip.bytes_received);
    number(out, "suspicions", s->gossip.suspicions);
    number(out, "deaths", s->gossip.deaths);
    buffer_append_byte(out, '}');
}

/* What peers sent that was refused, counts for nothing or waits, by reason;
 * reasons that were never met are left out. */
static void put_refused(struct buffer *out, const struct node *n,
                        const struct node_status *s)
{
    name(out, "refused");
    buffer_append_byte(out, '{');
    for (size_t i = 0; i < REFUSAL_KINDS; i++) {
        const struct refusal_count *c = &s->refused.of[i];
        struct member_view from;
        struct key_id key;

        if (c->count == 0)
            continue;
        memcpy(key.bytes, c->from, KEY_ID_SIZE);
        name(out, refusal_text((enum refusal)i)->name);
        buffer_append_byte(out, '{');
        number(out, "count", c->count);
        number(out, "last_ms", c->last_ms);
        if (node_gossip(n) != NULL &&
            gossip_member_find(node_gossip(n), &key, &from))
            text(out, "from", from.name);
        buffer_append_byte(out, '}');
    }
    buffer_append_byte(out, '}');
}

/* What pending events wait for just now. */
static void put_waits(struct buffer *out, const struct node_status *s)
{
    name(out, "waits_for");
    buffer_append_byte(out, '{');
    for (size_t i = 0; i < REFUSAL_KINDS; i++) {
        if (s->waits[i] > 0)
            number(out, refusal_text((enum refusal)i)->reason, s->waits[i]);
    }
    buffer_append_byte(out, '}');
}

static void put_cut_counters(struct buffer *out, const struct cut_counters *c)
{
    name(out, "counters");
    buffer_append_byte(out, '{');
    number(out, "served", c->served);
    number(out, "resumed", c->resumed);
    number(out, "adopted", c->adopted);
    number(out, "refused_damaged", c->refused_damaged);
    number(out, "refused_generation", c->refused_generation);
    number(out, "refused_sealed", c->refused_sealed);
    number(out, "refused_fork", c->refused_fork);
    number(out, "failed", c->failed);
    number(out, "held_clock", c->held_clock);
    number(out, "held_deletion", c->held_deletion);
    buffer_append_byte(out, '}');
}

static void put_cuts(struct buffer *out, const struct node *n,
                     const struct cut_status *s)
{
    name(out, "cuts");
    buffer_append_byte(out, '{');
    if (s->phase[0] != '\0') {
        struct member_view from;

        text(out, "phase", s->phase);
        if (node_gossip(n) != NULL &&
            gossip_member_find(node_gossip(n), &s->from, &from))
            text(out, "from", from.name);
        number(out, "bytes", s->bytes);
        number(out, "of_bytes", s->bytes_total);
        number(out, "messages", s->messages);
        number(out, "of_messages", s->messages_total);
    }
    if (s->waits[0] != '\0') {
        text(out, "waits", s->waits);
        number(out, "would_delete", s->removed);
        number(out, "of_keys", s->present);
    }
    boolean(out, "unconfirmed", s->unconfirmed);
    number(out, "serving", s->serving);
    if (s->serving > 0) {
        number(out, "sent_bytes", s->sent_bytes);
        number(out, "sent_of_bytes", s->sent_of_bytes);
    }
    number(out, "spools", s->spools);
    number(out, "spool_bytes", s->spool_bytes);
    if (s->last_refusal[0] != '\0')
        text(out, "last_refusal", s->last_refusal);
    put_cut_counters(out, &s->counters);
    buffer_append_byte(out, '}');
}

static void put_holder(struct buffer *out, const struct node *n,
                       const struct standing_holder *h)
{
    buffer_append_string(out, out->data[out->size - 1] == '}' ? ",{" : "{");
    hex(out, "incarnation", h->incarnation.bytes, INCARNATION_SIZE);
    text(out, "name", node_name_of(n, &h->incarnation));
    text(out, "lacks", h->for_fence ? "fence" : "acknowledgement");
    number(out, "since_ms", hlc_wall_ms(h->since));
    buffer_append_byte(out, '}');
}

/* How far everyone has everything, and who is missing. */
static void put_floor(struct buffer *out, const struct node *n,
                      const struct node_status *s)
{
    const struct standing_view *v = s->standing;

    name(out, "floor");
    buffer_append_byte(out, '{');
    number(out, "time_ms", hlc_wall_ms(s->floor_time));
    number(out, "events_above", s->above_floor);
    number(out, "moves", s->floors);
    boolean(out, "proposed", v != NULL && v->proposal_open);
    name(out, "held_back_by");
    buffer_append_byte(out, '[');
    for (size_t i = 0; v != NULL && i < v->holders_count; i++)
        put_holder(out, n, &v->holders[i]);
    buffer_append_string(out, "]}");
    name(out, "evictions");
    buffer_append_byte(out, '{');
    number(out, "epoch", v != NULL ? v->epoch : 0);
    number(out, "orders_open", v != NULL ? v->heard_count : 0);
    number(out, "orders_heard", s->orders_heard);
    number(out, "orders_refused", s->orders_refused);
    number(out, "orders_conflicting", s->orders_conflicting);
    name(out, "leaving");
    buffer_append_byte(out, '[');
    for (size_t i = 0; v != NULL && i < v->members_count; i++) {
        const struct standing_view_member *m = &v->members[i];

        if (m->stays)
            continue;
        if (out->data[out->size - 1] == '"')
            buffer_append_byte(out, ',');
        http_json_text(out, node_name_of(n, &m->incarnation));
    }
    buffer_append_string(out, "]}");
}

static void alarm_if(struct buffer *out, bool on, const char *what)
{
    if (!on)
        return;
    if (out->data[out->size - 1] != '[')
        buffer_append_byte(out, ',');
    http_json_text(out, what);
}

static void put_alarms(struct buffer *out, const struct node_status *s)
{
    char returning[STATUS_TEXT_MAX];

    (void)snprintf(returning, sizeof returning, "returning (%s): %s",
                   s->return_reason, s->return_text);
    alarm_if(out, s->return_reason[0] != '\0', returning);
    alarm_if(out, s->alarm_fork,
             "fork: a peer proved another event under a known name");
    alarm_if(out, s->alarm_hazard,
             "identity: a peer knows events of this node that its own disk "
             "does not hold");
    alarm_if(out, s->alarm_evicted,
             "evicted: this incarnation is out, or on its way; what it writes "
             "is kept here alone");
    alarm_if(out, s->alarm_conflict,
             "orders: two eviction orders of one epoch; the authority's next "
             "one names the one that stands");
    alarm_if(out, s->alarm_dropped,
             "orders: this node acted on an eviction order that was dropped");
    alarm_if(out, s->alarm_overrun,
             "sealed: this node holds something beyond the seal of an evicted "
             "incarnation");
    alarm_if(out, s->heal.alarm_law, s->heal.law_text);
    alarm_if(out, s->heal.damaged > 0, s->heal.damage_text);
}

void http_status(struct http_request *r)
{
    struct node_status s;
    struct buffer out;

    if (!only_get(r))
        return;
    node_status_read(r->context->node, &s);
    buffer_init(&out, STATUS_SIZE_MAX);
    buffer_append_byte(&out, '{');
    put_identity(&out, &s);
    number(&out, "revision", s.revision);
    hex(&out, "digest", s.digest.bytes, sizeof(s.digest.bytes));
    number(&out, "vv_entries", s.vv_entries);
    number(&out, "roster", s.roster_count);
    name(&out, "members");
    buffer_append_byte(&out, '{');
    number(&out, "alive", s.members_alive);
    number(&out, "total", s.members_total);
    number(&out, "in_sync", s.members_in_sync);
    buffer_append_byte(&out, '}');
    name(&out, "pending");
    buffer_append_byte(&out, '{');
    number(&out, "events", s.pending_events);
    number(&out, "bytes", s.pending_bytes);
    put_waits(&out, &s);
    buffer_append_byte(&out, '}');
    put_refused(&out, r->context->node, &s);
    put_clocks(&out, r->context->node, &s);
    put_floor(&out, r->context->node, &s);
    number(&out, "awaits", s.awaits);
    name(&out, "revoke_deletes");
    buffer_append_byte(&out, '[');
    for (size_t i = 0; i < s.revoke_deletes_count; i++) {
        if (i > 0)
            buffer_append_byte(&out, ',');
        http_json_text(&out, s.revoke_deletes[i]);
    }
    buffer_append_byte(&out, ']');
    put_cuts(&out, r->context->node, &s.cuts);
    buffer_append_byte(&out, ',');
    http_put_heal(&out, &s.heal);
    number(&out, "streams", s.streams);
    name(&out, "snapshot");
    buffer_append_byte(&out, '{');
    number(&out, "sequence", s.snapshot_sequence);
    number(&out, "wall_ms", s.snapshot_wall_ms);
    number(&out, "covered_wall_ms", s.snapshot_covered_wall_ms);
    number(&out, "interval_ms", s.snapshot_interval_ms);
    number(&out, "age_ms", s.snapshot_age_ms);
    number(&out, "deltas", s.snapshot_deltas);
    number(&out, "delta_bytes", s.snapshot_delta_bytes);
    number(&out, "failures", s.snapshot_failures);
    text(&out, "error", s.snapshot_error);
    buffer_append_byte(&out, '}');
    name(&out, "alarms");
    buffer_append_byte(&out, '[');
    put_alarms(&out, &s);
    buffer_append_byte(&out, ']');
    put_return(&out, &s);
    put_counters(&out, &s);
    finish(r, 200, &out);
}

/* ---- members ---- */

static void put_self(struct buffer *out, const struct node_status *s)
{
    char address[ADDRESS_TEXT_SIZE] = "";

    if (s->address.family != 0)
        address_format(address, &s->address);
    buffer_append_byte(out, '{');
    text(out, "name", s->name != NULL ? s->name : "");
    text(out, "address", address);
    text(out, "state", "alive");
    boolean(out, "self", true);
    boolean(out, "in_sync", true);
    number(out, "round_trip_ms", 0);
    hex(out, "key_id", s->key_id.bytes, sizeof(s->key_id.bytes));
    buffer_append_byte(out, '}');
}

static void put_member(struct buffer *out, const struct member_view *m)
{
    static const char *const states[] = {"unknown", "alive", "suspect", "dead",
                                         "left"};
    char address[ADDRESS_TEXT_SIZE] = "";

    CHECK(m->state >= MEMBER_ALIVE && m->state <= MEMBER_LEFT);
    if (m->address.family != 0)
        address_format(address, &m->address);
    buffer_append_string(out, ",{");
    text(out, "name", m->name);
    text(out, "address", address);
    text(out, "state", states[m->state]);
    boolean(out, "self", false);
    boolean(out, "in_sync", m->digest_equal);
    number(out, "round_trip_ms", m->round_trip_ms);
    if (m->clock_known)
        signed_number(out, "clock_offset_ms", m->clock_offset_ms);
    hex(out, "key_id", m->key_id.bytes, sizeof(m->key_id.bytes));
    buffer_append_byte(out, '}');
}

void http_members(struct http_request *r)
{
    const struct gossip *g = node_gossip(r->context->node);
    struct node_status s;
    struct member_view m;
    struct buffer out;

    if (!only_get(r))
        return;
    node_status_read(r->context->node, &s);
    buffer_init(&out, MEMBERS_SIZE_MAX);
    buffer_append_string(&out, "{\"members\":[");
    put_self(&out, &s);
    for (size_t i = 0; g != NULL && i < gossip_member_total(g); i++) {
        gossip_member_at(g, i, &m);
        put_member(&out, &m);
    }
    buffer_append_byte(&out, ']');
    finish(r, 200, &out);
}

/* ---- orders ---- */

static void on_token(void *ctx, int error, const char *token,
                     const char *detail)
{
    struct http_request *r = http_pending_finish(ctx);
    struct buffer out;

    if (r == NULL)
        return;
    if (error != 0) {
        http_refuse_code(r, error, detail);
    } else {
        CHECK(token != NULL);
        buffer_init(&out, STATUS_SIZE_MAX);
        buffer_append_byte(&out, '{');
        text(&out, "token", token);
        finish(r, 200, &out);
    }
    http_pending_wake(r);
}

void http_token(struct http_request *r)
{
    static const char *const members[] = {"uses", "ttl_s", "reader", NULL};
    struct cm_detail detail = {{0}};
    uint64_t uses = 1;
    uint64_t ttl_s = 3600;
    bool reader = false;
    struct http_pending *p;
    json_t *object = NULL;
    int error;

    if (!only_post(r))
        return;
    error = http_json_parse(&object, buffer_slice(&r->body), &detail);
    if (error == 0)
        error = http_json_only(object, members, "the body", &detail);
    if (error == 0)
        error = http_json_get_u64(object, "uses", &uses, &detail);
    if (error == 0)
        error = http_json_get_u64(object, "ttl_s", &ttl_s, &detail);
    if (error == 0)
        error = http_json_get_bool(object, "reader", &reader, &detail);
    json_decref(object);
    if (error == 0 && (uses < 1 || uses > TOKEN_USES_MAX))
        error = cm_fail(&detail, CM_ERR_INVALID, "\"uses\" must be 1 to %d",
                        TOKEN_USES_MAX);
    if (error == 0 && (ttl_s < 1 || ttl_s > TOKEN_TTL_S_MAX))
        error = cm_fail(&detail, CM_ERR_INVALID,
                        "\"ttl_s\" must be 1 to %llu seconds",
                        (unsigned long long)TOKEN_TTL_S_MAX);
    if (error != 0) {
        http_refuse_code(r, error, detail.text);
        return;
    }
    p = http_pending_new(r);
    if (p == NULL)
        return;
    node_token_create(r->context->node, (unsigned)uses, ttl_s * 1000, reader,
                      on_token, p);
    http_pending_park(r);
}

static void on_snapshot(void *ctx, const struct snapshot_report *report)
{
    struct http_request *r = http_pending_finish(ctx);
    struct buffer out;

    if (r == NULL)
        return;
    CHECK(report != NULL);
    if (report->error != 0) {
        http_refuse_code(r, report->error, report->detail);
    } else {
        buffer_init(&out, STATUS_SIZE_MAX);
        buffer_append_byte(&out, '{');
        text(&out, "name", report->name);
        number(&out, "sequence", report->sequence);
        number(&out, "entries", report->entries);
        number(&out, "chunks", report->chunks);
        number(&out, "chunks_new", report->chunks_new);
        number(&out, "bytes", report->bytes);
        number(&out, "bytes_new", report->bytes_new);
        finish(r, 200, &out);
    }
    http_pending_wake(r);
}

void http_snapshot(struct http_request *r)
{
    static const char *const members[] = {"to", NULL};
    struct cm_detail detail = {{0}};
    struct slice to = {0};
    struct http_pending *p;
    json_t *object = NULL;
    int error;

    if (!only_post(r))
        return;
    error = http_json_parse(&object, buffer_slice(&r->body), &detail);
    if (error == 0)
        error = http_json_only(object, members, "the body", &detail);
    if (error == 0)
        error = http_json_get_text(object, "to", &to, &detail);
    p = error == 0 ? http_pending_new(r) : NULL;
    if (error != 0)
        http_refuse_code(r, error, detail.text);
    if (p != NULL) {
        /* jansson's strings end in a NUL and contain none. */
        node_snapshot_now(r->context->node, (const char *)to.data, on_snapshot,
                          p);
        http_pending_park(r);
    }
    json_decref(object);
}

/* {"yes": true}: the operator agrees to the cut that waits. */
void http_adopt(struct http_request *r)
{
    static const char *const members[] = {"yes", "from", NULL};
    struct slice from = {0};
    struct cm_detail detail = {{0}};
    json_t *object = NULL;
    struct buffer out;
    int error;

    if (!only_post(r))
        return;
    error = http_json_parse(&object, buffer_slice(&r->body), &detail);
    if (error == 0)
        error = http_json_only(object, members, "the body", &detail);
    if (error == 0 && !json_is_true(json_object_get(object, "yes")))
        error = cm_fail(&detail, CM_ERR_INVALID, "\"yes\" must be true");
    if (error == 0)
        error = http_json_get_text(object, "from", &from, &detail);
    if (error == 0 && from.size > 0)
        error =
            node_adopt_from(r->context->node, (const char *)from.data, &detail);
    else if (error == 0 && !node_adopt_confirm(r->context->node))
        error =
            cm_fail(&detail, CM_ERR_NOT_FOUND, "no cut waits to be agreed to");
    json_decref(object);
    if (error != 0) {
        http_refuse_code(r, error, detail.text);
        return;
    }
    buffer_init(&out, STATUS_SIZE_MAX);
    buffer_append_byte(&out, '{');
    boolean(&out, "agreed", true);
    finish(r, 200, &out);
}

/* ---- health ---- */

void http_healthz(struct http_request *r)
{
    if (only_get(r))
        http_answer(r, 200, HTTP_TYPE_TEXT, slice_of_string("ok\n"));
}

void http_readyz(struct http_request *r)
{
    const char *reason;

    if (!only_get(r))
        return;
    if (node_is_ready(r->context->node)) {
        http_answer(r, 200, HTTP_TYPE_TEXT, slice_of_string("ready\n"));
        return;
    }
    reason = node_not_ready_reason(r->context->node);
    http_answer(r, 503, HTTP_TYPE_TEXT,
                slice_of_string(reason != NULL ? reason : "not ready"));
}
