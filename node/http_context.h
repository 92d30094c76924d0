/* What every request handler of one HTTP server shares: the node, the reader
 * of the current loop iteration, the parked requests and the counters.
 *
 * One thread (the loop's) owns it. The reader is dropped before the loop
 * sleeps, because a snapshot that is kept pins pages of the store. */
#ifndef NODE_HTTP_CONTEXT_H
#define NODE_HTTP_CONTEXT_H

#include <uv.h>

#include "node/http_block.h"
#include "node/node.h"
#include "node/store.h"

#define HTTP_INDEX_TAG_BITS 12
#define HTTP_BODIES_BYTES_MAX (256u << 20) /* request bodies, all together */
#define HTTP_ANSWERS_BYTES_MAX (1u << 30)  /* large answers, all together */
#define HTTP_ANSWER_SIZE_MAX (256u << 20)  /* one answer */
#define HTTP_SCRATCH_KEPT (64u << 10)      /* memory kept between answers */

struct http_pending;

struct http_counters {
    uint64_t requests;
    uint64_t reads;
    uint64_t writes;
    uint64_t refused;             /* answered with 4xx, 404 apart */
    uint64_t failed;              /* answered with 5xx */
    uint64_t connections;         /* now */
    uint64_t connections_total;   /* since the start */
    uint64_t watchers;            /* now */
    uint64_t deadlines_passed;    /* connections closed by their deadline */
    uint64_t watch_changes_total; /* changes delivered to watchers */
};

struct http_context {
    uv_loop_t *loop;             /* borrowed */
    struct node *node;           /* borrowed */
    struct store_reader *reader; /* NULL until something reads */
    bool reading;                /* reader holds a snapshot */
    bool closing;                /* requests end without an answer */
    struct entry entry;          /* reused by single reads */
    struct http_block block;
    struct http_pending *pendings; /* requests that wait for the node */
    uint64_t tag_revision;         /* tag is known for this one */
    uint64_t tag;
    bool tag_known;
    size_t body_bytes;
    size_t answer_bytes;
    size_t watch_bytes;    /* text that watchers have not taken yet */
    struct buffer scratch; /* for making small answers */
    struct http_counters counters;
};

void http_context_init(struct http_context *c, uv_loop_t *loop,
                       struct node *node);
/* Everything but the block's handles, which need the loop to close. */
void http_context_release(struct http_context *c);

/* The newest state, one snapshot per request. NULL when the store cannot be
 * read; slices of the snapshot before are dead. */
struct store_reader *http_context_reader(struct http_context *c);
/* Drops the snapshot; called before the loop sleeps. */
void http_context_drop_reader(struct http_context *c);

/* Tag of the incarnation in the reader's snapshot: tells an index of this
 * replica's life from one of another's. */
uint64_t http_context_tag(struct http_context *c, struct store_reader *r);
/* revision * 4096 + tag. */
uint64_t http_context_index(struct http_context *c, struct store_reader *r,
                            uint64_t revision);
/* Wall clock as a stamp, for expiry. */
hlc_t http_context_now(void);

#endif
