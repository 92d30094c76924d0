/* Collapse: what everyone has seen removed goes, in the transaction in which
 * the floor moves.
 *
 * Before the next event of the same batch is applied, because that one may name
 * less than what stands here: its origin had collapsed the entry before it
 * wrote. Candidates are found by an index that entries keep up themselves, so
 * that a floor costs what it may take and not the size of the store; what waits
 * for its expiry lies in it by that time and is not touched before. */
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/store_index.h"
#include "node/writer_internal.h"

int collapse_candidates(struct batch *b)
{
    hlc_t floor_time = standing_floor_time(b->w->standing);
    struct schema_key at = {.size = 0};
    int error = 0;

    CHECK(b->changed);
    b->collect_changed = true;
    while (error == 0) {
        struct entry_id id;
        hlc_t after;

        error = index_next_collapse(&b->txn, floor_time, &at, &id, &after);
        if (error == 0)
            error = state_collapse(b, &id);
    }
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

int collapse_look(struct writer *w, struct store_txn *t)
{
    struct schema_key at = {.size = 0};
    struct entry_id id;
    int error = index_next_collapse(t, UINT64_MAX, &at, &id, &w->collect_after);

    w->collectable = error == 0;
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

uint64_t collapse_wall_ms(const struct writer *w)
{
    if (!w->collectable)
        return UINT64_MAX;
    return hlc_wall_ms(w->collect_after) + (hlc_counter(w->collect_after) > 0);
}
