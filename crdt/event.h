/* The unit of replication: signed, immutable, 1..4096 operations, <= 1 MiB.
 *
 * Encoding (canonical msgpack): [header, body, signature], each a bin.
 *   header = [format 1, mesh id bin16, generation number, generation hash
 *             bin16, incarnation bin16, seq, hlc, deps [[incarnation, seq]…]
 *             sorted, previous event's hash bin32 (zeroes for seq 1), body
 *             hash bin32]
 *   body   = [operation…]; operation = [kind, key, author, supersedes
 *             [[incarnation, seq]…], …] followed for put by value, flags,
 *             expires; for set-add by element, expires; for set-remove and
 *             set-revoke by element; for roster-add, fence and ack by value;
 *             for knows by level. Kinds of longer forms, each of the level
 *             that says so: 11 revoke, followed by why; 12 set-revoke, by
 *             element, why; 13 roster-add, by value and level, if that is not
 *             the first.
 *   signature = Ed25519 (RFC 8032) over "confmesh event v1" NUL header.
 * The body hash is under the signature, so a relay can check both and change
 * neither. Original bytes are kept and relayed untouched. */
#ifndef CRDT_EVENT_H
#define CRDT_EVENT_H

#include "crdt/base/hash.h"
#include "crdt/generation.h"
#include "crdt/op.h"
#include "crdt/vv.h"

#define EVENT_FORMAT 1
#define SIGNATURE_SIZE 64

struct event {
    struct mesh_id mesh;
    struct generation_id generation;
    struct dot dot;
    hlc_t hlc;
    struct dot *deps; /* owned; sorted by incarnation; own one not in it */
    size_t deps_count;
    struct hash previous; /* zero for seq 1 */
    struct hash body_hash;
    struct op *ops; /* owned array; slices borrow from the decoded bytes;
                       operations of an unknown kind are not in it */
    size_t ops_count;
    bool has_unknown_op; /* an operation of a later format: waits until this
                            program knows it */
    uint32_t level;      /* the greatest that its operations need */
    struct dot *dots;    /* owned backing store of every op's supersedes */
    struct slice header; /* borrowed: the signed bytes */
    uint8_t signature[SIGNATURE_SIZE];
};

/* Decodes strictly. bytes are borrowed for as long as ret_event lives. At most
 * one operation per key or element, every limit of limits.h. On error nothing
 * is to be released. CM_ERR_MALFORMED, _NONCANONICAL, _TOO_LARGE,
 * _FORMAT_VERSION, _NOMEM. Checks the body hash (CM_ERR_MALFORMED), not the
 * signature. */
int event_decode(struct event *ret_event, struct slice bytes);
void event_release(struct event *e);

/* CM_ERR_SIGNATURE unless public_key signed the header; CM_ERR_NOMEM only for
 * a header too large for the stack (thousands of deps). */
int event_verify(const struct event *e, const uint8_t public_key[32]);

/* The name of an event in chains, version vectors and forks: hash of the
 * header. */
struct hash event_hash(const struct event *e);
struct hash event_hash_of_header(struct slice header);

/* What the writer fills in to make an event; all borrowed. */
struct event_draft {
    struct mesh_id mesh;
    struct generation_id generation;
    struct dot dot;
    hlc_t hlc;
    const struct dot *deps;
    size_t deps_count;
    struct hash previous;
    struct slice body; /* from event_body_begin/_add */
    size_t ops_count;
};

/* A body is gathered operation by operation: ops are appended to out as they
 * come, and event_encode puts the array header in front. The encoded size is
 * known all the time (out->size). */
void event_body_add(struct buffer *out, const struct op *op);

/* Encodes and signs; appends to out. ret_hash is the event's hash. secret_key
 * is libsodium's 64-byte form. 0 or out's error: CM_ERR_NOMEM, or
 * CM_ERR_TOO_LARGE beyond EVENT_SIZE_MAX or out's limit. */
int event_encode(struct buffer *out, const struct event_draft *draft,
                 const uint8_t secret_key[64], struct hash *ret_hash);

/* An upper bound of what header, signature and framing add to a body. */
size_t event_overhead(size_t deps_count);

#endif
