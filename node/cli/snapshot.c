/* confmesh snapshot now: the node does it. What only reads a target is in
 * snapshot_read.c. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "crdt/base/check.h"
#include "node/cli/cli.h"
#include "node/paths.h"

#define SNAPSHOT_TIMEOUT_MS                                                    \
    (24 * 3600000)       /* a bound on bandwidth may be set                    \
                          */
#define NAP_NS 50000000L /* an end is noticed within it */
#define NAPS_OF_A_LOOK 10

/* The node's working directory is another one: make a path absolute. */
int cli_absolute_target(const struct cli *c, const char *field, const char *to,
                        char *ret, size_t room)
{
    struct cm_detail detail = {""};
    char path[PATHS_SIZE_MAX];
    bool file = strncmp(to, "file:", 5) == 0;
    if (to[0] == 0 || strcmp(to, "file:") == 0)
        return cli_usage_error(c, "%s is empty; give a directory", field);
    /* Another scheme is the node's to judge. */
    size_t scheme = strspn(to, "abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");
    if (!file && scheme > 0 && to[scheme] == ':') {
        int length = snprintf(ret, room, "%s", to);
        if (length < 0 || (size_t)length >= room)
            return cli_usage_error(c, "%s is longer than a target may be",
                                   field);
        return 0;
    }
    if (paths_absolute(path, file ? to + 5 : to, &detail) != 0)
        return cli_usage_error(c, "%s: %s", field, detail.text);
    (void)snprintf(ret, room, "file:%s", path);
    return 0;
}

static int64_t number_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

/* ---- progress ---- */

/* While one request waits for the snapshot, others ask how far it has come;
 * only a terminal is told. */
struct watch {
    struct cli cli;
    pthread_t thread;
    atomic_bool over;
    bool started;
    bool printed;
};

static void print_target(struct watch *w, const json_t *target)
{
    const char *phase = json_string_value(json_object_get(target, "phase"));
    int64_t total = number_of(target, "bytes_total");
    int64_t left_s = number_of(target, "left_ms") / 1000;
    if (phase == NULL || phase[0] == 0)
        return;
    w->printed = true;
    (void)fprintf(stderr, "\r\x1b[K%s", phase);
    if (total > 0)
        (void)fprintf(stderr, ": %" PRId64 " of %" PRId64 " bytes (%d %%)",
                      number_of(target, "bytes_done"), total,
                      (int)(100.0 * (double)number_of(target, "bytes_done") /
                            (double)total));
    if (left_s > 0)
        (void)fprintf(stderr, ", about %" PRId64 " s left", left_s);
    (void)fflush(stderr);
}

static void print_progress(struct watch *w)
{
    json_t *answer = NULL;
    struct cli *c = &w->cli;
    if (cli_get_json(c, "/v1/mesh/status", NULL, 0, &answer) != 0)
        return;
    const json_t *snapshot = json_object_get(answer, "snapshot");
    const json_t *targets = json_object_get(snapshot, "targets");
    print_target(w, json_object_get(snapshot, "elsewhere"));
    for (size_t i = 0; i < json_array_size(targets); i++)
        print_target(w, json_array_get(targets, i));
    json_decref(answer);
}

static void *watch_main(void *ctx)
{
    struct watch *w = ctx;
    int naps = 0;
    while (!atomic_load(&w->over)) {
        (void)nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
        if (++naps % NAPS_OF_A_LOOK == 0)
            print_progress(w);
    }
    return NULL;
}

static void watch_begin(struct watch *w, const struct cli *c)
{
    *w = (struct watch){.cli = *c};
    atomic_init(&w->over, false);
    if (!c->json && isatty(STDERR_FILENO))
        w->started = pthread_create(&w->thread, NULL, watch_main, w) == 0;
}

static void watch_end(struct watch *w)
{
    atomic_store(&w->over, true);
    if (w->started)
        (void)pthread_join(w->thread, NULL);
    if (w->printed)
        (void)fputs("\r\x1b[K", stderr);
}

int cli_verb_snapshot_now(struct cli *c)
{
    const char *to = cli_value(c, "to");
    char target[PATHS_SIZE_MAX + 8] = "";
    int code = to != NULL
                   ? cli_absolute_target(c, "--to", to, target, sizeof(target))
                   : 0;
    if (code != 0)
        return code;
    json_t *body = json_object();
    json_t *answer = NULL;
    CHECK(body != NULL);
    if (json_object_set_new(
            body, "to", to != NULL ? json_string(target) : json_null()) != 0)
        code = cli_usage_error(c, "--to is not valid UTF-8");
    struct watch watch;
    watch_begin(&watch, c);
    if (code == 0)
        code = cli_get_json(c, "/v1/mesh/snapshot", body, SNAPSHOT_TIMEOUT_MS,
                            &answer);
    watch_end(&watch);
    json_decref(body);
    if (code != 0)
        return code;
    const char *name = json_string_value(json_object_get(answer, "name"));
    if (c->json)
        cli_print_json(answer);
    else
        (void)printf(
            "snapshot %s: %" PRId64 " entries in %" PRId64 " chunks (%" PRId64
            " new), %" PRId64 " bytes (%" PRId64 " new), read back\n",
            name != NULL ? name : "", number_of(answer, "entries"),
            number_of(answer, "chunks"), number_of(answer, "chunks_new"),
            number_of(answer, "bytes"), number_of(answer, "bytes_new"));
    json_decref(answer);
    return CLI_DONE;
}
