/* The place where snapshots live: immutable objects by name, whatever keeps
 * them.
 *
 *   file:DIR or a path     a directory (object_dir.h)
 *   s3://BUCKET/PREFIX?... an S3-compatible store (s3_client.h)
 *   exec:COMMAND           a command of the operator's (object_exec.h)
 *
 * What every target has to do is little: keep whole objects by name, give them
 * back, list names, delete. No condition, no order, no time, no listing that is
 * up to date is asked of it. Calls block and repeat what may succeed later;
 * call from a thread that may wait. */
#ifndef NODE_OBJECT_STORE_H
#define NODE_OBJECT_STORE_H

#include <stdatomic.h>

#include "node/object_dir.h"

struct s3_client;
struct object_exec;

struct object_store {
    struct object_dir dir;    /* fd -1 unless it is this */
    struct s3_client *s3;     /* or this; owned */
    struct object_exec *exec; /* or this; owned */
    atomic_bool stopping;
    bool hurries; /* see OBJECT_STORE_HURRY */
    /* Bytes of the put under way, or of the last one, that have left; for other
     * threads. Whoever has counted that put sets it to 0. */
    _Atomic uint64_t sent;
};
/* What a struct has to hold before the first _open. */
#define OBJECT_STORE_CLOSED                                                    \
    {                                                                          \
        .dir = {.fd = -1 }                                                     \
    }

enum object_store_flags {
    OBJECT_STORE_CREATE = 1, /* a directory is made if missing */
    /* Whoever named the target could run commands here anyway. */
    OBJECT_STORE_MAY_EXEC = 2,
    /* Whoever reads a snapshot from it may do so by a second thread
     * (snapshot_pull_hurry): for tools, which have nothing else to do. */
    OBJECT_STORE_HURRY = 4,
};

/* The PEM file of authorities that TLS trusts, for every store opened later.
 * Borrowed for ever; NULL: AWS_CA_BUNDLE or the system's. Call it before the
 * first thread. */
void object_store_set_ca_file(const char *path);

const char *object_store_ca_file(void); /* as set; NULL: none was */

/* 0, or CM_ERR_INVALID with detail: what is no target this program knows. */
int object_store_check(const char *target, bool may_exec,
                       struct cm_detail *detail);
/* Whether both name one place, as far as the texts tell: DIR, DIR/ and file:DIR
 * do; commands never do. */
bool object_store_same(const char *a, const char *b);
/* Waits for no network: what is wrong over there is told by the first call. The
 * struct stays where it is until _close. CM_ERR_INVALID, CM_ERR_NOT_FOUND (a
 * directory without _CREATE, credentials), CM_ERR_IO. */
int object_store_open(struct object_store *ret_store, const char *target,
                      unsigned flags, struct cm_detail *detail);
/* Once is enough, twice does no harm. */
void object_store_close(struct object_store *s);
/* From any thread, while another is in a call: that one fails soon. (A
 * directory does not wait for anybody.) */
void object_store_stop(struct object_store *s);

/* What is put from now on keeps to this rate; borrowed, NULL: no bound. */
void object_store_limit(struct object_store *s, struct object_rate *rate);

/* Whether a failed call tells of the way there and not of the object. */
bool object_store_is_remote(const struct object_store *s);

/* An object of that name is replaced. Durable on success as far as the target
 * says so: read back what matters. CM_ERR_INVALID, CM_ERR_FULL, CM_ERR_IO,
 * CM_ERR_NOMEM. */
int object_store_put(struct object_store *s, const char *name,
                     struct slice bytes, struct cm_detail *detail);
/* The same for many objects: durable after _flush only. */
int object_store_put_later(struct object_store *s, const char *name,
                           struct slice bytes, struct cm_detail *detail);
int object_store_flush(struct object_store *s, struct cm_detail *detail);
/* Into ret_bytes (cleared first), whose limit bounds the size.
 * CM_ERR_NOT_FOUND, CM_ERR_TOO_LARGE, CM_ERR_IO, CM_ERR_NOMEM. */
int object_store_get(struct object_store *s, const char *name,
                     struct buffer *ret_bytes, struct cm_detail *detail);
/* The names directly below prefix ("" or "a/b/"), without it. A prefix that
 * does not exist gives an empty list. Release after success only. */
int object_store_list(struct object_store *s, const char *prefix,
                      struct object_list *ret_list, struct cm_detail *detail);
/* A name that is not there is none the less deleted. */
int object_store_delete(struct object_store *s, const char *name,
                        struct cm_detail *detail);

#endif
