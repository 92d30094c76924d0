/* Addresses as text and as wire bytes. inet_pton and inet_ntop are pure. */
#include "gossip/address.h"

#include <arpa/inet.h>
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/error.h"

static size_t ip_size(uint8_t family)
{
    return family == 4 ? 4 : family == 6 ? 16 : 0;
}

bool address_equal(const struct address *a, const struct address *b)
{
    return a->family == b->family && a->port == b->port &&
           memcmp(a->ip, b->ip, ip_size(a->family)) == 0;
}

/* Decimal, 0..65535, no sign, no leading zero: one text for one number. */
static int parse_port(uint16_t *ret_port, const char *text)
{
    uint32_t port = 0;
    size_t i;

    for (i = 0; text[i] != '\0'; i++) {
        if (text[i] < '0' || text[i] > '9' || i >= 5)
            return CM_ERR_MALFORMED;
        port = port * 10 + (uint32_t)(text[i] - '0');
    }
    if (i == 0 || (text[0] == '0' && i > 1) || port > UINT16_MAX)
        return CM_ERR_MALFORMED;
    *ret_port = (uint16_t)port;
    return 0;
}

int address_parse(struct address *ret_address, const char *text)
{
    struct address ret = {0};
    char host[ADDRESS_TEXT_SIZE];
    const char *colon = strrchr(text, ':');
    const char *start = text;
    size_t size;

    if (colon == NULL || parse_port(&ret.port, colon + 1) != 0)
        return CM_ERR_MALFORMED;
    size = (size_t)(colon - text);
    ret.family = text[0] == '[' ? 6 : 4;
    if (ret.family == 6) {
        if (size < 2 || text[size - 1] != ']')
            return CM_ERR_MALFORMED;
        start = text + 1;
        size -= 2;
    }
    if (size == 0 || size >= sizeof host)
        return CM_ERR_MALFORMED;
    memcpy(host, start, size);
    host[size] = '\0';
    if (inet_pton(ret.family == 6 ? AF_INET6 : AF_INET, host, ret.ip) != 1)
        return CM_ERR_MALFORMED;
    *ret_address = ret;
    return 0;
}

void address_format(char ret_text[ADDRESS_TEXT_SIZE], const struct address *a)
{
    char host[INET6_ADDRSTRLEN] = "";
    struct buffer out;

    _Static_assert(INET6_ADDRSTRLEN + 8 < ADDRESS_TEXT_SIZE, "fits");
    CHECK(a->family == 0 || a->family == 4 || a->family == 6);
    buffer_init(&out, ADDRESS_TEXT_SIZE);
    if (a->family != 0)
        (void)inet_ntop(a->family == 6 ? AF_INET6 : AF_INET, a->ip, host,
                        sizeof host);
    if (a->family == 0)
        buffer_printf(&out, "none");
    else
        buffer_printf(&out, a->family == 6 ? "[%s]:%u" : "%s:%u", host,
                      (unsigned)a->port);
    ret_text[0] = '\0';
    if (out.error == 0 && out.size < ADDRESS_TEXT_SIZE) {
        memcpy(ret_text, out.data, out.size);
        ret_text[out.size] = '\0';
    }
    buffer_release(&out);
}

void address_pack(struct buffer *out, const struct address *a)
{
    uint8_t bytes[1 + 16 + 2];
    size_t ip = ip_size(a->family);

    CHECK(a->family == 0 || ip > 0);
    bytes[0] = a->family;
    if (a->family == 0) {
        pack_bytes(out, bytes, 1);
        return;
    }
    memcpy(bytes + 1, a->ip, ip);
    put_be16(bytes + 1 + ip, a->port);
    pack_bytes(out, bytes, 1 + ip + 2);
}

void address_unpack(struct unpacker *u, struct address *ret_address)
{
    struct slice bytes = unpack_bin(u, 1 + 16 + 2);
    struct address ret = {0};
    size_t ip;

    *ret_address = ret;
    if (u->error != 0)
        return;
    if (bytes.size == 0) {
        unpack_fail(u, CM_ERR_MALFORMED);
        return;
    }
    ret.family = bytes.data[0];
    if (ret.family == 0 && bytes.size == 1)
        return;
    ip = ip_size(ret.family);
    if (ip == 0 || bytes.size != 1 + ip + 2) {
        unpack_fail(u, CM_ERR_MALFORMED);
        return;
    }
    memcpy(ret.ip, bytes.data + 1, ip);
    ret.port = get_be16(bytes.data + 1 + ip);
    *ret_address = ret;
}
