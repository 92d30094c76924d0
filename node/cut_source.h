/* A cut that this node has to give: scanned once into a spool, sent to whoever
 * asks for it, kept for a while after the last one has gone, so that a broken
 * link goes on where it was.
 *
 * The loop owns it; a worker scans. Bounded by count, bytes and time. */
#ifndef NODE_CUT_SOURCE_H
#define NODE_CUT_SOURCE_H

#include "node/port.h"
#include "node/snapshot_source.h"

#define CUT_SOURCES_MAX 4  /* spools: in use and kept */
#define CUT_KEEP_MS 300000 /* after the last user */
#define CUT_KEEP_BYTES_MAX                                                     \
    (UINT64_C(4) << 30) /* of spools that nobody uses                          \
                         */

struct node;

struct cut_source {
    struct work work; /* the scan */
    struct cut_source *next;
    struct node *node;
    struct snapshot_source *source;
    uint64_t id; /* random, not 0 */
    size_t users;
    bool busy;   /* the scan is under way */
    int error;   /* of the scan */
    int stepped; /* what the last step answered: its lane's while busy */
    struct cm_detail detail;
    uint64_t unused_ms; /* since when nobody uses it */
    uint64_t begun_ms;
};

/* One of that id which has its messages, or NULL; taken (users + 1). */
struct cut_source *cut_source_find(struct node *n, uint64_t id);
/* One of the newest state, scanned or being scanned; taken. CM_ERR_BUSY when
 * CUT_SOURCES_MAX are in use. */
int cut_source_take(struct node *n, struct cut_source **ret_source,
                    struct cm_detail *detail);
void cut_source_release(struct cut_source *s);
/* Frees what has been unused for too long, or is too much. */
void cut_sources_tick(struct node *n, uint64_t now);
uint64_t cut_sources_deadline(const struct node *n);
void cut_sources_free(struct node *n); /* all; none is in use */

#endif
