/* Another generation's writes, kept for this one.
 *
 * "A snapshot of another generation brings what the VV does not cover as new
 * writes." They are unsent operations like those of a node that returns to
 * another generation: kept in one transaction, then judged against the state
 * and written anew, or parked with the reason (writer_reissue.c). Their names
 * never enter the vector, so what came once would come again with the next
 * merge of the same snapshot: what the state already shows, as new or newer,
 * and what is kept already, is left out. */
#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/unsent_dots.h"
#include "node/writer_internal.h"

static int retain_entry(struct batch *b, const struct entry_id *id,
                        const struct entry *theirs, const struct unsent_dots *k,
                        uint64_t *kept)
{
    int error = 0;

    if (id->space > SPACE_CLIENT_LAST)
        return 0;
    for (size_t i = 0; i < theirs->count && error == 0; i++) {
        const struct sibling *s = &theirs->siblings[i];

        if (vv_covers(&b->w->vv, &s->dot) || unsent_dots_have(k, &s->dot))
            continue;
        /* Read anew for each: keeping is a write, which moves records. */
        error = store_txn_entry(&b->txn, id, &b->w->entry, NULL);
        if (error == CM_ERR_NOT_FOUND) {
            b->w->entry.count = 0;
            error = 0;
        }
        if (error != 0 || entry_shows(&b->w->entry, s))
            continue;
        CM_MARK("merge: kept from another generation");
        error = unsent_keep_sibling(b, id, s, KEEP_FOREIGN);
        *kept += error == 0;
    }
    return error;
}

static int check(const struct writer *w, const struct replacement *r,
                 struct cm_detail *detail)
{
    struct generation_order order;
    struct generation_id id;
    int error;

    if (r->other_mesh)
        return 0;
    error = generation_order_decode(&order, r->generation_order, w->authority);
    if (error != 0)
        return cm_fail(detail, error, "generation of the snapshot: %s",
                       cm_strerror(error));
    id = generation_id_of(order.number, r->generation_order);
    generation_order_release(&order);
    if (generation_id_equal(&id, &w->generation))
        return cm_fail(detail, CM_ERR_INVALID,
                       "the snapshot is of this very generation");
    if (id.number > w->generation.number)
        return cm_fail(detail, CM_ERR_WRONG_GENERATION,
                       "the snapshot is of generation %llu, this node is of "
                       "generation %llu: it has to return first",
                       (unsigned long long)id.number,
                       (unsigned long long)w->generation.number);
    return 0;
}

int writer_retain(struct writer *w, const struct replacement *r,
                  uint64_t wall_ms, struct cm_detail *detail)
{
    struct unsent_dots kept;
    uint64_t count = 0;
    struct batch b;
    int error = check(w, r, detail);

    CHECK(r->mode == ADOPT_RETAIN);
    if (error == 0)
        error = batch_begin(&b, w, wall_ms, detail);
    if (error != 0)
        return error;
    error = unsent_dots_read(&kept, &b, true);
    while (error == 0) {
        const struct entry *entry;
        struct entry_id id;

        error = r->next(r->context, &id, &entry);
        if (error == 0)
            error = adopt_check_entry(&id, entry, r->vv, detail);
        if (error == 0)
            error = retain_entry(&b, &id, entry, &kept, &count);
    }
    unsent_dots_release(&kept);
    if (error == CM_ERR_NOT_FOUND)
        error = b.meta_changed ? store_txn_commit(&b.txn, detail) : 0;
    else if (detail != NULL && detail->text[0] == '\0')
        (void)cm_fail(detail, error, "keeping a snapshot's writes: %s",
                      cm_strerror(error));
    if (error != 0 || !b.meta_changed) {
        batch_abort(&b);
        return error;
    }
    if (r->kept != NULL)
        *r->kept = count;
    return writer_reload(w, detail); /* the counts */
}
