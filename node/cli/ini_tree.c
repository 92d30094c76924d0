/* See ini_tree.h. inih reads; it cuts long lines silently and knows no NUL, so
 * both are looked for before. */
#include "node/cli/ini_tree.h"

#include <ini.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/pack.h"
#include "crdt/limits.h"

struct parse {
    ini_tree_visit visit;
    void *ctx;
    struct buffer key, value;
    bool pending; /* key and value wait for a further line */
    int error;
};

static void flush(struct parse *p)
{
    if (p->pending && p->error == 0)
        p->error =
            p->visit(p->ctx, buffer_slice(&p->key), buffer_slice(&p->value));
    p->pending = false;
    buffer_clear(&p->value);
}

static int on_value(void *ctx, const char *section, const char *name,
                    const char *value)
{
    struct parse *p = ctx;
    struct buffer key;
    buffer_init(&key, 4 * INI_LINE_MAX);
    if (section[0] != 0) {
        buffer_append_string(&key, section);
        buffer_append_byte(&key, '/');
    }
    buffer_append_string(&key, name);
    if (p->pending && slice_equal(buffer_slice(&key), buffer_slice(&p->key))) {
        buffer_append_byte(&p->value, '\n');
    } else {
        flush(p);
        buffer_clear(&p->key);
        buffer_append_slice(&p->key, buffer_slice(&key));
        p->pending = true;
    }
    buffer_append_string(&p->value, value != NULL ? value : "");
    if (p->error == 0 && p->value.error != 0)
        p->error = p->value.error;
    if (p->error == 0 && (key.error != 0 || p->key.error != 0))
        p->error = CM_ERR_NOMEM;
    buffer_release(&key);
    return p->error == 0;
}

static int check_lines(struct slice text, struct cm_detail *detail)
{
    size_t number = 1;
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == 0)
            return cm_fail(detail, CM_ERR_INVALID,
                           "line %zu holds a NUL byte: this is no INI file",
                           number);
        size = text.data[i] == '\n' ? 0 : size + 1;
        if (size > INI_LINE_MAX)
            return cm_fail(detail, CM_ERR_INVALID,
                           "line %zu has more than %d bytes, the limit of "
                           "INI lines; use JSON",
                           number, INI_LINE_MAX);
        number += text.data[i] == '\n';
    }
    if (!utf8_is_valid(text))
        return cm_fail(detail, CM_ERR_INVALID,
                       "the file is not valid UTF-8; convert it");
    return 0;
}

int ini_tree_parse(struct slice text, ini_tree_visit visit, void *ctx,
                   struct cm_detail *detail)
{
    CHECK(visit != NULL);
    struct parse p = {.visit = visit, .ctx = ctx};
    int error = check_lines(text, detail);
    if (error != 0)
        return error;
    char *copy = cm_alloc(text.size + 1);
    if (copy == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    if (text.size > 0)
        memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    buffer_init(&p.key, 4 * INI_LINE_MAX);
    buffer_init(&p.value, VALUE_SIZE_MAX);
    int line = ini_parse_string(copy, on_value, &p);
    if (p.error == 0 && line > 0)
        p.error =
            cm_fail(detail, CM_ERR_INVALID,
                    "line %d is neither [section] nor name = value", line);
    if (p.error == 0 && line < 0)
        p.error = cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    flush(&p);
    buffer_release(&p.key);
    buffer_release(&p.value);
    cm_free(copy);
    return p.error;
}

/* ---- writing ---- */

struct expected {
    struct slice key, value;
    size_t seen;
    bool equal;
};

static int compare_back(void *ctx, struct slice key, struct slice value)
{
    struct expected *e = ctx;
    e->seen++;
    e->equal = slice_equal(key, e->key) && slice_equal(value, e->value);
    return 0;
}

/* The proof that an entry survives is to read it back. */
static bool reads_back(struct slice text, struct slice key, struct slice value)
{
    struct expected e = {.key = key, .value = value};
    return ini_tree_parse(text, compare_back, &e, NULL) == 0 && e.seen == 1 &&
           e.equal;
}

int ini_tree_append(struct buffer *out, char *section, struct slice key,
                    struct slice value, struct cm_detail *detail)
{
    CHECK(out != NULL && section != NULL);
    CHECK(key.size <= KEY_SIZE_MAX);
    struct buffer text;
    char own_section[KEY_SIZE_MAX + 1] = "";
    size_t name_at = 0;
    for (size_t i = 0; i < key.size; i++)
        if (key.data[i] == '/')
            name_at = i + 1;
    if (name_at > 0)
        memcpy(own_section, key.data, name_at - 1);
    buffer_init(&text, 3 * KEY_SIZE_MAX + VALUE_SIZE_MAX);
    if (name_at > 0)
        buffer_printf(&text, "[%s]\n", own_section);
    size_t head = text.size;
    buffer_append(&text, key.data + name_at, key.size - name_at);
    buffer_append_string(&text, " = ");
    for (size_t i = 0; i < value.size; i++) {
        buffer_append_byte(&text, value.data[i]);
        if (value.data[i] == '\n')
            buffer_append_string(&text, "    ");
    }
    buffer_append_byte(&text, '\n');
    int error = text.error;
    /* An empty name would be taken for more of the value above it. */
    bool named = name_at < key.size;
    if (error == 0 && !(named && reads_back(buffer_slice(&text), key, value)))
        error = cm_fail(detail, CM_ERR_INVALID,
                        "key '%.*s' cannot be written as INI (long lines, "
                        "binary or blank values, ';' or brackets); export "
                        "it with --json",
                        (int)(key.size < 80 ? key.size : 80),
                        (const char *)key.data);
    /* A name without section after one with: INI has no way back. */
    if (error == 0 && name_at == 0 && section[0] != 0)
        error = cm_fail(detail, CM_ERR_INVALID,
                        "key '%.*s' has no section, but comes after one",
                        (int)(key.size < 80 ? key.size : 80),
                        (const char *)key.data);
    if (error == 0) {
        bool same = strcmp(section, own_section) == 0;
        if (!same && out->size > 0)
            buffer_append_byte(out, '\n');
        buffer_append(out, text.data + (same ? head : 0),
                      text.size - (same ? head : 0));
        memcpy(section, own_section, sizeof(own_section));
        error = out->error;
    }
    buffer_release(&text);
    return error;
}
