/* Goal: what node/confmesh.h promises to a program that has a node inside.
 * Method: real nodes in real directories, on loopback; threads that are in the
 * middle of a call while another one closes the node. */
#include "tests/unit/confmesh_dir.h"

#include <pthread.h>
#include <sched.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "node/confmesh.h"
#include "node/token.h"

#define READY_MS 20000
#define MAP_SIZE (UINT64_C(64) << 20)

/* ---- a thread that does not start ---- */

static atomic_int threads_until_failure; /* 0: all start */

/* Stands before libuv's: the library is linked statically. */
int uv_thread_create(uv_thread_t *thread, uv_thread_cb entry, void *arg)
{
    uv_thread_options_t options = {.flags = UV_THREAD_NO_FLAGS};

    if (atomic_load(&threads_until_failure) > 0 &&
        atomic_fetch_sub(&threads_until_failure, 1) == 1)
        return UV_EAGAIN;
    return uv_thread_create_ex(thread, &options, entry, arg);
}

static const char *path_of(const char *name)
{
    static char path[96];

    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static int open_with(struct confmesh **ret, const char *data, const char *join,
                     char why[256])
{
    struct confmesh_options o = {.data = data, .map_size = MAP_SIZE};

    o.join = join;
    o.name = join != NULL ? "beta" : NULL;
    return confmesh_open(ret, &o, why, 256);
}

static struct confmesh *open_node(void)
{
    struct confmesh *c = NULL;
    char why[256];

    if (open_with(&c, path_of("a"), NULL, why) != 0)
        fail_msg("%s", why);
    assert_string_equal(why, "");
    assert_int_equal(confmesh_wait_ready(c, READY_MS), 0);
    return c;
}

static void assert_told(const char *part)
{
    if (strstr(confmesh_error(), part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", confmesh_error(), part);
}

static void assert_value(struct confmesh *c, const char *key, const char *value)
{
    struct confmesh_read *r;
    const void *bytes;
    size_t size;

    assert_int_equal(confmesh_read_begin(c, &r), 0);
    if (value == NULL) {
        assert_int_equal(confmesh_get(r, key, &bytes, &size, NULL),
                         CONFMESH_ERR_NOT_FOUND);
    } else {
        assert_int_equal(confmesh_get(r, key, &bytes, &size, NULL), 0);
        assert_int_equal(size, strlen(value));
        assert_memory_equal(bytes, value, size);
    }
    confmesh_read_end(r);
}

/* ---- reading and writing ---- */

static void writes_are_read(void **state)
{
    struct confmesh *c = open_node();
    struct confmesh_token token;
    struct confmesh_status s;

    (void)state;
    assert_int_equal(confmesh_put(c, "k", "1", 1, &token), 0);
    assert_int_equal(strlen(token.text), 32 + 1 + 1);
    assert_value(c, "k", "1");
    assert_int_equal(confmesh_put(c, "empty", NULL, 0, NULL), 0);
    assert_value(c, "empty", "");
    assert_int_equal(confmesh_del(c, "k", &token), 0);
    assert_value(c, "k", NULL);
    assert_int_equal(confmesh_del(c, "never", &token), 0);
    assert_string_equal(token.text, "");
    assert_int_equal(confmesh_put(c, "r", "1", 1, NULL), 0);
    assert_int_equal(confmesh_revoke(c, "r", NULL), 0);
    assert_value(c, "r", NULL);
    assert_int_equal(confmesh_status(c, &s), 0);
    assert_string_equal(s.name, "alpha");
    assert_true(s.ready && s.members_alive == 1 && s.pending_events == 0);
    assert_int_equal(strlen(s.mesh), 32);
    assert_int_equal(strlen(s.digest), 64);
    assert_int_equal(strncmp(s.address, "127.0.0.1:", 10), 0);
    assert_true(s.revision > 0);
    confmesh_close(c);
    c = open_node(); /* and are there the next time */
    assert_value(c, "empty", "");
    confmesh_close(c);
    confmesh_close(NULL);
}

struct seen {
    char text[256];
    int stop_after;
};

static int see(void *ctx, const char *key, size_t key_size, const void *value,
               size_t value_size)
{
    struct seen *seen = ctx;
    size_t used = strlen(seen->text);

    (void)snprintf(seen->text + used, sizeof seen->text - used, "%.*s=%.*s ",
                   (int)key_size, key, (int)value_size,
                   value != NULL ? (const char *)value : "");
    return seen->stop_after > 0 && --seen->stop_after == 0 ? 77 : 0;
}

/* A view does not move, whatever is written beside it. */
static void a_view_stands_still(void **state)
{
    struct confmesh *c = open_node();
    struct confmesh_read *r;
    struct seen seen = {.stop_after = 0};
    const void *value;
    uint64_t flags = 1;
    size_t size;

    (void)state;
    assert_int_equal(confmesh_put(c, "v/a", "1", 1, NULL), 0);
    assert_int_equal(confmesh_put(c, "v/b", "2", 1, NULL), 0);
    assert_int_equal(confmesh_read_begin(c, &r), 0);
    assert_int_equal(confmesh_put(c, "v/a", "9", 1, NULL), 0);
    assert_int_equal(confmesh_put(c, "v/c", "9", 1, NULL), 0);
    assert_int_equal(confmesh_get(r, "v/a", &value, &size, &flags), 0);
    assert_memory_equal(value, "1", size);
    assert_int_equal(flags, 0);
    assert_int_equal(confmesh_list(r, "v/", see, &seen), 0);
    assert_string_equal(seen.text, "v/a=1 v/b=2 ");
    seen = (struct seen){.stop_after = 1};
    assert_int_equal(confmesh_list(r, "v/", see, &seen), 77);
    assert_string_equal(seen.text, "v/a=1 ");
    assert_true(confmesh_read_revision(r) > 0);
    confmesh_read_end(r);
    confmesh_read_end(NULL);
    assert_value(c, "v/a", "9");
    confmesh_close(c);
}

static void sets_hold_elements(void **state)
{
    struct confmesh *c = open_node();
    struct confmesh_read *r;
    struct seen seen = {.stop_after = 0};
    bool has;

    (void)state;
    assert_int_equal(confmesh_set_add(c, "s", "x", NULL), 0);
    assert_int_equal(confmesh_set_add(c, "s", "y", NULL), 0);
    assert_int_equal(confmesh_set_add(c, "s", "z", NULL), 0);
    assert_int_equal(confmesh_set_remove(c, "s", "y", NULL), 0);
    assert_int_equal(confmesh_set_revoke(c, "s", "z", NULL), 0);
    assert_int_equal(confmesh_read_begin(c, &r), 0);
    assert_int_equal(confmesh_set_members(r, "s", see, &seen), 0);
    assert_string_equal(seen.text, "x= ");
    assert_int_equal(confmesh_set_contains(r, "s", "x", &has), 0);
    assert_true(has);
    assert_int_equal(confmesh_set_contains(r, "s", "y", &has), 0);
    assert_false(has);
    confmesh_read_end(r);
    confmesh_close(c);
}

static int commit_if_version(struct confmesh *c, const char *key,
                             const char *value, const char *version,
                             struct confmesh_token *ret_token)
{
    struct confmesh_txn *t;

    assert_int_equal(confmesh_txn_begin(c, &t), 0);
    confmesh_txn_put(t, key, value, strlen(value), 0);
    if (version == NULL)
        confmesh_txn_if_absent(t);
    else
        confmesh_txn_if_version(t, version);
    return confmesh_txn_commit(t, ret_token);
}

static void compare_and_set(void **state)
{
    struct confmesh *c = open_node();
    struct confmesh_token first;
    struct confmesh_token second;

    (void)state;
    assert_int_equal(commit_if_version(c, "cas", "1", NULL, &first), 0);
    assert_int_equal(commit_if_version(c, "cas", "2", NULL, NULL),
                     CONFMESH_ERR_CONDITION);
    assert_int_equal(commit_if_version(c, "cas", "2", first.text, &second), 0);
    assert_int_equal(commit_if_version(c, "cas", "3", first.text, NULL),
                     CONFMESH_ERR_CONDITION);
    assert_value(c, "cas", "2");
    confmesh_close(c);
}

static void transactions_are_whole(void **state)
{
    struct confmesh *c = open_node();
    struct confmesh_token token;
    struct confmesh_txn *t;

    (void)state;
    assert_int_equal(confmesh_put(c, "t/old", "1", 1, NULL), 0);
    assert_int_equal(confmesh_txn_begin(c, &t), 0);
    confmesh_txn_put(t, "t/a", "1", 1, 5);
    confmesh_txn_set_add(t, "t/s", "e");
    confmesh_txn_del(t, "t/old");
    confmesh_txn_author(t, "me");
    assert_int_equal(confmesh_txn_commit(t, &token), 0);
    assert_value(c, "t/a", "1");
    assert_value(c, "t/old", NULL);
    /* One condition that fails takes everything with it. */
    assert_int_equal(confmesh_txn_begin(c, &t), 0);
    confmesh_txn_put(t, "t/b", "1", 1, 0);
    confmesh_txn_put(t, "t/a", "2", 1, 0);
    confmesh_txn_if_absent(t);
    assert_int_equal(confmesh_txn_commit(t, NULL), CONFMESH_ERR_CONDITION);
    assert_value(c, "t/b", NULL);
    assert_value(c, "t/a", "1");
    assert_int_equal(confmesh_txn_begin(c, &t), 0);
    confmesh_txn_put(t, "t/b", "1", 1, 0);
    confmesh_txn_abort(t);
    confmesh_txn_abort(NULL);
    assert_value(c, "t/b", NULL);
    confmesh_close(c);
}

/* ---- watching ---- */

static void assert_next(struct confmesh_watch *w, const char *key,
                        enum confmesh_change_kind kind, bool last,
                        uint64_t *ret_revision)
{
    struct confmesh_change change;

    assert_int_equal(confmesh_watch_next(w, READY_MS, &change), 0);
    assert_string_equal(change.key, key);
    assert_int_equal(change.kind, kind);
    assert_int_equal(change.last, last);
    *ret_revision = change.revision;
}

static void a_watch_resumes(void **state)
{
    struct confmesh *c = open_node();
    struct confmesh_change change;
    struct confmesh_watch *w;
    struct confmesh_txn *t;
    uint64_t first;
    uint64_t second;

    (void)state;
    assert_int_equal(confmesh_watch_open(c, "w/", UINT64_MAX, &w), 0);
    assert_int_equal(confmesh_watch_next(w, 10, &change), CONFMESH_ERR_TIMEOUT);
    assert_int_equal(confmesh_put(c, "w/1", "a", 1, NULL), 0);
    assert_int_equal(confmesh_put(c, "elsewhere", "a", 1, NULL), 0);
    assert_int_equal(confmesh_txn_begin(c, &t), 0);
    confmesh_txn_del(t, "w/1");
    confmesh_txn_set_add(t, "w/s", "e");
    assert_int_equal(confmesh_txn_commit(t, NULL), 0);
    assert_next(w, "w/1", CONFMESH_PUT, true, &first);
    confmesh_watch_close(w);
    confmesh_close(c);
    /* From where it was, in another life of the node. */
    c = open_node();
    assert_int_equal(confmesh_watch_open(c, "w/", first, &w), 0);
    assert_next(w, "w/1", CONFMESH_DELETE, false, &second);
    assert_next(w, "w/s", CONFMESH_ADD, true, &first);
    assert_true(first == second);
    assert_int_equal(confmesh_watch_next(w, 0, &change), CONFMESH_ERR_TIMEOUT);
    confmesh_watch_close(w);
    confmesh_watch_close(NULL);
    confmesh_close(c);
}

/* ---- what is refused, and how it is told ---- */

static void bad_input_is_told(void **state)
{
    struct confmesh *c = open_node();
    static char big[1000001];
    struct confmesh_watch *w;
    struct confmesh_txn *t;
    char key[600];
    char text[64];

    (void)state;
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    assert_true(confmesh_put(c, key, "1", 1, NULL) < 0);
    assert_told("key");
    assert_told("480");
    assert_true(confmesh_put(c, "", "1", 1, NULL) < 0);
    assert_told("key");
    assert_true(confmesh_put(c, "\xff", "1", 1, NULL) < 0);
    assert_told("UTF-8");
    assert_true(confmesh_put(c, "big", big, sizeof big, NULL) < 0);
    assert_told("value");
    assert_told("1000000");
    assert_true(confmesh_watch_open(c, key, 0, &w) < 0);
    assert_told("480");
    assert_true(commit_if_version(c, "x", "1", "no version", NULL) < 0);
    assert_told("version");
    assert_int_equal(confmesh_txn_begin(c, &t), 0);
    confmesh_txn_if_absent(t);
    assert_true(confmesh_txn_commit(t, NULL) < 0);
    assert_told("condition");
    assert_int_equal(confmesh_txn_begin(c, &t), 0);
    confmesh_txn_put(t, "x", "1", 1, 0);
    confmesh_txn_author(t, key);
    assert_true(confmesh_txn_commit(t, NULL) < 0);
    assert_told("author");
    assert_told("64");
    assert_true(confmesh_token_create(c, 0, 60000, text, sizeof text) < 0);
    assert_told("uses");
    assert_true(confmesh_token_create(c, 1, 1, text, sizeof text) < 0);
    assert_told("ttl");
    assert_true(confmesh_token_create(c, 1, 60000, text, sizeof text) < 0);
    assert_told("2048");
    assert_true(confmesh_snapshot(c, NULL) < 0);
    assert_told("target");
    assert_true(strlen(confmesh_strerror(CONFMESH_ERR_BUSY)) > 0);
    assert_value(c, "x", NULL);
    confmesh_close(c);
}

static void opening_is_refused(void **state)
{
    struct confmesh_options o = {.data = path_of("a"), .map_size = MAP_SIZE};
    struct confmesh *c = open_node();
    struct confmesh *other = NULL;
    char why[256];
    char small[8];

    (void)state;
    assert_int_equal(open_with(&other, path_of("a"), NULL, why),
                     CONFMESH_ERR_LOCKED);
    assert_non_null(strstr(why, path_of("a")));
    assert_null(other);
    confmesh_close(c);
    assert_true(open_with(&other, path_of("nothing"), NULL, why) < 0);
    assert_true(strlen(why) > 0);
    assert_true(open_with(&other, path_of("j"), "cm1-nonsense", why) < 0);
    assert_non_null(strstr(why, "token"));
    o.bind = "nowhere";
    o.data = path_of("a");
    assert_true(confmesh_open(&other, &o, small, sizeof small) < 0);
    assert_int_equal(strlen(small), sizeof small - 1);
    assert_told("HOST:PORT");
    o.bind = NULL;
    o.name = "other";
    o.data = path_of("a");
    assert_true(confmesh_open(&other, &o, NULL, 0) < 0);
    assert_told("alpha");
    confmesh_close(open_node()); /* nothing of that holds the directory */
}

/* The farthest of all times is far, not in the past. */
static void far_times_stay_far(void **state)
{
    struct confmesh_options o = {.map_size = MAP_SIZE,
                                 .snapshot_interval_ms = UINT64_MAX};
    struct confmesh_status status;
    char snapshots[96];
    const char *to = snapshots;
    char data[96];
    char text[TOKEN_TEXT_MAX];
    struct confmesh *c;
    struct token t;
    char why[256];

    (void)state;
    (void)snprintf(snapshots, sizeof snapshots, "%s", path_of("snapshots"));
    (void)snprintf(data, sizeof data, "%s", path_of("a"));
    o.data = data;
    o.snapshot_to = &to;
    o.snapshot_to_count = 1;
    assert_int_equal(confmesh_open(&c, &o, NULL, 0), 0);
    assert_int_equal(confmesh_wait_ready(c, UINT64_MAX), 0);
    assert_int_equal(confmesh_put(c, "k", "1", 1, NULL), 0);
    assert_int_equal(confmesh_status(c, &status), 0);
    assert_int_equal(confmesh_token_create(c, 1, 60000, text, sizeof text), 0);
    confmesh_close(c); /* and has taken no snapshot */
    assert_int_not_equal(access(snapshots, F_OK), 0);
    assert_int_equal(token_parse(&t, text, NULL), 0);
    t.expires_ms = UINT64_MAX;
    assert_int_equal(token_format(text, &t), 0);
    if (open_with(&c, path_of("b"), text, why) != 0)
        fail_msg("%s", why);
    confmesh_close(c);
}

/* Each of the threads in its turn does not start: an error, and nothing is
 * left behind, neither handles nor locks. */
static void threads_that_do_not_start(void **state)
{
    struct confmesh *c = NULL;
    char why[256];
    int nth = 0;
    int error;

    (void)state;
    do {
        nth++;
        assert_true(nth < 16);
        atomic_store(&threads_until_failure, nth);
        error = open_with(&c, path_of("a"), NULL, why);
        assert_true(error == 0 || strlen(why) > 0);
    } while (error != 0);
    assert_true(nth > 4); /* two lanes, the writer, the loop */
    atomic_store(&threads_until_failure, 0);
    confmesh_close(c);
}

/* ---- threads ---- */

struct log_seen {
    pthread_t thread; /* the opener's */
    atomic_int lines; /* from the network's thread */
};

static void on_log(void *ctx, char level, const char *text)
{
    struct log_seen *seen = ctx;

    (void)level;
    assert_non_null(text);
    if (pthread_equal(pthread_self(), seen->thread))
        return; /* the opener's, before there is a loop */
    atomic_fetch_add(&seen->lines, 1);
}

static int see_thread(void *ctx, const char *key, size_t key_size,
                      const void *value, size_t value_size)
{
    const pthread_t *mine = ctx;

    (void)key;
    (void)key_size;
    (void)value;
    (void)value_size;
    return pthread_equal(*mine, pthread_self()) ? 0 : 1;
}

/* Log lines come from the network's thread, visits from the caller's. */
static void callbacks_know_their_thread(void **state)
{
    struct log_seen seen = {.thread = pthread_self()};
    struct confmesh_options o = {
        .map_size = MAP_SIZE, .log = on_log, .log_ctx = &seen};
    struct confmesh_read *r;
    struct confmesh *c;
    char snapshots[96];
    const char *to = snapshots;
    char data[96];

    (void)state;
    (void)snprintf(snapshots, sizeof snapshots, "%s", path_of("snapshots"));
    (void)snprintf(data, sizeof data, "%s", path_of("a"));
    o.data = data;
    o.snapshot_to = &to;
    o.snapshot_to_count = 1;
    assert_int_equal(confmesh_open(&c, &o, NULL, 0), 0);
    assert_int_equal(confmesh_wait_ready(c, READY_MS), 0);
    assert_int_equal(confmesh_put(c, "k", "1", 1, NULL), 0);
    assert_int_equal(confmesh_read_begin(c, &r), 0);
    assert_int_equal(confmesh_list(r, "", see_thread, &seen.thread), 0);
    confmesh_read_end(r);
    assert_int_equal(confmesh_snapshot(c, NULL), 0);
    confmesh_close(c);
    assert_true(atomic_load(&seen.lines) > 0); /* the snapshot's, for one */
}

struct caller {
    pthread_t thread;
    struct confmesh *c;
    struct confmesh_watch *watch;
    atomic_bool begun;
    int error;
};

static void *watch_main(void *arg)
{
    struct caller *caller = arg;
    struct confmesh_change change;

    atomic_store(&caller->begun, true);
    caller->error = confmesh_watch_next(caller->watch, UINT64_MAX, &change);
    confmesh_watch_close(caller->watch);
    return NULL;
}

static void start(struct caller *caller, void *(*function)(void *))
{
    assert_int_equal(pthread_create(&caller->thread, NULL, function, caller),
                     0);
    while (!atomic_load(&caller->begun))
        (void)sched_yield();
}

/* Closing wakes who waits; a watch says so afterwards too. */
static void closing_ends_watches(void **state)
{
    struct confmesh_change change;
    struct confmesh_watch *late;
    int round;

    (void)state;
    for (round = 0; round < 10; round++) {
        struct caller callers[4];
        struct confmesh *c = open_node();
        size_t i;

        assert_int_equal(confmesh_watch_open(c, "", UINT64_MAX, &late), 0);
        for (i = 0; i < 4; i++) {
            callers[i] = (struct caller){.c = c};
            assert_int_equal(
                confmesh_watch_open(c, "w/", UINT64_MAX, &callers[i].watch), 0);
            start(&callers[i], watch_main);
        }
        confmesh_close(c);
        for (i = 0; i < 4; i++) {
            assert_int_equal(pthread_join(callers[i].thread, NULL), 0);
            assert_int_equal(callers[i].error, CONFMESH_ERR_CLOSED);
        }
        assert_int_equal(confmesh_watch_next(late, 1000, &change),
                         CONFMESH_ERR_CLOSED);
        confmesh_watch_close(late);
    }
}

static void *wait_main(void *arg)
{
    struct caller *caller = arg;

    atomic_store(&caller->begun, true);
    caller->error = confmesh_wait_ready(caller->c, UINT64_MAX);
    return NULL;
}

/* A joiner that nobody answers: waiting for it ends with its reason, or with
 * the node. */
static void a_joiner_without_sponsor(void **state)
{
    struct caller caller = {.c = NULL};
    struct confmesh_status status;
    struct confmesh_read *r;
    struct confmesh *c = open_node();
    char token[2048];
    char why[256];

    (void)state;
    assert_int_equal(confmesh_token_create(c, 1, 60000, token, sizeof token),
                     0);
    confmesh_close(c);
    assert_int_equal(open_with(&c, path_of("b"), token, why), 0);
    assert_int_equal(confmesh_wait_ready(c, 50), CONFMESH_ERR_TIMEOUT);
    assert_told("joining");
    assert_int_equal(confmesh_read_begin(c, &r), CONFMESH_ERR_NOT_READY);
    assert_int_equal(confmesh_put(c, "k", "1", 1, NULL),
                     CONFMESH_ERR_NOT_READY);
    assert_int_equal(confmesh_token_create(c, 1, 60000, token, sizeof token),
                     CONFMESH_ERR_NOT_READY);
    assert_int_equal(confmesh_status(c, &status), 0);
    assert_false(status.ready);
    caller.c = c;
    start(&caller, wait_main);
    /* It is inside once another call of its thread's kind was answered. */
    assert_int_equal(confmesh_wait_ready(c, 20), CONFMESH_ERR_TIMEOUT);
    confmesh_close(c);
    assert_int_equal(pthread_join(caller.thread, NULL), 0);
    assert_int_equal(caller.error, CONFMESH_ERR_CLOSED);
}

/* With a sponsor: what one writes the other reads, and the watch on the other
 * tells it. */
static void a_joiner_follows(void **state)
{
    struct confmesh *a = open_node();
    struct confmesh_watch *w;
    struct confmesh *b;
    uint64_t revision;
    char token[2048];
    char why[256];

    (void)state;
    assert_int_equal(confmesh_put(a, "before", "1", 1, NULL), 0);
    assert_int_equal(confmesh_token_create(a, 1, 60000, token, sizeof token),
                     0);
    assert_int_equal(open_with(&b, path_of("b"), token, why), 0);
    assert_int_equal(confmesh_wait_ready(b, READY_MS), 0);
    assert_value(b, "before", "1");
    assert_int_equal(confmesh_watch_open(b, "j/", UINT64_MAX, &w), 0);
    assert_int_equal(confmesh_put(a, "j/k", "2", 1, NULL), 0);
    assert_next(w, "j/k", CONFMESH_PUT, true, &revision);
    assert_value(b, "j/k", "2");
    confmesh_watch_close(w);
    confmesh_close(a);
    confmesh_close(b);
}

static void *write_main(void *arg)
{
    struct caller *caller = arg;
    char key[32];
    int i;

    atomic_store(&caller->begun, true);
    for (i = 0; i < 50; i++) {
        (void)snprintf(key, sizeof key, "m/%p/%d", (void *)caller, i);
        caller->error = confmesh_put(caller->c, key, "1", 1, NULL);
        if (caller->error != 0)
            break;
    }
    return NULL;
}

static int count_one(void *ctx, const char *key, size_t key_size,
                     const void *value, size_t value_size)
{
    int *count = ctx;

    (void)key;
    (void)key_size;
    (void)value;
    (void)value_size;
    (*count)++;
    return 0;
}

/* Threads that write at once: nothing lost. */
static void writers_beside_each_other(void **state)
{
    struct caller callers[4];
    struct confmesh *c = open_node();
    struct confmesh_read *r;
    struct confmesh_watch *w;
    struct confmesh_change change;
    uint64_t revision = 0;
    int changes = 0;
    size_t i;

    (void)state;
    assert_int_equal(confmesh_watch_open(c, "m/", UINT64_MAX, &w), 0);
    for (i = 0; i < 4; i++) {
        callers[i] = (struct caller){.c = c};
        start(&callers[i], write_main);
    }
    while (changes < 200) {
        assert_int_equal(confmesh_watch_next(w, READY_MS, &change), 0);
        assert_true(change.revision >= revision);
        revision = change.revision;
        changes++;
    }
    for (i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(callers[i].thread, NULL), 0);
        assert_int_equal(callers[i].error, 0);
    }
    changes = 0;
    assert_int_equal(confmesh_read_begin(c, &r), 0);
    assert_int_equal(confmesh_list(r, "m/", count_one, &changes), 0);
    assert_int_equal(changes, 200);
    confmesh_read_end(r);
    confmesh_watch_close(w);
    confmesh_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(writes_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_view_stands_still, setup, teardown),
        cmocka_unit_test_setup_teardown(sets_hold_elements, setup, teardown),
        cmocka_unit_test_setup_teardown(compare_and_set, setup, teardown),
        cmocka_unit_test_setup_teardown(transactions_are_whole, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_watch_resumes, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_input_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(opening_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(far_times_stay_far, setup, teardown),
        cmocka_unit_test_setup_teardown(threads_that_do_not_start, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(callbacks_know_their_thread, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(closing_ends_watches, setup, teardown),
        cmocka_unit_test_setup_teardown(a_joiner_without_sponsor, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_joiner_follows, setup, teardown),
        cmocka_unit_test_setup_teardown(writers_beside_each_other, setup,
                                        teardown),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
