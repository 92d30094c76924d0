/* Goal: a look at an event's name never reads beyond the bytes, and never
 * disagrees with the decoder. */
#include <stdint.h>

#include "crdt/base/check.h"
#include "crdt/event.h"
#include "crdt/event_peek.h"
#include "tests/fuzz/support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_of(data, size);
    struct event_peek peek;
    struct event e;
    int error;

    (void)fuzz_keys_of(FUZZ_NODE); /* initialises libsodium */
    error = event_peek(&peek, bytes);
    CHECK(error != 0 || peek.dot.seq > 0);
    if (event_decode(&e, bytes) != 0)
        return 0;
    CHECK(error == 0);
    CHECK(dot_equal(&peek.dot, &e.dot) && peek.hlc == e.hlc);
    CHECK(mesh_id_equal(&peek.mesh, &e.mesh));
    CHECK(generation_id_equal(&peek.generation, &e.generation));
    event_release(&e);
    return 0;
}
