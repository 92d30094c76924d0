/* One sorted array, as vv.c, and grown as carefully: by an eighth. */
#include "crdt/floor.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/error.h"

/* Encoded: array head, incarnation, up_to. */
#define ROW_PACKED_MIN (1 + 18 + 1)

_Static_assert(sizeof(struct floor_row) == 32, "10,000 of them: 313 KiB");

void floor_init(struct floor *f)
{
    *f = (struct floor){0};
}

void floor_release(struct floor *f)
{
    cm_free(f->rows);
    *f = (struct floor){0};
}

int floor_copy(struct floor *ret_copy, const struct floor *f)
{
    struct floor copy = {.count = f->count, .capacity = f->count};

    CHECK(f->count <= FLOOR_ROWS_MAX);
    if (f->count > 0) {
        copy.rows = cm_calloc(f->count, sizeof *copy.rows);
        if (copy.rows == NULL)
            return CM_ERR_NOMEM;
        memcpy(copy.rows, f->rows, f->count * sizeof *copy.rows);
    }
    *ret_copy = copy;
    return 0;
}

/* Index of the first row not below i. */
static size_t lower_bound(const struct floor *f, const struct incarnation *i)
{
    size_t low = 0;
    size_t high = f->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (incarnation_compare(&f->rows[middle].incarnation, i) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    CHECK(low <= f->count);
    return low;
}

const struct floor_row *floor_find(const struct floor *f,
                                   const struct incarnation *i)
{
    size_t at = lower_bound(f, i);

    if (at == f->count || !incarnation_equal(&f->rows[at].incarnation, i))
        return NULL;
    return &f->rows[at];
}

bool floor_covers(const struct floor *f, const struct dot *d)
{
    const struct floor_row *row = floor_find(f, &d->incarnation);

    CHECK(d->seq >= 1);
    return row != NULL && d->seq <= row->up_to;
}

bool floor_is_sealed(const struct floor *f, const struct incarnation *i,
                     uint64_t *ret_last)
{
    const struct floor_row *row = floor_find(f, i);

    if (row == NULL || row->last == FLOOR_UNSEALED)
        return false;
    if (ret_last != NULL)
        *ret_last = row->last;
    return true;
}

/* The row of i, made if need be. */
static int row_of(struct floor *f, const struct incarnation *i,
                  struct floor_row **ret_row)
{
    size_t at = lower_bound(f, i);
    struct floor_row *row;

    if (at < f->count && incarnation_equal(&f->rows[at].incarnation, i)) {
        *ret_row = &f->rows[at];
        return 0;
    }
    if (f->count >= FLOOR_ROWS_MAX)
        return CM_ERR_LIMIT;
    if (f->count == f->capacity) {
        size_t capacity = f->capacity + f->capacity / 8 + 4;
        struct floor_row *grown = cm_realloc(f->rows, capacity * sizeof *grown);

        if (grown == NULL)
            return CM_ERR_NOMEM;
        f->rows = grown;
        f->capacity = capacity;
    }
    row = &f->rows[at];
    memmove(row + 1, row, (f->count - at) * sizeof *row);
    *row = (struct floor_row){.incarnation = *i, .last = FLOOR_UNSEALED};
    f->count++;
    *ret_row = row;
    return 0;
}

int floor_raise(struct floor *f, const struct incarnation *i, uint64_t seq)
{
    struct floor_row *row;
    int error;

    CHECK(seq >= 1);
    error = row_of(f, i, &row);
    if (error == 0 && seq > row->up_to)
        row->up_to = seq;
    return error;
}

int floor_seal(struct floor *f, const struct incarnation *i, uint64_t last)
{
    struct floor_row *row;
    int error;

    CHECK(last != FLOOR_UNSEALED);
    error = row_of(f, i, &row);
    if (error < 0)
        return error;
    if (row->last != FLOOR_UNSEALED && row->last != last)
        return CM_ERR_FORK;
    row->last = last;
    return 0;
}

int floor_join(struct floor *f, const struct floor *other)
{
    int error = 0;

    for (size_t i = 0; i < other->count && error == 0; i++) {
        const struct floor_row *row = &other->rows[i];

        if (row->up_to > 0)
            error = floor_raise(f, &row->incarnation, row->up_to);
        if (error == 0 && row->last != FLOOR_UNSEALED)
            error = floor_seal(f, &row->incarnation, row->last);
    }
    return error;
}

void floor_pack(struct buffer *out, const struct floor *f)
{
    pack_array(out, f->count);
    for (size_t i = 0; i < f->count; i++) {
        const struct floor_row *row = &f->rows[i];
        bool sealed = row->last != FLOOR_UNSEALED;

        CHECK(sealed || row->up_to > 0);
        pack_array(out, sealed ? 3 : 2);
        pack_bytes(out, row->incarnation.bytes, INCARNATION_SIZE);
        pack_uint(out, row->up_to);
        if (sealed)
            pack_uint(out, row->last);
    }
}

static void unpack_row(struct unpacker *u, struct floor_row *ret_row)
{
    size_t fields = unpack_array(u, 3);

    unpack_bytes(u, ret_row->incarnation.bytes, INCARNATION_SIZE);
    ret_row->up_to = unpack_uint(u, UINT64_MAX - 1);
    ret_row->last = FLOOR_UNSEALED;
    if (fields == 3)
        ret_row->last = unpack_uint(u, UINT64_MAX - 1);
    if (fields < 2 || (fields == 2 && ret_row->up_to == 0))
        unpack_fail(u, CM_ERR_MALFORMED);
}

void floor_unpack(struct unpacker *u, struct floor *ret_floor)
{
    size_t count = unpack_array(u, FLOOR_ROWS_MAX);
    struct floor *f = ret_floor;

    floor_init(f);
    /* The bytes that are there bound what is allocated for them. */
    if (count > (u->in.size - u->position) / ROW_PACKED_MIN)
        unpack_fail(u, CM_ERR_MALFORMED);
    if (u->error != 0 || count == 0)
        return;
    f->rows = cm_calloc(count, sizeof *f->rows);
    if (f->rows == NULL) {
        unpack_fail(u, CM_ERR_NOMEM);
        return;
    }
    f->capacity = count;
    while (f->count < count && u->error == 0) {
        struct floor_row *row = &f->rows[f->count];

        unpack_row(u, row);
        if (u->error == 0 && f->count > 0 &&
            incarnation_compare(&row[-1].incarnation, &row->incarnation) >= 0)
            unpack_fail(u, CM_ERR_NONCANONICAL);
        f->count += u->error == 0;
    }
}
