/* Keeping hosts up: see presence.h. */
#include "sim/presence.h"

#include <string.h>

#include "crdt/base/check.h"
#include "sim/check.h"
#include "sim/memory.h"
#include "sim/world.h"

#define TOKEN_TTL_MS (UINT64_C(24) * 3600 * 1000)
#define TOKEN_PATIENCE_US (10 * SIM_SECOND) /* then it is asked for again */
#define RENEW_PATIENCE_US                                                      \
    (30 * SIM_SECOND) /* then another one may be needed                        \
                       */

static struct sim_host *host_of(const struct sim_presence *p)
{
    return p->world->hosts[p->host];
}

static void look_later(struct sim_presence *p)
{
    sim_sched_after(&p->world->sched, &p->look, SIM_PRESENCE_LOOK_US);
}

void sim_presence_kick(struct sim_presence *p)
{
    sim_sched_after(&p->world->sched, &p->look, 0);
}

void sim_presence_note(struct sim_presence *p)
{
    struct sim_world *w = p->world;
    const struct node *n = sim_host_node(host_of(p));

    if (n == NULL || !node_is_ready(n))
        return;
    sim_free(w->tokens[p->host]); /* it starts by itself from now on */
    w->tokens[p->host] = NULL;
    p->joined = true;
    p->member = true;
    if (p->joining)
        sim_fault_happened(&w->faults, SIM_DEED_JOIN);
    p->joining = false;
}

static void on_token(void *ctx, int error, const char *token,
                     const char *detail)
{
    struct sim_presence *p = ctx;
    struct sim_world *w = p->world;

    p->asked = false;
    if (error != 0) { /* the next look asks again */
        if (w->options.log != NULL)
            (void)fprintf(w->options.log, "no token for host %u: %s\n", p->host,
                          detail != NULL ? detail : cm_strerror(error));
        return;
    }
    if (w->tokens[p->host] != NULL)
        return;
    size_t size = strlen(token) + 1;
    w->tokens[p->host] = sim_alloc(size);
    memcpy(w->tokens[p->host], token, size);
    sim_sched_after(&w->sched, &p->look, SIM_MS); /* carried over */
}

static void on_issuer(void *ctx, int error, const char *detail)
{
    struct sim_presence *p = ctx;
    struct sim_world *w = p->world;

    p->asked = false;
    if (error != 0 && w->options.log != NULL)
        (void)fprintf(w->options.log, "host %u does not issue: %s\n", p->issuer,
                      detail != NULL ? detail : cm_strerror(error));
    if (error == 0)
        sim_sched_after(&w->sched, &p->look, SIM_MS);
}

/* The operator with the authority's key. */
static void make_issuer(struct sim_presence *p)
{
    struct sim_host *issuer = p->world->hosts[p->issuer];
    struct buffer certificate;

    buffer_init(&certificate, CERTIFICATE_SIZE_MAX);
    sim_world_issuer_certificate(p->world, p->issuer, &certificate);
    sim_host_enter(issuer);
    node_issuer_set(sim_host_node(issuer), buffer_slice(&certificate),
                    on_issuer, p);
    sim_host_settle(issuer);
    buffer_release(&certificate);
}

static void ask(struct sim_presence *p)
{
    struct sim_world *w = p->world;
    struct sim_host *issuer = w->hosts[p->issuer];

    if (p->asked && w->sched.now_us - p->asked_us < TOKEN_PATIENCE_US)
        return;
    if (!sim_host_is_up(issuer) || !node_is_ready(sim_host_node(issuer)))
        return;
    p->asked = true;
    p->asked_us = w->sched.now_us;
    if (!node_is_issuer(sim_host_node(issuer))) {
        make_issuer(p);
        return;
    }
    sim_host_enter(issuer);
    node_token_create(sim_host_node(issuer), 1, TOKEN_TTL_MS, NULL, on_token,
                      p);
    sim_host_settle(issuer);
}

/* Its joining cannot succeed any more: the operator empties the directory. */
static void start_over(struct sim_presence *p)
{
    struct sim_world *w = p->world;

    if (sim_host_is_up(host_of(p)))
        sim_host_crash(host_of(p));
    sim_host_wipe(host_of(p));
    sim_free(w->tokens[p->host]);
    w->tokens[p->host] = NULL;
    p->issuer = 0; /* whoever it was may count no more */
    p->renewed = false;
}

/* It is told that no certificate from before an order counts. */
static bool asks_for_token(const struct sim_presence *p)
{
    struct node_status status;

    if (!p->world->renews || p->host == 0 ||
        p->world->sched.now_us < p->asked_us + RENEW_PATIENCE_US)
        return false;
    node_status_read(sim_host_node(host_of(p)), &status);
    return status.return_reason[0] != '\0' &&
           strstr(status.return_waits, "fresh token") != NULL;
}

/* Stopped until there is another one. */
static void renew(struct sim_presence *p)
{
    struct sim_world *w = p->world;

    sim_host_stop(host_of(p));
    sim_free(w->tokens[p->host]);
    w->tokens[p->host] = NULL;
    p->issuer = 0;
    p->wants_token = true;
}

static void look_up(struct sim_presence *p)
{
    struct sim_host *h = host_of(p);

    if (sim_host_is_broken(h)) {
        bool failed = node_has_failed(sim_host_node(h)) && !p->joined;

        if (failed && p->world->renews && !p->renewed) {
            p->renewed = true;
            renew(p);
        } else if (failed) {
            start_over(p);
        } else {
            sim_host_crash(h);
        }
        look_later(p);
    } else if (asks_for_token(p)) {
        renew(p);
        look_later(p);
    } else if (node_is_ready(sim_host_node(h))) {
        sim_presence_note(p);
        if (p->world->options.scrub_interval_ms > 0 || p->world->renews)
            look_later(p); /* its store may fail it yet, or its certificate */
    } else {
        look_later(p);
    }
}

static void on_look(void *context)
{
    struct sim_presence *p = context;
    struct sim_world *w = p->world;
    struct cm_detail detail = {""};

    if (!p->member || p->by_hand || p->away || p->goodbye.place != 0)
        return;
    if (sim_host_is_up(host_of(p))) {
        look_up(p);
        return;
    }
    look_later(p);
    if ((!p->joined || p->wants_token) && w->tokens[p->host] == NULL &&
        p->host != 0) {
        ask(p);
        return;
    }
    int error = sim_host_boot(host_of(p), w->tokens[p->host], &detail);
    p->wants_token = p->wants_token && error != 0;
    /* A store whose first pages were never written whole holds nothing. */
    if (error == CM_ERR_DAMAGED && !p->joined)
        start_over(p);
    /* Nor can one be used whose bits have rotted, and that left no facts. */
    if (error == CM_ERR_DAMAGED && p->joined && p->host != 0 &&
        sim_check_is_rotten(w->check, p->host)) {
        p->joined = false;
        start_over(p);
    }
    if (error != 0 && w->options.log != NULL)
        (void)fprintf(w->options.log, "host %u does not boot: %s\n", p->host,
                      detail.text);
}

static void on_goodbye(void *context)
{
    struct sim_presence *p = context;

    if (sim_host_is_up(host_of(p))) {
        sim_presence_note(p);
        sim_host_stop(host_of(p));
        sim_fault_happened(&p->world->faults, SIM_DEED_LEAVE);
    }
    sim_presence_kick(p);
}

void sim_presence_init(struct sim_presence *p, struct sim_world *w,
                       unsigned host)
{
    CHECK(w != NULL);
    *p = (struct sim_presence){.world = w, .host = host, .joined = host == 0};
    sim_event_init(&p->look, "look", host, on_look, p);
    sim_event_init(&p->goodbye, "goodbye", host, on_goodbye, p);
}

void sim_presence_set_away(struct sim_presence *p, bool away)
{
    p->away = away;
    if (!away)
        sim_presence_kick(p);
}

void sim_presence_crash(struct sim_presence *p)
{
    if (!sim_host_is_up(host_of(p)))
        return;
    sim_presence_note(p);
    sim_host_crash(host_of(p));
    sim_fault_happened(&p->world->faults, SIM_DEED_CRASH);
}

void sim_presence_power_cut(struct sim_presence *p)
{
    if (!sim_host_is_up(host_of(p)))
        return;
    sim_presence_note(p);
    sim_host_power_cut(host_of(p));
    sim_fault_happened(&p->world->faults, SIM_DEED_POWER_CUT);
}

void sim_presence_leave(struct sim_presence *p)
{
    if (!sim_host_is_up(host_of(p)))
        return;
    sim_host_leave(host_of(p));
    sim_sched_after(&p->world->sched, &p->goodbye, SIM_PRESENCE_GOODBYE_US);
}

void sim_presence_update(struct sim_presence *p)
{
    if (sim_host_level(host_of(p)) == LEVEL_LAST)
        return;
    sim_host_set_level(host_of(p), LEVEL_LAST);
    sim_fault_happened(&p->world->faults, SIM_DEED_UPDATE);
    if (!sim_host_is_up(host_of(p)))
        return;
    sim_presence_note(p);
    sim_host_stop(host_of(p));
    sim_presence_kick(p);
}

void sim_presence_wipe(struct sim_presence *p)
{
    struct sim_world *w = p->world;

    CHECK(p->host != 0); /* nobody else could let it in again */
    if (sim_host_is_up(host_of(p)))
        sim_host_power_cut(host_of(p));
    sim_host_wipe(host_of(p));
    sim_free(w->tokens[p->host]);
    w->tokens[p->host] = NULL;
    p->joined = false;
    p->issuer = 0;
    sim_fault_happened(&w->faults, SIM_DEED_WIPE);
}

void sim_presence_lose(struct sim_presence *p)
{
    struct sim_world *w = p->world;

    CHECK(!sim_host_is_up(host_of(p)));
    sim_sched_cancel(&w->sched, &p->goodbye);
    sim_host_wipe(host_of(p));
    sim_free(w->tokens[p->host]);
    w->tokens[p->host] = NULL;
    p->asked = false;
    p->issuer = 0;
    p->joined = p->host == 0;
}
