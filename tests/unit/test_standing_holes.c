/* Holes of the first drafts that were derived and not run then, each told on a
 * few small replicas: what no acknowledgement can come for any more holds no
 * floor back, and two nodes that evict each other do not end with two floors.
 * Names are those of the traces. */
#include "standing_settle.h"

/* Those of the mask alone. */
static void settle(struct mesh *m, unsigned nodes)
{
    settle_at(m, ~nodes, 500);
}

static bool covered(const struct mesh *m, int node, const struct ev *e)
{
    struct dot d = {actor_id(e->actor), e->seq};

    return standing_covers(m->nodes[node].standing, &d);
}

static bool has_proposal(const struct mesh *m, int node)
{
    for (size_t i = 0; i < m->nodes[node].cells_count; i++)
        if (m->nodes[node].cells[i].space == SPACE_PROPOSAL)
            return true;
    return false;
}

static void done(struct mesh *m)
{
    mesh_ok(m);
    mesh_free(m);
}

/* A node goes on under another name. The former one writes no more, so no floor
 * passes; its own retirement is what takes it out of the roster. */
static void H16_the_former_name_holds_nothing_back(void **state)
{
    struct mesh *m = mesh_of(3);
    int former = m->nodes[2].self;
    int next = mesh_actor(m, 2);
    const struct ev *del;

    (void)state;
    assert_non_null(mesh_data(m, 0, OP_PUT, 0, 0, 110));
    settle(m, 7);
    assert_non_null(mesh_add(m, 0, next, 120));
    mesh_adopt(m, 2, 0, next);
    del = mesh_data(m, 0, OP_DEL, 0, 0, 130);
    assert_non_null(del);
    assert_non_null(mesh_propose(m, 0, 140));
    settle(m, 7);
    for (int i = 0; i < 3; i++)
        assert_false(covered(m, i, del));
    assert_int_equal(mesh_retire(m, 2, former), 0);
    settle(m, 7);
    for (int i = 0; i < 3; i++) {
        assert_true(sealed_at(m, i, former, NULL));
        assert_true(covered(m, i, del));
    }
    done(m);
}

/* An evictee proposes a cut with what lies above its later seal, and another
 * evictee alone acknowledges it: it can never pass. It is no proposal of those
 * that stay, now or when it reaches them, and theirs passes. */
static void H18_a_cut_above_the_seal_keeps_no_place(void **state)
{
    const int both[] = {2, 3};
    struct mesh *m = mesh_of(4);
    const struct ev *del;
    uint64_t last = 9;
    int order;

    (void)state;
    assert_non_null(mesh_data(m, 0, OP_PUT, 0, 0, 110));
    settle(m, 15);
    assert_non_null(mesh_data(m, 3, OP_PUT, 1, 0, 120)); /* only 2 gets it */
    assert_non_null(mesh_propose(m, 3, 130));
    mesh_pull(m, 2, 3);
    assert_non_null(mesh_ack(m, 2, 140));
    order = mesh_order(m, 1, -1, both, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mesh_hear(m, i, order), 0);
        assert_non_null(mesh_fence(m, i, 200));
    }
    mesh_pull(m, 0, 1);
    mesh_pull(m, 1, 0);
    for (int i = 0; i < 2; i++) {
        assert_true(sealed_at(m, i, 3, &last));
        assert_int_equal(last, 0);
        (void)mesh_pull_all(m, i); /* the late proposal and its ack */
        assert_false(has_proposal(m, i));
    }
    del = mesh_data(m, 0, OP_DEL, 0, 0, 210);
    assert_non_null(mesh_propose(m, 0, 220));
    settle(m, 3);
    for (int i = 0; i < 2; i++)
        assert_true(covered(m, i, del));
    done(m);
}

/* Two nodes, an order on each side that names the other: each fences and seals
 * the other one, and neither's state can be joined with the other's before the
 * authority has named the order that stands. Then one of them returns. */
static void E1_two_nodes_evict_each_other(void **state)
{
    int zero = 0;
    int one = 1;
    struct mesh *m = mesh_of(2);
    struct incarnation ids[2] = {actor_id(0), actor_id(1)};
    int of_one = mesh_order(m, 1, -1, &one, 1);
    int of_zero = mesh_order(m, 1, -1, &zero, 1);
    int next = mesh_order(m, 2, of_one, NULL, 0);

    (void)state;
    assert_int_equal(mesh_hear(m, 0, of_one), 0);
    assert_int_equal(mesh_hear(m, 1, of_zero), 0);
    for (int i = 0; i < 2; i++) {
        assert_non_null(mesh_fence(m, i, 200));
        assert_true(sealed_at(m, i, 1 - i, NULL));
        assert_false(sealed_at(m, i, i, NULL));
    }
    for (int i = 0; i < 2; i++) {
        const struct replica *self = &m->nodes[i];
        const struct replica *other = &m->nodes[1 - i];
        uint64_t before = knows(m, i, 1 - i);

        assert_true(standing_admits(self->standing, &ids[i], &self->vv,
                                    other->standing, &other->vv) != 0);
        assert_false(mesh_join(m, i, 1 - i));
        assert_int_equal(knows(m, i, 1 - i), before);
    }
    assert_int_equal(mesh_hear(m, 0, next), 0);
    assert_false(standing_is_dropped(m->nodes[0].standing));
    assert_int_equal(mesh_hear(m, 1, next), CM_ERR_EVICTION_CONFLICT);
    assert_true(standing_is_dropped(m->nodes[1].standing));
    done(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(H16_the_former_name_holds_nothing_back),
        cmocka_unit_test(H18_a_cut_above_the_seal_keeps_no_place),
        cmocka_unit_test(E1_two_nodes_evict_each_other),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
