/* confmesh unsent: what this node wrote in an earlier life and the mesh never
 * got. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crdt/base/check.h"
#include "node/cli/cli.h"

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text != NULL ? text : "";
}

static void print_text(const char *text)
{
    cli_print_escaped(stdout, slice_of(text, strlen(text)));
}

static void print_operation(const json_t *op)
{
    const char *element = text_of(op, "element");
    const json_t *text = json_object_get(op, "text");

    (void)printf("      %s ", text_of(op, "kind"));
    print_text(text_of(op, "key"));
    if (element[0] != '\0') {
        (void)putchar(' ');
        print_text(element);
    }
    if (json_is_string(text)) {
        (void)fputs(" \"", stdout);
        print_text(json_string_value(text));
        (void)putchar('"');
    } else if (json_object_get(op, "size") != NULL) {
        (void)printf(" (%lld bytes)", (long long)json_integer_value(
                                          json_object_get(op, "size")));
    }
    (void)putchar('\n');
}

void cli_print_unsent(const json_t *u)
{
    time_t seconds =
        (time_t)(json_integer_value(json_object_get(u, "time_ms")) / 1000);
    struct tm tm;
    char when[32] = "-";
    const json_t *operations = json_object_get(u, "operations");

    if (gmtime_r(&seconds, &tm) != NULL)
        (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    (void)printf("%-5lld %-10s %s  ",
                 (long long)json_integer_value(json_object_get(u, "id")),
                 text_of(u, "state"), when);
    print_text(text_of(u, "reason"));
    (void)putchar('\n');
    for (size_t i = 0; i < json_array_size(operations); i++)
        print_operation(json_array_get(operations, i));
}

/* Page by page; an array of all. */
static int read_all(struct cli *c, json_t *all)
{
    long long from = 0;
    int code = 0;

    while (code == 0 && from >= 0) {
        json_t *answer = NULL;
        json_t *list;
        char path[80];

        (void)snprintf(path, sizeof path, "/v1/mesh/unsent?from=%lld", from);
        code = cli_get_json(c, path, NULL, 0, &answer);
        from = -1;
        list = json_object_get(answer, "unsent");
        if (code == 0 && !json_is_array(list))
            code = cli_failed(c, "the node's answer has an unknown form");
        if (code == 0 && json_array_extend(all, list) != 0)
            code = cli_failed(c, "out of memory");
        if (code == 0 && json_is_integer(json_object_get(answer, "next")))
            from = json_integer_value(json_object_get(answer, "next"));
        json_decref(answer);
    }
    return code;
}

int cli_verb_unsent(struct cli *c)
{
    json_t *all = json_array();
    int code;

    CHECK(all != NULL);
    code = read_all(c, all);
    if (code == 0 && c->json) {
        json_t *answer = json_pack("{s:O}", "unsent", all);

        cli_print_json(answer);
        json_decref(answer);
    } else if (code == 0) {
        for (size_t i = 0; i < json_array_size(all); i++)
            cli_print_unsent(json_array_get(all, i));
        if (json_array_size(all) == 0)
            (void)puts("nothing: all that was written here is in the mesh");
    }
    json_decref(all);
    return code;
}

static int decide(struct cli *c, const char *verb, const char *query)
{
    json_t *nothing = json_object();
    json_t *answer = NULL;
    char path[160];
    int code;

    CHECK(nothing != NULL);
    (void)snprintf(path, sizeof path, "/v1/mesh/unsent/%s?%s", verb, query);
    code = cli_get_json(c, path, nothing, 0, &answer);
    json_decref(nothing);
    if (code == 0 && c->json)
        cli_print_json(answer);
    else if (code == 0)
        cli_note("%lld done", (long long)json_integer_value(
                                  json_object_get(answer, "count")));
    json_decref(answer);
    return code;
}

static int read_id(struct cli *c, unsigned long long *ret_id)
{
    const char *word = c->words[0];
    char *end = NULL;

    *ret_id = strtoull(word, &end, 10);
    if (word[0] >= '1' && word[0] <= '9' && *end == '\0')
        return 0;
    return cli_usage_error(c,
                           "'%.40s' is no number of the list that "
                           "'confmesh unsent' prints",
                           word);
}

int cli_verb_unsent_drop(struct cli *c)
{
    unsigned long long id;
    char query[40];
    int code;

    if (cli_has(c, "all") == (c->words_count == 1))
        return cli_usage_error(c, "it needs an ID, or --all for those that are "
                                  "parked");
    if (c->words_count == 0)
        return decide(c, "drop", "all");
    code = read_id(c, &id);
    (void)snprintf(query, sizeof query, "id=%llu", id);
    return code != 0 ? code : decide(c, "drop", query);
}

int cli_verb_unsent_apply(struct cli *c)
{
    unsigned long long id;
    char query[60];
    int code = read_id(c, &id);

    (void)snprintf(query, sizeof query, "id=%llu%s", id,
                   cli_has(c, "unrevoke") ? "&unrevoke" : "");
    return code != 0 ? code : decide(c, "apply", query);
}
