#include "tests/fuzz/support.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/check.h"

#define OWNERS 16

const struct fuzz_keys *fuzz_keys_of(enum fuzz_owner owner)
{
    static struct fuzz_keys keys[OWNERS];
    static bool made[OWNERS];

    CHECK(owner < OWNERS);
    if (!made[owner]) {
        uint8_t seed[32] = {(uint8_t)owner};

        CHECK(sodium_init() >= 0);
        (void)crypto_sign_seed_keypair(keys[owner].public_key,
                                       keys[owner].secret_key, seed);
        made[owner] = true;
    }
    return &keys[owner];
}

struct mesh_id fuzz_mesh(void)
{
    return mesh_id_of(fuzz_keys_of(FUZZ_AUTHORITY)->public_key);
}

struct incarnation fuzz_incarnation(uint8_t n)
{
    struct incarnation ret;

    memset(ret.bytes, n, sizeof ret.bytes);
    return ret;
}

static struct certificate certificate_of(enum fuzz_owner owner, unsigned roles)
{
    struct certificate ret = {
        .mesh = fuzz_mesh(),
        .roles = roles,
        .prefixes_count = 1,
        .not_before_ms = 1,
        .not_after_ms = UINT64_MAX,
    };

    memcpy(ret.sign_key, fuzz_keys_of(owner)->public_key, 32);
    memset(ret.box_key, (int)owner, sizeof ret.box_key);
    memcpy(ret.name, "node", sizeof "node");
    return ret;
}

void fuzz_issuer_certificate(struct buffer *out)
{
    struct certificate c =
        certificate_of(FUZZ_ISSUER, ROLE_WRITER | ROLE_ISSUER);

    CHECK(certificate_encode(out, &c,
                             fuzz_keys_of(FUZZ_AUTHORITY)->secret_key) == 0);
}

struct certificate fuzz_node_certificate(void)
{
    return certificate_of(FUZZ_NODE, ROLE_WRITER);
}
