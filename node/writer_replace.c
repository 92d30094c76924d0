/* Adopting a cut: what all three ways of it share, and the first, into an
 * empty replica. Everything in one transaction, or nothing.
 *
 * What is pulled is checked once more against what its source promised, because
 * a replica that adopted half a state would delete the other half everywhere:
 * by the digest; or, where all of it was added up a moment ago, by the source
 * itself, which counts what it hands out (snapshot_reader_trust). */
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/store_bulk.h"
#include "node/store_index.h"
#include "node/writer_internal.h"

int adopt_name_actors(struct batch *b, const struct vv *vv)
{
    int error = 0;

    for (size_t i = 0; i < vv->count && error == 0; i++) {
        const struct incarnation *name = &vv->entries[i].incarnation;
        uint32_t actor;

        error = actors_intern(store_actors(b->w->store), name, &actor);
        if (error == 0)
            error = state_actor_dirty(b, name);
    }
    return error;
}

int adopt_check_entry(const struct entry_id *id, const struct entry *entry,
                      const struct vv *vv, struct cm_detail *detail)
{
    if (id->key.size == 0 || id->key.size > KEY_SIZE_MAX ||
        id->element.size > KEY_SIZE_MAX - id->key.size)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "state to adopt: an entry exceeds the limits");
    for (size_t i = 0; i < entry->count; i++) {
        const struct sibling *s = &entry->siblings[i];

        if (!vv_covers(vv, &s->dot))
            return cm_fail(detail, CM_ERR_MALFORMED,
                           "state to adopt: a sibling lies beyond its version "
                           "vector");
        if (hlc_wall_ms(s->hlc) > WRITER_WALL_MS_MAX)
            return cm_fail(detail, CM_ERR_MALFORMED,
                           "state to adopt: an entry is dated thousands of "
                           "years ahead");
    }
    return 0;
}

/* ---- into a store without entries ---- */

static int take_entry(struct batch *b, struct store_bulk *bulk,
                      const struct entry_id *id, const struct entry *entry,
                      bool add_up, struct cm_detail *detail)
{
    struct writer *w = b->w;
    struct entry_local local = {b->revision, b->revision};
    struct index_mark none = {.due = 0};
    struct index_mark mark = index_mark_of(entry);
    struct schema_key key;
    int error = adopt_check_entry(id, entry, &w->vv, detail);

    if (error == 0 && entry->count == 0)
        error = cm_fail(detail, CM_ERR_MALFORMED,
                        "state to adopt: an entry is empty");
    if (error != 0)
        return error;
    for (size_t i = 0; i < entry->count; i++) {
        if (add_up)
            digest_add(&w->digest, id, &entry->siblings[i]);
        w->head.hlc = hlc_merge(w->head.hlc, entry->siblings[i].hlc);
    }
    schema_key_entry(&key, id);
    schema_record_begin(&w->record);
    schema_entry_pack(&w->record, entry, &local, store_actors(w->store));
    error = store_bulk_add(bulk, &key, &w->record);
    if (error == CM_ERR_EXISTS)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "state to adopt: an entry occurs twice");
    if (error == 0)
        error = index_update(&b->txn, &w->record, id, &none, &mark, b->now);
    return error;
}

static bool is_member(const struct entry_id *id,
                      const struct incarnation *incarnation)
{
    return incarnation != NULL && id->space == SPACE_ROSTER &&
           slice_equal(id->key, slice_of(incarnation->bytes, INCARNATION_SIZE));
}

/* ret_contained: whether r->contains was among them. CM_ERR_NOT_FOUND: that was
 * all. */
static int take_entries(struct batch *b, const struct replacement *r,
                        struct store_bulk *bulk, bool *ret_contained,
                        struct cm_detail *detail)
{
    int error = 0;

    while (error == 0) {
        struct entry_id id;
        const struct entry *entry;

        error = r->next(r->context, &id, &entry);
        if (error == 0)
            error = take_entry(b, bulk, &id, entry, r->digest == NULL, detail);
        if (error == 0)
            *ret_contained = *ret_contained || is_member(&id, r->contains);
    }
    return error;
}

int adopt_entries(struct batch *b, const struct replacement *r,
                  struct cm_detail *detail)
{
    bool contained = r->contains == NULL;
    struct store_bulk bulk;
    struct hash found;
    int error = store_bulk_begin(&bulk, &b->txn);
    int ended;

    if (error != 0)
        return error;
    b->digest_changed = true;
    b->due_changed = true;
    error = take_entries(b, r, &bulk, &contained, detail);
    ended = store_bulk_end(&bulk, error == CM_ERR_NOT_FOUND);
    if (error != CM_ERR_NOT_FOUND)
        return error;
    if (ended != 0)
        return ended;
    if (!contained)
        return cm_fail(detail, CM_ERR_NOT_FOUND,
                       "the state to adopt does not have this incarnation in "
                       "its roster: ask its sponsor again");
    if (r->digest != NULL)
        b->w->digest = *r->digest;
    found = digest_finish(&b->w->digest, &b->w->vv);
    if (r->state_digest != NULL && !hash_equal(&found, r->state_digest))
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "state to adopt: its digest is not the promised one");
    return 0;
}

static int adopt_empty(struct batch *b, const struct replacement *r,
                       struct cm_detail *detail)
{
    struct writer *w = b->w;
    struct vv vv;
    int error;

    if (w->vv.count > 0 || w->head.revision > 0)
        return cm_fail(detail, CM_ERR_EXISTS,
                       "this replica is not empty; adopt the state in a new "
                       "data directory");
    if (vv_seq(r->vv, &w->self) > 0)
        return cm_fail(detail, CM_ERR_FORK,
                       "the state to adopt holds events of this very "
                       "incarnation; join with a new directory");
    error = vv_copy(&vv, r->vv);
    if (error != 0)
        return error;
    vv_release(&w->vv);
    w->vv = vv;
    error = adopt_name_actors(b, &w->vv);
    if (error == 0)
        error = adopt_entries(b, r, detail);
    if (error == 0)
        error = state_put_meta(b, META_READY, slice_of("1", 1));
    /* What came before is in no log: watches start here. */
    w->head.oldest_revision = b->revision;
    return error;
}

/* ---- all of them ---- */

static int adopt(struct batch *b, const struct replacement *r,
                 struct cm_detail *detail)
{
    struct writer *w = b->w;
    int error = adopt_check_standing(b, r, detail);

    if (error != 0)
        return error;
    b->changed = true;
    switch (r->mode) {
    case ADOPT_EMPTY:
        error = adopt_empty(b, r, detail);
        break;
    case ADOPT_JOIN:
        error = adopt_join(b, r, detail);
        break;
    case ADOPT_RETURN:
        error = adopt_return(b, r, detail);
        break;
    case ADOPT_RETAIN:
        CHECK(!"it adopts nothing");
    }
    if (error == 0)
        error = state_put_meta(b, META_GENERATION, r->generation_order);
    if (error == 0 && r->mode != ADOPT_JOIN)
        error = state_put_meta(b, META_STANDING, r->standing);
    for (size_t i = 0; i < r->facts_count && error == 0; i++)
        error = state_put_meta(b, r->facts[i].name, r->facts[i].value);
    if (error != 0)
        return error;
    w->head.hlc = hlc_merge(w->head.hlc, r->hlc_max);
    return state_flush(b);
}

/* "A cut beyond a seal … of another generation … is refused." */
static int check_generation(const struct writer *w, const struct replacement *r,
                            struct cm_detail *detail)
{
    struct generation_order order;
    struct generation_id id;
    int error =
        generation_order_decode(&order, r->generation_order, w->authority);

    if (error != 0)
        return cm_fail(detail, error, "generation of the state to adopt: %s",
                       cm_strerror(error));
    id = generation_id_of(order.number, r->generation_order);
    /* An empty replica takes its generation from what it adopts. */
    if (r->mode == ADOPT_JOIN && !generation_id_equal(&id, &w->generation))
        error = cm_fail(detail, CM_ERR_WRONG_GENERATION,
                        "the state to adopt is of generation %llu, this node "
                        "is of generation %llu",
                        (unsigned long long)id.number,
                        (unsigned long long)w->generation.number);
    for (size_t i = 0; i < order.sealed.count && error == 0; i++) {
        const struct vv_entry *seal = &order.sealed.entries[i];

        if (vv_seq(r->vv, &seal->incarnation) > seal->seq)
            error = cm_fail(detail, CM_ERR_SEALED,
                            "the state to adopt lies beyond the seal of an "
                            "incarnation at %llu",
                            (unsigned long long)seal->seq);
    }
    if (error == 0)
        error = level_check_cut(w, r, order.founder_level, detail);
    generation_order_release(&order);
    return error;
}

/* "A cut whose greatest stamp would be held is held." */
static int check_clock(const struct writer *w, const struct replacement *r,
                       uint64_t wall_ms, struct cm_detail *detail)
{
    uint64_t bound = wall_ms + CLOCK_DRIFT_MAX_MS;

    if (hlc_wall_ms(r->hlc_max) > WRITER_WALL_MS_MAX)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "state to adopt: its clock lies thousands of years "
                       "ahead");
    if (w->clock_offset_ms > 0)
        bound += (uint64_t)w->clock_offset_ms;
    if (r->any_clock || hlc_wall_ms(r->hlc_max) <= bound)
        return 0;
    CM_MARK("cut: held, its clock is ahead");
    return cm_fail(detail, CM_ERR_HELD,
                   "the state to adopt is dated %llu ms ahead of this node's "
                   "clock: it waits; set the clock of its source, or this one",
                   (unsigned long long)(hlc_wall_ms(r->hlc_max) - wall_ms));
}

/* Nothing of a cut may outlive the batch that was to compare with it. */
static int finish(struct batch *b, const struct replacement *r,
                  struct cm_detail *detail)
{
    struct writer *w = b->w;
    int error = adopt(b, r, detail);

    if (error != 0) {
        bool fork = error == CM_ERR_FORK && r->mode == ADOPT_JOIN;

        batch_abort(b);
        w->fork = w->fork || fork;
        if (detail != NULL && detail->text[0] == '\0')
            (void)cm_fail(detail, error, "state to adopt: %s",
                          cm_strerror(error));
        return error;
    }
    error = store_txn_commit(&b->txn, detail);
    if (error != 0)
        batch_abort(b);
    return error;
}

int writer_replace(struct writer *w, const struct replacement *r,
                   uint64_t wall_ms, struct cm_detail *detail)
{
    struct batch b;
    int error = w->stale ? writer_reload(w, detail) : 0;

    CHECK(r->vv != NULL && r->next != NULL);
    if (r->mode == ADOPT_RETAIN)
        return error == 0 ? writer_retain(w, r, wall_ms, detail) : error;
    if (error == 0)
        error = check_generation(w, r, detail);
    if (error == 0)
        error = check_clock(w, r, wall_ms, detail);
    if (error == 0)
        error = batch_begin(&b, w, wall_ms, detail);
    if (error == 0)
        error = finish(&b, r, detail);
    if (error != 0)
        return error;
    vv_release(&w->adopting);
    touched_clear(&w->touched);
    if (r->mode == ADOPT_RETURN) { /* whatever was wrong, was left behind */
        w->fork = false;
        w->hazard = false;
        w->overrun = false;
        w->conflict = false;
    }
    /* Generation, roster and readiness are read back from what is on disk. */
    return writer_reload(w, detail);
}
