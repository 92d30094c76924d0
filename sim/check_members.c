/* What gossip says of who is there, against who really is. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/check.h"
#include "gossip/machine.h"
#include "sim/check_internal.h"

/* Neither of the pair was away or troubled for so long: no excuse left. */
#define CALM_US UINT64_C(60000000)
#define US_PER_HOUR 3.6e9

static const struct gossip *gossip_of(const struct sim_check *c,
                                      const struct check_host *h)
{
    const struct node *n = check_node(c, h);

    return n != NULL && h->has_identity ? node_gossip(n) : NULL;
}

/* The id of a host's key, which changes only with its disk. */
static const struct key_id *id_of(const struct sim_check *c, unsigned host)
{
    const uint8_t *key = sim_host_public_key(c->options.hosts[host]);
    struct check_host *h = &c->hosts[host];

    if (memcmp(h->public_key, key, sizeof h->public_key) != 0) {
        memcpy(h->public_key, key, sizeof h->public_key);
        h->key_id = key_id_of(key);
    }
    return &h->key_id;
}

static bool view_of(const struct sim_check *c, const struct gossip *g,
                    unsigned peer, struct member_view *ret_view)
{
    return gossip_member_find(g, id_of(c, peer), ret_view);
}

/* Only its owner raises an alive counter, and nobody takes it back. */
static void check_own_counter(struct sim_check *c, struct check_host *h)
{
    const struct gossip *g = gossip_of(c, h);

    if (g == NULL)
        return;
    if (h->counter_of_life != 0 && g->own.counter < h->counter_of_life)
        sim_check_report(c, SIM_CHECK_COUNTER, h->number,
                         "takes its own counter back from %" PRIu64
                         " to %" PRIu64,
                         h->counter_of_life, g->own.counter);
    /* A life begins at the clock; one that went back is refuted later. */
    if (h->counter_of_life == 0 && h->boot_wall_ms > h->counter) {
        check_evaluated(c, SIM_CHECK_COUNTER);
        if (g->own.counter < h->counter)
            sim_check_report(c, SIM_CHECK_COUNTER, h->number,
                             "begins anew with counter %" PRIu64
                             ", and was at %" PRIu64 " before",
                             g->own.counter, h->counter);
    }
    h->counter_of_life = g->own.counter;
    if (g->own.counter > h->counter)
        h->counter = g->own.counter;
    if (h->twin > 0 && c->hosts[h->twin - 1].counter < h->counter)
        c->hosts[h->twin - 1].counter = h->counter; /* it has to outdo it */
}

void check_members_down(struct sim_check *c, struct check_host *h)
{
    check_own_counter(c, h);
    h->counter_of_life = 0;
}

static void check_counter(struct sim_check *c, struct check_host *h,
                          struct check_host *peer, const struct member_view *v)
{
    struct check_view *seen = &h->views[peer->number];

    if (peer->hostile || peer->counter == 0)
        return;
    check_evaluated(c, SIM_CHECK_COUNTER);
    if (v->alive_counter < seen->counter)
        sim_check_report(c, SIM_CHECK_COUNTER, h->number,
                         "takes n%u's counter back from %" PRIu64
                         " to %" PRIu64,
                         peer->number, seen->counter, v->alive_counter);
    if (v->alive_counter > peer->counter)
        sim_check_report(c, SIM_CHECK_COUNTER, h->number,
                         "holds counter %" PRIu64
                         " of n%u, which is at %" PRIu64,
                         v->alive_counter, peer->number, peer->counter);
    seen->counter = v->alive_counter;
}

static bool is_gone(const struct member_view *v)
{
    return v->state == MEMBER_DEAD || v->state == MEMBER_LEFT;
}

static void walk(struct sim_check *c, struct check_host *h,
                 const struct gossip *g)
{
    for (unsigned p = 0; p < c->options.hosts_count; p++) {
        struct check_host *peer = &c->hosts[p];
        struct check_view *seen = &h->views[p];
        struct member_view v;

        if (p == h->number || peer->twin > 0 || h->twin > 0 ||
            !view_of(c, g, p, &v))
            continue;
        check_counter(c, h, peer, &v);
        bool calm =
            check_is_calm(c, h, CALM_US) && check_is_calm(c, peer, CALM_US);
        if (calm)
            check_evaluated(c, SIM_CHECK_FALSE_DEATH);
        if (v.state == MEMBER_DEAD && !seen->dead && calm)
            c->counters.false_deaths++;
        seen->dead = is_gone(&v);
        if (peer->up || h->hostile || peer->down_since_us == 0 ||
            check_now(c) - peer->down_since_us < c->options.dead_within_us ||
            !check_is_calm(c, h, c->options.dead_within_us))
            continue;
        check_evaluated(c, SIM_CHECK_COMPLETENESS);
        if (!is_gone(&v))
            sim_check_report(c, SIM_CHECK_COMPLETENESS, h->number,
                             "holds n%u to be there, which is away since "
                             "%" PRIu64 " ms",
                             p, (check_now(c) - peer->down_since_us) / 1000);
    }
}

void check_look_at_members(struct sim_check *c, struct check_host *h)
{
    const struct gossip *g = gossip_of(c, h);

    for (unsigned i = 0; i < c->options.hosts_count; i++)
        check_own_counter(c, &c->hosts[i]);
    if (g != NULL)
        walk(c, h, g);
}

/* Walks over those whose view has changed. */
void check_tick_members(struct sim_check *c)
{
    uint64_t calm = 0;
    uint64_t elapsed = check_now(c) - c->ticked_us;

    c->ticked_us = check_now(c);
    for (unsigned i = 0; i < c->options.hosts_count; i++) {
        calm += check_is_calm(c, &c->hosts[i], CALM_US);
        check_own_counter(c, &c->hosts[i]);
    }
    c->pair_hours += (double)(calm * (calm > 0 ? calm - 1 : 0)) *
                     (double)elapsed / US_PER_HOUR;
    for (unsigned i = 0; i < c->options.hosts_count; i++) {
        struct check_host *h = &c->hosts[i];
        const struct gossip *g = gossip_of(c, h);
        struct gossip_counters counters;

        if (g == NULL)
            continue;
        gossip_counters(g, &counters);
        uint64_t sum = counters.deaths + counters.refutations;
        if (sum != h->gossip_seen)
            walk(c, h, g);
        h->gossip_seen = sum;
    }
}

static void check_pair(struct sim_check *c, const struct check_host *h,
                       const struct check_host *peer, const struct gossip *g)
{
    struct member_view v;
    bool known = view_of(c, g, peer->number, &v);

    check_evaluated(c, SIM_CHECK_REFUTATION);
    if (known && !is_gone(&v))
        return;
    sim_check_report(c, SIM_CHECK_REFUTATION, h->number,
                     "holds n%u to be %s, which is up and untroubled since "
                     "%" PRIu64 " ms",
                     peer->number, known ? "dead" : "unknown",
                     (check_now(c) - peer->calm_since_us) / 1000);
}

void check_members_quiescent(struct sim_check *c, const bool *core)
{
    double allowed =
        c->pair_hours * (double)c->options.false_deaths_per_hour_ppm / 1e6 +
        (double)c->options.hosts_count;

    for (unsigned i = 0; i < c->options.hosts_count; i++) {
        const struct check_host *h = &c->hosts[i];
        const struct gossip *g = gossip_of(c, h);

        if (!check_in_core(core, i) || g == NULL || h->hostile)
            continue;
        for (unsigned p = 0; p < c->options.hosts_count; p++) {
            const struct check_host *peer = &c->hosts[p];
            if (p != i && check_in_core(core, p) && peer->has_identity &&
                !peer->hostile &&
                check_is_calm(c, h, c->options.dead_within_us) &&
                check_is_calm(c, peer, c->options.dead_within_us))
                check_pair(c, h, peer, g);
        }
    }
    if ((double)c->counters.false_deaths > allowed)
        sim_check_report(c, SIM_CHECK_FALSE_DEATH, SIM_CHECK_ALL_HOSTS,
                         "%" PRIu64 " members that were there were declared "
                         "dead in %.1f hours of pairs",
                         c->counters.false_deaths, c->pair_hours);
}

void check_members_wiped(struct sim_check *c, struct check_host *h)
{
    for (unsigned i = 0; i < c->options.hosts_count; i++)
        memset(&c->hosts[i].views[h->number], 0, sizeof(struct check_view));
    h->counter = 0;
    h->counter_of_life = 0;
}
