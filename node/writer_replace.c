/* An empty replica adopts a verified cut: every entry, the vector and the
 * generation in one transaction, or nothing.
 *
 * What is pulled is checked once more against the digest that its source
 * promised, because a replica that adopted half a state would delete the other
 * half everywhere. Adoption into a replica that holds something, which has to
 * keep what the cut does not cover, is a returner's business and refused. */
#include "crdt/base/check.h"
#include "node/store_index.h"
#include "node/writer_internal.h"

static int take_vector(struct batch *b, const struct vv *vv,
                       struct cm_detail *detail)
{
    struct writer *w = b->w;
    int error = 0;

    if (vv_seq(vv, &w->self) > 0)
        return cm_fail(detail, CM_ERR_FORK,
                       "the state to adopt holds events of this very "
                       "incarnation; join with a new directory");
    for (size_t i = 0; i < vv->count && error == 0; i++) {
        const struct vv_entry *e = &vv->entries[i];
        uint32_t actor;

        error = actors_intern(store_actors(w->store), &e->incarnation, &actor);
        if (error == 0)
            error = vv_set(&w->vv, &e->incarnation, e->seq, &e->head);
        if (error == 0)
            error = state_actor_dirty(b, &e->incarnation);
    }
    return error;
}

static int take_entry(struct batch *b, const struct entry_id *id,
                      const struct entry *entry, struct cm_detail *detail)
{
    struct writer *w = b->w;
    struct entry_local local = {b->revision, b->revision};
    struct index_mark none = {.due = 0};
    struct index_mark mark = index_mark_of(entry);
    struct schema_key key;
    struct slice old;
    int error;

    if (entry->count == 0 || id->key.size == 0 || id->key.size > KEY_SIZE_MAX ||
        id->element.size > KEY_SIZE_MAX - id->key.size)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "state to adopt: an entry exceeds the limits");
    schema_key_entry(&key, id);
    error = store_txn_get(&b->txn, &key, &old);
    if (error != CM_ERR_NOT_FOUND)
        return error != 0 ? error
                          : cm_fail(detail, CM_ERR_MALFORMED,
                                    "state to adopt: an entry occurs twice");
    for (size_t i = 0; i < entry->count; i++) {
        const struct sibling *s = &entry->siblings[i];

        if (!vv_covers(&w->vv, &s->dot))
            return cm_fail(detail, CM_ERR_MALFORMED,
                           "state to adopt: a sibling lies beyond its version "
                           "vector");
        if (hlc_wall_ms(s->hlc) > WRITER_WALL_MS_MAX)
            return cm_fail(detail, CM_ERR_MALFORMED,
                           "state to adopt: an entry is dated thousands of "
                           "years ahead");
        digest_add(&w->digest, id, s);
        w->head.hlc = hlc_merge(w->head.hlc, s->hlc);
    }
    schema_record_begin(&w->record);
    schema_entry_pack(&w->record, entry, &local, store_actors(w->store));
    error = store_txn_put(&b->txn, &key, &w->record);
    if (error == 0)
        error = index_update(&b->txn, &w->record, id, &none, &mark, b->now);
    return error;
}

static int take_entries(struct batch *b, const struct replacement *r,
                        struct cm_detail *detail)
{
    struct hash found;
    int error = 0;

    while (error == 0) {
        struct entry_id id;
        const struct entry *entry;

        error = r->next(r->context, &id, &entry);
        if (error == 0)
            error = take_entry(b, &id, entry, detail);
    }
    if (error != CM_ERR_NOT_FOUND)
        return error;
    found = digest_finish(&b->w->digest, &b->w->vv);
    if (r->state_digest != NULL && !hash_equal(&found, r->state_digest))
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "state to adopt: its digest is not the promised one");
    return 0;
}

static int adopt(struct batch *b, const struct replacement *r,
                 struct cm_detail *detail)
{
    struct writer *w = b->w;
    int error = take_vector(b, r->vv, detail);

    b->changed = true;
    b->digest_changed = true;
    if (error == 0)
        error = take_entries(b, r, detail);
    if (error == 0)
        error = state_put_meta(b, META_GENERATION, r->generation_order);
    if (error == 0)
        error = state_put_meta(b, META_READY, slice_of("1", 1));
    if (error != 0)
        return error;
    w->head.hlc = hlc_merge(w->head.hlc, r->hlc_max);
    /* What came before is in no log: watches start here. */
    w->head.oldest_revision = b->revision;
    return state_flush(b);
}

static int check_replacement(const struct writer *w,
                             const struct replacement *r,
                             struct cm_detail *detail)
{
    struct generation_order order;
    int error;

    if (w->vv.count > 0 || w->head.revision > 0)
        return cm_fail(detail, CM_ERR_EXISTS,
                       "this replica is not empty; adopt the state in a new "
                       "data directory");
    error = generation_order_decode(&order, r->generation_order, w->authority);
    if (error != 0)
        return cm_fail(detail, error, "generation of the state to adopt: %s",
                       cm_strerror(error));
    generation_order_release(&order);
    if (hlc_wall_ms(r->hlc_max) > WRITER_WALL_MS_MAX)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "state to adopt: its clock lies thousands of years "
                       "ahead");
    return 0;
}

int writer_replace(struct writer *w, const struct replacement *r,
                   struct cm_detail *detail)
{
    struct batch b;
    int error = w->stale ? writer_reload(w, detail) : 0;

    if (error == 0)
        error = check_replacement(w, r, detail);
    if (error == 0)
        error = batch_begin(&b, w, 0, detail);
    if (error != 0)
        return error;
    error = adopt(&b, r, detail);
    if (error != 0) {
        batch_abort(&b);
        if (detail != NULL && detail->text[0] == '\0')
            (void)cm_fail(detail, error, "state to adopt: %s",
                          cm_strerror(error));
        return error;
    }
    error = store_txn_commit(&b.txn, detail);
    if (error != 0) {
        batch_abort(&b);
        return error;
    }
    /* Generation, roster and readiness are read back from what is on disk. */
    return writer_reload(w, detail);
}
