/* One sorted array: at most a few thousand pointers, moved with memmove. */
#include "node/pending.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/error.h"

void pending_init(struct pending *p)
{
    *p = (struct pending){0};
}

void pending_release(struct pending *p)
{
    for (size_t i = 0; i < p->count; i++)
        cm_free(p->events[i]);
    cm_free(p->events);
    *p = (struct pending){0};
}

size_t pending_lower_bound(const struct pending *p, const struct dot *d)
{
    size_t low = 0;
    size_t high = p->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (dot_compare(&p->events[middle]->dot, d) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    CHECK(low <= p->count);
    return low;
}

static void uncount(struct pending *p, const struct pending_event *e)
{
    CHECK(p->bytes >= e->size && p->fences >= e->fence);
    p->bytes -= e->size;
    p->fences -= e->fence;
    if (e->verified)
        return;
    CHECK(p->unverified_count > 0 && p->unverified_bytes >= e->size);
    p->unverified_count--;
    p->unverified_bytes -= e->size;
}

size_t pending_next_origin(const struct pending *p, size_t at)
{
    const struct incarnation *i = &p->events[at]->dot.incarnation;
    struct dot last = {.incarnation = *i, .seq = UINT64_MAX};

    CHECK(at < p->count);
    at++;
    if (at < p->count && incarnation_equal(&p->events[at]->dot.incarnation, i))
        at = pending_lower_bound(p, &last);
    while (at < p->count && dot_equal(&p->events[at]->dot, &last))
        at++;
    return at;
}

void pending_mark_fence(struct pending *p, struct pending_event *e)
{
    CHECK(!e->fence);
    e->fence = true;
    p->fences++;
}

void pending_mark_done(struct pending *p, struct pending_event *e)
{
    e->done = true;
    p->any_done = true;
}

static void remove_at(struct pending *p, size_t at)
{
    struct pending_event *e = p->events[at];

    CHECK(at < p->count);
    uncount(p, e);
    cm_free(e);
    p->count--;
    memmove(&p->events[at], &p->events[at + 1],
            (p->count - at) * sizeof(struct pending_event *));
}

/* The range of one origin's events. */
static void origin_range(const struct pending *p, const struct incarnation *i,
                         size_t *ret_first, size_t *ret_end)
{
    struct dot low = {.incarnation = *i, .seq = 0};
    struct dot high = {.incarnation = *i, .seq = UINT64_MAX};

    *ret_first = pending_lower_bound(p, &low);
    *ret_end = pending_lower_bound(p, &high);
}

/* Makes room for one of size bytes within every bound, at the cost of the
 * origin's farthest event if it is farther than d. */
static int make_room(struct pending *p, const struct dot *d, size_t size,
                     bool verified)
{
    size_t first, end;
    bool full;

    origin_range(p, &d->incarnation, &first, &end);
    full = p->count >= PENDING_EVENTS_MAX ||
           size > PENDING_BYTES_MAX - p->bytes ||
           end - first >= PENDING_PER_ORIGIN_MAX;
    if (!verified)
        full = full || p->unverified_count >= PENDING_UNVERIFIED_EVENTS_MAX ||
               size > PENDING_UNVERIFIED_BYTES_MAX - p->unverified_bytes;
    if (!full)
        return 0;
    if (first == end || p->events[end - 1]->dot.seq <= d->seq ||
        p->events[end - 1]->done || p->events[end - 1]->size < size)
        return CM_ERR_LIMIT;
    remove_at(p, end - 1);
    return 0;
}

static int reserve(struct pending *p)
{
    size_t capacity = p->capacity > 0 ? 2 * p->capacity : 16;
    struct pending_event **grown;

    if (p->count < p->capacity)
        return 0;
    grown = cm_realloc(p->events, capacity * sizeof *grown);
    if (grown == NULL)
        return CM_ERR_NOMEM;
    p->events = grown;
    p->capacity = capacity;
    return 0;
}

int pending_add(struct pending *p, const struct dot *dot,
                const struct hash *hash, struct slice bytes, bool verified,
                hlc_t held, const uint8_t from[16])
{
    size_t at = pending_lower_bound(p, dot);
    struct pending_event *e;
    int error;

    CHECK(bytes.size <= EVENT_SIZE_MAX);
    for (; at < p->count && dot_equal(&p->events[at]->dot, dot); at++) {
        int order = hash_compare(&p->events[at]->hash, hash);

        if (order == 0)
            return CM_ERR_DUPLICATE;
        if (order > 0)
            break;
    }
    error = make_room(p, dot, bytes.size, verified);
    if (error == 0)
        error = reserve(p);
    if (error != 0)
        return error;
    e = cm_calloc(1, sizeof *e + bytes.size);
    if (e == NULL)
        return CM_ERR_NOMEM;
    e->dot = *dot;
    e->hash = *hash;
    e->verified = verified;
    e->held = held;
    e->size = bytes.size;
    memcpy(e->from, from, sizeof e->from);
    memcpy(e->bytes, bytes.data, bytes.size);
    /* What gave way was farther ahead, so at still holds. */
    memmove(&p->events[at + 1], &p->events[at],
            (p->count - at) * sizeof(struct pending_event *));
    p->events[at] = e;
    p->count++;
    p->bytes += e->size;
    if (!verified) {
        p->unverified_count++;
        p->unverified_bytes += e->size;
    }
    CHECK(p->count <= PENDING_EVENTS_MAX && p->bytes <= PENDING_BYTES_MAX);
    return 0;
}

struct pending_event *pending_find(const struct pending *p,
                                   const struct dot *dot,
                                   const struct hash *hash)
{
    size_t at = pending_lower_bound(p, dot);

    for (; at < p->count && dot_equal(&p->events[at]->dot, dot); at++) {
        if (hash_equal(&p->events[at]->hash, hash))
            return p->events[at];
    }
    return NULL;
}

void pending_refuse(struct pending *p, const struct incarnation *i,
                    uint64_t seq)
{
    size_t first, end;

    origin_range(p, i, &first, &end);
    for (; first < end; first++) {
        if (p->events[first]->dot.seq > seq)
            pending_mark_done(p, p->events[first]);
    }
}

void pending_mark_verified(struct pending *p, struct pending_event *e)
{
    if (e->verified)
        return;
    CHECK(p->unverified_count > 0 && p->unverified_bytes >= e->size);
    e->verified = true;
    p->unverified_count--;
    p->unverified_bytes -= e->size;
}

int pending_raise(const struct pending *p, struct vv *vv)
{
    int error = 0;

    for (size_t i = 0; i < p->count && error == 0;) {
        const struct pending_event *e = p->events[i];
        uint64_t next = vv_seq(vv, &e->dot.incarnation) + 1;

        if (e->verified && e->dot.seq == next)
            error = vv_set(vv, &e->dot.incarnation, e->dot.seq, &e->hash);
        i = e->dot.seq > next ? pending_next_origin(p, i) : i + 1;
    }
    return error;
}

void pending_settle(struct pending *p, bool committed)
{
    size_t kept = 0;

    if (!p->any_done)
        return;
    p->any_done = false;
    for (size_t i = 0; i < p->count; i++) {
        struct pending_event *e = p->events[i];

        /* What was refused stays refused, whatever becomes of the rest. */
        if (e->done && (committed || !e->applied)) {
            uncount(p, e);
            cm_free(e);
            continue;
        }
        e->done = false;
        e->applied = false;
        p->events[kept++] = e;
    }
    p->count = kept;
}
