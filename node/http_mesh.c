/* /v1/mesh: what the node knows of itself and of the others, and the two things
 * that it does for an operator: tokens and snapshots. */
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/http_field.h"
#include "node/http_handlers.h"
#include "node/http_json.h"
#include "node/http_pending.h"
#include "node/token.h"

#define TOKEN_TTL_S_MAX (TOKEN_TTL_MS_MAX / 1000)
#define STATUS_TEXT_MAX 512
#define STATUS_SIZE_MAX (160u << 10)
#define MEMBERS_SIZE_MAX (16u << 20) /* GOSSIP_MEMBERS_MAX of a kilobyte */

static void finish(struct http_request *r, unsigned status, struct buffer *out)
{
    buffer_append_string(out, "}\n");
    http_answer_built(r, status, out);
}

/* ---- status ---- */

static void put_clocks(struct buffer *out, const struct node *n,
                       const struct node_status *s)
{
    field_name(out, "clocks");
    buffer_append_byte(out, '{');
    field_number(out, "wall_ms", s->wall_ms);
    field_number(out, "count", s->clocks);
    field_signed(out, "median_offset_ms", s->clock_offset_ms);
    field_bool(out, "ahead", s->clock_ahead);
    field_name(out, "held");
    buffer_append_byte(out, '{');
    field_number(out, "events", s->held.events);
    if (s->held.events > 0) {
        field_text(out, "name", node_name_of(n, &s->held.incarnation));
        field_signed(out, "ahead_ms",
                     (int64_t)hlc_wall_ms(s->held.hlc) - (int64_t)s->wall_ms);
    }
    buffer_append_string(out, "}}");
}

static void put_identity(struct buffer *out, const struct node_status *s)
{
    char address[ADDRESS_TEXT_SIZE] = "";

    if (s->address.family != 0)
        address_format(address, &s->address);
    field_text(out, "name", s->name != NULL ? s->name : "");
    field_hex(out, "mesh", s->mesh.bytes, sizeof(s->mesh.bytes));
    field_name(out, "generation");
    buffer_append_byte(out, '{');
    field_number(out, "number", s->generation.number);
    field_hex(out, "hash", s->generation.hash, sizeof(s->generation.hash));
    buffer_append_byte(out, '}');
    field_hex(out, "incarnation", s->incarnation.bytes, INCARNATION_SIZE);
    field_hex(out, "key_id", s->key_id.bytes, sizeof(s->key_id.bytes));
    field_text(out, "address", address);
    field_text(out, "role", s->reader ? "reader" : "writer");
    field_bool(out, "ready", s->ready);
    if (!s->ready)
        field_text(out, "not_ready", s->not_ready);
}

static void put_return(struct buffer *out, const struct node_status *s)
{
    field_name(out, "returning");
    buffer_append_byte(out, '{');
    field_text(out, "reason", s->return_reason);
    field_text(out, "phase", s->return_phase);
    field_text(out, "waits", s->return_waits);
    field_number(out, "times", s->returns);
    buffer_append_byte(out, '}');
    field_name(out, "unsent");
    buffer_append_byte(out, '{');
    field_number(out, "waiting", s->unsent.waiting);
    field_number(out, "parked", s->unsent.parked);
    field_number(out, "others", s->unsent.others);
    buffer_append_byte(out, '}');
}

static void put_counters(struct buffer *out, const struct node_status *s)
{
    field_name(out, "counters");
    buffer_append_byte(out, '{');
    field_number(out, "commits", s->commits);
    field_number(out, "local_intents", s->local_intents);
    field_number(out, "own_events", s->own_events);
    field_number(out, "foreign_events", s->foreign_events);
    field_number(out, "bad_input", s->refused.total);
    field_number(out, "repairs", s->repairs);
    field_number(out, "disk_full", s->disk_full);
    field_number(out, "packets_sent", s->gossip.packets_sent);
    field_number(out, "packets_received", s->gossip.packets_received);
    field_number(out, "packets_refused", s->gossip.packets_refused);
    field_number(out, "bytes_sent", s->gossip.bytes_sent);
    field_number(out, "bytes_received", s->gossip.bytes_received);
    field_number(out, "suspicions", s->gossip.suspicions);
    field_number(out, "deaths", s->gossip.deaths);
    buffer_append_byte(out, '}');
}

/* What peers sent that was refused, counts for nothing or waits, by reason;
 * reasons that were never met are left out. */
static void put_refused(struct buffer *out, const struct node *n,
                        const struct node_status *s)
{
    field_name(out, "refused");
    buffer_append_byte(out, '{');
    for (size_t i = 0; i < REFUSAL_KINDS; i++) {
        const struct refusal_count *c = &s->refused.of[i];
        struct member_view from;
        struct key_id key;

        if (c->count == 0)
            continue;
        memcpy(key.bytes, c->from, KEY_ID_SIZE);
        field_name(out, refusal_text((enum refusal)i)->name);
        buffer_append_byte(out, '{');
        field_number(out, "count", c->count);
        field_number(out, "last_ms", c->last_ms);
        if (node_gossip(n) != NULL &&
            gossip_member_find(node_gossip(n), &key, &from))
            field_text(out, "from", from.name);
        buffer_append_byte(out, '}');
    }
    buffer_append_byte(out, '}');
}

/* What pending events wait for just now. */
static void put_waits(struct buffer *out, const struct node_status *s)
{
    field_name(out, "waits_for");
    buffer_append_byte(out, '{');
    for (size_t i = 0; i < REFUSAL_KINDS; i++) {
        if (s->waits[i] > 0)
            field_number(out, refusal_text((enum refusal)i)->reason,
                         s->waits[i]);
    }
    buffer_append_byte(out, '}');
}

static void put_cut_counters(struct buffer *out, const struct cut_counters *c)
{
    field_name(out, "counters");
    buffer_append_byte(out, '{');
    field_number(out, "served", c->served);
    field_number(out, "resumed", c->resumed);
    field_number(out, "adopted", c->adopted);
    field_number(out, "refused_damaged", c->refused_damaged);
    field_number(out, "refused_generation", c->refused_generation);
    field_number(out, "refused_sealed", c->refused_sealed);
    field_number(out, "refused_fork", c->refused_fork);
    field_number(out, "refused_order", c->refused_order);
    field_number(out, "refused_fence", c->refused_fence);
    field_number(out, "failed", c->failed);
    field_number(out, "held_clock", c->held_clock);
    field_number(out, "held_deletion", c->held_deletion);
    buffer_append_byte(out, '}');
}

static void put_cuts(struct buffer *out, const struct node *n,
                     const struct cut_status *s)
{
    field_name(out, "cuts");
    buffer_append_byte(out, '{');
    if (s->phase[0] != '\0') {
        struct member_view from;

        field_text(out, "phase", s->phase);
        if (node_gossip(n) != NULL &&
            gossip_member_find(node_gossip(n), &s->from, &from))
            field_text(out, "from", from.name);
        field_number(out, "bytes", s->bytes);
        field_number(out, "of_bytes", s->bytes_total);
        field_number(out, "messages", s->messages);
        field_number(out, "of_messages", s->messages_total);
    }
    if (s->waits[0] != '\0') {
        field_text(out, "waits", s->waits);
        field_number(out, "would_delete", s->removed);
        field_number(out, "of_keys", s->present);
    }
    field_bool(out, "unconfirmed", s->unconfirmed);
    field_number(out, "serving", s->serving);
    if (s->serving > 0) {
        field_number(out, "sent_bytes", s->sent_bytes);
        field_number(out, "sent_of_bytes", s->sent_of_bytes);
    }
    field_number(out, "spools", s->spools);
    field_number(out, "spool_bytes", s->spool_bytes);
    if (s->last_refusal[0] != '\0')
        field_text(out, "last_refusal", s->last_refusal);
    if (s->last_refused_ms > 0)
        field_number(out, "last_refused_ms", s->last_refused_ms);
    put_cut_counters(out, &s->counters);
    buffer_append_byte(out, '}');
}

/* What every member knows, and who holds back what is newer. */
static void put_levels(struct buffer *out, const struct node *n,
                       const struct node_status *s)
{
    const struct standing_view *v = s->standing;

    field_name(out, "format");
    buffer_append_byte(out, '{');
    field_number(out, "program", s->program_level);
    if (v != NULL) {
        field_number(out, "mesh", v->level);
        field_number(out, "announced", v->self_level);
        field_number(out, "greatest", v->level_max);
    }
    field_name(out, "behind");
    buffer_append_byte(out, '[');
    for (size_t i = 0; v != NULL && i < v->members_count; i++) {
        const struct standing_view_member *m = &v->members[i];

        if (!m->stays || m->level >= v->level_max)
            continue;
        buffer_append_string(out, out->data[out->size - 1] == '}' ? ",{" : "{");
        field_text(out, "name", node_name_of(n, &m->incarnation));
        field_number(out, "knows", m->level);
        buffer_append_byte(out, '}');
    }
    buffer_append_string(out, "]}");
}

static void put_holder(struct buffer *out, const struct node *n,
                       const struct standing_holder *h)
{
    buffer_append_string(out, out->data[out->size - 1] == '}' ? ",{" : "{");
    field_hex(out, "incarnation", h->incarnation.bytes, INCARNATION_SIZE);
    field_text(out, "name", node_name_of(n, &h->incarnation));
    field_text(out, "lacks", h->for_fence ? "fence" : "acknowledgement");
    field_number(out, "since_ms", hlc_wall_ms(h->since));
    buffer_append_byte(out, '}');
}

/* How far everyone has everything, and who is missing. */
static void put_floor(struct buffer *out, const struct node *n,
                      const struct node_status *s)
{
    const struct standing_view *v = s->standing;

    field_name(out, "floor");
    buffer_append_byte(out, '{');
    field_number(out, "time_ms", hlc_wall_ms(s->floor_time));
    field_number(out, "events_above", s->above_floor);
    field_number(out, "moves", s->floors);
    field_bool(out, "proposed", v != NULL && v->proposal_open);
    field_name(out, "held_back_by");
    buffer_append_byte(out, '[');
    for (size_t i = 0; v != NULL && i < v->holders_count; i++)
        put_holder(out, n, &v->holders[i]);
    buffer_append_string(out, "]}");
    field_name(out, "evictions");
    buffer_append_byte(out, '{');
    field_number(out, "epoch", v != NULL ? v->epoch : 0);
    field_number(out, "orders_open", v != NULL ? v->heard_count : 0);
    field_number(out, "orders_heard", s->orders_heard);
    field_number(out, "orders_refused", s->orders_refused);
    field_number(out, "orders_conflicting", s->orders_conflicting);
    field_name(out, "leaving");
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
    alarm_if(out, s->alarm_full,
             "full: no room on the disk or in the store's map: writes are "
             "refused, peers' writes wait, reads go on");
    alarm_if(out, s->alarm_disk,
             "disk: it refused the last commit: writes are refused, peers' "
             "writes wait, reads go on");
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
    alarm_if(out, s->alarm_generation,
             "generation: a peer is of another restore of this mesh, with the "
             "same number; the two never mix");
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

    if (!http_only_view(r))
        return;
    node_status_read(r->context->node, &s);
    buffer_init(&out, STATUS_SIZE_MAX);
    buffer_append_byte(&out, '{');
    put_identity(&out, &s);
    field_number(&out, "revision", s.revision);
    field_hex(&out, "digest", s.digest.bytes, sizeof(s.digest.bytes));
    field_number(&out, "vv_entries", s.vv_entries);
    field_number(&out, "roster", s.roster_count);
    field_name(&out, "members");
    buffer_append_byte(&out, '{');
    field_number(&out, "alive", s.members_alive);
    field_number(&out, "total", s.members_total);
    field_number(&out, "in_sync", s.members_in_sync);
    buffer_append_byte(&out, '}');
    field_name(&out, "pending");
    buffer_append_byte(&out, '{');
    field_number(&out, "events", s.pending_events);
    field_number(&out, "bytes", s.pending_bytes);
    put_waits(&out, &s);
    buffer_append_byte(&out, '}');
    put_refused(&out, r->context->node, &s);
    put_clocks(&out, r->context->node, &s);
    put_levels(&out, r->context->node, &s);
    put_floor(&out, r->context->node, &s);
    field_number(&out, "awaits", s.awaits);
    field_name(&out, "revoke_deletes");
    buffer_append_byte(&out, '[');
    for (size_t i = 0; i < s.revoke_deletes_count; i++) {
        if (i > 0)
            buffer_append_byte(&out, ',');
        http_json_text(&out, s.revoke_deletes[i]);
    }
    buffer_append_byte(&out, ']');
    put_cuts(&out, r->context->node, &s.cuts);
    http_put_heal(&out, &s.heal);
    field_number(&out, "streams", s.streams);
    http_put_snapshots(&out, &s);
    http_put_drills(&out, &s);
    field_name(&out, "alarms");
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
    field_text(out, "name", s->name != NULL ? s->name : "");
    field_text(out, "address", address);
    field_text(out, "state", "alive");
    field_bool(out, "self", true);
    field_bool(out, "in_sync", true);
    field_number(out, "round_trip_ms", 0);
    if (s->standing != NULL && s->standing->self_member)
        field_number(out, "format_level", s->standing->self_level);
    field_hex(out, "key_id", s->key_id.bytes, sizeof(s->key_id.bytes));
    buffer_append_byte(out, '}');
}

static void put_member(struct buffer *out, const struct member_view *m,
                       uint32_t level)
{
    static const char *const states[] = {"unknown", "alive", "suspect", "dead",
                                         "left"};
    char address[ADDRESS_TEXT_SIZE] = "";

    CHECK(m->state >= MEMBER_ALIVE && m->state <= MEMBER_LEFT);
    if (m->address.family != 0)
        address_format(address, &m->address);
    buffer_append_string(out, ",{");
    field_text(out, "name", m->name);
    field_text(out, "address", address);
    field_text(out, "state", states[m->state]);
    field_bool(out, "self", false);
    field_bool(out, "in_sync", m->digest_equal);
    field_number(out, "round_trip_ms", m->round_trip_ms);
    if (m->clock_known)
        field_signed(out, "clock_offset_ms", m->clock_offset_ms);
    if (level > 0)
        field_number(out, "format_level", level);
    field_hex(out, "key_id", m->key_id.bytes, sizeof(m->key_id.bytes));
    buffer_append_byte(out, '}');
}

void http_members(struct http_request *r)
{
    const struct gossip *g = node_gossip(r->context->node);
    struct node_status s;
    struct member_view m;
    struct buffer out;

    if (!http_only_view(r))
        return;
    node_status_read(r->context->node, &s);
    buffer_init(&out, MEMBERS_SIZE_MAX);
    buffer_append_string(&out, "{\"members\":[");
    put_self(&out, &s);
    for (size_t i = 0; g != NULL && i < gossip_member_total(g); i++) {
        gossip_member_at(g, i, &m);
        put_member(&out, &m, node_level_of(r->context->node, &m.key_id));
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
        field_text(&out, "token", token);
        finish(r, 200, &out);
    }
    http_pending_wake(r);
}

/* Borrowed from object. */
static int token_prefixes(struct token_rights *ret, json_t *object,
                          struct cm_detail *detail)
{
    json_t *list = json_object_get(object, "writes");

    if (list == NULL || json_is_null(list))
        return 0;
    if (!json_is_array(list) ||
        json_array_size(list) > CERTIFICATE_PREFIXES_MAX)
        return cm_fail(detail, CM_ERR_INVALID,
                       "\"writes\" is a list of at most %d prefixes",
                       CERTIFICATE_PREFIXES_MAX);
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *one = json_array_get(list, i);

        if (!json_is_string(one))
            return cm_fail(detail, CM_ERR_INVALID,
                           "\"writes\" has something that is no string");
        ret->prefixes[ret->prefixes_count++] =
            slice_of(json_string_value(one), json_string_length(one));
    }
    return 0;
}

void http_token(struct http_request *r)
{
    static const char *const members[] = {"uses", "ttl_s", "reader", "writes",
                                          NULL};
    struct token_rights rights = {.reader = false};
    struct cm_detail detail = {{0}};
    uint64_t uses = 1;
    uint64_t ttl_s = 3600;
    struct http_pending *p;
    json_t *object = NULL;
    int error;

    if (!http_only_order(r))
        return;
    error = http_json_parse(&object, buffer_slice(&r->body), members, &detail);
    if (error == 0)
        error = http_json_get_u64(object, "uses", &uses, &detail);
    if (error == 0)
        error = http_json_get_u64(object, "ttl_s", &ttl_s, &detail);
    if (error == 0)
        error = http_json_get_bool(object, "reader", &rights.reader, &detail);
    if (error == 0)
        error = token_prefixes(&rights, object, &detail);
    if (error == 0)
        error = token_rights_check(&rights, &detail);
    if (error == 0 && (uses < 1 || uses > TOKEN_USES_MAX))
        error = cm_fail(&detail, CM_ERR_INVALID, "\"uses\" must be 1 to %d",
                        TOKEN_USES_MAX);
    if (error == 0 && (ttl_s < 1 || ttl_s > TOKEN_TTL_S_MAX))
        error = cm_fail(&detail, CM_ERR_INVALID,
                        "\"ttl_s\" must be 1 to %llu seconds",
                        (unsigned long long)TOKEN_TTL_S_MAX);
    if (error != 0)
        http_refuse_code(r, error, detail.text);
    p = error == 0 ? http_pending_new(r) : NULL;
    if (p != NULL) {
        node_token_create(r->context->node, (unsigned)uses, ttl_s * 1000,
                          &rights, on_token, p);
        http_pending_park(r);
    }
    json_decref(object);
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
        field_text(&out, "name", report->name);
        field_number(&out, "sequence", report->sequence);
        field_number(&out, "entries", report->entries);
        field_number(&out, "chunks", report->chunks);
        field_number(&out, "chunks_new", report->chunks_new);
        field_number(&out, "bytes", report->bytes);
        field_number(&out, "bytes_new", report->bytes_new);
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

    if (!http_only_order(r))
        return;
    error = http_json_parse(&object, buffer_slice(&r->body), members, &detail);
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

    if (!http_only_order(r))
        return;
    error = http_json_parse(&object, buffer_slice(&r->body), members, &detail);
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
    field_bool(&out, "agreed", true);
    finish(r, 200, &out);
}

/* ---- health: balancers and probes add parameters of their own, which are
 * passed over ---- */

void http_healthz(struct http_request *r)
{
    if (http_only_get(r))
        http_answer(r, 200, HTTP_TYPE_TEXT, slice_of_string("ok\n"));
}

void http_readyz(struct http_request *r)
{
    const char *reason;

    if (!http_only_get(r))
        return;
    if (node_is_ready(r->context->node)) {
        http_answer(r, 200, HTTP_TYPE_TEXT, slice_of_string("ready\n"));
        return;
    }
    reason = node_not_ready_reason(r->context->node);
    http_answer(r, 503, HTTP_TYPE_TEXT,
                slice_of_string(reason != NULL ? reason : "not ready"));
}
