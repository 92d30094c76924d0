#include "crdt/base/hash.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/check.h"

_Static_assert(HASH_SIZE == crypto_generichash_BYTES, "BLAKE2b-256");

static struct hash hash_with(const uint8_t *key, size_t key_size,
                             const char *domain, struct slice data)
{
    crypto_generichash_state state;
    struct hash ret;

    CHECK(domain != NULL);
    (void)crypto_generichash_init(&state, key, key_size, HASH_SIZE);
    (void)crypto_generichash_update(&state, (const uint8_t *)domain,
                                    strlen(domain) + 1);
    if (data.size > 0)
        (void)crypto_generichash_update(&state, data.data, data.size);
    (void)crypto_generichash_final(&state, ret.bytes, HASH_SIZE);
    return ret;
}

struct hash hash_of(const char *domain, struct slice data)
{
    return hash_with(NULL, 0, domain, data);
}

struct hash hash_keyed(const uint8_t key[32], const char *domain,
                       struct slice data)
{
    return hash_with(key, 32, domain, data);
}

bool hash_equal(const struct hash *a, const struct hash *b)
{
    return memcmp(a->bytes, b->bytes, HASH_SIZE) == 0;
}

int hash_compare(const struct hash *a, const struct hash *b)
{
    return memcmp(a->bytes, b->bytes, HASH_SIZE);
}

bool hash_is_zero(const struct hash *h)
{
    return sodium_is_zero(h->bytes, HASH_SIZE) == 1;
}

uint64_t record_checksum(struct slice key, struct slice value)
{
    static const uint8_t sip_key[crypto_shorthash_KEYBYTES] = "confmesh record";
    uint8_t inner[16];
    uint8_t ret[8];

    _Static_assert(crypto_shorthash_BYTES == 8, "SipHash-2-4");
    (void)crypto_shorthash(inner, key.data, key.size, sip_key);
    (void)crypto_shorthash(inner + 8, value.data, value.size, sip_key);
    (void)crypto_shorthash(ret, inner, sizeof inner, sip_key);
    return get_be64(ret);
}
