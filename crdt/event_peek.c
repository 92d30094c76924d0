#include "crdt/event_peek.h"

#include "crdt/base/error.h"
#include "crdt/event.h"

int event_peek(struct event_peek *ret_peek, struct slice bytes)
{
    struct unpacker outer;
    struct unpacker u;
    struct event_peek peek = {0};
    uint64_t format;

    unpack_init(&outer, bytes);
    unpack_array_of(&outer, 3);
    peek.header = unpack_bin(&outer, EVENT_SIZE_MAX);
    unpack_init(&u, peek.header);
    if (outer.error != 0)
        return outer.error;
    unpack_array_of(&u, 10);
    format = unpack_uint(&u, UINT64_MAX);
    unpack_bytes(&u, peek.mesh.bytes, sizeof peek.mesh.bytes);
    peek.generation.number = unpack_uint(&u, UINT64_MAX);
    unpack_bytes(&u, peek.generation.hash, sizeof peek.generation.hash);
    dot_unpack(&u, &peek.dot);
    peek.hlc = unpack_uint(&u, UINT64_MAX);
    if (u.error != 0)
        return u.error;
    if (format != EVENT_FORMAT)
        return CM_ERR_FORMAT_VERSION;
    *ret_peek = peek;
    return 0;
}
