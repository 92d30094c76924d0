/* Incarnation: one life of one data directory, the CRDT actor.
 * Dot: (incarnation, seq), names one event for ever.
 *
 * Source: Almeida et al., "Scalable and Accurate Causality Tracking for
 * Eventually Consistent Stores" (2014), dotted version vectors. */
#ifndef CRDT_DOT_H
#define CRDT_DOT_H

#include <string.h>

#include "crdt/base/pack.h"

#define INCARNATION_SIZE 16
#define INCARNATION_TEXT_SIZE (2 * INCARNATION_SIZE + 1)
#define DOT_TEXT_SIZE (INCARNATION_TEXT_SIZE + 21)

struct incarnation {
    uint8_t bytes[INCARNATION_SIZE]; /* random */
};

struct dot {
    struct incarnation incarnation;
    uint64_t seq; /* 1, 2, 3, … without a gap; 0 in no event */
};

/* These two are at the bottom of every search, hence here. */
static inline bool incarnation_equal(const struct incarnation *a,
                                     const struct incarnation *b)
{
    return memcmp(a->bytes, b->bytes, INCARNATION_SIZE) == 0;
}

static inline int incarnation_compare(const struct incarnation *a,
                                      const struct incarnation *b)
{
    uint64_t x;
    uint64_t y;

    memcpy(&x, a->bytes, sizeof x);
    memcpy(&y, b->bytes, sizeof y);
    if (x != y) { /* random bytes: nearly always */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        x = __builtin_bswap64(x);
        y = __builtin_bswap64(y);
#endif
        return x < y ? -1 : 1;
    }
    return memcmp(a->bytes + sizeof x, b->bytes + sizeof y,
                  INCARNATION_SIZE - sizeof x);
}

void incarnation_format(char ret_text[INCARNATION_TEXT_SIZE],
                        const struct incarnation *i);

bool dot_equal(const struct dot *a, const struct dot *b);
int dot_compare(const struct dot *a, const struct dot *b);
/* "incarnation-in-hex:seq", the causal token of the API. */
void dot_format(char ret_text[DOT_TEXT_SIZE], const struct dot *d);
int dot_parse(struct dot *ret_dot, const char *text);

void dot_pack(struct buffer *out, const struct dot *d);   /* two values */
void dot_unpack(struct unpacker *u, struct dot *ret_dot); /* seq >= 1 */

#endif
