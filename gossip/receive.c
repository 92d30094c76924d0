/* Packets come in; see receive.h.
 *
 * A packet is believed as far as its sender is: pings, acks and opinions are
 * its own word; alive and leave records count by their subject's signature
 * alone, whoever passes them on. Whoever tells something that is older than
 * what is known here is answered with the newer record. */
#include "gossip/receive.h"

#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "gossip/machine.h"

/* Compares the peer's state digest with ours. A difference is told when it
 * cannot be a push that is still under way: either it is as old as the peer's
 * last word, or nothing was written here lately. */
static void hear_digest(struct gossip *g, struct member *m,
                        const struct address *from, const struct hash *digest)
{
    struct session *s = m->session;
    struct gossip_event event = {
        .kind = GOSSIP_DIFFERS,
        .peer = m->key_id,
        .address = m->state == MEMBER_NONE ? *from : m->address,
        .state = (enum member_state)m->state,
    };
    bool same = s->digest_heard && hash_equal(&s->digest, digest);
    uint64_t since = s->differs_since_ms;
    bool persists;
    bool settled = g->now_ms - g->digest_changed_ms >= DIGEST_SETTLE_MS;

    s->digest = *digest;
    s->digest_heard = true;
    if (hash_equal(digest, &g->digest)) {
        s->differs_since_ms = MEMBER_NEVER;
        return;
    }
    if (since == MEMBER_NEVER)
        s->differs_since_ms = since = g->now_ms;
    persists = (same && g->now_ms - since >= DIGEST_SETTLE_MS) ||
               g->now_ms - since >= g->interval_ms;
    if (!persists && !settled)
        return;
    if (s->differs_told_ms != MEMBER_NEVER &&
        g->now_ms - s->differs_told_ms < DIFFERS_EVERY_MS)
        return;
    s->differs_told_ms = g->now_ms;
    s->differs_since_ms = g->now_ms;
    machine_tell(g, &event, NULL);
}

static void reply_own(struct gossip *g)
{
    struct message own;

    transmit_own(g, &own);
    (void)packet_builder_add(&g->reply, &own);
}

static void reply_signed(struct gossip *g, const struct member *m)
{
    struct message record;

    if (m->state == MEMBER_NONE)
        return;
    transmit_signed(m, &record);
    (void)packet_builder_add(&g->reply, &record);
}

static void on_ping(struct gossip *g, struct member *m,
                    const struct address *from, const struct message *ping)
{
    struct message ack = {
        .type = MESSAGE_ACK,
        .seq = ping->seq,
        .digest = g->digest,
        .clock_ms = clock_now(&g->clock, g->now_ms),
    };

    if ((ping->state == MEMBER_SUSPECT || ping->state == MEMBER_DEAD ||
         ping->state == MEMBER_LEFT) &&
        ping->counter == g->own.counter)
        transmit_refute(g, ping->counter);
    ack.members = transmit_members_sum(g);
    (void)packet_builder_add(&g->reply, &ack);
    if (ping->state != MEMBER_ALIVE || ping->counter != g->own.counter)
        reply_own(g);
    hear_digest(g, m, from, &ping->digest);
    push_state_compare(g, m, ping->members);
}

static void on_ack(struct gossip *g, struct member *m,
                   const struct address *from, const struct message *ack)
{
    struct message relay = {.type = MESSAGE_INDIRECT_ACK};
    struct member *requester;
    struct ping ping;

    if (!pings_take(&g->pings, ack->seq, &m->key_id, &ping))
        return; /* late, or never asked for */
    m->round_trip_ms = g->now_ms - ping.sent_ms;
    if (m->round_trip_ms == 0)
        m->round_trip_ms = 1; /* 0 means unknown */
    clock_hear(&m->clock, &g->clock, ack->clock_ms, ping.sent_ms, g->now_ms);
    if (g->probe.active && g->probe.seq == ack->seq)
        g->probe.active = false;
    hear_digest(g, m, from, &ack->digest);
    push_state_compare(g, m, ack->members);
    if (!ping.relayed)
        return;
    requester = member_table_find(&g->table, &ping.requester);
    if (requester == NULL || !member_is_living(requester))
        return;
    relay.seq = ping.requester_seq;
    relay.subject = m->key_id;
    packet_builder_clear(&g->builder);
    (void)packet_builder_add(&g->builder, &relay);
    transmit_finish(g, &g->builder, requester, &requester->address,
                    LANE_MEMBERSHIP);
}

static void on_ping_req(struct gossip *g, struct member *m,
                        const struct message *request)
{
    struct member *target = member_table_find(&g->table, &request->subject);
    struct ping ping = {
        .relayed = true, .requester = m->key_id, .requester_seq = request->seq};

    if (target == NULL || target == m || target->state == MEMBER_NONE ||
        target->barred || !member_is_living(m))
        return;
    transmit_ping(g, target, &target->address, &ping, false);
}

static void on_indirect_ack(struct gossip *g, const struct member *m,
                            const struct message *ack)
{
    size_t i;

    if (!g->probe.active || g->probe.seq != ack->seq ||
        !key_id_equal(&g->probe.target, &ack->subject))
        return;
    /* Only those that were asked may speak for the target. */
    for (i = 0; i < g->probe.helpers_count; i++) {
        if (!key_id_equal(&g->probe.helpers[i], &m->key_id))
            continue;
        CM_MARK("probe: a helper saved a member");
        g->probe.active = false;
    }
}

/* One's own record came back: from an earlier life that counted further. */
static void on_own_record(struct gossip *g, const struct message *record)
{
    bool alive = record->type == MESSAGE_ALIVE;
    const uint8_t *key = g->sign_secret_key + 32; /* libsodium keeps it there */

    if (record->counter < g->own.counter || g->own.left)
        return;
    if (alive && record->counter == g->own.counter &&
        memcmp(record->signature, g->own.signature, 64) == 0)
        return;
    if (alive ? !packet_alive_verify(&g->mesh, record, key)
              : !packet_leave_verify(&g->mesh, record, key))
        return;
    transmit_refute(g, record->counter);
    reply_own(g);
}

static void on_alive(struct gossip *g, struct member *sender,
                     const struct message *alive)
{
    struct member *m;
    bool direct = key_id_equal(&alive->subject, &sender->key_id);

    if (key_id_equal(&alive->subject, &g->own.key_id)) {
        on_own_record(g, alive);
        return;
    }
    m = member_table_find(&g->table, &alive->subject);
    if (m == NULL || (m->certificate == NULL && !m->barred)) {
        machine_stranger(g, &alive->subject, &alive->address, alive, false);
        return;
    }
    if (m->barred)
        return;
    if (alive->counter > m->counter) {
        machine_apply_alive(g, m, alive, direct);
    } else if (alive->counter < m->counter) {
        if (direct)
            reply_signed(g, m);
    } else if (m->state == MEMBER_DEAD && !direct &&
               (m->hinted_ms == MEMBER_NEVER ||
                g->now_ms - m->hinted_ms >= g->interval_ms)) {
        /* Others hold it for living: if it is, it refutes. */
        m->hinted_ms = g->now_ms;
        transmit_ping(g, m, &m->address, NULL, true);
    }
}

static void on_leave(struct gossip *g, const struct message *leave)
{
    struct member *m;

    if (key_id_equal(&leave->subject, &g->own.key_id)) {
        on_own_record(g, leave);
        return;
    }
    m = member_table_find(&g->table, &leave->subject);
    if (m != NULL && !m->barred)
        machine_apply_leave(g, m, leave);
}

static void on_opinion(struct gossip *g, const struct message *opinion)
{
    struct member *m;

    if (key_id_equal(&opinion->subject, &g->own.key_id)) {
        if (opinion->counter == g->own.counter)
            transmit_refute(g, opinion->counter);
        reply_own(g);
        return;
    }
    m = member_table_find(&g->table, &opinion->subject);
    if (m == NULL || m->barred)
        return;
    if (opinion->counter < m->counter) {
        reply_signed(g, m);
        return;
    }
    if (opinion->type == MESSAGE_SUSPECT && m->state == MEMBER_ALIVE)
        machine_suspect(g, m, &opinion->from);
    if (opinion->type == MESSAGE_DEAD && member_is_living(m)) {
        m->suspected_by = opinion->from;
        machine_dead(g, m);
    }
}

static void on_event(struct gossip *g, const struct member *m,
                     const struct message *message)
{
    struct shared_bytes *bytes = shared_bytes_new(message->bytes);
    struct gossip_event event = {
        .kind = GOSSIP_EVENT,
        .peer = m->key_id,
        .address = m->address,
        .state = (enum member_state)m->state,
    };

    g->counters.events_received++;
    if (bytes == NULL) {
        g->counters.packets_dropped++;
        return;
    }
    machine_tell(g, &event, bytes);
    shared_bytes_drop(bytes);
}

static void on_message(struct gossip *g, struct member *m,
                       const struct address *from,
                       const struct message *message)
{
    switch (message->type) {
    case MESSAGE_PING:
        on_ping(g, m, from, message);
        return;
    case MESSAGE_ACK:
        on_ack(g, m, from, message);
        return;
    case MESSAGE_PING_REQ:
        on_ping_req(g, m, message);
        return;
    case MESSAGE_INDIRECT_ACK:
        on_indirect_ack(g, m, message);
        return;
    case MESSAGE_ALIVE:
        on_alive(g, m, message);
        return;
    case MESSAGE_SUSPECT:
    case MESSAGE_DEAD:
        on_opinion(g, message);
        return;
    case MESSAGE_LEAVE:
        on_leave(g, message);
        return;
    case MESSAGE_EVENT:
        on_event(g, m, message);
        return;
    case MESSAGE_STATE_REQ:
        if (member_is_living(m))
            push_state_begin(g, m);
        return;
    }
    CHECK(false);
}

void receive_messages(struct gossip *g, struct member *m,
                      const struct address *from)
{
    size_t i;

    CHECK(g->packet.count <= PACKET_MESSAGES_MAX);
    CHECK(m->certificate != NULL && !m->barred);
    if (transmit_session(g, m) == NULL)
        return;
    packet_builder_clear(&g->reply);
    for (i = 0; i < g->packet.count; i++)
        on_message(g, m, from, &g->packet.messages[i]);
    /* Answers go where the packet came from: perhaps there is a NAT between. */
    if (g->reply.count > 0)
        transmit_finish(g, &g->reply, m, from, LANE_MEMBERSHIP);
    /* Certified, speaking, and yet no member here: tell it, so that it answers
     * with a record that says where and since when it lives. */
    if (!member_is_living(m) && !g->own.left &&
        (m->hinted_ms == MEMBER_NEVER ||
         g->now_ms - m->hinted_ms >= HINT_EVERY_MS)) {
        m->hinted_ms = g->now_ms;
        transmit_ping(g, m, from, NULL, true);
    }
}

int receive_packet(struct gossip *g, const struct address *from,
                   struct slice packet)
{
    struct key_id sender;
    struct member *m;
    struct session *s;
    size_t size;
    int ret = packet_sender(&sender, packet);

    if (ret != 0)
        return ret;
    if (key_id_equal(&sender, &g->own.key_id))
        return CM_ERR_MALFORMED; /* reflected */
    m = member_table_find(&g->table, &sender);
    if (m != NULL && m->barred)
        return CM_ERR_REVOKED;
    if (m == NULL || m->certificate == NULL) {
        machine_stranger(g, &sender, from, NULL, true);
        return CM_ERR_UNKNOWN_PEER;
    }
    s = transmit_session(g, m);
    if (s == NULL)
        return CM_ERR_NOMEM;
    ret = packet_open(g->plain, &size, s->key, packet);
    CM_MARK_IF(ret != 0, "packet: damaged or forged");
    if (ret != 0)
        return ret;
    if (!replay_accept(&s->replay, packet_nonce(packet).data)) {
        CM_MARK("packet: refused, it came before");
        return CM_ERR_DUPLICATE;
    }
    ret = packet_decode(&g->packet, slice_of(g->plain, size));
    if (ret != 0)
        return ret;
    receive_messages(g, m, from);
    return 0;
}
