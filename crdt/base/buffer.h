/* The one slice type and the one growable buffer of the project.
 *
 * A slice borrows. A buffer owns, and has a limit that it never exceeds; its
 * error is sticky, so that an encoder appends without looking and asks once,
 * at the end. */
#ifndef CRDT_BASE_BUFFER_H
#define CRDT_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slice {
    const uint8_t *data; /* borrowed; may be NULL when size is 0 */
    size_t size;         /* bytes */
};

struct slice slice_of(const void *data, size_t size);
struct slice slice_of_string(const char *text); /* without the final NUL */
bool slice_equal(struct slice a, struct slice b);
int slice_compare(struct slice a, struct slice b); /* as memcmp, then length */
bool slice_starts_with(struct slice s, struct slice prefix);

struct buffer {
    uint8_t *data;
    size_t size;     /* bytes in use */
    size_t capacity; /* bytes allocated */
    size_t limit;    /* size never exceeds it */
    int error;       /* 0, or the first failure: appends do nothing after it */
};

void buffer_init(struct buffer *b, size_t limit);
void buffer_release(struct buffer *b); /* frees; a later init is needed */
void buffer_clear(struct buffer *b);   /* size 0, error 0, memory kept */
void buffer_append(struct buffer *b, const void *data, size_t size);
void buffer_append_slice(struct buffer *b, struct slice s);
void buffer_append_byte(struct buffer *b, uint8_t byte);
void buffer_append_string(struct buffer *b, const char *text);
void buffer_printf(struct buffer *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Grows by size bytes and returns where they start, not initialised; NULL
 * after an error. */
uint8_t *buffer_extend(struct buffer *b, size_t size);
void buffer_consume(struct buffer *b, size_t size); /* drops from the front */
struct slice buffer_slice(const struct buffer *b);  /* borrowed view */

/* Big-endian integers, so that byte order is number order in ordered stores. */
void put_be16(uint8_t *to, uint16_t v);
void put_be32(uint8_t *to, uint32_t v);
void put_be64(uint8_t *to, uint64_t v);
uint16_t get_be16(const uint8_t *from);
uint32_t get_be32(const uint8_t *from);
uint64_t get_be64(const uint8_t *from);

/* Lower-case hex; ret_text needs 2 * size + 1 bytes. */
void hex_encode(char *ret_text, struct slice bytes);
/* Exactly size bytes from 2 * size hex digits, else CM_ERR_MALFORMED. */
int hex_decode(uint8_t *ret_bytes, size_t size, const char *text);

#endif
