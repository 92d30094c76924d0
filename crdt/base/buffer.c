#include "crdt/base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/error.h"

struct slice slice_of(const void *data, size_t size)
{
    CHECK(data != NULL || size == 0);
    return (struct slice){.data = data, .size = size};
}

struct slice slice_of_string(const char *text)
{
    CHECK(text != NULL);
    return slice_of(text, strlen(text));
}

bool slice_equal(struct slice a, struct slice b)
{
    return a.size == b.size &&
           (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

int slice_compare(struct slice a, struct slice b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common > 0 ? memcmp(a.data, b.data, common) : 0;

    if (order != 0)
        return order;
    return a.size < b.size ? -1 : a.size > b.size;
}

bool slice_starts_with(struct slice s, struct slice prefix)
{
    return s.size >= prefix.size &&
           (prefix.size == 0 || memcmp(s.data, prefix.data, prefix.size) == 0);
}

void buffer_init(struct buffer *b, size_t limit)
{
    CHECK(b != NULL);
    *b = (struct buffer){.limit = limit};
}

void buffer_release(struct buffer *b)
{
    cm_free(b->data);
    *b = (struct buffer){.limit = b->limit};
}

void buffer_clear(struct buffer *b)
{
    b->size = 0;
    b->error = 0;
}

static uint8_t *extend_slow(struct buffer *b, size_t size)
{
    size_t capacity = b->capacity > 0 ? b->capacity : 64;
    uint8_t *grown;

    CHECK(b->size <= b->limit);
    if (b->error != 0)
        return NULL;
    if (size > b->limit - b->size) {
        b->error = CM_ERR_TOO_LARGE;
        return NULL;
    }
    if (b->data == NULL || b->size + size > b->capacity) {
        while (capacity < b->size + size)
            capacity = capacity > SIZE_MAX / 2 ? b->size + size : capacity * 2;
        grown = cm_realloc(b->data, capacity);
        if (grown == NULL) {
            b->error = CM_ERR_NOMEM;
            return NULL;
        }
        b->data = grown;
        b->capacity = capacity;
    }
    b->size += size;
    return b->data + b->size - size;
}

/* Most calls find room: encoders add a few bytes at a time. */
uint8_t *buffer_extend(struct buffer *b, size_t size)
{
    if (b->error != 0 || b->size > b->capacity ||
        size > b->capacity - b->size || size > b->limit - b->size ||
        b->data == NULL)
        return extend_slow(b, size);
    b->size += size;
    return b->data + b->size - size;
}

void buffer_append(struct buffer *b, const void *data, size_t size)
{
    uint8_t *to = buffer_extend(b, size);

    if (to != NULL && size > 0)
        memcpy(to, data, size);
}

void buffer_append_slice(struct buffer *b, struct slice s)
{
    buffer_append(b, s.data, s.size);
}

void buffer_append_byte(struct buffer *b, uint8_t byte)
{
    buffer_append(b, &byte, 1);
}

void buffer_append_string(struct buffer *b, const char *text)
{
    buffer_append(b, text, strlen(text));
}

void buffer_printf(struct buffer *b, const char *format, ...)
{
    va_list args;
    va_list again;
    int length;
    uint8_t *to;

    va_start(args, format);
    va_copy(again, args);
    length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(length >= 0);
    /* One byte more for vsnprintf's terminator, given back below. */
    to = buffer_extend(b, (size_t)length + 1);
    if (to != NULL) {
        (void)vsnprintf((char *)to, (size_t)length + 1, format, again);
        b->size--;
    }
    va_end(again);
}

void buffer_consume(struct buffer *b, size_t size)
{
    CHECK(size <= b->size);
    if (size > 0 && size < b->size)
        memmove(b->data, b->data + size, b->size - size);
    b->size -= size;
}

struct slice buffer_slice(const struct buffer *b)
{
    return slice_of(b->data, b->size);
}

void put_be16(uint8_t *to, uint16_t v)
{
    to[0] = (uint8_t)(v >> 8);
    to[1] = (uint8_t)v;
}

void put_be32(uint8_t *to, uint32_t v)
{
    put_be16(to, (uint16_t)(v >> 16));
    put_be16(to + 2, (uint16_t)v);
}

void put_be64(uint8_t *to, uint64_t v)
{
    put_be32(to, (uint32_t)(v >> 32));
    put_be32(to + 4, (uint32_t)v);
}

uint16_t get_be16(const uint8_t *from)
{
    return (uint16_t)((from[0] << 8) | from[1]);
}

uint32_t get_be32(const uint8_t *from)
{
    return ((uint32_t)get_be16(from) << 16) | get_be16(from + 2);
}

uint64_t get_be64(const uint8_t *from)
{
    return ((uint64_t)get_be32(from) << 32) | get_be32(from + 4);
}

void hex_encode(char *ret_text, struct slice bytes)
{
    static const char digits[] = "0123456789abcdef";
    size_t i;

    for (i = 0; i < bytes.size; i++) {
        ret_text[2 * i] = digits[bytes.data[i] >> 4];
        ret_text[2 * i + 1] = digits[bytes.data[i] & 15];
    }
    ret_text[2 * bytes.size] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

int hex_decode(uint8_t *ret_bytes, size_t size, const char *text)
{
    size_t i;

    if (strlen(text) != 2 * size)
        return CM_ERR_MALFORMED;
    for (i = 0; i < size; i++) {
        int high = hex_digit(text[2 * i]);
        int low = hex_digit(text[2 * i + 1]);

        if (high < 0 || low < 0)
            return CM_ERR_MALFORMED;
        ret_bytes[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}
