/* See store_index.h. A record of an index has no payload: its key says
 * everything, its checksum that it is whole. */
#include "node/store_index.h"

#include <string.h>

#include "crdt/base/check.h"
#include "crdt/collapse.h"

/* Deletes of one key at two places agree; so do two adds of one element. All
 * other siblings beside each other mean that somebody's write is not seen. */
static bool is_conflict(const struct entry *e)
{
    bool adds = false;
    bool removes = false;

    if (e->count < 2)
        return false;
    for (size_t i = 0; i < e->count; i++) {
        enum sibling_kind kind = e->siblings[i].kind;

        if (kind == SIBLING_PUT)
            return true; /* count >= 2: it lost, or beat another */
        adds = adds || kind == SIBLING_ADD;
        removes = removes || kind == SIBLING_REVOKE;
    }
    return adds && removes;
}

struct index_mark index_mark_of(const struct entry *e)
{
    struct resolution r = entry_resolve(e, 0);
    struct index_mark ret = {.conflict = is_conflict(e)};

    if (r.present)
        ret.due = r.winner->expires;
    ret.collapses = entry_may_collapse(e);
    /* One that stands alone and is no tombstone waits for its end. */
    if (ret.collapses && e->count == 1)
        ret.collapse_after = e->siblings[0].expires;
    return ret;
}

static int put_mark(struct store_txn *t, struct buffer *record,
                    const struct schema_key *key)
{
    schema_record_begin(record);
    return store_txn_put(t, key, record);
}

static int drop_mark(struct store_txn *t, const struct schema_key *key)
{
    int error = store_txn_delete(t, key);

    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

static int update_collapse(struct store_txn *t, struct buffer *record,
                           const struct entry_id *id,
                           const struct index_mark *before,
                           const struct index_mark *after)
{
    struct schema_key key;
    int error = 0;

    if (before->collapses == after->collapses &&
        before->collapse_after == after->collapse_after)
        return 0;
    if (before->collapses) {
        schema_key_collapse(&key, before->collapse_after, id);
        error = drop_mark(t, &key);
    }
    if (error == 0 && after->collapses) {
        schema_key_collapse(&key, after->collapse_after, id);
        error = put_mark(t, record, &key);
    }
    return error;
}

int index_update(struct store_txn *t, struct buffer *record,
                 const struct entry_id *id, const struct index_mark *before,
                 const struct index_mark *after, hlc_t now)
{
    struct schema_key key;
    int error = 0;

    CHECK(t->write);
    if (before->due != 0 && before->due != after->due)
        error = index_drop_due(t, id, before->due);
    if (error == 0 && after->due > now && before->due != after->due) {
        schema_key_due(&key, after->due, id);
        error = put_mark(t, record, &key);
    }
    if (error == 0)
        error = update_collapse(t, record, id, before, after);
    if (error != 0 || before->conflict == after->conflict)
        return error;
    schema_key_conflict(&key, id);
    return after->conflict ? put_mark(t, record, &key) : drop_mark(t, &key);
}

bool index_has_due(struct store_txn *t, const struct entry_id *id, hlc_t due)
{
    struct schema_key key;
    struct slice payload;

    CHECK(due != 0);
    schema_key_due(&key, due, id);
    return store_txn_get(t, &key, &payload) != CM_ERR_NOT_FOUND;
}

int index_drop_due(struct store_txn *t, const struct entry_id *id, hlc_t due)
{
    struct schema_key key;

    schema_key_due(&key, due, id);
    return drop_mark(t, &key);
}

int index_first_due(struct store_txn *t, struct schema_key *ret_key,
                    struct entry_id *ret_id, hlc_t *ret_due)
{
    struct schema_key start = {.bytes = {SCHEMA_PREFIX_DUE}, .size = 1};
    MDB_cursor *cursor;
    MDB_val k, v;
    int error = store_txn_place(t, &start);
    int rc;

    if (error != 0)
        return error;
    rc = mdb_cursor_open(t->mdb, store_dbi(t->store), &cursor);
    if (rc != 0)
        return store_error(rc, NULL);
    k = (MDB_val){.mv_size = 1, .mv_data = start.bytes};
    rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    mdb_cursor_close(cursor);
    if (rc != 0)
        return store_error(rc, NULL);
    if (k.mv_size == 0 || *(const uint8_t *)k.mv_data != start.bytes[0])
        return CM_ERR_NOT_FOUND;
    if (k.mv_size > SCHEMA_KEY_MAX)
        return CM_ERR_DAMAGED;
    memcpy(ret_key->bytes, k.mv_data, k.mv_size);
    ret_key->bytes[0] = SCHEMA_PREFIX_DUE;
    ret_key->size = k.mv_size;
    return schema_parse_due(ret_due, ret_id, schema_key_slice(ret_key));
}

int index_next_collapse(struct store_txn *t, hlc_t floor_time,
                        struct schema_key *at, struct entry_id *ret_id,
                        hlc_t *ret_after)
{
    struct schema_key start = {.bytes = {SCHEMA_PREFIX_COLLAPSE}, .size = 1};
    MDB_cursor *cursor;
    MDB_val k, v;
    bool first = at->size == 0;
    int error;
    int rc;

    if (!first)
        start = *at;
    error = store_txn_place(t, &start);
    if (error != 0)
        return error;
    rc = mdb_cursor_open(t->mdb, store_dbi(t->store), &cursor);
    if (rc != 0)
        return store_error(rc, NULL);
    k = (MDB_val){.mv_size = start.size, .mv_data = start.bytes};
    rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    if (rc == 0 && !first && k.mv_size == start.size &&
        memcmp(k.mv_data, start.bytes, start.size) == 0)
        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    mdb_cursor_close(cursor);
    if (rc != 0)
        return store_error(rc, NULL);
    if (k.mv_size == 0 || *(const uint8_t *)k.mv_data != start.bytes[0])
        return CM_ERR_NOT_FOUND;
    if (k.mv_size > SCHEMA_KEY_MAX)
        return CM_ERR_DAMAGED;
    memcpy(at->bytes, k.mv_data, k.mv_size);
    at->bytes[0] = SCHEMA_PREFIX_COLLAPSE;
    at->size = k.mv_size;
    if (schema_parse_collapse(ret_after, ret_id, schema_key_slice(at)) != 0)
        return CM_ERR_DAMAGED;
    return *ret_after > floor_time ? CM_ERR_NOT_FOUND : 0;
}

/* Keys of the index are those of the entries behind another prefix. */
static bool conflict_start(struct schema_key *ret_start, struct slice *ret_head,
                           struct schema_key *head, enum space space,
                           struct slice prefix, const struct entry_id *after)
{
    if (!schema_key_prefix(head, space, prefix, false))
        return false;
    head->bytes[0] = SCHEMA_PREFIX_CONFLICT;
    *ret_head = schema_key_slice(head);
    *ret_start = *head;
    if (after == NULL || after->space != space)
        return true;
    schema_key_conflict(ret_start, after);
    if (slice_compare(schema_key_slice(ret_start), *ret_head) < 0)
        *ret_start = *head;
    return true;
}

int index_conflicts(struct store_reader *r, enum space space,
                    struct slice prefix, const struct entry_id *after,
                    index_visit visit, void *context)
{
    struct schema_key start, head;
    struct slice wanted;
    MDB_cursor *cursor;
    MDB_val k, v;
    int error = 0;
    int rc;

    CHECK(r->txn.mdb != NULL && !r->txn.idle);
    if (!conflict_start(&start, &wanted, &head, space, prefix, after))
        return 0;
    error = store_txn_place(&r->txn, &head);
    if (error == 0)
        error = store_txn_place(&r->txn, &start);
    if (error != 0)
        return error;
    rc = mdb_cursor_open(r->txn.mdb, store_dbi(r->txn.store), &cursor);
    if (rc != 0)
        return store_error(rc, NULL);
    k = (MDB_val){.mv_size = start.size, .mv_data = start.bytes};
    rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    while (rc == 0 && error == 0) {
        struct slice key = slice_of(k.mv_data, k.mv_size);
        struct entry_id id;

        if (!slice_starts_with(key, wanted))
            break;
        error = schema_parse_conflict(&id, key);
        if (error == 0 && (after == NULL || entry_id_compare(&id, after) > 0))
            error = visit(context, &id);
        if (error == 0)
            rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    if (error != 0)
        return error;
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : store_error(rc, NULL);
}
