/* The judgement over answers: done, again, again but signed otherwise, or an
 * error in words that name the remedy. */
#include "node/s3_client.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/object_retry.h"
#include "node/s3_sign.h"
#include "node/s3_transfer.h"
#include "node/s3_xml.h"

#define LIST_PAGE_MAX (8u * 1024 * 1024) /* bytes; 1,000 keys */
#define LIST_PAGES_MAX 4000u
#define SKEW_S 60        /* a refusal may be our clock's fault beyond it */
#define BUDGET_FACTOR 4u /* of timeout, for all attempts of one call */
#define CODE_MAX 64
#define MESSAGE_MAX 90

struct s3_client {
    struct s3_target target;
    struct s3_credentials credentials;
    struct s3_wire wire;
    char *ca_file;
    char last_put[OBJECT_NAME_MAX + 1]; /* which has to be there */
};

/* What an answer means. */
enum verdict {
    VERDICT_DONE,
    VERDICT_AGAIN,
    VERDICT_RESIGN, /* at once, with what was learnt */
    VERDICT_FAIL,
};

/* One call: a transfer and its repetitions. */
struct call {
    struct s3_client *client;
    struct s3_transfer transfer;
    const char *what; /* "put v1/..." in errors */
    bool sure;        /* the object was put: 404 is an old answer */
    bool told_clock;
    bool told_region;
    int error; /* of the last answer */
    char code[CODE_MAX + 1];
    char message[MESSAGE_MAX + 1];
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_begin(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

int s3_client_open(struct s3_client **ret_client, const char *target,
                   const char *ca_file, const atomic_bool *stopping,
                   struct cm_detail *detail)
{
    const char *region = getenv("AWS_REGION");
    struct s3_client *c;
    int error;

    CHECK(ret_client != NULL && stopping != NULL);
    if (region == NULL || region[0] == '\0')
        region = getenv("AWS_DEFAULT_REGION");
    if (ca_file == NULL)
        ca_file = getenv("AWS_CA_BUNDLE");
    c = cm_calloc(1, sizeof *c);
    if (c == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    error = s3_target_parse(&c->target, target, region, detail);
    if (error == 0)
        error = s3_credentials_load(&c->credentials, detail);
    if (error == 0 && ca_file != NULL && ca_file[0] != '\0') {
        c->ca_file = cm_alloc(strlen(ca_file) + 1);
        if (c->ca_file != NULL)
            memcpy(c->ca_file, ca_file, strlen(ca_file) + 1);
        else
            error = cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    }
    if (error == 0) {
        (void)pthread_once(&curl_once, curl_begin);
        c->wire = (struct s3_wire){
            .curl = curl_easy_init(),
            .target = &c->target,
            .credentials = &c->credentials,
            .ca_file = c->ca_file,
            .stopping = stopping,
        };
        if (c->wire.curl == NULL)
            error = cm_fail(detail, CM_ERR_NOMEM, "libcurl does not start");
    }
    if (error != 0) {
        s3_client_close(c);
        return error;
    }
    *ret_client = c;
    return 0;
}

void s3_client_limit(struct s3_client *c, struct object_rate *rate,
                     _Atomic uint64_t *sent)
{
    c->wire.rate = rate;
    c->wire.sent = sent;
}

void s3_client_close(struct s3_client *c)
{
    if (c == NULL)
        return;
    if (c->wire.curl != NULL)
        curl_easy_cleanup(c->wire.curl);
    s3_credentials_clear(&c->credentials);
    cm_free(c->ca_file);
    cm_free(c);
}

/* ---- what the server said ---- */

/* A stranger's text for a person: printable, short. */
static void take_text(char *to, size_t max, struct slice text)
{
    size_t i;

    if (text.size > max)
        text.size = max;
    for (i = 0; i < text.size; i++)
        to[i] = text.data[i] >= ' ' && text.data[i] < 0x7f ? (char)text.data[i]
                                                           : '?';
    to[i] = '\0';
}

static void take_error(struct call *k)
{
    struct slice body = buffer_slice(&k->transfer.error_body);
    struct slice text;

    k->code[0] = '\0';
    k->message[0] = '\0';
    if (s3_xml_find(&text, body, "Code"))
        take_text(k->code, CODE_MAX, text);
    if (s3_xml_find(&text, body, "Message"))
        take_text(k->message, MESSAGE_MAX, text);
}

static bool code_is(const struct call *k, const char *code)
{
    return strcmp(k->code, code) == 0;
}

/* ---- signed otherwise ---- */

/* A box without a clock signs for another year. The server's Date corrects
 * that, once; nothing else believes it. */
static bool learn_clock(struct call *k)
{
    const struct s3_transfer *t = &k->transfer;
    int64_t apart = t->date - t->signed_at;

    if (k->told_clock || t->date <= 0 || (apart <= SKEW_S && apart >= -SKEW_S))
        return false;
    k->told_clock = true;
    k->client->wire.offset_s += apart;
    return true;
}

/* The region in the header or the answer's text, when it is not ours. */
static bool learn_region(struct call *k)
{
    struct slice body = buffer_slice(&k->transfer.error_body);
    struct slice region = slice_of_string(k->transfer.region);

    if (region.size == 0 && !s3_xml_find(&region, body, "Region"))
        return false;
    if (k->told_region ||
        slice_equal(region, slice_of_string(k->client->target.region)))
        return false;
    k->told_region = true;
    return s3_target_set_region(&k->client->target, region) == 0;
}

/* ---- verdicts ---- */

/* 3xx, and answers that name another region: never followed to a host. */
static enum verdict judge_redirect(struct call *k)
{
    if (k->transfer.status == 307 && k->transfer.region[0] == '\0')
        return VERDICT_AGAIN; /* a new bucket, not known everywhere yet */
    return learn_region(k) ? VERDICT_RESIGN : VERDICT_FAIL;
}

static enum verdict judge_missing(struct call *k)
{
    if (code_is(k, "NoSuchBucket") || k->transfer.name[0] == '\0') {
        k->error = CM_ERR_IO;
        return VERDICT_FAIL;
    }
    k->error = CM_ERR_NOT_FOUND;
    return k->sure ? VERDICT_AGAIN : VERDICT_FAIL;
}

static enum verdict judge_status(struct call *k)
{
    static const char *const passing[] = {
        "SlowDown",
        "InternalError",
        "RequestTimeout",
        "ServiceUnavailable",
        "OperationAborted",
        "BadDigest",
        "RequestLimitExceeded",
        "XAmzContentSHA256Mismatch",
        "IncompleteBody",
    };
    long status = k->transfer.status;
    size_t i;

    k->error = CM_ERR_IO;
    if (status == 507 || code_is(k, "QuotaExceeded") ||
        code_is(k, "XMinioStorageFull")) {
        k->error = CM_ERR_FULL;
        return VERDICT_FAIL;
    }
    for (i = 0; i < sizeof passing / sizeof passing[0]; i++)
        if (code_is(k, passing[i]))
            return VERDICT_AGAIN;
    if (status == 404)
        return judge_missing(k);
    if (status >= 300 && status < 400)
        return judge_redirect(k);
    if (status == 400 && learn_region(k))
        return VERDICT_RESIGN;
    if ((status == 403 || status == 400) && learn_clock(k))
        return VERDICT_RESIGN;
    if (status == 408 || status == 425 || status == 429)
        return VERDICT_AGAIN;
    return status >= 500 && status != 501 && status != 505 ? VERDICT_AGAIN
                                                           : VERDICT_FAIL;
}

static enum verdict judge_curl(struct call *k)
{
    const struct s3_transfer *t = &k->transfer;

    k->error = CM_ERR_IO;
    switch (t->code) {
    case CURLE_WRITE_ERROR:
        k->error = t->too_large ? CM_ERR_TOO_LARGE : CM_ERR_NOMEM;
        return VERDICT_FAIL;
    case CURLE_OUT_OF_MEMORY:
        k->error = CM_ERR_NOMEM;
        return VERDICT_FAIL;
    case CURLE_ABORTED_BY_CALLBACK:
        k->error = CM_ERR_CLOSED;
        return VERDICT_FAIL;
    /* Who answers there is not who should, and will not be. */
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return VERDICT_FAIL;
    default:
        return VERDICT_AGAIN;
    }
}

static enum verdict judge(struct call *k)
{
    take_error(k);
    if (k->transfer.code != CURLE_OK)
        return judge_curl(k);
    if (k->transfer.status >= 200 && k->transfer.status < 300) {
        k->error = 0;
        return VERDICT_DONE;
    }
    return judge_status(k);
}

/* ---- words ---- */

static const char *remedy(const struct call *k)
{
    const struct s3_transfer *t = &k->transfer;

    if (t->code == CURLE_PEER_FAILED_VERIFICATION ||
        t->code == CURLE_SSL_CACERT_BADFILE)
        return "; check --ca-file and this host's clock";
    if (t->code != CURLE_OK)
        return "; check endpoint= and the way there";
    if (k->error == CM_ERR_FULL)
        return "; make room there: its quota, or 'confmesh snapshot prune'";
    if (code_is(k, "NoSuchBucket"))
        return "; make the bucket first";
    if (code_is(k, "SignatureDoesNotMatch"))
        return "; the secret key is wrong";
    if (code_is(k, "ExpiredToken"))
        return "; renew AWS_SESSION_TOKEN";
    if (code_is(k, "RequestTimeTooSkewed"))
        return "; set this host's clock";
    if (t->status == 401 || t->status == 403)
        return "; check the credentials and what they permit";
    if (t->status >= 300 && t->status < 400)
        return "; check endpoint= and region=";
    return "";
}

static int tell(const struct call *k, unsigned attempts,
                struct cm_detail *detail)
{
    const struct s3_transfer *t = &k->transfer;
    char tried[32] = "";

    CHECK(k->error != 0);
    if (attempts > 1)
        (void)snprintf(tried, sizeof tried, " (%u attempts)", attempts);
    if (k->error == CM_ERR_TOO_LARGE)
        return cm_fail(detail, k->error,
                       "cannot %.110s: it has more than %zu bytes, the limit",
                       k->what, t->to != NULL ? t->to->limit : 0);
    if (k->error == CM_ERR_CLOSED)
        return cm_fail(detail, CM_ERR_IO, "cannot %.110s: stopped", k->what);
    if (k->error == CM_ERR_NOMEM)
        return cm_fail(detail, k->error, "cannot %.110s: out of memory",
                       k->what);
    if (t->code != CURLE_OK)
        return cm_fail(detail, k->error, "cannot %.80s at %.40s: %.70s%s%s",
                       k->what, k->client->target.host,
                       t->curl_text[0] != '\0' ? t->curl_text
                                               : curl_easy_strerror(t->code),
                       tried, remedy(k));
    return cm_fail(detail, k->error, "cannot %.80s: %ld %.30s%s%.60s%s%s",
                   k->what, t->status, k->code,
                   k->message[0] != '\0' ? ": " : "", k->message, tried,
                   remedy(k));
}

/* ---- calls ---- */

static int run(struct call *k, struct cm_detail *detail)
{
    struct s3_client *c = k->client;
    struct object_retry retry;
    struct s3_transfer *t = &k->transfer;
    struct s3_transfer blank = *t;

    object_retry_begin(&retry, c->wire.stopping,
                       (uint64_t)c->target.timeout_s * 1000 * BUDGET_FACTOR);
    for (;;) {
        enum verdict verdict;
        int error;

        *t = blank;
        error = s3_transfer_run(t, &c->wire);
        if (error != 0) {
            s3_transfer_release(t);
            return cm_fail(detail, error, "cannot %.110s: %s", k->what,
                           cm_strerror(error));
        }
        verdict = judge(k);
        if (verdict == VERDICT_DONE || verdict == VERDICT_FAIL ||
            (verdict == VERDICT_AGAIN &&
             !object_retry_wait(&retry, t->after_ms))) {
            error = k->error;
            if (error != 0)
                error = tell(k, retry.attempts, detail);
            s3_transfer_release(t);
            return error;
        }
        s3_transfer_release(t);
    }
}

int s3_client_put(struct s3_client *c, const char *name, struct slice bytes,
                  struct cm_detail *detail)
{
    char what[OBJECT_NAME_MAX + 8];
    struct call k = {.client = c, .what = what};
    int error;

    CHECK(strlen(name) <= OBJECT_NAME_MAX);
    (void)snprintf(what, sizeof what, "put %s", name);
    k.transfer.method = "PUT";
    k.transfer.name = name;
    k.transfer.query = "";
    k.transfer.body = bytes;
    error = run(&k, detail);
    if (error == 0)
        memcpy(c->last_put, name, strlen(name) + 1);
    return error;
}

int s3_client_get(struct s3_client *c, const char *name,
                  struct buffer *ret_bytes, struct cm_detail *detail)
{
    char what[OBJECT_NAME_MAX + 8];
    struct call k = {
        .client = c, .what = what, .sure = strcmp(name, c->last_put) == 0};
    int error;

    CHECK(ret_bytes != NULL);
    (void)snprintf(what, sizeof what, "get %.191s", name);
    k.transfer.method = "GET";
    k.transfer.name = name;
    k.transfer.query = "";
    k.transfer.to = ret_bytes;
    error = run(&k, detail);
    if (error != 0)
        buffer_clear(ret_bytes);
    return error;
}

int s3_client_delete(struct s3_client *c, const char *name,
                     struct cm_detail *detail)
{
    char what[OBJECT_NAME_MAX + 8];
    struct call k = {.client = c, .what = what};
    int error;

    (void)snprintf(what, sizeof what, "delete %.180s", name);
    k.transfer.method = "DELETE";
    k.transfer.name = name;
    k.transfer.query = "";
    if (strcmp(name, c->last_put) == 0)
        c->last_put[0] = '\0';
    error = run(&k, detail);
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

/* Parameters in the order of their names, as the signature wants them. */
static int build_query(struct buffer *query, struct slice token,
                       const char *below)
{
    buffer_clear(query);
    if (token.size > 0) {
        buffer_append_string(query, "continuation-token=");
        s3_uri_encode(query, token, false);
        buffer_append_byte(query, '&');
    }
    buffer_append_string(query, "delimiter=%2F&list-type=2&max-keys=1000"
                                "&prefix=");
    s3_uri_encode(query, slice_of_string(below), false);
    buffer_append_byte(query, 0);
    return query->error;
}

struct listing {
    struct object_list list;
    struct buffer page;
    struct buffer query;
    struct buffer token;
    char below[S3_PREFIX_MAX + OBJECT_NAME_MAX + 2];
};

/* One page; a page that is not whole counts as an answer that broke off. */
static int list_page(struct s3_client *c, struct listing *l, const char *what,
                     struct cm_detail *detail)
{
    size_t before = l->list.count;
    unsigned tries;
    int error;

    error = build_query(&l->query, buffer_slice(&l->token), l->below);
    if (error != 0)
        return cm_fail(detail, CM_ERR_IO,
                       "cannot %.110s: the server's continuation token is too "
                       "long",
                       what);
    for (tries = 0; tries < 3; tries++) {
        struct call k = {.client = c, .what = what};

        k.transfer.method = "GET";
        k.transfer.name = "";
        k.transfer.query = (const char *)l->query.data;
        k.transfer.to = &l->page;
        error = run(&k, detail);
        if (error != 0)
            return error;
        error =
            s3_xml_list(&l->list, buffer_slice(&l->page), l->below, &l->token);
        if (error != CM_ERR_MALFORMED)
            break;
        while (l->list.count > before)
            cm_free(l->list.names[--l->list.count]);
    }
    if (error == CM_ERR_MALFORMED)
        return cm_fail(detail, CM_ERR_IO,
                       "cannot %.110s: the answer is no whole listing; is the "
                       "endpoint an S3 store?",
                       what);
    return cm_fail(detail, error, "cannot %.110s: %s", what,
                   cm_strerror(error));
}

int s3_client_list(struct s3_client *c, const char *prefix,
                   struct object_list *ret_list, struct cm_detail *detail)
{
    char what[OBJECT_NAME_MAX + 32];
    struct listing l = {.list = {0}};
    unsigned pages = 0;
    int error;

    CHECK(ret_list != NULL && strlen(prefix) <= OBJECT_NAME_MAX);
    (void)snprintf(what, sizeof what, "list '%s'", prefix);
    (void)snprintf(l.below, sizeof l.below, "%s%s", c->target.prefix, prefix);
    buffer_init(&l.page, LIST_PAGE_MAX);
    buffer_init(&l.query, 8192);
    buffer_init(&l.token, 2048);
    do {
        error = list_page(c, &l, what, detail);
        if (error == 0 && ++pages == LIST_PAGES_MAX && l.token.size > 0)
            error = cm_fail(detail, CM_ERR_LIMIT,
                            "cannot %.110s: more than %u pages", what,
                            LIST_PAGES_MAX);
    } while (error == 0 && l.token.size > 0);
    buffer_release(&l.page);
    buffer_release(&l.query);
    buffer_release(&l.token);
    if (error != 0) {
        object_list_release(&l.list);
        return error;
    }
    object_list_sort(&l.list);
    *ret_list = l.list;
    return 0;
}
