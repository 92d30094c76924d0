/* libsodium signs contiguous bytes only: domain and bytes are put together on
 * the stack where they fit, which is the ordinary case of an event. */
#include "crdt/sign.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/error.h"
#include "crdt/base/pack.h"

#define STACK_SIZE 2048

_Static_assert(SIGN_SIZE == crypto_sign_BYTES, "Ed25519");

/* Domain, NUL, bytes: in stack if it fits, else allocated; NULL when memory is
 * short. */
static uint8_t *join(uint8_t stack[STACK_SIZE], const char *domain,
                     struct slice bytes, size_t *ret_size)
{
    size_t prefix = strlen(domain) + 1;
    uint8_t *ret = stack;

    CHECK(bytes.size <= SIZE_MAX - prefix);
    CHECK(prefix < STACK_SIZE);
    if (prefix + bytes.size > STACK_SIZE)
        ret = cm_alloc(prefix + bytes.size);
    if (ret == NULL)
        return NULL;
    memcpy(ret, domain, prefix);
    if (bytes.size > 0)
        memcpy(ret + prefix, bytes.data, bytes.size);
    *ret_size = prefix + bytes.size;
    return ret;
}

int sign_make(uint8_t ret_signature[SIGN_SIZE], const char *domain,
              struct slice bytes, const uint8_t secret_key[64])
{
    uint8_t stack[STACK_SIZE];
    size_t size;
    uint8_t *message = join(stack, domain, bytes, &size);

    if (message == NULL)
        return CM_ERR_NOMEM;
    (void)crypto_sign_detached(ret_signature, NULL, message, size, secret_key);
    if (message != stack)
        cm_free(message);
    return 0;
}

int sign_pack(struct buffer *out, const char *domain, const struct buffer *body,
              const uint8_t secret_key[64])
{
    uint8_t signature[SIGN_SIZE];
    int error = body->error;

    CHECK(out != body);
    if (error == 0)
        error = sign_make(signature, domain, buffer_slice(body), secret_key);
    if (error != 0)
        return error;
    pack_array(out, 2);
    pack_bin(out, buffer_slice(body));
    pack_bytes(out, signature, sizeof signature);
    return out->error;
}

int sign_verify(const uint8_t signature[SIGN_SIZE], const char *domain,
                struct slice bytes, const uint8_t public_key[32])
{
    uint8_t stack[STACK_SIZE];
    size_t size;
    uint8_t *message = join(stack, domain, bytes, &size);
    int status;

    if (message == NULL)
        return CM_ERR_NOMEM;
    status = crypto_sign_verify_detached(signature, message, size, public_key);
    if (message != stack)
        cm_free(message);
    return status == 0 ? 0 : CM_ERR_SIGNATURE;
}
