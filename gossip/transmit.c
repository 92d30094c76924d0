/* Packets go out: sessions, nonces, own records and the room that is left. */
#include <sodium.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "gossip/machine.h"

struct session *transmit_session(struct gossip *g, struct member *m)
{
    struct session *s = m->session;

    if (s != NULL || m->certificate == NULL || m->barred)
        return m->barred ? NULL : s;
    s = cm_calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    if (packet_key(s->key, g->box_secret_key, m->box_key, &g->own.key_id,
                   &m->key_id) != 0) {
        cm_free(s);
        return NULL;
    }
    s->differs_since_ms = MEMBER_NEVER;
    s->differs_told_ms = MEMBER_NEVER;
    m->session = s;
    return s;
}

void transmit_own(const struct gossip *g, struct message *ret_message)
{
    *ret_message = (struct message){
        .type = g->own.left ? MESSAGE_LEAVE : MESSAGE_ALIVE,
        .subject = g->own.key_id,
        .address = g->own.address,
        .counter = g->own.counter,
    };
    memcpy(ret_message->signature, g->own.signature, 64);
}

void transmit_sign_own(struct gossip *g)
{
    struct message m;

    CHECK(g->own.counter >= 1 && g->own.counter <= PACKET_COUNTER_MAX);
    transmit_own(g, &m);
    if (g->own.left)
        packet_leave_sign(g->own.signature, &g->mesh, &m, g->sign_secret_key);
    else
        packet_alive_sign(g->own.signature, &g->mesh, &m, g->sign_secret_key);
}

void transmit_refute(struct gossip *g, uint64_t counter)
{
    CHECK(counter >= g->own.counter);
    if (counter >= PACKET_COUNTER_MAX || g->own.left)
        return;
    CM_MARK("member: refuted what was said of it");
    g->own.counter = counter + 1;
    transmit_sign_own(g);
    g->counters.refutations++;
    machine_spread(g, &g->own.key_id);
}

void transmit_signed(const struct member *m, struct message *ret_message)
{
    CHECK(m->state != MEMBER_NONE);
    *ret_message = (struct message){
        .type = m->state == MEMBER_LEFT ? MESSAGE_LEAVE : MESSAGE_ALIVE,
        .subject = m->key_id,
        .address = m->address,
        .counter = m->counter,
    };
    memcpy(ret_message->signature, m->signature, 64);
}

bool transmit_record(const struct member *m, struct message *ret_message)
{
    if (m->state == MEMBER_NONE)
        return false;
    transmit_signed(m, ret_message);
    ret_message->from = m->suspected_by;
    if (m->state == MEMBER_SUSPECT)
        ret_message->type = MESSAGE_SUSPECT;
    if (m->state == MEMBER_DEAD)
        ret_message->type = MESSAGE_DEAD;
    return true;
}

/* The record of a subject of the spread queue; false: there is none. */
static bool news_of(const struct gossip *g, const struct key_id *subject,
                    struct message *ret_message)
{
    const struct member *m;

    if (key_id_equal(subject, &g->own.key_id)) {
        transmit_own(g, ret_message);
        return true;
    }
    m = member_table_find(&g->table, subject);
    return m != NULL && transmit_record(m, ret_message);
}

static void piggyback(struct gossip *g, struct packet_builder *b,
                      const struct member *to)
{
    struct spread_entry *e;
    struct message news;

    spread_begin(&g->spread);
    while ((e = spread_next(&g->spread)) != NULL) {
        struct key_id subject = e->subject;

        if (!news_of(g, &subject, &news)) {
            spread_remove(&g->spread, &subject);
            continue;
        }
        /* That it is alive is no news to the subject itself; the telling
         * counts nevertheless, or the entry would stay for ever. */
        if (!(news.type == MESSAGE_ALIVE &&
              key_id_equal(&subject, &to->key_id)) &&
            !packet_builder_add(b, &news))
            break;
        spread_told(&g->spread, e);
    }
}

static void next_nonce(struct gossip *g, uint8_t ret_nonce[PACKET_NONCE_SIZE])
{
    CHECK(g->nonce_counter < UINT64_MAX);
    memcpy(ret_nonce, g->nonce_prefix, PACKET_NONCE_PREFIX_SIZE);
    put_be64(ret_nonce + PACKET_NONCE_PREFIX_SIZE, ++g->nonce_counter);
}

void transmit_finish(struct gossip *g, struct packet_builder *b,
                     struct member *m, const struct address *to, enum lane lane)
{
    struct session *s = transmit_session(g, m);
    uint8_t nonce[PACKET_NONCE_SIZE];

    if (s == NULL || to->family == 0) {
        packet_builder_clear(b);
        return;
    }
    if (lane == LANE_MEMBERSHIP)
        piggyback(g, b, m);
    if (b->count == 0)
        return;
    next_nonce(g, nonce);
    buffer_clear(&g->datagram);
    packet_seal(&g->datagram, s->key, &g->own.key_id, nonce, b);
    packet_builder_clear(b);
    if (g->datagram.error != 0 ||
        !outbox_send(&g->outbox, lane, to, buffer_slice(&g->datagram)))
        g->counters.packets_dropped++;
}

uint64_t transmit_members_sum(const struct gossip *g)
{
    if (g->own.left)
        return g->table.sum;
    return g->table.sum + member_sum(&g->own.key_id, g->own.counter);
}

void transmit_ping(struct gossip *g, struct member *m, const struct address *to,
                   struct ping *ping, bool with_own)
{
    struct ping entry = {0};
    struct message message = {
        .type = MESSAGE_PING,
        .seq = ++g->seq,
        .digest = g->digest,
        .members = transmit_members_sum(g),
        .state = m->state,
        .counter = m->counter,
    };

    if (ping == NULL)
        ping = &entry;
    ping->seq = message.seq;
    ping->sent_ms = g->now_ms;
    ping->target = m->key_id;
    if (!pings_add(&g->pings, ping))
        return;
    packet_builder_clear(&g->builder);
    (void)packet_builder_add(&g->builder, &message);
    if (with_own) {
        transmit_own(g, &message);
        (void)packet_builder_add(&g->builder, &message);
    }
    transmit_finish(g, &g->builder, m, to, LANE_MEMBERSHIP);
}
