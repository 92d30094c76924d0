/* Why all siblings, and not each one that is below the floor: dropping the
 * winner alone shows the loser that it beat, dropping a loser alone lets it win
 * where a later write named one and not the other. */
#include "crdt/collapse.h"

#include "crdt/base/check.h"

static size_t count_kind(const struct entry *e, enum sibling_kind kind)
{
    size_t ret = 0;

    for (size_t i = 0; i < e->count; i++)
        ret += e->siblings[i].kind == kind;
    return ret;
}

bool entry_may_collapse(const struct entry *e)
{
    const struct sibling *only = e->siblings;

    if (e->count == 0 || only->kind >= SIBLING_MEMBER)
        return false;
    if (e->count > 1)
        return count_kind(e, SIBLING_REVOKE) < e->count;
    return only->kind == SIBLING_TOMBSTONE || only->expires != 0;
}

static bool is_below(const struct entry *e, const struct floor *floor)
{
    for (size_t i = 0; i < e->count; i++) {
        if (!floor_covers(floor, &e->siblings[i].dot))
            return false;
    }
    return true;
}

static void keep_revokes(struct entry *e)
{
    size_t kept = 0;

    for (size_t i = 0; i < e->count; i++) {
        if (e->siblings[i].kind != SIBLING_REVOKE)
            continue;
        if (kept != i)
            e->siblings[kept] = e->siblings[i];
        kept++;
    }
    CHECK(kept > 0);
    e->count = kept;
}

void entry_collapse(struct entry *e, const struct floor *floor,
                    hlc_t floor_time, bool *ret_changed)
{
    size_t before = e->count;
    struct resolution r;

    if (ret_changed != NULL)
        *ret_changed = false;
    if (!entry_may_collapse(e) || !is_below(e, floor))
        return;
    r = entry_resolve(e, floor_time);
    CHECK(r.winner != NULL);
    if (r.revoke != NULL) {
        keep_revokes(e);
    } else if (!r.present) {
        e->count = 0;
    } else {
        e->siblings[0] = *r.winner;
        e->count = 1;
    }
    CHECK(e->count <= before);
    if (ret_changed != NULL)
        *ret_changed = e->count != before;
}
