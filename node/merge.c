/* One merge at a time. The worker opens targets and reads the next snapshot
 * that holds anything new; the loop announces it to the writer, the worker
 * compares, the writer joins; then the next one.
 *
 *   READ      worker: list, choose, verify, apply deltas
 *   ANNOUNCE  writer: what it covers is not applied meanwhile
 *   COMPARE   worker: the difference to the state here
 *   APPLY     writer: one transaction
 *   SETTLE    writer: what was kept is written anew
 */
#include "node/merge.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "crdt/join.h"
#include "node/node_internal.h"
#include "node/snapshot_state.h"

enum merge_phase {
    MERGE_READ = 1,
    MERGE_ANNOUNCE = 2,
    MERGE_COMPARE = 3,
    MERGE_APPLY = 4,
    MERGE_SETTLE = 5,
};

struct merge {
    struct work work; /* first */
    struct node *node;
    node_merge_done done;
    void *ctx;
    struct merge_request request; /* strings owned */
    struct merge_report report;
    enum merge_phase phase;
    atomic_bool stopping;

    /* The worker's, while it steps. */
    struct object_store stores[MERGE_TARGETS_MAX];
    size_t listed; /* targets */
    struct snapshot_listing all;
    size_t next;    /* of them, to be looked at */
    struct vv seen; /* what is here, or was read */
    uint8_t authority[32];
    struct generation_id generation;
    char *scratch;
    /* The node's targets, which may be commands; borrowed. */
    const char *own[UPLOAD_TARGETS_MAX];
    int error; /* of the worker; told in report.error */
    struct snapshot_state *state;
    struct buffer standing;
    struct cut_diff *diff;
    struct store *store;
    const char *spool_dir;
    uint64_t wall_ms;

    struct replacement replacement;
    uint64_t kept; /* by it */
    bool announced;
    size_t parked_before;
};

/* ---- what is told ---- */

static void note(struct merge *m, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void note(struct merge *m, const char *format, ...)
{
    size_t used = strlen(m->report.text);
    size_t room = sizeof m->report.text - used;
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(m->report.text + used, room, format, args);
    va_end(args);
    if (length < 0 || (size_t)length + 2 > room)
        m->report.text[used] = '\0'; /* whole lines only */
    else
        memcpy(m->report.text + used + length, "\n", 2);
}

static enum merge_exit exit_of(int error)
{
    switch (error) {
    case CM_ERR_AUTHORITY:
    case CM_ERR_WRONG_MESH:
    case CM_ERR_WRONG_GENERATION:
    case CM_ERR_SEALED:
    case CM_ERR_EVICTION_CONFLICT:
        return MERGE_TRUST;
    case CM_ERR_DAMAGED:
    case CM_ERR_MALFORMED:
    case CM_ERR_NONCANONICAL:
    case CM_ERR_SIGNATURE:
    case CM_ERR_FORK:
        return MERGE_INTEGRITY;
    default:
        return MERGE_TRANSPORT;
    }
}

static void fail(struct merge *m, int error, const char *text)
{
    m->error = error;
    m->report.exit = exit_of(error);
    (void)snprintf(m->report.error, sizeof m->report.error, "%s",
                   text[0] != '\0' ? text : cm_strerror(error));
}

static void on_lost(void *context, const char *name, const char *what)
{
    note(context, "not used: %s: %s", name, what);
}

/* ---- the worker: reading ---- */

static int unlock(void *context, const struct manifest *manifest,
                  struct snapshot_keys *ret_keys, struct cm_detail *detail)
{
    struct merge *m = context;
    uint8_t id[SEALED_KEY_ID_SIZE];

    if (sealed_keys_id(id, manifest->sealed) != 0)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "the manifest's sealed keys are malformed");
    for (size_t i = 0; i < m->request.keys_count; i++) {
        const struct merge_key *k = &m->request.keys[i];

        if (memcmp(k->id, id, sizeof id) != 0)
            continue;
        snapshot_keys_derive_encrypted(ret_keys, &manifest->mesh, k->key);
        return 0;
    }
    return cm_fail(detail, CM_ERR_AUTHORITY,
                   "the snapshot is encrypted: give --recovery-key FILE");
}

static bool is_own(const struct merge *m, const char *url)
{
    for (size_t i = 0; i < UPLOAD_TARGETS_MAX; i++)
        if (m->own[i] != NULL && strcmp(url, m->own[i]) == 0)
            return true;
    return false;
}

static int append(struct merge *m, const struct snapshot_listing *l,
                  size_t target)
{
    const char *wanted = m->request.targets[target].name;
    struct snapshot_listed *grown =
        cm_realloc(m->all.items, (m->all.count + l->count + 1) * sizeof *grown);

    if (grown == NULL)
        return CM_ERR_NOMEM;
    m->all.items = grown;
    for (size_t i = 0; i < l->count; i++) {
        if (wanted != NULL && strcmp(wanted, l->items[i].name) != 0)
            continue;
        grown[m->all.count] = l->items[i];
        grown[m->all.count++].target = target;
    }
    return 0;
}

static bool list_next(struct merge *m)
{
    size_t i = m->listed++;
    const struct merge_target *t = &m->request.targets[i];
    struct cm_detail detail = {""};
    struct snapshot_listing l;
    size_t before = m->all.count;
    int error = object_store_open(&m->stores[i], t->url,
                                  is_own(m, t->url) ? OBJECT_STORE_MAY_EXEC : 0,
                                  &detail);

    if (error == 0)
        error = snapshot_list_in(&l, &m->stores[i], NULL, &detail);
    if (error == 0) {
        error = append(m, &l, i);
        snapshot_listing_release(&l);
    }
    if (error == 0 && m->all.count == before)
        error = cm_fail(&detail, CM_ERR_NOT_FOUND,
                        t->name != NULL ? "%.150s holds no snapshot %.90s"
                                        : "%.150s holds no snapshot%.90s",
                        t->url, t->name != NULL ? t->name : "");
    if (error != 0)
        fail(m, error, detail.text);
    m->report.found = m->all.count;
    return error == 0;
}

/* Whether it can be of use here, from its manifest alone. */
static bool is_candidate(struct merge *m, const struct snapshot_listed *l)
{
    if (l->error != 0) {
        m->report.damaged++;
        note(m, "damaged: %s: %s", l->name, l->verdict);
        return false;
    }
    if (memcmp(l->authority_public_key, m->authority, 32) != 0) {
        m->report.passed++;
        note(m,
             "passed over: %s: of another mesh (confmesh restore URL "
             "--adopt --prefix P takes its keys as new writes)",
             l->name);
        return false;
    }
    if (l->generation.number > m->generation.number) {
        m->report.passed++;
        note(m, "passed over: %s: of generation %llu, newer than this node's",
             l->name, (unsigned long long)l->generation.number);
        return false;
    }
    return true;
}

/* Opens the next one; m->state if it has anything new. */
static bool open_next(struct merge *m)
{
    struct snapshot_listed *l = &m->all.items[m->next];
    struct cm_detail detail = {""};
    struct snapshot_state_config c = {
        .store = &m->stores[l->target],
        .name = l->name,
        .authority = m->authority,
        .scratch = m->scratch,
        .hlc_limit = UINT64_MAX,
        .covered = &m->seen,
        .settled = snapshot_listing_is_settled(&m->all, m->next),
        .unlock = unlock,
        .lost = on_lost,
        .context = m,
    };
    int error;

    m->next++;
    if (!is_candidate(m, l))
        return true;
    c.newest = !c.settled && m->request.targets[l->target].name == NULL;
    error = snapshot_state_open(&m->state, &c, &detail);
    if (error != 0 && (snapshot_state_is_fatal(c.store, error) ||
                       exit_of(error) == MERGE_TRUST)) {
        fail(m, error, detail.text);
        return false;
    }
    if (error != 0) {
        m->report.damaged++;
        note(m, "damaged: %s: %s", l->name, detail.text);
        return true;
    }
    l->looked = true;
    m->report.lost += m->state->lost;
    m->report.deltas += m->state->deltas;
    if (!m->state->covered)
        return false;
    m->report.covered++;
    snapshot_state_close(m->state);
    m->state = NULL;
    return true;
}

/* True while there is more to read. */
static bool read_step(struct merge *m)
{
    if (m->listed < m->request.targets_count) {
        bool good = list_next(m);

        snapshot_listing_sort(&m->all);
        return good;
    }
    if (m->next == m->all.count)
        return false;
    return open_next(m);
}

/* ---- the worker: comparing ---- */

static bool is_of_here(const struct merge *m)
{
    return generation_id_equal(&m->state->manifest.generation, &m->generation);
}

static int begin_compare(struct merge *m, struct cm_detail *detail)
{
    struct snapshot_state *s = m->state;
    struct replacement r = {
        .mode = is_of_here(m) ? ADOPT_JOIN : ADOPT_RETAIN,
        .vv = snapshot_state_vv(s),
        .hlc_max = snapshot_state_hlc(s),
        .generation_order = s->manifest.generation_order,
        .next = snapshot_state_next,
        .context = s,
        .state_digest = snapshot_state_digest(s),
    };
    int error;

    buffer_clear(&m->standing);
    error = snapshot_state_standing(s, &m->standing);
    r.standing = buffer_slice(&m->standing);
    if (error != 0)
        return cm_fail(detail, error, "%s", cm_strerror(error));
    error = snapshot_state_begin(s, detail);
    if (error != 0)
        return error;
    return cut_diff_create_of(&m->diff, m->store, &r, m->spool_dir, m->wall_ms,
                              detail);
}

static bool compare_step(struct merge *m)
{
    struct cm_detail detail = {""};
    int error = m->diff == NULL ? begin_compare(m, &detail) : 0;

    if (error == 0)
        error = cut_diff_step(m->diff, &detail);
    if (error < 0) {
        const char *why = snapshot_state_detail(m->state);

        fail(m, error, why != NULL ? why : detail.text);
    }
    return error == SNAPSHOT_MORE;
}

static bool step(struct work *w)
{
    struct merge *m = (struct merge *)w;

    if (atomic_load(&m->stopping)) {
        fail(m, CM_ERR_BUSY, "the node stops");
        return false;
    }
    return m->phase == MERGE_READ ? read_step(m) : compare_step(m);
}

static void stop(struct work *w)
{
    struct merge *m = (struct merge *)w;

    atomic_store(&m->stopping, true);
    for (size_t i = 0; i < m->request.targets_count; i++)
        object_store_stop(&m->stores[i]);
}

/* ---- the loop ---- */

static void merge_free(struct merge *m)
{
    cut_diff_free(m->diff);
    snapshot_state_close(m->state);
    cm_free(m->all.items);
    for (size_t i = 0; i < m->request.targets_count; i++) {
        object_store_close(&m->stores[i]);
        cm_free((void *)(uintptr_t)m->request.targets[i].url);
        cm_free((void *)(uintptr_t)m->request.targets[i].name);
    }
    vv_release(&m->seen);
    buffer_release(&m->standing);
    cm_free(m->scratch);
    sodium_memzero(&m->request, sizeof m->request);
    cm_free(m);
}

static void end(struct merge *m);

static void withdrawn(void *context, struct intent *i)
{
    intent_free(i);
    end(context);
}

/* The intent is submitted, or failed and freed. */
static bool submit(struct merge *m, struct intent *i, intent_done done)
{
    if (i == NULL)
        return false;
    i->done = done;
    i->context = m;
    if (m->node->ports.writer->submit(m->node->ports.ctx, i) == 0)
        return true;
    intent_free(i);
    return false;
}

static void end(struct merge *m)
{
    struct node *n = m->node;
    struct merge_report *r = &m->report;

    if (m->announced) {
        struct intent *i = intent_new(INTENT_ADOPTING);

        m->announced = false;
        if (submit(m, i, withdrawn))
            return;
    }
    n->merging = false;
    r->parked = n->unsent.parked > m->parked_before
                    ? n->unsent.parked - m->parked_before
                    : 0;
    if (m->error == 0 && r->passed > 0 && r->passed + r->damaged == r->found) {
        r->exit = MERGE_TRUST;
        (void)snprintf(r->error, sizeof r->error,
                       "no snapshot of this mesh and up to its generation was "
                       "found");
    } else if (m->error == 0 && r->damaged == r->found) {
        r->exit = MERGE_INTEGRITY;
        (void)snprintf(r->error, sizeof r->error, "no snapshot is whole");
    } else if (m->error == 0 && r->damaged + r->lost + r->passed > 0) {
        r->exit = MERGE_PARTIAL;
    }
    node_log(n, m->error == 0 ? 'I' : 'W',
             "merge: %zu of %zu snapshots joined, %zu of other generations; "
             "%llu entries changed%s%s",
             r->joined, r->found, r->retained, (unsigned long long)r->entries,
             r->error[0] != '\0' ? "; " : "", r->error);
    m->done(m->ctx, r);
    merge_free(m);
}

static void run(struct merge *m, enum merge_phase phase)
{
    m->phase = phase;
    m->node->ports.work->submit(m->node->ports.ctx, &m->work);
}

static void read_more(struct merge *m)
{
    snapshot_state_close(m->state);
    m->state = NULL;
    run(m, MERGE_READ);
}

static void settled(void *context, struct intent *i)
{
    intent_free(i);
    read_more(context);
}

/* What it covers lies in what is here, or is kept. */
static bool note_seen(struct merge *m)
{
    struct vv joined;
    int error = vv_join(&joined, &m->seen, snapshot_state_vv(m->state));

    if (error != 0) {
        fail(m, error, "");
        return false;
    }
    vv_release(&m->seen);
    m->seen = joined;
    return true;
}

static void applied(void *context, struct intent *i)
{
    struct merge *m = context;
    bool join = m->replacement.mode == ADOPT_JOIN;
    struct cut_diff_counts counts = cut_diff_counts(m->diff);
    int error = i->result;

    if (error != 0)
        fail(m, error, i->detail.text);
    intent_free(i);
    cut_diff_free(m->diff);
    m->diff = NULL;
    if (error == 0 && join) {
        m->announced = false; /* it ends with the adoption */
        m->report.joined++;
        m->report.entries += counts.entries;
        m->report.removed += counts.removed;
        CM_MARK("merge: joined a snapshot");
    } else if (error == 0) {
        m->report.retained++;
        m->report.kept += m->kept;
    }
    if (error != 0 || !note_seen(m)) {
        end(m);
        return;
    }
    /* A batch, so that what was kept is judged. */
    m->phase = MERGE_SETTLE;
    if (join || !submit(m, intent_new(INTENT_EXPIRE), settled))
        read_more(m);
}

static void apply(struct merge *m)
{
    struct intent *i = intent_new(INTENT_REPLACE);

    cut_diff_replacement(m->diff, &m->replacement);
    m->kept = 0;
    m->replacement.kept = &m->kept;
    m->phase = MERGE_APPLY;
    if (i != NULL)
        i->replacement = &m->replacement;
    if (submit(m, i, applied))
        return;
    fail(m, CM_ERR_BUSY, "the writer has too much to do");
    end(m);
}

static bool may_apply(struct merge *m)
{
    struct cut_diff_counts c = cut_diff_counts(m->diff);
    char text[256];

    if (m->request.dry_run) {
        m->report.joined += is_of_here(m);
        m->report.retained += !is_of_here(m);
        *(is_of_here(m) ? &m->report.entries : &m->report.kept) += c.entries;
        m->report.removed += c.removed;
        return false;
    }
    if (m->request.yes || !cut_diff_is_mass_deletion(&c))
        return true;
    (void)snprintf(text, sizeof text,
                   "%.110s would delete %llu of %llu keys; --yes agrees to it",
                   m->all.items[m->next - 1].name,
                   (unsigned long long)c.removed,
                   (unsigned long long)c.present);
    fail(m, CM_ERR_CONDITION, text);
    return false;
}

static void compared(struct merge *m)
{
    if (m->error == 0 && may_apply(m)) {
        apply(m);
        return;
    }
    cut_diff_free(m->diff);
    m->diff = NULL;
    if (m->error == 0 && note_seen(m))
        read_more(m);
    else
        end(m);
}

static void announced(void *context, struct intent *i)
{
    struct merge *m = context;
    int error = i->result;

    intent_free(i);
    if (error == 0) {
        run(m, MERGE_COMPARE);
        return;
    }
    fail(m, error, "");
    end(m);
}

static void read_done(struct merge *m)
{
    struct intent *i;

    if (m->error != 0 || m->state == NULL) {
        end(m);
        return;
    }
    if (!is_of_here(m)) {
        run(m, MERGE_COMPARE);
        return;
    }
    i = intent_new(INTENT_ADOPTING);
    if (i != NULL)
        i->adopting = snapshot_state_vv(m->state);
    m->phase = MERGE_ANNOUNCE;
    m->announced = submit(m, i, announced);
    if (m->announced)
        return;
    fail(m, CM_ERR_BUSY, "the writer has too much to do");
    end(m);
}

static void work_done(struct work *w)
{
    struct merge *m = (struct merge *)w;

    if (m->phase == MERGE_READ)
        read_done(m);
    else
        compared(m);
}

/* ---- beginning ---- */

static char *copy(const char *text)
{
    size_t size = text != NULL ? strlen(text) + 1 : 0;
    char *ret = text != NULL ? cm_alloc(size) : NULL;

    if (ret != NULL)
        memcpy(ret, text, size);
    return ret;
}

static bool take_request(struct merge *m, const struct merge_request *q)
{
    m->request = *q;
    m->request.targets_count = 0;
    for (size_t i = 0; i < q->targets_count; i++) {
        struct merge_target *t = &m->request.targets[i];

        m->stores[i] = (struct object_store)OBJECT_STORE_CLOSED;
        t->url = copy(q->targets[i].url);
        t->name = copy(q->targets[i].name);
        m->request.targets_count++;
        if (t->url == NULL || (q->targets[i].name != NULL && t->name == NULL))
            return false;
    }
    return true;
}

static bool take_node(struct merge *m, struct node *n)
{
    char path[SCRATCH_PATH_SIZE];

    m->node = n;
    m->store = n->store;
    m->spool_dir = n->spool_dir;
    for (size_t i = 0; i < n->targets_count; i++)
        m->own[i] = n->targets[i].url;
    m->wall_ms = node_wall(n);
    m->generation = n->generation;
    m->parked_before = n->unsent.parked;
    memcpy(m->authority, n->authority_public_key, 32);
    (void)snprintf(path, sizeof path, "%.4000s/merge", n->spool_dir);
    m->scratch = copy(path);
    return m->scratch != NULL && vv_copy(&m->seen, &n->vv) == 0;
}

int node_merge(struct node *n, const struct merge_request *request,
               node_merge_done done, void *ctx, struct cm_detail *detail)
{
    struct merge *m;

    CHECK(done != NULL && request->targets_count > 0 &&
          request->targets_count <= MERGE_TARGETS_MAX);
    if (!n->ready)
        return cm_fail(detail, CM_ERR_NOT_READY, "the node is not ready");
    if (n->merging || cut_pull_busy(n))
        return cm_fail(detail, CM_ERR_BUSY,
                       "another state is being joined already: try again when "
                       "it is done");
    m = cm_calloc(1, sizeof *m);
    if (m == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    vv_init(&m->seen);
    buffer_init(&m->standing, SCHEMA_RECORD_MAX);
    m->done = done;
    m->ctx = ctx;
    m->work = (struct work){.step = step,
                            .done = work_done,
                            .stop = stop,
                            .lane = WORK_LANE_SNAPSHOT};
    if (!take_request(m, request) || !take_node(m, n)) {
        merge_free(m);
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    }
    n->merging = true;
    run(m, MERGE_READ);
    return 0;
}
