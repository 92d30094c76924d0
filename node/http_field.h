/* Members of a JSON object that is being written: the comma where one is due,
 * the name, the value. */
#ifndef NODE_HTTP_FIELD_H
#define NODE_HTTP_FIELD_H

#include "crdt/base/buffer.h"

/* The name alone; the caller writes the value behind it. */
void field_name(struct buffer *out, const char *name);
void field_number(struct buffer *out, const char *name, uint64_t v);
void field_signed(struct buffer *out, const char *name, int64_t v);
/* NULL is the empty text. */
void field_text(struct buffer *out, const char *name, const char *text);
/* At most HASH_SIZE bytes, as lower-case hex. */
void field_hex(struct buffer *out, const char *name, const void *bytes,
               size_t size);
void field_bool(struct buffer *out, const char *name, bool v);

#endif
