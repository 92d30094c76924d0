/* Two sorted lists of siblings, walked together. */
#include "crdt/join.h"

#include "crdt/base/check.h"

static bool same_contents(const struct sibling *a, const struct sibling *b)
{
    return a->kind == b->kind && a->hlc == b->hlc && a->expires == b->expires &&
           a->flags == b->flags && slice_equal(a->author, b->author) &&
           slice_equal(a->value, b->value);
}

/* s is here and not there: kept unless the other side has seen it. */
static int take_one(struct entry *ret, const struct sibling *s,
                    const struct vv *other)
{
    if (vv_covers(other, &s->dot))
        return 0;
    return entry_add_sibling(ret, s);
}

static int join_into(struct entry *ret, const struct entry *a,
                     const struct vv *a_vv, const struct entry *b,
                     const struct vv *b_vv)
{
    size_t i = 0;
    size_t j = 0;
    int error = 0;

    while (error == 0 && (i < a->count || j < b->count)) {
        const struct sibling *x = i < a->count ? &a->siblings[i] : NULL;
        const struct sibling *y = j < b->count ? &b->siblings[j] : NULL;
        int order = x == NULL   ? 1
                    : y == NULL ? -1
                                : dot_compare(&x->dot, &y->dot);

        if (order < 0)
            error = take_one(ret, x, b_vv);
        else if (order > 0)
            error = take_one(ret, y, a_vv);
        else
            error =
                same_contents(x, y) ? entry_add_sibling(ret, x) : CM_ERR_FORK;
        i += order <= 0;
        j += order >= 0;
    }
    return error;
}

int entry_join(struct entry *ret, const struct entry *a, const struct vv *a_vv,
               const struct entry *b, const struct vv *b_vv)
{
    int error;

    CHECK(ret != a && ret != b);
    entry_init(ret);
    error = join_into(ret, a, a_vv, b, b_vv);
    if (error < 0)
        entry_release(ret);
    return error;
}

int vv_join(struct vv *ret, const struct vv *a, const struct vv *b)
{
    struct vv joined;
    int error = vv_copy(&joined, a);

    if (error < 0)
        return error;
    for (size_t i = 0; i < b->count && error == 0; i++) {
        const struct vv_entry *theirs = &b->entries[i];
        const struct vv_entry *ours = vv_find(a, &theirs->incarnation);

        if (ours == NULL || ours->seq < theirs->seq)
            error = vv_set(&joined, &theirs->incarnation, theirs->seq,
                           &theirs->head);
        else if (ours->seq == theirs->seq &&
                 !hash_equal(&ours->head, &theirs->head))
            error = CM_ERR_FORK;
    }
    if (error < 0)
        vv_release(&joined);
    else
        *ret = joined;
    return error;
}
