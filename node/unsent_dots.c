/* Sorted once, then searched: see unsent_dots.h. */
#include "node/unsent_dots.h"

#include <stdlib.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/unsent.h"

static int compare(const void *a, const void *b)
{
    return dot_compare(a, b);
}

static int add(struct unsent_dots *d, const struct dot *dot)
{
    if (d->count == d->capacity) {
        size_t capacity = d->capacity > 0 ? 2 * d->capacity : 64;
        struct dot *grown = cm_realloc(d->dots, capacity * sizeof *grown);

        if (grown == NULL)
            return CM_ERR_NOMEM;
        d->dots = grown;
        d->capacity = capacity;
    }
    d->dots[d->count++] = *dot;
    return 0;
}

int unsent_dots_read(struct unsent_dots *ret_dots, struct batch *b,
                     bool siblings)
{
    struct unsent_dots *d = ret_dots;
    struct unsent u = {.id = 0};
    int error;

    *d = (struct unsent_dots){.dots = NULL};
    while ((error = unsent_next(&b->txn, u.id, &u)) == 0) {
        error = u.sibling == siblings ? add(d, &u.dot) : 0;
        if (error != 0)
            return error;
    }
    if (d->count > 1)
        qsort(d->dots, d->count, sizeof *d->dots, compare);
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

bool unsent_dots_have(const struct unsent_dots *d, const struct dot *dot)
{
    CHECK(d->count <= d->capacity);
    return d->count > 0 &&
           bsearch(dot, d->dots, d->count, sizeof *d->dots, compare) != NULL;
}

void unsent_dots_release(struct unsent_dots *d)
{
    cm_free(d->dots);
    *d = (struct unsent_dots){.dots = NULL};
}
