/* Goal: what is handed to another thread comes back once, in order, and stays
 * bounded; stopping loses nothing. Method: the queues of node/uv_queue.h with a
 * loop that turns in the test's own thread; a real writer on a real store. */
#include "tests/unit/support.h"

#include <sched.h>
#include <stdatomic.h>

#include "node/store_txn.h"
#include "node/uv_queue.h"
#include "tests/unit/writer_fixture.h"

#define WORKS 500

static uv_loop_t loop;
static uv_async_t notify;
static int notified;

static void on_notify(uv_async_t *async)
{
    (void)async;
    notified++;
}

static void loop_begin(void)
{
    notified = 0;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_async_init(&loop, &notify, on_notify), 0);
}

static void loop_end(void)
{
    uv_close((uv_handle_t *)&notify, NULL);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* ---- the lane ---- */

struct job {
    struct work work;
    int steps; /* left */
    int number;
    uv_thread_t ran_in;
    atomic_bool *gate; /* waits for it */
};

static bool job_step(struct work *w)
{
    struct job *j = (struct job *)w;

    while (j->gate != NULL && !atomic_load(j->gate))
        (void)sched_yield();
    j->ran_in = uv_thread_self();
    return --j->steps > 0;
}

static struct job *job_new(int number, int steps)
{
    struct job *j = cm_calloc(1, sizeof *j);

    assert_non_null(j);
    j->work.step = job_step;
    j->number = number;
    j->steps = steps;
    return j;
}

static void works_come_back_in_order(void **state)
{
    uv_thread_t here = uv_thread_self();
    struct uv_lane lane;
    struct work *w;
    int taken = 0;
    int i;

    (void)state;
    loop_begin();
    assert_int_equal(uv_lane_init(&lane, &notify, true), 0);
    for (i = 0; i < WORKS; i++)
        uv_lane_submit(&lane, &job_new(i, 1 + i % 3)->work);
    while (taken < WORKS) {
        (void)uv_run(&loop, UV_RUN_ONCE);
        while ((w = uv_lane_take(&lane)) != NULL) {
            struct job *j = (struct job *)w;

            assert_int_equal(j->number, taken++);
            assert_int_equal(j->steps, 0);
            assert_false(uv_thread_equal(&j->ran_in, &here));
            cm_free(j);
        }
    }
    assert_true(notified > 0);
    uv_lane_stop(&lane);
    uv_lane_release(&lane);
    loop_end();
}

/* Works that wait when the lane is stopped are run to their end; what is
 * submitted after runs where it is. */
static void stopping_finishes_works(void **state)
{
    uv_thread_t here = uv_thread_self();
    atomic_bool gate = false;
    struct uv_lane lane;
    struct work *w;
    int taken = 0;
    int i;

    (void)state;
    loop_begin();
    assert_int_equal(uv_lane_init(&lane, &notify, true), 0);
    for (i = 0; i < 10; i++) {
        struct job *j = job_new(i, 2);

        j->gate = &gate;
        uv_lane_submit(&lane, &j->work);
    }
    assert_null(uv_lane_take(&lane)); /* the first is at the gate */
    atomic_store(&gate, true);
    uv_lane_stop(&lane);
    uv_lane_stop(&lane); /* does no harm */
    uv_lane_submit(&lane, &job_new(10, 3)->work);
    while ((w = uv_lane_take(&lane)) != NULL) {
        struct job *j = (struct job *)w;

        assert_int_equal(j->number, taken);
        assert_int_equal(j->steps, 0);
        assert_int_equal(!!uv_thread_equal(&j->ran_in, &here), taken == 10);
        cm_free(j);
        taken++;
    }
    assert_int_equal(taken, 11);
    uv_lane_release(&lane);
    loop_end();
}

/* ---- the writer ---- */

static struct intent *write_of(int number)
{
    struct intent *ret = intent_new(INTENT_LOCAL);
    struct local_op op = {.kind = OP_PUT};
    char key[32];

    assert_non_null(ret);
    (void)snprintf(key, sizeof key, "key-%d", number);
    op.key = slice_of_string(key);
    op.value = slice_of("v", 1);
    assert_int_equal(intent_add_op(ret, &op), 0);
    return ret;
}

/* Frees what has been committed; the number of intents, which are the ones
 * from number on. */
static int take_all(struct uv_writer *w, int number)
{
    struct commit_result *r;
    int count = 0;

    while ((r = uv_writer_take(w)) != NULL) {
        struct intent *i = r->intents;

        commit_result_free(r);
        while (i != NULL) {
            struct intent *next = i->next;
            char key[32];

            (void)snprintf(key, sizeof key, "key-%d", number + count);
            assert_true(slice_equal(i->ops[0].key, slice_of_string(key)));
            assert_int_equal(i->result, 0);
            assert_true(i->wrote);
            intent_free(i);
            count++;
            i = next;
        }
    }
    return count;
}

struct desk {
    struct fixture_mesh mesh;
    struct fixture_node *node;
    struct uv_writer writer;
};

static void desk_begin(struct desk *d)
{
    loop_begin();
    fixture_mesh_make(&d->mesh);
    d->node = fixture_add_node(&d->mesh, ROLE_WRITER, "", true);
    assert_int_equal(uv_writer_init(&d->writer, &notify), 0);
}

static void desk_start(struct desk *d)
{
    assert_int_equal(uv_writer_start(&d->writer, d->node->writer), 0);
    d->node->writer = NULL; /* taken */
}

static void desk_end(struct desk *d)
{
    uv_writer_release(&d->writer);
    fixture_mesh_release(&d->mesh);
    loop_end();
}

static void writes_come_back_in_order(void **state)
{
    struct desk d = {.node = NULL};
    struct intent *early;
    int submitted;
    int taken = 0;

    (void)state;
    desk_begin(&d);
    early = write_of(0);
    assert_int_equal(uv_writer_submit(&d.writer, early), CM_ERR_NOT_READY);
    intent_free(early);
    desk_start(&d);
    for (submitted = 0; submitted < WORKS; submitted++)
        assert_int_equal(uv_writer_submit(&d.writer, write_of(submitted)), 0);
    while (taken < WORKS) {
        (void)uv_run(&loop, UV_RUN_ONCE);
        taken += take_all(&d.writer, taken);
    }
    assert_int_equal(taken, WORKS);
    uv_writer_stop(&d.writer);
    early = write_of(0);
    assert_int_equal(uv_writer_submit(&d.writer, early), CM_ERR_NOT_READY);
    intent_free(early);
    desk_end(&d);
}

/* While the disk hangs the queue fills up to its bound; whoever comes then is
 * sent away, and stopping still commits what was taken. */
static void a_full_queue_refuses(void **state)
{
    struct desk d = {.node = NULL};
    struct intent *refused = NULL;
    struct store_txn hold;
    int submitted = 0;

    (void)state;
    desk_begin(&d);
    assert_int_equal(store_txn_begin(&hold, d.node->store, true, NULL), 0);
    desk_start(&d);
    while (refused == NULL) {
        struct intent *i = write_of(submitted);
        int error = uv_writer_submit(&d.writer, i);

        if (error == 0) {
            submitted++;
            continue;
        }
        assert_int_equal(error, CM_ERR_BUSY);
        refused = i;
    }
    /* The writer holds at most one batch beside the queue. */
    assert_in_range(submitted, INTENT_QUEUE_MAX,
                    INTENT_QUEUE_MAX + WRITER_BATCH_MAX);
    assert_int_equal(take_all(&d.writer, 0), 0);
    intent_free(refused);
    store_txn_abort(&hold);
    uv_writer_stop(&d.writer);
    assert_int_equal(take_all(&d.writer, 0), submitted);
    desk_end(&d);
}

/* The bytes of what waits are bounded too, and given back. */
static void large_writes_are_bounded(void **state)
{
    struct desk d = {.node = NULL};
    static uint8_t value[1000000];
    struct store_txn hold;
    int submitted = 0;
    int error = 0;

    (void)state;
    desk_begin(&d);
    assert_int_equal(store_txn_begin(&hold, d.node->store, true, NULL), 0);
    desk_start(&d);
    while (error == 0) {
        struct intent *i = write_of(submitted);
        struct local_op op = {.kind = OP_PUT, .key = slice_of("k", 1)};

        op.value = slice_of(value, sizeof value);
        assert_int_equal(intent_add_op(i, &op), 0);
        error = uv_writer_submit(&d.writer, i);
        if (error != 0)
            intent_free(i);
        else
            submitted++;
        assert_true(submitted < 1000);
    }
    assert_int_equal(error, CM_ERR_BUSY);
    assert_in_range(submitted, 50, 200);
    store_txn_abort(&hold);
    uv_writer_stop(&d.writer);
    assert_int_equal(d.writer.bytes, 0);
    assert_int_equal(d.writer.count, 0);
    assert_int_equal(take_all(&d.writer, 0), submitted);
    desk_end(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(works_come_back_in_order),
        cmocka_unit_test(stopping_finishes_works),
        cmocka_unit_test(writes_come_back_in_order),
        cmocka_unit_test(a_full_queue_refuses),
        cmocka_unit_test(large_writes_are_bounded),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
