/* POST /v1/mesh/merge: snapshots joined into this node (merge.h).
 *
 * {"targets": [{"url": URL, "name": MANIFEST or null}...], "keys": [{"id": hex,
 * "key": hex}...], "yes": bool, "dry_run": bool}. What became of it is answered
 * with 200, and an exit code as the restore tool's. */
#include <sodium.h>
#include <string.h>

#include "crdt/base/check.h"
#include "node/http_handlers.h"
#include "node/http_json.h"
#include "node/http_pending.h"
#include "node/merge.h"
#include "node/snapshot_listing.h"

#define ANSWER_SIZE_MAX (64u << 10)

/* ---- the request ---- */

static int read_targets(const json_t *list, struct merge_request *q,
                        struct cm_detail *detail)
{
    static const char *const members[] = {"url", "name", NULL};
    size_t count = json_array_size(list);
    size_t i;
    int error = 0;

    if (!json_is_array(list) || count == 0 || count > MERGE_TARGETS_MAX)
        return cm_fail(detail, CM_ERR_INVALID,
                       "\"targets\" must be an array of 1 to %d",
                       MERGE_TARGETS_MAX);
    for (i = 0; i < count && error == 0; i++) {
        json_t *o = json_array_get(list, i);
        struct slice url = {0};
        struct slice name = {0};

        if (!json_is_object(o))
            return cm_fail(detail, CM_ERR_INVALID,
                           "a target must be an object");
        error = http_json_only(o, members, "a target", detail);
        if (error == 0)
            error = http_json_get_text(o, "url", &url, detail);
        if (error == 0)
            error = http_json_get_text(o, "name", &name, detail);
        if (error == 0 && url.size == 0)
            error = cm_fail(detail, CM_ERR_INVALID, "a target needs \"url\"");
        /* jansson's strings end in a NUL and contain none. */
        q->targets[i] = (struct merge_target){.url = (const char *)url.data,
                                              .name = (const char *)name.data};
        q->targets_count = i + 1;
    }
    return error;
}

static int read_keys(const json_t *list, struct merge_request *q,
                     struct cm_detail *detail)
{
    size_t count = json_array_size(list);
    size_t i;

    if (list == NULL)
        return 0;
    if (!json_is_array(list) || count > MERGE_KEYS_MAX)
        return cm_fail(detail, CM_ERR_INVALID,
                       "\"keys\" must be an array of at most %d",
                       MERGE_KEYS_MAX);
    for (i = 0; i < count; i++) {
        const json_t *o = json_array_get(list, i);
        const char *id = json_string_value(json_object_get(o, "id"));
        const char *key = json_string_value(json_object_get(o, "key"));

        if (id == NULL || key == NULL ||
            hex_decode(q->keys[i].id, sizeof q->keys[i].id, id) != 0 ||
            hex_decode(q->keys[i].key, sizeof q->keys[i].key, key) != 0)
            return cm_fail(detail, CM_ERR_INVALID,
                           "a key must have \"id\" (32 hex digits) and "
                           "\"key\" (64)");
    }
    q->keys_count = count;
    return 0;
}

static int read_request(json_t *o, struct merge_request *q,
                        struct cm_detail *detail)
{
    int error = read_targets(json_object_get(o, "targets"), q, detail);

    if (error == 0)
        error = read_keys(json_object_get(o, "keys"), q, detail);
    if (error == 0)
        error = http_json_get_bool(o, "yes", &q->yes, detail);
    if (error == 0)
        error = http_json_get_bool(o, "dry_run", &q->dry_run, detail);
    return error;
}

/* ---- the answer ---- */

static void number(struct buffer *out, const char *name, uint64_t v)
{
    if (out->data[out->size - 1] != '{')
        buffer_append_byte(out, ',');
    http_json_text(out, name);
    buffer_append_byte(out, ':');
    http_json_u64(out, v);
}

static void on_merge(void *ctx, const struct merge_report *m)
{
    struct http_request *r = http_pending_finish(ctx);
    struct buffer out;

    if (r == NULL)
        return;
    buffer_init(&out, ANSWER_SIZE_MAX);
    buffer_append_byte(&out, '{');
    number(&out, "exit", (uint64_t)m->exit);
    number(&out, "found", m->found);
    number(&out, "joined", m->joined);
    number(&out, "retained", m->retained);
    number(&out, "covered", m->covered);
    number(&out, "damaged", m->damaged);
    number(&out, "lost", m->lost);
    number(&out, "passed_over", m->passed);
    number(&out, "deltas", m->deltas);
    number(&out, "entries", m->entries);
    number(&out, "removed", m->removed);
    number(&out, "new_writes", m->kept);
    number(&out, "parked", m->parked);
    buffer_append_string(&out, ",\"error\":");
    http_json_text(&out, m->error);
    buffer_append_string(&out, ",\"text\":");
    http_json_text(&out, m->text);
    buffer_append_string(&out, "}\n");
    if (out.error != 0)
        http_refuse_code(r, out.error, NULL);
    else
        http_answer(r, 200, HTTP_TYPE_JSON, buffer_slice(&out));
    buffer_release(&out);
    http_pending_wake(r);
}

void http_merge(struct http_request *r)
{
    static const char *const members[] = {"targets", "keys", "yes", "dry_run",
                                          NULL};
    struct merge_request q = {.targets_count = 0};
    struct cm_detail detail = {{0}};
    struct http_pending *p = NULL;
    json_t *object = NULL;
    int error;

    if (!http_only_order(r))
        return;
    error = http_json_parse(&object, buffer_slice(&r->body), members, &detail);
    if (error == 0)
        error = read_request(object, &q, &detail);
    if (error == 0) {
        p = http_pending_new(r);
        if (p != NULL)
            error = node_merge(r->context->node, &q, on_merge, p, &detail);
    }
    if (error != 0) {
        if (p != NULL)
            (void)http_pending_finish(p);
        http_refuse_code(r, error, detail.text);
    } else if (p != NULL) {
        http_pending_park(r);
    }
    sodium_memzero(&q, sizeof q);
    json_decref(object);
}
