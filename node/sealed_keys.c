/* The file holds the very bytes that manifests carry: sealing again would give
 * others, and an upload recognises objects under its own key by them. */
#include "node/sealed_keys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "crdt/base/check.h"
#include "crdt/base/hash.h"
#include "crdt/base/pack.h"

#define BOX_SIZE (32 + crypto_box_SEALBYTES)
#define FILE_NAME "snapshot.key"

_Static_assert(BOX_SIZE == 80, "as the format says");
_Static_assert(SEALED_RECIPIENTS_MAX *(BOX_SIZE + 32 + 8) + 32 <=
                   SEALED_KEYS_SIZE_MAX,
               "all recipients fit");

static void key_id_of_data(uint8_t ret[SEALED_KEY_ID_SIZE],
                           const uint8_t key[32], const struct mesh_id *mesh)
{
    struct hash h = hash_keyed(key, "confmesh snapshot key id v1",
                               slice_of(mesh->bytes, MESH_ID_SIZE));

    memcpy(ret, h.bytes, SEALED_KEY_ID_SIZE);
}

static int seal_all(struct data_key *k, const struct mesh_id *mesh,
                    const uint8_t (*recipients)[32], size_t count,
                    struct cm_detail *detail)
{
    uint8_t id[SEALED_KEY_ID_SIZE];
    struct buffer out;
    int error = 0;
    size_t i;

    key_id_of_data(id, k->key, mesh);
    buffer_init(&out, SEALED_KEYS_SIZE_MAX);
    pack_array(&out, 2);
    pack_bytes(&out, id, sizeof id);
    pack_array(&out, count);
    for (i = 0; i < count && error == 0; i++) {
        uint8_t box_key[32];
        uint8_t box[BOX_SIZE];

        if (crypto_sign_ed25519_pk_to_curve25519(box_key, recipients[i]) != 0 ||
            crypto_box_seal(box, k->key, sizeof k->key, box_key) != 0)
            error = cm_fail(detail, CM_ERR_INVALID,
                            "a recovery key is not a public key");
        pack_array(&out, 2);
        pack_bytes(&out, recipients[i], 32);
        pack_bytes(&out, box, sizeof box);
    }
    if (error == 0 && out.error != 0)
        error = cm_fail(detail, out.error, "out of memory");
    if (error == 0) {
        memcpy(k->sealed, out.data, out.size);
        k->sealed_size = out.size;
    }
    buffer_release(&out);
    return error;
}

static void unpack_sealed(struct unpacker *u, uint8_t ret_id[],
                          uint8_t (*ret_recipients)[32],
                          uint8_t (*ret_boxes)[BOX_SIZE], size_t *ret_count)
{
    size_t count;
    size_t i;

    unpack_array_of(u, 2);
    unpack_bytes(u, ret_id, SEALED_KEY_ID_SIZE);
    count = unpack_array(u, SEALED_RECIPIENTS_MAX);
    for (i = 0; i < count && u->error == 0; i++) {
        unpack_array_of(u, 2);
        unpack_bytes(u, ret_recipients[i], 32);
        unpack_bytes(u, ret_boxes[i], BOX_SIZE);
    }
    *ret_count = count;
}

int sealed_keys_decode(struct slice sealed, uint8_t (*ret_recipients)[32],
                       size_t *ret_count)
{
    uint8_t boxes[SEALED_RECIPIENTS_MAX][BOX_SIZE];
    uint8_t id[SEALED_KEY_ID_SIZE];
    struct unpacker u;

    CHECK(ret_recipients != NULL && ret_count != NULL);
    unpack_init(&u, sealed);
    unpack_sealed(&u, id, ret_recipients, boxes, ret_count);
    return unpack_finish(&u);
}

int sealed_keys_id(uint8_t ret_id[SEALED_KEY_ID_SIZE], struct slice sealed)
{
    uint8_t recipients[SEALED_RECIPIENTS_MAX][32];
    uint8_t boxes[SEALED_RECIPIENTS_MAX][BOX_SIZE];
    struct unpacker u;
    size_t count = 0;

    unpack_init(&u, sealed);
    unpack_sealed(&u, ret_id, recipients, boxes, &count);
    return unpack_finish(&u);
}

int sealed_keys_open(uint8_t ret_data_key[32], const struct mesh_id *mesh,
                     struct slice sealed, const struct authority *recovery,
                     struct cm_detail *detail)
{
    uint8_t recipients[SEALED_RECIPIENTS_MAX][32];
    uint8_t boxes[SEALED_RECIPIENTS_MAX][BOX_SIZE];
    uint8_t id[SEALED_KEY_ID_SIZE];
    uint8_t expected[SEALED_KEY_ID_SIZE];
    uint8_t secret[32];
    uint8_t public[32];
    struct unpacker u;
    size_t count = 0;
    size_t i;
    int error = CM_ERR_AUTHORITY;

    unpack_init(&u, sealed);
    unpack_sealed(&u, id, recipients, boxes, &count);
    if (unpack_finish(&u) != 0)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "the manifest's sealed keys are malformed");
    for (i = 0; i < count; i++) {
        if (memcmp(recipients[i], recovery->public_key, 32) != 0)
            continue;
        error = CM_ERR_DAMAGED;
        (void)crypto_sign_ed25519_sk_to_curve25519(secret,
                                                   recovery->secret_key);
        if (crypto_sign_ed25519_pk_to_curve25519(public, recipients[i]) == 0 &&
            crypto_box_seal_open(ret_data_key, boxes[i], BOX_SIZE, public,
                                 secret) == 0)
            error = 0;
        sodium_memzero(secret, sizeof secret);
        break;
    }
    if (error == 0) {
        key_id_of_data(expected, ret_data_key, mesh);
        if (sodium_memcmp(expected, id, sizeof id) == 0)
            return 0;
        sodium_memzero(ret_data_key, 32);
        error = CM_ERR_DAMAGED;
    }
    return cm_fail(detail, error,
                   error == CM_ERR_AUTHORITY
                       ? "the snapshot is encrypted for other recovery keys "
                         "than the one that was given"
                       : "the snapshot's data key cannot be opened with the "
                         "recovery key that it names");
}

int recovery_key_parse(uint8_t ret_key[32], const char *text,
                       const uint8_t authority[32], struct cm_detail *detail)
{
    uint8_t box_key[32];

    CHECK(text != NULL && authority != NULL);
    if (strcmp(text, "authority") == 0) {
        memcpy(ret_key, authority, 32);
        return 0;
    }
    if (hex_decode(ret_key, 32, text) != 0 ||
        crypto_sign_ed25519_pk_to_curve25519(box_key, ret_key) != 0)
        return cm_fail(
            detail, CM_ERR_INVALID,
            "'%.70s' is no recovery key: give the 64 hex digits that "
            "'confmesh recovery-key new' printed, or 'authority'",
            text);
    return 0;
}

/* ---- the node's file ---- */

static int fail_errno(struct cm_detail *detail, const char *what,
                      const char *path)
{
    return cm_fail(detail,
                   errno == ENOSPC || errno == EDQUOT ? CM_ERR_FULL : CM_ERR_IO,
                   "cannot %s %.160s: %s", what, path, strerror(errno));
}

/* CM_ERR_NOT_FOUND: no usable key for these recipients. */
static int read_file(struct data_key *k, const char *path,
                     const uint8_t (*recipients)[32], size_t count,
                     struct cm_detail *detail)
{
    uint8_t bytes[32 + SEALED_KEYS_SIZE_MAX];
    uint8_t found[SEALED_RECIPIENTS_MAX][32];
    size_t found_count = 0;
    ssize_t size;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT ? CM_ERR_NOT_FOUND
                               : fail_errno(detail, "open", path);
    size = read(fd, bytes, sizeof bytes);
    (void)close(fd);
    if (size < 0)
        return fail_errno(detail, "read", path);
    if (size <= 32 ||
        sealed_keys_decode(slice_of(bytes + 32, (size_t)size - 32), found,
                           &found_count) != 0 ||
        found_count != count || memcmp(found, recipients, 32 * count) != 0)
        return CM_ERR_NOT_FOUND;
    memcpy(k->key, bytes, 32);
    k->sealed_size = (size_t)size - 32;
    memcpy(k->sealed, bytes + 32, k->sealed_size);
    sodium_memzero(bytes, sizeof bytes);
    return 0;
}

static int write_file(const struct data_key *k, const char *path,
                      struct cm_detail *detail)
{
    uint8_t bytes[32 + SEALED_KEYS_SIZE_MAX];
    char temporary[PATH_MAX];
    int length = snprintf(temporary, sizeof temporary, "%s.tmp", path);
    size_t size = 32 + k->sealed_size;
    bool good;
    int fd;

    if (length < 0 || (size_t)length >= sizeof temporary)
        return cm_fail(detail, CM_ERR_TOO_LARGE, "the path is too long");
    memcpy(bytes, k->key, 32);
    memcpy(bytes + 32, k->sealed, k->sealed_size);
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        sodium_memzero(bytes, sizeof bytes);
        return fail_errno(detail, "create", temporary);
    }
    good = write(fd, bytes, size) == (ssize_t)size && fsync(fd) == 0;
    sodium_memzero(bytes, sizeof bytes);
    good = close(fd) == 0 && good;
    if (!good || rename(temporary, path) != 0) {
        int error = fail_errno(detail, "write", path);

        (void)unlink(temporary);
        return error;
    }
    return 0;
}

int data_key_load(struct data_key *ret_key, const char *dir,
                  const struct mesh_id *mesh, const uint8_t (*recipients)[32],
                  size_t recipients_count, struct cm_detail *detail)
{
    struct data_key k = {.sealed_size = 0};
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/" FILE_NAME, dir);
    int error;

    CHECK(recipients_count >= 1 && recipients_count <= SEALED_RECIPIENTS_MAX);
    if (length < 0 || (size_t)length >= sizeof path - 4)
        return cm_fail(detail, CM_ERR_TOO_LARGE, "the path is too long");
    error = read_file(&k, path, recipients, recipients_count, detail);
    if (error == CM_ERR_NOT_FOUND) {
        randombytes_buf(k.key, sizeof k.key);
        error = seal_all(&k, mesh, recipients, recipients_count, detail);
        if (error == 0)
            error = write_file(&k, path, detail);
    }
    if (error == 0)
        *ret_key = k;
    sodium_memzero(&k, sizeof k);
    return error;
}
