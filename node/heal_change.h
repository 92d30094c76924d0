/* What the writer is asked to mend (INTENT_HEAL): entries to be written as a
 * peer with the same version vector has them, records that cannot be read to be
 * dropped, what memory still knows to be written again.
 *
 * A state is a function of its version vector, so that an entry of a peer is
 * right here exactly as long as both vectors are equal: the writer looks again,
 * in the transaction that writes. */
#ifndef NODE_HEAL_CHANGE_H
#define NODE_HEAL_CHANGE_H

#include "crdt/base/hash.h"
#include "crdt/digest.h"
#include "node/compare_scan.h"

#define HEAL_ENTRIES_MAX COMPARE_KEYS_MAX
#define HEAL_BYTES_MAX (4u << 20)
#define HEAL_NAMED_MAX 16 /* facts that the loop gives */

struct heal_entry {
    struct schema_key key;
    uint32_t at; /* of its canonical form in packed; size 0: absent */
    uint32_t size;
};

struct heal_named {
    const char *name; /* static */
    uint32_t at;      /* in packed; size 0: there is to be none */
    uint32_t size;
};

struct heal_change {
    struct hash vv; /* that the entries and lanes belong to */
    struct heal_entry entries[HEAL_ENTRIES_MAX];
    size_t entries_count;
    struct buffer packed; /* owned */
    bool has_lanes;       /* nothing else differs: the digest is this one */
    struct digest lanes;
    bool has_found; /* the walk at revision found this much instead of lanes */
    struct digest stored, found;
    struct schema_key drop[COMPARE_DAMAGED_MAX]; /* that cannot be read */
    size_t drop_count;
    struct heal_named named[HEAL_NAMED_MAX]; /* of those that are facts */
    size_t named_count;
    /* Filled in: */
    size_t healed;     /* entries and records */
    size_t named_lost; /* facts that nobody remembers; the last one: */
    char lost_name[SCHEMA_META_NAME_MAX + 1];
    size_t skipped;     /* records that nothing can be done about here */
    size_t unsent_lost; /* unsent writes that nobody can read any more */
};

struct heal_change *heal_change_new(void); /* NULL: out of memory */
void heal_change_free(struct heal_change *c);
/* packed may be empty: absent. CM_ERR_LIMIT, CM_ERR_NOMEM. */
int heal_change_add(struct heal_change *c, const struct schema_key *key,
                    struct slice packed);
/* A fact as it is to be, should it be damaged; name is static. The same. */
int heal_change_name(struct heal_change *c, const char *name,
                     struct slice value);

#endif
