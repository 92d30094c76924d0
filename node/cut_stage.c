/* Adopting a cut that changes much, for the loop: what INTENT_STAGE does step
 * by step (stage.h), and what is left in the other bank, which goes in quiet
 * times.
 *
 * A worker makes the next block while the writer puts the one before; the
 * node's own writes come in between. */
#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"

#define BLOCKS_MAX 2 /* with the writer at a time */
#define SWEEP_RETRY_MS 2000

static int submit(struct node *n, struct stage *s, intent_done done)
{
    struct intent *i = intent_new(INTENT_STAGE);
    int error = i == NULL ? CM_ERR_NOMEM : 0;

    if (error == 0) {
        i->replacement = s;
        i->done = done;
        i->context = n;
        s->serial = n->cuts.pull.stage.serial;
        error = n->ports.writer->submit(n->ports.ctx, i);
    }
    if (error != 0) {
        intent_free(i);
        stage_free(s);
    }
    return error;
}

static int submit_step(struct node *n, enum stage_step step, intent_done done)
{
    struct cut_pull *p = &n->cuts.pull;
    struct stage *s = stage_new(step);

    if (s == NULL)
        return CM_ERR_NOMEM;
    if (step == STAGE_BEGIN)
        s->vv = &snapshot_sink_manifest(p->sink)->vv;
    if (step == STAGE_SETTLE)
        s->staged = cut_diff_staged(p->diff);
    return submit(n, s, done);
}

/* Ends an intent; false: of an attempt that has been given up. */
static bool is_ours(struct node *n, struct intent *i)
{
    struct stage *s = i->replacement;
    struct cut_pull *p = &n->cuts.pull;
    bool ret = p->phase == PULL_STAGE && s->serial == p->stage.serial;

    stage_free(s);
    return ret;
}

/* ---- the blocks ---- */

static void fill(struct node *n);

static void advance(struct node *n)
{
    struct cut_pull *p = &n->cuts.pull;

    if (!p->comparing && !p->stage.filled && p->stage.writing < BLOCKS_MAX)
        fill(n);
    else if (p->stage.filled && p->stage.writing == 0)
        cut_pull_staged(n);
}

static void block_put(void *context, struct intent *i)
{
    struct node *n = context;
    struct cut_pull *p = &n->cuts.pull;

    if (is_ours(n, i)) {
        CHECK(p->stage.writing > 0);
        p->stage.writing--;
        if (i->result != 0)
            cut_pull_stage_failed(n, i->result, i->detail.text);
        else
            advance(n);
    }
    intent_free(i);
}

static bool fill_step(struct work *w)
{
    struct cut_staging *g = (struct cut_staging *)w;
    struct cut_pull *p = g->pull;

    if (p->diff == NULL) {
        g->error = cut_diff_create(&p->diff, p->store, p->sink, p->spool_dir,
                                   p->compare_wall_ms, &g->detail);
        if (g->error >= 0)
            cut_diff_stage(p->diff, snapshot_sink_digest(p->sink));
    }
    if (g->error >= 0)
        g->error = cut_diff_fill(p->diff, &g->block->block, &g->detail);
    return g->error == SNAPSHOT_MORE &&
           g->block->block.size < STAGE_BLOCK_BYTES;
}

static void fill_done(struct work *w)
{
    struct cut_staging *g = (struct cut_staging *)w;
    struct cut_pull *p = g->pull;
    struct node *n = p->node;
    struct stage *block = g->block;
    int error;

    g->block = NULL;
    p->comparing = false;
    if (p->phase != PULL_STAGE || g->error < 0) {
        stage_free(block);
        if (p->phase == PULL_STAGE)
            cut_pull_stage_failed(n, g->error, g->detail.text);
        else
            cut_pull_forget(n);
        return;
    }
    g->filled = g->error == SNAPSHOT_DONE;
    block->bank = cut_diff_bank(p->diff);
    error = submit(n, block, block_put);
    if (error != 0) {
        cut_pull_stage_failed(n, error, "the writer has too much to do");
        return;
    }
    g->writing++;
    advance(n);
}

static void fill(struct node *n)
{
    struct cut_pull *p = &n->cuts.pull;
    struct cut_staging *g = &p->stage;

    g->block = stage_new(STAGE_BLOCK);
    if (g->block == NULL) {
        cut_pull_stage_failed(n, CM_ERR_NOMEM, "out of memory");
        return;
    }
    g->error = 0;
    g->detail.text[0] = '\0';
    g->pull = p;
    g->work = (struct work){
        .step = fill_step, .done = fill_done, .lane = WORK_LANE_CUT};
    p->comparing = true;
    n->ports.work->submit(n->ports.ctx, &g->work);
}

/* ---- before and behind them ---- */

static void begun(void *context, struct intent *i)
{
    struct node *n = context;

    if (is_ours(n, i)) {
        if (i->result != 0)
            cut_pull_stage_failed(n, i->result, i->detail.text);
        else
            advance(n);
    }
    intent_free(i);
}

static void cleared(void *context, struct intent *i)
{
    struct node *n = context;
    int error;

    if (is_ours(n, i)) {
        error = i->result;
        if (error == 0 && i->more)
            error = submit_step(n, STAGE_SWEEP, cleared);
        else if (error == 0)
            error = submit_step(n, STAGE_BEGIN, begun);
        if (error != 0)
            cut_pull_stage_failed(n, error, i->detail.text);
    }
    intent_free(i);
}

void cut_stage_begin(struct node *n)
{
    struct cut_pull *p = &n->cuts.pull;
    int error;

    CHECK(!p->comparing && p->sink != NULL && p->diff == NULL);
    CM_MARK("cut: staged in the other bank");
    p->phase = PULL_STAGE;
    p->stage.serial++;
    p->stage.filled = false;
    p->stage.writing = 0;
    node_log(n, 'I', "cut: it changes much, and is staged");
    error = submit_step(n, STAGE_SWEEP, cleared);
    if (error != 0)
        cut_pull_stage_failed(n, error, "the writer has too much to do");
}

static void settled(void *context, struct intent *i)
{
    struct node *n = context;

    if (is_ours(n, i)) {
        if (i->result != 0)
            cut_pull_stage_failed(n, i->result, i->detail.text);
        else if (i->more)
            cut_stage_settle(n);
        else
            cut_pull_settled(n);
    }
    intent_free(i);
}

void cut_stage_settle(struct node *n)
{
    int error;

    n->cuts.pull.phase = PULL_STAGE;
    error = submit_step(n, STAGE_SETTLE, settled);
    if (error != 0)
        cut_pull_stage_failed(n, error, "the writer has too much to do");
}

/* ---- what is left over ---- */

static void swept(void *context, struct intent *i)
{
    struct node *n = context;

    stage_free(i->replacement);
    n->cuts.sweeping = false;
    n->cuts.sweep_ms = node_now(n) + (i->result == 0 ? 0 : SWEEP_RETRY_MS);
    intent_free(i);
}

static bool wants_sweep(const struct node *n)
{
    const struct cut_pull *p = &n->cuts.pull;

    return n->cuts.shadow && !n->cuts.sweeping && p->phase != PULL_STAGE &&
           p->phase != PULL_APPLY;
}

void cut_stage_tick(struct node *n, uint64_t now)
{
    if (!wants_sweep(n) || now < n->cuts.sweep_ms)
        return;
    n->cuts.sweeping = submit_step(n, STAGE_SWEEP, swept) == 0;
    if (!n->cuts.sweeping)
        n->cuts.sweep_ms = now + SWEEP_RETRY_MS;
}

uint64_t cut_stage_deadline(const struct node *n)
{
    return wants_sweep(n) ? n->cuts.sweep_ms : UINT64_MAX;
}
