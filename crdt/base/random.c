#include "crdt/base/random.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/check.h"

static const uint8_t no_nonce[crypto_stream_chacha20_NONCEBYTES];

void random_init(struct random_stream *r, const uint8_t seed[32])
{
    memcpy(r->key, seed, sizeof r->key);
    r->counter = 0;
    r->ahead = 0;
}

/* Whole blocks are used up, so no two draws overlap. Nothing is kept of what
 * was handed out. */
static void draw_block(struct random_stream *r, uint8_t *to, size_t size)
{
    uint8_t *block;

    CHECK(size <= RANDOM_BLOCK_SIZE && r->ahead <= RANDOM_AHEAD_MAX);
    if (r->ahead == 0) {
        memset(r->ahead_bytes, 0, sizeof r->ahead_bytes);
        (void)crypto_stream_chacha20_xor_ic(
            r->ahead_bytes[0], r->ahead_bytes[0], sizeof r->ahead_bytes,
            no_nonce, r->counter, r->key);
        r->ahead = RANDOM_AHEAD_MAX;
    }
    block = r->ahead_bytes[RANDOM_AHEAD_MAX - r->ahead];
    memcpy(to, block, size);
    memset(block, 0, RANDOM_BLOCK_SIZE);
    r->ahead--;
    r->counter++;
}

void random_bytes_draw(struct random_stream *r, void *ret_bytes, size_t size)
{
    uint8_t *to = ret_bytes;

    if (size == 0)
        return;
    if (size <= RANDOM_BLOCK_SIZE) {
        draw_block(r, to, size);
        return;
    }
    memset(to, 0, size);
    (void)crypto_stream_chacha20_xor_ic(to, to, size, no_nonce, r->counter,
                                        r->key);
    r->counter += (size + RANDOM_BLOCK_SIZE - 1) / RANDOM_BLOCK_SIZE;
    r->ahead = 0;
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
