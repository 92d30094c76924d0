/* What the API tells of comparisons and damage, and the order to compare. */
#include <string.h>

#include "crdt/base/check.h"
#include "node/http_field.h"
#include "node/http_handlers.h"
#include "node/http_json.h"
#include "node/http_pending.h"

#define ANSWER_SIZE_MAX (4u << 20)

void http_put_heal(struct buffer *out, const struct heal_status *h)
{
    const struct heal_counters *c = &h->counters;

    field_name(out, "heal");
    buffer_append_byte(out, '{');
    field_text(out, "phase", h->phase);
    field_bool(out, "law_broken", h->alarm_law);
    field_bool(out, "undecided", h->undecided);
    if (h->alarm_law)
        field_text(out, "law", h->law_text);
    field_number(out, "damaged_records", h->damaged);
    if (h->damaged > 0)
        field_text(out, "damage", h->damage_text);
    field_bool(out, "inconsistent", h->inconsistent);
    field_number(out, "scrub_wall_ms", h->scrub_wall_ms);
    field_number(out, "scrub_records", h->scrub_records);
    field_number(out, "comparisons", c->comparisons);
    field_number(out, "divergences", c->divergences);
    field_number(out, "healed", c->healed);
    field_number(out, "rebuilds", c->rebuilds);
    field_number(out, "scrubs", c->scrubs);
    buffer_append_byte(out, '}');
}

static void put_entry(struct buffer *out, const struct heal_difference *d)
{
    static const char *const sides[] = {"absent", "there", "damaged"};
    struct entry_id id;

    if (schema_parse_entry(&id, schema_key_slice(&d->key)) != 0)
        return;
    if (out->data[out->size - 1] != '[')
        buffer_append_byte(out, ',');
    buffer_append_byte(out, '{');
    field_text(out, "space",
               id.space == SPACE_REGISTER ? "kv"
               : id.space == SPACE_SET    ? "set"
                                          : "mesh");
    if (id.space <= SPACE_CLIENT_LAST) {
        field_name(out, "key");
        http_json_string(out, id.key);
    }
    if (id.element.size > 0 && id.space == SPACE_SET) {
        field_name(out, "element");
        http_json_string(out, id.element);
    }
    field_text(out, "here", sides[d->here]);
    field_text(out, "there", sides[d->there]);
    buffer_append_byte(out, '}');
}

static void on_compared(void *ctx, const struct heal_report *report)
{
    struct http_request *r = http_pending_finish(ctx);
    struct buffer out;

    if (r == NULL)
        return;
    CHECK(report != NULL);
    if (report->error != 0) {
        http_refuse_code(r, report->error, report->detail);
        http_pending_wake(r);
        return;
    }
    buffer_init(&out, ANSWER_SIZE_MAX);
    buffer_append_byte(&out, '{');
    field_text(&out, "with", report->peer);
    field_bool(&out, "same_vector", report->same_vector);
    field_bool(&out, "same_digest", report->same_digest);
    field_bool(&out, "more", report->more);
    field_name(&out, "differences");
    buffer_append_byte(&out, '[');
    for (size_t i = 0; i < report->count; i++)
        put_entry(&out, &report->differences[i]);
    buffer_append_string(&out, "]}\n");
    http_answer_built(r, 200, &out);
    http_pending_wake(r);
}

/* {"with": NAME} */
void http_compare(struct http_request *r)
{
    static const char *const members[] = {"with", NULL};
    struct cm_detail detail = {{0}};
    struct slice with = {0};
    struct http_pending *p;
    json_t *object = NULL;
    int error;

    if (!http_only_order(r))
        return;
    error = http_json_parse(&object, buffer_slice(&r->body), members, &detail);
    if (error == 0)
        error = http_json_get_text(object, "with", &with, &detail);
    if (error == 0 && with.size == 0)
        error = cm_fail(&detail, CM_ERR_INVALID, "\"with\" names no member");
    p = error == 0 ? http_pending_new(r) : NULL;
    if (p != NULL) {
        /* Answered later than this in any case: a peer is asked first. */
        error = node_compare(r->context->node, (const char *)with.data,
                             on_compared, p, &detail);
        if (error == 0)
            http_pending_park(r);
        else
            (void)http_pending_finish(p);
    }
    if (error != 0)
        http_refuse_code(r, error, detail.text);
    json_decref(object);
}
