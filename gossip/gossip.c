/* The machine: takes inputs, keeps deadlines, answers views. What it does is
 * told in README.md; how the parts divide the work, in machine.h. */
#include "gossip/gossip.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "gossip/machine.h"
#include "gossip/receive.h"

#define INTERVAL_MS 1000
#define TIMEOUT_MS 300
#define FORGET_MS (UINT64_C(24) * 3600 * 1000)

/* --- what several files change --- */

size_t machine_size(const struct gossip *g)
{
    return g->table.state_count[MEMBER_ALIVE] +
           g->table.state_count[MEMBER_SUSPECT] + 1;
}

static void sooner(uint64_t *deadline_ms, uint64_t at_ms)
{
    if (at_ms < *deadline_ms)
        *deadline_ms = at_ms;
}

void machine_spread(struct gossip *g, const struct key_id *subject)
{
    spread_add(&g->spread, subject, spread_tellings(machine_size(g)));
    sooner(&g->spread_ms, g->now_ms + SPREAD_DELAY_MS);
}

void machine_tell(struct gossip *g, const struct gossip_event *event,
                  struct shared_bytes *bytes)
{
    if (!outbox_tell(&g->outbox, event, bytes))
        g->counters.packets_dropped++;
}

void machine_move(struct gossip *g, struct member *m, unsigned state,
                  uint64_t counter)
{
    unsigned from = m->state;
    struct gossip_event event = {.kind = GOSSIP_MEMBER, .peer = m->key_id};

    member_move(&g->table, m, state, counter, g->now_ms);
    if (state == from || state == MEMBER_NONE)
        return;
    if (state == MEMBER_DEAD || state == MEMBER_LEFT) {
        sooner(&g->retry_ms, g->now_ms + g->interval_ms);
        sooner(&g->forget_at_ms, g->now_ms + g->forget_ms);
    }
    event.address = m->address;
    event.state = (enum member_state)state;
    machine_tell(g, &event, NULL);
}

void machine_suspect(struct gossip *g, struct member *m,
                     const struct key_id *by)
{
    CHECK(m->state == MEMBER_ALIVE);
    m->suspected_by = *by;
    machine_move(g, m, MEMBER_SUSPECT, m->counter);
    g->counters.suspicions++;
    machine_spread(g, &m->key_id);
    probe_suspect_enter(g, m);
}

void machine_dead(struct gossip *g, struct member *m)
{
    CHECK(member_is_living(m));
    CM_MARK("member: declared dead");
    machine_move(g, m, MEMBER_DEAD, m->counter);
    g->counters.deaths++;
    machine_spread(g, &m->key_id);
}

void machine_stranger(struct gossip *g, const struct key_id *id,
                      const struct address *address,
                      const struct message *alive, bool unproven)
{
    struct gossip_event event = {
        .kind = GOSSIP_CONTACT, .peer = *id, .address = *address};

    if (strangers_hear(&g->strangers, g->now_ms, id, address, alive, unproven))
        machine_tell(g, &event, NULL);
}

void machine_contact(struct gossip *g, struct member *m,
                     const struct address *address)
{
    CHECK(m->certificate != NULL && !m->barred);
    if (member_is_living(m)) {
        /* Perhaps restarted, or elsewhere: its answer tells. */
        transmit_ping(g, m, address, NULL, true);
        return;
    }
    m->contact = *address;
    m->contact_tries = 0;
    m->contact_next_ms = g->now_ms;
    g->contact_ms = g->now_ms;
    probe_contacts(g);
}

void machine_apply_alive(struct gossip *g, struct member *m,
                         const struct message *message, bool direct)
{
    bool living = member_is_living(m);

    CHECK(m->certificate != NULL && message->type == MESSAGE_ALIVE);
    if (message->counter <= m->counter ||
        !packet_alive_verify(&g->mesh, message, m->sign_key))
        return;
    CM_MARK_IF(m->state == MEMBER_DEAD, "member: back from the dead");
    CM_MARK_IF(m->state == MEMBER_LEFT, "member: back after leaving");
    m->address = message->address;
    memcpy(m->signature, message->signature, 64);
    m->contact_next_ms = MEMBER_NEVER;
    machine_move(g, m, MEMBER_ALIVE, message->counter);
    machine_spread(g, &m->key_id);
    if (living)
        return;
    member_table_enter_ring(&g->table, &g->random, m);
    /* First contact: both sides bring each other up to date. Of many contacts
     * at one time (a restart) the first answers; the rest compare. */
    if (direct && (!g->state_asked ||
                   g->now_ms - g->state_asked_ms >= SPREAD_INTERVAL_MS))
        push_state_ask(g, m);
}

void machine_apply_leave(struct gossip *g, struct member *m,
                         const struct message *message)
{
    CHECK(message->type == MESSAGE_LEAVE);
    if (m->certificate == NULL || message->counter <= m->counter ||
        !member_may_move(m->state, MEMBER_LEFT) ||
        !packet_leave_verify(&g->mesh, message, m->sign_key))
        return;
    memcpy(m->signature, message->signature, 64);
    machine_move(g, m, MEMBER_LEFT, message->counter);
    machine_spread(g, &m->key_id);
}

/* --- life --- */

static void secrets_wipe(struct gossip *g)
{
    sodium_memzero(g->sign_secret_key, sizeof g->sign_secret_key);
    sodium_memzero(g->box_secret_key, sizeof g->box_secret_key);
    sodium_memzero(&g->random, sizeof g->random);
    sodium_memzero(g->plain, sizeof g->plain);
}

void gossip_free(struct gossip *g)
{
    if (g == NULL)
        return;
    secrets_wipe(g);
    member_table_release(&g->table);
    strangers_release(&g->strangers);
    outbox_release(&g->outbox);
    packet_builder_release(&g->builder);
    packet_builder_release(&g->reply);
    buffer_release(&g->datagram);
    buffer_release(&g->certificate);
    cm_free(g);
}

/* The certificate has to be of these keys and of this mesh. */
static int check_config(const struct gossip_config *c,
                        struct certificate *ret_own)
{
    uint8_t box_key[32];
    int ret =
        certificate_decode(ret_own, c->certificate, c->authority_public_key);

    if (ret != 0)
        return ret;
    if (memcmp(ret_own->mesh.bytes, c->mesh.bytes, sizeof c->mesh.bytes) != 0)
        return CM_ERR_WRONG_MESH;
    (void)crypto_scalarmult_base(box_key, c->box_secret_key);
    if (memcmp(box_key, ret_own->box_key, 32) != 0 ||
        memcmp(c->sign_secret_key + 32, ret_own->sign_key, 32) != 0 ||
        c->address.family == 0 || c->alive_counter > PACKET_COUNTER_MAX)
        return CM_ERR_INVALID;
    return 0;
}

static void init_tables(struct gossip *g)
{
    member_table_init(&g->table);
    strangers_init(&g->strangers);
    outbox_init(&g->outbox);
    packet_builder_init(&g->builder);
    packet_builder_init(&g->reply);
    buffer_init(&g->datagram, GOSSIP_PACKET_MAX);
    buffer_init(&g->certificate, CERTIFICATE_SIZE_MAX);
}

static void init_times(struct gossip *g, const struct gossip_config *c)
{
    g->interval_ms = c->probe_interval_ms ? c->probe_interval_ms : INTERVAL_MS;
    g->timeout_ms = c->probe_timeout_ms ? c->probe_timeout_ms : TIMEOUT_MS;
    g->suspicion_ms = c->suspicion_ms;
    g->forget_ms = c->forget_dead_ms ? c->forget_dead_ms : FORGET_MS;
    g->digest_changed_ms = g->now_ms;
    g->digest_ping_ms = MEMBER_NEVER;
    g->spread_ms = MEMBER_NEVER;
    g->retry_ms = MEMBER_NEVER;
    g->contact_ms = MEMBER_NEVER;
    g->suspect_ms = MEMBER_NEVER;
    g->forget_at_ms = MEMBER_NEVER;
    g->jobs.run_ms = MEMBER_NEVER;
    g->state_backoff = 1;
    /* Nodes that start together do not all probe at the same moment. */
    g->probe_ms = g->now_ms + random_below(&g->random, g->interval_ms);
}

int gossip_create(struct gossip **ret_gossip, const struct gossip_config *c,
                  uint64_t now_ms)
{
    struct certificate own;
    struct gossip *g;
    int ret = check_config(c, &own);

    if (ret != 0)
        return ret;
    g = cm_calloc(1, sizeof *g);
    if (g == NULL)
        return CM_ERR_NOMEM;
    init_tables(g);
    g->mesh = c->mesh;
    memcpy(g->authority_public_key, c->authority_public_key, 32);
    memcpy(g->sign_secret_key, c->sign_secret_key, 64);
    memcpy(g->box_secret_key, c->box_secret_key, 32);
    buffer_append_slice(&g->certificate, c->certificate);
    if (g->certificate.error != 0) {
        ret = g->certificate.error;
        gossip_free(g);
        return ret;
    }
    g->now_ms = now_ms;
    random_init(&g->random, c->seed);
    random_bytes_draw(&g->random, g->nonce_prefix, sizeof g->nonce_prefix);
    g->seq = random_u64(&g->random) >> 1; /* room to count up */
    g->own.key_id = own.key_id;
    g->own.address = c->address;
    g->own.counter = c->alive_counter > 0 ? c->alive_counter : 1;
    init_times(g, c);
    transmit_sign_own(g);
    *ret_gossip = g;
    return 0;
}

/* --- inputs --- */

/* Notes the time of an input. */
static void begin(struct gossip *g, uint64_t now_ms)
{
    uint64_t gap = now_ms > g->now_ms ? now_ms - g->now_ms : 0;

    if (now_ms > g->now_ms)
        g->now_ms = now_ms;
    if (g->digest_unstamped) {
        g->digest_unstamped = false;
        g->digest_changed_ms = g->now_ms;
        if (g->digest_ping_ms == MEMBER_NEVER)
            g->digest_ping_ms = g->now_ms + DIGEST_PING_MS;
    }
    /* With members there is a deadline in every interval: nobody came, so this
     * process was stopped, and silence proves nothing. */
    if (gap > 2 * g->interval_ms && machine_size(g) > 1)
        probe_stalled(g, gap);
}

static void count_refusal(struct gossip *g, int error)
{
    if (error == CM_ERR_UNKNOWN_PEER)
        g->counters.packets_unknown++;
    else if (error != 0)
        g->counters.packets_refused++;
}

int gossip_recv(struct gossip *g, uint64_t now_ms, const struct address *from,
                struct slice packet)
{
    int ret;

    begin(g, now_ms);
    g->counters.packets_received++;
    g->counters.bytes_received += packet.size;
    ret = receive_packet(g, from, packet);
    count_refusal(g, ret);
    return ret;
}

/* The own digest changed a moment ago: one random peer is asked what it has,
 * so that a lost push is found before the next probe. */
static void digest_ping(struct gossip *g)
{
    struct member *peer;

    if (g->now_ms < g->digest_ping_ms)
        return;
    g->digest_ping_ms = MEMBER_NEVER;
    if (member_table_pick(&g->table, &g->random, NULL, 1, &peer) == 1)
        transmit_ping(g, peer, &peer->address, NULL, false);
}

static void forget_old(struct gossip *g)
{
    size_t i = 0;

    if (g->now_ms < g->forget_at_ms)
        return;
    g->forget_at_ms = MEMBER_NEVER;
    while (i < g->table.listed_count) {
        struct member *m = g->table.listed[i];

        if (member_is_living(m)) {
            i++;
        } else if (g->now_ms - m->state_since_ms >= g->forget_ms) {
            machine_move(g, m, MEMBER_NONE, m->counter); /* unlists it */
            m->counter = 0; /* what cannot be proven any more is not known */
        } else {
            sooner(&g->forget_at_ms, m->state_since_ms + g->forget_ms);
            i++;
        }
    }
}

int gossip_tick(struct gossip *g, uint64_t now_ms)
{
    begin(g, now_ms);
    if (g->own.left)
        return 0;
    probe_run(g);
    probe_suspects(g);
    probe_contacts(g);
    probe_retry_dead(g);
    forget_old(g);
    digest_ping(g);
    push_state_run(g);
    push_news(g);
    return 0;
}

/* Finds the stored certificate of the same key without checking a signature:
 * true if these very bytes are known. */
static bool certificate_known(const struct gossip *g, struct slice bytes)
{
    struct unpacker outer;
    struct unpacker body;
    struct member *m;
    uint8_t key[32];
    struct key_id id;

    unpack_init(&outer, bytes);
    unpack_array_of(&outer, 2);
    unpack_init(&body, unpack_bin(&outer, CERTIFICATE_SIZE_MAX));
    (void)unpack_array(&body, 16);
    (void)unpack_uint(&body, UINT64_MAX);
    (void)unpack_bin(&body, 16);
    unpack_bytes(&body, key, sizeof key);
    if (outer.error != 0 || body.error != 0)
        return false;
    id = key_id_of(key);
    m = member_table_find(&g->table, &id);
    return m != NULL && m->certificate != NULL &&
           slice_equal(member_certificate(m), bytes);
}

int gossip_add_certificate(struct gossip *g, struct slice certificate)
{
    struct certificate c;
    struct stranger stranger;
    struct member *m;
    int ret;

    if (certificate_known(g, certificate))
        return 0;
    ret = certificate_decode(&c, certificate, g->authority_public_key);
    if (ret != 0 || key_id_equal(&c.key_id, &g->own.key_id))
        return ret;
    if (memcmp(c.mesh.bytes, g->mesh.bytes, sizeof g->mesh.bytes) != 0)
        return CM_ERR_WRONG_MESH;
    ret = member_table_ensure(&g->table, &c.key_id, &m);
    if (ret != 0)
        return ret;
    if (m->barred)
        return CM_ERR_REVOKED;
    ret = member_set_certificate(m, certificate, &c);
    if (ret != 0 || !strangers_take(&g->strangers, &c.key_id, &stranger))
        return ret;
    /* What was remembered of it can be verified now. */
    if (stranger.has_alive)
        machine_apply_alive(g, m, &stranger.alive, false);
    return 0;
}

int gossip_add_contact(struct gossip *g, uint64_t now_ms,
                       const struct key_id *peer, const struct address *address)
{
    struct member *m;

    begin(g, now_ms);
    if (address->family == 0)
        return CM_ERR_INVALID;
    if (key_id_equal(peer, &g->own.key_id) || g->own.left)
        return 0;
    m = member_table_find(&g->table, peer);
    if (m != NULL && m->barred)
        return CM_ERR_REVOKED;
    if (m == NULL || m->certificate == NULL) {
        machine_stranger(g, peer, address, NULL, false);
        return 0;
    }
    machine_contact(g, m, address);
    return 0;
}

void gossip_set_digest(struct gossip *g, const struct hash *digest)
{
    if (hash_equal(&g->digest, digest))
        return;
    g->digest = *digest;
    g->digest_unstamped = true;
}

void gossip_set_clock(struct gossip *g, int64_t wall_less_mono_ms)
{
    g->clock = (struct own_clock){.known = true, .lead_ms = wall_less_mono_ms};
}

size_t gossip_clock_median(const struct gossip *g, int64_t *ret_offset_ms)
{
    int64_t offsets[CLOCKS_ASKED_MAX] = {0}; /* the own one is first */
    size_t count = 1;
    size_t stride = 1 + g->table.listed_count / (CLOCKS_ASKED_MAX - 1);

    for (size_t i = 0; i < g->table.listed_count; i += stride) {
        const struct member *m = g->table.listed[i];

        if (member_is_living(m) && m->clock.known && count < CLOCKS_ASKED_MAX)
            offsets[count++] = clock_offset(&m->clock, &g->clock);
    }
    *ret_offset_ms = clock_median(offsets, count);
    return count;
}

int gossip_push(struct gossip *g, uint64_t now_ms, struct slice event,
                const struct key_id *except)
{
    begin(g, now_ms);
    if (g->own.left)
        return CM_ERR_CLOSED;
    if (event.size == 0)
        return CM_ERR_INVALID;
    return push_event(g, event, except);
}

void gossip_set_linked(struct gossip *g, const struct key_id *peer, bool linked)
{
    struct member *m = member_table_find(&g->table, peer);

    if (m != NULL)
        m->linked = linked;
}

void gossip_leave(struct gossip *g, uint64_t now_ms)
{
    begin(g, now_ms);
    if (g->own.left || g->own.counter >= PACKET_COUNTER_MAX)
        return;
    g->own.counter++;
    g->own.left = true;
    transmit_sign_own(g);
    push_leave(g);
}

void gossip_forget(struct gossip *g, const struct key_id *peer)
{
    struct member *m;

    if (key_id_equal(peer, &g->own.key_id) ||
        member_table_ensure(&g->table, peer, &m) != 0)
        return;
    if (m->state != MEMBER_NONE) {
        if (member_is_living(m))
            member_move(&g->table, m, MEMBER_DEAD, m->counter, g->now_ms);
        member_move(&g->table, m, MEMBER_NONE, m->counter, g->now_ms);
    }
    m->barred = true;
    m->contact_next_ms = MEMBER_NEVER;
    if (m->session != NULL)
        sodium_memzero(m->session, sizeof *m->session);
    cm_free(m->session);
    m->session = NULL;
    cm_free(m->certificate);
    m->certificate = NULL;
    m->certificate_size = 0;
    spread_remove(&g->spread, peer);
}

void gossip_readmit(struct gossip *g, const struct key_id *peer)
{
    struct member *m;

    if (member_table_ensure(&g->table, peer, &m) == 0 && m->barred) {
        m->barred = false;
        m->contact_next_ms = 0;
        /* It may not have noticed: then it lives on under the same counter,
         * and no later record of it will ever come. */
        m->counter = 0;
    }
}

/* --- outputs --- */

bool gossip_next_send(struct gossip *g, struct gossip_send *ret_send)
{
    if (!outbox_next_send(&g->outbox, ret_send))
        return false;
    g->counters.packets_sent++;
    g->counters.bytes_sent += ret_send->packet.size;
    return true;
}

bool gossip_next_event(struct gossip *g, struct gossip_event *ret_event)
{
    return outbox_next_event(&g->outbox, ret_event);
}

uint64_t gossip_deadline_ms(const struct gossip *g)
{
    uint64_t ret = MEMBER_NEVER;

    if (g->own.left)
        return MEMBER_NEVER;
    if (g->digest_unstamped)
        return g->now_ms; /* its 100 ms begin with the next input */
    sooner(&ret, probe_deadline_ms(g));
    sooner(&ret, g->suspect_ms);
    sooner(&ret, g->contact_ms);
    sooner(&ret, g->retry_ms);
    sooner(&ret, g->forget_at_ms);
    sooner(&ret, g->digest_ping_ms);
    sooner(&ret, g->jobs.run_ms);
    sooner(&ret, g->spread_ms);
    return ret;
}

/* --- views --- */

size_t gossip_member_count(const struct gossip *g, enum member_state state)
{
    CHECK(state >= MEMBER_ALIVE && state <= MEMBER_LEFT);
    return g->table.state_count[state];
}

uint64_t gossip_member_changes(const struct gossip *g)
{
    return g->table.changes;
}

size_t gossip_member_total(const struct gossip *g)
{
    return g->table.listed_count;
}

static void view_of(const struct gossip *g, const struct member *m,
                    struct member_view *ret_view)
{
    *ret_view = (struct member_view){
        .key_id = m->key_id,
        .address = m->address,
        .state = (enum member_state)m->state,
        .alive_counter = m->counter,
        .state_since_ms = m->state_since_ms,
        .round_trip_ms = m->round_trip_ms,
        .clock_known = m->clock.known && g->clock.known,
        .clock_offset_ms = clock_offset(&m->clock, &g->clock),
        .digest_equal = m->session != NULL && m->session->digest_heard &&
                        hash_equal(&m->session->digest, &g->digest),
        .has_certificate = m->certificate != NULL,
    };
    memcpy(ret_view->name, m->name, sizeof ret_view->name);
}

void gossip_member_at(const struct gossip *g, size_t index,
                      struct member_view *ret_view)
{
    CHECK(index < g->table.listed_count);
    view_of(g, g->table.listed[index], ret_view);
}

enum member_state gossip_member_state(const struct gossip *g,
                                      const struct key_id *peer)
{
    const struct member *m = member_table_find(&g->table, peer);

    return m != NULL ? m->state : MEMBER_NONE;
}

bool gossip_member_find(const struct gossip *g, const struct key_id *peer,
                        struct member_view *ret_view)
{
    const struct member *m = member_table_find(&g->table, peer);

    if (m == NULL || m->state == MEMBER_NONE)
        return false;
    view_of(g, m, ret_view);
    return true;
}

size_t gossip_digest_heard(const struct gossip *g, const struct hash *digest,
                           const struct key_id *except)
{
    size_t ret = 0;

    for (size_t i = 0; i < g->table.listed_count; i++) {
        const struct member *m = g->table.listed[i];

        ret += m->state == MEMBER_ALIVE && m->session != NULL &&
               m->session->digest_heard &&
               hash_equal(&m->session->digest, digest) &&
               (except == NULL || !key_id_equal(&m->key_id, except));
    }
    return ret;
}

struct slice gossip_certificate(const struct gossip *g,
                                const struct key_id *peer)
{
    const struct member *m;

    if (key_id_equal(peer, &g->own.key_id))
        return buffer_slice(&g->certificate);
    m = member_table_find(&g->table, peer);
    if (m == NULL || m->certificate == NULL)
        return (struct slice){0};
    return member_certificate(m);
}

void gossip_counters(const struct gossip *g, struct gossip_counters *ret)
{
    *ret = g->counters;
}
