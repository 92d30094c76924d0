/* libconfmesh: writing. A write is an intent handed to the loop, and from there
 * to the writer; the caller waits until its commit is on disk. */
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/confmesh_internal.h"
#include "node/confmesh_private.h"

_Static_assert(sizeof((struct confmesh_token *)0)->text >= DOT_TEXT_SIZE,
               "a token fits");

struct confmesh_txn {
    struct confmesh *c;
    struct intent *intent; /* NULL when memory was short */
    int error;             /* first failure while adding */
    const char *refusal;   /* what of it is wrong, and how to do it right */
};

/* One write under way; guarded by the instance's mutex. */
struct write {
    struct confmesh *c;
    struct intent *intent;
    bool done;
};

static void on_done(void *ctx, struct intent *i)
{
    struct write *w = ctx;

    CHECK(w->intent == i);
    uv_mutex_lock(&w->c->mutex);
    w->done = true;
    uv_cond_broadcast(&w->c->changed);
    uv_mutex_unlock(&w->c->mutex);
}

static int submit_on_loop(void *ctx)
{
    struct write *w = ctx;

    return node_submit(w->c->node, w->intent);
}

static int tell(const struct intent *i, struct confmesh_token *ret_token)
{
    if (i->result != 0)
        return confmesh_fail(i->result, "%s",
                             i->detail.text[0] != '\0'
                                 ? i->detail.text
                                 : cm_strerror(i->result));
    if (ret_token != NULL) {
        ret_token->text[0] = '\0';
        if (i->wrote)
            dot_format(ret_token->text, &i->dot);
    }
    return 0;
}

/* Takes the intent. */
static int run(struct confmesh *c, struct intent *i,
               struct confmesh_token *ret_token)
{
    struct write w = {.c = c, .intent = i};
    int error = confmesh_enter(c);

    i->done = on_done;
    i->context = &w;
    if (error == 0) {
        error = confmesh_on_loop(c, submit_on_loop, &w);
        uv_mutex_lock(&c->mutex);
        while (error == 0 && !w.done)
            uv_cond_wait(&c->changed, &c->mutex);
        uv_mutex_unlock(&c->mutex);
        confmesh_leave(c);
    }
    if (error != 0) {
        intent_free(i);
        return confmesh_fail(error, "the write was not taken: %s",
                             cm_strerror(error));
    }
    error = tell(i, ret_token);
    intent_free(i);
    return error;
}

int confmesh_txn_begin(struct confmesh *c, struct confmesh_txn **ret_txn)
{
    struct confmesh_txn *t = cm_calloc(1, sizeof *t);

    if (t == NULL)
        return confmesh_fail(CM_ERR_NOMEM, "out of memory");
    t->c = c;
    t->intent = intent_new(INTENT_LOCAL);
    if (t->intent == NULL) {
        cm_free(t);
        return confmesh_fail(CM_ERR_NOMEM, "out of memory");
    }
    *ret_txn = t;
    return 0;
}

void confmesh_txn_abort(struct confmesh_txn *t)
{
    if (t == NULL)
        return;
    intent_free(t->intent);
    cm_free(t);
}

/* The first refusal is the one that is told. */
static void refuse(struct confmesh_txn *t, int error, const char *refusal)
{
    if (t->error != 0 || error == 0)
        return;
    t->error = error;
    t->refusal = refusal;
}

static void add(struct confmesh_txn *t, enum op_kind kind, const char *key,
                const char *element, struct slice value, uint64_t flags)
{
    struct local_op op = {
        .kind = kind,
        .key = slice_of_string(key),
        .element = element != NULL ? slice_of_string(element) : slice_of("", 0),
        .value = value,
        .flags = flags,
    };

    refuse(t, intent_add_op(t->intent, &op),
           "operations: 4096 and 4 MiB at most in one transaction; commit "
           "earlier");
}

void confmesh_txn_put(struct confmesh_txn *t, const char *key,
                      const void *value, size_t size, uint64_t flags)
{
    add(t, OP_PUT, key, NULL, slice_of(value, size), flags);
}

void confmesh_txn_del(struct confmesh_txn *t, const char *key)
{
    add(t, OP_DEL, key, NULL, slice_of("", 0), 0);
}

void confmesh_txn_revoke(struct confmesh_txn *t, const char *key)
{
    add(t, OP_REVOKE, key, NULL, slice_of("", 0), 0);
}

void confmesh_txn_set_add(struct confmesh_txn *t, const char *key,
                          const char *element)
{
    add(t, OP_SET_ADD, key, element, slice_of("", 0), 0);
}

void confmesh_txn_set_remove(struct confmesh_txn *t, const char *key,
                             const char *element)
{
    add(t, OP_SET_REMOVE, key, element, slice_of("", 0), 0);
}

void confmesh_txn_set_revoke(struct confmesh_txn *t, const char *key,
                             const char *element)
{
    add(t, OP_SET_REVOKE, key, element, slice_of("", 0), 0);
}

static struct local_op *last_op(struct confmesh_txn *t);

static void add_verb(struct confmesh_txn *t, enum local_verb verb,
                     const char *key)
{
    struct local_op *op;

    add(t, verb == LOCAL_DELETE_TREE ? OP_DEL : OP_PUT, key, NULL,
        slice_of("", 0), 0);
    op = last_op(t);
    if (op != NULL)
        op->verb = verb;
}

void confmesh_txn_del_tree(struct confmesh_txn *t, const char *prefix)
{
    add_verb(t, LOCAL_DELETE_TREE, prefix);
}

void confmesh_txn_check_absent(struct confmesh_txn *t, const char *key)
{
    add_verb(t, LOCAL_CHECK, key);
    confmesh_txn_if_absent(t);
}

void confmesh_txn_check_version(struct confmesh_txn *t, const char *key,
                                const char *token)
{
    add_verb(t, LOCAL_CHECK, key);
    confmesh_txn_if_version(t, token);
}

static struct local_op *last_op(struct confmesh_txn *t)
{
    if (t->intent->ops_count == 0)
        refuse(t, CM_ERR_INVALID,
               "condition: there is no operation yet that it could be for; "
               "add the operation first");
    return t->error == 0 ? &t->intent->ops[t->intent->ops_count - 1] : NULL;
}

void confmesh_txn_if_absent(struct confmesh_txn *t)
{
    struct local_op *op = last_op(t);

    if (op != NULL)
        op->condition = CONDITION_ABSENT;
}

void confmesh_txn_if_version(struct confmesh_txn *t, const char *token)
{
    struct local_op *op = last_op(t);

    if (op == NULL)
        return;
    op->condition = CONDITION_VERSION;
    refuse(t, dot_parse(&op->version, token),
           "version: not a token; give the text of the one that the write "
           "returned");
}

void confmesh_txn_expires_at(struct confmesh_txn *t, uint64_t unix_ms)
{
    struct local_op *op = last_op(t);

    if (op == NULL)
        return;
    if (unix_ms == 0 || unix_ms > HLC_WALL_MS_MAX / 2)
        t->error = CM_ERR_INVALID;
    else
        op->expires = hlc_make(unix_ms, 0);
}

void confmesh_txn_author(struct confmesh_txn *t, const char *author)
{
    refuse(t, intent_set_author(t->intent, slice_of_string(author)),
           "author: at most 64 bytes; shorten it");
}

int confmesh_txn_commit(struct confmesh_txn *t,
                        struct confmesh_token *ret_token)
{
    struct intent *i = t->intent;
    struct confmesh *c = t->c;
    int error = t->error;

    if (error != 0) {
        error = confmesh_fail(
            error, "%s", error == CM_ERR_NOMEM ? "out of memory" : t->refusal);
        confmesh_txn_abort(t);
        return error;
    }
    cm_free(t);
    return run(c, i, ret_token);
}

static int one(struct confmesh *c, enum op_kind kind, const char *key,
               const char *element, struct slice value,
               struct confmesh_token *ret_token)
{
    struct confmesh_txn *t;
    int error = confmesh_txn_begin(c, &t);

    if (error != 0)
        return error;
    add(t, kind, key, element, value, 0);
    return confmesh_txn_commit(t, ret_token);
}

int confmesh_put(struct confmesh *c, const char *key, const void *value,
                 size_t size, struct confmesh_token *ret_token)
{
    return one(c, OP_PUT, key, NULL, slice_of(value, size), ret_token);
}

int confmesh_del(struct confmesh *c, const char *key,
                 struct confmesh_token *ret_token)
{
    return one(c, OP_DEL, key, NULL, slice_of("", 0), ret_token);
}

int confmesh_revoke(struct confmesh *c, const char *key,
                    struct confmesh_token *ret_token)
{
    return one(c, OP_REVOKE, key, NULL, slice_of("", 0), ret_token);
}

int confmesh_set_add(struct confmesh *c, const char *key, const char *element,
                     struct confmesh_token *ret_token)
{
    return one(c, OP_SET_ADD, key, element, slice_of("", 0), ret_token);
}

int confmesh_set_remove(struct confmesh *c, const char *key,
                        const char *element, struct confmesh_token *ret_token)
{
    return one(c, OP_SET_REMOVE, key, element, slice_of("", 0), ret_token);
}

int confmesh_set_revoke(struct confmesh *c, const char *key,
                        const char *element, struct confmesh_token *ret_token)
{
    return one(c, OP_SET_REVOKE, key, element, slice_of("", 0), ret_token);
}

/* ---- tokens and snapshots ---- */

struct ask {
    struct confmesh *c;
    unsigned uses;
    uint64_t ttl_ms;
    const char *to;
    int error;
    char *text;
    size_t size;
    char detail[256];
    bool done;
};

static void answered(struct ask *a)
{
    uv_mutex_lock(&a->c->mutex);
    a->done = true;
    uv_cond_broadcast(&a->c->changed);
    uv_mutex_unlock(&a->c->mutex);
}

static int run_ask(struct confmesh *c, confmesh_task task, struct ask *a)
{
    int error = confmesh_enter(c);

    if (error != 0)
        return error;
    error = confmesh_on_loop(c, task, a);
    uv_mutex_lock(&c->mutex);
    while (error == 0 && !a->done)
        uv_cond_wait(&c->changed, &c->mutex);
    uv_mutex_unlock(&c->mutex);
    confmesh_leave(c);
    if (error != 0)
        return error;
    return a->error == 0 ? 0 : confmesh_fail(a->error, "%s", a->detail);
}

static void token_answered(void *ctx, int error, const char *token,
                           const char *detail)
{
    struct ask *a = ctx;

    a->error = error;
    if (error != 0)
        (void)snprintf(a->detail, sizeof a->detail, "%s", detail);
    else if (strlen(token) + 1 > a->size) {
        a->error = CM_ERR_TOO_LARGE;
        (void)snprintf(a->detail, sizeof a->detail,
                       "text: the token needs %zu bytes, there are %zu; give "
                       "at least 2048",
                       strlen(token) + 1, a->size);
    } else
        (void)snprintf(a->text, a->size, "%s", token);
    answered(a);
}

static int ask_token(void *ctx)
{
    struct ask *a = ctx;

    node_token_create(a->c->node, a->uses, a->ttl_ms, NULL, token_answered, a);
    return 0;
}

int confmesh_token_create(struct confmesh *c, unsigned uses, uint64_t ttl_ms,
                          char *ret_text, size_t size)
{
    struct ask a = {
        .c = c, .uses = uses, .ttl_ms = ttl_ms, .text = ret_text, .size = size};

    return run_ask(c, ask_token, &a);
}

static void snapshot_answered(void *ctx, const struct snapshot_report *report)
{
    struct ask *a = ctx;

    a->error = report->error;
    (void)snprintf(a->detail, sizeof a->detail, "%s", report->detail);
    answered(a);
}

static int ask_snapshot(void *ctx)
{
    struct ask *a = ctx;

    node_snapshot_now(a->c->node, a->to, snapshot_answered, a);
    return 0;
}

int confmesh_snapshot(struct confmesh *c, const char *to)
{
    struct ask a = {.c = c, .to = to};

    return run_ask(c, ask_snapshot, &a);
}
