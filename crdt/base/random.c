#include "crdt/base/random.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/check.h"

void random_init(struct random_stream *r, const uint8_t seed[32])
{
    memcpy(r->key, seed, sizeof r->key);
    r->counter = 0;
}

void random_bytes_draw(struct random_stream *r, void *ret_bytes, size_t size)
{
    static const uint8_t nonce[crypto_stream_chacha20_NONCEBYTES];
    uint8_t *to = ret_bytes;

    memset(to, 0, size);
    /* Whole blocks are used up, so no two draws overlap. */
    (void)crypto_stream_chacha20_xor_ic(to, to, size, nonce, r->counter,
                                        r->key);
    r->counter += (size + 63) / 64;
}

uint64_t random_u64(struct random_stream *r)
{
    uint64_t ret;

    random_bytes_draw(r, &ret, sizeof ret);
    return ret;
}

uint64_t random_below(struct random_stream *r, uint64_t bound)
{
    uint64_t v;
    uint64_t limit;

    CHECK(bound >= 1);
    limit = UINT64_MAX - UINT64_MAX % bound;
    do {
        v = random_u64(r);
    } while (v >= limit); /* without the bias of a bare modulo */
    return v % bound;
}
