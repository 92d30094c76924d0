/* The writer's part of staging (stage.h). Each step is a transaction of its
 * own that changes nothing of what counts: no revision, no digest. */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "crdt/join.h"
#include "node/writer_internal.h"

static const uint8_t prefixes[] = {SCHEMA_PREFIX_CONFLICT, SCHEMA_PREFIX_ENTRY,
                                   SCHEMA_PREFIX_COLLAPSE, SCHEMA_PREFIX_DUE};
#define PREFIXES_COUNT (sizeof prefixes / sizeof prefixes[0])
#define RECORD_HEAD 6

struct stage *stage_new(enum stage_step step)
{
    struct stage *s = cm_calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    s->step = step;
    buffer_init(&s->block, SCHEMA_RECORD_MAX + STAGE_BLOCK_BYTES);
    return s;
}

void stage_free(struct stage *s)
{
    if (s == NULL)
        return;
    buffer_release(&s->block);
    cm_free(s);
}

/* ---- blocks ---- */

static void pack_record(struct buffer *out, struct buffer *record,
                        unsigned bank, struct schema_key *key)
{
    uint8_t head[RECORD_HEAD];

    key->bytes[0] = schema_prefix_in(key->bytes[0], bank);
    if (schema_record_seal(record, schema_key_slice(key)) != 0)
        return;
    put_be16(head, (uint16_t)key->size);
    put_be32(head + 2, (uint32_t)record->size);
    buffer_append(out, head, sizeof head);
    buffer_append_slice(out, schema_key_slice(key));
    buffer_append_slice(out, buffer_slice(record));
}

static void pack_mark(struct buffer *out, struct buffer *record, unsigned bank,
                      struct schema_key *key)
{
    schema_record_begin(record);
    pack_record(out, record, bank, key);
}

void stage_pack(struct buffer *out, struct buffer *record, unsigned bank,
                const struct entry_id *id, const struct entry *entry,
                const struct entry_local *local, const struct actors *actors,
                hlc_t now)
{
    struct index_mark mark = index_mark_of(entry);
    struct schema_key key;

    CHECK(entry->count > 0);
    schema_key_entry(&key, id);
    schema_record_begin(record);
    schema_entry_pack(record, entry, local, actors);
    pack_record(out, record, bank, &key);
    if (mark.due > now) {
        schema_key_due(&key, mark.due, id);
        pack_mark(out, record, bank, &key);
    }
    if (mark.collapses) {
        schema_key_collapse(&key, mark.collapse_after, id);
        pack_mark(out, record, bank, &key);
    }
    if (mark.conflict) {
        schema_key_conflict(&key, id);
        pack_mark(out, record, bank, &key);
    }
}

static int put_block(struct batch *b, const struct stage *s)
{
    const uint8_t *at = s->block.data;
    size_t left = s->block.size;
    int error = 0;

    if (s->bank == b->w->head.bank)
        return CM_ERR_CONDITION;
    while (left > 0 && error == 0) {
        size_t key, record;

        CHECK(left >= RECORD_HEAD);
        key = get_be16(at);
        record = get_be32(at + 2);
        CHECK(left - RECORD_HEAD >= key && left - RECORD_HEAD - key >= record);
        error = store_txn_put_sealed(&b->txn, slice_of(at + RECORD_HEAD, key),
                                     slice_of(at + RECORD_HEAD + key, record));
        at += RECORD_HEAD + key + record;
        left -= RECORD_HEAD + key + record;
    }
    return error;
}

/* ---- the other bank ---- */

/* Records that begin with that byte: whether there are any; at most *left of
 * them go, if it is not NULL. */
static int visit_prefix(struct store_txn *t, uint8_t byte, size_t *left,
                        bool *ret_any)
{
    MDB_cursor *cursor;
    MDB_val k = {.mv_size = 1, .mv_data = &byte};
    MDB_val v;
    int rc = mdb_cursor_open(t->mdb, store_dbi(t->store), &cursor);

    if (rc != 0)
        return store_error(rc, NULL);
    rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    while (rc == 0 && *(const uint8_t *)k.mv_data == byte) {
        if (left == NULL || *left == 0) {
            *ret_any = true;
            break;
        }
        rc = mdb_cursor_del(cursor, 0);
        t->writes++;
        --*left;
        if (rc == 0) /* to the one that took its place */
            rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : store_error(rc, NULL);
}

int stage_look(struct store_txn *t, unsigned bank, bool *ret_any)
{
    int error = 0;

    *ret_any = false;
    for (size_t i = 0; i < PREFIXES_COUNT && error == 0 && !*ret_any; i++)
        error = visit_prefix(t, schema_prefix_in(prefixes[i], 1 - bank), NULL,
                             ret_any);
    return error;
}

static int sweep(struct batch *b, bool *ret_more)
{
    size_t left = STAGE_SWEEP_RECORDS;
    int error = 0;

    for (size_t i = 0; i < PREFIXES_COUNT && error == 0 && !*ret_more; i++)
        error = visit_prefix(&b->txn,
                             schema_prefix_in(prefixes[i], 1 - b->w->head.bank),
                             &left, ret_more);
    CM_MARK_IF(left < STAGE_SWEEP_RECORDS, "stage: the other bank was swept");
    return error;
}

/* Records of blocks say numbers; readers look them up without a lock. */
static int begin(struct batch *b, const struct vv *vv, struct cm_detail *detail)
{
    bool any;
    int error = stage_look(&b->txn, b->w->head.bank, &any);

    if (error == 0 && any)
        error = cm_fail(detail, CM_ERR_BUSY,
                        "what was staged before has not gone yet");
    if (error == 0)
        error = adopt_name_actors(b, vv);
    return error != 0 ? error : state_flush_actors(b);
}

/* ---- what was written meanwhile ---- */

static int get_in(struct batch *b, unsigned bank, const struct entry_id *id,
                  struct entry *ret, struct entry_local *ret_local)
{
    int error;

    store_txn_set_bank(&b->txn, bank);
    error = store_txn_entry(&b->txn, id, ret, ret_local);
    if (error != CM_ERR_NOT_FOUND)
        return error;
    ret->count = 0;
    return 0;
}

/* Into the other bank, which the transaction is set to. All slices may lie in
 * the map until the first write. */
static int put_settled(struct batch *b, struct digest *digest,
                       const struct entry_id *id, const struct entry *before,
                       const struct entry *after,
                       const struct entry_local *local)
{
    struct index_mark was = index_mark_of(before);
    struct index_mark mark = index_mark_of(after);
    struct buffer *record = &b->w->record;
    struct schema_key key;
    int error;

    state_digest_change(digest, id, before->siblings, before->count, after);
    schema_key_entry(&key, id);
    if (after->count > 0) {
        schema_record_begin(record);
        schema_entry_pack(record, after, local, store_actors(b->w->store));
        error = store_txn_put(&b->txn, &key, record);
    } else {
        error = store_txn_delete(&b->txn, &key);
    }
    if (error == CM_ERR_NOT_FOUND)
        error = 0;
    return error != 0 ? error
                      : index_update(&b->txn, record, id, &was, &mark, b->now);
}

static int settle_one(struct batch *b, const struct staged *staged,
                      struct digest *digest, const struct schema_key *key,
                      struct entry *there)
{
    struct writer *w = b->w;
    unsigned bank = w->head.bank;
    struct entry_local local = {0};
    struct entry_local local_there = {0};
    struct entry joined;
    struct entry_id id;
    int error = schema_parse_entry(&id, schema_key_slice(key));

    if (error == 0)
        error = get_in(b, bank, &id, &w->entry, &local);
    if (error == 0)
        error = get_in(b, 1 - bank, &id, there, &local_there);
    if (error == 0)
        error = entry_join(&joined, &w->entry, &w->vv, there, &staged->vv);
    if (error != 0)
        return error;
    if (!entry_same_dots(&joined, &w->entry)) {
        local.modify_revision = b->revision;
        if (w->entry.count == 0)
            local.create_revision = b->revision;
    }
    if (!entry_same_dots(&joined, there) ||
        (joined.count > 0 &&
         local.modify_revision != local_there.modify_revision))
        error = put_settled(b, digest, &id, there, &joined, &local);
    entry_release(&joined);
    return error;
}

/* At most that many; *ret_more: others wait still. On success the caller
 * commits, or aborts and sets back what it keeps of *at and *count. */
static int settle(struct batch *b, const struct staged *staged,
                  struct digest *digest, size_t max, size_t *at, size_t *count)
{
    struct touched *t = &b->w->touched;
    struct schema_key key;
    struct entry there;
    int error = 0;

    if (t->overrun)
        return CM_ERR_LIMIT;
    CHECK(b->txn.touched == NULL);
    entry_init(&there);
    *at = t->at;
    for (*count = 0; *count < max && error == 0 && touched_next(t, at, &key);
         ++*count) {
        CM_MARK("stage: an entry was written meanwhile");
        error = settle_one(b, staged, digest, &key, &there);
    }
    entry_release(&there);
    return error;
}

int stage_flip(struct batch *b, struct staged *staged, struct cm_detail *detail)
{
    struct writer *w = b->w;
    struct digest digest = staged->digest;
    size_t at, count;
    int error;

    b->txn.touched = NULL;
    error = settle(b, staged, &digest, STAGE_SETTLE_ENTRIES, &at, &count);
    if (error == CM_ERR_LIMIT)
        return cm_fail(detail, error,
                       "too much was written while the state to adopt was "
                       "staged");
    if (error == 0 && at < w->touched.ids.size)
        error = CM_ERR_BUSY; /* settled first, in transactions of their own */
    if (error != 0)
        return error;
    CM_MARK("stage: the other bank became the state");
    w->head.bank = 1 - w->head.bank;
    store_txn_set_bank(&b->txn, w->head.bank);
    w->digest = digest;
    w->log.overrun = true; /* watches start over */
    b->digest_changed = true;
    b->due_changed = true;
    b->collect_changed = true;
    return 0;
}

/* ---- a step ---- */

static int run_step(struct batch *b, struct stage *s, bool *ret_more,
                    struct cm_detail *detail)
{
    switch (s->step) {
    case STAGE_SWEEP:
        return sweep(b, ret_more);
    case STAGE_BEGIN:
        return begin(b, s->vv, detail);
    case STAGE_BLOCK:
        return put_block(b, s);
    case STAGE_SETTLE:
        break;
    }
    CHECK(!"settled by its caller");
    return CM_ERR_INVALID;
}

static int run_settle(struct batch *b, struct staged *staged, bool *ret_more,
                      struct cm_detail *detail)
{
    struct touched *t = &b->w->touched;
    struct digest digest = staged->digest;
    size_t at = 0;
    size_t count = 0;
    int error = settle(b, staged, &digest, STAGE_SETTLE_ENTRIES, &at, &count);

    if (error == 0)
        error = store_txn_commit(&b->txn, detail);
    if (error != 0)
        return error;
    staged->digest = digest;
    touched_done(t, at, count);
    /* What comes meanwhile is little, or settled by the flip itself. */
    *ret_more = count == STAGE_SETTLE_ENTRIES;
    return 0;
}

int writer_stage(struct writer *w, struct stage *s, uint64_t wall_ms,
                 bool *ret_more, struct cm_detail *detail)
{
    struct batch b;
    int error = w->stale ? writer_reload(w, detail) : 0;

    *ret_more = false;
    if (error == 0 && s->step != STAGE_SWEEP && w->adopting.count == 0)
        error = cm_fail(detail, CM_ERR_INVALID, "no cut was announced");
    if (error == 0)
        error = batch_begin(&b, w, wall_ms, detail);
    if (error != 0)
        return error;
    b.txn.touched = NULL;
    if (s->step == STAGE_SETTLE) {
        error = run_settle(&b, s->staged, ret_more, detail);
    } else {
        error = run_step(&b, s, ret_more, detail);
        if (error == 0)
            error = store_txn_commit(&b.txn, detail);
    }
    if (error == 0) {
        if (s->step == STAGE_SWEEP)
            w->shadow = *ret_more;
        else
            w->shadow = w->shadow || s->step != STAGE_BEGIN;
        return 0;
    }
    batch_abort(&b);
    *ret_more = false;
    if (detail != NULL && detail->text[0] == '\0')
        (void)cm_fail(detail, error, "staging a state: %s", cm_strerror(error));
    return error;
}
