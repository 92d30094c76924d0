/* Local intents: conditions, revocation, and the event that gathers them.
 *
 * Checks come first and change nothing; then either all operations of the
 * intent are applied or, on a fatal error, the whole batch is undone. */
#include <string.h>
#include <time.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/writer_internal.h"

#define TIME_TEXT_SIZE 32
#define REASON_SHOWN_MAX 60 /* bytes, in a refusal */
#define CONTROL_OVERHEAD 64 /* of an operation's own encoding */

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

/* Of what is there, only what the operation names. */
static size_t keep_named(struct writer *w, const struct local_op *local,
                         size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        if (intent_dots_have(local->seen, &w->dots[i]))
            w->dots[kept++] = w->dots[i];
    }
    return kept;
}

/* Whoever is added by its own node knows what this program does. */
static uint32_t level_of_added(const struct writer *w,
                               const struct local_op *local)
{
    if (local->kind != OP_ROSTER_ADD)
        return 0;
    return local->level != 0 ? local->level : w->level;
}

/* Every sibling at the origin is superseded, losers and tombstones too. A
 * roster-add supersedes nothing: it is void otherwise. */
static int build_op(struct writer *w, const struct intent *intent,
                    const struct local_op *local, const struct entry *entry,
                    struct op *ret_op)
{
    int error = supersede_all(w, entry);
    const struct sibling *kept;
    size_t count = local->kind == OP_ROSTER_ADD ? 0 : entry->count;

    CM_MARK_IF(entry->count > 1, "write: supersedes several siblings");

    if (error != 0)
        return error;
    if (local->narrow)
        count = keep_named(w, local, count);
    *ret_op = (struct op){
        .kind = local->kind,
        .key = local->key,
        .element = local->element,
        .value = local->value,
        .author = local->author.size > 0 ? local->author : intent->author,
        .flags = local->flags,
        .expires = local->expires,
        .level = level_of_added(w, local),
        .supersedes = w->dots,
        .supersedes_count = count,
    };
    if (local->verb == LOCAL_RESOLVE) {
        kept = txn_kept(local, entry);
        CHECK(kept != NULL); /* checked in this very transaction */
        ret_op->value = kept->value;
        ret_op->flags = kept->flags;
        ret_op->expires = kept->expires;
        if (!level_is_known(w, op_level(ret_op)))
            ret_op->value = slice_of(NULL, 0);
    }
    return 0;
}

struct entry_id local_id_of(const struct local_op *op)
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
    struct slice why = revoke->value;

    if (why.size > REASON_SHOWN_MAX)
        why.size = REASON_SHOWN_MAX;
    while (why.size > 0 && !utf8_is_valid(why))
        why.size--;
    CM_MARK("write: refused, its key is revoked");
    dot_format(dot, &revoke->dot);
    format_time(when, revoke->hlc);
    return cm_fail(detail, CM_ERR_REVOKED,
                   "revoked by %s at %s%s%.*s%s; name it with --if-version %s "
                   "or --unrevoke",
                   name_of(w, &revoke->dot.incarnation), when,
                   why.size > 0 ? " (" : "", (int)why.size,
                   why.size > 0 ? (const char *)why.data : "",
                   why.size > 0 ? ")" : "", dot);
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

int local_check_condition(const struct local_op *op, const struct resolution *r,
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

static bool names_any(const struct local_op *op, const struct entry *e)
{
    for (size_t i = 0; i < e->count; i++) {
        if (intent_dots_have(op->seen, &e->siblings[i].dot))
            return true;
    }
    return false;
}

/* Whether the operation has nothing to write. */
static bool is_idle(const struct local_op *op, const struct entry *e,
                    const struct resolution *r)
{
    if (op->verb == LOCAL_RESOLVE)
        return e->count == 1; /* it stands alone already */
    if (op->was_delete)
        return !r->present;
    switch (op->kind) {
    case OP_DEL:
    case OP_SET_REMOVE:
        if (op->narrow && r->present)
            return !names_any(op, e);
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
    case OP_KNOWS:
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
    if (!standing_stays(w->standing, &w->self))
        return cm_fail(detail, CM_ERR_AUTHORITY,
                       "this node is being evicted, or is no member: what it "
                       "adds might not count; ask another sponsor");
    if (standing_is_evictee(w->standing, &incarnation) ||
        standing_is_sealed(w->standing, &incarnation, NULL) ||
        writer_is_sealed(w, &incarnation))
        return cm_fail(detail, CM_ERR_SEALED,
                       "incarnation was evicted or given up and never enters "
                       "again: ask under a further one (a joiner does so by "
                       "itself), or join with an empty --data directory and a "
                       "fresh token");
    if (entry->count > 0 || roster_find(w->roster, &incarnation) != NULL)
        return cm_fail(detail, CM_ERR_EXISTS,
                       "incarnation was rostered before and never enters "
                       "twice; join with a new one");
    error = certificate_decode(&added, op->value, w->authority);
    if (error != 0)
        return cm_fail(detail, error, "certificate to be rostered: %s",
                       cm_strerror(error));
    if (!roster_may_enter(&added))
        return cm_fail(detail, CM_ERR_AUTHORITY,
                       "a certificate that only reads needs no place in the "
                       "roster");
    return level_check_add(w, level_of_added(w, op), detail);
}

static int check_authority(const struct writer *w, const struct local_op *op,
                           const struct entry *entry, struct cm_detail *detail)
{
    const struct roster_member *self = roster_find(w->roster, &w->self);
    struct entry_id id = local_id_of(op);

    CHECK(self != NULL);
    if (op->kind == OP_ROSTER_ADD)
        return check_roster_add(w, op, &self->certificate, entry, detail);
    if (certificate_may_write(&self->certificate, &id))
        return 0;
    return cm_fail(detail, CM_ERR_AUTHORITY,
                   "this node's certificate does not permit writing key %.*s: "
                   "write it on another node, or let this one join anew with a "
                   "token for that prefix",
                   (int)(op->key.size < 80 ? op->key.size : 80),
                   (const char *)op->key.data);
}

static int check_limits(const struct writer *w, const struct intent *intent,
                        const struct local_op *op, struct cm_detail *detail)
{
    struct op plain;
    int error;

    if (op->expires > hlc_make(WRITER_WALL_MS_MAX, 0))
        return cm_fail(detail, CM_ERR_INVALID,
                       "expiry lies beyond the year 6400; choose an earlier "
                       "one, or none");
    plain = (struct op){
        .kind = op->kind,
        .key = op->key,
        .element = op->element,
        .value = op->value,
        .author = op->author.size > 0 ? op->author : intent->author,
        .flags = op->flags,
        .expires = op->expires,
    };

    error = op_check(&plain, detail);
    return error != 0 ? error : level_check_local(w, &plain, detail);
}

/* Leaves the entry in w->entry. */
static int check_op(struct batch *b, struct intent *intent, struct local_op *op,
                    bool *ret_idle, struct entry_local *ret_local)
{
    struct writer *w = b->w;
    struct entry_id id = local_id_of(op);
    struct resolution r;
    int error = check_limits(w, intent, op, &intent->detail);

    *ret_local = (struct entry_local){0};
    if (error != 0)
        return error;
    error = store_txn_entry(&b->txn, &id, &w->entry, ret_local);
    if (error != 0 && error != CM_ERR_NOT_FOUND)
        return cm_fail(&intent->detail, error,
                       "stored record of the key: %s; restore this node from "
                       "a peer or a snapshot",
                       cm_strerror(error));
    error = 0;
    if (op->verb == LOCAL_RESOLVE)
        error = txn_check_resolve(op, &w->entry, &intent->detail);
    if (error == 0)
        error = check_authority(w, op, &w->entry, &intent->detail);
    if (error != 0)
        return error;
    r = entry_resolve(&w->entry, b->now);
    error = local_check_condition(op, &r, ret_local, &intent->detail);
    /* Who names a stale version of something revoked wants to know why. */
    if (error == 0 || op->condition == CONDITION_VERSION) {
        int revoked = check_revoked(w, op, &r, &intent->detail);

        error = revoked != 0 ? revoked : error;
    }
    *ret_idle = is_idle(op, &w->entry, &r);
    return error;
}

/* ---- the open event ---- */

/* After deps_gather. */
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
        error = deps_remember(b);
    if (error == 0)
        error = state_event_end(b, &own->dot, own->hlc, &hash,
                                buffer_slice(&w->scratch), true, NULL);
    own->open = false;
    return error;
}

/* ---- control operations ---- */

bool local_may_write(const struct batch *b)
{
    const struct writer *w = b->w;

    return b->ready && !w->hazard && !writer_clock_ahead(w) &&
           standing_is_member(w->standing, &w->self);
}

int local_control(struct batch *b, enum op_kind kind, struct slice key,
                  struct slice value)
{
    struct writer *w = b->w;
    struct op op = {.kind = kind,
                    .key = key,
                    .value = value,
                    .level = kind == OP_KNOWS ? w->level : 0};
    uint8_t own_key[PROPOSAL_KEY_SIZE];
    struct entry_local none = {0};
    int error;

    CHECK(!w->own.open && kind >= OP_ROSTER_ADD);
    error = deps_gather(w);
    if (error == 0 && kind == OP_ACK && key.size == PROPOSAL_KEY_SIZE)
        error = deps_imply(b, key.data);
    if (error != 0)
        return error;
    if (key.size + value.size + CONTROL_OVERHEAD +
            event_overhead(w->own.deps_count) >
        EVENT_SIZE_MAX)
        return CM_ERR_TOO_LARGE;
    error = open_event(b);
    if (key.size == 0) {
        memcpy(own_key, w->self.bytes, INCARNATION_SIZE);
        put_be64(own_key + INCARNATION_SIZE, w->own.dot.seq);
        op.key = slice_of(own_key, sizeof own_key);
    }
    event_body_add(&w->own.body, &op);
    w->own.ops_count++;
    if (error == 0)
        error = w->own.body.error;
    if (error == 0)
        error = state_apply(b, &op, &w->own.dot, w->own.hlc, &w->entry, &none);
    /* Not a code of the size: now something was done. */
    if (error == 0)
        error = local_close_event(b);
    return error == CM_ERR_TOO_LARGE ? CM_ERR_LIMIT : error;
}

/* ---- applying an intent ---- */

/* read: what check_one left in w->entry and w->scratch holds still; else NULL.
 */
static int apply_op(struct batch *b, struct intent *intent,
                    const struct local_op *local,
                    const struct entry_local *read)
{
    struct writer *w = b->w;
    struct entry_id id = local_id_of(local);
    struct entry_local revisions = {0};
    struct op op;
    int error = 0;

    if (read != NULL)
        revisions = *read;
    else
        error = store_txn_entry(&b->txn, &id, &w->entry, &revisions);
    if (error == CM_ERR_NOT_FOUND)
        error = 0;
    if (error == 0)
        error = build_op(w, intent, local, &w->entry, &op);
    if (error != 0)
        return error;
    if (read != NULL)
        buffer_append_slice(&w->own.body, buffer_slice(&w->scratch));
    else
        event_body_add(&w->own.body, &op);
    w->own.ops_count++;
    if (w->own.body.error != 0)
        return w->own.body.error;
    error = state_apply(b, &op, &w->own.dot, w->own.hlc, &w->entry, &revisions);
    if (error == 0 && intent->detailed && op.kind == OP_PUT) {
        struct intent_result result = {
            .op = local->index,
            .key = local->key,
            .flags = op.flags,
            .create_revision = revisions.create_revision,
            .modify_revision = revisions.modify_revision,
            .expires = op.expires,
            .version = w->own.dot,
        };

        intent_add_result(intent, &result);
        error = intent->results.error;
    }
    return error;
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

/* Stands alone in its event. */
static bool is_control(const struct intent *intent)
{
    return intent->ops_count == 1 && intent->ops[0].kind >= OP_ROSTER_ADD;
}

/* Whether the open event has room for size bytes and count operations and no
 * operation on any of the intent's entries: at most one per event. */
static bool fits_open(const struct writer *w, const struct intent *intent,
                      size_t size, size_t count)
{
    const struct own_event *own = &w->own;

    if (!own->open || is_control(intent) ||
        own->ops_count + count > EVENT_OPS_MAX ||
        own->body.size + size + event_overhead(own->deps_count) >
            EVENT_SIZE_MAX)
        return false;
    for (size_t i = 0; i < intent->ops_count; i++) {
        struct entry_id id = local_id_of(&intent->ops[i]);
        struct schema_key key;

        if (!txn_is_write(&intent->ops[i]))
            continue;
        schema_key_entry(&key, &id);
        if (change_log_in_newest(&w->log, schema_key_slice(&key)))
            return false;
    }
    return true;
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
    if (writer_clock_ahead(w))
        return cm_fail(&intent->detail, CM_ERR_CLOCK,
                       "this node's clock is %lld ms ahead of the median of "
                       "%zu nodes, the limit is %d ms: set it right, then "
                       "retry; reads go on",
                       (long long)-w->clock_offset_ms, w->clocks,
                       CLOCK_DRIFT_MAX_MS);
    if (w->reader)
        return cm_fail(&intent->detail, CM_ERR_AUTHORITY,
                       "this node only reads: write at another one, or join "
                       "again with a token that was made without --reader");
    if (roster_find(w->roster, &w->self) == NULL)
        return cm_fail(&intent->detail, CM_ERR_NOT_READY,
                       "this node is not in the roster yet; its sponsor's "
                       "add has to arrive first");
    return 0;
}

/* What phase one found out. */
struct plan {
    bool *idle;               /* per operation: nothing is to be written */
    size_t size;              /* encoded bytes of what is */
    size_t count;             /* operations of it */
    size_t read_size;         /* bytes that the reads will give */
    struct entry_local local; /* of the entry that was read last */
    bool fresh; /* one operation, and nothing was written since it was read */
};

static int check_one(struct batch *b, const struct txn_writes *writes,
                     struct intent *intent, size_t i, struct plan *plan)
{
    struct local_op *op = &intent->ops[i];
    int error;

    if (op->verb == LOCAL_DELETE_TREE)
        return 0; /* its dels stand behind */
    if (!txn_is_write(op))
        return txn_check_read(b, writes, op, &plan->read_size, &intent->detail);
    error = check_op(b, intent, op, &plan->idle[i], &plan->local);
    if (error == 0 && !plan->idle[i]) {
        error = measure_op(b->w, intent, op, &plan->size);
        plan->count++;
    }
    return error;
}

/* Phase one: changes nothing. */
static int check_intent(struct batch *b, const struct txn_writes *writes,
                        struct intent *intent, struct plan *plan)
{
    struct cm_detail first = {{0}};
    int ret = writes->count > 0 ? check_writable(b, intent) : 0;

    if (ret == 0)
        ret = txn_check_distinct(writes, intent);
    if (ret != 0)
        return ret;
    for (size_t i = 0; i < intent->ops_count; i++) {
        int error = check_one(b, writes, intent, i, plan);

        if (error == 0)
            continue;
        if (intent->detailed)
            intent_add_failure(intent, intent->ops[i].index, error,
                               intent->detail.text[0] != '\0'
                                   ? intent->detail.text
                                   : cm_strerror(error));
        if (ret == 0) {
            intent->failed_op = intent->ops[i].index;
            first = intent->detail;
            ret = error;
        }
        intent->detail.text[0] = '\0';
        if (!intent->detailed)
            break;
    }
    if (ret != 0)
        intent->detail = first;
    return ret;
}

/* What the operations write and read, in the client's order. */
static int apply_intent(struct batch *b, struct intent *intent,
                        const struct plan *plan)
{
    size_t given = intent->ops_given;
    size_t tree = given; /* dels of trees, in the order of their trees */
    int error = 0;

    for (size_t i = 0; i < given && error == 0; i++) {
        const struct local_op *op = &intent->ops[i];

        if (op->verb == LOCAL_DELETE_TREE) {
            for (; tree < intent->ops_count && intent->ops[tree].index == i &&
                   error == 0;
                 tree++)
                error = plan->idle[tree]
                            ? 0
                            : apply_op(b, intent, &intent->ops[tree], NULL);
        } else if (!txn_is_write(op)) {
            error = txn_read(b, intent, op);
        } else if (!plan->idle[i]) {
            error = apply_op(b, intent, op, plan->fresh ? &plan->local : NULL);
        }
    }
    return error;
}

/* Opens the event that takes the plan's bytes. An intent that exceeds even an
 * empty event is refused. */
static int make_room(struct batch *b, struct intent *intent, struct plan *plan,
                     bool *ret_fatal)
{
    struct writer *w = b->w;
    int error;

    if (fits_open(w, intent, plan->size, plan->count)) {
        CM_MARK("commit: one event gathers several writes");
        plan->fresh = intent->ops_count == 1;
        return 0;
    }
    CM_MARK_IF(w->own.open, "commit: several own events");
    *ret_fatal = true;
    error = local_close_event(b);
    if (error == 0)
        error = deps_gather(w);
    if (error != 0)
        return error;
    if (plan->size + event_overhead(w->own.deps_count) > EVENT_SIZE_MAX) {
        *ret_fatal = false;
        return cm_fail(&intent->detail, CM_ERR_TOO_LARGE,
                       "transaction has %zu bytes encoded, an event at most "
                       "%u; split it",
                       plan->size, EVENT_SIZE_MAX);
    }
    return open_event(b);
}

static bool under_revoked(const struct intent *intent, struct slice key)
{
    for (size_t i = 0; i < intent->revoke_deletes_count; i++) {
        if (slice_starts_with(key, slice_of_string(intent->revoke_deletes[i])))
            return true;
    }
    return false;
}

/* Where the node's settings say so a plain delete is a revoke. What is absent
 * stays as it is: deleting nothing writes nothing. */
static void revoke_deletes(struct intent *intent)
{
    for (size_t i = 0; i < intent->ops_count; i++) {
        struct local_op *op = &intent->ops[i];

        if (op->verb != LOCAL_WRITE ||
            (op->kind != OP_DEL && op->kind != OP_SET_REMOVE) ||
            !under_revoked(intent, op->key))
            continue;
        op->kind = op->kind == OP_DEL ? OP_REVOKE : OP_SET_REVOKE;
        op->was_delete = true;
    }
}

static int plan_and_apply(struct batch *b, struct intent *intent,
                          struct plan *plan, bool *ret_fatal)
{
    struct txn_writes writes = {.count = 0};
    int error = txn_writes_of(&writes, intent);

    if (error == 0)
        error = check_intent(b, &writes, intent, plan);
    txn_writes_release(&writes);
    if (error == 0 && plan->count > 0)
        error = make_room(b, intent, plan, ret_fatal);
    if (error == 0 && plan->count > 0) {
        *ret_fatal = true;
        intent->wrote = true;
        intent->dot = b->w->own.dot;
        intent->revision = b->revision;
    }
    if (error == 0)
        error = apply_intent(b, intent, plan);
    if (error == 0 && plan->count > 0 && is_control(intent))
        error = local_close_event(b);
    return error;
}

int local_intent(struct batch *b, struct intent *intent)
{
    bool one_idle = false;
    struct plan plan = {.idle = &one_idle};
    bool fatal = false;
    int error = 0;

    CHECK(intent->ops_count <= EVENT_OPS_MAX);
    intent->revision = b->w->head.revision;
    intent->ops_given = intent->ops_count;
    if (intent->ops_count == 0)
        error = cm_fail(&intent->detail, CM_ERR_INVALID,
                        "transaction without operations; name at least one");
    for (size_t i = 0; i < intent->ops_count && error == 0; i++) {
        if (intent->ops[i].kind > OP_ROSTER_ADD ||
            (intent->ops[i].kind == OP_ROSTER_ADD && intent->ops_count > 1))
            error = cm_fail(&intent->detail, CM_ERR_INVALID,
                            "a %s stands alone, and no client writes one",
                            op_kind_name(intent->ops[i].kind));
    }
    if (error == 0)
        error = txn_expand(b, intent);
    if (error == 0)
        revoke_deletes(intent);
    if (error == 0 && intent->ops_count > 1) {
        plan.idle = cm_calloc(intent->ops_count, sizeof *plan.idle);
        if (plan.idle == NULL) {
            plan.idle = &one_idle;
            error = CM_ERR_NOMEM;
        }
    }
    if (error == 0)
        error = plan_and_apply(b, intent, &plan, &fatal);
    if (plan.idle != &one_idle)
        cm_free(plan.idle);
    intent->ops_count = intent->ops_given; /* a second try expands anew */
    intent->result = error;
    return error != 0 && fatal ? error : 0;
}
