/* An intent owns everything that it names, because it crosses threads. Its
 * memory may move while operations are added; slices are therefore rebased
 * whenever it has moved. */
#include "node/intent.h"

#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

#define FACTS_MAX 16

struct intent *intent_new(enum intent_kind kind)
{
    struct intent *i = cm_calloc(1, sizeof *i);

    CHECK(kind >= INTENT_LOCAL && kind <= INTENT_LAST);
    if (i == NULL)
        return NULL;
    i->kind = kind;
    buffer_init(&i->memory, INTENT_MEMORY_MAX);
    /* What is read is bounded before anything is done; twice is never. */
    buffer_init(&i->results, 2 * INTENT_RESULTS_MAX);
    return i;
}

void intent_free(struct intent *i)
{
    if (i == NULL)
        return;
    buffer_release(&i->memory);
    cm_free(i->ops);
    cm_free(i->facts);
    buffer_release(&i->results);
    cm_free(i->failures);
    cm_free(i);
}

static void rebase_slice(struct slice *s, const uint8_t *old,
                         const uint8_t *moved)
{
    if (s->size > 0)
        s->data = moved + (s->data - old);
}

static void rebase(struct intent *i, const uint8_t *old)
{
    const uint8_t *moved = i->memory.data;

    if (old == moved || old == NULL)
        return;
    rebase_slice(&i->author, old, moved);
    rebase_slice(&i->event, old, moved);
    for (size_t j = 0; j < i->ops_count; j++) {
        rebase_slice(&i->ops[j].key, old, moved);
        rebase_slice(&i->ops[j].element, old, moved);
        rebase_slice(&i->ops[j].value, old, moved);
        rebase_slice(&i->ops[j].seen, old, moved);
        rebase_slice(&i->ops[j].author, old, moved);
    }
    for (size_t j = 0; j < i->facts_count; j++)
        rebase_slice(&i->facts[j].value, old, moved);
}

/* Makes room first, so that either all of it is copied or nothing changes. */
static int reserve(struct intent *i, size_t size)
{
    /* Rebasing computes offsets from the old address: it is kept alive until
     * then by growing into a fresh block. */
    struct buffer *m = &i->memory;
    size_t capacity = m->capacity > 0 ? m->capacity : 256;
    uint8_t *old = m->data;
    uint8_t *grown;

    if (size > m->limit - m->size)
        return CM_ERR_TOO_LARGE;
    if (m->capacity - m->size >= size)
        return 0;
    while (capacity - m->size < size)
        capacity *= 2;
    if (capacity > m->limit)
        capacity = m->limit;
    grown = cm_alloc(capacity);
    if (grown == NULL)
        return CM_ERR_NOMEM;
    if (m->size > 0)
        memcpy(grown, old, m->size);
    m->data = grown;
    m->capacity = capacity;
    rebase(i, old);
    cm_free(old);
    return 0;
}

/* After reserve: cannot fail. */
static struct slice copy(struct intent *i, struct slice s)
{
    uint8_t *at;

    if (s.size == 0)
        return slice_of(NULL, 0);
    at = buffer_extend(&i->memory, s.size);
    CHECK(at != NULL);
    memcpy(at, s.data, s.size);
    return slice_of(at, s.size);
}

static int grow(void **array, size_t count, size_t size)
{
    size_t capacity = 1;
    void *grown;

    /* Powers of two: grown when count has just reached one. */
    if (count > 0 && (count & (count - 1)) != 0)
        return 0;
    while (capacity <= count)
        capacity *= 2;
    grown = cm_realloc(*array, capacity * size);
    if (grown == NULL)
        return CM_ERR_NOMEM;
    *array = grown;
    return 0;
}

int intent_add_op(struct intent *i, const struct local_op *op)
{
    void *array = i->ops;
    int error;

    CHECK(i->kind == INTENT_LOCAL || i->kind == INTENT_EXPLAIN);
    if (i->ops_count >= EVENT_OPS_MAX)
        return CM_ERR_LIMIT;
    if (op->key.size > INTENT_MEMORY_MAX ||
        op->element.size > INTENT_MEMORY_MAX ||
        op->value.size > INTENT_MEMORY_MAX ||
        op->seen.size > INTENT_MEMORY_MAX || op->author.size > AUTHOR_SIZE_MAX)
        return CM_ERR_TOO_LARGE;
    error = reserve(i, op->key.size + op->element.size + op->value.size +
                           op->seen.size + op->author.size);
    if (error == 0) {
        error = grow(&array, i->ops_count, sizeof *i->ops);
        i->ops = array;
    }
    if (error != 0)
        return error;
    struct local_op *to = &i->ops[i->ops_count];

    *to = *op;
    to->key = copy(i, op->key);
    to->element = copy(i, op->element);
    to->value = copy(i, op->value);
    to->seen = copy(i, op->seen);
    to->author = copy(i, op->author);
    to->index = i->ops_count;
    i->ops_count++;
    return 0;
}

int intent_set_author(struct intent *i, struct slice author)
{
    int error = author.size > AUTHOR_SIZE_MAX ? CM_ERR_TOO_LARGE
                                              : reserve(i, author.size);

    if (error == 0)
        i->author = copy(i, author);
    return error;
}

int intent_set_event(struct intent *i, struct slice event)
{
    int error;

    CHECK(i->kind == INTENT_FOREIGN || i->kind == INTENT_ORDER);
    error =
        event.size > EVENT_SIZE_MAX ? CM_ERR_TOO_LARGE : reserve(i, event.size);
    if (error == 0)
        i->event = copy(i, event);
    return error;
}

int intent_add_fact(struct intent *i, const char *name, struct slice value)
{
    void *array = i->facts;
    int error;

    CHECK(i->kind == INTENT_META || i->kind == INTENT_SUCCEED);
    if (i->facts_count >= FACTS_MAX)
        return CM_ERR_LIMIT;
    if (value.size > INTENT_MEMORY_MAX)
        return CM_ERR_TOO_LARGE;
    error = reserve(i, value.size);
    if (error == 0) {
        error = grow(&array, i->facts_count, sizeof *i->facts);
        i->facts = array;
    }
    if (error != 0)
        return error;
    i->facts[i->facts_count++] =
        (struct meta_fact){.name = name, .value = copy(i, value)};
    return 0;
}

void intent_add_failure(struct intent *i, size_t op, int code, const char *text)
{
    void *array = i->failures;
    struct intent_failure *f;

    CHECK(code != 0);
    if (i->failures_count >= INTENT_FAILURES_MAX ||
        grow(&array, i->failures_count, sizeof *i->failures) != 0)
        return; /* the first one stands in the intent itself */
    i->failures = array;
    f = &i->failures[i->failures_count++];
    *f = (struct intent_failure){.op = op, .code = code};
    (void)snprintf(f->text, sizeof f->text, "%s", text);
}

void intent_add_result(struct intent *i, const struct intent_result *result)
{
    struct buffer *out = &i->results;

    pack_uint(out, result->op);
    pack_bool(out, result->has_value);
    pack_bin(out, result->key);
    pack_bin(out, result->value);
    pack_uint(out, result->flags);
    pack_uint(out, result->create_revision);
    pack_uint(out, result->modify_revision);
    pack_uint(out, result->expires);
    dot_pack(out, &result->version);
}

bool intent_next_result(const struct intent *i, size_t *at,
                        struct intent_result *ret_result)
{
    struct slice rest;
    struct unpacker u;

    CHECK(*at <= i->results.size);
    if (*at == i->results.size)
        return false;
    rest = slice_of(i->results.data + *at, i->results.size - *at);
    unpack_init(&u, rest);
    ret_result->op = (size_t)unpack_uint(&u, SIZE_MAX);
    ret_result->has_value = unpack_bool(&u);
    ret_result->key = unpack_bin(&u, KEY_SIZE_MAX);
    ret_result->value = unpack_bin(&u, VALUE_SIZE_MAX);
    ret_result->flags = unpack_uint(&u, UINT64_MAX);
    ret_result->create_revision = unpack_uint(&u, UINT64_MAX);
    ret_result->modify_revision = unpack_uint(&u, UINT64_MAX);
    ret_result->expires = unpack_uint(&u, UINT64_MAX);
    dot_unpack(&u, &ret_result->version);
    CHECK(u.error == 0); /* written here */
    *at += u.position;
    return true;
}

void intent_add_waiting(struct intent *i, const struct intent_waiting *waiting)
{
    struct buffer *out = &i->results;

    dot_pack(out, &waiting->dot);
    pack_uint(out, waiting->hlc);
    pack_uint(out, (uint64_t)waiting->kind);
    pack_bin(out, waiting->author);
    pack_bool(out, waiting->held);
    pack_bin(out, slice_of_string(waiting->why));
}

bool intent_next_waiting(const struct intent *i, size_t *at,
                         struct intent_waiting *ret_waiting)
{
    struct unpacker u;
    struct slice why;

    CHECK(*at <= i->results.size);
    if (*at == i->results.size)
        return false;
    unpack_init(&u, slice_of(i->results.data + *at, i->results.size - *at));
    dot_unpack(&u, &ret_waiting->dot);
    ret_waiting->hlc = unpack_uint(&u, UINT64_MAX);
    ret_waiting->kind = (enum op_kind)unpack_uint(&u, UINT32_MAX);
    ret_waiting->author = unpack_bin(&u, AUTHOR_SIZE_MAX);
    ret_waiting->held = unpack_bool(&u);
    why = unpack_bin(&u, sizeof ret_waiting->why - 1);
    CHECK(u.error == 0); /* written here */
    memcpy(ret_waiting->why, why.data, why.size);
    ret_waiting->why[why.size] = '\0';
    *at += u.position;
    return true;
}

#define DOT_BYTES (INCARNATION_SIZE + 8)

void intent_pack_dots(struct buffer *out, const struct dot *dots, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint8_t bytes[DOT_BYTES];

        memcpy(bytes, dots[i].incarnation.bytes, INCARNATION_SIZE);
        put_be64(bytes + INCARNATION_SIZE, dots[i].seq);
        buffer_append(out, bytes, sizeof bytes);
    }
}

bool intent_dots_have(struct slice packed, const struct dot *dot)
{
    for (size_t at = 0; at + DOT_BYTES <= packed.size; at += DOT_BYTES) {
        if (memcmp(packed.data + at, dot->incarnation.bytes,
                   INCARNATION_SIZE) == 0 &&
            get_be64(packed.data + at + INCARNATION_SIZE) == dot->seq)
            return true;
    }
    return false;
}

size_t intent_dots_count(struct slice packed)
{
    return packed.size / DOT_BYTES;
}

size_t intent_size(const struct intent *i)
{
    return sizeof *i + i->memory.size + i->ops_count * sizeof *i->ops +
           i->facts_count * sizeof *i->facts;
}
