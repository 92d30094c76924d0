/* libmicrohttpd in the node's loop.
 *
 * What the library does not do by itself, and what is done about it here:
 * - A suspended connection never notices that its client has left. Parked
 *   watches and queries are registered in an epoll set of our own for the
 *   other side's end of transmission (leavers).
 * - Its time-out is one of silence: a byte every second keeps a connection
 *   for ever. Header, body and pause each have a deadline of ours; a
 *   connection that misses one is shut down at the socket, which the library
 *   then sees as its end (sweep).
 * - After its connection limit or a shortage of descriptors it accepts again
 *   only in a later run that it does not ask for: each connection's end asks
 *   for one (dirty).
 * - It reads from a resumed connection before it asks for the answer, and drops
 *   the answer if the client has closed its half. Connections with a time-out
 *   of their own are asked first: a resumed one has such (idle_seconds).
 * - Resumed connections want one run: there is one per loop iteration,
 *   however many were resumed (on_prepare).
 * - Suspending and resuming takes a connection out of the library's epoll set
 *   and puts it back, and it then reads once in vain: half of a write's system
 *   calls. A request that waits for a commit is *held* instead: its handler is
 *   called in every run, and says each time that there is nothing yet. The
 *   library then wants to run again at once, always; listener_run knows better.
 *   At most HTTP_HELD_MAX are held, and each for HTTP_HELD_MS. */
#include "node/http_server.h"

#include <errno.h>
#include <microhttpd.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/http_handlers.h"
#include "node/http_listen.h"
#include "node/http_pending.h"
#include "node/http_watch.h"

#define RUNS_PER_ITERATION 8
#define HTTP_HELD_MAX 128 /* each costs a call per run */
#define HTTP_HELD_MS 20   /* then it is suspended */
#define HELD_RUN_MS 1     /* between runs, while nothing moves */
#define LEAVERS_BATCH 256
#define DESCRIPTORS_SPARED 128 /* for the store, peers, files */

struct http_listener {
    struct http_server *server;
    struct http_bound bound;
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
    uv_timer_t timer;
    bool dirty;
    bool moved; /* in this run: a part of a body came, or an answer goes */
};

struct http_connection {
    struct http_server *server;
    struct http_listener *listener;
    int fd;
    uint64_t deadline_ms;         /* uv_now; 0: none at the moment */
    struct http_connection *next; /* among the active */
    struct http_connection *prev;
    bool active; /* not parked: its deadline is looked at */
    bool first;  /* among those that are asked before anything is read */
    struct http_request request;
};

struct http_server {
    struct http_context context;
    struct http_listener *listeners[HTTP_LISTENERS_MAX];
    unsigned listeners_count;
    struct http_connection *active;
    unsigned held;
    uint64_t header_ms;
    uint64_t body_ms;
    uint64_t idle_ms;
    int leavers; /* epoll: clients of parked requests */
    uv_poll_t leavers_poll;
    uv_timer_t sweep;
    uv_prepare_t prepare;
    bool sweeping;
    unsigned handles; /* not closed yet */
};

static const struct route {
    const char *path;
    http_handler handler;
    bool tree;       /* what begins with path, else path alone */
    bool unready;    /* answers also while the node is not ready */
    bool local_only; /* only over the socket */
} routes[] = {
    {"/v1/kv", http_kv, true, false, false},
    {"/v1/set/", http_set, true, false, false},
    {"/v1/revoke/", http_revoke, true, false, false},
    {"/v1/txn", http_txn, false, false, false},
    {"/v1/watch", http_watch, false, false, false},
    {"/v1/mesh/status", http_status, false, true, false},
    {"/v1/mesh/members", http_members, false, true, false},
    {"/v1/mesh/conflicts", http_conflicts, false, false, false},
    {"/v1/mesh/explain/", http_explain, true, false, false},
    {"/v1/mesh/resolve/", http_resolve, true, false, false},
    {"/v1/mesh/token", http_token, false, false, true},
    {"/v1/mesh/snapshot", http_snapshot, false, false, true},
    {"/v1/mesh/sets", http_sets, false, false, false},
    {"/v1/mesh/merge", http_merge, false, false, true},
    {"/v1/mesh/adopt", http_adopt, false, false, true},
    {"/v1/mesh/roster", http_roster, false, false, false},
    {"/v1/mesh/issuer", http_issuer, false, false, true},
    {"/v1/mesh/orders", http_orders, false, false, true},
    {"/v1/mesh/retire", http_retire, false, false, true},
    {"/v1/mesh/compare", http_compare, false, false, true},
    {"/v1/mesh/unsent", http_unsent, false, false, false},
    {"/v1/mesh/unsent/drop", http_unsent_drop, false, false, true},
    {"/v1/mesh/unsent/apply", http_unsent_apply, false, false, true},
    {"/metrics", http_metrics, false, true, false},
    {"/healthz", http_healthz, false, true, false},
    {"/readyz", http_readyz, false, true, false},
};

/* ---- running the library ---- */

static void on_listener_timer(uv_timer_t *t);

static void listener_run(struct http_listener *l)
{
    MHD_UNSIGNED_LONG_LONG wait_ms = 0;
    bool timed;

    l->dirty = false;
    l->moved = false;
    if (MHD_run(l->daemon) != MHD_YES)
        return;
    timed = MHD_get_timeout(l->daemon, &wait_ms) == MHD_YES;
    if (timed && wait_ms == 0 && l->server->held > 0) {
        /* Because of the held ones, or of others too? What moved may go on;
         * what the library keeps to itself does so a little later. */
        l->dirty = l->dirty || l->moved;
        wait_ms = HELD_RUN_MS;
    }
    if (timed)
        (void)uv_timer_start(&l->timer, on_listener_timer, wait_ms, 0);
    else
        (void)uv_timer_stop(&l->timer);
}

static void on_listener_timer(uv_timer_t *t)
{
    listener_run(t->data);
}

static void on_listener_poll(uv_poll_t *p, int status, int events)
{
    (void)status;
    (void)events;
    listener_run(p->data);
}

static void on_prepare(uv_prepare_t *p)
{
    struct http_server *s = p->data;
    struct http_listener *l;

    for (unsigned i = 0; i < s->listeners_count; i++) {
        l = s->listeners[i];
        for (unsigned runs = 0; l->dirty && runs < RUNS_PER_ITERATION; runs++)
            listener_run(l);
        if (l->dirty)
            (void)uv_timer_start(&l->timer, on_listener_timer, 0, 0);
    }
    http_context_drop_reader(&s->context);
}

/* ---- deadlines ---- */

static void on_sweep(uv_timer_t *t)
{
    struct http_server *s = t->data;
    uint64_t now = uv_now(s->context.loop);

    for (struct http_connection *k = s->active; k != NULL; k = k->next) {
        if (k->deadline_ms == 0 || k->deadline_ms > now)
            continue;
        k->deadline_ms = 0;
        s->context.counters.deadlines_passed++;
        (void)shutdown(k->fd, SHUT_RDWR);
        k->listener->dirty = true;
    }
    if (s->active == NULL) {
        (void)uv_timer_stop(&s->sweep);
        s->sweeping = false;
    }
}

static void activate(struct http_connection *k)
{
    struct http_server *s = k->server;
    uint64_t period = s->header_ms / 8 > 1000 ? 1000 : s->header_ms / 8 + 1;

    CHECK(!k->active);
    k->active = true;
    k->prev = NULL;
    k->next = s->active;
    if (k->next != NULL)
        k->next->prev = k;
    s->active = k;
    if (!s->sweeping && !s->context.closing) {
        s->sweeping = true;
        (void)uv_timer_start(&s->sweep, on_sweep, period, period);
    }
}

static void deactivate(struct http_connection *k)
{
    CHECK(k->active);
    k->active = false;
    if (k->prev != NULL)
        k->prev->next = k->next;
    else
        k->server->active = k->next;
    if (k->next != NULL)
        k->next->prev = k->prev;
}

static void set_deadline(struct http_connection *k, uint64_t in_ms)
{
    k->deadline_ms = uv_now(k->server->context.loop) + in_ms;
}

/* ---- parking ---- */

static unsigned idle_seconds(const struct http_server *s, bool first)
{
    return (unsigned)(s->idle_ms / 1000 + 1 + first);
}

static void set_first(struct http_connection *k, bool first)
{
    if (k->first == first)
        return;
    k->first = first;
    (void)MHD_set_connection_option(k->request.mhd,
                                    MHD_CONNECTION_OPTION_TIMEOUT,
                                    idle_seconds(k->server, first));
}

void http_request_park(struct http_request *r, bool watch_client)
{
    struct http_connection *k = r->connection;
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT,
                                .data.ptr = k};

    CHECK(!r->parked && !r->context->closing);
    r->parked = true;
    k->deadline_ms = 0;
    if (!watch_client && k->server->held < HTTP_HELD_MAX) {
        r->held = true;
        r->held_until_ms = uv_now(k->server->context.loop) + HTTP_HELD_MS;
        k->server->held++;
        return;
    }
    MHD_suspend_connection(r->mhd);
    if (watch_client &&
        epoll_ctl(k->server->leavers, EPOLL_CTL_ADD, k->fd, &event) == 0) {
        r->watched = true;
        deactivate(k);
    }
}

static void let_go(struct http_connection *k)
{
    CHECK(k->request.held && k->server->held > 0);
    k->request.held = false;
    k->server->held--;
}

/* The library asks again; it may suspend only here. */
static void hold_on(struct http_connection *k)
{
    if (uv_now(k->server->context.loop) < k->request.held_until_ms)
        return;
    let_go(k);
    MHD_suspend_connection(k->request.mhd);
}

void http_request_wake(struct http_request *r)
{
    struct http_connection *k = r->connection;

    CHECK(r->parked);
    if (r->held) {
        let_go(k);
        r->parked = false;
        k->listener->dirty = true;
        return;
    }
    if (r->watched) {
        (void)epoll_ctl(k->server->leavers, EPOLL_CTL_DEL, k->fd, NULL);
        r->watched = false;
        activate(k);
    }
    r->parked = false;
    k->listener->dirty = true;
    if (r->watch == NULL)
        set_first(k, true);
    MHD_resume_connection(r->mhd);
}

static void client_left(struct http_connection *k)
{
    struct http_request *r = &k->request;

    CHECK(r->parked && r->watched);
    http_block_cancel(&k->server->context.block, &r->waiter);
    /* A query is answered: the client may only have closed its half. */
    if (r->watch != NULL)
        r->gone = true;
    r->woken = true;
    http_request_wake(r);
}

static void on_leavers(uv_poll_t *p, int status, int events)
{
    struct http_server *s = p->data;
    struct epoll_event found[LEAVERS_BATCH];
    int count;

    (void)status;
    (void)events;
    count = epoll_wait(s->leavers, found, LEAVERS_BATCH, 0);
    for (int i = 0; i < count; i++)
        client_left(found[i].data.ptr);
}

/* ---- one request ---- */

static const struct route *route_of(struct slice path)
{
    struct slice name;

    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        name = slice_of_string(routes[i].path);
        if (!slice_starts_with(path, name))
            continue;
        if (path.size == name.size)
            return &routes[i];
        if (routes[i].tree &&
            (name.data[name.size - 1] == '/' || path.data[name.size] == '/'))
            return &routes[i];
    }
    return NULL;
}

static void dispatch(struct http_request *r)
{
    const struct route *route = route_of(r->path);
    const char *reason;

    r->context->counters.requests++;
    if (route == NULL) {
        http_refuse(r, 404, CM_ERR_NOT_FOUND,
                    "there is no such path; see docs/API.md for those that "
                    "exist");
    } else if (route->local_only && !r->local) {
        http_refuse(r, 403, CM_ERR_AUTHORITY,
                    "this is not allowed over TCP; use the node's Unix socket");
    } else if (!route->unready && !node_is_ready(r->context->node)) {
        reason = node_not_ready_reason(r->context->node);
        http_refuse(r, 503, CM_ERR_NOT_READY,
                    "the node is not ready: %s; wait for /readyz",
                    reason != NULL ? reason : "it has no complete state yet");
    } else {
        route->handler(r);
    }
}

static enum MHD_Result queue_answer(struct http_request *r)
{
    struct http_connection *k = r->connection;
    struct MHD_Response *response = r->response;
    enum MHD_Result result;

    CHECK(response != NULL && r->status >= 200);
    r->response = NULL;
    k->deadline_ms = 0;
    k->listener->moved = true;
    result = MHD_queue_response(r->mhd, r->status, response);
    MHD_destroy_response(response);
    return result;
}

/* Called by the library: once for the header, for each part of the body, once
 * at its end, and once more after each time the request was parked. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd,
                                  const char *url, const char *method,
                                  const char *version, const char *data,
                                  size_t *size, void **con_cls)
{
    struct http_listener *l = cls;
    struct http_request *r = *con_cls;
    struct http_connection *k;

    (void)url;
    (void)version;
    (void)mhd;
    if (r == NULL || r->gone || r->context->closing)
        return MHD_NO;
    k = r->connection;
    if (r->held) {
        hold_on(k);
        return MHD_YES;
    }
    if (!r->begun) {
        set_deadline(k, k->server->body_ms);
        http_request_begin(r, method, l->bound.is_unix ? NULL : l->bound.host);
        /* A body that nobody wants to read is answered now, and the library
         * closes the connection; other refusals wait for the body's end. */
        if (r->response != NULL &&
            (r->status == 413 ||
             r->headers.content_lengths + r->headers.transfer_encodings > 1)) {
            http_header(r, "Connection", "close");
            return queue_answer(r);
        }
        return MHD_YES;
    }
    if (*size > 0) {
        l->moved = true;
        http_request_body(r, data, *size);
        *size = 0;
        return r->body_seen <= HTTP_SWALLOW_MAX ? MHD_YES : MHD_NO;
    }
    if (r->response == NULL) {
        k->deadline_ms = 0;
        if (r->again != NULL)
            r->again(r);
        else
            dispatch(r);
    }
    if (r->response != NULL)
        return queue_answer(r);
    CHECK(r->parked); /* else the library would ask again for ever */
    return MHD_YES;
}

static void *on_uri(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_connection *k = info != NULL ? info->socket_context : NULL;
    uint64_t now;

    (void)cls;
    if (k == NULL || http_request_start(&k->request, uri) != 0)
        return NULL;
    /* The pause between requests was long; the rest of a header may not be. */
    now = uv_now(k->server->context.loop);
    if (k->deadline_ms == 0 || k->deadline_ms > now + k->server->header_ms)
        set_deadline(k, k->server->header_ms);
    return &k->request;
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **con_cls,
                         enum MHD_RequestTerminationCode why)
{
    struct http_request *r = *con_cls;
    struct http_connection *k;

    (void)cls;
    (void)mhd;
    (void)why;
    if (r == NULL)
        return;
    k = r->connection;
    if (r->held) /* the client broke off */
        let_go(k);
    if (r->parked) { /* the server closes */
        r->parked = false;
        if (r->watched)
            activate(k);
    }
    http_request_reset(r);
    set_first(k, false);
    set_deadline(k, k->server->idle_ms);
    *con_cls = NULL;
}

/* ---- one connection ---- */

static bool peer_is_owner(int fd)
{
    struct ucred peer = {0};
    socklen_t size = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return false;
    return peer.uid == 0 || peer.uid == geteuid();
}

static struct http_connection *connection_new(struct http_listener *l,
                                              struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct http_connection *k = info != NULL ? cm_calloc(1, sizeof(*k)) : NULL;

    if (k == NULL)
        return NULL;
    k->server = l->server;
    k->listener = l;
    k->fd = info->connect_fd;
    k->request.context = &l->server->context;
    k->request.mhd = mhd;
    k->request.connection = k;
    k->request.local = l->bound.is_unix && peer_is_owner(k->fd);
    l->server->context.counters.connections++;
    l->server->context.counters.connections_total++;
    set_deadline(k, l->server->header_ms);
    activate(k);
    return k;
}

static void on_connection(void *cls, struct MHD_Connection *mhd,
                          void **socket_context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct http_listener *l = cls;
    struct http_connection *k;

    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        *socket_context = connection_new(l, mhd);
        return;
    }
    k = *socket_context;
    *socket_context = NULL;
    l->dirty = true; /* accepting may have to start again */
    if (k == NULL)
        return;
    /* A request line without the rest has no completion. */
    if (k->request.uri != NULL) {
        if (k->request.held)
            let_go(k);
        k->request.parked = false;
        http_request_reset(&k->request);
    }
    CHECK(l->server->context.counters.connections > 0);
    l->server->context.counters.connections--;
    deactivate(k);
    cm_free(k);
}

/* ---- the server ---- */

static void on_commit(void *ctx, uint64_t revision)
{
    struct http_server *s = ctx;

    http_block_on_commit(&s->context.block, revision);
}

int http_server_create(struct http_server **ret, uv_loop_t *loop,
                       struct node *node, struct cm_detail *detail)
{
    struct http_server *s = cm_calloc(1, sizeof(*s));
    struct store_reader *reader;

    CHECK(ret != NULL && loop != NULL && node != NULL);
    if (s == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "no memory for the API server");
    s->header_ms = HTTP_HEADER_DEADLINE_MS;
    s->body_ms = HTTP_BODY_DEADLINE_MS;
    s->idle_ms = HTTP_IDLE_DEADLINE_MS;
    http_context_init(&s->context, loop, node);
    reader = http_context_reader(&s->context);
    s->leavers = epoll_create1(EPOLL_CLOEXEC);
    if (s->leavers < 0 ||
        http_block_init(&s->context.block, &s->context,
                        reader != NULL ? store_revision(reader) : 0) != 0) {
        if (s->leavers >= 0)
            (void)close(s->leavers);
        http_context_release(&s->context);
        cm_free(s);
        return cm_fail(detail, CM_ERR_IO,
                       "cannot create the API server: %s; raise the limit of "
                       "open files or free memory",
                       strerror(errno));
    }
    http_context_drop_reader(&s->context);
    (void)uv_poll_init(loop, &s->leavers_poll, s->leavers);
    (void)uv_timer_init(loop, &s->sweep);
    (void)uv_prepare_init(loop, &s->prepare);
    s->leavers_poll.data = s->sweep.data = s->prepare.data = s;
    (void)uv_poll_start(&s->leavers_poll, UV_READABLE, on_leavers);
    (void)uv_prepare_start(&s->prepare, on_prepare);
    node_set_commit_listener(node, on_commit, s);
    *ret = s;
    return 0;
}

void http_server_set_deadlines(struct http_server *s, uint64_t header_ms,
                               uint64_t body_ms, uint64_t idle_ms)
{
    CHECK(s->listeners_count == 0);
    if (header_ms > 0)
        s->header_ms = header_ms;
    if (body_ms > 0)
        s->body_ms = body_ms;
    if (idle_ms > 0)
        s->idle_ms = idle_ms;
}

/* Connections must not use up the descriptors that the rest needs. */
static unsigned connections_max(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 ||
        limit.rlim_cur == RLIM_INFINITY ||
        limit.rlim_cur >= HTTP_CONNECTIONS_MAX + DESCRIPTORS_SPARED)
        return HTTP_CONNECTIONS_MAX;
    if (limit.rlim_cur <= 2 * DESCRIPTORS_SPARED)
        return DESCRIPTORS_SPARED;
    return (unsigned)limit.rlim_cur - DESCRIPTORS_SPARED;
}

static int daemon_start(struct http_listener *l, struct cm_detail *detail)
{
    const union MHD_DaemonInfo *info;

    l->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, l,
        MHD_OPTION_LISTEN_SOCKET, l->bound.fd, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, l, MHD_OPTION_NOTIFY_COMPLETED, on_completed, l,
        MHD_OPTION_URI_LOG_CALLBACK, on_uri, l,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_CONNECTION_MEMORY,
        MHD_OPTION_CONNECTION_LIMIT, connections_max(),
        MHD_OPTION_CONNECTION_TIMEOUT, idle_seconds(l->server, false),
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (l->daemon == NULL)
        return cm_fail(detail, CM_ERR_IO,
                       "libmicrohttpd does not start; raise the limit of open "
                       "files or free memory");
    info = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    CHECK(info != NULL);
    (void)uv_poll_init(l->server->context.loop, &l->poll, info->epoll_fd);
    (void)uv_timer_init(l->server->context.loop, &l->timer);
    l->poll.data = l->timer.data = l;
    (void)uv_poll_start(&l->poll, UV_READABLE, on_listener_poll);
    l->dirty = true;
    return 0;
}

int http_server_listen(struct http_server *s, const char *where,
                       struct cm_detail *detail)
{
    struct http_listener *l;
    int error;

    CHECK(s != NULL && where != NULL);
    if (s->listeners_count == HTTP_LISTENERS_MAX)
        return cm_fail(detail, CM_ERR_LIMIT,
                       "more than %d API addresses; leave some out",
                       HTTP_LISTENERS_MAX);
    l = cm_calloc(1, sizeof(*l));
    if (l == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "no memory for an API address");
    l->server = s;
    error = http_bind(&l->bound, where, detail);
    if (error == 0) {
        error = daemon_start(l, detail);
        if (error != 0) {
            http_unbind(&l->bound);
            (void)close(l->bound.fd);
        }
    }
    if (error != 0) {
        cm_free(l);
        return error;
    }
    s->listeners[s->listeners_count++] = l;
    return 0;
}

uint16_t http_server_port(const struct http_server *s, unsigned index)
{
    CHECK(index < s->listeners_count);
    return s->listeners[index]->bound.port;
}

/* ---- the end ---- */

static void on_handle_closed(uv_handle_t *h)
{
    struct http_server *s = h->data;

    CHECK(s->handles > 0);
    if (--s->handles > 0)
        return;
    for (unsigned i = 0; i < s->listeners_count; i++)
        cm_free(s->listeners[i]);
    http_block_release(&s->context.block);
    http_context_release(&s->context);
    cm_free(s);
}

static void close_handle(struct http_server *s, void *handle)
{
    uv_handle_t *h = handle;

    h->data = s;
    s->handles++;
    uv_close(h, on_handle_closed);
}

/* The library refuses to stop while a connection is suspended, and resumes one
 * only when it runs once more. Then it also asks for whatever has come in the
 * meantime; by then `closing` is set, and nothing is parked any more. */
static void resume_all(struct http_server *s)
{
    struct http_block *b = &s->context.block;
    struct http_request *r;

    while (b->head != NULL) {
        r = (struct http_request *)((char *)b->head -
                                    offsetof(struct http_request, waiter));
        http_block_cancel(b, b->head);
        r->gone = true;
        if (r->parked)
            http_request_wake(r);
    }
    while (s->context.pendings != NULL) {
        r = s->context.pendings->request;
        http_pending_detach(r);
        r->gone = true;
        if (r->parked)
            http_request_wake(r);
    }
}

void http_server_free(struct http_server *s)
{
    struct http_listener *l;

    if (s == NULL)
        return;
    CHECK(!s->context.closing);
    node_set_commit_listener(s->context.node, NULL, NULL);
    resume_all(s);
    s->context.closing = true;
    for (unsigned i = 0; i < s->listeners_count; i++) {
        l = s->listeners[i];
        (void)uv_poll_stop(&l->poll); /* before its descriptor goes */
        (void)MHD_run(l->daemon);
        MHD_stop_daemon(l->daemon);
        http_unbind(&l->bound);
        close_handle(s, &l->poll);
        close_handle(s, &l->timer);
    }
    CHECK(s->active == NULL && s->context.counters.connections == 0);
    (void)uv_poll_stop(&s->leavers_poll);
    (void)close(s->leavers);
    close_handle(s, &s->leavers_poll);
    close_handle(s, &s->sweep);
    close_handle(s, &s->prepare);
    close_handle(s, &s->context.block.timer);
    close_handle(s, &s->context.block.idle);
}
