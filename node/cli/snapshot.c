/* confmesh snapshot now: the node does it. What only reads a target is in
 * snapshot_read.c. */
#include <inttypes.h>
#include <string.h>

#include "crdt/base/check.h"
#include "node/cli/cli.h"
#include "node/paths.h"

#define SNAPSHOT_TIMEOUT_MS 3600000

/* The node's working directory is another one: make a path absolute. */
int cli_absolute_target(const struct cli *c, const char *field, const char *to,
                        char *ret, size_t room)
{
    struct cm_detail detail = {""};
    char path[PATHS_SIZE_MAX];
    bool file = strncmp(to, "file:", 5) == 0;
    if (to[0] == 0 || strcmp(to, "file:") == 0)
        return cli_usage_error(c, "%s is empty; give a directory", field);
    /* Another scheme is the node's to judge. */
    size_t scheme = strspn(to, "abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");
    if (!file && scheme > 0 && to[scheme] == ':') {
        int length = snprintf(ret, room, "%s", to);
        if (length < 0 || (size_t)length >= room)
            return cli_usage_error(c, "%s is longer than a target may be",
                                   field);
        return 0;
    }
    if (paths_absolute(path, file ? to + 5 : to, &detail) != 0)
        return cli_usage_error(c, "%s: %s", field, detail.text);
    (void)snprintf(ret, room, "file:%s", path);
    return 0;
}

static int64_t number_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

int cli_verb_snapshot_now(struct cli *c)
{
    const char *to = cli_value(c, "to");
    char target[PATHS_SIZE_MAX + 8] = "";
    int code = to != NULL
                   ? cli_absolute_target(c, "--to", to, target, sizeof(target))
                   : 0;
    if (code != 0)
        return code;
    json_t *body = json_object();
    json_t *answer = NULL;
    CHECK(body != NULL);
    if (json_object_set_new(
            body, "to", to != NULL ? json_string(target) : json_null()) != 0)
        code = cli_usage_error(c, "--to is not valid UTF-8");
    if (code == 0)
        code = cli_get_json(c, "/v1/mesh/snapshot", body, SNAPSHOT_TIMEOUT_MS,
                            &answer);
    json_decref(body);
    if (code != 0)
        return code;
    const char *name = json_string_value(json_object_get(answer, "name"));
    if (c->json)
        cli_print_json(answer);
    else
        (void)printf(
            "snapshot %s: %" PRId64 " entries in %" PRId64 " chunks (%" PRId64
            " new), %" PRId64 " bytes (%" PRId64 " new), read back\n",
            name != NULL ? name : "", number_of(answer, "entries"),
            number_of(answer, "chunks"), number_of(answer, "chunks_new"),
            number_of(answer, "bytes"), number_of(answer, "bytes_new"));
    json_decref(answer);
    return CLI_DONE;
}
