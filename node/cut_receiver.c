/* Two buffers: one that the loop fills, one that the worker reads. */
#include "node/cut_receiver.h"

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"

#define QUEUE_PAUSE (4u << 20)
#define TELL_STEPS 4 /* lines of progress on the log */

struct cut_receiver {
    struct work work; /* feeds the sink */
    struct node *node;
    cut_received done;
    struct snapshot_sink *sink; /* owned until it is taken */
    uint64_t cut;               /* the source's name for it; 0: none yet */
    struct cut_progress progress;
    unsigned told;
    struct buffer message; /* of which not all pieces are there */
    struct buffer queue;   /* [length be32, message]…, whole ones */
    struct buffer feeding; /* the worker's */
    size_t fed;
    struct link *paused; /* not read from until the queue is short */
    bool busy;
    bool orphan; /* to be freed when the worker is done */
    bool ended;
    int result; /* of the worker: SNAPSHOT_MORE, _DONE or an error */
    struct cm_detail detail;
};

static int new_sink(struct cut_receiver *r, struct cm_detail *detail)
{
    snapshot_sink_free(r->sink);
    r->sink = NULL;
    return snapshot_sink_create(&r->sink, r->node->authority_public_key,
                                r->node->spool_dir, detail);
}

int cut_receiver_create(struct cut_receiver **ret_receiver, struct node *n,
                        cut_received done, struct cm_detail *detail)
{
    struct cut_receiver *r = cm_calloc(1, sizeof *r);
    int error;

    CHECK(done != NULL);
    if (r == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    r->node = n;
    r->done = done;
    r->result = SNAPSHOT_MORE;
    buffer_init(&r->message, SNAPSHOT_MANIFEST_MAX);
    /* One message may come on top of what makes reading pause. */
    buffer_init(&r->queue, CUT_QUEUE_MAX + SNAPSHOT_MANIFEST_MAX);
    buffer_init(&r->feeding, CUT_QUEUE_MAX + SNAPSHOT_MANIFEST_MAX);
    error = new_sink(r, detail);
    if (error != 0) {
        cm_free(r);
        return error;
    }
    *ret_receiver = r;
    return 0;
}

static void destroy(struct cut_receiver *r)
{
    snapshot_sink_free(r->sink);
    buffer_release(&r->message);
    buffer_release(&r->queue);
    buffer_release(&r->feeding);
    cm_free(r);
}

static void resume_reading(struct cut_receiver *r)
{
    struct link *l = r->paused;

    r->paused = NULL;
    if (l == NULL || !l->paused || intake_is_full(r->node))
        return;
    l->paused = false;
    link_changed(r->node);
    r->node->ports.stream->pause(r->node->ports.ctx, l->stream, false);
}

void cut_receiver_free(struct cut_receiver *r)
{
    if (r == NULL)
        return;
    resume_reading(r);
    if (r->busy)
        r->orphan = true;
    else
        destroy(r);
}

void cut_receiver_wants(const struct cut_receiver *r, uint64_t *ret_cut,
                        uint64_t *ret_messages)
{
    *ret_cut = r->cut;
    *ret_messages = r->cut != 0 ? r->progress.messages : 0;
}

struct cut_progress cut_receiver_progress(const struct cut_receiver *r)
{
    return r->progress;
}

struct snapshot_sink *cut_receiver_sink(struct cut_receiver *r)
{
    struct snapshot_sink *ret = r->sink;

    CHECK(!r->busy && r->result == SNAPSHOT_DONE && ret != NULL);
    r->sink = NULL;
    return ret;
}

/* ---- the worker ---- */

static bool feed_step(struct work *w)
{
    struct cut_receiver *r = (struct cut_receiver *)w;
    uint32_t size;

    if (r->orphan || r->result != SNAPSHOT_MORE || r->fed == r->feeding.size)
        return false;
    size = get_be32(r->feeding.data + r->fed);
    r->fed += 4;
    r->result = snapshot_sink_feed(
        r->sink, slice_of(r->feeding.data + r->fed, size), &r->detail);
    r->fed += size;
    return true;
}

static void feed(struct cut_receiver *r);

static void feed_done(struct work *w)
{
    struct cut_receiver *r = (struct cut_receiver *)w;

    r->busy = false;
    if (r->orphan) {
        destroy(r);
        return;
    }
    if (r->ended)
        return;
    if (r->result == SNAPSHOT_MORE) {
        feed(r);
        if (r->queue.size < QUEUE_PAUSE)
            resume_reading(r);
        return;
    }
    r->ended = true;
    resume_reading(r);
    if (r->result == SNAPSHOT_DONE)
        orders_take_barred(r->node, snapshot_sink_manifest(r->sink)->evicted);
    r->done(r->node, r->result, &r->detail); /* r may be gone */
}

static void feed(struct cut_receiver *r)
{
    struct buffer empty = r->feeding;

    if (r->busy || r->queue.size == 0 || r->ended)
        return;
    r->feeding = r->queue;
    r->queue = empty;
    buffer_clear(&r->queue);
    r->fed = 0;
    r->work = (struct work){
        .step = feed_step, .done = feed_done, .lane = WORK_LANE_CUT};
    r->busy = true;
    r->node->ports.work->submit(r->node->ports.ctx, &r->work);
}

/* ---- frames ---- */

static int take_head(struct cut_receiver *r, const struct frame *f)
{
    bool same = r->cut != 0 && r->cut == f->cut;

    buffer_clear(&r->message);
    if (same && f->messages == r->progress.messages)
        return 0; /* goes on */
    if (f->messages != 0)
        return CM_ERR_MALFORMED;
    if (r->progress.messages > 0) {
        int error;

        if (r->busy)
            return CM_ERR_BUSY; /* what came before is being verified still */
        CM_MARK("cut: began anew with another one");
        error = new_sink(r, NULL);
        if (error != 0)
            return error;
        buffer_clear(&r->queue);
    }
    r->cut = f->cut;
    r->told = 0;
    r->progress = (struct cut_progress){.messages_total = f->total,
                                        .bytes_total = f->cut_bytes};
    node_log(r->node, 'I', "cut: receiving %llu bytes in %llu messages",
             (unsigned long long)f->cut_bytes, (unsigned long long)f->total);
    return 0;
}

static void tell_progress(struct cut_receiver *r)
{
    const struct cut_progress *p = &r->progress;

    if (p->messages_total < 100 ||
        p->messages * TELL_STEPS < p->messages_total * (r->told + 1) ||
        r->told + 1 == TELL_STEPS)
        return;
    r->told++;
    node_log(r->node, 'I', "cut: %u %% received, %llu of %llu bytes",
             100 * r->told / TELL_STEPS, (unsigned long long)p->bytes,
             (unsigned long long)p->bytes_total);
}

static int take_piece(struct cut_receiver *r, struct link *l,
                      const struct frame *f)
{
    uint8_t length[4];

    buffer_append_slice(&r->message, f->bytes);
    if (r->message.error != 0 || !f->last)
        return r->message.error;
    if (r->cut == 0 || r->progress.messages >= r->progress.messages_total)
        return CM_ERR_MALFORMED;
    put_be32(length, (uint32_t)r->message.size);
    buffer_append(&r->queue, length, sizeof length);
    buffer_append_slice(&r->queue, buffer_slice(&r->message));
    if (r->queue.error != 0)
        return r->queue.error;
    r->progress.messages++;
    r->progress.bytes += r->message.size;
    buffer_clear(&r->message);
    tell_progress(r);
    feed(r);
    if (r->queue.size >= QUEUE_PAUSE && !l->paused) {
        l->paused = true;
        r->node->links_paused = true;
        r->paused = l;
        r->node->ports.stream->pause(r->node->ports.ctx, l->stream, true);
    }
    return 0;
}

int cut_receiver_take(struct cut_receiver *r, struct link *l,
                      const struct frame *f)
{
    if (r->ended)
        return 0;
    if (f->kind == FRAME_CUT)
        return take_head(r, f);
    CHECK(f->kind == FRAME_SNAPSHOT);
    return take_piece(r, l, f);
}

void cut_receiver_link_gone(struct cut_receiver *r)
{
    r->paused = NULL;
    buffer_clear(&r->message);
}
