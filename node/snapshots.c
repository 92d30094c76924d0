/* Snapshots: when they are due, the scan that serves all targets at once, and
 * an upload to each on a lane of its own. On demand to some other target: one
 * job that does it all, on the snapshot lane. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"

#define RETRY_MS 30000     /* after a failed periodic one */
#define FIRST_LOOK_MS 5000 /* at most, until it is looked who uploads */
/* META_SNAPSHOT_TARGETS: of each target [hash of its URL bin16, sequence,
 * manifest's hash bin32], in an array. */
#define META_SNAPSHOT_TARGETS "snapshot-targets"
/* The state's digest is added up by the first scan, and again so long after the
 * last one that did. Between them the one is taken that each commit has kept
 * from there on. */
#define SUM_AGAIN_MS (UINT64_C(24) * 3600 * 1000)
#define TARGET_ID_SIZE 16

/* Who asked for a snapshot now, until every target has answered. */
struct request {
    node_snapshot_done done;
    void *ctx;
    unsigned open; /* uploads under way */
    bool told;     /* report is of a success or of the first failure */
    struct snapshot_report report;
};

/* One scan, read by all the uploads that it was made for. */
struct shared_scan {
    struct work work;
    struct node *node;
    struct snapshot_scan scan;
    unsigned references;
    bool wanted[UPLOAD_TARGETS_MAX];
    uint64_t wall_ms;
    uint64_t revision; /* state at least as new as this is in it */
    struct data_key key;
    struct request *request; /* or NULL */
    int error;
    struct cm_detail detail;
};

struct snapshot_task {
    struct work work;
    struct node *node;
    struct snapshot_job *job;
    struct upload_target *target; /* NULL: another one */
    struct shared_scan *scan;     /* NULL: the job's own */
    char *to;
    uint64_t wall_ms;
    struct request *request; /* or NULL */
    int error;
    struct cm_detail detail;
};

/* ---- life ---- */

static int add_target(struct node *n, const char *url)
{
    struct upload_target *t = &n->targets[n->targets_count];
    size_t size = strlen(url) + 1;

    t->url = cm_alloc(size);
    if (t->url == NULL)
        return CM_ERR_NOMEM;
    memcpy(t->url, url, size);
    t->lane = WORK_LANE_UPLOAD + 2 * (unsigned)n->targets_count;
    vv_init(&t->chain.vv);
    t->status.phase = "";
    n->targets_count++;
    return 0;
}

int snapshots_init(struct node *n, const struct node_config *config)
{
    static const uint8_t authority[32];
    size_t i;
    int error = 0;

    if (config->snapshot_recipients_count > SEALED_RECIPIENTS_MAX ||
        config->snapshot_to_count > UPLOAD_TARGETS_MAX)
        return CM_ERR_LIMIT;
    for (i = 0; i < config->snapshot_to_count && error == 0; i++)
        error = add_target(n, config->snapshot_to[i]);
    for (i = 0; i < config->snapshot_recipients_count && error == 0; i++)
        error =
            recovery_key_parse(n->snapshot_recipients[i],
                               config->snapshot_recipients[i], authority, NULL);
    n->snapshot_recipients_count = config->snapshot_recipients_count;
    if (error == 0 && config->snapshot_hook != NULL) {
        size_t size = strlen(config->snapshot_hook) + 1;

        n->snapshot_hook = cm_alloc(size);
        if (n->snapshot_hook == NULL)
            error = CM_ERR_NOMEM;
        else
            memcpy(n->snapshot_hook, config->snapshot_hook, size);
    }
    n->snapshot_begun_wall_ms = node_wall(n);
    n->snapshot_interval_ms =
        config->snapshot_interval_ms < SNAPSHOT_INTERVAL_MS_MAX
            ? config->snapshot_interval_ms
            : SNAPSHOT_INTERVAL_MS_MAX;
    n->delta_interval_ms = config->snapshot_delta_ms;
    n->drills.interval_ms = config->snapshot_drill_ms;
    object_rate_init(&n->rate, config->snapshot_bandwidth);
    n->has_rate = true;
    for (i = 0; i < n->targets_count; i++)
        n->targets[i].delta_due_ms = node_now(n) + config->snapshot_delta_ms;
    return error;
}

void snapshots_release(struct node *n)
{
    for (size_t i = 0; i < n->targets_count; i++) {
        cm_free(n->targets[i].url);
        snapshot_chain_release(&n->targets[i].chain);
    }
    n->targets_count = 0;
    cm_free(n->snapshot_hook);
    if (n->has_rate)
        object_rate_release(&n->rate);
}

void snapshots_ready(struct node *n)
{
    uint64_t now = node_now(n);
    uint64_t wait = n->delta_interval_ms > 0 ? n->delta_interval_ms
                                             : n->snapshot_interval_ms;

    for (size_t i = 0; i < n->targets_count; i++) {
        if (n->snapshot_interval_ms > 0)
            n->targets[i].due_ms = now + n->snapshot_interval_ms;
        /* Until then it is known who lives. */
        n->targets[i].look_due_ms =
            now + (wait / 2 < FIRST_LOOK_MS ? wait / 2 : FIRST_LOOK_MS);
    }
}

/* ---- what is remembered ---- */

static void target_id(uint8_t ret_id[TARGET_ID_SIZE], const char *url)
{
    struct hash h =
        hash_of("confmesh snapshot target v1", slice_of_string(url));

    memcpy(ret_id, h.bytes, TARGET_ID_SIZE);
}

static void load_one(struct node *n, struct unpacker *u)
{
    uint8_t id[TARGET_ID_SIZE] = {0};
    struct snapshot_memory m = {0};

    unpack_array_of(u, 3);
    unpack_bytes(u, id, sizeof id);
    m.sequence = unpack_uint(u, UINT64_MAX - 1);
    unpack_bytes(u, m.hash.bytes, HASH_SIZE);
    for (size_t i = 0; i < n->targets_count && u->error == 0; i++) {
        uint8_t own[TARGET_ID_SIZE];

        target_id(own, n->targets[i].url);
        if (memcmp(own, id, sizeof own) == 0) {
            n->targets[i].memory = m;
            n->targets[i].status.sequence = m.sequence;
        }
    }
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
            n->snapshot_foreign = memory;
            atomic_store(&n->snapshot_numbers, memory.sequence);
        } else {
            node_log(n, 'W', "the record of the last snapshot is unreadable");
        }
    }
    if (store_meta(n->reader, META_SNAPSHOT_TARGETS, &bytes) == 0) {
        struct unpacker u;

        unpack_init(&u, bytes);
        for (size_t left = unpack_array(&u, UPLOAD_TARGETS_MAX);
             left > 0 && u.error == 0; left--)
            load_one(n, &u);
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

static void pack_targets(struct node *n, struct buffer *out)
{
    pack_array(out, n->targets_count);
    for (size_t i = 0; i < n->targets_count; i++) {
        uint8_t id[TARGET_ID_SIZE];

        target_id(id, n->targets[i].url);
        pack_array(out, 3);
        pack_bytes(out, id, sizeof id);
        pack_uint(out, n->targets[i].memory.sequence);
        pack_bytes(out, n->targets[i].memory.hash.bytes, HASH_SIZE);
    }
}

static void record(struct node *n, const struct hash *hash)
{
    struct intent *i = intent_new(INTENT_META);
    struct buffer targets;
    struct buffer out;

    if (i == NULL)
        return;
    buffer_init(&out, 256);
    buffer_init(&targets, 1024);
    snapshot_memory_pack(
        &out, &(struct snapshot_memory){.sequence = n->snapshot_sequence,
                                        .hash = *hash});
    pack_targets(n, &targets);
    i->done = record_done;
    i->context = n;
    if (out.error != 0 || targets.error != 0 ||
        intent_add_fact(i, META_SNAPSHOT, buffer_slice(&out)) != 0 ||
        (n->targets_count > 0 &&
         intent_add_fact(i, META_SNAPSHOT_TARGETS, buffer_slice(&targets)) !=
             0) ||
        n->ports.writer->submit(n->ports.ctx, i) != 0)
        intent_free(i);
    buffer_release(&out);
    buffer_release(&targets);
}

/* ---- requests ---- */

static void request_end(struct request *r)
{
    if (r == NULL || --r->open > 0)
        return;
    if (r->done != NULL)
        r->done(r->ctx, &r->report);
    cm_free(r);
}

static void request_failed(struct request *r, int error, const char *text)
{
    if (r == NULL || (r->told && r->report.error != 0))
        return;
    r->told = true;
    r->report = (struct snapshot_report){.error = error};
    (void)snprintf(r->report.detail, sizeof r->report.detail, "%s", text);
}

static void request_succeeded(struct request *r,
                              const struct snapshot_outcome *o)
{
    if (r == NULL || r->told)
        return;
    r->told = true;
    _Static_assert(sizeof r->report.name >= sizeof o->name, "a name fits");
    (void)snprintf(r->report.name, sizeof r->report.name, "%s", o->name);
    r->report.sequence = o->sequence;
    r->report.entries = o->entries;
    r->report.chunks = o->chunks;
    r->report.chunks_new = o->chunks_new;
    r->report.bytes = o->bytes;
    r->report.bytes_new = o->bytes_new;
}

void snapshots_failed(struct node *n, struct upload_target *t, const char *what,
                      const struct cm_detail *detail)
{
    n->status.snapshot_failures++;
    t->status.failures++;
    (void)snprintf(t->status.error, sizeof t->status.error, "%s", detail->text);
    (void)snprintf(n->status.snapshot_error, sizeof n->status.snapshot_error,
                   "%s", detail->text);
    node_log(n, 'E', "%s to %s failed: %s", what, t->url, detail->text);
}

/* ---- uploads ---- */

static void scan_drop(struct shared_scan *s)
{
    if (s == NULL || --s->references > 0)
        return;
    snapshot_scan_release(&s->scan);
    sodium_memzero(&s->key, sizeof s->key);
    cm_free(s);
}

static void task_free(struct snapshot_task *t)
{
    snapshot_job_free(t->job);
    scan_drop(t->scan);
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

static void target_succeeded(struct snapshot_task *s,
                             const struct snapshot_outcome *o)
{
    struct upload_target *t = s->target;

    t->memory = (struct snapshot_memory){.sequence = o->sequence,
                                         .hash = o->manifest_hash};
    t->wall_ms = s->wall_ms;
    t->revision = s->scan->revision;
    t->trusted = true;
    t->resumed = true;
    (void)deltas_begin_chain(t, o->sequence, &o->manifest_hash,
                             snapshot_job_vv(s->job));
    t->delta_revision = t->revision;
    t->status.sequence = o->sequence;
    t->status.wall_ms = s->wall_ms;
    t->status.covered_wall_ms = s->wall_ms;
    t->status.snapshots++;
    t->status.bytes += o->bytes_new;
    t->status.error[0] = '\0';
    upload_hook_call(s->node);
}

static bool trusts_sum(const struct node *n)
{
    return n->snapshot_summed &&
           node_now(n) - n->snapshot_summed_ms < SUM_AGAIN_MS &&
           n->heal.damaged == 0 && !n->heal.scrub.inconsistent;
}

static void note_sum(struct node *n, enum snapshot_sum sum)
{
    if (sum == SNAPSHOT_SUM_KEPT)
        return;
    n->snapshot_summed = sum == SNAPSHOT_SUM_AGREES;
    n->snapshot_summed_ms = node_now(n);
    if (sum == SNAPSHOT_SUM_AGREES)
        return;
    node_log(n, 'E',
             "snapshot: the entries do not add up to the digest that the store "
             "keeps; the manifest says what they add up to");
    n->heal.noted = true;
}

static void task_succeeded(struct node *n, struct snapshot_task *t)
{
    const struct snapshot_outcome *o = snapshot_job_outcome(t->job);

    if (o->sequence > n->snapshot_sequence)
        n->snapshot_sequence = o->sequence;
    n->snapshot_wall_ms = t->wall_ms;
    if (t->target != NULL) {
        target_succeeded(t, o);
    } else {
        note_sum(n, o->sum);
        n->snapshot_foreign = (struct snapshot_memory){
            .sequence = o->sequence, .hash = o->manifest_hash};
    }
    n->status.snapshot_error[0] = '\0';
    record(n, &o->manifest_hash);
    node_log(n, 'I', "snapshot %s: %llu entries, %llu of %llu objects new",
             o->name, (unsigned long long)o->entries,
             (unsigned long long)o->chunks_new, (unsigned long long)o->chunks);
    request_succeeded(t->request, o);
}

static void task_done(struct work *w)
{
    struct snapshot_task *t = (struct snapshot_task *)w;
    struct node *n = t->node;

    if (t->target != NULL) {
        t->target->running = false;
        t->target->job = NULL;
    } else {
        n->snapshot_running = false;
        n->elsewhere.url = NULL;
        n->elsewhere.job = NULL;
    }
    if (t->error == 0) {
        task_succeeded(n, t);
    } else {
        if (t->target != NULL) {
            snapshots_failed(n, t->target, "snapshot", &t->detail);
            t->target->retry_ms = node_now(n) + RETRY_MS;
            if (t->target->due_ms != 0)
                t->target->due_ms = t->target->retry_ms;
        } else {
            n->status.snapshot_failures++;
            (void)snprintf(n->status.snapshot_error,
                           sizeof n->status.snapshot_error, "%s",
                           t->detail.text);
            node_log(n, 'E', "snapshot to %s failed: %s", t->to,
                     t->detail.text);
        }
        request_failed(t->request, t->error, t->detail.text);
    }
    request_end(t->request);
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

static void task_submit(struct node *n, struct snapshot_task *t, unsigned lane)
{
    t->work = (struct work){
        .step = task_step, .done = task_done, .stop = task_stop, .lane = lane};
    n->ports.work->submit(n->ports.ctx, &t->work);
}

/* Of each target one, so that what is at one is not looked for at another. */
static bool log_path(char ret_path[PATH_MAX], const struct node *n,
                     const struct upload_target *t)
{
    uint8_t id[TARGET_ID_SIZE];
    char text[2 * TARGET_ID_SIZE + 1];
    int length;

    target_id(id, t->url);
    hex_encode(text, slice_of(id, sizeof id));
    length = snprintf(ret_path, PATH_MAX, "%s/upload-%s", n->spool_dir, text);
    return length > 0 && length < PATH_MAX;
}

/* One upload of what was scanned. */
static int upload(struct node *n, struct shared_scan *s,
                  struct upload_target *target, struct cm_detail *detail)
{
    struct snapshot_job_config c = {
        .store = n->store,
        .scan = &s->scan,
        .numbers = &n->snapshot_numbers,
        .rate = &n->rate,
        .target = target->url,
        .target_may_exec = true,
        .spool_dir = n->spool_dir,
        .wall_ms = s->wall_ms,
        .thorough = !target->trusted || s->request != NULL,
        .previous = target->memory,
        .sealed = slice_of(s->key.sealed, s->key.sealed_size),
    };
    struct snapshot_task *t = cm_calloc(1, sizeof *t);
    char path[PATH_MAX];
    int error;

    if (t == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    if (log_path(path, n, target))
        c.log_path = path;
    t->node = n;
    t->target = target;
    t->wall_ms = s->wall_ms;
    memcpy(c.sign_secret_key, n->sign_secret_key, sizeof c.sign_secret_key);
    error = snapshot_job_create(&t->job, &c, detail);
    sodium_memzero(&c, sizeof c);
    if (error != 0) {
        cm_free(t);
        return error;
    }
    t->scan = s;
    s->references++;
    snapshot_scan_use(&s->scan);
    t->request = s->request;
    if (t->request != NULL)
        t->request->open++;
    target->job = t->job;
    target->job_begun_ms = node_now(n);
    task_submit(n, t, target->lane);
    return 0;
}

/* ---- the scan ---- */

static bool scan_step(struct work *w)
{
    struct shared_scan *s = (struct shared_scan *)w;

    s->error = snapshot_scan_step(&s->scan, &s->detail);
    return s->error > 0;
}

static void upload_failed(struct node *n, struct shared_scan *s,
                          struct upload_target *t, int error,
                          const struct cm_detail *detail)
{
    t->running = false;
    snapshots_failed(n, t, "snapshot", detail);
    t->retry_ms = node_now(n) + RETRY_MS;
    if (t->due_ms != 0)
        t->due_ms = t->retry_ms;
    request_failed(s->request, error, detail->text);
}

static void scan_done(struct work *w)
{
    struct shared_scan *s = (struct shared_scan *)w;
    struct node *n = s->node;

    n->scanning = false;
    if (s->error == 0)
        note_sum(n, s->scan.sum);
    for (size_t i = 0; i < n->targets_count; i++) {
        struct cm_detail detail = s->detail;
        int error = s->error;

        if (!s->wanted[i])
            continue;
        if (error == 0)
            error = upload(n, s, &n->targets[i], &detail);
        if (error != 0)
            upload_failed(n, s, &n->targets[i], error, &detail);
    }
    request_end(s->request);
    snapshot_scan_leave(&s->scan);
    scan_drop(s);
}

static int scan_begin(struct node *n, struct shared_scan *s)
{
    int error = 0;

    if (n->snapshot_recipients_count > 0)
        error = snapshots_data_key(n, &s->key, &s->detail);
    if (error == 0)
        error = snapshot_scan_begin(
            &s->scan, n->store, n->spool_dir, s->wall_ms,
            n->snapshot_recipients_count > 0 ? s->key.key : NULL, &s->detail);
    if (error == 0 && trusts_sum(n))
        snapshot_scan_trust(&s->scan);
    return error;
}

/* Scans for the targets of wanted. request is taken, if 0 is returned. */
static int scan_start(struct node *n, const bool wanted[UPLOAD_TARGETS_MAX],
                      struct request *request, struct cm_detail *detail)
{
    struct shared_scan *s = cm_calloc(1, sizeof *s);
    unsigned count = 0;
    int error;

    CHECK(!n->scanning);
    if (s == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    s->node = n;
    s->wall_ms = node_wall(n);
    s->revision = n->revision;
    error = scan_begin(n, s);
    if (error != 0) {
        *detail = s->detail;
        sodium_memzero(&s->key, sizeof s->key);
        cm_free(s);
        return error;
    }
    for (size_t i = 0; i < n->targets_count; i++) {
        s->wanted[i] = wanted[i];
        if (wanted[i])
            n->targets[i].running = true;
        count += wanted[i];
    }
    CM_MARK_IF(count > 1, "snapshot: one scan serves several targets");
    s->references = 1;
    s->request = request;
    s->work = (struct work){
        .step = scan_step, .done = scan_done, .lane = WORK_LANE_SNAPSHOT};
    n->scanning = true;
    n->ports.work->submit(n->ports.ctx, &s->work);
    return 0;
}

/* ---- on demand ---- */

/* To a target that is none of the configured ones. */
static int start_foreign(struct node *n, const char *to,
                         struct request *request, struct cm_detail *detail)
{
    struct snapshot_job_config c = {
        .store = n->store,
        .numbers = &n->snapshot_numbers,
        .rate = &n->rate,
        .target = to,
        .spool_dir = n->spool_dir,
        .wall_ms = node_wall(n),
        .trusts_sum = trusts_sum(n),
        .thorough = true,
        .previous = n->snapshot_foreign,
    };
    struct data_key key = {.sealed_size = 0};
    struct snapshot_task *t = cm_calloc(1, sizeof *t);
    int error = 0;

    if (t == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    t->node = n;
    t->wall_ms = c.wall_ms;
    t->to = cm_alloc(strlen(to) + 1);
    if (t->to == NULL)
        error = cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    else
        memcpy(t->to, to, strlen(to) + 1);
    memcpy(c.sign_secret_key, n->sign_secret_key, sizeof c.sign_secret_key);
    if (error == 0 && n->snapshot_recipients_count > 0) {
        error = snapshots_data_key(n, &key, detail);
        c.data_key = key.key;
        c.sealed = slice_of(key.sealed, key.sealed_size);
    }
    if (error == 0)
        error = snapshot_job_create(&t->job, &c, detail);
    sodium_memzero(&key, sizeof key);
    sodium_memzero(&c, sizeof c);
    if (error != 0) {
        task_free(t);
        return error;
    }
    t->request = request;
    n->snapshot_running = true;
    n->elsewhere.url = t->to;
    n->elsewhere.job = t->job;
    n->elsewhere.job_begun_ms = node_now(n);
    task_submit(n, t, WORK_LANE_SNAPSHOT);
    return 0;
}

static bool is_busy(const struct node *n)
{
    bool ret = n->snapshot_running || n->scanning;

    for (size_t i = 0; i < n->targets_count; i++)
        ret = ret || n->targets[i].running;
    return ret;
}

static void refuse(node_snapshot_done done, void *ctx, int error,
                   const char *text)
{
    struct snapshot_report r = {.error = error};

    (void)snprintf(r.detail, sizeof r.detail, "%s", text);
    if (done != NULL)
        done(ctx, &r);
}

/* Which of the configured targets are meant; false: it is none of them. One
 * that is must go on with its own chain of manifests: deltas behind an older
 * one would be taken for part of the newer one. */
static bool find_wanted(const struct node *n, const char *to,
                        bool ret_wanted[UPLOAD_TARGETS_MAX])
{
    bool any = false;

    for (size_t i = 0; i < UPLOAD_TARGETS_MAX; i++) {
        ret_wanted[i] =
            to == NULL ||
            (i < n->targets_count && object_store_same(n->targets[i].url, to));
        any = any || ret_wanted[i];
    }
    return any;
}

void node_snapshot_now(struct node *n, const char *to, node_snapshot_done done,
                       void *ctx)
{
    bool wanted[UPLOAD_TARGETS_MAX];
    struct cm_detail detail = {""};
    struct request *r;
    int error;

    if (!n->ready || (to == NULL && n->targets_count == 0) || is_busy(n)) {
        refuse(done, ctx,
               !n->ready    ? CM_ERR_NOT_READY
               : is_busy(n) ? CM_ERR_BUSY
                            : CM_ERR_INVALID,
               !n->ready ? "the node is not ready"
               : is_busy(n)
                   ? "a snapshot is being taken already: try again when it is "
                     "done"
                   : "no target: say --to URL, or start the node with "
                     "--snapshot-to URL");
        return;
    }
    r = cm_calloc(1, sizeof *r);
    if (r == NULL) {
        refuse(done, ctx, CM_ERR_NOMEM, "out of memory");
        return;
    }
    *r = (struct request){.done = done, .ctx = ctx, .open = 1};
    error = find_wanted(n, to, wanted) ? scan_start(n, wanted, r, &detail)
                                       : start_foreign(n, to, r, &detail);
    if (error == 0)
        return;
    n->status.snapshot_failures++;
    (void)snprintf(n->status.snapshot_error, sizeof n->status.snapshot_error,
                   "%s", detail.text);
    request_failed(r, error, detail.text);
    request_end(r);
}

/* ---- by themselves ---- */

/* The same state again would only repeat the newest manifest. */
static bool has_nothing_new(const struct node *n, const struct upload_target *t)
{
    return t->chain.base_sequence != 0 && t->wall_ms != 0 &&
           t->revision == n->revision;
}

void snapshots_owe_one(struct node *n)
{
    for (size_t i = 0; i < n->targets_count; i++) {
        struct upload_target *t = &n->targets[i];

        t->revision = 0; /* of what it has, this is no part */
        if (t->due_ms != 0)
            t->due_ms = node_now(n);
    }
}

static bool may_start(const struct node *n, const struct upload_target *t)
{
    return t->uploads && t->due_ms != 0 && !t->running && !n->scanning;
}

uint64_t snapshots_deadline(const struct node *n)
{
    uint64_t due = UINT64_MAX;

    for (size_t i = 0; i < n->targets_count && n->ready; i++) {
        const struct upload_target *t = &n->targets[i];
        uint64_t own = t->due_ms > t->retry_ms ? t->due_ms : t->retry_ms;

        if (may_start(n, t) && own < due)
            due = own;
    }
    return due;
}

void snapshots_tick(struct node *n, uint64_t now)
{
    uint64_t interval = n->snapshot_interval_ms;
    bool wanted[UPLOAD_TARGETS_MAX] = {false};
    struct cm_detail detail = {""};
    bool any = false;

    if (now < snapshots_deadline(n))
        return;
    /* Who is due soon goes with who is due now: the store is read once. */
    for (size_t i = 0; i < n->targets_count; i++) {
        struct upload_target *t = &n->targets[i];

        if (!may_start(n, t) || t->due_ms > now + interval / 4 ||
            now < t->retry_ms)
            continue;
        /* With jitter, so that a fleet does not knock all at once. */
        t->due_ms = now + interval - interval / 10 +
                    random_below(&n->random, interval / 5 + 1);
        if (interval == 0)
            t->due_ms = 0;
        wanted[i] = !has_nothing_new(n, t);
        if (!wanted[i])
            t->status.covered_wall_ms = node_wall(n);
        any = any || wanted[i];
    }
    if (!any || scan_start(n, wanted, NULL, &detail) == 0)
        return;
    for (size_t i = 0; i < n->targets_count; i++)
        if (wanted[i]) {
            snapshots_failed(n, &n->targets[i], "snapshot", &detail);
            n->targets[i].retry_ms = now + RETRY_MS;
            if (n->targets[i].due_ms != 0)
                n->targets[i].due_ms = n->targets[i].retry_ms;
        }
}

/* ---- status ---- */

static void progress(struct upload_status *ret,
                     const struct snapshot_job_progress p, uint64_t took_ms)
{
    uint64_t sent = p.done - p.there;

    ret->phase = p.uploading ? "uploading" : "looking";
    ret->bytes_done = p.done;
    ret->bytes_total = p.total;
    if (p.done >= p.there && sent > 0 && p.total > p.done)
        ret->left_ms = (uint64_t)((double)took_ms * (double)(p.total - p.done) /
                                  (double)sent);
}

static void target_status(const struct node *n, const struct upload_target *t,
                          struct upload_status *ret)
{
    uint64_t now = node_wall(n);
    uint64_t since = t->status.covered_wall_ms;

    *ret = t->status;
    ret->url = t->url;
    ret->uploads = t->uploads;
    if (since < t->uploads_since_wall_ms)
        since = t->uploads_since_wall_ms;
    if (since < n->snapshot_begun_wall_ms)
        since = n->snapshot_begun_wall_ms;
    /* Before it is known who uploads, nobody does. */
    ret->age_ms = (t->uploads || !t->looked) && now > since ? now - since : 0;
    ret->phase = t->running ? "scanning" : "";
    if (t->job != NULL)
        progress(ret, snapshot_job_progress(t->job),
                 node_now(n) - t->job_begun_ms);
}

void snapshots_status(const struct node *n, struct node_status *s)
{
    bool periodic = n->targets_count > 0;

    s->snapshot_sequence = n->snapshot_sequence;
    s->snapshot_wall_ms = n->snapshot_wall_ms;
    s->snapshot_interval_ms = periodic ? n->snapshot_interval_ms : 0;
    s->snapshot_age_ms = 0;
    s->snapshot_covered_wall_ms = 0;
    s->snapshot_targets_count = n->targets_count;
    target_status(n, &n->elsewhere, &s->snapshot_elsewhere);
    s->snapshot_elsewhere.age_ms = 0;
    for (size_t i = 0; i < n->targets_count; i++) {
        struct upload_status *t = &s->snapshot_targets[i];

        target_status(n, &n->targets[i], t);
        s->snapshot_deltas += t->deltas;
        s->snapshot_delta_bytes += t->delta_bytes;
        if (t->age_ms > s->snapshot_age_ms)
            s->snapshot_age_ms = t->age_ms;
        if (i == 0 || t->covered_wall_ms < s->snapshot_covered_wall_ms)
            s->snapshot_covered_wall_ms = t->covered_wall_ms;
    }
}
