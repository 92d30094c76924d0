/* Turns objects from somewhere into the entry-by-entry source that
 * writer_replace wants (struct replacement in writer.h). */
#ifndef NODE_SNAPSHOT_PULL_H
#define NODE_SNAPSHOT_PULL_H

#include "backup/snapshot.h"

/* Reads the named object into ret_bytes. */
typedef int (*snapshot_get)(void *ctx, const char *name,
                            struct buffer *ret_bytes, struct cm_detail *detail);

struct snapshot_pull {
    struct snapshot_reader *reader;
    snapshot_get get;
    void *ctx;
    struct buffer bytes;
    struct cm_detail detail; /* of the first error */
    int error;
    uint64_t objects; /* read so far */
};

/* keys: see snapshot_reader_create. */
int snapshot_pull_begin(struct snapshot_pull *ret_pull,
                        const struct manifest *m,
                        const struct snapshot_keys *keys, snapshot_get get,
                        void *ctx);
void snapshot_pull_release(struct snapshot_pull *p);
/* context is a struct snapshot_pull. 0 and an entry that lives until the next
 * call; CM_ERR_NOT_FOUND at the end, after snapshot_reader_finish has agreed;
 * else an error, told in p->detail. */
int snapshot_pull_next(void *context, struct entry_id *ret_id,
                       const struct entry **ret_entry);

#endif
