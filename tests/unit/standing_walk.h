/* Random walks over standing_mesh.h: anything at any time, then a drain to
 * quiescence, then one last proposal that must pass. A walk is a list of steps
 * whose numbers are taken modulo what there is, so that it still means
 * something when steps are left out; a failing one is shortened that way. */
#ifndef TESTS_UNIT_STANDING_WALK_H
#define TESTS_UNIT_STANDING_WALK_H

#include "standing_mesh.h"

#include "crdt/base/random.h"

#define STEPS_MAX 160
#define ROUNDS_MAX 60

enum step_kind {
    STEP_DELIVER,
    STEP_PULL,
    STEP_DATA,
    STEP_PROPOSE,
    STEP_ACK,
    STEP_FENCE,
    STEP_ORDER,
    STEP_HEAR,
    STEP_GOSSIP,
    STEP_REMINT,
    STEP_SPONSOR,
    STEP_ADOPT,
    STEP_GIVE_UP,
    STEP_JOIN,
    STEP_RESTART,
    STEP_DIE,
    STEP_KINDS
};

static const char *const step_names[STEP_KINDS] = {
    "deliver", "pull", "data",    "propose", "ack",     "fence",
    "order",   "hear", "gossip",  "remint",  "sponsor", "adopt",
    "give-up", "join", "restart", "die"};

struct step {
    enum step_kind kind;
    uint64_t a, b, c, d;
};

struct walk {
    size_t nodes;
    size_t count;
    struct step steps[STEPS_MAX];
};

static inline struct walk walk_make(uint64_t seed)
{
    static const unsigned weights[STEP_KINDS] = {30, 8, 16, 4, 8, 8, 2, 6,
                                                 6,  2, 5,  8, 1, 6, 2, 1};
    uint8_t bytes[32] = {0};
    struct random_stream random;
    struct walk ret = {0};
    unsigned sum = 0;

    put_be64(bytes, seed);
    random_init(&random, bytes);
    for (size_t i = 0; i < STEP_KINDS; i++)
        sum += weights[i];
    ret.nodes = 3 + random_below(&random, 3);
    ret.count = 30 + random_below(&random, STEPS_MAX - 30);
    for (size_t i = 0; i < ret.count; i++) {
        uint64_t at = random_below(&random, sum);
        size_t kind = 0;

        while (at >= weights[kind])
            at -= weights[kind++];
        ret.steps[i] = (struct step){(enum step_kind)kind, random_u64(&random),
                                     random_u64(&random), random_u64(&random),
                                     random_u64(&random)};
    }
    return ret;
}

/* ---- steps ---- */

static inline bool is_wanted_gone(const struct mesh *m, int actor)
{
    return (m->named >> actor & 1) != 0;
}

/* Living nodes whose incarnation is rostered and that nobody wants gone. */
static inline size_t staying(const struct mesh *m)
{
    size_t ret = 0;

    for (size_t i = 0; i < m->nodes_count; i++) {
        struct incarnation self = actor_id(m->nodes[i].self);

        ret += m->nodes[i].alive && !m->nodes[i].overrun &&
               !is_wanted_gone(m, m->nodes[i].self) &&
               standing_is_member(m->nodes[i].standing, &self);
    }
    return ret;
}

static inline void step_order(struct mesh *m, const struct step *s)
{
    int actors[2];
    size_t count = 0;

    if (m->orders_count == ORDERS_MAX || staying(m) < 3)
        return;
    for (size_t i = 0; i < 1 + s->b % 2; i++) {
        int actor = (int)((i == 0 ? s->a : s->c) % m->actors_count);

        if (is_wanted_gone(m, actor) || (count > 0 && actors[0] == actor))
            continue;
        actors[count++] = actor;
        m->named |= UINT64_C(1) << actor;
    }
    if (staying(m) < 1) { /* not the last one */
        while (count > 0)
            m->named &= ~(UINT64_C(1) << actors[--count]);
        return;
    }
    if (count == 2 && actors[0] > actors[1]) {
        int first = actors[1];

        actors[1] = actors[0];
        actors[0] = first;
    }
    if (count > 0)
        (void)mesh_order(m, m->orders_count + 1, (int)m->orders_count - 1,
                         actors, count);
}

/* The node gives its incarnation up, and waits for a new one. */
static inline void step_remint(struct mesh *m, int node)
{
    struct replica *r = &m->nodes[node];

    if (!r->alive || r->next != NOBODY || staying(m) < 3 ||
        m->actors_count == ACTORS_MAX)
        return;
    (void)mesh_retire(m, node, r->self);
    r->next = mesh_actor(m, node);
}

static inline void step_sponsor(struct mesh *m, int node, int sponsor,
                                uint64_t wall)
{
    struct replica *r = &m->nodes[node];
    struct replica *by = &m->nodes[sponsor];
    struct incarnation self = actor_id(by->self);

    if (node == sponsor || r->waiting != NOBODY || !by->alive ||
        by->next != NOBODY || by->overrun ||
        !standing_stays(by->standing, &self))
        return;
    if (r->next == NOBODY && (r->alive || r->vv.count > 0))
        return;
    if (r->next == NOBODY) /* its first life */
        r->next = r->self;
    if (mesh_add(m, sponsor, r->next, wall) != NULL)
        r->waiting = by->self;
}

static inline int node_of_actor(const struct mesh *m, int actor)
{
    for (size_t i = 0; i < m->nodes_count; i++) {
        if (m->nodes[i].self == actor)
            return (int)i;
    }
    return NOBODY;
}

static inline bool step_adopt(struct mesh *m, int node)
{
    struct replica *r = &m->nodes[node];
    int sponsor = NOBODY;
    struct incarnation next;
    int old = r->self;

    if (r->waiting != NOBODY)
        sponsor = node_of_actor(m, r->waiting);
    if (sponsor == NOBODY || sponsor == node || !m->nodes[sponsor].alive ||
        m->nodes[sponsor].overrun)
        return false;
    next = actor_id(r->next);
    if (!standing_is_member(m->nodes[sponsor].standing, &next))
        return false;
    mesh_adopt(m, node, sponsor, r->next);
    if (old != r->self)
        (void)mesh_retire(m, node, old);
    return true;
}

/* Its sponsor is gone: it asks another, under a further incarnation, and
 * retires the one given up. */
static inline void step_give_up(struct mesh *m, int node)
{
    struct replica *r = &m->nodes[node];

    if (r->waiting == NOBODY || m->actors_count == ACTORS_MAX)
        return;
    (void)mesh_retire(m, node, r->next);
    r->next = mesh_actor(m, node);
    r->waiting = NOBODY;
}

static inline void step_data(struct mesh *m, const struct step *s, int node)
{
    static const enum op_kind registers[] = {OP_PUT, OP_PUT, OP_DEL, OP_REVOKE};
    static const enum op_kind sets[] = {OP_SET_ADD, OP_SET_ADD, OP_SET_REMOVE,
                                        OP_SET_REVOKE};
    size_t place = s->b % KEYS;
    enum op_kind kind = mesh_places[place].space == SPACE_REGISTER
                            ? registers[s->c % 4]
                            : sets[s->c % 4];
    hlc_t expires = 0;

    if ((kind == OP_PUT || kind == OP_SET_ADD) && s->d % 3 == 0)
        expires = hlc_make(100 + s->d / 3 % 120, 0);
    if ((kind == OP_REVOKE || kind == OP_SET_REVOKE) && s->d % 4 != 0)
        return;
    (void)mesh_data(m, node, kind, place, expires, 100 + s->a % 90);
}

static inline void walk_step(struct mesh *m, const struct step *s)
{
    int node = (int)(s->a % m->nodes_count);
    int other = (int)(s->b % m->nodes_count);
    uint64_t wall = 100 + s->d % 90;

    if (s->kind == STEP_ORDER)
        step_order(m, s);
    if (s->kind == STEP_SPONSOR)
        step_sponsor(m, node, other, wall);
    if (s->kind == STEP_ADOPT)
        (void)step_adopt(m, node);
    if (s->kind == STEP_GIVE_UP)
        step_give_up(m, node);
    if (!m->nodes[node].alive)
        return;
    if (s->kind == STEP_DELIVER && m->events_count > 0) {
        for (size_t i = 0; i < 6; i++)
            (void)mesh_deliver(m, node,
                               &m->events[(s->c + i) % m->events_count]);
    } else if (s->kind == STEP_PULL) {
        mesh_pull(m, node, (int)(s->b % m->actors_count));
    } else if (s->kind == STEP_DATA) {
        step_data(m, s, node);
    } else if (s->kind == STEP_PROPOSE) {
        (void)mesh_propose(m, node, wall);
    } else if (s->kind == STEP_ACK) {
        (void)mesh_ack(m, node, wall);
    } else if (s->kind == STEP_FENCE) {
        (void)mesh_fence(m, node, wall);
    } else if (s->kind == STEP_HEAR && m->orders_count > 0) {
        (void)mesh_hear(m, node, (int)(s->b % m->orders_count));
    } else if (s->kind == STEP_GOSSIP && m->nodes[other].alive) {
        hear_all(m->nodes[node].standing, m->nodes[other].standing);
    } else if (s->kind == STEP_REMINT) {
        step_remint(m, node);
    } else if (s->kind == STEP_JOIN && m->nodes[other].alive) {
        (void)mesh_join(m, node, other);
    } else if (s->kind == STEP_RESTART) {
        mesh_restart(m, node);
    } else if (s->kind == STEP_DIE && staying(m) > 3) {
        m->nodes[node].alive = false;
        m->nodes[node].next = m->nodes[node].waiting = NOBODY;
        m->named |= UINT64_C(1) << m->nodes[node].self; /* see drain_orders */
        m->nodes[node].overrun = true;
    }
}

/* ---- quiescence ---- */

/* "evicted; or holding anything beyond a seal that a member proves". */
static inline bool is_returner(const struct mesh *m, int node)
{
    const struct replica *r = &m->nodes[node];

    for (size_t i = 0; i < m->nodes_count; i++) {
        const struct replica *q = &m->nodes[i];
        struct incarnation self = actor_id(r->self);

        if ((int)i == node || !q->alive || q->overrun)
            continue;
        if (standing_is_sealed(q->standing, &self, NULL))
            return true;
        for (size_t k = 0; k < r->vv.count; k++) {
            uint64_t last;

            if (standing_is_sealed(q->standing, &r->vv.entries[k].incarnation,
                                   &last) &&
                r->vv.entries[k].seq > last)
                return true;
        }
    }
    return r->overrun;
}

/* The authority evicts whoever died. */
static inline void drain_orders(struct mesh *m)
{
    for (size_t i = 0; i < m->nodes_count; i++) {
        const struct replica *r = &m->nodes[i];
        int actor = r->self;

        if (!r->alive && r->vv.count > 0 && m->orders_count < ORDERS_MAX)
            (void)mesh_order(m, m->orders_count + 1, (int)m->orders_count - 1,
                             &actor, 1);
    }
}

static inline void drain_return(struct mesh *m, int node, uint64_t wall)
{
    struct replica *r = &m->nodes[node];

    if (r->alive && r->next == NOBODY && is_returner(m, node)) {
        r->overrun = true;
        (void)mesh_retire(m, node, r->self);
        r->next = mesh_actor(m, node);
    }
    if (r->next == NOBODY)
        return;
    if (r->waiting != NOBODY && !step_adopt(m, node)) {
        int by = node_of_actor(m, r->waiting);

        if (by == NOBODY || m->nodes[by].overrun || m->nodes[by].next != NOBODY)
            step_give_up(m, node);
    }
    for (size_t i = 0; i < m->nodes_count && r->next != NOBODY; i++) {
        step_sponsor(m, node, (int)i, wall);
        (void)step_adopt(m, node);
    }
}

static inline bool drain_round(struct mesh *m, uint64_t wall)
{
    size_t before = m->events_count;
    bool changed = false;

    for (int i = 0; i < (int)m->nodes_count; i++) {
        struct replica *r = &m->nodes[i];

        if (r->alive) {
            for (size_t k = 0; k < m->orders_count; k++)
                (void)mesh_hear(m, i, (int)k);
            for (size_t k = 0; k < m->nodes_count; k++)
                hear_all(r->standing, m->nodes[k].standing);
            changed |= mesh_pull_all(m, i);
            (void)mesh_fence(m, i, wall);
            while (mesh_ack(m, i, wall) != NULL)
                ;
        }
        struct replica old = *r;

        drain_return(m, i, wall);
        changed |= r->self != old.self || r->next != old.next ||
                   r->waiting != old.waiting;
    }
    return changed || m->events_count > before;
}

static inline void drain(struct mesh *m)
{
    for (uint64_t i = 0; i < ROUNDS_MAX && m->failure[0] == '\0'; i++) {
        if (!drain_round(m, 300 + i))
            return;
    }
    MESH_FAIL(m, "no quiescence after %d rounds", ROUNDS_MAX);
}

/* Everybody who lives has the same, nobody who is to go is still there. */
static inline void check_quiescence(struct mesh *m)
{
    int first = NOBODY;

    for (int i = 0; i < (int)m->nodes_count; i++) {
        struct replica *r = &m->nodes[i];
        struct incarnation self = actor_id(r->self);

        if (!r->alive || r->next != NOBODY)
            continue;
        if (!standing_is_member(r->standing, &self))
            MESH_FAIL(m, "at rest node %d is no member", i);
        if (first == NOBODY)
            first = i;
        if (!vv_equal(&r->vv, &m->nodes[first].vv))
            MESH_FAIL(m, "at rest nodes %d and %d differ", first, i);
        for (int k = 0; k < (int)m->actors_count; k++) {
            struct incarnation who = actor_id(k);

            if (standing_is_evictee(r->standing, &who))
                MESH_FAIL(m, "at rest actor %d is open at node %d", k, i);
            if (standing_is_member(r->standing, &who) &&
                (node_of_actor(m, k) == NOBODY ||
                 !m->nodes[node_of_actor(m, k)].alive))
                MESH_FAIL(m, "at rest dead actor %d is a member at %d", k, i);
        }
    }
    if (first == NOBODY)
        MESH_FAIL(m, "at rest nobody is left");
}

static inline void check_last_floor(struct mesh *m)
{
    for (int i = 0; i < (int)m->nodes_count && m->failure[0] == '\0'; i++) {
        struct replica *r = &m->nodes[i];
        struct vv wanted;

        if (!r->alive || r->next != NOBODY)
            continue;
        assert_int_equal(vv_copy(&wanted, &r->vv), 0);
        if (mesh_propose(m, i, 600) == NULL)
            MESH_FAIL(m, "node %d cannot propose a last floor", i);
        drain(m);
        for (size_t k = 0; k < wanted.count; k++) {
            struct dot d = {wanted.entries[k].incarnation,
                            wanted.entries[k].seq};

            if (!standing_covers(r->standing, &d))
                MESH_FAIL(m, "the last floor does not pass");
        }
        vv_release(&wanted);
        return;
    }
}

/* Runs it. False with the reason in ret_failure (200 bytes). */
static inline bool walk_run(const struct walk *w, char *ret_failure)
{
    struct mesh *m = mesh_new(w->nodes);
    bool ok;

    for (size_t i = 1; i < w->nodes; i++) {
        if (i + 1 < w->nodes || w->nodes == 3)
            (void)mesh_add(m, 0, m->nodes[i].self, 100);
    }
    for (size_t i = 1; i < w->nodes; i++) {
        if (i + 1 < w->nodes || w->nodes == 3)
            mesh_adopt(m, (int)i, 0, m->nodes[i].self);
    }
    for (size_t i = 0; i < w->count && m->failure[0] == '\0'; i++)
        walk_step(m, &w->steps[i]);
    if (m->failure[0] == '\0') {
        drain_orders(m);
        drain(m);
    }
    if (m->failure[0] == '\0' && m->events_count < EVENTS_MAX - 40 &&
        m->actors_count < ACTORS_MAX) {
        check_quiescence(m);
        check_last_floor(m);
    }
    ok = m->failure[0] == '\0';
    memcpy(ret_failure, m->failure, sizeof m->failure);
    mesh_free(m);
    return ok;
}

static inline bool walk_seed(uint64_t seed, char *ret_failure)
{
    struct walk w = walk_make(seed);

    return walk_run(&w, ret_failure);
}

/* Leaves out whatever can be left out. */
static inline void walk_shrink(struct walk *w)
{
    char failure[200];

    for (size_t chunk = w->count / 2; chunk > 0; chunk /= 2) {
        for (size_t at = 0; at + chunk <= w->count;) {
            struct walk shorter = *w;

            memmove(&shorter.steps[at], &shorter.steps[at + chunk],
                    (w->count - at - chunk) * sizeof shorter.steps[0]);
            shorter.count -= chunk;
            if (!walk_run(&shorter, failure))
                *w = shorter;
            else
                at += chunk;
        }
    }
}

static inline void walk_print(const struct walk *w, uint64_t seed)
{
    char failure[200];

    (void)walk_run(w, failure);
    printf("seed %llu, %zu nodes, %zu steps: %s\n", (unsigned long long)seed,
           w->nodes, w->count, failure);
    for (size_t i = 0; i < w->count; i++)
        printf("  %s %llu %llu %llu %llu\n", step_names[w->steps[i].kind],
               (unsigned long long)(w->steps[i].a % w->nodes),
               (unsigned long long)(w->steps[i].b % w->nodes),
               (unsigned long long)w->steps[i].c,
               (unsigned long long)w->steps[i].d);
}

#endif
