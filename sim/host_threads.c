/* A host's writer and workers in virtual time: a batch is taken at one
 * instant, committed at a later one and heard of later still; works make one
 * step at a time. */
#include "crdt/base/check.h"
#include "sim/check.h"
#include "sim/host_internal.h"

#define GATHER_US 20 /* from the first intent to the batch */
#define STEP_US_MIN 20
#define STEP_US_MAX 200
#define NO_MEMORY_US 10000 /* the writer tries again after this */

/* A stopped process does nothing; e comes when it goes on. */
static bool is_held(struct sim_host *h, struct sim_event *e)
{
    if (h->place.sched->now_us >= h->hold_until_us)
        return false;
    sim_sched_at(h->place.sched, e, h->hold_until_us);
    return true;
}

void sim_host_set_gathering(struct sim_host *h)
{
    if (h->batch == NULL && !h->dying && h->queue != NULL &&
        h->gather.place == 0)
        sim_sched_after(h->place.sched, &h->gather, GATHER_US);
}

void sim_host_set_stepping(struct lane *l)
{
    struct sim_host *h = l->host;

    if (h->dying || l->first == NULL || l->event.place != 0)
        return;
    uint64_t delay = sim_fate_range(h->place.fate, SIM_FATE_WORK_TIME,
                                    (uint64_t)h->number << 8 | l->number,
                                    l->steps++, STEP_US_MIN, STEP_US_MAX);
    if (h->slow_us > 0)
        sim_fault_happened(h->place.faults, SIM_DEED_SLOW);
    delay += h->slow_us + l->waits_us;
    l->waits_us = 0;
    sim_sched_after(h->place.sched, &l->event, delay);
}

struct intent *sim_host_take_batch(struct sim_host *h)
{
    struct intent *first = h->queue;
    struct intent **last = &h->queue;
    size_t count = 0;

    while (*last != NULL && count < WRITER_BATCH_MAX) {
        h->queue_bytes -= intent_size(*last);
        last = &(*last)->next;
        count++;
    }
    CHECK(count <= h->queue_count);
    h->queue_count -= count;
    h->queue = *last;
    *last = NULL;
    if (h->queue == NULL)
        h->queue_last = &h->queue;
    return first;
}

static void on_gather(void *context)
{
    struct sim_host *h = context;

    if (is_held(h, &h->gather))
        return;
    CHECK(h->batch == NULL && h->queue != NULL);
    h->batch = sim_host_take_batch(h);
    uint64_t delay = sim_fate_range(h->place.fate, SIM_FATE_SYNC_TIME,
                                    h->number, h->batches++,
                                    h->place.sync_us_min, h->place.sync_us_max);
    if (h->slow_us > 0)
        sim_fault_happened(h->place.faults, SIM_DEED_SLOW);
    if (h->disk_slow_us > 0)
        sim_fault_happened(h->place.faults, SIM_DEED_DISK_SLOW);
    delay += h->slow_us + h->disk_slow_us;
    sim_sched_after(h->place.sched, &h->commit, delay);
}

/* NULL when memory is short; then nothing has happened. */
/* A lone node's own add of its next name is an event of the one before. */
static bool has_succeeded(const struct commit_result *r)
{
    for (const struct intent *i = r->intents; i != NULL; i = i->next)
        if (i->kind == INTENT_SUCCEED && i->result == 0)
            return true;
    return false;
}

struct commit_result *sim_host_commit_batch(struct sim_host *h)
{
    struct incarnation self;

    sim_host_enter(h);
    struct commit_result *r =
        writer_commit(h->writer, h->batch, sim_clock_wall_ms(&h->clock));
    sim_host_done(h);
    if (r == NULL)
        return NULL;
    h->batch = NULL;
    self = writer_incarnation(h->writer); /* the commit may have changed it */
    if (!has_succeeded(r))
        sim_check_on_identity(h->place.check, h->number, &self);
    sim_check_on_commit(h->place.check, h->number, r, sim_host_wall_ms(h));
    sim_check_on_identity(h->place.check, h->number, &self);
    sim_sched_note(h->place.sched, "commit", h->number, r->revision,
                   slice_of(r->digest.bytes, HASH_SIZE));
    return r;
}

static void on_commit(void *context)
{
    struct sim_host *h = context;

    if (is_held(h, &h->commit))
        return;
    CHECK(h->batch != NULL && h->result == NULL);
    h->result = sim_host_commit_batch(h);
    if (h->result == NULL) {
        sim_sched_after(h->place.sched, &h->commit, NO_MEMORY_US);
        return;
    }
    sim_sched_after(h->place.sched, &h->deliver, SIM_HOST_DELIVER_US);
    sim_host_set_gathering(h);
}

void sim_host_deliver_result(struct sim_host *h)
{
    struct commit_result *r = h->result;

    CHECK(r != NULL);
    h->result = NULL;
    sim_host_enter(h);
    node_on_commit(h->node, r);
    sim_host_settle(h);
}

static void on_deliver(void *context)
{
    struct sim_host *h = context;

    if (!is_held(h, &h->deliver))
        sim_host_deliver_result(h);
}

struct work *sim_host_pop_work(struct lane *l)
{
    struct work *w = l->first;

    l->first = w->next;
    if (l->first == NULL)
        l->last = &l->first;
    l->finished = false;
    return w;
}

static void on_step(void *context)
{
    struct lane *l = context;
    struct sim_host *h = l->host;

    CHECK(l->first != NULL);
    if (is_held(h, &l->event))
        return;
    sim_host_enter(h);
    if (!l->finished) {
        l->finished = !l->first->step(l->first);
        l->waits_us = sim_objects_take_wait_us(h->objects);
        sim_host_done(h);
    } else {
        struct work *w = sim_host_pop_work(l);
        node_on_work(h->node, w);
        sim_host_settle(h);
    }
    sim_host_set_stepping(l);
}

static void on_timer(void *context)
{
    struct sim_host *h = context;

    if (is_held(h, &h->timer))
        return;
    sim_host_enter(h);
    node_on_timer(h->node);
    sim_host_settle(h);
}

void sim_host_threads_init(struct sim_host *h)
{
    h->queue_last = &h->queue;
    sim_event_init(&h->timer, "timer", h->number, on_timer, h);
    sim_event_init(&h->gather, "gather", h->number, on_gather, h);
    sim_event_init(&h->commit, "sync", h->number, on_commit, h);
    sim_event_init(&h->deliver, "result", h->number, on_deliver, h);
    for (unsigned i = 0; i < WORK_LANES; i++) {
        struct lane *l = &h->lanes[i];
        l->last = &l->first;
        l->host = h;
        l->number = i;
        sim_event_init(&l->event, "work", h->number, on_step, l);
    }
}

void sim_host_threads_cancel(struct sim_host *h)
{
    struct sim_sched *s = h->place.sched;

    sim_sched_cancel(s, &h->timer);
    sim_sched_cancel(s, &h->gather);
    sim_sched_cancel(s, &h->commit);
    sim_sched_cancel(s, &h->deliver);
    for (unsigned i = 0; i < WORK_LANES; i++)
        sim_sched_cancel(s, &h->lanes[i].event);
}
