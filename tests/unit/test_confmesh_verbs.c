/* Goal: what node/confmesh.h promises of values that expire, of waiting for
 * events and of a transaction's checks. Method: one real node in a real
 * directory, threads that wait while another one writes or closes. */
#include "tests/unit/confmesh_dir.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "node/confmesh.h"

#define READY_MS 20000
#define MAP_SIZE (UINT64_C(64) << 20)

static struct confmesh *open_node(const char *const *revoke, size_t count)
{
    struct confmesh_options o = {.map_size = MAP_SIZE,
                                 .revoke_deletes = revoke,
                                 .revoke_deletes_count = count};
    struct confmesh *c = NULL;
    char data[96];
    char why[256];

    (void)snprintf(data, sizeof data, "%s/a", directory);
    o.data = data;
    if (confmesh_open(&c, &o, why, sizeof why) != 0)
        fail_msg("%s", why);
    assert_int_equal(confmesh_wait_ready(c, READY_MS), 0);
    return c;
}

static bool has(struct confmesh *c, const char *key)
{
    struct confmesh_read *r;
    const void *value;
    size_t size;
    int error;

    assert_int_equal(confmesh_read_begin(c, &r), 0);
    error = confmesh_get(r, key, &value, &size, NULL);
    confmesh_read_end(r);
    assert_true(error == 0 || error == CONFMESH_ERR_NOT_FOUND);
    return error == 0;
}

static uint64_t wall_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void a_value_expires(void **state)
{
    struct confmesh *c = open_node(NULL, 0);
    struct confmesh_watch *w;
    struct confmesh_change change;
    struct confmesh_txn *t;

    (void)state;
    assert_int_equal(confmesh_watch_open(c, "", UINT64_MAX, &w), 0);
    assert_int_equal(confmesh_txn_begin(c, &t), 0);
    confmesh_txn_put(t, "k", "v", 1, 0);
    confmesh_txn_expires_at(t, wall_ms() + 400);
    assert_int_equal(confmesh_txn_commit(t, NULL), 0);
    assert_true(has(c, "k"));
    assert_int_equal(confmesh_watch_next(w, READY_MS, &change), 0);
    assert_int_equal(change.kind, CONFMESH_PUT);
    assert_false(change.expired);
    assert_int_equal(confmesh_watch_next(w, READY_MS, &change), 0);
    assert_int_equal(change.kind, CONFMESH_DELETE);
    assert_true(change.expired);
    assert_false(has(c, "k"));
    assert_int_equal(confmesh_txn_begin(c, &t), 0);
    confmesh_txn_put(t, "k", "v", 1, 0);
    confmesh_txn_expires_at(t, UINT64_MAX);
    assert_true(confmesh_txn_commit(t, NULL) != 0);
    confmesh_watch_close(w);
    confmesh_close(c);
}

static void checks_and_trees(void **state)
{
    static const char *const prefixes[] = {"users/"};
    struct confmesh *c = open_node(prefixes, 1);
    struct confmesh_token token;
    struct confmesh_txn *t;

    (void)state;
    assert_int_equal(confmesh_put(c, "t/1", "v", 1, &token), 0);
    assert_int_equal(confmesh_put(c, "t/2", "v", 1, NULL), 0);
    assert_int_equal(confmesh_txn_begin(c, &t), 0);
    confmesh_txn_check_absent(t, "t/1");
    confmesh_txn_del_tree(t, "t/");
    assert_int_equal(confmesh_txn_commit(t, NULL), CONFMESH_ERR_CONDITION);
    assert_true(has(c, "t/1"));
    assert_int_equal(confmesh_txn_begin(c, &t), 0);
    confmesh_txn_check_version(t, "t/1", token.text);
    confmesh_txn_check_absent(t, "none");
    confmesh_txn_del_tree(t, "t/");
    assert_int_equal(confmesh_txn_commit(t, NULL), 0);
    assert_false(has(c, "t/1") || has(c, "t/2"));
    assert_int_equal(confmesh_put(c, "users/bob", "v", 1, NULL), 0);
    assert_int_equal(confmesh_del(c, "users/bob", NULL), 0);
    assert_int_equal(confmesh_put(c, "users/bob", "v", 1, NULL),
                     CONFMESH_ERR_REVOKED);
    confmesh_close(c);
}

struct waiter {
    struct confmesh *c;
    pthread_t thread;
    char token[56];
    int error;
};

static void *wait_main(void *arg)
{
    struct waiter *w = arg;

    w->error = confmesh_wait_here(w->c, w->token, 60000);
    return NULL;
}

static void start_waiting(struct waiter *w)
{
    struct confmesh_status s;

    assert_int_equal(pthread_create(&w->thread, NULL, wait_main, w), 0);
    do {
        assert_int_equal(confmesh_status(w->c, &s), 0);
    } while (s.awaits == 0);
}

/* The token of the event after the one that token names. */
static void next_token(char ret_text[56], const char *token)
{
    const char *colon = strchr(token, ':');

    assert_non_null(colon);
    (void)snprintf(ret_text, 56, "%.*s:%llu", (int)(colon - token), token,
                   strtoull(colon + 1, NULL, 10) + 1);
}

static void waiting_for_events(void **state)
{
    struct confmesh *c = open_node(NULL, 0);
    struct confmesh_token token;
    struct waiter w = {.c = c};
    char next[56];

    (void)state;
    assert_int_equal(confmesh_put(c, "k", "v", 1, &token), 0);
    assert_int_equal(confmesh_wait_here(c, token.text, 0), 0);
    assert_int_equal(confmesh_wait_members(c, token.text, "all", 1000), 0);
    assert_int_equal(confmesh_wait_members(c, token.text, "majority", 0), 0);
    assert_true(confmesh_wait_members(c, token.text, "2", 1000) != 0);
    assert_non_null(strstr(confmesh_error(), "roster"));
    assert_true(confmesh_wait_members(c, token.text, "some", 1000) != 0);
    assert_true(confmesh_wait_here(c, "zz", 1000) != 0);
    next_token(next, token.text);
    assert_int_equal(confmesh_wait_here(c, next, 20), CONFMESH_ERR_TIMEOUT);
    assert_non_null(strstr(confmesh_error(), "has not arrived"));
    assert_int_equal(confmesh_wait_members(c, next, "all", 20),
                     CONFMESH_ERR_TIMEOUT);
    assert_non_null(strstr(confmesh_error(), "alpha (alive)"));

    (void)snprintf(w.token, sizeof w.token, "%s", next);
    start_waiting(&w);
    assert_int_equal(confmesh_put(c, "k", "w", 1, &token), 0);
    assert_string_equal(token.text, next);
    assert_int_equal(pthread_join(w.thread, NULL), 0);
    assert_int_equal(w.error, 0);

    /* Closing ends a wait that has no end of its own yet. */
    next_token(w.token, token.text);
    start_waiting(&w);
    confmesh_close(c);
    assert_int_equal(pthread_join(w.thread, NULL), 0);
    assert_int_equal(w.error, CONFMESH_ERR_CLOSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_value_expires, setup, teardown),
        cmocka_unit_test_setup_teardown(checks_and_trees, setup, teardown),
        cmocka_unit_test_setup_teardown(waiting_for_events, setup, teardown),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
