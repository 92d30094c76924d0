/* The merge and the resolution.
 *
 * The siblings of one entry are a function of the set of applied events: an
 * operation takes away what its origin saw and adds itself, and the order of
 * concurrent ones does not matter, because neither names the other's dot. The
 * array is kept sorted by dot, so equal sets are equal bytes. */
#include "crdt/entry.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "crdt/certificate.h"

#define SIBLING_FIELDS 8
/* Encoded: array head, kind, incarnation, seq, hlc, flags, expires, author,
 * value. */
#define SIBLING_PACKED_MIN (1 + 1 + 18 + 1 + 1 + 1 + 1 + 2 + 2)

void entry_init(struct entry *e)
{
    *e = (struct entry){0};
}

void entry_release(struct entry *e)
{
    cm_free(e->siblings);
    *e = (struct entry){0};
}

static int reserve(struct entry *e, size_t count)
{
    size_t capacity = e->capacity > 0 ? e->capacity : 1;
    struct sibling *grown;

    if (count <= e->capacity)
        return 0;
    while (capacity < count)
        capacity *= 2;
    if (capacity > SIZE_MAX / sizeof *grown)
        return CM_ERR_NOMEM;
    grown = cm_realloc(e->siblings, capacity * sizeof *grown);
    if (grown == NULL)
        return CM_ERR_NOMEM;
    e->siblings = grown;
    e->capacity = capacity;
    return 0;
}

/* Index of the first sibling whose dot is not below d. */
static size_t lower_bound(const struct entry *e, const struct dot *d)
{
    size_t low = 0;
    size_t high = e->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (dot_compare(&e->siblings[middle].dot, d) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    CHECK(low <= e->count);
    return low;
}

static bool has_dot(const struct entry *e, const struct dot *d)
{
    size_t at = lower_bound(e, d);

    return at < e->count && dot_equal(&e->siblings[at].dot, d);
}

int entry_add_sibling(struct entry *e, const struct sibling *s)
{
    size_t at = lower_bound(e, &s->dot);
    struct sibling *place;
    int error;

    CHECK(s->dot.seq >= 1);
    CHECK(at == e->count || !dot_equal(&e->siblings[at].dot, &s->dot));
    error = reserve(e, e->count + 1);
    if (error < 0)
        return error;
    place = &e->siblings[at];
    memmove(place + 1, place, (e->count - at) * sizeof *place);
    *place = *s;
    e->count++;
    return 0;
}

/* Whether op names d; *at walks along the sorted list. */
static bool supersedes(const struct op *op, const struct dot *d, size_t *at)
{
    while (*at < op->supersedes_count) {
        int order = dot_compare(&op->supersedes[*at], d);

        if (order >= 0)
            return order == 0;
        (*at)++;
    }
    return false;
}

static size_t count_superseded(const struct entry *e, const struct op *op)
{
    size_t ret = 0;
    size_t at = 0;
    size_t i;

    for (i = 0; i < e->count && at < op->supersedes_count; i++)
        ret += supersedes(op, &e->siblings[i].dot, &at);
    return ret;
}

static void remove_superseded(struct entry *e, const struct op *op)
{
    size_t kept = 0;
    size_t at = 0;
    size_t i;

    for (i = 0; i < e->count; i++) {
        if (supersedes(op, &e->siblings[i].dot, &at))
            continue;
        if (kept != i)
            e->siblings[kept] = e->siblings[i];
        kept++;
    }
    e->count = kept;
}

enum sibling_kind sibling_kind_of(enum op_kind kind)
{
    switch (kind) {
    case OP_PUT:
        return SIBLING_PUT;
    case OP_DEL:
        return SIBLING_TOMBSTONE;
    case OP_REVOKE:
    case OP_SET_REVOKE:
        return SIBLING_REVOKE;
    case OP_SET_ADD:
        return SIBLING_ADD;
    case OP_ROSTER_ADD:
        return SIBLING_MEMBER;
    case OP_FENCE:
    case OP_ACK:
    case OP_KNOWS: /* standing.h changes these */
    case OP_SET_REMOVE:
        break;
    }
    CHECK(kind >= OP_PUT && kind <= OP_ROSTER_ADD);
    CHECK(kind != OP_SET_REMOVE); /* adds none */
    return SIBLING_PUT;
}

bool entry_shows(const struct entry *e, const struct sibling *s)
{
    bool ret = false;

    for (size_t i = 0; i < e->count && !ret; i++) {
        const struct sibling *here = &e->siblings[i];

        ret = here->kind == s->kind && here->hlc >= s->hlc &&
              here->flags == s->flags && here->expires == s->expires &&
              slice_equal(here->value, s->value);
    }
    return ret;
}

bool entry_same_dots(const struct entry *a, const struct entry *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        if (!dot_equal(&a->siblings[i].dot, &b->siblings[i].dot))
            return false;
    }
    return true;
}

int entry_apply(struct entry *e, const struct op *op, const struct dot *dot,
                hlc_t hlc, bool *ret_changed)
{
    size_t superseded = count_superseded(e, op);
    bool adds = op->kind != OP_SET_REMOVE && !has_dot(e, dot);
    int error;

    CHECK(dot->seq >= 1);
    CHECK(superseded <= e->count);
    if (adds) {
        /* Memory first, so that a failure leaves everything as it was. */
        error = reserve(e, e->count - superseded + 1);
        if (error < 0)
            return error;
    }
    if (superseded > 0)
        remove_superseded(e, op);
    if (adds) {
        struct sibling s = {.kind = sibling_kind_of(op->kind),
                            .dot = *dot,
                            .hlc = hlc,
                            .expires = op->expires,
                            .flags = op->flags,
                            .author = op->author,
                            .value = op->value};

        error = entry_add_sibling(e, &s);
        CHECK(error == 0);
    }
    if (ret_changed != NULL)
        *ret_changed = superseded > 0 || adds;
    return 0;
}

int sibling_compare_age(const struct sibling *a, const struct sibling *b)
{
    if (a->hlc != b->hlc)
        return a->hlc < b->hlc ? -1 : 1;
    return dot_compare(&a->dot, &b->dot);
}

/* Whether a rather than b decides the entry. Between adds of one element that
 * is the one that expires last: whoever added it for longer is not cut short
 * by who added it for less. */
static bool decides(const struct sibling *a, const struct sibling *b)
{
    if (a->kind == SIBLING_ADD && b->kind == SIBLING_ADD &&
        a->expires != b->expires) {
        /* 0 = never, the last of all: it wraps to the greatest. */
        return a->expires - 1 > b->expires - 1;
    }
    return sibling_compare_age(a, b) > 0;
}

struct resolution entry_resolve(const struct entry *e, hlc_t now)
{
    struct resolution ret = {0};
    size_t i;

    CHECK(e->count == 0 || e->siblings != NULL);
    for (i = 0; i < e->count; i++) {
        const struct sibling *s = &e->siblings[i];

        if (s->kind == SIBLING_REVOKE) {
            if (ret.revoke == NULL || sibling_compare_age(s, ret.revoke) > 0)
                ret.revoke = s;
        } else if (ret.winner == NULL || decides(s, ret.winner)) {
            ret.winner = s;
        }
    }
    CM_MARK_IF(e->count > 1, "resolve: several siblings");
    if (ret.revoke != NULL) {
        CM_MARK_IF(ret.winner != NULL &&
                       sibling_compare_age(ret.winner, ret.revoke) > 0,
                   "resolve: a revoke beats what is later");
        ret.winner = ret.revoke;
        return ret;
    }
    if (ret.winner == NULL || ret.winner->kind == SIBLING_TOMBSTONE)
        return ret;
    /* Resolve first, then expire: the expiry of a winner must not bring back
     * the loser that it beat. */
    ret.expired = ret.winner->expires != 0 && ret.winner->expires <= now;
    ret.present = !ret.expired;
    return ret;
}

static void pack_sibling(struct buffer *out, const struct sibling *s)
{
    pack_array(out, SIBLING_FIELDS);
    pack_uint(out, s->kind);
    dot_pack(out, &s->dot);
    pack_uint(out, s->hlc);
    pack_uint(out, s->flags);
    pack_uint(out, s->expires);
    pack_bin(out, s->author);
    pack_bin(out, s->value);
}

void entry_pack(struct buffer *out, const struct entry_id *id,
                const struct entry *e)
{
    size_t i;

    pack_array(out, 4);
    pack_uint(out, id->space);
    pack_bin(out, id->key);
    pack_bin(out, id->element);
    pack_array(out, e->count);
    for (i = 0; i < e->count; i++) {
        CHECK(i == 0 ||
              dot_compare(&e->siblings[i - 1].dot, &e->siblings[i].dot) < 0);
        pack_sibling(out, &e->siblings[i]);
    }
}

static int check_id(const struct entry_id *id)
{
    int error;

    switch (id->space) {
    case SPACE_REGISTER:
        error = op_check_key(id->key, NULL);
        if (error == 0 && id->element.size > 0)
            error = CM_ERR_MALFORMED;
        return error;
    case SPACE_SET:
        error = op_check_key(id->key, NULL);
        return error != 0 ? error
                          : op_check_element(id->key, id->element, NULL);
    case SPACE_ROSTER:
    case SPACE_FENCE:
        return id->key.size == INCARNATION_SIZE && id->element.size == 0
                   ? 0
                   : CM_ERR_MALFORMED;
    case SPACE_PROPOSAL:
        return id->key.size == PROPOSAL_KEY_SIZE && id->element.size == 0
                   ? 0
                   : CM_ERR_MALFORMED;
    }
    return CM_ERR_MALFORMED;
}

static bool kind_fits(enum space space, enum sibling_kind kind)
{
    switch (kind) {
    case SIBLING_PUT:
    case SIBLING_TOMBSTONE:
        return space == SPACE_REGISTER;
    case SIBLING_REVOKE:
        return space == SPACE_REGISTER || space == SPACE_SET;
    case SIBLING_ADD:
        return space == SPACE_SET;
    case SIBLING_MEMBER:
        return space == SPACE_ROSTER;
    case SIBLING_FENCE:
        return space == SPACE_FENCE;
    case SIBLING_ACK:
        return space == SPACE_PROPOSAL;
    }
    return false;
}

/* What no operation could have brought about is refused. */
static int check_sibling(enum space space, const struct sibling *s)
{
    bool put = s->kind == SIBLING_PUT;

    if (!kind_fits(space, s->kind) || s->hlc == 0 ||
        !utf8_is_valid(s->author) || (s->flags != 0 && !put) ||
        (s->expires != 0 && !put && s->kind != SIBLING_ADD))
        return CM_ERR_MALFORMED;
    if (s->kind >= SIBLING_MEMBER) {
        if (s->kind == SIBLING_MEMBER && s->value.size > CERTIFICATE_SIZE_MAX)
            return CM_ERR_TOO_LARGE;
        return s->value.size > 0 ? 0 : CM_ERR_MALFORMED;
    }
    if (s->kind == SIBLING_REVOKE)
        return op_check_reason(s->value, NULL) == 0 ? 0 : CM_ERR_MALFORMED;
    return put || s->value.size == 0 ? 0 : CM_ERR_MALFORMED;
}

static void unpack_sibling(struct unpacker *u, enum space space,
                           struct sibling *ret_sibling)
{
    struct sibling *s = ret_sibling;
    int error;

    unpack_array_of(u, SIBLING_FIELDS);
    s->kind = (enum sibling_kind)unpack_uint(u, SIBLING_ACK);
    dot_unpack(u, &s->dot);
    s->hlc = unpack_uint(u, UINT64_MAX);
    s->flags = unpack_uint(u, UINT64_MAX);
    s->expires = unpack_uint(u, UINT64_MAX);
    s->author = unpack_bin(u, AUTHOR_SIZE_MAX);
    s->value = unpack_bin(u, VALUE_SIZE_MAX);
    error = u->error == 0 ? check_sibling(space, s) : 0;
    if (error < 0)
        unpack_fail(u, error);
}

static void unpack_id(struct unpacker *u, struct entry_id *ret_id)
{
    int error;

    unpack_array_of(u, 4);
    ret_id->space = (enum space)unpack_uint(u, SPACE_LAST);
    ret_id->key = unpack_bin(u, KEY_SIZE_MAX);
    ret_id->element = unpack_bin(u, KEY_SIZE_MAX);
    error = u->error == 0 ? check_id(ret_id) : 0;
    if (error < 0)
        unpack_fail(u, error == CM_ERR_INVALID ? CM_ERR_MALFORMED : error);
}

void entry_unpack(struct unpacker *u, struct entry_id *ret_id,
                  struct entry *ret_entry)
{
    entry_init(ret_entry);
    entry_unpack_again(u, ret_id, ret_entry);
}

void entry_unpack_again(struct unpacker *u, struct entry_id *ret_id,
                        struct entry *entry)
{
    struct entry *e = entry;
    size_t count;

    e->count = 0;
    *ret_id = (struct entry_id){0};
    unpack_id(u, ret_id);
    count = unpack_array(u, UINT32_MAX);
    /* The bytes that are there bound what is allocated for them. */
    if (u->error == 0 &&
        count > (u->in.size - u->position) / SIBLING_PACKED_MIN)
        unpack_fail(u, CM_ERR_MALFORMED);
    /* An entry without siblings is an absent entry: it has no encoding. */
    if (u->error == 0 && count == 0)
        unpack_fail(u, CM_ERR_NONCANONICAL);
    if (u->error == 0 && reserve(e, count) < 0)
        unpack_fail(u, CM_ERR_NOMEM);
    while (u->error == 0 && e->count < count) {
        struct sibling *s = &e->siblings[e->count];

        unpack_sibling(u, ret_id->space, s);
        if (u->error == 0 && e->count > 0 &&
            dot_compare(&s[-1].dot, &s->dot) >= 0)
            unpack_fail(u, CM_ERR_NONCANONICAL);
        e->count += u->error == 0;
    }
}
