/* Goal: no event makes its decoder or the merge crash, and what is accepted is
 * canonical: encoding it again gives the same bytes, so that no two encodings
 * of one event can pass as two events. Method: first byte even: the input as an
 * event as it is; odd: as a body of (second byte) operations under a good
 * header, because nobody guesses the hash that the header has of the body. What
 * decodes is applied to entries, twice. */
#include <stdint.h>
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/digest.h"
#include "tests/fuzz/support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A sibling that op may or may not supersede, so that applying removes. */
static void add_older(struct entry *e, const struct op *op)
{
    struct sibling s = {
        .kind = op_space(op->kind) == SPACE_SET ? SIBLING_ADD : SIBLING_PUT,
        .dot = {.incarnation = fuzz_incarnation(2), .seq = 1},
        .hlc = 1,
    };

    if (op->supersedes_count > 0)
        s.dot = op->supersedes[0];
    CHECK(entry_add_sibling(e, &s) == 0);
}

static void apply(const struct event *e, const struct op *op)
{
    struct entry_id id = op_entry_id(op);
    struct entry entry;
    struct resolution r;
    struct digest d;
    struct digest zero;
    bool changed = false;
    size_t i;

    entry_init(&entry);
    digest_init(&d);
    digest_init(&zero);
    add_older(&entry, op);
    CHECK(entry_apply(&entry, op, &e->dot, e->hlc, &changed) == 0);
    CHECK(entry.count <= 2);
    CHECK(entry_apply(&entry, op, &e->dot, e->hlc, &changed) == 0);
    CHECK(!changed);
    r = entry_resolve(&entry, e->hlc);
    CHECK(!r.present || r.revoke == NULL);
    for (i = 0; i < entry.count; i++)
        digest_add(&d, &id, &entry.siblings[i]);
    for (i = 0; i < entry.count; i++)
        digest_remove(&d, &id, &entry.siblings[i]);
    CHECK(digest_equal(&d, &zero));
    entry_release(&entry);
}

static void encode_again(const struct event *e, struct slice bytes)
{
    struct event_draft draft = {
        .mesh = e->mesh,
        .generation = e->generation,
        .dot = e->dot,
        .hlc = e->hlc,
        .deps = e->deps,
        .deps_count = e->deps_count,
        .previous = e->previous,
        .ops_count = e->ops_count,
    };
    struct buffer body;
    struct buffer again;
    struct hash hash;
    struct hash expected = event_hash(e);
    size_t i;

    buffer_init(&body, EVENT_SIZE_MAX);
    buffer_init(&again, EVENT_SIZE_MAX);
    for (i = 0; i < e->ops_count; i++)
        event_body_add(&body, &e->ops[i]);
    CHECK(body.error == 0);
    draft.body = buffer_slice(&body);
    CHECK(event_encode(&again, &draft, fuzz_keys_of(FUZZ_NODE)->secret_key,
                       &hash) == 0);
    CHECK(hash_equal(&hash, &expected));
    /* All but the signature, which may be anybody's. */
    CHECK(again.size == bytes.size);
    CHECK(memcmp(again.data, bytes.data, bytes.size - SIGNATURE_SIZE) == 0);
    buffer_release(&body);
    buffer_release(&again);
}

static void try_event(struct slice bytes, bool signed_by_node)
{
    struct event e;
    size_t i;
    int error;

    if (event_decode(&e, bytes) != 0)
        return;
    error = event_verify(&e, fuzz_keys_of(FUZZ_NODE)->public_key);
    CHECK(!signed_by_node || error == 0);
    CHECK(event_verify(&e, fuzz_keys_of(FUZZ_ISSUER)->public_key) != 0);
    for (i = 0; i < e.ops_count; i++)
        apply(&e, &e.ops[i]);
    if (!e.has_unknown_op)
        encode_again(&e, bytes);
    event_release(&e);
}

static void try_body(uint8_t ops, struct slice operations)
{
    struct dot deps[] = {{.incarnation = fuzz_incarnation(7), .seq = 3}};
    struct event_draft draft = {
        .mesh = fuzz_mesh(),
        .generation = {.number = 1},
        .dot = {.incarnation = fuzz_incarnation(5), .seq = 2},
        .hlc = UINT64_C(1700000000000) << 16,
        .deps = deps,
        .deps_count = 1,
        .body = operations,
        .ops_count = ops > 0 ? ops : 1,
    };
    struct buffer out;

    buffer_init(&out, EVENT_SIZE_MAX);
    if (event_encode(&out, &draft, fuzz_keys_of(FUZZ_NODE)->secret_key, NULL) ==
        0)
        try_event(buffer_slice(&out), true);
    buffer_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    if ((data[0] & 1) == 0)
        try_event(slice_of(data + 1, size - 1), false);
    else
        try_body(data[1], slice_of(data + 2, size - 2));
    return 0;
}
