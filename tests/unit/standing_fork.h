/* Two branches of one name (M15): node 0 (C) holds the lower one, node 1 (B)
 * the higher one, node 2 (A) signed both and is evicted. Where there is a node
 * 3 (E), it holds what the story says. */
#ifndef TESTS_UNIT_STANDING_FORK_H
#define TESTS_UNIT_STANDING_FORK_H

#include "standing_mesh.h"

enum { FORK_C = 0, FORK_B = 1, FORK_A = 2, FORK_E = 3 };

static inline struct hash fork_head(uint8_t first)
{
    struct hash ret = {{first, 1}};

    return ret;
}

/* What node holds of actor's newest event is another branch of it. */
static inline void fork_branch(struct mesh *m, int node, int actor,
                               uint8_t first)
{
    struct replica *r = &m->nodes[node];
    struct incarnation who = actor_id(actor);
    struct hash head = fork_head(first);

    assert_int_equal(vv_set(&r->vv, &who, vv_seq(&r->vv, &who), &head), 0);
}

static inline struct mesh *fork_mesh(size_t nodes)
{
    struct mesh *m = mesh_new(nodes);

    mesh_roster_all(m);
    return m;
}

/* They evict actors, which both know; each writes its fence. */
static inline void fork_evict(struct mesh *m, const int *actors, size_t count)
{
    int order = mesh_order(m, 1, -1, actors, count);

    for (int i = FORK_C; i <= FORK_B; i++) {
        assert_int_equal(mesh_hear(m, i, order), 0);
        assert_non_null(mesh_fence(m, i, 200));
    }
}

static inline void fork_exchange(struct mesh *m)
{
    for (int i = 0; i < 4; i++) {
        mesh_pull(m, FORK_C, FORK_B);
        mesh_pull(m, FORK_B, FORK_C);
    }
}

/* Whether C and B seal A although they hold different things of it. */
static inline bool fork_seals_both(void)
{
    const int evicted[] = {FORK_A};
    struct mesh *m = fork_mesh(3);
    bool ret;

    assert_non_null(mesh_data(m, FORK_A, OP_PUT, 0, 0, 110));
    mesh_pull(m, FORK_C, FORK_A);
    mesh_pull(m, FORK_B, FORK_A);
    fork_branch(m, FORK_C, FORK_A, 1);
    fork_branch(m, FORK_B, FORK_A, 9);
    fork_evict(m, evicted, 1);
    fork_exchange(m);
    ret = sealed_at(m, FORK_C, FORK_A, NULL) ||
          sealed_at(m, FORK_B, FORK_A, NULL);
    mesh_free(m);
    return ret;
}

static inline bool fork_loses(const struct mesh *m, int node,
                              struct standing_lost *ret_lost)
{
    struct incarnation self = actor_id(m->nodes[node].self);

    return standing_holds_lost_branch(m->nodes[node].standing, &self,
                                      &m->nodes[node].vv, ret_lost);
}

/* B has nothing of A when it fences, and lets C's branch in afterwards. C falls
 * silent; whether E, which holds the other one, learns by B that it lost. */
static inline bool fork_told_by_who_let_in(void)
{
    const int evicted[] = {FORK_A};
    struct mesh *m = fork_mesh(4);
    int order;
    bool ret;

    assert_non_null(mesh_data(m, FORK_A, OP_PUT, 0, 0, 110));
    mesh_pull(m, FORK_C, FORK_A);
    mesh_pull(m, FORK_E, FORK_A);
    fork_branch(m, FORK_E, FORK_A, 255);
    order = mesh_order(m, 1, -1, evicted, 1);
    for (int i = FORK_C; i <= FORK_E; i++) {
        if (i == FORK_A)
            continue;
        assert_int_equal(mesh_hear(m, i, order), 0);
        assert_non_null(mesh_fence(m, i, 200));
    }
    mesh_pull(m, FORK_B, FORK_C);
    mesh_pull(m, FORK_B, FORK_A); /* C's fence covers it */
    assert_int_equal(knows(m, FORK_B, FORK_A), 1);
    (void)mesh_fence(m, FORK_B, 210);
    assert_null(mesh_fence(m, FORK_B, 220)); /* it says all there is */
    mesh_pull(m, FORK_E, FORK_B);
    ret = fork_loses(m, FORK_E, NULL);
    mesh_ok(m);
    mesh_free(m);
    return ret;
}

/* B has lost by C's fence, E holds a third branch and has not heard of C's:
 * whether B refuses E's cut, and takes C's. */
static inline bool fork_cut_is_judged(void)
{
    const int evicted[] = {FORK_A};
    struct mesh *m = fork_mesh(4);
    struct incarnation b = actor_id(FORK_B);
    const struct standing *s;
    int order;
    bool ret;

    assert_non_null(mesh_data(m, FORK_A, OP_PUT, 0, 0, 110));
    order = mesh_order(m, 1, -1, evicted, 1);
    for (int i = FORK_C; i <= FORK_E; i++) {
        if (i == FORK_A)
            continue;
        mesh_pull(m, i, FORK_A);
        fork_branch(m, i, FORK_A, i == FORK_C ? 1 : i == FORK_B ? 9 : 5);
        assert_int_equal(mesh_hear(m, i, order), 0);
        assert_non_null(mesh_fence(m, i, 200));
    }
    mesh_pull(m, FORK_B, FORK_C);
    assert_true(fork_loses(m, FORK_B, NULL));
    assert_false(fork_loses(m, FORK_E, NULL));
    s = m->nodes[FORK_B].standing;
    assert_false(standing_cut_has_lost(s, &b, m->nodes[FORK_C].standing,
                                       &m->nodes[FORK_C].vv, NULL));
    ret = standing_cut_has_lost(s, &b, m->nodes[FORK_E].standing,
                                &m->nodes[FORK_E].vv, NULL);
    mesh_ok(m);
    mesh_free(m);
    return ret;
}

#endif
