/* What follows from all entries together: who is sealed, what has passed.
 *
 * Sealing all of a set at once, and the greatest one, is what keeps overlapping
 * evictions from waiting for each other's victims, and from sealing one
 * incarnation at two places. */
#include <stdlib.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/standing_internal.h"

struct candidate {
    struct incarnation incarnation;
    uint64_t last;
    bool in;
};

static int compare_candidates(const void *a, const void *b)
{
    return incarnation_compare(&((const struct candidate *)a)->incarnation,
                               &((const struct candidate *)b)->incarnation);
}

/* Everybody named by some fence and not sealed; sorted, once each. */
static int find_candidates(const struct standing *s,
                           struct candidate **ret_candidates, size_t *ret_count)
{
    size_t room = 0;
    size_t count = 0;
    size_t kept = 0;
    struct candidate *c;

    for (size_t i = 0; i < s->fences.count; i++)
        room += s->fences.items[i].count;
    c = cm_calloc(room + 1, sizeof *c);
    if (c == NULL)
        return CM_ERR_NOMEM;
    for (size_t i = 0; i < s->fences.count; i++) {
        const struct standing_fence *f = &s->fences.items[i];

        for (size_t k = 0; k < f->count; k++) {
            if (standing_name_counts(s, &f->names[k]) &&
                !floor_is_sealed(&s->floor, &f->names[k].incarnation, NULL))
                c[count++].incarnation = f->names[k].incarnation;
        }
    }
    qsort(c, count, sizeof *c, compare_candidates);
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || compare_candidates(&c[kept - 1], &c[i]) != 0)
            c[kept++] = c[i];
    }
    for (size_t i = 0; i < kept; i++)
        c[i].in = true;
    *ret_candidates = c;
    *ret_count = kept;
    return 0;
}

static const struct candidate *find_candidate(const struct candidate *c,
                                              size_t count,
                                              const struct incarnation *i)
{
    struct candidate wanted = {.incarnation = *i};

    return bsearch(&wanted, c, count, sizeof *c, compare_candidates);
}

static bool is_outside(const struct candidate *c, size_t count,
                       const struct incarnation *i)
{
    const struct candidate *found = find_candidate(c, count, i);

    return found == NULL || !found->in;
}

/* Takes out whom some member outside has not fenced, until nothing changes:
 * whoever is taken out is outside from then on. Returns how many are left; 0
 * when nobody would be outside. */
static size_t shrink(const struct standing *s, struct candidate *c,
                     size_t count)
{
    size_t left = count;
    size_t outside = 0;
    bool changed = true;

    while (changed && left > 0) {
        changed = false;
        outside = 0;
        for (size_t m = 0; m < s->members.count; m++) {
            const struct incarnation *who = &s->members.items[m].incarnation;

            if (!is_outside(c, count, who) && !STANDING_OFF(RULE_ALL_AT_ONCE))
                continue;
            outside++;
            for (size_t i = 0; i < count; i++) {
                if (STANDING_OFF(RULE_ALL_AT_ONCE) &&
                    incarnation_equal(&c[i].incarnation, who))
                    continue;
                if (c[i].in &&
                    !standing_fenced(s, who, &c[i].incarnation, NULL)) {
                    c[i].in = false;
                    left--;
                    changed = true;
                }
            }
        }
    }
    CHECK(left <= count);
    return outside > 0 ? left : 0;
}

static void find_lasts(const struct standing *s, struct candidate *c,
                       size_t count)
{
    for (size_t m = 0; m < s->members.count; m++) {
        const struct incarnation *who = &s->members.items[m].incarnation;

        if (!is_outside(c, count, who))
            continue;
        for (size_t i = 0; i < count; i++) {
            uint64_t seq;

            if (c[i].in && standing_fenced(s, who, &c[i].incarnation, &seq) &&
                (seq > c[i].last || STANDING_OFF(RULE_LAST_IS_GREATEST)))
                c[i].last = seq;
        }
    }
}

/* ---- sealing ---- */

static int remove_all(struct standing *s, const struct standing_store *store,
                      const struct incarnation *i)
{
    struct slice key = slice_of(i->bytes, INCARNATION_SIZE);
    int error;

    standing_member_remove(s, i);
    for (size_t k = s->fences.count; k > 0; k--) {
        if (incarnation_equal(&s->fences.items[k - 1].writer, i))
            standing_forget_fence(s, k - 1);
    }
    error = standing_entry_remove(store, SPACE_ROSTER, key);
    return error < 0 ? error : standing_entry_remove(store, SPACE_FENCE, key);
}

static int seal_one(struct standing *s, const struct standing_store *store,
                    const struct vv *vv, const struct candidate *c,
                    struct standing_changes *changes)
{
    int error = floor_seal(&s->floor, &c->incarnation, c->last);

    if (error == 0)
        error = STANDING_GROW(&s->sealed);
    if (error < 0)
        return error;
    s->sealed.items[s->sealed.count++] = c->incarnation;
    if (vv_seq(vv, &c->incarnation) > c->last)
        changes->overrun = true;
    changes->roster = true;
    return remove_all(s, store, &c->incarnation);
}

static int seal(struct standing *s, const struct standing_store *store,
                const struct vv *vv, struct standing_changes *changes,
                bool *ret_changed)
{
    struct candidate *c;
    size_t count;
    int error = find_candidates(s, &c, &count);

    if (error < 0)
        return error;
    if (shrink(s, c, count) > 0) {
        find_lasts(s, c, count);
        *ret_changed = true;
        for (size_t i = 0; i < count && error == 0; i++) {
            if (c[i].in)
                error = seal_one(s, store, vv, &c[i], changes);
        }
    }
    cm_free(c);
    return error;
}

static bool is_done(const struct standing *s, const struct standing_fence *f)
{
    for (size_t i = 0; i < f->count; i++) {
        if (standing_name_counts(s, &f->names[i]) &&
            !floor_is_sealed(&s->floor, &f->names[i].incarnation, NULL))
            return false;
    }
    return true;
}

static int drop_done(struct standing *s, const struct standing_store *store)
{
    int error = 0;

    for (size_t i = s->fences.count; i > 0 && error == 0; i--) {
        struct incarnation writer = s->fences.items[i - 1].writer;

        if (!is_done(s, &s->fences.items[i - 1]))
            continue;
        standing_forget_fence(s, i - 1);
        error = standing_entry_fences(s, store, &writer, NULL);
    }
    return error;
}

/* ---- passing ---- */

static bool has_passed(const struct standing *s,
                       const struct standing_proposal *p)
{
    if (p->acks_count < s->members.count && !STANDING_OFF(RULE_ALL_MEMBERS_ACK))
        return false;
    for (size_t i = 0; i < s->members.count; i++) {
        if (standing_ack_find(p, &s->members.items[i].incarnation) == NULL &&
            !STANDING_OFF(RULE_ALL_MEMBERS_ACK))
            return false;
    }
    return s->members.count > 0;
}

static int pass_one(struct standing *s, const struct standing_store *store,
                    size_t at, struct standing_changes *changes)
{
    struct standing_proposal *p = &s->proposals.items[at];
    hlc_t least = UINT64_MAX;
    int error = 0;

    for (size_t i = 0; i < p->acks_count; i++) {
        if (STANDING_OFF(RULE_EVICTEES_ACKS) &&
            !standing_is_member(s, &p->acks[i].acker))
            continue;
        if (p->acks[i].hlc < least)
            least = p->acks[i].hlc;
    }
    if (least > s->floor_time)
        s->floor_time = least;
    for (size_t i = 0; i < p->cut_count && error == 0; i++)
        error = floor_raise(&s->floor, &p->cut[i].incarnation, p->cut[i].seq);
    changes->floor = true;
    if (error == 0)
        error = standing_entry_remove(store, SPACE_PROPOSAL,
                                      slice_of(p->key, PROPOSAL_KEY_SIZE));
    standing_proposal_release(p);
    *p = s->proposals.items[--s->proposals.count];
    return error;
}

static int pass(struct standing *s, const struct standing_store *store,
                struct standing_changes *changes)
{
    int error = 0;

    for (size_t i = s->proposals.count; i > 0 && error == 0; i--) {
        if (has_passed(s, &s->proposals.items[i - 1]))
            error = pass_one(s, store, i - 1, changes);
    }
    return error;
}

int standing_due(struct standing *s, const struct standing_store *store,
                 const struct vv *vv, struct standing_changes *ret_changes)
{
    bool changed = true;
    int error = 0;

    s->sealed.count = 0;
    while (changed && error == 0) {
        changed = false;
        error = seal(s, store, vv, ret_changes, &changed);
    }
    if (error == 0)
        error = drop_done(s, store);
    if (error == 0)
        error = pass(s, store, ret_changes);
    standing_prune(s);
    ret_changes->sealed = s->sealed.items;
    ret_changes->sealed_count = s->sealed.count;
    return error;
}

/* An acknowledgement changes nothing that a seal hangs on. */
int standing_due_pass(struct standing *s, const struct standing_store *store,
                      struct standing_changes *ret_changes)
{
    s->sealed.count = 0;
    ret_changes->sealed = s->sealed.items;
    ret_changes->sealed_count = 0;
    return pass(s, store, ret_changes);
}

/* What one side of a join had removed, the other has left something of. */
static int drop_remains(struct standing *s, const struct standing_store *store)
{
    int error = 0;

    for (size_t i = s->proposals.count; i > 0 && error == 0; i--) {
        struct standing_proposal *p = &s->proposals.items[i - 1];

        if (p->cut != NULL)
            continue;
        error = standing_entry_remove(store, SPACE_PROPOSAL,
                                      slice_of(p->key, PROPOSAL_KEY_SIZE));
        standing_proposal_release(p);
        *p = s->proposals.items[--s->proposals.count];
    }
    for (size_t i = s->members.count; i > 0 && error == 0; i--) {
        struct incarnation who = s->members.items[i - 1].incarnation;

        if (floor_is_sealed(&s->floor, &who, NULL))
            error = remove_all(s, store, &who);
    }
    for (size_t i = s->fences.count; i > 0 && error == 0; i--) {
        struct incarnation writer = s->fences.items[i - 1].writer;

        if (!standing_is_member(s, &writer)) {
            standing_forget_fence(s, i - 1);
            error = standing_entry_remove(
                store, SPACE_FENCE, slice_of(writer.bytes, INCARNATION_SIZE));
        } else {
            error = standing_entry_fences(s, store, &writer, NULL);
        }
    }
    return error;
}

int standing_settle(struct standing *s, const struct standing_store *store,
                    const struct vv *vv, struct standing_changes *ret_changes)
{
    int error;

    *ret_changes = (struct standing_changes){0};
    error = STANDING_OFF(RULE_DROP_REMAINS) ? 0 : drop_remains(s, store);
    standing_level_settle(s);
    return error < 0 ? error : standing_due(s, store, vv, ret_changes);
}

/* ---- joining ---- */

/* Where both remember an epoch they have to agree. */
static int check_chains(const struct standing *s, const struct standing *other)
{
    uint64_t least = s->epoch < other->epoch ? s->epoch : other->epoch;

    for (uint64_t epoch = least; epoch > 0; epoch--) {
        const struct hash *a = standing_chain_at(s, epoch);
        const struct hash *b = standing_chain_at(other, epoch);

        if (a == NULL || b == NULL)
            break;
        if (!hash_equal(a, b))
            return CM_ERR_EVICTION_CONFLICT;
    }
    return 0;
}

int standing_join(struct standing *s, const struct standing *other)
{
    int error = check_chains(s, other);

    if (error == 0)
        error = floor_join(&s->floor, &other->floor);
    if (error == 0)
        error = standing_level_join(s, other);
    if (error < 0)
        return error;
    if (other->floor_time > s->floor_time)
        s->floor_time = other->floor_time;
    if (other->epoch > s->epoch) {
        s->epoch = other->epoch;
        memcpy(s->chain, other->chain, sizeof s->chain);
    }
    if (floor_is_sealed(&s->floor, &s->founder, NULL))
        standing_member_remove(s, &s->founder);
    return 0;
}

static bool is_beyond(const struct floor *seals, const struct vv *vv)
{
    for (size_t i = 0; i < vv->count; i++) {
        uint64_t last;

        if (floor_is_sealed(seals, &vv->entries[i].incarnation, &last) &&
            vv->entries[i].seq > last)
            return true;
    }
    return false;
}

/* How much of i the fences that others wrote let in, by what the cut knows. A
 * seal in it is no proof: an evictee may have added a newcomer beyond the seal
 * to be, and that one's fence seals it there at more. For the same reason only
 * members known here count. */
static uint64_t let_in(const struct standing *s, const struct incarnation *self,
                       const struct standing *other,
                       const struct incarnation *i)
{
    uint64_t ret = 0;
    uint64_t seq;

    for (size_t k = 0; k < other->members.count; k++) {
        const struct incarnation *who = &other->members.items[k].incarnation;

        if (!incarnation_equal(who, self) && standing_stays(s, who) &&
            !standing_is_evictee(other, who) &&
            standing_fenced(other, who, i, &seq) && seq > ret)
            ret = seq;
    }
    for (size_t k = 0; k < s->announced.count; k++) {
        const struct standing_fence *f = &s->announced.items[k];
        const struct standing_name *n = standing_fence_name(f, i);

        if (n != NULL && n->seq > ret && standing_stays(s, &f->writer) &&
            !incarnation_equal(&f->writer, self))
            ret = n->seq;
    }
    return ret;
}

int standing_admits(const struct standing *s, const struct incarnation *self,
                    const struct vv *vv, const struct standing *other,
                    const struct vv *other_vv)
{
    int error = check_chains(s, other);

    if (error < 0)
        return error;
    if (is_beyond(&s->floor, other_vv) || is_beyond(&other->floor, vv))
        return CM_ERR_SEALED;
    for (size_t i = 0; self != NULL && i < other_vv->count &&
                       !STANDING_OFF(RULE_ADMIT_BY_FENCES);
         i++) {
        const struct vv_entry *e = &other_vv->entries[i];

        if (e->seq > vv_seq(vv, &e->incarnation) &&
            standing_fenced(s, self, &e->incarnation, NULL) &&
            e->seq > let_in(s, self, other, &e->incarnation))
            return CM_ERR_PENDING;
    }
    return 0;
}
