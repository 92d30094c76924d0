/* Merge: snapshots of targets joined into a living node.
 *
 * A snapshot of this generation is joined as a cut of a peer is (cut_diff.h,
 * writer_join.c); one of an earlier generation, or of another one of the same
 * number, brings what the version vector does not cover as new writes
 * (writer_retain.c). In any order, any number of times: the result is their
 * join. */
#ifndef NODE_MERGE_H
#define NODE_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crdt/base/error.h"

#define MERGE_TARGETS_MAX 16
#define MERGE_KEYS_MAX 64
#define MERGE_TEXT_MAX 4096

struct merge_target {
    const char *url;
    const char *name; /* of one manifest; NULL: every snapshot there */
};

/* The data key of encrypted snapshots, opened by whoever has the recovery key:
 * that one never comes here. */
struct merge_key {
    uint8_t id[16]; /* as in the sealed keys */
    uint8_t key[32];
};

/* All copied. */
struct merge_request {
    struct merge_target targets[MERGE_TARGETS_MAX];
    size_t targets_count;
    struct merge_key keys[MERGE_KEYS_MAX];
    size_t keys_count;
    bool yes;     /* deletes as much as it may */
    bool dry_run; /* tells what it would do */
};

/* As the restore tool's exit codes. */
enum merge_exit {
    MERGE_OK = 0,
    MERGE_INTEGRITY = 3,
    MERGE_TRUST = 4,
    MERGE_TRANSPORT = 5, /* a target or the node's disk; nothing found */
    MERGE_PARTIAL = 6,
};

struct merge_report {
    enum merge_exit exit;
    char error[256];           /* if exit is neither OK nor PARTIAL */
    char text[MERGE_TEXT_MAX]; /* lines: what was passed over, and why */
    size_t found;
    size_t joined;    /* of this generation, with writes that were not here */
    size_t retained;  /* of others */
    size_t covered;   /* nothing new in them */
    size_t damaged;   /* not whole */
    size_t lost;      /* deltas that could not be used */
    size_t passed;    /* of another mesh, or of a newer generation */
    uint64_t deltas;  /* used */
    uint64_t entries; /* that the joins changed */
    uint64_t removed; /* of these, not seen any more */
    uint64_t kept;    /* writes of other generations… */
    uint64_t parked;  /* …of which so many wait for a person: unsent.h */
};

struct node;
typedef void (*node_merge_done)(void *ctx, const struct merge_report *report);
/* CM_ERR_BUSY while another runs, CM_ERR_NOT_READY, CM_ERR_NOMEM: then done is
 * not called. */
int node_merge(struct node *n, const struct merge_request *request,
               node_merge_done done, void *ctx, struct cm_detail *detail);

#endif
