#include "node/frame.h"

#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/error.h"
#include "crdt/eviction.h"

#define SPONSOR_FIELDS_MAX 6

static void copy_text(char *to, size_t room, struct slice text)
{
    size_t size = text.size < room ? text.size : room - 1;

    CHECK(room > 0);
    if (size > 0)
        memcpy(to, text.data, size);
    to[size] = '\0';
}

static void decode_sync(struct frame *f, struct unpacker *u)
{
    unpack_array_of(u, 3);
    (void)unpack_uint(u, FRAME_KIND_LAST);
    vv_unpack(u, &f->vv);
    f->answer = unpack_bool(u);
}

static void decode_events(struct frame *f, struct unpacker *u)
{
    size_t i;

    unpack_array_of(u, 2);
    (void)unpack_uint(u, FRAME_KIND_LAST);
    f->events_count = unpack_array(u, FRAME_EVENTS_MAX);
    f->events = *u;
    for (i = 0; i < f->events_count && u->error == 0; i++)
        (void)unpack_bin(u, EVENT_SIZE_MAX);
}

static void decode_orders(struct frame *f, struct unpacker *u)
{
    unpack_array_of(u, 2);
    (void)unpack_uint(u, FRAME_KIND_LAST);
    f->events_count = unpack_array(u, FRAME_ORDERS_MAX);
    f->events = *u;
    for (size_t i = 0; i < f->events_count && u->error == 0; i++)
        (void)unpack_bin(u, EVICTION_SIZE_MAX);
    if (u->position - f->events.position > FRAME_ORDERS_BYTES_MAX)
        unpack_fail(u, CM_ERR_TOO_LARGE);
}

static void decode_join(struct frame *f, struct unpacker *u)
{
    unpack_array_of(u, 5);
    (void)unpack_uint(u, FRAME_KIND_LAST);
    unpack_bytes(u, f->token_id, sizeof f->token_id);
    unpack_bytes(u, f->token_secret, sizeof f->token_secret);
    copy_text(f->name, sizeof f->name, unpack_string(u, NAME_SIZE_MAX));
    address_unpack(u, &f->address);
}

static void decode_grant(struct frame *f, struct unpacker *u)
{
    size_t i;

    unpack_array_of(u, 4);
    (void)unpack_uint(u, FRAME_KIND_LAST);
    f->certificate = unpack_bin(u, CERTIFICATE_SIZE_MAX);
    f->generation_order = unpack_bin(u, CHANNEL_FRAME_MAX);
    f->addresses_count = unpack_array(u, FRAME_ADDRESSES_MAX);
    for (i = 0; i < f->addresses_count && u->error == 0; i++)
        address_unpack(u, &f->addresses[i]);
}

static void decode_snapshot(struct frame *f, struct unpacker *u)
{
    unpack_array_of(u, 3);
    (void)unpack_uint(u, FRAME_KIND_LAST);
    f->bytes = unpack_bin(u, FRAME_PIECE_MAX);
    f->last = unpack_bool(u);
}

static void decode_dots(struct frame *f, struct unpacker *u)
{
    unpack_array_of(u, f->kind == FRAME_ASK ? 3 : 2);
    (void)unpack_uint(u, FRAME_KIND_LAST);
    f->dots_count = unpack_array(u, FRAME_DOTS_MAX);
    if (u->error == 0 && f->dots_count == 0)
        unpack_fail(u, CM_ERR_MALFORMED);
    for (size_t i = 0; i < f->dots_count && u->error == 0; i++) {
        dot_unpack(u, &f->dots[i]);
        if (u->error == 0 && i > 0 &&
            incarnation_compare(&f->dots[i - 1].incarnation,
                                &f->dots[i].incarnation) >= 0)
            unpack_fail(u, CM_ERR_NONCANONICAL);
    }
    if (f->kind == FRAME_ASK)
        f->wait_ms = unpack_uint(u, FRAME_ASK_MS_MAX);
}

static void decode_purpose(struct frame *f, struct unpacker *u)
{
    uint64_t purpose = unpack_uint(u, CUT_RETURN);

    if (purpose < CUT_JOIN)
        unpack_fail(u, CM_ERR_MALFORMED);
    f->purpose = (enum cut_purpose)purpose;
    f->cut = unpack_uint(u, UINT64_MAX);
    f->messages = unpack_uint(u, UINT64_MAX);
}

/* Without the last field: from a program that knows the first level alone. */
static void decode_sponsor(struct frame *f, struct unpacker *u)
{
    size_t fields = unpack_array(u, SPONSOR_FIELDS_MAX);

    (void)unpack_uint(u, FRAME_KIND_LAST);
    unpack_bytes(u, f->incarnation.bytes, INCARNATION_SIZE);
    decode_purpose(f, u);
    f->level = LEVEL_FIRST;
    if (fields == SPONSOR_FIELDS_MAX) {
        f->level = (uint32_t)unpack_uint(u, LEVEL_MAX);
        if (f->level <= LEVEL_FIRST)
            unpack_fail(u, CM_ERR_NONCANONICAL);
    } else if (fields != SPONSOR_FIELDS_MAX - 1) {
        unpack_fail(u, CM_ERR_MALFORMED);
    }
}

static void decode_cut(struct frame *f, struct unpacker *u)
{
    unpack_array_of(u, 5);
    (void)unpack_uint(u, FRAME_KIND_LAST);
    f->cut = unpack_uint(u, UINT64_MAX);
    f->messages = unpack_uint(u, UINT64_MAX);
    f->total = unpack_uint(u, UINT64_MAX);
    f->cut_bytes = unpack_uint(u, UINT64_MAX);
    if (u->error == 0 && (f->cut == 0 || f->messages > f->total))
        unpack_fail(u, CM_ERR_MALFORMED);
}

static void decode_kind(struct frame *f, struct unpacker *u)
{
    switch (f->kind) {
    case FRAME_ASK:
    case FRAME_COMMITTED:
        decode_dots(f, u);
        return;
    case FRAME_SYNC:
        decode_sync(f, u);
        return;
    case FRAME_EVENTS:
        decode_events(f, u);
        return;
    case FRAME_ORDERS:
        decode_orders(f, u);
        return;
    case FRAME_JOIN:
        decode_join(f, u);
        return;
    case FRAME_GRANT:
        decode_grant(f, u);
        return;
    case FRAME_SNAPSHOT:
        decode_snapshot(f, u);
        return;
    case FRAME_SPONSOR:
        decode_sponsor(f, u);
        return;
    case FRAME_CUT:
        decode_cut(f, u);
        return;
    case FRAME_CUT_ASK:
        unpack_array_of(u, 4);
        (void)unpack_uint(u, FRAME_KIND_LAST);
        decode_purpose(f, u);
        return;
    case FRAME_REFUSED:
        unpack_array_of(u, 3);
        (void)unpack_uint(u, FRAME_KIND_LAST);
        f->code = -(int)unpack_uint(u, 255);
        if (f->code == 0) /* a refusal without a reason is none */
            unpack_fail(u, CM_ERR_MALFORMED);
        copy_text(f->text, sizeof f->text,
                  unpack_string(u, FRAME_TEXT_MAX - 1));
        return;
    case FRAME_HELLO:
        unpack_array_of(u, 4);
        (void)unpack_uint(u, FRAME_KIND_LAST);
        address_unpack(u, &f->address);
        f->generation.number = unpack_uint(u, UINT64_MAX);
        unpack_bytes(u, f->generation.hash, sizeof f->generation.hash);
        return;
    case FRAME_SYNC_END:
    case FRAME_PUSH:
    case FRAME_COMPARE:
        break;
    }
    unpack_array_of(u, 2);
    (void)unpack_uint(u, FRAME_KIND_LAST);
    if (f->kind == FRAME_SYNC_END)
        f->needs_cut = unpack_bool(u);
    else
        f->bytes = unpack_bin(u, CHANNEL_FRAME_MAX);
}

int frame_decode(struct frame *ret_frame, struct slice bytes)
{
    struct unpacker look;
    struct unpacker u;
    uint64_t kind;

    memset(ret_frame, 0, sizeof *ret_frame);
    vv_init(&ret_frame->vv);
    unpack_init(&look, bytes);
    (void)unpack_array(&look, 8);
    kind = unpack_uint(&look, FRAME_KIND_LAST);
    if (look.error != 0 || kind < FRAME_HELLO)
        return CM_ERR_MALFORMED;
    ret_frame->kind = (enum frame_kind)kind;
    unpack_init(&u, bytes);
    decode_kind(ret_frame, &u);
    if (unpack_finish(&u) != 0) {
        vv_release(&ret_frame->vv);
        return u.error;
    }
    return 0;
}

void frame_release(struct frame *f)
{
    vv_release(&f->vv);
}

static void begin(struct buffer *out, enum frame_kind kind, size_t fields)
{
    CHECK(kind >= FRAME_HELLO && kind <= FRAME_KIND_LAST);
    pack_array(out, fields + 1);
    pack_uint(out, kind);
}

void frame_hello(struct buffer *out, const struct address *self,
                 const struct generation_id *generation)
{
    begin(out, FRAME_HELLO, 3);
    address_pack(out, self);
    pack_uint(out, generation->number);
    pack_bytes(out, generation->hash, sizeof generation->hash);
}

void frame_sync(struct buffer *out, const struct vv *vv, bool answer)
{
    begin(out, FRAME_SYNC, 2);
    vv_pack(out, vv);
    pack_bool(out, answer);
}

void frame_events(struct buffer *out, struct slice events, size_t count)
{
    CHECK(count <= FRAME_EVENTS_MAX);
    begin(out, FRAME_EVENTS, 1);
    pack_array(out, count);
    buffer_append_slice(out, events);
}

void frame_orders(struct buffer *out, struct slice orders, size_t count)
{
    CHECK(count <= FRAME_ORDERS_MAX && orders.size <= FRAME_ORDERS_BYTES_MAX);
    begin(out, FRAME_ORDERS, 1);
    pack_array(out, count);
    buffer_append_slice(out, orders);
}

void frame_sync_end(struct buffer *out, bool needs_cut)
{
    begin(out, FRAME_SYNC_END, 1);
    pack_bool(out, needs_cut);
}

void frame_join(struct buffer *out, const uint8_t token_id[8],
                const uint8_t token_secret[16], const char *name,
                const struct address *self)
{
    begin(out, FRAME_JOIN, 4);
    pack_bytes(out, token_id, 8);
    pack_bytes(out, token_secret, 16);
    pack_string(out, slice_of_string(name));
    address_pack(out, self);
}

void frame_grant(struct buffer *out, struct slice certificate,
                 struct slice generation_order, const struct address *addresses,
                 size_t addresses_count)
{
    size_t i;

    CHECK(addresses_count <= FRAME_ADDRESSES_MAX);
    begin(out, FRAME_GRANT, 3);
    pack_bin(out, certificate);
    pack_bin(out, generation_order);
    pack_array(out, addresses_count);
    for (i = 0; i < addresses_count; i++)
        address_pack(out, &addresses[i]);
}

void frame_refused(struct buffer *out, int code, const char *text)
{
    struct slice cut = slice_of_string(text);

    CHECK(code < 0 && code > -256);
    if (cut.size > FRAME_TEXT_MAX - 1)
        cut.size = FRAME_TEXT_MAX - 1;
    while (cut.size > 0 && !utf8_is_valid(cut))
        cut.size--;
    begin(out, FRAME_REFUSED, 2);
    pack_uint(out, (uint64_t)-code);
    pack_string(out, cut);
}

static void pack_purpose(struct buffer *out, enum cut_purpose purpose,
                         uint64_t cut, uint64_t messages)
{
    CHECK(purpose >= CUT_JOIN && purpose <= CUT_RETURN);
    pack_uint(out, purpose);
    pack_uint(out, cut);
    pack_uint(out, messages);
}

void frame_sponsor(struct buffer *out, const struct incarnation *incarnation,
                   uint32_t level, enum cut_purpose purpose, uint64_t cut,
                   uint64_t messages)
{
    bool told = level > LEVEL_FIRST;

    CHECK(level >= LEVEL_FIRST && level <= LEVEL_MAX);
    begin(out, FRAME_SPONSOR, SPONSOR_FIELDS_MAX - 2 + told);
    pack_bytes(out, incarnation->bytes, INCARNATION_SIZE);
    pack_purpose(out, purpose, cut, messages);
    if (told)
        pack_uint(out, level);
}

void frame_cut_ask(struct buffer *out, enum cut_purpose purpose, uint64_t cut,
                   uint64_t messages)
{
    begin(out, FRAME_CUT_ASK, 3);
    pack_purpose(out, purpose, cut, messages);
}

void frame_cut(struct buffer *out, uint64_t cut, uint64_t first, uint64_t total,
               uint64_t bytes)
{
    CHECK(cut != 0 && first <= total);
    begin(out, FRAME_CUT, 4);
    pack_uint(out, cut);
    pack_uint(out, first);
    pack_uint(out, total);
    pack_uint(out, bytes);
}

void frame_snapshot(struct buffer *out, struct slice piece, bool last)
{
    CHECK(piece.size <= FRAME_PIECE_MAX);
    begin(out, FRAME_SNAPSHOT, 2);
    pack_bin(out, piece);
    pack_bool(out, last);
}

void frame_push(struct buffer *out, struct slice event)
{
    begin(out, FRAME_PUSH, 1);
    pack_bin(out, event);
}

static void pack_dots(struct buffer *out, const struct dot *dots, size_t count)
{
    CHECK(count >= 1 && count <= FRAME_DOTS_MAX);
    pack_array(out, count);
    for (size_t i = 0; i < count; i++)
        dot_pack(out, &dots[i]);
}

void frame_ask(struct buffer *out, const struct dot *dots, size_t count,
               uint64_t wait_ms)
{
    CHECK(wait_ms <= FRAME_ASK_MS_MAX);
    begin(out, FRAME_ASK, 2);
    pack_dots(out, dots, count);
    pack_uint(out, wait_ms);
}

void frame_committed(struct buffer *out, const struct dot *dots, size_t count)
{
    begin(out, FRAME_COMMITTED, 1);
    pack_dots(out, dots, count);
}

void frame_compare(struct buffer *out, struct slice message)
{
    begin(out, FRAME_COMPARE, 1);
    pack_bin(out, message);
}
