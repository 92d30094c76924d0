/* A request for which the node is at work (a write, a token, a snapshot).
 *
 * The node's answer may come after the server is gone: what it is given as
 * context is this small record, which outlives the request and knows whether
 * the request is still there. */
#ifndef NODE_HTTP_PENDING_H
#define NODE_HTTP_PENDING_H

#include "node/http_request.h"
#include "node/intent.h"

typedef void (*http_pending_done)(struct http_request *r,
                                  struct intent *intent);

struct http_pending {
    struct http_request *request; /* NULL once it is gone */
    struct http_pending *next;
    struct http_pending *prev;
    http_pending_done done;
    bool step; /* others follow: nothing is waited for yet */
};

/* NULL when memory is short (and answered). */
struct http_pending *http_pending_new(struct http_request *r);
/* The node has answered: gives the request back (NULL if it is gone) and frees
 * the record. */
struct http_request *http_pending_finish(struct http_pending *p);
/* The request goes before the node has answered. */
void http_pending_detach(struct http_request *r);
/* Parks unless the node has answered at once. */
void http_pending_park(struct http_request *r);
/* After the node's answer has been turned into r's: wakes it if it is parked
 * and has its answer. */
void http_pending_wake(struct http_request *r);

/* Takes the intent, in every case. done answers the request, or submits the
 * next one; it borrows the intent. A refused submission is answered here. What
 * was written is waited for first if the request asks for it (http_wait.h). */
void http_submit(struct http_request *r, struct intent *intent,
                 http_pending_done done);
/* The same, one step of several: the last one waits. */
void http_submit_step(struct http_request *r, struct intent *intent,
                      http_pending_done done);

#endif
