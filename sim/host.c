/* A whole node over simulated ports: see host.h. */
#include "sim/host_internal.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/heal_facts.h"
#include "node/heal_start.h"
#include "sim/check.h"
#include "sim/memory.h"

#define SIM_HOST_TEXT_MAX 512
#define WALL_OFFSET_MS_MAX 100 /* to both sides: within the drift allowed */

void sim_host_enter(struct sim_host *h)
{
    sim_entropy_use(&h->entropy);
    sim_disk_enter(h->disk);
    sim_objects_enter(h->objects);
    cm_alloc_fail_after(h->dying ? 0 : h->fail_after);
}

/* What runs from now on is not the host's. */
void sim_host_done(struct sim_host *h)
{
    uint64_t left = cm_alloc_fail_left();

    sim_disk_enter(NULL);
    sim_objects_enter(NULL);
    cm_alloc_fail_after(0);
    if (h->dying)
        return;
    if (h->fail_after > 0 && left == 0)
        sim_fault_happened(h->place.faults, SIM_DEED_MALLOC);
    h->fail_after = left;
}

/* ---- life ---- */

static void make_keys(struct sim_host *h)
{
    uint8_t seed[crypto_sign_SEEDBYTES];

    random_bytes_draw(&h->entropy, seed, sizeof seed);
    CHECK(crypto_sign_seed_keypair(h->public_key, h->secret_key, seed) == 0);
}

int sim_host_create(struct sim_host **ret_host, const struct sim_place *place,
                    unsigned number, const char *directory)
{
    CHECK(place->sync_us_min <= place->sync_us_max);
    /* Results are heard in turn. */
    CHECK(place->sync_us_min > SIM_HOST_DELIVER_US);
    CHECK(strlen(directory) < SIM_HOST_PATH_MAX);
    struct sim_host *h = sim_calloc(1, sizeof *h);
    h->place = *place;
    h->number = number;
    h->life = 1;
    h->level = place->format_level > 0 ? place->format_level : LEVEL_LAST;
    (void)snprintf(h->name, sizeof h->name, "n%u", number);
    (void)snprintf(h->directory, sizeof h->directory, "%s", directory);
    sim_entropy_stream(&h->entropy, place->seed, "sim sodium", number);
    sim_entropy_stream(&h->random, place->seed, "sim random port", number);
    make_keys(h);
    int64_t offset =
        (int64_t)sim_fate_range(place->fate, SIM_FATE_CLOCK, number, 0, 0,
                                2 * WALL_OFFSET_MS_MAX) -
        WALL_OFFSET_MS_MAX;
    sim_clock_init(&h->clock, place->sched, offset);
    sim_host_threads_init(h);
    int error =
        sim_disk_create(&h->disk, directory, number, place->fate, place->sched);
    if (error != 0) {
        sim_free(h);
        return error;
    }
    sim_disk_count(h->disk, place->faults);
    sim_objects_create(&h->objects, place->object_log, number);
    *ret_host = h;
    return 0;
}

int sim_host_initialise(struct sim_host *h,
                        const struct store_identity *identity,
                        const struct replacement *state,
                        struct cm_detail *detail)
{
    struct store *s = NULL;
    struct writer *w = NULL;

    CHECK(h->store == NULL);
    sim_host_enter(h);
    int error = store_open(&s, h->directory, SIM_HOST_MAP_SIZE, detail);
    if (error != 0)
        return error;
    error = writer_initialise(s, identity, detail);
    if (error == 0 && state != NULL)
        error = writer_open(&w, s, h->secret_key, detail);
    if (error == 0 && state != NULL)
        error = writer_replace(w, state, 0, detail);
    if (w != NULL)
        writer_close(w);
    store_close(s);
    sim_host_done(h);
    return error;
}

static int meta_exists(struct store *s, const char *name, bool *ret_exists)
{
    struct store_reader *r = NULL;

    int error = store_reader_begin(s, &r);
    if (error != 0)
        return error;
    *ret_exists = store_has_meta(r, name);
    store_reader_release(r);
    return 0;
}

static void close_all(struct sim_host *h)
{
    node_free(h->node);
    h->node = NULL;
    if (h->writer != NULL)
        writer_close(h->writer);
    h->writer = NULL;
    if (h->store != NULL)
        store_close(h->store);
    h->store = NULL;
}

uint32_t sim_host_level(const struct sim_host *h)
{
    return h->level;
}

void sim_host_set_level(struct sim_host *h, uint32_t level)
{
    CHECK(level >= LEVEL_FIRST && level <= LEVEL_LAST);
    h->level = level;
}

static int open_writer(struct sim_host *h, struct commit_result **ret_first,
                       struct cm_detail *detail)
{
    int error = writer_open(&h->writer, h->store, h->secret_key, detail);
    if (error == 0)
        error = writer_limit_level(h->writer, h->level, detail);
    if (error != 0)
        return error;
    return writer_snapshot(h->writer, ret_first);
}

static int start_node(struct sim_host *h, const char *token, bool ready,
                      struct commit_result *first, struct cm_detail *detail)
{
    const struct node_ports ports = sim_host_ports(h);
    struct node_config config = {
        .store = h->store,
        .spool_dir = h->directory,
        .name = h->name,
        .address = sim_net_address(h->number),
        .join_token = ready ? NULL : token,
        .renew_token = ready ? token : NULL,
        .probe_interval_ms = h->place.probe_interval_ms,
        .floor_interval_ms = h->place.floor_interval_ms,
        .snapshot_to = h->place.targets,
        .snapshot_to_count =
            h->number < h->place.uploaders ? h->place.targets_count : 0,
        .snapshot_delta_ms = h->place.delta_ms,
        .snapshot_drill_ms = h->place.drill_ms,
        .scrub_interval_ms = h->place.scrub_interval_ms,
        .format_level = h->level,
        /* Cuts here are small: every other host stages them all the same. */
        .cut_stage_entries = h->number % 2 == 0 ? 1 : UINT64_MAX,
    };
    char facts[SIM_HOST_PATH_MAX + sizeof HEAL_FACTS_NAME];

    if (h->place.scrub_interval_ms > 0) {
        (void)snprintf(facts, sizeof facts, "%s/" HEAL_FACTS_NAME,
                       h->directory);
        config.facts_path = facts;
    }

    memcpy(config.sign_secret_key, h->secret_key, sizeof h->secret_key);
    memcpy(config.host, h->fingerprint, sizeof h->fingerprint);
    sim_net_set_up(h->place.net, h->number, true);
    int error = node_create(&h->node, &config, &ports, first, detail);
    sodium_memzero(&config, sizeof config);
    if (error != 0)
        sim_net_set_up(h->place.net, h->number, false);
    return error;
}

/* first: NULL in a joiner without identity. */
static void report_boot(struct sim_host *h, const struct commit_result *first)
{
    struct incarnation i = {{0}};

    if (first != NULL)
        i = writer_incarnation(h->writer);
    sim_check_on_boot(h->place.check, h->number, first != NULL ? &i : NULL,
                      first);
}

/* Gives the dying node what it waits for; writes fail, nothing is sent. */
static void drain_dying(struct sim_host *h)
{
    bool more = true;

    while (more) {
        more = false;
        while (h->queue != NULL) {
            h->batch = sim_host_take_batch(h);
            struct commit_result *r = sim_host_commit_batch(h);
            CHECK(r != NULL);
            sim_host_enter(h);
            node_on_commit(h->node, r);
            more = true;
        }
        for (unsigned i = 0; i < WORK_LANES; i++) {
            struct lane *l = &h->lanes[i];
            while (l->first != NULL) {
                while (!l->finished)
                    l->finished = !l->first->step(l->first);
                node_on_work(h->node, sim_host_pop_work(l));
                more = true;
            }
        }
    }
}

static int read_store(struct sim_host *h, bool *ret_ready,
                      struct commit_result **ret_first,
                      struct cm_detail *detail)
{
    bool has_identity = false;

    int error = store_open(&h->store, h->directory, SIM_HOST_MAP_SIZE, detail);
    if (error == 0)
        error = meta_exists(h->store, META_INCARNATION, &has_identity);
    if (error == 0)
        error = meta_exists(h->store, META_READY, ret_ready);
    if (error == 0 && has_identity)
        error = open_writer(h, ret_first, detail);
    return error;
}

/* As the daemon does: a store that cannot be read, or is not there any more,
 * is set aside, and the node joins anew by the copy of its facts. */
static int open_anew(struct sim_host *h, struct cm_detail *detail)
{
    struct slice host = slice_of(h->fingerprint, sizeof h->fingerprint);
    struct cm_detail why = *detail;
    char text[SIM_HOST_TEXT_MAX] = "";

    if (why.text[0] == 0)
        (void)snprintf(why.text, sizeof why.text, "data.mdb cannot be read");
    if (h->writer != NULL)
        writer_close(h->writer);
    h->writer = NULL;
    if (h->store != NULL)
        store_close(h->store);
    h->store = NULL;
    int error = heal_recover(h->directory, SIM_HOST_MAP_SIZE,
                             sim_clock_wall_ms(&h->clock), h->public_key, host,
                             why.text, text, sizeof text, detail);
    if (error != 0)
        return error;
    CM_MARK("host: a store was set aside");
    sim_host_log(h, 'E', text);
    sim_check_on_rebuild(h->place.check, h->number);
    return 0;
}

static int open_all(struct sim_host *h, const char *token,
                    struct cm_detail *detail)
{
    struct commit_result *first = NULL;
    bool ready = false;

    int error = heal_start(h->directory, SIM_HOST_MAP_SIZE, detail);
    if (error == 0)
        error = read_store(h, &ready, &first, detail);
    if (h->place.scrub_interval_ms > 0 &&
        (error == CM_ERR_DAMAGED ||
         (error == 0 && first == NULL && token == NULL)) &&
        heal_facts_exist(h->directory)) {
        if (first != NULL)
            commit_result_free(first);
        first = NULL;
        ready = false;
        error = open_anew(h, detail);
        if (error == 0)
            error = read_store(h, &ready, &first, detail);
    }
    if (error == 0)
        report_boot(h, first);
    if (error == 0)
        error = start_node(h, token, ready, first, detail);
    if (first != NULL)
        commit_result_free(first);
    if (error == 0)
        sim_sched_note(h->place.sched, "boot", h->number, h->writer != NULL,
                       slice_of(NULL, 0));
    return error;
}

int sim_host_boot(struct sim_host *h, const char *token,
                  struct cm_detail *detail)
{
    CHECK(h->node == NULL && h->queue == NULL && h->batch == NULL);
    sim_clock_boot(&h->clock);
    h->broken = false;
    sim_host_enter(h);
    int error = open_all(h, token, detail);
    if (error == 0) {
        h->up_since_us = h->place.sched->now_us;
        sim_host_settle(h);
        return 0;
    }
    sim_sched_note(h->place.sched, "boot-failed", h->number, (uint64_t)-error,
                   slice_of(NULL, 0));
    sim_check_on_power_cut(h->place.check, h->number);
    h->dying = true; /* whatever the node began is given back to it */
    sim_net_set_up(h->place.net, h->number, false);
    sim_host_threads_cancel(h);
    if (h->node != NULL)
        drain_dying(h);
    close_all(h);
    sim_disk_revive(h->disk);
    h->dying = false;
    sim_host_done(h);
    return error;
}

/* A joiner that got its certificate is given a store of its own. */
static void give_identity(struct sim_host *h)
{
    struct store_identity identity;
    struct cm_detail detail = {""};
    struct commit_result *first = NULL;

    if (h->dying || h->broken || !node_wants_identity(h->node, &identity))
        return;
    CHECK(h->writer == NULL);
    int error = writer_initialise(h->store, &identity, &detail);
    if (error == 0)
        error = open_writer(h, &first, &detail);
    if (error != 0) { /* the process ends with this error */
        sim_host_log(h, 'E', detail.text);
        h->broken = true;
        return;
    }
    sim_sched_note(h->place.sched, "identity", h->number, 0,
                   slice_of(identity.incarnation.bytes, INCARNATION_SIZE));
    report_boot(h, first);
    node_set_identity(h->node, first);
}

void sim_host_settle(struct sim_host *h)
{
    give_identity(h);
    sim_host_done(h);
}

bool sim_host_is_broken(const struct sim_host *h)
{
    return h->node != NULL && (h->broken || node_has_failed(h->node));
}

enum death { DEATH_POWER = 1, DEATH_CRASH, DEATH_STOP };

static void die(struct sim_host *h, enum death death)
{
    CHECK(h->node != NULL);
    bool failed = node_has_failed(h->node);

    sim_check_on_power_cut(h->place.check, h->number);
    sim_objects_set_dead(h->objects, true);
    h->dying = true;
    h->up_us += h->place.sched->now_us - h->up_since_us;
    sim_host_enter(h);
    if (death == DEATH_POWER)
        sim_net_set_up(h->place.net, h->number, false);
    else
        sim_net_kill(h->place.net, h->number);
    sim_host_threads_cancel(h);
    if (h->result != NULL)
        sim_host_deliver_result(h);
    if (h->batch != NULL) { /* the end falls into this commit */
        if (death != DEATH_STOP)
            sim_disk_open_window(h->disk);
        h->result = sim_host_commit_batch(h);
        CHECK(h->result != NULL);
        sim_host_deliver_result(h);
    }
    if (death != DEATH_STOP)
        sim_disk_fail(h->disk);
    sim_host_enter(h);
    drain_dying(h);
    close_all(h);
    if (death == DEATH_STOP && !failed)
        heal_end(h->directory);
    if (death == DEATH_POWER)
        sim_disk_power_cut(h->disk);
    else
        sim_disk_kill(h->disk);
    if (death == DEATH_POWER && sim_disk_has_lied(h->disk))
        sim_check_on_lie(h->place.check, h->number, sim_disk_is_torn(h->disk));
    sim_host_done(h);
    sim_objects_set_dead(h->objects, false);
    h->dying = false;
    h->fail_after = 0;
    sim_host_pause(h, 0);
}

void sim_host_power_cut(struct sim_host *h)
{
    sim_sched_note(h->place.sched, "power-cut", h->number, 0,
                   slice_of(NULL, 0));
    die(h, DEATH_POWER);
}

void sim_host_crash(struct sim_host *h)
{
    sim_sched_note(h->place.sched, "crash", h->number, 0, slice_of(NULL, 0));
    die(h, DEATH_CRASH);
}

void sim_host_leave(struct sim_host *h)
{
    CHECK(h->node != NULL);
    sim_host_enter(h);
    node_leave(h->node);
    sim_host_settle(h);
}

void sim_host_stop(struct sim_host *h)
{
    sim_sched_note(h->place.sched, "stop", h->number, 0, slice_of(NULL, 0));
    die(h, DEATH_STOP);
}

void sim_host_wipe(struct sim_host *h)
{
    CHECK(h->node == NULL);
    sim_check_on_wipe(h->place.check, h->number);
    sim_disk_wipe(h->disk);
    h->life++;
    memset(h->fingerprint, 0, sizeof h->fingerprint);
    (void)snprintf(h->name, sizeof h->name, "n%u-%u", h->number, h->life);
    make_keys(h);
    sim_sched_note(h->place.sched, "wipe", h->number, h->life,
                   slice_of(h->public_key, sizeof h->public_key));
}

/* ---- faults that stay ---- */

void sim_host_pause(struct sim_host *h, uint64_t until_us)
{
    struct sim_sched *s = h->place.sched;
    struct sim_event *events[4 + WORK_LANES] = {&h->timer, &h->gather,
                                                &h->commit, &h->deliver};
    uint64_t before = h->hold_until_us;

    for (unsigned i = 0; i < WORK_LANES; i++)
        events[4 + i] = &h->lanes[i].event;
    h->hold_until_us = until_us;
    /* What had been put off goes on at once. */
    for (unsigned i = 0; i < 4 + WORK_LANES && until_us < before; i++)
        if (events[i]->place != 0 && events[i]->at_us == before)
            sim_sched_at(s, events[i], s->now_us);
    sim_net_hold(h->place.net, h->number, until_us);
}

void sim_host_set_slow(struct sim_host *h, uint64_t all_us, uint64_t disk_us)
{
    h->slow_us = all_us;
    h->disk_slow_us = disk_us;
}

void sim_host_fail_allocation(struct sim_host *h, uint64_t n)
{
    CHECK(h != NULL);
    h->fail_after = n;
}

struct sim_disk *sim_host_disk(struct sim_host *h)
{
    return h->disk;
}

struct sim_objects *sim_host_objects(struct sim_host *h)
{
    return h->objects;
}

struct sim_clock *sim_host_clock(struct sim_host *h)
{
    return &h->clock;
}

void sim_host_clock_changed(struct sim_host *h)
{
    if (h->timer.place != 0)
        sim_host_arm(h, h->deadline_ms);
}

const uint8_t *sim_host_secret_key(const struct sim_host *h)
{
    return h->secret_key;
}

void sim_host_set_check(struct sim_host *h, struct sim_check *check)
{
    h->place.check = check;
}

void sim_host_free(struct sim_host *h)
{
    if (h == NULL)
        return;
    if (h->node != NULL)
        sim_host_power_cut(h);
    sim_disk_free(h->disk);
    sim_objects_free(h->objects);
    sodium_memzero(h->secret_key, sizeof h->secret_key);
    sim_free(h);
}

/* ---- clients ---- */

struct client_write {
    struct sim_host *host;
    sim_write_done done;
    void *ctx;
};

static void client_done(void *context, struct intent *i)
{
    struct client_write *w = context;
    uint64_t left = cm_alloc_fail_left();
    bool dead = w->host->dying || sim_disk_is_doomed(w->host->disk);

    cm_alloc_fail_after(0); /* the client is no part of the host */
    sim_check_on_write(w->host->place.check, w->host->number, i, !dead);
    w->done(w->ctx, i, !dead);
    cm_alloc_fail_after(left);
    intent_free(i);
    sim_free(w);
}

int sim_host_write(struct sim_host *h, struct intent *i, sim_write_done done,
                   void *ctx)
{
    CHECK(done != NULL && i->done == NULL);
    if (h->node == NULL) {
        intent_free(i);
        return CM_ERR_CLOSED;
    }
    struct client_write *w = sim_alloc(sizeof *w);
    *w = (struct client_write){.host = h, .done = done, .ctx = ctx};
    i->done = client_done;
    i->context = w;
    sim_host_enter(h);
    int error = node_submit(h->node, i);
    if (error == 0)
        sim_check_on_ask(h->place.check, h->number);
    sim_host_done(h);
    if (error != 0) {
        intent_free(i);
        sim_free(w);
    }
    return error;
}

bool sim_host_is_up(const struct sim_host *h)
{
    return h->node != NULL;
}

uint64_t sim_host_up_us(const struct sim_host *h)
{
    uint64_t now = h->node != NULL ? h->place.sched->now_us : h->up_since_us;

    return h->up_us + (now - h->up_since_us);
}

struct node *sim_host_node(struct sim_host *h)
{
    return h->node;
}

struct store *sim_host_store(struct sim_host *h)
{
    return h->store;
}

const struct writer *sim_host_writer(const struct sim_host *h)
{
    return h->writer;
}

const uint8_t *sim_host_public_key(const struct sim_host *h)
{
    return h->public_key;
}

const char *sim_host_name(const struct sim_host *h)
{
    return h->name;
}

void sim_host_read_disk(const struct sim_host *h,
                        struct sim_disk_counters *ret_counters)
{
    sim_disk_read_counters(h->disk, ret_counters);
}

uint64_t sim_host_wall_ms(const struct sim_host *h)
{
    return sim_clock_wall_ms(&h->clock);
}
