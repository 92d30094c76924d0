/* The difference that a join of a cut would make: the worker's part of
 * adopting into a replica that is not empty.
 *
 * Cut and local state, seen by one read transaction, are walked together in key
 * order; each entry that a join changes is spooled as the cut has it. The
 * writer then joins only those (writer_join.c), in one transaction, so that
 * local writes wait for the difference and not for the state. A difference that
 * is too large for that is not spooled: the walk begins again and makes blocks
 * of the whole state as it will be, which are staged (stage.h). In steps, as a
 * scan. */
#ifndef NODE_CUT_DIFF_H
#define NODE_CUT_DIFF_H

#include "node/snapshot_sink.h"
#include "node/stage.h"

/* What one transaction takes over; the tests set less. */
#define CUT_DIFF_ENTRIES_MAX 32768
#define CUT_DIFF_BYTES_MAX (32u << 20)
#define CUT_DIFF_LARGE 2 /* a result of cut_diff_step */

struct cut_diff;

struct cut_diff_counts {
    uint64_t entries;  /* that the join changes, of all spaces */
    uint64_t present;  /* keys and elements that a reader sees now */
    uint64_t removed;  /* of these, that nobody would see any more */
    struct hash which; /* of the names of those removed */
    uint64_t revision; /* of the state that was compared */
    bool staged;       /* and not spooled */
};

/* "A cut that would delete more than 10 % and more than 100 keys waits." */
#define CUT_REMOVED_MAX 100
bool cut_diff_is_mass_deletion(const struct cut_diff_counts *c);

/* sink is done, and outlives the difference. INTENT_ADOPTING has been committed
 * for its vector. wall_ms: what has expired by then is not present. */
int cut_diff_create(struct cut_diff **ret_diff, struct store *store,
                    struct snapshot_sink *sink, const char *spool_dir,
                    uint64_t wall_ms, struct cm_detail *detail);
/* The same of any state, given as a replacement of mode ADOPT_JOIN, or
 * ADOPT_RETAIN: then the difference is what lies beyond the local vector. What
 * it borrows outlives the difference. */
int cut_diff_create_of(struct cut_diff **ret_diff, struct store *store,
                       const struct replacement *cut, const char *spool_dir,
                       uint64_t wall_ms, struct cm_detail *detail);
void cut_diff_free(struct cut_diff *d); /* NULL is fine */
/* A greater difference is not spooled; UINT64_MAX: any is. */
void cut_diff_limit(struct cut_diff *d, uint64_t entries, uint64_t bytes);
/* SNAPSHOT_MORE, SNAPSHOT_DONE (the read transaction is over), CUT_DIFF_LARGE
 * (it is of no use any more) or an error. */
int cut_diff_step(struct cut_diff *d, struct cm_detail *detail);
/* What is made is staged, and not spooled; the cut's digest is known. */
void cut_diff_stage(struct cut_diff *d, const struct digest *cut);
/* Instead of cut_diff_step, after STAGE_BEGIN: appends to block what is staged.
 * DONE: nothing comes after this. */
int cut_diff_fill(struct cut_diff *d, struct buffer *block,
                  struct cm_detail *detail);
/* The bank that blocks are made for. */
unsigned cut_diff_bank(const struct cut_diff *d);
/* After DONE. */
struct cut_diff_counts cut_diff_counts(const struct cut_diff *d);
/* Fills in mode, vv, hlc_max, generation, digest and entries, or what was
 * staged; borrows from d and its sink. May be called again after a failure. */
void cut_diff_replacement(struct cut_diff *d, struct replacement *ret);
/* After DONE of what was staged. */
struct staged *cut_diff_staged(struct cut_diff *d);

#endif
