/* libcurl is given one request at a time, with everything that it would guess
 * said: no redirects, no other protocols, verification on. */
#include "node/s3_transfer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "crdt/base/check.h"
#include "node/s3_sign.h"

#define ERROR_BODY_MAX 16384
#define TEXT_MAX 16384 /* of a URL or a header */
#define WHOLE_TIMEOUT_FACTOR 20

/* ---- what libcurl calls ---- */

static size_t on_body(char *data, size_t one, size_t size, void *ctx)
{
    struct s3_transfer *t = ctx;
    struct buffer *to = t->to;

    CHECK(one == 1);
    if (t->status >= 200 && t->status < 300) {
        if (to == NULL)
            return size;
        if (size > to->limit - to->size) {
            t->too_large = true;
            return 0;
        }
        buffer_append(to, data, size);
        return to->error == 0 ? size : 0;
    }
    if (size > t->error_body.limit - t->error_body.size)
        buffer_append(&t->error_body, data,
                      t->error_body.limit - t->error_body.size);
    else
        buffer_append(&t->error_body, data, size);
    return size;
}

static size_t on_send(char *to, size_t one, size_t size, void *ctx)
{
    struct s3_transfer *t = ctx;
    size_t left = t->body.size - t->sent;

    CHECK(one == 1 && t->sent <= t->body.size);
    if (size > left)
        size = left;
    size = object_rate_slice(t->wire->rate, size);
    object_rate_wait(t->wire->rate, size, t->wire->stopping);
    if (size > 0)
        memcpy(to, t->body.data + t->sent, size);
    t->sent += size;
    if (t->wire->sent != NULL)
        atomic_store(t->wire->sent, t->sent);
    return size;
}

/* A connection that the server had closed meanwhile: once more. */
static int on_seek(void *ctx, curl_off_t offset, int origin)
{
    struct s3_transfer *t = ctx;

    if (origin != SEEK_SET || offset < 0 ||
        (uint64_t)offset > (uint64_t)t->body.size)
        return CURL_SEEKFUNC_FAIL;
    t->sent = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

static bool take_header(char *ret_value, size_t max, const char *line,
                        size_t size, const char *name)
{
    size_t skip = strlen(name);

    if (size <= skip || strncasecmp(line, name, skip) != 0 || line[skip] != ':')
        return false;
    skip++;
    while (skip < size && line[skip] == ' ')
        skip++;
    while (size > skip && (line[size - 1] == '\r' || line[size - 1] == '\n' ||
                           line[size - 1] == ' '))
        size--;
    if (size - skip > max)
        return false;
    memcpy(ret_value, line + skip, size - skip);
    ret_value[size - skip] = '\0';
    return true;
}

static size_t on_header(char *line, size_t one, size_t size, void *ctx)
{
    struct s3_transfer *t = ctx;
    char value[128];

    CHECK(one == 1);
    if (size > 5 && memcmp(line, "HTTP/", 5) == 0) {
        const char *blank = memchr(line, ' ', size);
        size_t at = blank != NULL ? (size_t)(blank - line) + 1 : size;

        /* The last one counts: a 100 Continue comes before. */
        t->status = 0;
        for (; at < size && line[at] >= '0' && line[at] <= '9' &&
               t->status < 1000;
             at++)
            t->status = t->status * 10 + (line[at] - '0');
    } else if (take_header(value, sizeof value - 1, line, size, "Date")) {
        t->date = (int64_t)curl_getdate(value, NULL);
    } else if (take_header(value, sizeof value - 1, line, size,
                           "Retry-After")) {
        char *end = value;
        unsigned long seconds = strtoul(value, &end, 10);

        if (end != value && *end == '\0' && seconds <= 3600)
            t->after_ms = (uint64_t)seconds * 1000;
    } else if (take_header(value, S3_REGION_MAX, line, size,
                           "x-amz-bucket-region")) {
        memcpy(t->region, value, strlen(value) + 1);
    }
    return size;
}

static int on_progress(void *ctx, curl_off_t to_get, curl_off_t got,
                       curl_off_t to_send, curl_off_t sent)
{
    const atomic_bool *stopping = ctx;

    (void)to_get;
    (void)got;
    (void)to_send;
    (void)sent;
    return atomic_load(stopping) ? 1 : 0;
}

/* ---- the request ---- */

struct request {
    struct buffer url;
    struct buffer host;
    struct buffer path;
    struct buffer authorization; /* a whole header */
    struct curl_slist *headers;
    char date[S3_DATE_SIZE];
    char hash[S3_HASH_SIZE];
};

static int add_header(struct request *r, const char *name, const char *value)
{
    struct curl_slist *more;
    struct buffer line;
    int error;

    buffer_init(&line, TEXT_MAX);
    buffer_printf(&line, "%s: %s", name, value);
    buffer_append_byte(&line, 0);
    error = line.error;
    if (error == 0) {
        more = curl_slist_append(r->headers, (const char *)line.data);
        if (more == NULL)
            error = CM_ERR_NOMEM;
        else
            r->headers = more;
    }
    buffer_release(&line);
    return error;
}

static int sign(struct request *r, const struct s3_transfer *t,
                const struct s3_wire *w)
{
    const struct s3_header headers[] = {
        {"host", (const char *)r->host.data},
        {"x-amz-content-sha256", r->hash},
        {"x-amz-date", r->date},
        {"x-amz-security-token", w->credentials->session_token},
    };
    bool session = w->credentials->session_token[0] != '\0';
    struct s3_request request = {
        .method = t->method,
        .path = (const char *)r->path.data,
        .query = t->query,
        .headers = headers,
        .headers_count = session ? 4 : 3,
        .payload_hash = r->hash,
        .date = r->date,
        .region = w->target->region,
    };
    size_t i;
    int error = 0;

    s3_sign(&r->authorization, &request, w->credentials);
    buffer_append_byte(&r->authorization, 0);
    if (r->authorization.error != 0)
        return r->authorization.error;
    for (i = 0; i < request.headers_count && error == 0; i++)
        error = add_header(r, headers[i].name, headers[i].value);
    if (error == 0)
        error =
            add_header(r, "authorization", (const char *)r->authorization.data);
    /* No round trip before the body: the answer to it would be the same. */
    if (error == 0) {
        struct curl_slist *more = curl_slist_append(r->headers, "Expect:");

        if (more == NULL)
            return CM_ERR_NOMEM;
        r->headers = more;
    }
    return error;
}

static int build(struct request *r, struct s3_transfer *t,
                 const struct s3_wire *w)
{
    t->signed_at = (int64_t)time(NULL) + w->offset_s;
    s3_date_format(r->date, t->signed_at);
    s3_payload_hash(r->hash, t->body);
    s3_target_host(&r->host, w->target);
    s3_target_path(&r->path, w->target, t->name);
    buffer_append_byte(&r->host, 0);
    buffer_append_byte(&r->path, 0);
    if (r->host.error != 0 || r->path.error != 0)
        return CM_ERR_NOMEM;
    buffer_printf(&r->url, "%s://%s%s%s%s",
                  w->target->plain_http ? "http" : "https",
                  (const char *)r->host.data, (const char *)r->path.data,
                  t->query[0] != '\0' ? "?" : "", t->query);
    buffer_append_byte(&r->url, 0);
    return r->url.error != 0 ? r->url.error : sign(r, t, w);
}

static void set_limits(CURL *curl, const struct s3_transfer *t,
                       const struct s3_wire *w)
{
    long timeout = (long)w->target->timeout_s;
    long slow_s = (long)(object_rate_ms(w->rate, t->body.size) / 1000);

    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR,
                           w->target->plain_http ? "http" : "https");
    (void)curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    (void)curl_easy_setopt(curl, CURLOPT_HTTP_VERSION,
                           (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, timeout);
    (void)curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, timeout);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT,
                           timeout * WHOLE_TIMEOUT_FACTOR + slow_s);
    if (w->ca_file != NULL) { /* it alone, not this host's as well */
        (void)curl_easy_setopt(curl, CURLOPT_CAINFO, w->ca_file);
        (void)curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    }
    (void)curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFODATA, (void *)w->stopping);
}

static void set_request(CURL *curl, const struct request *r,
                        struct s3_transfer *t)
{
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, r->headers);
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, t->curl_text);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
    (void)curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(curl, CURLOPT_HEADERDATA, t);
    if (strcmp(t->method, "PUT") == 0) {
        (void)curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        (void)curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE,
                               (curl_off_t)t->body.size);
        (void)curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_send);
        (void)curl_easy_setopt(curl, CURLOPT_READDATA, t);
        (void)curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, on_seek);
        (void)curl_easy_setopt(curl, CURLOPT_SEEKDATA, t);
    } else {
        CHECK(t->body.size == 0);
        (void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, t->method);
    }
}

int s3_transfer_run(struct s3_transfer *t, const struct s3_wire *w)
{
    struct request r = {.headers = NULL};
    int error;

    CHECK(w->curl != NULL && w->stopping != NULL);
    t->status = 0;
    t->date = -1;
    t->sent = 0;
    t->wire = w;
    buffer_init(&t->error_body, ERROR_BODY_MAX);
    if (t->to != NULL)
        buffer_clear(t->to);
    buffer_init(&r.url, TEXT_MAX);
    buffer_init(&r.host, TEXT_MAX);
    buffer_init(&r.path, TEXT_MAX);
    buffer_init(&r.authorization, TEXT_MAX);
    error = build(&r, t, w);
    if (error == 0) {
        curl_easy_reset(w->curl); /* keeps connections */
        set_limits(w->curl, t, w);
        set_request(w->curl, &r, t);
        t->code =
            curl_easy_setopt(w->curl, CURLOPT_URL, (const char *)r.url.data);
        if (t->code == CURLE_OK)
            t->code = curl_easy_perform(w->curl);
        /* What it points to ends here. */
        curl_easy_reset(w->curl);
    }
    curl_slist_free_all(r.headers);
    buffer_release(&r.url);
    buffer_release(&r.host);
    buffer_release(&r.path);
    buffer_release(&r.authorization);
    return error;
}

void s3_transfer_release(struct s3_transfer *t)
{
    CHECK(t != NULL);
    buffer_release(&t->error_body);
}
