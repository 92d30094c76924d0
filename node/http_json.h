/* JSON: written by hand where speed counts and because the shapes are few;
 * read with jansson, strictly. */
#ifndef NODE_HTTP_JSON_H
#define NODE_HTTP_JSON_H

#include <jansson.h>

#include "crdt/base/buffer.h"
#include "crdt/base/error.h"
#include "crdt/dot.h"

/* A quoted, escaped string; text is UTF-8 (bytes below 0x20 are escaped). */
void http_json_string(struct buffer *out, struct slice text);
void http_json_text(struct buffer *out, const char *text); /* NUL-terminated */
/* Quoted base64 (RFC 4648, padded). */
void http_json_base64(struct buffer *out, struct slice bytes);
void http_json_u64(struct buffer *out, uint64_t v);
void http_json_dot(struct buffer *out, const struct dot *dot);
void http_json_bool(struct buffer *out, bool v);

/* What a request's body is: no duplicate names, nothing behind it, an empty
 * body = an empty object. Decref it. CM_ERR_MALFORMED with line and column. */
int http_json_parse_any(json_t **ret_value, struct slice body,
                        struct cm_detail *detail);
/* The same, an object without other members than these, NULL-terminated. */
int http_json_parse(json_t **ret_object, struct slice body,
                    const char *const *names, struct cm_detail *detail);
/* Refuses members that are not in the NULL-terminated list. */
int http_json_only(json_t *object, const char *const *names, const char *where,
                   struct cm_detail *detail);
/* An absent member leaves *ret as it is. Wrong types are CM_ERR_MALFORMED. */
int http_json_get_u64(json_t *object, const char *name, uint64_t *ret,
                      struct cm_detail *detail);
int http_json_get_bool(json_t *object, const char *name, bool *ret,
                       struct cm_detail *detail);
/* Borrowed from object. null counts as absent. */
int http_json_get_text(json_t *object, const char *name, struct slice *ret,
                       struct cm_detail *detail);

#endif
