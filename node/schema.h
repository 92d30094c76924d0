/* Schema: how keys and records of the one LMDB tree are written.
 *
 * Prefixes instead of named databases, ordered so that what a local write
 * touches besides its entry is one leaf, the first: head and lanes, right
 * behind them the newest own event, because own events are in descending
 * order. Nothing sorts before the head, so whatever way LMDB splits that leaf
 * leaves head and lanes together.
 *
 *   'a' 0 / 1 / 2                  head; two halves of the digest's lanes
 *   'b' ~actor ~seq                own event: revision, changes, bytes
 *   'c' space key [0x00 element]   the entry holds a sibling that lost
 *   'e' space key [0x00 element]   entry: revisions and siblings, each: kind
 * and what it has (one byte), actor, seq, HLC (eight bytes), then what it has
 *   'f' time space key [0x00 element]  a floor may take something from the
 *                                  entry: any one (time 0), or one of that time
 *   'm' name                       named fact of this node
 *   'r' revision                   what the commit's events changed, unless
 *                                  its only event is an own one that says so
 *   's' actor                      version vector entry, names the actor:
 * incarnation and hash as they are, then the numbers
 *   'u' number                     what an earlier incarnation of this node
 *                                  wrote and the mesh does not have (unsent.h)
 *   'v' actor seq                  another node's event: its bytes
 *   'x' expiry space key [0x00 element]  the entry ends then, and watchers
 *                                  have not been told
 *
 * Entries and their indexes ('c', 'e', 'f', 'x') stand in one of two banks: the
 * head says which one counts. In the other one ('d', 'g', 'h', 'y') a large cut
 * is staged, and with the head that names it it becomes the state at once; what
 * is left of the former one goes some at a time (writer_stage.c). Keys are
 * always written as of the first bank; the store moves them (store_txn.h).
 *
 * The newest entry of this node's own incarnation stands in the head alone.
 * The lanes are two records, because one of more than 2,038 bytes would take
 * a page of its own. Numbers in keys are big-endian, numbers in records
 * canonical msgpack but for the HLC. Each record starts with a checksum over
 * key and payload, since LMDB does not notice bit rot. */
#ifndef NODE_SCHEMA_H
#define NODE_SCHEMA_H

#include "crdt/digest.h"
#include "crdt/entry.h"
#include "node/actors.h"
#include "node/store.h"

#define SCHEMA_KEY_MAX 511 /* LMDB's own limit */
#define SCHEMA_CHECKSUM_SIZE 8
#define SCHEMA_RECORD_MAX (256u << 20)
#define SCHEMA_META_NAME_MAX 64
/* A proposal's own acknowledgement is its cut and the proposer's name. */
#define SCHEMA_SIBLING_VALUE_MAX (VALUE_SIZE_MAX + 64)

#define SCHEMA_PREFIX_STATE 'a'
#define SCHEMA_PREFIX_OWN 'b'
#define SCHEMA_PREFIX_CONFLICT 'c'
#define SCHEMA_PREFIX_ENTRY 'e'
#define SCHEMA_PREFIX_COLLAPSE 'f'
#define SCHEMA_PREFIX_META 'm'
#define SCHEMA_PREFIX_REVISION 'r'
#define SCHEMA_PREFIX_ACTOR 's'
#define SCHEMA_PREFIX_UNSENT 'u'
#define SCHEMA_PREFIX_EVENT 'v'
#define SCHEMA_PREFIX_DUE 'x'

/* The byte in front of what prefix stands for, in that bank (0 or 1). */
uint8_t schema_prefix_in(uint8_t prefix, unsigned bank);
/* The bank of a stored key's first byte: 0 also for what is in neither. */
unsigned schema_prefix_bank(uint8_t byte);
/* The prefix that a stored key's first byte stands for. */
uint8_t schema_prefix_of(uint8_t byte);
/* Whether it moves with the bank. */
bool schema_prefix_is_banked(uint8_t prefix);

#define SCHEMA_STATE_HEAD 0
#define SCHEMA_STATE_LANES 1 /* and 2 */
#define SCHEMA_LANES_HALF (DIGEST_BYTES / 2)

struct schema_key {
    uint8_t bytes[SCHEMA_KEY_MAX + 1];
    size_t size;
};

struct slice schema_key_slice(const struct schema_key *k); /* borrows from k */
/* id is within the limits of limits.h (CHECK). */
void schema_key_entry(struct schema_key *k, const struct entry_id *id);
/* What all entries of space whose key starts with prefix have in common. False
 * if prefix is too long for any key to have it. */
bool schema_key_prefix(struct schema_key *k, enum space space,
                       struct slice prefix, bool exact_key);
void schema_key_event(struct schema_key *k, uint32_t actor, uint64_t seq);
void schema_key_own(struct schema_key *k, uint32_t actor, uint64_t seq);
void schema_key_revision(struct schema_key *k, uint64_t revision);
void schema_key_actor(struct schema_key *k, uint32_t actor);
void schema_key_meta(struct schema_key *k, const char *name);
void schema_key_state(struct schema_key *k, uint8_t which);
void schema_key_conflict(struct schema_key *k, const struct entry_id *id);
void schema_key_due(struct schema_key *k, hlc_t due, const struct entry_id *id);
void schema_key_collapse(struct schema_key *k, hlc_t after,
                         const struct entry_id *id);
/* ret_id borrows from key, of either bank. CM_ERR_DAMAGED. */
int schema_parse_entry(struct entry_id *ret_id, struct slice key);
int schema_parse_conflict(struct entry_id *ret_id, struct slice key);
int schema_parse_due(hlc_t *ret_due, struct entry_id *ret_id, struct slice key);
int schema_parse_collapse(hlc_t *ret_after, struct entry_id *ret_id,
                          struct slice key);
int schema_parse_actor(uint32_t *ret_actor, struct slice key);
int schema_parse_revision(uint64_t *ret_revision, struct slice key);

/* A record: begin, append the payload, seal, write record's bytes. */
void schema_record_begin(struct buffer *record);
int schema_record_seal(struct buffer *record, struct slice key);
/* ret_payload borrows from value. CM_ERR_DAMAGED if the checksum is wrong. */
int schema_record_open(struct slice *ret_payload, struct slice key,
                       struct slice value);

/* The head: one record, read with every snapshot. */
struct schema_head {
    uint64_t format;
    uint64_t revision;
    uint64_t oldest_revision; /* every change after it is kept */
    hlc_t hlc;                /* greatest stamp issued or merged */
    uint64_t own_seq;         /* of the newest own event, 0 = none */
    uint32_t own_actor;
    struct hash own_hash;
    unsigned bank; /* of entries and their indexes: 0 or 1 */
};
void schema_head_pack(struct buffer *out, const struct schema_head *h);
int schema_head_unpack(struct schema_head *ret_head, struct slice payload);

/* An incarnation that a returning node's vector does not cover any more keeps
 * its number, with seq 0. */
struct schema_actor {
    struct vv_entry entry;
    uint64_t known_seq; /* covered by the deps of this node's own events */
};
void schema_actor_pack(struct buffer *out, const struct schema_actor *a);
int schema_actor_unpack(struct schema_actor *ret_actor, struct slice payload);

/* An own event as it is stored. One that would fill a leaf nearly alone is
 * padded, so that LMDB gives it a page of its own and keeps the leaf of head
 * and lanes whole. */
#define SCHEMA_OWN_INLINE_MAX 1500
#define SCHEMA_OWN_PADDED_MIN 2048
struct schema_own {
    uint64_t revision; /* of the commit that applied it */
    bool inlined;      /* changes are here, and no 'r' record exists */
    struct slice changes;
    struct slice bytes;
};
void schema_own_pack(struct buffer *out, const struct schema_own *own);
int schema_own_unpack(struct schema_own *ret_own, struct slice payload);

/* Every sibling's incarnation is interned already (CHECK). */
void schema_entry_pack(struct buffer *out, const struct entry *e,
                       const struct entry_local *local,
                       const struct actors *actors);
/* Replaces what ret_entry holds; its siblings borrow from payload. */
int schema_entry_unpack(struct entry *ret_entry, struct entry_local *ret_local,
                        struct slice payload, const struct actors *actors);

/* What an operation did to what a reader sees. Stored only where it differs
 * from OUTCOME_OWN. */
enum outcome {
    OUTCOME_OWN = 0,    /* the operation's own result is visible now */
    OUTCOME_NONE = 1,   /* nothing visible changed */
    OUTCOME_OTHER = 2,  /* another sibling became visible */
    OUTCOME_ABSENT = 3, /* nothing is visible any more, though it wrote */
};

#endif
