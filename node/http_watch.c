/* GET /v1/watch: changes as server-sent events.
 *
 * A watch holds no queue. It remembers a revision, and whenever its connection
 * can take more it reads the next commits from the store: a slow client lags,
 * it does not cost memory, and what it gets is what the store has. When the
 * store does not keep its revision any more it is told to read everything
 * again. Between commits it is parked in the waiting room.
 *
 * Specification: https://html.spec.whatwg.org/multipage/server-sent-events.html
 */
#include "node/http_watch.h"

#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/http_handlers.h"
#include "node/http_json.h"

#define CHUNK_SIZE 1024 /* of the library's own buffer */

_Static_assert(sizeof(((struct http_watch *)0)->prefix) == KEY_SIZE_MAX,
               "a prefix is at most a key");

void http_watch_free(struct http_request *r)
{
    struct http_watch *w = r->watch;

    if (w == NULL)
        return;
    CHECK(r->context->counters.watchers > 0);
    r->context->counters.watchers--;
    r->context->watch_bytes -= w->counted;
    buffer_release(&w->out);
    cm_free(w);
    r->watch = NULL;
}

/* ---- text ---- */

static void put_event(struct http_watch *w, const char *event)
{
    char tag[8];

    (void)snprintf(tag, sizeof(tag), "%03x", (unsigned)w->tag);
    buffer_append_string(&w->out, "event: ");
    buffer_append_string(&w->out, event);
    buffer_append_string(&w->out, "\nid: ");
    http_json_u64(&w->out, w->revision);
    buffer_append_byte(&w->out, '-');
    buffer_append_string(&w->out, tag);
    buffer_append_string(&w->out, "\ndata: {\"revision\":");
    http_json_u64(&w->out, w->revision);
}

static void put_simple_event(struct http_watch *w, const char *event)
{
    put_event(w, event);
    buffer_append_string(&w->out, "}\n\n");
}

static void put_change(struct buffer *out, const struct change *change)
{
    static const char *const kinds[] = {"", "put", "delete", "add", "remove"};

    CHECK(change->kind >= CHANGE_PUT && change->kind <= CHANGE_REMOVE);
    buffer_append_string(out, "{\"kind\":\"");
    buffer_append_string(out, kinds[change->kind]);
    buffer_append_string(out, "\",\"key\":");
    http_json_string(out, change->id.key);
    if (change->id.space == SPACE_SET) {
        buffer_append_string(out, ",\"element\":");
        http_json_string(out, change->id.element);
    }
    if (change->kind == CHANGE_PUT) {
        buffer_append_string(out, ",\"value\":");
        http_json_base64(out, change->value);
        buffer_append_string(out, ",\"flags\":");
        http_json_u64(out, change->flags);
    }
    buffer_append_string(out, ",\"revoked\":");
    http_json_bool(out, change->revoked);
    if (change->expired)
        buffer_append_string(out, ",\"expired\":true");
    buffer_append_string(out, ",\"author\":");
    http_json_string(out, change->author);
    buffer_append_string(out, ",\"version\":");
    http_json_dot(out, &change->dot);
    buffer_append_byte(out, '}');
}

static int on_change(void *context, const struct change *change)
{
    struct http_watch *w = context;
    bool wanted = change->id.space == SPACE_REGISTER ||
                  (w->sets && change->id.space == SPACE_SET);

    if (!wanted ||
        !slice_starts_with(change->id.key, slice_of(w->prefix, w->prefix_size)))
        return 0;
    if (!w->open) {
        w->open = true;
        w->revision = change->revision;
        put_event(w, "change");
        buffer_append_string(&w->out, ",\"changes\":[");
    } else {
        buffer_append_byte(&w->out, ',');
    }
    put_change(&w->out, change);
    w->request->context->counters.watch_changes_total++;
    return w->out.error;
}

/* ---- what comes next ---- */

/* The client cannot be brought from where it stands to now by changes. */
static void reset(struct http_watch *w, struct store_reader *reader)
{
    w->tag = http_context_tag(w->request->context, reader);
    w->revision = store_revision(reader);
    put_simple_event(w, "reset");
}

/* Appends the next commit, if it concerns this watch. 0; CM_ERR_NOT_FOUND when
 * there is none; other errors end the watch. */
static int take_commit(struct http_watch *w, struct store_reader *reader)
{
    size_t before = w->out.size;
    uint64_t at = w->revision;
    int error;

    w->open = false;
    error = store_changes(reader, w->revision, &at, on_change, w);
    if (error == 0) {
        if (w->open)
            buffer_append_string(&w->out, "]}\n\n");
        CHECK(at >= w->revision);
        w->revision = at;
    }
    if (error == CM_ERR_NEEDS_CUT || w->out.error == CM_ERR_TOO_LARGE) {
        /* Nothing half-written goes out. */
        w->out.error = 0;
        w->out.size = before;
        reset(w, reader);
        error = 0;
    }
    w->open = false;
    return error != 0 ? error : w->out.error;
}

/* Fills out from the store. True if it stopped before the newest revision. */
static int fill(struct http_watch *w, bool *ret_more)
{
    struct http_context *c = w->request->context;
    struct store_reader *reader = http_context_reader(c);
    unsigned commits = 0;
    int error = 0;

    *ret_more = false;
    if (reader == NULL)
        return CM_ERR_IO;
    if (w->reset_first || w->tag != http_context_tag(c, reader) ||
        w->revision > store_revision(reader)) {
        w->reset_first = false;
        reset(w, reader);
    }
    while (commits++ < HTTP_WATCH_COMMITS && w->out.size < HTTP_WATCH_BATCH) {
        error = take_commit(w, reader);
        if (error != 0)
            break;
    }
    *ret_more = error == 0;
    if (error != CM_ERR_NOT_FOUND)
        return error;
    /* Commits without visible changes are behind it as well. */
    if (w->revision < store_revision(reader))
        w->revision = store_revision(reader);
    return 0;
}

static void count_bytes(struct http_watch *w)
{
    struct http_context *c = w->request->context;

    CHECK(c->watch_bytes >= w->counted);
    c->watch_bytes -= w->counted;
    w->counted = w->out.capacity;
    c->watch_bytes += w->counted;
}

/* ---- the connection ---- */

static void on_wake(struct http_waiter *waiter, enum http_wake why)
{
    struct http_request *r =
        (struct http_request *)((char *)waiter -
                                offsetof(struct http_request, waiter));
    struct http_watch *w = r->watch;

    CHECK(w != NULL);
    /* Proxies and clients take silence for death. */
    if (why == HTTP_WAKE_TIMEOUT && w->out.size == 0)
        buffer_append_string(&w->out, ":\n\n");
    http_request_wake(r);
}

static bool park(struct http_watch *w, uint64_t delay_ms)
{
    struct http_request *r = w->request;

    buffer_release(&w->out);
    w->sent = 0;
    count_bytes(w);
    r->waiter = (struct http_waiter){
        .key = slice_of(w->prefix, w->prefix_size),
        .prefix = true,
        .sets = w->sets,
        .deadline_ms = uv_now(r->context->loop) + delay_ms,
        .revision = &w->revision,
        .wake = on_wake,
    };
    if (http_block_wait(&r->context->block, &r->waiter) != 0)
        return false;
    http_request_park(r, true);
    return true;
}

static ssize_t send_some(struct http_watch *w, char *to, size_t max)
{
    size_t size = w->out.size - w->sent;

    CHECK(w->sent < w->out.size && max > 0);
    if (size > max)
        size = max;
    memcpy(to, w->out.data + w->sent, size);
    w->sent += size;
    if (w->sent == w->out.size) {
        buffer_clear(&w->out);
        w->sent = 0;
    }
    return (ssize_t)size;
}

/* Asked by the library for the next bytes. Returning nothing without parking
 * would make it ask again for ever. */
static ssize_t on_read(void *cls, uint64_t position, char *to, size_t max)
{
    struct http_request *r = cls;
    struct http_watch *w = r->watch;
    bool more = false;
    uint64_t delay_ms = HTTP_WATCH_COMMENT_MS;

    (void)position;
    CHECK(w != NULL);
    if (r->gone || r->context->closing)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (w->out.size > 0)
        return send_some(w, to, max);
    if (r->context->watch_bytes > HTTP_WATCH_BYTES_MAX) {
        delay_ms = 10; /* others are being served */
    } else {
        if (fill(w, &more) != 0)
            return MHD_CONTENT_READER_END_WITH_ERROR;
        count_bytes(w);
        if (w->out.size > 0)
            return send_some(w, to, max);
        if (more)
            delay_ms = 0; /* looked at enough for one iteration */
    }
    return park(w, delay_ms) ? 0 : MHD_CONTENT_READER_END_WITH_ERROR;
}

/* ---- the request ---- */

/* "REVISION" or "REVISION-TAG". */
static int read_position(struct http_watch *w, const char *text, uint64_t tag,
                         uint64_t newest)
{
    const char *dash = strchr(text, '-');
    char digits[24];
    size_t size = dash != NULL ? (size_t)(dash - text) : strlen(text);
    char own[8];
    uint64_t revision;

    if (size >= sizeof(digits))
        return CM_ERR_MALFORMED;
    memcpy(digits, text, size);
    digits[size] = '\0';
    if (http_parse_u64(digits, &revision) != 0)
        return CM_ERR_MALFORMED;
    (void)snprintf(own, sizeof(own), "%03x", (unsigned)tag);
    if (revision > newest || (dash != NULL && strcmp(dash + 1, own) != 0))
        w->reset_first = true;
    else
        w->revision = revision;
    return 0;
}

/* False after having refused. */
static bool read_parameters(struct http_request *r, struct http_watch *w,
                            struct store_reader *reader)
{
    static const char *const known[] = {"prefix", "revision", "sets"};
    const char *prefix = http_query_value(&r->query, "prefix");
    const char *sets = http_query_value(&r->query, "sets");
    const char *position = r->headers.last_event_id;

    for (size_t i = 0; i < r->query.count; i++) {
        const char *name = r->query.items[i].name;

        if (strcmp(name, known[0]) != 0 && strcmp(name, known[1]) != 0 &&
            strcmp(name, known[2]) != 0) {
            http_refuse(r, 400, CM_ERR_INVALID,
                        "unknown parameter \"%.64s\"; correct or remove it",
                        name);
            return false;
        }
    }
    if (prefix != NULL) {
        w->prefix_size = strlen(prefix);
        if (w->prefix_size > sizeof(w->prefix)) {
            http_refuse(r, 400, CM_ERR_TOO_LARGE,
                        "prefix is over %d bytes; shorten it", KEY_SIZE_MAX);
            return false;
        }
        memcpy(w->prefix, prefix, w->prefix_size);
    }
    w->sets = sets != NULL && strcmp(sets, "0") != 0;
    w->tag = http_context_tag(r->context, reader);
    w->revision = store_revision(reader);
    /* A client that reconnects repeats its address but means the field. */
    if (position == NULL || *position == '\0')
        position = http_query_value(&r->query, "revision");
    if (position != NULL &&
        read_position(w, position, w->tag, w->revision) != 0) {
        http_refuse(r, 400, CM_ERR_INVALID,
                    "the revision to resume from is malformed; take the id of "
                    "the last event, or leave it out");
        return false;
    }
    return true;
}

static void answer_stream(struct http_request *r)
{
    CHECK(r->response == NULL && r->watch != NULL);
    r->response = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, CHUNK_SIZE, on_read, r, NULL);
    if (r->response == NULL) {
        http_watch_free(r);
        http_refuse_code(r, CM_ERR_NOMEM, NULL);
        return;
    }
    r->status = 200;
    http_header(r, "Content-Type", "text/event-stream");
    http_header(r, "Cache-Control", "no-store");
    http_header(r, "X-Accel-Buffering", "no");
}

void http_watch(struct http_request *r)
{
    struct http_context *c = r->context;
    struct store_reader *reader = http_context_reader(c);
    struct http_watch *w;

    if (r->method != HTTP_GET) {
        http_refuse(r, 405, CM_ERR_INVALID, "a watch is a GET");
        return;
    }
    w = reader != NULL ? cm_calloc(1, sizeof(*w)) : NULL;
    if (w == NULL) {
        http_refuse_code(r, reader == NULL ? CM_ERR_IO : CM_ERR_NOMEM, NULL);
        return;
    }
    w->request = r;
    buffer_init(&w->out, HTTP_WATCH_EVENT_MAX);
    r->watch = w;
    c->counters.watchers++;
    if (!read_parameters(r, w, reader)) {
        http_watch_free(r);
        return;
    }
    put_simple_event(w, "hello");
    answer_stream(r);
}
