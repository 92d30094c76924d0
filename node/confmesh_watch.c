/* libconfmesh: watching. A watch holds a revision; each commit after it is read
 * from the store's log, whole, when its turn comes. Nothing is queued for a
 * watch, so a slow one costs nothing and misses nothing. */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/confmesh_private.h"

#define WATCH_COMMIT_MAX (64u << 20) /* bytes of one commit's changes */

struct confmesh_watch {
    struct confmesh *c;
    struct buffer prefix;
    uint64_t revision;     /* delivered up to here */
    struct buffer changes; /* of one commit, see keep */
    size_t at;             /* of the next one */
    size_t count;          /* left in changes */
};

/* Fixed part of one kept change; key, element and value follow, each text with
 * a final NUL. */
struct kept {
    uint64_t revision;
    uint64_t flags;
    uint32_t kind;
    uint16_t revoked;
    uint16_t expired;
    size_t key_size;
    size_t element_size;
    size_t value_size;
};

int confmesh_watch_open(struct confmesh *c, const char *prefix,
                        uint64_t revision, struct confmesh_watch **ret_watch)
{
    struct confmesh_watch *w = cm_calloc(1, sizeof *w);

    if (w == NULL)
        return confmesh_fail(CM_ERR_NOMEM, "out of memory");
    w->c = c;
    uv_mutex_lock(&c->mutex);
    c->watches++;
    uv_mutex_unlock(&c->mutex);
    buffer_init(&w->prefix, KEY_SIZE_MAX);
    buffer_append_string(&w->prefix, prefix);
    buffer_init(&w->changes, WATCH_COMMIT_MAX);
    w->revision = revision;
    if (revision == UINT64_MAX) {
        uv_mutex_lock(&c->mutex);
        w->revision = c->revision;
        uv_mutex_unlock(&c->mutex);
    }
    if (w->prefix.error != 0) {
        confmesh_watch_close(w);
        return confmesh_fail(CM_ERR_TOO_LARGE, "prefix: at most %d bytes",
                             KEY_SIZE_MAX);
    }
    *ret_watch = w;
    return 0;
}

void confmesh_watch_close(struct confmesh_watch *w)
{
    if (w == NULL)
        return;
    buffer_release(&w->prefix);
    buffer_release(&w->changes);
    confmesh_unwatch(w->c);
    cm_free(w);
}

static int keep(void *context, const struct change *change)
{
    struct confmesh_watch *w = context;
    struct kept kept = {
        .revision = change->revision,
        .flags = change->flags,
        .kind = (uint32_t)change->kind,
        .revoked = change->revoked,
        .expired = change->expired,
        .key_size = change->id.key.size,
        .element_size = change->id.element.size,
        .value_size = change->value.size,
    };

    if (!slice_starts_with(change->id.key, buffer_slice(&w->prefix)))
        return 0;
    buffer_append(&w->changes, &kept, sizeof kept);
    buffer_append_slice(&w->changes, change->id.key);
    buffer_append_byte(&w->changes, 0);
    buffer_append_slice(&w->changes, change->id.element);
    buffer_append_byte(&w->changes, 0);
    buffer_append_slice(&w->changes, change->value);
    w->count++;
    return w->changes.error;
}

/* The next commit that matters; CM_ERR_NOT_FOUND when there is none yet. */
static int load(struct confmesh_watch *w)
{
    struct store_reader *reader;
    uint64_t revision = w->revision;
    int error = store_reader_begin(w->c->store, &reader);

    if (error != 0)
        return error;
    while (error == 0 && w->count == 0) {
        buffer_clear(&w->changes);
        w->at = 0;
        error = store_changes(reader, revision, &revision, keep, w);
        if (error == 0)
            w->revision = revision;
    }
    store_reader_release(reader);
    if (error != 0)
        w->count = 0;
    return error;
}

static void take(struct confmesh_watch *w, struct confmesh_change *ret)
{
    struct kept kept;
    const uint8_t *at = w->changes.data + w->at;

    CHECK(w->count > 0 && w->at + sizeof kept <= w->changes.size);
    memcpy(&kept, at, sizeof kept);
    at += sizeof kept;
    w->count--;
    *ret = (struct confmesh_change){
        .revision = kept.revision,
        .last = w->count == 0,
        .kind = (enum confmesh_change_kind)kept.kind,
        .revoked = kept.revoked != 0,
        .expired = kept.expired != 0,
        .key = (const char *)at,
        .element = (const char *)at + kept.key_size + 1,
        .value = at + kept.key_size + 1 + kept.element_size + 1,
        .value_size = kept.value_size,
        .flags = kept.flags,
    };
    w->at += sizeof kept + kept.key_size + 1 + kept.element_size + 1 +
             kept.value_size;
}

/* Until a commit after the newest one seen, or the deadline. */
static int wait_commit(struct confmesh_watch *w, uint64_t seen,
                       uint64_t deadline)
{
    struct confmesh *c = w->c;
    int error = 0;

    uv_mutex_lock(&c->mutex);
    while (c->running && c->revision <= seen && error == 0) {
        uint64_t now = uv_hrtime();

        if (now >= deadline)
            error = CM_ERR_TIMEOUT;
        else
            (void)uv_cond_timedwait(&c->changed, &c->mutex, deadline - now);
    }
    if (!c->running)
        error = CM_ERR_CLOSED;
    uv_mutex_unlock(&c->mutex);
    return error;
}

static int wait_loaded(struct confmesh_watch *w, uint64_t deadline)
{
    int error = 0;

    while (w->count == 0 && error == 0) {
        uint64_t seen;

        uv_mutex_lock(&w->c->mutex);
        seen = w->c->revision;
        uv_mutex_unlock(&w->c->mutex);
        error = load(w);
        if (error == CM_ERR_NOT_FOUND)
            error = wait_commit(w, seen, deadline);
    }
    return error;
}

int confmesh_watch_next(struct confmesh_watch *w, uint64_t timeout_ms,
                        struct confmesh_change *ret_change)
{
    int error = confmesh_enter(w->c);

    if (error != 0)
        return error;
    error = wait_loaded(w, confmesh_deadline(timeout_ms));
    confmesh_leave(w->c);
    if (error != 0)
        return confmesh_fail(error, "%s", cm_strerror(error));
    take(w, ret_change);
    return 0;
}
