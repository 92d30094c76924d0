/* What applying an event changes, in the one write transaction and in the
 * writer's memory: entries, digest, log, version vector, roster. */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/collapse.h"
#include "node/store_index.h"
#include "node/writer_internal.h"

int state_actor_dirty(struct batch *b, const struct incarnation *i)
{
    uint32_t actor;

    if (!actors_find(store_actors(b->w->store), i, &actor))
        return CM_ERR_DAMAGED;
    b->w->dirty[actor / 8] |= (uint8_t)(1u << (actor % 8));
    return 0;
}

int state_event_begin(struct batch *b, const struct dot *dot)
{
    uint32_t actor;
    int error;

    b->changed = true;
    error = actors_intern(store_actors(b->w->store), &dot->incarnation, &actor);
    return error != 0 ? error : change_log_event(&b->w->log, actor, dot->seq);
}

/* What watchers believe to see: a value whose time has come is there for them
 * until the commit that tells its end. */
static struct visible visible_of(struct batch *b, const struct entry_id *id,
                                 const struct entry *e)
{
    struct resolution r = entry_resolve(e, b->now);
    struct visible ret = {.present = r.present};

    if (r.expired)
        ret.present = index_has_due(&b->txn, id, r.winner->expires);
    if (ret.present)
        ret.dot = r.winner->dot;
    return ret;
}

static int keep_before(struct writer *w, const struct entry *e)
{
    if (e->count > w->before_capacity) {
        struct sibling *grown = cm_realloc(w->before, e->count * sizeof *grown);

        if (grown == NULL)
            return CM_ERR_NOMEM;
        w->before = grown;
        w->before_capacity = e->count;
    }
    if (e->count > 0)
        memcpy(w->before, e->siblings, e->count * sizeof *w->before);
    return 0;
}

/* Both sorted by dot: a merge finds what went and what came. */
void state_digest_change(struct digest *d, const struct entry_id *id,
                         const struct sibling *before, size_t before_count,
                         const struct entry *after)
{
    size_t i = 0;
    size_t j = 0;

    while (i < before_count || j < after->count) {
        int order;

        if (i == before_count)
            order = 1;
        else if (j == after->count)
            order = -1;
        else
            order = dot_compare(&before[i].dot, &after->siblings[j].dot);
        if (order < 0)
            digest_remove(d, id, &before[i]);
        if (order > 0)
            digest_add(d, id, &after->siblings[j]);
        i += order <= 0;
        j += order >= 0;
    }
}

static int put_entry(struct batch *b, const struct schema_key *key,
                     const struct entry *e, const struct entry_local *local)
{
    struct buffer *record = &b->w->record;

    if (e->count == 0)
        return store_txn_delete(&b->txn, key);
    schema_record_begin(record);
    schema_entry_pack(record, e, local, store_actors(b->w->store));
    return store_txn_put(&b->txn, key, record);
}

int state_put_siblings(struct batch *b, const struct entry_id *id,
                       const struct entry *before, const struct entry *after)
{
    struct entry_local local = {b->revision, b->revision};
    struct schema_key key;

    CHECK(b->changed && id->space > SPACE_CLIENT_LAST);
    state_digest_change(&b->w->digest, id, before->siblings, before->count,
                        after);
    b->digest_changed = true;
    schema_key_entry(&key, id);
    return put_entry(b, &key, after, &local);
}

/* Its time may have come for the floor, of which all clocks agree, before it
 * comes here: then watchers are told now. */
static int tell_end(struct batch *b, const struct entry_id *id,
                    const struct sibling *winner)
{
    uint32_t actor;

    if (!actors_find(store_actors(b->w->store), &winner->dot.incarnation,
                     &actor))
        return CM_ERR_DAMAGED;
    return change_log_expire(&b->w->log, id, actor, winner->dot.seq,
                             winner->expires);
}

int state_collapse(struct batch *b, const struct entry_id *id)
{
    struct writer *w = b->w;
    struct entry_local local = {0};
    struct entry *e = &w->entry;
    struct index_mark before, after;
    struct schema_key key;
    bool was_visible;
    bool changed = false;
    int error = store_txn_entry(&b->txn, id, e, &local);

    /* A damaged one stays: the digest tells that this replica is another. */
    if (error == CM_ERR_NOT_FOUND || error == CM_ERR_DAMAGED)
        return 0;
    if (error == 0)
        error = keep_before(w, e);
    if (error != 0)
        return error;
    size_t before_count = e->count;
    struct resolution r = entry_resolve(e, b->now);
    struct sibling winner = *r.winner;

    before = index_mark_of(e);
    was_visible = visible_of(b, id, e).present;
    entry_collapse(e, standing_floor(w->standing),
                   standing_floor_time(w->standing), &changed);
    if (!changed)
        return 0;
    CHECK(b->changed && e->count < before_count);
    after = index_mark_of(e);
    state_digest_change(&w->digest, id, w->before, before_count, e);
    b->digest_changed = true;
    if (was_visible && after.due == 0 && !entry_resolve(e, b->now).present)
        error = tell_end(b, id, &winner);
    schema_key_entry(&key, id);
    if (error == 0)
        error = put_entry(b, &key, e, &local);
    if (error == 0)
        error = index_update(&b->txn, &w->record, id, &before, &after, b->now);
    b->due_changed = b->due_changed || after.due != before.due;
    b->collect_changed = true;
    return error;
}

static int apply_plain(struct batch *b, const struct op *op,
                       const struct dot *dot, hlc_t hlc, struct entry *entry,
                       struct entry_local *local)
{
    struct writer *w = b->w;
    struct entry_id id = op_entry_id(op);
    struct visible before = visible_of(b, &id, entry);
    struct index_mark mark_before = index_mark_of(entry);
    bool was_present = entry_resolve(entry, b->now).present;
    struct visible after = before;
    size_t before_count = entry->count;
    struct schema_key key;
    bool changed = false;
    int error = keep_before(w, entry);

    CHECK(b->changed && op->kind < OP_ROSTER_ADD);
    schema_key_entry(&key, &id);
    if (error == 0)
        error = entry_apply(entry, op, dot, hlc, &changed);
    if (error == 0 && changed) {
        struct index_mark mark = index_mark_of(entry);

        bool is_present = entry_resolve(entry, b->now).present;

        /* Siblings of before lie in the map until the first write. */
        state_digest_change(&w->digest, &id, w->before, before_count, entry);
        b->digest_changed = true;
        if (before_count == 0 || (is_present && !was_present))
            local->create_revision = b->revision;
        local->modify_revision = b->revision;
        error = put_entry(b, &key, entry, local);
        if (error == 0)
            error = index_update(&b->txn, &w->record, &id, &mark_before, &mark,
                                 b->now);
        b->due_changed = b->due_changed || mark.due != mark_before.due;
        b->collect_changed = b->collect_changed ||
                             mark.collapses != mark_before.collapses ||
                             mark.collapse_after != mark_before.collapse_after;
        after = visible_of(b, &id, entry);
    }
    if (error == 0)
        error = change_log_op(&w->log, schema_key_slice(&key), op->kind, dot,
                              &before, &after);
    return error;
}

int state_apply(struct batch *b, const struct op *op, const struct dot *dot,
                hlc_t hlc, struct entry *entry, struct entry_local *local)
{
    level_note(b, op_level(op));
    if (op->kind >= OP_ROSTER_ADD)
        return control_apply(b, op, dot, hlc);
    return apply_plain(b, op, dot, hlc, entry, local);
}

int state_exchange(struct batch *b, const struct entry_id *id,
                   const struct entry *before, const struct entry *after,
                   struct entry_local *local)
{
    struct writer *w = b->w;
    struct visible was = visible_of(b, id, before);
    struct index_mark mark_was = index_mark_of(before);
    struct index_mark mark = index_mark_of(after);
    bool was_present = entry_resolve(before, b->now).present;
    bool is_present = entry_resolve(after, b->now).present;
    struct visible now;
    struct schema_key key;
    int error;

    CHECK(b->changed);
    schema_key_entry(&key, id);
    /* Both lie in the map until the first write. */
    state_digest_change(&w->digest, id, before->siblings, before->count, after);
    b->digest_changed = true;
    if (before->count == 0 || (is_present && !was_present))
        local->create_revision = b->revision;
    local->modify_revision = b->revision;
    error = put_entry(b, &key, after, local);
    if (error == 0)
        error = index_update(&b->txn, &w->record, id, &mark_was, &mark, b->now);
    b->due_changed = b->due_changed || mark.due != mark_was.due;
    if (error != 0 || id->space > SPACE_CLIENT_LAST)
        return error;
    now = visible_of(b, id, after);
    return change_log_entry(&w->log, id, &was, &now, after,
                            store_actors(w->store));
}

static int add_result_event(struct batch *b, struct slice bytes,
                            const struct dot *dot, bool own,
                            const uint8_t from[16])
{
    struct commit_result *r = b->result;

    if (r->events_count == b->events_capacity) {
        size_t capacity = b->events_capacity > 0 ? 2 * b->events_capacity : 8;
        struct commit_event *grown =
            cm_realloc(r->events, capacity * sizeof *grown);

        if (grown == NULL)
            return CM_ERR_NOMEM;
        r->events = grown;
        b->events_capacity = capacity;
    }
    buffer_append_slice(&r->memory, bytes);
    if (r->memory.error != 0)
        return r->memory.error;
    /* The memory may still move: writer.c sets the address at the end. */
    r->events[r->events_count] = (struct commit_event){
        .bytes = {.size = bytes.size}, .dot = *dot, .own = own};
    if (from != NULL)
        memcpy(r->events[r->events_count].from, from, 16);
    r->events_count++;
    return 0;
}

/* An own event that is the first of its commit tells what that changed; if
 * others follow, an 'r' record comes that counts instead. */
static int pack_own(struct batch *b, struct slice bytes)
{
    struct writer *w = b->w;
    struct buffer changes;
    struct schema_own own = {
        .revision = b->revision,
        .inlined = w->log.events_count == 1,
        .bytes = bytes,
    };
    int error;

    buffer_init(&changes, EVENT_SIZE_MAX);
    if (own.inlined) {
        (void)change_log_pack(&w->log, &changes, store_actors(w->store));
        own.changes = buffer_slice(&changes);
        b->log_inlined = true;
    }
    schema_own_pack(&w->record, &own);
    error = changes.error != 0 ? changes.error : w->record.error;
    buffer_release(&changes);
    return error;
}

int state_event_end(struct batch *b, const struct dot *dot, hlc_t hlc,
                    const struct hash *hash, struct slice bytes, bool own,
                    const uint8_t from[16])
{
    struct writer *w = b->w;
    struct schema_key key;
    uint32_t actor;
    int error;

    CHECK(vv_seq(&w->vv, &dot->incarnation) + 1 == dot->seq);
    error = actors_intern(store_actors(w->store), &dot->incarnation, &actor);
    if (error != 0)
        return error;
    schema_record_begin(&w->record);
    if (own) {
        schema_key_own(&key, actor, dot->seq);
        error = pack_own(b, bytes);
    } else {
        schema_key_event(&key, actor, dot->seq);
        buffer_append_slice(&w->record, bytes);
    }
    if (error == 0)
        error = store_txn_put(&b->txn, &key, &w->record);
    if (error == 0)
        error = vv_set(&w->vv, &dot->incarnation, dot->seq, hash);
    if (error == 0)
        error = state_actor_dirty(b, &dot->incarnation);
    if (error == 0)
        error = add_result_event(b, bytes, dot, own, from);
    w->head.hlc = hlc_merge(w->head.hlc, hlc);
    b->changed = true;
    b->drain = true;
    return error;
}

static int put_actor(struct batch *b, uint32_t actor)
{
    struct writer *w = b->w;
    struct schema_actor record = {.known_seq = 0};
    const struct vv_entry *entry;
    struct schema_key key;

    CHECK(actors_get(store_actors(w->store), actor, &record.entry.incarnation));
    entry = vv_find(&w->vv, &record.entry.incarnation);
    if (entry != NULL) { /* else it keeps its number alone */
        record.entry = *entry;
        record.known_seq = vv_seq(&w->known, &entry->incarnation);
    }
    schema_key_actor(&key, actor);
    schema_record_begin(&w->record);
    schema_actor_pack(&w->record, &record);
    return store_txn_put(&b->txn, &key, &w->record);
}

int state_flush_actors(struct batch *b)
{
    const struct schema_head *head = &b->w->head;
    uint32_t count = actors_count(store_actors(b->w->store));
    int error = 0;

    for (uint32_t i = 0; i < count && error == 0; i++) {
        bool in_head = head->own_seq > 0 && head->own_actor == i &&
                       i < b->actors_before && !b->own_actor_too;

        if (!in_head && (b->w->dirty[i / 8] & (1u << (i % 8))) != 0)
            error = put_actor(b, i);
    }
    return error;
}

static int flush_log(struct batch *b)
{
    struct writer *w = b->w;
    struct schema_key key;
    bool visible;

    if (w->log.overrun) {
        CHECK(w->log.events_count == 0); /* a cut is a commit of its own */
        w->head.oldest_revision = b->revision;
        return 0;
    }
    if (b->log_inlined && w->log.events_count == 1 && w->log.expired_count == 0)
        return 0;
    schema_record_begin(&w->record);
    visible = change_log_pack(&w->log, &w->record, store_actors(w->store));
    /* Later events may have undone what the own one told. */
    if (!visible && !b->log_inlined)
        return w->record.error;
    schema_key_revision(&key, b->revision);
    return store_txn_put(&b->txn, &key, &w->record);
}

static int flush_digest(struct batch *b)
{
    struct writer *w = b->w;
    uint8_t lanes[DIGEST_BYTES];
    int error = 0;

    digest_encode(lanes, &w->digest);
    for (uint8_t i = 0; i < 2 && error == 0; i++) {
        struct schema_key key;

        schema_key_state(&key, (uint8_t)(SCHEMA_STATE_LANES + i));
        schema_record_begin(&w->record);
        buffer_append(&w->record, lanes + i * SCHEMA_LANES_HALF,
                      SCHEMA_LANES_HALF);
        error = store_txn_put(&b->txn, &key, &w->record);
    }
    return error;
}

int state_put_head(struct batch *b)
{
    struct schema_key key;

    schema_key_state(&key, SCHEMA_STATE_HEAD);
    schema_record_begin(&b->w->record);
    schema_head_pack(&b->w->record, &b->w->head);
    return store_txn_put(&b->txn, &key, &b->w->record);
}

/* The head takes over this incarnation's entry. One that it held for an
 * earlier incarnation of this node goes back to its own record. */
static void take_own(struct batch *b)
{
    struct writer *w = b->w;
    const struct vv_entry *entry = vv_find(&w->vv, &w->self);
    uint32_t actor = 0;

    if (entry == NULL)
        return;
    CHECK(actors_find(store_actors(w->store), &w->self, &actor));
    if (w->head.own_seq > 0 && w->head.own_actor != actor)
        w->dirty[w->head.own_actor / 8] |=
            (uint8_t)(1u << (w->head.own_actor % 8));
    w->head.own_actor = actor;
    w->head.own_seq = entry->seq;
    w->head.own_hash = entry->head;
}

int state_flush(struct batch *b)
{
    int error = control_finish(b);

    CHECK(b->changed && b->revision > b->w->head.revision);
    b->w->head.revision = b->revision;
    take_own(b);
    if (error == 0)
        error = flush_log(b);
    if (error == 0)
        error = state_put_head(b);
    if (error == 0 && b->digest_changed)
        error = flush_digest(b);
    if (error == 0)
        error = state_flush_actors(b);
    return error;
}

int state_put_meta(struct batch *b, const char *name, struct slice value)
{
    struct schema_key key;
    struct slice old;
    int error = store_txn_meta(&b->txn, name, &old);

    if (error == CM_ERR_NOT_FOUND && value.size == 0)
        return 0;
    if (error == 0 && slice_equal(old, value))
        return 0;
    if (error != 0 && error != CM_ERR_NOT_FOUND && error != CM_ERR_DAMAGED)
        return error;
    b->meta_changed = true;
    schema_key_meta(&key, name);
    if (value.size == 0)
        return store_txn_delete(&b->txn, &key);
    schema_record_begin(&b->w->record);
    buffer_append_slice(&b->w->record, value);
    return store_txn_put(&b->txn, &key, &b->w->record);
}
