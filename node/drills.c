/* One drill at a time, of this node's own newest snapshot, on the lane of the
 * target's uploads. The first one comes soon, so that a node that is restarted
 * every day drills all the same; then one for each interval. */
#include "node/drills.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"
#include "node/snapshot_drill.h"

/* Of the interval: until the first one, and after a failure. */
#define SOON_PART 24
#define SOON_MS_MIN 1000

struct drill_task {
    struct work work; /* first */
    struct node *node;
    size_t target;
    char *url;     /* owned */
    char *scratch; /* owned */
    uint8_t authority[32];
    struct key_id signer;
    struct data_key key;
    bool has_key;
    uint64_t begun_ms;
    struct object_store store;
    struct snapshot_drill drill;
    int error;
    struct cm_detail detail;
};

/* ---- the worker ---- */

/* Under an earlier data key it could be opened by the recovery key only. */
static int unlock(void *context, const struct manifest *m,
                  struct snapshot_keys *ret_keys, struct cm_detail *detail)
{
    const struct drill_task *t = context;
    uint8_t theirs[SEALED_KEY_ID_SIZE];
    uint8_t own[SEALED_KEY_ID_SIZE];

    if (!t->has_key || sealed_keys_id(theirs, m->sealed) != 0 ||
        sealed_keys_id(own, slice_of(t->key.sealed, t->key.sealed_size)) != 0 ||
        memcmp(own, theirs, sizeof own) != 0)
        return cm_fail(detail, CM_ERR_AUTHORITY,
                       "the newest snapshot is encrypted under a key that this "
                       "node does not have any more");
    snapshot_keys_derive_encrypted(ret_keys, &m->mesh, t->key.key);
    return 0;
}

static bool task_step(struct work *w)
{
    struct drill_task *t = (struct drill_task *)w;
    struct snapshot_drill_config c = {
        .store = &t->store,
        .authority = t->authority,
        .signer = &t->signer,
        .scratch = t->scratch,
        .unlock = unlock,
        .context = t,
    };

    t->error =
        object_store_open(&t->store, t->url, OBJECT_STORE_MAY_EXEC, &t->detail);
    if (t->error == 0)
        t->error = snapshot_drill(&t->drill, &c, &t->detail);
    if (t->error == 0 && t->drill.lost > 0)
        t->error = cm_fail(&t->detail, CM_ERR_DAMAGED,
                           "%zu deltas could not be used: %.180s",
                           t->drill.lost, t->drill.lost_text);
    return false;
}

static void task_stop(struct work *w)
{
    object_store_stop(&((struct drill_task *)w)->store);
}

/* ---- the loop ---- */

static void task_free(struct drill_task *t)
{
    object_store_close(&t->store);
    sodium_memzero(&t->key, sizeof t->key);
    cm_free(t->url);
    cm_free(t->scratch);
    cm_free(t);
}

static uint64_t soon_ms(const struct node *n)
{
    uint64_t ret = n->drills.interval_ms / SOON_PART;

    return ret > SOON_MS_MIN ? ret : SOON_MS_MIN;
}

static void task_done(struct work *w)
{
    struct drill_task *t = (struct drill_task *)w;
    struct node *n = t->node;
    struct drill_target *d = &n->drills.targets[t->target];
    struct drill_status *s = &d->status;
    uint64_t now = node_now(n);

    n->drills.running = false;
    d->due_ms = now + soon_ms(n);
    if (t->error == CM_ERR_NOT_FOUND) {
        task_free(t); /* nothing of this node's is there yet */
        return;
    }
    s->count++;
    if (t->error == 0) {
        CM_MARK("drill: restored and compared");
        s->error[0] = '\0';
        s->done_wall_ms = node_wall(n);
        s->took_ms = now - t->begun_ms;
        s->entries = t->drill.entries;
        s->verified_wall_ms = t->drill.created_ms > t->drill.covered_ms
                                  ? t->drill.created_ms
                                  : t->drill.covered_ms;
        /* With jitter, as everything that knocks. */
        d->due_ms = now + n->drills.interval_ms -
                    random_below(&n->random, n->drills.interval_ms / 10 + 1);
        node_log(n, 'I', "drill: %s: %llu entries restored and compared",
                 t->drill.name, (unsigned long long)t->drill.entries);
    } else {
        s->failures++;
        (void)snprintf(s->error, sizeof s->error, "%s", t->detail.text);
        node_log(n, 'E', "drill: the newest snapshot at %s: %s", t->url,
                 t->detail.text);
    }
    task_free(t);
}

static char *copy(const char *text)
{
    size_t size = strlen(text) + 1;
    char *ret = cm_alloc(size);

    if (ret != NULL)
        memcpy(ret, text, size);
    return ret;
}

static int start(struct node *n, size_t target)
{
    struct drill_task *t = cm_calloc(1, sizeof *t);
    char scratch[SCRATCH_PATH_SIZE];
    int error = 0;

    if (t == NULL)
        return CM_ERR_NOMEM;
    t->store = (struct object_store)OBJECT_STORE_CLOSED;
    (void)snprintf(scratch, sizeof scratch, "%.4000s/drill", n->spool_dir);
    t->url = copy(n->targets[target].url);
    t->scratch = copy(scratch);
    if (t->url == NULL || t->scratch == NULL)
        error = CM_ERR_NOMEM;
    if (error == 0 && n->snapshot_recipients_count > 0) {
        error = snapshots_data_key(n, &t->key, &t->detail);
        t->has_key = error == 0;
    }
    if (error != 0) {
        task_free(t);
        return error;
    }
    t->node = n;
    t->target = target;
    t->signer = n->key_id;
    t->begun_ms = node_now(n);
    memcpy(t->authority, n->authority_public_key, 32);
    t->work = (struct work){.step = task_step,
                            .done = task_done,
                            .stop = task_stop,
                            .lane = n->targets[target].lane};
    n->drills.running = true;
    n->ports.work->submit(n->ports.ctx, &t->work);
    return 0;
}

static bool is_wanted(const struct node *n, size_t target)
{
    return n->drills.interval_ms > 0 && n->ready &&
           n->targets[target].uploads && !n->drills.running;
}

uint64_t drills_deadline(const struct node *n)
{
    uint64_t due = UINT64_MAX;

    for (size_t i = 0; i < n->targets_count; i++)
        if (is_wanted(n, i) && n->drills.targets[i].due_ms < due)
            due = n->drills.targets[i].due_ms;
    return due;
}

void drills_tick(struct node *n, uint64_t now)
{
    if (now < drills_deadline(n))
        return;
    for (size_t i = 0; i < n->targets_count; i++) {
        struct drill_target *d = &n->drills.targets[i];

        if (!is_wanted(n, i) || d->due_ms > now)
            continue;
        /* Planned when it began to upload; run when that time has come. */
        if (d->due_ms == 0 || start(n, i) != 0)
            d->due_ms = now + soon_ms(n);
    }
}

void drills_status(const struct node *n, struct node_status *s)
{
    uint64_t now = node_wall(n);

    s->drill_interval_ms = n->targets_count > 0 ? n->drills.interval_ms : 0;
    for (size_t i = 0; i < n->targets_count; i++) {
        const struct upload_target *t = &n->targets[i];
        struct drill_status *d = &s->drills[i];
        uint64_t since;

        *d = n->drills.targets[i].status;
        since = d->verified_wall_ms;
        if (since < t->uploads_since_wall_ms && d->verified_wall_ms == 0)
            since = t->uploads_since_wall_ms;
        if (since < n->snapshot_begun_wall_ms && d->verified_wall_ms == 0)
            since = n->snapshot_begun_wall_ms;
        d->verified_age_ms = t->uploads && now > since ? now - since : 0;
    }
}
