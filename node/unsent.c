/* Records of unsent operations: 'u' id.
 *
 * [state, operation, foreign generation, sibling, doubtful, [dot, HLC], bytes,
 * text]. The
 * state, which is small and changes, stands first; the bytes never change. */
#include "node/unsent.h"

#include <stdlib.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/return_view.h"
#include "node/unsent_dots.h"
#include "node/writer_internal.h"

#define KEY_SIZE 9
#define SIBLING_BYTES_MAX (VALUE_SIZE_MAX + 4096)

static const char *const state_names[] = {
    "waiting", "lost",  "revoked", "absent", "collapsed",
    "refused", "twice", "shared",  "others",
};
static const char *const state_texts[] = {
    "waits until its earlier incarnation is sealed",
    "a concurrent write is newer",
    "its key or element was revoked",
    "its key is absent now, and was perhaps deleted later than this write",
    "what it removes may stand for the adds of others by now",
    "it cannot be written as it is",
    "its name was given to another event, too, which stands",
    "the state that this node returned to has it",
    "another node wrote it, and the mesh ended that node's name without it",
};
_Static_assert(sizeof state_names / sizeof state_names[0] ==
                   UNSENT_STATE_LAST + 1,
               "one name for each state");
_Static_assert(sizeof state_texts / sizeof state_texts[0] ==
                   UNSENT_STATE_LAST + 1,
               "one text for each state");

const char *unsent_state_name(enum unsent_state state)
{
    CHECK(state >= UNSENT_WAITS && state <= UNSENT_STATE_LAST);
    return state_names[state];
}

const char *unsent_state_text(enum unsent_state state)
{
    CHECK(state >= UNSENT_WAITS && state <= UNSENT_STATE_LAST);
    return state_texts[state];
}

/* ---- records ---- */

static void key_of(struct schema_key *k, uint64_t id)
{
    k->bytes[0] = SCHEMA_PREFIX_UNSENT;
    put_be64(k->bytes + 1, id);
    k->size = KEY_SIZE;
}

static void pack(struct buffer *out, const struct unsent *u)
{
    pack_array(out, 9);
    pack_uint(out, u->state);
    pack_uint(out, u->op);
    pack_bool(out, u->foreign_generation);
    pack_bool(out, u->sibling);
    pack_bool(out, u->doubtful);
    pack_array(out, 2);
    dot_pack(out, &u->dot);
    pack_uint(out, u->hlc);
    pack_bin(out, u->bytes);
    pack_string(out, u->text);
}

static int parse(struct unsent *ret_unsent, uint64_t id, struct slice payload)
{
    struct unsent ret = {.id = id};
    struct unpacker u;

    unpack_init(&u, payload);
    unpack_array_of(&u, 9);
    ret.state = (enum unsent_state)unpack_uint(&u, UNSENT_STATE_LAST);
    ret.op = unpack_uint(&u, EVENT_OPS_MAX);
    ret.foreign_generation = unpack_bool(&u);
    ret.sibling = unpack_bool(&u);
    ret.doubtful = unpack_bool(&u);
    unpack_array_of(&u, 2);
    dot_unpack(&u, &ret.dot);
    ret.hlc = unpack_uint(&u, UINT64_MAX);
    ret.bytes =
        unpack_bin(&u, SIBLING_BYTES_MAX > EVENT_SIZE_MAX ? SIBLING_BYTES_MAX
                                                          : EVENT_SIZE_MAX);
    ret.text = unpack_string(&u, UNSENT_TEXT_MAX);
    if (unpack_finish(&u) != 0)
        return CM_ERR_DAMAGED;
    *ret_unsent = ret;
    return 0;
}

int unsent_get(struct store_txn *t, uint64_t id, struct unsent *ret_unsent)
{
    struct schema_key key;
    struct slice payload;
    int error;

    key_of(&key, id);
    error = store_txn_get(t, &key, &payload);
    return error != 0 ? error : parse(ret_unsent, id, payload);
}

/* The id at the cursor's place, by op from key. CM_ERR_NOT_FOUND. */
static int seek(struct store_txn *t, const struct schema_key *from,
                MDB_cursor_op op, uint64_t *ret_id)
{
    MDB_cursor *cursor;
    MDB_val k = {.mv_size = from->size, .mv_data = (void *)from->bytes};
    MDB_val v;
    int rc = mdb_cursor_open(t->mdb, store_dbi(t->store), &cursor);

    if (rc != 0)
        return store_error(rc, NULL);
    rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    if (op == MDB_PREV) /* the one before, or the very last */
        rc = mdb_cursor_get(cursor, &k, &v, rc == 0 ? MDB_PREV : MDB_LAST);
    if (rc == 0 && (k.mv_size != KEY_SIZE ||
                    *(const uint8_t *)k.mv_data != SCHEMA_PREFIX_UNSENT))
        rc = MDB_NOTFOUND;
    if (rc == 0)
        *ret_id = get_be64((const uint8_t *)k.mv_data + 1);
    mdb_cursor_close(cursor);
    if (rc == MDB_NOTFOUND)
        return CM_ERR_NOT_FOUND;
    return rc == 0 ? 0 : store_error(rc, NULL);
}

int unsent_next(struct store_txn *t, uint64_t after, struct unsent *ret_unsent)
{
    struct schema_key key;
    uint64_t id = after;
    int error = CM_ERR_DAMAGED;

    /* What cannot be read is nothing to go by, and the others have to be. */
    while (error == CM_ERR_DAMAGED) {
        if (id == UINT64_MAX)
            return CM_ERR_NOT_FOUND;
        key_of(&key, id + 1);
        error = seek(t, &key, MDB_SET_RANGE, &id);
        if (error != 0)
            return error;
        error = unsent_get(t, id, ret_unsent);
        CM_MARK_IF(error == CM_ERR_DAMAGED, "unsent: one cannot be read");
    }
    return error;
}

static int last_id(struct store_txn *t, uint64_t *ret_id)
{
    struct schema_key key = {.bytes = {SCHEMA_PREFIX_UNSENT + 1}, .size = 1};
    int error = seek(t, &key, MDB_PREV, ret_id);

    if (error != CM_ERR_NOT_FOUND)
        return error;
    *ret_id = 0;
    return 0;
}

int unsent_put(struct store_txn *t, struct buffer *record,
               const struct unsent *u)
{
    struct schema_key key;
    uint64_t id = u->id;
    int error = 0;

    if (id == 0) {
        error = last_id(t, &id);
        id++;
    }
    if (error != 0)
        return error;
    CHECK(id != 0);
    key_of(&key, id);
    schema_record_begin(record);
    pack(record, u);
    return store_txn_put(t, &key, record);
}

int unsent_delete(struct store_txn *t, uint64_t id)
{
    struct schema_key key;

    key_of(&key, id);
    return store_txn_delete(t, &key);
}

int unsent_read(struct store_reader *r, uint64_t after,
                struct unsent *ret_unsent)
{
    return unsent_next(&r->txn, after, ret_unsent);
}

int unsent_count(struct store_txn *t, struct unsent_counts *ret_counts)
{
    struct unsent_counts counts = {0};
    struct unsent u = {.id = 0};
    int error;

    while ((error = unsent_next(t, u.id, &u)) == 0) {
        counts.waiting += u.state == UNSENT_WAITS;
        counts.shared += u.state == UNSENT_SHARED;
        counts.parked += u.state != UNSENT_WAITS && u.state != UNSENT_SHARED;
        counts.others += u.state == UNSENT_OTHERS;
    }
    if (error != CM_ERR_NOT_FOUND)
        return error;
    *ret_counts = counts;
    return 0;
}

/* ---- what is in one ---- */

static enum op_kind kind_of(const struct entry_id *id, const struct sibling *s)
{
    switch (s->kind) {
    case SIBLING_PUT:
        return OP_PUT;
    case SIBLING_TOMBSTONE:
        return OP_DEL;
    case SIBLING_REVOKE:
        return id->space == SPACE_SET ? OP_SET_REVOKE : OP_REVOKE;
    case SIBLING_ADD:
        return OP_SET_ADD;
    case SIBLING_MEMBER:
        return OP_ROSTER_ADD;
    case SIBLING_FENCE:
        return OP_FENCE;
    case SIBLING_ACK:
        break;
    }
    return OP_ACK;
}

static int open_sibling(struct unsent_ops *ret, struct slice bytes)
{
    struct entry_id id;
    struct unpacker u;
    const struct sibling *s;

    unpack_init(&u, bytes);
    entry_unpack(&u, &id, &ret->entry);
    if (unpack_finish(&u) != 0 || ret->entry.count != 1) {
        entry_release(&ret->entry);
        return u.error == CM_ERR_NOMEM ? CM_ERR_NOMEM : CM_ERR_DAMAGED;
    }
    s = &ret->entry.siblings[0];
    ret->one = (struct op){
        .kind = kind_of(&id, s),
        .key = id.key,
        .element = id.element,
        .value = s->value,
        .author = s->author,
        .flags = s->flags,
        .expires = s->expires,
    };
    ret->ops = &ret->one;
    ret->count = 1;
    ret->dot = s->dot;
    ret->hlc = s->hlc;
    return 0;
}

int unsent_open(struct unsent_ops *ret_ops, const struct unsent *u)
{
    int error;

    *ret_ops = (struct unsent_ops){.has_event = !u->sibling};
    if (u->sibling)
        return open_sibling(ret_ops, u->bytes);
    error = event_decode(&ret_ops->event, u->bytes);
    if (error != 0)
        return error == CM_ERR_NOMEM ? error : CM_ERR_DAMAGED;
    ret_ops->ops = ret_ops->event.ops;
    ret_ops->count = ret_ops->event.ops_count;
    ret_ops->dot = ret_ops->event.dot;
    ret_ops->hlc = ret_ops->event.hlc;
    return 0;
}

void unsent_close(struct unsent_ops *ops)
{
    if (ops->has_event)
        event_release(&ops->event);
    else
        entry_release(&ops->entry);
}

bool unsent_is_client_op(const struct op *op)
{
    return op->kind < OP_ROSTER_ADD;
}

/* ---- keeping ---- */

static int keep(struct batch *b, const struct unsent *u)
{
    b->meta_changed = true;
    b->unsent_kept++;
    return unsent_put(&b->txn, &b->w->record, u);
}

static int keep_event(struct batch *b, struct unsent u)
{
    struct unsent_ops ops;
    bool wanted;
    int error = unsent_open(&ops, &u);

    if (error != 0)
        return error;
    u.hlc = ops.hlc;
    u.foreign_generation =
        !generation_id_equal(&ops.event.generation, &b->returns_to);
    wanted = ops.event.has_unknown_op;
    for (size_t i = 0; i < ops.count; i++)
        wanted = wanted || unsent_is_client_op(&ops.ops[i]);
    unsent_close(&ops);
    return wanted ? keep(b, &u) : 0;
}

int unsent_keep_event(void *context, struct batch *b, const struct dot *dot,
                      struct slice event, bool doubtful)
{
    (void)context;
    return keep_event(
        b, (struct unsent){.dot = *dot, .bytes = event, .doubtful = doubtful});
}

int unsent_keep_shared(struct batch *b, const struct dot *dot,
                       struct slice event)
{
    int error = keep_event(
        b,
        (struct unsent){.state = UNSENT_SHARED, .dot = *dot, .bytes = event});

    return error == CM_ERR_DAMAGED ? 0 : error;
}

/* What was void here left nothing, and would leave nothing anywhere. */
static bool counted(const struct writer *w, const struct event *e)
{
    const struct roster_member *m = roster_find(w->roster, &e->dot.incarnation);

    for (size_t i = 0; m != NULL && i < e->ops_count; i++) {
        struct entry_id id = op_entry_id(&e->ops[i]);

        if (unsent_is_client_op(&e->ops[i]) &&
            !certificate_may_write(&m->certificate, &id))
            return false;
    }
    return true;
}

/* CM_ERR_NOT_FOUND, CM_ERR_DAMAGED: its bytes are not here. */
static int keep_others_event(struct batch *b, const struct dot *dot)
{
    struct buffer copy;
    struct slice bytes;
    struct event e;
    bool counts = false;
    int error = store_txn_event(&b->txn, dot, &bytes);

    if (error != 0)
        return error;
    buffer_init(&copy, EVENT_SIZE_MAX);
    buffer_append_slice(&copy, bytes); /* out of the map */
    error = copy.error;
    if (error == 0)
        error = event_decode(&e, buffer_slice(&copy));
    if (error == 0) {
        counts = counted(b->w, &e);
        event_release(&e);
    }
    if (error == 0 && counts) {
        CM_MARK("return: an event of another node was kept apart");
        error = keep_event(b, (struct unsent){.state = UNSENT_OTHERS,
                                              .dot = *dot,
                                              .bytes = buffer_slice(&copy)});
    }
    buffer_release(&copy);
    return error;
}

int unsent_set_state(struct batch *b, const struct unsent *u)
{
    struct buffer bytes;
    struct unsent copy = *u;
    int error;

    buffer_init(&bytes, SCHEMA_RECORD_MAX);
    buffer_append_slice(&bytes, u->bytes); /* out of the map */
    copy.bytes = buffer_slice(&bytes);
    error = bytes.error;
    if (error == 0)
        error = unsent_put(&b->txn, &b->w->record, &copy);
    b->meta_changed = true;
    b->unsent_settled++;
    buffer_release(&bytes);
    return error;
}

int unsent_look_again(struct batch *b, const struct replacement *r,
                      unsent_same_branch same)
{
    struct unsent u = {.id = 0};
    struct incarnation asked = {{0}}; /* records of one name stand together */
    bool is_same = false;
    int error;

    while ((error = unsent_next(&b->txn, u.id, &u)) == 0) {
        bool covered = vv_covers(r->vv, &u.dot);

        if (u.state != UNSENT_SHARED)
            continue;
        if (covered && !incarnation_equal(&asked, &u.dot.incarnation)) {
            asked = u.dot.incarnation;
            is_same = same(b, r, &asked);
        }
        if (covered && is_same)
            continue;
        u.state = UNSENT_WAITS;
        u.doubtful = covered;
        u.foreign_generation =
            u.foreign_generation ||
            !generation_id_equal(&b->returns_to, &b->w->generation);
        u.text = slice_of(NULL, 0);
        error = unsent_set_state(b, &u);
        if (error != 0)
            return error;
    }
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

/* Which siblings are kept. */
struct keeping {
    const struct vv *covered;         /* those beyond it… */
    const struct incarnation *former; /* …and not kept as its events… */
    struct unsent_dots events;        /* …or as any of these… */
    struct unsent_dots siblings;      /* …nor by themselves; if given… */
    struct slice own; /* …only those of incarnations in it… */
    bool others;      /* …or only those of any other… */
    const struct incarnation *branch; /* or this one's above the floor */
};

static enum unsent_keep why_kept(const struct keeping *k)
{
    if (k->branch != NULL)
        return KEEP_BRANCH;
    if (k->others)
        return KEEP_OTHERS;
    return k->own.size > 0 ? KEEP_OWN : KEEP_FOREIGN;
}

int unsent_keep_sibling(struct batch *b, const struct entry_id *id,
                        const struct sibling *s, enum unsent_keep why)
{
    struct unsent u = {
        .dot = s->dot,
        .hlc = s->hlc,
        .sibling = true,
        .foreign_generation = why == KEEP_FOREIGN,
        .doubtful = why == KEEP_BRANCH,
        .state = why == KEEP_OTHERS ? UNSENT_OTHERS : UNSENT_WAITS,
    };
    struct entry one;
    struct buffer bytes;
    int error;

    entry_init(&one);
    buffer_init(&bytes, SIBLING_BYTES_MAX);
    error = entry_add_sibling(&one, s);
    if (error == 0) {
        entry_pack(&bytes, id, &one);
        error = bytes.error;
    }
    u.bytes = buffer_slice(&bytes);
    if (error == 0)
        error = keep(b, &u);
    entry_release(&one);
    buffer_release(&bytes);
    return error;
}

/* As an event of the incarnation that ends, or of one before. */
static bool is_kept_as_event(struct batch *b, const struct sibling *s,
                             const struct keeping *k)
{
    struct slice bytes;

    return unsent_dots_have(&k->events, &s->dot) ||
           unsent_dots_have(&k->siblings, &s->dot) ||
           (incarnation_equal(&s->dot.incarnation, k->former) &&
            store_txn_event(&b->txn, &s->dot, &bytes) == 0);
}

static bool is_in(struct slice names, const struct incarnation *name)
{
    bool ret = false;

    for (size_t i = 0; i + INCARNATION_SIZE <= names.size && !ret;
         i += INCARNATION_SIZE)
        ret = memcmp(names.data + i, name->bytes, INCARNATION_SIZE) == 0;
    return ret;
}

static bool is_asked_for(const struct keeping *k, const struct sibling *s)
{
    if (k->others)
        return !incarnation_equal(&s->dot.incarnation, k->former) &&
               !is_in(k->own, &s->dot.incarnation);
    return k->own.size == 0 || is_in(k->own, &s->dot.incarnation);
}

static bool is_wanted(struct batch *b, const struct keeping *k,
                      const struct sibling *s)
{
    if (k->branch != NULL)
        return incarnation_equal(&s->dot.incarnation, k->branch) &&
               !return_floor_covers(b->w, &s->dot) &&
               !unsent_dots_have(&k->events, &s->dot);
    return !vv_covers(k->covered, &s->dot) && is_asked_for(k, s) &&
           !is_kept_as_event(b, s, k);
}

/* The entry behind key, whose record moves with every write. One that has
 * rotted keeps nobody from returning: no peer has what would mend it, and the
 * state that comes has none of it. */
static int keep_entry(struct batch *b, const struct schema_key *key,
                      const struct keeping *k)
{
    struct entry_id id;
    struct entry e;
    uint64_t done = 0;
    bool more = true;
    int error = schema_parse_entry(&id, schema_key_slice(key));

    if (error != 0 || id.space > SPACE_CLIENT_LAST)
        return error;
    entry_init(&e);
    while (more && error == 0) {
        more = false;
        error = store_txn_entry(&b->txn, &id, &e, NULL);
        if (error == CM_ERR_DAMAGED)
            break;
        for (size_t i = done; i < e.count && error == 0 && !more; i++) {
            const struct sibling *s = &e.siblings[i];

            done = i + 1;
            if (!is_wanted(b, k, s))
                continue;
            error = unsent_keep_sibling(b, &id, s, why_kept(k));
            more = true; /* look again: it was a write */
        }
    }
    CM_MARK_IF(error == CM_ERR_DAMAGED, "return: an entry has rotted");
    entry_release(&e);
    return error == CM_ERR_DAMAGED ? 0 : error;
}

/* The first entry whose key is not below from; CM_ERR_NOT_FOUND. */
static int next_entry(struct batch *b, struct schema_key *key)
{
    MDB_cursor *cursor;
    struct schema_key start = *key;
    MDB_val k, v;
    int error = store_txn_place(&b->txn, &start);
    int rc;

    if (error != 0)
        return error;
    rc = mdb_cursor_open(b->txn.mdb, store_dbi(b->txn.store), &cursor);
    if (rc != 0)
        return store_error(rc, NULL);
    k = (MDB_val){.mv_size = start.size, .mv_data = start.bytes};
    rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    if (rc == 0 && (k.mv_size > SCHEMA_KEY_MAX || k.mv_size == 0 ||
                    *(const uint8_t *)k.mv_data != start.bytes[0]))
        rc = MDB_NOTFOUND;
    if (rc == 0) {
        memcpy(key->bytes, k.mv_data, k.mv_size);
        key->bytes[0] = SCHEMA_PREFIX_ENTRY;
        key->size = k.mv_size;
    }
    mdb_cursor_close(cursor);
    if (rc == MDB_NOTFOUND)
        return CM_ERR_NOT_FOUND;
    return rc == 0 ? 0 : store_error(rc, NULL);
}

static int keep_entries(struct batch *b, const struct keeping *k)
{
    struct schema_key key = {.bytes = {SCHEMA_PREFIX_ENTRY}, .size = 1};
    int error;

    while ((error = next_entry(b, &key)) == 0) {
        error = keep_entry(b, &key, k);
        if (error != 0)
            return error;
        CHECK(key.size <= SCHEMA_KEY_MAX);
        key.bytes[key.size++] = 0; /* behind it */
    }
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

int unsent_keep_siblings(struct batch *b, const struct replacement *r,
                         const struct incarnation *former)
{
    struct keeping k = {.covered = r->vv, .former = former};
    int error = unsent_dots_read(&k.events, b, false);

    if (error == 0)
        error = keep_entries(b, &k);
    unsent_dots_release(&k.events);
    return error;
}

int unsent_keep_own(struct batch *b, const struct replacement *r,
                    const struct incarnation *former, struct slice own,
                    bool missing)
{
    struct keeping k = {.covered = r->vv, .former = former, .own = own};
    bool beyond = missing;
    int error = 0;

    CHECK(own.size % INCARNATION_SIZE == 0);
    for (size_t i = 0; i < own.size && !beyond; i += INCARNATION_SIZE) {
        struct incarnation name;

        memcpy(name.bytes, own.data + i, INCARNATION_SIZE);
        beyond = !incarnation_equal(&name, former) &&
                 vv_seq(&b->w->vv, &name) > vv_seq(r->vv, &name);
    }
    if (!beyond)
        return 0; /* nearly always: every entry would be looked at */
    error = unsent_dots_read(&k.events, b, false);
    if (error == 0)
        error = keep_entries(b, &k);
    unsent_dots_release(&k.events);
    return error;
}

/* The events of one incarnation that the cut lacks. *ret_missing: bytes of one
 * are not here. */
static int keep_others_of(struct batch *b, const struct keeping *k,
                          const struct vv_entry *here, bool *ret_missing)
{
    struct dot dot = {.incarnation = here->incarnation,
                      .seq = vv_seq(k->covered, &here->incarnation) + 1};
    int error = 0;

    for (; dot.seq <= here->seq && error == 0; dot.seq++) {
        if (unsent_dots_have(&k->events, &dot) ||
            unsent_dots_have(&k->siblings, &dot))
            continue; /* by an earlier return, or as of a lost branch */
        error = keep_others_event(b, &dot);
        if (error == CM_ERR_NOT_FOUND || error == CM_ERR_DAMAGED) {
            *ret_missing = true;
            error = 0;
        }
    }
    return error;
}

static int keep_others(struct batch *b, struct keeping *k)
{
    bool missing = false;
    int error = unsent_dots_read(&k->siblings, b, true);

    if (error == 0)
        error = unsent_dots_read(&k->events, b, false);
    for (size_t i = 0; i < b->w->vv.count && error == 0; i++) {
        struct vv_entry here = b->w->vv.entries[i];

        if (!incarnation_equal(&here.incarnation, k->former) &&
            !is_in(k->own, &here.incarnation))
            error = keep_others_of(b, k, &here, &missing);
    }
    if (error != 0 || !missing)
        return error; /* nearly always: every entry would be looked at */
    CM_MARK("return: what another node's event had left was kept apart");
    unsent_dots_release(&k->events);
    error = unsent_dots_read(&k->events, b, false); /* those just kept, too */
    return error == 0 ? keep_entries(b, k) : error;
}

int unsent_keep_others(struct batch *b, const struct replacement *r,
                       const struct incarnation *former, struct slice own)
{
    struct keeping k = {
        .covered = r->vv, .former = former, .own = own, .others = true};
    int error;

    CHECK(own.size % INCARNATION_SIZE == 0);
    error = keep_others(b, &k);
    unsent_dots_release(&k.events);
    unsent_dots_release(&k.siblings);
    return error;
}

int unsent_keep_branch(struct batch *b, const struct incarnation *branch)
{
    struct keeping k = {.branch = branch};
    int error;

    CM_MARK("return: the branch that lost was kept");
    error = unsent_dots_read(&k.events, b, false);
    if (error == 0)
        error = keep_entries(b, &k);
    unsent_dots_release(&k.events);
    return error;
}
