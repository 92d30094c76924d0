/* Goal: no comparison that a peer sends crashes its decoder, and what is
 * accepted is canonical: encoded again it is the same bytes. */
#include <stdint.h>

#include "crdt/base/check.h"
#include "node/compare_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct compare_message m; /* large */
static struct compare_result r;

static void encode_parts(struct buffer *out)
{
    r.vv = m.vv;
    r.parts_count = m.parts_count;
    for (size_t i = 0; i < m.parts_count; i++)
        r.parts[i] = m.parts[i];
    compare_message_parts(out, m.id, &r);
}

static void encode_keys(struct buffer *out)
{
    r.vv = m.vv;
    r.more = m.more;
    r.items_count = m.items_count;
    for (size_t i = 0; i < m.items_count; i++)
        r.items[i] = m.items[i];
    compare_message_keys(out, m.id, &r);
}

static void encode_entries(struct buffer *out)
{
    struct buffer entries;

    buffer_init(&entries, 4 * COMPARE_MESSAGE_MAX);
    for (size_t i = 0; i < m.entries_count; i++) {
        struct slice packed;
        enum compare_entry_state state =
            compare_message_entry(&m.entries, &packed);

        compare_message_put_entry(&entries, state, packed);
    }
    CHECK(m.entries.error == 0 && entries.error == 0);
    compare_message_entries(out, m.id, &m.vv, buffer_slice(&entries),
                            m.entries_count);
    buffer_release(&entries);
}

static void encode(struct buffer *out)
{
    switch (m.kind) {
    case COMPARE_ASK_STATE:
    case COMPARE_ASK_PARTS:
    case COMPARE_ASK_KEYS:
    case COMPARE_ASK_ENTRIES:
        compare_message_ask(out, m.kind, m.id, &m.vv, m.any_vv, m.keys,
                            m.keys_count);
        break;
    case COMPARE_STATE:
        compare_message_state(out, m.id, &m.vv, &m.digest, &m.lanes);
        break;
    case COMPARE_PARTS:
        encode_parts(out);
        break;
    case COMPARE_KEYS:
        encode_keys(out);
        break;
    case COMPARE_ENTRIES:
        encode_entries(out);
        break;
    case COMPARE_REFUSED:
        compare_message_refused(out, m.id, &m.vv, m.code);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer out;

    if (compare_message_decode(&m, slice_of(data, size)) != 0)
        return 0;
    CHECK(m.kind >= COMPARE_ASK_STATE && m.kind <= COMPARE_KIND_LAST);
    buffer_init(&out, 4 * COMPARE_MESSAGE_MAX);
    encode(&out);
    CHECK(slice_equal(buffer_slice(&out), slice_of(data, size)));
    buffer_release(&out);
    return 0;
}
