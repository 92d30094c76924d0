/* What an operation may contain. An origin asks before it writes, so that no
 * event exists which another node would have to refuse; messages therefore
 * speak to the person whose write is refused. */
#include "crdt/op.h"

#include "crdt/base/check.h"
#include "crdt/certificate.h"

enum space op_space(enum op_kind kind)
{
    switch (kind) {
    case OP_PUT:
    case OP_DEL:
    case OP_REVOKE:
        return SPACE_REGISTER;
    case OP_SET_ADD:
    case OP_SET_REMOVE:
    case OP_SET_REVOKE:
        return SPACE_SET;
    case OP_FENCE:
        return SPACE_FENCE;
    case OP_ACK:
        return SPACE_PROPOSAL;
    case OP_ROSTER_ADD:
    case OP_KNOWS:
        break;
    }
    CHECK(kind == OP_ROSTER_ADD || kind == OP_KNOWS);
    return SPACE_ROSTER;
}

struct entry_id op_entry_id(const struct op *op)
{
    return (struct entry_id){
        .space = op_space(op->kind), .key = op->key, .element = op->element};
}

int entry_id_compare(const struct entry_id *a, const struct entry_id *b)
{
    int order;

    if (a->space != b->space)
        return a->space < b->space ? -1 : 1;
    order = slice_compare(a->key, b->key);
    return order != 0 ? order : slice_compare(a->element, b->element);
}

int op_check_key(struct slice key, struct cm_detail *detail)
{
    if (key.size == 0)
        return cm_fail(detail, CM_ERR_INVALID,
                       "key is empty; name a key of 1 to %d bytes",
                       KEY_SIZE_MAX);
    if (key.size > KEY_SIZE_MAX)
        return cm_fail(detail, CM_ERR_TOO_LARGE,
                       "key has %zu bytes, the limit is %d; shorten it",
                       key.size, KEY_SIZE_MAX);
    if (!utf8_is_valid(key))
        return cm_fail(detail, CM_ERR_INVALID,
                       "key is not UTF-8 without NUL bytes; re-encode it");
    return 0;
}

int op_check_element(struct slice key, struct slice element,
                     struct cm_detail *detail)
{
    if (element.size == 0)
        return cm_fail(detail, CM_ERR_INVALID,
                       "element is empty; name an element of at least 1 byte");
    if (element.size > KEY_SIZE_MAX || key.size > KEY_SIZE_MAX - element.size)
        return cm_fail(detail, CM_ERR_TOO_LARGE,
                       "key and element have %zu and %zu bytes, the limit of "
                       "both together is %d; shorten one, or keep long data "
                       "in a value",
                       key.size, element.size, KEY_SIZE_MAX);
    if (!utf8_is_valid(element))
        return cm_fail(detail, CM_ERR_INVALID,
                       "element is not UTF-8 without NUL bytes; re-encode it");
    return 0;
}

static int check_roster(const struct op *op, struct cm_detail *detail)
{
    if (op->key.size != INCARNATION_SIZE)
        return cm_fail(detail, CM_ERR_INVALID,
                       "roster key has %zu bytes, an incarnation has %d",
                       op->key.size, INCARNATION_SIZE);
    if (op->value.size == 0)
        return cm_fail(detail, CM_ERR_INVALID,
                       "roster entry without a certificate; add one");
    if (op->value.size > CERTIFICATE_SIZE_MAX)
        return cm_fail(detail, CM_ERR_TOO_LARGE,
                       "certificate has %zu bytes, the limit is %d; name "
                       "fewer or shorter prefixes",
                       op->value.size, CERTIFICATE_SIZE_MAX);
    return 0;
}

/* Both name nothing that they replace: what a fence or an acknowledgement does
 * away with follows from all of them together. */
static int check_fence(const struct op *op, struct cm_detail *detail)
{
    if (op->key.size != INCARNATION_SIZE)
        return cm_fail(detail, CM_ERR_INVALID,
                       "fence key has %zu bytes, an incarnation has %d",
                       op->key.size, INCARNATION_SIZE);
    if (op->value.size == 0)
        return cm_fail(detail, CM_ERR_INVALID,
                       "fence is empty; name an evicted incarnation");
    if (op->value.size > VALUE_SIZE_MAX)
        return cm_fail(detail, CM_ERR_TOO_LARGE,
                       "fence has %zu bytes, the limit is %d; name fewer "
                       "incarnations",
                       op->value.size, VALUE_SIZE_MAX);
    return 0;
}

static int check_ack(const struct op *op, struct cm_detail *detail)
{
    if (op->key.size != PROPOSAL_KEY_SIZE ||
        get_be64(op->key.data + INCARNATION_SIZE) == 0)
        return cm_fail(detail, CM_ERR_INVALID,
                       "proposal key has %zu bytes or names no event; a dot "
                       "has %d",
                       op->key.size, PROPOSAL_KEY_SIZE);
    if (op->value.size > VALUE_SIZE_MAX)
        return cm_fail(detail, CM_ERR_TOO_LARGE,
                       "proposal has %zu bytes, the limit is %d; propose less",
                       op->value.size, VALUE_SIZE_MAX);
    return 0;
}

static int check_knows(const struct op *op, struct cm_detail *detail)
{
    if (op->key.size != INCARNATION_SIZE)
        return cm_fail(detail, CM_ERR_INVALID,
                       "announcement's key has %zu bytes, an incarnation has "
                       "%d",
                       op->key.size, INCARNATION_SIZE);
    if (op->level <= LEVEL_FIRST)
        return cm_fail(detail, CM_ERR_INVALID,
                       "level %u is known without an announcement; announce a "
                       "greater one",
                       op->level);
    return 0;
}

static bool has_value(enum op_kind kind)
{
    return kind == OP_PUT || kind == OP_ROSTER_ADD || kind == OP_FENCE ||
           kind == OP_ACK;
}

static bool is_revoke(enum op_kind kind)
{
    return kind == OP_REVOKE || kind == OP_SET_REVOKE;
}

int op_check_reason(struct slice reason, struct cm_detail *detail)
{
    if (reason.size > REASON_SIZE_MAX)
        return cm_fail(detail, CM_ERR_TOO_LARGE,
                       "reason has %zu bytes, the limit is %d; shorten it",
                       reason.size, REASON_SIZE_MAX);
    if (!utf8_is_valid(reason))
        return cm_fail(detail, CM_ERR_INVALID,
                       "reason is not UTF-8 without NUL bytes; re-encode it");
    return 0;
}

static int check_level(const struct op *op, struct cm_detail *detail)
{
    if (op->level > LEVEL_MAX)
        return cm_fail(detail, CM_ERR_INVALID, "level is %u, the limit is %d",
                       op->level, LEVEL_MAX);
    if (op->level != 0 && op->kind != OP_ROSTER_ADD && op->kind != OP_KNOWS)
        return cm_fail(detail, CM_ERR_INVALID,
                       "level given to a %s, which takes none; leave it out",
                       op_kind_name(op->kind));
    return 0;
}

static int check_value(const struct op *op, struct cm_detail *detail)
{
    if (op->kind == OP_PUT && op->value.size > VALUE_SIZE_MAX)
        return cm_fail(detail, CM_ERR_TOO_LARGE,
                       "value has %zu bytes, the limit is %d; split it over "
                       "several keys",
                       op->value.size, VALUE_SIZE_MAX);
    if (!has_value(op->kind) && !is_revoke(op->kind) && op->value.size > 0)
        return cm_fail(detail, CM_ERR_INVALID,
                       "value given to a %s, which takes none; leave it out",
                       op_kind_name(op->kind));
    if (op->kind != OP_PUT && op->flags != 0)
        return cm_fail(detail, CM_ERR_INVALID,
                       "flags given to a %s, which takes none; leave them out",
                       op_kind_name(op->kind));
    if (op->kind != OP_PUT && op->kind != OP_SET_ADD && op->expires != 0)
        return cm_fail(detail, CM_ERR_INVALID,
                       "expiry given to a %s, which never expires; leave it "
                       "out",
                       op_kind_name(op->kind));
    return 0;
}

static int check_author(struct slice author, struct cm_detail *detail)
{
    if (author.size > AUTHOR_SIZE_MAX)
        return cm_fail(detail, CM_ERR_TOO_LARGE,
                       "author has %zu bytes, the limit is %d; shorten it",
                       author.size, AUTHOR_SIZE_MAX);
    if (!utf8_is_valid(author))
        return cm_fail(detail, CM_ERR_INVALID,
                       "author is not UTF-8 without NUL bytes; re-encode it");
    return 0;
}

static int check_supersedes(const struct op *op, struct cm_detail *detail)
{
    size_t i;

    if (op->supersedes_count > 0 &&
        (op->kind == OP_FENCE || op->kind == OP_ACK || op->kind == OP_KNOWS))
        return cm_fail(detail, CM_ERR_INVALID,
                       "supersedes given to %s, which takes none; leave it out",
                       op_kind_name(op->kind));
    if (op->supersedes_count > OP_SUPERSEDES_MAX)
        return cm_fail(detail, CM_ERR_TOO_LARGE,
                       "supersedes names %zu dots, the limit is %d; delete "
                       "the key on fewer nodes at a time",
                       op->supersedes_count, OP_SUPERSEDES_MAX);
    for (i = 1; i < op->supersedes_count; i++) {
        if (dot_compare(&op->supersedes[i - 1], &op->supersedes[i]) >= 0)
            return cm_fail(detail, CM_ERR_INVALID,
                           "supersedes is not in ascending order at dot %zu; "
                           "sort it and drop duplicates",
                           i);
    }
    return 0;
}

/* What is no client's: its keys are names of incarnations and of dots. */
static int check_name(const struct op *op, struct cm_detail *detail)
{
    switch (op->kind) {
    case OP_ROSTER_ADD:
        return check_roster(op, detail);
    case OP_FENCE:
        return check_fence(op, detail);
    case OP_ACK:
        return check_ack(op, detail);
    case OP_KNOWS:
        return check_knows(op, detail);
    default:
        return op_check_key(op->key, detail);
    }
}

int op_check(const struct op *op, struct cm_detail *detail)
{
    int error;

    if (op->kind < OP_PUT || op->kind > OP_KIND_LAST)
        return cm_fail(detail, CM_ERR_INVALID,
                       "operation kind %d is unknown; use 1 to %d",
                       (int)op->kind, (int)OP_KIND_LAST);
    error = check_name(op, detail);
    if (error == 0 && op_space(op->kind) == SPACE_SET)
        error = op_check_element(op->key, op->element, detail);
    else if (error == 0 && op->element.size > 0)
        error = cm_fail(detail, CM_ERR_INVALID,
                        "element given to a %s, which takes none; use a set "
                        "operation",
                        op_kind_name(op->kind));
    if (error == 0)
        error = check_value(op, detail);
    if (error == 0 && is_revoke(op->kind))
        error = op_check_reason(op->value, detail);
    if (error == 0)
        error = check_level(op, detail);
    if (error == 0)
        error = check_author(op->author, detail);
    if (error == 0)
        error = check_supersedes(op, detail);
    return error;
}

const char *op_kind_name(enum op_kind kind)
{
    switch (kind) {
    case OP_PUT:
        return "put";
    case OP_DEL:
        return "del";
    case OP_REVOKE:
        return "revoke";
    case OP_SET_ADD:
        return "set-add";
    case OP_SET_REMOVE:
        return "set-remove";
    case OP_SET_REVOKE:
        return "set-revoke";
    case OP_ROSTER_ADD:
        return "roster-add";
    case OP_FENCE:
        return "fence";
    case OP_ACK:
        return "ack";
    case OP_KNOWS:
        return "knows";
    }
    return "unknown";
}

uint32_t op_level(const struct op *op)
{
    return is_revoke(op->kind) && op->value.size > 0 ? LEVEL_REASONS
                                                     : LEVEL_FIRST;
}
