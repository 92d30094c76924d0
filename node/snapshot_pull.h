/* Turns objects from somewhere into the entry-by-entry source that
 * writer_replace wants (struct replacement in writer.h). */
#ifndef NODE_SNAPSHOT_PULL_H
#define NODE_SNAPSHOT_PULL_H

#include "backup/snapshot.h"

/* Reads the named object into ret_bytes. */
typedef int (*snapshot_get)(void *ctx, const char *name,
                            struct buffer *ret_bytes, struct cm_detail *detail);

struct snapshot_ahead;

struct snapshot_pull {
    struct snapshot_reader *reader;
    snapshot_get get;
    void *ctx;
    struct mesh_id mesh;
    struct snapshot_keys keys;
    bool hurries;                 /* a thread reads ahead, where there is one */
    struct snapshot_ahead *ahead; /* owned; NULL: not yet, or not at all */
    struct buffer bytes;
    struct buffer content; /* of the chunk before, when a thread reads ahead */
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
/* From the first chunk on a thread of its own reads and decodes ahead
 * (snapshot_ahead.h), and get is called by it alone. Before the first _next. */
void snapshot_pull_hurry(struct snapshot_pull *p);
/* One more object, of which nothing is handed out: for who only verifies. 0,
 * then CM_ERR_NOT_FOUND as _next. */
int snapshot_pull_skip(struct snapshot_pull *p);
/* What is wrong with the object of that name, in words. Returns error. */
int snapshot_pull_fail(struct cm_detail *detail, int error, const char *name,
                       const struct cm_detail *inner);
/* context is a struct snapshot_pull. 0 and an entry that lives until the next
 * call; CM_ERR_NOT_FOUND at the end, after snapshot_reader_finish has agreed;
 * else an error, told in p->detail. */
int snapshot_pull_next(void *context, struct entry_id *ret_id,
                       const struct entry **ret_entry);

#endif
