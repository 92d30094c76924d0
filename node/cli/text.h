/* Bytes, text and JSON, as the command line prints and sends them. */
#ifndef NODE_CLI_TEXT_H
#define NODE_CLI_TEXT_H

#include <jansson.h>
#include <stdio.h>

#include "crdt/base/buffer.h"
#include "crdt/base/error.h"

/* An operation on key, element may be NULL. Never NULL: memory that small ends
 * the process. */
json_t *cli_op(const char *op, struct slice key, const char *element);
/* Adds the value as text, or as "value64" when it is not text. */
void cli_json_value(json_t *object, struct slice value);

/* Prints one line of compact JSON and a line feed. */
void cli_print_json(const json_t *value);
bool cli_has_printed_json(void); /* in this process */
/* Prints bytes so that one line stays one line: control characters and what is
 * no UTF-8 as in C, "\n", "\x1b", and a backslash doubled. */
void cli_print_escaped(FILE *to, struct slice bytes);
/* Decodes base64 text (standard alphabet, padded) to out. */
int cli_base64_decode(const char *text, struct buffer *out);

#endif
