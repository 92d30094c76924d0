/* The text form of a transaction: one operation per line.
 *
 *   put KEY VALUE [--if-absent] [--if-version DOT] [--unrevoke] [--flags N]
 *   del KEY [--if-version DOT]
 *   revoke KEY
 *   set-add KEY ELEMENT [--unrevoke]
 *   set-remove KEY ELEMENT
 *   set-revoke KEY ELEMENT
 *
 * Words are separated by blanks; "…" holds blanks and the escapes \n \t \r \"
 * \\ \xHH, so that a value may be any bytes. Empty lines and lines that start
 * with # say nothing. */
#ifndef NODE_CLI_TXN_TEXT_H
#define NODE_CLI_TXN_TEXT_H

#include <jansson.h>

#include "crdt/base/buffer.h"
#include "crdt/base/error.h"

#define TXN_WORDS_MAX 8 /* words of one line */

/* The operations in the API's form; the caller decrefs. CM_ERR_INVALID with
 * the line, CM_ERR_NOMEM. */
int txn_text_parse(json_t **ret_ops, struct slice text,
                   struct cm_detail *detail);

#endif
