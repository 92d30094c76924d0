/* The check: its life, what it is told, and what it answers. See check.h. */
#include "sim/check.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/writer_internal.h"
#include "sim/check_internal.h"

#define VECTORS_MIN 1024u
#define STREAMS_PER_HOST 16 /* that a node may have with each */
#define IDLE_BYTES_PER_SECOND_MAX 1000u
#define MEMORY_MAX (64u << 20) /* the model of all that ever happened */
#define MEMORY_PER_HOST_MAX (8u << 20)
#define BYTES_PER_SECOND_MAX (4u << 20)
#define DEAD_WITHIN_US UINT64_C(90000000)
#define FALSE_DEATHS_PER_HOUR_PPM 10000u /* of a pair: one in 100 hours */

static const struct {
    const char *name;
    enum sim_check_kind kind;
    const char *text;
} invariants[] = {
#define ROW(id, name, kind, text) {name, SIM_CHECK_##kind, text},
    SIM_CHECK_MAP(ROW)
#undef ROW
};

int sim_check_create(struct sim_check **ret_check,
                     const struct sim_check_options *options)
{
    struct sim_check *c = cm_calloc(1, sizeof *c);

    CHECK(options->hosts_count > 0 && options->sched != NULL);
    if (c == NULL)
        return CM_ERR_NOMEM;
    c->options = *options;
    c->memory_before = mallinfo2().uordblks;
    if (c->options.bytes_per_second_max == 0)
        c->options.bytes_per_second_max = BYTES_PER_SECOND_MAX;
    if (c->options.dead_within_us == 0)
        c->options.dead_within_us = DEAD_WITHIN_US;
    if (c->options.false_deaths_per_hour_ppm == 0)
        c->options.false_deaths_per_hour_ppm = FALSE_DEATHS_PER_HOUR_PPM;
    c->model = sim_model_create(options->authority_public_key);
    c->hosts = cm_calloc(options->hosts_count, sizeof *c->hosts);
    c->vectors = cm_calloc(VECTORS_MIN, sizeof *c->vectors);
    CHECK(c->hosts != NULL && c->vectors != NULL);
    c->vectors_size = VECTORS_MIN;
    for (unsigned i = 0; i < options->hosts_count; i++) {
        struct check_host *h = &c->hosts[i];
        h->number = i;
        h->fresh = true;
        h->actor = SIM_MODEL_NO_ACTOR;
        h->former = SIM_MODEL_NO_ACTOR;
        vv_init(&h->vv);
        vv_init(&h->restored_vv);
        h->state = sim_model_state_create(c->model);
        buffer_init(&h->cursor_bytes, 4096);
        h->views = cm_calloc(options->hosts_count, sizeof *h->views);
        CHECK(h->views != NULL);
    }
    *ret_check = c;
    return 0;
}

void sim_check_free(struct sim_check *c)
{
    if (c == NULL)
        return;
    check_watches_free(c);
    check_snapshots_free(c);
    check_cover_free(c);
    for (unsigned i = 0; i < c->options.hosts_count; i++) {
        struct check_host *h = &c->hosts[i];
        vv_release(&h->vv);
        vv_release(&h->restored_vv);
        buffer_release(&h->cursor_bytes);
        cm_free(h->seqs);
        cm_free(h->applied);
        cm_free(h->log);
        cm_free(h->views);
        sim_model_state_free(h->state);
        floor_release(&h->floor);
    }
    for (size_t i = 0; i < c->known_count; i++)
        cm_free(c->known[i].seqs);
    cm_free(c->known);
    cm_free(c->suspects);
    cm_free(c->branches);
    cm_free(c->names);
    cm_free(c->uniques);
    cm_free(c->vectors);
    cm_free(c->hosts);
    sim_model_free(c->model);
    cm_free(c);
}

/* ---- violations ---- */

const struct sim_check_violation *sim_check_violation(const struct sim_check *c)
{
    return c->violations > 0 ? &c->violation : NULL;
}

const char *sim_check_name(enum sim_check_invariant i)
{
    CHECK((unsigned)i < SIM_CHECK_INVARIANTS);
    return invariants[i].name;
}

void sim_check_report(struct sim_check *c, enum sim_check_invariant i,
                      unsigned host, const char *format, ...)
{
    struct sim_check_violation *v = &c->violation;
    va_list arguments;
    size_t size;

    CHECK((unsigned)i < SIM_CHECK_INVARIANTS);
    if (c->options.blind)
        return;
    if (host < c->options.hosts_count && c->hosts[host].harmed && !c->judging)
        return;
    c->violations++;
    if (c->violations > 1)
        return;
    v->kind = invariants[i].kind;
    v->invariant = i;
    v->fingerprint = invariants[i].name;
    v->at_us = check_now(c);
    v->host = host;
    if (host == SIM_CHECK_ALL_HOSTS)
        (void)snprintf(v->text, sizeof v->text, "%s: ", v->fingerprint);
    else
        (void)snprintf(v->text, sizeof v->text, "%s at n%u: ", v->fingerprint,
                       host);
    size = strlen(v->text);
    va_start(arguments, format);
    (void)vsnprintf(v->text + size, sizeof v->text - size, format, arguments);
    va_end(arguments);
    size = strlen(v->text);
    (void)snprintf(v->text + size, sizeof v->text - size, " (must hold: %s)",
                   invariants[i].text);
}

void sim_check_read_counters(const struct sim_check *c,
                             struct sim_check_counters *ret_counters)
{
    *ret_counters = c->counters;
}

/* ---- small helpers ---- */

uint64_t check_now(const struct sim_check *c)
{
    return c->options.sched->now_us;
}

void check_evaluated(struct sim_check *c, enum sim_check_invariant i)
{
    CHECK((unsigned)i < SIM_CHECK_INVARIANTS);
    c->counters.evaluated[i]++;
}

struct sim_model_view check_view_of(const struct check_host *h)
{
    return sim_model_state_view(h->state);
}

void check_dot_text(char ret_text[DOT_TEXT_SIZE], const struct sim_model *m,
                    uint32_t actor, uint64_t seq)
{
    struct dot dot = {.incarnation = *sim_model_incarnation(m, actor),
                      .seq = seq};
    dot_format(ret_text, &dot);
}

void check_key_text(char ret_text[CHECK_KEY_TEXT_SIZE],
                    const struct entry_id *id)
{
    if (id->space == SPACE_ROSTER) {
        (void)snprintf(ret_text, CHECK_KEY_TEXT_SIZE, "of the roster");
        return;
    }
    (void)snprintf(ret_text, CHECK_KEY_TEXT_SIZE, "%.*s%s%.*s",
                   (int)(id->key.size < 48 ? id->key.size : 48),
                   (const char *)id->key.data,
                   id->space == SPACE_SET ? " element " : "",
                   (int)(id->element.size < 16 ? id->element.size : 16),
                   id->element.size > 0 ? (const char *)id->element.data : "");
}

struct node *check_node(const struct sim_check *c, const struct check_host *h)
{
    struct sim_host *host;

    if (c->options.hosts == NULL || !h->up)
        return NULL;
    host = c->options.hosts[h->number];
    return host != NULL ? sim_host_node(host) : NULL;
}

bool check_in_core(const bool *core, unsigned host)
{
    return core == NULL || core[host];
}

static struct check_host *host_of(struct sim_check *c, unsigned host)
{
    CHECK(host < c->options.hosts_count);
    return &c->hosts[host];
}

/* ---- boot, power cut, wipe ---- */

static void calm_begins(struct sim_check *c, struct check_host *h)
{
    h->calm_since_us = check_now(c);
}

bool check_is_calm(const struct sim_check *c, const struct check_host *h,
                   uint64_t for_us)
{
    return h->up && h->trouble == 0 && c->everybody_troubled == 0 &&
           check_now(c) - h->calm_since_us >= for_us;
}

/* An event that was lost with its origin's power never was. */
static void forget_tentative(struct sim_check *c, struct check_host *h)
{
    if (!h->has_identity)
        return;
    for (;;) {
        uint64_t seq = sim_model_seq(c->model, h->actor);
        struct sim_model_event *e = sim_model_find(c->model, h->actor, seq);

        if (e == NULL || !e->tentative)
            return;
        if (h->actor < h->seqs_count && h->seqs[h->actor] >= seq) {
            e->tentative = false;
            continue;
        }
        sim_model_remove(c->model, e);
        check_forget_known(c, h->actor, sim_model_seq(c->model, h->actor));
    }
}

/* What was durable is still there. */
static bool check_kept(struct sim_check *c, struct check_host *h,
                       const struct vv *vv)
{
    for (size_t i = 0; i < h->vv.count; i++) {
        const struct vv_entry *had = &h->vv.entries[i];
        uint32_t actor = sim_model_actor(c->model, &had->incarnation);
        uint64_t has = vv_seq(vv, &had->incarnation);
        char text[DOT_TEXT_SIZE];

        if (has >= had->seq)
            continue;
        for (uint64_t seq = has + 1; seq <= had->seq; seq++) {
            struct sim_model_event *e = sim_model_find(c->model, actor, seq);
            if (e == NULL || !e->acknowledged || actor != h->actor)
                continue;
            check_dot_text(text, c->model, actor, seq);
            sim_check_report(c, SIM_CHECK_ACKNOWLEDGED, h->number,
                             "event %s was acknowledged and is lost since the "
                             "restart",
                             text);
            return false;
        }
        check_dot_text(text, c->model, actor, had->seq);
        sim_check_report(c, SIM_CHECK_VECTOR_BACK, h->number,
                         "was at %s, and at %" PRIu64 " after a restart", text,
                         has);
        return false;
    }
    return true;
}

static void take_identity(struct sim_check *c, struct check_host *h,
                          const struct incarnation *incarnation)
{
    uint32_t actor = sim_model_actor(c->model, incarnation);

    if (h->has_identity && h->actor != actor) {
        forget_tentative(c, h);
        h->former = h->actor;
    }
    h->actor = actor;
    h->has_identity = true;
}

static void take_boot(struct sim_check *c, unsigned host,
                      const struct incarnation *incarnation,
                      const struct commit_result *first)
{
    struct check_host *h = host_of(c, host);
    bool kept = true;

    if (!h->up)
        calm_begins(c, h);
    if (c->options.hosts != NULL)
        h->boot_wall_ms = sim_host_wall_ms(c->options.hosts[host]);
    c->next_tick_us = 0; /* its alive counter is looked at as it begins */
    h->up = true;
    h->dying = false;
    h->told_wall_ms = 0; /* a commit of this life tells what is due */
    h->asked = 0;
    memset(h->views, 0, c->options.hosts_count * sizeof *h->views);
    h->gossip_seen = 0;
    if (first == NULL)
        return;
    CHECK(incarnation != NULL);
    take_identity(c, h, incarnation);
    check_unique_read(c, h);
    if (first->roster != NULL)
        check_founder(c, first->roster);
    if (h->cloned)
        check_cloned(c, h, &first->vv);
    if (c->forked) {
        if (h->put_back)
            check_suspect(c, incarnation, vv_seq(&first->vv, incarnation));
        h->put_back = false;
        check_weakly(h, &first->vv, &first->digest, first->revision);
        return;
    }
    if (h->fresh)
        check_standing_anew(h); /* an old disk has an old floor */
    if (h->restored)
        check_restored(c, h, &first->vv);
    if (h->put_back)
        check_put_back(c, h, &first->vv);
    if (!h->fresh) {
        check_evaluated(c, SIM_CHECK_VECTOR_BACK);
        check_evaluated(c, SIM_CHECK_REVISION_BACK);
        kept = check_kept(c, h, &first->vv);
        if (kept && first->revision < h->revision)
            sim_check_report(c, SIM_CHECK_REVISION_BACK, host,
                             "revision %" PRIu64 " after a restart, %" PRIu64
                             " before",
                             first->revision, h->revision);
    }
    /* When commits were of which nobody was told, nobody knows either. */
    if (first->revision > h->revision)
        check_ends_clock(h, h->boot_wall_ms, false);
    if (h->fresh || !kept)
        (void)check_adopt(c, h, &first->vv, first->revision);
    else
        check_catch_up(c, h, &first->vv, first->revision, 0);
    forget_tentative(c, h);
    h->revision = first->revision;
    h->control = true;
    check_state(c, h, &first->vv, &first->digest);
    check_standing(c, h);
    if (first->roster != NULL)
        check_roster(c, h, first->roster);
    h->fresh = false;
    h->doubtful = false;
}

static void take_power_cut(struct sim_check *c, unsigned host)
{
    struct check_host *h = host_of(c, host);

    check_members_down(c, h);
    check_unique_read(c, h);
    h->dying = true;
    h->up = false;
    h->asked = 0;
    h->down_since_us = check_now(c);
}

void sim_check_on_wipe(struct sim_check *c, unsigned host)
{
    if (c == NULL)
        return;
    struct check_host *h = host_of(c, host);
    struct vv empty;

    CHECK(!h->up);
    h->rotten = false;
    if (c->options.blind)
        return;
    check_unique_rob(c, h);
    check_branches_forget(c, h);
    forget_tentative(c, h);
    vv_init(&empty);
    if (c->forked)
        check_weakly(h, &empty, &h->digest, 0);
    else
        (void)check_adopt(c, h, &empty, 0);
    check_members_wiped(c, h);
    check_standing_anew(h);
    h->fresh = true;
    h->has_identity = false;
    h->actor = SIM_MODEL_NO_ACTOR;
    h->revision = 0;
    h->doubtful = false;
    h->unsure = c->forked;
    h->torn = h->harmed = h->rebuilt = false;
    h->rolled_back = h->cloned = false;
    h->put_back = false;
    h->former = SIM_MODEL_NO_ACTOR;
}

void sim_check_set_trouble(struct sim_check *c, unsigned host, bool on)
{
    if (c == NULL || c->options.blind)
        return;
    unsigned *count = &c->everybody_troubled;

    if (host != SIM_CHECK_ALL_HOSTS)
        count = &host_of(c, host)->trouble;
    CHECK(on || *count > 0);
    *count += on ? 1 : UINT32_MAX;
    for (unsigned i = 0; !on && i < c->options.hosts_count; i++) {
        if (host == SIM_CHECK_ALL_HOSTS || host == i)
            calm_begins(c, &c->hosts[i]);
    }
}

void sim_check_set_hostile(struct sim_check *c, unsigned host)
{
    if (c == NULL)
        return;
    host_of(c, host)->hostile = true;
    c->any_hostile = true;
}

/* ---- commits ---- */

/* The platter may hold it, or not: told at the next boot. */
static void keep_tentative(struct sim_check *c, struct check_host *h,
                           const struct commit_result *r)
{
    for (size_t i = 0; i < r->events_count; i++) {
        uint64_t known = sim_model_seq(c->model, h->actor);
        struct sim_model_event *e = NULL;

        if (r->events[i].own)
            e = check_own_event(c, h, r->events[i].bytes);
        else
            (void)check_foreign_event(c, h, &r->events[i].dot,
                                      r->events[i].bytes);
        if (e != NULL && e->decoded.dot.seq > known)
            e->tentative = true;
    }
}

/* A commit that failed may yet be on the platter, as one that a power cut
 * hit. */
static bool has_failed(const struct commit_result *r)
{
    for (const struct intent *i = r->intents; i != NULL; i = i->next) {
        if (i->result == CM_ERR_IO || i->result == CM_ERR_FULL ||
            i->result == CM_ERR_DAMAGED || i->result == CM_ERR_NOMEM)
            return true;
    }
    return false;
}

static void check_result(struct sim_check *c, struct check_host *h,
                         const struct commit_result *r)
{
    /* What a node owes it writes before it knows that its disk went back. */
    if (r->alarm_fork && !c->any_hostile && !c->any_rolled_back)
        sim_check_report(c, SIM_CHECK_ONE_EVENT, h->number,
                         "was shown two signed events under one dot");
    if (r->alarm_hazard && !c->any_hostile && !h->rolled_back)
        sim_check_report(c, SIM_CHECK_ORIGIN, h->number,
                         "a peer holds events of it that it does not hold");
    check_evaluated(c, SIM_CHECK_BOUNDS);
    check_evaluated(c, SIM_CHECK_REVISION_BACK);
    if (r->pending_events > PENDING_EVENTS_MAX ||
        r->pending_bytes > PENDING_BYTES_MAX)
        sim_check_report(c, SIM_CHECK_BOUNDS, h->number,
                         "%zu events, %zu bytes are pending", r->pending_events,
                         r->pending_bytes);
    if (r->revision < h->revision ||
        (r->events_count > 0 && r->revision == h->revision))
        sim_check_report(c, SIM_CHECK_REVISION_BACK, h->number,
                         "revision %" PRIu64 " after %" PRIu64, r->revision,
                         h->revision);
    h->pending = r->pending_events;
}

/* The state that it adopted is the vector without what came after it. */
static void adopt(struct sim_check *c, struct check_host *h,
                  const struct commit_result *r, const struct intent *adoption)
{
    const struct replacement *replacement = adoption->replacement;
    struct vv before;

    if (h->vv.count > 0 && replacement->mode == ADOPT_EMPTY)
        sim_check_report(c, SIM_CHECK_VECTOR_BACK, h->number,
                         "a state replaced one that was not empty");
    vv_init(&before);
    CHECK(vv_copy(&before, &r->vv) == 0);
    for (size_t i = 0; i < r->events_count; i++) {
        for (size_t j = 0; j < before.count; j++) {
            struct vv_entry *e = &before.entries[j];
            if (incarnation_equal(&e->incarnation,
                                  &r->events[i].dot.incarnation) &&
                e->seq >= r->events[i].dot.seq) {
                e->seq = r->events[i].dot.seq - 1;
            }
        }
    }
    if (replacement->mode == ADOPT_RETURN)
        check_return(c, h, &before, r);
    if (replacement->mode == ADOPT_JOIN && !vv_dominates(&before, &h->vv))
        sim_check_report(c, SIM_CHECK_VECTOR_BACK, h->number,
                         "a join lost events that were there");
    if (replacement->mode == ADOPT_JOIN)
        check_seals_of_cut(c, h, &before);
    if (replacement->mode == ADOPT_RETURN) {
        check_standing_anew(h); /* another incarnation's floor */
        h->returned = true;
    }
    (void)check_adopt(c, h, &before, adoption->revision);
    h->joined_cut = replacement->mode == ADOPT_JOIN;
    vv_release(&before);
}

static void take_commit(struct sim_check *c, unsigned host,
                        const struct commit_result *r, uint64_t wall_ms)
{
    struct check_host *h = host_of(c, host);
    size_t i = 0;

    c->counters.commits++;
    check_pushes(c, h, r);
    if (!h->dying)
        check_unique_commit(c, h, r);
    if (check_forks(c, h, r)) {
        h->pending = r->pending_events;
        if (check_adoption(h, r) != NULL)
            check_branches_forget(c, h);
        check_names(c, h, r);
        if (!r->stale && !h->dying)
            check_weakly(h, &r->vv, &r->digest, r->revision);
        return;
    }
    if (h->dying) {
        keep_tentative(c, h, r);
        return;
    }
    CHECK(h->up && h->has_identity);
    if (r->stale) { /* it claims nothing; the next result shows what is */
        h->doubtful = true;
        return;
    }
    check_result(c, h, r);
    size_t contested = c->recent_count;
    const struct intent *adoption = check_adoption(h, r);
    if (adoption != NULL)
        adopt(c, h, r, adoption);
    size_t first = h->applied_count;
    for (; i < r->events_count && !r->events[i].own; i++) {
        struct sim_model_event *e =
            check_foreign_event(c, h, &r->events[i].dot, r->events[i].bytes);
        if (e != NULL)
            check_apply(c, h, e, wall_ms);
    }
    check_intents(c, h, r, i, wall_ms);
    check_reissue_end(c, h, r);
    if (r->events_count > 0)
        check_log(h, r->revision, wall_ms, first);
    if (!vv_equal(&h->vv, &r->vv) && h->doubtful)
        check_catch_up(c, h, &r->vv, r->revision, wall_ms);
    h->doubtful = has_failed(r);
    check_ends_clock(h, wall_ms, r->wrote);
    h->revision = r->revision;
    check_state(c, h, &r->vv, &r->digest);
    check_standing(c, h);
    if (r->roster != NULL)
        check_roster(c, h, r->roster);
    if (c->recent_count > contested)
        check_look_at_contested(c, h, c->recent_count - contested);
}

/* ---- clients and traffic ---- */

void sim_check_on_ask(struct sim_check *c, unsigned host)
{
    if (c == NULL || c->options.blind)
        return;
    struct check_host *h = host_of(c, host);

    if (h->asked++ == 0)
        h->asked_since_us = check_now(c);
}

static void take_write(struct sim_check *c, unsigned host,
                       const struct intent *i, bool answered)
{
    struct check_host *h = host_of(c, host);
    struct sim_model_event *e;
    char text[DOT_TEXT_SIZE];

    if (h->asked > 0)
        h->asked--;
    h->asked_since_us = check_now(c);
    if (!answered || i->result != 0 || !i->wrote || i->kind != INTENT_LOCAL)
        return;
    check_unique_write(c, host, i);
    if (c->forked)
        return;
    c->counters.acknowledged++;
    check_evaluated(c, SIM_CHECK_ACKNOWLEDGED);
    e = sim_model_find(c->model, sim_model_actor(c->model, &i->dot.incarnation),
                       i->dot.seq);
    if (e != NULL && !e->tentative) {
        e->acknowledged = true;
        return;
    }
    dot_format(text, &i->dot);
    sim_check_report(c, SIM_CHECK_ACKNOWLEDGED, host,
                     "event %s is acknowledged and not committed", text);
}

void sim_check_on_send(struct sim_check *c, unsigned host, size_t size,
                       bool datagram)
{
    if (c == NULL || c->options.blind)
        return;
    struct check_host *h = host_of(c, host);
    uint64_t now = check_now(c);

    if (datagram && size > GOSSIP_PACKET_MAX && !h->hostile)
        sim_check_report(c, SIM_CHECK_BOUNDS, host,
                         "sends a datagram of %zu bytes", size);
    if (now - h->window_us >= CHECK_RATE_US) {
        h->window_us = now;
        h->window_bytes = 0;
    }
    h->window_bytes += size;
    h->bytes += size;
    if (h->window_bytes >
            c->options.bytes_per_second_max * (CHECK_RATE_US / 1000000) &&
        !h->hostile) {
        sim_check_report(c, SIM_CHECK_BOUNDS, host,
                         "sent %" PRIu64 " bytes within %" PRIu64 " ms",
                         h->window_bytes, (now - h->window_us) / 1000);
        h->window_bytes = 0;
    }
}

/* ---- bounds ---- */

/* Each origin has its own share of what may be pending. */
static void check_pending(struct sim_check *c, const struct check_host *h)
{
    const struct writer *w = sim_host_writer(c->options.hosts[h->number]);
    size_t first = 0;

    for (size_t i = 0; w != NULL && i <= w->pending.count; i++) {
        if (i < w->pending.count &&
            incarnation_equal(&w->pending.events[i]->dot.incarnation,
                              &w->pending.events[first]->dot.incarnation))
            continue;
        if (i - first > PENDING_PER_ORIGIN_MAX)
            sim_check_report(c, SIM_CHECK_BOUNDS, h->number,
                             "%zu events of one origin are pending", i - first);
        first = i;
    }
}

static void check_queues(struct sim_check *c, const struct check_host *h)
{
    const struct node *n = check_node(c, h);
    struct node_status status;

    node_status_read(n, &status);
    check_evaluated(c, SIM_CHECK_BOUNDS);
    check_pending(c, h);
    if (status.members_total > GOSSIP_MEMBERS_MAX + 1 ||
        status.awaits > NODE_AWAITS_MAX ||
        status.streams > STREAMS_PER_HOST * c->options.hosts_count)
        sim_check_report(c, SIM_CHECK_BOUNDS, h->number,
                         "%zu members, %zu waits, %zu streams",
                         status.members_total, status.awaits, status.streams);
}

void sim_check_rest(struct sim_check *c)
{
    c->rest_since_us = check_now(c);
    for (unsigned i = 0; i < c->options.hosts_count; i++)
        c->hosts[i].rest_bytes = c->hosts[i].bytes;
}

/* What an idle host sends, events apart that were pushed meanwhile: values that
 * end ask for a floor whenever their time has come. And what all of them have
 * in memory; the model is among it. */
static void check_idle(struct sim_check *c, const bool *core)
{
    uint64_t elapsed_us = check_now(c) - c->rest_since_us;
    size_t memory = mallinfo2().uordblks;

    if (c->rest_since_us == 0 || elapsed_us < CHECK_RATE_US)
        return;
    for (unsigned i = 0; i < c->options.hosts_count; i++) {
        struct check_host *h = &c->hosts[i];
        uint64_t rate = check_idle_bytes(h) * 1000000 / elapsed_us;

        if (!check_in_core(core, i))
            continue;
        check_evaluated(c, SIM_CHECK_BOUNDS);
        if (rate > IDLE_BYTES_PER_SECOND_MAX)
            sim_check_report(c, SIM_CHECK_BOUNDS, i,
                             "sends %" PRIu64 " bytes a second at rest", rate);
    }
    if (memory > c->memory_before + MEMORY_MAX +
                     (size_t)c->options.hosts_count * MEMORY_PER_HOST_MAX)
        sim_check_report(c, SIM_CHECK_BOUNDS, SIM_CHECK_ALL_HOSTS,
                         "%zu bytes are in use for %u hosts at rest",
                         memory - c->memory_before, c->options.hosts_count);
}

/* ---- looking ---- */

static void look(struct sim_check *c, unsigned host)
{
    struct check_host *h = host_of(c, host);

    if (check_node(c, h) == NULL)
        return;
    c->counters.looks++;
    check_queues(c, h);
    if (h->has_identity && !c->forked)
        check_look_at_store(c, h);
    check_look_at_members(c, h);
}

static void step(struct sim_check *c)
{
    c->next_tick_us = check_now(c) + SIM_CHECK_LOOK_US;
    check_tick_members(c);
    check_forks_tick(c);
    check_watches_poll(c);
    for (unsigned i = 0; i < c->options.uploaders; i++)
        check_cover_look(c, &c->hosts[i]);
    look(c, c->tick_host++ % c->options.hosts_count);
}

/* Every acknowledged event of a host of the core is at all of it. */
static void check_acknowledged(struct sim_check *c, const bool *core)
{
    for (unsigned i = 0; i < c->options.hosts_count; i++) {
        const struct check_host *h = &c->hosts[i];

        if (!check_in_core(core, i) || !h->up || !h->has_identity ||
            h->actor >= h->seqs_count)
            continue;
        for (uint64_t seq = sim_model_seq(c->model, h->actor);
             seq > h->seqs[h->actor]; seq--) {
            struct sim_model_event *e = sim_model_find(c->model, h->actor, seq);
            char text[DOT_TEXT_SIZE];

            if (e == NULL || !e->acknowledged || h->unsure)
                continue;
            check_dot_text(text, c->model, h->actor, seq);
            sim_check_report(c, SIM_CHECK_ACKNOWLEDGED, i,
                             "event %s was acknowledged and is gone", text);
        }
    }
}

/* Whatever has happened to its clock, disk or name. */
static void check_may_write(struct sim_check *c, const struct check_host *h)
{
    const struct node *n = check_node(c, h);
    struct node_status s;

    if (n == NULL || h->hostile)
        return;
    node_status_read(n, &s);
    if (s.clock_ahead || s.alarm_hazard || s.return_reason[0] != 0)
        sim_check_report(c, SIM_CHECK_WAITING, h->number,
                         "may not write still: %s",
                         s.clock_ahead             ? "its clock is ahead"
                         : s.return_reason[0] != 0 ? s.return_reason
                                                   : "own events are missing");
}

static const char *why_pending(const struct pending_event *e)
{
    return e->why < REFUSAL_KINDS ? refusal_text((enum refusal)e->why)->name
                                  : "nothing in particular";
}

static void report_pending(struct sim_check *c, const struct check_host *h)
{
    const struct writer *w = c->options.hosts != NULL
                                 ? sim_host_writer(c->options.hosts[h->number])
                                 : NULL;
    char text[DOT_TEXT_SIZE] = "?";
    const char *why = "";

    if (w != NULL && w->pending.count > 0) {
        dot_format(text, &w->pending.events[0]->dot);
        why = why_pending(w->pending.events[0]);
    }
    sim_check_report(c, SIM_CHECK_WAITING, h->number,
                     "%zu events are pending still, among them %s: %s",
                     h->pending, text, why);
}

static void check_waiting(struct sim_check *c, const bool *core)
{
    for (unsigned i = 0; i < c->options.hosts_count; i++) {
        const struct check_host *h = &c->hosts[i];

        if (!check_in_core(core, i) || !h->up)
            continue;
        check_evaluated(c, SIM_CHECK_WAITING);
        check_may_write(c, h);
        if (h->asked > 0 && check_now(c) - h->asked_since_us >= CHECK_ENDURE_US)
            sim_check_report(c, SIM_CHECK_WAITING, i,
                             "%u clients have no answer since %" PRIu64 " ms",
                             h->asked,
                             (check_now(c) - h->asked_since_us) / 1000);
        if (h->pending > 0 && !c->any_hostile)
            report_pending(c, h);
    }
}

static void quiescent(struct sim_check *c, const bool *core)
{
    c->judging = true;
    check_converged(c, core);
    check_unique_quiescent(c, core);
    check_acknowledged(c, core);
    check_waiting(c, core);
    check_idle(c, core);
    for (unsigned i = 0; i < c->options.hosts_count; i++) {
        struct check_host *h = &c->hosts[i];

        if (!check_in_core(core, i) || check_node(c, h) == NULL)
            continue;
        check_look_at_members(c, h);
        if (h->has_identity && !c->forked)
            check_dump(c, h);
    }
    check_levels_quiescent(c, core);
    check_watches_quiescent(c, core);
    check_members_quiescent(c, core);
}

/* ---- what others call ---- */

static bool looks_on(const struct sim_check *c)
{
    return c != NULL && !c->options.blind;
}

void sim_check_on_boot(struct sim_check *c, unsigned host,
                       const struct incarnation *incarnation,
                       const struct commit_result *first)
{
    if (looks_on(c))
        QUIETLY(take_boot(c, host, incarnation, first));
}

void sim_check_on_identity(struct sim_check *c, unsigned host,
                           const struct incarnation *incarnation)
{
    if (looks_on(c))
        QUIETLY(take_identity(c, host_of(c, host), incarnation));
}

void sim_check_on_power_cut(struct sim_check *c, unsigned host)
{
    if (looks_on(c))
        QUIETLY(take_power_cut(c, host));
}

void sim_check_on_commit(struct sim_check *c, unsigned host,
                         const struct commit_result *r, uint64_t wall_ms)
{
    if (looks_on(c))
        QUIETLY(take_commit(c, host, r, wall_ms));
}

void sim_check_on_write(struct sim_check *c, unsigned host,
                        const struct intent *i, bool answered)
{
    if (looks_on(c))
        QUIETLY(take_write(c, host, i, answered));
}

void sim_check_look(struct sim_check *c, unsigned host)
{
    QUIETLY(look(c, host));
}

void sim_check_step(struct sim_check *c)
{
    if (looks_on(c) && check_now(c) >= c->next_tick_us)
        QUIETLY(step(c));
}

void sim_check_quiescent(struct sim_check *c, const bool *core)
{
    if (looks_on(c))
        QUIETLY(quiescent(c, core));
}
