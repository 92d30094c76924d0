/* The order of checks is the point: shape and sizes, then who vouches
 * (authority, certificate chain), then the signature, and only then what the
 * body claims. */
#include "backup/manifest.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/sign.h"

#define MANIFEST_FIELDS 19
#define MANIFEST_FORMAT_EVICTED 2 /* written only where a key was evicted */
#define MANIFEST_FIELDS_EVICTED 20
#define MANIFEST_FIELDS_MAX 64 /* of a later format, to read its number */

static const char manifest_domain[] = "confmesh manifest v1";

_Static_assert(sizeof "v1//m//" + 2 * MESH_ID_SIZE + 2 * KEY_ID_SIZE + 20 <=
                   SNAPSHOT_NAME_SIZE,
               "names fit");

static void pack_hash(struct buffer *out, const struct hash *h)
{
    pack_bytes(out, h->bytes, HASH_SIZE);
}

static void pack_body(struct buffer *out, const struct manifest *m)
{
    bool evicted = m->evicted.size > 0;

    pack_array(out, evicted ? MANIFEST_FIELDS_EVICTED : MANIFEST_FIELDS);
    pack_uint(out, evicted ? MANIFEST_FORMAT_EVICTED : SNAPSHOT_FORMAT);
    pack_bytes(out, m->mesh.bytes, MESH_ID_SIZE);
    pack_bytes(out, m->authority_public_key, sizeof m->authority_public_key);
    pack_bin(out, m->generation_order);
    pack_bin(out, m->certificate);
    pack_uint(out, m->sequence);
    pack_hash(out, &m->previous);
    pack_hash(out, &m->root);
    pack_uint(out, m->chunk_count);
    pack_uint(out, m->entry_count);
    pack_uint(out, m->sibling_count);
    pack_uint(out, m->byte_count);
    pack_hash(out, &m->state_digest);
    vv_pack(out, &m->vv);
    pack_bin(out, m->standing);
    pack_uint(out, m->hlc_max);
    pack_uint(out, m->created_ms);
    pack_bin(out, m->segments);
    pack_bin(out, m->sealed);
    if (evicted)
        pack_bin(out, m->evicted);
}

int manifest_encode(struct buffer *out, const struct manifest *m,
                    const uint8_t sign_secret_key[64])
{
    struct buffer body;
    int error;

    CHECK(m->sequence >= 1);
    CHECK(m->certificate.size > 0 && m->generation_order.size > 0);
    CHECK(m->evicted.size % KEY_ID_SIZE == 0);
    CHECK(m->evicted.size <= (size_t)MANIFEST_EVICTED_MAX * KEY_ID_SIZE);
    buffer_init(&body, SNAPSHOT_MANIFEST_MAX - 128);
    pack_body(&body, m);
    error = sign_pack(out, manifest_domain, &body, sign_secret_key);
    buffer_release(&body);
    return error;
}

void manifest_name(char ret_name[SNAPSHOT_NAME_SIZE],
                   const struct mesh_id *mesh, const struct key_id *signer,
                   uint64_t sequence)
{
    char mesh_text[MESH_ID_TEXT_SIZE];
    char signer_text[2 * KEY_ID_SIZE + 1];

    mesh_id_format(mesh_text, mesh);
    hex_encode(signer_text, slice_of(signer->bytes, KEY_ID_SIZE));
    (void)snprintf(ret_name, SNAPSHOT_NAME_SIZE, "v1/%s/m/%s/%020llu",
                   mesh_text, signer_text, (unsigned long long)sequence);
}

struct hash manifest_hash(struct slice bytes)
{
    return hash_of(manifest_domain, bytes);
}

/* Format, mesh, authority, order, certificate: what is needed to know whose
 * signature to expect. Nothing is allocated for it. */
static int unpack_head(struct unpacker *u, struct manifest *ret,
                       bool *ret_evicted, struct cm_detail *detail)
{
    size_t fields = unpack_array(u, MANIFEST_FIELDS_MAX);
    uint64_t format = unpack_uint(u, UINT64_MAX);

    if (u->error == 0 &&
        (format < SNAPSHOT_FORMAT || format > MANIFEST_FORMAT_EVICTED))
        return cm_fail(detail, CM_ERR_FORMAT_VERSION,
                       "the manifest has format %llu, this program reads %d to "
                       "%d; use the release that wrote it",
                       (unsigned long long)format, SNAPSHOT_FORMAT,
                       MANIFEST_FORMAT_EVICTED);
    *ret_evicted = format == MANIFEST_FORMAT_EVICTED;
    if (u->error == 0 &&
        fields != (*ret_evicted ? MANIFEST_FIELDS_EVICTED : MANIFEST_FIELDS))
        unpack_fail(u, CM_ERR_MALFORMED);
    unpack_bytes(u, ret->mesh.bytes, MESH_ID_SIZE);
    unpack_bytes(u, ret->authority_public_key,
                 sizeof ret->authority_public_key);
    ret->generation_order = unpack_bin(u, GENERATION_ORDER_SIZE_MAX);
    ret->certificate = unpack_bin(u, CERTIFICATE_SIZE_MAX);
    if (u->error != 0)
        return cm_fail(detail, u->error, "the manifest's head is damaged: %s",
                       cm_strerror(u->error));
    return 0;
}

static int check_authority(const struct manifest *m,
                           const uint8_t expected_authority[32],
                           struct cm_detail *detail)
{
    struct mesh_id mesh = mesh_id_of(m->authority_public_key);

    if (expected_authority != NULL &&
        memcmp(expected_authority, m->authority_public_key, 32) != 0)
        return cm_fail(detail, CM_ERR_AUTHORITY,
                       "the manifest names another authority than the one "
                       "that is trusted");
    if (!mesh_id_equal(&mesh, &m->mesh))
        return cm_fail(detail, CM_ERR_SIGNATURE,
                       "the manifest's mesh id is not that of its authority");
    return 0;
}

static int check_signer(struct manifest *m, struct slice body,
                        const uint8_t signature[SIGN_SIZE],
                        struct cm_detail *detail)
{
    struct certificate c;
    int error;

    error = certificate_decode(&c, m->certificate, m->authority_public_key);
    if (error != 0)
        return cm_fail(detail, error,
                       "the signer's certificate does not verify: %s",
                       cm_strerror(error));
    if ((c.roles & ROLE_WRITER) == 0)
        return cm_fail(detail, CM_ERR_SIGNATURE,
                       "the signer %s is no writer of the mesh", c.name);
    error = sign_verify(signature, manifest_domain, body, c.sign_key);
    if (error != 0)
        return cm_fail(detail, error,
                       "the manifest's signature by %s does not verify",
                       c.name);
    m->signer = c.key_id;
    memcpy(m->signer_name, c.name, sizeof m->signer_name);
    return 0;
}

static int check_generation(struct manifest *m, struct cm_detail *detail)
{
    struct generation_order order;
    int error = generation_order_decode(&order, m->generation_order,
                                        m->authority_public_key);

    if (error != 0)
        return cm_fail(detail, error,
                       "the manifest's generation order does not verify: %s",
                       cm_strerror(error));
    m->generation = generation_id_of(order.number, m->generation_order);
    generation_order_release(&order);
    return 0;
}

static void unpack_hash(struct unpacker *u, struct hash *ret)
{
    unpack_bytes(u, ret->bytes, HASH_SIZE);
}

/* The signature holds: read the claims. On error nothing is owned. */
static int unpack_claims(struct unpacker *u, struct manifest *m, bool evicted,
                         struct cm_detail *detail)
{
    int error;

    m->sequence = unpack_uint(u, UINT64_MAX);
    unpack_hash(u, &m->previous);
    unpack_hash(u, &m->root);
    m->chunk_count = unpack_uint(u, UINT64_MAX);
    m->entry_count = unpack_uint(u, UINT64_MAX);
    m->sibling_count = unpack_uint(u, UINT64_MAX);
    m->byte_count = unpack_uint(u, UINT64_MAX);
    unpack_hash(u, &m->state_digest);
    vv_init(&m->vv);
    vv_unpack(u, &m->vv);
    m->standing = unpack_bin(u, MANIFEST_STANDING_MAX);
    m->hlc_max = unpack_uint(u, UINT64_MAX);
    m->created_ms = unpack_uint(u, HLC_WALL_MS_MAX);
    m->segments = unpack_bin(u, (size_t)SNAPSHOT_SEGMENTS_MAX * HASH_SIZE);
    m->sealed = unpack_bin(u, MANIFEST_SEALED_MAX);
    if (evicted)
        m->evicted = unpack_bin(u, (size_t)MANIFEST_EVICTED_MAX * KEY_ID_SIZE);
    error = unpack_finish(u);
    if (error == 0 && (m->sequence == 0 || m->chunk_count > m->entry_count ||
                       m->entry_count > m->sibling_count ||
                       m->sibling_count > m->byte_count ||
                       m->segments.size % HASH_SIZE != 0 ||
                       m->evicted.size % KEY_ID_SIZE != 0 ||
                       (evicted && m->evicted.size == 0) ||
                       (m->sequence == 1 && !hash_is_zero(&m->previous))))
        error = CM_ERR_MALFORMED;
    if (error != 0) {
        vv_release(&m->vv);
        return cm_fail(detail, error,
                       "the manifest is signed but its fields make no "
                       "sense: %s",
                       cm_strerror(error));
    }
    return 0;
}

int manifest_decode(struct manifest *ret_manifest, struct slice bytes,
                    const uint8_t expected_authority[32],
                    struct cm_detail *detail)
{
    uint8_t signature[SIGN_SIZE];
    struct manifest m = {0};
    struct unpacker u;
    struct slice body;
    bool evicted = false;
    int error;

    CHECK(ret_manifest != NULL);
    if (bytes.size > SNAPSHOT_MANIFEST_MAX)
        return cm_fail(detail, CM_ERR_TOO_LARGE,
                       "the manifest has %zu bytes, the limit is %u",
                       bytes.size, SNAPSHOT_MANIFEST_MAX);
    unpack_init(&u, bytes);
    unpack_array_of(&u, 2);
    body = unpack_bin(&u, SNAPSHOT_MANIFEST_MAX);
    unpack_bytes(&u, signature, sizeof signature);
    error = unpack_finish(&u);
    if (error != 0)
        return cm_fail(detail, error, "the manifest is damaged: %s",
                       cm_strerror(error));
    unpack_init(&u, body);
    error = unpack_head(&u, &m, &evicted, detail);
    if (error == 0)
        error = check_authority(&m, expected_authority, detail);
    if (error == 0)
        error = check_signer(&m, body, signature, detail);
    if (error == 0)
        error = check_generation(&m, detail);
    if (error == 0)
        error = unpack_claims(&u, &m, evicted, detail);
    if (error != 0)
        return error;
    CHECK(m.sequence >= 1);
    *ret_manifest = m;
    return 0;
}

void manifest_release(struct manifest *m)
{
    CHECK(m != NULL);
    vv_release(&m->vv);
}
