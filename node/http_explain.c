/* /v1/mesh/conflicts, /v1/mesh/explain, /v1/mesh/resolve: what became of
 * concurrent writes, and deciding otherwise.
 *
 * The list of conflicts is read from its index. A key's story is gathered from
 * the store (siblings), the writer (events that wait for something) and the
 * members (who has committed the winner), one after the other. */
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/args.h"
#include "node/http_handlers.h"
#include "node/http_json.h"
#include "node/http_pending.h"
#include "node/http_wait.h"
#include "node/store_index.h"

#define CONFLICTS_DEFAULT 1000
#define CONFLICTS_MAX 10000
#define CONFLICTS_SIZE_MAX (64u << 20)
#define CONFLICT_VALUE_MAX 1024 /* bytes of a value that the list shows */
#define EXPLAIN_ASK_MS 1000     /* how long members are waited for */
#define CURSOR_SIZE_MAX (2 * (KEY_SIZE_MAX + 2) + 1)
#define MEMBERS_TEXT_MAX (4u << 20)

static void append(struct buffer *out, const char *text)
{
    buffer_append_string(out, text);
}

static void put_id(struct buffer *out, const struct entry_id *id)
{
    append(out, "\"key\":");
    http_json_string(out, id->key);
    if (id->space == SPACE_SET) {
        append(out, ",\"element\":");
        http_json_string(out, id->element);
    }
}

static void put_siblings(struct buffer *out, struct http_request *r,
                         const struct entry *e, const struct resolution *found,
                         size_t value_max)
{
    append(out, ",\"present\":");
    http_json_bool(out, found->present);
    append(out, ",\"siblings\":[");
    for (size_t i = 0; i < e->count; i++) {
        if (i > 0)
            buffer_append_byte(out, ',');
        http_put_sibling(out, r, &e->siblings[i],
                         &e->siblings[i] == found->winner, value_max);
    }
    buffer_append_byte(out, ']');
}

/* ---- conflicts ---- */

struct conflict_walk {
    struct http_request *request;
    struct store_reader *reader;
    struct buffer out;
    hlc_t now;
    size_t count;
    size_t limit;
    char next[CURSOR_SIZE_MAX]; /* of the last one told */
};

/* Where to go on: space, key, 0, element in hex. */
static void cursor_write(char ret_text[CURSOR_SIZE_MAX],
                         const struct entry_id *id)
{
    uint8_t bytes[KEY_SIZE_MAX + 2];
    size_t size = 0;

    bytes[size++] = (uint8_t)id->space;
    memcpy(bytes + size, id->key.data, id->key.size);
    size += id->key.size;
    bytes[size++] = 0;
    if (id->element.size > 0)
        memcpy(bytes + size, id->element.data, id->element.size);
    hex_encode(ret_text, slice_of(bytes, size + id->element.size));
}

/* ret_id points into bytes. */
static int cursor_read(struct entry_id *ret_id, uint8_t bytes[KEY_SIZE_MAX + 2],
                       const char *text)
{
    size_t size = strlen(text) / 2;
    const uint8_t *end;

    if (size < 3 || size > KEY_SIZE_MAX + 2 ||
        hex_decode(bytes, size, text) != 0 ||
        (bytes[0] != SPACE_REGISTER && bytes[0] != SPACE_SET))
        return CM_ERR_MALFORMED;
    end = memchr(bytes + 1, 0, size - 1);
    if (end == NULL || end == bytes + 1)
        return CM_ERR_MALFORMED;
    *ret_id = (struct entry_id){
        .space = (enum space)bytes[0],
        .key = slice_of(bytes + 1, (size_t)(end - bytes) - 1),
        .element = slice_of(end + 1, size - (size_t)(end - bytes) - 1),
    };
    return 0;
}

static int on_conflict(void *context, const struct entry_id *id)
{
    struct conflict_walk *w = context;
    struct entry *e = &w->request->context->entry;
    struct resolution found;
    int error;

    if (w->count == w->limit)
        return CM_ERR_LIMIT;
    error = store_get(w->reader, id, e, NULL);
    if (error == CM_ERR_NOT_FOUND)
        return 0;
    if (error != 0)
        return error;
    found = entry_resolve(e, w->now);
    buffer_append_byte(&w->out, w->count++ > 0 ? ',' : '[');
    buffer_append_byte(&w->out, '{');
    put_id(&w->out, id);
    put_siblings(&w->out, w->request, e, &found, CONFLICT_VALUE_MAX);
    buffer_append_byte(&w->out, '}');
    cursor_write(w->next, id);
    return w->out.error;
}

static void walk_conflicts(struct conflict_walk *w, struct slice prefix,
                           const struct entry_id *after)
{
    static const enum space spaces[] = {SPACE_REGISTER, SPACE_SET};
    int error = 0;

    append(&w->out, "{\"conflicts\":");
    for (size_t i = 0; i < 2 && error == 0; i++) {
        if (after == NULL || after->space <= spaces[i])
            error = index_conflicts(w->reader, spaces[i], prefix, after,
                                    on_conflict, w);
    }
    append(&w->out, w->count > 0 ? "]" : "[]");
    if (error == CM_ERR_LIMIT) {
        append(&w->out, ",\"next\":");
        http_json_text(&w->out, w->next);
        error = 0;
    }
    append(&w->out, ",\"revision\":");
    http_json_u64(&w->out, store_revision(w->reader));
    append(&w->out, "}\n");
    if (error == 0)
        error = w->out.error;
    if (error != 0)
        http_refuse_code(w->request, error, NULL);
    else
        http_answer_buffer(w->request, 200, HTTP_TYPE_JSON, &w->out);
}

static bool read_limit(struct http_request *r, size_t *ret_limit)
{
    const char *text = http_query_value(&r->query, "limit");
    uint64_t limit = CONFLICTS_DEFAULT;

    if (text != NULL && (http_parse_u64(text, &limit) != 0 || limit < 1 ||
                         limit > CONFLICTS_MAX)) {
        http_refuse(r, 400, CM_ERR_INVALID,
                    "limit must be a number from 1 to %d", CONFLICTS_MAX);
        return false;
    }
    *ret_limit = (size_t)limit;
    return true;
}

void http_conflicts(struct http_request *r)
{
    static const char *const known[] = {"prefix", "limit", "from",
                                        HTTP_WAIT_PARAMETERS, NULL};
    const char *prefix = http_query_value(&r->query, "prefix");
    const char *from = http_query_value(&r->query, "from");
    uint8_t bytes[KEY_SIZE_MAX + 2];
    struct entry_id after;
    struct conflict_walk w = {.request = r};

    if (!http_only_get(r))
        return;
    if (!http_only_parameters(r, known) || !read_limit(r, &w.limit))
        return;
    if (from != NULL && cursor_read(&after, bytes, from) != 0) {
        http_refuse(r, 400, CM_ERR_INVALID,
                    "from is not the \"next\" of an answer; leave it out to "
                    "begin anew");
        return;
    }
    if (!http_wait_after(r, http_conflicts))
        return;
    w.reader = http_context_reader(r->context);
    if (w.reader == NULL) {
        http_refuse_code(r, CM_ERR_IO, NULL);
        return;
    }
    w.now = http_context_now();
    buffer_init(&w.out, CONFLICTS_SIZE_MAX);
    walk_conflicts(&w, slice_of_string(prefix != NULL ? prefix : ""),
                   from != NULL ? &after : NULL);
    buffer_release(&w.out);
}

/* ---- explain ---- */

struct explanation {
    uint8_t key[KEY_SIZE_MAX];
    uint8_t element[KEY_SIZE_MAX];
    struct entry_id id; /* into these */
    uint64_t ask_ms;
    struct buffer pending; /* what the writer knows, as JSON */
    struct buffer held;
    struct buffer members; /* what the members said, as JSON */
    bool asked;
};

static void explanation_free(void *job)
{
    struct explanation *x = job;

    buffer_release(&x->pending);
    buffer_release(&x->held);
    buffer_release(&x->members);
}

static const char *why_of(const struct entry *e, const struct resolution *found,
                          enum space space)
{
    const struct sibling *w = found->winner;

    if (e->count == 0)
        return "no write of it is known here";
    if (found->revoke != NULL)
        return "a revoke decides: it stays deleted until a write names the "
               "revoke; every concurrent write loses";
    if (found->expired)
        return "the winner has expired: absent; it does not bring back what it "
               "beat";
    if (w->kind == SIBLING_TOMBSTONE)
        return e->count == 1 ? "it was deleted; nothing concurrent is left"
                             : "the delete has the greatest clock of the "
                               "concurrent siblings";
    if (e->count == 1)
        return "the only sibling: it superseded everything before it";
    if (space == SPACE_SET)
        return "present, since an add is there and no revoke; of several adds "
               "the one that expires last counts";
    for (size_t i = 0; i < e->count; i++) {
        if (&e->siblings[i] != w && e->siblings[i].hlc == w->hlc)
            return "equal clocks: the greater incarnation decides";
    }
    return "the greatest clock of the concurrent siblings";
}

static void put_known_members(struct buffer *out, struct http_request *r,
                              const struct sibling *winner)
{
    const struct gossip *g = node_gossip(r->context->node);
    struct member_view m;
    bool first = true;

    buffer_append_byte(out, '[');
    for (size_t i = 0; g != NULL && i < gossip_member_total(g); i++) {
        const char *origin;

        gossip_member_at(g, i, &m);
        origin = winner != NULL
                     ? node_name_of(r->context->node, &winner->dot.incarnation)
                     : "";
        append(out, first ? "{\"name\":" : ",{\"name\":");
        first = false;
        http_json_text(out, m.name);
        append(out, ",\"has\":");
        http_json_text(out, m.digest_equal || strcmp(origin, m.name) == 0
                                ? "yes"
                                : "unknown");
        append(out, ",\"in_sync\":");
        http_json_bool(out, m.digest_equal);
        buffer_append_byte(out, '}');
    }
    buffer_append_byte(out, ']');
}

static void explain_answer(struct http_request *r)
{
    struct explanation *x = r->job;
    struct store_reader *reader = http_context_reader(r->context);
    struct entry *e = &r->context->entry;
    struct resolution found;
    struct buffer out;
    int error = reader == NULL ? CM_ERR_IO : store_get(reader, &x->id, e, NULL);

    if (error == CM_ERR_NOT_FOUND) {
        e->count = 0;
        error = 0;
    }
    buffer_init(&out, HTTP_ANSWER_SIZE_MAX);
    if (error == 0) {
        found = entry_resolve(e, http_context_now());
        buffer_append_byte(&out, '{');
        put_id(&out, &x->id);
        append(&out, ",\"revision\":");
        http_json_u64(&out, store_revision(reader));
        put_siblings(&out, r, e, &found, VALUE_SIZE_MAX);
        append(&out, ",\"why\":");
        http_json_text(&out, why_of(e, &found, x->id.space));
        append(&out, ",\"members\":");
        if (x->asked)
            buffer_append_slice(&out, buffer_slice(&x->members));
        else
            put_known_members(&out, r, found.winner);
        append(&out, ",\"pending\":[");
        buffer_append_slice(&out, buffer_slice(&x->pending));
        append(&out, "],\"held\":[");
        buffer_append_slice(&out, buffer_slice(&x->held));
        append(&out, "],\"parked\":[");
        error = http_put_parked(&out, reader, &x->id);
        append(&out, "]}\n");
        error = error != 0 ? error : out.error;
    }
    if (error != 0)
        http_refuse_code(r, error, NULL);
    else
        http_answer_buffer(r, 200, HTTP_TYPE_JSON, &out);
    buffer_release(&out);
    explanation_free(x);
}

static void on_members(void *ctx, const struct node_await_report *report)
{
    struct http_request *r = http_pending_finish(ctx);
    struct explanation *x;

    if (r == NULL)
        return;
    x = r->job;
    x->asked = true;
    buffer_append_byte(&x->members, '[');
    for (size_t i = 0; i < report->members_count; i++) {
        const struct node_await_member *m = &report->members[i];

        append(&x->members, i > 0 ? ",{\"name\":" : "{\"name\":");
        http_json_text(&x->members, m->name);
        append(&x->members, ",\"has\":");
        http_json_text(&x->members, m->confirmed ? "yes" : "unknown");
        append(&x->members, ",\"state\":");
        http_json_text(&x->members, m->state);
        buffer_append_byte(&x->members, '}');
    }
    buffer_append_byte(&x->members, ']');
    explain_answer(r);
    http_pending_wake(r);
}

/* Asks the members for the winner, if there is one and time for it. */
static void ask_members(struct http_request *r)
{
    struct explanation *x = r->job;
    struct store_reader *reader = http_context_reader(r->context);
    struct entry *e = &r->context->entry;
    struct node_quorum all = {.kind = QUORUM_ALL};
    struct resolution found = {.present = false};
    struct http_pending *p;

    if (reader != NULL && store_get(reader, &x->id, e, NULL) == 0)
        found = entry_resolve(e, http_context_now());
    if (x->ask_ms == 0 || found.winner == NULL) {
        explain_answer(r);
        return;
    }
    p = http_pending_new(r);
    if (p == NULL)
        return;
    if (node_await(r->context->node, &found.winner->dot, &all, x->ask_ms,
                   on_members, p) != 0) {
        (void)http_pending_finish(p);
        explain_answer(r);
    }
}

static void put_waiting(struct http_request *r, const struct intent *intent)
{
    struct explanation *x = r->job;
    struct intent_waiting w;
    size_t at = 0;

    while (intent_next_waiting(intent, &at, &w)) {
        struct buffer *out = w.held ? &x->held : &x->pending;

        append(out, out->size > 0 ? ",{\"version\":" : "{\"version\":");
        http_json_dot(out, &w.dot);
        append(out, ",\"node\":");
        http_json_text(out, node_name_of(r->context->node, &w.dot.incarnation));
        append(out, ",\"op\":");
        http_json_text(out, op_kind_name(w.kind));
        append(out, ",\"author\":");
        http_json_string(out, w.author);
        append(out, ",\"time_ms\":");
        http_json_u64(out, hlc_wall_ms(w.hlc));
        append(out, ",\"why\":");
        http_json_text(out, w.why);
        buffer_append_byte(out, '}');
    }
}

static void on_waiting(struct http_request *r, struct intent *intent)
{
    if (intent->result != 0) {
        http_refuse_code(r, intent->result, intent->detail.text);
        return;
    }
    put_waiting(r, intent);
    ask_members(r);
}

/* The key of the path and ?element=; false after having refused. */
static bool read_id(struct http_request *r, const char *path,
                    struct explanation *x)
{
    const char *element = http_query_value(&r->query, "element");

    x->id.space = element != NULL ? SPACE_SET : SPACE_REGISTER;
    if (!http_read_key(r, path, x->key, &x->id.key))
        return false;
    if (element == NULL)
        return true;
    if (*element == '\0' || strlen(element) + x->id.key.size > KEY_SIZE_MAX) {
        http_refuse(r, 400, CM_ERR_INVALID,
                    "element must have at least 1 byte, and at most %d "
                    "together with the key",
                    KEY_SIZE_MAX);
        return false;
    }
    memcpy(x->element, element, strlen(element));
    x->id.element = slice_of(x->element, strlen(element));
    return true;
}

static struct explanation *explanation_make(struct http_request *r)
{
    struct explanation *x = cm_calloc(1, sizeof(*x));
    const char *ask = http_query_value(&r->query, "ask");
    struct cm_detail detail = {{0}};

    if (x == NULL) {
        http_refuse_code(r, CM_ERR_NOMEM, NULL);
        return NULL;
    }
    CHECK(r->job == NULL);
    r->job = x;
    buffer_init(&x->pending, MEMBERS_TEXT_MAX);
    buffer_init(&x->held, MEMBERS_TEXT_MAX);
    buffer_init(&x->members, MEMBERS_TEXT_MAX);
    r->job_release = explanation_free;
    x->ask_ms = EXPLAIN_ASK_MS;
    if (ask == NULL)
        return x;
    if (args_duration_ms(&x->ask_ms, ask, "ask", &detail) == 0 &&
        x->ask_ms <= NODE_AWAIT_MS_MAX)
        return x;
    http_refuse(r, 400, CM_ERR_INVALID,
                "ask must be a duration of at most 10m");
    return NULL;
}

static void explain_submit(struct http_request *r, struct explanation *x)
{
    struct intent *intent = intent_new(INTENT_EXPLAIN);
    struct local_op op = {
        .kind = x->id.space == SPACE_SET ? OP_SET_ADD : OP_PUT,
        .key = x->id.key,
        .element = x->id.element,
    };
    int error = intent == NULL ? CM_ERR_NOMEM : intent_add_op(intent, &op);

    if (error != 0) {
        intent_free(intent);
        http_refuse_code(r, error, NULL);
        return;
    }
    http_submit_step(r, intent, on_waiting);
}

void http_explain(struct http_request *r)
{
    static const char *const known[] = {"element", "ask", HTTP_WAIT_PARAMETERS,
                                        NULL};
    struct explanation *x;

    if (!http_only_get(r))
        return;
    if (!http_only_parameters(r, known) || !http_wait_after(r, http_explain))
        return;
    x = explanation_make(r);
    if (x != NULL && read_id(r, "/v1/mesh/explain/", x))
        explain_submit(r, x);
}

/* ---- resolve ---- */

/* "DOT,DOT,…" into out. */
static int read_seen(struct buffer *out, const char *text)
{
    while (*text != '\0') {
        char one[DOT_TEXT_SIZE];
        size_t size = strcspn(text, ",");
        struct dot dot;

        if (size >= sizeof one)
            return CM_ERR_MALFORMED;
        memcpy(one, text, size);
        one[size] = '\0';
        if (dot_parse(&dot, one) != 0)
            return CM_ERR_MALFORMED;
        intent_pack_dots(out, &dot, 1);
        text += size + (text[size] == ',');
    }
    return out->error;
}

static void resolve_submit(struct http_request *r, const struct explanation *x,
                           struct slice seen)
{
    struct intent *intent;
    struct local_op op = {
        .verb = LOCAL_RESOLVE,
        .kind = x->id.space == SPACE_SET ? OP_SET_ADD : OP_PUT,
        .key = x->id.key,
        .element = x->id.element,
        .unrevoke = http_query_has(&r->query, "unrevoke"),
        .seen = seen,
    };
    const char *keep = http_query_value(&r->query, "keep");

    if (keep == NULL || dot_parse(&op.version, keep) != 0) {
        http_refuse(r, 400, CM_ERR_INVALID,
                    "keep=INCARNATION:SEQ names the sibling to be kept; take "
                    "its \"version\"");
        return;
    }
    intent = http_intent(r);
    if (intent != NULL && http_intent_add(r, intent, &op))
        http_submit(r, intent, http_written_json);
}

void http_resolve(struct http_request *r)
{
    static const char *const known[] = {
        "element", "keep", "if-siblings", "unrevoke", HTTP_WAIT_PARAMETERS,
        NULL};
    const char *seen = http_query_value(&r->query, "if-siblings");
    struct explanation x = {.ask_ms = 0};
    struct buffer dots;

    if (r->method != HTTP_POST) {
        http_refuse(r, 405, CM_ERR_INVALID, "resolving is a POST; use that");
        return;
    }
    if (!http_only_parameters(r, known) ||
        !read_id(r, "/v1/mesh/resolve/", &x) ||
        !http_wait_after(r, http_resolve))
        return;
    buffer_init(&dots, INTENT_MEMORY_MAX);
    if (seen != NULL && (*seen == '\0' || read_seen(&dots, seen) != 0))
        http_refuse(r, 400, CM_ERR_INVALID,
                    "if-siblings must be versions with commas between");
    else
        resolve_submit(r, &x, buffer_slice(&dots));
    buffer_release(&dots);
}
