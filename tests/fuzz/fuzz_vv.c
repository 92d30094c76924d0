/* Goal: a peer's version vector decodes canonically or not at all. Method: what
 * decodes is packed again to the same bytes, and compared with a vector that
 * has one entry more. */
#include <stdint.h>

#include "crdt/base/check.h"
#include "tests/fuzz/support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct vv *v, struct slice bytes)
{
    struct incarnation other = fuzz_incarnation(3);
    struct hash head = {{1}};
    struct buffer out;
    struct vv more;

    buffer_init(&out, bytes.size);
    vv_pack(&out, v);
    CHECK(slice_equal(buffer_slice(&out), bytes));
    buffer_release(&out);
    vv_init(&more);
    CHECK(vv_copy(&more, v) == 0);
    CHECK(vv_equal(v, &more) && vv_dominates(v, &more));
    if (vv_find(v, &other) == NULL &&
        vv_set(&more, &other, UINT64_MAX, &head) == 0) {
        CHECK(vv_dominates(&more, v) && !vv_dominates(v, &more));
        CHECK(!vv_equal(&more, v));
    }
    vv_release(&more);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct unpacker u;
    struct vv v;
    size_t i;

    vv_init(&v);
    unpack_init(&u, slice_of(data, size));
    vv_unpack(&u, &v);
    CHECK(v.count <= VV_ENTRIES_MAX);
    for (i = 0; u.error == 0 && i < v.count; i++)
        CHECK(v.entries[i].seq >= 1);
    if (u.error == 0)
        check(&v, slice_of(data, u.position));
    vv_release(&v);
    return 0;
}
