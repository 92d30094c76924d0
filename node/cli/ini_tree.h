/* INI text as keys and values: [section] and name become "section/name", a
 * name before any section "name". */
#ifndef NODE_CLI_INI_TREE_H
#define NODE_CLI_INI_TREE_H

#include "crdt/base/buffer.h"
#include "crdt/base/error.h"

#define INI_LINE_MAX 197 /* bytes: what Debian's inih reads whole */

/* Not 0 stops and is returned. */
typedef int (*ini_tree_visit)(void *ctx, struct slice key, struct slice value);

/* A name that is given again, or goes on in indented lines, is one value of
 * several lines. CM_ERR_INVALID with the line. */
int ini_tree_parse(struct slice text, ini_tree_visit visit, void *ctx,
                   struct cm_detail *detail);
/* Appends "name = value" under its section; entries must come in key order.
 * section (KEY_SIZE_MAX + 1 bytes, at first "") remembers the section under
 * way. CM_ERR_INVALID with detail for what INI cannot hold. */
int ini_tree_append(struct buffer *out, char *section, struct slice key,
                    struct slice value, struct cm_detail *detail);

#endif
