/* Which packs an upload has put at a target, and what lies in them, in a file
 * of the data directory: an upload that a crash cut short is gone on with, also
 * if the state has changed meanwhile and its packs would be others. It helps
 * and decides nothing: what it says is checked at the target as everything that
 * is there from before, and a log that is lost costs bytes.
 *
 * The file = records, each be32(size) ‖ the first 16 bytes of
 * H("confmesh upload log v1", content) ‖ content: a segment's content that
 * places one pack. It is read up to the first record that is not whole. */
#ifndef NODE_UPLOAD_LOG_H
#define NODE_UPLOAD_LOG_H

#include "backup/snapshot_map.h"

struct upload_log {
    int fd; /* -1: there is none */
};

/* Adds what the log at path places to map, and opens it for more. A path that
 * cannot be read or written gives no log. Only CM_ERR_NOMEM. */
int upload_log_open(struct upload_log *ret_log, const char *path,
                    struct snapshot_map *map);
/* The last pack of map has been put; on disk when this returns. */
void upload_log_add(struct upload_log *l, const struct snapshot_map *map);
/* Everything in it is in a manifest now. */
void upload_log_clear(struct upload_log *l);
void upload_log_close(struct upload_log *l);

#endif
