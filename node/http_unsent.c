/* /v1/mesh/unsent: what this node wrote in earlier lives and the mesh never
 * got; /v1/mesh/unsent/drop and /apply decide about one. */
#include <string.h>

#include "crdt/base/check.h"
#include "node/http_handlers.h"
#include "node/http_json.h"
#include "node/http_pending.h"
#include "node/unsent.h"

#define UNSENT_SIZE_MAX (64u << 20)
#define UNSENT_DEFAULT 1000
#define UNSENT_MAX 10000
#define VALUE_SHOWN_MAX 1024

static void put_op(struct buffer *out, const struct op *op)
{
    buffer_append_string(out, "{\"kind\":");
    http_json_text(out, op_kind_name(op->kind));
    buffer_append_string(out, ",\"key\":");
    http_json_string(out, op->key);
    if (op->element.size > 0) {
        buffer_append_string(out, ",\"element\":");
        http_json_string(out, op->element);
    }
    if (op->kind == OP_PUT) {
        buffer_append_string(out, ",\"size\":");
        http_json_u64(out, op->value.size);
        if (op->value.size <= VALUE_SHOWN_MAX && utf8_is_valid(op->value)) {
            buffer_append_string(out, ",\"text\":");
            http_json_string(out, op->value);
        }
    }
    buffer_append_string(out, ",\"author\":");
    http_json_string(out, op->author);
    buffer_append_byte(out, '}');
}

static void put_operations(struct buffer *out, const struct unsent *u)
{
    struct unsent_ops ops;
    size_t count = 0;

    buffer_append_string(out, ",\"operations\":[");
    if (unsent_open(&ops, u) == 0) {
        for (size_t i = 0; i < ops.count; i++) {
            if (!unsent_is_client_op(&ops.ops[i]))
                continue;
            if (count++ > 0)
                buffer_append_byte(out, ',');
            put_op(out, &ops.ops[i]);
        }
        unsent_close(&ops);
    }
    buffer_append_byte(out, ']');
}

void http_put_unsent(struct buffer *out, const struct unsent *u)
{
    char version[DOT_TEXT_SIZE];

    dot_format(version, &u->dot);
    buffer_append_string(out, "{\"id\":");
    http_json_u64(out, u->id);
    buffer_append_string(out, ",\"state\":");
    http_json_text(out, unsent_state_name(u->state));
    buffer_append_string(out, ",\"reason\":");
    if (u->text.size > 0)
        http_json_string(out, u->text);
    else
        http_json_text(out, unsent_state_text(u->state));
    buffer_append_string(out, ",\"version\":");
    http_json_text(out, version);
    buffer_append_string(out, ",\"time_ms\":");
    http_json_u64(out, hlc_wall_ms(u->hlc));
    if (u->state != UNSENT_WAITS) {
        buffer_append_string(out, ",\"operation\":");
        http_json_u64(out, u->op);
    }
    put_operations(out, u);
    buffer_append_byte(out, '}');
}

static bool changes(const struct unsent *u, const struct entry_id *id)
{
    struct unsent_ops ops;
    bool ret = false;

    if (unsent_open(&ops, u) != 0)
        return false; /* the list tells of it */
    for (size_t i = 0; i < ops.count && !ret; i++) {
        struct entry_id other = op_entry_id(&ops.ops[i]);

        ret = entry_id_compare(&other, id) == 0;
    }
    unsent_close(&ops);
    return ret;
}

int http_put_parked(struct buffer *out, struct store_reader *reader,
                    const struct entry_id *id)
{
    struct unsent u = {.id = 0};
    size_t count = 0;
    int error;

    while ((error = unsent_read(reader, u.id, &u)) == 0) {
        if (u.state == UNSENT_SHARED || !changes(&u, id))
            continue;
        if (count++ > 0)
            buffer_append_byte(out, ',');
        http_put_unsent(out, &u);
    }
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

static void list(struct http_request *r, uint64_t after, uint64_t limit)
{
    struct store_reader *reader = http_context_reader(r->context);
    struct unsent u = {.id = after};
    struct buffer out;
    uint64_t count = 0;
    int error = 0;

    if (reader == NULL) {
        http_refuse_code(r, CM_ERR_IO, NULL);
        return;
    }
    buffer_init(&out, UNSENT_SIZE_MAX);
    buffer_append_string(&out, "{\"unsent\":[");
    while (count < limit && (error = unsent_read(reader, u.id, &u)) == 0) {
        if (u.state == UNSENT_SHARED)
            continue;
        if (count++ > 0)
            buffer_append_byte(&out, ',');
        http_put_unsent(&out, &u);
    }
    buffer_append_byte(&out, ']');
    if (error == 0) {
        buffer_append_string(&out, ",\"next\":");
        http_json_u64(&out, u.id);
    }
    buffer_append_string(&out, ",\"revision\":");
    http_json_u64(&out, store_revision(reader));
    buffer_append_string(&out, "}\n");
    if (error == CM_ERR_NOT_FOUND)
        error = out.error;
    if (error != 0)
        http_refuse_code(r, error, NULL);
    else
        http_answer_buffer(r, 200, HTTP_TYPE_JSON, &out);
    buffer_release(&out);
}

static bool read_number(struct http_request *r, const char *name,
                        uint64_t least, uint64_t most, uint64_t *ret_number)
{
    const char *text = http_query_value(&r->query, name);

    if (text == NULL || (http_parse_u64(text, ret_number) == 0 &&
                         *ret_number >= least && *ret_number <= most))
        return true;
    http_refuse(r, 400, CM_ERR_INVALID, "%s must be a number from %llu on",
                name, (unsigned long long)least);
    return false;
}

void http_unsent(struct http_request *r)
{
    static const char *const known[] = {"limit", "from", NULL};
    uint64_t limit = UNSENT_DEFAULT;
    uint64_t from = 0;

    if (!http_only_get(r))
        return;
    if (http_only_parameters(r, known) &&
        read_number(r, "limit", 1, UNSENT_MAX, &limit) &&
        read_number(r, "from", 0, UINT64_MAX, &from))
        list(r, from, limit);
}

/* ---- deciding ---- */

static void decided(struct http_request *r, struct intent *i)
{
    struct buffer out;

    if (i->result != 0) {
        http_refuse_code(r, i->result, i->detail.text);
        return;
    }
    buffer_init(&out, 1024);
    buffer_append_string(&out, "{\"count\":");
    http_json_u64(&out, i->unsent_count);
    if (i->dot.seq > 0) {
        char token[DOT_TEXT_SIZE];

        dot_format(token, &i->dot);
        buffer_append_string(&out, ",\"token\":");
        http_json_text(&out, token);
    }
    buffer_append_string(&out, "}\n");
    http_answer_buffer(r, 200, HTTP_TYPE_JSON, &out);
    buffer_release(&out);
}

static void decide(struct http_request *r, bool apply)
{
    uint64_t id = 0;
    struct intent *i;
    bool all = http_query_has(&r->query, "all");

    if (!http_only_post(r))
        return;
    if (!read_number(r, "id", 1, UINT64_MAX, &id))
        return;
    if ((id == 0) != all) {
        http_refuse(r, 400, CM_ERR_INVALID, "id=NUMBER of the list is needed%s",
                    apply ? "" : ", or all");
        return;
    }
    i = intent_new(INTENT_UNSENT);
    if (i == NULL) {
        http_refuse_code(r, CM_ERR_NOMEM, NULL);
        return;
    }
    i->unsent_id = id;
    i->unsent_apply = apply;
    i->unsent_unrevoke = http_query_has(&r->query, "unrevoke");
    http_submit(r, i, decided);
}

void http_unsent_drop(struct http_request *r)
{
    static const char *const known[] = {"id", "all", NULL};

    if (http_only_parameters(r, known))
        decide(r, false);
}

void http_unsent_apply(struct http_request *r)
{
    static const char *const known[] = {"id", "unrevoke", NULL};

    if (http_only_parameters(r, known))
        decide(r, true);
}
