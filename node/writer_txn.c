/* Transactions beyond single writes: checks, reads, trees, resolving.
 *
 * Everything is decided before anything is written: checks and conditions look
 * at the state that the transaction finds. A key that the transaction writes
 * cannot be checked behind that write, because the answer would depend on the
 * order of things that happen at once; it is refused, with the remedy. Reads
 * are given while the operations are applied, so they see those before them. */
#include <stdlib.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/writer_internal.h"

#define RESULT_OVERHEAD 96 /* bytes of a result beside key and value */
#define KEY_SHOWN 80       /* bytes of a key in a message */

static int shown(struct slice key)
{
    return (int)(key.size < KEY_SHOWN ? key.size : KEY_SHOWN);
}

bool txn_is_write(const struct local_op *op)
{
    return op->verb == LOCAL_WRITE || op->verb == LOCAL_RESOLVE;
}

/* ---- which entries are written ---- */

static int compare_ops(const void *a, const void *b)
{
    struct entry_id x = local_id_of(*(const struct local_op *const *)a);
    struct entry_id y = local_id_of(*(const struct local_op *const *)b);

    return entry_id_compare(&x, &y);
}

int txn_writes_of(struct txn_writes *ret, const struct intent *intent)
{
    ret->sorted = cm_calloc(intent->ops_count, sizeof *ret->sorted);
    ret->count = 0;
    if (ret->sorted == NULL)
        return CM_ERR_NOMEM;
    for (size_t i = 0; i < intent->ops_count; i++) {
        if (txn_is_write(&intent->ops[i]))
            ret->sorted[ret->count++] = &intent->ops[i];
    }
    if (ret->count > 1)
        qsort(ret->sorted, ret->count, sizeof *ret->sorted, compare_ops);
    return 0;
}

void txn_writes_release(struct txn_writes *w)
{
    cm_free(w->sorted);
    w->sorted = NULL;
    w->count = 0;
}

static const struct local_op *find_write(const struct txn_writes *w,
                                         const struct local_op *op)
{
    const struct local_op *const *found =
        w->count == 0
            ? NULL
            : bsearch(&op, w->sorted, w->count, sizeof *w->sorted, compare_ops);

    return found != NULL ? *found : NULL;
}

int txn_check_distinct(const struct txn_writes *w, struct intent *intent)
{
    for (size_t i = 1; i < w->count; i++) {
        const struct local_op *op = w->sorted[i];
        int error;

        if (compare_ops(&w->sorted[i - 1], &w->sorted[i]) != 0)
            continue;
        intent->failed_op = op->index > w->sorted[i - 1]->index
                                ? op->index
                                : w->sorted[i - 1]->index;
        error = cm_fail(&intent->detail, CM_ERR_INVALID,
                        "key %.*s occurs twice in one transaction; name each "
                        "key or element once",
                        shown(op->key), (const char *)op->key.data);
        if (intent->detailed)
            intent_add_failure(intent, intent->failed_op, error,
                               intent->detail.text);
        return error;
    }
    return 0;
}

/* ---- trees ---- */

/* The batch's own transaction as a reader, for cursors. */
static struct store_reader reader_of(struct batch *b)
{
    return (struct store_reader){.txn = b->txn, .head = b->w->head};
}

static bool is_under(const struct local_op *tree, struct slice key)
{
    return slice_starts_with(key, tree->key);
}

static int add_del(struct intent *to, size_t tree, struct slice key,
                   struct cm_detail *detail)
{
    struct local_op op = {.kind = OP_DEL, .key = key};
    int error = intent_add_op(to, &op);

    if (error == 0)
        to->ops[to->ops_count - 1].index = tree;
    if (error != CM_ERR_LIMIT && error != CM_ERR_TOO_LARGE)
        return error;
    return cm_fail(detail, CM_ERR_LIMIT,
                   "transaction has more than %d operations with the keys of "
                   "its trees; delete trees with DELETE /v1/kv/PREFIX?recurse, "
                   "in several transactions",
                   EVENT_OPS_MAX);
}

/* A del of every key of the tree, but those that the transaction writes behind
 * it. */
static int expand_tree(struct batch *b, struct intent *intent,
                       const struct txn_writes *writes, size_t tree,
                       struct intent *dels)
{
    struct store_reader reader = reader_of(b);
    const struct store_item *item;
    struct store_cursor *cursor = NULL;
    int error = store_cursor_open(&reader, SPACE_REGISTER,
                                  intent->ops[tree].key, false, NULL, &cursor);

    while (error == 0) {
        struct local_op op = {.kind = OP_DEL};
        const struct local_op *own;

        error = store_cursor_next(cursor, &item);
        if (error != 0 || !entry_resolve(&item->entry, b->now).present)
            continue;
        op.key = item->id.key;
        own = find_write(writes, &op);
        if (own == NULL || own->index < tree)
            error = add_del(dels, tree, op.key, &intent->detail);
    }
    store_cursor_close(cursor);
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

static int expand_trees(struct batch *b, struct intent *intent,
                        struct intent *dels)
{
    struct txn_writes writes = {.count = 0};
    int error = txn_writes_of(&writes, intent);

    for (size_t i = 0; i < intent->ops_given && error == 0; i++) {
        if (intent->ops[i].verb == LOCAL_DELETE_TREE)
            error = expand_tree(b, intent, &writes, i, dels);
        intent->failed_op = i;
    }
    txn_writes_release(&writes); /* before the operations move */
    for (size_t i = 0; i < dels->ops_count && error == 0; i++) {
        intent->failed_op = dels->ops[i].index;
        error = add_del(intent, dels->ops[i].index, dels->ops[i].key,
                        &intent->detail);
    }
    return error;
}

int txn_expand(struct batch *b, struct intent *intent)
{
    struct intent *dels;
    bool any = false;
    int error;

    CHECK(intent->ops_count == intent->ops_given);
    for (size_t i = 0; i < intent->ops_given; i++)
        any = any || intent->ops[i].verb == LOCAL_DELETE_TREE;
    if (!any)
        return 0;
    dels = intent_new(INTENT_LOCAL);
    error = dels == NULL ? CM_ERR_NOMEM : expand_trees(b, intent, dels);
    intent_free(dels);
    if (error != 0 && intent->detailed)
        intent_add_failure(intent, intent->failed_op, error,
                           intent->detail.text[0] != '\0' ? intent->detail.text
                                                          : cm_strerror(error));
    return error;
}

/* ---- checks and reads ---- */

static int read_entry(struct batch *b, const struct local_op *op,
                      struct entry_local *ret_local, struct cm_detail *detail)
{
    struct entry_id id = local_id_of(op);
    int error = op_check_key(op->key, detail);

    if (error != 0)
        return error;
    *ret_local = (struct entry_local){0};
    error = store_txn_entry(&b->txn, &id, &b->w->entry, ret_local);
    if (error != 0 && error != CM_ERR_NOT_FOUND)
        return cm_fail(detail, error, "stored record of the key: %s",
                       cm_strerror(error));
    return 0;
}

static int absent(const struct local_op *op, struct cm_detail *detail)
{
    return cm_fail(detail, CM_ERR_CONDITION, "key \"%.*s\" doesn't exist",
                   shown(op->key), (const char *)op->key.data);
}

static int check_get(struct batch *b, const struct local_op *written,
                     const struct local_op *op, size_t *size,
                     struct cm_detail *detail)
{
    struct entry_local local;
    struct resolution r;
    int error = read_entry(b, op, &local, detail);

    if (error != 0)
        return error;
    *size += RESULT_OVERHEAD + op->key.size;
    if (written != NULL && written->index < op->index &&
        written->verb == LOCAL_WRITE) {
        *size += written->value.size;
        return written->kind == OP_PUT ? 0 : absent(op, detail);
    }
    r = entry_resolve(&b->w->entry, b->now);
    if (!r.present)
        return absent(op, detail);
    *size += r.winner->value.size;
    return 0;
}

static int check_tree(struct batch *b, const struct txn_writes *writes,
                      const struct local_op *op, size_t *size)
{
    struct store_reader reader = reader_of(b);
    const struct store_item *item;
    struct store_cursor *cursor = NULL;
    int error = store_cursor_open(&reader, SPACE_REGISTER, op->key, false, NULL,
                                  &cursor);

    for (size_t i = 0; i < writes->count; i++) {
        if (is_under(op, writes->sorted[i]->key))
            *size += RESULT_OVERHEAD + writes->sorted[i]->key.size +
                     writes->sorted[i]->value.size;
    }
    while (error == 0 && *size <= INTENT_RESULTS_MAX) {
        struct resolution r;

        error = store_cursor_next(cursor, &item);
        if (error != 0)
            break;
        r = entry_resolve(&item->entry, b->now);
        if (r.present)
            *size += RESULT_OVERHEAD + item->id.key.size + r.winner->value.size;
    }
    store_cursor_close(cursor);
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

static int check_alone(struct batch *b, const struct local_op *written,
                       const struct local_op *op, struct cm_detail *detail)
{
    struct entry_local local;
    struct resolution r;
    int error = read_entry(b, op, &local, detail);

    if (error != 0)
        return error;
    if (written != NULL && written->index < op->index)
        return cm_fail(detail, CM_ERR_INVALID,
                       "key %.*s is checked behind an operation that writes "
                       "it; put the check first",
                       shown(op->key), (const char *)op->key.data);
    r = entry_resolve(&b->w->entry, b->now);
    return local_check_condition(op, &r, &local, detail);
}

int txn_check_read(struct batch *b, const struct txn_writes *writes,
                   const struct local_op *op, size_t *size,
                   struct cm_detail *detail)
{
    const struct local_op *written = find_write(writes, op);
    int error = 0;

    CHECK(!txn_is_write(op));
    if (op->verb == LOCAL_CHECK)
        error = check_alone(b, written, op, detail);
    else if (op->verb == LOCAL_GET)
        error = check_get(b, written, op, size, detail);
    else if (op->verb == LOCAL_GET_TREE)
        error = check_tree(b, writes, op, size);
    if (error == 0 && *size > INTENT_RESULTS_MAX)
        error = cm_fail(detail, CM_ERR_TOO_LARGE,
                        "transaction reads more than %u bytes; read less, or "
                        "in several",
                        INTENT_RESULTS_MAX);
    return error;
}

static int give(struct intent *intent, const struct local_op *op,
                struct slice key, const struct sibling *s,
                const struct entry_local *local)
{
    struct intent_result result = {
        .op = op->index,
        .has_value = op->verb != LOCAL_CHECK,
        .key = key,
        .flags = s->flags,
        .create_revision = local->create_revision,
        .modify_revision = local->modify_revision,
        .expires = s->expires,
        .version = s->dot,
    };

    if (result.has_value)
        result.value = s->value;
    intent_add_result(intent, &result);
    return intent->results.error;
}

static int read_tree(struct batch *b, struct intent *intent,
                     const struct local_op *op)
{
    struct store_reader reader = reader_of(b);
    const struct store_item *item;
    struct store_cursor *cursor = NULL;
    int error = store_cursor_open(&reader, SPACE_REGISTER, op->key, false, NULL,
                                  &cursor);

    while (error == 0) {
        struct resolution r;

        error = store_cursor_next(cursor, &item);
        if (error != 0)
            break;
        r = entry_resolve(&item->entry, b->now);
        if (r.present)
            error = give(intent, op, item->id.key, r.winner, &item->local);
    }
    store_cursor_close(cursor);
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

int txn_read(struct batch *b, struct intent *intent, const struct local_op *op)
{
    struct entry_local local;
    struct resolution r;
    int error;

    if (op->verb == LOCAL_GET_TREE)
        return read_tree(b, intent, op);
    /* Of the checks, Consul gives back the entry of an index check. */
    if (op->verb == LOCAL_CHECK && op->condition != CONDITION_REVISION)
        return 0;
    error = read_entry(b, op, &local, &intent->detail);
    if (error != 0)
        return error;
    r = entry_resolve(&b->w->entry, b->now);
    return r.present ? give(intent, op, op->key, r.winner, &local) : 0;
}

/* ---- resolving ---- */

const struct sibling *txn_kept(const struct local_op *op,
                               const struct entry *entry)
{
    for (size_t i = 0; i < entry->count; i++) {
        if (dot_equal(&entry->siblings[i].dot, &op->version))
            return &entry->siblings[i];
    }
    return NULL;
}

static enum op_kind kind_again(enum sibling_kind kind, enum space space)
{
    /* No client names another space than these two. */
    CHECK(space == SPACE_REGISTER || space == SPACE_SET);
    if (space == SPACE_SET)
        return kind == SIBLING_REVOKE ? OP_SET_REVOKE : OP_SET_ADD;
    if (kind == SIBLING_REVOKE)
        return OP_REVOKE;
    return kind == SIBLING_PUT ? OP_PUT : OP_DEL;
}

int txn_check_resolve(struct local_op *op, const struct entry *entry,
                      struct cm_detail *detail)
{
    const struct sibling *kept = txn_kept(op, entry);
    bool same =
        op->seen.size == 0 || intent_dots_count(op->seen) == entry->count;
    char text[DOT_TEXT_SIZE];

    for (size_t i = 0; i < entry->count && op->seen.size > 0; i++)
        same = same && intent_dots_have(op->seen, &entry->siblings[i].dot);
    if (!same)
        return cm_fail(detail, CM_ERR_CONDITION,
                       "condition is false: the siblings of %.*s are not those "
                       "that were seen; look again",
                       shown(op->key), (const char *)op->key.data);
    if (kept == NULL) {
        dot_format(text, &op->version);
        return cm_fail(detail, CM_ERR_CONDITION,
                       "condition is false: %.*s has no sibling %s; look again",
                       shown(op->key), (const char *)op->key.data, text);
    }
    op->kind = kind_again(kept->kind, op_space(op->kind));
    return 0;
}
