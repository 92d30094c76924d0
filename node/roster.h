/* The roster: the incarnations that may write, a function of the version
 * vector.
 *
 * Members are the founder named in the generation order and whoever a
 * roster-add event added, except incarnations that the generation or an
 * eviction sealed; this node's own stays until the node has another one.
 * Immutable once shared; shared by count between the writer's thread and
 * the loop. Certificates are shared between one roster and the next. */
#ifndef NODE_ROSTER_H
#define NODE_ROSTER_H

#include <stdatomic.h>

#include "crdt/certificate.h"
#include "crdt/dot.h"
#include "crdt/hlc.h"

/* Certificate bytes, shared by the rosters that name them. */
struct roster_blob;

struct roster_member {
    struct incarnation incarnation;
    struct certificate certificate; /* slices into the roster's own memory */
    hlc_t hlc;                      /* of the add; 0 for the founder */
    struct dot dot;                 /* of the add; zero for the founder */
    struct roster_blob *blob;       /* roster.c's */
};

/* Immutable copy of the roster for the loop; shared by count. */
struct roster {
    struct roster_member *members; /* sorted by incarnation */
    size_t count;
    size_t capacity;
    _Atomic unsigned references;
};

/* The member's certificate as it was encoded; lives as long as the roster. */
struct slice roster_certificate(const struct roster_member *m);

/* An empty one with one reference; NULL when memory is short. */
struct roster *roster_new(void);
struct roster *roster_retain(struct roster *r); /* returns r */
void roster_release(struct roster *r);          /* NULL is fine */

const struct roster_member *roster_find(const struct roster *r,
                                        const struct incarnation *i);

/* A copy with one reference, which its owner may change until it gives another
 * reference away. NULL when memory is short. */
struct roster *roster_copy(const struct roster *r);
/* Adds a member to a roster that has one reference; certificate is copied and
 * checked against the authority's key. Of two adds of one incarnation the one
 * with the least (hlc, dot) counts, whichever came first. CM_ERR_NOMEM,
 * CM_ERR_LIMIT, or why the certificate does not decode; then unchanged. */
int roster_insert(struct roster *r, const struct incarnation *incarnation,
                  struct slice certificate,
                  const uint8_t authority_public_key[32], hlc_t hlc,
                  const struct dot *dot);

/* Takes a member out of a roster that has one reference; an unknown one is
 * fine. */
void roster_remove(struct roster *r, const struct incarnation *i);

/* Whether a holder of c belongs into the roster at all: who only reads neither
 * acknowledges nor counts. */
bool roster_may_enter(const struct certificate *c);
/* Whether a holder of c may sponsor others: issuers, admins, and writers of
 * every key. */
bool roster_may_add(const struct certificate *c);

#endif
