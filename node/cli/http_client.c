/* See http_client.h. A call is: connect, send, read the head, then decode
 * the body by whichever of the three framings (chunked, Content-Length, until
 * the end of the connection) the head announced. The decoder is one small
 * state machine that takes bytes as the socket gives them, so that short
 * reads need no special case. */
#include "node/cli/http_client.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

#define READ_SIZE (64u << 10)
#define CHUNK_LINE_MAX 256 /* size line or trailer line of a chunk */

enum framing {
    FRAMING_NONE,     /* no body: 204, 304, answer to HEAD */
    FRAMING_LENGTH,   /* left bytes follow */
    FRAMING_CHUNKED,  /* RFC 9112, section 7.1 */
    FRAMING_TO_CLOSE, /* all that comes */
};

enum chunk_state {
    CHUNK_SIZE,    /* in the line that tells the size */
    CHUNK_DATA,    /* left bytes of data follow */
    CHUNK_END,     /* in the line break after the data */
    CHUNK_TRAILER, /* in trailer lines after the last chunk */
};

struct client_stream {
    int fd;
    bool is_head;
    struct client_response response;
    enum framing framing;
    enum chunk_state chunk;
    uint64_t left;
    char line[CHUNK_LINE_MAX];
    size_t line_size;
    bool finished;
    char where[CLIENT_ENDPOINT_TEXT_SIZE];
    uint8_t *input; /* READ_SIZE bytes */
    size_t input_at, input_size;
};

/* ---- endpoints ---- */

static int endpoint_parse_unix(struct client_endpoint *ret, const char *path,
                               struct cm_detail *detail)
{
    size_t size = strlen(path);
    if (size == 0 || size >= sizeof(ret->path))
        return cm_fail(detail, CM_ERR_INVALID,
                       "--api: the socket's path has %zu bytes, the kernel "
                       "takes 1 to %zu; use a shorter one",
                       size, sizeof(ret->path) - 1);
    ret->is_unix = true;
    memcpy(ret->path, path, size + 1);
    return 0;
}

int client_endpoint_parse(struct client_endpoint *ret_endpoint,
                          const char *text, struct cm_detail *detail)
{
    CHECK(ret_endpoint != NULL && text != NULL);
    struct client_endpoint e;
    memset(&e, 0, sizeof(e));
    int error = 0;
    if (strncmp(text, "unix:", 5) == 0) {
        error = endpoint_parse_unix(&e, text + 5, detail);
    } else if (strchr(text, '/') != NULL && strncmp(text, "http", 4) != 0) {
        error = endpoint_parse_unix(&e, text, detail);
    } else {
        if (strncmp(text, "http://", 7) == 0)
            text += 7;
        const char *colon = strrchr(text, ':');
        const char *host = text;
        size_t host_size = colon == NULL ? 0 : (size_t)(colon - text);
        if (host_size >= 2 && host[0] == '[' && host[host_size - 1] == ']') {
            host++;
            host_size -= 2;
        }
        size_t port_size = colon == NULL ? 0 : strlen(colon + 1);
        if (host_size == 0 || host_size >= sizeof(e.host) || port_size == 0 ||
            port_size >= sizeof(e.port) ||
            strspn(colon + 1, "0123456789") != port_size)
            return cm_fail(detail, CM_ERR_INVALID,
                           "--api: '%.100s' is no address; write HOST:PORT or "
                           "unix:PATH",
                           text);
        memcpy(e.host, host, host_size);
        memcpy(e.port, colon + 1, port_size);
    }
    if (error != 0)
        return error;
    *ret_endpoint = e;
    return 0;
}

void client_endpoint_format(char ret_text[CLIENT_ENDPOINT_TEXT_SIZE],
                            const struct client_endpoint *e)
{
    CHECK(e != NULL);
    const char *format = "%s:%s";
    if (strchr(e->host, ':') != NULL)
        format = "[%s]:%s";
    struct buffer text;
    buffer_init(&text, CLIENT_ENDPOINT_TEXT_SIZE);
    if (e->is_unix)
        buffer_printf(&text, "unix:%s", e->path);
    else if (format[0] == '[')
        buffer_printf(&text, "[%s]:%s", e->host, e->port);
    else
        buffer_printf(&text, "%s:%s", e->host, e->port);
    size_t size = text.error == 0 ? text.size : 0;
    CHECK(size < CLIENT_ENDPOINT_TEXT_SIZE);
    if (size > 0)
        memcpy(ret_text, text.data, size);
    ret_text[size] = 0;
    buffer_release(&text);
}

void client_percent_encode(struct buffer *out, struct slice bytes,
                           bool encode_slash)
{
    CHECK(out != NULL);
    CHECK(bytes.data != NULL || bytes.size == 0);
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t c = bytes.data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     (c >= '0' && c <= '9') || c == '-' || c == '.' ||
                     c == '_' || c == '~' || (c == '/' && !encode_slash);
        if (plain) {
            buffer_append_byte(out, c);
        } else {
            buffer_append_byte(out, '%');
            buffer_append_byte(out, (uint8_t)hex[c >> 4]);
            buffer_append_byte(out, (uint8_t)hex[c & 15]);
        }
    }
}

/* ---- waiting ---- */

static uint64_t now_ms(void)
{
    struct timespec t;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* 0 and what is possible; CM_ERR_TIMEOUT; CM_ERR_BUSY after a signal. */
static int wait_for(int fd, short events, uint64_t deadline_ms,
                    short *ret_events)
{
    uint64_t now = now_ms();
    uint64_t left = deadline_ms > now ? deadline_ms - now : 0;
    if (left > 3600000)
        left = 3600000;
    struct pollfd p = {.fd = fd, .events = events};
    int n = poll(&p, 1, (int)left);
    if (n < 0)
        return errno == EINTR ? CM_ERR_BUSY : CM_ERR_IO;
    if (n == 0)
        return CM_ERR_TIMEOUT;
    *ret_events = p.revents;
    return 0;
}

/* Signals do not cut short what has a deadline of its own. */
static int wait_patiently(int fd, short events, uint64_t deadline_ms,
                          short *ret_events)
{
    int error;
    do {
        error = wait_for(fd, events, deadline_ms, ret_events);
    } while (error == CM_ERR_BUSY);
    return error;
}

/* ---- connecting ---- */

static int no_node(const char *where, int system_error,
                   struct cm_detail *detail)
{
    return cm_fail(detail, CM_ERR_CLOSED,
                   "no node answers at %s (%s): is it running? start it with "
                   "'confmesh node --data DIR', or say which one with --api "
                   "or --data",
                   where, strerror(system_error));
}

static int connect_to(const struct sockaddr *address, socklen_t size,
                      uint64_t deadline_ms, int *ret_fd)
{
    int fd = socket(address->sa_family,
                    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    int failure = 0;
    if (connect(fd, address, size) != 0) {
        failure = errno;
        /* A Unix socket with a full backlog says EAGAIN: there is nothing to
         * poll for, so wait a moment and ask again. */
        while (failure == EAGAIN && now_ms() < deadline_ms) {
            (void)poll(NULL, 0, 5);
            failure = connect(fd, address, size) == 0 ? 0 : errno;
        }
        if (failure == EINPROGRESS) {
            short events = 0;
            socklen_t length = sizeof(failure);
            if (wait_patiently(fd, POLLOUT, deadline_ms, &events) != 0)
                failure = ETIMEDOUT;
            else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &length) !=
                     0)
                failure = errno;
        }
    }
    if (failure != 0) {
        (void)close(fd);
        return failure;
    }
    *ret_fd = fd;
    return 0;
}

static int endpoint_connect(const struct client_endpoint *e, const char *where,
                            uint64_t deadline_ms, int *ret_fd,
                            struct cm_detail *detail)
{
    uint64_t limit = now_ms() + CLIENT_CONNECT_TIMEOUT_MS;
    if (limit < deadline_ms)
        deadline_ms = limit;
    if (e->is_unix) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        _Static_assert(sizeof(e->path) <= sizeof(address.sun_path),
                       "a parsed path fits");
        memcpy(address.sun_path, e->path, sizeof(e->path));
        int failure = connect_to((const struct sockaddr *)&address,
                                 sizeof(address), deadline_ms, ret_fd);
        return failure == 0 ? 0 : no_node(where, failure, detail);
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int lookup = getaddrinfo(e->host, e->port, &hints, &list);
    if (lookup != 0)
        return cm_fail(detail, CM_ERR_CLOSED, "--api: %s: %s", where,
                       gai_strerror(lookup));
    int failure = EADDRNOTAVAIL;
    for (const struct addrinfo *a = list; a != NULL; a = a->ai_next) {
        failure = connect_to(a->ai_addr, a->ai_addrlen, deadline_ms, ret_fd);
        if (failure == 0)
            break;
    }
    freeaddrinfo(list);
    return failure == 0 ? 0 : no_node(where, failure, detail);
}

/* ---- sending ---- */

/* Sends all, or stops without error when the server has answered or hung up
 * already: an early refusal (413) is the answer that the user needs. */
static int send_all(int fd, struct slice bytes, uint64_t deadline_ms,
                    bool *ret_stopped, struct cm_detail *detail)
{
    *ret_stopped = false;
    size_t at = 0;
    while (at < bytes.size) {
        ssize_t n = send(fd, bytes.data + at, bytes.size - at, MSG_NOSIGNAL);
        if (n >= 0) {
            at += (size_t)n;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno == EPIPE || errno == ECONNRESET) {
            *ret_stopped = true;
            return 0;
        }
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            return cm_fail(detail, CM_ERR_IO, "sending the request: %s",
                           strerror(errno));
        short events = 0;
        int error = wait_patiently(fd, POLLOUT | POLLIN, deadline_ms, &events);
        if (error != 0)
            return cm_fail(detail, error, "the node takes no request: %s",
                           cm_strerror(error));
        if ((events & POLLIN) != 0) {
            *ret_stopped = true;
            return 0;
        }
    }
    return 0;
}

static bool header_is_clean(const char *text)
{
    for (const char *c = text; *c != 0; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return false;
    return true;
}

static int request_encode(struct buffer *out, const struct client_endpoint *e,
                          const struct client_request *r,
                          struct cm_detail *detail)
{
    CHECK(r->target[0] == '/');
    CHECK(r->headers_count <= CLIENT_HEADERS_MAX);
    if (strlen(r->target) > CLIENT_TARGET_MAX)
        return cm_fail(detail, CM_ERR_TOO_LARGE,
                       "the request's path has more than %u bytes",
                       CLIENT_TARGET_MAX);
    buffer_printf(out, "%s %s HTTP/1.1\r\n", r->method, r->target);
    if (e->is_unix)
        buffer_append_string(out, "Host: localhost\r\n");
    else if (strchr(e->host, ':') != NULL)
        buffer_printf(out, "Host: [%s]:%s\r\n", e->host, e->port);
    else
        buffer_printf(out, "Host: %s:%s\r\n", e->host, e->port);
    buffer_append_string(out, "Connection: close\r\n");
    for (size_t i = 0; i < r->headers_count; i++) {
        const struct client_header *h = &r->headers[i];
        if (!header_is_clean(h->value))
            return cm_fail(detail, CM_ERR_INVALID,
                           "%s must not hold control characters", h->name);
        buffer_printf(out, "%s: %s\r\n", h->name, h->value);
    }
    if (r->has_body)
        buffer_printf(out, "Content-Length: %zu\r\n", r->body.size);
    buffer_append_string(out, "\r\n");
    return out->error == 0
               ? 0
               : cm_fail(detail, out->error, "building the request: %s",
                         cm_strerror(out->error));
}

/* ---- the head ---- */

static bool header_find(struct slice head, const char *name, size_t nth,
                        struct slice *ret_value)
{
    size_t name_size = strlen(name);
    const char *at = (const char *)head.data;
    const char *end = at + head.size;
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        if (line_end == NULL)
            line_end = end;
        const char *stop = line_end;
        while (stop > at &&
               (stop[-1] == '\r' || stop[-1] == ' ' || stop[-1] == '\t'))
            stop--;
        size_t size = (size_t)(stop - at);
        if (size > name_size && at[name_size] == ':' &&
            strncasecmp(at, name, name_size) == 0) {
            if (nth == 0) {
                const char *value = at + name_size + 1;
                while (value < stop && (*value == ' ' || *value == '\t'))
                    value++;
                *ret_value = slice_of(value, (size_t)(stop - value));
                return true;
            }
            nth--;
        }
        at = line_end < end ? line_end + 1 : end;
    }
    return false;
}

bool client_response_header(const struct client_response *r, const char *name,
                            struct slice *ret_value)
{
    CHECK(r != NULL && name != NULL);
    return header_find(buffer_slice(&r->head), name, 0, ret_value);
}

/* Decimal, all digits, at most 10^18: no sign, no blanks. */
static bool parse_length(struct slice text, uint64_t *ret)
{
    if (text.size == 0 || text.size > 18)
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(text.data[i] - '0');
    }
    *ret = v;
    return true;
}

static bool slice_is_word(struct slice s, const char *word)
{
    size_t size = strlen(word);
    return s.size == size && strncasecmp((const char *)s.data, word, size) == 0;
}

/* Which framing; two lengths or a length beside chunks is somebody else's
 * trick, not our server's answer. */
static int head_framing(struct client_stream *s)
{
    struct slice head = buffer_slice(&s->response.head);
    struct slice value, second;
    bool chunked = header_find(head, "Transfer-Encoding", 0, &value);
    struct slice length;
    bool has_length = header_find(head, "Content-Length", 0, &length);
    if (chunked && !slice_is_word(value, "chunked"))
        return CM_ERR_MALFORMED;
    if (chunked && has_length)
        return CM_ERR_MALFORMED;
    if (has_length && header_find(head, "Content-Length", 1, &second))
        return CM_ERR_MALFORMED;
    if (has_length && !parse_length(length, &s->left))
        return CM_ERR_MALFORMED;
    int status = s->response.status;
    if (s->is_head || status == 204 || status == 304)
        s->framing = FRAMING_NONE;
    else if (chunked)
        s->framing = FRAMING_CHUNKED;
    else if (has_length)
        s->framing = FRAMING_LENGTH;
    else
        s->framing = FRAMING_TO_CLOSE;
    s->finished = s->framing == FRAMING_NONE ||
                  (s->framing == FRAMING_LENGTH && s->left == 0);
    return 0;
}

/* "HTTP/1.1 200 OK" */
static int head_status(struct slice head, int *ret_status)
{
    const char *t = (const char *)head.data;
    if (head.size < 13 || memcmp(t, "HTTP/1.", 7) != 0 ||
        (t[7] != '0' && t[7] != '1') || t[8] != ' ')
        return CM_ERR_MALFORMED;
    int status = 0;
    for (int i = 9; i < 12; i++) {
        if (t[i] < '0' || t[i] > '9')
            return CM_ERR_MALFORMED;
        status = status * 10 + (t[i] - '0');
    }
    if ((t[12] != ' ' && t[12] != '\r') || status < 100 || status > 599)
        return CM_ERR_MALFORMED;
    *ret_status = status;
    return 0;
}

/* More input from the socket; CM_ERR_CLOSED at its end. */
static int input_fill(struct client_stream *s, uint64_t deadline_ms,
                      bool patient)
{
    CHECK(s->input_at == s->input_size);
    for (;;) {
        ssize_t n = recv(s->fd, s->input, READ_SIZE, 0);
        if (n > 0) {
            s->input_at = 0;
            s->input_size = (size_t)n;
            return 0;
        }
        if (n == 0 || errno == ECONNRESET)
            return CM_ERR_CLOSED;
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
            return CM_ERR_IO;
        short events = 0;
        int error = patient
                        ? wait_patiently(s->fd, POLLIN, deadline_ms, &events)
                        : wait_for(s->fd, POLLIN, deadline_ms, &events);
        if (error != 0)
            return error;
    }
}

static int fail_garbage(const struct client_stream *s, struct cm_detail *detail)
{
    return cm_fail(detail, CM_ERR_MALFORMED,
                   "what listens at %s does not answer as a confmesh node "
                   "does; check --api",
                   s->where);
}

/* Bytes up to and with the empty line; the rest stays input. */
static int head_gather(struct client_stream *s, uint64_t deadline_ms,
                       struct cm_detail *detail)
{
    struct buffer *head = &s->response.head;
    for (;;) {
        while (s->input_at < s->input_size) {
            uint8_t byte = s->input[s->input_at++];
            buffer_append_byte(head, byte);
            if (head->error == CM_ERR_TOO_LARGE || head->error == CM_ERR_LIMIT)
                return cm_fail(detail, CM_ERR_TOO_LARGE,
                               "the answer's headers from %s exceed %u bytes",
                               s->where, CLIENT_HEAD_MAX);
            if (head->error != 0)
                return cm_fail(detail, head->error, "%s",
                               cm_strerror(head->error));
            /* Garbage is told at once, not after a timeout. */
            if (head->size <= 5 && memcmp(head->data, "HTTP/", head->size) != 0)
                return fail_garbage(s, detail);
            if (head->size >= 4 &&
                memcmp(head->data + head->size - 4, "\r\n\r\n", 4) == 0)
                return 0;
        }
        int error = input_fill(s, deadline_ms, true);
        if (error == CM_ERR_CLOSED)
            return cm_fail(detail, CM_ERR_IO,
                           "the node at %s closed the connection before it "
                           "answered; look at its log",
                           s->where);
        if (error != 0)
            return cm_fail(detail, error, "waiting for an answer from %s: %s",
                           s->where, cm_strerror(error));
    }
}

static int head_read(struct client_stream *s, uint64_t deadline_ms,
                     struct cm_detail *detail)
{
    for (;;) {
        buffer_clear(&s->response.head);
        int error = head_gather(s, deadline_ms, detail);
        if (error != 0)
            return error;
        error =
            head_status(buffer_slice(&s->response.head), &s->response.status);
        if (error == 0 && s->response.status == 101)
            error = CM_ERR_MALFORMED;
        if (error == 0 && s->response.status >= 200)
            error = head_framing(s);
        if (error != 0)
            return fail_garbage(s, detail);
        if (s->response.status >= 200)
            return 0;
        /* 1xx: an interim answer, the real one follows. */
    }
}

/* ---- the body ---- */

/* "1a;extension" -> 26. */
static int chunk_size_parse(const char *line, size_t size, uint64_t *ret)
{
    uint64_t v = 0;
    size_t digits = 0;
    for (; digits < size; digits++) {
        char c = line[digits];
        unsigned d;
        if (c >= '0' && c <= '9')
            d = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            d = (unsigned)(c - 'a') + 10;
        else if (c >= 'A' && c <= 'F')
            d = (unsigned)(c - 'A') + 10;
        else
            break;
        if (digits >= 15)
            return CM_ERR_TOO_LARGE;
        v = v * 16 + d;
    }
    bool end = digits == size || line[digits] == ';' || line[digits] == ' ';
    if (digits == 0 || !end)
        return CM_ERR_MALFORMED;
    *ret = v;
    return 0;
}

/* A line of the chunked framing is complete in s->line. */
static int chunk_line(struct client_stream *s)
{
    size_t size = s->line_size;
    if (size > 0 && s->line[size - 1] == '\r')
        size--;
    s->line_size = 0;
    switch (s->chunk) {
    case CHUNK_SIZE: {
        int error = chunk_size_parse(s->line, size, &s->left);
        if (error != 0)
            return error;
        s->chunk = s->left == 0 ? CHUNK_TRAILER : CHUNK_DATA;
        return 0;
    }
    case CHUNK_END:
        s->chunk = CHUNK_SIZE;
        return size == 0 ? 0 : CM_ERR_MALFORMED;
    case CHUNK_TRAILER:
        s->finished = size == 0;
        return 0;
    case CHUNK_DATA:
        break;
    }
    CHECK(false);
    return CM_ERR_MALFORMED;
}

/* Decodes what is in the input into out. */
static int body_decode(struct client_stream *s, struct buffer *out)
{
    while (s->input_at < s->input_size && !s->finished) {
        size_t have = s->input_size - s->input_at;
        bool data = s->framing != FRAMING_CHUNKED || s->chunk == CHUNK_DATA;
        if (data) {
            size_t take = have;
            if (s->framing != FRAMING_TO_CLOSE && s->left < take)
                take = (size_t)s->left;
            buffer_append(out, s->input + s->input_at, take);
            if (out->error != 0)
                return out->error;
            s->input_at += take;
            if (s->framing == FRAMING_TO_CLOSE)
                continue;
            s->left -= take;
            if (s->left == 0 && s->framing == FRAMING_LENGTH)
                s->finished = true;
            else if (s->left == 0)
                s->chunk = CHUNK_END;
            continue;
        }
        char c = (char)s->input[s->input_at++];
        if (c == '\n') {
            int error = chunk_line(s);
            if (error != 0)
                return error;
        } else if (s->line_size < sizeof(s->line)) {
            s->line[s->line_size++] = c;
        } else {
            return CM_ERR_MALFORMED;
        }
    }
    return 0;
}

static int stream_read(struct client_stream *s, uint64_t deadline_ms,
                       bool patient, struct buffer *out,
                       struct cm_detail *detail)
{
    size_t before = out->size;
    while (out->size == before) {
        int error = body_decode(s, out);
        if (error == CM_ERR_MALFORMED)
            return fail_garbage(s, detail);
        if (error != 0)
            return cm_fail(detail, error,
                           "the answer from %s: %s; ask for less, for "
                           "example with a longer prefix",
                           s->where, cm_strerror(error));
        if (out->size > before)
            return 0;
        if (s->finished)
            return CM_ERR_CLOSED;
        error = input_fill(s, deadline_ms, patient);
        if (error == CM_ERR_CLOSED && s->framing == FRAMING_TO_CLOSE) {
            s->finished = true;
            return CM_ERR_CLOSED;
        }
        if (error == CM_ERR_BUSY)
            return error;
        if (error == CM_ERR_CLOSED)
            return cm_fail(detail, CM_ERR_IO,
                           "the node at %s closed the connection in the "
                           "middle of its answer; try again",
                           s->where);
        if (error != 0)
            return cm_fail(detail, error, "reading the answer from %s: %s",
                           s->where, cm_strerror(error));
    }
    return 0;
}

/* ---- public ---- */

static uint64_t deadline_of(const struct client_request *r)
{
    uint64_t timeout =
        r->timeout_ms == 0 ? CLIENT_CALL_TIMEOUT_MS : r->timeout_ms;
    return now_ms() + timeout;
}

static int stream_start(struct client_stream *s,
                        const struct client_endpoint *endpoint,
                        const struct client_request *request,
                        uint64_t deadline_ms, struct cm_detail *detail)
{
    struct buffer head;
    buffer_init(&head, CLIENT_TARGET_MAX + CLIENT_HEAD_MAX);
    int error = request_encode(&head, endpoint, request, detail);
    if (error == 0)
        error =
            endpoint_connect(endpoint, s->where, deadline_ms, &s->fd, detail);
    bool stopped = false;
    if (error == 0)
        error =
            send_all(s->fd, buffer_slice(&head), deadline_ms, &stopped, detail);
    if (error == 0 && request->has_body && !stopped)
        error = send_all(s->fd, request->body, deadline_ms, &stopped, detail);
    if (error == 0)
        error = head_read(s, deadline_ms, detail);
    buffer_release(&head);
    return error;
}

int client_stream_open(struct client_stream **ret_stream,
                       const struct client_endpoint *endpoint,
                       const struct client_request *request,
                       struct cm_detail *detail)
{
    CHECK(ret_stream != NULL && endpoint != NULL);
    CHECK(request != NULL && request->method != NULL);
    struct client_stream *s = cm_calloc(1, sizeof(*s));
    uint8_t *input = cm_alloc(READ_SIZE);
    if (s == NULL || input == NULL) {
        cm_free(s);
        cm_free(input);
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    }
    s->fd = -1;
    s->input = input;
    s->is_head = strcmp(request->method, "HEAD") == 0;
    buffer_init(&s->response.head, CLIENT_HEAD_MAX);
    buffer_init(&s->response.body, CLIENT_BODY_MAX);
    client_endpoint_format(s->where, endpoint);
    int error =
        stream_start(s, endpoint, request, deadline_of(request), detail);
    if (error != 0) {
        client_stream_close(s);
        return error;
    }
    *ret_stream = s;
    return 0;
}

const struct client_response *
client_stream_response(const struct client_stream *s)
{
    CHECK(s != NULL);
    return &s->response;
}

int client_stream_read(struct client_stream *s, uint64_t timeout_ms,
                       struct buffer *out, struct cm_detail *detail)
{
    CHECK(s != NULL && out != NULL);
    return stream_read(s, now_ms() + timeout_ms, false, out, detail);
}

void client_stream_close(struct client_stream *s)
{
    if (s == NULL)
        return;
    if (s->fd >= 0)
        (void)close(s->fd);
    client_response_release(&s->response);
    cm_free(s->input);
    cm_free(s);
}

int client_call(const struct client_endpoint *endpoint,
                const struct client_request *request,
                struct client_response *ret_response, struct cm_detail *detail)
{
    CHECK(ret_response != NULL);
    uint64_t deadline_ms = deadline_of(request);
    struct client_stream *s = NULL;
    int error = client_stream_open(&s, endpoint, request, detail);
    if (error != 0)
        return error;
    struct buffer *body = &s->response.body;
    while (error == 0)
        error = stream_read(s, deadline_ms, true, body, detail);
    if (error == CM_ERR_CLOSED)
        error = 0;
    if (error == 0) {
        *ret_response = s->response;
        memset(&s->response, 0, sizeof(s->response));
    }
    client_stream_close(s);
    return error;
}

void client_response_release(struct client_response *r)
{
    CHECK(r != NULL);
    buffer_release(&r->head);
    buffer_release(&r->body);
}
