/* confmesh conflicts, explain, resolve: what became of concurrent writes. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crdt/base/check.h"
#include "crdt/dot.h"
#include "node/cli/cli.h"

#define VALUE_SHOWN 60 /* bytes of a value in a table */
#define PAGE_TEXT "500"

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL && text[0] != 0 ? text : "-";
}

/* What somebody wrote may hold anything that drives a terminal. */
static void print_text(const json_t *object, const char *name)
{
    const char *text = text_of(object, name);
    cli_print_escaped(stdout, slice_of_string(text));
}

/* To the millisecond: concurrent writes are often of one second. */
static void print_time(const json_t *ms)
{
    json_int_t at = json_integer_value(ms);
    time_t seconds = (time_t)(at / 1000);
    struct tm tm;
    char text[32] = "-";
    if (gmtime_r(&seconds, &tm) == NULL ||
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        (void)printf("%-24s", "-");
    else
        (void)printf("%s.%03dZ", text, (int)(at % 1000));
}

static void print_value(const json_t *sibling)
{
    const char *text = json_string_value(json_object_get(sibling, "value"));
    const char *kind = text_of(sibling, "kind");
    struct buffer value;
    if (strcmp(kind, "put") != 0)
        return;
    buffer_init(&value, CLIENT_BODY_MAX);
    if (text == NULL || cli_base64_decode(text, &value) != 0) {
        (void)printf(" (%" JSON_INTEGER_FORMAT " bytes)",
                     json_integer_value(json_object_get(sibling, "size")));
    } else {
        size_t size = value.size < VALUE_SHOWN ? value.size : VALUE_SHOWN;
        (void)fputs(" \"", stdout);
        cli_print_escaped(stdout, slice_of(value.data, size));
        (void)fputs(size < value.size ? "\"..." : "\"", stdout);
    }
    buffer_release(&value);
}

/* Who, when, where, which, what. */
static void print_sibling(const json_t *s)
{
    bool won = json_is_true(json_object_get(s, "winner"));
    (void)printf("  %-5s %-9s ", won ? "won" : "lost", text_of(s, "kind"));
    print_time(json_object_get(s, "time_ms"));
    /* What decides between two writes of one millisecond. */
    if (json_integer_value(json_object_get(s, "clock")) > 0)
        (void)printf("+%" JSON_INTEGER_FORMAT,
                     json_integer_value(json_object_get(s, "clock")));
    (void)printf(" node %s author ", text_of(s, "node"));
    print_text(s, "author");
    (void)printf("\n        %s", text_of(s, "version"));
    print_value(s);
    if (json_integer_value(json_object_get(s, "expires_ms")) > 0) {
        (void)fputs(" until ", stdout);
        print_time(json_object_get(s, "expires_ms"));
    }
    (void)putchar('\n');
}

static void print_key(const json_t *entry)
{
    const json_t *key = json_object_get(entry, "key");
    const json_t *element = json_object_get(entry, "element");
    cli_print_escaped(
        stdout, slice_of(json_string_value(key), json_string_length(key)));
    if (element != NULL) {
        (void)fputs("  element ", stdout);
        cli_print_escaped(stdout, slice_of(json_string_value(element),
                                           json_string_length(element)));
    }
    (void)printf("  (%s)\n", json_is_true(json_object_get(entry, "present"))
                                 ? "present"
                                 : "absent");
}

static void print_siblings(const json_t *entry)
{
    const json_t *list = json_object_get(entry, "siblings");
    for (size_t i = 0; i < json_array_size(list); i++)
        print_sibling(json_array_get(list, i));
}

/* One page; ret_next is the caller's, NULL at the end. */
static int conflicts_page(const struct cli *c, const char *prefix,
                          const char *from, json_t **ret_page)
{
    struct client_response response;
    struct client_request request = {.method = "GET"};
    struct buffer target;
    const char *limit = cli_value(c, "limit");
    buffer_init(&target, CLIENT_TARGET_MAX);
    buffer_append_string(&target, "/v1/mesh/conflicts");
    cli_query_add(&target, "prefix", prefix);
    cli_query_add(&target, "limit", limit != NULL ? limit : PAGE_TEXT);
    if (from != NULL)
        cli_query_add(&target, "from", from);
    int code = cli_query_wait(c, &target, &request.timeout_ms);
    if (code == 0)
        code = cli_call(c, &request, &target, &response);
    buffer_release(&target);
    if (code != 0)
        return code;
    return cli_json_answer(c, &response, ret_page);
}

static void print_page(const struct cli *c, const json_t *page)
{
    const json_t *list = json_object_get(page, "conflicts");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        if (c->json) {
            cli_print_json(entry);
            continue;
        }
        print_key(entry);
        print_siblings(entry);
    }
}

int cli_verb_conflicts(struct cli *c)
{
    CHECK(c->words_count <= 1);
    const char *prefix = c->words_count > 0 ? c->words[0] : "";
    char *from = NULL;
    bool more = true;
    size_t found = 0;
    int code = cli_check_prefix(c, prefix);
    if (code == 0 && cli_value(c, "limit") != NULL) {
        struct cm_detail detail = {""};
        uint64_t limit;
        if (args_number(&limit, cli_value(c, "limit"), 10000, "--limit",
                        &detail) != 0 ||
            limit == 0)
            code = cli_usage_error(c, "--limit must be 1 to 10000");
    }
    while (code == 0 && more) {
        json_t *page = NULL;
        code = conflicts_page(c, prefix, from, &page);
        if (code != 0)
            break;
        print_page(c, page);
        found += json_array_size(json_object_get(page, "conflicts"));
        const char *next = json_string_value(json_object_get(page, "next"));
        free(from);
        from = next != NULL ? strdup(next) : NULL;
        more = from != NULL && cli_value(c, "limit") == NULL;
        json_decref(page);
    }
    if (code == 0 && from != NULL)
        cli_note("there are more conflicts");
    if (code == 0 && !c->json && found == 0)
        cli_note("no conflicts: every key has one value everywhere it is "
                 "known");
    else if (code == 0 && !c->json)
        cli_note("the lines with 'won' are what readers see. To settle one: "
                 "confmesh resolve KEY --keep VERSION, or write the key anew");
    free(from);
    return code;
}

/* ---- explain ---- */

static int explain_call(const struct cli *c, const char *ask, json_t **ret)
{
    struct client_response response;
    struct client_request request = {.method = "GET"};
    struct buffer target;
    int code = cli_check_key(c, "KEY", c->words[0]);
    if (code == 0 && c->words_count > 1)
        code = cli_check_key(c, "ELEMENT", c->words[1]);
    if (code != 0)
        return code;
    buffer_init(&target, CLIENT_TARGET_MAX);
    buffer_append_string(&target, "/v1/mesh/explain/");
    client_percent_encode(&target, slice_of_string(c->words[0]), false);
    if (c->words_count > 1)
        cli_query_add(&target, "element", c->words[1]);
    if (ask != NULL)
        cli_query_add(&target, "ask", ask);
    code = cli_query_wait(c, &target, &request.timeout_ms);
    if (code == 0)
        code = cli_call(c, &request, &target, &response);
    buffer_release(&target);
    if (code != 0)
        return code;
    return cli_json_answer(c, &response, ret);
}

static void print_waiting(const json_t *story, const char *name)
{
    const json_t *list = json_object_get(story, name);
    (void)printf("%s:", name);
    if (json_array_size(list) == 0)
        (void)fputs(" nothing", stdout);
    (void)putchar('\n');
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *w = json_array_get(list, i);
        (void)printf("  %s of node %s, author ", text_of(w, "op"),
                     text_of(w, "node"));
        print_text(w, "author");
        (void)fputs(", ", stdout);
        print_time(json_object_get(w, "time_ms"));
        (void)printf("\n        %s: ", text_of(w, "version"));
        print_text(w, "why");
        (void)putchar('\n');
    }
}

/* Each has operations and a reason of its own, as in the list of unsent ones.
 */
static void print_parked(const json_t *list)
{
    (void)printf("parked:%s\n", json_array_size(list) == 0 ? " nothing" : "");
    for (size_t i = 0; i < json_array_size(list); i++)
        cli_print_unsent(json_array_get(list, i));
}

static void print_story(const json_t *story)
{
    const json_t *members = json_object_get(story, "members");
    print_key(story);
    (void)printf("why: %s\n", text_of(story, "why"));
    print_siblings(story);
    (void)puts("members that have the winner on disk:");
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        (void)printf("  %-20s %s\n", text_of(m, "name"), text_of(m, "has"));
    }
    print_waiting(story, "pending");
    print_waiting(story, "held");
    print_parked(json_object_get(story, "parked"));
}

/* What whoever asked is likely to want to do about it. */
static void advise(const json_t *story)
{
    if (json_array_size(json_object_get(story, "siblings")) > 1)
        cli_note("several values: confmesh resolve KEY --keep VERSION keeps "
                 "one; any write supersedes all");
    if (json_array_size(json_object_get(story, "pending")) > 0)
        cli_note("what is pending applies by itself once a node that has what "
                 "it waits for is reached: confmesh members");
    if (json_array_size(json_object_get(story, "held")) > 0)
        cli_note("what is held waits for a clock: confmesh doctor names it");
    if (json_array_size(json_object_get(story, "parked")) > 0)
        cli_note("what is parked waits for a person: confmesh unsent");
}

int cli_verb_explain(struct cli *c)
{
    CHECK(c->words_count >= 1);
    json_t *story = NULL;
    int code = explain_call(c, NULL, &story);
    if (code != 0)
        return code;
    if (c->json)
        cli_print_json(story);
    else
        print_story(story);
    if (!c->json)
        advise(story);
    json_decref(story);
    return CLI_DONE;
}

/* ---- resolve ---- */

static json_t *seen_of_flag(const struct cli *c, const char *text,
                            int *ret_code)
{
    json_t *list = json_array();
    CHECK(list != NULL);
    while (*text != 0) {
        char one[DOT_TEXT_SIZE] = "";
        size_t size = strcspn(text, ",");
        struct dot dot;
        if (size < sizeof(one))
            memcpy(one, text, size);
        if (dot_parse(&dot, one) != 0) {
            *ret_code = cli_usage_error(c, "--if-siblings must be versions "
                                           "with commas between");
            break;
        }
        (void)json_array_append_new(list, json_string(one));
        text += size + (text[size] == ',');
    }
    return list;
}

/* Whatever else comes meanwhile makes the resolve fail: what is decided on is
 * what is there now. */
static json_t *seen_now(const struct cli *c, int *ret_code)
{
    json_t *story = NULL;
    json_t *list = json_array();
    CHECK(list != NULL);
    *ret_code = explain_call(c, "0", &story);
    const json_t *siblings = json_object_get(story, "siblings");
    for (size_t i = 0; i < json_array_size(siblings); i++)
        (void)json_array_append(
            list, json_object_get(json_array_get(siblings, i), "version"));
    json_decref(story);
    return list;
}

int cli_verb_resolve(struct cli *c)
{
    CHECK(c->words_count >= 1);
    const char *keep = cli_value(c, "keep");
    const char *flag = cli_value(c, "if-siblings");
    struct dot dot;
    int code = 0;
    if (keep == NULL || dot_parse(&dot, keep) != 0)
        return cli_usage_error(c, "it needs --keep VERSION, one of those that "
                                  "'confmesh explain KEY' prints");
    json_t *seen =
        flag != NULL ? seen_of_flag(c, flag, &code) : seen_now(c, &code);
    json_t *ops = json_array();
    json_t *op = cli_op("resolve", slice_of_string(c->words[0]),
                        c->words_count > 1 ? c->words[1] : NULL);
    CHECK(ops != NULL);
    (void)json_object_set_new(op, "keep", json_string(keep));
    if (cli_has(c, "unrevoke"))
        (void)json_object_set_new(op, "unrevoke", json_true());
    if (json_array_size(seen) > 0)
        (void)json_object_set(op, "if_siblings", seen);
    json_decref(seen);
    CHECK(json_array_append_new(ops, op) == 0);
    if (code != 0) {
        json_decref(ops);
        return code;
    }
    return cli_transact(c, ops, false);
}
