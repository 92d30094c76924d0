/* What the unit tests of crdt/ share: names for incarnations and dots, a key
 * pair, and cmocka's includes in the order that it wants. */
#ifndef TESTS_UNIT_SUPPORT_H
#define TESTS_UNIT_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "crdt/entry.h"

struct key_pair {
    uint8_t public_key[32];
    uint8_t secret_key[64];
};

/* Initialises libsodium; every main() calls it first. */
void support_init(void);
struct key_pair support_key_pair(uint8_t n);       /* the same for equal n */
struct incarnation support_incarnation(uint8_t n); /* ordered as n */
struct dot support_dot(uint8_t n, uint64_t seq);
struct slice support_text(const char *text);
/* A put of value to key, everything else empty. */
struct op support_put(const char *key, const char *value);
struct op support_op(enum op_kind kind, const char *key, const char *element);
void support_assert_slices(struct slice a, struct slice b);

#endif
