/* Objects in an S3-compatible store, over libcurl.
 *
 * Relies on nothing but PUT, GET, DELETE and ListObjectsV2: no conditional PUT
 * (some stores ignore it, some answer 501), no multipart, no modification
 * times, no listing that is up to date. Objects are named by content or written
 * once, so that every request may be repeated: also one whose answer got lost
 * after it took effect.
 *
 * Repeated, after a random wait: 5xx, 408, 425, 429 and SlowDown, damaged and
 * truncated bodies, timeouts, broken connections. Once each: with the server's
 * clock, if ours is refused; with the region that the server names. Redirects
 * are never followed: a signed request goes to the endpoint of the target or
 * nowhere. */
#ifndef NODE_S3_CLIENT_H
#define NODE_S3_CLIENT_H

#include <stdatomic.h>

#include "node/object_name.h"

struct object_rate;
struct s3_client;

/* Reads the credentials, no network. stopping is borrowed: once true, calls end
 * soon. ca_file: PEM file of trusted authorities, NULL for AWS_CA_BUNDLE or the
 * system's; copied. CM_ERR_INVALID, CM_ERR_NOT_FOUND with detail. */
int s3_client_open(struct s3_client **ret_client, const char *target,
                   const char *ca_file, const atomic_bool *stopping,
                   struct cm_detail *detail);
void s3_client_close(struct s3_client *c); /* NULL is fine */
/* What is put keeps to this rate, and sent says how much of it has left; both
 * borrowed. */
void s3_client_limit(struct s3_client *c, struct object_rate *rate,
                     _Atomic uint64_t *sent);

/* As the calls of object_store.h. One thread at a time. */
int s3_client_put(struct s3_client *c, const char *name, struct slice bytes,
                  struct cm_detail *detail);
int s3_client_get(struct s3_client *c, const char *name,
                  struct buffer *ret_bytes, struct cm_detail *detail);
int s3_client_list(struct s3_client *c, const char *prefix,
                   struct object_list *ret_list, struct cm_detail *detail);
int s3_client_delete(struct s3_client *c, const char *name,
                     struct cm_detail *detail);

#endif
