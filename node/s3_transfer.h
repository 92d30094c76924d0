/* One signed HTTP request to an S3 endpoint, and what came back: no judgement,
 * no second try. */
#ifndef NODE_S3_TRANSFER_H
#define NODE_S3_TRANSFER_H

#include <curl/curl.h>
#include <stdatomic.h>

#include "node/object_rate.h"
#include "node/s3_credentials.h"
#include "node/s3_target.h"

struct s3_wire;

struct s3_transfer {
    /* The request; borrowed. */
    const char *method;
    const char *name;  /* below the target's prefix; "" for the bucket */
    const char *query; /* encoded and sorted; "" if none */
    struct slice body; /* of a PUT */
    struct buffer *to; /* of a successful answer; NULL: thrown away */
    /* The answer. */
    CURLcode code;
    char curl_text[CURL_ERROR_SIZE];
    long status;       /* 0: there was none */
    int64_t date;      /* of its Date header, seconds since 1970; or -1 */
    int64_t signed_at; /* our date, offset included */
    uint64_t after_ms; /* Retry-After; 0 if not said */
    bool too_large;    /* beyond the limit of to */
    struct buffer error_body;       /* the start of any other answer */
    char region[S3_REGION_MAX + 1]; /* x-amz-bucket-region, or "" */
    size_t sent;                    /* bytes of body, while sending */
    const struct s3_wire *wire;     /* while it runs */
};

struct s3_wire {
    CURL *curl; /* keeps the connection between requests */
    const struct s3_target *target;
    const struct s3_credentials *credentials;
    const char *ca_file; /* NULL: the system's */
    const atomic_bool *stopping;
    struct object_rate *rate; /* of what is sent; NULL: no bound */
    _Atomic uint64_t *sent;   /* of the body under way; or NULL */
    int64_t offset_s;         /* the server's clock less ours */
};

/* Fills in the answer; release it in any case. 0, or CM_ERR_NOMEM. */
int s3_transfer_run(struct s3_transfer *t, const struct s3_wire *w);
void s3_transfer_release(struct s3_transfer *t);

#endif
