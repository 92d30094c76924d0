/* confmesh get: a key's value, its bytes alone. */
#include <string.h>

#include "crdt/base/check.h"
#include "node/cli/cli.h"

static void set_text(json_t *object, const char *name,
                     const struct client_response *r, const char *header)
{
    struct slice v;
    if (client_response_header(r, header, &v))
        (void)json_object_set_new(object, name,
                                  json_stringn((const char *)v.data, v.size));
}

static void set_number(json_t *object, const char *name,
                       const struct client_response *r, const char *header)
{
    char text[24] = "";
    struct slice v;
    uint64_t number;

    if (!client_response_header(r, header, &v) || v.size >= sizeof(text))
        return;
    memcpy(text, v.data, v.size);
    if (args_number(&number, text, INT64_MAX, header, NULL) == 0)
        (void)json_object_set_new(object, name,
                                  json_integer((json_int_t)number));
}

/* Consul's form, translated to the names that all --json output has. */
static int print_entry(const struct cli *c, const struct client_response *r)
{
    json_t *list = cli_json_body(c, r);
    json_t *entry = json_array_get(list, 0);
    const char *text = json_string_value(json_object_get(entry, "Value"));
    struct buffer value;
    buffer_init(&value, CLIENT_BODY_MAX);
    int code = CLI_DONE;
    if (list != NULL && !json_is_object(entry))
        code = cli_failed(c, "the node's answer has an unknown form");
    else if (list == NULL ||
             (text != NULL && cli_base64_decode(text, &value) != 0))
        code = cli_failed(c, "the node's answer holds no value");
    if (code == CLI_DONE) {
        json_t *object = json_object();
        CHECK(object != NULL);
        (void)json_object_set(object, "key", json_object_get(entry, "Key"));
        cli_json_value(object, buffer_slice(&value));
        (void)json_object_set(object, "flags", json_object_get(entry, "Flags"));
        (void)json_object_set(object, "create_index",
                              json_object_get(entry, "CreateIndex"));
        (void)json_object_set(object, "modify_index",
                              json_object_get(entry, "ModifyIndex"));
        set_text(object, "version", r, "X-Confmesh-Version");
        set_number(object, "expires_ms", r, "X-Confmesh-Expires-Ms");
        cli_print_json(object);
        json_decref(object);
    }
    buffer_release(&value);
    json_decref(list);
    return code;
}

static int print_siblings(const struct cli *c, const struct client_response *r)
{
    json_t *siblings = cli_json_body(c, r);
    if (siblings == NULL)
        return CLI_FAILED;
    size_t flags = JSON_ENCODE_ANY;
    (void)json_dumpf(siblings, stdout,
                     c->json ? flags | JSON_COMPACT : flags | JSON_INDENT(2));
    (void)fputc('\n', stdout);
    json_decref(siblings);
    return CLI_DONE;
}

int cli_verb_get(struct cli *c)
{
    CHECK(c->words_count == 1);
    struct client_response response;
    struct client_request request = {.method = "GET"};
    struct buffer target;
    bool siblings = cli_has(c, "siblings");
    int code = cli_check_key(c, "KEY", c->words[0]);
    if (code != 0)
        return code;
    buffer_init(&target, CLIENT_TARGET_MAX);
    buffer_append_string(&target, "/v1/kv/");
    client_percent_encode(&target, slice_of_string(c->words[0]), false);
    if (siblings)
        buffer_append_string(&target, "?siblings");
    else if (!c->json)
        buffer_append_string(&target, "?raw");
    code = cli_query_wait(c, &target, &request.timeout_ms);
    if (code == 0)
        code = cli_call(c, &request, &target, &response);
    buffer_release(&target);
    if (code != 0)
        return code;
    if (response.status == 404)
        code = CLI_FALSE;
    else if (response.status != 200)
        code = cli_refused(c, &response);
    else if (siblings)
        code = print_siblings(c, &response);
    else if (c->json)
        code = print_entry(c, &response);
    else if (response.body.size > 0)
        (void)fwrite(response.body.data, 1, response.body.size, stdout);
    client_response_release(&response);
    return code;
}
