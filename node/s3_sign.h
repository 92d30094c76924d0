/* AWS Signature Version 4 for S3, over libsodium's SHA-256 and HMAC-SHA256.
 *
 * A pure function of the request, the date and the credentials: the client
 * reads the clock. Published in "Authenticating Requests: Using the
 * Authorization Header" of the Amazon S3 API reference. */
#ifndef NODE_S3_SIGN_H
#define NODE_S3_SIGN_H

#include "crdt/base/buffer.h"
#include "node/s3_credentials.h"

#define S3_DATE_SIZE 17 /* "20130524T000000Z" and its NUL */
#define S3_HASH_SIZE 65 /* hex and its NUL */

struct s3_header {
    const char *name; /* lower case */
    const char *value;
};

/* Everything is borrowed. */
struct s3_request {
    const char *method;
    const char *path;                /* encoded once, begins with a slash */
    const char *query;               /* encoded, sorted by name; "" if none */
    const struct s3_header *headers; /* that are signed, sorted by name */
    size_t headers_count;
    const char *payload_hash; /* hex of its SHA-256 */
    const char *date;         /* UTC, as x-amz-date says it */
    const char *region;
};

/* Seconds since 1970 as x-amz-date has them. */
void s3_date_format(char ret_date[S3_DATE_SIZE], int64_t unix_s);
void s3_payload_hash(char ret_hash[S3_HASH_SIZE], struct slice payload);
/* Appends text with all but unreserved characters percent-encoded; slash: a
 * slash stays one. */
void s3_uri_encode(struct buffer *out, struct slice text, bool slash);
/* Appends the value of the Authorization header to out (its error tells if
 * memory or its limit did not do). */
void s3_sign(struct buffer *out, const struct s3_request *request,
             const struct s3_credentials *credentials);

#endif
