/* Floor: what only ever grows, for each incarnation.
 *
 * up_to: everything up to that seq is causally stable, may be compacted, and
 * no longer has event bytes. last: the seal; nothing of the incarnation beyond
 * it is ever applied. One table for both, 32 bytes a row, because a mesh that
 * replaces its nodes gathers thousands of incarnations that are gone. */
#ifndef CRDT_FLOOR_H
#define CRDT_FLOOR_H

#include "crdt/vv.h"

#define FLOOR_ROWS_MAX VV_ENTRIES_MAX
#define FLOOR_UNSEALED UINT64_MAX

struct floor_row {
    struct incarnation incarnation;
    uint64_t up_to; /* 0: nothing yet */
    uint64_t last;  /* FLOOR_UNSEALED, or the last seq; 0: never seen */
};

struct floor {
    struct floor_row *rows; /* owned, sorted by incarnation */
    size_t count;
    size_t capacity;
};

void floor_init(struct floor *f);
void floor_release(struct floor *f);
int floor_copy(struct floor *ret_copy, const struct floor *f);
/* NULL when absent. Valid until the next change of f. */
const struct floor_row *floor_find(const struct floor *f,
                                   const struct incarnation *i);
bool floor_covers(const struct floor *f, const struct dot *d);
/* ret_last may be NULL; written when it is sealed. */
bool floor_is_sealed(const struct floor *f, const struct incarnation *i,
                     uint64_t *ret_last);
/* Raises up_to; a lower seq changes nothing. CM_ERR_NOMEM, CM_ERR_LIMIT. */
int floor_raise(struct floor *f, const struct incarnation *i, uint64_t seq);
/* Seals; CM_ERR_FORK if it is sealed at another seq already. */
int floor_seal(struct floor *f, const struct incarnation *i, uint64_t last);
/* Both, of every row of other. */
int floor_join(struct floor *f, const struct floor *other);
/* [[incarnation, up_to]… or [incarnation, up_to, last]…] sorted. */
void floor_pack(struct buffer *out, const struct floor *f);
/* ret is initialised and to be released also after an error (it is in u). */
void floor_unpack(struct unpacker *u, struct floor *ret_floor);

#endif
