/* BLAKE2b-256 with a domain prefix, and the short checksum of stored records.
 *
 * Every hashed or signed thing in the project starts with its own domain
 * string, so that no signature can be replayed as one over something else. */
#ifndef CRDT_BASE_HASH_H
#define CRDT_BASE_HASH_H

#include "crdt/base/buffer.h"

#define HASH_SIZE 32

struct hash {
    uint8_t bytes[HASH_SIZE];
};

/* BLAKE2b-256(domain, NUL, data) (RFC 7693). */
struct hash hash_of(const char *domain, struct slice data);
/* The same, keyed with a 32-byte key. */
struct hash hash_keyed(const uint8_t key[32], const char *domain,
                       struct slice data);
bool hash_equal(const struct hash *a, const struct hash *b);
int hash_compare(const struct hash *a, const struct hash *b);
bool hash_is_zero(const struct hash *h);

/* 64-bit checksum (SipHash-2-4, fixed key) of a stored record: finds bit rot
 * and torn writes, proves nothing against an attacker. key binds a record to
 * its place, so that one record's bytes found under another key are damage. */
uint64_t record_checksum(struct slice key, struct slice value);

#endif
