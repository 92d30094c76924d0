/* Snapshots: when they are due, and the job on the snapshot lane. At most one
 * runs at a time; a second request while one runs is told so. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/node_internal.h"

#define RETRY_MS 30000 /* after a failed periodic one */

struct snapshot_task {
    struct work work;
    struct node *node;
    struct snapshot_job *job;
    uint64_t wall_ms;
    char *to;
    uint64_t revision; /* state at least as new as this is in it */
    bool own;          /* to the node's own target */
    int error;
    struct cm_detail detail;
    node_snapshot_done done;
    void *ctx;
    struct snapshot_outcome outcome;
};

int snapshots_init(struct node *n, const struct node_config *config)
{
    static const uint8_t authority[32];
    size_t i;
    int error = 0;

    if (config->snapshot_recipients_count > SEALED_RECIPIENTS_MAX)
        return CM_ERR_LIMIT;
    for (i = 0; i < config->snapshot_recipients_count && error == 0; i++)
        error =
            recovery_key_parse(n->snapshot_recipients[i],
                               config->snapshot_recipients[i], authority, NULL);
    n->snapshot_recipients_count = config->snapshot_recipients_count;
    n->snapshot_begun_wall_ms = node_wall(n);
    n->delta_interval_ms = config->snapshot_delta_ms;
    n->delta_due_ms = node_now(n) + config->snapshot_delta_ms;
    vv_init(&n->snapshot_chain.vv);
    return error;
}

void snapshots_status(const struct node *n, struct node_status *s)
{
    uint64_t now = node_wall(n);
    uint64_t since = s->snapshot_covered_wall_ms > n->snapshot_begun_wall_ms
                         ? s->snapshot_covered_wall_ms
                         : n->snapshot_begun_wall_ms;

    s->snapshot_interval_ms =
        n->snapshot_to != NULL ? n->snapshot_interval_ms : 0;
    s->snapshot_age_ms = now > since ? now - since : 0;
}

void snapshots_load(struct node *n)
{
    struct snapshot_memory memory;
    struct slice bytes;

    if (store_reader_renew(n->reader) != 0)
        return;
    if (store_meta(n->reader, META_SNAPSHOT, &bytes) == 0) {
        if (snapshot_memory_unpack(&memory, bytes) == 0) {
            n->snapshot_sequence = memory.sequence;
            n->snapshot_hash = memory.hash;
        } else {
            node_log(n, 'W', "the record of the last snapshot is unreadable");
        }
    }
    store_reader_reset(n->reader);
}

static void record_done(void *context, struct intent *i)
{
    struct node *n = context;

    if (i->result != 0)
        node_log(n, 'W', "the snapshot's sequence was not stored: %s",
                 cm_strerror(i->result));
    intent_free(i);
}

static void record(struct node *n)
{
    struct intent *i = intent_new(INTENT_META);
    struct buffer out;

    if (i == NULL)
        return;
    buffer_init(&out, 256);
    snapshot_memory_pack(
        &out, &(struct snapshot_memory){.sequence = n->snapshot_sequence,
                                        .hash = n->snapshot_hash});
    i->done = record_done;
    i->context = n;
    if (out.error != 0 ||
        intent_add_fact(i, META_SNAPSHOT, buffer_slice(&out)) != 0 ||
        n->ports.writer->submit(n->ports.ctx, i) != 0)
        intent_free(i);
    buffer_release(&out);
}

static void report(struct snapshot_task *t)
{
    struct snapshot_report r = {.error = t->error};

    if (t->done == NULL)
        return;
    (void)snprintf(r.detail, sizeof r.detail, "%s", t->detail.text);
    if (t->error == 0) {
        _Static_assert(sizeof r.name >= sizeof t->outcome.name, "a name fits");
        (void)snprintf(r.name, sizeof r.name, "%s", t->outcome.name);
        r.sequence = t->outcome.sequence;
        r.entries = t->outcome.entries;
        r.chunks = t->outcome.chunks;
        r.chunks_new = t->outcome.chunks_new;
        r.bytes = t->outcome.bytes;
        r.bytes_new = t->outcome.bytes_new;
    }
    t->done(t->ctx, &r);
}

static void task_free(struct snapshot_task *t)
{
    snapshot_job_free(t->job);
    cm_free(t->to);
    cm_free(t);
}

static bool task_step(struct work *w)
{
    struct snapshot_task *t = (struct snapshot_task *)w;

    t->error = snapshot_job_step(t->job, &t->detail);
    return t->error > 0;
}

static void task_stop(struct work *w)
{
    snapshot_job_stop(((struct snapshot_task *)w)->job);
}

static void task_done(struct work *w)
{
    struct snapshot_task *t = (struct snapshot_task *)w;
    struct node *n = t->node;

    n->snapshot_running = false;
    if (t->error == 0) {
        t->outcome = *snapshot_job_outcome(t->job);
        n->snapshot_sequence = t->outcome.sequence;
        n->snapshot_hash = t->outcome.manifest_hash;
        n->snapshot_wall_ms = t->wall_ms;
        n->snapshot_revision = t->revision;
        if (t->own) {
            (void)deltas_begin_chain(n, t->outcome.sequence,
                                     &t->outcome.manifest_hash,
                                     snapshot_job_vv(t->job));
            n->delta_revision = t->revision;
            n->status.snapshot_covered_wall_ms = t->wall_ms;
        }
        n->snapshot_trusted = n->snapshot_trusted || t->own;
        n->status.snapshot_error[0] = '\0';
        record(n);
        node_log(n, 'I', "snapshot %s: %llu entries, %llu of %llu objects new",
                 t->outcome.name, (unsigned long long)t->outcome.entries,
                 (unsigned long long)t->outcome.chunks_new,
                 (unsigned long long)t->outcome.chunks);
    } else {
        n->status.snapshot_failures++;
        (void)snprintf(n->status.snapshot_error,
                       sizeof n->status.snapshot_error, "%s", t->detail.text);
        node_log(n, 'E', "snapshot to %s failed: %s", t->to, t->detail.text);
        if (n->snapshot_due_ms != 0)
            n->snapshot_due_ms = node_now(n) + RETRY_MS;
    }
    report(t);
    task_free(t);
}

int snapshots_data_key(struct node *n, struct data_key *ret_key,
                       struct cm_detail *detail)
{
    struct mesh_id mesh = mesh_id_of(n->authority_public_key);
    uint8_t recipients[SEALED_RECIPIENTS_MAX][32];
    size_t i;

    for (i = 0; i < n->snapshot_recipients_count; i++)
        memcpy(recipients[i],
               sodium_is_zero(n->snapshot_recipients[i], 32)
                   ? n->authority_public_key
                   : n->snapshot_recipients[i],
               32);
    return data_key_load(ret_key, n->spool_dir, &mesh,
                         (const uint8_t(*)[32])recipients,
                         n->snapshot_recipients_count, detail);
}

static int task_start(struct node *n, struct snapshot_task *t, const char *to)
{
    struct snapshot_job_config c = {
        .store = n->store,
        .target = to,
        .target_may_exec = to == n->snapshot_to,
        .spool_dir = n->spool_dir,
        .wall_ms = node_wall(n),
        .thorough = !n->snapshot_trusted || t->done != NULL,
        .previous = {.sequence = n->snapshot_sequence,
                     .hash = n->snapshot_hash},
    };
    struct data_key key = {.sealed_size = 0};
    int error;

    t->node = n;
    t->to = cm_alloc(strlen(to) + 1);
    if (t->to == NULL)
        return CM_ERR_NOMEM;
    memcpy(t->to, to, strlen(to) + 1);
    memcpy(c.sign_secret_key, n->sign_secret_key, sizeof c.sign_secret_key);
    t->wall_ms = c.wall_ms;
    t->revision = n->revision;
    t->own = to == n->snapshot_to;
    if (n->snapshot_recipients_count > 0) {
        error = snapshots_data_key(n, &key, &t->detail);
        if (error != 0)
            return error;
        c.data_key = key.key;
        c.sealed = slice_of(key.sealed, key.sealed_size);
    }
    error = snapshot_job_create(&t->job, &c, &t->detail);
    sodium_memzero(&key, sizeof key);
    sodium_memzero(&c, sizeof c);
    if (error != 0)
        return error;
    t->work = (struct work){.step = task_step,
                            .done = task_done,
                            .stop = task_stop,
                            .lane = WORK_LANE_SNAPSHOT};
    n->snapshot_running = true;
    n->ports.work->submit(n->ports.ctx, &t->work);
    return 0;
}

static void refuse(node_snapshot_done done, void *ctx, int error,
                   const char *text)
{
    struct snapshot_report r = {.error = error};

    (void)snprintf(r.detail, sizeof r.detail, "%s", text);
    if (done != NULL)
        done(ctx, &r);
}

void node_snapshot_now(struct node *n, const char *to, node_snapshot_done done,
                       void *ctx)
{
    struct snapshot_task *t;
    int error;

    if (to == NULL)
        to = n->snapshot_to;
    if (!n->ready || n->snapshot_running || to == NULL) {
        refuse(done, ctx,
               !n->ready    ? CM_ERR_NOT_READY
               : to == NULL ? CM_ERR_INVALID
                            : CM_ERR_BUSY,
               !n->ready ? "the node is not ready"
               : to == NULL
                   ? "no target: say --to URL, or start the node with "
                     "--snapshot-to URL"
                   : "a snapshot is being taken already: try again when it is "
                     "done");
        return;
    }
    t = cm_calloc(1, sizeof *t);
    if (t == NULL) {
        refuse(done, ctx, CM_ERR_NOMEM, "out of memory");
        return;
    }
    t->done = done;
    t->ctx = ctx;
    /* Once it has started, the task and its error are the worker's. */
    error = task_start(n, t, to);
    if (error != 0) {
        t->error = error;
        n->status.snapshot_failures++;
        (void)snprintf(n->status.snapshot_error,
                       sizeof n->status.snapshot_error, "%s", t->detail.text);
        report(t);
        task_free(t);
    }
}

uint64_t snapshots_deadline(const struct node *n)
{
    if (n->snapshot_due_ms == 0 || n->snapshot_running || !n->ready)
        return UINT64_MAX;
    return n->snapshot_due_ms;
}

void snapshots_tick(struct node *n, uint64_t now)
{
    uint64_t interval = n->snapshot_interval_ms;

    if (now < snapshots_deadline(n))
        return;
    /* With jitter, so that a fleet does not knock all at once. */
    n->snapshot_due_ms = now + interval - interval / 10 +
                         random_below(&n->random, interval / 5 + 1);
    /* The same state again would only repeat the newest manifest. */
    if (n->snapshot_wall_ms != 0 && n->snapshot_revision == n->revision) {
        n->status.snapshot_covered_wall_ms = node_wall(n);
        return;
    }
    node_snapshot_now(n, NULL, NULL, NULL);
}
