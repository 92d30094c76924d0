/* Goal: no delta, heartbeat, name of one or list of sealed keys makes its
 * decoder crash or leak. Method: the input as each; and as the body of one that
 * is signed rightly, so that the fields behind the signature are reached. */
#include <sodium.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "backup/delta.h"
#include "crdt/base/pack.h"
#include "crdt/sign.h"
#include "node/sealed_keys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(struct slice bytes, const uint8_t public_key[32])
{
    struct snapshot_keys keys;
    struct announcement a;
    struct heartbeat h;
    struct delta d;

    if (delta_decode(&d, bytes, public_key, NULL) == 0) {
        struct buffer content;

        snapshot_keys_derive(&keys, &d.mesh);
        buffer_init(&content, SNAPSHOT_CHUNK_MAX);
        (void)delta_events(&content, &d, &keys, NULL);
        buffer_release(&content);
    }
    (void)heartbeat_decode(&h, bytes, public_key, NULL);
    (void)announcement_decode(&a, bytes, public_key, NULL);
}

static void decode_signed(struct slice body, const char *domain,
                          const uint8_t public_key[32],
                          const uint8_t secret_key[64])
{
    uint8_t signature[SIGN_SIZE];
    struct buffer out;

    if (sign_make(signature, domain, body, secret_key) != 0)
        return;
    buffer_init(&out, DELTA_SIZE_MAX);
    pack_array(&out, 2);
    pack_bin(&out, body);
    pack_bytes(&out, signature, sizeof signature);
    decode(buffer_slice(&out), public_key);
    buffer_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t recipients[SEALED_RECIPIENTS_MAX][32];
    const uint8_t seed[32] = {1};
    uint8_t public_key[32];
    uint8_t secret_key[64];
    uint64_t sequence;
    uint64_t number;
    size_t count;
    char text[64];

    if (sodium_init() < 0)
        return 0;
    (void)crypto_sign_seed_keypair(public_key, secret_key, seed);
    decode(slice_of(data, size), public_key);
    decode_signed(slice_of(data, size), "confmesh delta v1", public_key,
                  secret_key);
    decode_signed(slice_of(data, size), "confmesh heartbeat v1", public_key,
                  secret_key);
    decode_signed(slice_of(data, size), "confmesh announcement v1", public_key,
                  secret_key);
    (void)sealed_keys_decode(slice_of(data, size), recipients, &count);
    if (size < sizeof text) {
        memcpy(text, data, size);
        text[size] = '\0';
        (void)delta_name_parse(&sequence, &number, text);
    }
    return 0;
}
