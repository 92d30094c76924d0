/* confmesh status: everything that the node tells of itself. The node's own
 * names are printed as they come, so that no figure is ever left out. */
#include <string.h>
#include <time.h>

#include "crdt/base/check.h"
#include "node/cli/cli.h"

#define STATUS_DEPTH_MAX 4
/* 2001 on the wall clock; no duration is so long. */
#define WALL_MS_LEAST INT64_C(1000000000000)

/* "since_ms" of a list's object, "wall_ms", … are clocks of 13 digits; what is
 * shorter is a duration. */
static void print_time_of(const char *name, const json_t *value)
{
    json_int_t ms = json_integer_value(value);
    time_t seconds = (time_t)(ms / 1000);
    size_t size = strlen(name);
    struct tm tm;
    char text[32];
    if (size < 3 || strcmp(name + size - 3, "_ms") != 0 || ms < WALL_MS_LEAST ||
        gmtime_r(&seconds, &tm) == NULL ||
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        return;
    (void)printf(" (%s)", text);
}

static bool is_list_of_objects(const json_t *value)
{
    return json_array_size(value) > 0 &&
           json_is_object(json_array_get(value, 0));
}

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
    if (is_list_of_objects(value) && depth < STATUS_DEPTH_MAX) {
        for (size_t i = 0; i < json_array_size(value); i++)
            print_value(name, json_array_get(value, i), depth);
        return;
    }
    (void)printf("%*s%-*s ", depth * 2, "", 22 - depth * 2, name);
    if (json_is_string(value))
        cli_print_escaped(stdout, slice_of(json_string_value(value),
                                           json_string_length(value)));
    else
        (void)json_dumpf(value, stdout, JSON_ENCODE_ANY | JSON_COMPACT);
    print_time_of(name, value);
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
