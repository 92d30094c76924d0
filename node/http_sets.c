/* GET /v1/mesh/sets?prefix=P: every element of every set below a prefix, and
 * which keys and elements are revoked: what /v1/kv?recurse does not tell of a
 * state that is to be compared with another one. */
#include "crdt/base/check.h"
#include "node/http_handlers.h"
#include "node/http_json.h"

struct walk {
    struct buffer out;
    hlc_t now;
    bool revoked; /* those only, else what is present */
    size_t count;
};

static void put_item(struct walk *w, const struct entry_id *id)
{
    struct buffer *out = &w->out;

    if (w->count++ > 0)
        buffer_append_byte(out, ',');
    buffer_append_string(out, "{\"key\":");
    http_json_string(out, id->key);
    if (id->space == SPACE_SET) {
        buffer_append_string(out, ",\"element\":");
        http_json_string(out, id->element);
    }
    buffer_append_byte(out, '}');
}

static int walk_space(struct walk *w, struct store_reader *reader,
                      enum space space, struct slice prefix)
{
    const struct store_item *item;
    struct store_cursor *cursor;
    int error = store_cursor_open(reader, space, prefix, false, NULL, &cursor);

    if (error != 0)
        return error;
    while ((error = store_cursor_next(cursor, &item)) == 0 &&
           w->out.error == 0) {
        struct resolution shown = entry_resolve(&item->entry, w->now);

        if (w->revoked ? shown.revoke != NULL : shown.present)
            put_item(w, &item->id);
    }
    store_cursor_close(cursor);
    return error == CM_ERR_NOT_FOUND || error == 0 ? w->out.error : error;
}

static int put_all(struct walk *w, struct store_reader *reader,
                   struct slice prefix)
{
    int error;

    buffer_append_string(&w->out, "{\"elements\":[");
    error = walk_space(w, reader, SPACE_SET, prefix);
    buffer_append_string(&w->out, "],\"revoked\":[");
    w->revoked = true;
    w->count = 0;
    if (error == 0)
        error = walk_space(w, reader, SPACE_REGISTER, prefix);
    if (error == 0)
        error = walk_space(w, reader, SPACE_SET, prefix);
    buffer_append_string(&w->out, "],\"revision\":");
    http_json_u64(&w->out, store_revision(reader));
    buffer_append_string(&w->out, "}\n");
    return error != 0 ? error : w->out.error;
}

void http_sets(struct http_request *r)
{
    static const char *const known[] = {"prefix", NULL};
    struct walk w = {.now = http_context_now()};
    const char *prefix = http_query_value(&r->query, "prefix");
    struct store_reader *reader;
    int error = CM_ERR_IO;

    if (r->method != HTTP_GET) {
        http_refuse(r, 405, CM_ERR_INVALID, "this can only be read; use GET");
        return;
    }
    if (!http_only_parameters(r, known))
        return;
    reader = http_context_reader(r->context);
    buffer_init(&w.out, HTTP_ANSWER_SIZE_MAX);
    if (reader != NULL)
        error =
            put_all(&w, reader, slice_of_string(prefix != NULL ? prefix : ""));
    if (error != 0)
        http_refuse_code(r, error, NULL);
    else
        http_answer_buffer(r, 200, HTTP_TYPE_JSON, &w.out);
    buffer_release(&w.out);
}
