/* Walks the entries of one snapshot and tells what they are, for two replicas
 * that are compared: one fingerprint of each key range, or a list of keys with
 * a hash each. Also the scrub's walk over every record.
 *
 * In steps on a worker, each bounded by records and bytes. Entries are named by
 * the bytes of their key in the store (schema.h: 'e' space key [00 element]),
 * whose order is that of the canonical form; an empty bound at the end of a
 * list means the end of all. What cannot be read is part of the answer: a
 * damaged record differs from everything. */
#ifndef NODE_COMPARE_SCAN_H
#define NODE_COMPARE_SCAN_H

#include "crdt/base/hash.h"
#include "crdt/digest.h"
#include "node/schema.h"
#include "node/store.h"

#define COMPARE_PARTS_MAX 64 /* ranges of one question */
#define COMPARE_KEYS_MAX 128 /* keys of one list */
#define COMPARE_PRINT_SIZE 16
#define COMPARE_DAMAGED_MAX 64 /* keys that cannot be read, remembered */

enum compare_mode {
    COMPARE_SPLIT = 1,  /* of one range: parts of about equal size */
    COMPARE_BOUNDS = 2, /* of given bounds: a fingerprint of each part */
    COMPARE_LIST = 3,   /* of one range: its first keys */
    COMPARE_SCRUB = 4,  /* every record of the store, no parts */
};

struct compare_part {
    struct schema_key from; /* size 0 in the first: from the beginning */
    uint64_t count;
    uint8_t print[COMPARE_PRINT_SIZE]; /* of keys and entries, in order */
};

struct compare_item {
    struct schema_key key;
    bool damaged;
    uint8_t print[COMPARE_PRINT_SIZE]; /* zeroes if damaged */
};

struct compare_result {
    struct hash vv;      /* vv_hash of the snapshot */
    struct digest lanes; /* as stored */
    struct digest found; /* SCRUB: added up from what is there */
    uint64_t records;    /* walked */
    uint64_t bytes;      /* of them */
    uint64_t damaged;    /* records that cannot be read */
    struct schema_key damaged_keys[COMPARE_DAMAGED_MAX];
    size_t damaged_keys_count;
    struct compare_part parts[COMPARE_PARTS_MAX];
    size_t parts_count;
    struct schema_key end; /* of the last part; size 0: of all */
    struct compare_item items[COMPARE_KEYS_MAX];
    size_t items_count;
    bool more; /* LIST: there are others behind the last item */
};

struct compare_scan;

/* bounds: SPLIT and LIST two of them, BOUNDS one more than parts (at most
 * COMPARE_PARTS_MAX of these), SCRUB none; copied. The store is borrowed.
 * CM_ERR_NOMEM. */
int compare_scan_create(struct compare_scan **ret_scan, struct store *store,
                        enum compare_mode mode, const struct schema_key *bounds,
                        size_t bounds_count);
void compare_scan_free(struct compare_scan *s); /* NULL is fine */
/* 1: call again; 0: done; an error (the walk itself failed: LMDB's pages are
 * damaged, or the store has to be opened again). */
int compare_scan_step(struct compare_scan *s);
/* After 0. Borrowed. */
const struct compare_result *compare_scan_result(const struct compare_scan *s);

/* The print of one entry as a list has it. */
int compare_print_of(uint8_t ret_print[COMPARE_PRINT_SIZE],
                     const struct entry_id *id, const struct entry *entry,
                     struct buffer *scratch);

#endif
