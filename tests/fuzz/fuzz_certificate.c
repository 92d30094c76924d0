/* Goal: no certificate crashes its decoder, gets more rights than its issuer
 * has, or has two encodings. Method, by the first byte: the input as it is; as
 * a body signed by the authority; as a body signed by an issuer. */
#include <stdint.h>
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/sign.h"
#include "tests/fuzz/support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct certificate *c, struct slice bytes,
                  const struct fuzz_keys *signer)
{
    struct entry_id id = {.space = SPACE_REGISTER,
                          .key = slice_of_string("users/bob")};
    struct buffer out;

    CHECK(c->prefixes_count <= CERTIFICATE_PREFIXES_MAX);
    CHECK(certificate_check_name(c->name, NULL) == 0);
    CHECK(c->issuer.size == 0 || (c->roles & ROLE_ISSUER) == 0);
    CHECK(c->issuer.size == 0 || (c->roles & ROLE_ADMIN) == 0);
    CHECK((c->roles & ROLE_WRITER) != 0 || !certificate_may_write(c, &id));
    (void)certificate_check_dates(c, UINT64_C(1700000000000));
    if (signer == NULL)
        return;
    buffer_init(&out, CERTIFICATE_SIZE_MAX);
    CHECK(certificate_encode(&out, c, signer->secret_key) == 0);
    CHECK(slice_equal(buffer_slice(&out), bytes));
    buffer_release(&out);
}

static void try_certificate(struct slice bytes, const struct fuzz_keys *signer)
{
    struct certificate c;

    if (certificate_decode(&c, bytes,
                           fuzz_keys_of(FUZZ_AUTHORITY)->public_key) == 0)
        check(&c, bytes, signer);
}

static void try_body(struct slice body, const struct fuzz_keys *signer)
{
    uint8_t signature[SIGN_SIZE];
    struct buffer out;

    CHECK(sign_make(signature, "confmesh certificate v1", body,
                    signer->secret_key) == 0);
    buffer_init(&out, 2 * CERTIFICATE_SIZE_MAX);
    pack_array(&out, 2);
    pack_bin(&out, body);
    pack_bytes(&out, signature, sizeof signature);
    if (out.error == 0)
        try_certificate(buffer_slice(&out), signer);
    buffer_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest;

    if (size == 0)
        return 0;
    rest = slice_of(data + 1, size - 1);
    (void)fuzz_keys_of(FUZZ_NODE);
    if (data[0] % 3 == 0)
        try_certificate(rest, NULL);
    else
        try_body(rest,
                 fuzz_keys_of(data[0] % 3 == 1 ? FUZZ_AUTHORITY : FUZZ_ISSUER));
    return 0;
}
