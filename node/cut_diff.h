/* The difference that a join of a cut would make: the worker's part of
 * adopting into a replica that is not empty.
 *
 * Cut and local state, seen by one read transaction, are walked together in key
 * order; each entry that a join changes is spooled as the cut has it. The
 * writer then joins only those (writer_join.c), in one transaction, so that
 * local writes wait for the difference and not for the state. In steps, as a
 * scan. */
#ifndef NODE_CUT_DIFF_H
#define NODE_CUT_DIFF_H

#include "node/snapshot_sink.h"

struct cut_diff;

struct cut_diff_counts {
    uint64_t entries;  /* that the join changes, of all spaces */
    uint64_t present;  /* keys and elements that a reader sees now */
    uint64_t removed;  /* of these, that nobody would see any more */
    struct hash which; /* of the names of those removed */
    uint64_t revision; /* of the state that was compared */
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
/* SNAPSHOT_MORE, SNAPSHOT_DONE (the read transaction is over) or an error. */
int cut_diff_step(struct cut_diff *d, struct cm_detail *detail);
/* After DONE. */
struct cut_diff_counts cut_diff_counts(const struct cut_diff *d);
/* Fills in mode, vv, hlc_max, generation, digest and entries; borrows from d
 * and its sink. May be called again after a failure. */
void cut_diff_replacement(struct cut_diff *d, struct replacement *ret);

#endif
