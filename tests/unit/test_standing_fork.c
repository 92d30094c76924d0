/* Goal: of two branches of a fork that fences cover one stands, the same
 * everywhere, and nobody seals before whoever holds the other one has returned.
 * Method: the standings of a small mesh whose vectors are given two heads. */
#include "standing_fork.h"

/* "Of two branches that fences cover, the one with the lower hash at the first
 * difference stands; whoever applied the other is a returner." */
static void M15_two_branches(void **state)
{
    const int evicted[] = {FORK_A};
    struct incarnation a = actor_id(FORK_A), c = actor_id(FORK_C);
    struct standing_lost lost;
    struct mesh *m = fork_mesh(3);
    uint64_t last = 9;
    int next;

    (void)state;
    assert_non_null(mesh_data(m, FORK_A, OP_PUT, 0, 0, 110));
    mesh_pull(m, FORK_C, FORK_A);
    mesh_pull(m, FORK_B, FORK_A);
    fork_branch(m, FORK_C, FORK_A, 1);
    fork_branch(m, FORK_B, FORK_A, 9);
    assert_false(fork_loses(m, FORK_C, NULL) || fork_loses(m, FORK_B, NULL));
    fork_evict(m, evicted, 1);
    fork_exchange(m);
    assert_false(sealed_at(m, FORK_C, FORK_A, NULL));
    assert_false(sealed_at(m, FORK_B, FORK_A, NULL));
    assert_false(fork_loses(m, FORK_C, NULL));
    assert_true(fork_loses(m, FORK_B, &lost));
    assert_true(incarnation_equal(&lost.fork, &a));
    assert_true(incarnation_equal(&lost.to, &c));
    /* B returns: a cut of C under a further name; the former is retired. */
    next = mesh_actor(m, FORK_B);
    assert_non_null(mesh_add(m, FORK_C, next, 300));
    mesh_adopt(m, FORK_B, FORK_C, next);
    assert_int_equal(mesh_retire(m, FORK_B, FORK_B), 0);
    assert_int_equal(mesh_retire(m, FORK_C, FORK_B), 0);
    for (int i = 0; i < 4; i++) {
        (void)mesh_fence(m, FORK_C, 310);
        (void)mesh_fence(m, FORK_B, 310);
        mesh_pull(m, FORK_C, next);
        mesh_pull(m, FORK_B, FORK_C);
    }
    for (int i = FORK_C; i <= FORK_B; i++) {
        assert_true(sealed_at(m, i, FORK_A, &last));
        assert_int_equal(last, 1);
        assert_true(sealed_at(m, i, FORK_B, NULL));
        assert_false(fork_loses(m, i, NULL));
    }
    mesh_free(m);
}

/* Behind the own fence only the branch that another one's fence covers. */
static void test_let_in_by_branch(void **state)
{
    const int evicted[] = {FORK_A};
    struct mesh *m = fork_mesh(3);
    struct incarnation self = actor_id(FORK_C);
    struct hash covered = fork_head(5), other = fork_head(4);
    struct dot dot = {actor_id(FORK_A), 1};

    (void)state;
    assert_non_null(mesh_data(m, FORK_A, OP_PUT, 0, 0, 110));
    mesh_pull(m, FORK_B, FORK_A);
    fork_branch(m, FORK_B, FORK_A, 5);
    fork_evict(m, evicted, 1);
    assert_int_equal(
        standing_judge(m->nodes[FORK_C].standing, &self, &dot, &covered),
        STANDING_WAIT);
    mesh_pull(m, FORK_C, FORK_B); /* announced: what it covers is not here */
    assert_int_equal(
        standing_judge(m->nodes[FORK_C].standing, &self, &dot, &covered),
        STANDING_APPLY);
    assert_int_equal(
        standing_judge(m->nodes[FORK_C].standing, &self, &dot, &other),
        STANDING_WAIT);
    mesh_free(m);
}

/* Two forked at once, and each node holds the higher branch of one: who lost
 * the first has no say about the second, or else nobody were left. */
static void test_one_after_another(void **state)
{
    enum { A2 = 3 };
    const int evicted[] = {FORK_A, A2};
    struct mesh *m = fork_mesh(4);
    struct incarnation first;
    struct standing_lost lost;
    struct incarnation x = actor_id(FORK_A), y = actor_id(A2);

    (void)state;
    first = incarnation_compare(&x, &y) < 0 ? x : y;
    for (int i = FORK_A; i <= A2; i++) {
        assert_non_null(mesh_data(m, i, OP_PUT, 0, 0, 110));
        mesh_pull(m, FORK_C, i);
        mesh_pull(m, FORK_B, i);
        fork_branch(m, FORK_C, i,
                    incarnation_equal(&first, &x) == (i == FORK_A) ? 9 : 1);
        fork_branch(m, FORK_B, i, 5);
    }
    fork_evict(m, evicted, 2);
    fork_exchange(m);
    assert_true(fork_loses(m, FORK_C, &lost));
    assert_true(incarnation_equal(&lost.fork, &first));
    assert_false(fork_loses(m, FORK_B, NULL));
    mesh_free(m);
}

/* "A fence is written anew when its writer lets more in." */
static void M15_fence_grows(void **state)
{
    (void)state;
    assert_true(fork_told_by_who_let_in());
}

/* "A cut that loses by what the returner itself knows is none to come back
 * to." */
static void M15_cut_of_a_loser(void **state)
{
    (void)state;
    assert_true(fork_cut_is_judged());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(M15_two_branches),
        cmocka_unit_test(test_let_in_by_branch),
        cmocka_unit_test(test_one_after_another),
        cmocka_unit_test(M15_fence_grows),
        cmocka_unit_test(M15_cut_of_a_loser),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
