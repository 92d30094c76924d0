/* Goal: no frame of a peer crashes its decoder, and what is accepted is
 * canonical: encoded again it is the same bytes. */
#include <stdint.h>
#include <string.h>

#include "crdt/base/check.h"
#include "node/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode_events(struct buffer *out, struct frame *f)
{
    struct buffer events;
    size_t i;

    buffer_init(&events, CHANNEL_FRAME_MAX);
    for (i = 0; i < f->events_count; i++)
        pack_bin(&events, unpack_bin(&f->events, EVENT_SIZE_MAX));
    CHECK(f->events.error == 0 && events.error == 0);
    frame_events(out, buffer_slice(&events), f->events_count);
    buffer_release(&events);
}

static void encode_orders(struct buffer *out, struct frame *f)
{
    struct buffer events;
    size_t i;

    buffer_init(&events, CHANNEL_FRAME_MAX);
    for (i = 0; i < f->events_count; i++)
        pack_bin(&events, unpack_bin(&f->events, EVICTION_SIZE_MAX));
    CHECK(f->events.error == 0 && events.error == 0);
    frame_orders(out, buffer_slice(&events), f->events_count);
    buffer_release(&events);
}

static void encode(struct buffer *out, struct frame *f)
{
    switch (f->kind) {
    case FRAME_HELLO:
        frame_hello(out, &f->address, &f->generation);
        break;
    case FRAME_SYNC:
        frame_sync(out, &f->vv, f->answer);
        break;
    case FRAME_EVENTS:
        encode_events(out, f);
        break;
    case FRAME_SYNC_END:
        frame_sync_end(out, f->needs_cut);
        break;
    case FRAME_JOIN:
        frame_join(out, f->token_id, f->token_secret, f->name, &f->address);
        break;
    case FRAME_GRANT:
        frame_grant(out, f->certificate, f->generation_order, f->addresses,
                    f->addresses_count);
        break;
    case FRAME_REFUSED:
        frame_refused(out, f->code, f->text);
        break;
    case FRAME_SPONSOR:
        frame_sponsor(out, &f->incarnation, f->level, f->purpose, f->cut,
                      f->messages);
        break;
    case FRAME_SNAPSHOT:
        frame_snapshot(out, f->bytes, f->last);
        break;
    case FRAME_PUSH:
        frame_push(out, f->bytes);
        break;
    case FRAME_COMPARE:
        frame_compare(out, f->bytes);
        break;
    case FRAME_ASK:
        frame_ask(out, f->dots, f->dots_count, f->wait_ms);
        break;
    case FRAME_COMMITTED:
        frame_committed(out, f->dots, f->dots_count);
        break;
    case FRAME_CUT_ASK:
        frame_cut_ask(out, f->purpose, f->cut, f->messages);
        break;
    case FRAME_ORDERS:
        encode_orders(out, f);
        break;
    case FRAME_CUT:
        frame_cut(out, f->cut, f->messages, f->total, f->cut_bytes);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer out;
    struct frame f;

    if (frame_decode(&f, slice_of(data, size)) != 0)
        return 0;
    CHECK(f.kind >= FRAME_HELLO && f.kind <= FRAME_KIND_LAST);
    buffer_init(&out, 2 * CHANNEL_FRAME_MAX);
    encode(&out, &f);
    CHECK(slice_equal(buffer_slice(&out), slice_of(data, size)));
    buffer_release(&out);
    frame_release(&f);
    return 0;
}
