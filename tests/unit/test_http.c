/* Goal: what docs/API.md promises about requests that are answered at once, and
 * what bad ones get. Method: a real server over a real store (http_world.h),
 * asked through sockets. */
#include "tests/unit/http_world.h"

#include <jansson.h>

/* ---- Consul's dialect ---- */

static void test_one_key(void **state)
{
    const struct reply *r;
    uint64_t index;
    char expected[256];

    (void)state;
    r = ask("GET", "/v1/kv/app/a", NULL);
    assert_reply(r, 404, "");
    assert_true(strlen(header(r, "X-Consul-Index")) > 0);
    assert_string_equal(header(r, "X-Consul-KnownLeader"), "true");
    assert_string_equal(header(r, "X-Consul-LastContact"), "0");

    r = ask("PUT", "/v1/kv/app/a?flags=42", "hello");
    assert_reply(r, 200, "true");
    index = index_of(r);
    assert_true(strlen(header(r, "X-Confmesh-Token")) > 33);

    r = ask("GET", "/v1/kv/app%2fa", NULL);
    (void)snprintf(expected, sizeof(expected),
                   "[{\"LockIndex\":0,\"Key\":\"app/a\",\"Flags\":42,"
                   "\"Value\":\"aGVsbG8=\",\"CreateIndex\":%llu,"
                   "\"ModifyIndex\":%llu}]",
                   (unsigned long long)index, (unsigned long long)index);
    assert_reply(r, 200, expected);
    assert_true(index_of(r) == index);
    assert_string_equal(header(r, "Content-Type"), "application/json");
    assert_true(strlen(header(r, "X-Confmesh-Version")) > 33);

    r = ask("GET", "/v1/kv/app/a?raw", NULL);
    assert_reply(r, 200, "hello");
    assert_string_equal(header(r, "Content-Security-Policy"), "sandbox");
    assert_string_equal(header(r, "X-Content-Type-Options"), "nosniff");

    assert_reply(ask("PUT", "/v1/kv/empty", ""), 200, "true");
    assert_says(ask("GET", "/v1/kv/empty", NULL), 200, "\"Value\":null");
    assert_reply(ask("DELETE", "/v1/kv/app/a", NULL), 200, "true");
    assert_reply(ask("GET", "/v1/kv/app/a", NULL), 404, "");
    assert_reply(ask("DELETE", "/v1/kv/never/was", NULL), 200, "true");
}

static void test_odd_keys(void **state)
{
    (void)state;
    put("sp%20ace%22q%5C%0a", "1");
    assert_says(ask("GET", "/v1/kv/sp%20ace%22q%5C%0a", NULL), 200,
                "\"Key\":\"sp ace\\\"q\\\\\\u000a\"");
    put("%c3%a4", "1");
    assert_says(ask("GET", "/v1/kv/\xc3\xa4?stale", NULL), 200,
                "\"Key\":\"\xc3\xa4\"");
    put("plus+sign", "1");
    assert_says(ask("GET", "/v1/kv/plus%2Bsign", NULL), 200, "plus+sign");
}

static void test_cas(void **state)
{
    char target[128];
    uint64_t index;

    (void)state;
    assert_reply(ask("PUT", "/v1/kv/c?cas=0", "1"), 200, "true");
    assert_reply(ask("PUT", "/v1/kv/c?cas=0", "2"), 200, "false");
    assert_reply(ask("PUT", "/v1/kv/c?if-absent", "2"), 200, "false");
    index = number_in(ask("GET", "/v1/kv/c", NULL)->body, "ModifyIndex");
    put("other", "x"); /* an unrelated commit does not matter */
    (void)snprintf(target, sizeof(target), "/v1/kv/c?cas=%llu",
                   (unsigned long long)(index ^ 1));
    assert_reply(ask("PUT", target, "2"), 200, "false"); /* foreign tag */
    (void)snprintf(target, sizeof(target), "/v1/kv/c?cas=%llu",
                   (unsigned long long)(index + 4096));
    assert_reply(ask("PUT", target, "2"), 200, "false"); /* other revision */
    (void)snprintf(target, sizeof(target), "/v1/kv/c?cas=%llu",
                   (unsigned long long)index);
    assert_reply(ask("PUT", target, "2"), 200, "true");
    assert_reply(ask("PUT", target, "3"), 200, "false"); /* used up */
    assert_reply(ask("GET", "/v1/kv/c?raw", NULL), 200, "2");

    assert_reply(ask("DELETE", target, NULL), 200, "false");
    assert_reply(ask("DELETE", "/v1/kv/c?cas=0", NULL), 200, "false");
    index = number_in(ask("GET", "/v1/kv/c", NULL)->body, "ModifyIndex");
    (void)snprintf(target, sizeof(target), "/v1/kv/c?cas=%llu",
                   (unsigned long long)index);
    assert_reply(ask("DELETE", target, NULL), 200, "true");
    assert_reply(ask("GET", "/v1/kv/c", NULL), 404, "");
}

static void test_versions(void **state)
{
    char target[160];

    (void)state;
    put("v", "1");
    (void)snprintf(target, sizeof(target), "/v1/kv/v?if-version=%s",
                   header(ask("GET", "/v1/kv/v", NULL), "X-Confmesh-Version"));
    assert_reply(ask("PUT", target, "2"), 200, "true");
    assert_reply(ask("PUT", target, "3"), 200, "false");
    assert_reply(ask("GET", "/v1/kv/v?raw", NULL), 200, "2");
}

static void test_trees(void **state)
{
    const struct reply *r;

    (void)state;
    assert_reply(ask("GET", "/v1/kv/t/?recurse", NULL), 404, "");
    put("t/a", "1");
    put("t/d/x", "2");
    put("t/d/y", "3");
    put("t/e/z", "4");
    put("u", "5");
    r = ask("GET", "/v1/kv/t/?recurse", NULL);
    assert_says(r, 200, "t/a");
    assert_non_null(strstr(r->body, "t/e/z"));
    assert_null(strstr(r->body, "\"u\""));
    assert_reply(ask("GET", "/v1/kv/t/?keys", NULL), 200,
                 "[\"t/a\",\"t/d/x\",\"t/d/y\",\"t/e/z\"]");
    assert_reply(ask("GET", "/v1/kv/t/?keys&separator=/", NULL), 200,
                 "[\"t/a\",\"t/d/\",\"t/e/\"]");
    assert_reply(ask("GET", "/v1/kv/?keys&separator=%2F", NULL), 200,
                 "[\"t/\",\"u\"]");
    assert_reply(ask("GET", "/v1/kv?keys&separator=/", NULL), 200,
                 "[\"t/\",\"u\"]");
    assert_reply(ask("DELETE", "/v1/kv/t/d?recurse", NULL), 200, "true");
    assert_reply(ask("GET", "/v1/kv/t/?keys", NULL), 200,
                 "[\"t/a\",\"t/e/z\"]");
    assert_reply(ask("DELETE", "/v1/kv/?recurse", NULL), 200, "true");
    assert_reply(ask("GET", "/v1/kv/?recurse", NULL), 404, "");
    assert_reply(ask("DELETE", "/v1/kv/?recurse", NULL), 200, "true");
}

/* A tree of more keys than one transaction deletes. */
static void test_delete_large_tree(void **state)
{
    enum { keys = 2500 };
    size_t room = 64 * keys + 64;
    char *body = malloc(room);
    size_t at = (size_t)snprintf(body, room, "{\"ops\":[");

    (void)state;
    for (int i = 0; i < keys; i++)
        at += (size_t)snprintf(
            body + at, room - at,
            "%s{\"op\":\"put\",\"key\":\"big/%05d\",\"value\":\"v\"}",
            i > 0 ? "," : "", i);
    (void)snprintf(body + at, room - at, "]}");
    assert_says(ask("POST", "/v1/txn", body), 200, "\"wrote\":true");
    free(body);
    put("keep", "1");
    assert_reply(ask("DELETE", "/v1/kv/big/?recurse", NULL), 200, "true");
    assert_reply(ask("GET", "/v1/kv/?keys", NULL), 200, "[\"keep\"]");
}

/* ---- refusals ---- */

static const struct {
    const char *method;
    const char *target;
    int status;
    const char *says;
} refusals[] = {
    {"PUT", "/v1/kv/k?acquire=x", 400, "locks"},
    {"PUT", "/v1/kv/k?release=x", 400, "locks"},
    {"GET", "/v1/kv/k?consistent", 400, "quorum"},
    {"GET", "/v1/kv/k?dc=elsewhere", 400, "dc"},
    {"PUT", "/v1/kv/a%00b", 400, "%00"},
    {"PUT", "/v1/kv/a%zzb", 400, "percent"},
    {"PUT", "/v1/kv/a%4", 400, "percent"},
    {"PUT", "/v1/kv/a%ff", 400, "UTF-8"},
    {"PUT", "/v1/kv/a%ed%a0%80", 400, "UTF-8"},
    {"PUT", "/v1/kv/a%c0%80", 400, "UTF-8"},
    {"PUT", "/v1/kv/", 400, "missing"},
    {"PUT", "/v1/kv/?recurse", 400, "missing"},
    {"GET", "/v1/kv/", 400, "missing"},
    {"PUT", "/v1/kv/k?if_absent", 400, "if_absent"},
    {"PUT", "/v1/kv/k?flags=-1", 400, "flags"},
    {"PUT", "/v1/kv/k?flags=18446744073709551616", 400, "flags"},
    {"PUT", "/v1/kv/k?cas=x", 400, "cas"},
    {"PUT", "/v1/kv/k?cas=0&if-absent", 400, "exclude"},
    {"PUT", "/v1/kv/k?if-version=zz", 400, "if-version"},
    {"GET", "/v1/kv/k?index=z", 400, "index"},
    {"GET", "/v1/kv/k?index=1&wait=soon", 400, "wait"},
    {"GET", "/v1/kv/k?raw=%00", 400, "parameter"},
    {"GET", "/v1/kv/k?a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p&q", 400, "16"},
    {"POST", "/v1/kv/k", 405, "PUT"},
    {"PATCH", "/v1/kv/k", 405, "PUT"},
    {"GET", "/v1/nothing", 404, "path"},
    {"GET", "/v1/kvetch", 404, "path"},
    {"GET", "/", 404, "path"},
    {"PUT", "/v1/set/k", 405, "element"},
    {"PUT", "/v1/set/a/b/c", 400, "%2F"},
    {"PUT", "/v1/set/a/", 400, "element"},
    {"PUT", "/v1/set/a%00/b", 400, "%00"},
    {"GET", "/v1/revoke/k", 405, "POST"},
    {"GET", "/v1/txn", 405, "POST"},
    {"POST", "/v1/watch", 405, "GET"},
    {"GET", "/v1/watch?revision=x", 400, "revision"},
    {"GET", "/v1/watch?prefiks=x", 400, "prefiks"},
    {"POST", "/v1/txn?dc=elsewhere", 400, "dc"},
    {"POST", "/v1/txn?consistent", 400, "quorum"},
    {"POST", "/v1/txn?cas=1", 400, "cas"},
    {"POST", "/v1/mesh/status", 405, "GET"},
    {"GET", "/v1/mesh/status?verbose", 400, "verbose"},
    {"GET", "/v1/mesh/members?state=dead", 400, "state"},
    {"GET", "/v1/mesh/roster?dc=elsewhere", 400, "dc"},
    {"GET", "/v1/mesh/sets?key=k", 400, "key"},
    {"POST", "/v1/mesh/token", 403, "socket"},
    {"POST", "/v1/mesh/snapshot", 403, "socket"},
};

static void test_refusals(void **state)
{
    const struct reply *r;

    (void)state;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        r = ask(refusals[i].method, refusals[i].target,
                refusals[i].method[0] == 'G' ? NULL : "v");
        if (r->status != refusals[i].status || r->body == NULL ||
            strstr(r->body, refusals[i].says) == NULL)
            fail_msg("%s %s: %d \"%s\"", refusals[i].method, refusals[i].target,
                     r->status, r->body != NULL ? r->body : "");
        /* Consul's paths speak text, the others JSON. */
        assert_true((strncmp(refusals[i].target, "/v1/kv", 6) == 0 &&
                     refusals[i].status != 404) != (r->body[0] == '{'));
    }
    assert_reply(ask("GET", "/v1/kv/?keys", NULL), 404, "");
}

/* What Consul's clients send along goes with both of its paths, and this mesh
 * is a dc. Probes of health may say what they like. */
static void test_parameters_passed_over(void **state)
{
    static const char txn[] = "[{\"KV\":{\"Verb\":\"set\",\"Key\":\"k\","
                              "\"Value\":\"dg==\"}}]";
    static const char rest[] = "stale&pretty&token=t&ns=n&partition=p&near=n"
                               "&filter=f&hash=h&cached&default";
    char mesh[MESH_ID_TEXT_SIZE] = "";
    char target[256];

    (void)state;
    mesh_id_format(mesh, &world.mesh);
    (void)snprintf(target, sizeof target, "/v1/txn?dc=%s&%s", mesh, rest);
    assert_says(ask("PUT", target, txn), 200, "\"Errors\":null");
    (void)snprintf(target, sizeof target, "/v1/kv/k?raw&dc=%s&%s", mesh, rest);
    assert_reply(ask("GET", target, NULL), 200, "v");
    assert_says(ask("PUT", "/v1/txn?dc=", txn), 200, "\"Errors\":null");
    assert_int_equal(ask("GET", "/healthz?probe=7", NULL)->status, 200);
    assert_int_equal(ask("GET", "/readyz?verbose", NULL)->status, 200);
    assert_int_equal(ask("GET", "/metrics?collect=all", NULL)->status, 200);
}

static void test_long_keys(void **state)
{
    char target[600] = "/v1/kv/";
    size_t root = strlen(target);

    (void)state;
    memset(target + root, 'k', 480);
    put(target + root, "v");
    assert_says(ask("GET", target, NULL), 200, "kkkk");
    target[root + 480] = 'k';
    assert_says(ask("PUT", target, "v"), 400, "480");
}

static void test_large_values(void **state)
{
    size_t size = 1000001;
    char *value = malloc(size);
    int fd = dial();

    (void)state;
    memset(value, 'x', size);
    assert_reply(ask_on(fd, "PUT", "/v1/kv/big", "", value, 1000000), 200,
                 "true");
    assert_says(ask_on(fd, "PUT", "/v1/kv/big2", "", value, size), 413,
                "1000000");
    /* Its body was read away: the connection is still good. */
    assert_reply(ask_on(fd, "GET", "/v1/kv/big2", "", NULL, 0), 404, "");
    (void)close(fd);
    assert_int_equal(ask("GET", "/v1/kv/big?raw", NULL)->size, 1000000);
    assert_int_equal(ask("GET", "/v1/kv/big", NULL)->status, 200);
    assert_int_equal(ask_raw("PUT /v1/kv/b HTTP/1.1\r\nHost: localhost\r\n"
                             "Content-Length: 99999999999\r\n\r\n")
                         ->status,
                     413);
    assert_int_equal(
        ask_raw("PUT /v1/kv/b HTTP/1.1\r\nHost: localhost\r\nExpect: "
                "100-continue\r\nContent-Length: 1000001\r\n\r\n")
            ->status,
        413);
    free(value);
}

static void test_smuggling(void **state)
{
    (void)state;
    assert_int_equal(ask_raw("PUT /v1/kv/s HTTP/1.1\r\nHost: localhost\r\n"
                             "Content-Length: 1\r\nContent-Length: 2\r\n"
                             "\r\nab")
                         ->status,
                     400);
    assert_int_equal(ask_raw("PUT /v1/kv/s HTTP/1.1\r\nHost: localhost\r\n"
                             "Content-Length: 1\r\nContent-Length: 1\r\n"
                             "\r\na")
                         ->status,
                     400);
    assert_int_equal(ask_raw("PUT /v1/kv/s HTTP/1.1\r\nHost: localhost\r\n"
                             "Transfer-Encoding: chunked\r\n"
                             "Content-Length: 6\r\n\r\n0\r\n\r\nX")
                         ->status,
                     400);
    assert_int_equal(ask_raw("GET /v1/kv/s HTTP/1.1\r\nHost: localhost\r\n"
                             "Content-Length: 1\r\nContent-Length: 1\r\n"
                             "\r\na")
                         ->status,
                     400);
    assert_reply(ask("GET", "/v1/kv/s", NULL), 404, "");
    assert_reply(ask_raw("PUT /v1/kv/s HTTP/1.1\r\nHost: localhost\r\n"
                         "Transfer-Encoding: chunked\r\n\r\n"
                         "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
                 200, "true");
    assert_reply(ask("GET", "/v1/kv/s?raw", NULL), 200, "abcde");
}

static void test_host_and_origin(void **state)
{
    static const struct {
        const char *fields;
        int status;
    } cases[] = {
        {"Host: localhost\r\n", 200},
        {"Host: LOCALHOST:8500\r\n", 200},
        {"Host: 127.0.0.1\r\n", 200},
        {"Host: [::1]:80\r\n", 200},
        {"Host: evil.example\r\n", 403},
        {"Host: localhost.evil.example\r\n", 403},
        {"Host: localhost:80.evil.example\r\n", 403},
        {"Host: 127.0.0.1:\r\n", 403},
        {"Host: \r\n", 403},
        {"Host: localhost\r\nHost: evil.example\r\n", 403},
        {"Host: localhost\r\nOrigin: http://localhost\r\n", 200},
        {"Host: localhost:81\r\nOrigin: http://localhost:81\r\n", 200},
        {"Host: localhost:81\r\nOrigin: http://localhost:82\r\n", 403},
        {"Host: localhost\r\nOrigin: https://evil.example\r\n", 403},
        {"Host: localhost\r\nOrigin: null\r\n", 403},
    };
    char text[256];
    const struct reply *r;
    int fd = dial_unix();

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        (void)snprintf(text, sizeof(text), "GET /healthz HTTP/1.1\r\n%s\r\n",
                       cases[i].fields);
        r = ask_raw(text);
        if (r->status != cases[i].status &&
            !(cases[i].status == 403 && r->status == 400))
            fail_msg("%s: %d", cases[i].fields, r->status);
    }
    assert_int_equal(ask_raw("GET /healthz HTTP/1.0\r\n\r\n")->status, 403);
    send_text(fd, "GET /healthz HTTP/1.1\r\nHost: any.thing\r\n\r\n");
    assert_reply(read_reply(fd), 200, "ok\n");
    (void)close(fd);
}

static void test_large_header(void **state)
{
    char fields[9100];
    int fd = dial();

    (void)state;
    memset(fields, 'c', sizeof(fields));
    memcpy(fields, "Cookie: ", 8);
    memcpy(fields + 3000, "\r\n", 3);
    assert_int_equal(ask_on(fd, "GET", "/healthz", fields, NULL, 0)->status,
                     200);
    (void)close(fd);
    memset(fields + 3000, 'c', 6000);
    memcpy(fields + 9000, "\r\n", 3);
    fd = dial();
    assert_int_equal(ask_on(fd, "GET", "/healthz", fields, NULL, 0)->status,
                     431);
    (void)close(fd);
}

static void test_garbage(void **state)
{
    unsigned char bytes[10000];
    unsigned char seed[randombytes_SEEDBYTES] = {1};
    char sink[4096];
    int fd;

    (void)state;
    for (unsigned round = 0; round < 8; round++) {
        seed[1] = (unsigned char)round;
        randombytes_buf_deterministic(bytes, sizeof(bytes), seed);
        fd = round % 2 == 0 ? dial() : dial_unix();
        if (round >= 4) /* behind a good request */
            send_text(fd, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        send_bytes(fd, bytes, sizeof(bytes));
        (void)shutdown(fd, SHUT_WR);
        while (recv(fd, sink, sizeof(sink), 0) > 0)
            ;
        (void)close(fd);
    }
    assert_reply(ask("GET", "/healthz", NULL), 200, "ok\n");
}

/* ---- revokes, sets, transactions ---- */

static void test_revoke(void **state)
{
    const struct reply *r;

    (void)state;
    put("users/bob", "admin");
    assert_says(ask("POST", "/v1/revoke/users/bob", ""), 200, "\"wrote\":true");
    assert_reply(ask("GET", "/v1/kv/users/bob", NULL), 404, "");
    r = ask("PUT", "/v1/kv/users/bob", "admin");
    assert_says(r, 403, "revoked by alpha at 20");
    assert_non_null(strstr(r->body, "unrevoke"));
    (void)ask("PUT", "/v1/kv/users/bob?cas=0", "admin");
    assert_true(last.status == 403 || strcmp(last.body, "false") == 0);
    assert_reply(ask("DELETE", "/v1/kv/users/bob", NULL), 200, "true");
    assert_int_equal(ask("PUT", "/v1/kv/users/bob", "admin")->status, 403);
    r = ask("POST", "/v1/txn",
            "{\"ops\":[{\"op\":\"put\",\"key\":\"x\",\"value\":\"1\"},"
            "{\"op\":\"put\",\"key\":\"users/bob\",\"value\":\"1\"}]}");
    assert_says(r, 403, "\"error\":\"CM_ERR_REVOKED\"");
    assert_int_equal(number_in(r->body, "failed_op"), 1);
    assert_reply(ask("GET", "/v1/kv/x", NULL), 404, "");
    assert_reply(ask("PUT", "/v1/kv/users/bob?unrevoke", "user"), 200, "true");
    assert_reply(ask("GET", "/v1/kv/users/bob?raw", NULL), 200, "user");
}

static void test_sets(void **state)
{
    (void)state;
    assert_int_equal(ask("GET", "/v1/set/s", NULL)->status, 404);
    assert_says(ask("PUT", "/v1/set/s/b", ""), 200, "\"wrote\":true");
    assert_says(ask("PUT", "/v1/set/s/a%2Fb", ""), 200, "\"wrote\":true");
    assert_says(ask("PUT", "/v1/set/s%2Ft/x", ""), 200, "\"wrote\":true");
    assert_says(ask("GET", "/v1/set/s", NULL), 200,
                "{\"key\":\"s\",\"members\":[\"a/b\",\"b\"],\"revision\":");
    assert_says(ask("GET", "/v1/set/s%2ft", NULL), 200,
                "{\"key\":\"s/t\",\"members\":[\"x\"]");
    assert_int_equal(ask("DELETE", "/v1/set/s/b", NULL)->status, 200);
    assert_says(ask("GET", "/v1/set/s", NULL), 200, "[\"a/b\"]");
    assert_int_equal(ask("POST", "/v1/set/s/b?revoke", "")->status, 200);
    assert_says(ask("PUT", "/v1/set/s/b", ""), 403, "revoked by alpha");
    assert_int_equal(ask("PUT", "/v1/set/s/b?unrevoke", "")->status, 200);
    assert_says(ask("GET", "/v1/set/s", NULL), 200, "[\"a/b\",\"b\"]");
    assert_reply(ask("GET", "/v1/kv/s", NULL), 404, "");
}

static void test_transactions(void **state)
{
    static const struct {
        const char *body;
        const char *says;
    } bad[] = {
        {"", "ops"},
        {"{", "line 1"},
        {"[]", "at least one"},
        {"{\"ops\":[]}", "at least one"},
        {"{\"ops\":{}}", "array"},
        {"{\"ops\":[1]}", "operation 0"},
        {"{\"oops\":[]}", "oops"},
        {"{\"ops\":[{\"op\":\"put\",\"key\":\"a\"}]}", "value"},
        {"{\"ops\":[{\"op\":\"pat\",\"key\":\"a\",\"value\":\"\"}]}", "op"},
        {"{\"ops\":[{\"op\":\"put\",\"key\":\"a\",\"value64\":\"*\"}]}",
         "base64"},
        {"{\"ops\":[{\"op\":\"put\",\"key\":1,\"value\":\"\"}]}", "key"},
        {"{\"ops\":[{\"op\":\"put\",\"key\":\"a\",\"value\":\"\","
         "\"flags\":-1}]}",
         "flags"},
        {"{\"ops\":[{\"op\":\"put\",\"key\":\"a\",\"key\":\"b\","
         "\"value\":\"\"}]}",
         "duplicate"},
        {"{\"ops\":[{\"op\":\"del\",\"key\":\"a\",\"element\":\"b\"}]}",
         "element"},
        {"{\"ops\":[],\"author\":7}", "author"},
    };
    const struct reply *r;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_says(ask("POST", "/v1/txn", bad[i].body), 400, bad[i].says);
    r = ask("POST", "/v1/txn",
            "{\"author\":\"ann\",\"ops\":["
            "{\"op\":\"put\",\"key\":\"a\",\"value\":\"text\",\"flags\":7},"
            "{\"op\":\"put\",\"key\":\"b\",\"value64\":\"AAEC\"},"
            "{\"op\":\"set-add\",\"key\":\"s\",\"element\":\"e\"}]}");
    assert_says(r, 200, "\"wrote\":true");
    assert_non_null(strstr(r->body, "\"token\":\""));
    assert_reply(ask("GET", "/v1/kv/a?raw", NULL), 200, "text");
    r = ask("GET", "/v1/kv/b?raw", NULL);
    assert_int_equal(r->size, 3);
    assert_memory_equal(r->body, "\0\1\2", 3);
    r = ask("GET", "/v1/kv/a?siblings", NULL);
    assert_says(r, 200, "\"author\":\"ann\"");
    assert_non_null(strstr(r->body, "\"winner\":true"));
    r = ask("POST", "/v1/txn",
            "{\"ops\":[{\"op\":\"del\",\"key\":\"b\"},{\"op\":\"put\","
            "\"key\":\"a\",\"value\":\"2\",\"if_absent\":true}]}");
    assert_says(r, 409, "\"error\":\"CM_ERR_CONDITION\"");
    assert_int_equal(number_in(r->body, "failed_op"), 1);
    assert_int_equal(ask("GET", "/v1/kv/b?raw", NULL)->size, 3);
}

/* ---- waiting ---- */

static void test_causal_tokens(void **state)
{
    char token[64];
    char target[160];
    const struct reply *r;
    uint64_t seq;

    (void)state;
    put("a", "1");
    (void)snprintf(token, sizeof(token), "%s",
                   header(ask("PUT", "/v1/kv/a", "2"), "X-Confmesh-Token"));
    (void)snprintf(target, sizeof(target), "/v1/kv/a?raw&after=%s", token);
    assert_reply(ask("GET", target, NULL), 200, "2");
    seq = strtoull(strchr(token, ':') + 1, NULL, 10);
    (void)snprintf(target, sizeof(target),
                   "/v1/kv/a?after=%.32s:%llu&timeout=1s", token,
                   (unsigned long long)seq + 1);
    assert_says(ask("GET", target, NULL), 504, "has not arrived");
    (void)snprintf(target, sizeof(target), "/v1/set/a?after=%s", token);
    assert_int_equal(ask("GET", target, NULL)->status, 404);
    assert_says(ask("GET", "/v1/kv/a?after=zz", NULL), 400, "after");
    (void)snprintf(target, sizeof(target), "/v1/kv/a?after=%s&timeout=1h",
                   token);
    assert_says(ask("GET", target, NULL), 400, "timeout");
    atomic_store(&world.no_awaits, true);
    (void)snprintf(target, sizeof(target), "/v1/kv/a?after=%s", token);
    assert_says(ask("GET", target, NULL), 503, "4096");
    r = ask("PUT", "/v1/kv/a?wait-for=2", "3");
    assert_says(r, 503, "nothing was written");
    atomic_store(&world.no_awaits, false);
    assert_reply(ask("GET", "/v1/kv/a?raw", NULL), 200, "2");
}

static void test_wait_for(void **state)
{
    const struct reply *r;

    (void)state;
    r = ask("PUT", "/v1/kv/w?wait-for=majority", "1");
    assert_reply(r, 200, "true");
    assert_string_equal(header(r, "X-Confmesh-Confirmed"), "alpha,beta");
    assert_string_equal(header(r, "X-Confmesh-Missing"), "gamma");
    r = ask("PUT", "/v1/kv/w?wait-for=all&timeout=2s", "2");
    assert_says(r, 504, "2 of the 3 members");
    assert_non_null(strstr(r->body, "gamma (dead)"));
    assert_non_null(strstr(r->body, "not undone"));
    assert_true(strlen(header(r, "X-Confmesh-Token")) > 33);
    assert_reply(ask("GET", "/v1/kv/w?raw", NULL), 200, "2");
    r = ask("POST", "/v1/txn?wait-for=all",
            "{\"ops\":[{\"op\":\"put\",\"key\":\"w\",\"value\":\"3\"}]}");
    assert_says(r, 504, "\"token\":\"");
    assert_non_null(strstr(r->body, "\"error\":\"CM_ERR_TIMEOUT\""));
    assert_non_null(strstr(r->body, "\"missing\":[{\"name\":\"gamma\","
                                    "\"state\":\"dead\"}]"));
    assert_says(ask("PUT", "/v1/set/s/e?wait-for=2", ""), 200,
                "\"wait\":{\"wanted\":2,\"confirmed\":[\"alpha\",\"beta\"]");
    put("t/1", "x");
    put("t/2", "x");
    r = ask("DELETE", "/v1/kv/t/?recurse&wait-for=2", NULL);
    assert_reply(r, 200, "true");
    assert_string_equal(header(r, "X-Confmesh-Missing"), "gamma");
    /* Nothing written: nothing to wait for. */
    assert_reply(ask("DELETE", "/v1/kv/t/1?wait-for=all", NULL), 200, "true");
    assert_says(ask("PUT", "/v1/kv/w?wait-for=4", "4"), 400, "nothing was");
    assert_says(ask("PUT", "/v1/kv/w?wait-for=0", "4"), 400, "majority");
    assert_reply(ask("GET", "/v1/kv/w?raw", NULL), 200, "3");
}

/* ---- the mesh's own paths ---- */

static void assert_json(const struct reply *r, int status)
{
    json_error_t error;
    json_t *value;

    assert_int_equal(r->status, status);
    value = json_loads(r->body, JSON_REJECT_DUPLICATES, &error);
    if (value == NULL)
        fail_msg("%s in %s", error.text, r->body);
    json_decref(value);
}

static void test_mesh(void **state)
{
    (void)state;
    assert_json(ask("GET", "/v1/mesh/status", NULL), 200);
    assert_json(ask("GET", "/v1/mesh/members", NULL), 200);
    assert_says(&last, 200, "\"self\":true");
    assert_reply(
        ask_unix("POST", "/v1/mesh/token", "{\"uses\":3,\"ttl_s\":60}"), 200,
        "{\"token\":\"token-3-60000\"}\n");
    assert_says(ask_unix("POST", "/v1/mesh/token", "{\"uses\":0}"), 400,
                "uses");
    assert_says(ask_unix("POST", "/v1/mesh/token", "{\"users\":1}"), 400,
                "users");
    assert_says(ask_unix("POST", "/v1/mesh/token", "{\"uses\":77}"), 403,
                "issuer");
    assert_says(ask_unix("POST", "/v1/mesh/snapshot", "{\"to\":null}"), 200,
                "\"name\":\"configured\"");
    assert_says(ask_unix("POST", "/v1/mesh/snapshot", "{\"to\":\"/b\"}"), 200,
                "\"name\":\"/b\"");
    assert_json(&last, 200);
    assert_reply(ask_unix("PUT", "/v1/kv/over/socket", "v"), 200, "true");
}

static void test_readiness(void **state)
{
    (void)state;
    atomic_store(&world.ready, false);
    assert_says(ask("GET", "/v1/kv/a", NULL), 503, "catching up");
    assert_says(ask("PUT", "/v1/kv/a", "v"), 503, "catching up");
    assert_says(ask("GET", "/v1/watch", NULL), 503, "CM_ERR_NOT_READY");
    assert_says(ask("GET", "/readyz", NULL), 503, "catching up");
    assert_reply(ask("GET", "/healthz", NULL), 200, "ok\n");
    assert_int_equal(ask("GET", "/metrics", NULL)->status, 200);
    assert_int_equal(ask("GET", "/v1/mesh/status", NULL)->status, 200);
    atomic_store(&world.ready, true);
    assert_reply(ask("GET", "/readyz", NULL), 200, "ready\n");
    atomic_store(&world.full, true);
    assert_says(ask("PUT", "/v1/kv/a", "v"), 503, "try again");
    atomic_store(&world.full, false);
}

static void test_metrics(void **state)
{
    const struct reply *r = ask("GET", "/metrics", NULL);
    char *line;
    char *rest;
    char *space;
    unsigned samples = 0;

    (void)state;
    assert_int_equal(r->status, 200);
    assert_string_equal(header(r, "Content-Type"),
                        "text/plain; version=0.0.4; charset=utf-8");
    assert_int_equal(r->body[r->size - 1], '\n');
    for (line = strtok_r(r->body, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (line[0] == '#') {
            assert_true(strncmp(line, "# HELP confmesh_", 16) == 0 ||
                        strncmp(line, "# TYPE confmesh_", 16) == 0);
            continue;
        }
        assert_memory_equal(line, "confmesh_", 9);
        space = strchr(line, ' ');
        assert_non_null(space);
        assert_int_equal(strspn(space + 1, "0123456789"), strlen(space + 1));
        samples++;
    }
    assert_true(samples > 30);
}

/* ---- listening ---- */

static void refused_address(const char *where, int code, const char *says)
{
    struct cm_detail detail = {{0}};
    struct http_server *s = NULL;
    struct node *n = &world;
    uv_loop_t loop;
    node_commit_listener listener = n->listener;
    void *context = n->listener_context;
    int error;

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(http_server_create(&s, &loop, n, NULL), 0);
    error = http_server_listen(s, where, &detail);
    if (error != code || (code != 0 && strstr(detail.text, says) == NULL))
        fail_msg("%s: %d %s", where, error, detail.text);
    http_server_free(s);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    n->listener = listener;
    n->listener_context = context;
}

static void test_addresses(void **state)
{
    char where[160];
    struct sockaddr_un dead = {.sun_family = AF_UNIX};
    int fd;

    (void)state;
    refused_address("0.0.0.0:0", CM_ERR_AUTHORITY, "loopback");
    refused_address("192.0.2.1:80", CM_ERR_AUTHORITY, "loopback");
    refused_address("[::]:0", CM_ERR_AUTHORITY, "loopback");
    refused_address("example.com:80", CM_ERR_INVALID, "numeric");
    refused_address("nonsense", CM_ERR_INVALID, "HOST:PORT");
    refused_address("127.0.0.1:99999", CM_ERR_INVALID, "HOST:PORT");
    refused_address("localhost:0", 0, "");
    refused_address("127.0.0.2:0", 0, "");
    (void)snprintf(where, sizeof(where), "127.0.0.1:%u", world.port);
    refused_address(where, CM_ERR_LOCKED, "in use");
    (void)snprintf(where, sizeof(where), "unix:%s", world.socket_path);
    refused_address(where, CM_ERR_LOCKED, "in use");
    (void)snprintf(where, sizeof(where), "unix:%s/data.mdb", world.dir);
    refused_address(where, CM_ERR_LOCKED, "no socket");
    (void)snprintf(where, sizeof(where), "unix:%s/none/x.sock", world.dir);
    refused_address(where, CM_ERR_IO, "No such file");
    memset(where, 'p', sizeof(where));
    memcpy(where, "unix:/", 6);
    where[sizeof(where) - 1] = '\0';
    refused_address(where, CM_ERR_INVALID, "shorter");

    (void)snprintf(dead.sun_path, sizeof(dead.sun_path), "%s/dead.sock",
                   world.dir);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&dead, sizeof(dead)), 0);
    (void)close(fd);
    (void)snprintf(where, sizeof(where), "unix:%s", dead.sun_path);
    refused_address(where, 0, "");
    assert_int_equal(access(dead.sun_path, F_OK), -1);
}

#define WITH_WORLD(test)                                                       \
    cmocka_unit_test_setup_teardown(test, world_start, world_stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_WORLD(test_one_key),      WITH_WORLD(test_odd_keys),
        WITH_WORLD(test_cas),          WITH_WORLD(test_versions),
        WITH_WORLD(test_trees),        WITH_WORLD(test_delete_large_tree),
        WITH_WORLD(test_refusals),     WITH_WORLD(test_parameters_passed_over),
        WITH_WORLD(test_long_keys),    WITH_WORLD(test_large_values),
        WITH_WORLD(test_smuggling),    WITH_WORLD(test_host_and_origin),
        WITH_WORLD(test_large_header), WITH_WORLD(test_garbage),
        WITH_WORLD(test_revoke),       WITH_WORLD(test_sets),
        WITH_WORLD(test_transactions), WITH_WORLD(test_causal_tokens),
        WITH_WORLD(test_wait_for),     WITH_WORLD(test_mesh),
        WITH_WORLD(test_readiness),    WITH_WORLD(test_metrics),
        WITH_WORLD(test_addresses),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
