/* The key that signs requests, from where every S3 tool looks for it.
 *
 * Never an argument, a part of a URL or of a message: processes' arguments are
 * there for everybody to read, and logs travel. */
#ifndef NODE_S3_CREDENTIALS_H
#define NODE_S3_CREDENTIALS_H

#include <stdbool.h>

#include "crdt/base/buffer.h"
#include "crdt/base/error.h"

#define S3_ACCESS_MAX 256
#define S3_SECRET_MAX 256
#define S3_SESSION_MAX 4096

struct s3_credentials {
    char access_key[S3_ACCESS_MAX + 1];
    char secret_key[S3_SECRET_MAX + 1];
    char session_token[S3_SESSION_MAX + 1]; /* "" if there is none */
};

/* AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; else the
 * profile AWS_PROFILE ("default") of AWS_SHARED_CREDENTIALS_FILE
 * (~/.aws/credentials). CM_ERR_NOT_FOUND or CM_ERR_INVALID with a detail that
 * names places, never contents. */
int s3_credentials_load(struct s3_credentials *ret_credentials,
                        struct cm_detail *detail);
/* One profile of the text of such a file. */
int s3_credentials_parse(struct s3_credentials *ret_credentials,
                         struct slice text, const char *profile,
                         struct cm_detail *detail);
void s3_credentials_clear(struct s3_credentials *c);

#endif
