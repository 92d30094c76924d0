/* confmesh list: the keys under a prefix, one per line. */
#include <string.h>

#include "crdt/base/check.h"
#include "node/cli/cli.h"

static int print_entry(const struct cli *c, const json_t *entry)
{
    const json_t *key = json_object_get(entry, "Key");
    const char *text = json_string_value(json_object_get(entry, "Value"));
    struct buffer value;
    buffer_init(&value, CLIENT_BODY_MAX);
    if (!json_is_string(key) ||
        (text != NULL && cli_base64_decode(text, &value) != 0)) {
        buffer_release(&value);
        return cli_failed(c, "the node's answer has an unknown form");
    }
    if (c->json) {
        json_t *object = json_object();
        CHECK(object != NULL);
        (void)json_object_set(object, "key", json_object_get(entry, "Key"));
        cli_json_value(object, buffer_slice(&value));
        (void)json_object_set(object, "flags", json_object_get(entry, "Flags"));
        cli_print_json(object);
        json_decref(object);
    } else {
        cli_print_escaped(
            stdout, slice_of(json_string_value(key), json_string_length(key)));
        (void)fputc('\t', stdout);
        cli_print_escaped(stdout, buffer_slice(&value));
        (void)fputc('\n', stdout);
    }
    buffer_release(&value);
    return CLI_DONE;
}

static int print_list(const struct cli *c, const json_t *list, bool values)
{
    int code = CLI_DONE;
    for (size_t i = 0; i < json_array_size(list) && code == CLI_DONE; i++) {
        const json_t *item = json_array_get(list, i);
        if (values) {
            code = print_entry(c, item);
        } else if (!json_is_string(item)) {
            code = cli_failed(c, "the node's answer has an unknown form");
        } else if (c->json) {
            cli_print_json(item);
        } else {
            cli_print_escaped(stdout, slice_of(json_string_value(item),
                                               json_string_length(item)));
            (void)fputc('\n', stdout);
        }
    }
    return code;
}

int cli_verb_list(struct cli *c)
{
    const char *prefix = c->words_count > 0 ? c->words[0] : "";
    struct client_response response;
    struct client_request request = {.method = "GET"};
    struct buffer target;
    bool values = cli_has(c, "values");
    int code = cli_check_prefix(c, prefix);
    if (code != 0)
        return code;
    buffer_init(&target, CLIENT_TARGET_MAX);
    buffer_append_string(&target, "/v1/kv/");
    client_percent_encode(&target, slice_of_string(prefix), false);
    buffer_append_string(&target, values ? "?recurse" : "?keys");
    code = cli_query_wait(c, &target, &request.timeout_ms);
    if (code == 0)
        code = cli_call(c, &request, &target, &response);
    buffer_release(&target);
    if (code != 0)
        return code;
    if (response.status == 200) {
        json_t *list = cli_json_body(c, &response);
        code = list == NULL ? CLI_FAILED : print_list(c, list, values);
        json_decref(list);
    } else if (response.status != 404) {
        code = cli_refused(c, &response);
    }
    client_response_release(&response);
    return code;
}
