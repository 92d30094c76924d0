/* The key file can be printed, typed in and read back after years; therefore
 * text, and a public key in it that tells a wrong seed from a right one. */
#include "crdt/authority.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/hash.h"
#include "crdt/base/pack.h"

#define FILE_MAGIC "confmesh-authority-"
#define FILE_PREFIX FILE_MAGIC "1:"
#define FILE_FIELDS 5
#define SEED_SIZE 32
#define SALT_SIZE 16
#define NONCE_SIZE 24
#define SEALED_SIZE (SEED_SIZE + 16)

enum mode {
    MODE_CLEAR = 0,
    MODE_PASSPHRASE = 1,
};

_Static_assert(SALT_SIZE == crypto_pwhash_SALTBYTES, "Argon2id");
_Static_assert(NONCE_SIZE == crypto_secretbox_NONCEBYTES, "XSalsa20");
_Static_assert(SEALED_SIZE == SEED_SIZE + crypto_secretbox_MACBYTES,
               "Poly1305");
_Static_assert(SALT_SIZE + NONCE_SIZE == AUTHORITY_RANDOM_SIZE, "random");
_Static_assert(SEED_SIZE == crypto_sign_SEEDBYTES, "Ed25519");

/* The content of a file, decoded. */
struct file {
    uint8_t public_key[32];
    enum mode mode;
    struct slice salt;
    struct slice nonce;
    struct slice sealed;
};

void authority_make(struct authority *ret_authority, const uint8_t seed[32])
{
    CHECK(seed != NULL);
    (void)crypto_sign_seed_keypair(ret_authority->public_key,
                                   ret_authority->secret_key, seed);
}

void authority_clear(struct authority *a)
{
    sodium_memzero(a, sizeof *a);
}

static int derive(uint8_t ret_key[crypto_secretbox_KEYBYTES],
                  struct slice passphrase, const uint8_t salt[SALT_SIZE])
{
    CHECK(passphrase.size > 0);
    if (crypto_pwhash(ret_key, crypto_secretbox_KEYBYTES,
                      (const char *)passphrase.data, passphrase.size, salt,
                      crypto_pwhash_OPSLIMIT_INTERACTIVE,
                      crypto_pwhash_MEMLIMIT_INTERACTIVE,
                      crypto_pwhash_ALG_ARGON2ID13) != 0)
        return CM_ERR_NOMEM;
    return 0;
}

static int seal(uint8_t ret_sealed[SEALED_SIZE], const uint8_t seed[SEED_SIZE],
                struct slice passphrase,
                const uint8_t random[AUTHORITY_RANDOM_SIZE])
{
    uint8_t key[crypto_secretbox_KEYBYTES];
    int error = derive(key, passphrase, random);

    if (error == 0)
        (void)crypto_secretbox_easy(ret_sealed, seed, SEED_SIZE,
                                    random + SALT_SIZE, key);
    sodium_memzero(key, sizeof key);
    return error;
}

static int encode_file(struct buffer *out, const struct authority *a,
                       struct slice passphrase,
                       const uint8_t random[AUTHORITY_RANDOM_SIZE])
{
    uint8_t seed[SEED_SIZE];
    uint8_t sealed[SEALED_SIZE];
    bool encrypted = passphrase.size > 0;
    int error = 0;

    (void)crypto_sign_ed25519_sk_to_seed(seed, a->secret_key);
    if (encrypted)
        error = seal(sealed, seed, passphrase, random);
    if (error == 0) {
        pack_array(out, FILE_FIELDS);
        pack_bytes(out, a->public_key, sizeof a->public_key);
        pack_uint(out, encrypted ? MODE_PASSPHRASE : MODE_CLEAR);
        pack_bytes(out, random, encrypted ? SALT_SIZE : 0);
        pack_bytes(out, random + SALT_SIZE, encrypted ? NONCE_SIZE : 0);
        pack_bytes(out, encrypted ? sealed : seed,
                   encrypted ? SEALED_SIZE : SEED_SIZE);
        error = out->error;
    }
    sodium_memzero(seed, sizeof seed);
    return error;
}

int authority_encode(struct buffer *out, const struct authority *a,
                     struct slice passphrase,
                     const uint8_t random[AUTHORITY_RANDOM_SIZE])
{
    uint8_t bytes[AUTHORITY_FILE_SIZE_MAX / 2];
    struct buffer file = {
        .data = bytes, .capacity = sizeof bytes, .limit = sizeof bytes};
    char text[AUTHORITY_FILE_SIZE_MAX];
    int error = encode_file(&file, a, passphrase, random);

    if (error == 0) {
        CHECK(sodium_base64_encoded_len(
                  file.size, sodium_base64_VARIANT_ORIGINAL) <= sizeof text);
        (void)sodium_bin2base64(text, sizeof text, file.data, file.size,
                                sodium_base64_VARIANT_ORIGINAL);
        buffer_append_string(out, FILE_PREFIX);
        buffer_append_string(out, text);
        buffer_append_string(out, "\n");
        error = out->error;
    }
    sodium_memzero(bytes, sizeof bytes);
    sodium_memzero(text, sizeof text);
    return error;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct slice trimmed(struct slice text)
{
    while (text.size > 0 && is_blank(text.data[text.size - 1]))
        text.size--;
    while (text.size > 0 && is_blank(text.data[0]))
        text = slice_of(text.data + 1, text.size - 1);
    return text;
}

/* libsodium's decoder reads some bytes beyond ASCII as if they were digits. */
static bool is_ascii(struct slice text)
{
    size_t i;

    for (i = 0; i < text.size; i++) {
        if (text.data[i] >= 0x80)
            return false;
    }
    return true;
}

/* The bytes behind the prefix and the base64; *ret_size of them. */
static int decode_text(uint8_t ret_bytes[AUTHORITY_FILE_SIZE_MAX],
                       size_t *ret_size, struct slice text)
{
    struct slice prefix = slice_of_string(FILE_PREFIX);

    if (text.size > AUTHORITY_FILE_SIZE_MAX)
        return CM_ERR_MALFORMED;
    text = trimmed(text);
    if (!slice_starts_with(text, prefix))
        return slice_starts_with(text, slice_of_string(FILE_MAGIC))
                   ? CM_ERR_FORMAT_VERSION
                   : CM_ERR_MALFORMED;
    if (!is_ascii(text))
        return CM_ERR_MALFORMED;
    if (sodium_base642bin(ret_bytes, AUTHORITY_FILE_SIZE_MAX,
                          (const char *)text.data + prefix.size,
                          text.size - prefix.size, NULL, ret_size, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0)
        return CM_ERR_MALFORMED;
    return 0;
}

static int decode_file(struct file *ret_file, struct slice bytes)
{
    struct unpacker u;
    bool clear;

    unpack_init(&u, bytes);
    unpack_array_of(&u, FILE_FIELDS);
    unpack_bytes(&u, ret_file->public_key, sizeof ret_file->public_key);
    ret_file->mode = (enum mode)unpack_uint(&u, MODE_PASSPHRASE);
    clear = ret_file->mode == MODE_CLEAR;
    ret_file->salt = unpack_bin(&u, SALT_SIZE);
    ret_file->nonce = unpack_bin(&u, NONCE_SIZE);
    ret_file->sealed = unpack_bin(&u, SEALED_SIZE);
    if (unpack_finish(&u) < 0 ||
        ret_file->salt.size != (clear ? 0 : SALT_SIZE) ||
        ret_file->nonce.size != (clear ? 0 : NONCE_SIZE) ||
        ret_file->sealed.size != (clear ? SEED_SIZE : SEALED_SIZE))
        return CM_ERR_MALFORMED;
    return 0;
}

static int open_seed(uint8_t ret_seed[SEED_SIZE], const struct file *file,
                     struct slice passphrase)
{
    uint8_t key[crypto_secretbox_KEYBYTES];
    int error;

    if (file->mode == MODE_CLEAR) {
        memcpy(ret_seed, file->sealed.data, SEED_SIZE);
        return 0;
    }
    if (passphrase.size == 0)
        return CM_ERR_PASSPHRASE;
    error = derive(key, passphrase, file->salt.data);
    if (error == 0 &&
        crypto_secretbox_open_easy(ret_seed, file->sealed.data, SEALED_SIZE,
                                   file->nonce.data, key) != 0)
        error = CM_ERR_PASSPHRASE;
    sodium_memzero(key, sizeof key);
    return error;
}

int authority_decode(struct authority *ret_authority, struct slice text,
                     struct slice passphrase, bool *ret_encrypted)
{
    uint8_t bytes[AUTHORITY_FILE_SIZE_MAX];
    uint8_t seed[SEED_SIZE];
    struct authority a = {0};
    struct file file;
    size_t size = 0;
    int error = decode_text(bytes, &size, text);

    if (error == 0)
        error = decode_file(&file, slice_of(bytes, size));
    if (error == 0 && ret_encrypted != NULL)
        *ret_encrypted = file.mode == MODE_PASSPHRASE;
    if (error == 0)
        error = open_seed(seed, &file, passphrase);
    if (error == 0) {
        authority_make(&a, seed);
        if (memcmp(a.public_key, file.public_key, 32) != 0)
            error = CM_ERR_MALFORMED;
    }
    if (error == 0)
        *ret_authority = a;
    authority_clear(&a);
    sodium_memzero(seed, sizeof seed);
    sodium_memzero(bytes, sizeof bytes);
    return error;
}

void authority_fingerprint(char ret_text[AUTHORITY_FINGERPRINT_SIZE],
                           const uint8_t public_key[32])
{
    struct hash hash =
        hash_of("confmesh authority v1", slice_of(public_key, 32));

    _Static_assert(AUTHORITY_FINGERPRINT_SIZE == 2 * HASH_SIZE + 1, "hex");
    hex_encode(ret_text, slice_of(hash.bytes, HASH_SIZE));
}
