#include "support.h"

#include <sodium.h>
#include <string.h>

void support_init(void)
{
    if (sodium_init() < 0)
        fail();
}

struct key_pair support_key_pair(uint8_t n)
{
    struct key_pair ret;
    uint8_t seed[crypto_sign_SEEDBYTES];

    memset(seed, n, sizeof seed);
    (void)crypto_sign_seed_keypair(ret.public_key, ret.secret_key, seed);
    return ret;
}

struct incarnation support_incarnation(uint8_t n)
{
    struct incarnation ret;

    memset(ret.bytes, n, sizeof ret.bytes);
    return ret;
}

struct dot support_dot(uint8_t n, uint64_t seq)
{
    return (struct dot){.incarnation = support_incarnation(n), .seq = seq};
}

struct slice support_text(const char *text)
{
    return slice_of_string(text);
}

struct op support_put(const char *key, const char *value)
{
    return (struct op){.kind = OP_PUT,
                       .key = slice_of_string(key),
                       .value = slice_of_string(value)};
}

struct op support_op(enum op_kind kind, const char *key, const char *element)
{
    struct op ret = {.kind = kind, .key = slice_of_string(key)};

    if (element != NULL)
        ret.element = slice_of_string(element);
    return ret;
}

void support_assert_slices(struct slice a, struct slice b)
{
    assert_int_equal(a.size, b.size);
    if (a.size > 0)
        assert_memory_equal(a.data, b.data, a.size);
}
