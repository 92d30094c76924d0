/* Fetches an object only when the entries before it have been taken. */
#include "node/snapshot_pull.h"

#include "crdt/base/check.h"

int snapshot_pull_begin(struct snapshot_pull *ret_pull,
                        const struct manifest *m,
                        const struct snapshot_keys *keys, snapshot_get get,
                        void *ctx)
{
    CHECK(ret_pull != NULL && get != NULL);
    *ret_pull = (struct snapshot_pull){.get = get, .ctx = ctx};
    buffer_init(&ret_pull->bytes, SNAPSHOT_OBJECT_MAX);
    return snapshot_reader_create(&ret_pull->reader, m, keys);
}

void snapshot_pull_release(struct snapshot_pull *p)
{
    CHECK(p != NULL);
    snapshot_reader_free(p->reader);
    p->reader = NULL;
    buffer_release(&p->bytes);
}

/* Fetches and feeds the object that is wanted. */
static int pull_object(struct snapshot_pull *p, const char *name)
{
    struct cm_detail inner = {""};
    int error;

    error = p->get(p->ctx, name, &p->bytes, &inner);
    if (error != 0)
        return cm_fail(&p->detail, error, "%s",
                       inner.text[0] != '\0' ? inner.text : name);
    error = snapshot_reader_feed(p->reader, buffer_slice(&p->bytes), &inner);
    if (error != 0)
        return cm_fail(&p->detail, error, "object %.120s: %.110s", name,
                       inner.text[0] != '\0' ? inner.text : cm_strerror(error));
    p->objects++;
    return 0;
}

int snapshot_pull_next(void *context, struct entry_id *ret_id,
                       const struct entry **ret_entry)
{
    struct snapshot_pull *p = context;
    char name[SNAPSHOT_NAME_SIZE];

    CHECK(p->reader != NULL);
    while (p->error == 0) {
        if (snapshot_reader_next_entry(p->reader, ret_id, ret_entry))
            return 0;
        if (!snapshot_reader_wants(p->reader, name)) {
            p->error = snapshot_reader_finish(p->reader, &p->detail);
            if (p->error == 0)
                p->error = CM_ERR_NOT_FOUND;
            break;
        }
        p->error = pull_object(p, name);
    }
    return p->error;
}
