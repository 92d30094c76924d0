/* Choices of chance as SipHash of what they are about: see fate.h. */
#include "sim/fate.h"

#include <sodium.h>

#include "crdt/base/buffer.h"
#include "crdt/base/check.h"
#include "crdt/base/hash.h"

_Static_assert(crypto_shorthash_KEYBYTES == 16, "key of struct sim_fate");
_Static_assert(crypto_shorthash_BYTES == 8, "one draw is 64 bits");

void sim_fate_init(struct sim_fate *f, uint64_t seed)
{
    uint8_t bytes[8];

    CHECK(f != NULL);
    put_be64(bytes, seed);
    struct hash h = hash_of("confmesh sim fate v1", slice_of(bytes, 8));
    for (size_t i = 0; i < sizeof f->key; i++)
        f->key[i] = h.bytes[i];
}

uint64_t sim_fate_draw(const struct sim_fate *f, enum sim_purpose purpose,
                       uint64_t place, uint64_t number)
{
    uint8_t in[24];
    uint8_t out[8];

    put_be64(in, (uint64_t)purpose);
    put_be64(in + 8, place);
    put_be64(in + 16, number);
    CHECK(crypto_shorthash(out, in, sizeof in, f->key) == 0);
    return get_be64(out);
}

bool sim_fate_chance(const struct sim_fate *f, enum sim_purpose purpose,
                     uint64_t place, uint64_t number, uint32_t ppm)
{
    CHECK(ppm <= 1000000);
    if (ppm == 0)
        return false;
    return sim_fate_draw(f, purpose, place, number) % 1000000 < ppm;
}

uint64_t sim_fate_range(const struct sim_fate *f, enum sim_purpose purpose,
                        uint64_t place, uint64_t number, uint64_t low,
                        uint64_t high)
{
    CHECK(low <= high);
    CHECK(high - low < UINT64_MAX);
    return low + sim_fate_draw(f, purpose, place, number) % (high - low + 1);
}
