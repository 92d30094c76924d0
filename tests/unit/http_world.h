/* A world for tests of the HTTP server: the real server on a real loop in a
 * thread of its own, over a real store and writer, with a node that does
 * nothing but hand intents to the writer; and a client of raw sockets that can
 * misbehave. Included by one file per program, because it defines the node. */
#ifndef TESTS_UNIT_HTTP_WORLD_H
#define TESTS_UNIT_HTTP_WORLD_H

#include "tests/unit/support.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "crdt/authority.h"
#include "node/http_server.h"
#include "node/merge.h"
#include "node/node.h"

#define REPLY_MAX (4u << 20)
#define PATIENCE_S 10

/* The node that the server sees. */
struct node {
    struct store *store;
    struct writer *writer;
    uv_loop_t loop;
    uv_thread_t thread;
    uv_async_t stop;
    uv_idle_t drain;
    struct http_server *server;
    struct intent *queue;
    node_commit_listener listener;
    void *listener_context;
    atomic_bool ready;
    atomic_bool hold; /* intents stay queued */
    atomic_bool full; /* submissions are refused */
    atomic_bool no_awaits;
    atomic_bool stall; /* the loop stands still before the server goes */
    atomic_bool stalled;
    char dir[32];
    char socket_path[64];
    uint16_t port;
    uint64_t header_ms; /* shorter deadlines, or 0 */
    uint64_t body_ms;
    struct mesh_id mesh;
    struct key_pair keys;
};

/* A program need not use all of this. */
#define HELPER static __attribute__((unused))

static struct node world;

/* ---- the node ---- */

static void drain_once(struct node *n)
{
    struct commit_result *result;
    struct intent *next;
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    result = writer_commit(n->writer, n->queue,
                           (uint64_t)now.tv_sec * 1000 +
                               (uint64_t)now.tv_nsec / 1000000);
    assert_non_null(result);
    n->queue = NULL;
    for (struct intent *i = result->intents; i != NULL; i = next) {
        next = i->next;
        i->done(i->context, i);
    }
    if (result->wrote && n->listener != NULL)
        n->listener(n->listener_context, result->revision);
    commit_result_free(result);
}

static void on_drain(uv_idle_t *idle)
{
    struct node *n = idle->data;

    if (atomic_load(&n->hold))
        return;
    if (n->queue != NULL)
        drain_once(n);
    if (n->queue == NULL)
        (void)uv_idle_stop(idle);
}

int node_submit(struct node *n, struct intent *intent)
{
    struct intent **last = &n->queue;

    if (atomic_load(&n->full))
        return CM_ERR_BUSY;
    while (*last != NULL)
        last = &(*last)->next;
    intent->next = NULL;
    *last = intent;
    (void)uv_idle_start(&n->drain, on_drain);
    return 0;
}

struct store *node_store(struct node *n)
{
    return n->store;
}

bool node_is_ready(const struct node *n)
{
    return atomic_load(&((struct node *)(uintptr_t)n)->ready);
}

const char *node_not_ready_reason(const struct node *n)
{
    (void)n;
    return "it is catching up with the mesh";
}

uint64_t node_revision(const struct node *n)
{
    (void)n;
    return 0;
}

void node_set_commit_listener(struct node *n, node_commit_listener listener,
                              void *ctx)
{
    n->listener = listener;
    n->listener_context = ctx;
}

void node_status_read(const struct node *n, struct node_status *ret_status)
{
    *ret_status = (struct node_status){
        .name = "alpha",
        .mesh = n->mesh,
        .incarnation = writer_incarnation(n->writer),
        .ready = true,
        .members_alive = 1,
        .members_total = 1,
        .cuts = {.phase = "", .waits = "", .last_refusal = ""},
        .return_reason = "",
        .return_text = "",
        .return_phase = "",
        .return_waits = "",
    };
}

const struct gossip *node_gossip(const struct node *n)
{
    (void)n;
    return NULL;
}

struct slice node_certificate(const struct node *n)
{
    (void)n;
    return slice_of_string("certificate");
}

bool node_is_issuer(const struct node *n)
{
    (void)n;
    return false;
}

void node_issuer_set(struct node *n, struct slice certificate,
                     node_issuer_done done, void *ctx)
{
    (void)n;
    (void)certificate;
    done(ctx, CM_ERR_AUTHORITY, "not here");
}

void node_token_create(struct node *n, unsigned uses, uint64_t ttl_ms,
                       const struct token_rights *rights, node_token_done done,
                       void *ctx)
{
    char text[64];

    (void)n;
    (void)rights;
    (void)snprintf(text, sizeof(text), "token-%u-%llu", uses,
                   (unsigned long long)ttl_ms);
    if (uses == 77)
        done(ctx, CM_ERR_AUTHORITY, NULL, "this node is no issuer");
    else
        done(ctx, 0, text, NULL);
}

void node_order_expected(struct node *n)
{
    (void)n;
}

size_t node_retire_earlier(struct node *n)
{
    (void)n;
    return 0;
}

bool node_adopt_confirm(struct node *n)
{
    (void)n;
    return false; /* no cut ever waits here */
}

int node_compare(struct node *n, const char *name, node_compare_done done,
                 void *ctx, struct cm_detail *detail)
{
    struct heal_report report = {.same_vector = true, .same_digest = true};

    (void)n;
    if (strcmp(name, "node-2") != 0)
        return cm_fail(detail, CM_ERR_NOT_FOUND, "no member is named so");
    (void)snprintf(report.peer, sizeof report.peer, "%s", name);
    done(ctx, &report);
    return 0;
}

int node_adopt_from(struct node *n, const char *name, struct cm_detail *detail)
{
    (void)n;
    return strcmp(name, "node-2") == 0
               ? 0
               : cm_fail(detail, CM_ERR_NOT_FOUND, "no member is named so");
}

int node_merge(struct node *n, const struct merge_request *request,
               node_merge_done done, void *ctx, struct cm_detail *detail)
{
    struct merge_report report = {.found = request->targets_count};

    (void)n;
    if (request->dry_run)
        return cm_fail(detail, CM_ERR_BUSY, "another one is under way");
    done(ctx, &report);
    return 0;
}

void node_note_damage(struct node *n)
{
    (void)n;
}

void node_snapshot_now(struct node *n, const char *to, node_snapshot_done done,
                       void *ctx)
{
    struct snapshot_report report = {.sequence = 3, .entries = 4};

    (void)n;
    (void)snprintf(report.name, sizeof(report.name), "%s",
                   to != NULL ? to : "configured");
    done(ctx, &report);
}

uint64_t node_committed_seq(const struct node *n, const struct incarnation *i)
{
    struct store_reader *r;
    struct vv vv;
    uint64_t ret;

    vv_init(&vv);
    assert_int_equal(store_reader_begin(n->store, &r), 0);
    assert_int_equal(store_vv(r, &vv), 0);
    ret = vv_seq(&vv, i);
    vv_release(&vv);
    store_reader_release(r);
    return ret;
}

size_t node_quorum_members(const struct node *n)
{
    (void)n;
    return 3;
}

size_t node_quorum_wanted(const struct node *n, const struct node_quorum *q)
{
    (void)n;
    return q->kind == QUORUM_ALL ? 3 : q->kind == QUORUM_COUNT ? q->count : 2;
}

bool node_has_room_to_await(const struct node *n)
{
    return !atomic_load(&((struct node *)(uintptr_t)n)->no_awaits);
}

/* Of three members two have everything, one is dead; every wait is over at
 * once. */
int node_await(struct node *n, const struct dot *dot,
               const struct node_quorum *q, uint64_t timeout_ms,
               node_await_done done, void *ctx)
{
    static const struct node_await_member members[] = {
        {"alpha", true, "alive"},
        {"beta", true, "alive"},
        {"gamma", false, "dead"},
    };
    struct node_await_report report = {.wanted = 1};

    (void)timeout_ms;
    if (atomic_load(&n->no_awaits))
        return CM_ERR_BUSY;
    if (q != NULL) {
        report.wanted = node_quorum_wanted(n, q);
        report.members = members;
        report.members_count = 3;
        report.confirmed = 2;
        report.error = report.wanted > 2 ? CM_ERR_TIMEOUT : 0;
    } else if (node_committed_seq(n, &dot->incarnation) < dot->seq) {
        report.error = CM_ERR_TIMEOUT;
    }
    done(ctx, &report);
    return 0;
}

const char *node_name_of(const struct node *n, const struct incarnation *i)
{
    (void)n;
    (void)i;
    return "alpha";
}

/* ---- starting and stopping ---- */

static void identity_make(struct node *n)
{
    struct authority authority;
    struct certificate c = {0};
    struct generation_order order = {0};
    struct store_identity identity = {.ready = true};
    struct buffer certificate;
    struct buffer generation;
    struct cm_detail detail = {{0}};
    uint8_t seed[32] = {7};

    authority_make(&authority, seed);
    n->keys = support_key_pair(9);
    n->mesh = mesh_id_of(authority.public_key);
    c.mesh = n->mesh;
    memcpy(c.sign_key, n->keys.public_key, 32);
    memcpy(c.box_key, seed, 32);
    (void)snprintf(c.name, sizeof(c.name), "alpha");
    c.roles = ROLE_WRITER | ROLE_ISSUER;
    c.prefixes_count = 1;
    c.not_after_ms = HLC_WALL_MS_MAX;
    c.key_id = key_id_of(c.sign_key);
    buffer_init(&certificate, CERTIFICATE_SIZE_MAX);
    assert_int_equal(certificate_encode(&certificate, &c, authority.secret_key),
                     0);
    order.mesh = n->mesh;
    order.number = 1;
    randombytes_buf(identity.incarnation.bytes, INCARNATION_SIZE);
    order.founder = identity.incarnation;
    order.founder_certificate = buffer_slice(&certificate);
    order.created_ms = 1;
    order.founder_level = LEVEL_LAST;
    vv_init(&order.sealed);
    buffer_init(&generation, GENERATION_ORDER_SIZE_MAX);
    assert_int_equal(
        generation_order_encode(&generation, &order, authority.secret_key), 0);
    identity.certificate = buffer_slice(&certificate);
    identity.generation_order = buffer_slice(&generation);
    memcpy(identity.authority_public_key, authority.public_key, 32);
    identity.host = slice_of_string("test");
    if (writer_initialise(n->store, &identity, &detail) != 0)
        fail_msg("writer_initialise: %s", detail.text);
    buffer_release(&certificate);
    buffer_release(&generation);
}

static void on_stop(uv_async_t *async)
{
    struct node *n = async->data;
    struct timespec pause = {.tv_nsec = 1000000};

    while (atomic_load(&n->stall)) {
        atomic_store(&n->stalled, true);
        (void)nanosleep(&pause, NULL);
    }
    http_server_free(n->server);
    n->server = NULL;
    atomic_store(&n->hold, false);
    if (n->queue != NULL)
        drain_once(n); /* answers come after the server is gone */
    uv_close((uv_handle_t *)&n->drain, NULL);
    uv_close((uv_handle_t *)&n->stop, NULL);
}

static void loop_main(void *arg)
{
    struct node *n = arg;

    (void)uv_run(&n->loop, UV_RUN_DEFAULT);
}

static void listen_or_fail(struct node *n, const char *where)
{
    struct cm_detail detail = {{0}};

    if (http_server_listen(n->server, where, &detail) != 0)
        fail_msg("%s: %s", where, detail.text);
}

static int world_start(void **state)
{
    struct node *n = &world;
    struct cm_detail detail = {{0}};
    uint64_t header_ms = n->header_ms;
    uint64_t body_ms = n->body_ms;
    char where[128];

    (void)state;
    *n = (struct node){.header_ms = header_ms, .body_ms = body_ms};
    atomic_init(&n->ready, true);
    (void)snprintf(n->dir, sizeof(n->dir), "/tmp/confmesh-http-XXXXXX");
    assert_non_null(mkdtemp(n->dir));
    (void)snprintf(n->socket_path, sizeof(n->socket_path), "%.30s/api.sock",
                   n->dir);
    if (store_open(&n->store, n->dir, 0, &detail) != 0)
        fail_msg("store_open: %s", detail.text);
    identity_make(n);
    if (writer_open(&n->writer, n->store, n->keys.secret_key, &detail) != 0)
        fail_msg("writer_open: %s", detail.text);
    assert_int_equal(uv_loop_init(&n->loop), 0);
    (void)uv_idle_init(&n->loop, &n->drain);
    (void)uv_async_init(&n->loop, &n->stop, on_stop);
    n->drain.data = n->stop.data = n;
    assert_int_equal(http_server_create(&n->server, &n->loop, n, &detail), 0);
    http_server_set_deadlines(n->server, n->header_ms, n->body_ms, 0);
    listen_or_fail(n, "127.0.0.1:0");
    (void)snprintf(where, sizeof(where), "unix:%.63s", n->socket_path);
    listen_or_fail(n, where);
    n->port = http_server_port(n->server, 0);
    assert_int_equal(uv_thread_create(&n->thread, loop_main, n), 0);
    return 0;
}

static void dir_remove(const char *dir)
{
    char path[1024];
    DIR *d = opendir(dir);
    struct dirent *e;

    while (d != NULL && (e = readdir(d)) != NULL) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.')
            (void)unlink(path);
    }
    if (d != NULL)
        (void)closedir(d);
    (void)rmdir(dir);
}

static int world_stop(void **state)
{
    struct node *n = &world;

    (void)state;
    (void)uv_async_send(&n->stop);
    (void)uv_thread_join(&n->thread);
    assert_int_equal(uv_loop_close(&n->loop), 0);
    assert_int_equal(access(n->socket_path, F_OK), -1);
    writer_close(n->writer);
    store_close(n->store);
    dir_remove(n->dir);
    return 0;
}

/* ---- the client ---- */

struct reply {
    int status; /* 0: the connection ended without an answer */
    char head[16384];
    char *body; /* NUL-terminated */
    size_t size;
};

static struct reply last;

HELPER void patience(int fd)
{
    struct timeval t = {.tv_sec = PATIENCE_S};

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
}

HELPER int dial(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_port = htons(world.port);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    patience(fd);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

HELPER int dial_unix(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    (void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", world.socket_path);
    patience(fd);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

HELPER void send_bytes(int fd, const void *data, size_t size)
{
    const char *from = data;
    ssize_t n;

    while (size > 0) {
        n = send(fd, from, size, MSG_NOSIGNAL);
        if (n <= 0)
            return; /* refused before all was sent: the answer tells */
        from += n;
        size -= (size_t)n;
    }
}

HELPER void send_text(int fd, const char *text)
{
    send_bytes(fd, text, strlen(text));
}

HELPER void reply_clear(struct reply *r)
{
    free(r->body);
    *r = (struct reply){0};
}

/* The value of a header field, "" if it is not there. */
HELPER const char *header(const struct reply *r, const char *name)
{
    static char value[512];
    char line[128];
    const char *at;
    size_t size;

    (void)snprintf(line, sizeof(line), "\r\n%s: ", name);
    at = strcasestr(r->head, line);
    value[0] = '\0';
    if (at == NULL)
        return value;
    at += strlen(line);
    size = strcspn(at, "\r");
    assert_true(size < sizeof(value));
    memcpy(value, at, size);
    value[size] = '\0';
    return value;
}

/* Reads one answer with a Content-Length. */
HELPER struct reply *read_reply(int fd)
{
    struct reply *r = &last;
    size_t size = 0;
    ssize_t n;

    reply_clear(r);
    while (size < sizeof(r->head) - 1) {
        n = recv(fd, r->head + size, 1, 0);
        if (n <= 0)
            return r;
        size++;
        if (size >= 4 && memcmp(r->head + size - 4, "\r\n\r\n", 4) == 0)
            break;
    }
    r->head[size] = '\0';
    assert_int_equal(sscanf(r->head, "HTTP/1.%*d %d", &r->status), 1);
    if (r->status == 100)
        return read_reply(fd);
    r->size = (size_t)strtoul(header(r, "Content-Length"), NULL, 10);
    assert_true(r->size <= REPLY_MAX);
    r->body = calloc(1, r->size + 1);
    assert_non_null(r->body);
    for (size_t at = 0; at < r->size; at += (size_t)n) {
        n = recv(fd, r->body + at, r->size - at, 0);
        if (n <= 0) {
            r->status = 0;
            return r;
        }
    }
    return r;
}

/* One request on a connection that stays open. fields: further header lines,
 * each with its CRLF. */
HELPER struct reply *ask_on(int fd, const char *method, const char *target,
                            const char *fields, const void *body, size_t size)
{
    char head[12288];
    int length =
        snprintf(head, sizeof(head), "%s %s HTTP/1.1\r\nHost: localhost\r\n%s",
                 method, target, fields);

    assert_true(length > 0 && (size_t)length < sizeof(head) - 64);
    if (body != NULL)
        length += snprintf(head + length, sizeof(head) - (size_t)length,
                           "Content-Length: %zu\r\n", size);
    length += snprintf(head + length, sizeof(head) - (size_t)length, "\r\n");
    send_bytes(fd, head, (size_t)length);
    if (body != NULL)
        send_bytes(fd, body, size);
    return read_reply(fd);
}

HELPER struct reply *ask(const char *method, const char *target,
                         const char *body)
{
    int fd = dial();
    struct reply *r =
        ask_on(fd, method, target, "", body, body != NULL ? strlen(body) : 0);

    (void)close(fd);
    return r;
}

HELPER struct reply *ask_unix(const char *method, const char *target,
                              const char *body)
{
    int fd = dial_unix();
    struct reply *r =
        ask_on(fd, method, target, "", body, body != NULL ? strlen(body) : 0);

    (void)close(fd);
    return r;
}

/* Bytes as they are, then the answer. */
HELPER struct reply *ask_raw(const char *text)
{
    int fd = dial();
    struct reply *r;

    send_text(fd, text);
    r = read_reply(fd);
    (void)close(fd);
    return r;
}

HELPER void assert_reply(const struct reply *r, int status, const char *body)
{
    if (r->status != status || (body != NULL && strcmp(r->body, body) != 0))
        fail_msg("got %d \"%.200s\", not %d \"%s\"", r->status,
                 r->body != NULL ? r->body : "", status,
                 body != NULL ? body : "…");
}

HELPER void assert_says(const struct reply *r, int status, const char *part)
{
    if (r->status != status || r->body == NULL || strstr(r->body, part) == NULL)
        fail_msg("got %d \"%.300s\", not %d \"…%s…\"", r->status,
                 r->body != NULL ? r->body : "", status, part);
}

HELPER void put(const char *key, const char *value)
{
    char target[600];

    (void)snprintf(target, sizeof(target), "/v1/kv/%s", key);
    assert_reply(ask("PUT", target, value), 200, "true");
}

HELPER uint64_t index_of(const struct reply *r)
{
    return strtoull(header(r, "X-Consul-Index"), NULL, 10);
}

HELPER uint64_t number_in(const char *text, const char *name)
{
    char quoted[64];
    const char *at;

    (void)snprintf(quoted, sizeof(quoted), "\"%s\":", name);
    at = strstr(text, quoted);
    if (at == NULL)
        fail_msg("no %s in %.200s", quoted, text);
    return strtoull(at + strlen(quoted), NULL, 10);
}

HELPER uint64_t metric_now(const char *name)
{
    char line[96];
    const char *at;

    (void)snprintf(line, sizeof(line), "\nconfmesh_%s ", name);
    at = strstr(ask("GET", "/metrics", NULL)->body, line);
    assert_non_null(at);
    return strtoull(at + strlen(line), NULL, 10);
}

HELPER uint64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

#endif
