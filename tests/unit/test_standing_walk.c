/* Random walks of a few replicas: law, resolution, floor, liveness. A fixed
 * number of them; STANDING_WALKS=N runs more, STANDING_SEED=N a certain one.
 * timeout: 600 s */
#include "standing_walk.h"

#define WALKS 250

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static void test_walks(void **state)
{
    uint64_t first = number_from("STANDING_SEED", 1);
    uint64_t count = number_from("STANDING_WALKS",
                                 getenv("STANDING_SEED") != NULL ? 1 : WALKS);
    char failure[200];

    (void)state;
    for (uint64_t seed = first; seed < first + count; seed++) {
        struct walk w = walk_make(seed);

        if (walk_run(&w, failure))
            continue;
        walk_shrink(&w);
        walk_print(&w, seed);
        fail_msg("seed %llu: %s", (unsigned long long)seed, failure);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_walks)};

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
