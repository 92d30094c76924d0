/* POST /v1/txn: several operations, all or none. */
#include <sodium.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/http_handlers.h"
#include "node/http_json.h"
#include "node/http_pending.h"

static const struct {
    const char *name;
    enum op_kind kind;
} op_names[] = {
    {"put", OP_PUT},
    {"del", OP_DEL},
    {"revoke", OP_REVOKE},
    {"set-add", OP_SET_ADD},
    {"set-remove", OP_SET_REMOVE},
    {"set-revoke", OP_SET_REVOKE},
};

static int read_kind(json_t *object, enum op_kind *ret_kind,
                     struct cm_detail *detail)
{
    struct slice name = {0};
    int error = http_json_get_text(object, "op", &name, detail);

    if (error != 0)
        return error;
    for (size_t i = 0; i < sizeof(op_names) / sizeof(op_names[0]); i++) {
        if (slice_equal(name, slice_of_string(op_names[i].name))) {
            *ret_kind = op_names[i].kind;
            return 0;
        }
    }
    return cm_fail(detail, CM_ERR_MALFORMED,
                   "\"op\" must be put, del, revoke, set-add, set-remove or "
                   "set-revoke");
}

/* value (text) or value64 (base64, decoded into memory). */
static int read_value(json_t *object, struct local_op *op,
                      struct buffer *memory, struct cm_detail *detail)
{
    struct slice text = {0};
    struct slice coded = {0};
    size_t size = 0;
    uint8_t *to;
    int error = http_json_get_text(object, "value", &text, detail);

    if (error == 0)
        error = http_json_get_text(object, "value64", &coded, detail);
    if (error != 0)
        return error;
    if ((text.data != NULL) + (coded.data != NULL) !=
        (op->kind == OP_PUT ? 1 : 0))
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "a put takes exactly one of \"value\" and \"value64\", "
                       "other operations neither");
    op->value = text;
    if (coded.data == NULL)
        return 0;
    buffer_clear(memory);
    to = buffer_extend(memory, coded.size / 4 * 3 + 3);
    if (to == NULL)
        return CM_ERR_NOMEM;
    if (sodium_base642bin(to, memory->size, (const char *)coded.data,
                          coded.size, NULL, &size, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "\"value64\" is not padded base64; encode it again");
    op->value = slice_of(to, size);
    return 0;
}

static int read_condition(json_t *object, struct local_op *op,
                          struct cm_detail *detail)
{
    struct slice version = {0};
    bool absent = false;
    int error = http_json_get_bool(object, "if_absent", &absent, detail);

    if (error == 0)
        error = http_json_get_bool(object, "unrevoke", &op->unrevoke, detail);
    if (error == 0)
        error = http_json_get_text(object, "if_version", &version, detail);
    if (error != 0)
        return error;
    if (absent && version.data != NULL)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "\"if_absent\" and \"if_version\" exclude each other");
    if (absent)
        op->condition = CONDITION_ABSENT;
    if (version.data == NULL)
        return 0;
    op->condition = CONDITION_VERSION;
    if (dot_parse(&op->version, (const char *)version.data) != 0)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "\"if_version\" is not INCARNATION:SEQ");
    return 0;
}

static int read_expiry(json_t *object, struct local_op *op,
                       struct cm_detail *detail)
{
    struct slice ttl = {0};
    struct slice expires = {0};
    int error = http_json_get_text(object, "ttl", &ttl, detail);

    if (error == 0)
        error = http_json_get_text(object, "expires", &expires, detail);
    if (error != 0)
        return error;
    return http_expiry((const char *)ttl.data, (const char *)expires.data,
                       &op->expires, detail);
}

static int read_op(json_t *object, struct local_op *op, struct buffer *memory,
                   struct cm_detail *detail)
{
    static const char *const members[] = {
        "op",        "key",        "element",  "value", "value64", "flags",
        "if_absent", "if_version", "unrevoke", "ttl",   "expires", NULL};
    int error;

    *op = (struct local_op){0};
    if (!json_is_object(object))
        return cm_fail(detail, CM_ERR_MALFORMED, "it must be an object");
    error = http_json_only(object, members, "it", detail);
    if (error == 0)
        error = read_kind(object, &op->kind, detail);
    if (error == 0)
        error = http_json_get_text(object, "key", &op->key, detail);
    if (error == 0)
        error = http_json_get_text(object, "element", &op->element, detail);
    if (error == 0)
        error = http_json_get_u64(object, "flags", &op->flags, detail);
    if (error == 0)
        error = read_value(object, op, memory, detail);
    if (error == 0)
        error = read_condition(object, op, detail);
    if (error == 0)
        error = read_expiry(object, op, detail);
    if (error != 0)
        return error;
    if (op_space(op->kind) == SPACE_REGISTER && op->element.size > 0)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "\"element\" belongs to set operations only");
    return 0;
}

/* Adds all operations; the detail of an error names the one at fault. */
static int read_ops(json_t *ops, struct intent *intent,
                    struct cm_detail *detail, size_t *ret_failed)
{
    struct cm_detail inner = {{0}};
    struct buffer memory;
    struct local_op op;
    int error = 0;
    size_t i = 0;

    if (!json_is_array(ops) || json_array_size(ops) == 0)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "\"ops\" must be an array of at least one operation");
    if (json_array_size(ops) > EVENT_OPS_MAX)
        return cm_fail(detail, CM_ERR_LIMIT,
                       "\"ops\" has more than %d operations; split it up",
                       EVENT_OPS_MAX);
    buffer_init(&memory, HTTP_BODY_MAX);
    for (i = 0; i < json_array_size(ops) && error == 0; i++) {
        error = read_op(json_array_get(ops, i), &op, &memory, &inner);
        if (error == 0)
            error = intent_add_op(intent, &op);
    }
    buffer_release(&memory);
    if (error == 0)
        return 0;
    CHECK(i > 0);
    *ret_failed = i - 1;
    return cm_fail(detail, error, "operation %zu of \"ops\": %s", i - 1,
                   inner.text[0] != '\0' ? inner.text : cm_strerror(error));
}

static int read_transaction(json_t *object, struct intent *intent,
                            struct cm_detail *detail, size_t *ret_failed)
{
    static const char *const members[] = {"ops", "author", NULL};
    struct slice author = {0};
    int error = http_json_only(object, members, "the body", detail);

    if (error == 0)
        error = http_json_get_text(object, "author", &author, detail);
    if (error != 0)
        return error;
    if (author.size > AUTHOR_SIZE_MAX)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "\"author\" is over %d bytes; shorten it",
                       AUTHOR_SIZE_MAX);
    if (author.data != NULL) {
        error = intent_set_author(intent, author);
        if (error != 0)
            return error;
    }
    return read_ops(json_object_get(object, "ops"), intent, detail, ret_failed);
}

void http_txn(struct http_request *r)
{
    struct cm_detail detail = {{0}};
    struct intent *intent;
    json_t *object = NULL;
    size_t failed = 0;
    int error;

    if (r->method != HTTP_POST) {
        http_refuse(r, 405, CM_ERR_INVALID, "a transaction is a POST");
        return;
    }
    error = http_json_parse(&object, buffer_slice(&r->body), &detail);
    if (error != 0) {
        http_refuse_code(r, error, detail.text);
        return;
    }
    intent = http_intent(r);
    if (intent != NULL) {
        error = read_transaction(object, intent, &detail, &failed);
        if (error == 0) {
            http_submit(r, intent, http_written_json);
        } else {
            intent_free(intent);
            http_refuse_code(r, error, detail.text);
        }
    }
    json_decref(object);
}
