/* confmesh members: who is in the mesh, as this node sees it. */
#include <string.h>

#include "crdt/base/check.h"
#include "node/cli/cli.h"

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "-";
}

static void print_member(const json_t *m)
{
    const json_t *trip = json_object_get(m, "round_trip_ms");
    const json_t *offset = json_object_get(m, "clock_offset_ms");
    bool self = json_is_true(json_object_get(m, "self"));
    const json_t *sync = json_object_get(m, "in_sync");
    const json_t *level = json_object_get(m, "format_level");
    (void)printf("%-20s %-24s %-8s %-8s", text_of(m, "name"),
                 text_of(m, "address"), text_of(m, "state"),
                 self                 ? "self"
                 : json_is_true(sync) ? "yes"
                                      : "no");
    if (json_is_integer(level))
        (void)printf(" %-6lld", (long long)json_integer_value(level));
    else
        (void)printf(" %-6s", "-");
    if (!self && json_is_number(trip))
        (void)printf(" %7.1f ms", json_number_value(trip));
    if (!self && json_is_integer(offset))
        (void)printf(" %+lld ms", (long long)json_integer_value(offset));
    (void)putchar('\n');
}

static void advise(const json_t *list)
{
    size_t away = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *state = text_of(json_array_get(list, i), "state");
        away += strcmp(state, "dead") == 0 || strcmp(state, "suspect") == 0;
    }
    if (away > 0)
        cli_note("%zu do not answer: see whether they run and can be reached. "
                 "What is gone for good holds the floor back until 'confmesh "
                 "evict NODE'",
                 away);
}

int cli_verb_members(struct cli *c)
{
    json_t *answer = NULL;
    int code = cli_get_json(c, "/v1/mesh/members", NULL, 0, &answer);
    if (code != 0)
        return code;
    const json_t *list = json_object_get(answer, "members");
    if (!json_is_array(list)) {
        code = cli_failed(c, "the node's answer has an unknown form");
    } else if (c->json) {
        cli_print_json(answer);
    } else {
        (void)printf("%-20s %-24s %-8s %-8s %-6s %-10s %s\n", "NAME", "ADDRESS",
                     "STATE", "IN SYNC", "FORMAT", "ROUND TRIP", "CLOCK");
        for (size_t i = 0; i < json_array_size(list); i++)
            print_member(json_array_get(list, i));
        advise(list);
    }
    json_decref(answer);
    return code;
}
