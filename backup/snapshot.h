/* Snapshot: the complete state at one version vector, as signed objects.
 *
 * Canonical entries (crdt/entry.h) in key order are split at content-defined
 * boundaries into chunks of about 16 KiB, compressed with zstd and named by a
 * keyed hash of their uncompressed bytes, so that equal state gives equal
 * chunks on every node. An index (itself content-addressed objects) lists the
 * chunks; the manifest names the index root, is signed by the node, and is put
 * last. Sans-I/O: entries go in, objects come out; on the way back objects go
 * in, entries come out. The same bytes bring up an empty joiner.
 *
 * Object names: "v1/<mesh id hex>/c/<64 hex>" for chunks and index objects,
 * "v1/<mesh id hex>/m/<key id hex>/<20-digit sequence>" for manifests. */
#ifndef BACKUP_SNAPSHOT_H
#define BACKUP_SNAPSHOT_H

#include "crdt/certificate.h"
#include "crdt/digest.h"
#include "crdt/entry.h"

#define SNAPSHOT_FORMAT 1
#define SNAPSHOT_CHUNK_TARGET (16u << 10)
/* A chunk holds at least one entry, however large its siblings. */
#define SNAPSHOT_CHUNK_MAX (16u << 20)
#define SNAPSHOT_OBJECT_MAX (17u << 20) /* bytes of one stored object */
#define SNAPSHOT_MANIFEST_MAX (32u << 20)
#define SNAPSHOT_NAME_SIZE 192

struct snapshot_object {
    char name[SNAPSHOT_NAME_SIZE];
    struct slice bytes;
};

/* ---- writing ---- */

struct snapshot_writer;

int snapshot_writer_create(struct snapshot_writer **ret_writer,
                           const struct mesh_id *mesh);
void snapshot_writer_free(struct snapshot_writer *w);
/* Entries strictly in canonical order (CHECKed). */
int snapshot_writer_add(struct snapshot_writer *w, const struct entry_id *id,
                        const struct entry *e);
/* Drain after every add and after _end: each is to be stored and read back.
 * Borrowed until the next call. */
bool snapshot_writer_next_object(struct snapshot_writer *w,
                                 struct snapshot_object *ret_object);
/* No entry follows: the rest and the index become objects. */
int snapshot_writer_end(struct snapshot_writer *w);

/* What the manifest says; written by the caller, filled in by decoding. */
struct manifest {
    struct mesh_id mesh;
    uint8_t authority_public_key[32];
    struct slice generation_order; /* encoded, signed; borrowed */
    struct slice certificate;      /* the signer's, encoded; borrowed */
    uint64_t sequence;             /* of this signer, 1, 2, … */
    struct hash previous;          /* manifest_hash before; zero for 1 */
    struct hash root;              /* of the index (filled by the writer) */
    uint64_t chunk_count;          /* likewise */
    uint64_t entry_count;          /* likewise */
    uint64_t sibling_count;        /* likewise */
    uint64_t byte_count;           /* uncompressed canonical bytes, likewise */
    struct hash state_digest;      /* digest_finish of state and VV, likewise */
    struct vv vv;                  /* owned after decoding */
    hlc_t hlc_max;                 /* greatest HLC of the state */
    uint64_t created_ms;
};

/* Fills the counted fields from the writer (after _end and draining), encodes
 * canonically, signs; appends to out. */
int snapshot_writer_manifest(struct snapshot_writer *w, struct manifest *m,
                             const uint8_t sign_secret_key[64],
                             struct buffer *out);
void manifest_name(char ret_name[SNAPSHOT_NAME_SIZE],
                   const struct mesh_id *mesh, const struct key_id *signer,
                   uint64_t sequence);

/* ---- reading ---- */

/* Signature before parsing of anything else: the authority's public key (it is
 * in the manifest; the caller compares its fingerprint with what it trusts
 * through expected_authority, NULL = any), the certificate's chain, the
 * signature, then strict decoding. CM_ERR_SIGNATURE, CM_ERR_AUTHORITY (another
 * authority than expected), CM_ERR_MALFORMED, …; bytes stay borrowed. Release
 * after success only. */
int manifest_decode(struct manifest *ret_manifest, struct slice bytes,
                    const uint8_t expected_authority[32],
                    struct cm_detail *detail);
void manifest_release(struct manifest *m);
struct hash manifest_hash(struct slice bytes);

struct snapshot_reader;

int snapshot_reader_create(struct snapshot_reader **ret_reader,
                           const struct manifest *m);
void snapshot_reader_free(struct snapshot_reader *r);
/* The name of the object that it wants next; false when it has all. Index
 * objects first, then chunks in key order. */
bool snapshot_reader_wants(const struct snapshot_reader *r,
                           char ret_name[SNAPSHOT_NAME_SIZE]);
/* That object's bytes. Checks size, name against content, canonical order.
 * bytes need not outlive the call. */
int snapshot_reader_feed(struct snapshot_reader *r, struct slice bytes,
                         struct cm_detail *detail);
/* Drain after every feed; id and entry borrow until the next call. */
bool snapshot_reader_next_entry(struct snapshot_reader *r,
                                struct entry_id *ret_id,
                                const struct entry **ret_entry);
/* 0 only if everything was fed and drained and counts, root and state digest
 * are the manifest's. */
int snapshot_reader_finish(struct snapshot_reader *r, struct cm_detail *detail);
/* Progress: chunks read so far. */
uint64_t snapshot_reader_chunks_read(const struct snapshot_reader *r);

#endif
