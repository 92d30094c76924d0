/* The waiting room; see http_block.h for the argument.
 *
 * Why no change is missed: a waiter is parked in the same loop callback in
 * which it has read the newest state, so whatever it has not seen is committed
 * later than every revision heard of so far, and belongs to a later round. */
#include "node/http_block.h"

#include <stdlib.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/http_context.h"

static void on_timer(uv_timer_t *t);
static void on_idle(uv_idle_t *i);

int http_block_init(struct http_block *b, struct http_context *context,
                    uint64_t revision)
{
    CHECK(context != NULL && context->loop != NULL);
    *b = (struct http_block){
        .context = context, .latest = revision, .swept = revision};
    b->heap = cm_calloc(HTTP_WAITERS_MAX, sizeof(struct http_waiter *));
    b->keys = cm_calloc(HTTP_SWEEP_CHANGES_MAX, sizeof(*b->keys));
    if (b->heap == NULL || b->keys == NULL) {
        cm_free(b->heap);
        cm_free(b->keys);
        return CM_ERR_NOMEM;
    }
    buffer_init(&b->bytes, HTTP_SWEEP_BYTES_MAX);
    (void)uv_timer_init(context->loop, &b->timer);
    (void)uv_idle_init(context->loop, &b->idle);
    b->timer.data = b;
    b->idle.data = b;
    return 0;
}

void http_block_release(struct http_block *b)
{
    CHECK(b->count == 0 && b->head == NULL);
    cm_free(b->heap);
    cm_free(b->keys);
    buffer_release(&b->bytes);
    b->heap = NULL;
    b->keys = NULL;
}

/* ---- deadlines: a binary heap ---- */

static void heap_place(struct http_block *b, size_t at, struct http_waiter *w)
{
    CHECK(at < HTTP_WAITERS_MAX);
    b->heap[at] = w;
    w->heap_index = at;
}

static void heap_up(struct http_block *b, size_t at)
{
    struct http_waiter *w = b->heap[at];

    while (at > 0 && b->heap[(at - 1) / 2]->deadline_ms > w->deadline_ms) {
        heap_place(b, at, b->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_place(b, at, w);
}

static void heap_down(struct http_block *b, size_t at, size_t count)
{
    struct http_waiter *w = b->heap[at];
    size_t child;

    for (;;) {
        child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count &&
            b->heap[child + 1]->deadline_ms < b->heap[child]->deadline_ms)
            child++;
        if (b->heap[child]->deadline_ms >= w->deadline_ms)
            break;
        heap_place(b, at, b->heap[child]);
        at = child;
    }
    heap_place(b, at, w);
}

static void timer_arm(struct http_block *b)
{
    uint64_t now = uv_now(b->context->loop);
    uint64_t due;

    if (b->count == 0) {
        (void)uv_timer_stop(&b->timer);
        return;
    }
    due = b->heap[0]->deadline_ms;
    (void)uv_timer_start(&b->timer, on_timer, due > now ? due - now : 0, 0);
}

int http_block_wait(struct http_block *b, struct http_waiter *w)
{
    CHECK(!w->waiting && w->wake != NULL);
    if (b->count >= HTTP_WAITERS_MAX)
        return CM_ERR_LIMIT;
    w->waiting = true;
    w->next = NULL;
    w->prev = b->tail;
    if (b->tail != NULL)
        b->tail->next = w;
    else
        b->head = w;
    b->tail = w;
    heap_place(b, b->count++, w);
    heap_up(b, b->count - 1);
    if (w->heap_index == 0)
        timer_arm(b);
    return 0;
}

void http_block_cancel(struct http_block *b, struct http_waiter *w)
{
    size_t at = w->heap_index;
    struct http_waiter *last;

    if (!w->waiting)
        return;
    CHECK(b->count > 0 && b->heap[at] == w);
    w->waiting = false;
    if (b->cursor == w)
        b->cursor = w->next;
    if (w->prev != NULL)
        w->prev->next = w->next;
    else
        b->head = w->next;
    if (w->next != NULL)
        w->next->prev = w->prev;
    else
        b->tail = w->prev;
    last = b->heap[--b->count];
    if (last != w) {
        heap_place(b, at, last);
        heap_up(b, at);
        heap_down(b, last->heap_index, b->count);
    }
    if (b->count == 0)
        timer_arm(b);
}

static void on_timer(uv_timer_t *t)
{
    struct http_block *b = t->data;
    uint64_t now = uv_now(b->context->loop);
    struct http_waiter *w;
    unsigned budget = HTTP_SWEEP_SLICE;

    while (budget-- > 0 && b->count > 0 && b->heap[0]->deadline_ms <= now) {
        w = b->heap[0];
        http_block_cancel(b, w);
        w->wake(w, HTTP_WAKE_TIMEOUT);
    }
    timer_arm(b);
}

/* ---- rounds ---- */

static int key_compare(enum space a_space, struct slice a, enum space b_space,
                       struct slice b)
{
    if (a_space != b_space)
        return a_space < b_space ? -1 : 1;
    return slice_compare(a, b);
}

static int change_key_compare(const void *a, const void *b)
{
    const struct http_change_key *x = a;
    const struct http_change_key *y = b;

    return key_compare(x->space, x->key, y->space, y->key);
}

static int gather_visit(void *context, const struct change *change)
{
    struct http_block *b = context;
    struct http_change_key *k;

    if (b->keys_count >= HTTP_SWEEP_CHANGES_MAX)
        return CM_ERR_LIMIT;
    k = &b->keys[b->keys_count];
    k->space = change->id.space;
    k->offset = b->bytes.size;
    k->key.size = change->id.key.size;
    buffer_append_slice(&b->bytes, change->id.key);
    if (b->bytes.error != 0)
        return b->bytes.error;
    b->keys_count++;
    return 0;
}

/* Fills keys with everything that changed after swept. */
static void gather(struct http_block *b)
{
    struct store_reader *r = http_context_reader(b->context);
    uint64_t from = b->swept;
    uint64_t at = 0;
    int error = CM_ERR_IO;

    buffer_clear(&b->bytes);
    b->keys_count = 0;
    b->sweep_to = b->latest;
    if (r != NULL) {
        while ((error = store_changes(r, from, &at, gather_visit, b)) == 0) {
            CHECK(at > from);
            from = at;
        }
        if (store_revision(r) > b->sweep_to)
            b->sweep_to = store_revision(r);
    }
    /* Too much, too old or unreadable: let everyone look for himself. */
    b->everyone = error != CM_ERR_NOT_FOUND;
    if (b->everyone)
        b->keys_count = 0;
    for (size_t i = 0; i < b->keys_count; i++)
        b->keys[i].key.data = b->bytes.data + b->keys[i].offset;
    if (b->keys_count > 1)
        qsort(b->keys, b->keys_count, sizeof(*b->keys), change_key_compare);
}

static bool touched_in(const struct http_block *b, const struct http_waiter *w,
                       enum space space)
{
    size_t low = 0;
    size_t high = b->keys_count;
    size_t middle;

    while (low < high) { /* the first that is not before w's key */
        middle = low + (high - low) / 2;
        if (key_compare(b->keys[middle].space, b->keys[middle].key, space,
                        w->key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low >= b->keys_count || b->keys[low].space != space)
        return false;
    return w->prefix ? slice_starts_with(b->keys[low].key, w->key)
                     : slice_equal(b->keys[low].key, w->key);
}

static void sweep_begin(struct http_block *b)
{
    CHECK(!b->sweeping);
    if (b->head == NULL) {
        b->swept = b->latest;
        return;
    }
    gather(b);
    b->cursor = b->head;
    b->sweeping = true;
    (void)uv_idle_start(&b->idle, on_idle);
}

static void on_idle(uv_idle_t *i)
{
    struct http_block *b = i->data;
    unsigned budget = HTTP_SWEEP_SLICE;
    struct http_waiter *w;

    CHECK(b->sweeping);
    while (b->cursor != NULL && budget-- > 0) {
        w = b->cursor;
        b->cursor = w->next;
        if (b->everyone || touched_in(b, w, SPACE_REGISTER) ||
            (w->sets && touched_in(b, w, SPACE_SET))) {
            http_block_cancel(b, w);
            w->wake(w, HTTP_WAKE_CHANGE);
        } else if (w->revision != NULL && *w->revision < b->sweep_to) {
            *w->revision = b->sweep_to;
        }
    }
    if (b->cursor != NULL)
        return;
    b->sweeping = false;
    b->swept = b->sweep_to;
    (void)uv_idle_stop(&b->idle);
    buffer_release(&b->bytes);
    if (b->latest > b->swept)
        sweep_begin(b);
}

void http_block_on_commit(struct http_block *b, uint64_t revision)
{
    if (revision > b->latest)
        b->latest = revision;
    if (!b->sweeping && b->latest > b->swept)
        sweep_begin(b);
}
