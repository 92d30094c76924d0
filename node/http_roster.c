/* /v1/mesh/roster, /v1/mesh/orders, /v1/mesh/retire: who may write, who is on
 * the way out, what everyone has; and the authority's orders about it.
 *
 * The roster's answer is made from one read transaction of the store, like
 * every answer about state; only who lives is the loop's. */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/http_field.h"
#include "node/http_handlers.h"
#include "node/http_json.h"
#include "node/http_pending.h"
#include "node/standing_read.h"

#define ROSTER_SIZE_MAX (64u << 20)
#define SHOWN_HOLDERS_MAX 4096

static void open_object(struct buffer *out)
{
    uint8_t last = out->data[out->size - 1];

    buffer_append_string(out, last == '}' ? ",{" : "{");
}

/* ---- the roster ---- */

struct roster_answer {
    struct buffer out;
    const struct standing *standing;
    const struct node_status *status;
    struct store_reader *reader;
    struct standing_holder holders[SHOWN_HOLDERS_MAX];
    size_t holders_count;
};

/* Nothing where everything may be written. */
static void put_prefixes(struct buffer *out, const struct certificate *c)
{
    for (size_t i = 0; i < c->prefixes_count; i++)
        if (c->prefixes[i].size == 0)
            return;
    field_name(out, "writes");
    buffer_append_byte(out, '[');
    for (size_t i = 0; i < c->prefixes_count; i++) {
        if (i > 0)
            buffer_append_byte(out, ',');
        http_json_string(out, c->prefixes[i]);
    }
    buffer_append_byte(out, ']');
}

static void put_certificate(struct roster_answer *a,
                            const struct incarnation *who)
{
    struct entry_id id = {.space = SPACE_ROSTER,
                          .key = slice_of(who->bytes, INCARNATION_SIZE)};
    struct generation_order order = {.number = 0};
    struct slice authority, bytes = {0}, certificate = {0};
    struct certificate c;
    struct entry e;

    entry_init(&e);
    if (store_get(a->reader, &id, &e, NULL) == 0 && e.count > 0)
        certificate = e.siblings[0].value;
    else if (store_meta(a->reader, META_AUTHORITY, &authority) == 0 &&
             authority.size == 32 &&
             store_meta(a->reader, META_GENERATION, &bytes) == 0 &&
             generation_order_decode(&order, bytes, authority.data) == 0)
        certificate = order.founder_certificate;
    if (store_meta(a->reader, META_AUTHORITY, &authority) == 0 &&
        authority.size == 32 &&
        certificate_decode(&c, certificate, authority.data) == 0) {
        field_text(&a->out, "name", c.name);
        field_hex(&a->out, "key_id", c.key_id.bytes, KEY_ID_SIZE);
        field_bool(&a->out, "issuer", (c.roles & ROLE_ISSUER) != 0);
        put_prefixes(&a->out, &c);
        field_number(&a->out, "certificate_not_after_ms", c.not_after_ms);
    }
    if (order.number != 0)
        generation_order_release(&order);
    entry_release(&e);
}

static void put_debts(struct roster_answer *a, const struct incarnation *who)
{
    uint64_t ack = 0;
    uint64_t fence = 0;

    for (size_t i = 0; i < a->holders_count; i++) {
        const struct standing_holder *h = &a->holders[i];

        if (!incarnation_equal(&h->incarnation, who))
            continue;
        if (h->for_fence)
            fence = hlc_wall_ms(h->since);
        else
            ack = hlc_wall_ms(h->since);
    }
    field_bool(&a->out, "acked", ack == 0);
    if (ack != 0)
        field_number(&a->out, "owes_ack_since_ms", ack);
    if (fence != 0)
        field_number(&a->out, "owes_fence_since_ms", fence);
}

static void put_members(struct roster_answer *a)
{
    const struct standing *s = a->standing;

    field_name(&a->out, "members");
    buffer_append_byte(&a->out, '[');
    for (size_t i = 0; i < standing_members(s); i++) {
        const struct incarnation *who = standing_member(s, i);

        open_object(&a->out);
        field_hex(&a->out, "incarnation", who->bytes, INCARNATION_SIZE);
        put_certificate(a, who);
        field_bool(&a->out, "self",
                   incarnation_equal(who, &a->status->incarnation));
        field_bool(&a->out, "stays", standing_stays(s, who));
        field_bool(&a->out, "evictee", standing_is_evictee(s, who));
        field_number(&a->out, "format_level", standing_level_of(s, who));
        put_debts(a, who);
        buffer_append_byte(&a->out, '}');
    }
    buffer_append_byte(&a->out, ']');
}

static void put_sealed(struct roster_answer *a)
{
    const struct floor *f = standing_floor(a->standing);

    field_name(&a->out, "sealed");
    buffer_append_byte(&a->out, '[');
    for (size_t i = 0; i < f->count; i++) {
        if (f->rows[i].last == FLOOR_UNSEALED)
            continue;
        open_object(&a->out);
        field_hex(&a->out, "incarnation", f->rows[i].incarnation.bytes,
                  INCARNATION_SIZE);
        field_number(&a->out, "last_seq", f->rows[i].last);
        buffer_append_byte(&a->out, '}');
    }
    buffer_append_byte(&a->out, ']');
}

static void put_roster(struct roster_answer *a)
{
    const struct standing *s = a->standing;
    struct hash order = standing_order(s);

    buffer_append_byte(&a->out, '{');
    field_hex(&a->out, "mesh", a->status->mesh.bytes, MESH_ID_SIZE);
    field_name(&a->out, "generation");
    buffer_append_byte(&a->out, '{');
    field_number(&a->out, "number", a->status->generation.number);
    field_hex(&a->out, "hash", a->status->generation.hash, 16);
    buffer_append_byte(&a->out, '}');
    field_number(&a->out, "format_level", standing_level(s, NULL));
    field_number(&a->out, "epoch", standing_epoch(s));
    field_hex(&a->out, "order", order.bytes, HASH_SIZE);
    field_number(&a->out, "orders_open", standing_heard(s, NULL, 0));
    field_number(&a->out, "floor_time_ms", hlc_wall_ms(standing_floor_time(s)));
    field_number(&a->out, "above_floor", a->status->above_floor);
    put_members(a);
    put_sealed(a);
    buffer_append_string(&a->out, "}\n");
}

static int read_roster(struct http_request *r, struct roster_answer *a,
                       struct cm_detail *detail)
{
    struct standing *s = NULL;
    int error = store_reader_begin(node_store(r->context->node), &a->reader);

    if (error == 0) {
        error = standing_read(&s, a->reader, NULL, detail);
        if (error == 0) {
            size_t count = 0;

            error = standing_holders(s, a->holders, SHOWN_HOLDERS_MAX, &count);
            a->standing = s;
            a->holders_count =
                count < SHOWN_HOLDERS_MAX ? count : SHOWN_HOLDERS_MAX;
            if (error == 0) {
                put_roster(a);
                error = a->out.error;
            }
        }
        standing_free(s);
        store_reader_release(a->reader);
    }
    return error;
}

void http_roster(struct http_request *r)
{
    struct cm_detail detail = {{0}};
    struct node_status status;
    struct roster_answer *a;
    int error;

    if (!http_only_view(r))
        return;
    a = cm_calloc(1, sizeof *a);
    if (a == NULL) {
        http_refuse_code(r, CM_ERR_NOMEM, NULL);
        return;
    }
    node_status_read(r->context->node, &status);
    a->status = &status;
    buffer_init(&a->out, ROSTER_SIZE_MAX);
    error = read_roster(r, a, &detail);
    if (error != 0)
        http_refuse_code(r, error, detail.text[0] != '\0' ? detail.text : NULL);
    else
        http_answer(r, 200, HTTP_TYPE_JSON, buffer_slice(&a->out));
    buffer_release(&a->out);
    cm_free(a);
}

/* ---- orders ---- */

static void answer_order(struct http_request *r, struct intent *i)
{
    if (i->result == 0)
        http_answer(r, 200, HTTP_TYPE_JSON,
                    slice_of_string("{\"news\":true}\n"));
    else if (i->result == CM_ERR_DUPLICATE)
        http_answer(r, 200, HTTP_TYPE_JSON,
                    slice_of_string("{\"news\":false}\n"));
    else
        http_refuse_code(r, i->result,
                         i->detail.text[0] != '\0' ? i->detail.text : NULL);
}

void http_orders(struct http_request *r)
{
    struct intent *i;
    int error;

    if (!http_only_order(r))
        return;
    i = intent_new(INTENT_ORDER);
    error =
        i == NULL ? CM_ERR_NOMEM : intent_set_event(i, buffer_slice(&r->body));
    if (error != 0) {
        intent_free(i);
        http_refuse_code(r, error, NULL);
        return;
    }
    node_order_expected(r->context->node);
    http_submit(r, i, answer_order);
}

void http_retire(struct http_request *r)
{
    struct buffer out;

    if (!http_only_order(r))
        return;
    buffer_init(&out, 256);
    buffer_append_byte(&out, '{');
    field_number(&out, "retired", node_retire_earlier(r->context->node));
    buffer_append_string(&out, "}\n");
    http_answer_built(r, 200, &out);
}
