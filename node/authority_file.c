/* Crash-safe and exclusive: the text is written to a temporary file in the same
 * directory and then linked (not renamed) to its name, so that an existing key
 * survives a race and a half-written one is never seen. */
#include "node/authority_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crdt/base/check.h"

static int fail_errno(struct cm_detail *detail, const char *what,
                      const char *path)
{
    int code = errno == ENOSPC || errno == EDQUOT ? CM_ERR_FULL
               : errno == EEXIST                  ? CM_ERR_EXISTS
                                                  : CM_ERR_IO;

    return cm_fail(detail, code, "%s %.160s: %s", what, path, strerror(errno));
}

static int fail_exists(struct cm_detail *detail, const char *path)
{
    return cm_fail(detail, CM_ERR_EXISTS,
                   "the authority file %.120s exists and is never overwritten; "
                   "name another with its flag, or move it away first",
                   path);
}

static int write_all(int fd, struct slice bytes)
{
    while (bytes.size > 0) {
        ssize_t put = write(fd, bytes.data, bytes.size);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return CM_ERR_IO;
        bytes = slice_of(bytes.data + put, bytes.size - (size_t)put);
    }
    return 0;
}

/* The directory's entry is durable only after this. */
static int sync_parent(const char *path)
{
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int fd;
    int result;

    if (slash == NULL)
        (void)snprintf(parent, sizeof parent, ".");
    else if (slash == path)
        (void)snprintf(parent, sizeof parent, "/");
    else
        (void)snprintf(parent, sizeof parent, "%.*s", (int)(slash - path),
                       path);
    fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return CM_ERR_IO;
    result = fsync(fd);
    (void)close(fd);
    return result == 0 ? 0 : CM_ERR_IO;
}

static int write_new(const char *path, struct slice text,
                     struct cm_detail *detail)
{
    char temporary[PATH_MAX];
    int length = snprintf(temporary, sizeof temporary, "%s.tmp-%08x", path,
                          (unsigned)randombytes_random());
    int error = 0;
    int fd;

    if (length < 0 || (size_t)length >= sizeof temporary)
        return cm_fail(detail, CM_ERR_TOO_LARGE,
                       "the authority file's path is longer than %d bytes",
                       PATH_MAX - 14);
    fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_errno(detail, "cannot create", temporary);
    if (write_all(fd, text) != 0 || fsync(fd) != 0)
        error = fail_errno(detail, "cannot write", temporary);
    if (close(fd) != 0 && error == 0)
        error = fail_errno(detail, "cannot write", temporary);
    if (error == 0 && link(temporary, path) != 0)
        error = errno == EEXIST ? fail_exists(detail, path)
                                : fail_errno(detail, "cannot create", path);
    (void)unlink(temporary);
    if (error == 0 && sync_parent(path) != 0)
        error = fail_errno(detail, "cannot sync the directory of", path);
    return error;
}

int authority_file_write(const char *path, const struct authority *authority,
                         struct slice passphrase, struct cm_detail *detail)
{
    uint8_t random[AUTHORITY_RANDOM_SIZE];
    struct buffer text;
    int error;

    CHECK(path != NULL && authority != NULL);
    if (access(path, F_OK) == 0)
        return fail_exists(detail, path);
    randombytes_buf(random, sizeof random);
    buffer_init(&text, AUTHORITY_FILE_SIZE_MAX);
    error = authority_encode(&text, authority, passphrase, random);
    if (error == 0)
        buffer_append_byte(&text, '\n');
    if (error == 0)
        error = text.error;
    if (error != 0)
        (void)cm_fail(detail, error, "cannot encode the authority: %s",
                      cm_strerror(error));
    else
        error = write_new(path, buffer_slice(&text), detail);
    if (text.data != NULL)
        sodium_memzero(text.data, text.capacity);
    buffer_release(&text);
    return error;
}

int authority_file_create(struct authority *ret_authority, const char *path,
                          const struct passphrase_source *source,
                          struct cm_detail *detail)
{
    struct passphrase passphrase;
    uint8_t seed[32];
    int error;

    CHECK(ret_authority != NULL && path != NULL && source != NULL);
    if (access(path, F_OK) == 0)
        return fail_exists(detail, path);
    error =
        passphrase_read(&passphrase, source, "the new authority", true, detail);
    if (error != 0)
        return error;
    randombytes_buf(seed, sizeof seed);
    authority_make(ret_authority, seed);
    sodium_memzero(seed, sizeof seed);
    error = authority_file_write(path, ret_authority,
                                 passphrase_slice(&passphrase), detail);
    passphrase_clear(&passphrase);
    if (error != 0)
        authority_clear(ret_authority);
    return error;
}

static int read_text(uint8_t *ret_text, size_t *ret_size, const char *path,
                     struct cm_detail *detail)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t size = 0;

    if (fd < 0)
        return cm_fail(detail, errno == ENOENT ? CM_ERR_NOT_FOUND : CM_ERR_IO,
                       "cannot open the authority file %.120s: %s; name the "
                       "file that 'confmesh init' or 'confmesh recovery-key "
                       "new' made",
                       path, strerror(errno));
    while (size <= AUTHORITY_FILE_SIZE_MAX) {
        ssize_t got =
            read(fd, ret_text + size, AUTHORITY_FILE_SIZE_MAX + 1 - size);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int error = fail_errno(detail, "cannot read", path);

            (void)close(fd);
            return error;
        }
        if (got == 0)
            break;
        size += (size_t)got;
    }
    (void)close(fd);
    if (size > AUTHORITY_FILE_SIZE_MAX)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "%.160s is no authority file: larger than %d bytes",
                       path, AUTHORITY_FILE_SIZE_MAX);
    while (size > 0 &&
           (ret_text[size - 1] == '\n' || ret_text[size - 1] == '\r' ||
            ret_text[size - 1] == ' '))
        size--;
    *ret_size = size;
    return 0;
}

/* An empty passphrase was refused, so the file is sealed: ask for it. */
static int decode_sealed(struct authority *ret_authority, struct slice text,
                         const struct passphrase_source *source,
                         const char *path, struct cm_detail *detail)
{
    struct passphrase passphrase;
    bool encrypted;
    int error;

    if (source->none)
        return cm_fail(detail, CM_ERR_PASSPHRASE,
                       "the authority file %.120s is protected by a "
                       "passphrase; leave --no-passphrase out",
                       path);
    error = passphrase_read(&passphrase, source, path, false, detail);
    if (error != 0)
        return error;
    error = authority_decode(ret_authority, text, passphrase_slice(&passphrase),
                             &encrypted);
    passphrase_clear(&passphrase);
    return error;
}

int authority_file_read(struct authority *ret_authority, const char *path,
                        const struct passphrase_source *source,
                        struct cm_detail *detail)
{
    uint8_t text[AUTHORITY_FILE_SIZE_MAX + 1];
    bool encrypted = false;
    size_t size = 0;
    int error;

    CHECK(ret_authority != NULL && path != NULL && source != NULL);
    error = read_text(text, &size, path, detail);
    if (error != 0)
        return error;
    if (detail != NULL)
        detail->text[0] = '\0';
    error = authority_decode(ret_authority, slice_of(text, size),
                             slice_of(NULL, 0), &encrypted);
    if (error != 0 && encrypted)
        error = decode_sealed(ret_authority, slice_of(text, size), source, path,
                              detail);
    sodium_memzero(text, sizeof text);
    if (error == CM_ERR_MALFORMED && detail != NULL && detail->text[0] == '\0')
        (void)cm_fail(detail, error,
                      "%.120s is no authority file; name the file that "
                      "'confmesh init' or 'confmesh recovery-key new' made",
                      path);
    if (error != 0 && detail != NULL && detail->text[0] == '\0')
        (void)cm_fail(detail, error, "cannot use the authority file %.120s: %s",
                      path, cm_strerror(error));
    return error;
}
