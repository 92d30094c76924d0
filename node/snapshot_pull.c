/* Fetches an object only when the entries before it have been taken, unless a
 * thread reads ahead. */
#include "node/snapshot_pull.h"

#include <sodium.h>

#include "crdt/base/check.h"
#include "node/snapshot_ahead.h"

int snapshot_pull_begin(struct snapshot_pull *ret_pull,
                        const struct manifest *m,
                        const struct snapshot_keys *keys, snapshot_get get,
                        void *ctx)
{
    CHECK(ret_pull != NULL && get != NULL);
    *ret_pull = (struct snapshot_pull){.get = get, .ctx = ctx, .mesh = m->mesh};
    if (keys != NULL)
        ret_pull->keys = *keys;
    else
        snapshot_keys_derive(&ret_pull->keys, &m->mesh);
    buffer_init(&ret_pull->bytes, SNAPSHOT_OBJECT_MAX);
    buffer_init(&ret_pull->content, SNAPSHOT_CHUNK_MAX);
    return snapshot_reader_create(&ret_pull->reader, m, keys);
}

void snapshot_pull_release(struct snapshot_pull *p)
{
    CHECK(p != NULL);
    snapshot_ahead_end(p->ahead);
    snapshot_reader_free(p->reader);
    p->ahead = NULL;
    p->reader = NULL;
    buffer_release(&p->bytes);
    buffer_release(&p->content);
    sodium_memzero(&p->keys, sizeof p->keys);
}

void snapshot_pull_hurry(struct snapshot_pull *p)
{
    CHECK(p->objects == 0);
    p->hurries = true;
}

int snapshot_pull_fail(struct cm_detail *detail, int error, const char *name,
                       const struct cm_detail *inner)
{
    return cm_fail(detail, error, "object %.120s: %.110s", name,
                   inner->text[0] != '\0' ? inner->text : cm_strerror(error));
}

/* When all chunks are known: the reader asks for them in that order. */
static void begin_ahead(struct snapshot_pull *p)
{
    struct snapshot_ahead_config c = {.mesh = p->mesh,
                                      .keys = p->keys,
                                      .sums = snapshot_reader_sums(p->reader),
                                      .get = p->get,
                                      .ctx = p->ctx};

    c.chunks = snapshot_reader_chunks(p->reader, &c.count);
    if (c.chunks == NULL)
        return;
    p->hurries = false;
    p->ahead = snapshot_ahead_begin(&c);
    sodium_memzero(&c.keys, sizeof c.keys);
}

/* Fetches and feeds the object that is wanted. */
static int pull_object(struct snapshot_pull *p, const char *name)
{
    struct cm_detail inner = {""};
    int error;

    if (p->hurries)
        begin_ahead(p);
    if (p->ahead != NULL) {
        bool summed = false;

        error = snapshot_ahead_next(p->ahead, &p->content, &summed, &p->detail);
        if (error != 0)
            return error;
        error = snapshot_reader_feed_decoded(p->reader, &p->content, summed,
                                             &inner);
    } else {
        error = p->get(p->ctx, name, &p->bytes, &inner);
        if (error != 0)
            return cm_fail(&p->detail, error, "%s",
                           inner.text[0] != '\0' ? inner.text : name);
        error =
            snapshot_reader_feed(p->reader, buffer_slice(&p->bytes), &inner);
    }
    if (error != 0)
        return snapshot_pull_fail(&p->detail, error, name, &inner);
    p->objects++;
    return 0;
}

/* What the thread has added up. */
static void sum_in(struct snapshot_pull *p)
{
    const struct digest *sum =
        p->ahead != NULL ? snapshot_ahead_sum(p->ahead) : NULL;

    if (sum != NULL && snapshot_reader_sums(p->reader))
        snapshot_reader_sum_in(p->reader, sum);
}

/* The next object; at the end CM_ERR_NOT_FOUND. */
static void pull_more(struct snapshot_pull *p)
{
    char name[SNAPSHOT_NAME_SIZE];

    if (snapshot_reader_wants(p->reader, name)) {
        p->error = pull_object(p, name);
        return;
    }
    sum_in(p);
    p->error = snapshot_reader_finish(p->reader, &p->detail);
    if (p->error == 0)
        p->error = CM_ERR_NOT_FOUND;
}

int snapshot_pull_next(void *context, struct entry_id *ret_id,
                       const struct entry **ret_entry)
{
    struct snapshot_pull *p = context;

    CHECK(p->reader != NULL);
    while (p->error == 0) {
        if (snapshot_reader_next_entry(p->reader, ret_id, ret_entry))
            return 0;
        pull_more(p);
    }
    return p->error;
}

int snapshot_pull_skip(struct snapshot_pull *p)
{
    CHECK(p->reader != NULL);
    if (p->error == 0) {
        snapshot_reader_skip(p->reader);
        pull_more(p);
    }
    return p->error;
}
