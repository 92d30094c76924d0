/* What s3://BUCKET/PREFIX?endpoint=URL&region=NAME&path-style=yes|no&... says.
 *
 * It never holds a secret: keys in a target are refused, since targets are
 * logged and stand in process lists. */
#ifndef NODE_S3_TARGET_H
#define NODE_S3_TARGET_H

#include <stdbool.h>

#include "crdt/base/buffer.h"
#include "crdt/base/error.h"

#define S3_BUCKET_MAX 63
#define S3_PREFIX_MAX 512
#define S3_HOST_MAX 300
#define S3_REGION_MAX 63
#define S3_TIMEOUT_S_DEFAULT 30u
#define S3_TIMEOUT_S_MAX 600u

struct s3_target {
    char bucket[S3_BUCKET_MAX + 1];
    char prefix[S3_PREFIX_MAX + 2]; /* "" or ends in a slash; not encoded */
    char host[S3_HOST_MAX + 1];     /* of the endpoint, with a port if given */
    char region[S3_REGION_MAX + 1];
    bool own_endpoint;  /* given; otherwise the region's at Amazon */
    bool plain_http;    /* http: to the loopback, or allowed in so many words */
    bool path_style;    /* the bucket stands in the path, not in the host */
    unsigned timeout_s; /* of a connect, and without progress */
};

/* region: if the target names none (NULL: us-east-1). CM_ERR_INVALID with
 * detail. */
int s3_target_parse(struct s3_target *ret_target, const char *target,
                    const char *region, struct cm_detail *detail);
/* Amazon's endpoint follows the region; another's stays. */
int s3_target_set_region(struct s3_target *t, struct slice region);
/* The host that is asked and signed. */
void s3_target_host(struct buffer *out, const struct s3_target *t);
/* The path, encoded, of a name below the prefix; "" for the bucket itself. */
void s3_target_path(struct buffer *out, const struct s3_target *t,
                    const char *name);

#endif
