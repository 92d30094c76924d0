/* One stored object of a snapshot: a chunk of entries, or a part of the index
 * that lists the chunks.
 *
 * Object = magic "cmo1", kind (1 byte), uncompressed size (4, big-endian),
 * record_checksum of those 9 bytes and the frame (8, big-endian), one zstd
 * frame. The name is a keyed hash of the uncompressed bytes, so that equal
 * content has one name whatever the zstd release; the checksum finds a flipped
 * bit that decompression would not care about. */
#ifndef BACKUP_SNAPSHOT_OBJECT_H
#define BACKUP_SNAPSHOT_OBJECT_H

#include "crdt/base/error.h"
#include "crdt/base/hash.h"
#include "crdt/generation.h"

#define SNAPSHOT_FORMAT 1
#define SNAPSHOT_CHUNK_TARGET (16u << 10)
/* A chunk holds at least one entry, however large its siblings. */
#define SNAPSHOT_CHUNK_MAX (16u << 20)
#define SNAPSHOT_OBJECT_MAX (17u << 20) /* bytes of one stored object */
#define SNAPSHOT_NAME_SIZE 192
#define SNAPSHOT_OBJECT_HEADER_SIZE 17

enum snapshot_object_kind {
    SNAPSHOT_CHUNK = 1, /* entries */
    SNAPSHOT_LEAF = 2,  /* array of chunk hashes */
    SNAPSHOT_ROOT = 3,  /* array of leaf hashes */
};

struct snapshot_object {
    char name[SNAPSHOT_NAME_SIZE];
    enum snapshot_object_kind kind;
    struct hash hash;   /* the last part of the name */
    struct slice bytes; /* borrowed */
};

/* The keys that every node of a mesh derives alike from its id. */
struct snapshot_keys {
    uint8_t names[32];      /* for object names */
    uint8_t boundaries[32]; /* for the chunker */
};
void snapshot_keys_derive(struct snapshot_keys *ret_keys,
                          const struct mesh_id *mesh);

/* "v1/<mesh id hex>/c/<64 hex>". */
void snapshot_object_name(char ret_name[SNAPSHOT_NAME_SIZE],
                          const struct mesh_id *mesh, const struct hash *hash);
struct hash snapshot_object_hash(const struct snapshot_keys *keys,
                                 enum snapshot_object_kind kind,
                                 struct slice content);

/* Compresses content (at most SNAPSHOT_CHUNK_MAX bytes) and appends the object
 * to out. CM_ERR_NOMEM, CM_ERR_TOO_LARGE. */
int snapshot_object_encode(struct buffer *out, enum snapshot_object_kind kind,
                           struct slice content);
/* The reverse into ret_content (cleared first; its limit bounds memory):
 * declared size, checksum, exactly one frame, and the hash that the name
 * promises. CM_ERR_DAMAGED for whatever does not fit, CM_ERR_TOO_LARGE for a
 * declared size beyond SNAPSHOT_CHUNK_MAX, CM_ERR_NOMEM. */
int snapshot_object_decode(struct buffer *ret_content,
                           const struct snapshot_keys *keys,
                           enum snapshot_object_kind kind,
                           const struct hash *expected, struct slice object,
                           struct cm_detail *detail);

#endif
