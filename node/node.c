/* The node: what comes in through the ports is handed to gossip, links and
 * writer, and what they have to say goes out again. The parts lie in
 * link.c, intake.c, repair.c, joiner.c, sponsor.c, peers.c and snapshots.c;
 * here are life, inputs, commit results and status. */
#include "node/node.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"

#define LOG_LINE_MAX 512

void node_log(struct node *n, char level, const char *format, ...)
{
    char text[LOG_LINE_MAX];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    n->ports.log->line(n->ports.ctx, level, text);
}

void node_set_not_ready(struct node *n, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(n->status.not_ready, sizeof n->status.not_ready, format,
                    args);
    va_end(args);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- identity ---- */

static int copy_fact(struct node *n, const char *name, struct buffer *out)
{
    struct slice bytes;
    int error = store_meta(n->reader, name, &bytes);

    buffer_clear(out);
    if (error == 0)
        buffer_append_slice(out, bytes);
    return error != 0 ? error : out->error;
}

static int read_facts(struct node *n)
{
    struct slice bytes;
    int error = copy_fact(n, META_CERTIFICATE, &n->certificate);

    if (error == 0)
        error = copy_fact(n, META_GENERATION, &n->generation_order);
    if (error == 0)
        error = store_meta(n->reader, META_AUTHORITY, &bytes);
    if (error == 0 && bytes.size != sizeof n->authority_public_key)
        error = CM_ERR_DAMAGED;
    if (error == 0)
        memcpy(n->authority_public_key, bytes.data, bytes.size);
    if (error == 0)
        error = store_meta(n->reader, META_INCARNATION, &bytes);
    if (error == 0 && bytes.size != INCARNATION_SIZE)
        error = CM_ERR_DAMAGED;
    if (error == 0)
        memcpy(n->incarnation.bytes, bytes.data, INCARNATION_SIZE);
    return error;
}

int node_load_identity(struct node *n, struct cm_detail *detail)
{
    struct generation_order order;
    int error = store_reader_renew(n->reader);

    if (error == 0) {
        error = read_facts(n);
        store_reader_reset(n->reader);
    }
    if (error == 0)
        error = certificate_decode(&n->own, buffer_slice(&n->certificate),
                                   n->authority_public_key);
    if (error == 0)
        error =
            generation_order_decode(&order, buffer_slice(&n->generation_order),
                                    n->authority_public_key);
    if (error != 0)
        return cm_fail(detail, error,
                       "the data directory's identity cannot be read (%s): "
                       "restore it from a snapshot",
                       cm_strerror(error));
    n->generation =
        generation_id_of(order.number, buffer_slice(&n->generation_order));
    generation_order_release(&order);
    if (memcmp(n->own.sign_key, n->sign_public_key, 32) != 0)
        return cm_fail(detail, CM_ERR_AUTHORITY,
                       "node.key does not belong to the certificate in the "
                       "data directory: put the right key file back");
    if (n->name[0] != '\0' && strcmp(n->name, n->own.name) != 0)
        return cm_fail(detail, CM_ERR_INVALID,
                       "--name %s: this directory is certified for the name "
                       "%s; leave --name away",
                       n->name, n->own.name);
    (void)snprintf(n->name, sizeof n->name, "%s", n->own.name);
    n->mesh = n->own.mesh;
    n->key_id = n->own.key_id;
    channel_authority_hash(n->authority_hash, n->authority_public_key);
    n->has_identity = true;
    return 0;
}

static int gossip_start(struct node *n)
{
    struct gossip_config c = {.mesh = n->mesh};
    int error;

    memcpy(c.authority_public_key, n->authority_public_key, 32);
    c.certificate = buffer_slice(&n->certificate);
    memcpy(c.sign_secret_key, n->sign_secret_key, 64);
    memcpy(c.box_secret_key, n->box_secret_key, 32);
    c.address = n->address;
    c.alive_counter = node_wall(n);
    n->ports.random->fill(n->ports.ctx, c.seed, sizeof c.seed);
    c.probe_interval_ms = n->probe_interval_ms;
    n->outnumbered.known = false;
    error = gossip_create(&n->gossip, &c, node_now(n));
    sodium_memzero(&c, sizeof c);
    return error;
}

/* Rosters share the certificates that they have in common, so what the one
 * before (NULL: none) had is found by its place alone. */
static void certify_roster(struct node *n, const struct roster *before)
{
    bool known = before != NULL && !n->certify_again;
    size_t at = 0;
    size_t i;

    n->certify_again = false;
    for (i = 0; n->roster != NULL && i < n->roster->count; i++) {
        const struct roster_member *m = &n->roster->members[i];

        while (known && at < before->count &&
               incarnation_compare(&before->members[at].incarnation,
                                   &m->incarnation) < 0)
            at++;
        if (known && at < before->count && before->members[at].blob == m->blob)
            continue;
        if (key_id_equal(&m->certificate.key_id, &n->key_id))
            continue;
        if (orders_refuse(n, &m->certificate.key_id) ||
            gossip_add_certificate(n->gossip, roster_certificate(m)) ==
                CM_ERR_NOMEM)
            n->certify_again = true;
    }
}

void node_become_ready(struct node *n)
{
    int error;

    CHECK(n->has_identity && n->gossip == NULL);
    error = gossip_start(n);
    if (error != 0) {
        node_set_not_ready(n, "gossip could not start: %s", cm_strerror(error));
        node_log(n, 'E', "gossip could not start: %s", cm_strerror(error));
        return;
    }
    n->ready = true;
    n->status.not_ready[0] = '\0';
    gossip_set_digest(n->gossip, &n->digest);
    for (size_t i = 0; i < n->barred_count; i++)
        gossip_forget(n->gossip, &n->barred[i]);
    certify_roster(n, NULL);
    cut_confirm_load(n);
    peers_contact(n);
    heal_ready(n);
    returning_load(n);
    snapshots_ready(n);
    node_log(n, 'I', "ready: %s, revision %llu", n->name,
             (unsigned long long)n->revision);
}

static bool store_is_ready(struct node *n)
{
    bool ret = false;

    if (store_reader_renew(n->reader) == 0) {
        ret = store_has_meta(n->reader, META_READY);
        store_reader_reset(n->reader);
    }
    return ret;
}

static int begin_identity(struct node *n, struct commit_result *first,
                          struct cm_detail *detail)
{
    int error = node_load_identity(n, detail);

    if (error != 0)
        return error;
    sponsor_order_load(n);
    node_take_result(n, first);
    if (n->peers_count == 0)
        peers_load(n);
    else
        peers_hurry(n); /* a joiner that is cut short knows whom to ask */
    snapshots_load(n);
    error = sponsor_load_tokens(n);
    if (error != 0)
        return cm_fail(detail, error, "the join tokens cannot be read: %s",
                       cm_strerror(error));
    if (store_is_ready(n))
        node_become_ready(n);
    else
        joiner_resume(n);
    return 0;
}

/* Whatever else is in the token, is of no use to a member. */
static void introduce(struct node *n, const char *text)
{
    struct token t;

    if (!n->ready || text == NULL || token_parse(&t, text, NULL) != 0)
        return;
    for (size_t i = 0; i < t.addresses_count; i++)
        (void)link_connect(n, &t.addresses[i]);
    sodium_memzero(&t, sizeof t);
}

/* ---- life ---- */

static char *copy_string(const char *text)
{
    size_t size = text != NULL ? strlen(text) + 1 : 0;
    char *ret = size > 0 ? cm_alloc(size) : NULL;

    if (ret != NULL)
        memcpy(ret, text, size);
    return ret;
}

static int init_keys(struct node *n, const struct node_config *config)
{
    memcpy(n->sign_secret_key, config->sign_secret_key, 64);
    if (crypto_sign_ed25519_sk_to_pk(n->sign_public_key, n->sign_secret_key) !=
            0 ||
        crypto_sign_ed25519_sk_to_curve25519(n->box_secret_key,
                                             n->sign_secret_key) != 0)
        return CM_ERR_INVALID;
    if (crypto_scalarmult_base(n->box_public_key, n->box_secret_key) != 0)
        return CM_ERR_INVALID;
    return 0;
}

static int init_prefixes(struct node *n, const struct node_config *config)
{
    if (config->revoke_deletes_count > NODE_REVOKE_DELETES_MAX)
        return CM_ERR_LIMIT;
    for (size_t i = 0; i < config->revoke_deletes_count; i++) {
        char *copy = copy_string(config->revoke_deletes[i]);

        if (copy == NULL)
            return CM_ERR_NOMEM;
        n->revoke_deletes[n->revoke_deletes_count++] = copy;
    }
    return 0;
}

static int init_parts(struct node *n, const struct node_config *config)
{
    uint8_t seed[32];
    int error;

    n->ports.random->fill(n->ports.ctx, seed, sizeof seed);
    random_init(&n->random, seed);
    sodium_memzero(seed, sizeof seed);
    vv_init(&n->vv);
    token_table_init(&n->tokens);
    buffer_init(&n->certificate, CERTIFICATE_SIZE_MAX);
    buffer_init(&n->generation_order, GENERATION_ORDER_SIZE_MAX);
    n->spool_dir = copy_string(config->spool_dir);
    if (n->spool_dir == NULL)
        return CM_ERR_NOMEM;
    error = init_prefixes(n, config);
    if (error == 0)
        error = snapshots_init(n, config);
    if (error == 0)
        error = init_keys(n, config);
    if (error == 0)
        error = heal_init(n, config->facts_path, config->scrub_interval_ms);
    if (error == 0)
        error = intake_init(n);
    if (error == 0) {
        error = store_reader_begin(n->store, &n->reader);
        if (error == 0)
            store_reader_reset(n->reader);
    }
    return error;
}

int node_create(struct node **ret_node, const struct node_config *config,
                const struct node_ports *ports, struct commit_result *first,
                struct cm_detail *detail)
{
    struct node *n = cm_calloc(1, sizeof *n);
    int error;

    if (n == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    n->ports = *ports;
    n->store = config->store;
    n->address = config->address;
    memcpy(n->host, config->host, sizeof n->host);
    n->level = config->format_level > 0 ? config->format_level : LEVEL_LAST;
    n->probe_interval_ms = config->probe_interval_ms;
    n->next_stream = 1;
    n->links_due_ms = UINT64_MAX;
    n->expiry_wall_ms = UINT64_MAX;
    n->rest_due_ms = UINT64_MAX;
    n->floor.collect_wall_ms = UINT64_MAX;
    n->floor.interval_ms = config->floor_interval_ms;
    n->cuts.stage_entries = config->cut_stage_entries > 0
                                ? config->cut_stage_entries
                                : CUT_DIFF_ENTRIES_MAX;
    n->floor.keep_ms =
        config->floor_keep_ms > 0 ? config->floor_keep_ms : FLOOR_KEEP_MS;
    n->awaits_due_ms = UINT64_MAX;
    n->awaits_retry_ms = UINT64_MAX;
    (void)snprintf(n->name, sizeof n->name, "%s",
                   config->name != NULL ? config->name : "");
    error = init_parts(n, config);
    if (error != 0)
        (void)cm_fail(detail, error, "the node could not start: %s",
                      cm_strerror(error));
    n->returning.token = copy_string(config->renew_token);
    if (error == 0 && config->join_token != NULL)
        error = joiner_begin(n, config->join_token, detail);
    if (error == 0 && first != NULL)
        error = begin_identity(n, first, detail);
    else if (error == 0 && config->join_token == NULL)
        error = cm_fail(detail, CM_ERR_INVALID,
                        "this directory holds no node: found a mesh with "
                        "\"confmesh init\", or join one with --join TOKEN");
    if (error != 0) {
        node_free(n);
        return error;
    }
    introduce(n, config->introduction);
    node_drain(n);
    *ret_node = n;
    return 0;
}

void node_free(struct node *n)
{
    if (n == NULL)
        return;
    n->joiner.failed = true; /* closing its link is no reason to try again */
    awaits_close(n);
    while (n->links != NULL)
        link_close(n, n->links);
    gossip_free(n->gossip);
    roster_release(n->roster);
    standing_view_release(n->standing);
    store_reader_release(n->reader);
    intake_release(n);
    joiner_release(n);
    returning_release(n);
    cut_pull_release(n);
    heal_release(n);
    cut_sources_free(n);
    token_table_release(&n->tokens);
    buffer_release(&n->issuer);
    vv_release(&n->vv);
    vv_release(&n->received);
    buffer_release(&n->certificate);
    buffer_release(&n->generation_order);
    cm_free(n->spool_dir);
    snapshots_release(n);
    for (size_t i = 0; i < n->revoke_deletes_count; i++)
        cm_free(n->revoke_deletes[i]);
    sodium_memzero(n, sizeof *n);
    cm_free(n);
}

void node_leave(struct node *n)
{
    peers_flush(n);
    awaits_close(n);
    if (n->gossip == NULL)
        return;
    gossip_leave(n->gossip, node_now(n));
    node_drain(n);
}

/* ---- outputs ---- */

static void push_over_stream(struct node *n, const struct gossip_event *e)
{
    struct buffer frame;
    struct link *l = link_to(n, &e->peer, &e->address);

    if (l == NULL)
        return; /* repair will find it */
    CM_MARK("push: over a stream");
    buffer_init(&frame, CHANNEL_FRAME_MAX);
    frame_push(&frame, e->bytes);
    (void)link_send(n, l, &frame);
    buffer_release(&frame);
}

static const char *state_name(enum member_state state)
{
    switch (state) {
    case MEMBER_ALIVE:
        return "alive";
    case MEMBER_SUSPECT:
        return "suspect";
    case MEMBER_DEAD:
        return "dead";
    case MEMBER_LEFT:
        return "left";
    }
    return "unknown";
}

static void on_member(struct node *n, const struct gossip_event *e)
{
    struct member_view view;
    char where[ADDRESS_TEXT_SIZE];

    if (!gossip_member_find(n->gossip, &e->peer, &view))
        return;
    address_format(where, &view.address);
    node_log(n, e->state == MEMBER_SUSPECT ? 'D' : 'I', "member %s at %s: %s",
             view.name, where, state_name(e->state));
    if (e->state == MEMBER_ALIVE) {
        peers_remember(n, &e->peer, &view.address);
        awaits_member_alive(n, &e->peer);
    }
}

static void on_contact(struct node *n, const struct gossip_event *e)
{
    const struct link *l;

    for (l = n->links; l != NULL; l = l->next)
        if (l->initiator && !l->established &&
            address_equal(&l->address, &e->address))
            return; /* on its way */
    (void)link_connect(n, &e->address);
}

static void on_gossip_event(struct node *n, const struct gossip_event *e)
{
    switch (e->kind) {
    case GOSSIP_MEMBER:
        on_member(n, e);
        break;
    case GOSSIP_EVENT:
        intake_event(n, e->bytes, &e->peer, true);
        break;
    case GOSSIP_DIFFERS:
        repair_ask(n, &e->peer, &e->address);
        break;
    case GOSSIP_CONTACT:
        on_contact(n, e);
        break;
    case GOSSIP_PUSH_STREAM:
        push_over_stream(n, e);
        break;
    }
}

static uint64_t parts_deadline(struct node *n)
{
    uint64_t due = link_next_deadline(n);

    due = earlier(due, joiner_deadline(n));
    due = earlier(due, returning_deadline(n));
    due = earlier(due, snapshots_deadline(n));
    due = earlier(due, drills_deadline(n));
    due = earlier(due, deltas_deadline(n));
    due = earlier(due, expiry_deadline(n));
    due = earlier(due, n->rest_due_ms);
    due = earlier(due, clocks_deadline(n));
    due = earlier(due, proposals_deadline(n));
    due = earlier(due, levels_deadline(n));
    due = earlier(due, awaits_deadline(n));
    due = earlier(due, cut_pull_deadline(n));
    due = earlier(due, cut_serve_deadline(n));
    due = earlier(due, cut_sources_deadline(n));
    due = earlier(due, cut_confirm_deadline(n));
    due = earlier(due, heal_deadline(n));
    if (n->peers_save_ms != 0 && n->has_identity)
        due = earlier(due, n->peers_save_ms);
    return due;
}

/* Most inputs are datagrams of which gossip alone takes notice: then nobody
 * else is asked again (parts_changed is false). */
static void arm(struct node *n, bool parts_changed)
{
    uint64_t due;

    if (parts_changed)
        n->parts_due_ms = parts_deadline(n);
    due = n->parts_due_ms;
    if (n->gossip != NULL)
        due = earlier(due, gossip_deadline_ms(n->gossip));
    n->ports.timer->arm(n->ports.ctx, due);
}

/* gossip's slices live until its next call, and acting on an event may push
 * (intake relays), so the bytes are copied out first. */
static bool next_event(struct node *n, struct gossip_event *e,
                       struct buffer *copy)
{
    if (!gossip_next_event(n->gossip, e))
        return false;
    buffer_clear(copy);
    buffer_append_slice(copy, e->bytes);
    e->bytes = buffer_slice(copy);
    return copy->error == 0;
}

static void drain(struct node *n, bool parts_changed)
{
    struct gossip_event event;
    struct gossip_send send;
    struct buffer copy;

    buffer_init(&copy, CHANNEL_FRAME_MAX);
    if (n->gossip != NULL) {
        while (next_event(n, &event, &copy)) {
            parts_changed = true;
            on_gossip_event(n, &event);
        }
        while (gossip_next_send(n->gossip, &send))
            n->ports.datagram->send(n->ports.ctx, &send.to, send.packet);
    }
    buffer_release(&copy);
    arm(n, parts_changed);
}

void node_drain(struct node *n)
{
    drain(n, true);
}

/* ---- inputs ---- */

void node_on_timer(struct node *n)
{
    uint64_t now = node_now(n);

    (void)clocks_input(n);
    if (n->gossip != NULL && now >= gossip_deadline_ms(n->gossip))
        (void)gossip_tick(n->gossip, now);
    link_check_deadlines(n, now);
    joiner_tick(n, now);
    returning_tick(n, now);
    uploaders_tick(n, now);
    snapshots_tick(n, now);
    drills_tick(n, now);
    deltas_tick(n, now);
    expiry_tick(n, now);
    rest_tick(n, now);
    clocks_tick(n, now);
    proposals_tick(n, now);
    levels_tick(n, now);
    awaits_tick(n, now);
    cut_pull_tick(n, now);
    cut_serve_tick(n, now);
    cut_sources_tick(n, now);
    cut_confirm_tick(n, now);
    heal_tick(n, now);
    peers_tick(n, now);
    node_drain(n);
}

void node_on_datagram(struct node *n, const struct address *from,
                      struct slice packet)
{
    bool clock_set;

    if (n->gossip == NULL)
        return;
    clock_set = clocks_input(n);
    (void)gossip_recv(n->gossip, node_now(n), from, packet); /* counted */
    drain(n, clock_set);
}

void node_on_accepted(struct node *n, uint64_t stream,
                      const struct address *from)
{
    CHECK((stream & STREAM_ACCEPTED) != 0);
    link_accept(n, stream, from);
    node_drain(n);
}

void node_on_connected(struct node *n, uint64_t stream)
{
    struct link *l = link_by_stream(n, stream);

    if (l != NULL)
        link_on_connected(n, l);
    node_drain(n);
}

void node_on_stream_bytes(struct node *n, uint64_t stream, struct slice bytes)
{
    struct link *l = link_by_stream(n, stream);

    if (l != NULL)
        link_on_bytes(n, l, bytes);
    node_drain(n);
}

void node_on_stream_drained(struct node *n, uint64_t stream)
{
    struct link *l = link_by_stream(n, stream);

    if (l != NULL) {
        l->writing = false;
        if (l->serving && link_output_size(l) < LINK_SERVE_LOW)
            repair_serve(n, l);
        l = link_by_stream(n, stream);
    }
    if (l != NULL && l->cut != NULL)
        cut_serve(n, l);
    l = link_by_stream(n, stream);
    if (l != NULL)
        link_pump(n, l);
    node_drain(n);
}

void node_on_stream_closed(struct node *n, uint64_t stream, int error)
{
    struct link *l = link_by_stream(n, stream);

    if (l != NULL)
        link_gone(n, l, l->connecting ? "no answer" : cm_strerror(error));
    node_drain(n);
}

void node_on_work(struct node *n, struct work *w)
{
    w->done(w);
    node_drain(n);
}

/* ---- commits ---- */

void node_restart_gossip(struct node *n)
{
    int error;

    gossip_free(n->gossip);
    n->gossip = NULL;
    error = gossip_start(n);
    if (error != 0) {
        node_log(n, 'E', "gossip could not start: %s", cm_strerror(error));
        return;
    }
    gossip_set_digest(n->gossip, &n->digest);
    for (size_t i = 0; i < n->barred_count; i++)
        gossip_forget(n->gossip, &n->barred[i]);
    certify_roster(n, NULL);
    peers_contact(n);
}

static void note_held(struct node *n, const struct commit_result *r)
{
    if (r->held.events > 0 && n->held.events == 0)
        node_log(n, 'W',
                 "clocks: events of %s are dated ahead of this node and of "
                 "the others; they are held: see confmesh doctor",
                 node_name_of(n, &r->held.incarnation));
    if (r->held.events == 0 && n->held.events > 0)
        node_log(n, 'I', "clocks: no event is held any more");
    n->held = r->held;
    if (r->clock_ahead && !n->status.clock_ahead)
        node_log(n, 'E',
                 "clocks: this node is ahead of the others; local writes are "
                 "refused until its clock is set right");
    if (!r->clock_ahead && n->status.clock_ahead)
        node_log(n, 'I', "clocks: this node's clock is in bounds again");
    n->status.clock_ahead = r->clock_ahead;
}

static void take_state(struct node *n, struct commit_result *r)
{
    vv_release(&n->vv);
    n->vv = r->vv;
    vv_init(&r->vv);
    n->digest = r->proof;
    n->revision = r->revision;
}

/* Roster and standing of one commit belong together. */
static void take_members(struct node *n, struct commit_result *r)
{
    struct roster *before = n->roster;
    bool taken = r->roster != NULL;
    bool changed = taken || r->standing != NULL;

    if (r->standing != NULL) {
        standing_view_release(n->standing);
        n->standing = r->standing;
        r->standing = NULL;
    }
    if (taken) {
        n->roster = r->roster;
        r->roster = NULL;
        n->outnumbered.known = false;
    }
    if (changed) {
        if (n->standing != NULL)
            sponsor_note_order(n);
        /* A newer generation has evicted nobody of the old roster: survivors
         * come over when they hear of it. */
        orders_members_changed(n, returning_comes_over(n) ? NULL : before);
        orders_view_changed(n);
    }
    if (n->roster != before) {
        if (n->gossip != NULL)
            certify_roster(n, before);
        awaits_roster_changed(n);
    }
    if (taken) /* it may be the same one: one more reference */
        roster_release(before);
}

void node_take_result(struct node *n, struct commit_result *r)
{
    if (!r->stale)
        take_state(n, r);
    if (r->damaged)
        node_store_failed(n);
    n->pending_events = r->pending_events;
    n->pending_bytes = r->pending_bytes;
    n->expiry_wall_ms = r->expiry_wall_ms;
    vv_release(&n->received);
    n->received = r->received;
    vv_init(&r->received);
    note_held(n, r);
    proposals_take(n, r);
    n->cuts.shadow = r->shadow;
    take_members(n, r);
    n->status.alarm_conflict = r->alarm_conflict;
    n->status.alarm_overrun = r->alarm_overrun;
    if (r->alarm_fork)
        node_alarm_fork(n);
    if (r->alarm_hazard)
        node_alarm_hazard(n);
    n->unsent = r->unsent;
    n->found_reason = r->reason;
    n->lost_branch = r->lost_branch;
    if (r->lost_branch)
        returning_note_lost(n, &r->lost);
    returning_begin(n, r->reason);
    refusals_join(&n->status.refused, &r->refused);
    memcpy(n->status.waits, r->waits, sizeof n->status.waits);
    node_note_disk(n, r);
    rest_note(n);
}

static void push_own(struct node *n, const struct commit_result *r)
{
    size_t i;

    for (i = 0; i < r->events_count; i++) {
        if (!r->events[i].own) {
            n->status.foreign_events++;
            continue;
        }
        n->status.own_events++;
        if (n->gossip != NULL)
            (void)gossip_push(n->gossip, node_now(n), r->events[i].bytes, NULL);
    }
}

void node_on_commit(struct node *n, struct commit_result *r)
{
    struct intent *i = r->intents;
    bool wrote = r->wrote;

    n->status.commits += wrote;
    n->status.local_intents += r->local_intents;
    node_take_result(n, r);
    push_own(n, r);
    if (n->gossip != NULL)
        gossip_set_digest(n->gossip, &n->digest);
    commit_result_free(r);
    while (i != NULL) {
        struct intent *next = i->next;

        i->next = NULL;
        if (i->result == CM_ERR_DAMAGED)
            heal_note_damage(n);
        if (i->done != NULL)
            i->done(i->context, i);
        else
            intent_free(i);
        i = next;
    }
    awaits_committed(n);
    if (wrote && n->listener != NULL)
        n->listener(n->listener_ctx, n->revision);
    node_drain(n);
}

/* ---- joining ---- */

bool node_wants_identity(struct node *n, struct store_identity *ret_identity)
{
    struct joiner *j = &n->joiner;

    if (j->phase != JOIN_IDENTITY || n->has_identity)
        return false;
    *ret_identity = (struct store_identity){
        .incarnation = j->incarnation,
        .certificate = buffer_slice(&j->certificate),
        .generation_order = buffer_slice(&j->generation_order),
        .host = slice_of(n->host, sizeof n->host),
        .ready = false,
    };
    memcpy(ret_identity->authority_public_key, j->authority_public_key, 32);
    return true;
}

void node_set_identity(struct node *n, struct commit_result *first)
{
    struct cm_detail detail = {""};

    CHECK(n->joiner.phase == JOIN_IDENTITY);
    if (begin_identity(n, first, &detail) != 0) {
        n->joiner.failed = true;
        node_set_not_ready(n, "joining failed: %s", detail.text);
        node_log(n, 'E', "joining failed: %s", detail.text);
    }
    commit_result_free(first);
    node_drain(n);
}

void node_refuse_identity(struct node *n, const char *reason)
{
    CHECK(n->joiner.phase == JOIN_IDENTITY);
    n->joiner.phase = JOIN_NONE;
    n->joiner.failed = true;
    node_set_not_ready(n, "joining failed: %s", reason);
    node_log(n, 'E', "joining failed: %s", reason);
}

/* ---- for the API ---- */

int node_submit(struct node *n, struct intent *intent)
{
    if (!n->ready)
        return CM_ERR_NOT_READY;
    intent->revoke_deletes = (const char *const *)n->revoke_deletes;
    intent->revoke_deletes_count = n->revoke_deletes_count;
    return n->ports.writer->submit(n->ports.ctx, intent);
}

struct store *node_store(struct node *n)
{
    return n->store;
}

bool node_is_ready(const struct node *n)
{
    return n->ready;
}

bool node_has_failed(const struct node *n)
{
    return n->joiner.failed || n->store_failed;
}

const char *node_not_ready_reason(const struct node *n)
{
    return n->status.not_ready;
}

uint64_t node_revision(const struct node *n)
{
    return n->revision;
}

void node_set_commit_listener(struct node *n, node_commit_listener listener,
                              void *ctx)
{
    n->listener = listener;
    n->listener_ctx = ctx;
}

const struct gossip *node_gossip(const struct node *n)
{
    return n->gossip;
}

const char *node_name_of(const struct node *n, const struct incarnation *i)
{
    const struct roster_member *m =
        n->roster != NULL ? roster_find(n->roster, i) : NULL;

    return m != NULL ? m->certificate.name : "";
}

static void read_membership(const struct node *n, struct node_status *s)
{
    size_t total = gossip_member_total(n->gossip);
    size_t i;

    s->members_alive = 1 + gossip_member_count(n->gossip, MEMBER_ALIVE);
    s->members_total = 1 + total;
    for (i = 0; i < total; i++) {
        struct member_view view;

        gossip_member_at(n->gossip, i, &view);
        s->members_in_sync += view.state == MEMBER_ALIVE && view.digest_equal;
    }
    gossip_counters(n->gossip, &s->gossip);
}

void node_status_read(const struct node *n, struct node_status *ret_status)
{
    struct node_status s = n->status;

    s.name = n->name;
    s.mesh = n->mesh;
    s.generation = n->generation;
    s.incarnation = n->incarnation;
    s.key_id = n->key_id;
    s.address = n->address;
    s.ready = n->ready;
    s.reader = n->has_identity && !roster_may_enter(&n->own);
    s.program_level = n->level;
    s.revision = n->revision;
    s.digest = n->digest;
    s.vv_entries = n->vv.count;
    s.roster_count = n->roster != NULL ? n->roster->count : 0;
    s.members_alive = 1;
    s.members_total = 1;
    s.members_in_sync = 0;
    s.pending_events = n->pending_events;
    s.pending_bytes = n->pending_bytes;
    s.wall_ms = node_wall(n);
    s.held = n->held;
    s.clocks = n->clocks.count;
    s.return_reason = return_reason_name(n->returning.phase != RETURNING_NONE
                                             ? n->returning.reason
                                             : RETURN_NONE);
    s.return_text = return_reason_text(n->returning.phase != RETURNING_NONE
                                           ? n->returning.reason
                                           : RETURN_NONE);
    s.return_phase = returning_phase_name(&n->returning);
    s.return_waits = n->returning.waits;
    s.returns = n->returning.times;
    s.unsent = n->unsent;
    s.clock_offset_ms = n->clocks.offset_ms;
    s.awaits = n->awaits_count;
    s.above_floor = n->floor.above;
    s.standing = n->standing;
    s.floor_time = n->standing != NULL ? n->standing->floor_time : 0;
    s.revoke_deletes = (const char *const *)n->revoke_deletes;
    s.revoke_deletes_count = n->revoke_deletes_count;
    s.streams = n->links_count;
    snapshots_status(n, &s);
    drills_status(n, &s);
    if (n->gossip != NULL)
        read_membership(n, &s);
    cut_status_read(n, &s.cuts);
    heal_status_read(n, &s.heal);
    *ret_status = s;
}
