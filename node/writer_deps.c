/* What an own event depends on.
 *
 * "deps = the VV entries, other than its own, changed since the VV persisted
 * with the origin's previous event." An acknowledgement names fewer: it depends
 * on the proposal that it answers, and so on whatever that depends on. What the
 * proposal or an event of its writer before it names, which is nearly always
 * the former floor's acknowledgements of all members, it need not name again:
 * where it is applied, the proposal is, and nowhere is an event applied before
 * what it names. So a floor among N members costs each of them N small events,
 * not N that grow with N. Only what is named counts, not the cut that is
 * proposed: nothing makes a proposal name all that it speaks of. */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/writer_internal.h"

static int add_dep(struct own_event *own, const struct dot *dot)
{
    if (own->deps_count == own->deps_capacity) {
        size_t capacity = own->deps_capacity > 0 ? 2 * own->deps_capacity : 8;
        struct dot *grown = cm_realloc(own->deps, capacity * sizeof *grown);

        if (grown == NULL)
            return CM_ERR_NOMEM;
        own->deps = grown;
        own->deps_capacity = capacity;
    }
    own->deps[own->deps_count++] = *dot;
    return 0;
}

#define IMPLYING_MAX 64 /* events of the proposer that are looked at */

/* Both vectors are sorted. */
int deps_gather(struct writer *w)
{
    size_t j = 0;
    int error = 0;

    w->own.deps_count = 0;
    w->own.implied_count = 0;
    for (size_t i = 0; i < w->vv.count && error == 0; i++) {
        const struct vv_entry *e = &w->vv.entries[i];
        uint64_t known = 0;

        while (j < w->known.count &&
               incarnation_compare(&w->known.entries[j].incarnation,
                                   &e->incarnation) < 0)
            j++;
        if (j < w->known.count &&
            incarnation_equal(&w->known.entries[j].incarnation,
                              &e->incarnation))
            known = w->known.entries[j].seq;
        if (e->seq > known && !incarnation_equal(&e->incarnation, &w->self)) {
            struct dot dot = {.incarnation = e->incarnation, .seq = e->seq};

            error = add_dep(&w->own, &dot);
        }
    }
    return error;
}

static bool is_named(const struct event *e, const struct dot *d)
{
    for (size_t i = 0; i < e->deps_count; i++)
        if (incarnation_equal(&e->deps[i].incarnation, &d->incarnation))
            return e->deps[i].seq >= d->seq;
    return false;
}

/* Those that stay keep their order; what follows them is named no more. */
static void leave_out(struct own_event *own, const struct event *e)
{
    size_t all = own->deps_count;
    size_t kept = 0;

    for (size_t i = 0; i < all; i++) {
        struct dot d = own->deps[i];

        if (is_named(e, &d))
            continue;
        own->deps[i] = own->deps[kept];
        own->deps[kept++] = d;
    }
    own->deps_count = kept;
    own->implied_count += all - kept;
}

/* The proposal, or one that its writer wrote before it. CM_ERR_NOT_FOUND,
 * CM_ERR_DAMAGED: it came with a cut, or has rotted. */
static int leave_out_named(struct batch *b, const struct dot *dot)
{
    struct slice bytes;
    struct event e;
    int error = store_txn_event(&b->txn, dot, &bytes);

    if (error == 0)
        error = event_decode(&e, bytes);
    if (error != 0)
        return error;
    leave_out(&b->w->own, &e);
    event_release(&e);
    return 0;
}

int deps_imply(struct batch *b, const uint8_t key[PROPOSAL_KEY_SIZE])
{
    struct writer *w = b->w;
    struct dot dot = {.seq = get_be64(key + INCARNATION_SIZE)};
    uint64_t known;
    int error = 0;

    memcpy(dot.incarnation.bytes, key, INCARNATION_SIZE);
    CHECK(!w->own.open && vv_covers(&w->vv, &dot));
    known = vv_seq(&w->known, &dot.incarnation);
    for (unsigned i = 0; i < IMPLYING_MAX && dot.seq > known && error == 0 &&
                         w->own.deps_count > 1;
         i++, dot.seq--)
        error = leave_out_named(b, &dot);
    CM_MARK_IF(w->own.implied_count > 0, "floor: the proposal names it");
    CHECK(w->own.deps_count > 0 || w->own.implied_count == 0);
    return error == CM_ERR_NOT_FOUND || error == CM_ERR_DAMAGED ? 0 : error;
}

int deps_remember(struct batch *b)
{
    struct writer *w = b->w;
    size_t count = w->own.deps_count + w->own.implied_count;
    struct hash none = {{0}};
    int error = 0;

    for (size_t i = 0; i < count && error == 0; i++) {
        const struct dot *d = &w->own.deps[i];

        error = vv_set(&w->known, &d->incarnation, d->seq, &none);
        if (error == 0)
            error = state_actor_dirty(b, &d->incarnation);
    }
    return error;
}
