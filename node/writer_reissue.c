/* Re-issuing what an earlier incarnation of this node wrote and the mesh never
 * got.
 *
 * "Once the seal of its earlier incarnation holds in the adopted state, take
 * the operations above the last seq, apply them in order with original HLC and
 * dots as siblings to a scratch copy of that state, and re-issue each that
 * still wins as an ordinary write." Not before the seal: until then its events
 * may still reach the others, and an older one would be written anew over a
 * newer one.
 *
 * Judging comes first, for all records, and writes nothing: what is written
 * again takes new stamps, against which the older ones behind it would lose.
 * Then everything is written, parked or dropped in this one transaction,
 * together with the records, so that each has one fate wherever it is cut
 * short. A record that is parked leaves no trace in the scratch copy: what
 * follows it is judged by what will be there. */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/return_view.h"
#include "node/unsent.h"
#include "node/writer_internal.h"

#define BUCKETS 4096
#define OTHERS_LOOK_MS 10000

/* What the scratch copy knows of one entry: all its siblings. */
struct scratch {
    struct scratch *next;
    struct schema_key key;
    struct entry entry; /* slices lie in the map: nothing is written yet */
};

enum fate {
    FATE_WAIT = 0,
    FATE_REISSUE,
    FATE_PARK,
    FATE_SHARE, /* the state has it, and perhaps everybody… */
    FATE_DROP,  /* …and certainly */
};

struct verdict {
    uint64_t id;
    enum fate fate;
    enum unsent_state state;
    uint64_t op;
    struct dot dot;  /* as it was */
    struct dot anew; /* as it was written again; seq 0: not */
};

struct reissue {
    struct batch *b;
    struct incarnation branch; /* whose common is known */
    uint64_t common;           /* the mesh has its events up to there */
    bool writes;               /* this node may, now */
    bool has_branch;
    struct scratch *buckets[BUCKETS];
    struct verdict *verdicts; /* owned, in the order of ids */
    size_t count;
    size_t capacity;
};

/* ---- seals, floor ---- */

/* Whether nothing more of the incarnation will ever be applied anywhere, and
 * what the last is that was. */
static bool is_sealed(const struct writer *w, const struct incarnation *i,
                      uint64_t *ret_last)
{
    const struct vv_entry *seal = vv_find(&w->order.sealed, i);

    if (seal == NULL)
        return return_is_sealed(w, i, ret_last);
    *ret_last = seal->seq;
    return true;
}

/* ---- the scratch copy ---- */

static int scratch_find(struct reissue *r, const struct entry_id *id,
                        struct scratch **ret_scratch)
{
    struct scratch **at;
    struct scratch *s;
    struct schema_key key;
    struct hash h;
    int error;

    schema_key_entry(&key, id);
    h = hash_of("confmesh scratch", schema_key_slice(&key));
    at = &r->buckets[get_be64(h.bytes) % BUCKETS];
    for (s = *at; s != NULL; s = s->next) {
        if (slice_equal(schema_key_slice(&s->key), schema_key_slice(&key))) {
            *ret_scratch = s;
            return 0;
        }
    }
    s = cm_calloc(1, sizeof *s);
    if (s == NULL)
        return CM_ERR_NOMEM;
    s->key = key;
    entry_init(&s->entry);
    error = store_txn_entry(&r->b->txn, id, &s->entry, NULL);
    if (error != 0 && error != CM_ERR_NOT_FOUND) {
        entry_release(&s->entry);
        cm_free(s);
        return error;
    }
    s->next = *at;
    *at = s;
    *ret_scratch = s;
    return 0;
}

static void scratch_release(struct reissue *r)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        while (r->buckets[i] != NULL) {
            struct scratch *s = r->buckets[i];

            r->buckets[i] = s->next;
            entry_release(&s->entry);
            cm_free(s);
        }
    }
    cm_free(r->verdicts);
}

static int entry_dup(struct entry *ret_copy, const struct entry *e)
{
    int error = 0;

    entry_init(ret_copy);
    for (size_t i = 0; i < e->count && error == 0; i++)
        error = entry_add_sibling(ret_copy, &e->siblings[i]);
    return error;
}

/* ---- judging ---- */

/* Dots that a remove takes away. */
struct named {
    struct dot *dots; /* owned */
    size_t count;
};

static int name_more(struct named *n, const struct op *op)
{
    struct dot *grown = cm_realloc(
        n->dots, (n->count + op->supersedes_count + 1) * sizeof *grown);

    if (grown == NULL)
        return CM_ERR_NOMEM;
    n->dots = grown;
    for (size_t i = 0; i < op->supersedes_count; i++) {
        bool known = false;

        for (size_t k = 0; k < n->count && !known; k++)
            known = dot_equal(&n->dots[k], &op->supersedes[i]);
        if (!known)
            n->dots[n->count++] = op->supersedes[i];
    }
    return 0;
}

static const struct verdict *verdict_of(const struct reissue *r,
                                        const struct dot *dot)
{
    for (size_t i = 0; i < r->count; i++)
        if (dot_equal(&r->verdicts[i].dot, dot))
            return &r->verdicts[i];
    return NULL;
}

/* Of an add that is parked: what it had superseded of that element. */
static int name_of_parked(const struct reissue *r, const struct verdict *v,
                          const struct op *remove, struct named *n)
{
    struct unsent_ops ops;
    struct unsent u;
    int error = unsent_get(&r->b->txn, v->id, &u);

    if (error == 0)
        error = unsent_open(&ops, &u);
    if (error != 0)
        return error == CM_ERR_NOMEM ? error : 0;
    for (size_t i = 0; i < ops.count && error == 0; i++) {
        struct entry_id a = op_entry_id(&ops.ops[i]);
        struct entry_id b = op_entry_id(remove);

        if (entry_id_compare(&a, &b) == 0)
            error = name_more(n, &ops.ops[i]);
    }
    unsent_close(&ops);
    return error;
}

/* "A set-remove names its own dots only", with what its own unsent adds had
 * superseded where these are not written again: whoever removed the element had
 * seen that, too. Owned by the caller, also after an error. */
static int named_by(const struct reissue *r, const struct op *op,
                    struct named *ret)
{
    int error = name_more(ret, op);

    for (size_t i = 0; i < ret->count && error == 0; i++) {
        const struct verdict *v = verdict_of(r, &ret->dots[i]);

        if (v != NULL && v->fate == FATE_PARK)
            error = name_of_parked(r, v, op, ret);
    }
    return error;
}

/* Below the floor two adds may have become one; and elsewhere they may so
 * become, after this incarnation's acknowledgement and before the remove that
 * it would write now. */
static int names_collapsed(const struct reissue *r, const struct op *op,
                           bool *ret_is)
{
    const struct writer *w = r->b->w;
    struct named n = {.count = 0};
    int error = named_by(r, op, &n);

    *ret_is = false;
    for (size_t i = 0; i < n.count && error == 0; i++)
        *ret_is = *ret_is || return_floor_covers(w, &n.dots[i]) ||
                  return_has_acknowledged(w, &n.dots[i]);
    cm_free(n.dots);
    return error;
}

/* The state in which the operation is parked, or UNSENT_WAITS if it still wins.
 * e becomes what it leaves. CM_ERR_NOMEM. */
static int judge_op(struct reissue *r, const struct op *op,
                    const struct unsent_ops *ops, struct entry *e,
                    enum unsent_state *ret_state)
{
    const struct writer *w = r->b->w;
    bool absent = e->count == 0;
    bool collapsed = false;
    struct resolution now = entry_resolve(e, r->b->now);
    int error = 0;

    *ret_state = UNSENT_WAITS;
    if (op->kind == OP_SET_REMOVE && now.revoke == NULL && !absent)
        error = names_collapsed(r, op, &collapsed);
    if (error != 0)
        return error;
    if (collapsed) {
        CM_MARK("reissue: parked, a remove of what was collapsed");
        *ret_state = UNSENT_COLLAPSED;
        return 0;
    }
    if (op->kind == OP_PUT && absent && ops->hlc <= return_floor_time(w)) {
        CM_MARK("reissue: parked, its key is absent");
        *ret_state = UNSENT_ABSENT;
        return 0;
    }
    error = entry_apply(e, op, &ops->dot, ops->hlc, NULL);
    if (error != 0)
        return error;
    now = entry_resolve(e, r->b->now);
    if ((op->kind == OP_PUT || op->kind == OP_SET_ADD) && now.revoke != NULL)
        *ret_state = UNSENT_REVOKED;
    else if ((op->kind == OP_PUT || (op->kind == OP_DEL && !now.revoke)) &&
             !dot_equal(&now.winner->dot, &ops->dot))
        *ret_state = UNSENT_LOST;
    CM_MARK_IF(*ret_state == UNSENT_REVOKED, "reissue: parked, revoked");
    CM_MARK_IF(*ret_state == UNSENT_LOST, "reissue: parked, lost");
    return 0;
}

static int judge_ops(struct reissue *r, const struct unsent_ops *ops,
                     struct scratch **places, struct entry *entries,
                     struct verdict *v)
{
    int error = 0;

    for (size_t i = 0; i < ops->count && error == 0; i++) {
        struct entry_id id = op_entry_id(&ops->ops[i]);
        enum unsent_state state;

        if (!unsent_is_client_op(&ops->ops[i]))
            continue;
        error = scratch_find(r, &id, &places[i]);
        if (error == 0)
            error = entry_dup(&entries[i], &places[i]->entry);
        if (error == 0)
            error = judge_op(r, &ops->ops[i], ops, &entries[i], &state);
        if (error == 0 && state != UNSENT_WAITS && v->fate == FATE_REISSUE) {
            v->fate = FATE_PARK;
            v->state = state;
            v->op = i;
        }
    }
    return error;
}

/* An operation of a later format is in it: only whoever wrote it can say what
 * it means. */
static bool is_later_format(const struct unsent_ops *ops)
{
    return ops->has_event && ops->event.has_unknown_op;
}

static int judge_record(struct reissue *r, const struct unsent_ops *ops,
                        struct verdict *v)
{
    struct scratch **places = cm_calloc(ops->count + 1, sizeof *places);
    struct entry *entries = cm_calloc(ops->count + 1, sizeof *entries);
    int error = places == NULL || entries == NULL ? CM_ERR_NOMEM : 0;

    v->fate = FATE_REISSUE;
    if (is_later_format(ops)) {
        v->fate = FATE_PARK;
        v->state = UNSENT_REFUSED;
    }
    if (error == 0)
        error = judge_ops(r, ops, places, entries, v);
    for (size_t i = 0; i < ops->count && entries != NULL && places != NULL;
         i++) {
        if (error == 0 && v->fate == FATE_REISSUE && places[i] != NULL) {
            struct entry before = places[i]->entry;

            places[i]->entry = entries[i];
            entries[i] = before;
        }
        entry_release(&entries[i]);
    }
    cm_free(places);
    cm_free(entries);
    return error;
}

/* ---- names that were given twice ---- */

/* Whether what is there now was left by this very event. */
static int is_in_state(struct reissue *r, const struct unsent *u, bool *ret_is)
{
    struct unsent_ops ops;
    int error = unsent_open(&ops, u);

    *ret_is = false;
    if (error != 0)
        return error == CM_ERR_DAMAGED ? 0 : error;
    for (size_t i = 0; i < ops.count && error == 0 && !*ret_is; i++) {
        struct entry_id id = op_entry_id(&ops.ops[i]);
        struct scratch *s;

        if (!unsent_is_client_op(&ops.ops[i]))
            continue;
        error = scratch_find(r, &id, &s);
        for (size_t k = 0; error == 0 && k < s->entry.count; k++)
            *ret_is =
                *ret_is || (dot_equal(&s->entry.siblings[k].dot, &u->dot) &&
                            s->entry.siblings[k].hlc == u->hlc);
    }
    unsent_close(&ops);
    return error;
}

/* Up to where the mesh has the incarnation's events as they are here: an event
 * proves all before it. */
static int find_common(struct reissue *r, const struct incarnation *i)
{
    struct unsent u = {.id = 0};
    int error;

    if (r->has_branch && incarnation_equal(&r->branch, i))
        return 0;
    r->has_branch = true;
    r->branch = *i;
    r->common = 0;
    while ((error = unsent_next(&r->b->txn, u.id, &u)) == 0) {
        bool is = false;

        if (u.sibling || !incarnation_equal(&u.dot.incarnation, i) ||
            u.dot.seq <= r->common)
            continue;
        error = is_in_state(r, &u, &is);
        if (error != 0)
            return error;
        if (is)
            r->common = u.dot.seq;
    }
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

/* A seal that an evictee has seen, who did not know of his own, covers more
 * than the mesh's does. What is below a floor everybody has. */
static enum fate share(const struct reissue *r, const struct unsent *u)
{
    if (u->sibling || return_floor_covers(r->b->w, &u->dot))
        return FATE_DROP;
    return u->state == UNSENT_SHARED ? FATE_WAIT : FATE_SHARE;
}

/* Under this name the mesh has an event; it may be another one. */
static int judge_covered(struct reissue *r, const struct unsent *u,
                         struct verdict *v)
{
    bool is = !u->doubtful;
    int error = 0;

    if (u->doubtful && u->sibling) {
        error = is_in_state(r, u, &is);
    } else if (u->doubtful) {
        error = find_common(r, &u->dot.incarnation);
        is = u->dot.seq <= r->common;
    }
    if (error != 0 || is) {
        CM_MARK("reissue: the mesh has it after all");
        v->fate = share(r, u);
        return error;
    }
    CM_MARK("reissue: parked, its name was given twice");
    v->fate = FATE_PARK;
    v->state = UNSENT_TWICE;
    return 0;
}

/* Another node's: as soon as the state shows it, by whomever, it is settled. */
static int judge_others(struct reissue *r, const struct unsent *u,
                        struct verdict *v)
{
    bool shown = false;
    int error = unsent_others_are_shown(r->b, u, &shown);

    if (error == 0 && shown) {
        CM_MARK("reissue: another node's write is there after all");
        v->fate = FATE_DROP;
    }
    return error;
}

static int judge(struct reissue *r, const struct unsent *u, struct verdict *v)
{
    struct unsent_ops ops;
    uint64_t last = 0;
    int error;

    *v = (struct verdict){.id = u->id, .dot = u->dot};
    if (u->state == UNSENT_OTHERS)
        return judge_others(r, u, v);
    if (!r->writes)
        return 0;
    if (u->state == UNSENT_SHARED)
        v->fate = share(r, u);
    if (u->state != UNSENT_WAITS)
        return 0;
    if (!is_sealed(r->b->w, &u->dot.incarnation, &last) &&
        !u->foreign_generation)
        return 0;
    if (vv_covers(&r->b->w->vv, &u->dot) || (last >= u->dot.seq && !u->sibling))
        return judge_covered(r, u, v);
    error = unsent_open(&ops, u);
    if (error == CM_ERR_DAMAGED) {
        v->fate = FATE_PARK;
        v->state = UNSENT_REFUSED;
        return 0;
    }
    if (error != 0)
        return error;
    error = judge_record(r, &ops, v);
    unsent_close(&ops);
    return error;
}

static int judge_all(struct reissue *r)
{
    struct unsent u = {.id = 0};
    int error;

    while ((error = unsent_next(&r->b->txn, u.id, &u)) == 0) {
        if (r->count == r->capacity) {
            size_t capacity = r->capacity > 0 ? 2 * r->capacity : 64;
            struct verdict *grown =
                cm_realloc(r->verdicts, capacity * sizeof *grown);

            if (grown == NULL)
                return CM_ERR_NOMEM;
            r->verdicts = grown;
            r->capacity = capacity;
        }
        error = judge(r, &u, &r->verdicts[r->count]);
        if (error != 0)
            return error;
        r->count += r->verdicts[r->count].fate != FATE_WAIT;
    }
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

/* ---- writing again ---- */

/* What the remove names, under the names that were given anew. */
static int name_dots(const struct reissue *r, const struct op *op,
                     struct buffer *out)
{
    struct named n = {.count = 0};
    int error = named_by(r, op, &n);

    for (size_t i = 0; i < n.count && error == 0; i++) {
        const struct verdict *v = verdict_of(r, &n.dots[i]);

        if (v != NULL && v->anew.seq > 0)
            n.dots[i] = v->anew;
    }
    if (error == 0)
        intent_pack_dots(out, n.dots, n.count);
    cm_free(n.dots);
    return error != 0 ? error : out->error;
}

static int add_op(struct intent *i, const struct reissue *r,
                  const struct op *op, bool unrevoke)
{
    struct local_op local = {
        .kind = op->kind,
        .key = op->key,
        .element = op->element,
        .value = op->value,
        .flags = op->flags,
        .expires = op->expires,
        .unrevoke = unrevoke,
        .author = op->author,
        .index = i->ops_count,
    };
    struct buffer dots;
    int error = 0;

    /* Better revoked without a reason than not yet. */
    if (r != NULL && !level_is_known(r->b->w, op_level(op)))
        local.value = slice_of(NULL, 0);

    buffer_init(&dots, EVENT_SIZE_MAX);
    if (op->kind == OP_SET_REMOVE && r != NULL) {
        local.narrow = true;
        error = name_dots(r, op, &dots);
        local.seen = buffer_slice(&dots);
    }
    if (error == 0)
        error = intent_add_op(i, &local);
    buffer_release(&dots);
    return error;
}

/* The record's operations as an intent. r NULL: as a new write, which
 * supersedes everything that is there. */
static int make_intent(const struct reissue *r, const struct unsent *u,
                       bool unrevoke, struct intent **ret_intent)
{
    struct intent *i = intent_new(INTENT_LOCAL);
    struct unsent_ops ops;
    int error = i == NULL ? CM_ERR_NOMEM : unsent_open(&ops, u);

    if (error != 0) {
        intent_free(i);
        return error;
    }
    for (size_t k = 0; k < ops.count && error == 0; k++) {
        if (!unsent_is_client_op(&ops.ops[k]))
            continue;
        error = add_op(i, r, &ops.ops[k], unrevoke);
    }
    unsent_close(&ops);
    if (error != 0)
        intent_free(i);
    else
        *ret_intent = i;
    return error;
}

static int park(struct batch *b, const struct verdict *v, const char *text)
{
    struct slice why = slice_of_string(text);
    struct unsent u;
    int error = unsent_get(&b->txn, v->id, &u);

    if (error != 0)
        return error;
    u.state = v->state;
    u.op = v->op;
    if (why.size > UNSENT_TEXT_MAX)
        why.size = UNSENT_TEXT_MAX;
    while (why.size > 0 && !utf8_is_valid(why))
        why.size--;
    u.text = why;
    return unsent_set_state(b, &u);
}

static int forget(struct batch *b, uint64_t id)
{
    b->meta_changed = true;
    b->unsent_settled++;
    return unsent_delete(&b->txn, id);
}

/* Another time: nothing is wrong with the write itself. */
static bool is_untimely(int error)
{
    return error == CM_ERR_NOT_READY || error == CM_ERR_CLOCK ||
           error == CM_ERR_FORK || error == CM_ERR_BUSY;
}

static int write_again(struct reissue *r, struct verdict *v, bool *ret_later)
{
    struct batch *b = r->b;
    struct intent *i = NULL;
    struct unsent u;
    int error = unsent_get(&b->txn, v->id, &u);

    if (error == 0)
        error = make_intent(r, &u, true, &i);
    if (error == CM_ERR_TOO_LARGE || error == CM_ERR_DAMAGED) {
        v->state = UNSENT_REFUSED;
        return park(b, v, cm_strerror(error));
    }
    if (error == 0)
        error = local_intent(b, i);
    if (error == 0 && is_untimely(i->result)) {
        *ret_later = true;
    } else if (error == 0 && i->result != 0) {
        v->state = UNSENT_REFUSED;
        error = park(b, v, i->detail.text);
    } else if (error == 0) {
        CM_MARK("reissue: written again");
        if (i->wrote)
            v->anew = i->dot;
        b->unsent_written += i->wrote;
        error = forget(b, v->id);
    }
    intent_free(i);
    return error;
}

static int settle(struct reissue *r, bool *ret_looked)
{
    bool later = false;
    int error = 0;

    for (size_t i = 0; i < r->count && error == 0 && !later; i++) {
        struct verdict *v = &r->verdicts[i];

        if (v->fate == FATE_REISSUE)
            error = write_again(r, v, &later);
        else if (v->fate == FATE_PARK)
            error = park(r->b, v,
                         v->state == UNSENT_REFUSED ? "of a later format" : "");
        else if (v->fate == FATE_DROP)
            error = forget(r->b, v->id);
        else if (v->fate == FATE_SHARE) {
            v->state = UNSENT_SHARED;
            error = park(r->b, v, "");
        }
    }
    /* Half of a chain must not go without its end: none was begun, because
     * what is untimely for one is so for all. */
    CHECK(!later || r->b->unsent_written == 0);
    *ret_looked = !later;
    return error;
}

/* What an operation had superseded has to be here again before it is written
 * anew: naming less, it would leave standing what comes later. */
static bool lacks_some(const struct writer *w, const struct unsent_ops *ops)
{
    for (size_t i = 0; i < ops->count; i++) {
        const struct op *op = &ops->ops[i];

        for (size_t k = 0; unsent_is_client_op(op) && k < op->supersedes_count;
             k++)
            if (return_may_come(w, &op->supersedes[k]))
                return true;
    }
    return false;
}

static int anything_lacks(struct reissue *r, bool *ret_lacks)
{
    struct unsent u = {.id = 0};
    int error;

    *ret_lacks = false;
    while ((error = unsent_next(&r->b->txn, u.id, &u)) == 0 && !*ret_lacks) {
        struct unsent_ops ops;

        if (u.state != UNSENT_WAITS || u.foreign_generation)
            continue;
        error = unsent_open(&ops, &u);
        if (error == CM_ERR_NOMEM)
            return error;
        if (error != 0)
            continue; /* parked as damaged, when its turn comes */
        *ret_lacks = lacks_some(r->b->w, &ops);
        unsent_close(&ops);
    }
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

/* Their writer's next life comes as ordinary events, which no mark tells of;
 * the more there are, the more seldom all are looked at. */
static bool others_are_due(struct batch *b)
{
    struct writer *w = b->w;

    if (w->unsent.others == 0)
        return false;
    if (b->wall_ms < w->others_looked_ms + OTHERS_LOOK_MS + w->unsent.others &&
        b->wall_ms >= w->others_looked_ms)
        return false;
    w->others_looked_ms = b->wall_ms;
    return true;
}

int reissue_due(struct batch *b)
{
    bool lacks = false, looked = false, writes;
    struct writer *w = b->w;
    struct reissue *r;
    struct hash mark;
    int error = 0;

    mark = return_standing_mark(b);
    writes = w->unsent.waiting + w->unsent.shared > 0 && local_may_write(b) &&
             !(w->unsent_looked && hash_equal(&mark, &w->unsent_mark));
    if (!writes && !others_are_due(b))
        return 0; /* no seal came since */
    r = cm_calloc(1, sizeof *r);
    if (r == NULL)
        return CM_ERR_NOMEM;
    r->b = b;
    if (writes)
        error = anything_lacks(r, &lacks);
    CM_MARK_IF(lacks, "reissue: waits for what an operation had seen");
    r->writes = writes && !lacks;
    if (error == 0)
        error = judge_all(r);
    if (error == 0)
        error = settle(r, &looked);
    b->unsent_looked = r->writes && looked;
    b->unsent_mark = mark;
    scratch_release(r);
    cm_free(r);
    return error;
}

/* ---- what a person decides ---- */

static int drop_all(struct batch *b, struct intent *i)
{
    struct unsent u = {.id = 0};
    int error;

    while ((error = unsent_next(&b->txn, u.id, &u)) == 0) {
        if (u.state == UNSENT_WAITS || u.state == UNSENT_SHARED)
            continue; /* nobody has decided anything about it */
        error = forget(b, u.id);
        i->unsent_count++;
        i->wrote = true;
        if (error != 0)
            return error;
    }
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

static int apply_one(struct batch *b, struct intent *i, const struct unsent *u)
{
    struct intent *write = NULL;
    uint64_t id = u->id;
    int error = make_intent(NULL, u, i->unsent_unrevoke, &write);

    if (error == CM_ERR_DAMAGED || error == CM_ERR_TOO_LARGE) {
        i->result = cm_fail(&i->detail, error, "unsent write %llu: %s",
                            (unsigned long long)id, cm_strerror(error));
        return 0;
    }
    if (error != 0)
        return error;
    error = local_intent(b, write);
    i->result = write->result;
    i->detail = write->detail;
    i->dot = write->dot;
    i->revision = write->revision;
    if (error == 0 && write->result == 0) {
        error = forget(b, id);
        i->unsent_count = 1;
        i->wrote = true;
    }
    intent_free(write);
    return error;
}

int unsent_intent(struct batch *b, struct intent *i)
{
    struct unsent u;
    int error;

    CHECK(i->kind == INTENT_UNSENT);
    i->revision = b->w->head.revision;
    i->unsent_count = 0;
    if (i->unsent_id == 0 && !i->unsent_apply)
        return drop_all(b, i);
    error = unsent_get(&b->txn, i->unsent_id, &u);
    if (error == 0 && u.state == UNSENT_SHARED)
        error = CM_ERR_NOT_FOUND; /* it is sent, as far as anybody knows */
    if (error == CM_ERR_NOT_FOUND) {
        i->result = cm_fail(&i->detail, error,
                            "there is no unsent write %llu; see \"confmesh "
                            "unsent\"",
                            (unsigned long long)i->unsent_id);
        return 0;
    }
    if (error == 0 && i->unsent_apply)
        return apply_one(b, i, &u);
    if (error == 0)
        error = forget(b, u.id);
    i->unsent_count = error == 0;
    i->wrote = error == 0;
    return error;
}
