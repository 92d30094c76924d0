/* confmesh compare NODE: on what this node's state and another's differ. */
#include <string.h>

#include "crdt/base/check.h"
#include "node/cli/cli.h"

#define COMPARE_TIMEOUT_MS 120000

static const char *text_in(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text != NULL ? text : "";
}

static void print_text(const char *text)
{
    cli_print_escaped(stdout, slice_of(text, strlen(text)));
}

static void print_difference(const json_t *d)
{
    (void)printf("%s ", text_in(d, "space"));
    print_text(text_in(d, "key"));
    if (json_object_get(d, "element") != NULL) {
        (void)putchar(' ');
        print_text(text_in(d, "element"));
    }
    (void)printf(": here %s, there %s\n", text_in(d, "here"),
                 text_in(d, "there"));
}

int cli_verb_compare(struct cli *c)
{
    json_t *body = json_pack("{s:s}", "with", c->words[0]);
    json_t *answer = NULL;
    const json_t *differences;
    size_t i;
    json_t *d;
    int code;

    if (body == NULL)
        return cli_usage_error(c, "the name is not UTF-8");
    code =
        cli_get_json(c, "/v1/mesh/compare", body, COMPARE_TIMEOUT_MS, &answer);
    json_decref(body);
    if (code != 0)
        return code;
    differences = json_object_get(answer, "differences");
    if (json_array_size(differences) > 0)
        code = CLI_FALSE;
    if (c->json) {
        cli_print_json(answer);
        json_decref(answer);
        return code;
    }
    json_array_foreach((json_t *)(uintptr_t)differences, i, d)
        print_difference(d);
    if (json_is_true(json_object_get(answer, "more")))
        (void)puts("… and others");
    if (!json_is_true(json_object_get(answer, "same_vector")))
        cli_note("the version vectors differ: events are on their way, and "
                 "the states may differ");
    else if (code == 0)
        (void)puts("equal");
    json_decref(answer);
    return code;
}
