/* JSON in and out; see http_json.h. */
#include "node/http_json.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/check.h"

void http_json_string(struct buffer *out, struct slice text)
{
    static const char hex[] = "0123456789abcdef";
    size_t run = 0;
    char escape[6] = {'\\', 'u', '0', '0', 0, 0};

    buffer_append_byte(out, '"');
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];

        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
            continue;
        buffer_append(out, text.data + run, i - run);
        run = i + 1;
        if (c == '"' || c == '\\') {
            buffer_append_byte(out, '\\');
            buffer_append_byte(out, c);
        } else {
            escape[4] = hex[c >> 4];
            escape[5] = hex[c & 15];
            buffer_append(out, escape, sizeof(escape));
        }
    }
    if (run < text.size)
        buffer_append(out, text.data + run, text.size - run);
    buffer_append_byte(out, '"');
}

void http_json_text(struct buffer *out, const char *text)
{
    CHECK(text != NULL);
    http_json_string(out, slice_of_string(text));
}

void http_json_base64(struct buffer *out, struct slice bytes)
{
    size_t room =
        sodium_base64_encoded_len(bytes.size, sodium_base64_VARIANT_ORIGINAL);
    char *to;

    CHECK(room >= 1);
    buffer_append_byte(out, '"');
    to = (char *)buffer_extend(out, room); /* NUL included */
    if (to == NULL)
        return;
    if (bytes.size > 0)
        sodium_bin2base64(to, room, bytes.data, bytes.size,
                          sodium_base64_VARIANT_ORIGINAL);
    to[room - 1] = '"';
}

void http_json_u64(struct buffer *out, uint64_t v)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    buffer_append(out, digits + at, sizeof(digits) - at);
}

void http_json_dot(struct buffer *out, const struct dot *dot)
{
    char text[DOT_TEXT_SIZE];

    dot_format(text, dot);
    http_json_text(out, text);
}

void http_json_bool(struct buffer *out, bool v)
{
    buffer_append_string(out, v ? "true" : "false");
}

int http_json_parse_any(json_t **ret_value, struct slice body,
                        struct cm_detail *detail)
{
    json_error_t error;

    if (body.size == 0) {
        *ret_value = json_object();
        return *ret_value != NULL ? 0 : CM_ERR_NOMEM;
    }
    *ret_value = json_loadb((const char *)body.data, body.size,
                            JSON_REJECT_DUPLICATES, &error);
    if (*ret_value != NULL)
        return 0;
    return cm_fail(detail, CM_ERR_MALFORMED,
                   "the body is not JSON: line %d column %d: %.120s; correct "
                   "it there",
                   error.line, error.column, error.text);
}

int http_json_only(json_t *object, const char *const *names, const char *where,
                   struct cm_detail *detail)
{
    const char *name;
    json_t *value;
    size_t i;

    json_object_foreach(object, name, value)
    {
        for (i = 0; names[i] != NULL && strcmp(names[i], name) != 0; i++)
            ;
        if (names[i] == NULL)
            return cm_fail(detail, CM_ERR_MALFORMED,
                           "%s has an unknown member \"%.64s\"; remove or "
                           "correct it",
                           where, name);
    }
    return 0;
}

int http_json_parse(json_t **ret_object, struct slice body,
                    const char *const *names, struct cm_detail *detail)
{
    int error = http_json_parse_any(ret_object, body, detail);

    if (error == 0 && !json_is_object(*ret_object))
        error = cm_fail(detail, CM_ERR_MALFORMED,
                        "the body must be one JSON object {…}");
    if (error == 0)
        error = http_json_only(*ret_object, names, "the body", detail);
    if (error != 0) {
        json_decref(*ret_object);
        *ret_object = NULL;
    }
    return error;
}

int http_json_get_u64(json_t *object, const char *name, uint64_t *ret,
                      struct cm_detail *detail)
{
    json_t *value = json_object_get(object, name);

    if (value == NULL || json_is_null(value))
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "\"%s\" must be a whole number from 0 to 2^63-1", name);
    *ret = (uint64_t)json_integer_value(value);
    return 0;
}

int http_json_get_bool(json_t *object, const char *name, bool *ret,
                       struct cm_detail *detail)
{
    json_t *value = json_object_get(object, name);

    if (value == NULL || json_is_null(value))
        return 0;
    if (!json_is_boolean(value))
        return cm_fail(detail, CM_ERR_MALFORMED, "\"%s\" must be true or false",
                       name);
    *ret = json_is_true(value);
    return 0;
}

int http_json_get_text(json_t *object, const char *name, struct slice *ret,
                       struct cm_detail *detail)
{
    json_t *value = json_object_get(object, name);

    if (value == NULL || json_is_null(value))
        return 0;
    if (!json_is_string(value))
        return cm_fail(detail, CM_ERR_MALFORMED, "\"%s\" must be a string",
                       name);
    *ret = slice_of(json_string_value(value), json_string_length(value));
    return 0;
}
