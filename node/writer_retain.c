/* Another generation's writes, kept for this one.
 *
 * "A snapshot of another generation brings what the VV does not cover as new
 * writes." They are unsent operations like those of a node that returns to
 * another generation: kept in one transaction, then judged against the state
 * and written anew, or parked with the reason (writer_reissue.c). Their names
 * never enter the vector, so what came once would come again with the next
 * merge of the same snapshot: what the state already shows, as new or newer,
 * and what is kept already, is left out. */
#include <stdlib.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/writer_internal.h"

/* Names of what is kept already, sorted. */
struct kept {
    struct dot *dots; /* owned */
    size_t count;
    size_t capacity;
};

static int compare_dots(const void *a, const void *b)
{
    return dot_compare(a, b);
}

static int add_kept(struct kept *k, const struct dot *dot)
{
    if (k->count == k->capacity) {
        size_t capacity = k->capacity > 0 ? 2 * k->capacity : 64;
        struct dot *grown = cm_realloc(k->dots, capacity * sizeof *grown);

        if (grown == NULL)
            return CM_ERR_NOMEM;
        k->dots = grown;
        k->capacity = capacity;
    }
    k->dots[k->count++] = *dot;
    return 0;
}

static int read_kept(struct batch *b, struct kept *k)
{
    struct unsent u = {.id = 0};
    int error;

    while ((error = unsent_next(&b->txn, u.id, &u)) == 0) {
        error = u.sibling ? add_kept(k, &u.dot) : 0;
        if (error != 0)
            return error;
    }
    if (k->count > 1)
        qsort(k->dots, k->count, sizeof *k->dots, compare_dots);
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

static bool is_kept(const struct kept *k, const struct dot *dot)
{
    return k->count > 0 && bsearch(dot, k->dots, k->count, sizeof *k->dots,
                                   compare_dots) != NULL;
}

/* Whether the state says the same, at that time or later. */
static bool is_shown(const struct entry *here, const struct sibling *s)
{
    for (size_t i = 0; i < here->count; i++) {
        const struct sibling *h = &here->siblings[i];

        if (h->kind == s->kind && h->hlc >= s->hlc && h->flags == s->flags &&
            h->expires == s->expires && slice_equal(h->value, s->value))
            return true;
    }
    return false;
}

static int retain_entry(struct batch *b, const struct entry_id *id,
                        const struct entry *theirs, const struct kept *k,
                        uint64_t *kept)
{
    int error = 0;

    if (id->space > SPACE_CLIENT_LAST)
        return 0;
    for (size_t i = 0; i < theirs->count && error == 0; i++) {
        const struct sibling *s = &theirs->siblings[i];

        if (vv_covers(&b->w->vv, &s->dot) || is_kept(k, &s->dot))
            continue;
        /* Read anew for each: keeping is a write, which moves records. */
        error = store_txn_entry(&b->txn, id, &b->w->entry, NULL);
        if (error == CM_ERR_NOT_FOUND) {
            b->w->entry.count = 0;
            error = 0;
        }
        if (error != 0 || is_shown(&b->w->entry, s))
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
    struct kept kept = {.dots = NULL};
    uint64_t count = 0;
    struct batch b;
    int error = check(w, r, detail);

    CHECK(r->mode == ADOPT_RETAIN);
    if (error == 0)
        error = batch_begin(&b, w, wall_ms, detail);
    if (error != 0)
        return error;
    error = read_kept(&b, &kept);
    while (error == 0) {
        const struct entry *entry;
        struct entry_id id;

        error = r->next(r->context, &id, &entry);
        if (error == 0)
            error = adopt_check_entry(&id, entry, r->vv, detail);
        if (error == 0)
            error = retain_entry(&b, &id, entry, &kept, &count);
    }
    cm_free(kept.dots);
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
