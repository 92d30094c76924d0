/* What the command line decodes from text: transactions, INI, events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/cli/event_stream.h"
#include "node/cli/ini_tree.h"
#include "node/cli/txn_text.h"

static void assert_ops(const char *text, const char *json)
{
    json_t *ops = NULL;
    struct cm_detail detail = {""};
    if (txn_text_parse(&ops, slice_of_string(text), &detail) != 0)
        fail_msg("%s: %s", text, detail.text);
    char *got = json_dumps(ops, JSON_COMPACT);
    assert_string_equal(got, json);
    free(got);
    json_decref(ops);
}

static void test_txn_text(void **state)
{
    (void)state;
    assert_ops("", "[]");
    assert_ops("# nothing\n\n  \r\n", "[]");
    assert_ops("put a 1\ndel b\nrevoke c\r\nset-add s x\nset-remove s y\n"
               "set-revoke s z",
               "[{\"op\":\"put\",\"key\":\"a\",\"value\":\"1\"},"
               "{\"op\":\"del\",\"key\":\"b\"},"
               "{\"op\":\"revoke\",\"key\":\"c\"},"
               "{\"op\":\"set-add\",\"key\":\"s\",\"element\":\"x\"},"
               "{\"op\":\"set-remove\",\"key\":\"s\",\"element\":\"y\"},"
               "{\"op\":\"set-revoke\",\"key\":\"s\",\"element\":\"z\"}]");
    assert_ops("put \"a b\" \"x\\n\\\"y\\\\\" --if-absent --flags 7 --unrevoke",
               "[{\"op\":\"put\",\"key\":\"a b\",\"value\":\"x\\n\\\"y\\\\\","
               "\"if_absent\":true,\"flags\":7,\"unrevoke\":true}]");
    assert_ops("put a \"\\xff\\x00\"",
               "[{\"op\":\"put\",\"key\":\"a\",\"value64\":\"/wA=\"}]");
    assert_ops("put a \"\"", "[{\"op\":\"put\",\"key\":\"a\",\"value\":\"\"}]");
}

static void test_txn_text_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "put a",
        "put",
        "frobnicate a",
        "put a b c",
        "put a \"b",
        "put a \"\\q\"",
        "put a \"\\xg0\"",
        "put a b --no",
        "put \"\" b",
        "set-add s",
        "put a b --flags x",
        "put a b --flags",
        "put \xff b",
        "del a b",
        "put a b c d e f g h i",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        json_t *ops = NULL;
        struct cm_detail detail = {""};
        struct buffer text;
        buffer_init(&text, 1000);
        buffer_append_string(&text, "put k v\n");
        buffer_append_string(&text, bad[i]);
        assert_int_equal(txn_text_parse(&ops, buffer_slice(&text), &detail),
                         CM_ERR_INVALID);
        assert_non_null(strstr(detail.text, "line 2"));
        buffer_release(&text);
    }
}

static int collect(void *ctx, struct slice key, struct slice value)
{
    buffer_append_slice(ctx, key);
    buffer_append_byte(ctx, '=');
    buffer_append_slice(ctx, value);
    buffer_append_byte(ctx, ';');
    return 0;
}

static void assert_ini(const char *text, const char *expected)
{
    struct buffer got;
    struct cm_detail detail = {""};
    buffer_init(&got, 10000);
    assert_int_equal(
        ini_tree_parse(slice_of_string(text), collect, &got, &detail), 0);
    buffer_append_byte(&got, 0);
    assert_string_equal((const char *)got.data, expected);
    buffer_release(&got);
}

static void test_ini(void **state)
{
    (void)state;
    assert_ini("", "");
    assert_ini("a=1\n[s]\nb = two words\n; remark\n[t/u]\nc:3\n",
               "a=1;s/b=two words;t/u/c=3;");
    assert_ini("[s]\na = 1\n  2\n", "s/a=1\n2;");
    struct cm_detail detail = {""};
    assert_int_equal(ini_tree_parse(slice_of_string("a=1\nnoise\n"), collect,
                                    &(struct buffer){.limit = 100}, &detail),
                     CM_ERR_INVALID);
    char line[300] = "a=";
    memset(line + 2, 'x', 250);
    assert_int_equal(ini_tree_parse(slice_of_string(line), collect,
                                    &(struct buffer){.limit = 10}, &detail),
                     CM_ERR_INVALID);
    assert_int_equal(ini_tree_parse(slice_of("a=1\0", 4), collect,
                                    &(struct buffer){.limit = 10}, &detail),
                     CM_ERR_INVALID);
}

static void test_ini_append(void **state)
{
    (void)state;
    struct buffer out;
    char section[481] = "";
    struct cm_detail detail = {""};
    static const char *const bad[][2] = {
        {"s/a", "x ; y"}, {"s/a", " x"}, {"s/a", "x\n"}, {"s]/a", "x"},
        {"s/a=b", "x"},   {"s/", "x"},   {"s/;a", "x"},
    };
    buffer_init(&out, 10000);
    assert_int_equal(ini_tree_append(&out, section, slice_of_string("a"),
                                     slice_of_string("1"), &detail),
                     0);
    assert_int_equal(ini_tree_append(&out, section, slice_of_string("s/b"),
                                     slice_of_string("2\n3"), &detail),
                     0);
    assert_int_equal(ini_tree_append(&out, section, slice_of_string("s/c"),
                                     slice_of_string("4"), &detail),
                     0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(ini_tree_append(&out, section,
                                         slice_of_string(bad[i][0]),
                                         slice_of_string(bad[i][1]), &detail),
                         CM_ERR_INVALID);
    buffer_append_byte(&out, 0);
    assert_string_equal((const char *)out.data,
                        "a = 1\n\n[s]\nb = 2\n    3\nc = 4\n");
    buffer_release(&out);
}

/* Goal: events are the same however the bytes are cut. */
static void test_events(void **state)
{
    (void)state;
    static const char text[] =
        "event: hello\nid: 5-a\ndata: {}\n\n: still here\n\n"
        "id: 6-a\r\nevent: change\r\ndata: 1\r\ndata: 2\r\n\r\n"
        "data:3\nid: 7-a\n";
    for (size_t piece = 1; piece <= sizeof(text); piece++) {
        struct event_stream e;
        struct event_stream_event event;
        size_t seen = 0;
        event_stream_init(&e);
        for (size_t at = 0; at < sizeof(text) - 1; at += piece) {
            size_t left = sizeof(text) - 1 - at;
            buffer_append(&e.input, text + at, left < piece ? left : piece);
            while (event_stream_next(&e, &event) == 0) {
                seen++;
                assert_string_equal(event.name, seen == 1 ? "hello" : "change");
                assert_string_equal(event.id, seen == 1 ? "5-a" : "6-a");
                assert_int_equal(event.data.size, seen == 1 ? 2 : 3);
                assert_memory_equal(event.data.data, seen == 1 ? "{}" : "1\n2",
                                    event.data.size);
            }
        }
        assert_int_equal(seen, 2);
        /* The half event counts for nothing after a reconnect. */
        event_stream_restart(&e);
        assert_string_equal(e.id, "6-a");
        buffer_append_string(&e.input, "data: 8\n\n");
        assert_int_equal(event_stream_next(&e, &event), 0);
        assert_string_equal(event.id, "6-a");
        assert_int_equal(event.data.size, 1);
        assert_int_equal(event_stream_next(&e, &event), CM_ERR_NOT_FOUND);
        event_stream_release(&e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_txn_text),
        cmocka_unit_test(test_txn_text_refused),
        cmocka_unit_test(test_ini),
        cmocka_unit_test(test_ini_append),
        cmocka_unit_test(test_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
