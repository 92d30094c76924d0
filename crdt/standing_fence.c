/* What a fence says: read, checked, remembered.
 *
 * All fences of one writer count together. Were the last one alone to count, a
 * replica that sealed somebody by an earlier one would differ from a replica
 * that got the later one first. One that says no less than another replaces
 * it, whichever came first, so equal vectors keep equal fences. */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/standing_internal.h"

static struct standing_name *find_name(struct standing_name *names,
                                       size_t count,
                                       const struct incarnation *i)
{
    size_t low = 0;
    size_t high = count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = incarnation_compare(&names[middle].incarnation, i);

        if (order == 0)
            return &names[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static bool same_place(const struct standing *s, const struct mesh_id *mesh,
                       const struct generation_id *generation)
{
    return mesh_id_equal(mesh, &s->mesh) &&
           generation_id_equal(generation, &s->generation);
}

/* ---- reading ---- */

static int read_order(const struct standing *s, struct fence_reading *r,
                      size_t at)
{
    struct fence_link *link = &r->links[at];
    struct eviction_order o;
    int error = eviction_decode(&o, r->fence.orders[at], s->authority);

    if (error < 0)
        return error;
    *link = (struct fence_link){
        .epoch = o.epoch,
        .previous = o.previous,
        .hash = eviction_hash(r->fence.orders[at]),
    };
    if (!same_place(s, &o.mesh, &o.generation))
        error = CM_ERR_WRONG_GENERATION;
    if (at > 0 && link[-1].epoch >= o.epoch)
        error = CM_ERR_NONCANONICAL;
    for (size_t i = 0; i < o.count; i++) {
        const struct incarnation *who = &o.incarnations[i];
        struct standing_name *n =
            find_name(r->names, r->fence.covered_count, who);

        if (n != NULL)
            n->ordered = true;
        link->open = link->open || !floor_is_sealed(&s->floor, who, NULL);
    }
    eviction_release(&o);
    return error;
}

static int read_retirement(const struct standing *s, struct fence_reading *r,
                           size_t at, struct incarnation *last)
{
    struct retirement got;
    struct standing_name *n;
    int error = retirement_decode(&got, r->fence.retirements[at], s->authority);

    if (error < 0)
        return error;
    if (!same_place(s, &got.mesh, &got.generation))
        return CM_ERR_WRONG_GENERATION;
    if (at > 0 && incarnation_compare(last, &got.incarnation) >= 0)
        return CM_ERR_NONCANONICAL;
    n = find_name(r->names, r->fence.covered_count, &got.incarnation);
    if (n == NULL)
        return CM_ERR_NONCANONICAL;
    n->retired = true;
    n->node = got.node;
    *last = got.incarnation;
    return 0;
}

/* A fence that names nobody would be no fence. */
static bool names_somebody(const struct fence_reading *r)
{
    for (size_t i = 0; i < r->fence.covered_count; i++) {
        if (r->names[i].ordered || r->names[i].retired)
            return true;
    }
    return false;
}

int standing_read_fence(const struct standing *s, struct slice value,
                        struct fence_reading *ret_reading)
{
    struct fence_reading *r = ret_reading;
    struct incarnation last;
    int error;

    memset(r, 0, sizeof *r);
    error = fence_decode(&r->fence, value);
    if (error < 0)
        return error;
    CHECK(r->fence.orders_count <= FENCE_ORDERS_MAX);
    r->names = cm_calloc(r->fence.covered_count + 1, sizeof *r->names);
    if (r->names == NULL)
        error = CM_ERR_NOMEM;
    for (size_t i = 0; i < r->fence.covered_count && error == 0; i++) {
        r->names[i].incarnation = r->fence.covered[i].incarnation;
        r->names[i].seq = r->fence.covered[i].seq;
        r->names[i].head = r->fence.covered[i].head;
    }
    for (size_t i = 0; i < r->fence.orders_count && error == 0; i++)
        error = read_order(s, r, i);
    for (size_t i = 0; i < r->fence.retirements_count && error == 0; i++)
        error = read_retirement(s, r, i, &last);
    if (error == 0 && !names_somebody(r))
        error = CM_ERR_AUTHORITY;
    if (error < 0)
        standing_reading_release(r);
    return error;
}

void standing_reading_release(struct fence_reading *r)
{
    fence_release(&r->fence);
    cm_free(r->names);
    r->names = NULL;
}

/* "A node keeps to the first order of an epoch that it hears and refuses fences
 * and cuts that carry another." */
static int check_link(const struct standing *s, const struct fence_link *link)
{
    const struct hash *known = standing_chain_at(s, link->epoch);

    if (known != NULL)
        return hash_equal(known, &link->hash) ? 0 : CM_ERR_EVICTION_CONFLICT;
    /* Of an epoch long ago: what it ordered has been done, or it is none of
     * those that were. */
    return link->open ? CM_ERR_EVICTION_CONFLICT : 0;
}

int standing_check_links(const struct standing *s,
                         const struct fence_reading *r)
{
    uint64_t epoch = s->epoch;
    struct hash last = standing_order(s);

    for (size_t i = 0; i < r->fence.orders_count; i++) {
        const struct fence_link *link = &r->links[i];
        const struct standing_order *kept;

        if (link->epoch <= s->epoch) {
            int error = check_link(s, link);

            if (error < 0)
                return error;
            continue;
        }
        if (link->epoch > epoch + 1)
            return CM_ERR_PENDING;
        if (!hash_equal(&link->previous, &last))
            return CM_ERR_EVICTION_CONFLICT;
        kept = standing_chain_next(s, link->epoch, &last);
        if (kept != NULL && !hash_equal(&kept->hash, &link->hash))
            return CM_ERR_EVICTION_CONFLICT;
        epoch = link->epoch;
        last = link->hash;
    }
    return 0;
}

/* ---- what fences say ---- */

const struct standing_name *standing_fence_name(const struct standing_fence *f,
                                                const struct incarnation *i)
{
    return find_name(f->names, f->count, i);
}

bool standing_name_counts(const struct standing *s,
                          const struct standing_name *n)
{
    const struct standing_member *m;

    if (n->ordered || !n->retired)
        return n->ordered;
    m = standing_member_find(s, &n->incarnation);
    return m == NULL || key_id_equal(&m->node, &n->node);
}

size_t standing_fences_of(const struct standing *s,
                          const struct incarnation *writer)
{
    size_t low = 0;
    size_t high = s->fences.count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (incarnation_compare(&s->fences.items[middle].writer, writer) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    CHECK(low <= s->fences.count);
    return low;
}

static bool is_by(const struct standing *s, size_t at,
                  const struct incarnation *writer)
{
    return at < s->fences.count &&
           incarnation_equal(&s->fences.items[at].writer, writer);
}

bool standing_fenced(const struct standing *s, const struct incarnation *writer,
                     const struct incarnation *i, uint64_t *ret_seq)
{
    bool ret = false;

    for (size_t k = standing_fences_of(s, writer); is_by(s, k, writer); k++) {
        const struct standing_name *n =
            standing_fence_name(&s->fences.items[k], i);

        if (n == NULL || !standing_name_counts(s, n))
            continue;
        if (ret_seq != NULL && (!ret || n->seq > *ret_seq))
            *ret_seq = n->seq;
        ret = true;
    }
    return ret;
}

/* ---- remembering ---- */

static bool says_no_less(const struct standing_name *a,
                         const struct standing_name *b)
{
    return a->seq >= b->seq && (a->ordered || !b->ordered) &&
           (!b->retired || a->ordered ||
            (a->retired && key_id_equal(&a->node, &b->node)));
}

static bool contains(const struct standing_fence *a,
                     const struct standing_fence *b)
{
    for (size_t i = 0; i < b->count; i++) {
        const struct standing_name *n;

        if (!b->names[i].ordered && !b->names[i].retired)
            continue; /* merely covered: says nothing about a seal */
        n = standing_fence_name(a, &b->names[i].incarnation);
        if (n == NULL || !says_no_less(n, &b->names[i]))
            return false;
    }
    return true;
}

/* Whether a makes b superfluous; of two that say the same the later stays. */
static bool replaces(const struct standing_fence *a,
                     const struct standing_fence *b)
{
    return contains(a, b) &&
           (!contains(b, a) || dot_compare(&a->dot, &b->dot) > 0);
}

int standing_add_fence(struct standing *s, const struct incarnation *writer,
                       const struct dot *dot, hlc_t hlc,
                       struct standing_name **names, size_t count)
{
    struct standing_fence added = {.writer = *writer,
                                   .dot = *dot,
                                   .hlc = hlc,
                                   .names = *names,
                                   .count = count};
    size_t first;
    size_t at;
    int error = STANDING_GROW(&s->fences);

    if (error < 0)
        return error;
    *names = NULL;
    first = standing_fences_of(s, writer);
    for (at = first; is_by(s, at, writer); at++) {
        if (replaces(&s->fences.items[at], &added)) {
            standing_fence_release(&added);
            return 0;
        }
    }
    for (; at > first; at--) {
        if (replaces(&added, &s->fences.items[at - 1]))
            standing_forget_fence(s, at - 1);
    }
    while (is_by(s, at, writer) &&
           dot_compare(&s->fences.items[at].dot, dot) < 0)
        at++;
    memmove(s->fences.items + at + 1, s->fences.items + at,
            (s->fences.count - at) * sizeof added);
    s->fences.items[at] = added;
    s->fences.count++;
    return 0;
}
