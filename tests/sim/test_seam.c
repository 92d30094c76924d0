/* Goal: the seam holds. Three whole nodes (writer, gossip, LMDB) over a
 * simulated clock, network and disk do the same thing, event by event,
 * whenever they start from the same seed; and what they do is right: no
 * acknowledged write is lost by a power cut, revoked keys stay revoked, all
 * replicas end alike.
 * Method: a mesh founded and joined as in production, 160 writes of every kind
 * from clients on all nodes, a partition that heals, a power cut in the middle
 * of a commit. Run twice in this process, and again in fresh ones with another
 * environment.
 *
 * SIM_SEED=N starts from that seed, SIM_SEEDS=N tries so many from there;
 * SIM_LOG=1 shows the nodes' own lines, SIM_TRACE=FILE writes every event. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crdt/base/alloc.h"
#include "crdt/entry.h"
#include "sim/world.h"
#include "tests/sim/run_fixture.h"

#define HOSTS 3
#define SEEDS 20
#define WRITES 160
#define ACKNOWLEDGED_MIN 100
#define FIRST_WRITE_US (1 * SIM_SECOND)
#define PARTITION_US (4 * SIM_SECOND)
#define POWER_CUT_US (6 * SIM_SECOND)
#define REBOOT_US (7500 * SIM_MS)
#define HEAL_US (10 * SIM_SECOND)
#define WRITING_US (14 * SIM_SECOND)
#define JOIN_LIMIT_US (60 * SIM_SECOND)
#define CONVERGE_LIMIT_US (180 * SIM_SECOND)
#define BURST 12 /* writes at the host that is about to lose its power */
#define KEYS 12
#define ELEMENTS 5
#define TEXT_SIZE 32
#define HASH_TEXT_SIZE (2 * HASH_SIZE + 1)

/* Alphabets of the workload; the number of a write picks. */
enum deed {
    DEED_UNIQUE = 0, /* a key of its own: must be there in the end */
    DEED_PUT,
    DEED_DEL,
    DEED_REVOKE,
    DEED_ADD,
    DEED_REMOVE,
    DEED_SET_REVOKE,
    DEED_TRANSACTION,
    DEED_CAS,
    DEEDS,
};

struct client {
    struct sim_event event;
    struct run *run;
    unsigned number;
    unsigned host;
    enum deed deed;
    bool acknowledged;
    int result;
    bool wrote;
    struct dot dot;
};

struct run {
    struct sim_world *world;
    uint64_t seed;
    uint64_t start_us;
    struct client clients[WRITES];
    unsigned refused[DEEDS]; /* condition false, revoked: as it should be */
    unsigned unanswered;
    unsigned not_asked; /* the host was down */
    struct sim_event faults[4];
    unsigned cut_host;
};

struct seam_outcome {
    struct hash chain;
    struct hash digest;
    struct sim_trace trace; /* owned */
    unsigned acknowledged;
    struct sim_disk_counters disk;
    struct sim_net_counters net;
};

static uint64_t draw(const struct run *r, uint64_t what, uint64_t number)
{
    return sim_fate_draw(&r->world->fate, SIM_FATE_WORKLOAD, what, number);
}

/* ---- the workload ---- */

static void unique_key(char ret_text[TEXT_SIZE], unsigned number)
{
    (void)snprintf(ret_text, TEXT_SIZE, "unique/%03u", number);
}

static void unique_value(char ret_text[TEXT_SIZE], unsigned number)
{
    (void)snprintf(ret_text, TEXT_SIZE, "value of %u", number);
}

static void add_op(struct intent *i, enum op_kind kind, const char *key,
                   const char *element, const char *value)
{
    const struct local_op op = {
        .kind = kind,
        .key = slice_of_string(key),
        .element = slice_of_string(element),
        .value = slice_of_string(value),
        .flags = kind == OP_PUT ? 7 : 0,
    };
    assert_int_equal(intent_add_op(i, &op), 0);
}

/* A compare-and-set on what this host's replica shows. */
static void add_cas(struct run *r, struct intent *i, unsigned host,
                    const char *key, const char *value)
{
    struct local_op op = {
        .kind = OP_PUT,
        .key = slice_of_string(key),
        .value = slice_of_string(value),
        .condition = CONDITION_ABSENT,
    };
    struct entry_id id = {.space = SPACE_REGISTER, .key = slice_of_string(key)};
    struct store_reader *reader = NULL;
    struct entry entry;

    struct node *n = sim_host_node(r->world->hosts[host]);
    entry_init(&entry);
    assert_int_equal(store_reader_begin(node_store(n), &reader), 0);
    int error = store_get(reader, &id, &entry, NULL);
    assert_true(error == 0 || error == CM_ERR_NOT_FOUND);
    struct resolution now = entry_resolve(&entry, 0);
    if (error == 0 && now.present) {
        op.condition = CONDITION_VERSION;
        op.version = now.winner->dot;
    }
    entry_release(&entry);
    store_reader_release(reader);
    assert_int_equal(intent_add_op(i, &op), 0);
}

static struct intent *make_intent(struct client *c)
{
    static const enum op_kind single[DEEDS] = {
        [DEED_PUT] = OP_PUT,           [DEED_DEL] = OP_DEL,
        [DEED_REVOKE] = OP_REVOKE,     [DEED_ADD] = OP_SET_ADD,
        [DEED_REMOVE] = OP_SET_REMOVE, [DEED_SET_REVOKE] = OP_SET_REVOKE,
    };
    struct run *r = c->run;
    uint64_t pick = draw(r, 2, c->number);
    char key[TEXT_SIZE];
    char element[TEXT_SIZE] = "";
    char value[TEXT_SIZE];

    struct intent *i = intent_new(INTENT_LOCAL);
    assert_non_null(i);
    assert_int_equal(intent_set_author(i, slice_of_string("client")), 0);
    (void)snprintf(key, sizeof key, "shared/%u", (unsigned)(pick % KEYS));
    (void)snprintf(value, sizeof value, "written by %u", c->number);
    switch (c->deed) {
    case DEED_UNIQUE:
        unique_key(key, c->number);
        unique_value(value, c->number);
        add_op(i, OP_PUT, key, "", value);
        break;
    case DEED_TRANSACTION:
        for (unsigned j = 0; j < 3; j++) {
            (void)snprintf(key, sizeof key, "txn/%u/%u", (unsigned)(pick % 4),
                           j);
            add_op(i, OP_PUT, key, "", value);
        }
        break;
    case DEED_CAS:
        add_cas(r, i, c->host, key, value);
        break;
    case DEED_REVOKE: /* few keys, lest everything is revoked soon */
        (void)snprintf(key, sizeof key, "shared/%u", (unsigned)(pick % 2));
        add_op(i, OP_REVOKE, key, "", "");
        break;
    case DEED_ADD:
    case DEED_REMOVE:
    case DEED_SET_REVOKE:
        (void)snprintf(key, sizeof key, "set/%u", (unsigned)(pick % 3));
        (void)snprintf(element, sizeof element, "e%u",
                       (unsigned)(pick / 3 % ELEMENTS));
        add_op(i, single[c->deed], key, element, "");
        break;
    default:
        add_op(i, single[c->deed], key, "", c->deed == DEED_PUT ? value : "");
        break;
    }
    return i;
}

static void write_done(void *ctx, const struct intent *i, bool answered)
{
    struct client *c = ctx;

    if (!answered) {
        c->run->unanswered++;
        return;
    }
    c->acknowledged = i->result == 0;
    c->result = i->result;
    c->wrote = i->wrote;
    c->dot = i->dot;
    if (i->result != 0)
        c->run->refused[c->deed]++;
    sim_sched_note(&c->run->world->sched, "client", c->host, c->number,
                   slice_of(&c->result, sizeof c->result));
}

static void client_run(void *context)
{
    struct client *c = context;
    struct sim_host *h = c->run->world->hosts[c->host];

    if (!sim_host_is_up(h)) {
        c->run->not_asked++;
        return;
    }
    int error = sim_host_write(h, make_intent(c), write_done, c);
    assert_int_equal(error, 0);
}

static void plan_clients(struct run *r)
{
    for (unsigned i = 0; i < WRITES; i++) {
        struct client *c = &r->clients[i];
        c->run = r;
        c->number = i;
        c->host = (unsigned)(draw(r, 0, i) % HOSTS);
        c->deed = (enum deed)(draw(r, 1, i) % DEEDS);
        uint64_t at =
            FIRST_WRITE_US + draw(r, 3, i) % (WRITING_US - FIRST_WRITE_US);
        if (i < BURST) { /* a commit is to be under way when the power goes */
            c->host = r->cut_host;
            c->deed = i % 3 == 0 ? DEED_TRANSACTION : DEED_UNIQUE;
            at = POWER_CUT_US - draw(r, 4, i) % 3000;
        }
        sim_event_init(&c->event, "write", c->host, client_run, c);
        sim_sched_at(&r->world->sched, &c->event, r->start_us + at);
    }
}

/* ---- the faults ---- */

static void fault_partition(void *context)
{
    struct run *r = context;
    unsigned alone = (unsigned)(draw(r, 5, 0) % HOSTS);

    sim_net_set_group(r->world->net, alone, 1);
}

static void fault_heal(void *context)
{
    struct run *r = context;
    sim_net_heal(r->world->net);
}

static void fault_power_cut(void *context)
{
    struct run *r = context;
    sim_world_power_cut(r->world, r->cut_host);
}

static void fault_reboot(void *context)
{
    struct run *r = context;
    struct cm_detail detail = {""};

    int error = sim_world_boot(r->world, r->cut_host, &detail);
    if (error != 0)
        print_error("host %u does not boot again: %s\n", r->cut_host,
                    detail.text);
    assert_int_equal(error, 0);
}

static void plan_faults(struct run *r)
{
    static const struct {
        const char *kind;
        sim_event_run run;
        uint64_t at_us;
    } plan[] = {
        {"partition", fault_partition, PARTITION_US},
        {"power-cut", fault_power_cut, POWER_CUT_US},
        {"reboot", fault_reboot, REBOOT_US},
        {"heal", fault_heal, HEAL_US},
    };

    for (size_t i = 0; i < sizeof plan / sizeof plan[0]; i++) {
        sim_event_init(&r->faults[i], plan[i].kind, r->cut_host, plan[i].run,
                       r);
        sim_sched_at(&r->world->sched, &r->faults[i],
                     r->start_us + plan[i].at_us);
    }
}

/* ---- what must hold ---- */

static bool host_ready(struct sim_world *w, void *ctx)
{
    const unsigned *host = ctx;
    struct node *n = sim_host_node(w->hosts[*host]);
    return n != NULL && node_is_ready(n);
}

static void bring_up(struct run *r)
{
    struct cm_detail detail = {""};

    assert_int_equal(sim_world_boot(r->world, 0, &detail), 0);
    for (unsigned i = 0; i < HOSTS; i++) {
        if (i > 0)
            sim_world_join(r->world, i, 0);
        bool ready =
            sim_world_run_until(r->world, host_ready, &i, JOIN_LIMIT_US);
        if (!ready && sim_host_is_up(r->world->hosts[i]))
            print_error(
                "host %u is not ready: %s\n", i,
                node_not_ready_reason(sim_host_node(r->world->hosts[i])));
        assert_true(ready);
    }
}

/* Each acknowledged write is covered by every replica's vector; the digests
 * say that all of them mean the same event by that name. */
static void check_acknowledged(struct run *r, struct seam_outcome *o)
{
    for (unsigned h = 0; h < HOSTS; h++) {
        struct store_reader *reader = NULL;
        struct vv vv;

        struct node *n = sim_host_node(r->world->hosts[h]);
        assert_int_equal(store_reader_begin(node_store(n), &reader), 0);
        vv_init(&vv);
        assert_int_equal(store_vv(reader, &vv), 0);
        for (unsigned i = 0; i < WRITES; i++) {
            const struct client *c = &r->clients[i];
            if (c->acknowledged && c->wrote && !vv_covers(&vv, &c->dot)) {
                print_error("host %u lost write %u of host %u\n", h, i,
                            c->host);
                fail();
            }
        }
        vv_release(&vv);
        store_reader_release(reader);
    }
    for (unsigned i = 0; i < WRITES; i++)
        o->acknowledged += r->clients[i].acknowledged;
}

/* Unique keys hold what was written, revoked ones show nothing. */
static void check_entries(struct run *r, unsigned host)
{
    struct store_reader *reader = NULL;
    struct entry entry;

    struct node *n = sim_host_node(r->world->hosts[host]);
    entry_init(&entry);
    assert_int_equal(store_reader_begin(node_store(n), &reader), 0);
    for (unsigned i = 0; i < WRITES; i++) {
        const struct client *c = &r->clients[i];
        char key[TEXT_SIZE];
        char value[TEXT_SIZE];
        struct entry_id id = {.space = SPACE_REGISTER};

        if (!c->acknowledged)
            continue;
        unique_key(key, i);
        unique_value(value, i);
        if (c->deed == DEED_REVOKE)
            (void)snprintf(key, sizeof key, "shared/%u",
                           (unsigned)(draw(r, 2, i) % 2));
        else if (c->deed != DEED_UNIQUE)
            continue;
        id.key = slice_of_string(key);
        assert_int_equal(store_get(reader, &id, &entry, NULL), 0);
        struct resolution now = entry_resolve(&entry, 0);
        assert_int_equal(now.present, c->deed == DEED_UNIQUE);
        if (c->deed == DEED_UNIQUE)
            assert_true(slice_equal(now.winner->value, slice_of_string(value)));
    }
    entry_release(&entry);
    store_reader_release(reader);
}

static void check_equal_states(struct run *r, struct seam_outcome *o)
{
    struct buffer first;

    assert_int_equal(sim_world_digest(r->world, 0, &o->digest), 0);
    assert_int_equal(sim_world_canonical(r->world, 0, &first), 0);
    for (unsigned i = 0; i < HOSTS; i++) {
        struct buffer here;
        assert_int_equal(sim_world_canonical(r->world, i, &here), 0);
        assert_true(slice_equal(buffer_slice(&first), buffer_slice(&here)));
        buffer_release(&here);
        assert_int_equal(sim_world_audit(r->world, i), 0);
        check_entries(r, i);
    }
    buffer_release(&first);
}

static void tell_repro(const struct run *r)
{
    for (unsigned i = 0; i < HOSTS; i++) {
        struct node_status status;
        struct node *n = sim_host_node(r->world->hosts[i]);
        if (n == NULL)
            continue;
        node_status_read(n, &status);
        print_error("host %u: ready %d, alive %zu, in sync %zu, revision "
                    "%" PRIu64 ", pending %zu\n",
                    i, status.ready, status.members_alive,
                    status.members_in_sync, status.revision,
                    status.pending_events);
    }
    print_error("REPRO SIM_SEED=%" PRIu64 " SIM_LOG=1 build/tests/sim/"
                "test_seam\n",
                r->seed);
}

static FILE *open_trace(void)
{
    const char *path = getenv("SIM_TRACE");
    return path == NULL ? NULL : fopen(path, "w");
}

static void run_world(uint64_t seed, struct seam_outcome *o)
{
    struct sim_world_options options = sim_world_default_options(seed, HOSTS);
    struct cm_detail detail = {""};

    memset(o, 0, sizeof *o);
    struct run *r = calloc(1, sizeof *r);
    assert_non_null(r);
    FILE *trace = open_trace();
    options.log = getenv("SIM_LOG") != NULL ? stderr : NULL;
    options.trace = trace;
    r->seed = seed;
    assert_int_equal(sim_world_create(&r->world, &options, &detail), 0);
    r->cut_host = (unsigned)(draw(r, 6, 0) % HOSTS);
    bring_up(r);
    r->start_us = r->world->sched.now_us;
    plan_clients(r);
    plan_faults(r);
    sim_world_run_for(r->world, WRITING_US);
    if (!sim_world_run_until(r->world, sim_world_converged, NULL,
                             CONVERGE_LIMIT_US)) {
        tell_repro(r);
        fail();
    }
    check_acknowledged(r, o);
    check_equal_states(r, o);
    sim_host_read_disk(r->world->hosts[r->cut_host], &o->disk);
    sim_net_read_counters(r->world->net, &o->net);
    if (options.log != NULL)
        print_message(
            "seed %" PRIu64 ": %u acknowledged, %u unanswered, %u "
            "not asked, %" PRIu64 " calls undone, %" PRIu64 " of %" PRIu64
            " unsynced sectors lost, %" PRIu64 " us, %" PRIu64 " events\n",
            seed, o->acknowledged, r->unanswered, r->not_asked,
            o->disk.calls_undone, o->disk.sectors_dropped,
            o->disk.sectors_dropped + o->disk.sectors_kept,
            r->world->sched.now_us - r->start_us, r->world->sched.trace.count);
    o->chain = r->world->sched.trace.chain;
    o->trace = r->world->sched.trace; /* moved */
    sim_trace_init(&r->world->sched.trace);
    sim_world_free(r->world);
    if (trace != NULL)
        (void)fclose(trace);
    free(r);
}

/* ---- the tests ---- */

static uint64_t first_seed(void)
{
    const char *text = getenv("SIM_SEED");
    return text == NULL ? 1 : strtoull(text, NULL, 0);
}

static void assert_same(const struct seam_outcome *a,
                        const struct seam_outcome *b)
{
    uint64_t at = sim_trace_difference(&a->trace, &b->trace);

    if (at != SIM_TRACE_SAME)
        print_error("the runs differ from event %" PRIu64 " on: run both "
                    "with SIM_TRACE=FILE and compare the files\n",
                    at);
    assert_true(at == SIM_TRACE_SAME);
    assert_true(hash_equal(&a->chain, &b->chain));
    assert_true(hash_equal(&a->digest, &b->digest));
}

static void test_same_seed_same_run(void **state)
{
    struct seam_outcome a;
    struct seam_outcome b;

    (void)state;
    run_world(first_seed(), &a);
    /* It was worth running: writes, faults, and their effects. */
    assert_true(a.acknowledged >= ACKNOWLEDGED_MIN);
    assert_int_equal(a.disk.power_cuts, 1);
    assert_true(a.net.cut > 0 && a.net.lost > 0 && a.net.duplicated > 0);
    assert_true(a.net.streams > 0 && a.net.stream_bytes > 0);
    run_world(first_seed(), &b);
    assert_same(&a, &b);
    sim_trace_release(&a.trace);
    sim_trace_release(&b.trace);
}

static void test_other_seed_other_run(void **state)
{
    struct seam_outcome a;
    struct seam_outcome b;

    (void)state;
    run_world(first_seed(), &a);
    run_world(first_seed() + 1, &b);
    assert_false(hash_equal(&a.chain, &b.chain));
    sim_trace_release(&a.trace);
    sim_trace_release(&b.trace);
}

/* Several seeds, so that the cut falls on other nodes and other calls. */
static void test_seeds_hold(void **state)
{
    uint64_t undone = 0;
    const char *text = getenv("SIM_SEEDS");
    uint64_t count = text == NULL ? SEEDS : strtoull(text, NULL, 0);

    (void)state;
    for (uint64_t seed = first_seed(); seed < first_seed() + count; seed++) {
        struct seam_outcome o;
        run_world(seed, &o);
        assert_true(o.acknowledged >= ACKNOWLEDGED_MIN);
        undone += o.disk.calls_undone + o.disk.sectors_dropped;
        sim_trace_release(&o.trace);
    }
    assert_true(undone > 0); /* some cut fell into a commit */
}

/* The chain of the same seed in a fresh process with this environment. */
static void run_elsewhere(char *const environment[],
                          char ret_text[HASH_TEXT_SIZE])
{
    char seed[32];

    (void)snprintf(seed, sizeof seed, "%" PRIu64, first_seed());
    char *const arguments[] = {(char *)"test_seam", (char *)"--hash", seed,
                               NULL};
    output_of_self(arguments, environment, ret_text, HASH_TEXT_SIZE);
}

static void test_environment_does_not_matter(void **state)
{
    static char padding[20000];
    char first[HASH_TEXT_SIZE];
    char second[HASH_TEXT_SIZE];
    char *const bare[] = {NULL};
    char *const other[] = {
        (char *)"MALLOC_PERTURB_=165",         (char *)"MALLOC_ARENA_MAX=1",
        (char *)"LC_ALL=tr_TR.UTF-8",          (char *)"LANG=de_DE.UTF-8",
        (char *)"TZ=Pacific/Kiritimati",       padding,
        (char *)"ASAN_OPTIONS=detect_leaks=0", NULL,
    };

    (void)state;
    (void)snprintf(padding, sizeof padding, "PADDING=%019900d", 0);
    run_elsewhere(bare, first);
    run_elsewhere(other, second);
    assert_string_equal(first, second);
}

/* A fresh process asked for one chain: prints it, and nothing else. */
static char *hash_wanted;

static void print_hash(void **state)
{
    struct seam_outcome o;
    char text[HASH_TEXT_SIZE];

    (void)state;
    run_world(strtoull(hash_wanted, NULL, 0), &o);
    hex_encode(text, slice_of(o.chain.bytes, HASH_SIZE));
    (void)fputs(text, stdout);
    (void)fflush(stdout);
    sim_trace_release(&o.trace);
    _exit(0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_seed_same_run),
        cmocka_unit_test(test_other_seed_other_run),
        cmocka_unit_test(test_seeds_hold),
        cmocka_unit_test(test_environment_does_not_matter),
    };

    if (argc == 3 && strcmp(argv[1], "--hash") == 0) {
        hash_wanted = argv[2];
        print_hash(NULL);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
