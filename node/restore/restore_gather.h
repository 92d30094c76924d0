/* What the targets hold, as one state: see restore_gather.c. */
#ifndef NODE_RESTORE_RESTORE_GATHER_H
#define NODE_RESTORE_RESTORE_GATHER_H

#include "node/restore/restore.h"
#include "node/snapshot_state.h"

/* A snapshot with its deltas. */
struct restore_source {
    struct snapshot_state *state; /* owned */
    struct vv joined;             /* this one's and all before it */
    /* The walk. */
    struct entry_id id;
    const struct entry *entry;
    bool consumed; /* the next is wanted */
    bool ended;
};

int restore_gather(struct restore *r); /* after restore_choose */
void restore_sources_release(struct restore *r);
/* What all sources cover, of every generation; NULL before the first. */
const struct vv *restore_seen(const struct restore *r);
/* Of the joined state. */
const struct vv *restore_vv(const struct restore *r);
hlc_t restore_hlc(const struct restore *r);
/* NULL: of several sources it is not known beforehand. */
const struct hash *restore_known_digest(const struct restore *r);
const struct digest *restore_known_sum(const struct restore *r);
/* Its entries; next as in writer.h, with the struct restore. */
int restore_walk_begin(struct restore *r, struct cm_detail *detail);
int restore_walk_next(void *restore, struct entry_id *ret_id,
                      const struct entry **ret_entry);
/* What was wrong with a source during the walk, or NULL. */
const char *restore_walk_detail(const struct restore *r);

#endif
