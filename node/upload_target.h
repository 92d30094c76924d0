/* One target of a node's snapshots: its schedule, its chain of deltas, who else
 * may upload to it, and how it has gone. Each target has all of this to itself.
 */
#ifndef NODE_UPLOAD_TARGET_H
#define NODE_UPLOAD_TARGET_H

#include "node/snapshot_delta.h"
#include "node/snapshot_job.h"
#include "node/snapshot_roll.h"
#include "node/upload_status.h"

struct upload_target {
    char *url;     /* owned; NULL: unused */
    unsigned lane; /* of snapshots; the next one is that of small objects */
    /* Snapshots. */
    uint64_t due_ms;   /* 0: none by itself */
    uint64_t retry_ms; /* after a failure, not before */
    bool running;
    struct snapshot_job *job; /* borrowed while it runs, for its progress */
    uint64_t job_begun_ms;
    bool trusted;                  /* earlier packs were read back */
    struct snapshot_memory memory; /* of the newest manifest there */
    uint64_t wall_ms;              /* when that was made, 0: unknown */
    uint64_t revision;             /* that it covers */
    /* Deltas. */
    struct snapshot_chain chain;
    bool resumed; /* it was looked where the chain had come to */
    bool busy;    /* a small job is under way */
    uint64_t delta_due_ms;
    uint64_t delta_took_ms; /* the last one, or its attempt */
    uint64_t heartbeat_due_ms;
    bool heartbeat_owed;     /* deltas were put since the last one */
    uint64_t delta_revision; /* that chain and manifest cover */
    /* Who uploads. */
    struct roll_candidate candidates[ROLL_CANDIDATES_MAX];
    uint64_t changed_ms[ROLL_CANDIDATES_MAX]; /* when its evidence did, as seen
                                                 here */
    size_t candidates_count;
    bool looked;
    uint64_t look_due_ms;
    uint64_t looked_ms;
    uint64_t announced_ms; /* 0: not yet */
    uint64_t seen_members; /* a sum over who lived at the last look */
    bool uploads;
    uint64_t uploads_since_wall_ms;
    struct upload_status status; /* counters and texts */
};

#endif
