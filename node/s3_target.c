/* Whatever is not understood is refused: a misspelt option of a backup must
 * not be found out on the day of the restore. */
#include "node/s3_target.h"

#include <stdio.h>
#include <string.h>

#include "crdt/base/check.h"
#include "node/s3_sign.h"

#define SCHEME "s3://"
#define VALUE_MAX 400

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Percent-decodes size bytes into ret_text of max + 1 bytes. */
static int decode(char *ret_text, size_t max, const char *from, size_t size)
{
    size_t used = 0;
    size_t i;

    for (i = 0; i < size; i++) {
        char c = from[i];

        if (c == '%') {
            int high = i + 2 < size ? hex_digit(from[i + 1]) : -1;

            if (high < 0 || hex_digit(from[i + 2]) < 0)
                return CM_ERR_INVALID;
            c = (char)(high * 16 + hex_digit(from[i + 2]));
            i += 2;
        }
        if ((unsigned char)c < ' ' || c == 0x7f)
            return CM_ERR_INVALID;
        if (used == max)
            return CM_ERR_TOO_LARGE;
        ret_text[used++] = c;
    }
    ret_text[used] = '\0';
    return 0;
}

static bool all_of(const char *text, const char *set)
{
    return text[0] != '\0' && text[strspn(text, set)] == '\0';
}

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

static int take_bucket(struct s3_target *t, const char *from, size_t size,
                       struct cm_detail *detail)
{
    /* Not told what stands there: it can be a key. */
    if (memchr(from, '@', size) != NULL)
        return cm_fail(detail, CM_ERR_INVALID,
                       "an s3: target must not hold keys; put them into "
                       "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                       "~/.aws/credentials");
    if (decode(t->bucket, S3_BUCKET_MAX, from, size) != 0 ||
        strlen(t->bucket) < 3 || !all_of(t->bucket, LOWER UPPER DIGITS ".-_") ||
        t->bucket[0] == '.')
        return cm_fail(detail, CM_ERR_INVALID,
                       "the bucket in an s3: target has 3 to %d characters of "
                       "[a-zA-Z0-9._-]; write s3://BUCKET/PREFIX",
                       S3_BUCKET_MAX);
    return 0;
}

static int take_prefix(struct s3_target *t, const char *from, size_t size,
                       struct cm_detail *detail)
{
    size_t used;

    while (size > 0 && from[0] == '/') {
        from++;
        size--;
    }
    while (size > 0 && from[size - 1] == '/')
        size--;
    if (decode(t->prefix, S3_PREFIX_MAX, from, size) != 0)
        return cm_fail(detail, CM_ERR_INVALID,
                       "the prefix in an s3: target has more than %d bytes, a "
                       "control character or a wrong %%-escape",
                       S3_PREFIX_MAX);
    used = strlen(t->prefix);
    if (used > 0) {
        t->prefix[used] = '/';
        t->prefix[used + 1] = '\0';
    }
    return 0;
}

static bool is_loopback(const char *host)
{
    size_t name = strcspn(host, ":");

    return (name == 9 && memcmp(host, "localhost", 9) == 0) ||
           (strncmp(host, "127.", 4) == 0 &&
            strspn(host, DIGITS ".") == name) ||
           strncmp(host, "[::1]", 5) == 0;
}

static int take_endpoint(struct s3_target *t, const char *value,
                         struct cm_detail *detail)
{
    const char *host = value;
    size_t size;

    if (strncmp(value, "https://", 8) == 0) {
        host += 8;
    } else if (strncmp(value, "http://", 7) == 0) {
        host += 7;
        t->plain_http = true;
    }
    size = strlen(host);
    if (size > 0 && host[size - 1] == '/')
        size--;
    if (size == 0 || size > S3_HOST_MAX - S3_BUCKET_MAX - 1 ||
        strspn(host, LOWER UPPER DIGITS ".-:[]") < size)
        return cm_fail(detail, CM_ERR_INVALID,
                       "endpoint= of an s3: target must be https://HOST or "
                       "https://HOST:PORT, without path or keys");
    memcpy(t->host, host, size);
    t->host[size] = '\0';
    /* A default port is not said in the Host header, which is signed. */
    if (size > 4 && !t->plain_http && strcmp(t->host + size - 4, ":443") == 0)
        t->host[size - 4] = '\0';
    if (size > 3 && t->plain_http && strcmp(t->host + size - 3, ":80") == 0)
        t->host[size - 3] = '\0';
    t->own_endpoint = true;
    return 0;
}

int s3_target_set_region(struct s3_target *t, struct slice region)
{
    char text[S3_REGION_MAX + 1];

    if (region.size == 0 || region.size > S3_REGION_MAX)
        return CM_ERR_INVALID;
    memcpy(text, region.data, region.size);
    text[region.size] = '\0';
    if (!all_of(text, LOWER UPPER DIGITS "-_") || strlen(text) != region.size)
        return CM_ERR_INVALID;
    memcpy(t->region, text, region.size + 1);
    if (!t->own_endpoint)
        (void)snprintf(t->host, sizeof t->host, "s3.%s.amazonaws.com%s",
                       t->region,
                       strncmp(t->region, "cn-", 3) == 0 ? ".cn" : "");
    return 0;
}

static int yes_or_no(bool *ret, const char *name, const char *value,
                     struct cm_detail *detail)
{
    bool yes = strcmp(value, "yes") == 0 || strcmp(value, "true") == 0;

    if (!yes && strcmp(value, "no") != 0 && strcmp(value, "false") != 0)
        return cm_fail(detail, CM_ERR_INVALID,
                       "%s= of an s3: target is yes or no", name);
    *ret = yes;
    return 0;
}

static int take_timeout(struct s3_target *t, const char *value,
                        struct cm_detail *detail)
{
    unsigned seconds = 0;
    size_t i;

    for (i = 0; i < 4 && value[i] >= '0' && value[i] <= '9'; i++)
        seconds = seconds * 10 + (unsigned)(value[i] - '0');
    if (value[i] != '\0' || seconds < 1 || seconds > S3_TIMEOUT_S_MAX)
        return cm_fail(detail, CM_ERR_INVALID,
                       "timeout= of an s3: target is 1 to %u seconds",
                       S3_TIMEOUT_S_MAX);
    t->timeout_s = seconds;
    return 0;
}

/* What a target said beyond the struct. */
struct said {
    bool path_style;
    bool plain_http; /* plain-http=yes */
    char region[S3_REGION_MAX + 1];
};

static int take_option(struct s3_target *t, struct said *said, const char *name,
                       const char *value, struct cm_detail *detail)
{
    if (strcmp(name, "endpoint") == 0)
        return take_endpoint(t, value, detail);
    if (strcmp(name, "path-style") == 0) {
        said->path_style = true;
        return yes_or_no(&t->path_style, name, value, detail);
    }
    if (strcmp(name, "plain-http") == 0)
        return yes_or_no(&said->plain_http, name, value, detail);
    if (strcmp(name, "timeout") == 0)
        return take_timeout(t, value, detail);
    if (strcmp(name, "region") == 0 && strlen(value) <= S3_REGION_MAX) {
        memcpy(said->region, value, strlen(value) + 1);
        return 0;
    }
    return cm_fail(detail, CM_ERR_INVALID,
                   "an s3: target has no such option (or too long a value); "
                   "it knows endpoint, region, path-style, timeout and "
                   "plain-http");
}

static int take_options(struct s3_target *t, struct said *said,
                        const char *text, struct cm_detail *detail)
{
    int error = 0;

    while (error == 0 && *text != '\0') {
        size_t size = strcspn(text, "&");
        size_t name_size = strcspn(text, "=&");
        char value[VALUE_MAX + 1];
        char name[32];

        if (name_size == size || decode(name, 31, text, name_size) != 0 ||
            decode(value, VALUE_MAX, text + name_size + 1,
                   size - name_size - 1) != 0)
            return cm_fail(detail, CM_ERR_INVALID,
                           "after the ? of an s3: target stand options "
                           "NAME=VALUE, joined by & (quote it for the shell)");
        error = take_option(t, said, name, value, detail);
        text += size;
        text += *text == '&';
    }
    return error;
}

int s3_target_parse(struct s3_target *ret_target, const char *target,
                    const char *region, struct cm_detail *detail)
{
    struct s3_target t = {.timeout_s = S3_TIMEOUT_S_DEFAULT};
    struct said said = {.region = ""};
    const char *at = target + strlen(SCHEME);
    size_t bucket;
    size_t rest;
    int error;

    CHECK(ret_target != NULL);
    if (strncmp(target, SCHEME, strlen(SCHEME)) != 0)
        return cm_fail(detail, CM_ERR_INVALID,
                       "an s3: target is s3://BUCKET/PREFIX?OPTIONS");
    bucket = strcspn(at, "/?");
    rest = strcspn(at + bucket, "?");
    error = take_bucket(&t, at, bucket, detail);
    if (error == 0)
        error = take_prefix(&t, at + bucket, rest, detail);
    at += bucket + rest;
    if (error == 0 && *at == '?')
        error = take_options(&t, &said, at + 1, detail);
    if (error != 0)
        return error;
    if (said.region[0] != '\0')
        region = said.region;
    else if (region == NULL || region[0] == '\0')
        region = "us-east-1";
    if (s3_target_set_region(&t, slice_of_string(region)) != 0)
        return cm_fail(detail, CM_ERR_INVALID,
                       "the region of an s3: target has 1 to %d characters of "
                       "[a-zA-Z0-9_-]",
                       S3_REGION_MAX);
    if (t.plain_http && !said.plain_http && !is_loopback(t.host))
        return cm_fail(detail, CM_ERR_INVALID,
                       "endpoint=http: sends all values in clear text; use "
                       "https:, or add plain-http=yes if the network between "
                       "is yours");
    /* Certificates do not cover a dot in front of their wildcard. */
    if (!said.path_style)
        t.path_style = t.own_endpoint || strchr(t.bucket, '.') != NULL;
    *ret_target = t;
    return 0;
}

void s3_target_host(struct buffer *out, const struct s3_target *t)
{
    CHECK(t->host[0] != '\0');
    if (t->path_style)
        buffer_printf(out, "%s", t->host);
    else
        buffer_printf(out, "%s.%s", t->bucket, t->host);
}

void s3_target_path(struct buffer *out, const struct s3_target *t,
                    const char *name)
{
    CHECK(t->bucket[0] != '\0');
    buffer_append_byte(out, '/');
    if (t->path_style) {
        buffer_append_string(out, t->bucket);
        if (name[0] != '\0')
            buffer_append_byte(out, '/');
    }
    if (name[0] == '\0')
        return;
    s3_uri_encode(out, slice_of_string(t->prefix), true);
    s3_uri_encode(out, slice_of_string(name), true);
}
