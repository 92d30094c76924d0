/* The standing of a cut that is adopted.
 *
 * Into an empty replica, and in place of what a returner has, it comes as it
 * is, with its entries. A join takes over what only grows, reads the joined
 * entries, and settles: what one side had sealed, passed or dropped, the other
 * has left something of; then the floor of both collapses what both have. */
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/standing_read.h"
#include "node/writer_internal.h"

/* Reads the batch's own transaction. */
static struct store_reader reader_of(const struct batch *b)
{
    return (struct store_reader){.txn = b->txn, .head = b->w->head};
}

static int refuse(struct cm_detail *detail, int error)
{
    switch (error) {
    case CM_ERR_SEALED:
        return cm_fail(detail, error,
                       "the state to adopt and this one: one lies beyond the "
                       "seal of an evicted incarnation of the other");
    case CM_ERR_PENDING:
        return cm_fail(detail, error,
                       "the state to adopt holds events of an evictee that no "
                       "fence known here covers; it waits");
    case CM_ERR_EVICTION_CONFLICT:
        return cm_fail(detail, error,
                       "the state to adopt follows another eviction order "
                       "than the one that this node keeps to");
    default:
        return cm_fail(detail, error, "standing of the state to adopt: %s",
                       cm_strerror(error));
    }
}

/* That of the cut. */
static int read_cut(struct batch *b, const struct replacement *r,
                    struct standing **ret)
{
    struct store_reader reader = reader_of(b);
    int error = standing_fresh(ret, &reader);

    if (error != 0)
        return error;
    error = standing_read_record(*ret, r->standing);
    if (error != 0) {
        standing_free(*ret);
        *ret = NULL;
    }
    return error;
}

/* What only grows, of both, with the entries as they are now. */
static int read_joined(struct batch *b, const struct standing *other,
                       struct standing **ret)
{
    struct writer *w = b->w;
    struct store_reader reader = reader_of(b);
    struct buffer own;
    bool conflict = false;
    int error = standing_fresh(ret, &reader);

    if (error != 0)
        return error;
    buffer_init(&own, SCHEMA_RECORD_MAX);
    standing_pack(&own, w->standing);
    error = own.error;
    if (error == 0)
        error = standing_read_record(*ret, buffer_slice(&own));
    buffer_release(&own);
    if (error == 0)
        error = standing_join(*ret, other);
    if (error == 0)
        error = standing_read_entries(*ret, &reader);
    if (error == 0)
        error = standing_read_heard(*ret, &reader, &conflict);
    w->conflict = w->conflict || conflict;
    if (error != 0) {
        standing_free(*ret);
        *ret = NULL;
    }
    return error;
}

/* Who returns because an order was dropped must not take the state of another
 * one who acted on it: what was heard here, the cut's chain has to bear. */
static int check_not_dropped(struct batch *b, const struct replacement *r)
{
    struct slice heard[STANDING_ORDERS_MAX];
    struct writer *w = b->w;
    struct standing *other = NULL;
    size_t count = standing_heard(w->standing, heard, STANDING_ORDERS_MAX);
    int error;

    if (!slice_equal(r->generation_order, buffer_slice(&w->generation_bytes)))
        return 0; /* its orders are others */
    error = read_cut(b, r, &other);
    for (size_t i = 0; i < count && i < STANDING_ORDERS_MAX && error == 0; i++)
        if (standing_hear(other, heard[i]) == CM_ERR_NOMEM)
            error = CM_ERR_NOMEM;
    if (error == 0 && standing_is_dropped(other)) {
        CM_MARK("return: a cut of the dropped order is refused");
        error = CM_ERR_EVICTION_CONFLICT;
    }
    standing_free(other);
    return error;
}

int adopt_check_branches(struct batch *b, const struct replacement *r,
                         const struct incarnation *former,
                         struct cm_detail *detail)
{
    struct store_reader reader = reader_of(b);
    struct writer *w = b->w;
    struct standing *cut = NULL;
    bool lost = false;
    int error;

    CHECK(b->changed);
    if (!generation_id_equal(&b->returns_to, &w->generation))
        return 0; /* its fences are others */
    error = read_cut(b, r, &cut);
    if (error == 0)
        error = standing_read_entries(cut, &reader);
    if (error == 0)
        lost = standing_cut_has_lost(w->standing, former, cut, &w->vv, NULL);
    standing_free(cut);
    if (error != 0)
        return refuse(detail, error);
    if (!lost)
        return 0;
    return cm_fail(detail, CM_ERR_FORK,
                   "the state to adopt holds the branch of a fork that lost, "
                   "by the fences known here: another member is asked");
}

int adopt_check_standing(struct batch *b, const struct replacement *r,
                         struct cm_detail *detail)
{
    struct writer *w = b->w;
    struct standing *other = NULL;
    int error;

    if (r->mode == ADOPT_EMPTY)
        return 0; /* read back whole, after its generation */
    if (r->mode == ADOPT_RETURN) {
        error = check_not_dropped(b, r);
        return error != 0 ? refuse(detail, error) : 0;
    }
    error = read_cut(b, r, &other);
    if (error == 0)
        error = standing_admits(w->standing, &w->self, &w->vv, other, r->vv);
    standing_free(other);
    return error != 0 ? refuse(detail, error) : 0;
}

int adopt_join_standing(struct batch *b, const struct replacement *r,
                        struct cm_detail *detail)
{
    struct writer *w = b->w;
    struct standing *other = NULL;
    struct standing *joined = NULL;
    struct standing_changes changes;
    int error = read_cut(b, r, &other);

    CHECK(r->mode == ADOPT_JOIN && b->changed);
    if (error == 0)
        error = read_joined(b, other, &joined);
    standing_free(other);
    if (error != 0)
        return refuse(detail, error);
    standing_free(w->standing);
    w->standing = joined;
    error = control_settle(b, &changes);
    if (error == 0)
        error = control_act(b, &changes);
    /* The floor of the other side may be what is news here. Before the first
     * one of a generation has passed nobody collapses anything: what the
     * generation began with lies below the floor from the start, and stays at
     * all replicas alike. */
    if (error == 0 && !changes.floor && standing_floor_time(w->standing) > 0)
        error = collapse_candidates(b);
    if (error != 0)
        return refuse(detail, error);
    CM_MARK("cut: standing joined");
    return 0;
}
