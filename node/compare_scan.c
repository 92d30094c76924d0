#include "node/compare_scan.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/store_txn.h"

#define STEP_RECORDS 512
#define STEP_BYTES (1u << 20)
#define SPLIT_FIRST 8 /* entries of a part, to begin with */

struct compare_scan {
    struct store *store; /* borrowed */
    enum compare_mode mode;
    struct schema_key bounds[COMPARE_PARTS_MAX + 1];
    size_t bounds_count;
    struct store_reader *reader;
    MDB_cursor *cursor;
    bool started;
    bool ended;
    size_t part_entries;             /* SPLIT: of one part */
    crypto_generichash_state hasher; /* of the part that is open */
    struct entry entry;              /* scratch */
    struct buffer packed;            /* scratch */
    struct compare_result result;
};

int compare_scan_create(struct compare_scan **ret_scan, struct store *store,
                        enum compare_mode mode, const struct schema_key *bounds,
                        size_t bounds_count)
{
    struct compare_scan *s = cm_calloc(1, sizeof *s);

    CHECK(bounds_count <= COMPARE_PARTS_MAX + 1);
    CHECK((mode == COMPARE_SCRUB) == (bounds_count == 0));
    CHECK(mode == COMPARE_SCRUB || bounds_count >= 2);
    if (s == NULL)
        return CM_ERR_NOMEM;
    s->store = store;
    s->mode = mode;
    if (bounds_count > 0)
        memcpy(s->bounds, bounds, bounds_count * sizeof *bounds);
    s->bounds_count = bounds_count;
    s->part_entries = SPLIT_FIRST;
    if (bounds_count > 0)
        s->result.end = bounds[bounds_count - 1];
    entry_init(&s->entry);
    buffer_init(&s->packed, SCHEMA_RECORD_MAX);
    *ret_scan = s;
    return 0;
}

static void stop_reading(struct compare_scan *s)
{
    if (s->cursor != NULL)
        mdb_cursor_close(s->cursor);
    s->cursor = NULL;
    store_reader_release(s->reader);
    s->reader = NULL;
}

void compare_scan_free(struct compare_scan *s)
{
    if (s == NULL)
        return;
    stop_reading(s);
    entry_release(&s->entry);
    buffer_release(&s->packed);
    cm_free(s);
}

/* ---- prints ---- */

int compare_print_of(uint8_t ret_print[COMPARE_PRINT_SIZE],
                     const struct entry_id *id, const struct entry *entry,
                     struct buffer *scratch)
{
    struct hash hash;

    buffer_clear(scratch);
    entry_pack(scratch, id, entry);
    if (scratch->error != 0)
        return scratch->error; /* short of memory */
    hash = hash_of("confmesh compare v1", buffer_slice(scratch));
    memcpy(ret_print, hash.bytes, COMPARE_PRINT_SIZE);
    return 0;
}

static struct compare_part *part_last(struct compare_scan *s)
{
    CHECK(s->result.parts_count > 0);
    return &s->result.parts[s->result.parts_count - 1];
}

static void part_close(struct compare_scan *s)
{
    if (s->result.parts_count > 0)
        CHECK(crypto_generichash_final(&s->hasher, part_last(s)->print,
                                       COMPARE_PRINT_SIZE) == 0);
}

static void part_open(struct compare_scan *s, const struct schema_key *from)
{
    CHECK(s->result.parts_count < COMPARE_PARTS_MAX);
    part_close(s);
    s->result.parts[s->result.parts_count++] =
        (struct compare_part){.from = *from};
    CHECK(crypto_generichash_init(&s->hasher, NULL, 0, COMPARE_PRINT_SIZE) ==
          0);
}

/* Twice the size, half the number. The prints are of no use afterwards: of a
 * split only bounds and counts are, the sides then ask for the same bounds. */
static void parts_merge(struct compare_scan *s)
{
    struct compare_result *r = &s->result;
    size_t kept = 0;

    part_close(s);
    for (size_t i = 0; i < r->parts_count; i += 2) {
        r->parts[kept] = r->parts[i];
        if (i + 1 < r->parts_count)
            r->parts[kept].count += r->parts[i + 1].count;
        kept++;
    }
    r->parts_count = kept;
    s->part_entries *= 2;
    CHECK(crypto_generichash_init(&s->hasher, NULL, 0, COMPARE_PRINT_SIZE) ==
          0);
}

/* ---- the walk ---- */

static MDB_val val_of(struct slice s)
{
    return (MDB_val){.mv_size = s.size, .mv_data = (void *)(uintptr_t)s.data};
}

static int begin(struct compare_scan *s)
{
    struct vv vv;
    int error = store_reader_begin(s->store, &s->reader);
    int rc;

    if (error != 0)
        return error;
    vv_init(&vv);
    error = store_vv(s->reader, &vv);
    if (error == 0)
        s->result.vv = vv_hash(&vv);
    else if (error == CM_ERR_DAMAGED && s->mode == COMPARE_SCRUB)
        error = 0; /* the walk finds it */
    vv_release(&vv);
    if (error == 0)
        error = store_digest(s->reader, &s->result.lanes);
    if (error == CM_ERR_DAMAGED && s->mode == COMPARE_SCRUB)
        error = 0;
    if (error != 0)
        return error;
    rc = mdb_cursor_open(s->reader->txn.mdb, store_dbi(s->store), &s->cursor);
    if (rc != 0)
        return store_error(rc, NULL);
    if (s->mode == COMPARE_SPLIT)
        part_open(s, &s->bounds[0]);
    return 0;
}

static int move(struct compare_scan *s, MDB_val *k, MDB_val *v)
{
    struct schema_key first = {.bytes = {SCHEMA_PREFIX_ENTRY}, .size = 1};
    int error;

    if (s->started)
        return mdb_cursor_get(s->cursor, k, v, MDB_NEXT);
    s->started = true;
    if (s->mode == COMPARE_SCRUB)
        return mdb_cursor_get(s->cursor, k, v, MDB_FIRST);
    if (s->bounds[0].size > 0)
        first = s->bounds[0];
    error = store_txn_place(&s->reader->txn, &first);
    CHECK(error == 0); /* a reader knows its bank */
    *k = val_of(schema_key_slice(&first));
    return mdb_cursor_get(s->cursor, k, v, MDB_SET_RANGE);
}

static bool is_before(struct slice key, const struct schema_key *bound)
{
    return bound->size == 0 || slice_compare(key, schema_key_slice(bound)) < 0;
}

/* As of the first bank, wherever it stands. */
static struct schema_key key_copy(struct slice key)
{
    struct schema_key ret = {.size = key.size};

    CHECK(key.size > 0 && key.size <= SCHEMA_KEY_MAX);
    memcpy(ret.bytes, key.data, key.size);
    ret.bytes[0] = schema_prefix_of(ret.bytes[0]);
    return ret;
}

/* In the bank that does not count: being staged, or left over. */
static bool is_shadow(const struct compare_scan *s, uint8_t byte)
{
    return schema_prefix_is_banked(schema_prefix_of(byte)) &&
           schema_prefix_bank(byte) != s->reader->head.bank;
}

static void note_damage(struct compare_scan *s, const struct schema_key *key)
{
    struct compare_result *r = &s->result;

    r->damaged++;
    if (r->damaged_keys_count < COMPARE_DAMAGED_MAX)
        r->damaged_keys[r->damaged_keys_count++] = *key;
}

/* 0, CM_ERR_DAMAGED, CM_ERR_NOMEM. */
static int read_entry(struct compare_scan *s, struct slice key,
                      struct slice value, struct compare_item *item)
{
    struct entry_id id;
    struct slice payload;
    int error = schema_parse_entry(&id, key);

    if (error == 0)
        error = schema_record_open(&payload, key, value);
    if (error == 0)
        error = schema_entry_unpack(&s->entry, NULL, payload,
                                    store_actors(s->store));
    if (error != 0)
        return error;
    if (s->mode == COMPARE_SCRUB) {
        for (size_t i = 0; i < s->entry.count; i++)
            digest_add(&s->result.found, &id, &s->entry.siblings[i]);
        return 0;
    }
    return compare_print_of(item->print, &id, &s->entry, &s->packed);
}

static void take_item(struct compare_scan *s, const struct compare_item *item)
{
    struct compare_result *r = &s->result;
    uint8_t size[2];

    if (s->mode == COMPARE_LIST) {
        r->more = r->items_count == COMPARE_KEYS_MAX;
        s->ended = r->more;
        if (!r->more)
            r->items[r->items_count++] = *item;
        return;
    }
    if (s->mode == COMPARE_SPLIT && part_last(s)->count >= s->part_entries) {
        if (r->parts_count == COMPARE_PARTS_MAX)
            parts_merge(s);
        if (part_last(s)->count >= s->part_entries)
            part_open(s, &item->key);
    }
    while (s->mode == COMPARE_BOUNDS &&
           (r->parts_count == 0 || !is_before(schema_key_slice(&item->key),
                                              &s->bounds[r->parts_count])))
        part_open(s, &s->bounds[r->parts_count]);
    put_be16(size, (uint16_t)item->key.size);
    crypto_generichash_update(&s->hasher, size, sizeof size);
    crypto_generichash_update(&s->hasher, item->key.bytes, item->key.size);
    crypto_generichash_update(&s->hasher, item->print, sizeof item->print);
    part_last(s)->count++;
}

static int take_record(struct compare_scan *s, struct slice key,
                       struct slice value)
{
    struct compare_item item = {.damaged = false};
    struct slice payload;
    int error;

    s->result.records++;
    s->result.bytes += key.size + value.size;
    if (key.size == 0 || key.size > SCHEMA_KEY_MAX)
        return CM_ERR_DAMAGED; /* not even LMDB could find it */
    item.key = key_copy(key);
    if (is_shadow(s, key.data[0]))
        return 0;
    if (s->mode == COMPARE_SCRUB && item.key.bytes[0] != SCHEMA_PREFIX_ENTRY)
        error = schema_record_open(&payload, key, value);
    else
        error = read_entry(s, key, value, &item);
    if (error == CM_ERR_NOMEM)
        return error;
    if (error != 0) {
        item.damaged = true;
        memset(item.print, 0, sizeof item.print);
        note_damage(s, &item.key);
    }
    if (s->mode != COMPARE_SCRUB)
        take_item(s, &item);
    return 0;
}

static void finish(struct compare_scan *s)
{
    if (s->mode == COMPARE_BOUNDS)
        while (s->result.parts_count + 1 < s->bounds_count)
            part_open(s, &s->bounds[s->result.parts_count]);
    part_close(s);
    stop_reading(s);
}

/* Entries of this bank only, up to the end that is wanted. */
static bool is_behind(const struct compare_scan *s, struct slice key)
{
    struct schema_key plain;

    if (key.size == 0 || key.size > SCHEMA_KEY_MAX)
        return false; /* take_record tells */
    plain = key_copy(key);
    return plain.bytes[0] != SCHEMA_PREFIX_ENTRY || is_shadow(s, key.data[0]) ||
           !is_before(schema_key_slice(&plain), &s->result.end);
}

int compare_scan_step(struct compare_scan *s)
{
    uint64_t records = s->result.records;
    uint64_t bytes = s->result.bytes;
    int error = s->reader == NULL && !s->ended ? begin(s) : 0;
    int rc = 0;

    if (error == 0 && store_is_poisoned(s->store))
        error = CM_ERR_IO; /* whoever has to open it again waits for this */
    while (error == 0 && rc == 0 && !s->ended &&
           s->result.records < records + STEP_RECORDS &&
           s->result.bytes < bytes + STEP_BYTES) {
        MDB_val k, v;
        struct slice key;

        rc = move(s, &k, &v);
        if (rc != 0)
            break;
        key = slice_of(k.mv_data, k.mv_size);
        s->ended = s->mode != COMPARE_SCRUB && is_behind(s, key);
        if (!s->ended)
            error = take_record(s, key, slice_of(v.mv_data, v.mv_size));
    }
    if (rc == MDB_NOTFOUND)
        s->ended = true;
    else if (rc != 0)
        error = store_error(rc, NULL);
    if (error != 0) {
        stop_reading(s);
        return error;
    }
    if (!s->ended)
        return 1;
    finish(s);
    return 0;
}

const struct compare_result *compare_scan_result(const struct compare_scan *s)
{
    CHECK(s->ended);
    return &s->result;
}
