#include "node/cli/text.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/pack.h"

json_t *cli_op(const char *op, struct slice key, const char *element)
{
    json_t *object = json_object();
    CHECK(object != NULL);
    CHECK(json_object_set_new(object, "op", json_string(op)) == 0);
    CHECK(json_object_set_new(object, "key",
                              json_stringn((const char *)key.data, key.size)) ==
          0);
    if (element != NULL)
        CHECK(json_object_set_new(object, "element", json_string(element)) ==
              0);
    return object;
}

void cli_json_value(json_t *object, struct slice value)
{
    if (utf8_is_valid(value)) {
        const char *text = value.size > 0 ? (const char *)value.data : "";
        CHECK(json_object_set_new(object, "value",
                                  json_stringn(text, value.size)) == 0);
        return;
    }
    size_t room =
        sodium_base64_ENCODED_LEN(value.size, sodium_base64_VARIANT_ORIGINAL);
    char *text = cm_alloc(room);
    CHECK(text != NULL);
    (void)sodium_bin2base64(text, room, value.data, value.size,
                            sodium_base64_VARIANT_ORIGINAL);
    CHECK(json_object_set_new(object, "value64", json_string(text)) == 0);
    cm_free(text);
}

static bool printed;

bool cli_has_printed_json(void)
{
    return printed;
}

void cli_print_json(const json_t *value)
{
    CHECK(value != NULL);
    printed = true;
    (void)json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
    (void)fputc('\n', stdout);
}

/* Bytes of the well-formed UTF-8 character at the start, 0 if there is
 * none. */
static size_t utf8_char_size(struct slice s)
{
    uint8_t c = s.data[0];
    size_t size = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (size > s.size || !utf8_is_valid(slice_of(s.data, size)))
        return 0;
    return size;
}

void cli_print_escaped(FILE *to, struct slice bytes)
{
    CHECK(to != NULL);
    while (bytes.size > 0) {
        uint8_t c = bytes.data[0];
        size_t size = utf8_char_size(bytes);
        /* C1 control characters: terminals obey them as well. */
        bool c1 = size == 2 && c == 0xc2 && bytes.data[1] < 0xa0;
        if (c == '\\')
            (void)fputs("\\\\", to);
        else if (c == '\n')
            (void)fputs("\\n", to);
        else if (c == '\t')
            (void)fputs("\\t", to);
        else if (size == 0 || c < 0x20 || c == 0x7f || c1)
            (void)fprintf(to, "\\x%02x", c);
        else
            (void)fwrite(bytes.data, 1, size, to);
        if (size == 0 || c1)
            size = 1;
        bytes.data += size;
        bytes.size -= size;
    }
}

int cli_base64_decode(const char *text, struct buffer *out)
{
    CHECK(text != NULL && out != NULL);
    size_t size = strlen(text);
    size_t decoded = 0;
    uint8_t *to = buffer_extend(out, size / 4 * 3 + 3);
    if (to == NULL)
        return out->error;
    out->size -= size / 4 * 3 + 3;
    if (sodium_base642bin(to, size / 4 * 3 + 3, text, size, NULL, &decoded,
                          NULL, sodium_base64_VARIANT_ORIGINAL) != 0)
        return CM_ERR_MALFORMED;
    out->size += decoded;
    return 0;
}
