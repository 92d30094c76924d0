/* Canonical msgpack: msgpack-c packs, a small bounded pull reader unpacks.
 *
 * msgpack-c's parser allocates gigabytes from five bytes and accepts integers
 * in more bytes than they need; this reader allocates nothing, knows every
 * bound beforehand and refuses whatever pack_* would not have written. Only
 * unsigned integers, binaries, strings, arrays, booleans and nil exist here.
 *
 * Specification: https://github.com/msgpack/msgpack/blob/master/spec.md */
#ifndef CRDT_BASE_PACK_H
#define CRDT_BASE_PACK_H

#include "crdt/base/buffer.h"

void pack_uint(struct buffer *out, uint64_t v);
void pack_bool(struct buffer *out, bool v);
void pack_nil(struct buffer *out);
void pack_bin(struct buffer *out, struct slice bytes);
/* Only the head of a bin: exactly size bytes have to be appended after it. */
void pack_bin_head(struct buffer *out, size_t size);
void pack_bytes(struct buffer *out, const void *data, size_t size); /* a bin */
void pack_string(struct buffer *out, struct slice text);
void pack_array(struct buffer *out, size_t count); /* count elements follow */

/* Reads from borrowed bytes; the error is sticky: after it every read returns
 * zero or an empty slice, and unpack_finish tells. */
struct unpacker {
    struct slice in;
    size_t position; /* bytes read so far */
    int error;       /* 0, CM_ERR_MALFORMED, _NONCANONICAL or _TOO_LARGE */
};

void unpack_init(struct unpacker *u, struct slice in);
uint64_t unpack_uint(struct unpacker *u, uint64_t max);
bool unpack_bool(struct unpacker *u);
/* True and consumed if the next value is nil. */
bool unpack_try_nil(struct unpacker *u);
struct slice unpack_bin(struct unpacker *u, size_t max);
/* A bin of exactly size bytes, copied out; zeroes on error. */
void unpack_bytes(struct unpacker *u, void *ret_bytes, size_t size);
struct slice unpack_string(struct unpacker *u, size_t max); /* valid UTF-8 */
size_t unpack_array(struct unpacker *u, size_t max);
/* An array that must have exactly count elements. */
void unpack_array_of(struct unpacker *u, size_t count);
/* Skips one value of any supported kind, nested at most 8 deep. */
void unpack_skip(struct unpacker *u);
void unpack_fail(struct unpacker *u, int error); /* keeps the first */
/* 0 if there was no error and every byte has been read. */
int unpack_finish(struct unpacker *u);

/* Well-formed UTF-8 (no surrogates, no overlong forms) without NUL bytes. */
bool utf8_is_valid(struct slice text);

#endif
