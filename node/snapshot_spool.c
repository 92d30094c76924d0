/* O_TMPFILE where the file system has it, else created and unlinked at once:
 * either way nothing is left behind by a crash. */
#include "node/snapshot_spool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

static int fail_errno(struct cm_detail *detail, const char *what)
{
    int number = errno;

    return cm_fail(
        detail, number == ENOSPC || number == EDQUOT ? CM_ERR_FULL : CM_ERR_IO,
        "cannot %s the snapshot's spool file: %s", what, strerror(number));
}

int snapshot_spool_open(struct snapshot_spool *ret_spool, const char *dir,
                        struct cm_detail *detail)
{
    int fd;

    CHECK(ret_spool != NULL && dir != NULL);
    fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
        char path[PATH_MAX];
        int length = snprintf(path, sizeof path, "%s/.spool-XXXXXX", dir);

        if (length < 0 || (size_t)length >= sizeof path) {
            errno = ENAMETOOLONG;
            return fail_errno(detail, "name");
        }
        fd = mkostemp(path, O_CLOEXEC);
        if (fd < 0)
            return fail_errno(detail, "create");
        (void)unlink(path);
    }
    *ret_spool = (struct snapshot_spool){.fd = fd};
    buffer_init(&ret_spool->tail, SPOOL_BLOCK_SIZE + SNAPSHOT_OBJECT_MAX);
    return 0;
}

void snapshot_spool_close(struct snapshot_spool *s)
{
    CHECK(s != NULL);
    if (s->fd >= 0)
        (void)close(s->fd);
    buffer_release(&s->tail);
    cm_free(s->items);
    *s = (struct snapshot_spool){.fd = -1};
}

void snapshot_spool_empty(struct snapshot_spool *s)
{
    CHECK(s->fd >= 0);
    (void)ftruncate(s->fd, 0); /* else closing does it */
}

static int reserve(struct snapshot_spool *s)
{
    size_t capacity = s->capacity > 0 ? 2 * s->capacity : 64;
    struct spool_item *grown;

    if (s->count < s->capacity)
        return 0;
    if (s->count == SPOOL_OBJECTS_MAX)
        return CM_ERR_LIMIT;
    grown = cm_realloc(s->items, capacity * sizeof *grown);
    if (grown == NULL)
        return CM_ERR_NOMEM;
    s->items = grown;
    s->capacity = capacity;
    return 0;
}

static int write_tail(struct snapshot_spool *s, struct cm_detail *detail)
{
    size_t done = 0;

    CHECK(s->written + s->tail.size == s->size);
    while (done < s->tail.size) {
        ssize_t put = pwrite(s->fd, s->tail.data + done, s->tail.size - done,
                             (off_t)(s->written + done));

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return fail_errno(detail, "write");
        done += (size_t)put;
    }
    s->written = s->size;
    buffer_clear(&s->tail);
    return 0;
}

int snapshot_spool_append(struct snapshot_spool *s,
                          enum snapshot_object_kind kind,
                          const struct hash *hash, struct slice bytes,
                          struct cm_detail *detail)
{
    int error = reserve(s);

    CHECK(s->fd >= 0);
    CHECK(bytes.size <= SNAPSHOT_OBJECT_MAX);
    buffer_append_slice(&s->tail, bytes);
    if (error == 0)
        error = s->tail.error;
    if (error != 0)
        return cm_fail(detail, error, "cannot spool a snapshot's object: %s",
                       cm_strerror(error));
    s->items[s->count++] = (struct spool_item){
        .offset = s->size,
        .size = (uint32_t)bytes.size,
        .kind = kind,
        .hash = *hash,
        .checksum = record_checksum(slice_of(NULL, 0), bytes),
    };
    s->size += bytes.size;
    return s->tail.size < SPOOL_BLOCK_SIZE ? 0 : write_tail(s, detail);
}

/* What is there already, of size bytes from offset. */
static int read_file(const struct snapshot_spool *s, uint8_t *to,
                     uint64_t offset, size_t size, struct cm_detail *detail)
{
    size_t done = 0;

    while (done < size) {
        ssize_t got =
            pread(s->fd, to + done, size - done, (off_t)(offset + done));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_errno(detail, "read");
        if (got == 0)
            return cm_fail(detail, CM_ERR_DAMAGED,
                           "the snapshot's spool file was cut short");
        done += (size_t)got;
    }
    return 0;
}

int snapshot_spool_read(const struct snapshot_spool *s, size_t index,
                        struct buffer *ret_bytes, struct cm_detail *detail)
{
    const struct spool_item *item = &s->items[index];
    uint8_t *to;
    int error = 0;

    CHECK(s->fd >= 0);
    CHECK(index < s->count);
    buffer_clear(ret_bytes);
    to = buffer_extend(ret_bytes, item->size);
    if (to == NULL)
        return cm_fail(detail, ret_bytes->error,
                       "cannot read a spooled object: %s",
                       cm_strerror(ret_bytes->error));
    /* An object is in one of both, whole. */
    if (item->offset < s->written)
        error = read_file(s, to, item->offset, item->size, detail);
    else if (item->size > 0)
        memcpy(to, s->tail.data + (item->offset - s->written), item->size);
    if (error != 0)
        return error;
    if (record_checksum(slice_of(NULL, 0), buffer_slice(ret_bytes)) !=
        item->checksum)
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "the snapshot's spool file does not hold what was "
                       "written to it: see whether the disk fails");
    return 0;
}
