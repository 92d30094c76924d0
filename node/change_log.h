/* Change log of one commit: what the events that it applies do to what a
 * reader sees, and which entries they touch.
 *
 * A watch delivers a commit as a whole, so only the difference between its
 * start and its end counts: when a later operation of the same commit touches
 * an entry again, the earlier one's outcome becomes "none". What is stored
 * names the events and the exceptions to "the operation's own result is
 * visible"; values stay where they are, in the events' original bytes. */
#ifndef NODE_CHANGE_LOG_H
#define NODE_CHANGE_LOG_H

#include "node/schema.h"

#define CHANGE_LOG_KEYS_MAX (1u << 30) /* bytes of touched keys, one commit */
#define CHANGE_LOG_OPS_MAX (64u << 20) /* operations of one commit */
#define CHANGE_LOG_EXPIRED_MAX (4u << 20) /* bytes of ends, one commit */
/* Entries that one adopted cut tells of; with more, watches start over. */
#define CHANGE_LOG_ENTRIES_MAX 4096

/* What a reader sees of an entry. */
struct visible {
    bool present;
    struct dot dot; /* of the winner, when present */
};

struct change_touch {
    size_t key_at; /* in keys */
    size_t key_size;
    uint64_t hash;
    size_t event;      /* newest one that touched the entry */
    size_t outcome_at; /* of its operation */
    struct visible before;
};

struct change_event {
    uint32_t actor;
    uint64_t seq;
    size_t outcomes_at; /* first of its operations */
    size_t ops_count;
};

struct change_other {
    size_t outcome_at;
    struct dot dot;
};

struct change_log {
    struct change_touch *touches; /* owned, in order of appearance */
    size_t touches_count;
    size_t touches_capacity;
    uint32_t *index; /* owned hash table of touch + 1 */
    size_t index_size;
    struct change_event *events; /* owned */
    size_t events_count;
    size_t events_capacity;
    struct change_other *others; /* owned */
    size_t others_count;
    size_t others_capacity;
    struct buffer keys;
    struct buffer outcomes; /* enum outcome, a byte each */
    struct buffer expired;  /* packed ends and entries, see below */
    size_t expired_count;
    size_t entries_count;
    bool overrun; /* more changed than can be told: set by whoever knows it */
};

void change_log_init(struct change_log *log);
void change_log_release(struct change_log *log);
void change_log_clear(struct change_log *log); /* memory kept */

/* Opens the next event; ops follow through change_log_op. CM_ERR_NOMEM. */
int change_log_event(struct change_log *log, uint32_t actor, uint64_t seq);
/* The next operation of the newest event. key is the entry's schema key, after
 * what is visible once it was applied. CM_ERR_NOMEM. */
int change_log_op(struct change_log *log, struct slice key, enum op_kind kind,
                  const struct dot *own, const struct visible *before,
                  const struct visible *after);
/* The winner of an entry that no event of this commit touches has expired and
 * is not seen any more. actor: of its dot. CM_ERR_TOO_LARGE, CM_ERR_NOMEM. */
#define CHANGE_LOG_EXPIRED_MARK UINT32_MAX /* where an event has its actor */
int change_log_expire(struct change_log *log, const struct entry_id *id,
                      uint32_t actor, uint64_t seq, hlc_t due);
/* What is visible of an entry changed without an event whose bytes are here (a
 * cut was adopted); after is its new state. Nothing is told if nothing changed.
 * Too many set overrun. CM_ERR_NOMEM. */
#define CHANGE_LOG_ENTRY_MARK (UINT32_MAX - 1)
int change_log_entry(struct change_log *log, const struct entry_id *id,
                     const struct visible *before, const struct visible *now,
                     const struct entry *after, const struct actors *actors);
/* Whether the newest event touched the entry. */
bool change_log_in_newest(const struct change_log *log, struct slice key);
/* Appends the 'r' record's payload; false if nothing visible changed. */
bool change_log_pack(const struct change_log *log, struct buffer *out,
                     const struct actors *actors);

#endif
