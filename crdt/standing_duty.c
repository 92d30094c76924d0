/* What the incarnation that runs here has to write: fences, acknowledgements,
 * proposals. */
#include <stdlib.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/standing_internal.h"

#define NAME_PACKED_MAX (1 + 18 + 9 + 2 + HASH_SIZE)
#define BIN_HEAD_MAX 5

/* ---- the fence that is due ---- */

struct due {
    struct incarnation *names; /* open evictees, unsorted */
    size_t count;
    size_t capacity;
};

static int due_add(const struct standing *s, struct due *d,
                   const struct incarnation *i)
{
    int error;

    if (floor_is_sealed(&s->floor, i, NULL))
        return 0;
    for (size_t k = 0; k < d->count; k++) {
        if (incarnation_equal(&d->names[k], i))
            return 0;
    }
    error = standing_grow((void **)&d->names, d->count, &d->capacity,
                          sizeof *d->names);
    if (error == 0)
        d->names[d->count++] = *i;
    return error;
}

/* Everybody named by an order or retirement that stands. What applied fences
 * name is among them: their orders were heard when they were applied. */
static int find_evictees(const struct standing *s, struct due *d)
{
    int error = 0;

    for (size_t i = 0; i < s->orders.count && error == 0; i++) {
        const struct standing_order *o = &s->orders.items[i];

        if (!standing_order_stands(s, o))
            continue;
        for (size_t k = 0; k < o->order.count && error == 0; k++)
            error = due_add(s, d, &o->order.incarnations[k]);
    }
    for (size_t i = 0; i < s->retirements.count && error == 0; i++) {
        if (standing_retirement_counts(s, &s->retirements.items[i]))
            error = due_add(s, d, &s->retirements.items[i].incarnation);
    }
    return error;
}

static bool order_names(const struct standing_order *o,
                        const struct incarnation *i)
{
    for (size_t k = 0; k < o->order.count; k++) {
        if (incarnation_equal(&o->order.incarnations[k], i))
            return true;
    }
    return false;
}

struct draft {
    const struct standing *s;
    const struct vv *vv;
    struct slice orders[FENCE_ORDERS_MAX];
    const struct standing_order *orders_from[FENCE_ORDERS_MAX];
    size_t orders_count;
    const struct standing_retirement **retirements; /* owned */
    size_t retirements_count;
    struct fence_cover *covered; /* owned */
    size_t covered_count;
    size_t size; /* so far, at most */
};

static int compare_order_epochs(const void *a, const void *b)
{
    const struct standing_order *x = *(const struct standing_order *const *)a;
    const struct standing_order *y = *(const struct standing_order *const *)b;

    return x->order.epoch < y->order.epoch ? -1
                                           : x->order.epoch > y->order.epoch;
}

/* Every order that stands and is open or has not counted yet, in the order of
 * epochs, as many as there is room for. */
static void draft_orders(struct draft *d)
{
    const struct standing *s = d->s;
    const struct standing_order *all[STANDING_ORDERS_MAX];
    size_t count = 0;

    for (size_t i = 0; i < s->orders.count; i++) {
        if (standing_order_stands(s, &s->orders.items[i]))
            all[count++] = &s->orders.items[i];
    }
    qsort(all, count, sizeof all[0], compare_order_epochs);
    for (size_t i = 0; i < count && d->orders_count < FENCE_ORDERS_MAX; i++) {
        if (d->size + all[i]->size + BIN_HEAD_MAX > VALUE_SIZE_MAX / 2)
            break;
        d->size += all[i]->size + BIN_HEAD_MAX;
        d->orders_from[d->orders_count] = all[i];
        d->orders[d->orders_count++] = slice_of(all[i]->bytes, all[i]->size);
    }
}

static bool draft_orders_name(const struct draft *d,
                              const struct incarnation *i)
{
    for (size_t k = 0; k < d->orders_count; k++) {
        if (order_names(d->orders_from[k], i))
            return true;
    }
    return false;
}

static const struct standing_retirement *
find_retirement(const struct standing *s, const struct incarnation *i)
{
    for (size_t k = 0; k < s->retirements.count; k++) {
        const struct standing_retirement *r = &s->retirements.items[k];

        if (incarnation_equal(&r->incarnation, i) &&
            standing_retirement_counts(s, r))
            return r;
    }
    return NULL;
}

static bool is_unsettled(const struct floor_row *row)
{
    return row->last != FLOOR_UNSEALED && row->up_to < row->last;
}

/* Which branch it is can be told of the newest event alone. */
static struct fence_cover cover_of(const struct vv *vv,
                                   const struct incarnation *i, uint64_t seq)
{
    const struct vv_entry *e = vv_find(vv, i);
    struct fence_cover ret = {.incarnation = *i, .seq = seq};

    if (e != NULL && seq > 0 && e->seq == seq)
        ret.head = e->head;
    return ret;
}

/* Names i if there is room for it and for the right by which it is named;
 * whoever is left out comes with the next fence. */
static void draft_name(struct draft *d, const struct incarnation *i)
{
    const struct standing_retirement *r = NULL;
    size_t size = NAME_PACKED_MAX;

    if (!draft_orders_name(d, i)) {
        r = find_retirement(d->s, i);
        if (r == NULL)
            return;
        size += r->size + BIN_HEAD_MAX;
    }
    if (d->size + size > VALUE_SIZE_MAX - 64 ||
        d->covered_count == FENCE_COVERED_MAX)
        return;
    d->size += size;
    if (r != NULL)
        d->retirements[d->retirements_count++] = r;
    d->covered[d->covered_count++] =
        cover_of(d->vv, i, STANDING_OFF(RULE_COVER_ALL) ? 0 : vv_seq(d->vv, i));
}

/* Those sealed here that the floor does not cover yet: see fence.h. */
static void draft_sealed(struct draft *d)
{
    const struct floor *f = &d->s->floor;

    for (size_t i = 0; i < f->count && !STANDING_OFF(RULE_COVER_SEALED); i++) {
        const struct floor_row *row = &f->rows[i];

        if (!is_unsettled(row))
            continue;
        if (d->size + NAME_PACKED_MAX > VALUE_SIZE_MAX - 64 ||
            d->covered_count == FENCE_COVERED_MAX)
            return;
        d->size += NAME_PACKED_MAX;
        d->covered[d->covered_count++] =
            cover_of(d->vv, &row->incarnation, row->last);
    }
}

static int compare_covers(const void *a, const void *b)
{
    return incarnation_compare(&((const struct fence_cover *)a)->incarnation,
                               &((const struct fence_cover *)b)->incarnation);
}

static int compare_retirements(const void *a, const void *b)
{
    const struct standing_retirement *const *x = a;
    const struct standing_retirement *const *y = b;

    return incarnation_compare(&(*x)->incarnation, &(*y)->incarnation);
}

static int draft_pack(struct draft *d, struct buffer *out)
{
    struct slice *retirements =
        cm_calloc(d->retirements_count + 1, sizeof *retirements);
    struct fence f = {.orders = d->orders,
                      .orders_count = d->orders_count,
                      .retirements = retirements,
                      .retirements_count = d->retirements_count,
                      .covered = d->covered,
                      .covered_count = d->covered_count};

    if (retirements == NULL)
        return CM_ERR_NOMEM;
    qsort(d->covered, d->covered_count, sizeof *d->covered, compare_covers);
    qsort(d->retirements, d->retirements_count, sizeof *d->retirements,
          compare_retirements);
    for (size_t i = 0; i < d->retirements_count; i++)
        retirements[i] =
            slice_of(d->retirements[i]->bytes, d->retirements[i]->size);
    fence_pack(out, &f);
    cm_free(retirements);
    return out->error;
}

static size_t count_unsettled(const struct floor *f)
{
    size_t ret = 0;

    for (size_t i = 0; i < f->count; i++)
        ret += is_unsettled(&f->rows[i]);
    return ret;
}

/* Whether a fence has to be written for the evictee's sake; first whom no fence
 * of self names yet. */
enum need {
    NEED_NEW = 0,
    NEED_GROWN, /* more of it was let in than the last one says */
    NEED_NONE,
};

/* "A fence is written anew when its writer lets more in": else nobody hears
 * which branch of a fork it holds once those that covered it have gone. */
static enum need need_of(const struct standing *s,
                         const struct incarnation *self, const struct vv *vv,
                         const struct incarnation *evictee)
{
    uint64_t covered = 0;

    if (!standing_fenced(s, self, evictee, &covered))
        return NEED_NEW;
    if (STANDING_OFF(RULE_FENCE_GROWN) || STANDING_OFF(RULE_COVER_ALL))
        return NEED_NONE;
    return vv_seq(vv, evictee) > covered ? NEED_GROWN : NEED_NONE;
}

static int write_fence(const struct standing *s, const struct incarnation *self,
                       const struct vv *vv, const struct due *due,
                       struct buffer *out)
{
    struct draft d = {.s = s, .vv = vv};
    int error = CM_ERR_NOMEM;

    d.covered = cm_calloc(due->count + count_unsettled(&s->floor) + 1,
                          sizeof *d.covered);
    d.retirements = cm_calloc(due->count + 1, sizeof *d.retirements);
    if (d.covered != NULL && d.retirements != NULL) {
        draft_orders(&d);
        for (int need = NEED_NEW; need <= NEED_NONE; need++) {
            for (size_t i = 0; i < due->count; i++) {
                if (need_of(s, self, vv, &due->names[i]) == (enum need)need)
                    draft_name(&d, &due->names[i]);
            }
        }
        draft_sealed(&d);
        error = draft_pack(&d, out);
    }
    cm_free(d.covered);
    cm_free(d.retirements);
    return error;
}

#ifdef CM_PLANTED_STANDING
static bool is_fencing(const struct standing *s, const struct incarnation *self)
{
    for (size_t i = 0; i < s->fences.count; i++) {
        if (incarnation_equal(&s->fences.items[i].writer, self))
            return true;
    }
    return false;
}
#else
#define is_fencing(s, self) false
#endif

int standing_due_fence(const struct standing *s, const struct incarnation *self,
                       const struct vv *vv, struct buffer *out, bool *ret_due)
{
    struct due due = {0};
    bool grown = false;
    int error = 0;

    *ret_due = false;
    if (!standing_stays(s, self))
        return 0;
    error = find_evictees(s, &due);
    for (size_t i = 0; i < due.count && error == 0; i++)
        grown = grown || need_of(s, self, vv, &due.names[i]) != NEED_NONE;
    if (STANDING_OFF(RULE_FENCE_ANEW) && is_fencing(s, self))
        grown = false;
    if (error == 0 && grown)
        error = write_fence(s, self, vv, &due, out);
    cm_free(due.names);
    if (error == 0)
        *ret_due = grown;
    return error;
}

/* ---- acknowledgements and proposals ---- */

bool standing_due_ack(const struct standing *s, const struct incarnation *self,
                      uint8_t ret_key[PROPOSAL_KEY_SIZE])
{
    const struct standing_proposal *due = NULL;

    if (!standing_is_member(s, self))
        return false;
    for (size_t i = 0; i < s->proposals.count; i++) {
        const struct standing_proposal *p = &s->proposals.items[i];

        if (standing_ack_find(p, self) == NULL &&
            (due == NULL || memcmp(p->key, due->key, sizeof p->key) < 0))
            due = p;
    }
    if (due != NULL)
        memcpy(ret_key, due->key, PROPOSAL_KEY_SIZE);
    return due != NULL;
}

static bool cut_covers(const struct standing_proposal *p, const struct dot *d)
{
    for (size_t i = 0; i < p->cut_count; i++) {
        if (incarnation_equal(&p->cut[i].incarnation, &d->incarnation))
            return d->seq <= p->cut[i].seq;
    }
    return false;
}

bool standing_has_acknowledged(const struct standing *s,
                               const struct incarnation *self,
                               const struct dot *d)
{
    for (size_t i = 0; i < s->proposals.count; i++) {
        const struct standing_proposal *p = &s->proposals.items[i];

        if (standing_ack_find(p, self) != NULL && cut_covers(p, d))
            return true;
    }
    return false;
}

static bool has_proposed(const struct standing *s,
                         const struct incarnation *self)
{
    for (size_t i = 0; i < s->proposals.count; i++) {
        struct dot dot = standing_proposal_dot(s->proposals.items[i].key);

        if (incarnation_equal(&dot.incarnation, self))
            return true;
    }
    return false;
}

int standing_propose(const struct standing *s, const struct incarnation *self,
                     const struct vv *vv, struct buffer *out, bool *ret_due)
{
    struct fence_cover *cut;
    size_t count = 0;

    *ret_due = false;
    if (!standing_is_member(s, self) || has_proposed(s, self) ||
        s->proposals.count >= STANDING_PROPOSALS_MAX)
        return 0;
    cut = cm_calloc(vv->count + 1, sizeof *cut);
    if (cut == NULL)
        return CM_ERR_NOMEM;
    for (size_t i = 0; i < vv->count; i++) {
        const struct vv_entry *e = &vv->entries[i];
        struct dot head = {.incarnation = e->incarnation, .seq = e->seq};

        if (!floor_covers(&s->floor, &head))
            cut[count++] = (struct fence_cover){.incarnation = e->incarnation,
                                                .seq = e->seq};
    }
    if (count > 0)
        standing_cut_pack(out, cut, count);
    cm_free(cut);
    *ret_due = count > 0 && out->error == 0;
    return out->error;
}
