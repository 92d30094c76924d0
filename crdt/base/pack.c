#include "crdt/base/pack.h"

#include <msgpack/pack.h>
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/error.h"

#define NESTING_MAX 8

static int buffer_write(void *context, const char *data, size_t size)
{
    buffer_append(context, data, size);
    return 0;
}

static msgpack_packer packer_of(struct buffer *out)
{
    msgpack_packer ret;

    msgpack_packer_init(&ret, out, buffer_write);
    return ret;
}

void pack_uint(struct buffer *out, uint64_t v)
{
    msgpack_packer p = packer_of(out);

    (void)msgpack_pack_uint64(&p, v);
}

void pack_bool(struct buffer *out, bool v)
{
    msgpack_packer p = packer_of(out);

    (void)(v ? msgpack_pack_true(&p) : msgpack_pack_false(&p));
}

void pack_nil(struct buffer *out)
{
    msgpack_packer p = packer_of(out);

    (void)msgpack_pack_nil(&p);
}

void pack_bin_head(struct buffer *out, size_t size)
{
    msgpack_packer p = packer_of(out);

    CHECK(size <= UINT32_MAX);
    (void)msgpack_pack_bin(&p, size);
}

void pack_bin(struct buffer *out, struct slice bytes)
{
    pack_bin_head(out, bytes.size);
    buffer_append_slice(out, bytes);
}

void pack_bytes(struct buffer *out, const void *data, size_t size)
{
    pack_bin(out, slice_of(data, size));
}

void pack_string(struct buffer *out, struct slice text)
{
    msgpack_packer p = packer_of(out);

    CHECK(utf8_is_valid(text));
    (void)msgpack_pack_str(&p, text.size);
    buffer_append_slice(out, text);
}

void pack_array(struct buffer *out, size_t count)
{
    msgpack_packer p = packer_of(out);

    (void)msgpack_pack_array(&p, count);
}

void unpack_init(struct unpacker *u, struct slice in)
{
    *u = (struct unpacker){.in = in};
}

void unpack_fail(struct unpacker *u, int error)
{
    CHECK(error < 0);
    if (u->error == 0)
        u->error = error;
}

static inline struct slice take(struct unpacker *u, uint64_t size)
{
    struct slice ret = {0};

    CHECK(u->position <= u->in.size);
    if (u->error != 0)
        return ret;
    if (size > u->in.size - u->position) {
        unpack_fail(u, CM_ERR_MALFORMED);
        return ret;
    }
    ret.data = u->in.data + u->position;
    ret.size = (size_t)size;
    u->position += (size_t)size;
    return ret;
}

/* Of every item that is decoded: it has to cost next to nothing. */
static inline uint8_t take_byte(struct unpacker *u)
{
    CHECK(u->position <= u->in.size);
    if (u->error == 0 && u->position < u->in.size)
        return u->in.data[u->position++];
    unpack_fail(u, CM_ERR_MALFORMED);
    return 0xc1; /* never used */
}

/* A big-endian number of width bytes that would not have fitted into less:
 * floor is the smallest number that needs this width. */
static uint64_t take_number(struct unpacker *u, size_t width, uint64_t floor)
{
    struct slice bytes = take(u, width);
    uint64_t ret = 0;
    size_t i;

    if (u->error != 0)
        return 0;
    for (i = 0; i < width; i++)
        ret = ret << 8 | bytes.data[i];
    if (ret < floor) {
        unpack_fail(u, CM_ERR_NONCANONICAL);
        return 0;
    }
    return ret;
}

static uint64_t bounded(struct unpacker *u, uint64_t v, uint64_t max)
{
    if (u->error == 0 && v > max)
        unpack_fail(u, CM_ERR_TOO_LARGE);
    return u->error == 0 ? v : 0;
}

static uint64_t malformed(struct unpacker *u)
{
    unpack_fail(u, CM_ERR_MALFORMED);
    return 0;
}

static uint64_t number_after(struct unpacker *u, uint8_t head)
{
    if (head < 0x80)
        return head;
    switch (head) {
    case 0xcc:
        return take_number(u, 1, 0x80);
    case 0xcd:
        return take_number(u, 2, 0x100);
    case 0xce:
        return take_number(u, 4, 0x10000);
    case 0xcf:
        return take_number(u, 8, UINT64_C(0x100000000));
    default:
        return malformed(u);
    }
}

uint64_t unpack_uint(struct unpacker *u, uint64_t max)
{
    return bounded(u, number_after(u, take_byte(u)), max);
}

bool unpack_bool(struct unpacker *u)
{
    uint8_t head = take_byte(u);

    if (head != 0xc2 && head != 0xc3)
        (void)malformed(u);
    return u->error == 0 && head == 0xc3;
}

bool unpack_try_nil(struct unpacker *u)
{
    if (u->error != 0 || u->position >= u->in.size ||
        u->in.data[u->position] != 0xc0)
        return false;
    u->position++;
    return true;
}

static uint64_t bin_size_after(struct unpacker *u, uint8_t head)
{
    switch (head) {
    case 0xc4:
        return take_number(u, 1, 0);
    case 0xc5:
        return take_number(u, 2, 0x100);
    case 0xc6:
        return take_number(u, 4, 0x10000);
    default:
        return malformed(u);
    }
}

struct slice unpack_bin(struct unpacker *u, size_t max)
{
    return take(u, bounded(u, bin_size_after(u, take_byte(u)), max));
}

void unpack_bytes(struct unpacker *u, void *ret_bytes, size_t size)
{
    struct slice bytes = unpack_bin(u, size);

    if (u->error == 0 && bytes.size != size)
        (void)malformed(u);
    if (u->error == 0 && size > 0)
        memcpy(ret_bytes, bytes.data, size);
    else
        memset(ret_bytes, 0, size);
}

static uint64_t string_size_after(struct unpacker *u, uint8_t head)
{
    if ((head & 0xe0) == 0xa0)
        return head & 0x1f;
    switch (head) {
    case 0xd9:
        return take_number(u, 1, 0x20);
    case 0xda:
        return take_number(u, 2, 0x100);
    case 0xdb:
        return take_number(u, 4, 0x10000);
    default:
        return malformed(u);
    }
}

struct slice unpack_string(struct unpacker *u, size_t max)
{
    struct slice ret =
        take(u, bounded(u, string_size_after(u, take_byte(u)), max));

    if (u->error == 0 && !utf8_is_valid(ret)) {
        (void)malformed(u);
        return (struct slice){0};
    }
    return ret;
}

static uint64_t array_count_after(struct unpacker *u, uint8_t head)
{
    if ((head & 0xf0) == 0x90)
        return head & 0x0f;
    switch (head) {
    case 0xdc:
        return take_number(u, 2, 0x10);
    case 0xdd:
        return take_number(u, 4, 0x10000);
    default:
        return malformed(u);
    }
}

size_t unpack_array(struct unpacker *u, size_t max)
{
    return (size_t)bounded(u, array_count_after(u, take_byte(u)), max);
}

void unpack_array_of(struct unpacker *u, size_t count)
{
    size_t found = unpack_array(u, count);

    if (u->error == 0 && found != count)
        (void)malformed(u);
}

static void skip_nested(struct unpacker *u, unsigned depth)
{
    uint8_t head;
    size_t count;

    if (depth > NESTING_MAX) {
        unpack_fail(u, CM_ERR_TOO_LARGE);
        return;
    }
    if (u->error != 0 || u->position >= u->in.size) {
        (void)malformed(u);
        return;
    }
    head = u->in.data[u->position];
    if (head == 0xc0 || head == 0xc2 || head == 0xc3) {
        u->position++;
    } else if (head < 0x80 || (head >= 0xcc && head <= 0xcf)) {
        (void)unpack_uint(u, UINT64_MAX);
    } else if (head >= 0xc4 && head <= 0xc6) {
        (void)unpack_bin(u, SIZE_MAX);
    } else if ((head & 0xe0) == 0xa0 || (head >= 0xd9 && head <= 0xdb)) {
        (void)unpack_string(u, SIZE_MAX);
    } else {
        /* Every element is at least one byte, so the input bounds the loop. */
        count = unpack_array(u, u->in.size);
        while (count-- > 0 && u->error == 0)
            skip_nested(u, depth + 1);
    }
}

void unpack_skip(struct unpacker *u)
{
    if (u->error == 0)
        skip_nested(u, 0);
}

int unpack_finish(struct unpacker *u)
{
    if (u->error == 0 && u->position != u->in.size)
        unpack_fail(u, CM_ERR_MALFORMED);
    return u->error;
}

/* The length of the sequence that first starts, 0 if none may start so; *ret
 * is its payload and *ret_floor the smallest code point that needs it. */
static size_t sequence_start(uint8_t first, uint32_t *ret, uint32_t *ret_floor)
{
    if (first >= 0xc2 && first <= 0xdf) {
        *ret = first & 0x1f;
        *ret_floor = 0x80;
        return 2;
    }
    if (first >= 0xe0 && first <= 0xef) {
        *ret = first & 0x0f;
        *ret_floor = 0x800;
        return 3;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        *ret = first & 0x07;
        *ret_floor = 0x10000;
        return 4;
    }
    return 0;
}

bool utf8_is_valid(struct slice text)
{
    size_t i = 0;

    while (i < text.size) {
        uint32_t point;
        uint32_t floor;
        size_t length;
        size_t k;

        if (text.data[i] != 0 && text.data[i] < 0x80) {
            i++;
            continue;
        }
        length = sequence_start(text.data[i], &point, &floor);
        if (length == 0 || length > text.size - i)
            return false;
        for (k = 1; k < length; k++) {
            if ((text.data[i + k] & 0xc0) != 0x80)
                return false;
            point = point << 6 | (text.data[i + k] & 0x3f);
        }
        if (point < floor || point > 0x10ffff ||
            (point >= 0xd800 && point <= 0xdfff))
            return false;
        i += length;
    }
    return true;
}
