/* The operator of a simulated mesh: powers hosts on again, carries tokens to
 * joiners, and does not give up. Once a second he looks whether some host that
 * ought to run does not. */
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "sim/run_internal.h"

#define KEEPER_US (1 * SIM_SECOND)
#define ISSUER 0 /* the founder alone may issue tokens */
#define TOKEN_TTL_MS (UINT64_C(24) * 3600 * 1000)
#define JOIN_LIMIT_US (60 * SIM_SECOND)
#define LOOK_US (20 * SIM_MS)

static void boot(struct sim_run *r, unsigned host)
{
    struct sim_run_host *h = &r->hosts[host];
    struct sim_world *w = r->world;
    struct cm_detail detail = {""};

    CHECK(!sim_host_is_up(w->hosts[host]));
    int error = sim_world_boot(w, host, &detail);
    if (error == 0) {
        h->up_since_us = w->sched.now_us;
        h->boots_failed = 0;
        return;
    }
    h->boots_failed++;
    sim_sched_note(&w->sched, "boot-failed", host, (uint64_t) - (int64_t)error,
                   slice_of_string(detail.text));
    if (r->options.log != NULL)
        (void)fprintf(r->options.log, "host %u does not boot: %s\n", host,
                      detail.text);
}

static void account(struct sim_run *r, unsigned host)
{
    struct sim_run_host *h = &r->hosts[host];

    CHECK(r->world->sched.now_us >= h->up_since_us);
    r->result->node_us += r->world->sched.now_us - h->up_since_us;
    h->up_since_us = r->world->sched.now_us;
}

void sim_run_hosts_account(struct sim_run *r)
{
    for (unsigned i = 0; i < r->plan->nodes; i++)
        if (sim_host_is_up(r->world->hosts[i]))
            account(r, i);
}

/* ---- joining ---- */

struct carrying {
    struct sim_run *run;
    unsigned host;
};

/* The token arrives, or the issuer died: then he asks again. */
static void on_token(void *ctx, int error, const char *token,
                     const char *detail)
{
    struct carrying *c = ctx;
    struct sim_run *r = c->run;
    unsigned host = c->host;

    (void)detail;
    cm_free(c);
    r->hosts[host].asked = false;
    if (error != 0)
        return;
    CHECK(r->world->tokens[host] == NULL);
    size_t size = strlen(token) + 1;
    r->world->tokens[host] = cm_alloc(size);
    CHECK(r->world->tokens[host] != NULL);
    memcpy(r->world->tokens[host], token, size);
}

static void ask_token(struct sim_run *r, unsigned host)
{
    struct sim_host *issuer = r->world->hosts[ISSUER];

    if (!sim_host_is_up(issuer) || !node_is_ready(sim_host_node(issuer)))
        return;
    struct carrying *c = cm_alloc(sizeof *c);
    CHECK(c != NULL);
    *c = (struct carrying){.run = r, .host = host};
    r->hosts[host].asked = true;
    sim_host_enter(issuer);
    node_token_create(sim_host_node(issuer), 1, TOKEN_TTL_MS, on_token, c);
    sim_host_settle(issuer);
}

/* What the operator does about a host when he looks at it. */
static void tend(struct sim_run *r, unsigned host)
{
    struct sim_run_host *h = &r->hosts[host];
    struct sim_world *w = r->world;

    if (!h->wanted || h->holds > 0)
        return;
    if (sim_host_is_up(w->hosts[host])) {
        h->ready = h->ready || node_is_ready(sim_host_node(w->hosts[host]));
        return;
    }
    if (h->ready || host == ISSUER || w->tokens[host] != NULL)
        boot(r, host);
    else if (!h->asked)
        ask_token(r, host);
}

static void keep(void *context)
{
    struct sim_run *r = context;

    for (unsigned i = 0; i < r->plan->nodes; i++)
        tend(r, i);
    sim_sched_after(&r->world->sched, &r->keeper, KEEPER_US);
}

void sim_run_host_want(struct sim_run *r, unsigned host)
{
    CHECK(host < r->plan->nodes);
    r->hosts[host].wanted = true;
    tend(r, host);
}

void sim_run_host_hold(struct sim_run *r, unsigned host, enum sim_run_stop how)
{
    struct sim_run_host *h = &r->hosts[host];
    struct sim_host *s = r->world->hosts[host];

    CHECK(how == SIM_RUN_POWER_CUT);
    h->holds++;
    if (!sim_host_is_up(s))
        return;
    h->ready = h->ready || node_is_ready(sim_host_node(s));
    account(r, host);
    sim_world_power_cut(r->world, host);
}

void sim_run_host_release(struct sim_run *r, unsigned host)
{
    CHECK(r->hosts[host].holds > 0);
    r->hosts[host].holds--;
    tend(r, host);
}

/* ---- the first hour ---- */

/* Runs until host is ready, or the limit. Faults do not exist yet. */
static bool await_ready(struct sim_run *r, unsigned host)
{
    struct sim_sched *s = &r->world->sched;
    uint64_t limit = s->now_us + JOIN_LIMIT_US;

    while (s->now_us < limit && !r->hosts[host].ready) {
        sim_world_run_for(r->world, LOOK_US);
        tend(r, host);
    }
    return r->hosts[host].ready;
}

void sim_run_hosts_begin(struct sim_run *r)
{
    sim_event_init(&r->keeper, "keeper", 0, keep, r);
    for (unsigned i = 0; i < r->plan->joined && !r->over; i++) {
        sim_run_host_want(r, i);
        if (await_ready(r, i))
            continue;
        struct node *n = sim_host_node(r->world->hosts[i]);
        sim_run_fail(r, SIM_LIVENESS, "joining", i,
                     "n%u did not get ready within %u s, without any fault: %s",
                     i, (unsigned)(JOIN_LIMIT_US / SIM_SECOND),
                     n == NULL ? "it is not up" : node_not_ready_reason(n));
    }
    sim_sched_after(&r->world->sched, &r->keeper, KEEPER_US);
}
