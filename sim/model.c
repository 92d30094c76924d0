/* What a mesh's state must be: see model.h. */
#include "sim/model.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/fence.h"
#include "node/roster.h"

#define BUCKETS_MIN 256

struct sim_model_entry {
    struct entry_id id; /* into the first operation's event, see keys */
    uint8_t *keys;      /* owned; key, then element */
    uint64_t hash;
    struct sim_model_entry *next; /* in its bucket */
    struct sim_model_op *newest;  /* in order of adding */
    bool expires;                 /* something in it ever had a time to end */
};

struct actor {
    struct incarnation incarnation;
    struct sim_model_event **events; /* owned; by seq from 1; NULL: unknown */
    size_t count;
    size_t capacity;
    bool certified;
    struct certificate certificate;
    uint8_t *certificate_bytes; /* owned */
};

struct sim_model {
    uint8_t authority[32];
    struct actor *actors;
    size_t actors_count;
    size_t actors_capacity;
    uint32_t *index; /* owned hash table: actor + 1 */
    size_t index_size;
    struct sim_model_entry **buckets;
    size_t buckets_count;
    size_t entries_count;
    const struct sim_model_op **found; /* scratch of sim_model_standing */
    size_t found_capacity;
    struct sim_model_generation *generations; /* owned */
    size_t generations_count;
    uint64_t events; /* ever */
    size_t ops;      /* ever */
};

static void *must(void *memory)
{
    CHECK(memory != NULL);
    return memory;
}

/* Room for one more in an owned array. */
static void *grown(void *array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return array;
    *capacity = *capacity > 0 ? 2 * *capacity : 4;
    return must(cm_realloc(array, *capacity * size));
}

struct sim_model *sim_model_create(const uint8_t authority_public_key[32])
{
    struct sim_model *m = must(cm_calloc(1, sizeof *m));

    memcpy(m->authority, authority_public_key, sizeof m->authority);
    m->buckets_count = BUCKETS_MIN;
    m->buckets = must(cm_calloc(BUCKETS_MIN, sizeof(void *)));
    m->index_size = BUCKETS_MIN;
    m->index = must(cm_calloc(BUCKETS_MIN, sizeof *m->index));
    return m;
}

static void free_event(struct sim_model_event *e)
{
    if (e == NULL)
        return;
    for (size_t i = 0; i < e->decoded.ops_count; i++) {
        cm_free(e->ops[i].names);
        cm_free(e->ops[i].named);
        cm_free(e->ops[i].hidden);
    }
    cm_free(e->ops);
    cm_free(e->deps);
    event_release(&e->decoded);
    cm_free(e->bytes);
    cm_free(e);
}

void sim_model_free(struct sim_model *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->actors_count; i++) {
        for (size_t j = 0; j < m->actors[i].count; j++)
            free_event(m->actors[i].events[j]);
        cm_free(m->actors[i].events);
        cm_free(m->actors[i].certificate_bytes);
    }
    for (size_t i = 0; i < m->buckets_count; i++) {
        while (m->buckets[i] != NULL) {
            struct sim_model_entry *e = m->buckets[i];
            m->buckets[i] = e->next;
            cm_free(e->keys);
            cm_free(e);
        }
    }
    for (size_t i = 0; i < m->generations_count; i++)
        cm_free(m->generations[i].sealed);
    cm_free(m->generations);
    cm_free(m->actors);
    cm_free(m->index);
    cm_free(m->buckets);
    cm_free(m->found);
    cm_free(m);
}

/* ---- actors ---- */

static size_t actor_slot(const struct sim_model *m, const struct incarnation *i)
{
    size_t mask = m->index_size - 1;
    size_t at = (size_t)get_be64(i->bytes) & mask;

    while (m->index[at] != 0 &&
           !incarnation_equal(&m->actors[m->index[at] - 1].incarnation, i))
        at = (at + 1) & mask;
    return at;
}

static void grow_index(struct sim_model *m)
{
    cm_free(m->index);
    m->index_size *= 2;
    m->index = must(cm_calloc(m->index_size, sizeof *m->index));
    for (size_t i = 0; i < m->actors_count; i++)
        m->index[actor_slot(m, &m->actors[i].incarnation)] = (uint32_t)i + 1;
}

uint32_t sim_model_actor(struct sim_model *m, const struct incarnation *i)
{
    size_t at = actor_slot(m, i);

    if (m->index[at] != 0)
        return m->index[at] - 1;
    CHECK(m->actors_count < SIM_MODEL_ACTORS_MAX);
    m->actors = grown(m->actors, m->actors_count, &m->actors_capacity,
                      sizeof *m->actors);
    m->actors[m->actors_count] = (struct actor){.incarnation = *i};
    m->actors_count++;
    m->index[at] = (uint32_t)m->actors_count;
    if (2 * m->actors_count > m->index_size)
        grow_index(m);
    return (uint32_t)m->actors_count - 1;
}

size_t sim_model_actors(const struct sim_model *m)
{
    return m->actors_count;
}

const struct incarnation *sim_model_incarnation(const struct sim_model *m,
                                                uint32_t actor)
{
    CHECK(actor < m->actors_count);
    return &m->actors[actor].incarnation;
}

uint64_t sim_model_seq(const struct sim_model *m, uint32_t actor)
{
    CHECK(actor < m->actors_count);
    return m->actors[actor].count;
}

void sim_model_certify(struct sim_model *m, const struct incarnation *i,
                       struct slice certificate)
{
    uint32_t actor = sim_model_actor(m, i); /* it may move the table */
    struct actor *a = &m->actors[actor];
    uint8_t *bytes;

    if (a->certified || certificate.size == 0)
        return;
    bytes = must(cm_alloc(certificate.size));
    memcpy(bytes, certificate.data, certificate.size);
    if (certificate_decode(&a->certificate, slice_of(bytes, certificate.size),
                           m->authority) != 0) {
        cm_free(bytes);
        return;
    }
    a->certificate_bytes = bytes;
    a->certified = true;
}

const struct certificate *sim_model_certificate(const struct sim_model *m,
                                                uint32_t actor)
{
    CHECK(actor < m->actors_count);
    return m->actors[actor].certified ? &m->actors[actor].certificate : NULL;
}

struct sim_model_event *sim_model_find(const struct sim_model *m,
                                       uint32_t actor, uint64_t seq)
{
    const struct actor *a;

    CHECK(actor < m->actors_count);
    a = &m->actors[actor];
    return seq >= 1 && seq <= a->count ? a->events[seq - 1] : NULL;
}

/* ---- entries ---- */

static uint64_t hash_id(const struct entry_id *id)
{
    return record_checksum(id->key, id->element) * 4 + (uint64_t)id->space;
}

static struct sim_model_entry *
find_entry(const struct sim_model *m, const struct entry_id *id, uint64_t hash)
{
    struct sim_model_entry *e = m->buckets[hash & (m->buckets_count - 1)];

    while (e != NULL && (e->hash != hash || e->id.space != id->space ||
                         !slice_equal(e->id.key, id->key) ||
                         !slice_equal(e->id.element, id->element)))
        e = e->next;
    return e;
}

const struct sim_model_entry *sim_model_entry(const struct sim_model *m,
                                              const struct entry_id *id)
{
    return find_entry(m, id, hash_id(id));
}

struct entry_id sim_model_entry_id(const struct sim_model_entry *e)
{
    return e->id;
}

const struct sim_model_op *sim_model_newest(const struct sim_model_entry *e)
{
    return e != NULL ? e->newest : NULL;
}

bool sim_model_entry_expires(const struct sim_model_entry *e)
{
    return e->expires;
}

static void grow_buckets(struct sim_model *m)
{
    size_t count = 2 * m->buckets_count;
    struct sim_model_entry **buckets = must(cm_calloc(count, sizeof(void *)));

    for (size_t i = 0; i < m->buckets_count; i++) {
        while (m->buckets[i] != NULL) {
            struct sim_model_entry *e = m->buckets[i];
            m->buckets[i] = e->next;
            e->next = buckets[e->hash & (count - 1)];
            buckets[e->hash & (count - 1)] = e;
        }
    }
    cm_free(m->buckets);
    m->buckets = buckets;
    m->buckets_count = count;
}

static struct sim_model_entry *make_entry(struct sim_model *m,
                                          const struct entry_id *id)
{
    uint64_t hash = hash_id(id);
    struct sim_model_entry *e = find_entry(m, id, hash);

    if (e != NULL)
        return e;
    if (m->entries_count == m->buckets_count)
        grow_buckets(m);
    e = must(cm_calloc(1, sizeof *e));
    e->keys = must(cm_alloc(id->key.size + id->element.size + 1));
    memcpy(e->keys, id->key.data, id->key.size);
    if (id->element.size > 0)
        memcpy(e->keys + id->key.size, id->element.data, id->element.size);
    e->id = (struct entry_id){
        .space = id->space,
        .key = slice_of(e->keys, id->key.size),
        .element = slice_of(e->keys + id->key.size, id->element.size),
    };
    e->hash = hash;
    e->next = m->buckets[hash & (m->buckets_count - 1)];
    m->buckets[hash & (m->buckets_count - 1)] = e;
    m->entries_count++;
    return e;
}

/* ---- events ---- */

static bool op_is_allowed(const struct sim_model *m,
                          const struct certificate *c, const struct op *op)
{
    struct entry_id id = op_entry_id(op);
    struct certificate added;

    if (op->kind > OP_ROSTER_ADD)
        return op->supersedes_count == 0;
    if (op->kind != OP_ROSTER_ADD)
        return certificate_may_write(c, &id);
    return roster_may_add(c) && op->supersedes_count == 0 &&
           certificate_decode(&added, op->value, m->authority) == 0;
}

/* An event that says what its writer may not say counts, but does nothing. */
static bool event_is_void(const struct sim_model *m,
                          const struct sim_model_event *e)
{
    const struct certificate *c = sim_model_certificate(m, e->actor);

    if (e->decoded.has_unknown_op)
        return true;
    for (size_t i = 0; i < e->decoded.ops_count; i++) {
        if ((e->decoded.ops[i].kind >= OP_ROSTER_ADD &&
             e->decoded.ops_count > 1) ||
            (c != NULL && !op_is_allowed(m, c, &e->decoded.ops[i])))
            return true;
    }
    return false;
}

static struct sim_model_op *find_named(struct sim_model *m,
                                       const struct sim_model_op *by,
                                       const struct dot *dot)
{
    struct sim_model_event *e =
        sim_model_find(m, sim_model_actor(m, &dot->incarnation), dot->seq);

    for (size_t i = 0; e != NULL && i < e->decoded.ops_count; i++) {
        if (e->ops[i].entry == by->entry)
            return e->is_void ? NULL : &e->ops[i];
    }
    return NULL;
}

static void name(struct sim_model_op *op, struct sim_model_op *by)
{
    op->named =
        grown(op->named, op->named_count, &op->named_capacity, sizeof(void *));
    op->named[op->named_count++] = by;
}

/* An event may come after one that names it, from a hostile origin. */
static void name_later(struct sim_model_op *op)
{
    const struct dot *dot = &op->event->decoded.dot;

    for (struct sim_model_op *o = op->older; o != NULL; o = o->older) {
        for (size_t i = 0; i < o->op->supersedes_count; i++) {
            if (o->names[i] == NULL && dot_equal(&o->op->supersedes[i], dot)) {
                o->names[i] = op;
                name(op, o);
            }
        }
    }
}

static void link_op(struct sim_model *m, struct sim_model_event *e, size_t i)
{
    struct sim_model_op *o = &e->ops[i];
    struct entry_id id = op_entry_id(&e->decoded.ops[i]);

    *o = (struct sim_model_op){
        .op = &e->decoded.ops[i],
        .event = e,
        .number = (unsigned)i,
        .entry = make_entry(m, &id),
        .id = m->ops++,
    };
    if (e->is_void)
        return;
    o->names = must(cm_calloc(o->op->supersedes_count + 1, sizeof(void *)));
    for (size_t j = 0; j < o->op->supersedes_count; j++) {
        o->names[j] = find_named(m, o, &o->op->supersedes[j]);
        if (o->names[j] != NULL)
            name(o->names[j], o);
    }
    o->entry->expires = o->entry->expires || o->op->expires != 0;
    o->older = o->entry->newest;
    name_later(o);
    o->entry->newest = o;
    if (o->op->kind == OP_ROSTER_ADD) {
        struct incarnation added;
        memcpy(added.bytes, o->op->key.data, INCARNATION_SIZE);
        sim_model_certify(m, &added, o->op->value);
    }
}

int sim_model_add(struct sim_model *m, struct slice bytes,
                  struct sim_model_event **ret_event)
{
    struct sim_model_event *e = must(cm_calloc(1, sizeof *e));
    int error;

    e->bytes = must(cm_alloc(bytes.size + 1));
    e->size = bytes.size;
    memcpy(e->bytes, bytes.data, bytes.size);
    error = event_decode(&e->decoded, slice_of(e->bytes, e->size));
    if (error == 0) {
        e->actor = sim_model_actor(m, &e->decoded.dot.incarnation);
        if (sim_model_find(m, e->actor, e->decoded.dot.seq) != NULL)
            error = CM_ERR_EXISTS;
        else if (e->decoded.dot.seq != m->actors[e->actor].count + 1)
            error = CM_ERR_INVALID;
        if (error != 0)
            event_release(&e->decoded);
    }
    if (error != 0) {
        cm_free(e->bytes);
        cm_free(e);
        return error;
    }
    e->hash = event_hash(&e->decoded);
    e->order = m->events++;
    e->deps = must(cm_calloc(e->decoded.deps_count + 1, sizeof *e->deps));
    for (size_t i = 0; i < e->decoded.deps_count; i++)
        e->deps[i] = sim_model_actor(m, &e->decoded.deps[i].incarnation);
    e->is_void = event_is_void(m, e);
    e->ops = must(cm_calloc(e->decoded.ops_count + 1, sizeof *e->ops));
    for (size_t i = 0; i < e->decoded.ops_count; i++)
        link_op(m, e, i);
    struct actor *a = &m->actors[e->actor];
    a->events = grown(a->events, a->count, &a->capacity, sizeof(void *));
    a->events[a->count++] = e;
    *ret_event = e;
    return 0;
}

static void unname(struct sim_model_op *op, const struct sim_model_op *by)
{
    size_t kept = 0;

    for (size_t i = 0; i < op->named_count; i++) {
        if (op->named[i] != by)
            op->named[kept++] = op->named[i];
    }
    op->named_count = kept;
}

static void unhide(struct sim_model_op *op, const struct sim_model_op *by)
{
    size_t kept = 0;

    for (size_t i = 0; i < op->hidden_count; i++) {
        if (op->hidden[i] != by)
            op->hidden[kept++] = op->hidden[i];
    }
    op->hidden_count = kept;
}

static void unlink_op(struct sim_model_op *o)
{
    struct sim_model_op **at = &o->entry->newest;

    if (o->event->is_void)
        return;
    for (size_t i = 0; i < o->op->supersedes_count; i++) {
        if (o->names[i] != NULL)
            unname(o->names[i], o);
    }
    for (size_t i = 0; i < o->named_count; i++) {
        struct sim_model_op *by = o->named[i];
        for (size_t j = 0; j < by->op->supersedes_count; j++) {
            if (by->names[j] == o)
                by->names[j] = NULL;
        }
    }
    for (struct sim_model_op *x = o->older; x != NULL; x = x->older)
        unhide(x, o);
    while (*at != o)
        at = &(*at)->older;
    *at = o->older;
}

void sim_model_remove(struct sim_model *m, struct sim_model_event *e)
{
    struct actor *a = &m->actors[e->actor];

    CHECK(a->count > 0 && a->events[a->count - 1] == e);
    for (size_t i = 0; i < e->decoded.ops_count; i++)
        unlink_op(&e->ops[i]);
    a->count--;
    free_event(e);
}

/* ---- what stands ---- */

static bool covers_event(const struct sim_model_view *v,
                         const struct sim_model_event *e)
{
    return e->actor < v->count && e->decoded.dot.seq <= v->seqs[e->actor];
}

bool sim_model_covers(const struct sim_model_view *v,
                      const struct sim_model_op *op)
{
    if (v->actor == op->event->actor && v->seq == op->event->decoded.dot.seq)
        return op->number < v->ops_count;
    return covers_event(v, op->event);
}

bool sim_model_stands(const struct sim_model_view *v,
                      const struct sim_model_op *op)
{
    if (op->event->is_void || op->op->kind == OP_SET_REMOVE ||
        op->op->kind >= OP_ROSTER_ADD || !sim_model_covers(v, op))
        return false;
    if (v->taken != NULL && op->id / 8 < v->taken_size &&
        (v->taken[op->id / 8] >> op->id % 8 & 1) != 0)
        return false;
    for (size_t i = 0; i < op->named_count; i++) {
        if (sim_model_covers(v, op->named[i]))
            return false;
    }
    for (size_t i = 0; i < op->hidden_count && v->taken == NULL; i++) {
        if (sim_model_covers(v, op->hidden[i]))
            return false;
    }
    return true;
}

void sim_model_hide(struct sim_model *m, const struct sim_model_view *v,
                    struct sim_model_event *e)
{
    struct sim_model_view never = *v;

    CHECK(v->taken != NULL || v->taken_size == 0);
    never.taken = NULL;
    for (size_t i = 0; i < e->decoded.ops_count && !e->is_void; i++) {
        struct sim_model_op *o = &e->ops[i];
        const struct sim_model_op *const *ops = NULL;

        /* One that names some only means those. */
        if (o->op->kind >= OP_ROSTER_ADD ||
            sim_model_standing(m, v, o->entry, &ops) != o->op->supersedes_count)
            continue;
        for (struct sim_model_op *x = o->older; x != NULL; x = x->older) {
            if (x->event == e || sim_model_stands(v, x) ||
                !sim_model_stands(&never, x))
                continue;
            x->hidden = grown(x->hidden, x->hidden_count, &x->hidden_capacity,
                              sizeof(void *));
            x->hidden[x->hidden_count++] = o;
        }
    }
}

/* ---- generations ---- */

void sim_model_found(struct sim_model *m, uint32_t founder,
                     const struct vv *sealed)
{
    struct sim_model_generation g = {.founder = founder};
    size_t count = m->generations_count + 1;

    for (size_t i = 0; sealed != NULL && i < sealed->count; i++)
        (void)sim_model_actor(m, &sealed->entries[i].incarnation);
    g.count = m->actors_count;
    g.sealed = must(cm_calloc(g.count + 1, sizeof *g.sealed));
    for (size_t i = 0; sealed != NULL && i < sealed->count; i++) {
        const struct vv_entry *e = &sealed->entries[i];
        g.sealed[sim_model_actor(m, &e->incarnation)] = e->seq;
    }
    m->generations =
        must(cm_realloc(m->generations, count * sizeof *m->generations));
    m->generations[m->generations_count++] = g;
}

uint64_t sim_model_generation_of(struct sim_model *m,
                                 const struct generation_id *id)
{
    struct sim_model_generation *newest;

    for (size_t i = 0; i < m->generations_count; i++) {
        if (m->generations[i].named &&
            generation_id_equal(&m->generations[i].id, id))
            return i + 1;
    }
    if (m->generations_count == 0)
        return 0;
    newest = &m->generations[m->generations_count - 1];
    if (newest->named)
        return 0;
    newest->id = *id;
    newest->named = true;
    return m->generations_count;
}

uint64_t sim_model_generations(const struct sim_model *m)
{
    return m->generations_count;
}

const struct sim_model_generation *
sim_model_generation(const struct sim_model *m, uint64_t number)
{
    return number >= 1 && number <= m->generations_count
               ? &m->generations[number - 1]
               : NULL;
}

/* ---- for model_state.c ---- */

bool sim_model_fence_covers(const struct sim_model *m, uint32_t other,
                            const struct dot *dot)
{
    for (size_t i = 0; i < m->actors_count; i++) {
        const struct actor *a = &m->actors[i];

        for (size_t k = 0; k < a->count && i != other; k++) {
            const struct event *e = &a->events[k]->decoded;
            const struct fence_cover *cover;
            struct fence fence;
            bool found;

            if (e->ops_count != 1 || e->ops[0].kind != OP_FENCE ||
                a->events[k]->is_void ||
                fence_decode(&fence, e->ops[0].value) != 0)
                continue;
            cover = fence_find(&fence, &dot->incarnation);
            found = cover != NULL && cover->seq >= dot->seq;
            fence_release(&fence);
            if (found)
                return true;
        }
    }
    return false;
}

size_t sim_model_ops(const struct sim_model *m)
{
    return m->ops;
}

const uint8_t *sim_model_authority(const struct sim_model *m)
{
    return m->authority;
}

void sim_model_each_entry(const struct sim_model *m,
                          void (*visit)(void *ctx,
                                        const struct sim_model_entry *e),
                          void *ctx)
{
    for (size_t i = 0; i < m->buckets_count; i++) {
        for (const struct sim_model_entry *e = m->buckets[i]; e != NULL;
             e = e->next)
            visit(ctx, e);
    }
}

size_t sim_model_standing(struct sim_model *m, const struct sim_model_view *v,
                          const struct sim_model_entry *e,
                          const struct sim_model_op *const **ret_ops)
{
    size_t count = 0;

    for (const struct sim_model_op *o = e != NULL ? e->newest : NULL; o != NULL;
         o = o->older) {
        size_t at = count;

        if (!sim_model_stands(v, o))
            continue;
        m->found = grown(m->found, count, &m->found_capacity, sizeof(void *));
        while (at > 0 && dot_compare(&m->found[at - 1]->event->decoded.dot,
                                     &o->event->decoded.dot) > 0) {
            m->found[at] = m->found[at - 1];
            at--;
        }
        m->found[at] = o;
        count++;
    }
    *ret_ops = m->found;
    return count;
}

/* Later by clock, then by name: (HLC, incarnation, seq). */
static bool is_later(const struct sim_model_op *a, const struct sim_model_op *b)
{
    const struct event *x = &a->event->decoded;
    const struct event *y = &b->event->decoded;

    if (x->hlc != y->hlc)
        return x->hlc > y->hlc;
    int order = memcmp(x->dot.incarnation.bytes, y->dot.incarnation.bytes,
                       INCARNATION_SIZE);
    return order != 0 ? order > 0 : x->dot.seq > y->dot.seq;
}

static bool wins(const struct sim_model_op *a, const struct sim_model_op *b)
{
    uint64_t x = a->op->expires == 0 ? UINT64_MAX : a->op->expires;
    uint64_t y = b->op->expires == 0 ? UINT64_MAX : b->op->expires;

    /* Of several adds the one that expires last counts. */
    if (a->op->kind == OP_SET_ADD && b->op->kind == OP_SET_ADD && x != y)
        return x > y;
    return is_later(a, b);
}

static bool is_revoke(const struct sim_model_op *op)
{
    return op->op->kind == OP_REVOKE || op->op->kind == OP_SET_REVOKE;
}

struct sim_model_answer sim_model_resolve(struct sim_model *m,
                                          const struct sim_model_view *v,
                                          const struct sim_model_entry *e,
                                          hlc_t now)
{
    struct sim_model_answer ret = {.present = false};
    const struct sim_model_op *const *ops = NULL;

    ret.standing = sim_model_standing(m, v, e, &ops);
    for (size_t i = 0; i < ret.standing; i++)
        ret.revoked = ret.revoked || is_revoke(ops[i]);
    for (size_t i = 0; i < ret.standing; i++) {
        if (is_revoke(ops[i]) == ret.revoked &&
            (ret.winner == NULL || wins(ops[i], ret.winner)))
            ret.winner = ops[i];
    }
    ret.present =
        ret.winner != NULL && !ret.revoked && ret.winner->op->kind != OP_DEL &&
        (ret.winner->op->expires == 0 || ret.winner->op->expires > now);
    return ret;
}

struct sibling sim_model_sibling(const struct sim_model_op *op)
{
    static const enum sibling_kind kinds[] = {
        [OP_PUT] = SIBLING_PUT,           [OP_DEL] = SIBLING_TOMBSTONE,
        [OP_REVOKE] = SIBLING_REVOKE,     [OP_SET_ADD] = SIBLING_ADD,
        [OP_SET_REVOKE] = SIBLING_REVOKE,
    };

    CHECK(op->op->kind != OP_SET_REMOVE && op->op->kind < OP_ROSTER_ADD);
    return (struct sibling){
        .kind = kinds[op->op->kind],
        .dot = op->event->decoded.dot,
        .hlc = op->event->decoded.hlc,
        .expires = op->op->expires,
        .flags = op->op->flags,
        .author = op->op->author,
        .value = op->op->value,
    };
}

void sim_model_apply(const struct sim_model_view *v,
                     const struct sim_model_event *e, struct digest *d)
{
    struct sim_model_view after = *v;

    CHECK(v->actor == SIM_MODEL_NO_ACTOR && !covers_event(v, e));
    if (e->is_void)
        return;
    after.actor = e->actor;
    after.seq = e->decoded.dot.seq;
    after.ops_count = (unsigned)e->decoded.ops_count;
    for (size_t i = 0; i < e->decoded.ops_count; i++) {
        const struct sim_model_op *o = &e->ops[i];
        struct entry_id id = sim_model_entry_id(o->entry);

        for (size_t j = 0; j < o->op->supersedes_count; j++) {
            if (o->names[j] != NULL && sim_model_stands(v, o->names[j])) {
                struct sibling gone = sim_model_sibling(o->names[j]);
                digest_remove(d, &id, &gone);
            }
        }
        if (sim_model_stands(&after, o)) {
            struct sibling added = sim_model_sibling(o);
            digest_add(d, &id, &added);
        }
    }
}

void sim_model_fold(struct sim_model *m, const struct sim_model_view *v,
                    struct digest *ret_digest, size_t *ret_entries)
{
    size_t entries = 0;

    digest_init(ret_digest);
    for (size_t i = 0; i < m->buckets_count; i++) {
        for (const struct sim_model_entry *e = m->buckets[i]; e != NULL;
             e = e->next) {
            const struct sim_model_op *const *ops = NULL;
            size_t count = sim_model_standing(m, v, e, &ops);

            for (size_t j = 0; j < count; j++) {
                struct sibling s = sim_model_sibling(ops[j]);
                digest_add(ret_digest, &e->id, &s);
            }
            entries += count > 0;
        }
    }
    if (ret_entries != NULL)
        *ret_entries = entries;
}
