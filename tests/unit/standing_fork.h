/* Two branches of one name (M15): node 0 (C) holds the lower one, node 1 (B)
 * the higher one, node 2 (A) signed both and is evicted. */
#ifndef TESTS_UNIT_STANDING_FORK_H
#define TESTS_UNIT_STANDING_FORK_H

#include "standing_mesh.h"

enum { FORK_C = 0, FORK_B = 1, FORK_A = 2 };

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

#endif
