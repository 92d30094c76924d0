/* One object of a snapshot: a chunk of entries, a part of the index that lists
 * the chunks, a segment (where objects lie) or the events of a delta.
 *
 * Plain: magic "cmo1", kind (1 byte), uncompressed size (4, big-endian),
 * record_checksum of those 9 bytes and the frame (8, big-endian), one zstd
 * frame. Encrypted: magic "cme1", kind, size, nonce (24), XChaCha20-Poly1305 of
 * the frame, with those 9 bytes and the object's hash as associated data.
 *
 * The hash is keyed and of the uncompressed bytes, so that equal content has
 * one name whatever the zstd release; the checksum finds a flipped bit that
 * decompression would not care about. The nonce is a keyed hash of kind and
 * frame: one nonce never serves two frames, and nothing random is needed. */
#ifndef BACKUP_SNAPSHOT_OBJECT_H
#define BACKUP_SNAPSHOT_OBJECT_H

#include "crdt/base/error.h"
#include "crdt/base/hash.h"
#include "crdt/generation.h"

#define SNAPSHOT_FORMAT 1
#define SNAPSHOT_CHUNK_TARGET (12u << 10) /* mean, about */
/* A chunk holds at least one entry, however large its siblings. */
#define SNAPSHOT_CHUNK_MAX (16u << 20)
#define SNAPSHOT_OBJECT_MAX (17u << 20) /* bytes of one stored object */
#define SNAPSHOT_NAME_SIZE 192
#define SNAPSHOT_OBJECT_HEADER_SIZE 17
#define SNAPSHOT_SEALED_HEADER_SIZE 33 /* of an encrypted one, without tag */

enum snapshot_object_kind {
    SNAPSHOT_CHUNK = 1,   /* entries */
    SNAPSHOT_LEAF = 2,    /* array of chunk hashes */
    SNAPSHOT_ROOT = 3,    /* array of leaf hashes */
    SNAPSHOT_SEGMENT = 4, /* where objects lie (snapshot_map.h); never
                             encrypted */
    SNAPSHOT_EVENTS = 5,  /* of a delta */
};

struct snapshot_object {
    char name[SNAPSHOT_NAME_SIZE];
    enum snapshot_object_kind kind;
    struct hash hash;   /* the last part of the name */
    struct slice bytes; /* borrowed */
};

/* Derived from the mesh's id alone, so that every node of a mesh has the same;
 * with a data key also from that, so that nobody without it can test a guess
 * at a chunk by its name. */
#define SNAPSHOT_DATA_KEY_SIZE 32
struct snapshot_keys {
    uint8_t names[32];      /* for the hashes of content */
    uint8_t boundaries[32]; /* for the chunker */
    uint8_t places[32];     /* for packs and segments; of the mesh alone */
    bool encrypted;
    uint8_t encryption[32]; /* secret, like the two above then */
    uint8_t nonces[32];
};
void snapshot_keys_derive(struct snapshot_keys *ret_keys,
                          const struct mesh_id *mesh);
/* Wipe with sodium_memzero after use. */
void snapshot_keys_derive_encrypted(
    struct snapshot_keys *ret_keys, const struct mesh_id *mesh,
    const uint8_t data_key[SNAPSHOT_DATA_KEY_SIZE]);

/* "v1/<mesh id hex>/c/<64 hex>": what a reader asks for. At a target objects
 * lie in packs; snapshot_map.h says where. */
void snapshot_object_name(char ret_name[SNAPSHOT_NAME_SIZE],
                          const struct mesh_id *mesh, const struct hash *hash);
struct hash snapshot_object_hash(const struct snapshot_keys *keys,
                                 enum snapshot_object_kind kind,
                                 struct slice content);

/* What one object leaves to the next: making it anew for each costs more than
 * the work itself. Zeroed before the first. */
struct snapshot_coder {
    void *compressor; /* owned */
    void *decompressor;
    bool fast;      /* compresses less: for what is read once, from a peer */
    unsigned plain; /* so many chunks more are taken for the kind that hardly
                       gets smaller */
};
void snapshot_coder_release(struct snapshot_coder *c);

/* Compresses content (at most SNAPSHOT_CHUNK_MAX bytes), encrypts it if the
 * keys say so, and appends the object to out. CM_ERR_NOMEM, CM_ERR_TOO_LARGE.
 */
int snapshot_object_encode(struct buffer *out, const struct snapshot_keys *keys,
                           enum snapshot_object_kind kind,
                           struct slice content);
/* hash: of the content, snapshot_object_hash; read only where the keys encrypt
 * the kind. */
int snapshot_object_encode_by(struct snapshot_coder *c, struct buffer *out,
                              const struct snapshot_keys *keys,
                              enum snapshot_object_kind kind,
                              const struct hash *hash, struct slice content);
/* The reverse into ret_content (cleared first; its limit bounds memory):
 * declared size, checksum, exactly one frame, and the hash that the name
 * promises. CM_ERR_DAMAGED for whatever does not fit, CM_ERR_TOO_LARGE for a
 * declared size beyond SNAPSHOT_CHUNK_MAX, CM_ERR_NOMEM. */
int snapshot_object_decode(struct buffer *ret_content,
                           const struct snapshot_keys *keys,
                           enum snapshot_object_kind kind,
                           const struct hash *expected, struct slice object,
                           struct cm_detail *detail);
int snapshot_object_decode_by(struct snapshot_coder *c,
                              struct buffer *ret_content,
                              const struct snapshot_keys *keys,
                              enum snapshot_object_kind kind,
                              const struct hash *expected, struct slice object,
                              struct cm_detail *detail);

#endif
