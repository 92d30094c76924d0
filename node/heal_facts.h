/* A copy of what a node is, beside its store: who it is, whom it belongs to,
 * whom it knows. Small, text, with a checksum; written anew when it changes.
 *
 * With it (and node.key) a node whose data.mdb cannot be opened any more finds
 * the mesh again by itself: the damaged file is moved aside, never deleted, a
 * fresh incarnation takes the certificate over and asks the known peers for a
 * cut. Nothing in it is secret.
 *
 *   confmesh facts 1
 *   authority HEX | certificate HEX | generation HEX | incarnation HEX
 *   bind ADDRESS
 *   peer KEYID ADDRESS     (any number)
 *   checksum HEX           (of everything before) */
#ifndef NODE_HEAL_FACTS_H
#define NODE_HEAL_FACTS_H

#include "crdt/certificate.h"
#include "crdt/generation.h"
#include "gossip/address.h"

#define HEAL_FACTS_NAME "facts"
#define HEAL_FACTS_PEERS_MAX 256
#define HEAL_FACTS_SIZE_MAX (2u << 20)

struct heal_facts_peer {
    struct key_id peer;
    struct address address;
};

struct heal_facts {
    uint8_t authority[32];
    struct buffer certificate;
    struct buffer generation;
    struct incarnation incarnation;
    struct address bind; /* family 0: unknown */
    struct heal_facts_peer peers[HEAL_FACTS_PEERS_MAX];
    size_t peers_count;
};

void heal_facts_init(struct heal_facts *f);
void heal_facts_release(struct heal_facts *f);
void heal_facts_format(struct buffer *out, const struct heal_facts *f);
/* ret is initialised, and to be released after an error too.
 * CM_ERR_DAMAGED. */
int heal_facts_parse(struct heal_facts *ret, struct slice text);

/* The store of dir (closed) cannot be used: it is moved aside, and a new one
 * made that joins anew as the same node. sign_public_key is node.key's. Tells
 * in ret_text what was done. CM_ERR_DAMAGED with the remedy in detail when
 * there is no copy of the facts, or no peer in it; then nothing is changed. */
int heal_recover(const char *dir, uint64_t map_size, uint64_t wall_ms,
                 const uint8_t sign_public_key[32], struct slice host,
                 const char *why, char *ret_text, size_t ret_size,
                 struct cm_detail *detail);
/* Whether dir has a copy of the facts. */
bool heal_facts_exist(const char *dir);

#endif
