/* One place decides where the commas go: answers are built from parts that do
 * not know what stands before them. */
#include "node/http_field.h"

#include "crdt/base/check.h"
#include "crdt/base/hash.h"
#include "node/http_json.h"

void field_name(struct buffer *out, const char *name)
{
    uint8_t last = out->size > 0 ? out->data[out->size - 1] : ',';

    CHECK(name != NULL);
    if (last != '{' && last != ',' && last != '[')
        buffer_append_byte(out, ',');
    http_json_text(out, name);
    buffer_append_byte(out, ':');
}

void field_number(struct buffer *out, const char *name, uint64_t v)
{
    field_name(out, name);
    http_json_u64(out, v);
}

void field_signed(struct buffer *out, const char *name, int64_t v)
{
    field_name(out, name);
    if (v < 0)
        buffer_append_byte(out, '-');
    http_json_u64(out, v < 0 ? UINT64_C(0) - (uint64_t)v : (uint64_t)v);
}

void field_text(struct buffer *out, const char *name, const char *text)
{
    field_name(out, name);
    http_json_text(out, text != NULL ? text : "");
}

void field_hex(struct buffer *out, const char *name, const void *bytes,
               size_t size)
{
    char digits[2 * HASH_SIZE + 1];

    CHECK(size <= HASH_SIZE);
    hex_encode(digits, slice_of(bytes, size));
    field_text(out, name, digits);
}

void field_bool(struct buffer *out, const char *name, bool v)
{
    field_name(out, name);
    http_json_bool(out, v);
}
