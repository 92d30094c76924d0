/* Goal: each invariant, shown a violation of itself, fires with its own name,
 * and nothing fires before.
 * Method: real writers without a network make results of which the check is
 * told; then one thing is made wrong. What needs a whole mesh gets one, and
 * the check is told wrongly, or the network, a disk or a writer's memory is
 * broken behind its back. The last test sees that none was left out. */
#include "tests/unit/writer_fixture.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/standing_internal.h"
#include "node/writer_internal.h"
#include "sim/check_internal.h"
#include "sim/world.h"
#include "sim/world_order.h"

#define HOSTS 3
#define MESH_SEED 5
#define FLOOR_HOSTS 4
#define FLOOR_MS 500

static bool fired[SIM_CHECK_INVARIANTS];

static void expect(const struct sim_check *c, enum sim_check_invariant i)
{
    const struct sim_check_violation *v = sim_check_violation(c);

    assert_non_null(v);
    if (v->invariant != i)
        fail_msg("%s, not %s: %s", v->fingerprint, sim_check_name(i), v->text);
    assert_string_equal(v->fingerprint, sim_check_name(i));
    fired[i] = true;
}

static void expect_silence(const struct sim_check *c)
{
    if (sim_check_violation(c) != NULL)
        fail_msg("%s", sim_check_violation(c)->text);
}

/* ---- writers without a network ---- */

struct scene {
    struct fixture_mesh mesh;
    struct sim_sched sched;
    struct sim_check *check;
};

static struct commit_result *run_batch(struct scene *s, unsigned host,
                                       struct intent *batch)
{
    return fixture_commit(&s->mesh.nodes[host], batch);
}

static void tell(struct scene *s, unsigned host, struct commit_result *r)
{
    sim_check_on_commit(s->check, host, r, s->mesh.nodes[host].wall_ms - 1);
}

static void done(struct commit_result *r)
{
    while (r->intents != NULL) {
        struct intent *i = r->intents;
        r->intents = i->next;
        intent_free(i);
    }
    commit_result_free(r);
}

static struct intent *local(enum op_kind kind, const char *key,
                            const char *value)
{
    struct local_op op = fixture_op(kind, key, NULL, value);
    struct intent *i = intent_new(INTENT_LOCAL);

    assert_int_equal(intent_add_op(i, &op), 0);
    return i;
}

/* Written, and told. */
static void put(struct scene *s, unsigned host, const char *key,
                const char *value)
{
    struct commit_result *r = run_batch(s, host, local(OP_PUT, key, value));

    assert_int_equal(r->intents->result, 0);
    tell(s, host, r);
    done(r);
}

static struct commit_result *foreign(struct scene *s, unsigned to,
                                     unsigned from, size_t number)
{
    const struct fixture_event *e = &s->mesh.nodes[from].events[number];
    struct intent *i = intent_new(INTENT_FOREIGN);

    assert_int_equal(intent_set_event(i, slice_of(e->bytes, e->size)), 0);
    return run_batch(s, to, i);
}

static void deliver(struct scene *s, unsigned to, unsigned from)
{
    for (size_t i = 0; i < s->mesh.nodes[from].events_count; i++) {
        struct commit_result *r = foreign(s, to, from, i);
        tell(s, to, r);
        done(r);
    }
}

static void boot(struct scene *s, unsigned host)
{
    struct fixture_node *n = &s->mesh.nodes[host];
    struct commit_result *first = NULL;

    assert_int_equal(writer_snapshot(n->writer, &first), 0);
    sim_check_on_boot(s->check, host, &n->incarnation, first);
    commit_result_free(first);
}

static void add_host(struct scene *s, unsigned host)
{
    struct fixture_node *n = fixture_add_node(&s->mesh, ROLE_WRITER, "", false);
    struct intent *i = intent_new(INTENT_LOCAL);
    struct local_op op = {
        .kind = OP_ROSTER_ADD,
        .key = slice_of(n->incarnation.bytes, INCARNATION_SIZE),
        .value = buffer_slice(&n->certificate),
    };

    boot(s, host);
    assert_int_equal(intent_add_op(i, &op), 0);
    struct commit_result *r = run_batch(s, 0, i);
    assert_int_equal(i->result, 0);
    tell(s, 0, r);
    done(r);
    deliver(s, host, 0);
}

static struct scene *begin(void)
{
    struct scene *s = calloc(1, sizeof *s);
    struct sim_check_options options = {.sched = &s->sched,
                                        .hosts_count = HOSTS};

    fixture_mesh_make(&s->mesh);
    sim_sched_init(&s->sched);
    memcpy(options.authority_public_key, s->mesh.authority.public_key, 32);
    assert_int_equal(sim_check_create(&s->check, &options), 0);
    boot(s, 0);
    for (unsigned i = 1; i < HOSTS; i++)
        add_host(s, i);
    deliver(s, 1, 0);
    put(s, 0, "a", "1");
    deliver(s, 1, 0);
    put(s, 1, "a", "2");
    put(s, 0, "a", "3");
    deliver(s, 0, 1);
    deliver(s, 1, 0);
    put(s, 0, "b", "1");
    expect_silence(s->check);
    return s;
}

static void end(struct scene *s, enum sim_check_invariant i)
{
    expect(s->check, i);
    sim_check_free(s->check);
    sim_sched_release(&s->sched);
    fixture_mesh_release(&s->mesh);
    free(s);
}

/* An own event of host 0 as it should not be. */
struct forged {
    hlc_t hlc;
    bool deps;
    bool names;
};

static void tell_forged(struct scene *s, const struct forged *f)
{
    struct fixture_node *n = &s->mesh.nodes[0];
    const struct vv_entry *head = vv_find(&n->vv, &n->incarnation);
    struct buffer body, bytes;
    struct hash hash;
    struct dot dots[4];
    struct op op = {.kind = OP_PUT,
                    .key = slice_of_string("b"),
                    .value = slice_of_string("2"),
                    .supersedes = dots};
    struct generation_order order;
    struct dot dep = {s->mesh.nodes[1].incarnation, 1};

    buffer_init(&body, EVENT_SIZE_MAX);
    buffer_init(&bytes, EVENT_SIZE_MAX);
    if (f->names) {
        dots[0] = (struct dot){n->incarnation, head->seq};
        op.supersedes_count = 1;
    }
    event_body_add(&body, &op);
    assert_int_equal(generation_order_decode(&order,
                                             buffer_slice(&s->mesh.order),
                                             s->mesh.authority.public_key),
                     0);
    struct event_draft draft = {
        .mesh = s->mesh.mesh,
        .generation = generation_id_of(1, buffer_slice(&s->mesh.order)),
        .dot = {n->incarnation, head->seq + 1},
        .hlc = f->hlc,
        .deps = &dep,
        .deps_count = f->deps ? 1 : 0,
        .previous = head->head,
        .body = buffer_slice(&body),
        .ops_count = 1,
    };
    generation_order_release(&order);
    assert_int_equal(event_encode(&bytes, &draft, n->secret_key, &hash), 0);
    struct commit_event e = {
        .bytes = buffer_slice(&bytes), .dot = draft.dot, .own = true};
    struct intent *i = local(OP_PUT, "b", "2");
    i->wrote = true;
    i->dot = draft.dot;
    struct commit_result r = {.intents = i,
                              .revision = 1000,
                              .wrote = true,
                              .events = &e,
                              .events_count = 1};
    assert_int_equal(vv_copy(&r.vv, &n->vv), 0);
    tell(s, 0, &r);
    vv_release(&r.vv);
    intent_free(i);
    buffer_release(&body);
    buffer_release(&bytes);
}

static void test_deps(void **state)
{
    struct scene *s = begin();
    const struct forged f = {
        .hlc = hlc_make(FIXTURE_WALL_MS + 20, 0), .names = true, .deps = true};

    (void)state;
    tell_forged(s, &f);
    end(s, SIM_CHECK_DEPS);
}

static void test_supersedes(void **state)
{
    struct scene *s = begin();
    const struct forged f = {.hlc = hlc_make(FIXTURE_WALL_MS + 20, 0)};

    (void)state;
    tell_forged(s, &f);
    end(s, SIM_CHECK_SUPERSEDES);
}

static void test_stamps(void **state)
{
    struct scene *s = begin();
    const struct forged back = {.hlc = 1, .names = true};
    const struct forged ahead = {.hlc = hlc_make(FIXTURE_WALL_MS + 100000, 0),
                                 .names = true};

    (void)state;
    tell_forged(s, &back);
    end(s, SIM_CHECK_HLC);
    s = begin();
    tell_forged(s, &ahead);
    end(s, SIM_CHECK_HLC);
}

static void test_drift(void **state)
{
    struct scene *s = begin();

    (void)state;
    for (size_t i = 0; i < s->mesh.nodes[0].events_count; i++) {
        struct commit_result *r = foreign(s, 1, 0, i);
        sim_check_on_commit(s->check, 1, r,
                            FIXTURE_WALL_MS - 2 * CLOCK_DRIFT_MAX_MS);
        done(r);
    }
    end(s, SIM_CHECK_DRIFT);
}

/* What was lost with all machines is applied again; and an incarnation that
 * has events already begins anew. */
static void test_restore(void **state)
{
    struct scene *s = begin();
    struct incarnation fresh = {{7}};
    struct vv empty;

    (void)state;
    vv_init(&empty);
    put(s, 0, "c", "1");
    sim_check_on_power_cut(s->check, 0);
    sim_check_on_wipe(s->check, 0);
    sim_check_on_restore(s->check, 0, &fresh, &empty, false);
    expect_silence(s->check);
    deliver(s, 1, 0);
    end(s, SIM_CHECK_RESTORE);
    s = begin();
    sim_check_on_power_cut(s->check, 0);
    sim_check_on_wipe(s->check, 0);
    sim_check_on_restore(s->check, 0, &s->mesh.nodes[0].incarnation, &empty,
                         false);
    end(s, SIM_CHECK_RESTORE);
}

static void test_one_event(void **state)
{
    struct scene *s = begin();
    size_t last = s->mesh.nodes[0].events_count - 1;
    struct commit_result *r = foreign(s, 1, 0, last);
    struct slice bytes = r->events[0].bytes;

    (void)state;
    assert_int_equal(r->events_count, 1);
    ((uint8_t *)(uintptr_t)bytes.data)[bytes.size - 1] ^= 1;
    tell(s, 1, r);
    done(r);
    end(s, SIM_CHECK_ONE_EVENT);

    s = begin(); /* a dot used again */
    r = run_batch(s, 0, local(OP_PUT, "c", "1"));
    tell(s, 0, r);
    r->revision++;
    tell(s, 0, r);
    done(r);
    end(s, SIM_CHECK_ONE_EVENT);
}

static void test_origin(void **state)
{
    struct scene *s = begin();
    struct commit_result *r = run_batch(s, 0, local(OP_PUT, "c", "1"));

    (void)state;
    done(r); /* the check is not told: it has not happened yet */
    deliver(s, 1, 0);
    end(s, SIM_CHECK_ORIGIN);

    s = begin(); /* lost with the power, and yet elsewhere */
    sim_check_on_power_cut(s->check, 0);
    r = run_batch(s, 0, local(OP_PUT, "c", "1"));
    tell(s, 0, r);
    done(r);
    expect_silence(s->check);
    deliver(s, 1, 0);
    end(s, SIM_CHECK_ORIGIN);
}

static void test_causal_order(void **state)
{
    struct scene *s = begin();
    struct commit_result *r;

    (void)state;
    put(s, 1, "d", "1"); /* depends on nothing that 2 lacks but order */
    put(s, 1, "d", "2");
    r = foreign(s, 2, 1, s->mesh.nodes[1].events_count - 1);
    assert_int_equal(r->events_count, 0);
    const struct fixture_event *e =
        &s->mesh.nodes[1].events[s->mesh.nodes[1].events_count - 1];
    struct commit_event applied = {.bytes = slice_of(e->bytes, e->size),
                                   .dot = e->dot};
    struct commit_result wrong = *r;
    wrong.events = &applied;
    wrong.events_count = 1;
    wrong.revision++;
    tell(s, 2, &wrong);
    done(r);
    end(s, SIM_CHECK_CAUSAL_ORDER);
}

/* The disk shows an older state after a restart. */
static void restart_with_old_state(bool acknowledged)
{
    struct scene *s = begin();
    struct commit_result *old = NULL;
    struct commit_result *r;

    assert_int_equal(writer_snapshot(s->mesh.nodes[0].writer, &old), 0);
    r = run_batch(s, 0, local(OP_PUT, "c", "1"));
    tell(s, 0, r);
    if (acknowledged)
        sim_check_on_write(s->check, 0, r->intents, true);
    done(r);
    sim_check_on_power_cut(s->check, 0);
    sim_check_on_boot(s->check, 0, &s->mesh.nodes[0].incarnation, old);
    commit_result_free(old);
    end(s, acknowledged ? SIM_CHECK_ACKNOWLEDGED : SIM_CHECK_VECTOR_BACK);
}

static void test_old_state(void **state)
{
    (void)state;
    restart_with_old_state(false);
    restart_with_old_state(true);
}

static void test_acknowledged_early(void **state)
{
    struct scene *s = begin();
    struct commit_result *r = run_batch(s, 0, local(OP_PUT, "c", "1"));

    (void)state;
    sim_check_on_write(s->check, 0, r->intents, true);
    done(r);
    end(s, SIM_CHECK_ACKNOWLEDGED);
}

/* A lost commit in a power cut is none of these. */
static void test_lost_commit_is_silent(void **state)
{
    struct scene *s = begin();
    struct commit_result *old = NULL;
    struct commit_result *r;

    (void)state;
    assert_int_equal(writer_snapshot(s->mesh.nodes[0].writer, &old), 0);
    sim_check_on_power_cut(s->check, 0);
    r = run_batch(s, 0, local(OP_PUT, "c", "1"));
    tell(s, 0, r);
    done(r);
    sim_check_on_boot(s->check, 0, &s->mesh.nodes[0].incarnation, old);
    commit_result_free(old);
    expect_silence(s->check);
    sim_check_report(s->check, SIM_CHECK_STORE, 0, "so that there is one");
    end(s, SIM_CHECK_STORE);
}

static void test_revision_back(void **state)
{
    struct scene *s = begin();
    struct commit_result *r = run_batch(s, 0, local(OP_PUT, "c", "1"));

    (void)state;
    r->revision = 1;
    tell(s, 0, r);
    done(r);
    end(s, SIM_CHECK_REVISION_BACK);
}

static void test_fold(void **state)
{
    struct scene *s = begin();
    struct commit_result *r = run_batch(s, 0, local(OP_PUT, "c", "1"));

    (void)state;
    r->digest.bytes[3] ^= 1;
    tell(s, 0, r);
    done(r);
    end(s, SIM_CHECK_FOLD);
}

static void test_roster(void **state)
{
    struct scene *s = begin();
    struct commit_result *r = run_batch(s, 0, local(OP_PUT, "c", "1"));

    (void)state;
    roster_release(r->roster);
    r->roster = roster_new(); /* not even the founder */
    tell(s, 0, r);
    done(r);
    end(s, SIM_CHECK_EQUAL_VECTORS);
}

static void test_condition(void **state)
{
    struct scene *s = begin();
    struct intent *i = local(OP_PUT, "a", "9");
    struct commit_result *r;

    (void)state;
    i->ops[0].condition = CONDITION_ABSENT;
    r = run_batch(s, 0, i);
    assert_int_equal(i->result, CM_ERR_CONDITION);
    i->result = 0;
    tell(s, 0, r);
    done(r);
    end(s, SIM_CHECK_CONDITION);
}

static void test_revoked(void **state)
{
    struct scene *s = begin();
    struct commit_result *r = run_batch(s, 0, local(OP_REVOKE, "a", ""));

    (void)state;
    tell(s, 0, r);
    done(r);
    r = run_batch(s, 0, local(OP_PUT, "a", "again"));
    assert_int_equal(r->intents->result, CM_ERR_REVOKED);
    expect_silence(s->check);
    r->intents->result = 0;
    tell(s, 0, r);
    done(r);
    end(s, SIM_CHECK_REVOKED);
}

static void test_transaction(void **state)
{
    struct scene *s = begin();
    struct intent *i = local(OP_PUT, "t1", "1");
    struct local_op op = fixture_op(OP_PUT, "t2", NULL, "1");
    struct commit_result *r;

    (void)state;
    assert_int_equal(intent_add_op(i, &op), 0);
    op = fixture_op(OP_PUT, "t3", NULL, "1");
    r = run_batch(s, 0, i);
    assert_int_equal(intent_add_op(i, &op), 0); /* more was asked for */
    tell(s, 0, r);
    done(r);
    end(s, SIM_CHECK_TRANSACTION);
}

static void test_bounds(void **state)
{
    struct scene *s = begin();

    (void)state;
    sim_check_on_send(s->check, 0, GOSSIP_PACKET_MAX, true);
    expect_silence(s->check);
    sim_check_on_send(s->check, 0, GOSSIP_PACKET_MAX + 1, true);
    end(s, SIM_CHECK_BOUNDS);
    s = begin();
    for (unsigned i = 0; i < 1000; i++)
        sim_check_on_send(s->check, 0, 100000, false);
    end(s, SIM_CHECK_BOUNDS);
}

/* ---- a whole mesh ---- */

static struct sim_world *make_world_of(unsigned hosts, uint64_t floor_ms)
{
    struct sim_world_options options =
        sim_world_default_options(MESH_SEED, hosts);
    struct sim_world *w = NULL;
    struct cm_detail detail = {""};

    options.floor_interval_ms = floor_ms;
    assert_int_equal(sim_world_create(&w, &options, &detail), 0);
    assert_int_equal(sim_world_boot(w, 0, &detail), 0);
    for (unsigned i = 1; i < hosts; i++)
        sim_world_join(w, i, 0);
    assert_true(
        sim_world_run_until(w, sim_world_all_ready, NULL, 60 * SIM_SECOND));
    sim_world_run_for(w, 5 * SIM_SECOND);
    return w;
}

static struct sim_world *make_world(void)
{
    return make_world_of(HOSTS, 0);
}

static void on_written(void *ctx, const struct intent *i, bool answered)
{
    (void)ctx;
    assert_true(answered);
    assert_int_equal(i->result, 0);
}

static void write_at(struct sim_world *w, unsigned host, enum op_kind kind,
                     const char *key, const char *value)
{
    assert_int_equal(
        sim_host_write(w->hosts[host], local(kind, key, value), on_written, w),
        0);
    sim_world_run_for(w, SIM_SECOND);
}

static void write_in(struct sim_world *w, const char *key, const char *value)
{
    write_at(w, 0, OP_PUT, key, value);
}

static void end_world(struct sim_world *w, enum sim_check_invariant i)
{
    expect(w->check, i);
    sim_world_free(w);
}

static void cut_off(struct sim_world *w, unsigned host, uint64_t us)
{
    sim_net_set_group(w->net, host, 1);
    sim_world_run_for(w, us);
}

static void test_convergence(void **state)
{
    struct sim_world *w = make_world();

    (void)state;
    cut_off(w, 2, SIM_SECOND);
    write_in(w, "a", "1");
    sim_check_quiescent(w->check, NULL);
    end_world(w, SIM_CHECK_CONVERGENCE);
}

static void test_waiting(void **state)
{
    struct sim_world *w = make_world();

    (void)state;
    sim_check_on_ask(w->check, 1);
    sim_world_run_for(w, 130 * SIM_SECOND);
    expect_silence(w->check);
    sim_check_quiescent(w->check, NULL);
    end_world(w, SIM_CHECK_WAITING);
}

static void test_completeness(void **state)
{
    struct sim_world *w = make_world();

    (void)state;
    sim_check_on_power_cut(w->check, 2); /* it lives on */
    sim_world_run_for(w, 120 * SIM_SECOND);
    end_world(w, SIM_CHECK_COMPLETENESS);
}

static void test_refutation(void **state)
{
    struct sim_world *w = make_world();

    (void)state;
    cut_off(w, 2, 150 * SIM_SECOND);
    expect_silence(w->check);
    sim_check_quiescent(w->check, NULL);
    end_world(w, SIM_CHECK_REFUTATION);
}

static void test_false_deaths(void **state)
{
    struct sim_world *w = make_world();

    (void)state;
    sim_world_run_for(w, 100 * SIM_SECOND);
    for (unsigned i = 0; i < 3; i++) {
        cut_off(w, 2, 60 * SIM_SECOND);
        sim_net_heal(w->net);
        sim_world_run_for(w, 120 * SIM_SECOND);
    }
    expect_silence(w->check);
    sim_check_quiescent(w->check, NULL);
    end_world(w, SIM_CHECK_FALSE_DEATH);
}

static void test_counter(void **state)
{
    struct sim_world *w = make_world();

    (void)state;
    sim_world_run_for(w, 20 * SIM_SECOND);
    expect_silence(w->check);
    w->check->hosts[0].views[1].counter = UINT64_MAX;
    sim_check_look(w->check, 0);
    end_world(w, SIM_CHECK_COUNTER);
    w = make_world(); /* over a restart, too */
    sim_world_run_for(w, 20 * SIM_SECOND);
    sim_world_power_cut(w, 1);
    w->check->hosts[1].counter += 15 * 1000; /* not beyond its clock */
    sim_world_run_for(w, 20 * SIM_SECOND);
    assert_int_equal(sim_world_boot(w, 1, &(struct cm_detail){""}), 0);
    sim_world_run_for(w, SIM_SECOND);
    expect_silence(w->check);
    sim_world_power_cut(w, 1);
    w->check->hosts[1].counter += 25 * 1000;
    sim_world_run_for(w, SIM_SECOND);
    assert_int_equal(sim_world_boot(w, 1, &(struct cm_detail){""}), 0);
    w->check->hosts[1].boot_wall_ms += 60 * 1000;
    sim_world_run_for(w, SIM_SECOND);
    end_world(w, SIM_CHECK_COUNTER);
}

/* A host that talks without being asked, and a mesh that is too large. */
static void test_idle(void **state)
{
    struct sim_world *w = make_world();

    (void)state;
    sim_check_rest(w->check);
    sim_world_run_for(w, 60 * SIM_SECOND);
    sim_check_quiescent(w->check, NULL);
    expect_silence(w->check);
    for (unsigned i = 0; i < 200; i++)
        sim_check_on_send(w->check, 1, GOSSIP_PACKET_MAX, true);
    sim_check_quiescent(w->check, NULL);
    end_world(w, SIM_CHECK_BOUNDS);
}

static void test_watch(void **state)
{
    struct sim_world *w = make_world();
    struct sim_check_watch *watch = NULL;

    (void)state;
    write_in(w, "a", "1");
    assert_int_equal(sim_check_watch_create(&watch, w->check, 1, ""), 0);
    sim_check_watch_poll(watch, 0);
    assert_int_equal(w->check->counters.watched, 1);
    write_in(w, "a", "2");
    expect_silence(w->check);
    w->check->hosts[1].log_count--; /* a commit that was none */
    sim_check_watch_poll(watch, 0);
    end_world(w, SIM_CHECK_WATCH);
}

/* A bit of a value on the disk that LMDB's map shows. */
static void flip_value(const struct sim_world *w, unsigned host,
                       const char *value)
{
    char path[SIM_HOST_PATH_MAX + 32];
    size_t size = strlen(value);
    bool found = false;

    (void)snprintf(path, sizeof path, "%s/n%u/data.mdb", w->directory, host);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    static uint8_t bytes[4u << 20];
    size_t length = fread(bytes, 1, sizeof bytes, f);
    for (size_t i = 0; i + size <= length; i++) {
        if (memcmp(bytes + i, value, size) != 0)
            continue;
        assert_int_equal(fseek(f, (long)i, SEEK_SET), 0);
        assert_int_equal(fputc(value[0] ^ 1, f), value[0] ^ 1);
        found = true;
    }
    assert_true(found);
    assert_int_equal(fclose(f), 0);
}

static void test_store(void **state)
{
    struct sim_world *w = make_world();

    (void)state;
    write_in(w, "a", "a value that is found");
    expect_silence(w->check);
    flip_value(w, 1, "a value that is found");
    sim_check_quiescent(w->check, NULL);
    end_world(w, SIM_CHECK_STORE);
}

static void on_snapshot(void *ctx, const struct snapshot_report *report)
{
    (void)ctx;
    assert_int_equal(report->error, 0);
}

static void test_snapshot(void **state)
{
    struct sim_world *w = make_world();
    char target[SIM_HOST_PATH_MAX + 16];
    char command[2 * SIM_HOST_PATH_MAX];

    (void)state;
    write_in(w, "a", "1");
    (void)snprintf(target, sizeof target, "%s/target", w->directory);
    sim_host_enter(w->hosts[1]);
    node_snapshot_now(sim_host_node(w->hosts[1]), target, on_snapshot, NULL);
    sim_host_settle(w->hosts[1]);
    sim_world_run_for(w, 2 * SIM_SECOND);
    assert_int_equal(sim_check_snapshot(w->check, target, false), 1);
    expect_silence(w->check);
    (void)snprintf(command, sizeof command,
                   "find '%s' -type f -not -path '*/m/*' -delete", target);
    assert_int_equal(system(command), 0);
    assert_int_equal(sim_check_snapshot(w->check, target, true), 0);
    expect_silence(w->check);
    assert_int_equal(sim_check_snapshot(w->check, target, false), 0);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", target);
    assert_int_equal(system(command), 0);
    end_world(w, SIM_CHECK_SNAPSHOT);
}

/* ---- floors and seals ---- */

/* Everybody has seen a key go, and the floor has taken it. */
static struct sim_world *make_floor(void)
{
    struct sim_world *w = make_world_of(FLOOR_HOSTS, FLOOR_MS);

    write_in(w, "a", "1");
    write_at(w, 0, OP_DEL, "a", "");
    sim_world_run_for(w, 20 * SIM_SECOND);
    expect_silence(w->check);
    for (unsigned h = 0; h < FLOOR_HOSTS; h++)
        assert_true(sim_model_state_taken(w->check->hosts[h].state) > 0);
    return w;
}

/* Behind the writer's back. */
static struct standing *standing_of(struct sim_world *w, unsigned host)
{
    const struct writer *writer = sim_host_writer(w->hosts[host]);

    assert_non_null(writer);
    return writer->standing;
}

static void look_at_standing(struct sim_world *w, unsigned host)
{
    w->check->hosts[host].control = true;
    check_standing(w->check, &w->check->hosts[host]);
}

/* A floor further than what all have acknowledged, one that is dated later,
 * and a member too few. */
static void test_floor(void **state)
{
    struct sim_world *w = make_floor();
    struct standing *s = standing_of(w, 1);

    (void)state;
    look_at_standing(w, 1);
    expect_silence(w->check);
    s->floor.rows[0].up_to++;
    look_at_standing(w, 1);
    end_world(w, SIM_CHECK_FLOOR);
    w = make_floor();
    standing_of(w, 2)->floor_time++;
    look_at_standing(w, 2);
    end_world(w, SIM_CHECK_FLOOR);
    w = make_floor();
    s = standing_of(w, 2);
    standing_member_remove(s, standing_member(s, 0));
    look_at_standing(w, 2);
    end_world(w, SIM_CHECK_FLOOR);
}

static void test_floor_back(void **state)
{
    struct sim_world *w = make_floor();

    (void)state;
    assert_true(w->check->hosts[1].floor.count > 0);
    w->check->hosts[1].floor.rows[0].up_to++;
    look_at_standing(w, 1);
    end_world(w, SIM_CHECK_FLOOR_BACK);
    w = make_floor();
    w->check->hosts[1].floor_time++;
    look_at_standing(w, 1);
    end_world(w, SIM_CHECK_FLOOR_BACK);
}

static bool is_fenced(struct sim_world *w, void *ctx)
{
    const struct check_host *h = &w->check->hosts[0];

    return sim_model_state_is_fenced(h->state, h->actor, *(uint32_t *)ctx,
                                     NULL);
}

static bool is_sealed(struct sim_world *w, void *ctx)
{
    return sim_model_state_is_sealed(w->check->hosts[0].state, *(uint32_t *)ctx,
                                     NULL);
}

/* The last host is out of reach, writes there what nobody hears of, and is
 * evicted. Returns that write. away: another one is, too, so that there is a
 * fence and no seal. */
static struct sim_model_event *evict_last(struct sim_world *w, bool away)
{
    const unsigned last = FLOOR_HOSTS - 1;
    struct sim_hosts victims = {{0}};
    struct check_host *h = &w->check->hosts[last];
    uint32_t actor = h->actor;

    sim_net_set_group(w->net, last, 1);
    if (away)
        sim_net_set_group(w->net, 1, 2);
    write_at(w, last, OP_PUT, "b", "1");
    sim_hosts_add(&victims, last);
    sim_world_evict(w, 0, &victims, 0);
    assert_true(sim_world_run_until(w, away ? is_fenced : is_sealed, &actor,
                                    60 * SIM_SECOND));
    assert_int_equal(is_sealed(w, &actor), !away);
    expect_silence(w->check);
    assert_int_equal(h->actor, actor);
    return sim_model_find(w->check->model, actor, h->seqs[actor]);
}

/* One event more than the seal lets in, and than the own fence does; and a
 * seal behind which somebody finds that it has too much. */
static void test_beyond_seal(void **state)
{
    struct sim_world *w = make_floor();
    struct sim_model_event *e = evict_last(w, false);

    (void)state;
    assert_non_null(e);
    check_apply(w->check, &w->check->hosts[0], e, 0);
    end_world(w, SIM_CHECK_SEALED);
    w = make_floor();
    e = evict_last(w, true);
    assert_non_null(e);
    check_apply(w->check, &w->check->hosts[0], e, 0);
    end_world(w, SIM_CHECK_SEALED);
    w = make_floor();
    e = evict_last(w, false);
    assert_non_null(e);
    look_at_standing(w, 0);
    expect_silence(w->check);
    w->check->hosts[0].seqs[e->actor]++;
    look_at_standing(w, 0);
    end_world(w, SIM_CHECK_SEALED);
}

/* Somebody would have superseded a value had no floor taken away what it read:
 * where the value is shown, it shows who has compacted. */
static void test_compaction(void **state)
{
    struct sim_world *w = make_floor();
    struct entry_id id = {.space = SPACE_REGISTER, .key = slice_of_string("b")};
    const struct sim_model_op *const *ops = NULL;
    struct sim_model *m = w->check->model;
    struct sim_model_view v;
    struct sim_model_op *o;

    (void)state;
    write_in(w, "b", "1");
    write_in(w, "c", "1");
    sim_world_run_for(w, 20 * SIM_SECOND);
    sim_check_quiescent(w->check, NULL);
    expect_silence(w->check);
    v = check_view_of(&w->check->hosts[0]);
    assert_int_equal(sim_model_standing(m, &v, sim_model_entry(m, &id), &ops),
                     1);
    o = (struct sim_model_op *)(uintptr_t)ops[0];
    id.key = slice_of_string("c");
    assert_int_equal(sim_model_standing(m, &v, sim_model_entry(m, &id), &ops),
                     1);
    assert_int_equal(o->hidden_count, 0);
    o->hidden = cm_alloc(sizeof(void *));
    assert_non_null(o->hidden);
    o->hidden[0] = (struct sim_model_op *)(uintptr_t)ops[0];
    o->hidden_count = o->hidden_capacity = 1;
    sim_check_quiescent(w->check, NULL);
    end_world(w, SIM_CHECK_COMPACTION);
}

/* Each was seen to be violated, those two by test_harm and test_update. */
static void test_all_fired(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SIM_CHECK_INVARIANTS; i++)
        if (!fired[i] && i != SIM_CHECK_FORK && i != SIM_CHECK_LEVEL &&
            i != SIM_CHECK_CONFIRMED)
            fail_msg("nothing makes %s fire",
                     sim_check_name((enum sim_check_invariant)i));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deps),
        cmocka_unit_test(test_supersedes),
        cmocka_unit_test(test_stamps),
        cmocka_unit_test(test_drift),
        cmocka_unit_test(test_restore),
        cmocka_unit_test(test_one_event),
        cmocka_unit_test(test_origin),
        cmocka_unit_test(test_causal_order),
        cmocka_unit_test(test_old_state),
        cmocka_unit_test(test_acknowledged_early),
        cmocka_unit_test(test_lost_commit_is_silent),
        cmocka_unit_test(test_revision_back),
        cmocka_unit_test(test_fold),
        cmocka_unit_test(test_roster),
        cmocka_unit_test(test_condition),
        cmocka_unit_test(test_revoked),
        cmocka_unit_test(test_transaction),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_convergence),
        cmocka_unit_test(test_waiting),
        cmocka_unit_test(test_completeness),
        cmocka_unit_test(test_refutation),
        cmocka_unit_test(test_false_deaths),
        cmocka_unit_test(test_counter),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_watch),
        cmocka_unit_test(test_store),
        cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_floor),
        cmocka_unit_test(test_floor_back),
        cmocka_unit_test(test_beyond_seal),
        cmocka_unit_test(test_compaction),
        cmocka_unit_test(test_all_fired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
