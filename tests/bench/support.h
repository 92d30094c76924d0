/* What the benchmark programs share: a clock, latencies, random numbers, and
 * just enough of HTTP to talk to a server of one's own. A program that cannot
 * go on ends with a sentence: a figure must never be made up. */
#ifndef TESTS_BENCH_SUPPORT_H
#define TESTS_BENCH_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Prints to standard error and exits with 1. */
_Noreturn void bench_fail(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

uint64_t bench_now_ns(void); /* monotonic */

/* xorshift64*: fast, and the same numbers in every run. state is not 0. */
uint64_t bench_random(uint64_t *state);

/* A whole number of an argument; anything else ends the program. */
uint64_t bench_number(const char *text, const char *name);

/* A list that grows; in the unit of its user. */
struct bench_samples {
    uint64_t *values; /* owned */
    size_t count;
    size_t capacity;
};
void bench_samples_add(struct bench_samples *s, uint64_t value);
/* 0 < per_mille <= 1000; sorts. 0 when there is none. */
uint64_t bench_samples_at(struct bench_samples *s, unsigned per_mille);
void bench_samples_clear(struct bench_samples *s);
void bench_samples_release(struct bench_samples *s);

/* A connected loopback socket, without delays. port in host order. */
int bench_connect(uint16_t port);
/* Writes all of it or ends the program; the socket may be non-blocking. */
void bench_send(int fd, const char *bytes, size_t size);

/* One HTTP answer at the start of bytes. */
struct bench_answer {
    unsigned status;
    size_t head; /* bytes up to the body */
    size_t size; /* bytes of the whole answer, framing included */
};
/* False when more bytes are needed. Ends the program on nonsense. The bytes
 * are terminated by a NUL that does not count. */
bool bench_answer_parse(const char *bytes, size_t size,
                        struct bench_answer *ret_answer);
/* The value of a header field, or NULL; not terminated. */
const char *bench_answer_field(const char *bytes, const struct bench_answer *a,
                               const char *name);

/* Base64 of the bytes, terminated; into 4 * (size + 2) / 3 + 1 bytes. */
void bench_base64(char *ret_text, const void *bytes, size_t size);

#endif
