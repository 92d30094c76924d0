/* A scratch replica: a snapshot, and then the events of deltas, applied by the
 * very writer that a node has, under the generation that they belong to. What
 * comes of it is the state that a node with that version vector holds; a
 * restore begins the new generation from there. It signs nothing. */
#ifndef NODE_SNAPSHOT_STAGE_H
#define NODE_SNAPSHOT_STAGE_H

#include "backup/snapshot.h"
#include "node/snapshot_pull.h"
#include "node/writer.h"

struct snapshot_stage;

/* In an empty directory dir, which the caller makes and removes. pull has been
 * begun on m. sum: of all its entries, if they have been added up (see struct
 * replacement), else NULL. CM_ERR_DAMAGED, ... */
int snapshot_stage_create(struct snapshot_stage **ret_stage, const char *dir,
                          const struct manifest *m, struct snapshot_pull *pull,
                          const struct digest *sum, struct cm_detail *detail);
void snapshot_stage_free(struct snapshot_stage *s);

struct snapshot_stage_counts {
    uint64_t applied;
    uint64_t known;   /* came again */
    uint64_t refused; /* forged, forked, of another generation or sealed */
    uint64_t skipped; /* later than the limit */
};
/* Events of a delta (delta_events), one after the other; those dated after
 * hlc_limit are passed over. CM_ERR_IO, CM_ERR_FULL, CM_ERR_NOMEM; what is
 * wrong with single events is counted, the last told in detail. */
int snapshot_stage_apply(struct snapshot_stage *s, struct slice content,
                         hlc_t hlc_limit, struct snapshot_stage_counts *counts,
                         struct cm_detail *detail);
/* The state now. Borrowed until the next call. */
const struct vv *snapshot_stage_vv(const struct snapshot_stage *s);
const struct hash *snapshot_stage_digest(const struct snapshot_stage *s);
hlc_t snapshot_stage_hlc(const struct snapshot_stage *s);
/* Events that wait for others which did not come. */
size_t snapshot_stage_pending(const struct snapshot_stage *s);

/* META_STANDING as of now, appended to out. */
int snapshot_stage_standing(struct snapshot_stage *s, struct buffer *out);

/* Its entries, for a struct replacement: begin, then next as in writer.h. */
int snapshot_stage_begin(struct snapshot_stage *s, struct cm_detail *detail);
/* The walk is over: events may be applied again. */
void snapshot_stage_end(struct snapshot_stage *s);
int snapshot_stage_next(void *stage, struct entry_id *ret_id,
                        const struct entry **ret_entry);

#endif
