/* Goal: requests are signed as Amazon says, targets mean what is documented,
 * answers are read within bounds. Method: the examples of the Amazon S3 API
 * reference ("Signature Calculations for the Authorization Header"), and texts
 * good and bad. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "crdt/base/alloc.h"
#include "node/s3_sign.h"
#include "node/s3_target.h"
#include "node/s3_xml.h"

#define EMPTY_HASH                                                             \
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define WELCOME_HASH                                                           \
    "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"

/* ---- signatures ---- */

static const struct s3_credentials example = {
    .access_key = "AKIAIOSFODNN7EXAMPLE",
    .secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
};

struct published {
    const char *method;
    const char *path;
    const char *query;
    struct s3_header headers[5];
    size_t count;
    const char *hash;
    const char *signature;
};

#define HOST                                                                   \
    {                                                                          \
        "host", "examplebucket.s3.amazonaws.com"                               \
    }
#define DATE                                                                   \
    {                                                                          \
        "x-amz-date", "20130524T000000Z"                                       \
    }

static const struct published published[] = {
    {"GET",
     "/test.txt",
     "",
     {HOST, {"range", "bytes=0-9"}, {"x-amz-content-sha256", EMPTY_HASH}, DATE},
     4,
     EMPTY_HASH,
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
    {"PUT",
     "/test%24file.text",
     "",
     {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
      HOST,
      {"x-amz-content-sha256", WELCOME_HASH},
      DATE,
      {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
     5,
     WELCOME_HASH,
     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
    {"GET",
     "/",
     "lifecycle=",
     {HOST, {"x-amz-content-sha256", EMPTY_HASH}, DATE},
     3,
     EMPTY_HASH,
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
    {"GET",
     "/",
     "max-keys=2&prefix=J",
     {HOST, {"x-amz-content-sha256", EMPTY_HASH}, DATE},
     3,
     EMPTY_HASH,
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
};

static void published_examples_are_signed_alike(void **state)
{
    char hash[S3_HASH_SIZE];
    char date[S3_DATE_SIZE];
    size_t i;

    (void)state;
    s3_payload_hash(hash, slice_of(NULL, 0));
    assert_string_equal(hash, EMPTY_HASH);
    s3_payload_hash(hash, slice_of_string("Welcome to Amazon S3."));
    assert_string_equal(hash, WELCOME_HASH);
    s3_date_format(date, 1369353600);
    assert_string_equal(date, "20130524T000000Z");
    for (i = 0; i < sizeof published / sizeof published[0]; i++) {
        const struct published *p = &published[i];
        struct s3_request request = {
            .method = p->method,
            .path = p->path,
            .query = p->query,
            .headers = p->headers,
            .headers_count = p->count,
            .payload_hash = p->hash,
            .date = date,
            .region = "us-east-1",
        };
        struct buffer out;
        const char *signature;

        buffer_init(&out, 1024);
        s3_sign(&out, &request, &example);
        buffer_append_byte(&out, 0);
        assert_int_equal(out.error, 0);
        signature = strstr((const char *)out.data, "Signature=");
        assert_non_null(signature);
        assert_string_equal(signature + 10, p->signature);
        assert_non_null(strstr((const char *)out.data,
                               "Credential=AKIAIOSFODNN7EXAMPLE/20130524/"
                               "us-east-1/s3/aws4_request,"));
        assert_null(strstr((const char *)out.data, example.secret_key));
        buffer_release(&out);
    }
}

static void a_bound_is_an_error_not_half_a_header(void **state)
{
    struct s3_header headers[] = {HOST, DATE};
    struct s3_request request = {
        .method = "GET",
        .path = "/",
        .query = "",
        .headers = headers,
        .headers_count = 2,
        .payload_hash = EMPTY_HASH,
        .date = "20130524T000000Z",
        .region = "us-east-1",
    };
    struct buffer out;

    (void)state;
    buffer_init(&out, 40);
    s3_sign(&out, &request, &example);
    assert_int_not_equal(out.error, 0);
    buffer_release(&out);
}

/* ---- targets ---- */

static const char *text_of(struct buffer *b)
{
    buffer_append_byte(b, 0);
    assert_int_equal(b->error, 0);
    return (const char *)b->data;
}

static void check_target(const char *target, const char *host, const char *path)
{
    struct cm_detail detail = {""};
    struct buffer text;
    struct s3_target t;
    int error = s3_target_parse(&t, target, NULL, &detail);

    if (error != 0)
        print_error("%s: %s\n", target, detail.text);
    assert_int_equal(error, 0);
    buffer_init(&text, 1000);
    s3_target_host(&text, &t);
    assert_string_equal(text_of(&text), host);
    buffer_clear(&text);
    s3_target_path(&text, &t, "v1/x");
    assert_string_equal(text_of(&text), path);
    buffer_release(&text);
}

static void targets_mean_what_they_say(void **state)
{
    struct s3_target t;

    (void)state;
    check_target("s3://bucket", "bucket.s3.us-east-1.amazonaws.com", "/v1/x");
    check_target("s3://bucket/", "bucket.s3.us-east-1.amazonaws.com", "/v1/x");
    check_target("s3://bucket/a/b/?region=eu-west-3",
                 "bucket.s3.eu-west-3.amazonaws.com", "/a/b/v1/x");
    check_target("s3://bucket/a?region=eu-west-3&path-style=yes",
                 "s3.eu-west-3.amazonaws.com", "/bucket/a/v1/x");
    check_target("s3://my.bucket/a", "s3.us-east-1.amazonaws.com",
                 "/my.bucket/a/v1/x");
    check_target("s3://bucket/a%20b%25?endpoint=https://minio.example:9000/",
                 "minio.example:9000", "/bucket/a%20b%25/v1/x");
    check_target("s3://bucket?endpoint=https%3A%2F%2Fh.example%3A443"
                 "&path-style=no",
                 "bucket.h.example", "/v1/x");
    check_target("s3://bucket?endpoint=http://127.0.0.1:80", "127.0.0.1",
                 "/bucket/v1/x");
    check_target("s3://bucket?endpoint=http://lan.example&plain-http=yes",
                 "lan.example", "/bucket/v1/x");
    assert_int_equal(
        s3_target_parse(&t, "s3://bucket?timeout=7", "eu-west-2", NULL), 0);
    assert_int_equal(t.timeout_s, 7);
    assert_string_equal(t.region, "eu-west-2");
    assert_false(t.plain_http);
    /* Amazon's endpoint follows the region. */
    assert_int_equal(s3_target_set_region(&t, slice_of_string("cn-north-1")),
                     0);
    assert_string_equal(t.host, "s3.cn-north-1.amazonaws.com.cn");
    assert_int_not_equal(
        s3_target_set_region(&t, slice_of_string("a.evil.example/")), 0);
    assert_string_equal(t.region, "cn-north-1");
}

static void other_targets_are_refused(void **state)
{
    static const char *const targets[] = {
        "s3:",
        "s3://",
        "s3:///x",
        "s3://ab",
        "s3://KEY:hunter2@bucket/x",
        "s3://bucket/%zz",
        "s3://bucket/%0a",
        "s3://bucket/%4",
        "s3://bucket?",
        "s3://bucket?x",
        "s3://bucket?colour=red",
        "s3://bucket?endpoint=",
        "s3://bucket?endpoint=https://KEY:hunter2@host",
        "s3://bucket?endpoint=https://host/path",
        "s3://bucket?endpoint=ftp://host",
        "s3://bucket?endpoint=http://10.0.0.1",
        "s3://bucket?endpoint=http://127.evil.example",
        "s3://bucket?endpoint=http://localhost.evil.example",
        "s3://bucket?path-style=maybe",
        "s3://bucket?timeout=0",
        "s3://bucket?timeout=601",
        "s3://bucket?timeout=1s",
        "s3://bucket?region=a/b",
        "s3://bucket?region=",
        "s3://bucket?secret=hunter2",
    };
    char longest[1200];
    struct s3_target t;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        struct cm_detail detail = {""};
        int error = s3_target_parse(&t, targets[i], NULL, &detail);

        /* An empty option list, or an empty region, says nothing. */
        if (strcmp(targets[i], "s3://bucket?") == 0 ||
            strcmp(targets[i], "s3://bucket?region=") == 0) {
            assert_int_equal(error, 0);
            continue;
        }
        if (error != CM_ERR_INVALID)
            print_error("taken: %s\n", targets[i]);
        assert_int_equal(error, CM_ERR_INVALID);
        assert_int_not_equal(detail.text[0], '\0');
        assert_null(strstr(detail.text, "hunter2"));
    }
    (void)snprintf(longest, sizeof longest, "s3://bucket/%01100d", 0);
    assert_int_equal(s3_target_parse(&t, longest, NULL, NULL), CM_ERR_INVALID);
}

/* ---- credentials ---- */

static void profiles_are_told_apart(void **state)
{
    static const char file[] = "# mine\n"
                               "[default]\r\n"
                               "aws_access_key_id = A1\r\n"
                               "aws_secret_access_key=S1/+=\r\n"
                               "region = x\r\n"
                               "[ other ]\n"
                               "aws_access_key_id=A2\n"
                               "aws_secret_access_key = S2\n"
                               "aws_session_token = T2\n"
                               "[half]\n"
                               "aws_access_key_id=A3\n"
                               "[bad]\n"
                               "aws_access_key_id=A 4\n";
    struct slice text = slice_of_string(file);
    struct cm_detail detail = {""};
    struct s3_credentials c;

    (void)state;
    assert_int_equal(s3_credentials_parse(&c, text, "default", NULL), 0);
    assert_string_equal(c.access_key, "A1");
    assert_string_equal(c.secret_key, "S1/+=");
    assert_string_equal(c.session_token, "");
    assert_int_equal(s3_credentials_parse(&c, text, "other", NULL), 0);
    assert_string_equal(c.secret_key, "S2");
    assert_string_equal(c.session_token, "T2");
    assert_int_equal(s3_credentials_parse(&c, text, "half", &detail),
                     CM_ERR_NOT_FOUND);
    assert_null(strstr(detail.text, "A3"));
    assert_int_equal(s3_credentials_parse(&c, text, "bad", &detail),
                     CM_ERR_INVALID);
    assert_null(strstr(detail.text, "A 4"));
    assert_int_equal(s3_credentials_parse(&c, text, "none", NULL),
                     CM_ERR_NOT_FOUND);
}

/* ---- answers ---- */

#define PAGE_HEAD                                                              \
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"                             \
    "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"     \
    "<Name>b</Name><Prefix>p/v1/</Prefix><Delimiter>/</Delimiter>"

static const char page[] = PAGE_HEAD
    "<IsTruncated>true</IsTruncated>"
    "<NextContinuationToken>a&amp;b=</NextContinuationToken>"
    "<Contents><Key>p/v1/z&#x41;&lt;</Key><Owner><ID>x</ID></Owner></Contents>"
    "<Contents><Key>p/v1/</Key></Contents>"
    "<Contents><Key>p/v1/.hidden</Key></Contents>"
    "<CommonPrefixes><Prefix>p/v1/dir/</Prefix></CommonPrefixes>"
    "</ListBucketResult>";

static void a_page_is_read(void **state)
{
    struct object_list l = {0};
    struct buffer token;
    struct slice text;

    (void)state;
    buffer_init(&token, 100);
    assert_int_equal(s3_xml_list(&l, slice_of_string(page), "p/v1/", &token),
                     0);
    object_list_sort(&l);
    assert_int_equal(l.count, 2);
    assert_string_equal(l.names[0], "dir/");
    assert_string_equal(l.names[1], "zA<");
    assert_true(slice_equal(buffer_slice(&token), slice_of_string("a&b=")));
    object_list_release(&l);
    buffer_release(&token);
    assert_true(s3_xml_find(&text, slice_of_string(page), "Name"));
    assert_true(slice_equal(text, slice_of_string("b")));
    assert_false(s3_xml_find(&text, slice_of_string(page), "Code"));
}

/* Every prefix of the page is either no whole page or nothing worse, and so is
 * every page with a byte changed. */
static void half_a_page_is_none(void **state)
{
    size_t size = sizeof page - 1;
    struct buffer token;
    char changed[sizeof page];
    size_t i;

    (void)state;
    buffer_init(&token, 100);
    for (i = 0; i < size; i++) {
        struct object_list l = {0};
        char *cut = malloc(i > 0 ? i : 1); /* exact, for the sanitizer */

        assert_non_null(cut);
        memcpy(cut, page, i);
        assert_int_equal(s3_xml_list(&l, slice_of(cut, i), "p/v1/", &token),
                         CM_ERR_MALFORMED);
        object_list_release(&l);
        free(cut);
        for (unsigned flip = 0; flip < 8; flip++) {
            memcpy(changed, page, sizeof page);
            changed[i] = (char)(changed[i] ^ (1 << flip));
            l = (struct object_list){0};
            (void)s3_xml_list(&l, slice_of(changed, size), "p/v1/", &token);
            object_list_release(&l);
        }
    }
    buffer_release(&token);
}

static void entities_are_bounded(void **state)
{
    static const char *const bad[] = {
        "&",    "&amp",     "&;",         "&bad;",         "&#;",   "&#x;",
        "&#0;", "&#xd800;", "&#x110000;", "&#9999999999;", "&#12a;"};
    struct buffer out;
    size_t i;

    (void)state;
    buffer_init(&out, 100);
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(s3_xml_unescape(&out, slice_of_string(bad[i])),
                         CM_ERR_MALFORMED);
    buffer_clear(&out);
    assert_int_equal(
        s3_xml_unescape(&out, slice_of_string("&#xe4;&#8364;&#x1f600;&quot;")),
        0);
    assert_true(slice_equal(buffer_slice(&out),
                            slice_of_string("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98"
                                            "\x80\"")));
    buffer_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_examples_are_signed_alike),
        cmocka_unit_test(a_bound_is_an_error_not_half_a_header),
        cmocka_unit_test(targets_mean_what_they_say),
        cmocka_unit_test(other_targets_are_refused),
        cmocka_unit_test(profiles_are_told_apart),
        cmocka_unit_test(a_page_is_read),
        cmocka_unit_test(half_a_page_is_none),
        cmocka_unit_test(entities_are_bounded),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
