/* The clients of a simulated mesh: see workload.h. */
#include "sim/workload.h"

#include <inttypes.h>
#include <stdio.h>

#include "crdt/base/check.h"
#include "crdt/entry.h"
#include "sim/run_internal.h"

#define WHY_KEY 900 /* keys from here on are always revoked for a reason */
#define VALUE_MAX (1u << 20)
#define AUTHOR "client"
#define WATCH_COMMITS_MAX 8 /* taken at a look */
#define WAIT_MS 10000       /* for members */

/* ---- keys and values ---- */

void sim_workload_key(const struct sim_plan_line *l, unsigned number,
                      char ret_key[SIM_WORKLOAD_KEY_MAX])
{
    uint64_t key = (uint64_t)l->params[SIM_PARAM_KEY];

    if (l->deed == SIM_DEED_UNIQUE)
        (void)snprintf(ret_key, SIM_WORKLOAD_KEY_MAX, "unique/%" PRIu64, l->id);
    else if (l->deed == SIM_DEED_TXN)
        (void)snprintf(ret_key, SIM_WORKLOAD_KEY_MAX, "txn/%" PRIu64 "/%u", key,
                       number);
    else if (sim_deed_takes(l->deed, SIM_PARAM_ELEMENT))
        (void)snprintf(ret_key, SIM_WORKLOAD_KEY_MAX, "set/%" PRIu64, key);
    else
        (void)snprintf(ret_key, SIM_WORKLOAD_KEY_MAX, "shared/%" PRIu64, key);
}

void sim_workload_element(const struct sim_plan_line *l,
                          char ret_element[SIM_WORKLOAD_KEY_MAX])
{
    ret_element[0] = 0;
    if (sim_deed_takes(l->deed, SIM_PARAM_ELEMENT))
        (void)snprintf(ret_element, SIM_WORKLOAD_KEY_MAX, "e%" PRId64,
                       l->params[SIM_PARAM_ELEMENT]);
}

void sim_workload_value(const struct sim_plan_line *l, struct buffer *out)
{
    size_t size = (size_t)l->params[SIM_PARAM_SIZE];
    uint64_t state = l->id * UINT64_C(0x9e3779b97f4a7c15) + 1;

    buffer_printf(out, "%" PRIu64 ":", l->id);
    while (out->size < size && out->error == 0) {
        uint8_t bytes[8];
        size_t left = size - out->size;
        state ^= state << 13; /* xorshift64 (Marsaglia 2003) */
        state ^= state >> 7;
        state ^= state << 17;
        put_be64(bytes, state);
        buffer_append(out, bytes, left < sizeof bytes ? left : sizeof bytes);
    }
}

/* ---- one request ---- */

/* What the host shows of the line's key now: the version to compare with, or
 * the revoke to lift. Anything that cannot be read makes it a plain write. */
static void read_before(struct node *n, const struct sim_plan_line *l,
                        struct local_op *op)
{
    struct entry_id id = {.space = SPACE_REGISTER, .key = op->key};
    struct store_reader *reader = NULL;
    struct entry entry;

    if (store_reader_begin(node_store(n), &reader) != 0)
        return;
    entry_init(&entry);
    int error = store_get(reader, &id, &entry, NULL);
    struct resolution now = entry_resolve(&entry, 0);
    if (l->deed == SIM_DEED_UNREVOKE) {
        op->unrevoke = true;
        if (error == 0 && now.revoke != NULL) {
            op->condition = CONDITION_VERSION;
            op->version = now.revoke->dot;
        }
    } else {
        op->condition = CONDITION_ABSENT;
        if (error == 0 && now.present) {
            op->condition = CONDITION_VERSION;
            op->version = now.winner->dot;
        }
    }
    entry_release(&entry);
    store_reader_release(reader);
}

static enum op_kind op_kind_of(enum sim_deed d)
{
    switch (d) {
    case SIM_DEED_DEL:
        return OP_DEL;
    case SIM_DEED_REVOKE:
        return OP_REVOKE;
    case SIM_DEED_ADD:
        return OP_SET_ADD;
    case SIM_DEED_REMOVE:
        return OP_SET_REMOVE;
    case SIM_DEED_SET_REVOKE:
        return OP_SET_REVOKE;
    default:
        return OP_PUT;
    }
}

/* Of the revokes, which are of a later format then. */
static bool says_why(const struct sim_plan_line *l)
{
    return (l->deed == SIM_DEED_REVOKE || l->deed == SIM_DEED_SET_REVOKE) &&
           (l->id % 3 == 0 || l->params[SIM_PARAM_KEY] >= WHY_KEY);
}

/* now_ms: the clock of the client, which is the host's. */
static int add_op(struct node *n, const struct sim_plan_line *l,
                  unsigned number, uint64_t now_ms, struct intent *i)
{
    uint64_t ttl_ms = (uint64_t)l->params[SIM_PARAM_TTL];
    char key[SIM_WORKLOAD_KEY_MAX];
    char element[SIM_WORKLOAD_KEY_MAX];
    struct buffer value;

    buffer_init(&value, VALUE_MAX);
    sim_workload_key(l, number, key);
    sim_workload_element(l, element);
    struct local_op op = {
        .kind = op_kind_of(l->deed),
        .key = slice_of_string(key),
        .element = slice_of_string(element),
        .flags = l->deed == SIM_DEED_PUT ? l->id : 0,
        .expires = ttl_ms > 0 ? hlc_make(now_ms + ttl_ms, 0) : 0,
    };
    if (sim_deed_takes(l->deed, SIM_PARAM_SIZE)) {
        sim_workload_value(l, &value);
        op.value = buffer_slice(&value);
    }
    if (says_why(l)) {
        buffer_printf(&value, "because of %" PRIu64, l->id);
        op.value = buffer_slice(&value);
    }
    if (l->deed == SIM_DEED_CAS || l->deed == SIM_DEED_UNREVOKE)
        read_before(n, l, &op);
    int error = value.error != 0 ? value.error : intent_add_op(i, &op);
    buffer_release(&value);
    return error;
}

static struct intent *make_intent(struct sim_host *h,
                                  const struct sim_plan_line *l)
{
    struct node *n = sim_host_node(h);
    struct intent *i = intent_new(INTENT_LOCAL);
    unsigned count =
        l->deed == SIM_DEED_TXN ? (unsigned)l->params[SIM_PARAM_COUNT] : 1;

    if (i == NULL)
        return NULL;
    int error = intent_set_author(i, slice_of_string(AUTHOR));
    for (unsigned k = 0; k < count && error == 0; k++)
        error = add_op(n, l, k, sim_host_wall_ms(h), i);
    if (error == 0)
        return i;
    intent_free(i);
    return NULL;
}

static void write_done(void *ctx, const struct intent *i, bool answered)
{
    struct sim_run_deed *d = ctx;
    struct sim_run_result *result = d->run->result;

    CHECK(!d->closed);
    d->closed = true;
    if (!answered)
        result->unanswered++;
    else if (i->result == 0)
        result->acknowledged++;
    else
        result->refused++;
    if (answered)
        sim_sched_note(&d->run->world->sched, "client",
                       sim_hosts_first(&d->line->hosts), d->line->id,
                       slice_of(&i->result, sizeof i->result));
    if (!answered || i->result != 0 || !i->wrote ||
        !sim_deed_takes(d->line->deed, SIM_PARAM_WAIT) ||
        d->line->params[SIM_PARAM_WAIT] == 0)
        return;
    d->dot = i->dot;
    d->waits = true; /* once the node has done what it is doing */
    sim_sched_after(&d->run->world->sched, &d->event, 0);
}

static void wait_done(void *ctx, const struct node_await_report *report)
{
    struct sim_run_deed *d = ctx;
    struct sim_world *w = d->run->world;
    unsigned host = sim_hosts_first(&d->line->hosts);
    uint64_t told[2] = {(uint64_t)report->confirmed, report->error == 0};

    sim_check_wait_end(w->check, d->wait, host, report);
    d->wait = NULL;
    if (report->error != CM_ERR_CLOSED)
        sim_sched_note(&w->sched, "wait", host, d->line->id,
                       slice_of(told, sizeof told));
}

static void begin_wait(struct sim_run_deed *d)
{
    struct sim_world *w = d->run->world;
    unsigned host = sim_hosts_first(&d->line->hosts);
    struct sim_host *h = w->hosts[host];
    uint64_t wanted = (uint64_t)d->line->params[SIM_PARAM_WAIT];
    const struct node_quorum q = {
        .kind = wanted == SIM_DEED_WAIT_ALL ? QUORUM_ALL : QUORUM_COUNT,
        .count = (size_t)wanted,
    };

    if (!sim_host_is_up(h))
        return;
    d->wait = sim_check_wait_begin(w->check, &d->dot);
    sim_host_enter(h);
    int error =
        node_await(sim_host_node(h), &d->dot, &q, WAIT_MS, wait_done, d);
    sim_host_settle(h);
    if (error != 0) {
        sim_check_wait_end(w->check, d->wait, host, NULL);
        d->wait = NULL;
    }
}

static void snapshot_done(void *ctx, const struct snapshot_report *report)
{
    struct sim_run_deed *d = ctx;
    struct sim_run_result *result = d->run->result;

    CHECK(!d->closed);
    d->closed = true;
    if (report->error == 0) {
        result->acknowledged++;
        sim_check_on_snapshot(d->run->world->check,
                              sim_hosts_first(&d->line->hosts), d->run->objects,
                              report->name);
    } else {
        result->refused++;
    }
    sim_sched_note(&d->run->world->sched, "snapshot",
                   sim_hosts_first(&d->line->hosts), d->line->id,
                   slice_of(&report->error, sizeof report->error));
}

/* The client looks again and again, at whatever its host has to tell; a host
 * that was down has to go on where the client's last look ended. */
static void watch(struct sim_run_deed *d)
{
    struct sim_run *r = d->run;
    struct sim_sched *s = &r->world->sched;
    uint64_t each_us = (uint64_t)d->line->params[SIM_PARAM_MS] * SIM_MS;

    if (d->watch == NULL) {
        r->result->operations++;
        r->result->acknowledged++;
        d->until_us =
            s->now_us + (uint64_t)d->line->params[SIM_PARAM_FOR] * SIM_MS;
        CHECK(sim_check_watch_create(
                  &d->watch, r->world->check, sim_hosts_first(&d->line->hosts),
                  d->line->id % 3 == 0 ? "shared/" : "") == 0);
    }
    sim_check_watch_poll(d->watch, WATCH_COMMITS_MAX);
    if (s->now_us < d->until_us)
        sim_sched_after(s, &d->event, each_us > 0 ? each_us : SIM_MS);
}

void sim_workload_begin(struct sim_run_deed *d)
{
    struct sim_run *r = d->run;
    struct sim_host *h = r->world->hosts[sim_hosts_first(&d->line->hosts)];

    if (d->line->deed == SIM_DEED_WATCH) {
        watch(d);
        return;
    }
    if (d->waits) {
        begin_wait(d);
        return;
    }
    r->result->operations++;
    if (!sim_host_is_up(h)) {
        r->result->unanswered++;
        return;
    }
    if (d->line->deed == SIM_DEED_SNAPSHOT) {
        /* Where there are two targets: to both, after one scan. */
        bool both = r->plan->targets > 1 && r->plan->delta_ms > 0 &&
                    sim_hosts_first(&d->line->hosts) < r->plan->uploaders;

        sim_host_enter(h);
        node_snapshot_now(sim_host_node(h), both ? NULL : r->objects,
                          snapshot_done, d);
        sim_host_settle(h);
        return;
    }
    struct intent *i = make_intent(h, d->line);
    if (i == NULL || sim_host_write(h, i, write_done, d) != 0)
        r->result->refused++;
}
