/* Decoding of what a client writes into a URI: pure functions over bytes that
 * nobody has checked, which is why they stand apart and are fuzzed. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "crdt/base/check.h"
#include "node/http_request.h"

static int hex_digit(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* One byte at data[*at]; -1 for a broken escape. */
static int decode_byte(const uint8_t *data, size_t size, size_t *at)
{
    int high;
    int low;

    CHECK(*at < size);
    if (data[*at] != '%')
        return data[(*at)++];
    if (size - *at < 3)
        return -1;
    high = hex_digit(data[*at + 1]);
    low = hex_digit(data[*at + 2]);
    if (high < 0 || low < 0)
        return -1;
    *at += 3;
    return high * 16 + low;
}

int http_decode(struct slice raw, const char *name, uint8_t *ret_bytes,
                size_t capacity, size_t *ret_size, struct cm_detail *detail)
{
    size_t size = 0;
    size_t at = 0;
    int byte;

    CHECK(ret_bytes != NULL && ret_size != NULL);
    while (at < raw.size) {
        byte = decode_byte(raw.data, raw.size, &at);
        if (byte < 0)
            return cm_fail(detail, CM_ERR_MALFORMED,
                           "%s has a broken percent escape at byte %zu; write "
                           "%% as %%25",
                           name, at);
        if (byte == 0)
            return cm_fail(detail, CM_ERR_MALFORMED,
                           "%s contains %%00; NUL bytes are not allowed, leave "
                           "them out",
                           name);
        if (size == capacity)
            return cm_fail(detail, CM_ERR_TOO_LARGE,
                           "%s is longer than %zu bytes; shorten it", name,
                           capacity);
        ret_bytes[size++] = (uint8_t)byte;
    }
    if (size > 0 && !utf8_is_valid(slice_of(ret_bytes, size)))
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "%s is not well-formed UTF-8; encode it as UTF-8 and "
                       "percent-escape it",
                       name);
    *ret_size = size;
    return 0;
}

/* Decodes text in place, form style. */
static int query_decode(char *text)
{
    size_t size = strlen(text);
    size_t at = 0;
    size_t to = 0;
    int byte;

    for (size_t i = 0; i < size; i++) {
        if (text[i] == '+')
            text[i] = ' ';
    }
    while (at < size) {
        byte = decode_byte((const uint8_t *)text, size, &at);
        if (byte <= 0)
            return CM_ERR_MALFORMED;
        text[to++] = (char)byte;
    }
    CHECK(to <= size);
    text[to] = '\0';
    return utf8_is_valid(slice_of(text, to)) ? 0 : CM_ERR_MALFORMED;
}

int http_query_parse(struct http_query *ret_query, char *text,
                     struct cm_detail *detail)
{
    char *next;
    char *value;

    ret_query->count = 0;
    for (char *item = text; item != NULL; item = next) {
        next = strchr(item, '&');
        if (next != NULL)
            *next++ = '\0';
        if (*item == '\0')
            continue;
        if (ret_query->count == HTTP_QUERY_MAX)
            return cm_fail(detail, CM_ERR_LIMIT,
                           "more than %d query parameters; leave some out",
                           HTTP_QUERY_MAX);
        value = strchr(item, '=');
        if (value != NULL)
            *value++ = '\0';
        if (query_decode(item) != 0 ||
            (value != NULL && query_decode(value) != 0))
            return cm_fail(detail, CM_ERR_MALFORMED,
                           "query parameter %zu is malformed (broken percent "
                           "escape, %%00 or no UTF-8); percent-encode it",
                           ret_query->count + 1);
        ret_query->items[ret_query->count].name = item;
        ret_query->items[ret_query->count].value = value;
        ret_query->count++;
    }
    return 0;
}

const char *http_query_value(const struct http_query *q, const char *name)
{
    CHECK(q->count <= HTTP_QUERY_MAX);
    for (size_t i = 0; i < q->count; i++) {
        if (strcmp(q->items[i].name, name) == 0)
            return q->items[i].value != NULL ? q->items[i].value : "";
    }
    return NULL;
}

bool http_query_has(const struct http_query *q, const char *name)
{
    return http_query_value(q, name) != NULL;
}

int http_parse_u64(const char *text, uint64_t *ret_value)
{
    uint64_t value = 0;
    uint64_t digit;

    if (*text == '\0')
        return CM_ERR_MALFORMED;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return CM_ERR_MALFORMED;
        digit = (uint64_t)(*text - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return CM_ERR_TOO_LARGE;
        value = value * 10 + digit;
    }
    *ret_value = value;
    return 0;
}

/* Milliseconds of the unit at *text, which is moved past it; 0: unknown. */
static uint64_t unit_ms(const char **text)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strncmp(*text, units[i].name, strlen(units[i].name)) == 0) {
            *text += strlen(units[i].name);
            return units[i].ms;
        }
    }
    return 0;
}

int http_parse_duration_ms(const char *text, uint64_t *ret_ms)
{
    uint64_t total = 0;
    uint64_t number;
    uint64_t unit;
    size_t digits;

    if (*text == '\0')
        return CM_ERR_MALFORMED;
    while (*text != '\0') {
        number = 0;
        for (digits = 0; text[digits] >= '0' && text[digits] <= '9'; digits++) {
            if (digits >= 9)
                return CM_ERR_TOO_LARGE;
            number = number * 10 + (uint64_t)(text[digits] - '0');
        }
        if (digits == 0)
            return CM_ERR_MALFORMED;
        text += digits;
        unit = *text == '\0' ? 1000 : unit_ms(&text);
        if (unit == 0)
            return CM_ERR_MALFORMED;
        if (total > UINT64_MAX / 2)
            return CM_ERR_TOO_LARGE;
        total += number * unit;
    }
    *ret_ms = total;
    return 0;
}

static bool port_is_fine(const char *text)
{
    size_t digits = strspn(text, "0123456789");

    return digits >= 1 && digits <= 5 && text[digits] == '\0';
}

bool http_host_is_local(const char *host, const char *bound)
{
    const char *const names[] = {"localhost", "127.0.0.1", "[::1]", bound};
    size_t size;

    CHECK(host != NULL && bound != NULL);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size = strlen(names[i]);
        if (size == 0 || strncasecmp(host, names[i], size) != 0)
            continue;
        if (host[size] == '\0' ||
            (host[size] == ':' && port_is_fine(host + size + 1)))
            return true;
    }
    return false;
}
