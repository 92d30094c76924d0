/* A mesh of simulated hosts: see world.h. */
#include "sim/world.h"

#include <ftw.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crdt/base/check.h"
#include "crdt/certificate.h"
#include "crdt/digest.h"
#include "sim/entropy.h"
#include "sim/memory.h"
#include "sim/world_fault.h"
#include "sim/world_order.h"

#define WATCH_EVERY 4 /* hosts: one of them has a watcher */
#define LOOK_US (10 * SIM_MS)
#define CERTIFICATE_TTL_MS (UINT64_C(3650) * 24 * 3600 * 1000)
#define CANONICAL_SIZE_MAX (256u << 20)

struct sim_world_options sim_world_default_options(uint64_t seed,
                                                   unsigned hosts)
{
    return (struct sim_world_options){
        .seed = seed,
        .hosts = hosts,
        .sync_us_min = 200,
        .sync_us_max = 3000,
        .net = sim_net_default_options(),
    };
}

/* ---- the network's handler ---- */

static void world_datagram(void *ctx, unsigned node, const struct address *from,
                           struct slice packet)
{
    struct sim_world *w = ctx;
    sim_host_on_datagram(w->hosts[node], from, packet);
}

static void world_accepted(void *ctx, unsigned node, uint64_t stream,
                           const struct address *from)
{
    struct sim_world *w = ctx;
    sim_host_on_accepted(w->hosts[node], stream, from);
}

static void world_connected(void *ctx, unsigned node, uint64_t stream)
{
    struct sim_world *w = ctx;
    sim_host_on_connected(w->hosts[node], stream);
}

static void world_bytes(void *ctx, unsigned node, uint64_t stream,
                        struct slice bytes)
{
    struct sim_world *w = ctx;
    sim_host_on_bytes(w->hosts[node], stream, bytes);
}

static void world_drained(void *ctx, unsigned node, uint64_t stream)
{
    struct sim_world *w = ctx;
    sim_host_on_drained(w->hosts[node], stream);
}

static void world_closed(void *ctx, unsigned node, uint64_t stream, int error)
{
    struct sim_world *w = ctx;
    sim_host_on_closed(w->hosts[node], stream, error);
}

static const struct sim_net_handler handler = {
    .datagram = world_datagram,
    .accepted = world_accepted,
    .connected = world_connected,
    .bytes = world_bytes,
    .drained = world_drained,
    .closed = world_closed,
};

/* ---- making and ending ---- */

static const char *made_in; /* NULL: the machine's own */

void sim_world_place(const char *directory)
{
    CHECK(directory == NULL || directory[0] == '/');
    made_in = directory;
}

static int make_directory(struct sim_world *w, struct cm_detail *detail)
{
    const char *machine = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    const char *root = made_in != NULL ? made_in : machine;
    unsigned count = w->options.targets > 1 ? w->options.targets : 1;
    char objects[SIM_HOST_PATH_MAX + 32];

    CHECK(count <= SIM_WORLD_TARGETS_MAX);
    (void)snprintf(w->directory, sizeof w->directory, "%s/confmesh-sim-XXXXXX",
                   root);
    if (mkdtemp(w->directory) == NULL) {
        w->directory[0] = 0;
        return cm_fail(detail, CM_ERR_IO, "cannot make a directory in %s",
                       root);
    }
    for (unsigned i = 0; i < count; i++) { /* objects, objects1 */
        (void)snprintf(objects, sizeof objects, "%s/objects%.0u", w->directory,
                       i);
        w->places[i] = sim_objects_mount(objects);
        (void)snprintf(w->targets[i], sizeof w->targets[i], SIM_OBJECTS_TARGET,
                       w->places[i]);
        w->target_names[i] = w->targets[i];
    }
    w->targets_count = count;
    return 0;
}

static void host_directory(const struct sim_world *w, unsigned host,
                           char ret_path[SIM_HOST_PATH_MAX])
{
    int length =
        snprintf(ret_path, SIM_HOST_PATH_MAX, "%s/n%u", w->directory, host);
    CHECK(length > 0 && length < SIM_HOST_PATH_MAX);
}

static int remove_one(const char *path, const struct stat *st, int kind,
                      struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    (void)remove(path);
    return 0;
}

static void certify(const struct sim_world *w, unsigned host, unsigned roles,
                    struct buffer *out)
{
    struct certificate c = {.roles = roles, .prefixes_count = 1};
    const uint8_t *sign_key = sim_host_public_key(w->hosts[host]);

    c.mesh = mesh_id_of(w->authority.public_key);
    memcpy(c.sign_key, sign_key, sizeof c.sign_key);
    CHECK(crypto_sign_ed25519_pk_to_curve25519(c.box_key, sign_key) == 0);
    (void)snprintf(c.name, sizeof c.name, "%s", sim_host_name(w->hosts[host]));
    c.not_before_ms = SIM_CLOCK_EPOCH_MS;
    c.not_after_ms = SIM_CLOCK_EPOCH_MS + CERTIFICATE_TTL_MS;
    c.key_id = key_id_of(c.sign_key);
    CHECK(certificate_encode(out, &c, w->authority.secret_key) == 0);
}

void sim_world_founder_certificate(const struct sim_world *w,
                                   struct buffer *out)
{
    certify(w, 0, ROLE_WRITER | ROLE_ISSUER | ROLE_ADMIN, out);
}

void sim_world_issuer_certificate(const struct sim_world *w, unsigned host,
                                  struct buffer *out)
{
    CHECK(host < w->options.hosts);
    certify(w, host, ROLE_WRITER | ROLE_ISSUER, out);
}

/* What init does: authority, first certificate, generation 1, first store. */
static int found_mesh(struct sim_world *w, struct cm_detail *detail)
{
    struct store_identity identity = {.ready = true};
    struct generation_order order = {.number = 1,
                                     .created_ms = SIM_CLOCK_EPOCH_MS,
                                     .founder_level =
                                         sim_host_level(w->hosts[0])};
    struct random_stream stream;
    uint8_t seed[32];
    struct buffer certificate;
    struct buffer encoded;

    sim_entropy_stream(&stream, w->options.seed, "sim authority", 0);
    random_bytes_draw(&stream, seed, sizeof seed);
    authority_make(&w->authority, seed);
    random_bytes_draw(&stream, identity.incarnation.bytes, INCARNATION_SIZE);
    buffer_init(&certificate, CERTIFICATE_SIZE_MAX);
    sim_world_founder_certificate(w, &certificate);
    order.mesh = mesh_id_of(w->authority.public_key);
    order.founder = identity.incarnation;
    order.founder_certificate = buffer_slice(&certificate);
    vv_init(&order.sealed);
    buffer_init(&encoded, GENERATION_ORDER_SIZE_MAX);
    int error =
        generation_order_encode(&encoded, &order, w->authority.secret_key);
    memcpy(identity.authority_public_key, w->authority.public_key,
           sizeof identity.authority_public_key);
    identity.certificate = buffer_slice(&certificate);
    identity.generation_order = buffer_slice(&encoded);
    identity.host = slice_of_string("simulated host");
    if (error == 0)
        error = sim_host_initialise(w->hosts[0], &identity, NULL, detail);
    vv_release(&order.sealed);
    buffer_release(&encoded);
    buffer_release(&certificate);
    return error;
}

static int make_hosts(struct sim_world *w, struct cm_detail *detail)
{
    const struct sim_world_options *o = &w->options;
    struct sim_place place = {
        .sched = &w->sched,
        .fate = &w->fate,
        .net = w->net,
        .faults = &w->faults,
        .object_log = w->object_log,
        .seed = o->seed,
        .probe_interval_ms = o->probe_interval_ms,
        .floor_interval_ms = o->floor_interval_ms,
        .uploaders = o->uploaders,
        .targets = w->target_names,
        .targets_count = w->targets_count,
        .delta_ms = o->delta_ms,
        .drill_ms = o->drill_ms,
        .scrub_interval_ms = o->scrub_interval_ms,
        .format_level = o->format_level,
        .sync_us_min = o->sync_us_min,
        .sync_us_max = o->sync_us_max,
        .log = o->log,
    };

    for (unsigned i = 0; i < o->hosts; i++) {
        char path[SIM_HOST_PATH_MAX];
        host_directory(w, i, path);
        if (mkdir(path, 0700) != 0)
            return cm_fail(detail, CM_ERR_IO, "cannot make %s", path);
        int error = sim_host_create(&w->hosts[i], &place, i, path);
        if (error != 0)
            return cm_fail(detail, error, "cannot make host %u", i);
        sim_presence_init(&w->presences[i], w, i);
    }
    return 0;
}

static int make_check(struct sim_world *w)
{
    struct sim_check_options options = {
        .sched = &w->sched,
        .hosts_count = w->options.hosts,
        .hosts = w->hosts,
        .blind = w->options.blind,
        .uploaders = w->options.uploaders < w->options.hosts
                         ? w->options.uploaders
                         : w->options.hosts,
    };

    memcpy(options.authority_public_key, w->authority.public_key,
           sizeof options.authority_public_key);
    int error = sim_check_create(&w->check, &options);
    for (unsigned i = 0; i < w->options.hosts && error == 0; i++)
        sim_host_set_check(w->hosts[i], w->check);
    for (unsigned i = 0; i < w->options.hosts && error == 0; i += WATCH_EVERY) {
        struct sim_check_watch *watch = NULL;
        error = sim_check_watch_create(&watch, w->check, i, "");
    }
    return error;
}

int sim_world_create(struct sim_world **ret_world,
                     const struct sim_world_options *options,
                     struct cm_detail *detail)
{
    struct random_stream stream;

    CHECK(options->hosts > 0 && options->hosts <= SIM_WORLD_HOSTS_MAX);
    sim_memory_hold();
    struct sim_world *w = sim_calloc(1, sizeof *w);
    sim_entropy_stream(&stream, options->seed, "sim start", 0);
    sim_entropy_use(&stream);
    CHECK(sodium_init() >= 0);
    w->options = *options;
    sim_sched_init(&w->sched);
    w->sched.trace.text = options->trace;
    sim_fate_init(&w->fate, options->seed);
    sim_object_log_create(&w->object_log, &w->sched, &w->fate, &w->faults);
    int error = make_directory(w, detail);
    if (error == 0)
        error = sim_net_create(&w->net, options->hosts, &options->net,
                               &w->sched, &w->fate, &w->faults, &handler, w);
    if (error == 0)
        error = make_hosts(w, detail);
    if (error == 0)
        error = found_mesh(w, detail);
    if (error == 0 && !options->unchecked)
        error = make_check(w);
    if (error != 0) {
        sim_world_free(w);
        return error;
    }
    *ret_world = w;
    return 0;
}

void sim_world_free(struct sim_world *w)
{
    if (w == NULL)
        return;
    sim_world_faults_release(w);
    /* Nothing is judged any more: the check would look at hosts that are gone
     * when the next one ends. */
    for (unsigned i = 0; i < w->options.hosts; i++)
        if (w->hosts[i] != NULL)
            sim_host_set_check(w->hosts[i], NULL);
    for (unsigned i = 0; i < w->options.hosts; i++) {
        sim_host_free(w->hosts[i]);
        sim_free(w->tokens[i]);
    }
    if (w->directory[0] != 0)
        (void)nftw(w->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    for (unsigned i = 0; i < w->targets_count; i++)
        sim_objects_unmount(w->places[i]);
    sim_world_orders_release(w);
    sim_check_free(w->check);
    sim_net_free(w->net);
    sim_sched_release(&w->sched);
    sim_object_log_free(w->object_log);
    authority_clear(&w->authority);
    sim_free(w);
}

void sim_world_target(const struct sim_world *w,
                      char ret_target[SIM_HOST_PATH_MAX])
{
    (void)snprintf(ret_target, SIM_HOST_PATH_MAX, "%s", w->targets[0]);
}

/* ---- hosts ---- */

int sim_world_boot(struct sim_world *w, unsigned host, struct cm_detail *detail)
{
    CHECK(host < w->options.hosts);
    w->presences[host].member = true;
    w->presences[host].by_hand = false;
    int error = sim_host_boot(w->hosts[host], w->tokens[host], detail);
    sim_presence_kick(&w->presences[host]);
    return error;
}

void sim_world_power_cut(struct sim_world *w, unsigned host)
{
    CHECK(host < w->options.hosts);
    sim_presence_note(&w->presences[host]);
    w->presences[host].by_hand = true;
    sim_host_power_cut(w->hosts[host]);
}

void sim_world_join(struct sim_world *w, unsigned host, unsigned issuer)
{
    CHECK(host < w->options.hosts && issuer < w->options.hosts);
    CHECK(w->tokens[host] == NULL && !sim_host_is_up(w->hosts[host]));
    w->presences[host].issuer = issuer;
    w->presences[host].member = true;
    w->presences[host].by_hand = false;
    sim_presence_kick(&w->presences[host]);
}

/* ---- running ---- */

void sim_world_run_for(struct sim_world *w, uint64_t us)
{
    uint64_t limit = w->sched.now_us + us;

    while (sim_sched_step(&w->sched, limit))
        sim_check_step(w->check);
    CHECK(w->sched.now_us == limit);
}

bool sim_world_run_until(struct sim_world *w, sim_world_holds holds, void *ctx,
                         uint64_t limit_us)
{
    uint64_t limit = w->sched.now_us + limit_us;

    while (!holds(w, ctx)) {
        if (w->sched.now_us >= limit)
            return false;
        sim_world_run_for(w, LOOK_US);
    }
    return true;
}

bool sim_world_is_ready(const struct sim_world *w, unsigned host)
{
    CHECK(host < w->options.hosts);
    return sim_host_is_up(w->hosts[host]) &&
           node_is_ready(sim_host_node(w->hosts[host]));
}

bool sim_world_all_ready(struct sim_world *w, void *ctx)
{
    (void)ctx;
    for (unsigned i = 0; i < w->options.hosts; i++)
        if (!sim_host_is_up(w->hosts[i]) ||
            !node_is_ready(sim_host_node(w->hosts[i])))
            return false;
    return true;
}

bool sim_world_converged(struct sim_world *w, void *ctx)
{
    struct hash first = {{0}};

    if (!sim_world_all_ready(w, ctx))
        return false;
    for (unsigned i = 0; i < w->options.hosts; i++) {
        struct hash digest;
        if (sim_world_digest(w, i, &digest) != 0)
            return false;
        if (i == 0)
            first = digest;
        else if (!hash_equal(&first, &digest))
            return false;
    }
    return true;
}

/* ---- looking at a replica ---- */

static int begin_reader(struct sim_world *w, unsigned host,
                        struct store_reader **ret_reader)
{
    CHECK(host < w->options.hosts);
    struct node *n = sim_host_node(w->hosts[host]);
    if (n == NULL)
        return CM_ERR_CLOSED;
    return store_reader_begin(node_store(n), ret_reader);
}

int sim_world_digest(struct sim_world *w, unsigned host,
                     struct hash *ret_digest)
{
    struct store_reader *r = NULL;
    struct digest digest;
    struct vv vv;

    int error = begin_reader(w, host, &r);
    if (error != 0)
        return error;
    vv_init(&vv);
    error = store_vv(r, &vv);
    if (error == 0)
        error = store_digest(r, &digest);
    if (error == 0)
        *ret_digest = digest_finish(&digest, &vv);
    vv_release(&vv);
    store_reader_release(r);
    return error;
}

/* Calls for every entry of every space, in canonical order. */
typedef void (*entry_visit)(void *ctx, const struct store_item *item);

static int visit_entries(struct store_reader *r, entry_visit visit, void *ctx)
{
    for (int space = SPACE_REGISTER; space <= SPACE_LAST; space++) {
        struct store_cursor *c = NULL;
        const struct store_item *item = NULL;

        int error = store_cursor_open(r, (enum space)space, slice_of(NULL, 0),
                                      false, NULL, &c);
        if (error != 0)
            return error;
        while ((error = store_cursor_next(c, &item)) == 0)
            visit(ctx, item);
        store_cursor_close(c);
        if (error != CM_ERR_NOT_FOUND)
            return error;
    }
    return 0;
}

static void visit_pack(void *ctx, const struct store_item *item)
{
    entry_pack(ctx, &item->id, &item->entry);
}

static void visit_digest(void *ctx, const struct store_item *item)
{
    for (size_t i = 0; i < item->entry.count; i++)
        digest_add(ctx, &item->id, &item->entry.siblings[i]);
}

int sim_world_canonical(struct sim_world *w, unsigned host, struct buffer *out)
{
    struct store_reader *r = NULL;
    struct vv vv;

    buffer_init(out, CANONICAL_SIZE_MAX);
    int error = begin_reader(w, host, &r);
    if (error != 0)
        return error;
    vv_init(&vv);
    error = visit_entries(r, visit_pack, out);
    if (error == 0)
        error = store_vv(r, &vv);
    vv_pack(out, &vv);
    vv_release(&vv);
    store_reader_release(r);
    return error != 0 ? error : out->error;
}

int sim_world_audit(struct sim_world *w, unsigned host)
{
    struct store_reader *r = NULL;
    struct digest kept;
    struct digest built;

    int error = begin_reader(w, host, &r);
    if (error != 0)
        return error;
    digest_init(&built);
    error = visit_entries(r, visit_digest, &built);
    if (error == 0)
        error = store_digest(r, &kept);
    if (error == 0 && !digest_equal(&kept, &built))
        error = CM_ERR_DAMAGED;
    store_reader_release(r);
    return error;
}
