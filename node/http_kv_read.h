/* GET /v1/kv: one key, a tree, names, siblings; at once or when it changes. */
#ifndef NODE_HTTP_KV_READ_H
#define NODE_HTTP_KV_READ_H

#include "node/http_request.h"

/* tree: recurse or keys is asked for, key is a prefix. Answers or parks. */
void http_kv_read(struct http_request *r, struct slice key, bool tree);

#endif
