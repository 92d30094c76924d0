/* The daemon: the library's first user, plus HTTP on the library's loop. */
#include "node/daemon.h"

#include <errno.h>
#include <jansson.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "crdt/authority.h"
#include "crdt/base/check.h"
#include "node/confmesh_internal.h"
#include "node/daemon_dev.h"
#include "node/http_server.h"
#include "node/paths.h"

#define EXIT_FAILED 2
#define EXIT_USAGE 64
#define TABLE_SIZE_MIN (96 << 10) /* bytes */
#define WHERE_SIZE (PATHS_SIZE_MAX + 16)

struct daemon {
    const struct daemon_options *options;
    struct confmesh *mesh;
    struct http_server *http;
    char where[DAEMON_APIS_MAX + 1][WHERE_SIZE]; /* as served */
    size_t where_count;
    struct cm_detail detail;
    pthread_t main_thread;
    pthread_mutex_t mutex;
    struct cm_detail failure; /* why joining failed; guarded by the mutex */
};

/* ---- log ---- */

static void log_line(void *ctx, char level, const char *text)
{
    const struct daemon_options *o = ctx;
    struct timespec now;
    struct tm tm;
    char when[32];

    if (level == 'D' && getenv("CONFMESH_DEBUG") == NULL)
        return;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &tm);
    (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    if (o->json) {
        json_t *line = json_pack("{s:s, s:s%, s:s}", "time", when, "level",
                                 &level, (size_t)1, "text", text);
        char *dump = line != NULL ? json_dumps(line, JSON_COMPACT) : NULL;

        if (dump != NULL)
            fprintf(stderr, "%s\n", dump);
        free(dump);
        json_decref(line);
    } else {
        fprintf(stderr, "%s %c %s\n", when, level, text);
    }
}

static int fail(const char *format, const char *text)
{
    fprintf(stderr, "confmesh: ");
    fprintf(stderr, format, text);
    fprintf(stderr, "\n");
    return EXIT_FAILED;
}

/* ---- HTTP, on the loop ---- */

static int serve(struct daemon *d, const char *where, unsigned index)
{
    int error = http_server_listen(d->http, where, &d->detail);
    uint16_t port;

    if (error != 0)
        return error;
    port = http_server_port(d->http, index);
    if (port != 0) {
        const char *colon = strrchr(where, ':');
        int host = colon != NULL ? (int)(colon - where) : (int)strlen(where);

        (void)snprintf(d->where[d->where_count], WHERE_SIZE, "http://%.*s:%u",
                       host, where, (unsigned)port);
    } else {
        (void)snprintf(d->where[d->where_count], WHERE_SIZE, "%s", where);
    }
    d->where_count++;
    return 0;
}

static void stop_http(void *ctx)
{
    struct daemon *d = ctx;

    http_server_free(d->http);
    d->http = NULL;
}

static void on_failed(void *ctx, const char *reason)
{
    struct daemon *d = ctx;

    CHECK(pthread_mutex_lock(&d->mutex) == 0);
    (void)snprintf(d->failure.text, sizeof d->failure.text, "%s", reason);
    CHECK(pthread_mutex_unlock(&d->mutex) == 0);
    (void)pthread_kill(d->main_thread, SIGUSR1);
}

static int start_http(void *ctx)
{
    struct daemon *d = ctx;
    const struct daemon_options *o = d->options;
    char socket[PATHS_SIZE_MAX];
    char where[WHERE_SIZE];
    unsigned index = 0;
    size_t i;
    int error = http_server_create(&d->http, confmesh_loop(d->mesh),
                                   confmesh_node(d->mesh), &d->detail);

    confmesh_set_closing(d->mesh, stop_http, d);
    confmesh_set_failed(d->mesh, on_failed, d);
    if (error == 0)
        error = paths_data_socket(socket, o->data, &d->detail);
    if (error == 0) {
        (void)snprintf(where, sizeof where, "unix:%s", socket);
        error = serve(d, where, index++);
    }
    for (i = 0; i < o->apis_count && error == 0; i++)
        error = serve(d, o->apis[i], index++);
    return error;
}

/* ---- life ---- */

static void announce(const struct daemon *d)
{
    struct confmesh_status s;
    size_t i;

    if (confmesh_status(d->mesh, &s) != 0)
        return;
    if (d->options->json) {
        json_t *apis = json_array();
        json_t *line;
        char *dump;

        for (i = 0; i < d->where_count; i++)
            (void)json_array_append_new(apis, json_string(d->where[i]));
        line = json_pack("{s:s, s:s, s:o, s:s}", "name", s.name, "peers",
                         s.address, "api", apis, "data", d->options->data);
        dump = json_dumps(line, JSON_COMPACT);
        printf("%s\n", dump != NULL ? dump : "{}");
        free(dump);
        json_decref(line);
    } else {
        printf("confmesh %s: peers at %s", s.name, s.address);
        for (i = 0; i < d->where_count; i++)
            printf("%s %s", i == 0 ? "; API at" : ",", d->where[i]);
        printf("\n");
    }
    (void)fflush(stdout);
}

/* SIGINT, SIGTERM: an orderly end; SIGUSR1: joining failed for good. */
static int wait_for_end(struct daemon *d, const sigset_t *signals)
{
    int signal = 0;

    while (sigwait(signals, &signal) != 0)
        ;
    if (signal == SIGUSR1) {
        struct cm_detail failure;

        CHECK(pthread_mutex_lock(&d->mutex) == 0);
        failure = d->failure;
        CHECK(pthread_mutex_unlock(&d->mutex) == 0);
        return fail("%s", failure.text);
    }
    log_line((void *)d->options, 'I', "leaving the mesh and stopping");
    return 0;
}

/* As many descriptors as the host allows: watchers are connections. */
static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        fprintf(stderr, "confmesh: the limit of open files stays low: %s\n",
                strerror(errno));
}

/* Tables that are there for the worst case (events in flight, ranges that
 * differ) cost only what was touched, if each has pages of its own: malloc
 * clears what it takes from its heap, and would move this bound upwards by
 * itself. */
static void keep_tables_apart(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, TABLE_SIZE_MIN);
}

static int run(const struct daemon_options *o, const sigset_t *signals)
{
    struct daemon *d = calloc(1, sizeof *d);
    struct confmesh_options c = {
        .data = o->data,
        .bind = o->bind,
        .name = o->name,
        .join = o->join,
        .snapshot_to = o->snapshot_to,
        .snapshot_to_count = o->snapshot_to_count,
        .snapshot_interval_ms = o->snapshot_interval_ms,
        .snapshot_recipients = o->snapshot_recipients,
        .snapshot_recipients_count = o->snapshot_recipients_count,
        .snapshot_delta_ms = o->snapshot_delta_ms,
        .snapshot_drill_ms = o->snapshot_drill_ms,
        .snapshot_bandwidth = o->snapshot_bandwidth,
        .snapshot_hook = o->snapshot_hook,
        .floor_interval_ms = o->floor_interval_ms,
        .floor_keep_ms = o->floor_keep_ms,
        .scrub_interval_ms = o->scrub_interval_ms,
        .format_level = o->format_level,
        .revoke_deletes = o->revoke_deletes,
        .revoke_deletes_count = o->revoke_deletes_count,
        .log = log_line,
        .log_ctx = (void *)o,
    };
    char errmsg[512];
    int code = 0;

    if (d == NULL)
        return fail("%s", "out of memory");
    d->options = o;
    d->main_thread = pthread_self();
    CHECK(pthread_mutex_init(&d->mutex, NULL) == 0);
    if (confmesh_open(&d->mesh, &c, errmsg, sizeof errmsg) != 0) {
        (void)pthread_mutex_destroy(&d->mutex);
        free(d);
        return fail("%s", errmsg);
    }
    if (confmesh_on_loop(d->mesh, start_http, d) != 0)
        code = fail("%s", d->detail.text);
    if (code == 0) {
        announce(d);
        code = wait_for_end(d, signals);
    }
    confmesh_close(d->mesh);
    (void)pthread_mutex_destroy(&d->mutex);
    free(d);
    return code;
}

int daemon_run(const struct daemon_options *o)
{
    struct daemon_options options = *o;
    struct daemon_dev *dev = NULL;
    struct cm_detail detail = {""};
    sigset_t signals;
    int code;

    if (o->data == NULL && !o->dev)
        return EXIT_USAGE;
    /* Before any thread is started, so that all of them inherit the mask. */
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGUSR1);
    CHECK(pthread_sigmask(SIG_BLOCK, &signals, NULL) == 0);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)umask(077);
    raise_descriptors();
    keep_tables_apart();
    if (sodium_init() < 0)
        return fail("%s", "libsodium did not initialise");
    if (o->dev) {
        if (daemon_dev_begin(&dev, &options, &detail) != 0)
            return fail("%s", detail.text);
        fprintf(stderr, "confmesh: throwaway node in %s, deleted at the end\n",
                options.data);
    }
    code = run(&options, &signals);
    daemon_dev_end(dev);
    return code;
}
