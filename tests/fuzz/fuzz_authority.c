/* Goal: no text crashes the decoder of the authority's file, and what is
 * accepted gives the same authority when it is written and read again. Method,
 * by the first byte: the input as the file's text; as the bytes behind the
 * prefix and the base64. The passphrase is empty, so that nothing is spent on
 * Argon2. */
#include <sodium.h>
#include <stdint.h>
#include <string.h>

#include "crdt/authority.h"
#include "crdt/base/check.h"
#include "tests/fuzz/support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_text(struct slice text)
{
    static const uint8_t random[AUTHORITY_RANDOM_SIZE];
    struct slice none = slice_of("", 0);
    struct authority a;
    struct authority again;
    struct buffer out;
    bool encrypted = false;
    int error = authority_decode(&a, text, none, &encrypted);

    CHECK(error != 0 || !encrypted);
    if (error != 0)
        return;
    buffer_init(&out, AUTHORITY_FILE_SIZE_MAX);
    CHECK(authority_encode(&out, &a, none, random) == 0);
    CHECK(authority_decode(&again, buffer_slice(&out), none, NULL) == 0);
    CHECK(memcmp(&a, &again, sizeof a) == 0);
    authority_clear(&a);
    authority_clear(&again);
    buffer_release(&out);
}

static void try_bytes(struct slice bytes)
{
    char coded[2 * AUTHORITY_FILE_SIZE_MAX];
    struct buffer text;

    if (bytes.size > AUTHORITY_FILE_SIZE_MAX)
        return;
    (void)sodium_bin2base64(coded, sizeof coded, bytes.data, bytes.size,
                            sodium_base64_VARIANT_ORIGINAL);
    buffer_init(&text, sizeof coded + 64);
    buffer_append_string(&text, "confmesh-authority-1:");
    buffer_append_string(&text, coded);
    try_text(buffer_slice(&text));
    buffer_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    (void)fuzz_keys_of(FUZZ_NODE);
    if ((data[0] & 1) == 0)
        try_text(slice_of(data + 1, size - 1));
    else
        try_bytes(slice_of(data + 1, size - 1));
    return 0;
}
