/* Returning: "offer the stored events of others, replace the state by a cut
 * (never join), reset watches, enter with a new incarnation."
 *
 * Everything that is replicated goes: entries, both logs, indexes, the vector.
 * Incarnations keep their numbers, because readers with an older snapshot go on
 * using them. What this node wrote and the cut does not cover is handed out in
 * the same transaction, so that no crash loses it; what the cut covers is kept
 * until a floor does, because the cut's source may itself be no member any more
 * (unsent.h). */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/unsent.h"
#include "node/writer_internal.h"

/* ---- what is lost otherwise ---- */

/* Whether the own event that the cut's vector names is the one that is here:
 * then so are all before it. The name may have been given twice where the disk
 * went back or was copied. */
static bool is_same_branch(struct batch *b, const struct incarnation *former,
                           const struct vv_entry *head)
{
    const struct vv_entry *mine = vv_find(&b->w->vv, former);
    struct dot dot = {.incarnation = *former};
    struct slice bytes;
    struct event e;
    bool ret;

    if (head == NULL || mine == NULL || mine->seq < head->seq)
        return true; /* as far as can be seen */
    if (mine->seq == head->seq)
        return hash_equal(&mine->head, &head->head);
    dot.seq = head->seq + 1;
    if (store_txn_event(&b->txn, &dot, &bytes) != 0 ||
        event_decode(&e, bytes) != 0)
        return true; /* below the floor, which everybody shares */
    ret = hash_equal(&e.previous, &head->head);
    event_release(&e);
    return ret;
}

static bool is_forked(const struct replacement *r, const struct incarnation *i)
{
    for (size_t k = 0; k < r->forked_count; k++)
        if (incarnation_equal(&r->forked[k], i))
            return true;
    return false;
}

/* Everybody shares what is at or below the floor. */
static uint64_t first_doubtful(const struct writer *w,
                               const struct incarnation *former)
{
    const struct floor_row *row =
        floor_find(standing_floor(w->standing), former);

    return row != NULL ? row->up_to + 1 : 1;
}

/* One own event, which the cut has under that name (covered), perhaps as
 * another one (doubtful), or has not. *ret_missing is set, and nothing else
 * done, where it is wanted and its bytes have rotted: what lies above the floor
 * goes in no other way. */
static int hand_out_one(struct batch *b, const struct replacement *r,
                        const struct dot *dot, bool covered, bool doubtful,
                        bool *ret_missing)
{
    struct slice bytes;
    uint8_t *copy;
    int error = store_txn_event(&b->txn, dot, &bytes);

    if (error == CM_ERR_NOT_FOUND || error == CM_ERR_DAMAGED) {
        *ret_missing = *ret_missing || !covered || doubtful;
        return 0;
    }
    if (error != 0)
        return error;
    /* The callback writes, and the map's page may move by that. */
    copy = cm_alloc(bytes.size);
    if (copy == NULL)
        return CM_ERR_NOMEM;
    memcpy(copy, bytes.data, bytes.size);
    bytes = slice_of(copy, bytes.size);
    if (covered && !doubtful) {
        CM_MARK("return: an own event that the cut has was kept, too");
        error = unsent_keep_shared(b, dot, bytes);
    } else if (r->unsent != NULL) {
        CM_MARK("return: an own event was kept apart");
        error = r->unsent(r->unsent_context, b, dot, bytes, covered);
    }
    cm_free(copy);
    return error;
}

/* *ret_missing: bytes of one that should have been kept cannot be read. What it
 * left in the state is all that is left of it then. */
static int hand_out(struct batch *b, const struct replacement *r,
                    const struct incarnation *former, bool *ret_missing)
{
    struct writer *w = b->w;
    const struct vv_entry *head = vv_find(r->vv, former);
    uint64_t covered = head != NULL ? head->seq : 0;
    uint64_t last = vv_seq(&w->vv, former);
    struct dot dot = {.incarnation = *former};
    bool missing = false;
    bool doubtful;
    int error = 0;

    /* A node that has less of its own events than others went back, at
     * least. */
    doubtful = covered > last || is_forked(r, former) ||
               !is_same_branch(b, former, head);
    CM_MARK_IF(doubtful, "return: own events may have been named twice");
    for (dot.seq = first_doubtful(w, former); dot.seq <= last && error == 0;
         dot.seq++)
        error =
            hand_out_one(b, r, &dot, dot.seq <= covered, doubtful, &missing);
    CM_MARK_IF(missing, "return: bytes of an own event are gone");
    if (error == 0 && missing && doubtful && r->unsent != NULL)
        error = unsent_keep_branch(b, former);
    *ret_missing = missing && !doubtful;
    return error;
}

/* For what was kept in case, when an earlier incarnation ended. */
static bool has_same_branch(struct batch *b, const struct replacement *r,
                            const struct incarnation *i)
{
    return !is_forked(r, i) && is_same_branch(b, i, vv_find(r->vv, i));
}

/* What others wrote under a name that was given twice; whoever wrote it may be
 * gone, or have lost it as this node does now. */
static int hand_out_branches(struct batch *b, const struct replacement *r,
                             const struct incarnation *former)
{
    struct writer *w = b->w;
    int error = 0;

    for (size_t i = 0; i < w->vv.count && error == 0; i++) {
        struct incarnation name = w->vv.entries[i].incarnation;

        if (!incarnation_equal(&name, former) &&
            (is_forked(r, &name) ||
             !is_same_branch(b, &name, vv_find(r->vv, &name))))
            error = unsent_keep_branch(b, &name);
    }
    return error;
}

/* ---- what goes ---- */

static int drop_prefix(struct store_txn *t, uint8_t prefix)
{
    MDB_cursor *cursor;
    MDB_val k = {.mv_size = 1, .mv_data = &prefix};
    MDB_val v;
    int rc = mdb_cursor_open(t->mdb, store_dbi(t->store), &cursor);

    if (rc != 0)
        return store_error(rc, NULL);
    rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    while (rc == 0 && k.mv_size > 0 && *(const uint8_t *)k.mv_data == prefix) {
        rc = mdb_cursor_del(cursor, 0);
        t->writes++;
        if (rc == 0) /* to the one that took its place */
            rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : store_error(rc, NULL);
}

static int drop_state(struct batch *b)
{
    static const uint8_t prefixes[] = {
        SCHEMA_PREFIX_OWN,      SCHEMA_PREFIX_CONFLICT, SCHEMA_PREFIX_ENTRY,
        SCHEMA_PREFIX_REVISION, SCHEMA_PREFIX_EVENT,    SCHEMA_PREFIX_DUE,
        SCHEMA_PREFIX_COLLAPSE,
    };
    int error = 0;

    /* Of both banks: what was being staged, too. */
    for (size_t i = 0; i < sizeof prefixes && error == 0; i++) {
        error = drop_prefix(&b->txn, prefixes[i]);
        if (error == 0 && schema_prefix_is_banked(prefixes[i]))
            error = drop_prefix(&b->txn, schema_prefix_in(prefixes[i], 1));
    }
    return error;
}

/* ---- what comes ---- */

static const struct meta_fact *fact_of(const struct replacement *r,
                                       const char *name)
{
    for (size_t i = 0; i < r->facts_count; i++) {
        if (strcmp(r->facts[i].name, name) == 0)
            return &r->facts[i];
    }
    return NULL;
}

/* "Never twice": a name that has been given to events that are lost must not
 * be given again. */
static int take_name(struct batch *b, const struct replacement *r,
                     struct cm_detail *detail)
{
    struct writer *w = b->w;
    const struct meta_fact *f = fact_of(r, META_INCARNATION);

    if (f == NULL && vv_seq(r->vv, &w->self) < vv_seq(&w->vv, &w->self))
        return cm_fail(detail, CM_ERR_INVALID,
                       "a state that lacks events of this node can only be "
                       "returned to with a new incarnation");
    if (f == NULL)
        return 0;
    if (f->value.size != INCARNATION_SIZE)
        return cm_fail(detail, CM_ERR_INVALID, "an incarnation has 16 bytes");
    memcpy(w->self.bytes, f->value.data, INCARNATION_SIZE);
    if (vv_seq(&w->vv, &w->self) > 0 || vv_seq(r->vv, &w->self) > 0)
        return cm_fail(detail, CM_ERR_EXISTS,
                       "the new incarnation has written events already");
    return 0;
}

static int take_vector(struct batch *b, const struct vv *vv)
{
    struct writer *w = b->w;
    struct vv copy;
    int error = vv_copy(&copy, vv);

    if (error != 0)
        return error;
    vv_release(&w->vv);
    w->vv = copy;
    vv_release(&w->known);
    vv_init(&w->known);
    w->head.own_seq = 0;
    w->head.own_actor = 0;
    memset(&w->head.own_hash, 0, sizeof w->head.own_hash);
    /* Also those that the new vector does not know any more. */
    memset(w->dirty, 0xff, (b->actors_before + 7) / 8);
    return adopt_name_actors(b, vv);
}

static int note_generation(struct batch *b, const struct replacement *r)
{
    struct generation_order order;
    int error =
        generation_order_decode(&order, r->generation_order, b->w->authority);

    if (error != 0)
        return error;
    b->returns_to = generation_id_of(order.number, r->generation_order);
    generation_order_release(&order);
    return 0;
}

static int keep_same_generation(struct batch *b, const struct replacement *r,
                                const struct incarnation *former,
                                struct slice own, bool missing)
{
    int error = unsent_keep_own(b, r, former, own, missing);

    if (error == 0 && r->unsent != NULL)
        error = unsent_keep_others(b, r, former, own);
    return error;
}

int adopt_return(struct batch *b, const struct replacement *r,
                 struct cm_detail *detail)
{
    struct writer *w = b->w;
    struct incarnation former = w->self;
    bool missing = false;
    int error = take_name(b, r, detail);

    if (error == 0)
        error = note_generation(b, r);
    if (error == 0)
        error = hand_out(b, r, &former, &missing);
    if (error == 0)
        error = unsent_look_again(b, r, has_same_branch);
    if (error == 0 && r->unsent != NULL)
        error = hand_out_branches(b, r, &former);
    if (error == 0 && r->unsent != NULL &&
        !generation_id_equal(&b->returns_to, &w->generation))
        error = unsent_keep_siblings(b, r, &former);
    else if (error == 0 && fact_of(r, META_GIVEN_UP) != NULL)
        error = keep_same_generation(b, r, &former,
                                     fact_of(r, META_GIVEN_UP)->value, missing);
    if (error == 0)
        error = drop_state(b);
    if (error == 0)
        error = take_vector(b, r->vv);
    digest_init(&w->digest);
    /* "From the state it adopts, not from its persisted bound." */
    w->head.hlc = 0;
    if (error == 0)
        error = adopt_entries(b, r, detail);
    if (error == 0 && !incarnation_equal(&former, &w->self))
        error = adopt_check_branches(b, r, &former, detail);
    if (error == 0)
        error = state_put_meta(b, META_READY, slice_of("1", 1));
    if (error == 0)
        error = state_put_meta(b, META_HAZARD, slice_of(NULL, 0));
    w->head.oldest_revision = b->revision; /* watches start over */
    return error;
}
