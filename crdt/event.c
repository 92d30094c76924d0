/* Encoding, strict decoding and signature of events.
 *
 * A decoder that accepted two encodings of one event would let a relay make a
 * second event with the first one's signature; therefore every byte is
 * determined: numbers in their shortest form, dots in ascending order, no
 * field too many. What a peer sends bounds what is allocated for it. */
#include "crdt/event.h"

#include <stdlib.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/error.h"
#include "crdt/sign.h"

#define HEADER_FIELDS 10
#define FIELDS_MAX 64 /* of a later format, to read past them */
#define OP_FIELDS_MIN 4
/* Encoded: array head, incarnation, seq. */
#define DOT_PACKED_MIN (1 + 18 + 1)
#define DOT_PACKED_MAX (1 + 18 + 9)
#define OP_PACKED_MIN 2 /* array head and kind, of a later format */

static const char sign_domain[] = "confmesh event v1";
static const char hash_domain[] = "confmesh event hash v1";
static const char body_domain[] = "confmesh event body v1";

_Static_assert(SIGNATURE_SIZE == SIGN_SIZE, "Ed25519");

static size_t remaining(const struct unpacker *u)
{
    return u->in.size - u->position;
}

static void unpack_dot(struct unpacker *u, struct dot *ret_dot)
{
    unpack_array_of(u, 2);
    dot_unpack(u, ret_dot);
}

static void unpack_deps(struct unpacker *u, struct event *e)
{
    size_t count = unpack_array(u, EVENT_DEPS_MAX);
    size_t i;

    if (count > remaining(u) / DOT_PACKED_MIN)
        unpack_fail(u, CM_ERR_MALFORMED);
    if (u->error != 0 || count == 0)
        return;
    e->deps = cm_calloc(count, sizeof *e->deps);
    if (e->deps == NULL) {
        unpack_fail(u, CM_ERR_NOMEM);
        return;
    }
    for (i = 0; i < count && u->error == 0; i++) {
        struct dot *d = &e->deps[i];

        unpack_dot(u, d);
        if (u->error == 0 && i > 0 &&
            incarnation_compare(&d[-1].incarnation, &d->incarnation) >= 0)
            unpack_fail(u, CM_ERR_NONCANONICAL);
        if (incarnation_equal(&d->incarnation, &e->dot.incarnation))
            unpack_fail(u, CM_ERR_MALFORMED);
    }
    e->deps_count = count;
}

static int decode_header(struct event *e)
{
    struct unpacker u;
    size_t fields;
    uint64_t format;

    unpack_init(&u, e->header);
    fields = unpack_array(&u, FIELDS_MAX);
    format = unpack_uint(&u, UINT64_MAX);
    if (u.error == 0 && format != EVENT_FORMAT)
        return CM_ERR_FORMAT_VERSION;
    if (fields != HEADER_FIELDS)
        unpack_fail(&u, CM_ERR_MALFORMED);
    unpack_bytes(&u, e->mesh.bytes, MESH_ID_SIZE);
    e->generation.number = unpack_uint(&u, UINT64_MAX);
    unpack_bytes(&u, e->generation.hash, sizeof e->generation.hash);
    dot_unpack(&u, &e->dot);
    e->hlc = unpack_uint(&u, UINT64_MAX);
    unpack_deps(&u, e);
    unpack_bytes(&u, e->previous.bytes, HASH_SIZE);
    unpack_bytes(&u, e->body_hash.bytes, HASH_SIZE);
    if (unpack_finish(&u) == 0 &&
        (e->generation.number == 0 || e->hlc == 0 ||
         (e->dot.seq == 1 && !hash_is_zero(&e->previous))))
        unpack_fail(&u, CM_ERR_MALFORMED);
    return u.error;
}

/* The dots of all operations in one growing array. Operations remember counts
 * only; their pointers are set once the array has its final place. */
struct dot_list {
    struct dot *dots;
    size_t count;
    size_t capacity;
};

static struct dot *dot_list_extend(struct dot_list *list, size_t count)
{
    size_t capacity = list->capacity > 0 ? list->capacity : 8;
    struct dot *grown;

    CHECK(count <= EVENT_SIZE_MAX);
    if (list->dots == NULL || list->count + count > list->capacity) {
        while (capacity < list->count + count)
            capacity *= 2;
        grown = cm_realloc(list->dots, capacity * sizeof *grown);
        if (grown == NULL)
            return NULL;
        list->dots = grown;
        list->capacity = capacity;
    }
    list->count += count;
    return &list->dots[list->count - count];
}

static void unpack_supersedes(struct unpacker *u, const struct event *e,
                              struct op *op, struct dot_list *list)
{
    size_t count = unpack_array(u, OP_SUPERSEDES_MAX);
    struct dot *dots;
    size_t i;

    if (count > remaining(u) / DOT_PACKED_MIN)
        unpack_fail(u, CM_ERR_MALFORMED);
    if (u->error != 0 || count == 0)
        return;
    dots = dot_list_extend(list, count);
    if (dots == NULL) {
        unpack_fail(u, CM_ERR_NOMEM);
        return;
    }
    for (i = 0; i < count && u->error == 0; i++) {
        unpack_dot(u, &dots[i]);
        if (u->error == 0 && i > 0 && dot_compare(&dots[i - 1], &dots[i]) >= 0)
            unpack_fail(u, CM_ERR_NONCANONICAL);
        /* Nobody has seen this event or a later one of its own yet. */
        if (dots[i].seq >= e->dot.seq &&
            incarnation_equal(&dots[i].incarnation, &e->dot.incarnation))
            unpack_fail(u, CM_ERR_MALFORMED);
    }
    op->supersedes_count = count;
}

/* The longer forms. */
enum wire_kind {
    WIRE_REVOKE_WHY = 11,
    WIRE_SET_REVOKE_WHY = 12,
    WIRE_ROSTER_ADD_LEVEL = 13,
};
_Static_assert(WIRE_ROSTER_ADD_LEVEL == OP_WIRE_LAST, "the greatest kind");

static bool is_longer(uint64_t wire)
{
    return wire > OP_KIND_LAST;
}

static enum op_kind kind_of_wire(uint64_t wire)
{
    CHECK(wire >= OP_PUT && wire <= OP_WIRE_LAST);
    switch (wire) {
    case WIRE_REVOKE_WHY:
        return OP_REVOKE;
    case WIRE_SET_REVOKE_WHY:
        return OP_SET_REVOKE;
    case WIRE_ROSTER_ADD_LEVEL:
        return OP_ROSTER_ADD;
    default:
        return (enum op_kind)wire;
    }
}

static uint64_t wire_of(const struct op *op)
{
    if (op->kind == OP_REVOKE && op->value.size > 0)
        return WIRE_REVOKE_WHY;
    if (op->kind == OP_SET_REVOKE && op->value.size > 0)
        return WIRE_SET_REVOKE_WHY;
    if (op->kind == OP_ROSTER_ADD && op->level > LEVEL_FIRST)
        return WIRE_ROSTER_ADD_LEVEL;
    return op->kind;
}

static size_t fields_of(enum op_kind kind)
{
    switch (kind) {
    case OP_PUT:
        return OP_FIELDS_MIN + 3;
    case OP_SET_ADD:
        return OP_FIELDS_MIN + 2;
    case OP_SET_REMOVE:
    case OP_SET_REVOKE:
    case OP_ROSTER_ADD:
    case OP_FENCE:
    case OP_ACK:
    case OP_KNOWS:
        return OP_FIELDS_MIN + 1;
    case OP_DEL:
    case OP_REVOKE:
        break;
    }
    return OP_FIELDS_MIN;
}

static bool has_value(enum op_kind kind)
{
    return kind == OP_PUT ||
           (op_space(kind) > SPACE_CLIENT_LAST && kind != OP_KNOWS);
}

/* What the longer form is there for is in it: else there were two encodings. */
static void unpack_longer(struct unpacker *u, struct op *op)
{
    if (op->kind == OP_ROSTER_ADD) {
        op->level = (uint32_t)unpack_uint(u, LEVEL_MAX);
        if (op->level <= LEVEL_FIRST)
            unpack_fail(u, CM_ERR_NONCANONICAL);
        return;
    }
    op->value = unpack_bin(u, VALUE_SIZE_MAX);
    if (op->value.size == 0)
        unpack_fail(u, CM_ERR_NONCANONICAL);
}

static void unpack_fields(struct unpacker *u, struct op *op, bool longer)
{
    if (op_space(op->kind) == SPACE_SET)
        op->element = unpack_bin(u, KEY_SIZE_MAX);
    if (has_value(op->kind))
        op->value = unpack_bin(u, VALUE_SIZE_MAX);
    if (op->kind == OP_KNOWS)
        op->level = (uint32_t)unpack_uint(u, LEVEL_MAX);
    if (longer)
        unpack_longer(u, op);
    if (op->kind == OP_PUT)
        op->flags = unpack_uint(u, UINT64_MAX);
    if (op->kind == OP_PUT || op->kind == OP_SET_ADD)
        op->expires = unpack_uint(u, UINT64_MAX);
}

/* False (and nothing in ret_op) for an operation of a later format. */
static bool unpack_op(struct unpacker *u, const struct event *e,
                      struct op *ret_op, struct dot_list *list)
{
    size_t fields = unpack_array(u, FIELDS_MAX);
    uint64_t kind = unpack_uint(u, UINT64_MAX);
    struct op op = {0};
    int error;

    if (fields == 0 || kind == 0)
        unpack_fail(u, CM_ERR_MALFORMED);
    if (kind > OP_WIRE_LAST) {
        while (--fields > 0 && u->error == 0)
            unpack_skip(u);
        return false;
    }
    if (u->error != 0)
        return false;
    op.kind = kind_of_wire(kind);
    if (fields != fields_of(op.kind) + is_longer(kind)) {
        unpack_fail(u, CM_ERR_MALFORMED);
        return false;
    }
    op.key = unpack_bin(u, KEY_SIZE_MAX);
    op.author = unpack_bin(u, AUTHOR_SIZE_MAX);
    unpack_supersedes(u, e, &op, list);
    unpack_fields(u, &op, is_longer(kind));
    if (u->error != 0)
        return false;
    if (op.supersedes_count > 0) /* only until the list moves */
        op.supersedes = &list->dots[list->count - op.supersedes_count];
    error = op_check(&op, NULL);
    op.supersedes = NULL;
    if (error < 0)
        unpack_fail(u, error == CM_ERR_INVALID ? CM_ERR_MALFORMED : error);
    *ret_op = op;
    return true;
}

static int compare_ids(const void *a, const void *b)
{
    struct entry_id x = op_entry_id(*(const struct op *const *)a);
    struct entry_id y = op_entry_id(*(const struct op *const *)b);

    return entry_id_compare(&x, &y);
}

/* (space, key, element, dot) names a sibling: at most one operation per key or
 * element. */
static int check_distinct(const struct event *e)
{
    const struct op **sorted;
    int error = 0;
    size_t i;

    if (e->ops_count < 2)
        return 0;
    sorted = cm_calloc(e->ops_count, sizeof *sorted);
    if (sorted == NULL)
        return CM_ERR_NOMEM;
    for (i = 0; i < e->ops_count; i++)
        sorted[i] = &e->ops[i];
    qsort(sorted, e->ops_count, sizeof *sorted, compare_ids);
    for (i = 1; i < e->ops_count && error == 0; i++) {
        if (compare_ids(&sorted[i - 1], &sorted[i]) == 0)
            error = CM_ERR_MALFORMED;
    }
    cm_free(sorted);
    return error;
}

static void link_supersedes(struct event *e, struct dot_list *list)
{
    size_t at = 0;
    size_t i;

    e->dots = list->dots;
    for (i = 0; i < e->ops_count; i++) {
        if (e->ops[i].supersedes_count > 0)
            e->ops[i].supersedes = &e->dots[at];
        at += e->ops[i].supersedes_count;
    }
    CHECK(at == list->count);
}

static int decode_body(struct event *e, struct slice body)
{
    struct dot_list list = {0};
    struct unpacker u;
    size_t count;
    size_t i;

    unpack_init(&u, body);
    count = unpack_array(&u, EVENT_OPS_MAX);
    if (u.error == 0 && (count == 0 || count > remaining(&u) / OP_PACKED_MIN))
        unpack_fail(&u, CM_ERR_MALFORMED);
    if (u.error != 0)
        return u.error;
    e->ops = cm_calloc(count, sizeof *e->ops);
    if (e->ops == NULL)
        return CM_ERR_NOMEM;
    e->level = LEVEL_FIRST;
    for (i = 0; i < count && u.error == 0; i++) {
        struct op *op = &e->ops[e->ops_count];

        if (!unpack_op(&u, e, op, &list)) {
            e->has_unknown_op = true;
            continue;
        }
        e->ops_count++;
        if (op_level(op) > e->level)
            e->level = op_level(op);
    }
    if (unpack_finish(&u) < 0) {
        cm_free(list.dots);
        return u.error;
    }
    link_supersedes(e, &list);
    return check_distinct(e);
}

int event_decode(struct event *ret_event, struct slice bytes)
{
    struct event e = {0};
    struct unpacker u;
    struct slice body;
    struct hash found;
    int error;

    if (bytes.size > EVENT_SIZE_MAX)
        return CM_ERR_TOO_LARGE;
    unpack_init(&u, bytes);
    unpack_array_of(&u, 3);
    e.header = unpack_bin(&u, EVENT_SIZE_MAX);
    body = unpack_bin(&u, EVENT_SIZE_MAX);
    unpack_bytes(&u, e.signature, SIGNATURE_SIZE);
    error = unpack_finish(&u);
    if (error == 0)
        error = decode_header(&e);
    if (error == 0) {
        found = hash_of(body_domain, body);
        if (!hash_equal(&found, &e.body_hash))
            error = CM_ERR_MALFORMED;
    }
    if (error == 0)
        error = decode_body(&e, body);
    if (error < 0) {
        event_release(&e);
        return error;
    }
    CHECK(e.ops_count > 0 || e.has_unknown_op);
    *ret_event = e;
    return 0;
}

void event_release(struct event *e)
{
    cm_free(e->deps);
    cm_free(e->ops);
    cm_free(e->dots);
    *e = (struct event){0};
}

int event_verify(const struct event *e, const uint8_t public_key[32])
{
    CHECK(e->header.size > 0);
    return sign_verify(e->signature, sign_domain, e->header, public_key);
}

struct hash event_hash_of_header(struct slice header)
{
    CHECK(header.size > 0);
    return hash_of(hash_domain, header);
}

struct hash event_hash(const struct event *e)
{
    return event_hash_of_header(e->header);
}

static void pack_dots(struct buffer *out, const struct dot *dots, size_t count)
{
    size_t i;

    pack_array(out, count);
    for (i = 0; i < count; i++) {
        pack_array(out, 2);
        dot_pack(out, &dots[i]);
    }
}

void event_body_add(struct buffer *out, const struct op *op)
{
    uint64_t wire = wire_of(op);

    /* What is refused by every decoder must never be signed. */
    CHECK(op_check(op, NULL) == 0);
    pack_array(out, fields_of(op->kind) + is_longer(wire));
    pack_uint(out, wire);
    pack_bin(out, op->key);
    pack_bin(out, op->author);
    pack_dots(out, op->supersedes, op->supersedes_count);
    if (op_space(op->kind) == SPACE_SET)
        pack_bin(out, op->element);
    if (has_value(op->kind) || (is_longer(wire) && op->kind != OP_ROSTER_ADD))
        pack_bin(out, op->value);
    if (op->kind == OP_KNOWS || wire == WIRE_ROSTER_ADD_LEVEL)
        pack_uint(out, op->level);
    if (op->kind == OP_PUT)
        pack_uint(out, op->flags);
    if (op->kind == OP_PUT || op->kind == OP_SET_ADD)
        pack_uint(out, op->expires);
}

static void pack_header(struct buffer *out, const struct event_draft *d,
                        const struct hash *body_hash)
{
    pack_array(out, HEADER_FIELDS);
    pack_uint(out, EVENT_FORMAT);
    pack_bytes(out, d->mesh.bytes, MESH_ID_SIZE);
    pack_uint(out, d->generation.number);
    pack_bytes(out, d->generation.hash, sizeof d->generation.hash);
    dot_pack(out, &d->dot);
    pack_uint(out, d->hlc);
    pack_dots(out, d->deps, d->deps_count);
    pack_bytes(out, d->previous.bytes, HASH_SIZE);
    pack_bytes(out, body_hash->bytes, HASH_SIZE);
}

static void check_draft(const struct event_draft *d)
{
    size_t i;

    CHECK(d->ops_count >= 1 && d->ops_count <= EVENT_OPS_MAX);
    CHECK(d->generation.number >= 1);
    CHECK(d->dot.seq >= 1);
    CHECK(d->hlc != 0);
    CHECK(d->dot.seq > 1 || hash_is_zero(&d->previous));
    for (i = 0; i < d->deps_count; i++) {
        CHECK(!incarnation_equal(&d->deps[i].incarnation, &d->dot.incarnation));
        CHECK(i == 0 || incarnation_compare(&d->deps[i - 1].incarnation,
                                            &d->deps[i].incarnation) < 0);
    }
}

int event_encode(struct buffer *out, const struct event_draft *draft,
                 const uint8_t secret_key[64], struct hash *ret_hash)
{
    size_t start = out->size;
    uint8_t signature[SIGN_SIZE];
    struct buffer header;
    struct buffer body;
    struct hash body_hash;
    int error;

    check_draft(draft);
    buffer_init(&header, EVENT_SIZE_MAX);
    buffer_init(&body, EVENT_SIZE_MAX);
    pack_array(&body, draft->ops_count);
    buffer_append_slice(&body, draft->body);
    body_hash = hash_of(body_domain, buffer_slice(&body));
    pack_header(&header, draft, &body_hash);
    error = body.error != 0 ? body.error : header.error;
    if (error == 0)
        error = sign_make(signature, sign_domain, buffer_slice(&header),
                          secret_key);
    if (error == 0) {
        pack_array(out, 3);
        pack_bin(out, buffer_slice(&header));
        pack_bin(out, buffer_slice(&body));
        pack_bytes(out, signature, sizeof signature);
        error = out->error;
    }
    if (error == 0 && out->size - start > EVENT_SIZE_MAX)
        error = CM_ERR_TOO_LARGE;
    if (error == 0 && ret_hash != NULL)
        *ret_hash = hash_of(hash_domain, buffer_slice(&header));
    if (error < 0 && out->error == 0)
        out->error = error;
    buffer_release(&header);
    buffer_release(&body);
    return error;
}

size_t event_overhead(size_t deps_count)
{
    size_t head = 5;    /* of a bin or an array, at most */
    size_t number = 9;  /* an unsigned integer, at most */
    size_t short_ = 18; /* a bin of 16 bytes */
    size_t long_ = 34;  /* a bin of 32 bytes */
    size_t header = head + number + 3 * short_ + 3 * number + head +
                    deps_count * DOT_PACKED_MAX + 2 * long_;

    CHECK(deps_count <= EVENT_DEPS_MAX);
    return head + head + header + head + head + 2 + SIGNATURE_SIZE;
}
