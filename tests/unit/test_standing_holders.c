/* Who holds floor and seals back: what status tells an operator. */
#include "standing_mesh.h"

static struct mesh *mesh_of(size_t nodes)
{
    struct mesh *m = mesh_new(nodes);

    mesh_roster_all(m);
    mesh_ok(m);
    return m;
}

static void finish(struct mesh *m)
{
    mesh_ok(m);
    mesh_free(m);
}

static void evict(struct mesh *m, uint64_t epoch, int actor, int hearer)
{
    int order = mesh_order(m, epoch, (int)m->orders_count - 1, &actor, 1);

    assert_int_equal(mesh_hear(m, hearer, order), 0);
}

static size_t holders(const struct mesh *m, int node,
                      struct standing_holder *ret, size_t room)
{
    size_t count = 99;

    assert_int_equal(
        standing_holders(m->nodes[node].standing, ret, room, &count), 0);
    return count;
}

static void assert_holder(const struct standing_holder *h, int actor,
                          hlc_t since, bool for_fence)
{
    assert_int_equal(actor_of(&h->incarnation), actor);
    assert_true(h->since == since);
    assert_int_equal(h->for_fence, for_fence);
}

static void test_proposal_and_fence(void **state)
{
    struct mesh *m = mesh_of(3);
    struct standing_holder h[8];
    const struct ev *proposal = mesh_propose(m, 0, 200);
    const struct ev *fence;

    (void)state;
    assert_int_equal(holders(m, 0, h, 8), 2);
    assert_holder(&h[0], 1, proposal->hlc, false);
    assert_holder(&h[1], 2, proposal->hlc, false);
    evict(m, 1, 2, 0);
    fence = mesh_fence(m, 0, 210);
    assert_int_equal(holders(m, 0, h, 8), 3);
    assert_holder(&h[2], 1, fence->hlc, true);
    /* How many there are does not depend on the room. */
    assert_int_equal(holders(m, 0, NULL, 0), 3);
    assert_int_equal(holders(m, 0, h, 1), 3);
    finish(m);
}

/* Two victims, fenced one after the other by two: whoever has fenced only the
 * first is waited for since the second was named, and only by his fence. */
static void test_fences_overlap(void **state)
{
    struct mesh *m = mesh_of(4);
    struct standing_holder h[8];
    const struct ev *first, *second, *third;

    (void)state;
    evict(m, 1, 3, 0);
    first = mesh_fence(m, 0, 200);
    assert_true(mesh_pull_all(m, 1));
    second = mesh_fence(m, 1, 210);
    assert_non_null(second);
    assert_true(mesh_pull_all(m, 0));
    assert_int_equal(holders(m, 0, h, 8), 1);
    assert_holder(&h[0], 2, first->hlc, true);
    evict(m, 2, 2, 0);
    third = mesh_fence(m, 0, 220);
    assert_int_equal(holders(m, 0, h, 8), 1);
    assert_holder(&h[0], 1, third->hlc, true);
    finish(m);
}

static void test_none(void **state)
{
    struct mesh *m = mesh_of(2);
    struct standing_holder h[2];

    (void)state;
    assert_int_equal(holders(m, 0, h, 2), 0);
    finish(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proposal_and_fence),
        cmocka_unit_test(test_fences_overlap),
        cmocka_unit_test(test_none),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
