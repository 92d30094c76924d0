/* Orders and retirements. As with the orders of generations the signature
 * covers the whole body and is checked before a single field is read. */
#include "crdt/eviction.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/sign.h"

#define FIELDS_MAX 64 /* of a later format, to read its number */
#define ORDER_FIELDS 8
#define RETIREMENT_FIELDS 6
#define INCARNATION_PACKED 18

static const char order_domain[] = "confmesh eviction v1";
static const char order_hash_domain[] = "confmesh eviction hash v1";
static const char retirement_domain[] = "confmesh retirement v1";

static bool is_sorted(const struct incarnation *i, size_t count)
{
    for (size_t k = 1; k < count; k++) {
        if (incarnation_compare(&i[k - 1], &i[k]) >= 0)
            return false;
    }
    return true;
}

static bool order_is_sound(const struct eviction_order *o)
{
    return o->epoch >= 1 && o->generation.number >= 1 &&
           (o->epoch > 1 || hash_is_zero(&o->previous)) &&
           is_sorted(o->incarnations, o->count);
}

static int open_body(struct slice *ret_body, uint8_t ret_signature[SIGN_SIZE],
                     struct slice bytes, size_t max)
{
    struct unpacker u;

    if (bytes.size > max)
        return CM_ERR_TOO_LARGE;
    unpack_init(&u, bytes);
    unpack_array_of(&u, 2);
    *ret_body = unpack_bin(&u, max);
    unpack_bytes(&u, ret_signature, SIGN_SIZE);
    return unpack_finish(&u);
}

static void pack_place(struct buffer *out, const struct mesh_id *mesh,
                       const struct generation_id *generation)
{
    pack_uint(out, EVICTION_FORMAT);
    pack_bytes(out, mesh->bytes, MESH_ID_SIZE);
    pack_uint(out, generation->number);
    pack_bytes(out, generation->hash, sizeof generation->hash);
}

/* Array head up to the generation. CM_ERR_FORMAT_VERSION before anything else
 * that a later format may have changed. */
static int unpack_place(struct unpacker *u, size_t fields, struct mesh_id *mesh,
                        struct generation_id *generation)
{
    size_t found = unpack_array(u, FIELDS_MAX);
    uint64_t format = unpack_uint(u, UINT64_MAX);

    if (u->error == 0 && format != EVICTION_FORMAT)
        return CM_ERR_FORMAT_VERSION;
    if (found != fields)
        unpack_fail(u, CM_ERR_MALFORMED);
    unpack_bytes(u, mesh->bytes, MESH_ID_SIZE);
    generation->number = unpack_uint(u, UINT64_MAX);
    unpack_bytes(u, generation->hash, sizeof generation->hash);
    if (u->error == 0 && generation->number == 0)
        unpack_fail(u, CM_ERR_MALFORMED);
    return u->error;
}

/* ---- orders ---- */

int eviction_encode(struct buffer *out, const struct eviction_order *order,
                    const uint8_t authority_secret_key[64])
{
    struct buffer body;
    int error;

    if (order->count > EVICTION_INCARNATIONS_MAX)
        return CM_ERR_TOO_LARGE;
    if (!order_is_sound(order))
        return CM_ERR_INVALID;
    buffer_init(&body, EVICTION_SIZE_MAX);
    pack_array(&body, ORDER_FIELDS);
    pack_place(&body, &order->mesh, &order->generation);
    pack_uint(&body, order->epoch);
    pack_bytes(&body, order->previous.bytes, HASH_SIZE);
    pack_array(&body, order->count);
    for (size_t i = 0; i < order->count; i++)
        pack_bytes(&body, order->incarnations[i].bytes, INCARNATION_SIZE);
    pack_uint(&body, order->created_ms);
    error = sign_pack(out, order_domain, &body, authority_secret_key);
    buffer_release(&body);
    return error;
}

static void unpack_names(struct unpacker *u, struct eviction_order *o)
{
    size_t count = unpack_array(u, EVICTION_INCARNATIONS_MAX);

    if (count > (u->in.size - u->position) / INCARNATION_PACKED)
        unpack_fail(u, CM_ERR_MALFORMED);
    if (u->error != 0 || count == 0)
        return;
    o->incarnations = cm_calloc(count, sizeof *o->incarnations);
    if (o->incarnations == NULL) {
        unpack_fail(u, CM_ERR_NOMEM);
        return;
    }
    for (o->count = 0; o->count < count && u->error == 0; o->count++)
        unpack_bytes(u, o->incarnations[o->count].bytes, INCARNATION_SIZE);
    if (u->error == 0 && !is_sorted(o->incarnations, count))
        unpack_fail(u, CM_ERR_NONCANONICAL);
}

static int decode_order(struct eviction_order *ret_order, struct slice body,
                        const uint8_t authority_public_key[32])
{
    struct mesh_id mesh = mesh_id_of(authority_public_key);
    struct eviction_order o = {0};
    struct unpacker u;
    int error;

    unpack_init(&u, body);
    error = unpack_place(&u, ORDER_FIELDS, &o.mesh, &o.generation);
    if (error < 0)
        return error;
    o.epoch = unpack_uint(&u, UINT64_MAX);
    unpack_bytes(&u, o.previous.bytes, HASH_SIZE);
    unpack_names(&u, &o);
    o.created_ms = unpack_uint(&u, UINT64_MAX);
    if (unpack_finish(&u) == 0 && !mesh_id_equal(&o.mesh, &mesh))
        unpack_fail(&u, CM_ERR_WRONG_MESH);
    if (u.error == 0 && !order_is_sound(&o))
        unpack_fail(&u, CM_ERR_MALFORMED);
    if (u.error < 0) {
        eviction_release(&o);
        return u.error;
    }
    CHECK(o.count <= EVICTION_INCARNATIONS_MAX);
    *ret_order = o;
    return 0;
}

int eviction_decode(struct eviction_order *ret_order, struct slice bytes,
                    const uint8_t authority_public_key[32])
{
    uint8_t signature[SIGN_SIZE];
    struct slice body;
    int error = open_body(&body, signature, bytes, EVICTION_SIZE_MAX);

    if (error == 0)
        error =
            sign_verify(signature, order_domain, body, authority_public_key);
    return error == 0 ? decode_order(ret_order, body, authority_public_key)
                      : error;
}

void eviction_release(struct eviction_order *order)
{
    cm_free(order->incarnations);
    *order = (struct eviction_order){0};
}

struct hash eviction_hash(struct slice bytes)
{
    CHECK(bytes.size > 0);
    return hash_of(order_hash_domain, bytes);
}

/* ---- retirements ---- */

int retirement_encode(struct buffer *out, const struct retirement *r,
                      const uint8_t sign_secret_key[64])
{
    struct buffer body;
    int error;

    if (r->certificate.size == 0 || r->generation.number == 0)
        return CM_ERR_INVALID;
    if (r->certificate.size > CERTIFICATE_SIZE_MAX)
        return CM_ERR_TOO_LARGE;
    buffer_init(&body, RETIREMENT_SIZE_MAX);
    pack_array(&body, RETIREMENT_FIELDS);
    pack_place(&body, &r->mesh, &r->generation);
    pack_bytes(&body, r->incarnation.bytes, INCARNATION_SIZE);
    pack_bin(&body, r->certificate);
    error = sign_pack(out, retirement_domain, &body, sign_secret_key);
    buffer_release(&body);
    return error;
}

int retirement_decode(struct retirement *ret_retirement, struct slice bytes,
                      const uint8_t authority_public_key[32])
{
    uint8_t signature[SIGN_SIZE];
    struct certificate certificate;
    struct retirement r = {0};
    struct unpacker u;
    struct slice body;
    int error = open_body(&body, signature, bytes, RETIREMENT_SIZE_MAX);

    if (error < 0)
        return error;
    unpack_init(&u, body);
    error = unpack_place(&u, RETIREMENT_FIELDS, &r.mesh, &r.generation);
    if (error < 0)
        return error;
    unpack_bytes(&u, r.incarnation.bytes, INCARNATION_SIZE);
    r.certificate = unpack_bin(&u, CERTIFICATE_SIZE_MAX);
    error = unpack_finish(&u);
    /* The key that signed is in the body: it has to be read first. */
    if (error == 0)
        error = certificate_decode(&certificate, r.certificate,
                                   authority_public_key);
    if (error == 0 && !mesh_id_equal(&certificate.mesh, &r.mesh))
        error = CM_ERR_WRONG_MESH;
    if (error == 0)
        error = sign_verify(signature, retirement_domain, body,
                            certificate.sign_key);
    if (error < 0)
        return error;
    r.node = certificate.key_id;
    *ret_retirement = r;
    return 0;
}
