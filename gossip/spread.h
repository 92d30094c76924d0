/* The piggyback queue: whose record still has to be told to others.
 *
 * An entry is a key id and how often to tell it yet, never a copy of what to
 * tell: the record is taken from the table when a packet is filled, so that
 * stale news cannot leave. One entry a subject. */
#ifndef GOSSIP_SPREAD_H
#define GOSSIP_SPREAD_H

#include "crdt/certificate.h"

#define SPREAD_MAX 1024      /* subjects */
#define SPREAD_MULTIPLIER 4u /* tellings = this * ceil(log10(members + 1)) */

struct spread_entry {
    struct key_id subject;
    unsigned left;   /* tellings to go, at least 1 */
    uint64_t packet; /* the last packet that it was considered for */
};

struct spread {
    struct spread_entry entries[SPREAD_MAX];
    size_t count;
    uint64_t packet; /* counts spread_begin */
};

/* How often a record is told in a mesh of so many members. */
unsigned spread_tellings(size_t members);
/* Enters the subject anew. When full the most told entry gives way. */
void spread_add(struct spread *s, const struct key_id *subject,
                unsigned tellings);
void spread_remove(struct spread *s, const struct key_id *subject);

/* Filling one packet: begin, then next while the packet has room; each subject
 * comes at most once, least told first. NULL: no more. */
void spread_begin(struct spread *s);
struct spread_entry *spread_next(struct spread *s);
/* The entry went into the packet: one telling less. Invalidates entry. */
void spread_told(struct spread *s, struct spread_entry *entry);

#endif
