/* A cursor that stands behind the last record of the tree needs no search for
 * the next one: LMDB looks into the page that it has. */
#include "node/store_bulk.h"

#include <string.h>

#include "crdt/base/check.h"

#define HEAD_SIZE 6

static MDB_val val_of(struct slice s)
{
    return (MDB_val){.mv_size = s.size, .mv_data = (void *)(uintptr_t)s.data};
}

/* The first key behind all entries of the transaction's bank. */
static int tail_start(struct store_txn *t, struct schema_key *ret_key)
{
    int error;

    *ret_key = (struct schema_key){.bytes = {SCHEMA_PREFIX_ENTRY}, .size = 1};
    error = store_txn_place(t, ret_key);
    ret_key->bytes[0]++;
    return error;
}

/* Copies the tail, or as much of it as there may be. */
static int read_tail(struct store_bulk *b, const struct schema_key *start)
{
    MDB_val k = val_of(schema_key_slice(start));
    MDB_val v;
    int rc = mdb_cursor_get(b->cursor, &k, &v, MDB_SET_RANGE);

    while (rc == 0 && b->tail.error == 0) {
        uint8_t head[HEAD_SIZE];

        CHECK(k.mv_size <= UINT16_MAX && v.mv_size <= UINT32_MAX);
        put_be16(head, (uint16_t)k.mv_size);
        put_be32(head + 2, (uint32_t)v.mv_size);
        buffer_append(&b->tail, head, sizeof head);
        buffer_append(&b->tail, k.mv_data, k.mv_size);
        buffer_append(&b->tail, v.mv_data, v.mv_size);
        rc = mdb_cursor_get(b->cursor, &k, &v, MDB_NEXT);
    }
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : store_error(rc, NULL);
}

static int delete_tail(struct store_bulk *b, const struct schema_key *start)
{
    for (;;) {
        MDB_val k = val_of(schema_key_slice(start));
        MDB_val v;
        int rc = mdb_cursor_get(b->cursor, &k, &v, MDB_SET_RANGE);

        if (rc == 0)
            rc = mdb_cursor_del(b->cursor, 0);
        if (rc != 0)
            return rc == MDB_NOTFOUND ? 0 : store_error(rc, NULL);
    }
}

static int put_tail(struct store_bulk *b)
{
    const uint8_t *at = b->tail.data;
    size_t left = b->tail.size;
    int error = 0;

    while (left > 0 && error == 0) {
        size_t key = get_be16(at);
        size_t record = get_be32(at + 2);

        CHECK(left >= HEAD_SIZE + key + record);
        error = store_txn_put_sealed(b->txn, slice_of(at + HEAD_SIZE, key),
                                     slice_of(at + HEAD_SIZE + key, record));
        at += HEAD_SIZE + key + record;
        left -= HEAD_SIZE + key + record;
    }
    return error;
}

int store_bulk_begin(struct store_bulk *ret_bulk, struct store_txn *t)
{
    struct store_bulk *b = ret_bulk;
    struct schema_key start;
    int error = tail_start(t, &start);

    CHECK(t->mdb != NULL && t->write);
    *b = (struct store_bulk){.txn = t};
    buffer_init(&b->tail, STORE_BULK_TAIL_BYTES);
    if (error == 0)
        error = store_error(
            mdb_cursor_open(t->mdb, store_dbi(t->store), &b->cursor), NULL);
    if (error == 0)
        error = read_tail(b, &start);
    if (error == 0 && b->tail.error == CM_ERR_TOO_LARGE) {
        buffer_clear(&b->tail); /* it stays */
    } else if (error == 0) {
        error = b->tail.error;
        if (error == 0)
            error = delete_tail(b, &start);
    }
    if (error != 0)
        (void)store_bulk_end(b, false);
    return error;
}

int store_bulk_add(struct store_bulk *b, const struct schema_key *key,
                   struct buffer *record)
{
    struct schema_key place = {.size = key->size};
    MDB_val k, v;
    int error;
    int rc;

    memcpy(place.bytes, key->bytes, key->size);
    error = store_txn_place(b->txn, &place);
    if (error == 0)
        error = schema_record_seal(record, schema_key_slice(&place));
    if (error != 0)
        return error;
    k = val_of(schema_key_slice(&place));
    v = val_of(buffer_slice(record));
    b->txn->writes++;
    rc = mdb_cursor_put(b->cursor, &k, &v, MDB_NOOVERWRITE);
    return rc == MDB_KEYEXIST ? CM_ERR_EXISTS : store_error(rc, NULL);
}

int store_bulk_end(struct store_bulk *b, bool ok)
{
    int error = ok ? put_tail(b) : 0;

    if (b->cursor != NULL)
        mdb_cursor_close(b->cursor);
    b->cursor = NULL;
    buffer_release(&b->tail);
    return error;
}
