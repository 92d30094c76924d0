/* Payload of an 'r' record: per event that changed something visible
 * [actor, seq, number of exceptions, (operation, outcome [, actor, seq])…],
 * one after the other until the record ends; behind them for each expiry [mark,
 * space, key, element, actor, seq, due], for each entry that a cut changed
 * [mark, space, key, element, present, revoked, actor, seq, stamp]. */
#include "node/change_log.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

#define INDEX_SIZE_MIN 64

void change_log_init(struct change_log *log)
{
    memset(log, 0, sizeof *log);
    buffer_init(&log->keys, CHANGE_LOG_KEYS_MAX);
    buffer_init(&log->outcomes, CHANGE_LOG_OPS_MAX);
    buffer_init(&log->expired, CHANGE_LOG_EXPIRED_MAX);
}

void change_log_release(struct change_log *log)
{
    cm_free(log->touches);
    cm_free(log->index);
    cm_free(log->events);
    cm_free(log->others);
    buffer_release(&log->keys);
    buffer_release(&log->outcomes);
    buffer_release(&log->expired);
    memset(log, 0, sizeof *log);
}

void change_log_clear(struct change_log *log)
{
    if (log->touches_count > 0)
        memset(log->index, 0, log->index_size * sizeof *log->index);
    log->touches_count = 0;
    log->events_count = 0;
    log->others_count = 0;
    log->expired_count = 0;
    log->entries_count = 0;
    log->overrun = false;
    buffer_clear(&log->expired);
    buffer_clear(&log->keys);
    buffer_clear(&log->outcomes);
}

/* Room for one element more in an owned array. */
static int reserve(void **array, size_t *capacity, size_t count, size_t size)
{
    size_t wanted = *capacity > 0 ? 2 * *capacity : 16;
    void *grown;

    if (count < *capacity)
        return 0;
    grown = cm_realloc(*array, wanted * size);
    if (grown == NULL)
        return CM_ERR_NOMEM;
    *array = grown;
    *capacity = wanted;
    return 0;
}

int change_log_event(struct change_log *log, uint32_t actor, uint64_t seq)
{
    void *array = log->events;
    int error = reserve(&array, &log->events_capacity, log->events_count,
                        sizeof *log->events);

    log->events = array;
    if (error != 0)
        return error;
    log->events[log->events_count++] = (struct change_event){
        .actor = actor,
        .seq = seq,
        .outcomes_at = log->outcomes.size,
    };
    return 0;
}

static struct change_touch *touch_find(const struct change_log *log,
                                       struct slice key, uint64_t hash)
{
    size_t mask = log->index_size - 1;

    if (log->index_size == 0)
        return NULL;
    for (size_t slot = hash & mask; log->index[slot] != 0;
         slot = (slot + 1) & mask) {
        struct change_touch *t = &log->touches[log->index[slot] - 1];

        if (t->hash == hash &&
            slice_equal(key, slice_of(log->keys.data + t->key_at, t->key_size)))
            return t;
    }
    return NULL;
}

static void index_insert(uint32_t *index, size_t size, uint64_t hash,
                         uint32_t touch)
{
    size_t slot = hash & (size - 1);

    while (index[slot] != 0)
        slot = (slot + 1) & (size - 1);
    index[slot] = touch + 1;
}

static int index_reserve(struct change_log *log)
{
    size_t size = log->index_size > 0 ? 2 * log->index_size : INDEX_SIZE_MIN;
    uint32_t *index;

    if (2 * (log->touches_count + 1) <= log->index_size)
        return 0;
    index = cm_calloc(size, sizeof *index);
    if (index == NULL)
        return CM_ERR_NOMEM;
    for (size_t i = 0; i < log->touches_count; i++)
        index_insert(index, size, log->touches[i].hash, (uint32_t)i);
    cm_free(log->index);
    log->index = index;
    log->index_size = size;
    return 0;
}

static int touch_add(struct change_log *log, struct slice key, uint64_t hash,
                     const struct visible *before, struct change_touch **ret)
{
    void *array = log->touches;
    int error = reserve(&array, &log->touches_capacity, log->touches_count,
                        sizeof *log->touches);
    size_t at = log->keys.size;

    log->touches = array;
    if (error == 0)
        error = index_reserve(log);
    if (error != 0)
        return error;
    buffer_append_slice(&log->keys, key);
    if (log->keys.error != 0)
        return log->keys.error;
    CHECK(log->touches_count < UINT32_MAX);
    index_insert(log->index, log->index_size, hash,
                 (uint32_t)log->touches_count);
    *ret = &log->touches[log->touches_count++];
    **ret = (struct change_touch){
        .key_at = at,
        .key_size = key.size,
        .hash = hash,
        .outcome_at = SIZE_MAX,
        .before = *before,
    };
    return 0;
}

static uint64_t hash_key(struct slice key)
{
    return record_checksum(key, slice_of(NULL, 0));
}

static bool is_set(enum op_kind kind)
{
    return kind == OP_SET_ADD || kind == OP_SET_REMOVE || kind == OP_SET_REVOKE;
}

static enum outcome decide(enum op_kind kind, const struct dot *own,
                           const struct visible *before,
                           const struct visible *after)
{
    if (kind >= OP_ROSTER_ADD)
        return OUTCOME_NONE; /* no client's business */
    if (before->present == after->present &&
        (!after->present || is_set(kind) ||
         dot_equal(&before->dot, &after->dot)))
        return OUTCOME_NONE;
    if (after->present)
        return dot_equal(&after->dot, own) ? OUTCOME_OWN : OUTCOME_OTHER;
    return kind == OP_PUT || kind == OP_SET_ADD ? OUTCOME_ABSENT : OUTCOME_OWN;
}

int change_log_op(struct change_log *log, struct slice key, enum op_kind kind,
                  const struct dot *own, const struct visible *before,
                  const struct visible *after)
{
    uint64_t hash = hash_key(key);
    struct change_touch *t = touch_find(log, key, hash);
    size_t outcome_at = log->outcomes.size;
    enum outcome outcome;
    int error;

    CHECK(log->events_count > 0);
    if (t == NULL) {
        error = touch_add(log, key, hash, before, &t);
        if (error != 0)
            return error;
    } else {
        CHECK(t->outcome_at < log->outcomes.size);
        log->outcomes.data[t->outcome_at] = OUTCOME_NONE;
    }
    outcome = decide(kind, own, &t->before, after);
    if (outcome == OUTCOME_OTHER) {
        void *array = log->others;

        error = reserve(&array, &log->others_capacity, log->others_count,
                        sizeof *log->others);
        log->others = array;
        if (error != 0)
            return error;
        log->others[log->others_count++] =
            (struct change_other){.outcome_at = outcome_at, .dot = after->dot};
    }
    buffer_append_byte(&log->outcomes, (uint8_t)outcome);
    t->event = log->events_count - 1;
    t->outcome_at = outcome_at;
    log->events[log->events_count - 1].ops_count++;
    return log->outcomes.error;
}

int change_log_expire(struct change_log *log, const struct entry_id *id,
                      uint32_t actor, uint64_t seq, hlc_t due)
{
    struct buffer *out = &log->expired;

    CHECK(actor != CHANGE_LOG_EXPIRED_MARK && due != 0);
    pack_uint(out, CHANGE_LOG_EXPIRED_MARK);
    pack_uint(out, id->space);
    pack_bin(out, id->key);
    pack_bin(out, id->element);
    pack_uint(out, actor);
    pack_uint(out, seq);
    pack_uint(out, due);
    log->expired_count++;
    return out->error;
}

/* What a delete is told with: the greatest tombstone or revoke, if one is
 * there; else what was seen before. */
static struct sibling reason_of(const struct entry *after,
                                const struct visible *before)
{
    struct resolution r = entry_resolve(after, 0);
    struct sibling ret = {.kind = SIBLING_TOMBSTONE, .dot = before->dot};

    if (r.revoke != NULL)
        ret = *r.revoke;
    else if (r.winner != NULL)
        ret = *r.winner;
    return ret;
}

int change_log_entry(struct change_log *log, const struct entry_id *id,
                     const struct visible *before, const struct visible *now,
                     const struct entry *after, const struct actors *actors)
{
    struct buffer *out = &log->expired;
    struct sibling told = {.kind = SIBLING_PUT, .dot = now->dot};
    uint32_t actor = 0;

    if (before->present == now->present &&
        (!now->present || id->space == SPACE_SET ||
         dot_equal(&before->dot, &now->dot)))
        return 0;
    if (log->overrun || log->entries_count == CHANGE_LOG_ENTRIES_MAX) {
        log->overrun = true;
        return 0;
    }
    if (!now->present)
        told = reason_of(after, before);
    CHECK(actors_find(actors, &told.dot.incarnation, &actor));
    pack_uint(out, CHANGE_LOG_ENTRY_MARK);
    pack_uint(out, id->space);
    pack_bin(out, id->key);
    pack_bin(out, id->element);
    pack_bool(out, now->present);
    pack_bool(out, told.kind == SIBLING_REVOKE);
    pack_uint(out, actor);
    pack_uint(out, told.dot.seq);
    pack_uint(out, told.hlc);
    log->entries_count++;
    return out->error;
}

bool change_log_in_newest(const struct change_log *log, struct slice key)
{
    const struct change_touch *t = touch_find(log, key, hash_key(key));

    return t != NULL && log->events_count > 0 &&
           t->event == log->events_count - 1;
}

static void pack_event(const struct change_log *log,
                       const struct change_event *e, struct buffer *out,
                       const struct actors *actors, size_t *other)
{
    const uint8_t *outcomes = log->outcomes.data + e->outcomes_at;
    size_t exceptions = 0;

    for (size_t i = 0; i < e->ops_count; i++)
        exceptions += outcomes[i] != OUTCOME_OWN;
    pack_uint(out, e->actor);
    pack_uint(out, e->seq);
    pack_uint(out, exceptions);
    for (size_t i = 0; i < e->ops_count; i++) {
        uint32_t actor = 0;

        if (outcomes[i] == OUTCOME_OWN)
            continue;
        pack_uint(out, i);
        pack_uint(out, outcomes[i]);
        if (outcomes[i] != OUTCOME_OTHER)
            continue;
        while (log->others[*other].outcome_at != e->outcomes_at + i)
            (*other)++; /* one that a later operation undid */
        CHECK(*other < log->others_count);
        CHECK(
            actors_find(actors, &log->others[*other].dot.incarnation, &actor));
        pack_uint(out, actor);
        pack_uint(out, log->others[*other].dot.seq);
    }
}

bool change_log_pack(const struct change_log *log, struct buffer *out,
                     const struct actors *actors)
{
    size_t other = 0;
    bool any = false;

    CHECK(log->outcomes.error == 0 && log->keys.error == 0);
    for (size_t i = 0; i < log->events_count; i++) {
        const struct change_event *e = &log->events[i];
        bool visible = false;

        for (size_t j = 0; j < e->ops_count && !visible; j++)
            visible = log->outcomes.data[e->outcomes_at + j] != OUTCOME_NONE;
        if (!visible)
            continue;
        pack_event(log, e, out, actors, &other);
        any = true;
    }
    if (log->expired_count + log->entries_count > 0)
        buffer_append_slice(out, buffer_slice(&log->expired));
    return any || log->expired_count + log->entries_count > 0;
}
