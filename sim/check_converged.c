/* Convergence: within the stated time all of the core is ready, and has one
 * vector and one digest. If not, the report says who lacks what of whom. */
#include "sim/check_internal.h"

static bool is_ready(const struct sim_check *c, const struct check_host *h)
{
    const struct node *n = check_node(c, h);

    return c->options.hosts == NULL ? h->up : n != NULL && node_is_ready(n);
}

bool sim_check_converged(const struct sim_check *c, const bool *core)
{
    const struct check_host *first = NULL;

    for (unsigned i = 0; i < c->options.hosts_count; i++) {
        const struct check_host *h = &c->hosts[i];

        if (!check_in_core(core, i))
            continue;
        if (!is_ready(c, h))
            return false;
        if (first == NULL)
            first = h;
        if (!hash_equal(&h->digest, &first->digest) ||
            !vv_equal(&h->vv, &first->vv))
            return false;
    }
    return true;
}

static const char *not_ready_because(const struct sim_check *c,
                                     const struct check_host *h)
{
    const struct node *n = check_node(c, h);

    return n != NULL ? node_not_ready_reason(n) : "it is down";
}

/* Whom and what of the first host's vector h misses, or has beyond it. */
static void report_apart(struct sim_check *c, const struct check_host *first,
                         const struct check_host *h)
{
    const struct check_host *pair[] = {first, h};

    for (unsigned side = 0; side < 2; side++) {
        const struct check_host *has = pair[side];
        const struct check_host *lacks = pair[1 - side];

        for (size_t i = 0; i < has->vv.count; i++) {
            const struct vv_entry *e = &has->vv.entries[i];
            uint64_t seq = vv_seq(&lacks->vv, &e->incarnation);
            struct dot dot = {e->incarnation, seq + 1};
            char text[DOT_TEXT_SIZE];

            if (seq >= e->seq)
                continue;
            dot_format(text, &dot);
            sim_check_report(c, SIM_CHECK_CONVERGENCE, lacks->number,
                             "lacks event %s, which n%u holds", text,
                             has->number);
            return;
        }
    }
    sim_check_report(c, SIM_CHECK_CONVERGENCE, h->number,
                     "shows another digest than n%u", first->number);
}

void check_converged(struct sim_check *c, const bool *core)
{
    const struct check_host *first = NULL;

    check_evaluated(c, SIM_CHECK_CONVERGENCE);
    for (unsigned i = 0; i < c->options.hosts_count; i++) {
        const struct check_host *h = &c->hosts[i];

        if (!check_in_core(core, i))
            continue;
        if (!is_ready(c, h)) {
            sim_check_report(c, SIM_CHECK_CONVERGENCE, i, "is not ready: %s",
                             not_ready_because(c, h));
            return;
        }
        if (first == NULL)
            first = h;
        if (!hash_equal(&h->digest, &first->digest) ||
            !vv_equal(&h->vv, &first->vv)) {
            report_apart(c, first, h);
            return;
        }
    }
}
