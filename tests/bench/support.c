/* See support.h. */
#include "tests/bench/support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SEND_STALL_MS 10000
#define ANSWER_BODY_MAX (64u << 20)

void bench_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
    exit(1);
}

uint64_t bench_now_ns(void)
{
    struct timespec now;

    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        bench_fail("clock_gettime: %s", strerror(errno));
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t bench_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

uint64_t bench_number(const char *text, const char *name)
{
    char *end = NULL;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0')
        bench_fail("%s: %s is no number", name, text);
    return value;
}

/* ---- samples ---- */

void bench_samples_add(struct bench_samples *s, uint64_t value)
{
    if (s->count == s->capacity) {
        s->capacity = s->capacity > 0 ? 2 * s->capacity : 4096;
        s->values = realloc(s->values, s->capacity * sizeof *s->values);
        if (s->values == NULL)
            bench_fail("out of memory");
    }
    s->values[s->count++] = value;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

uint64_t bench_samples_at(struct bench_samples *s, unsigned per_mille)
{
    size_t rank;

    if (s->count == 0)
        return 0;
    qsort(s->values, s->count, sizeof *s->values, compare);
    rank = (s->count * per_mille + 999) / 1000;
    return s->values[rank > 0 ? rank - 1 : 0];
}

void bench_samples_clear(struct bench_samples *s)
{
    s->count = 0;
}

void bench_samples_release(struct bench_samples *s)
{
    free(s->values);
    *s = (struct bench_samples){0};
}

/* ---- sockets ---- */

int bench_connect(uint16_t port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)},
    };
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        bench_fail("127.0.0.1:%u: %s", port, strerror(errno));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

void bench_send(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        struct pollfd poll_for = {.fd = fd, .events = POLLOUT};

        if (sent >= 0) {
            bytes += sent;
            size -= (size_t)sent;
        } else if (errno == EAGAIN) {
            if (poll(&poll_for, 1, SEND_STALL_MS) != 1)
                bench_fail("the server does not take its request");
        } else if (errno != EINTR) {
            bench_fail("send: %s", strerror(errno));
        }
    }
}

/* ---- answers ---- */

const char *bench_answer_field(const char *bytes, const struct bench_answer *a,
                               const char *name)
{
    size_t size = strlen(name);
    const char *end = bytes + a->head;

    for (const char *line = bytes; line < end; line++) {
        if ((size_t)(end - line) > size && strncasecmp(line, name, size) == 0 &&
            line[size] == ':')
            return line + size + 1 + strspn(line + size + 1, " ");
        line = memchr(line, '\n', (size_t)(end - line));
        if (line == NULL)
            break;
    }
    return NULL;
}

/* The size of a chunked body with its framing; 0 when it is not whole. */
static size_t chunked_size(const char *body, size_t size)
{
    size_t at = 0;

    for (;;) {
        const char *line_end = memchr(body + at, '\n', size - at);
        char *end = NULL;
        unsigned long chunk;

        if (line_end == NULL)
            return 0;
        chunk = strtoul(body + at, &end, 16);
        if (end == body + at || chunk > ANSWER_BODY_MAX)
            bench_fail("the answer's chunks make no sense");
        at = (size_t)(line_end - body) + 1 + chunk + 2;
        if (at > size)
            return 0;
        if (chunk == 0)
            return at;
    }
}

bool bench_answer_parse(const char *bytes, size_t size,
                        struct bench_answer *ret_answer)
{
    struct bench_answer a = {0};
    const char *end = memmem(bytes, size, "\r\n\r\n", 4);
    const char *field;
    size_t body;

    if (end == NULL)
        return false;
    a.head = (size_t)(end - bytes) + 4;
    if (memcmp(bytes, "HTTP/1.", 7) != 0)
        bench_fail("no HTTP answer: %.*s", (int)a.head, bytes);
    a.status = (unsigned)strtoul(bytes + 9, NULL, 10);
    field = bench_answer_field(bytes, &a, "Content-Length");
    if (field != NULL) {
        body = strtoul(field, NULL, 10);
        a.size = a.head + body;
    } else if (bench_answer_field(bytes, &a, "Transfer-Encoding") != NULL) {
        body = chunked_size(bytes + a.head, size - a.head);
        if (body == 0)
            return false;
        a.size = a.head + body;
    } else {
        bench_fail("the answer has no length: %.*s", (int)a.head, bytes);
    }
    if (a.size > size)
        return false;
    *ret_answer = a;
    return true;
}

void bench_base64(char *ret_text, const void *bytes, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *in = bytes;
    char *out = ret_text;

    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        uint32_t word = (uint32_t)in[i] << 16;

        if (left > 1)
            word |= (uint32_t)in[i + 1] << 8;
        if (left > 2)
            word |= in[i + 2];
        *out++ = digits[word >> 18];
        *out++ = digits[word >> 12 & 63];
        *out++ = left > 1 ? digits[word >> 6 & 63] : '=';
        *out++ = left > 2 ? digits[word & 63] : '=';
    }
    *out = '\0';
}
