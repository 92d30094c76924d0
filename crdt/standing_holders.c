/* Who holds floor and seals back, and since when. Asked after every change of
 * the standing: the names that fences want are gathered once, for each member
 * writes a fence of its own that says nearly the same. */
#include <stdlib.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/standing_internal.h"

struct holders {
    struct standing_holder *list;
    size_t room;
    size_t count;
};

/* Somebody who is to be sealed, and the oldest fence that says so. */
struct wanted {
    struct incarnation incarnation;
    hlc_t since;
};

static void hold(struct holders *h, const struct incarnation *i, hlc_t since,
                 bool for_fence)
{
    if (h->count < h->room)
        h->list[h->count] = (struct standing_holder){
            .incarnation = *i, .since = since, .for_fence = for_fence};
    h->count++;
}

/* ---- acknowledgements ---- */

static void hold_proposals(const struct standing *s, struct holders *h,
                           const struct incarnation *who)
{
    hlc_t since = UINT64_MAX;
    bool missing = false;

    for (size_t i = 0; i < s->proposals.count; i++) {
        const struct standing_proposal *p = &s->proposals.items[i];
        struct dot dot = standing_proposal_dot(p->key);
        const struct standing_ack *own;
        hlc_t asked;

        if (standing_ack_find(p, who) != NULL)
            continue;
        own = standing_ack_find(p, &dot.incarnation);
        asked = own != NULL ? own->hlc : 0;
        since = asked < since ? asked : since;
        missing = true;
    }
    if (missing)
        hold(h, who, since, false);
}

/* ---- fences ---- */

static int compare_wanted(const void *a, const void *b)
{
    const struct wanted *x = a;
    const struct wanted *y = b;
    int order = incarnation_compare(&x->incarnation, &y->incarnation);

    if (order != 0)
        return order;
    return x->since < y->since ? -1 : x->since > y->since;
}

/* Sorted, once each. */
static int find_wanted(const struct standing *s, struct wanted **ret_wanted,
                       size_t *ret_count)
{
    size_t room = 0;
    size_t count = 0;
    size_t kept = 0;
    struct wanted *w;

    for (size_t i = 0; i < s->fences.count; i++)
        room += s->fences.items[i].count;
    w = cm_calloc(room + 1, sizeof *w);
    if (w == NULL)
        return CM_ERR_NOMEM;
    for (size_t i = 0; i < s->fences.count; i++) {
        const struct standing_fence *f = &s->fences.items[i];

        for (size_t k = 0; k < f->count; k++) {
            const struct incarnation *who = &f->names[k].incarnation;

            if (standing_name_counts(s, &f->names[k]) &&
                !floor_is_sealed(&s->floor, who, NULL))
                w[count++] =
                    (struct wanted){.incarnation = *who, .since = f->hlc};
        }
    }
    CHECK(count <= room);
    qsort(w, count, sizeof *w, compare_wanted);
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 ||
            !incarnation_equal(&w[kept - 1].incarnation, &w[i].incarnation))
            w[kept++] = w[i];
    }
    *ret_wanted = w;
    *ret_count = kept;
    return 0;
}

static void hold_fences(const struct standing *s, struct holders *h,
                        const struct incarnation *who, const struct wanted *w,
                        size_t count)
{
    hlc_t since = UINT64_MAX;
    bool missing = false;

    for (size_t i = 0; i < count; i++) {
        if (missing && w[i].since >= since)
            continue;
        if (standing_fenced(s, who, &w[i].incarnation, NULL))
            continue;
        since = w[i].since;
        missing = true;
    }
    if (missing && !standing_is_evictee(s, who))
        hold(h, who, since, true);
}

int standing_holders(const struct standing *s,
                     struct standing_holder *ret_holders, size_t room,
                     size_t *ret_count)
{
    struct holders h = {.list = ret_holders, .room = room};
    struct wanted *wanted = NULL;
    size_t count = 0;

    CHECK(room == 0 || ret_holders != NULL);
    if (s->fences.count > 0) {
        int error = find_wanted(s, &wanted, &count);

        if (error < 0)
            return error;
    }
    for (size_t i = 0; i < s->members.count; i++)
        hold_proposals(s, &h, &s->members.items[i].incarnation);
    for (size_t i = 0; i < s->members.count && count > 0; i++)
        hold_fences(s, &h, &s->members.items[i].incarnation, wanted, count);
    cm_free(wanted);
    *ret_count = h.count;
    return 0;
}
