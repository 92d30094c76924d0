/* confmesh roster and confmesh retire: who may write, who is on the way out,
 * and whose word is missing. */
#include "crdt/base/check.h"
#include "node/cli/cli.h"
#include "node/cli/text.h"

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "-";
}

/* Whose word is missing, and what to do about it. */
static void advise(const json_t *members)
{
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        if (json_object_get(m, "owes_fence_since_ms") != NULL ||
            json_object_get(m, "owes_ack_since_ms") != NULL) {
            cli_note("who owes something holds the floor or an eviction back: "
                     "bring it back, or 'confmesh evict' it if it is gone for "
                     "good; 'confmesh doctor' says since when");
            return;
        }
    }
}

/* Who knows less than others holds back what is new in the format. */
static void advise_levels(const json_t *members)
{
    json_int_t greatest = 0;
    size_t behind = 0;

    for (size_t i = 0; i < json_array_size(members); i++) {
        json_int_t level = json_integer_value(
            json_object_get(json_array_get(members, i), "format_level"));
        greatest = level > greatest ? level : greatest;
    }
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        behind +=
            json_is_true(json_object_get(m, "stays")) &&
            json_integer_value(json_object_get(m, "format_level")) < greatest;
    }
    if (behind > 0)
        cli_note("%zu know a lower format level than %lld: update their "
                 "programs, else nobody may write what is new in it",
                 behind, (long long)greatest);
}

static const char *state_of(const json_t *m)
{
    if (json_is_true(json_object_get(m, "evictee")))
        return "leaving";
    if (json_object_get(m, "owes_fence_since_ms") != NULL)
        return "owes a fence";
    if (!json_is_true(json_object_get(m, "acked")))
        return "owes an ack";
    return "in order";
}

static void print_prefixes(const json_t *m)
{
    const json_t *writes = json_object_get(m, "writes");

    for (size_t i = 0; i < json_array_size(writes); i++) {
        const char *prefix = json_string_value(json_array_get(writes, i));
        CHECK(prefix != NULL);
        (void)printf("%s", i == 0 ? ", writes " : " ");
        cli_print_escaped(stdout, slice_of_string(prefix));
    }
}

static void print_roster(const json_t *answer)
{
    const json_t *members = json_object_get(answer, "members");
    const json_t *sealed = json_object_get(answer, "sealed");
    (void)printf(
        "epoch %lld, %lld orders open, %lld events above the floor\n",
        (long long)json_integer_value(json_object_get(answer, "epoch")),
        (long long)json_integer_value(json_object_get(answer, "orders_open")),
        (long long)json_integer_value(json_object_get(answer, "above_floor")));
    (void)printf("%-20s %-32s %-6s %s\n", "NAME", "INCARNATION", "FORMAT",
                 "STATE");
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        (void)printf(
            "%-20s %-32s %-6lld %s", text_of(m, "name"),
            text_of(m, "incarnation"),
            (long long)json_integer_value(json_object_get(m, "format_level")),
            state_of(m));
        print_prefixes(m);
        (void)putchar('\n');
    }
    for (size_t i = 0; i < json_array_size(sealed); i++) {
        const json_t *m = json_array_get(sealed, i);
        (void)printf(
            "%-20s %-32s %-6s evicted, last event %lld\n", "-",
            text_of(m, "incarnation"), "-",
            (long long)json_integer_value(json_object_get(m, "last_seq")));
    }
    advise(members);
    advise_levels(members);
}

int cli_verb_roster(struct cli *c)
{
    json_t *answer = NULL;
    int code = cli_get_json(c, "/v1/mesh/roster", NULL, 0, &answer);
    if (code != 0)
        return code;
    if (!json_is_array(json_object_get(answer, "members")))
        code = cli_failed(c, "the node's answer has an unknown form");
    else if (c->json)
        cli_print_json(answer);
    else
        print_roster(answer);
    json_decref(answer);
    return code;
}

int cli_verb_retire(struct cli *c)
{
    json_t *body = json_object();
    json_t *answer = NULL;
    CHECK(body != NULL);
    int code = cli_get_json(c, "/v1/mesh/retire", body, 0, &answer);
    json_decref(body);
    if (code != 0)
        return code;
    if (c->json)
        cli_print_json(answer);
    else
        (void)printf(
            "%lld earlier incarnations of this node are to go\n",
            (long long)json_integer_value(json_object_get(answer, "retired")));
    json_decref(answer);
    return code;
}
