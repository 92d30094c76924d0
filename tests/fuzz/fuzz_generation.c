/* Goal: no generation order crashes its decoder or has two encodings. Method,
 * by the first byte: the input as it is; as a body signed by the authority. */
#include <stdint.h>

#include "crdt/base/check.h"
#include "crdt/sign.h"
#include "tests/fuzz/support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_order(struct slice bytes)
{
    const struct fuzz_keys *authority = fuzz_keys_of(FUZZ_AUTHORITY);
    struct generation_order order;
    struct generation_id id;
    struct buffer out;

    if (generation_order_decode(&order, bytes, authority->public_key) != 0)
        return;
    id = generation_id_of(order.number, bytes);
    CHECK(generation_id_equal(&id, &id) && order.number >= 1);
    buffer_init(&out, GENERATION_ORDER_SIZE_MAX);
    CHECK(generation_order_encode(&out, &order, authority->secret_key) == 0);
    CHECK(slice_equal(buffer_slice(&out), bytes));
    buffer_release(&out);
    generation_order_release(&order);
}

static void try_body(struct slice body)
{
    uint8_t signature[SIGN_SIZE];
    struct buffer out;

    CHECK(sign_make(signature, "confmesh generation order v1", body,
                    fuzz_keys_of(FUZZ_AUTHORITY)->secret_key) == 0);
    buffer_init(&out, GENERATION_ORDER_SIZE_MAX);
    pack_array(&out, 2);
    pack_bin(&out, body);
    pack_bytes(&out, signature, sizeof signature);
    if (out.error == 0)
        try_order(buffer_slice(&out));
    buffer_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if ((data[0] & 1) == 0)
        try_order(slice_of(data + 1, size - 1));
    else
        try_body(slice_of(data + 1, size - 1));
    return 0;
}
