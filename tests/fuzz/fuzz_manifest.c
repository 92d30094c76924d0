/* Goal: no bytes make manifest_decode crash, leak or allocate without bound.
 * Method: the input as it is (the signature stops most of it), and the input
 * as the body of an envelope of the right shape. */
#include <stddef.h>
#include <stdint.h>

#include "backup/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(struct slice bytes)
{
    struct cm_detail detail;
    struct manifest m;

    if (manifest_decode(&m, bytes, NULL, &detail) == 0)
        manifest_release(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t signature[64];
    struct buffer wrapped;

    decode(slice_of(data, size));
    buffer_init(&wrapped, SNAPSHOT_MANIFEST_MAX);
    pack_array(&wrapped, 2);
    pack_bin(&wrapped, slice_of(data, size));
    pack_bytes(&wrapped, signature, sizeof signature);
    if (wrapped.error == 0)
        decode(buffer_slice(&wrapped));
    buffer_release(&wrapped);
    return 0;
}
