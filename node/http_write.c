/* What all writing handlers share: making the intent, telling its outcome. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "crdt/base/check.h"
#include "node/args.h"
#include "node/http_handlers.h"
#include "node/http_json.h"
#include "node/http_wait.h"

#define REFUSAL_SIZE_MAX (1u << 20)

struct intent *http_intent(struct http_request *r)
{
    const char *author = r->headers.author;
    struct intent *intent;
    int error = 0;

    CHECK(r->response == NULL);
    if (author != NULL) {
        struct slice text = slice_of_string(author);

        if (text.size > AUTHOR_SIZE_MAX || !utf8_is_valid(text)) {
            http_refuse(r, 400, CM_ERR_INVALID,
                        "X-Confmesh-Author must be UTF-8 of at most %d bytes; "
                        "shorten it",
                        AUTHOR_SIZE_MAX);
            return NULL;
        }
    }
    intent = intent_new(INTENT_LOCAL);
    if (intent != NULL && author != NULL)
        error = intent_set_author(intent, slice_of_string(author));
    if (intent == NULL || error != 0) {
        intent_free(intent);
        http_refuse_code(r, intent == NULL ? CM_ERR_NOMEM : error, NULL);
        return NULL;
    }
    return intent;
}

bool http_intent_add(struct http_request *r, struct intent *intent,
                     const struct local_op *op)
{
    int error = intent_add_op(intent, op);

    CHECK(intent->kind == INTENT_LOCAL);
    if (error == 0)
        return true;
    intent_free(intent);
    http_refuse_code(r, error, NULL);
    return false;
}

bool http_only_parameters(struct http_request *r, const char *const *known)
{
    for (size_t i = 0; i < r->query.count; i++) {
        const char *name = r->query.items[i].name;
        size_t k = 0;

        while (known[k] != NULL && strcmp(name, known[k]) != 0)
            k++;
        if (known[k] == NULL) {
            http_refuse(r, 400, CM_ERR_INVALID,
                        "unknown parameter \"%.64s\"; correct or remove it",
                        name);
            return false;
        }
    }
    return true;
}

/* ---- what clients of Consul's dialect send along ---- */

static const struct {
    const char *name;
    const char *reason;
} consul_refused[] = {
    {"acquire", "acquire needs locks, which a mesh without quorum cannot give; "
                "use a lock service, or cas on one node"},
    {"release", "release needs locks, which a mesh without quorum cannot give; "
                "leave it out"},
    {"consistent", "consistent needs a quorum, which a mesh does not have; "
                   "every read is local, use stale or nothing"},
};

static bool dc_is_this_mesh(struct http_request *r, const char *dc)
{
    struct node_status status;
    char mesh[MESH_ID_TEXT_SIZE];

    if (*dc == '\0')
        return true;
    node_status_read(r->context->node, &status);
    mesh_id_format(mesh, &status.mesh);
    return strcmp(dc, mesh) == 0;
}

bool http_consul_allowed(struct http_request *r)
{
    const char *dc = http_query_value(&r->query, "dc");

    for (size_t i = 0; i < sizeof consul_refused / sizeof consul_refused[0];
         i++) {
        if (http_query_has(&r->query, consul_refused[i].name)) {
            http_refuse(r, 400, CM_ERR_INVALID, "%s", consul_refused[i].reason);
            return false;
        }
    }
    if (dc == NULL || dc_is_this_mesh(r, dc))
        return true;
    http_refuse(r, 400, CM_ERR_INVALID,
                "dc names another mesh than this node's; leave it out");
    return false;
}

/* ---- orders ---- */

bool http_only_order(struct http_request *r)
{
    static const char *const none[] = {NULL};

    return http_only_post(r) && http_only_parameters(r, none);
}

bool http_only_view(struct http_request *r)
{
    static const char *const none[] = {NULL};

    return http_only_get(r) && http_only_parameters(r, none);
}

int http_expiry(const char *ttl, const char *expires, hlc_t *ret_expires,
                struct cm_detail *detail)
{
    uint64_t now_ms = hlc_wall_ms(http_context_now());
    uint64_t ms = 0;
    int error = 0;

    *ret_expires = 0;
    if (ttl == NULL && expires == NULL)
        return 0;
    if (ttl != NULL && expires != NULL)
        return cm_fail(detail, CM_ERR_INVALID,
                       "ttl and expires exclude each other; give one of them");
    if (ttl != NULL)
        error = args_duration_ms(&ms, ttl, "ttl", detail);
    else
        error = args_time_ms(&ms, expires, "expires", detail);
    if (error != 0)
        return error;
    if (ttl != NULL && ms > 0)
        ms += now_ms;
    if (ms <= now_ms)
        return cm_fail(detail, CM_ERR_INVALID,
                       "%s: it would have expired already; choose a later time",
                       ttl != NULL ? "ttl" : "expires");
    if (ms > HLC_WALL_MS_MAX / 2)
        return cm_fail(detail, CM_ERR_INVALID,
                       "expires lies beyond the year 6400; choose an earlier "
                       "time, or none");
    *ret_expires = hlc_make(ms, 0);
    return 0;
}

bool http_read_expiry(struct http_request *r, hlc_t *ret_expires)
{
    struct cm_detail detail = {{0}};
    int error = http_expiry(http_query_value(&r->query, "ttl"),
                            http_query_value(&r->query, "expires"), ret_expires,
                            &detail);

    if (error != 0)
        http_refuse(r, 400, error, "%s", detail.text);
    return error == 0;
}

void http_describe_revoke(struct http_request *r, const struct entry_id *id,
                          char *ret_text, size_t size)
{
    struct http_context *c = r->context;
    struct store_reader *reader = http_context_reader(c);
    struct resolution resolved;
    char when[32] = "";
    char version[DOT_TEXT_SIZE];
    const char *name;
    struct slice why;
    struct tm tm;
    time_t seconds;

    CHECK(size > 0);
    (void)snprintf(ret_text, size,
                   "revoked; to write it knowingly add unrevoke or if-version");
    if (reader == NULL || store_get(reader, id, &c->entry, NULL) != 0)
        return;
    resolved = entry_resolve(&c->entry, http_context_now());
    if (resolved.revoke == NULL)
        return;
    name = node_name_of(c->node, &resolved.revoke->dot.incarnation);
    seconds = (time_t)(hlc_wall_ms(resolved.revoke->hlc) / 1000);
    if (gmtime_r(&seconds, &tm) != NULL)
        (void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
    dot_format(version, &resolved.revoke->dot);
    why = resolved.revoke->value;
    (void)snprintf(
        ret_text, size,
        "revoked by %s at %s%s%.*s%s; it stays deleted unless you write it "
        "knowingly: add unrevoke, or if-version=%s",
        name[0] != '\0' ? name : "a node of an earlier generation", when,
        why.size > 0 ? " (" : "", (int)why.size,
        why.size > 0 ? (const char *)why.data : "", why.size > 0 ? ")" : "",
        version);
}

static void refused_json(struct http_request *r, struct intent *intent)
{
    struct buffer out;
    char why[512];

    (void)snprintf(why, sizeof(why), "%s",
                   intent->detail.text[0] != '\0'
                       ? intent->detail.text
                       : cm_strerror(intent->result));
    if (intent->result == CM_ERR_REVOKED &&
        intent->failed_op < intent->ops_count) {
        const struct local_op *op = &intent->ops[intent->failed_op];
        struct entry_id id = {op_space(op->kind), op->key, op->element};

        http_describe_revoke(r, &id, why, sizeof(why));
    }
    buffer_init(&out, REFUSAL_SIZE_MAX);
    buffer_append_string(&out, "{\"error\":");
    http_json_text(&out, cm_error_name(intent->result));
    buffer_append_string(&out, ",\"detail\":");
    http_json_text(&out, why);
    buffer_append_string(&out, ",\"failed_op\":");
    http_json_u64(&out, intent->failed_op);
    if (intent->failures_count > 0)
        http_put_failures(&out, intent);
    buffer_append_string(&out, "}\n");
    if (out.error != 0)
        http_refuse_code(r, intent->result, NULL);
    else
        http_answer(r, http_status_of(intent->result), HTTP_TYPE_JSON,
                    buffer_slice(&out));
    buffer_release(&out);
}

void http_written_json(struct http_request *r, struct intent *intent)
{
    struct buffer out;

    CHECK(r->response == NULL);
    if (intent->result != 0) {
        refused_json(r, intent);
        return;
    }
    buffer_init(&out, HTTP_ANSWER_SIZE_MAX);
    buffer_append_string(&out, "{\"token\":");
    if (intent->dot.seq > 0)
        http_json_dot(&out, &intent->dot);
    else
        buffer_append_string(&out, "null");
    buffer_append_string(&out, ",\"revision\":");
    http_json_u64(&out, intent->revision);
    buffer_append_string(&out, ",\"wrote\":");
    http_json_bool(&out, intent->wrote);
    if (intent->detailed)
        http_put_results(&out, intent);
    http_wait_put(r, &out);
    buffer_append_string(&out, "}\n");
    if (out.error != 0) {
        http_refuse_code(r, out.error, NULL);
    } else {
        http_answer_buffer(r, http_wait_status(r), HTTP_TYPE_JSON, &out);
        http_wait_headers(r);
        if (intent->dot.seq > 0)
            http_header_dot(r, "X-Confmesh-Token", &intent->dot);
    }
    buffer_release(&out);
}
