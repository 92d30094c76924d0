/* libconfmesh: waiting for an event, here or at other members. */
#include <stdio.h>

#include "crdt/base/check.h"
#include "node/confmesh_internal.h"
#include "node/confmesh_private.h"

/* One wait under way; what the loop fills in is guarded by the mutex. */
struct wait_call {
    struct confmesh *c;
    struct dot dot;
    struct node_quorum quorum;
    bool here;
    uint64_t timeout_ms;
    bool done;
    int error;
    char text[384];
};

static void describe(struct wait_call *w,
                     const struct node_await_report *report)
{
    size_t at = 0;

    if (report->error != CM_ERR_TIMEOUT) {
        (void)snprintf(w->text, sizeof w->text, "the wait ended: %s",
                       cm_strerror(report->error));
        return;
    }
    if (w->here) {
        (void)snprintf(
            w->text, sizeof w->text,
            "the event has not arrived in time; of its incarnation the events "
            "up to %llu are here",
            (unsigned long long)node_committed_seq(w->c->node,
                                                   &w->dot.incarnation));
        return;
    }
    at = (size_t)snprintf(w->text, sizeof w->text,
                          "%zu of the %zu members wanted have committed it; "
                          "the write stands; not confirmed:",
                          report->confirmed, report->wanted);
    for (size_t i = 0; i < report->members_count; i++) {
        const struct node_await_member *m = &report->members[i];

        if (m->confirmed || at + NAME_SIZE_MAX + 16 > sizeof w->text)
            continue;
        at += (size_t)snprintf(w->text + at, sizeof w->text - at, " %s (%s)",
                               m->name, m->state);
    }
}

static void on_report(void *ctx, const struct node_await_report *report)
{
    struct wait_call *w = ctx;

    uv_mutex_lock(&w->c->mutex);
    CHECK(!w->done);
    w->error = report->error;
    if (w->error != 0)
        describe(w, report);
    w->done = true;
    uv_cond_broadcast(&w->c->changed);
    uv_mutex_unlock(&w->c->mutex);
}

static int await_on_loop(void *ctx)
{
    struct wait_call *w = ctx;

    if (!w->here && node_quorum_wanted(w->c->node, &w->quorum) >
                        node_quorum_members(w->c->node))
        return CM_ERR_INVALID;
    return node_await(w->c->node, &w->dot, w->here ? NULL : &w->quorum,
                      w->timeout_ms, on_report, w);
}

static int wait_for(struct wait_call *w)
{
    struct confmesh *c = w->c;
    int error = confmesh_enter(c);

    if (error != 0)
        return error;
    error = confmesh_on_loop(c, await_on_loop, w);
    uv_mutex_lock(&c->mutex);
    while (error == 0 && !w->done)
        uv_cond_wait(&c->changed, &c->mutex);
    uv_mutex_unlock(&c->mutex);
    confmesh_leave(c);
    if (error == CM_ERR_INVALID)
        return confmesh_fail(error, "more members are asked for than the "
                                    "roster has");
    if (error != 0)
        return confmesh_fail(error, "the wait was not taken: %s",
                             cm_strerror(error));
    return w->error == 0 ? 0 : confmesh_fail(w->error, "%s", w->text);
}

int confmesh_wait_here(struct confmesh *c, const char *token,
                       uint64_t timeout_ms)
{
    struct wait_call w = {.c = c, .here = true, .timeout_ms = timeout_ms};

    if (dot_parse(&w.dot, token) != 0)
        return confmesh_fail(CM_ERR_INVALID, "token: it is not one");
    return wait_for(&w);
}

int confmesh_wait_members(struct confmesh *c, const char *token,
                          const char *members, uint64_t timeout_ms)
{
    struct wait_call w = {.c = c, .timeout_ms = timeout_ms};
    struct cm_detail detail = {""};

    if (dot_parse(&w.dot, token) != 0)
        return confmesh_fail(CM_ERR_INVALID, "token: it is not one");
    if (node_quorum_parse(&w.quorum, members, &detail) != 0)
        return confmesh_fail(CM_ERR_INVALID, "%s", detail.text);
    return wait_for(&w);
}
