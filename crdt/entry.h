/* An entry: the siblings of one key (or of one element of a set).
 *
 * A sibling is one dotted value, tombstone or revoke that no later write has
 * superseded. Applying an operation removes the siblings that it names and
 * adds its own (set-remove adds none): that is all the merge there is.
 * Resolution is a pure function of the siblings, evaluated when reading. */
#ifndef CRDT_ENTRY_H
#define CRDT_ENTRY_H

#include "crdt/op.h"

enum sibling_kind {
    SIBLING_PUT = 1,
    SIBLING_TOMBSTONE = 2,
    SIBLING_REVOKE = 3,
    SIBLING_ADD = 4,
    SIBLING_MEMBER = 5, /* an incarnation in the roster */
    SIBLING_FENCE = 6,
    SIBLING_ACK = 7,
};

struct sibling {
    enum sibling_kind kind;
    struct dot dot;
    hlc_t hlc;
    hlc_t expires; /* 0 = never */
    uint64_t flags;
    struct slice author; /* borrowed */
    struct slice value;  /* borrowed */
};

struct entry {
    struct sibling *siblings; /* owned array, sorted by dot; slices borrow */
    size_t count;
    size_t capacity;
};

void entry_init(struct entry *e);
void entry_release(struct entry *e);
int entry_add_sibling(struct entry *e, const struct sibling *s); /* sorted in */
/* One dot is one sibling, so equal dots are equal entries. */
bool entry_same_dots(const struct entry *a, const struct entry *b);
/* Removes what op supersedes, adds op's sibling. Idempotent for one dot.
 * ret_changed (may be NULL): whether anything differs now. 0 or
 * CM_ERR_NOMEM (then unchanged). */
int entry_apply(struct entry *e, const struct op *op, const struct dot *dot,
                hlc_t hlc, bool *ret_changed);

/* Registers: any revoke -> deleted; else the greatest (HLC, incarnation, seq)
 * wins, never the value; then, if the winner is a tombstone or has expired ->
 * deleted (resolve first, then expire). Set element: present if an add is
 * there and no revoke; of several adds the one that expires last counts. */
struct resolution {
    bool present;
    bool expired;
    const struct sibling *winner; /* NULL in an empty entry; may be absent */
    const struct sibling *revoke; /* the greatest revoke, NULL if none */
};
struct resolution entry_resolve(const struct entry *e, hlc_t now);

/* What kind of sibling an operation leaves; not of a set-remove, nor of those
 * that change the standing. */
enum sibling_kind sibling_kind_of(enum op_kind kind);
/* Whether one of e says the same as s, at that time or later; dots and authors
 * aside. */
bool entry_shows(const struct entry *e, const struct sibling *s);

/* Greatest first: (HLC, incarnation, seq). */
int sibling_compare_age(const struct sibling *a, const struct sibling *b);

/* Canonical form, used in snapshots, cuts and digests:
 * [space, key, element, [[kind, incarnation, seq, hlc, flags, expires, author,
 * value]…]] sorted by dot. */
void entry_pack(struct buffer *out, const struct entry_id *id,
                const struct entry *e);
/* Slices of id and siblings borrow from u's bytes. ret_entry is initialised
 * and to be released also after an error (which is in u). */
void entry_unpack(struct unpacker *u, struct entry_id *ret_id,
                  struct entry *ret_entry);
/* As entry_unpack, of an initialised entry, whose array is used again. */
void entry_unpack_again(struct unpacker *u, struct entry_id *ret_id,
                        struct entry *entry);

#endif
