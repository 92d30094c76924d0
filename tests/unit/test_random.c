/* The stream of random bytes.
 *
 * Goal: what is computed ahead is the stream itself: same seed, same bytes,
 * whatever sizes are drawn in between, no byte twice.
 * Method: draws of sizes of every kind, against ChaCha20 computed block by
 * block. */
#include "support.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/random.h"

static const uint8_t seed[32] = "a seed for the stream of chance";

static void expect_block(const uint8_t *bytes, size_t size, uint64_t block)
{
    static const uint8_t nonce[crypto_stream_chacha20_NONCEBYTES];
    uint8_t expected[1024] = {0};

    assert_true(size <= sizeof expected);
    assert_int_equal(crypto_stream_chacha20_xor_ic(expected, expected, size,
                                                   nonce, block, seed),
                     0);
    assert_memory_equal(bytes, expected, size);
}

static void test_draws(void **state)
{
    static const size_t sizes[] = {8, 8, 1, 64, 65, 8, 300, 0, 32, 63, 640, 16};
    struct random_stream r;
    uint8_t bytes[1024];
    uint64_t block = 0;

    (void)state;
    random_init(&r, seed);
    for (size_t i = 0; i < 500; i++) {
        size_t size = sizes[(i + i / 7) % (sizeof sizes / sizeof sizes[0])];

        memset(bytes, 0xa5, sizeof bytes);
        random_bytes_draw(&r, bytes, size);
        expect_block(bytes, size, block);
        assert_int_equal(bytes[size], 0xa5);
        block += (size + RANDOM_BLOCK_SIZE - 1) / RANDOM_BLOCK_SIZE;
        assert_int_equal(r.counter, block);
    }
}

/* What was handed out is not in memory any more. */
static void test_forgets(void **state)
{
    static const uint8_t nothing[RANDOM_BLOCK_SIZE];
    struct random_stream r;
    uint8_t bytes[8];

    (void)state;
    random_init(&r, seed);
    for (size_t i = 0; i < RANDOM_AHEAD_MAX; i++) {
        random_bytes_draw(&r, bytes, sizeof bytes);
        assert_memory_equal(r.ahead_bytes[i], nothing, sizeof nothing);
    }
}

static void test_below(void **state)
{
    struct random_stream r;
    unsigned counts[7] = {0};

    (void)state;
    random_init(&r, seed);
    for (unsigned i = 0; i < 7000; i++) {
        uint64_t v = random_below(&r, 7);

        assert_true(v < 7);
        counts[v]++;
    }
    for (unsigned i = 0; i < 7; i++)
        assert_in_range(counts[i], 850, 1150);
    assert_int_equal(random_below(&r, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draws),
        cmocka_unit_test(test_forgets),
        cmocka_unit_test(test_below),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
