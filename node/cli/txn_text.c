/* See txn_text.h. A line is split into words first, all escapes resolved into
 * one buffer; then the words are read as an operation. */
#include "node/cli/txn_text.h"

#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/pack.h"
#include "crdt/limits.h"
#include "node/args.h"
#include "node/cli/text.h"

struct word {
    size_t at, size; /* in the buffer */
    bool quoted;     /* never a flag */
};

struct line {
    size_t number; /* from 1 */
    struct buffer bytes;
    struct word words[TXN_WORDS_MAX];
    size_t words_count;
    struct cm_detail *detail;
};

static struct slice word_slice(const struct line *l, size_t i)
{
    CHECK(i < l->words_count);
    const uint8_t *data = l->bytes.data;
    return data == NULL ? slice_of(NULL, 0)
                        : slice_of(data + l->words[i].at, l->words[i].size);
}

static bool word_is(const struct line *l, size_t i, const char *text)
{
    return slice_equal(word_slice(l, i), slice_of_string(text));
}

/* The escape after a backslash at text[at]; returns how many bytes it has. */
static size_t unescape(struct line *l, struct slice text, size_t at)
{
    static const char names[] = "ntr\"\\";
    static const char bytes[] = "\n\t\r\"\\";
    if (at >= text.size)
        return 0;
    char c = (char)text.data[at];
    const char *found = c == 0 ? NULL : strchr(names, c);
    if (found != NULL) {
        buffer_append_byte(&l->bytes, (uint8_t)bytes[found - names]);
        return 1;
    }
    if (c == 'x' && at + 2 < text.size) {
        char hex[3] = {(char)text.data[at + 1], (char)text.data[at + 2], 0};
        uint8_t byte;
        if (hex_decode(&byte, 1, hex) == 0) {
            buffer_append_byte(&l->bytes, byte);
            return 3;
        }
    }
    return 0;
}

/* A quoted word that starts after the quote at text[at]; ret_at is after the
 * closing one. */
static int quoted_word(struct line *l, struct slice text, size_t at,
                       size_t *ret_at)
{
    while (at < text.size && text.data[at] != '"') {
        if (text.data[at] != '\\') {
            buffer_append_byte(&l->bytes, text.data[at++]);
            continue;
        }
        size_t size = unescape(l, text, at + 1);
        if (size == 0)
            return cm_fail(l->detail, CM_ERR_INVALID,
                           "line %zu: unknown escape; there are \\n \\t \\r "
                           "\\\" \\\\ and \\xHH (lower case)",
                           l->number);
        at += 1 + size;
    }
    if (at >= text.size)
        return cm_fail(l->detail, CM_ERR_INVALID,
                       "line %zu: a quote is not closed", l->number);
    *ret_at = at + 1;
    return 0;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static int line_split(struct line *l, struct slice text)
{
    size_t at = 0;
    l->words_count = 0;
    buffer_clear(&l->bytes);
    for (;;) {
        while (at < text.size && is_blank(text.data[at]))
            at++;
        if (at == text.size || (l->words_count == 0 && text.data[at] == '#'))
            break;
        if (l->words_count == TXN_WORDS_MAX)
            return cm_fail(l->detail, CM_ERR_INVALID,
                           "line %zu: more than %d words; put a value with "
                           "blanks into \"quotes\"",
                           l->number, TXN_WORDS_MAX);
        struct word *w = &l->words[l->words_count++];
        w->at = l->bytes.size;
        w->quoted = text.data[at] == '"';
        if (w->quoted) {
            int error = quoted_word(l, text, at + 1, &at);
            if (error != 0)
                return error;
        } else {
            while (at < text.size && !is_blank(text.data[at]))
                buffer_append_byte(&l->bytes, text.data[at++]);
        }
        w->size = l->bytes.size - w->at;
    }
    return l->bytes.error == 0
               ? 0
               : cm_fail(l->detail, l->bytes.error, "line %zu: %s", l->number,
                         cm_strerror(l->bytes.error));
}

static int check_text(const struct line *l, const char *field, size_t i)
{
    struct slice s = word_slice(l, i);
    if (s.size == 0 || s.size > KEY_SIZE_MAX)
        return cm_fail(l->detail, CM_ERR_INVALID,
                       "line %zu: %s has %zu bytes, but must have 1 to %d",
                       l->number, field, s.size, KEY_SIZE_MAX);
    if (!utf8_is_valid(s))
        return cm_fail(l->detail, CM_ERR_INVALID,
                       "line %zu: %s is not valid UTF-8", l->number, field);
    return 0;
}

static int flag_number(const struct line *l, json_t *op, const char *name,
                       size_t i)
{
    char text[24] = "";
    struct slice s = word_slice(l, i);
    uint64_t number = 0;
    if (s.size < sizeof(text) && s.size > 0)
        memcpy(text, s.data, s.size);
    if (args_number(&number, text, INT64_MAX, name, NULL) != 0)
        return cm_fail(l->detail, CM_ERR_INVALID,
                       "line %zu: %s must be a number", l->number, name);
    (void)json_object_set_new(op, name, json_integer((json_int_t)number));
    return 0;
}

static int line_word(const struct line *l, json_t *op, char kind, size_t at);

/* Words from first on are flags. */
static int line_flags(const struct line *l, json_t *op, size_t first)
{
    for (size_t i = first; i < l->words_count; i++) {
        bool more = i + 1 < l->words_count;
        if (l->words[i].quoted)
            return cm_fail(l->detail, CM_ERR_INVALID,
                           "line %zu: a word too many", l->number);
        if (word_is(l, i, "--if-absent")) {
            (void)json_object_set_new(op, "if_absent", json_true());
        } else if (word_is(l, i, "--unrevoke")) {
            (void)json_object_set_new(op, "unrevoke", json_true());
        } else if (word_is(l, i, "--if-version") && more) {
            struct slice s = word_slice(l, ++i);
            json_t *dot = json_stringn((const char *)s.data, s.size);
            if (json_object_set_new(op, "if_version", dot) != 0)
                return cm_fail(l->detail, CM_ERR_INVALID,
                               "line %zu: --if-version is no text", l->number);
        } else if (word_is(l, i, "--reason") && more) {
            struct slice s = word_slice(l, ++i);
            json_t *why = json_stringn((const char *)s.data, s.size);
            if (json_object_set_new(op, "reason", why) != 0)
                return cm_fail(l->detail, CM_ERR_INVALID,
                               "line %zu: --reason is no text", l->number);
        } else if ((word_is(l, i, "--ttl") || word_is(l, i, "--expires-at")) &&
                   more) {
            const char *name = word_is(l, i, "--ttl") ? "ttl" : "expires";
            struct slice s = word_slice(l, ++i);
            json_t *when = json_stringn((const char *)s.data, s.size);
            if (json_object_set_new(op, name, when) != 0)
                return cm_fail(l->detail, CM_ERR_INVALID,
                               "line %zu: --%s is no text", l->number, name);
        } else if (word_is(l, i, "--element") && more) {
            int error = line_word(l, op, 'e', ++i);
            if (error != 0)
                return error;
        } else if (word_is(l, i, "--flags") && more) {
            int error = flag_number(l, op, "flags", ++i);
            if (error != 0)
                return error;
        } else {
            return cm_fail(l->detail, CM_ERR_INVALID,
                           "line %zu: '%.*s' is a word too many or an unknown "
                           "flag; put a value with blanks into \"quotes\"",
                           l->number, (int)word_slice(l, i).size,
                           (const char *)word_slice(l, i).data);
        }
    }
    return 0;
}

/* What follows an operation's name: k(ey), p(refix, perhaps ""), v(alue),
 * e(lement), i(ndex), d(ot of a sibling). */
static const struct {
    const char *name;
    const char *words;
} operations[] = {
    {"put", "kv"},           {"set", "kv"},
    {"cas", "kiv"},          {"del", "k"},
    {"delete", "k"},         {"delete-cas", "ki"},
    {"delete-tree", "p"},    {"get", "k"},
    {"get-tree", "p"},       {"check-index", "ki"},
    {"revoke", "k"},         {"check-not-exists", "k"},
    {"check-version", "kd"}, {"set-add", "ke"},
    {"set-remove", "ke"},    {"set-revoke", "ke"},
    {"resolve", "kd"},
};

static const char *word_name(char kind)
{
    switch (kind) {
    case 'k':
        return "KEY";
    case 'p':
        return "PREFIX";
    case 'v':
        return "VALUE";
    case 'e':
        return "ELEMENT";
    case 'i':
        return "INDEX";
    default:
        return "VERSION";
    }
}

/* The word at position at, of that kind, into op. */
static int line_word(const struct line *l, json_t *op, char kind, size_t at)
{
    const char *operation = json_string_value(json_object_get(op, "op"));
    struct slice s = word_slice(l, at);
    const char *member = "key";
    int error = 0;

    if (kind == 'v') {
        if (s.size > VALUE_SIZE_MAX)
            return cm_fail(l->detail, CM_ERR_INVALID,
                           "line %zu: VALUE has more than %d bytes", l->number,
                           VALUE_SIZE_MAX);
        cli_json_value(op, s);
        return 0;
    }
    if (kind == 'i')
        return flag_number(l, op, "index", at);
    if (kind == 'e')
        member = "element";
    else if (kind == 'd')
        member = strcmp(operation, "resolve") == 0 ? "keep" : "if_version";
    if (kind != 'p' || s.size > 0)
        error = check_text(l, word_name(kind), at);
    if (error == 0)
        (void)json_object_set_new(op, member,
                                  json_stringn((const char *)s.data, s.size));
    return error;
}

static size_t line_operation(const struct line *l)
{
    size_t count = sizeof(operations) / sizeof(operations[0]);
    size_t which = 0;
    while (which < count && !word_is(l, 0, operations[which].name))
        which++;
    return which;
}

static int line_parse(const struct line *l, json_t *ops)
{
    size_t which = line_operation(l);
    if (which == sizeof(operations) / sizeof(operations[0]))
        return cm_fail(l->detail, CM_ERR_INVALID,
                       "line %zu: unknown operation '%.*s'; there are put, "
                       "cas, del, delete-cas, delete-tree, get, get-tree, "
                       "check-index, check-not-exists, check-version, revoke, "
                       "set-add, set-remove, set-revoke and resolve",
                       l->number,
                       (int)(l->words[0].size < 40 ? l->words[0].size : 40),
                       (const char *)l->bytes.data);
    const char *words = operations[which].words;
    if (l->words_count < 1 + strlen(words))
        return cm_fail(
            l->detail, CM_ERR_INVALID, "line %zu: %s needs %s%s%s%s%s",
            l->number, operations[which].name, word_name(words[0]),
            words[1] != 0 ? " and " : "",
            words[1] != 0 ? word_name(words[1]) : "",
            words[1] != 0 && words[2] != 0 ? " and " : "",
            words[1] != 0 && words[2] != 0 ? word_name(words[2]) : "");
    json_t *op = json_object();
    if (op == NULL ||
        json_object_set_new(op, "op", json_string(operations[which].name)) != 0)
        return cm_fail(l->detail, CM_ERR_NOMEM, "out of memory");
    int error = 0;
    for (size_t i = 0; words[i] != 0 && error == 0; i++)
        error = line_word(l, op, words[i], 1 + i);
    if (error == 0)
        error = line_flags(l, op, 1 + strlen(words));
    if (json_array_append_new(ops, op) != 0 && error == 0)
        error = cm_fail(l->detail, CM_ERR_NOMEM, "out of memory");
    return error;
}

int txn_text_parse(json_t **ret_ops, struct slice text,
                   struct cm_detail *detail)
{
    CHECK(ret_ops != NULL);
    struct line l = {.detail = detail};
    json_t *ops = json_array();
    int error = ops == NULL ? CM_ERR_NOMEM : 0;
    buffer_init(&l.bytes, text.size + 1);
    while (text.size > 0 && error == 0) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        size_t size = end == NULL ? text.size : (size_t)(end - text.data);
        l.number++;
        error = line_split(&l, slice_of(text.data, size));
        if (error == 0 && l.words_count > 0)
            error = line_parse(&l, ops);
        if (error == 0 && json_array_size(ops) > EVENT_OPS_MAX)
            error = cm_fail(detail, CM_ERR_INVALID,
                            "line %zu: more than %d operations; split the "
                            "transaction",
                            l.number, EVENT_OPS_MAX);
        size += end == NULL ? 0 : 1;
        text = slice_of(text.data + size, text.size - size);
    }
    buffer_release(&l.bytes);
    if (error != 0) {
        json_decref(ops);
        return error;
    }
    *ret_ops = ops;
    return 0;
}
