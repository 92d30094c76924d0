/* Payload and member lists; see push.h. */
#include "gossip/push.h"

#include <string.h>

#include "crdt/base/check.h"
#include "gossip/machine.h"

/* One peer gets the event, by datagram or, if bytes, by the caller's stream. */
static void push_one(struct gossip *g, struct member *m, struct slice event,
                     struct shared_bytes *bytes)
{
    struct message message = {.type = MESSAGE_EVENT, .bytes = event};
    struct gossip_event tell = {
        .kind = GOSSIP_PUSH_STREAM,
        .peer = m->key_id,
        .address = m->address,
        .state = (enum member_state)m->state,
    };

    if (bytes != NULL) {
        machine_tell(g, &tell, bytes);
        return;
    }
    packet_builder_clear(&g->builder);
    (void)packet_builder_add(&g->builder, &message);
    transmit_finish(g, &g->builder, m, &m->address, LANE_PAYLOAD);
}

/* The living member whose key id follows on this node's own, the first one
 * after the last; NULL without any. */
static struct member *next_around(const struct gossip *g)
{
    const struct member_table *t = &g->table;
    size_t start = member_table_listed_from(t, &g->own.key_id);
    size_t i;

    for (i = 0; i < t->listed_count; i++) {
        struct member *m = t->listed[(start + i) % t->listed_count];

        if (member_is_living(m) && !m->barred)
            return m;
    }
    return NULL;
}

/* Chance alone leaves out one of 20 members in one push of a hundred, and that
 * one waits for repair. So everybody pushes to the next one around too: who is
 * left out now has a neighbour who was, and there is nobody to begin with. */
static void include_next(const struct gossip *g, const struct key_id *except,
                         struct member **peers, size_t count)
{
    struct member *next = next_around(g);
    size_t i;

    if (next == NULL || count == 0 ||
        (except != NULL && key_id_equal(&next->key_id, except)))
        return;
    for (i = 0; i < count; i++)
        if (peers[i] == next)
            return;
    peers[count - 1] = next;
}

int push_event(struct gossip *g, struct slice event,
               const struct key_id *except)
{
    struct member *peers[GOSSIP_FULL_FANOUT_MAX];
    struct shared_bytes *bytes = NULL;
    size_t living = machine_size(g) - 1;
    size_t fanout = living <= GOSSIP_FULL_FANOUT_MAX ? GOSSIP_FULL_FANOUT_MAX
                                                     : GOSSIP_FANOUT;
    size_t count;
    size_t i;

    _Static_assert(GOSSIP_FANOUT <= GOSSIP_FULL_FANOUT_MAX, "peers");
    if (event.size > GOSSIP_PUSH_DATAGRAM_MAX) {
        bytes = shared_bytes_new(event);
        if (bytes == NULL)
            return CM_ERR_NOMEM;
    }
    /* A stream costs two round trips, four X25519 and two signatures before its
     * first byte: those that are open already serve as well as others. Each
     * node opened its own at random, so together they reach everybody. */
    count = bytes == NULL ? member_table_pick(&g->table, &g->random, except,
                                              fanout, peers)
                          : member_table_pick_linked(&g->table, &g->random,
                                                     except, fanout, peers);
    include_next(g, except, peers, count);
    for (i = 0; i < count; i++)
        push_one(g, peers[i], event, bytes);
    shared_bytes_drop(bytes);
    g->counters.events_pushed++;
    return 0;
}

void push_news(struct gossip *g)
{
    struct member *peers[SPREAD_FANOUT];
    size_t count;
    size_t i;

    if (g->now_ms < g->spread_ms)
        return;
    count =
        member_table_pick(&g->table, &g->random, NULL, SPREAD_FANOUT, peers);
    for (i = 0; i < count; i++) {
        packet_builder_clear(&g->builder);
        transmit_finish(g, &g->builder, peers[i], &peers[i]->address,
                        LANE_MEMBERSHIP);
    }
    /* News that nobody is there to hear: a later member asks for the list. */
    if (count == 0)
        g->spread.count = 0;
    g->spread_ms =
        g->spread.count > 0 ? g->now_ms + SPREAD_INTERVAL_MS : MEMBER_NEVER;
}

#define LEAVE_FANOUT 32

void push_leave(struct gossip *g)
{
    struct member *peers[LEAVE_FANOUT];
    struct message leave;
    size_t count =
        member_table_pick(&g->table, &g->random, NULL, LEAVE_FANOUT, peers);
    size_t i;

    CHECK(g->own.left);
    transmit_own(g, &leave);
    for (i = 0; i < count; i++) {
        packet_builder_clear(&g->builder);
        (void)packet_builder_add(&g->builder, &leave);
        transmit_finish(g, &g->builder, peers[i], &peers[i]->address,
                        LANE_MEMBERSHIP);
    }
}

void push_state_begin(struct gossip *g, struct member *m)
{
    struct state_jobs *j = &g->jobs;
    size_t i;

    CHECK(j->count <= STATE_JOBS_MAX);
    if (m->state_given_ms != MEMBER_NEVER &&
        g->now_ms - m->state_given_ms < STATE_GIVE_EVERY_MS)
        return;
    for (i = 0; i < j->count; i++)
        if (key_id_equal(&j->jobs[i].peer, &m->key_id))
            return;
    if (j->count == STATE_JOBS_MAX)
        return; /* it will ask again: its members stay other ones */
    m->state_given_ms = g->now_ms;
    j->jobs[j->count++] = (struct state_job){.peer = m->key_id};
    j->run_ms = g->now_ms;
    push_state_run(g);
}

/* The next greater key id; false after the last one. */
static bool key_id_successor(struct key_id *id)
{
    size_t i = KEY_ID_SIZE;

    while (i-- > 0)
        if (++id->bytes[i] != 0)
            return true;
    return false;
}

/* One packet of the list; false when the list is told to its end. */
static bool job_packet(struct gossip *g, struct state_job *job,
                       struct member *to)
{
    size_t i = member_table_listed_from(&g->table, &job->from);
    struct message record;
    bool more = true;

    packet_builder_clear(&g->builder);
    transmit_own(g, &record);
    (void)packet_builder_add(&g->builder, &record);
    for (; i < g->table.listed_count && more; i++) {
        struct member *m = g->table.listed[i];

        /* The dead are not told of: whoever holds them for living finds out
         * by its own probes, and a healed partition must not bury anybody. */
        if (m->state == MEMBER_DEAD || m == to)
            continue;
        transmit_signed(m, &record);
        if (!packet_builder_add(&g->builder, &record)) {
            job->from = m->key_id;
            break;
        }
        job->from = m->key_id;
        more = key_id_successor(&job->from);
    }
    more = more && i < g->table.listed_count;
    transmit_finish(g, &g->builder, to, &to->address, LANE_MEMBERSHIP);
    return more;
}

static bool job_run(struct gossip *g, struct state_job *job)
{
    struct member *m = member_table_find(&g->table, &job->peer);
    size_t packets = 0;

    if (m == NULL || !member_is_living(m))
        return false;
    while (packets < STATE_PACKETS_PER_RUN) {
        if (!job_packet(g, job, m))
            return false;
        packets++;
    }
    return true;
}

void push_state_run(struct gossip *g)
{
    struct state_jobs *j = &g->jobs;
    size_t i = 0;

    if (g->now_ms < j->run_ms)
        return;
    while (i < j->count) {
        if (job_run(g, &j->jobs[i]))
            i++;
        else
            j->jobs[i] = j->jobs[--j->count];
    }
    j->run_ms = j->count > 0 ? g->now_ms + STATE_RUN_MS : MEMBER_NEVER;
}

void push_state_ask(struct gossip *g, struct member *m)
{
    struct message message = {.type = MESSAGE_STATE_REQ};
    struct message own;

    g->state_asked = true;
    g->state_asked_ms = g->now_ms;
    g->state_asked_changes = g->table.changes;
    packet_builder_clear(&g->builder);
    transmit_own(g, &own);
    (void)packet_builder_add(&g->builder, &own);
    (void)packet_builder_add(&g->builder, &message);
    transmit_finish(g, &g->builder, m, &m->address, LANE_MEMBERSHIP);
}

void push_state_compare(struct gossip *g, struct member *m, uint64_t members)
{
    uint64_t every;

    CHECK(g->state_backoff >= 1);
    if (members == transmit_members_sum(g)) {
        g->state_backoff = 1;
        return;
    }
    /* While there is news of my own to tell, being different is normal. */
    if (!member_is_living(m) || g->own.left || g->spread.count > 0)
        return;
    every = g->interval_ms * (1 + machine_size(g) / STATE_SYNC_MEMBERS);
    if (g->state_asked &&
        g->now_ms - g->state_asked_ms < every * g->state_backoff)
        return;
    /* The last list taught nothing: some difference is here to stay. */
    if (g->state_asked && g->state_asked_changes == g->table.changes)
        g->state_backoff *= g->state_backoff < STATE_SYNC_BACKOFF_MAX ? 2 : 1;
    else
        g->state_backoff = 1;
    push_state_ask(g, m);
}
