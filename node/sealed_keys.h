/* A snapshot's data key, sealed to those who may restore.
 *
 * A recovery key is an Ed25519 key pair in the same kind of file as the mesh
 * authority's (authority_file.h), so the authority itself can be one. The data
 * key is put into a sealed box (crypto_box_seal) for the X25519 form of each
 * recipient's public key. Nodes know public keys only.
 *
 * In a manifest: canonical msgpack [key id bin16, [[recipient's Ed25519 key
 * bin32, sealed box bin80]...]]. */
#ifndef NODE_SEALED_KEYS_H
#define NODE_SEALED_KEYS_H

#include "crdt/authority.h"
#include "crdt/generation.h"

#define SEALED_RECIPIENTS_MAX 16
#define SEALED_KEY_ID_SIZE 16
#define SEALED_KEYS_SIZE_MAX 2048

/* Of a node: kept in its data directory so that increments stay small. */
struct data_key {
    uint8_t key[32];
    uint8_t sealed[SEALED_KEYS_SIZE_MAX]; /* for the manifest */
    size_t sealed_size;
};

/* Reads "snapshot.key" in dir, or makes it anew if it is missing or was made
 * for other recipients. Their keys are 32 bytes each, 1..MAX of them.
 * CM_ERR_IO, CM_ERR_FULL, CM_ERR_INVALID (not a key), CM_ERR_NOMEM. Wipe after
 * use. */
int data_key_load(struct data_key *ret_key, const char *dir,
                  const struct mesh_id *mesh, const uint8_t (*recipients)[32],
                  size_t recipients_count, struct cm_detail *detail);

/* The data key for whoever holds one recipient's secret key. CM_ERR_AUTHORITY:
 * it is sealed for others only; CM_ERR_DAMAGED, CM_ERR_MALFORMED. */
int sealed_keys_open(uint8_t ret_data_key[32], const struct mesh_id *mesh,
                     struct slice sealed, const struct authority *recovery,
                     struct cm_detail *detail);
/* 64 hex digits, or "authority", which is authority's. CM_ERR_INVALID. */
int recovery_key_parse(uint8_t ret_key[32], const char *text,
                       const uint8_t authority[32], struct cm_detail *detail);
/* What tells one data key from another, without opening it. */
int sealed_keys_id(uint8_t ret_id[SEALED_KEY_ID_SIZE], struct slice sealed);
/* Strictly; counts the recipients, copies their keys. */
int sealed_keys_decode(struct slice sealed, uint8_t (*ret_recipients)[32],
                       size_t *ret_count);

#endif
