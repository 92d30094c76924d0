/* A whole node over simulated ports: see host.h. */
#include "sim/host_internal.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "sim/check.h"
#include "sim/memory.h"

#define WALL_OFFSET_MS_MAX 100 /* to both sides: within the drift allowed */
#define GATHER_US 20           /* from the first intent to the batch */
#define DELIVER_US 30          /* from the commit to the node's hearing of it */
#define STEP_US_MIN 20
#define STEP_US_MAX 200
#define LOG_LINE_MAX 1024  /* folded into the trace */
#define NO_MEMORY_US 10000 /* the writer tries again after this */

void sim_host_enter(struct sim_host *h)
{
    sim_entropy_use(&h->entropy);
    sim_disk_enter(h->disk);
    sim_objects_enter(h->objects);
    cm_alloc_fail_after(h->dying ? 0 : h->fail_after);
}

/* What runs from now on is not the host's. */
static void host_leave(struct sim_host *h)
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

/* A stopped process does nothing; e comes when it goes on. */
static bool is_held(struct sim_host *h, struct sim_event *e)
{
    if (h->place.sched->now_us >= h->hold_until_us)
        return false;
    sim_sched_at(h->place.sched, e, h->hold_until_us);
    return true;
}

/* ---- ports ---- */

static uint64_t port_mono_ms(void *ctx)
{
    const struct sim_host *h = ctx;
    return sim_clock_mono_ms(&h->clock);
}

static uint64_t port_wall_ms(void *ctx)
{
    const struct sim_host *h = ctx;
    return sim_clock_wall_ms(&h->clock);
}

static void port_fill(void *ctx, void *ret_bytes, size_t size)
{
    struct sim_host *h = ctx;
    random_bytes_draw(&h->random, ret_bytes, size);
}

static void port_arm(void *ctx, uint64_t deadline_ms)
{
    struct sim_host *h = ctx;
    uint64_t at = sim_clock_when_us(&h->clock, deadline_ms);

    h->deadline_ms = deadline_ms;
    if (h->dying || at == UINT64_MAX)
        sim_sched_cancel(h->place.sched, &h->timer);
    else if (h->timer.place == 0 || h->timer.at_us != at)
        sim_sched_at(h->place.sched, &h->timer, at);
}

static void port_send(void *ctx, const struct address *to, struct slice packet)
{
    struct sim_host *h = ctx;
    sim_check_on_send(h->place.check, h->number, packet.size, true);
    if (!h->dying)
        sim_net_send(h->place.net, h->number, to, packet);
}

static void port_connect(void *ctx, uint64_t stream, const struct address *to)
{
    struct sim_host *h = ctx;
    if (!h->dying)
        sim_net_connect(h->place.net, h->number, stream, to);
}

static void port_write(void *ctx, uint64_t stream, struct slice bytes)
{
    struct sim_host *h = ctx;
    sim_check_on_send(h->place.check, h->number, bytes.size, false);
    if (!h->dying)
        sim_net_write(h->place.net, h->number, stream, bytes);
}

static void port_close(void *ctx, uint64_t stream)
{
    struct sim_host *h = ctx;
    if (!h->dying)
        sim_net_close(h->place.net, h->number, stream);
}

static void port_pause(void *ctx, uint64_t stream, bool paused)
{
    struct sim_host *h = ctx;
    if (!h->dying)
        sim_net_pause(h->place.net, h->number, stream, paused);
}

static void set_gathering(struct sim_host *h)
{
    if (h->batch == NULL && !h->dying && h->queue != NULL &&
        h->gather.place == 0)
        sim_sched_after(h->place.sched, &h->gather, GATHER_US);
}

static int port_submit(void *ctx, struct intent *intent)
{
    struct sim_host *h = ctx;
    size_t size = intent_size(intent);

    if (h->writer == NULL)
        return CM_ERR_NOT_READY;
    if (h->dying)
        return CM_ERR_CLOSED;
    if (h->queue_count >= INTENT_QUEUE_MAX ||
        h->queue_bytes + size > INTENT_QUEUE_BYTES_MAX)
        return CM_ERR_BUSY;
    intent->next = NULL;
    *h->queue_last = intent;
    h->queue_last = &intent->next;
    h->queue_count++;
    h->queue_bytes += size;
    set_gathering(h);
    return 0;
}

static void set_stepping(struct lane *l)
{
    struct sim_host *h = l->host;

    if (h->dying || l->first == NULL || l->event.place != 0)
        return;
    uint64_t delay = sim_fate_range(h->place.fate, SIM_FATE_WORK_TIME,
                                    (uint64_t)h->number << 8 | l->number,
                                    l->steps++, STEP_US_MIN, STEP_US_MAX);
    if (h->slow_us > 0)
        sim_fault_happened(h->place.faults, SIM_DEED_SLOW);
    delay += h->slow_us + l->waits_us;
    l->waits_us = 0;
    sim_sched_after(h->place.sched, &l->event, delay);
}

static void port_work(void *ctx, struct work *w)
{
    struct sim_host *h = ctx;

    CHECK(w->lane < WORK_LANES);
    struct lane *l = &h->lanes[w->lane];
    w->next = NULL;
    *l->last = w;
    l->last = &w->next;
    set_stepping(l);
}

/* The directory's name differs from run to run: the trace says "@" instead. */
static void note_line(struct sim_host *h, char level, const char *text)
{
    const char *end = strrchr(h->directory, '/');
    size_t length = end != NULL ? (size_t)(end - h->directory) : 0;
    char line[LOG_LINE_MAX];
    size_t size = 0;

    while (*text != 0 && size < sizeof line) {
        if (*text == '/' && length > 0 &&
            strncmp(text, h->directory, length) == 0) {
            line[size++] = '@';
            text += length;
        } else {
            line[size++] = *text++;
        }
    }
    sim_sched_note(h->place.sched, "log", h->number, (uint64_t)level,
                   slice_of(line, size));
}

static void port_log(void *ctx, char level, const char *text)
{
    struct sim_host *h = ctx;
    const struct sim_place *p = &h->place;

    note_line(h, level, text);
    if (p->log != NULL)
        (void)fprintf(p->log, "%10" PRIu64 " us %s %c%s %s\n", p->sched->now_us,
                      h->name, level, h->dying ? " (dying)" : "", text);
}

static const struct clock_ops clock_port = {
    .mono_ms = port_mono_ms,
    .wall_ms = port_wall_ms,
};
static const struct random_ops random_port = {.fill = port_fill};
static const struct timer_ops timer_port = {.arm = port_arm};
static const struct datagram_ops datagram_port = {.send = port_send};
static const struct stream_ops stream_port = {
    .connect = port_connect,
    .write = port_write,
    .close = port_close,
    .pause = port_pause,
};
static const struct writer_ops writer_port = {.submit = port_submit};
static const struct work_ops work_port = {.submit = port_work};
static const struct log_ops log_port = {.line = port_log};

/* ---- the writer's thread and the workers, in virtual time ---- */

static struct intent *take_batch(struct sim_host *h)
{
    struct intent *first = h->queue;
    struct intent **last = &h->queue;
    size_t count = 0;

    while (*last != NULL && count < WRITER_BATCH_MAX) {
        h->queue_bytes -= intent_size(*last);
        last = &(*last)->next;
        count++;
    }
    CHECK(count <= h->queue_count);
    h->queue_count -= count;
    h->queue = *last;
    *last = NULL;
    if (h->queue == NULL)
        h->queue_last = &h->queue;
    return first;
}

static void on_gather(void *context)
{
    struct sim_host *h = context;

    if (is_held(h, &h->gather))
        return;
    CHECK(h->batch == NULL && h->queue != NULL);
    h->batch = take_batch(h);
    uint64_t delay = sim_fate_range(h->place.fate, SIM_FATE_SYNC_TIME,
                                    h->number, h->batches++,
                                    h->place.sync_us_min, h->place.sync_us_max);
    if (h->slow_us > 0)
        sim_fault_happened(h->place.faults, SIM_DEED_SLOW);
    if (h->disk_slow_us > 0)
        sim_fault_happened(h->place.faults, SIM_DEED_DISK_SLOW);
    delay += h->slow_us + h->disk_slow_us;
    sim_sched_after(h->place.sched, &h->commit, delay);
}

/* NULL when memory is short; then nothing has happened. */
static struct commit_result *commit_batch(struct sim_host *h)
{
    struct incarnation self;

    sim_host_enter(h);
    struct commit_result *r =
        writer_commit(h->writer, h->batch, sim_clock_wall_ms(&h->clock));
    host_leave(h);
    if (r == NULL)
        return NULL;
    h->batch = NULL;
    self = writer_incarnation(h->writer); /* the commit may have changed it */
    sim_check_on_identity(h->place.check, h->number, &self);
    sim_check_on_commit(h->place.check, h->number, r, sim_host_wall_ms(h));
    sim_sched_note(h->place.sched, "commit", h->number, r->revision,
                   slice_of(r->digest.bytes, HASH_SIZE));
    return r;
}

static void on_commit(void *context)
{
    struct sim_host *h = context;

    if (is_held(h, &h->commit))
        return;
    CHECK(h->batch != NULL && h->result == NULL);
    h->result = commit_batch(h);
    if (h->result == NULL) {
        sim_sched_after(h->place.sched, &h->commit, NO_MEMORY_US);
        return;
    }
    sim_sched_after(h->place.sched, &h->deliver, DELIVER_US);
    set_gathering(h);
}

static void deliver_result(struct sim_host *h)
{
    struct commit_result *r = h->result;

    CHECK(r != NULL);
    h->result = NULL;
    sim_host_enter(h);
    node_on_commit(h->node, r);
    sim_host_settle(h);
}

static void on_deliver(void *context)
{
    struct sim_host *h = context;

    if (!is_held(h, &h->deliver))
        deliver_result(h);
}

static struct work *pop_work(struct lane *l)
{
    struct work *w = l->first;

    l->first = w->next;
    if (l->first == NULL)
        l->last = &l->first;
    l->finished = false;
    return w;
}

static void on_step(void *context)
{
    struct lane *l = context;
    struct sim_host *h = l->host;

    CHECK(l->first != NULL);
    if (is_held(h, &l->event))
        return;
    sim_host_enter(h);
    if (!l->finished) {
        l->finished = !l->first->step(l->first);
        l->waits_us = sim_objects_take_wait_us(h->objects);
        host_leave(h);
    } else {
        struct work *w = pop_work(l);
        node_on_work(h->node, w);
        sim_host_settle(h);
    }
    set_stepping(l);
}

static void on_timer(void *context)
{
    struct sim_host *h = context;

    if (is_held(h, &h->timer))
        return;
    sim_host_enter(h);
    node_on_timer(h->node);
    sim_host_settle(h);
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
    CHECK(place->sync_us_min > DELIVER_US); /* results are heard in turn */
    CHECK(strlen(directory) < SIM_HOST_PATH_MAX);
    struct sim_host *h = sim_calloc(1, sizeof *h);
    h->place = *place;
    h->number = number;
    h->life = 1;
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
    h->queue_last = &h->queue;
    sim_event_init(&h->timer, "timer", number, on_timer, h);
    sim_event_init(&h->gather, "gather", number, on_gather, h);
    sim_event_init(&h->commit, "sync", number, on_commit, h);
    sim_event_init(&h->deliver, "result", number, on_deliver, h);
    for (unsigned i = 0; i < WORK_LANES; i++) {
        struct lane *l = &h->lanes[i];
        l->last = &l->first;
        l->host = h;
        l->number = i;
        sim_event_init(&l->event, "work", number, on_step, l);
    }
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
    host_leave(h);
    return error;
}

static int meta_exists(struct store *s, const char *name, bool *ret_exists)
{
    struct store_reader *r = NULL;
    struct slice value;

    int error = store_reader_begin(s, &r);
    if (error != 0)
        return error;
    error = store_meta(r, name, &value);
    store_reader_release(r);
    if (error != 0 && error != CM_ERR_NOT_FOUND)
        return error;
    *ret_exists = error == 0;
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

static int open_writer(struct sim_host *h, struct commit_result **ret_first,
                       struct cm_detail *detail)
{
    int error = writer_open(&h->writer, h->store, h->secret_key, detail);
    if (error != 0)
        return error;
    return writer_snapshot(h->writer, ret_first);
}

static int start_node(struct sim_host *h, const char *token,
                      struct commit_result *first, struct cm_detail *detail)
{
    const struct node_ports ports = {
        .ctx = h,
        .clock = &clock_port,
        .random = &random_port,
        .timer = &timer_port,
        .datagram = &datagram_port,
        .stream = &stream_port,
        .writer = &writer_port,
        .work = &work_port,
        .log = &log_port,
    };
    struct node_config config = {
        .store = h->store,
        .spool_dir = h->directory,
        .name = h->name,
        .address = sim_net_address(h->number),
        .join_token = token,
        .probe_interval_ms = h->place.probe_interval_ms,
        .floor_interval_ms = h->place.floor_interval_ms,
    };

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

static void cancel_all(struct sim_host *h)
{
    struct sim_sched *s = h->place.sched;

    sim_sched_cancel(s, &h->timer);
    sim_sched_cancel(s, &h->gather);
    sim_sched_cancel(s, &h->commit);
    sim_sched_cancel(s, &h->deliver);
    for (unsigned i = 0; i < WORK_LANES; i++)
        sim_sched_cancel(s, &h->lanes[i].event);
}

/* Gives the dying node what it waits for; writes fail, nothing is sent. */
static void drain_dying(struct sim_host *h)
{
    bool more = true;

    while (more) {
        more = false;
        while (h->queue != NULL) {
            h->batch = take_batch(h);
            struct commit_result *r = commit_batch(h);
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
                node_on_work(h->node, pop_work(l));
                more = true;
            }
        }
    }
}

static int open_all(struct sim_host *h, const char *token,
                    struct cm_detail *detail)
{
    struct commit_result *first = NULL;
    bool has_identity = false;
    bool ready = false;

    int error = store_open(&h->store, h->directory, SIM_HOST_MAP_SIZE, detail);
    if (error == 0)
        error = meta_exists(h->store, META_INCARNATION, &has_identity);
    if (error == 0)
        error = meta_exists(h->store, META_READY, &ready);
    if (error == 0 && has_identity)
        error = open_writer(h, &first, detail);
    if (error == 0)
        report_boot(h, first);
    if (error == 0)
        error = start_node(h, ready ? NULL : token, first, detail);
    if (first != NULL)
        commit_result_free(first);
    if (error == 0)
        sim_sched_note(h->place.sched, "boot", h->number, has_identity,
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
    cancel_all(h);
    if (h->node != NULL)
        drain_dying(h);
    close_all(h);
    h->dying = false;
    host_leave(h);
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
        port_log(h, 'E', detail.text);
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
    host_leave(h);
}

bool sim_host_is_broken(const struct sim_host *h)
{
    return h->node != NULL && (h->broken || node_has_failed(h->node));
}

enum death { DEATH_POWER = 1, DEATH_CRASH, DEATH_STOP };

static void die(struct sim_host *h, enum death death)
{
    CHECK(h->node != NULL);
    sim_check_on_power_cut(h->place.check, h->number);
    sim_objects_set_dead(h->objects, true);
    h->dying = true;
    h->up_us += h->place.sched->now_us - h->up_since_us;
    sim_host_enter(h);
    if (death == DEATH_POWER)
        sim_net_set_up(h->place.net, h->number, false);
    else
        sim_net_kill(h->place.net, h->number);
    cancel_all(h);
    if (h->result != NULL)
        deliver_result(h);
    if (h->batch != NULL) { /* the end falls into this commit */
        if (death != DEATH_STOP)
            sim_disk_open_window(h->disk);
        h->result = commit_batch(h);
        CHECK(h->result != NULL);
        deliver_result(h);
    }
    if (death != DEATH_STOP)
        sim_disk_fail(h->disk);
    sim_host_enter(h);
    drain_dying(h);
    close_all(h);
    if (death == DEATH_POWER)
        sim_disk_power_cut(h->disk);
    else
        sim_disk_kill(h->disk);
    host_leave(h);
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
        port_arm(h, h->deadline_ms);
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

    cm_alloc_fail_after(0); /* the client is no part of the host */
    sim_check_on_write(w->host->place.check, w->host->number, i,
                       !w->host->dying);
    w->done(w->ctx, i, !w->host->dying);
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
    host_leave(h);
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
