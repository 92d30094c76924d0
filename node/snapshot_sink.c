/* Two passes: each message is verified as it comes and spooled; when all have
 * come, the spool is read again for the replica, through a second reader. */
#include "node/snapshot_sink.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

struct snapshot_sink {
    uint8_t authority[32];
    struct buffer manifest_bytes; /* the manifest borrows from it */
    struct manifest manifest;
    bool has_manifest;
    struct snapshot_spool spool;
    struct snapshot_reader *reader; /* of the first pass */
    struct snapshot_pull pull;      /* of the second */
    bool has_pull;
    size_t pull_at; /* spool index of the second pass */
    bool done;
};

int snapshot_sink_create(struct snapshot_sink **ret_sink,
                         const uint8_t authority[32], const char *spool_dir,
                         struct cm_detail *detail)
{
    struct snapshot_sink *s = cm_calloc(1, sizeof *s);
    int error;

    CHECK(ret_sink != NULL && authority != NULL);
    if (s == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    memcpy(s->authority, authority, sizeof s->authority);
    buffer_init(&s->manifest_bytes, SNAPSHOT_MANIFEST_MAX);
    error = snapshot_spool_open(&s->spool, spool_dir, detail);
    if (error != 0) {
        cm_free(s);
        return error;
    }
    *ret_sink = s;
    return 0;
}

void snapshot_sink_free(struct snapshot_sink *s)
{
    if (s == NULL)
        return;
    if (s->has_pull)
        snapshot_pull_release(&s->pull);
    snapshot_reader_free(s->reader);
    if (s->has_manifest)
        manifest_release(&s->manifest);
    snapshot_spool_close(&s->spool);
    buffer_release(&s->manifest_bytes);
    cm_free(s);
}

static int take_manifest(struct snapshot_sink *s, struct slice bytes,
                         struct cm_detail *detail)
{
    int error;

    buffer_clear(&s->manifest_bytes);
    buffer_append_slice(&s->manifest_bytes, bytes);
    if (s->manifest_bytes.error != 0)
        return cm_fail(detail, s->manifest_bytes.error,
                       "cannot take the manifest: %s",
                       cm_strerror(s->manifest_bytes.error));
    error = manifest_decode(&s->manifest, buffer_slice(&s->manifest_bytes),
                            s->authority, detail);
    if (error != 0)
        return error;
    error = snapshot_reader_create(&s->reader, &s->manifest, NULL);
    if (error != 0) {
        manifest_release(&s->manifest);
        return cm_fail(detail, error, "cannot read the snapshot: %s",
                       cm_strerror(error));
    }
    s->has_manifest = true;
    return SNAPSHOT_MORE; /* the root is always wanted */
}

int snapshot_sink_feed(struct snapshot_sink *s, struct slice bytes,
                       struct cm_detail *detail)
{
    static const struct hash unnamed; /* read back in order, not by name */
    char name[SNAPSHOT_NAME_SIZE];
    int error;

    CHECK(!s->done);
    if (!s->has_manifest)
        return take_manifest(s, bytes, detail);
    error = snapshot_reader_feed(s->reader, bytes, detail);
    if (error != 0)
        return error;
    snapshot_reader_skip(s->reader);
    error = snapshot_spool_append(&s->spool, SNAPSHOT_CHUNK, &unnamed, bytes,
                                  detail);
    if (error != 0)
        return error;
    if (snapshot_reader_wants(s->reader, name))
        return SNAPSHOT_MORE;
    error = snapshot_reader_finish(s->reader, detail);
    s->done = error == 0;
    return error == 0 ? SNAPSHOT_DONE : error;
}

uint64_t snapshot_sink_messages(const struct snapshot_sink *s)
{
    return s->has_manifest ? s->spool.count + 1 : 0;
}

const struct manifest *snapshot_sink_manifest(const struct snapshot_sink *s)
{
    return s->has_manifest ? &s->manifest : NULL;
}

const struct digest *snapshot_sink_digest(const struct snapshot_sink *s)
{
    CHECK(s->done);
    return snapshot_reader_digest(s->reader);
}

static int get_spooled(void *ctx, const char *name, struct buffer *ret_bytes,
                       struct cm_detail *detail)
{
    struct snapshot_sink *s = ctx;

    if (s->pull_at == s->spool.count)
        return cm_fail(detail, CM_ERR_DAMAGED, "%.120s is not in the spool",
                       name);
    return snapshot_spool_read(&s->spool, s->pull_at++, ret_bytes, detail);
}

int snapshot_sink_replacement(struct snapshot_sink *s,
                              struct replacement *ret_replacement,
                              struct cm_detail *detail)
{
    int error;

    CHECK(s->done && ret_replacement != NULL);
    if (s->has_pull)
        snapshot_pull_release(&s->pull);
    s->has_pull = false;
    s->pull_at = 0;
    error = snapshot_pull_begin(&s->pull, &s->manifest, NULL, get_spooled, s);
    s->has_pull = true;
    if (error != 0)
        return cm_fail(detail, error, "cannot read the snapshot: %s",
                       cm_strerror(error));
    snapshot_reader_trust(s->pull.reader);
    *ret_replacement = (struct replacement){
        .vv = &s->manifest.vv,
        .hlc_max = s->manifest.hlc_max,
        .generation_order = s->manifest.generation_order,
        .standing = s->manifest.standing,
        .next = snapshot_pull_next,
        .context = &s->pull,
        .state_digest = &s->manifest.state_digest,
        .digest = snapshot_reader_digest(s->reader),
    };
    return 0;
}
