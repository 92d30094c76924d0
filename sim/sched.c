/* The event heap on virtual time: see sched.h. */
#include "sim/sched.h"

#include "crdt/base/check.h"
#include "sim/memory.h"

void sim_sched_init(struct sim_sched *s)
{
    CHECK(s != NULL);
    *s = (struct sim_sched){.count = 0};
    sim_trace_init(&s->trace);
}

void sim_sched_release(struct sim_sched *s)
{
    for (size_t i = 0; i < s->count; i++)
        s->heap[i].event->place = 0;
    sim_free(s->heap);
    sim_trace_release(&s->trace);
    *s = (struct sim_sched){.count = 0};
}

void sim_event_init(struct sim_event *e, const char *kind, unsigned node,
                    sim_event_run run, void *context)
{
    CHECK(kind != NULL && run != NULL);
    *e = (struct sim_event){
        .kind = kind, .node = node, .run = run, .context = context};
}

#define FAN_OUT 4 /* children of each place in the heap */

static bool slot_before(const struct sim_sched_slot *a,
                        const struct sim_sched_slot *b)
{
    if (a->at_us != b->at_us)
        return a->at_us < b->at_us;
    return a->sequence < b->sequence;
}

static void heap_set(struct sim_sched *s, size_t index,
                     const struct sim_sched_slot *slot)
{
    s->heap[index] = *slot;
    slot->event->place = index + 1;
}

static void heap_up(struct sim_sched *s, size_t index,
                    const struct sim_sched_slot *slot)
{
    while (index > 0) {
        size_t parent = (index - 1) / FAN_OUT;
        if (!slot_before(slot, &s->heap[parent]))
            break;
        heap_set(s, index, &s->heap[parent]);
        index = parent;
    }
    heap_set(s, index, slot);
}

static void heap_down(struct sim_sched *s, size_t index,
                      const struct sim_sched_slot *slot)
{
    for (;;) {
        size_t child = FAN_OUT * index + 1;
        size_t end = child + FAN_OUT < s->count ? child + FAN_OUT : s->count;
        if (child >= s->count)
            break;
        for (size_t i = child + 1; i < end; i++)
            if (slot_before(&s->heap[i], &s->heap[child]))
                child = i;
        if (!slot_before(&s->heap[child], slot))
            break;
        heap_set(s, index, &s->heap[child]);
        index = child;
    }
    heap_set(s, index, slot);
}

static void heap_grow(struct sim_sched *s)
{
    size_t wanted = s->capacity == 0 ? 256 : 2 * s->capacity;

    CHECK(wanted <= SIM_EVENTS_MAX);
    struct sim_sched_slot *heap = sim_realloc(s->heap, wanted * sizeof *heap);
    CHECK(heap != NULL);
    s->heap = heap;
    s->capacity = wanted;
}

void sim_sched_at(struct sim_sched *s, struct sim_event *e, uint64_t at_us)
{
    CHECK(e->run != NULL);
    sim_sched_cancel(s, e);
    if (s->count == s->capacity)
        heap_grow(s);
    e->at_us = at_us < s->now_us ? s->now_us : at_us;
    e->sequence = s->sequence++;
    struct sim_sched_slot slot = {e->at_us, e->sequence, e};
    s->count++;
    heap_up(s, s->count - 1, &slot);
}

void sim_sched_after(struct sim_sched *s, struct sim_event *e,
                     uint64_t delay_us)
{
    CHECK(delay_us <= UINT64_MAX - s->now_us);
    sim_sched_at(s, e, s->now_us + delay_us);
}

void sim_sched_cancel(struct sim_sched *s, struct sim_event *e)
{
    if (e->place == 0)
        return;
    size_t index = e->place - 1;
    CHECK(index < s->count && s->heap[index].event == e);
    e->place = 0;
    struct sim_sched_slot last = s->heap[--s->count];
    if (last.event == e)
        return;
    if (index > 0 && slot_before(&last, &s->heap[(index - 1) / FAN_OUT]))
        heap_up(s, index, &last);
    else
        heap_down(s, index, &last);
}

bool sim_sched_step(struct sim_sched *s, uint64_t limit_us)
{
    if (s->count == 0 || s->heap[0].at_us > limit_us) {
        if (limit_us > s->now_us)
            s->now_us = limit_us;
        return false;
    }
    struct sim_event *e = s->heap[0].event;
    CHECK(e->at_us >= s->now_us);
    s->now_us = e->at_us;
    sim_sched_cancel(s, e);
    sim_trace_fold(&s->trace, s->now_us, e->kind, e->node, e->sequence,
                   slice_of(NULL, 0));
    e->run(e->context); /* e may be gone after this */
    return true;
}

void sim_sched_note(struct sim_sched *s, const char *kind, unsigned node,
                    uint64_t number, struct slice payload)
{
    sim_trace_fold(&s->trace, s->now_us, kind, node, number, payload);
}
