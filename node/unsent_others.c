/* What another node wrote, the mesh never got, and a returning node had.
 *
 * Its writer takes it into its next life itself, as long as its disk has it.
 * Where that disk went back or is gone, the copy here may be the last one; but
 * whoever evicted the writer may have done so because of this very write. So it
 * is listed until the state shows the same, whoever wrote it, or a person has
 * decided. A loser stays listed: its writer may not be there to list it. */
#include "crdt/base/check.h"
#include "node/unsent.h"
#include "node/writer_internal.h"

/* A revoke wins over whatever it was; what is absent cannot be taken away. */
static bool is_shown(const struct entry *e, const struct op *op, hlc_t hlc,
                     hlc_t now)
{
    struct resolution r = entry_resolve(e, now);
    struct sibling left = {.hlc = hlc,
                           .expires = op->expires,
                           .flags = op->flags,
                           .value = op->value};

    if (op->kind == OP_DEL || op->kind == OP_SET_REMOVE)
        return !r.present;
    if (r.revoke != NULL && op->kind != OP_REVOKE && op->kind != OP_SET_REVOKE)
        return true;
    left.kind = sibling_kind_of(op->kind);
    return entry_shows(e, &left);
}

static int all_are_shown(struct batch *b, const struct unsent_ops *ops,
                         bool *ret_are)
{
    bool are = true;
    int error = 0;

    for (size_t i = 0; i < ops->count && are && error == 0; i++) {
        struct entry_id id = op_entry_id(&ops->ops[i]);

        if (!unsent_is_client_op(&ops->ops[i]))
            continue;
        error = store_txn_entry(&b->txn, &id, &b->w->entry, NULL);
        if (error == CM_ERR_NOT_FOUND)
            error = 0; /* and the entry is empty */
        if (error == 0)
            are = is_shown(&b->w->entry, &ops->ops[i], ops->hlc, b->now);
    }
    *ret_are = error == 0 && are;
    return error == CM_ERR_DAMAGED ? 0 : error; /* until it is mended */
}

int unsent_others_are_shown(struct batch *b, const struct unsent *u,
                            bool *ret_are)
{
    struct unsent_ops ops;
    int error;

    CHECK(u->state == UNSENT_OTHERS);
    *ret_are = vv_covers(&b->w->vv, &u->dot);
    if (*ret_are)
        return 0;
    error = unsent_open(&ops, u);
    if (error == CM_ERR_DAMAGED)
        return 0; /* a person is told of it */
    if (error == 0) {
        /* What a later format says is for a later program to see. */
        if (!ops.has_event || !ops.event.has_unknown_op)
            error = all_are_shown(b, &ops, ret_are);
        unsent_close(&ops);
    }
    return error;
}
