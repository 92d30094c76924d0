/* Parked requests that wait for a change under a key or prefix: blocking
 * queries and watches.
 *
 * A commit wakes only those whose key or prefix it touched, so that one write
 * does not wake ten thousand; they are looked through in slices, a slice per
 * loop iteration, so that a fan-out does not hold up everything else. Commits
 * that arrive meanwhile are gathered into the next round. */
#ifndef NODE_HTTP_BLOCK_H
#define NODE_HTTP_BLOCK_H

#include <uv.h>

#include "crdt/op.h"

#define HTTP_WAITERS_MAX 16384
#define HTTP_SWEEP_SLICE 512         /* waiters per loop iteration */
#define HTTP_SWEEP_CHANGES_MAX 16384 /* beyond, everyone is woken */
#define HTTP_SWEEP_BYTES_MAX (8u << 20)

enum http_wake {
    HTTP_WAKE_CHANGE = 1,  /* something under the key changed */
    HTTP_WAKE_TIMEOUT = 2, /* its deadline has passed */
};

/* Embedded in the request that waits. */
struct http_waiter {
    struct http_waiter *next;
    struct http_waiter *prev;
    size_t heap_index;
    bool waiting;
    struct slice key;     /* borrowed from the request */
    bool prefix;          /* everything that starts with key, else key alone */
    bool sets;            /* sets too, not only registers */
    uint64_t deadline_ms; /* uv_now */
    uint64_t *revision;   /* NULL, or set to what was looked through without
                             finding anything */
    void (*wake)(struct http_waiter *w, enum http_wake why);
};

struct http_change_key {
    enum space space;
    size_t offset; /* in the sweep's bytes */
    struct slice key;
};

struct http_context;

struct http_block {
    struct http_context *context;
    struct http_waiter *head;
    struct http_waiter *tail;
    size_t count;
    struct http_waiter **heap; /* by deadline; HTTP_WAITERS_MAX places */
    uint64_t latest;           /* greatest revision heard of */
    uint64_t swept;            /* every waiter has seen up to here */

    /* The round under way. */
    bool sweeping;
    bool everyone;
    uint64_t sweep_to;
    struct http_waiter *cursor;
    struct http_change_key *keys; /* sorted */
    size_t keys_count;
    struct buffer bytes;

    uv_timer_t timer;
    uv_idle_t idle;
};

/* revision: what is committed already. CM_ERR_NOMEM. */
int http_block_init(struct http_block *b, struct http_context *context,
                    uint64_t revision);
/* No waiter is left. The handles are closed by the caller with uv_close. */
void http_block_release(struct http_block *b);
/* CM_ERR_LIMIT when too many wait already. */
int http_block_wait(struct http_block *b, struct http_waiter *w);
/* Fine if it does not wait. */
void http_block_cancel(struct http_block *b, struct http_waiter *w);
/* A commit that wrote something. */
void http_block_on_commit(struct http_block *b, uint64_t revision);

#endif
