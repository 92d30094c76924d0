/* One snapshot of a target with the deltas that its signer put after it, read
 * as one state: what a restore joins, a merge brings into a living node, and a
 * drill compares.
 *
 * Without deltas the entries come straight from the target's packs; with them
 * from a scratch replica (snapshot_stage.h). */
#ifndef NODE_SNAPSHOT_STATE_H
#define NODE_SNAPSHOT_STATE_H

#include "node/scratch.h"
#include "node/snapshot_listing.h"
#include "node/snapshot_packs.h"
#include "node/snapshot_pull.h"
#include "node/snapshot_stage.h"

struct snapshot_state_config {
    struct object_store *store; /* borrowed for the state's life */
    const char *name;           /* of the manifest */
    const uint8_t *authority;   /* expected; NULL: any */
    const char *scratch;        /* where directories begin: see scratch.h */
    hlc_t hlc_limit;            /* later events are passed over */
    /* Not NULL: if neither the snapshot nor its deltas hold anything beyond it,
     * nothing more is read and the state is covered. */
    const struct vv *covered;
    /* The objects were read to their end a moment ago: later passes compare
     * them with their names only. */
    bool verified;
    const struct digest *sum; /* of its entries, as added up then, or NULL */
    bool newest; /* of its signer, as far as the target lists any */
    /* A later one of its signer was read: what its deltas hold lies in that. */
    bool settled;
    /* The keys of an encrypted one; NULL: it is refused. */
    int (*unlock)(void *context, const struct manifest *m,
                  struct snapshot_keys *ret_keys, struct cm_detail *detail);
    /* A delta that is missing, damaged or could not be used. May be NULL. */
    void (*lost)(void *context, const char *name, const char *what);
    snapshot_progress progress; /* or NULL */
    /* Not NULL: everything is restored into a scratch replica, also where no
     * delta needs one, and this looks at it before the first delta. */
    int (*staged)(void *context, struct snapshot_stage *stage,
                  const struct manifest *m, const struct snapshot_keys *keys,
                  struct cm_detail *detail);
    void *context;
};

struct snapshot_state {
    struct object_store *store;
    struct buffer manifest_bytes; /* the manifest borrows from it */
    struct manifest manifest;
    struct snapshot_keys keys; /* if it is encrypted */
    struct snapshot_packs packs;
    bool has_packs;
    struct snapshot_pull pull;
    bool has_pull;
    struct snapshot_stage *stage; /* NULL: no deltas */
    char dir[SCRATCH_PATH_SIZE];  /* of the stage; empty: none */
    bool covered;                 /* nothing more was read */
    bool was_read;                /* its objects, to their end */
    bool has_sum;
    struct digest sum; /* of the manifest's entries */
    uint64_t deltas;   /* used */
    uint64_t events;   /* of them, applied */
    size_t lost;       /* told */
};

/* Reads and verifies everything. CM_ERR_DAMAGED and the like: this snapshot is
 * not whole. CM_ERR_IO, CM_ERR_FULL, CM_ERR_NOMEM: see snapshot_state_is_fatal.
 * CM_ERR_AUTHORITY, CM_ERR_WRONG_MESH, ... of its origin or its key. */
int snapshot_state_open(struct snapshot_state **ret_state,
                        const struct snapshot_state_config *c,
                        struct cm_detail *detail);
void snapshot_state_close(struct snapshot_state *s); /* NULL is fine */
/* Whether an error tells of the way there or of this host, so that an older
 * snapshot in its place would be a loss that nobody asked for. */
bool snapshot_state_is_fatal(const struct object_store *store, int error);

const struct vv *snapshot_state_vv(const struct snapshot_state *s);
hlc_t snapshot_state_hlc(const struct snapshot_state *s);
const struct hash *snapshot_state_digest(const struct snapshot_state *s);
/* The sum over the entries that _next will give, where it is known from having
 * read the same bytes before; else NULL. Borrowed. */
const struct digest *snapshot_state_sum(const struct snapshot_state *s);
/* Floor, seals and orders as of that vector, appended to out. */
int snapshot_state_standing(struct snapshot_state *s, struct buffer *out);

/* Its entries: begin, then next as in writer.h, with the state as context.
 * Again from the start after another begin. */
int snapshot_state_begin(struct snapshot_state *s, struct cm_detail *detail);
int snapshot_state_next(void *state, struct entry_id *ret_id,
                        const struct entry **ret_entry);
/* What was wrong during the walk, or NULL. */
const char *snapshot_state_detail(const struct snapshot_state *s);

#endif
