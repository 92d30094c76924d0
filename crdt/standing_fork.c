/* Forks under fences: which of two branches stands.
 *
 * An evicted incarnation may have signed two events under one name, and those
 * that stay have built on different ones. Each one's fence is inapplicable at
 * the other, so nobody could seal; the hashes in what fences cover decide, at
 * every replica alike, and whoever holds the other branch returns
 * (sim/models/fork.pml). */
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/standing_internal.h"

#define VOICES_MAX 1024 /* members beyond these have no say: none is undone */

/* Writers that have lost an earlier fork. */
struct losers {
    struct incarnation list[VOICES_MAX];
    size_t count;
};

static bool has_lost(const struct losers *l, const struct incarnation *i)
{
    for (size_t k = 0; k < l->count; k++)
        if (incarnation_equal(&l->list[k], i))
            return true;
    return false;
}

struct ballot {
    const struct standing *s;    /* says who stays */
    const struct standing *also; /* what is known besides; NULL: nothing */
    const struct incarnation *self;
    const struct vv_entry *mine;
    struct losers *losers;
    struct hash lowest;           /* that is covered at mine's seq… */
    struct incarnation lowest_by; /* …by a fence of this one */
    bool disputed;
};

/* Of one standing all that stay have a say; of two, who stays by the first and
 * is not on its way out by the other. */
static bool has_say(const struct ballot *b, const struct incarnation *i)
{
    return !incarnation_equal(i, b->self) && !has_lost(b->losers, i) &&
           standing_stays(b->s, i) &&
           (b->also == NULL || (!standing_is_evictee(b->also, i) &&
                                !standing_is_sealed(b->also, i, NULL)));
}

/* What f covers at mine's seq, if its writer has a say; NULL: nothing. */
static const struct hash *vote_of(const struct ballot *b,
                                  const struct standing_fence *f)
{
    static const struct hash none;
    const struct standing_name *n =
        standing_fence_name(f, &b->mine->incarnation);

    if (n == NULL || n->seq != b->mine->seq || hash_equal(&n->head, &none) ||
        !has_say(b, &f->writer))
        return NULL;
    return &n->head;
}

static void hear(struct ballot *b, const struct standing_fence *f)
{
    const struct hash *head = vote_of(b, f);

    if (head == NULL)
        return;
    b->disputed = b->disputed || !hash_equal(head, &b->mine->head);
    if (memcmp(head->bytes, b->lowest.bytes, HASH_SIZE) < 0) {
        b->lowest = *head;
        b->lowest_by = f->writer;
    }
}

static void exclude(struct ballot *b, const struct standing_fence *f)
{
    const struct hash *head = vote_of(b, f);

    if (head != NULL && !hash_equal(head, &b->lowest) &&
        b->losers->count < VOICES_MAX)
        b->losers->list[b->losers->count++] = f->writer;
}

/* All fences known, applied ones and announced ones. */
static void each_fence(struct ballot *b,
                       void (*visit)(struct ballot *b,
                                     const struct standing_fence *f))
{
    const struct standing *all[2] = {b->s, b->also};

    for (size_t k = 0; k < 2 && all[k] != NULL; k++) {
        for (size_t i = 0; i < all[k]->fences.count; i++)
            visit(b, &all[k]->fences.items[i]);
        for (size_t i = 0; i < all[k]->announced.count; i++)
            visit(b, &all[k]->announced.items[i]);
    }
}

/* Who is sealed by the one that says who stays was decided there. */
static bool is_open(const struct ballot *b, const struct incarnation *i)
{
    return standing_is_evictee(b->s, i) ||
           (b->also != NULL && !standing_is_sealed(b->s, i, NULL) &&
            standing_is_evictee(b->also, i));
}

/* Whether f, whoever wrote it, covers another event than vv holds there. */
static bool differs(const struct standing_fence *f, const struct vv *vv)
{
    static const struct hash none;

    for (size_t i = 0; i < f->count; i++) {
        const struct standing_name *n = &f->names[i];
        const struct vv_entry *e = vv_find(vv, &n->incarnation);

        if (e != NULL && e->seq == n->seq && !hash_equal(&e->head, &n->head) &&
            !hash_equal(&n->head, &none))
            return true;
    }
    return false;
}

/* Mostly nobody holds another branch than anybody else, and that is soon told:
 * this is asked at every commit. */
static bool may_dispute(const struct ballot *b, const struct vv *vv)
{
    const struct standing *all[2] = {b->s, b->also};

    for (size_t k = 0; k < 2 && all[k] != NULL; k++) {
        for (size_t i = 0; i < all[k]->fences.count; i++)
            if (differs(&all[k]->fences.items[i], vv))
                return true;
        for (size_t i = 0; i < all[k]->announced.count; i++)
            if (differs(&all[k]->announced.items[i], vv))
                return true;
    }
    return false;
}

/* Whether vv holds a branch that lost. b has what is known. */
static bool has_lost_branch(struct ballot *b, const struct vv *vv,
                            struct standing_lost *ret_lost)
{
    struct losers losers = {.count = 0};

    b->losers = &losers;
    for (size_t i = 0; i < vv->count; i++) { /* sorted: the same everywhere */
        b->mine = &vv->entries[i];
        b->lowest = b->mine->head;
        b->disputed = false;
        if (!is_open(b, &b->mine->incarnation))
            continue;
        each_fence(b, hear);
        if (!b->disputed)
            continue;
        if (!hash_equal(&b->lowest, &b->mine->head)) {
            if (ret_lost != NULL)
                *ret_lost = (struct standing_lost){.fork = b->mine->incarnation,
                                                   .to = b->lowest_by};
            return true;
        }
        each_fence(b, exclude);
    }
    CHECK(losers.count <= VOICES_MAX);
    return false;
}

static bool has_fences(const struct standing *s)
{
    return s->fences.count > 0 || s->announced.count > 0;
}

bool standing_holds_lost_branch(const struct standing *s,
                                const struct incarnation *self,
                                const struct vv *vv,
                                struct standing_lost *ret_lost)
{
    struct ballot b = {.s = s, .self = self};

    return has_fences(s) && may_dispute(&b, vv) &&
           has_lost_branch(&b, vv, ret_lost);
}

bool standing_cut_has_lost(const struct standing *s,
                           const struct incarnation *self,
                           const struct standing *cut, const struct vv *cut_vv,
                           struct standing_lost *ret_lost)
{
    struct ballot b = {.s = cut, .also = s, .self = self};

    if (STANDING_OFF(RULE_FORGET_NOTHING))
        b.also = NULL;
    return (has_fences(s) || has_fences(cut)) && may_dispute(&b, cut_vv) &&
           has_lost_branch(&b, cut_vv, ret_lost);
}
