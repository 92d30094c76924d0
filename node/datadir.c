#include "node/datadir.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/hash.h"

#define PATH_MAX_SIZE 4096
#define MACHINE_ID_PATH "/etc/machine-id"

struct datadir {
    char path[PATH_MAX_SIZE];
    int lock_fd;
    uint8_t sign_secret_key[64];
    uint8_t sign_public_key[32];
};

static int join_path(char ret_path[PATH_MAX_SIZE], const char *dir,
                     const char *name, struct cm_detail *detail)
{
    int length = snprintf(ret_path, PATH_MAX_SIZE, "%s/%s", dir, name);

    if (length < 0 || length >= PATH_MAX_SIZE)
        return cm_fail(detail, CM_ERR_TOO_LARGE,
                       "%s: the path is longer than %d bytes", dir,
                       PATH_MAX_SIZE - 1);
    return 0;
}

static const char *remedy(int number)
{
    switch (number) {
    case EROFS:
        return "; make it writable, or choose another directory";
    case EACCES:
    case EPERM:
        return "; be its owner, or choose another directory";
    case ENOSPC:
    case EDQUOT:
        return "; free space";
    default:
        return "";
    }
}

static int fail_errno(struct cm_detail *detail, const char *path,
                      const char *what)
{
    int code = CM_ERR_IO;

    if (errno == ENOENT)
        code = CM_ERR_NOT_FOUND;
    else if (errno == EEXIST)
        code = CM_ERR_EXISTS;
    else if (errno == ENOSPC || errno == EDQUOT)
        code = CM_ERR_FULL;
    return cm_fail(detail, code, "%s: cannot %s: %s%s", path, what,
                   strerror(errno), remedy(errno));
}

/* ---- files written whole ---- */

static int write_all(int fd, struct slice bytes)
{
    size_t at = 0;

    while (at < bytes.size) {
        ssize_t written = write(fd, bytes.data + at, bytes.size - at);

        if (written < 0 && errno != EINTR)
            return -1;
        if (written > 0)
            at += (size_t)written;
    }
    return fsync(fd);
}

static int sync_parent(const char *path)
{
    char parent[PATH_MAX_SIZE];
    char *slash;
    int result;
    int fd;

    (void)snprintf(parent, sizeof parent, "%s", path);
    slash = strrchr(parent, '/');
    if (slash == NULL)
        (void)snprintf(parent, sizeof parent, ".");
    else if (slash == parent)
        slash[1] = '\0';
    else
        *slash = '\0';
    fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    result = fsync(fd);
    (void)close(fd);
    return result;
}

int datadir_write_file(const char *path, struct slice bytes, unsigned mode,
                       bool exclusive, struct cm_detail *detail)
{
    char temporary[PATH_MAX_SIZE];
    int length = snprintf(temporary, sizeof temporary, "%s.tmp-%ld", path,
                          (long)getpid());
    int error = 0;
    int fd;

    if (length < 0 || (size_t)length >= sizeof temporary)
        return cm_fail(detail, CM_ERR_TOO_LARGE, "%s: the path is too long",
                       path);
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
              (mode_t)mode);
    if (fd < 0)
        return fail_errno(detail, temporary, "create it");
    if (write_all(fd, bytes) != 0)
        error = fail_errno(detail, temporary, "write it");
    (void)close(fd);
    /* link refuses an existing name, rename would replace it. */
    if (error == 0 && exclusive && link(temporary, path) != 0)
        error = fail_errno(detail, path, "create it");
    if (error == 0 && !exclusive && rename(temporary, path) != 0)
        error = fail_errno(detail, path, "replace it");
    if (error != 0 || exclusive)
        (void)unlink(temporary);
    if (error == 0 && sync_parent(path) != 0)
        error = fail_errno(detail, path, "sync its directory");
    return error;
}

/* ---- the directory ---- */

static int make_directory(const char *dir, bool create,
                          struct cm_detail *detail)
{
    struct stat st;

    if (create && mkdir(dir, 0700) == 0)
        return sync_parent(dir) == 0 ? 0 : fail_errno(detail, dir, "sync it");
    if (create && errno == ENOENT)
        return cm_fail(detail, CM_ERR_NOT_FOUND,
                       "%s: the directory above it does not exist; create "
                       "that first, or name another",
                       dir);
    if (create && errno != EEXIST)
        return fail_errno(detail, dir, "create it");
    if (stat(dir, &st) != 0)
        return cm_fail(detail, CM_ERR_NOT_FOUND,
                       "%s: there is no such data directory: found a mesh with "
                       "\"confmesh init\", or join one with --join TOKEN",
                       dir);
    if (!S_ISDIR(st.st_mode))
        return cm_fail(detail, CM_ERR_INVALID, "%s: is not a directory", dir);
    return 0;
}

static int take_lock(struct datadir *d, struct cm_detail *detail)
{
    char path[PATH_MAX_SIZE];
    int error = join_path(path, d->path, "lock", detail);

    if (error != 0)
        return error;
    d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (d->lock_fd < 0)
        return fail_errno(detail, path, "open it");
    if (flock(d->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return fail_errno(detail, path, "lock it");
        return cm_fail(detail, CM_ERR_LOCKED,
                       "%s: in use by another process: stop that node first, "
                       "or choose another --data",
                       d->path);
    }
    return 0;
}

static int key_from_seed(struct datadir *d, const uint8_t seed[32])
{
    return crypto_sign_seed_keypair(d->sign_public_key, d->sign_secret_key,
                                    seed);
}

static int make_key(struct datadir *d, const char *path,
                    struct cm_detail *detail)
{
    uint8_t seed[32];
    char text[66];
    int error;

    randombytes_buf(seed, sizeof seed);
    hex_encode(text, slice_of(seed, sizeof seed));
    text[64] = '\n';
    error = datadir_write_file(path, slice_of(text, 65), 0600, true, detail);
    if (error == 0)
        CHECK(key_from_seed(d, seed) == 0);
    sodium_memzero(seed, sizeof seed);
    sodium_memzero(text, sizeof text);
    return error;
}

static int read_key(struct datadir *d, bool create, struct cm_detail *detail)
{
    char path[PATH_MAX_SIZE];
    uint8_t seed[32];
    char text[67] = {0};
    ssize_t size;
    int error = join_path(path, d->path, "node.key", detail);
    int fd;

    if (error != 0)
        return error;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && create)
        return make_key(d, path, detail);
    if (fd < 0 && errno == ENOENT)
        return cm_fail(detail, CM_ERR_NOT_FOUND,
                       "%s: No such file: if a node lived here, put its key "
                       "back, nothing else can stand for it; else found a mesh "
                       "(confmesh init) or join one (--join TOKEN)",
                       path);
    if (fd < 0)
        return fail_errno(detail, path, "read it");
    size = read(fd, text, sizeof text - 1);
    (void)close(fd);
    if (size == 65 && text[64] == '\n')
        text[64] = '\0';
    if (size < 64 || hex_decode(seed, sizeof seed, text) != 0)
        error = cm_fail(detail, CM_ERR_DAMAGED,
                        "%s: is no key file of 64 hex digits: put the right "
                        "one back, or join as a new node",
                        path);
    else
        CHECK(key_from_seed(d, seed) == 0);
    sodium_memzero(seed, sizeof seed);
    sodium_memzero(text, sizeof text);
    return error;
}

int datadir_open(struct datadir **ret_datadir, const char *dir, bool create,
                 struct cm_detail *detail)
{
    struct datadir *d = cm_calloc(1, sizeof *d);
    int error;

    if (d == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    d->lock_fd = -1;
    if (strlen(dir) >= sizeof d->path)
        error =
            cm_fail(detail, CM_ERR_TOO_LARGE, "%s: the path is too long", dir);
    else
        error = make_directory(dir, create, detail);
    if (error == 0) {
        (void)snprintf(d->path, sizeof d->path, "%s", dir);
        error = take_lock(d, detail);
    }
    if (error == 0)
        error = read_key(d, create, detail);
    if (error != 0) {
        datadir_close(d);
        return error;
    }
    *ret_datadir = d;
    return 0;
}

void datadir_close(struct datadir *d)
{
    if (d == NULL)
        return;
    if (d->lock_fd >= 0)
        (void)close(d->lock_fd);
    sodium_memzero(d, sizeof *d);
    cm_free(d);
}

const uint8_t *datadir_sign_secret_key(const struct datadir *d)
{
    return d->sign_secret_key;
}

const uint8_t *datadir_sign_public_key(const struct datadir *d)
{
    return d->sign_public_key;
}

void datadir_box_public_key(const struct datadir *d, uint8_t ret_key[32])
{
    CHECK(crypto_sign_ed25519_pk_to_curve25519(ret_key, d->sign_public_key) ==
          0);
}

int datadir_host(const struct datadir *d, uint8_t ret_host[DATADIR_HOST_SIZE],
                 struct cm_detail *detail)
{
    struct buffer facts;
    uint8_t machine[64];
    uint8_t inode[8];
    struct stat st;
    ssize_t size = 0;
    struct hash hash;
    int fd;

    if (stat(d->path, &st) != 0)
        return fail_errno(detail, d->path, "look at it");
    fd = open(MACHINE_ID_PATH, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        size = read(fd, machine, sizeof machine);
        (void)close(fd);
    }
    buffer_init(&facts, 256);
    put_be64(inode, (uint64_t)st.st_ino);
    buffer_append(&facts, inode, sizeof inode);
    if (size > 0) /* a host without one is told apart by the inode alone */
        buffer_append(&facts, machine, (size_t)size);
    if (facts.error != 0) {
        buffer_release(&facts);
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    }
    hash = hash_of("confmesh host v1", buffer_slice(&facts));
    memcpy(ret_host, hash.bytes, DATADIR_HOST_SIZE);
    buffer_release(&facts);
    return 0;
}
