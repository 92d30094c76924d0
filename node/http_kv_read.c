/* Reading in Consul's dialect. The answer for one key is written by hand into
 * memory that is kept, because this is what clients ask for most. */
#include "node/http_kv_read.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/http_handlers.h"
#include "node/http_json.h"

#define WAIT_DEFAULT_MS UINT64_C(300000)
#define WAIT_MAX_MS UINT64_C(600000)
#define WAIT_COMMITS_MAX 64 /* looked through before parking */

/* ---- one entry ---- */

struct tagged_reader {
    struct http_request *request;
    struct store_reader *reader;
};

static void append(struct buffer *out, const char *text)
{
    buffer_append_string(out, text);
}

static void put_item(struct buffer *out, struct tagged_reader *t,
                     struct slice key, const struct sibling *s,
                     const struct entry_local *local)
{
    struct http_context *c = t->request->context;

    append(out, "{\"LockIndex\":0,\"Key\":");
    http_json_string(out, key);
    append(out, ",\"Flags\":");
    http_json_u64(out, s->flags);
    append(out, ",\"Value\":");
    if (s->value.size > 0)
        http_json_base64(out, s->value);
    else
        append(out, "null");
    append(out, ",\"CreateIndex\":");
    http_json_u64(out,
                  http_context_index(c, t->reader, local->create_revision));
    append(out, ",\"ModifyIndex\":");
    http_json_u64(out,
                  http_context_index(c, t->reader, local->modify_revision));
    buffer_append_byte(out, '}');
}

void http_put_sibling(struct buffer *out, struct http_request *r,
                      const struct sibling *s, bool winner, size_t value_max)
{
    static const char *const kinds[] = {"",       "put", "tombstone",
                                        "revoke", "add", "member"};
    struct slice value;

    CHECK(s->kind >= SIBLING_PUT && s->kind <= SIBLING_MEMBER);
    append(out, "{\"kind\":\"");
    append(out, kinds[s->kind]);
    append(out, "\",\"version\":");
    http_json_dot(out, &s->dot);
    append(out, ",\"node\":");
    http_json_text(out, node_name_of(r->context->node, &s->dot.incarnation));
    append(out, ",\"author\":");
    http_json_string(out, s->author);
    append(out, ",\"time_ms\":");
    http_json_u64(out, hlc_wall_ms(s->hlc));
    append(out, ",\"clock\":");
    http_json_u64(out, hlc_counter(s->hlc));
    append(out, ",\"expires_ms\":");
    http_json_u64(out, s->expires != 0 ? hlc_wall_ms(s->expires) : 0);
    append(out, ",\"flags\":");
    http_json_u64(out, s->flags);
    if (s->kind == SIBLING_REVOKE) {
        append(out, ",\"reason\":");
        http_json_string(out, s->value);
    }
    value = s->kind == SIBLING_REVOKE ? slice_of(NULL, 0) : s->value;
    append(out, ",\"size\":");
    http_json_u64(out, value.size);
    append(out, ",\"value\":");
    if (value.size <= value_max)
        http_json_base64(out, value);
    else
        append(out, "null");
    append(out, ",\"winner\":");
    http_json_bool(out, winner);
    buffer_append_byte(out, '}');
}

/* Large siblings add up, so this answer has a buffer of its own. */
static void answer_siblings(struct http_request *r, struct store_reader *reader,
                            struct slice key, const struct entry *e,
                            const struct resolution *resolved)
{
    struct buffer out;

    buffer_init(&out, HTTP_ANSWER_SIZE_MAX);
    append(&out, "{\"key\":");
    http_json_string(&out, key);
    append(&out, ",\"revision\":");
    http_json_u64(&out, store_revision(reader));
    append(&out, ",\"present\":");
    http_json_bool(&out, resolved->present);
    append(&out, ",\"siblings\":[");
    for (size_t i = 0; i < e->count; i++) {
        if (i > 0)
            buffer_append_byte(&out, ',');
        http_put_sibling(&out, r, &e->siblings[i],
                         &e->siblings[i] == resolved->winner, VALUE_SIZE_MAX);
    }
    append(&out, "]}\n");
    if (out.error != 0) {
        http_refuse_code(r, out.error, NULL);
        buffer_release(&out);
        return;
    }
    http_answer_buffer(r, 200, HTTP_TYPE_JSON, &out);
}

static void answer_raw(struct http_request *r, struct slice value)
{
    http_answer(r, 200, "application/octet-stream", value);
    /* A stored page must not run as one of this origin's. */
    http_header(r, "Content-Security-Policy", "sandbox");
    http_header(r, "X-Content-Type-Options", "nosniff");
}

static void read_one(struct http_request *r, struct store_reader *reader,
                     struct slice key)
{
    struct http_context *c = r->context;
    struct tagged_reader t = {r, reader};
    struct entry_id id = {.space = SPACE_REGISTER, .key = key};
    struct entry_local local = {0};
    struct resolution resolved;
    struct buffer *out = &c->scratch;
    int error = store_get(reader, &id, &c->entry, &local);

    if (error == CM_ERR_NOT_FOUND) {
        http_answer(r, 404, NULL, slice_of("", 0));
        return;
    }
    if (error != 0) {
        http_refuse_code(r, error, NULL);
        return;
    }
    resolved = entry_resolve(&c->entry, http_context_now());
    if (http_query_has(&r->query, "siblings")) {
        answer_siblings(r, reader, key, &c->entry, &resolved);
    } else if (!resolved.present) {
        http_answer(r, 404, NULL, slice_of("", 0));
    } else if (http_query_has(&r->query, "raw")) {
        answer_raw(r, resolved.winner->value);
    } else {
        buffer_clear(out);
        buffer_append_byte(out, '[');
        put_item(out, &t, key, resolved.winner, &local);
        buffer_append_byte(out, ']');
        if (out->error != 0)
            http_refuse_code(r, out->error, NULL);
        else
            http_answer(r, 200, HTTP_TYPE_JSON, buffer_slice(out));
        if (out->capacity > HTTP_SCRATCH_KEPT)
            buffer_release(out);
    }
    if (resolved.winner != NULL)
        http_header_dot(r, "X-Confmesh-Version", &resolved.winner->dot);
    if (resolved.present && resolved.winner->expires != 0)
        http_header_u64(r, "X-Confmesh-Expires-Ms",
                        hlc_wall_ms(resolved.winner->expires));
}

/* ---- a tree ---- */

/* The name under which key is listed: up to the first separator behind the
 * prefix, that included. */
static struct slice folded(struct slice key, size_t prefix_size,
                           const char *separator)
{
    size_t size = strlen(separator);
    const uint8_t *found;

    CHECK(key.size >= prefix_size);
    if (size == 0)
        return key;
    found =
        memmem(key.data + prefix_size, key.size - prefix_size, separator, size);
    if (found == NULL)
        return key;
    return slice_of(key.data, (size_t)(found - key.data) + size);
}

struct tree_walk {
    struct tagged_reader t;
    struct slice prefix;
    const char *separator; /* NULL: whole entries */
    uint8_t last[KEY_SIZE_MAX];
    size_t last_size;
    size_t count;
};

static void tree_item(struct tree_walk *w, struct buffer *out,
                      const struct store_item *item, const struct sibling *s)
{
    struct slice name = item->id.key;

    if (w->separator != NULL) {
        name = folded(name, w->prefix.size, w->separator);
        /* Folded names of one directory follow each other. */
        if (w->count > 0 && slice_equal(name, slice_of(w->last, w->last_size)))
            return;
        memcpy(w->last, name.data, name.size);
        w->last_size = name.size;
    }
    buffer_append_byte(out, w->count == 0 ? '[' : ',');
    w->count++;
    if (w->separator != NULL)
        http_json_string(out, name);
    else
        put_item(out, &w->t, name, s, &item->local);
}

static int tree_walk(struct tree_walk *w, struct buffer *out)
{
    struct store_cursor *cursor;
    const struct store_item *item;
    struct resolution resolved;
    hlc_t now = http_context_now();
    int error = store_cursor_open(w->t.reader, SPACE_REGISTER, w->prefix, false,
                                  NULL, &cursor);

    if (error != 0)
        return error;
    while ((error = store_cursor_next(cursor, &item)) == 0) {
        CHECK(item->id.key.size <= KEY_SIZE_MAX);
        resolved = entry_resolve(&item->entry, now);
        if (!resolved.present)
            continue;
        tree_item(w, out, item, resolved.winner);
        if (out->error != 0)
            break;
    }
    store_cursor_close(cursor);
    if (error == CM_ERR_NOT_FOUND)
        error = 0;
    return error != 0 ? error : out->error;
}

static void read_tree(struct http_request *r, struct store_reader *reader,
                      struct slice prefix)
{
    struct tree_walk w = {.t = {r, reader}, .prefix = prefix};
    struct buffer out;
    int error;

    if (http_query_has(&r->query, "keys")) {
        w.separator = http_query_value(&r->query, "separator");
        if (w.separator == NULL)
            w.separator = "";
    }
    buffer_init(&out, HTTP_ANSWER_SIZE_MAX);
    error = tree_walk(&w, &out);
    if (error == 0 && w.count > 0) {
        buffer_append_byte(&out, ']');
        error = out.error;
    }
    if (error == CM_ERR_TOO_LARGE)
        http_refuse(r, 400, error,
                    "the answer is over %u bytes; ask for longer prefixes one "
                    "after the other",
                    HTTP_ANSWER_SIZE_MAX);
    else if (error != 0)
        http_refuse_code(r, error, NULL);
    else if (w.count == 0)
        http_answer(r, 404, NULL, slice_of("", 0));
    else
        http_answer_buffer(r, 200, HTTP_TYPE_JSON, &out);
    buffer_release(&out);
}

/* ---- waiting ---- */

struct touch {
    struct slice key;
    bool tree;
};

static int touch_visit(void *context, const struct change *change)
{
    const struct touch *t = context;

    if (change->id.space != SPACE_REGISTER)
        return 0;
    if (t->tree ? slice_starts_with(change->id.key, t->key)
                : slice_equal(change->id.key, t->key))
        return CM_ERR_EXISTS;
    return 0;
}

/* Could anything under key have changed after the revision? Yes, if in doubt.
 */
static bool touched_since(struct store_reader *reader, uint64_t revision,
                          struct slice key, bool tree)
{
    struct touch t = {key, tree};
    uint64_t at = revision;
    int error;

    for (unsigned i = 0; i < WAIT_COMMITS_MAX; i++) {
        error = store_changes(reader, at, &at, touch_visit, &t);
        if (error != 0)
            return error != CM_ERR_NOT_FOUND;
    }
    return true;
}

static void on_wake(struct http_waiter *w, enum http_wake why)
{
    struct http_request *r =
        (struct http_request *)((char *)w -
                                offsetof(struct http_request, waiter));

    (void)why;
    r->woken = true;
    http_request_wake(r);
}

static bool wait_refused(struct http_request *r, const char *why)
{
    http_refuse(r, 400, CM_ERR_INVALID, "%s", why);
    return true;
}

static bool wait_park(struct http_request *r, struct slice key, bool tree,
                      uint64_t wait_ms)
{
    struct http_block *b = &r->context->block;
    uint8_t *copy = cm_alloc(key.size);

    CHECK(r->wait_key.data == NULL && !r->waiter.waiting);
    if (copy == NULL) {
        http_refuse_code(r, CM_ERR_NOMEM, NULL);
        return true;
    }
    if (key.size > 0)
        memcpy(copy, key.data, key.size);
    r->wait_key = slice_of(copy, key.size);
    r->waiter = (struct http_waiter){
        .key = r->wait_key,
        .prefix = tree,
        .deadline_ms = uv_now(r->context->loop) + wait_ms,
        .wake = on_wake,
    };
    if (http_block_wait(b, &r->waiter) != 0) {
        http_refuse(r, 503, CM_ERR_BUSY,
                    "more than %d requests wait already; try again",
                    HTTP_WAITERS_MAX);
        return true;
    }
    r->again = http_kv;
    http_request_park(r, true);
    return true;
}

/* True if the request is parked or answered. */
static bool wait_for_change(struct http_request *r, struct store_reader *reader,
                            struct slice key, bool tree)
{
    const char *index_text = http_query_value(&r->query, "index");
    const char *wait_text = http_query_value(&r->query, "wait");
    uint64_t wait_ms = WAIT_DEFAULT_MS;
    uint64_t index = 0;
    uint64_t revision;

    if (r->woken)
        return false;
    if (index_text != NULL && http_parse_u64(index_text, &index) != 0)
        return wait_refused(r, "index is not a number; take X-Consul-Index");
    if (wait_text != NULL && http_parse_duration_ms(wait_text, &wait_ms) != 0)
        return wait_refused(r, "wait is no duration; write for example 10s");
    if (index == 0)
        return false;
    if (wait_ms == 0)
        wait_ms = WAIT_DEFAULT_MS;
    if (wait_ms > WAIT_MAX_MS)
        wait_ms = WAIT_MAX_MS;
    /* Many clients that started together must not come back together. */
    wait_ms += randombytes_uniform((uint32_t)(wait_ms / 16 + 1));
    revision = index >> HTTP_INDEX_TAG_BITS;
    if (index != http_context_index(r->context, reader, revision) ||
        revision > store_revision(reader))
        return false;
    if (revision < store_revision(reader) &&
        touched_since(reader, revision, key, tree))
        return false;
    return wait_park(r, key, tree, wait_ms);
}

void http_kv_read(struct http_request *r, struct slice key, bool tree)
{
    struct store_reader *reader = http_context_reader(r->context);

    CHECK(key.size > 0 || tree);
    r->context->counters.reads++;
    if (reader == NULL) {
        http_refuse_code(r, CM_ERR_IO, NULL);
        return;
    }
    if (r->query.count > 0 && wait_for_change(r, reader, key, tree))
        return;
    if (tree)
        read_tree(r, reader, key);
    else
        read_one(r, reader, key);
}
