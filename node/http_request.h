/* One HTTP request: its decoded parts, its answer, and whether it is parked.
 *
 * Keys are decoded from the raw URI, because the server library would cut them
 * at "%00". A handler either answers or parks the request; a parked one is
 * woken once and then answers or runs its again function. */
#ifndef NODE_HTTP_REQUEST_H
#define NODE_HTTP_REQUEST_H

#include <microhttpd.h>

#include "node/http_context.h"

#define HTTP_QUERY_MAX 16            /* parameters of one request */
#define HTTP_URI_INLINE 192          /* bytes kept without allocating */
#define HTTP_BODY_MAX (4u << 20)     /* of a transaction */
#define HTTP_SWALLOW_MAX (16u << 20) /* of a refused body, to be read away */

enum http_method {
    HTTP_GET = 1, /* HEAD too */
    HTTP_PUT,
    HTTP_POST,
    HTTP_DELETE,
    HTTP_OTHER,
};

/* Decoded in place: names and values are NUL-terminated, without NULs. */
struct http_query {
    struct {
        const char *name;
        const char *value; /* NULL when there was no '=' */
    } items[HTTP_QUERY_MAX];
    size_t count;
};

/* Header fields that some handler looks at; borrowed from the connection for
 * the time of the request. */
struct http_headers {
    const char *host;
    const char *origin;
    const char *author;
    const char *last_event_id;
    const char *content_length;
    unsigned content_lengths;
    unsigned transfer_encodings;
    bool expects_continue;
};

struct http_request;
typedef void (*http_handler)(struct http_request *r);

struct http_watch;
struct intent;

/* What a request waits for, and what came of it; see http_wait.h. */
struct http_wait {
    struct dot dot; /* after */
    bool arrived;
    bool asked; /* wait-for */
    bool begun;
    struct node_quorum quorum;
    uint64_t timeout_ms;
    http_handler then;
    int error;          /* of the wait; the write stands */
    struct buffer json; /* the report */
    char text[512];     /* the sentence of a failure */
    char confirmed[1024];
    char missing[1024];
};

struct http_request {
    struct http_context *context;
    struct MHD_Connection *mhd;
    void *connection; /* the server's */
    bool local;       /* over the socket, by the node's user or root */

    bool begun;  /* the header has been looked at */
    bool gone;   /* the client has left: end without an answer */
    bool parked; /* waits for the node */
    bool held;   /* parked, but not suspended: it will not take long */
    uint64_t held_until_ms;
    bool watched; /* parked with the client being watched */
    enum http_method method;
    struct http_headers headers;
    char *uri; /* raw, NUL-terminated; path up to the '?' */
    char uri_inline[HTTP_URI_INLINE];
    struct slice path; /* raw */
    char *query_text;
    struct http_query query;
    bool plain;       /* Consul's dialect: errors are text */
    size_t body_max;  /* 0: none is wanted */
    size_t body_seen; /* bytes, also of a refused one */
    struct buffer body;

    http_handler again;           /* run after waking without an answer */
    struct http_waiter waiter;    /* blocking queries and watches */
    struct slice wait_key;        /* owned copy behind the waiter */
    bool woken;                   /* by a change or the deadline */
    uint64_t wait_deadline_ms;    /* of a blocking query */
    struct http_pending *pending; /* the node works for it */
    struct http_watch *watch;
    void *job; /* of a handler in several steps; cm_free, after: */
    void (*job_release)(void *job); /* NULL: it owns nothing */
    struct http_wait *wait;         /* owned; NULL: waits for nothing */
    struct intent *written; /* done, kept until its wait is over; owned */
    void (*written_done)(struct http_request *r, struct intent *intent);

    struct MHD_Response *response; /* NULL until answered */
    unsigned status;
    uint64_t revision; /* of the snapshot that answered; 0: newest */
};

/* ---- decoding; pure, fuzzed ---- */

/* Percent-decodes a raw path part into ret_bytes (capacity bytes). CM_ERR_
 * MALFORMED for a broken escape, %00 or bytes that are no UTF-8; CM_ERR_
 * TOO_LARGE beyond capacity. name is what the detail calls it. */
int http_decode(struct slice raw, const char *name, uint8_t *ret_bytes,
                size_t capacity, size_t *ret_size, struct cm_detail *detail);
/* Splits and decodes text in place; '+' is a space. */
int http_query_parse(struct http_query *ret_query, char *text,
                     struct cm_detail *detail);
bool http_query_has(const struct http_query *q, const char *name);
/* "" when there is no value, NULL when there is no such parameter. */
const char *http_query_value(const struct http_query *q, const char *name);
/* Only digits, at most UINT64_MAX. */
int http_parse_u64(const char *text, uint64_t *ret_value);
/* Go's durations as Consul takes them: "10s", "1m30s", "500ms", also "10". */
int http_parse_duration_ms(const char *text, uint64_t *ret_ms);
/* Is a Host header's value one that means this machine? bound is the text of
 * the address that the server is bound to, without port. */
bool http_host_is_local(const char *host, const char *bound);

/* ---- life ---- */

/* Of a request line; copies uri. CM_ERR_NOMEM. */
int http_request_start(struct http_request *r, const char *uri);
void http_request_reset(struct http_request *r);
/* Reads method and header; answers what can be refused already. */
void http_request_begin(struct http_request *r, const char *method,
                        const char *bound_host);
/* Takes a part of the body. */
void http_request_body(struct http_request *r, const char *data, size_t size);

/* Parks for short (see http_server.c) or suspends; watch_client: suspended, and
 * a client that leaves ends it. */
void http_request_park(struct http_request *r, bool watch_client);
void http_request_wake(struct http_request *r);

/* ---- answering: exactly one of these per request ---- */

void http_answer(struct http_request *r, unsigned status, const char *type,
                 struct slice body); /* copied */
/* Takes the memory of b, which is left empty. */
void http_answer_buffer(struct http_request *r, unsigned status,
                        const char *type, struct buffer *b);
/* JSON that was built in out, or the error that building it met; releases
 * out. */
void http_answer_built(struct http_request *r, unsigned status,
                       struct buffer *out);
/* Refuses any other method: 405. */
bool http_only_get(struct http_request *r);
bool http_only_post(struct http_request *r);
/* An error: text in Consul's dialect, else a JSON object. */
void http_refuse(struct http_request *r, unsigned status, int code,
                 const char *format, ...) __attribute__((format(printf, 4, 5)));
/* With the status that belongs to the code. */
void http_refuse_code(struct http_request *r, int code, const char *detail);
unsigned http_status_of(int code);
/* After the answer has been made. */
void http_header(struct http_request *r, const char *name, const char *value);
void http_header_u64(struct http_request *r, const char *name, uint64_t value);
void http_header_dot(struct http_request *r, const char *name,
                     const struct dot *dot);

#define HTTP_TYPE_JSON "application/json"
#define HTTP_TYPE_TEXT "text/plain; charset=utf-8"

#endif
