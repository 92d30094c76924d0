/* The small objects of each target, on its second lane, one job at a time: who
 * shares it is looked up (uploaders.c), the chain of an earlier process is
 * found again, then a delta is put every few seconds. Behind a snapshot that is
 * under way nothing waits: deltas go on with the chain before it. */
#include <sodium.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/node_internal.h"
#include "node/snapshot_resume.h"

/* A target hears from an uploader every so many intervals, at least. */
#define HEARTBEAT_INTERVALS 6
#define RETRY_MS 30000 /* after the target could not be read */

struct delta_task {
    struct work work;
    struct node *node;
    struct upload_target *target;
    struct delta_job *job;
    uint64_t revision; /* state at least as new as this is in it */
    uint64_t wall_ms;
    uint64_t begun_ms;
    int error;
    struct cm_detail detail;
};

struct resume_task {
    struct work work;
    struct node *node;
    struct upload_target *target;
    struct resume_job *job;
    int error;
    struct cm_detail detail;
};

uint64_t deltas_beat_ms(const struct node *n)
{
    return HEARTBEAT_INTERVALS * n->delta_interval_ms;
}

int deltas_begin_chain(struct upload_target *t, uint64_t sequence,
                       const struct hash *manifest, const struct vv *vv)
{
    struct snapshot_chain *c = &t->chain;

    snapshot_chain_release(c);
    if (vv_copy(&c->vv, vv) != 0)
        return CM_ERR_NOMEM; /* no chain: the next snapshot begins one */
    c->base_sequence = sequence;
    c->base = *manifest;
    return 0;
}

/* ---- a delta ---- */

static bool delta_step(struct work *w)
{
    struct delta_task *t = (struct delta_task *)w;

    t->error = delta_job_step(t->job, &t->detail);
    return t->error > 0;
}

static void delta_stop(struct work *w)
{
    delta_job_stop(((struct delta_task *)w)->job);
}

/* What was put before something failed is in the chain as well. */
static void take_chain(struct upload_target *t, const struct snapshot_chain *c)
{
    struct snapshot_chain *mine = &t->chain;
    struct vv vv;

    if (mine->base_sequence != c->base_sequence ||
        !hash_equal(&mine->base, &c->base))
        return; /* a snapshot has begun another one meanwhile */
    vv_init(&vv);
    if (vv_copy(&vv, &c->vv) != 0) {
        snapshot_chain_release(mine);
        return;
    }
    vv_release(&mine->vv);
    mine->vv = vv;
    mine->number = c->number;
    mine->last = c->last;
}

static void delta_succeeded(struct node *n, struct delta_task *d)
{
    struct upload_target *t = d->target;
    const struct delta_outcome *o = delta_job_outcome(d->job);
    const struct snapshot_chain *c = delta_job_chain(d->job);

    /* Of a chain that a snapshot has replaced meanwhile nothing is known. */
    if (t->chain.base_sequence == c->base_sequence &&
        t->delta_revision < d->revision)
        t->delta_revision = d->revision;
    if (o->events == 0 && c->number == 0)
        t->revision = t->delta_revision; /* the manifest is all there is */
    if (t->status.covered_wall_ms < d->wall_ms)
        t->status.covered_wall_ms = d->wall_ms;
    if (o->heartbeat) {
        t->heartbeat_due_ms = node_now(n) + deltas_beat_ms(n);
        t->heartbeat_owed = false;
    }
    t->status.error[0] = '\0';
    upload_hook_call(n);
}

static void delta_done(struct work *w)
{
    struct delta_task *d = (struct delta_task *)w;
    struct node *n = d->node;
    struct upload_target *t = d->target;
    const struct delta_outcome *o = delta_job_outcome(d->job);

    t->busy = false;
    t->delta_took_ms = node_now(n) - d->begun_ms;
    take_chain(t, delta_job_chain(d->job));
    t->status.deltas += o->deltas;
    t->status.delta_bytes += o->bytes;
    if (d->error == 0)
        delta_succeeded(n, d);
    else if (d->error == CM_ERR_NEEDS_CUT)
        snapshot_chain_release(&t->chain);
    else
        snapshots_failed(n, t, "delta", &d->detail);
    delta_job_free(d->job);
    cm_free(d);
}

static void submit(struct node *n, struct upload_target *t, struct work *w)
{
    CHECK(!t->busy);
    t->busy = true;
    w->lane = t->lane + 1;
    n->ports.work->submit(n->ports.ctx, w);
}

static void delta_start(struct node *n, struct upload_target *t, bool heartbeat)
{
    struct delta_task *d = cm_calloc(1, sizeof *d);
    struct delta_job_config c = {
        .store = n->store,
        .mesh = n->mesh,
        .target = t->url,
        .rate = &n->rate,
        .wall_ms = node_wall(n),
        .chain = &t->chain,
        .heartbeat = heartbeat,
    };
    struct data_key key = {.sealed_size = 0};
    struct cm_detail detail = {""};
    int error = 0;

    if (d == NULL)
        return;
    d->node = n;
    d->target = t;
    d->revision = n->revision;
    d->wall_ms = c.wall_ms;
    d->begun_ms = node_now(n);
    memcpy(c.sign_secret_key, n->sign_secret_key, sizeof c.sign_secret_key);
    if (n->snapshot_recipients_count > 0) {
        error = snapshots_data_key(n, &key, &detail);
        c.data_key = key.key;
    }
    if (error == 0)
        error = delta_job_create(&d->job, &c, &detail);
    sodium_memzero(&key, sizeof key);
    sodium_memzero(&c, sizeof c);
    if (error != 0) {
        snapshots_failed(n, t, "delta", &detail);
        cm_free(d);
        return;
    }
    d->work = (struct work){
        .step = delta_step, .done = delta_done, .stop = delta_stop};
    submit(n, t, &d->work);
}

/* ---- the chain of an earlier process ---- */

static bool resume_step(struct work *w)
{
    struct resume_task *t = (struct resume_task *)w;

    t->error = resume_job_step(t->job, &t->detail);
    return t->error > 0;
}

static void resume_stop(struct work *w)
{
    resume_job_stop(((struct resume_task *)w)->job);
}

/* The next snapshot comes when it would have come without the restart. */
static void take_resumed(struct node *n, struct upload_target *t,
                         const struct resume_job *j)
{
    const struct snapshot_chain *c = resume_job_chain(j);
    uint64_t interval = n->snapshot_interval_ms;
    uint64_t wall = node_wall(n);
    uint64_t made = resume_job_created_ms(j);
    uint64_t age = wall > made ? wall - made : 0;

    if (t->chain.base_sequence != 0 || c->base_sequence == 0 ||
        deltas_begin_chain(t, c->base_sequence, &c->base, &c->vv) != 0)
        return;
    t->chain.number = c->number;
    t->chain.last = c->last;
    t->wall_ms = made;
    t->status.wall_ms = made;
    t->status.sequence = c->base_sequence;
    /* What it covers is told by the first delta or heartbeat. */
    t->delta_revision = 0;
    if (t->due_ms != 0)
        t->due_ms = node_now(n) + (age < interval ? interval - age : 0);
    node_log(n, 'I',
             "snapshots to %s go on behind number %llu and its %llu deltas",
             t->url, (unsigned long long)c->base_sequence,
             (unsigned long long)c->number);
}

static void resume_done(struct work *w)
{
    struct resume_task *r = (struct resume_task *)w;
    struct node *n = r->node;
    struct upload_target *t = r->target;

    t->busy = false;
    if (r->error == 0) {
        t->resumed = true;
        take_resumed(n, t, r->job);
    } else {
        snapshots_failed(n, t, "going on", &r->detail);
        t->delta_due_ms = node_now(n) + n->delta_interval_ms;
    }
    resume_job_free(r->job);
    cm_free(r);
}

static void resume_start(struct node *n, struct upload_target *t)
{
    struct resume_task *r = cm_calloc(1, sizeof *r);
    struct resume_config c = {
        .target = t->url,
        .mesh = n->mesh,
        .generation = n->generation,
        .known_sequence = t->memory.sequence,
    };
    struct data_key key = {.sealed_size = 0};
    struct cm_detail detail = {""};
    int error = 0;

    if (r == NULL)
        return;
    r->node = n;
    r->target = t;
    memcpy(c.authority_public_key, n->authority_public_key, 32);
    memcpy(c.sign_public_key, n->sign_public_key, 32);
    if (n->snapshot_recipients_count > 0) {
        error = snapshots_data_key(n, &key, &detail);
        c.data_key = key.key;
        c.sealed = slice_of(key.sealed, key.sealed_size);
    }
    if (error == 0)
        error = resume_job_create(&r->job, &c, &detail);
    sodium_memzero(&key, sizeof key);
    if (error != 0) {
        snapshots_failed(n, t, "going on", &detail);
        t->delta_due_ms = node_now(n) + n->delta_interval_ms;
        cm_free(r);
        return;
    }
    r->work = (struct work){
        .step = resume_step, .done = resume_done, .stop = resume_stop};
    submit(n, t, &r->work);
}

/* ---- when ---- */

static uint64_t target_deadline(const struct node *n,
                                const struct upload_target *t)
{
    uint64_t due = uploaders_look_ms(n, t);

    if (t->busy)
        return UINT64_MAX;
    if (t->uploads && n->delta_interval_ms > 0 && t->delta_due_ms < due)
        due = t->delta_due_ms;
    return due;
}

uint64_t deltas_deadline(const struct node *n)
{
    uint64_t due = UINT64_MAX;

    for (size_t i = 0; i < n->targets_count && n->ready; i++) {
        uint64_t own = target_deadline(n, &n->targets[i]);

        if (own < due)
            due = own;
    }
    return due;
}

/* From one delta's beginning to the next one's. What is written right after one
 * has begun is at the target when the next one has ended: that is to be within
 * the interval, if the next one takes at most twice as long as the last. */
static uint64_t pause_ms(const struct node *n, const struct upload_target *t)
{
    uint64_t interval = n->delta_interval_ms;
    uint64_t ahead = interval / 20 + 2 * t->delta_took_ms;

    return interval - (ahead < interval / 2 ? ahead : interval / 2);
}

static void tick(struct node *n, struct upload_target *t, uint64_t now)
{
    bool quiet = t->delta_revision == n->revision;

    if (now >= uploaders_look_ms(n, t)) {
        uploaders_look(n, t);
        return;
    }
    t->delta_due_ms = now + pause_ms(n, t);
    if (!t->resumed) {
        t->delta_due_ms = now; /* as soon as it is known */
        resume_start(n, t);
        return;
    }
    if (t->chain.base_sequence == 0) {
        if (!t->running && now >= t->retry_ms)
            t->due_ms = now; /* a snapshot begins one */
        return;
    }
    /* The first quiet tick tells how far the deltas before it came. */
    if (quiet && !t->heartbeat_owed && now < t->heartbeat_due_ms)
        return;
    t->heartbeat_owed = t->heartbeat_owed || !quiet;
    delta_start(n, t, now >= t->heartbeat_due_ms);
}

void deltas_tick(struct node *n, uint64_t now)
{
    for (size_t i = 0; i < n->targets_count && n->ready; i++)
        if (now >= target_deadline(n, &n->targets[i]))
            tick(n, &n->targets[i], now);
}
