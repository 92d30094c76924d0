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
    const struct standing *s;
    const struct incarnation *self;
    const struct vv_entry *mine;
    struct losers *losers;
    struct hash lowest; /* that is covered at mine's seq */
    bool disputed;
};

/* What f covers at mine's seq, if its writer has a say; NULL: nothing. */
static const struct hash *vote_of(const struct ballot *b,
                                  const struct standing_fence *f)
{
    static const struct hash none;
    const struct standing_name *n =
        standing_fence_name(f, &b->mine->incarnation);

    if (n == NULL || n->seq != b->mine->seq || hash_equal(&n->head, &none) ||
        incarnation_equal(&f->writer, b->self) ||
        has_lost(b->losers, &f->writer) || !standing_stays(b->s, &f->writer))
        return NULL;
    return &n->head;
}

static void hear(struct ballot *b, const struct standing_fence *f)
{
    const struct hash *head = vote_of(b, f);

    if (head == NULL)
        return;
    b->disputed = b->disputed || !hash_equal(head, &b->mine->head);
    if (memcmp(head->bytes, b->lowest.bytes, HASH_SIZE) < 0)
        b->lowest = *head;
}

static void exclude(struct ballot *b, const struct standing_fence *f)
{
    const struct hash *head = vote_of(b, f);

    if (head != NULL && !hash_equal(head, &b->lowest) &&
        b->losers->count < VOICES_MAX)
        b->losers->list[b->losers->count++] = f->writer;
}

/* All fences known here, applied ones and announced ones. */
static void each_fence(struct ballot *b,
                       void (*visit)(struct ballot *b,
                                     const struct standing_fence *f))
{
    for (size_t i = 0; i < b->s->fences.count; i++)
        visit(b, &b->s->fences.items[i]);
    for (size_t i = 0; i < b->s->announced.count; i++)
        visit(b, &b->s->announced.items[i]);
}

bool standing_holds_lost_branch(const struct standing *s,
                                const struct incarnation *self,
                                const struct vv *vv,
                                struct incarnation *ret_fork)
{
    struct losers losers = {.count = 0};

    for (size_t i = 0; i < vv->count; i++) { /* sorted: the same everywhere */
        struct ballot b = {.s = s,
                           .self = self,
                           .mine = &vv->entries[i],
                           .losers = &losers,
                           .lowest = vv->entries[i].head};

        if (!standing_is_evictee(s, &b.mine->incarnation))
            continue;
        each_fence(&b, hear);
        if (!b.disputed)
            continue;
        if (!hash_equal(&b.lowest, &b.mine->head)) {
            if (ret_fork != NULL)
                *ret_fork = b.mine->incarnation;
            return true;
        }
        each_fence(&b, exclude);
    }
    CHECK(losers.count <= VOICES_MAX);
    return false;
}
