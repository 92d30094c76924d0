#include "node/uv_queue.h"

#include <sys/resource.h>
#include <time.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/uv_slice.h"

#define BACKGROUND_NICE 10

/* ---- the writer ---- */

static uint64_t wall_ms(void)
{
    struct timespec now;

    CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* At most WRITER_BATCH_MAX from the front of the queue. */
static struct intent *take_batch(struct uv_writer *w)
{
    struct intent *batch = w->first;
    struct intent *last = batch;
    size_t taken = 1;

    CHECK(batch != NULL);
    w->bytes -= intent_size(last);
    while (last->next != NULL && taken < WRITER_BATCH_MAX) {
        last = last->next;
        w->bytes -= intent_size(last);
        taken++;
    }
    w->first = last->next;
    if (w->first == NULL)
        w->last = NULL;
    last->next = NULL;
    w->count -= taken;
    return batch;
}

/* The result's node is allocated before the commit, so that nothing that is on
 * disk can be left unsaid. */
static struct committed *commit(struct uv_writer *w, struct intent *batch)
{
    struct committed *c = NULL;

    while (c == NULL) {
        c = cm_calloc(1, sizeof *c);
        if (c == NULL)
            uv_sleep(10); /* memory is short: there is nothing else to do */
    }
    while (c->result == NULL) {
        c->result = writer_commit(w->writer, batch, wall_ms());
        if (c->result == NULL)
            uv_sleep(10);
    }
    return c;
}

/* With the mutex held. Nobody signals before the goal is reached. */
static void gather(struct uv_writer *w)
{
    while (w->count < w->goal && !w->stopping) {
        uint64_t now = uv_hrtime();

        if (now >= w->goal_end_ns)
            break;
        (void)uv_cond_timedwait(&w->wake, &w->mutex, w->goal_end_ns - now);
    }
    w->goal = 0;
}

/* With the mutex held, after a commit of count intents. */
static void gather_plan(struct uv_writer *w, size_t count, uint64_t waited_ns)
{
    size_t clients = count + w->count;

    CHECK(w->goal == 0);
    if (count < WRITER_GATHER_MIN || waited_ns < clients * WRITER_RETURN_NS)
        return;
    if (waited_ns > WRITER_GATHER_NS_MAX)
        waited_ns = WRITER_GATHER_NS_MAX;
    w->goal = clients < WRITER_BATCH_MAX ? clients : WRITER_BATCH_MAX;
    w->goal_end_ns = uv_hrtime() + waited_ns;
}

static uint64_t thread_cpu_ns(void)
{
    struct timespec used;

    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) == 0);
    return (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
}

static void writer_main(void *arg)
{
    struct uv_writer *w = arg;

    uv_slice_shorten();
    uv_mutex_lock(&w->mutex);
    for (;;) {
        struct intent *batch;
        struct committed *c;
        uint64_t begun_ns;
        uint64_t cpu_ns;
        uint64_t took_ns;
        size_t count;

        gather(w);
        while (w->first == NULL && !w->stopping)
            uv_cond_wait(&w->wake, &w->mutex);
        if (w->first == NULL)
            break;
        count = w->count;
        batch = take_batch(w);
        count -= w->count;
        uv_mutex_unlock(&w->mutex);
        begun_ns = uv_hrtime();
        cpu_ns = thread_cpu_ns();
        c = commit(w, batch);
        cpu_ns = thread_cpu_ns() - cpu_ns;
        took_ns = uv_hrtime() - begun_ns;
        uv_mutex_lock(&w->mutex);
        gather_plan(w, count, took_ns > cpu_ns ? took_ns - cpu_ns : 0);
        if (w->done_last != NULL)
            w->done_last->next = c;
        else
            w->done = c;
        w->done_last = c;
        (void)uv_async_send(w->notify);
    }
    uv_mutex_unlock(&w->mutex);
}

int uv_writer_init(struct uv_writer *w, uv_async_t *notify)
{
    *w = (struct uv_writer){.notify = notify};
    if (uv_mutex_init(&w->mutex) != 0)
        return CM_ERR_NOMEM;
    if (uv_cond_init(&w->wake) != 0) {
        uv_mutex_destroy(&w->mutex);
        return CM_ERR_NOMEM;
    }
    return 0;
}

int uv_writer_start(struct uv_writer *w, struct writer *writer)
{
    CHECK(!w->started);
    w->writer = writer;
    if (uv_thread_create(&w->thread, writer_main, w) != 0) {
        w->writer = NULL;
        return CM_ERR_NOMEM;
    }
    w->started = true;
    return 0;
}

int uv_writer_submit(struct uv_writer *w, struct intent *intent)
{
    size_t size = intent_size(intent);
    int error = 0;

    uv_mutex_lock(&w->mutex);
    if (!w->started || w->stopping) {
        error = CM_ERR_NOT_READY;
    } else if (w->count >= INTENT_QUEUE_MAX ||
               w->bytes + size > INTENT_QUEUE_BYTES_MAX) {
        error = CM_ERR_BUSY;
    } else {
        intent->next = NULL;
        if (w->last != NULL)
            w->last->next = intent;
        else
            w->first = intent;
        w->last = intent;
        w->count++;
        w->bytes += size;
        if (w->count >= w->goal)
            uv_cond_signal(&w->wake);
    }
    uv_mutex_unlock(&w->mutex);
    return error;
}

struct commit_result *uv_writer_take(struct uv_writer *w)
{
    struct commit_result *result = NULL;
    struct committed *c;

    uv_mutex_lock(&w->mutex);
    c = w->done;
    if (c != NULL) {
        w->done = c->next;
        if (w->done == NULL)
            w->done_last = NULL;
        result = c->result;
    }
    uv_mutex_unlock(&w->mutex);
    cm_free(c);
    return result;
}

void uv_writer_stop(struct uv_writer *w)
{
    uv_mutex_lock(&w->mutex);
    w->stopping = true;
    uv_cond_signal(&w->wake);
    uv_mutex_unlock(&w->mutex);
    if (w->started)
        CHECK(uv_thread_join(&w->thread) == 0);
    w->started = false;
}

void uv_writer_release(struct uv_writer *w)
{
    CHECK(!w->started && w->first == NULL && w->done == NULL);
    writer_close(w->writer);
    uv_cond_destroy(&w->wake);
    uv_mutex_destroy(&w->mutex);
}

/* ---- a lane ---- */

/* With the mutex held. */
static void lane_finish(struct uv_lane *l, struct work *w)
{
    w->next = NULL;
    if (l->done_last != NULL)
        l->done_last->next = w;
    else
        l->done = w;
    l->done_last = w;
    (void)uv_async_send(l->notify);
}

static void lane_main(void *arg)
{
    struct uv_lane *l = arg;

    if (l->prompt)
        uv_slice_shorten();
    uv_mutex_lock(&l->mutex);
    for (;;) {
        struct work *w;

        while (l->first == NULL && !l->stopping)
            uv_cond_wait(&l->wake, &l->mutex);
        w = l->first;
        if (w == NULL)
            break;
        l->first = w->next;
        if (l->first == NULL)
            l->last = NULL;
        l->running = w;
        if (l->stopping && w->stop != NULL)
            w->stop(w);
        uv_mutex_unlock(&l->mutex);
        /* Scans and uploads take what the writer and the loop leave, and in
         * turns as short as theirs: a turn that has begun is not taken away
         * from a thread by one that wakes up. */
        if (l->background && !l->lowered) {
            l->lowered = setpriority(PRIO_PROCESS, 0, BACKGROUND_NICE) == 0;
            uv_slice_shorten();
        }
        while (w->step(w))
            ;
        uv_mutex_lock(&l->mutex);
        l->running = NULL;
        lane_finish(l, w);
    }
    uv_mutex_unlock(&l->mutex);
}

int uv_lane_init(struct uv_lane *l, uv_async_t *notify, bool prompt)
{
    int error = uv_lane_init_later(l, notify);

    if (error != 0)
        return error;
    l->prompt = prompt;
    if (uv_thread_create(&l->thread, lane_main, l) != 0) {
        uv_cond_destroy(&l->wake);
        uv_mutex_destroy(&l->mutex);
        return CM_ERR_NOMEM;
    }
    l->started = true;
    return 0;
}

int uv_lane_init_later(struct uv_lane *l, uv_async_t *notify)
{
    *l = (struct uv_lane){.notify = notify};
    if (uv_mutex_init(&l->mutex) != 0)
        return CM_ERR_NOMEM;
    if (uv_cond_init(&l->wake) != 0) {
        uv_mutex_destroy(&l->mutex);
        return CM_ERR_NOMEM;
    }
    return 0;
}

void uv_lane_submit(struct uv_lane *l, struct work *w)
{
    w->next = NULL;
    uv_mutex_lock(&l->mutex);
    if (!l->started && !l->stopping)
        l->started = uv_thread_create(&l->thread, lane_main, l) == 0;
    if (l->stopping || !l->started) {
        /* There is no thread (any more): the work runs where it is. */
        uv_mutex_unlock(&l->mutex);
        if (w->stop != NULL)
            w->stop(w);
        while (w->step(w))
            ;
        uv_mutex_lock(&l->mutex);
        lane_finish(l, w);
        uv_mutex_unlock(&l->mutex);
        return;
    }
    if (l->last != NULL)
        l->last->next = w;
    else
        l->first = w;
    l->last = w;
    uv_cond_signal(&l->wake);
    uv_mutex_unlock(&l->mutex);
}

struct work *uv_lane_take(struct uv_lane *l)
{
    struct work *w;

    uv_mutex_lock(&l->mutex);
    w = l->done;
    if (w != NULL) {
        l->done = w->next;
        if (l->done == NULL)
            l->done_last = NULL;
        w->next = NULL;
    }
    uv_mutex_unlock(&l->mutex);
    return w;
}

void uv_lane_stop(struct uv_lane *l)
{
    bool started;

    uv_mutex_lock(&l->mutex);
    started = l->started;
    l->stopping = true;
    if (l->running != NULL && l->running->stop != NULL)
        l->running->stop(l->running);
    uv_cond_signal(&l->wake);
    uv_mutex_unlock(&l->mutex);
    if (started)
        CHECK(uv_thread_join(&l->thread) == 0);
    l->started = false;
}

void uv_lane_release(struct uv_lane *l)
{
    CHECK(!l->started && l->first == NULL && l->done == NULL);
    uv_cond_destroy(&l->wake);
    uv_mutex_destroy(&l->mutex);
}
