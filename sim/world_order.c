/* Evictions and retirements, as an operator orders them: see world_order.h. */
#include "sim/world_order.h"

#include "crdt/base/check.h"
#include "crdt/eviction.h"
#include "node/writer_internal.h"
#include "sim/memory.h"

#define MEMBERS_LEFT_MIN 2
#define ORDERS_MAX 32 /* of a generation */
#define LONG_AGO_MS 1 /* older than any clock here can certify */
#define AGAIN_US (5 * SIM_SECOND)

struct sim_world_orders {
    struct sim_world *world;
    struct generation_id generation;
    struct buffer orders[ORDERS_MAX]; /* the chain, from epoch 1 */
    size_t count;
    size_t taken; /* so many some host has taken */
    /* Another one of the last epoch; empty: there is none, or it was decided
     * which of the two stands. */
    struct buffer rival;
    unsigned host;
    struct sim_event again;
};

/* ---- giving ---- */

struct given {
    struct sim_world_orders *orders;
    size_t number;
};

static void heard(void *ctx, const struct intent *i, bool answered)
{
    struct given *g = ctx;
    struct sim_world_orders *o = g->orders;

    if (answered && (i->result == 0 || i->result == CM_ERR_DUPLICATE) &&
        g->number == o->taken) {
        o->taken++;
        sim_fault_happened(&o->world->faults, SIM_DEED_EVICT);
    }
    sim_free(g);
}

static void give(struct sim_world_orders *o, unsigned host)
{
    struct sim_world *w = o->world;
    struct sim_host *h = w->hosts[host];

    for (size_t n = 0; n < o->count && sim_world_is_ready(w, host); n++) {
        struct intent *i = intent_new(INTENT_ORDER);
        struct given *g = sim_alloc(sizeof *g);

        CHECK(i != NULL);
        *g = (struct given){.orders = o, .number = n};
        CHECK(intent_set_event(i, buffer_slice(&o->orders[n])) == 0);
        sim_host_enter(h);
        node_order_expected(sim_host_node(h));
        sim_host_settle(h);
        if (sim_host_write(h, i, heard, g) != 0)
            sim_free(g);
    }
}

static void on_again(void *context)
{
    struct sim_world_orders *o = context;

    if (o->taken == o->count)
        return;
    give(o, o->host);
    o->host = (o->host + 1) % o->world->options.hosts;
    sim_sched_after(&o->world->sched, &o->again, AGAIN_US);
}

static void forget(struct sim_world_orders *o)
{
    for (size_t n = 0; n < o->count; n++)
        buffer_release(&o->orders[n]);
    buffer_release(&o->rival);
    o->count = o->taken = 0;
}

static struct sim_world_orders *orders_of(struct sim_world *w,
                                          const struct writer *writer)
{
    struct generation_id id = writer_generation(writer);

    if (w->orders == NULL) {
        w->orders = sim_calloc(1, sizeof *w->orders);
        w->orders->world = w;
        w->orders->generation = id;
        sim_event_init(&w->orders->again, "order", 0, on_again, w->orders);
    }
    if (!generation_id_equal(&id, &w->orders->generation))
        forget(w->orders); /* the next generation begins its own chain */
    w->orders->generation = id;
    return w->orders;
}

void sim_world_orders_again(struct sim_world *w)
{
    const struct writer *writer = sim_host_writer(w->hosts[0]);

    if (w->orders == NULL || writer == NULL || !sim_world_is_ready(w, 0))
        return;
    give(orders_of(w, writer), 0);
}

void sim_world_orders_release(struct sim_world *w)
{
    if (w->orders == NULL)
        return;
    sim_sched_cancel(&w->sched, &w->orders->again);
    forget(w->orders);
    sim_free(w->orders);
    w->orders = NULL;
}

/* ---- signing ---- */

/* The host whose key that is; SIM_PLAN_HOSTS_MAX: it runs nowhere. */
static unsigned owner_of(const struct sim_world *w, const struct key_id *node)
{
    for (unsigned h = 0; h < w->options.hosts; h++) {
        struct key_id id = key_id_of(sim_host_public_key(w->hosts[h]));

        if (key_id_equal(&id, node))
            return h;
    }
    return SIM_PLAN_HOSTS_MAX;
}

/* Whom the order names, in order; how many members are left is told. */
static size_t choose(const struct sim_world *w, const struct writer *writer,
                     const struct sim_hosts *victims,
                     struct incarnation *ret_names, size_t *ret_left)
{
    const struct roster *roster = writer->roster;
    size_t count = 0;

    *ret_left = 0;
    for (size_t i = 0; i < roster->count; i++) {
        const struct roster_member *m = &roster->members[i];
        unsigned owner = owner_of(w, &m->certificate.key_id);

        if (!standing_stays(writer->standing, &m->incarnation))
            continue;
        if ((owner == SIM_PLAN_HOSTS_MAX || sim_hosts_has(victims, owner)) &&
            count < EVICTION_INCARNATIONS_MAX)
            ret_names[count++] = m->incarnation;
        else
            ++*ret_left;
    }
    return count; /* rosters are sorted */
}

/* The order of that epoch, from 1, which follows upon the one before. */
static void encode(struct sim_world_orders *orders, uint64_t epoch,
                   struct incarnation *names, size_t count, uint64_t created_ms,
                   struct buffer *out)
{
    struct sim_world *w = orders->world;
    struct eviction_order o = {
        .generation = orders->generation,
        .epoch = epoch,
        .incarnations = names,
        .count = count,
        .created_ms = created_ms,
    };

    o.mesh = mesh_id_of(w->authority.public_key);
    if (epoch > 1)
        o.previous = eviction_hash(buffer_slice(&orders->orders[epoch - 2]));
    buffer_init(out, EVICTION_SIZE_MAX);
    CHECK(eviction_encode(out, &o, w->authority.secret_key) == 0);
    sim_sched_note(&w->sched, "order", orders->host, o.epoch,
                   buffer_slice(out));
}

/* It also names which of two of the last epoch stands. */
static void sign(struct sim_world_orders *orders, struct incarnation *names,
                 size_t count, uint64_t created_ms)
{
    CHECK(orders->count < ORDERS_MAX);
    encode(orders, orders->count + 1, names, count, created_ms,
           &orders->orders[orders->count]);
    orders->count++;
    buffer_release(&orders->rival);
}

void sim_world_evict(struct sim_world *w, unsigned host,
                     const struct sim_hosts *victims, uint64_t age_ms)
{
    const struct writer *writer = sim_host_writer(w->hosts[host]);
    struct sim_world_orders *orders;
    struct incarnation *names;
    size_t left = 0;

    CHECK(host < w->options.hosts);
    if (!sim_world_is_ready(w, host) || writer == NULL)
        return;
    orders = orders_of(w, writer);
    if (orders->taken < orders->count || orders->count == ORDERS_MAX)
        return;
    names = sim_calloc(EVICTION_INCARNATIONS_MAX, sizeof *names);
    size_t count = choose(w, writer, victims, names, &left);
    if (count > 0 && left >= MEMBERS_LEFT_MIN) {
        orders->host = host;
        w->renews = w->renews || age_ms > 0;
        for (unsigned i = 0; w->renews && i < w->options.hosts; i++)
            sim_presence_kick(&w->presences[i]); /* it looks from now on */
        sign(orders, names, count,
             age_ms > 0 ? sim_host_wall_ms(w->hosts[host]) - age_ms
                        : LONG_AGO_MS);
        on_again(orders);
    }
    sim_free(names);
}

/* It may be lost with the host that hears it: then there were no two. */
static void give_rival(struct sim_world_orders *o)
{
    struct sim_host *h = o->world->hosts[o->host];
    struct intent *i = intent_new(INTENT_ORDER);
    struct given *g = sim_alloc(sizeof *g);

    CHECK(i != NULL && o->rival.size > 0);
    *g = (struct given){.orders = o, .number = SIZE_MAX};
    CHECK(intent_set_event(i, buffer_slice(&o->rival)) == 0);
    sim_host_enter(h);
    node_order_expected(sim_host_node(h));
    sim_host_settle(h);
    if (sim_host_write(h, i, heard, g) != 0)
        sim_free(g);
}

void sim_world_evict_twice(struct sim_world *w, unsigned host,
                           const struct sim_hosts *victims)
{
    const struct writer *writer = sim_host_writer(w->hosts[host]);
    struct sim_world_orders *orders;
    struct incarnation *names;
    size_t left = 0;

    CHECK(host < w->options.hosts);
    if (!sim_world_is_ready(w, host) || writer == NULL)
        return;
    orders = orders_of(w, writer);
    if (orders->count == 0 || orders->rival.size > 0)
        return; /* there is none that it could rival, or one does */
    names = sim_calloc(EVICTION_INCARNATIONS_MAX, sizeof *names);
    size_t count = choose(w, writer, victims, names, &left);
    if (count > 0 && left >= MEMBERS_LEFT_MIN) {
        orders->host = host;
        encode(orders, orders->count, names, count, LONG_AGO_MS,
               &orders->rival);
        give_rival(orders);
    }
    sim_free(names);
}

void sim_world_decide_orders(struct sim_world *w, unsigned host)
{
    struct sim_world_orders *o = w->orders;

    CHECK(host < w->options.hosts);
    if (o == NULL || o->rival.size == 0 || o->count == ORDERS_MAX)
        return;
    o->host = host;
    sign(o, NULL, 0, LONG_AGO_MS);
    on_again(o);
}

static bool runs_somewhere(const struct sim_world *w,
                           const struct incarnation *i)
{
    for (unsigned h = 0; h < w->options.hosts; h++) {
        const struct writer *writer = sim_host_writer(w->hosts[h]);
        struct incarnation own;

        if (writer == NULL)
            continue;
        own = writer_incarnation(writer);
        if (incarnation_equal(&own, i))
            return true;
    }
    return false;
}

size_t sim_world_evict_gone(struct sim_world *w)
{
    const struct writer *writer = sim_host_writer(w->hosts[0]);
    struct sim_world_orders *orders;
    struct incarnation *names;
    size_t count = 0;
    size_t left = 0;

    if (!sim_world_is_ready(w, 0) || writer == NULL)
        return 0;
    orders = orders_of(w, writer);
    if (orders->taken < orders->count || orders->count == ORDERS_MAX)
        return 0;
    names = sim_calloc(EVICTION_INCARNATIONS_MAX, sizeof *names);
    for (size_t i = 0; i < writer->roster->count; i++) {
        const struct incarnation *name =
            &writer->roster->members[i].incarnation;

        if (!standing_stays(writer->standing, name))
            continue;
        if (runs_somewhere(w, name))
            left++;
        else if (count < EVICTION_INCARNATIONS_MAX)
            names[count++] = *name;
    }
    if (count > 0 && left >= MEMBERS_LEFT_MIN) {
        orders->host = 0;
        sign(orders, names, count, LONG_AGO_MS);
        on_again(orders);
    }
    sim_free(names);
    return count;
}

void sim_world_retire(struct sim_world *w, unsigned host)
{
    struct sim_host *h = w->hosts[host];

    CHECK(host < w->options.hosts);
    if (!sim_world_is_ready(w, host))
        return;
    sim_host_enter(h);
    if (node_retire_earlier(sim_host_node(h)) > 0)
        sim_fault_happened(&w->faults, SIM_DEED_RETIRE);
    sim_host_settle(h);
}
