/* A mesh of small replicas made of crdt/ alone: entries, standing, version
 * vector; no disk, no network, no encoded events. Whoever drives it decides
 * what happens in which order: any event may reach any replica at any time,
 * again and again. The oracle "equal vectors, equal states" runs after every
 * step, over one global map of a whole run. Failures are told by mesh.failure,
 * so that a walk can be run again with steps left out. */
#ifndef TESTS_UNIT_STANDING_MESH_H
#define TESTS_UNIT_STANDING_MESH_H

#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crdt/certificate.h"
#include "crdt/collapse.h"
#include "crdt/digest.h"
#include "crdt/join.h"
#include "crdt/standing.h"

#define ACTORS_MAX 28
#define NODES_MAX 8
#define EVENTS_MAX 900
#define CELLS_MAX 160
#define ORDERS_MAX 16
#define KEYS 4 /* two registers, two elements of a set */
#define SEEN_MAX 8192

enum { NOBODY = -1 };

struct ev {
    int actor;
    uint64_t seq;
    hlc_t hlc;
    uint64_t deps[ACTORS_MAX]; /* the whole vector of its origin */
    struct op op;
    bool is_void; /* found by whoever applied it first */
    bool judged;
};

struct cell {
    enum space space;
    uint8_t key[32];
    size_t key_size;
    uint8_t element; /* 0: none */
    struct entry entry;
};

struct replica {
    int self;    /* actor */
    int waiting; /* sponsor, while a new incarnation waits for its cut */
    int next;    /* the incarnation that waits */
    bool alive;
    bool overrun;
    hlc_t clock;
    struct vv vv;
    struct standing *standing;
    struct cell cells[CELLS_MAX];
    size_t cells_count;
};

struct seen {
    struct hash vv;
    struct hash state;
};

struct mesh {
    struct key_pair authority;
    struct key_pair keys[NODES_MAX];
    struct buffer certificates[NODES_MAX];
    struct mesh_id id;
    struct replica nodes[NODES_MAX];
    size_t nodes_count;
    int owner[ACTORS_MAX]; /* node of each incarnation */
    size_t actors_count;
    struct ev *events;
    size_t events_count;
    struct buffer orders[ORDERS_MAX];
    size_t orders_count;
    uint64_t named;      /* actors named by an order or retirement, as bits */
    void *memory[65536]; /* freed at the end */
    size_t memory_count;
    struct seen *seen;
    size_t seen_count;
    hlc_t now; /* greatest stamp */
    char failure[200];
    bool without_collapse; /* a replica that never collapses, to compare */
};

#define MESH_FAIL(m, ...)                                                      \
    do {                                                                       \
        if ((m)->failure[0] == '\0')                                           \
            (void)snprintf((m)->failure, sizeof(m)->failure, __VA_ARGS__);     \
    } while (0)

static inline struct incarnation actor_id(int actor)
{
    return support_incarnation((uint8_t)(actor + 1));
}

static inline int actor_of(const struct incarnation *i)
{
    return (int)i->bytes[0] - 1;
}

static inline struct slice mesh_keep(struct mesh *m, struct slice s)
{
    void *copy;

    if (s.size == 0)
        return slice_of(NULL, 0);
    copy = malloc(s.size);
    assert_non_null(copy);
    assert_true(m->memory_count < sizeof m->memory / sizeof m->memory[0]);
    memcpy(copy, s.data, s.size);
    m->memory[m->memory_count++] = copy;
    return slice_of(copy, s.size);
}

/* ---- entries ---- */

static inline struct cell *cell_find(struct replica *r,
                                     const struct entry_id *id)
{
    uint8_t element = id->element.size > 0 ? id->element.data[0] : 0;

    for (size_t i = 0; i < r->cells_count; i++) {
        struct cell *c = &r->cells[i];

        if (c->space == id->space && c->element == element &&
            c->key_size == id->key.size &&
            memcmp(c->key, id->key.data, id->key.size) == 0)
            return c;
    }
    return NULL;
}

static inline struct entry_id cell_id(const struct cell *c)
{
    return (struct entry_id){.space = c->space,
                             .key = slice_of(c->key, c->key_size),
                             .element = slice_of(&c->element, c->element != 0)};
}

static inline struct cell *cell_make(struct replica *r,
                                     const struct entry_id *id)
{
    struct cell *c = cell_find(r, id);

    if (c != NULL)
        return c;
    assert_true(r->cells_count < CELLS_MAX);
    c = &r->cells[r->cells_count++];
    *c = (struct cell){.space = id->space, .key_size = id->key.size};
    memcpy(c->key, id->key.data, id->key.size);
    c->element = id->element.size > 0 ? id->element.data[0] : 0;
    return c;
}

static inline void cell_drop(struct replica *r, struct cell *c)
{
    entry_release(&c->entry);
    *c = r->cells[--r->cells_count];
}

struct mesh_store {
    struct mesh *mesh;
    struct replica *replica;
};

static inline int mesh_get(void *ctx, const struct entry_id *id,
                           struct entry *ret_entry)
{
    struct mesh_store *store = ctx;
    struct cell *c = cell_find(store->replica, id);

    if (c == NULL)
        return CM_ERR_NOT_FOUND;
    for (size_t i = 0; i < c->entry.count; i++)
        assert_int_equal(entry_add_sibling(ret_entry, &c->entry.siblings[i]),
                         0);
    return 0;
}

static inline int mesh_put(void *ctx, const struct entry_id *id,
                           const struct entry *before,
                           const struct entry *after)
{
    struct mesh_store *store = ctx;
    struct cell *c = cell_find(store->replica, id);
    struct entry copy;

    assert_int_equal(before->count, c != NULL ? c->entry.count : 0);
    entry_init(&copy);
    for (size_t i = 0; i < after->count; i++) {
        struct sibling s = after->siblings[i];

        s.value = mesh_keep(store->mesh, s.value);
        s.author = mesh_keep(store->mesh, s.author);
        assert_int_equal(entry_add_sibling(&copy, &s), 0);
    }
    if (copy.count == 0) {
        if (c != NULL)
            cell_drop(store->replica, c);
        return 0;
    }
    c = cell_make(store->replica, id);
    entry_release(&c->entry);
    c->entry = copy;
    return 0;
}

/* ---- life ---- */

static inline struct standing *mesh_standing(struct mesh *m)
{
    struct standing_options o = {
        .mesh = m->id,
        .generation = {.number = 1},
        .founder = actor_id(0),
    };
    struct standing *ret;

    memcpy(o.authority_public_key, m->authority.public_key, 32);
    memcpy(o.founder_sign_key, m->keys[0].public_key, 32);
    assert_int_equal(standing_create(&ret, &o), 0);
    return ret;
}

static inline void replica_clear(struct replica *r)
{
    for (size_t i = 0; i < r->cells_count; i++)
        entry_release(&r->cells[i].entry);
    r->cells_count = 0;
    vv_release(&r->vv);
    standing_free(r->standing);
    r->standing = NULL;
}

static inline int mesh_actor(struct mesh *m, int node)
{
    int ret = (int)m->actors_count;

    if (m->actors_count == ACTORS_MAX)
        return NOBODY;
    m->owner[m->actors_count++] = node;
    return ret;
}

static inline struct mesh *mesh_new(size_t nodes)
{
    struct mesh *m = calloc(1, sizeof *m);

    assert_non_null(m);
    m->events = calloc(EVENTS_MAX, sizeof *m->events);
    m->seen = calloc(SEEN_MAX, sizeof *m->seen);
    assert_true(m->events != NULL && m->seen != NULL);
    m->authority = support_key_pair(200);
    m->id = mesh_id_of(m->authority.public_key);
    m->nodes_count = nodes;
    for (size_t i = 0; i < nodes; i++) {
        struct certificate c = {.roles = ROLE_WRITER | ROLE_ISSUER,
                                .prefixes_count = 1,
                                .mesh = m->id};

        m->keys[i] = support_key_pair((uint8_t)(i + 1));
        memcpy(c.sign_key, m->keys[i].public_key, 32);
        (void)snprintf(c.name, sizeof c.name, "n%zu", i);
        buffer_init(&m->certificates[i], CERTIFICATE_SIZE_MAX);
        assert_int_equal(certificate_encode(&m->certificates[i], &c,
                                            m->authority.secret_key),
                         0);
        m->nodes[i].self = mesh_actor(m, (int)i);
        m->nodes[i].waiting = m->nodes[i].next = NOBODY;
        m->nodes[i].standing = mesh_standing(m);
        m->nodes[i].clock = hlc_make(100 + 3 * i, 0);
    }
    m->nodes[0].alive = true;
    return m;
}

static inline void mesh_free(struct mesh *m)
{
    for (size_t i = 0; i < m->nodes_count; i++) {
        replica_clear(&m->nodes[i]);
        buffer_release(&m->certificates[i]);
    }
    for (size_t i = 0; i < m->orders_count; i++)
        buffer_release(&m->orders[i]);
    for (size_t i = 0; i < m->memory_count; i++)
        free(m->memory[i]);
    free(m->events);
    free(m->seen);
    free(m);
}

/* ---- oracles ---- */

static inline int compare_cells(const void *a, const void *b)
{
    const struct cell *x = *(const struct cell *const *)a;
    const struct cell *y = *(const struct cell *const *)b;
    struct entry_id i = cell_id(x);
    struct entry_id j = cell_id(y);

    return entry_id_compare(&i, &j);
}

static inline struct hash replica_state(const struct replica *r)
{
    const struct cell *sorted[CELLS_MAX];
    struct digest digest;
    struct buffer out;
    struct hash ret;

    digest_init(&digest);
    buffer_init(&out, 1 << 24);
    for (size_t i = 0; i < r->cells_count; i++)
        sorted[i] = &r->cells[i];
    qsort(sorted, r->cells_count, sizeof sorted[0], compare_cells);
    standing_pack(&out, r->standing);
    for (size_t i = 0; i < r->cells_count; i++) {
        struct entry_id id = cell_id(sorted[i]);

        entry_pack(&out, &id, &sorted[i]->entry);
        for (size_t k = 0; k < sorted[i]->entry.count; k++)
            digest_add(&digest, &id, &sorted[i]->entry.siblings[k]);
    }
    ret = standing_hash(r->standing);
    buffer_append(&out, ret.bytes, sizeof ret.bytes);
    ret = digest_finish(&digest, &r->vv);
    buffer_append(&out, ret.bytes, sizeof ret.bytes);
    assert_int_equal(out.error, 0);
    ret = hash_of("test", buffer_slice(&out));
    buffer_release(&out);
    return ret;
}

static inline bool in_past(const struct ev *e, const struct ev *of)
{
    return e != of && e->seq <= of->deps[e->actor];
}

/* What the events of the vector mean by true causal past, with nothing ever
 * collected, at a time after all floors. */
static inline bool truly_present(const struct mesh *m, const struct replica *r,
                                 const struct entry_id *id, hlc_t now,
                                 struct dot *ret_dot)
{
    struct entry e;
    struct resolution res;
    bool ret;

    entry_init(&e);
    for (size_t i = 0; i < m->events_count; i++) {
        const struct ev *x = &m->events[i];
        struct dot dot = {actor_id(x->actor), x->seq};
        struct entry_id xid = op_entry_id(&x->op);
        bool gone = x->op.kind == OP_SET_REMOVE;
        struct op op = x->op;

        if (x->op.kind >= OP_ROSTER_ADD || !vv_covers(&r->vv, &dot) ||
            entry_id_compare(&xid, id) != 0)
            continue;
        for (size_t k = 0; k < m->events_count && !gone; k++) {
            const struct ev *y = &m->events[k];
            struct dot other = {actor_id(y->actor), y->seq};
            struct entry_id yid = op_entry_id(&y->op);

            gone = y->op.kind < OP_ROSTER_ADD && vv_covers(&r->vv, &other) &&
                   entry_id_compare(&yid, id) == 0 && in_past(x, y);
        }
        op.supersedes = NULL;
        op.supersedes_count = 0;
        if (!gone)
            assert_int_equal(entry_apply(&e, &op, &dot, x->hlc, NULL), 0);
    }
    res = entry_resolve(&e, now);
    ret = res.present;
    if (ret)
        *ret_dot = res.winner->dot;
    entry_release(&e);
    return ret;
}

static const struct {
    enum space space;
    const char *key;
    const char *element;
} mesh_places[KEYS] = {{SPACE_REGISTER, "k", ""},
                       {SPACE_REGISTER, "l", ""},
                       {SPACE_SET, "s", "x"},
                       {SPACE_SET, "s", "y"}};

static inline struct entry_id place_id(size_t place)
{
    return (struct entry_id){.space = mesh_places[place].space,
                             .key = slice_of_string(mesh_places[place].key),
                             .element =
                                 slice_of_string(mesh_places[place].element)};
}

/* Presence by what the replica holds. */
static inline bool shown(struct replica *r, size_t place, hlc_t now,
                         struct dot *ret_dot)
{
    struct entry_id id = place_id(place);
    struct cell *c = cell_find(r, &id);
    struct resolution res;

    if (c == NULL)
        return false;
    res = entry_resolve(&c->entry, now);
    if (res.present)
        *ret_dot = res.winner->dot;
    return res.present;
}

static inline void check_resolution(struct mesh *m, struct replica *r, int node)
{
    for (size_t p = 0; p < KEYS; p++) {
        struct entry_id id = place_id(p);
        struct dot a = {.seq = 0};
        struct dot b = {.seq = 0};
        bool truth = truly_present(m, r, &id, m->now, &a);
        bool here = shown(r, p, m->now, &b);

        if (truth != here || (truth && !dot_equal(&a, &b)))
            MESH_FAIL(m,
                      "node %d, place %zu: shows %d (actor %d:%d), truth %d "
                      "(actor %d:%d)",
                      node, p, here, actor_of(&b.incarnation), (int)b.seq,
                      truth, actor_of(&a.incarnation), (int)a.seq);
    }
}

/* Equal vectors, equal states. */
static inline void check_law(struct mesh *m, struct replica *r, int node)
{
    struct hash vv = vv_hash(&r->vv);
    struct hash state = replica_state(r);

    for (size_t i = 0; i < m->seen_count; i++) {
        if (!hash_equal(&m->seen[i].vv, &vv))
            continue;
        if (!hash_equal(&m->seen[i].state, &state))
            MESH_FAIL(m, "node %d: equal vectors, other state", node);
        return;
    }
    if (m->seen_count < SEEN_MAX)
        m->seen[m->seen_count++] = (struct seen){vv, state};
    check_resolution(m, r, node);
}

/* ---- applying ---- */

static inline void collapse_all(struct replica *r)
{
    for (size_t i = r->cells_count; i > 0; i--) {
        struct cell *c = &r->cells[i - 1];

        entry_collapse(&c->entry, standing_floor(r->standing),
                       standing_floor_time(r->standing), NULL);
        if (c->entry.count == 0)
            cell_drop(r, c);
    }
}

static inline bool floor_within(const struct floor *a, const struct floor *b)
{
    for (size_t i = 0; i < a->count; i++) {
        struct dot d = {a->rows[i].incarnation, a->rows[i].up_to};

        if (d.seq > 0 && !floor_covers(b, &d))
            return false;
    }
    return true;
}

static inline void mesh_step_done(struct mesh *m, int node,
                                  const struct standing_changes *changes)
{
    struct replica *r = &m->nodes[node];

    if (changes->floor)
        collapse_all(r);
    r->overrun = r->overrun || changes->overrun;
    check_law(m, r, node);
}

static inline void apply_standing(struct mesh *m, int node, const struct ev *e)
{
    struct replica *r = &m->nodes[node];
    struct mesh_store ctx = {m, r};
    struct standing_store store = {&ctx, mesh_get, mesh_put};
    struct dot dot = {actor_id(e->actor), e->seq};
    struct standing_changes changes;
    struct floor before;

    assert_int_equal(floor_copy(&before, standing_floor(r->standing)), 0);
    int error = standing_apply(r->standing, &store, &r->vv, &e->op, &dot,
                               e->hlc, &changes);
    if (error != 0)
        MESH_FAIL(m, "node %d: standing_apply: %s", node, cm_strerror(error));
    if (!floor_within(&before, standing_floor(r->standing)))
        MESH_FAIL(m, "node %d: the floor went back", node);
    floor_release(&before);
    mesh_step_done(m, node, &changes);
}

static inline void apply_data(struct mesh *m, int node, const struct ev *e)
{
    struct replica *r = &m->nodes[node];
    struct entry_id id = op_entry_id(&e->op);
    struct cell *c = cell_make(r, &id);
    struct dot dot = {actor_id(e->actor), e->seq};
    struct standing_changes none = {0};

    assert_int_equal(entry_apply(&c->entry, &e->op, &dot, e->hlc, NULL), 0);
    if (c->entry.count == 0)
        cell_drop(r, c);
    mesh_step_done(m, node, &none);
}

static inline struct hash dot_hash(const struct ev *e)
{
    uint8_t bytes[16] = {0};

    put_be64(bytes, e->seq);
    put_be64(bytes + 8, (uint64_t)e->actor);
    return hash_of("event", slice_of(bytes, sizeof bytes));
}

/* Gives event e to a node. True if it was applied. */
static inline bool mesh_deliver(struct mesh *m, int node, const struct ev *e)
{
    struct replica *r = &m->nodes[node];
    struct incarnation self = actor_id(r->self);
    struct dot dot = {actor_id(e->actor), e->seq};
    struct hash head = dot_hash(e);
    bool ready = true;
    bool counts = true;
    int error;

    if (e->seq <= vv_seq(&r->vv, &dot.incarnation))
        return false;
    if (e->op.kind == OP_FENCE)
        (void)standing_announce(r->standing, &dot.incarnation, e->op.value);
    if (e->seq != vv_seq(&r->vv, &dot.incarnation) + 1)
        return false;
    for (int i = 0; i < (int)m->actors_count; i++) {
        struct incarnation who = actor_id(i);

        if (i != e->actor && e->deps[i] > vv_seq(&r->vv, &who))
            return false;
    }
    if (standing_judge(r->standing, &self, &dot, &head) != STANDING_APPLY)
        return false;
    assert_int_equal(standing_ready(&e->op, &dot, &r->vv, &ready), 0);
    if (!ready)
        return false;
    if (e->op.kind >= OP_ROSTER_ADD) {
        error = standing_allows(r->standing, &e->op, &dot, true, &counts, NULL);
        if (error != 0)
            return false;
    }
    assert_int_equal(vv_set(&r->vv, &dot.incarnation, e->seq, &head), 0);
    r->clock = hlc_merge(r->clock, e->hlc);
    if (!counts) {
        struct standing_changes none = {0};

        mesh_step_done(m, node, &none);
    } else if (e->op.kind >= OP_ROSTER_ADD) {
        apply_standing(m, node, e);
    } else {
        apply_data(m, node, e);
    }
    return true;
}

/* The node's next event; op's slices are copied. NULL when the mesh is full or
 * the node may not write. */
static inline const struct ev *mesh_write(struct mesh *m, int node,
                                          const struct op *op, uint64_t wall)
{
    struct replica *r = &m->nodes[node];
    struct incarnation self = actor_id(r->self);
    struct ev *e = &m->events[m->events_count];
    struct dot *dots = NULL;

    if (m->events_count == EVENTS_MAX || !r->alive ||
        !standing_is_member(r->standing, &self))
        return NULL;
    *e = (struct ev){.actor = r->self,
                     .seq = vv_seq(&r->vv, &self) + 1,
                     .hlc = hlc_next(r->clock, wall),
                     .op = *op};
    for (int i = 0; i < ACTORS_MAX; i++) {
        struct incarnation who = actor_id(i);

        e->deps[i] = vv_seq(&r->vv, &who);
    }
    e->op.key = mesh_keep(m, op->key);
    e->op.element = mesh_keep(m, op->element);
    e->op.value = mesh_keep(m, op->value);
    if (op->supersedes_count > 0)
        dots = (struct dot *)(uintptr_t)mesh_keep(
                   m, slice_of(op->supersedes,
                               op->supersedes_count * sizeof *dots))
                   .data;
    e->op.supersedes = dots;
    m->events_count++;
    if (e->hlc > m->now)
        m->now = e->hlc;
    if (!mesh_deliver(m, node, e)) {
        MESH_FAIL(m, "node %d cannot apply its own event", node);
        m->events_count--;
        return NULL;
    }
    return e;
}

/* ---- what nodes write ---- */

static inline const struct ev *mesh_data(struct mesh *m, int node,
                                         enum op_kind kind, size_t place,
                                         hlc_t expires, uint64_t wall)
{
    struct replica *r = &m->nodes[node];
    struct entry_id id = place_id(place);
    struct cell *c = cell_find(r, &id);
    struct dot dots[EVENTS_MAX];
    struct op op = {
        .kind = kind, .key = id.key, .element = id.element, .expires = expires};

    for (size_t i = 0; c != NULL && i < c->entry.count; i++)
        dots[i] = c->entry.siblings[i].dot;
    op.supersedes = dots;
    op.supersedes_count = c != NULL ? c->entry.count : 0;
    return mesh_write(m, node, &op, wall);
}

static inline const struct ev *mesh_propose(struct mesh *m, int node,
                                            uint64_t wall)
{
    struct replica *r = &m->nodes[node];
    struct incarnation self = actor_id(r->self);
    uint8_t key[PROPOSAL_KEY_SIZE];
    struct op op = {.kind = OP_ACK, .key = slice_of(key, sizeof key)};
    const struct ev *ret = NULL;
    struct buffer value;
    bool due;

    buffer_init(&value, VALUE_SIZE_MAX);
    assert_int_equal(standing_propose(r->standing, &self, &r->vv, &value, &due),
                     0);
    memcpy(key, self.bytes, sizeof self.bytes);
    put_be64(key + sizeof self.bytes, vv_seq(&r->vv, &self) + 1);
    op.value = buffer_slice(&value);
    if (due)
        ret = mesh_write(m, node, &op, wall);
    buffer_release(&value);
    return ret;
}

static inline const struct ev *mesh_ack(struct mesh *m, int node, uint64_t wall)
{
    struct replica *r = &m->nodes[node];
    struct incarnation self = actor_id(r->self);
    uint8_t key[PROPOSAL_KEY_SIZE];
    struct op op = {.kind = OP_ACK, .key = slice_of(key, sizeof key)};

    if (!standing_due_ack(r->standing, &self, key))
        return NULL;
    return mesh_write(m, node, &op, wall);
}

static inline const struct ev *mesh_fence(struct mesh *m, int node,
                                          uint64_t wall)
{
    struct replica *r = &m->nodes[node];
    struct incarnation self = actor_id(r->self);
    struct op op = {.kind = OP_FENCE,
                    .key = slice_of(self.bytes, sizeof self.bytes)};
    const struct ev *ret = NULL;
    struct buffer value;
    bool due;

    buffer_init(&value, VALUE_SIZE_MAX);
    assert_int_equal(
        standing_due_fence(r->standing, &self, &r->vv, &value, &due), 0);
    op.value = buffer_slice(&value);
    if (due)
        ret = mesh_write(m, node, &op, wall);
    buffer_release(&value);
    return ret;
}

static inline const struct ev *mesh_add(struct mesh *m, int sponsor, int actor,
                                        uint64_t wall)
{
    struct incarnation who = actor_id(actor);
    struct op op = {.kind = OP_ROSTER_ADD,
                    .key = slice_of(who.bytes, sizeof who.bytes),
                    .value = buffer_slice(&m->certificates[m->owner[actor]])};

    /* "Nobody sponsors it." */
    if (standing_is_evictee(m->nodes[sponsor].standing, &who) ||
        standing_is_sealed(m->nodes[sponsor].standing, &who, NULL))
        return NULL;
    return mesh_write(m, sponsor, &op, wall);
}

/* ---- cuts ---- */

static inline void copy_cells(struct replica *to, const struct replica *from)
{
    for (size_t i = 0; i < from->cells_count; i++) {
        struct entry_id id = cell_id(&from->cells[i]);
        struct cell *c = cell_make(to, &id);

        for (size_t k = 0; k < from->cells[i].entry.count; k++)
            assert_int_equal(
                entry_add_sibling(&c->entry, &from->cells[i].entry.siblings[k]),
                0);
    }
}

/* A standing as a node has it that reads the record and the entries back. */
static inline struct standing *standing_reloaded(struct mesh *m,
                                                 const struct replica *r,
                                                 const struct standing *record,
                                                 const struct standing *joined)
{
    struct standing *ret = mesh_standing(m);
    struct buffer out;
    struct unpacker u;
    int error = 0;

    buffer_init(&out, 1 << 20);
    standing_pack(&out, record);
    unpack_init(&u, buffer_slice(&out));
    assert_int_equal(standing_unpack(ret, &u), 0);
    assert_int_equal(unpack_finish(&u), 0);
    buffer_release(&out);
    if (joined != NULL) {
        error = standing_join(ret, joined);
        if (error != 0)
            MESH_FAIL(m, "joining records: %s", cm_strerror(error));
    }
    for (size_t i = 0; i < r->cells_count; i++) {
        struct entry_id id = cell_id(&r->cells[i]);

        if (id.space > SPACE_CLIENT_LAST)
            error = standing_load(ret, &id, &r->cells[i].entry);
        if (error != 0)
            MESH_FAIL(m, "loading: %s", cm_strerror(error));
    }
    return ret;
}

static inline void hear_all(struct standing *s, const struct standing *from)
{
    struct slice heard[256];
    size_t count = standing_heard(from, heard, 256);

    for (size_t i = 0; i < count && i < 256; i++) {
        int error = standing_hear_order(s, heard[i]);

        if (error != 0 && error != CM_ERR_DUPLICATE)
            (void)standing_hear_retirement(s, heard[i]);
    }
}

/* The node replaces everything by a copy of another's state. */
static inline void mesh_adopt(struct mesh *m, int node, int from, int actor)
{
    struct replica *r = &m->nodes[node];
    struct replica *source = &m->nodes[from];
    struct standing *old = r->standing;

    for (size_t i = 0; i < r->cells_count; i++)
        entry_release(&r->cells[i].entry);
    r->cells_count = 0;
    vv_release(&r->vv);
    copy_cells(r, source);
    assert_int_equal(vv_copy(&r->vv, &source->vv), 0);
    r->standing = standing_reloaded(m, r, source->standing, NULL);
    hear_all(r->standing, old);
    standing_free(old);
    r->self = actor;
    r->waiting = r->next = NOBODY;
    r->alive = true;
    r->overrun = source->overrun;
    r->clock = source->clock;
    check_law(m, r, node);
}

/* The node joins a cut of another, if it is let in. */
static inline bool mesh_join(struct mesh *m, int node, int from)
{
    struct replica *r = &m->nodes[node];
    struct replica *source = &m->nodes[from];
    struct incarnation self = actor_id(r->self);
    struct replica joined = *r;
    struct mesh_store ctx = {m, r};
    struct standing_store store = {&ctx, mesh_get, mesh_put};
    struct standing_changes changes;
    struct standing *fresh;

    if (node == from || standing_admits(r->standing, &self, &r->vv,
                                        source->standing, &source->vv) != 0)
        return false;
    /* Somebody else holds later events of this very incarnation. */
    if (vv_seq(&source->vv, &self) > vv_seq(&r->vv, &self))
        return false;
    joined.cells_count = 0;
    assert_int_equal(vv_join(&joined.vv, &r->vv, &source->vv), 0);
    for (size_t side = 0; side < 2; side++) {
        struct replica *a = side == 0 ? r : source;
        struct replica *b = side == 0 ? source : r;

        for (size_t i = 0; i < a->cells_count; i++) {
            struct entry_id id = cell_id(&a->cells[i]);
            struct cell *other = cell_find(b, &id);
            struct entry none = {0};
            struct entry e;

            if (side == 1 && other != NULL)
                continue;
            assert_int_equal(entry_join(&e, &a->cells[i].entry, &a->vv,
                                        other != NULL ? &other->entry : &none,
                                        &b->vv),
                             0);
            if (e.count > 0)
                cell_make(&joined, &id)->entry = e;
            else
                entry_release(&e);
        }
    }
    fresh = standing_reloaded(m, &joined, r->standing, source->standing);
    hear_all(fresh, r->standing);
    for (size_t i = 0; i < r->cells_count; i++)
        entry_release(&r->cells[i].entry);
    vv_release(&r->vv);
    standing_free(r->standing);
    joined.standing = fresh;
    joined.clock = hlc_merge(r->clock, source->clock);
    joined.overrun = r->overrun || source->overrun;
    *r = joined;
    assert_int_equal(standing_settle(fresh, &store, &r->vv, &changes), 0);
    changes.floor = true;
    mesh_step_done(m, node, &changes);
    return true;
}

/* ---- orders ---- */

/* An order of the authority; previous -1: none before. Its index. */
static inline int mesh_order(struct mesh *m, uint64_t epoch, int previous,
                             const int *actors, size_t count)
{
    struct incarnation names[ACTORS_MAX];
    struct eviction_order o = {.mesh = m->id,
                               .generation = {.number = 1},
                               .epoch = epoch,
                               .incarnations = names,
                               .count = count,
                               .created_ms = m->orders_count};

    assert_true(m->orders_count < ORDERS_MAX);
    for (size_t i = 0; i < count; i++) {
        names[i] = actor_id(actors[i]);
        m->named |= UINT64_C(1) << actors[i];
    }
    if (previous >= 0)
        o.previous = eviction_hash(buffer_slice(&m->orders[previous]));
    buffer_init(&m->orders[m->orders_count], EVICTION_SIZE_MAX);
    assert_int_equal(eviction_encode(&m->orders[m->orders_count], &o,
                                     m->authority.secret_key),
                     0);
    return (int)m->orders_count++;
}

static inline int mesh_hear(struct mesh *m, int node, int order)
{
    return standing_hear_order(m->nodes[node].standing,
                               buffer_slice(&m->orders[order]));
}

static inline int mesh_retire(struct mesh *m, int node, int actor)
{
    struct retirement r = {.mesh = m->id,
                           .generation = {.number = 1},
                           .incarnation = actor_id(actor),
                           .certificate =
                               buffer_slice(&m->certificates[m->owner[actor]])};
    struct buffer bytes;
    int error;

    m->named |= UINT64_C(1) << actor;
    buffer_init(&bytes, RETIREMENT_SIZE_MAX);
    assert_int_equal(
        retirement_encode(&bytes, &r, m->keys[m->owner[actor]].secret_key), 0);
    error =
        standing_hear_retirement(m->nodes[node].standing, buffer_slice(&bytes));
    buffer_release(&bytes);
    return error;
}

/* A restart: what is not state is forgotten, but a node knows which earlier
 * incarnations were its own. */
static inline void mesh_restart(struct mesh *m, int node)
{
    struct replica *r = &m->nodes[node];
    struct standing *fresh = standing_reloaded(m, r, r->standing, NULL);

    standing_free(r->standing);
    r->standing = fresh;
    for (int i = 0; i < (int)m->actors_count; i++) {
        if (m->owner[i] == node && i != r->self && i != r->next)
            (void)mesh_retire(m, node, i);
    }
    check_law(m, r, node);
}

/* ---- for tests that tell a story ---- */

static inline uint64_t knows(const struct mesh *m, int node, int actor)
{
    struct incarnation who = actor_id(actor);

    return vv_seq(&m->nodes[node].vv, &who);
}

/* Everything that can be applied at node of what actor wrote. */
static inline void mesh_pull(struct mesh *m, int node, int actor)
{
    for (size_t i = 0; i < m->events_count; i++) {
        if (m->events[i].actor == actor)
            (void)mesh_deliver(m, node, &m->events[i]);
    }
}

/* Everything that can be applied at node, again and again. A pass that applies
 * nothing may have announced a fence that lets the next one apply something. */
static inline bool mesh_pull_all(struct mesh *m, int node)
{
    bool ret = false;

    for (int idle = 0; idle < 2; idle++) {
        for (size_t i = 0; i < m->events_count; i++) {
            if (mesh_deliver(m, node, &m->events[i])) {
                ret = true;
                idle = -1;
            }
        }
    }
    return ret;
}

/* The founder adds nodes 1.., each of which adopts its cut. */
static inline void mesh_roster_all(struct mesh *m)
{
    for (size_t i = 1; i < m->nodes_count; i++)
        (void)mesh_add(m, 0, m->nodes[i].self, 100);
    for (size_t i = 1; i < m->nodes_count; i++)
        mesh_adopt(m, (int)i, 0, m->nodes[i].self);
}

static inline bool sealed_at(const struct mesh *m, int node, int actor,
                             uint64_t *ret_last)
{
    struct incarnation who = actor_id(actor);

    return standing_is_sealed(m->nodes[node].standing, &who, ret_last);
}

static inline void mesh_ok(const struct mesh *m)
{
    if (m->failure[0] != '\0')
        fail_msg("%s", m->failure);
}

#endif
