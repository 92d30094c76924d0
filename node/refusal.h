/* Bad input, by reason: what peers sent that was refused, applied as void, or
 * made to wait. Each reason has a name, a sentence for a person and a remedy,
 * so that metrics, status and doctor speak of the same things; counters begin
 * with the process. Cuts have counters of their own (node.h cut_counters). */
#ifndef NODE_REFUSAL_H
#define NODE_REFUSAL_H

#include "crdt/base/error.h"
#include "crdt/dot.h"

/* X(what, reason, found, remedy): found follows on "N events" or the like. An
 * empty remedy: it happens in every mesh, and is told only where it matters. */
#define REFUSAL_MAP(X)                                                         \
    X(EVENT_MALFORMED, "event", "malformed",                                   \
      "were refused: bytes that no node of this program writes",               \
      "see whether that node runs another program; if it was taken over, "     \
      "'confmesh evict' it")                                                   \
    X(EVENT_TOO_LONG, "event", "too-long",                                     \
      "were refused: a key, a value or the whole is longer than allowed",      \
      "see whether that node runs another program; if it was taken over, "     \
      "'confmesh evict' it")                                                   \
    X(EVENT_FORMAT, "event", "format",                                         \
      "were refused: their format is a later one",                             \
      "bring this node's program up to date")                                  \
    X(EVENT_SIGNATURE, "event", "signature",                                   \
      "were refused: the key of their incarnation did not sign them",          \
      "whoever handed them on forged or damaged them: look at that node, and " \
      "'confmesh evict' it if it was taken over")                              \
    X(EVENT_MESH, "event", "mesh", "were refused: they are of another mesh",   \
      "two meshes share an address or a token: see that node's --peers")       \
    X(EVENT_GENERATION, "event", "generation",                                 \
      "were refused: they are of another generation of this mesh",             \
      "the mesh was restored: that node has to return to it with a token")     \
    X(EVENT_FORK, "event", "fork",                                             \
      "were refused: another event bears their name here",                     \
      "the node that wrote them was cloned or rolled back: 'confmesh evict' "  \
      "it, unless it returns by itself")                                       \
    X(EVENT_SEALED, "event", "sealed",                                         \
      "were refused: their writer was evicted before it wrote them",           \
      "stop the evicted node, or let it return under a token")                 \
    X(EVENT_AUTHORITY, "event", "authority",                                   \
      "count for nothing: their writer's certificate does not permit them",    \
      "see what that node writes where it may not: 'confmesh roster'; its "    \
      "rights come with its token")                                            \
    X(EVENT_RULE, "event", "rule",                                             \
      "count for nothing: an add, fence or acknowledgement against the rules", \
      "see whether that node runs another program; if it was taken over, "     \
      "'confmesh evict' it")                                                   \
    X(EVENT_CROWDED, "event", "crowded",                                       \
      "were dropped: too many wait already; they are fetched again",           \
      "see what the others wait for, above")                                   \
    X(EVENT_OPERATION, "event", "operation",                                   \
      "wait: they hold an operation that this program does not know",          \
      "bring this node's program up to date; if nobody has a later one, "      \
      "'confmesh evict' the node that wrote them")                             \
    X(EVENT_EARLY, "event", "early",                                           \
      "wait: they hold an operation that not every member knows yet",          \
      "bring the programs of those members up to date ('confmesh roster' "     \
      "tells whose), or 'confmesh evict' who is gone, or the node that wrote " \
      "them: it should not have")                                              \
    X(EVENT_CLOCK, "event", "clock",                                           \
      "wait: they are dated ahead of this node's clock and of the others'",    \
      "set the clock of the node that wrote them right (ntp)")                 \
    X(EVENT_ORDER, "event", "order",                                           \
      "wait: they carry another eviction order than this node keeps to",       \
      "give the mesh the authority's next order: 'confmesh evict --none "      \
      "--authority FILE' on a node that keeps to the one that shall stand")    \
    X(EVENT_EVICTEE, "event", "evictee",                                       \
      "wait: their writer is being evicted, and apply if a member that stays " \
      "has them",                                                              \
      "")                                                                      \
    X(EVENT_GAP, "event", "gap", "wait for earlier ones of the same writer",   \
      "")                                                                      \
    X(EVENT_DEPENDENCY, "event", "dependency",                                 \
      "wait for others that they build on", "")                                \
    X(EVENT_STRANGER, "event", "stranger",                                     \
      "wait until their writer is known to be a member", "")                   \
    X(EVENT_CUT, "event", "cut", "wait for the state that is being adopted",   \
      "")                                                                      \
    X(EVENT_DAMAGE, "event", "damage",                                         \
      "wait: a record that they change is damaged here",                       \
      "it is fetched from the others; if it stays so, look at this node's "    \
      "disk (smartctl, dmesg)")                                                \
    X(ORDER_MALFORMED, "order", "malformed",                                   \
      "were refused: bytes that are no order",                                 \
      "see whether that node runs another program; if it was taken over, "     \
      "'confmesh evict' it")                                                   \
    X(ORDER_SIGNATURE, "order", "signature",                                   \
      "were refused as forged: the authority did not sign them",               \
      "look at the node that sent them, and 'confmesh evict' it if it was "    \
      "taken over")                                                            \
    X(ORDER_MESH, "order", "mesh",                                             \
      "were refused: they are of another mesh or generation",                  \
      "give an order of this mesh; after a restore epochs begin anew")         \
    X(ORDER_FOREIGN, "order", "foreign",                                       \
      "were refused: a node retires none but its own incarnations",            \
      "look at the node that sent them, and 'confmesh evict' it if it was "    \
      "taken over")                                                            \
    X(ORDER_CONFLICT, "order", "conflict",                                     \
      "contradict the one that this node heard first",                         \
      "give the mesh the authority's next order: 'confmesh evict --none "      \
      "--authority FILE' on a node that keeps to the one that shall stand")    \
    X(ORDER_CROWDED, "order", "crowded", "were dropped: too many are open",    \
      "bring back or evict the members whose fence is missing: 'confmesh "     \
      "roster'")                                                               \
    X(ORDER_REPEATED, "order", "repeated", "were heard before", "")            \
    X(ENTRY_ORDER, "entry", "order",                                           \
      "were refused to nodes with a certificate older than the last order",    \
      "if that node may come back: 'confmesh token create' here, and "         \
      "'confmesh node --data DIR --join TOKEN' there")                         \
    X(ENTRY_ISSUER, "entry", "issuer",                                         \
      "were refused to nodes of which an evicted issuer signed the "           \
      "certificate",                                                           \
      "if that node is honest: 'confmesh token create' at another issuer, "    \
      "and 'confmesh node --data DIR --join TOKEN' there")                     \
    X(FRAME_MALFORMED, "frame", "malformed",                                   \
      "were refused, and their links closed: bytes that do not decode",        \
      "see whether that node runs another version of the program")

enum refusal {
#define REFUSAL_ENUM(name, what, reason, found, remedy) REFUSAL_##name,
    REFUSAL_MAP(REFUSAL_ENUM)
#undef REFUSAL_ENUM
        REFUSAL_KINDS,
    REFUSAL_NONE = REFUSAL_KINDS
};

struct refusal_count {
    uint64_t count;
    uint64_t last_ms; /* wall clock of the last; 0: it was never seen */
    uint8_t from[16]; /* key id of the peer that sent the last; zeroes: none */
};

struct refusals {
    uint64_t total;
    struct refusal_count of[REFUSAL_KINDS];
};

struct refusal_text {
    const char *name; /* "event-signature" */
    const char *what; /* "event" */
    const char *reason;
    const char *found;
    const char *remedy; /* "": nothing is to be done */
};
const struct refusal_text *refusal_text(enum refusal r);
/* REFUSAL_NONE if no reason is called so. */
enum refusal refusal_by_name(const char *name);

/* What an event's, an order's code means here; REFUSAL_NONE for those that are
 * nobody's fault (duplicates of events, memory, disk). */
enum refusal refusal_of_event(int error);
enum refusal refusal_of_order(int error);

/* from may be NULL. REFUSAL_NONE counts nothing. */
void refusals_count(struct refusals *s, enum refusal r, const uint8_t *from,
                    uint64_t wall_ms);
/* Adds what other has counted; the later one tells of the last. */
void refusals_join(struct refusals *s, const struct refusals *other);

#endif
