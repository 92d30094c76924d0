/* A small blocking HTTP/1.1 client (RFC 9112) for the command line.
 *
 * Why not libcurl, which the S3 target uses: this client talks to exactly one
 * server, ours, over a Unix socket or loopback TCP, without TLS, proxies,
 * redirects, cookies or a resolver; the command line of a static build should
 * not carry all that. In turn it is strict: what is not an answer that our
 * server could have given is an error, never a guess.
 *
 * One request per connection; every wait has a deadline, every buffer a
 * limit. */
#ifndef NODE_CLI_HTTP_CLIENT_H
#define NODE_CLI_HTTP_CLIENT_H

#include "crdt/base/buffer.h"
#include "crdt/base/error.h"

#define CLIENT_HEAD_MAX (16u << 10)  /* bytes of status line and headers */
#define CLIENT_BODY_MAX (512u << 20) /* bytes of a gathered body */
#define CLIENT_TARGET_MAX (8u << 10) /* bytes of a request's target */
#define CLIENT_HEADERS_MAX 8         /* headers of a request */
#define CLIENT_CONNECT_TIMEOUT_MS 5000
#define CLIENT_CALL_TIMEOUT_MS 30000

/* Where a node's API listens. */
struct client_endpoint {
    bool is_unix;
    char path[108]; /* Unix socket, at most what sockaddr_un holds */
    char host[256];
    char port[6];
};

/* "unix:PATH", a bare path (anything with a slash), "HOST:PORT" or
 * "[IPV6]:PORT". CM_ERR_INVALID with detail. */
int client_endpoint_parse(struct client_endpoint *ret_endpoint,
                          const char *text, struct cm_detail *detail);
/* For messages: the text that parses to it. */
#define CLIENT_ENDPOINT_TEXT_SIZE 272
void client_endpoint_format(char ret_text[CLIENT_ENDPOINT_TEXT_SIZE],
                            const struct client_endpoint *e);

struct client_header {
    const char *name;
    const char *value; /* no control characters: checked */
};

struct client_request {
    const char *method;
    const char *target; /* percent-encoded, starts with a slash */
    struct client_header headers[CLIENT_HEADERS_MAX];
    size_t headers_count;
    bool has_body;
    struct slice body;
    uint64_t timeout_ms; /* for the whole call; 0 = CLIENT_CALL_TIMEOUT_MS */
};

struct client_response {
    int status;         /* 200 .. 599 */
    struct buffer head; /* raw status line and headers */
    struct buffer body;
};

/* One request and its whole answer; release the response after success only.
 * CM_ERR_CLOSED: no node answers there. CM_ERR_TIMEOUT, CM_ERR_MALFORMED,
 * CM_ERR_TOO_LARGE, CM_ERR_IO, CM_ERR_NOMEM; all with detail. */
int client_call(const struct client_endpoint *endpoint,
                const struct client_request *request,
                struct client_response *ret_response, struct cm_detail *detail);
void client_response_release(struct client_response *r);
/* The value of the first header of that name (any case), without blanks at
 * its ends; false if there is none. Borrowed from the response. */
bool client_response_header(const struct client_response *r, const char *name,
                            struct slice *ret_value);

/* An answer without end, read as it comes. */
struct client_stream;
/* Sends the request and reads the head; the timeout of the request covers
 * these only. */
int client_stream_open(struct client_stream **ret_stream,
                       const struct client_endpoint *endpoint,
                       const struct client_request *request,
                       struct cm_detail *detail);
const struct client_response *
client_stream_response(const struct client_stream *s);
/* Appends at least one byte of decoded body to out. CM_ERR_CLOSED at the
 * end of the body or connection, CM_ERR_TIMEOUT when nothing came for
 * timeout_ms, CM_ERR_BUSY when a signal interrupted the wait. */
int client_stream_read(struct client_stream *s, uint64_t timeout_ms,
                       struct buffer *out, struct cm_detail *detail);
void client_stream_close(struct client_stream *s); /* NULL is fine */

/* Appends bytes percent-encoded; everything but letters, digits and "-._~" is
 * encoded, slashes only if encode_slash. */
void client_percent_encode(struct buffer *out, struct slice bytes,
                           bool encode_slash);

#endif
