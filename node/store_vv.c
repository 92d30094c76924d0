/* The version vector, put together from the records of the actors. */
#include <stdlib.h>

#include "crdt/base/alloc.h"
#include "node/store.h"
#include "node/store_txn.h"

struct vv_gather {
    struct vv_entry *entries;
    size_t count;
    size_t capacity;
};

static int gather_actor(void *context, uint32_t actor,
                        const struct schema_actor *record)
{
    struct vv_gather *g = context;

    (void)actor;
    if (record->entry.seq == 0)
        return 0; /* a number without a place in the vector */
    if (g->count == g->capacity) {
        size_t capacity = g->capacity > 0 ? 2 * g->capacity : 16;
        struct vv_entry *grown =
            cm_realloc(g->entries, capacity * sizeof *grown);

        if (grown == NULL)
            return CM_ERR_NOMEM;
        g->entries = grown;
        g->capacity = capacity;
    }
    g->entries[g->count++] = record->entry;
    return 0;
}

static int compare_entries(const void *a, const void *b)
{
    const struct vv_entry *x = a;
    const struct vv_entry *y = b;

    return incarnation_compare(&x->incarnation, &y->incarnation);
}

/* The vector takes over what was gathered, with no room to spare: it may hold
 * thousands that are gone. */
int store_txn_vv(struct store_txn *t, struct vv *ret_vv)
{
    struct vv_gather g = {0};
    int error = store_txn_actors(t, gather_actor, &g);
    struct vv_entry *entries = NULL;

    if (error == 0 && g.count > VV_ENTRIES_MAX)
        error = CM_ERR_LIMIT;
    if (error == 0 && g.count > 0) {
        qsort(g.entries, g.count, sizeof *g.entries, compare_entries);
        entries = cm_realloc(g.entries, g.count * sizeof *g.entries);
        error = entries == NULL ? CM_ERR_NOMEM : 0;
    }
    for (size_t i = 1; error == 0 && i < g.count; i++) {
        if (compare_entries(&entries[i - 1], &entries[i]) >= 0)
            error = CM_ERR_DAMAGED; /* one name, two numbers */
    }
    vv_release(ret_vv);
    vv_init(ret_vv);
    if (error != 0 || g.count == 0) {
        cm_free(entries != NULL ? entries : g.entries);
        return error;
    }
    *ret_vv =
        (struct vv){.entries = entries, .count = g.count, .capacity = g.count};
    return 0;
}

int store_vv(struct store_reader *r, struct vv *ret_vv)
{
    return store_txn_vv(&r->txn, ret_vv);
}
