/* The writer's part of mending: one INTENT_HEAL, all of it or nothing.
 *
 * Entries that can be read are exchanged like any others, so that digest,
 * indexes and watches follow. One that cannot be read has left its siblings
 * in the digest already; what replaces it is the same, as long as the vectors
 * are. Records that can be made again from memory or from entries are; bytes of
 * events that are gone are given up, whoever lacks them takes a cut. */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/heal_change.h"
#include "node/store_index.h"
#include "node/writer_internal.h"

struct heal_change *heal_change_new(void)
{
    struct heal_change *c = cm_calloc(1, sizeof *c);

    if (c != NULL)
        buffer_init(&c->packed, HEAL_BYTES_MAX);
    return c;
}

void heal_change_free(struct heal_change *c)
{
    if (c == NULL)
        return;
    buffer_release(&c->packed);
    cm_free(c);
}

int heal_change_add(struct heal_change *c, const struct schema_key *key,
                    struct slice packed)
{
    struct heal_entry *e = &c->entries[c->entries_count];

    if (c->entries_count == HEAL_ENTRIES_MAX ||
        packed.size > HEAL_BYTES_MAX - c->packed.size)
        return CM_ERR_LIMIT;
    e->key = *key;
    e->at = (uint32_t)c->packed.size;
    e->size = (uint32_t)packed.size;
    buffer_append_slice(&c->packed, packed);
    if (c->packed.error == 0)
        c->entries_count++;
    return c->packed.error;
}

int heal_change_name(struct heal_change *c, const char *name,
                     struct slice value)
{
    if (c->named_count == HEAL_NAMED_MAX ||
        value.size > HEAL_BYTES_MAX - c->packed.size)
        return CM_ERR_LIMIT;
    c->named[c->named_count] = (struct heal_named){
        .name = name,
        .at = (uint32_t)c->packed.size,
        .size = (uint32_t)value.size,
    };
    buffer_append_slice(&c->packed, value);
    if (c->packed.error == 0)
        c->named_count++;
    return c->packed.error;
}

/* ---- entries ---- */

/* What was there cannot be read: its indexes are made anew. */
static int put_over_damage(struct batch *b, const struct schema_key *key,
                           const struct entry_id *id, const struct entry *entry)
{
    struct entry_local local = {b->revision, b->revision};
    struct index_mark none = {.due = 0};
    struct index_mark mark = index_mark_of(entry);
    struct buffer *record = &b->w->record;
    struct schema_key conflict;
    int error;

    schema_key_conflict(&conflict, id);
    error = store_txn_delete(&b->txn, &conflict);
    if (error == CM_ERR_NOT_FOUND)
        error = 0;
    if (error == 0 && entry->count == 0)
        return store_txn_delete(&b->txn, key);
    if (error == 0) {
        schema_record_begin(record);
        schema_entry_pack(record, entry, &local, store_actors(b->w->store));
        error = store_txn_put(&b->txn, key, record);
    }
    if (error == 0)
        error = index_update(&b->txn, record, id, &none, &mark, b->now);
    /* What watchers were told of it, is not known any more. */
    b->w->head.oldest_revision = b->revision;
    b->due_changed = true;
    return error;
}

static int put_entry(struct batch *b, const struct schema_key *key,
                     const struct entry_id *id, const struct entry *entry)
{
    struct writer *w = b->w;
    struct entry_local local = {0};
    int error = store_txn_entry(&b->txn, id, &w->entry, &local);

    if (error == CM_ERR_DAMAGED)
        return put_over_damage(b, key, id, entry);
    if (error == CM_ERR_NOT_FOUND) {
        w->entry.count = 0;
        error = entry->count == 0 ? CM_ERR_NOT_FOUND : 0;
    }
    if (error == CM_ERR_NOT_FOUND)
        return 0; /* absent here and there */
    return error != 0 ? error : state_exchange(b, id, &w->entry, entry, &local);
}

static int take_entry(struct batch *b, const struct heal_change *c,
                      const struct heal_entry *e, struct cm_detail *detail)
{
    struct slice packed = slice_of(c->packed.data + e->at, e->size);
    struct entry_id id, there;
    struct entry entry;
    struct unpacker u;
    int error = schema_parse_entry(&id, schema_key_slice(&e->key));

    if (error != 0)
        return CM_ERR_MALFORMED;
    entry_init(&entry);
    if (packed.size > 0) {
        unpack_init(&u, packed);
        entry_unpack(&u, &there, &entry);
        error = unpack_finish(&u);
        if (error == 0 &&
            (there.space != id.space || !slice_equal(there.key, id.key) ||
             !slice_equal(there.element, id.element)))
            error = CM_ERR_MALFORMED;
        if (error == 0)
            error = adopt_check_entry(&id, &entry, &b->w->vv, detail);
    }
    if (error == 0)
        error = put_entry(b, &e->key, &id, &entry);
    entry_release(&entry);
    return error;
}

/* ---- other records ---- */

static int drop_raw(struct batch *b, const struct schema_key *key)
{
    int error = store_txn_delete(&b->txn, key);

    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

/* An index follows from its entry. */
static int index_anew(struct batch *b, const struct schema_key *key)
{
    struct slice raw = schema_key_slice(key);
    struct index_mark none = {.due = 0};
    struct index_mark mark;
    struct entry_id id;
    hlc_t due;
    int error = raw.data[0] == SCHEMA_PREFIX_DUE
                    ? schema_parse_due(&due, &id, raw)
                : raw.data[0] == SCHEMA_PREFIX_COLLAPSE
                    ? schema_parse_collapse(&due, &id, raw)
                    : schema_parse_conflict(&id, raw);

    if (error == 0)
        error = drop_raw(b, key);
    if (error == 0)
        error = store_txn_entry(&b->txn, &id, &b->w->entry, NULL);
    if (error != 0) /* none to point to */
        return error == CM_ERR_NOMEM ? error : 0;
    mark = index_mark_of(&b->w->entry);
    b->due_changed = true;
    return index_update(&b->txn, &b->w->record, &id, &none, &mark, b->now);
}

/* What the writer lives by. Roster and floor are entries and a record; of the
 * latter memory has what it was packed from. */
static int remember_fact(struct batch *b, const char *name)
{
    struct writer *w = b->w;

    if (strcmp(name, META_INCARNATION) == 0)
        return state_put_meta(b, name,
                              slice_of(w->self.bytes, INCARNATION_SIZE));
    if (strcmp(name, META_AUTHORITY) == 0)
        return state_put_meta(b, name, slice_of(w->authority, 32));
    if (strcmp(name, META_GENERATION) == 0)
        return state_put_meta(b, name, buffer_slice(&w->generation_bytes));
    if (strcmp(name, META_READY) == 0)
        return state_put_meta(b, name, slice_of("1", w->ready ? 1 : 0));
    if (strcmp(name, META_HAZARD) == 0)
        return state_put_meta(b, name, slice_of("1", w->hazard ? 1 : 0));
    if (strcmp(name, META_STANDING) == 0)
        b->standing_changed = true; /* stored with the batch */
    else if (strcmp(name, META_HEARD) == 0)
        b->heard_changed = true;
    else
        return CM_ERR_NOT_FOUND;
    return 0;
}

static int mend_fact(struct batch *b, struct heal_change *c,
                     const struct schema_key *key)
{
    char name[SCHEMA_META_NAME_MAX + 1] = "";
    struct slice value;
    int error;

    if (key->size < 2 || key->size - 1 > SCHEMA_META_NAME_MAX)
        return drop_raw(b, key);
    memcpy(name, key->bytes + 1, key->size - 1);
    if (store_txn_meta(&b->txn, name, &value) != CM_ERR_DAMAGED)
        return 0; /* it was stored again since */
    error = remember_fact(b, name);
    for (size_t i = 0; i < c->named_count && error == CM_ERR_NOT_FOUND; i++)
        if (strcmp(c->named[i].name, name) == 0)
            error = state_put_meta(
                b, name,
                slice_of(c->packed.data + c->named[i].at, c->named[i].size));
    if (error == 0) {
        CM_MARK("heal: a fact was made again");
        c->healed++;
    } else if (error == CM_ERR_NOT_FOUND) {
        c->named_lost++;
        memcpy(c->lost_name, name, sizeof name);
        error = drop_raw(b, key);
    }
    return error;
}

static int mend_record(struct batch *b, struct heal_change *c,
                       const struct schema_key *key)
{
    struct writer *w = b->w;

    CHECK(key->size > 0);
    switch (key->bytes[0]) {
    case SCHEMA_PREFIX_STATE: /* memory knows head, lanes and vector */
    case SCHEMA_PREFIX_ACTOR:
        b->digest_changed = true;
        b->own_actor_too = true;
        memset(w->dirty, 0xff, (actors_count(store_actors(w->store)) + 7) / 8);
        c->healed++;
        return 0;
    case SCHEMA_PREFIX_OWN:
    case SCHEMA_PREFIX_REVISION:
    case SCHEMA_PREFIX_EVENT:
        CM_MARK("heal: bytes of an event were given up");
        w->head.oldest_revision = b->revision; /* watchers start over */
        c->healed++;
        return drop_raw(b, key);
    case SCHEMA_PREFIX_UNSENT: /* nobody else has it */
        c->unsent_lost++;
        return drop_raw(b, key);
    case SCHEMA_PREFIX_COLLAPSE:
    case SCHEMA_PREFIX_CONFLICT:
    case SCHEMA_PREFIX_DUE:
        c->healed++;
        return index_anew(b, key);
    case SCHEMA_PREFIX_META:
        return mend_fact(b, c, key);
    default: /* entries come from peers */
        c->skipped++;
        return 0;
    }
}

/* What the walk found is right, what was kept is off by this much. */
static void correct_digest(struct batch *b, const struct heal_change *c)
{
    struct digest *d = &b->w->digest;

    for (size_t i = 0; i < DIGEST_LANES; i++)
        d->lanes[i] =
            (uint16_t)(d->lanes[i] + c->found.lanes[i] - c->stored.lanes[i]);
    b->digest_changed = true;
}

static int heal(struct batch *b, struct heal_change *c,
                struct cm_detail *detail)
{
    struct hash vv = vv_hash(&b->w->vv);
    int error = 0;

    if ((c->entries_count > 0 || c->has_lanes) && !hash_equal(&vv, &c->vv))
        return cm_fail(detail, CM_ERR_CONDITION,
                       "the version vector has changed: compared again");
    b->changed = true;
    for (size_t i = 0; i < c->drop_count && error == 0; i++)
        error = mend_record(b, c, &c->drop[i]);
    for (size_t i = 0; i < c->entries_count && error == 0; i++)
        error = take_entry(b, c, &c->entries[i], detail);
    if (error != 0)
        return error;
    c->healed += c->entries_count;
    if (c->has_lanes) {
        b->w->digest = c->lanes;
        b->digest_changed = true;
    }
    if (c->has_found)
        correct_digest(b, c);
    CM_MARK("heal: mended");
    return 0;
}

/* Of the mesh's own: the writer's memory follows from them. */
static bool is_control(const struct schema_key *key)
{
    struct entry_id id;

    return schema_parse_entry(&id, schema_key_slice(key)) == 0 &&
           id.space > SPACE_CLIENT_LAST;
}

int writer_heal(struct writer *w, struct heal_change *c, uint64_t wall_ms,
                struct cm_detail *detail)
{
    bool control = false;
    struct batch b;
    int error = w->stale ? writer_reload(w, detail) : 0;

    if (error == 0)
        error = batch_begin(&b, w, wall_ms, detail);
    if (error != 0)
        return error;
    for (size_t i = 0; i < c->entries_count; i++)
        control = control || is_control(&c->entries[i].key);
    c->healed = 0;
    c->skipped = 0;
    c->unsent_lost = 0;
    c->named_lost = 0;
    error = heal(&b, c, detail);
    if (error == 0)
        error = state_flush(&b);
    if (error == 0 && b.due_changed)
        error = expire_look(w, &b.txn);
    if (error == 0)
        error = store_txn_commit(&b.txn, detail);
    /* Roster, floor and what is unsent from the store. */
    if (error == 0 && (control || c->unsent_lost > 0))
        return writer_reload(w, detail);
    if (error == 0)
        return 0;
    batch_abort(&b);
    c->healed = 0;
    if (detail->text[0] == '\0')
        (void)cm_fail(detail, error, "mending: %s", cm_strerror(error));
    return error;
}
