/* confmesh status: everything that the node tells of itself. The node's own
 * names are printed as they come, so that no figure is ever left out. */
#include <string.h>

#include "crdt/base/check.h"
#include "node/cli/cli.h"

#define STATUS_DEPTH_MAX 4

static void print_value(const char *name, const json_t *value, int depth)
{
    if (json_is_object(value) && depth < STATUS_DEPTH_MAX) {
        const char *child;
        json_t *item;
        (void)printf("%*s%s:\n", depth * 2, "", name);
        json_object_foreach((json_t *)(uintptr_t)value, child, item)
            print_value(child, item, depth + 1);
        return;
    }
    (void)printf("%*s%-*s ", depth * 2, "", 22 - depth * 2, name);
    if (json_is_string(value))
        cli_print_escaped(stdout, slice_of(json_string_value(value),
                                           json_string_length(value)));
    else
        (void)json_dumpf(value, stdout, JSON_ENCODE_ANY | JSON_COMPACT);
    (void)putchar('\n');
}

int cli_verb_status(struct cli *c)
{
    json_t *answer = NULL;
    int code = cli_get_json(c, "/v1/mesh/status", NULL, 0, &answer);
    if (code != 0)
        return code;
    if (!json_is_object(answer)) {
        code = cli_failed(c, "the node's answer has an unknown form");
    } else if (c->json) {
        cli_print_json(answer);
    } else {
        const char *name;
        json_t *value;
        json_object_foreach(answer, name, value) print_value(name, value, 0);
        if (json_array_size(json_object_get(answer, "alarms")) > 0 ||
            !json_is_true(json_object_get(answer, "ready")))
            cli_note("something is wrong: 'confmesh doctor' says what to do");
    }
    json_decref(answer);
    return code;
}
