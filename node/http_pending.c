/* Requests that wait for the node; see http_pending.h. */
#include "node/http_pending.h"

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

struct http_pending *http_pending_new(struct http_request *r)
{
    struct http_context *c = r->context;
    struct http_pending *p = cm_calloc(1, sizeof(*p));

    CHECK(r->pending == NULL && r->response == NULL);
    if (p == NULL) {
        http_refuse_code(r, CM_ERR_NOMEM, NULL);
        return NULL;
    }
    p->request = r;
    p->next = c->pendings;
    if (p->next != NULL)
        p->next->prev = p;
    c->pendings = p;
    r->pending = p;
    return p;
}

/* Takes it out of its request and of the list. */
static void unlink_pending(struct http_pending *p)
{
    struct http_context *c = p->request->context;

    CHECK(p->request->pending == p);
    if (p->prev != NULL)
        p->prev->next = p->next;
    else
        c->pendings = p->next;
    if (p->next != NULL)
        p->next->prev = p->prev;
    p->request->pending = NULL;
    p->request = NULL;
}

struct http_request *http_pending_finish(struct http_pending *p)
{
    struct http_request *r = p->request;

    if (r != NULL)
        unlink_pending(p);
    cm_free(p);
    return r;
}

void http_pending_detach(struct http_request *r)
{
    CHECK(r->pending != NULL);
    unlink_pending(r->pending);
    CHECK(r->pending == NULL);
}

void http_pending_park(struct http_request *r)
{
    if (r->response == NULL && !r->parked) {
        CHECK(r->pending != NULL);
        /* The write goes on whether or not its client stays, so leaving is not
         * looked for; a client that only half-closed gets its answer. */
        http_request_park(r, false);
    }
}

void http_pending_wake(struct http_request *r)
{
    if (r->parked && r->response != NULL)
        http_request_wake(r);
}

static void on_intent(void *context, struct intent *intent)
{
    struct http_pending *p = context;
    http_pending_done done = p->done;
    struct http_request *r = http_pending_finish(p);

    if (r != NULL) {
        CHECK(r->response == NULL);
        done(r, intent);
        CHECK(r->response != NULL || r->pending != NULL);
    }
    intent_free(intent);
    if (r != NULL)
        http_pending_wake(r);
}

void http_submit(struct http_request *r, struct intent *intent,
                 http_pending_done done)
{
    struct http_pending *p = http_pending_new(r);
    int error;

    CHECK(intent != NULL && done != NULL);
    if (p == NULL) {
        intent_free(intent);
        return;
    }
    p->done = done;
    intent->done = on_intent;
    intent->context = p;
    r->context->counters.writes++;
    error = node_submit(r->context->node, intent);
    if (error != 0) {
        intent_free(intent);
        (void)http_pending_finish(p);
        http_refuse_code(r, error, NULL);
        return;
    }
    http_pending_park(r);
}
