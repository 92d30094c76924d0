/* A look at an event's name without decoding the whole: enough to drop what
 * is known already and to merge streams by time. Nothing is checked beyond
 * the bytes that are read; event_decode decides. */
#ifndef CRDT_EVENT_PEEK_H
#define CRDT_EVENT_PEEK_H

#include "crdt/dot.h"
#include "crdt/generation.h"
#include "crdt/hlc.h"

struct event_peek {
    struct mesh_id mesh;
    struct generation_id generation;
    struct dot dot;
    hlc_t hlc;
    struct slice header; /* borrowed: what event_hash_of_header takes */
};

/* CM_ERR_MALFORMED, CM_ERR_NONCANONICAL, CM_ERR_FORMAT_VERSION. */
int event_peek(struct event_peek *ret_peek, struct slice bytes);

#endif
