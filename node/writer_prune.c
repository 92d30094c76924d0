/* Pruning: event bytes at or below the floor go, some in each commit.
 *
 * What everyone has nobody asks for. Watches do: their changes are read back
 * from events, so the loop waits a while after a floor (node/proposals.c), and
 * with the first byte that goes the oldest revision that a watch may start
 * from moves to where the floor was taken; older watches start over. This
 * node's newest own event stays: it shares a page with head and lanes.
 *
 * Of each origin the oldest go first, so that what is left is the end of its
 * stream: a peer that asks for more is told that it needs a cut. */
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "crdt/base/pack.h"
#include "node/writer_internal.h"

#include <string.h>

#define PRUNE_RECORDS_MAX 512 /* that one commit drops */
#define EVENT_KEY_SIZE 13     /* prefix, actor, seq */

struct pruning {
    struct batch *b;
    MDB_cursor *cursor;
    size_t left; /* of the records that this commit may drop */
};

/* The first drop moves the oldest revision. */
static int drop(struct pruning *p)
{
    struct batch *b = p->b;
    struct schema_head *head = &b->w->head;
    int rc;

    CHECK(p->left > 0);
    rc = mdb_cursor_del(p->cursor, 0);
    if (rc != 0)
        return store_error(rc, NULL);
    p->left--;
    b->txn.writes++;
    b->meta_changed = true;
    b->ahead = true;
    if (head->oldest_revision >= b->w->prune.revision)
        return 0;
    head->oldest_revision = b->w->prune.revision;
    return state_put_head(b);
}

/* The record that the cursor is to be moved to; CM_ERR_NOT_FOUND behind the
 * last that begins with wanted. */
static int look(struct pruning *p, const struct schema_key *start,
                MDB_cursor_op op, size_t same, MDB_val *ret_key)
{
    MDB_val v;
    int rc;

    *ret_key = (MDB_val){.mv_size = start->size,
                         .mv_data = (void *)(uintptr_t)start->bytes};
    rc = mdb_cursor_get(p->cursor, ret_key, &v, op);
    if (rc != 0)
        return store_error(rc, NULL);
    if (ret_key->mv_size < same ||
        memcmp(ret_key->mv_data, start->bytes, same) != 0)
        return CM_ERR_NOT_FOUND;
    return 0;
}

/* Another node's events, in ascending order. */
static int prune_foreign(struct pruning *p, uint32_t actor, uint64_t up_to)
{
    struct schema_key start;
    MDB_val k;
    int error = 0;

    schema_key_event(&start, actor, 0);
    while (p->left > 0 && error == 0) {
        error = look(p, &start, MDB_SET_RANGE, 5, &k);
        if (error == 0 && (k.mv_size != EVENT_KEY_SIZE ||
                           get_be64((const uint8_t *)k.mv_data + 5) > up_to))
            error = CM_ERR_NOT_FOUND;
        if (error == 0)
            error = drop(p);
    }
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

/* The oldest own event of that number: own ones descend, so it is the last
 * before the key of seq 0. */
static int oldest_own(struct pruning *p, uint32_t actor, uint64_t *ret_seq)
{
    struct schema_key end;
    MDB_val k, v;
    int rc;

    schema_key_own(&end, actor, 0);
    k = (MDB_val){.mv_size = end.size, .mv_data = end.bytes};
    rc = mdb_cursor_get(p->cursor, &k, &v, MDB_SET_RANGE);
    if (rc == 0)
        rc = mdb_cursor_get(p->cursor, &k, &v, MDB_PREV);
    else if (rc == MDB_NOTFOUND)
        rc = mdb_cursor_get(p->cursor, &k, &v, MDB_LAST);
    if (rc != 0)
        return store_error(rc, NULL);
    if (k.mv_size != EVENT_KEY_SIZE || memcmp(k.mv_data, end.bytes, 5) != 0)
        return CM_ERR_NOT_FOUND;
    *ret_seq = ~get_be64((const uint8_t *)k.mv_data + 5);
    return 0;
}

static int prune_own(struct pruning *p, uint32_t actor, uint64_t up_to)
{
    const struct schema_head *head = &p->b->w->head;
    uint64_t seq;
    int error = 0;

    while (p->left > 0 && error == 0) {
        error = oldest_own(p, actor, &seq);
        if (error == 0 &&
            (seq > up_to || (actor == head->own_actor && seq == head->own_seq)))
            error = CM_ERR_NOT_FOUND;
        if (error == 0)
            error = drop(p);
    }
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

/* Records of commits that no watch may start from any more. */
static int prune_revisions(struct pruning *p)
{
    uint64_t oldest = p->b->w->head.oldest_revision;
    struct schema_key start;
    uint64_t revision;
    MDB_val k;
    int error = 0;

    schema_key_revision(&start, 0);
    while (p->left > 0 && error == 0) {
        error = look(p, &start, MDB_SET_RANGE, 1, &k);
        if (error == 0)
            error = schema_parse_revision(&revision,
                                          slice_of(k.mv_data, k.mv_size));
        if (error == 0 && revision > oldest)
            error = CM_ERR_NOT_FOUND;
        if (error == 0)
            error = drop(p);
    }
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

static int prune_row(struct pruning *p, const struct floor_row *row)
{
    uint32_t actor;
    int error;

    if (row->up_to == 0 ||
        !actors_find(store_actors(p->b->w->store), &row->incarnation, &actor))
        return 0;
    error = prune_foreign(p, actor, row->up_to);
    return error != 0 ? error : prune_own(p, actor, row->up_to);
}

void prune_plan(struct writer *w)
{
    struct prune *p = &w->prune;

    if (p->floor.count > 0)
        return; /* this one first */
    /* For want of memory nothing goes: the next floor tries again. */
    if (floor_copy(&p->floor, standing_floor(w->standing)) != 0)
        floor_init(&p->floor);
    p->revision = w->head.revision;
    p->at = 0;
    p->planned = standing_hash(w->standing);
}

int prune_intent(struct batch *b, struct intent *i)
{
    struct writer *w = b->w;
    struct pruning p = {.b = b, .left = PRUNE_RECORDS_MAX};
    size_t at = w->prune.at;
    int rc = mdb_cursor_open(b->txn.mdb, store_dbi(w->store), &p.cursor);
    int error = 0;

    i->revision = w->head.revision;
    if (rc != 0)
        return store_error(rc, NULL);
    for (; at < w->prune.floor.count && p.left > 0 && error == 0; at++)
        error = prune_row(&p, &w->prune.floor.rows[at]);
    if (error == 0 && p.left > 0)
        error = prune_revisions(&p);
    mdb_cursor_close(p.cursor);
    i->wrote = p.left < PRUNE_RECORDS_MAX;
    i->more = error == 0 && p.left == 0;
    CM_MARK_IF(i->wrote, "prune: event bytes dropped");
    if (error != 0)
        return error;
    if (i->more) {
        /* The row on which it stopped may have more. */
        w->prune.at = at > 0 ? at - 1 : 0;
        return 0;
    }
    floor_release(&w->prune.floor);
    floor_init(&w->prune.floor);
    if (!hash_equal(&w->prune.planned, &w->standing_hash))
        prune_plan(w); /* the floor has moved meanwhile */
    return 0;
}
