/* Goal: the pull reader never reads beyond its bytes, whatever is asked of it,
 * and accepts only what the packer writes. Method: the input is a script [count
 * (1 byte), one byte for each read], then the bytes that are read; what each
 * read gave is packed again and has to be the bytes that it took. */
#include <stdint.h>

#include "crdt/base/check.h"
#include "crdt/base/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* False when nothing is to be compared (a value was skipped). */
static bool read_one(struct unpacker *u, uint8_t what, struct buffer *out)
{
    uint8_t bytes[32];
    size_t count = 1 + what / 16;
    struct slice text;

    switch (what % 8) {
    case 0:
        pack_uint(out, unpack_uint(u, UINT64_MAX >> (what & 0x30)));
        return true;
    case 1:
        pack_bool(out, unpack_bool(u));
        return true;
    case 2:
        if (!unpack_try_nil(u))
            return false;
        pack_nil(out);
        return true;
    case 3:
        pack_bin(out, unpack_bin(u, 1u << count));
        return true;
    case 4:
        unpack_bytes(u, bytes, count);
        pack_bytes(out, bytes, count);
        return true;
    case 5:
        text = unpack_string(u, 1u << count);
        CHECK(utf8_is_valid(text));
        pack_string(out, text);
        return true;
    case 6:
        pack_array(out, unpack_array(u, 1u << count));
        return true;
    default:
        unpack_skip(u);
        return false;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct unpacker u;
    struct buffer out;
    size_t count;
    size_t i;

    if (size == 0)
        return 0;
    count = data[0] < size - 1 ? data[0] : size - 1;
    unpack_init(&u, slice_of(data + 1 + count, size - 1 - count));
    buffer_init(&out, 2 * size + 64);
    for (i = 0; i < count; i++) {
        size_t before = u.position;
        bool compare;

        buffer_clear(&out);
        compare = read_one(&u, data[1 + i], &out);
        CHECK(u.position >= before && u.position <= u.in.size);
        if (u.error == 0 && compare)
            CHECK(
                slice_equal(buffer_slice(&out),
                            slice_of(u.in.data + before, u.position - before)));
    }
    CHECK(unpack_finish(&u) != 0 || u.position == u.in.size);
    buffer_release(&out);
    return 0;
}
