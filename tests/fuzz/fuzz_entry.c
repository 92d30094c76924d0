/* Goal: an entry out of a snapshot decodes canonically or not at all, because
 * equal state has to have equal bytes. Method: what decodes is packed again to
 * the same bytes, resolved, and taken out of a digest that it was put into. */
#include <stdint.h>

#include "crdt/base/check.h"
#include "crdt/digest.h"
#include "tests/fuzz/support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct entry_id *id, const struct entry *e,
                  struct slice bytes)
{
    struct resolution r = entry_resolve(e, UINT64_C(1) << 60);
    struct digest d;
    struct digest zero;
    struct buffer out;
    size_t i;

    CHECK(e->count == 0 || r.winner != NULL);
    CHECK(!r.present || (r.revoke == NULL && !r.expired));
    digest_init(&d);
    digest_init(&zero);
    for (i = 0; i < e->count && i < 8; i++)
        digest_add(&d, id, &e->siblings[i]);
    while (i-- > 0)
        digest_remove(&d, id, &e->siblings[i]);
    CHECK(digest_equal(&d, &zero));
    buffer_init(&out, bytes.size);
    entry_pack(&out, id, e);
    CHECK(slice_equal(buffer_slice(&out), bytes));
    buffer_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct entry_id id;
    struct unpacker u;
    struct entry e;

    (void)fuzz_keys_of(FUZZ_NODE);
    entry_init(&e);
    unpack_init(&u, slice_of(data, size));
    entry_unpack(&u, &id, &e);
    if (u.error == 0)
        check(&id, &e, slice_of(data, u.position));
    entry_release(&e);
    return 0;
}
