/* What a node tells of one target of its snapshots. */
#ifndef NODE_UPLOAD_STATUS_H
#define NODE_UPLOAD_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#include "crdt/certificate.h"

#define UPLOAD_TARGETS_MAX 4 /* of one node */
#define UPLOADERS_WANTED 2   /* of one target */

struct upload_status {
    const char *url;
    bool uploads; /* this node, by itself */
    char reason[160];
    /* Names of those who do, as far as is known here. */
    char uploaders[UPLOADERS_WANTED][NAME_SIZE_MAX + 1];
    uint64_t sequence;        /* of this node's newest manifest there */
    uint64_t wall_ms;         /* when that was made, 0: unknown */
    uint64_t covered_wall_ms; /* all from before is at the target */
    uint64_t age_ms;          /* since then, or since it began to upload; 0
                                 while others upload */
    uint64_t snapshots;       /* since the start, as all below */
    uint64_t deltas;
    uint64_t delta_bytes; /* heartbeats included */
    uint64_t bytes;       /* of packs, segments and manifests */
    uint64_t failures;
    char error[256]; /* "" after the next success */
    /* Of the upload under way. */
    const char *phase; /* "" */
    uint64_t bytes_done;
    uint64_t bytes_total;
    uint64_t left_ms; /* estimate; 0: none */
};

/* Whether a hook (upload_hook.c) is fetched; else it is a command. */
bool upload_hook_is_url(const char *hook);

#endif
