/* A merge of two walks in canonical order. Blocks of the spool are [true,
 * entry] and [false, space, key, element] one after the other; each block's
 * hash stays in memory, since a file may rot like any other.
 *
 * The digest of what is staged is not added up again: it is the cut's, which
 * was added up when it came, less what the join leaves out of it, and what it
 * keeps besides. */
#include "node/cut_diff.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/join.h"
#include "node/schema.h"
#include "node/writer_internal.h"

#define STEP_ENTRIES 512
#define BLOCK_BYTES (256u << 10)
#define BLOCK_DOMAIN "confmesh cut difference v1"

struct cut_diff {
    struct replacement cut; /* where the cut comes from */
    struct store_reader *reader;
    struct store_cursor *cursor;
    enum space space; /* that the cursor walks */
    hlc_t now;
    struct vv vv; /* of the local state */

    const struct store_item *mine; /* NULL: at the end */
    struct entry_id id;            /* of the cut's */
    const struct entry *theirs;    /* NULL: at the end */

    struct snapshot_spool spool;
    struct buffer block;
    struct cut_diff_counts counts;
    uint64_t entries_max; /* of the spool */
    uint64_t bytes_max;
    bool started;
    bool done;

    /* Staging. */
    bool staging;       /* else the difference is spooled */
    struct buffer *out; /* the block being made */
    struct buffer record;
    struct staged staged;
    unsigned bank;
    const struct actors *actors;

    /* Reading back. */
    size_t next_block;
    struct unpacker unpacker;
    struct entry entry;
};

bool cut_diff_is_mass_deletion(const struct cut_diff_counts *c)
{
    return c->removed > CUT_REMOVED_MAX && c->removed > c->present / 10;
}

int cut_diff_create(struct cut_diff **ret_diff, struct store *store,
                    struct snapshot_sink *sink, const char *spool_dir,
                    uint64_t wall_ms, struct cm_detail *detail)
{
    struct replacement cut;
    int error = snapshot_sink_replacement(sink, &cut, detail);

    cut.mode = ADOPT_JOIN;
    return error != 0 ? error
                      : cut_diff_create_of(ret_diff, store, &cut, spool_dir,
                                           wall_ms, detail);
}

int cut_diff_create_of(struct cut_diff **ret_diff, struct store *store,
                       const struct replacement *cut, const char *spool_dir,
                       uint64_t wall_ms, struct cm_detail *detail)
{
    struct cut_diff *d = cm_calloc(1, sizeof *d);
    int error;

    CHECK(ret_diff != NULL &&
          (cut->mode == ADOPT_JOIN || cut->mode == ADOPT_RETAIN));
    if (d == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    d->cut = *cut;
    d->space = SPACE_REGISTER;
    d->now = hlc_make(wall_ms < HLC_WALL_MS_MAX ? wall_ms : HLC_WALL_MS_MAX, 0);
    d->spool.fd = -1;
    d->entries_max = UINT64_MAX;
    d->bytes_max = UINT64_MAX;
    d->actors = store_actors(store);
    buffer_init(&d->record, SCHEMA_RECORD_MAX);
    vv_init(&d->staged.vv);
    vv_init(&d->vv);
    entry_init(&d->entry);
    buffer_init(&d->block, SNAPSHOT_OBJECT_MAX);
    unpack_init(&d->unpacker, slice_of(NULL, 0));
    error = snapshot_spool_open(&d->spool, spool_dir, detail);
    if (error == 0)
        error = store_reader_begin(store, &d->reader);
    if (error == 0)
        error = store_vv(d->reader, &d->vv);
    if (error != 0) {
        if (detail != NULL && detail->text[0] == '\0')
            (void)cm_fail(detail, error, "cannot compare a cut: %s",
                          cm_strerror(error));
        cut_diff_free(d);
        return error;
    }
    d->counts.revision = store_revision(d->reader);
    d->bank = 1 - d->reader->head.bank;
    *ret_diff = d;
    return 0;
}

static void close_walk(struct cut_diff *d)
{
    store_cursor_close(d->cursor);
    if (d->reader != NULL)
        store_reader_release(d->reader);
    d->cursor = NULL;
    d->reader = NULL;
}

void cut_diff_free(struct cut_diff *d)
{
    if (d == NULL)
        return;
    close_walk(d);
    snapshot_spool_close(&d->spool);
    buffer_release(&d->block);
    buffer_release(&d->record);
    entry_release(&d->entry);
    vv_release(&d->staged.vv);
    vv_release(&d->vv);
    cm_free(d);
}

/* ---- the two walks ---- */

static int next_mine(struct cut_diff *d)
{
    int error = CM_ERR_NOT_FOUND;

    while (error == CM_ERR_NOT_FOUND) {
        error = d->cursor != NULL
                    ? 0
                    : store_cursor_open(d->reader, d->space, slice_of(NULL, 0),
                                        false, NULL, &d->cursor);
        if (error == 0)
            error = store_cursor_next(d->cursor, &d->mine);
        if (error != CM_ERR_NOT_FOUND)
            break;
        store_cursor_close(d->cursor);
        d->cursor = NULL;
        if (d->space == SPACE_LAST) {
            d->mine = NULL;
            return 0;
        }
        d->space++;
    }
    return error;
}

static int next_theirs(struct cut_diff *d)
{
    int error = d->cut.next(d->cut.context, &d->id, &d->theirs);

    if (error == CM_ERR_NOT_FOUND) {
        d->theirs = NULL;
        error = 0;
    }
    return error;
}

/* ---- one entry ---- */

static int flush_block(struct cut_diff *d, struct cm_detail *detail)
{
    struct slice bytes = buffer_slice(&d->block);
    struct hash hash = hash_of(BLOCK_DOMAIN, bytes);
    int error = d->block.error;

    if (error != 0)
        return cm_fail(detail, error, "cannot spool a difference: %s",
                       cm_strerror(error));
    if (bytes.size == 0)
        return 0;
    error =
        snapshot_spool_append(&d->spool, SNAPSHOT_CHUNK, &hash, bytes, detail);
    buffer_clear(&d->block);
    return error;
}

static int spool_entry(struct cut_diff *d, const struct entry_id *id,
                       const struct entry *theirs, struct cm_detail *detail)
{
    struct buffer *out = &d->block;

    pack_bool(out, theirs->count > 0);
    if (theirs->count > 0) {
        entry_pack(out, id, theirs);
    } else {
        pack_uint(out, id->space);
        pack_bin(out, id->key);
        pack_bin(out, id->element);
    }
    d->counts.entries++;
    return out->error != 0 || out->size >= BLOCK_BYTES ? flush_block(d, detail)
                                                       : 0;
}

/* Names come in order, so a chain of hashes tells two sets apart. */
static void note_removed(struct cut_diff *d, const struct entry_id *id)
{
    struct schema_key key;
    uint8_t bytes[HASH_SIZE + SCHEMA_KEY_MAX];

    d->counts.removed++;
    schema_key_entry(&key, id);
    memcpy(bytes, d->counts.which.bytes, HASH_SIZE);
    memcpy(bytes + HASH_SIZE, key.bytes, key.size);
    d->counts.which =
        hash_of("confmesh removed v1", slice_of(bytes, HASH_SIZE + key.size));
}

/* As the join leaves it, changed or not. */
static int stage_entry(struct cut_diff *d, const struct entry_id *id,
                       const struct entry *mine, const struct entry *theirs,
                       const struct entry *joined, bool changed,
                       struct cm_detail *detail)
{
    struct entry_local local = {0};
    int error = adopt_check_entry(id, theirs, d->cut.vv, detail);

    if (error != 0)
        return error;
    state_digest_change(&d->staged.digest, id, theirs->siblings, theirs->count,
                        joined);
    if (joined->count == 0)
        return 0;
    if (mine->count > 0)
        local = d->mine->local;
    if (changed) {
        local.modify_revision = d->counts.revision + 1;
        if (mine->count == 0 || (!entry_resolve(mine, d->now).present &&
                                 entry_resolve(joined, d->now).present))
            local.create_revision = local.modify_revision;
    }
    stage_pack(d->out, &d->record, d->bank, id, joined, &local, d->actors,
               d->now);
    return d->record.error != 0 ? d->record.error : d->out->error;
}

/* mine or theirs may be empty, not both. */
static int compare(struct cut_diff *d, const struct entry_id *id,
                   const struct entry *mine, const struct entry *theirs,
                   struct cm_detail *detail)
{
    bool client = id->space <= SPACE_CLIENT_LAST;
    bool present = client && entry_resolve(mine, d->now).present;
    struct entry joined;
    bool changed;
    int error;

    CHECK(mine->count + theirs->count > 0);
    d->counts.present += present;
    error = entry_join(&joined, mine, &d->vv, theirs, d->cut.vv);
    if (error != 0)
        return cm_fail(detail, error,
                       error == CM_ERR_FORK
                           ? "the cut has another event under a name that is "
                             "known here"
                           : "cannot compare a cut");
    changed = !entry_same_dots(&joined, mine);
    if (changed && present && !entry_resolve(&joined, d->now).present)
        note_removed(d, id);
    if (d->staging) {
        error = stage_entry(d, id, mine, theirs, &joined, changed, detail);
        d->counts.entries += changed;
    } else if (changed) {
        error = spool_entry(d, id, theirs, detail);
    }
    entry_release(&joined);
    return error;
}

/* What a state of another generation has that the local vector lacks. */
static int retain_one(struct cut_diff *d, struct cm_detail *detail)
{
    struct entry beyond;
    int error = 0;

    entry_init(&beyond);
    for (size_t i = 0; i < d->theirs->count && error == 0; i++)
        if (!vv_covers(&d->vv, &d->theirs->siblings[i].dot))
            error = entry_add_sibling(&beyond, &d->theirs->siblings[i]);
    if (error == 0 && beyond.count > 0 && d->id.space <= SPACE_CLIENT_LAST)
        error = spool_entry(d, &d->id, &beyond, detail);
    entry_release(&beyond);
    return error != 0 ? error : next_theirs(d);
}

static int merge_one(struct cut_diff *d, struct cm_detail *detail)
{
    static const struct entry nothing = {.count = 0};
    int order = d->mine == NULL     ? 1
                : d->theirs == NULL ? -1
                                    : entry_id_compare(&d->mine->id, &d->id);
    const struct entry *mine = order <= 0 ? &d->mine->entry : &nothing;
    const struct entry *theirs = order >= 0 ? d->theirs : &nothing;
    const struct entry_id *id = order <= 0 ? &d->mine->id : &d->id;
    int error = compare(d, id, mine, theirs, detail);

    if (error == 0 && order <= 0)
        error = next_mine(d);
    if (error == 0 && order >= 0)
        error = next_theirs(d);
    return error;
}

static int step(struct cut_diff *d, struct cm_detail *detail)
{
    int error = 0;

    CHECK(!d->done);
    if (!d->started) {
        d->started = true;
        error = d->cut.mode == ADOPT_RETAIN ? 0 : next_mine(d);
        if (error == 0)
            error = next_theirs(d);
    }
    for (size_t i = 0; i < STEP_ENTRIES && error == 0; i++) {
        if (d->mine == NULL && d->theirs == NULL) {
            close_walk(d);
            error = flush_block(d, detail);
            d->done = error == 0;
            return error == 0 ? SNAPSHOT_DONE : error;
        }
        error = d->cut.mode == ADOPT_RETAIN ? retain_one(d, detail)
                                            : merge_one(d, detail);
    }
    if (error != 0 && detail != NULL && detail->text[0] == '\0')
        (void)cm_fail(detail, error, "cannot compare a cut: %s",
                      cm_strerror(error));
    return error == 0 ? SNAPSHOT_MORE : error;
}

void cut_diff_limit(struct cut_diff *d, uint64_t entries, uint64_t bytes)
{
    CHECK(!d->started);
    d->entries_max = entries;
    d->bytes_max = bytes;
}

int cut_diff_step(struct cut_diff *d, struct cm_detail *detail)
{
    int error = step(d, detail);

    CHECK(!d->staging);
    if (error >= 0 && (d->counts.entries > d->entries_max ||
                       d->spool.size + d->block.size > d->bytes_max))
        return CUT_DIFF_LARGE;
    return error;
}

void cut_diff_stage(struct cut_diff *d, const struct digest *cut)
{
    CHECK(!d->started && d->cut.mode == ADOPT_JOIN);
    d->staging = true;
    d->staged.digest = *cut;
}

int cut_diff_fill(struct cut_diff *d, struct buffer *block,
                  struct cm_detail *detail)
{
    int error = 0;

    CHECK(block != NULL && d->staging);
    if (!d->started)
        error = vv_join(&d->staged.vv, &d->vv, d->cut.vv);
    if (error != 0)
        return cm_fail(detail, error,
                       "cannot stage a cut: it and this state differ in the "
                       "event that they have under one name");
    d->out = block;
    return step(d, detail);
}

unsigned cut_diff_bank(const struct cut_diff *d)
{
    return d->bank;
}

struct staged *cut_diff_staged(struct cut_diff *d)
{
    CHECK(d->done && d->staging);
    return &d->staged;
}

struct cut_diff_counts cut_diff_counts(const struct cut_diff *d)
{
    struct cut_diff_counts ret = d->counts;

    CHECK(d->done);
    ret.staged = d->staging;
    return ret;
}

/* ---- reading it back ---- */

static int next_block(struct cut_diff *d)
{
    struct hash hash;
    int error;

    if (d->next_block == d->spool.count)
        return CM_ERR_NOT_FOUND;
    error = snapshot_spool_read(&d->spool, d->next_block, &d->block, NULL);
    if (error != 0)
        return error;
    hash = hash_of(BLOCK_DOMAIN, buffer_slice(&d->block));
    if (!hash_equal(&hash, &d->spool.items[d->next_block].hash))
        return CM_ERR_DAMAGED;
    d->next_block++;
    unpack_init(&d->unpacker, buffer_slice(&d->block));
    return 0;
}

static int diff_next(void *context, struct entry_id *ret_id,
                     const struct entry **ret_entry)
{
    struct cut_diff *d = context;
    struct unpacker *u = &d->unpacker;

    CHECK(d->done);
    if (u->position == u->in.size) {
        int error = next_block(d);

        if (error != 0)
            return error;
    }
    entry_release(&d->entry);
    if (unpack_bool(u)) {
        entry_unpack(u, ret_id, &d->entry);
    } else {
        entry_init(&d->entry);
        ret_id->space = (enum space)unpack_uint(u, SPACE_LAST);
        ret_id->key = unpack_bin(u, KEY_SIZE_MAX);
        ret_id->element = unpack_bin(u, KEY_SIZE_MAX);
    }
    if (u->error != 0)
        return u->error;
    *ret_entry = &d->entry;
    return 0;
}

void cut_diff_replacement(struct cut_diff *d, struct replacement *ret)
{
    CHECK(d->done);
    d->next_block = 0;
    unpack_init(&d->unpacker, slice_of(NULL, 0));
    *ret = (struct replacement){
        .mode = d->cut.mode,
        .vv = d->cut.vv,
        .hlc_max = d->cut.hlc_max,
        .generation_order = d->cut.generation_order,
        .standing = d->cut.standing,
        .next = diff_next,
        .context = d,
        .state_digest = d->cut.state_digest,
        .staged = d->staging ? &d->staged : NULL,
    };
}
