/* Keys that are written once, by one client at one host: what became of them,
 * whatever happened to names, disks and incarnations.
 *
 * Where a name is given twice the model cannot say what a state has to be. Of
 * such keys it can be said all the same: once acknowledged, one is in the state
 * that all show in the end, or among the unsent writes of a node that is there,
 * for a person to decide. It may be gone only if a fault took a disk that held
 * it, and no other disk held it then. Who holds what is read from commits, and
 * from the stores themselves when it matters. */
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/store_txn.h"
#include "node/unsent.h"
#include "sim/check_internal.h"

#define PREFIX "unique/" /* workload.c's */

static bool is_unique(struct slice key)
{
    return key.size > sizeof PREFIX - 1 && key.size < CHECK_UNIQUE_KEY_SIZE &&
           memcmp(key.data, PREFIX, sizeof PREFIX - 1) == 0;
}

static struct check_unique *find(struct sim_check *c, struct slice key)
{
    for (size_t i = 0; i < c->uniques_count; i++)
        if (slice_equal(slice_of_string(c->uniques[i].key), key))
            return &c->uniques[i];
    return NULL;
}

static struct check_unique *find_or_add(struct sim_check *c, struct slice key)
{
    struct check_unique *u = find(c, key);

    if (u != NULL)
        return u;
    if (c->uniques_count == c->uniques_capacity) {
        c->uniques_capacity =
            c->uniques_capacity > 0 ? 2 * c->uniques_capacity : 64;
        c->uniques =
            cm_realloc(c->uniques, c->uniques_capacity * sizeof *c->uniques);
        CHECK(c->uniques != NULL);
    }
    u = &c->uniques[c->uniques_count++];
    *u = (struct check_unique){.lost = false};
    memcpy(u->key, key.data, key.size);
    return u;
}

static void hold(struct check_unique *u, unsigned host, bool on)
{
    uint64_t bit = UINT64_C(1) << (host % 64);

    if (on)
        u->holders[host / 64] |= bit;
    else
        u->holders[host / 64] &= ~bit;
    if (on)
        u->lost = false;
}

static bool holds(const struct check_unique *u, unsigned host)
{
    return (u->holders[host / 64] >> (host % 64) & 1) != 0;
}

static bool is_held(const struct check_unique *u)
{
    uint64_t all = 0;

    for (size_t i = 0; i < sizeof u->holders / sizeof *u->holders; i++)
        all |= u->holders[i];
    return all != 0;
}

/* ---- commits and clients ---- */

/* Cheaper than to decode each event once more. */
static bool may_have_one(struct slice bytes)
{
    return memmem(bytes.data, bytes.size, PREFIX, sizeof PREFIX - 1) != NULL;
}

void check_unique_commit(struct sim_check *c, const struct check_host *h,
                         const struct commit_result *r)
{
    for (size_t i = 0; i < r->events_count; i++) {
        struct event e;

        if (!may_have_one(r->events[i].bytes) ||
            event_decode(&e, r->events[i].bytes) != 0)
            continue;
        for (size_t k = 0; k < e.ops_count; k++)
            if (e.ops[k].kind == OP_PUT && is_unique(e.ops[k].key))
                hold(find_or_add(c, e.ops[k].key), h->number, true);
        event_release(&e);
    }
}

void check_unique_write(struct sim_check *c, unsigned host,
                        const struct intent *i)
{
    for (size_t k = 0; k < i->ops_count; k++) {
        struct check_unique *u;

        if (i->ops[k].kind != OP_PUT || !is_unique(i->ops[k].key))
            continue;
        u = find_or_add(c, i->ops[k].key);
        u->acknowledged = true;
        u->host = host;
    }
}

/* ---- what a store holds ---- */

static bool shows(struct store_reader *r, const struct check_unique *u)
{
    struct entry_id id = {.space = SPACE_REGISTER,
                          .key = slice_of_string(u->key)};
    struct entry e;
    int error;

    entry_init(&e);
    error = store_get(r, &id, &e, NULL);
    bool ret = error == CM_ERR_DAMAGED || (error == 0 && e.count > 0);
    entry_release(&e);
    return ret;
}

static bool is_readable(struct store_reader *r, const struct check_unique *u)
{
    struct entry_id id = {.space = SPACE_REGISTER,
                          .key = slice_of_string(u->key)};
    struct entry e;

    entry_init(&e);
    bool ret = store_get(r, &id, &e, NULL) == 0 && e.count > 0;
    entry_release(&e);
    return ret;
}

static void mark_unsent(struct sim_check *c, struct store_reader *r,
                        unsigned host)
{
    struct unsent s = {.id = 0};

    while (unsent_read(r, s.id, &s) == 0) {
        struct unsent_ops ops;

        if (s.state == UNSENT_SHARED || unsent_open(&ops, &s) != 0)
            continue;
        for (size_t k = 0; k < ops.count; k++)
            if (is_unique(ops.ops[k].key))
                hold(find_or_add(c, ops.ops[k].key), host, true);
        unsent_close(&ops);
    }
}

void check_unique_read(struct sim_check *c, const struct check_host *h)
{
    struct store_reader *r = NULL;
    struct store *s = c->options.hosts != NULL
                          ? sim_host_store(c->options.hosts[h->number])
                          : NULL;

    if (s == NULL || c->uniques_count == 0 || store_reader_begin(s, &r) != 0)
        return;
    for (size_t i = 0; i < c->uniques_count; i++)
        hold(&c->uniques[i], h->number, shows(r, &c->uniques[i]));
    mark_unsent(c, r, h->number);
    store_reader_release(r);
}

/* ---- what is lost ---- */

void check_unique_rob(struct sim_check *c, const struct check_host *h)
{
    for (unsigned i = 0; i < c->options.hosts_count; i++)
        if (i != h->number)
            check_unique_read(c, &c->hosts[i]);
    for (size_t i = 0; i < c->uniques_count; i++) {
        struct check_unique *u = &c->uniques[i];

        if (!holds(u, h->number))
            continue;
        hold(u, h->number, false);
        u->lost = !is_held(u);
    }
}

/* In an event of its present name whose bytes can be read. */
static bool is_logged(struct sim_check *c, const struct check_host *h,
                      struct store_reader *r, const struct check_unique *u)
{
    for (uint64_t seq = sim_model_seq(c->model, h->actor); seq > 0; seq--) {
        const struct sim_model_event *e =
            sim_model_find(c->model, h->actor, seq);
        struct slice bytes;
        bool names = false;

        for (size_t k = 0; e != NULL && k < e->decoded.ops_count; k++)
            names = names ||
                    slice_equal(e->decoded.ops[k].key, slice_of_string(u->key));
        if (names && store_txn_event(&r->txn, &e->decoded.dot, &bytes) == 0)
            return true;
    }
    return false;
}

static bool is_unsent(struct store_reader *r, const struct check_unique *u)
{
    struct unsent s = {.id = 0};
    bool ret = false;

    while (!ret && unsent_read(r, s.id, &s) == 0) {
        struct unsent_ops ops;

        if (s.state == UNSENT_SHARED || unsent_open(&ops, &s) != 0)
            continue;
        for (size_t k = 0; k < ops.count && !ret; k++)
            ret = slice_equal(ops.ops[k].key, slice_of_string(u->key));
        unsent_close(&ops);
    }
    return ret;
}

void check_unique_rot(struct sim_check *c, const struct check_host *h,
                      struct store_reader *r)
{
    for (unsigned i = 0; i < c->options.hosts_count && c->uniques_count > 0;
         i++)
        if (i != h->number)
            check_unique_read(c, &c->hosts[i]);
    for (size_t i = 0; i < c->uniques_count; i++) {
        struct check_unique *u = &c->uniques[i];

        if (!holds(u, h->number) || is_readable(r, u) ||
            is_logged(c, h, r, u) || is_unsent(r, u))
            continue;
        hold(u, h->number, false);
        u->lost = !is_held(u);
    }
}

/* ---- in the end ---- */

/* Not in the state of any host of the core that can be read. */
static bool is_missing(struct sim_check *c, const struct check_unique *u,
                       const bool *core)
{
    for (unsigned i = 0; i < c->options.hosts_count; i++) {
        struct store_reader *r = NULL;
        bool found;

        if (!check_in_core(core, i) || check_node(c, &c->hosts[i]) == NULL ||
            store_reader_begin(sim_host_store(c->options.hosts[i]), &r) != 0)
            continue;
        found = shows(r, u);
        store_reader_release(r);
        return !found;
    }
    return false;
}

void check_unique_quiescent(struct sim_check *c, const bool *core)
{
    for (unsigned i = 0; i < c->options.hosts_count; i++)
        check_unique_read(c, &c->hosts[i]);
    for (size_t i = 0; i < c->uniques_count; i++) {
        const struct check_unique *u = &c->uniques[i];

        if (!u->acknowledged)
            continue;
        check_evaluated(c, SIM_CHECK_ACKNOWLEDGED);
        if (u->lost || !is_missing(c, u, core) || is_held(u))
            continue;
        sim_check_report(c, SIM_CHECK_ACKNOWLEDGED, u->host,
                         "%s was acknowledged; it is in nobody's state and "
                         "among nobody's unsent writes, and no fault took the "
                         "last disk that held it",
                         u->key);
    }
}
