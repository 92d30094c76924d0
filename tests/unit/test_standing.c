/* The traces that the model checks found, told on a few small replicas; the
 * law (equal vectors, equal states) and the resolution by true causal past are
 * checked after every step of each. Names are those of the traces. */
#include "standing_settle.h"

#include "crdt/base/alloc.h"

static void finish(struct mesh *m)
{
    mesh_ok(m);
    mesh_free(m);
}

static void settle(struct mesh *m, unsigned without)
{
    settle_at(m, without, 200);
}

static const struct ev *put(struct mesh *m, int node)
{
    const struct ev *ret = mesh_data(m, node, OP_PUT, 0, 0, 110);

    assert_non_null(ret);
    return ret;
}

static bool covered(const struct mesh *m, int node, const struct ev *e)
{
    struct dot d = {actor_id(e->actor), e->seq};

    return standing_covers(m->nodes[node].standing, &d);
}

static bool is_member(const struct mesh *m, int node, int actor)
{
    struct incarnation who = actor_id(actor);

    return standing_is_member(m->nodes[node].standing, &who);
}

static enum standing_verdict judge(const struct mesh *m, int node, int actor,
                                   uint64_t seq)
{
    struct incarnation self = actor_id(m->nodes[node].self);
    struct dot d = {actor_id(actor), seq};
    struct hash unknown = {{0}};

    return standing_judge(m->nodes[node].standing, &self, &d, &unknown);
}

static void evict(struct mesh *m, uint64_t epoch, int actor, unsigned hearers)
{
    int order = mesh_order(m, epoch, (int)m->orders_count - 1, &actor, 1);

    for (int i = 0; i < (int)m->nodes_count; i++) {
        if ((hearers >> i & 1) != 0)
            assert_int_equal(mesh_hear(m, i, order), 0);
    }
}

/* Sealed at the same place at every node of the mask, which has all of it. */
static void assert_sealed(const struct mesh *m, unsigned nodes, int actor,
                          uint64_t last)
{
    for (int i = 0; i < (int)m->nodes_count; i++) {
        uint64_t found = 99;

        if ((nodes >> i & 1) == 0)
            continue;
        assert_true(sealed_at(m, i, actor, &found));
        assert_int_equal(found, last);
        assert_int_equal(knows(m, i, actor), last);
    }
}

/* ---- floors ---- */

/* A floor that does not wait for everybody resurrects what it collected. */
static void S0_floor_waits_for_everybody(void **state)
{
    struct mesh *m = mesh_of(3);
    const struct ev *del;
    struct dot dot;

    (void)state;
    (void)put(m, 0);
    mesh_pull_all(m, 1);
    mesh_pull_all(m, 2);
    del = mesh_data(m, 0, OP_DEL, 0, 0, 120);
    assert_non_null(mesh_propose(m, 0, 130));
    (void)put(m, 2); /* concurrent with the delete */
    mesh_pull_all(m, 1);
    assert_non_null(mesh_ack(m, 1, 140));
    mesh_pull(m, 0, 1);
    assert_false(covered(m, 0, del));
    settle(m, 0);
    assert_true(covered(m, 0, del));
    assert_true(covered(m, 2, del));
    assert_int_equal(shown(&m->nodes[0], 0, m->now, &dot),
                     shown(&m->nodes[2], 0, m->now, &dot));
    finish(m);
}

/* A writer added while a proposal is in flight, below it: it has to ask. */
static void S5a_added_below_a_proposal(void **state)
{
    struct mesh *m = mesh_new(3);
    const struct ev *del;

    (void)state;
    (void)mesh_add(m, 0, 1, 100);
    mesh_adopt(m, 1, 0, 1);
    (void)put(m, 0);
    mesh_pull_all(m, 1);
    del = mesh_data(m, 1, OP_DEL, 0, 0, 120);
    (void)mesh_add(m, 0, 2, 100);
    mesh_adopt(m, 2, 0, 2);
    (void)put(m, 2);
    assert_non_null(mesh_propose(m, 1, 130));
    mesh_pull_all(m, 0);
    assert_non_null(mesh_ack(m, 0, 140));
    mesh_pull(m, 1, 0); /* the add comes before the acknowledgement */
    assert_true(is_member(m, 1, 2));
    assert_false(covered(m, 1, del));
    settle(m, 0);
    assert_true(covered(m, 1, del));
    finish(m);
}

/* Added after its sponsor acknowledged: that counts for it too, or else floors
 * would differ at equal vectors. */
static void S5f_S5g_added_above_a_proposal(void **state)
{
    struct mesh *m = mesh_new(3);
    const struct ev *del;
    uint8_t key[PROPOSAL_KEY_SIZE];
    struct incarnation joiner = actor_id(2);

    (void)state;
    (void)mesh_add(m, 0, 1, 100);
    mesh_adopt(m, 1, 0, 1);
    (void)put(m, 0);
    mesh_pull_all(m, 1);
    del = mesh_data(m, 1, OP_DEL, 0, 0, 120);
    assert_non_null(mesh_propose(m, 1, 130));
    mesh_pull_all(m, 0);
    assert_non_null(mesh_ack(m, 0, 140));
    (void)mesh_add(m, 0, 2, 100);
    mesh_adopt(m, 2, 0, 2);
    /* All have acknowledged as far as these two know. */
    assert_true(covered(m, 0, del));
    assert_true(covered(m, 2, del));
    assert_false(standing_due_ack(m->nodes[2].standing, &joiner, key));
    mesh_pull(m, 1, 0);
    assert_true(covered(m, 1, del));
    finish(m);
}

/* The same while a third one has yet to acknowledge. */
static void S5g_inherited_acknowledgement(void **state)
{
    struct mesh *m = mesh_new(4);
    const struct ev *e;
    uint8_t key[PROPOSAL_KEY_SIZE];
    struct incarnation joiner = actor_id(3);

    (void)state;
    (void)mesh_add(m, 0, 1, 100);
    (void)mesh_add(m, 0, 2, 100);
    mesh_adopt(m, 1, 0, 1);
    mesh_adopt(m, 2, 0, 2);
    e = put(m, 0);
    assert_non_null(mesh_propose(m, 0, 130));
    (void)mesh_add(m, 0, 3, 100);
    mesh_adopt(m, 3, 0, 3);
    assert_false(standing_due_ack(m->nodes[3].standing, &joiner, key));
    mesh_pull(m, 1, 0);
    assert_non_null(mesh_ack(m, 1, 140));
    mesh_pull(m, 2, 0);
    assert_non_null(mesh_ack(m, 2, 150));
    for (int i = 3; i >= 0; i--)
        mesh_pull_all(m, i);
    for (int i = 0; i < 4; i++)
        assert_true(covered(m, i, e));
    finish(m);
}

/* Two sponsors of one incarnation: whichever add comes first, states agree.
 * (That it asks a second one only as another incarnation is M4.) */
static void S5h_two_adds_agree(void **state)
{
    struct mesh *m = mesh_new(4);

    (void)state;
    (void)mesh_add(m, 0, 1, 100);
    mesh_adopt(m, 1, 0, 1);
    (void)mesh_add(m, 0, 2, 100);
    mesh_adopt(m, 2, 0, 2);
    mesh_pull_all(m, 1);
    (void)mesh_add(m, 0, 3, 100);
    (void)mesh_add(m, 1, 3, 100);
    mesh_pull_all(m, 1);
    mesh_pull_all(m, 0);
    mesh_pull(m, 2, 1);
    mesh_pull_all(m, 2);
    assert_true(is_member(m, 2, 3));
    assert_int_equal(standing_members(m->nodes[2].standing), 4);
    finish(m);
}

/* Acknowledgements come with a cut as they come with events. */
static void S9b_cut_has_acknowledgements(void **state)
{
    struct mesh *m = mesh_of(3);
    const struct ev *e = put(m, 0);

    (void)state;
    assert_non_null(mesh_propose(m, 0, 130));
    mesh_pull_all(m, 1);
    assert_non_null(mesh_ack(m, 1, 140));
    assert_true(mesh_join(m, 2, 1));
    assert_int_equal(knows(m, 2, 1), 1);
    assert_false(covered(m, 2, e));
    assert_non_null(mesh_ack(m, 2, 150));
    assert_true(covered(m, 2, e));
    settle(m, 0);
    assert_true(covered(m, 0, e));
    finish(m);
}

/* An acknowledgement of what has passed on the other side of a join. */
static void test_join_drops_what_passed(void **state)
{
    struct mesh *m = mesh_new(4);
    const struct ev *e;

    (void)state;
    (void)mesh_add(m, 0, 1, 100);
    mesh_adopt(m, 1, 0, 1);
    e = put(m, 0);
    assert_non_null(mesh_propose(m, 0, 130));
    mesh_pull_all(m, 1);
    assert_non_null(mesh_ack(m, 1, 140));
    assert_true(covered(m, 1, e));
    (void)mesh_add(m, 0, 2, 150); /* 0 has not heard of that yet */
    mesh_adopt(m, 2, 0, 2);
    assert_true(mesh_join(m, 1, 2));
    assert_true(covered(m, 1, e));
    for (size_t i = 0; i < m->nodes[1].cells_count; i++)
        assert_int_not_equal(m->nodes[1].cells[i].space, SPACE_PROPOSAL);
    settle(m, 0);
    finish(m);
}

/* ---- evictions ---- */

/* Two nodes that are to go, one after the other: the last one cannot. */
static void E1_nobody_left_outside(void **state)
{
    struct mesh *m = mesh_of(2);

    (void)state;
    evict(m, 1, 0, 2);
    settle(m, 1);
    assert_sealed(m, 2, 0, 1);
    evict(m, 2, 1, 3 & 2);
    settle(m, 1);
    assert_null(mesh_fence(m, 1, 200));
    assert_false(sealed_at(m, 1, 1, NULL));
    assert_true(is_member(m, 1, 1));
    finish(m);
}

/* An evictee that does not know it fences nobody who then is sealed. */
static void E2_evictee_alone_seals_nobody(void **state)
{
    struct mesh *m = mesh_of(4);

    (void)state;
    evict(m, 1, 0, 14);
    (void)mesh_retire(m, 0, 1); /* heard at 0 alone, of a node that is gone */
    assert_non_null(mesh_fence(m, 0, 200));
    settle(m, 3);
    assert_false(sealed_at(m, 0, 1, NULL));
    assert_false(sealed_at(m, 0, 0, NULL));
    /* Who stays has heard of the retirement by its fence: both, at once. */
    assert_sealed(m, 12, 0, 4);
    assert_sealed(m, 12, 1, 0);
    finish(m);
}

/* What a stayer has built on is within the seal, which is one everywhere. */
static void E3_E4_E5_seal_covers_what_stayers_have(void **state)
{
    struct mesh *m = mesh_of(4);
    const struct ev *c;

    (void)state;
    (void)put(m, 3);
    mesh_pull(m, 2, 3);
    c = put(m, 2);
    evict(m, 1, 3, 7);
    assert_non_null(mesh_fence(m, 0, 200));
    assert_non_null(mesh_fence(m, 1, 200));
    assert_int_equal(judge(m, 0, 3, 1), STANDING_WAIT);
    assert_false(mesh_deliver(m, 0, c));
    assert_non_null(mesh_fence(m, 2, 200));
    mesh_pull_all(m, 0); /* first announces, then applies */
    assert_int_equal(knows(m, 0, 3), 1);
    settle(m, 8);
    assert_sealed(m, 7, 3, 1);
    (void)put(m, 3);
    mesh_pull_all(m, 0);
    assert_int_equal(knows(m, 0, 3), 1);
    assert_int_equal(judge(m, 0, 3, 2), STANDING_BEYOND);
    finish(m);
}

/* The floor goes on without the evictee only when all of it is here. */
static void E6_E7_floor_after_an_eviction(void **state)
{
    struct mesh *m = mesh_of(4);
    const struct ev *late, *del;

    (void)state;
    (void)put(m, 0);
    for (int i = 1; i < 4; i++)
        mesh_pull_all(m, i);
    del = mesh_data(m, 0, OP_DEL, 0, 0, 120);
    late = put(m, 3);
    mesh_pull(m, 2, 3);
    assert_non_null(mesh_propose(m, 0, 130));
    evict(m, 1, 3, 7);
    assert_non_null(mesh_fence(m, 0, 200));
    settle(m, 8);
    assert_sealed(m, 7, 3, late->seq);
    for (int i = 0; i < 3; i++)
        assert_true(covered(m, i, del));
    finish(m);
}

static void M1_overlapping_evictions(void **state)
{
    enum { A = 3, B = 1, C = 2, D = 0 };
    struct mesh *m = mesh_of(4);

    (void)state;
    (void)put(m, A);
    mesh_pull(m, C, A);
    evict(m, 1, A, 6);
    assert_non_null(mesh_fence(m, B, 200));
    assert_non_null(mesh_fence(m, C, 200));
    mesh_pull_all(m, B);
    assert_int_equal(knows(m, B, A), 1);
    assert_int_equal(knows(m, B, C), 1);
    assert_int_equal(mesh_hear(m, D, 0), 0);
    evict(m, 2, C, 3);
    assert_non_null(mesh_fence(m, D, 200)); /* both at 0 */
    mesh_pull(m, D, B);
    assert_false(sealed_at(m, D, A, NULL));
    (void)put(m, B); /* depends on a:1 */
    assert_non_null(mesh_fence(m, B, 200));
    settle(m, 12);
    assert_sealed(m, 3, A, 1);
    assert_sealed(m, 3, C, 1);
    assert_int_equal(knows(m, D, B), knows(m, B, B));
    finish(m);
}

static void M2_cut_beyond_the_own_fence(void **state)
{
    enum { A = 2, B = 1, C = 0 };
    struct mesh *m = mesh_of(3);
    struct incarnation self = actor_id(B);

    (void)state;
    evict(m, 1, A, 3);
    (void)put(m, A);
    assert_non_null(mesh_fence(m, B, 200));
    assert_int_equal(standing_admits(m->nodes[B].standing, &self,
                                     &m->nodes[B].vv, m->nodes[A].standing,
                                     &m->nodes[A].vv),
                     CM_ERR_PENDING);
    assert_false(mesh_join(m, B, A));
    assert_non_null(mesh_fence(m, C, 200));
    settle(m, 4);
    assert_sealed(m, 3, A, 0);
    assert_int_equal(standing_admits(m->nodes[B].standing, &self,
                                     &m->nodes[B].vv, m->nodes[A].standing,
                                     &m->nodes[A].vv),
                     CM_ERR_SEALED);
    finish(m);
}

/* A cut that brings the fence that lets its receiver in. */
static void test_cut_with_its_fence_is_let_in(void **state)
{
    struct mesh *m = mesh_of(4);

    (void)state;
    (void)put(m, 3);
    mesh_pull(m, 2, 3);
    evict(m, 1, 3, 7);
    assert_non_null(mesh_fence(m, 0, 200));
    assert_non_null(mesh_fence(m, 2, 200));
    assert_true(mesh_join(m, 0, 2));
    assert_int_equal(knows(m, 0, 3), 1);
    settle(m, 8);
    assert_sealed(m, 7, 3, 1);
    finish(m);
}

static void M3_joiner_inherits_the_fence(void **state)
{
    struct mesh *m = mesh_new(5);

    (void)state;
    for (int i = 1; i < 4; i++)
        (void)mesh_add(m, 0, i, 100);
    for (int i = 1; i < 4; i++)
        mesh_adopt(m, i, 0, i);
    (void)put(m, 3);
    evict(m, 1, 3, 3);
    assert_non_null(mesh_fence(m, 1, 200));
    (void)mesh_add(m, 1, 4, 210);
    mesh_adopt(m, 4, 1, 4);
    assert_int_equal(judge(m, 4, 3, 1), STANDING_WAIT);
    assert_null(mesh_fence(m, 4, 200)); /* it counts as fenced */
    assert_non_null(mesh_fence(m, 0, 200));
    assert_int_equal(mesh_hear(m, 2, 0), 0);
    assert_non_null(mesh_fence(m, 2, 200));
    settle(m, 8);
    assert_sealed(m, 23, 3, 0);
    finish(m);
}

/* The add lies beyond its sponsor's seal: the joiner goes another way. */
static void M4_sponsor_lost(void **state)
{
    struct mesh *m = mesh_new(4);
    int given_up = m->nodes[3].self;
    int further = mesh_actor(m, 3);

    (void)state;
    for (int i = 1; i < 3; i++)
        (void)mesh_add(m, 0, i, 100);
    for (int i = 1; i < 3; i++)
        mesh_adopt(m, i, 0, i);
    evict(m, 1, 2, 3);
    (void)mesh_fence(m, 0, 200);
    (void)mesh_fence(m, 1, 200);
    assert_non_null(mesh_add(m, 2, given_up, 210));
    settle(m, 4);
    assert_sealed(m, 3, 2, 0);
    assert_false(is_member(m, 0, given_up));
    assert_int_equal(mesh_retire(m, 0, given_up), 0);
    assert_non_null(mesh_add(m, 1, further, 220));
    mesh_adopt(m, 3, 1, further);
    settle(m, 4);
    assert_sealed(m, 11, given_up, 0);
    assert_true(is_member(m, 0, further));
    finish(m);
}

/* Incarnations that nobody rostered are sealed, at 0, and never enter. */
static void M5_retirement_of_the_unknown(void **state)
{
    struct mesh *m = mesh_of(3);
    int unknown = mesh_actor(m, 1);
    struct incarnation who = actor_id(unknown);
    struct op add = {.kind = OP_ROSTER_ADD,
                     .key = slice_of(who.bytes, sizeof who.bytes),
                     .value = buffer_slice(&m->certificates[1])};

    (void)state;
    assert_int_equal(mesh_retire(m, 1, unknown), 0);
    assert_int_equal(mesh_retire(m, 1, unknown), CM_ERR_DUPLICATE);
    assert_null(mesh_add(m, 1, unknown, 200));
    settle(m, 0);
    assert_sealed(m, 7, unknown, 0);
    assert_non_null(mesh_write(m, 0, &add, 200)); /* void */
    settle(m, 0);
    assert_false(is_member(m, 0, unknown));
    assert_false(is_member(m, 2, unknown));
    finish(m);
}

/* A node retires incarnations of its own only. */
static void M5_retirement_by_another_node(void **state)
{
    struct mesh *m = mesh_of(3);
    int late = mesh_actor(m, 2);
    const struct ev *add;

    (void)state;
    m->owner[2] = 1; /* signed with the key of node 1 */
    assert_int_equal(mesh_retire(m, 0, 2), CM_ERR_AUTHORITY);
    m->owner[2] = 2;
    /* Heard before its victim is rostered, it counts until then. */
    m->owner[late] = 1;
    assert_int_equal(mesh_retire(m, 1, late), 0);
    m->owner[late] = 2;
    add = mesh_add(m, 0, late, 100);
    assert_non_null(add);
    assert_non_null(mesh_fence(m, 1, 200));
    settle(m, 0);
    assert_false(sealed_at(m, 0, late, NULL));
    assert_true(is_member(m, 1, late));
    for (size_t i = 0; i < m->nodes[1].cells_count; i++)
        assert_int_not_equal(m->nodes[1].cells[i].space, SPACE_FENCE);
    finish(m);
}

/* A member added beyond a seal by an evictee that does not know: a phantom. */
static void M6_phantom(void **state)
{
    struct mesh *m = mesh_new(4);
    struct incarnation phantom = actor_id(3);

    (void)state;
    for (int i = 1; i < 3; i++)
        (void)mesh_add(m, 0, i, 100);
    for (int i = 1; i < 3; i++)
        mesh_adopt(m, i, 0, i);
    (void)put(m, 2);
    evict(m, 1, 2, 3);
    mesh_pull_all(m, 0);
    settle(m, 12);
    assert_sealed(m, 3, 2, 1);
    (void)mesh_add(m, 2, 3, 210);
    mesh_adopt(m, 3, 2, 3);
    (void)put(m, 3);
    assert_int_equal(standing_admits(m->nodes[3].standing, &phantom,
                                     &m->nodes[3].vv, m->nodes[0].standing,
                                     &m->nodes[0].vv),
                     CM_ERR_SEALED);
    mesh_pull_all(m, 0);
    assert_int_equal(judge(m, 0, 3, 1), STANDING_UNKNOWN);
    assert_int_equal(knows(m, 0, 2), 1);
    finish(m);
}

/* Such a member's own fence seals the evictee at more, where only it is asked:
 * a seal in a cut lets nothing in. */
static void M6_seal_of_a_phantom(void **state)
{
    enum { A = 2, D = 3 };
    struct mesh *m = mesh_new(4);
    struct incarnation self = actor_id(1);
    uint64_t last = 0;

    (void)state;
    for (int i = 1; i < 3; i++)
        (void)mesh_add(m, 0, i, 100);
    for (int i = 1; i < 3; i++)
        mesh_adopt(m, i, 0, i);
    evict(m, 1, A, 3);
    assert_non_null(mesh_fence(m, 0, 200));
    assert_non_null(mesh_fence(m, 1, 200));
    (void)put(m, A);
    (void)mesh_add(m, A, D, 210);
    mesh_adopt(m, D, A, D);
    mesh_pull_all(m, D);
    assert_non_null(mesh_fence(m, D, 220));
    assert_true(sealed_at(m, D, A, &last));
    assert_int_equal(last, 2);
    assert_int_equal(standing_admits(m->nodes[1].standing, &self,
                                     &m->nodes[1].vv, m->nodes[D].standing,
                                     &m->nodes[D].vv),
                     CM_ERR_PENDING);
    assert_false(mesh_join(m, 1, D));
    mesh_pull_all(m, 0);
    mesh_pull_all(m, 1);
    assert_sealed(m, 3, A, 0);
    finish(m);
}

/* The evictee's early acknowledgement decides the floor time, whether the
 * proposal passes before the seal (at 0) or after it (at 1). */
static void M11_floor_time(void **state)
{
    struct mesh *m = mesh_of(4);
    const struct ev *early, *fence;

    (void)state;
    (void)put(m, 0);
    assert_non_null(mesh_propose(m, 0, 900));
    mesh_pull(m, 2, 0);
    m->nodes[2].clock = hlc_make(11, 0);
    early = mesh_ack(m, 2, 11);
    assert_non_null(early);
    mesh_pull_all(m, 1);
    assert_non_null(mesh_ack(m, 1, 910));
    evict(m, 1, 2, 11);
    mesh_pull_all(m, 3);
    assert_non_null(mesh_fence(m, 3, 920));
    assert_non_null(mesh_fence(m, 1, 920));
    fence = &m->events[m->events_count];
    mesh_pull(m, 0, 2);
    assert_non_null(mesh_fence(m, 0, 920));
    mesh_pull(m, 1, 0);
    assert_true(mesh_deliver(m, 1, fence - 2));
    assert_true(sealed_at(m, 1, 2, NULL));
    assert_true(standing_floor_time(m->nodes[1].standing) == 0);
    assert_non_null(mesh_ack(m, 3, 930));
    mesh_pull_all(m, 1);
    mesh_pull_all(m, 0);
    assert_true(standing_floor_time(m->nodes[1].standing) == early->hlc);
    assert_true(standing_floor_time(m->nodes[0].standing) == early->hlc);
    finish(m);
}

/* ---- the chain of orders ---- */

static void M13_first_order_heard_stands(void **state)
{
    struct mesh *m = mesh_of(4);
    int three = 3;
    int two = 2;
    int stands = mesh_order(m, 1, -1, &three, 1);
    int other = mesh_order(m, 1, -1, &two, 1);
    const struct ev *fence;
    int next;

    (void)state;
    assert_int_equal(mesh_hear(m, 1, stands), 0);
    assert_int_equal(mesh_hear(m, 1, stands), CM_ERR_DUPLICATE);
    assert_int_equal(mesh_hear(m, 0, other), 0);
    assert_int_equal(mesh_hear(m, 0, stands), CM_ERR_EVICTION_CONFLICT);
    fence = mesh_fence(m, 1, 200);
    assert_non_null(fence);
    assert_false(mesh_deliver(m, 0, fence));
    /* The next order, with an empty set, names the one that stands. */
    next = mesh_order(m, 2, stands, NULL, 0);
    assert_int_equal(mesh_hear(m, 0, next), 0);
    assert_true(mesh_deliver(m, 0, fence));
    assert_false(standing_is_dropped(m->nodes[0].standing));
    assert_int_equal(standing_epoch(m->nodes[0].standing), 1);
    assert_int_equal(mesh_hear(m, 2, stands), 0);
    settle(m, 8);
    assert_sealed(m, 7, 3, 0);
    /* One from a drawer, years later. */
    assert_int_equal(mesh_hear(m, 2, other), CM_ERR_EVICTION_CONFLICT);
    assert_int_equal(mesh_hear(m, 2, stands), CM_ERR_DUPLICATE);
    finish(m);
}

static void M13_who_acted_on_the_other_returns(void **state)
{
    struct mesh *m = mesh_of(4);
    int three = 3;
    int two = 2;
    int stands = mesh_order(m, 1, -1, &three, 1);
    int other = mesh_order(m, 1, -1, &two, 1);
    int next = mesh_order(m, 2, stands, NULL, 0);
    struct incarnation self = actor_id(0);
    const struct ev *fence;

    (void)state;
    assert_int_equal(mesh_hear(m, 0, other), 0);
    assert_non_null(mesh_fence(m, 0, 200));
    assert_int_equal(mesh_hear(m, 1, stands), 0);
    fence = mesh_fence(m, 1, 200);
    assert_false(mesh_deliver(m, 0, fence));
    assert_false(mesh_deliver(m, 1, &m->events[m->events_count - 2]));
    assert_int_equal(standing_admits(m->nodes[0].standing, &self,
                                     &m->nodes[0].vv, m->nodes[1].standing,
                                     &m->nodes[1].vv),
                     CM_ERR_EVICTION_CONFLICT);
    assert_false(standing_is_dropped(m->nodes[0].standing));
    assert_int_equal(mesh_hear(m, 0, next), CM_ERR_EVICTION_CONFLICT);
    assert_true(standing_is_dropped(m->nodes[0].standing));
    assert_int_equal(mesh_hear(m, 1, next), 0);
    assert_false(standing_is_dropped(m->nodes[1].standing));
    finish(m);
}

/* An order that skips one is not acted upon; the one between may come late. */
static void test_orders_out_of_order(void **state)
{
    struct mesh *m = mesh_of(4);
    int three = 3;
    int two = 2;
    int first = mesh_order(m, 1, -1, &three, 1);
    int second = mesh_order(m, 2, first, &two, 1);
    struct incarnation who = actor_id(2);

    (void)state;
    assert_int_equal(mesh_hear(m, 0, second), 0);
    assert_false(standing_is_evictee(m->nodes[0].standing, &who));
    assert_null(mesh_fence(m, 0, 200));
    assert_int_equal(mesh_hear(m, 0, first), 0);
    assert_true(standing_is_evictee(m->nodes[0].standing, &who));
    assert_non_null(mesh_fence(m, 0, 200));
    assert_int_equal(standing_epoch(m->nodes[0].standing), 2);
    settle(m, 12);
    assert_sealed(m, 3, 3, 0);
    assert_sealed(m, 3, 2, 0);
    finish(m);
}

/* A roster that holds incarnations of one node only. */
static void M14_succeeds_itself(void **state)
{
    struct mesh *m = mesh_new(1);
    struct key_id node = key_id_of(m->keys[0].public_key);
    struct key_id other = key_id_of(m->authority.public_key);
    int next = mesh_actor(m, 0);
    const struct ev *e = put(m, 0);

    (void)state;
    assert_true(standing_is_only_node(m->nodes[0].standing, &node));
    assert_false(standing_is_only_node(m->nodes[0].standing, &other));
    assert_non_null(mesh_add(m, 0, next, 200));
    m->nodes[0].self = next;
    assert_true(standing_is_only_node(m->nodes[0].standing, &node));
    assert_int_equal(mesh_retire(m, 0, 0), 0);
    assert_non_null(mesh_fence(m, 0, 210));
    assert_sealed(m, 1, 0, 2);
    assert_int_equal(standing_members(m->nodes[0].standing), 1);
    assert_non_null(mesh_propose(m, 0, 220));
    assert_true(covered(m, 0, e));
    finish(m);
}

/* ---- what was found by walks ---- */

/* A writer's later fence does not name whom it knows to be sealed; what it
 * announced before still lets events in elsewhere. */
static void test_announced_fences_add_up(void **state)
{
    struct mesh *m = mesh_of(4);
    const struct ev *late, *first, *second;

    (void)state;
    late = put(m, 3);
    mesh_pull(m, 1, 3);
    mesh_pull(m, 2, 3);
    evict(m, 1, 3, 7);
    assert_non_null(mesh_fence(m, 0, 200)); /* at 0 */
    assert_non_null(mesh_fence(m, 1, 200));
    first = &m->events[m->events_count - 1];
    assert_non_null(mesh_fence(m, 2, 200));
    mesh_pull_all(m, 1);
    assert_sealed(m, 2, 3, 1);
    (void)mesh_retire(m, 1, mesh_actor(m, 2));
    second = mesh_fence(m, 1, 210);
    assert_non_null(second);
    assert_false(mesh_deliver(m, 0, first));
    assert_false(mesh_deliver(m, 0, second));
    assert_true(mesh_deliver(m, 0, late));
    settle(m, 8);
    assert_sealed(m, 7, 3, 1);
    finish(m);
}

/* One is sealed at a replica that stays, by the fence of one who is evicted
 * next; another has fenced both before it got that fence. Nobody else who stays
 * has named the first one since: only what a fence covers beside its names lets
 * its last event in. */
static void test_sealed_here_open_there(void **state)
{
    struct mesh *m = mesh_of(4);

    (void)state;
    (void)put(m, 1);
    mesh_pull(m, 2, 1);
    evict(m, 1, 1, 13);
    assert_non_null(mesh_fence(m, 2, 200));
    assert_non_null(mesh_fence(m, 0, 200));
    assert_non_null(mesh_fence(m, 3, 200));
    mesh_pull_all(m, 3);
    assert_sealed(m, 8, 1, 1);
    evict(m, 2, 2, 1);
    assert_non_null(mesh_fence(m, 0, 210));
    mesh_pull_all(m, 0);
    assert_int_equal(knows(m, 0, 1), 0);
    settle(m, 6);
    assert_sealed(m, 9, 1, 1);
    assert_sealed(m, 9, 2, 1);
    finish(m);
}

/* Memory that fails at the n-th call: refused, and nothing lost or leaked. */
static void test_no_memory(void **state)
{
    struct mesh *m = mesh_of(3);
    struct incarnation self = actor_id(0);
    struct incarnation one = actor_id(1);
    struct standing *s = m->nodes[0].standing;
    struct standing *copy;
    struct buffer out;
    bool due = true;
    int error;

    (void)state;
    assert_non_null(mesh_propose(m, 0, 190));
    evict(m, 1, 2, 3);
    assert_non_null(mesh_fence(m, 1, 200));
    assert_int_equal(
        standing_announce(s, &one, m->events[m->events_count - 1].op.value), 0);
    for (uint64_t n = 1;; n++) {
        cm_alloc_fail_after(n);
        error = standing_copy(&copy, s);
        cm_alloc_fail_after(0);
        if (error == 0)
            break;
        assert_int_equal(error, CM_ERR_NOMEM);
    }
    for (uint64_t n = 1;; n++) {
        buffer_init(&out, VALUE_SIZE_MAX);
        cm_alloc_fail_after(n);
        error = standing_due_fence(copy, &self, &m->nodes[0].vv, &out, &due);
        cm_alloc_fail_after(0);
        buffer_release(&out);
        if (error == 0)
            break;
        assert_int_equal(error, CM_ERR_NOMEM);
        assert_false(due);
    }
    assert_true(due);
    standing_free(copy);
    finish(m);
}

/* ---- voids ---- */

static void assert_void(struct mesh *m, int node, const struct op *op,
                        bool alone)
{
    struct dot dot = {actor_id(m->nodes[node].self),
                      knows(m, node, m->nodes[node].self) + 1};
    const char *reason = NULL;
    bool counts = true;

    assert_int_equal(standing_allows(m->nodes[node].standing, op, &dot, alone,
                                     &counts, &reason),
                     0);
    assert_false(counts);
    assert_non_null(reason);
}

static void test_voids(void **state)
{
    struct mesh *m = mesh_of(3);
    struct incarnation who = actor_id(9);
    struct incarnation founder = actor_id(0);
    struct incarnation one = actor_id(1);
    struct op op = {.kind = OP_ROSTER_ADD,
                    .key = slice_of(who.bytes, sizeof who.bytes),
                    .value = buffer_slice(&m->certificates[1])};
    const struct ev *proposal;
    struct buffer fence;
    bool due;

    (void)state;
    assert_void(m, 1, &op, false);
    op.value = slice_of_string("no certificate");
    assert_void(m, 1, &op, true);
    op.key = slice_of(founder.bytes, sizeof founder.bytes);
    assert_void(m, 1, &op, true);
    proposal = mesh_propose(m, 0, 200);
    mesh_pull_all(m, 1);
    op = proposal->op; /* with a cut, by somebody else */
    assert_void(m, 1, &op, true);
    op.value = slice_of(NULL, 0);
    assert_non_null(mesh_ack(m, 1, 210));
    assert_void(m, 1, &op, true); /* a second time */
    evict(m, 1, 1, 7);
    buffer_init(&fence, VALUE_SIZE_MAX);
    assert_int_equal(standing_due_fence(m->nodes[0].standing, &founder,
                                        &m->nodes[0].vv, &fence, &due),
                     0);
    assert_true(due);
    op = (struct op){.kind = OP_FENCE,
                     .key = slice_of(one.bytes, sizeof one.bytes),
                     .value = buffer_slice(&fence)};
    assert_void(m, 1, &op, true); /* names its own writer */
    assert_void(m, 2, &op, true); /* of somebody else */
    fence.data[fence.size - 1] ^= 1;
    op.key = slice_of(founder.bytes, sizeof founder.bytes);
    fence.data[10] ^= 1;
    assert_void(m, 0, &op, true);
    buffer_release(&fence);
    finish(m);
}

/* A record cut short anywhere, or of another generation's seals. */
static void test_record(void **state)
{
    struct mesh *m = mesh_of(3);
    struct standing *fresh;
    struct buffer out;
    struct unpacker u;

    (void)state;
    evict(m, 1, 2, 3);
    settle(m, 4);
    assert_non_null(mesh_propose(m, 0, 200));
    settle(m, 4);
    buffer_init(&out, 1 << 16);
    standing_pack(&out, m->nodes[0].standing);
    for (size_t i = 0; i < out.size; i++) {
        fresh = mesh_standing(m);
        unpack_init(&u, slice_of(out.data, i));
        assert_int_not_equal(standing_unpack(fresh, &u), 0);
        standing_free(fresh);
    }
    mesh_restart(m, 0);
    assert_sealed(m, 1, 2, 0);
    assert_int_equal(standing_epoch(m->nodes[0].standing), 1);
    buffer_release(&out);
    finish(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(S0_floor_waits_for_everybody),
        cmocka_unit_test(S5a_added_below_a_proposal),
        cmocka_unit_test(S5f_S5g_added_above_a_proposal),
        cmocka_unit_test(S5g_inherited_acknowledgement),
        cmocka_unit_test(S5h_two_adds_agree),
        cmocka_unit_test(S9b_cut_has_acknowledgements),
        cmocka_unit_test(test_join_drops_what_passed),
        cmocka_unit_test(E1_nobody_left_outside),
        cmocka_unit_test(E2_evictee_alone_seals_nobody),
        cmocka_unit_test(E3_E4_E5_seal_covers_what_stayers_have),
        cmocka_unit_test(E6_E7_floor_after_an_eviction),
        cmocka_unit_test(M1_overlapping_evictions),
        cmocka_unit_test(M2_cut_beyond_the_own_fence),
        cmocka_unit_test(test_cut_with_its_fence_is_let_in),
        cmocka_unit_test(M3_joiner_inherits_the_fence),
        cmocka_unit_test(M4_sponsor_lost),
        cmocka_unit_test(M5_retirement_of_the_unknown),
        cmocka_unit_test(M5_retirement_by_another_node),
        cmocka_unit_test(M6_phantom),
        cmocka_unit_test(M6_seal_of_a_phantom),
        cmocka_unit_test(M11_floor_time),
        cmocka_unit_test(M13_first_order_heard_stands),
        cmocka_unit_test(M13_who_acted_on_the_other_returns),
        cmocka_unit_test(test_orders_out_of_order),
        cmocka_unit_test(M14_succeeds_itself),
        cmocka_unit_test(test_announced_fences_add_up),
        cmocka_unit_test(test_sealed_here_open_there),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_voids),
        cmocka_unit_test(test_record),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
