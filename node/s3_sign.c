/* Canonical request, string to sign, derived key, signature: in the order and
 * with the names of the S3 API reference. */
#include "node/s3_sign.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "crdt/base/check.h"

#define ALGORITHM "AWS4-HMAC-SHA256"

struct mac {
    uint8_t bytes[crypto_auth_hmacsha256_BYTES];
};

static struct mac hmac(struct slice key, struct slice text)
{
    crypto_auth_hmacsha256_state state;
    struct mac mac;

    (void)crypto_auth_hmacsha256_init(&state, key.data, key.size);
    (void)crypto_auth_hmacsha256_update(&state, text.data, text.size);
    (void)crypto_auth_hmacsha256_final(&state, mac.bytes);
    sodium_memzero(&state, sizeof state);
    return mac;
}

static struct mac hmac_next(const struct mac *key, const char *text)
{
    return hmac(slice_of(key->bytes, sizeof key->bytes), slice_of_string(text));
}

void s3_date_format(char ret_date[S3_DATE_SIZE], int64_t unix_s)
{
    time_t seconds = (time_t)unix_s;
    struct tm tm = {0};

    CHECK(gmtime_r(&seconds, &tm) != NULL);
    CHECK(strftime(ret_date, S3_DATE_SIZE, "%Y%m%dT%H%M%SZ", &tm) ==
          S3_DATE_SIZE - 1);
}

void s3_payload_hash(char ret_hash[S3_HASH_SIZE], struct slice payload)
{
    uint8_t hash[crypto_hash_sha256_BYTES];

    (void)crypto_hash_sha256(hash, payload.data, payload.size);
    hex_encode(ret_hash, slice_of(hash, sizeof hash));
}

void s3_uri_encode(struct buffer *out, struct slice text, bool slash)
{
    size_t i;

    for (i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     (c >= '0' && c <= '9') || c == '-' || c == '.' ||
                     c == '_' || c == '~' || (c == '/' && slash);

        if (plain)
            buffer_append_byte(out, c);
        else
            buffer_printf(out, "%%%02X", c);
    }
}

static void append_signed_names(struct buffer *out, const struct s3_request *r)
{
    size_t i;

    for (i = 0; i < r->headers_count; i++) {
        CHECK(i == 0 || strcmp(r->headers[i - 1].name, r->headers[i].name) < 0);
        buffer_printf(out, "%s%s", i > 0 ? ";" : "", r->headers[i].name);
    }
}

/* The SHA-256 of the canonical request, in hex. */
static int canonical_hash(char ret_hash[S3_HASH_SIZE],
                          const struct s3_request *r)
{
    struct buffer text;
    size_t i;
    int error;

    buffer_init(&text, 64 * 1024);
    buffer_printf(&text, "%s\n%s\n%s\n", r->method, r->path, r->query);
    for (i = 0; i < r->headers_count; i++)
        buffer_printf(&text, "%s:%s\n", r->headers[i].name,
                      r->headers[i].value);
    buffer_append_byte(&text, '\n');
    append_signed_names(&text, r);
    buffer_printf(&text, "\n%s", r->payload_hash);
    error = text.error;
    if (error == 0)
        s3_payload_hash(ret_hash, buffer_slice(&text));
    buffer_release(&text);
    return error;
}

/* "AWS4" secret -> date -> region -> service -> "aws4_request". */
static struct mac signing_key(const struct s3_credentials *credentials,
                              const char *day, const char *region)
{
    char first[4 + S3_SECRET_MAX + 1];
    struct mac key;
    int size = snprintf(first, sizeof first, "AWS4%s", credentials->secret_key);

    CHECK(size > 4 && (size_t)size < sizeof first);
    key = hmac(slice_of(first, (size_t)size), slice_of_string(day));
    sodium_memzero(first, sizeof first);
    key = hmac_next(&key, region);
    key = hmac_next(&key, "s3");
    return hmac_next(&key, "aws4_request");
}

void s3_sign(struct buffer *out, const struct s3_request *r,
             const struct s3_credentials *credentials)
{
    char signature[S3_HASH_SIZE];
    char hash[S3_HASH_SIZE];
    struct buffer text;
    struct mac key;
    char day[9];

    CHECK(strlen(r->date) == S3_DATE_SIZE - 1);
    CHECK(r->path[0] == '/' && r->headers_count > 0);
    memcpy(day, r->date, 8);
    day[8] = '\0';
    if (out->error == 0)
        out->error = canonical_hash(hash, r);
    if (out->error != 0)
        return;
    buffer_init(&text, 1024);
    buffer_printf(&text, ALGORITHM "\n%s\n%s/%s/s3/aws4_request\n%s", r->date,
                  day, r->region, hash);
    out->error = text.error;
    key = signing_key(credentials, day, r->region);
    key = hmac(slice_of(key.bytes, sizeof key.bytes), buffer_slice(&text));
    hex_encode(signature, slice_of(key.bytes, sizeof key.bytes));
    buffer_release(&text);
    buffer_printf(out,
                  ALGORITHM " Credential=%s/%s/%s/s3/aws4_request,"
                            "SignedHeaders=",
                  credentials->access_key, day, r->region);
    append_signed_names(out, r);
    buffer_printf(out, ",Signature=%s", signature);
}
