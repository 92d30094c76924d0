/* Expiry: telling watchers that something ended.
 *
 * Whether an entry has expired is a pure function of its siblings and the
 * time, evaluated by every reader for itself; nothing has to be written for
 * that, and no event says it. What has to be written is that watchers were
 * told: a commit of this node alone, with a revision and a change record, which
 * takes the entry out of the index of expiries. Every batch does what is due;
 * the node's timer sends an empty one when nothing else comes. */
#include "crdt/base/check.h"
#include "node/store_index.h"
#include "node/writer_internal.h"

/* Whether the winner that the index speaks of is still there, and its dot. */
static int expired_winner(struct batch *b, const struct entry_id *id, hlc_t due,
                          struct dot *ret_dot)
{
    struct entry *e = &b->w->entry;
    struct resolution r;
    int error = store_txn_entry(&b->txn, id, e, NULL);

    if (error != 0)
        return error;
    r = entry_resolve(e, b->now);
    if (!r.expired || r.winner->expires != due)
        return CM_ERR_NOT_FOUND;
    *ret_dot = r.winner->dot;
    return 0;
}

static int expire_one(struct batch *b, const struct entry_id *id, hlc_t due)
{
    struct writer *w = b->w;
    struct dot dot;
    uint32_t actor = 0;
    int error = expired_winner(b, id, due, &dot);

    if (error == 0 &&
        !actors_find(store_actors(w->store), &dot.incarnation, &actor))
        error = CM_ERR_DAMAGED;
    if (error == 0)
        error = change_log_expire(&w->log, id, actor, dot.seq, due);
    else if (error == CM_ERR_NOT_FOUND || error == CM_ERR_DAMAGED)
        error = 0; /* nothing that could be told of it */
    return error != 0 ? error : index_drop_due(&b->txn, id, due);
}

int expire_due(struct batch *b)
{
    struct writer *w = b->w;
    int error = 0;

    if (w->next_due == 0 || w->next_due > b->now)
        return 0;
    for (unsigned i = 0; i < WRITER_EXPIRIES_MAX && error == 0; i++) {
        struct schema_key key;
        struct entry_id id;
        hlc_t due;

        error = index_first_due(&b->txn, &key, &id, &due);
        if (error != 0 || due > b->now)
            break;
        b->changed = true;
        b->due_changed = true;
        error = expire_one(b, &id, due);
    }
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

int expire_look(struct writer *w, struct store_txn *t)
{
    struct schema_key key;
    struct entry_id id;
    int error = index_first_due(t, &key, &id, &w->next_due);

    if (error == CM_ERR_NOT_FOUND) {
        w->next_due = 0;
        error = 0;
    }
    return error;
}

uint64_t expire_wall_ms(const struct writer *w)
{
    if (w->next_due == 0)
        return UINT64_MAX;
    return hlc_wall_ms(w->next_due) + (hlc_counter(w->next_due) > 0);
}
