/* libconfmesh: reading, straight from the store in one read transaction. */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/confmesh_private.h"

/* What has expired is absent at once, whether or not anything was written
 * since. */
static hlc_t wall_now(void)
{
    uv_timeval64_t now = {0};

    (void)uv_gettimeofday(&now);
    return hlc_make((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_usec / 1000,
                    0);
}

struct confmesh_read {
    struct confmesh *c;
    struct store_reader *reader;
    struct entry entry;
    hlc_t now; /* one evaluation time for the whole view */
};

int confmesh_read_begin(struct confmesh *c, struct confmesh_read **ret_read)
{
    struct confmesh_read *r = cm_calloc(1, sizeof *r);
    bool ready;
    int error;

    if (r == NULL)
        return confmesh_fail(CM_ERR_NOMEM, "out of memory");
    r->c = c;
    uv_mutex_lock(&c->mutex);
    ready = c->ready;
    uv_mutex_unlock(&c->mutex);
    if (!ready && !c->was_ready) {
        cm_free(r);
        return confmesh_fail(CM_ERR_NOT_READY,
                             "the replica is not complete yet: see "
                             "confmesh_wait_ready");
    }
    entry_init(&r->entry);
    error = store_reader_begin(c->store, &r->reader);
    if (error != 0) {
        cm_free(r);
        return confmesh_fail(error, "the store cannot be read: %s",
                             cm_strerror(error));
    }
    r->now = wall_now();
    uv_mutex_lock(&c->mutex);
    c->reads++;
    uv_mutex_unlock(&c->mutex);
    *ret_read = r;
    return 0;
}

void confmesh_read_end(struct confmesh_read *r)
{
    if (r == NULL)
        return;
    entry_release(&r->entry);
    store_reader_release(r->reader);
    uv_mutex_lock(&r->c->mutex);
    CHECK(r->c->reads > 0);
    r->c->reads--;
    uv_mutex_unlock(&r->c->mutex);
    cm_free(r);
}

uint64_t confmesh_read_revision(struct confmesh_read *r)
{
    return store_revision(r->reader);
}

static int resolve(struct confmesh_read *r, const struct entry_id *id,
                   struct resolution *ret)
{
    int error = store_get(r->reader, id, &r->entry, NULL);

    if (error == CM_ERR_NOT_FOUND)
        return confmesh_fail(error, "absent");
    if (error != 0)
        return confmesh_fail(error, "the store cannot be read: %s",
                             cm_strerror(error));
    *ret = entry_resolve(&r->entry, r->now);
    return ret->present ? 0 : confmesh_fail(CM_ERR_NOT_FOUND, "absent");
}

int confmesh_get(struct confmesh_read *r, const char *key,
                 const void **ret_value, size_t *ret_size, uint64_t *ret_flags)
{
    struct entry_id id = {.space = SPACE_REGISTER, .key = slice_of_string(key)};
    struct resolution found;
    int error = resolve(r, &id, &found);

    if (error != 0)
        return error;
    *ret_value = found.winner->value.data;
    *ret_size = found.winner->value.size;
    if (ret_flags != NULL)
        *ret_flags = found.winner->flags;
    return 0;
}

int confmesh_set_contains(struct confmesh_read *r, const char *key,
                          const char *element, bool *ret_contains)
{
    struct entry_id id = {.space = SPACE_SET,
                          .key = slice_of_string(key),
                          .element = slice_of_string(element)};
    struct resolution found;
    int error = resolve(r, &id, &found);

    if (error != 0 && error != CM_ERR_NOT_FOUND)
        return error;
    *ret_contains = error == 0;
    return 0;
}

static int walk(struct confmesh_read *r, enum space space, struct slice key,
                confmesh_visit visit, void *ctx)
{
    const struct store_item *item;
    struct store_cursor *cursor;
    int error = store_cursor_open(r->reader, space, key, space == SPACE_SET,
                                  NULL, &cursor);

    while (error == 0) {
        struct resolution found;

        error = store_cursor_next(cursor, &item);
        if (error != 0)
            break;
        found = entry_resolve(&item->entry, r->now);
        if (!found.present)
            continue;
        if (space == SPACE_SET)
            error = visit(ctx, (const char *)item->id.element.data,
                          item->id.element.size, NULL, 0);
        else
            error =
                visit(ctx, (const char *)item->id.key.data, item->id.key.size,
                      found.winner->value.data, found.winner->value.size);
        if (error != 0) {
            store_cursor_close(cursor);
            return error; /* visit's own */
        }
    }
    store_cursor_close(cursor);
    if (error == CM_ERR_NOT_FOUND)
        return 0;
    return confmesh_fail(error, "the store cannot be read: %s",
                         cm_strerror(error));
}

int confmesh_list(struct confmesh_read *r, const char *prefix,
                  confmesh_visit visit, void *ctx)
{
    return walk(r, SPACE_REGISTER, slice_of_string(prefix), visit, ctx);
}

int confmesh_set_members(struct confmesh_read *r, const char *key,
                         confmesh_visit visit, void *ctx)
{
    return walk(r, SPACE_SET, slice_of_string(key), visit, ctx);
}
