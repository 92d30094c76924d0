/* The identity of a stage is borrowed: the certificate is that of who signed
 * the snapshot, the secret key is none, and the incarnation is random, so that
 * no event in the deltas is its own. */
#include "node/snapshot_stage.h"

#include <sodium.h>
#include <string.h>

#include "backup/delta.h"
#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

struct snapshot_stage {
    struct store *store;
    struct writer *writer;
    struct vv vv;
    struct hash digest;
    hlc_t hlc;
    size_t pending;
    struct store_reader *reader;
    struct store_cursor *cursor;
    enum space space;
};

static int initialise(struct snapshot_stage *s, const struct manifest *m,
                      struct cm_detail *detail)
{
    struct store_identity identity = {
        .certificate = m->certificate,
        .generation_order = m->generation_order,
        .host = slice_of_string("stage"),
        .ready = false,
    };
    uint8_t no_secret[64] = {0};
    struct certificate c;
    int error = certificate_decode(&c, m->certificate, m->authority_public_key);

    if (error != 0)
        return cm_fail(detail, error, "%s", cm_strerror(error));
    memcpy(no_secret + 32, c.sign_key, 32); /* all that a writer looks at */
    memcpy(identity.authority_public_key, m->authority_public_key, 32);
    randombytes_buf(identity.incarnation.bytes, INCARNATION_SIZE);
    error = writer_initialise(s->store, &identity, detail);
    if (error == 0)
        error = writer_open(&s->writer, s->store, no_secret, detail);
    return error;
}

static int adopt(struct snapshot_stage *s, const struct manifest *m,
                 struct snapshot_pull *pull, const struct digest *sum,
                 struct cm_detail *detail)
{
    struct replacement replacement = {
        .vv = &m->vv,
        .hlc_max = m->hlc_max,
        .any_clock = true,
        .generation_order = m->generation_order,
        .standing = m->standing,
        .next = snapshot_pull_next,
        .context = pull,
        .state_digest = &m->state_digest,
        .digest = sum,
    };
    int error;

    detail->text[0] = '\0';
    error = writer_replace(s->writer, &replacement, 0, detail);
    if (pull->error != 0 && pull->error != CM_ERR_NOT_FOUND)
        *detail = pull->detail;
    if (error != 0)
        return error;
    s->hlc = m->hlc_max;
    s->digest = m->state_digest;
    return vv_copy(&s->vv, &m->vv);
}

int snapshot_stage_create(struct snapshot_stage **ret_stage, const char *dir,
                          const struct manifest *m, struct snapshot_pull *pull,
                          const struct digest *sum, struct cm_detail *detail)
{
    struct snapshot_stage *s = cm_calloc(1, sizeof *s);
    int error;

    CHECK(ret_stage != NULL && detail != NULL);
    if (s == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    vv_init(&s->vv);
    error = store_open(&s->store, dir, 0, detail);
    if (error == 0)
        error = initialise(s, m, detail);
    if (error == 0)
        error = adopt(s, m, pull, sum, detail);
    if (error != 0) {
        snapshot_stage_free(s);
        return error;
    }
    *ret_stage = s;
    return 0;
}

void snapshot_stage_end(struct snapshot_stage *s)
{
    if (s->cursor != NULL)
        store_cursor_close(s->cursor);
    if (s->reader != NULL)
        store_reader_release(s->reader);
    s->cursor = NULL;
    s->reader = NULL;
}

void snapshot_stage_free(struct snapshot_stage *s)
{
    if (s == NULL)
        return;
    snapshot_stage_end(s);
    if (s->writer != NULL)
        writer_close(s->writer);
    if (s->store != NULL)
        store_close(s->store);
    vv_release(&s->vv);
    cm_free(s);
}

/* ---- events ---- */

static bool is_the_disk(int error)
{
    return error == CM_ERR_IO || error == CM_ERR_FULL || error == CM_ERR_NOMEM;
}

/* What became of one event. 0, or why it cannot go on. */
static int count(const struct intent *i, struct snapshot_stage_counts *counts,
                 struct cm_detail *detail)
{
    if (is_the_disk(i->result)) {
        *detail = i->detail;
        return i->result;
    }
    if (i->result == 0) {
        counts->applied++;
    } else if (i->result == CM_ERR_DUPLICATE) {
        counts->known++;
    } else if (i->result != CM_ERR_PENDING) {
        counts->refused++;
        *detail = i->detail;
    }
    return 0;
}

static int commit(struct snapshot_stage *s, struct intent *batch,
                  uint64_t wall_ms, struct snapshot_stage_counts *counts,
                  struct cm_detail *detail)
{
    struct commit_result *r = writer_commit(s->writer, batch, wall_ms);
    struct vv vv;
    int error = 0;

    vv_init(&vv);
    if (r == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    for (struct intent *i = batch; i != NULL && error == 0; i = i->next)
        error = count(i, counts, detail);
    if (error == 0 && !r->stale) {
        error = vv_copy(&vv, &r->vv);
        if (error == 0) {
            vv_release(&s->vv);
            s->vv = vv;
            s->digest = r->digest;
            s->pending = r->pending_events;
        }
    }
    commit_result_free(r);
    return error;
}

static void free_batch(struct intent *batch)
{
    while (batch != NULL) {
        struct intent *next = batch->next;

        intent_free(batch);
        batch = next;
    }
}

int snapshot_stage_apply(struct snapshot_stage *s, struct slice content,
                         hlc_t hlc_limit, struct snapshot_stage_counts *counts,
                         struct cm_detail *detail)
{
    size_t at = 0;
    int error = 0;

    CHECK(s->reader == NULL && detail != NULL);
    while (error == 0 && at < content.size) {
        struct intent *batch = NULL;
        struct intent **end = &batch;
        uint64_t wall_ms = 0;
        struct slice bytes;
        size_t n = 0;

        while (error == 0 && n < WRITER_BATCH_MAX &&
               delta_next_event(content, &at, &bytes)) {
            struct event e;
            struct intent *i;
            hlc_t hlc = 0;

            if (event_decode(&e, bytes) == 0) {
                hlc = e.hlc;
                event_release(&e);
            }
            if (hlc > hlc_limit) {
                counts->skipped++;
                continue;
            }
            i = intent_new(INTENT_FOREIGN);
            if (i == NULL || intent_set_event(i, bytes) != 0) {
                intent_free(i);
                error = cm_fail(detail, CM_ERR_NOMEM, "out of memory");
                break;
            }
            /* A bare host's clock may be anything: the mesh's counts. */
            if (hlc_wall_ms(hlc) > wall_ms)
                wall_ms = hlc_wall_ms(hlc);
            s->hlc = hlc > s->hlc ? hlc : s->hlc;
            *end = i;
            end = &i->next;
            n++;
        }
        if (error == 0 && batch != NULL)
            error = commit(s, batch, wall_ms, counts, detail);
        free_batch(batch);
    }
    return error;
}

const struct vv *snapshot_stage_vv(const struct snapshot_stage *s)
{
    return &s->vv;
}

const struct hash *snapshot_stage_digest(const struct snapshot_stage *s)
{
    return &s->digest;
}

hlc_t snapshot_stage_hlc(const struct snapshot_stage *s)
{
    return s->hlc;
}

size_t snapshot_stage_pending(const struct snapshot_stage *s)
{
    return s->pending;
}

/* ---- entries ---- */

int snapshot_stage_begin(struct snapshot_stage *s, struct cm_detail *detail)
{
    int error;

    snapshot_stage_end(s);
    s->space = SPACE_REGISTER;
    error = store_reader_begin(s->store, &s->reader);
    return error == 0 ? 0
                      : cm_fail(detail, error, "cannot read the stage: %s",
                                cm_strerror(error));
}

int snapshot_stage_next(void *stage, struct entry_id *ret_id,
                        const struct entry **ret_entry)
{
    struct snapshot_stage *s = stage;
    const struct store_item *item;
    int error;

    CHECK(s->reader != NULL);
    for (;;) {
        if (s->cursor == NULL) {
            error = store_cursor_open(s->reader, s->space, slice_of(NULL, 0),
                                      false, NULL, &s->cursor);
            if (error != 0)
                return error;
        }
        error = store_cursor_next(s->cursor, &item);
        if (error == 0) {
            *ret_id = item->id;
            *ret_entry = &item->entry;
            return 0;
        }
        if (error != CM_ERR_NOT_FOUND || s->space == SPACE_LAST)
            return error;
        store_cursor_close(s->cursor);
        s->cursor = NULL;
        s->space++;
    }
}

int snapshot_stage_standing(struct snapshot_stage *s, struct buffer *out)
{
    struct store_reader *reader;
    struct slice bytes;
    int error = store_reader_begin(s->store, &reader);

    if (error != 0)
        return error;
    error = store_meta(reader, META_STANDING, &bytes);
    if (error == 0)
        buffer_append_slice(out, bytes);
    else if (error == CM_ERR_NOT_FOUND)
        error = 0;
    store_reader_release(reader);
    return error != 0 ? error : out->error;
}
