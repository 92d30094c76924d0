/* The shared part of the HTTP handlers; see http_context.h. */
#include "node/http_context.h"

#include "crdt/base/check.h"
#include "crdt/base/hash.h"

void http_context_init(struct http_context *c, uv_loop_t *loop,
                       struct node *node)
{
    CHECK(loop != NULL && node != NULL);
    *c = (struct http_context){.loop = loop, .node = node};
    entry_init(&c->entry);
    buffer_init(&c->scratch, HTTP_ANSWER_SIZE_MAX);
}

void http_context_release(struct http_context *c)
{
    CHECK(c->pendings == NULL);
    if (c->reader != NULL)
        store_reader_release(c->reader);
    c->reader = NULL;
    entry_release(&c->entry);
    buffer_release(&c->scratch);
}

struct store_reader *http_context_reader(struct http_context *c)
{
    struct store *s = node_store(c->node);

    if (c->reader != NULL) {
        c->reading = store_reader_renew(c->reader) == 0;
        if (c->reading)
            return c->reader;
        store_reader_release(c->reader);
    }
    if (s == NULL || store_reader_begin(s, &c->reader) != 0) {
        c->reader = NULL;
        return NULL;
    }
    CHECK(c->reader != NULL);
    c->reading = true;
    return c->reader;
}

void http_context_drop_reader(struct http_context *c)
{
    if (c->reading)
        store_reader_reset(c->reader);
    c->reading = false;
}

uint64_t http_context_tag(struct http_context *c, struct store_reader *r)
{
    uint64_t revision = store_revision(r);
    struct slice incarnation;
    struct hash h;

    /* The incarnation changes only with a commit. */
    if (c->tag_known && c->tag_revision == revision)
        return c->tag;
    if (store_meta(r, META_INCARNATION, &incarnation) != 0)
        return 0;
    h = hash_of("confmesh index tag v1", incarnation);
    c->tag = get_be16(h.bytes) & ((1u << HTTP_INDEX_TAG_BITS) - 1);
    c->tag_revision = revision;
    c->tag_known = true;
    CHECK(c->tag < (1u << HTTP_INDEX_TAG_BITS));
    return c->tag;
}

uint64_t http_context_index(struct http_context *c, struct store_reader *r,
                            uint64_t revision)
{
    CHECK(revision < UINT64_C(1) << (64 - HTTP_INDEX_TAG_BITS));
    return (revision << HTTP_INDEX_TAG_BITS) | http_context_tag(c, r);
}

hlc_t http_context_now(void)
{
    uv_timeval64_t now = {0};

    (void)uv_gettimeofday(&now);
    return hlc_make((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_usec / 1000,
                    0);
}
