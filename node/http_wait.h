/* Requests that wait for an event: a read that names a causal token (after=),
 * a write that names how many members must have it (wait-for=). Both bounded by
 * timeout= and by NODE_AWAITS_MAX. */
#ifndef NODE_HTTP_WAIT_H
#define NODE_HTTP_WAIT_H

#include "node/http_request.h"
#include "node/intent.h"

#define HTTP_WAIT_DEFAULT_MS 10000

/* Parameters of the query that belong to waiting; for lists of known ones. */
#define HTTP_WAIT_PARAMETERS "after", "timeout", "wait-for"

void http_wait_free(struct http_request *r);

/* True when the request may go on: it names no token, or what it names is
 * here. False after having answered, or parked: then again runs. */
bool http_wait_after(struct http_request *r, http_handler again);

/* Reads wait-for before anything is written. False after having refused: no
 * such number, more than there are members, too many waits. */
bool http_wait_begin(struct http_request *r);
/* The write is committed under dot. True when nothing is to be waited for: the
 * caller answers. False: the request is parked (or has been), and then is
 * called when the wait is over, whatever came of it; it answers. */
bool http_wait_written(struct http_request *r, const struct dot *dot,
                       http_handler then);
/* Of a wait that is over: 0, or why it failed, in words too. */
int http_wait_error(const struct http_request *r);
const char *http_wait_text(const struct http_request *r);
/* 200, or what its failure makes of the answer: the
 * write stands all the same. */
unsigned http_wait_status(const struct http_request *r);
/* Adds ,"wait":{…} to an object, and before it ,"error" and ,"detail" if the
 * wait failed; nothing if there was none. */
void http_wait_put(const struct http_request *r, struct buffer *out);
/* Headers with the same, for answers that are no objects. */
void http_wait_headers(struct http_request *r);

#endif
