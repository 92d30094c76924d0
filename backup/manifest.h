/* Manifest: what makes objects a snapshot. Signed by the node that took it,
 * chained by hash to its manifest before, put last.
 *
 * Encoding (canonical msgpack): [body bin, signature bin64]; body = [format 1,
 * mesh id bin16, authority public key bin32, generation order bin,
 * certificate bin, sequence, previous bin32, root bin32, chunk count, entry
 * count, sibling count, byte count, state digest bin32, version vector,
 * standing bin, greatest HLC, created ms, segments bin, sealed keys bin]; with
 * format 2 and one more, evicted keys bin, where there are any. The signature
 * is Ed25519 (RFC 8032) over "confmesh manifest v1" NUL body. */
#ifndef BACKUP_MANIFEST_H
#define BACKUP_MANIFEST_H

#include "backup/snapshot_object.h"
#include "crdt/certificate.h"
#include "crdt/generation.h"
#include "crdt/hlc.h"
#include "crdt/vv.h"

#define SNAPSHOT_MANIFEST_MAX (32u << 20)
#define MANIFEST_STANDING_MAX (8u << 20)
#define MANIFEST_SEALED_MAX 4096
#define SNAPSHOT_SEGMENTS_MAX 64
#define MANIFEST_EVICTED_MAX 1024 /* key ids */

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
    struct slice standing;         /* standing_pack as of vv; empty: nothing
                                      of it has happened yet; borrowed */
    hlc_t hlc_max;                 /* greatest HLC of the state */
    uint64_t created_ms;
    /* Hashes of the segments (snapshot_map.h) that say where the objects lie,
     * 32 bytes each, at most SNAPSHOT_SEGMENTS_MAX; empty where objects come
     * one by one (a cut between nodes). Borrowed. */
    struct slice segments;
    /* sealed_keys (sealed_keys.h); empty: not encrypted. Borrowed. */
    struct slice sealed;
    /* Whose keys count no more, as far as the signer knows: KEY_ID_SIZE bytes
     * each, at most MANIFEST_EVICTED_MAX; no part of the state, which forgets a
     * key with its seal. Borrowed. */
    struct slice evicted;
    /* Filled in by decoding, for who wants to choose or to tell. */
    struct generation_id generation;
    struct key_id signer;
    char signer_name[NAME_SIZE_MAX + 1];
};

/* Encodes canonically, signs, appends to out. The counted fields must be
 * filled in (snapshot_writer_manifest does both). CM_ERR_NOMEM or out's
 * error. */
int manifest_encode(struct buffer *out, const struct manifest *m,
                    const uint8_t sign_secret_key[64]);
/* "v1/<mesh id hex>/m/<key id hex>/<20-digit sequence>". */
void manifest_name(char ret_name[SNAPSHOT_NAME_SIZE],
                   const struct mesh_id *mesh, const struct key_id *signer,
                   uint64_t sequence);

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

#endif
