/* See http_wait.h. The node does the waiting (awaits.c); here its reports
 * become answers. */
#include "node/http_wait.h"

#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/args.h"
#include "node/http_json.h"
#include "node/http_pending.h"

#define WAIT_JSON_MAX (4u << 20)

void http_wait_free(struct http_request *r)
{
    if (r->wait == NULL)
        return;
    buffer_release(&r->wait->json);
    cm_free(r->wait);
    r->wait = NULL;
}

/* False after having answered that memory is short. */
static bool wait_make(struct http_request *r)
{
    if (r->wait == NULL)
        r->wait = cm_calloc(1, sizeof(*r->wait));
    if (r->wait == NULL) {
        http_refuse_code(r, CM_ERR_NOMEM, NULL);
        return false;
    }
    return true;
}

/* Milliseconds of timeout=; false after having refused. */
static bool read_timeout(struct http_request *r, uint64_t *ret_ms)
{
    const char *text = http_query_value(&r->query, "timeout");
    struct cm_detail detail = {{0}};

    *ret_ms = HTTP_WAIT_DEFAULT_MS;
    if (text == NULL)
        return true;
    if (args_duration_ms(ret_ms, text, "timeout", &detail) != 0) {
        http_refuse(r, 400, CM_ERR_INVALID, "%s", detail.text);
        return false;
    }
    if (*ret_ms <= NODE_AWAIT_MS_MAX)
        return true;
    http_refuse(r, 400, CM_ERR_INVALID,
                "timeout is over %u minutes, the limit; ask again after it",
                NODE_AWAIT_MS_MAX / 60000);
    return false;
}

static void refuse_busy(struct http_request *r, const char *what)
{
    http_refuse(r, 503, CM_ERR_BUSY,
                "%s%d requests wait for events already, the limit; try again",
                what, NODE_AWAITS_MAX);
}

/* ---- after ---- */

static void refuse_missing(struct http_request *r)
{
    const struct dot *dot = &r->wait->dot;
    struct node *n = r->context->node;
    const char *name = node_name_of(n, &dot->incarnation);
    char text[DOT_TEXT_SIZE];

    dot_format(text, dot);
    http_refuse(r, 504, CM_ERR_TIMEOUT,
                "after: event %s of %s has not arrived within %llu ms; of that "
                "incarnation this node has the events up to %llu. Try again, "
                "or read without after",
                text, name[0] != '\0' ? name : "a node that is not known here",
                (unsigned long long)r->wait->timeout_ms,
                (unsigned long long)node_committed_seq(n, &dot->incarnation));
}

static void on_here(void *ctx, const struct node_await_report *report)
{
    struct http_request *r = http_pending_finish(ctx);

    if (r == NULL)
        return;
    if (report->error == 0)
        r->wait->arrived = true;
    else if (report->error == CM_ERR_TIMEOUT)
        refuse_missing(r);
    else
        http_refuse_code(r, report->error, NULL);
    if (r->parked)
        http_request_wake(r);
}

bool http_wait_after(struct http_request *r, http_handler again)
{
    const char *token = http_query_value(&r->query, "after");
    struct http_pending *p;
    int error;

    if (token == NULL || (r->wait != NULL && r->wait->arrived))
        return true;
    if (!wait_make(r))
        return false;
    if (dot_parse(&r->wait->dot, token) != 0) {
        http_refuse(r, 400, CM_ERR_INVALID,
                    "after is not INCARNATION:SEQ; take X-Confmesh-Token or "
                    "\"token\" of a write's answer");
        return false;
    }
    if (!read_timeout(r, &r->wait->timeout_ms))
        return false;
    p = http_pending_new(r);
    if (p == NULL)
        return false;
    error = node_await(r->context->node, &r->wait->dot, NULL,
                       r->wait->timeout_ms, on_here, p);
    if (error != 0) {
        (void)http_pending_finish(p);
        if (error == CM_ERR_BUSY)
            refuse_busy(r, "");
        else
            http_refuse_code(r, error, NULL);
        return false;
    }
    if (r->pending == NULL) /* told at once */
        return r->wait->arrived;
    r->again = again;
    http_pending_park(r);
    return false;
}

/* ---- wait-for ---- */

bool http_wait_begin(struct http_request *r)
{
    const char *text = http_query_value(&r->query, "wait-for");
    struct node *n = r->context->node;
    struct cm_detail detail = {{0}};

    if (text == NULL || (r->wait != NULL && r->wait->asked))
        return true;
    if (!wait_make(r))
        return false;
    if (node_quorum_parse(&r->wait->quorum, text, &detail) != 0) {
        http_refuse(r, 400, CM_ERR_INVALID,
                    "wait-for is '%.40s', but must be a number of members "
                    "from 1 on, majority or all; nothing was written",
                    text);
        return false;
    }
    if (!read_timeout(r, &r->wait->timeout_ms))
        return false;
    if (node_quorum_wanted(n, &r->wait->quorum) > node_quorum_members(n)) {
        http_refuse(r, 400, CM_ERR_INVALID,
                    "wait-for asks for %zu members, the roster has %zu; ask "
                    "for fewer, nothing was written",
                    node_quorum_wanted(n, &r->wait->quorum),
                    node_quorum_members(n));
        return false;
    }
    if (!node_has_room_to_await(n)) {
        refuse_busy(r, "nothing was written: ");
        return false;
    }
    buffer_init(&r->wait->json, WAIT_JSON_MAX);
    r->wait->asked = true;
    return true;
}

/* ["alpha",…], or the missing as objects that tell their state. */
static void put_members(struct buffer *out,
                        const struct node_await_report *report, bool confirmed)
{
    bool first = true;

    buffer_append_byte(out, '[');
    for (size_t i = 0; i < report->members_count; i++) {
        const struct node_await_member *m = &report->members[i];

        if (m->confirmed != confirmed)
            continue;
        if (!first)
            buffer_append_byte(out, ',');
        first = false;
        if (!confirmed)
            buffer_append_string(out, "{\"name\":");
        http_json_text(out, m->name);
        if (confirmed)
            continue;
        buffer_append_string(out, ",\"state\":");
        http_json_text(out, m->state);
        buffer_append_byte(out, '}');
    }
    buffer_append_byte(out, ']');
}

/* "alpha,beta" of those; cut where it grows too long for a header. */
static void list_names(char *ret_text, size_t size,
                       const struct node_await_report *report, bool confirmed,
                       bool states)
{
    size_t at = 0;

    ret_text[0] = '\0';
    for (size_t i = 0; i < report->members_count; i++) {
        const struct node_await_member *m = &report->members[i];

        if (m->confirmed != confirmed)
            continue;
        if (at + NAME_SIZE_MAX + 24 > size) {
            (void)snprintf(ret_text + at, size - at, ",...");
            return;
        }
        at += (size_t)snprintf(ret_text + at, size - at, "%s%s%s%s%s",
                               at > 0 ? "," : "", m->name, states ? " (" : "",
                               states ? m->state : "", states ? ")" : "");
    }
}

static void keep_report(struct http_request *r,
                        const struct node_await_report *report)
{
    struct http_wait *w = r->wait;
    char missing[256];

    buffer_clear(&w->json);
    buffer_append_string(&w->json, "{\"wanted\":");
    http_json_u64(&w->json, report->wanted);
    buffer_append_string(&w->json, ",\"confirmed\":");
    put_members(&w->json, report, true);
    buffer_append_string(&w->json, ",\"missing\":");
    put_members(&w->json, report, false);
    buffer_append_byte(&w->json, '}');
    list_names(w->confirmed, sizeof w->confirmed, report, true, false);
    list_names(w->missing, sizeof w->missing, report, false, false);
    w->error = report->error;
    if (w->error == 0)
        return;
    list_names(missing, sizeof missing, report, false, true);
    (void)snprintf(
        w->text, sizeof w->text,
        "%s after %llu ms: %zu of the %zu members wanted have committed it; "
        "not confirmed: %s. The write stands and spreads: it is not undone",
        report->error == CM_ERR_TIMEOUT ? "timed out" : "the wait ended",
        (unsigned long long)w->timeout_ms, report->confirmed, report->wanted,
        missing);
}

static void on_members(void *ctx, const struct node_await_report *report)
{
    struct http_request *r = http_pending_finish(ctx);

    if (r == NULL)
        return;
    keep_report(r, report);
    r->wait->then(r);
    CHECK(r->response != NULL || r->pending != NULL);
    http_pending_wake(r);
}

bool http_wait_written(struct http_request *r, const struct dot *dot,
                       http_handler then)
{
    struct http_wait *w = r->wait;
    struct http_pending *p;
    int error;

    if (w == NULL || !w->asked || w->begun || dot->seq == 0)
        return true;
    w->begun = true;
    w->then = then;
    p = http_pending_new(r);
    if (p == NULL) {
        w->error = CM_ERR_NOMEM;
        return false;
    }
    error = node_await(r->context->node, dot, &w->quorum, w->timeout_ms,
                       on_members, p);
    if (error != 0) {
        (void)http_pending_finish(p);
        w->error = error;
        (void)snprintf(w->text, sizeof w->text,
                       "written, but nothing can be waited for now: %s",
                       cm_strerror(error));
        return true;
    }
    http_pending_park(r);
    return false;
}

int http_wait_error(const struct http_request *r)
{
    return r->wait != NULL ? r->wait->error : 0;
}

const char *http_wait_text(const struct http_request *r)
{
    return r->wait != NULL ? r->wait->text : "";
}

unsigned http_wait_status(const struct http_request *r)
{
    int error = http_wait_error(r);

    return error == 0 ? 200 : http_status_of(error);
}

void http_wait_put(const struct http_request *r, struct buffer *out)
{
    const struct http_wait *w = r->wait;

    if (w == NULL)
        return;
    if (w->error != 0) {
        buffer_append_string(out, ",\"error\":");
        http_json_text(out, cm_error_name(w->error));
        buffer_append_string(out, ",\"detail\":");
        http_json_text(out, w->text);
    }
    if (w->begun && w->json.size > 0 && w->json.error == 0) {
        buffer_append_string(out, ",\"wait\":");
        buffer_append_slice(out, buffer_slice(&w->json));
    }
}

void http_wait_headers(struct http_request *r)
{
    const struct http_wait *w = r->wait;

    if (w == NULL || !w->begun)
        return;
    http_header(r, "X-Confmesh-Confirmed", w->confirmed);
    http_header(r, "X-Confmesh-Missing", w->missing);
}
