/* Disks that are not what they were called: rot, syncs that lied, stores that
 * are given up. What each of them excuses, and nothing more.
 *
 * Rot excuses that something cannot be read, for a while; never that something
 * false is read, and when the run is judged all has to be readable again. A lie
 * excuses what a disk put back excuses (check_return.c): own events that nobody
 * else has never were. A store that was set aside excuses the same of all that
 * it held, and only after rot or torn sectors may a node give one up.
 *
 * What a disk alone holds, it may hold twice: as an event and as what that left
 * in the state. Rot of both excuses that it is lost; rot of one does not.
 *
 * Where LMDB's own pages are harmed, what it says may be anything, until
 * somebody notices: nobody can tell a record that is not found from one that
 * is not there. So of that host nothing is reported until its store is a new
 * one or the run is judged; of all others everything is. */
#include "crdt/base/check.h"
#include "node/store_txn.h"
#include "sim/check_internal.h"

static struct check_host *down_host(struct sim_check *c, unsigned host)
{
    CHECK(host < c->options.hosts_count && !c->hosts[host].up);
    return &c->hosts[host];
}

void sim_check_on_rot(struct sim_check *c, unsigned host, bool pages)
{
    if (c == NULL)
        return;
    CHECK(host < c->options.hosts_count);
    c->hosts[host].rotten = true;
    if (pages)
        c->hosts[host].harmed = true;
}

/* Whether the state still has something of e that can be read. */
static bool is_left(struct store_reader *r, const struct sim_model_event *e)
{
    struct entry entry;
    bool ret = false;

    entry_init(&entry);
    for (size_t i = 0; i < e->decoded.ops_count && !ret; i++) {
        struct entry_id id = op_entry_id(&e->decoded.ops[i]);

        if (store_txn_entry(&r->txn, &id, &entry, NULL) != 0)
            continue;
        for (size_t k = 0; k < entry.count && !ret; k++)
            ret = dot_equal(&entry.siblings[k].dot, &e->decoded.dot);
    }
    entry_release(&entry);
    return ret;
}

void sim_check_on_rotted(struct sim_check *c, unsigned host)
{
    if (c == NULL || c->options.blind || c->options.hosts == NULL)
        return;
    struct check_host *h = &c->hosts[host];
    struct store *s = sim_host_store(c->options.hosts[host]);
    struct store_reader *r = NULL;

    if (s == NULL || h->harmed || h->actor == SIM_MODEL_NO_ACTOR ||
        store_reader_begin(s, &r) != 0)
        return;
    for (uint64_t seq = sim_model_seq(c->model, h->actor); seq > 0; seq--) {
        struct sim_model_event *e = sim_model_find(c->model, h->actor, seq);
        struct slice bytes;

        if (e == NULL || store_txn_event(&r->txn, &e->decoded.dot, &bytes) == 0)
            continue;
        e->bare = true;
        e->rotted = !is_left(r, e);
    }
    check_unique_rot(c, h, r);
    store_reader_release(r);
}

bool sim_check_is_rotten(const struct sim_check *c, unsigned host)
{
    return c == NULL || c->hosts[host].rotten;
}

void sim_check_on_lapse(struct sim_check *c, unsigned host)
{
    if (c == NULL)
        return;
    CHECK(host < c->options.hosts_count);
    c->hosts[host].lapsed = true;
    c->lapses = true;
}

void sim_check_on_merge(struct sim_check *c, unsigned host)
{
    if (c == NULL)
        return;
    CHECK(host < c->options.hosts_count);
    c->hosts[host].returned = true;
}

void sim_check_on_lie(struct sim_check *c, unsigned host, bool torn)
{
    if (c == NULL)
        return;
    struct check_host *h = down_host(c, host);

    sim_check_on_old_disk(c, host);
    h->rotten = h->rotten || torn;
    h->torn = h->torn || torn;
    h->harmed = h->harmed || torn;
}

void sim_check_on_rebuild(struct sim_check *c, unsigned host)
{
    if (c == NULL || c->options.blind)
        return;
    struct check_host *h = down_host(c, host);

    if (!h->rotten)
        sim_check_report(c, SIM_CHECK_STORE, host,
                         "gives its store up, which nothing has harmed");
    sim_check_on_old_disk(c, host);
    h->harmed = false;
    h->rebuilt = true;
}

bool check_excuses(const struct sim_check *c, const struct check_host *h,
                   int error)
{
    return error == CM_ERR_DAMAGED && h->rotten && !c->judging;
}
