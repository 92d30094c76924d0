/* One child at a time, two pipes, and poll with a deadline on both: neither a
 * command that does not read nor one that does not answer holds us. */
#include "node/object_exec.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/object_rate.h"
#include "node/object_retry.h"

#define LINE_MAX_BYTES 256
#define POLL_SLICE_MS 50 /* how late stopping is noticed */
#define END_WAIT_MS 200  /* after SIGTERM, before SIGKILL */
#define HELLO "hello 1\n"

extern char **environ;

struct object_exec {
    char *command;
    const atomic_bool *stopping;
    struct object_rate *rate;   /* of what is sent, or NULL */
    _Atomic uint64_t *sent;     /* of the body under way, or NULL */
    pid_t pid;                  /* -1: none runs */
    int to;                     /* its standard input */
    int from;                   /* its standard output */
    char ahead[LINE_MAX_BYTES]; /* read beyond the last line */
    size_t ahead_size;
};

/* One request and where its answer goes. */
struct exchange {
    const char *line; /* with its newline */
    struct slice body;
    struct buffer *to; /* NULL: a body is an error of the protocol */
    const char *what;  /* for errors */
};

int object_exec_open(struct object_exec **ret_exec, const char *command,
                     const atomic_bool *stopping, struct cm_detail *detail)
{
    size_t size = strlen(command);
    struct object_exec *e;

    CHECK(ret_exec != NULL && stopping != NULL);
    if (size == 0 || size > OBJECT_EXEC_COMMAND_MAX)
        return cm_fail(detail, CM_ERR_INVALID,
                       "exec: needs a command of at most %d bytes",
                       OBJECT_EXEC_COMMAND_MAX);
    e = cm_calloc(1, sizeof *e);
    if (e != NULL)
        e->command = cm_alloc(size + 1);
    if (e == NULL || e->command == NULL) {
        cm_free(e);
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    }
    memcpy(e->command, command, size + 1);
    e->stopping = stopping;
    e->pid = -1;
    e->to = -1;
    e->from = -1;
    *ret_exec = e;
    return 0;
}

void object_exec_limit(struct object_exec *e, struct object_rate *rate,
                       _Atomic uint64_t *sent)
{
    e->rate = rate;
    e->sent = sent;
}

/* ---- the child ---- */

/* Whether it has ended within ms. */
static bool reap(pid_t pid, int ms)
{
    for (; ms >= 0; ms -= 5) {
        pid_t got = waitpid(pid, NULL, WNOHANG);

        if (got == pid || (got < 0 && errno == ECHILD))
            return true;
        (void)nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    return false;
}

static void child_end(struct object_exec *e)
{
    if (e->to >= 0)
        (void)close(e->to);
    if (e->from >= 0)
        (void)close(e->from);
    e->to = e->from = -1;
    e->ahead_size = 0;
    if (e->pid < 0)
        return;
    /* Every request was answered or given up: nothing is lost by haste. */
    (void)kill(-e->pid, SIGTERM);
    if (!reap(e->pid, END_WAIT_MS)) {
        (void)kill(-e->pid, SIGKILL);
        (void)waitpid(e->pid, NULL, 0);
    } else {
        (void)kill(-e->pid, SIGKILL); /* what it left running */
    }
    e->pid = -1;
}

void object_exec_close(struct object_exec *e)
{
    if (e == NULL)
        return;
    child_end(e);
    cm_free(e->command);
    cm_free(e);
}

/* With default signals and a group of its own, so that a Ctrl-C at the
 * terminal reaches us alone and we can end all that it started. */
static int spawn(struct object_exec *e, int in, int out)
{
    char *const argv[] = {(char *)"sh", (char *)"-c", e->command, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t set;
    int error = posix_spawn_file_actions_init(&actions);

    if (error != 0)
        return error;
    error = posix_spawnattr_init(&attributes);
    if (error != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return error;
    }
    (void)sigemptyset(&set);
    (void)posix_spawnattr_setsigmask(&attributes, &set);
    (void)sigaddset(&set, SIGPIPE);
    (void)posix_spawnattr_setsigdefault(&attributes, &set);
    (void)posix_spawnattr_setpgroup(&attributes, 0);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK |
                                                    POSIX_SPAWN_SETSIGDEF |
                                                    POSIX_SPAWN_SETPGROUP);
    error = posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    if (error == 0)
        error = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    if (error == 0)
        error = posix_spawn(&e->pid, "/bin/sh", &actions, &attributes, argv,
                            environ);
    if (error != 0)
        e->pid = -1;
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return error;
}

static void close_pair(const int pair[2])
{
    (void)close(pair[0]);
    (void)close(pair[1]);
}

static int child_start(struct object_exec *e, struct cm_detail *detail)
{
    int in[2];
    int out[2];
    int error;

    CHECK(e->pid < 0 && e->to < 0 && e->from < 0);
    if (pipe2(in, O_CLOEXEC) != 0)
        return cm_fail(detail, CM_ERR_IO, "cannot make a pipe: %s",
                       strerror(errno));
    if (pipe2(out, O_CLOEXEC) != 0) {
        error = errno;
        close_pair(in);
        return cm_fail(detail, CM_ERR_IO, "cannot make a pipe: %s",
                       strerror(error));
    }
    error = spawn(e, in[0], out[1]);
    if (error != 0) {
        close_pair(in);
        close_pair(out);
        return cm_fail(detail, CM_ERR_IO, "cannot start /bin/sh: %s",
                       strerror(error));
    }
    (void)close(in[0]);
    (void)close(out[1]);
    e->to = in[1];
    e->from = out[0];
    (void)fcntl(e->to, F_SETFL, O_NONBLOCK);
    (void)fcntl(e->from, F_SETFL, O_NONBLOCK);
    return 0;
}

/* ---- bytes ---- */

/* Until fd is ready. CM_ERR_TIMEOUT, CM_ERR_CLOSED when stopping. */
static int wait_for(const struct object_exec *e, int fd, short events)
{
    int left = OBJECT_EXEC_IDLE_MS;

    while (left > 0) {
        int slice = left < POLL_SLICE_MS ? left : POLL_SLICE_MS;
        struct pollfd p = {.fd = fd, .events = events};
        int ready = poll(&p, 1, slice);

        if (ready > 0)
            return 0;
        if (ready < 0 && errno != EINTR)
            return CM_ERR_IO;
        if (atomic_load(e->stopping))
            return CM_ERR_CLOSED;
        left -= slice;
    }
    return CM_ERR_TIMEOUT;
}

/* sent, if it is not NULL, tells how far it is. */
static int send_all(struct object_exec *e, struct slice bytes,
                    _Atomic uint64_t *sent)
{
    size_t granted = 0;
    size_t size = bytes.size;

    while (bytes.size > 0) {
        ssize_t put;
        int error;

        if (granted == 0) {
            granted = object_rate_slice(e->rate, bytes.size);
            object_rate_wait(e->rate, granted, e->stopping);
        }
        put = write(e->to, bytes.data, granted);
        if (put > 0) {
            granted -= (size_t)put;
            bytes = slice_of(bytes.data + put, bytes.size - (size_t)put);
            if (sent != NULL)
                atomic_store(sent, size - bytes.size);
            continue;
        }
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0 && errno != EAGAIN)
            return CM_ERR_IO;
        error = wait_for(e, e->to, POLLOUT);
        if (error != 0)
            return error;
    }
    return 0;
}

/* At least one byte, at most size of them; CM_ERR_IO at the end. */
static int receive(struct object_exec *e, void *to, size_t size,
                   size_t *ret_got)
{
    for (;;) {
        ssize_t got = read(e->from, to, size);
        int error;

        if (got > 0) {
            *ret_got = (size_t)got;
            return 0;
        }
        if (got == 0)
            return CM_ERR_IO;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return CM_ERR_IO;
        error = wait_for(e, e->from, POLLIN);
        if (error != 0)
            return error;
    }
}

/* One line without its end; what came after it is kept. */
static int receive_line(struct object_exec *e, char ret_line[LINE_MAX_BYTES])
{
    for (;;) {
        char *end = memchr(e->ahead, '\n', e->ahead_size);
        size_t got = 0;
        int error;

        if (end != NULL) {
            size_t size = (size_t)(end - e->ahead);

            memcpy(ret_line, e->ahead, size);
            ret_line[size] = '\0';
            e->ahead_size -= size + 1;
            memmove(e->ahead, end + 1, e->ahead_size);
            return 0;
        }
        if (e->ahead_size == sizeof e->ahead)
            return CM_ERR_MALFORMED;
        error = receive(e, e->ahead + e->ahead_size,
                        sizeof e->ahead - e->ahead_size, &got);
        if (error != 0)
            return error;
        e->ahead_size += got;
    }
}

static int receive_body(struct object_exec *e, struct buffer *to, size_t size)
{
    size_t early = size < e->ahead_size ? size : e->ahead_size;

    buffer_append(to, e->ahead, early);
    e->ahead_size -= early;
    memmove(e->ahead, e->ahead + early, e->ahead_size);
    size -= early;
    while (size > 0 && to->error == 0) {
        size_t want = size < 65536 ? size : 65536;
        uint8_t *place = buffer_extend(to, want);
        size_t got = 0;
        int error;

        if (place == NULL)
            break;
        error = receive(e, place, want, &got);
        to->size -= want - got;
        if (error != 0)
            return error;
        size -= got;
    }
    return to->error;
}

/* ---- requests ---- */

static bool parse_size(size_t *ret_size, const char *text)
{
    size_t size = 0;
    size_t i;

    for (i = 0; text[i] >= '0' && text[i] <= '9' && i < 12; i++)
        size = size * 10 + (size_t)(text[i] - '0');
    if (i == 0 || text[i] != '\0')
        return false;
    *ret_size = size;
    return true;
}

/* A reply's text for a person: it comes from a stranger's program. */
static int told(const struct exchange *x, int code, const char *text,
                struct cm_detail *detail)
{
    char clean[129];
    size_t i;

    for (i = 0; i < sizeof clean - 1 && text[i] != '\0'; i++)
        clean[i] = text[i] >= ' ' && text[i] < 0x7f ? text[i] : '?';
    clean[i] = '\0';
    return cm_fail(detail, code, "cannot %.90s: the command says: %s", x->what,
                   clean);
}

/* ret_again: whether another attempt may help; the child is not in a known
 * state then. */
static int take_reply(struct object_exec *e, const struct exchange *x,
                      bool *ret_again, struct cm_detail *detail)
{
    char line[LINE_MAX_BYTES];
    size_t size = 0;
    int error = receive_line(e, line);

    if (error != 0)
        return error;
    if (strncmp(line, "ok ", 3) == 0 && parse_size(&size, line + 3)) {
        if (x->to == NULL)
            return size == 0 ? 0 : CM_ERR_MALFORMED;
        if (size > x->to->limit) {
            *ret_again = false;
            return cm_fail(detail, CM_ERR_TOO_LARGE,
                           "cannot %.90s: it has %zu bytes, the limit is %zu",
                           x->what, size, x->to->limit);
        }
        return receive_body(e, x->to, size);
    }
    *ret_again = false;
    if (strcmp(line, "absent") == 0)
        return cm_fail(detail, CM_ERR_NOT_FOUND, "cannot %.90s: it is absent",
                       x->what);
    if (strncmp(line, "error ", 6) == 0)
        return told(x, CM_ERR_IO, line + 6, detail);
    if (strncmp(line, "full ", 5) == 0)
        return told(x, CM_ERR_FULL, line + 5, detail);
    *ret_again = true;
    if (strncmp(line, "again ", 6) == 0)
        return told(x, CM_ERR_BUSY, line + 6, detail);
    return CM_ERR_MALFORMED;
}

static int attempt(struct object_exec *e, const struct exchange *x,
                   bool *ret_again, struct cm_detail *detail)
{
    static const struct exchange hello = {.line = HELLO, .what = "say hello"};
    int error = 0;

    *ret_again = true;
    if (x->to != NULL)
        buffer_clear(x->to);
    if (e->pid < 0) {
        error = child_start(e, detail);
        if (error == 0)
            error = send_all(e, slice_of_string(hello.line), NULL);
        if (error == 0)
            error = take_reply(e, &hello, ret_again, detail);
        if (error != 0)
            child_end(e); /* the next call begins with a new one */
    }
    if (error == 0)
        error = send_all(e, slice_of_string(x->line), NULL);
    if (error == 0)
        error = send_all(e, x->body, e->sent);
    if (error == 0)
        error = take_reply(e, x, ret_again, detail);
    return error;
}

static int explain(const struct exchange *x, int error,
                   const struct cm_detail *said, struct cm_detail *detail)
{
    const char *why = "it ended, or closed its output; run it by hand: "
                      "it has to answer \"hello 1\" by \"ok 0\"";

    if (said->text[0] != '\0') { /* in the command's own words */
        if (detail != NULL)
            *detail = *said;
        return error == CM_ERR_BUSY ? CM_ERR_IO : error;
    }
    if (error == CM_ERR_TIMEOUT)
        why = "it did not answer in time";
    else if (error == CM_ERR_MALFORMED)
        why = "it answered something else than the protocol says";
    else if (error == CM_ERR_CLOSED)
        why = "stopped";
    else if (error == CM_ERR_NOMEM)
        why = "out of memory";
    return cm_fail(detail, error == CM_ERR_NOMEM ? error : CM_ERR_IO,
                   "cannot %.90s by the command of exec: %s", x->what, why);
}

static int exchange(struct object_exec *e, const struct exchange *x,
                    struct cm_detail *detail)
{
    struct object_retry retry;

    object_retry_begin(&retry, e->stopping, OBJECT_EXEC_BUDGET_MS);
    for (;;) {
        struct cm_detail said = {""};
        bool again = true;
        int error = attempt(e, x, &again, &said);

        if (error == 0)
            return 0;
        /* After a whole reply it waits for the next request. */
        if (again ? error != CM_ERR_BUSY : error == CM_ERR_TOO_LARGE)
            child_end(e);
        if (error == CM_ERR_NOMEM || error == CM_ERR_CLOSED || !again ||
            !object_retry_wait(&retry, 0)) {
            if (x->to != NULL)
                buffer_clear(x->to);
            return explain(x, error, &said, detail);
        }
    }
}

int object_exec_put(struct object_exec *e, const char *name, struct slice bytes,
                    struct cm_detail *detail)
{
    char line[LINE_MAX_BYTES];
    struct exchange x = {.line = line, .body = bytes};
    char what[OBJECT_NAME_MAX + 8];

    CHECK(strlen(name) <= OBJECT_NAME_MAX);
    (void)snprintf(line, sizeof line, "put %.191s %zu\n", name, bytes.size);
    (void)snprintf(what, sizeof what, "put %.191s", name);
    x.what = what;
    return exchange(e, &x, detail);
}

int object_exec_get(struct object_exec *e, const char *name,
                    struct buffer *ret_bytes, struct cm_detail *detail)
{
    char line[LINE_MAX_BYTES];
    char what[OBJECT_NAME_MAX + 8];
    struct exchange x = {.line = line, .to = ret_bytes, .what = what};

    CHECK(ret_bytes != NULL && strlen(name) <= OBJECT_NAME_MAX);
    (void)snprintf(line, sizeof line, "get %.191s\n", name);
    (void)snprintf(what, sizeof what, "get %.191s", name);
    return exchange(e, &x, detail);
}

int object_exec_delete(struct object_exec *e, const char *name,
                       struct cm_detail *detail)
{
    char line[LINE_MAX_BYTES];
    char what[OBJECT_NAME_MAX + 12];
    struct exchange x = {.line = line, .what = what};
    int error;

    CHECK(strlen(name) <= OBJECT_NAME_MAX);
    (void)snprintf(line, sizeof line, "delete %.191s\n", name);
    (void)snprintf(what, sizeof what, "delete %.191s", name);
    error = exchange(e, &x, detail);
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

/* Names, one a line; a directory's ends in a slash. */
static int take_names(struct object_list *l, struct slice text)
{
    int error = 0;

    while (text.size > 0 && error == 0) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        size_t size = end != NULL ? (size_t)(end - text.data) : text.size;
        struct slice name = slice_of(text.data, size);
        bool directory = size > 0 && name.data[size - 1] == '/';

        size += end != NULL;
        text = slice_of(text.data + size, text.size - size);
        name.size -= directory;
        if (name.size > 0 && memchr(name.data, '/', name.size) == NULL)
            error = object_list_add(l, name, directory);
    }
    return error;
}

int object_exec_list(struct object_exec *e, const char *prefix,
                     struct object_list *ret_list, struct cm_detail *detail)
{
    char line[LINE_MAX_BYTES];
    char what[OBJECT_NAME_MAX + 12];
    struct object_list list = {0};
    struct buffer text;
    struct exchange x = {.line = line, .to = &text, .what = what};
    int error;

    CHECK(ret_list != NULL && strlen(prefix) <= OBJECT_NAME_MAX);
    buffer_init(&text, OBJECT_EXEC_LIST_MAX);
    (void)snprintf(line, sizeof line, "list %.191s\n",
                   prefix[0] != '\0' ? prefix : "/");
    (void)snprintf(what, sizeof what, "list '%.191s'", prefix);
    error = exchange(e, &x, detail);
    if (error == 0) {
        error = take_names(&list, buffer_slice(&text));
        (void)cm_fail(detail, error, "cannot %.90s: %s", what,
                      cm_strerror(error));
    } else if (error == CM_ERR_NOT_FOUND) {
        error = 0; /* an empty one */
    }
    buffer_release(&text);
    if (error != 0) {
        object_list_release(&list);
        return error;
    }
    object_list_sort(&list);
    *ret_list = list;
    return 0;
}
