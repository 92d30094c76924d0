/* Goal: whatever happens to a disk or to a sponsor, no name is given twice for
 * good, nobody waits for an incarnation that writes no more, nothing that is
 * deleted comes back, and what a node wrote alone is in the mesh or in its list
 * of unsent writes. The functions bear the names of the traces that broke
 * earlier drafts (docs/HOLES.md).
 * Method: whole nodes, floors at every chance; disks are copied and put back,
 * machines are cut off and switched off at the worst moment. Nobody looks on
 * (unchecked): what must hold is asked of the stores.
 *
 * SIM_SEED=N starts from that seed; SIM_LOG=1 shows the nodes' own lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "crdt/eviction.h"
#include "node/node_internal.h"
#include "node/standing_read.h"
#include "sim/host_image.h"
#include "sim/restore.h"
#include "sim/world.h"
#include "tests/sim/run_fixture.h"

#define SEEDS 3
#define HOSTS 5
#define INTERVAL_MS 300
#define LIMIT_US (120 * SIM_SECOND)
#define KEEP_US ((FLOOR_KEEP_MS + 10000) * SIM_MS)

struct run {
    struct sim_world *w;
    unsigned hosts;
    struct incarnation evicted;
    bool answered;
    int result;
    char token[TOKEN_TEXT_MAX];
    unsigned away; /* a host that nothing is expected of */
};

/* ---- the mesh ---- */

static void boot(struct run *r, unsigned host)
{
    struct cm_detail detail = {""};

    if (sim_world_boot(r->w, host, &detail) != 0)
        fail_msg("host %u does not boot: %s", host, detail.text);
}

static bool is_alike(struct sim_world *w, void *ctx)
{
    const struct run *r = ctx;
    struct hash first, other;

    for (unsigned i = 0; i < r->hosts; i++) {
        if (!sim_world_is_ready(w, i) ||
            sim_world_digest(w, i, i == 0 ? &first : &other) != 0 ||
            (i > 0 && !hash_equal(&first, &other)))
            return false;
    }
    return true;
}

static void await(struct run *r, sim_world_holds holds, const char *what)
{
    if (!sim_world_run_until(r->w, holds, r, LIMIT_US))
        fail_msg("not in time: %s", what);
}

/* The very moment. */
static void await_exactly(struct run *r, sim_world_holds holds,
                          const char *what)
{
    uint64_t limit = r->w->sched.now_us + LIMIT_US;

    while (!holds(r->w, r))
        if (!sim_sched_step(&r->w->sched, limit))
            fail_msg("not in time: %s", what);
}

static void begin(struct run *r, uint64_t seed, unsigned hosts)
{
    struct sim_world_options options = sim_world_default_options(seed, HOSTS);
    struct cm_detail detail = {""};

    *r = (struct run){.hosts = hosts};
    options.log = getenv("SIM_LOG") != NULL ? stderr : NULL;
    options.unchecked = true;
    options.floor_interval_ms = INTERVAL_MS;
    assert_int_equal(sim_world_create(&r->w, &options, &detail), 0);
    boot(r, 0);
    for (unsigned i = 1; i < hosts; i++)
        sim_world_join(r->w, i, 0);
    await(r, is_alike, "the first joins");
    sim_world_run_for(r->w, 5 * SIM_SECOND); /* confirmed: they give cuts */
}

/* Alike, sound, and with nothing left to do. */
static void end(struct run *r)
{
    await(r, is_alike, "alike in the end");
    for (unsigned i = 0; i < r->hosts; i++)
        assert_int_equal(sim_world_audit(r->w, i), 0);
    sim_world_free(r->w);
}

static void done(void *ctx, const struct intent *i, bool answered)
{
    struct run *r = ctx;

    r->answered = true;
    r->result = answered ? i->result : CM_ERR_CLOSED;
}

static bool is_answered(struct sim_world *w, void *ctx)
{
    (void)w;
    return ((struct run *)ctx)->answered;
}

static void submit(struct run *r, unsigned host, struct intent *i)
{
    r->answered = false;
    assert_int_equal(sim_host_write(r->w->hosts[host], i, done, r), 0);
    await(r, is_answered, "an answer");
    assert_int_equal(r->result, 0);
}

/* value NULL: deletes. */
static void write_key(struct run *r, unsigned host, const char *key,
                      const char *value)
{
    struct local_op op = {.kind = value == NULL ? OP_DEL : OP_PUT,
                          .key = slice_of_string(key)};
    struct intent *i = intent_new(INTENT_LOCAL);

    if (value != NULL)
        op.value = slice_of_string(value);
    assert_int_equal(intent_add_op(i, &op), 0);
    submit(r, host, i);
}

static bool shows(struct run *r, unsigned host, const char *key,
                  const char *value)
{
    struct entry_id id = {.space = SPACE_REGISTER, .key = slice_of_string(key)};
    struct store_reader *reader;
    struct resolution found;
    struct entry e;
    bool ret;

    entry_init(&e);
    assert_int_equal(
        store_reader_begin(sim_host_store(r->w->hosts[host]), &reader), 0);
    (void)store_get(reader, &id, &e, NULL);
    found = entry_resolve(&e, 0);
    ret = value == NULL ? !found.present
                        : found.present && slice_equal(found.winner->value,
                                                       slice_of_string(value));
    entry_release(&e);
    store_reader_release(reader);
    return ret;
}

static void expect(struct run *r, const char *key, const char *value)
{
    for (unsigned i = 0; i < r->hosts; i++)
        if (!shows(r, i, key, value))
            fail_msg("%s at host %u is not %s", key, i,
                     value != NULL ? value : "absent");
}

/* ---- who they are ---- */

static struct node *node_of(struct run *r, unsigned host)
{
    assert_true(sim_host_is_up(r->w->hosts[host]));
    return sim_host_node(r->w->hosts[host]);
}

static struct incarnation incarnation_of(struct run *r, unsigned host)
{
    return writer_incarnation(sim_host_writer(r->w->hosts[host]));
}

static struct standing *standing_of(struct run *r, unsigned host)
{
    struct store_reader *reader;
    struct standing *ret = NULL;

    assert_int_equal(
        store_reader_begin(sim_host_store(r->w->hosts[host]), &reader), 0);
    assert_int_equal(standing_read(&ret, reader, NULL, NULL), 0);
    store_reader_release(reader);
    return ret;
}

/* Every member is the incarnation that a host has now. */
static bool has_no_dead_member(struct sim_world *w, void *ctx)
{
    struct run *r = ctx;
    bool ret = true;

    if (!is_alike(w, ctx))
        return false;
    for (unsigned i = 0; i < r->hosts; i++) {
        struct standing *s = standing_of(r, i);

        ret = ret && standing_members(s) == r->hosts;
        for (unsigned h = 0; h < r->hosts; h++) {
            struct incarnation name = incarnation_of(r, h);
            ret = ret && standing_stays(s, &name);
        }
        standing_free(s);
    }
    return ret;
}

static bool is_sealed(struct run *r, unsigned host, const struct incarnation *i,
                      uint64_t *ret_last)
{
    struct standing *s = standing_of(r, host);
    bool ret = standing_is_sealed(s, i, ret_last);

    standing_free(s);
    return ret;
}

static unsigned host_of(struct run *r, const struct key_id *key)
{
    for (unsigned i = 0; i < r->hosts; i++) {
        struct key_id id = key_id_of(sim_host_public_key(r->w->hosts[i]));

        if (key_id_equal(&id, key))
            return i;
    }
    fail();
    return 0;
}

static struct unsent_counts unsent_of(struct run *r, unsigned host)
{
    struct node_status s;

    node_status_read(node_of(r, host), &s);
    return s.unsent;
}

static bool has_nothing_waiting(struct sim_world *w, void *ctx)
{
    struct run *r = ctx;

    if (!has_no_dead_member(w, ctx))
        return false;
    for (unsigned i = 0; i < r->hosts; i++)
        if (unsent_of(r, i).waiting > 0 ||
            node_of(r, i)->returning.phase != RETURNING_NONE)
            return false;
    return true;
}

/* ---- disks ---- */

static struct sim_image *image(struct run *r, unsigned host)
{
    struct sim_image *i = sim_image_take(r->w->hosts[host]);

    assert_non_null(i);
    return i;
}

/* The machine is switched off, and has another disk when it is back. */
static void put_back(struct run *r, unsigned host, struct sim_image *i,
                     unsigned machine)
{
    if (sim_host_is_up(r->w->hosts[host]))
        sim_world_power_cut(r->w, host);
    sim_image_put(i, r->w->hosts[host]);
    sim_image_free(i);
    sim_host_set_machine(r->w->hosts[host], machine);
    boot(r, host);
}

static void move_to_other_machine(struct run *r, unsigned host)
{
    sim_world_power_cut(r->w, host);
    sim_host_set_machine(r->w->hosts[host], 99);
    boot(r, host);
}

static void cut_off(struct run *r, unsigned host, bool on)
{
    sim_net_isolate(r->w->net, host, on);
}

static void pass_floors(struct run *r)
{
    sim_world_run_for(r->w, 20 * SIM_SECOND);
    await(r, is_alike, "floors");
}

/* ---- H2, H14, H17: disks that went back ---- */

/* Its disk is from before a delete that everybody has acknowledged and
 * collected; what it shows of it alone comes to nobody. */
static void H2_deleted_stays_deleted(struct run *r)
{
    struct incarnation before = incarnation_of(r, 2);
    struct sim_image *old;

    write_key(r, 1, "k", "1");
    await(r, is_alike, "k");
    old = image(r, 2);
    write_key(r, 1, "k", NULL);
    pass_floors(r);
    sim_world_power_cut(r->w, 2);
    cut_off(r, 2, true);
    put_back(r, 2, old, 0);
    sim_world_run_for(r->w, 2 * SIM_SECOND);
    assert_true(shows(r, 2, "k", "1"));
    write_key(r, 2, "other", "2");
    cut_off(r, 2, false);
    await(r, has_nothing_waiting, "returned");
    assert_true(is_sealed(r, 0, &before, NULL));
    expect(r, "k", NULL);
    /* The name of that write had been its acknowledgement's. */
    expect(r, "other", NULL);
    assert_int_equal(unsent_of(r, 2).parked, 1);
}

/* The same, and it writes the deleted key under a name that was given before:
 * a person decides. */
static void H2_written_under_a_used_name(struct run *r)
{
    struct sim_image *old;

    write_key(r, 1, "k", "1");
    await(r, is_alike, "k");
    old = image(r, 2);
    write_key(r, 1, "k", NULL);
    pass_floors(r);
    sim_world_power_cut(r->w, 2);
    cut_off(r, 2, true);
    put_back(r, 2, old, 0);
    sim_world_run_for(r->w, 2 * SIM_SECOND);
    write_key(r, 2, "k", "3");
    cut_off(r, 2, false);
    await(r, has_nothing_waiting, "returned");
    expect(r, "k", NULL);
    assert_int_equal(unsent_of(r, 2).parked, 1);
}

/* One name for two events, each with other members: one branch stands, whoever
 * has the other returns, and its writer keeps what it wrote. */
static void H14_two_branches_of_one_name(struct run *r)
{
    struct incarnation before = incarnation_of(r, 3);
    struct sim_image *old;

    write_key(r, 3, "a", "0");
    await(r, is_alike, "a");
    old = image(r, 3);
    sim_net_set_group(r->w->net, 1, 1);
    sim_net_set_group(r->w->net, 3, 1);
    write_key(r, 3, "x", "1");
    sim_world_run_for(r->w, 2 * SIM_SECOND);
    assert_true(shows(r, 1, "x", "1"));
    sim_world_power_cut(r->w, 3);
    sim_net_set_group(r->w->net, 3, 0);
    put_back(r, 3, old, 0);
    write_key(r, 3, "y", "2");
    sim_world_run_for(r->w, 2 * SIM_SECOND);
    assert_true(shows(r, 0, "y", "2") && shows(r, 2, "y", "2"));
    sim_net_heal(r->w->net);
    await(r, has_nothing_waiting, "one branch");
    assert_true(is_sealed(r, 0, &before, NULL));
    expect(r, "a", "0");
    /* The disk that held x is gone; y is where it was written, parked as what
     * it wrote and, if it returned twice, as what a lost branch had left. */
    if (!shows(r, 3, "y", "2") &&
        (unsent_of(r, 3).parked < 1 || unsent_of(r, 3).parked > 2))
        fail_msg("y is gone; %zu are parked, x %s", unsent_of(r, 3).parked,
                 shows(r, 3, "x", "1") ? "stands" : "is gone, too");
}

/* No bytes are left of the events that it lacks. */
static void H17_below_the_floor(struct run *r)
{
    struct incarnation before = incarnation_of(r, 2);
    struct sim_image *old = image(r, 2);
    struct store_reader *reader;
    struct slice bytes;
    struct dot dot = {.incarnation = before};

    write_key(r, 2, "k", "1");
    dot.seq = vv_seq(&node_of(r, 2)->vv, &before);
    for (unsigned i = 0; i < 3; i++) {
        write_key(r, 1, "collected", "1");
        write_key(r, 1, "collected", NULL);
        pass_floors(r);
        sim_world_run_for(r->w, KEEP_US);
    }
    assert_int_equal(
        store_reader_begin(sim_host_store(r->w->hosts[0]), &reader), 0);
    assert_int_equal(store_event(reader, &dot, &bytes), CM_ERR_NOT_FOUND);
    store_reader_release(reader);
    put_back(r, 2, old, 0);
    await(r, has_nothing_waiting, "returned");
    assert_true(is_sealed(r, 0, &before, NULL));
    expect(r, "k", "1");
}

/* ---- M4, M5: the sponsor is lost ---- */

static bool is_receiving(struct sim_world *w, void *ctx)
{
    struct run *r = ctx;

    (void)w;
    return node_of(r, 2)->returning.phase == RETURNING_RECEIVE;
}

/* Host 2 returns; returns the sponsor that it had asked, which is off now. */
static unsigned lose_sponsor(struct run *r, struct incarnation *ret_given_up)
{
    unsigned sponsor;

    write_key(r, 2, "k", "1");
    await(r, is_alike, "k");
    move_to_other_machine(r, 2);
    await_exactly(r, is_receiving, "asking a sponsor");
    sponsor = host_of(r, &node_of(r, 2)->returning.sponsor);
    *ret_given_up = node_of(r, 2)->returning.next;
    return sponsor;
}

static bool has_returned(struct sim_world *w, void *ctx)
{
    struct run *r = ctx;

    (void)w;
    return node_of(r, 2)->returning.times > 0;
}

/* It asks another, under a further name; the sponsor is back, and the name
 * that was given up has a member's place until its retirement is sealed. */
static void M4_sponsor_lost(struct run *r)
{
    struct incarnation given_up, self;
    unsigned sponsor = lose_sponsor(r, &given_up);

    /* Its add is on its disk, and may reach the others later. */
    cut_off(r, sponsor, true);
    sim_world_run_for(r->w, SIM_SECOND);
    await(r, has_returned, "another sponsor");
    self = incarnation_of(r, 2);
    assert_false(incarnation_equal(&self, &given_up));
    cut_off(r, sponsor, false);
    await(r, has_nothing_waiting, "the name given up is no member");
    assert_true(is_sealed(r, 0, &given_up, NULL));
    expect(r, "k", "1");
}

/* The add is lost with the sponsor's disk: nobody ever rostered that name, and
 * it is sealed all the same. */
static void M5_retired_though_nobody_rostered_it(struct run *r)
{
    struct sim_image *old[HOSTS];
    struct incarnation given_up;
    uint64_t last = 1;
    unsigned sponsor;

    write_key(r, 1, "before", "1");
    await(r, is_alike, "before");
    for (unsigned i = 0; i < r->hosts; i++)
        old[i] = image(r, i);
    sponsor = lose_sponsor(r, &given_up);
    sim_world_power_cut(r->w, sponsor);
    await(r, has_returned, "another sponsor");
    put_back(r, sponsor, old[sponsor], 0);
    for (unsigned i = 0; i < r->hosts; i++)
        if (i != sponsor)
            sim_image_free(old[i]);
    await(r, has_nothing_waiting, "everybody is back");
    assert_true(is_sealed(r, 0, &given_up, &last));
    assert_int_equal(last, 0);
    expect(r, "before", "1");
}

/* ---- M6: phantom members ---- */

static void give_order_at(struct run *r, unsigned at,
                          const struct incarnation *who, uint64_t made_ms)
{
    struct standing *s = standing_of(r, at);
    struct incarnation name = *who;
    struct eviction_order o = {
        .epoch = standing_epoch(s) + 1,
        .previous = standing_order(s),
        .incarnations = &name,
        .count = 1,
        .created_ms = made_ms,
    };
    struct intent *i = intent_new(INTENT_ORDER);
    struct buffer bytes;

    standing_free(s);
    o.mesh = mesh_id_of(r->w->authority.public_key);
    o.generation = writer_generation(sim_host_writer(r->w->hosts[at]));
    buffer_init(&bytes, EVICTION_SIZE_MAX);
    assert_int_equal(eviction_encode(&bytes, &o, r->w->authority.secret_key),
                     0);
    assert_int_equal(intent_set_event(i, buffer_slice(&bytes)), 0);
    buffer_release(&bytes);
    submit(r, at, i);
}

static void give_order(struct run *r, unsigned at,
                       const struct incarnation *who)
{
    give_order_at(r, at, who, SIM_CLOCK_EPOCH_MS);
}

static bool is_there(struct sim_world *w, void *ctx)
{
    (void)ctx;
    return sim_world_is_ready(w, HOSTS - 1);
}

static void on_issuer(void *ctx, int error, const char *detail)
{
    struct run *r = ctx;

    (void)detail;
    r->answered = true;
    r->result = error;
}

/* The authority lets host make tokens, as "confmesh issuer" does. */
static void make_issuer(struct run *r, unsigned host)
{
    struct sim_host *h = r->w->hosts[host];
    struct certificate c = {.roles = ROLE_WRITER | ROLE_ISSUER,
                            .prefixes_count = 1,
                            .not_before_ms = SIM_CLOCK_EPOCH_MS,
                            .not_after_ms = SIM_CLOCK_EPOCH_MS * 2};
    struct buffer bytes;

    c.mesh = mesh_id_of(r->w->authority.public_key);
    memcpy(c.sign_key, sim_host_public_key(h), sizeof c.sign_key);
    memcpy(c.box_key, node_of(r, host)->box_public_key, sizeof c.box_key);
    (void)snprintf(c.name, sizeof c.name, "%s", sim_host_name(h));
    buffer_init(&bytes, CERTIFICATE_SIZE_MAX);
    assert_int_equal(certificate_encode(&bytes, &c, r->w->authority.secret_key),
                     0);
    r->answered = false;
    sim_host_enter(h);
    node_issuer_set(node_of(r, host), buffer_slice(&bytes), on_issuer, r);
    sim_host_settle(h);
    buffer_release(&bytes);
    await(r, is_answered, "the certificate is stored");
    assert_int_equal(r->result, 0);
}

static void on_token(void *ctx, int error, const char *token,
                     const char *detail)
{
    struct run *r = ctx;

    (void)detail;
    r->answered = true;
    r->result = error;
    if (error == 0)
        (void)snprintf(r->token, sizeof r->token, "%s", token);
}

/* What the message of whoever refuses says: a fresh token, a new start. */
static void start_with_token_of(struct run *r, unsigned host, unsigned issuer)
{
    struct cm_detail detail = {""};

    r->answered = false;
    sim_host_enter(r->w->hosts[issuer]);
    node_token_create(node_of(r, issuer), 1, 3600000, NULL, on_token, r);
    sim_host_settle(r->w->hosts[issuer]);
    await(r, is_answered, "a token");
    assert_int_equal(r->result, 0);
    sim_world_power_cut(r->w, host);
    assert_int_equal(sim_host_boot(r->w->hosts[host], r->token, &detail), 0);
}

static bool phantom_is_refused(struct sim_world *w, void *ctx)
{
    struct run *r = ctx;
    uint64_t refused = 0;

    (void)w;
    for (unsigned i = 1; i < HOSTS - 1; i++)
        refused += node_of(r, i)->status.refused.of[REFUSAL_ENTRY_ISSUER].count;
    return refused > 0 && node_of(r, HOSTS - 1)->returning.waits[0] != '\0';
}

static bool phantom_is_home(struct sim_world *w, void *ctx)
{
    struct run *r = ctx;
    struct hash first, other;

    for (unsigned i = 1; i < HOSTS; i++) {
        if (!sim_world_is_ready(w, i) ||
            sim_world_digest(w, i, i == 1 ? &first : &other) != 0 ||
            (i > 1 && !hash_equal(&first, &other)))
            return false;
    }
    return node_of(r, HOSTS - 1)->returning.phase == RETURNING_NONE &&
           unsent_of(r, HOSTS - 1).waiting == 0 &&
           (shows(r, 1, "of a phantom", "2") ||
            unsent_of(r, HOSTS - 1).parked == 1);
}

static bool founder_is_out(struct sim_world *w, void *ctx)
{
    struct run *r = ctx;
    bool ret = true;

    (void)w;
    for (unsigned i = 1; i < HOSTS - 1; i++)
        ret = ret && is_sealed(r, i, &r->evicted, NULL);
    return ret;
}

static bool third_is_out(struct sim_world *w, void *ctx)
{
    struct run *r = ctx;

    (void)w;
    return is_sealed(r, 0, &r->evicted, NULL) &&
           is_sealed(r, 1, &r->evicted, NULL) &&
           is_sealed(r, 2, &r->evicted, NULL);
}

/* The founder is evicted, does not know it, and lets one in: he belongs to no
 * mesh but the founder's, until a member shows him the seal. Nobody can tell
 * him from a thief's who has the founder's key, so he stays outside until the
 * operator vouches for him: a token of another issuer. */
static void M6_phantom_member(struct run *r)
{
    r->evicted = incarnation_of(r, 0);
    write_key(r, 1, "k", "1");
    await(r, is_alike, "k");
    for (unsigned i = 1; i < HOSTS - 1; i++) {
        sim_net_cut(r->w->net, 0, i, true);
        sim_net_cut(r->w->net, i, 0, true);
    }
    give_order(r, 1, &r->evicted);
    await(r, founder_is_out, "the founder is sealed");
    sim_net_isolate(r->w->net, 1, true);
    sim_net_isolate(r->w->net, 2, true);
    sim_net_isolate(r->w->net, 3, true);
    sim_world_join(r->w, HOSTS - 1, 0);
    await(r, is_there, "let in by an evicted one");
    write_key(r, HOSTS - 1, "of a phantom", "2");
    sim_net_heal(r->w->net);
    await(r, phantom_is_refused, "the members know who signed for him");
    assert_non_null(strstr(node_of(r, HOSTS - 1)->returning.waits,
                           "redeem a fresh token of another issuer"));
    sim_world_run_for(r->w, 10 * SIM_SECOND);
    for (unsigned i = 1; i < HOSTS - 1; i++)
        assert_false(shows(r, i, "of a phantom", "2"));
    make_issuer(r, 1);
    start_with_token_of(r, HOSTS - 1, 1);
    await(r, phantom_is_home, "the phantom is a member");
    for (unsigned i = 1; i < HOSTS; i++) {
        /* A floor may have passed while it waited (M9): then it is parked. */
        if (unsent_of(r, HOSTS - 1).parked == 0)
            assert_true(shows(r, i, "of a phantom", "2"));
        assert_true(shows(r, i, "k", "1"));
        assert_int_equal(sim_world_audit(r->w, i), 0);
    }
    sim_world_free(r->w);
    r->w = NULL;
}

/* ---- a certificate that was never used ---- */

static bool is_certified(struct sim_world *w, void *ctx)
{
    const struct node *n = sim_host_node(w->hosts[HOSTS - 1]);

    (void)ctx;
    return n != NULL && n->has_identity;
}

static bool has_given_up(struct sim_world *w, void *ctx)
{
    const struct node *n = sim_host_node(w->hosts[HOSTS - 1]);

    (void)ctx;
    return n != NULL && node_has_failed(n);
}

/* Certified, and cut short before it asked for a sponsor; an order is newer.
 * The token that it has cannot help, a fresh one does. */
static void old_certificate(struct run *r)
{
    struct cm_detail detail = {""};
    char token[TOKEN_TEXT_MAX];
    uint64_t made_ms;

    sim_world_join(r->w, HOSTS - 1, 0);
    await_exactly(r, is_certified, "a certificate");
    assert_int_equal(node_of(r, 0)->roster->count, HOSTS - 1);
    assert_non_null(r->w->tokens[HOSTS - 1]);
    (void)snprintf(token, sizeof token, "%s", r->w->tokens[HOSTS - 1]);
    made_ms = node_of(r, HOSTS - 1)->own.not_before_ms;
    sim_world_power_cut(r->w, HOSTS - 1);
    r->evicted = incarnation_of(r, 3);
    sim_net_isolate(r->w->net, 3, true);
    sim_world_run_for(r->w, SIM_SECOND);
    give_order_at(r, 0, &r->evicted, made_ms + 1);
    await(r, third_is_out, "the order has been acted upon");
    assert_int_equal(sim_host_boot(r->w->hosts[HOSTS - 1], token, &detail), 0);
    await(r, has_given_up, "the old token gives nothing new");
    assert_non_null(strstr(node_not_ready_reason(node_of(r, HOSTS - 1)),
                           "redeem a fresh token"));
    start_with_token_of(r, HOSTS - 1, 0);
    await(r, is_there, "a fresh token");
    write_key(r, HOSTS - 1, "home", "1");
    sim_world_run_for(r->w, 10 * SIM_SECOND);
    for (unsigned i = 0; i < HOSTS; i++)
        assert_int_equal(shows(r, i, "home", "1"), i != 3);
    assert_int_equal(sim_world_audit(r->w, HOSTS - 1), 0);
    sim_world_free(r->w);
    r->w = NULL;
}

/* ---- M9: a put on an absent key ---- */

/* Written alone; a later delete of the same key, which did not see it, is
 * collected before it comes home: it would win against nothing. */
static void M9_absent_key(struct run *r)
{
    struct incarnation first = incarnation_of(r, 2);
    struct sim_image *old, *alone;

    write_key(r, 1, "k", "1");
    await(r, is_alike, "k");
    old = image(r, 2);
    cut_off(r, 2, true);
    write_key(r, 2, "k", "2");
    write_key(r, 2, "other", "3");
    alone = image(r, 2);
    /* Another copy of its disk retires the name meanwhile. */
    sim_world_power_cut(r->w, 2);
    cut_off(r, 2, false);
    put_back(r, 2, old, 7);
    await(r, has_nothing_waiting, "retired");
    assert_true(is_sealed(r, 0, &first, NULL));
    write_key(r, 1, "k", NULL);
    pass_floors(r);
    put_back(r, 2, alone, 0);
    await(r, has_returned, "returned");
    sim_world_run_for(r->w, 20 * SIM_SECOND);
    await(r, is_alike, "alike");
    expect(r, "k", NULL);
    assert_int_equal(unsent_of(r, 2).waiting, 0);
    assert_int_equal(unsent_of(r, 2).parked, 1 + !shows(r, 2, "other", "3"));
}

/* ---- all ---- */

static void each_seed(void (*trace)(struct run *r))
{
    uint64_t first = setting("SIM_SEED", 1);

    for (uint64_t seed = first; seed < first + SEEDS; seed++) {
        struct run r;

        begin(&r, seed, HOSTS - 1);
        trace(&r);
        if (r.w != NULL)
            end(&r);
    }
}

#define TRACE(name)                                                            \
    static void test_##name(void **state)                                      \
    {                                                                          \
        (void)state;                                                           \
        each_seed(name);                                                       \
    }
TRACE(H2_deleted_stays_deleted)
TRACE(H2_written_under_a_used_name)
TRACE(H14_two_branches_of_one_name)
TRACE(H17_below_the_floor)
TRACE(M4_sponsor_lost)
TRACE(M5_retired_though_nobody_rostered_it)
TRACE(M6_phantom_member)
TRACE(old_certificate)
TRACE(M9_absent_key)

/* ---- a newer generation ---- */

static void snapshot_done(void *ctx, const struct snapshot_report *report)
{
    struct run *r = ctx;

    r->answered = true;
    r->result = report->error;
}

/* All are down; host 0 is what a snapshot of theirs was restored to. */
static void restore(struct run *r, const char *target)
{
    struct sim_restore *state = NULL;
    struct cm_detail detail = {""};

    node_snapshot_now(node_of(r, 0), target, snapshot_done, r);
    await(r, is_answered, "a snapshot");
    assert_int_equal(r->result, 0);
    for (unsigned i = 0; i < r->hosts; i++)
        sim_world_power_cut(r->w, i);
    assert_int_equal(sim_restore_gather(&state, r->w, 0, &detail), 0);
    sim_host_wipe(r->w->hosts[0]);
    assert_int_equal(sim_restore_found(r->w, state, &detail), 0);
    sim_restore_free(state);
    boot(r, 0);
}

static bool has_come_over(struct sim_world *w, void *ctx)
{
    struct run *r = ctx;
    (void)w;
    for (unsigned i = 0; i < r->hosts; i++)
        if (i != r->away && sim_host_is_up(r->w->hosts[i]) &&
            (node_of(r, i)->generation.number != 2 ||
             node_of(r, i)->returning.phase != RETURNING_NONE))
            return false;
    return true;
}

static bool is_asking(struct sim_world *w, void *ctx)
{
    const struct returning *r =
        &node_of(ctx, ((struct run *)ctx)->hosts - 1)->returning;

    (void)w;
    return r->reason == RETURN_GENERATION && r->phase == RETURNING_OFFER;
}

/* The one that it heard of the newer generation from is gone while it asks:
 * another member that has come over is asked, after one failure, not three. */
static void newer_generation_sponsor_gone(struct run *r)
{
    unsigned last = r->hosts - 1;
    unsigned first;
    struct returning *returning;
    char target[SIM_HOST_PATH_MAX];

    sim_world_target(r->w, target);
    r->away = last;
    restore(r, target);
    for (unsigned i = 1; i < last; i++)
        boot(r, i);
    await(r, has_come_over, "the others came over");
    sim_world_run_for(r->w, 5 * SIM_SECOND); /* confirmed: they give cuts */
    boot(r, last);
    await_exactly(r, is_asking, "it asks");
    returning = &node_of(r, last)->returning;
    first = host_of(r, &returning->sponsor);
    r->away = first;
    sim_world_power_cut(r->w, first);
    await(r, has_come_over, "it came over by another one");
    assert_int_equal(node_of(r, last)->returning.turned_away, 1);
    assert_int_equal(node_of(r, last)->returning.times, 1);
    boot(r, first);
    r->away = r->hosts;
    await(r, has_come_over, "all came over");
}

static void test_newer_generation_sponsor_gone(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < setting("SIM_SEEDS", SEEDS); i++) {
        struct run r;

        begin(&r, setting("SIM_SEED", 1) + i, 4);
        newer_generation_sponsor_gone(&r);
        end(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_H2_deleted_stays_deleted),
        cmocka_unit_test(test_H2_written_under_a_used_name),
        cmocka_unit_test(test_H14_two_branches_of_one_name),
        cmocka_unit_test(test_H17_below_the_floor),
        cmocka_unit_test(test_M4_sponsor_lost),
        cmocka_unit_test(test_M5_retired_though_nobody_rostered_it),
        cmocka_unit_test(test_M6_phantom_member),
        cmocka_unit_test(test_old_certificate),
        cmocka_unit_test(test_M9_absent_key),
        cmocka_unit_test(test_newer_generation_sponsor_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
