/* Local intents: conditions, revocation, and the event that gathers them.
 *
 * Checks come first and change nothing; then either all operations of the
 * intent are applied or, on a fatal error, the whole batch is undone. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/writer_internal.h"

#define TIME_TEXT_SIZE 32

/* ---- what an operation would do ---- */

static int supersede_all(struct writer *w, const struct entry *e)
{
    if (e->count > OP_SUPERSEDES_MAX)
        return CM_ERR_TOO_LARGE;
    if (e->count > w->dots_capacity) {
        struct dot *grown = cm_realloc(w->dots, e->count * sizeof *grown);

        if (grown == NULL)
            return CM_ERR_NOMEM;
        w->dots = grown;
        w->dots_capacity = e->count;
    }
    for (size_t i = 0; i < e->count; i++)
        w->dots[i] = e->siblings[i].dot;
    return 0;
}

/* Every sibling at the origin is superseded, losers and tombstones too. A
 * roster-add supersedes nothing: it is void otherwise. */
static int build_op(struct writer *w, const struct intent *intent,
                    const struct local_op *local, const struct entry *entry,
                    struct op *ret_op)
{
    int error = supersede_all(w, entry);

    CM_MARK_IF(entry->count > 1, "write: supersedes several siblings");

    if (error != 0)
        return error;
    *ret_op = (struct op){
        .kind = local->kind,
        .key = local->key,
        .element = local->element,
        .value = local->value,
        .author = intent->author,
        .flags = local->flags,
        .expires = local->expires,
        .supersedes = w->dots,
        .supersedes_count = local->kind == OP_ROSTER_ADD ? 0 : entry->count,
    };
    return 0;
}

static struct entry_id id_of(const struct local_op *op)
{
    return (struct entry_id){
        .space = op_space(op->kind),
        .key = op->key,
        .element = op->element,
    };
}

static const char *name_of(const struct writer *w, const struct incarnation *i)
{
    const struct roster_member *m = roster_find(w->roster, i);

    return m != NULL ? m->certificate.name : "an earlier node";
}

static void format_time(char ret_text[TIME_TEXT_SIZE], hlc_t hlc)
{
    time_t seconds = (time_t)(hlc_wall_ms(hlc) / 1000);
    struct tm tm;

    if (gmtime_r(&seconds, &tm) == NULL ||
        strftime(ret_text, TIME_TEXT_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        memcpy(ret_text, "unknown time", sizeof "unknown time");
}

static int refuse_revoked(const struct writer *w, const struct sibling *revoke,
                          struct cm_detail *detail)
{
    char dot[DOT_TEXT_SIZE];
    char when[TIME_TEXT_SIZE];

    CM_MARK("write: refused, its key is revoked");
    dot_format(dot, &revoke->dot);
    format_time(when, revoke->hlc);
    return cm_fail(detail, CM_ERR_REVOKED,
                   "revoked by %s at %s; name it with --if-version %s or "
                   "--unrevoke",
                   name_of(w, &revoke->dot.incarnation), when, dot);
}

static bool is_revive(enum op_kind kind)
{
    return kind == OP_PUT || kind == OP_SET_ADD;
}

static bool names_revoke(const struct local_op *op, const struct resolution *r)
{
    return op->condition == CONDITION_VERSION && r->revoke != NULL &&
           dot_equal(&op->version, &r->revoke->dot);
}

static int check_condition(const struct local_op *op,
                           const struct resolution *r,
                           const struct entry_local *local,
                           struct cm_detail *detail)
{
    switch (op->condition) {
    case CONDITION_NONE:
        return 0;
    case CONDITION_ABSENT:
        return !r->present ? 0
                           : cm_fail(detail, CM_ERR_CONDITION,
                                     "condition is false: it is present");
    case CONDITION_VERSION:
        if (names_revoke(op, r) || (r->revoke == NULL && r->winner != NULL &&
                                    dot_equal(&op->version, &r->winner->dot)))
            return 0;
        CM_MARK("write: refused, another version");
        return cm_fail(detail, CM_ERR_CONDITION,
                       "condition is false: this node holds another version; "
                       "read it again");
    case CONDITION_REVISION:
        if (op->revision == 0
                ? !r->present
                : r->present && local->modify_revision == op->revision)
            return 0;
        return cm_fail(detail, CM_ERR_CONDITION,
                       "condition is false: changed at revision %llu",
                       (unsigned long long)local->modify_revision);
    }
    return cm_fail(detail, CM_ERR_INVALID, "condition kind %d is unknown",
                   (int)op->condition);
}

/* A stale client's write cannot lift a revoke: not by a put that does not name
 * it, nor by a del, which would put a plain tombstone in its place. */
static int check_revoked(const struct writer *w, const struct local_op *op,
                         const struct resolution *r, struct cm_detail *detail)
{
    if (r->revoke == NULL || !is_revive(op->kind) || op->unrevoke ||
        names_revoke(op, r))
        return 0;
    return refuse_revoked(w, r->revoke, detail);
}

/* Whether the operation has nothing to write. */
static bool is_idle(const struct local_op *op, const struct entry *e,
                    const struct resolution *r)
{
    switch (op->kind) {
    case OP_DEL:
    case OP_SET_REMOVE:
        return !r->present; /* revoked counts as absent, and stays revoked */
    case OP_SET_ADD:
        return r->present && r->winner->expires == op->expires;
    case OP_REVOKE:
    case OP_SET_REVOKE:
        return e->count == 1 && r->revoke != NULL;
    case OP_PUT:
    case OP_ROSTER_ADD:
    case OP_FENCE:
    case OP_ACK:
        break;
    }
    return false;
}

static int check_roster_add(const struct writer *w, const struct local_op *op,
                            const struct certificate *own,
                            const struct entry *entry, struct cm_detail *detail)
{
    struct certificate added;
    struct incarnation incarnation;
    int error;

    memcpy(incarnation.bytes, op->key.data, INCARNATION_SIZE);
    if (!roster_may_add(own))
        return cm_fail(detail, CM_ERR_AUTHORITY,
                       "this node's certificate does not let it sponsor "
                       "others; ask an issuer");
    if (entry->count > 0 || writer_is_sealed(w, &incarnation) ||
        roster_find(w->roster, &incarnation) != NULL)
        return cm_fail(detail, CM_ERR_EXISTS,
                       "incarnation was rostered before and never enters "
                       "twice; join with a new one");
    error = certificate_decode(&added, op->value, w->authority);
    if (error != 0)
        return cm_fail(detail, error, "certificate to be rostered: %s",
                       cm_strerror(error));
    return 0;
}

static int check_authority(const struct writer *w, const struct local_op *op,
                           const struct entry *entry, struct cm_detail *detail)
{
    const struct roster_member *self = roster_find(w->roster, &w->self);
    struct entry_id id = id_of(op);

    CHECK(self != NULL);
    if (op->kind == OP_ROSTER_ADD)
        return check_roster_add(w, op, &self->certificate, entry, detail);
    if (certificate_may_write(&self->certificate, &id))
        return 0;
    return cm_fail(detail, CM_ERR_AUTHORITY,
                   "this node's certificate does not permit writing key %.*s; "
                   "ask for one with that prefix",
                   (int)(op->key.size < 80 ? op->key.size : 80),
                   (const char *)op->key.data);
}

static int check_limits(const struct intent *intent, const struct local_op *op,
                        struct cm_detail *detail)
{
    struct op plain;

    if (op->expires > hlc_make(WRITER_WALL_MS_MAX, 0))
        return cm_fail(detail, CM_ERR_INVALID,
                       "expiry lies beyond the year 6400; choose an earlier "
                       "one, or none");
    plain = (struct op){
        .kind = op->kind,
        .key = op->key,
        .element = op->element,
        .value = op->value,
        .author = intent->author,
        .flags = op->flags,
        .expires = op->expires,
    };

    return op_check(&plain, detail);
}

/* Leaves the entry in w->entry. */
static int check_op(struct batch *b, struct intent *intent,
                    const struct local_op *op, bool *ret_idle)
{
    struct writer *w = b->w;
    struct entry_id id = id_of(op);
    struct entry_local local = {0};
    struct resolution r;
    int error = check_limits(intent, op, &intent->detail);

    if (error != 0)
        return error;
    error = store_txn_entry(&b->txn, &id, &w->entry, &local);
    if (error != 0 && error != CM_ERR_NOT_FOUND)
        return cm_fail(&intent->detail, error,
                       "stored record of the key: %s; restore this node from "
                       "a peer or a snapshot",
                       cm_strerror(error));
    error = check_authority(w, op, &w->entry, &intent->detail);
    if (error != 0)
        return error;
    r = entry_resolve(&w->entry, b->now);
    error = check_condition(op, &r, &local, &intent->detail);
    /* Who names a stale version of something revoked wants to know why. */
    if (error == 0 || op->condition == CONDITION_VERSION) {
        int revoked = check_revoked(w, op, &r, &intent->detail);

        error = revoked != 0 ? revoked : error;
    }
    *ret_idle = is_idle(op, &w->entry, &r);
    return error;
}

/* ---- the open event ---- */

static int add_dep(struct own_event *own, const struct dot *dot)
{
    if (own->deps_count == own->deps_capacity) {
        size_t capacity = own->deps_capacity > 0 ? 2 * own->deps_capacity : 8;
        struct dot *grown = cm_realloc(own->deps, capacity * sizeof *grown);

        if (grown == NULL)
            return CM_ERR_NOMEM;
        own->deps = grown;
        own->deps_capacity = capacity;
    }
    own->deps[own->deps_count++] = *dot;
    return 0;
}

/* "deps = the VV entries, other than its own, changed since the VV persisted
 * with the origin's previous event." Both vectors are sorted. */
static int gather_deps(struct writer *w)
{
    size_t j = 0;
    int error = 0;

    w->own.deps_count = 0;
    for (size_t i = 0; i < w->vv.count && error == 0; i++) {
        const struct vv_entry *e = &w->vv.entries[i];
        uint64_t known = 0;

        while (j < w->known.count &&
               incarnation_compare(&w->known.entries[j].incarnation,
                                   &e->incarnation) < 0)
            j++;
        if (j < w->known.count &&
            incarnation_equal(&w->known.entries[j].incarnation,
                              &e->incarnation))
            known = w->known.entries[j].seq;
        if (e->seq > known && !incarnation_equal(&e->incarnation, &w->self)) {
            struct dot dot = {.incarnation = e->incarnation, .seq = e->seq};

            error = add_dep(&w->own, &dot);
        }
    }
    return error;
}

/* After gather_deps. */
static int open_event(struct batch *b)
{
    struct writer *w = b->w;
    struct own_event *own = &w->own;

    CHECK(!own->open);
    own->dot = (struct dot){
        .incarnation = w->self,
        .seq = vv_seq(&w->vv, &w->self) + 1,
    };
    own->hlc = hlc_next(w->head.hlc, b->wall_ms);
    CHECK(own->hlc > w->head.hlc);
    w->head.hlc = own->hlc;
    buffer_clear(&own->body);
    own->ops_count = 0;
    own->open = true;
    return state_event_begin(b, &own->dot);
}

/* What the event's deps cover is remembered with it, or a crash would lose
 * dependencies of the next. */
static int remember_deps(struct batch *b)
{
    struct writer *w = b->w;
    struct hash none = {{0}};
    int error = 0;

    for (size_t i = 0; i < w->own.deps_count && error == 0; i++) {
        const struct dot *d = &w->own.deps[i];

        error = vv_set(&w->known, &d->incarnation, d->seq, &none);
        if (error == 0)
            error = state_actor_dirty(b, &d->incarnation);
    }
    return error;
}

int local_close_event(struct batch *b)
{
    struct writer *w = b->w;
    struct own_event *own = &w->own;
    const struct vv_entry *head = vv_find(&w->vv, &w->self);
    struct hash hash;
    int error;

    if (!own->open)
        return 0;
    struct event_draft draft = {
        .mesh = w->mesh,
        .generation = w->generation,
        .dot = own->dot,
        .hlc = own->hlc,
        .deps = own->deps,
        .deps_count = own->deps_count,
        .body = buffer_slice(&own->body),
        .ops_count = own->ops_count,
    };
    if (head != NULL)
        draft.previous = head->head;
    CHECK(own->ops_count > 0);
    buffer_clear(&w->scratch);
    error = event_encode(&w->scratch, &draft, w->secret_key, &hash);
    if (error == 0)
        error = remember_deps(b);
    if (error == 0)
        error = state_event_end(b, &own->dot, own->hlc, &hash,
                                buffer_slice(&w->scratch), true, NULL);
    own->open = false;
    return error;
}

/* ---- applying an intent ---- */

static int apply_op(struct batch *b, const struct intent *intent,
                    const struct local_op *local)
{
    struct writer *w = b->w;
    struct entry_id id = id_of(local);
    struct entry_local revisions = {0};
    struct op op;
    int error = store_txn_entry(&b->txn, &id, &w->entry, &revisions);

    if (error == CM_ERR_NOT_FOUND)
        error = 0;
    if (error == 0)
        error = build_op(w, intent, local, &w->entry, &op);
    if (error != 0)
        return error;
    event_body_add(&w->own.body, &op);
    w->own.ops_count++;
    if (w->own.body.error != 0)
        return w->own.body.error;
    return state_apply(b, &op, &w->own.dot, w->own.hlc, &w->entry, &revisions);
}

/* Adds what check_op left in w->entry to the intent's encoded size. */
static int measure_op(struct writer *w, const struct intent *intent,
                      const struct local_op *local, size_t *size)
{
    struct op op;
    int error = build_op(w, intent, local, &w->entry, &op);

    if (error != 0)
        return error;
    buffer_clear(&w->scratch);
    event_body_add(&w->scratch, &op);
    *size += w->scratch.size;
    return w->scratch.error;
}

/* Whether the open event has room for size bytes and count operations and no
 * operation on any of the intent's entries: at most one per event. */
static bool fits_open(const struct writer *w, const struct intent *intent,
                      size_t size, size_t count)
{
    const struct own_event *own = &w->own;

    if (!own->open || own->ops_count + count > EVENT_OPS_MAX ||
        own->body.size + size + event_overhead(own->deps_count) >
            EVENT_SIZE_MAX)
        return false;
    for (size_t i = 0; i < intent->ops_count; i++) {
        struct entry_id id = id_of(&intent->ops[i]);
        struct schema_key key;

        schema_key_entry(&key, &id);
        if (change_log_in_newest(&w->log, schema_key_slice(&key)))
            return false;
    }
    return true;
}

static int compare_ops(const void *a, const void *b)
{
    struct entry_id x = id_of(*(const struct local_op *const *)a);
    struct entry_id y = id_of(*(const struct local_op *const *)b);

    return entry_id_compare(&x, &y);
}

static int check_distinct(struct intent *intent)
{
    const struct local_op **sorted;
    int error = 0;

    if (intent->ops_count < 2)
        return 0;
    sorted = cm_calloc(intent->ops_count, sizeof *sorted);
    if (sorted == NULL)
        return CM_ERR_NOMEM;
    for (size_t i = 0; i < intent->ops_count; i++)
        sorted[i] = &intent->ops[i];
    qsort(sorted, intent->ops_count, sizeof *sorted, compare_ops);
    for (size_t i = 1; i < intent->ops_count && error == 0; i++) {
        if (compare_ops(&sorted[i - 1], &sorted[i]) != 0)
            continue;
        intent->failed_op = (size_t)(sorted[i] - intent->ops);
        error =
            cm_fail(&intent->detail, CM_ERR_INVALID,
                    "key %.*s occurs twice in one transaction; name each "
                    "key or element once",
                    (int)(sorted[i]->key.size < 80 ? sorted[i]->key.size : 80),
                    (const char *)sorted[i]->key.data);
    }
    cm_free(sorted);
    return error;
}

static int check_writable(const struct batch *b, struct intent *intent)
{
    const struct writer *w = b->w;

    if (w->hazard)
        return cm_fail(&intent->detail, CM_ERR_FORK,
                       "a peer knows later events of this node: its data "
                       "directory was rolled back or cloned; writes are "
                       "refused, join again with a new directory");
    if (!b->ready)
        return cm_fail(&intent->detail, CM_ERR_NOT_READY,
                       "this node has not received the mesh's state yet; "
                       "retry when it is ready");
    if (roster_find(w->roster, &w->self) == NULL)
        return cm_fail(&intent->detail, CM_ERR_NOT_READY,
                       "this node is not in the roster yet; its sponsor's "
                       "add has to arrive first");
    if (intent->ops_count == 0)
        return cm_fail(&intent->detail, CM_ERR_INVALID,
                       "transaction without operations; name at least one");
    return 0;
}

/* Phase one: changes nothing. idle[i] tells which operations are. */
static int check_intent(struct batch *b, struct intent *intent, bool *idle,
                        size_t *ret_size, size_t *ret_count)
{
    int error = check_writable(b, intent);
    size_t size = 0;
    size_t count = 0;

    for (size_t i = 0; i < intent->ops_count && error == 0; i++) {
        intent->failed_op = i;
        error = check_op(b, intent, &intent->ops[i], &idle[i]);
        if (error == 0 && !idle[i]) {
            error = measure_op(b->w, intent, &intent->ops[i], &size);
            count++;
        }
    }
    if (error == 0)
        error = check_distinct(intent);
    if (error == 0)
        intent->failed_op = 0;
    *ret_size = size;
    *ret_count = count;
    return error;
}

static int apply_intent(struct batch *b, struct intent *intent,
                        const bool *idle)
{
    int error = 0;

    for (size_t i = 0; i < intent->ops_count && error == 0; i++) {
        if (!idle[i])
            error = apply_op(b, intent, &intent->ops[i]);
    }
    return error;
}

/* Opens the event that takes size bytes more. An intent that exceeds even an
 * empty event is refused. */
static int make_room(struct batch *b, struct intent *intent, size_t size,
                     size_t count, bool *ret_fatal)
{
    struct writer *w = b->w;
    int error;

    if (fits_open(w, intent, size, count)) {
        CM_MARK("commit: one event gathers several writes");
        return 0;
    }
    CM_MARK_IF(w->own.open, "commit: several own events");
    *ret_fatal = true;
    error = local_close_event(b);
    if (error == 0)
        error = gather_deps(w);
    if (error != 0)
        return error;
    if (size + event_overhead(w->own.deps_count) > EVENT_SIZE_MAX) {
        *ret_fatal = false;
        return cm_fail(&intent->detail, CM_ERR_TOO_LARGE,
                       "transaction has %zu bytes encoded, an event at most "
                       "%u; split it",
                       size, EVENT_SIZE_MAX);
    }
    return open_event(b);
}

int local_intent(struct batch *b, struct intent *intent)
{
    size_t size, count;
    bool fatal = false;
    bool one_idle = false;
    bool *idle = &one_idle;
    int error = 0;

    CHECK(intent->ops_count <= EVENT_OPS_MAX);
    intent->revision = b->w->head.revision;
    if (intent->ops_count > 1) {
        idle = cm_calloc(intent->ops_count, sizeof *idle);
        if (idle == NULL)
            error = CM_ERR_NOMEM;
    }
    if (error == 0)
        error = check_intent(b, intent, idle, &size, &count);
    if (error == 0 && count > 0)
        error = make_room(b, intent, size, count, &fatal);
    if (error == 0 && count > 0) {
        fatal = true;
        error = apply_intent(b, intent, idle);
        intent->wrote = true;
        intent->dot = b->w->own.dot;
        intent->revision = b->revision;
    }
    if (idle != &one_idle)
        cm_free(idle);
    intent->result = error;
    return error != 0 && fatal ? error : 0;
}
