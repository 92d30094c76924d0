/* libconfmesh: life of an embedded node, and the way from any thread to the
 * loop's. Reads do not take that way: they go straight to the store. */
#include "node/confmesh.h"

#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "gossip/channel.h"
#include "node/confmesh_internal.h"
#include "node/confmesh_private.h"
#include "node/heal_facts.h"
#include "node/heal_start.h"
#include "node/paths.h"
#include "node/scratch.h"
#include "node/token.h"
#include "node/uv_slice.h"

#define FLOOR_INTERVAL_MS_DEFAULT 10000

_Static_assert(CONFMESH_ERR_NOT_FOUND == (int)CM_ERR_NOT_FOUND, "public");
_Static_assert(CONFMESH_ERR_EXISTS == (int)CM_ERR_EXISTS, "public");
_Static_assert(CONFMESH_ERR_CONDITION == (int)CM_ERR_CONDITION, "public");
_Static_assert(CONFMESH_ERR_REVOKED == (int)CM_ERR_REVOKED, "public");
_Static_assert(CONFMESH_ERR_FULL == (int)CM_ERR_FULL, "public");
_Static_assert(CONFMESH_ERR_LOCKED == (int)CM_ERR_LOCKED, "public");
_Static_assert(CONFMESH_ERR_BUSY == (int)CM_ERR_BUSY, "public");
_Static_assert(CONFMESH_ERR_CLOSED == (int)CM_ERR_CLOSED, "public");
_Static_assert(CONFMESH_ERR_TIMEOUT == (int)CM_ERR_TIMEOUT, "public");
_Static_assert(CONFMESH_ERR_NOT_READY == (int)CM_ERR_NOT_READY, "public");
_Static_assert(CONFMESH_ERR_RESET == (int)CM_ERR_NEEDS_CUT, "public");

static _Thread_local char last_error[512];

int confmesh_fail(int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(last_error, sizeof last_error, format, args);
    va_end(args);
    return error;
}

const char *confmesh_strerror(int error)
{
    return cm_strerror(error);
}

const char *confmesh_error(void)
{
    return last_error;
}

uint64_t confmesh_deadline(uint64_t timeout_ms)
{
    uint64_t now = uv_hrtime();

    return timeout_ms > (UINT64_MAX - now) / 1000000
               ? UINT64_MAX
               : now + timeout_ms * 1000000;
}

/* ---- who is inside ---- */

int confmesh_enter(struct confmesh *c)
{
    bool running;

    uv_mutex_lock(&c->mutex);
    running = c->running;
    c->users += running;
    uv_mutex_unlock(&c->mutex);
    return running ? 0
                   : confmesh_fail(CM_ERR_CLOSED, "the node has been closed");
}

/* With the mutex held. */
static void leave(struct confmesh *c)
{
    CHECK(c->users > 0);
    c->users--;
    if (c->users == 0)
        uv_cond_broadcast(&c->changed);
}

void confmesh_leave(struct confmesh *c)
{
    uv_mutex_lock(&c->mutex);
    leave(c);
    uv_mutex_unlock(&c->mutex);
}

/* ---- to the loop ---- */

struct call {
    struct call *next;
    confmesh_task task;
    void *ctx;
    int result;
    bool done;
};

static void on_calls(uv_async_t *async)
{
    struct confmesh *c = async->data;
    struct call *call;

    for (;;) {
        uv_mutex_lock(&c->mutex);
        call = c->calls;
        if (call != NULL)
            c->calls = call->next;
        uv_mutex_unlock(&c->mutex);
        if (call == NULL)
            break;
        call->result = call->task(call->ctx);
        uv_mutex_lock(&c->mutex);
        call->done = true;
        uv_cond_broadcast(&c->changed);
        uv_mutex_unlock(&c->mutex);
    }
}

int confmesh_on_loop(struct confmesh *c, confmesh_task task, void *ctx)
{
    struct call call = {.task = task, .ctx = ctx};
    struct call **at;

    uv_mutex_lock(&c->mutex);
    if (!c->running) {
        uv_mutex_unlock(&c->mutex);
        return confmesh_fail(CM_ERR_CLOSED, "the node has been closed");
    }
    for (at = &c->calls; *at != NULL; at = &(*at)->next)
        ;
    *at = &call;
    CHECK(uv_async_send(&c->async) == 0);
    c->users++;
    while (!call.done)
        uv_cond_wait(&c->changed, &c->mutex);
    leave(c);
    uv_mutex_unlock(&c->mutex);
    return call.result;
}

uv_loop_t *confmesh_loop(struct confmesh *c)
{
    return &c->loop;
}

struct node *confmesh_node(struct confmesh *c)
{
    return c->node;
}

void confmesh_set_closing(struct confmesh *c, void (*closing)(void *ctx),
                          void *ctx)
{
    c->closing = closing;
    c->closing_ctx = ctx;
}

void confmesh_set_failed(struct confmesh *c,
                         void (*failed)(void *ctx, const char *reason),
                         void *ctx)
{
    uv_mutex_lock(&c->mutex);
    c->failed = failed;
    c->failed_ctx = ctx;
    if (c->has_failed)
        failed(ctx, c->reason); /* it was too early to be told then */
    uv_mutex_unlock(&c->mutex);
}

struct address confmesh_address(const struct confmesh *c)
{
    return uv_ports_address(c->ports);
}

/* ---- what the loop publishes ---- */

/* After every iteration: what other threads may wait for. */
static void on_prepare(uv_prepare_t *prepare)
{
    struct confmesh *c = prepare->data;
    bool ready = node_is_ready(c->node);
    bool failed = node_has_failed(c->node);
    uint64_t revision = node_revision(c->node);
    const char *reason = node_not_ready_reason(c->node);

    uv_mutex_lock(&c->mutex);
    if (ready != c->ready || failed != c->has_failed ||
        revision != c->revision ||
        strncmp(reason, c->reason, sizeof c->reason - 1) != 0) {
        c->ready = ready;
        c->revision = revision;
        (void)snprintf(c->reason, sizeof c->reason, "%s", reason);
        if (failed && !c->has_failed && c->failed != NULL)
            c->failed(c->failed_ctx, c->reason);
        c->has_failed = failed;
        uv_cond_broadcast(&c->changed);
    }
    uv_mutex_unlock(&c->mutex);
}

static void loop_main(void *arg)
{
    struct confmesh *c = arg;

    uv_slice_shorten();
    (void)uv_run(&c->loop, UV_RUN_DEFAULT);
}

/* ---- opening ---- */

/* What can be told of the options alone, before anything is made. */
static int check_options(const struct confmesh_options *o,
                         struct cm_detail *detail)
{
    struct token token;
    int error = 0;

    if (o->name != NULL)
        error = certificate_check_name(o->name, detail);
    if (error == 0 && o->join != NULL)
        error = token_parse(&token, o->join, detail);
    return error;
}

/* A token for a directory that has joined long ago changes nothing; one of
 * another mesh is a mistake to be told, not to be passed over. */
static int check_mesh(struct store_reader *reader,
                      const struct confmesh_options *o,
                      struct cm_detail *detail)
{
    struct token token;
    struct slice bytes;
    uint8_t hash[32];
    int error = store_meta(reader, META_AUTHORITY, &bytes);

    if (error != 0 || bytes.size != 32 || o->join == NULL)
        return error == CM_ERR_NOT_FOUND ? 0 : error;
    error = token_parse(&token, o->join, detail);
    if (error != 0)
        return error;
    channel_authority_hash(hash, bytes.data);
    if (memcmp(hash, token.authority_hash, sizeof hash) == 0)
        return 0;
    return cm_fail(detail, CM_ERR_WRONG_MESH,
                   "%s: belongs to another mesh than the token; leave --join "
                   "away, or join with an empty directory",
                   o->data);
}

/* A joiner that was given no name takes the host's. */
static void host_name(char ret_name[NAME_SIZE_MAX + 1])
{
    char host[256] = "";
    size_t i;

    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0')
        (void)snprintf(host, sizeof host, "node");
    (void)snprintf(ret_name, NAME_SIZE_MAX + 1, "%.*s", NAME_SIZE_MAX, host);
    for (i = 0; ret_name[i] != '\0'; i++)
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                   "0123456789-_.",
                   ret_name[i]) == NULL)
            ret_name[i] = '-';
}

static int read_store(struct confmesh *c, const struct confmesh_options *o,
                      struct writer **ret_writer,
                      struct commit_result **ret_first,
                      struct cm_detail *detail)
{
    struct store_reader *reader;
    struct slice bytes;
    int error = store_open(&c->store, o->data, o->map_size, detail);

    if (error == 0)
        error = store_reader_begin(c->store, &reader);
    if (error != 0)
        return error;
    error = store_meta(reader, META_INCARNATION, &bytes);
    if (error == 0)
        error = check_mesh(reader, o, detail);
    store_reader_release(reader);
    if (error == CM_ERR_NOT_FOUND)
        return 0; /* a joiner, or nothing: node_create tells */
    if (error == 0)
        error = writer_open(ret_writer, c->store,
                            datadir_sign_secret_key(c->datadir), detail);
    if (error == 0 && o->format_level != 0)
        error = writer_limit_level(*ret_writer, o->format_level, detail);
    if (error == 0)
        error = writer_snapshot(*ret_writer, ret_first);
    return error;
}

static uint64_t floor_interval_ms(const struct confmesh_options *o)
{
    if (o->floor_interval_ms == UINT64_MAX)
        return 0;
    return o->floor_interval_ms > 0 ? o->floor_interval_ms
                                    : FLOOR_INTERVAL_MS_DEFAULT;
}

/* A store that cannot be read, or is not there any more, is set aside; the node
 * joins anew. Nothing is touched while a disk only refuses. */
static int open_anew(struct confmesh *c, const struct confmesh_options *o,
                     struct writer **ret_writer,
                     struct commit_result **ret_first, struct cm_detail *detail)
{
    char text[512] = "";
    struct cm_detail why = *detail;
    struct timespec now;
    int error;

    if (why.text[0] == '\0')
        (void)snprintf(why.text, sizeof why.text,
                       "%s/data.mdb is damaged or gone", o->data);
    writer_close(*ret_writer);
    *ret_writer = NULL;
    store_close(c->store);
    c->store = NULL;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    error = heal_recover(
        o->data, o->map_size,
        (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000,
        datadir_sign_public_key(c->datadir), slice_of(c->host, sizeof c->host),
        why.text, text, sizeof text, detail);
    if (error != 0)
        return error;
    if (o->log != NULL)
        o->log(o->log_ctx, 'E', text);
    return read_store(c, o, ret_writer, ret_first, detail);
}

/* The directory is this process's from here on. */
static int begin_life(struct confmesh *c, const struct confmesh_options *o,
                      struct cm_detail *detail)
{
    size_t size = strlen(o->data) + 1;

    c->data = cm_alloc(size);
    if (c->data == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    memcpy(c->data, o->data, size);
    return heal_start(o->data, o->map_size, detail);
}

static int open_store(struct confmesh *c, const struct confmesh_options *o,
                      struct writer **ret_writer,
                      struct commit_result **ret_first,
                      struct cm_detail *detail)
{
    int error = check_options(o, detail);

    *ret_writer = NULL;
    *ret_first = NULL;
    if (error == 0)
        error = datadir_open(&c->datadir, o->data, o->join != NULL, detail);
    if (error == 0)
        error = datadir_host(c->datadir, c->host, detail);
    if (error != 0)
        return error;
    scratch_sweep(o->data); /* what a merge or a drill was at */
    error = begin_life(c, o, detail);
    if (error == 0)
        error = read_store(c, o, ret_writer, ret_first, detail);
    if (error == CM_ERR_DAMAGED ||
        (error == 0 && *ret_writer == NULL && o->join == NULL &&
         heal_facts_exist(o->data)))
        error = open_anew(c, o, ret_writer, ret_first, detail);
    c->suspect = error == CM_ERR_DAMAGED;
    return error;
}

static int start_node(struct confmesh *c, const struct confmesh_options *o,
                      struct writer *writer, struct commit_result *first,
                      struct cm_detail *detail)
{
    struct node_config config = {
        .store = c->store,
        .spool_dir = o->data,
        .name = o->name,
        .join_token = first == NULL || !c->was_ready ? o->join : NULL,
        .renew_token = first != NULL && c->was_ready ? o->join : NULL,
        .introduction = first != NULL && c->was_ready ? o->join : NULL,
        .snapshot_to = o->snapshot_to,
        .snapshot_to_count = o->snapshot_to_count,
        .snapshot_interval_ms = o->snapshot_interval_ms,
        .snapshot_recipients = o->snapshot_recipients,
        .snapshot_recipients_count = o->snapshot_recipients_count,
        .snapshot_delta_ms = o->snapshot_delta_ms,
        .snapshot_drill_ms = o->snapshot_drill_ms,
        .snapshot_bandwidth = o->snapshot_bandwidth,
        .snapshot_hook = o->snapshot_hook,
        .floor_interval_ms = floor_interval_ms(o),
        .floor_keep_ms = o->floor_keep_ms,
        .revoke_deletes = o->revoke_deletes,
        .revoke_deletes_count = o->revoke_deletes_count,
        .format_level = o->format_level,
    };
    char name[NAME_SIZE_MAX + 1];
    char facts[PATHS_SIZE_MAX];
    int error;

    if (snprintf(facts, sizeof facts, "%s/" HEAL_FACTS_NAME, o->data) <
        (int)sizeof facts)
        config.facts_path = facts;
    config.scrub_interval_ms = o->scrub_interval_ms;
    if (o->name == NULL && first == NULL && o->join != NULL) {
        host_name(name);
        config.name = name;
    }
    config.address = uv_ports_address(c->ports);
    memcpy(config.host, c->host, sizeof config.host);
    memcpy(config.sign_secret_key, datadir_sign_secret_key(c->datadir), 64);
    if (writer != NULL) {
        error = uv_ports_start_writer(c->ports, writer);
        if (error != 0) {
            writer_close(writer);
            return cm_fail(detail, error, "the writer's thread did not start");
        }
    }
    error =
        node_create(&c->node, &config, uv_ports_ports(c->ports), first, detail);
    if (error == 0)
        uv_ports_attach(c->ports, c->node, c->store, config.sign_secret_key,
                        o->format_level);
    sodium_memzero(&config, sizeof config);
    return error;
}

static int init_loop(struct confmesh *c)
{
    if (uv_loop_init(&c->loop) != 0)
        return CM_ERR_NOMEM;
    c->has_loop = true;
    c->has_async = uv_async_init(&c->loop, &c->async, on_calls) == 0;
    c->has_prepare = uv_prepare_init(&c->loop, &c->prepare) == 0;
    if (!c->has_async || !c->has_prepare)
        return CM_ERR_NOMEM;
    c->async.data = c;
    c->prepare.data = c;
    return 0;
}

/* What an earlier start left: whether the replica is complete, and where peers
 * know it (so that it restarts there without any flag). */
static void read_past(struct confmesh *c, char bind[ADDRESS_TEXT_SIZE])
{
    struct store_reader *reader;
    struct slice bytes;

    (void)snprintf(bind, ADDRESS_TEXT_SIZE, "127.0.0.1:0");
    if (store_reader_begin(c->store, &reader) != 0)
        return; /* node_create will tell */
    c->was_ready = store_has_meta(reader, META_READY);
    if (store_meta(reader, META_BIND, &bytes) == 0 &&
        bytes.size < ADDRESS_TEXT_SIZE)
        (void)snprintf(bind, ADDRESS_TEXT_SIZE, "%.*s", (int)bytes.size,
                       (const char *)bytes.data);
    store_reader_release(reader);
}

static int open_all(struct confmesh *c, const struct confmesh_options *o,
                    struct cm_detail *detail)
{
    struct commit_result *first = NULL;
    struct writer *writer = NULL;
    char bind[ADDRESS_TEXT_SIZE];
    int error;

    if (sodium_init() < 0)
        return cm_fail(detail, CM_ERR_IO, "libsodium did not initialise");
    error = init_loop(c);
    if (error == 0)
        error = open_store(c, o, &writer, &first, detail);
    if (error == 0) {
        read_past(c, bind);
        error = uv_ports_create(&c->ports, &c->loop,
                                o->bind != NULL ? o->bind : bind, o->log,
                                o->log_ctx, detail);
    }
    if (error != 0) {
        writer_close(writer);
    } else {
        error = start_node(c, o, writer, first, detail);
    }
    if (first != NULL)
        commit_result_free(first);
    if (error == 0 && uv_prepare_start(&c->prepare, on_prepare) != 0)
        error = cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    return error;
}

/* Ends what open_all began, however far it came. On the loop's thread, or
 * before there is one. */
static void close_handles(struct confmesh *c)
{
    if (c->ports != NULL)
        uv_ports_stop(c->ports);
    if (c->has_async)
        uv_close((uv_handle_t *)&c->async, NULL);
    if (c->has_prepare)
        uv_close((uv_handle_t *)&c->prepare, NULL);
}

static void free_memory(struct confmesh *c)
{
    uv_cond_destroy(&c->changed);
    uv_mutex_destroy(&c->mutex);
    cm_free(c);
}

void confmesh_unwatch(struct confmesh *c)
{
    bool last;

    uv_mutex_lock(&c->mutex);
    CHECK(c->watches > 0);
    c->watches--;
    last = c->closed && c->watches == 0;
    uv_mutex_unlock(&c->mutex);
    if (last)
        free_memory(c);
}

static void release_all(struct confmesh *c)
{
    bool watched;

    if (c->node != NULL && node_has_failed(c->node))
        c->suspect = true;
    node_free(c->node);
    uv_ports_free(c->ports);
    store_close(c->store);
    if (c->data != NULL && !c->suspect)
        heal_end(c->data);
    cm_free(c->data);
    c->data = NULL;
    datadir_close(c->datadir);
    if (c->has_loop)
        CHECK(uv_loop_close(&c->loop) == 0);
    uv_mutex_lock(&c->mutex);
    c->closed = true;
    watched = c->watches > 0;
    uv_mutex_unlock(&c->mutex);
    if (!watched)
        free_memory(c);
}

int confmesh_open(struct confmesh **ret, const struct confmesh_options *options,
                  char *errmsg, size_t errmsg_size)
{
    struct confmesh *c = cm_calloc(1, sizeof *c);
    struct cm_detail detail = {""};
    int error;

    if (errmsg != NULL && errmsg_size > 0)
        errmsg[0] = '\0';
    if (c == NULL)
        return confmesh_fail(CM_ERR_NOMEM, "out of memory");
    CHECK(uv_mutex_init(&c->mutex) == 0 && uv_cond_init(&c->changed) == 0);
    error = open_all(c, options, &detail);
    if (error == 0) {
        c->running = true;
        if (uv_thread_create(&c->thread, loop_main, c) != 0) {
            c->running = false;
            error = cm_fail(&detail, CM_ERR_NOMEM, "no thread can be started");
        }
    }
    if (error != 0) {
        (void)confmesh_fail(error, "%s",
                            detail.text[0] != '\0' ? detail.text
                                                   : cm_strerror(error));
        if (errmsg != NULL && errmsg_size > 0)
            (void)snprintf(errmsg, errmsg_size, "%s", last_error);
        if (c->has_loop) {
            close_handles(c);
            (void)uv_run(&c->loop, UV_RUN_DEFAULT);
        }
        release_all(c);
        return error;
    }
    *ret = c;
    return 0;
}

static int close_on_loop(void *ctx)
{
    struct confmesh *c = ctx;

    /* Calls that are queued already still run; later ones are refused. */
    uv_mutex_lock(&c->mutex);
    c->running = false;
    uv_cond_broadcast(&c->changed);
    uv_mutex_unlock(&c->mutex);
    if (c->closing != NULL)
        c->closing(c->closing_ctx);
    node_leave(c->node);
    close_handles(c);
    return 0;
}

void confmesh_close(struct confmesh *c)
{
    if (c == NULL)
        return;
    CHECK(confmesh_on_loop(c, close_on_loop, c) == 0);
    CHECK(uv_thread_join(&c->thread) == 0);
    /* Whoever waited inside has been told, and leaves. */
    uv_mutex_lock(&c->mutex);
    while (c->users > 0)
        uv_cond_wait(&c->changed, &c->mutex);
    CHECK(c->reads == 0); /* a view reads memory that would go */
    uv_mutex_unlock(&c->mutex);
    release_all(c);
}

/* ---- waiting, status ---- */

int confmesh_wait_ready(struct confmesh *c, uint64_t timeout_ms)
{
    uint64_t deadline = confmesh_deadline(timeout_ms);
    int error = confmesh_enter(c);

    if (error != 0)
        return error;
    uv_mutex_lock(&c->mutex);
    while (!c->ready && !c->has_failed && c->running && error == 0) {
        uint64_t now = uv_hrtime();

        if (now >= deadline)
            error = CM_ERR_TIMEOUT;
        else
            (void)uv_cond_timedwait(&c->changed, &c->mutex, deadline - now);
    }
    if (c->ready)
        error = 0;
    else if (c->has_failed)
        error = CM_ERR_NOT_READY;
    else if (!c->running)
        error = CM_ERR_CLOSED;
    if (error != 0)
        (void)confmesh_fail(
            error, "%s", c->reason[0] != '\0' ? c->reason : cm_strerror(error));
    leave(c);
    uv_mutex_unlock(&c->mutex);
    return error;
}

struct status_call {
    struct confmesh *c;
    struct confmesh_status *status;
};

static int status_on_loop(void *ctx)
{
    struct status_call *call = ctx;
    struct confmesh_status *s = call->status;
    struct node_status n;

    node_status_read(call->c->node, &n);
    memset(s, 0, sizeof *s);
    (void)snprintf(s->name, sizeof s->name, "%s", n.name);
    mesh_id_format(s->mesh, &n.mesh);
    address_format(s->address, &n.address);
    hex_encode(s->digest, slice_of(n.digest.bytes, HASH_SIZE));
    s->ready = n.ready;
    s->revision = n.revision;
    s->members_alive = n.members_alive;
    s->members_in_sync = n.members_in_sync;
    s->pending_events = n.pending_events;
    s->awaits = n.awaits;
    return 0;
}

int confmesh_status(struct confmesh *c, struct confmesh_status *ret_status)
{
    struct status_call call = {.c = c, .status = ret_status};

    return confmesh_on_loop(c, status_on_loop, &call);
}
