/* What two nodes say to each other while their states are compared: the
 * content of FRAME_COMPARE. A question names the version vector that it is
 * about; a node whose vector is another one says which, and nothing else, for
 * only states of one vector have to be equal.
 *
 * Canonical msgpack: [kind, id, vv hash, …]. Decoding is strict and bounded. */
#ifndef NODE_COMPARE_MESSAGE_H
#define NODE_COMPARE_MESSAGE_H

#include "node/compare_scan.h"

#define COMPARE_MESSAGE_MAX (1536u << 10)
#define COMPARE_ENTRIES_BYTES_MAX (1024u << 10)

enum compare_kind {
    COMPARE_ASK_STATE = 1,   /* digest and lanes, please */
    COMPARE_STATE = 2,       /* vector, digest, lanes */
    COMPARE_ASK_PARTS = 3,   /* bounds: a print of each part, please */
    COMPARE_PARTS = 4,       /* counts and prints */
    COMPARE_ASK_KEYS = 5,    /* two bounds: keys with prints, please */
    COMPARE_KEYS = 6,        /* the first of them */
    COMPARE_ASK_ENTRIES = 7, /* keys: what they hold, please */
    COMPARE_ENTRIES = 8,     /* of the first of these keys; at least one */
    COMPARE_REFUSED = 9,     /* a code: busy, damaged, … */
};
#define COMPARE_KIND_LAST COMPARE_REFUSED

enum compare_entry_state {
    COMPARE_ENTRY_THERE = 0,
    COMPARE_ENTRY_ABSENT = 1,
    COMPARE_ENTRY_DAMAGED = 2,   /* there, and cannot be read */
    COMPARE_ENTRY_TOO_LARGE = 3, /* for one message */
};

struct compare_message {
    enum compare_kind kind;
    uint64_t id;
    struct hash vv;
    bool any_vv;        /* ASK_*: answer whatever the vector is */
    struct hash digest; /* STATE */
    struct digest lanes;
    struct schema_key keys[COMPARE_KEYS_MAX]; /* bounds; ASK_ENTRIES: keys */
    size_t keys_count;
    struct compare_part parts[COMPARE_PARTS_MAX]; /* PARTS: without from */
    size_t parts_count;
    struct compare_item items[COMPARE_KEYS_MAX]; /* KEYS */
    size_t items_count;
    bool more;
    struct unpacker entries; /* ENTRIES: read one by one */
    size_t entries_count;
    int code; /* REFUSED: a cm_error */
};

/* ret is large: not for a stack. entries borrow from bytes. */
int compare_message_decode(struct compare_message *ret, struct slice bytes);
/* The next of the entries; ret_packed borrows, empty unless THERE. */
enum compare_entry_state compare_message_entry(struct unpacker *u,
                                               struct slice *ret_packed);

void compare_message_ask(struct buffer *out, enum compare_kind kind,
                         uint64_t id, const struct hash *vv, bool any_vv,
                         const struct schema_key *keys, size_t count);
void compare_message_state(struct buffer *out, uint64_t id,
                           const struct hash *vv, const struct hash *digest,
                           const struct digest *lanes);
void compare_message_parts(struct buffer *out, uint64_t id,
                           const struct compare_result *r);
void compare_message_keys(struct buffer *out, uint64_t id,
                          const struct compare_result *r);
void compare_message_refused(struct buffer *out, uint64_t id,
                             const struct hash *vv, int code);
/* entries: what compare_message_put_entry appended, count of them. */
void compare_message_entries(struct buffer *out, uint64_t id,
                             const struct hash *vv, struct slice entries,
                             size_t count);
void compare_message_put_entry(struct buffer *entries,
                               enum compare_entry_state state,
                               struct slice packed);

#endif
