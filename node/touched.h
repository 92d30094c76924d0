/* Which entries the writer has touched since some moment: what was staged of
 * them before is to be looked at again before it counts (writer_stage.c).
 *
 * A set in the order of first notes, in memory alone: what is staged does not
 * outlive the process. Bounded: beyond TOUCHED_BYTES_MAX it only says so, and
 * whatever is staged is given up. */
#ifndef NODE_TOUCHED_H
#define NODE_TOUCHED_H

#include "crdt/base/buffer.h"

#define TOUCHED_BYTES_MAX (64u << 20)

struct touched {
    struct buffer ids; /* [size be16, space key [0x00 element]]… */
    size_t at;         /* of the next that is to be looked at */
    size_t count;      /* from there on */
    uint64_t *slots;   /* owned: 1 + offset into ids; 0: free */
    size_t slots_size; /* a power of two, or 0 */
    size_t slots_used; /* also by those that were looked at */
    uint8_t key[16];   /* of the hash: keys are what peers choose */
    bool overrun;      /* not all could be noted */
};

/* key: 16 bytes that nobody else knows. */
void touched_init(struct touched *t, const uint8_t key[16]);
void touched_clear(struct touched *t); /* and gives the memory back */
/* A key of the store (schema.h), of an entry or of an index of it. One that
 * waits already is not noted twice. */
void touched_note(struct touched *t, struct slice key);
/* The next from *at on, which starts as t->at and moves behind it: the key of
 * its entry. False: no more. */
struct schema_key;
bool touched_next(const struct touched *t, size_t *at,
                  struct schema_key *ret_key);
/* Those before at, count of them, have been looked at. */
void touched_done(struct touched *t, size_t at, size_t count);

#endif
