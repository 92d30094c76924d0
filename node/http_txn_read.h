/* The body of /v1/txn as an intent. Two dialects of one thing: an object
 * {"ops":[{"op":…}…]}, and Consul's array [{"KV":{"Verb":…}}…]. */
#ifndef NODE_HTTP_TXN_READ_H
#define NODE_HTTP_TXN_READ_H

#include <jansson.h>

#include "node/intent.h"

/* Adds all operations of body to intent; the detail of an error names the one
 * at fault, which is *ret_failed. tag: of this replica's indexes (see
 * http_context_tag); an index of another replica makes its condition false. */
int http_txn_read(struct intent *intent, json_t *body, uint64_t tag,
                  struct cm_detail *detail, size_t *ret_failed);

#endif
