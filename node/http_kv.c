/* /v1/kv: Consul's key-value dialect over this replica.
 *
 * Clients of that dialect exist in every language, and its contract already
 * says that an index belongs to one agent and may go back. The index is the
 * replica's revision with a tag of its incarnation: an index that another
 * replica (or an earlier life of this one) gave out is recognised, makes cas
 * false and a blocking query answer at once, so that no client goes deaf.
 *
 * Specification: https://developer.hashicorp.com/consul/api-docs/kv */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/http_handlers.h"
#include "node/http_json.h"
#include "node/http_kv_read.h"
#include "node/http_pending.h"
#include "node/http_wait.h"

#define DELETE_CHUNK_OPS 1000
#define DELETE_CHUNK_BYTES (256u << 10)

/* A misspelt condition that is passed over would overwrite what it was meant
 * to protect, so unknown parameters are refused. */
static const char *const kv_parameters[] = {"raw",
                                            "recurse",
                                            "keys",
                                            "separator",
                                            "index",
                                            "wait",
                                            "flags",
                                            "cas",
                                            "siblings",
                                            "if-version",
                                            "if-absent",
                                            "unrevoke",
                                            "ttl",
                                            "expires",
                                            HTTP_WAIT_PARAMETERS,
                                            HTTP_CONSUL_PARAMETERS,
                                            NULL};

/* ---- writing ---- */

static bool condition_refused(struct http_request *r, const char *what)
{
    http_refuse(r, 400, CM_ERR_INVALID, "%s", what);
    return false;
}

/* Reads cas, if-absent, if-version and unrevoke into op. False after having
 * answered: refused, or "false" because the index is another replica's. */
static bool read_condition(struct http_request *r, struct local_op *op)
{
    const char *cas = http_query_value(&r->query, "cas");
    const char *version = http_query_value(&r->query, "if-version");
    bool absent = http_query_has(&r->query, "if-absent");
    struct store_reader *reader;
    uint64_t index = 0;

    op->unrevoke = http_query_has(&r->query, "unrevoke");
    if ((cas != NULL) + (version != NULL) + absent > 1)
        return condition_refused(r, "cas, if-version and if-absent exclude "
                                    "each other; give one of them");
    if (absent)
        op->condition = CONDITION_ABSENT;
    if (version != NULL) {
        op->condition = CONDITION_VERSION;
        if (dot_parse(&op->version, version) != 0)
            return condition_refused(r, "if-version is not INCARNATION:SEQ; "
                                        "take it from X-Confmesh-Version");
    }
    if (cas == NULL)
        return true;
    if (http_parse_u64(cas, &index) != 0)
        return condition_refused(r, "cas is not a number; take ModifyIndex");
    if (index == 0 && op->kind == OP_PUT) {
        op->condition = CONDITION_ABSENT;
        return true;
    }
    reader = http_context_reader(r->context);
    if (reader == NULL) {
        http_refuse_code(r, CM_ERR_IO, NULL);
        return false;
    }
    /* Consul takes no action on a delete with index 0 either. */
    if (index == 0 ||
        index != http_context_index(r->context, reader,
                                    index >> HTTP_INDEX_TAG_BITS)) {
        http_answer(r, 200, HTTP_TYPE_JSON, slice_of_string("false"));
        return false;
    }
    op->condition = CONDITION_REVISION;
    op->revision = index >> HTTP_INDEX_TAG_BITS;
    return true;
}

/* "true" with the token; if what was to be waited for did not come, that. */
static void answer_true(struct http_request *r, const struct dot *dot)
{
    if (http_wait_error(r) != 0)
        http_refuse(r, http_wait_status(r), http_wait_error(r), "%s",
                    http_wait_text(r));
    else
        http_answer(r, 200, HTTP_TYPE_JSON, slice_of_string("true"));
    if (dot->seq > 0)
        http_header_dot(r, "X-Confmesh-Token", dot);
    http_wait_headers(r);
}

/* "true" with the token, "false", or why not. */
static void kv_written(struct http_request *r, struct intent *intent)
{
    char why[512];

    r->revision = intent->revision;
    if (intent->result == 0) {
        answer_true(r, &intent->dot);
    } else if (intent->result == CM_ERR_CONDITION) {
        http_answer(r, 200, HTTP_TYPE_JSON, slice_of_string("false"));
    } else if (intent->result == CM_ERR_REVOKED &&
               intent->failed_op < intent->ops_count) {
        const struct local_op *op = &intent->ops[intent->failed_op];
        struct entry_id id = {.space = SPACE_REGISTER, .key = op->key};

        http_describe_revoke(r, &id, why, sizeof(why));
        http_refuse(r, 403, CM_ERR_REVOKED, "%s", why);
    } else {
        http_refuse_code(r, intent->result, intent->detail.text);
    }
}

static void submit_one(struct http_request *r, const struct local_op *op)
{
    struct intent *intent = http_intent(r);

    if (intent != NULL && http_intent_add(r, intent, op))
        http_submit(r, intent, kv_written);
}

static void kv_put(struct http_request *r, struct slice key)
{
    const char *flags = http_query_value(&r->query, "flags");
    struct local_op op = {.kind = OP_PUT, .key = key};

    if (flags != NULL && http_parse_u64(flags, &op.flags) != 0) {
        http_refuse(r, 400, CM_ERR_INVALID,
                    "flags is not a number from 0 to 2^64-1; correct it");
        return;
    }
    op.value = buffer_slice(&r->body);
    if (http_read_expiry(r, &op.expires) && read_condition(r, &op))
        submit_one(r, &op);
}

/* ---- deleting a tree ---- */

/* Any number of keys goes in transactions of bounded size, one after the other;
 * the next starts after the last key of the one before. */
struct delete_tree {
    uint8_t prefix[KEY_SIZE_MAX];
    size_t prefix_size;
    uint8_t after[KEY_SIZE_MAX];
    size_t after_size;
    bool more;
    struct dot last;
    uint64_t revision;
};

static void delete_tree_next(struct http_request *r);

static void delete_tree_written(struct http_request *r, struct intent *intent)
{
    struct delete_tree *d = r->job;

    if (intent->result != 0) {
        kv_written(r, intent);
        return;
    }
    if (intent->dot.seq > 0)
        d->last = intent->dot;
    d->revision = intent->revision;
    delete_tree_next(r);
}

static int delete_tree_gather(struct http_request *r, struct delete_tree *d,
                              struct store_cursor *cursor,
                              struct intent *intent)
{
    const struct store_item *item;
    struct local_op op = {.kind = OP_DEL};
    hlc_t now = http_context_now();
    size_t bytes = 0;
    int error;

    d->more = true;
    while (intent->ops_count < DELETE_CHUNK_OPS && bytes < DELETE_CHUNK_BYTES) {
        error = store_cursor_next(cursor, &item);
        if (error == CM_ERR_NOT_FOUND)
            d->more = false;
        if (error != 0)
            return error == CM_ERR_NOT_FOUND ? 0 : error;
        CHECK(item->id.key.size <= KEY_SIZE_MAX);
        memcpy(d->after, item->id.key.data, item->id.key.size);
        d->after_size = item->id.key.size;
        if (!entry_resolve(&item->entry, now).present)
            continue;
        op.key = item->id.key;
        bytes += op.key.size + 40 * (item->entry.count + 1);
        error = intent_add_op(intent, &op);
        if (error != 0)
            return error;
    }
    CHECK(r->job == d);
    return 0;
}

static void delete_tree_finish(struct http_request *r)
{
    struct delete_tree *d = r->job;

    /* Own events are in order: who has the last has them all. */
    if (!http_wait_written(r, &d->last, delete_tree_finish))
        return;
    r->revision = d->revision;
    answer_true(r, &d->last);
}

static void delete_tree_next(struct http_request *r)
{
    struct delete_tree *d = r->job;
    struct store_reader *reader;
    struct store_cursor *cursor = NULL;
    struct entry_id after = {.space = SPACE_REGISTER};
    struct intent *intent;
    int error;

    if (!d->more) {
        delete_tree_finish(r);
        return;
    }
    intent = http_intent(r);
    if (intent == NULL)
        return;
    reader = http_context_reader(r->context);
    after.key = slice_of(d->after, d->after_size);
    error = reader == NULL
                ? CM_ERR_IO
                : store_cursor_open(reader, SPACE_REGISTER,
                                    slice_of(d->prefix, d->prefix_size), false,
                                    d->after_size > 0 ? &after : NULL, &cursor);
    if (error == 0) {
        error = delete_tree_gather(r, d, cursor, intent);
        store_cursor_close(cursor);
    }
    if (error != 0 || intent->ops_count == 0) {
        intent_free(intent);
        if (error != 0)
            http_refuse_code(r, error, NULL);
        else
            delete_tree_finish(r);
        return;
    }
    http_submit_step(r, intent, delete_tree_written);
}

static void kv_delete(struct http_request *r, struct slice key)
{
    struct local_op op = {.kind = OP_DEL, .key = key};
    struct delete_tree *d;

    if (!http_query_has(&r->query, "recurse")) {
        if (read_condition(r, &op))
            submit_one(r, &op);
        return;
    }
    if (http_query_has(&r->query, "cas")) {
        http_refuse(r, 400, CM_ERR_INVALID,
                    "cas and recurse exclude each other; give one of them");
        return;
    }
    CHECK(r->job == NULL && key.size <= KEY_SIZE_MAX);
    d = cm_calloc(1, sizeof(*d));
    if (d == NULL) {
        http_refuse_code(r, CM_ERR_NOMEM, NULL);
        return;
    }
    if (key.size > 0)
        memcpy(d->prefix, key.data, key.size);
    d->prefix_size = key.size;
    d->more = true;
    r->job = d;
    delete_tree_next(r);
}

/* ---- the entrance ---- */

void http_kv(struct http_request *r)
{
    static const struct slice root = {(const uint8_t *)"/v1/kv", 6};
    struct cm_detail detail = {{0}};
    uint8_t key[KEY_SIZE_MAX];
    struct slice raw = {r->path.data + root.size, r->path.size - root.size};
    size_t size = 0;
    bool tree;
    int error;

    CHECK(slice_starts_with(r->path, root));
    if (raw.size > 0)
        raw = slice_of(raw.data + 1, raw.size - 1); /* the slash */
    if (!http_consul_allowed(r) || !http_only_parameters(r, kv_parameters))
        return;
    error = http_decode(raw, "the key", key, sizeof(key), &size, &detail);
    if (error != 0) {
        http_refuse(r, 400, error, "%s", detail.text);
        return;
    }
    tree = http_query_has(&r->query, "recurse") ||
           (r->method == HTTP_GET && http_query_has(&r->query, "keys"));
    if (size == 0 && (!tree || r->method == HTTP_PUT)) {
        http_refuse(r, 400, CM_ERR_INVALID,
                    "the key is missing; write it after /v1/kv/");
        return;
    }
    if (!http_wait_after(r, http_kv))
        return;
    if (r->method == HTTP_GET)
        http_kv_read(r, slice_of(key, size), tree);
    else if (r->method == HTTP_PUT)
        kv_put(r, slice_of(key, size));
    else if (r->method == HTTP_DELETE)
        kv_delete(r, slice_of(key, size));
    else
        http_refuse(r, 405, CM_ERR_INVALID,
                    "this method is not known here; use GET, PUT or DELETE");
}
