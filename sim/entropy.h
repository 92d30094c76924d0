/* Entropy: libsodium's random bytes, replaced by a stream of the run's seed.
 *
 * Production code draws key pairs and nonces from libsodium; in a run they come
 * from the stream of the node whose code is running, so that one node's draws
 * do not shift another's. */
#ifndef SIM_ENTROPY_H
#define SIM_ENTROPY_H

#include "crdt/base/random.h"

/* From now on libsodium draws from stream (borrowed). */
void sim_entropy_use(struct random_stream *stream);
/* A stream of its own for (seed, purpose, number). */
void sim_entropy_stream(struct random_stream *ret_stream, uint64_t seed,
                        const char *purpose, uint64_t number);

#endif
