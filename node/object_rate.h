/* A bound on the bytes that uploads send in a second: one bucket for all
 * targets of a node, however many threads put at a time. What is put is sent in
 * slices, each of which waits for its turn, so that the line never sees more
 * than a slice at once. */
#ifndef NODE_OBJECT_RATE_H
#define NODE_OBJECT_RATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define OBJECT_RATE_MIN 16384u /* bytes per second; a slice takes a second */
#define OBJECT_RATE_SLICE 16384u

struct object_rate {
    pthread_mutex_t mutex;
    uint64_t bytes_per_s; /* 0: no bound */
    uint64_t free_ns;     /* monotonic: all that was granted has been sent */
};

void object_rate_init(struct object_rate *r, uint64_t bytes_per_s);
void object_rate_release(struct object_rate *r);
/* How much of size to send at once. r may be NULL. */
size_t object_rate_slice(const struct object_rate *r, size_t size);
/* Waits until so many bytes may be sent, or until stopping. On any thread; r
 * may be NULL. */
void object_rate_wait(struct object_rate *r, size_t size,
                      const atomic_bool *stopping);
/* How long size bytes may take at worst, ms; 0: no bound. */
uint64_t object_rate_ms(const struct object_rate *r, size_t size);

#endif
