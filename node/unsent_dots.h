/* The names of what is kept unsent, sorted: whether something is kept already
 * is asked of every sibling of a state. */
#ifndef NODE_UNSENT_DOTS_H
#define NODE_UNSENT_DOTS_H

#include "crdt/dot.h"
#include "node/writer_internal.h"

struct unsent_dots {
    struct dot *dots; /* owned */
    size_t count;
    size_t capacity;
};

/* Of the siblings, or of the events. CM_ERR_NOMEM or a store's error; to be
 * released either way. */
int unsent_dots_read(struct unsent_dots *ret_dots, struct batch *b,
                     bool siblings);
bool unsent_dots_have(const struct unsent_dots *d, const struct dot *dot);
void unsent_dots_release(struct unsent_dots *d);

#endif
