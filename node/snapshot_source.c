/* A scan without an upload. The spool's order is chunks, leaves, root as they
 * were closed; the order of sending is the reader's. */
#include "node/snapshot_source.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

struct snapshot_source {
    struct snapshot_scan scan;
    uint8_t sign_secret_key[64];
    struct buffer manifest;
    struct buffer bytes; /* the object yielded last */
    uint32_t *order;     /* owned: spool index of each message but the first */
    uint64_t next;
    bool ready;
};

int snapshot_source_create(struct snapshot_source **ret_source,
                           struct store *store,
                           const uint8_t sign_secret_key[64],
                           const char *spool_dir, uint64_t wall_ms,
                           struct cm_detail *detail)
{
    struct snapshot_source *s = cm_calloc(1, sizeof *s);
    int error;

    CHECK(ret_source != NULL);
    if (s == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    memcpy(s->sign_secret_key, sign_secret_key, sizeof s->sign_secret_key);
    buffer_init(&s->manifest, SNAPSHOT_MANIFEST_MAX);
    buffer_init(&s->bytes, SNAPSHOT_MANIFEST_MAX); /* the larger one */
    error =
        snapshot_scan_begin(&s->scan, store, spool_dir, wall_ms, NULL, detail);
    if (error == 0) {
        snapshot_writer_hurry(s->scan.writer);
        snapshot_scan_trust(&s->scan); /* each receiver adds it up */
    }
    if (error != 0) {
        sodium_memzero(s->sign_secret_key, sizeof s->sign_secret_key);
        cm_free(s);
        return error;
    }
    *ret_source = s;
    return 0;
}

void snapshot_source_free(struct snapshot_source *s)
{
    if (s == NULL)
        return;
    snapshot_scan_release(&s->scan);
    sodium_memzero(s->sign_secret_key, sizeof s->sign_secret_key);
    buffer_release(&s->manifest);
    buffer_release(&s->bytes);
    cm_free(s->order);
    cm_free(s);
}

static int make_order(struct snapshot_source *s, struct cm_detail *detail)
{
    static const enum snapshot_object_kind kinds[] = {
        SNAPSHOT_ROOT, SNAPSHOT_LEAF, SNAPSHOT_CHUNK};
    const struct snapshot_spool *spool = &s->scan.spool;
    size_t at = 0;
    size_t k;
    size_t i;

    s->order = cm_calloc(spool->count, sizeof *s->order);
    if (s->order == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    for (k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        for (i = 0; i < spool->count; i++) {
            if (spool->items[i].kind == kinds[k])
                s->order[at++] = (uint32_t)i;
        }
    }
    CHECK(at == spool->count);
    return 0;
}

int snapshot_source_step(struct snapshot_source *s, struct cm_detail *detail)
{
    int error;

    CHECK(!s->ready);
    error = snapshot_scan_step(&s->scan, detail);
    if (error != SNAPSHOT_DONE)
        return error;
    /* A manifest for one joiner is no link of the chain at a target. */
    s->scan.manifest.sequence = 1;
    error = snapshot_scan_manifest(&s->scan, s->sign_secret_key, &s->manifest,
                                   detail);
    if (error == 0)
        error = make_order(s, detail);
    s->ready = error == 0;
    return error;
}

int snapshot_source_read(struct snapshot_source *s, uint64_t n,
                         struct buffer *ret_bytes, struct cm_detail *detail)
{
    CHECK(s->ready);
    if (n >= snapshot_source_messages(s))
        return CM_ERR_NOT_FOUND;
    if (n > 0)
        return snapshot_spool_read(&s->scan.spool, s->order[n - 1], ret_bytes,
                                   detail);
    buffer_clear(ret_bytes);
    buffer_append_slice(ret_bytes, buffer_slice(&s->manifest));
    return ret_bytes->error;
}

int snapshot_source_next(struct snapshot_source *s, struct slice *ret_bytes,
                         struct cm_detail *detail)
{
    int error = snapshot_source_read(s, s->next, &s->bytes, detail);

    if (error != 0)
        return error;
    *ret_bytes = buffer_slice(&s->bytes);
    s->next++;
    return 0;
}

uint64_t snapshot_source_bytes(const struct snapshot_source *s)
{
    return s->ready ? s->scan.spool.size + s->manifest.size : 0;
}

const struct vv *snapshot_source_vv(const struct snapshot_source *s)
{
    return &s->scan.manifest.vv;
}

void snapshot_source_seek(struct snapshot_source *s, uint64_t n)
{
    CHECK(s->ready);
    s->next = n < snapshot_source_messages(s) ? n : snapshot_source_messages(s);
}

uint64_t snapshot_source_messages(const struct snapshot_source *s)
{
    CHECK(s->ready);
    return s->scan.spool.count + 1;
}

const struct manifest *snapshot_source_manifest(const struct snapshot_source *s)
{
    CHECK(s->ready);
    return &s->scan.manifest;
}
