/* /v1/set and /v1/revoke: what Consul's dialect has no words for. */
#include <string.h>

#include "crdt/base/check.h"
#include "node/http_handlers.h"
#include "node/http_json.h"
#include "node/http_pending.h"
#include "node/http_wait.h"

static struct slice path_rest(const struct http_request *r, const char *prefix)
{
    size_t size = strlen(prefix);

    CHECK(slice_starts_with(r->path, slice_of_string(prefix)));
    return slice_of(r->path.data + size, r->path.size - size);
}

static bool decode_part(struct http_request *r, struct slice raw,
                        const char *name, uint8_t ret_bytes[KEY_SIZE_MAX],
                        struct slice *ret_part)
{
    struct cm_detail detail = {{0}};
    size_t size = 0;
    int error = http_decode(raw, name, ret_bytes, KEY_SIZE_MAX, &size, &detail);

    if (error != 0) {
        http_refuse(r, 400, error, "%s", detail.text);
        return false;
    }
    if (size == 0) {
        http_refuse(r, 400, CM_ERR_INVALID,
                    "%s is missing; write it into the "
                    "path, percent-encoded",
                    name);
        return false;
    }
    *ret_part = slice_of(ret_bytes, size);
    return true;
}

static void submit_one(struct http_request *r, const struct local_op *op)
{
    struct intent *intent = http_intent(r);

    if (intent != NULL && http_intent_add(r, intent, op))
        http_submit(r, intent, http_written_json);
}

bool http_read_key(struct http_request *r, const char *prefix,
                   uint8_t ret_bytes[KEY_SIZE_MAX], struct slice *ret_key)
{
    return decode_part(r, path_rest(r, prefix), "the key", ret_bytes, ret_key);
}

/* Why something is revoked; false: refused. */
static bool read_reason(struct http_request *r, struct local_op *op)
{
    const char *reason = http_query_value(&r->query, "reason");
    struct cm_detail detail = {{0}};
    int error = 0;

    if (reason != NULL) {
        op->value = slice_of_string(reason);
        error = op_check_reason(op->value, &detail);
    }
    if (error != 0)
        http_refuse(r, 400, error, "%s", detail.text);
    return error == 0;
}

void http_revoke(struct http_request *r)
{
    static const char *const known[] = {"reason", HTTP_WAIT_PARAMETERS, NULL};
    uint8_t key[KEY_SIZE_MAX];
    struct local_op op = {.kind = OP_REVOKE};

    if (r->method != HTTP_POST) {
        http_refuse(r, 405, CM_ERR_INVALID, "revoking is a POST; use that");
        return;
    }
    if (!http_only_parameters(r, known) ||
        !decode_part(r, path_rest(r, "/v1/revoke/"), "the key", key, &op.key))
        return;
    if (!read_reason(r, &op) || !http_wait_after(r, http_revoke))
        return;
    submit_one(r, &op);
}

/* ---- sets ---- */

static int put_members(struct buffer *out, struct store_reader *reader,
                       struct slice key, size_t *ret_count)
{
    struct store_cursor *cursor;
    const struct store_item *item;
    hlc_t now = http_context_now();
    int error = store_cursor_open(reader, SPACE_SET, key, true, NULL, &cursor);

    *ret_count = 0;
    if (error != 0)
        return error;
    while ((error = store_cursor_next(cursor, &item)) == 0 && out->error == 0) {
        CHECK(slice_equal(item->id.key, key));
        if (!entry_resolve(&item->entry, now).present)
            continue;
        if ((*ret_count)++ > 0)
            buffer_append_byte(out, ',');
        http_json_string(out, item->id.element);
    }
    store_cursor_close(cursor);
    return error == CM_ERR_NOT_FOUND || error == 0 ? out->error : error;
}

static void read_set(struct http_request *r, struct slice key)
{
    struct store_reader *reader = http_context_reader(r->context);
    struct buffer out;
    size_t count = 0;
    int error = CM_ERR_IO;

    r->context->counters.reads++;
    buffer_init(&out, HTTP_ANSWER_SIZE_MAX);
    buffer_append_string(&out, "{\"key\":");
    http_json_string(&out, key);
    buffer_append_string(&out, ",\"members\":[");
    if (reader != NULL)
        error = put_members(&out, reader, key, &count);
    if (error == 0) {
        buffer_append_string(&out, "],\"revision\":");
        http_json_u64(&out, store_revision(reader));
        buffer_append_string(&out, "}\n");
        error = out.error;
    }
    if (error != 0)
        http_refuse_code(r, error, NULL);
    else if (count == 0)
        http_refuse(r, 404, CM_ERR_NOT_FOUND,
                    "the set has no element; add one with PUT");
    else
        http_answer_buffer(r, 200, HTTP_TYPE_JSON, &out);
    buffer_release(&out);
}

static void write_set(struct http_request *r, struct slice key,
                      struct slice element)
{
    struct local_op op = {.key = key, .element = element};

    if (r->method == HTTP_PUT) {
        op.kind = OP_SET_ADD;
        op.unrevoke = http_query_has(&r->query, "unrevoke");
        if (!http_read_expiry(r, &op.expires))
            return;
    } else if (r->method == HTTP_DELETE) {
        op.kind = OP_SET_REMOVE;
    } else if (r->method == HTTP_POST && http_query_has(&r->query, "revoke")) {
        op.kind = OP_SET_REVOKE;
        if (!read_reason(r, &op))
            return;
    } else {
        http_refuse(r, 405, CM_ERR_INVALID,
                    "an element takes PUT, DELETE or POST with ?revoke; use "
                    "one of these");
        return;
    }
    submit_one(r, &op);
}

void http_set(struct http_request *r)
{
    static const char *const known[] = {
        "revoke",  "unrevoke",           "ttl", "reason",
        "expires", HTTP_WAIT_PARAMETERS, NULL};
    struct slice rest = path_rest(r, "/v1/set/");
    const uint8_t *slash = memchr(rest.data, '/', rest.size);
    uint8_t key_bytes[KEY_SIZE_MAX];
    uint8_t element_bytes[KEY_SIZE_MAX];
    struct slice key;
    struct slice element;
    size_t first = slash != NULL ? (size_t)(slash - rest.data) : rest.size;
    struct slice behind;

    if (!http_only_parameters(r, known) ||
        !decode_part(r, slice_of(rest.data, first), "the key", key_bytes, &key))
        return;
    if (!http_wait_after(r, http_set))
        return;
    if (slash == NULL) {
        if (r->method == HTTP_GET)
            read_set(r, key);
        else
            http_refuse(r, 405, CM_ERR_INVALID,
                        "a whole set can only be read (GET); name an element "
                        "to change it");
        return;
    }
    behind = slice_of(slash + 1, rest.size - first - 1);
    if (r->method == HTTP_GET ||
        memchr(behind.data, '/', behind.size) != NULL) {
        http_refuse(r, 400, CM_ERR_INVALID,
                    "a slash inside of a set's key or element must be written "
                    "as %%2F");
        return;
    }
    if (decode_part(r, behind, "the element", element_bytes, &element))
        write_set(r, key, element);
}
