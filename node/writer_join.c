/* Catch-up by a cut: "joining keeps sibling s if the other side also has s, or
 * s's dot is beyond the other's version vector" (crdt/join.h).
 *
 * The long part was done before, by a worker: it compared the cut with the
 * state as of some revision R and spooled the entries in which a join would
 * change that state, as the cut has them (cut_diff.c). Here each of them is
 * joined with what the transaction holds, however it came there. Entries
 * outside of the difference need no look: since before R nothing that the cut
 * covers was applied (w->adopting), so whatever was added since lies beyond the
 * cut's vector and stays, and whatever was removed since is covered by this
 * one. */
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "crdt/join.h"
#include "node/writer_internal.h"

static int join_entry(struct batch *b, const struct replacement *r,
                      const struct entry_id *id, const struct entry *theirs,
                      struct cm_detail *detail)
{
    struct writer *w = b->w;
    struct entry_local local = {0};
    struct entry joined;
    int error = adopt_check_entry(id, theirs, r->vv, detail);

    if (error != 0)
        return error;
    error = store_txn_entry(&b->txn, id, &w->entry, &local);
    if (error == CM_ERR_NOT_FOUND) {
        w->entry.count = 0;
        error = 0;
    }
    if (error == 0)
        error = entry_join(&joined, &w->entry, &w->vv, theirs, r->vv);
    if (error == CM_ERR_FORK)
        return cm_fail(detail, CM_ERR_FORK,
                       "the state to adopt has another event under a name that "
                       "is known here");
    if (error != 0)
        return error;
    if (!entry_same_dots(&joined, &w->entry))
        error = state_exchange(b, id, &w->entry, &joined, &local);
    entry_release(&joined);
    return error;
}

static int join_entries(struct batch *b, const struct replacement *r,
                        struct cm_detail *detail)
{
    int error = 0;

    while (error == 0) {
        struct entry_id id;
        const struct entry *entry;

        error = r->next(r->context, &id, &entry);
        if (error == 0)
            error = join_entry(b, r, &id, entry, detail);
    }
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

static int join_vector(struct batch *b, const struct replacement *r,
                       struct vv *ret_vv, struct cm_detail *detail)
{
    struct writer *w = b->w;
    int error;

    if (vv_seq(r->vv, &w->self) > vv_seq(&w->vv, &w->self)) {
        w->hazard = true;
        return cm_fail(detail, CM_ERR_FORK,
                       "the state to adopt holds later events of this node "
                       "than its own disk: its directory was rolled back or "
                       "cloned");
    }
    error = vv_join(ret_vv, &w->vv, r->vv);
    if (error == CM_ERR_FORK)
        return cm_fail(detail, error,
                       "the state to adopt and this one differ in the event "
                       "that they have under one name");
    return error;
}

int adopt_join(struct batch *b, const struct replacement *r,
               struct cm_detail *detail)
{
    struct writer *w = b->w;
    struct vv joined;
    struct hash found;
    int error;

    if (!b->ready || !vv_equal(&w->adopting, r->vv))
        return cm_fail(detail, CM_ERR_INVALID,
                       "the state to adopt was compared with another one");
    error = join_vector(b, r, &joined, detail);
    if (error != 0)
        return error;
    error = adopt_name_actors(b, r->vv);
    if (error == 0)
        error = r->staged != NULL ? stage_flip(b, r->staged, detail)
                                  : join_entries(b, r, detail);
    vv_release(&w->vv);
    w->vv = joined; /* an abort loads the former one */
    if (error == 0)
        error = adopt_join_standing(b, r, detail);
    if (error != 0 || r->state_digest == NULL || !vv_equal(&joined, r->vv))
        return error;
    CM_MARK("cut: joined, and equal to its source");
    found = digest_finish(&w->digest, &w->vv);
    if (!hash_equal(&found, r->state_digest))
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "joined with the cut, this state is not the one that "
                       "the cut's source has at the same version vector");
    return 0;
}
