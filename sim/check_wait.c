/* What a wait says is so: who is told to have committed an event has it.
 *
 * A confirmation is the member's word of an instant before. It keeps what it
 * has, so that it has to have it still, unless a fault or a return gave it
 * another state or another name in between. */
#include <string.h>

#include "crdt/base/check.h"
#include "node/node.h"
#include "sim/check_internal.h"
#include "sim/host.h"
#include "sim/memory.h"

struct sim_check_wait {
    struct dot dot;
    uint32_t actors[]; /* of each host, when it began */
};

struct sim_check_wait *sim_check_wait_begin(struct sim_check *c,
                                            const struct dot *dot)
{
    struct sim_check_wait *w;

    CHECK(dot->seq > 0);
    if (c == NULL || c->options.blind)
        return NULL;
    w = sim_calloc(1, sizeof *w + c->options.hosts_count * sizeof *w->actors);
    w->dot = *dot;
    for (unsigned i = 0; i < c->options.hosts_count; i++)
        w->actors[i] = c->hosts[i].actor;
    return w;
}

static struct check_host *named(struct sim_check *c, const char *name)
{
    for (unsigned i = 0; i < c->options.hosts_count; i++)
        if (strcmp(sim_host_name(c->options.hosts[i]), name) == 0)
            return &c->hosts[i];
    return NULL;
}

/* Its state may be another one than the one that it spoke of, or it lies. */
static bool is_excused(const struct check_host *h, uint32_t actor)
{
    return h->actor != actor || !h->has_identity || h->fresh || h->hostile ||
           h->unsure || h->doubtful || h->rotten || h->torn || h->harmed ||
           h->rebuilt || h->restored || h->put_back || h->rolled_back ||
           h->cloned || h->twin != 0 || h->returned;
}

static void judge(struct sim_check *c, const struct sim_check_wait *w,
                  unsigned host, const struct node_await_report *report)
{
    size_t confirmed = 0;
    char text[DOT_TEXT_SIZE];

    dot_format(text, &w->dot);
    for (size_t i = 0; i < report->members_count; i++) {
        const struct check_host *h = named(c, report->members[i].name);

        if (!report->members[i].confirmed)
            continue;
        confirmed++;
        if (h == NULL || is_excused(h, w->actors[h->number]))
            continue;
        check_evaluated(c, SIM_CHECK_CONFIRMED);
        if (!vv_covers(&h->vv, &w->dot))
            sim_check_report(c, SIM_CHECK_CONFIRMED, host,
                             "its client is told that n%u has committed %s, "
                             "which it has not",
                             h->number, text);
    }
    if (report->confirmed != confirmed ||
        (report->error == 0 && confirmed < report->wanted))
        sim_check_report(c, SIM_CHECK_CONFIRMED, host,
                         "the wait for %s names %zu who have it, speaks of "
                         "%zu, and %zu were wanted (error %d)",
                         text, confirmed, report->confirmed, report->wanted,
                         report->error);
}

void sim_check_wait_end(struct sim_check *c, struct sim_check_wait *w,
                        unsigned host, const struct node_await_report *report)
{
    if (w == NULL)
        return;
    CHECK(c != NULL && host < c->options.hosts_count);
    if (report != NULL && report->error != CM_ERR_CLOSED && !c->forked)
        judge(c, w, host, report);
    sim_free(w);
}
