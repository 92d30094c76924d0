/* Random bytes from the run's seed: see entropy.h. */
#include "sim/entropy.h"

#include <sodium.h>

#include "crdt/base/check.h"
#include "crdt/base/hash.h"

static struct random_stream *current; /* borrowed */

static const char *entropy_name(void)
{
    return "simulation";
}

static uint32_t entropy_random(void)
{
    uint32_t v;

    CHECK(current != NULL);
    random_bytes_draw(current, &v, sizeof v);
    return v;
}

static void entropy_fill(void *const buffer, const size_t size)
{
    CHECK(current != NULL);
    random_bytes_draw(current, buffer, size);
}

static void entropy_stir(void)
{
    CHECK(current != NULL); /* libsodium stirs when it starts: nothing to do */
}

static int entropy_close(void)
{
    CHECK(current != NULL);
    return 0;
}

void sim_entropy_use(struct random_stream *stream)
{
    static randombytes_implementation ours = {
        .implementation_name = entropy_name,
        .random = entropy_random,
        .stir = entropy_stir,
        .buf = entropy_fill,
        .close = entropy_close,
    };

    CHECK(stream != NULL);
    bool first = current == NULL;
    current = stream;
    if (first)
        CHECK(randombytes_set_implementation(&ours) == 0);
}

void sim_entropy_stream(struct random_stream *ret_stream, uint64_t seed,
                        const char *purpose, uint64_t number)
{
    uint8_t bytes[16];

    CHECK(purpose != NULL);
    put_be64(bytes, seed);
    put_be64(bytes + 8, number);
    struct hash h = hash_of(purpose, slice_of(bytes, sizeof bytes));
    random_init(ret_stream, h.bytes);
}
