/* A replica as the design has it: see model_state.h. */
#include "sim/model_state.h"

#include <stdlib.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/fence.h"
#include "node/roster.h"

/* Whom a fence speaks of. */
struct name {
    uint32_t actor;
    uint64_t seq; /* that much of it is in the writer's past */
    bool ordered; /* an order names it */
    bool retired; /* so does a retirement of that node */
    struct key_id node;
};

struct said {
    uint32_t writer;
    const struct sim_model_event *by; /* the fence; or the add that copied it */
    struct slice author;
    struct slice value;
    struct name *names; /* owned */
    size_t count;
};

struct ack {
    uint32_t actor;
    const struct sim_model_event *by; /* the ack; or an add */
    hlc_t hlc;
};

struct proposal {
    const struct sim_model_event *by;
    struct ack *acks; /* owned; the first is its proposer's */
    size_t count;
    size_t capacity;
};

struct member {
    uint32_t actor;
    const struct sim_model_event *by; /* NULL: a founder */
};

struct sim_model_state {
    struct sim_model *model;
    uint64_t generation; /* 0: none yet */
    uint64_t *seqs;      /* owned, by actor, as are the next five */
    uint64_t *floor;
    uint64_t *last;
    bool *sealed;
    bool *member;
    uint32_t *level; /* announced; 0: nothing is known */
    size_t actors;   /* so many have room */
    hlc_t floor_time;
    struct member *members; /* owned, as all lists */
    size_t members_count;
    size_t members_capacity;
    struct said *fences;
    size_t fences_count;
    size_t fences_capacity;
    struct proposal *proposals;
    size_t proposals_count;
    size_t proposals_capacity;
    struct digest digest; /* of what clients wrote… */
    struct digest own;    /* …and of the mesh's own spaces */
    size_t controls;      /* entries of the mesh's own spaces */
    uint8_t *taken; /* owned; a bit for each operation that a floor took */
    size_t taken_size;
    size_t taken_count;
};

static void *grown(void *array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return array;
    *capacity = *capacity > 0 ? 2 * *capacity : 4;
    array = cm_realloc(array, *capacity * size);
    CHECK(array != NULL);
    return array;
}

/* ---- life ---- */

static void forget_lists(struct sim_model_state *s)
{
    for (size_t i = 0; i < s->fences_count; i++)
        cm_free(s->fences[i].names);
    for (size_t i = 0; i < s->proposals_count; i++)
        cm_free(s->proposals[i].acks);
    s->members_count = s->fences_count = s->proposals_count = 0;
}

struct sim_model_state *sim_model_state_create(struct sim_model *m)
{
    struct sim_model_state *s = cm_calloc(1, sizeof *s);

    CHECK(s != NULL && m != NULL);
    s->model = m;
    digest_init(&s->digest);
    digest_init(&s->own);
    return s;
}

void sim_model_state_free(struct sim_model_state *s)
{
    if (s == NULL)
        return;
    forget_lists(s);
    cm_free(s->members);
    cm_free(s->fences);
    cm_free(s->proposals);
    cm_free(s->seqs);
    cm_free(s->floor);
    cm_free(s->last);
    cm_free(s->sealed);
    cm_free(s->member);
    cm_free(s->level);
    cm_free(s->taken);
    cm_free(s);
}

void sim_model_state_clear(struct sim_model_state *s)
{
    forget_lists(s);
    s->generation = 0;
    s->floor_time = 0;
    s->controls = s->taken_count = 0;
    digest_init(&s->digest);
    digest_init(&s->own);
    for (size_t i = 0; i < s->actors; i++) {
        s->seqs[i] = s->floor[i] = s->last[i] = 0;
        s->sealed[i] = s->member[i] = false;
        s->level[i] = 0;
    }
    if (s->taken_size > 0)
        memset(s->taken, 0, s->taken_size);
}

static void *wider(void *array, size_t before, size_t after, size_t size)
{
    array = cm_realloc(array, after * size);
    CHECK(array != NULL);
    memset((uint8_t *)array + before * size, 0, (after - before) * size);
    return array;
}

static void reserve(struct sim_model_state *s)
{
    size_t actors = sim_model_actors(s->model);
    size_t bytes = sim_model_ops(s->model) / 8 + 1;

    if (actors > s->actors) {
        s->seqs = wider(s->seqs, s->actors, actors, sizeof *s->seqs);
        s->floor = wider(s->floor, s->actors, actors, sizeof *s->floor);
        s->last = wider(s->last, s->actors, actors, sizeof *s->last);
        s->sealed = wider(s->sealed, s->actors, actors, sizeof *s->sealed);
        s->member = wider(s->member, s->actors, actors, sizeof *s->member);
        s->level = wider(s->level, s->actors, actors, sizeof *s->level);
        s->actors = actors;
    }
    if (bytes > s->taken_size) {
        s->taken = wider(s->taken, s->taken_size, 2 * bytes, 1);
        s->taken_size = 2 * bytes;
    }
}

/* "Everybody in the generation starts from their state: it is below the
 * floor." What those before left in the mesh's own spaces stays, and means
 * nothing. */
static void enter_generation(struct sim_model_state *s, uint64_t number)
{
    const struct sim_model_generation *g =
        sim_model_generation(s->model, number);

    if (g == NULL || number <= s->generation)
        return;
    reserve(s);
    forget_lists(s);
    s->generation = number;
    s->floor_time = 0;
    for (size_t i = 0; i < s->actors; i++) {
        s->sealed[i] = i < g->count && g->sealed[i] > 0;
        s->member[i] = i == g->founder;
        s->level[i] = 0;
        s->last[i] = s->floor[i] = i < g->count ? g->sealed[i] : 0;
    }
    s->members = grown(s->members, s->members_count, &s->members_capacity,
                       sizeof *s->members);
    s->members[s->members_count++] = (struct member){.actor = g->founder};
}

/* ---- looking ---- */

struct sim_model_view sim_model_state_view(const struct sim_model_state *s)
{
    return (struct sim_model_view){
        .seqs = s->seqs,
        .count = s->actors,
        .actor = SIM_MODEL_NO_ACTOR,
        .taken = s->taken,
        .taken_size = s->taken_size,
    };
}

struct digest sim_model_state_digest(const struct sim_model_state *s)
{
    struct digest ret = s->digest;

    for (unsigned i = 0; i < DIGEST_LANES; i++)
        ret.lanes[i] = (uint16_t)(ret.lanes[i] + s->own.lanes[i]);
    return ret;
}

const struct digest *
sim_model_state_client_digest(const struct sim_model_state *s)
{
    return &s->digest;
}

size_t sim_model_state_controls(const struct sim_model_state *s)
{
    return s->controls;
}

size_t sim_model_state_taken(const struct sim_model_state *s)
{
    return s->taken_count;
}

size_t sim_model_state_members(const struct sim_model_state *s)
{
    return s->members_count;
}

static const struct member *member_of(const struct sim_model_state *s,
                                      uint32_t actor)
{
    for (size_t i = 0;
         actor < s->actors && s->member[actor] && i < s->members_count; i++) {
        if (s->members[i].actor == actor)
            return &s->members[i];
    }
    return NULL;
}

bool sim_model_state_is_member(const struct sim_model_state *s, uint32_t actor)
{
    return actor < s->actors && s->member[actor];
}

uint32_t sim_model_state_level(const struct sim_model_state *s, uint32_t actor)
{
    return actor < s->actors ? s->level[actor] : 0;
}

bool sim_model_state_is_sealed(const struct sim_model_state *s, uint32_t actor,
                               uint64_t *ret_last)
{
    if (actor >= s->actors || !s->sealed[actor])
        return false;
    if (ret_last != NULL)
        *ret_last = s->last[actor];
    return true;
}

uint64_t sim_model_state_floor(const struct sim_model_state *s, uint32_t actor)
{
    return actor < s->actors ? s->floor[actor] : 0;
}

hlc_t sim_model_state_floor_time(const struct sim_model_state *s)
{
    return s->floor_time;
}

/* ---- fences ---- */

static const struct name *find_name(const struct said *f, uint32_t actor)
{
    for (size_t i = 0; i < f->count; i++) {
        if (f->names[i].actor == actor)
            return &f->names[i];
    }
    return NULL;
}

/* By an order; or its own node has given it up. */
static bool counts(const struct sim_model_state *s, const struct name *n)
{
    const struct certificate *c;

    if (n->ordered || !n->retired)
        return n->ordered;
    if (member_of(s, n->actor) == NULL)
        return true;
    c = sim_model_certificate(s->model, n->actor);
    return c != NULL && key_id_equal(&c->key_id, &n->node);
}

bool sim_model_state_is_fenced(const struct sim_model_state *s, uint32_t writer,
                               uint32_t actor, uint64_t *ret_seq)
{
    uint64_t seq = 0;
    bool ret = false;

    for (size_t i = 0; i < s->fences_count; i++) {
        const struct name *n = find_name(&s->fences[i], actor);

        if (s->fences[i].writer != writer || n == NULL || !counts(s, n))
            continue;
        seq = n->seq > seq ? n->seq : seq;
        ret = true;
    }
    if (ret && ret_seq != NULL)
        *ret_seq = seq;
    return ret;
}

bool sim_model_state_is_evictee(const struct sim_model_state *s, uint32_t actor)
{
    for (size_t i = 0; i < s->members_count; i++) {
        if (sim_model_state_is_fenced(s, s->members[i].actor, actor, NULL))
            return true;
    }
    return false;
}

static struct name *name_in(struct said *f, const struct sim_model *m,
                            const struct incarnation *i)
{
    for (size_t k = 0; k < f->count; k++) {
        if (incarnation_equal(sim_model_incarnation(m, f->names[k].actor), i))
            return &f->names[k];
    }
    return NULL;
}

static bool read_orders(const struct sim_model_state *s, struct said *f,
                        const struct fence *fence)
{
    uint64_t epoch = 0;
    bool good = true;

    for (size_t i = 0; i < fence->orders_count && good; i++) {
        struct eviction_order o;

        if (eviction_decode(&o, fence->orders[i],
                            sim_model_authority(s->model)) != 0)
            return false;
        good = o.epoch > epoch &&
               generation_id_equal(&o.generation, &f->by->decoded.generation);
        epoch = o.epoch;
        for (size_t k = 0; k < o.count; k++) {
            struct name *n = name_in(f, s->model, &o.incarnations[k]);

            if (n != NULL)
                n->ordered = true;
        }
        eviction_release(&o);
    }
    return good;
}

static bool read_retirements(const struct sim_model_state *s, struct said *f,
                             const struct fence *fence)
{
    struct retirement r;

    for (size_t i = 0; i < fence->retirements_count; i++) {
        struct name *n;

        if (retirement_decode(&r, fence->retirements[i],
                              sim_model_authority(s->model)) != 0 ||
            !generation_id_equal(&r.generation, &f->by->decoded.generation))
            return false;
        n = name_in(f, s->model, &r.incarnation);
        if (n == NULL)
            return false;
        n->retired = true;
        n->node = r.node;
    }
    return true;
}

/* False if it says nothing. Names are owned by f either way. */
static bool read_fence(struct sim_model_state *s, struct said *f)
{
    struct fence fence;
    bool good = true;
    bool any = false;

    if (fence_decode(&fence, f->value) != 0)
        return false;
    f->names = cm_calloc(fence.covered_count + 1, sizeof *f->names);
    CHECK(f->names != NULL);
    for (size_t i = 0; i < fence.covered_count; i++)
        f->names[f->count++] = (struct name){
            .actor = sim_model_actor(s->model, &fence.covered[i].incarnation),
            .seq = fence.covered[i].seq};
    reserve(s);
    good = read_orders(s, f, &fence) && read_retirements(s, f, &fence);
    for (size_t i = 0; i < f->count; i++)
        any = any || f->names[i].ordered || f->names[i].retired;
    fence_release(&fence);
    return good && any;
}

static struct entry_id own_id(const struct sim_model_state *s, enum space space,
                              uint32_t actor)
{
    const struct incarnation *i = sim_model_incarnation(s->model, actor);

    return (struct entry_id){.space = space,
                             .key = slice_of(i->bytes, INCARNATION_SIZE)};
}

static size_t fences_of(const struct sim_model_state *s, uint32_t writer)
{
    size_t ret = 0;

    for (size_t i = 0; i < s->fences_count; i++)
        ret += s->fences[i].writer == writer;
    return ret;
}

static void show_fence(struct sim_model_state *s, const struct said *f, bool on)
{
    struct entry_id id = own_id(s, SPACE_FENCE, f->writer);
    struct sibling sibling = {
        .kind = SIBLING_FENCE,
        .dot = f->by->decoded.dot,
        .hlc = f->by->decoded.hlc,
        .author = f->author,
        .value = f->value,
    };

    if (on)
        digest_add(&s->own, &id, &sibling);
    else
        digest_remove(&s->own, &id, &sibling);
}

static void drop_fence(struct sim_model_state *s, size_t at)
{
    uint32_t writer = s->fences[at].writer;

    show_fence(s, &s->fences[at], false);
    cm_free(s->fences[at].names);
    memmove(&s->fences[at], &s->fences[at + 1],
            (--s->fences_count - at) * sizeof *s->fences);
    s->controls -= fences_of(s, writer) == 0;
}

/* a says all that b says. */
static bool says_all(const struct said *a, const struct said *b)
{
    for (size_t i = 0; i < b->count; i++) {
        const struct name *y = &b->names[i];
        const struct name *x = find_name(a, y->actor);

        if (!y->ordered && !y->retired)
            continue;
        if (x == NULL || x->seq < y->seq || (y->ordered && !x->ordered))
            return false;
        if (y->retired && !x->ordered &&
            (!x->retired || !key_id_equal(&x->node, &y->node)))
            return false;
    }
    return true;
}

/* Of two that say the same the later one stays. */
static bool replaces(const struct said *a, const struct said *b)
{
    return a->writer == b->writer && says_all(a, b) &&
           (!says_all(b, a) ||
            dot_compare(&a->by->decoded.dot, &b->by->decoded.dot) > 0);
}

static void take_fence(struct sim_model_state *s, struct said *f)
{
    for (size_t i = 0; i < s->fences_count; i++) {
        if (replaces(&s->fences[i], f)) {
            cm_free(f->names);
            return;
        }
    }
    s->fences = grown(s->fences, s->fences_count, &s->fences_capacity,
                      sizeof *s->fences);
    s->controls += fences_of(s, f->writer) == 0;
    show_fence(s, f, true);
    s->fences[s->fences_count++] = *f;
    for (size_t i = s->fences_count - 1; i > 0; i--) {
        if (replaces(f, &s->fences[i - 1]))
            drop_fence(s, i - 1);
    }
}

static void apply_fence(struct sim_model_state *s,
                        const struct sim_model_event *e)
{
    const struct op *op = e->ops[0].op;
    struct said f = {
        .writer = e->actor, .by = e, .author = op->author, .value = op->value};
    struct entry_id id = own_id(s, SPACE_FENCE, e->actor);

    if (!slice_equal(id.key, op->key) || !read_fence(s, &f) ||
        find_name(&f, e->actor) != NULL) {
        cm_free(f.names);
        return;
    }
    take_fence(s, &f);
}

/* ---- proposals ---- */

static struct entry_id proposal_id(const struct proposal *p)
{
    return (struct entry_id){.space = SPACE_PROPOSAL,
                             .key = p->by->ops[0].op->key};
}

static void show_ack(struct sim_model_state *s, const struct proposal *p,
                     const struct ack *a, bool on)
{
    const struct incarnation *i = sim_model_incarnation(s->model, a->actor);
    struct entry_id id = proposal_id(p);
    struct sibling sibling = {
        .kind = SIBLING_ACK, .dot = a->by->decoded.dot, .hlc = a->hlc};
    struct buffer value;

    buffer_init(&value, VALUE_SIZE_MAX + 64);
    pack_array(&value, 2);
    pack_bytes(&value, i->bytes, INCARNATION_SIZE);
    if (a->by == p->by)
        buffer_append_slice(&value, p->by->ops[0].op->value);
    else
        pack_array(&value, 0);
    CHECK(value.error == 0);
    sibling.value = buffer_slice(&value);
    if (on)
        digest_add(&s->own, &id, &sibling);
    else
        digest_remove(&s->own, &id, &sibling);
    buffer_release(&value);
}

static const struct ack *ack_of(const struct proposal *p, uint32_t actor)
{
    for (size_t i = 0; i < p->count; i++) {
        if (p->acks[i].actor == actor)
            return &p->acks[i];
    }
    return NULL;
}

static void add_ack(struct sim_model_state *s, struct proposal *p,
                    const struct ack *a)
{
    p->acks = grown(p->acks, p->count, &p->capacity, sizeof *p->acks);
    p->acks[p->count++] = *a;
    show_ack(s, p, a, true);
}

static struct proposal *find_proposal(struct sim_model_state *s,
                                      struct slice key)
{
    for (size_t i = 0; i < s->proposals_count; i++) {
        if (slice_equal(proposal_id(&s->proposals[i]).key, key))
            return &s->proposals[i];
    }
    return NULL;
}

/* Calls take for each part of a proposal's cut; false if it is none. */
static bool read_cut(struct sim_model_state *s, struct slice value, bool raise)
{
    struct unpacker u;
    size_t count;

    unpack_init(&u, value);
    count = unpack_array(&u, FLOOR_ROWS_MAX);
    for (size_t i = 0; i < count && u.error == 0; i++) {
        struct incarnation who;
        uint64_t seq;

        unpack_array_of(&u, 2);
        unpack_bytes(&u, who.bytes, INCARNATION_SIZE);
        seq = unpack_uint(&u, UINT64_MAX);
        if (u.error != 0 || !raise)
            continue;
        uint32_t actor = sim_model_actor(s->model, &who);
        reserve(s);
        if (seq > s->floor[actor])
            s->floor[actor] = seq;
    }
    return count > 0 && u.error == 0 && unpack_finish(&u) == 0;
}

static void apply_ack(struct sim_model_state *s,
                      const struct sim_model_event *e)
{
    const struct op *op = e->ops[0].op;
    struct proposal *p = find_proposal(s, op->key);
    struct ack ack = {.actor = e->actor, .by = e, .hlc = e->decoded.hlc};
    uint8_t own[PROPOSAL_KEY_SIZE];

    memcpy(own, e->decoded.dot.incarnation.bytes, INCARNATION_SIZE);
    put_be64(own + INCARNATION_SIZE, e->decoded.dot.seq);
    if (slice_equal(op->key, slice_of(own, sizeof own))) {
        if (!read_cut(s, op->value, false))
            return;
        s->proposals = grown(s->proposals, s->proposals_count,
                             &s->proposals_capacity, sizeof *s->proposals);
        p = &s->proposals[s->proposals_count++];
        *p = (struct proposal){.by = e};
        s->controls++;
    } else if (p == NULL || op->value.size > 0 || ack_of(p, e->actor) != NULL) {
        return;
    }
    add_ack(s, p, &ack);
}

/* ---- adds ---- */

static void show_member(struct sim_model_state *s, const struct member *m,
                        bool on)
{
    struct entry_id id = own_id(s, SPACE_ROSTER, m->actor);
    struct sibling sibling;

    if (m->by == NULL)
        return;
    sibling = (struct sibling){
        .kind = SIBLING_MEMBER,
        .dot = m->by->decoded.dot,
        .hlc = m->by->decoded.hlc,
        .author = m->by->ops[0].op->author,
        .value = m->by->ops[0].op->value,
    };
    s->controls += on ? 1 : SIZE_MAX;
    if (on)
        digest_add(&s->own, &id, &sibling);
    else
        digest_remove(&s->own, &id, &sibling);
}

/* Its sponsor's own last fence, or the one that it was given. */
static const struct said *last_fence(const struct sim_model_state *s,
                                     uint32_t writer)
{
    const struct said *ret = NULL;

    for (size_t i = 0; i < s->fences_count; i++) {
        const struct said *f = &s->fences[i];
        bool own = f->by->actor == writer;

        if (f->writer == writer &&
            (ret == NULL ||
             (own && (ret->by->actor != writer ||
                      f->by->decoded.dot.seq > ret->by->decoded.dot.seq))))
            ret = f;
    }
    return ret;
}

/* "The add counts as acknowledgement and fence of everything that its sponsor
 * had acknowledged and fenced before." */
static void inherit(struct sim_model_state *s, uint32_t who,
                    const struct sim_model_event *e)
{
    const struct said *f = last_fence(s, e->actor);

    for (size_t i = 0; i < s->proposals_count; i++) {
        struct proposal *p = &s->proposals[i];
        const struct ack *sponsor = ack_of(p, e->actor);
        struct ack ack = {.actor = who, .by = e, .hlc = e->decoded.hlc};

        if (sponsor == NULL || ack_of(p, who) != NULL)
            continue;
        if (sponsor->hlc > ack.hlc)
            ack.hlc = sponsor->hlc;
        add_ack(s, p, &ack);
    }
    if (f != NULL) {
        struct said copy = {.writer = who, .by = e, .value = f->value};

        if (read_fence(s, &copy))
            take_fence(s, &copy);
        else
            cm_free(copy.names);
    }
}

static void raise_level(struct sim_model_state *s, uint32_t actor,
                        uint32_t level)
{
    s->level[actor] = level > s->level[actor] ? level : s->level[actor];
}

static void apply_add(struct sim_model_state *s,
                      const struct sim_model_event *e)
{
    const struct op *op = e->ops[0].op;
    struct incarnation incarnation;
    struct certificate c;
    struct member m = {.by = e};

    memcpy(incarnation.bytes, op->key.data, INCARNATION_SIZE);
    m.actor = sim_model_actor(s->model, &incarnation);
    reserve(s);
    const struct member *known = member_of(s, m.actor);
    if ((known != NULL && known->by == NULL) || m.actor == e->actor ||
        s->sealed[m.actor] ||
        sim_model_state_is_fenced(s, e->actor, m.actor, NULL) ||
        certificate_decode(&c, op->value, sim_model_authority(s->model)) != 0 ||
        !roster_may_enter(&c))
        return;
    CHECK(known == NULL); /* nobody sponsors an incarnation twice */
    s->members = grown(s->members, s->members_count, &s->members_capacity,
                       sizeof *s->members);
    s->members[s->members_count++] = m;
    s->member[m.actor] = true;
    raise_level(s, m.actor, op->level > 0 ? op->level : LEVEL_FIRST);
    show_member(s, &m, true);
    inherit(s, m.actor, e);
}

/* ---- seals ---- */

/* Takes out of in whom somebody outside has not fenced; how many are left. */
static size_t shrink(const struct sim_model_state *s, bool *in)
{
    size_t left = 0;
    bool changed = true;

    while (changed) {
        changed = false;
        for (size_t m = 0; m < s->members_count; m++) {
            uint32_t who = s->members[m].actor;

            for (uint32_t a = 0; a < s->actors && !in[who]; a++) {
                if (!in[a] || sim_model_state_is_fenced(s, who, a, NULL))
                    continue;
                in[a] = false;
                changed = true;
            }
        }
    }
    for (uint32_t a = 0; a < s->actors; a++)
        left += in[a];
    return left;
}

static bool is_anybody_outside(const struct sim_model_state *s, const bool *in)
{
    for (size_t m = 0; m < s->members_count; m++) {
        if (!in[s->members[m].actor])
            return true;
    }
    return false;
}

static void seal_one(struct sim_model_state *s, uint32_t actor)
{
    s->sealed[actor] = true;
    s->member[actor] = false;
    for (size_t i = s->fences_count; i > 0; i--) {
        if (s->fences[i - 1].writer == actor)
            drop_fence(s, i - 1);
    }
    for (size_t i = 0; i < s->members_count; i++) {
        if (s->members[i].actor != actor)
            continue;
        show_member(s, &s->members[i], false);
        memmove(&s->members[i], &s->members[i + 1],
                (--s->members_count - i) * sizeof *s->members);
        return;
    }
}

/* "A set of evictees is sealed, all at once, after fences naming all of it of
 * every rostered incarnation outside; the last seqs are the greatest that
 * these cover." False: there is none. */
static bool seal(struct sim_model_state *s)
{
    bool *in;
    bool any;

    if (s->fences_count == 0)
        return false; /* nobody is named */
    in = cm_calloc(s->actors + 1, sizeof *in);
    CHECK(in != NULL);
    for (size_t i = 0; i < s->fences_count; i++) {
        for (size_t k = 0; k < s->fences[i].count; k++) {
            const struct name *n = &s->fences[i].names[k];

            in[n->actor] =
                in[n->actor] || (!s->sealed[n->actor] && counts(s, n));
        }
    }
    any = shrink(s, in) > 0 && is_anybody_outside(s, in);
    for (size_t m = 0; m < s->members_count && any; m++) {
        uint32_t who = s->members[m].actor;

        for (uint32_t a = 0; a < s->actors && !in[who]; a++) {
            uint64_t seq = 0;

            if (in[a] && sim_model_state_is_fenced(s, who, a, &seq) &&
                seq > s->last[a])
                s->last[a] = seq;
        }
    }
    for (uint32_t a = 0; a < s->actors && any; a++) {
        if (in[a])
            seal_one(s, a);
    }
    cm_free(in);
    return any;
}

static void drop_done(struct sim_model_state *s)
{
    for (size_t i = s->fences_count; i > 0; i--) {
        const struct said *f = &s->fences[i - 1];
        bool open = false;

        for (size_t k = 0; k < f->count; k++)
            open = open ||
                   (!s->sealed[f->names[k].actor] && counts(s, &f->names[k]));
        if (!open)
            drop_fence(s, i - 1);
    }
}

/* ---- the floor ---- */

static bool is_revoke(const struct sim_model_op *o)
{
    return o->op->kind == OP_REVOKE || o->op->kind == OP_SET_REVOKE;
}

static void take_away(struct sim_model_state *s, const struct sim_model_op *o)
{
    struct entry_id id = sim_model_entry_id(o->entry);
    struct sibling sibling = sim_model_sibling(o);

    CHECK(o->id / 8 < s->taken_size);
    s->taken[o->id / 8] |= (uint8_t)(1u << o->id % 8);
    s->taken_count++;
    digest_remove(&s->digest, &id, &sibling);
}

/* "A key or element is collapsed only when all its siblings are at or below
 * the floor: to the winner, a tombstone or one that has expired at the floor
 * time to nothing; revokes never." */
static void collapse(void *context, const struct sim_model_entry *entry)
{
    struct sim_model_state *s = context;
    struct sim_model_view v = sim_model_state_view(s);
    const struct sim_model_op *const *ops = NULL;
    struct sim_model_answer a;
    size_t count;

    if (sim_model_entry_id(entry).space > SPACE_CLIENT_LAST)
        return;
    a = sim_model_resolve(s->model, &v, entry, s->floor_time);
    count = sim_model_standing(s->model, &v, entry, &ops);
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->event->decoded.dot.seq > s->floor[ops[i]->event->actor])
            return;
    }
    for (size_t i = 0; i < count; i++) {
        bool stays =
            a.revoked ? is_revoke(ops[i]) : a.present && ops[i] == a.winner;

        if (!stays)
            take_away(s, ops[i]);
    }
}

static bool pass(struct sim_model_state *s)
{
    bool any = false;

    for (size_t i = s->proposals_count; i > 0; i--) {
        struct proposal *p = &s->proposals[i - 1];
        hlc_t least = UINT64_MAX;
        bool all = s->members_count > 0 && p->count >= s->members_count;

        for (size_t m = 0; m < s->members_count && all; m++)
            all = all && ack_of(p, s->members[m].actor) != NULL;
        if (!all)
            continue;
        for (size_t k = 0; k < p->count; k++) {
            least = p->acks[k].hlc < least ? p->acks[k].hlc : least;
            show_ack(s, p, &p->acks[k], false);
        }
        s->floor_time = least > s->floor_time ? least : s->floor_time;
        CHECK(read_cut(s, p->by->ops[0].op->value, true));
        s->controls--;
        cm_free(p->acks);
        memmove(p, p + 1, (--s->proposals_count - (i - 1)) * sizeof *p);
        any = true;
    }
    return any;
}

/* ---- applying ---- */

static void apply_control(struct sim_model_state *s,
                          const struct sim_model_event *e)
{
    bool sealed = true;

    if (e->ops[0].op->kind == OP_ROSTER_ADD)
        apply_add(s, e);
    else if (e->ops[0].op->kind == OP_FENCE)
        apply_fence(s, e);
    else if (e->ops[0].op->kind == OP_ACK)
        apply_ack(s, e);
    else
        raise_level(s, e->actor, e->ops[0].op->level);
    while (sealed)
        sealed = seal(s);
    drop_done(s);
    if (pass(s))
        sim_model_each_entry(s->model, collapse, s);
}

void sim_model_state_apply(struct sim_model_state *s,
                           const struct sim_model_event *e, bool *ret_control)
{
    bool control = !e->is_void && e->decoded.ops_count == 1 &&
                   e->decoded.ops[0].kind >= OP_ROSTER_ADD;
    struct sim_model_view before;

    reserve(s);
    enter_generation(s,
                     sim_model_generation_of(s->model, &e->decoded.generation));
    CHECK(s->seqs[e->actor] < e->decoded.dot.seq);
    before = sim_model_state_view(s);
    if (!control)
        sim_model_apply(&before, e, &s->digest);
    s->seqs[e->actor] = e->decoded.dot.seq;
    if (control)
        apply_control(s, e);
    if (ret_control != NULL)
        *ret_control = control;
}

static int compare_orders(const void *a, const void *b)
{
    const struct sim_model_event *const *x = a;
    const struct sim_model_event *const *y = b;

    return ((*x)->order > (*y)->order) - ((*x)->order < (*y)->order);
}

void sim_model_state_replay(struct sim_model_state *s, const uint64_t *seqs,
                            size_t count, uint64_t generation)
{
    const struct sim_model_event **events;
    size_t total = 0;
    size_t n = 0;

    for (size_t a = 0; a < count; a++)
        total += seqs[a];
    events = cm_calloc(total + 1, sizeof(void *));
    CHECK(events != NULL);
    for (uint32_t a = 0; a < count; a++) {
        for (uint64_t seq = 1; seq <= seqs[a]; seq++) {
            events[n] = sim_model_find(s->model, a, seq);
            n += events[n] != NULL;
        }
    }
    qsort(events, n, sizeof *events, compare_orders);
    sim_model_state_clear(s);
    for (size_t i = 0; i < n; i++) {
        reserve(s);
        if (s->seqs[events[i]->actor] + 1 == events[i]->decoded.dot.seq)
            sim_model_state_apply(s, events[i], NULL);
    }
    enter_generation(s, generation);
    cm_free(events);
}
