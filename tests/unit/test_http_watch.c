/* Goal: what docs/API.md promises about requests that wait, and about clients
 * that are slow, leave, or close only one half. Method: as test_http.c, with
 * short deadlines. */
#include "tests/unit/http_world.h"

#define HEADER_MS 400
#define BODY_MS 600
#define PATIENCE_MS (PATIENCE_S * 1000) /* it hangs; idle ones have longer */

static int start_impatient(void **state)
{
    world.header_ms = HEADER_MS;
    world.body_ms = BODY_MS;
    return world_start(state);
}

/* Has the peer closed within ms? Bytes that come first are dropped. */
static bool closes_within(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char sink[4096];
    uint64_t end = now_ms() + (uint64_t)ms;
    int64_t left;

    while ((left = (int64_t)(end - now_ms())) > 0) {
        if (poll(&p, 1, (int)left) == 1 && recv(fd, sink, sizeof(sink), 0) <= 0)
            return true;
    }
    return false;
}

static bool readable_within(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, ms) == 1;
}

/* Waits until a gauge has the value. */
static void await_metric(const char *name, uint64_t value)
{
    uint64_t end = now_ms() + PATIENCE_S * 1000;
    struct timespec pause = {.tv_nsec = 5000000};

    while (metric_now(name) != value) {
        if (now_ms() > end)
            fail_msg("%s never became %llu", name, (unsigned long long)value);
        (void)nanosleep(&pause, NULL);
    }
}

/* ---- blocking queries ---- */

static int ask_blocking(const char *path, uint64_t index, const char *wait)
{
    char text[512];
    int fd = dial();

    (void)snprintf(text, sizeof(text),
                   "GET /v1/kv/%sindex=%llu&wait=%s HTTP/1.1\r\n"
                   "Host: localhost\r\n\r\n",
                   path, (unsigned long long)index, wait);
    send_text(fd, text);
    return fd;
}

static void test_blocking(void **state)
{
    uint64_t index;
    int one;
    int tree;

    (void)state;
    put("w/a", "1");
    index = index_of(ask("GET", "/v1/kv/w/a", NULL));
    one = ask_blocking("w/a?", index, "1m");
    tree = ask_blocking("w/?keys&", index, "1m");
    await_metric("http_waiting", 2);
    put("elsewhere", "x"); /* concerns neither */
    assert_false(readable_within(one, 100));
    assert_false(readable_within(tree, 0));
    put("w/b", "2");
    assert_reply(read_reply(tree), 200, "[\"w/a\",\"w/b\"]");
    assert_true(index_of(&last) > index);
    assert_false(readable_within(one, 50));
    assert_reply(ask("DELETE", "/v1/kv/w/a", NULL), 200, "true");
    assert_reply(read_reply(one), 404, "");
    assert_true(index_of(&last) > index);
    await_metric("http_waiting", 0);
    (void)close(one);
    (void)close(tree);
}

static void test_blocking_at_once(void **state)
{
    uint64_t index;
    uint64_t started = now_ms();
    int fd;

    (void)state;
    put("w", "1");
    index = index_of(ask("GET", "/v1/kv/w", NULL));
    /* Another replica's index, one of the future, one before the change. */
    fd = ask_blocking("w?", index ^ 5, "1m");
    assert_int_equal(read_reply(fd)->status, 200);
    (void)close(fd);
    fd = ask_blocking("w?", index + 4096 * 1000, "1m");
    assert_int_equal(read_reply(fd)->status, 200);
    (void)close(fd);
    put("w", "2");
    fd = ask_blocking("w?", index, "1m");
    assert_int_equal(read_reply(fd)->status, 200);
    (void)close(fd);
    assert_true(now_ms() - started < 5000);
    /* Commits elsewhere since then do not count: this one waits. */
    index = index_of(ask("GET", "/v1/kv/w", NULL));
    put("other", "1");
    started = now_ms();
    fd = ask_blocking("w?", index, "300ms");
    assert_int_equal(read_reply(fd)->status, 200);
    assert_true(now_ms() - started >= 250);
    assert_true(index_of(&last) > index);
    (void)close(fd);
}

/* A client that closes its half still gets its answer, also where an older
 * connection is there, which the library looks at instead. */
static void test_half_close(void **state)
{
    int older = dial();
    int fd = dial();
    uint64_t index;

    (void)state;
    send_text(fd, "PUT /v1/kv/h HTTP/1.1\r\nHost: localhost\r\n"
                  "Content-Length: 5\r\n\r\nvalue");
    (void)shutdown(fd, SHUT_WR);
    assert_reply(read_reply(fd), 200, "true");
    (void)close(fd);
    fd = dial_unix();
    send_text(fd, "GET /v1/kv/h?raw HTTP/1.1\r\nHost: localhost\r\n\r\n");
    (void)shutdown(fd, SHUT_WR);
    assert_reply(read_reply(fd), 200, "value");
    (void)close(fd);
    index = index_of(ask("GET", "/v1/kv/h", NULL));
    fd = ask_blocking("h?", index, "1m");
    (void)shutdown(fd, SHUT_WR);
    assert_int_equal(read_reply(fd)->status, 200);
    (void)close(fd);
    (void)close(older);
    await_metric("http_waiting", 0);
}

static void test_pipelining(void **state)
{
    int fd = dial();

    (void)state;
    send_text(fd, "PUT /v1/kv/p HTTP/1.1\r\nHost: localhost\r\n"
                  "Content-Length: 1\r\n\r\nv"
                  "GET /v1/kv/p?raw HTTP/1.1\r\nHost: localhost\r\n\r\n"
                  "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_reply(read_reply(fd), 200, "true");
    assert_reply(read_reply(fd), 200, "v");
    assert_reply(read_reply(fd), 200, "ok\n");
    (void)close(fd);
}

/* ---- slow clients ---- */

/* Sends text byte by byte; true if the server closes within ms. */
static bool trickle_ends(int fd, const char *text, int ms)
{
    uint64_t end = now_ms() + (uint64_t)ms;
    char sink[256];

    while (now_ms() < end) {
        if (*text != '\0') {
            (void)send(fd, text, 1, MSG_NOSIGNAL);
            text++;
        }
        if (readable_within(fd, 30) && recv(fd, sink, sizeof(sink), 0) <= 0)
            return true;
    }
    return false;
}

static void test_trickled(void **state)
{
    int fd = dial();

    (void)state;
    /* A header, from its first byte and behind a whole request. */
    assert_true(trickle_ends(
        fd, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nCookie: a;b;c;d;e;f",
        PATIENCE_MS));
    (void)close(fd);
    fd = dial();
    assert_int_equal(ask_on(fd, "GET", "/healthz", "", NULL, 0)->status, 200);
    send_text(fd, "GET /healthz HTTP/1.1\r\n");
    assert_true(
        trickle_ends(fd, "Cookie: a;b;c;d;e;f;g;h;i;j;k;l", PATIENCE_MS));
    (void)close(fd);
    /* Nothing at all. */
    fd = dial();
    assert_true(closes_within(fd, PATIENCE_MS));
    (void)close(fd);
    /* A body. */
    fd = dial();
    send_text(fd, "PUT /v1/kv/slow HTTP/1.1\r\nHost: localhost\r\n"
                  "Content-Length: 1000\r\n\r\n");
    assert_true(
        trickle_ends(fd, "bodybodybodybodybodybodybodybody", PATIENCE_MS));
    (void)close(fd);
    assert_reply(ask("GET", "/v1/kv/slow", NULL), 404, "");
    /* A request that waits has no such deadline. */
    put("w", "1");
    fd = ask_blocking("w?", index_of(ask("GET", "/v1/kv/w", NULL)), "1500ms");
    assert_int_equal(read_reply(fd)->status, 200);
    (void)close(fd);
}

/* ---- watches ---- */

struct watcher {
    int fd;
    char text[65536]; /* chunked encoding removed */
    size_t size;
};

static bool read_line(int fd, char *line, size_t room)
{
    size_t size = 0;

    while (size < room - 1) {
        if (recv(fd, line + size, 1, 0) != 1)
            return false;
        if (line[size++] == '\n')
            break;
    }
    line[size] = '\0';
    return true;
}

static void watch_open(struct watcher *w, const char *query, const char *fields)
{
    char text[512];

    w->fd = dial();
    w->size = 0;
    (void)snprintf(text, sizeof(text),
                   "GET /v1/watch%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n",
                   query, fields);
    send_text(w->fd, text);
    (void)read_line(w->fd, text, sizeof(text));
    assert_non_null(strstr(text, " 200 "));
    while (read_line(w->fd, text, sizeof(text)) && strcmp(text, "\r\n") != 0)
        ;
}

/* Reads on until a whole event or comment is there; it is moved to ret. */
static bool next_block(struct watcher *w, char *ret, size_t room)
{
    char line[64];
    char *end;
    size_t chunk;
    ssize_t n;

    while ((end = memmem(w->text, w->size, "\n\n", 2)) == NULL) {
        if (!read_line(w->fd, line, sizeof(line)))
            return false;
        chunk = strtoul(line, NULL, 16);
        assert_true(w->size + chunk + 2 < sizeof(w->text));
        if (chunk == 0)
            return false;
        for (size_t at = 0; at < chunk + 2; at += (size_t)n) {
            n = recv(w->fd, w->text + w->size + at, chunk + 2 - at, 0);
            if (n <= 0)
                return false;
        }
        w->size += chunk;
    }
    chunk = (size_t)(end - w->text) + 2;
    assert_true(chunk < room);
    memcpy(ret, w->text, chunk);
    ret[chunk] = '\0';
    memmove(w->text, w->text + chunk, w->size - chunk);
    w->size -= chunk;
    return true;
}

/* What shows that the connection lives comes every so often, and sooner or
 * later on a slow machine: it is passed over. */
static bool next_event(struct watcher *w, char *ret_event, size_t room)
{
    do {
        if (!next_block(w, ret_event, room))
            return false;
    } while (ret_event[0] == ':');
    return true;
}

static void expect_event(struct watcher *w, const char *name, const char *says,
                         char *ret_id)
{
    char event[16384];
    char start[64];
    const char *id;

    if (!next_event(w, event, sizeof(event)))
        fail_msg("the watch ended");
    (void)snprintf(start, sizeof(start), "event: %s\nid: ", name);
    if (strncmp(event, start, strlen(start)) != 0 ||
        strstr(event, says) == NULL)
        fail_msg("not %s …%s…: %s", name, says, event);
    id = event + strlen(start);
    if (ret_id != NULL)
        (void)snprintf(ret_id, 64, "%.*s", (int)strcspn(id, "\n"), id);
}

static void test_watch(void **state)
{
    struct watcher w;
    struct watcher all;
    char id[64];

    (void)state;
    put("before", "0");
    watch_open(&w, "?prefix=app/", "");
    expect_event(&w, "hello", "data: {\"revision\":", NULL);
    watch_open(&all, "?sets=1", "");
    expect_event(&all, "hello", "", NULL);
    put("other", "1");
    put("app/x", "hi");
    expect_event(&w, "change",
                 "{\"kind\":\"put\",\"key\":\"app/x\",\"value\":\"aGk=\","
                 "\"flags\":0,\"revoked\":false,\"author\":\"\",\"version\":\"",
                 id);
    assert_non_null(strchr(id, '-'));
    assert_int_equal(ask("PUT", "/v1/set/app%2Fs/e", "")->status, 200);
    assert_int_equal(ask("DELETE", "/v1/kv/app/x", NULL)->status, 200);
    expect_event(&w, "change", "\"kind\":\"delete\",\"key\":\"app/x\"", NULL);
    assert_int_equal(ask("POST", "/v1/revoke/app/y", "")->status, 200);
    put("app/z", "1");
    expect_event(&all, "change", "\"key\":\"other\"", NULL);
    expect_event(&all, "change", "\"key\":\"app/x\"", NULL);
    expect_event(&all, "change",
                 "\"kind\":\"add\",\"key\":\"app/s\",\"element\":\"e\"", NULL);
    expect_event(&all, "change", "\"kind\":\"delete\"", NULL);
    (void)close(w.fd);
    (void)close(all.fd);
}

/* One commit is one event, however many keys it touches. */
static void test_watch_transaction(void **state)
{
    struct watcher w;
    char event[16384];

    (void)state;
    watch_open(&w, "?prefix=t", "");
    expect_event(&w, "hello", "", NULL);
    assert_int_equal(ask("POST", "/v1/txn",
                         "{\"author\":\"ann\",\"ops\":["
                         "{\"op\":\"put\",\"key\":\"t1\",\"value\":\"a\"},"
                         "{\"op\":\"put\",\"key\":\"u\",\"value\":\"b\"},"
                         "{\"op\":\"put\",\"key\":\"t2\",\"value\":\"c\"}]}")
                         ->status,
                     200);
    assert_true(next_event(&w, event, sizeof(event)));
    assert_non_null(strstr(event, "\"t1\""));
    assert_non_null(strstr(event, "\"t2\""));
    assert_non_null(strstr(event, "\"author\":\"ann\""));
    assert_null(strstr(event, "\"u\""));
    (void)close(w.fd);
}

static void test_watch_resume(void **state)
{
    struct watcher w;
    char id[64];
    char fields[128];

    (void)state;
    put("r/1", "1");
    watch_open(&w, "?prefix=r/", "");
    expect_event(&w, "hello", "", NULL);
    put("r/2", "2");
    expect_event(&w, "change", "r/2", id);
    (void)close(w.fd);
    put("r/3", "3");
    put("r/4", "4");
    (void)snprintf(fields, sizeof(fields), "Last-Event-ID: %s\r\n", id);
    watch_open(&w, "?prefix=r/&revision=0", fields);
    expect_event(&w, "hello", "", NULL);
    expect_event(&w, "change", "r/3", NULL);
    expect_event(&w, "change", "r/4", NULL);
    put("r/5", "5");
    expect_event(&w, "change", "r/5", NULL);
    (void)close(w.fd);

    id[strcspn(id, "-")] = '\0';
    (void)snprintf(fields, sizeof(fields), "?prefix=r/&revision=%s", id);
    watch_open(&w, fields, "");
    expect_event(&w, "hello", "", NULL);
    expect_event(&w, "change", "r/3", NULL);
    (void)close(w.fd);

    watch_open(&w, "?revision=1-zzz", ""); /* another replica's */
    expect_event(&w, "hello", "", NULL);
    expect_event(&w, "reset", "", NULL);
    put("r/6", "6");
    expect_event(&w, "change", "r/6", NULL);
    (void)close(w.fd);
    watch_open(&w, "?revision=999999", ""); /* from the future */
    expect_event(&w, "hello", "", NULL);
    expect_event(&w, "reset", "", NULL);
    (void)close(w.fd);
}

/* Watchers that vanish while parked, or in the middle of a large event. */
static void test_watchers_vanish(void **state)
{
    struct watcher w[20];
    char *value = malloc(900001);

    (void)state;
    for (size_t i = 0; i < 20; i++) {
        watch_open(&w[i], "", "");
        expect_event(&w[i], "hello", "", NULL);
    }
    await_metric("http_watchers", 20);
    for (size_t i = 0; i < 10; i++)
        (void)close(w[i].fd);
    await_metric("http_watchers", 10);
    memset(value, 'v', 900000);
    value[900000] = '\0';
    put("large", value);
    assert_true(readable_within(w[10].fd, 5000));
    for (size_t i = 10; i < 20; i++)
        (void)close(w[i].fd);
    await_metric("http_watchers", 0);
    await_metric("http_watch_bytes", 0);
    await_metric("http_waiting", 0);
    free(value);
}

/* More watchers than one slice of a fan-out, some fast writes: each hears
 * every change once and in order. */
static void test_fan_out(void **state)
{
    enum { count = 600, writes = 5 };
    struct watcher *w = calloc(count, sizeof(*w));
    char key[32];

    (void)state;
    for (size_t i = 0; i < count; i++) {
        watch_open(&w[i], i % 2 == 0 ? "?prefix=f/" : "?prefix=g/", "");
        expect_event(&w[i], "hello", "", NULL);
    }
    for (int n = 0; n < writes; n++) {
        (void)snprintf(key, sizeof(key), "f/%d", n);
        put(key, "v");
    }
    put("g/end", "v");
    for (size_t i = 0; i < count; i++) {
        for (int n = 0; i % 2 == 0 && n < writes; n++) {
            (void)snprintf(key, sizeof(key), "\"f/%d\"", n);
            expect_event(&w[i], "change", key, NULL);
        }
        if (i % 2 == 1)
            expect_event(&w[i], "change", "\"g/end\"", NULL);
        (void)close(w[i].fd);
    }
    free(w);
    await_metric("http_watchers", 0);
}

/* ---- ends at bad moments ---- */

/* The client of a write that is under way leaves: the write is done. */
static void test_writer_leaves(void **state)
{
    int fd = dial();

    (void)state;
    atomic_store(&world.hold, true);
    send_text(fd, "PUT /v1/kv/left HTTP/1.1\r\nHost: localhost\r\n"
                  "Content-Length: 1\r\n\r\nv");
    await_metric("http_writes_total", 1);
    (void)close(fd);
    atomic_store(&world.hold, false);
    await_metric("http_connections", 1);
    assert_reply(ask("GET", "/v1/kv/left?raw", NULL), 200, "v");
}

/* The server goes while a write, a query and a watch are parked. world_stop
 * lets the node answer afterwards. */
static void test_server_goes(void **state)
{
    struct watcher w;
    int write_fd = dial();
    int query_fd;

    (void)state;
    put("k", "v");
    watch_open(&w, "", "");
    expect_event(&w, "hello", "", NULL);
    query_fd = ask_blocking("k?", index_of(ask("GET", "/v1/kv/k", NULL)), "1m");
    await_metric("http_waiting", 2);
    atomic_store(&world.hold, true);
    send_text(write_fd, "PUT /v1/kv/late HTTP/1.1\r\nHost: localhost\r\n"
                        "Content-Length: 1\r\n\r\nv");
    await_metric("http_writes_total", 2);
    (void)world_stop(state);
    assert_true(closes_within(write_fd, PATIENCE_MS));
    assert_true(closes_within(query_fd, PATIENCE_MS));
    assert_true(closes_within(w.fd, PATIENCE_MS));
    (void)close(write_fd);
    (void)close(query_fd);
    (void)close(w.fd);
}

/* Requests that would wait come in while the server goes: they end with it.
 * Method: the loop stands still between being told to stop and stopping. */
static void test_server_goes_busy(void **state)
{
    struct timespec pause = {.tv_nsec = 1000000};
    struct watcher w;
    uint64_t index;
    int fds[3];
    char text[256];

    (void)state;
    put("k", "v");
    index = index_of(ask("GET", "/v1/kv/k", NULL));
    for (size_t i = 0; i < 3; i++)
        fds[i] = dial();
    await_metric("http_connections", 4);
    watch_open(&w, "", "");
    expect_event(&w, "hello", "", NULL);
    await_metric("http_waiting", 1);
    atomic_store(&world.stall, true);
    (void)uv_async_send(&world.stop);
    while (!atomic_load(&world.stalled))
        (void)nanosleep(&pause, NULL);
    send_text(fds[0], "PUT /v1/kv/late HTTP/1.1\r\nHost: localhost\r\n"
                      "Content-Length: 1\r\n\r\nv");
    (void)snprintf(text, sizeof(text),
                   "GET /v1/kv/k?index=%llu&wait=1m HTTP/1.1\r\n"
                   "Host: localhost\r\n\r\n",
                   (unsigned long long)index);
    send_text(fds[1], text);
    send_text(fds[2], "GET /v1/watch HTTP/1.1\r\nHost: localhost\r\n\r\n");
    atomic_store(&world.stall, false);
    (void)world_stop(state);
    for (size_t i = 0; i < 3; i++) {
        assert_true(closes_within(fds[i], PATIENCE_MS));
        (void)close(fds[i]);
    }
    assert_true(closes_within(w.fd, PATIENCE_MS));
    (void)close(w.fd);
}

#define WITH_WORLD(test)                                                       \
    cmocka_unit_test_setup_teardown(test, start_impatient, world_stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_WORLD(test_blocking),
        WITH_WORLD(test_blocking_at_once),
        WITH_WORLD(test_half_close),
        WITH_WORLD(test_pipelining),
        WITH_WORLD(test_trickled),
        WITH_WORLD(test_watch),
        WITH_WORLD(test_watch_transaction),
        WITH_WORLD(test_watch_resume),
        WITH_WORLD(test_watchers_vanish),
        WITH_WORLD(test_fan_out),
        WITH_WORLD(test_writer_leaves),
        cmocka_unit_test_setup(test_server_goes, start_impatient),
        cmocka_unit_test_setup(test_server_goes_busy, start_impatient),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
