/* Certificates. They are small (4 KiB) and checked once per peer, so one
 * function walks the chain from the end that the peer showed to the key that
 * everybody trusts. */
#include "crdt/certificate.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/sign.h"

#define CERTIFICATE_FIELDS 10
#define FIELDS_MAX 64 /* of a later format, to read its number */
#define ROLES_ALL                                                              \
    ((unsigned)(ROLE_WRITER | ROLE_READER | ROLE_ISSUER | ROLE_ADMIN))
/* Grace for clocks that are set wrong: expiry restrains honest nodes, it is
 * eviction that stops thieves. */
#define GRACE_MS UINT64_C(86400000)

static const char sign_domain[] = "confmesh certificate v1";

int certificate_check_name(const char *name, struct cm_detail *detail)
{
    size_t length;
    size_t i;

    CHECK(name != NULL);
    length = strlen(name);
    if (length == 0)
        return cm_fail(detail, CM_ERR_INVALID,
                       "name is empty; give 1 to %d letters, digits, '-', "
                       "'_' or '.'",
                       NAME_SIZE_MAX);
    if (length > NAME_SIZE_MAX)
        return cm_fail(detail, CM_ERR_TOO_LARGE,
                       "name has %zu bytes, the limit is %d; shorten it",
                       length, NAME_SIZE_MAX);
    for (i = 0; i < length; i++) {
        char c = name[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.'))
            return cm_fail(detail, CM_ERR_INVALID,
                           "name has byte 0x%02x at position %zu; use only "
                           "letters, digits, '-', '_' and '.'",
                           (unsigned)(uint8_t)c, i + 1);
    }
    return 0;
}

static bool is_sound(const struct certificate *c)
{
    size_t i;

    if (certificate_check_name(c->name, NULL) < 0 || c->roles > ROLES_ALL ||
        c->prefixes_count > CERTIFICATE_PREFIXES_MAX ||
        c->not_before_ms > c->not_after_ms)
        return false;
    for (i = 0; i < c->prefixes_count; i++) {
        if (c->prefixes[i].size > KEY_SIZE_MAX ||
            !utf8_is_valid(c->prefixes[i]))
            return false;
    }
    return true;
}

int certificate_encode(struct buffer *out, const struct certificate *c,
                       const uint8_t signer_secret_key[64])
{
    uint8_t bytes[CERTIFICATE_SIZE_MAX];
    struct buffer body = {
        .data = bytes, .capacity = sizeof bytes, .limit = sizeof bytes};
    size_t start = out->size;
    size_t i;
    int error;

    if (memchr(c->name, '\0', sizeof c->name) == NULL || !is_sound(c))
        return CM_ERR_INVALID;
    pack_array(&body, CERTIFICATE_FIELDS);
    pack_uint(&body, CERTIFICATE_FORMAT);
    pack_bytes(&body, c->mesh.bytes, MESH_ID_SIZE);
    pack_bytes(&body, c->sign_key, sizeof c->sign_key);
    pack_bytes(&body, c->box_key, sizeof c->box_key);
    pack_string(&body, slice_of_string(c->name));
    pack_uint(&body, c->roles);
    pack_array(&body, c->prefixes_count);
    for (i = 0; i < c->prefixes_count; i++)
        pack_string(&body, c->prefixes[i]);
    pack_uint(&body, c->not_before_ms);
    pack_uint(&body, c->not_after_ms);
    pack_bin(&body, c->issuer);
    error = sign_pack(out, sign_domain, &body, signer_secret_key);
    if (error == 0 && out->size - start > CERTIFICATE_SIZE_MAX)
        error = out->error = CM_ERR_TOO_LARGE;
    return error;
}

/* One certificate without its chain, and what its signature is over. */
struct unchecked {
    struct certificate certificate;
    struct slice body;
    uint8_t signature[SIGN_SIZE];
};

static int decode_body(struct certificate *c, struct slice body)
{
    struct unpacker u;
    struct slice name;
    size_t fields;
    size_t i;
    uint64_t format;

    *c = (struct certificate){0};
    unpack_init(&u, body);
    fields = unpack_array(&u, FIELDS_MAX);
    format = unpack_uint(&u, UINT64_MAX);
    if (u.error == 0 && format != CERTIFICATE_FORMAT)
        return CM_ERR_FORMAT_VERSION;
    if (fields != CERTIFICATE_FIELDS)
        unpack_fail(&u, CM_ERR_MALFORMED);
    unpack_bytes(&u, c->mesh.bytes, MESH_ID_SIZE);
    unpack_bytes(&u, c->sign_key, sizeof c->sign_key);
    unpack_bytes(&u, c->box_key, sizeof c->box_key);
    name = unpack_string(&u, NAME_SIZE_MAX);
    if (name.size > 0)
        memcpy(c->name, name.data, name.size);
    c->roles = (unsigned)unpack_uint(&u, ROLES_ALL);
    c->prefixes_count = unpack_array(&u, CERTIFICATE_PREFIXES_MAX);
    for (i = 0; i < c->prefixes_count; i++)
        c->prefixes[i] = unpack_string(&u, KEY_SIZE_MAX);
    c->not_before_ms = unpack_uint(&u, UINT64_MAX);
    c->not_after_ms = unpack_uint(&u, UINT64_MAX);
    c->issuer = unpack_bin(&u, CERTIFICATE_SIZE_MAX);
    if (unpack_finish(&u) == 0 && !is_sound(c))
        unpack_fail(&u, CM_ERR_MALFORMED);
    c->key_id = key_id_of(c->sign_key);
    return u.error;
}

static int decode_unchecked(struct unchecked *ret, struct slice bytes)
{
    struct unpacker u;

    if (bytes.size > CERTIFICATE_SIZE_MAX)
        return CM_ERR_TOO_LARGE;
    unpack_init(&u, bytes);
    unpack_array_of(&u, 2);
    ret->body = unpack_bin(&u, CERTIFICATE_SIZE_MAX);
    unpack_bytes(&u, ret->signature, sizeof ret->signature);
    if (unpack_finish(&u) < 0)
        return u.error;
    return decode_body(&ret->certificate, ret->body);
}

static bool prefix_within(struct slice prefix, const struct certificate *c)
{
    size_t i;

    for (i = 0; i < c->prefixes_count; i++) {
        if (slice_starts_with(prefix, c->prefixes[i]))
            return true;
    }
    return false;
}

/* What an issuer may hand on: nothing that it does not have, and not the
 * right to hand on. */
static int check_issued(const struct certificate *c,
                        const struct certificate *issuer)
{
    size_t i;

    if ((issuer->roles & ROLE_ISSUER) == 0 || (c->roles & ROLE_ISSUER) != 0)
        return CM_ERR_AUTHORITY;
    if ((c->roles & ROLE_ADMIN) != 0 && (issuer->roles & ROLE_ADMIN) == 0)
        return CM_ERR_AUTHORITY;
    for (i = 0; i < c->prefixes_count; i++) {
        if (!prefix_within(c->prefixes[i], issuer))
            return CM_ERR_AUTHORITY;
    }
    return 0;
}

static int check_signature(const struct unchecked *c, const struct mesh_id *m,
                           const uint8_t public_key[32])
{
    if (!mesh_id_equal(&c->certificate.mesh, m))
        return CM_ERR_WRONG_MESH;
    return sign_verify(c->signature, sign_domain, c->body, public_key);
}

int certificate_decode(struct certificate *ret_certificate, struct slice bytes,
                       const uint8_t authority_public_key[32])
{
    struct mesh_id mesh = mesh_id_of(authority_public_key);
    const uint8_t *signer = authority_public_key;
    struct unchecked own;
    struct unchecked issuer;
    int error = decode_unchecked(&own, bytes);

    if (error == 0 && own.certificate.issuer.size > 0) {
        error = decode_unchecked(&issuer, own.certificate.issuer);
        /* A chain of at most two. */
        if (error == 0 && issuer.certificate.issuer.size > 0)
            error = CM_ERR_AUTHORITY;
        if (error == 0)
            error = check_signature(&issuer, &mesh, authority_public_key);
        if (error == 0)
            error = check_issued(&own.certificate, &issuer.certificate);
        signer = issuer.certificate.sign_key;
    }
    if (error == 0)
        error = check_signature(&own, &mesh, signer);
    if (error < 0)
        return error;
    CHECK(own.certificate.prefixes_count <= CERTIFICATE_PREFIXES_MAX);
    *ret_certificate = own.certificate;
    return 0;
}

int certificate_check_dates(const struct certificate *c, uint64_t wall_ms)
{
    CHECK(c->not_before_ms <= c->not_after_ms);
    if (wall_ms < c->not_before_ms && c->not_before_ms - wall_ms > GRACE_MS)
        return CM_ERR_EXPIRED;
    if (wall_ms > c->not_after_ms && wall_ms - c->not_after_ms > GRACE_MS)
        return CM_ERR_EXPIRED;
    return 0;
}

bool certificate_may_write(const struct certificate *c,
                           const struct entry_id *id)
{
    CHECK(id->key.size > 0);
    if ((c->roles & ROLE_WRITER) == 0)
        return false;
    return id->space > SPACE_CLIENT_LAST || prefix_within(id->key, c);
}

struct key_id key_id_of(const uint8_t sign_key[32])
{
    static const char domain[] = "confmesh key id v1";
    crypto_generichash_state state;
    struct key_id ret;

    (void)crypto_generichash_init(&state, NULL, 0, KEY_ID_SIZE);
    (void)crypto_generichash_update(&state, (const uint8_t *)domain,
                                    sizeof domain);
    (void)crypto_generichash_update(&state, sign_key, 32);
    (void)crypto_generichash_final(&state, ret.bytes, KEY_ID_SIZE);
    return ret;
}

int key_id_compare(const struct key_id *a, const struct key_id *b)
{
    return memcmp(a->bytes, b->bytes, KEY_ID_SIZE);
}
