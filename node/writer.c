/* The batch: one transaction, one fsync, one result.
 *
 * Foreign events go first, then local intents, so that the event which gathers
 * the local ones depends on everything that they saw. The result is built
 * before the commit: after it nothing can fail any more. */
#include "node/writer.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/return_view.h"
#include "node/standing_read.h"
#include "node/writer_internal.h"

int batch_begin(struct batch *b, struct writer *w, uint64_t wall_ms,
                struct cm_detail *detail)
{
    int error;

    *b = (struct batch){
        .w = w,
        .wall_ms = wall_ms,
        .revision = w->head.revision + 1,
        .ready = w->ready,
        .drain = w->pending.count > 0,
        .actors_before = actors_count(store_actors(w->store)),
    };
    b->now = hlc_make(wall_ms < HLC_WALL_MS_MAX ? wall_ms : HLC_WALL_MS_MAX, 0);
    CHECK(!w->own.open && !w->stale);
    change_log_clear(&w->log);
    memset(w->dirty, 0, sizeof w->dirty);
    error = store_txn_begin(&b->txn, w->store, true, detail);
    if (error != 0)
        return error;
    store_txn_set_bank(&b->txn, w->head.bank);
    if (w->adopting.count > 0)
        b->txn.touched = &w->touched;
    return 0;
}

void batch_abort(struct batch *b)
{
    struct writer *w = b->w;

    store_txn_abort(&b->txn);
    w->own.open = false;
    pending_settle(&w->pending, false);
    actors_truncate(store_actors(w->store), b->actors_before);
    if (b->changed || b->ahead)
        (void)writer_reload(w, NULL); /* else stale: tried again next time */
}

/* ---- results ---- */

static struct commit_result *result_new(void)
{
    struct commit_result *r = cm_calloc(1, sizeof *r);

    if (r == NULL)
        return NULL;
    vv_init(&r->vv);
    buffer_init(&r->memory, RESULT_MEMORY_MAX);
    return r;
}

void commit_result_free(struct commit_result *r)
{
    if (r == NULL)
        return;
    cm_free(r->events);
    buffer_release(&r->memory);
    vv_release(&r->vv);
    vv_release(&r->received);
    roster_release(r->roster);
    standing_view_release(r->standing);
    cm_free(r);
}

/* Both are sorted by incarnation. */
static uint64_t above_floor(const struct vv *vv, const struct floor *floor)
{
    uint64_t ret = 0;
    size_t k = 0;

    for (size_t i = 0; i < vv->count; i++) {
        const struct vv_entry *e = &vv->entries[i];

        while (k < floor->count &&
               incarnation_compare(&floor->rows[k].incarnation,
                                   &e->incarnation) < 0)
            k++;
        ret += e->seq;
        if (k < floor->count &&
            incarnation_equal(&floor->rows[k].incarnation, &e->incarnation))
            ret -=
                floor->rows[k].up_to < e->seq ? floor->rows[k].up_to : e->seq;
    }
    return ret;
}

/* Everything that the loop learns of the writer's state. CM_ERR_NOMEM. */
static int result_fill(struct commit_result *r, const struct writer *w)
{
    size_t at = 0;
    int error = vv_copy(&r->vv, &w->vv);

    if (error != 0)
        return error;
    r->revision = w->head.revision;
    r->digest = digest_finish(&w->digest, &w->vv);
    r->proof = standing_proof(&r->digest, &w->standing_hash);
    r->above_floor = above_floor(&w->vv, standing_floor(w->standing));
    for (size_t i = 0; i < r->events_count; i++) {
        r->events[i].bytes.data = r->memory.data + at;
        at += r->events[i].bytes.size;
    }
    CHECK(at == r->memory.size);
    return 0;
}

/* What may have changed without a commit. */
static void result_note(struct commit_result *r, struct writer *w)
{
    r->pending_events = w->pending.count;
    r->pending_bytes = w->pending.bytes;
    r->clock_ahead = writer_clock_ahead(w);
    r->alarm_fork = w->fork;
    r->alarm_hazard = w->hazard;
    r->alarm_conflict = w->conflict;
    r->alarm_overrun = w->overrun;
    r->unsent = w->unsent;
    r->lost_branch = return_look_for_fork(w, &r->lost);
    r->reason = return_reason_of(w, r->wall_ms);
    r->expiry_wall_ms = expire_wall_ms(w);
    r->collect_wall_ms = collapse_wall_ms(w);
    r->prune_due = w->prune.floor.count > 0;
    r->shadow = w->shadow;
    for (size_t i = 0; i < w->pending.count; i++) {
        const struct pending_event *e = w->pending.events[i];

        r->held.events += e->held != 0;
        if (e->why < REFUSAL_KINDS)
            r->waits[e->why]++;
        if (e->held > r->held.hlc) {
            r->held.hlc = e->held;
            r->held.incarnation = e->dot.incarnation;
        }
    }
    /* Without it peers send again what waits here: no more than a waste. */
    if (w->pending.count > 0 && (vv_copy(&r->received, &w->vv) != 0 ||
                                 pending_raise(&w->pending, &r->received) != 0))
        vv_release(&r->received);
}

int writer_snapshot(struct writer *w, struct commit_result **ret_result)
{
    struct commit_result *r = result_new();
    int error = r == NULL ? CM_ERR_NOMEM : result_fill(r, w);

    if (error != 0) {
        commit_result_free(r);
        return error;
    }
    r->roster = roster_retain(w->roster);
    r->standing = standing_view_new(w->standing, &w->self);
    if (r->standing == NULL) {
        commit_result_free(r);
        return CM_ERR_NOMEM;
    }
    result_note(r, w);
    *ret_result = r;
    return 0;
}

/* ---- the batch ---- */

static bool renames(const struct intent *i)
{
    for (size_t j = 0; j < i->facts_count; j++) {
        if (strcmp(i->facts[j].name, META_INCARNATION) == 0)
            return true;
    }
    return false;
}

static int run_meta(struct batch *b, struct intent *i)
{
    int error = 0;

    i->revision = b->w->head.revision;
    if (renames(i) && (b->w->vv.count > 0 || b->ready)) {
        /* Only who has no state takes another name without a cut. */
        i->result = cm_fail(&i->detail, CM_ERR_EXISTS,
                            "this incarnation has a state already");
        return 0;
    }
    for (size_t j = 0; j < i->facts_count && error == 0; j++) {
        const struct meta_fact *f = &i->facts[j];
        bool before = b->meta_changed;

        b->meta_changed = false;
        error = state_put_meta(b, f->name, f->value);
        i->wrote = i->wrote || b->meta_changed;
        b->meta_changed = b->meta_changed || before;
        if (error == 0 && strcmp(f->name, META_READY) == 0)
            b->ready = f->value.size > 0;
        if (error == 0 && strcmp(f->name, META_INCARNATION) == 0)
            b->renamed = true;
    }
    i->result = error;
    return error;
}

bool writer_clock_ahead(const struct writer *w)
{
    return w->clocks >= CLOCKS_JUDGE_MIN &&
           w->clock_offset_ms < -CLOCK_DRIFT_MAX_MS;
}

/* Whatever the clocks were said to be, time has passed: held events get
 * another look. */
static void take_clocks(struct batch *b, const struct intent *batch)
{
    for (const struct intent *i = batch; i != NULL; i = i->next) {
        if (i->kind != INTENT_CLOCKS)
            continue;
        b->w->clock_offset_ms = i->clock_offset_ms;
        b->w->clocks = i->clocks;
        b->drain = true;
    }
}

/* Returns only what is fatal. */
static int run_intents(struct batch *b, struct intent *batch)
{
    int error;

    take_clocks(b, batch);
    error = foreign_drain(b);

    for (struct intent *i = batch; i != NULL && error == 0; i = i->next) {
        if (i->kind == INTENT_FOREIGN)
            error = foreign_intent(b, i);
        else if (i->kind == INTENT_ORDER)
            error = control_hear(b, i);
    }
    if (error == 0)
        error = foreign_drain(b);
    if (error == 0)
        error = reissue_due(b);
    for (struct intent *i = batch; i != NULL && error == 0; i = i->next) {
        if (i->kind == INTENT_LOCAL)
            error = local_intent(b, i);
        else if (i->kind == INTENT_META)
            error = run_meta(b, i);
        else if (i->kind == INTENT_EXPLAIN)
            error = explain_intent(b, i);
        else if (i->kind == INTENT_UNSENT)
            error = unsent_intent(b, i);
    }
    if (error == 0)
        error = local_close_event(b);
    for (struct intent *i = batch; i != NULL && error == 0; i = i->next) {
        if (i->kind == INTENT_PROPOSE)
            error = duty_propose(b, i);
        else if (i->kind == INTENT_PRUNE)
            error = prune_intent(b, i);
        else if (i->kind == INTENT_SUCCEED)
            error = succeed_intent(b, i);
    }
    if (error == 0)
        error = duty_run(b);
    if (error == 0)
        error = expire_due(b);
    return error;
}

static int finish(struct batch *b, struct cm_detail *detail)
{
    struct writer *w = b->w;
    int error = 0;

    if (b->hazard_found)
        error = state_put_meta(b, META_HAZARD, slice_of("1", 1));
    if (error == 0)
        error = b->changed ? state_flush(b) : control_finish(b);
    if (error == 0 && b->due_changed)
        error = expire_look(w, &b->txn);
    if (error == 0 && b->collect_changed)
        error = collapse_look(w, &b->txn);
    if (error != 0)
        return cm_fail(detail, error, "writing the commit: %s",
                       cm_strerror(error));
    error = result_fill(b->result, w);
    if (error != 0)
        return error;
    b->result->wrote = b->changed || b->meta_changed;
    if (!b->result->wrote) {
        store_txn_abort(&b->txn); /* nothing changed: nothing is written */
        return 0;
    }
    return store_txn_commit(&b->txn, detail);
}

static void explain(struct cm_detail *detail, int error)
{
    if (error == CM_ERR_FULL)
        (void)cm_fail(detail, error,
                      "the disk or the store's map is full: free space, then "
                      "retry; reads, gossip and backups go on");
    else if (error == CM_ERR_IO)
        (void)cm_fail(detail, error,
                      "the disk refused the commit: check it, then retry; "
                      "reads go on");
    else
        (void)cm_fail(detail, error, "the commit failed: %s",
                      cm_strerror(error));
}

/* Nothing of the batch happened: every intent says so, but for those that were
 * refused for their own sake. */
static void fail_intents(struct intent *batch, int error,
                         const struct cm_detail *detail)
{
    for (struct intent *i = batch; i != NULL; i = i->next) {
        if (i->kind == INTENT_REPLACE || i->kind == INTENT_ADOPTING ||
            i->kind == INTENT_HEAL || i->kind == INTENT_STAGE ||
            (i->kind == INTENT_FOREIGN && i->result != 0))
            continue;
        i->result = error;
        i->wrote = false;
        i->dot = (struct dot){.seq = 0};
        i->failures_count = 0;
        buffer_clear(&i->results);
        i->detail = *detail;
    }
}

static void reset_intents(struct intent *batch, struct commit_result *r)
{
    size_t count = 0;

    for (struct intent *i = batch; i != NULL; i = i->next) {
        i->result = 0;
        i->wrote = false;
        i->dot = (struct dot){.seq = 0};
        i->revision = 0;
        i->more = false;
        i->failed_op = 0;
        i->failures_count = 0;
        buffer_clear(&i->results);
        i->detail.text[0] = '\0';
        r->local_intents += i->kind == INTENT_LOCAL;
        r->intents_bytes += i->memory.size;
        count++;
    }
    CHECK(count <= WRITER_BATCH_MAX);
}

/* What waited for the former cut gets its look in the batch that follows. */
static void run_adopting(struct writer *w, struct intent *i)
{
    struct vv vv;

    vv_init(&vv);
    if (i->adopting != NULL)
        i->result = vv_copy(&vv, i->adopting);
    vv_release(&w->adopting);
    w->adopting = vv;
    touched_clear(&w->touched);
    i->revision = w->head.revision;
}

static void run_stage(struct writer *w, struct intent *i, uint64_t wall_ms)
{
    i->result = writer_stage(w, i->replacement, wall_ms, &i->more, &i->detail);
    i->revision = w->head.revision;
}

/* Each is a transaction of its own, before all others of the batch. */
static bool run_replacements(struct writer *w, struct intent *batch,
                             uint64_t wall_ms)
{
    bool any = false;

    for (struct intent *i = batch; i != NULL; i = i->next) {
        if (i->kind == INTENT_ADOPTING)
            run_adopting(w, i);
        if (i->kind == INTENT_STAGE)
            run_stage(w, i, wall_ms);
        if (i->kind != INTENT_REPLACE && i->kind != INTENT_HEAL)
            continue;
        CHECK(i->replacement != NULL);
        i->result = i->kind == INTENT_REPLACE
                        ? writer_replace(w, i->replacement, wall_ms, &i->detail)
                        : writer_heal(w, i->replacement, wall_ms, &i->detail);
        i->wrote = i->result == 0;
        i->revision = w->head.revision;
        any = any || i->wrote;
    }
    return any;
}

/* The counts are read anew when records came or went: that is rare. */
static void take_unsent(struct writer *w, const struct batch *b)
{
    struct store_txn t;

    if (b->unsent_looked) {
        w->unsent_looked = true;
        w->unsent_mark = b->unsent_mark;
    }
    if (b->unsent_settled == 0 && b->unsent_kept == 0)
        return;
    if (store_txn_begin(&t, w->store, false, NULL) != 0 ||
        unsent_count(&t, &w->unsent) != 0)
        w->stale = true;
    store_txn_abort(&t);
}

/* 0 when the batch is through; else nothing of it is. */
static int run(struct batch *b, struct writer *w, struct intent *batch,
               struct commit_result *r, uint64_t wall_ms,
               struct cm_detail *detail)
{
    int error = w->stale ? writer_reload(w, detail) : 0;

    if (error == 0)
        error = batch_begin(b, w, wall_ms, detail);
    if (error != 0)
        return error;
    b->result = r;
    error = run_intents(b, batch);
    if (error == 0)
        error = finish(b, detail);
    if (error != 0) {
        batch_abort(b);
        return error;
    }
    pending_settle(&w->pending, true);
    w->ready = b->ready;
    take_unsent(w, b);
    if (b->roster_changed)
        r->roster = roster_retain(w->roster);
    /* Short of memory the loop keeps the view it has, until the next. */
    if (b->ahead)
        r->standing = standing_view_new(w->standing, &w->self);
    w->overrun = w->overrun || b->overrun;
    r->floor_moved = b->floor_moved;
    if (b->floor_moved)
        prune_plan(w);
    if (b->renamed)
        (void)writer_reload(w, NULL); /* else stale: tried again next time */
    return 0;
}

/* A result that tells of nothing but the state as it was. */
static int result_empty(struct commit_result *r, const struct writer *w)
{
    r->events_count = 0;
    r->refused = (struct refusals){.total = 0}; /* they come again */
    buffer_clear(&r->memory);
    vv_release(&r->vv);
    r->wrote = false;
    r->stale = w->stale; /* then memory shows what was not committed */
    return r->stale ? 0 : result_fill(r, w);
}

static void give_back(struct buffer *b)
{
    if (b->capacity <= WRITER_SCRATCH_KEPT)
        return;
    buffer_release(b);
    buffer_init(b, b->limit);
}

/* What a large batch needed is not kept for the small ones. */
static void give_scratch_back(struct writer *w)
{
    CHECK(!w->own.open);
    give_back(&w->own.body);
    give_back(&w->record);
    give_back(&w->scratch);
    if (w->log.touches_capacity * sizeof *w->log.touches +
            w->log.keys.capacity <=
        WRITER_SCRATCH_KEPT)
        return;
    change_log_release(&w->log);
    change_log_init(&w->log);
}

struct commit_result *writer_commit(struct writer *w, struct intent *batch,
                                    uint64_t wall_ms)
{
    struct commit_result *r = result_new();
    struct cm_detail detail = {.text = ""};
    struct batch b;
    bool replaced;
    int error;

    if (r == NULL)
        return NULL;
    r->intents = batch;
    r->wall_ms = wall_ms;
    reset_intents(batch, r);
    replaced = run_replacements(w, batch, wall_ms);
    error = run(&b, w, batch, r, wall_ms, &detail);
    if (error != 0) {
        CM_MARK("commit: failed, and was undone");
        explain(&detail, error);
        fail_intents(batch, error, &detail);
        r->disk_full = error == CM_ERR_FULL;
        r->disk_failed = error == CM_ERR_IO;
        r->damaged = error == CM_ERR_DAMAGED && w->stale;
        if (result_empty(r, w) != 0 && !replaced) {
            commit_result_free(r);
            return NULL;
        }
    }
    if (replaced) {
        r->wrote = true;
        if (r->roster == NULL)
            r->roster = roster_retain(w->roster);
        if (r->standing == NULL)
            r->standing = standing_view_new(w->standing, &w->self);
    }
    result_note(r, w);
    give_scratch_back(w);
    return r;
}
