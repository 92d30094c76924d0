/* Load over HTTP for two servers with one generator, so that what differs is
 * the server: a fixed number of connections, one request under way on each,
 * one thread, epoll.
 *
 *   http_load NAME:KIND:PORT...     KIND: confmesh or etcd
 *
 * Commands come on standard input, each is answered with one line of JSON:
 *
 *   fill NAME                  every key once, in transactions
 *   run NAME WHAT SECONDS      WHAT: put, cas, get, get-serializable
 *
 * A connection writes only keys of its own share, so that it knows each key's
 * revision from the last answer: a compare-and-set that is false is counted
 * and would be a fault of the server. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/support.h"

#define CONNECTIONS 64
#define KEYS 100000
#define VALUE_SIZE 100
#define VALUES 64
#define FILL_OPS 100 /* etcd's own limit is 128 operations */
#define KEY_TEXT_SIZE 24
#define VALUE64_SIZE (4 * (VALUE_SIZE + 2) / 3 + 1)
#define REQUEST_SIZE 65536
#define ANSWER_SIZE 8192
#define DRAIN_NS UINT64_C(10000000000)

_Static_assert(KEYS % FILL_OPS == 0, "the last transaction is full too");

enum kind { CONFMESH, ETCD };
enum what { PUT, CAS, GET, GET_SERIALIZABLE };

struct target {
    const char *name;
    enum kind kind;
    uint16_t port;
    uint64_t revisions[KEYS]; /* as cas names them; 0: not written yet */
};

struct connection {
    int fd;
    size_t number;
    bool busy;
    size_t key; /* of the request under way */
    uint64_t sent_ns;
    size_t size;
    char answer[ANSWER_SIZE + 1];
};

struct phase {
    struct target *target;
    enum what what;
    struct bench_samples latency; /* microseconds */
    uint64_t done;
    uint64_t wrong;  /* another status than 200 */
    uint64_t untrue; /* a compare-and-set that did not hold */
    char first_wrong[256];
};

static char values[VALUES][VALUE_SIZE + 1];
static char values64[VALUES][VALUE64_SIZE];
static uint64_t seed = 88172645463325252;

static void make_values(void)
{
    for (size_t i = 0; i < VALUES; i++) {
        for (size_t j = 0; j < VALUE_SIZE; j++)
            values[i][j] = (char)('a' + bench_random(&seed) % 26);
        bench_base64(values64[i], values[i], VALUE_SIZE);
    }
}

static void key_text(char ret_text[KEY_TEXT_SIZE], size_t key)
{
    (void)snprintf(ret_text, KEY_TEXT_SIZE, "bench/key%06zu", key);
}

static void key_text64(char ret_text[2 * KEY_TEXT_SIZE], size_t key)
{
    char text[KEY_TEXT_SIZE];

    key_text(text, key);
    bench_base64(ret_text, text, strlen(text));
}

/* ---- requests ---- */

static int post(char *request, const char *path, const char *body)
{
    return snprintf(request, REQUEST_SIZE,
                    "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                    "Content-Type: application/json\r\n"
                    "Content-Length: %zu\r\n\r\n%s",
                    path, strlen(body), body);
}

static int confmesh_request(char *request, const struct target *t,
                            enum what what, size_t key)
{
    char name[KEY_TEXT_SIZE];
    char condition[40] = "";

    key_text(name, key);
    if (what == GET || what == GET_SERIALIZABLE)
        return snprintf(request, REQUEST_SIZE,
                        "GET /v1/kv/%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
                        name);
    if (what == CAS)
        (void)snprintf(condition, sizeof condition, "?cas=%" PRIu64,
                       t->revisions[key]);
    return snprintf(request, REQUEST_SIZE,
                    "PUT /v1/kv/%s%s HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                    "Content-Length: %d\r\n\r\n%s",
                    name, condition, VALUE_SIZE,
                    values[bench_random(&seed) % VALUES]);
}

static int etcd_request(char *request, const struct target *t, enum what what,
                        size_t key)
{
    const char *value = values64[bench_random(&seed) % VALUES];
    char name[2 * KEY_TEXT_SIZE];
    char body[1024];

    key_text64(name, key);
    if (what == PUT) {
        (void)snprintf(body, sizeof body, "{\"key\":\"%s\",\"value\":\"%s\"}",
                       name, value);
        return post(request, "/v3/kv/put", body);
    }
    if (what == CAS) {
        (void)snprintf(body, sizeof body,
                       "{\"compare\":[{\"key\":\"%s\",\"target\":\"MOD\","
                       "\"result\":\"EQUAL\",\"mod_revision\":\"%" PRIu64
                       "\"}],\"success\":[{\"request_put\":{\"key\":\"%s\","
                       "\"value\":\"%s\"}}]}",
                       name, t->revisions[key], name, value);
        return post(request, "/v3/kv/txn", body);
    }
    (void)snprintf(body, sizeof body, "{\"key\":\"%s\"%s}", name,
                   what == GET_SERIALIZABLE ? ",\"serializable\":true" : "");
    return post(request, "/v3/kv/range", body);
}

static void ask(struct connection *c, struct phase *p, uint64_t now)
{
    char request[REQUEST_SIZE];
    struct target *t = p->target;
    int size;

    if (p->what == PUT || p->what == CAS)
        c->key = bench_random(&seed) % (KEYS / CONNECTIONS) * CONNECTIONS +
                 c->number;
    else
        c->key = bench_random(&seed) % KEYS;
    size = t->kind == CONFMESH ? confmesh_request(request, t, p->what, c->key)
                               : etcd_request(request, t, p->what, c->key);
    if (size <= 0 || size >= REQUEST_SIZE)
        bench_fail("the request is too long");
    c->sent_ns = now;
    c->busy = true;
    bench_send(c->fd, request, (size_t)size);
}

/* ---- answers ---- */

/* The number behind mark in an answer; 0 if there is none. */
static uint64_t number_behind(const char *text, const char *mark)
{
    const char *found = strstr(text, mark);

    return found != NULL ? strtoull(found + strlen(mark), NULL, 10) : 0;
}

static uint64_t revision_of(const struct target *t, const char *bytes,
                            const struct bench_answer *a)
{
    const char *field;

    if (t->kind == ETCD)
        return number_behind(bytes + a->head, "\"revision\":\"");
    field = bench_answer_field(bytes, a, "X-Consul-Index");
    return field != NULL ? strtoull(field, NULL, 10) : 0;
}

static bool holds(const struct phase *p, const char *body)
{
    if (p->what != CAS)
        return true;
    return p->target->kind == ETCD ? strstr(body, "\"succeeded\":true") != NULL
                                   : strncmp(body, "true", 4) == 0;
}

/* A read has to bring the value. */
static bool is_right(const struct phase *p, const char *bytes,
                     const struct bench_answer *a)
{
    if (a->status != 200)
        return false;
    return p->what == PUT || p->what == CAS ||
           (a->size - a->head > VALUE_SIZE &&
            strstr(bytes + a->head,
                   p->target->kind == ETCD ? "\"value\":\"" : "\"Value\":\"") !=
                NULL);
}

static void take(struct connection *c, struct phase *p, uint64_t now,
                 bool counts)
{
    struct bench_answer a;
    struct target *t = p->target;

    if (!bench_answer_parse(c->answer, c->size, &a))
        return;
    if (a.size != c->size)
        bench_fail("%s answers more than it was asked", t->name);
    c->busy = false;
    c->size = 0;
    if (!is_right(p, c->answer, &a)) {
        if (p->wrong++ == 0)
            (void)snprintf(p->first_wrong, sizeof p->first_wrong, "%.200s",
                           c->answer);
    } else if (!holds(p, c->answer + a.head)) {
        p->untrue++;
    } else {
        if (p->what == PUT || p->what == CAS)
            t->revisions[c->key] = revision_of(t, c->answer, &a);
        if (counts) {
            p->done++;
            bench_samples_add(&p->latency, (now - c->sent_ns) / 1000);
        }
    }
}

static void receive(struct connection *c, struct phase *p)
{
    ssize_t got =
        recv(c->fd, c->answer + c->size, ANSWER_SIZE - c->size, MSG_DONTWAIT);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0)
        bench_fail("%s closed a connection", p->target->name);
    c->size += (size_t)got;
    c->answer[c->size] = '\0';
}

/* ---- phases ---- */

static struct connection *connections_open(const struct target *t, int epoll)
{
    struct connection *all = calloc(CONNECTIONS, sizeof *all);

    if (all == NULL)
        bench_fail("out of memory");
    for (size_t i = 0; i < CONNECTIONS; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[i]};

        all[i].fd = bench_connect(t->port);
        all[i].number = i;
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event) != 0)
            bench_fail("epoll_ctl: %s", strerror(errno));
    }
    return all;
}

static void phase_run(struct phase *p, uint64_t duration_ns)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct connection *all = connections_open(p->target, epoll);
    uint64_t end = bench_now_ns() + duration_ns;
    size_t busy = CONNECTIONS;

    for (size_t i = 0; i < CONNECTIONS; i++)
        ask(&all[i], p, bench_now_ns());
    while (busy > 0) {
        struct epoll_event events[CONNECTIONS];
        int count = epoll_wait(epoll, events, CONNECTIONS, 1000);
        uint64_t now = bench_now_ns();

        if (now > end + DRAIN_NS)
            bench_fail("%s does not answer", p->target->name);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;

            receive(c, p);
            take(c, p, now, now <= end);
            if (c->busy)
                continue;
            if (now < end)
                ask(c, p, now);
            else
                busy--;
        }
    }
    for (size_t i = 0; i < CONNECTIONS; i++)
        (void)close(all[i].fd);
    free(all);
    (void)close(epoll);
}

static void run(struct target *t, enum what what, uint64_t seconds)
{
    static const char *const names[] = {"put", "cas", "get",
                                        "get-serializable"};
    struct phase p = {.target = t, .what = what};

    phase_run(&p, seconds * 1000000000);
    if (p.wrong > 0)
        (void)fprintf(stderr, "%s %s: %" PRIu64 " wrong answers: %s\n", t->name,
                      names[what], p.wrong, p.first_wrong);
    (void)printf("{\"target\":\"%s\",\"what\":\"%s\",\"per_s\":%.1f,"
                 "\"p50_us\":%" PRIu64 ",\"p99_us\":%" PRIu64
                 ",\"wrong\":%" PRIu64 ",\"untrue\":%" PRIu64 "}\n",
                 t->name, names[what], (double)p.done / (double)seconds,
                 bench_samples_at(&p.latency, 500),
                 bench_samples_at(&p.latency, 990), p.wrong, p.untrue);
    bench_samples_release(&p.latency);
}

/* ---- filling ---- */

static void fill_body(const struct target *t, char *body, size_t size,
                      size_t first)
{
    size_t at = (size_t)snprintf(
        body, size, "%s", t->kind == ETCD ? "{\"success\":[" : "{\"ops\":[");

    for (size_t key = first; key < first + FILL_OPS; key++) {
        const char *comma = key == first ? "" : ",";
        char name[2 * KEY_TEXT_SIZE];

        if (t->kind == ETCD) {
            key_text64(name, key);
            at += (size_t)snprintf(
                body + at, size - at,
                "%s{\"request_put\":{\"key\":\"%s\",\"value\":\"%s\"}}", comma,
                name, values64[key % VALUES]);
        } else {
            key_text(name, key);
            at += (size_t)snprintf(
                body + at, size - at,
                "%s{\"op\":\"put\",\"key\":\"%s\",\"value\":\"%s\"}", comma,
                name, values[key % VALUES]);
        }
    }
    at += (size_t)snprintf(body + at, size - at, "]}");
    if (at >= size)
        bench_fail("the transaction is too long");
}

/* One request and its answer. */
static void exchange(int fd, const char *request, size_t size, char *answer,
                     size_t answer_size, struct bench_answer *ret_answer)
{
    size_t got = 0;

    bench_send(fd, request, size);
    for (;;) {
        ssize_t n = recv(fd, answer + got, answer_size - 1 - got, 0);

        if (n <= 0)
            bench_fail("recv: %s", n == 0 ? "closed" : strerror(errno));
        got += (size_t)n;
        answer[got] = '\0';
        if (bench_answer_parse(answer, got, ret_answer))
            return;
    }
}

/* The revision by which a later compare-and-set names the transaction's keys.
 * In an answer of confmesh it is the plain one; a read tells the index. */
static uint64_t fill_revision(const struct target *t, int fd, size_t key)
{
    char request[REQUEST_SIZE];
    char answer[REQUEST_SIZE];
    struct bench_answer a;
    int size = confmesh_request(request, t, GET, key);

    exchange(fd, request, (size_t)size, answer, sizeof answer, &a);
    return number_behind(answer + a.head, "\"ModifyIndex\":");
}

static void fill(struct target *t)
{
    char *body = malloc(REQUEST_SIZE);
    char *request = malloc(REQUEST_SIZE);
    char *answer = malloc(REQUEST_SIZE);
    int fd = bench_connect(t->port);
    uint64_t begun = bench_now_ns();

    if (body == NULL || request == NULL || answer == NULL)
        bench_fail("out of memory");
    for (size_t first = 0; first < KEYS; first += FILL_OPS) {
        struct bench_answer a;
        uint64_t revision;
        int size;

        fill_body(t, body, REQUEST_SIZE - 512, first);
        size = post(request, t->kind == ETCD ? "/v3/kv/txn" : "/v1/txn", body);
        exchange(fd, request, (size_t)size, answer, REQUEST_SIZE, &a);
        if (a.status != 200)
            bench_fail("%s refuses to be filled: %s", t->name, answer);
        revision = t->kind == ETCD ? revision_of(t, answer, &a)
                                   : fill_revision(t, fd, first);
        if (revision == 0)
            bench_fail("%s tells no revision: %s", t->name, answer);
        for (size_t key = first; key < first + FILL_OPS; key++)
            t->revisions[key] = revision;
    }
    (void)close(fd);
    free(body);
    free(request);
    free(answer);
    (void)printf("{\"target\":\"%s\",\"keys\":%d,\"seconds\":%.3f}\n", t->name,
                 KEYS, (double)(bench_now_ns() - begun) / 1e9);
}

/* ---- commands ---- */

static struct target *target_new(char *argument)
{
    struct target *t = calloc(1, sizeof *t);
    char *kind = strchr(argument, ':');
    char *port = kind != NULL ? strchr(kind + 1, ':') : NULL;

    if (t == NULL || kind == NULL || port == NULL)
        bench_fail("%s: write NAME:KIND:PORT", argument);
    *kind++ = '\0';
    *port++ = '\0';
    t->name = argument;
    t->kind = strcmp(kind, "etcd") == 0 ? ETCD : CONFMESH;
    t->port = (uint16_t)bench_number(port, "port");
    return t;
}

static enum what what_of(const char *text)
{
    if (strcmp(text, "put") == 0)
        return PUT;
    if (strcmp(text, "cas") == 0)
        return CAS;
    if (strcmp(text, "get") == 0)
        return GET;
    if (strcmp(text, "get-serializable") == 0)
        return GET_SERIALIZABLE;
    bench_fail("%s: no such load", text);
}

int main(int argc, char **argv)
{
    char line[256];

    make_values();
    if (argc < 2)
        bench_fail("usage: http_load NAME:KIND:PORT...");
    struct target **targets = calloc((size_t)argc, sizeof *targets);

    if (targets == NULL)
        bench_fail("out of memory");
    for (int i = 1; i < argc; i++)
        targets[i - 1] = target_new(argv[i]);
    while (fgets(line, sizeof line, stdin) != NULL) {
        char verb[16] = "";
        char name[64] = "";
        char what[32] = "";
        unsigned seconds = 0;
        struct target *t = NULL;
        int words =
            sscanf(line, "%15s %63s %31s %u", verb, name, what, &seconds);

        for (size_t i = 0; targets[i] != NULL; i++) {
            if (strcmp(targets[i]->name, name) == 0)
                t = targets[i];
        }
        if (t != NULL && words == 2 && strcmp(verb, "fill") == 0)
            fill(t);
        else if (t != NULL && words == 4 && strcmp(verb, "run") == 0)
            run(t, what_of(what), seconds);
        else
            bench_fail("not understood: %s", line);
        (void)fflush(stdout);
    }
    for (size_t i = 0; targets[i] != NULL; i++)
        free(targets[i]);
    free(targets);
    return 0;
}
