/* The life of one request between the server library and the handlers; see
 * http_request.h. */
#include "node/http_request.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/eviction.h"
#include "node/http_json.h"
#include "node/http_pending.h"
#include "node/http_wait.h"
#include "node/http_watch.h"
#include "node/intent.h"

static bool is_under(struct slice path, const char *prefix)
{
    return slice_starts_with(path, slice_of_string(prefix));
}

int http_request_start(struct http_request *r, const char *uri)
{
    size_t size = strlen(uri);
    char *mark;

    CHECK(r->uri == NULL && r->response == NULL);
    r->uri = r->uri_inline;
    if (size >= HTTP_URI_INLINE)
        r->uri = cm_alloc(size + 1);
    if (r->uri == NULL)
        return CM_ERR_NOMEM;
    memcpy(r->uri, uri, size + 1);
    mark = strchr(r->uri, '?');
    if (mark != NULL)
        *mark = '\0';
    r->query_text = mark != NULL ? mark + 1 : NULL;
    r->path = slice_of_string(r->uri);
    r->plain = is_under(r->path, "/v1/kv/") ||
               slice_equal(r->path, slice_of_string("/v1/kv"));
    return 0;
}

void http_request_reset(struct http_request *r)
{
    struct http_context *c = r->context;

    CHECK(c != NULL && !r->parked);
    if (r->pending != NULL)
        http_pending_detach(r);
    http_block_cancel(&c->block, &r->waiter);
    http_watch_free(r);
    if (r->uri != r->uri_inline)
        cm_free(r->uri);
    if (r->response != NULL)
        MHD_destroy_response(r->response);
    c->body_bytes -= r->body.capacity;
    buffer_release(&r->body);
    cm_free((void *)(uintptr_t)r->wait_key.data);
    if (r->job_release != NULL)
        r->job_release(r->job);
    cm_free(r->job);
    intent_free(r->written);
    http_wait_free(r);
    r->written = NULL;
    r->uri = NULL;
    r->query_text = NULL;
    r->query.count = 0;
    r->headers = (struct http_headers){0};
    r->wait_key = (struct slice){0};
    r->waiter = (struct http_waiter){0};
    r->job = NULL;
    r->job_release = NULL;
    r->again = NULL;
    r->response = NULL;
    r->begun = r->woken = r->watched = r->plain = false;
    r->body_max = r->body_seen = 0;
    r->wait_deadline_ms = r->revision = 0;
}

/* ---- the header ---- */

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind,
                                 const char *name, const char *value)
{
    struct http_headers *h = cls;

    (void)kind;
    if (value == NULL)
        value = "";
    switch (name[0] | 0x20) {
    case 'h':
        if (strcasecmp(name, "Host") == 0)
            h->host = h->host == NULL ? value : "two";
        break;
    case 'o':
        if (strcasecmp(name, "Origin") == 0)
            h->origin = value;
        break;
    case 'c':
        if (strcasecmp(name, "Content-Length") == 0) {
            h->content_length = value;
            h->content_lengths++;
        }
        break;
    case 't':
        if (strcasecmp(name, "Transfer-Encoding") == 0)
            h->transfer_encodings++;
        break;
    case 'e':
        if (strcasecmp(name, "Expect") == 0)
            h->expects_continue = true;
        break;
    case 'l':
        if (strcasecmp(name, "Last-Event-ID") == 0)
            h->last_event_id = value;
        break;
    case 'x':
        if (strcasecmp(name, "X-Confmesh-Author") == 0)
            h->author = value;
        break;
    default:
        break;
    }
    return MHD_YES;
}

static enum http_method method_of(const char *method)
{
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
        return HTTP_GET;
    if (strcmp(method, "PUT") == 0)
        return HTTP_PUT;
    if (strcmp(method, "POST") == 0)
        return HTTP_POST;
    if (strcmp(method, "DELETE") == 0)
        return HTTP_DELETE;
    return HTTP_OTHER;
}

/* A page of a foreign site that a browser has been talked into sending here
 * (also by rebinding a name) is recognised by these two fields. */
static bool origin_is_own(const struct http_headers *h)
{
    static const char scheme[] = "http://";

    if (h->origin == NULL)
        return true;
    return strncasecmp(h->origin, scheme, sizeof(scheme) - 1) == 0 &&
           strcasecmp(h->origin + sizeof(scheme) - 1, h->host) == 0;
}

static void check_peer(struct http_request *r, const char *bound_host)
{
    const struct http_headers *h = &r->headers;

    if (bound_host == NULL) { /* a Unix socket */
        if (!r->local)
            http_refuse(r, 403, CM_ERR_AUTHORITY,
                        "the socket serves only the user of the node and "
                        "root; use one of these users");
        return;
    }
    if (h->host == NULL || !http_host_is_local(h->host, bound_host))
        http_refuse(r, 403, CM_ERR_AUTHORITY,
                    "Host is none of this node's local names; use "
                    "127.0.0.1, [::1] or localhost");
    else if (!origin_is_own(h))
        http_refuse(r, 403, CM_ERR_AUTHORITY,
                    "Origin is foreign; web pages of other sites may not "
                    "talk to this node, leave the field out");
}

/* Two lengths are how requests are smuggled past a proxy. */
static void check_lengths(struct http_request *r)
{
    const struct http_headers *h = &r->headers;
    uint64_t length = 0;

    if (h->content_lengths + h->transfer_encodings > 1) {
        http_refuse(r, 400, CM_ERR_MALFORMED,
                    "the request has more than one of Content-Length and "
                    "Transfer-Encoding; send exactly one");
        return;
    }
    if (h->content_lengths == 1 &&
        http_parse_u64(h->content_length, &length) != 0) {
        http_refuse(r, 400, CM_ERR_MALFORMED,
                    "Content-Length is not a number; send the body's bytes");
        return;
    }
    if (length > r->body_max &&
        (h->expects_continue || length > HTTP_SWALLOW_MAX))
        http_refuse(r, 413, CM_ERR_TOO_LARGE,
                    "the body of %llu bytes is over the limit of %zu; send "
                    "less",
                    (unsigned long long)length, r->body_max);
}

static size_t body_max_of(const struct http_request *r)
{
    if (r->method == HTTP_PUT && r->plain)
        return VALUE_SIZE_MAX;
    if ((r->method == HTTP_POST || r->method == HTTP_PUT) &&
        is_under(r->path, "/v1/txn"))
        return HTTP_BODY_MAX;
    if (r->method == HTTP_POST &&
        slice_equal(r->path, slice_of_string("/v1/mesh/orders")))
        return EVICTION_SIZE_MAX;
    if (r->method == HTTP_POST && is_under(r->path, "/v1/mesh/"))
        return 16384;
    return r->method == HTTP_GET ? 0 : 1024;
}

void http_request_begin(struct http_request *r, const char *method,
                        const char *bound_host)
{
    struct cm_detail detail = {{0}};
    int error;

    CHECK(!r->begun && r->uri != NULL);
    r->begun = true;
    r->method = method_of(method);
    r->body_max = body_max_of(r);
    buffer_init(&r->body, r->body_max);
    (void)MHD_get_connection_values(r->mhd, MHD_HEADER_KIND, on_header,
                                    &r->headers);
    check_lengths(r);
    if (r->response != NULL)
        return;
    check_peer(r, bound_host);
    if (r->response != NULL || r->query_text == NULL)
        return;
    error = http_query_parse(&r->query, r->query_text, &detail);
    if (error != 0)
        http_refuse(r, 400, error, "%s", detail.text);
}

void http_request_body(struct http_request *r, const char *data, size_t size)
{
    struct http_context *c = r->context;
    size_t before = r->body.capacity;

    r->body_seen += size;
    if (r->response != NULL)
        return; /* refused already: read it away */
    if (r->body_seen > r->body_max) {
        http_refuse(r, 413, CM_ERR_TOO_LARGE,
                    "the body is over the limit of %zu bytes; send less",
                    r->body_max);
        return;
    }
    if (c->body_bytes > HTTP_BODIES_BYTES_MAX) {
        http_refuse(r, 503, CM_ERR_BUSY,
                    "too many request bodies at once; try again");
        return;
    }
    buffer_append(&r->body, data, size);
    c->body_bytes += r->body.capacity - before;
    if (r->body.error != 0)
        http_refuse_code(r, r->body.error, NULL);
}

/* ---- answers ---- */

static const char kv_known[] = "true";

/* What each answer of the Consul dialect carries: clients read the index even
 * from a 404. */
static void kv_headers(struct http_request *r)
{
    struct http_context *c = r->context;
    struct store_reader *reader = c->reader;
    char text[24];

    if (!c->reading)
        reader = http_context_reader(c);
    if (reader == NULL)
        return;
    if (r->revision == 0)
        r->revision = store_revision(reader);
    (void)snprintf(
        text, sizeof(text), "%llu",
        (unsigned long long)http_context_index(c, reader, r->revision));
    http_header(r, "X-Consul-Index", text);
    http_header(r, "X-Consul-KnownLeader", kv_known);
    http_header(r, "X-Consul-LastContact", "0");
}

static void answered(struct http_request *r, unsigned status, const char *type)
{
    struct http_counters *n = &r->context->counters;

    CHECK(r->response != NULL);
    r->status = status;
    if (status >= 500)
        n->failed++;
    else if (status >= 400 && status != 404)
        n->refused++;
    if (type != NULL)
        http_header(r, "Content-Type", type);
    if (r->plain)
        kv_headers(r);
}

/* Memory was short for an answer: there is one that needs none of its own. */
static struct MHD_Response *empty_response(void)
{
    static char nothing[1];
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);

    CHECK(response != NULL);
    return response;
}

void http_answer(struct http_request *r, unsigned status, const char *type,
                 struct slice body)
{
    CHECK(r->response == NULL);
    r->response = MHD_create_response_from_buffer(
        body.size, (void *)(uintptr_t)body.data, MHD_RESPMEM_MUST_COPY);
    if (r->response == NULL) {
        r->response = empty_response();
        status = 500;
    }
    answered(r, status, type);
}

/* The memory of a large answer, counted until it has been sent. */
struct counted_answer {
    struct http_context *context;
    uint8_t *data;
    size_t size;
};

static void counted_free(void *cls)
{
    struct counted_answer *a = cls;

    CHECK(a->context->answer_bytes >= a->size);
    a->context->answer_bytes -= a->size;
    cm_free(a->data);
    cm_free(a);
}

void http_answer_buffer(struct http_request *r, unsigned status,
                        const char *type, struct buffer *b)
{
    struct http_context *c = r->context;
    struct counted_answer *a;

    CHECK(r->response == NULL && b->error == 0);
    if (c->answer_bytes + b->capacity > HTTP_ANSWERS_BYTES_MAX) {
        buffer_release(b);
        http_refuse(r, 503, CM_ERR_BUSY,
                    "too many large answers at once; try again");
        return;
    }
    a = cm_alloc(sizeof(*a));
    if (a != NULL && b->data != NULL) {
        *a = (struct counted_answer){
            .context = c, .data = b->data, .size = b->capacity};
        r->response = MHD_create_response_from_buffer_with_free_callback_cls(
            b->size, b->data, counted_free, a);
    }
    if (r->response == NULL) {
        cm_free(a);
        buffer_release(b);
        r->response = empty_response();
        status = 500;
    } else {
        c->answer_bytes += b->capacity;
        buffer_init(b, b->limit);
    }
    answered(r, status, type);
}

unsigned http_status_of(int code)
{
    switch (code) {
    case CM_ERR_REVOKED:
    case CM_ERR_AUTHORITY:
        return 403;
    case CM_ERR_NOT_FOUND:
        return 404;
    case CM_ERR_CONDITION:
    case CM_ERR_EXISTS:
    case CM_ERR_LEVEL:
        return 409;
    case CM_ERR_TOO_LARGE:
        return 413;
    case CM_ERR_INVALID:
    case CM_ERR_MALFORMED:
    case CM_ERR_NONCANONICAL:
    case CM_ERR_LIMIT:
    case CM_ERR_DUPLICATE:
        return 400;
    case CM_ERR_BUSY:
    case CM_ERR_NOT_READY:
    case CM_ERR_CLOSED:
    case CM_ERR_CLOCK:
        return 503;
    case CM_ERR_TIMEOUT:
        return 504;
    case CM_ERR_FULL:
        return 507;
    default:
        return 500;
    }
}

void http_answer_built(struct http_request *r, unsigned status,
                       struct buffer *out)
{
    if (out->error != 0)
        http_refuse_code(r, out->error, NULL);
    else
        http_answer_buffer(r, status, HTTP_TYPE_JSON, out);
    buffer_release(out);
}

bool http_only_get(struct http_request *r)
{
    if (r->method == HTTP_GET)
        return true;
    http_refuse(r, 405, CM_ERR_INVALID, "this can only be read; use GET");
    return false;
}

bool http_only_post(struct http_request *r)
{
    if (r->method == HTTP_POST)
        return true;
    http_refuse(r, 405, CM_ERR_INVALID, "this is an order; use POST");
    return false;
}

void http_refuse(struct http_request *r, unsigned status, int code,
                 const char *format, ...)
{
    char text[512];
    struct buffer out;
    va_list args;

    CHECK(status >= 400 && r->response == NULL);
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    buffer_init(&out, 8192);
    if (r->plain) {
        buffer_append_string(&out, text);
        buffer_append_byte(&out, '\n');
    } else {
        buffer_append_string(&out, "{\"error\":");
        http_json_text(&out, cm_error_name(code));
        buffer_append_string(&out, ",\"detail\":");
        http_json_text(&out, text);
        buffer_append_string(&out, "}\n");
    }
    http_answer(r, status, r->plain ? HTTP_TYPE_TEXT : HTTP_TYPE_JSON,
                out.error == 0 ? buffer_slice(&out) : slice_of("", 0));
    buffer_release(&out);
}

void http_refuse_code(struct http_request *r, int code, const char *detail)
{
    const char *advice = "";

    CHECK(code < 0);
    if (code == CM_ERR_DAMAGED && r->context->node != NULL)
        node_note_damage(r->context->node);
    if (detail != NULL && detail[0] != '\0') {
        http_refuse(r, http_status_of(code), code, "%s", detail);
        return;
    }
    if (code == CM_ERR_DAMAGED) {
        http_refuse(r, http_status_of(code), code,
                    "%.*s: the stored bytes are damaged and cannot be served; "
                    "they are fetched from another node, see confmesh doctor",
                    (int)(r->path.size < 300 ? r->path.size : 300),
                    (const char *)r->path.data);
        return;
    }
    if (code == CM_ERR_FULL)
        advice = "; free space on the disk, reads go on meanwhile";
    else if (http_status_of(code) == 503)
        advice = "; try again";
    else if (http_status_of(code) >= 500)
        advice = "; see the node's log";
    http_refuse(r, http_status_of(code), code, "%s%s", cm_strerror(code),
                advice);
}

void http_header(struct http_request *r, const char *name, const char *value)
{
    CHECK(r->response != NULL);
    (void)MHD_add_response_header(r->response, name, value);
}

void http_header_u64(struct http_request *r, const char *name, uint64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    http_header(r, name, text);
}

void http_header_dot(struct http_request *r, const char *name,
                     const struct dot *dot)
{
    char text[DOT_TEXT_SIZE];

    dot_format(text, dot);
    http_header(r, name, text);
}
