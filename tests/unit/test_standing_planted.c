/* The walks of test_standing_walk.c with one rule of the standing switched off
 * at a time: each has to be found, or the walks prove nothing. The standing is
 * compiled into this program, so that the product needs no such switch. */
#define CM_PLANTED_STANDING

#include "crdt/standing.c"
#include "crdt/standing_apply.c"
#include "crdt/standing_duty.c"
#include "crdt/standing_fence.c"
#include "crdt/standing_fork.c"
#include "crdt/standing_heard.c"
#include "crdt/standing_proposal.c"
#include "crdt/standing_settle.c"

#include "standing_fork.h"
#include "standing_walk.h"

/* Walks for each rule, from the one that is known to find it; more of them with
 * STANDING_WALKS=N, and then from the first. */
#define WALKS 20

enum standing_rule standing_planted;

static const struct {
    const char *name;
    uint64_t seed;
} rules[RULES] = {
    [RULE_INHERIT_ACKS] = {"an add inherits its sponsor's acknowledgements", 1},
    [RULE_INHERIT_FENCE] = {"an add inherits its sponsor's fence", 1},
    [RULE_OWN_FENCE] = {"behind one's own fence only what another covers", 342},
    [RULE_ALL_AT_ONCE] = {"a set is sealed all at once", 1},
    [RULE_EVICTEES_ACKS] = {"evictees' acknowledgements count", 342},
    [RULE_ALL_MEMBERS_ACK] = {"every member acknowledges a floor", 1},
    [RULE_COVER_ALL] = {"a fence covers all that its writer has", 3},
    [RULE_FENCE_ANEW] = {"a fence is written anew when the set grows", 8},
    [RULE_COVER_SEALED] = {"a fence covers those that are sealed here", 264},
    [RULE_ADMIT_BY_FENCES] = {"a cut is let in by fences only", 659},
    [RULE_LAST_IS_GREATEST] = {"the last seq is the greatest covered", 4},
    [RULE_DROP_REMAINS] = {"a join drops what the other removed", 159},
};

static void test_each_rule_is_needed(void **state)
{
    const char *more = getenv("STANDING_WALKS");
    uint64_t count = more != NULL ? strtoull(more, NULL, 10) : WALKS;
    size_t missed = 0;

    (void)state;
    for (int rule = 1; rule < RULE_COVER_HASH; rule++) {
        uint64_t first = more != NULL ? 1 : rules[rule].seed;
        uint64_t seed = first;
        char failure[200] = "";

        standing_planted = (enum standing_rule)rule;
        while (seed < first + count && walk_seed(seed, failure))
            seed++;
        standing_planted = 0;
        missed += seed == first + count;
        printf("%-48s %s %llu: %s\n", rules[rule].name,
               seed == first + count ? "MISSED up to" : "walk",
               (unsigned long long)seed, failure);
        (void)fflush(stdout);
    }
    assert_int_equal(missed, 0);
}

/* Walks fork nobody: test_standing_fork.h tells what two branches do. */
static void test_covers_say_which_branch(void **state)
{
    (void)state;
    standing_planted = 0;
    assert_false(fork_seals_both());
    standing_planted = RULE_COVER_HASH;
    assert_true(fork_seals_both());
    standing_planted = 0;
    printf("%-48s two branches are sealed as one\n",
           "a cover says which branch it covers");
}

static void test_forks_need_each_rule(void **state)
{
    (void)state;
    standing_planted = 0;
    assert_true(fork_told_by_who_let_in());
    assert_true(fork_cut_is_judged());
    standing_planted = RULE_FENCE_GROWN;
    assert_false(fork_told_by_who_let_in());
    standing_planted = RULE_FORGET_NOTHING;
    assert_false(fork_cut_is_judged());
    standing_planted = 0;
    printf("%-48s a loser is not told\n",
           "a fence is written anew when more is let in");
    printf("%-48s a loser's cut is taken\n",
           "a returner forgets no fence that it heard");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_covers_say_which_branch),
        cmocka_unit_test(test_forks_need_each_rule),
        cmocka_unit_test(test_each_rule_is_needed)};

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
