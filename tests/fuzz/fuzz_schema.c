/* Goal: no key and no record of a damaged store crashes what decodes it. A
 * checksum stands before each, but checksums collide. Method, by the first
 * byte: the input as a key; as a sealed record; as the payload of a head, an
 * actor or an entry; as a fact that is stored under a name. What decodes is
 * packed againto the same bytes. */
#include <stdint.h>
#include <string.h>

#include "crdt/base/check.h"
#include "node/schema.h"
#include "node/snapshot_scan.h"
#include "tests/fuzz/support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct actors *three_actors(void)
{
    static struct actors actors;
    static bool made;
    uint8_t i;

    for (i = 0; !made && i < 3; i++) {
        struct incarnation incarnation = fuzz_incarnation((uint8_t)(9 - i));
        uint32_t number;

        if (i == 0)
            CHECK(actors_init(&actors) == 0);
        CHECK(actors_intern(&actors, &incarnation, &number) == 0);
        CHECK(number == i);
    }
    made = true;
    return &actors;
}

static void try_key(struct slice key)
{
    struct schema_key again;
    struct entry_id id;
    uint64_t revision;
    uint32_t actor;

    if (schema_parse_entry(&id, key) == 0) {
        schema_key_entry(&again, &id);
        again.bytes[0] =
            schema_prefix_in(again.bytes[0], schema_prefix_bank(key.data[0]));
        CHECK(slice_equal(schema_key_slice(&again), key));
    }
    if (schema_parse_actor(&actor, key) == 0) {
        schema_key_actor(&again, actor);
        CHECK(slice_equal(schema_key_slice(&again), key));
    }
    if (schema_parse_revision(&revision, key) == 0) {
        schema_key_revision(&again, revision);
        CHECK(slice_equal(schema_key_slice(&again), key));
    }
}

static void try_record(struct slice bytes)
{
    struct slice key = slice_of_string("a key");
    struct slice payload;
    struct buffer record;

    (void)schema_record_open(&payload, key, bytes);
    buffer_init(&record, bytes.size + 64);
    schema_record_begin(&record);
    buffer_append_slice(&record, bytes);
    CHECK(schema_record_seal(&record, key) == 0);
    CHECK(schema_record_open(&payload, key, buffer_slice(&record)) == 0);
    CHECK(slice_equal(payload, bytes));
    CHECK(schema_record_open(&payload, slice_of_string("another"),
                             buffer_slice(&record)) != 0);
    buffer_release(&record);
}

static void try_head(struct slice payload)
{
    struct schema_head h;
    struct buffer out;

    if (schema_head_unpack(&h, payload) != 0)
        return;
    buffer_init(&out, payload.size);
    schema_head_pack(&out, &h);
    CHECK(slice_equal(buffer_slice(&out), payload));
    buffer_release(&out);
}

static void try_actor(struct slice payload)
{
    struct schema_actor a;
    struct buffer out;

    if (schema_actor_unpack(&a, payload) != 0)
        return;
    buffer_init(&out, payload.size);
    schema_actor_pack(&out, &a);
    CHECK(slice_equal(buffer_slice(&out), payload));
    buffer_release(&out);
}

static void try_entry(struct slice payload)
{
    const struct actors *actors = three_actors();
    struct entry_local local = {0};
    struct buffer out;
    struct entry e;

    entry_init(&e);
    if (schema_entry_unpack(&e, &local, payload, actors) == 0) {
        buffer_init(&out, payload.size);
        schema_entry_pack(&out, &e, &local, actors);
        CHECK(slice_equal(buffer_slice(&out), payload));
        (void)entry_resolve(&e, 1);
        buffer_release(&out);
    }
    entry_release(&e);
}

static void try_fact(struct slice bytes)
{
    struct snapshot_memory memory;
    struct buffer out;

    if (snapshot_memory_unpack(&memory, bytes) != 0)
        return;
    buffer_init(&out, bytes.size);
    snapshot_memory_pack(&out, &memory);
    CHECK(slice_equal(buffer_slice(&out), bytes));
    buffer_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const tries[])(struct slice bytes) = {
        try_key, try_record, try_head, try_actor, try_entry, try_fact};

    if (size == 0)
        return 0;
    (void)fuzz_keys_of(FUZZ_NODE);
    tries[data[0] % (sizeof tries / sizeof tries[0])](
        slice_of(data + 1, size - 1));
    return 0;
}
