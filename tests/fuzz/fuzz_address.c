/* Goal: neither the text nor the packed form of an address crashes its decoder,
 * and both have one form only. */
#include <stdint.h>
#include <string.h>

#include "crdt/base/check.h"
#include "gossip/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_text(const char *text)
{
    char again[ADDRESS_TEXT_SIZE];
    struct address a;
    struct address b;

    if (address_parse(&a, text) != 0)
        return;
    address_format(again, &a);
    CHECK(address_parse(&b, again) == 0);
    CHECK(address_equal(&a, &b));
}

static void try_packed(struct slice bytes)
{
    struct address a;
    struct unpacker u;
    struct buffer out;

    unpack_init(&u, bytes);
    address_unpack(&u, &a);
    if (unpack_finish(&u) != 0)
        return;
    buffer_init(&out, 64);
    address_pack(&out, &a);
    CHECK(slice_equal(buffer_slice(&out), bytes));
    buffer_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[256] = "";

    if (size < sizeof text) {
        if (size > 0)
            memcpy(text, data, size);
        try_text(text);
    }
    try_packed(slice_of(data, size));
    return 0;
}
