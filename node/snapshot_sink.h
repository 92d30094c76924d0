/* The joiner's half: takes the messages of a snapshot_source one by one,
 * verifies each at once, spools it, and when all have come gives the replica
 * the entries to adopt. Nothing is applied before everything has verified. */
#ifndef NODE_SNAPSHOT_SINK_H
#define NODE_SNAPSHOT_SINK_H

#include "node/snapshot_pull.h"
#include "node/snapshot_scan.h"
#include "node/snapshot_spool.h"
#include "node/writer.h"

struct snapshot_sink;

/* authority: the public key that the join token vouched for. */
int snapshot_sink_create(struct snapshot_sink **ret_sink,
                         const uint8_t authority[32], const char *spool_dir,
                         struct cm_detail *detail);
void snapshot_sink_free(struct snapshot_sink *s);
/* The next message. SNAPSHOT_MORE, SNAPSHOT_DONE (that was the last one and
 * everything verifies) or an error: give the transfer up. */
int snapshot_sink_feed(struct snapshot_sink *s, struct slice bytes,
                       struct cm_detail *detail);
uint64_t snapshot_sink_messages(const struct snapshot_sink *s); /* so far */
/* After the first message; NULL before. Borrowed. */
const struct manifest *snapshot_sink_manifest(const struct snapshot_sink *s);
/* After DONE: of the cut, as added up from its entries. Borrowed. */
const struct digest *snapshot_sink_digest(const struct snapshot_sink *s);
/* After DONE: fills in what writer_replace (INTENT_REPLACE) takes; borrows from
 * the sink, which has to outlive it. May be called again after a failure. */
int snapshot_sink_replacement(struct snapshot_sink *s,
                              struct replacement *ret_replacement,
                              struct cm_detail *detail);

#endif
