/* Requests that wait for the node; see http_pending.h. */
#include "node/http_pending.h"

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/http_wait.h"

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

/* The members have it, or the time is over. */
static void on_waited(struct http_request *r)
{
    struct intent *intent = r->written;

    CHECK(intent != NULL);
    r->written_done(r, intent);
}

/* True when done is to be called at once. */
static bool wait_first(struct http_request *r, struct intent *intent,
                       http_pending_done done)
{
    struct dot none = {.seq = 0};
    bool wrote = intent->result == 0 && intent->wrote;

    CHECK(r->written == NULL);
    r->written = intent;
    r->written_done = done;
    if (http_wait_written(r, wrote ? &intent->dot : &none, on_waited))
        return true;
    return false;
}

static void on_intent(void *context, struct intent *intent)
{
    struct http_pending *p = context;
    http_pending_done done = p->done;
    bool step = p->step;
    struct http_request *r = http_pending_finish(p);

    if (r == NULL) {
        intent_free(intent);
        return;
    }
    CHECK(r->response == NULL);
    if (step) {
        done(r, intent);
        intent_free(intent);
    } else if (wait_first(r, intent, done)) {
        done(r, intent);
    }
    CHECK(r->response != NULL || r->pending != NULL);
    http_pending_wake(r);
}

static void submit(struct http_request *r, struct intent *intent,
                   http_pending_done done, bool step)
{
    struct http_pending *p;
    int error;

    CHECK(intent != NULL && done != NULL);
    if (!http_wait_begin(r)) {
        intent_free(intent);
        return;
    }
    p = http_pending_new(r);
    if (p == NULL) {
        intent_free(intent);
        return;
    }
    p->done = done;
    p->step = step;
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

void http_submit(struct http_request *r, struct intent *intent,
                 http_pending_done done)
{
    submit(r, intent, done, false);
}

void http_submit_step(struct http_request *r, struct intent *intent,
                      http_pending_done done)
{
    submit(r, intent, done, true);
}
