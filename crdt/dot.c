/* Names of events, and the text form that clients carry as causal token. */
#include "crdt/dot.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/error.h"

void incarnation_format(char ret_text[INCARNATION_TEXT_SIZE],
                        const struct incarnation *i)
{
    hex_encode(ret_text, slice_of(i->bytes, INCARNATION_SIZE));
}

bool dot_equal(const struct dot *a, const struct dot *b)
{
    return a->seq == b->seq &&
           incarnation_equal(&a->incarnation, &b->incarnation);
}

int dot_compare(const struct dot *a, const struct dot *b)
{
    int order = incarnation_compare(&a->incarnation, &b->incarnation);

    if (order != 0)
        return order;
    return a->seq < b->seq ? -1 : a->seq > b->seq;
}

void dot_format(char ret_text[DOT_TEXT_SIZE], const struct dot *d)
{
    int length;

    incarnation_format(ret_text, &d->incarnation);
    length = snprintf(ret_text + INCARNATION_TEXT_SIZE - 1,
                      DOT_TEXT_SIZE - INCARNATION_TEXT_SIZE + 1, ":%" PRIu64,
                      d->seq);
    CHECK(length > 0 && length <= DOT_TEXT_SIZE - INCARNATION_TEXT_SIZE);
}

/* Decimal without sign, blanks or leading zeroes, so that one number has one
 * text; 0 on anything else. */
static uint64_t parse_seq(const char *text)
{
    uint64_t ret = 0;

    if (text[0] == '0' || text[0] == '\0')
        return 0;
    for (; *text != '\0'; text++) {
        uint64_t digit = (uint64_t)(*text - '0');

        if (*text < '0' || *text > '9' || ret > (UINT64_MAX - digit) / 10)
            return 0;
        ret = ret * 10 + digit;
    }
    return ret;
}

int dot_parse(struct dot *ret_dot, const char *text)
{
    char hex[INCARNATION_TEXT_SIZE];
    struct dot dot;
    size_t length;

    CHECK(text != NULL);
    length = strlen(text);
    if (length < INCARNATION_TEXT_SIZE + 1 || length >= DOT_TEXT_SIZE ||
        text[INCARNATION_TEXT_SIZE - 1] != ':')
        return CM_ERR_MALFORMED;
    memcpy(hex, text, INCARNATION_TEXT_SIZE - 1);
    hex[INCARNATION_TEXT_SIZE - 1] = '\0';
    if (hex_decode(dot.incarnation.bytes, INCARNATION_SIZE, hex) < 0)
        return CM_ERR_MALFORMED;
    dot.seq = parse_seq(text + INCARNATION_TEXT_SIZE);
    if (dot.seq == 0)
        return CM_ERR_MALFORMED;
    *ret_dot = dot;
    return 0;
}

void dot_pack(struct buffer *out, const struct dot *d)
{
    CHECK(d->seq >= 1);
    pack_bytes(out, d->incarnation.bytes, INCARNATION_SIZE);
    pack_uint(out, d->seq);
}

void dot_unpack(struct unpacker *u, struct dot *ret_dot)
{
    unpack_bytes(u, ret_dot->incarnation.bytes, INCARNATION_SIZE);
    ret_dot->seq = unpack_uint(u, UINT64_MAX);
    if (ret_dot->seq == 0)
        unpack_fail(u, CM_ERR_MALFORMED);
}
