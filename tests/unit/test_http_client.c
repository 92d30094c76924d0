/* The HTTP client against a server that follows a script: short writes,
 * chunks, garbage, too large a head, hanging up early. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/cli/http_client.h"

struct script {
    int listener;
    const char *answer;
    size_t size;
    size_t piece;    /* bytes per write */
    bool hold;       /* keep the connection until the client leaves */
    bool no_reading; /* answer at once, the request unread */
    char request[8192];
    size_t request_size;
    size_t body_wanted; /* bytes after the head */
    pthread_t thread;
    char path[64];
    struct client_endpoint endpoint;
};

static bool request_is_whole(const struct script *s)
{
    const char *end = memmem(s->request, s->request_size, "\r\n\r\n", 4);
    return end != NULL &&
           s->request_size - (size_t)(end + 4 - s->request) >= s->body_wanted;
}

static void *serve(void *argument)
{
    struct script *s = argument;
    int fd = accept(s->listener, NULL, NULL);
    assert_true(fd >= 0);
    while (!s->no_reading && !request_is_whole(s)) {
        ssize_t n = read(fd, s->request + s->request_size,
                         sizeof(s->request) - 1 - s->request_size);
        if (n <= 0)
            break;
        s->request_size += (size_t)n;
    }
    for (size_t at = 0; at < s->size; at += s->piece) {
        size_t left = s->size - at;
        if (send(fd, s->answer + at, left < s->piece ? left : s->piece,
                 MSG_NOSIGNAL) < 0)
            break;
    }
    char byte;
    while (s->hold && read(fd, &byte, 1) > 0)
        continue;
    (void)close(fd);
    return NULL;
}

static void script_start(struct script *s, const char *answer, size_t size,
                         size_t piece)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char directory[] = "/tmp/confmesh-http-XXXXXX";
    s->answer = answer;
    s->size = size;
    s->piece = piece;
    assert_non_null(mkdtemp(directory));
    (void)snprintf(s->path, sizeof(s->path), "%s/s", directory);
    memcpy(address.sun_path, s->path, sizeof(s->path));
    s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(s->listener >= 0);
    assert_int_equal(
        bind(s->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(s->listener, 4), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
    assert_int_equal(client_endpoint_parse(&s->endpoint, s->path, NULL), 0);
}

static void script_stop(struct script *s)
{
    (void)pthread_join(s->thread, NULL);
    (void)close(s->listener);
    (void)unlink(s->path);
    *strrchr(s->path, '/') = 0;
    (void)rmdir(s->path);
}

/* One GET against the answer, written in pieces. */
static int get(const char *answer, size_t size, size_t piece,
               struct client_response *ret, struct cm_detail *detail)
{
    struct script s = {0};
    struct client_request request = {
        .method = "GET", .target = "/v1/kv/a?raw", .timeout_ms = 5000};
    script_start(&s, answer, size, piece);
    int error = client_call(&s.endpoint, &request, ret, detail);
    script_stop(&s);
    return error;
}

static void assert_body(const struct client_response *r, const char *text)
{
    assert_int_equal(r->body.size, strlen(text));
    if (r->body.size > 0)
        assert_memory_equal(r->body.data, text, r->body.size);
}

/* Goal: every framing gives the same body however the bytes are cut.
 * Method: each answer in pieces of 1, 2, 3, 7 and all bytes. */
static void test_framings(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A:  b \r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nx-a: b\r\n\r\n"
        "2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nTrailer: 1\r\n\r\n",
        "HTTP/1.0 200 OK\r\nX-a: b\r\n\r\nhello",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-a: b\r\n"
        "Content-Length: 5\r\n\r\nhello",
    };
    static const size_t pieces[] = {1, 2, 3, 7, 10000};
    for (size_t i = 0; i < 4; i++) {
        for (size_t p = 0; p < 5; p++) {
            struct client_response r;
            struct slice value;
            struct cm_detail detail = {""};
            assert_int_equal(
                get(answers[i], strlen(answers[i]), pieces[p], &r, &detail), 0);
            assert_int_equal(r.status, 200);
            assert_body(&r, "hello");
            assert_true(client_response_header(&r, "X-A", &value));
            assert_int_equal(value.size, 1);
            assert_int_equal(value.data[0], 'b');
            assert_false(client_response_header(&r, "X-B", &value));
            client_response_release(&r);
        }
    }
}

/* Goal: an answer that no node gives is an error with a remedy, and never a
 * body that is shorter than announced. */
static void test_garbage(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        int error;
    } cases[] = {
        {"", CM_ERR_IO},
        {"SSH-2.0-OpenSSH\r\n", CM_ERR_MALFORMED},
        {"HTTP/1.1 2x0 OK\r\n\r\n", CM_ERR_MALFORMED},
        {"HTTP/2.0 200 OK\r\n\r\n", CM_ERR_MALFORMED},
        {"HTTP/1.1 200 OK\r\nContent-Le", CM_ERR_IO},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", CM_ERR_IO},
        {"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", CM_ERR_MALFORMED},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"
         "hello",
         CM_ERR_MALFORMED},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: "
         "chunked\r\n\r\n0\r\n\r\n",
         CM_ERR_MALFORMED},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
         CM_ERR_MALFORMED},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
         CM_ERR_MALFORMED},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nheX\r\n",
         CM_ERR_MALFORMED},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
         CM_ERR_IO},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: "
         "chunked\r\n\r\nfffffffffffffffff\r\n",
         CM_ERR_TOO_LARGE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct client_response r;
        struct cm_detail detail = {""};
        int error =
            get(cases[i].answer, strlen(cases[i].answer), 7, &r, &detail);
        if (error != cases[i].error)
            print_error("case %zu: %s (%s)\n", i, cm_error_name(error),
                        detail.text);
        assert_int_equal(error, cases[i].error);
        assert_true(strlen(detail.text) > 0);
    }
}

static void test_head_too_large(void **state)
{
    (void)state;
    size_t size = 40000;
    char *answer = malloc(size);
    struct client_response r;
    struct cm_detail detail = {""};
    assert_non_null(answer);
    memset(answer, 'a', size);
    memcpy(answer, "HTTP/1.1 200 OK\r\nX: ", 20);
    assert_int_equal(get(answer, size, 4096, &r, &detail), CM_ERR_TOO_LARGE);
    assert_non_null(strstr(detail.text, "headers"));
    free(answer);
}

/* Goal: the server's early refusal is seen although the request could not be
 * sent whole. */
static void test_early_refusal(void **state)
{
    (void)state;
    static const char answer[] =
        "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig";
    struct script s = {.no_reading = true, .hold = true};
    size_t size = 8u << 20;
    uint8_t *body = calloc(1, size);
    struct client_response r;
    struct client_request request = {.method = "PUT",
                                     .target = "/v1/kv/a",
                                     .has_body = true,
                                     .body = {body, size},
                                     .timeout_ms = 5000};
    struct cm_detail detail = {""};
    assert_non_null(body);
    script_start(&s, answer, sizeof(answer) - 1, 100);
    assert_int_equal(client_call(&s.endpoint, &request, &r, &detail), 0);
    assert_int_equal(r.status, 413);
    assert_body(&r, "big");
    client_response_release(&r);
    script_stop(&s);
    free(body);
}

static void test_request_form(void **state)
{
    (void)state;
    static const char answer[] = "HTTP/1.1 204 No Content\r\n\r\n";
    struct script s = {.body_wanted = 3};
    struct client_response r;
    struct client_request request = {.method = "PUT",
                                     .target = "/v1/kv/a",
                                     .headers = {{"X-Confmesh-Author", "me"}},
                                     .headers_count = 1,
                                     .has_body = true,
                                     .body = slice_of_string("val"),
                                     .timeout_ms = 5000};
    script_start(&s, answer, sizeof(answer) - 1, 100);
    assert_int_equal(client_call(&s.endpoint, &request, &r, NULL), 0);
    assert_int_equal(r.status, 204);
    assert_int_equal(r.body.size, 0);
    client_response_release(&r);
    script_stop(&s);
    assert_string_equal(s.request, "PUT /v1/kv/a HTTP/1.1\r\n"
                                   "Host: localhost\r\n"
                                   "Connection: close\r\n"
                                   "X-Confmesh-Author: me\r\n"
                                   "Content-Length: 3\r\n\r\nval");

    struct cm_detail detail = {""};
    request.headers[0].value = "a\r\nInjected: b";
    assert_int_equal(client_call(&s.endpoint, &request, &r, &detail),
                     CM_ERR_INVALID);
}

static void test_timeout_and_absence(void **state)
{
    (void)state;
    struct script s = {.hold = true};
    struct client_response r;
    struct client_request request = {
        .method = "GET", .target = "/", .timeout_ms = 100};
    struct cm_detail detail = {""};
    script_start(&s, "HTTP/1.1 200 OK\r\n", 17, 17);
    assert_int_equal(client_call(&s.endpoint, &request, &r, &detail),
                     CM_ERR_TIMEOUT);
    script_stop(&s);
    struct client_endpoint gone = s.endpoint;
    assert_int_equal(client_call(&gone, &request, &r, &detail), CM_ERR_CLOSED);
    assert_non_null(strstr(detail.text, "is it running"));
}

/* Goal: a stream gives what has come, without waiting for more. */
static void test_stream(void **state)
{
    (void)state;
    static const char answer[] =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nid: \r\n";
    struct script s = {.hold = true};
    struct client_stream *stream = NULL;
    struct client_request request = {
        .method = "GET", .target = "/", .timeout_ms = 5000};
    struct buffer out;
    struct cm_detail detail = {""};
    buffer_init(&out, 1000);
    script_start(&s, answer, sizeof(answer) - 1, 100);
    assert_int_equal(
        client_stream_open(&stream, &s.endpoint, &request, &detail), 0);
    assert_int_equal(client_stream_response(stream)->status, 200);
    assert_int_equal(client_stream_read(stream, 5000, &out, &detail), 0);
    assert_int_equal(out.size, 4);
    assert_int_equal(client_stream_read(stream, 50, &out, &detail),
                     CM_ERR_TIMEOUT);
    client_stream_close(stream);
    script_stop(&s);
    buffer_release(&out);
}

static void test_endpoints(void **state)
{
    (void)state;
    static const struct {
        const char *text, *back;
    } good[] = {
        {"127.0.0.1:80", "127.0.0.1:80"},      {"[::1]:8500", "[::1]:8500"},
        {"localhost:1", "localhost:1"},        {"unix:/a/b", "unix:/a/b"},
        {"./x.sock", "unix:./x.sock"},         {"unix:x", "unix:x"},
        {"http://127.0.0.1:8", "127.0.0.1:8"},
    };
    static const char *const bad[] = {"",    "host",  "host:",   ":80",
                                      "a:b", "unix:", "a:123456"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct client_endpoint e;
        char text[CLIENT_ENDPOINT_TEXT_SIZE];
        assert_int_equal(client_endpoint_parse(&e, good[i].text, NULL), 0);
        client_endpoint_format(text, &e);
        assert_string_equal(text, good[i].back);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct client_endpoint e;
        struct cm_detail detail = {""};
        assert_int_equal(client_endpoint_parse(&e, bad[i], &detail),
                         CM_ERR_INVALID);
        assert_non_null(strstr(detail.text, "--api"));
    }
}

static void test_percent(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 1000);
    client_percent_encode(&out, slice_of("a/b %?#\xc3\xa9\0", 10), false);
    assert_memory_equal(out.data, "a/b%20%25%3F%23%C3%A9%00", out.size);
    buffer_clear(&out);
    client_percent_encode(&out, slice_of_string("a/b"), true);
    assert_memory_equal(out.data, "a%2Fb", out.size);
    buffer_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framings),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_head_too_large),
        cmocka_unit_test(test_early_refusal),
        cmocka_unit_test(test_request_form),
        cmocka_unit_test(test_timeout_and_absence),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_endpoints),
        cmocka_unit_test(test_percent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
