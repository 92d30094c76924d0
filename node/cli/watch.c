/* confmesh watch: one line per change, as it happens.
 *
 * A node that restarts must not cost its watchers a change: the client keeps
 * the id of the last event that it has printed whole, and asks for what came
 * after it when it is back. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <string.h>

#include "crdt/base/check.h"
#include "node/cli/cli.h"
#include "node/cli/event_stream.h"

#define SILENCE_MS 60000 /* the node sends a comment every 15 s */
#define ERROR_BODY_MAX 4096
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 5000

static volatile sig_atomic_t stopped;

struct watch {
    const struct cli *c;
    struct client_endpoint endpoint;
    struct buffer target;
    struct event_stream events;
    uint64_t count_left; /* UINT64_MAX: no end */
    bool was_connected;
};

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

static void signals_take(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigemptyset(&action.sa_mask);
    /* No SA_RESTART: the wait has to end. */
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

static void print_string(const json_t *text)
{
    (void)fputc(' ', stdout);
    cli_print_escaped(
        stdout, slice_of(json_string_value(text), json_string_length(text)));
}

static int print_change_text(const json_t *change)
{
    const char *kind = json_string_value(json_object_get(change, "kind"));
    const json_t *key = json_object_get(change, "key");
    const json_t *element = json_object_get(change, "element");
    const char *value = json_string_value(json_object_get(change, "value"));
    if (kind == NULL || !json_is_string(key))
        return CM_ERR_MALFORMED;
    cli_print_escaped(stdout, slice_of_string(kind));
    print_string(key);
    if (json_is_string(element))
        print_string(element);
    if (strcmp(kind, "put") == 0 && value != NULL) {
        struct buffer bytes;
        buffer_init(&bytes, CLIENT_BODY_MAX);
        int error = cli_base64_decode(value, &bytes);
        (void)fputc(' ', stdout);
        cli_print_escaped(stdout, buffer_slice(&bytes));
        buffer_release(&bytes);
        if (error != 0)
            return error;
    }
    if (json_is_true(json_object_get(change, "revoked")))
        (void)fputs(" (revoked)", stdout);
    if (json_is_true(json_object_get(change, "expired")))
        (void)fputs(" (expired)", stdout);
    (void)fputc('\n', stdout);
    return 0;
}

/* The API's base64 becomes text where it is text, as everywhere. */
static int print_change_json(const json_t *change, const char *id,
                             const json_t *revision)
{
    json_t *line = json_copy((json_t *)(uintptr_t)change);
    const char *value = json_string_value(json_object_get(change, "value"));
    int error = 0;
    CHECK(line != NULL);
    if (value != NULL) {
        struct buffer bytes;
        buffer_init(&bytes, CLIENT_BODY_MAX);
        error = cli_base64_decode(value, &bytes);
        (void)json_object_del(line, "value");
        if (error == 0)
            cli_json_value(line, buffer_slice(&bytes));
        buffer_release(&bytes);
    }
    if (revision != NULL)
        (void)json_object_set(line, "revision", (json_t *)(uintptr_t)revision);
    (void)json_object_set_new(line, "id", json_string(id));
    if (error == 0)
        cli_print_json(line);
    json_decref(line);
    return error;
}

/* 0 to go on; CM_ERR_NOT_FOUND when enough was printed. */
static int print_changes(struct watch *w, const struct event_stream_event *e)
{
    json_t *data = json_loadb((const char *)e->data.data, e->data.size,
                              JSON_ALLOW_NUL, NULL);
    const json_t *list = json_object_get(data, "changes");
    const json_t *revision = json_object_get(data, "revision");
    int error = json_is_array(list) ? 0 : CM_ERR_MALFORMED;
    for (size_t i = 0; i < json_array_size(list) && error == 0; i++) {
        const json_t *change = json_array_get(list, i);
        error = w->c->json ? print_change_json(change, e->id, revision)
                           : print_change_text(change);
        (void)fflush(stdout);
        if (w->count_left != UINT64_MAX && --w->count_left == 0)
            error = CM_ERR_NOT_FOUND;
        if (ferror(stdout) != 0)
            error = CM_ERR_IO;
    }
    json_decref(data);
    return error;
}

static int on_event(struct watch *w, const struct event_stream_event *e)
{
    if (strcmp(e->name, "change") == 0)
        return print_changes(w, e);
    if (strcmp(e->name, "reset") == 0) {
        /* Changes were missed for good: a reader must start over. */
        (void)fputs(w->c->json ? "{\"kind\":\"reset\"}\n" : "reset\n", stdout);
        (void)fflush(stdout);
        cli_note("confmesh watch: the revision to resume from is not kept any "
                 "more; read everything again");
    }
    return 0;
}

/* Reads until the connection ends (CM_ERR_CLOSED and the like), enough was
 * printed (CM_ERR_NOT_FOUND) or a signal came. */
static int follow(struct watch *w, struct client_stream *s)
{
    struct event_stream_event e;
    int error = 0;
    while (error == 0 && !stopped) {
        error = event_stream_next(&w->events, &e);
        if (error == 0)
            error = on_event(w, &e);
        else if (error == CM_ERR_NOT_FOUND)
            error = client_stream_read(s, SILENCE_MS, &w->events.input, NULL);
        if (error == CM_ERR_BUSY)
            error = 0;
    }
    return error;
}

/* One connection. Exit code, or -1 to try again. */
static int connect_once(struct watch *w)
{
    struct client_stream *s = NULL;
    struct cm_detail detail = {""};
    struct client_request request = {
        .method = "GET",
        .target = (const char *)w->target.data,
        .headers = {{"Accept", "text/event-stream"}},
        .headers_count = 1,
    };
    if (w->events.id[0] != 0)
        request.headers[request.headers_count++] =
            (struct client_header){"Last-Event-ID", w->events.id};
    if (client_stream_open(&s, &w->endpoint, &request, &detail) != 0)
        return w->was_connected ? -1 : cli_failed(w->c, "%s", detail.text);
    int status = client_stream_response(s)->status;
    int code = -1;
    if (status != 200) {
        if (!w->was_connected || (status >= 400 && status < 500)) {
            struct client_response answer = *client_stream_response(s);
            buffer_init(&answer.body, ERROR_BODY_MAX);
            while (client_stream_read(s, 1000, &answer.body, NULL) == 0)
                continue;
            code = cli_refused(w->c, &answer);
            buffer_release(&answer.body);
        }
        client_stream_close(s);
        return code;
    }
    if (w->was_connected)
        cli_note("confmesh watch: connected again");
    w->was_connected = true;
    int error = follow(w, s);
    client_stream_close(s);
    event_stream_restart(&w->events);
    if (error == CM_ERR_NOT_FOUND)
        return CLI_DONE;
    if (ferror(stdout) != 0)
        return CLI_FAILED;
    if (error == CM_ERR_MALFORMED)
        return cli_failed(w->c, "the node's events have an unknown form");
    if (!stopped)
        cli_note("confmesh watch: the node is gone, trying again");
    return -1;
}

static int watch_run(struct watch *w)
{
    uint64_t backoff_ms = BACKOFF_FIRST_MS;
    for (;;) {
        char id_before[EVENT_STREAM_ID_MAX];
        memcpy(id_before, w->events.id, sizeof(id_before));
        int code = connect_once(w);
        if (stopped)
            return CLI_DONE;
        if (code >= 0)
            return code;
        if (strcmp(id_before, w->events.id) != 0)
            backoff_ms = BACKOFF_FIRST_MS;
        /* Jitter, so that a thousand watchers do not come back at once. */
        uint32_t jitter = randombytes_uniform((uint32_t)backoff_ms);
        (void)poll(NULL, 0, (int)(backoff_ms / 2 + jitter));
        if (stopped)
            return CLI_DONE;
        backoff_ms =
            backoff_ms * 2 < BACKOFF_MAX_MS ? backoff_ms * 2 : BACKOFF_MAX_MS;
    }
}

/* --from takes a revision, or the id that --json prints. */
static int target_make(struct watch *w, const char *prefix)
{
    const char *from = cli_value(w->c, "from");
    uint64_t revision;
    struct cm_detail detail = {""};
    buffer_append_string(&w->target, "/v1/watch?sets=1&prefix=");
    client_percent_encode(&w->target, slice_of_string(prefix), true);
    if (from != NULL && strchr(from, '-') != NULL &&
        strlen(from) < EVENT_STREAM_ID_MAX) {
        memcpy(w->events.id, from, strlen(from) + 1);
        memcpy(w->events.next_id, from, strlen(from) + 1);
    } else if (from != NULL) {
        if (args_number(&revision, from, INT64_MAX, "--from", &detail) != 0)
            return cli_usage_error(w->c, "%s", detail.text);
        buffer_printf(&w->target, "&revision=%" PRIu64, revision);
    }
    buffer_append_byte(&w->target, 0);
    if (w->target.error != 0)
        return cli_failed(w->c, "the request's path is too long");
    return 0;
}

int cli_verb_watch(struct cli *c)
{
    const char *prefix = c->words_count > 0 ? c->words[0] : "";
    const char *count = cli_value(c, "count");
    struct watch w = {.c = c, .count_left = UINT64_MAX};
    struct cm_detail detail = {""};
    int code = cli_check_prefix(c, prefix);
    if (code == 0)
        code = cli_endpoint(c, &w.endpoint);
    if (code != 0)
        return code;
    if (count != NULL && (args_number(&w.count_left, count, UINT32_MAX,
                                      "--count", &detail) != 0 ||
                          w.count_left == 0))
        return cli_usage_error(c, "--count needs a number of at least 1");
    buffer_init(&w.target, CLIENT_TARGET_MAX);
    event_stream_init(&w.events);
    code = target_make(&w, prefix);
    if (code == 0) {
        signals_take();
        code = watch_run(&w);
    }
    event_stream_release(&w.events);
    buffer_release(&w.target);
    return code;
}
