/* Reading transactions; see http_txn_read.h. Pure: bytes that nobody has
 * checked, which is why it stands apart and is fuzzed.
 *
 * Specification of the second dialect:
 * https://developer.hashicorp.com/consul/api-docs/txn */
#include "node/http_txn_read.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/http_context.h"
#include "node/http_handlers.h"
#include "node/http_json.h"

/* How a dialect calls the members of an operation. */
struct dialect {
    const char *op, *key, *element, *value, *value64, *flags, *index;
    const char *if_absent, *if_version, *unrevoke, *ttl, *expires;
    const char *keep, *if_siblings, *reason;
    const char *const *members;
};

static const char *const own_members[] = {
    "op",    "key",         "element",    "value",    "value64", "flags",
    "index", "if_absent",   "if_version", "unrevoke", "ttl",     "expires",
    "keep",  "if_siblings", "reason",     NULL};
static const struct dialect own_dialect = {
    "op",    "key",         "element",    "value",    "value64", "flags",
    "index", "if_absent",   "if_version", "unrevoke", "ttl",     "expires",
    "keep",  "if_siblings", "reason",     own_members};

/* Session, Namespace and Partition are what clients send along. */
static const char *const consul_members[] = {
    "Verb",    "Key",       "Element",   "Value", "Flags",
    "Index",   "IfVersion", "Unrevoke",  "TTL",   "Expires",
    "Session", "Namespace", "Partition", NULL};
static const struct dialect consul_dialect = {
    "Verb", "Key",         "Element",  "",    "Value",   "Flags", "Index",
    "",     "IfVersion",   "Unrevoke", "TTL", "Expires", "",      "",
    "",     consul_members};

enum needs {
    NEEDS_VALUE = 1,
    NEEDS_INDEX = 2,
    NEEDS_ELEMENT = 4,
    TAKES_TREE = 8, /* the key is a prefix, perhaps empty */
};

static const struct op_name {
    const char *name;
    enum local_verb verb;
    enum op_kind kind;
    unsigned needs;
    enum condition_kind condition;
} op_names[] = {
    {"put", LOCAL_WRITE, OP_PUT, NEEDS_VALUE, CONDITION_NONE},
    {"set", LOCAL_WRITE, OP_PUT, NEEDS_VALUE, CONDITION_NONE},
    {"cas", LOCAL_WRITE, OP_PUT, NEEDS_VALUE | NEEDS_INDEX, CONDITION_REVISION},
    {"del", LOCAL_WRITE, OP_DEL, 0, CONDITION_NONE},
    {"delete", LOCAL_WRITE, OP_DEL, 0, CONDITION_NONE},
    {"delete-cas", LOCAL_WRITE, OP_DEL, NEEDS_INDEX, CONDITION_REVISION},
    {"delete-tree", LOCAL_DELETE_TREE, OP_DEL, TAKES_TREE, CONDITION_NONE},
    {"get", LOCAL_GET, OP_PUT, 0, CONDITION_NONE},
    {"get-tree", LOCAL_GET_TREE, OP_PUT, TAKES_TREE, CONDITION_NONE},
    {"check-index", LOCAL_CHECK, OP_PUT, NEEDS_INDEX, CONDITION_REVISION},
    {"check-not-exists", LOCAL_CHECK, OP_PUT, 0, CONDITION_ABSENT},
    {"check-version", LOCAL_CHECK, OP_PUT, 0, CONDITION_VERSION},
    {"revoke", LOCAL_WRITE, OP_REVOKE, 0, CONDITION_NONE},
    {"set-add", LOCAL_WRITE, OP_SET_ADD, NEEDS_ELEMENT, CONDITION_NONE},
    {"set-remove", LOCAL_WRITE, OP_SET_REMOVE, NEEDS_ELEMENT, CONDITION_NONE},
    {"set-revoke", LOCAL_WRITE, OP_SET_REVOKE, NEEDS_ELEMENT, CONDITION_NONE},
    {"resolve", LOCAL_RESOLVE, OP_PUT, 0, CONDITION_NONE},
};

static const struct op_name *find_name(struct slice name)
{
    for (size_t i = 0; i < sizeof(op_names) / sizeof(op_names[0]); i++) {
        if (slice_equal(name, slice_of_string(op_names[i].name)))
            return &op_names[i];
    }
    return NULL;
}

static int read_name(json_t *object, const struct dialect *d,
                     const struct op_name **ret, struct cm_detail *detail)
{
    struct slice name = {0};
    int error = http_json_get_text(object, d->op, &name, detail);

    if (error != 0)
        return error;
    *ret = find_name(name);
    if (*ret != NULL)
        return 0;
    if (slice_equal(name, slice_of_string("lock")) ||
        slice_equal(name, slice_of_string("unlock")) ||
        slice_equal(name, slice_of_string("check-session")))
        return cm_fail(detail, CM_ERR_INVALID,
                       "%.*s needs locks, which a mesh without quorum cannot "
                       "give; use cas on one node",
                       (int)name.size, (const char *)name.data);
    return cm_fail(detail, CM_ERR_MALFORMED,
                   "\"%s\" must be put (set), cas, del (delete), delete-cas, "
                   "delete-tree, get, get-tree, check-index, check-not-exists, "
                   "check-version, revoke, set-add, set-remove, set-revoke or "
                   "resolve",
                   d->op);
}

/* A text, or base64, decoded into memory. */
static int read_value(json_t *object, const struct dialect *d,
                      const struct op_name *name, struct local_op *op,
                      struct buffer *memory, struct cm_detail *detail)
{
    struct slice text = {0};
    struct slice coded = {0};
    size_t size = 0;
    uint8_t *to;
    bool wanted = (name->needs & NEEDS_VALUE) != 0;
    bool may_lack = d->value[0] == '\0'; /* Consul's null is an empty value */
    int error = http_json_get_text(object, d->value, &text, detail);

    if (error == 0)
        error = http_json_get_text(object, d->value64, &coded, detail);
    if (error != 0)
        return error;
    if (may_lack && coded.data == NULL)
        return 0;
    if (may_lack && !wanted && coded.size == 0)
        return 0;
    if ((text.data != NULL) + (coded.data != NULL) != (wanted ? 1 : 0))
        return cm_fail(detail, CM_ERR_MALFORMED,
                       may_lack ? "a set or cas takes a \"Value\", other "
                                  "operations none"
                                : "a put takes exactly one of \"value\" and "
                                  "\"value64\", other operations neither");
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
                       "\"%s\" is not padded base64; encode it again",
                       d->value64);
    op->value = slice_of(to, size);
    return 0;
}

static int read_version(json_t *object, const char *member, struct dot *ret,
                        bool *ret_given, struct cm_detail *detail)
{
    struct slice version = {0};
    int error = http_json_get_text(object, member, &version, detail);

    *ret_given = version.data != NULL;
    if (error == 0 && *ret_given &&
        dot_parse(ret, (const char *)version.data) != 0)
        error = cm_fail(detail, CM_ERR_MALFORMED,
                        "\"%s\" is not INCARNATION:SEQ", member);
    return error;
}

static int read_condition(json_t *object, const struct dialect *d,
                          const struct op_name *name, struct local_op *op,
                          struct cm_detail *detail)
{
    bool absent = false;
    bool version = false;
    int error = http_json_get_bool(object, d->if_absent, &absent, detail);

    if (error == 0)
        error = http_json_get_bool(object, d->unrevoke, &op->unrevoke, detail);
    if (error == 0)
        error =
            read_version(object, d->if_version, &op->version, &version, detail);
    if (error != 0)
        return error;
    op->condition = name->condition;
    if (name->condition == CONDITION_VERSION)
        return version && !absent
                   ? 0
                   : cm_fail(detail, CM_ERR_MALFORMED,
                             "check-version needs \"%s\" alone", d->if_version);
    if (absent + version + (name->condition != CONDITION_NONE) > 1)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "\"if_absent\", \"if_version\" and an index exclude "
                       "each other");
    if ((absent || version) && name->verb != LOCAL_WRITE)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "%s takes no condition; add a check before it",
                       name->name);
    if (absent)
        op->condition = CONDITION_ABSENT;
    if (version)
        op->condition = CONDITION_VERSION;
    return 0;
}

/* An index carries the tag of the replica that gave it out. */
static int read_index(json_t *object, const struct dialect *d,
                      const struct op_name *name, uint64_t tag,
                      struct local_op *op, struct cm_detail *detail)
{
    uint64_t index = UINT64_MAX;
    uint64_t mask = (UINT64_C(1) << HTTP_INDEX_TAG_BITS) - 1;
    bool wanted = (name->needs & NEEDS_INDEX) != 0;
    int error = http_json_get_u64(object, d->index, &index, detail);

    if (error != 0)
        return error;
    if (!wanted)
        return index == UINT64_MAX || (index == 0 && d->value[0] == '\0')
                   ? 0
                   : cm_fail(detail, CM_ERR_MALFORMED, "%s takes no \"%s\"",
                             name->name, d->index);
    if (index == UINT64_MAX)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "%s needs \"%s\"; take a ModifyIndex", name->name,
                       d->index);
    op->revision =
        (index & mask) == tag ? index >> HTTP_INDEX_TAG_BITS : UINT64_MAX;
    if (index == 0)
        op->revision = name->verb == LOCAL_CHECK ? UINT64_MAX : 0;
    return 0;
}

static int read_expiry(json_t *object, const struct dialect *d,
                       struct local_op *op, struct cm_detail *detail)
{
    struct slice ttl = {0};
    struct slice expires = {0};
    int error = http_json_get_text(object, d->ttl, &ttl, detail);

    if (error == 0)
        error = http_json_get_text(object, d->expires, &expires, detail);
    if (error != 0)
        return error;
    return http_expiry((const char *)ttl.data, (const char *)expires.data,
                       &op->expires, detail);
}

/* keep, and if_siblings into memory. */
static int read_resolve(json_t *object, const struct dialect *d,
                        struct local_op *op, struct buffer *memory,
                        struct cm_detail *detail)
{
    json_t *list = json_object_get(object, d->if_siblings);
    bool keep = false;
    int error = read_version(object, d->keep, &op->version, &keep, detail);

    if (error != 0)
        return error;
    if ((op->verb == LOCAL_RESOLVE) != keep ||
        (list != NULL && (op->verb != LOCAL_RESOLVE || !json_is_array(list))))
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "\"keep\" and the array \"if_siblings\" belong to "
                       "resolve, which needs the former");
    if (list == NULL)
        return 0;
    buffer_clear(memory);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        struct dot dot;

        if (text == NULL || dot_parse(&dot, text) != 0)
            return cm_fail(detail, CM_ERR_MALFORMED,
                           "\"if_siblings\" must be an array of "
                           "INCARNATION:SEQ");
        intent_pack_dots(memory, &dot, 1);
    }
    op->seen = buffer_slice(memory);
    return memory->error;
}

static int check_shape(const struct op_name *name, const struct local_op *op,
                       struct cm_detail *detail)
{
    if (op->key.size == 0 && (name->needs & TAKES_TREE) == 0)
        return cm_fail(detail, CM_ERR_MALFORMED, "the key is missing");
    if (op->element.size > 0 && (name->needs & NEEDS_ELEMENT) == 0 &&
        name->verb != LOCAL_RESOLVE)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "\"element\" belongs to set operations only");
    return 0;
}

/* Why something is revoked. */
static int read_reason(json_t *object, const struct dialect *d,
                       struct local_op *op, struct cm_detail *detail)
{
    struct slice reason = {0};
    int error = 0;

    if (d->reason[0] == '\0')
        return 0;
    error = http_json_get_text(object, d->reason, &reason, detail);
    if (error != 0 || reason.data == NULL)
        return error;
    if (op->kind != OP_REVOKE && op->kind != OP_SET_REVOKE)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "\"reason\" belongs to revoke and set-revoke only");
    op->value = reason;
    return op_check_reason(reason, detail);
}

struct reading {
    const struct dialect *dialect;
    uint64_t tag;
    struct buffer memory;
    struct buffer seen;
};

static int read_op(json_t *object, struct reading *r, struct local_op *op,
                   struct cm_detail *detail)
{
    const struct dialect *d = r->dialect;
    const struct op_name *name = NULL;
    int error;

    *op = (struct local_op){.verb = LOCAL_WRITE};
    if (!json_is_object(object))
        return cm_fail(detail, CM_ERR_MALFORMED, "it must be an object");
    error = http_json_only(object, d->members, "it", detail);
    if (error == 0)
        error = read_name(object, d, &name, detail);
    if (error != 0)
        return error;
    op->verb = name->verb;
    op->kind = name->kind;
    error = http_json_get_text(object, d->key, &op->key, detail);
    if (error == 0)
        error = http_json_get_text(object, d->element, &op->element, detail);
    if (error == 0)
        error = http_json_get_u64(object, d->flags, &op->flags, detail);
    if (error == 0 && name->kind != OP_PUT && d->value[0] == '\0')
        op->flags = 0; /* clients of Consul's dialect always send them */
    if (error == 0)
        error = read_value(object, d, name, op, &r->memory, detail);
    if (error == 0)
        error = read_condition(object, d, name, op, detail);
    if (error == 0)
        error = read_index(object, d, name, r->tag, op, detail);
    if (error == 0)
        error = read_expiry(object, d, op, detail);
    if (error == 0)
        error = read_resolve(object, d, op, &r->seen, detail);
    if (error == 0)
        error = read_reason(object, d, op, detail);
    if (error == 0 && name->verb == LOCAL_RESOLVE && op->element.size > 0)
        op->kind = OP_SET_ADD; /* the space; the sibling tells the rest */
    return error != 0 ? error : check_shape(name, op, detail);
}

/* [{"KV":{…}}…] */
static json_t *unwrap(json_t *item)
{
    json_t *kv = json_object_get(item, "KV");

    return json_object_size(item) == 1 ? kv : NULL;
}

static int read_ops(json_t *ops, struct intent *intent, struct reading *r,
                    struct cm_detail *detail, size_t *ret_failed)
{
    bool consul = r->dialect == &consul_dialect;
    struct cm_detail inner = {{0}};
    struct local_op op;
    int error = 0;
    size_t i = 0;

    if (!json_is_array(ops) || json_array_size(ops) == 0)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "\"ops\" must be an array of at least one operation");
    if (json_array_size(ops) > EVENT_OPS_MAX)
        return cm_fail(detail, CM_ERR_LIMIT,
                       "a transaction of more than %d operations; split it up",
                       EVENT_OPS_MAX);
    for (i = 0; i < json_array_size(ops) && error == 0; i++) {
        json_t *item = json_array_get(ops, i);

        if (consul)
            item = unwrap(item);
        if (item == NULL)
            error =
                cm_fail(&inner, CM_ERR_MALFORMED,
                        "it must be {\"KV\":{…}}; there is nothing but keys "
                        "and values here");
        else
            error = read_op(item, r, &op, &inner);
        if (error == 0)
            error = intent_add_op(intent, &op);
    }
    if (error == 0)
        return 0;
    CHECK(i > 0);
    *ret_failed = i - 1;
    return cm_fail(detail, error, "operation %zu: %s", i - 1,
                   inner.text[0] != '\0' ? inner.text : cm_strerror(error));
}

static int read_author(json_t *body, struct intent *intent,
                       struct cm_detail *detail)
{
    static const char *const members[] = {"ops", "author", NULL};
    struct slice author = {0};
    int error = http_json_only(body, members, "the body", detail);

    if (error == 0)
        error = http_json_get_text(body, "author", &author, detail);
    if (error != 0)
        return error;
    if (author.size > AUTHOR_SIZE_MAX)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "\"author\" is over %d bytes; shorten it",
                       AUTHOR_SIZE_MAX);
    return author.data != NULL ? intent_set_author(intent, author) : 0;
}

int http_txn_read(struct intent *intent, json_t *body, uint64_t tag,
                  struct cm_detail *detail, size_t *ret_failed)
{
    bool consul = json_is_array(body);
    struct reading r = {
        .dialect = consul ? &consul_dialect : &own_dialect,
        .tag = tag,
    };
    json_t *ops = consul ? body : json_object_get(body, "ops");
    int error = consul ? 0 : read_author(body, intent, detail);

    intent->detailed = true;
    buffer_init(&r.memory, INTENT_MEMORY_MAX);
    buffer_init(&r.seen, INTENT_MEMORY_MAX);
    if (error == 0)
        error = read_ops(ops, intent, &r, detail, ret_failed);
    buffer_release(&r.memory);
    buffer_release(&r.seen);
    return error;
}
