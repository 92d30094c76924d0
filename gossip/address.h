/* A peer's address: IPv4 or IPv6 and a port. UDP and TCP use the same one. */
#ifndef GOSSIP_ADDRESS_H
#define GOSSIP_ADDRESS_H

#include "crdt/base/pack.h"

#define ADDRESS_TEXT_SIZE 64

struct address {
    uint8_t family; /* 4, 6, or 0 for none */
    uint8_t ip[16]; /* network order; IPv4 in the first four bytes */
    uint16_t port;  /* host order */
};

bool address_equal(const struct address *a, const struct address *b);
/* "127.0.0.1:7946", "[::1]:7946". Numeric only: no resolver in this layer. */
int address_parse(struct address *ret_address, const char *text);
void address_format(char ret_text[ADDRESS_TEXT_SIZE], const struct address *a);
void address_pack(struct buffer *out, const struct address *a); /* one bin */
void address_unpack(struct unpacker *u, struct address *ret_address);

#endif
