/* What a member that has turned hostile sends: see hostile.h. */
#include "sim/hostile.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/event.h"
#include "gossip/packet.h"
#include "sim/entropy.h"

#define FLOOD 100
#define PENDING_FLOOD 1200 /* the first time; more than an origin may have */
#define YEARS_MS (UINT64_C(10) * 365 * 24 * 3600 * 1000)
#define HUGE_SEQ (UINT64_C(1) << 40)
#define EVENT_LIMIT 65536

/* One hostile act: who, to whom, and its own randomness. */
struct act {
    struct sim_world *w;
    unsigned host;
    unsigned to;
    uint64_t number; /* of the line's wrongs, from 1 */
    const uint8_t *secret;
    struct key_id self;
    uint8_t key[32]; /* pairwise */
    struct mesh_id mesh;
    struct random_stream random;
    struct packet_builder builder;
};

static uint64_t draw(struct act *a)
{
    uint64_t v;

    random_bytes_draw(&a->random, &v, sizeof v);
    return v;
}

static void act_init(struct act *a, struct sim_world *w, unsigned host,
                     unsigned to, uint64_t line, uint64_t number)
{
    const uint8_t *peer = sim_host_public_key(w->hosts[to]);
    uint8_t box_secret[32];
    uint8_t peer_box[32];

    CHECK(host < w->options.hosts && to < w->options.hosts);
    *a = (struct act){.w = w,
                      .host = host,
                      .to = to,
                      .number = number,
                      .secret = sim_host_secret_key(w->hosts[host])};
    a->self = key_id_of(sim_host_public_key(w->hosts[host]));
    a->mesh = mesh_id_of(w->authority.public_key);
    sim_entropy_stream(&a->random, w->options.seed, "sim hostile",
                       line << 20 ^ number);
    packet_builder_init(&a->builder);
    CHECK(crypto_sign_ed25519_sk_to_curve25519(box_secret, a->secret) == 0);
    CHECK(crypto_sign_ed25519_pk_to_curve25519(peer_box, peer) == 0);
    struct key_id other = key_id_of(peer);
    CHECK(packet_key(a->key, box_secret, peer_box, &a->self, &other) == 0);
    sodium_memzero(box_secret, sizeof box_secret);
}

/* Seals what the builder holds and sends it. */
static void act_send(struct act *a)
{
    struct address to = sim_net_address(a->to);
    uint8_t nonce[PACKET_NONCE_SIZE];
    struct buffer out;

    random_bytes_draw(&a->random, nonce, sizeof nonce);
    buffer_init(&out, GOSSIP_PACKET_MAX);
    packet_seal(&out, a->key, &a->self, nonce, &a->builder);
    CHECK(out.error == 0);
    sim_net_send(a->w->net, a->host, &to, buffer_slice(&out));
    buffer_release(&out);
    packet_builder_clear(&a->builder);
    sim_fault_happened(&a->w->faults, SIM_DEED_HOSTILE);
}

/* Some host that is neither of the two, if there is one. */
static unsigned third(struct act *a)
{
    unsigned h = (unsigned)(draw(a) % a->w->options.hosts);

    for (unsigned i = 0; i < a->w->options.hosts; i++) {
        if (h != a->host && h != a->to)
            break;
        h = (h + 1) % a->w->options.hosts;
    }
    return h;
}

static struct message alive_of(struct act *a, unsigned host, uint64_t counter)
{
    struct message m = {.type = MESSAGE_ALIVE,
                        .subject =
                            key_id_of(sim_host_public_key(a->w->hosts[host])),
                        .address = sim_net_address(host),
                        .counter = counter};

    packet_alive_sign(m.signature, &a->mesh, &m, a->secret);
    return m;
}

/* ---- events ---- */

struct forgery {
    uint64_t seq;
    const struct hash *previous; /* NULL: anything */
    uint64_t ahead_ms;
    bool bad_signature;
};

/* The host's own incarnation, as far as its node knows one. */
static bool make_event(struct act *a, const struct forgery *f,
                       struct buffer *out)
{
    struct node *n = sim_host_node(a->w->hosts[a->host]);
    struct node_status status;
    struct buffer body;
    struct hash hash;
    char key[40];

    if (n == NULL || !node_is_ready(n))
        return false;
    node_status_read(n, &status);
    (void)snprintf(key, sizeof key, "hostile/%016llx",
                   (unsigned long long)draw(a));
    struct op op = {.kind = OP_PUT,
                    .key = slice_of_string(key),
                    .value = slice_of_string("what nobody wrote")};
    buffer_init(&body, EVENT_LIMIT);
    event_body_add(&body, &op);
    struct event_draft draft = {
        .mesh = a->mesh,
        .generation = status.generation,
        .dot = {.incarnation = status.incarnation, .seq = f->seq},
        .hlc =
            hlc_make(sim_host_wall_ms(a->w->hosts[a->host]) + f->ahead_ms, 0),
        .body = buffer_slice(&body),
        .ops_count = 1,
    };
    if (f->previous != NULL)
        draft.previous = *f->previous;
    else if (f->seq > 1)
        random_bytes_draw(&a->random, draft.previous.bytes,
                          sizeof draft.previous.bytes);
    int error = event_encode(out, &draft, a->secret, &hash);
    CHECK(error == 0);
    if (f->bad_signature)
        out->data[out->size - 1] ^= 1;
    buffer_release(&body);
    return true;
}

static void send_event(struct act *a, const struct forgery *f)
{
    struct buffer bytes;

    buffer_init(&bytes, EVENT_LIMIT);
    if (make_event(a, f, &bytes)) {
        struct message m = {.type = MESSAGE_EVENT,
                            .bytes = buffer_slice(&bytes)};
        if (packet_builder_add(&a->builder, &m))
            act_send(a);
    }
    buffer_release(&bytes);
}

/* How many events of the host the receiver holds, and the last one's hash. A
 * second event under a dot that the receiver has not seen yet is another
 * thing: a fork, which no replica can mend by itself. */
static uint64_t known_events(struct act *a, struct hash *ret_head)
{
    struct node *own = sim_host_node(a->w->hosts[a->host]);
    struct node *n = sim_host_node(a->w->hosts[a->to]);
    const struct vv_entry *head = NULL;
    struct store_reader *r = NULL;
    struct node_status status;
    uint64_t seq = 0;
    struct vv vv;

    if (own == NULL || n == NULL || !node_is_ready(own) ||
        store_reader_begin(node_store(n), &r) != 0)
        return 0;
    node_status_read(own, &status);
    vv_init(&vv);
    if (store_vv(r, &vv) == 0)
        head = vv_find(&vv, &status.incarnation);
    if (head != NULL) {
        seq = head->seq;
        *ret_head = head->head;
    }
    vv_release(&vv);
    store_reader_release(r);
    return seq;
}

/* ---- the wrongs ---- */

static void do_counters(struct act *a)
{
    uint64_t wall = sim_host_wall_ms(a->w->hosts[a->host]);
    struct message m = alive_of(a, a->host, wall + YEARS_MS);
    struct forgery f = {.seq = HUGE_SEQ + draw(a) % 1000};

    CHECK(packet_builder_add(&a->builder, &m));
    act_send(a);
    send_event(a, &f);
}

static void do_future(struct act *a)
{
    struct forgery f = {.seq = HUGE_SEQ + draw(a) % 1000,
                        .ahead_ms = YEARS_MS + draw(a) % YEARS_MS};

    send_event(a, &f);
}

static void do_flood(struct act *a)
{
    for (unsigned i = 0; i < FLOOD; i++) {
        struct message m = {.type = MESSAGE_PING, .seq = draw(a)};
        random_bytes_draw(&a->random, m.digest.bytes, sizeof m.digest.bytes);
        m.members = draw(a);
        CHECK(packet_builder_add(&a->builder, &m));
        act_send(a);
    }
}

/* Far beyond its last one, so that they wait for what will never come. */
static void do_pending(struct act *a)
{
    uint64_t seq = HUGE_SEQ + (draw(a) % HUGE_SEQ);

    for (unsigned i = 0; i < (a->number <= 1 ? PENDING_FLOOD : FLOOD); i++) {
        struct forgery f = {.seq = seq + i};
        send_event(a, &f);
    }
}

static void do_lies(struct act *a)
{
    unsigned victim = third(a);
    uint64_t wall = sim_host_wall_ms(a->w->hosts[a->host]);
    struct message m = {
        .type = draw(a) % 2 == 0 ? MESSAGE_SUSPECT : MESSAGE_DEAD,
        .subject = key_id_of(sim_host_public_key(a->w->hosts[victim])),
        .counter = wall,
        .from = a->self};
    struct message moved = alive_of(a, victim, wall + YEARS_MS);

    moved.address = sim_net_address(a->host);
    CHECK(packet_builder_add(&a->builder, &m));
    act_send(a);
    CHECK(packet_builder_add(&a->builder, &moved));
    act_send(a);
}

static void do_signatures(struct act *a)
{
    uint64_t wall = sim_host_wall_ms(a->w->hosts[a->host]);
    struct message m = alive_of(a, third(a), wall + 1);
    struct message leave = {
        .type = MESSAGE_LEAVE, .subject = m.subject, .counter = wall + 2};
    struct hash head = {{0}};
    /* The next one, right but for its signature. */
    struct forgery f = {.seq = known_events(a, &head) + 1,
                        .bad_signature = true};

    if (f.seq > 1)
        f.previous = &head;
    random_bytes_draw(&a->random, leave.signature, sizeof leave.signature);
    CHECK(packet_builder_add(&a->builder, &leave));
    CHECK(packet_builder_add(&a->builder, &m));
    act_send(a);
    send_event(a, &f);
}

static void do_reuse(struct act *a)
{
    struct hash head = {{0}};
    uint64_t known = known_events(a, &head);

    if (known == 0)
        return;
    struct forgery f = {.seq = 1 + draw(a) % known};
    send_event(a, &f);
}

static void do_garbage(struct act *a)
{
    uint8_t bytes[PACKET_PLAIN_MAX - 1];
    size_t size = (size_t)(draw(a) % sizeof bytes);

    random_bytes_draw(&a->random, bytes, size);
    buffer_append(&a->builder.body, bytes, size);
    a->builder.count = (size_t)(draw(a) % (PACKET_MESSAGES_MAX + 1));
    act_send(a);
}

void sim_hostile_send_kind(struct sim_world *w, unsigned host, unsigned to,
                           uint64_t line, uint64_t number,
                           enum sim_hostile_kind kind)
{
    static void (*const acts[SIM_HOSTILE_KINDS])(struct act * a) = {
        [SIM_HOSTILE_COUNTERS] = do_counters,
        [SIM_HOSTILE_FUTURE] = do_future,
        [SIM_HOSTILE_FLOOD] = do_flood,
        [SIM_HOSTILE_PENDING] = do_pending,
        [SIM_HOSTILE_LIES] = do_lies,
        [SIM_HOSTILE_SIGNATURES] = do_signatures,
        [SIM_HOSTILE_REUSE] = do_reuse,
        [SIM_HOSTILE_GARBAGE] = do_garbage,
    };
    struct act a;

    CHECK(kind < SIM_HOSTILE_KINDS);
    act_init(&a, w, host, to, line, number);
    acts[kind](&a);
    packet_builder_release(&a.builder);
    sodium_memzero(a.key, sizeof a.key);
}

void sim_hostile_send(struct sim_world *w, unsigned host, unsigned to,
                      uint64_t line, uint64_t number)
{
    uint64_t pick = sim_fate_draw(&w->fate, SIM_FATE_HOSTILE, line, number);

    sim_hostile_send_kind(w, host, to, line, number,
                          (enum sim_hostile_kind)(pick % SIM_HOSTILE_KINDS));
}
