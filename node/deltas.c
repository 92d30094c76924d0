/* When a delta is due, and its job on the snapshot lane, behind a snapshot that
 * is under way. A chain lives as long as this process: after a start, and
 * whenever events are gone before they could be put, a snapshot begins a new
 * one. */
#include <sodium.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/node_internal.h"

/* While nothing happens a target hears from us this often, at least. */
#define HEARTBEAT_MS 60000

struct delta_task {
    struct work work;
    struct node *node;
    struct delta_job *job;
    uint64_t revision; /* state at least as new as this is in it */
    uint64_t wall_ms;
    int error;
    struct cm_detail detail;
};

int deltas_begin_chain(struct node *n, uint64_t sequence,
                       const struct hash *manifest, const struct vv *vv)
{
    struct snapshot_chain *c = &n->snapshot_chain;

    snapshot_chain_release(c);
    if (vv_copy(&c->vv, vv) != 0)
        return CM_ERR_NOMEM; /* no chain: the next snapshot begins one */
    c->base_sequence = sequence;
    c->base = *manifest;
    return 0;
}

static bool task_step(struct work *w)
{
    struct delta_task *t = (struct delta_task *)w;

    t->error = delta_job_step(t->job, &t->detail);
    return t->error > 0;
}

static void task_stop(struct work *w)
{
    delta_job_stop(((struct delta_task *)w)->job);
}

/* What was put before something failed is in the chain as well. */
static void take_chain(struct node *n, const struct snapshot_chain *c)
{
    struct snapshot_chain *mine = &n->snapshot_chain;
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

static void task_done(struct work *w)
{
    struct delta_task *t = (struct delta_task *)w;
    struct node *n = t->node;
    const struct delta_outcome *o = delta_job_outcome(t->job);

    n->delta_running = false;
    take_chain(n, delta_job_chain(t->job));
    n->status.snapshot_deltas += o->deltas;
    n->status.snapshot_delta_bytes += o->bytes;
    if (t->error == 0) {
        n->delta_revision = t->revision;
        n->status.snapshot_covered_wall_ms = t->wall_ms;
    } else if (t->error == CM_ERR_NEEDS_CUT) {
        snapshot_chain_release(&n->snapshot_chain);
    } else {
        n->status.snapshot_failures++;
        node_log(n, 'E', "delta to %s failed: %s", n->snapshot_to,
                 t->detail.text);
    }
    delta_job_free(t->job);
    cm_free(t);
}

static int start(struct node *n)
{
    struct delta_task *t = cm_calloc(1, sizeof *t);
    struct delta_job_config c = {
        .store = n->store,
        .mesh = mesh_id_of(n->authority_public_key),
        .target = n->snapshot_to,
        .target_may_exec = true,
        .wall_ms = node_wall(n),
        .chain = &n->snapshot_chain,
    };
    struct data_key key = {.sealed_size = 0};
    int error = 0;

    if (t == NULL)
        return CM_ERR_NOMEM;
    t->node = n;
    t->revision = n->revision;
    t->wall_ms = c.wall_ms;
    memcpy(c.sign_secret_key, n->sign_secret_key, sizeof c.sign_secret_key);
    if (n->snapshot_recipients_count > 0) {
        error = snapshots_data_key(n, &key, &t->detail);
        c.data_key = key.key;
    }
    if (error == 0)
        error = delta_job_create(&t->job, &c, &t->detail);
    sodium_memzero(&key, sizeof key);
    sodium_memzero(&c, sizeof c);
    if (error != 0) {
        n->status.snapshot_failures++;
        node_log(n, 'E', "delta to %s failed: %s", n->snapshot_to,
                 t->detail.text);
        cm_free(t);
        return error;
    }
    t->work = (struct work){.step = task_step,
                            .done = task_done,
                            .stop = task_stop,
                            .lane = WORK_LANE_SNAPSHOT};
    n->delta_running = true;
    n->ports.work->submit(n->ports.ctx, &t->work);
    return 0;
}

uint64_t deltas_deadline(const struct node *n)
{
    if (n->delta_interval_ms == 0 || n->snapshot_to == NULL ||
        n->delta_running || n->snapshot_running || !n->ready)
        return UINT64_MAX;
    return n->delta_due_ms;
}

void deltas_tick(struct node *n, uint64_t now)
{
    if (now < deltas_deadline(n))
        return;
    n->delta_due_ms = now + n->delta_interval_ms;
    if (n->snapshot_chain.base_sequence == 0) {
        node_snapshot_now(n, NULL, NULL, NULL);
        return;
    }
    if (n->delta_revision == n->revision && now < n->heartbeat_due_ms)
        return;
    /* The first quiet tick tells how far the deltas before it came. */
    n->heartbeat_due_ms =
        n->delta_revision == n->revision ? now + HEARTBEAT_MS : now;
    (void)start(n);
}
