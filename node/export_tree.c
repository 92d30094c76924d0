#include "node/export_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crdt/base/check.h"
#include "crdt/limits.h"

#define TEMPORARY ".confmesh-export.tmp"

_Static_assert(KEY_SIZE_MAX < 4096, "a key fits into a path");

/* The part that starts at *at; moves *at behind its slash. */
static struct slice next_part(struct slice path, size_t *at)
{
    const uint8_t *from = path.data + *at;
    const uint8_t *slash = memchr(from, '/', path.size - *at);
    size_t size = slash == NULL ? path.size - *at : (size_t)(slash - from);
    *at += size + (slash == NULL ? 0 : 1);
    return slice_of(from, size);
}

int export_tree_check(struct slice path, struct cm_detail *detail)
{
    size_t at = 0;
    bool bad = path.size == 0 || path.size > KEY_SIZE_MAX ||
               path.data[path.size - 1] == '/' ||
               memchr(path.data, 0, path.size) != NULL;
    while (!bad && at < path.size) {
        struct slice part = next_part(path, &at);
        bad = part.size == 0 || part.size > 255 ||
              slice_equal(part, slice_of_string(".")) ||
              slice_equal(part, slice_of_string("..")) ||
              slice_equal(part, slice_of_string(TEMPORARY));
    }
    if (bad)
        return cm_fail(detail, CM_ERR_INVALID,
                       "key '%.*s' cannot be a file below the directory "
                       "(empty, '.' or '..' parts, a slash at an end); "
                       "export it with --json",
                       (int)(path.size < 80 ? path.size : 80),
                       (const char *)path.data);
    return 0;
}

/* Opens the directory of the path's last part, making it if make; name gets
 * the last part. The descriptor, or -1 with errno. */
static int open_parent(int directory_fd, struct slice path, bool make,
                       char name[256])
{
    size_t at = 0;
    int fd = fcntl(directory_fd, F_DUPFD_CLOEXEC, 0);
    while (fd >= 0) {
        struct slice part = next_part(path, &at);
        CHECK(part.size > 0 && part.size < 256);
        memcpy(name, part.data, part.size);
        name[part.size] = 0;
        if (at >= path.size)
            return fd;
        if (make && mkdirat(fd, name, 0755) != 0 && errno != EEXIST) {
            int failure = errno;
            (void)close(fd);
            errno = failure;
            return -1;
        }
        int next =
            openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int failure = errno;
        (void)close(fd);
        errno = failure;
        fd = next;
    }
    return -1;
}

static int fail(struct cm_detail *detail, struct slice path, int system_error)
{
    int code = system_error == ENOSPC || system_error == EDQUOT ? CM_ERR_FULL
                                                                : CM_ERR_IO;
    return cm_fail(detail, code, "writing '%.*s': %s",
                   (int)(path.size < 120 ? path.size : 120),
                   (const char *)path.data,
                   system_error == ELOOP || system_error == ENOTDIR
                       ? "a part of its path is a file or symlink already; "
                         "export into an empty directory"
                       : strerror(system_error));
}

static int fail_exists(struct cm_detail *detail, struct slice path)
{
    return cm_fail(
        detail, CM_ERR_EXISTS, "'%.*s' exists already; --force overwrites",
        (int)(path.size < 120 ? path.size : 120), (const char *)path.data);
}

int export_tree_check_absent(int directory_fd, struct slice path,
                             struct cm_detail *detail)
{
    char name[256];
    struct stat s;
    int fd = open_parent(directory_fd, path, false, name);
    if (fd < 0)
        return errno == ENOENT ? 0 : fail(detail, path, errno);
    int found = fstatat(fd, name, &s, AT_SYMLINK_NOFOLLOW);
    (void)close(fd);
    return found == 0 ? fail_exists(detail, path) : 0;
}

static int write_all(int fd, struct slice content, bool sync)
{
    size_t at = 0;
    while (at < content.size) {
        ssize_t n = write(fd, content.data + at, content.size - at);
        if (n < 0 && errno != EINTR)
            return errno;
        at += n > 0 ? (size_t)n : 0;
    }
    return !sync || fsync(fd) == 0 ? 0 : errno;
}

int export_tree_write(int directory_fd, struct slice path, struct slice content,
                      bool force, struct cm_detail *detail)
{
    char name[256];
    CHECK(export_tree_check(path, NULL) == 0);
    int parent = open_parent(directory_fd, path, true, name);
    if (parent < 0)
        return fail(detail, path, errno);
    (void)unlinkat(parent, TEMPORARY, 0); /* of a run that was killed */
    int fd = openat(parent, TEMPORARY,
                    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    int failure = fd < 0 ? errno : write_all(fd, content, force);
    if (fd >= 0 && close(fd) != 0 && failure == 0)
        failure = errno;
    if (failure == 0 && renameat2(parent, TEMPORARY, parent, name,
                                  force ? 0 : RENAME_NOREPLACE) != 0)
        failure = errno;
    if (failure != 0 && fd >= 0)
        (void)unlinkat(parent, TEMPORARY, 0);
    (void)close(parent);
    if (failure == EEXIST)
        return fail_exists(detail, path);
    return failure == 0 ? 0 : fail(detail, path, failure);
}

int export_tree_sync(int directory_fd, struct cm_detail *detail)
{
    if (syncfs(directory_fd) == 0)
        return 0;
    return cm_fail(detail, errno == ENOSPC ? CM_ERR_FULL : CM_ERR_IO,
                   "writing to disk: %s", strerror(errno));
}
