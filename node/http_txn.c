/* /v1/txn: several operations, all or none. */
#include <stdio.h>

#include "crdt/base/check.h"
#include "node/http_handlers.h"
#include "node/http_json.h"
#include "node/http_pending.h"
#include "node/http_txn_read.h"
#include "node/http_wait.h"

#define FAILURES_SIZE_MAX (1u << 20)

static void append(struct buffer *out, const char *text)
{
    buffer_append_string(out, text);
}

/* ---- Consul's answers ---- */

static void put_consul_result(struct http_request *r, struct buffer *out,
                              struct store_reader *reader,
                              const struct intent_result *result)
{
    struct http_context *c = r->context;

    append(out, "{\"KV\":{\"LockIndex\":0,\"Key\":");
    http_json_string(out, result->key);
    append(out, ",\"Flags\":");
    http_json_u64(out, result->flags);
    append(out, ",\"Value\":");
    if (result->has_value && result->value.size > 0)
        http_json_base64(out, result->value);
    else
        append(out, "null");
    append(out, ",\"CreateIndex\":");
    http_json_u64(out, http_context_index(c, reader, result->create_revision));
    append(out, ",\"ModifyIndex\":");
    http_json_u64(out, http_context_index(c, reader, result->modify_revision));
    append(out, "}}");
}

static void consul_done(struct http_request *r, struct intent *intent)
{
    struct store_reader *reader = http_context_reader(r->context);
    struct intent_result result;
    struct buffer out;
    size_t at = 0;

    if (reader == NULL) {
        http_refuse_code(r, CM_ERR_IO, NULL);
        return;
    }
    buffer_init(&out, HTTP_ANSWER_SIZE_MAX);
    append(&out, "{\"Results\":[");
    while (intent_next_result(intent, &at, &result)) {
        if (out.data[out.size - 1] != '[')
            buffer_append_byte(&out, ',');
        put_consul_result(r, &out, reader, &result);
    }
    append(&out, "],\"Errors\":null");
    http_wait_put(r, &out);
    append(&out, "}\n");
    http_answer_built(r, http_wait_status(r), &out);
}

static void consul_failed(struct http_request *r, struct intent *intent)
{
    struct buffer out;

    buffer_init(&out, FAILURES_SIZE_MAX);
    append(&out, "{\"Results\":null,\"Errors\":[");
    for (size_t i = 0; i < intent->failures_count; i++) {
        append(&out, i > 0 ? ",{\"OpIndex\":" : "{\"OpIndex\":");
        http_json_u64(&out, intent->failures[i].op);
        append(&out, ",\"What\":");
        http_json_text(&out, intent->failures[i].text);
        buffer_append_byte(&out, '}');
    }
    append(&out, "]}\n");
    http_answer_built(r, http_status_of(intent->result), &out);
}

static void consul_written(struct http_request *r, struct intent *intent)
{
    if (intent->result != 0 && intent->failures_count > 0)
        consul_failed(r, intent);
    else if (intent->result != 0)
        http_refuse_code(r, intent->result, intent->detail.text);
    else
        consul_done(r, intent);
    if (intent->result == 0 && intent->dot.seq > 0)
        http_header_dot(r, "X-Confmesh-Token", &intent->dot);
    http_wait_headers(r);
}

/* ---- own answers: see http_written_json for what all writes tell ---- */

void http_put_results(struct buffer *out, const struct intent *intent)
{
    struct intent_result result;
    size_t at = 0;

    append(out, ",\"results\":[");
    while (intent_next_result(intent, &at, &result)) {
        append(out, out->data[out->size - 1] != '[' ? ",{\"op\":" : "{\"op\":");
        http_json_u64(out, result.op);
        append(out, ",\"key\":");
        http_json_string(out, result.key);
        if (result.has_value) {
            append(out, ",\"value64\":");
            http_json_base64(out, result.value);
        }
        append(out, ",\"flags\":");
        http_json_u64(out, result.flags);
        append(out, ",\"version\":");
        http_json_dot(out, &result.version);
        if (result.expires != 0) {
            append(out, ",\"expires_ms\":");
            http_json_u64(out, hlc_wall_ms(result.expires));
        }
        append(out, ",\"revision\":");
        http_json_u64(out, result.modify_revision);
        buffer_append_byte(out, '}');
    }
    buffer_append_byte(out, ']');
}

void http_put_failures(struct buffer *out, const struct intent *intent)
{
    append(out, ",\"errors\":[");
    for (size_t i = 0; i < intent->failures_count; i++) {
        append(out, i > 0 ? ",{\"op\":" : "{\"op\":");
        http_json_u64(out, intent->failures[i].op);
        append(out, ",\"error\":");
        http_json_text(out, cm_error_name(intent->failures[i].code));
        append(out, ",\"detail\":");
        http_json_text(out, intent->failures[i].text);
        buffer_append_byte(out, '}');
    }
    buffer_append_byte(out, ']');
}

/* ---- the entrance ---- */

/* The body, an object or an array; NULL after having refused. */
static json_t *parse(struct http_request *r)
{
    struct cm_detail detail = {{0}};
    json_t *body = NULL;
    int error = http_json_parse_any(&body, buffer_slice(&r->body), &detail);

    if (error != 0)
        http_refuse_code(r, error, detail.text);
    return error == 0 ? body : NULL;
}

static void submit(struct http_request *r, json_t *body, uint64_t tag)
{
    struct cm_detail detail = {{0}};
    struct intent *intent = http_intent(r);
    size_t failed = 0;
    int error;

    if (intent == NULL)
        return;
    error = http_txn_read(intent, body, tag, &detail, &failed);
    if (error == 0) {
        http_submit(r, intent,
                    json_is_array(body) ? consul_written : http_written_json);
    } else {
        intent_free(intent);
        http_refuse_code(r, error, detail.text);
    }
}

void http_txn(struct http_request *r)
{
    static const char *const known[] = {HTTP_WAIT_PARAMETERS,
                                        HTTP_CONSUL_PARAMETERS, NULL};
    struct store_reader *reader = http_context_reader(r->context);
    json_t *body;

    if (r->method != HTTP_POST && r->method != HTTP_PUT) {
        http_refuse(r, 405, CM_ERR_INVALID, "a transaction is a POST or PUT");
        return;
    }
    if (!http_consul_allowed(r) || !http_only_parameters(r, known))
        return;
    if (reader == NULL) {
        http_refuse_code(r, CM_ERR_IO, NULL);
        return;
    }
    if (!http_wait_after(r, http_txn))
        return;
    body = parse(r);
    if (body == NULL)
        return;
    submit(r, body, http_context_tag(r->context, reader));
    json_decref(body);
}
