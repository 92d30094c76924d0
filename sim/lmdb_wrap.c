/* System calls of the simulated nodes' store, told to disk.c on their way.
 *
 * Linked with the options of wrap.flags: references to these calls, above all
 * those of the statically linked LMDB, come here instead of the C library.
 * Calls on other files pass through untouched. LMDB 0.9.24 writes data pages
 * by pwrite, or lseek and writev, syncs by fdatasync, and then writes the meta
 * page by pwrite through a second descriptor opened with O_DSYNC. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "crdt/base/check.h"
#include "sim/disk.h"

#define WRITE_SIZE_MAX (64u << 20) /* of one writev */

/* Names that the linker gives; gcc would want prototypes. */
int __real_open(const char *path, int flags, ...);
int __real_open64(const char *path, int flags, ...);
int __real_close(int fd);
ssize_t __real_write(int fd, const void *bytes, size_t size);
ssize_t __real_writev(int fd, const struct iovec *vec, int count);
ssize_t __real_pwrite(int fd, const void *bytes, size_t size, off_t offset);
ssize_t __real_pwrite64(int fd, const void *bytes, size_t size, off_t offset);
ssize_t __real_pwritev(int fd, const struct iovec *vec, int count,
                       off_t offset);
int __real_fsync(int fd);
int __real_fdatasync(int fd);
int __real_ftruncate(int fd, off_t size);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_close(int fd);
ssize_t __wrap_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_writev(int fd, const struct iovec *vec, int count);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t size, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t size, off_t offset);
ssize_t __wrap_pwritev(int fd, const struct iovec *vec, int count,
                       off_t offset);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_ftruncate(int fd, off_t size);

static int open_watched(const char *path, int flags, mode_t mode)
{
    int fd = __real_open(path, flags, mode);
    if (fd >= 0)
        sim_disk_opened(fd, path, flags);
    return fd;
}

static mode_t open_mode(int flags, va_list arguments)
{
    if ((flags & O_CREAT) == 0 && (flags & O_TMPFILE) != O_TMPFILE)
        return 0;
    return va_arg(arguments, mode_t);
}

int __wrap_open(const char *path, int flags, ...)
{
    va_list arguments;

    va_start(arguments, flags);
    mode_t mode = open_mode(flags, arguments);
    va_end(arguments);
    return open_watched(path, flags, mode);
}

int __wrap_open64(const char *path, int flags, ...)
{
    va_list arguments;

    va_start(arguments, flags);
    mode_t mode = open_mode(flags, arguments);
    va_end(arguments);
    return open_watched(path, flags, mode);
}

int __wrap_close(int fd)
{
    sim_disk_closed(fd);
    return __real_close(fd);
}

/* Room for the bytes of a write; NULL and errno if it fails. */
static uint8_t *begin_write(int fd, off_t offset, size_t size)
{
    uint8_t *room = NULL;

    int error = offset < 0
                    ? EINVAL
                    : sim_disk_begin_write(fd, (uint64_t)offset, size, &room);
    if (error == 0)
        return room;
    errno = error;
    return NULL;
}

static ssize_t write_watched(int fd, const void *bytes, size_t size,
                             off_t offset)
{
    uint8_t *room = begin_write(fd, offset, size);

    if (room == NULL)
        return -1;
    memcpy(room, bytes, size);
    sim_disk_finish_write(fd);
    return (ssize_t)size;
}

ssize_t __wrap_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    if (!sim_disk_watches(fd))
        return __real_pwrite(fd, bytes, size, offset);
    return write_watched(fd, bytes, size, offset);
}

ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t size, off_t offset)
{
    if (!sim_disk_watches(fd))
        return __real_pwrite64(fd, bytes, size, offset);
    return write_watched(fd, bytes, size, offset);
}

ssize_t __wrap_write(int fd, const void *bytes, size_t size)
{
    if (!sim_disk_watches(fd))
        return __real_write(fd, bytes, size);
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t put = write_watched(fd, bytes, size, at);
    if (put > 0)
        CHECK(lseek(fd, at + put, SEEK_SET) == at + put);
    return put;
}

/* One write to the disk model, as it is one system call. */
static ssize_t writev_watched(int fd, const struct iovec *vec, int count,
                              off_t offset)
{
    size_t size = 0;

    for (int i = 0; i < count; i++)
        size += vec[i].iov_len;
    CHECK(size <= WRITE_SIZE_MAX);
    uint8_t *room = begin_write(fd, offset, size);
    if (room == NULL)
        return -1;
    for (int i = 0; i < count; i++) {
        memcpy(room, vec[i].iov_base, vec[i].iov_len);
        room += vec[i].iov_len;
    }
    sim_disk_finish_write(fd);
    return (ssize_t)size;
}

ssize_t __wrap_writev(int fd, const struct iovec *vec, int count)
{
    if (!sim_disk_watches(fd))
        return __real_writev(fd, vec, count);
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t put = writev_watched(fd, vec, count, at);
    if (put > 0)
        CHECK(lseek(fd, at + put, SEEK_SET) == at + put);
    return put;
}

ssize_t __wrap_pwritev(int fd, const struct iovec *vec, int count, off_t offset)
{
    if (!sim_disk_watches(fd))
        return __real_pwritev(fd, vec, count, offset);
    return writev_watched(fd, vec, count, offset);
}

static int sync_watched(int fd)
{
    int error = sim_disk_sync(fd);
    if (error == 0)
        return 0;
    errno = error;
    return -1;
}

int __wrap_fsync(int fd)
{
    return sim_disk_watches(fd) ? sync_watched(fd) : __real_fsync(fd);
}

int __wrap_fdatasync(int fd)
{
    return sim_disk_watches(fd) ? sync_watched(fd) : __real_fdatasync(fd);
}

int __wrap_ftruncate(int fd, off_t size)
{
    CHECK(size >= 0);
    if (sim_disk_watches(fd)) {
        int error = sim_disk_before_truncate(fd, (uint64_t)size);
        if (error != 0) {
            errno = error;
            return -1;
        }
    }
    return __real_ftruncate(fd, size);
}

ssize_t sim_real_pread(int fd, void *ret_bytes, size_t size, uint64_t offset)
{
    return pread(fd, ret_bytes, size, (off_t)offset);
}

ssize_t sim_real_pwrite(int fd, const void *bytes, size_t size, uint64_t offset)
{
    return __real_pwrite(fd, bytes, size, (off_t)offset);
}

int sim_real_open(const char *path, int flags)
{
    return __real_open(path, flags);
}

int sim_real_close(int fd)
{
    return __real_close(fd);
}

int sim_real_truncate(int fd, uint64_t size)
{
    return __real_ftruncate(fd, (off_t)size);
}
