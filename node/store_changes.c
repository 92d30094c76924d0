/* What a watch delivers: changes of one commit, read back from the events that
 * it applied and the exceptions that were recorded with it: in an 'r' record,
 * or with the own event that was its only one. */
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/change_log.h"
#include "node/store_txn.h"

struct changes {
    struct store_reader *reader;
    uint64_t revision;
    change_visit visit;
    void *context;
    size_t visited;
};

static int deliver(struct changes *c, const struct change *change)
{
    c->visited++;
    return c->visit(c->context, change);
}

static struct change change_of(const struct changes *c, const struct event *e,
                               const struct op *op)
{
    struct change ret = {
        .revision = c->revision,
        .id = op_entry_id(op),
        .author = op->author,
        .dot = e->dot,
        .hlc = e->hlc,
        .revoked = op->kind == OP_REVOKE || op->kind == OP_SET_REVOKE,
    };

    switch (op->kind) {
    case OP_PUT:
        ret.kind = CHANGE_PUT;
        ret.value = op->value;
        ret.flags = op->flags;
        break;
    case OP_SET_ADD:
        ret.kind = CHANGE_ADD;
        break;
    case OP_DEL:
    case OP_REVOKE:
    case OP_ROSTER_ADD:
    case OP_FENCE:
    case OP_ACK:
    case OP_KNOWS: /* never visible: the log says "none" */
        ret.kind = CHANGE_DELETE;
        break;
    case OP_SET_REMOVE:
    case OP_SET_REVOKE:
        ret.kind = CHANGE_REMOVE;
        break;
    }
    return ret;
}

/* The bytes of the visible sibling's event are not held (it came in a cut):
 * take it from the entry. If it is not there any more a later commit has
 * superseded it and tells what followed. */
static int deliver_sibling(struct changes *c, const struct entry_id *id,
                           const struct dot *dot)
{
    struct entry entry;
    int error;

    entry_init(&entry);
    error = store_get(c->reader, id, &entry, NULL);
    if (error == CM_ERR_NOT_FOUND)
        error = 0;
    for (size_t i = 0; i < entry.count && error == 0; i++) {
        const struct sibling *s = &entry.siblings[i];
        struct change change = {
            .revision = c->revision,
            .kind = id->space == SPACE_SET ? CHANGE_ADD : CHANGE_PUT,
            .id = *id,
            .value = s->value,
            .flags = s->flags,
            .author = s->author,
            .dot = s->dot,
            .hlc = s->hlc,
        };

        if (dot_equal(&s->dot, dot))
            error = deliver(c, &change);
    }
    entry_release(&entry);
    return error;
}

/* Another sibling than the operation's own became visible. */
static int deliver_other(struct changes *c, const struct entry_id *id,
                         const struct dot *dot)
{
    struct slice bytes;
    struct event e;
    int error = store_txn_event(&c->reader->txn, dot, &bytes);

    CM_MARK("watch: a commit made an older sibling visible");
    if (error == CM_ERR_NOT_FOUND)
        return deliver_sibling(c, id, dot);
    if (error == 0)
        error = event_decode(&e, bytes);
    if (error != 0)
        return error == CM_ERR_NOMEM ? error : CM_ERR_DAMAGED;
    for (size_t i = 0; i < e.ops_count && error == 0; i++) {
        struct entry_id other = op_entry_id(&e.ops[i]);
        struct change change = change_of(c, &e, &e.ops[i]);

        if (entry_id_compare(&other, id) == 0)
            error = deliver(c, &change);
    }
    event_release(&e);
    return error;
}

static int deliver_op(struct changes *c, const struct event *e,
                      const struct op *op, enum outcome outcome,
                      const struct dot *other)
{
    struct change change = change_of(c, e, op);

    switch (outcome) {
    case OUTCOME_OWN:
        return deliver(c, &change);
    case OUTCOME_NONE:
        return 0;
    case OUTCOME_OTHER:
        return deliver_other(c, &change.id, other);
    case OUTCOME_ABSENT:
        change.kind =
            change.id.space == SPACE_SET ? CHANGE_REMOVE : CHANGE_DELETE;
        change.value = slice_of(NULL, 0);
        change.flags = 0;
        return deliver(c, &change);
    }
    return CM_ERR_DAMAGED;
}

/* One exception of the record: the operation that it is about. */
struct exception {
    uint64_t op;
    enum outcome outcome;
    struct dot other;
};

static void exception_unpack(struct unpacker *u, const struct actors *actors,
                             struct exception *ret)
{
    uint32_t actor;

    ret->op = unpack_uint(u, EVENT_OPS_MAX - 1);
    ret->outcome = (enum outcome)unpack_uint(u, OUTCOME_ABSENT);
    if (ret->outcome != OUTCOME_OTHER)
        return;
    actor = (uint32_t)unpack_uint(u, UINT32_MAX);
    ret->other.seq = unpack_uint(u, UINT64_MAX);
    if (u->error == 0 && !actors_get(actors, actor, &ret->other.incarnation))
        unpack_fail(u, CM_ERR_MALFORMED);
}

static int visit_ops(struct changes *c, struct unpacker *u,
                     const struct event *e, uint64_t exceptions)
{
    const struct actors *actors = store_actors(c->reader->txn.store);
    struct exception next = {.op = UINT64_MAX};
    int error = 0;

    for (size_t i = 0; i < e->ops_count && error == 0; i++) {
        if (exceptions > 0 && next.op == UINT64_MAX) {
            exception_unpack(u, actors, &next);
            exceptions--;
            if (u->error != 0 || next.op < i)
                return CM_ERR_DAMAGED;
        }
        if (next.op == i) {
            error = deliver_op(c, e, &e->ops[i], next.outcome, &next.other);
            next.op = UINT64_MAX;
        } else {
            error = deliver_op(c, e, &e->ops[i], OUTCOME_OWN, NULL);
        }
    }
    if (error == 0 && (exceptions > 0 || next.op != UINT64_MAX))
        return CM_ERR_DAMAGED;
    return error;
}

/* What ended by itself in this commit. */
static int visit_expiry(struct changes *c, struct unpacker *u)
{
    const struct actors *actors = store_actors(c->reader->txn.store);
    struct change change = {.revision = c->revision, .expired = true};
    uint32_t actor;

    change.id.space = (enum space)unpack_uint(u, SPACE_SET);
    change.id.key = unpack_bin(u, KEY_SIZE_MAX);
    change.id.element = unpack_bin(u, KEY_SIZE_MAX);
    actor = (uint32_t)unpack_uint(u, UINT32_MAX);
    change.dot.seq = unpack_uint(u, UINT64_MAX);
    change.hlc = unpack_uint(u, UINT64_MAX);
    if (u->error != 0 || !actors_get(actors, actor, &change.dot.incarnation))
        return CM_ERR_DAMAGED;
    change.kind = change.id.space == SPACE_SET ? CHANGE_REMOVE : CHANGE_DELETE;
    return deliver(c, &change);
}

/* What a cut made visible, or took. */
static int visit_entry(struct changes *c, struct unpacker *u)
{
    const struct actors *actors = store_actors(c->reader->txn.store);
    struct change change = {.revision = c->revision};
    uint32_t actor;
    bool present;

    change.id.space = (enum space)unpack_uint(u, SPACE_SET);
    change.id.key = unpack_bin(u, KEY_SIZE_MAX);
    change.id.element = unpack_bin(u, KEY_SIZE_MAX);
    present = unpack_bool(u);
    change.revoked = unpack_bool(u);
    actor = (uint32_t)unpack_uint(u, UINT32_MAX);
    change.dot.seq = unpack_uint(u, UINT64_MAX);
    change.hlc = unpack_uint(u, UINT64_MAX);
    if (u->error != 0 || !actors_get(actors, actor, &change.dot.incarnation))
        return CM_ERR_DAMAGED;
    CM_MARK("watch: a cut was told entry by entry");
    if (present)
        return deliver_sibling(c, &change.id, &change.dot);
    change.kind = change.id.space == SPACE_SET ? CHANGE_REMOVE : CHANGE_DELETE;
    return deliver(c, &change);
}

static int visit_event(struct changes *c, struct unpacker *u)
{
    struct store_txn *txn = &c->reader->txn;
    uint32_t actor = (uint32_t)unpack_uint(u, UINT32_MAX);

    if (u->error == 0 && actor == CHANGE_LOG_EXPIRED_MARK)
        return visit_expiry(c, u);
    if (u->error == 0 && actor == CHANGE_LOG_ENTRY_MARK)
        return visit_entry(c, u);
    uint64_t seq = unpack_uint(u, UINT64_MAX);
    uint64_t exceptions = unpack_uint(u, EVENT_OPS_MAX);
    struct dot dot = {.seq = seq};
    struct slice bytes;
    struct event e;
    int error;

    if (u->error != 0 ||
        !actors_get(store_actors(txn->store), actor, &dot.incarnation))
        return CM_ERR_DAMAGED;
    error = store_txn_event(txn, &dot, &bytes);
    if (error == CM_ERR_NOT_FOUND)
        return CM_ERR_NEEDS_CUT;
    if (error == 0)
        error = event_decode(&e, bytes);
    if (error != 0)
        return error == CM_ERR_NOMEM ? error : CM_ERR_DAMAGED;
    error = visit_ops(c, u, &e, exceptions);
    event_release(&e);
    return error;
}

static int visit_record(struct changes *c, struct slice payload)
{
    struct unpacker u;
    int error = 0;

    unpack_init(&u, payload);
    while (error == 0 && u.position < payload.size)
        error = visit_event(c, &u);
    return error;
}

/* ---- the next commit ---- */

/* Revision of an own event; 0 for one whose bytes are gone. */
static int own_revision(struct changes *c, uint64_t seq, uint64_t *ret)
{
    const struct schema_head *head = &c->reader->head;
    struct schema_own own;
    int error = store_txn_own(&c->reader->txn, head->own_actor, seq, &own);

    *ret = 0;
    if (error == 0)
        *ret = own.revision;
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

/* The first own event whose revision is greater than from, 0 if none. They
 * ascend together, and watchers are mostly near the end: gallop from there,
 * then halve. */
static int own_after(struct changes *c, uint64_t from, uint64_t *ret_seq)
{
    uint64_t high =
        c->reader->head.own_seq + 1; /* beyond, or revision > from */
    uint64_t low = 0;                /* none, or revision <= from */
    uint64_t step = 1;
    int error = 0;

    while (high - low > 1 && error == 0) {
        uint64_t distance = high - low;
        uint64_t probe =
            low > 0 || step >= distance ? low + distance / 2 : high - step;
        uint64_t revision;

        CHECK(probe > low && probe < high);
        error = own_revision(c, probe, &revision);
        if (revision > from)
            high = probe;
        else
            low = probe;
        step *= 2;
    }
    *ret_seq = high <= c->reader->head.own_seq ? high : 0;
    return error;
}

struct commit {
    uint64_t revision; /* UINT64_MAX: none */
    struct slice changes;
};

/* The next commit whose only event, an own one, tells what it changed. */
static int next_own(struct changes *c, uint64_t from, struct commit *ret)
{
    const struct schema_head *head = &c->reader->head;
    uint64_t seq;
    int error = own_after(c, from, &seq);

    ret->revision = UINT64_MAX;
    for (; error == 0 && seq > 0 && seq <= head->own_seq; seq++) {
        struct schema_own own;

        error = store_txn_own(&c->reader->txn, head->own_actor, seq, &own);
        if (error == 0 && own.inlined) {
            *ret = (struct commit){own.revision, own.changes};
            return 0;
        }
    }
    return error;
}

/* The next commit with a record of its own. */
static int next_record(struct changes *c, uint64_t from, struct commit *ret)
{
    struct store_txn *t = &c->reader->txn;
    struct schema_key start;
    struct slice key;
    MDB_cursor *cursor;
    MDB_val k, v;
    int rc = mdb_cursor_open(t->mdb, store_dbi(t->store), &cursor);
    int error;

    ret->revision = UINT64_MAX;
    if (rc != 0)
        return store_error(rc, NULL);
    schema_key_revision(&start, from + 1);
    k = (MDB_val){.mv_size = start.size, .mv_data = start.bytes};
    rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    mdb_cursor_close(cursor);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : store_error(rc, NULL);
    key = slice_of(k.mv_data, k.mv_size);
    if (key.size == 0 || key.data[0] != SCHEMA_PREFIX_REVISION)
        return 0;
    error =
        schema_record_open(&ret->changes, key, slice_of(v.mv_data, v.mv_size));
    if (error == 0)
        error = schema_parse_revision(&ret->revision, key);
    return error;
}

/* Of one revision the record counts: the own event was not alone. */
static int next_commit(struct changes *c, uint64_t from, struct commit *ret)
{
    struct commit own;
    int error = next_record(c, from, ret);

    if (error == 0)
        error = next_own(c, from, &own);
    if (error == 0 && own.revision < ret->revision)
        *ret = own;
    if (error == 0 && ret->revision == UINT64_MAX)
        error = CM_ERR_NOT_FOUND;
    return error;
}

int store_changes(struct store_reader *r, uint64_t from, uint64_t *ret_revision,
                  change_visit visit, void *context)
{
    struct changes c = {
        .reader = r, .visit = visit, .context = context, .revision = from};
    int error = 0;

    if (from < r->head.oldest_revision)
        return CM_ERR_NEEDS_CUT;
    CHECK(r->txn.mdb != NULL && !r->txn.idle);
    while (error == 0 && c.visited == 0) {
        struct commit next;

        if (c.revision >= r->head.revision)
            return CM_ERR_NOT_FOUND;
        error = next_commit(&c, c.revision, &next);
        if (error != 0)
            break;
        c.revision = next.revision;
        error = visit_record(&c, next.changes);
    }
    if (error == 0)
        *ret_revision = c.revision;
    return error;
}
