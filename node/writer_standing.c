/* The standing in the writer's transaction: what roster-adds, fences and
 * acknowledgements change, and what is merely known.
 *
 * A control operation goes through here instead of the plain merge: the state
 * machine of crdt/standing.h says what becomes of the three spaces, and what it
 * reports is acted upon before the next event of the same batch is looked at,
 * because roster, floor and state have to be a function of the vector. */
#include "crdt/standing.h"

#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/standing_read.h"
#include "node/writer_internal.h"

/* ---- entries ---- */

static int get_entry(void *ctx, const struct entry_id *id,
                     struct entry *ret_entry)
{
    struct batch *b = ctx;

    return store_txn_entry(&b->txn, id, ret_entry, NULL);
}

static int put_entry(void *ctx, const struct entry_id *id,
                     const struct entry *before, const struct entry *after)
{
    return state_put_siblings(ctx, id, before, after);
}

/* ---- loading ---- */

int standing_reload(struct writer *w, struct store_reader *r,
                    struct cm_detail *detail)
{
    struct standing *s = NULL;
    int error = standing_read(&s, r, &w->conflict, detail);

    if (error != 0)
        return error;
    standing_free(w->standing);
    w->standing = s;
    w->standing_hash = standing_hash(s);
    /* What was announced went with the memory; the fences are still there. */
    for (size_t i = 0; i < w->pending.count; i++)
        w->pending.events[i]->announced = false;
    return 0;
}

int standing_save(struct batch *b)
{
    struct writer *w = b->w;
    struct buffer record;
    int error;

    CHECK(b->standing_changed);
    w->standing_hash = standing_hash(w->standing);
    buffer_init(&record, SCHEMA_RECORD_MAX);
    standing_pack(&record, w->standing);
    error = record.error;
    if (error == 0)
        error = state_put_meta(b, META_STANDING, buffer_slice(&record));
    buffer_release(&record);
    return error;
}

static int save_heard(struct batch *b)
{
    struct buffer heard;
    int error;

    buffer_init(&heard, SCHEMA_RECORD_MAX);
    error = standing_pack_heard(&heard, b->w->standing);
    if (error == 0)
        error = state_put_meta(b, META_HEARD, buffer_slice(&heard));
    buffer_release(&heard);
    return error;
}

/* ---- judging ---- */

bool control_is_fence(const struct event *e)
{
    return e->ops_count == 1 && e->ops[0].kind == OP_FENCE &&
           !e->has_unknown_op;
}

int control_announce(struct batch *b, const struct event *e)
{
    struct writer *w = b->w;
    size_t heard = standing_heard(w->standing, NULL, 0);
    int error;

    CHECK(control_is_fence(e));
    error =
        standing_announce(w->standing, &e->dot.incarnation, e->ops[0].value);
    b->ahead = true;
    b->heard_changed =
        b->heard_changed || standing_heard(w->standing, NULL, 0) != heard;
    if (error == CM_ERR_EVICTION_CONFLICT)
        w->conflict = true;
    if (error == 0) {
        CM_MARK("fence: announced");
        b->drain = true; /* what it covers may be applied now */
    }
    return error;
}

bool control_ready(const struct writer *w, const struct event *e)
{
    for (size_t i = 0; i < e->ops_count; i++) {
        bool ready = true;

        if (e->ops[i].kind >= OP_ROSTER_ADD &&
            standing_ready(&e->ops[i], &e->dot, &w->vv, &ready) != 0)
            return false; /* short of memory: another time */
        if (!ready)
            return false;
    }
    return true;
}

static const char *sponsor_reason(const struct writer *w,
                                  const struct certificate *sponsor,
                                  const struct op *op)
{
    struct certificate added;

    if (!roster_may_add(sponsor))
        return "its writer may not sponsor others";
    if (certificate_decode(&added, op->value, w->authority) != 0)
        return "its certificate is not one of this mesh";
    if (!roster_may_enter(&added))
        return "a reader does not enter the roster";
    return NULL;
}

int control_counts(struct batch *b, const struct certificate *writer,
                   const struct op *op, const struct dot *dot, bool alone,
                   const char **ret_reason)
{
    struct writer *w = b->w;
    bool counts = false;
    int error =
        standing_allows(w->standing, op, dot, alone, &counts, ret_reason);

    if (error == CM_ERR_EVICTION_CONFLICT)
        w->conflict = true;
    if (error == 0 && counts && op->kind == OP_ROSTER_ADD)
        *ret_reason = sponsor_reason(w, writer, op);
    return error;
}

/* ---- acting upon what has happened ---- */

static int own_roster(struct batch *b)
{
    struct writer *w = b->w;
    struct roster *copy;

    b->roster_changed = true;
    if (b->roster_owned)
        return 0;
    copy = roster_copy(w->roster);
    if (copy == NULL)
        return CM_ERR_NOMEM;
    roster_release(w->roster);
    w->roster = copy;
    b->roster_owned = true;
    return 0;
}

static int add_member(struct batch *b, const struct op *op,
                      const struct dot *dot, hlc_t hlc)
{
    struct incarnation incarnation;
    int error = own_roster(b);

    CHECK(op->key.size == INCARNATION_SIZE);
    memcpy(incarnation.bytes, op->key.data, INCARNATION_SIZE);
    if (error == 0)
        error = roster_insert(b->w->roster, &incarnation, op->value,
                              b->w->authority, hlc, dot);
    return error;
}

static int remove_sealed(struct batch *b,
                         const struct standing_changes *changes)
{
    struct writer *w = b->w;
    int error = changes->sealed_count > 0 ? own_roster(b) : 0;

    for (size_t i = 0; i < changes->sealed_count && error == 0; i++) {
        const struct incarnation *who = &changes->sealed[i];
        uint64_t last = 0;

        CM_MARK("eviction: sealed");
        CHECK(standing_is_sealed(w->standing, who, &last));
        pending_refuse(&w->pending, who, last);
        /* This node works on under its name until it has another one. */
        if (!incarnation_equal(who, &w->self))
            roster_remove(w->roster, who);
    }
    return error;
}

int control_act(struct batch *b, const struct standing_changes *changes)
{
    int error = remove_sealed(b, changes);

    b->standing_changed = true;
    b->ahead = true;
    b->drain = true;
    b->overrun = b->overrun || changes->overrun;
    if (error == 0 && changes->floor) {
        CM_MARK("floor: moved");
        b->floor_moved = true;
        error = collapse_candidates(b);
    }
    return error;
}

int control_apply(struct batch *b, const struct op *op, const struct dot *dot,
                  hlc_t hlc)
{
    struct writer *w = b->w;
    struct standing_store store = {
        .ctx = b, .get = get_entry, .put = put_entry};
    struct standing_changes changes;
    struct entry_id id = op_entry_id(op);
    struct visible nothing = {.present = false};
    struct schema_key key;
    uint64_t epoch = standing_epoch(w->standing);
    int error;

    CHECK(b->changed && op->kind >= OP_ROSTER_ADD);
    error = standing_apply(w->standing, &store, &w->vv, op, dot, hlc, &changes);
    b->ahead = true; /* even if it failed: the memory ran ahead */
    if (error == 0 && op->kind == OP_ROSTER_ADD)
        error = add_member(b, op, dot, hlc);
    if (error == 0)
        error = control_act(b, &changes);
    if (standing_epoch(w->standing) != epoch)
        w->conflict = false; /* the next one that contradicts says so again */
    b->heard_changed = b->heard_changed || op->kind == OP_FENCE;
    schema_key_entry(&key, &id);
    if (error == 0)
        error = change_log_op(&w->log, schema_key_slice(&key), op->kind, dot,
                              &nothing, &nothing);
    return error;
}

int control_settle(struct batch *b, struct standing_changes *ret_changes)
{
    struct standing_store store = {
        .ctx = b, .get = get_entry, .put = put_entry};

    CHECK(b->changed);
    return standing_settle(b->w->standing, &store, &b->w->vv, ret_changes);
}

/* ---- what is heard ---- */

int control_hear(struct batch *b, struct intent *i)
{
    struct writer *w = b->w;
    int error = standing_hear(w->standing, i->event);

    i->revision = w->head.revision;
    i->result = error;
    b->ahead = true;
    refusals_count(&b->result->refused, refusal_of_order(error), i->from,
                   b->wall_ms);
    if (error == CM_ERR_EVICTION_CONFLICT) {
        w->conflict = true;
        (void)cm_fail(&i->detail, error,
                      "another order of that epoch was heard here before, or "
                      "it does not follow the last one; the authority's next "
                      "order names the one that stands");
    } else if (error == CM_ERR_AUTHORITY) {
        (void)cm_fail(&i->detail, error,
                      "a node retires none but its own incarnations");
    } else if (error != 0 && error != CM_ERR_DUPLICATE) {
        (void)cm_fail(&i->detail, error, "order: %s", cm_strerror(error));
    }
    if (error != 0 && error != CM_ERR_EVICTION_CONFLICT)
        return error == CM_ERR_NOMEM ? error : 0;
    b->heard_changed = true;
    b->drain = true; /* fences that waited for it */
    i->wrote = error == 0;
    return 0;
}

int control_finish(struct batch *b)
{
    int error = 0;

    if (b->standing_changed)
        error = standing_save(b);
    if (error == 0 && b->heard_changed)
        error = save_heard(b);
    return error;
}
