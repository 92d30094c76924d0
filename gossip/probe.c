/* Failure detection; see probe.h. */
#include "gossip/probe.h"

#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "gossip/machine.h"

static void pings_drop(struct pings *p, size_t index)
{
    CHECK(index < p->count);
    if (p->entries[index].relayed)
        p->relayed--;
    p->entries[index] = p->entries[--p->count];
}

bool pings_add(struct pings *p, const struct ping *ping)
{
    size_t oldest = 0;
    size_t i;

    CHECK(p->count <= PINGS_MAX && p->relayed <= p->count);
    if (ping->relayed && p->relayed >= PINGS_RELAYED_MAX)
        return false;
    if (p->count == PINGS_MAX) {
        for (i = 1; i < p->count; i++)
            if (p->entries[i].seq < p->entries[oldest].seq)
                oldest = i;
        pings_drop(p, oldest);
    }
    p->entries[p->count++] = *ping;
    if (ping->relayed)
        p->relayed++;
    return true;
}

bool pings_take(struct pings *p, uint64_t seq, const struct key_id *target,
                struct ping *ret_ping)
{
    size_t i;

    for (i = 0; i < p->count; i++) {
        if (p->entries[i].seq != seq ||
            !key_id_equal(&p->entries[i].target, target))
            continue;
        *ret_ping = p->entries[i];
        pings_drop(p, i);
        return true;
    }
    return false;
}

void pings_expire(struct pings *p, uint64_t before_ms)
{
    size_t i = 0;

    while (i < p->count) {
        if (p->entries[i].sent_ms < before_ms)
            pings_drop(p, i);
        else
            i++;
    }
}

uint64_t probe_suspicion_ms(uint64_t interval_ms, size_t members)
{
    uint64_t power = 1;
    uint64_t digits = 0;
    uint64_t log_milli;

    /* log10, straight between the powers of ten: no floating point needed. */
    while (members / 10 >= power) {
        power *= 10;
        digits++;
    }
    log_milli = digits * 1000 + (members / power - 1) * 1000 / 9;
    if (members == 0 || log_milli < 1000)
        log_milli = 1000;
    return SUSPICION_INTERVALS * interval_ms * log_milli / 1000;
}

static void ask_helpers(struct gossip *g, struct member *target)
{
    struct member *helpers[PROBE_HELPERS];
    struct message request = {.type = MESSAGE_PING_REQ,
                              .seq = g->probe.seq,
                              .subject = target->key_id};
    size_t count = member_table_pick(&g->table, &g->random, &target->key_id,
                                     PROBE_HELPERS, helpers);
    size_t i;

    CHECK(g->probe.active && !g->probe.indirect);
    CM_MARK_IF(count > 0, "probe: helpers asked");
    g->probe.indirect = true;
    g->probe.helpers_count = count;
    for (i = 0; i < count; i++) {
        g->probe.helpers[i] = helpers[i]->key_id;
        packet_builder_clear(&g->builder);
        (void)packet_builder_add(&g->builder, &request);
        transmit_finish(g, &g->builder, helpers[i], &helpers[i]->address,
                        LANE_MEMBERSHIP);
    }
}

static void round_begin(struct gossip *g)
{
    struct member *m = member_table_next_probe(&g->table, &g->random);
    struct ping ping = {0};

    g->probe.active = false;
    if (m == NULL)
        return;
    transmit_ping(g, m, &m->address, &ping, false);
    g->probe = (struct probe){
        .active = true,
        .target = m->key_id,
        .seq = ping.seq,
        .started_ms = g->now_ms,
    };
}

static void round_end(struct gossip *g)
{
    struct member *m = member_table_find(&g->table, &g->probe.target);

    if (g->probe.active && m != NULL && m->state == MEMBER_ALIVE)
        machine_suspect(g, m, &g->own.key_id);
    g->probe.active = false;
}

void probe_run(struct gossip *g)
{
    struct member *m;

    if (g->probe.active && !g->probe.indirect &&
        g->now_ms >= g->probe.started_ms + g->timeout_ms) {
        m = member_table_find(&g->table, &g->probe.target);
        if (m != NULL && member_is_living(m))
            ask_helpers(g, m);
        else
            g->probe.active = false;
    }
    if (g->now_ms < g->probe_ms)
        return;
    pings_expire(&g->pings, g->now_ms > 4 * g->interval_ms
                                ? g->now_ms - 4 * g->interval_ms
                                : 0);
    round_end(g);
    round_begin(g);
    g->probe_ms += g->interval_ms;
    if (g->probe_ms <= g->now_ms)
        g->probe_ms = g->now_ms + g->interval_ms;
}

uint64_t probe_deadline_ms(const struct gossip *g)
{
    uint64_t ret = g->probe_ms;

    if (g->table.state_count[MEMBER_ALIVE] == 0 &&
        g->table.state_count[MEMBER_SUSPECT] == 0)
        return MEMBER_NEVER;
    if (g->probe.active && !g->probe.indirect &&
        g->probe.started_ms + g->timeout_ms < ret)
        ret = g->probe.started_ms + g->timeout_ms;
    return ret;
}

/* About SUSPECT_PINGERS of all nodes ask the suspect in every interval, however
 * many there are: when it is this one's turn, from at_ms on. The others do not
 * wake up for it. */
static uint64_t turn_to_ask(struct gossip *g, const struct member *m,
                            uint64_t at_ms)
{
    CHECK(g->interval_ms > 0);
    for (; at_ms < m->suspect_until_ms; at_ms += g->interval_ms)
        if (random_below(&g->random, machine_size(g)) < SUSPECT_PINGERS)
            return at_ms;
    return MEMBER_NEVER;
}

void probe_suspect_enter(struct gossip *g, struct member *m)
{
    uint64_t wait = g->suspicion_ms != 0
                        ? g->suspicion_ms
                        : probe_suspicion_ms(g->interval_ms, machine_size(g));

    CHECK(m->state == MEMBER_SUSPECT);
    m->suspect_until_ms = g->now_ms + wait;
    m->suspect_ping_ms = turn_to_ask(
        g, m, g->now_ms + random_below(&g->random, g->interval_ms / 2 + 1));
    if (m->suspect_ping_ms < g->suspect_ms)
        g->suspect_ms = m->suspect_ping_ms;
    if (m->suspect_until_ms < g->suspect_ms)
        g->suspect_ms = m->suspect_until_ms;
    /* Whoever suspects first tells the suspect at once, so that it can refute
     * within one round trip. */
    if (key_id_equal(&m->suspected_by, &g->own.key_id))
        transmit_ping(g, m, &m->address, NULL, false);
}

static void suspect_due(struct gossip *g, struct member *m)
{
    if (g->now_ms >= m->suspect_until_ms) {
        machine_dead(g, m);
        return;
    }
    if (g->now_ms >= m->suspect_ping_ms) {
        transmit_ping(g, m, &m->address, NULL, false);
        m->suspect_ping_ms = turn_to_ask(g, m, g->now_ms + g->interval_ms);
    }
}

void probe_suspects(struct gossip *g)
{
    size_t i;

    if (g->now_ms < g->suspect_ms)
        return;
    g->suspect_ms = MEMBER_NEVER;
    /* Moves keep the list: only states other than NONE are involved. */
    for (i = 0; i < g->table.listed_count; i++) {
        struct member *m = g->table.listed[i];

        if (m->state != MEMBER_SUSPECT)
            continue;
        suspect_due(g, m);
        if (m->suspect_until_ms < g->suspect_ms)
            g->suspect_ms = m->suspect_until_ms;
        if (m->suspect_ping_ms < g->suspect_ms)
            g->suspect_ms = m->suspect_ping_ms;
    }
}

static void contact_try(struct gossip *g, struct member *m)
{
    uint64_t wait = CONTACT_TRY_MS_MAX;

    if (m->contact_tries < 7)
        wait = (uint64_t)CONTACT_TRY_MS << m->contact_tries;
    if (wait > CONTACT_TRY_MS_MAX)
        wait = CONTACT_TRY_MS_MAX;
    m->contact_tries++;
    m->contact_next_ms = g->now_ms + wait;
    transmit_ping(g, m, &m->contact, NULL, true);
}

void probe_contacts(struct gossip *g)
{
    size_t tried = 0;
    size_t i;

    if (g->now_ms < g->contact_ms)
        return;
    g->contact_ms = MEMBER_NEVER;
    for (i = 0; i < g->table.count; i++) {
        struct member *m = g->table.all[i];

        if (g->now_ms >= m->contact_next_ms && tried < CONTACTS_PER_TICK) {
            contact_try(g, m);
            tried++;
        }
        if (m->contact_next_ms < g->contact_ms)
            g->contact_ms = m->contact_next_ms;
    }
    /* Some had to wait: the next few in a moment. */
    if (g->contact_ms <= g->now_ms)
        g->contact_ms = g->now_ms + SPREAD_DELAY_MS;
}

/* Who was evicted while nobody could tell it is not heard any more: no ping of
 * its will ever be answered. Over a stream it is told why. */
static void stream_to_dead(struct gossip *g)
{
    uint64_t often = machine_size(g) / STREAM_MEMBERS + 1;

    if (g->now_ms < g->stream_ms)
        return;
    g->stream_ms = g->now_ms + g->interval_ms * STREAM_INTERVALS * often;
    for (size_t i = 0; i < g->table.listed_count; i++) {
        const struct member *m;

        g->stream_cursor = (g->stream_cursor + 1) % g->table.listed_count;
        m = g->table.listed[g->stream_cursor];
        if (m->state == MEMBER_DEAD && !m->barred) {
            struct gossip_event event = {.kind = GOSSIP_CONTACT,
                                         .peer = m->key_id,
                                         .address = m->address};

            CM_MARK("probe: a stream to a dead member");
            machine_tell(g, &event, NULL);
            return;
        }
    }
}

void probe_retry_dead(struct gossip *g)
{
    size_t gone =
        g->table.state_count[MEMBER_DEAD] + g->table.state_count[MEMBER_LEFT];
    size_t i;

    if (gone == 0)
        g->retry_ms = MEMBER_NEVER;
    if (g->now_ms < g->retry_ms)
        return;
    stream_to_dead(g);
    /* A node that lost everybody has nothing better to do. */
    g->retry_ms = g->now_ms + g->interval_ms;
    if (machine_size(g) > 1)
        g->retry_ms = g->now_ms +
                      g->interval_ms * RETRY_INTERVALS / (gone < 5 ? gone : 5);
    for (i = 0; i < g->table.listed_count; i++) {
        struct member *m;

        g->retry_cursor = (g->retry_cursor + 1) % g->table.listed_count;
        m = g->table.listed[g->retry_cursor];
        if (member_is_living(m) || m->barred)
            continue;
        transmit_ping(g, m, &m->address, NULL, true);
        return;
    }
}

void probe_stalled(struct gossip *g, uint64_t stall_ms)
{
    size_t i;

    CM_MARK("probe: a stall was noticed");
    g->probe.active = false;
    for (i = 0; i < g->table.listed_count; i++) {
        struct member *m = g->table.listed[i];

        if (m->state == MEMBER_SUSPECT)
            m->suspect_until_ms += stall_ms;
    }
}
