/* Goal: frames come back as they were sent, and whatever else arrives is an
 * error and no more. Method: one of each kind; every prefix, every byte
 * changed in every bit; bounds. */
#include "tests/unit/support.h"

#include <string.h>

#include "crdt/base/error.h"
#include "node/frame.h"

static struct address address_of(const char *text)
{
    struct address ret;

    assert_int_equal(address_parse(&ret, text), 0);
    return ret;
}

/* ---- one of each kind ---- */

static void make_events(struct buffer *out)
{
    struct buffer events;

    buffer_init(&events, 1024);
    pack_bin(&events, slice_of("first", 5));
    pack_bin(&events, slice_of("second", 6));
    frame_events(out, buffer_slice(&events), 2);
    buffer_release(&events);
}

static void make_orders(struct buffer *out)
{
    struct buffer orders;

    buffer_init(&orders, FRAME_ORDERS_BYTES_MAX);
    pack_bin(&orders, slice_of("order", 5));
    pack_bin(&orders, slice_of("retirement", 10));
    frame_orders(out, buffer_slice(&orders), 2);
    buffer_release(&orders);
}

static void make_sync(struct buffer *out)
{
    struct hash head = hash_of("test", slice_of("head", 4));
    struct incarnation one = support_incarnation(1);
    struct incarnation two = support_incarnation(2);
    struct vv vv;

    vv_init(&vv);
    assert_int_equal(vv_set(&vv, &one, 7, &head), 0);
    assert_int_equal(vv_set(&vv, &two, UINT64_MAX, &head), 0);
    frame_sync(out, &vv, true);
    vv_release(&vv);
}

static void make(struct buffer *out, enum frame_kind kind)
{
    const struct address addresses[] = {address_of("127.0.0.1:1"),
                                        address_of("[::1]:65535")};
    struct incarnation incarnation = support_incarnation(3);
    struct generation_id generation = {.number = 3, .hash = {9}};
    struct dot dots[2] = {{support_incarnation(1), 7},
                          {support_incarnation(2), UINT64_MAX}};

    switch (kind) {
    case FRAME_HELLO:
        frame_hello(out, &addresses[0], &generation);
        break;
    case FRAME_SYNC:
        make_sync(out);
        break;
    case FRAME_EVENTS:
        make_events(out);
        break;
    case FRAME_SYNC_END:
        frame_sync_end(out, true);
        break;
    case FRAME_JOIN:
        frame_join(out, (const uint8_t *)"12345678",
                   (const uint8_t *)"1234567890123456", "beta", &addresses[1]);
        break;
    case FRAME_GRANT:
        frame_grant(out, slice_of("certificate", 11), slice_of("order", 5),
                    addresses, 2);
        break;
    case FRAME_REFUSED:
        frame_refused(out, CM_ERR_EXPIRED, "too late");
        break;
    case FRAME_SPONSOR:
        frame_sponsor(out, &incarnation, LEVEL_LAST, CUT_RETURN, 7, 300);
        break;
    case FRAME_SNAPSHOT:
        frame_snapshot(out, slice_of("piece", 5), true);
        break;
    case FRAME_PUSH:
        frame_push(out, slice_of("event", 5));
        break;
    case FRAME_COMPARE:
        frame_compare(out, slice_of("message", 7));
        break;
    case FRAME_ASK:
        frame_ask(out, dots, 2, 5000);
        break;
    case FRAME_COMMITTED:
        frame_committed(out, dots, 1);
        break;
    case FRAME_CUT_ASK:
        frame_cut_ask(out, CUT_CATCH_UP, 0, 0);
        break;
    case FRAME_ORDERS:
        make_orders(out);
        break;
    case FRAME_CUT:
        frame_cut(out, UINT64_MAX, 5, 1000, 123456789);
        break;
    }
    assert_int_equal(out->error, 0);
}

static void check_sync(const struct frame *f)
{
    struct incarnation two = support_incarnation(2);

    assert_int_equal(f->vv.count, 2);
    assert_true(vv_seq(&f->vv, &two) == UINT64_MAX);
    assert_true(f->answer);
}

static void check_events(struct frame *f)
{
    assert_int_equal(f->events_count, 2);
    support_assert_slices(unpack_bin(&f->events, 100), slice_of("first", 5));
    support_assert_slices(unpack_bin(&f->events, 100), slice_of("second", 6));
    assert_int_equal(f->events.error, 0);
}

static void check_grant(const struct frame *f)
{
    struct address second = address_of("[::1]:65535");

    support_assert_slices(f->certificate, slice_of("certificate", 11));
    support_assert_slices(f->generation_order, slice_of("order", 5));
    assert_int_equal(f->addresses_count, 2);
    assert_true(address_equal(&f->addresses[1], &second));
}

static void check_join(const struct frame *f)
{
    struct address second = address_of("[::1]:65535");

    assert_memory_equal(f->token_id, "12345678", 8);
    assert_memory_equal(f->token_secret, "1234567890123456", 16);
    assert_string_equal(f->name, "beta");
    assert_true(address_equal(&f->address, &second));
}

static void check(struct frame *f)
{
    struct address first = address_of("127.0.0.1:1");
    struct incarnation incarnation = support_incarnation(3);

    switch (f->kind) {
    case FRAME_HELLO:
        assert_true(address_equal(&f->address, &first));
        assert_int_equal(f->generation.number, 3);
        assert_int_equal(f->generation.hash[0], 9);
        break;
    case FRAME_SYNC:
        check_sync(f);
        break;
    case FRAME_EVENTS:
        check_events(f);
        break;
    case FRAME_SYNC_END:
        assert_true(f->needs_cut);
        break;
    case FRAME_JOIN:
        check_join(f);
        break;
    case FRAME_GRANT:
        check_grant(f);
        break;
    case FRAME_REFUSED:
        assert_int_equal(f->code, CM_ERR_EXPIRED);
        assert_string_equal(f->text, "too late");
        break;
    case FRAME_SPONSOR:
        assert_true(incarnation_equal(&f->incarnation, &incarnation));
        assert_int_equal(f->purpose, CUT_RETURN);
        assert_int_equal(f->cut, 7);
        assert_int_equal(f->messages, 300);
        break;
    case FRAME_SNAPSHOT:
        support_assert_slices(f->bytes, slice_of("piece", 5));
        assert_true(f->last);
        break;
    case FRAME_PUSH:
        support_assert_slices(f->bytes, slice_of("event", 5));
        break;
    case FRAME_COMPARE:
        support_assert_slices(f->bytes, slice_of("message", 7));
        break;
    case FRAME_ASK:
        assert_int_equal(f->dots_count, 2);
        assert_true(f->dots[1].seq == UINT64_MAX);
        assert_int_equal(f->wait_ms, 5000);
        break;
    case FRAME_COMMITTED:
        assert_int_equal(f->dots_count, 1);
        assert_int_equal(f->dots[0].seq, 7);
        break;
    case FRAME_CUT_ASK:
        assert_int_equal(f->purpose, CUT_CATCH_UP);
        assert_int_equal(f->cut, 0);
        break;
    case FRAME_ORDERS:
        assert_int_equal(f->events_count, 2);
        break;
    case FRAME_CUT:
        assert_true(f->cut == UINT64_MAX);
        assert_int_equal(f->messages, 5);
        assert_int_equal(f->total, 1000);
        assert_int_equal(f->cut_bytes, 123456789);
        break;
    }
}

static void each_kind_comes_back(void **state)
{
    int kind;

    (void)state;
    for (kind = FRAME_HELLO; kind <= FRAME_KIND_LAST; kind++) {
        struct buffer bytes;
        struct frame f;

        buffer_init(&bytes, 4096);
        make(&bytes, (enum frame_kind)kind);
        assert_int_equal(frame_decode(&f, buffer_slice(&bytes)), 0);
        assert_int_equal(f.kind, kind);
        check(&f);
        frame_release(&f);
        buffer_release(&bytes);
    }
}

/* ---- what does not decode ---- */

static void prefixes_and_tails_are_refused(void **state)
{
    int kind;
    size_t size;

    (void)state;
    for (kind = FRAME_HELLO; kind <= FRAME_KIND_LAST; kind++) {
        struct buffer bytes;
        struct frame f;

        buffer_init(&bytes, 4096);
        make(&bytes, (enum frame_kind)kind);
        for (size = 0; size < bytes.size; size++)
            assert_true(frame_decode(&f, slice_of(bytes.data, size)) < 0);
        buffer_append_byte(&bytes, 0);
        assert_true(frame_decode(&f, buffer_slice(&bytes)) < 0);
        buffer_release(&bytes);
    }
}

/* Either an error, or another frame that is released as any. */
static void flips_are_survived(void **state)
{
    int kind;
    size_t i;

    (void)state;
    for (kind = FRAME_HELLO; kind <= FRAME_KIND_LAST; kind++) {
        struct buffer bytes;

        buffer_init(&bytes, 4096);
        make(&bytes, (enum frame_kind)kind);
        for (i = 0; i < 8 * bytes.size; i++) {
            struct frame f;

            bytes.data[i / 8] ^= (uint8_t)(1u << i % 8);
            if (frame_decode(&f, buffer_slice(&bytes)) == 0)
                frame_release(&f);
            bytes.data[i / 8] ^= (uint8_t)(1u << i % 8);
        }
        buffer_release(&bytes);
    }
}

static void assert_refused(struct buffer *bytes)
{
    struct frame f;

    assert_int_equal(bytes->error, 0);
    assert_true(frame_decode(&f, buffer_slice(bytes)) < 0);
    buffer_clear(bytes);
}

static void begin(struct buffer *out, size_t fields, uint64_t kind)
{
    pack_array(out, fields);
    pack_uint(out, kind);
}

static void bounds_are_kept(void **state)
{
    struct address first = address_of("127.0.0.1:1");
    struct buffer bytes;
    size_t i;

    (void)state;
    buffer_init(&bytes, CHANNEL_FRAME_MAX);
    begin(&bytes, 2, 0); /* no such kinds */
    pack_bool(&bytes, true);
    assert_refused(&bytes);
    begin(&bytes, 2, FRAME_KIND_LAST + 1);
    pack_bool(&bytes, true);
    assert_refused(&bytes);
    begin(&bytes, 3, FRAME_REFUSED); /* for no reason */
    pack_uint(&bytes, 0);
    pack_string(&bytes, slice_of("why", 3));
    assert_refused(&bytes);
    begin(&bytes, 2,
          FRAME_EVENTS); /* more events than bytes, and than may be */
    pack_array(&bytes, FRAME_EVENTS_MAX);
    assert_refused(&bytes);
    begin(&bytes, 2, FRAME_EVENTS);
    pack_array(&bytes, FRAME_EVENTS_MAX + 1);
    for (i = 0; i <= FRAME_EVENTS_MAX; i++)
        pack_bin(&bytes, slice_of("e", 1));
    assert_refused(&bytes);
    begin(&bytes, 4, FRAME_GRANT);
    pack_bin(&bytes, slice_of("c", 1));
    pack_bin(&bytes, slice_of("o", 1));
    pack_array(&bytes, FRAME_ADDRESSES_MAX + 1);
    for (i = 0; i <= FRAME_ADDRESSES_MAX; i++)
        address_pack(&bytes, &first);
    assert_refused(&bytes);
    buffer_release(&bytes);
}

/* A reason is cut to its room, at the end of a character. */
static void long_reasons_are_cut(void **state)
{
    char text[2 * FRAME_TEXT_MAX + 2];
    struct buffer bytes;
    struct frame f;
    size_t i;

    (void)state;
    text[0] = 'a';
    for (i = 1; i < sizeof text - 1; i += 2)
        memcpy(text + i, "\xc3\xa4", 2);
    text[sizeof text - 1] = '\0';
    buffer_init(&bytes, 4096);
    frame_refused(&bytes, CM_ERR_IO, text);
    assert_int_equal(frame_decode(&f, buffer_slice(&bytes)), 0);
    assert_int_equal(strlen(f.text), FRAME_TEXT_MAX - 1);
    assert_int_equal(strncmp(f.text, text, strlen(f.text)), 0);
    frame_release(&f);
    buffer_clear(&bytes);
    frame_refused(&bytes, CM_ERR_IO, text + 1);
    assert_int_equal(frame_decode(&f, buffer_slice(&bytes)), 0);
    assert_int_equal(strlen(f.text), FRAME_TEXT_MAX - 2);
    frame_release(&f);
    buffer_release(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_comes_back),
        cmocka_unit_test(prefixes_and_tails_are_refused),
        cmocka_unit_test(flips_are_survived),
        cmocka_unit_test(bounds_are_kept),
        cmocka_unit_test(long_reasons_are_cut),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
