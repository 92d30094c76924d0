/* The data directory: its lock, the node's key file, the host it lives on.
 *
 * DIR/lock is flocked by the one process that uses the directory; DIR/node.key
 * (mode 0600) is the Ed25519 seed in hex, from which the X25519 key follows;
 * data.mdb and lock.mdb are the store's; api.sock is the API's socket. */
#ifndef NODE_DATADIR_H
#define NODE_DATADIR_H

#include "crdt/base/buffer.h"
#include "crdt/base/error.h"

#define DATADIR_HOST_SIZE 32

struct datadir;

/* Locks the directory and reads its key. create: makes the directory (0700)
 * and the key when they are missing. CM_ERR_LOCKED, CM_ERR_NOT_FOUND,
 * CM_ERR_DAMAGED, CM_ERR_IO, with detail. */
int datadir_open(struct datadir **ret_datadir, const char *dir, bool create,
                 struct cm_detail *detail);
void datadir_close(struct datadir *d); /* unlocks; NULL is fine */
/* libsodium's 64-byte form; lives as long as d. */
const uint8_t *datadir_sign_secret_key(const struct datadir *d);
const uint8_t *datadir_sign_public_key(const struct datadir *d);
/* X25519, derived. */
void datadir_box_public_key(const struct datadir *d, uint8_t ret_key[32]);
/* Hash of the machine's id and of the directory's inode: differs on a copy and
 * on another machine. */
int datadir_host(const struct datadir *d, uint8_t ret_host[DATADIR_HOST_SIZE],
                 struct cm_detail *detail);

/* Writes a file whole: temporary file, fsync, rename, fsync of the directory.
 * exclusive: CM_ERR_EXISTS instead of replacing one. */
int datadir_write_file(const char *path, struct slice bytes, unsigned mode,
                       bool exclusive, struct cm_detail *detail);

#endif
