/* A spool holds a snapshot's objects in an unlinked temporary file, so that the
 * read transaction of a scan ends before the first byte goes anywhere (a long
 * reader pins LMDB's free pages), and so that a receiver can verify everything
 * before it applies anything. */
#ifndef NODE_SNAPSHOT_SPOOL_H
#define NODE_SNAPSHOT_SPOOL_H

#include "backup/snapshot.h"

#define SPOOL_OBJECTS_MAX (16u << 20)

struct spool_item {
    uint64_t offset;
    uint32_t size;
    enum snapshot_object_kind kind;
    struct hash hash;
    uint64_t checksum; /* of the bytes as they were appended */
};

/* Written at once: the kernel takes a fifth of the time for it that it takes
 * for as many bytes in a thousand small pieces. */
#define SPOOL_BLOCK_SIZE (256u << 10)

struct snapshot_spool {
    int fd;
    uint64_t size;
    uint64_t written;         /* of it, to the file; tail holds what follows */
    struct buffer tail;       /* whole objects */
    struct spool_item *items; /* owned, in the order of appending */
    size_t count;
    size_t capacity;
};

/* In directory dir. CM_ERR_IO, CM_ERR_FULL. */
int snapshot_spool_open(struct snapshot_spool *ret_spool, const char *dir,
                        struct cm_detail *detail);
void snapshot_spool_close(struct snapshot_spool *s);
/* Nothing can be read any more, and closing takes no time: to be called where
 * it does not matter that the kernel takes a tenth of a second for the pages of
 * some hundred megabytes. */
void snapshot_spool_empty(struct snapshot_spool *s);
int snapshot_spool_append(struct snapshot_spool *s,
                          enum snapshot_object_kind kind,
                          const struct hash *hash, struct slice bytes,
                          struct cm_detail *detail);
/* Into ret_bytes (cleared first). CM_ERR_DAMAGED where the file does not hold
 * what was appended. */
int snapshot_spool_read(const struct snapshot_spool *s, size_t index,
                        struct buffer *ret_bytes, struct cm_detail *detail);

#endif
