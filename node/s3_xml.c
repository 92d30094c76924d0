/* One walk over the tags; text is what stands between a tag and its end. */
#include "node/s3_xml.h"

#include <string.h>

#include "crdt/base/check.h"

#define NAME_BYTES_MAX 4096 /* of a key, unescaped; S3 allows 1,024 */

struct tag {
    struct slice name;   /* without a namespace's prefix */
    bool end;            /* </name> */
    struct slice before; /* text since the tag before */
};

struct walk {
    struct slice left;
};

/* False when there is no further tag. Declarations and comments are passed
 * over. */
static bool next_tag(struct walk *w, struct tag *ret_tag)
{
    const uint8_t *text = w->left.data;

    while (w->left.size > 0) {
        const uint8_t *open = memchr(w->left.data, '<', w->left.size);
        const uint8_t *end = w->left.data + w->left.size;
        const uint8_t *close =
            open != NULL ? memchr(open, '>', (size_t)(end - open)) : NULL;
        const uint8_t *name;
        const uint8_t *at;

        if (close == NULL)
            return false;
        w->left = slice_of(close + 1, (size_t)(end - close - 1));
        name = open + 1;
        if (*name == '?' || *name == '!')
            continue;
        ret_tag->end = *name == '/';
        name += ret_tag->end;
        for (at = name; at < close && *at != ' ' && *at != '/' && *at != '\n' &&
                        *at != '\t' && *at != '\r';
             at++)
            if (*at == ':')
                name = at + 1;
        ret_tag->name = slice_of(name, (size_t)(at - name));
        ret_tag->before = slice_of(text, (size_t)(open - text));
        return true;
    }
    return false;
}

static bool is(const struct tag *tag, const char *name)
{
    return slice_equal(tag->name, slice_of_string(name));
}

bool s3_xml_find(struct slice *ret_text, struct slice xml, const char *element)
{
    struct walk w = {.left = xml};
    bool inside = false;
    struct tag tag;

    CHECK(element[0] != '\0');
    while (next_tag(&w, &tag)) {
        if (is(&tag, element) && tag.end && inside) {
            *ret_text = tag.before;
            return true;
        }
        inside = is(&tag, element) && !tag.end;
    }
    return false;
}

/* A code point as UTF-8. */
static int append_code(struct buffer *out, uint32_t code)
{
    if (code == 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return CM_ERR_MALFORMED;
    if (code < 0x80) {
        buffer_append_byte(out, (uint8_t)code);
    } else if (code < 0x800) {
        buffer_append_byte(out, (uint8_t)(0xc0 | code >> 6));
        buffer_append_byte(out, (uint8_t)(0x80 | (code & 0x3f)));
    } else {
        if (code >= 0x10000) {
            buffer_append_byte(out, (uint8_t)(0xf0 | code >> 18));
            buffer_append_byte(out, (uint8_t)(0x80 | (code >> 12 & 0x3f)));
        } else {
            buffer_append_byte(out, (uint8_t)(0xe0 | code >> 12));
        }
        buffer_append_byte(out, (uint8_t)(0x80 | (code >> 6 & 0x3f)));
        buffer_append_byte(out, (uint8_t)(0x80 | (code & 0x3f)));
    }
    return out->error;
}

/* &#N; and &#xN;, entity without & and ;. */
static int append_number(struct buffer *out, struct slice entity)
{
    uint32_t base = entity.size > 1 && entity.data[1] == 'x' ? 16 : 10;
    size_t i = base == 16 ? 2 : 1;
    uint32_t code = 0;

    if (i == entity.size || entity.size > 8)
        return CM_ERR_MALFORMED;
    for (; i < entity.size; i++) {
        uint8_t c = entity.data[i];
        uint32_t digit;

        if (c >= '0' && c <= '9')
            digit = c - '0';
        else if (base == 16 && (c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            digit = (uint32_t)(c | 0x20) - 'a' + 10;
        else
            return CM_ERR_MALFORMED;
        code = code * base + digit;
    }
    return append_code(out, code);
}

int s3_xml_unescape(struct buffer *out, struct slice text)
{
    static const struct {
        const char *name;
        char character;
    } known[] = {
        {"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}};

    while (text.size > 0) {
        const uint8_t *semicolon;
        struct slice entity;
        int error = CM_ERR_MALFORMED;
        size_t i;

        if (text.data[0] != '&') {
            buffer_append_byte(out, text.data[0]);
            text = slice_of(text.data + 1, text.size - 1);
            continue;
        }
        semicolon = memchr(text.data, ';', text.size);
        if (semicolon == NULL)
            return CM_ERR_MALFORMED;
        entity = slice_of(text.data + 1, (size_t)(semicolon - text.data - 1));
        text = slice_of(semicolon + 1, text.size - entity.size - 2);
        if (entity.size > 0 && entity.data[0] == '#')
            error = append_number(out, entity);
        for (i = 0; i < sizeof known / sizeof known[0]; i++) {
            if (slice_equal(entity, slice_of_string(known[i].name))) {
                buffer_append_byte(out, (uint8_t)known[i].character);
                error = 0;
            }
        }
        if (error != 0)
            return error;
    }
    return out->error;
}

static int add(struct object_list *l, struct slice text, const char *prefix,
               bool directory)
{
    size_t skip = strlen(prefix);
    struct buffer name;
    struct slice below;
    int error;

    buffer_init(&name, NAME_BYTES_MAX);
    error = s3_xml_unescape(&name, text);
    below = buffer_slice(&name);
    if (error == 0 && !slice_starts_with(below, slice_of_string(prefix)))
        error = CM_ERR_MALFORMED;
    if (error == 0) {
        below = slice_of(below.data + skip, below.size - skip);
        if (directory && below.size > 0 && below.data[below.size - 1] == '/')
            below.size--;
        /* With a slash inside: nobody asked for what lies deeper. */
        if (below.size > 0 && memchr(below.data, '/', below.size) == NULL)
            error = object_list_add(l, below, directory);
    }
    buffer_release(&name);
    return error;
}

int s3_xml_list(struct object_list *l, struct slice xml, const char *prefix,
                struct buffer *ret_token)
{
    struct walk w = {.left = xml};
    bool common = false;
    bool contents = false;
    bool truncated = false;
    bool whole = false;
    struct tag tag;
    int error = 0;

    buffer_clear(ret_token);
    while (error == 0 && next_tag(&w, &tag)) {
        if (is(&tag, "CommonPrefixes"))
            common = !tag.end;
        else if (is(&tag, "Contents"))
            contents = !tag.end;
        else if (!tag.end)
            continue;
        else if (is(&tag, "Key") && contents)
            error = add(l, tag.before, prefix, false);
        else if (is(&tag, "Prefix") && common)
            error = add(l, tag.before, prefix, true);
        else if (is(&tag, "IsTruncated"))
            truncated = slice_equal(tag.before, slice_of_string("true"));
        else if (is(&tag, "NextContinuationToken"))
            error = s3_xml_unescape(ret_token, tag.before);
        else if (is(&tag, "ListBucketResult"))
            whole = true;
    }
    if (error != 0)
        return error;
    if (!whole || truncated != (ret_token->size > 0)) {
        if (!whole || truncated)
            return CM_ERR_MALFORMED;
        buffer_clear(ret_token); /* a token that nobody needs */
    }
    return 0;
}
