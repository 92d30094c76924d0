/* Drills: whoever uploads restores its newest snapshot for practice now and
 * then (snapshot_drill.h). A green upload is not a backup. */
#ifndef NODE_DRILLS_H
#define NODE_DRILLS_H

#include <stdbool.h>
#include <stdint.h>

#include "node/upload_status.h"

/* What a node tells of the drills at one target. */
struct drill_status {
    uint64_t count; /* since the start, as failures */
    uint64_t failures;
    uint64_t done_wall_ms;     /* when the last good one ended, 0: none yet */
    uint64_t took_ms;          /* of it */
    uint64_t entries;          /* that it restored */
    uint64_t verified_wall_ms; /* what it restored is of then */
    uint64_t verified_age_ms;  /* since then, or since this node uploads; 0
                                  while it does not */
    char error[256];           /* of the last one; "" if it was good */
};

struct drill_target {
    uint64_t due_ms; /* 0: not planned yet */
    struct drill_status status;
};

struct drills {
    uint64_t interval_ms; /* 0: never */
    bool running;
    struct drill_target targets[UPLOAD_TARGETS_MAX];
};

struct node;
struct node_status;

void drills_tick(struct node *n, uint64_t now);
uint64_t drills_deadline(const struct node *n);
void drills_status(const struct node *n, struct node_status *s);

#endif
