/* A deterministic stream of random bytes from a 32-byte seed (ChaCha20).
 *
 * The sans-I/O layers draw nonces and shuffles from it: production seeds it
 * from the kernel, the simulator from the run's seed. */
#ifndef CRDT_BASE_RANDOM_H
#define CRDT_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#define RANDOM_BLOCK_SIZE 64
#define RANDOM_AHEAD_MAX                                                       \
    8 /* blocks; ChaCha20 computes so many as fast as one */

struct random_stream {
    uint8_t key[32];
    uint64_t counter; /* blocks handed out */
    uint64_t ahead;   /* blocks computed beyond them: the last in ahead_bytes */
    uint8_t ahead_bytes[RANDOM_AHEAD_MAX][RANDOM_BLOCK_SIZE];
};

void random_init(struct random_stream *r, const uint8_t seed[32]);
void random_bytes_draw(struct random_stream *r, void *ret_bytes, size_t size);
uint64_t random_u64(struct random_stream *r);
/* Uniform in 0 .. bound - 1; bound >= 1. */
uint64_t random_below(struct random_stream *r, uint64_t bound);

#endif
