/* Orders of generations. The signature covers the whole body and is checked
 * before a single field is read: an order can be megabytes of sealed
 * incarnations, and whoever has one hands it to others.
 *
 * Encoding: [body bin, signature bin64]; body = [format 1, mesh id bin16,
 * number, previous bin16, founder bin16, founder's certificate bin,
 * created_ms, sealed version vector], and behind that the level that the
 * founder knows (op.h), if it is not the first. */
#include "crdt/generation.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/error.h"
#include "crdt/certificate.h"
#include "crdt/op.h"
#include "crdt/sign.h"

#define ORDER_FORMAT 1
#define ORDER_FIELDS 8
#define ORDER_FIELDS_MAX 64 /* of a later format, to read its number */

static const char order_domain[] = "confmesh generation order v1";

struct mesh_id mesh_id_of(const uint8_t authority_public_key[32])
{
    static const char domain[] = "confmesh mesh id v1";
    crypto_generichash_state state;
    struct mesh_id ret;

    CHECK(authority_public_key != NULL);
    (void)crypto_generichash_init(&state, NULL, 0, MESH_ID_SIZE);
    (void)crypto_generichash_update(&state, (const uint8_t *)domain,
                                    sizeof domain);
    (void)crypto_generichash_update(&state, authority_public_key, 32);
    (void)crypto_generichash_final(&state, ret.bytes, MESH_ID_SIZE);
    return ret;
}

bool mesh_id_equal(const struct mesh_id *a, const struct mesh_id *b)
{
    return memcmp(a->bytes, b->bytes, MESH_ID_SIZE) == 0;
}

void mesh_id_format(char ret_text[MESH_ID_TEXT_SIZE], const struct mesh_id *m)
{
    hex_encode(ret_text, slice_of(m->bytes, MESH_ID_SIZE));
}

bool generation_id_equal(const struct generation_id *a,
                         const struct generation_id *b)
{
    return generation_id_compare(a, b) == 0;
}

int generation_id_compare(const struct generation_id *a,
                          const struct generation_id *b)
{
    if (a->number != b->number)
        return a->number < b->number ? -1 : 1;
    return memcmp(a->hash, b->hash, sizeof a->hash);
}

static bool order_is_sound(const struct generation_order *order)
{
    /* Generation 1 has no order before it and seals nothing. */
    if (order->number == 1)
        return sodium_is_zero(order->previous, sizeof order->previous) == 1 &&
               order->sealed.count == 0;
    return order->number > 1;
}

int generation_order_encode(struct buffer *out,
                            const struct generation_order *order,
                            const uint8_t authority_secret_key[64])
{
    struct buffer body;
    int error;

    bool level = order->founder_level > LEVEL_FIRST;

    if (!order_is_sound(order) || order->founder_level > LEVEL_MAX ||
        order->founder_certificate.size > CERTIFICATE_SIZE_MAX)
        return CM_ERR_INVALID;
    buffer_init(&body, GENERATION_ORDER_SIZE_MAX);
    pack_array(&body, ORDER_FIELDS + level);
    pack_uint(&body, ORDER_FORMAT);
    pack_bytes(&body, order->mesh.bytes, MESH_ID_SIZE);
    pack_uint(&body, order->number);
    pack_bytes(&body, order->previous, sizeof order->previous);
    pack_bytes(&body, order->founder.bytes, INCARNATION_SIZE);
    pack_bin(&body, order->founder_certificate);
    pack_uint(&body, order->created_ms);
    vv_pack(&body, &order->sealed);
    if (level)
        pack_uint(&body, order->founder_level);
    error = sign_pack(out, order_domain, &body, authority_secret_key);
    buffer_release(&body);
    return error;
}

static int decode_body(struct generation_order *ret_order, struct slice body,
                       const uint8_t authority_public_key[32])
{
    struct generation_order order = {0};
    struct mesh_id mesh = mesh_id_of(authority_public_key);
    struct unpacker u;
    size_t fields;
    uint64_t format;

    unpack_init(&u, body);
    fields = unpack_array(&u, ORDER_FIELDS_MAX);
    format = unpack_uint(&u, UINT64_MAX);
    if (u.error == 0 && format != ORDER_FORMAT)
        return CM_ERR_FORMAT_VERSION;
    if (fields != ORDER_FIELDS && fields != ORDER_FIELDS + 1)
        unpack_fail(&u, CM_ERR_MALFORMED);
    unpack_bytes(&u, order.mesh.bytes, MESH_ID_SIZE);
    order.number = unpack_uint(&u, UINT64_MAX);
    unpack_bytes(&u, order.previous, sizeof order.previous);
    unpack_bytes(&u, order.founder.bytes, INCARNATION_SIZE);
    order.founder_certificate = unpack_bin(&u, CERTIFICATE_SIZE_MAX);
    order.created_ms = unpack_uint(&u, UINT64_MAX);
    vv_unpack(&u, &order.sealed);
    if (fields == ORDER_FIELDS + 1) {
        order.founder_level = (uint32_t)unpack_uint(&u, LEVEL_MAX);
        if (u.error == 0 && order.founder_level <= LEVEL_FIRST)
            unpack_fail(&u, CM_ERR_NONCANONICAL);
    }
    if (unpack_finish(&u) == 0 && !mesh_id_equal(&order.mesh, &mesh))
        unpack_fail(&u, CM_ERR_WRONG_MESH);
    if (u.error == 0 && !order_is_sound(&order))
        unpack_fail(&u, CM_ERR_MALFORMED);
    if (u.error != 0) {
        vv_release(&order.sealed);
        return u.error;
    }
    *ret_order = order;
    return 0;
}

int generation_order_decode(struct generation_order *ret_order,
                            struct slice bytes,
                            const uint8_t authority_public_key[32])
{
    uint8_t signature[SIGN_SIZE];
    struct unpacker u;
    struct slice body;
    int error;

    if (bytes.size > GENERATION_ORDER_SIZE_MAX)
        return CM_ERR_TOO_LARGE;
    unpack_init(&u, bytes);
    unpack_array_of(&u, 2);
    body = unpack_bin(&u, GENERATION_ORDER_SIZE_MAX);
    unpack_bytes(&u, signature, sizeof signature);
    error = unpack_finish(&u);
    if (error == 0)
        error =
            sign_verify(signature, order_domain, body, authority_public_key);
    return error == 0 ? decode_body(ret_order, body, authority_public_key)
                      : error;
}

void generation_order_release(struct generation_order *order)
{
    vv_release(&order->sealed);
    *order = (struct generation_order){0};
}

struct generation_id generation_id_of(uint64_t number, struct slice bytes)
{
    struct generation_id ret = {.number = number};
    struct hash hash = hash_of("confmesh generation v1", bytes);

    CHECK(number >= 1);
    memcpy(ret.hash, hash.bytes, sizeof ret.hash);
    return ret;
}
