/* Goal: neither a token's text nor the stored table of tokens crashes its
 * decoder, and both are canonical. Method, by the first byte: the input as
 * text; as the bytes behind the prefix and the base64; as a stored table. */
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "crdt/base/check.h"
#include "node/token.h"
#include "tests/fuzz/support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_text(const char *text)
{
    char again[TOKEN_TEXT_MAX];
    struct cm_detail detail;
    struct token t;
    struct token u;

    if (token_parse(&t, text, &detail) != 0)
        return;
    CHECK(t.addresses_count >= 1 && t.addresses_count <= TOKEN_ADDRESSES_MAX);
    CHECK(token_format(again, &t) == 0);
    CHECK(strstr(text, again) != NULL); /* but for white space around it */
    CHECK(token_parse(&u, again, &detail) == 0);
    CHECK(memcmp(&t, &u, sizeof t) == 0);
}

static void try_bytes(struct slice bytes)
{
    char text[TOKEN_TEXT_MAX] = "cm1-";

    if (bytes.size > TOKEN_TEXT_MAX / 2)
        return;
    (void)sodium_bin2base64(text + 4, sizeof text - 4, bytes.data, bytes.size,
                            sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    try_text(text);
}

static void try_table(struct slice bytes)
{
    static const uint8_t secret[16];
    static const uint8_t sign_key[32];
    const struct redemption *known;
    struct token_record *record;
    struct token_table t;
    struct buffer out;
    size_t i;

    if (token_table_decode(&t, bytes) != 0)
        return;
    CHECK(t.count <= TOKENS_MAX);
    buffer_init(&out, bytes.size);
    token_table_encode(&out, &t);
    CHECK(slice_equal(buffer_slice(&out), bytes));
    buffer_release(&out);
    for (i = 0; i < t.count; i++) {
        CHECK(t.records[i].redemptions_count <= t.records[i].uses);
        (void)token_table_find(&t, t.records[i].id, secret, sign_key, 1,
                               &record, &known);
    }
    token_table_release(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text;

    if (size == 0)
        return 0;
    (void)fuzz_keys_of(FUZZ_NODE);
    switch (data[0] % 3) {
    case 0:
        text = malloc(size);
        CHECK(text != NULL);
        memcpy(text, data + 1, size - 1);
        text[size - 1] = '\0';
        try_text(text);
        free(text);
        break;
    case 1:
        try_bytes(slice_of(data + 1, size - 1));
        break;
    default:
        try_table(slice_of(data + 1, size - 1));
        break;
    }
    return 0;
}
