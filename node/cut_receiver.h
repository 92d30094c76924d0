/* A cut on its way in: pieces become messages, messages are verified and
 * spooled by a worker, in order, while the next ones arrive.
 *
 * It outlives its link: what is there stays, and another link to the same node
 * goes on behind it. Bounded: reading pauses while CUT_QUEUE_MAX bytes wait
 * for the worker. */
#ifndef NODE_CUT_RECEIVER_H
#define NODE_CUT_RECEIVER_H

#include "node/frame.h"
#include "node/snapshot_sink.h"

#define CUT_QUEUE_MAX (8u << 20)

struct node;
struct link;
struct cut_receiver;

/* Everything has come and verifies (0), or it never will (detail). Called
 * once, on the loop. */
typedef void (*cut_received)(struct node *n, int error,
                             const struct cm_detail *detail);

/* CM_ERR_NOMEM, CM_ERR_IO, … */
int cut_receiver_create(struct cut_receiver **ret_receiver, struct node *n,
                        cut_received done, struct cm_detail *detail);
/* Also while a worker holds it: then it goes when that is done. NULL is
 * fine. */
void cut_receiver_free(struct cut_receiver *r);
/* What to ask for: 0 and 0, or the cut that was begun. */
void cut_receiver_wants(const struct cut_receiver *r, uint64_t *ret_cut,
                        uint64_t *ret_messages);
/* Frames of the link that the cut comes over: CUT and SNAPSHOT. An error: the
 * link is of no use. */
int cut_receiver_take(struct cut_receiver *r, struct link *l,
                      const struct frame *f);
void cut_receiver_link_gone(struct cut_receiver *r);
/* After it was received whole: the caller's from then on. */
struct snapshot_sink *cut_receiver_sink(struct cut_receiver *r);

struct cut_progress {
    uint64_t messages, messages_total;
    uint64_t bytes, bytes_total; /* as they travel; total 0: not told yet */
};
struct cut_progress cut_receiver_progress(const struct cut_receiver *r);

#endif
