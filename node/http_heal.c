/* What the API tells of comparisons and damage, and the order to compare. */
#include <string.h>

#include "crdt/base/check.h"
#include "node/http_handlers.h"
#include "node/http_json.h"
#include "node/http_pending.h"

#define ANSWER_SIZE_MAX (4u << 20)

static void number(struct buffer *out, const char *key, uint64_t v)
{
    buffer_printf(out, "\"%s\":%llu,", key, (unsigned long long)v);
}

static void boolean(struct buffer *out, const char *key, bool v)
{
    buffer_printf(out, "\"%s\":%s,", key, v ? "true" : "false");
}

static void text(struct buffer *out, const char *key, const char *v)
{
    buffer_printf(out, "\"%s\":", key);
    http_json_text(out, v != NULL ? v : "");
    buffer_append_byte(out, ',');
}

void http_put_heal(struct buffer *out, const struct heal_status *h)
{
    const struct heal_counters *c = &h->counters;

    buffer_append_string(out, "\"heal\":{");
    text(out, "phase", h->phase);
    boolean(out, "law_broken", h->alarm_law);
    boolean(out, "undecided", h->undecided);
    if (h->alarm_law)
        text(out, "law", h->law_text);
    number(out, "damaged_records", h->damaged);
    if (h->damaged > 0)
        text(out, "damage", h->damage_text);
    boolean(out, "inconsistent", h->inconsistent);
    number(out, "scrub_wall_ms", h->scrub_wall_ms);
    number(out, "scrub_records", h->scrub_records);
    number(out, "comparisons", c->comparisons);
    number(out, "divergences", c->divergences);
    number(out, "healed", c->healed);
    number(out, "rebuilds", c->rebuilds);
    buffer_printf(out, "\"scrubs\":%llu}", (unsigned long long)c->scrubs);
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
    text(out, "space",
         id.space == SPACE_REGISTER ? "kv"
         : id.space == SPACE_SET    ? "set"
                                    : "mesh");
    if (id.space <= SPACE_CLIENT_LAST) {
        buffer_append_string(out, "\"key\":");
        http_json_string(out, id.key);
        buffer_append_byte(out, ',');
    }
    if (id.element.size > 0 && id.space == SPACE_SET) {
        buffer_append_string(out, "\"element\":");
        http_json_string(out, id.element);
        buffer_append_byte(out, ',');
    }
    text(out, "here", sides[d->here]);
    buffer_printf(out, "\"there\":\"%s\"}", sides[d->there]);
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
    text(&out, "with", report->peer);
    boolean(&out, "same_vector", report->same_vector);
    boolean(&out, "same_digest", report->same_digest);
    boolean(&out, "more", report->more);
    buffer_append_string(&out, "\"differences\":[");
    for (size_t i = 0; i < report->count; i++)
        put_entry(&out, &report->differences[i]);
    buffer_append_string(&out, "]}\n");
    if (out.error != 0)
        http_refuse_code(r, out.error, NULL);
    else
        http_answer(r, 200, HTTP_TYPE_JSON, buffer_slice(&out));
    buffer_release(&out);
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

    if (r->method != HTTP_POST) {
        http_refuse(r, 405, CM_ERR_INVALID, "this is an order; use POST");
        return;
    }
    error = http_json_parse(&object, buffer_slice(&r->body), &detail);
    if (error == 0)
        error = http_json_only(object, members, "the body", &detail);
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
